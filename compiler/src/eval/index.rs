//! What stands in brackets after a value: places of a list, indices along axes.

use super::call::{Call, wrong};
use super::env::Env;
use super::read::with_index;
use super::value::{Function, NetShape, Value};
use super::{Eval, Res, fault};
use crate::tensor::{Axis, AxisKind, DType, Graph, MapOp, Node, NodeData, Op};
use align_syntax::ast::{Args, Expr, Name};
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    pub(crate) fn index_expr(&mut self, of: &Expr, args: &Args, span: Span, env: &Env) -> Res<Value> {
        let value = self.apart(of, env)?;
        if let Value::Function(f) = &value {
            // `.blocks[-1]` goes on as a path.
            if let (Function::Accessor(path), [index], true) = (&**f, &args.positional[..], args.named.is_empty()) {
                let at = index.span;
                let index = self.apart(index, env)?;
                return Ok(Value::function(Function::Accessor(with_index(path, &index, at)?.into())));
            }
            let Function::Builtin(_) = &**f else {
                return fault("E0116", span, "axes in brackets stand before the arguments of a call");
            };
            return self.call_args(&value, Some(args), vec![], vec![], span, env);
        }
        if args.named.is_empty() {
            let [index] = &args.positional[..] else {
                return fault(
                    "E0125",
                    span,
                    "one place stands in the brackets, or an axis with its index: `x[time: 0]`",
                );
            };
            let index = self.apart(index, env)?;
            return self.place(&value, &index, span);
        }
        let or = args.named.iter().find(|(n, _)| n.text == "or").map(|(_, e)| self.apart(e, env)).transpose()?;
        let mut value = value;
        for (name, index) in args.named.iter().filter(|(n, _)| n.text != "or") {
            let i = self.apart(index, env)?;
            value = self.pick(&value, name, &i, or.as_ref(), index.span, env)?;
        }
        Ok(value)
    }

    /// `x[axis: i]`
    fn pick(
        &mut self,
        value: &Value,
        name: &Name,
        index: &Value,
        or: Option<&Value>,
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        if let (Value::Text(_) | Value::Pieces(_) | Value::List(_), _) | (_, Value::Axes(_)) = (value, index) {
            return self.place(value, index, span);
        }
        let own = self.axes_of(value);
        let axes = self.axis_word(&name.text, name.span, &own, env)?;
        let [axis] = &axes[..] else {
            return fault("E0208", name.span, format!("`{}` is not one axis", name.text));
        };
        let value = &self.with_items(value.clone(), std::slice::from_ref(axis), span)?;
        let own = self.axes_of(value);
        if !own.contains(axis) {
            let message = format!("there is no axis `{}`; the value has {}", name.text, self.show_axes(&own));
            return fault("E0212", name.span, message);
        }
        let x = self.node(value, span)?;
        match index {
            Value::Range(from, to) => self.cut(x, axis, *from, *to, span, env),
            Value::Int(_) | Value::Float(_) => {
                let Some(i) = index.whole() else { return fault("E0113", span, "an index is an Int") };
                self.pick_one(x, axis, i, span)
            }
            Value::Bool(_) => {
                let keep = self.node(index, span)?;
                let keep = self.graph().tile(keep, axis);
                self.filter(x, axis, keep, env)
            }
            Value::Tensor(_) => {
                let i = self.node(index, span)?;
                match self.graph().dtype(i) {
                    DType::Bool => {
                        let keep = self.graph().tile_to(i, std::slice::from_ref(axis));
                        self.filter(x, axis, keep, env)
                    }
                    DType::Float => {
                        // An expectation under a distribution along the axis.
                        if !self.graph().has(i, axis) {
                            return fault("E0113", span, format!("a distribution over `{}` has this axis", name.text));
                        }
                        let node = self.graph().contract(x, i, std::slice::from_ref(axis));
                        Ok(self.tensor(node))
                    }
                    DType::Int => {
                        let node = match or {
                            Some(or) => {
                                let or = self.node(or, span)?;
                                self.gather_or(x, axis, i, or)
                            }
                            None => self.graph().gather(x, axis, i),
                        };
                        Ok(self.tensor(node))
                    }
                }
            }
            other => fault(
                "E0113",
                span,
                format!("an index is an Int, a range, a Bool or a distribution, this is {}", other.kind()),
            ),
        }
    }

    /// As a gather, `or` where the index is out of range.
    fn gather_or(&mut self, x: Node, axis: &Axis, i: Node, or: Node) -> Node {
        let size = self.size(std::slice::from_ref(axis), &[]);
        let graph = self.graph();
        let (zero, one) = (graph.int(0), graph.int(1));
        let last = graph.map(MapOp::Sub, &[size, one]);
        let low = graph.map(MapOp::Max, &[i, zero]);
        let inside = graph.map(MapOp::Min, &[low, last]);
        let value = graph.gather(x, axis, inside);
        let holds = graph.map(MapOp::Eq, &[inside, i]);
        graph.map(MapOp::Where, &[holds, value, or])
    }

    fn pick_one(&mut self, x: Node, axis: &Axis, i: i64, span: Span) -> Res<Value> {
        let index = match (axis.fixed_size(), i < 0) {
            (Some(n), _) => {
                let at = if i < 0 { i + n as i64 } else { i };
                if at < 0 || at >= n as i64 {
                    return fault(
                        "E0334",
                        span,
                        format!("the index {i} is outside of `{}`, which has size {n}", axis.name()),
                    );
                }
                self.graph().int(at)
            }
            (None, false) => self.graph().int(i),
            (None, true) => {
                let size = self.size(std::slice::from_ref(axis), &[]);
                let back = self.graph().int(i);
                self.graph().map(MapOp::Add, &[size, back])
            }
        };
        let node = self.graph().gather(x, axis, index);
        Ok(self.tensor(node))
    }

    /// `x[axis: u..v]`; negative ends count from the end.
    fn cut(&mut self, x: Node, axis: &Axis, from: i64, to: Option<i64>, span: Span, env: &Env) -> Res<Value> {
        if let Some(n) = axis.fixed_size() {
            let end = |i: i64| if i < 0 { i + n as i64 } else { i };
            let (from, to) = (end(from), to.map_or(n as i64, end));
            if from < 0 || to > n as i64 || from > to {
                return fault(
                    "E0334",
                    span,
                    format!("the range {from}..{to} is outside of `{}`, which has size {n}", axis.name()),
                );
            }
            let cut = Axis::fixed(axis.name(), (to - from) as usize);
            if cut == *axis {
                return Ok(self.tensor(x));
            }
            let node = self.graph().slice(x, axis, &cut, from as usize);
            env.body().see(&[cut]);
            return Ok(self.tensor(node));
        }
        let size = self.size(std::slice::from_ref(axis), &[]);
        let bound = |graph: &mut Graph, i: i64| {
            let n = graph.int(i);
            if i < 0 { graph.map(MapOp::Add, &[size, n]) } else { n }
        };
        let at = self.graph().iota(axis);
        let low = bound(self.graph(), from);
        let mut keep = self.graph().map(MapOp::Ge, &[at, low]);
        if let Some(to) = to {
            let high = bound(self.graph(), to);
            let below = self.graph().map(MapOp::Lt, &[at, high]);
            keep = self.graph().map(MapOp::And, &[keep, below]);
        }
        self.filter(x, axis, keep, env)
    }

    /// Keeps the places of a ragged axis where `keep` holds: an axis of its own origin, the same for the same `keep`.
    fn filter(&mut self, x: Node, axis: &Axis, keep: Node, env: &Env) -> Res<Value> {
        let outer = match axis.kind() {
            AxisKind::Ragged { outer, .. } => outer.clone(),
            _ => None,
        };
        let of = self.show_axis(axis);
        let origin = self.origin(&format!("{of} where {}", keep.0));
        let to = Axis::ragged(axis.name(), origin, outer);
        let axes = self.graph().axes(x).iter().map(|a| if a == axis { to.clone() } else { a.clone() }).collect();
        let dtype = self.graph().dtype(x);
        let op = Op::Compact { from: axis.clone(), to: to.clone() };
        let node = self.graph().push(NodeData::new(op, vec![x, keep], axes, dtype));
        env.body().see(&[to]);
        Ok(self.tensor(node))
    }

    /// A place of a List, Map or Text.
    pub(crate) fn place(&mut self, value: &Value, index: &Value, span: Span) -> Res<Value> {
        match (value, index) {
            (Value::List(list), Value::Range(from, to)) => {
                let range = bounds(list.len(), *from, *to, span)?;
                Ok(Value::list(list[range].to_vec()))
            }
            (Value::List(list), index) => {
                let Some(i) = index.whole() else {
                    return fault("E0113", span, format!("a place in a List is an Int, this is {}", index.kind()));
                };
                let at = if i < 0 { i + list.len() as i64 } else { i };
                match usize::try_from(at).ok().and_then(|at| list.get(at)) {
                    Some(value) => Ok(value.clone()),
                    None => fault("E0334", span, format!("there is no place {i} in a List of {}", list.len())),
                }
            }
            (Value::Map(pairs), key) => {
                for (k, v) in pairs.iter() {
                    if self.equal(k, key, span)? {
                        return Ok(v.clone());
                    }
                }
                fault("E0334", span, "the Map does not have this key")
            }
            (Value::Text(_) | Value::Pieces(_), Value::Range(from, to)) => {
                let chars: Vec<char> = value.as_text().unwrap_or_default().chars().collect();
                let range = bounds(chars.len(), *from, *to, span)?;
                Ok(Value::text(chars[range].iter().collect::<String>()))
            }
            (Value::Foreign(foreign), index) if let Some(list) = super::tests::as_list(foreign.as_ref()) => {
                self.place(&list, index, span)
            }
            (Value::Net(net), index) if let NetShape::Stack { layers, of } = &*net.shape => {
                let layer = |i: usize| Value::Net(Rc::new(net.part(&i.to_string(), of)));
                if let Value::Range(from, to) = index {
                    return Ok(Value::list(bounds(*layers, *from, *to, span)?.map(layer).collect()));
                }
                let i = index.whole().map(|i| if i < 0 { i + *layers as i64 } else { i });
                match i.and_then(|i| usize::try_from(i).ok()).filter(|i| i < layers) {
                    Some(i) => Ok(layer(i)),
                    None => fault("E0334", span, format!("this is no layer of {layers}, which count from 0")),
                }
            }
            (Value::Foreign(_) | Value::Net(_), _) if self.hooks.is_some() => {
                let hooks = self.hooks.clone().expect("just seen");
                match hooks.index(self, value, index, span) {
                    Some(result) => result,
                    None => fault("E0125", span, format!("{} has no places", value.kind())),
                }
            }
            (Value::Tensor(_), _) => fault("E0125", span, "say along which axis: `x[axis: i]`"),
            (other, _) => fault("E0125", span, format!("{} has no places", other.kind())),
        }
    }

    /// A List or Map with another value at a place.
    pub(crate) fn replaced(&mut self, old: &Value, index: &Value, value: Value, span: Span) -> Res<Value> {
        match old {
            Value::List(list) => {
                let at = index.whole().map(|i| if i < 0 { i + list.len() as i64 } else { i });
                let mut list = (**list).clone();
                match at.and_then(|at| usize::try_from(at).ok()).and_then(|at| list.get_mut(at)) {
                    Some(place) => *place = value,
                    None => return fault("E0334", span, format!("there is no such place in a List of {}", list.len())),
                }
                Ok(Value::list(list))
            }
            Value::Map(pairs) => {
                let mut pairs = (**pairs).clone();
                let mut found = None;
                for (i, (key, _)) in pairs.iter().enumerate() {
                    if self.equal(key, index, span)? {
                        found = Some(i);
                    }
                }
                match found {
                    Some(i) => pairs[i].1 = value,
                    None => pairs.push((index.clone(), value)),
                }
                Ok(Value::Map(Rc::new(pairs)))
            }
            other => fault("E0125", span, format!("{} has no place that can be replaced", other.kind())),
        }
    }
}

