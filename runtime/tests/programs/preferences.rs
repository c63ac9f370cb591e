//! Losses of preferences as stages: each trains, from where it must; and what is measured of preferences.

use std::fmt::Write;

use align_runtime::engine::Cpu;

use crate::{Kept, lines, run_in};

const HEAD: &str = r#"
edition 2026
use std.nets { gpt }
use std.data { Pair, Rated, Asked, Improved, Answered, Negative, Ranked }
use std.losses {
  sft, aot, aot_unpaired, apo_zero_unpaired, bco_pair, pre_dpo, sr_dpo, sr_ipo, mrpo, srpo, irepo, d2o, typo, hypo, gepo, irpo, spin,
  sparsepo, learned, pmpo_em, relative_po, relative_po_unpaired, optune, genius_aco, exo_reward, dno, spo_sequential, token_guidance,
  guided_sft, dph_separable, dph_contrastive, Domains, dial, critic_step, domain_critic, tpo_tree, ampo, covering, Degraded,
  spo_degree, dpo, gpo, dpop, bpo, spac, best_and_worst_dpo, bradley_terry
}
use std.optimizers { adamw }

fn sum(a: Int, b: Int) -> Text = """{a}+{b}="""
fn right(a: Int, b: Int) -> Text = """{a + b}"""
fn wrong(a: Int, b: Int) -> Text = """{a + b + 10}"""

data pairs = for a in 0..6, b in 0..4 {
  Pair { prompt: sum(a, b), chosen: right(a, b), rejected: wrong(a, b) } with {
    preferred: 0.75, chosen_reward: 1.0, rejected_reward: 0.5, chosen_advantage: 0.2, rejected_advantage: 0.1
  }
}
data rated = for a in 0..6, b in 0..4 { Rated { prompt: sum(a, b), reply: """{a + b + a % 2}""", good: a % 2 == 0 } }
data answered = for a in 0..6, b in 0..4 {
  Answered { prompt: sum(a, b), chosen: right(a, b), rejected: wrong(a, b), drawn: """{a + b + 3}""" }
}
data askeds = for a in 0..6, b in 0..4 {
  Asked {
    prompt: sum(a, b), chosen: right(a, b), rejected: wrong(a, b)
    asked: """well: {a}+{b}=""", chosen_asked: right(a, b), rejected_asked: wrong(a, b)
  }
}
data improved = for a in 0..6, b in 0..4 {
  Improved {
    prompt: sum(a, b), chosen: right(a, b), rejected: wrong(a, b)
    shown_chosen: """{a}+{b}={a + b}?""", chosen_after_chosen: right(a, b), rejected_after_chosen: wrong(a, b)
    shown_rejected: """{a}+{b}={a + b + 10}?""", chosen_after_rejected: right(a, b), rejected_after_rejected: wrong(a, b)
  }
}
data negative = for a in 0..6, b in 0..4 {
  Negative { prompt: sum(a, b), rejected: wrong(a, b), drawn: [right(a, b), """{a + b + 1}"""] }
}
data ranked = for a in 0..6, b in 0..4 {
  Ranked { prompt: sum(a, b), reply: ["""{a + b}\nx""", """{a + b + 1}""", """{a + b + 2}\nyy\nz""", "1"], reward: [1.0, 0.0, -0.5, 0.25] }
}
data domains = for a in 0..6, b in 0..4 {
  Domains { prompt: sum(a, b), chosen: right(a, b), rejected: wrong(a, b), other: """{a}*{b}=""", target: """{a * b}""" }
}
data degraded = for a in 0..6, b in 0..4 {
  Degraded {
    prompt: sum(a, b), chosen: right(a, b), rejected: wrong(a, b)
    chosen_less: ["""{a + b} ok""", """{a + b}""", " "], rejected_less: ["""{a + b + 10} ok""", """{a + b + 10}""", " "]
  }
}

policy start = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes, context: 32)
"#;

const LN_2: f64 = std::f64::consts::LN_2;

