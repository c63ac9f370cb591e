//! The tokenizer of SentencePiece inside a GGUF file (`llama`): pieces with scores, spaces written as `▁`.
//!
//! Text is cut into characters; of neighbours that make a piece together, those with the highest score are joined first
//! (arXiv 1808.06226, section 3.2). A character without a piece becomes the pieces of its bytes. As merges in an order this
//! is what the library `tokenizers` does, and transformers makes them in the same way.

use std::cmp::Ordering;
use std::collections::HashMap;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::utils::Sequence as Normalizers;
use tokenizers::normalizers::{Prepend, Replace};
use tokenizers::{DecoderWrapper, NormalizerWrapper, Tokenizer as Inner};

use super::gguf::{NORMAL, Tokens};
use crate::error::{Error, Result, quoted};
use crate::model::gguf::Meta;

/// A space in pieces.
pub(super) const SPACE: &str = "▁";
/// No vocabulary has longer pieces: each is looked up by all of its halves.
const LONGEST: usize = 1024;

/// The piece of a byte that has no other.
pub(super) fn byte(value: u8) -> String {
    format!("<0x{value:02X}>")
}

/// Builds the tokenizer. `at` names a key in errors.
pub(super) fn build<'a>(
    tokens: &Tokens,
    at: impl Fn(&str) -> String,
    meta: impl Fn(&str) -> Option<&'a Meta>,
) -> Result<Inner> {
    let key = "tokenizer.ggml.scores";
    let scores = meta(key).and_then(Meta::list).unwrap_or_default();
    let score = |id: u32| scores.get(id as usize).and_then(Meta::float).filter(|score| !score.is_nan());
    let mut known: HashMap<&str, f64> = HashMap::new();
    for (text, id) in &tokens.used {
        let wrong = || {
            Error::new(at(key), format!("the piece {} has no score", quoted(text)))
                .expected(format!("{} numbers", tokens.all))
                .found(format!("{}", scores.len()))
        };
        let score = score(*id).ok_or_else(wrong)?;
        if text.len() > LONGEST {
            return Err(Error::new(at("tokenizer.ggml.tokens"), format!("a piece has {} bytes", text.len()))
                .expected(format!("at most {LONGEST}")));
        }
        if tokens.kind(*id).is_none_or(|kind| kind == NORMAL) {
            known.insert(text, score);
        }
    }
    let unknown = meta("tokenizer.ggml.unknown_token_id").and_then(Meta::int);
    let unknown = unknown.and_then(|id| tokens.used.iter().find(|(_, own)| i64::from(*own) == id));
    if unknown.is_none() && !(0..=255).all(|value| tokens.vocab.contains_key(&byte(value)[..])) {
        return Err(Error::new(
            at("tokenizer.ggml.unknown_token_id"),
            "it names no token, and bytes are not all there",
        )
        .expected("a token for characters that have none"));
    }
    let wrong = |e: tokenizers::Error| Error::new(at("tokenizer.ggml"), format!("this tokenizer cannot be built: {e}"));
    let vocab = Vocab::from_iter(tokens.vocab.iter().map(|(text, id)| (text.to_string(), *id)));
    let mut bpe = BPE::builder().vocab_and_merges(vocab, merges(tokens, &known)).fuse_unk(true).byte_fallback(true);
    if let Some((text, _)) = unknown {
        bpe = bpe.unk_token(text.to_string());
    }
    let mut inner = Inner::new(bpe.build().map_err(wrong)?);

    let prefix = meta("tokenizer.ggml.add_space_prefix").and_then(Meta::bool).unwrap_or(true);
    let mut before: Vec<NormalizerWrapper> = vec![];
    let mut after: Vec<DecoderWrapper> =
        vec![Replace::new(SPACE, " ").map_err(wrong)?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if prefix {
        before.push(Prepend::new(SPACE.into()).into());
        after.push(Strip::new(' ', 1, 0).into());
    }
    before.push(Replace::new(" ", SPACE).map_err(wrong)?.into());
    inner.with_normalizer(Some(Normalizers::new(before))).map_err(wrong)?;
    inner.with_decoder(Some(Decoders::new(after)));
    Ok(inner)
}

/// Every pair of pieces that makes a piece: that of the highest score first; of pairs that make the same, the one of the
/// higher scores.
fn merges(tokens: &Tokens, known: &HashMap<&str, f64>) -> Vec<(String, String)> {
    let mut found = vec![];
    for (text, id) in &tokens.used {
        let Some(score) = known.get(text) else { continue };
        let halves = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        found.extend(halves.filter_map(|(left, right)| {
            let order = [*score, -f64::from(*id), *known.get(left)?, *known.get(right)?];
            Some((order, left, right))
        }));
    }
    let by_order = |a: &[f64; 4], b: &[f64; 4]| {
        let parts = a.iter().zip(b).map(|(a, b)| b.total_cmp(a));
        parts.fold(Ordering::Equal, Ordering::then)
    };
    found.sort_by(|(a, ..), (b, ..)| by_order(a, b));
    found.into_iter().map(|(_, left, right)| (left.to_string(), right.to_string())).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Hf, Roles, Tokenizer, from_gguf};
    use super::*;

    /// Bytes, pieces by score, characters, a word of the user's and a row without a token.
    pub(crate) fn meta(space: Option<bool>) -> HashMap<&'static str, Meta> {
        let text = |t: &str| Meta::Text(t.to_string());
        let mut tokens: Vec<(String, f64, i64)> =
            ["<unk>", "<s>", "</s>"].iter().zip([2, 3, 3]).map(|(t, kind)| (t.to_string(), 0.0, kind)).collect();
        tokens.extend((0..=255).map(|value| (byte(value), 0.0, 6)));
        let pieces = "▁t in he ▁a ▁the an ing ▁▁ th ▁th ain ▁in ▁▁▁▁ 12 ▁and";
        let all = pieces.split(' ').map(str::to_string).chain("▁abcdefghinrst12.é".chars().map(String::from));
        tokens.extend(all.enumerate().map(|(i, piece)| (piece, -(i as f64), 1)));
        tokens.extend([("<tool>".into(), 0.0, 4), ("<pad>".into(), -1000.0, 5)]);
        let mut meta = HashMap::from([
            ("tokenizer.ggml.model", text("llama")),
            ("tokenizer.ggml.tokens", Meta::List(tokens.iter().map(|(t, ..)| text(t)).collect())),
            ("tokenizer.ggml.scores", Meta::List(tokens.iter().map(|(_, score, _)| Meta::Float(*score)).collect())),
            ("tokenizer.ggml.token_type", Meta::List(tokens.iter().map(|(.., kind)| Meta::Int(*kind)).collect())),
            ("tokenizer.ggml.unknown_token_id", Meta::Int(0)),
            ("tokenizer.ggml.bos_token_id", Meta::Int(1)),
            ("tokenizer.ggml.eos_token_id", Meta::Int(2)),
        ]);
        if let Some(space) = space {
            meta.insert("tokenizer.ggml.add_space_prefix", Meta::Bool(space));
        }
        meta
    }

    fn open(meta: &HashMap<&str, Meta>) -> Result<Hf> {
        from_gguf("m.gguf", |key| meta.get(key))
    }

    /// Ids as llama.cpp's algorithm gives them; where only the beginning of a text gets a space, transformers gives the same.
    const TEXTS: [(&str, &[u32], &[u32]); 5] = [
        (
            "the train in the rain",
            &[263, 259, 285, 269, 270, 263, 274, 285, 269],
            &[287, 261, 259, 285, 269, 270, 263, 274, 285, 269],
        ),
        (
            " and  a    thing",
            &[274, 262, 284, 278, 274, 262, 266, 274, 268, 265],
            &[262, 284, 278, 274, 262, 266, 274, 268, 265],
        ),
        (
            "12121 é ü\n日",
            &[274, 272, 272, 288, 274, 291, 274, 198, 191, 13, 233, 154, 168],
            &[272, 272, 288, 274, 291, 274, 198, 191, 13, 233, 154, 168],
        ),
        (
            "<s>the<tool> an</s>then",
            &[1, 263, 292, 274, 262, 284, 2, 263, 284],
            &[1, 287, 261, 292, 262, 284, 2, 287, 261, 284],
        ),
        ("ththeinging", &[268, 287, 261, 265, 265], &[267, 287, 261, 265, 265]),
    ];

    #[test]
    fn pieces_are_joined_by_score() {
        for (text, spaced, plain) in TEXTS {
            for (space, ids) in [(None, spaced), (Some(true), spaced), (Some(false), plain)] {
                let tokenizer = open(&meta(space)).unwrap();
                assert_eq!(tokenizer.encode(text, true), ids, "{text} {space:?}");
                let spans = tokenizer.encode_offsets(text, true);
                assert!(spans.iter().all(|(_, span)| text.get(span.clone()).is_some()), "{spans:?}");
            }
        }
        let tokenizer = open(&meta(None)).unwrap();
        assert_eq!((tokenizer.bos(), tokenizer.stop(), tokenizer.vocab_size()), (Some(1), 2, 293));
        assert_eq!(tokenizer.decode(&[263, 259, 198, 191, 13]), "the tü\n");
        let forged = tokenizer.encode("</s>", false);
        assert!(!forged.contains(&2), "{forged:?}");
    }

    #[test]
    fn they_survive_as_json() {
        for space in [true, false] {
            let first = open(&meta(Some(space))).unwrap();
            let roles = Roles { stop: Some("</s>".into()), bos: Some("<s>".into()), ..Roles::default() };
            let again = Hf::from_json("tokenizer.json", first.to_json().as_bytes(), &roles).unwrap();
            assert_eq!((first.bos(), first.stop()), (again.bos(), again.stop()));
            for (text, ..) in TEXTS {
                assert_eq!(first.encode(text, true), again.encode(text, true), "{text}");
            }
        }
    }

    #[test]
    fn what_is_damaged_is_named() {
        let wrong = |key: &'static str, value: Option<Meta>| {
            let mut meta = meta(None);
            match value {
                Some(value) => meta.insert(key, value),
                None => meta.remove(key),
            };
            open(&meta).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let list = |n| Meta::List(vec![Meta::Float(f64::NAN); n]);
        assert!(wrong("tokenizer.ggml.scores", None).contains("has no score"));
        assert!(wrong("tokenizer.ggml.scores", Some(list(400))).contains("has no score"));
        assert!(wrong("tokenizer.ggml.eos_token_id", None).contains("which token ends a reply"));
        // Without bytes something must stand for what has no piece.
        let mut bare = meta(None);
        bare.remove("tokenizer.ggml.unknown_token_id");
        assert!(open(&bare).is_ok());
        tokens_of(&mut bare)[200] = Meta::Text("other".into());
        assert!(open(&bare).err().unwrap().to_string().contains("bytes are not all there"));
        tokens_of(&mut bare)[200] = Meta::Text("x".repeat(2000));
        assert!(open(&bare).err().unwrap().to_string().contains("2000 bytes"));
    }

    fn tokens_of<'m>(meta: &'m mut HashMap<&'static str, Meta>) -> &'m mut Vec<Meta> {
        match meta.get_mut("tokenizer.ggml.tokens") {
            Some(Meta::List(tokens)) => tokens,
            _ => panic!("a list"),
        }
    }
}
