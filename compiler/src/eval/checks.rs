//! The evaluator on the library's nets, losses, optimizers and schedules.

use super::loss::TracedLoss;
use super::value::{FieldType, ItemType, Value};
use super::{Eval, Res, tests};
use crate::batch::BatchOptions;
use crate::batch::training::{forward, trained_weights};
use crate::program::{Program, load};
use crate::rewrite::Rewrites;
use crate::tensor::{CallKind, Op};
use crate::world::{Module, World};
use align_syntax::span::{FileId, Span};

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
}

pub(crate) fn program(text: &str) -> Program {
    let (program, diagnostics) = load("main.align", text, &Library);
    assert_eq!(diagnostics, [], "{text}");
    program
}

pub(crate) fn nowhere() -> Span {
    Span::new(FileId(0), 0, 0)
}

/// Message and places of a fault, for reading.
pub(crate) fn explained<T>(program: &Program, result: Res<T>) -> T {
    result.unwrap_or_else(|d| {
        let place = |s: &Span| {
            let (line, column) = program.sources.line_column(s.file, s.start);
            format!("{}:{line}:{column} {}", program.sources.get(s.file).name, program.sources.slice(*s))
        };
        let labels: Vec<String> = d.labels.iter().map(|(s, t)| format!("  {} {t}", place(s))).collect();
        panic!("{} {}\n{}\n{}", d.code, d.message, labels.join("\n"), d.help.unwrap_or_default())
    })
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
    let stage = explained(&program, eval.trace_optimizer(&value, nowhere()));
    assert!(stage.pointwise);
    assert_eq!(stage.learning_rate, Some(0));
    let states: Vec<&str> = stage.states.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(states, ["m", "v"]);
    let names: Vec<&str> = stage.update.outputs.iter().map(|(n, _)| n.as_str()).collect();
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
    let stage = explained(&program, eval.trace_optimizer(&value, nowhere()));
    assert_eq!(stage.states.len(), 1);
}
