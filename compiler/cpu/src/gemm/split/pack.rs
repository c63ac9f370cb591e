//! Panels: 32 rows of the left factor, or 32 columns of the right one, as three parts in bf16.
//!
//! A number is the sum of its parts, exactly: 8 of its 24 bits are in each. Numbers that lie in fewer bits than f32 are read as
//! f32 first. A panel goes along the inner dimension in steps
//! of 32; a step holds for each part two tiles of 16 rows (or columns), 1 KiB each.

use super::super::Factor;
use align_compiler::storage::{BLOCK, Storage};
use std::arch::x86_64::*;

/// Numbers along the inner dimension in one step.
pub const INNER: usize = 32;
/// Bytes of a step of a panel.
pub const STEP: usize = 6 * 1024;

const TILE: usize = 1024;

/// How the tiles of a panel are laid out, in words of two neighbours along the inner dimension.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A line for each row.
    Left,
    /// A line for each pair along the inner dimension.
    Right,
}

/// A part of a factor: rows across, fewer than `count` (at most 32), and `inner` numbers along.
#[derive(Clone, Copy)]
pub struct Source {
    pub of: Factor,
    pub count: usize,
    pub inner: usize,
}

/// Writes a panel; what is missing to whole tiles is 0. Whether all numbers have parts: infinities have none.
///
/// # Safety
/// The machine has AVX-512 (F, BW, DQ) and F16C; the numbers are there; `to` has room for a step for each 32 of `inner`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
pub unsafe fn pack(side: Side, from: Source, to: *mut u8) -> bool {
    let mut wrong = _mm512_setzero_ps();
    for step in 0..from.inner.div_ceil(INNER) {
        for half in 0..2 {
            let (first, k) = (16 * half, step * INNER);
            let part = Source {
                of: from.of.part(first, k),
                count: from.count.saturating_sub(first).min(16),
                inner: (from.inner - k).min(INNER),
            };
            if part.count == 0 {
                continue;
            }
            let tile = to.wrapping_add(step * STEP + half * TILE);
            // SAFETY: a part of what the caller vouches for.
            unsafe {
                match side {
                    Side::Left => left(part, tile, &mut wrong),
                    Side::Right => right(part, tile, &mut wrong),
                }
            }
        }
    }
    _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(wrong, wrong) == 0
}

/// The lowest `count` bits.
fn mask(count: usize) -> __mmask16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
fn parts(x: __m512, wrong: &mut __m512) -> [__m512i; 3] {
    let top = _mm512_set1_epi32(0xffff_0000u32 as i32);
    let rounded = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    let high = _mm512_and_si512(rounded, top);
    let rest = _mm512_sub_ps(x, _mm512_castsi512_ps(high));
    let middle = _mm512_and_si512(_mm512_castps_si512(rest), top);
    let low = _mm512_sub_ps(rest, _mm512_castsi512_ps(middle));
    // An infinity or a nan has a nan in its last part.
    *wrong = _mm512_fmadd_ps(low, _mm512_setzero_ps(), *wrong);
    [high, middle, _mm512_castps_si512(low)]
}

/// A tile of the left factor: for each row its 32 numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
unsafe fn left(from: Source, tile: *mut u8, wrong: &mut __m512) {
    // SAFETY: by the caller.
    let (near, far) = unsafe { (lines_along(from, 0), lines_along(from, 16)) };
    // The upper half of each word of both vectors.
    let mut upper = [0u16; 32];
    upper.iter_mut().zip(0..).for_each(|(to, i)| *to = 2 * i + 1);
    // SAFETY: 64 bytes.
    let upper = unsafe { _mm512_loadu_si512(upper.as_ptr().cast()) };
    for (row, (near, far)) in near.into_iter().zip(far).enumerate() {
        let (first, second) = (parts(near, wrong), parts(far, wrong));
        for part in 0..3 {
            let line = _mm512_permutex2var_epi16(first[part], upper, second[part]);
            // SAFETY: within the tile of the part.
            unsafe { _mm512_store_si512(tile.add(2 * TILE * part + 64 * row).cast(), line) };
        }
    }
}

/// A tile of the right factor: for each pair along the inner dimension its 16 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
unsafe fn right(from: Source, tile: *mut u8, wrong: &mut __m512) {
    let top = _mm512_set1_epi32(0xffff_0000u32 as i32);
    for half in 0..2 {
        // SAFETY: by the caller.
        let lines = unsafe { lines_across(from, 16 * half) };
        for pair in 0..8 {
            let (first, second) = (parts(lines[2 * pair], wrong), parts(lines[2 * pair + 1], wrong));
            for part in 0..3 {
                // first >> 16 | second & top
                let line = _mm512_ternarylogic_epi32::<0xf8>(_mm512_srli_epi32::<16>(first[part]), second[part], top);
                // SAFETY: within the tile of the part.
                unsafe { _mm512_store_si512(tile.add(2 * TILE * part + 64 * (8 * half + pair)).cast(), line) };
            }
        }
    }
}

/// 16 numbers along the inner dimension from `k` on, for each of 16 places across.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
unsafe fn lines_along(from: Source, k: usize) -> [__m512; 16] {
    // SAFETY: by the caller.
    unsafe {
        match from.of.col == 1 || from.of.row != 1 {
            true => lines(from.of.part(0, k), from.count, from.inner.saturating_sub(k)),
            false => turned(lines_across(from, k)),
        }
    }
}

