//! The graphs of a step, run on the interpreter.

use super::*;
use crate::batch::training::{DRAW_KEY, DRAW_ROW};
use crate::interp::{self, Named, Precision};
use crate::philox::Philox;
use crate::stage::items::{ItemValue, Packed, pack};
use crate::tensor::graph::is_ragged;
use crate::tensor::{Axis, DType, Op};

/// The weights as a stage starts with them.
pub(super) fn weights(node: &TrainNode) -> Named {
    let mut random = Philox::new(3, 0);
    let all = node.policy.weights.iter().zip(&node.policy.starts);
    all.map(|(weight, start)| {
        let data = (0..weight.len).map(|_| start.dist.draw(&mut random)).collect();
        (weight.path.clone(), interp::Value::floats(weight.axes.clone(), data))
    })
    .collect()
}

fn given(node: &TrainNode, packed: &Packed) -> Named {
    let mut given = Named::new();
    let layout = &node.stage.layout;
    let planted = layout.forests.iter().flat_map(|forest| forest.inputs(layout));
    for input in layout.inputs.iter().cloned().chain(planted) {
        let ragged = input.axes.iter().rev().find(|a| is_ragged(a));
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

/// What states of losses hold before the step.
pub(super) const STATE: f64 = 0.25;

/// One micro-batch of the first rows on the interpreter: all outputs.
pub(super) fn run(node: &TrainNode, rows: std::ops::Range<usize>, weights: &Named, scales: &[(&str, f64)]) -> Named {
    run_keyed(node, rows, weights, scales, 1)
}

/// The same in a step whose draws have this key.
pub(super) fn run_keyed(
    node: &TrainNode,
    rows: std::ops::Range<usize>,
    weights: &Named,
    scales: &[(&str, f64)],
    key: i32,
) -> Named {
    let items: Vec<_> = rows.clone().map(|row| node.items.item(row).unwrap()).collect();
    let packed = pack(&node.stage.layout, &items);
    let mut given = given(node, &packed);
    let ints = |axes, data| interp::Value { axes, dtype: DType::Int, data };
    given.insert(DRAW_KEY.into(), ints(vec![], vec![f64::from(key)]));
    given.insert(DRAW_ROW.into(), ints(vec![Axis::item()], rows.map(|row| row as f64).collect()));
    given.extend(weights.clone());
    for state in &node.stage.states {
        given.insert(format!("state.{}", state.name), interp::Value::number(STATE));
    }
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
    // Worked out before the stage, it is no policy of it.
    graph(&program(DEMOS, slots, ""), |graph| {
        assert_eq!(train(graph, "tuned").stage.frozen.len(), 0);
        let [tuned, reference] = ["tuned", "tuned.reference"].map(|name| graph.find(name).unwrap());
        assert_eq!(graph.input(tuned, Reads::Kept), Some(reference));
        assert_eq!(graph.input(reference, Reads::Frozen(0)), graph.input(tuned, Reads::Policy));
    });
    let passes = Passes::without(["reference"]).unwrap();
    let built = built_with(&program(DEMOS, slots, ""), &Memory::default(), &[], passes, |graph| {
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
    built.unwrap();
}

/// What the batch pass cannot do is shown where the program asks for it, not where the loss is named.
#[test]
fn limits_of_packing_are_shown_where_they_arise() {
    let world = Memory::default();
    let found = |body: &str| {
        let odd = format!("loss odd(p: Policy, reply: Reply) per example {{\n  let all = logp(p, reply)\n  {body}\n}}");
        let text = program(DEMOS, &SLOTS.replace("sft(.reply)", "odd(.reply)"), "");
        let text = text.replace("data demos", &format!("{odd}\ndata demos"));
        let (program, _) = load("main.align", &text, &world);
        let error = build(&program, &BuildOptions::default(), &world).map(|_| ()).unwrap_err().remove(0);
        format!("{} {} | {}", error.code, error.message, program.sources.slice(error.labels[0].0))
    };
    assert_eq!(
        found("let kept = all[time: all > -1]\n  -sum[time](kept)"),
        "E0407 places of time that are left out by a Bool are not packed yet | all[time: all > -1]"
    );
}
