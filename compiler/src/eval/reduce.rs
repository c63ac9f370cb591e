//! Reductions: `sum[dim](x)`, `max(a, b)`, `mean[time](x, where: c, or: d)`.

use super::call::{Arg, Call, wrong};
use super::env::Env;
use super::value::Value;
use super::{Eval, Res, fault};
use crate::tensor::{Axis, AxisKind, DType, MapOp, Node, ReduceOp};
use align_syntax::ast::ExprKind;
use align_syntax::span::Span;

/// What a reduction works out.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Reduction {
    Of(ReduceOp),
    Mean,
}

impl Reduction {
    fn named(name: &str) -> Reduction {
        match name {
            "sum" => Reduction::Of(ReduceOp::Sum),
            "max" => Reduction::Of(ReduceOp::Max),
            "min" => Reduction::Of(ReduceOp::Min),
            "prod" => Reduction::Of(ReduceOp::Prod),
            "any" => Reduction::Of(ReduceOp::Any),
            "all" => Reduction::Of(ReduceOp::All),
            _ => Reduction::Mean,
        }
    }

    /// What an empty axis gives.
    fn neutral(self) -> Value {
        match self {
            Reduction::Of(ReduceOp::Sum) | Reduction::Mean => Value::Float(0.0),
            Reduction::Of(ReduceOp::Max) => Value::Float(f64::NEG_INFINITY),
            Reduction::Of(ReduceOp::Min) => Value::Float(f64::INFINITY),
            Reduction::Of(ReduceOp::Prod) => Value::Float(1.0),
            Reduction::Of(ReduceOp::Any) => Value::Bool(false),
            Reduction::Of(ReduceOp::All) => Value::Bool(true),
        }
    }
}

/// `sum`, `max`, `min`, `prod`, `any`, `all`, `mean`.
pub(crate) fn reduction(eval: &mut Eval, call: &Call) -> Res<Value> {
    let which = Reduction::named(call.name);
    if call.positional.len() > 1 && call.brackets.is_none() {
        let op = match which {
            Reduction::Of(ReduceOp::Max) => MapOp::Max,
            Reduction::Of(ReduceOp::Min) => MapOp::Min,
            _ => return wrong(call, call.span, "takes one value"),
        };
        let values = call.positional.iter().map(|a| eval.arg(a, call.env)).collect::<Res<Vec<_>>>()?;
        let (first, rest) = values.split_first().expect("at least two");
        return rest.iter().try_fold(first.clone(), |a, b| eval.map(op, &[a, b.clone()], call.span, call.env));
    }
    if call.name == "all"
        && let Some(all) = super::batch::all(eval, call)?
    {
        return Ok(all);
    }
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes one value") };
    let value = eval.under_reduction(operand, call)?;
    let mut filter = call.named("where").map(|a| eval.arg(a, call.env)).transpose()?;
    // Items without a value do not count.
    let (value, keep) = super::loss::parts(value);
    if let Some(keep) = keep {
        filter = Some(match filter {
            Some(filter) => eval.map(MapOp::And, &[filter, keep], call.span, call.env)?,
            None => keep,
        });
    }
    let or = call.named("or").map(|a| eval.arg(a, call.env)).transpose()?;
    match value {
        Value::List(list) => eval.reduce_list(which, &list, or, call),
        Value::Range(a, Some(b)) => {
            let list: Vec<Value> = (a..b).map(Value::Int).collect();
            eval.reduce_list(which, &list, or, call)
        }
        Value::Foreign(_) => match eval.hooks.clone() {
            Some(hooks) => {
                let positional = vec![Arg::Value(value, operand.span())];
                let call = Call { positional, named: call.named.clone(), ..*call };
                hooks.call(eval, call.name, &call)
            }
            None => wrong(call, operand.span(), "takes a Tensor or a List"),
        },
        value => {
            let axes = eval.reduced_axes(&value, call)?;
            eval.reduce_over(which, &value, &axes, filter, or, call.span, call.env)
        }
    }
}

