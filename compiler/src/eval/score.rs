//! Rewards: functions from a reply to a number, applied to the replies of an item.
//!
//! A reward that is `none` masks its sample: the sample leaves all fields `each sample` of its item, and an item with no sample
//! left is no item. So does one that fails: an index out of range, a division by zero, fuel used up, a number that is not
//! finite. How many did is counted by name ([`Tally`]).

use super::bind::{Values, param_name};
use super::call::{Arg, Call, wrong};
use super::expr::NONE;
use super::fuel::OF_A_REWARD;
use super::value::{Applied, DefCode, Function, Net, Record, Value};
use super::{Eval, Frame, Loop, Res, fault};
use crate::program::Program;
use crate::stage::convert::REPLY;
use crate::stage::{convert, text};
use align_syntax::ast::{DefKind, Param, TypeKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// The parts of a sum, by name.
const PARTS: &str = "rewards";

/// A sum of rewards, ready to be applied.
pub struct Rewards {
    terms: Vec<Term>,
    span: Span,
    /// The operations that each may take for one reply.
    fuel: u64,
}

struct Term {
    weight: f64,
    /// What the part is called: `rewards.NAME`.
    name: Rc<str>,
    of: Judge,
}

enum Judge {
    /// A lambda of the reply, or of the reply and the item.
    Lambda(Value),
    /// `.field` of the item.
    Field(Value),
    /// A reward model: its `score` of the reply.
    Net(Rc<Net>),
    /// A declaration, and where its parameters come from.
    Code(Rc<DefCode>, Vec<(Rc<str>, Source, Span)>),
}

/// Where a parameter of a reward comes from.
enum Source {
    Reply,
    Given(Value),
    /// A function of the item that was given as a setting: one value per item.
    OfItem(Value),
    /// The field of its name, or the item itself for a record.
    Named(Param),
}

/// What one reward gave for one reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    Number(f64),
    /// One for each token.
    Tokens(Vec<f64>),
}

/// How rewards went, by name, since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub counts: Vec<Count>,
}

#[derive(Clone, Debug, Default)]
pub struct Count {
    pub name: String,
    /// Replies that got a number.
    pub scored: u64,
    /// Those for which the reward was `none`.
    pub none: u64,
    /// Those for which it failed.
    pub failed: u64,
    /// The first failure.
    pub fault: Option<Box<Diagnostic>>,
}

impl Tally {
    fn of(&mut self, name: &str) -> &mut Count {
        match self.counts.iter().position(|count| count.name == name) {
            Some(at) => &mut self.counts[at],
            None => {
                self.counts.push(Count { name: name.to_string(), ..Count::default() });
                self.counts.last_mut().expect("just added")
            }
        }
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: Tally) {
        for count in other.counts {
            let own = self.of(&count.name);
            own.scored += count.scored;
            own.none += count.none;
            own.failed += count.failed;
            own.fault = own.fault.take().or(count.fault);
        }
    }

    /// The first failure of all.
    pub fn fault(&self) -> Option<&Diagnostic> {
        self.counts.iter().find_map(|count| count.fault.as_deref())
    }

    /// What a report says of rewards that did not give a number for every reply: a sentence for each.
    pub fn sentences(&self) -> Vec<String> {
        let odd = self.counts.iter().filter(|count| count.none + count.failed > 0);
        odd.map(|count| {
            let all = count.scored + count.none + count.failed;
            let mut parts = vec![];
            if count.failed > 0 {
                let why = count.fault.as_ref().map_or(String::new(), |fault| format!(" ({})", fault.message));
                parts.push(format!("failed for {}{why}", count.failed));
            }
            if count.none > 0 {
                parts.push(format!("was none for {}", count.none));
            }
            format!("the reward `{}` {} of {all} replies, which were left out", count.name, parts.join(" and "))
        })
        .collect()
    }
}

impl Rewards {
    /// The same, where each may take so many operations for one reply.
    pub fn with_fuel(self, fuel: u64) -> Rewards {
        Rewards { fuel, ..self }
    }

