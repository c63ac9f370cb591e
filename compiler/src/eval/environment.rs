//! Environments: `reset(task)` gives a state, `step(state, action)` what becomes of it, a reward, and whether it is over.

use super::bind::Values;
use super::value::{Applied, Function, Value};
use super::{Eval, Res, fault};
use align_syntax::ast::{Body, DefKind, StmtKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// What a step of an environment gave.
pub struct Stepped {
    pub state: Value,
    pub reward: f64,
    pub done: bool,
}

/// The environment that a value is: one with its settings, or one that has none.
pub fn as_environment(value: &Value, span: Span) -> Option<Rc<Applied>> {
    match value {
        Value::Applied(applied) if applied.code.def.kind == DefKind::Env => Some(applied.clone()),
        Value::Function(f) => match &**f {
            Function::Def { def, given: None } if def.def.kind == DefKind::Env => {
                Some(Rc::new(Applied { code: def.clone(), positional: vec![], named: vec![], span }))
            }
            _ => None,
        },
        _ => None,
    }
}

impl Eval<'_> {
    /// The state in which a task begins.
    pub fn env_reset(&mut self, of: &Applied, task: Value) -> Res<Value> {
        self.env_method(of, "reset", vec![task])
    }

    /// What becomes of a state by an action.
    pub fn env_step(&mut self, of: &Applied, state: Value, action: Value) -> Res<Stepped> {
        let given = self.env_method(of, "step", vec![state, action])?;
        let span = of.code.span();
        let wrong = || {
            let message = format!("`step` of `{}` gives a state, `reward:` and `done:`", of.code.name());
            Box::new(Diagnostic::error("E0140", span, message).help("`(state, reward: 0, done: false)`"))
        };
        let Value::Tuple(tuple) = &given else { return Err(wrong()) };
        let named = |name: &str| tuple.named.iter().find(|(n, _)| **n == *name).map(|(_, value)| value.clone());
        let [state] = &tuple.positional[..] else { return Err(wrong()) };
        let number = |eval: &Self, name: &str| {
            let value = named(name).map(|value| eval.as_number(value, span)).transpose()?;
            value.ok_or_else(wrong)
        };
        let reward = number(self, "reward")?.number().filter(|reward| reward.is_finite()).ok_or_else(wrong)?;
        let Value::Bool(done) = number(self, "done")? else { return Err(wrong()) };
        Ok(Stepped { state: state.clone(), reward, done })
    }

    /// A method of an environment, with its settings in scope.
    fn env_method(&mut self, of: &Applied, name: &str, args: Vec<Value>) -> Res<Value> {
        let (code, at) = (of.code.clone(), of.span);
        let Body::Block(block) = &code.def.body else {
            return fault("E0140", code.span(), format!("`{}` has no method `{name}`", code.name()));
        };
        let top = code.env.clone().unwrap_or_else(|| self.top(code.file));
        let settings = Values {
            positional: of.positional.iter().map(|value| (value.clone(), at)).collect(),
            named: of.named.iter().map(|(name, value)| (name.clone(), value.clone(), at)).collect(),
        };
        let params = code.def.params.first().map_or(&[][..], |params| params);
        let what = format!("`{}`", code.name());
        let env = self.bind_params(&what, params, &[], &[], settings, &top, self.new_body(&code), at)?;
        for stmt in &block.stmts {
            match &stmt.kind {
                StmtKind::Bind(bind) => self.bind(bind, &env)?,
                StmtKind::Method(method) if method.name.text == name => {
                    let values = Values { positional: args.into_iter().map(|arg| (arg, at)).collect(), named: vec![] };
                    let params = method.params.first().map_or(&[][..], |params| params);
                    let what = format!("`{name}` of `{}`", code.name());
                    let inner = self.bind_params(&what, params, &[], &[], values, &env, self.new_body(&code), at)?;
                    return self.running(None, |eval| eval.body(&method.body, &inner));
                }
                _ => {}
            }
        }
        fault("E0140", code.span(), format!("`{}` has no method `{name}`", code.name()))
    }
}
