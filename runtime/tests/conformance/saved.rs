//! A saved folder is the model that was saved.

use align_runtime::model::save::{Saved, save};
use align_runtime::model::{LoadedModel, ModelConfig, Precision};
use align_runtime::token::{Bytes, Tokenizer};
use serde_json::json;

#[test]
fn the_ecosystems_architectures() {
    for name in ["llama", "llama_untied", "gpt2"] {
        let model = LoadedModel::open(crate::data().join("tiny").join(name)).unwrap();
        let read: Vec<_> = model.tensors().map(|name| (name, model.tensor(name).unwrap())).collect();
        let tensors = read.iter().map(|(name, (shape, values))| (*name, shape.clone(), &values[..])).collect();
        let folder = tempfile::tempdir().unwrap();
        let saved =
            Saved { config: &model.config, tokenizer: None, chat_template: None, precision: Precision::F32, tensors };
        save(folder.path(), &saved).unwrap();
        // Over the old one, too.
        save(folder.path(), &saved).unwrap();
        let again = LoadedModel::open(folder.path()).unwrap();
        assert_eq!(again.config, model.config);
        assert_eq!(again.identity().unwrap(), model.identity().unwrap());
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{names:?}");
    }
}

#[test]
fn a_net_of_a_program() {
    let settings = json!({"net": "gpt", "layers": 2}).as_object().unwrap().clone();
    let config = ModelConfig::Align(settings);
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let folder = tempfile::tempdir().unwrap();
    let saved = Saved {
        config: &config,
        tokenizer: Some(&Bytes),
        chat_template: Some(template),
        precision: Precision::F32,
        tensors: vec![("head.w", vec![2, 2], &[1.0, 2.0, 3.0, 4.0]), ("scale", vec![], &[0.5])],
    };
    save(folder.path(), &saved).unwrap();
    let again = LoadedModel::open(folder.path()).unwrap();
    assert_eq!(again.config, config);
    assert_eq!(again.chat_template.as_deref(), Some(template));
    assert_eq!(again.tensor("head.w").unwrap(), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
    assert_eq!(again.tensor("scale").unwrap(), (vec![], vec![0.5]));
    let tokenizer = again.tokenizer().unwrap();
    assert_eq!((tokenizer.stop(), tokenizer.vocab_size()), (256, 257));
    assert_eq!(tokenizer.encode("é", false), Bytes.encode("é", false));
}

#[test]
fn a_shape_that_does_not_fit() {
    let config = ModelConfig::Align(Default::default());
    let tensors = vec![("w", vec![3], &[1.0f32, 2.0][..])];
    let folder = tempfile::tempdir().unwrap();
    let wrong = save(
        folder.path(),
        &Saved { config: &config, tokenizer: None, chat_template: None, precision: Precision::F32, tensors },
    );
    assert!(wrong.unwrap_err().to_string().contains("`w`"));
    assert!(!folder.path().join("model.safetensors").exists());
}
