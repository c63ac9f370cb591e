//! Types, patterns, parameters and fields.

use super::{Builder, Pair, Pairs, inner, maybe, next};
use crate::ast::{Field, Generic, Param, Pattern, Type, TypeArg, TypeKind};
use crate::parse::Rule;

impl Builder<'_> {
    pub fn ty(&mut self, pair: Pair) -> Type {
        let span = self.span(&pair);
        let mut parts = inner(pair);
        let mut ty = self.type_atom(next(&mut parts));
        while let Some(each) = maybe(&mut parts, Rule::each) {
            let end = self.span(&each);
            let axes = inner(each)
                .filter(|p| p.as_rule() != Rule::EACH)
                .flat_map(|p| match p.as_rule() {
                    Rule::type_args => self.type_args(p),
                    _ => {
                        let name = self.name(&p);
                        let span = name.span;
                        vec![TypeArg::Type(Type { span, kind: TypeKind::Named { name, args: Vec::new() } })]
                    }
                })
                .collect();
            ty = Type { span: ty.span.to(end), kind: TypeKind::Each(Box::new(ty), axes) };
        }
        match parts.next() {
            Some(result) => {
                let result = self.ty(result);
                Type { span, kind: TypeKind::Fn(Box::new(ty), Box::new(result)) }
            }
            None => ty,
        }
    }

    fn type_atom(&mut self, pair: Pair) -> Type {
        let span = self.span(&pair);
        let mut parts = inner(pair);
        let kind = match parts.peek().map(|p| p.as_rule()) {
            Some(Rule::type_name | Rule::word) => {
                let name = self.name(&next(&mut parts));
                let args = parts.next().map_or_else(Vec::new, |args| self.type_args(args));
                TypeKind::Named { name, args }
            }
            Some(Rule::shape) => TypeKind::Shape(self.shape(next(&mut parts))),
            Some(Rule::type_args) => TypeKind::Axes(self.type_args(next(&mut parts))),
            _ => {
                let mut types: Vec<Type> = parts.map(|p| self.ty(p)).collect();
                if types.len() == 1 {
                    return Type { span, kind: types.remove(0).kind };
                }
                TypeKind::Tuple(types)
            }
        };
        Type { span, kind }
    }

    /// `Demo` or `List[Int]` at the front of some parts.
    pub fn named_type(&mut self, parts: &mut Pairs) -> Type {
        let name = self.name(&next(parts));
        let mut span = name.span;
        let args = maybe(parts, Rule::type_args).map_or_else(Vec::new, |args| {
            span = span.to(self.span(&args));
            self.type_args(args)
        });
        Type { span, kind: TypeKind::Named { name, args } }
    }

    pub fn type_args(&mut self, pair: Pair) -> Vec<TypeArg> {
        inner(pair).map(|arg| self.type_arg(arg)).collect()
    }

    fn type_arg(&mut self, pair: Pair) -> TypeArg {
        let mut parts = inner(pair);
        let first = next(&mut parts);
        match first.as_rule() {
            Rule::pack => TypeArg::Pack(self.name(&next(&mut inner(first)))),
            Rule::word => {
                let size = next(&mut parts);
                TypeArg::Sized(self.name(&first), self.expr(size))
            }
            _ => TypeArg::Type(self.ty(first)),
        }
    }

    pub fn generics(&mut self, pair: Pair) -> Vec<Generic> {
        inner(pair)
            .map(|generic| {
                let what = next(&mut inner(generic));
                match what.as_rule() {
                    Rule::pack => Generic::Pack(self.name(&next(&mut inner(what)))),
                    Rule::word => Generic::Axis(self.name(&what)),
                    _ => Generic::Type(self.name(&what)),
                }
            })
            .collect()
    }

    pub fn shape(&mut self, pair: Pair) -> Vec<Field> {
        inner(pair)
            .map(|field| {
                let mut parts = inner(field);
                let docs = self.docs(next(&mut parts));
                let name = self.name(&next(&mut parts));
                let ty = self.ty(next(&mut parts));
                let default = parts.next().map(|e| self.expr(e));
                Field { docs, name, ty, default }
            })
            .collect()
    }

    pub fn params(&mut self, pair: Pair) -> Vec<Param> {
        inner(pair)
            .map(|parameter| {
                let mut parts = inner(parameter);
                let docs = self.docs(next(&mut parts));
                let pattern = self.pattern(next(&mut parts));
                let ty = maybe(&mut parts, Rule::ty).map(|t| self.ty(t));
                let default = parts.next().map(|e| self.expr(e));
                Param { docs, pattern, ty, default }
            })
            .collect()
    }

    pub fn pattern(&self, pair: Pair) -> Pattern {
        let span = self.span(&pair);
        let mut parts: Vec<Pair> = pair.into_inner().collect();
        match parts.len() {
            1 if parts[0].as_rule() == Rule::word => Pattern::Name(self.name(&parts[0])),
            1 => self.pattern(parts.remove(0)),
            _ => Pattern::Tuple(parts.into_iter().map(|p| self.pattern(p)).collect(), span),
        }
    }
}
