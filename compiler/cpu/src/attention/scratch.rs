//! Blocks copied into dense, padded memory, and the softmax on blocks of scores.

use super::tile::{Left, Rows};
use super::{BLOCK, Operand, Problem};
use crate::simd::Simd;
use std::cell::RefCell;

/// Row lengths are multiples of this, which every vector's lanes divide.
pub const PAD: usize = 16;

thread_local! {
    static MEMORY: RefCell<Vec<f32>> = const { RefCell::new(vec![]) };
}

/// So many floats of the thread's own memory, cut into parts of these sizes. Their content is arbitrary.
pub fn with_parts<const N: usize>(sizes: [usize; N], f: impl FnOnce([*mut f32; N])) {
    MEMORY.with_borrow_mut(|memory| {
        let padded = sizes.map(|n| n.next_multiple_of(PAD));
        let total = padded.iter().sum::<usize>() + PAD;
        if memory.len() < total {
            memory.resize(total, 0.0);
        }
        let mut at = memory.as_mut_ptr();
        f(padded.map(|n| {
            let part = at;
            at = at.wrapping_add(n);
            part
        }));
    });
}

pub fn padded(n: usize) -> usize {
    n.next_multiple_of(PAD)
}

/// A block in scratch memory.
#[derive(Clone, Copy)]
pub struct Packed {
    pub at: *mut f32,
    pub row: usize,
}

impl Packed {
    pub fn rows(self) -> Rows {
        Rows { at: self.at, row: self.row }
    }

    pub fn left(self) -> Left {
        Left { at: self.at, row: self.row, col: 1 }
    }

    /// The transposed block as a left operand.
    pub fn turned(self) -> Left {
        Left { at: self.at, row: 1, col: self.row }
    }
}

/// Rows (rep, time) of a block of queries, or of anything with their heads, times a factor; padded with zeros.
///
/// # Safety
/// `to` has room for `rep * count` rows; the operand is valid for these positions.
#[inline(always)]
pub unsafe fn pack_rows(to: Packed, from: &Operand, first: usize, count: usize, kv: usize, width: usize, factor: f32) {
    for rep in 0..from.rep.len() {
        for t in 0..count {
            // SAFETY: by the caller.
            unsafe {
                let row = to.at.add((rep * count + t) * to.row);
                from.each((first + t, kv, rep), width, |i, x| *row.add(i) = x * factor);
                for i in width..to.row {
                    *row.add(i) = 0.0;
                }
            }
        }
    }
}

/// The transposed block: row i holds entry i of all positions, padded with zeros.
///
/// # Safety
/// `to` has room for `width` rows; the operand is valid for these positions.
#[inline(always)]
pub unsafe fn pack_turned(to: Packed, from: &Operand, first: usize, count: usize, kv: usize, width: usize) {
    for t in 0..to.row {
        // SAFETY: by the caller.
        unsafe {
            match t < count {
                true => from.each((first + t, kv, 0), width, |i, x| *to.at.add(i * to.row + t) = x),
                false => (0..width).for_each(|i| *to.at.add(i * to.row + t) = 0.0),
            }
        }
    }
}

/// Writes, or adds if the operand says so, rows of a block.
///
/// # Safety
/// As for `pack_rows`, the other way round.
#[inline(always)]
pub unsafe fn unpack_row(
    from: *const f32,
    to: &Operand,
    time: usize,
    kv: usize,
    rep: usize,
    width: usize,
    factor: f32,
) {
    // SAFETY: by the caller.
    unsafe {
        let target = to.at.wrapping_add(to.before(time, kv, rep));
        match (to.width, to.add) {
            (1, false) => (0..width).for_each(|i| *target.add(i) = *from.add(i) * factor),
            (1, true) => (0..width).for_each(|i| *target.add(i) += *from.add(i) * factor),
            (apart, false) => (0..width).for_each(|i| *target.add(i * apart) = *from.add(i) * factor),
            (apart, true) => (0..width).for_each(|i| *target.add(i * apart) += *from.add(i) * factor),
        }
    }
}

/// Scores of keys that a query does not see become -inf: keys `first_key..` of the block for the query, both counted in the
/// segment, which begins at `start`.
///
/// # Safety
/// The row holds `padded(count)` scores.
#[inline(always)]
pub unsafe fn hide(
    row: *mut f32,
    problem: &Problem,
    start: usize,
    query: usize,
    first_key: usize,
    count: usize,
    width: usize,
) {
    let seen_from = problem.first_key(query).saturating_sub(first_key).min(width);
    let seen_to = (query + 1).saturating_sub(first_key).min(count);
    // SAFETY: within the row.
    unsafe {
        (0..seen_from).for_each(|j| *row.add(j) = f32::NEG_INFINITY);
        (seen_to..width).for_each(|j| *row.add(j) = f32::NEG_INFINITY);
        let Some(tree) = &problem.tree else { return };
        let keys = start + first_key..start + first_key + seen_to;
        for (j, end) in tree.ends[keys.clone()].iter().enumerate() {
            let score = *row.add(j);
            *row.add(j) = if *end > query as i32 { score } else { f32::NEG_INFINITY };
        }
        if let Some(window) = problem.window {
            let here = tree.places[start + query] as usize;
            let far = |there: &i32| *there as usize + window <= here;
            let far = tree.places[keys].iter().enumerate().filter(|(_, there)| far(there));
            far.for_each(|(j, _)| *row.add(j) = f32::NEG_INFINITY);
        }
    }
}

/// `row = e^(row - shift)`; gives the sum.
///
/// # Safety
/// The machine has the features of `S`; `width`, a multiple of the lanes, entries are valid.
#[inline(always)]
pub unsafe fn exponentials<S: Simd>(row: *mut f32, width: usize, shift: f32) -> f32 {
    // SAFETY: by the caller.
    unsafe {
        let (mut sum, shift) = (S::splat(0.0), S::splat(shift));
        let mut j = 0;
        while j < width {
            let e = S::load(row.add(j)).sub(shift).exp();
            e.store(row.add(j));
            sum = sum.add(e);
            j += S::LANES;
        }
        sum.sum()
    }
}

/// The largest entry of a row.
///
/// # Safety
/// As for `exponentials`.
#[inline(always)]
pub unsafe fn largest<S: Simd>(row: *const f32, width: usize) -> f32 {
    // SAFETY: by the caller.
    unsafe {
        let mut largest = S::splat(f32::NEG_INFINITY);
        let mut j = 0;
        while j < width {
            largest = largest.max(S::load(row.add(j)));
            j += S::LANES;
        }
        largest.largest()
    }
}

/// The number of positions in block `block` of a segment.
pub fn count_of(block: usize, length: usize) -> usize {
    BLOCK.min(length - block * BLOCK)
}
