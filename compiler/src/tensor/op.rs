//! The primitives of the tensor graph. Nothing else exists at this level; composites (softmax, norms, attention) are made of these.

use super::axis::Axis;
use super::graph::Graph;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// f32 on devices; the interpreter also runs it as f64.
    Float,
    /// 32 bits on devices.
    Int,
    Bool,
}

/// Scalar functions of one, two or three arguments, applied at every index. All arguments of one call of arithmetic have
/// the same dtype (the builder casts); comparisons give Bool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MapOp {
    Neg,
    Abs,
    Sign,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Sin,
    Cos,
    Tanh,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    Floor,
    Ceil,
    /// To the nearest, ties to even.
    Round,
    /// To the nearest number that bf16 has, ties to even. Its derivative is 1.
    Bf16,
    Not,
    IsNan,
    Add,
    Sub,
    Mul,
    /// Float division. On Ints: rounds towards minus infinity.
    Div,
    /// The remainder with the sign of the divisor (as Python's `%`).
    Rem,
    Pow,
    Min,
    Max,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    /// `Where(c, a, b)`: a where c holds, else b. An unselected argument gets a gradient of exactly 0.
    Where,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReduceOp {
    Sum,
    Max,
    Min,
    Prod,
    Any,
    All,
}

/// Integer tables that belong to a packed axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableKind {
    /// On the packed axis: the index of its segment on the outer axis.
    Segment,
    /// On the packed axis: the place within its segment, from 0.
    Position,
    /// On the outer axis: the index of the segment's first place on the packed axis.
    Start,
    /// On the outer axis: the number of places in the segment.
    Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RandomKind {
    /// In [0, 1).
    Uniform,
    /// Mean 0, variance 1.
    Normal,
}

/// How a [`Op::Call`] is run. Its meaning is always that of its body.
#[derive(Clone, Debug, PartialEq)]
pub enum CallKind {
    /// As written: inlined before fusion.
    Plain,
    /// In blocks of indices of `axis`; outputs that lack `axis` are sums over the blocks (the body's output is a
    /// `Reduce(Sum)` or `Contract` over `axis`, or a `ScatterAdd`). The values inside are never stored whole.
    Chunked { axis: Axis },
    /// Causal attention over the segments of a packed axis (or, before the batch pass, over a ragged axis) by an online
    /// softmax. See [`Attention`].
    Attention(Attention),
    /// The vjp of an `Attention` call: inputs are those of the forward call, its outputs, then the cotangent of its first
    /// output; outputs are the cotangents of query, key and value.
    AttentionGrad(Attention),
}

