//! `batch`: the items of an optimizer step, as the body of a loss sees them.
//!
//! A value of one item has no such axis, and reductions over it still know what to do: `mean[batch](x)` takes the x of every
//! item. `all[batch](x)` says so, and keeps the axis.

use super::call::{Arg, Call, wrong};
use super::value::Value;
use super::{Eval, Res};
use crate::batch::training::is_of_the_step;
use crate::tensor::{Axis, Node, Op};
use align_syntax::ast::ExprKind;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;

/// Where the items of a step are.
#[derive(Clone, Default)]
pub(crate) enum Step {
    /// There is no step.
    #[default]
    None,
    /// Around the item whose graph is traced.
    Items,
    /// A loss is called as a function: they lie on this axis `item` of its arguments; without one the call is about one.
    Lifted(Option<Axis>),
}

impl Eval<'_> {
    /// The axis that the word `batch` means.
    pub(crate) fn batch_axis(&self, span: Span) -> Res<Axis> {
        match &self.step {
            Step::Items => Ok(Axis::batch()),
            Step::Lifted(item) => Ok(Axis::fixed("batch", item.as_ref().and_then(Axis::fixed_size).unwrap_or(1))),
            Step::None => {
                let message = "`batch` is the examples of an optimizer step, and there is no step here";
                let diagnostic = Diagnostic::error("E0408", span, message);
                Err(Box::new(diagnostic.help("a loss has one while it trains; a metric is a mean over rows as it is")))
            }
        }
    }

    /// Whether an axis counts the items of the step.
    pub(crate) fn counts_items(&self, axis: &Axis) -> bool {
        axis.is_batch() || (matches!(self.step, Step::Lifted(_)) && axis.name() == "batch")
    }

    /// Whether a value is one of an item, and not of the whole step.
    pub(crate) fn is_of_item(&mut self, value: &Value, span: Span) -> Res<bool> {
        if let Step::Lifted(item) = &self.step {
            return Ok(item.as_ref().is_some_and(|item| self.axes_of(value).contains(item)));
        }
        let node = self.node(value, span)?;
        let graph = self.graph();
        let mut of_item: Vec<bool> = vec![];
        for (_, data) in graph.nodes().take(node.0 as usize + 1) {
            of_item.push(match &data.op {
                Op::Input(name) => !is_of_the_step(name),
                Op::Here => true,
                Op::Items(_) => false,
                _ => data.inputs.iter().any(|n| of_item[n.0 as usize]),
            });
        }
        Ok(of_item[node.0 as usize])
    }

    /// What every item has for x, on such an axis.
    pub(crate) fn all_items(&mut self, x: Node, axis: &Axis) -> Node {
        match self.step.clone() {
            Step::Lifted(Some(item)) if self.graph().has(x, &item) => self.graph().rename(x, &item, axis),
            Step::Lifted(_) => self.graph().tile(x, axis),
            _ => self.graph().items(x, axis),
        }
    }

    /// The value with those of the axes that count items: an operation along them is about every item's.
    pub(crate) fn with_items(&mut self, value: Value, axes: &[Axis], span: Span) -> Res<Value> {
        let own = self.axes_of(&value);
        let missing: Vec<&Axis> = axes.iter().filter(|a| self.counts_items(a) && !own.contains(a)).collect();
        if missing.is_empty() {
            return Ok(value);
        }
        let mut x = self.node(&value, span)?;
        for axis in missing {
            x = self.all_items(x, axis);
        }
        Ok(self.tensor(x))
    }

    /// The axis `item` of an argument, deep inside too.
    pub(crate) fn item_axis(&self, value: &Value) -> Option<Axis> {
        match value {
            Value::Tensor(_) => {
                self.axes_of(value).into_iter().find(|a| a.name() == "item" && a.fixed_size().is_some())
            }
            Value::Record(record) | Value::Stub(record) => record.fields.iter().find_map(|(_, v)| self.item_axis(v)),
            Value::Tuple(tuple) => {
                let named = tuple.named.iter().map(|(_, v)| v);
                tuple.positional.iter().chain(named).find_map(|v| self.item_axis(v))
            }
            Value::List(list) => list.iter().find_map(|v| self.item_axis(v)),
            _ => None,
        }
    }
}

/// `all[batch](x)`; `None` for the reduction of this name.
pub(crate) fn all(eval: &mut Eval, call: &Call) -> Res<Option<Value>> {
    let Some([bracket]) = call.brackets.map(|b| &b.positional[..]) else { return Ok(None) };
    let (ExprKind::Word(word), [operand]) = (&*bracket.kind, &call.positional[..]) else { return Ok(None) };
    if word != "batch" || call.env.get(word).is_some() {
        return Ok(None);
    }
    let axis = eval.batch_axis(bracket.span)?;
    let value = eval.arg(operand, call.env)?;
    if eval.axes_of(&value).contains(&axis) {
        let diagnostic = Diagnostic::error("E0215", operand.span(), "the value has the axis `batch` already");
        return Err(Box::new(diagnostic));
    }
    let x = eval.node(&value, operand.span())?;
    let x = eval.all_items(x, &axis);
    call.env.body().see(&[axis]);
    Ok(Some(eval.tensor(x)))
}

/// `here[batch]`: this item's place on the axis.
pub(crate) fn here(eval: &mut Eval, call: &Call) -> Res<Value> {
    let bracket = call.brackets.and_then(|b| b.positional.first());
    match bracket.map(|b| (&*b.kind, b.span)) {
        Some((ExprKind::Word(word), at)) if word == "batch" => {
            eval.batch_axis(at)?;
            let node = match eval.step.clone() {
                Step::Lifted(Some(item)) => eval.graph().iota(&item),
                Step::Lifted(None) => eval.graph().int(0),
                _ => eval.graph().here(),
            };
            Ok(eval.tensor(node))
        }
        _ => wrong(call, call.positional.first().map_or(call.span, Arg::span), "is asked of `batch`: `here[batch]`"),
    }
}
