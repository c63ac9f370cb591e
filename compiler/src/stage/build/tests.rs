use super::*;
use crate::interp::{self, Named, Precision};
use crate::philox::Philox;
use crate::program::load;
use crate::stage::evaluate::AnswerKind;
use crate::stage::graph::{Cell, TrainNode};
use crate::stage::items::{ItemValue, Packed, pack};
use crate::stage::policy::Start;
use crate::stage::testing::{Llama, Memory};
use crate::stage::train::{BatchSize, Keep, Order, StageLength};
use crate::tensor::{Axis, DType, Op};

/// Builds a program and gives what `look` makes of its graph, or its errors.
fn built<T>(
    text: &str,
    world: &Memory,
    sets: &[(&str, &str)],
    look: impl FnOnce(&StageGraph) -> T,
) -> Result<T, String> {
    let (program, diagnostics) = load("main.align", text, world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let sets = sets.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let options = BuildOptions { sets, seed: 0 };
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
        let names: Vec<&str> = node.stage.optimizer.states.iter().map(|state| state.name.as_str()).collect();
        assert_eq!(names, ["m", "v"]);
        assert!(node.stage.optimizer.pointwise);
        let text = graph.to_string();
        assert_eq!(text.matches(" evaluate ").count(), 3, "equal evaluations are one:\n{text}");
        assert!(graph.find("untrained").is_some(), "{text}");
    });
}

/// The weights as a stage starts with them.
fn weights(node: &TrainNode) -> Named {
    let mut random = Philox::new(3, 0);
    let all = node.policy.weights.iter().zip(&node.policy.starts);
    let value = |start: &Start, random: &mut Philox| match start {
        Start::Constant(x) => *x,
        Start::Normal { mean, std } => mean + std * random.normal(),
        Start::Uniform { low, high } => low + (high - low) * random.uniform(),
    };
    all.map(|(weight, start)| {
        let data = (0..weight.len).map(|_| value(start, &mut random)).collect();
        (weight.path.clone(), interp::Value::floats(weight.axes.clone(), data))
    })
    .collect()
}

fn given(node: &TrainNode, packed: &Packed) -> Named {
    let mut given = Named::new();
    for input in &node.stage.layout.inputs {
        let ragged = input.axes.iter().find(|a| node.stage.layout.ragged.contains(a));
        let mut axes = vec![ragged.map_or(Axis::item(), Axis::packed)];
        axes.extend(input.axes.iter().filter(|a| a.fixed_size().is_some()).cloned());
        let (dtype, data) = match &packed.values[&input.name] {
            ItemValue::Floats(x) => (DType::Float, x.iter().map(|x| f64::from(*x)).collect()),
            ItemValue::Ints(x) => (DType::Int, x.iter().map(|x| f64::from(*x)).collect()),
            ItemValue::Bools(x) => (DType::Bool, x.iter().map(|x| f64::from(u8::from(*x))).collect()),
        };
        given.insert(input.name.clone(), interp::Value { axes, dtype, data });
    }
    given
}

/// One micro-batch of the first rows on the interpreter: all outputs.
fn run(node: &TrainNode, rows: std::ops::Range<usize>, weights: &Named, scales: &[(&str, f64)]) -> Named {
    let items: Vec<_> = rows.map(|row| node.items.item(row).unwrap()).collect();
    let packed = pack(&node.stage.layout, &items);
    let mut given = given(node, &packed);
    given.extend(weights.clone());
    for (term, scale) in scales {
        given.insert(format!("scale.{term}"), interp::Value::number(*scale));
    }
    let counts = interp::run(&node.stage.counts, &given, &packed.lengths, Precision::F64).unwrap();
    let outputs = interp::run(&node.stage.step, &given, &packed.lengths, Precision::F64).unwrap();
    counts.into_iter().chain(outputs).collect()
}

#[test]
fn a_step_has_the_loss_of_an_even_guess_and_a_gradient_that_lowers_it() {
    graph(&program(DEMOS, SLOTS, ""), |graph| {
        let node = train(graph, "tuned");
        let mut weights = weights(node);
        let before = run(node, 0..6, &weights, &[("sft", 1.0)]);
        let loss = |out: &Named| out["loss.sft"].data[0] / out["count.sft"].data[0];
        assert!((loss(&before) - 258f64.ln()).abs() < 0.1, "{}", loss(&before));
        // "0".."25", each with its stop token.
        assert_eq!(before["count.sft"].data[0], 6.0 + 4.0 + 2.0 * 2.0);
        for weight in &node.stage.weights {
            let gradient = &before[&format!("grad.{}", weight.path)];
            assert_eq!(gradient.axes, weight.axes, "laid out as the weight");
            let value = weights.get_mut(&weight.path).unwrap();
            value.data.iter_mut().zip(&gradient.data).for_each(|(w, g)| *w -= 1e-3 * g);
        }
        let after = run(node, 0..6, &weights, &[("sft", 1.0)]);
        assert!(loss(&after) < loss(&before));
    });
}

