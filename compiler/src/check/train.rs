//! `train`: its slots.

use super::Checker;
use super::args::{Arg, Given};
use super::block::as_data;
use super::ops::article;
use super::scope::{Scope, VarKind};
use super::types::{LossUse, Type};
use crate::stage::slots::table::{self, SlotRow};
use align_syntax::ast::{Args, DefKind, Expr, ExprKind, ItemKind, Name, Pattern, SlotKind, Slots};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;

/// Units of `batch`.
const UNITS: &[&str] = &["examples", "tokens", "groups", "samples", "steps"];

/// What the slots of a `train`, or of an `update` in it, say.
#[derive(Default)]
struct Said<'p> {
    /// Paths of `only` and `except`.
    paths: Vec<&'p Expr>,
    items: Option<Type>,
    losses: Vec<LossUse>,
    words: Vec<(String, Span)>,
    /// What is trained: an evaluation that names no policy is given it.
    policy: Option<(&'p Expr, Type)>,
}

impl<'p> Checker<'p> {
    pub fn train(
        &mut self,
        span: Span,
        what: &'p Expr,
        pattern: Option<&'p Pattern>,
        slots: &'p Slots,
        s: &Scope,
    ) -> Type {
        let start = self.expr(what, s, &Type::Unknown);
        if matches!(start, Type::Int | Type::Float | Type::Bool | Type::Text | Type::Data(_) | Type::Optimizer) {
            let error = Diagnostic::error("E0113", what.span, "what is trained is a policy or another net");
            self.report(error.here(format!("this is {}", article(&start))));
        }
        let parts = if let Type::Tuple(parts) = &start {
            parts.iter().map(|p| p.1.clone()).collect()
        } else {
            vec![start.clone()]
        };
        parts.iter().any(|part| self.only_writes(part, "weights to train", what.span));
        let mut inner = s.inner(self.key());
        if let Some(pattern) = pattern {
            self.bind_pattern(pattern, start.clone(), VarKind::Param, &mut inner);
        }
        for line in &slots.lines {
            if let SlotKind::Bind(bind) = &line.kind {
                self.bind_stmt(bind, &mut inner);
            }
        }
        let trained: Vec<Type> = match &start {
            Type::Tuple(parts) => parts.iter().map(|part| part.1.clone()).collect(),
            one => vec![one.clone()],
        };
        let said = self.slots_of(slots, &inner, None, &trained, Some((what, start.clone())));
        if let Type::Net(net) = &start {
            said.paths.iter().for_each(|path| self.inner_value(net, path));
        }
        let has = |word: &str| said.words.iter().any(|w| w.0 == word);
        for (word, example) in [("loss", "loss sft(.reply)"), ("optimizer", "optimizer adamw(lr: 1e-4)")] {
            if !has(word) && !has("update") {
                let at = Span { end: span.start + 5, ..span };
                let error = Diagnostic::error("E0131", at, format!("`train` needs the slot `{word}`"));
                self.report(error.help(format!("Add it: `{example}`.")));
            }
        }
        start
    }

