//! How Floats lie in memory: as f32, or in fewer bits, from which they are read as f32.

use half::{bf16, f16};

/// A form of Floats in memory.
///
/// Blocks are of 32 numbers that lie next to each other, as the GGUF types Q8_0 and Q4_1 have them; the last one may hold fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Storage {
    #[default]
    F32,
    /// The upper half of an f32, rounded to the nearest, ties to even.
    Bf16,
    /// For each block a scale in f16, then whole numbers of 8 bits: `scale * n`.
    Q8,
    /// For each block a scale and a least value in f16, then whole numbers of 4 bits, those of the first half of the block in
    /// the low halves of 16 bytes: `scale * n + least`.
    Q4,
}

/// Numbers of a block.
pub const BLOCK: usize = 32;

impl Storage {
    pub const ALL: [Storage; 4] = [Storage::F32, Storage::Bf16, Storage::Q8, Storage::Q4];

    /// The word of programs.
    pub fn word(self) -> &'static str {
        match self {
            Storage::F32 => "f32",
            Storage::Bf16 => "bf16",
            Storage::Q8 => "q8",
            Storage::Q4 => "q4",
        }
    }

    /// Numbers that share bytes, and these bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Storage::F32 => (1, 4),
            Storage::Bf16 => (1, 2),
            Storage::Q8 => (BLOCK, 34),
            Storage::Q4 => (BLOCK, 20),
        }
    }

    /// Bytes of so many numbers.
    pub fn bytes(self, count: usize) -> usize {
        let (numbers, bytes) = self.block();
        count.div_ceil(numbers) * bytes
    }

    /// Numbers in this form. What is in blocks with a number that is not finite becomes nan.
    pub fn encode(self, numbers: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes(numbers.len()));
        self.append(numbers, &mut bytes);
        bytes
    }

    /// Numbers in the form of the fewest bits that holds each of them as it is. `None` where only f32 does.
    pub fn exact(numbers: &[f32]) -> Option<(Storage, Vec<u8>)> {
        let fewer = [Storage::Q4, Storage::Q8, Storage::Bf16];
        fewer.into_iter().find_map(|storage| Some((storage, storage.encode_exact(numbers)?)))
    }

    fn encode_exact(self, numbers: &[f32]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let is_exact = match self {
            Storage::F32 => return Some(self.encode(numbers)),
            Storage::Bf16 => {
                bytes.extend(numbers.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()));
                numbers.iter().all(|x| x.to_bits() & 0xffff == 0 && !x.is_nan())
            }
            // The first block that is not exact ends it.
            Storage::Q8 => numbers.chunks(BLOCK).all(|block| exact_q8(block, &mut bytes)),
            Storage::Q4 => numbers.chunks(BLOCK).all(|block| exact_q4(block, &mut bytes)),
        };
        is_exact.then_some(bytes)
    }

    /// Adds numbers; what is there already are whole blocks.
    fn append(self, numbers: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Storage::F32 => numbers.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
            Storage::Bf16 => numbers.iter().for_each(|x| bytes.extend(bf16::from_f32(*x).to_le_bytes())),
            Storage::Q8 => numbers.chunks(BLOCK).for_each(|block| encode_q8(block, bytes)),
            Storage::Q4 => numbers.chunks(BLOCK).for_each(|block| encode_q4(block, bytes)),
        }
    }

    /// Number `at`.
    pub fn get(self, bytes: &[u8], at: usize) -> f32 {
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
        let (numbers, size) = self.block();
        let (start, i) = (at / numbers * size, at % numbers);
        match self {
            Storage::F32 => f32::from_le_bytes([0, 1, 2, 3].map(|byte| bytes[start + byte])),
            Storage::Bf16 => bf16::from_le_bytes([bytes[start], bytes[start + 1]]).to_f32(),
            Storage::Q8 => f32::from(bytes[start + 2 + i] as i8) * half(start),
            Storage::Q4 => {
                let byte = bytes[start + 4 + i % (BLOCK / 2)];
                let n = if i < BLOCK / 2 { byte & 15 } else { byte >> 4 };
                f32::from(n) * half(start) + half(start + 2)
            }
        }
    }

    /// Reads the numbers from `at` on.
    pub fn read(self, bytes: &[u8], mut at: usize, mut to: &mut [f32]) {
        let (numbers, size) = self.block();
        match self {
            Storage::F32 => {
                let from = bytes[at * size..].chunks_exact(size);
                return to.iter_mut().zip(from).for_each(|(to, x)| *to = f32::from_le_bytes([x[0], x[1], x[2], x[3]]));
            }
            Storage::Bf16 => {
                let from = bytes[at * size..].chunks_exact(size);
                let upper = |x: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes([x[0], x[1]])) << 16);
                return to.iter_mut().zip(from).for_each(|(to, x)| *to = upper(x));
            }
            Storage::Q8 | Storage::Q4 => {}
        }
        while !to.is_empty() {
            let (start, i) = (at / numbers * size, at % numbers);
            let (part, rest) = to.split_at_mut((numbers - i).min(to.len()));
            match self {
                Storage::Q8 => {
                    let scale = f16::from_le_bytes([bytes[start], bytes[start + 1]]).to_f32();
                    let from = &bytes[start + 2 + i..];
                    part.iter_mut().zip(from).for_each(|(to, n)| *to = f32::from(*n as i8) * scale);
                }
                Storage::Q4 => {
                    let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
                    let (scale, least) = (half(start), half(start + 2));
                    let from = &bytes[start + 4..start + size];
                    let (low, high) = part.split_at_mut((BLOCK / 2).saturating_sub(i).min(part.len()));
                    let low_bytes = &from[i.min(BLOCK / 2)..];
                    low.iter_mut().zip(low_bytes).for_each(|(to, n)| *to = f32::from(n & 15) * scale + least);
                    let high_bytes = &from[i.saturating_sub(BLOCK / 2)..];
                    high.iter_mut().zip(high_bytes).for_each(|(to, n)| *to = f32::from(n >> 4) * scale + least);
                }
                Storage::F32 | Storage::Bf16 => unreachable!("read at once"),
            }
            at += part.len();
            to = rest;
        }
    }

    /// The first `count` numbers.
    pub fn decode(self, bytes: &[u8], count: usize) -> Vec<f32> {
        let mut numbers = vec![0.0; count];
        self.read(bytes, 0, &mut numbers);
        numbers
    }

    /// What is left of numbers that are stored so.
    pub fn rounded(self, numbers: &[f32]) -> Vec<f32> {
        match self {
            Storage::F32 => numbers.to_vec(),
            _ => self.decode(&self.encode(numbers), numbers.len()),
        }
    }
}

