//! The library's nets on small checkpoints of transformers: logits, loss, and the gradient's norm by parameter, as the
//! interpreter works them out from the traced graph.

use super::Eval;
use super::checks::{Library, explained, nowhere, program};
use super::value::{FieldType, ItemType, Value};
use crate::autodiff::vjp;
use crate::interp::{self, Named, Precision};
use crate::rewrite::simplify::simplify;
use crate::tensor::{DType, Lengths, Node, Op};
use serde_json::Value as Json;
use std::collections::BTreeMap;

const LOSS: &str = "
use std.losses { sft }
let objective = sft(.text)
let all_logits = (p, x) => logits(p, x.text)
";

fn folder(name: &str) -> String {
    format!("{}/../tests/data/tiny/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The F32 tensors of a safetensors file: a length, names and places as JSON, numbers.
fn tensors(name: &str) -> impl Fn(&str) -> (Vec<usize>, Vec<f64>) {
    let bytes = std::fs::read(format!("{}/model.safetensors", folder(name))).expect("the file is there");
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Json = serde_json::from_slice(&bytes[8..end]).expect("the header is JSON");
    move |tensor| {
        let entry = &header[tensor];
        let number = |json: &Json| json.as_u64().expect("a number") as usize;
        let shape = entry["shape"].as_array().expect("a shape").iter().map(number).collect();
        let (from, to) = (end + number(&entry["data_offsets"][0]), end + number(&entry["data_offsets"][1]));
        let float = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().expect("four bytes")));
        (shape, bytes[from..to].chunks_exact(4).map(float).collect())
    }
}