    /// Checks slots; `outer` is what stands around an `update`.
    fn slots_of(
        &mut self,
        slots: &'p Slots,
        s: &Scope,
        outer: Option<&Type>,
        trained: &[Type],
        policy: Option<(&'p Expr, Type)>,
    ) -> Said<'p> {
        let mut said = Said { items: outer.cloned(), policy, ..Said::default() };
        let mut updates = Vec::new();
        for line in &slots.lines {
            match &line.kind {
                SlotKind::Bind(_) => {}
                SlotKind::Each { count, body } => {
                    self.expr(count, s, &Type::Int);
                    let mut inner = s.inner(self.key());
                    let key = self.key();
                    // The items of the step: a list that is also read like one item with the axis `batch`.
                    inner.bind("batch", Type::Unknown, VarKind::Let, line.span, key);
                    inner.bind("step", Type::Int, VarKind::Let, line.span, key);
                    self.block_in(body, inner, &Type::Unknown);
                }
                SlotKind::Slot { word, args, slots: nested } => {
                    let Some(row) = table::find(&word.text) else {
                        let near = did_you_mean(&word.text, table::words());
                        said.words.extend(near.map(|near| (near.to_string(), word.span)));
                        self.unknown_slot(word, args, s);
                        continue;
                    };
                    let repeats = matches!(row.word, "update" | "eval" | "on" | "loss");
                    if let Some((_, first)) = said.words.iter().find(|w| w.0 == word.text && !repeats) {
                        let error =
                            Diagnostic::error("E0133", word.span, format!("the slot `{}` stands twice", word.text));
                        self.report(error.label(*first, "first here"));
                    }
                    said.words.push((word.text.clone(), word.span));
                    self.slot(row, word, args, s, &mut said);
                    if let Some(nested) = nested {
                        // `update critic { .. }`
                        let net = match args.positional.first().map(|e| &*e.kind) {
                            Some(ExprKind::Word(name)) => s.get(name).map(|var| var.ty.clone()),
                            _ => None,
                        };
                        updates.push((nested, net.unwrap_or(Type::Unknown)));
                    }
                }
            }
        }
        let items = said.items.clone();
        for (nested, net) in updates {
            self.slots_of(nested, s, items.as_ref(), &[net], None);
        }
        for used in std::mem::take(&mut said.losses) {
            self.nets_fit(&used, trained);
            if let Some(items) = &items {
                self.item_fits(&used, items);
            }
        }
        said
    }

    /// E0130
    fn unknown_slot(&mut self, word: &'p Name, args: &'p Args, s: &Scope) {
        let error = Diagnostic::error("E0130", word.span, format!("`train` has no slot `{}`", word.text));
        let near = did_you_mean(&word.text, table::words());
        let error = match (word.text.as_str(), near) {
            ("reward", _) => {
                error.help("Rewards are part of the data: `on prompts |> sample(q, n: 8) |> score(reward)`.")
            }
            ("lr" | "learning_rate", _) => {
                error.help("The learning rate is a setting of the optimizer: `optimizer adamw(lr: 1e-4)`.")
            }
            ("data" | "dataset", _) => error.help("The data are the slot `on`."),
            ("grad_clip" | "max_grad_norm", _) => error.help("The norm of the gradient is cut by `clip 1.0`."),
            ("accumulate" | "gradient_accumulation_steps" | "micro_batch", _) => {
                error.help("Micro-batches follow from memory; `batch` is the whole optimizer step.")
            }
            ("frozen", _) => error.help("It is an argument of `precision`: `precision f32, frozen: q8`."),
            (_, Some(near)) => error.meant(near),
            (_, None) => {
                let words: Vec<&str> = table::words().collect();
                error.help(format!("Its slots are {}.", super::axes::listed(&words)))
            }
        };
        self.report(error);
        for e in args.positional.iter().chain(args.named.iter().map(|n| &n.1)) {
            if !matches!(&*e.kind, ExprKind::Word(_)) {
                self.expr(e, s, &Type::Unknown);
            }
        }
    }

