//! Named arrays in a safetensors file, with a hash of each.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, SafeTensorError, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result, quoted};
use crate::model::files::replace;

/// The name of an array and the hash of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub name: String,
    pub sha256: String,
}

struct Floats<'a> {
    shape: [usize; 1],
    values: &'a [f32],
}

impl View for Floats<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(bytemuck::cast_slice(self.values))
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

fn sum(name: &str, values: &[f32]) -> Sum {
    Sum { name: name.into(), sha256: sha256(bytemuck::cast_slice(values)) }
}

/// In hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file at once: it is there whole, or not at all.
pub fn write(path: &Path, arrays: &[(&str, &[f32])]) -> Result<Vec<Sum>> {
    let views = arrays.iter().map(|(name, values)| (*name, Floats { shape: [values.len()], values }));
    replace(path, |temporary| match safetensors::serialize_to_file(views, None, temporary) {
        Ok(()) => Ok(()),
        Err(SafeTensorError::IoError(e)) => Err(Error::io(path, "write", &e)),
        Err(e) => Err(Error::new(path.display(), format!("cannot write this: {e}"))),
    })?;
    Ok(arrays.iter().map(|(name, values)| sum(name, values)).collect())
}

/// Reads the arrays that `sums` name, in their order. An error if one is missing or has changed.
pub fn read(path: &Path, sums: &[Sum]) -> Result<Vec<Vec<f32>>> {
    let damaged = |what: String| Error::new(path.display(), what);
    let file = File::open(path).map_err(|e| Error::io(path, "read", &e))?;
    // SAFETY: the store's files are replaced, never changed in place.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "read", &e))?;
    let tensors = SafeTensors::deserialize(&map).map_err(|e| damaged(format!("this file is damaged: {e}")))?;
    let mut arrays = vec![];
    for want in sums {
        let tensor = tensors.tensor(&want.name).ok().filter(|tensor| tensor.dtype() == Dtype::F32);
        let tensor =
            tensor.ok_or_else(|| damaged(format!("this file is damaged: {} is missing", quoted(&want.name))))?;
        let values: Vec<f32> =
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if sum(&want.name, &values) != *want {
            return Err(damaged(format!("this file is damaged: {} has other numbers", quoted(&want.name))));
        }
        arrays.push(values);
    }
    Ok(arrays)
}
