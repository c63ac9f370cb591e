//! Kernel programs: buffers, and steps that run one after another. Nothing here knows which device runs them.
//!
//! A step reads and writes buffers through linear addresses: a constant offset, and for each index a stride. Strides and
//! sizes are products of axis sizes, so one program serves every batch; the sizes that only a batch decides come from
//! [`crate::tensor::Lengths`].

use crate::storage::Storage;
use crate::tensor::{Attention, Axis, AxisKind, DType, MapOp, Origin, RandomKind, ReduceOp, TableKind};

/// Buffers and steps. Steps run in order; each may use all cores.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub buffers: Vec<Buffer>,
    pub steps: Vec<Step>,
    /// Where each step comes from: what it has most of first. No part of what the program is, and not there in one that was
    /// read from text.
    pub origins: Vec<Vec<Origin>>,
}

impl PartialEq for Program {
    fn eq(&self, other: &Program) -> bool {
        (&self.buffers, &self.steps) == (&other.buffers, &other.steps)
    }
}

/// A buffer of a [`Program`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BufferId(pub u32);

/// Numbers in memory, densely packed in the order of `axes` (slowest first).
///
/// Int is i32, Bool is a byte, 0 or 1, Float lies as `storage` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// For people: where the value comes from. Not unique.
    pub name: String,
    pub dtype: DType,
    /// How Floats lie here. What is not f32 is read by nests and products, and by the same buffers of bodies; attention reads
    /// bf16, and a nest can write it.
    pub storage: Storage,
    pub axes: Vec<Axis>,
    pub kind: BufferKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BufferKind {
    /// Given by the caller under this name; only read.
    Input(String),
    /// A weight, by its path; only read.
    Weight(String),
    /// Given to the caller under this name. Steps write or accumulate it and never read it, so the caller may have it
    /// added to what is there.
    Output(String),
    /// Lives from the first step that writes it to the last that uses it.
    Temp,
    /// A table of a packed axis, filled from the lengths of the batch.
    Table(Axis, TableKind),
    /// These numbers, in the order of `axes`.
    Const(Vec<f64>),
}

/// A number of entries: a factor times the sizes of axes that only a batch decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    pub factor: usize,
    /// Sorted; none of them has a fixed size.
    pub axes: Vec<Axis>,
}

/// Where in a buffer: `offset + Σ index · stride`, in entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Address {
    pub offset: usize,
    pub terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub index: Index,
    pub stride: Size,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// The index of a loop of the nest: first those of `rows`, then those of the pass, counted on.
    Loop(usize),
    /// An Int that was worked out. With a bound it must lie in `0..below`, else the program ends with a fault (and nothing
    /// outside of the buffer is touched); without one it is right by construction.
    Value { value: Value, below: Option<Size> },
}

/// A scalar of a nest, for each row, or for each element of a pass.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Value(pub u32);

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Rows(Rows),
    Contraction(Contraction),
    Attention(AttentionStep),
    AttentionGrad(AttentionGradStep),
    Scatter(Scatter),
    Cumsum(Cumsum),
    Sort(Sort),
    Dense(Dense),
    Chunked(Chunked),
    Scan(Scan),
    Loop(Loop),
}

// ---------------------------------------------------------------------------------------------------------- rows

/// One loop nest over rows that do not depend on each other, in any order and in parallel. For each row its parts run in
/// order: scalars of the row, and passes over inner loops whose reductions give further scalars of the row. A part may load
/// what an earlier part stored for the same row.
///
/// Pointwise: rows alone. Softmax: three passes. A norm: two. Sums over outer axes: rows are what remains, the pass runs
/// over the outer axes, and `lanes` says that neighbouring rows go together.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// For people.
    pub name: String,
    /// Outermost first. None: one row.
    pub rows: Vec<Dim>,
    pub parts: Vec<Part>,
    /// The dtype of every [`Value`] of the nest.
    pub values: Vec<DType>,
    pub lanes: Lanes,
}

/// A loop over the indices of one axis, or of several in order (the last fastest) taken as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Dim {
    /// Not empty.
    pub axes: Vec<Axis>,
}

