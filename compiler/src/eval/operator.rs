//! Operators and scalar functions, on numbers and on tensors.

use super::env::Env;
use super::value::{Function, Record, Value};
use super::{Eval, Res, fault};
use crate::rewrite::simplify::constants::scalar;
use crate::tensor::{Axis, AxisKind, DType, Graph, MapOp, Node, Op};
use align_syntax::ast::{Expr, InfixOp};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    pub(crate) fn operator(
        &mut self,
        op: InfixOp,
        left: Value,
        right: Value,
        span: Span,
        op_span: Span,
        env: &Env,
    ) -> Res<Value> {
        if let Some(result) = super::rational::operator(op, &left, &right, span) {
            return result;
        }
        if (matches!(left, Value::Foreign(_)) || matches!(right, Value::Foreign(_)))
            && let Some(hooks) = self.hooks.clone()
            && let Some(result) = hooks.infix(self, op, &left, &right, span)
        {
            return result;
        }
        if let Some(result) = self.tree_operator(op, &left, &right, span) {
            return result;
        }
        if let (InfixOp::Lt | InfixOp::Le | InfixOp::Gt | InfixOp::Ge, Some(order)) = (op, ordered(&left, &right)) {
            return Ok(Value::Bool(match op {
                InfixOp::Lt => order.is_lt(),
                InfixOp::Le => order.is_le(),
                InfixOp::Gt => order.is_gt(),
                _ => order.is_ge(),
            }));
        }
        let map = match op {
            InfixOp::Add => MapOp::Add,
            InfixOp::Sub => MapOp::Sub,
            InfixOp::Mul => MapOp::Mul,
            InfixOp::Div => MapOp::Div,
            InfixOp::Rem => MapOp::Rem,
            InfixOp::Pow => MapOp::Pow,
            InfixOp::Lt => MapOp::Lt,
            InfixOp::Le => MapOp::Le,
            InfixOp::Gt => MapOp::Gt,
            InfixOp::Ge => MapOp::Ge,
            InfixOp::And => MapOp::And,
            InfixOp::Or => MapOp::Or,
            InfixOp::Eq | InfixOp::Ne => {
                let tensors = [&left, &right].iter().any(|v| matches!(v, Value::Tensor(_) | Value::Foreign(_)));
                let numbers = left.number().is_some() && right.number().is_some();
                if !(tensors || numbers) {
                    let equal = self.equal(&left, &right, span)?;
                    return Ok(Value::Bool(equal == (op == InfixOp::Eq)));
                }
                if op == InfixOp::Eq { MapOp::Eq } else { MapOp::Ne }
            }
            InfixOp::In => return self.is_in(&left, &right, span, env),
            InfixOp::Range => return range(&left, &right, span),
            InfixOp::Join => return self.join(&left, &right, span),
            InfixOp::With => return self.with(left, &right, span),
            InfixOp::Pipe => return fault("E0113", op_span, "`|>` stands between a value and a call"),
        };
        if let Some(sum) = combination(op, &left, &right) {
            return Ok(sum);
        }
        self.map(map, &[left, right], span, env)
    }

    pub(crate) fn negate(&mut self, value: Value, span: Span, env: &Env) -> Res<Value> {
        if let Some(value) = super::rational::negated(&value) {
            return Ok(value);
        }
        match value {
            Value::Applied(_) | Value::Sum(_) => {
                let minus = combination(InfixOp::Mul, &Value::Float(-1.0), &value);
                Ok(minus.expect("a loss has multiples"))
            }
            Value::Net(_) => self.operator(InfixOp::Mul, Value::Float(-1.0), value, span, span, env),
            Value::Foreign(_) if self.hooks.is_some() && super::tree::is_tree(&value) => {
                self.operator(InfixOp::Mul, Value::Float(-1.0), value, span, span, env)
            }
            value => self.map(MapOp::Neg, &[value], span, env),
        }
    }

    /// A scalar function at every index. The rule: one operand has all axes of the others; under a reduction the factors
    /// of a product need only share an axis that is reduced.
    pub(crate) fn map(&mut self, op: MapOp, inputs: &[Value], span: Span, env: &Env) -> Res<Value> {
        if inputs.iter().any(|v| matches!(v, Value::Foreign(_)))
            && let Some(hooks) = self.hooks.clone()
            && let Some(result) = hooks.map(self, op, inputs, span)
        {
            return result;
        }
        if inputs.iter().all(|v| v.number().is_some()) {
            return numbers(op, inputs, span);
        }
        if op == MapOp::Rem && matches!(inputs[1], Value::Int(0)) {
            return fault("E0333", span, "division of an Int by 0");
        }
        let axes: Vec<Vec<Axis>> = inputs.iter().map(|v| self.axes_of(v)).collect();
        self.check_union(op, &axes, span, env)?;
        let nodes = inputs.iter().map(|v| self.node(v, span)).collect::<Res<Vec<Node>>>()?;
        Ok(self.map_nodes(op, &nodes))
    }

    /// As [`Eval::map`], of nodes of the current graph and without the rule.
    pub(crate) fn map_nodes(&mut self, op: MapOp, nodes: &[Node]) -> Value {
        // `/` is the division of Floats; a remainder of Ints stays one.
        let nodes: Vec<Node> = match op {
            MapOp::Div => nodes.iter().map(|n| self.graph().cast(*n, DType::Float)).collect(),
            _ => nodes.to_vec(),
        };
        let node = self.graph().map(op, &nodes);
        use MapOp::*;
        let costly = matches!(op, Pow | Exp | Log | Sin | Cos | Tanh | Sigmoid);
        let node = match costly.then(|| known(self.graph(), node)).flatten() {
            Some(values) => {
                let axes = self.graph().axes(node).to_vec();
                self.graph().array(values, axes, DType::Float)
            }
            None => node,
        };
        self.tensor(node)
    }

    fn check_union(&mut self, op: MapOp, axes: &[Vec<Axis>], span: Span, env: &Env) -> Res<()> {
        let body = env.body();
        let paired = body.paired.borrow();
        let counts = |a: &&Axis| {
            !body.lifted.contains(a)
                && (!matches!(a.kind(), AxisKind::Paired(_)) || **a == Axis::batch())
                && !paired.iter().any(|p| p == a.name())
        };
        let sets: Vec<Vec<&Axis>> = axes.iter().map(|a| a.iter().filter(counts).collect()).collect();
        if sets.iter().any(|k| sets.iter().all(|j| j.iter().all(|a| k.contains(a)))) {
            return Ok(());
        }
        let shares = |name: &String| axes.iter().all(|s| s.iter().any(|a| a.name() == name));
        if matches!(op, MapOp::Mul | MapOp::Div) && self.under.iter().any(shares) {
            return Ok(());
        }
        // Two axes of one name that are not the same say more than the rule.
        for (i, a) in sets.iter().enumerate() {
            for b in &sets[i + 1..] {
                for x in a.iter().filter(|x| !b.contains(x)) {
                    let Some(y) = b.iter().find(|y| y.name() == x.name() && !a.contains(y)) else { continue };
                    let code = if x.fixed_size().is_some() && y.fixed_size().is_some() { "E0201" } else { "E0203" };
                    let message = format!("these do not meet: {} and {}", self.show_axis(x), self.show_axis(y));
                    let help = "reduce each along its own axis first, as in `sum[time](..)`";
                    let diagnostic = Diagnostic::error(code, span, message);
                    return Err(Box::new(if code == "E0203" { diagnostic.help(help) } else { diagnostic }));
                }
            }
        }
        let extra: Vec<String> = sets
            .iter()
            .map(|s| s.iter().filter(|a| sets.iter().any(|t| !t.is_empty() && !t.contains(a))).map(|a| (*a).clone()))
            .map(Iterator::collect::<Vec<Axis>>)
            .filter(|own| !own.is_empty())
            .map(|own| self.show_axes(&own))
            .collect();
        let message = format!("neither side has all axes of the other: one has {}", extra.join(", the other "));
        let help = "reduce the extra axis, add it to the other side with `tile[axis](x)`, or `rename` it";
        Err(Box::new(Diagnostic::error("E0202", span, message).help(help)))
    }

    /// `if c then a else b` with c a tensor: both sides are worked out, and chosen between at every index.
    pub(crate) fn select(
        &mut self,
        condition: Value,
        at: Span,
        then: &Expr,
        otherwise: Option<&Expr>,
        env: &Env,
    ) -> Res<Value> {
        let before = self.assigned_names(&[Some(then), otherwise], env);
        let a = self.expr(then, env)?;
        let after_then: Vec<Value> = before.iter().map(|(n, old)| env.get(n).unwrap_or(old.clone())).collect();
        for (name, old) in &before {
            env.assign(name, old.clone());
        }
        let b = match otherwise {
            Some(otherwise) => self.expr(otherwise, env)?,
            None => Value::Unit,
        };
        for ((name, _), then) in before.iter().zip(after_then) {
            let other = env.get(name).unwrap_or(Value::Unit);
            let value = self.choose(&condition, then, other, at, env)?;
            env.assign(name, value);
        }
        self.choose(&condition, a, b, at, env)
    }

    /// `where(c, a, b)` on values of one shape.
    fn choose(&mut self, condition: &Value, a: Value, b: Value, span: Span, env: &Env) -> Res<Value> {
        match (a, b) {
            (Value::Unit, Value::Unit) => Ok(Value::Unit),
            (Value::Record(a), Value::Record(b)) => {
                let mut record = Record { name: a.name.clone(), fields: vec![] };
                for (name, value) in &a.fields {
                    let Some(other) = b.get(name) else { continue };
                    record.set(name, self.choose(condition, value.clone(), other.clone(), span, env)?);
                }
                Ok(Value::Record(Rc::new(record)))
            }
            // A side without a value leaves the item out of the mean.
            (Value::None, value) => {
                let keep = self.map(MapOp::Not, std::slice::from_ref(condition), span, env)?;
                Ok(counted(value, keep))
            }
            (value, Value::None) => Ok(counted(value, condition.clone())),
            (a, b) => self.map(MapOp::Where, &[condition.clone(), a, b], span, env),
        }
    }

    /// Names in sight that the branches assign, with their values before.
    pub(super) fn assigned_names(&self, branches: &[Option<&Expr>], env: &Env) -> Vec<(String, Value)> {
        let mut names = vec![];
        for expr in branches.iter().flatten() {
            super::tensor::assigned(expr, &mut names);
        }
        names.sort();
        names.dedup();
        names.into_iter().filter_map(|n| env.get(&n).map(|v| (n, v))).collect()
    }
}

