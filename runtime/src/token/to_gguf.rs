//! A tokenizer as the metadata of a GGUF file.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::Tokenizer;
use super::gguf::{BYTE, CONTROL, MERGES, NORMAL, PIECES, UNKNOWN, UNUSED, USER_DEFINED, WAYS, from_gguf};
use super::pieces::byte;
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
    // Bytes where characters have no token: these are pieces of SentencePiece, as merges.
    let pieces = model["byte_fallback"] == true;
    let rows = decoder.vocab_size;
    let (tokens, types) = tokens(&json, rows, pieces).map_err(|what| refused(&what))?;
    let merges = merges(model).ok_or_else(|| refused("a merge is not a pair of tokens"))?;
    let id_of = |text: &str| tokens.iter().position(|token| token == text).map(|id| id as u32);
    let bos = tokenizer.bos().or_else(|| id_of(&tokenizer.bos_text()?)).or(decoder.bos);
    let mut meta = vec![
        ("model", Entry::Text(if pieces { PIECES } else { MERGES }.into())),
        ("tokens", Entry::Texts(tokens.clone())),
        ("token_type", Entry::I32s(types)),
        ("eos_token_id", Entry::U32(tokenizer.stop())),
        ("add_bos_token", Entry::Bool(tokenizer.bos().is_some())),
    ];
    match pieces {
        true => meta.push(("scores", Entry::F32s(scores(&tokens, &merges)))),
        false => meta.push(("merges", Entry::Texts(merges.iter().map(|[l, r]| format!("{l} {r}")).collect()))),
    }
    meta.extend(bos.map(|id| ("bos_token_id", Entry::U32(id))));
    meta.extend(model["unk_token"].as_str().and_then(id_of).map(|id| ("unknown_token_id", Entry::U32(id))));
    let mut meta: Vec<(String, Entry)> =
        meta.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
    let refused = || match pieces {
        true => refused("text is cut into pieces in a way that scores do not say"),
        false => refused("text is cut into words in a way that is not known by a name")
            .expected(format!("one of {}", WAYS.join(", "))),
    };
    let (key, way) = way(place, tokenizer, &meta, pieces).ok_or_else(refused)?;
    meta.insert(1, (key.into(), way));
    if pieces {
        meta.insert(1, ("tokenizer.ggml.pre".into(), Entry::Text("default".into())));
    }
    Ok(meta)
}

/// The texts of all rows of the embedding, and what kind of token each is.
fn tokens(json: &Value, rows: usize, pieces: bool) -> std::result::Result<(Vec<String>, Vec<i32>), String> {
    let mut tokens: Vec<Option<(&str, i32)>> = vec![None; rows];
    let words = json["model"]["vocab"].as_object().into_iter().flatten();
    let unknown = json["model"]["unk_token"].as_str().filter(|_| pieces);
    let bytes: HashSet<String> = (0..=255).filter(|_| pieces).map(byte).collect();
    let words = words.map(|(text, id)| match text.as_str() {
        text if bytes.contains(text) => (text, id, BYTE),
        text => (text, id, NORMAL),
    });
    let added = json["added_tokens"].as_array().into_iter().flatten().map(|added| {
        let text = added["content"].as_str().unwrap_or_default();
        let kind = match added["special"] == true {
            true if unknown == Some(text) => UNKNOWN,
            true => CONTROL,
            false => USER_DEFINED,
        };
        (text, &added["id"], kind)
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

fn merges(model: &Value) -> Option<Vec<[&str; 2]>> {
    model["merges"].as_array().into_iter().flatten().map(pair).collect()
}

fn pair(merge: &Value) -> Option<[&str; 2]> {
    match merge {
        Value::String(text) => text.split_once(' ').map(|(left, right)| [left, right]),
        Value::Array(pair) => match &pair[..] {
            [Value::String(left), Value::String(right)] => Some([left, right]),
            _ => None,
        },
        _ => None,
    }
}

/// A score for each token: the earlier the merge that makes it, the higher.
fn scores(tokens: &[String], merges: &[[&str; 2]]) -> Vec<f32> {
    let mut made: HashMap<String, usize> = HashMap::new();
    for (rank, merge) in merges.iter().enumerate() {
        made.entry(merge.concat()).or_insert(rank);
    }
    tokens.iter().map(|token| -(made.get(token).map_or(merges.len(), |rank| *rank) as f32)).collect()
}

/// The way in which text is cut, which the file has under a key: the first with which its reader finds the same tokens.
fn way(
    place: &str,
    tokenizer: &dyn Tokenizer,
    meta: &[(String, Entry)],
    pieces: bool,
) -> Option<(&'static str, Entry)> {
    let mut read: HashMap<&str, Meta> = meta.iter().map(|(key, value)| (&key[..], value.clone().into())).collect();
    let special: String = tokenizer.special().iter().take(8).map(|(text, _)| format!("{text} a{text}")).collect();
    let probes: Vec<&str> = PROBES.into_iter().chain([&special[..]]).collect();
    let want: Vec<Vec<u32>> = probes.iter().map(|text| tokenizer.encode(text, true)).collect();
    let (key, ways) = match pieces {
        true => ("tokenizer.ggml.add_space_prefix", [true, false].map(Entry::Bool).to_vec()),
        false => ("tokenizer.ggml.pre", WAYS.map(|way| Entry::Text(way.into())).to_vec()),
    };
    let way = ways.into_iter().find(|way| {
        read.insert(key, way.clone().into());
        let reader = from_gguf(place, |key| read.get(key));
        let same = |reader: &super::Hf| probes.iter().zip(&want).all(|(text, ids)| reader.encode(text, true) == *ids);
        reader.is_ok_and(|reader| same(&reader) && reader.bos() == tokenizer.bos())
    })?;
    Some((key, way))
}

#[cfg(test)]
mod tests {
    use super::super::pieces::tests::meta;
    use super::*;
    use crate::model::LoadedModel;

    /// Pieces of SentencePiece keep their kinds, and their order if not their scores.
    #[test]
    fn pieces_are_written_and_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/tiny/llama");
        let mut decoder = LoadedModel::open(folder).unwrap().config.decoder().unwrap().clone();
        decoder.vocab_size = 294;
        for space in [true, false] {
            let given = meta(Some(space));
            let first = from_gguf("m.gguf", |key| given.get(key)).unwrap();
            let written = to_gguf("m.gguf", &first, &decoder).unwrap();
            let read: HashMap<String, Meta> =
                written.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
            for key in ["model", "token_type", "add_space_prefix", "unknown_token_id", "bos_token_id", "eos_token_id"] {
                let key = format!("tokenizer.ggml.{key}");
                assert_eq!(read.get(&key), given.get(&key[..]), "{key}");
            }
            let again = from_gguf("m.gguf", |key| read.get(key)).unwrap();
            for text in ["the train in  the rain", "12121 é ü\n日<tool></s>", " thing"] {
                assert_eq!(again.encode_offsets(text, true), first.encode_offsets(text, true), "{text}");
                assert_eq!(again.encode(text, false), first.encode(text, false), "{text}");
            }
            assert_eq!(to_gguf("m.gguf", &again, &decoder).unwrap(), written);
        }
    }
}
