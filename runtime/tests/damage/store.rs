//! Checkpoints and kept results.

use align_runtime::store::checkpoint::{self, Plan, State};
use align_runtime::store::{Made, Store};
use serde_json::{Value, json};

use crate::guard::case;
use crate::{Draw, odd};

#[test]
fn damaged_checkpoints_and_results() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0..100).map(|i| i as f32).collect();
    let plan = Plan { engine: "cpu".into(), threads: 2, memory: 1 << 30 };
    let state =
        State { step: 3, epoch: 1, taken: 3, num_tokens: 99, metrics: 7, best: Some(0.5), updates: vec![], plan };
    checkpoint::save(folder.path(), &state, &[("weights", &values), ("m", &values)]).unwrap();
    let store = folder.path().join("store");
    let entry = Store::new(&store).entry("abc");
    entry.finish("tuned", &[("weights", &values)], json!({"steps": 7}), &Made::default()).unwrap();
    let files = ["3.json", "3.safetensors", "store/abc/result.json", "store/abc/result.safetensors"];
    let mut found = 0;
    for seed in 0..240u64 {
        let mut draw = Draw::new(5000 + seed);
        let name = draw.one(&files);
        let path = folder.path().join(name);
        let good = std::fs::read(&path).unwrap();
        let bad = match serde_json::from_slice::<Value>(&good) {
            Ok(json) if seed % 2 == 0 => odd(&json, &mut draw).to_string().into_bytes(),
            _ => draw.damaged(&good, usize::MAX),
        };
        std::fs::write(&path, bad).unwrap();
        let said = case(&format!("store {seed}: {name}"), || {
            checkpoint::load(folder.path(), 3).map_err(|e| e.to_string())?;
            Store::new(&store).entry("abc").read().map(drop).map_err(|e| e.to_string())
        });
        if let Some(said) = said {
            let stem = name.rsplit_once('/').map_or(*name, |(_, file)| file).split_once('.').unwrap().0;
            assert!(said.contains(&format!("{stem}.")), "{name}: {said}");
            found += 1;
        }
        std::fs::write(&path, good).unwrap();
    }
    assert!(found > 150, "{found} of 240 are errors");
}
