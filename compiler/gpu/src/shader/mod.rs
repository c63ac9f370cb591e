//! Steps of kernel programs as WGSL.
//!
//! A step becomes one or more dispatches ([`Kernel`]). Their text knows sizes that the configuration decides as numbers;
//! those of a batch are fields of a uniform struct `sizes`. Buffers have the names that the program gives them. Equal
//! steps of different layers give the same text but for these names, so they share one pipeline ([`Shader::key`]).
//!
//! All storage bindings are `read_write`: temporaries lie in one buffer, and one that is bound both for reading and for
//! writing in a dispatch is refused otherwise.

mod attention;
mod candidates;
mod contraction;
mod cumsum;
mod library;
mod names;
mod nest;
mod print;
mod scalar;
mod scatter;
mod sort;
mod source;
#[cfg(test)]
pub mod tests;

use align_compiler::kernel::{BufferId, Program, Size, Step, View};
use align_compiler::storage::Storage;
use align_compiler::tensor::{Axis, DType, Lengths, TableKind};

pub use candidates::candidates;
pub use contraction::Tiling;
pub use nest::Spread;
pub use print::{dispatches, text};
pub use scatter::Places;

/// How the entries of a buffer lie in a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    F32,
    I32,
    /// A word for each, 0 or 1.
    Bool,
    /// bf16 as numbers of 16 bits, on devices that have such.
    Half,
    /// bf16, two to a word; only read.
    Bf16,
    /// Blocks of 34 bytes; only read.
    Q8,
    /// Blocks of 20 bytes; only read.
    Q4,
}

impl Form {
    /// Of what a program writes. Floats in bf16 that are not the device's numbers are rounded and lie as f32.
    pub fn written(dtype: DType, storage: Storage, halves: bool) -> Form {
        match dtype {
            DType::Float if storage == Storage::Bf16 && halves => Form::Half,
            DType::Float => Form::F32,
            DType::Int => Form::I32,
            DType::Bool => Form::Bool,
        }
    }

    /// Of what a caller gives.
    pub fn given(dtype: DType, storage: Storage, halves: bool) -> Form {
        match (dtype, storage) {
            (DType::Float, Storage::Bf16) if !halves => Form::Bf16,
            (DType::Float, Storage::Q8) => Form::Q8,
            (DType::Float, Storage::Q4) => Form::Q4,
            _ => Form::written(dtype, storage, halves),
        }
    }

    /// Bytes of so many entries: whole words.
    pub fn bytes(self, entries: usize) -> usize {
        match self {
            Form::F32 | Form::I32 | Form::Bool => 4 * entries,
            Form::Half | Form::Bf16 => Storage::Bf16.bytes(entries).next_multiple_of(4),
            Form::Q8 => Storage::Q8.bytes(entries).next_multiple_of(4),
            Form::Q4 => Storage::Q4.bytes(entries).next_multiple_of(4),
        }
    }

    /// The type of an element of the array that is bound.
    pub fn element(self) -> &'static str {
        match self {
            Form::F32 => "f32",
            Form::I32 => "i32",
            Form::Half => "u16",
            Form::Bool | Form::Bf16 | Form::Q8 | Form::Q4 => "u32",
        }
    }
}

/// What the text of a kernel depends on beside the program: how a buffer is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bound {
    pub form: Form,
    /// Stores to it add.
    pub add: bool,
    /// It begins at an entry of the binding that the sizes give.
    pub shifted: bool,
    /// It lies where this buffer lies, entry by entry.
    pub over: Option<BufferId>,
}

impl Bound {
    pub fn plain(form: Form) -> Bound {
        Bound { form, add: false, shifted: false, over: None }
    }
}

/// A program, with how each of its buffers is bound.
#[derive(Clone, Copy)]
pub struct Context<'p> {
    pub program: &'p Program,
    pub bound: &'p [Bound],
}

impl Context<'_> {
    pub fn of(&self, buffer: BufferId) -> Bound {
        self.bound[buffer.0 as usize]
    }
}

/// A number that `sizes` holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Axis(Axis),
    /// The entry of its binding at which a buffer begins.
    First(BufferId),
    /// The number of the first of the step's faults.
    Fault,
}

