//! Declarations: what a file's items are, and their checks.

use super::block::as_data;
use super::call::{Code, CodeBody, body_of};
use super::contract::{head, with_batch};
use super::fits::differ;
use super::heads::head_fits;
use super::ops::article;
use super::scope::{Body, Scope, VarKind};
use super::types::{Fun, Type};
use super::{Axes, Axis, Checker, uses};
use crate::program::{ItemRef, declared, pattern_names};
use align_syntax::ast::{self, BindTarget, BindValue, Clause, Def, DefKind, Item, ItemKind, Param, StmtKind};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::FileId;

/// What an optimizer's `update` is given, by name (R29).
const OF_UPDATE: &[&str] = &["w", "g", "t", "total", "loss", "f"];

impl<'p> Checker<'p> {
    /// Checks every item of a file.
    pub fn file(&mut self, file: FileId) {
        let program = self.program;
        for (at, item) in program.items(file) {
            self.check_item(at, item);
        }
        // What could not be read may use any of them.
        if program.file(file).whole {
            uses::unused_imports(&program.file(file).tree).into_iter().for_each(|warning| self.report(warning));
        }
    }

    fn check_item(&mut self, at: ItemRef, item: &'p Item) {
        let scope = Scope::new(Body::new(at.file, None));
        match &item.kind {
            ItemKind::Import { .. } | ItemKind::Edition(_) => {}
            ItemKind::Param { name, ty, value, range } => {
                let declared = ty.as_ref().map(|t| self.ty(t, &scope));
                let found = self.expr(value, &scope, declared.as_ref().unwrap_or(&Type::Unknown));
                if let Some(declared) = &declared {
                    self.expects(&format!("`param {}`", name.text), value.span, &found, declared);
                }
                self.item(at, &name.text);
                if let Some(range) = range {
                    self.expr(range, &scope, &Type::Unknown);
                }
            }
            ItemKind::Record { fields, .. } => {
                self.record_of(at);
                for field in fields {
                    if let Some(default) = &field.default {
                        let want = self.ty(&field.ty, &scope);
                        let found = self.expr(default, &scope, &want);
                        self.expects(&format!("the field `{}`", field.name.text), default.span, &found, &want);
                    }
                }
            }
            ItemKind::Test { vectors, body, .. } => {
                let mut scope = scope;
                if let Some((_, name)) = vectors {
                    let key = self.key();
                    scope.bind(&name.text, Type::Unknown, VarKind::Let, name.span, key);
                }
                self.block_in(body, scope, &Type::Unknown);
            }
            ItemKind::Bind(_) => {
                for name in declared(&item.kind) {
                    self.item(at, &name.text);
                }
            }
            ItemKind::Def(def) => self.check_def(at, def),
        }
    }

    fn check_def(&mut self, at: ItemRef, def: &'p Def) {
        match def.kind {
            DefKind::Net => self.define_net(at),
            DefKind::Loss => self.define_loss(at, def),
            DefKind::Optimizer => self.define_optimizer(at, def),
            DefKind::Env => self.define_env(at, def),
            DefKind::Schedule | DefKind::Sampler => {
                self.two_lists(at, def);
            }
            DefKind::Reward => {
                let id = self.code_of(at);
                let result = self.define(id);
                if matches!(result.element(), Type::Text | Type::Record(_) | Type::List(_)) {
                    let span = CodeBody::of(&def.body).span();
                    let error = Diagnostic::error("E0140", span, "a reward gives a Float")
                        .here(format!("this is {}", article(&result)));
                    self.report(error.help("A Float, an `Option[Float]`, or a Float for each token, `Tensor[time]`."));
                }
            }
            DefKind::Fn if def.params.len() > 1 => {
                self.two_lists(at, def);
            }
            DefKind::Fn => {
                let id = self.code_of(at);
                self.define(id);
            }
            DefKind::Policy | DefKind::Data => match &def.name {
                Some(name) if def.params.is_empty() => {
                    self.item(at, &name.text);
                }
                _ => {
                    let id = self.code_of(at);
                    self.define(id);
                }
            },
            DefKind::Pipeline | DefKind::Study => {
                let mut scope = Scope::new(Body::new(at.file, Some(def.kind)));
                for param in def.params.iter().flatten() {
                    self.bind_param(param, &mut scope);
                }
                self.body(&def.body, scope);
            }
        }
    }

