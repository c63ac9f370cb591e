//! How much a step does: operations on floats, and bytes that it moves. What a profile divides by its seconds.

use super::ir::{
    Address, BufferId, BufferKind, Contraction, Dim, Index, Operand, Part, Program, Rows, Scalar, Size, Span, Step,
    Strided, View,
};
use crate::tensor::{Attention, DType, Lengths, TableKind};

/// The work of a step. A fused step reads each entry that it needs once and writes each result once; what the caches save
/// or spoil is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Operations on floats. A function such as `exp` counts as one, a multiplication with an addition as two.
    pub flops: f64,
    pub bytes: f64,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.flops += other.flops;
        self.bytes += other.bytes;
    }
}

impl Step {
    /// The kind of the step in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Step::Rows(nest)
                if nest.parts.iter().any(|p| matches!(p, Part::Pass(pass) if !pass.reduces.is_empty())) =>
            {
                "reduction"
            }
            Step::Rows(nest) if loads(nest).any(|(_, at)| by_value(at)) => "gather",
            Step::Rows(_) => "pointwise",
            Step::Contraction(_) => "product",
            Step::Attention(_) | Step::AttentionGrad(_) => "attention",
            Step::Scatter(_) => "scatter",
            Step::Cumsum(_) => "running sum",
            Step::Sort(_) => "sort",
            Step::Dense(_) => "decomposition",
            Step::Chunked(_) => "blocks",
            Step::Scan(_) => "scan",
            Step::Loop(_) => "loop",
        }
    }

    /// The weight that a product is with, or whose gradient it makes, by its path.
    pub fn weight<'p>(&self, program: &'p Program) -> Option<&'p str> {
        let Step::Contraction(c) = self else { return None };
        let path = |buffer| match &program.buffer(buffer).kind {
            BufferKind::Weight(path) => Some(path.as_str()),
            BufferKind::Output(name) => name.strip_prefix("grad."),
            _ => None,
        };
        [c.lhs.buffer, c.rhs.buffer, c.out.buffer].into_iter().find_map(path)
    }

    /// What one run of the step does. Nothing for a step with a body, whose steps have work of their own.
    pub fn work(&self, program: &Program, lengths: &Lengths) -> Work {
        let bytes = |flops: f64| Work { flops, bytes: self.moved(program, lengths) };
        match self {
            Step::Rows(nest) => rows(program, nest, lengths),
            Step::Contraction(c) => contraction(program, c, lengths),
            // Scores and values; on the way back scores again, and a product for each of four cotangents.
            Step::Attention(a) => {
                let (pairs, h, v) = pairs(&a.attention, lengths);
                bytes(2.0 * pairs * (h + v))
            }
            Step::AttentionGrad(a) => {
                let (pairs, h, v) = pairs(&a.attention, lengths);
                bytes(2.0 * pairs * (3.0 * h + 2.0 * v))
            }
            Step::Scatter(s) => bytes(entries(&s.values, lengths)),
            Step::Cumsum(c) => bytes(entries(&c.input, lengths)),
            Step::Sort(_) | Step::Dense(_) => bytes(0.0),
            Step::Chunked(_) | Step::Scan(_) | Step::Loop(_) => Work::default(),
        }
    }

    /// Bytes of all views of the step.
    fn moved(&self, program: &Program, lengths: &Lengths) -> f64 {
        let all = self.views().into_iter();
        all.map(|view| entries(view, lengths) * width(program, view.buffer)).sum()
    }
}

/// Bytes of an entry; of entries that share bytes, their part.
fn width(program: &Program, buffer: BufferId) -> f64 {
    let buffer = program.buffer(buffer);
    match buffer.dtype {
        DType::Float => {
            let (numbers, bytes) = buffer.storage.block();
            bytes as f64 / numbers as f64
        }
        DType::Int => 4.0,
        DType::Bool => 1.0,
    }
}

fn entries(view: &View, lengths: &Lengths) -> f64 {
    view.axes.iter().map(|(axis, _)| lengths.size(axis) as f64).product()
}

