//! Items that are kept from epoch to epoch.

use std::collections::HashMap;
use std::rc::Rc;

use align_compiler::stage::items::{Item, ItemValue};
use align_compiler::stage::source::ItemSource;

use crate::run::RunError;

/// Items that were made, so that a row of a later epoch need not be made again. As many as fit into [`MADE`] bytes.
#[derive(Default)]
pub struct Made {
    items: HashMap<usize, Rc<Item>>,
    bytes: usize,
}

const MADE: usize = 256 << 20;

impl Made {
    pub fn get(&mut self, items: &dyn ItemSource, row: usize) -> std::result::Result<Rc<Item>, RunError> {
        if let Some(item) = self.items.get(&row) {
            return Ok(item.clone());
        }
        let item = Rc::new(items.item(row)?);
        let bytes = |value: &ItemValue| match value {
            ItemValue::Floats(x) => size_of_val(&x[..]),
            ItemValue::Ints(x) => size_of_val(&x[..]),
            ItemValue::Bools(x) => size_of_val(&x[..]),
        };
        self.bytes += size_of::<Item>() + item.values.iter().map(bytes).sum::<usize>();
        if self.bytes > MADE {
            (self.items, self.bytes) = (HashMap::new(), 0);
        }
        self.items.insert(row, item.clone());
        Ok(item)
    }
}