    /// The rewards that a value is: a `reward` with its settings or none, a function, or a sum of multiples of these.
    pub fn new(eval: &mut Eval, value: &Value, span: Span) -> Res<Rewards> {
        let mut rewards = Rewards { terms: vec![], span, fuel: OF_A_REWARD };
        rewards.add(eval, 1.0, value)?;
        Ok(rewards)
    }

    /// Their names, as `rewards.NAME`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| &*term.name)
    }

    fn add(&mut self, eval: &mut Eval, weight: f64, value: &Value) -> Res<()> {
        let (name, of) = match value {
            Value::Sum(terms) => {
                return terms.iter().try_for_each(|(by, term)| self.add(eval, weight * by, term));
            }
            Value::Applied(applied) if applied.code.def.kind == DefKind::Reward => {
                (applied.code.name().to_string(), self.code(eval, applied)?)
            }
            Value::Function(function) => match &**function {
                Function::Lambda { .. } => ("reward".to_string(), Judge::Lambda(value.clone())),
                Function::Accessor(path) => {
                    (path.rsplit('.').next().unwrap_or(path).into(), Judge::Field(value.clone()))
                }
                Function::Def { def, given: None } if matches!(def.def.kind, DefKind::Reward | DefKind::Fn) => {
                    let applied = Applied { code: def.clone(), positional: vec![], named: vec![], span: self.span };
                    (def.name().to_string(), self.code(eval, &applied)?)
                }
                Function::Def { .. } | Function::Builtin(_) => ("reward".to_string(), Judge::Lambda(value.clone())),
                _ => return self.no_reward(value),
            },
            Value::Net(net) => (net.name(), Judge::Net(net.clone())),
            _ => return self.no_reward(value),
        };
        let same = self.terms.iter().filter(|t| *t.name == name || t.name.starts_with(&format!("{name}_"))).count();
        let name = if same > 0 { format!("{name}_{}", same + 1) } else { name };
        self.terms.push(Term { weight, name: name.into(), of });
        Ok(())
    }

    fn no_reward(&self, value: &Value) -> Res<()> {
        let message = format!("`score` takes a reward or a function of a reply, this is {}", value.kind());
        fault("E0113", self.span, message)
    }

    /// Where each parameter of a declaration comes from. Defaults are left to the call.
    fn code(&self, eval: &mut Eval, applied: &Applied) -> Res<Judge> {
        let def = &applied.code;
        let params = def.def.params.first().map_or(&[][..], |params| params);
        let draw = draw_of(params);
        let mut positional = applied.positional.iter();
        let mut sources = vec![];
        for (i, param) in params.iter().enumerate() {
            let name: Rc<str> = param_name(param).into();
            if draw == Some(i) {
                sources.push((name, Source::Reply, applied.span));
                continue;
            }
            let named = applied.named.iter().find(|(n, _)| *n == name).map(|(_, value)| value);
            match named.or_else(|| positional.next()) {
                Some(value) => {
                    let is_fn = param.ty.as_ref().is_some_and(|ty| matches!(ty.kind, TypeKind::Fn(..)));
                    let of_item = !is_fn
                        && matches!(value, Value::Function(f) if matches!(**f, Function::Accessor(_) | Function::Lambda { .. }));
                    let source = if of_item { Source::OfItem(value.clone()) } else { Source::Given(value.clone()) };
                    sources.push((name, source, applied.span));
                }
                None if param.default.is_some() => {}
                None => sources.push((name, Source::Named(param.clone()), applied.span)),
            }
        }
        if positional.next().is_some() {
            let message = format!("`{}` takes {} settings", def.name(), params.len() - usize::from(draw.is_some()));
            return fault("E0112", applied.span, message);
        }
        let _ = eval;
        Ok(Judge::Code(def.clone(), sources))
    }
}

/// How many settings of a reward have no default and are not given by name.
fn waiting(params: &[Param], is_named: impl Fn(&str) -> bool) -> usize {
    let draw = draw_of(params);
    let waits =
        |(i, param): &(usize, &Param)| draw != Some(*i) && param.default.is_none() && !is_named(&param_name(param));
    params.iter().enumerate().filter(waits).count()
}