fn agrees(name: &str, net: &str) {
    let text = format!("use std.nets {{ llama, gpt2 }}\nlet net = {net}\n{LOSS}");
    let program = program(&text);
    let (mut eval, span) = (Eval::new(&program, &Library), nowhere());
    let net = explained(&program, eval.global("net", span));
    let Value::Net(of) = &net else { panic!("a net") };
    let weights = explained(&program, eval.net_weights(of, span));
    let item = ItemType { name: None, fields: vec![("text".into(), FieldType::Reply)] };
    let loss = explained(&program, eval.global("objective", span));
    let loss = explained(&program, eval.trace_loss(&loss, &net, &item, &[], span));
    let logits = explained(&program, eval.global("all_logits", span));
    let rows = |eval: &mut Eval, item| Ok(vec![("logits".into(), eval.call_value(&logits, vec![net.clone(), item], span)?)]);
    let logits = explained(&program, eval.trace_means(&item, &[], rows, span));

    // The gradient of the summed loss by every weight.
    let mut graph = loss.graph.clone();
    let value = graph.outputs[0].1;
    let time = graph.axes(value).to_vec();
    let sum = graph.sum(value, &time);
    let read: Vec<(String, Node)> = graph
        .nodes()
        .filter_map(|(n, d)| match &d.op {
            Op::Weight(path) => Some((path.clone(), n)),
            _ => None,
        })
        .collect();
    let nodes: Vec<Node> = read.iter().map(|(_, n)| *n).collect();
    let gradients = vjp(&mut graph, sum, None, &nodes);
    graph.outputs.clear();
    graph.output("loss", sum);
    for ((path, _), gradient) in read.iter().zip(gradients) {
        graph.output(path.clone(), gradient);
    }
    let graph = simplify(&graph);

    let read_tensor = tensors(name);
    let mut given = Named::new();
    for weight in &weights {
        let stored = weight.stored.as_ref().unwrap_or_else(|| panic!("{} has a name", weight.path));
        let (shape, data) = read_tensor(&stored.tensor);
        assert_eq!(shape, stored.shape, "{}", weight.path);
        given.insert(weight.path.clone(), interp::Value { axes: stored.axes.clone(), dtype: DType::Float, data });
    }
    let expected = std::fs::read_to_string(format!("{}/logits.json", folder(name))).expect("the file is there");
    let expected: Json = serde_json::from_str(&expected).expect("the file is JSON");
    let (mut total, mut count, mut worst) = (0.0, 0, 0f64);
    let mut squares: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for sequence in expected["sequences"].as_array().expect("stored") {
        let ids: Vec<f64> = sequence["ids"].as_array().expect("stored").iter().map(|id| id.as_f64().expect("stored")).collect();
        // For the logits each token is a place that predicts; for the loss all but the last.
        for (traced, predicted) in [(&logits, ids.len()), (&loss, ids.len() - 1)] {
            let mut lengths = Lengths::new();
            for input in &traced.layout.inputs {
                let n = if input.name.ends_with(".stream") { ids.len() } else { predicted };
                lengths.set(input.axes[0].clone(), vec![n]);
                let data = match input.name.as_str() {
                    "text.stream" => ids.clone(),
                    "text.places" => (0..n).map(|i| i as f64).collect(),
                    _ => ids[1..].to_vec(),
                };
                given.insert(input.name.clone(), interp::Value { axes: input.axes.clone(), dtype: DType::Int, data });
            }
            if predicted == ids.len() {
                let out = interp::run(&traced.graph, &given, &lengths, Precision::F64).expect("stored");
                let (_, out) = &out[0];
                assert_eq!(out.axes.iter().map(|a| a.name()).collect::<Vec<_>>(), ["time", "vocab"]);
                let rows = sequence["logits"].as_array().expect("stored");
                let stored = rows.iter().flat_map(|row| row.as_array().expect("stored")).map(|x| x.as_f64().expect("stored"));
                worst = out.data.iter().zip(stored).fold(worst, |w, (a, b)| w.max((a - b).abs()));
                continue;
            }
            for (path, value) in interp::run(&graph, &given, &lengths, Precision::F64).expect("stored") {
                if path == "loss" {
                    total += value.data[0];
                    count += predicted;
                    continue;
                }
                let sum = squares.entry(path).or_insert_with(|| vec![0.0; value.data.len()]);
                sum.iter_mut().zip(&value.data).for_each(|(a, b)| *a += b);
            }
        }
    }
    assert!(worst < 1e-4, "{name}: logits are off by {worst}");
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * b.abs();
    let loss = total / count as f64;
    assert!(close(loss, expected["loss"].as_f64().expect("stored")), "{name}: the loss is {loss}");
    let norms = expected["grad_norms"].as_object().expect("stored");
    assert_eq!(norms.len(), weights.len());
    for weight in &weights {
        let tensor = &weight.stored.as_ref().expect("stored").tensor;
        let square: f64 = squares[&weight.path].iter().map(|g| (g / count as f64).powi(2)).sum();
        let (norm, stored) = (square.sqrt(), norms[tensor].as_f64().expect("stored"));
        assert!(close(norm, stored), "{name}: the gradient of {tensor} has the norm {norm}, not {stored}");
    }
}

/// Sizes as in the folders' `config.json`.
const LLAMA: &str = "vocab_size: 97, layers: 2, width: 32, heads: 4, kv_heads: 2, inner: 64, eps: 1e-3";

#[test]
fn llama() {
    agrees("llama", &format!("llama({LLAMA})"));
}

#[test]
fn llama_untied() {
    agrees("llama_untied", &format!("llama({LLAMA}, tied: false, theta: 500_000)"));
}

/// Its window is wider than the sequences.
#[test]
fn mistral() {
    agrees("mistral", &format!("llama({LLAMA}, tied: false, window: 4096)"));
}

#[test]
fn qwen2() {
    agrees("qwen2", &format!("llama({LLAMA}, biased: true)"));
}

#[test]
fn qwen3() {
    agrees("qwen3", &format!("llama({LLAMA}, head_dim: 16, normed: true)"));
}

#[test]
fn gpt2() {
    agrees("gpt2", "gpt2(vocab_size: 97, layers: 2, width: 32, heads: 4, inner: 64, context: 64, eps: 1e-3)");
}
