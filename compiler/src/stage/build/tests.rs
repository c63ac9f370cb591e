use super::*;
use crate::program::load;
use crate::stage::graph::TrainNode;
use crate::stage::testing::Memory;
use crate::stage::train::{BatchSize, Order, StageLength};

mod coupled;
mod data;
mod hashes;
mod noise;
mod origins;
mod patches;
mod shown;
mod step;
mod wrong;

/// Builds a program and gives what `look` makes of its graph, or its errors.
fn built<T>(
    text: &str,
    world: &Memory,
    sets: &[(&str, &str)],
    look: impl FnOnce(&StageGraph) -> T,
) -> Result<T, String> {
    built_with(text, world, sets, Passes::default(), look)
}

fn built_with<T>(
    text: &str,
    world: &Memory,
    sets: &[(&str, &str)],
    passes: Passes,
    look: impl FnOnce(&StageGraph) -> T,
) -> Result<T, String> {
    let (program, diagnostics) = load("main.align", text, world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let sets = sets.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let options = BuildOptions { sets, passes, ..BuildOptions::default() };
    match build(&program, &options, world) {
        Ok(graph) => Ok(look(&graph)),
        Err(errors) => Err(errors.iter().map(|e| format!("{} {}", e.code, e.message)).collect::<Vec<_>>().join("\n")),
    }
}

fn graph<T>(text: &str, look: impl FnOnce(&StageGraph) -> T) -> T {
    built(text, &Memory::default(), &[], look).unwrap_or_else(|error| panic!("{error}"))
}

fn train<'g, 'p>(graph: &'g StageGraph<'p>, name: &str) -> &'g TrainNode<'p> {
    match &graph.get(graph.find(name).expect("a stage of this name")).kind {
        StageKind::Train(node) => node,
        _ => panic!("{name} is no training stage"),
    }
}

const SUMS: &str = include_str!("../../../../examples/sums.align");

/// A program around a stage: `{slots}` and `{rest}` are put in.
fn program(data: &str, slots: &str, rest: &str) -> String {
    format!(
        "edition 2026\n\
         use std.nets {{ gpt }}\n\
         use std.losses {{ sft }}\n\
         use std.optimizers {{ adamw }}\n\
         use std.metrics {{ accuracy, perplexity }}\n\
         record Demo {{ prompt: Prompt, reply: Reply[prompt] }}\n\
         data demos = {data}\n\
         policy start = gpt(layers: 1, width: 8, heads: 2, tokenizer: bytes, context: 12)\n\
         pipeline {{\n\
           let tuned = train start as p {{\n{slots}\n}}\n\
           {rest}\n\
         }}\n"
    )
}

const DEMOS: &str = r#"for i in 0..20 { Demo { prompt: """q{i}:""", reply: """{i * i}""" } }"#;
const SLOTS: &str = "on demos\nloss sft(.reply)\noptimizer adamw(lr: 1e-3)\nbatch 4 examples\nepochs 2";

fn error(text: &str) -> String {
    match built(text, &Memory::default(), &[], |_| ()) {
        Ok(()) => panic!("it has no error"),
        Err(errors) => errors,
    }
}

/// The error of a program that has these slots instead.
fn slot_error(slots: &str) -> String {
    error(&program(DEMOS, slots, ""))
}

#[test]
fn the_sums() {
    graph(SUMS, |graph| {
        let node = train(graph, "imitated");
        assert_eq!((node.items.len(), node.stage.batch), (9000, BatchSize::Examples(64)));
        assert_eq!(node.stage.length, StageLength::Steps(4000));
        assert_eq!((node.stage.clip, node.stage.order), (Some(1.0), Order::Shuffled));
        assert_eq!(node.stage.weights.iter().map(|w| w.len).sum::<usize>(), node.policy.size());
        let names: Vec<&str> = node.stage.optimizer.groups[0].states.iter().map(|state| state.name.as_str()).collect();
        assert_eq!(names, ["m", "v"]);
        assert!(node.stage.optimizer.phases().all(|phase| phase.pointwise));
        let text = graph.to_string();
        let drawn = graph.stages().filter(|(_, stage)| matches!(stage.kind, StageKind::Sample(_))).count();
        assert_eq!(drawn, 5, "pairs, and one for each policy that is asked, however often it is:\n{text}");
        let practised = train(graph, "practised");
        let live = practised.live.as_ref().expect("it draws what it is trained on");
        assert_eq!((practised.items.len(), live.rows_for(64)), (9000, 64));
        assert_eq!((live.sites().len(), live.sites()[0].wanted.n), (1, Some(8)));
        assert!(graph.find("untrained").is_some(), "{text}");
    });
}

#[test]
fn hashes_follow_what_is_computed() {
    let hash = |text: &str| graph(text, |graph| graph.get(graph.find("tuned").unwrap()).hash);
    let plain = program(DEMOS, SLOTS, "");
    let same = plain.replace("epochs 2", "epochs 2 // twice").replace("demos", "examples").replace("as p {", "as q {");
    assert_eq!(hash(&plain), hash(&plain));
    assert_eq!(hash(&plain), hash(&same), "names and comments are not computed");
    for (from, to) in [
        ("epochs 2", "epochs 3"),
        ("4 examples", "5 examples"),
        ("1e-3", "2e-3"),
        ("i * i", "i + i"),
        ("width: 8", "width: 16"),
        ("epochs 2", "epochs 2\nclip 2.0"),
        ("epochs 2", "epochs 2\norder given"),
        ("epochs 2", "epochs 2\nseed 7"),
        ("epochs 2", "epochs 2\nprecision bf16"),
        ("sft(.reply)", "2 * sft(.reply)"),
    ] {
        assert_ne!(hash(&plain), hash(&plain.replace(from, to)), "{to}");
    }
    let evaluated = program(DEMOS, &format!("{SLOTS}\neval perplexity(demos), every: 5"), "");
    assert_eq!(hash(&plain), hash(&evaluated), "evaluations change nothing");
    // But those that decide which weights are kept do.
    let with = |evals: &str, keep: &str| {
        hash(&program(DEMOS, &format!("{SLOTS}\neval {{ {evals} }}, every: 5\nkeep {keep}"), ""))
    };
    let least = with("a: perplexity(demos), b: accuracy(demos)", "least(a)");
    assert_eq!(least, with("c: perplexity(demos)", "least(c)"), "names, and what is only logged");
    assert_ne!(least, hash(&plain));
    assert_ne!(least, with("a: perplexity(demos)", "best(a)"));
    assert_ne!(least, with("a: accuracy(demos)", "least(a)"));
    assert_ne!(least, with("a: 0 - perplexity(p, demos)", "least(a)"));
    assert_ne!(least, with("a: perplexity(demos |> take(3))", "least(a)"));
    let text = program(DEMOS, &format!("{SLOTS}\neval {{ a: perplexity(demos) }}, every: 5\nkeep least(a)"), "");
    assert_eq!(least, hash(&text));
    assert_ne!(least, hash(&text.replace("every: 5", "every: 4")));
}

/// A resumed run must have the kernels of the first: passes may not depend on the order of hash maps.
#[test]
fn graphs_are_the_same_every_time() {
    let text = program(DEMOS, SLOTS, "");
    let step = || graph(&text, |graph| train(graph, "tuned").stage.step.clone());
    let first = step();
    for _ in 0..4 {
        let again = step();
        assert_eq!(again.len(), first.len());
        for ((node, a), (_, b)) in first.nodes().zip(again.nodes()) {
            assert_eq!(a, b, "{node:?}");
        }
        assert!(first == again);
    }
}

#[test]
fn params_are_set_and_checked() {
    let set =
        |sets: &[(&str, &str)]| built(SUMS, &Memory::default(), sets, |graph| train(graph, "imitated").stage.length);
    assert_eq!(set(&[("steps", "1_000")]), Ok(StageLength::Steps(1000)));
    assert_eq!(set(&[("steps", "1"), ("steps", "2")]), Ok(StageLength::Steps(2)));
    assert_eq!(set(&[("steps", "0")]).unwrap_err(), "E0150 `steps` is 0");
    assert_eq!(set(&[("steps", "100000")]).unwrap_err(), "E0150 `steps` is 100000");
    assert_eq!(set(&[("steps", "ten")]).unwrap_err(), "E0150 `steps` is of type Int, it is set to \"ten\"");
    assert_eq!(set(&[("step", "10")]).unwrap_err(), "E0151 there is no param `step` to set");
}

#[test]
fn slots_are_checked() {
    let with = |from: &str, to: &str| slot_error(&SLOTS.replace(from, to));
    assert_eq!(with("epochs 2", "epoch 2"), "E0130 `train` has no slot `epoch`");
    assert_eq!(with("batch 4 examples\n", ""), "E0131 this `train` has no slot `batch`");
    assert_eq!(with("epochs 2", "epochs 2\nsteps 3"), "E0133 a stage has `steps` or `epochs`, not both");
    assert_eq!(with("epochs 2", "epochs 2\nepochs 3"), "E0133 the slot `epochs` stands twice");
    assert!(with("4 examples", "4").starts_with("E0134 a batch is counted in examples or tokens"));
    assert!(with("epochs 2", "epochs 0").starts_with("E0134"));
    assert_eq!(with("epochs 2", "epochs 2\nprecision f16"), "E0134 `precision` is one of f32, bf16");
    assert!(with("epochs 2", "epochs 2\norder backwards").starts_with("E0134"));
    assert!(with("epochs 2", "epochs 2\nkeep best(accuracy)").starts_with("E0134 `keep best(accuracy)` needs"));
    assert!(with("epochs 2", "epochs 2\nstate x = \"a text\"").starts_with("E0190"));
    assert!(with("on demos", "on demos, truncate: middle").starts_with("E0134 `truncate` is one of drop, start, end"));
    assert!(with("on demos", "on demos\ntruncate middle").starts_with("E0134 `truncate` is one of drop, start, end"));
    assert!(with("on demos", "on 3").starts_with("E0113 a stage is trained on Data or a List"));
    assert!(with("on demos", "on demos |> filter(x => false)").starts_with("E0706"));
    assert!(with("on demos", "on p").starts_with("E0113 a stage is trained on Data or a List"));
    assert!(with("sft(.reply)", "(p, x) => 1.0").starts_with("E0401"), "{}", with("sft(.reply)", "(p, x) => 1.0"));
}

#[test]
fn rounds_of_a_pipeline_are_stages_of_their_own() {
    let rest = "let again = iterate 2 from tuned as current {\n\
                  train current { on demos; loss sft(.reply); optimizer adamw(lr: 1e-4); batch 4 examples; steps 2 }\n\
                }\n\
                show perplexity(again, demos)";
    graph(&program(DEMOS, SLOTS, rest), |graph| {
        let trained: Vec<_> = graph.stages().filter(|(_, s)| matches!(s.kind, StageKind::Train(_))).collect();
        let names: Vec<&str> = trained.iter().map(|(_, s)| s.name.as_str()).collect();
        assert_eq!(names, ["tuned", "again", "again.2"]);
        for pair in trained.windows(2) {
            assert_eq!(graph.input(pair[1].0, Reads::Policy), Some(pair[0].0));
        }
    });
}

#[test]
fn the_graph_prints() {
    let rest = "show perplexity(tuned, demos) / 2\n\
                assert perplexity(tuned, demos) < 3\n\
                plot history(tuned).loss\n\
                save tuned, to: \"out\"";
    let text = graph(&program(DEMOS, &format!("{SLOTS}\neval accuracy(p, demos), every: 5"), rest), |g| g.to_string());
    let lines: Vec<&str> = text.lines().map(|line| line.split("  #").next().unwrap_or(line)).collect();
    let expected = "\
%0 init start = gpt, 3_112 numbers in 11 weights seed 0
%1 data demos: 20 rows
%2 train tuned %0 on %1
  loss 1 * sft
  optimizer of 3_112 numbers on [entry?0], state [m, v]
  schedules 1, logged as [learning_rate]
  batch 4 examples
  epochs 2
  clip 1
  order shuffled, seed 0
  trains 3_112 numbers in 11 weights
  eval accuracy, every 5
%3 evaluate perplexity(tuned, demos) / 2, reads %2 on %1
  .0 mean
%4 show
  perplexity(tuned, demos) / 2
  (exp(%3.0) / 2)
%5 assert
  (exp(%3.0) < 3)
%6 plot
  %2.loss as \"history(tuned).loss\"
%7 save %2
  to \"out\"";
    assert_eq!(lines.join("\n"), expected);
}
