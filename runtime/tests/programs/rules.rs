//! Rules that are trained by training with them: a loss whose value is the course of an inner training.

use align_runtime::engine::Cpu;
use align_runtime::run::{Finding, Silent};

use crate::{Kept, lines, run_in};

const RATES: &str = r#"
edition 2026
use std.optimizers { adamw, sgd }
use std.toys { unrolled }

record Bowl { h: List[Float], start: List[Float] }
data bowls = for i in 0..24 { Bowl { h: [0.5 + 0.5 * uniform(), uniform(), 1.0], start: [normal(), normal(), normal()] } } |> split(train: 0.5, test: 0.5)

net rate() {
  axis one = 1
  weight log_lr: [one] ~ full(-5)
}

fn course(o: Optimizer, x: Bowl) = mean[step](unrolled(o, w => 0.5 * sum[a](tensor[a](x.h) * w^2), tensor[a](x.start), steps: 20))
loss finish(rule: rate, x: Bowl) per example = course(sgd(lr: exp(rule.log_lr[one: 0])), x)

pipeline {
  let start = rate()
  let learned = train start { on bowls.train; loss finish(); optimizer adamw(lr: 0.2); batch 12 examples; steps 60 }
  show mean(bowls.test |> map(x => finish(start, x))), mean(bowls.test |> map(x => finish(learned, x))), mean(bowls.test |> map(x => course(sgd(lr: 0.1), x)))
}
"#;

/// The gradient goes through twenty steps of an optimizer whose rate is the weight; what is learned holds for other tasks.
#[test]
fn a_learning_rate_is_learned_through_the_steps() {
    let (folder, mut kept) = (tempfile::tempdir().unwrap(), Kept::default());
    run_in(folder.path(), RATES, &[], &Cpu::new(2), &mut kept);
    let Finding::Shown(table) = &kept.found[0].1 else { panic!("{:?}", kept.found) };
    let cells: Vec<f64> = table.rows[0].iter().map(|cell| cell.parse().unwrap()).collect();
    let [before, after, guess] = cells[..] else { panic!("{cells:?}") };
    assert!(after < 0.2 * before && after < 0.6 * guess, "{cells:?}");
    let metrics = lines(folder.path());
    assert!(metrics[59]["loss"].as_f64().unwrap() < 0.3 * metrics[0]["loss"].as_f64().unwrap());
}

#[test]
#[should_panic(expected = "field h: the first row has 3 numbers, this one 2")]
fn lists_of_rows_have_one_length() {
    let folder = tempfile::tempdir().unwrap();
    let ragged = RATES.replace("uniform(), 1.0]", "uniform()] ++ (if i == 7 then [] else [1.0])");
    assert_ne!(ragged, RATES);
    run_in(folder.path(), &ragged, &[], &Cpu::new(2), &mut Silent);
}

const LEARNED: &str = r#"
edition 2026
use std.optimizers { small_fc_lopt, small_fc_rule, velo, velo_rule }
use std.toys { unrolled }

record Bowl { h: List[Float] }
data bowls = for _ in 0..1 { Bowl { h: [1.0, 0.25, 4.0] } }

net point() {
  axis a = 3
  weight x: [a] ~ full(1.5)
}

fn height(h: Tensor[a], x: Tensor[a]) -> Float = 0.5 * sum[a](h * x^2)
loss bowl(p: point, b: Bowl) per example = height(tensor[a](b.h), p.x)

pipeline {
  let rule = RULE
  let o = OPTIMIZER
  let end = train point() { on bowls; loss bowl(); optimizer o; batch 1 examples; steps 5; clip none }
  show mean(bowls |> map(b => unrolled(o, x => height(tensor[a](b.h), x), 1.5 * ones[a: 3], steps: 5)[step: 4]))
}
"#;

/// A rule that is a net moves the weights of a stage as it moves those of a training inside of a loss.
#[test]
fn a_net_is_an_optimizer_of_a_stage() {
    let both = [
        ("small_fc_rule()", "small_fc_lopt(rule, step_mult: 0.1)"),
        ("velo_rule(units: 4, rules: 2)", "velo(rule, units: 4)"),
    ];
    for (rule, optimizer) in both {
        let (folder, mut kept) = (tempfile::tempdir().unwrap(), Kept::default());
        let text = LEARNED.replace("RULE", rule).replace("OPTIMIZER", optimizer);
        run_in(folder.path(), &text, &[], &Cpu::new(2), &mut kept);
        let Finding::Shown(table) = &kept.found[0].1 else { panic!("{:?}", kept.found) };
        let inside: f64 = table.rows[0][0].parse().unwrap();
        let losses: Vec<f64> = lines(folder.path()).iter().map(|line| line["loss"].as_f64().unwrap()).collect();
        assert!((losses[4] - inside).abs() <= 2e-4 * inside.abs() && losses[4] != losses[0], "{losses:?}, {inside}");
    }
}
