//! Policies with heads: reward models, critics, ensembles.

use super::*;
use serde_json::json;

/// Of two answers the one with more `a` is better. `LOSS`, `STEPS` and what is shown vary.
const PAIRS: &str = r#"
use std.data { Pair }
use std.nets { gpt }
use std.losses { bradley_terry }
use std.optimizers { adamw }
use std.metrics { pair_accuracy }

fn word(n: Int) -> Text = ["abcb", "bcaa", "caba", "aaab", "cbcb"][n]
data pairs = for i in 0..5, j in 0..5, k in 0..4 { Pair { prompt: """{k}:""", chosen: """{word(i)}""", rejected: """{word(j)}""" } }
  |> filter(p => more(p.chosen.text, p.rejected.text)) |> shuffle(seed: 1) |> split(train: 0.75, test: 0.25)
fn more(x: Text, y: Text) -> Bool = count(x) > count(y)
fn count(x: Text) -> Int = sum(chars(x) |> map(c => if c == "a" then 1 else 0))

fn worth(scorer: Scorer, data: Data[Pair]) -> Float = mean(data |> map(p => score(scorer, p.chosen)))

policy base = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 12)

pipeline {
  let before = for seed in 0..4 { base with head(seed: seed) }
  let members = for seed in 1..3 {
    train (base with head(seed: seed)) { on pairs.train; loss bradley_terry(); optimizer adamw(lr: 1e-2); batch 8 examples; steps 30 }
  }
  show pair_accuracy(before[0], pairs.test), pair_accuracy(before[1], pairs.test), pair_accuracy(before[2], pairs.test), pair_accuracy(before[3], pairs.test)
  show pair_accuracy(members[0], pairs.test), pair_accuracy(members[1], pairs.test)
  show worth(base with head(seed: 0), pairs.test), worth(before[0], pairs.test), worth(before[1], pairs.test), worth(before[1] with head(seed: 0), pairs.test)
}
"#;

fn tables(progress: &Kept) -> Vec<Vec<f64>> {
    let shown = progress.found.iter().filter_map(|(_, finding)| match finding {
        Finding::Shown(shown) => Some(shown.rows[0].iter().map(|cell| cell.parse().expect("a number")).collect()),
        _ => None,
    });
    shown.collect()
}

/// A head that replaces another begins as it would without that one.
#[test]
fn reward_models_learn() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = Kept::default();
    run_in(folder.path(), PAIRS, &[], &Cpu::new(1), &mut kept);
    let [before, after, scores] = &tables(&kept)[..] else { panic!("three tables") };
    assert!(before.iter().sum::<f64>() / 4.0 < 0.85, "{before:?}");
    assert!(after.iter().all(|share| *share > 0.95), "{after:?}");
    assert!(scores[0] == scores[1] && scores[0] != scores[2] && scores[0] == scores[3], "{scores:?}");
    let tracked: Vec<f64> = lines(folder.path()).iter().filter_map(|line| line["accuracy"].as_f64()).collect();
    assert_eq!(tracked.len(), 60);
    assert!(tracked[0] < 0.5 && tracked[20..30].iter().all(|share| *share > 0.95), "{tracked:?}");
}

/// Values before each token: those of a whole return, and by differences in time. `KIND` is the loss.
const CRITIC: &str = r#"
use std.nets { gpt }
use std.optimizers { adamw }

record Draw { prompt: Prompt, reply: Reply[prompt], reward: Float }
data draws = for a in 0..6, b in 0..6 { Draw { prompt: """{a}""", reply: """{b}.""", reward: (a + b) / 10 } }
policy base = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 12)

/// The return is that of the reply's end, at every place.
loss whole(critic: Scorer, reply: Reply, reward: Float) per token = (value(critic, reply) - reward)^2

/// One step in time: the next place's value is what this one's is to be, and the reward at the end.
loss step(critic: Scorer, reply: Reply, reward: Float) per token {
  let v = value(critic, reply)
  let next = stop(v)[time: index[time](v) + 1, or: 0.0]
  let last = index[time](v) == size[time](v) - 1
  (v - where(last, reward, next))^2
}

