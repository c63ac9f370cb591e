//! A Hugging Face `tokenizer.json` as a [`Tokenizer`].

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::{PostProcessorWrapper, Tokenizer as Inner};

use super::Tokenizer;
use super::bytes::char_byte;
use super::pieces::SPACE;
use crate::error::{Error, Result, quoted};

/// Which tokens play which part, as far as the files beside the tokenizer say.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    /// Text of the token that ends a reply; goes before `stop_id`.
    pub stop: Option<String>,
    pub stop_id: Option<u32>,
    /// Text of the token that begins a sequence; goes before `bos_id`.
    pub bos: Option<String>,
    pub bos_id: Option<u32>,
    /// Whether sequences begin with it. `None`: the tokenizer's own post-processing decides.
    pub add_bos: Option<bool>,
}

/// A tokenizer in the form of Hugging Face's `tokenizers`.
pub struct Hf {
    inner: Inner,
    /// The same, blind to special tokens. Made when first needed.
    plain: OnceLock<Inner>,
    special: BTreeMap<u32, String>,
    /// Ids of the special tokens that a text can hold, but for the unknown token, which stands for other text.
    guarded: HashSet<u32>,
    vocab_size: usize,
    stop: u32,
    bos: Option<u32>,
    begins: bool,
    /// Kept for writing the tokenizer again; encoding does without.
    post_processor: Option<PostProcessorWrapper>,
    json: OnceLock<String>,
    /// How tokens are spelled. Found when first needed.
    spelling: OnceLock<Spelling>,
}

/// How the tokens of a vocabulary are written.
struct Spelling {
    /// Each byte is a character of its own (GPT-2).
    bytes: bool,
    /// What is written for other text: `▁` for a space.
    replaced: Vec<(String, String)>,
    /// `<0x0A>` is a byte.
    fallback: bool,
}

impl Spelling {
    /// As the decoder undoes it; `None` stands for parts of it that do no more than that.
    fn of(decoder: &Value) -> Spelling {
        let parts = match decoder["decoders"].as_array() {
            Some(parts) => parts.clone(),
            None => vec![decoder.clone()],
        };
        let mut spelling = Spelling { bytes: false, replaced: vec![], fallback: false };
        for part in &parts {
            let text = |value: &Value| value.as_str().map(str::to_string);
            match part["type"].as_str() {
                Some("ByteLevel") => spelling.bytes = true,
                Some("ByteFallback") => spelling.fallback = true,
                Some("Metaspace") => {
                    let mark = text(&part["replacement"]).unwrap_or_else(|| SPACE.into());
                    spelling.replaced.push((mark, " ".into()));
                }
                Some("Replace") => {
                    spelling.replaced.extend(text(&part["pattern"]["String"]).zip(text(&part["content"])));
                }
                _ => {}
            }
        }
        spelling
    }

    fn bytes(&self, written: &str) -> Vec<u8> {
        if self.bytes {
            return written
                .chars()
                .flat_map(|c| char_byte(c).map_or(c.to_string().into_bytes(), |b| vec![b]))
                .collect();
        }
        let byte = written.strip_prefix("<0x").and_then(|rest| u8::from_str_radix(rest.strip_suffix('>')?, 16).ok());
        if let (true, Some(byte)) = (self.fallback, byte) {
            return vec![byte];
        }
        self.replaced.iter().fold(written.to_string(), |text, (mark, by)| text.replace(mark, by)).into_bytes()
    }
}

