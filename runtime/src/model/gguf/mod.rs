//! A GGUF file (versions 2 and 3) to its metadata and tensors.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::blocks::{self, Kind};
use super::files::let_go;
use crate::error::{Error, Result, quoted};

pub mod write;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Meta>),
}

impl Meta {
    pub fn int(&self) -> Option<i64> {
        match self {
            Meta::Int(value) => Some(*value),
            Meta::Float(_) | Meta::Bool(_) | Meta::Text(_) | Meta::List(_) => None,
        }
    }

    /// A number, whole or not.
    pub fn float(&self) -> Option<f64> {
        match self {
            Meta::Int(value) => Some(*value as f64),
            Meta::Float(value) => Some(*value),
            Meta::Bool(_) | Meta::Text(_) | Meta::List(_) => None,
        }
    }

    pub fn bool(&self) -> Option<bool> {
        match self {
            Meta::Bool(value) => Some(*value),
            Meta::Int(_) | Meta::Float(_) | Meta::Text(_) | Meta::List(_) => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Meta::Text(value) => Some(value),
            Meta::Int(_) | Meta::Float(_) | Meta::Bool(_) | Meta::List(_) => None,
        }
    }

    pub fn list(&self) -> Option<&[Meta]> {
        match self {
            Meta::List(value) => Some(value),
            Meta::Int(_) | Meta::Float(_) | Meta::Bool(_) | Meta::Text(_) => None,
        }
    }
}

/// Where a tensor lies in the file.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    /// Outermost dimension first (the file has it last).
    shape: Vec<usize>,
    kind: u32,
    /// From the beginning of the tensor data.
    offset: usize,
}

/// What stands before the tensor data.
#[derive(Debug)]
struct Head {
    meta: HashMap<String, Meta>,
    tensors: BTreeMap<String, Stored>,
    /// Where the tensor data begin in the file.
    data: usize,
}

/// An open GGUF file. Tensors are read when asked for.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    bytes: Mmap,
    head: Head,
}

impl Gguf {
    pub fn open(path: &Path) -> Result<Gguf> {
        let file = crate::data::regular(path)?;
        // SAFETY: the map is read only; as for every mapped file, nobody may cut the file short while it is read.
        let bytes = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "read", &e))?;
        let head = parse(&path.display().to_string(), &bytes)?;
        Ok(Gguf { path: path.to_path_buf(), bytes, head })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn meta(&self, key: &str) -> Option<&Meta> {
        self.head.meta.get(key)
    }

    /// Keys of the metadata, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.head.meta.keys().map(String::as_str)
    }

    /// Names of the tensors as the file has them.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.head.tensors.keys().map(String::as_str)
    }

    /// Outermost dimension first.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.head.tensors.get(name).map(|stored| &stored.shape[..])
    }

    /// The type and the bytes of a tensor.
    pub fn stored(&self, name: &str) -> Result<(&'static str, &[u8])> {
        let (_, kind, bytes) = self.find(name)?;
        Ok((kind.name, bytes))
    }

    /// Shape (outermost dimension first) and values of a tensor.
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let (stored, kind, bytes) = self.find(name)?;
        let values = blocks::values(kind, bytes);
        let start = self.head.data + stored.offset;
        let_go(&self.bytes, start..start + bytes.len());
        Ok((stored.shape.clone(), values))
    }

    fn find(&self, name: &str) -> Result<(&Stored, &'static Kind, &[u8])> {
        let place = self.path.display();
        let stored = (self.head.tensors.get(name))
            .ok_or_else(|| Error::new(&place, format!("there is no tensor {}", quoted(name))))?;
        let (kind, size) = extent(&place.to_string(), name, stored)?;
        let start = self.head.data + stored.offset;
        // Parsing has checked that the tensor ends within the file.
        Ok((stored, kind, &self.bytes[start..start + size]))
    }
}

/// A tensor's type and its size in bytes.
fn extent(place: &str, name: &str, stored: &Stored) -> Result<(&'static Kind, usize)> {
    let place = format!("{place}: tensor {}", quoted(name));
    let kind = blocks::kind(stored.kind).ok_or_else(|| {
        Error::new(&place, "values of this type cannot be read")
            .expected(format!("one of {}", blocks::names().join(", ")))
            .found(blocks::name_of(stored.kind))
            .fix("Use a file with one of these types, or the Hugging Face folder")
    })?;
    let count = stored.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let row = stored.shape.last().copied().unwrap_or(1);
    let whole = row % kind.values == 0;
    match count.and_then(|n| (n / kind.values).checked_mul(kind.bytes)) {
        Some(size) if whole => Ok((kind, size)),
        _ => Err(Error::new(&place, format!("the shape {:?} does not fit the type {}", stored.shape, kind.name))),
    }
}

