//! Causal attention within segments, by blocks of queries and keys: scores exist only for one pair of blocks.
//!
//! Forward: online softmax (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022). Backward: probabilities are
//! worked out again from the kept log-sum-exp. Each result is summed by one thread in a fixed order.

mod backward;
mod cached;
mod forward;
pub(crate) mod scratch;
mod short;
pub(crate) mod tile;

pub use backward::backward;
pub use forward::forward;

use crate::pool::even;

/// Positions of a block of queries or keys.
const BLOCK: usize = 64;

/// A tensor [time, heads.., width] with any strides. `kv` and `rep` are offsets of the heads that query, key and value
/// share, and of the query's own; one of them is 0 where the tensor lacks such heads.
#[derive(Clone, Debug)]
pub struct Operand {
    pub at: *mut f32,
    /// It is read as bf16, from the same place.
    pub bf16: bool,
    pub time: usize,
    pub width: usize,
    pub kv: Vec<usize>,
    pub rep: Vec<usize>,
    /// What is written is added to what is there.
    pub add: bool,
}

// SAFETY: a description of memory; who writes where is the contract of `forward` and `backward`.
unsafe impl Send for Operand {}
// SAFETY: as above.
unsafe impl Sync for Operand {}

impl Operand {
    /// Numbers before the first of a position and head.
    fn before(&self, time: usize, kv: usize, rep: usize) -> usize {
        let rep = self.rep.get(rep).copied().unwrap_or(0);
        time * self.time + self.kv[kv] + rep
    }

    /// Calls `f` with the entries of a position and head.
    ///
    /// # Safety
    /// So many entries are there.
    #[inline(always)]
    unsafe fn each(&self, (time, kv, rep): (usize, usize, usize), width: usize, mut f: impl FnMut(usize, f32)) {
        let before = self.before(time, kv, rep);
        // SAFETY: by the caller.
        unsafe {
            match self.bf16 {
                true => {
                    let at = self.at.cast::<u16>().wrapping_add(before);
                    (0..width).for_each(|i| f(i, f32::from_bits(u32::from(*at.add(i * self.width)) << 16)));
                }
                false => {
                    let at = self.at.wrapping_add(before);
                    match self.width {
                        // Vectors do this one.
                        1 => (0..width).for_each(|i| f(i, *at.add(i))),
                        apart => (0..width).for_each(|i| f(i, *at.add(i * apart))),
                    }
                }
            }
        }
    }
}

/// What does not depend on where the numbers are.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Start and length of each segment.
    pub segments: Vec<(usize, usize)>,
    pub kv: usize,
    pub rep: usize,
    pub hdim: usize,
    pub vdim: usize,
    pub scale: f32,
    /// A query sees so many keys, its own included.
    pub window: Option<usize>,
    pub tree: Option<Tree>,
    pub cache: Option<Cache>,
}

/// Keys and values of places that come before those of the segments.
#[derive(Clone, Debug)]
pub struct Cache {
    /// By rows in the place of positions.
    pub keys: Operand,
    pub values: Operand,
    /// For each segment where its part of `rows` begins, and how many there are.
    pub segments: Vec<(usize, usize)>,
    /// Rows of earlier places, oldest first.
    pub rows: Vec<usize>,
}

/// For each place: where in its segment the places end that see it, and its place in its own sequence.
#[derive(Clone, Debug)]
pub struct Tree {
    pub ends: Vec<i32>,
    pub places: Vec<i32>,
}

/// One piece of work: a block of a segment for one shared head.
#[derive(Clone, Copy, Debug)]
struct Item {
    start: usize,
    length: usize,
    /// Where its earlier places begin among all, and how many there are.
    earlier: (usize, usize),
    kv: usize,
    /// Which block of queries or keys; all of them if `None`.
    block: Option<usize>,
    /// Of a backward item with a block: it is a block of keys.
    keys: bool,
}

impl Problem {
    /// No key before this one is seen by a query.
    fn first_key(&self, query: usize) -> usize {
        match self.tree {
            // What is near in its sequence may be far in the segment.
            Some(_) => 0,
            None => self.window.map_or(0, |w| (query + 1).saturating_sub(w)),
        }
    }

    /// Blocks of keys that a block of queries sees.
    fn key_blocks(&self, query_block: usize) -> std::ops::RangeInclusive<usize> {
        self.first_key(query_block * BLOCK) / BLOCK..=query_block
    }

    /// Blocks of keys, earlier ones first, that so many queries see of which the first has so many places before it.
    fn blocks_before(&self, first: usize, queries: usize) -> std::ops::RangeInclusive<usize> {
        self.first_key(first) / BLOCK..=(first + queries - 1) / BLOCK
    }

    /// Blocks of queries that see a block of keys, of `count`.
    fn query_blocks(&self, key_block: usize, count: usize) -> std::ops::Range<usize> {
        let last_key = (key_block + 1) * BLOCK - 1;
        let window = self.window.filter(|_| self.tree.is_none());
        let end = window.map_or(count, |w| ((last_key + w - 1) / BLOCK + 1).min(count));
        key_block..end.max(key_block)
    }

    /// Whether a block of queries of a segment sees any key of a block.
    fn sees(&self, item: &Item, query_block: usize, key_block: usize) -> bool {
        let Some(tree) = &self.tree else { return true };
        let from = item.start + key_block * BLOCK;
        let ends = &tree.ends[from..from + scratch::count_of(key_block, item.length)];
        ends.iter().any(|end| *end as usize > query_block * BLOCK)
    }

    /// About how many multiplications a block of queries takes for one matrix product.
    fn work(&self, item: &Item) -> usize {
        let queries = if item.block.is_some() { BLOCK.min(item.length) } else { item.length };
        queries * (item.earlier.1 + item.length) * self.rep * self.hdim
    }
}

/// Runs items on the pool, small ones together.
fn share(pool: &crate::pool::Pool, problem: &Problem, items: &[Item], products: usize, run: impl Fn(&Item) + Sync) {
    let work = items.iter().map(|i| problem.work(i)).sum::<usize>() * products;
    let one = (work / items.len().max(1)).max(1);
    let group = even(items.len(), 400_000 / one);
    pool.run(items.len().div_ceil(group), &|_, block| {
        items[block * group..((block + 1) * group).min(items.len())].iter().for_each(&run);
    });
}

#[cfg(test)]
mod tests;
