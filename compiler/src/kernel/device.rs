//! Numbers that stay in a device's memory between runs.

use std::any::Any;
use std::fmt;
use std::ops::Range;

/// What a device could not do, as a clause: its memory is full, or it is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceError(pub String);

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for DeviceError {}

/// f32 numbers in a device's memory. They change through `&`, as the device does it, not Rust; all that is asked of one device
/// happens in the order of the calls, runs of programs among them. What fails without saying so (an array for which there is
/// no memory) is told by the next run that is given it, or by what reads it.
///
/// Places and ranges are in entries and lie inside of the array; other arrays are of the same device.
pub trait DeviceArray: Any {
    /// Entries.
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn read(&self, range: Range<usize>) -> Result<Vec<f32>, DeviceError>;
    /// Puts numbers at a place.
    fn write(&self, at: usize, values: &[f32]);
    /// Another array in the same memory, of zeros.
    fn zeros(&self, len: usize) -> Box<dyn DeviceArray>;
    /// Sets every entry.
    fn fill(&self, value: f32);
    /// Copies a range of another array to a place.
    fn copy(&self, at: usize, from: &dyn DeviceArray, range: Range<usize>);
    /// Multiplies every entry.
    fn scale(&self, factor: f32);
    /// The square root of the sum of all squares, as exact as f64 has it.
    fn norm(&self) -> Result<f64, DeviceError>;
    /// One step of a compensated sum (Kahan 1965) in every entry: `carry`, to which the next term was added, goes into the sum,
    /// and what was rounded away stays in `carry`: `next = sum + carry; carry -= next - sum; sum = next`, each rounded to f32.
    fn fold(&self, carry: &dyn DeviceArray);
    /// For the device, which knows its own arrays.
    fn as_any(&self) -> &dyn Any;
}

/// Bytes in a device's memory, which stay as they are.
pub trait DeviceBytes: Any {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// For the device, which knows its own bytes.
    fn as_any(&self) -> &dyn Any;
}

/// Some of an array's entries.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub array: &'a dyn DeviceArray,
    pub start: usize,
    pub len: usize,
}

impl<'a> Place<'a> {
    pub fn new(array: &'a dyn DeviceArray, range: Range<usize>) -> Place<'a> {
        Place { array, start: range.start, len: range.len() }
    }

    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}
