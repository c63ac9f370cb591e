//! Items that are kept from epoch to epoch.

use std::collections::HashMap;
use std::rc::Rc;

use align_compiler::stage::items::{Item, ItemValue};
use align_compiler::stage::source::ItemSource;

use crate::run::RunError;

/// Items that were made, so that a row of a later epoch need not be made again. As many as fit into what
/// the stage leaves, and at most [`MADE`] bytes.
pub struct Made {
    items: HashMap<usize, Rc<Item>>,
    bytes: usize,
    limit: usize,
}

const MADE: usize = 256 << 20;

impl Made {
    pub fn new(limit: usize) -> Made {
        Made { items: HashMap::new(), bytes: 0, limit: limit.min(MADE) }
    }

    /// From now on items may hold this many bytes. Gives what they may hold in truth.
    pub fn limit(&mut self, bytes: usize) -> usize {
        self.limit = bytes.min(MADE);
        if self.bytes > self.limit {
            self.forget();
        }
        self.limit
    }

    /// Bytes of the items that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn forget(&mut self) {
        (self.items, self.bytes) = (HashMap::new(), 0);
    }

    pub fn get(&mut self, items: &dyn ItemSource, row: usize) -> std::result::Result<Rc<Item>, RunError> {
        if let Some(item) = self.items.get(&row) {
            return Ok(item.clone());
        }
        let item = Rc::new(items.item(row)?);
        let own = size_of::<Item>() + item.values.iter().map(ItemValue::bytes).sum::<usize>();
        if self.bytes + own > self.limit {
            self.forget();
        }
        if own <= self.limit {
            self.bytes += own;
            self.items.insert(row, item.clone());
        }
        Ok(item)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use align_compiler::stage::hash::ContentHash;
    use align_syntax::diag::Diagnostic;

    use super::*;

    /// Items of 4000 bytes and more, counted as they are made.
    struct Counted(Cell<usize>);

    impl ItemSource for Counted {
        fn len(&self) -> usize {
            10
        }

        fn item(&self, _: usize) -> Result<Item, Box<Diagnostic>> {
            self.0.set(self.0.get() + 1);
            Ok(Item { values: vec![ItemValue::Floats(vec![0.0; 1000])], lengths: vec![], tokens: 1 })
        }

        fn place(&self, _: usize) -> String {
            String::new()
        }

        fn identity(&self) -> ContentHash {
            unreachable!("nothing asks")
        }
    }

    #[test]
    fn items_hold_no_more_than_they_may() {
        let (source, mut made) = (Counted(Cell::new(0)), Made::new(10_000));
        let ask = |made: &mut Made, row| {
            made.get(&source, row).unwrap();
            assert!(made.bytes <= made.limit && made.items.len() * 4000 <= made.bytes);
            source.0.get()
        };
        assert_eq!([ask(&mut made, 0), ask(&mut made, 1), ask(&mut made, 0)], [1, 2, 2]);
        assert_eq!([ask(&mut made, 2), ask(&mut made, 0)], [3, 4], "the third did not fit beside them");
        assert_eq!(made.limit(5_000), 5_000);
        assert_eq!([ask(&mut made, 0), ask(&mut made, 0)], [5, 5]);
        assert_eq!(made.limit(10), 10);
        assert_eq!([ask(&mut made, 0), ask(&mut made, 0)], [6, 7]);
        assert_eq!(made.limit(usize::MAX), MADE);
    }
}
