//! Model folders, GGUF files, tokenizers.

use std::path::{Path, PathBuf};

use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_runtime::model::LoadedModel;
use align_runtime::token::{Bytes, Hf, Roles, Tokenizer};
use align_runtime::world::Files;
use serde_json::{Value, json};

use crate::guard::{case, wrong};
use crate::{Draw, odd};

pub fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny").join(name)
}

/// Opens a model as a program does, and makes its net of it.
fn open(path: &Path) -> Result<(), String> {
    opened(&format!("load({:?})", path.display().to_string()))
}

/// Works out a policy as a program does.
pub fn opened(policy: &str) -> Result<(), String> {
    let world = Files::new(".");
    let text = format!("policy p = {policy}\npipeline {{ save p, to: \"never\" }}\n");
    let (program, diagnostics) = load("main.align", &text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let built = build(&program, &BuildOptions::default(), &world);
    built.map(drop).map_err(|all| all.into_iter().map(|d| d.message).collect::<Vec<_>>().join("\n"))
}

#[test]
fn damaged_weights() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(tiny("llama/config.json"), folder.path().join("config.json")).unwrap();
    let good = std::fs::read(tiny("llama/model.safetensors")).unwrap();
    let head = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let path = folder.path().join("model.safetensors");
    let mut found = 0;
    for seed in 0..100u64 {
        let mut draw = Draw::new(seed);
        std::fs::write(&path, draw.damaged(&good, head)).unwrap();
        if let Some(said) = case(&format!("weights {seed}"), || open(folder.path())) {
            assert!(
                said.contains("model.safetensors") || said.contains(".json") || said.contains("tensor"),
                "{seed}: {said}"
            );
            found += 1;
        }
    }
    assert!(found > 60, "{found} of 100 are errors");
}

#[test]
fn odd_configurations() {
    let folder = tempfile::tempdir().unwrap();
    for net in ["llama", "gpt2"] {
        std::fs::copy(tiny(&format!("{net}/model.safetensors")), folder.path().join("model.safetensors")).unwrap();
        let good: Value = serde_json::from_slice(&std::fs::read(tiny(&format!("{net}/config.json"))).unwrap()).unwrap();
        for seed in 0..70u64 {
            let mut draw = Draw::new(1000 + seed);
            let mut config = odd(&good, &mut draw);
            if seed % 3 == 0 {
                config = odd(&config, &mut draw);
            }
            let text = match seed % 10 {
                9 => String::from_utf8_lossy(&draw.damaged(good.to_string().as_bytes(), usize::MAX)).into_owned(),
                _ => config.to_string(),
            };
            std::fs::write(folder.path().join("config.json"), &text).unwrap();
            if let Some(said) = case(&format!("{net} {seed}: {text}"), || open(folder.path())) {
                assert!(said.contains(".json") || said.contains("tensor"), "{net} {seed}: {said}");
            }
        }
    }
}