/// The numbers of a node along at most one axis, if the configuration alone decides them: worked out once, in f64.
fn known(graph: &Graph, node: Node) -> Option<Vec<f64>> {
    let data = graph.get(node);
    let n = match &data.axes[..] {
        [] => 1,
        [axis] => axis.fixed_size()?,
        _ => return None,
    };
    match &data.op {
        Op::Const(c) => Some(vec![*c]),
        Op::Array(values) => Some(values.clone()),
        Op::Iota => Some((0..n).map(|i| i as f64).collect()),
        Op::Cast if data.dtype == DType::Float => known(graph, data.inputs[0]),
        Op::Map(op) => {
            let inputs: Vec<Vec<f64>> = data.inputs.iter().map(|x| known(graph, *x)).collect::<Option<_>>()?;
            let of_ints = graph.dtype(*data.inputs.last()?) == DType::Int;
            (0..n).map(|i| scalar(*op, &inputs.iter().map(|x| x[i % x.len()]).collect::<Vec<_>>(), of_ints)).collect()
        }
        _ => None,
    }
}

/// A value that counts only where `keep` holds.
fn counted(value: Value, keep: Value) -> Value {
    let fields = vec![("value".into(), value), ("keep".into(), keep)];
    Value::Record(Rc::new(Record { name: Some(COUNTED.into()), fields }))
}