/// 16 numbers across, for each of 16 places along the inner dimension from `k` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
unsafe fn lines_across(from: Source, k: usize) -> [__m512; 16] {
    // SAFETY: by the caller.
    unsafe {
        match from.of.row == 1 || from.of.col != 1 {
            true => lines(from.of.part(0, k).turned(), from.inner.saturating_sub(k).min(16), from.count),
            false => turned(lines_along(from, k)),
        }
    }
}

/// The first 16 numbers of each of the first 16 rows; zeros for what is beyond `count` rows of `length` numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
unsafe fn lines(of: Factor, count: usize, length: usize) -> [__m512; 16] {
    let length = length.min(16);
    // SAFETY: by the caller.
    unsafe {
        match of.storage {
            Storage::F32 => floats(of, count, length),
            storage => {
                let mut lines = [_mm512_setzero_ps(); 16];
                for (i, line) in lines.iter_mut().enumerate().take(count) {
                    let row = of.part(i, 0);
                    let whole = row.col == 1 && row.first.is_multiple_of(storage.block().0.min(16));
                    *line = if whole { stored(row, length) } else { one_by_one(row, length) };
                }
                lines
            }
        }
    }
}

/// Up to 16 numbers of a row that lie next to each other in fewer bits, and of blocks in one half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
unsafe fn stored(row: Factor, length: usize) -> __m512 {
    let mask = mask(length);
    let (numbers, bytes) = row.storage.block();
    let at = row.at.wrapping_add(row.first / numbers * bytes);
    let upper = !row.first.is_multiple_of(BLOCK);
    // SAFETY: blocks are there whole; of bf16, masked numbers are not read.
    unsafe {
        let half = |by: usize| _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_loadu_si16(at.wrapping_add(by))));
        match row.storage {
            Storage::Bf16 => {
                let words = _mm512_castsi512_si256(_mm512_maskz_loadu_epi16(mask.into(), at.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(words)))
            }
            Storage::Q8 => {
                let numbers = _mm_loadu_si128(at.wrapping_add(if upper { 18 } else { 2 }).cast());
                _mm512_maskz_mul_ps(mask, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(numbers)), half(0))
            }
            Storage::Q4 => {
                let both = _mm512_cvtepu8_epi32(_mm_loadu_si128(at.wrapping_add(4).cast()));
                let numbers =
                    if upper { _mm512_srli_epi32::<4>(both) } else { _mm512_and_epi32(both, _mm512_set1_epi32(15)) };
                _mm512_maskz_add_ps(mask, _mm512_mul_ps(_mm512_cvtepi32_ps(numbers), half(0)), half(2))
            }
            Storage::F32 => _mm512_maskz_loadu_ps(mask, row.floats()),
        }
    }
}

/// Up to 16 numbers of a row, wherever they lie.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
unsafe fn one_by_one(row: Factor, length: usize) -> __m512 {
    let mut numbers = [0f32; 16];
    for (i, x) in numbers.iter_mut().enumerate().take(length) {
        // SAFETY: by the caller.
        unsafe { row.part(0, i).read(0, std::slice::from_mut(x)) };
    }
    // SAFETY: 16 numbers.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
}

/// As `lines`, of f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
unsafe fn floats(of: Factor, count: usize, length: usize) -> [__m512; 16] {
    let (at, apart, step) = (of.floats(), of.row, of.col);
    let mut lines = [_mm512_setzero_ps(); 16];
    let mask = mask(length);
    let each = _mm512_mullo_epi64(_mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), _mm512_set1_epi64(4 * step as i64));
    let next = _mm512_add_epi64(each, _mm512_set1_epi64(32 * step as i64));
    for (i, line) in lines.iter_mut().enumerate().take(count) {
        let at = at.wrapping_offset(i as isize * apart);
        // SAFETY: masked numbers are not read; the others are there.
        unsafe {
            *line = match step {
                1 => _mm512_maskz_loadu_ps(mask, at),
                _ => {
                    let none = _mm256_setzero_ps();
                    let low = _mm512_mask_i64gather_ps::<1>(none, mask as u8, each, at.cast());
                    let high = _mm512_mask_i64gather_ps::<1>(none, (mask >> 8) as u8, next, at.cast());
                    _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
                }
            };
        }
    }
    lines
}

/// Rows to columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,f16c")]
fn turned(x: [__m512; 16]) -> [__m512; 16] {
    let mut a = x;
    for i in (0..16).step_by(2) {
        a[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    // For each four rows: the quarters of columns c, c + 4, c + 8, c + 12.
    let mut b = x;
    for i in (0..16).step_by(4) {
        for half in 0..2 {
            let (low, high) = (_mm512_castps_pd(a[i + half]), _mm512_castps_pd(a[i + 2 + half]));
            b[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            b[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    let mut out = x;
    for c in 0..4 {
        let [p, q, r, s] = [b[c], b[4 + c], b[8 + c], b[12 + c]];
        let (pq_even, pq_odd) = (_mm512_shuffle_f32x4::<0x88>(p, q), _mm512_shuffle_f32x4::<0xdd>(p, q));
        let (rs_even, rs_odd) = (_mm512_shuffle_f32x4::<0x88>(r, s), _mm512_shuffle_f32x4::<0xdd>(r, s));
        out[c] = _mm512_shuffle_f32x4::<0x88>(pq_even, rs_even);
        out[8 + c] = _mm512_shuffle_f32x4::<0xdd>(pq_even, rs_even);
        out[4 + c] = _mm512_shuffle_f32x4::<0x88>(pq_odd, rs_odd);
        out[12 + c] = _mm512_shuffle_f32x4::<0xdd>(pq_odd, rs_odd);
    }
    out
}
