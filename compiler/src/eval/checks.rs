//! The evaluator on the library's nets, losses, optimizers and schedules.

use super::loss::TracedLoss;
use super::optimizer::WeightFacts;
use super::value::{FieldType, ItemType, Value};
use super::{Eval, Res, tests};
use crate::batch::BatchOptions;
use crate::batch::training::{forward, trained_weights};
use crate::program::{Program, load};
use crate::rewrite::Rewrites;
use crate::stage::testing::Bytes;
use crate::tensor::{Axis, CallKind, Op};
use crate::world::{Module, Tokenizer, World};
use align_syntax::diag::Diagnostic;
use align_syntax::span::{FileId, Span};
use std::rc::Rc;

/// The library alone.
pub(crate) struct Library;

impl World for Library {
    fn module(&self, path: &str) -> Option<Module> {
        let module = align_stdlib::module(path)?;
        Some(Module {
            names: module.names.iter().map(|(n, f)| (n.to_string(), f.to_string())).collect(),
            files: module.files.iter().map(|(n, t)| (n.to_string(), (*t).into())).collect(),
        })
    }

    fn tokenizer(&self, name: &str) -> Option<Rc<dyn Tokenizer>> {
        (name == "bytes").then(|| Rc::new(Bytes { bos: false }) as Rc<dyn Tokenizer>)
    }
}

pub(crate) fn program(text: &str) -> Program {
    let (program, diagnostics) = load("main.align", text, &Library);
    assert_eq!(diagnostics, [], "{text}");
    program
}

pub(crate) fn nowhere() -> Span {
    Span::new(FileId(0), 0, 0)
}

/// A fault with its places, for reading.
fn report(program: &Program, d: &Diagnostic) -> String {
    let place = |s: &Span| {
        let (line, column) = program.sources.line_column(s.file, s.start);
        format!("{}:{line}:{column} {}", program.sources.get(s.file).name, program.sources.slice(*s))
    };
    let labels: Vec<String> = d.labels.iter().map(|(s, t)| format!("  {} {t}", place(s))).collect();
    format!("{} {}\n{}\n{}", d.code, d.message, labels.join("\n"), d.help.as_deref().unwrap_or_default())
}

pub(crate) fn explained<T>(program: &Program, result: Res<T>) -> T {
    result.unwrap_or_else(|d| panic!("{}", report(program, &d)))
}

pub(crate) fn sums() -> ItemType {
    let fields = vec![
        ("question".to_string(), FieldType::Prompt),
        ("shown".to_string(), FieldType::Reply),
        ("answer".to_string(), FieldType::Reply),
    ];
    ItemType { name: Some("Sum".into()), fields }
}

const NETS: &str = "
use std.nets { llama, gpt2 }
use std.losses { sft, label_smoothing }
use std.optimizers { adamw, sgd }
use std.schedules { cosine, linear, constant, wsd }

let small = llama(vocab_size: 11, layers: 2, width: 8, heads: 4, kv_heads: 2, inner: 10)
let older = gpt2(vocab_size: 11, layers: 2, width: 8, heads: 2, inner: 10, context: 8)
let objective = sft(.shown)
let both = sft(.shown) + 0.5 * label_smoothing(.answer, smoothing: 0.2)
let descend = adamw(lr: cosine(peak: 1e-3, warmup: 0.05))
let momentum = sgd(lr: 0.1, momentum: 0.9, nesterov: true)
";

fn traced(eval: &mut Eval, net: &str, loss: &str) -> Res<TracedLoss> {
    let net = eval.global(net, nowhere())?;
    let loss = eval.global(loss, nowhere())?;
    eval.trace_loss(&loss, &net, &sums(), &[], nowhere())
}

/// What is not read is as it was: attention is found in all layers, also in that which is read.
#[test]
fn what_a_function_binds_is_read() {
    let text = "loss of(p: Policy, shown: Reply) per token = -logp(p, shown) + sum[kv, rep](read(p, shown, .blocks[0].attend.seen)[past: 0])";
    let program = program(&format!("{NETS}\n{text}\nlet reading = of()"));
    let traced = explained(&program, traced(&mut Eval::new(&program, &Library), "small", "reading"));
    let terms: Vec<_> = traced.terms.iter().map(|(o, _)| o.clone()).collect();
    let step = forward(&traced.graph, &terms, &traced.tracks, &BatchOptions::default(), &Rewrites::default());
    let step = step.expect("packs").step;
    let of_kind = |found: fn(&Op) -> bool| step.nodes().filter(|(_, data)| found(&data.op)).count();
    assert_eq!(of_kind(|op| matches!(op, Op::Call { kind: CallKind::Attention(_), .. })), 2);
}

