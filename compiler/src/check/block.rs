//! Blocks and statements.

use super::Checker;
use super::call::{Code, CodeBody};
use super::fits::differ;
use super::ops::article;
use super::scope::{Scope, VarKind};
use super::types::{Fun, Type};
use align_syntax::ast::{
    Args, Bind, BindTarget, BindValue, BindWord, Binder, Block, Def, DefKind, Expr, ExprKind, Name, Pattern, StmtKind,
    TypeArg, TypeKind,
};
use align_syntax::diag::{Diagnostic, did_you_mean};

impl<'p> Checker<'p> {
    pub fn block(&mut self, block: &'p Block, s: &Scope, want: &Type) -> Type {
        self.block_in(block, s.clone(), want)
    }

    /// The value of a block whose names are bound over those of `s`.
    pub fn block_in(&mut self, block: &'p Block, s: Scope, want: &Type) -> Type {
        let mut s = s.inner(self.key());
        let mut value = Type::Unit;
        for (i, stmt) in block.stmts.iter().enumerate() {
            let last = i + 1 == block.stmts.len();
            value = Type::Unit;
            match &stmt.kind {
                StmtKind::Bind(bind) => self.bind_stmt(bind, &mut s),
                StmtKind::Assign { target, value } => self.assign(target, value, &s),
                StmtKind::Command { word, args } => self.command(word, args, &s),
                StmtKind::Def(def) => self.inner_def(def, &mut s),
                StmtKind::Method(method) => {
                    let error = Diagnostic::error(
                        "E0141",
                        method.name.span,
                        "a method stands in a net, an optimizer or an env",
                    );
                    self.report(error.help(format!("A function here is `let {} = (..) => ..`.", method.name.text)));
                }
                StmtKind::Expr(e) => {
                    value = self.expr(e, &s, if last { want } else { &Type::Unknown });
                    if !last {
                        self.unused(e, &value);
                    }
                }
            }
        }
        value
    }

    /// E0310
    fn unused(&mut self, e: &'p Expr, ty: &Type) {
        if matches!(ty, Type::Unit) || ty.is_unknown() {
            return;
        }
        let error =
            Diagnostic::error("E0310", e.span, "this value is not used").here(format!("this is {}", article(ty)));
        let compares = matches!((&*e.kind, ty), (ExprKind::Infix { .. }, Type::Bool));
        self.report(if compares {
            error.help("To test it, write `assert`; to give a name to it, `let x = ..`.")
        } else {
            error
                .help("Only the last value of a block is its result. Give it a name with `let x = ..`, or take it out.")
        });
    }

    /// `let`, `var`, `state`, `track`
    pub fn bind_stmt(&mut self, bind: &'p Bind, s: &mut Scope) {
        for binder in &bind.binders {
            if let BindTarget::Pattern(pattern) = &binder.target
                && bind.word != BindWord::Track
            {
                self.bound_once(pattern, s);
            }
            let ty = self.binder(bind.word, binder, s);
            let BindTarget::Pattern(pattern) = &binder.target else { continue };
            let kind = match bind.word {
                BindWord::Var => VarKind::Var,
                BindWord::State => VarKind::State,
                BindWord::Track => continue,
                BindWord::Let => VarKind::Let,
                BindWord::Weight | BindWord::Part | BindWord::Axis => VarKind::Member,
            };
            self.bind_pattern(pattern, ty, kind, s);
        }
    }

    /// E0105
    fn bound_once(&mut self, pattern: &Pattern, s: &Scope) {
        for name in crate::program::pattern_names(pattern) {
            let Some(first) = s.in_block(&name.text).filter(|_| name.text != "_") else { continue };
            let error = Diagnostic::error("E0103", name.span, format!("`{}` is bound twice in this block", name.text))
                .label(first.span, "first here");
            self.report(error.help("`let` binds once. Give it another name; a name that changes is a `var`."));
        }
    }

