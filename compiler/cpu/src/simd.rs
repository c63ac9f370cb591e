//! Vectors for the parts that are not compiled kernels: one trait, and a type for each width that machines have.
//!
//! Functions that are generic over [`Simd`] are always inlined into a caller that has the machine's features.

/// A vector of f32. All functions need the features of the type.
pub trait Simd: Copy {
    const LANES: usize;
    /// Vectors of a row of a product's tile, and rows: what the registers hold.
    const TILE: (usize, usize);

    /// # Safety
    /// The machine has the type's features (as for all that follow); `LANES` floats at `at` are valid.
    unsafe fn load(at: *const f32) -> Self;
    /// # Safety
    /// As for `load`.
    unsafe fn store(self, at: *mut f32);
    /// # Safety
    /// The machine has the type's features.
    unsafe fn splat(x: f32) -> Self;
    /// # Safety
    /// The machine has the type's features.
    unsafe fn add(self, other: Self) -> Self;
    /// # Safety
    /// The machine has the type's features.
    unsafe fn sub(self, other: Self) -> Self;
    /// # Safety
    /// The machine has the type's features.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * x + y`.
    /// # Safety
    /// The machine has the type's features.
    unsafe fn fma(self, x: Self, y: Self) -> Self;
    /// # Safety
    /// The machine has the type's features.
    unsafe fn max(self, other: Self) -> Self;
    /// `self * 2^n`, n the integer in the low bits of `shifted`.
    /// # Safety
    /// The machine has the type's features.
    unsafe fn scale(self, shifted: Self) -> Self;
    /// `self` where `x >= limit`, or 0.
    /// # Safety
    /// The machine has the type's features.
    unsafe fn zero_below(self, x: Self, limit: Self) -> Self;
    /// # Safety
    /// The machine has the type's features.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut lanes = [0f32; 16];
        // SAFETY: no type has more lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        let mut width = Self::LANES;
        while width > 1 {
            width /= 2;
            (0..width).for_each(|i| lanes[i] += lanes[i + width]);
        }
        lanes[0]
    }
    /// # Safety
    /// The machine has the type's features.
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        // SAFETY: no type has more lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b))
    }
    /// The columns of a block of 16 by 16 as rows, times a factor. `from` and `to` are where the first row lies, and how far
    /// rows are apart; the block has `count` rows, those that it lacks are zeros.
    /// # Safety
    /// The machine has the type's features; the rows are there, and there is room.
    #[inline(always)]
    unsafe fn turn(from: (*const f32, usize), count: usize, factor: f32, to: (*mut f32, usize)) {
        for i in 0..16 {
            for j in 0..16 {
                // SAFETY: by the caller.
                unsafe {
                    let x = if i < count { *from.0.add(i * from.1 + j) * factor } else { 0.0 };
                    *to.0.add(j * to.1 + i) = x;
                }
            }
        }
    }
    /// e^x for x up to 88, 0 below -87.3. 1.3 ulp.
    /// # Safety
    /// The machine has the type's features.
    #[inline(always)]
    unsafe fn exp(self) -> Self {
        // SAFETY: by the caller. The steps are those of `emit::math`.
        unsafe {
            let magic = Self::splat(12_582_912.0);
            let shifted = self.fma(Self::splat(std::f32::consts::LOG2_E), magic);
            let n = shifted.sub(magic);
            let r = n.fma(Self::splat(-0.693_359_4), self);
            let r = n.fma(Self::splat(2.121_944_4e-4), r);
            let mut p = Self::splat(1.987_569_1e-4);
            for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
                p = p.fma(r, Self::splat(c));
            }
            let sum = p.fma(r.mul(r), r).add(Self::splat(1.0));
            sum.scale(shifted).zero_below(self, Self::splat(-87.336_55))
        }
    }
}

/// Any machine: eight lanes that the Rust compiler makes vectors of.
#[derive(Clone, Copy)]
pub struct Plain([f32; 8]);