/// Inputs: query `[time, heads.., hdim]`, key `[time, kv heads.., hdim]`, value `[time, kv heads.., vdim]`, the last two
/// before any rename. Where `tree` holds, two more, Ints on `[time]`: for each place the end of what sees it, and its place in
/// its own sequence. With `cached`, three more: keys and values of earlier places `[row, kv heads.., hdim or vdim]`, of which
/// an Int on `[cached]` says the row of each. Outputs: 0 the attended values `[time, heads.., vdim]`; 1 the log-sum-exp of the scaled
/// scores `[time, heads..]`, kept for the backward pass (its cotangent is not used).
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// The axis of positions: ragged or packed.
    pub time: Axis,
    /// The axis that the scores contract.
    pub hdim: Axis,
    /// The axis of the values that comes out; may equal `hdim`.
    pub vdim: Axis,
    /// Head axes that query, key and value share.
    pub kv: Vec<Axis>,
    /// Head axes of the query alone (grouped-query attention).
    pub rep: Vec<Axis>,
    /// The scores are multiplied by this.
    pub scale: f64,
    /// A query sees keys at places `query - window < key <= query`; without a window all up to its own.
    pub window: Option<usize>,
    /// A segment of `time` holds a tree of sequences, which share what they begin with: each node's places follow those of
    /// its parent and what is below that before it. A key at place k of the segment is seen by queries at `k <= q < end[k]`,
    /// and distances of a window are those in their sequence.
    pub tree: bool,
    /// The axis of the places that come before those of `time`, whose keys and values are kept elsewhere: ragged or packed, with
    /// a segment for each of `time`. Distances of a window count them.
    pub cached: Option<Axis>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    // ---- leaves
    /// Given by the caller under this name.
    Input(String),
    /// A trainable weight, by its path in the net (`blocks.0.attend.q`).
    Weight(String),
    /// One number (Ints and Bools are held exactly).
    Const(f64),
    /// Numbers in the order of the node's axes, all of them fixed.
    Array(Vec<f64>),
    /// The index along the node's only axis, from 0. On a packed axis: the place in the whole micro-batch.
    Iota,
    /// A table of a packed axis, an Int on that axis or on its outer one. Only after the batch pass.
    Table(Axis, TableKind),
    /// Random numbers over the node's axes by Philox4x32-10. The key is (first input: the seed, stream); the counter is up
    /// to three further inputs (Int, scalars or tensors), then the index along the node's `Fixed` axes, sorted. A uniform
    /// is the upper 24 bits of the first word; a normal is Box and Muller's, of the first two words.
    Random(RandomKind, u32),

    // ---- element by element: axes are the union of the inputs'
    Map(MapOp),
    /// To the node's dtype. To Int: towards zero. From Bool: 0 or 1.
    Cast,
    /// The identity, without a derivative.
    Stop,

    // ---- axes
    Reduce(ReduceOp, Vec<Axis>),
    /// Sum over these axes of the product of two tensors.
    Contract(Vec<Axis>),
    /// Adds an axis along which the value is the same.
    Tile(Axis),
    /// The same numbers under another axis (of equal size).
    Rename {
        from: Axis,
        to: Axis,
    },
    /// Two axes (first the slower) made one fixed or dynamic axis.
    Flatten {
        from: [Axis; 2],
        to: Axis,
    },
    Split {
        from: Axis,
        to: [Axis; 2],
    },
    /// Indices `start..start + size(to)` of a fixed axis.
    Slice {
        from: Axis,
        to: Axis,
        start: usize,
    },
    /// The adjoint of `Slice`: zeros elsewhere.
    Pad {
        from: Axis,
        to: Axis,
        start: usize,
    },
    /// Input i has the fixed axis `from[i]`; they are laid one after another along `to`.
    Concat {
        from: Vec<Axis>,
        to: Axis,
    },

    // ---- indices
    /// `gather[a](x, i)`: inputs x and an Int i; axes (x - a) + i's. Axes that both have run together. An index outside
    /// 0..size is a fault (the tracer guards `or:` with a clamp and a `Where`).
    Gather(Axis),
    /// `scatter_add[a](i, v)`: zeros with the node's axes; v at each of its indices is added where i points along a.
    /// Axes of v that the node lacks are summed.
    ScatterAdd(Axis),
    /// Stable, ascending, ties by index, nan last. Int.
    Argsort(Axis),
    /// The k = size(to) largest along `from`, best first. Int indices.
    Topk {
        from: Axis,
        to: Axis,
    },
    /// Keeps the indices of `from` (ragged) where the second input (Bool) holds; `to` is ragged with an origin of its own.
    Compact {
        from: Axis,
        to: Axis,
    },
    /// The adjoint of `Compact`: inputs v on `to` and keep on `from`; zeros where keep does not hold.
    Expand {
        from: Axis,
        to: Axis,
    },

    // ---- recurrences
    /// Running sum, including the index itself; from the end if `reverse`. Along a packed axis it begins anew in each segment.
    Cumsum {
        axis: Axis,
        reverse: bool,
    },
    /// `body`: inputs carries.., then one slice of each xs (without `axis`), then captured values; outputs the next
    /// carries.., then ys. Node inputs: initial carries, xs (with `axis`), captured. Results: final carries, then ys with
    /// `axis`.
    Scan {
        axis: Axis,
        reverse: bool,
        carries: usize,
        xs: usize,
        body: Box<Graph>,
    },
    /// At most `within` rounds of `body` (inputs carries.., captured; outputs a Bool `go on`, then next carries). Results:
    /// carries. What a round without `go on` makes of them is not taken.
    Loop {
        within: usize,
        carries: usize,
        body: Box<Graph>,
    },

    // ---- small dense linear algebra: the two axes are rows and columns
    Solve(Axis, Axis),
    Cholesky(Axis, Axis),
    /// Results q on `[a, rank]`, r on `[rank, b]`; `rank` is the axis of [`super::graph::rank_axis`].
    Qr(Axis, Axis),
    /// Results ascending eigenvalues on b, eigenvectors as columns on `[a, b]`.
    Eigh(Axis, Axis),
    /// Results u on `[a, rank]`, s descending on `[rank]`, v on `[b, rank]`.
    Svd(Axis, Axis),

    // ---- the step around an item: only in a graph for one item, before the batch pass
    /// The value that each item of the step has, on an axis that is paired with `item`. An item alone is the whole step.
    Items(Axis),
    /// The place of the item on such an axis. Int.
    Here,

    // ---- packed
    /// Reduces each segment of a packed axis onto its outer axis. An empty segment gives the neutral element.
    SegmentReduce(ReduceOp, Axis),
    /// A value of the outer axis for every place of its segment on the packed axis.
    SegmentTile(Axis),

    // ---- several results
    /// A named subgraph; its inputs are the body's inputs in order of the body's `params`.
    Call {
        kind: CallKind,
        body: Box<Graph>,
    },
    /// Result i of a `Scan`, `Loop`, `Qr`, `Eigh`, `Svd` or `Call`.
    Result(usize),
}
