//! Blocks of 32 numbers as vectors, however they lie, and the sums of vectors' lanes.

use crate::simd::Simd;
use align_compiler::storage::BLOCK;

/// Vectors that read numbers in fewer bits than f32. All functions need the features of the type.
pub trait Wide: Simd {
    /// Two numbers in f16 that lie next to each other, each in all lanes.
    ///
    /// # Safety
    /// The machine has the type's features (as for all that follow); 4 bytes at `at` are valid.
    unsafe fn halves(at: *const u8) -> [Self; 2];
    /// Numbers in bf16.
    ///
    /// # Safety
    /// So many numbers as there are lanes are valid at `at`, as for all that follow.
    unsafe fn bf16(at: *const u8) -> Self;
    /// Whole numbers of 8 bits.
    ///
    /// # Safety
    /// As for `bf16`.
    unsafe fn bytes(at: *const u8) -> Self;
    /// `scale * n + least` of whole numbers of 4 bits: the low halves of bytes, and the high halves.
    ///
    /// # Safety
    /// As for `bf16`.
    unsafe fn nibbles(at: *const u8, scale: Self, least: Self) -> [Self; 2];
    /// For each of 16 vectors the sum of its lanes.
    ///
    /// # Safety
    /// The machine has the type's features.
    unsafe fn sums(of: &[Self; 16], to: &mut [f32; 16]);
}

/// How a block lies in memory.
pub trait Read {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether its numbers have other bits in memory than in vectors.
    const WIDENS: bool = true;

    /// The vectors of a block: as many as it fills. Without closures, which would not have the machine's features.
    ///
    /// # Safety
    /// The machine has the features of `S`; the block is there.
    unsafe fn block<S: Wide>(at: *const u8) -> [S; 4];
}

pub struct F32;
pub struct Bf16;
pub struct Q8;
pub struct Q4;

impl Read for F32 {
    const BYTES: usize = 4 * BLOCK;
    const WIDENS: bool = false;

    #[inline(always)]
    unsafe fn block<S: Wide>(at: *const u8) -> [S; 4] {
        // SAFETY: by the caller (as for all that follow).
        unsafe {
            let mut all = [S::splat(0.0); 4];
            for (i, x) in all.iter_mut().enumerate().take(BLOCK / S::LANES) {
                *x = S::load(at.cast::<f32>().add(i * S::LANES));
            }
            all
        }
    }
}

impl Read for Bf16 {
    const BYTES: usize = 2 * BLOCK;

    #[inline(always)]
    unsafe fn block<S: Wide>(at: *const u8) -> [S; 4] {
        // SAFETY: as above.
        unsafe {
            let mut all = [S::splat(0.0); 4];
            for (i, x) in all.iter_mut().enumerate().take(BLOCK / S::LANES) {
                *x = S::bf16(at.add(2 * i * S::LANES));
            }
            all
        }
    }
}

impl Read for Q8 {
    const BYTES: usize = 2 + BLOCK;

    #[inline(always)]
    unsafe fn block<S: Wide>(at: *const u8) -> [S; 4] {
        // SAFETY: as above.
        unsafe {
            let [scale, _] = S::halves(at);
            let mut all = [S::splat(0.0); 4];
            for (i, x) in all.iter_mut().enumerate().take(BLOCK / S::LANES) {
                *x = S::bytes(at.add(2 + i * S::LANES)).mul(scale);
            }
            all
        }
    }
}

impl Read for Q4 {
    const BYTES: usize = 4 + BLOCK / 2;

