//! Folders of adapters.

use std::path::Path;
use std::sync::LazyLock;

use align_runtime::model::Precision;
use align_runtime::model::adapter::save;
use align_runtime::token::{Bytes, Tokenizer};
use serde_json::{Map, Value, json};

use crate::guard::case;
use crate::models::{opened, tiny};
use crate::{Draw, odd};

const A: &str = "model.layers.0.self_attn.q_proj.lora_A.weight";
const B: &str = "model.layers.0.self_attn.q_proj.lora_B.weight";

fn settings() -> Value {
    json!({
        "peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "bias": "none", "use_dora": false,
        "use_rslora": false, "target_modules": ["q_proj"], "modules_to_save": null, "rank_pattern": {},
        "base_model_name_or_path": null, "task_type": "CAUSAL_LM", "inference_mode": true
    })
}

/// Writes an adapter of the tiny Llama, whose width is 32.
fn write(folder: &Path, tensors: &[(&str, Vec<usize>)]) {
    let sizes: Vec<usize> = tensors.iter().map(|(_, shape)| shape.iter().product()).collect();
    let zeros = vec![0.0; sizes.iter().copied().max().unwrap_or(0)];
    let tensors: Vec<_> =
        tensors.iter().zip(&sizes).map(|((name, shape), n)| (*name, shape.clone(), &zeros[..*n])).collect();
    save(folder, &Map::new(), &tensors, Precision::F32).unwrap();
    configure(folder, &settings());
}

fn configure(folder: &Path, config: &Value) {
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}

fn good() -> Vec<(&'static str, Vec<usize>)> {
    vec![(A, vec![2, 32]), (B, vec![32, 2])]
}

/// The tiny Llama with a tokenizer.
fn base() -> String {
    static BASE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(tiny("llama").join(name), folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("tokenizer.json"), Bytes.to_json()).unwrap();
        folder
    });
    BASE.path().display().to_string()
}

/// Puts an adapter on the tiny Llama.
fn put_on(folder: &Path) -> Result<(), String> {
    opened(&format!("load({:?}) with adapter({:?})", base(), folder.display().to_string()))
}

/// What a case that must fail says.
fn fails(name: &str, f: impl FnOnce() -> Result<(), String> + Send) -> String {
    case(name, f).unwrap_or_else(|| panic!("{name}: nothing is wrong with it"))
}

#[test]
fn damaged_adapters() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &good());
    put_on(folder.path()).unwrap();
    let path = folder.path().join("adapter_model.safetensors");
    let good = std::fs::read(&path).unwrap();
    let head = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let mut found = 0;
    for seed in 0..50u64 {
        std::fs::write(&path, Draw::new(seed).damaged(&good, head)).unwrap();
        if let Some(said) = case(&format!("adapter {seed}"), || put_on(folder.path())) {
            assert!(said.contains("adapter") || said.contains("tensor"), "{seed}: {said}");
            found += 1;
        }
    }
    assert!(found > 30, "{found} of 50 are errors");
}

#[test]
fn odd_settings() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &good());
    for seed in 0..60u64 {
        configure(folder.path(), &odd(&settings(), &mut Draw::new(2000 + seed)));
        if let Some(said) = case(&format!("settings {seed}"), || put_on(folder.path())) {
            assert!(said.contains(&folder.path().display().to_string()) || said.contains("tensor"), "{seed}: {said}");
        }
    }
}

