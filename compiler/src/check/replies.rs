//! What nets say of replies, and what sampling and scoring add to items.

use super::Checker;
use super::args::Bound;
use super::axes::{Axes, Axis, AxisKind, listed};
use super::builtins::{Row, Rule};
use super::by_rule::REMOTE;
use super::dispatch::Brackets;
use super::ops::article;
use super::types::{Fun, Record, Type};
use align_syntax::ast::{Expr, ExprKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

impl<'p> Checker<'p> {
    /// `logp`, `logits`, `value`, `hidden`, `next`: what a net says of a reply.
    pub fn of_reply(&mut self, row: &Row, bound: &Bound<'p>, types: &[Vec<Type>], brackets: &Brackets) -> Type {
        // `entropy[a](p)` is a reduction of numbers.
        if !brackets.is_empty() || types.get(1).is_none_or(Vec::is_empty) {
            return Type::Unknown;
        }
        if let Some(ty) = types[0].first()
            && self.only_writes(ty, &format!("`{}`", row.name), bound[0][0].span())
        {
            return Type::Unknown;
        }
        if matches!(row.rule, Rule::Value) && !self.scores(row.name, bound, types) {
            return Type::Unknown;
        }
        let last = if row.name == "kl" { 2 } else { 1 };
        let Some(reply) = types[last].first() else { return Type::Unknown };
        if let Type::Record(record) = reply.element() {
            let replies: Vec<&str> = record
                .fields
                .iter()
                .filter(|f| matches!(f.1.element(), Type::Reply(..)))
                .map(|f| f.0.as_str())
                .collect();
            if !record.open && !replies.is_empty() {
                let at = bound[last][0].span();
                let error =
                    Diagnostic::error("E0113", at, format!("`{}` is of a reply, not of a whole record", row.name))
                        .here(format!("this is {}", article(reply)));
                let source = self.source(at).to_string();
                self.report(error.help(format!("Name the field: `{source}.{}`.", replies[0])));
            }
            return Type::Unknown;
        }
        let own = matches!(types[0].first(), Some(Type::Net(net)) if net.item.is_some());
        let outer = match reply {
            Type::Each(element, axes) if matches!(**element, Type::Reply(..) | Type::Prompt) => axes.clone(),
            Type::Each(..) => return Type::Unknown,
            _ => Axes::default(),
        };
        let kind = match reply.element() {
            Type::Reply(_, Some(origin)) => AxisKind::Ragged(origin.clone()),
            Type::Reply(..) | Type::Text | Type::Prompt | Type::Tokens => AxisKind::Open,
            _ => return Type::Unknown,
        };
        let time = Axis::new("time", kind);
        let inner = match row.rule {
            // A net of one's own may give other axes than those of a language model.
            Rule::Logits | Rule::Hidden | Rule::Next if own => return Type::Unknown,
            Rule::Logits => vec![time, Axis::new("vocab", AxisKind::Fixed(None))],
            Rule::Hidden => vec![time, Axis::new("dim", AxisKind::Fixed(None))],
            Rule::Next => vec![Axis::new("vocab", AxisKind::Fixed(None))],
            _ => vec![time],
        };
        let axes = inner.into_iter().fold(outer.clone(), Axes::with);
        self.lifted(bound[last][0].span(), row.name, &outer);
        Type::tensor(axes)
    }

    /// E0302: a remote policy is asked for more than replies.
    pub fn only_writes(&mut self, ty: &Type, what: &str, at: Span) -> bool {
        let is_remote = matches!(ty, Type::Net(net) if net.name == REMOTE);
        if is_remote {
            self.report(*crate::stage::remote::lacks(what, at));
        }
        is_remote
    }

    /// E0302 for settings of `sample` and `generate` that a remote policy does not have.
    pub fn settings_of_writer(&mut self, policy: &Type, bound: &Bound<'p>, params: &[super::builtins::BuiltinParam]) {
        for (arg, param) in bound.iter().zip(params) {
            if let (Some(arg), "sampler" | "begin" | "env" | "turns" | "input") = (arg.first(), param.name)
                && self.only_writes(policy, &format!("`{}:`", param.name), arg.span())
            {
                return;
            }
        }
    }

    /// E0120: a net that certainly has no `value` or `score` is asked for it.
    fn scores(&mut self, what: &str, bound: &Bound<'p>, types: &[Vec<Type>]) -> bool {
        let Some(Type::Net(net)) = types[0].first() else { return true };
        if net.scores != Some(false) {
            return true;
        }
        self.report(crate::eval::lacks(&net.name, what, bound[0][0].span()));
        false
    }

    /// `score(scorer, reply)` is a number; `data |> score(reward)` adds the field `reward`.
    pub fn score(&mut self, bound: &Bound<'p>, types: &[Vec<Type>]) -> Type {
        let Some(first) = types[0].first() else { return Type::Unknown };
        if let Type::Net(_) = first {
            if self.only_writes(first, "`score`", bound[0][0].span()) {
                return Type::Unknown;
            }
            if !self.scores("score", bound, types) {
                return Type::Unknown;
            }
            return match types[1].first() {
                Some(reply) if matches!(reply.element(), Type::Reply(..)) => Type::Float.each(reply.axes()),
                _ => Type::Unknown,
            };
        }
        let item = match first.item() {
            Some(Type::Each(of, _)) => (*of).clone(),
            Some(of) => of,
            None => Type::Unknown,
        };
        if let Type::Record(record) = &item
            && !record.open
            && record.get("reply").is_none()
        {
            let error = Diagnostic::error("E0120", bound[0][0].span(), "the items have no field `reply` to judge")
                .here(format!("they have {}", listed(&record.names().collect::<Vec<_>>())));
            self.report(
                error.help("Make it with `sample(policy)`, or name it: `map(x => x with { reply: x.answer })`."),
            );
            return Type::Unknown;
        }
        match types[1].first() {
            Some(net @ Type::Net(_)) if self.only_writes(net, "`score`", bound[1][0].span()) => return Type::Unknown,
            Some(Type::Reward(uses)) => uses.iter().for_each(|of| self.item_fits(of, &item)),
            Some(Type::Fn(Fun::Closure(id))) => self.reward_of_lambda(*id, &item, bound[1][0].span()),
            _ => {}
        }
        scored(first)
    }

    /// A lambda in `score` takes the reply, or the reply and the item.
    fn reward_of_lambda(&mut self, id: usize, item: &Type, at: Span) {
        let code = self.codes[id].clone();
        let reply = item.field("reply").map_or(Type::Reply(None, None), |reply| reply.element().clone());
        let types: Vec<Type> = [reply, item.clone()].into_iter().take(code.params.len()).collect();
        if types.len() < code.params.len() {
            let error = Diagnostic::error("E0112", at, "a reward takes the reply, or the reply and the item");
            return self.report(error.here(format!("this takes {} values", code.params.len())));
        }
        let found = self.entered(at, &code, &types, |c| c.instance(id, types.clone(), &[]));
        if matches!(found.element(), Type::Text | Type::Record(_) | Type::Unit | Type::Reply(..) | Type::Net(_)) {
            let error = Diagnostic::error("E0140", code.body.span(), "a reward gives a Float");
            let error = error.here(format!("this is {}", article(&found)));
            self.report(error.help("A Float, an `Option[Float]`, or a Float for each token, `Tensor[time]`."));
        }
    }

    /// What `sample` makes of each item: a reply, or a group of them.
    pub fn sampled(
        &mut self,
        bound: &Bound<'p>,
        types: &[Vec<Type>],
        params: &[super::builtins::BuiltinParam],
    ) -> Type {
        let position = |name: &str| params.iter().position(|p| p.name == name);
        if let Some(policy) = types[1].first() {
            self.settings_of_writer(policy, bound, params);
        }
        let source = types[0].first().cloned().unwrap_or(Type::Unknown);
        let item = source.item().unwrap_or_else(|| source.clone());
        if let Some(i) = position("prompt").filter(|i| !bound[*i].is_empty())
            && let (Some(Type::Fn(Fun::Accessor(path))), Type::Record(_)) = (types[i].first(), &item)
        {
            let at = accessor_span(bound[i][0].expr());
            self.field_of(&item, (&path[0], at), None);
        }
        let Type::Record(record) = item else {
            return if matches!(source, Type::Data(_) | Type::List(_)) {
                Type::data(Type::Unknown)
            } else {
                Type::Unknown
            };
        };
        let time = Axes(vec![Axis::open("time")]);
        let mut record = (*record).clone();
        record.name = None;
        // A sampler or an environment adds fields of its own.
        record.open |= ["sampler", "env"].iter().any(|p| position(p).is_some_and(|i| !bound[i].is_empty()));
        let prompt = Some("prompt".to_string());
        let record = record
            .with("reply", Type::Reply(prompt, None))
            .with("logp", Type::tensor(time.clone()))
            .with("fresh", Type::Bool.each(time))
            .with("finished", Type::Bool);
        let record = if record.get("prompt").is_some() { record } else { record.with("prompt", Type::Prompt) };
        let mut ty = Type::Record(Rc::new(record));
        if position("n").is_some_and(|i| !bound[i].is_empty()) {
            ty = ty.each(Axes(vec![Axis::open("sample")]));
        }
        match source {
            Type::Data(_) | Type::List(_) => Type::data(ty),
            _ => ty,
        }
    }
}

pub fn scored(ty: &Type) -> Type {
    let with = |of: &Type| match of {
        Type::Record(record) => {
            let record = Record { name: None, ..(**record).clone() };
            Type::Record(Rc::new(record.with("reward", Type::Unknown).with("rewards", Type::Unknown)))
        }
        other => other.clone(),
    };
    let of = |ty: &Type| match ty {
        Type::Each(element, axes) => with(element).each(axes.clone()),
        other => with(other),
    };
    match ty {
        Type::Data(inner) => Type::data(of(inner)),
        Type::List(inner) => Type::list(of(inner)),
        other => of(other),
    }
}

/// The first name of `.a.b`.
pub fn accessor_span(e: &Expr) -> Span {
    match &*e.kind {
        ExprKind::Accessor(name) => name.span,
        ExprKind::Dot(base, _) => accessor_span(base),
        _ => e.span,
    }
}
