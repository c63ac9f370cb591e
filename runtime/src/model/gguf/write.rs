//! Metadata and tensors to a GGUF file, version 3.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::Meta;
use crate::error::{Error, Result};
use crate::model::files::replace;

/// Where tensors begin: at multiples of this many bytes, as files without `general.alignment` have it.
const ALIGNMENT: usize = 32;

/// A value of the metadata with its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// As a reader of the file finds it.
impl From<Entry> for Meta {
    fn from(entry: Entry) -> Meta {
        match entry {
            Entry::U32(value) => Meta::Int(value.into()),
            Entry::F32(value) => Meta::Float(value.into()),
            Entry::Bool(value) => Meta::Bool(value),
            Entry::Text(value) => Meta::Text(value),
            Entry::Texts(items) => Meta::List(items.into_iter().map(Meta::Text).collect()),
            Entry::I32s(items) => Meta::List(items.into_iter().map(|item| Meta::Int(item.into())).collect()),
            Entry::F32s(items) => Meta::List(items.into_iter().map(|item| Meta::Float(item.into())).collect()),
        }
    }
}

/// A tensor to be written. Its bytes are made when their turn comes.
pub struct Part<'a> {
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// The code of its type.
    pub kind: u32,
    /// How many bytes it has.
    pub size: usize,
    pub bytes: Box<dyn Fn() -> Result<Cow<'a, [u8]>> + 'a>,
}

/// Writes a file that is either the old one or the new one at any time.
pub fn write(path: &Path, meta: &[(String, Entry)], parts: &[Part]) -> Result<()> {
    replace(path, |temporary| {
        let failed = |e: io::Error| Error::io(path, "write", &e);
        let mut out = BufWriter::new(std::fs::File::create(temporary).map_err(failed)?);
        let head = head(meta, parts);
        out.write_all(&head).map_err(failed)?;
        pad(&mut out, head.len()).map_err(failed)?;
        for part in parts {
            let bytes = (part.bytes)()?;
            assert_eq!(bytes.len(), part.size, "{} has the size that was laid out", part.name);
            out.write_all(&bytes).and_then(|()| pad(&mut out, bytes.len())).map_err(failed)?;
        }
        out.flush().map_err(failed)
    })
}

/// Zeros up to where the next tensor begins.
fn pad(out: &mut impl Write, length: usize) -> io::Result<()> {
    out.write_all(&[0; ALIGNMENT][..length.next_multiple_of(ALIGNMENT) - length])
}

/// All that stands before the tensors' bytes.
fn head(meta: &[(String, Entry)], parts: &[Part]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((parts.len() as u64).to_le_bytes());
    out.extend((meta.len() as u64).to_le_bytes());
    for (key, value) in meta {
        text(&mut out, key);
        entry(&mut out, value);
    }
    let mut offset = 0u64;
    for part in parts {
        text(&mut out, &part.name);
        out.extend((part.shape.len() as u32).to_le_bytes());
        part.shape.iter().rev().for_each(|&d| out.extend((d as u64).to_le_bytes()));
        out.extend(part.kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += part.size.next_multiple_of(ALIGNMENT) as u64;
    }
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Codes of the types of metadata.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const LIST: u32 = 9;

fn entry(out: &mut Vec<u8>, value: &Entry) {
    fn list<T>(out: &mut Vec<u8>, kind: u32, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
        out.extend(LIST.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend((items.len() as u64).to_le_bytes());
        items.iter().for_each(|item| put(out, item));
    }
    match value {
        Entry::U32(value) => out.extend([U32.to_le_bytes(), value.to_le_bytes()].concat()),
        Entry::F32(value) => out.extend([F32.to_le_bytes(), value.to_le_bytes()].concat()),
        Entry::Bool(value) => {
            out.extend(BOOL.to_le_bytes());
            out.push(u8::from(*value));
        }
        Entry::Text(value) => {
            out.extend(TEXT.to_le_bytes());
            text(out, value);
        }
        Entry::Texts(items) => list(out, TEXT, items, |out, item| text(out, item)),
        Entry::I32s(items) => list(out, I32, items, |out, item| out.extend(item.to_le_bytes())),
        Entry::F32s(items) => list(out, F32, items, |out, item| out.extend(item.to_le_bytes())),
    }
}