/// Pairs of places that attend, over all heads, and the widths of queries and values. Of a tree at most so many do.
fn pairs(a: &Attention, lengths: &Lengths) -> (f64, f64, f64) {
    let of_segment = |length: i32| {
        let (n, window) = (f64::from(length), a.window.map_or(f64::INFINITY, |w| w as f64).min(f64::from(length)));
        // The first places have fewer before them.
        n * window - window * (window - 1.0) / 2.0
    };
    let own = lengths.table(&a.time, TableKind::Length);
    // Each place also sees those before all of them, as far as a window reaches.
    let earlier = a.cached.as_ref().map(|axis| lengths.table(axis, TableKind::Length)).unwrap_or_default();
    let before = own.iter().zip(&earlier).map(|(n, cached)| {
        let most = a.window.map_or(f64::INFINITY, |w| w as f64);
        f64::from(*n) * f64::from(*cached).min(most)
    });
    let segments = before.sum::<f64>() + own.iter().copied().map(of_segment).sum::<f64>();
    let heads: f64 = a.kv.iter().chain(&a.rep).map(|axis| lengths.size(axis) as f64).product();
    (segments * heads, lengths.size(&a.hdim) as f64, lengths.size(&a.vdim) as f64)
}

fn contraction(program: &Program, c: &Contraction, lengths: &Lengths) -> Work {
    let all = || c.batch.iter().chain(&c.m).chain(&c.n).chain(&c.k);
    let size = |l: &Strided| l.dim.size().get(lengths) as f64;
    let of = |operand: &Operand, stride: fn(&Strided) -> &Size| {
        width(program, operand.buffer) * all().filter(|l| !stride(l).is_zero()).map(size).product::<f64>()
    };
    let out = if c.add { 2.0 } else { 1.0 };
    Work {
        flops: 2.0 * all().map(size).product::<f64>(),
        bytes: of(&c.lhs, |l| &l.lhs) + of(&c.rhs, |l| &l.rhs) + out * of(&c.out, |l| &l.out),
    }
}

/// All loads of a nest.
fn loads(nest: &Rows) -> impl Iterator<Item = (BufferId, &Address)> {
    let blocks = nest.parts.iter().map(|part| match part {
        Part::Row(block) => block,
        Part::Pass(pass) => &pass.block,
    });
    blocks.flat_map(|block| &block.lets).filter_map(|l| match &l.op {
        Scalar::Load(buffer, at) => Some((*buffer, at)),
        _ => None,
    })
}

fn by_value(at: &Address) -> bool {
    at.terms.iter().any(|term| matches!(term.index, Index::Value { .. }))
}

fn rows(program: &Program, nest: &Rows, lengths: &Lengths) -> Work {
    let size = |dim: &Dim| dim.size().get(lengths) as f64;
    let outer: Vec<f64> = nest.rows.iter().map(size).collect();
    let mut work = Work::default();
    // What was counted of each buffer: addresses, and bytes read.
    let mut read: Vec<(BufferId, Vec<&Address>, f64)> = vec![];
    for part in &nest.parts {
        let (block, loops, reduces) = match part {
            Part::Row(block) => (block, outer.clone(), 0),
            Part::Pass(pass) => {
                let inner = pass.loops.iter().map(|span| size(&span.dim));
                (&pass.block, outer.iter().copied().chain(inner).collect(), pass.reduces.len())
            }
        };
        // Segments of all rows are the whole axis once.
        let rounds = match part {
            Part::Row(_) => 1.0,
            Part::Pass(pass) => pass.loops.iter().map(|span| round(span, lengths)).product(),
        };
        let times = rounds * outer.iter().product::<f64>();
        let is_flop = |op: &Scalar, dtype: DType| matches!(op, Scalar::Map(..)) && dtype == DType::Float;
        let flops = block.lets.iter().filter(|l| is_flop(&l.op, nest.values[l.value.0 as usize])).count() + reduces;
        work.flops += times * flops as f64;
        // Entries at different places; an index that was worked out may be any.
        let places = |at: &Address| match by_value(at) {
            true => times,
            false => {
                let moves =
                    |i: &usize| at.terms.iter().any(|term| term.index == Index::Loop(*i) && !term.stride.is_zero());
                (0..loops.len()).filter(moves).map(|i| loops[i]).product()
            }
        };
        for (buffer, at) in block.lets.iter().filter_map(|l| match &l.op {
            Scalar::Load(buffer, at) => Some((*buffer, at)),
            _ => None,
        }) {
            let width = width(program, buffer);
            match read.iter_mut().find(|(known, ..)| *known == buffer) {
                Some((_, known, _)) if known.contains(&at) => {}
                Some((_, known, bytes)) => {
                    known.push(at);
                    *bytes += width * places(at);
                }
                None => read.push((buffer, vec![at], width * places(at))),
            }
        }
        for store in &block.stores {
            work.bytes += if store.add { 2.0 } else { 1.0 } * width(program, store.buffer) * places(&store.at);
        }
    }
    for (buffer, _, bytes) in read {
        work.bytes += bytes.min(program.buffer(buffer).bytes(lengths) as f64);
    }
    work
}

