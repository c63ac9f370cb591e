//! Weights that a stage reads and leaves as they are, as f32 or in fewer bits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use align_compiler::kernel::device::DeviceBytes;
use align_compiler::stage::narrow::Form;
use align_compiler::storage::Storage;
use align_compiler::tensor::Axis;

use super::weights::Shared;
use crate::engine::{Array, Device, Slot};
use crate::policy::reordered;

/// The numbers of a weight.
#[derive(Clone)]
pub enum Held {
    Floats(Shared),
    Narrow(Rc<Narrowed>),
}

/// Numbers in fewer bits than f32.
pub struct Narrowed {
    pub form: Form,
    bytes: Vec<u8>,
    /// The weight's own axes.
    axes: Vec<Axis>,
}

/// As [`Held`], borrowed.
#[derive(Clone, Copy)]
pub enum Numbers<'w> {
    Floats(&'w [f32]),
    Narrow(&'w Narrowed),
}

/// Numbers where an engine reads them.
#[derive(Clone)]
pub enum Resident<'w> {
    /// On the host, as they are.
    Host(Numbers<'w>),
    Floats(Rc<Array>),
    Bytes(Storage, Rc<dyn DeviceBytes>),
}

impl Held {
    pub fn numbers(&self) -> Numbers<'_> {
        match self {
            Held::Floats(shared) => Numbers::Floats(shared.values()),
            Held::Narrow(narrow) => Numbers::Narrow(narrow),
        }
    }

    /// Whether both hold the same bits in the same order.
    pub fn is(&self, other: &Held) -> bool {
        match (self, other) {
            (Held::Floats(a), Held::Floats(b)) => {
                let bits = |of: &f32| of.to_bits();
                a.values().len() == b.values().len() && a.values().iter().map(bits).eq(b.values().iter().map(bits))
            }
            (Held::Narrow(a), Held::Narrow(b)) => a.form == b.form && a.axes == b.axes && a.bytes == b.bytes,
            _ => false,
        }
    }

    /// The same numbers in the fewest bits that hold each of them as it is, their axes in the order of `to`.
    pub fn exact(self, axes: &[Axis], to: &[Axis]) -> Held {
        match &self {
            Held::Floats(shared) => match Narrowed::exact(shared.values(), axes, to) {
                Some(narrow) => Held::Narrow(Rc::new(narrow)),
                None => self,
            },
            Held::Narrow(_) => self,
        }
    }
}

impl Narrowed {
    /// The numbers of a weight, in the order of its own axes.
    pub fn new(values: Cow<[f32]>, axes: &[Axis], form: &Form) -> Narrowed {
        let bytes = match form.axes == axes {
            true => form.storage.encode(&values),
            false => form.storage.encode(&reordered(values.into_owned(), axes, &form.axes)),
        };
        Narrowed { form: form.clone(), bytes, axes: axes.to_vec() }
    }

    /// The numbers of a weight in the fewest bits that hold each of them as it is; `None` where only f32 does.
    fn exact(values: &[f32], axes: &[Axis], to: &[Axis]) -> Option<Narrowed> {
        let (storage, bytes) = match to == axes {
            true => Storage::exact(values)?,
            false => Storage::exact(&reordered(values.to_vec(), axes, to))?,
        };
        Some(Narrowed { form: Form { storage, axes: to.to_vec() }, bytes, axes: axes.to_vec() })
    }

    /// What is left of the numbers, in the order of the weight's own axes.
    pub fn decoded(&self) -> Vec<f32> {
        let count = self.axes.iter().filter_map(Axis::fixed_size).product();
        reordered(self.form.storage.decode(&self.bytes, count), &self.form.axes, &self.axes)
    }
}

impl<'w> Numbers<'w> {
    pub fn slot(self) -> Slot<'w> {
        match self {
            Numbers::Floats(values) => Slot::Floats(values),
            Numbers::Narrow(narrow) => Slot::Stored(narrow.form.storage, &narrow.bytes),
        }
    }

    /// The numbers where they lie as f32.
    pub fn floats(self) -> Option<&'w [f32]> {
        match self {
            Numbers::Floats(values) => Some(values),
            Numbers::Narrow(_) => None,
        }
    }

    /// The numbers in the order of the weight's axes.
    pub fn decoded(self) -> Cow<'w, [f32]> {
        match self {
            Numbers::Floats(values) => Cow::Borrowed(values),
            Numbers::Narrow(narrow) => Cow::Owned(narrow.decoded()),
        }
    }

    fn place(self) -> (*const u8, usize) {
        match self {
            Numbers::Floats(values) => (values.as_ptr().cast(), size_of_val(values)),
            Numbers::Narrow(narrow) => (narrow.bytes.as_ptr(), narrow.bytes.len()),
        }
    }
}

impl Resident<'_> {
    pub fn slot(&self) -> Slot<'_> {
        match self {
            Resident::Host(numbers) => numbers.slot(),
            Resident::Floats(array) => array.whole(),
            Resident::Bytes(storage, bytes) => Slot::StoredHeld(*storage, &**bytes),
        }
    }

    /// The numbers where they are f32.
    pub fn floats(&self) -> Option<Slot<'_>> {
        Some(self.slot()).filter(|slot| matches!(slot, Slot::Floats(_) | Slot::Held(_)))
    }
}

