//! GGUF files that are written: the same bytes as by the ecosystem's own library, and the same model when read again.

use std::path::Path;

use align_runtime::model::gguf::{Gguf, Meta};
use align_runtime::model::save::{Saved, save};
use align_runtime::model::{Architecture, LoadedModel, ModelConfig, Precision};
use align_runtime::token::{Hf, Roles, Tokenizer};

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";

fn tokenizer() -> Hf {
    let json = std::fs::read(crate::data().join("tiny/tokenizer.json")).unwrap();
    let roles = Roles { stop: Some("</s>".into()), bos: Some("<s>".into()), ..Roles::default() };
    Hf::from_json("tokenizer.json", &json, &roles).unwrap()
}

fn write(model: &LoadedModel, tokenizer: &dyn Tokenizer, precision: Precision, to: &Path) {
    let read: Vec<_> = model.tensors().map(|name| (name, model.tensor(name).unwrap())).collect();
    let tensors = read.iter().map(|(name, (shape, values))| (*name, shape.clone(), &values[..])).collect();
    let saved =
        Saved { config: &model.config, tokenizer: Some(tokenizer), chat_template: Some(TEMPLATE), precision, tensors };
    save(to, &saved).unwrap();
}

fn tiny(name: &str) -> LoadedModel {
    LoadedModel::open(crate::data().join("tiny").join(name)).unwrap()
}

/// The files beside the folders are made by the Python package `gguf`, with its types.
#[test]
fn files_are_those_of_the_python_package() {
    for (name, precision) in [
        ("llama", Precision::Q8_0),
        ("mistral", Precision::Q8_0),
        ("qwen2", Precision::F16),
        ("qwen3", Precision::Bf16),
        ("gpt2", Precision::F16),
    ] {
        let file = format!("{}.gguf", precision.name());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(&file);
        write(&tiny(name), &tokenizer(), precision, &path);
        let (got, want) = (std::fs::read(&path).unwrap(), crate::data().join("tiny").join(name).join(&file));
        let theirs = Gguf::open(&want).unwrap();
        let ours = Gguf::open(&path).unwrap();
        let keys: Vec<&str> = theirs.keys().collect();
        assert!(keys.len() > 18, "{name}: {keys:?}");
        for key in &keys {
            assert_eq!(ours.meta(key), theirs.meta(key), "{name}: {key}");
        }
        let extra: Vec<&str> = ours.keys().filter(|key| !keys.contains(key)).collect();
        assert!(extra.is_empty(), "{name}: {extra:?}");
        assert!(ours.tensors().eq(theirs.tensors()), "{name}");
        for tensor in theirs.tensors() {
            assert_eq!(ours.shape(tensor), theirs.shape(tensor), "{name}: {tensor}");
            assert_eq!(ours.stored(tensor), theirs.stored(tensor), "{name}: {tensor}");
        }
        assert_eq!(got.len() as u64, want.metadata().unwrap().len(), "{name}");
    }
}

/// What a type makes of a value, as float32.
fn rounded(precision: Precision, values: &[f32]) -> f32 {
    let largest = values.iter().fold(0f32, |most, v| most.max(v.abs()));
    match precision {
        Precision::F32 => 0.0,
        Precision::F16 => largest * 2f32.powi(-11),
        Precision::Bf16 => largest * 2f32.powi(-8),
        // Half a step, and the rounding of the scale itself.
        Precision::Q8_0 => largest / 127.0 * 0.5 + largest * 2f32.powi(-11),
    }
}

#[test]
fn a_model_comes_back() {
    let (words, folder) = (tokenizer(), tempfile::tempdir().unwrap());
    for name in ["llama", "llama_untied", "mistral", "qwen2", "qwen3", "gpt2"] {
        let model = tiny(name);
        for precision in Precision::ALL {
            let path = folder.path().join("m.gguf");
            write(&model, &words, precision, &path);
            let again = LoadedModel::open(&path).unwrap();
            assert_eq!(again.config, model.config, "{name}");
            assert_eq!(again.chat_template.as_deref(), Some(TEMPLATE));
            assert!(again.tensors().eq(model.tensors()), "{name}");
            for tensor in model.tensors() {
                let ((shape, got), (want_shape, want)) = (again.tensor(tensor).unwrap(), model.tensor(tensor).unwrap());
                assert_eq!(shape, want_shape, "{name}: {tensor}");
                let exact = shape.len() == 1 || tensor.ends_with("wpe.weight");
                let off = if exact { 0.0 } else { rounded(precision, &want) };
                let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far <= off, "{name} {}: {tensor} {far} of {off}", precision.name());
            }
            let read = again.tokenizer().unwrap();
            for text in ["The cat's 121 thehe\n</s><think>inan", "Ünïcöde", "", "  the\n\n12:3"] {
                assert_eq!(read.encode_offsets(text, true), words.encode_offsets(text, true), "{text}");
                assert_eq!(read.encode(text, false), words.encode(text, false), "{text}");
            }
            assert_eq!((read.stop(), read.bos(), read.bos_text()), (2, None, words.bos_text()));
            assert_eq!((read.vocab_size(), read.special()), (words.vocab_size(), words.special()));
            // Written once more, it is the same file.
            let twice = folder.path().join("twice/m.gguf");
            write(&again, &*read, precision, &twice);
            assert!(std::fs::read(&twice).unwrap() == std::fs::read(&path).unwrap(), "{name} {}", precision.name());
        }
    }
}