/// The parameter of a reward that is the reply: the first of that type, or the first without a type.
fn draw_of(params: &[Param]) -> Option<usize> {
    let is_reply = |param: &Param| matches!(param.ty.as_ref().map(|ty| &ty.kind), Some(TypeKind::Named { name, .. }) if name.text == "Reply");
    let untyped = |param: &&Param| param.ty.is_none() && param.default.is_none();
    params.iter().position(is_reply).or_else(|| params.first().filter(untyped).map(|_| 0))
}

/// An item whose reply is judged.
struct Judged<'a> {
    reply: Value,
    item: &'a Rc<Record>,
    /// Which sample of a group, and the names of the fields that have one for each.
    sample: Option<(usize, &'a [Rc<str>])>,
}

impl Judged<'_> {
    /// A field, as this sample has it.
    fn field(&self, name: &str) -> Option<Value> {
        let value = self.item.get(name)?;
        Some(match self.sample {
            Some((i, each)) if each.iter().any(|n| **n == *name) => of_sample(value, i),
            _ => value.clone(),
        })
    }

    /// The item, as this sample has it.
    fn whole(&self) -> Value {
        if self.sample.is_none() {
            return Value::Record(self.item.clone());
        }
        let fields = self.item.fields.iter().map(|(name, _)| (name.clone(), self.field(name).unwrap_or(Value::Unit)));
        Value::Record(Rc::new(Record { name: self.item.name.clone(), fields: fields.collect() }))
    }
}

/// What a field `each sample` is for one of them.
fn of_sample(value: &Value, i: usize) -> Value {
    match value {
        Value::List(list) => list.get(i).cloned().unwrap_or(Value::None),
        Value::Record(parts) => {
            let fields = parts.fields.iter().map(|(name, part)| (name.clone(), of_sample(part, i))).collect();
            Value::Record(Rc::new(Record { name: parts.name.clone(), fields }))
        }
        other => other.clone(),
    }
}

/// The fields of an item that have a value for each of its samples.
pub fn each_sample(program: &Program, item: &Record) -> Vec<Rc<str>> {
    let Some(Value::List(replies)) = item.get(REPLY) else { return vec![] };
    let declared = item.name.as_ref().map_or(&[][..], |name| convert::fields_of(program, name));
    // What was added to a group has one value for each of its replies. A List that the item had before may be as long by chance.
    let first = item.fields.iter().position(|(name, _)| **name == *REPLY).unwrap_or(0);
    let is_each = |(at, (name, value)): &(usize, &(Rc<str>, Value))| match declared
        .iter()
        .find(|field| field.name.text == **name)
    {
        Some(field) => convert::each(&field.ty).is_some_and(|(_, axis)| axis == "sample"),
        None if **name == *PARTS => true,
        None => *at >= first && matches!(value, Value::List(list) if list.len() == replies.len()),
    };
    item.fields.iter().enumerate().filter(is_each).map(|(_, (name, _))| name.clone()).collect()
}