impl Simd for Plain {
    const LANES: usize = 8;
    const TILE: (usize, usize) = (1, 4);

    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: by the caller.
        Plain(unsafe { at.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: by the caller.
        unsafe { at.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Plain([x; 8])
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Plain(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Plain(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Plain(std::array::from_fn(|i| self.0[i] * other.0[i]))
    }
    #[inline(always)]
    unsafe fn fma(self, x: Self, y: Self) -> Self {
        // Two roundings: a fused one would be a call where the machine lacks it.
        Plain(std::array::from_fn(|i| self.0[i] * x.0[i] + y.0[i]))
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        Plain(std::array::from_fn(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn scale(self, shifted: Self) -> Self {
        let one = |i: usize| f32::from_bits(self.0[i].to_bits().wrapping_add(shifted.0[i].to_bits() << 23));
        Plain(std::array::from_fn(one))
    }
    #[inline(always)]
    unsafe fn zero_below(self, x: Self, limit: Self) -> Self {
        Plain(std::array::from_fn(|i| if x.0[i] < limit.0[i] { 0.0 } else { self.0[i] }))
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX2 with FMA and F16C.
    #[derive(Clone, Copy)]
    pub struct Avx2(pub(crate) __m256);

    /// AVX-512 (its foundation).
    #[derive(Clone, Copy)]
    pub struct Avx512(pub(crate) __m512);

    macro_rules! simd {
        ($name:ident, $lanes:expr, $tile:expr, $load:ident, $store:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident, $fma:ident, $max:ident,
         |$x:ident, $y:ident| $scale:expr, |$v:ident, $a:ident, $b:ident| $zero:expr, $($turn:item)?) => {
            impl Simd for $name {
                const LANES: usize = $lanes;
                const TILE: (usize, usize) = $tile;

                #[inline(always)]
                unsafe fn load(at: *const f32) -> Self {
                    // SAFETY: by the caller (as for all that follow).
                    $name(unsafe { $load(at) })
                }
                #[inline(always)]
                unsafe fn store(self, at: *mut f32) {
                    // SAFETY: as above.
                    unsafe { $store(at, self.0) }
                }
                #[inline(always)]
                unsafe fn splat(x: f32) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $splat(x) })
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $add(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn sub(self, other: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $sub(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn mul(self, other: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $mul(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn fma(self, x: Self, y: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $fma(self.0, x.0, y.0) })
                }
                #[inline(always)]
                unsafe fn max(self, other: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $max(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn scale(self, shifted: Self) -> Self {
                    let ($x, $y) = (self.0, shifted.0);
                    // SAFETY: as above.
                    $name(unsafe { $scale })
                }
                #[inline(always)]
                unsafe fn zero_below(self, x: Self, limit: Self) -> Self {
                    let ($v, $a, $b) = (self.0, x.0, limit.0);
                    // SAFETY: as above.
                    $name(unsafe { $zero })
                }
                $(#[inline(always)] $turn)?
            }
        };
    }

    simd!(
        Avx2,
        8,
        (2, 6),
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_fmadd_ps,
        _mm256_max_ps,
        |x, y| _mm256_castsi256_ps(_mm256_add_epi32(
            _mm256_castps_si256(x),
            _mm256_slli_epi32::<23>(_mm256_castps_si256(y))
        )),
        |v, a, b| _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b), v),
    );

    simd!(
        Avx512,
        16,
        (2, 8),
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_fmadd_ps,
        _mm512_max_ps,
        |x, y| _mm512_castsi512_ps(_mm512_add_epi32(
            _mm512_castps_si512(x),
            _mm512_slli_epi32::<23>(_mm512_castps_si512(y))
        )),
        |v, a, b| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(a, b), v),
        unsafe fn turn(from: (*const f32, usize), count: usize, factor: f32, to: (*mut f32, usize)) {
            // SAFETY: as above, and by the caller.
            unsafe { turned(from, count, factor, to) };
        }
    );

    /// [`Simd::turn`]: neighbours change places in pairs, then pairs of these, then blocks of four. Without closures, which
    /// would not have the machine's features.
    #[target_feature(enable = "avx512f")]
    unsafe fn turned(from: (*const f32, usize), count: usize, factor: f32, to: (*mut f32, usize)) {
        let factor = _mm512_set1_ps(factor);
        let [mut x, mut y] = [[_mm512_setzero_ps(); 16]; 2];
        for (i, x) in x.iter_mut().enumerate() {
            if i < count {
                // SAFETY: by the caller.
                *x = _mm512_mul_ps(unsafe { _mm512_loadu_ps(from.0.add(i * from.1)) }, factor);
            }
        }
        for i in (0..16).step_by(2) {
            y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
            y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
        }
        // Now `x[i]` has column i % 4 of each block of four columns, of the four rows around i.
        for i in (0..16).step_by(4) {
            for j in 0..2 {
                let (low, high) = (_mm512_castps_pd(y[i + j]), _mm512_castps_pd(y[i + j + 2]));
                x[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
                x[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
            }
        }
        for i in [0, 8] {
            for j in i..i + 4 {
                y[j] = _mm512_shuffle_f32x4::<0x88>(x[j], x[j + 4]);
                y[j + 4] = _mm512_shuffle_f32x4::<0xdd>(x[j], x[j + 4]);
            }
        }
        for j in 0..8 {
            // SAFETY: by the caller.
            unsafe {
                _mm512_storeu_ps(to.0.add(j * to.1), _mm512_shuffle_f32x4::<0x88>(y[j], y[j + 8]));
                _mm512_storeu_ps(to.0.add((j + 8) * to.1), _mm512_shuffle_f32x4::<0xdd>(y[j], y[j + 8]));
            }
        }
    }
}

/// The widest vectors that the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Width {
    /// The vectors that the machine has, widest first.
    pub fn available() -> Vec<Width> {
        let mut all = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(Width::Avx512);
            }
            let has_avx2 = std::arch::is_x86_feature_detected!("avx2");
            if has_avx2 && std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("f16c") {
                all.push(Width::Avx2);
            }
        }
        all.push(Width::Plain);
        all
    }

    pub fn of_machine() -> Width {
        Width::available()[0]
    }
}
