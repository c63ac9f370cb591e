//! Arithmetic on policies: what is saved has the numbers that the arithmetic says, and loads again.

use super::*;
use std::collections::BTreeMap;

const HEAD: &str = r#"
use std.nets { gpt }
use std.data { Demo }
use std.losses { sft }
use std.optimizers { adamw }
use std.metrics { perplexity }
use std.merge { merge, ties, dare, task_arithmetic, soup, slerp }

data sums = for a in 0..6, b in 0..4 { Demo { prompt: """{a}+{b}=""", reply: """{a + b}""" } }
policy base = gpt(layers: 2, width: 8, heads: 2, inner: 8, tokenizer: bytes)
fn teach(p: Policy, seed: Int, n: Int = 4) = train p { on sums; loss sft(.reply); optimizer adamw(lr: 1e-2); batch 8 examples; steps n; seed seed }
fn ppl(p: Policy) -> Float = perplexity(p, sums, .reply)
fn doubled(w: Tensor[weight]) -> Tensor[weight] = 2 * w
fn shrunk(w: Tensor[weight], by: Float) -> Tensor[weight] = w * by / norm[weight](w)
"#;

type Tensors = BTreeMap<String, Vec<f32>>;

fn run_all(folder: &Path, pipeline: &str, engine: &dyn Engine) -> Kept {
    let mut kept = Kept::default();
    let report = run_in(folder, &format!("{HEAD}pipeline {{\n{pipeline}\n}}\n"), &[], engine, &mut kept);
    assert!(report.failed.is_empty(), "{report:?}");
    kept
}

/// The tensors of a saved model.
fn saved(folder: &Path, name: &str) -> Tensors {
    let model = LoadedModel::open(folder.join(name)).unwrap();
    model.tensors().map(|name| (name.to_string(), model.tensor(name).unwrap().1)).collect()
}

/// Each number of a policy is this function of those of others.
fn assert_is(found: &Tensors, of: &[&Tensors], f: &dyn Fn(&[f32]) -> f32) {
    for (name, values) in found {
        for (i, value) in values.iter().enumerate() {
            let inputs: Vec<f32> = of.iter().map(|of| of[name][i]).collect();
            let want = f(&inputs);
            assert!((value - want).abs() <= 1e-6 * (1.0 + want.abs()), "{name}: {value}, not {want}");
        }
    }
}

const TWO: &str = r#"
  let a = teach(base, 1)
  let b = teach(base, 2)
  save base, to: "OUT/base"; save a, to: "OUT/a"; save b, to: "OUT/b""#;

#[test]
fn sums_and_multiples() {
    let folder = tempfile::tempdir().unwrap();
    let text = TWO.to_string()
        + r#"
  let mean = 0.5 * a + 0.5 * b
  let moved = base + 0.3 * (a - base) - (b - base) / 4
  let numbers = b with (weights(a) - 2 * weights(base))
  let same = a - base + base
  save mean, to: "OUT/mean"; save moved, to: "OUT/moved"; save numbers, to: "OUT/numbers"; save same, to: "OUT/same"
  let taught = teach(mean, 3)
  show ppl(mean), ppl(taught)"#;
    let kept = run_all(folder.path(), &text, &Cpu::new(1));
    let [base, a, b, mean, moved, numbers, same] =
        ["base", "a", "b", "mean", "moved", "numbers", "same"].map(|name| saved(folder.path(), name));
    assert_is(&mean, &[&a, &b], &|x| 0.5 * x[0] + 0.5 * x[1]);
    assert_is(&moved, &[&base, &a, &b], &|x| x[0] + 0.3 * (x[1] - x[0]) - 0.25 * (x[2] - x[0]));
    assert_is(&numbers, &[&a, &base], &|x| x[0] - 2.0 * x[1]);
    assert_eq!(same, a);
    // What is saved is the policy: it loads again.
    let Finding::Shown(table) = &kept.found.iter().find(|f| matches!(f.1, Finding::Shown(_))).unwrap().1 else {
        panic!()
    };
    let again = run_all(folder.path(), "  show ppl(load(\"OUT/mean\"))", &Cpu::new(1));
    let Finding::Shown(loaded) = &again.found[0].1 else { panic!("{:?}", again.found) };
    assert_eq!(loaded.rows[0][0], table.rows[0][0]);
}

