//! Nets of the evaluator as policies of stages, and the inputs and weights that a traced graph reads.

use super::build::Builder;
use super::evaluate::PolicyUse;
use super::hash::Inputs;
use super::items::{ItemInput, ItemLayout};
use super::policy::{PatchSpec, PolicySpec};
use super::sources::Source;
use super::train::WeightSpec;
use crate::batch::training::is_of_the_step;
use crate::eval::value::{Dist, Net, Patch, Value};
use crate::eval::{Eval, Res, fault};
use crate::tensor::{Axis, AxisKind, Graph, Node, NodeData, Op};
use crate::world::Model;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// A net as stages hand it on. `model`: where it was loaded from.
pub(super) fn spec(eval: &mut Eval, net: &Rc<Net>, model: Option<Rc<dyn Model>>, span: Span) -> Res<PolicySpec> {
    let (mut weights, mut starts, mut stored, mut wide, mut offset) = (vec![], vec![], vec![], vec![], 0);
    for weight in eval.net_weights(net, span)? {
        let len = weight.axes.iter().filter_map(Axis::fixed_size).product();
        weights.push(WeightSpec { path: weight.path, axes: weight.axes, offset, len });
        starts.push(weight.start);
        stored.push(weight.stored);
        wide.push(weight.wide);
        offset += len;
    }
    let settings = settings(net);
    let trains = weights.iter().map(|w: &WeightSpec| net.trains(&w.path)).collect();
    let mut patches = vec![];
    for patch in net.patches.iter() {
        patches.push(PatchSpec {
            name: patch.name.to_string(),
            net: patch.applied.code.name().to_string(),
            settings: patch.by().map(|by| self::settings(by)).unwrap_or_default(),
            on: patch.on.iter().map(|on| on.path.clone()).collect(),
            adapter: adapter(eval, patch)?,
        });
    }
    let tokenizer = match (net.tokenizer(), &model) {
        (Some(tokenizer), _) => Some(tokenizer),
        (None, Some(model)) => Some(model.tokenizer().or_else(|message| fault("E0708", span, message))?),
        (None, None) => None,
    };
    let context = settings.get("context").and_then(|n| n.as_u64());
    let context = context.or_else(|| model.as_ref()?.config().get("context")?.as_u64()).map(|n| n as usize);
    Ok(PolicySpec {
        net: net.name(),
        settings,
        weights,
        starts,
        stored,
        wide,
        trains,
        patches,
        tokenizer,
        model,
        context,
    })
}

/// What a patch says in its `adapter`.
fn adapter(eval: &mut Eval, patch: &Patch) -> Res<Option<serde_json::Map<String, serde_json::Value>>> {
    let Some(on) = patch.on.first() else { return Ok(None) };
    let Some(said) = eval.patch_setting(&on.by, "adapter")? else { return Ok(None) };
    match super::convert::to_json(&said) {
        Some(serde_json::Value::Object(settings)) => Ok(Some(settings)),
        _ => {
            let message = format!("`adapter` of a patch is a record of plain settings, this is {}", said.kind());
            fault("E0113", patch.applied.code.span(), message)
        }
    }
}

/// The settings of a net that JSON can hold.
fn settings(net: &Net) -> serde_json::Map<String, serde_json::Value> {
    let known = net.settings().iter().filter_map(|(name, value)| {
        let json = super::convert::to_json(value)?;
        Some((name.to_string(), json))
    });
    known.collect()
}

/// Adds what the weights of a policy are, and how its text is read, to a hash.
pub(super) fn hash(policy: &PolicySpec, inputs: &mut Inputs) {
    let settings =
        policy.settings.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ");
    inputs.part("net", format!("{}({settings})", policy.net), |hasher| {
        for (weight, start) in policy.weights.iter().zip(&policy.starts) {
            hasher.text("weight", &weight.path).text("axes", &format!("{:?}", weight.axes));
            match start.dist {
                Dist::Constant(x) => hasher.float("constant", x),
                Dist::Normal { mean, std } => hasher.float("normal", mean).float("std", std),
                Dist::Uniform { low, high } => hasher.float("uniform", low).float("high", high),
            };
            if let Some(seed) = start.seed {
                hasher.int("drawn by", seed);
            }
        }
        for (weight, _) in policy.weights.iter().zip(&policy.trains).filter(|(_, trains)| !**trains) {
            hasher.text("left alone", &weight.path);
        }
        hasher.int("context", policy.context.map_or(0, |n| n as u64 + 1));
    });
    inputs.part("tokenizer", "", |hasher| {
        hasher.text("tokenizer", &policy.tokenizer.as_ref().map(|t| t.identity()).unwrap_or_default());
    });
}

