//! Blocks of keys and values of which some are kept from earlier places.

use super::scratch::{PAD, Packed, count_of};
use super::tile::Rows;
use super::{BLOCK, Cache, Item, Operand};
use crate::simd::Simd;

/// Lays out a block of keys, turned, and one of values; earlier places come first. Values that lie as they are needed are not
/// moved: what is given back are their rows.
///
/// # Safety
/// The machine has the features of `S`; `to` has room for `hdim` rows, `values.0` for a block; operands and rows are valid for
/// the item's places.
#[inline(always)]
pub unsafe fn pack<S: Simd>(
    cache: &Cache,
    (key, value): (&Operand, &Operand),
    item: &Item,
    block: usize,
    (to, hdim): (Packed, usize),
    (values, vdim): (Packed, usize),
) -> Rows {
    let (start, before) = item.earlier;
    let first = block * BLOCK;
    let keys = count_of(block, before + item.length);
    // Which operand a place lies in, and where.
    let kept = before.saturating_sub(first).min(keys);
    let rows = &cache.rows[start + first.min(before)..start + first.min(before) + kept];
    let own = item.start + (first + kept - before.min(first + kept));
    // SAFETY: by the caller.
    unsafe {
        for t in (0..to.row).step_by(PAD) {
            let count = PAD.min(keys.saturating_sub(t));
            let end = t + count;
            // A part that lies in one operand, row after row, is turned as it is.
            let whole = match () {
                () if end <= kept && follow(&rows[t..end]) => Some((&cache.keys, rows.get(t).copied().unwrap_or(0))),
                () if t >= kept => Some((key, own + t - kept)),
                () => None,
            };
            match whole.filter(|(of, _)| of.width == 1 && !of.bf16 && hdim.is_multiple_of(PAD)) {
                Some((of, row)) => {
                    let from = of.at.wrapping_add(of.before(row, item.kv, 0));
                    for i in (0..hdim).step_by(PAD) {
                        S::turn((from.wrapping_add(i), of.time), count, 1.0, (to.at.add(i * to.row + t), to.row));
                    }
                }
                None => {
                    for t in t..t + PAD {
                        if t >= keys {
                            (0..hdim).for_each(|i| *to.at.add(i * to.row + t) = 0.0);
                            continue;
                        }
                        let (of, row) = rows.get(t).map_or_else(|| (key, own + t - kept), |row| (&cache.keys, *row));
                        of.each((row, item.kv, 0), hdim, |i, x| *to.at.add(i * to.row + t) = x);
                    }
                }
            }
        }
        let kept_values = &cache.values;
        if kept == keys && follow(rows) && kept_values.width == 1 && values.row == vdim && !rows.is_empty() {
            let at = kept_values.at.wrapping_add(kept_values.before(rows[0], item.kv, 0));
            return Rows { at, row: kept_values.time };
        }
        for t in 0..keys {
            let (of, row) = rows.get(t).map_or_else(|| (value, own + t - kept), |row| (kept_values, *row));
            let line = values.at.add(t * values.row);
            of.each((row, item.kv, 0), vdim, |i, x| *line.add(i) = x);
            (vdim..values.row).for_each(|i| *line.add(i) = 0.0);
        }
    }
    values.rows()
}

/// Whether rows follow each other.
fn follow(rows: &[usize]) -> bool {
    rows.windows(2).all(|pair| pair[0] + 1 == pair[1])
}
