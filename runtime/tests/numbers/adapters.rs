//! Adapters that the library PEFT has made (`scripts/peft_round_trip.py --fixtures`), and what it says of texts with them.

use std::path::Path;

use align_runtime::engine::Cpu;
use align_runtime::score::Scorer;
use align_runtime::world::Files;
use serde_json::{Value, json};

use crate::tiny::{answers, folder};

/// An adapter that names this model.
fn adapter(name: &str, base: &Path) -> tempfile::TempDir {
    let (from, to) = (crate::data().join("peft").join(name), tempfile::tempdir().unwrap());
    let file = "adapter_model.safetensors";
    std::fs::copy(from.join(file), to.path().join(file)).unwrap();
    let mut config = crate::json(&format!("peft/{name}/adapter_config.json"));
    config["base_model_name_or_path"] = json!(base);
    std::fs::write(to.path().join("adapter_config.json"), config.to_string()).unwrap();
    to
}

/// What a policy says of replies that follow one token each.
fn said(policy: &str, what: &str, sequences: &[Value]) -> Vec<Vec<f64>> {
    let text = format!(
        "record Row {{ prompt: Prompt, reply: Reply[prompt] }}\n\
         policy adapted = {policy}\n\
         data rows = for i in 0..1 {{ Row {{ prompt: \"\"\"a\"\"\", reply: \"\"\"b\"\"\" }} }}\n\
         pipeline {{ show rows |> map(x => {{ found: {what}(adapted, x.reply) }}) }}\n"
    );
    let ids = sequences.iter().map(|sequence| crate::ids(&sequence["ids"]));
    let rows = ids.map(|ids| (ids[..1].to_vec(), ids[1..].to_vec())).collect();
    crate::ids::of(&text, |graph| answers(graph, rows)).remove(0)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn far(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Plain, with rank-stabilised scaling on all modules, with a norm that was trained beside one layer, and on matrices that are
/// stored the other way round.
#[test]
fn adapters_on_small_models() {
    let stored = crate::json("peft/expected.json");
    for (name, base) in [("plain", "llama"), ("rslora", "llama"), ("norm", "llama"), ("gpt2", "gpt2")] {
        let base = folder(base);
        let model = base.path().display();
        let alone = said(&format!("load(\"{model}\")"), "logp", stored[name].as_array().unwrap());
        let folder = adapter(name, base.path());
        let dir = folder.path().display();
        let sequences = stored[name].as_array().unwrap();
        for policy in [
            format!("load(\"{dir}\")"),
            format!("load(\"{model}\") with adapter(\"{dir}\")"),
            format!("merged(load(\"{dir}\"))"),
        ] {
            let found = said(&policy, "logp", sequences);
            for ((found, sequence), alone) in found.iter().zip(sequences).zip(&alone) {
                let gap = far(found, &numbers(&sequence["logps"]));
                assert!(gap <= 1e-4, "{policy}: {gap}");
                assert!(far(found, alone) > 0.05, "{name} changes nothing");
            }
        }
    }
}

/// The adapter holds the head, which the model does not have; one with a head that is drawn is given it too.
#[test]
fn a_reward_model_of_an_adapter() {
    let base = folder("llama");
    let folder = adapter("score", base.path());
    let (model, dir) = (base.path().display(), folder.path().display());
    let stored = crate::json("peft/expected.json");
    let sequences = stored["score"].as_array().unwrap();
    for policy in [
        format!("load(\"{dir}\")"),
        format!("load(\"{model}\") with adapter(\"{dir}\")"),
        format!("load(\"{model}\") with head(seed: 3) with adapter(\"{dir}\")"),
        format!("merged(load(\"{dir}\"))"),
    ] {
        for (found, sequence) in said(&policy, "score", sequences).iter().zip(sequences) {
            let want = sequence["score"].as_f64().unwrap();
            assert!((found[0] - want).abs() <= 1e-4, "{policy}: {found:?}, not {want}");
        }
    }
    // Another head on top is a new one.
    let other = said(&format!("load(\"{dir}\") with head(seed: 3)"), "score", sequences);
    assert!((other[0][0] - sequences[0]["score"].as_f64().unwrap()).abs() > 1e-2, "{other:?}");
}

#[test]
fn an_adapter_on_a_real_model() {
    let Some(model) = crate::smollm() else { return };
    let folder = adapter("smollm2", Path::new(&model));
    let world = Files::new(".");
    let open = |model: &str| Scorer::open(&world, model, 2 << 30).unwrap_or_else(|error| panic!("{error}"));
    let engine = Cpu::new(2);
    let (adapted, alone) = (open(folder.path().to_str().unwrap()), open(&model));
    for text in crate::json("peft/expected.json")["smollm2"].as_array().unwrap() {
        let part = |name: &str| text[name].as_str().unwrap();
        let scored = |scorer: &Scorer| {
            scorer.score(&engine, part("prompt"), part("reply")).unwrap_or_else(|error| panic!("{error}")).logps
        };
        let (found, alone, want) = (scored(&adapted), scored(&alone), numbers(&text["logps"]));
        let gap = far(&found, &want);
        assert!(gap <= 1e-3 && far(&alone, &want) > 0.05, "{gap}");
    }
}