/// What is trained, its data, its loss, and what the loss is where the policy is its reference.
const STAGES: [(&str, &str, &str, Option<f64>); 41] = [
    ("base", "pairs", "aot(reference: base)", Some(LN_2)),
    ("base", "pairs", "aot_unpaired(reference: base)", Some(LN_2)),
    ("base", "rated", "apo_zero_unpaired(reference: base)", Some(0.5)),
    ("base", "pairs", "bco_pair(reference: base)", Some(2.0 * LN_2)),
    ("base", "pairs", "pre_dpo(guide: base)", Some(LN_2)),
    ("base", "askeds", "sr_dpo(reference: base)", None),
    ("base", "askeds", "sr_ipo(reference: base)", None),
    ("base", "pairs", "mrpo(references: [base, start])", None),
    ("base", "improved", "srpo(reference: base)", Some(0.375)),
    // log(0.75 / 0.25)^2
    ("base", "pairs", "irepo(reference: base)", Some(1.206_948_9)),
    ("base", "negative", "d2o(harmful: base, helpful: base)", Some(LN_2)),
    ("base", "answered", "typo(reference: base)", None),
    ("base", "answered", "hypo(reference: base)", Some(LN_2)),
    ("base", "ranked", "gepo(reference: base)", Some(LN_2)),
    ("base", "pairs", "irpo(reference: base)", None),
    ("base", "pairs", "spin(reference: base)", Some(LN_2)),
    ("base", "pairs", "sparsepo(reference: base, l1_u: 0.0, l1_d: 0.0)", Some(LN_2)),
    ("base with head()", "pairs", "sparsepo(reference: base, mask: learned)", None),
    ("base", "rated", "pmpo_em(reference: base)", None),
    ("base", "pairs", "relative_po(reference: base, encoder: base)", Some(LN_2)),
    ("base", "rated", "relative_po_unpaired(reference: base, encoder: base)", Some(LN_2)),
    // sigmoid(0.5) log 2
    ("base", "pairs", "optune(reference: base)", Some(0.622_459_3 * LN_2)),
    ("base", "pairs", "genius_aco(reference: base)", Some(LN_2)),
    ("base", "ranked", "exo_reward(reference: base)", None),
    ("base", "ranked", "dno(reference: base)", Some(LN_2)),
    ("base", "pairs", "spo_sequential(chain: [start, base])", None),
    ("base with head()", "ranked", "token_guidance()", None),
    ("base", "pairs", "guided_sft(.chosen, guide: judge)", None),
    ("base with pooled_head(width: 8)", "pairs", "dph_separable()", None),
    ("base with pooled_head(width: 8)", "pairs", "dph_contrastive()", None),
    ("domain_critic(16)", "domains", "critic_step(encoder: base)", None),
    ("judge", "domains", "dial(critic: critic)", None),
    ("base", "ranked", "tpo_tree(reference: base, steps: 4)", None),
    ("base", "ranked", "ampo(encoder: base, k: 2)", None),
    ("base", "ranked", "ampo(encoder: base, choose: (r, p, k) => covering(r, p, k, n: 4), k: 2)", None),
    ("base with classifier(classes: 3)", "degraded", "dpo(reference: base) + 0.1 * spo_degree()", None),
    ("base", "pairs", "gpo(reference: base)", Some(1.0)),
    ("base", "pairs", "dpop(reference: base)", Some(LN_2)),
    ("base", "pairs", "bpo(behavior: base, beta: 0.3)", Some(LN_2)),
    ("base", "answered", "spac(reference: base)", Some(LN_2)),
    ("base", "ranked", "best_and_worst_dpo(reference: base)", Some(LN_2)),
];

const SLOTS: &str = "optimizer adamw(lr: 1e-3); batch 12 examples; steps 2";