/// A number in f16 that a scale may have: none is infinite.
fn scale(x: f32) -> f16 {
    if x.is_nan() { f16::NAN } else { f16::from_f32(x.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())) }
}

/// `x / scale`, and 0 where the scale is.
fn steps(x: f32, scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { (x / scale).round() }
}

/// The largest and the least number of a block; nan if one is not finite.
fn ends(block: &[f32]) -> (f32, f32) {
    match block.iter().all(|x| x.is_finite()) {
        true => (block.iter().copied().fold(f32::MIN, f32::max), block.iter().copied().fold(f32::MAX, f32::min)),
        false => (f32::NAN, f32::NAN),
    }
}

fn encode_q8(block: &[f32], to: &mut Vec<u8>) {
    let (high, low) = ends(block);
    let by = scale(high.abs().max(low.abs()) / 127.0);
    let by = if high.is_nan() { f16::NAN } else { by };
    to.extend(by.to_le_bytes());
    let number = |i: usize| block.get(i).map_or(0.0, |x| steps(*x, by.to_f32()).clamp(-127.0, 127.0));
    to.extend((0..BLOCK).map(|i| number(i) as i8 as u8));
}

fn encode_q4(block: &[f32], to: &mut Vec<u8>) {
    let (high, low) = ends(block);
    let least = scale(low);
    // From the least number as it is stored.
    let by = scale(((high - least.to_f32()) / 15.0).max(0.0));
    let by = if high.is_nan() { f16::NAN } else { by };
    to.extend(by.to_le_bytes());
    to.extend(least.to_le_bytes());
    let number = |i: usize| -> u8 {
        block.get(i).map_or(0.0, |x| steps(x - least.to_f32(), by.to_f32()).clamp(0.0, 15.0)) as u8
    };
    to.extend((0..BLOCK / 2).map(|i| number(i) | number(i + BLOCK / 2) << 4));
}