/// The name of the record that stands for a value which some items do not have.
pub(crate) const COUNTED: &str = "if some";

/// A function of numbers, worked out at once. Ints stay exact.
fn numbers(op: MapOp, inputs: &[Value], span: Span) -> Res<Value> {
    use MapOp::*;
    let overflow = || fault("E0332", span, "the Int is beyond 64 bits");
    let ints: Option<Vec<i64>> = inputs
        .iter()
        .map(|v| match v {
            Value::Int(n) => Some(*n),
            Value::Bool(b) => Some(i64::from(*b)),
            _ => None,
        })
        .collect();
    if let Some(x) = &ints {
        let exact = match op {
            Add => Some(x[0].checked_add(x[1])),
            Sub => Some(x[0].checked_sub(x[1])),
            Mul => Some(x[0].checked_mul(x[1])),
            Neg => Some(x[0].checked_neg()),
            Abs => Some(x[0].checked_abs()),
            Sign => Some(Some(x[0].signum())),
            Min => Some(Some(x[0].min(x[1]))),
            Max => Some(Some(x[0].max(x[1]))),
            Rem if x[1] == 0 => return fault("E0333", span, "division of an Int by 0"),
            Rem => Some(x[0].checked_rem_euclid(x[1]).map(|r| if x[1] < 0 && r > 0 { r + x[1] } else { r })),
            Pow if x[1] >= 0 => Some(u32::try_from(x[1]).ok().and_then(|e| x[0].checked_pow(e))),
            _ => None,
        };
        match exact {
            Some(Some(n)) => return Ok(Value::Int(n)),
            Some(None) => return overflow(),
            None => {}
        }
        let holds = match op {
            Eq => x[0] == x[1],
            Ne => x[0] != x[1],
            Lt => x[0] < x[1],
            Le => x[0] <= x[1],
            Gt => x[0] > x[1],
            Ge => x[0] >= x[1],
            _ => return floats(op, inputs, span),
        };
        return Ok(Value::Bool(holds));
    }
    floats(op, inputs, span)
}

