//! Definitions: lambdas where they are written, declarations once, templates for the types of each call.

use super::axes::{Axes, Axis};
use super::call::{Code, CodeBody, own_generics};
use super::fits::{self, Fit};
use super::ops::article;
use super::scope::VarKind;
use super::types::{Fun, Type};
use super::{Checker, MAX_AGAIN, MAX_CALLS, MAX_DEPTH, walk};
use align_syntax::diag::Diagnostic;
use std::rc::Rc;

impl<'p> Checker<'p> {
    pub fn add_code(&mut self, code: Code<'p>) -> usize {
        self.codes.push(Rc::new(code));
        self.codes.len() - 1
    }

    /// Checks a lambda where it is written, with what its place expects.
    pub fn define_lambda(&mut self, id: usize, want: &Type) {
        let code = self.codes[id].clone();
        let from = match want {
            Type::Fn(Fun::Typed(types)) => Some(&types.0),
            _ => None,
        };
        let types: Vec<Type> = match from {
            Some(Type::Tuple(parts)) if parts.len() == code.params.len() => parts.iter().map(|p| p.1.clone()).collect(),
            Some(one) if code.params.len() == 1 => vec![one.clone()],
            _ => vec![Type::Unknown; code.params.len()],
        };
        let scope = code.scope.clone();
        let types = code
            .params
            .iter()
            .zip(types)
            .map(|(p, ty)| p.ty.as_ref().map_or(ty, |written| self.ty(written, &scope)))
            .collect();
        // A recursive call of it is not followed here.
        self.instance(id, types, &[]);
    }

    /// The body of a declaration or method, for parameters of the declared types: the one check of an annotated function.
    pub fn define(&mut self, id: usize) -> Type {
        let code = self.codes[id].clone();
        let generics = own_generics(code.generics);
        let mut body = (*code.scope.body).clone();
        body.generics.extend(generics.clone());
        let scope = code.scope.in_body(body);
        let types = code.params.iter().map(|p| p.ty.as_ref().map_or(Type::Unknown, |t| self.ty(t, &scope))).collect();
        let found = self.instance(id, types, &generics);
        if code.result.is_none() {
            self.out.results.push((code.body.span(), code.name.clone(), found.clone()));
        }
        let Some(declared) = code.result.map(|r| self.ty(r, &scope)) else { return found };
        self.compare_result(&code, &found, &declared);
        declared
    }

    pub fn compare_result(&mut self, code: &Code<'p>, found: &Type, declared: &Type) {
        let span = code.body.span();
        let what = match fits::fit(found, declared) {
            Fit::Yes | Fit::Unknown | Fit::LacksFields(_) => return,
            Fit::Lifted(axes) => {
                if matches!(declared.element(), Type::Record(_)) {
                    return;
                }
                let axes: Vec<Rc<str>> = axes.names().cloned().collect();
                format!("it still has {}", super::axes::listed(&axes))
            }
            Fit::LacksAxes(axes) => format!("it has no {}", super::axes::listed(&axes)),
            Fit::No => format!("this is {}", article(found)),
        };
        // What is joined by a branch or grown by `++` is not decided here.
        let error =
            Diagnostic::error("E0140", span, format!("`{}` is declared to give {}", code.name, article(declared)))
                .here(what);
        let error = match code.result {
            Some(result) => error.label(result.span, "declared here"),
            None => error,
        };
        self.report(match fits::advice(found, declared) {
            Some(advice) => error.help(advice),
            None => error,
        });
    }

    /// The result of a code for arguments of these types.
    pub fn instance(&mut self, id: usize, types: Vec<Type>, generics: &[(Rc<str>, Vec<Axis>)]) -> Type {
        let mut known_as = types.clone();
        known_as.extend(generics.iter().map(|(_, axes)| Type::tensor(Axes(axes.clone()))));
        if let Some(known) = self.results.get(&id).and_then(|r| r.iter().find(|(t, _)| *t == known_as)) {
            return known.1.clone().unwrap_or(Type::Unknown);
        }
        self.made += 1;
        let again = self.inside.iter().filter(|i| **i == id).count();
        if self.made > MAX_CALLS || self.inside.len() >= MAX_DEPTH || again > MAX_AGAIN {
            return Type::Unknown;
        }
        self.results.entry(id).or_default().push((known_as.clone(), None));
        let code = self.codes[id].clone();
        let mut body = (*code.scope.body).clone();
        body.generics.extend(generics.iter().cloned());
        if !code.lambda {
            body.paired = self.paired(&code, &types);
        }
        let mut scope = code.scope.in_body(body).inner(self.key());
        for (param, ty) in code.params.iter().zip(types) {
            self.bind_pattern(&param.pattern, ty, VarKind::Param, &mut scope);
            if param.ty.is_none() {
                for name in crate::program::pattern_names(&param.pattern) {
                    let found = scope.get(&name.text).map_or(Type::Unknown, |v| v.ty.clone());
                    self.bound(name.span, &name.text, &found);
                }
            }
            if let Some(default) = &param.default {
                let want = param.ty.as_ref().map_or(Type::Unknown, |t| self.ty(t, &scope));
                self.expr(default, &scope, &want);
            }
        }
        let want = code.result.map_or(Type::Unknown, |r| self.ty(r, &scope));
        self.inside.push(id);
        let result = match code.body {
            CodeBody::Expr(e) => self.expr(e, &scope, &want),
            CodeBody::Block(b) => self.block_in(b, scope, &want),
        };
        self.inside.pop();
        if let Some(entry) = self.results.get_mut(&id).and_then(|r| r.iter_mut().find(|(t, _)| *t == known_as)) {
            entry.1 = Some(result.clone());
        }
        result
    }

    /// Names that only a rename of the body introduces.
    pub fn paired(&self, code: &Code<'p>, types: &[Type]) -> Vec<Rc<str>> {
        let mut renames = walk::Renames(Vec::new());
        match code.body {
            CodeBody::Expr(e) => walk::expr(e, &mut renames),
            CodeBody::Block(b) => walk::block(b, &mut renames),
        }
        let own = |name: &str| {
            types.iter().any(|t| t.axes().has(name)) || code.scope.body.axes.iter().any(|a| &*a.name == name)
        };
        renames.0.iter().filter(|n| !own(n)).map(|n| Rc::from(n.as_str())).collect()
    }
}