/// Added to a small number, this leaves the nearest whole number in the lowest bits.
const WHOLE: f32 = (3 << 22) as f32;

/// The numbers of a block, its first one once more where it lacks some.
fn filled(block: &[f32]) -> [f32; BLOCK] {
    let mut all = [block.first().copied().unwrap_or(0.0); BLOCK];
    all[..block.len()].copy_from_slice(block);
    all
}

/// The least and the largest number, lane by lane.
fn range(all: &[f32; BLOCK]) -> (f32, f32) {
    const LANES: usize = 8;
    let (mut low, mut high) = ([f32::MAX; LANES], [f32::MIN; LANES]);
    for part in all.chunks_exact(LANES) {
        for (i, x) in part.iter().enumerate() {
            low[i] = if *x < low[i] { *x } else { low[i] };
            high[i] = if *x > high[i] { *x } else { high[i] };
        }
    }
    (low.into_iter().fold(f32::MAX, f32::min), high.into_iter().fold(f32::MIN, f32::max))
}

/// Whole numbers in a range of which `scale * n + least` are exactly these, if there are such.
fn whole(all: &[f32; BLOCK], scale: f32, least: f32, (from, to): (f32, f32)) -> Option<[u8; BLOCK]> {
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let (mut found, mut same) = ([0; BLOCK], true);
    for (n, x) in found.iter_mut().zip(all) {
        let moved = (x - least) * inverse + WHOLE;
        let whole = moved - WHOLE;
        same &= (whole * scale + least == *x) & (whole >= from) & (whole <= to);
        *n = moved.to_bits() as u8;
    }
    same.then_some(found)
}

/// As [`encode_q8`], where no number changes; whether that is so.
fn exact_q8(block: &[f32], to: &mut Vec<u8>) -> bool {
    let all = filled(block);
    let (low, high) = range(&all);
    let by = scale(high.abs().max(low.abs()) / 127.0);
    let Some(mut found) = whole(&all, by.to_f32(), 0.0, (-127.0, 127.0)) else { return false };
    found[block.len()..].fill(0);
    to.extend(by.to_le_bytes());
    to.extend(found);
    true
}