#[test]
fn a_policy_that_stays_as_it_is_gets_no_gradient() {
    let slots = "on demos\nloss (p, x) => sum[time](logp(start, x.reply) - logp(p, x.reply))\n\
                 optimizer adamw(lr: 1e-3)\nbatch 4 examples\nsteps 3";
    graph(&program(DEMOS, slots, ""), |graph| {
        let node = train(graph, "tuned");
        assert_eq!(node.stage.frozen.len(), 1);
        assert_eq!(node.stage.frozen[0].prefix, "p0:");
        let id = graph.find("tuned").unwrap();
        let init = graph.input(id, Reads::Policy).unwrap();
        assert_eq!(graph.input(id, Reads::Frozen(0)), Some(init), "both begin with the same weights");
        let gradients: Vec<&String> =
            node.stage.step.outputs.iter().map(|(name, _)| name).filter(|name| name.starts_with("grad.")).collect();
        assert!(!gradients.is_empty() && gradients.iter().all(|name| !name.contains(':')));
        let frozen = |op: &Op| matches!(op, Op::Weight(path) if path.starts_with("p0:"));
        assert!(node.stage.step.nodes().any(|(_, data)| frozen(&data.op)));
        let mut weights = weights(node);
        let same: Vec<_> = weights.iter().map(|(path, value)| (format!("p0:{path}"), value.clone())).collect();
        weights.extend(same);
        let out = run(node, 0..3, &weights, &[("loss", 1.0)]);
        assert!(out["loss.loss"].data[0].abs() < 1e-9, "the policies are equal");
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
        ("sft(.reply)", "2 * sft(.reply)"),
    ] {
        assert_ne!(hash(&plain), hash(&plain.replace(from, to)), "{to}");
    }
    let evaluated = program(DEMOS, &format!("{SLOTS}\neval perplexity(demos), every: 5"), "");
    assert_eq!(hash(&plain), hash(&evaluated), "evaluations change nothing");
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
    assert!(with("epochs 2", "epochs 2\nprecision bf16").starts_with("E0190 precision bf16 is not there yet"));
    assert!(with("epochs 2", "epochs 2\norder backwards").starts_with("E0134"));
    assert!(with("epochs 2", "epochs 2\nkeep best(accuracy)").starts_with("E0134 `keep best(accuracy)` needs"));
    assert!(with("epochs 2", "epochs 2\nstate x = 1").starts_with("E0190"));
    assert!(with("on demos", "on demos, truncate: middle").starts_with("E0134 `truncate` is one of drop, start, end"));
    assert!(with("on demos", "on 3").starts_with("E0113 a stage is trained on Data or a List"));
    assert!(with("on demos", "on demos |> filter(x => false)").starts_with("E0706"));
    assert!(with("on demos", "on p").starts_with("E0190 data that are drawn"));
    let coupled = "(p, x) => mean[batch](sum[time](logp(p, x.reply)))";
    assert!(with("sft(.reply)", coupled).starts_with("E0408"), "{}", with("sft(.reply)", coupled));
    assert!(with("sft(.reply)", "(p, x) => 1.0").starts_with("E0401"), "{}", with("sft(.reply)", "(p, x) => 1.0"));
}

#[test]
fn evaluations_of_a_stage_read_the_policy_as_it_trains() {
    let slots =
        format!("{SLOTS}\neval {{ worse: perplexity(demos), right: accuracy(p, demos) }}, every: 5\nkeep best(right)");
    graph(&program(DEMOS, &slots, ""), |graph| {
        let node = train(graph, "tuned");
        assert_eq!(node.stage.eval_every, Some(5));
        assert_eq!(node.stage.keep, Keep::Best("right".into()));
        let names: Vec<&str> = node.evals.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["worse", "right"]);
        for eval in &node.evals {
            assert_eq!(eval.evaluations.len(), 1);
            assert_eq!(eval.evaluations[0].policies.len(), 1);
            assert_eq!(eval.number.reads()[0].0.index(), 0);
        }
        assert!((node.evals[0].number.value(&|_, _| 1.0) - 1f64.exp()).abs() < 1e-12);
        assert!(!graph.stages().any(|(_, stage)| matches!(stage.kind, StageKind::Evaluate(_))));
    });
}

