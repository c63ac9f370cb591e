//! Windows narrower than a text, and positions that reach beyond those of training, as transformers has them.

use serde_json::{Value, json};

use crate::tiny::{file, folder, log_probs};

#[test]
fn logits() {
    let stored = crate::json("tiny/reach.json");
    let cases = stored["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 6);
    for (name, case) in cases {
        let folder = folder(case["base"].as_str().unwrap());
        let path = folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let change = case["change"].as_object().unwrap();
        config.as_object_mut().unwrap().extend(change.clone());
        std::fs::write(&path, config.to_string()).unwrap();
        let sequence = json!({ "sequences": [{ "ids": stored["ids"], "logits": case["logits"] }] });
        for (form, model, every) in [("folder", folder.path().to_path_buf(), 3), ("file", file(folder.path()), 7)] {
            let found = log_probs(&model, &sequence, every);
            let far = found.iter().map(|(_, got, want)| (got - want).abs()).fold(0.0, f64::max);
            println!("{name}: log-probs of {} tokens from the {form} within {far:.1e}", found.len());
            assert!(far <= 1e-4, "{name}: {far}");
        }
    }
}