fn parse(place: &str, bytes: &[u8]) -> Result<Head> {
    let mut read = Reader { place, bytes, at: 0 };
    if read.take(4).ok() != Some(b"GGUF") {
        return Err(Error::new(place, "this is not a GGUF file").expected("a file that begins with `GGUF`"));
    }
    let version = read.u32()?;
    if !matches!(version, 2 | 3) {
        return Err(Error::new(place, "this version of GGUF is not supported")
            .expected("version 2 or 3, little-endian")
            .found(format!("version {version}")));
    }
    let tensor_count = read.u64()?;
    let meta_count = read.u64()?;
    let mut meta = HashMap::new();
    for _ in 0..meta_count {
        let key = read.text()?;
        let kind = read.u32()?;
        let value = read.value(kind, 0)?;
        meta.insert(key, value);
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = read.text()?;
        let dimensions = read.u32()?;
        if dimensions > 8 {
            return Err(read.damaged(&format!("tensor {} has {dimensions} dimensions", quoted(&name))));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(read.size()?);
        }
        shape.reverse();
        let kind = read.u32()?;
        let offset = read.size()?;
        tensors.insert(name, Stored { shape, kind, offset });
    }
    let alignment = match meta.get("general.alignment").and_then(Meta::int) {
        None => 32,
        Some(n) => (usize::try_from(n).ok().filter(|n| n.is_power_of_two()))
            .ok_or_else(|| read.damaged(&format!("`general.alignment` is {n}")))?,
    };
    let data = read.at.checked_next_multiple_of(alignment).unwrap_or(read.at);
    for (name, stored) in &tensors {
        // A type that is not known has no size; reading that tensor says so.
        if blocks::kind(stored.kind).is_none() {
            continue;
        }
        let (_, size) = extent(place, name, stored)?;
        let end = stored.offset.checked_add(size).and_then(|n| n.checked_add(data));
        if end.is_none_or(|end| end > bytes.len()) {
            let end = end.map_or("beyond any file".to_string(), |end| format!("at byte {end}"));
            return Err(Error::new(place, format!("this file is cut short: tensor {} ends {end}", quoted(name)))
                .found(format!("{} bytes", bytes.len()))
                .fix("Fetch it again"));
        }
    }
    Ok(Head { meta, tensors, data })
}

/// Reads little-endian values one after the other.
struct Reader<'a> {
    place: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn damaged(&self, what: &str) -> Error {
        Error::new(self.place, format!("this GGUF file is damaged near byte {}: {what}", self.at)).fix("Fetch it again")
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            return Err(Error::new(self.place, format!("this file is cut short at byte {}", self.bytes.len()))
                .expected(format!("{count} bytes more from byte {}", self.at))
                .fix("Fetch it again"));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("`take` returns as many bytes as asked for"))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize> {
        let size = self.u64()?;
        usize::try_from(size).map_err(|_| self.damaged(&format!("{size} is too large")))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.size()?;
        let bytes = self.take(length)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Meta> {
        Ok(match kind {
            0 => Meta::Int(u8::from_le_bytes(self.array()?).into()),
            1 => Meta::Int(i8::from_le_bytes(self.array()?).into()),
            2 => Meta::Int(u16::from_le_bytes(self.array()?).into()),
            3 => Meta::Int(i16::from_le_bytes(self.array()?).into()),
            4 => Meta::Int(u32::from_le_bytes(self.array()?).into()),
            5 => Meta::Int(i32::from_le_bytes(self.array()?).into()),
            6 => Meta::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Meta::Bool(self.array::<1>()?[0] != 0),
            8 => Meta::Text(self.text()?),
            9 if depth < 4 => {
                let kind = self.u32()?;
                let count = self.u64()?;
                let mut items = Vec::new();
                for _ in 0..count {
                    items.push(self.value(kind, depth + 1)?);
                }
                Meta::List(items)
            }
            10 => Meta::Int(i64::try_from(self.u64()?).unwrap_or(i64::MAX)),
            11 => Meta::Int(i64::from_le_bytes(self.array()?)),
            12 => Meta::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(self.damaged(&format!("a value of type {other}"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::write::{Entry, Part, write};
    use super::*;

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn open(bytes: &[u8]) -> Result<Gguf> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Gguf::open(file.path())
    }

    fn sample() -> Vec<u8> {
        let meta = [
            ("name", Entry::Text("x".into())),
            ("list", Entry::I32s(vec![1, -2])),
            ("eps", Entry::F32(0.5)),
            ("texts", Entry::Texts(vec!["a".into()])),
        ];
        let part = |name: &str, shape: &[usize], kind, bytes: Vec<u8>| Part {
            name: name.into(),
            shape: shape.to_vec(),
            kind,
            size: bytes.len(),
            bytes: Box::new(move || Ok(bytes.clone().into())),
        };
        let parts = [
            part("a", &[2, 3], 0, floats(&[1., 2., 3., 4., 5., 6.])),
            part("k", &[1, 256], 16, vec![0; 66]),
            part("b", &[2], 0, floats(&[7., 8.])),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        write(file.path(), &meta.map(|(key, value)| (key.to_string(), value)), &parts).unwrap();
        let mut bytes = std::fs::read(file.path()).unwrap();
        // The last tensor is filled up too; without that every byte counts.
        bytes.truncate(bytes.len() - 24);
        bytes
    }

    #[test]
    fn reads() {
        let file = open(&sample()).unwrap();
        assert_eq!(file.meta("list").unwrap().list().unwrap()[1].int(), Some(-2));
        assert_eq!(file.tensor("a").unwrap(), (vec![2, 3], vec![1., 2., 3., 4., 5., 6.]));
        assert_eq!(file.tensor("b").unwrap().1, [7., 8.]);
        let error = file.tensor("k").unwrap_err().to_string();
        assert!(error.contains("tensor `k`") && error.contains("found IQ2_XXS"), "{error}");
        assert!(file.tensor("z").unwrap_err().to_string().contains("`z`"));
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = sample();
        for end in 0..whole.len() {
            let error = open(&whole[..end]).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("cut short") || error.contains("not a GGUF"), "{end}: {error}");
        }
    }

    #[test]
    fn no_byte_makes_it_panic() {
        let whole = sample();
        for at in 0..whole.len() {
            for value in [0, 1, 9, 127, 255] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(file) = parse("x.gguf", &bytes) {
                    let _ = file;
                }
            }
        }
    }
}