fn floats(op: MapOp, inputs: &[Value], span: Span) -> Res<Value> {
    use MapOp::*;
    let x: Vec<f64> = inputs.iter().filter_map(Value::number).collect();
    if let Where = op {
        return Ok(if x[0] != 0.0 { inputs[1].clone() } else { inputs[2].clone() });
    }
    let Some(value) = scalar(op, &x, false) else {
        return fault("E0333", span, "the remainder of a division by 0");
    };
    Ok(match op {
        Eq | Ne | Lt | Le | Gt | Ge | And | Or | Not | IsNan => Value::Bool(value != 0.0),
        _ => Value::Float(value),
    })
}

/// The order of two Options of numbers: `none` stands before every number.
fn ordered(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    let number = |value: &Value| match value {
        Value::None => Some(f64::NEG_INFINITY),
        Value::Some(inner) => inner.number(),
        _ => None,
    };
    number(left)?.partial_cmp(&number(right)?)
}

fn range(left: &Value, right: &Value, span: Span) -> Res<Value> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => Ok(Value::Range(*a, Some(*b))),
        (a, b) => match (a.number(), b.number()) {
            (Some(x), Some(y)) => match (a.whole(), b.whole()) {
                (Some(a), Some(b)) => Ok(Value::Range(a, Some(b))),
                _ => Ok(Value::Interval(x, y)),
            },
            _ => fault("E0113", span, "both ends of a range are numbers"),
        },
    }
}

/// Sums and multiples of losses and rewards.
fn combination(op: InfixOp, left: &Value, right: &Value) -> Option<Value> {
    let terms = |value: &Value, times: f64| -> Option<Vec<(f64, Value)>> {
        match value {
            // A lambda in a sum is a reward or a loss.
            Value::Applied(_) => Some(vec![(times, value.clone())]),
            Value::Function(f) if matches!(**f, Function::Lambda { .. } | Function::Def { .. }) => {
                Some(vec![(times, value.clone())])
            }
            Value::Sum(terms) => Some(terms.iter().map(|(c, t)| (c * times, t.clone())).collect()),
            _ => None,
        }
    };
    let sum = match op {
        InfixOp::Add | InfixOp::Sub => {
            let mut sum = terms(left, 1.0)?;
            sum.extend(terms(right, if op == InfixOp::Add { 1.0 } else { -1.0 })?);
            sum
        }
        InfixOp::Mul => match (left.number(), right.number()) {
            (Some(c), _) => terms(right, c)?,
            (_, Some(c)) => terms(left, c)?,
            _ => return None,
        },
        InfixOp::Div => terms(left, 1.0 / right.number()?)?,
        _ => return None,
    };
    Some(Value::Sum(Rc::new(sum)))
}
