//! Samplers: log-weights of the next token, worked out from policies and the context so far.

use super::bind::{Values, param_name};
use super::call::is_net_param;
use super::env::Body;
use super::value::{Applied, Function, Given, Net, Stream, Value};
use super::{Eval, Res, fault};
use crate::tensor::{Axis, MapOp, Node};
use align_syntax::ast::DefKind;
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// The logits of the token that comes after a text, at the temperature at which a sampler runs.
    pub(crate) fn next_logits(&mut self, net: &Rc<Net>, stream: &Stream, span: Span) -> Res<Node> {
        let logits = self.on_stream(net, "logits", stream, span)?;
        let all = self.stream_axis(stream);
        let node = self.node(&logits, span)?;
        let size = self.size(std::slice::from_ref(&all), &[]);
        let one = self.graph().int(1);
        let last = self.graph().map(MapOp::Sub, &[size, one]);
        let node = self.graph().gather(node, &all, last);
        let temperature = self.temperature.clone();
        self.tempered(node, &temperature, span)
    }

    /// Logits at a temperature: a number, or a value of the row.
    pub(crate) fn tempered(&mut self, logits: Node, temperature: &Value, span: Span) -> Res<Node> {
        if matches!(temperature, Value::Float(1.0)) {
            return Ok(logits);
        }
        let by = self.node(temperature, span)?;
        Ok(self.graph().map(MapOp::Div, &[logits, by]))
    }

    /// What a sampler makes of the context: log-weights on `vocab`. `net` is the policy that draws, the sampler's first
    /// parameter. What `next` gives in it is at the temperature already.
    pub(crate) fn log_weights(
        &mut self,
        sampler: &Value,
        net: &Rc<Net>,
        context: &Value,
        (temperature, vocab): (&Value, &Axis),
        span: Span,
    ) -> Res<Node> {
        let Some(applied) = as_sampler(sampler, span) else {
            return fault("E0113", span, format!("a sampler is expected, this is {}", sampler.kind()));
        };
        let outer = std::mem::replace(&mut self.temperature, temperature.clone());
        let result = self.applied_sampler(&applied, net, context, span);
        self.temperature = outer;
        let value = result?;
        let node = self.node(&value, span)?;
        let axes = self.graph().axes(node).to_vec();
        if axes != std::slice::from_ref(vocab) {
            let what = if axes.is_empty() { "one number".to_string() } else { self.show_axes(&axes) };
            let message =
                format!("the sampler `{}` gives log-weights on `vocab`, this has {what}", applied.code.name());
            return fault("E0113", span, message);
        }
        Ok(node)
    }

    fn applied_sampler(&mut self, applied: &Applied, net: &Rc<Net>, context: &Value, span: Span) -> Res<Value> {
        let code = applied.code.clone();
        let (what, at) = (format!("`{}`", code.name()), applied.span);
        let [settings, _] = &code.def.params[..] else {
            return fault("E0113", code.span(), "a sampler has two lists: its policy and settings, then `(context)`");
        };
        let top = code.env.clone().unwrap_or_else(|| self.top(code.file));
        let mut named: Vec<(Rc<str>, Value, Span)> =
            applied.named.iter().map(|(name, value)| (name.clone(), value.clone(), at)).collect();
        let is_given = |name: &str| applied.named.iter().any(|(given, _)| &**given == name);
        let mut free = settings.iter().filter(|param| !is_given(&param_name(param))).peekable();
        if let Some(first) = free.next_if(|param| is_net_param(param, self, &top)) {
            named.push((param_name(first).as_str().into(), Value::Net(net.clone()), span));
        }
        for value in &applied.positional {
            match free.next() {
                Some(param) => named.push((param_name(param).as_str().into(), value.clone(), at)),
                None => return fault("E0111", at, format!("{what} has no place for so many settings")),
            }
        }
        let values = Values { positional: vec![], named };
        let env =
            self.bind_params(&what, settings, &code.def.generics, &[], values, &top, Body::new(code.file), span)?;
        let values = settings.iter().map(param_name).map(|n| (n.as_str().into(), env.get(&n).unwrap_or(Value::Unit)));
        let given = Some(Given { values: values.collect() });
        let sampler = Value::function(Function::Def { def: code, given });
        self.call_value(&sampler, vec![context.clone()], span)
    }
}

/// A sampler with more settings, by their names; `None` of what is no sampler.
pub(crate) fn with_settings(sampler: &Value, more: Vec<(Rc<str>, Value)>, span: Span) -> Option<Value> {
    let applied = as_sampler(sampler, span)?;
    let Applied { code, positional, named, span } = &*applied;
    let named = named.iter().cloned().chain(more).collect();
    Some(Value::Applied(Rc::new(Applied { code: code.clone(), positional: positional.clone(), named, span: *span })))
}

/// A sampler with its settings; one that is named alone has none.
fn as_sampler(value: &Value, span: Span) -> Option<Rc<Applied>> {
    match value {
        Value::Applied(applied) if applied.code.def.kind == DefKind::Sampler => Some(applied.clone()),
        Value::Function(f) => match &**f {
            Function::Def { def, given: None } if def.def.kind == DefKind::Sampler => {
                Some(Rc::new(Applied { code: def.clone(), positional: vec![], named: vec![], span }))
            }
            _ => None,
        },
        _ => None,
    }
}
