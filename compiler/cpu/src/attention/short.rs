//! Segments of few positions: all queries of a head lie in the lanes of a vector, so that the softmax runs over keys without
//! sums across lanes, and nothing but the queries (and their cotangents) is laid out anew.

use super::scratch::{PAD, unpack_row, with_parts};
use super::tile::{Left, Rows, product};
use super::{Item, Operand, Problem};
use crate::simd::Simd;

/// Before the place of a lane 0 and from it on -inf, or the other way round: read from the right place they hide keys.
const SHOWN_THEN_HIDDEN: [f32; 2 * PAD] = halves(0.0, f32::NEG_INFINITY);
const HIDDEN_THEN_SHOWN: [f32; 2 * PAD] = halves(f32::NEG_INFINITY, 0.0);

/// Where no key was seen: finite, so that differences are no nan.
const NOTHING: f32 = -3.0e38;

const fn halves(first: f32, second: f32) -> [f32; 2 * PAD] {
    let mut all = [first; 2 * PAD];
    let mut i = PAD;
    while i < 2 * PAD {
        all[i] = second;
        i += 1;
    }
    all
}

/// Whether the functions here take this piece of work: few positions, and numbers of f32 that lie in whole vectors.
pub fn takes<const N: usize>(problem: &Problem, operands: [&Operand; N], item: &Item) -> bool {
    let whole = problem.hdim.is_multiple_of(PAD) && problem.vdim.is_multiple_of(PAD);
    problem.tree.is_none()
        && problem.cache.is_none()
        && item.length <= PAD
        && whole
        && operands.iter().all(|x| x.width == 1 && !x.bf16)
}

/// The rows of a head: of query `rep`, or of what queries share.
fn rows(of: &Operand, item: &Item, rep: usize) -> Rows {
    Rows { at: of.at.wrapping_add(of.before(item.start, item.kv, rep)), row: of.time }
}

fn left(Rows { at, row }: Rows) -> Left {
    Left { at, row, col: 1 }
}

/// The vector whose lanes are -inf for queries, from `lane` on, that do not see a key.
#[inline(always)]
unsafe fn hidden<S: Simd>(problem: &Problem, key: usize, lane: usize) -> S {
    // SAFETY: by the caller the machine has the features; keys and lanes are below `PAD`.
    unsafe {
        let before = S::load(HIDDEN_THEN_SHOWN.as_ptr().add(PAD - key + lane));
        match problem.window {
            None => before,
            Some(window) => {
                let end = key.saturating_add(window).min(PAD);
                before.add(S::load(SHOWN_THEN_HIDDEN.as_ptr().add(PAD - end + lane)))
            }
        }
    }
}

/// `to` holds in row i entry i of all positions times a factor, padded with zeros.
#[inline(always)]
unsafe fn turned<S: Simd>(to: *mut f32, from: Rows, count: usize, width: usize, factor: f32) {
    for i in (0..width).step_by(PAD) {
        // SAFETY: by the caller.
        unsafe { S::turn((from.at.add(i), from.row), count, factor, (to.add(i * PAD), PAD)) };
    }
}

