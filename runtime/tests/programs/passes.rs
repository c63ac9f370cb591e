//! Passes over the stage graph: what a program gives without one of them is the same up to rounding.

use super::*;
use align_compiler::stage::graph::StageGraph;
use align_compiler::stage::passes::PASSES;

const PAIRS: &str = r#"
use std.nets { gpt }
use std.losses { dpo }
use std.optimizers { adamw }

record Pair { prompt: Prompt, chosen: Reply[prompt], rejected: Reply[prompt] }
record Raw { a: Int, b: Int }

param rate: Float = 1e-2
param steps: Int = 6

data raw = for a in 0..6, b in 0..6 { Raw { a: a, b: b } }
data pairs = raw |> map(x => x with { b: x.b + 1 })
  |> map(x => Pair { prompt: """{x.a}+{x.b}=""", chosen: """{x.a + x.b}""", rejected: """{x.a + x.b + 1}, or so""" })

policy start = gpt(layers: 2, width: 16, heads: 2, inner: 32, tokenizer: bytes)

pipeline {
  let tuned = train start POLICY {
    on pairs; loss dpo(reference: start, beta: 2); optimizer adamw(lr: rate); batch 4 examples; steps steps
  }
  save tuned, to: "OUT/tuned"
}
"#;

fn text(policy: &str) -> String {
    PAIRS.replace("POLICY", policy)
}

fn built<T>(text: &str, sets: &[(&str, &str)], passes: Passes, then: impl FnOnce(StageGraph) -> T) -> T {
    let world = Files::new(".");
    let (program, diagnostics) = load("main.align", text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let sets = sets.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let graph = build(&program, &BuildOptions { sets, passes, ..BuildOptions::default() }, &world);
    then(graph.unwrap_or_else(|errors| panic!("{errors:#?}")))
}

/// A run of a program.
pub struct Ran {
    pub lines: Vec<Value>,
    /// The stages that began.
    begun: Vec<String>,
    /// Those of the graph that are run.
    plan: String,
}

impl Ran {
    fn column(&self, name: &str) -> Vec<f64> {
        self.lines.iter().map(|line| line[name].as_f64().unwrap()).collect()
    }
}

pub fn ran(folder: &Path, text: &str, sets: &[(&str, &str)], passes: Passes) -> Ran {
    #[derive(Default)]
    struct Begun(Vec<String>);
    impl Progress for Begun {
        fn begins(&mut self, stage: &str, _: usize, _: usize) {
            self.0.push(stage.into());
        }
    }
    let text = text.replace("OUT", folder.to_str().unwrap());
    let mut begun = Begun::default();
    let plan = built(&text, sets, passes, |graph| {
        let options = RunOptions {
            out: folder.join("out"),
            store: folder.join("store"),
            memory: Some(1 << 30),
            checkpoint_every: None,
            tensorboard: false,
            profile: None,
            about: About { file: "main.align".into(), source: text.clone(), seed: 0 },
        };
        let (plan, mut graph) = (graph.planned(), Some(graph));
        let mut once = || Ok(graph.take().expect("nothing is drawn, so it is built once"));
        run(&mut once, &options, &Cpu::new(2), &mut begun, &AtomicBool::new(false)).unwrap_or_else(|e| panic!("{e}"));
        plan
    });
    Ran { lines: lines(folder), begun: begun.0, plan }
}

const WITH_LORA: &str = "with lora(rank: 2)";

#[test]
fn every_pass_can_be_left_out() {
    const COLUMNS: [&str; 3] = ["loss", "grad_norm", "rewards.margins"];
    let of = |text: &str, passes| {
        let folder = tempfile::tempdir().unwrap();
        let ran = ran(folder.path(), text, &[], passes);
        COLUMNS.map(|name| ran.column(name))
    };
    for policy in ["", WITH_LORA] {
        let text = text(policy);
        let all = of(&text, Passes::default());
        assert!(all[2][0].abs() < 1e-6 && all[2][5] > 0.01, "{all:?}");
        for pass in PASSES {
            let without = of(&text, Passes::without([pass.name]).unwrap());
            for ((name, a), b) in COLUMNS.iter().zip(&all).zip(&without) {
                for (step, (a, b)) in a.iter().zip(b).enumerate() {
                    let limit = if step == 0 { 1e-5 } else { 1e-4 };
                    let apart = (a - b).abs() / (1.0 + a.abs());
                    assert!(apart <= limit, "{name} of step {step} without {}: {a}, {b}", pass.name);
                }
            }
        }
    }
}

/// What each pass changes is seen in the plan.
#[test]
fn passes_show_what_they_change() {
    let program = text(WITH_LORA).replace("save tuned", "let again = train start with lora(rank: 2) { on pairs; loss dpo(reference: start, beta: 2); optimizer adamw(lr: rate); batch 4 examples; steps steps }\n  save tuned");
    let plan = |count: usize| built(&program, &[], Passes::first(count), |graph| graph.planned());
    let plans: Vec<String> = (0..=PASSES.len()).map(plan).collect();
    let after = |name: &str| {
        let at = PASSES.iter().position(|pass| pass.name == name).unwrap();
        (&plans[at], &plans[at + 1])
    };
    let changes = |name: &str, line: &str, before: bool| {
        let (a, b) = after(name);
        assert_eq!([a.contains(line), b.contains(line)], [before, !before], "{name}: {line}\n{a}\n{b}");
    };
    changes("maps", "in 3 passes", true);
    changes("equal", "again: train", true);
    changes("reference", "tuned.reference: evaluate", false);
    changes("reference", "train gpt, reads start", true);
    changes("shared", "in common once", false);
    changes("frozen", "gradients of", true);
    let (a, b) = after("unread");
    assert!(a.lines().count() >= b.lines().count());
}

/// The evaluation before a stage is kept as other stages are: of another rate it is the same, and a stage that is finished
/// does not ask for it.
#[test]
fn what_stays_is_worked_out_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = text("");
    let begun = |rate: &str, steps: &str| {
        ran(folder.path(), &text, &[("rate", rate), ("steps", steps)], Passes::default()).begun
    };
    assert_eq!(begun("1e-2", "9"), ["tuned.reference", "tuned"]);
    assert_eq!(begun("2e-2", "9"), ["tuned"]);
    assert_eq!(begun("2e-2", "9"), Vec::<String>::new());
    // An epoch has nine steps; fewer take other rows.
    assert_eq!(begun("2e-2", "12"), ["tuned"]);
    assert_eq!(begun("2e-2", "3"), ["tuned.reference", "tuned"]);
    // A damaged result is made again, by who asks for it.
    let store = std::fs::read_dir(folder.path().join("store")).unwrap().flatten().map(|entry| entry.path());
    let kept = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("result.json")).is_ok_and(|json| json.contains("tuned.reference"))
    };
    let damaged: Vec<_> = store.filter(kept).collect();
    assert_eq!(damaged.len(), 2);
    for path in damaged {
        let file = path.join("result.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
    }
    assert_eq!(begun("2e-2", "9"), Vec::<String>::new());
    assert_eq!(begun("3e-2", "9"), ["tuned.reference", "tuned"]);
}