    fn slot(&mut self, row: &SlotRow, word: &'p Name, args: &'p Args, s: &Scope, said: &mut Said<'p>) {
        for (i, (name, value)) in args.named.iter().enumerate() {
            if args.named[..i].iter().any(|(other, _)| other.text == name.text) {
                let message = format!("`{}` stands twice", name.text);
                self.report(Diagnostic::error("E0133", name.span, message).help("Take one of them out."));
            }
            // `eval { name: e }` is a record; `eval name: e` is not.
            if !row.named.contains(&name.text.as_str()) {
                let error = Diagnostic::error(
                    "E0110",
                    name.span,
                    format!("the slot `{}` has no argument `{}`", word.text, name.text),
                );
                self.report(match (did_you_mean(&name.text, row.named.iter().copied()), row.named) {
                    (Some(near), _) => error.meant(near),
                    (None, []) => error.help(format!("`{}` takes a value alone.", word.text)),
                    (None, named) => error.help(format!("It takes {}.", super::axes::listed(named))),
                });
            }
            match table::choices(&name.text) {
                Some(words) => self.one_of(name, value, &words),
                None => drop(self.expr(value, s, &Type::Unknown)),
            }
        }
        let values: Vec<&'p Expr> = args.positional.iter().chain(&args.trailing).collect();
        let Some(first) = values.first().copied() else {
            let error = Diagnostic::error("E0131", word.span, format!("the slot `{}` needs a value", word.text));
            return self.report(error);
        };
        if let Some(words) = table::choices(row.word) {
            for value in values {
                self.one_of(word, value, &words);
            }
            return;
        }
        match row.word {
            "on" => {
                let ty = self.expr(first, s, &Type::Unknown);
                self.data_slot(first, &ty);
                said.items = Some(as_data(ty).item().unwrap_or(Type::Unknown));
            }
            "loss" => {
                let ty = self.expr(first, s, &Type::Unknown);
                self.loss_slot(first, &ty, said);
            }
            "optimizer" => {
                let ty = self.expr(first, s, &Type::Unknown);
                self.optimizer_slot(first, &ty);
            }
            "batch" => self.batch(first, s),
            "steps" | "epochs" | "workers" | "seed" | "passes" => {
                if let ExprKind::Quantity(_, unit) = &*first.kind {
                    let error = Diagnostic::error("E0132", unit.span, format!("`{}` is a number alone", word.text));
                    return self.report(error.help(format!("Take `{}` out.", unit.text)));
                }
                let ty = self.expr(first, s, &Type::Int);
                if matches!(ty, Type::Text | Type::Bool | Type::Record(_) | Type::List(_)) && row.word != "seed" {
                    let error = Diagnostic::error("E0113", first.span, format!("`{}` is a number", word.text));
                    self.report(error.here(format!("this is {}", article(&ty))));
                }
            }
            "clip" => {
                if !matches!(&*first.kind, ExprKind::Word(w) if w == "none") {
                    self.expr(first, s, &Type::Float);
                }
            }
            // These read what is tracked, by name; paths are accessors.
            "only" | "except" => said.paths.extend(values),
            "until" | "keep" | "on_fault" | "incremental" => {}
            "update" => {
                if !matches!(&*first.kind, ExprKind::Word(w) if s.get(w).is_some()) {
                    self.expr(first, s, &Type::Unknown);
                }
            }
            "eval" => values.into_iter().for_each(|value| self.eval_slot(value, s, said)),
            _ => {
                for value in values {
                    self.expr(value, s, &Type::Unknown);
                }
            }
        }
    }

    /// `eval accuracy(test)` is `eval accuracy(p, test)` for the policy p that trains; in a record each field.
    fn eval_slot(&mut self, value: &'p Expr, s: &Scope, said: &Said<'p>) {
        match (&*value.kind, &said.policy) {
            (ExprKind::Fields(entries), _) => entries.iter().for_each(|e| self.eval_slot(&e.value, s, said)),
            (ExprKind::Call(f, args), Some((what, ty))) if !self.names_policy(args, s) => {
                let mut given = Given::new(args);
                given.positional.insert(0, Arg::Piped(what, ty.clone()));
                self.call_given(value.span, f, given, s, (&Type::Unknown, &[]));
            }
            _ => drop(self.expr(value, s, &Type::Unknown)),
        }
    }

    /// Whether the first argument is a policy.
    fn names_policy(&self, args: &Args, s: &Scope) -> bool {
        let Some(ExprKind::Word(word)) = args.positional.first().map(|e| &*e.kind) else { return false };
        match s.get(word) {
            Some(var) => matches!(var.ty, Type::Net(_) | Type::Unknown),
            None => {
                let at = self.program.lookup(s.body.file, word);
                let kind = at.map(|at| &self.program.item(at).kind);
                matches!(kind, Some(ItemKind::Def(def)) if def.kind == DefKind::Policy)
            }
        }
    }

    fn one_of(&mut self, word: &Name, value: &'p Expr, words: &[&str]) {
        let ExprKind::Word(text) = &*value.kind else { return };
        if words.contains(&text.as_str()) {
            return;
        }
        let error = Diagnostic::error("E0134", value.span, format!("`{}` cannot be `{text}`", word.text));
        let near = did_you_mean(text, words.iter().copied());
        self.report(match (table::instead(&word.text, text), near) {
            (Some(instead), _) => error.help(instead),
            (None, Some(near)) => error.meant(near),
            (None, None) => error.help(format!("It is one of {}.", super::axes::listed(words))),
        });
    }

