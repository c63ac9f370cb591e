//! A tokenizer as the metadata of a GGUF file.

use std::collections::HashMap;

use serde_json::Value;

use super::Tokenizer;
use super::gguf::{CONTROL, NORMAL, UNUSED, USER_DEFINED, WAYS, from_gguf};
use crate::error::{Error, Result, quoted};
use crate::model::Decoder;
use crate::model::gguf::Meta;
use crate::model::gguf::write::Entry;

/// Texts in which the known ways to cut text differ.
const PROBES: [&str; 3] = [
    "Hello, I'LL say it's 3.14159 or 12345678 of 1000000!  He'd   can't\n\n\tdef f(x_1):\r\n    return x**2 // 7;\n \n",
    "Ünïcöde cafe\u{301} \u{212B} ﬁ 你好，世界 ２０２４ Привет, 123мир! שלום ١٢٣ 🦙👩‍👩‍👧 \u{a0}\u{2003}x\u{200b}y  ",
    "'S'Ve we'RE --- ... (a)[b]{c} <|x|> @#$%^&*~`\\ end.\n\n\n  \n   12  3 4a5b\t\t\u{0}z",
];

/// The metadata that say how text becomes tokens. `place` names the file in errors; `decoder` has a row for each token.
pub fn to_gguf(place: &str, tokenizer: &dyn Tokenizer, decoder: &Decoder) -> Result<Vec<(String, Entry)>> {
    let refused = |what: &str| {
        Error::new(place, format!("GGUF has no form for this tokenizer: {what}")).fix("Save to a folder instead")
    };
    let json: Value = serde_json::from_str(&tokenizer.to_json()).map_err(|e| refused(&e.to_string()))?;
    let model = &json["model"];
    if model["type"] != "BPE" {
        let kind = model["type"].as_str().unwrap_or("no BPE");
        return Err(refused(&format!("it is {kind}, where byte pairs with merges are known")));
    }
    let rows = decoder.vocab_size;
    let (tokens, types) = tokens(&json, rows).map_err(|what| refused(&what))?;
    let merges = merges(model).ok_or_else(|| refused("a merge is not a pair of tokens"))?;
    let id_of = |text: &str| tokens.iter().position(|token| token == text).map(|id| id as u32);
    let bos = tokenizer.bos().or_else(|| id_of(&tokenizer.bos_text()?)).or(decoder.bos);
    let mut meta = vec![
        ("model", Entry::Text("gpt2".into())),
        ("tokens", Entry::Texts(tokens.clone())),
        ("token_type", Entry::I32s(types)),
        ("merges", Entry::Texts(merges)),
        ("eos_token_id", Entry::U32(tokenizer.stop())),
        ("add_bos_token", Entry::Bool(tokenizer.bos().is_some())),
    ];
    meta.extend(bos.map(|id| ("bos_token_id", Entry::U32(id))));
    meta.extend(model["unk_token"].as_str().and_then(id_of).map(|id| ("unknown_token_id", Entry::U32(id))));
    let mut meta: Vec<(String, Entry)> =
        meta.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    let pre = way(place, tokenizer, &meta).ok_or_else(|| {
        refused("text is cut into words in a way that is not known by a name")
            .expected(format!("one of {}", WAYS.join(", ")))
    })?;
    meta.insert(1, ("tokenizer.ggml.pre".into(), Entry::Text(pre.into())));
    Ok(meta)
}

/// The texts of all rows of the embedding, and what kind of token each is.
fn tokens(json: &Value, rows: usize) -> std::result::Result<(Vec<String>, Vec<i32>), String> {
    let mut tokens: Vec<Option<(&str, i32)>> = vec![None; rows];
    let words = json["model"]["vocab"].as_object().into_iter().flatten();
    let words = words.map(|(text, id)| (text.as_str(), id, NORMAL));
    let added = json["added_tokens"].as_array().into_iter().flatten().map(|added| {
        let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
        (added["content"].as_str().unwrap_or_default(), &added["id"], kind)
    });
    for (text, id, kind) in words.chain(added) {
        let slot = id.as_u64().and_then(|id| usize::try_from(id).ok()).and_then(|id| tokens.get_mut(id));
        let slot =
            slot.ok_or_else(|| format!("the token {} has the id {id}, and there are {rows} rows", quoted(text)))?;
        *slot = Some((text, kind));
    }
    // Rows that no token has are named as llama.cpp's converter names them.
    let all = tokens.iter().enumerate().map(|(id, token)| match token {
        Some((text, kind)) => (text.to_string(), *kind),
        None => (format!("[PAD{id}]"), UNUSED),
    });
    Ok(all.unzip())
}

fn merges(model: &Value) -> Option<Vec<String>> {
    let merges = model["merges"].as_array().into_iter().flatten();
    let text = |merge: &Value| match merge {
        Value::String(text) => Some(text.clone()),
        Value::Array(pair) => match &pair[..] {
            [Value::String(left), Value::String(right)] => Some(format!("{left} {right}")),
            _ => None,
        },
        _ => None,
    };
    merges.map(text).collect()
}

/// The name of the way in which text is cut: the first with which a reader of the file finds the same tokens.
fn way(place: &str, tokenizer: &dyn Tokenizer, meta: &[(String, Entry)]) -> Option<&'static str> {
    let mut read: HashMap<&str, Meta> = meta.iter().map(|(key, value)| (&key[..], value.clone().into())).collect();
    let special: String = tokenizer.special().iter().take(8).map(|(text, _)| format!("{text} a{text}")).collect();
    let probes: Vec<&str> = PROBES.into_iter().chain([&special[..]]).collect();
    let want: Vec<Vec<u32>> = probes.iter().map(|text| tokenizer.encode(text, true)).collect();
    WAYS.into_iter().find(|way| {
        read.insert("tokenizer.ggml.pre", Meta::Text(way.to_string()));
        let reader = from_gguf(place, |key| read.get(key));
        let same = |reader: &super::Hf| probes.iter().zip(&want).all(|(text, ids)| reader.encode(text, true) == *ids);
        reader.is_ok_and(|reader| same(&reader) && reader.bos() == tokenizer.bos())
    })
}