/// Functions of weights see one weight at a time, all its entries along one axis; parts come from other policies.
#[test]
fn functions_of_weights_and_parts() {
    let folder = tempfile::tempdir().unwrap();
    let text = TWO.to_string()
        + r#"
  save a with doubled(b), to: "OUT/doubled"
  save a with shrunk(weights(b), 0.5), to: "OUT/shrunk"
  save base with { "decoder.blocks.1": a.decoder.blocks[1], "decoder.norm": b.decoder.norm }, to: "OUT/parts"
  save merge(task_arithmetic(scale: 0.5), [a, b], base: base), to: "OUT/tasks"
  save soup([base, a, b]), to: "OUT/soup"
  save slerp(a, b, t: 0.25), to: "OUT/slerp"
  save merge(ties(density: 1.0), [a], base: base), to: "OUT/one"
  save merge(ties(density: 0.5), [a, b], base: base), to: "OUT/ties"
  save merge(dare(density: 0.5, seed: 7), [a, b], base: base), to: "OUT/dare"
  save merge(dare(density: 0.5, seed: 7), [a, b], base: base), to: "OUT/again"
  save merge(dare(density: 0.5, seed: 8), [a, b], base: base), to: "OUT/other""#;
    run_all(folder.path(), &text, &Cpu::new(1));
    let of = |name: &str| saved(folder.path(), name);
    let (base, a, b) = (of("base"), of("a"), of("b"));
    assert_is(&of("doubled"), &[&b], &|x| 2.0 * x[0]);
    assert_is(&of("tasks"), &[&base, &a, &b], &|x| x[0] + 0.5 * (x[1] - x[0]) + 0.5 * (x[2] - x[0]));
    assert_is(&of("soup"), &[&base, &a, &b], &|x| (x[0] + x[1] + x[2]) / 3.0);
    assert_is(&of("one"), &[&a], &|x| x[0]);
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    for (name, values) in &of("shrunk") {
        assert!((norm(values) - 0.5).abs() < 1e-5, "{name}");
    }
    for (name, values) in &of("parts") {
        let from = if name.contains(".1.") {
            &a
        } else if name.contains("layers.") {
            &base
        } else if name.contains("norm") {
            &b
        } else {
            &base
        };
        assert_eq!(values, &from[name], "{name}");
    }
    for (name, values) in &of("slerp") {
        let (x, y) = (&a[name], &b[name]);
        let dot: f64 = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        let c = (dot / (norm(x) * norm(y))).clamp(-1.0, 1.0);
        let arc = c.acos();
        let (p, q) = match c.abs() > 0.9995 {
            true => (0.75, 0.25),
            false => ((0.75 * arc).sin() / arc.sin(), (0.25 * arc).sin() / arc.sin()),
        };
        for (i, value) in values.iter().enumerate() {
            let want = p * f64::from(x[i]) + q * f64::from(y[i]);
            assert!((f64::from(*value) - want).abs() < 1e-5, "{name}: {value}, not {want}");
        }
    }
    for (name, values) in &of("ties") {
        let way = |of: &Tensors| -> Vec<f32> { of[name].iter().zip(&base[name]).map(|(x, y)| x - y).collect() };
        let keep = (values.len() as f64 * 0.5).round().max(1.0) as usize;
        let kept = [way(&a), way(&b)].map(|way| {
            let mut order: Vec<usize> = (0..way.len()).collect();
            order.sort_by(|i, j| way[*j].abs().total_cmp(&way[*i].abs()));
            let mut out = vec![0.0; way.len()];
            order[..keep].iter().for_each(|i| out[*i] = way[*i]);
            out
        });
        for (i, value) in values.iter().enumerate() {
            let sum = kept[0][i] + kept[1][i];
            let agree: Vec<f32> = kept.iter().map(|way| way[i]).filter(|x| x * sum > 0.0).collect();
            let mean = agree.iter().sum::<f32>() / agree.len().max(1) as f32;
            let want = base[name][i] + mean;
            assert!((value - want).abs() < 1e-5, "{name}: {value}, not {want}");
        }
    }
    let (dare, other) = (of("dare"), of("other"));
    assert_eq!(dare, of("again"));
    assert_ne!(dare, other);
    // Where both are dropped the base is left: about a quarter of all.
    let all = dare.iter().flat_map(|(name, values)| values.iter().zip(&base[name]));
    let (left, count) = all.fold((0, 0), |(left, count), (x, y)| (left + usize::from(x == y), count + 1));
    let share = left as f64 / f64::from(count);
    assert!((share - 0.25).abs() < 0.05, "{share}");
}

/// The interpreter works out the same.
#[test]
fn kernels_and_the_interpreter_agree_on_merges() {
    let text = TWO.to_string()
        + r#"
  save merge(dare(density: 0.5, seed: 7, how: ties(density: 0.5)), [a, b], base: base), to: "OUT/merged""#;
    let [fast, plain] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    run_all(fast.path(), &text, &Cpu::new(1));
    // From the weights that the kernels trained.
    std::fs::rename(fast.path().join("store"), plain.path().join("store")).unwrap();
    run_all(plain.path(), &text, &Interpreter);
    let [fast, plain] = [&fast, &plain].map(|folder| saved(folder.path(), "merged"));
    assert_is(&fast, &[&plain], &|x| x[0]);
}
