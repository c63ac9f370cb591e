//! A folder's safetensors files, sharded or not, to named tensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use serde_json::Value;

use super::files::{let_go, read_json};
use crate::error::{Error, Result, quoted};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Dtype {
    fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }
}

#[derive(Debug)]
struct Stored {
    /// Index of the file.
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes in the file.
    start: usize,
    end: usize,
}

/// The tensors of a folder. Values are read when asked for.
#[derive(Debug)]
pub struct Folder {
    files: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Stored>,
}

impl Folder {
    pub fn open(folder: &Path) -> Result<Folder> {
        let index = folder.join(INDEX);
        if index.exists() {
            return Folder::sharded(folder, &index);
        }
        let single = folder.join(SINGLE);
        if !single.exists() {
            let wrong =
                Error::new(folder.display(), "there are no weights here").expected(format!("{SINGLE} or {INDEX}"));
            return Err(match folder.join("pytorch_model.bin").exists() {
                true => wrong.found("pytorch_model.bin").fix("Save the model as safetensors"),
                false => wrong.fix("Check the path"),
            });
        }
        Folder::file(single)
    }

    /// The tensors of one file.
    pub fn file(path: PathBuf) -> Result<Folder> {
        let mut whole = Folder { files: Vec::new(), tensors: BTreeMap::new() };
        whole.add(path)?;
        Ok(whole)
    }

    fn sharded(folder: &Path, index: &Path) -> Result<Folder> {
        let json = read_json(index)?;
        let place = index.display();
        let map = json["weight_map"].as_object().ok_or_else(|| {
            Error::new(&place, "field `weight_map` is missing").expected("names of tensors and files")
        })?;
        let mut files: Vec<&str> = Vec::new();
        for (name, file) in map {
            // A name with folders in it could point anywhere.
            let file = file.as_str().filter(|file| Path::new(file).file_name() == Some(file.as_ref()));
            let file = file.ok_or_else(|| {
                Error::new(&place, format!("tensor {} is in no file of this folder", quoted(name)))
                    .expected("a file name")
            })?;
            files.push(file);
        }
        files.sort_unstable();
        files.dedup();
        let mut whole = Folder { files: Vec::new(), tensors: BTreeMap::new() };
        for file in files {
            whole.add(folder.join(file))?;
        }
        for (name, file) in map {
            if !whole.tensors.contains_key(name) {
                let file = file.as_str().unwrap_or_default();
                return Err(Error::new(&place, format!("tensor {} is not in {file}, as it says", quoted(name)))
                    .fix("Fetch the folder again: its files do not belong together"));
            }
        }
        Ok(whole)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let file = File::open(&path).map_err(|e| Error::io(&path, "read", &e))?;
        // SAFETY: the map is read only; as for every mapped file, nobody may cut the file short while it is read.
        let bytes = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(&path, "read", &e))?;
        for (name, stored) in parse(&path.display().to_string(), &bytes, self.files.len())? {
            if let Some(other) = self.tensors.insert(name.clone(), stored) {
                let other = self.files[other.file].0.display();
                return Err(Error::new(path.display(), format!("tensor {} is also in {other}", quoted(&name))));
            }
        }
        self.files.push((path, bytes));
        Ok(())
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| &stored.shape[..])
    }

    /// Shape and values of a tensor that is there.
    pub fn tensor(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let stored = self.tensors.get(name)?;
        // Parsing has checked that the tensor ends within the file.
        let map = &self.files[stored.file].1;
        let bytes = &map[stored.start..stored.end];
        let values = match stored.dtype {
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        };
        let_go(map, stored.start..stored.end);
        Some((stored.shape.clone(), values))
    }
}

