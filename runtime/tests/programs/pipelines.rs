//! Pipelines as programs: loops over stages, records of policies, and what only the run decides.

use super::*;

const HEAD: &str = r#"
use std.nets { gpt }
use std.data { Pair }
use std.losses { sft, dpo }
use std.optimizers { adamw, sgd }
use std.metrics { perplexity }

data pairs = for a in 0..6, b in 0..4 { Pair { prompt: """{a}+{b}=""", chosen: """{a + b}""", rejected: """{a + b + 10}""" } }
policy base = gpt(layers: 1, width: 16, heads: 2, inner: 16, tokenizer: bytes)

fn teach(p: Policy, n: Int) = train p { on pairs; loss sft(.chosen); optimizer adamw(lr: 1e-2); batch 12 examples; steps n }
fn align(p: Policy, beta: Float) -> Policy = train p { on pairs; loss dpo(reference: p, beta: beta); optimizer adamw(lr: 1e-2); batch 12 examples; steps 2 }
fn ppl(p: Policy) -> Float = perplexity(p, pairs, .chosen)
"#;

/// What is found, and which stages train.
#[derive(Default)]
struct Trained {
    stages: Vec<String>,
    found: Vec<Finding>,
}

impl Progress for Trained {
    fn begins(&mut self, stage: &str, _: usize, steps: usize) {
        self.stages.extend((steps > 0).then(|| stage.to_string()));
    }

    fn found(&mut self, finding: &Finding) {
        self.found.push(finding.clone());
    }
}

/// The tables that a program shows, as numbers, and the stages that it trained.
fn shown(folder: &Path, pipeline: &str) -> (Vec<Vec<f64>>, Vec<String>) {
    let mut kept = Trained::default();
    let report = run_in(folder, &format!("{HEAD}pipeline {{\n{pipeline}\n}}\n"), &[], &Cpu::new(1), &mut kept);
    assert!(report.failed.is_empty(), "{report:?}");
    let tables = kept.found.iter().filter_map(|finding| match finding {
        Finding::Shown(shown) => Some(&shown.rows),
        _ => None,
    });
    let number = |cell: &String| cell.parse().unwrap_or(f64::NAN);
    let tables = tables.map(|rows| rows.iter().flatten().map(number).collect()).collect();
    (tables, kept.stages)
}

/// Functions that train, loops that carry policies beside lists of them, and loops that give records of policies.
#[test]
fn loops_carry_policies() {
    let folder = tempfile::tempdir().unwrap();
    let (tables, trained) = shown(
        folder.path(),
        r#"
  let taught = teach(base, 4)
  let (last, pool) = iterate beta in [0.1, 0.3] from (taught, [taught]) as (p, pool) {
    let next = align(p, beta)
    (next, pool ++ [next])
  }
  let all = for beta in [0.1, 0.2] { { name: """b{beta}""", policy: align(taught, beta), beta: beta } }
  let (a, b) = (all[0].policy, all[1].policy)
  let few = iterate 10 from (taught, 0) as (p, n) until n >= 2 { (align(p, 0.1), n + 1) }
  let twice = iterate 2 from taught as p { align(p, 0.1) }
  show ppl(last), ppl(pool[2]), ppl(pool[0]), ppl(taught)
  show ppl(a), ppl(pool[1]), ppl(b), ppl(few.0), ppl(twice)
  show all |> map(r => { beta: r.beta, ppl: ppl(r.policy) })"#,
    );
    let [first, second, third] = &tables[..] else { panic!("{tables:?}") };
    assert!(first[0] == first[1] && first[2] == first[3] && first[0] != first[2], "{first:?}");
    assert!(second[0] == second[1] && second[0] != second[2] && second[3] == second[4], "{second:?}");
    assert_eq!(third[..], [0.1, second[0], 0.2, second[2]]);
    // Equal rounds are one stage: taught, two rounds of the first loop, the second beta, a second round of the last loops.
    assert_eq!(trained.len(), 5, "{trained:?}");
}