#[test]
fn rows_of_files_are_checked_against_records() {
    let world = |lines: &[&'static str]| Memory { files: vec![("d.jsonl", lines.to_vec())], model: None };
    let text = program(r#"jsonl("d.jsonl") as Demo { prompt: .question, reply: .answer }"#, SLOTS, "");
    let build = |lines: &[&'static str]| built(&text, &world(lines), &[], |graph| train(graph, "tuned").items.len());
    let good = r#"{"question": "a", "answer": "b", "more": [1]}"#;
    assert_eq!(build(&[good, good]), Ok(2));
    let error = |line| build(&[good, line]).unwrap_err();
    assert_eq!(
        error(r#"{"question": "a", "answer": 3}"#),
        "E0701 d.jsonl:2: field reply: expected a Reply or Text, this is 3"
    );
    assert_eq!(
        error(r#"{"question": null, "answer": "b"}"#),
        "E0701 d.jsonl:2: field prompt: expected a Prompt or Text, this is nothing (null)"
    );
    assert_eq!(error(r#"{"question": "a"}"#), "E0307 d.jsonl:2: a record has no field `answer`");
    assert_eq!(error("{"), "E0702 d.jsonl:2: this is not JSON");
    assert_eq!(build(&[]).unwrap_err(), "E0706 the data has no rows");
    let text = text.replace("d.jsonl", "e.jsonl");
    assert_eq!(built(&text, &world(&[good]), &[], |_| ()).unwrap_err(), "E0702 there is no file e.jsonl");
    let text = program(r#"jsonl("d.jsonl") as Demo { promt: .question }"#, SLOTS, "");
    assert_eq!(built(&text, &world(&[good]), &[], |_| ()).unwrap_err(), "E0110 Demo has no field `promt`");
}

#[test]
fn draws_belong_to_their_row() {
    let data = format!("{DEMOS} |> map(x => x with {{ noise: uniform() }})");
    let shown = "show demos |> map(x => { noise: x.noise })\nshow demos |> map(x => { noise: x.noise })";
    let tables = graph(&program(&data, SLOTS, shown), |graph| {
        let stages = graph.stages().filter_map(|(_, s)| match &s.kind {
            StageKind::Show(show) => Some(format!("{:?}", show.table.rows)),
            _ => None,
        });
        stages.collect::<Vec<_>>()
    });
    assert_eq!(tables.len(), 2);
    assert_eq!(tables[0], tables[1], "the same draw whenever the row is read");
    let mut cells: Vec<&str> = tables[0].split(')').collect();
    cells.sort();
    cells.dedup();
    assert!(cells.len() > 15, "rows differ: {}", tables[0]);
}

#[test]
fn plain_text_is_read_by_lines() {
    let world = Memory { files: vec![("d.txt", vec!["a b", "c"])], model: None };
    let data = r#"lines("d.txt") |> map(line => Demo { prompt: "", reply: line })"#;
    let text = program(data, SLOTS, "");
    let error = built(&text, &world, &[], |_| ()).unwrap_err();
    assert!(error.starts_with("E0701 d.txt:1: field reply: the prompt is empty"), "{error}");
    let text = text.replace(r#"prompt: """#, r#"prompt: ">""#);
    let tokens = built(&text, &world, &[], |graph| train(graph, "tuned").items.item(0).unwrap().tokens);
    assert_eq!(tokens, Ok(5));
}

#[test]
fn rows_that_do_not_fit_need_a_word() {
    let long = r#"for i in 0..4 { Demo { prompt: """{if i == 2 then "a long question" else "q"}""", reply: "yes" } }"#;
    assert_eq!(error(&program(long, SLOTS, "")), "E0705 row 3: field reply has 19 tokens, the context is 12");
    let rows = |how: &str| {
        let slots = SLOTS.replace("on demos", &format!("on demos, truncate: {how}"));
        graph(&program(long, &slots, ""), |graph| {
            let items = &train(graph, "tuned").items;
            (0..items.len()).map(|row| items.item(row).unwrap().tokens).collect::<Vec<_>>()
        })
    };
    assert_eq!(rows("drop"), [5, 5, 5]);
    assert_eq!(rows("start"), [5, 5, 12, 5]);
    let cut = SLOTS.replace("on demos", "on demos, truncate: end");
    let all_long = long.replace("i == 2", "true").replace("a long question", "questions");
    assert!(error(&program(&all_long, &cut, "")).starts_with("E0703 no sampled row puts loss on the stop token"));
}

#[test]
fn what_is_shown_saved_and_asserted() {
    let rest = "show perplexity(tuned, demos), 3, \"x\"\n\
                show demos |> take(2) |> map(x => { asked: x.prompt, is: x.reply, sure: sum[time](logp(tuned, x.reply)) })\n\
                show [{ a: 1, b: 2.5 }, { a: 2, b: 0.5 }]\n\
                assert perplexity(tuned, demos) < perplexity(start, demos) and 1 < 2\n\
                save tuned, to: \"out/x\"\n\
                plot history(tuned).loss";
    graph(&program(DEMOS, SLOTS, rest), |graph| {
        let kinds = |which: fn(&StageKind) -> bool| graph.stages().filter(|(_, s)| which(&s.kind)).count();
        assert_eq!(kinds(|k| matches!(k, StageKind::Show(_))), 3);
        assert_eq!(kinds(|k| matches!(k, StageKind::Evaluate(_))), 3);
        let tables: Vec<_> = graph
            .stages()
            .filter_map(|(_, s)| if let StageKind::Show(show) = &s.kind { Some(&show.table) } else { None })
            .collect();
        assert_eq!(tables[0].head, ["perplexity(tuned, demos)", "3", "\"x\""]);
        assert_eq!(tables[1].head, ["asked", "is", "sure"]);
        assert!(matches!(&tables[1].rows[1][0], Cell::Text(text) if text == "q1:"));
        assert!(matches!(&tables[1].rows[1][2], Cell::Answer { row: 1, .. }));
        assert_eq!(tables[2].rows.len(), 2);
        let order = graph.order();
        assert_eq!(order.len(), graph.stages().count());
        let saved = graph.stages().find_map(|(id, s)| matches!(s.kind, StageKind::Save(_)).then_some(id)).unwrap();
        assert_eq!(graph.input(saved, Reads::Policy), graph.find("tuned"));
        let StageKind::Assert(assert) =
            &graph.stages().find(|(_, s)| matches!(s.kind, StageKind::Assert(_))).unwrap().1.kind
        else {
            unreachable!()
        };
        assert_eq!(assert.parts.len(), 2);
        let holds = |sign: f64| assert.holds.value(&|stage, _| sign * f64::from(stage.index() as u32));
        assert_eq!((holds(1.0), holds(-1.0)), (1.0, 0.0), "the tuned policy was evaluated first");
    });
    let kind = AnswerKind::Number;
    assert_eq!((kind.show(&[0.25]), kind.show(&[3.0])), ("0.2500".into(), "3".into()));
}

#[test]
fn chats_need_a_template() {
    let data = r#"[{ chat: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }] }] as Talk"#;
    let text = program(data, &SLOTS.replace(".reply", ".chat"), "");
    let text = text.replace("data demos", "record Talk { chat: Chat }\ndata demos");
    assert!(
        error(&text).starts_with("E0701 row 1: field chat: a Chat needs a model with a chat template"),
        "{}",
        error(&text)
    );
}

#[test]
fn models_are_loaded_and_read_chats_by_their_template() {
    let data = r#"[{ chat: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }] }] as Talk"#;
    let text = program(data, &SLOTS.replace(".reply", ".chat"), "save tuned, to: \"out\"");
    let text = text.replace("data demos", "record Talk { chat: Chat }\ndata demos");
    let text = text.replace("gpt(layers: 1, width: 8, heads: 2, tokenizer: bytes, context: 12)", r#"load("m")"#);
    let text = text.replace("use std.nets { gpt }\n", "");
    let good = Llama { begins: 1, stops: true, lacks: "" };
    let load = |model| {
        built(&text, &Memory { files: vec![], model: Some(model) }, &[], |graph| {
            let node = train(graph, "tuned");
            let StageKind::Load(load) = &graph.get(graph.find("start").unwrap()).kind else { panic!("it is loaded") };
            assert_eq!((&load.path[..], load.policy.context, load.policy.weights.len()), ("m", Some(64), 11));
            assert!(load.policy.stored.iter().all(Option::is_some));
            node.items.item(0).unwrap()
        })
    };
    let item = load(good).unwrap_or_else(|e| panic!("{e}"));
    // "<s>user:a</s>assistant:b</s>", of which "b</s>" carries the loss.
    assert_eq!(item.tokens, 20);
    assert!(item.values.contains(&ItemValue::Ints(vec![98, 257])));
    assert_eq!(load(Llama { begins: 0, ..good }).unwrap().tokens, 20, "a sequence begins by itself");
    let error = |model| load(model).unwrap_err();
    assert!(error(Llama { begins: 2, ..good }).starts_with("E0704 row 1: the token that begins a sequence"));
    assert!(error(Llama { stops: false, ..good }).starts_with("E0703"));
    let lacks = Llama { lacks: "model.norm.weight", ..good };
    assert!(error(lacks).starts_with("E0709 the model has no tensor model.norm.weight"), "{}", error(lacks));
    let none = built(&text, &Memory::default(), &[], |_| ()).unwrap_err();
    assert_eq!(none, "E0708 there is no model m");
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
