//! SmolLM2-135M-Instruct, read from its GGUF file, where `scripts/fetch_smollm.sh` has put it.

use align_runtime::model::save::{Saved, save};
use align_runtime::model::{LoadedModel, ModelConfig, Precision};
use serde_json::Value;

fn model() -> Option<LoadedModel> {
    let path = crate::data().join("../../models/SmolLM2-135M-Instruct.gguf");
    if !path.exists() {
        eprintln!("skipped: run scripts/fetch_smollm.sh");
        return None;
    }
    Some(LoadedModel::open(path).unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn token_ids_are_equal() {
    let Some(model) = model() else { return };
    let tokenizer = model.tokenizer().unwrap();
    let stored = crate::json("smollm2/logps.json");
    let items = stored["items"].as_array().unwrap();
    assert_eq!(items.len(), 8);
    for item in items {
        for part in ["prompt", "reply"] {
            let text = item[part].as_str().unwrap();
            let want = ids(&item[format!("{part}_ids")]);
            assert_eq!(tokenizer.encode(text, true), want, "{text}");
            assert_eq!(tokenizer.decode(&want), text);
            let spans = tokenizer.encode_offsets(text, true);
            assert_eq!(spans.iter().map(|(_, span)| &text[span.clone()]).collect::<String>(), text);
        }
    }
    for greedy in stored["greedy"].as_array().unwrap() {
        assert_eq!(tokenizer.decode(&ids(&greedy["ids"])), greedy["text"].as_str().unwrap());
    }
}

#[test]
fn tokenizer_parts() {
    let Some(model) = model() else { return };
    let tokenizer = model.tokenizer().unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.stop(), tokenizer.bos()), (49152, 2, None));
    assert_eq!(tokenizer.bos_text().as_deref(), Some("<|im_start|>"));
    assert_eq!(tokenizer.special().len(), 17);
    let plain = tokenizer.encode("<|im_end|>", false);
    assert!(plain.len() > 1 && plain.iter().all(|&id| id > 16), "{plain:?}");
    assert_eq!(tokenizer.encode("foo  12", false).len(), tokenizer.encode("foo  ", false).len() + 2);
    assert!(model.chat_template.as_deref().unwrap().contains("You are a helpful AI assistant named SmolLM"));
}

#[test]
fn configuration_and_tensors() {
    let Some(model) = model() else { return };
    let d = model.config.decoder().unwrap();
    assert_eq!((d.layers, d.width, d.heads, d.kv_heads, d.head_dim, d.inner), (30, 576, 9, 3, 64, 1536));
    assert_eq!((d.norm_eps, d.rope_theta, d.tied, d.context), (1e-5, 100000.0, true, 8192));
    assert_eq!((d.vocab_size, d.bos, &d.eos[..]), (49152, Some(1), &[2][..]));
    assert_eq!(model.tensors().count(), 272);
    assert_eq!(model.shape("model.layers.29.mlp.down_proj.weight"), Some(&[576, 1536][..]));
    let (shape, values) = model.tensor("model.layers.0.self_attn.k_proj.weight").unwrap();
    assert_eq!((shape, values.len()), (vec![192, 576], 192 * 576));
}

/// Saved with its tokenizer and opened again it encodes the same.
#[test]
fn saved_tokenizer() {
    let Some(model) = model() else { return };
    let tokenizer = model.tokenizer().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (shape, norm) = model.tensor("model.norm.weight").unwrap();
    // One tensor a layer, since fewer would be a damaged model.
    let names: Vec<String> = (0..30).map(|i| format!("model.layers.{i}.input_layernorm.weight")).collect();
    let saved = Saved {
        config: &model.config,
        tokenizer: Some(&*tokenizer),
        chat_template: model.chat_template.as_deref(),
        precision: Precision::F32,
        tensors: names.iter().map(|name| (&**name, shape.clone(), &norm[..])).collect(),
    };
    save(folder.path(), &saved).unwrap();
    let again = LoadedModel::open(folder.path()).unwrap();
    assert_eq!(again.chat_template, model.chat_template);
    assert!(matches!(&again.config, ModelConfig::Decoder(d) if Some(d) == model.config.decoder()));
    let read = again.tokenizer().unwrap();
    assert_eq!((read.stop(), read.bos(), read.bos_text()), (2, None, tokenizer.bos_text()));
    let item = &crate::json("smollm2/logps.json")["items"][0];
    assert_eq!(read.encode(item["prompt"].as_str().unwrap(), true), ids(&item["prompt_ids"]));
}
