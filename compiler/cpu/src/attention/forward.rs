//! The attended values and the log-sum-exp of the scores.

use super::scratch::{
    Packed, count_of, exponentials, hide, largest, pack_rows, pack_turned, padded, unpack_row, with_parts,
};
use super::tile::product;
use super::{BLOCK, Item, Operand, Problem, cached, share, short};
use crate::pool::Pool;
use crate::simd::{Plain, Simd, Width};

/// Where no key was seen yet: finite, so that differences are no nan.
const NOTHING: f32 = -3.0e38;

/// Writes `out` and `lse`.
///
/// # Safety
/// All operands are valid for the positions of the segments, and what is written overlaps nothing else.
pub unsafe fn forward(pool: &Pool, problem: &Problem, operands: [&Operand; 5]) {
    // SAFETY: by the caller.
    unsafe { forward_in(Width::of_machine(), pool, problem, operands) }
}

/// With vectors of one width, which the machine has.
pub(super) unsafe fn forward_in(width: Width, pool: &Pool, problem: &Problem, operands: [&Operand; 5]) {
    let mut items = vec![];
    for (i, (start, length)) in problem.segments.iter().enumerate() {
        let earlier = problem.cache.as_ref().map_or((0, 0), |cache| cache.segments[i]);
        for kv in 0..problem.kv {
            for block in 0..length.div_ceil(BLOCK) {
                items.push(Item { start: *start, length: *length, earlier, kv, block: Some(block), keys: false });
            }
        }
    }
    share(pool, problem, &items, 2, |item| {
        // SAFETY: items write different rows; the features are those of the machine.
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
unsafe fn one_avx2(problem: &Problem, operands: [&Operand; 5], item: &Item) {
    // SAFETY: the features are there.
    unsafe { one::<crate::simd::Avx2>(problem, operands, item) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn one_avx512(problem: &Problem, operands: [&Operand; 5], item: &Item) {
    // SAFETY: the features are there.
    unsafe { one::<crate::simd::Avx512>(problem, operands, item) }
}

#[inline(always)]
unsafe fn one<S: Simd>(problem: &Problem, operands: [&Operand; 5], item: &Item) {
    if short::takes(problem, operands, item) {
        // SAFETY: by the caller.
        return unsafe { short::forward::<S>(problem, operands, item) };
    }
    let [query, key, value, out, lse] = operands;
    let Problem { rep, hdim, vdim, scale, .. } = *problem;
    let block = item.block.unwrap_or(0);
    let queries = count_of(block, item.length);
    // All places, earlier ones first.
    let (before, length) = (item.earlier.1, item.earlier.1 + item.length);
    let rows = rep * queries;
    let (hpad, vpad) = (padded(hdim), padded(vdim));
    let keys_pad = padded(BLOCK.min(length));
    let sizes = [rows * hpad, hdim * keys_pad, keys_pad * vpad, rows * keys_pad, rows * vpad, rows, rows];
    let mut parts = [std::ptr::null_mut(); 7];
    with_parts(sizes, |p| parts = p);
    let [q, kt, v, s, acc, top, sum] = parts;
    // SAFETY: parts of the thread's memory of these sizes, used until the end of this function; nothing in between asks
    // for parts. Operands by the caller.
    unsafe {
        let first = item.start + block * BLOCK;
        let q = Packed { at: q, row: hpad };
        let v = Packed { at: v, row: vpad };
        let acc = Packed { at: acc, row: vpad };
        pack_rows(q, query, first, queries, item.kv, hdim, scale);
        (0..rows * vpad).for_each(|i| *acc.at.add(i) = 0.0);
        for r in 0..rows {
            *top.add(r) = NOTHING;
            *sum.add(r) = 0.0;
        }
        let first_query = before + block * BLOCK;
        for key_block in problem.blocks_before(first_query, queries).filter(|b| problem.sees(item, block, *b)) {
            let keys = count_of(key_block, length);
            let width = padded(keys);
            let kt = Packed { at: kt, row: width };
            let s = Packed { at: s, row: width };
            let v = match &problem.cache {
                Some(cache) => cached::pack::<S>(cache, (key, value), item, key_block, (kt, hdim), (v, vdim)),
                None => {
                    let from = item.start + key_block * BLOCK;
                    pack_turned(kt, key, from, keys, item.kv, hdim);
                    pack_rows(v, value, from, keys, item.kv, vdim, 1.0);
                    v.rows()
                }
            };
            product::<S>(s.rows(), q.left(), kt.rows(), (rows, width, hdim), false);
            for r in 0..rows {
                let row = s.at.add(r * width);
                hide(row, problem, item.start, first_query + r % queries, key_block * BLOCK, keys, width);
                let before = *top.add(r);
                let now = before.max(largest::<S>(row, width));
                let here = exponentials::<S>(row, width, now);
                let keep = match before {
                    NOTHING => 0.0,
                    _ if now == before => 1.0,
                    _ => (before - now).exp(),
                };
                *sum.add(r) = *sum.add(r) * keep + here;
                *top.add(r) = now;
                if keep != 1.0 {
                    let (at, keep) = (acc.at.add(r * vpad), S::splat(keep));
                    let mut i = 0;
                    while i < vpad {
                        S::load(at.add(i)).mul(keep).store(at.add(i));
                        i += S::LANES;
                    }
                }
            }
            product::<S>(acc.rows(), s.left(), v, (rows, vpad, keys), true);
        }
        for r in 0..rows {
            let (time, head) = (first + r % queries, r / queries);
            unpack_row(acc.at.add(r * vpad), out, time, item.kv, head, vdim, 1.0 / *sum.add(r));
            let total = *top.add(r) + (*sum.add(r)).ln();
            unpack_row(&total, lse, time, item.kv, head, 1, 1.0);
        }
    }
}
