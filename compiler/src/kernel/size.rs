//! Sizes, strides and addresses: arithmetic on them, and their numbers for a batch.

use super::ir::{Address, Buffer, BufferId, BufferKind, Cache, Dim, Index, Program, Size, Step, Term, Tree, View};
use crate::tensor::{Axis, DType, Lengths};

impl Size {
    pub fn number(factor: usize) -> Size {
        Size { factor, axes: vec![] }
    }

    pub fn one() -> Size {
        Size::number(1)
    }

    pub fn zero() -> Size {
        Size::number(0)
    }

    /// The product of the sizes of axes.
    pub fn of<'a>(axes: impl IntoIterator<Item = &'a Axis>) -> Size {
        axes.into_iter().fold(Size::one(), |size, axis| size.times_axis(axis))
    }

    pub fn times_axis(mut self, axis: &Axis) -> Size {
        match axis.fixed_size() {
            Some(n) => self.factor *= n,
            None => {
                let at = self.axes.partition_point(|a| a < axis);
                self.axes.insert(at, axis.clone());
            }
        }
        self
    }

    pub fn times(&self, other: &Size) -> Size {
        let product = other.axes.iter().fold(self.clone(), |size, axis| size.times_axis(axis));
        Size { factor: product.factor * other.factor, ..product }
    }

    /// The number, if no batch changes it.
    pub fn constant(&self) -> Option<usize> {
        (self.axes.is_empty() || self.factor == 0).then_some(self.factor)
    }

    pub fn is_one(&self) -> bool {
        self.constant() == Some(1)
    }

    pub fn is_zero(&self) -> bool {
        self.factor == 0
    }

    pub fn get(&self, lengths: &Lengths) -> usize {
        self.axes.iter().fold(self.factor, |n, axis| n * lengths.size(axis))
    }
}

impl Dim {
    pub fn size(&self) -> Size {
        Size::of(&self.axes)
    }
}

impl Address {
    /// The stride of a loop; 0 if the loop has none. Indices that were worked out may also depend on the loop.
    pub fn stride(&self, of: usize) -> Size {
        let term = self.terms.iter().find(|t| t.index == Index::Loop(of));
        term.map_or(Size::zero(), |t| t.stride.clone())
    }

    pub fn with(mut self, index: Index, stride: Size) -> Address {
        self.terms.push(Term { index, stride });
        self
    }
}

impl Buffer {
    /// Entries.
    pub fn size(&self) -> Size {
        Size::of(&self.axes)
    }

    /// The stride of each axis.
    pub fn strides(&self) -> Vec<Size> {
        (0..self.axes.len()).map(|i| Size::of(&self.axes[i + 1..])).collect()
    }

    /// Bytes of so many entries.
    pub fn bytes_of(&self, entries: usize) -> usize {
        match self.dtype {
            DType::Float => self.storage.bytes(entries),
            DType::Int => 4 * entries,
            DType::Bool => entries,
        }
    }

    pub fn bytes(&self, lengths: &Lengths) -> usize {
        self.bytes_of(self.size().get(lengths))
    }
}

impl View {
    /// The stride of an axis; 0 if the view lacks it.
    pub fn stride(&self, axis: &Axis) -> Size {
        self.axes.iter().find(|(a, _)| a == axis).map_or(Size::zero(), |(_, stride)| stride.clone())
    }

    pub fn has(&self, axis: &Axis) -> bool {
        self.axes.iter().any(|(a, _)| a == axis)
    }

    /// The places of its entries, the last axis fastest.
    pub fn places(&self, lengths: &Lengths) -> Vec<usize> {
        let mut places = vec![self.offset];
        for (axis, stride) in &self.axes {
            let (size, stride) = (lengths.size(axis), stride.get(lengths));
            places = places.into_iter().flat_map(|at| (0..size).map(move |i| at + i * stride)).collect();
        }
        places
    }
}

impl Program {
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Buffers with their ids.
    pub fn ids(&self) -> impl Iterator<Item = (BufferId, &Buffer)> {
        self.buffers.iter().enumerate().map(|(i, b)| (BufferId(i as u32), b))
    }