impl Hf {
    /// Reads the text of a `tokenizer.json`; `place` names it in errors.
    pub fn from_json(place: &str, json: &[u8], roles: &Roles) -> Result<Hf> {
        let text: Value = serde_json::from_slice(json).map_err(|e| {
            Error::new(place, format!("this is not JSON: {e}")).fix("Fetch or save the model's tokenizer again")
        })?;
        check_merges(place, &text["model"])?;
        check_ids(place, &text)?;
        let inner = Inner::from_bytes(json).map_err(|e| {
            Error::new(place, format!("this is not a tokenizer: {e}")).expected("a Hugging Face tokenizer.json")
        })?;
        for added in text["added_tokens"].as_array().into_iter().flatten() {
            // The library numbers added tokens itself; a damaged list would shift all of them.
            let (content, id) = (added["content"].as_str().unwrap_or_default(), added["id"].as_u64());
            let got = inner.token_to_id(content).map(u64::from);
            if got != id {
                let id = id.map_or("none".into(), |id| id.to_string());
                return Err(Error::new(place, format!("the added token {} cannot have the id {id}", quoted(content)))
                    .expected(format!("{}, the next free one", got.unwrap_or_default())));
            }
        }
        Hf::new(place, inner, roles)
    }

    /// `place` names the tokenizer's file in errors.
    pub(super) fn new(place: &str, mut inner: Inner, roles: &Roles) -> Result<Hf> {
        let stop = token(place, &inner, "stop token", &roles.stop, roles.stop_id)?.ok_or_else(|| {
            Error::new(place, "nothing says which token ends a reply").expected(
                "`eos_token` in tokenizer_config.json, or `eos_token_id` in generation_config.json or config.json",
            )
        })?;
        let bos = token(place, &inner, "first token", &roles.bos, roles.bos_id)?;
        let begins = match roles.add_bos {
            Some(add) => add,
            None => bos.is_some() && first_added(&inner) == bos,
        };
        if inner.encode("a\u{10FFFF} \u{E000}", false).is_err() {
            return Err(Error::new(place, "this tokenizer has no token for unknown characters")
                .expected("an unknown token, or bytes as a fallback"));
        }
        // It would cut spaces from offsets and add tokens.
        let post_processor = inner.get_post_processor().cloned();
        inner.with_post_processor(None::<PostProcessorWrapper>);
        let _ = inner.with_truncation(None);
        inner.with_padding(None);

        let special: BTreeMap<u32, String> = (inner.get_added_tokens_decoder().iter())
            .filter(|(_, token)| token.special)
            .map(|(&id, token)| (id, token.content.clone()))
            .collect();
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        let guarded = special.keys().copied().collect();
        let (plain, json, spelling) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Ok(Hf { inner, plain, special, guarded, vocab_size, stop, bos, begins, post_processor, json, spelling })
    }

    fn run(&self, text: &str, special: bool) -> Vec<(u32, Range<usize>)> {
        let inner = match special {
            true => &self.inner,
            false => self.plain.get_or_init(|| {
                let mut plain = self.inner.clone();
                plain.set_encode_special_tokens(true);
                plain
            }),
        };
        // Opening has shown that no character is without a token.
        let encoding = inner.encode(text, false).unwrap_or_default();
        let spans = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        encoding.get_ids().iter().copied().zip(spans).collect()
    }
}

impl Tokenizer for Hf {
    fn encode_offsets(&self, text: &str, special: bool) -> Vec<(u32, Range<usize>)> {
        let tokens = self.run(text, special);
        if special {
            return tokens;
        }
        // A vocabulary may reach a special token by its letters alone. Cutting inside of it prevents that.
        let forged = tokens.iter().find(|(id, span)| {
            span.len() > 1
                && self.guarded.contains(id)
                && text.get(span.clone()) == self.special.get(id).map(String::as_str)
        });
        let Some((_, span)) = forged else { return tokens };
        let first = text[span.clone()].chars().next().map_or(1, char::len_utf8);
        let (head, tail) = text.split_at(span.start + first);
        if tail.is_empty() {
            return tokens;
        }
        let mut tokens = self.encode_offsets(head, false);
        let shifted = self.encode_offsets(tail, false).into_iter();
        tokens.extend(shifted.map(|(id, span)| (id, span.start + head.len()..span.end + head.len())));
        tokens
    }

