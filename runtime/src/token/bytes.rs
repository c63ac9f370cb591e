//! The tokenizer without a vocabulary file: 256 bytes and one stop token.

use std::ops::Range;

use serde_json::{Map, json};

use super::Tokenizer;

const STOP: u32 = 256;
const STOP_TEXT: &str = "<|stop|>";

/// 256 bytes and one stop token (id 256), which no text contains.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

impl Tokenizer for Bytes {
    fn encode_offsets(&self, text: &str, _special: bool) -> Vec<(u32, Range<usize>)> {
        text.bytes().enumerate().map(|(at, byte)| (u32::from(byte), at..at + 1)).collect()
    }

    fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().filter_map(|&id| u8::try_from(id).ok()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn vocab_size(&self) -> usize {
        257
    }

    fn stop(&self) -> u32 {
        STOP
    }

    fn bos(&self) -> Option<u32> {
        None
    }

    fn bos_text(&self) -> Option<String> {
        None
    }

    fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        u8::try_from(id).ok().map(|byte| vec![byte])
    }

    fn token_text(&self, id: u32) -> Option<String> {
        match u8::try_from(id) {
            Ok(byte) => Some(byte_char(byte).to_string()),
            Err(_) => (id == STOP).then(|| STOP_TEXT.to_string()),
        }
    }

    fn special(&self) -> Vec<(String, u32)> {
        Vec::new()
    }

    fn to_json(&self) -> String {
        let vocab: Map<_, _> = (0..=255u8).map(|b| (byte_char(b).to_string(), json!(b))).collect();
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [{
                "id": STOP, "content": STOP_TEXT, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true
            }],
            "normalizer": null,
            "pre_tokenizer": byte_level,
            "post_processor": null,
            "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []
            }
        })
        .to_string()
    }

    fn identity(&self) -> String {
        "bytes".into()
    }
}

/// The printable character that byte-level vocabularies write for a byte: itself where Latin-1 has a visible
/// character, else the next free one from U+0100 on.
pub(super) fn byte_char(byte: u8) -> char {
    if is_visible(byte) {
        return char::from(byte);
    }
    let hidden_before = (0..byte).filter(|&b| !is_visible(b)).count() as u32;
    char::from_u32(0x100 + hidden_before).expect("there are fewer than 256 hidden bytes")
}

/// The byte that such a character stands for.
pub(super) fn char_byte(written: char) -> Option<u8> {
    match u32::from(written).checked_sub(0x100) {
        None => u8::try_from(written).ok().filter(|byte| is_visible(*byte)),
        Some(hidden) => (0..=255).filter(|byte| !is_visible(*byte)).nth(hidden as usize),
    }
}

fn is_visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

#[cfg(test)]
mod tests {
    use super::super::{Hf, Roles};
    use super::*;

    #[test]
    fn characters_stand_for_bytes() {
        assert!((0..=255).all(|byte| char_byte(byte_char(byte)) == Some(byte)));
        assert_eq!((char_byte('▁'), char_byte(' ')), (None, None));
    }

    #[test]
    fn round_trip() {
        let text = "naïve 🦀\n";
        let ids = Bytes.encode(text, true);
        assert_eq!(ids.len(), text.len());
        assert_eq!(Bytes.decode(&ids), text);
        assert_eq!(Bytes.decode(&[104, 105, STOP]), "hi");
        assert_eq!(Bytes.encode("<|stop|>", true).len(), 8, "no text contains the stop token");
    }

    /// Written to a folder and read back it is the same tokenizer.
    #[test]
    fn as_tokenizer_json() {
        let roles = Roles { stop: Some(STOP_TEXT.into()), ..Roles::default() };
        let read = Hf::from_json("tokenizer.json", Bytes.to_json().as_bytes(), &roles).unwrap();
        let text = "a naïve\t 🦀 \u{0}\u{7f}";
        assert_eq!(read.encode(text, false), Bytes.encode(text, false));
        assert_eq!((read.vocab_size(), read.stop()), (257, STOP));
        assert_eq!(read.decode(&Bytes.encode(text, false)), text);
    }
}
