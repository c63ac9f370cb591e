//! Names: what a word means, and what a pattern binds.

use super::Checker;
use super::axes::{Axes, Axis, AxisKind, Origin};
use super::builtins;
use super::ops::article;
use super::scope::{Scope, VarKind};
use super::types::{Fun, Type};
use super::typing::with_origin;
use crate::program::{Along, CORE, planned};
use align_syntax::ast::{Expr, ItemKind, Pattern};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::{FileId, Span};

impl<'p> Checker<'p> {
    pub fn type_name(&mut self, name: &str, span: Span, s: &Scope) -> Type {
        let known = name.contains('.')
            || self.program.lookup(s.body.file, name).is_some()
            || self.is_imported(s.body.file, name)
            || super::typing::is_known(name);
        if !known {
            let error = Diagnostic::error("E0108", span, format!("there is no type `{name}`"));
            let own: Vec<&str> =
                self.program.names(s.body.file).filter(|n| n.starts_with(char::is_uppercase)).collect();
            self.report(match did_you_mean(name, own) {
                Some(near) => error.meant(near),
                None => error,
            });
        }
        Type::Unknown
    }

    /// Whether a `use` of this file asks for the name, found or not.
    pub fn is_imported(&self, file: FileId, name: &str) -> bool {
        self.program.file(file).tree.items.iter().any(|item| match &item.kind {
            ItemKind::Import { names, path } => {
                names.iter().any(|n| n.text == name)
                    || (names.is_empty() && path.last().is_some_and(|l| l.text == name))
            }
            _ => false,
        })
    }

    /// What a word means.
    pub fn word(&mut self, name: &str, span: Span, s: &Scope) -> Type {
        if let Some(var) = s.get(name) {
            return var.ty.clone();
        }
        let file = s.body.file;
        if let Some(at) = self.program.lookup(file, name) {
            // Without axes it is another function than the core's.
            if self.program.file(at.file).module.as_deref() == Some(CORE)
                && at.file != file
                && let Some(module) = planned::without_axes(name)
            {
                if !self.is_imported(file, name) {
                    self.elsewhere(name, span, module);
                }
                return Type::Unknown;
            }
            return self.item(at, name);
        }
        if let Some(row) = builtins::find(name) {
            if !builtins::ready(name) {
                self.not_yet(name, span);
            }
            return Type::Fn(Fun::Builtin(row.name));
        }
        if name == "inf" || name == "nan" {
            return Type::Float;
        }
        let axis = s.body.axes.iter().any(|a| &*a.name == name) || s.body.generics.iter().any(|g| &*g.0 == name);
        if builtins::CONSTANTS.contains(&name) || axis || self.is_imported(file, name) {
            return Type::Unknown;
        }
        self.unknown_name(name, span, s);
        Type::Unknown
    }

    /// What a word with axes in brackets means, where it takes none without them.
    pub fn word_along(&mut self, name: &str, span: Span, s: &Scope) -> Type {
        if s.get(name).is_none() {
            match self.program.along(s.body.file, name) {
                Along::Core(at) => return self.item(at, name),
                Along::Primitive if builtins::find(name).is_some() => {
                    return Type::Fn(Fun::Builtin(builtins::find(name).expect("just seen").name));
                }
                _ => {}
            }
            // What else the name may be needs no axes.
            if let Some(at) = self.program.lookup(s.body.file, name) {
                return self.item(at, name);
            }
        }
        self.word(name, span, s)
    }

    /// E0102: a function of the core, by name and axes in brackets, that is not there yet.
    pub fn planned_along(&mut self, name: &str, span: Span, s: &Scope) -> bool {
        let same = self.program.along(s.body.file, name) == Along::Same;
        let known = s.get(name).is_some()
            || same && self.program.lookup(s.body.file, name).is_some()
            || matches!(self.program.along(s.body.file, name), Along::Core(_))
            || builtins::find(name).is_some()
            || same && self.is_imported(s.body.file, name);
        let planned = !known && planned::names(crate::program::CORE).is_some_and(|names| names.contains(&name));
        if planned {
            self.not_yet(name, span);
        }
        planned
    }

    pub fn not_yet(&mut self, name: &str, span: Span) {
        self.report(Diagnostic::error("E0102", span, format!("the standard library does not have `{name}` yet")));
    }

    /// Whether a record of the file has a field of this name.
    fn is_field(&self, file: FileId, name: &str) -> bool {
        self.program.file(file).tree.items.iter().any(|item| match &item.kind {
            ItemKind::Record { fields, .. } => fields.iter().any(|f| f.name.text == name),
            _ => false,
        })
    }

    /// E0104: a module of the library has it.
    fn elsewhere(&mut self, name: &str, span: Span, module: &str) {
        let error = Diagnostic::error("E0104", span, format!("`{name}` is not in sight"));
        self.report(error.help(format!("It is in the standard library: `use {module} {{ {name} }}`.")));
    }