impl Eval<'_> {
    /// An item with the fields `reward` and `rewards`; `None` if no reply of it has a reward. Failures are counted, not given back.
    pub fn score_item(&mut self, rewards: &Rewards, item: &Value) -> Res<Option<Value>> {
        let span = rewards.span;
        let Value::Record(record) = item else {
            let message = format!("`score` takes items with the field `{REPLY}`, this is {}", item.kind());
            return fault("E0113", span, message);
        };
        let Some(reply) = record.get(REPLY) else {
            let error = Diagnostic::error(
                "E0120",
                span,
                format!("the items have no field `{REPLY}` that a reward could judge"),
            );
            return Err(Box::new(error.help("name the field that is the reply: `as Answered { reply: .answer }`")));
        };
        let prompt = record.get("prompt");
        let Value::List(replies) = reply else {
            let judged = Judged { reply: as_reply(reply, prompt, span)?, item: record, sample: None };
            let Some(got) = self.judge(rewards, &judged)? else { return Ok(None) };
            let (sum, parts) = totals(rewards, got);
            let mut scored = (**record).clone();
            scored.set("reward", number(sum));
            let fields =
                rewards.terms.iter().zip(parts).map(|(term, part)| (term.name.clone(), number(part))).collect();
            scored.set(PARTS, Value::Record(Rc::new(Record { name: None, fields })));
            return Ok(Some(Value::Record(Rc::new(scored))));
        };
        let each = each_sample(self.program, record);
        let (mut kept, mut sums) = (vec![], vec![]);
        let mut columns: Vec<Vec<Value>> = vec![vec![]; rewards.terms.len()];
        for (i, reply) in replies.iter().enumerate() {
            let judged = Judged { reply: as_reply(reply, prompt, span)?, item: record, sample: Some((i, &each)) };
            let got = self.round(Loop::default(), i as u64, |eval| eval.judge(rewards, &judged))?;
            let Some(got) = got else { continue };
            let (sum, parts) = totals(rewards, got);
            kept.push(i);
            sums.push(number(sum));
            columns.iter_mut().zip(parts).for_each(|(column, part)| column.push(number(part)));
        }
        if kept.is_empty() {
            return Ok(None);
        }
        let mut scored = (**record).clone();
        if kept.len() < replies.len() {
            for (name, value) in &mut scored.fields {
                if each.contains(name) {
                    *value = only(value, &kept);
                }
            }
        }
        scored.set("reward", Value::list(sums));
        let fields = rewards.terms.iter().zip(columns).map(|(term, column)| (term.name.clone(), Value::list(column)));
        scored.set(PARTS, Value::Record(Rc::new(Record { name: None, fields: fields.collect() })));
        Ok(Some(Value::Record(Rc::new(scored))))
    }

    /// The sum of rewards for a reply that answers an item; `None` if one of them is none. Nothing is counted.
    pub fn total(&mut self, rewards: &Rewards, reply: Value, item: &Rc<Record>) -> Res<Option<f64>> {
        let reply = as_reply(&reply, item.get("prompt"), rewards.span)?;
        let judged = Judged { reply, item, sample: None };
        let mut got = vec![];
        for term in &rewards.terms {
            match self.one_reward(term, &judged, (rewards.fuel, rewards.span))? {
                Some(one) => got.push(one),
                None => return Ok(None),
            }
        }
        Ok(Some(rewards.terms.iter().zip(&got).map(|(term, got)| term.weight * at_end(got)).sum()))
    }

    /// What each reward gives for one reply; `None` if one of them gives nothing or fails.
    fn judge(&mut self, rewards: &Rewards, judged: &Judged) -> Res<Option<Vec<Got>>> {
        let mut all = Some(vec![]);
        for term in &rewards.terms {
            let got = self.one_reward(term, judged, (rewards.fuel, rewards.span));
            let tally = self.tally.clone();
            let mut tally = tally.borrow_mut();
            let count = tally.of(&term.name);
            match got {
                Ok(Some(got)) => {
                    count.scored += 1;
                    if let Some(all) = &mut all {
                        all.push(got);
                    }
                    continue;
                }
                Ok(None) => count.none += 1,
                // Nobody answers what the reward asks: that is no failure of the reward.
                Err(error) if error.code == "E0190" => return Err(error),
                Err(error) => {
                    count.failed += 1;
                    count.fault.get_or_insert(error);
                }
            }
            all = None;
        }
        // Those that give one number stand at the last token beside those that give one for each; all of these are as long.
        let length = all.iter().flatten().find_map(|got| if let Got::Tokens(x) = got { Some(x.len()) } else { None });
        let fits = |got: &Got| {
            matches!((got, length), (Got::Tokens(x), Some(n)) if x.len() == n && n > 0) || matches!(got, Got::Number(_))
        };
        if !all.iter().flatten().all(fits) {
            let tally = self.tally.clone();
            let mut tally = tally.borrow_mut();
            let count = tally.of(&rewards.terms[0].name);
            let message = "the rewards for each token are of different lengths, or there is no token";
            count.fault.get_or_insert_with(|| Box::new(Diagnostic::error("E0334", rewards.span, message)));
            (count.scored, count.failed) = (count.scored - 1, count.failed + 1);
            return Ok(None);
        }
        Ok(all)
    }

    fn one_reward(&mut self, term: &Term, judged: &Judged, (fuel, span): (u64, Span)) -> Res<Option<Got>> {
        // What tensor code adds for this reply goes with it.
        let frames = std::mem::replace(&mut self.frames, vec![Frame::default()]);
        let result = self.budgeted(fuel, |eval| {
            let value = match &term.of {
                Judge::Lambda(f) => eval.call_lambda_of(f, judged, span),
                Judge::Field(f) => eval.call_value(f, vec![judged.whole()], span),
                Judge::Net(net) => eval.score_of(net, &judged.reply, span),
                Judge::Code(def, sources) => eval.call_reward(def, sources, judged, span),
            };
            match value {
                Err(error) if error.code == NONE => Ok(None),
                value => eval.number_of_reward(value?, span),
            }
        });
        self.frames = frames;
        result
    }

    fn call_lambda_of(&mut self, f: &Value, judged: &Judged, span: Span) -> Res<Value> {
        let takes = match f {
            Value::Function(f) => match &**f {
                Function::Lambda { code, .. } => code.params.len(),
                _ => 1,
            },
            _ => 1,
        };
        let mut given = vec![judged.reply.clone()];
        if takes > 1 {
            given.push(judged.whole());
        }
        self.call_value(f, given, span)
    }

    fn call_reward(
        &mut self,
        def: &Rc<DefCode>,
        sources: &[(Rc<str>, Source, Span)],
        judged: &Judged,
        span: Span,
    ) -> Res<Value> {
        let mut values = Values::default();
        for (name, source, at) in sources {
            let value = match source {
                Source::Reply => judged.reply.clone(),
                Source::Given(value) => value.clone(),
                Source::OfItem(f) => self.call_value(f, vec![judged.whole()], *at)?,
                Source::Named(param) => self.offered_to_reward(name, param, judged, (def, *at))?,
            };
            values.named.push((name.clone(), value, *at));
        }
        self.run_reward(def, values, span)
    }

    /// What a parameter that was not given is taken from: the field of its name, the item, or what the stage offers.
    fn offered_to_reward(&mut self, name: &str, param: &Param, judged: &Judged, of: (&DefCode, Span)) -> Res<Value> {
        if let Some(value) = judged.field(name) {
            return Ok(value);
        }
        if let Some((_, value)) = self.offered.iter().find(|(n, _)| n == name) {
            return Ok(value.clone());
        }
        let env = self.top(of.0.file);
        let is_record = match param.ty.as_ref().map(|ty| &ty.kind) {
            Some(TypeKind::Named { name, .. }) => self.record_fields(&name.text, &env).is_some(),
            Some(TypeKind::Shape(_)) => true,
            _ => false,
        };
        if is_record {
            return Ok(judged.whole());
        }
        let error = Diagnostic::error("E0111", of.1, format!("`{}` needs `{name}`", of.0.name()));
        Err(Box::new(error.here("the items have no field of that name to take it from")))
    }

    /// What a reward gave, as numbers.
    fn number_of_reward(&mut self, value: Value, span: Span) -> Res<Option<Got>> {
        let value = match value {
            Value::None => return Ok(None),
            Value::Some(inner) => (*inner).clone(),
            value => value,
        };
        let got = match (&value, value.number()) {
            (_, Some(number)) => Got::Number(number),
            (Value::List(list), _) if !list.is_empty() => {
                let numbers: Option<Vec<f64>> = list.iter().map(Value::number).collect();
                match numbers {
                    Some(numbers) => Got::Tokens(numbers),
                    None => return no_number(&value, span),
                }
            }
            (Value::Tensor(_), _) => match self.constant(&value, span)? {
                Some(of) if of.axes.is_empty() => Got::Number(of.data[0]),
                Some(of) if matches!(&of.axes[..], [axis] if axis.name() == "time") => Got::Tokens(of.data),
                _ => return no_number(&value, span),
            },
            _ => return no_number(&value, span),
        };
        let bad = match &got {
            Got::Number(x) => Some(*x).filter(|x| !x.is_finite()),
            Got::Tokens(all) => all.iter().copied().find(|x| !x.is_finite()),
        };
        match bad {
            Some(bad) => fault("E0721", span, format!("the reward is {bad}")),
            None => Ok(Some(got)),
        }
    }

    /// A reward, or a sum of them, called as a function: with a reply, and the item that it takes its fields from.
    pub(super) fn call_rewards(&mut self, of: &Value, values: Values, span: Span) -> Res<Value> {
        let rewards = Rewards::new(self, of, span)?;
        let (draw, item) = match &values.positional[..] {
            [(draw, _)] => (draw, None),
            [(draw, _), (Value::Record(item), _)] => (draw, Some(item.clone())),
            _ => return fault("E0111", span, "a reward is called with a reply, and the item that it answers"),
        };
        let item = item.unwrap_or_default();
        let judged = Judged { reply: as_reply(draw, item.get("prompt"), span)?, item: &item, sample: None };
        let mut got = vec![];
        for term in &rewards.terms {
            match self.one_reward(term, &judged, (rewards.fuel, span))? {
                Some(one) => got.push(one),
                None => return Ok(Value::None),
            }
        }
        Ok(number(totals(&rewards, got).0))
    }

    /// Whether a call of a reward gives it what it judges, not only settings.
    pub(super) fn judges_now(&self, def: &DefCode, values: &Values) -> bool {
        let params = def.def.params.first().map_or(&[][..], |params| params);
        let could_be = |value: &Value| match value {
            Value::Reply(_) | Value::Stream(_) => true,
            Value::Record(record) => record.name.as_deref() == Some("Reply"),
            value => said(value),
        };
        // It may be a setting: it is the reply where there are more values than settings wait for one.
        let waiting = waiting(params, |name| values.named.iter().any(|n| *n.0 == *name));
        values.positional.first().is_some_and(|(first, _)| could_be(first)) && values.positional.len() > waiting
    }

    /// A reward that is called with its reply and its settings, in the order of its parameters.
    pub(super) fn reward_now(&mut self, def: &Rc<DefCode>, mut values: Values, span: Span) -> Res<Value> {
        let params = def.def.params.first().map_or(&[][..], |params| params);
        if let Some(draw) = draw_of(params)
            && let Some((value, at)) = values.positional.first().cloned()
        {
            values.positional.remove(0);
            let draw = param_name(&params[draw]);
            let reply = if said(&value) { as_reply(&value, None, at)? } else { value };
            values.named.push((draw.into(), reply, at));
        }
        self.run_reward(def, values, span)
    }
}

