//! The tokenizer in a GGUF file's metadata as a [`Tokenizer`](super::Tokenizer).

use std::collections::HashMap;

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer as Inner};

use super::json::{Hf, Roles};
use super::pieces;
use crate::error::{Error, Result, quoted};
use crate::model::gguf::Meta;

/// How text is cut before byte pairs are merged.
enum Cut {
    /// The pattern of GPT-2.
    Gpt2,
    /// Each digit alone, then the pattern of GPT-2.
    Digits,
    /// A pattern of its own. `whole_words`: a piece that is a token is not merged up to it.
    Pattern { regex: &'static str, whole_words: bool, nfc: bool, begins: bool },
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The values of `tokenizer.ggml.pre` that are known.
const CUTS: [(&str, Cut); 9] = [
    ("gpt-2", Cut::Gpt2),
    ("gpt2", Cut::Gpt2),
    ("smollm", Cut::Digits),
    ("starcoder", Cut::Digits),
    ("refact", Cut::Digits),
    ("llama-bpe", Cut::Pattern { regex: LLAMA3, whole_words: true, nfc: false, begins: true }),
    ("llama3", Cut::Pattern { regex: LLAMA3, whole_words: true, nfc: false, begins: true }),
    ("qwen2", Cut::Pattern { regex: QWEN2, whole_words: false, nfc: true, begins: false }),
    ("deepseek-r1-qwen", Cut::Pattern { regex: QWEN2, whole_words: false, nfc: true, begins: false }),
];

/// Values of `tokenizer.ggml.pre` that stand for one way each, in the order in which a way is looked for.
pub(super) const WAYS: [&str; 4] = ["gpt-2", "smollm", "llama-bpe", "qwen2"];

/// Values of `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
/// A row of the embedding that no token has.
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// Values of `tokenizer.ggml.model`: byte-level merges, and pieces of SentencePiece.
pub(super) const MERGES: &str = "gpt2";
pub(super) const PIECES: &str = "llama";

/// The vocabulary of a file.
pub(super) struct Tokens<'a> {
    /// How many texts the file has.
    pub all: usize,
    /// Those of tokens, with their ids.
    pub used: Vec<(&'a str, u32)>,
    pub vocab: HashMap<&'a str, u32>,
    types: &'a [Meta],
}

impl Tokens<'_> {
    pub fn kind(&self, id: u32) -> Option<i32> {
        kind(self.types, id)
    }
}

fn kind(types: &[Meta], id: u32) -> Option<i32> {
    types.get(id as usize).and_then(Meta::int).and_then(|kind| i32::try_from(kind).ok())
}

/// Builds the tokenizer from a GGUF file's metadata, given as a lookup by key. `place` names the file in errors.
pub fn from_gguf<'a>(place: &str, meta: impl Fn(&str) -> Option<&'a Meta>) -> Result<Hf> {
    let at = |key: &str| format!("{place}: `{key}`");
    let model = need(place, &meta, "tokenizer.ggml.model")?.text().unwrap_or_default();
    if ![MERGES, PIECES].contains(&model) {
        return Err(Error::new(at("tokenizer.ggml.model"), "this kind of tokenizer is not supported inside GGUF")
            .expected("`gpt2` (byte-level merges) or `llama` (pieces with scores)")
            .found(quoted(model))
            .fix("Use the model's Hugging Face folder, whose tokenizer.json is read whatever its kind"));
    }
    let all = texts(&at("tokenizer.ggml.tokens"), need(place, &meta, "tokenizer.ggml.tokens")?)?;
    let types = meta("tokenizer.ggml.token_type").and_then(Meta::list).unwrap_or_default();
    let is_used = |(_, id): &(&str, u32)| kind(types, *id) != Some(UNUSED);
    let used: Vec<(&str, u32)> = all.iter().copied().zip(0..).filter(is_used).collect();
    let tokens = Tokens { all: all.len(), vocab: used.iter().copied().collect(), used, types };
    if tokens.vocab.len() != tokens.used.len() {
        return Err(Error::new(at("tokenizer.ggml.tokens"), "a token is there twice"));
    }
    let (mut inner, begins) = match model {
        MERGES => byte_pairs(place, &tokens, &meta)?,
        // llama.cpp begins such sequences unless the file says otherwise.
        _ => (pieces::build(&tokens, at, &meta)?, true),
    };
    let wrong = |e: tokenizers::Error| Error::new(place, format!("its tokenizer cannot be built: {e}"));
    let of = |wanted: &'static [i32]| {
        let is_it = |id: u32| tokens.kind(id).is_some_and(|kind| wanted.contains(&kind));
        tokens.used.iter().filter(move |(_, id)| is_it(*id)).map(|(text, _)| *text)
    };
    let special = of(&[CONTROL, UNKNOWN]).map(|text| AddedToken::from(text, true).normalized(false));
    inner.add_special_tokens(special).map_err(wrong)?;
    let words = of(&[USER_DEFINED]).map(|text| AddedToken::from(text, false).normalized(false));
    inner.add_tokens(words).map_err(wrong)?;

    let id = |key: &str| meta(key).and_then(Meta::int).and_then(|id| u32::try_from(id).ok());
    let bos_id = id("tokenizer.ggml.bos_token_id");
    let begins = meta("tokenizer.ggml.add_bos_token").and_then(Meta::bool).unwrap_or(begins) && bos_id.is_some();
    if let (true, Some(id)) = (begins, bos_id)
        && let Some(text) = inner.id_to_token(id)
    {
        let template = TemplateProcessing::builder()
            .try_single(vec![text.clone(), "$A".into()])
            .map_err(|e| wrong(e.into()))?
            .special_tokens(vec![(text, id)])
            .build()
            .map_err(|e| wrong(e.into()))?;
        inner.with_post_processor(Some(template));
    }
    let stop_id = id("tokenizer.ggml.eos_token_id");
    if stop_id.is_none() {
        return Err(Error::new(place, "nothing says which token ends a reply")
            .expected("`tokenizer.ggml.eos_token_id` in its metadata"));
    }
    Hf::new(place, inner, &Roles { stop_id, bos_id, add_bos: Some(begins), ..Roles::default() })
}

