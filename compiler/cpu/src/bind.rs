//! The places of what the caller gives to a run, and gets from it.

use align_compiler::kernel::bind::{Bindings, Fault, Slot};
use align_compiler::kernel::{Buffer, BufferKind};
use align_compiler::storage::Storage;
use align_compiler::tensor::DType;

/// The place of a bound buffer, and whether stores to it add.
pub type Bound = (*mut u8, bool);

/// The place that the bindings give a buffer; `None` for an output that is not kept.
pub fn bound(buffer: &Buffer, entries: usize, bindings: &mut Bindings) -> Result<Option<Bound>, Fault> {
    let (BufferKind::Input(name) | BufferKind::Weight(name) | BufferKind::Output(name)) = &buffer.kind else {
        return Ok(None);
    };
    let output = matches!(buffer.kind, BufferKind::Output(_));
    let slot = match bindings.get_mut(name.as_str()) {
        Some(slot) => slot,
        None if output => return Ok(None),
        None => return Err(Fault::Missing { name: name.clone() }),
    };
    if let (Slot::Over(other), false) = (&slot, output) {
        let other = *other;
        return match bindings.get_mut(other) {
            Some(Slot::Write(x))
                if x.len() == entries && buffer.dtype == DType::Float && buffer.storage == Storage::F32 =>
            {
                Ok(Some((x.as_mut_ptr().cast(), false)))
            }
            _ => Err(Fault::Slot { name: name.clone(), want: format!("as long as {other}, which is to be written") }),
        };
    }
    if let (Slot::Stored(storage, bytes), false) = (&slot, output)
        && *storage == buffer.storage
    {
        return match bytes.len() == buffer.bytes_of(entries) {
            true => Ok(Some((bytes.as_ptr().cast_mut(), false))),
            false => {
                let want = format!("{entries} numbers in {}, not {} bytes", storage.word(), bytes.len());
                Err(Fault::Slot { name: name.clone(), want })
            }
        };
    }
    let floats = buffer.storage == Storage::F32;
    let (at, length, add) = match (slot, buffer.dtype, output) {
        (Slot::Floats(x), DType::Float, false) if floats => (x.as_ptr().cast_mut().cast(), x.len(), false),
        (Slot::Ints(x), DType::Int, false) => (x.as_ptr().cast_mut().cast(), x.len(), false),
        (Slot::Bools(x), DType::Bool, false) => (x.as_ptr().cast_mut().cast(), x.len(), false),
        (Slot::Write(x), DType::Float, true) => (x.as_mut_ptr().cast(), x.len(), false),
        (Slot::Add(x), DType::Float, true) => (x.as_mut_ptr().cast(), x.len(), true),
        (Slot::WriteInts(x), DType::Int, true) => (x.as_mut_ptr().cast(), x.len(), false),
        (Slot::WriteBools(x), DType::Bool, true) => (x.as_mut_ptr().cast(), x.len(), false),
        _ => {
            let what = if output { "a place for" } else { "" };
            let form = if floats { String::new() } else { format!(" in {}", buffer.storage.word()) };
            return Err(Fault::Slot {
                name: name.clone(),
                want: format!("{what} {:?}s{form}", buffer.dtype).trim().to_string(),
            });
        }
    };
    match length == entries {
        true => Ok(Some((at, add))),
        false => Err(Fault::Slot { name: name.clone(), want: format!("{entries} entries, not {length}") }),
    }
}