    pub fn named_output(&self, name: &str) -> Option<BufferId> {
        self.ids().find(|(_, b)| b.kind == BufferKind::Output(name.into())).map(|(id, _)| id)
    }
}

/// What a step does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    /// All that is read of the buffer later, or a part of it.
    Write,
    /// Reads and writes.
    Add,
}

impl Step {
    /// The buffers of the program that the step uses. A buffer may come several times.
    pub fn accesses(&self) -> Vec<(BufferId, Access)> {
        use super::ir::{Part, Scalar};
        let writes = |add: bool| if add { Access::Add } else { Access::Write };
        match self {
            Step::Rows(nest) => {
                let blocks = nest.parts.iter().map(|part| match part {
                    Part::Row(block) => block,
                    Part::Pass(pass) => &pass.block,
                });
                let mut all = vec![];
                for block in blocks {
                    all.extend(block.lets.iter().filter_map(|l| match &l.op {
                        Scalar::Load(buffer, _) => Some((*buffer, Access::Read)),
                        _ => None,
                    }));
                    all.extend(block.stores.iter().map(|s| (s.buffer, writes(s.add))));
                }
                all
            }
            Step::Contraction(c) => {
                vec![(c.lhs.buffer, Access::Read), (c.rhs.buffer, Access::Read), (c.out.buffer, writes(c.add))]
            }
            Step::Attention(a) => reads([&a.query, &a.key, &a.value])
                .chain(reads(tree(&a.tree).chain(cache(&a.cache))))
                .chain(written([&a.out, &a.lse]))
                .collect(),
            Step::AttentionGrad(a) => reads([&a.query, &a.key, &a.value, &a.out, &a.lse, &a.cotangent])
                .chain(reads(tree(&a.tree)))
                .chain(written([&a.query_grad, &a.key_grad, &a.value_grad]))
                .collect(),
            Step::Scatter(s) => reads([&s.index, &s.values]).chain([(s.out.buffer, writes(s.add))]).collect(),
            Step::Cumsum(c) => reads([&c.input]).chain(written([&c.out])).collect(),
            Step::Sort(s) => reads([&s.input]).chain(written([&s.out])).collect(),
            Step::Dense(d) => reads(&d.inputs).chain(written(&d.outs)).collect(),
            Step::Chunked(c) => {
                let outputs = c.outputs.iter().map(|o| (o.bound.buffer, writes(o.add)));
                c.inputs.iter().map(|b| (b.buffer, Access::Read)).chain(outputs).collect()
            }
            Step::Scan(s) => {
                let inputs = s.slices.iter().chain(&s.captured).map(|b| (b.buffer, Access::Read));
                let results = s.results.iter().map(|b| (b.buffer, Access::Write));
                let carries = s.carries.iter().flat_map(|c| [(c.first, Access::Read), (c.last, Access::Write)]);
                inputs.chain(results).chain(carries).collect()
            }
            Step::Loop(l) => {
                let carries = l.carries.iter().flat_map(|c| [(c.first, Access::Read), (c.last, Access::Write)]);
                l.captured.iter().map(|b| (b.buffer, Access::Read)).chain(carries).collect()
            }
        }
    }
}