/// Which loop is best done several indices at a time: most addresses are contiguous or constant along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// The last loop of `rows`: vectors hold neighbouring rows.
    Rows,
    /// The last loop of each pass. Row scalars are plain scalars.
    Pass,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Once for each row.
    Row(Block),
    /// For each row, once for each index of inner loops.
    Pass(Pass),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Outermost first; at least one.
    pub loops: Vec<Span>,
    pub block: Block,
    /// Over all indices of `loops`. In an order that neither the number of threads nor their timing changes.
    pub reduces: Vec<Reduce>,
}

/// An inner loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub dim: Dim,
    /// Start and length (Int scalars of the row): the index runs over `start..start + length`. `None`: all indices.
    pub within: Option<(Value, Value)>,
}

/// Straight code: scalars in order, then stores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    pub lets: Vec<Let>,
    pub stores: Vec<Store>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    pub value: Value,
    pub op: Scalar,
}

/// How a scalar is worked out. Its dtype is in [`Rows::values`].
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Ints and Bools (0 or 1) exactly.
    Const(f64),
    /// The buffer's dtype.
    Load(BufferId, Address),
    /// Of a loop, counted as in [`Index::Loop`]. Int.
    Index(usize),
    /// The number of entries. Int.
    Size(Size),
    /// As in the tensor graph: arguments of one dtype (but for the condition of `Where`).
    Map(MapOp, Vec<Value>),
    /// To the dtype of the result. To Int: towards zero. From Bool: 0 or 1.
    Cast(Value),
    /// Philox4x32-10: the key is (seed, stream), the counter at most 4 Ints and then zeros; see `interp::random` for how
    /// the drawn words become a number.
    Random { kind: RandomKind, stream: u32, seed: Value, counter: Vec<Value> },
}

/// Different rows and elements store to different places.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub buffer: BufferId,
    pub at: Address,
    pub value: Value,
    /// Adds to what is there (Float).
    pub add: bool,
}

/// `result` is a scalar of the row once the pass is done. Over nothing: the neutral element (0, -inf, inf, 1, false, true;
/// for Ints the extremes).
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    pub op: ReduceOp,
    pub value: Value,
    pub result: Value,
}

// -------------------------------------------------------------------------------------------------- library-like steps

/// `out[b, m, n] = Σ_k lhs[b, m, k] · rhs[b, k, n]`, all Float. Each group is as few loops as the layouts allow, outermost
/// first: one loop in `m`, `n` and `k` is a plain matrix product with any strides; none is a size of 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Contraction {
    pub name: String,
    pub lhs: Operand,
    pub rhs: Operand,
    pub out: Operand,
    pub batch: Vec<Strided>,
    pub m: Vec<Strided>,
    pub n: Vec<Strided>,
    pub k: Vec<Strided>,
    /// Adds to what `out` holds.
    pub add: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    pub buffer: BufferId,
    pub offset: usize,
}

/// A loop with its stride in each operand; 0 where the operand lacks it.
#[derive(Clone, Debug, PartialEq)]
pub struct Strided {
    pub dim: Dim,
    pub lhs: Size,
    pub rhs: Size,
    pub out: Size,
}

/// A buffer (or a part of it) seen as a tensor: axes in any order with their strides. An axis that is not listed has the
/// same value at every index.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub buffer: BufferId,
    pub offset: usize,
    pub axes: Vec<(Axis, Size)>,
}

/// What attention over trees reads beside its factors: Ints on the axis of places. See [`Attention::tree`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    /// The place in the segment before which what sees this place lies.
    pub ends: View,
    /// The place in its own sequence.
    pub places: View,
}

impl Tree {
    pub fn views(&self) -> [&View; 2] {
        [&self.ends, &self.places]
    }
}

/// Keys and values of earlier places, and where each is. See [`Attention::cached`].
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    pub keys: View,
    pub values: View,
    /// Ints on the axis of earlier places. What lies outside of the rows is the nearest row.
    pub rows: View,
}

impl Cache {
    pub fn views(&self) -> [&View; 3] {
        [&self.keys, &self.values, &self.rows]
    }

