//! Items with values that were worked out for each row before the stage.

use align_compiler::stage::hash::ContentHash;
use align_compiler::stage::hoist::KEPT;
use align_compiler::stage::items::{Item, ItemInput, ItemLayout, ItemValue};
use align_compiler::stage::source::ItemSource;
use align_compiler::tensor::{Axis, DType};
use align_syntax::diag::Diagnostic;

use crate::evaluate::Evaluated;

/// Rows of a stage whose layout ends in kept values.
pub struct WithKept<'a> {
    items: &'a dyn ItemSource,
    layout: &'a ItemLayout,
    /// Nothing: zeros stand in their places, for who looks at lengths alone.
    values: Option<&'a Evaluated>,
}

impl<'a> WithKept<'a> {
    /// `items` have all of the layout but its kept values.
    pub fn new(items: &'a dyn ItemSource, layout: &'a ItemLayout, values: Option<&'a Evaluated>) -> WithKept<'a> {
        WithKept { items, layout, values }
    }

    fn value(&self, item: &Item, input: &ItemInput, output: usize, row: usize) -> ItemValue {
        let found = self.values.and_then(|values| values.answer(output, row));
        match (input.dtype, found) {
            (DType::Float, Some(x)) => ItemValue::Floats(x.iter().map(|x| *x as f32).collect()),
            (DType::Int, Some(x)) => ItemValue::Ints(x.iter().map(|x| *x as i32).collect()),
            (DType::Bool, Some(x)) => ItemValue::Bools(x.iter().map(|x| *x != 0.0).collect()),
            (DType::Float, None) => ItemValue::Floats(vec![0.0; self.len_of(item, &input.axes)]),
            (DType::Int, None) => ItemValue::Ints(vec![0; self.len_of(item, &input.axes)]),
            (DType::Bool, None) => ItemValue::Bools(vec![false; self.len_of(item, &input.axes)]),
        }
    }

    /// Places of the innermost of these axes.
    fn len_of(&self, item: &Item, axes: &[Axis]) -> usize {
        let of = |axis: &Axis| self.layout.ragged.iter().position(|known| known == axis);
        axes.last().map_or(1, |axis| of(axis).map_or(0, |at| item.lengths[at].iter().sum()))
    }
}

impl ItemSource for WithKept<'_> {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn item(&self, row: usize) -> Result<Item, Box<Diagnostic>> {
        let mut item = self.items.item(row)?;
        let kept = self.layout.inputs.iter().filter(|input| input.name.starts_with(KEPT));
        let values: Vec<ItemValue> =
            kept.enumerate().map(|(output, input)| self.value(&item, input, output, row)).collect();
        item.values.extend(values);
        Ok(item)
    }

    fn place(&self, row: usize) -> String {
        self.items.place(row)
    }

    fn identity(&self) -> ContentHash {
        self.items.identity()
    }
}