fn bounds(len: usize, from: i64, to: Option<i64>, span: Span) -> Res<std::ops::Range<usize>> {
    let end = |i: i64| if i < 0 { i + len as i64 } else { i };
    let (from, to) = (end(from), to.map_or(len as i64, end));
    match 0 <= from && from <= to && to <= len as i64 {
        true => Ok(from as usize..to as usize),
        false => fault("E0334", span, format!("the range {from}..{to} is outside of 0..{len}")),
    }
}

/// `index[time]`, `index[time](like)`
pub(crate) fn iota(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (axes, _) = bracket_axes(eval, call)?;
    let [axis] = &axes[..] else { return wrong(call, call.span, "takes one axis in its brackets") };
    let node = eval.graph().iota(axis);
    Ok(eval.tensor(node))
}

/// `size[dim]`, `size[time](like)`
pub(crate) fn size(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (axes, like) = bracket_axes(eval, call)?;
    let has = like.map(|like| eval.axes_of(&like)).unwrap_or_default();
    if axes.iter().all(|a| a.fixed_size().is_some()) {
        let size: usize = axes.iter().filter_map(Axis::fixed_size).product();
        return Ok(Value::Int(size as i64));
    }
    let node = eval.size(&axes, &has);
    Ok(eval.tensor(node))
}

/// The axes in a call's brackets, with those of its first argument in sight; and that argument.
pub(crate) fn bracket_axes(eval: &mut Eval, call: &Call) -> Res<(Vec<Axis>, Option<Value>)> {
    let like = call.positional.first().map(|a| eval.arg(a, call.env)).transpose()?;
    let operand = like.as_ref().map_or(vec![], |v| eval.axes_of(v));
    let mut axes = vec![];
    if let Some(brackets) = call.brackets {
        for (word, span) in super::bind::bracket_words(brackets) {
            axes.extend(eval.axis_word(word, span, &operand, call.env)?.iter().cloned());
        }
        for (name, size) in &brackets.named {
            axes.push(eval.sized(name, size, call.env)?);
        }
    }
    Ok((axes, like))
}
