//! Orders of rows by seed.

use super::data::{Purpose, draws};
use crate::philox::philox4x32;

/// A permutation of `0..len` by seed: the Fisher-Yates shuffle. `row` tells epochs apart.
pub fn permutation(seed: u64, purpose: Purpose, row: u64, len: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len as u32).collect();
    let mut random = draws(seed, purpose, row);
    for i in (1..len).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    order
}

/// Rows above which an order is worked out place by place, and none is held.
const TABLE: usize = 1 << 20;
const ROUNDS: u32 = 8;

/// A permutation of `0..len` by seed, in memory that has a bound.
pub enum Permutation {
    /// The shuffle above.
    Table(Vec<u32>),
    /// A Feistel network over the smallest even number of bits that hold `len`; places beyond `len` are walked over
    /// (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).
    Walk { len: u64, half: u32, key: [u32; 2], stream: u64 },
}

impl Permutation {
    pub fn new(seed: u64, purpose: Purpose, row: u64, len: usize) -> Permutation {
        if len <= TABLE {
            return Permutation::Table(permutation(seed, purpose, row, len));
        }
        let bits = u64::BITS - (len as u64 - 1).leading_zeros();
        let key = [seed as u32, (seed >> 32) as u32];
        Permutation::Walk { len: len as u64, half: bits.div_ceil(2), key, stream: (purpose as u64) << 48 | row }
    }

    /// What stands at a place below `len`.
    pub fn get(&self, place: usize) -> usize {
        let (len, half, key, stream) = match self {
            Permutation::Table(order) => return order[place] as usize,
            Permutation::Walk { len, half, key, stream } => (*len, *half, *key, *stream),
        };
        let mask = (1u64 << half) - 1;
        let mut at = place as u64;
        loop {
            let (mut left, mut right) = (at >> half, at & mask);
            for round in 0..ROUNDS {
                let counter = [right as u32, (right >> 32) as u32 ^ round << 16, stream as u32, (stream >> 32) as u32];
                let [low, high, ..] = philox4x32(counter, key);
                let mixed = u64::from(low) | u64::from(high) << 32;
                (left, right) = (right, (left ^ mixed) & mask);
            }
            at = left << half | right;
            if at < len {
                return at as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_orders_hold_every_row_once_too() {
        let len = TABLE + 12_345;
        let order = Permutation::new(3, Purpose::Shuffle, 0, len);
        assert!(matches!(order, Permutation::Walk { .. }));
        let mut seen = vec![false; len];
        let (mut stays, mut near) = (0, 0);
        for place in 0..len {
            let row = order.get(place);
            assert!(!std::mem::replace(&mut seen[row], true), "{row} stands twice");
            stays += usize::from(row == place);
            near += usize::from(row.abs_diff(place) < len / 10);
        }
        assert!(stays < 10, "{stays}");
        // A random row is as near as that in 19 of 100 cases.
        assert!((near as f64 / len as f64 - 0.19).abs() < 0.005, "{near}");
        let other = |seed, row| Permutation::new(seed, Purpose::Shuffle, row, len).get(5);
        assert!(other(3, 0) != other(4, 0) && other(3, 0) != other(3, 1));
    }

    #[test]
    fn an_order_of_more_rows_than_memory_holds() {
        let order = Permutation::new(1, Purpose::Epoch, 2, 1 << 50);
        let rows: std::collections::BTreeSet<usize> = (0..1000).map(|place| order.get(place)).collect();
        assert_eq!(rows.len(), 1000);
        assert!(rows.iter().all(|row| *row < 1 << 50) && rows.iter().any(|row| *row > 1 << 49));
    }
}