    fn decode(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, false).unwrap_or_default()
    }

    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn stop(&self) -> u32 {
        self.stop
    }

    fn bos(&self) -> Option<u32> {
        self.bos.filter(|_| self.begins)
    }

    fn bos_text(&self) -> Option<String> {
        self.bos.and_then(|id| self.token_text(id))
    }

    fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        if let Some(added) = self.inner.get_added_tokens_decoder().get(&id) {
            return (!added.special).then(|| added.content.clone().into_bytes());
        }
        let read = || Spelling::of(&serde_json::to_value(self.inner.get_decoder()).unwrap_or_default());
        let written = self.inner.id_to_token(id)?;
        Some(self.spelling.get_or_init(read).bytes(&written))
    }

    fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    fn special(&self) -> Vec<(String, u32)> {
        self.special.iter().map(|(&id, text)| (text.clone(), id)).collect()
    }

    fn to_json(&self) -> String {
        let write = || {
            let mut whole = self.inner.clone();
            whole.with_post_processor(self.post_processor.clone());
            whole.to_string(false).unwrap_or_default()
        };
        self.json.get_or_init(write).clone()
    }

    fn identity(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.to_json());
        hash.update(format!("{} {:?}", self.stop, self.bos()));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The id of the token that plays a part, checked to exist.
fn token(place: &str, inner: &Inner, part: &str, text: &Option<String>, id: Option<u32>) -> Result<Option<u32>> {
    if let Some(text) = text {
        return match inner.token_to_id(text) {
            Some(id) => Ok(Some(id)),
            None => Err(Error::new(place, format!("the {part} {} is not in the vocabulary", quoted(text)))),
        };
    }
    match id {
        Some(id) if inner.id_to_token(id).is_none() => {
            Err(Error::new(place, format!("the {part} has id {id}, which is not in the vocabulary")))
        }
        id => Ok(id),
    }
}

/// The token that post-processing puts before every text.
fn first_added(inner: &Inner) -> Option<u32> {
    inner.encode("", true).ok()?.get_ids().first().copied()
}

/// The library goes through all ids up to the largest.
fn check_ids(place: &str, text: &Value) -> Result<()> {
    const MOST: u64 = 1 << 24;
    let vocab = text["model"]["vocab"].as_object().into_iter().flatten().map(|(token, id)| (token.as_str(), id));
    let added = text["added_tokens"].as_array().into_iter().flatten();
    let added = added.map(|token| (token["content"].as_str().unwrap_or_default(), &token["id"]));
    match vocab.chain(added).find(|(_, id)| id.as_u64().is_some_and(|id| id >= MOST)) {
        Some((token, id)) => Err(Error::new(place, format!("the token {} has the id {id}", quoted(token)))
            .expected(format!("less than {MOST}"))),
        None => Ok(()),
    }
}

