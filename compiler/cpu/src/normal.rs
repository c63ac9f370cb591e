//! Nests without the names of their buffers and axes: equal nests of different layers become one, and share machine code.

use align_compiler::kernel::{
    Address, Block, BufferId, BufferKind, Dim, Index, Part, Program, Rows, Scalar, Size, Span, Term,
};
use align_compiler::storage::Storage;
use align_compiler::tensor::{Axis, AxisKind, DType};

/// A nest whose buffers are numbered from 0 in order of use, and whose sizes are numbers or one axis each, `Dynamic` with
/// the place among [`Arguments::sizes`].
#[derive(Clone, Debug, PartialEq)]
pub struct Normal {
    pub nest: Rows,
    pub slots: Vec<Slot>,
    pub sizes: usize,
}

/// What machine code must know of a buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    pub dtype: DType,
    pub storage: Storage,
    /// The nest writes it.
    pub stored: bool,
    /// A store may be told when it runs to add instead.
    pub output: bool,
}

/// What the code of a nest is called with.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    pub buffers: Vec<BufferId>,
    pub sizes: Vec<Size>,
}

pub fn normal(program: &Program, nest: &Rows) -> (Normal, Arguments) {
    let mut maker = Maker { program, arguments: Arguments::default(), slots: vec![] };
    let rows = nest.rows.iter().map(|d| maker.dim(d)).collect();
    let parts = nest.parts.iter().map(|part| maker.part(part)).collect();
    let nest = Rows { name: String::new(), rows, parts, values: nest.values.clone(), lanes: nest.lanes };
    (Normal { nest, slots: maker.slots, sizes: maker.arguments.sizes.len() }, maker.arguments)
}

struct Maker<'a> {
    program: &'a Program,
    arguments: Arguments,
    slots: Vec<Slot>,
}

impl Maker<'_> {
    fn buffer(&mut self, id: BufferId, stored: bool) -> BufferId {
        let known = self.arguments.buffers.iter().position(|b| *b == id);
        let at = known.unwrap_or_else(|| {
            let buffer = self.program.buffer(id);
            self.arguments.buffers.push(id);
            let output = matches!(buffer.kind, BufferKind::Output(_));
            self.slots.push(Slot { dtype: buffer.dtype, storage: buffer.storage, stored: false, output });
            self.slots.len() - 1
        });
        self.slots[at].stored |= stored;
        BufferId(at as u32)
    }

    fn size(&mut self, size: &Size) -> Size {
        if let Some(n) = size.constant() {
            return Size::number(n);
        }
        let known = self.arguments.sizes.iter().position(|s| s == size);
        let at = known.unwrap_or_else(|| {
            self.arguments.sizes.push(size.clone());
            self.arguments.sizes.len() - 1
        });
        Size { factor: 1, axes: vec![Axis::new("n", AxisKind::Dynamic(at as u32))] }
    }

    fn dim(&mut self, dim: &Dim) -> Dim {
        let size = self.size(&dim.size());
        let axis = size.constant().map(|n| Axis::fixed("n", n));
        Dim { axes: vec![axis.unwrap_or_else(|| size.axes[0].clone())] }
    }

    fn address(&mut self, address: &Address) -> Address {
        let terms = address.terms.iter().filter(|t| !t.stride.is_zero() || matches!(t.index, Index::Value { .. }));
        let terms = terms.map(|term| {
            let index = match &term.index {
                Index::Loop(i) => Index::Loop(*i),
                Index::Value { value, below } => {
                    Index::Value { value: *value, below: below.as_ref().map(|n| self.size(n)) }
                }
            };
            Term { index, stride: self.size(&term.stride) }
        });
        let terms = terms.collect();
        Address { offset: address.offset, terms }
    }

    fn block(&mut self, block: &Block) -> Block {
        let mut block = block.clone();
        for step in &mut block.lets {
            match &mut step.op {
                Scalar::Load(buffer, at) => {
                    *buffer = self.buffer(*buffer, false);
                    *at = self.address(at);
                }
                Scalar::Size(size) => *size = self.size(size),
                _ => {}
            }
        }
        for store in &mut block.stores {
            store.buffer = self.buffer(store.buffer, true);
            store.at = self.address(&store.at);
        }
        block
    }

    fn part(&mut self, part: &Part) -> Part {
        match part {
            Part::Row(block) => Part::Row(self.block(block)),
            Part::Pass(pass) => {
                let loops = pass.loops.iter().map(|s| Span { dim: self.dim(&s.dim), within: s.within }).collect();
                let block = self.block(&pass.block);
                Part::Pass(align_compiler::kernel::Pass { loops, block, reduces: pass.reduces.clone() })
            }
        }
    }
}
