//! Addresses, loads and stores.

use super::nest::{Mode, Nest, Scalars, Site};
use super::{LANES, scalar::vector_of};
use crate::normal::Slot;
use align_compiler::kernel::{Address, Index, Size, Store};
use align_compiler::storage::Storage;
use align_compiler::tensor::DType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, I8, I8X16, I16X8, I32, I32X4, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

/// Where the lanes of an access lie.
enum Lies {
    /// All at one place.
    Same(Value),
    /// One after another from here.
    Line(Value),
    /// Each at a place of its own: `active` of them for each part.
    Apart(Vec<Value>),
}

/// Buffers are aligned to their entries, not to vectors.
pub(super) const MEMORY: MemFlagsData = MemFlagsData::new().with_notrap();

/// Bytes of one entry. What lies in blocks has places that count entries.
fn width(slot: &Slot) -> i64 {
    match (slot.dtype, slot.storage) {
        (DType::Bool, _) | (_, Storage::Q8 | Storage::Q4) => 1,
        (_, Storage::Bf16) => 2,
        (DType::Float | DType::Int, Storage::F32) => 4,
    }
}

impl Nest<'_, '_> {
    /// A size as a number of the machine.
    pub fn size(&mut self, size: &Size) -> Value {
        match size.constant() {
            Some(n) => self.int(n as i64),
            None => self.sizes[super::nest::size_slot(size)],
        }
    }

    fn times(&mut self, x: Value, stride: &Size, width: i64) -> Value {
        match stride.constant() {
            Some(0) => self.int(0),
            Some(n) if (n as i64 * width) == 1 => x,
            Some(n) if (n as i64 * width).count_ones() == 1 => {
                let by = self.int((n as i64 * width).trailing_zeros().into());
                self.e.b.ins().ishl(x, by)
            }
            Some(n) => {
                let by = self.int(n as i64 * width);
                self.e.b.ins().imul(x, by)
            }
            None => {
                let by = self.size(stride);
                let scaled = self.e.b.ins().imul(x, by);
                let width = self.int(width);
                self.e.b.ins().imul(scaled, width)
            }
        }
    }

