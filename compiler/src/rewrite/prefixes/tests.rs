//! Steps on forests and on flat streams give the same; what shares nothing stays flat.

use crate::batch::BatchOptions;
use crate::batch::training::{TrainingGraphs, training_step};
use crate::eval::Eval;
use crate::eval::checks::{Library, explained, nowhere, program};
use crate::eval::loss::{TracedLoss, layout};
use crate::eval::value::{FieldType, ItemType, Net, Tuple, Value};
use crate::interp::{self, Named, Precision};
use crate::philox::Philox;
use crate::rewrite::Rewrites;
use crate::rewrite::oracle::{assert_close, fill};
use crate::stage::items::{Forest, Item, ItemLayout, ItemValue, pack};
use crate::tensor::verify::assert_valid;
use crate::tensor::{Axis, CallKind, DType, Graph, Op};
use std::rc::Rc;

const NETS: &str = "
use std.nets { llama, gpt2 }
use std.losses { dpo, sft }

let small = llama(vocab_size: 11, layers: 2, width: 8, heads: 4, kv_heads: 2, inner: 10)
let near = llama(vocab_size: 11, layers: 2, width: 8, heads: 2, inner: 6, window: 3)
let older = gpt2(vocab_size: 11, layers: 2, width: 8, heads: 2, inner: 10, context: 16)
";

const PAIR: &str = "chosen: Reply, rejected: Reply";

/// Losses on pairs and groups, each with the net that is trained.
const SHARED: &[(&str, &str, &str)] = &[
    ("small", "x: Pair", "sum[time](logp(p, x.chosen)) - sum[time](logp(p, x.rejected))^2"),
    ("near", "x: Pair", "sum[time](logp(p, x.chosen)) - sum[time](logp(p, x.rejected))^2"),
    ("older", "x: Pair", "sum[time](logp(p, x.chosen)) * sum[time](logp(p, x.rejected))"),
    (
        "small",
        "r: Policy, x: Pair",
        "sum[time](logp(p, x.chosen) - logp(r, x.chosen)) - sum[time](logp(p, x.rejected) - logp(r, x.rejected))^2",
    ),
    (
        "small",
        "x: Pair",
        "sum[time, dim](hidden(p, x.chosen)^3) - sum[time](logp(p, x.chosen) + entropy(p, x.chosen)) * sum[time](logp(p, x.rejected))",
    ),
    ("small", "x: Many", "mean[sample](sum[time](logp(p, x.reply))^2)"),
    ("near", "x: Many", "sum[sample, time](logp(p, x.reply)^2)"),
    ("older", "r: Policy, x: Many", "mean[sample](sum[time](logp(p, x.reply) - logp(r, x.reply))^2)"),
];

/// What keeps flat streams.
const FLAT: &[(&str, &str)] = &[
    ("x: Pair", "sum[time](logp(p, x.chosen))"),
    ("r: Policy, x: Pair", "sum[time](logp(p, x.chosen)) + sum[time](logp(r, x.rejected))"),
    ("r: Policy, x: Pair", "sum[time](logp(p, x.chosen) - logp(r, x.chosen)) * sum[time](logp(p, x.rejected))"),
];

fn pair() -> ItemType {
    let field = |name: &str, ty| (name.to_string(), ty);
    let fields = vec![field("chosen", FieldType::Reply), field("rejected", FieldType::Reply)];
    ItemType { name: Some("Pair".into()), fields }
}

fn many() -> ItemType {
    let each = FieldType::Each("sample".into(), Box::new(FieldType::Reply));
    ItemType { name: Some("Many".into()), fields: vec![("reply".into(), each)] }
}