impl Step {
    /// Gives the step's buffers other ids. Bodies have buffers of their own.
    pub fn rename(&mut self, to: &impl Fn(BufferId) -> BufferId) {
        use super::ir::{Part, Scalar};
        let bind = |b: &mut super::ir::Binding| b.buffer = to(b.buffer);
        let carry = |c: &mut super::ir::Carry| (c.first, c.last) = (to(c.first), to(c.last));
        match self {
            Step::Rows(nest) => {
                for part in &mut nest.parts {
                    let block = match part {
                        Part::Row(block) => block,
                        Part::Pass(pass) => &mut pass.block,
                    };
                    block.lets.iter_mut().for_each(|l| {
                        if let Scalar::Load(buffer, _) = &mut l.op {
                            *buffer = to(*buffer);
                        }
                    });
                    block.stores.iter_mut().for_each(|s| s.buffer = to(s.buffer));
                }
            }
            Step::Contraction(c) => {
                [&mut c.lhs, &mut c.rhs, &mut c.out].into_iter().for_each(|o| o.buffer = to(o.buffer));
            }
            Step::Chunked(c) => {
                c.inputs.iter_mut().for_each(bind);
                c.outputs.iter_mut().for_each(|o| o.bound.buffer = to(o.bound.buffer));
            }
            Step::Scan(s) => {
                s.slices.iter_mut().chain(&mut s.captured).chain(&mut s.results).for_each(bind);
                s.carries.iter_mut().for_each(carry);
            }
            Step::Loop(l) => {
                l.captured.iter_mut().for_each(bind);
                l.carries.iter_mut().for_each(carry);
            }
            _ => self.views_mut().into_iter().for_each(|v| v.buffer = to(v.buffer)),
        }
    }

    /// The views of a step that has views.
    pub fn views(&self) -> Vec<&View> {
        match self {
            Step::Attention(a) => {
                let own = [&a.query, &a.key, &a.value, &a.out, &a.lse];
                own.into_iter().chain(tree(&a.tree)).chain(cache(&a.cache)).collect()
            }
            Step::AttentionGrad(a) => {
                let read = [&a.query, &a.key, &a.value, &a.out, &a.lse, &a.cotangent];
                read.into_iter().chain([&a.query_grad, &a.key_grad, &a.value_grad]).chain(tree(&a.tree)).collect()
            }
            Step::Scatter(s) => vec![&s.index, &s.values, &s.out],
            Step::Cumsum(c) => vec![&c.input, &c.out],
            Step::Sort(s) => vec![&s.input, &s.out],
            Step::Dense(d) => d.inputs.iter().chain(&d.outs).collect(),
            _ => vec![],
        }
    }

    fn views_mut(&mut self) -> Vec<&mut View> {
        match self {
            Step::Attention(a) => {
                let own = [&mut a.query, &mut a.key, &mut a.value, &mut a.out, &mut a.lse];
                own.into_iter().chain(tree_mut(&mut a.tree)).chain(cache_mut(&mut a.cache)).collect()
            }
            Step::AttentionGrad(a) => {
                let read = [&mut a.query, &mut a.key, &mut a.value, &mut a.out, &mut a.lse, &mut a.cotangent];
                let written = [&mut a.query_grad, &mut a.key_grad, &mut a.value_grad];
                read.into_iter().chain(written).chain(tree_mut(&mut a.tree)).collect()
            }
            Step::Scatter(s) => vec![&mut s.index, &mut s.values, &mut s.out],
            Step::Cumsum(c) => vec![&mut c.input, &mut c.out],
            Step::Sort(s) => vec![&mut s.input, &mut s.out],
            Step::Dense(d) => d.inputs.iter_mut().chain(&mut d.outs).collect(),
            _ => vec![],
        }
    }
}

fn tree(tree: &Option<Tree>) -> impl Iterator<Item = &View> {
    tree.iter().flat_map(Tree::views)
}

fn tree_mut(tree: &mut Option<Tree>) -> impl Iterator<Item = &mut View> {
    tree.iter_mut().flat_map(|tree| [&mut tree.ends, &mut tree.places])
}

fn cache(cache: &Option<Cache>) -> impl Iterator<Item = &View> {
    cache.iter().flat_map(Cache::views)
}

fn cache_mut(cache: &mut Option<Cache>) -> impl Iterator<Item = &mut View> {
    cache.iter_mut().flat_map(|cache| [&mut cache.keys, &mut cache.values, &mut cache.rows])
}

fn reads<'a>(views: impl IntoIterator<Item = &'a View>) -> impl Iterator<Item = (BufferId, Access)> {
    views.into_iter().map(|v| (v.buffer, Access::Read))
}

fn written<'a>(views: impl IntoIterator<Item = &'a View>) -> impl Iterator<Item = (BufferId, Access)> {
    views.into_iter().map(|v| (v.buffer, Access::Write))
}