    /// Reports a value that is certainly not what is declared.
    fn expects(&mut self, what: &str, at: align_syntax::span::Span, found: &Type, declared: &Type) {
        if matches!(super::fits::fit(found, declared), super::fits::Fit::No) {
            let error = Diagnostic::error("E0113", at, format!("{what} is {}", article(declared)));
            self.report(error.here(format!("this is {}", article(found))));
        }
    }

    fn body(&mut self, body: &'p ast::Body, scope: Scope) -> Type {
        match CodeBody::of(body) {
            CodeBody::Expr(e) => self.expr(e, &scope, &Type::Unknown),
            CodeBody::Block(b) => self.block_in(b, scope, &Type::Unknown),
        }
    }

    fn bind_param(&mut self, param: &'p Param, scope: &mut Scope) {
        let ty = self.param_type(param, scope);
        if let Some(default) = &param.default {
            let found = self.expr(default, scope, &ty);
            if differ(&found, &ty) {
                let error = Diagnostic::error("E0113", default.span, format!("the default is {}", article(&found)));
                self.report(error.help(format!("The parameter is {}.", article(&ty))));
            }
        }
        self.bind_pattern(&param.pattern, ty, VarKind::Param, scope);
    }

    /// The code of a declaration, with its first parameter list.
    pub fn code_of(&mut self, at: ItemRef) -> usize {
        if let Some(id) = self.code_of_item.get(&at) {
            return *id;
        }
        let program = self.program;
        let ItemKind::Def(def) = &program.item(at).kind else { unreachable!("only declarations are called") };
        let code = Code {
            name: def.name.as_ref().map_or(String::new(), |n| n.text.clone()),
            params: def.params.first().map_or(&[], |p| p),
            result: def.result.as_ref(),
            generics: &def.generics,
            body: CodeBody::of(&def.body),
            scope: Scope::new(Body { types: type_variables(&def.generics), ..body_of(def.kind, at.file) }),
            lambda: false,
        };
        let id = self.add_code(code);
        self.code_of_item.insert(at, id);
        id
    }

    /// What a name of an item is.
    pub fn item(&mut self, at: ItemRef, name: &str) -> Type {
        let key = (at, name.to_string());
        match self.items.get(&key) {
            Some(known) => return known.clone().unwrap_or(Type::Unknown),
            None => self.items.insert(key.clone(), None),
        };
        let program = self.program;
        let scope = Scope::new(Body::new(at.file, None));
        let item = &program.item(at).kind;
        let ty = match item {
            ItemKind::Param { ty: Some(ty), .. } => self.ty(ty, &scope),
            ItemKind::Param { value, .. } => self.expr(value, &scope, &Type::Unknown),
            ItemKind::Def(def) if matches!(def.kind, DefKind::Policy | DefKind::Data) && def.params.is_empty() => {
                let found = self.body(&def.body, scope);
                if def.kind == DefKind::Data { as_data(found) } else { found }
            }
            ItemKind::Def(_) => Type::Fn(Fun::Item(at)),
            ItemKind::Bind(bind) => {
                // The file's names are not in this scope: a name is looked up there, wherever it is defined.
                for binder in &bind.binders {
                    let want = binder.ty.as_ref().map_or(Type::Unknown, |t| self.ty(t, &scope));
                    let found = match &binder.value {
                        Some(BindValue::Is(e) | BindValue::Drawn(e)) => self.expr(e, &scope, &want),
                        None => Type::Unknown,
                    };
                    let mut parts = scope.inner(self.key());
                    let BindTarget::Pattern(pattern) = &binder.target else { continue };
                    self.bind_pattern(pattern, if want.is_unknown() { found } else { want }, VarKind::Let, &mut parts);
                    for bound in pattern_names(pattern) {
                        let ty = parts.get(&bound.text).map_or(Type::Unknown, |v| v.ty.clone());
                        self.items.insert((at, bound.text.clone()), Some(ty));
                    }
                }
                return self.items.get(&key).cloned().flatten().unwrap_or(Type::Unknown);
            }
            _ => Type::Unknown,
        };
        if let Some(name) = declared(item).next().filter(|_| !matches!(ty, Type::Fn(Fun::Item(_)))) {
            self.bound(name.span, &name.text, &ty);
        }
        self.items.insert(key, Some(ty.clone()));
        ty
    }

    // ---------------------------------------------------------------------------------------------- contracts