fn traced(net: &str, parameters: &str, body: &str) -> TracedLoss {
    let records = format!("record Pair {{ {PAIR} }}\nrecord Many {{ reply: Reply each sample }}");
    let text =
        format!("{NETS}\n{records}\nloss of(p: Policy, {parameters}) per example = {body}\nlet objective = of()\n");
    let program = program(&text);
    let mut eval = Eval::new(&program, &Library);
    let mut policy = explained(&program, eval.global(net, nowhere()));
    if let (true, Value::Net(first)) = (parameters.contains("r: Policy"), &policy) {
        let Net { shape, prefix, given, patches, .. } = &**first;
        let (shape, prefix, given, patches) = (shape.clone(), prefix.clone(), given.clone(), patches.clone());
        let second = Net { shape, prefix, source: 1, given, patches };
        policy = Value::Tuple(Rc::new(Tuple { positional: vec![policy, Value::Net(Rc::new(second))], named: vec![] }));
    }
    let loss = explained(&program, eval.global("objective", nowhere()));
    let item = if parameters.contains("Pair") { pair() } else { many() };
    explained(&program, eval.trace_loss(&loss, &policy, &item, &[(1, "r:".into())], nowhere()))
}

fn step(loss: &TracedLoss, prefixes: bool) -> (TrainingGraphs, ItemLayout) {
    let terms: Vec<_> = loss.terms.iter().map(|(o, _)| o.clone()).collect();
    let rewrites = Rewrites { prefixes, wide: 11, ..Rewrites::default() };
    let made = training_step(&loss.graph, &terms, &loss.tracks, &BatchOptions::default(), &rewrites, |_| true);
    let made = made.expect("it has gradients");
    assert_valid(&made.step);
    let layout = ItemLayout { forests: Forest::of(&made.step), ..layout(&loss.graph) };
    (made, layout)
}

/// An item whose fields hold replies, each a prompt's tokens and its own.
fn item(layout: &ItemLayout, replies: &[(Vec<i32>, Vec<i32>)], each: bool) -> Item {
    let mut item = Item::default();
    let mut lengths = vec![vec![]; layout.ragged.len()];
    for input in &layout.inputs {
        let (path, kind) = input.name.split_once('.').expect("a path and what is read of it");
        let these = match (each, path) {
            (true, _) => replies,
            (false, "chosen") => &replies[..1],
            _ => &replies[1..2],
        };
        let of = |(prompt, own): &(Vec<i32>, Vec<i32>)| -> Vec<i32> {
            let before = prompt.len() as i32;
            match kind {
                "stream" => [&prompt[..], own].concat(),
                "tokens" => own.clone(),
                _ => (0..own.len() as i32).map(|i| before + i - 1).collect(),
            }
        };
        let all: Vec<Vec<i32>> = these.iter().map(of).collect();
        for axis in &input.axes {
            let at = layout.ragged.iter().position(|a| a == axis).expect("it is ragged");
            lengths[at] = match axis.name() {
                "sample" => vec![all.len()],
                _ => all.iter().map(Vec::len).collect(),
            };
        }
        item.values.push(ItemValue::Ints(all.concat()));
    }
    item.lengths = lengths;
    item
}

fn items(layout: &ItemLayout, each: bool) -> Vec<Item> {
    let mut random = Philox::new(5, 0);
    let mut tokens = |n: usize| -> Vec<i32> { (0..n).map(|_| (random.uniform() * 11.0) as i32).collect() };
    // Lengths of prompts, and of replies to them: of one token, of none, and prompts that begin alike.
    let shapes: [(usize, &[usize]); 4] = [(4, &[3, 2]), (1, &[5, 1]), (6, &[0, 4]), (2, &[2, 7])];
    let made = shapes.into_iter().enumerate().map(|(i, (prompt, replies))| {
        let prompt = tokens(prompt);
        let more: &[usize] = if each && i == 1 { &[2, 2, 0] } else { &[] };
        let mut all: Vec<_> = replies.iter().chain(more).map(|n| (prompt.clone(), tokens(*n))).collect();
        if i == 3 {
            // Another prompt, which goes apart from the first one at its second token.
            all[1].0[1] = (prompt[1] + 1) % 11;
        }
        item(layout, &all, each)
    });
    made.collect()
}

