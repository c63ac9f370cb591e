//! Small random models: every logit, the loss, and the norm of each parameter's gradient.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use align_compiler::stage::evaluate::EvaluateStage;
use align_compiler::stage::graph::StageKind;
use align_compiler::stage::items::pack;
use align_runtime::engine::{Bindings, Cpu, Engine, Slot};
use align_runtime::evaluate::Evaluation;
use align_runtime::policy::load;
use align_runtime::train::Launch;
use serde_json::{Value, json};

use crate::ids::{self, Ids};

const NAMES: [&str; 6] = ["llama", "llama_untied", "mistral", "qwen2", "qwen3", "gpt2"];

/// The model's folder with a tokenizer: 97 words.
fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(crate::data().join("tiny").join(name).join(file), folder.path().join(file)).unwrap();
    }
    let mut vocab: serde_json::Map<String, Value> = (0..97).map(|id| (format!("t{id}"), json!(id))).collect();
    vocab.remove("t0");
    vocab.insert("a".into(), json!(0));
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "a"}
    });
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    folder
}

fn sequences(stored: &Value) -> Vec<Vec<u32>> {
    stored["sequences"].as_array().unwrap().iter().map(|sequence| crate::ids(&sequence["ids"])).collect()
}

#[test]
fn loss_and_gradients() {
    let engine = Cpu::new(2);
    for name in NAMES {
        let folder = folder(name);
        let stored = crate::json(&format!("tiny/{name}/logits.json"));
        ids::with(folder.path().to_str().unwrap(), 2, |graph| {
            let node = ids::train(graph);
            let model = node.policy.model.clone().unwrap();
            let weights = load(&node.policy, &*model, name).unwrap();
            let rows = sequences(&stored).into_iter().map(|ids| (ids[..1].to_vec(), ids[1..].to_vec())).collect();
            let items = Ids::new(&node.stage.layout, rows).all();
            let packed = pack(&node.stage.layout, &items);
            let mut launch = Launch::new(&engine, &node.stage.step).unwrap();
            let (scale, term) = (1.0 / 21.0f32, &node.stage.terms[0].name);
            let scale_name = format!("scale.{term}");
            let names: Vec<String> = node.stage.weights.iter().map(|w| format!("grad.{}", w.path)).collect();
            let mut gradients: Vec<Vec<f32>> = node.stage.weights.iter().map(|w| vec![0.0; w.len]).collect();
            let mut bindings = Bindings::new();
            bindings.insert(&scale_name, Slot::Floats(std::slice::from_ref(&scale)));
            bindings.extend(node.policy.weights.iter().map(|w| (&*w.path, Slot::Floats(weights.get(w)))));
            for (name, gradient) in names.iter().zip(&mut gradients) {
                bindings.insert(name, Slot::Write(gradient));
            }
            launch.run(&packed, bindings).unwrap();
            let (loss, count) = (launch.scalar(&format!("loss.{term}")), launch.scalar(&format!("count.{term}")));
            let want = stored["loss"].as_f64().unwrap();
            assert_eq!(count, 21.0);
            assert!((loss / 21.0 - want).abs() <= 1e-4 * want, "{name}: loss {}, not {want}", loss / 21.0);
            let norms = stored["grad_norms"].as_object().unwrap();
            assert_eq!(norms.len(), node.stage.weights.len());
            for (weight, gradient) in node.stage.weights.iter().zip(&gradients) {
                let at = node.policy.weights.iter().position(|w| w.path == weight.path).unwrap();
                let tensor = &node.policy.stored[at].as_ref().unwrap().tensor;
                let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                let want = norms[tensor].as_f64().unwrap();
                assert!((norm - want).abs() <= 1e-4 * want, "{name}: {tensor} {norm}, not {want}");
            }
        });
    }
}

/// Every token of the vocabulary after every prefix.
#[test]
fn logits() {
    let engine: &dyn Engine = &Cpu::new(2);
    for name in NAMES {
        let folder = folder(name);
        let stored = crate::json(&format!("tiny/{name}/logits.json"));
        ids::with(folder.path().to_str().unwrap(), 2, |graph| {
            let stage = graph.stages().find_map(|(_, stage)| match &stage.kind {
                StageKind::Evaluate(found) => Some(&**found),
                _ => None,
            });
            let stage = stage.expect("there is an evaluation");
            let used = &stage.policies[0];
            let weights = load(&used.policy, &**used.policy.model.as_ref().unwrap(), name).unwrap();
            let (mut rows, mut want) = (vec![], vec![]);
            for (ids, sequence) in sequences(&stored).iter().zip(stored["sequences"].as_array().unwrap()) {
                for (place, logits) in sequence["logits"].as_array().unwrap().iter().enumerate() {
                    let logits: Vec<f64> = logits.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
                    let total = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
                    for (token, logit) in logits.iter().enumerate() {
                        rows.push((ids[..=place].to_vec(), vec![token as u32]));
                        want.push(logit - total);
                    }
                }
            }
            let items = Rc::new(Ids::new(&stage.layout, rows));
            let stage = EvaluateStage { items, ..stage.clone() };
            let spec = &used.policy.weights;
            let weight = |path: &str| {
                let path = path.strip_prefix(used.prefix.as_str()).unwrap_or(path);
                spec.iter().find(|w| w.path == path).map(|w| weights.get(w))
            };
            let tight =
                Evaluation::new(engine, &stage).unwrap().run(&weight, 100, &AtomicBool::new(false)).unwrap_err();
            assert!(tight.to_string().contains("an evaluation of this row does not fit in memory"), "{tight}");
            let found = Evaluation::new(engine, &stage)
                .unwrap()
                .run(&weight, 1 << 28, &AtomicBool::new(false))
                .unwrap()
                .unwrap();
            let far = found.answers[0].iter().zip(&want).map(|(row, want)| (row[0] - want).abs()).fold(0.0, f64::max);
            println!("{name}: log-probs of {} tokens within {far:.1e}", want.len());
            assert!(far <= 1e-4, "{name}: {far}");
        });
    }
}