    fn define_loss(&mut self, at: ItemRef, def: &'p Def) {
        let roles = self.roles(def, at.file);
        let id = self.code_of(at);
        let code = self.codes[id].clone();
        let Some(per) = head(def) else {
            let name = def.name.as_ref().map_or(def.kind_span, |n| n.span);
            let error = Diagnostic::error("E0212", name, "a loss says what its objective is a mean of");
            self.report(
                error.help("Add to its head: `per token`, `per sample`, `per example`, `per group` or `per batch`."),
            );
            return;
        };
        let mut grouped = false;
        let mut types = Vec::new();
        for (i, param) in code.params.iter().enumerate() {
            let mut ty = self.param_type(param, &code.scope);
            let is_group = |ty: &Type| match ty {
                Type::Record(record) => record.is_group(),
                ty => matches!(ty, Type::Each(..)),
            };
            grouped |= roles.item == Some(i) && is_group(&ty);
            if per == "batch" && (roles.item == Some(i) || matches!(ty, Type::Reply(..))) {
                ty = with_batch(ty);
            }
            types.push(ty);
        }
        let known = ["token", "sample", "example", "group", "batch"];
        let per_name = def.clauses.iter().find_map(|c| match c {
            Clause::Per(name) => Some(name),
            Clause::Over(_) => None,
        });
        if let Some(name) = per_name.filter(|n| !known.contains(&n.text.as_str())) {
            let error = Diagnostic::error("E0212", name.span, format!("a loss is not per `{}`", name.text));
            self.report(match did_you_mean(&name.text, known) {
                Some(near) => error.meant(format!("per {near}")),
                None => error.help("It is `per token`, `per sample`, `per example`, `per group` or `per batch`."),
            });
            return;
        }
        if per == "group"
            && !grouped
            && let Some(Type::Record(_)) = roles.item.map(|i| &types[i])
        {
            let param = &code.params[roles.item.expect("just seen")];
            let span = param.ty.as_ref().map_or(def.kind_span, |t| t.span);
            let error = Diagnostic::error("E0210", span, "`per group` needs a Group").here("this is one item");
            self.report(error.help("Say `per example`, or take a `Group`."));
            return;
        }
        let found = self.instance(id, types, &[]);
        if !found.is_numeric() {
            if matches!(
                found.element(),
                Type::Text | Type::List(_) | Type::Unit | Type::Tuple(_) | Type::Net(_) | Type::Reply(..)
            ) {
                let error = Diagnostic::error("E0210", code.body.span(), "a loss gives a number");
                self.report(error.here(format!("this is {}", article(&found))));
            }
            return;
        }
        if let Some((what, fix)) = head_fits(per, &found.axes(), grouped) {
            let span = per_name.map_or(def.kind_span, |n| n.span);
            let error = Diagnostic::error("E0210", code.body.span(), format!("`per {per}`, but {what}"))
                .here(format!("this is {}", article(&found)))
                .label(span, "said here");
            self.report(error.help(fix));
        }
    }

    fn define_optimizer(&mut self, at: ItemRef, def: &'p Def) {
        let mut body = body_of(def.kind, at.file);
        let axes = |names: &[&str]| Axes(names.iter().map(|n| Axis::open(*n)).collect());
        let weight = def.clauses.first().map(|c| match c {
            Clause::Over(names) => axes(&names.iter().map(|n| n.text.as_str()).collect::<Vec<_>>()),
            Clause::Per(_) => axes(&["tensor", "entry"]),
        });
        let weight = Type::tensor(weight.unwrap_or_else(|| axes(&["entry"])));
        body.weight = Some(weight.clone());
        let mut scope = Scope::new(body);
        for param in def.params.iter().flatten() {
            self.bind_param(param, &mut scope);
        }
        let ast::Body::Block(block) = &def.body else {
            self.body(&def.body, scope);
            return;
        };
        // States may begin as the weight.
        let key = self.key();
        let mut scope = scope.inner(key);
        scope.bind("w", weight.clone(), VarKind::Param, def.kind_span, key);
        for stmt in &block.stmts {
            match &stmt.kind {
                StmtKind::Bind(bind) => self.bind_stmt(bind, &mut scope),
                StmtKind::Method(_) => {}
                _ => {
                    let error = Diagnostic::error("E0141", stmt.span, "an optimizer holds `state` and `update` only");
                    self.report(error.help("What is computed in a step stands in `update(w, g, t) { .. }`."));
                }
            }
        }
        let mut has_update = false;
        for stmt in &block.stmts {
            let StmtKind::Method(method) = &stmt.kind else { continue };
            has_update |= method.name.text == "update";
            let params: &'p [Param] = method.params.first().map_or(&[], |p| p);
            let mut types = Vec::new();
            for param in params {
                let names = pattern_names(&param.pattern);
                let name = names.first().map_or("", |n| n.text.as_str());
                types.push(match name {
                    "w" | "g" => weight.clone(),
                    "t" | "total" => Type::Int,
                    "loss" => Type::Float,
                    _ => Type::Unknown,
                });
                if method.name.text == "update"
                    && !OF_UPDATE.contains(&name)
                    && let Some(name) = names.first()
                {
                    let error = Diagnostic::error("E0117", name.span, format!("`update` is not given `{}`", name.text));
                    self.report(error.help(format!("It may read {}.", super::axes::listed(OF_UPDATE))));
                }
            }
            let code = Code {
                name: method.name.text.clone(),
                params,
                result: method.result.as_ref(),
                generics: &[],
                body: CodeBody::of(&method.body),
                scope: scope.clone(),
                lambda: false,
            };
            let id = self.add_code(code);
            self.instance(id, types, &[]);
        }
        if !has_update {
            let span = def.name.as_ref().map_or(def.kind_span, |n| n.span);
            let error = Diagnostic::error("E0141", span, "an optimizer needs `update`");
            self.report(error.help("It gives the new weight: `update(w, g, t) = w - lr(t) * g`."));
        }
    }