/// `if` on a number of the run: the better one goes on, and what only the other side asks for is not run.
#[test]
fn the_run_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let (tables, trained) = shown(
        folder.path(),
        r#"
  let taught = teach(base, 8)
  let better = if ppl(taught) < ppl(base) then taught else base
  let worse = if ppl(taught) > ppl(base) then taught else base
  let more = if ppl(better) > 1.0 and ppl(better) < ppl(worse) then { teach(better, 3) } else { let never = teach(better, 5); never }
  if ppl(better) > 1e6 then { let nor_this = teach(better, 6); show ppl(nor_this); save nor_this, to: "OUT/never" }
  let sum = if ppl(better) > 1e6 then ppl(better) else 1 + ppl(base)
  let (p, n) = if ppl(taught) < 1e6 then (taught, 1) else (base, 2)
  show ppl(better), ppl(taught), ppl(worse), ppl(base), ppl(more)
  show sum, n, ppl(p)
  save better, to: "OUT/better""#,
    );
    let [first, second] = &tables[..] else { panic!("{tables:?}") };
    assert!(first[0] == first[1] && first[2] == first[3] && first[1] < first[3] && first[4] < first[0], "{first:?}");
    assert_eq!(second[1..], [1.0, first[0]]);
    assert!((second[0] - 1.0 - first[3]).abs() < 1e-2, "{second:?}");
    assert_eq!(trained, ["taught", "more.2"]);
    let model = LoadedModel::open(folder.path().join("better")).unwrap();
    assert!(matches!(model.config, ModelConfig::Decoder(_)));
    assert!(!folder.path().join("never").exists());
}

/// A loop that ends by a number of the run: rounds after that are not run.
#[test]
fn a_loop_ends_when_the_run_says() {
    let folder = tempfile::tempdir().unwrap();
    let (tables, trained) = shown(
        folder.path(),
        r#"
  let (last, n) = iterate 6 from (base, 0) as (p, n) until ppl(p) < 60 { (teach(p, 4), n + 1) }
  let rounds = for n in 0..4 { ppl(iterate n from base as p { teach(p, 4) }) }
  show ppl(last), n
  show rounds[0], rounds[1], rounds[2], rounds[3]"#,
    );
    let [found, rounds] = &tables[..] else { panic!("{tables:?}") };
    let want = rounds.iter().position(|ppl| *ppl < 60.0).expect("it learns");
    assert!(want > 0 && want < 4, "{rounds:?}");
    assert_eq!(found[..], [rounds[want], want as f64]);
    // The first round is one stage; later ones of the loop begin with what the run has chosen.
    assert_eq!(trained.len(), want + 2, "{trained:?}");
}

const WEIGHED: &str = r#"
use std.nets { gpt }
use std.data { Pair }
use std.losses { sft, bradley_terry }
use std.optimizers { sgd }

data pairs = for a in 0..6, b in 0..4 { Pair { prompt: """{a}+{b}=""", chosen: """{a + b}""", rejected: """{a + b + 10}""" } }
policy base = gpt(layers: 1, width: 16, heads: 2, inner: 16, tokenizer: bytes)

loss weighed(policy: Policy, chosen: Reply, gap: Float) per example {
  track gap = gap
  sigmoid(gap) * -sum[time](logp(policy, chosen))
}
loss direct(policy: Policy, pair: Pair, judge: Scorer) per example {
  let gap = score(judge, pair.chosen) - score(judge, pair.rejected)
  track gap = gap
  sigmoid(gap) * -sum[time](logp(policy, pair.chosen))
}

pipeline {
  let judge = train base with head() { on pairs; loss bradley_terry(); optimizer sgd(lr: 0.1); batch 12 examples; steps 3 }
  let tuned = train base { on ROWS; loss LOSS; optimizer sgd(lr: 0.1); batch 12 examples; steps 4 }
}
"#;

/// What a policy says of a row may be a field of it: the loss reads it as any other.
#[test]
fn fields_that_policies_give() {
    let found = |rows: &str, loss: &str| {
        let folder = tempfile::tempdir().unwrap();
        let text = WEIGHED.replace("ROWS", rows).replace("LOSS", loss);
        run_in(folder.path(), &text, &[], &Cpu::new(1), &mut Silent);
        let row = |line: &Value| ["loss", "gap"].map(|name| line[name].as_f64());
        lines(folder.path()).iter().filter(|line| line["stage"] == "tuned").map(row).collect::<Vec<_>>()
    };
    let fields = "pairs |> map(x => x with { gap: score(judge, x.chosen) - score(judge, x.rejected) })";
    let (weighed, direct) = (found(fields, "weighed()"), found("pairs", "direct(judge: judge)"));
    assert_eq!(weighed.len(), 4);
    for (a, b) in weighed.iter().flatten().zip(direct.iter().flatten()) {
        assert!((a.unwrap() - b.unwrap()).abs() < 1e-6, "{weighed:?}, not {direct:?}");
    }
}
