//! Gradients through the library's nets.

use super::{NETS, explained, program, traced};
use crate::autodiff::vjp;
use crate::batch::BatchOptions;
use crate::batch::objective::OBJECTIVE;
use crate::batch::training::{forward, training_step};
use crate::eval::Eval;
use crate::eval::loss::TracedLoss;
use crate::rewrite::Rewrites;
use crate::rewrite::oracle::{Named, Value, assert_close, fill, run};
use crate::rewrite::rebuild::copy_with;
use crate::rewrite::simplify::drop_dead;
use crate::tensor::verify::assert_valid;
use crate::tensor::{Axis, AxisKind, CallKind, DType, Graph, Lengths, MapOp, Node, Op};

/// Nets with heads, and losses that read what heads and nets say of a reply.
const HEADS: &str = "
use std.nets { llama, gpt2 }

let small = llama(vocab_size: 11, layers: 2, width: 8, heads: 4, kv_heads: 2, inner: 10) with head()
let older = gpt2(vocab_size: 11, layers: 2, width: 8, heads: 2, inner: 10, context: 8) with head(seed: 3)
";

/// What is read, as the body of a loss.
const READ: &[(&str, &str)] = &[
    ("value", "loss of(p: Scorer, shown: Reply) per token = (value(p, shown) - 0.3)^2"),
    ("score", "loss of(p: Scorer, shown: Reply) per example = (score(p, shown) - 0.3)^2"),
    ("policy and critic", "loss of(p: Policy, shown: Reply) per token = value(p, shown)^2 - logp(p, shown)"),
    ("hidden", "loss of(p: Policy, shown: Reply) per token = mean[dim](hidden(p, shown)^3)"),
    ("a layer", "loss of(p: Policy, shown: Reply) per token = mean[dim](hidden(p, shown, layer: 0, at: before)^3)"),
    (
        "layers",
        "loss of(p: Policy, shown: Reply) per token = sum[layer, dim](read(p, shown, .blocks)^2 * (index[layer] + 1))",
    ),
    ("a let", "loss of(p: Policy, shown: Reply) per token = mean[dim](read(p, shown, .blocks[-1].y)^3)"),
    ("a part", "loss of(p: Policy, shown: Reply) per token = sum[layer, dim](read(p, shown, .attend, at: before)^3)"),
    (
        "attention",
        "loss of(p: Policy, shown: Reply) per token = sum[kv, rep, past](read(p, shown, .blocks[-1].attend.seen, at: before)^2)",
    ),
    ("a weight", "loss of(p: Policy, shown: Reply) per token = logp(p, shown) * mean(read(p, shown, .norm.scale))"),
];

/// The loss of `net` on a reply, traced.
fn loss(net: &str, text: &str) -> TracedLoss {
    let program = program(text);
    let mut eval = Eval::new(&program, &super::Library);
    explained(&program, traced(&mut eval, net, "objective"))
}

/// Two items: tokens of a stream, of which the last ones are the reply's.
fn items(loss: &TracedLoss, graph: &Graph) -> (Named, Lengths) {
    let (stream, reply) = ([5usize, 4], [2usize, 3]);
    let axis = |name: &str| {
        let input = loss.layout.inputs.iter().find(|i| i.name == name).expect("an input of the loss");
        input.axes[0].packed()
    };
    let reads_places = loss.layout.inputs.iter().any(|i| i.name == "shown.places");
    let of_stream = axis("shown.stream");
    let mut lengths = Lengths::new().with(Axis::item(), vec![2]).with(of_stream.clone(), stream.to_vec());
    let token = |i: usize| (i * 7 + 3) as i64 % 11;
    let places = (0..2).flat_map(|i| (stream[i] - reply[i] - 1..stream[i] - 1).map(|p| p as i64));
    let tokens = (0..2).flat_map(|i| {
        let start = stream[..i].iter().sum::<usize>() + stream[i] - reply[i];
        (start..start + reply[i]).map(token)
    });
    let scale = format!("scale.{}", loss.terms[0].0.name);
    let mut given = Named::from([
        ("shown.stream".into(), Value::ints(vec![of_stream], (0..9).map(token))),
        (scale, Value::number(0.7)),
    ]);
    if reads_places {
        let of_reply = axis("shown.places");
        lengths.set(of_reply.clone(), reply.to_vec());
        given.insert("shown.tokens".into(), Value::ints(vec![of_reply.clone()], tokens));
        given.insert("shown.places".into(), Value::ints(vec![of_reply], places));
    }
    fill(graph, &mut given, &lengths);
    (given, lengths)
}

/// Central differences of the objective by some entries of an input against what was found.
fn compare(graph: &Graph, name: &str, found: &Value, given: &Named, lengths: &Lengths) {
    let found = found.laid_out(&given[name].axes, lengths);
    for i in (0..found.data.len()).step_by(1 + found.data.len() / 6) {
        let at = |h: f64| {
            let mut given = given.clone();
            given.get_mut(name).expect("an input").data[i] += h;
            run(graph, &given, lengths)[OBJECTIVE].data[0]
        };
        let h = 1e-5;
        let difference = (at(h) - at(-h)) / (2.0 * h);
        let gap = (found.data[i] - difference).abs();
        assert!(gap < 1e-7 * (1.0 + difference.abs()), "{name}[{i}]: {} and {difference}", found.data[i]);
    }
}

/// By every weight, for the rewritten step against differences of the plain loss.
#[test]
fn of_the_librarys_nets_by_weights() {
    for net in ["small", "older"] {
        by_weights(net, NETS);
    }
}

