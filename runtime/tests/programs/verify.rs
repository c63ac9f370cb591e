//! The first step on devices and by the interpreter: what is right agrees, what is wrong is found where it is.

use std::cell::RefCell;

use align_compiler::kernel::Layouts;
use align_compiler::tensor::{Graph, NodeData, Op};
use align_runtime::engine::{Compiled, Device};
use align_runtime::run::verify;
use align_runtime::train::verify::{Verified, What};

use super::stored::model;
use super::*;
use align_compiler::storage::Storage;

/// Two stages, of which the second waits for the first; a loss with a constant of its own.
const PROGRAM: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }

record Double { question: Prompt, answer: Reply[question] }
data doubles = for a in 0..40 { Double { question: """{a}*2=""", answer: """{2 * a}""" } }

policy start = BASE

loss tilted(policy: Policy, reply: Reply, reference: Policy) per token {
  let far = logp(policy, reply) - logp(reference, reply)
  track farther = 1.25 * logp(policy, reply)
  far^2 - 0.75 * logp(policy, reply)
}

pipeline {
  let first = train start { on doubles; loss LOSS; optimizer adamw(lr: 1e-2); batch 6 examples; steps 2; SLOT }
  let second = train first { on doubles; loss sft(.answer); optimizer adamw(lr: 1e-2); batch 6 examples; steps 2 }
}
"#;

const TILTED: &str = "tilted(.answer, reference: start)";
const GPT: &str = "gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 12)";

fn verified(
    folder: &Path,
    base: &str,
    loss: &str,
    slot: &str,
    engines: &[&dyn Engine],
) -> (Vec<Verified>, Vec<String>) {
    struct Notes(RefCell<Vec<String>>);
    impl Progress for Notes {
        fn note(&mut self, text: &str) {
            self.0.borrow_mut().push(text.into());
        }
    }
    let text = PROGRAM.replace("BASE", base).replace("LOSS", loss).replace("SLOT", slot);
    let world = Files::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let (program, diagnostics) = load("main.align", &text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let graph = build(&program, &BuildOptions::default(), &world).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let options = RunOptions {
        out: folder.join("out"),
        store: folder.join("store"),
        memory: None,
        checkpoint_every: None,
        tensorboard: true,
        profile: None,
        about: About::default(),
    };
    let mut notes = Notes(RefCell::default());
    let found = verify(&graph, &options, engines, &mut notes).unwrap_or_else(|error| panic!("{error}"));
    assert!(!folder.join("out").exists(), "nothing is left in the run's folder");
    (found, notes.0.into_inner())
}

/// The difference of an output.
fn of<'v>(verified: &'v Verified, device: &str, name: &str) -> &'v align_runtime::train::verify::Difference {
    let what = What::Output(name.into());
    let found = verified.differences.iter().find(|d| d.what == what && d.device == device);
    found.unwrap_or_else(|| panic!("{name} of the {device} is compared"))
}

#[test]
fn a_device_that_is_right_agrees_with_the_interpreter() {
    let folder = tempfile::tempdir().unwrap();
    let (found, notes) = verified(folder.path(), GPT, TILTED, "", &[&Cpu::new(2)]);
    let [first] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(notes, ["second begins with what first trains: it is verified once that is finished."]);
    assert_eq!((first.stage.as_str(), first.reference, first.rows), ("first", "interpreter", 6));
    assert!(first.is_right() && first.notes.is_empty(), "{first:#?}");
    let far = |name: &str| of(first, "cpu", name).relative;
    assert!(far("loss.tilted") < 1e-5 && far("track.farther") < 1e-5);
    let gradients = first.differences.iter().filter(|d| matches!(&d.what, What::Output(n) if n.starts_with("grad.")));
    assert!(gradients.count() > 5, "{first:#?}");
    let inner = first.differences.iter().filter(|d| matches!(d.what, What::Inner(_))).count();
    assert!(inner > 20, "{inner}");
    assert!(first.differences.is_sorted_by(|a, b| a.relative >= b.relative));
}

/// The CPU, but for one number of every graph.
struct Wrong(Cpu);

impl Engine for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn threads(&self) -> usize {
        1
    }

    fn compile(&self, graph: &Graph, layouts: &Layouts) -> align_runtime::Result<Box<dyn Compiled>> {
        let mut changed = Graph::new();
        let mut places = vec![];
        for (_, data) in graph.nodes() {
            let op = match &data.op {
                Op::Const(x) if *x == 1.25 => Op::Const(1.26),
                op => op.clone(),
            };
            let inputs = data.inputs.iter().map(|node| places[node.0 as usize]).collect();
            places.push(changed.push(NodeData { op, inputs, ..data.clone() }));
        }
        changed.outputs = graph.outputs.iter().map(|(name, node)| (name.clone(), places[node.0 as usize])).collect();
        Engine::compile(&self.0, &changed, layouts)
    }

    fn device(&self) -> Option<&dyn Device> {
        None
    }
}

#[test]
fn a_wrong_number_is_found_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path(), Storage::F32);
    let (found, _) =
        verified(folder.path(), &format!("load(\"{base}\")"), TILTED, "", &[&Cpu::new(2), &Wrong(Cpu::new(1))]);
    let first = &found[0];
    assert!(!first.is_right());
    assert!(of(first, "cpu", "track.farther").relative < 1e-5);
    // What else the step gives does not depend on it.
    for difference in &first.differences {
        let wrong = match &difference.what {
            What::Output(name) => name == "track.farther",
            What::Inner(origin) => origin.own().is_some_and(|own| {
                let text =
                    PROGRAM.replace("BASE", &format!("load(\"{base}\")")).replace("LOSS", TILTED).replace("SLOT", "");
                text[own.start as usize..own.end as usize].contains("1.25")
            }),
        };
        if difference.device == "wrong" && !wrong {
            assert!(difference.relative < first.tolerance, "{difference:#?}");
        }
    }
}

#[cfg(feature = "gpu")]
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn a_gpu_agrees_with_the_interpreter() {
    let gpu = align_runtime::engine::graphics::Gpu::open(None).unwrap_or_else(|error| panic!("{error}"));
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path(), Storage::F32);
    // In bf16 the difference of two equal policies, of which the first loss is made, is noise.
    for (loss, slot) in [(TILTED, "precision f32"), ("sft(.answer)", "precision bf16")] {
        let (found, _) = verified(folder.path(), &format!("load(\"{base}\")"), loss, slot, &[&Cpu::new(2), &gpu]);
        let first = &found[0];
        assert!(first.is_right() && first.notes.is_empty(), "{slot}: {:#?} {:?}", &first.differences[..5], first.notes);
        assert!(first.differences.iter().any(|d| d.device == "gpu" && matches!(d.what, What::Inner(_))));
    }
}
