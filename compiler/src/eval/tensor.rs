//! Values as nodes of the graph that is being traced, and the axes that words mean.

use super::bind::{Values, bracket_words};
use super::env::Env;
use super::value::{Tensor, Value};
use super::{Eval, Res, fault};
use crate::tensor::{Axis, AxisKind, Graph, Node};
use crate::update::tensor_axis;
use align_syntax::ast::{Args, Block, Body, Expr, ExprKind, Name, StmtKind};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// A node of the current graph as a value.
    pub(crate) fn tensor(&self, node: Node) -> Value {
        Value::Tensor(Tensor { frame: self.frames.len() as u32 - 1, node })
    }

    /// The value as a node of the current graph: numbers are constants, tensors of outer graphs are captured.
    pub(crate) fn node(&mut self, value: &Value, span: Span) -> Res<Node> {
        match value {
            Value::Int(n) => Ok(self.graph().int(*n)),
            Value::Float(x) => Ok(self.graph().float(*x)),
            Value::Bool(b) => Ok(self.graph().bool(*b)),
            Value::Tensor(t) => Ok(self.captured_node(*t)),
            Value::Text(_) | Value::Pieces(_) => {
                let diagnostic = Diagnostic::error("E0310", span, "tensor code cannot read Text");
                Err(Box::new(
                    diagnostic.help("make it a number or a Bool of the item first: `|> map(x => x with { flag: .. })`"),
                ))
            }
            Value::Foreign(of) if self.hooks.is_some() => {
                match self.hooks.clone().and_then(|hooks| hooks.node(self, of, span)) {
                    Some(node) => node,
                    None => fault("E0113", span, format!("a number or a Tensor is expected, this is {}", value.kind())),
                }
            }
            Value::Net(_) => fault("E0113", span, "a net is not a number; call it, or one of its functions"),
            other => fault("E0113", span, format!("a number or a Tensor is expected, this is {}", other.kind())),
        }
    }

    /// A node of the outermost graph: what is read of rows and weights. Bodies inside capture it.
    pub(crate) fn outermost(&mut self, make: impl FnOnce(&mut Graph) -> Node) -> Value {
        Value::Tensor(Tensor { frame: 0, node: make(self.graph_of(0)) })
    }

    fn captured_node(&mut self, tensor: Tensor) -> Node {
        let mut tensor = tensor;
        while (tensor.frame as usize) < self.frames.len() - 1 {
            let outer = &self.frames[tensor.frame as usize].graph;
            let (axes, dtype) = (outer.axes(tensor.node).to_vec(), outer.dtype(tensor.node));
            let at = tensor.frame as usize + 1;
            let frame = &mut self.frames[at];
            let known = frame.captured.iter().find(|(t, _)| *t == tensor).map(|(_, n)| *n);
            let node = known.unwrap_or_else(|| {
                let node = frame.graph.param(axes, dtype);
                frame.captured.push((tensor, node));
                node
            });
            tensor = Tensor { frame: at as u32, node };
        }
        tensor.node
    }

    // -------------------------------------------------------------------------------------------------- axes

    /// The axes that a word means, for an operation on a value with the axes `operand`.
    pub(crate) fn axis_word(&mut self, name: &str, span: Span, operand: &[Axis], env: &Env) -> Res<Rc<[Axis]>> {
        if let Some(Value::Axes(axes)) = env.get(name) {
            // A slice along the axis, or what a rename gave its name, is meant where the value has that instead.
            if let [axis] = &axes[..]
                && !operand.is_empty()
                && !operand.contains(axis)
                && let [other] = operand.iter().filter(|a| a.name() == axis.name()).collect::<Vec<_>>()[..]
            {
                return Ok([other.clone()].into());
            }
            return Ok(axes);
        }
        let body = env.body();
        let mine: Vec<&Axis> = operand.iter().filter(|a| a.name() == name && !body.lifted.contains(a)).collect();
        match mine[..] {
            [axis] => return Ok([axis.clone()].into()),
            [] => {}
            _ => {
                let known = body.axes.borrow();
                if let Some(axis) = known.iter().rev().find(|a| mine.contains(a)) {
                    return Ok([axis.clone()].into());
                }
                return fault("E0203", span, format!("the value has several axes `{name}`"));
            }
        }
        if let Some(axis) = body.axes.borrow().iter().rev().find(|a| a.name() == name) {
            return Ok([axis.clone()].into());
        }
        if name == "batch" {
            return Ok([self.batch_axis(span)?].into());
        }
        let shown = self.show_axes(operand);
        let message = match operand.is_empty() {
            true => format!("there is no axis `{name}` in sight"),
            false => format!("there is no axis `{name}`; the value has {shown}"),
        };
        let diagnostic = Diagnostic::error("E0212", span, message);
        let in_sight: Vec<Axis> = operand.iter().cloned().chain(body.axes.borrow().iter().cloned()).collect();
        Err(Box::new(match did_you_mean(name, in_sight.iter().map(Axis::name)) {
            Some(near) => diagnostic.meant(near),
            None => diagnostic,
        }))
    }

    /// The axes that brackets before arguments give to a function that was declared.
    pub(crate) fn bracket_axes(
        &mut self,
        brackets: &Args,
        values: &Values,
        env: &Env,
    ) -> Res<Vec<(Option<Name>, Rc<[Axis]>)>> {
        let operand: Vec<Axis> = values.positional.iter().flat_map(|(v, _)| self.axes_of(v)).collect();
        let mut axes = vec![];
        for (word, span) in bracket_words(brackets) {
            axes.push((None, self.axis_word(word, span, &operand, env)?));
        }
        for (name, size) in &brackets.named {
            let axis = self.sized(name, size, env)?;
            axes.push((Some(name.clone()), [axis].into()));
        }
        Ok(axes)
    }

    /// `dim: 16` in brackets: a fixed axis of this size.
    pub(crate) fn sized(&mut self, name: &Name, size: &Expr, env: &Env) -> Res<Axis> {
        let value = self.apart(size, env)?;
        self.fixed_axis(name, &value, size.span)
    }

    pub(crate) fn fixed_axis(&mut self, name: &Name, size: &Value, span: Span) -> Res<Axis> {
        match size.whole().and_then(|n| usize::try_from(n).ok()) {
            Some(0) => fault("E0214", span, format!("the size of `{}` is at least 1, not 0", name.text)),
            Some(n) => Ok(Axis::fixed(&name.text, n)),
            None => {
                let what = size.number().map_or(size.kind(), |x| x.to_string());
                fault("E0214", span, format!("the size of `{}` is a whole number of at least 1, not {what}", name.text))
            }
        }
    }

    /// An axis in a message: `dim of 64`, `time of chosen`.
    pub(crate) fn show_axis(&self, axis: &Axis) -> String {
        // In an optimizer a weight's axes are one.
        if self.updating.as_ref().is_some_and(|updating| updating.is_entry(axis)) {
            return "the weight's own axes".into();
        }
        match axis.kind() {
            AxisKind::Fixed(n) => format!("{} of size {n}", axis.name()),
            AxisKind::Ragged { origin, .. } => match self.origins.get(*origin as usize) {
                Some(of) if !of.is_empty() => format!("{} of {of}", axis.name()),
                _ => axis.name().to_string(),
            },
            _ => axis.name().to_string(),
        }
    }

    pub(crate) fn show_axes(&self, axes: &[Axis]) -> String {
        // Weights that are alike are updated together, which no optimizer sees.
        let axes: Vec<&Axis> = axes.iter().filter(|axis| **axis != tensor_axis()).collect();
        match &axes[..] {
            [] => "no axes".into(),
            axes => axes.iter().map(|a| self.show_axis(a)).collect::<Vec<_>>().join(", "),
        }
    }
}