impl Eval<'_> {
    /// The operand of a reduction: products in it may meet on the axes that are reduced.
    fn under_reduction(&mut self, operand: &Arg, call: &Call) -> Res<Value> {
        let Arg::Expr(expr) = operand else { return self.arg(operand, call.env) };
        let mut names = vec![];
        for bracket in call.brackets.iter().flat_map(|b| &b.positional) {
            if let ExprKind::Word(word) = &*bracket.kind {
                match call.env.get(word) {
                    Some(Value::Axes(axes)) => names.extend(axes.iter().map(|a| a.name().to_string())),
                    _ => names.push(word.clone()),
                }
            }
        }
        let outer = std::mem::replace(&mut self.under, names);
        let value = self.expr(expr, call.env);
        self.under = outer;
        value
    }

    /// The axes in the brackets; without brackets all that the body sees.
    pub(crate) fn reduced_axes(&mut self, value: &Value, call: &Call) -> Res<Vec<Axis>> {
        let own = self.axes_of(value);
        let Some(brackets) = call.brackets else {
            let mut seen: Vec<Axis> = own.into_iter().filter(|a| !call.env.body().lifted.contains(a)).collect();
            if call.env.body().every_item && self.is_of_item(value, call.span)? {
                let batch = self.batch_axis(call.span)?;
                if !seen.contains(&batch) {
                    seen.push(batch);
                }
            }
            return Ok(seen);
        };
        let mut axes: Vec<Axis> = vec![];
        for bracket in &brackets.positional {
            let ExprKind::Word(word) = &*bracket.kind else {
                return wrong(call, bracket.span, "takes names of axes in its brackets");
            };
            for axis in self.axis_word(word, bracket.span, &own, call.env)?.iter() {
                if !own.contains(axis) && !self.counts_items(axis) {
                    let message = format!("there is no axis `{word}`; the value has {}", self.show_axes(&own));
                    return fault("E0212", bracket.span, message);
                }
                axes.push(axis.clone());
            }
        }
        Ok(axes)
    }

    pub(crate) fn reduce_over(
        &mut self,
        which: Reduction,
        value: &Value,
        axes: &[Axis],
        filter: Option<Value>,
        or: Option<Value>,
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        if axes.is_empty() && filter.is_none() {
            return Ok(value.clone());
        }
        let masked = match &filter {
            Some(keep) => self.map(MapOp::Where, &[keep.clone(), value.clone(), which.neutral()], span, env)?,
            None => value.clone(),
        };
        let x = self.node(&masked, span)?;
        let op = match which {
            Reduction::Of(op) => op,
            Reduction::Mean => ReduceOp::Sum,
        };
        let x = if which == Reduction::Mean { self.graph().cast(x, DType::Float) } else { x };
        if op == ReduceOp::Sum
            && filter.is_none()
            && or.is_none()
            && let Some(sum) = self.patched_sum(x, axes, span)?
        {
            return Ok(sum);
        }
        let has = self.graph().axes(x).to_vec();
        let mut reduced = self.reduce_items(op, x, axes, &has);
        let counts = which == Reduction::Mean || or.is_some();
        if counts {
            let count = self.count(filter.as_ref(), axes, &has, span)?;
            if which == Reduction::Mean {
                let count = self.graph().cast(count, DType::Float);
                reduced = self.graph().map(MapOp::Div, &[reduced, count]);
            }
            if let Some(or) = or {
                let (zero, or) = (self.graph().int(0), self.node(&or, span)?);
                let empty = self.graph().map(MapOp::Eq, &[count, zero]);
                reduced = self.graph().map(MapOp::Where, &[empty, or, reduced]);
            }
        }
        Ok(self.tensor(reduced))
    }

    /// How many places along these axes there are, or count.
    fn count(&mut self, filter: Option<&Value>, axes: &[Axis], has: &[Axis], span: Span) -> Res<Node> {
        match filter {
            Some(keep) => {
                let keep = self.node(keep, span)?;
                let keep = self.graph().cast(keep, DType::Int);
                Ok(self.reduce_items(ReduceOp::Sum, keep, axes, has))
            }
            None => Ok(self.size(axes, has)),
        }
    }

    /// A reduction over axes of a value that `has` some. An axis that counts items, and that the value lacks, is reduced last,
    /// over what each item has by then: lengths may differ from item to item.
    fn reduce_items(&mut self, op: ReduceOp, x: Node, axes: &[Axis], has: &[Axis]) -> Node {
        let (items, own): (Vec<Axis>, Vec<Axis>) =
            axes.iter().cloned().partition(|a| self.counts_items(a) && !has.contains(a));
        let x = self.graph().tile_to(x, &own);
        let mut reduced = self.graph().reduce(op, x, &own);
        for axis in &items {
            let all = self.all_items(reduced, axis);
            reduced = self.graph().reduce(op, all, std::slice::from_ref(axis));
        }
        reduced
    }

    /// The number of places along axes, an Int, of a value that `has` some: see [`Eval::reduce_items`].
    pub(crate) fn size(&mut self, axes: &[Axis], has: &[Axis]) -> Node {
        let fixed: usize = axes.iter().filter_map(Axis::fixed_size).product();
        let free: Vec<Axis> = axes.iter().filter(|a| a.fixed_size().is_none()).cloned().collect();
        let one = self.graph().int(fixed as i64);
        if free.is_empty() {
            return one;
        }
        // An axis that belongs to another has a size for each index of that.
        let outer = free.iter().filter_map(|axis| match axis.kind() {
            AxisKind::Ragged { outer, .. } => outer.clone(),
            _ => None,
        });
        let outer: Vec<Axis> = outer.filter(|axis| !free.contains(axis)).collect();
        let one = self.graph().tile_to(one, &outer);
        self.reduce_items(ReduceOp::Sum, one, &free, has)
    }

    /// Reductions of lists, in host code.
    fn reduce_list(&mut self, which: Reduction, list: &[Value], or: Option<Value>, call: &Call) -> Res<Value> {
        let op = match which {
            Reduction::Of(ReduceOp::Sum) | Reduction::Mean => MapOp::Add,
            Reduction::Of(ReduceOp::Prod) => MapOp::Mul,
            Reduction::Of(ReduceOp::Max) => MapOp::Max,
            Reduction::Of(ReduceOp::Min) => MapOp::Min,
            Reduction::Of(ReduceOp::Any) => MapOp::Or,
            Reduction::Of(ReduceOp::All) => MapOp::And,
        };
        let Some((first, rest)) = list.split_first() else {
            return match (or, which) {
                (Some(or), _) => Ok(or),
                (None, Reduction::Of(ReduceOp::Sum)) => Ok(Value::Int(0)),
                (None, Reduction::Of(ReduceOp::Prod)) => Ok(Value::Int(1)),
                (None, Reduction::Of(ReduceOp::Any)) => Ok(Value::Bool(false)),
                (None, Reduction::Of(ReduceOp::All)) => Ok(Value::Bool(true)),
                _ => wrong(call, call.span, "of an empty list has no value; say `or:`"),
            };
        };
        let mut total = first.clone();
        for value in rest {
            total = self.map(op, &[total, value.clone()], call.span, call.env)?;
        }
        match which {
            Reduction::Mean => {
                let count = Value::Float(list.len() as f64);
                self.map(MapOp::Div, &[total, count], call.span, call.env)
            }
            _ => Ok(total),
        }
    }
}