/// Reads the header: 8 bytes of its length, its JSON, then the data.
fn parse(place: &str, bytes: &[u8], file: usize) -> Result<Vec<(String, Stored)>> {
    let again = |what: String| Error::new(place, what).fix("Fetch the file again");
    let Some(length) = bytes.first_chunk::<8>() else {
        return Err(again(format!("this file is cut short: it has {} bytes", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    let data = usize::try_from(length).ok().and_then(|n| n.checked_add(8));
    let Some(data) = data.filter(|&data| data <= bytes.len()) else {
        return Err(again(format!("this is no safetensors file, or it is cut short: its header has {length} bytes"))
            .found(format!("{} bytes in all", bytes.len())));
    };
    let header: Value = serde_json::from_slice(&bytes[8..data])
        .map_err(|e| again(format!("this file is damaged: its header is not JSON: {e}")))?;
    let header =
        header.as_object().ok_or_else(|| again("this file is damaged: its header is no JSON object".into()))?;
    let mut out = Vec::new();
    let mut last = data;
    for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let damaged = |what: &str| again(format!("this file is damaged: tensor {} {what}", quoted(name)));
        let dtype = match entry["dtype"].as_str() {
            Some("F32") => Dtype::F32,
            Some("F16") => Dtype::F16,
            Some("BF16") => Dtype::Bf16,
            Some(_) if is_buffer(name) => continue,
            other => {
                return Err(Error::new(
                    format!("{place}: tensor {}", quoted(name)),
                    "values of this type cannot be read",
                )
                .expected("F32, F16 or BF16")
                .found(other.unwrap_or("no `dtype`")));
            }
        };
        let size = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let sizes = |value: &Value| value.as_array()?.iter().map(size).collect::<Option<Vec<usize>>>();
        let shape = sizes(&entry["shape"]).ok_or_else(|| damaged("has no shape"))?;
        let Some([from, to]) = sizes(&entry["data_offsets"]).and_then(|list| <[usize; 2]>::try_from(list).ok()) else {
            return Err(damaged("has no place in the file"));
        };
        let length = shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
        if length.is_none() || to.checked_sub(from) != length {
            return Err(damaged(&format!("of shape {shape:?} does not fit its bytes {from}..{to}")));
        }
        let (Some(start), Some(end)) = (from.checked_add(data), to.checked_add(data)) else {
            return Err(damaged("lies beyond any file"));
        };
        if end > bytes.len() {
            return Err(again(format!("this file is cut short: tensor {} ends at byte {end}", quoted(name)))
                .found(format!("{} bytes", bytes.len())));
        }
        last = last.max(end);
        out.push((name.clone(), Stored { file, dtype, shape, start, end }));
    }
    let skipped = header.len() > out.len() + usize::from(header.contains_key("__metadata__"));
    if last != bytes.len() && !skipped {
        return Err(again("this file is damaged: its header does not account for all of it".into())
            .expected(format!("{last} bytes"))
            .found(bytes.len().to_string()));
    }
    Ok(out)
}

/// Masks that old checkpoints of GPT-2 store beside the weights.
fn is_buffer(name: &str) -> bool {
    name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn sample() -> Vec<u8> {
        let mut data: Vec<u8> = [1.0f32, -2.5].iter().flat_map(|v| v.to_le_bytes()).collect();
        data.extend(f16::from_f32(0.5).to_le_bytes());
        data.extend(bf16::from_f32(-3.0).to_le_bytes());
        let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},
            "b":{"dtype":"F16","shape":[],"data_offsets":[8,10]},"c":{"dtype":"BF16","shape":[1],"data_offsets":[10,12]}}"#;
        file(header, &data)
    }

    fn open(bytes: &[u8]) -> Result<Folder> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(SINGLE), bytes).unwrap();
        Folder::open(folder.path())
    }

    #[test]
    fn reads() {
        let folder = open(&sample()).unwrap();
        assert_eq!(folder.tensor("a").unwrap(), (vec![2, 1], vec![1.0, -2.5]));
        assert_eq!(folder.tensor("b").unwrap(), (vec![], vec![0.5]));
        assert_eq!(folder.tensor("c").unwrap(), (vec![1], vec![-3.0]));
        assert!(folder.tensor("d").is_none());
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = sample();
        for end in 0..whole.len() {
            let error = open(&whole[..end]).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("model.safetensors") && error.contains("cut short"), "{end}: {error}");
        }
    }

    #[test]
    fn no_byte_makes_it_panic() {
        let whole = sample();
        for at in 0..whole.len() {
            for value in [0, b'9', b'"', b'}', 255] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = parse("x", &bytes, 0).is_ok();
            }
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let wrong = |header: &str, bytes: usize| open(&file(header, &vec![0; bytes])).unwrap_err().to_string();
        let error = wrong(r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#, 8);
        assert!(error.contains("tensor `a`") && error.contains("found I64"), "{error}");
        let error = wrong(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8);
        assert!(error.contains("[3] does not fit its bytes 0..8"), "{error}");
        let error = wrong(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 9);
        assert!(error.contains("account for all"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        assert!(Folder::open(empty.path()).unwrap_err().to_string().contains("no weights"));
    }

    #[test]
    fn shards() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        put("one.safetensors", &sample());
        put("two.safetensors", &file(r#"{"z":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]));
        put(INDEX, br#"{"weight_map":{"a":"one.safetensors","z":"two.safetensors"}}"#);
        let whole = Folder::open(folder.path()).unwrap();
        assert_eq!(whole.tensors().collect::<Vec<_>>(), ["a", "b", "c", "z"]);
        let error = |index: &str| {
            put(INDEX, index.as_bytes());
            Folder::open(folder.path()).unwrap_err().to_string()
        };
        assert!(error(r#"{"weight_map":{"q":"one.safetensors"}}"#).contains("`q` is not in one.safetensors"));
        assert!(error(r#"{"weight_map":{"a":"three.safetensors"}}"#).contains("three.safetensors"));
        assert!(error(r#"{"weight_map":{"a":"../one.safetensors"}}"#).contains("no file of this folder"));
        assert!(error(r#"{"weight"#).contains("not JSON"));
        assert!(error("{}").contains("weight_map"));
    }
}
