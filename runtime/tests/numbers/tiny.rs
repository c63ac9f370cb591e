//! Small random models: every logit, the loss, and the norm of each parameter's gradient.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use align_compiler::kernel::Layouts;
use align_compiler::stage::evaluate::EvaluateStage;
use align_compiler::stage::graph::{PatchStage, PatchStart, Reads, StageGraph, StageId, StageKind};
use align_compiler::stage::items::pack;
use align_runtime::Error;
use align_runtime::engine::{Bindings, Cpu, Engine, Slot};
use align_runtime::evaluate::Evaluation;
use align_runtime::model::save::{Saved, save};
use align_runtime::model::{LoadedModel, Precision};
use align_runtime::policy::{load, merge, patch, with_stored};
use align_runtime::train::{Launch, Weights};
use serde_json::Value;

use crate::ids::{self, Ids};

pub const NAMES: [&str; 6] = ["llama", "llama_untied", "mistral", "qwen2", "qwen3", "gpt2"];

/// The model's folder with a tokenizer.
pub fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(crate::data().join("tiny").join(name).join(file), folder.path().join(file)).unwrap();
    }
    std::fs::copy(crate::data().join("tiny/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    folder
}

/// The same model in a GGUF file, whose numbers are as exact.
pub fn file(folder: &Path) -> PathBuf {
    let model = LoadedModel::open(folder).unwrap();
    let read: Vec<_> = model.tensors().map(|name| (name, model.tensor(name).unwrap())).collect();
    let tokenizer = model.tokenizer().unwrap();
    let saved = Saved {
        config: &model.config,
        tokenizer: Some(&*tokenizer),
        chat_template: None,
        precision: Precision::F32,
        tensors: read.iter().map(|(name, (shape, values))| (*name, shape.clone(), &values[..])).collect(),
    };
    let path = folder.join("model.gguf");
    save(&path, &saved).unwrap();
    path
}

pub fn sequences(stored: &Value) -> Vec<Vec<u32>> {
    stored["sequences"].as_array().unwrap().iter().map(|sequence| crate::ids(&sequence["ids"])).collect()
}

#[test]
fn loss_and_gradients() {
    for name in NAMES {
        let folder = folder(name);
        let stored = crate::json(&format!("tiny/{name}/logits.json"));
        ids::with(folder.path().to_str().unwrap(), 2, |graph| {
            let rows = sequences(&stored).into_iter().map(|ids| (ids[..1].to_vec(), ids[1..].to_vec())).collect();
            let (loss, count) = step(graph, rows, 1.0 / 21.0, &stored["grad_norms"], name);
            let want = stored["loss"].as_f64().unwrap();
            assert_eq!(count, 21.0);
            assert!((loss / 21.0 - want).abs() <= 1e-4 * want, "{name}: loss {}, not {want}", loss / 21.0);
        });
    }
}

/// The sum and the count of the loss of a training stage on some rows. Norms of gradients are compared.
pub fn step(graph: &StageGraph, rows: Vec<(Vec<u32>, Vec<u32>)>, scale: f32, norms: &Value, name: &str) -> (f64, f64) {
    let engine = Cpu::new(2);
    let node = ids::train(graph);
    let model = node.policy.model.clone().unwrap();
    let weights = load(&node.policy, &*model, name).unwrap();
    let items = Ids::new(&node.stage.layout, rows).all();
    let packed = pack(&node.stage.layout, &items);
    let mut launch = Launch::new(&engine, &node.stage.step, &Layouts::default()).unwrap();
    let term = &node.stage.terms[0].name;
    let scale_name = format!("scale.{term}");
    let names: Vec<String> = node.stage.weights.iter().map(|w| format!("grad.{}", w.path)).collect();
    let mut gradients: Vec<Vec<f32>> = node.stage.weights.iter().map(|w| vec![0.0; w.len]).collect();
    let mut bindings = Bindings::new();
    bindings.insert(&scale_name, Slot::Floats(std::slice::from_ref(&scale)));
    bindings.extend(weights.iter().map(|(weight, values)| (&*weight.path, Slot::Floats(values))));
    for (name, gradient) in names.iter().zip(&mut gradients) {
        bindings.insert(name, Slot::Write(gradient));
    }
    launch.run(&packed, bindings).unwrap();
    let norms = norms.as_object().unwrap();
    assert_eq!(norms.len(), node.stage.weights.len());
    for (weight, gradient) in node.stage.weights.iter().zip(&gradients) {
        let at = node.policy.weights.iter().position(|w| w.path == weight.path).unwrap();
        let tensor = &node.policy.stored[at].as_ref().unwrap().tensor;
        let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let want = norms[tensor].as_f64().unwrap();
        assert!((norm - want).abs() <= 1e-4 * want, "{name}: {tensor} {norm}, not {want}");
    }
    (launch.scalar(&format!("loss.{term}")), launch.scalar(&format!("count.{term}")))
}

/// Every token of the vocabulary after every prefix, in either form of a model.
#[test]
fn logits() {
    for name in NAMES {
        let folder = folder(name);
        let stored = crate::json(&format!("tiny/{name}/logits.json"));
        let found = log_probs(folder.path(), &stored, 1);
        let far = found.iter().map(|(_, got, want)| (got - want).abs()).fold(0.0, f64::max);
        println!("{name}: log-probs of {} tokens within {far:.1e}", found.len());
        assert!(far <= 1e-4, "{name}: {far}");
        let some: Vec<_> = found.into_iter().filter(|(place, ..)| place % 6 == 5).collect();
        assert!(log_probs(&file(folder.path()), &stored, 6) == some, "{name}: the file differs from the folder");
    }
}

/// The place, what is found and what is stored, for every token after every prefix, or only after some of them.
pub fn log_probs(model: &Path, stored: &Value, every: usize) -> Vec<(usize, f64, f64)> {
    let (mut rows, mut want) = (vec![], vec![]);
    for (ids, sequence) in sequences(stored).iter().zip(stored["sequences"].as_array().unwrap()) {
        let places = sequence["logits"].as_array().unwrap().iter().enumerate();
        for (place, logits) in places.filter(|(place, _)| place % every == every - 1) {
            let logits: Vec<f64> = logits.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
            let total = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
            for (token, logit) in logits.iter().enumerate() {
                rows.push((ids[..=place].to_vec(), vec![token as u32]));
                want.push((place, logit - total));
            }
        }
    }
    let found = ids::with(model.to_str().unwrap(), 2, |graph| answers(graph, rows));
    found[0].iter().zip(want).map(|(row, (place, want))| (place, row[0], want)).collect()
}

/// What the evaluation of a program answers for rows; in too little memory it says so.
pub fn answers(graph: &StageGraph, rows: Vec<(Vec<u32>, Vec<u32>)>) -> Vec<Vec<Vec<f64>>> {
    let engine: &dyn Engine = &Cpu::new(2);
    let stage = graph.stages().find_map(|(id, stage)| match &stage.kind {
        StageKind::Evaluate(found) => Some((id, &**found)),
        _ => None,
    });
    let (id, stage) = stage.expect("there is an evaluation");
    let used = &stage.policies[0];
    let weights = weights(graph, graph.input(id, Reads::Frozen(0)).unwrap());
    let items = Rc::new(Ids::new(&stage.layout, rows));
    let stage = EvaluateStage { items, ..stage.clone() };
    let weight = |path: &str| weights.get(path.strip_prefix(used.prefix.as_str()).unwrap_or(path)).map(Slot::Floats);
    let run = |memory| {
        Evaluation::new(engine, &stage, &Layouts::default()).unwrap().run(&weight, memory, &AtomicBool::new(false))
    };
    let tight = run(100).unwrap_err();
    assert!(tight.to_string().contains("an evaluation of this row does not fit in memory"), "{tight}");
    let found = run(1 << 28).unwrap().unwrap();
    let row = |output, row| found.answer(output, row).unwrap().to_vec();
    (0..found.answers.len()).map(|output| (0..stage.items.len()).map(|i| row(output, i)).collect()).collect()
}

/// The weights of a policy that no stage trains.
fn weights(graph: &StageGraph, stage: StageId) -> Weights {
    let below = || weights(graph, graph.input(stage, Reads::Policy).unwrap());
    match &graph.get(stage).kind {
        StageKind::Load(stage) => load(&stage.policy, &**stage.policy.model.as_ref().unwrap(), "m").unwrap(),
        StageKind::Patch(PatchStage { policy, start: PatchStart::Read(stored) }) => {
            with_stored(policy, &below(), stored).unwrap()
        }
        StageKind::Patch(PatchStage { policy, start: PatchStart::Drawn { seed } }) => patch(policy, &below(), *seed),
        StageKind::Merge(stage) => {
            let below = below();
            let mut read = |_, path: &str| below.share(path).ok_or_else(|| Error::new(path, "it is not there"));
            merge(&Cpu::new(1), stage, &mut read).unwrap()
        }
        _ => panic!("nothing here trains"),
    }
}
