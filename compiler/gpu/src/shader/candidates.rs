//! Other ways to cut a step than the one that is likely to be fast: some of them are faster on some device.

use align_compiler::kernel::{Contraction, Rows, Step, Strided};
use align_compiler::tensor::Lengths;

use super::nest::{can_be_cut, has_long_passes};
use super::{Spread, Tiling, Variant, variant};

/// Tiles by their size.
const TILES: [Tiling; 4] = [Tiling::FLAT, Tiling::SMALL, Tiling::MIDDLE, Tiling::LARGE];
/// Least terms of a part of a sum that may be worth a workgroup of its own.
const TERMS: usize = 128;
const MOST_PARTS: usize = 32;
const MOST_CHUNKS: usize = 64;
/// Rows below which a device has too little to do with an invocation for each.
const FEW: usize = 1024;

/// The variant that is likely to be fast, and those beside it.
pub fn candidates(step: &Step, lengths: &Lengths) -> Vec<Variant> {
    let first = variant(step, lengths);
    let mut all = vec![first];
    match (step, first) {
        (Step::Contraction(c), Variant::Contraction(tiling)) => {
            all.extend(tilings(c, tiling, lengths).into_iter().map(Variant::Contraction));
        }
        (Step::Rows(nest), Variant::Rows(spread)) if has_long_passes(nest, lengths) => {
            all.extend(spreads(nest, spread, lengths).into_iter().map(Variant::Rows));
        }
        _ => {}
    }
    all
}

/// The tiles a size smaller and larger, and the sum cut into half and twice as many parts.
fn tilings(c: &Contraction, first: Tiling, lengths: &Lengths) -> Vec<Tiling> {
    let of = |loops: &[Strided]| loops.iter().map(|l| l.dim.size().get(lengths)).product::<usize>();
    let split = first.split;
    let at = TILES.iter().position(|tile| Tiling { split, ..*tile } == first);
    let beside = at.map_or(0..0, |at| at.saturating_sub(1)..(at + 2).min(TILES.len()));
    let tiles = TILES[beside].iter().map(|tile| Tiling { split, ..*tile });
    let most = (of(&c.k) / TERMS).min(MOST_PARTS);
    let parts = [split / 2, 2 * split].into_iter().filter(|parts| (1..=most).contains(parts));
    let parts = parts.map(|split| Tiling { split, ..first });
    tiles.chain(parts).filter(|tiling| *tiling != first).collect()
}

/// A row for an invocation, for some lanes, for all lanes of a smaller and a larger workgroup; more and fewer chunks.
fn spreads(nest: &Rows, first: Spread, lengths: &Lengths) -> Vec<Spread> {
    let rows: usize = nest.rows.iter().map(|dim| dim.size().get(lengths)).product();
    let block = Spread { rows: 32, slices: 8, chunks: first.chunks };
    let group = |slices: usize| Spread { chunks: first.chunks, ..Spread::group(slices) };
    let mut all = match first.rows {
        1 => vec![block, group(first.slices / 2), group(2 * first.slices)],
        _ => vec![block, group(64)],
    };
    all.retain(|spread| (32..=256).contains(&spread.lanes()));
    if rows >= FEW {
        all.push(Spread::ALONE);
    }
    if can_be_cut(nest) && first != Spread::ALONE {
        let chunks = [first.chunks / 2, 2 * first.chunks].into_iter().filter(|n| (1..=MOST_CHUNKS).contains(n));
        all.extend(chunks.map(|chunks| Spread { chunks, ..first }));
    }
    all.retain(|spread| *spread != first);
    all
}

#[cfg(test)]
mod tests {
    use align_compiler::kernel::fuse;
    use align_compiler::tensor::{Axis, DType, Graph, ReduceOp};

    use super::*;
    use crate::shader::tests::{plain, validate};
    use crate::shader::{Context, kernels};

    /// `rows k` by `k columns`, or sums over `k`.
    fn step(rows: usize, k: usize, product: bool) -> Vec<Variant> {
        let [r, k, c] = [("r", rows), ("k", k), ("c", 96)].map(|(name, size)| Axis::fixed(name, size));
        let mut g = Graph::new();
        let x = g.input("x", vec![r.clone(), k.clone()], DType::Float);
        let y = match product {
            true => {
                let w = g.input("w", vec![k.clone(), c], DType::Float);
                g.contract(x, w, &[k])
            }
            false => g.reduce(ReduceOp::Sum, x, &[k]),
        };
        g.output("y", y);
        let program = fuse(&g).unwrap_or_else(|e| panic!("{e}"));
        let bound = plain(&program);
        let all = candidates(&program.steps[0], &Lengths::new());
        for variant in &all {
            let made = kernels(Context { program: &program, bound: &bound }, &program.steps[0], *variant);
            made.expect("a kernel").kernels.iter().for_each(|kernel| validate(&kernel.shader.text));
        }
        all
    }

    #[test]
    fn neighbours_are_good_wgsl_and_each_is_there_once() {
        for (rows, k) in [(4, 64), (8, 4096), (512, 512), (4096, 3000), (1, 1 << 20), (100, 300)] {
            for product in [true, false] {
                let all = step(rows, k, product);
                assert!((2..=6).contains(&all.len()), "{rows} {k}: {all:?}");
                assert!((1..all.len()).all(|i| !all[..i].contains(&all[i])), "{all:?}");
            }
        }
        assert_eq!(step(512, 12, false).len(), 1, "short sums have one way");
    }
}