#[test]
fn adapters_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let with = |changes: Value| {
        write(folder.path(), &good());
        let mut config = settings();
        changes.as_object().unwrap().iter().for_each(|(name, value)| config[name] = value.clone());
        configure(folder.path(), &config);
        fails("settings", || put_on(folder.path()))
    };
    let said = with(json!({"peft_type": "LORRA"}));
    assert!(said.contains("holds an adapter of the type LORRA; known are LORA"), "{said}");
    assert!(with(json!({"peft_type": null})).contains("has no `peft_type`"));
    assert!(with(json!({"use_dora": true})).ends_with("`use_dora` is true, the patch that is made of it has false"));
    assert!(with(json!({"rank_pattern": {"q_proj": 4}})).contains("`rank_pattern` is {"));
    assert!(with(json!({"r": 3})).contains("has the shape [2, 32], blocks.0.attend.q needs [3, 32]"));
    for r in [json!(0), json!(-2), json!("many"), json!(1e300), json!(null)] {
        let said = with(json!({"r": r.clone()}));
        assert!(said.starts_with(&format!("{path}: its settings make no patch: ")), "{r}: {said}");
    }
    assert!(with(json!({"r": i64::MAX})).contains("needs [9223372036854775807, 32]"));

    let of = |tensors: &[(&str, Vec<usize>)]| {
        write(folder.path(), tensors);
        fails("tensors", || put_on(folder.path()))
    };
    assert!(of(&[(A, vec![2, 32])]).contains(&format!("the adapter has {A}, but not {B}")));
    assert!(of(&[(A, vec![2, 31]), (B, vec![32, 2])]).contains("has the shape [2, 31]"));
    assert_eq!(of(&[]), "the adapter has no tensors of a patch");
    let more = |name, shape| of(&[good(), vec![(name, shape)]].concat());
    // A layer that the model does not have; a norm of another width.
    assert!(
        more("model.layers.2.self_attn.q_proj.lora_A.weight", vec![2, 32]).contains("is of no weight that `llama`")
    );
    assert!(more("model.norm.weight", vec![16]).contains("has the shape [16], norm.scale needs [32]"));
    write(folder.path(), &[good(), vec![("model.norm.weight", vec![32])]].concat());
    put_on(folder.path()).unwrap();

    // A head for words or several labels is no reward model's, and a head alone is no patch.
    assert!(more("score.weight", vec![2, 32]).contains("has the shape [2, 32], head.w needs [1, 32]"));
    assert!(more("score.weight", vec![1, 31]).contains("has the shape [1, 31], head.w needs [1, 32]"));
    assert!(more("score.bias", vec![1]).contains("score.bias, which is of no weight"));
    assert_eq!(of(&[("score.weight", vec![1, 32])]), "the adapter has no tensors of a patch");
    write(folder.path(), &[good(), vec![("score.weight", vec![1, 32])]].concat());
    put_on(folder.path()).unwrap();

    // What `load` makes of it.
    let loaded = |base: Value| {
        write(folder.path(), &good());
        let mut config = settings();
        config["base_model_name_or_path"] = base;
        configure(folder.path(), &config);
        case("load", || opened(&format!("load({path:?})")))
    };
    assert!(loaded(Value::Null).unwrap().ends_with("is an adapter, and does not name its model"));
    assert!(loaded(json!("no/such/model")).unwrap().contains("is an adapter of no/such/model, which cannot be loaded"));
    // This may be a model of a hub.
    assert!(loaded(json!("org/nothing")).unwrap().starts_with("hf:org/nothing is not in "));
    assert!(loaded(json!(path)).unwrap().contains("which cannot be loaded"), "an adapter of itself");
    let other = tempfile::tempdir().unwrap();
    write(other.path(), &good());
    let mut config = settings();
    config["base_model_name_or_path"] = json!(path);
    configure(other.path(), &config);
    assert!(loaded(json!(other.path())).unwrap().contains("which cannot be loaded"), "two adapters of each other");
    for odd in [json!(""), json!([base()]), json!("/"), json!("a\u{0}b"), json!("x".repeat(1 << 20))] {
        let said = loaded(odd.clone()).unwrap();
        assert!(said.len() < 1000, "{} bytes", said.len());
    }
    assert_eq!(loaded(json!(base())), None);
    let deep = "[".repeat(100_000);
    for text in ["", "{", "[1]", "null", "7", "{\"r\": 1e999}", "\u{feff}{}", &deep] {
        write(folder.path(), &good());
        std::fs::write(folder.path().join("adapter_config.json"), text).unwrap();
        let said = fails("no JSON", || put_on(folder.path()));
        assert!(said.contains("adapter_config.json") && said.len() < 1000, "{text:.20}: {said}");
    }
    write(folder.path(), &good());
    std::fs::remove_file(folder.path().join("adapter_model.safetensors")).unwrap();
    std::fs::write(folder.path().join("adapter_model.bin"), "").unwrap();
    assert!(fails("bin", || put_on(folder.path())).contains("found adapter_model.bin"));
}