    /// The axis of the rows of keys and values.
    pub fn row(&self) -> Option<&Axis> {
        let mut axes = self.keys.axes.iter().map(|(axis, _)| axis);
        axes.find(|axis| matches!(axis.kind(), AxisKind::Dynamic(_)))
    }
}

/// Causal attention within the segments of `attention.time`, which is a packed axis. Views have the axes that
/// [`Attention`] says (`lse` those of the query without `hdim`).
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionStep {
    pub attention: Attention,
    pub query: View,
    pub key: View,
    pub value: View,
    pub tree: Option<Tree>,
    pub cache: Option<Cache>,
    pub out: View,
    /// The log-sum-exp of the scaled scores.
    pub lse: View,
}

/// The cotangents of query, key and value, from that of `out`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionGradStep {
    pub attention: Attention,
    pub query: View,
    pub key: View,
    pub value: View,
    pub tree: Option<Tree>,
    pub out: View,
    pub lse: View,
    pub cotangent: View,
    pub query_grad: View,
    pub key_grad: View,
    pub value_grad: View,
}

/// `out = 0; for all places p of index and values, in order: out[p, axis: index[p]] += values[p]`. Axes of `values` and
/// `index` that `out` lacks (other than by the index) are summed. An index outside of the axis is a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    pub axis: Axis,
    pub index: View,
    pub values: View,
    pub out: View,
    /// Adds to what `out` holds instead of to zeros.
    pub add: bool,
}

/// Running sum along `axis`, including the index itself; in each segment anew along a packed axis. From the end if `reverse`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cumsum {
    pub axis: Axis,
    pub reverse: bool,
    pub input: View,
    pub out: View,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    pub kind: SortKind,
    pub axis: Axis,
    pub input: View,
    /// Int indices along `axis`.
    pub out: View,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SortKind {
    /// Stable, ascending, ties by index, nan last.
    Argsort,
    /// The largest along `axis`, best first; the output has this axis instead. Ties by index; nan last.
    Top(Axis),
}

/// Small dense linear algebra; `row` and `column` are the axes of the matrix, all others run outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    pub kind: DenseKind,
    pub row: Axis,
    pub column: Axis,
    pub inputs: Vec<View>,
    pub outs: Vec<View>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseKind {
    Solve,
    Cholesky,
    Qr,
    Eigh,
    Svd,
}

// ------------------------------------------------------------------------------------------------- programs in steps

/// `body` over blocks of at most `block` indices of `axis`, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunked {
    pub axis: Axis,
    /// Indices of `axis` in one block. Decided here, so that results do not depend on memory.
    pub block: usize,
    /// Within it `axis` has the size of the block; nothing in it looks across the axis but sums that leave it.
    pub body: Box<Program>,
    pub inputs: Vec<Binding>,
    pub outputs: Vec<ChunkOutput>,
}

/// A buffer of the program outside, bound to an input or output of the body. In a `Chunked` step, if it has `axis`, that is
/// its outermost axis, and the block's part of it is bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    pub name: String,
    pub buffer: BufferId,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ChunkOutput {
    pub bound: Binding,
    /// Lacks `axis`: the sum over the blocks.
    pub sum: bool,
    /// With `sum`: added to what the buffer holds instead of to zeros.
    pub add: bool,
}

/// `body` for each index of `axis`, in order (from the end if `reverse`).
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    pub axis: Axis,
    pub reverse: bool,
    pub body: Box<Program>,
    pub carries: Vec<Carry>,
    /// Outermost axis `axis`: its slice is the body's input.
    pub slices: Vec<Binding>,
    /// The same for every index.
    pub captured: Vec<Binding>,
    /// Outermost axis `axis`: its slice is the body's output.
    pub results: Vec<Binding>,
}

/// A value handed from round to round: the body reads it under `input` and gives the next under `output`.
#[derive(Clone, Debug, PartialEq)]
pub struct Carry {
    pub input: String,
    pub output: String,
    pub first: BufferId,
    pub last: BufferId,
}

/// At most `within` rounds of `body`, until its output `go_on` (a Bool) is false: what that round made of the carries is
/// not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    pub within: usize,
    pub go_on: String,
    pub body: Box<Program>,
    pub carries: Vec<Carry>,
    pub captured: Vec<Binding>,
}
