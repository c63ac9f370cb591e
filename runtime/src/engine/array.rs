//! Arrays of numbers that stay from run to run, where the engine has them.

use std::borrow::Cow;
use std::ops::Range;

use align_compiler::kernel::device::{DeviceArray, DeviceError, Place};

use super::{Slot, arena, large};

/// f32 numbers in the memory that an engine works in. All arrays of an engine are of one kind.
pub enum Array {
    Host(Vec<f32>),
    Device(Box<dyn DeviceArray>),
}

/// Some of an array, apart from the rest of it, where outputs go.
pub enum Part<'a> {
    Host(&'a mut [f32]),
    Device(Place<'a>),
}

impl Default for Array {
    fn default() -> Array {
        Array::Host(vec![])
    }
}

impl<'a> Part<'a> {
    /// An output is written here.
    pub fn write(self) -> Slot<'a> {
        match self {
            Part::Host(values) => Slot::Write(values),
            Part::Device(place) => Slot::WriteHeld(place),
        }
    }

    /// An output is added here.
    pub fn add(self) -> Slot<'a> {
        match self {
            Part::Host(values) => Slot::Add(values),
            Part::Device(place) => Slot::AddHeld(place),
        }
    }
}

impl Array {
    pub fn len(&self) -> usize {
        match self {
            Array::Host(values) => values.len(),
            Array::Device(array) => array.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the numbers for a program to read.
    pub fn slot(&self, range: Range<usize>) -> Slot<'_> {
        match self {
            Array::Host(values) => Slot::Floats(&values[range]),
            Array::Device(array) => Slot::Held(Place::new(&**array, range)),
        }
    }

    /// All numbers for a program to read.
    pub fn whole(&self) -> Slot<'_> {
        self.slot(0..self.len())
    }