    fn define_env(&mut self, at: ItemRef, def: &'p Def) {
        let mut scope = Scope::new(body_of(def.kind, at.file));
        for param in def.params.iter().flatten() {
            self.bind_param(param, &mut scope);
        }
        let ast::Body::Block(block) = &def.body else {
            self.body(&def.body, scope);
            return;
        };
        for (name, example) in
            [("reset", "reset(task) = { text: \"\" }"), ("step", "step(s, action) = (s, reward: 0, done: true)")]
        {
            let has = |stmt: &ast::Stmt| matches!(&stmt.kind, StmtKind::Method(method) if method.name.text == name);
            if !block.stmts.iter().any(has) {
                let at = def.name.as_ref().map_or(def.kind_span, |name| name.span);
                let error = Diagnostic::error("E0140", at, format!("an environment has the method `{name}`"));
                self.report(error.help(format!("`{example}`")));
            }
        }
        for stmt in &block.stmts {
            match &stmt.kind {
                StmtKind::Bind(bind) => self.bind_stmt(bind, &mut scope),
                StmtKind::Method(method) => {
                    let mut inner = scope.inner(self.key());
                    for param in method.params.iter().flatten() {
                        self.bind_param(param, &mut inner);
                    }
                    self.body(&method.body, inner);
                }
                _ => {}
            }
        }
    }

    /// A declaration with settings, and a second list of what each use gives.
    fn two_lists(&mut self, at: ItemRef, def: &'p Def) {
        let mut scope = Scope::new(body_of(def.kind, at.file));
        for param in def.params.iter().flatten() {
            let clock = matches!(&param.pattern, ast::Pattern::Name(n) if matches!(n.text.as_str(), "t" | "total"));
            if def.kind == DefKind::Schedule && clock && param.ty.is_none() {
                self.bind_pattern(&param.pattern, Type::Int, VarKind::Param, &mut scope);
            } else {
                self.bind_param(param, &mut scope);
            }
        }
        let declared = def.result.as_ref().map(|r| self.ty(r, &scope));
        let mut renames = super::walk::Renames(Vec::new());
        super::walk::body(&def.body, &mut renames);
        let mut body = (*scope.body).clone();
        body.paired = renames.0.iter().map(|n| n.as_str().into()).collect();
        let found = self.body(&def.body, scope.in_body(body));
        let wrong = match &declared {
            Some(declared) => differ(&found, declared),
            None => def.kind == DefKind::Schedule && matches!(found.element(), Type::Text | Type::Bool | Type::List(_)),
        };
        if wrong {
            let span = CodeBody::of(&def.body).span();
            let wanted = declared.unwrap_or(Type::Float);
            let error =
                Diagnostic::error("E0140", span, format!("this is {}, not {}", article(&found), article(&wanted)));
            self.report(error);
        }
    }
}

/// The type variables of a declaration.
pub fn type_variables(generics: &[ast::Generic]) -> Vec<std::rc::Rc<str>> {
    generics
        .iter()
        .filter_map(|g| match g {
            ast::Generic::Type(name) => Some(name.text.as_str().into()),
            _ => None,
        })
        .collect()
}