/// A method's own names come first, then those of the function that it calls, then those further in; other parts have theirs.
#[test]
fn names_of_functions_that_methods_call() {
    let program = program(
        r#"
fn outer(x: Tensor[time, dim]) -> Tensor[time, dim] {
  let y = 2 * x
  let far = inner(y)
  let both = inner(far) + inner(y)
  both
}
fn inner(x: Tensor[time, dim]) -> Tensor[time, dim] {
  let y = 3 * x
  let far = y + 1
  let deep = far + 1
  deep
}
net part1(width: Int) {
  axis dim = width
  weight scale: [dim] ~ ones
  apply(x: Tensor[time, dim]) -> Tensor[time, dim] = outer(x * scale)
}
net whole(width: Int) {
  axis dim = width
  part p = part1(width)
  apply(x: Tensor[time, dim]) -> Tensor[time, dim] {
    let y = x + 1
    outer(p(y))
  }
}
test "the nearest is meant" {
  let x = tensor[time, dim]([[1.0], [2.0]])
  let net = drawn(whole(1), seed: 1) with { "p.scale": tensor[dim]([1.0]) }
  assert near(read(net, x, .y), x + 1, 1e-9)
  assert near(read(net, x, .p.y), 2 * (x + 1), 1e-9)
  assert near(read(net, x, .p.far), 3 * 2 * (x + 1) + 2, 1e-9)
}
test "two of one name" {
  let net = drawn(whole(1), seed: 1)
  assert near(read(net, tensor[time, dim]([[1.0]]), .p.deep), 1.0, 1e-9)
}
"#,
    );
    let options = tests::TestOptions { vectors: &|_| Ok(None), run: &tests::interpret, tolerance: tests::EXACT };
    let results = tests::run_tests(&program, &Library, &options);
    let [nearest, twice] = &results[..] else { panic!("two tests") };
    assert!(matches!(nearest.outcome, tests::TestOutcome::Passed), "{:?}", nearest.outcome);
    match &twice.outcome {
        tests::TestOutcome::Failed(said) => assert!(said.message.contains("`.p.deep` has 2 values"), "{said:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_loss_becomes_a_training_step() {
    let program = program(NETS);
    for net in ["small", "older"] {
        let mut eval = Eval::new(&program, &Library);
        let traced = explained(&program, traced(&mut eval, net, "objective"));
        let names: Vec<&str> = traced.layout.inputs.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["shown.stream", "shown.places", "shown.tokens"], "{net}");
        assert_eq!(traced.layout.ragged.len(), 2);
        let terms: Vec<_> = traced.terms.iter().map(|(o, _)| o.clone()).collect();
        let rewrites = Rewrites { wide: 11, ..Rewrites::default() };
        let step = forward(&traced.graph, &terms, &traced.tracks, &BatchOptions::default(), &rewrites).expect("packs");
        let calls = |kind: fn(&CallKind) -> bool| {
            step.step.nodes().filter(|(_, d)| matches!(&d.op, Op::Call { kind: k, .. } if kind(k))).count()
        };
        assert_eq!(calls(|k| matches!(k, CallKind::Attention(_))), 2, "{net}: attention is found in both layers");
        assert_eq!(calls(|k| matches!(k, CallKind::Chunked { .. })), 1, "{net}: logits are made in blocks");
        let weights = trained_weights(&step.step, |_| true).expect("depends on weights");
        let listed = explained(
            &program,
            match eval.global(net, nowhere()) {
                Ok(Value::Net(net)) => eval.net_weights(&net, nowhere()),
                _ => panic!("a net"),
            },
        );
        let mut trained: Vec<&str> = weights.iter().map(|(p, _)| p.as_str()).collect();
        let mut all: Vec<&str> = listed.iter().map(|w| w.path.as_str()).collect();
        trained.sort();
        all.sort();
        assert_eq!(trained, all, "{net}");
    }
}

#[test]
fn sums_of_losses_are_terms() {
    let program = program(NETS);
    let mut eval = Eval::new(&program, &Library);
    let traced = explained(&program, traced(&mut eval, "small", "both"));
    let terms: Vec<(&str, f64)> = traced.terms.iter().map(|(o, c)| (o.name.as_str(), *c)).collect();
    assert_eq!(terms, [("sft", 1.0), ("label_smoothing", 0.5)]);
    assert_eq!(traced.layout.ragged.len(), 4);
}

#[test]
fn optimizers_and_schedules_are_traced() {
    let program = program(NETS);
    let mut eval = Eval::new(&program, &Library);
    let value = explained(&program, eval.global("descend", nowhere()));
    let (stage, _) = explained(&program, eval.trace_optimizer(&value, &a_weight(), nowhere()));
    let group = &stage.groups[0];
    let phase = &group.variants[0].phases[0];
    assert!(phase.pointwise);
    assert_eq!(stage.rates, [("learning_rate".to_string(), 0)]);
    let states: Vec<&str> = group.states.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(states, ["m", "v"]);
    let names: Vec<&str> = phase.graph.outputs.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["w", "state.m", "state.v"]);
    let rate = |t: f64| {
        let scalar = crate::interp::Value::number;
        let given = [("t".to_string(), scalar(t)), ("total".to_string(), scalar(100.0))].into();
        let out = tests::interpret(&stage.schedules[0], &given, &crate::tensor::Lengths::new()).expect("runs");
        out[0].1.data[0]
    };
    assert_eq!(rate(0.0), 0.0);
    assert!((rate(1.0) - 2e-4).abs() < 1e-12 && (rate(5.0) - 1e-3).abs() < 1e-12);
    assert!(rate(100.0).abs() < 1e-12);
    let value = explained(&program, eval.global("momentum", nowhere()));
    let (stage, _) = explained(&program, eval.trace_optimizer(&value, &a_weight(), nowhere()));
    assert_eq!(stage.groups[0].states.len(), 1);
}

