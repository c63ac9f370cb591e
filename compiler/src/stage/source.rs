//! Where the items of a stage come from.

use super::graph::StageId;
use super::hash::{ContentHash, Hasher};
use super::items::Item;
use super::look::Looked;
use align_syntax::diag::Diagnostic;

/// No rows: who runs the stage gives its items.
pub struct Nothing;

impl ItemSource for Nothing {
    fn len(&self) -> usize {
        0
    }

    fn item(&self, _: usize) -> Result<Item, Box<Diagnostic>> {
        Ok(Item::default())
    }

    fn place(&self, index: usize) -> String {
        format!("row {index}")
    }

    fn identity(&self) -> ContentHash {
        Hasher::new("no rows").finish()
    }
}

/// The rows of a stage as items, made when asked for. The order is that of the data; shuffling is the step loop's.
pub trait ItemSource {
    /// Number of rows.
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Row `index` in the layout of the stage. The error names the row's file and line.
    fn item(&self, index: usize) -> Result<Item, Box<Diagnostic>>;
    /// Where row `index` comes from, for messages: file and line, or the row of a generator.
    fn place(&self, index: usize) -> String;
    /// Identifies the rows and how they become items.
    fn identity(&self) -> ContentHash;
    /// How often rows are gone through to make them all.
    fn passes(&self) -> u64 {
        1
    }
    /// The parts of [`ItemSource::identity`]: a name, what it is in words, and its hash.
    fn parts(&self) -> Vec<(&'static str, String, ContentHash)> {
        vec![("rows", String::new(), self.identity())]
    }
    /// The files that rows are read from, each with a hash of its content.
    fn files(&self) -> Vec<(String, String)> {
        vec![]
    }
    /// The stages that drew replies of the rows.
    fn drawn(&self) -> Vec<StageId> {
        vec![]
    }
    /// The rows of a program, as somebody looks at them.
    fn looked(&self) -> Option<&dyn Looked> {
        None
    }
}