#[test]
fn losses_of_preferences_train_from_where_they_must() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!(
        "{HEAD}pipeline {{\n  let base = train start {{ on pairs; loss sft(.chosen); {SLOTS} }}\n  \
         let judge = train base with head() {{ on pairs; loss bradley_terry(); {SLOTS} }}\n  \
         let critic = train domain_critic(16) {{ on domains; loss critic_step(encoder: base); {SLOTS} }}\n"
    );
    for (i, (policy, data, loss, _)) in STAGES.iter().enumerate() {
        writeln!(text, "  let p{i} = train {policy} {{ on {data}; loss {loss}; {SLOTS} }}\n  plot history(p{i}).loss")
            .unwrap();
    }
    text.push_str("}\n");
    run_in(folder.path(), &text, &[], &Cpu::new(2), &mut Kept::default());
    let all = lines(folder.path());
    for (i, (_, _, loss, first)) in STAGES.iter().enumerate() {
        let name = format!("p{i}");
        // Stages that are equal are one, under its first name.
        let name = if loss.starts_with("critic_step") { "critic" } else { &name };
        let steps: Vec<_> = all.iter().filter(|line| line["stage"] == *name).collect();
        assert_eq!(steps.len(), 2, "{loss}");
        for step in &steps {
            let (value, norm) = (step["loss"].as_f64().unwrap(), step["grad_norm"].as_f64().unwrap());
            assert!(value.is_finite() && norm > 0.0 && norm.is_finite(), "{loss}: {value}, gradient {norm}");
        }
        let value = steps[0]["loss"].as_f64().unwrap();
        assert!(first.is_none_or(|first| (value - first).abs() < 1e-5), "{loss} begins at {value}");
        assert_ne!(steps[0]["loss"], steps[1]["loss"], "{loss}");
    }
}

/// Metrics of preferences agree with each other, and an interval of a mean over rows holds it.
#[test]
fn measures_of_preferences_agree() {
    let folder = tempfile::tempdir().unwrap();
    let report = run_in(folder.path(), MEASURES, &[], &Cpu::new(2), &mut Kept::default());
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
}

const MEASURES: &str = r#"
edition 2026
use std.nets { gpt }
use std.data { Pair }
use std.losses { sft, dpo, bradley_terry }
use std.metrics { reward_accuracy, reward_margin, implied_rewards, implied_margin, kl, k1, win_rate_by, bootstrap, pair_accuracy }
use std.optimizers { adamw }

data pairs = for a in 0..6, b in 0..4 { Pair { prompt: """{a}+{b}=""", chosen: """{a + b}""", rejected: """{a + b + 10}""" } }
policy start = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes)

pipeline {
  let base = train start { on pairs; loss sft(.chosen); optimizer adamw(lr: 3e-3); batch 12 examples; steps 6 }
  let tuned = train base { on pairs; loss dpo(reference: base); optimizer adamw(lr: 3e-3); batch 12 examples; steps 8 }
  let judge = train base with head() { on pairs; loss bradley_terry(); optimizer adamw(lr: 3e-3); batch 12 examples; steps 6 }
  let both = implied_rewards(tuned, pairs, reference: base)
  let gain = bootstrap(pairs |> map(x => implied_margin(tuned, base, x)), rounds: 200)
  let paired = bootstrap(pairs |> map(x => implied_margin(tuned, base, x) - implied_margin(base, base, x)), rounds: 200)
  assert near(both.chosen - both.rejected, reward_margin(tuned, pairs, reference: base), 1e-6)
  assert near(gain.mean, reward_margin(tuned, pairs, reference: base), 1e-6)
  assert gain.low < gain.mean and gain.mean < gain.high
  assert near(gain.low, paired.low, 1e-6) and gain.low > 0
  assert near(win_rate_by(judge, pairs, .chosen, .rejected), pair_accuracy(judge, pairs), 1e-9)
  assert near(kl(base, base, pairs, .chosen), 0, 1e-6) and kl(tuned, base, pairs, .chosen) > 0
  assert near(kl(tuned, base, pairs, .rejected, by: k1), -kl(base, tuned, pairs, .rejected, by: k1), 1e-6)
  assert reward_accuracy(tuned, pairs, reference: base) > 0.5
}
"#;
