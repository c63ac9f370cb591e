//! What host code asks of policies about texts of rows: `score(rm, x.reply)` in code that makes rows, a filter, a reward.
//!
//! Host code runs row by row, and policies read many rows at once. So who makes rows ([`Asks`]) runs their code until it needs an
//! answer, and again with what all rows have asked by then.

use super::bind::Values;
use super::call::{Arg, Call};
use super::env::Env;
use super::value::{Foreign, Net, Value};
use super::{Eval, MISSING, NONE, Res, fault};
use align_syntax::span::Span;
use std::any::Any;
use std::rc::Rc;

/// Who answers.
pub trait Asks {
    /// What `f` gives of these arguments, of which `args[at]` is a text. `None`: that is nothing that policies could be asked at
    /// once for many texts.
    fn ask(&self, eval: &mut Eval, f: &Value, args: &[Value], at: usize, span: Span) -> Option<Res<Value>>;
    /// How often something was asked.
    fn count(&self) -> usize;
    /// Whether an answer that the code of this row has asked for is still to come: what is wrong after that may be right with it.
    fn waits(&self) -> bool;
    fn set_waits(&self, waits: bool);
}

/// An answer that is still to come. It may be handed on and put into lists and records; nothing can be made of it, so code
/// goes on as long as it needs no answer, and all that it has asked by then is answered together.
#[derive(Debug)]
struct Pending;

impl Foreign for Pending {
    fn kind(&self) -> String {
        "answer that is still to come".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What stands for such an answer.
pub(crate) fn pending() -> Value {
    Value::Foreign(Rc::new(Pending))
}

pub(super) fn is_pending(value: &Value) -> bool {
    matches!(value, Value::Foreign(of) if of.as_any().is::<Pending>())
}

/// Elements of a list that are made one by one: one that has to wait for an answer leaves the others free to ask.
pub(super) struct Elements {
    before: bool,
    any: bool,
    begun: u64,
    assigned: usize,
}

impl Elements {
    pub fn new(eval: &Eval) -> Elements {
        let before = eval.waits();
        Elements { before, any: before, begun: Env::now(), assigned: eval.assigned.len() }
    }

    pub fn make(&mut self, eval: &mut Eval, f: impl FnOnce(&mut Eval) -> Res<Value>) -> Res<Value> {
        if !eval.is_asking() {
            return f(eval);
        }
        let result = f(eval);
        let waits = eval.waits();
        self.any |= waits;
        // What a round has assigned the next one reads.
        let mut assigned = eval.assigned.iter().skip(self.assigned);
        let is_apart = !assigned.any(|(begun, _)| *begun < self.begun);
        match result {
            Err(error) if waits && is_apart && ![NONE, MISSING].contains(&error.code) => {
                eval.set_waits(self.before);
                Ok(pending())
            }
            Ok(value) if is_apart => {
                eval.set_waits(self.before);
                Ok(value)
            }
            other => other,
        }
    }

    pub fn end(self, eval: &Eval) {
        if eval.is_asking() {
            eval.set_waits(self.any);
        }
    }
}

/// Whether a value is a text that policies read.
fn is_text(value: &Value) -> bool {
    matches!(value, Value::Reply(_) | Value::Prompt(_) | Value::Chat(_))
}

impl Eval<'_> {
    /// Runs code with somebody who answers.
    pub(crate) fn with_asks<T>(&mut self, asks: Rc<dyn Asks>, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.asks.replace(asks);
        let result = f(self);
        self.asks = outer;
        result
    }

    /// Whether somebody answers what is asked of policies.
    pub(crate) fn is_asking(&self) -> bool {
        self.asks.is_some() && !self.is_tracing()
    }

    /// Whether an answer is still to come that the code of this row has asked for.
    fn waits(&self) -> bool {
        self.asks.as_ref().is_some_and(|asks| asks.waits())
    }

    fn set_waits(&self, waits: bool) {
        self.asks.iter().for_each(|asks| asks.set_waits(waits));
    }

    /// Whether code runs that makes a row of data.
    pub(crate) fn is_in_row(&self) -> bool {
        self.rows > 0
    }

    /// Runs code that makes a row of data.
    pub(crate) fn in_row<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        self.rows += 1;
        let result = f(self);
        self.rows -= 1;
        result
    }

    /// Runs host code. The tensors that it made are dropped where `drops` says so after it: what it gives then holds none.
    pub(crate) fn aside(&mut self, f: impl FnOnce(&mut Self) -> Res<()>, drops: &dyn Fn() -> bool) -> Res<()> {
        let graphs: Vec<_> = self.frames.iter().map(|frame| frame.graph.clone()).collect();
        let result = f(self);
        if drops() {
            self.frames.iter_mut().zip(graphs).for_each(|(frame, graph)| frame.graph = graph);
        }
        result
    }

    /// The answer to a primitive on a net and a text, where host code runs and somebody answers.
    pub(super) fn asked(&mut self, call: &Call, net: &Value, of: &Value) -> Res<Option<Value>> {
        if !matches!(net, Value::Net(_)) || !is_text(of) || self.is_tracing() {
            return Ok(None);
        }
        let Some(asks) = self.asks.clone() else { return Ok(None) };
        asks.ask(self, &Value::builtin(call.name), &[net.clone(), of.clone()], 1, call.span).transpose()
    }

    /// The answer of a function that is given nets and one text: asked for as a whole, it may give less than what it reads.
    pub(super) fn asked_of(&mut self, f: &Value, values: &Values, span: Span) -> Option<Res<Value>> {
        let asks = self.asks.clone().filter(|_| !self.is_tracing() && values.named.is_empty())?;
        let mut texts = values.positional.iter().enumerate().filter(|(_, (value, _))| is_text(value));
        let (Some((at, _)), None) = (texts.next(), texts.next()) else { return None };
        if !values.positional.iter().any(|(value, _)| matches!(value, Value::Net(_))) {
            return None;
        }
        // A number of the row would be another question in each.
        let is_fixed = |value: &Value| match value {
            Value::Net(_) | Value::Function(_) | Value::Applied(_) => true,
            Value::List(list) => list.iter().all(|one| matches!(one, Value::Net(_))),
            _ => false,
        };
        if values.positional.iter().enumerate().any(|(i, (value, _))| i != at && !is_fixed(value)) {
            return None;
        }
        let args: Vec<Value> = values.positional.iter().map(|(value, _)| value.clone()).collect();
        asks.ask(self, f, &args, at, span)
    }

    /// `score(net, reply)`, whatever `score` means in the program.
    pub(super) fn score_of(&mut self, net: &Rc<Net>, reply: &Value, span: Span) -> Res<Value> {
        let env = self.top(self.program.main());
        let positional = vec![Arg::Value(Value::Net(net.clone()), span), Arg::Value(reply.clone(), span)];
        let call = Call { name: "score", span, brackets: None, positional, named: vec![], env: &env };
        super::policy::of_net(self, &call)
    }

    /// A value of host code without tensors: numbers, and lists of them.
    pub(crate) fn plain(&self, value: &Value, span: Span) -> Res<Value> {
        super::known::mapped(value, &mut |leaf| match self.constant(leaf, span)? {
            Some(of) if of.axes.is_empty() => self.as_number(leaf.clone(), span),
            Some(of) if of.axes.len() == 1 => Ok(Value::list(of.data.into_iter().map(Value::Float).collect())),
            Some(of) => fault("E0113", span, format!("a field of a row has at most one axis, this has {:?}", of.axes)),
            None => Ok(leaf.clone()),
        })
    }
}