/// Puts numbers where the engine reads them, those that are there twice once.
pub fn resident<'w, N>(
    device: Option<&dyn Device>,
    numbers: impl IntoIterator<Item = (N, Numbers<'w>)>,
) -> Vec<(N, Resident<'w>)> {
    let mut there = HashMap::new();
    let put = |(name, numbers): (N, Numbers<'w>)| {
        let Some(device) = device else { return (name, Resident::Host(numbers)) };
        let make = || match numbers {
            Numbers::Floats(values) => Resident::Floats(Rc::new(Array::Device(device.floats(values)))),
            Numbers::Narrow(narrow) => Resident::Bytes(narrow.form.storage, device.bytes(&narrow.bytes).into()),
        };
        (name, there.entry(numbers.place()).or_insert_with(make).clone())
    };
    numbers.into_iter().map(put).collect()
}

impl<'w> From<&'w [f32]> for Numbers<'w> {
    fn from(values: &'w [f32]) -> Numbers<'w> {
        Numbers::Floats(values)
    }
}

/// Bytes of these numbers; what is there twice because policies share it counts once.
pub fn bytes_of<'w>(values: impl Iterator<Item = Numbers<'w>>) -> usize {
    values.map(Numbers::place).collect::<HashMap<_, _>>().values().sum()
}

#[cfg(test)]
mod tests {
    use align_compiler::storage::Storage;

    use super::*;
    use crate::engine::Interpreter;

    #[test]
    fn numbers_lie_in_the_order_of_their_form() {
        let [a, b] = [("a", 2), ("b", 32)].map(|(name, size)| Axis::fixed(name, size));
        let values: Vec<f32> = (0..64).map(|i| (i % 32) as f32 + (i / 32 * 1000) as f32).collect();
        let form = |axes: &[&Axis]| Form { storage: Storage::Q8, axes: axes.iter().map(|a| (*a).clone()).collect() };
        let own = [a.clone(), b.clone()];
        let rows = Narrowed::new(Cow::Borrowed(&values), &own, &form(&[&a, &b]));
        let columns = Narrowed::new(Cow::Borrowed(&values), &own, &form(&[&b, &a]));
        assert_eq!((rows.bytes.len(), columns.bytes.len()), (68, 68));
        // A block of a row has numbers of one size, one of columns numbers of both.
        let far =
            |x: &Narrowed| x.decoded().iter().zip(&values).take(32).map(|(x, y)| (x - y).abs()).fold(0.0f32, f32::max);
        assert!(far(&rows) < 0.13 && far(&columns) > 1.0 && far(&columns) < 4.1, "{} {}", far(&rows), far(&columns));
        let numbers =
            [Numbers::Narrow(&rows), Numbers::Narrow(&columns), Numbers::Narrow(&rows), Numbers::Floats(&values)];
        assert_eq!(bytes_of(numbers.into_iter()), 68 + 68 + 256);
        assert_eq!(Numbers::Floats(&values).decoded(), &values[..]);
        assert!(matches!(Numbers::Narrow(&rows).slot(), Slot::Stored(Storage::Q8, bytes) if bytes.len() == 68));
    }

    #[test]
    fn fewer_bits_where_they_are_enough() {
        let [a, b] = [("a", 2), ("b", 32)].map(|(name, size)| Axis::fixed(name, size));
        let (own, turned) = ([a.clone(), b.clone()], [b, a]);
        let values: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let held = |values: &[f32], to: &[Axis]| Held::Floats(Shared::from(values.to_vec())).exact(&own, to);
        for to in [&own, &turned] {
            let Held::Narrow(narrow) = held(&values, to) else { panic!("these are numbers in bf16") };
            assert_eq!((narrow.form.storage, &narrow.form.axes[..]), (Storage::Bf16, &to[..]));
            assert_eq!(narrow.decoded(), values);
        }
        let thirds: Vec<f32> = values.iter().map(|x| (x + 1.0) / 3.0).collect();
        assert!(matches!(held(&thirds, &own), Held::Floats(_)));
    }

    #[test]
    fn what_policies_share_goes_to_a_device_once() {
        let axis = [Axis::fixed("a", 32)];
        let values: Vec<f32> = (0..32).map(|i| i as f32).collect();
        let narrow = Narrowed::new(Cow::Borrowed(&values), &axis, &Form { storage: Storage::Q8, axes: axis.to_vec() });
        let (floats, narrow) = (Numbers::Floats(&values), Numbers::Narrow(&narrow));
        let all = [("a", floats), ("b", narrow), ("c", floats), ("d", narrow)];
        let host = resident(None, all);
        assert!(matches!(host[2].1.slot(), Slot::Floats(found) if found.as_ptr() == values.as_ptr()));
        let there = resident(Some(&Interpreter), all);
        let [
            (_, Resident::Floats(a)),
            (_, Resident::Bytes(Storage::Q8, b)),
            (_, Resident::Floats(c)),
            (_, Resident::Bytes(_, d)),
        ] = &there[..]
        else {
            panic!("floats and bytes")
        };
        assert!(Rc::ptr_eq(a, c) && Rc::ptr_eq(b, d));
        assert_eq!((&*a.read().unwrap(), b.len()), (&values[..], 34));
        assert!(there[0].1.floats().is_some() && there[1].1.floats().is_none());
    }
}
