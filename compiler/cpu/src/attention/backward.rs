//! The cotangents of query, key and value.

use super::scratch::{Packed, count_of, exponentials, hide, pack_rows, pack_turned, padded, unpack_row, with_parts};
use super::tile::product;
use super::{BLOCK, Item, Operand, Problem, share, short};
use crate::pool::Pool;
use crate::simd::{Plain, Simd, Width};

/// Up to this length one item does a whole segment. Longer ones are cut: into blocks of keys, which give the cotangents of
/// key and value, and blocks of queries, which work out the scores once more.
const WHOLE: usize = 512;

/// Query, key, value, out, lse, the cotangent of out; then what is written: cotangents of query, key and value.
pub type Operands<'a> = [&'a Operand; 9];

/// # Safety
/// As for [`super::forward`].
pub unsafe fn backward(pool: &Pool, problem: &Problem, operands: Operands<'_>) {
    // SAFETY: by the caller.
    unsafe { backward_in(Width::of_machine(), pool, problem, operands) }
}

/// With vectors of one width, which the machine has.
pub(super) unsafe fn backward_in(width: Width, pool: &Pool, problem: &Problem, operands: Operands<'_>) {
    let mut items = vec![];
    for (start, length) in problem.segments.iter().filter(|s| s.1 > 0) {
        for kv in 0..problem.kv {
            let item = Item { start: *start, length: *length, earlier: (0, 0), kv, block: None, keys: false };
            match *length <= WHOLE {
                true => items.push(item),
                false => {
                    let blocks = length.div_ceil(BLOCK);
                    items.extend((0..blocks).map(|b| Item { block: Some(b), keys: true, ..item }));
                    items.extend((0..blocks).map(|b| Item { block: Some(b), ..item }));
                }
            }
        }
    }
    share(pool, problem, &items, 4, |item| {
        // SAFETY: items write different rows of different results; the features are those of the machine.
        unsafe {
            match width {
                Width::Plain => one::<Plain>(problem, operands, item),
                #[cfg(target_arch = "x86_64")]
                Width::Avx2 => one_avx2(problem, operands, item),
                #[cfg(target_arch = "x86_64")]
                Width::Avx512 => one_avx512(problem, operands, item),
            }
        }
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn one_avx2(problem: &Problem, operands: Operands<'_>, item: &Item) {
    // SAFETY: the features are there.
    unsafe { one::<crate::simd::Avx2>(problem, operands, item) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn one_avx512(problem: &Problem, operands: Operands<'_>, item: &Item) {
    // SAFETY: the features are there.
    unsafe { one::<crate::simd::Avx512>(problem, operands, item) }
}

#[inline(always)]
unsafe fn one<S: Simd>(problem: &Problem, operands: Operands<'_>, item: &Item) {
    if short::takes(problem, operands, item) {
        // SAFETY: by the caller.
        return unsafe { short::backward::<S>(problem, operands, item) };
    }
    let [query, key, value, out, lse, cotangent, query_grad, key_grad, value_grad] = operands;
    let Problem { rep, hdim, vdim, scale, .. } = *problem;
    let blocks = item.length.div_ceil(BLOCK);
    let (hpad, vpad, most) = (padded(hdim), padded(vdim), BLOCK.min(item.length));
    let (rows, wide) = (rep * most, padded(most));
    let all_rows = if item.block.is_none() { rep * item.length } else { rows };
    let (for_queries, for_keys) = (item.block.is_none() || !item.keys, item.block.is_none() || item.keys);
    let sizes = [
        rows * hpad,     // queries, scaled
        rows * vpad,     // cotangents
        hdim * wide,     // keys, turned
        vdim * wide,     // values, turned
        wide * hpad,     // keys
        rows * wide,     // probabilities
        rows * wide,     // their cotangents
        rows,            // sums of cotangent times output
        all_rows * hpad, // result for queries
        wide * hpad,     // result for keys
        wide * vpad,     // result for values
    ];
    let mut parts = [std::ptr::null_mut(); 11];
    with_parts(sizes, |p| parts = p);
    let [q, c, kt, vt, k, p, dp, delta, dq, dk, dv] = parts;
    let packed = |at, row| Packed { at, row };
    let (q, c, k) = (packed(q, hpad), packed(c, vpad), packed(k, hpad));
    let (dq, dk, dv) = (packed(dq, hpad), packed(dk, hpad), packed(dv, vpad));
    let key_blocks = match item.block {
        None => 0..blocks,
        Some(b) if item.keys => b..b + 1,
        Some(b) => {
            let seen = problem.key_blocks(b);
            *seen.start()..*seen.end() + 1
        }
    };
    // SAFETY: as in the forward pass.
    unsafe {
        if for_queries {
            (0..all_rows * hpad).for_each(|i| *dq.at.add(i) = 0.0);
        }
        for key_block in key_blocks {
            let keys = count_of(key_block, item.length);
            let width = padded(keys);
            let (kt, vt, p, dp) = (packed(kt, width), packed(vt, width), packed(p, width), packed(dp, width));
            let from = item.start + key_block * BLOCK;
            pack_turned(kt, key, from, keys, item.kv, hdim);
            pack_turned(vt, value, from, keys, item.kv, vdim);
            pack_rows(k, key, from, keys, item.kv, hdim, 1.0);
            let query_blocks = match item.block {
                Some(b) if !item.keys => b..b + 1,
                _ => problem.query_blocks(key_block, blocks),
            };
            if for_keys {
                (0..keys * hpad).for_each(|i| *dk.at.add(i) = 0.0);
                (0..keys * vpad).for_each(|i| *dv.at.add(i) = 0.0);
            }
            for query_block in query_blocks.filter(|b| problem.sees(item, *b, key_block)) {
                let queries = count_of(query_block, item.length);
                let rows = rep * queries;
                let first = item.start + query_block * BLOCK;
                pack_rows(q, query, first, queries, item.kv, hdim, scale);
                pack_rows(c, cotangent, first, queries, item.kv, vdim, 1.0);
                for r in 0..rows {
                    let row = c.at.add(r * vpad);
                    let mut sum = 0.0;
                    out.each((first + r % queries, item.kv, r / queries), vdim, |i, x| sum += *row.add(i) * x);
                    *delta.add(r) = sum;
                }
                product::<S>(p.rows(), q.left(), kt.rows(), (rows, width, hdim), false);
                product::<S>(dp.rows(), c.left(), vt.rows(), (rows, width, vdim), false);
                for r in 0..rows {
                    let (row, slopes) = (p.at.add(r * width), dp.at.add(r * width));
                    hide(row, problem, item.start, query_block * BLOCK + r % queries, key_block * BLOCK, keys, width);
                    let total = *lse.at.wrapping_add(lse.before(first + r % queries, item.kv, r / queries));
                    exponentials::<S>(row, width, total);
                    let shift = S::splat(*delta.add(r));
                    let mut j = 0;
                    while j < width {
                        let slope = S::load(slopes.add(j)).sub(shift).mul(S::load(row.add(j)));
                        slope.store(slopes.add(j));
                        j += S::LANES;
                    }
                }
                if for_keys {
                    product::<S>(dv.rows(), p.turned(), c.rows(), (keys, vpad, rows), true);
                    product::<S>(dk.rows(), dp.turned(), q.rows(), (keys, hpad, rows), true);
                }
                if for_queries {
                    let before = if item.block.is_none() { rep * query_block * BLOCK } else { 0 };
                    let target = packed(dq.at.add(before * hpad), hpad);
                    product::<S>(target.rows(), dp.left(), k.rows(), (rows, hpad, keys), true);
                }
            }
            if for_keys {
                for t in 0..keys {
                    unpack_row(dk.at.add(t * hpad), key_grad, from + t, item.kv, 0, hdim, 1.0);
                    unpack_row(dv.at.add(t * vpad), value_grad, from + t, item.kv, 0, vdim, 1.0);
                }
            }
        }
        if for_queries {
            let query_blocks = item.block.map_or(0..blocks, |b| b..b + 1);
            for query_block in query_blocks {
                let queries = count_of(query_block, item.length);
                let before = if item.block.is_none() { rep * query_block * BLOCK } else { 0 };
                for r in 0..rep * queries {
                    let time = item.start + query_block * BLOCK + r % queries;
                    unpack_row(dq.at.add((before + r) * hpad), query_grad, time, item.kv, r / queries, hdim, scale);
                }
            }
        }
    }
}