/// Rounds of an inner loop for a row, on average.
fn round(span: &Span, lengths: &Lengths) -> f64 {
    let all = span.dim.size().get(lengths) as f64;
    let outer = span.dim.axes[0].outer().filter(|_| span.within.is_some());
    outer.map_or(all, |outer| all / (lengths.size(&outer) as f64).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fuse;
    use crate::tensor::{Axis, Graph, MapOp};

    fn of(build: impl Fn(&mut Graph)) -> (Program, Vec<Work>) {
        let mut g = Graph::new();
        build(&mut g);
        let program = fuse(&g).expect("it fuses");
        let lengths = Lengths::new().with(Axis::item(), vec![3]).with(time().packed(), vec![4, 1, 2]);
        let works = program.steps.iter().map(|step| step.work(&program, &lengths)).collect();
        (program, works)
    }

    fn time() -> Axis {
        Axis::ragged("time", 0, None)
    }

    #[test]
    fn products_count_factors_and_result() {
        let (rows, k, n) = (time().packed(), Axis::fixed("k", 5), Axis::fixed("n", 6));
        let (_, works) = of(|g| {
            let x = g.input("x", vec![rows.clone(), k.clone()], DType::Float);
            let w = g.weight("w", vec![k.clone(), n.clone()]);
            let y = g.contract(x, w, std::slice::from_ref(&k));
            g.output("y", y);
        });
        assert_eq!(works, [Work { flops: 2.0 * 7.0 * 30.0, bytes: 4.0 * (35.0 + 30.0 + 42.0) }]);
    }

    #[test]
    fn a_fused_nest_counts_what_it_reads_once() {
        let (rows, n) = (time().packed(), Axis::fixed("n", 6));
        let (program, works) = of(|g| {
            let x = g.input("x", vec![rows.clone(), n.clone()], DType::Float);
            let scale = g.weight("scale", vec![n.clone()]);
            let square = g.map(MapOp::Mul, &[x, x]);
            let sum = g.sum(square, std::slice::from_ref(&n));
            let y = g.map(MapOp::Mul, &[x, scale]);
            let y = g.map(MapOp::Mul, &[y, sum]);
            g.output("y", y);
        });
        assert_eq!((program.steps.len(), program.steps[0].word()), (1, "reduction"));
        // A square, the sum, two products; x once, the scale once, the result once.
        assert_eq!(works, [Work { flops: 4.0 * 42.0, bytes: 4.0 * (42.0 + 6.0 + 42.0) }]);
    }

    #[test]
    fn segments_count_their_own_places_alone() {
        let (_, works) = of(|g| {
            let x = g.input("x", vec![time().packed()], DType::Float);
            let sum = g.segment_reduce(crate::tensor::ReduceOp::Sum, x, &time().packed());
            g.output("sum", sum);
        });
        // Start and length of three segments, seven places, three sums.
        assert_eq!(works, [Work { flops: 7.0, bytes: 4.0 * (3.0 + 3.0 + 7.0 + 3.0) }]);
    }

    #[test]
    fn rows_of_a_table_count_as_often_as_they_are_read() {
        let (rows, vocab, n) = (time().packed(), Axis::fixed("vocab", 100), Axis::fixed("n", 6));
        let (program, works) = of(|g| {
            let tokens = g.input("tokens", vec![rows.clone()], DType::Int);
            let table = g.weight("table", vec![vocab.clone(), n.clone()]);
            let x = g.gather(table, &vocab, tokens);
            g.output("x", x);
        });
        assert_eq!(program.steps[0].word(), "gather");
        assert_eq!(works, [Work { flops: 0.0, bytes: 4.0 * (7.0 + 42.0 + 42.0) }]);
    }

    #[test]
    fn attention_counts_pairs_up_to_the_place() {
        let lengths = Lengths::new().with(Axis::item(), vec![3]).with(time().packed(), vec![4, 1, 2]);
        let attention = |window| Attention {
            time: time().packed(),
            hdim: Axis::fixed("h", 8),
            vdim: Axis::fixed("v", 4),
            kv: vec![Axis::fixed("kv", 2)],
            rep: vec![],
            scale: 1.0,
            window,
            tree: false,
            cached: None,
        };
        assert_eq!(pairs(&attention(None), &lengths).0, 2.0 * (10.0 + 1.0 + 3.0));
        assert_eq!(pairs(&attention(Some(2)), &lengths).0, 2.0 * (7.0 + 1.0 + 3.0));
    }
}
