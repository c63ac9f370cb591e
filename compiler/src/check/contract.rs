//! Uses of declarations with a contract: losses, rewards, optimizers, schedules, samplers, environments.

use super::Checker;
use super::args::{Given, Slot, takes};
use super::axes::{Axes, Axis, AxisKind};
use super::dispatch::Brackets;
use super::scope::Scope;
use super::types::{LossUse, Type};
use crate::program::ItemRef;
use align_syntax::ast::{Clause, Def, DefKind, ItemKind, Param, TypeKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;

/// Which parameters of a contract its engine gives.
pub struct Roles {
    /// The nets that are trained: the first parameters of a loss.
    pub nets: Vec<usize>,
    /// The whole item; a loss such as `sft` reads a field of it instead.
    pub item: Option<usize>,
    /// The draw that a reward judges.
    pub draw: Option<usize>,
}

impl Roles {
    pub fn given(&self, i: usize) -> bool {
        self.nets.contains(&i) || self.item == Some(i) || self.draw == Some(i)
    }
}

impl<'p> Checker<'p> {
    /// A call of a declaration.
    pub fn call_item(&mut self, item: ItemRef, brackets: &Brackets, given: &Given<'p>, at: Span, s: &Scope) -> Type {
        let Some(def) = self.def(item) else {
            self.evaluate(given, s);
            return Type::Unknown;
        };
        // A name with axes in brackets is another function than the name without.
        let axes = def.generics.iter().any(|g| !matches!(g, align_syntax::ast::Generic::Type(_)));
        let mut other = !brackets.is_empty() && !axes && def.kind != DefKind::Fn;
        if brackets.is_empty() && axes && def.kind == DefKind::Fn {
            let first = given.positional.first().map(|arg| self.arg(arg, s, &Type::Unknown));
            other |= first.is_some_and(|ty| !ty.is_numeric());
        }
        if other {
            self.evaluate(given, s);
            return Type::Unknown;
        }
        match def.kind {
            DefKind::Fn | DefKind::Policy | DefKind::Data => {
                let id = self.code_of(item);
                let result = self.call_code(id, brackets, given, at, s);
                if def.params.len() > 1 { Type::Unknown } else { result }
            }
            DefKind::Net => self.make_net(item, given, at, s),
            DefKind::Loss | DefKind::Reward => self.use_of(item, def, given, at, s),
            DefKind::Optimizer | DefKind::Schedule | DefKind::Sampler | DefKind::Env => {
                self.settings(def, given, at, s);
                match def.kind {
                    DefKind::Optimizer => Type::Optimizer,
                    DefKind::Schedule => Type::Schedule,
                    DefKind::Sampler => Type::Sampler,
                    _ => Type::Env,
                }
            }
            DefKind::Pipeline | DefKind::Study => {
                self.evaluate(given, s);
                Type::Unknown
            }
        }
    }

    pub fn def(&self, item: ItemRef) -> Option<&'p Def> {
        let program = self.program;
        match &program.item(item).kind {
            ItemKind::Def(def) => Some(def),
            _ => None,
        }
    }

    /// Settings of an optimizer, a schedule, a sampler or an environment.
    fn settings(&mut self, def: &'p Def, given: &Given<'p>, at: Span, s: &Scope) {
        let name = def.name.as_ref().map_or("", |n| &n.text);
        let of = format!("`{name}`");
        // A schedule with one list has no settings: the list is what each use gives.
        let params: &'p [Param] = match (def.kind, &def.params[..]) {
            (DefKind::Schedule | DefKind::Sampler, [_]) => &[],
            (_, [first, ..]) => first,
            _ => &[],
        };
        // The policy that draws is offered: it is what a sampler names first.
        let params = match (def.kind, params) {
            (DefKind::Sampler, [first, rest @ ..]) if is_net(first) => rest,
            _ => params,
        };
        let slots = Self::slots(params);
        let bound = self.bind(&of, &slots, given, at, true);
        let own = Scope::new(super::call::body_of(def.kind, at.file));
        for (i, args) in bound.iter().enumerate() {
            let Some(arg) = args.first() else { continue };
            let want = self.written(&params[i], own.clone());
            let ty = self.arg(arg, s, &want);
            self.fits(&of, &slots[i].name, arg.span(), (&ty, &want));
        }
    }

    pub fn written(&mut self, param: &'p Param, scope: Scope) -> Type {
        param.ty.as_ref().map_or(Type::Unknown, |t| self.ty(t, &scope))
    }

    /// Which parameters the engine gives.
    pub fn roles(&mut self, def: &'p Def, file: align_syntax::span::FileId) -> Roles {
        let params: &'p [Param] = def.params.first().map_or(&[], |p| p);
        let scope = Scope::new(super::call::body_of(def.kind, file));
        if def.kind == DefKind::Reward {
            let draw = params
                .iter()
                .position(|p| p.ty.as_ref().is_some_and(|t| named(t) == Some("Reply")))
                .or_else(|| params.first().filter(|p| p.ty.is_none() && p.default.is_none()).map(|_| 0));
            return Roles { nets: Vec::new(), item: None, draw };
        }
        let mut nets = Vec::new();
        for (i, param) in params.iter().enumerate() {
            let ty = self.written(param, scope.clone());
            if matches!(ty, Type::Net(_)) || is_net(param) { nets.push(i) } else { break }
        }
        let item = params.get(nets.len()).filter(|p| p.default.is_none()).and_then(|p| {
            let whole = match &p.ty {
                None => true,
                Some(ty) => match &ty.kind {
                    TypeKind::Shape(_) => true,
                    TypeKind::Named { name, args } => {
                        let plain =
                            ["Reply", "Tensor", "Int", "Float", "Bool", "Text", "Prompt", "Chat", "Tokens", "List"];
                        name.text == "Group" || (args.is_empty() && !plain.contains(&name.text.as_str()))
                    }
                    _ => false,
                },
            };
            whole.then_some(nets.len())
        });
        Roles { nets, item, draw: None }
    }

    /// A loss or reward with its settings, or one that is called with all it takes.
    fn use_of(&mut self, item: ItemRef, def: &'p Def, given: &Given<'p>, at: Span, s: &Scope) -> Type {
        let params: &'p [Param] = def.params.first().map_or(&[], |p| p);
        let roles = self.roles(def, item.file);
        let name = def.name.as_ref().map_or("", |n| n.text.as_str());
        let of = format!("`{name}`");
        let first = given.positional.first().map(|arg| self.arg(arg, s, &Type::Unknown));
        let direct = match (&first, def.kind) {
            (Some(Type::Net(_)), DefKind::Loss) => !roles.nets.is_empty(),
            (Some(ty), DefKind::Reward) => {
                // It may be a setting: it is the reply where there are more values than settings wait for one.
                let named = |p: &Param| given.named.iter().any(|(n, _)| *n.text == *super::args::slot_name(p));
                let waits = |(i, p): &(usize, &Param)| !roles.given(*i) && p.default.is_none() && !named(p);
                let waiting = params.iter().enumerate().filter(waits).count();
                matches!(ty.element(), Type::Reply(..) | Type::Text) && given.positional.len() > waiting
            }
            _ => false,
        };
        let unclear = first.as_ref().is_some_and(Type::is_unknown);
        if direct || unclear {
            // One net for a loss of two may be a setting of it.
            let nets =
                given.positional.iter().filter(|a| matches!(self.arg(a, s, &Type::Unknown), Type::Net(_))).count();
            let few = direct && nets < roles.nets.len();
            return self.direct(item, def, (given, &roles), at, s, unclear || few);
        }
        let mut order: Vec<usize> = (0..params.len()).filter(|i| !roles.given(*i)).collect();
        order.extend((0..params.len()).filter(|i| roles.given(*i)));
        let all = Self::slots(params);
        let mut slots: Vec<Slot> = order.iter().map(|i| Slot { optional: true, ..all[*i].clone() }).collect();
        if def.kind == DefKind::Loss {
            slots.push(Slot { name: "on".to_string(), optional: true, function: false, many: false });
        }
        let shown: Vec<Slot> = slots[..slots.len() - roles.nets.len().min(slots.len())].to_vec();
        let own = Scope::new(super::call::body_of(def.kind, item.file));
        let positional = order.iter().filter(|i| !roles.given(**i)).count();
        if given.positional.len() > positional && positional == 0 {
            let arg = &given.positional[0];
            let error = Diagnostic::error("E0112", arg.span(), format!("{of} takes no positional arguments here"));
            self.report(error.help(takes(&of, &shown)));
            return Type::Unknown;
        }
        let bound = self.bind(&of, &slots, given, at, false);
        let mut settings = Vec::new();
        let mut data = None;
        for (i, args) in bound.iter().enumerate() {
            let Some(arg) = args.first() else { continue };
            let Some(&param) = order.get(i) else {
                data = Some(self.arg(arg, s, &Type::Unknown));
                continue;
            };
            let want = self.written(&params[param], own.clone());
            let ty = self.arg(arg, s, &want);
            self.fits(&of, &slots[i].name, arg.span(), (&ty, &want));
            settings.push((slots[i].name.clone(), ty, arg.span()));
        }
        let used = LossUse { name: name.to_string(), item: Some(item), given: settings, at };
        // A loss with its own data is checked against these.
        if let Some(item_ty) = data.as_ref().and_then(Type::item) {
            self.item_fits(&used, &item_ty);
            let checked = LossUse { item: None, ..used };
            return Type::Loss(vec![checked]);
        }
        match def.kind {
            DefKind::Loss => Type::Loss(vec![used]),
            _ => Type::Reward(vec![used]),
        }
    }

    /// `dpo(p, pair, reference: q)`
    fn direct(
        &mut self,
        item: ItemRef,
        def: &'p Def,
        (given, roles): (&Given<'p>, &Roles),
        at: Span,
        s: &Scope,
        unclear: bool,
    ) -> Type {
        let params: &'p [Param] = def.params.first().map_or(&[], |p| p);
        let of = format!("`{}`", def.name.as_ref().map_or("", |n| n.text.as_str()));
        let mut slots = Self::slots(params);
        if unclear {
            // Whether it is called or given settings is not known.
            self.evaluate(given, s);
            for (name, _) in &given.named {
                if name.text != "on" && !slots.iter().any(|p| p.name == name.text) {
                    self.unknown_argument(&of, name, &slots);
                }
            }
            return Type::Unknown;
        }
        // With the net alone and data elsewhere it is a function of the net.
        let alone = given.positional.len() <= roles.nets.len();
        slots.iter_mut().for_each(|slot| slot.optional |= alone);
        slots.push(Slot { name: "on".to_string(), optional: true, function: false, many: false });
        let bound = self.bind(&of, &slots, given, at, true);
        let own = Scope::new(super::call::body_of(def.kind, item.file));
        let mut lifted = Axes::default();
        let mut unknown = false;
        for (i, args) in bound.iter().enumerate() {
            let Some(arg) = args.first() else { continue };
            let want = params.get(i).map_or(Type::Unknown, |p| self.written(p, own.clone()));
            let ty = self.arg(arg, s, &want);
            if roles.draw == Some(i) && matches!(ty, Type::Text) {
                continue;
            }
            match self.fits(&of, &slots[i].name, arg.span(), (&ty, &want)) {
                Some(axes) => lifted = lifted.union(&axes).unwrap_or(lifted),
                None => unknown = true,
            }
            unknown |= matches!(ty, Type::List(_) | Type::Data(_))
                || (ty.is_unknown() && params.get(i).is_some_and(|p| !is_net(p)));
        }
        let scalar = match def.kind {
            DefKind::Loss => matches!(head(def), Some("example" | "group" | "batch")),
            _ => def.result.as_ref().is_some_and(|r| named(r) == Some("Float")),
        };
        if scalar && !unknown && !alone { Type::Float.each(lifted) } else { Type::Unknown }
    }
}

/// The head of a loss: `token` of `per token`.
pub fn head(def: &Def) -> Option<&str> {
    def.clauses.iter().find_map(|c| match c {
        Clause::Per(name) => Some(name.text.as_str()),
        Clause::Over(_) => None,
    })
}

/// The item of a loss `per batch` has its fields for every item.
pub fn with_batch(ty: Type) -> Type {
    match ty {
        Type::Unknown => Type::Unknown,
        ty => ty.each(Axes(vec![Axis::new("batch", AxisKind::Batch)])),
    }
}

/// Whether a parameter is written as one of the interfaces of nets.
pub fn is_net(param: &Param) -> bool {
    param.ty.as_ref().is_some_and(|t| matches!(named(t), Some("Policy" | "Scorer" | "Net")))
}

fn named(ty: &align_syntax::ast::Type) -> Option<&str> {
    match &ty.kind {
        TypeKind::Named { name, .. } => Some(&name.text),
        _ => None,
    }
}