/// Where a model's configuration has what was put on its net.
const WITH: &str = "with";

/// The net that a model's configuration describes.
pub(super) fn of_model(eval: &mut Eval, model: &dyn Model, span: Span) -> Res<Rc<Net>> {
    let config = model.config();
    let name = config.get("net").and_then(|n| n.as_str()).unwrap_or_default().to_string();
    let net = match eval.loaded_net(&name, settings_in(&config), span).transpose()? {
        Some(Value::Net(net)) => net,
        None => return fault("E0708", span, format!("this model is a `{name}`, which std.nets does not have")),
        Some(other) => return fault("E0708", span, format!("`{name}` is not a net but {}", other.kind())),
    };
    with_all(eval, net, &config[WITH], span)
}

/// The settings in a configuration.
fn settings_in(of: &serde_json::Value) -> Vec<(Rc<str>, Value)> {
    let settings = of.as_object().into_iter().flatten().filter(|(name, _)| *name != "net" && *name != WITH);
    settings.map(|(name, value)| (name.as_str().into(), super::convert::from_json(value))).collect()
}

/// A net with each of a list of patches that it does not have yet.
pub(super) fn with_all(eval: &mut Eval, net: Rc<Net>, list: &serde_json::Value, span: Span) -> Res<Rc<Net>> {
    let mut net = net;
    for patch in list.as_array().into_iter().flatten() {
        let name = patch["net"].as_str().unwrap_or_default();
        if net.patches.iter().any(|known| known.applied.code.name() == name) {
            continue;
        }
        let applied = match eval.loaded_net(name, settings_in(&patch["settings"]), span).transpose()? {
            Some(Value::Applied(applied)) => applied,
            _ => return fault("E0708", span, format!("this model has the patch `{name}`, which is not known here")),
        };
        if let Value::Net(patched) = eval.with_patch(&net, &applied, span)? {
            net = patched;
        }
    }
    Ok(net)
}

