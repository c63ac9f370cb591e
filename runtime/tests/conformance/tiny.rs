//! Small models as transformers saves them: configuration and tensors.

use align_runtime::model::{Architecture, LoadedModel};

fn open(name: &str) -> LoadedModel {
    LoadedModel::open(crate::data().join("tiny").join(name)).unwrap()
}

#[test]
fn configurations() {
    let (llama, gpt2) = (Architecture::Llama, Architecture::Gpt2);
    for (name, architecture, theta, tied) in [
        ("llama", llama, 10000.0, true),
        ("llama_untied", llama, 500000.0, false),
        ("mistral", Architecture::Mistral, 10000.0, false),
        ("qwen2", Architecture::Qwen2, 10000.0, true),
        ("qwen3", Architecture::Qwen3, 10000.0, true),
        ("gpt2", gpt2, 0.0, true),
    ] {
        let model = open(name);
        let d = model.config.decoder().unwrap();
        assert_eq!(d.architecture, architecture);
        let head_dim = if name == "qwen3" { 16 } else { 8 };
        assert_eq!((d.layers, d.width, d.heads, d.head_dim, d.inner), (2, 32, 4, head_dim, 64));
        assert_eq!((d.kv_heads, d.vocab_size, d.context), (if architecture == gpt2 { 4 } else { 2 }, 97, 64));
        assert_eq!((d.norm_eps, d.rope_theta, d.tied), (1e-3, theta, tied));
        assert_eq!((d.bos, &d.eos[..]), (Some(1), &[2][..]));
    }
}

/// The names and shapes are those by which the stored gradient norms are known.
#[test]
fn tensors() {
    for name in ["llama", "llama_untied", "mistral", "qwen2", "qwen3", "gpt2"] {
        let model = open(name);
        let stored = crate::json(&format!("tiny/{name}/logits.json"));
        let parameters = stored["grad_norms"].as_object().unwrap();
        for parameter in parameters.keys() {
            let (shape, values) = model.tensor(parameter).unwrap();
            assert_eq!(shape.iter().product::<usize>(), values.len());
            assert_eq!(model.shape(parameter), Some(&shape[..]));
            assert!(values.iter().all(|v| v.is_finite()) && values.iter().any(|&v| v != 0.0));
        }
        assert_eq!(model.tensors().count(), parameters.len());
    }
    assert_eq!(open("gpt2").shape("transformer.h.0.attn.c_attn.weight"), Some(&[32, 96][..]));
    assert_eq!(open("llama").shape("model.layers.1.self_attn.k_proj.weight"), Some(&[16, 32][..]));
}

#[test]
fn what_is_missing_is_named() {
    let model = open("llama");
    let error = model.tensor("lm_head.weight").unwrap_err().to_string();
    assert!(error.contains("`lm_head.weight`"), "{error}");
    let error = model.tokenizer().err().unwrap().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
    let error = LoadedModel::open("no/such/model").err().unwrap().to_string();
    assert!(error.contains("no/such/model"), "{error}");
}

/// However much of a file is there, reading it is an error and not a crash.
#[test]
fn cut_files() {
    let source = crate::data().join("tiny/llama");
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    for file in ["config.json", "model.safetensors"] {
        let whole = std::fs::read(source.join(file)).unwrap();
        for end in (0..whole.len() - 2).step_by(whole.len() / 60) {
            std::fs::write(folder.path().join(file), &whole[..end]).unwrap();
            let error = LoadedModel::open(folder.path()).err().unwrap().to_string();
            assert!(error.contains(file), "{end}: {error}");
        }
        std::fs::write(folder.path().join(file), &whole).unwrap();
    }
}