/// Ways to reach further, with values that nobody expects.
#[test]
fn odd_rotary_scalings() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(tiny("llama/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    std::fs::copy(tiny("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let (good, cases) = (read(tiny("llama/config.json")), read(tiny("reach.json")));
    let mut found = 0;
    for (at, name) in ["linear", "llama3", "yarn", "yarn_own", "yarn_mscale"].into_iter().enumerate() {
        let scaling = &cases["cases"][name]["change"]["rope_parameters"];
        for seed in 0..40u64 {
            let mut draw = Draw::new(4000 + 100 * at as u64 + seed);
            let key = *draw.one(&["rope_parameters", "rope_scaling"]);
            let mut config = good.clone();
            let mut odd = odd(scaling, &mut draw);
            if seed % 4 == 0
                && let Some((_, value)) = odd.as_object_mut().and_then(|fields| fields.iter_mut().nth(draw.below(4)))
            {
                *value = draw.one(&[json!(0), json!(-1.5), json!(1e308), json!(5e-324), json!(u64::MAX)]).clone();
            }
            config[key] = odd;
            let text = config.to_string();
            std::fs::write(folder.path().join("config.json"), &text).unwrap();
            if let Some(said) = case(&format!("{name} {seed}: {text}"), || open(folder.path())) {
                assert!(said.contains("config.json"), "{name} {seed}: {said}");
                found += 1;
            }
        }
    }
    assert!(found > 50, "{found} of 200 are errors");
}

/// A small GGUF file, value by value.
struct Gguf(Vec<u8>);

impl Gguf {
    fn text(&mut self, text: &str) {
        self.0.extend((text.len() as u64).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn key(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.text(key);
        self.0.extend(kind.to_le_bytes());
        self.0.extend(value);
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        self.key(key, 9, &8u32.to_le_bytes());
        self.0.extend((texts.len() as u64).to_le_bytes());
        texts.iter().for_each(|text| self.text(text));
    }

    fn named(&mut self, key: &str, value: &str) {
        self.key(key, 8, &[]);
        self.text(value);
    }
}

/// A Llama of one layer with a tokenizer of bytes, as merges or as pieces; where its tensor data begin. `kind`: the code of its matrices' type, with
/// how many values and bytes of them stand together. `more`: further metadata, and how many they are.
fn gguf(kind: (u32, u64, u64), more: (u64, &dyn Fn(&mut Gguf))) -> (Vec<u8>, usize) {
    gguf_with(false, kind, more)
}

fn gguf_with(pieces: bool, kind: (u32, u64, u64), more: (u64, &dyn Fn(&mut Gguf))) -> (Vec<u8>, usize) {
    let vocab: Value = serde_json::from_str(&Bytes.to_json()).unwrap();
    let vocab = vocab["model"]["vocab"].as_object().unwrap();
    let mut tokens = vec![String::new(); vocab.len() + 1];
    vocab.iter().for_each(|(text, id)| tokens[id.as_u64().unwrap() as usize] = text.clone());
    tokens[vocab.len()] = "</s>".into();
    if pieces {
        tokens = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
        tokens.extend(["▁", "a", "b", "▁a", "ab", "▁ab", "<tool>", "</s>"].map(String::from));
    }
    let mut file = Gguf(b"GGUF".to_vec());
    let (width, count) = (32 * kind.1.div_ceil(32), tokens.len() as u64);
    let tensors: [(&str, &[u64]); 12] = [
        ("token_embd.weight", &[width, count]),
        ("output_norm.weight", &[width]),
        ("blk.0.attn_norm.weight", &[width]),
        ("blk.0.ffn_norm.weight", &[width]),
        ("blk.0.attn_q.weight", &[width, width]),
        ("blk.0.attn_k.weight", &[width, width]),
        ("blk.0.attn_v.weight", &[width, width]),
        ("blk.0.attn_output.weight", &[width, width]),
        ("blk.0.ffn_gate.weight", &[width, width]),
        ("blk.0.ffn_up.weight", &[width, width]),
        ("blk.0.ffn_down.weight", &[width, width]),
        ("rope_freqs.weight", &[width / 4]),
    ];
    file.0.extend(3u32.to_le_bytes());
    file.0.extend((tensors.len() as u64).to_le_bytes());
    file.0.extend((14 + more.0).to_le_bytes());
    file.named("general.architecture", "llama");
    let wide = width as u32;
    let sizes =
        [("block_count", 1u32), ("context_length", 64), ("embedding_length", wide), ("feed_forward_length", wide)];
    for (key, value) in sizes.into_iter().chain([("attention.head_count", 2), ("attention.head_count_kv", 2)]) {
        file.key(&format!("llama.{key}"), 4, &value.to_le_bytes());
    }
    file.key("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes());
    file.named("tokenizer.ggml.model", if pieces { "llama" } else { "gpt2" });
    file.named("tokenizer.ggml.pre", "gpt-2");
    file.texts("tokenizer.ggml.tokens", &tokens);
    let list = |kind: u32| [kind.to_le_bytes(), (count as u32).to_le_bytes(), [0; 4]].concat();
    match pieces {
        true => {
            file.key("tokenizer.ggml.scores", 9, &list(6));
            (0..count).for_each(|id| file.0.extend((-(id as f32)).to_le_bytes()));
        }
        false => file.texts("tokenizer.ggml.merges", &[]),
    }
    file.key("tokenizer.ggml.token_type", 9, &list(5));
    let type_of = |id: u64| match (count - id, pieces) {
        (1, _) => 3i32,
        (2, true) => 4,
        (9.., true) => 6,
        _ => 1,
    };
    (0..count).for_each(|id| file.0.extend(type_of(id).to_le_bytes()));
    (more.1)(&mut file);
    file.key("tokenizer.ggml.eos_token_id", 4, &(count as u32 - 1).to_le_bytes());
    let mut offset = 0u64;
    for (name, shape) in tensors {
        file.text(name);
        file.0.extend((shape.len() as u32).to_le_bytes());
        shape.iter().for_each(|d| file.0.extend(d.to_le_bytes()));
        let (code, values, bytes) = if shape.len() == 2 { kind } else { FLOAT };
        file.0.extend(code.to_le_bytes());
        file.0.extend(offset.to_le_bytes());
        offset += (shape.iter().product::<u64>() / values * bytes).next_multiple_of(32);
    }
    let head = file.0.len().next_multiple_of(32);
    file.0.resize(head + offset as usize, 0);
    // The divisors are ones, and come last.
    let ones = file.0.len() - (width as usize).next_multiple_of(32);
    file.0[ones..ones + width as usize].as_chunks_mut::<4>().0.iter_mut().for_each(|one| *one = 1f32.to_le_bytes());
    (file.0, head)
}

const FLOAT: (u32, u64, u64) = (0, 1, 4);
const NOTHING: (u64, &dyn Fn(&mut Gguf)) = (0, &|_| {});

fn open_gguf(path: &Path) -> Result<(), String> {
    LoadedModel::open(path).and_then(|model| model.tokenizer().map(drop)).map_err(|e| e.to_string())?;
    open(path)
}

#[test]
fn damaged_gguf_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let scaled = |file: &mut Gguf| {
        file.named("llama.rope.scaling.type", "yarn");
        file.key("llama.rope.scaling.factor", 6, &4f32.to_le_bytes());
    };
    let kinds: [((u32, u64, u64), (u64, &dyn Fn(&mut Gguf))); 4] =
        [(FLOAT, NOTHING), (FLOAT, (2, &scaled)), ((12, 256, 144), NOTHING), ((11, 256, 110), NOTHING)];
    let mut files = kinds.map(|(kind, more)| gguf(kind, more)).to_vec();
    files.push(gguf_with(true, FLOAT, NOTHING));
    for (good, _) in &files {
        std::fs::write(&path, good).unwrap();
        assert_eq!(case("a good file", || open_gguf(&path)), None);
    }
    let mut found = 0;
    for seed in 0..200u64 {
        let (good, head) = &files[if seed < 80 { 0 } else { seed as usize % files.len() }];
        let head = *head;
        let mut draw = Draw::new(2000 + seed);
        let mut bytes = draw.damaged(good, if seed % 2 == 0 { 600 } else { head });
        if seed % 4 == 0 {
            // An absurd size: 64 bits at some place of the head.
            bytes = good.clone();
            let at = draw.below(head - 8);
            let size = *draw.one(&[u64::MAX, 1 << 63, 1 << 40, 1 << 32, u64::MAX - 31, 0, 1 << 31]);
            bytes[at..at + 8].copy_from_slice(&size.to_le_bytes());
        }
        std::fs::write(&path, bytes).unwrap();
        if let Some(said) = case(&format!("gguf {seed}"), || open_gguf(&path)) {
            assert!(said.contains("m.gguf") || said.contains("tensor"), "{seed}: {said}");
            found += 1;
        }
    }
    assert!(found > 100, "{found} of 200 are errors");
}

#[test]
fn hostile_gguf_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let head = |meta: u64, tensors: u64| {
        let mut file = Gguf(b"GGUF".to_vec());
        file.0.extend(3u32.to_le_bytes());
        file.0.extend(tensors.to_le_bytes());
        file.0.extend(meta.to_le_bytes());
        file
    };
    let try_it = |name: &str, file: Gguf| {
        std::fs::write(&path, file.0).unwrap();
        wrong(name, &["m.gguf"], || open_gguf(&path));
    };
    try_it("2^64 keys", head(u64::MAX, 0));
    try_it("2^64 tensors", head(0, u64::MAX));
    let mut nested = head(1, 0);
    nested.text("a");
    (0..100_000).for_each(|_| nested.0.extend([9u32.to_le_bytes(), 1u32.to_le_bytes(), 0u32.to_le_bytes()].concat()));
    try_it("lists in lists", nested);
    let mut long = head(1, 0);
    long.key("a", 9, &[0u32.to_le_bytes(), [0xFF; 4], [0x7F; 4]].concat());
    long.0.extend(vec![1; 1 << 20]);
    try_it("a list of 2^62", long);
    let mut shape = head(0, 1);
    shape.text("token_embd.weight");
    shape.0.extend(8u32.to_le_bytes());
    (0..8).for_each(|_| shape.0.extend((1u64 << 40).to_le_bytes()));
    shape.0.extend([0; 12]);
    try_it("a shape of 2^320", shape);
    // Rows that are not made of blocks, and sizes at the end of what 64 bits hold.
    for (kind, name) in [(12, "Q4_K"), (14, "Q6_K"), (20, "IQ4_NL"), (23, "IQ4_XS"), (8, "Q8_0")] {
        for row in [1, 255, 257, 1 << 63, (1 << 63) + 256, u64::MAX - 255] {
            let mut blocks = head(0, 1);
            blocks.text("token_embd.weight");
            blocks.0.extend(2u32.to_le_bytes());
            blocks.0.extend([row, 3].map(u64::to_le_bytes).concat());
            blocks.0.extend(u32::to_le_bytes(kind));
            blocks.0.extend([0; 8]);
            std::fs::write(&path, blocks.0).unwrap();
            wrong(&format!("{name} with rows of {row}"), &["m.gguf", "`token_embd.weight`"], || open_gguf(&path));
        }
    }
    let number = |key: &'static str, value: f32| move |file: &mut Gguf| file.key(key, 6, &value.to_le_bytes());
    let refused = |name: &str, words: &[&str], more: (u64, &dyn Fn(&mut Gguf))| {
        std::fs::write(&path, gguf(FLOAT, more).0).unwrap();
        wrong(name, words, || open_gguf(&path));
    };
    let of_kind = |kind: &'static str, factor: f32| {
        move |file: &mut Gguf| {
            file.named("llama.rope.scaling.type", kind);
            file.key("llama.rope.scaling.factor", 6, &factor.to_le_bytes());
        }
    };
    refused("an unknown scaling", &["m.gguf", "`spiral`"], (2, &of_kind("spiral", 2.0)));
    for factor in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        refused("a factor", &["m.gguf", "rotary"], (2, &of_kind("linear", factor)));
        refused("a factor", &["m.gguf", "rotary"], (2, &of_kind("yarn", factor)));
    }
    refused("no factor", &["`llama.rope.scaling.factor`"], (1, &|file| file.named("llama.rope.scaling.type", "yarn")));
    refused("a base", &["m.gguf"], (1, &number("llama.rope.freq_base", f32::NAN)));
    // Divisors that are no form of scaling.
    for divisor in [0.0, -2.0, f32::NAN, f32::INFINITY, 3.0] {
        let (mut file, _) = gguf(FLOAT, NOTHING);
        let at = file.len() - 28;
        file[at..at + 4].copy_from_slice(&f32::to_le_bytes(divisor));
        std::fs::write(&path, file).unwrap();
        wrong(&format!("a divisor of {divisor}"), &["m.gguf", "`rope_freqs.weight`"], || open_gguf(&path));
    }
}