/// Every weight is in the model, with its shape.
pub(super) fn check_stored(policy: &PolicySpec, model: &dyn Model, span: Span) -> Res<()> {
    for (weight, stored) in policy.weights.iter().zip(&policy.stored) {
        let Some(stored) = stored else {
            return fault(
                "E0709",
                span,
                format!("`names` of {} does not say where {} is stored", policy.net, weight.path),
            );
        };
        match model.shape(&stored.tensor) {
            None => {
                let message =
                    format!("the model has no tensor {}, which is {} of {}", stored.tensor, weight.path, policy.net);
                return fault("E0709", span, message);
            }
            Some(shape) if shape != stored.shape => {
                let message = format!(
                    "tensor {} has the shape {shape:?}, {} needs {:?}",
                    stored.tensor, policy.net, stored.shape
                );
                return fault("E0709", span, message);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The inputs of a graph for one item, and its ragged axes.
pub(super) fn layout(graph: &Graph, span: Span) -> Res<ItemLayout> {
    let mut layout = ItemLayout::default();
    for (_, data) in graph.nodes() {
        if let Op::Input(name) = &data.op
            && !is_of_the_step(name)
        {
            layout.inputs.push(ItemInput { name: name.clone(), axes: data.axes.clone(), dtype: data.dtype });
            for axis in &data.axes {
                if matches!(axis.kind(), AxisKind::Ragged { .. }) && !layout.ragged.contains(axis) {
                    layout.ragged.push(axis.clone());
                }
            }
        }
    }
    let mut ragged = graph.nodes().flat_map(|(_, data)| &data.axes);
    match ragged.find(|a| matches!(a.kind(), AxisKind::Ragged { .. }) && !layout.ragged.contains(a)) {
        Some(axis) => fault("E0407", span, format!("nothing of the item has the axis {}", axis.name())),
        None => Ok(layout),
    }
}

/// The policies whose weights a graph reads under a prefix (`3:embed`), in the order in which it first does, and the
/// graph with the prefixes `p0:`, `p1:`, .. instead: they do not depend on what else is in the program.
pub(super) fn used(
    builder: &Builder,
    eval: &mut Eval,
    graph: &Graph,
    span: Span,
) -> Res<(Graph, Vec<PolicyUse>, Vec<Source>)> {
    let mut graph = graph.clone();
    let (uses, sources) = used_by(builder, eval, &mut [&mut graph], &mut vec![], span)?;
    Ok((graph, uses, sources))
}

/// As [`used`], of several graphs. In an evaluation of a stage those that train go by their names there. `known`: the sources of the policies that other graphs read, whose prefixes go by their
/// places in it; new ones come to it, and only these are given back.
pub(super) fn used_by(
    builder: &Builder,
    eval: &mut Eval,
    graphs: &mut [&mut Graph],
    known: &mut Vec<String>,
    span: Span,
) -> Res<(Vec<PolicyUse>, Vec<Source>)> {
    let first = known.len();
    for graph in graphs.iter() {
        self::sources(graph, known);
    }
    let moving = builder.state.borrow().moving.as_ref().map(|(sources, _)| sources.clone());
    let moves = |number: &str| {
        let found = moving.iter().flatten().find(|(source, _)| source.to_string() == number);
        found.map(|(_, prefix)| prefix.clone())
    };
    let (mut uses, mut sources) = (vec![], vec![]);
    for (i, number) in known.iter().enumerate().skip(first) {
        let prefix = format!("p{i}:");
        let source = number.parse().ok().and_then(|number: u32| builder.net(number));
        let Some(net) = source else {
            return fault("E0113", span, "this reads a policy that the pipeline does not know");
        };
        if let Some(prefix) = moves(number) {
            uses.push(PolicyUse { prefix, policy: builder.spec(eval, net.source, span)? });
            continue;
        }
        if moving.is_some() {
            return fault("E0190", span, "an evaluation of a stage reads only the policies that train yet");
        }
        let source = builder.source(eval, &net, span)?;
        uses.push(PolicyUse { prefix, policy: source.policy.clone() });
        sources.push(source);
    }
    for graph in graphs.iter_mut().filter(|_| !known.is_empty()) {
        **graph = renamed(graph, &|path| match path.split_once(':') {
            Some((number, rest)) => match moves(number) {
                Some(prefix) => format!("{prefix}{rest}"),
                None => {
                    let at = known.iter().position(|n| n == number).expect("every prefix was collected");
                    format!("p{at}:{rest}")
                }
            },
            None => path.to_string(),
        });
    }
    Ok((uses, sources))
}

/// The sources of the nets whose weights a graph reads, as their paths begin with them (`3:embed`); those that are not known yet come
/// to `known`.
pub(super) fn sources(graph: &Graph, known: &mut Vec<String>) {
    weight_paths(graph, &mut |path| {
        if let Some((number, _)) = path.split_once(':')
            && !known.iter().any(|n| n == number)
        {
            known.push(number.to_string());
        }
    });
}

/// Whether a graph depends on any policy.
pub(super) fn reads_weights(graph: &Graph) -> bool {
    let mut found = false;
    weight_paths(graph, &mut |_| found = true);
    found
}

/// Calls `f` for the path of every weight, in bodies too.
pub(super) fn weight_paths(graph: &Graph, f: &mut dyn FnMut(&str)) {
    for (_, data) in graph.nodes() {
        match &data.op {
            Op::Weight(path) => f(path),
            Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } => weight_paths(body, f),
            _ => {}
        }
    }
}

/// The graph with other paths of weights.
pub(super) fn renamed(graph: &Graph, f: &dyn Fn(&str) -> String) -> Graph {
    let mut new = Graph::new();
    let mut nodes: Vec<Node> = vec![];
    for (_, data) in graph.nodes() {
        let mut op = data.op.clone();
        match &mut op {
            Op::Weight(path) => *path = f(path),
            Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } => **body = renamed(body, f),
            _ => {}
        }
        let inputs = data.inputs.iter().map(|n| nodes[n.0 as usize]).collect();
        new.come_from(data.origin.clone());
        nodes.push(new.push(NodeData::new(op, inputs, data.axes.clone(), data.dtype)));
    }
    new.params = graph.params.iter().map(|n| nodes[n.0 as usize]).collect();
    new.outputs = graph.outputs.iter().map(|(name, n)| (name.clone(), nodes[n.0 as usize])).collect();
    new
}

/// A fault of a pass that works on graphs, at the words that asked for them.
pub(super) fn at(span: Span, message: &str) -> Box<Diagnostic> {
    let (code, message) = match message.split_once(": ") {
        Some(("E0401", rest)) => ("E0401", rest),
        Some(("E0408", rest)) => ("E0408", rest),
        _ => ("E0407", message),
    };
    Box::new(Diagnostic::error(code, span, message))
}