/// As [`encode_q4`], where no number changes; whether that is so.
fn exact_q4(block: &[f32], to: &mut Vec<u8>) -> bool {
    let all = filled(block);
    let (low, high) = range(&all);
    let least = scale(low);
    let by = scale(((high - least.to_f32()) / 15.0).max(0.0));
    let Some(mut found) = whole(&all, by.to_f32(), least.to_f32(), (0.0, 15.0)) else { return false };
    found[block.len()..].fill(0);
    let mut bytes = [0; BLOCK / 2 + 4];
    bytes[..2].copy_from_slice(&by.to_le_bytes());
    bytes[2..4].copy_from_slice(&least.to_le_bytes());
    let (first, last) = found.split_at(BLOCK / 2);
    bytes[4..].iter_mut().zip(first.iter().zip(last)).for_each(|(to, (low, high))| *to = low | high << 4);
    to.extend(bytes);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random, in -1..1.
    fn numbers(count: usize) -> Vec<f32> {
        let next = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        };
        (0..count).scan(7u32, |state, _| next(state)).collect()
    }

    #[test]
    fn numbers_come_back_within_half_a_step() {
        let x: Vec<f32> = numbers(100).into_iter().enumerate().map(|(i, x)| x * 2f32.powi(i as i32 / 32)).collect();
        for (storage, steps) in
            [(Storage::F32, f32::INFINITY), (Storage::Bf16, 256.0), (Storage::Q8, 254.0), (Storage::Q4, 15.0)]
        {
            let bytes = storage.encode(&x);
            assert_eq!(bytes.len(), storage.bytes(x.len()));
            let back = storage.decode(&bytes, x.len());
            for (block, back) in x.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let (high, low) = ends(block);
                // A range of -1..1 in so many steps, and the rounding of scale and least value.
                let within = 0.5 * 1.01 * (high.max(-low) * 2.0) / steps + 2e-3 / steps.min(1e3);
                for (x, y) in block.iter().zip(back) {
                    assert!((x - y).abs() <= within, "{} {x} {y} {within}", storage.word());
                }
            }
            assert_eq!(storage.rounded(&back), back, "{}: what is rounded stays", storage.word());
        }
    }

    #[test]
    fn parts_are_read_as_single_numbers_are() {
        let x = numbers(200);
        for storage in Storage::ALL {
            let bytes = storage.encode(&x);
            for (from, count) in
                [(0, 200), (0, 1), (3, 9), (3, 20), (17, 5), (20, 40), (31, 2), (48, 100), (199, 1), (7, 0)]
            {
                let mut read = vec![0.0; count];
                storage.read(&bytes, from, &mut read);
                let single: Vec<f32> = (from..from + count).map(|i| storage.get(&bytes, i)).collect();
                assert_eq!(read, single, "{} {from} {count}", storage.word());
            }
        }
    }

    #[test]
    fn the_fewest_bits_that_lose_nothing() {
        let x = numbers(1000);
        for storage in [Storage::Q4, Storage::Q8, Storage::Bf16] {
            let rounded = storage.rounded(&x);
            let (found, bytes) = Storage::exact(&rounded).unwrap();
            assert_eq!((found, found.decode(&bytes, 1000)), (storage, rounded));
        }
        let mut rounded = Storage::Q8.rounded(&x);
        rounded[999] = 0.3333;
        let nothing = [f32::NAN, f32::INFINITY, 0.1].map(|x| Storage::exact(&[1.0, x]));
        assert_eq!([Storage::exact(&rounded), Storage::exact(&x)], [None, None]);
        assert_eq!(nothing[0], None);
        assert_eq!(nothing[2], None);
        assert_eq!(Storage::exact(&[0.0; 40]).unwrap().1, Storage::Q4.encode(&[0.0; 40]));
    }

    #[test]
    fn blocks_lie_as_in_gguf() {
        let x: Vec<f32> = (0..32).map(|i| i as f32 * 0.25 - 3.0).collect();
        let bytes = Storage::Q4.encode(&x[..16]);
        assert_eq!(bytes.len(), 20);
        // 15 steps of a quarter from -3; what the block lacks is as if it were 0.
        assert_eq!((&bytes[..2], &bytes[2..4]), (&[0x00, 0x34][..], &[0x00, 0xc2][..]));
        assert_eq!(bytes[4..], std::array::from_fn::<u8, 16, _>(|i| i as u8));
        let bytes = Storage::Q8.encode(&[127.0, -127.0, 1.0]);
        assert_eq!(bytes[..5], [0x00, 0x3c, 127, 129, 1]);
        assert_eq!(Storage::Bf16.encode(&[1.0, -2.0]), [0x80, 0x3f, 0x00, 0xc0]);
    }

    #[test]
    fn what_is_not_finite_shows() {
        for storage in [Storage::Bf16, Storage::Q8, Storage::Q4] {
            let mut x = numbers(64);
            x[40] = f32::NAN;
            let back = storage.rounded(&x);
            assert!(back[40].is_nan() && back[..32].iter().all(|x| x.is_finite()));
        }
        assert!(Storage::Q8.rounded(&[1e30, -1e30]).iter().all(|x| x.is_finite()));
        assert_eq!(Storage::Q4.rounded(&[0.0; 40]), [0.0; 40]);
        assert_eq!(Storage::Q4.rounded(&[0.5; 40]), [0.5; 40]);
    }
}
