//! What one row of data gives to a traced loss or metric, and how rows are laid end to end for a micro-batch.

pub use super::forest::Forest;
use crate::tensor::{Axis, DType, Lengths};
use std::collections::BTreeMap;

/// Ends the name of an input that holds all tokens of prompt and reply.
pub const STREAM: &str = ".stream";
/// Ends the name of an input that holds the reply's tokens.
pub const TOKENS: &str = ".tokens";
/// Ends the name of an input that holds, for each token of the reply, the place on the stream that predicts it.
pub const PLACES: &str = ".places";

/// An input of a per-item graph that comes from the item.
///
/// Of a field of type Reply (or Chat) called f three things can be read, each under a name of its own: `f.stream`, the
/// ids of all tokens of prompt and reply, on a ragged axis for the stream; `f.tokens`, the ids of the reply's tokens
/// (of a Chat: of the assistant's), on the ragged axis `time` of f; and `f.places` on the same axis: for each of these the
/// place on the stream that predicts it. Of a Prompt: `f.stream`. A number is read by the field's own name. A field
/// `each sample` has the ragged axis `sample` of its record before these, and its ragged axis belongs to that.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemInput {
    /// The graph's input: the path of the field, with one of [`STREAM`], [`TOKENS`], [`PLACES`] for text.
    pub name: String,
    /// Empty for a number of the item, else its ragged axes, the outer one first, and then fixed axes.
    pub axes: Vec<Axis>,
    pub dtype: DType,
}

/// What a graph needs of every item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemLayout {
    pub inputs: Vec<ItemInput>,
    /// The ragged axes of the graph, in the order of [`Item::lengths`].
    pub ragged: Vec<Axis>,
    /// What is made of streams when items are packed.
    pub forests: Vec<Forest>,
}

impl ItemLayout {
    /// The ragged axes of graphs on such items: those of [`Item::lengths`], then those of forests.
    pub fn axes(&self) -> impl Iterator<Item = &Axis> {
        self.ragged.iter().chain(self.forests.iter().map(|forest| &forest.axis))
    }

    /// The lengths that an item has on each of [`ItemLayout::axes`].
    pub fn lengths(&self, item: &Item) -> Vec<Vec<usize>> {
        let forests = self.forests.iter().map(|forest| forest.pack(self, std::iter::once(item)).1);
        item.lengths.iter().cloned().chain(forests).collect()
    }
}

/// One row, ready for the device. Aligned with an [`ItemLayout`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    pub values: Vec<ItemValue>,
    /// For each ragged axis its length; of one that belongs to another, a length for each index of that.
    pub lengths: Vec<Vec<usize>>,
    /// Forward tokens, prompts included: what `batch n tokens` and `num_tokens` count.
    pub tokens: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ItemValue {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
    Bools(Vec<bool>),
}

impl ItemValue {
    /// Number of entries.
    pub fn len(&self) -> usize {
        match self {
            ItemValue::Floats(v) => v.len(),
            ItemValue::Ints(v) => v.len(),
            ItemValue::Bools(v) => v.len(),
        }
    }

    /// Bytes of its entries.
    pub fn bytes(&self) -> usize {
        match self {
            ItemValue::Floats(v) => size_of_val(&v[..]),
            ItemValue::Ints(v) => size_of_val(&v[..]),
            ItemValue::Bools(v) => size_of_val(&v[..]),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A micro-batch: run-time lengths of the packed axes, and each input end to end.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    pub lengths: Lengths,
    pub values: BTreeMap<String, ItemValue>,
    pub tokens: usize,
}

/// Lays items end to end. Axes of the result are the packed forms of the layout's.
pub fn pack<'a>(layout: &ItemLayout, items: impl IntoIterator<Item = &'a Item> + Clone) -> Packed {
    let count = items.clone().into_iter().count();
    let mut lengths = Lengths::new().with(Axis::item(), vec![count]);
    for (i, axis) in layout.ragged.iter().enumerate() {
        lengths.set(axis.packed(), items.clone().into_iter().flat_map(|item| item.lengths[i].clone()).collect());
    }
    let mut values = BTreeMap::new();
    for (i, input) in layout.inputs.iter().enumerate() {
        let mut all = match input.dtype {
            DType::Float => ItemValue::Floats(vec![]),
            DType::Int => ItemValue::Ints(vec![]),
            DType::Bool => ItemValue::Bools(vec![]),
        };
        for item in items.clone() {
            match (&mut all, &item.values[i]) {
                (ItemValue::Floats(to), ItemValue::Floats(from)) => to.extend(from),
                (ItemValue::Ints(to), ItemValue::Ints(from)) => to.extend(from),
                (ItemValue::Bools(to), ItemValue::Bools(from)) => to.extend(from),
                (to, from) => unreachable!("input {} is {to:?}, the item has {from:?}", input.name),
            }
        }
        values.insert(input.name.clone(), all);
    }
    for forest in &layout.forests {
        let (inputs, tokens) = forest.pack(layout, items.clone().into_iter());
        lengths.set(forest.axis.packed(), tokens);
        values.extend(inputs.into_iter().map(|(name, ints)| (name, ItemValue::Ints(ints))));
    }
    Packed { lengths, values, tokens: items.into_iter().map(|item| item.tokens).sum() }
}