/// Byte-level merges, and whether sequences begin with a token where the file does not say.
fn byte_pairs<'a>(place: &str, tokens: &Tokens, meta: impl Fn(&str) -> Option<&'a Meta>) -> Result<(Inner, bool)> {
    let at = |key: &str| format!("{place}: `{key}`");
    let pre = meta("tokenizer.ggml.pre").and_then(Meta::text).unwrap_or("gpt-2");
    let Some((_, cut)) = CUTS.iter().find(|(name, _)| *name == pre) else {
        let known: Vec<_> = CUTS.iter().map(|(name, _)| quoted(name)).collect();
        return Err(Error::new(at("tokenizer.ggml.pre"), "this way to cut text into words is not known")
            .expected(format!("one of {}", known.join(", ")))
            .found(quoted(pre))
            .fix("Use the model's Hugging Face folder, whose tokenizer.json says how"));
    };

    let mut merges = Vec::new();
    let place_of_merges = at("tokenizer.ggml.merges");
    for merge in texts(&place_of_merges, need(place, &meta, "tokenizer.ggml.merges")?)? {
        let pair = merge.split_once(' ').filter(|(left, right)| {
            tokens.vocab.contains_key(left)
                && tokens.vocab.contains_key(right)
                && tokens.vocab.contains_key(&format!("{left}{right}")[..])
        });
        let (left, right) = pair.ok_or_else(|| {
            Error::new(&place_of_merges, "a merge does not make a token of the vocabulary").found(quoted(merge))
        })?;
        merges.push((left.to_string(), right.to_string()));
    }
    let wrong = |e: tokenizers::Error| Error::new(place, format!("its tokenizer cannot be built: {e}"));
    let owned: Vec<(String, u32)> = tokens.vocab.iter().map(|(&text, &id)| (text.to_string(), id)).collect();
    let whole_words = matches!(cut, Cut::Pattern { whole_words: true, .. });
    let bpe = BPE::builder().vocab_and_merges(tokenizers::models::bpe::Vocab::from_iter(owned), merges);
    let mut inner = Inner::new(bpe.ignore_merges(whole_words).build().map_err(wrong)?);

    let begins = match cut {
        Cut::Gpt2 => {
            inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
            false
        }
        Cut::Digits => {
            let parts: Vec<PreTokenizerWrapper> =
                vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
            inner.with_pre_tokenizer(Some(Sequence::new(parts)));
            false
        }
        Cut::Pattern { regex, nfc, begins, .. } => {
            let pattern = SplitPattern::Regex((*regex).to_string());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(wrong)?;
            let parts: Vec<PreTokenizerWrapper> = vec![split.into(), ByteLevel::new(false, true, false).into()];
            inner.with_pre_tokenizer(Some(Sequence::new(parts)));
            if *nfc {
                inner.with_normalizer(Some(NormalizerWrapper::NFC(NFC))).map_err(wrong)?;
            }
            *begins
        }
    };
    inner.with_decoder(Some(ByteLevel::new(false, true, true)));
    Ok((inner, begins))
}