#[test]
fn of_what_is_read_of_a_reply() {
    for (of, text) in READ {
        let nets: &[&str] = if ["value", "layers"].contains(of) { &["small", "older"] } else { &["small"] };
        for net in nets {
            by_weights(net, &format!("{HEADS}\n{text}\nlet objective = of()"));
        }
    }
}

fn by_weights(net: &str, text: &str) {
    let loss = loss(net, text);
    let terms: Vec<_> = loss.terms.iter().map(|(o, _)| o.clone()).collect();
    let plain = forward(&loss.graph, &terms, &[], &BatchOptions::default(), &Rewrites::none());
    let mut plain = plain.expect("it packs").step;
    plain.outputs.retain(|(name, _)| name == OBJECTIVE);
    let rewrites = Rewrites { wide: 11, ..Rewrites::default() };
    let made = training_step(&loss.graph, &terms, &[], &BatchOptions::default(), &rewrites, |_| true);
    let made = made.expect("it has a gradient");
    assert_valid(&made.step);
    let (given, lengths) = items(&loss, &plain);
    let out = run(&made.step, &given, &lengths);
    for (path, axes) in &made.weights {
        let grad = &out[&format!("grad.{path}")];
        assert_eq!(grad.axes, *axes);
        assert!(grad.data.iter().any(|x| x.abs() > 1e-9), "{path} matters");
        compare(&plain, path, grad, &given, &lengths);
    }
}

/// By values between the layers, in the rewritten graph itself.
#[test]
fn of_the_librarys_nets_in_the_middle() {
    for net in ["small", "older"] {
        let loss = loss(net, NETS);
        let terms: Vec<_> = loss.terms.iter().map(|(o, _)| o.clone()).collect();
        let rewrites = Rewrites { wide: 11, ..Rewrites::default() };
        let step = forward(&loss.graph, &terms, &[], &BatchOptions::default(), &rewrites);
        let mut step = step.expect("it packs").step;
        step.outputs.retain(|(name, _)| name == OBJECTIVE);
        let step = drop_dead(&step);
        let (mut given, lengths) = items(&loss, &step);
        let rows = |axis: &Axis| matches!(axis.kind(), AxisKind::Packed(_));
        let middle: Vec<Node> = step
            .nodes()
            .filter(|(_, d)| d.dtype == DType::Float && d.axes.len() > 1 && d.axes.iter().any(rows))
            .map(|(node, _)| node)
            .collect();
        for node in middle.iter().copied().step_by(middle.len() / 12) {
            let mut with_grad = step.clone();
            let objective = step.outputs[0].1;
            let grad = vjp(&mut with_grad, objective, None, &[node])[0];
            with_grad.output("value", node);
            with_grad.output("grad", grad);
            let out = run(&with_grad, &given, &lengths);
            given.insert("middle".into(), out["value"].clone());
            let opened = copy_with(&step, |to, n, _| {
                let data = step.get(n);
                (n == node).then(|| to.input("middle", data.axes.clone(), data.dtype))
            });
            assert_close(OBJECTIVE, &out[OBJECTIVE].data, &run(&opened, &given, &lengths)[OBJECTIVE].data);
            compare(&opened, "middle", &out["grad"], &given, &lengths);
        }
    }
}

/// A net as large as SmolLM2-135M: its step is built at once, and stores nothing that grows with tokens times vocabulary
/// or with tokens squared.
#[test]
fn of_a_net_of_thirty_layers() {
    let text = "
use std.nets { llama }
use std.losses { sft }
let large = llama(vocab_size: 49152, layers: 30, width: 576, heads: 9, kv_heads: 3, inner: 1536)
let objective = sft(.shown)
";
    let begin = std::time::Instant::now();
    let loss = loss("large", text);
    let terms: Vec<_> = loss.terms.iter().map(|(o, _)| o.clone()).collect();
    let traced = begin.elapsed();
    let made = training_step(&loss.graph, &terms, &[], &BatchOptions::default(), &Rewrites::default(), |_| true);
    let step = made.expect("it has a gradient").step;
    let time = begin.elapsed();
    eprintln!("traced in {traced:?}, {} nodes; step after {time:?}, {} nodes", loss.graph.len(), step.len());
    let calls = |which: fn(&CallKind) -> bool| {
        step.nodes().filter(|(_, d)| matches!(&d.op, Op::Call { kind, .. } if which(kind))).count()
    };
    assert_eq!(calls(|k| matches!(k, CallKind::Attention(_))), 30);
    assert_eq!(calls(|k| matches!(k, CallKind::AttentionGrad(_))), 30);
    assert_eq!(calls(|k| matches!(k, CallKind::Chunked { .. })), 2);
    for (_, data) in step.nodes() {
        let rows = data.axes.iter().any(|a| matches!(a.kind(), AxisKind::Packed(_) | AxisKind::Pairs(_)));
        let wide = data.axes.iter().any(|a| a.name() == "vocab" || matches!(a.kind(), AxisKind::Pairs(_)));
        assert!(!(rows && wide), "{:?} on {:?}", data.op, data.axes);
    }
    // Nothing is worked out entry by entry on matrices of weights but the sum of both gradients of the embedding.
    let matrices: Vec<&Op> = step
        .nodes()
        .filter(|(_, d)| {
            matches!(d.op, Op::Map(_)) && d.axes.len() > 1 && d.axes.iter().all(|a| a.fixed_size().is_some())
        })
        .map(|(_, d)| &d.op)
        .collect();
    assert_eq!(matrices, [&Op::Map(MapOp::Add)]);
    assert!(!step.nodes().any(|(_, d)| matches!(d.op, Op::Map(MapOp::Pow)) && d.axes.len() > 1));
    assert!(time.as_secs_f64() < 10.0, "{time:?}");
}