fn off(critic: Scorer, data: Data[Draw]) -> Float = mean(data |> map(x => (score(critic, x.reply) - x.reward)^2))
fn off_at_last(critic: Scorer, data: Data[Draw]) -> Float = mean(data |> map(x => (value(critic, x.reply)[time: -1] - x.reward)^2))

pipeline {
  let start = base with head()
  let critic = train start { on draws; loss KIND(); optimizer adamw(lr: 1e-2); batch 12 examples; steps 60 }
  let head_alone = train start { on draws; loss KIND(); optimizer adamw(lr: 1e-2); batch 12 examples; steps 5; only .head }
  show off_at_last(start, draws), off_at_last(critic, draws), off_at_last(head_alone, draws), off(critic, draws)
}
"#;

/// Before its last token, which ends it, all of a reply is seen.
#[test]
fn critics_learn_what_replies_are_worth() {
    for kind in ["whole", "step"] {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::default();
        run_in(folder.path(), &CRITIC.replace("KIND", kind), &[], &Cpu::new(1), &mut kept);
        let [start, critic, alone, _] = tables(&kept)[0][..] else { panic!("four numbers") };
        assert!(critic < 0.02 && critic < 0.2 * start && alone < start, "{kind}: {start} {critic} {alone}");
    }
    let text = CRITIC.replace("KIND", "whole");
    let [fast, plain] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let text = text.replace("steps 60", "steps 2").replace("steps 5;", "steps 1;");
    let (mut kernels, mut interpreter) = (Kept::default(), Kept::default());
    run_in(fast.path(), &text, &[], &Cpu::new(2), &mut kernels);
    run_in(plain.path(), &text, &[], &Interpreter, &mut interpreter);
    for (fast, plain) in tables(&kernels)[0].iter().zip(&tables(&interpreter)[0]) {
        assert!((fast - plain).abs() <= 1e-4 * plain.abs(), "{fast}, not {plain}");
    }
}