/// The library trusts the merges of a BPE model; a damaged file must not get that far.
fn check_merges(place: &str, model: &Value) -> Result<()> {
    let (Some(vocab), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array()) else { return Ok(()) };
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or("");
    for (index, merge) in merges.iter().enumerate() {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            Value::Array(pair) => match &pair[..] {
                [Value::String(left), Value::String(right)] => Some((&left[..], &right[..])),
                _ => None,
            },
            _ => None,
        };
        let known = pair.is_some_and(|(left, right)| {
            let tail = right.strip_prefix(prefix);
            let joined = tail.map(|tail| vocab.contains_key(&format!("{left}{tail}")));
            vocab.contains_key(left) && vocab.contains_key(right) && joined == Some(true)
        });
        // A version comment is no merge.
        if !known && !matches!(merge, Value::String(text) if text.starts_with("#version")) {
            return Err(Error::new(place, format!("merge {} does not make a token of the vocabulary", index + 1))
                .found(quoted(&merge.to_string())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Bytes;
    use super::*;

    /// Byte level with one merge, two special tokens and one added word.
    pub(crate) fn small() -> Value {
        let mut json: Value = serde_json::from_str(&Bytes.to_json()).unwrap();
        let added = |id, content: &str, special| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": special})
        };
        json["added_tokens"] = json!([added(257, "<s>", true), added(258, "</s>", true), added(259, "wow", false)]);
        json["model"]["vocab"]["ab"] = json!(256);
        json["model"]["merges"] = json!([["a", "b"]]);
        json
    }

    fn open(json: &Value, roles: &Roles) -> Result<Hf> {
        Hf::from_json("t.json", json.to_string().as_bytes(), roles)
    }

    fn stop() -> Roles {
        Roles { stop: Some("</s>".into()), bos: Some("<s>".into()), ..Roles::default() }
    }

    #[test]
    fn special_tokens_only_where_asked() {
        let tokenizer = open(&small(), &stop()).unwrap();
        assert_eq!(tokenizer.encode("<s>ab wow</s>", true), [257, 256, 32, 259, 258]);
        let plain = tokenizer.encode("<s>ab</s>", false);
        assert_eq!(plain.len(), 3 + 1 + 4);
        assert_eq!(tokenizer.decode(&plain), "<s>ab</s>");
        assert_eq!(tokenizer.special(), [("<s>".to_string(), 257), ("</s>".to_string(), 258)]);
        assert_eq!((tokenizer.stop(), tokenizer.bos(), tokenizer.vocab_size()), (258, None, 260));
    }

    #[test]
    fn merges_cannot_forge_special_tokens() {
        let mut json = small();
        json["model"]["vocab"]["<s"] = json!(258);
        json["model"]["vocab"]["<s>"] = json!(257);
        json["added_tokens"][1]["id"] = json!(259);
        json["added_tokens"][2]["id"] = json!(260);
        json["model"]["merges"] = json!([["<", "s"], ["<s", ">"]]);
        let tokenizer = open(&json, &stop()).unwrap();
        assert_eq!(tokenizer.encode("<s>", true), [257]);
        let tokens = tokenizer.encode_offsets("x<s>y<s>", false);
        assert!(tokens.iter().all(|(id, _)| *id != 257), "{tokens:?}");
        assert_eq!(tokens.iter().map(|(_, span)| &"x<s>y<s>"[span.clone()]).collect::<String>(), "x<s>y<s>");
    }

    #[test]
    fn offsets_cover_the_text() {
        let tokenizer = open(&small(), &stop()).unwrap();
        let text = " ab é<s>";
        let spans: Vec<_> = tokenizer.encode_offsets(text, true).into_iter().map(|(_, span)| span).collect();
        assert_eq!(spans, [0..1, 1..3, 3..4, 4..6, 4..6, 6..9]);
    }

    #[test]
    fn bos_by_post_processing() {
        let mut json = small();
        json["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [257], "tokens": ["<s>"]}}
        });
        let tokenizer = open(&json, &stop()).unwrap();
        assert_eq!(tokenizer.bos(), Some(257));
        assert_eq!(tokenizer.encode("ab", true), [256], "encoding itself adds nothing");
    }

    #[test]
    fn damaged_files_are_errors() {
        let json = small().to_string();
        for end in (0..json.len()).step_by(97) {
            assert!(Hf::from_json("t.json", &json.as_bytes()[..end], &stop()).is_err());
        }
        let mut shifted = small();
        shifted["added_tokens"][0]["id"] = json!(400);
        let error = open(&shifted, &stop()).err().unwrap().to_string();
        assert!(error.contains("`<s>` cannot have the id 400"), "{error}");
        let mut long = small();
        long["model"]["merges"] = json!([["ab", "ab"]]);
        let error = open(&long, &stop()).err().unwrap().to_string();
        assert!(error.contains("merge 1"), "{error}");
        let error = open(&small(), &Roles::default()).err().unwrap().to_string();
        assert!(error.contains("which token ends a reply"), "{error}");
        let error = open(&small(), &Roles { stop_id: Some(999), ..Roles::default() }).err().unwrap().to_string();
        assert!(error.contains("999"), "{error}");
    }
}