    /// An Int as an index; leaves the nest if it lies outside of its bound.
    pub fn index(&mut self, vector: Value, lane: usize, below: Option<&Size>, slot: usize) -> Value {
        let scalar = self.e.b.ins().extractlane(vector, lane as u8);
        let index = self.e.b.ins().sextend(I64, scalar);
        if let Some(below) = below {
            let below = self.size(below);
            // As unsigned numbers, what is negative is too large.
            let outside = self.e.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, below);
            let fine = self.e.b.create_block();
            let code = self.fault_code(Site::Index { slot }, Some(scalar));
            self.e.b.ins().brif(outside, self.fault, &[code.into()], fine, &[]);
            self.e.b.switch_to_block(fine);
        }
        index
    }

    fn lies(&mut self, slot: usize, address: &Address, mode: &Mode) -> Lies {
        let width = width(&self.slots[slot]);
        let in_blocks = matches!(self.slots[slot].storage, Storage::Q8 | Storage::Q4);
        let mut at = if in_blocks { self.int(0) } else { self.buffers[slot] };
        if address.offset > 0 {
            let offset = self.int(address.offset as i64 * width);
            at = self.e.b.ins().iadd(at, offset);
        }
        let mut stride = None;
        let mut apart: Vec<(Vec<Value>, &Size, Option<&Size>)> = vec![];
        // Outer loops first, so that the sum up to the innermost does not change along it.
        let mut terms: Vec<_> = address.terms.iter().collect();
        terms.sort_by_key(|t| match &t.index {
            Index::Value { value, .. } => self.depth(*value) * 2,
            Index::Loop(i) => (i + 1) * 2 + 1,
        });
        for term in terms {
            let index = match &term.index {
                Index::Loop(i) => {
                    if Some(*i) == mode.lane {
                        stride = Some(&term.stride);
                    }
                    self.at(*i)
                }
                Index::Value { value, below } => match self.scalars(*value).clone() {
                    Scalars::Same(vector) => match self.checked(*value, below.as_ref()) {
                        Some(index) => index,
                        None => self.index(vector, 0, below.as_ref(), slot),
                    },
                    Scalars::Parts(parts) => {
                        apart.push((parts, &term.stride, below.as_ref()));
                        continue;
                    }
                },
            };
            let by = self.times(index, &term.stride, width);
            at = self.e.b.ins().iadd(at, by);
        }
        if apart.is_empty() {
            return match stride {
                None => Lies::Same(at),
                Some(stride) if stride.is_zero() => Lies::Same(at),
                Some(stride) if stride.is_one() => Lies::Line(at),
                Some(stride) => Lies::Apart(self.steps(at, stride, width, mode)),
            };
        }
        let mut places = match stride {
            Some(stride) => self.steps(at, stride, width, mode),
            None => vec![at; mode.parts * mode.active],
        };
        for (parts, stride, below) in apart {
            for (i, place) in places.iter_mut().enumerate() {
                let index = self.index(parts[i / mode.active], i % mode.active, below, slot);
                let by = self.times(index, stride, width);
                *place = self.e.b.ins().iadd(*place, by);
            }
        }
        Lies::Apart(places)
    }

    /// The places of all lanes, `stride` apart.
    fn steps(&mut self, at: Value, stride: &Size, width: i64, mode: &Mode) -> Vec<Value> {
        (0..mode.parts * mode.active)
            .map(|lane| {
                let lane = self.int(lane as i64);
                let by = self.times(lane, stride, width);
                self.e.b.ins().iadd(at, by)
            })
            .collect()
    }

    pub fn load(&mut self, slot: usize, address: &Address, mode: &Mode) -> Scalars {
        let Slot { dtype, storage, .. } = self.slots[slot];
        match self.lies(slot, address, mode) {
            Lies::Same(at) => {
                let scalar = self.load_one(slot, at);
                Scalars::Same(self.e.b.ins().splat(vector_of(dtype), scalar))
            }
            Lies::Line(at) if mode.active == 1 => {
                let scalar = self.load_one(slot, at);
                Scalars::Parts(vec![self.e.b.ins().scalar_to_vector(vector_of(dtype), scalar)])
            }
            Lies::Line(at) if matches!(storage, Storage::Q8 | Storage::Q4) => {
                let places = self.steps(at, &Size::one(), 1, mode);
                self.gathered(slot, &places, mode)
            }
            Lies::Line(at) => {
                let part = |nest: &mut Self, part: usize| {
                    let offset = (part * LANES) as i32 * width(&nest.slots[slot]) as i32;
                    if storage == Storage::Bf16 {
                        return nest.e.load_bf16(at, offset);
                    }
                    if dtype != DType::Bool {
                        return nest.e.b.ins().load(vector_of(dtype), MEMORY, at, offset);
                    }
                    // Four bytes, widened.
                    let bytes = nest.e.b.ins().load(I32, MEMORY, at, offset);
                    let bytes = nest.e.b.ins().scalar_to_vector(I32X4, bytes);
                    let bytes = nest.e.cast_bits(bytes, I8X16);
                    let pairs = nest.e.b.ins().uwiden_low(bytes);
                    debug_assert_eq!(nest.e.b.func.dfg.value_type(pairs), I16X8);
                    let words = nest.e.b.ins().uwiden_low(pairs);
                    nest.e.b.ins().ineg(words)
                };
                Scalars::Parts((0..mode.parts).map(|p| part(self, p)).collect())
            }
            Lies::Apart(places) => self.gathered(slot, &places, mode),
        }
    }

    /// Lanes from places of their own.
    fn gathered(&mut self, slot: usize, places: &[Value], mode: &Mode) -> Scalars {
        let dtype = self.slots[slot].dtype;
        let parts = places.chunks(mode.active).map(|lanes| {
            let first = self.load_one(slot, lanes[0]);
            let mut vector = self.e.b.ins().scalar_to_vector(vector_of(dtype), first);
            for (lane, at) in lanes.iter().enumerate().skip(1) {
                let scalar = self.load_one(slot, *at);
                vector = self.e.b.ins().insertlane(vector, scalar, lane as u8);
            }
            vector
        });
        Scalars::Parts(parts.collect())
    }

    fn load_one(&mut self, slot: usize, at: Value) -> Value {
        let Slot { dtype, storage, .. } = self.slots[slot];
        match dtype {
            DType::Float if storage != Storage::F32 => self.e.load_stored(storage, self.buffers[slot], at),
            DType::Float => self.e.b.ins().load(F32, MEMORY, at, 0),
            DType::Int => self.e.b.ins().load(I32, MEMORY, at, 0),
            DType::Bool => {
                let byte = self.e.b.ins().uload8(I32, MEMORY, at, 0);
                self.e.b.ins().ineg(byte)
            }
        }
    }

    fn store_one(&mut self, slot: usize, scalar: Value, at: Value) {
        match self.slots[slot].dtype {
            DType::Float if self.slots[slot].storage == Storage::Bf16 => self.e.store_bf16(scalar, at),
            DType::Bool => {
                let one = self.e.b.ins().iconst(I32, 1);
                let bit = self.e.b.ins().band(scalar, one);
                let byte = self.e.b.ins().ireduce(I8, bit);
                self.e.b.ins().store(MEMORY, byte, at, 0);
            }
            DType::Float | DType::Int => {
                self.e.b.ins().store(MEMORY, scalar, at, 0);
            }
        }
    }

    pub fn store(&mut self, store: &Store, mode: &Mode) {
        let slot = store.buffer.0 as usize;
        let lies = self.lies(slot, &store.at, mode);
        let value = self.scalars(store.value).clone();
        let float = self.slots[slot].dtype == DType::Float;
        match self.adds[slot] {
            _ if store.add => self.store_at(slot, &lies, &value, mode, true),
            Some(flag) if float => {
                let [adds, writes, after] = [(); 3].map(|()| self.e.b.create_block());
                self.e.b.ins().brif(flag, adds, &[], writes, &[]);
                self.e.b.switch_to_block(adds);
                self.store_at(slot, &lies, &value, mode, true);
                self.e.b.ins().jump(after, &[]);
                self.e.b.switch_to_block(writes);
                self.store_at(slot, &lies, &value, mode, false);
                self.e.b.ins().jump(after, &[]);
                self.e.b.switch_to_block(after);
            }
            _ => self.store_at(slot, &lies, &value, mode, false),
        }
    }

    fn store_at(&mut self, slot: usize, lies: &Lies, value: &Scalars, mode: &Mode, add: bool) {
        let Slot { dtype, storage, .. } = self.slots[slot];
        if let (Lies::Line(at), LANES, true) = (lies, mode.active, dtype != DType::Bool) {
            for part in 0..mode.parts {
                let offset = (part * LANES) as i32 * width(&self.slots[slot]) as i32;
                let mut vector = value.part(part);
                if storage == Storage::Bf16 {
                    self.e.store_bf16s(vector, *at, offset);
                    continue;
                }
                if add {
                    let old = self.e.b.ins().load(vector_of(dtype), MEMORY, *at, offset);
                    vector = self.e.b.ins().fadd(old, vector);
                }
                self.e.b.ins().store(MEMORY, vector, *at, offset);
            }
            return;
        }
        let places = match lies {
            Lies::Same(at) => vec![*at],
            Lies::Line(at) => self.steps(*at, &Size::one(), width(&self.slots[slot]), mode),
            Lies::Apart(places) => places.clone(),
        };
        for (i, at) in places.into_iter().enumerate() {
            let vector = value.part(i / mode.active);
            let mut scalar = self.e.b.ins().extractlane(vector, (i % mode.active) as u8);
            if add {
                let old = self.load_one(slot, at);
                scalar = self.e.b.ins().fadd(old, scalar);
            }
            self.store_one(slot, scalar, at);
        }
    }
}