/// A policy with a head is a folder that the ecosystem knows, and that loads with the head; a net of a program is its own
/// settings, with those of the head.
#[test]
fn heads_are_saved_and_loaded() {
    const NET: &str = "
net small(letters: Int, width: Int, tokenizer: Tokenizer) {
  axis vocab = letters, dim = width
  weight embed: [vocab, dim] ~ normal(1)
  hidden(tokens: Int each time) -> Tensor[time, dim] = tanh(embed[vocab: tokens])
  logits(tokens: Int each time) -> Tensor[time, vocab] = sum[dim](hidden(tokens) * embed)
}
";
    let program = |policy: &str, net: &str| {
        format!(
            "use std.data {{ Pair }}\nuse std.nets {{ gpt }}\nuse std.metrics {{ pair_accuracy, perplexity }}\n{net}
data pairs = [(\"a\", \"b\"), (\"ab\", \"b\"), (\"ca\", \"bc\")] |> map((x, y) => Pair {{ prompt: \"\"\":\"\"\", chosen: \"\"\"{{x}}\"\"\", rejected: \"\"\"{{y}}\"\"\" }})
fn worth(scorer: Scorer, data: Data[Pair]) -> Float = mean(data |> map(p => score(scorer, p.chosen)))
policy judge = {policy}
pipeline {{
  show worth(judge, pairs), perplexity(judge, pairs, .chosen)
  save judge, to: \"OUT/judge\"
}}
"
        )
    };
    let made = "gpt(layers: 2, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 24) with head(seed: 5)";
    for (policy, net) in [(made, ""), ("small(257, 4, bytes) with head(seed: 5)", NET)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (Kept::default(), Kept::default());
        run_in(folder.path(), &program(policy, net), &[], &Cpu::new(1), &mut first);
        let config: Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("judge/config.json")).unwrap()).unwrap();
        match net {
            "" => {
                assert_eq!(config["architectures"], serde_json::json!(["LlamaForSequenceClassification"]));
                assert_eq!(config["id2label"], serde_json::json!({ "0": "LABEL_0" }));
                let model = LoadedModel::open(folder.path().join("judge")).unwrap();
                assert_eq!(model.shape("score.weight"), Some(&[1, 16][..]));
            }
            _ => assert_eq!((&config["net"], &config["with"][0]["net"]), (&"small".into(), &"head".into())),
        }
        if net.is_empty() {
            run_in(folder.path(), &program("load(\"OUT/judge\")", net), &[], &Cpu::new(1), &mut second);
            assert_eq!(tables(&first), tables(&second));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let text = program(made, "").replace("OUT/judge", "OUT/judge.gguf");
    let world = Files::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let (program, _) = load("main.align", &text.replace("OUT", folder.path().to_str().unwrap()), &world);
    let said = build(&program, &BuildOptions::default(), &world).err().map(|errors| format!("{errors:?}"));
    assert!(said.as_ref().is_some_and(|said| said.contains("no place for a head")), "{said:?}");
}

/// What is trained of a policy with a head and a patch on weights goes into one folder; the head of a reward model that is
/// only patched stays where it is.
#[test]
fn a_head_goes_with_a_patch() {
    const TEXT: &str = r#"
use std.data { Pair }
use std.nets { gpt }
use std.losses { bradley_terry }
use std.optimizers { adamw }
data pairs = [("a", "b"), ("ab", "b"), ("ca", "bc")] |> map((x, y) => Pair { prompt: """:""", chosen: """{x}""", rejected: """{y}""" })
fn worth(scorer: Scorer, data: Data[Pair]) -> Float = 1000 * mean(data |> map(p => score(scorer, p.chosen)))
policy base = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 24)
pipeline { BODY }
"#;
    let folder = tempfile::tempdir().unwrap();
    let shown = |body: &str| {
        let mut kept = Kept::default();
        run_in(folder.path(), &TEXT.replace("BODY", body), &[], &Cpu::new(1), &mut kept);
        tables(&kept)[0].clone()
    };
    let train = "{ on pairs; loss bradley_terry(); optimizer adamw(lr: 1e-2); batch 3 examples; steps 4 }";
    for (name, patched, whole) in [
        ("a", "base with lora(rank: 2, targets: [.attend.q]) with head()", json!(["score"])),
        (
            "b",
            "base with head(seed: 1) with lora(rank: 2, trains: [.head, .decoder.norm])",
            json!(["model.norm", "score"]),
        ),
        // Its head stays as it was drawn, which the model below does not know.
        ("c", "base with head(seed: 1) with lora(rank: 2)", json!(["score"])),
        ("d", "load(\"OUT/scorer\") with lora(rank: 2)", Value::Null),
    ] {
        if name == "d" {
            shown("save base with head(seed: 7), to: \"OUT/scorer\"\n show worth(base with head(seed: 7), pairs)");
        }
        let body = format!(
            "let judge = train {patched} {train}\n show worth(judge, pairs)\n save judge, to: \"OUT/{name}\"\n save base, to: \"OUT/base\""
        );
        let trained = shown(&body)[0];
        let read = |file: &str| std::fs::read(folder.path().join(name).join(file)).unwrap();
        let config: Value = serde_json::from_slice(&read("adapter_config.json")).unwrap();
        assert_eq!((&config["task_type"], &config["modules_to_save"]), (&json!("SEQ_CLS"), &whole), "{name}");
        let bytes = read("adapter_model.safetensors");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let score = tensors.tensor("base_model.model.score.weight").ok().map(|tensor| tensor.shape().to_vec());
        assert_eq!(score, (whole != Value::Null).then(|| vec![1, 16]), "{name}");
        let base = if name == "d" { "scorer" } else { "base" };
        let again = shown(&format!(
            "show worth(load(\"OUT/{name}\"), pairs), worth(load(\"OUT/{base}\") with adapter(\"OUT/{name}\"), pairs), worth(merged(load(\"OUT/{name}\")), pairs)"
        ));
        assert!(again.iter().all(|value| (value - trained).abs() < 0.05), "{name}: {again:?}, {trained}");
    }
}
