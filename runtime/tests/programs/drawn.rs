//! Groups and rollouts with the log-probs that their tokens were drawn with: numbers for each token of each reply of a row.

use std::fmt::Write as _;

use align_runtime::engine::Cpu;

use crate::{Kept, lines, run_in};

const HEAD: &str = r#"
edition 2026
use std.nets { gpt }
use std.data { Drawn, Group, Rollout, Scored, Valued }
use std.groups { best_and_worst, right_and_wrong, best, flatten, balance, mixed }
use std.losses { dpo, sft, copg, aligndistil, minillm, rwr }
use std.rl {
  grpo, dapo, bnpo, dr_grpo, cispo, gspo, sapo, rloo, reinforce, relative, no_scale, batch_std, ppo_clip, ppo,
  value_error, nft, disco, gpg, p3o, gvpo, crpg, codpo, crraft, grao, rpg, discovered_po, critical_kl, shiq
}
use std.optimizers { adamw }

fn said(a: Int, b: Int) -> Text = """{a + 7 * b * b * b}"""
fn numbers(text: Text, first: Float) = range(length(text) + 1) |> map(t => first - 0.1 * t)
fn centred(rewards) = rewards |> map(r => r - mean(rewards))

data groups = for a in 0..12 {
  let n = 2 + a % 3
  Group {
    prompt: """{a}?""", reply: range(n) |> map(b => said(a, b)), logp: range(n) |> map(b => numbers(said(a, b), -5.0 - 0.1 * b))
    finished: range(n) |> map(b => true), reward: range(n) |> map(b => if a % 5 == 0 then 0.5 else b % 2)
  }
}
data rollouts = for a in 0..12 {
  Rollout { prompt: """{a}?""", reply: said(a, 2), logp: numbers(said(a, 2), -5.0), finished: true, reward: numbers(said(a, 2), 0.3) }
}
data attempts = for a in 0..12 {
  Drawn { prompt: """{a}?""", reply: said(a, 2), logp: numbers(said(a, 2), -5.0), finished: true, reward: 0.1 * a }
}
data valued = rollouts |> map(x =>
  Valued { prompt: x.prompt, reply: x.reply, logp: x.logp, advantage: x.reward |> map(r => r - 0.2), returns: x.reward })
record Judged {
  prompt: Prompt, reply: Reply[prompt] each sample, logp: Float each [sample, time], reward: Float each sample
  judged: Float each sample, baseline_reward: Float, answer: Reply[prompt], answer_reward: Float
}
data judged = groups |> map(g => Judged {
  prompt: g.prompt, reply: g.reply, logp: g.logp, reward: g.reward, judged: range(length(g.reply)) |> map(i => i % 2), baseline_reward: 0.25
  answer: "12", answer_reward: 1.0
})
data scored = for a in 0..12 { Scored { prompt: """{a}?""", reply: said(a, 1), reward: 0.1 * a } }
record Token { prompt: Prompt, reply: Reply[prompt], logp: Float each time, advantage: Float }
data tokens = groups |> flat_map(g => {
  let advantages = centred(g.reward)
  range(length(g.reply)) |> map(i => Token { prompt: g.prompt, reply: g.reply[i], logp: g.logp[i], advantage: advantages[i] })
})

policy start = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes, context: 32)
"#;

const SLOTS: &str = "optimizer adamw(lr: 1e-3); batch 100 examples; steps 2";

