//! What host code asks of policies about texts of rows: `score(rm, x.reply)` in code that makes rows, a filter, a reward.
//!
//! Host code runs row by row, and policies read many rows at once. So who makes rows ([`Asks`]) runs their code twice: once to see
//! what it asks, and again with the answers.

use super::bind::Values;
use super::call::{Arg, Call};
use super::value::{Net, Value};
use super::{Eval, Res, fault};
use align_syntax::span::Span;
use std::rc::Rc;

/// Who answers.
pub trait Asks {
    /// What `f` gives of these arguments, of which `args[at]` is a text. `None`: that is nothing that policies could be asked at
    /// once for many texts.
    fn ask(&self, eval: &mut Eval, f: &Value, args: &[Value], at: usize, span: Span) -> Option<Res<Value>>;
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
