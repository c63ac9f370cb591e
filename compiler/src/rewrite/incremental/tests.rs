use super::*;
use crate::eval::Eval;
use crate::eval::checks::{Library, explained, nowhere, program};
use crate::eval::value::{Stream, Value};
use crate::interp::{Named, Value as Tensor};
use crate::rewrite::oracle::{assert_close, fill, noise, run};
use crate::rewrite::{PER_ITEM, Rewrites, rewrite};
use crate::stage::items::STREAM;
use crate::tensor::Lengths;
use crate::tensor::verify::assert_valid;

const NETS: &str = "
use std.nets { llama, gpt2 }

let small = llama(vocab_size: 11, layers: 2, width: 8, heads: 4, kv_heads: 2, inner: 10)
let near = llama(vocab_size: 11, layers: 2, width: 8, heads: 2, inner: 6, window: 3)
let older = gpt2(vocab_size: 11, layers: 2, width: 8, heads: 2, inner: 10, context: 16)

net pooled(vocab_size: Int, width: Int) {
  axis vocab = vocab_size, dim = width
  weight embed: [vocab, dim] ~ normal(0.02)
  logits(tokens: Int each time) -> Tensor[time, vocab] {
    let x = embed[vocab: tokens]
    sum[dim]((x + sum[time](x)) * embed)
  }
}
net counting(vocab_size: Int, width: Int) {
  axis vocab = vocab_size, dim = width
  weight embed: [vocab, dim] ~ normal(0.02)
  logits(tokens: Int each time) -> Tensor[time, vocab] {
    let x = embed[vocab: tokens]
    sum[dim](x * embed) / size[time](x)
  }
}
net full(vocab_size: Int, width: Int) {
  axis vocab = vocab_size, dim = width
  weight embed: [vocab, dim] ~ normal(0.02)
  logits(tokens: Int each time) -> Tensor[time, vocab] {
    let x = embed[vocab: tokens]
    let y = rename(x, time: past)
    sum[dim](sum[past](softmax[past](sum[dim](x * y)) * y) * embed)
  }
}
/// What the tokens so far come to, a running state, and the tokens before, beside attention.
net going(vocab_size: Int, width: Int) {
  axis vocab = vocab_size, dim = width
  weight embed: [vocab, dim] ~ normal(0.5)
  weight out: [vocab, dim] ~ normal(0.5)
  logits(tokens: Int each time) -> Tensor[time, vocab] {
    let x = embed[vocab: tokens]
    let mean = cumsum[time](x) / (index[time](x) + 1)
    let state = scan[time](x, from: 0.5, (h, x) => tanh(0.5 * h + x))
    let (most, steps) = scan[time](x, from: (-1, 0), ((m, n), x) => (max(m, x), n + 1))
    let before = x[time: index[time](x) - 1, or: 0] + 0.5 * x[time: index[time](x) - 3, or: 0.25]
    let odd = cumsum[time](where(tokens % 2 == 1, 1, 0))
    let y = mean + state + most / (steps + 1) + before
    sum[dim](y * out) + odd / 8
  }
}
net forward(vocab_size: Int, width: Int) {
  axis vocab = vocab_size, dim = width
  weight embed: [vocab, dim] ~ normal(0.5)
  logits(tokens: Int each time) -> Tensor[time, vocab] {
    let x = embed[vocab: tokens]
    sum[dim]((x + cumsum[time](x, reverse: true)) * embed)
  }
}
net backward(vocab_size: Int, width: Int) {
  axis vocab = vocab_size, dim = width
  weight embed: [vocab, dim] ~ normal(0.5)
  logits(tokens: Int each time) -> Tensor[time, vocab] {
    let x = embed[vocab: tokens]
    sum[dim](scan[time](x, from: 0, reverse: true, (h, x) => h + x) * embed)
  }
}
net ahead(vocab_size: Int, width: Int) {
  axis vocab = vocab_size, dim = width
  weight embed: [vocab, dim] ~ normal(0.5)
  logits(tokens: Int each time) -> Tensor[time, vocab] {
    let x = embed[vocab: tokens]
    sum[dim](x[time: index[time](x) + 1, or: 0] * embed)
  }
}
let goes = going(vocab_size: 11, width: 4)
let from_end = forward(vocab_size: 11, width: 4)
let turned = backward(vocab_size: 11, width: 4)
let next_one = ahead(vocab_size: 11, width: 4)
let mean = pooled(vocab_size: 11, width: 4)
let counts = counting(vocab_size: 11, width: 4)
let both = full(vocab_size: 11, width: 4)
";

/// The logits of what comes next, attention outlined.
fn traced(net: &str) -> Graph {
    let program = program(NETS);
    let mut eval = Eval::new(&program, &Library);
    let net = explained(&program, eval.global(net, nowhere()));
    let Value::Net(net) = net else { panic!("a net") };
    let stream = Stream { path: "context".into(), is_prompt: true, each: None };
    let traced = eval.in_new_graph(|eval| {
        let logits = eval.next_logits(&net, &stream, nowhere())?;
        eval.graph().output("logits", logits);
        Ok(())
    });
    let ((), graph) = explained(&program, traced);
    rewrite(&graph, PER_ITEM, &Rewrites { prefixes: false, ..Rewrites::default() })
}