/// What is trained, its data and its loss.
const STAGES: [(&str, &str, &str); 42] = [
    ("start", "groups", "grpo()"),
    ("start", "groups", "grpo(reference: base, beta: 0.04, entropy_coef: 0.01, scale_rewards: batch_std)"),
    ("start", "groups", "dapo()"),
    ("start", "groups", "bnpo()"),
    ("start", "groups", "dr_grpo(max_completion_length: 8)"),
    ("start", "groups", "cispo()"),
    ("start", "groups", "gspo()"),
    ("start", "groups", "sapo()"),
    ("start", "groups", "rloo(reference: base)"),
    ("start", "groups", "rloo(beta: 0.0, normalize_advantages: true)"),
    ("start", "groups", "reinforce(reference: base, beta: 0.05)"),
    ("start", "groups", "reinforce(baseline: relative)"),
    ("start", "groups |> filter(mixed)", "grpo()"),
    ("start", "valued", "ppo_clip()"),
    ("critic", "valued", "value_error()"),
    ("start", "groups |> best_and_worst", "dpo(reference: base)"),
    ("start", "groups |> right_and_wrong", "dpo(reference: base)"),
    ("start", "groups |> best", "2.0 * sft(.reply)"),
    ("start", "groups |> flatten", "sft(.reply)"),
    ("start", "groups |> flatten |> balance(.reward)", "sft(.reply)"),
    ("start", "(groups |> best) ++ (groups |> flatten)", "sft(.reply)"),
    ("critic", "attempts", "ppo()"),
    ("critic", "attempts", "ppo(reference: base, kl_coef: 0.05, entropy_coef: 0.01, lam: 1.0, gamma: 0.99)"),
    ("start", "groups", "nft()"),
    ("start", "groups", "disco()"),
    ("start", "groups", "gpg()"),
    ("start", "groups", "p3o(reference: base)"),
    ("start", "groups", "copg(reference: base)"),
    ("start", "groups", "gvpo(reference: base)"),
    ("start", "judged", "crpg(reference: base)"),
    ("start", "judged", "codpo(reference: base)"),
    ("start", "judged", "crraft(reference: base)"),
    ("start", "judged", "grao()"),
    ("start", "valued", "rpg()"),
    ("start", "valued", "discovered_po()"),
    ("start", "valued", "ppo_clip() + critical_kl(reference: base)"),
    ("start", "rollouts", "shiq(reference: base)"),
    ("start", "rollouts", "minillm(teacher: base)"),
    ("start", "rollouts", "aligndistil(tuned: base, turned: start)"),
    ("start", "scored", "rwr()"),
    // Two ways to say one thing.
    ("start", "groups", "dapo(scale_rewards: no_scale, epsilon_high: 0.2)"),
    ("start", "tokens", "ppo_clip()"),
];

#[test]
fn losses_of_drawn_replies_train() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!(
        "{HEAD}pipeline {{\n  let base = train start {{ on groups |> best; loss sft(.reply); {SLOTS} }}\n  let critic = base with head()\n"
    );
    for (i, (policy, data, loss)) in STAGES.iter().enumerate() {
        writeln!(text, "  let p{i} = train {policy} {{ on {data}; loss {loss}; {SLOTS} }}\n  plot history(p{i}).loss")
            .unwrap();
    }
    text.push_str("}\n");
    run_in(folder.path(), &text, &[], &Cpu::new(2), &mut Kept::default());
    let all = lines(folder.path());
    let mut losses = vec![];
    for (i, (_, _, loss)) in STAGES.iter().enumerate() {
        let steps: Vec<_> = all.iter().filter(|line| line["stage"] == *format!("p{i}")).collect();
        assert_eq!(steps.len(), 2, "{loss}");
        for step in &steps {
            let (value, norm) = (step["loss"].as_f64().unwrap(), step["grad_norm"].as_f64().unwrap());
            assert!(value.is_finite() && norm > 0.0 && norm.is_finite(), "{loss}: {value}, gradient {norm}");
        }
        losses.push(steps.iter().map(|step| step["loss"].as_f64().unwrap()).collect::<Vec<_>>());
    }
    let [.., one, other] = &losses[..] else { panic!("two stages") };
    assert!(one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-6), "{one:?}, {other:?}");
    let first = all.iter().find(|line| line["stage"] == "p0").expect("a step");
    for name in ["reward", "reward_std", "frac_reward_zero_std", "entropy", "clip_ratio.low", "clip_ratio.high"] {
        assert!(first[name].as_f64().is_some_and(f64::is_finite), "{name}: {first}");
    }
}