/// The sum, and its parts.
fn totals(rewards: &Rewards, parts: Vec<Got>) -> (Got, Vec<Got>) {
    let tokens = parts.iter().find_map(|part| if let Got::Tokens(x) = part { Some(x.len()) } else { None });
    let Some(length) = tokens else {
        let sum = rewards.terms.iter().zip(&parts).map(|(term, part)| term.weight * at_end(part)).sum();
        return (Got::Number(sum), parts);
    };
    let mut sum = vec![0.0; length];
    for (term, part) in rewards.terms.iter().zip(&parts) {
        match part {
            Got::Number(x) => sum[length - 1] += term.weight * x,
            Got::Tokens(x) => sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += term.weight * x),
        }
    }
    (Got::Tokens(sum), parts)
}

fn at_end(part: &Got) -> f64 {
    match part {
        Got::Number(x) => *x,
        Got::Tokens(x) => x.iter().sum(),
    }
}

fn number(got: Got) -> Value {
    match got {
        Got::Number(x) => Value::Float(x),
        Got::Tokens(x) => Value::list(x.into_iter().map(Value::Float).collect()),
    }
}

fn no_number<T>(value: &Value, span: Span) -> Res<T> {
    fault(
        "E0140",
        span,
        format!("a reward gives a Float, an `Option[Float]` or a Float for each token, this is {}", value.kind()),
    )
}