/// Values of every kind that a loss may read of a frozen policy, and what is too wide to be kept, which stays.
#[test]
fn kept_values_of_every_kind() {
    let losses = [
        ("sum[time](logp(p, x.chosen) - logp(q, x.chosen))", true),
        ("mean[time](logp(p, x.chosen) * stop(where(logp(q, x.chosen) > -5, 1, 2)))", true),
        ("mean[time](logp(p, x.chosen) * stop(argmax[vocab](logits(q, x.chosen)) + 0.5))", true),
        (
            "mean[time](logp(p, x.chosen) + sum[vocab](softmax[vocab](logits(q, x.chosen)) * logits(p, x.chosen)))",
            false,
        ),
    ];
    for (loss, is_kept) in losses {
        let text = text("as p").replace(
            "pipeline {",
            &format!("loss of(p: Policy, x: Pair, q: Policy) per example = {loss}\npipeline {{"),
        );
        let text = text.replace("dpo(reference: start, beta: 2)", "of(q: start)");
        let of = |passes| {
            let folder = tempfile::tempdir().unwrap();
            let ran = ran(folder.path(), &text, &[], passes);
            (ran.plan.contains("tuned.reference"), ran.column("loss"))
        };
        let (with, without) = (of(Passes::default()), of(Passes::without(["reference"]).unwrap()));
        assert_eq!((with.0, without.0), (is_kept, false), "{loss}");
        for (a, b) in with.1.iter().zip(&without.1) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "{loss}: {a}, {b}");
        }
    }
}