fn tokenizer() -> Value {
    let mut json: Value = serde_json::from_str(&Bytes.to_json()).unwrap();
    json["added_tokens"] = json!([{"id": 257, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                                   "normalized": false, "special": true}]);
    json["model"]["vocab"]["ab"] = json!(256);
    json["model"]["merges"] = json!([["a", "b"]]);
    json
}

#[test]
fn damaged_tokenizers() {
    let roles = Roles { stop: Some("</s>".into()), ..Roles::default() };
    let good = tokenizer();
    let mut small = good.clone();
    small["model"]["vocab"] = json!({ "a": 0, "b": 1, "ab": 2 });
    let mut found = 0;
    for seed in 0..200u64 {
        let mut draw = Draw::new(3000 + seed);
        let json = match seed % 3 {
            0 => draw.damaged(good.to_string().as_bytes(), usize::MAX),
            1 => odd(&good, &mut draw).to_string().into_bytes(),
            _ => odd(&small, &mut draw).to_string().into_bytes(),
        };
        let said = case(&format!("tokenizer {seed}: {}", String::from_utf8_lossy(&json)), || {
            let tokenizer = Hf::from_json("t.json", &json, &roles).map_err(|e| e.to_string())?;
            let ids = tokenizer.encode("ab é </s> \u{10FFFF}", true);
            tokenizer.decode(&ids);
            tokenizer.encode("ab é </s>", false);
            tokenizer.identity();
            Ok(())
        });
        if let Some(said) = said {
            assert!(said.contains("t.json"), "{seed}: {said}");
            found += 1;
        }
    }
    assert!(found > 60, "{found} of 200 are errors");
}