/// The samples of a field that are kept.
fn only(value: &Value, kept: &[usize]) -> Value {
    match value {
        Value::List(list) => Value::list(kept.iter().filter_map(|i| list.get(*i).cloned()).collect()),
        Value::Record(parts) => {
            let fields = parts.fields.iter().map(|(name, part)| (name.clone(), only(part, kept))).collect();
            Value::Record(Rc::new(Record { name: parts.name.clone(), fields }))
        }
        other => other.clone(),
    }
}

/// Whether a value is text that could be a reply.
fn said(value: &Value) -> bool {
    matches!(value, Value::Text(_) | Value::Pieces(_) | Value::Prompt(_))
}

/// A reply; a text becomes one, and of a chat what the assistant says.
fn as_reply(value: &Value, prompt: Option<&Value>, span: Span) -> Res<Value> {
    let text = match value {
        Value::Reply(_) => return Ok(value.clone()),
        // One of tests, made of tensors.
        Value::Record(record) if record.name.as_deref() == Some("Reply") => return Ok(value.clone()),
        Value::Chat(chat) => {
            let said: Vec<&str> = chat.messages[chat.given..].iter().map(|m| &*m.content).collect();
            text::Pieces::filled(said.join("\n"))
        }
        value => match convert::pieces(value) {
            Some(pieces) => pieces,
            None => return fault("E0113", span, format!("the field `{REPLY}` is a Reply, this is {}", value.kind())),
        },
    };
    let prompt = match prompt {
        Some(Value::Prompt(prompt)) => prompt.clone(),
        Some(other) => Rc::new(text::Prompt(convert::pieces(other).unwrap_or_default())),
        None => Rc::default(),
    };
    Ok(Value::Reply(Rc::new(text::Reply::of(prompt, text))))
}

