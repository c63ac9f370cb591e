//! Distributions, and draws from them.

use super::call::{Call, wrong};
use super::value::{Dist, Function, Start, Value};
use super::{Eval, Res, fault};
use crate::philox::Philox;
use crate::tensor::{Axis, DType, MapOp, RandomKind};
use align_syntax::span::Span;

impl Eval<'_> {
    /// A distribution: `normal(0.02)`, `zeros`, a number.
    pub(crate) fn dist(&mut self, value: Value, span: Span) -> Res<Start> {
        match value {
            Value::Dist(dist) => Ok(dist),
            Value::Function(ref f) if matches!(**f, Function::Builtin("zeros" | "ones")) => {
                let value = self.call_value(&value, vec![], span)?;
                self.dist(value, span)
            }
            other => match other.number() {
                Some(x) => Ok(Dist::Constant(x).into()),
                None => fault("E0113", span, format!("`~` draws from a distribution, this is {}", other.kind())),
            },
        }
    }

    /// A draw in host code.
    pub(crate) fn draw(&mut self, dist: &Value, span: Span) -> Res<Value> {
        let start = self.dist(dist.clone(), span)?;
        let mut random = match start.seed {
            Some(seed) => Philox::new(seed, 0),
            None => self.host_random(),
        };
        Ok(Value::Float(start.dist.draw(&mut random)))
    }

    /// Random numbers for the next draw of host code: keyed by seed, rounds of the loops around it, and its number there.
    pub(crate) fn host_random(&mut self) -> Philox {
        let mut stream = 0xcbf2_9ce4_8422_2325u64;
        for word in self.draws.rounds.iter().chain([&self.draws.count]) {
            for byte in word.to_le_bytes() {
                stream = (stream ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        self.draws.count += 1;
        Philox::new(self.seed, stream)
    }
}

/// `normal(std)`, `normal(mean, std)`, `uniform(low, high)`: distributions. `normal()`, `uniform()`: a draw in host code.
/// With axes in brackets a tensor of draws. `seed: n` keys the draws by n and not by the run's seed.
pub(crate) fn distribution(eval: &mut Eval, call: &Call) -> Res<Value> {
    let numbers = call.positional.iter().map(|a| eval.arg(a, call.env)).collect::<Res<Vec<_>>>()?;
    let numbers: Option<Vec<f64>> = numbers.iter().map(Value::number).collect();
    let Some(numbers) = numbers else { return wrong(call, call.span, "takes numbers") };
    let dist = match (call.name, &numbers[..]) {
        ("normal", []) => Dist::Normal { mean: 0.0, std: 1.0 },
        ("normal", [std]) => Dist::Normal { mean: 0.0, std: *std },
        ("normal", [mean, std]) => Dist::Normal { mean: *mean, std: *std },
        ("uniform", []) => Dist::Uniform { low: 0.0, high: 1.0 },
        ("uniform", [low, high]) => Dist::Uniform { low: *low, high: *high },
        _ => return wrong(call, call.span, "takes other numbers"),
    };
    let like = call.named("like").map(|like| eval.arg(like, call.env)).transpose()?;
    let seed = match call.named("seed").map(|a| eval.arg(a, call.env)).transpose()? {
        None | Some(Value::None) => None,
        Some(seed) => match seed.whole() {
            Some(seed) => Some(seed as u64),
            None => return wrong(call, call.span, "takes an Int as its seed"),
        },
    };
    if let Some(like) = like {
        return drawn_like(eval, &dist, &like, seed, call);
    }
    if call.brackets.is_none() {
        let dist = Value::Dist(Start { dist, seed });
        return if numbers.is_empty() { eval.draw(&dist, call.span) } else { Ok(dist) };
    }
    let (axes, _) = super::index::bracket_axes(eval, &Call { positional: vec![], named: vec![], ..*call })?;
    let mut random = seed.map_or_else(|| eval.host_random(), |seed| Philox::new(seed, 0));
    draws(eval, &dist, axes, &mut random, call)
}

/// `normal(like: x)`: a draw for every entry of x. In the optimizer of a stage other ones in each step, in its loss for each
/// row of each step.
fn drawn_like(eval: &mut Eval, dist: &Dist, like: &Value, seed: Option<u64>, call: &Call) -> Res<Value> {
    let axes = eval.axes_of(like);
    let kind = match dist {
        Dist::Uniform { .. } => RandomKind::Uniform,
        _ => RandomKind::Normal,
    };
    let node = match eval.tree_draws(kind, &axes, seed).or_else(|| eval.step_draws(kind, &axes)) {
        None => eval.loss_draws(kind, &axes, call.span)?,
        node => node,
    };
    let Some(node) = node else {
        let mut random = seed.map_or_else(|| eval.host_random(), |seed| Philox::new(seed, 0));
        return draws(eval, dist, axes, &mut random, call);
    };
    let (shift, scale) = match dist {
        Dist::Constant(x) => (*x, 0.0),
        Dist::Normal { mean, std } => (*mean, *std),
        Dist::Uniform { low, high } => (*low, high - low),
    };
    let (shift, scale) = (eval.graph().float(shift), eval.graph().float(scale));
    let scaled = eval.graph().map(MapOp::Mul, &[node, scale]);
    let node = eval.graph().map(MapOp::Add, &[scaled, shift]);
    Ok(eval.tensor(node))
}

/// Draws of host code as a tensor.
fn draws(eval: &mut Eval, dist: &Dist, axes: Vec<Axis>, random: &mut Philox, call: &Call) -> Res<Value> {
    let Some(sizes) = axes.iter().map(Axis::fixed_size).collect::<Option<Vec<_>>>() else {
        return fault("E0190", call.span, "draws along axes whose lengths the data decide are not built yet");
    };
    let values = (0..sizes.iter().product::<usize>()).map(|_| dist.draw(random)).collect();
    let node = eval.graph().array(values, axes, DType::Float);
    Ok(eval.tensor(node))
}
