//! What the caller of a program gives to a run, and gets from it.

use std::collections::HashMap;
use std::fmt;

use crate::kernel::device::{DeviceBytes, Place};
use crate::kernel::ir::Program;
use crate::storage::Storage;

/// What a program reads, or where one of its outputs goes. Numbers lie in the order of the buffer's axes.
pub enum Slot<'a> {
    Floats(&'a [f32]),
    Ints(&'a [i32]),
    Bools(&'a [bool]),
    /// Floats that lie where the output of this name goes: it is written over them.
    Over(&'a str),
    /// Floats in fewer bits than f32.
    Stored(Storage, &'a [u8]),
    /// Floats in the memory of the device that runs the program.
    Held(Place<'a>),
    /// Floats in fewer bits than f32, there too.
    StoredHeld(Storage, &'a dyn DeviceBytes),
    Write(&'a mut [f32]),
    /// The output is added to what is there.
    Add(&'a mut [f32]),
    WriteInts(&'a mut [i32]),
    WriteBools(&'a mut [bool]),
    /// As `Write` and `Add`, in the device's memory. Places of one array that are written in a run do not overlap, and it is
    /// read in that run only by [`Slot::Over`].
    WriteHeld(Place<'a>),
    AddHeld(Place<'a>),
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
    /// The device failed, or has no room.
    Device { what: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Index { step, buffer, index } => write!(f, "index {index} lies outside of {buffer} (in {step})"),
            Fault::Division { step } => write!(f, "an Int is divided by 0 (in {step})"),
            Fault::Missing { name } => write!(f, "{name} is not given"),
            Fault::Slot { name, want } => write!(f, "{name} must be {want}"),
            Fault::Matrix { step, what } => write!(f, "{what} (in {step})"),
            Fault::Device { what } => write!(f, "{what}"),
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