#[test]
fn sequences_that_begin_with_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let json = std::fs::read(crate::data().join("tiny/tokenizer.json")).unwrap();
    let roles = Roles { stop: Some("</s>".into()), bos: Some("<s>".into()), add_bos: Some(true), ..Roles::default() };
    let words = Hf::from_json("tokenizer.json", &json, &roles).unwrap();
    write(&tiny("llama"), &words, Precision::F16, &path);
    let read = LoadedModel::open(&path).unwrap().tokenizer().unwrap();
    assert_eq!((read.bos(), words.bos()), (Some(1), Some(1)));
}

#[test]
fn types_in_folders() {
    for precision in [Precision::F16, Precision::Bf16] {
        let model = tiny("qwen2");
        let folder = tempfile::tempdir().unwrap();
        write(&model, &tokenizer(), precision, folder.path());
        let again = LoadedModel::open(folder.path()).unwrap();
        assert_eq!(again.config, model.config);
        for tensor in model.tensors() {
            let (got, want) = (again.tensor(tensor).unwrap().1, model.tensor(tensor).unwrap().1);
            let bytes = precision.encode(&want).unwrap();
            assert_eq!(precision.encode(&got).unwrap(), bytes, "{tensor}");
            assert_eq!(bytes.len(), 2 * want.len());
        }
        let said = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        assert!(said.contains(if precision == Precision::F16 { "\"float16\"" } else { "\"bfloat16\"" }), "{said}");
    }
}

/// Rows of 32 values and their bytes by the Python package.
#[test]
fn bytes_equal_the_published_ones() {
    let stored = crate::json("gguf_encoded.json");
    let rows = stored["rows"].as_array().unwrap();
    for precision in [Precision::F16, Precision::Bf16, Precision::Q8_0] {
        let bytes = stored["bytes"][precision.name()].as_array().unwrap();
        assert_eq!(bytes.len(), rows.len());
        for (row, want) in rows.iter().zip(bytes) {
            let row: Vec<f32> = row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
            let got: String = precision.encode(&row).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(got, want.as_str().unwrap(), "{}: {row:?}", precision.name());
            assert_eq!(got.len(), 2 * precision.size(row.len()));
        }
    }
}

#[test]
fn what_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let mut row = vec![0.5; 32 * 2];
    row[40] = 1e6;
    let mut model = tiny("llama");
    let said = |config: &ModelConfig, tensor: &str, shape: &[usize], precision| {
        let tensors = vec![(tensor, shape.to_vec(), &row[..shape.iter().product()])];
        let wrong = save(&path, &Saved { config, tokenizer: None, chat_template: None, precision, tensors });
        assert!(!path.exists());
        wrong.unwrap_err().to_string()
    };
    let embed = "model.embed_tokens.weight";
    let large = said(&model.config, embed, &[2, 32], Precision::F16);
    assert!(large.contains(embed) && large.contains("1000000 is too large for f16"), "{large}");
    let name = said(&model.config, "model.layers.0.mlp.w4.weight", &[2, 32], Precision::F16);
    assert!(name.contains("w4") && name.contains("no name"), "{name}");
    let net = said(&ModelConfig::Align(Default::default()), "w", &[2], Precision::F16);
    assert!(net.contains("m.gguf") && net.contains("Save it to a folder"), "{net}");

    let ModelConfig::Decoder(decoder) = &mut model.config else { panic!("a decoder") };
    decoder.vocab_size = 40;
    let small = save(
        &path,
        &Saved {
            config: &model.config,
            tokenizer: Some(&tokenizer()),
            chat_template: None,
            precision: Precision::F32,
            tensors: vec![],
        },
    );
    let small = small.unwrap_err().to_string();
    assert!(small.contains("there are 40 rows"), "{small}");
}

/// A file says by its window alone that it is a Mistral.
#[test]
fn a_window_makes_a_mistral() {
    let file = Gguf::open(&crate::data().join("tiny/mistral/q8_0.gguf")).unwrap();
    assert_eq!(file.meta("general.architecture").and_then(Meta::text), Some("llama"));
    let config = ModelConfig::from_gguf(&file).unwrap();
    let decoder = config.decoder().unwrap();
    assert_eq!((decoder.architecture, decoder.window), (Architecture::Mistral, Some(4096)));
}