/// What is bound, in order of the bindings behind `sizes`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    Buffer(BufferId),
    /// i32: a table of a packed axis that is no buffer of the program ([`Lengths::table`]).
    Table(Axis, TableKind),
    /// Memory of the step's own, by its place in [`Kernels::scratch`].
    Scratch(usize),
    /// A word for each place where a fault may be found: the least wrong index, or the largest Int.
    Faults,
}

/// A compute shader.
#[derive(Clone, Debug)]
pub struct Shader {
    /// With the names of the program.
    pub text: String,
    /// The text with neutral names: equal keys are equal shaders.
    pub key: String,
}

/// A dispatch of a shader whose entry is `main`.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What it works out, in a line or more.
    pub about: String,
    pub shader: Shader,
    pub fields: Vec<Field>,
    pub bindings: Vec<Bind>,
    pub grid: Grid,
}

/// How many workgroups: for each size as many as cover it by steps.
#[derive(Clone, Debug, Default)]
pub struct Grid(pub Vec<(Size, usize)>);

impl Grid {
    pub fn groups(&self, lengths: &Lengths) -> usize {
        self.0.iter().map(|(size, step)| size.get(lengths).div_ceil(*step)).product()
    }
}

/// Where a fault may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// An index outside of a buffer.
    Index(BufferId),
    Division,
}

/// A step as dispatches that run one after another.
#[derive(Clone, Debug, Default)]
pub struct Kernels {
    pub kernels: Vec<Kernel>,
    /// Words of each piece of memory that the dispatches hand on.
    pub scratch: Vec<Words>,
    pub sites: Vec<Site>,
}

/// A number of words: the next power of two for sorts.
#[derive(Clone, Debug)]
pub struct Words {
    /// Factors.
    pub of: Size,
    /// A further factor, rounded up to a power of two.
    pub power: Option<Size>,
}

impl Words {
    pub fn get(&self, lengths: &Lengths) -> usize {
        self.of.get(lengths) * self.power.as_ref().map_or(1, |size| size.get(lengths).next_power_of_two())
    }
}

/// How a step is cut, where there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    Rows(Spread),
    Contraction(Tiling),
    Scatter(Places),
    /// There is one way.
    Only,
}

impl Variant {
    /// Whether dispatches may hand something on ([`Kernels::scratch`]).
    pub fn may_hand_on(self) -> bool {
        match self {
            Variant::Rows(spread) => spread.chunks > 1,
            Variant::Contraction(tiling) => tiling.split > 1,
            Variant::Scatter(_) | Variant::Only => true,
        }
    }
}

/// The step's dispatches. None for what runs as a body, or on the host.
pub fn kernels(context: Context, step: &Step, variant: Variant) -> Option<Kernels> {
    Some(match (step, variant) {
        (Step::Rows(nest), Variant::Rows(spread)) => nest::kernels(context, nest, spread),
        (Step::Contraction(c), Variant::Contraction(tiling)) => contraction::kernels(context, c, tiling),

        (Step::Scatter(scatter), Variant::Scatter(places)) => scatter::kernels(context, scatter, places),
        (Step::Attention(step), _) => attention::forward(context, step),
        (Step::AttentionGrad(step), _) => attention::backward(context, step),
        (Step::Cumsum(step), _) => cumsum::kernels(context, step),
        (Step::Sort(step), _) => sort::kernels(context, step),
        (Step::Rows(_) | Step::Contraction(_) | Step::Scatter(_), _) => unreachable!("a variant of another step"),
        (Step::Dense(_) | Step::Chunked(_) | Step::Scan(_) | Step::Loop(_), _) => return None,
    })
}

/// The variant that is likely to be fast.
pub fn variant(step: &Step, lengths: &Lengths) -> Variant {
    match step {
        Step::Rows(nest) => Variant::Rows(nest::spread(nest, lengths)),
        Step::Contraction(c) => Variant::Contraction(contraction::tiling(c, lengths)),
        Step::Scatter(step) => Variant::Scatter(scatter::places(step, lengths)),
        _ => Variant::Only,
    }
}

/// The axes of some views but for these, each once: those of size 1 too.
fn other_axes<'v>(views: impl IntoIterator<Item = &'v View>, but: &[&Axis]) -> Vec<Axis> {
    let mut all: Vec<Axis> = vec![];
    for (axis, _) in views.into_iter().flat_map(|view| &view.axes) {
        if !all.contains(axis) && !but.contains(&axis) {
            all.push(axis.clone());
        }
    }
    all
}