    /// The type that a binder gives its names.
    fn binder(&mut self, word: BindWord, binder: &'p Binder, s: &Scope) -> Type {
        let declared = binder.ty.as_ref().map(|t| self.ty(t, s));
        let per_item = binder.ty.as_ref().is_some_and(each_item);
        let want = declared.clone().unwrap_or(Type::Unknown);
        let found = match &binder.value {
            Some(BindValue::Is(e)) => {
                let ty = self.expr(e, s, &want);
                if word == BindWord::State && s.body.kind == Some(DefKind::Loss) && !per_item {
                    self.item_axes_in_state(binder, e, &ty);
                }
                if let Some(declared) = &declared
                    && differ(&ty, declared)
                {
                    let error = Diagnostic::error(
                        "E0113",
                        e.span,
                        format!("this is {}, not {}", article(&ty), article(declared)),
                    );
                    let error = match &binder.ty {
                        Some(written) => error.label(written.span, "declared here"),
                        None => error,
                    };
                    self.report(error);
                }
                ty
            }
            Some(BindValue::Drawn(e)) => match self.expr(e, s, &Type::Unknown) {
                Type::Dist(of) => (*of).clone(),
                Type::Fn(_) => Type::Unknown,
                // `normal(..)` and `uniform(..)` are distributions here, numbers elsewhere.
                ty => ty,
            },
            None => Type::Unknown,
        };
        match (declared, word) {
            (Some(_), BindWord::State) if per_item => Type::Float,
            (Some(declared), _) => declared,
            (None, BindWord::State) => match (&s.body.weight, &found) {
                (Some(weight), ty) if ty.is_numeric() && ty.axes().is_empty() => weight.clone(),
                (_, Type::Int | Type::Float) => Type::Float,
                _ => found,
            },
            // An Int that is assigned again may become a Float.
            (None, BindWord::Var) if matches!(found, Type::Int) => Type::Unknown,
            (None, BindWord::Var) if matches!(&found, Type::List(of) if of.is_unknown()) => Type::Unknown,
            _ => found,
        }
    }

    /// E0211: a state is a cell of the stage.
    fn item_axes_in_state(&mut self, binder: &'p Binder, e: &'p Expr, ty: &Type) {
        let Some(axis) = ty.axes().0.into_iter().find(|a| a.of_items()) else { return };
        let BindTarget::Pattern(Pattern::Name(name)) = &binder.target else { return };
        let error = Diagnostic::error(
            "E0211",
            e.span,
            format!("the state `{}` cannot have the axis `{}`", name.text, axis.name),
        )
        .here(format!("this is {}", article(ty)));
        self.report(error.help(format!(
            "A state is one value for the whole stage, and items have lengths of their own. Reduce it, `mean[{}](..)`; a value for each row of the data is `state {}: Float each item = 0`.",
            axis.name, name.text
        )));
    }

    fn assign(&mut self, target: &'p Expr, value: &'p Expr, s: &Scope) {
        let (root, whole) = root(target);
        let mut want = Type::Unknown;
        if let Some((name, span)) = root {
            match s.get(name).map(|v| (v.kind, v.span, v.ty.clone())) {
                Some((VarKind::Var | VarKind::State, _, ty)) => {
                    if whole {
                        want = ty;
                    }
                }
                Some((kind, first, _)) => {
                    let what = match kind {
                        VarKind::Param => "a parameter",
                        VarKind::Member => "a part of the net",
                        _ => "bound by `let`",
                    };
                    let error = Diagnostic::error("E0106", span, format!("`{name}` cannot be assigned again"))
                        .label(first, format!("it is {what}"));
                    let fix = match s.body.kind {
                        Some(DefKind::Loss | DefKind::Optimizer) => "What lives as long as the stage is a `state`.",
                        _ => "What changes is a `var`; a new value under the old name is a `let` in an inner block.",
                    };
                    self.report(error.help(fix));
                }
                None => {
                    let near = did_you_mean(name, s.names()).map(str::to_string);
                    let error = Diagnostic::error("E0106", span, format!("there is no `{name}` to assign"));
                    self.report(match near {
                        Some(near) => error.meant(near),
                        None => error.help(format!(
                            "A new name begins with `let`, or with `var` if it changes: `let {name} = ..`."
                        )),
                    });
                }
            }
        }
        if !whole {
            self.places(target, s);
        }
        let ty = self.expr(value, s, &want);
        if differ(&ty, &want) {
            let name = root.map_or("it", |r| r.0);
            let error = Diagnostic::error("E0113", value.span, format!("`{name}` is {}", article(&want)));
            self.report(error.here(format!("this is {}", article(&ty))));
        }
    }