/// All outputs of the step, and of the counts.
fn run(made: &TrainingGraphs, layout: &ItemLayout, items: &[Item], loss: &TracedLoss) -> Named {
    let packed = pack(layout, items);
    let mut given = Named::new();
    for (_, data) in made.step.nodes().chain(made.counts.nodes()) {
        if let (Op::Input(name), DType::Int) = (&data.op, data.dtype) {
            let ItemValue::Ints(ids) = &packed.values[name] else { panic!("{name}") };
            given.insert(name.clone(), interp::Value::ints(data.axes.clone(), ids.iter().map(|id| i64::from(*id))));
        }
    }
    given.insert(format!("scale.{}", loss.terms[0].0.name), interp::Value::number(0.7));
    // By name, so that both graphs have the same.
    let mut weights = Named::new();
    fill(&loss.graph, &mut weights, &packed.lengths);
    weights.retain(|_, value| value.axes.iter().all(|axis| axis.fixed_size().is_some()));
    given.extend(weights);
    let run = |graph: &Graph| interp::run(graph, &given, &packed.lengths, Precision::F64).expect("it runs");
    run(&made.counts).into_iter().chain(run(&made.step)).collect()
}

fn attentions(graph: &Graph) -> (usize, usize) {
    let count = |tree| {
        let of = |op: &Op| matches!(op, Op::Call { kind: CallKind::Attention(a), .. } if a.tree == tree);
        graph.nodes().filter(|(_, data)| of(&data.op)).count()
    };
    (count(true), count(false))
}

#[test]
fn steps_on_forests_are_those_on_streams() {
    for (net, parameters, body) in SHARED {
        let loss = traced(net, parameters, body);
        let ((shared, layout), (flat, streams)) = (step(&loss, true), step(&loss, false));
        let nets = if parameters.contains("r: Policy") { 2 } else { 1 };
        assert_eq!(attentions(&shared.step), (2 * nets, 0), "{body}: one for each layer");
        assert_eq!(streams.forests, []);
        let each = parameters.contains("Many");
        for part in [0..4, 0..1, 1..2, 2..3, 3..4] {
            let one = run(&shared, &layout, &items(&layout, each)[part.clone()], &loss);
            let two = run(&flat, &streams, &items(&streams, each)[part], &loss);
            assert_eq!(one.len(), two.len());
            for (name, value) in &two {
                assert!(value.data.iter().all(|x| x.is_finite()), "{name}");
                assert_close(&format!("{body}: {name}"), &one[name].data, &value.data);
            }
        }
    }
}

/// A product on the forest has a row for each token of the prompt, once.
#[test]
fn a_prompt_is_there_once() {
    let (net, parameters, body) = SHARED[0];
    let (_, layout) = step(&traced(net, parameters, body), true);
    let tokens = |made: &Item| -> usize {
        let packed = pack(&layout, std::iter::once(made));
        packed.lengths.size(&layout.forests[0].axis.packed())
    };
    let all = items(&layout, false);
    assert_eq!(all.iter().map(tokens).collect::<Vec<_>>()[..3], [4 + 3 + 2, 1 + 5 + 1, 6 + 4]);
    // The streams stay what they were: they say how many tokens there are.
    let streams = |made: &Item| -> usize { made.lengths.iter().flatten().sum() };
    assert!(streams(&all[0]) >= 2 * 4 + 3 + 2);
}

#[test]
fn what_shares_nothing_keeps_its_streams() {
    for (parameters, body) in FLAT {
        let (made, layout) = step(&traced("small", parameters, body), true);
        assert_eq!(attentions(&made.step).0, 0, "{body}");
        assert!(attentions(&made.step).1 > 0, "{body}");
        assert_eq!(layout.forests, [], "{body}");
    }
}

/// What is read over all places of a stream is read of the stream.
#[test]
fn nets_that_do_more_along_a_stream_keep_it() {
    let body =
        "sum[time](logp(p, x.chosen)) - sum[kv, rep, time, past](read(p, x.rejected, .blocks[-1].attend.seen)^2)";
    let (made, layout) = step(&traced("small", "x: Pair", body), true);
    assert_eq!((attentions(&made.step).0, layout.forests), (0, vec![]));
}

/// The axis of a forest is one of its own.
#[test]
fn forests_have_axes_of_their_own() {
    let forest = Forest::new(["chosen", "rejected"].into_iter(), 4);
    assert_eq!(forest.tokens(), "chosen+rejected.forest");
    assert_eq!(forest.axis, Axis::ragged("forest", 4, None));
}
