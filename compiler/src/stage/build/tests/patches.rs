//! Policies with patches: what is saved of them, and what they are merged to.

use super::*;
use crate::stage::graph::MergeStage;

/// A patch that says nothing of how it is stored.
const SCALED: &str = "
net scaled[..from, ..to]() {
  weight s: [..to] ~ ones
  product(x: Tensor[..from], w: Tensor[..from, ..to]) -> Tensor[..to] = s * sum[from](x * w)
}
";

fn with(rest: &str) -> String {
    program(DEMOS, SLOTS, rest).replace("pipeline {", &format!("{SCALED}pipeline {{"))
}

#[test]
fn what_cannot_be_saved_alone_or_merged() {
    let wrong = |rest: &str| error(&with(rest));
    let two = wrong("save start with lora() with lora(rank: 2), to: \"out\"");
    assert_eq!(two, "E0712 a folder holds one patch, this policy has lora, lora2");
    let plain = wrong("save start with scaled(), to: \"out\"");
    assert_eq!(plain, "E0712 the net `scaled` does not say how it is saved: it has no `adapter`");
    let plain = wrong("save merged(start with scaled()), to: \"out\"");
    assert_eq!(plain, "E0712 the net `scaled` cannot be merged: it has no method `merged`");
    // The embedding is the output head too.
    for rest in [
        "save start with lora(targets: [.embed]), to: \"out\"",
        "save merged(start with lora(targets: [.embed])), to: \"out\"",
    ] {
        let tied = wrong(rest);
        assert_eq!(tied, "E0712 `lora` is on decoder.embed, which the net also reads outside of products with it");
    }
    assert_eq!(wrong("save merged(demos), to: \"out\""), "E0301 `merged` takes a policy, this is a Data");
}

fn merge(graph: &StageGraph) -> (usize, Vec<(String, usize, Vec<(usize, String)>)>) {
    let found = graph.stages().find_map(|(_, stage)| match &stage.kind {
        StageKind::Merge(MergeStage { weights, graphs, .. }) => {
            Some((graphs.len(), weights.iter().map(|w| (w.path.clone(), w.graph.unwrap(), w.of.clone())).collect()))
        }
        _ => None,
    });
    found.expect("there is such a stage")
}

/// Layers share a graph; two patches are merged one after the other.
#[test]
fn equal_weights_are_merged_by_one_graph() {
    let text = with(
        "save merged(start with lora(targets: [.attend.q]) with lora(rank: 2, targets: [.attend.q, .attend.k])), to: \"out\"",
    );
    let text = text.replace("gpt(layers: 1,", "gpt(layers: 2,");
    graph(&text, |graph| {
        let (graphs, weights) = merge(graph);
        assert_eq!(graphs, 2, "{weights:?}");
        let places: Vec<(&str, usize, usize)> =
            weights.iter().map(|(path, graph, of)| (path.as_str(), *graph, of.len())).collect();
        let q = |i: usize| format!("decoder.blocks.{i}.attend.q");
        assert_eq!(places[0], (q(0).as_str(), 0, 5));
        assert_eq!(places[1], (q(1).as_str(), 0, 5));
        assert_eq!((places[2].1, places[2].2, places.len()), (1, 3, 4));
        assert_eq!(weights[1].2[0], (0, q(1)));
        assert!(weights[1].2.contains(&(0, format!("lora2.{}.b", q(1)))), "{:?}", weights[1].2);
    });
}

/// What is saved names the policy below the patch and what of it was trained since.
#[test]
fn the_base_is_what_the_patch_was_put_on() {
    let rest = "let patched = train tuned with lora(trains: [.norm]) {\n".to_string()
        + SLOTS
        + "\n}\nlet more = train patched { "
        + &SLOTS.replace('\n', "; ")
        + "; only .lora }\nsave more, to: \"out\"";
    graph(&program(DEMOS, SLOTS, &rest), |graph| {
        let found = graph.stages().find_map(|(_, stage)| match &stage.kind {
            StageKind::Save(save) => save.adapter.as_ref(),
            _ => None,
        });
        let adapter = found.expect("the patch is saved alone");
        assert_eq!(graph.get(adapter.base).name, "tuned");
        assert_eq!(adapter.changed, ["decoder.norm.scale"]);
    });
}