/// Names that an expression assigns, in blocks at any depth.
pub(crate) fn assigned(expr: &Expr, names: &mut Vec<String>) {
    match &*expr.kind {
        ExprKind::Block(block) => assigned_in(block, names),
        ExprKind::Paren(inner) => assigned(inner, names),
        ExprKind::If { then, otherwise, .. } => {
            assigned(then, names);
            otherwise.iter().for_each(|e| assigned(e, names));
        }
        ExprKind::For { body, .. } | ExprKind::Iterate { body, .. } | ExprKind::Until { body, .. } => {
            assigned_in(body, names)
        }
        _ => {}
    }
}

fn assigned_in(block: &Block, names: &mut Vec<String>) {
    for stmt in &block.stmts {
        match &stmt.kind {
            StmtKind::Assign { target, .. } => {
                let mut target = target;
                while let ExprKind::Index(of, _) | ExprKind::Dot(of, _) = &*target.kind {
                    target = of;
                }
                if let ExprKind::Word(name) = &*target.kind {
                    names.push(name.clone());
                }
            }
            StmtKind::Expr(expr) => assigned(expr, names),
            StmtKind::Def(def) => {
                if let Body::Expr(expr) = &def.body {
                    assigned(expr, names);
                }
            }
            _ => {}
        }
    }
}