/// As `forward`, of a piece that this module takes.
///
/// # Safety
/// As for `forward`; the machine has the features of `S`.
#[inline(always)]
pub unsafe fn forward<S: Simd>(problem: &Problem, [query, key, value, out, lse]: [&Operand; 5], item: &Item) {
    let Problem { rep, hdim, vdim, scale, .. } = *problem;
    let n = item.length;
    let mut parts = [std::ptr::null_mut(); 4];
    with_parts([hdim * PAD, PAD * PAD, PAD, PAD], |p| parts = p);
    let [turned_query, s, tops, sums] = parts;
    let scores = Rows { at: s, row: PAD };
    // SAFETY: parts of the thread's memory of these sizes; operands by the caller.
    unsafe {
        for rep in 0..rep {
            turned::<S>(turned_query, rows(query, item, rep), n, hdim, scale);
            let queries = Rows { at: turned_query, row: PAD };
            product::<S>(scores, left(rows(key, item, 0)), queries, (n, PAD, hdim), false);
            for lane in (0..PAD).step_by(S::LANES) {
                let (mut top, mut sum) = (S::splat(NOTHING), S::splat(0.0));
                for j in 0..n {
                    let at = s.add(j * PAD + lane);
                    let x = S::load(at).add(hidden::<S>(problem, j, lane));
                    x.store(at);
                    top = top.max(x);
                }
                for j in 0..n {
                    let at = s.add(j * PAD + lane);
                    let e = S::load(at).sub(top).exp();
                    e.store(at);
                    sum = sum.add(e);
                }
                top.store(tops.add(lane));
                sum.store(sums.add(lane));
            }
            for t in 0..n {
                let sum = *sums.add(t);
                unpack_row(&(*tops.add(t) + sum.ln()), lse, item.start + t, item.kv, rep, 1, 1.0);
            }
            (0..PAD).for_each(|t| *sums.add(t) = 1.0 / *sums.add(t));
            for lane in (0..PAD).step_by(S::LANES) {
                let inverse = S::load(sums.add(lane));
                (0..n).map(|j| s.add(j * PAD + lane)).for_each(|at| S::load(at).mul(inverse).store(at));
            }
            let seen = Left { at: s, row: 1, col: PAD };
            product::<S>(rows(out, item, rep), seen, rows(value, item, 0), (n, vdim, n), out.add);
        }
    }
}

/// As `backward`, of a piece that this module takes.
///
/// # Safety
/// As for `backward`; the machine has the features of `S`.
#[inline(always)]
pub unsafe fn backward<S: Simd>(problem: &Problem, operands: super::backward::Operands<'_>, item: &Item) {
    let [query, key, value, _, lse, cotangent, query_grad, key_grad, value_grad] = operands;
    let Problem { rep, hdim, vdim, scale, .. } = *problem;
    let n = item.length;
    let mut parts = [std::ptr::null_mut(); 5];
    with_parts([hdim * PAD, vdim * PAD, PAD * PAD, PAD * PAD, PAD], |p| parts = p);
    let [turned_query, turned_cotangent, p, slopes, totals] = parts;
    let (keys, values) = (rows(key, item, 0), rows(value, item, 0));
    let square = |at| Rows { at, row: PAD };
    // SAFETY: parts of the thread's memory of these sizes; operands by the caller.
    unsafe {
        (0..PAD).for_each(|t| *totals.add(t) = 0.0);
        let scale_by = S::splat(scale);
        for rep in 0..rep {
            let (queries, cotangents) = (rows(query, item, rep), rows(cotangent, item, rep));
            turned::<S>(turned_query, queries, n, hdim, scale);
            turned::<S>(turned_cotangent, cotangents, n, vdim, 1.0);
            product::<S>(square(p), left(keys), square(turned_query), (n, PAD, hdim), false);
            product::<S>(square(slopes), left(values), square(turned_cotangent), (n, PAD, vdim), false);
            for t in 0..n {
                *totals.add(t) = *lse.at.wrapping_add(lse.before(item.start + t, item.kv, rep));
            }
            for lane in (0..PAD).step_by(S::LANES) {
                let (total, mut mean) = (S::load(totals.add(lane)), S::splat(0.0));
                for at in (0..n).map(|j| j * PAD + lane) {
                    let seen = S::load(p.add(at)).add(hidden::<S>(problem, at / PAD, lane)).sub(total).exp();
                    seen.store(p.add(at));
                    mean = S::load(slopes.add(at)).fma(seen, mean);
                }
                for at in (0..n).map(|j| j * PAD + lane) {
                    let slope = S::load(slopes.add(at)).sub(mean).mul(S::load(p.add(at)));
                    slope.mul(scale_by).store(slopes.add(at));
                }
            }
            let adds = |to: &Operand| to.add || rep > 0;
            let by_key = |at| Left { at, row: PAD, col: 1 };
            product::<S>(rows(value_grad, item, 0), by_key(p), cotangents, (n, vdim, n), adds(value_grad));
            product::<S>(rows(key_grad, item, 0), by_key(slopes), queries, (n, hdim, n), adds(key_grad));
            let by_query = Left { at: slopes, row: 1, col: PAD };
            product::<S>(rows(query_grad, item, rep), by_query, keys, (n, hdim, n), query_grad.add);
        }
    }
}