    pub fn unknown_name(&mut self, name: &str, span: Span, s: &Scope) {
        let file = s.body.file;
        let in_sight: Vec<String> = {
            let lower = |n: &&str| n.starts_with(char::is_lowercase);
            let mut all: Vec<String> = s.names().filter(lower).map(str::to_string).collect();
            all.extend(self.program.names(file).filter(lower).map(str::to_string));
            all.extend(builtins::names().map(str::to_string));
            all
        };
        let near = did_you_mean(name, in_sight.iter().map(String::as_str)).map(str::to_string);
        let module = planned::module_of(name);
        if let Some(module) = module {
            if module == crate::program::CORE {
                return self.not_yet(name, span);
            }
            return self.elsewhere(name, span, module);
        }
        let error = Diagnostic::error("E0104", span, format!("there is nothing named `{name}` here"));
        if self.is_field(file, name) {
            return self.report(error.help(format!("A field of the item is read by `.{name}`, with the point.")));
        }
        self.report(match near {
            Some(near) => error.meant(near),
            None => error,
        });
    }

    /// Binds the names of a pattern to the parts of a value.
    pub fn bind_pattern(&mut self, pattern: &'p Pattern, ty: Type, kind: VarKind, s: &mut Scope) {
        match pattern {
            Pattern::Name(name) => {
                let key = self.key();
                let ty = with_origin(ty, &format!("#{key}"), &name.text);
                let ty = origin_of_group(ty, key, &name.text);
                if kind != VarKind::Param {
                    self.bound(name.span, &name.text, &ty);
                }
                s.bind(&name.text, ty, kind, name.span, key);
            }
            Pattern::Tuple(parts, span) => {
                let types = match &ty {
                    Type::Tuple(types) => Some(types.iter().map(|t| t.1.clone()).collect::<Vec<_>>()),
                    Type::Int | Type::Float | Type::Bool | Type::Text | Type::Unit | Type::Net(_) => {
                        let error = Diagnostic::error("E0121", *span, format!("{} names for one value", parts.len()))
                            .here(format!("the value is {}", article(&ty)));
                        self.report(error);
                        None
                    }
                    _ => None,
                };
                if let Some(types) = types.as_ref().filter(|t| t.len() != parts.len()) {
                    let error = Diagnostic::error(
                        "E0121",
                        *span,
                        format!("{} names for a tuple of {}", parts.len(), types.len()),
                    )
                    .here(format!("the value is {ty}"));
                    self.report(error.help("A part that is not needed is named `_`."));
                }
                for (i, part) in parts.iter().enumerate() {
                    let ty = types.as_ref().and_then(|t| t.get(i)).cloned().unwrap_or(Type::Unknown);
                    self.bind_pattern(part, ty, kind, s);
                }
            }
        }
    }

    /// W0601: rounds that differ in a seed which none of them reads are all the same.
    pub fn seeds_are_read(&mut self, overs: &'p [(Pattern, Expr)], body: &'p align_syntax::ast::Block) {
        for name in overs.iter().flat_map(|(pattern, _)| crate::program::pattern_names(pattern)) {
            let mut reads = super::walk::Reads { name: &name.text, found: false };
            super::walk::block(body, &mut reads);
            if name.text.contains("seed") && !reads.found {
                let message = format!("`{}` is not read, so every round is the same", name.text);
                let warning = Diagnostic::warning("W0601", name.span, message);
                self.report(warning.help("Pass it on: `seed: seed` in a call, `seed seed` as a slot of `train`."));
            }
        }
    }

    /// Binds what a `for` or an `iterate` takes from a stream.
    pub fn bind_item(&mut self, pattern: &'p Pattern, stream: &Type, span: Span, s: &mut Scope) {
        if matches!(stream, Type::Int | Type::Float | Type::Bool | Type::Net(_) | Type::Unit) {
            let error = Diagnostic::error("E0127", span, "this cannot be gone through")
                .here(format!("this is {}", article(stream)));
            self.report(match stream {
                Type::Int => error.help("To count, write a range: `for i in 0..n`."),
                _ => error.help("A list, data or a range is needed."),
            });
        }
        let item = stream.item().unwrap_or(Type::Unknown);
        self.bind_pattern(pattern, item, VarKind::Let, s);
    }
}

/// The `sample` axis of a group that a name holds has the group's length.
fn origin_of_group(ty: Type, key: u32, name: &str) -> Type {
    match ty {
        Type::Each(element, axes) if matches!(*element, Type::Record(_) | Type::Reply(..)) => {
            let axes = axes.0.into_iter().map(|axis| match axis.kind {
                AxisKind::Open if &*axis.name == "sample" => Axis {
                    kind: AxisKind::Ragged(Origin { key: format!("#{key}.sample").into(), shown: name.into() }),
                    ..axis
                },
                _ => axis,
            });
            Type::Each(element, Axes(axes.collect()))
        }
        other => other,
    }
}