    pub fn part(&mut self, range: Range<usize>) -> Part<'_> {
        match self {
            Array::Host(values) => Part::Host(&mut values[range]),
            Array::Device(array) => Part::Device(Place::new(&**array, range)),
        }
    }

    /// All of it.
    pub fn all(&mut self) -> Part<'_> {
        self.part(0..self.len())
    }

    /// Parts of these lengths, end to end.
    pub fn parts(&mut self, lengths: impl Iterator<Item = usize>) -> Vec<Part<'_>> {
        match self {
            Array::Host(values) => {
                let mut rest = &mut values[..];
                let cut = |len| {
                    let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
                    rest = after;
                    Part::Host(part)
                };
                lengths.map(cut).collect()
            }
            Array::Device(array) => {
                let mut end = 0;
                let cut = |len| {
                    end += len;
                    Part::Device(Place::new(&**array, end - len..end))
                };
                lengths.map(cut).collect()
            }
        }
    }

    /// All numbers; they are copied only where they are not on the host.
    pub fn read(&self) -> Result<Cow<'_, [f32]>, DeviceError> {
        match self {
            Array::Host(values) => Ok(Cow::Borrowed(values)),
            Array::Device(array) => array.read(0..array.len()).map(Cow::Owned),
        }
    }

    pub fn host(self) -> Result<Vec<f32>, DeviceError> {
        match self {
            Array::Host(values) => Ok(values),
            Array::Device(array) => array.read(0..array.len()),
        }
    }

    /// Other numbers, as many.
    pub fn set(&mut self, numbers: Vec<f32>) {
        match self {
            Array::Host(values) => *values = numbers,
            Array::Device(array) => array.write(0, &numbers),
        }
    }

    /// So many zeros in the same memory.
    pub fn zeros(&self, len: usize) -> Array {
        match self {
            Array::Host(_) => Array::Host(large::zeros(len)),
            Array::Device(array) => Array::Device(array.zeros(len)),
        }
    }

    /// The same numbers again, in the same memory.
    pub fn copy(&self) -> Array {
        match self {
            Array::Host(values) => Array::Host(values.clone()),
            Array::Device(array) => {
                let copy = array.zeros(array.len());
                copy.copy(0, &**array, 0..array.len());
                Array::Device(copy)
            }
        }
    }

    /// Copies a range of another array to a place.
    pub fn copy_from(&mut self, at: usize, from: &Array, range: Range<usize>) {
        match (self, from) {
            (Array::Host(to), Array::Host(from)) => to[at..at + range.len()].copy_from_slice(&from[range]),
            (Array::Device(to), Array::Device(from)) => to.copy(at, &**from, range),
            _ => unreachable!("arrays of one engine"),
        }
    }

    pub fn fill(&mut self, value: f32) {
        match self {
            Array::Host(values) => values.fill(value),
            Array::Device(array) => array.fill(value),
        }
    }

    /// Multiplies every entry.
    pub fn scale(&mut self, factor: f32) {
        match self {
            Array::Host(values) => values.iter_mut().for_each(|x| *x *= factor),
            Array::Device(array) => array.scale(factor),
        }
    }

    /// The square root of the sum of all squares, taken in f64. The host uses so many threads.
    pub fn norm(&self, threads: usize) -> Result<f64, DeviceError> {
        match self {
            Array::Host(values) => Ok(arena::norm(values, threads)),
            Array::Device(array) => array.norm(),
        }
    }

    /// One step of a compensated sum in every entry, as [`DeviceArray::fold`] says. The host uses so many threads.
    pub fn fold(&mut self, carry: &mut Array, threads: usize) {
        match (self, carry) {
            (Array::Host(sum), Array::Host(carry)) => arena::fold(sum, carry, threads),
            (Array::Device(sum), Array::Device(carry)) => sum.fold(&**carry),
            _ => unreachable!("arrays of one engine"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Cpu, Engine, Interpreter};

    /// What each pass leaves in an array, and the norm.
    fn passes(engine: &dyn Engine) -> (Vec<Vec<f32>>, f64) {
        let values: Vec<f32> = (0..10).map(|i| 0.1 * i as f32 - 0.3).collect();
        let mut a = engine.array(values);
        let mut seen = vec![];
        let mut see = |array: &Array| seen.push(array.read().unwrap().into_owned());
        let mut b = a.copy();
        b.scale(3.0);
        see(&a);
        see(&b);
        b.copy_from(7, &a, 1..4);
        see(&b);
        let mut carry = a.zeros(10);
        see(&carry);
        carry.fill(1e-8);
        a.fold(&mut carry, 2);
        see(&a);
        see(&carry);
        a.set(vec![0.5; 10]);
        see(&a);
        see(&engine.zeros(3));
        let norm = b.norm(2).unwrap();
        seen.push(b.host().unwrap());
        (seen, norm)
    }

    #[test]
    fn a_devices_arrays_are_as_the_hosts() {
        let (host, norm) = passes(&Cpu::new(2));
        assert!(matches!(Interpreter.array(vec![1.0]), Array::Device(_)));
        assert_eq!(passes(&Interpreter), (host.clone(), norm));
        assert_eq!(host[2][6..], [host[1][6], host[0][1], host[0][2], host[0][3]]);
        assert!(host[5].iter().any(|left| *left != 0.0), "what is rounded away stays");
    }

    #[test]
    fn parts_lie_end_to_end() {
        for engine in [&Cpu::new(1) as &dyn Engine, &Interpreter] {
            let mut array = engine.zeros(6);
            for (i, part) in array.parts([1, 3, 2].into_iter()).into_iter().enumerate() {
                match part.write() {
                    Slot::Write(values) => values.fill(i as f32),
                    Slot::WriteHeld(place) => place.array.write(place.start, &vec![i as f32; place.len]),
                    _ => unreachable!("a place to write to"),
                }
            }
            assert_eq!(*array.read().unwrap(), [0.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
            let read = match array.slot(3..5) {
                Slot::Floats(values) => values.to_vec(),
                Slot::Held(place) => place.array.read(place.range()).unwrap(),
                _ => unreachable!("numbers to read"),
            };
            assert_eq!(read, [1.0, 2.0]);
        }
    }
}