    fn data_slot(&mut self, e: &'p Expr, ty: &Type) {
        let wrong = matches!(ty, Type::Int | Type::Bool | Type::Text | Type::Net(_) | Type::Loss(_));
        let parts: Vec<&str> = match ty {
            Type::Record(record) if record.fields.iter().all(|(_, t)| matches!(t, Type::Data(_))) => {
                record.names().collect()
            }
            _ => Vec::new(),
        };
        if !wrong && parts.is_empty() {
            return;
        }
        let error = Diagnostic::error("E0113", e.span, "`on` takes data").here(format!("this is {}", article(ty)));
        self.report(match parts[..] {
            [first, ..] => {
                let source = self.source(e.span).to_string();
                error.help(format!("The data were split. Name the part: `{source}.{first}`."))
            }
            [] => error,
        });
    }

    fn loss_slot(&mut self, e: &'p Expr, ty: &Type, said: &mut Said<'p>) {
        match ty {
            Type::Loss(uses) => said.losses.extend(uses.iter().cloned()),
            Type::Fn(super::types::Fun::Item(item))
                if self.def(*item).is_some_and(|d| d.kind == align_syntax::ast::DefKind::Loss) =>
            {
                let source = self.source(e.span).to_string();
                let error = Diagnostic::error("E0118", e.span, format!("`{source}` is used without its parentheses"));
                self.report(error.help(format!("A loss is given its settings, even if there are none: `{source}()`.")));
            }
            Type::Record(record) => {
                for (_, part) in &record.fields {
                    if let Type::Loss(uses) = part {
                        said.losses.extend(uses.iter().cloned());
                    }
                }
            }
            Type::Int
            | Type::Float
            | Type::Bool
            | Type::Text
            | Type::Optimizer
            | Type::Schedule
            | Type::Reward(_)
            | Type::Net(_)
            | Type::Data(_) => {
                let error = Diagnostic::error("E0113", e.span, "`loss` takes a loss");
                self.report(error.here(format!("this is {}", article(ty))));
            }
            _ => {}
        }
    }

    fn optimizer_slot(&mut self, e: &'p Expr, ty: &Type) {
        let source = self.source(e.span).to_string();
        match ty {
            Type::Fn(super::types::Fun::Item(_)) => {
                let error = Diagnostic::error("E0118", e.span, format!("`{source}` is used without its parentheses"));
                self.report(error.help(format!("An optimizer is given its settings: `{source}(lr: 1e-4)`.")));
            }
            Type::Int
            | Type::Float
            | Type::Bool
            | Type::Text
            | Type::Schedule
            | Type::Loss(_)
            | Type::Net(_)
            | Type::Data(_) => {
                let error = Diagnostic::error("E0113", e.span, "`optimizer` takes an optimizer");
                let error = error.here(format!("this is {}", article(ty)));
                self.report(match ty {
                    Type::Schedule => {
                        error.help("A schedule is a setting of it: `optimizer adamw(lr: cosine(peak: 1e-3))`.")
                    }
                    _ => error,
                });
            }
            _ => {}
        }
    }

    /// `batch 32 examples`
    fn batch(&mut self, e: &'p Expr, s: &Scope) {
        match &*e.kind {
            ExprKind::Quantity(_, unit) if UNITS.contains(&unit.text.as_str()) && unit.text != "steps" => {}
            ExprKind::Quantity(n, unit) => {
                let error = Diagnostic::error("E0132", unit.span, format!("a batch has no unit `{}`", unit.text));
                self.report(match did_you_mean(&unit.text, UNITS[..4].iter().copied()) {
                    Some(near) => error.meant(format!("{n} {near}")),
                    None => error.help("It is counted in `examples`, `tokens`, `groups` or `samples`."),
                });
            }
            ExprKind::Int(n) => {
                let error = Diagnostic::error("E0132", e.span, "a batch says what it counts");
                self.report(error.help(format!("Write `batch {n} examples`, or `tokens`, `groups`, `samples`.")));
            }
            _ => {
                self.expr(e, s, &Type::Unknown);
            }
        }
    }
}
