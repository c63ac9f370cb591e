//! What the caller gives to a run, and gets from it.

use align_compiler::kernel::{Buffer, BufferKind, Program};
use align_compiler::storage::Storage;
use align_compiler::tensor::DType;
use std::collections::HashMap;
use std::fmt;

/// What a program reads, or where one of its outputs goes. Numbers lie in the order of the buffer's axes.
pub enum Slot<'a> {
    Floats(&'a [f32]),
    Ints(&'a [i32]),
    Bools(&'a [bool]),
    /// Floats that lie where the output of this name goes: it is written over them.
    Over(&'a str),
    /// Floats in fewer bits than f32.
    Stored(Storage, &'a [u8]),
    Write(&'a mut [f32]),
    /// The output is added to what is there.
    Add(&'a mut [f32]),
    WriteInts(&'a mut [i32]),
    WriteBools(&'a mut [bool]),
}

/// Inputs, weights (by path) and outputs by name. Outputs without a slot are not kept.
pub type Bindings<'a> = HashMap<&'a str, Slot<'a>>;

/// Why a program could not be run to its end. Outputs may hold anything then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An index lies outside of what it reads or writes.
    Index { step: String, buffer: String, index: i64 },
    /// An Int is divided by 0.
    Division { step: String },
    /// An input or a weight has no slot.
    Missing { name: String },
    /// A slot has the wrong kind or length.
    Slot { name: String, want: String },
    /// A matrix that has no such decomposition or inverse.
    Matrix { step: String, what: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Index { step, buffer, index } => write!(f, "index {index} lies outside of {buffer} (in {step})"),
            Fault::Division { step } => write!(f, "an Int is divided by 0 (in {step})"),
            Fault::Missing { name } => write!(f, "{name} is not given"),
            Fault::Slot { name, want } => write!(f, "{name} must be {want}"),
            Fault::Matrix { step, what } => write!(f, "{what} (in {step})"),
        }
    }
}

impl std::error::Error for Fault {}

/// Whether the program allows what is bound in the place of an output.
pub fn check_overlays(program: &Program, bindings: &Bindings) -> Result<(), Fault> {
    for (name, slot) in bindings {
        if let Slot::Over(output) = slot
            && !program.overlays(name, output)
        {
            let want = format!("apart from {output}, which is not worked out entry by entry");
            return Err(Fault::Slot { name: name.to_string(), want });
        }
    }
    Ok(())
}

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