    #[inline(always)]
    unsafe fn block<S: Wide>(at: *const u8) -> [S; 4] {
        // SAFETY: as above.
        unsafe {
            let [scale, least] = S::halves(at);
            let [low, high] = S::nibbles(at.add(4), scale, least);
            if S::LANES == BLOCK / 2 {
                return [low, high, high, high];
            }
            let [next, last] = S::nibbles(at.add(4 + S::LANES), scale, least);
            [low, next, high, last]
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Wide;
    use crate::simd::{Avx2, Avx512, Simd};
    use std::arch::x86_64::*;

    impl Wide for Avx2 {
        #[inline(always)]
        unsafe fn halves(at: *const u8) -> [Self; 2] {
            // SAFETY: by the caller (as for all that follow).
            unsafe {
                let both = _mm256_cvtph_ps(_mm_castps_si128(_mm_load1_ps(at.cast())));
                [Avx2(_mm256_moveldup_ps(both)), Avx2(_mm256_movehdup_ps(both))]
            }
        }
        #[inline(always)]
        unsafe fn bf16(at: *const u8) -> Self {
            // SAFETY: as above.
            unsafe {
                let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
                Avx2(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)))
            }
        }
        #[inline(always)]
        unsafe fn bytes(at: *const u8) -> Self {
            // SAFETY: as above.
            Avx2(unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast()))) })
        }
        #[inline(always)]
        unsafe fn nibbles(at: *const u8, scale: Self, least: Self) -> [Self; 2] {
            // SAFETY: as above.
            unsafe {
                let both = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast()));
                let low = _mm256_cvtepi32_ps(_mm256_and_si256(both, _mm256_set1_epi32(15)));
                let high = _mm256_cvtepi32_ps(_mm256_srli_epi32::<4>(both));
                [Avx2(low).fma(scale, least), Avx2(high).fma(scale, least)]
            }
        }
        #[inline(always)]
        unsafe fn sums(of: &[Self; 16], to: &mut [f32; 16]) {
            for (x, to) in of.iter().zip(to) {
                // SAFETY: as above.
                *to = unsafe { x.sum() };
            }
        }
    }

    impl Wide for Avx512 {
        #[inline(always)]
        unsafe fn halves(at: *const u8) -> [Self; 2] {
            // SAFETY: as above.
            unsafe {
                let both = _mm512_cvtph_ps(_mm256_castps_si256(_mm256_broadcast_ss(&*at.cast::<f32>())));
                [Avx512(_mm512_moveldup_ps(both)), Avx512(_mm512_movehdup_ps(both))]
            }
        }
        #[inline(always)]
        unsafe fn bf16(at: *const u8) -> Self {
            // SAFETY: as above.
            unsafe {
                let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
                Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)))
            }
        }
        #[inline(always)]
        unsafe fn bytes(at: *const u8) -> Self {
            // SAFETY: as above.
            Avx512(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at.cast()))) })
        }
        #[inline(always)]
        unsafe fn nibbles(at: *const u8, scale: Self, least: Self) -> [Self; 2] {
            // SAFETY: as above.
            unsafe {
                let both = _mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast()));
                // What each of the 16 stands for. Its place is read from the lowest four bits alone.
                let numbers = _mm512_setr_ps(0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.);
                let table = Avx512(numbers).fma(scale, least).0;
                let high = _mm512_srli_epi32::<4>(both);
                [Avx512(_mm512_permutexvar_ps(both, table)), Avx512(_mm512_permutexvar_ps(high, table))]
            }
        }
        #[inline(always)]
        unsafe fn sums(of: &[Self; 16], to: &mut [f32; 16]) {
            // SAFETY: as above.
            unsafe { sums(of, to) };
        }
    }

    /// By halves of neighbours, then of pairs of these, and so on. Without closures, which would not have the machine's features.
    #[target_feature(enable = "avx512f")]
    fn sums(of: &[Avx512; 16], to: &mut [f32; 16]) {
        let mut x = [_mm512_setzero_ps(); 16];
        for (x, of) in x.iter_mut().zip(of) {
            *x = of.0;
        }
        for i in 0..8 {
            let (a, b) = (x[2 * i], x[2 * i + 1]);
            x[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        }
        for i in 0..4 {
            let (a, b) = (_mm512_castps_pd(x[2 * i]), _mm512_castps_pd(x[2 * i + 1]));
            let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
            x[i] = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
        }
        // Each quarter of `x[i]` is of vectors 4 i to 4 i + 3.
        for i in 0..2 {
            let (a, b) = (x[2 * i], x[2 * i + 1]);
            x[i] = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        }
        let (a, b) = (x[0], x[1]);
        let all = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        // SAFETY: 16 numbers.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), all) };
    }
}