/// A weight of two axes.
fn a_weight() -> Vec<WeightFacts> {
    let (rows, cols) = (vec![Axis::fixed("a", 3)], vec![Axis::fixed("b", 2)]);
    let axes = [rows.clone(), cols.clone()].concat();
    vec![WeightFacts { path: "w".into(), axes, rows, cols, dims: 2, fan_in: 3, wide: [false; 2] }]
}

/// The numbers that the library's tests compare with.
fn vectors(name: &str) -> Result<Option<serde_json::Value>, String> {
    let path = format!("{}/../tests/data/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
    Ok(Some(serde_json::from_str(&text).expect("a file of numbers is JSON")))
}

/// Runs the tests of every file of the library: how many passed, and what was said of the others.
fn library(vectors: &dyn Fn(&str) -> Result<Option<serde_json::Value>, String>) -> (usize, Vec<String>) {
    let options = tests::TestOptions { vectors, run: &tests::interpret, tolerance: tests::EXACT };
    let (mut failures, mut passed) = (vec![], 0);
    for (name, text) in align_stdlib::modules().flat_map(|path| align_stdlib::module(path).expect("listed").files) {
        let (program, diagnostics) = load(name, text, &Library);
        assert_eq!(diagnostics, [], "{name}");
        for result in tests::run_tests(&program, &Library, &options) {
            match result.outcome {
                tests::TestOutcome::Passed => passed += 1,
                tests::TestOutcome::Skipped(why) => failures.push(format!("{name}: {}: {why}", result.name)),
                tests::TestOutcome::Failed(d) => failures.push(format!("{}: {}", result.name, report(&program, &d))),
            }
        }
    }
    (passed, failures)
}

#[test]
fn the_library_agrees_with_its_vectors() {
    let (passed, failures) = library(&vectors);
    assert!(failures.is_empty(), "{passed} pass\n{}", failures.join("\n"));
    assert!(passed >= 58, "only {passed} tests ran");
}

/// Numbers that are off by a millionth are found, in values and in gradients.
#[test]
fn wrong_numbers_are_found() {
    let off = |part: &str, name: &str| {
        let mut json = vectors(name).ok()??;
        for case in json["cases"].as_array_mut()? {
            for (_, array) in case[part].as_object_mut()? {
                let last = array["data"].as_array_mut()?.iter_mut().rfind(|x| x.as_f64().is_some_and(|x| x != 0.0))?;
                *last = (last.as_f64()? * 1.000_001).into();
            }
        }
        Some(json)
    };
    for part in ["outputs", "grads"] {
        let (_, failures) = library(&|name| Ok(off(part, name)));
        for test in ["sft vectors", "rms norm vectors", "rotary vectors", "dpo vectors"] {
            assert_eq!(failures.iter().filter(|f| f.starts_with(test)).count(), 2, "{part}: {test}");
        }
    }
}

/// What a loss that does not trace says.
fn said(text: &str, item: &ItemType) -> String {
    let program = program(&format!("{NETS}\n{text}"));
    let mut eval = Eval::new(&program, &Library);
    let run = |eval: &mut Eval| {
        let (net, loss) = (eval.global("small", nowhere())?, eval.global("wrong", nowhere())?);
        eval.trace_loss(&loss, &net, item, &[], nowhere())
    };
    match run(&mut eval) {
        Ok(_) => "nothing".into(),
        Err(d) => format!("{} {} {}", d.code, d.message, d.help.unwrap_or_default()),
    }
}

#[test]
fn faults_of_traced_code_name_what_is_wrong() {
    let cases = [
        (
            "loss wrong(p: Policy, shown: Reply) per example = -logp(p, shown)",
            "E0210 `wrong` is `per example`, but its value still has time of shown",
        ),
        (
            "loss wrong(p: Policy, shown: Reply, answer: Reply) per token = logp(p, shown) - logp(p, answer)",
            "E0203 these do not meet: time of shown and time of answer",
        ),
        ("loss wrong(p: Policy, shown: Reply) per token = logp(p, shown) * logits(p, shown)[vocab: 0..3]", "E0210"),
        (
            "loss wrong(p: Policy, shown: Reply) per example = sum[tiem](logp(p, shown))",
            "E0212 there is no axis `tiem`; the value has time of shown Did you mean `time`?",
        ),
        (
            "loss wrong(p: Policy, shown: Reply) per example = if shown.text == \"a\" then 0 else 1",
            "E0310 tensor code cannot read Text",
        ),
        ("loss wrong(p: Policy, shwon: Reply) per token = logp(p, shwon)", "E0302 `wrong` needs `shwon`"),
        (
            "loss wrong(p: Policy, x: Sum) per token = logp(p, x.shwon)\nrecord Sum { shown: Reply }",
            "E0120 a Sum has no field `shwon` Did you mean `shown`?",
        ),
        ("let wrong = sft(.shown, smoothing: 0.1)", "E0110 `sft` has no parameter `smoothing`"),
        ("loss wrong(p: Policy, shown: Reply) per token = lopg(p, shown)", "E0104 `lopg` is not defined Did you mean"),
        (
            "loss wrong(p: Policy, shown: Reply) per example = sum[time](hidden(p, shown) * logits(p, shown)[vocab: 0])",
            "E0210",
        ),
        ("loss wrong(p: Policy, shown: Reply) per example = grad(x => logp(x, shown))(p)", "E0113"),
        (
            "fn again(x: Float) -> Float = again(x)\nloss wrong(p: Policy, shown: Reply) per token = again(logp(p, shown))",
            "E0331",
        ),
    ];
    for (text, expected) in cases {
        let found = said(text, &sums());
        assert!(found.contains(expected), "{text}\n{found}\nexpected {expected}");
    }
}

/// A side of a branch without a value leaves the item out of the mean.
#[test]
fn items_without_a_loss_do_not_count() {
    let text = format!(
        "{NETS}\nloss some(p: Policy, shown: Reply, good: Bool) per token = if good then -logp(p, shown) else none\nlet branch = some()"
    );
    let program = program(&text);
    let mut eval = Eval::new(&program, &Library);
    let mut item = sums();
    item.fields.push(("good".into(), FieldType::Bool));
    let (net, loss) =
        (explained(&program, eval.global("small", nowhere())), explained(&program, eval.global("branch", nowhere())));
    let traced = explained(&program, eval.trace_loss(&loss, &net, &item, &[], nowhere()));
    let (term, _) = &traced.terms[0];
    assert_eq!(term.weight.as_deref(), Some("weight.some"));
    let terms: Vec<_> = traced.terms.iter().map(|(o, _)| o.clone()).collect();
    let step = forward(&traced.graph, &terms, &[], &BatchOptions::default(), &Rewrites::default()).expect("packs");
    let names: Vec<&str> = step.counts.outputs.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["count.some"]);
    assert!(step.counts.nodes().any(|(_, d)| matches!(&d.op, Op::Input(name) if name == "good")));
}

mod gradients;

#[test]
fn a_claim_that_fails_shows_both_values() {
    let program = program("edition 2026\ntest \"a\" { assert near(1.0, 1.5, 0.25) }\ntest \"b\" { assert 2 + 1 == 4 }");
    let tolerance = tests::Tolerance { relative: 0.0, absolute: 0.0 };
    let options =
        tests::TestOptions { vectors: &|_| Ok(None), run: &|_, _, _| Err("nothing to run".into()), tolerance };
    let results = tests::run_tests(&program, &Library, &options);
    let messages = results.iter().filter_map(|result| match &result.outcome {
        tests::TestOutcome::Failed(diagnostic) if result.name.len() == 1 => Some(diagnostic.message.as_str()),
        _ => None,
    });
    let expected = ["this does not hold: the values are 1 and 1.5", "this does not hold: the values are 3 and 4"];
    assert_eq!(messages.collect::<Vec<_>>(), expected);
}