    /// Expressions in the brackets of a target.
    fn places(&mut self, target: &'p Expr, s: &Scope) {
        match &*target.kind {
            ExprKind::Index(base, args) => {
                self.places(base, s);
                for e in args.positional.iter().chain(args.named.iter().map(|n| &n.1)) {
                    self.expr(e, s, &Type::Unknown);
                }
            }
            ExprKind::Dot(base, _) => self.places(base, s),
            _ => {}
        }
    }

    fn command(&mut self, word: &'p Name, args: &'p Args, s: &Scope) {
        for e in args.positional.iter().chain(args.named.iter().map(|n| &n.1)).chain(&args.trailing) {
            let ty = self.expr(e, s, &Type::Unknown);
            if word.text == "save" && args.positional.first().is_some_and(|first| first.id == e.id) {
                self.only_writes(&ty, "weights to save", e.span);
            }
            if word.text == "assert" && args.positional.first().is_some_and(|first| first.id == e.id) {
                self.want_bool(&ty, e.span, "`assert`");
            }
        }
        if word.text == "save" {
            let known: Vec<&str> = args.named.iter().map(|n| n.0.text.as_str()).collect();
            if !known.contains(&"to") {
                let error = Diagnostic::error("E0111", word.span, "`save` needs `to`");
                self.report(error.help("Say where: `save p, to: \"out/model\"`."));
            }
        }
    }

    /// `data`, `policy` and `fn` inside a block.
    fn inner_def(&mut self, def: &'p Def, s: &mut Scope) {
        let Some(name) = &def.name else { return };
        let body = CodeBody::of(&def.body);
        let ty = match def.params.first() {
            Some(params) => {
                let code = Code {
                    name: name.text.clone(),
                    params,
                    result: def.result.as_ref(),
                    generics: &def.generics,
                    body,
                    scope: s.clone(),
                    lambda: false,
                };
                let id = self.add_code(code);
                self.define(id);
                Type::Fn(Fun::Closure(id))
            }
            None => {
                let ty = match body {
                    CodeBody::Expr(e) => self.expr(e, s, &Type::Unknown),
                    CodeBody::Block(b) => self.block_in(b, s.clone(), &Type::Unknown),
                };
                if def.kind == DefKind::Data { as_data(ty) } else { ty }
            }
        };
        let key = self.key();
        self.bound(name.span, &name.text, &ty);
        s.bind(&name.text, ty, VarKind::Let, name.span, key);
    }
}

/// What `data` makes of a list.
pub fn as_data(ty: Type) -> Type {
    match ty {
        Type::List(of) => Type::Data(of),
        other => other,
    }
}

fn each_item(ty: &align_syntax::ast::Type) -> bool {
    let item = |arg: &TypeArg| matches!(arg, TypeArg::Type(t) if matches!(&t.kind, TypeKind::Named { name, .. } if name.text == "item"));
    matches!(&ty.kind, TypeKind::Each(_, axes) if axes.iter().any(item))
}

/// The word that a target begins with, and whether it is the whole target.
fn root(target: &Expr) -> (Option<(&str, align_syntax::span::Span)>, bool) {
    match &*target.kind {
        ExprKind::Word(name) => (Some((name, target.span)), true),
        ExprKind::Dot(base, _) | ExprKind::Index(base, _) => (root(base).0, false),
        _ => (None, true),
    }
}