/// `xs |> score(reward)`, of an item, a List of items or Data.
pub(super) fn score(eval: &mut Eval, call: &Call, of: Value) -> Res<Value> {
    let [first, reward] = &call.positional[..] else { return wrong(call, call.span, "takes items and a reward") };
    let (at, reward_at) = (first.span(), reward.span());
    if let (Value::Foreign(_), Some(hooks)) = (&of, eval.hooks.clone()) {
        let positional = vec![Arg::Value(of, at), reward.clone()];
        return hooks.call(eval, "score", &Call { positional, named: call.named.clone(), ..*call });
    }
    let reward = eval.arg(reward, call.env)?;
    let rewards = Rewards::new(eval, &reward, reward_at)?;
    let items = match &of {
        Value::List(list) => list.clone(),
        one => Rc::new(vec![one.clone()]),
    };
    let scored = eval.score_all(&rewards, |eval, tally| {
        let mut scored = vec![];
        for (i, item) in items.iter().enumerate() {
            scored.extend(eval.round(Loop::default(), i as u64, |eval| eval.score_item(tally, item))?);
        }
        Ok(scored)
    })?;
    Ok(match of {
        Value::List(_) => Value::list(scored),
        _ => scored.into_iter().next().expect("that nothing is left is a fault"),
    })
}

impl Eval<'_> {
    /// Scores items; that nothing is left of some is a fault.
    pub fn score_all<T>(
        &mut self,
        rewards: &Rewards,
        f: impl FnOnce(&mut Self, &Rewards) -> Res<Vec<T>>,
    ) -> Res<Vec<T>> {
        let outer = std::mem::take(&mut *self.tally.borrow_mut());
        let scored = f(self, rewards);
        let own = std::mem::replace(&mut *self.tally.borrow_mut(), outer);
        let lost = match &scored {
            Ok(scored) if scored.is_empty() => nothing_left(&own, rewards),
            _ => None,
        };
        self.tally.borrow_mut().add(own);
        match lost {
            Some(lost) => Err(lost),
            None => scored,
        }
    }
}

/// Why no reply has a reward; `None` if there was none to judge.
pub fn nothing_left(tally: &Tally, rewards: &Rewards) -> Option<Box<Diagnostic>> {
    let count = tally.counts.iter().max_by_key(|count| (count.failed, count.none))?;
    let all = count.scored + count.none + count.failed;
    if let Some(fault) = &count.fault {
        let mut fault = fault.clone();
        if all > 1 {
            let said =
                format!("the reward `{}` fails for {} of {all} replies, and none is left", count.name, count.failed);
            fault.labels.push((rewards.span, said));
        }
        return Some(fault);
    }
    let message = format!("no reply has a reward: `{}` is none for {} of {all}", count.name, count.none);
    let help = "a reward that is none leaves its reply out; give a number where it should count: `.. |> or_else(0)`";
    Some(Box::new(Diagnostic::error("E0720", rewards.span, message).help(help)))
}

#[cfg(test)]
mod tests;