fn need<'a>(place: &str, meta: &impl Fn(&str) -> Option<&'a Meta>, key: &str) -> Result<&'a Meta> {
    meta(key).ok_or_else(|| Error::new(place, format!("its metadata has no `{key}`")))
}

fn texts<'a>(place: &str, list: &'a Meta) -> Result<Vec<&'a str>> {
    let wrong = || Error::new(place, "wrong type").expected("a list of texts");
    list.list().ok_or_else(wrong)?.iter().map(|item| item.text().ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::super::bytes::byte_char;
    use super::*;

    fn meta(pre: &str) -> HashMap<String, Meta> {
        let text = |t: &str| Meta::Text(t.to_string());
        let mut tokens = vec![text("<s>"), text("</s>"), text("wow")];
        tokens.extend((0..=255u8).map(|b| Meta::Text(byte_char(b).to_string())));
        tokens.extend(["11", "111", "Ġ1"].map(text));
        let types = (0..tokens.len()).map(|i| Meta::Int([3, 3, 4].get(i).copied().unwrap_or(1))).collect();
        HashMap::from([
            ("tokenizer.ggml.model".into(), text("gpt2")),
            ("tokenizer.ggml.pre".into(), text(pre)),
            ("tokenizer.ggml.tokens".into(), Meta::List(tokens)),
            ("tokenizer.ggml.token_type".into(), Meta::List(types)),
            ("tokenizer.ggml.merges".into(), Meta::List(["1 1", "11 1", "Ġ 1"].map(text).into())),
            ("tokenizer.ggml.bos_token_id".into(), Meta::Int(0)),
            ("tokenizer.ggml.eos_token_id".into(), Meta::Int(1)),
        ])
    }

    fn ids(pre: &str, text: &str) -> Vec<u32> {
        let meta = meta(pre);
        from_gguf("m.gguf", |key| meta.get(key)).unwrap().encode(text, true)
    }

    #[test]
    fn digits_are_cut_as_pre_says() {
        let (one, eleven, hundred, spaced) = (52, 259, 260, 261);
        assert_eq!(ids("gpt-2", "1111"), [eleven, eleven]);
        assert_eq!(ids("gpt-2", " 1"), [spaced]);
        assert_eq!(ids("smollm", "11"), [one, one]);
        assert_eq!(ids("smollm", " 1"), [3 + 32, one]);
        assert_eq!(ids("llama-bpe", "1111"), [hundred, one]);
        assert_eq!(ids("llama-bpe", "11111"), [hundred, eleven]);
        assert_eq!(ids("qwen2", "11"), [one, one]);
        assert_eq!(ids("smollm", "<s>wow</s>"), [0, 2, 1]);
    }

    #[test]
    fn parts_survive_as_json() {
        for pre in ["smollm", "llama-bpe"] {
            let meta = meta(pre);
            let first = from_gguf("m.gguf", |key| meta.get(key)).unwrap();
            let roles = Roles { stop: Some("</s>".into()), bos: Some("<s>".into()), ..Roles::default() };
            let again = Hf::from_json("tokenizer.json", first.to_json().as_bytes(), &roles).unwrap();
            assert_eq!(first.bos(), (pre == "llama-bpe").then_some(0));
            assert_eq!((first.bos(), first.bos_text()), (again.bos(), again.bos_text()));
            assert_eq!(first.encode("a 111 é wow<s>", true), again.encode("a 111 é wow<s>", true));
        }
    }

    #[test]
    fn unknown_kinds_say_what_is_known() {
        let wrong = |key: &str, value| {
            let mut meta = meta("smollm");
            meta.insert(key.into(), value);
            from_gguf("m.gguf", |key| meta.get(key)).err().unwrap().to_string()
        };
        let error = wrong("tokenizer.ggml.pre", Meta::Text("tekken".into()));
        assert!(error.contains("`smollm`") && error.contains("found `tekken`"), "{error}");
        assert!(wrong("tokenizer.ggml.model", Meta::Text("t5".into())).contains("`gpt2`"));
        assert!(wrong("tokenizer.ggml.model", Meta::Text("llama".into())).contains("has no score"));
        assert!(wrong("tokenizer.ggml.tokens", Meta::Int(1)).contains("list of texts"));
        assert!(wrong("tokenizer.ggml.merges", Meta::List(vec![Meta::Text("q q".into())])).contains("`q q`"));
        assert!(wrong("tokenizer.ggml.eos_token_id", Meta::Int(9999)).contains("9999"));
    }
}