fn part(net: &str) -> Result<Incremental, Obstacle> {
    incremental(&traced(net), &format!("context{STREAM}"))
}

fn time(graph: &Graph) -> Axis {
    let input = graph.nodes().find(|(_, data)| matches!(&data.op, Op::Input(name) if name.ends_with(STREAM)));
    input.unwrap().1.axes[0].clone()
}

#[test]
fn new_tokens_over_what_is_kept_give_what_all_give() {
    const TOKENS: usize = 9;
    const POOL: usize = 20;
    for net in ["small", "near", "older", "goes"] {
        let whole = traced(net);
        let Incremental { graph, kept, states, window } = part(net).unwrap();
        assert_valid(&graph);
        let window_of = |net: &str| match net {
            "near" => Some(3),
            "goes" => Some(0),
            _ => None,
        };
        assert_eq!(window, window_of(net), "{net}");
        assert_eq!((kept.len(), states.len()), if net == "goes" { (0, 7) } else { (4, 0) }, "{net}");
        let mut held: Vec<Option<Tensor>> = vec![None; states.len()];
        let time = time(&whole);
        let tokens: Vec<i64> = (0..TOKENS as i64).map(|i| (i * 5 + 3) % 11).collect();
        let stream = |tokens: &[i64]| Tensor::ints(vec![time.clone()], tokens.to_vec());
        let mut weights = Named::new();
        fill(&whole, &mut weights, &Lengths::new().with(time.clone(), vec![TOKENS]));
        let logits = |graph: &Graph, given: &Named, lengths: &Lengths| run(graph, given, lengths);
        // Rows lie anywhere; what lies between them is nobody's.
        let row = |place: usize| (place * 7 + 3) % POOL;
        let mut pool: Vec<Tensor> = kept
            .iter()
            .map(|kept| {
                let axes: Vec<Axis> = std::iter::once(row_axis()).chain(kept.axes.iter().cloned()).collect();
                let width: usize = kept.axes.iter().filter_map(Axis::fixed_size).product();
                Tensor::floats(axes, noise(9, POOL * width))
            })
            .collect();
        let mut before = 0usize;
        for now in [4, 1, 1, 3] {
            // Behind its window nothing need be kept.
            let first = window.map_or(0, |window| before.saturating_sub(window));
            let cached = Axis::ragged("cached", origin(&time), None);
            let rows: Vec<i64> = (first..before).map(|place| row(place) as i64).collect();
            let lengths = Lengths::new()
                .with(time.clone(), vec![now])
                .with(cached.clone(), vec![rows.len()])
                .with(row_axis(), vec![POOL]);
            let mut given = weights.clone();
            given.insert(format!("context{STREAM}"), stream(&tokens[before..before + now]));
            given.insert(ROWS.into(), Tensor::ints(vec![cached], rows));
            given.insert(BEFORE.into(), Tensor::ints(vec![], vec![before as i64]));
            given.extend(kept.iter().zip(&pool).map(|(kept, pool)| (kept.rows.clone(), pool.clone())));
            for (state, held) in states.iter().zip(&held) {
                let width: usize = state.axes.iter().filter_map(Axis::fixed_size).product();
                // Nobody reads what there is before the first token.
                let start = || match state.dtype {
                    crate::tensor::DType::Int => Tensor::ints(state.axes.clone(), vec![3; width]),
                    _ => Tensor::floats(state.axes.clone(), noise(4, width)),
                };
                given.insert(state.before.clone(), held.clone().unwrap_or_else(start));
            }
            let found = logits(&graph, &given, &lengths);
            for (state, held) in states.iter().zip(&mut held) {
                *held = Some(found[&state.after].clone());
            }
            for (kept, pool) in kept.iter().zip(&mut pool) {
                let axes: Vec<Axis> = std::iter::once(time.clone()).chain(kept.axes.iter().cloned()).collect();
                let new = found[&kept.new].laid_out(&axes, &lengths);
                let width = pool.data.len() / POOL;
                for i in 0..now {
                    let at = row(before + i) * width;
                    pool.data[at..at + width].copy_from_slice(&new.data[i * width..(i + 1) * width]);
                }
            }
            before += now;
            let mut all = weights.clone();
            all.insert(format!("context{STREAM}"), stream(&tokens[..before]));
            let want = logits(&whole, &all, &Lengths::new().with(time.clone(), vec![before]));
            assert_close(net, &want["logits"].data, &found["logits"].data);
        }
        assert_eq!(before, TOKENS);
    }
}

fn row_axis() -> Axis {
    row()
}

fn origin(time: &Axis) -> u32 {
    match time.kind() {
        AxisKind::Ragged { origin, .. } => *origin,
        _ => unreachable!("a stream"),
    }
}

#[test]
fn what_needs_all_tokens_is_named() {
    let what = |net: &str| part(net).unwrap_err().what;
    assert_eq!(what("mean"), "tokens with what follows from all of them");
    assert_eq!(what("from_end"), "a running sum from the last token on");
    assert_eq!(what("turned"), "a scan from the last token on, or of each token");
    assert_eq!(what("next_one"), "the number of tokens");
    assert_eq!(what("counts"), "the number of tokens");
    assert_eq!(what("both"), "pairs of tokens that are no causal attention");
}
