//! What rows are read from.

use super::{Data, Key, Permutation, Purpose, RowSource};
use crate::eval::{Eval, Res};
use crate::stage::hash::{ContentHash, Hasher};
use crate::world::Rows;
use align_syntax::diag::Diagnostic;
use align_syntax::span::{FileId, Span};
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;

pub struct Generated<F> {
    pub len: usize,
    pub key: Key,
    pub row: F,
}

impl<V, F: Fn(&mut Eval, usize) -> Res<V>> RowSource<V> for Generated<F> {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<V> {
        (self.row)(eval, index)
    }

    fn place(&self, index: usize) -> String {
        format!("row {}", index + 1)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        (self.key)(eval)
    }

    fn files(&self, _: &mut Vec<(String, String)>) {}
}

pub struct File<F> {
    pub rows: Rc<dyn Rows>,
    pub read: F,
}

impl<V, F: Fn(&mut Eval, serde_json::Value) -> Res<V>> RowSource<V> for File<F> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<V> {
        let row = self.rows.row(index).map_err(|message| unplaced("E0702", message))?;
        (self.read)(eval, row)
    }

    fn place(&self, index: usize) -> String {
        self.rows.place(index)
    }

    fn identity(&self, _: &Eval) -> Option<ContentHash> {
        Some(Hasher::new("file").text("of", &self.rows.identity()).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        to.extend(self.rows.files());
    }
}

/// An error of a file's row, before it is known which words of the program read it.
pub fn unplaced(code: &'static str, message: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(code, Span::new(FileId(0), 0, 0), message))
}

/// Rows that are held.
pub struct MadeRows<V> {
    pub of: Data<V>,
    pub rows: Vec<V>,
}

impl<V: Clone + 'static> RowSource<V> for MadeRows<V> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn get(&self, _: &mut Eval, index: usize) -> Res<V> {
        Ok(self.rows[index].clone())
    }

    fn place(&self, index: usize) -> String {
        self.of.place(index)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        self.of.identity(eval)
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.of.files(to);
    }
}

pub struct Mapped<V, F> {
    pub of: Data<V>,
    /// Which function in a row's making this is, from 1.
    pub maps: u64,
    pub key: Key,
    pub f: F,
}

impl<V: 'static, W, F: Fn(&mut Eval, V) -> Res<W>> RowSource<W> for Mapped<V, F> {
    fn len(&self) -> usize {
        self.of.len()
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<W> {
        let row = self.of.get(eval, index)?;
        // Draws are keyed by the row, whenever, where and how often it is asked for, and apart from those of the functions
        // before and of the loop that made it, whose rounds begin at 0.
        eval.keyed(&[u64::MAX - self.maps, index as u64], |eval| (self.f)(eval, row))
    }

    fn place(&self, index: usize) -> String {
        self.of.place(index)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        let (of, by) = (self.of.identity(eval)?, (self.key)(eval)?);
        Some(Hasher::new("mapped").hash("of", &of).hash("by", &by).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.of.files(to);
    }
}

pub struct Zipped<V, U, F> {
    pub left: Data<V>,
    pub right: Data<U>,
    pub f: F,
}

impl<V: 'static, U: 'static, W, F: Fn(V, U) -> W> RowSource<W> for Zipped<V, U, F> {
    fn len(&self) -> usize {
        self.left.len()
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<W> {
        Ok((self.f)(self.left.get(eval, index)?, self.right.get(eval, index)?))
    }

    fn place(&self, index: usize) -> String {
        self.left.place(index)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        let (left, right) = (self.left.identity(eval)?, self.right.identity(eval)?);
        Some(Hasher::new("zipped").hash("left", &left).hash("right", &right).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.left.files(to);
        self.right.files(to);
    }
}

pub struct Picked<V> {
    pub of: Data<V>,
    pub order: Vec<u32>,
}

impl<V: 'static> RowSource<V> for Picked<V> {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<V> {
        self.of.get(eval, self.order[index] as usize)
    }

    fn place(&self, index: usize) -> String {
        self.of.place(self.order[index] as usize)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        let mut hasher = Hasher::new("picked");
        hasher.hash("of", &self.of.identity(eval)?);
        let bytes: Vec<u8> = self.order.iter().flat_map(|row| row.to_le_bytes()).collect();
        Some(hasher.bytes("rows", &bytes).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.of.files(to);
    }
}

/// What was made of some of the rows.
pub struct Kept<W> {
    pub of: Data<Option<W>>,
    pub order: Vec<u32>,
    /// All of it, or nothing.
    pub held: Vec<W>,
}

impl<W: Clone + 'static> RowSource<W> for Kept<W> {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<W> {
        if let Some(row) = self.held.get(index) {
            return Ok(row.clone());
        }
        match self.of.get(eval, self.order[index] as usize)? {
            Some(row) => Ok(row),
            None => Err(unplaced("E0700", "nothing was made of this row the second time".into())),
        }
    }

    fn place(&self, index: usize) -> String {
        self.of.place(self.order[index] as usize)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        Some(Hasher::new("kept").hash("of", &self.of.identity(eval)?).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.of.files(to);
    }
}

pub struct Shuffled<V> {
    pub of: Data<V>,
    pub seed: u64,
    /// Made when a row is first asked for.
    pub order: OnceCell<Permutation>,
}

impl<V: 'static> Shuffled<V> {
    fn row(&self, index: usize) -> usize {
        let make = || Permutation::new(self.seed, Purpose::Shuffle, 0, self.of.len());
        self.order.get_or_init(make).get(index)
    }
}

impl<V: 'static> RowSource<V> for Shuffled<V> {
    fn len(&self) -> usize {
        self.of.len()
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<V> {
        self.of.get(eval, self.row(index))
    }

    fn place(&self, index: usize) -> String {
        self.of.place(self.row(index))
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        Some(Hasher::new("shuffled").hash("of", &self.of.identity(eval)?).int("seed", self.seed).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.of.files(to);
    }
}

pub struct Slice<V> {
    pub of: Data<V>,
    pub start: usize,
    pub len: usize,
}

impl<V: 'static> RowSource<V> for Slice<V> {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<V> {
        self.of.get(eval, self.start + index)
    }

    fn place(&self, index: usize) -> String {
        self.of.place(self.start + index)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        let of = self.of.identity(eval)?;
        Some(Hasher::new("slice").hash("of", &of).int("start", self.start as u64).int("len", self.len as u64).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.of.files(to);
    }
}

/// Every `step`th row.
pub struct Spread<V> {
    pub of: Data<V>,
    pub step: usize,
}

impl<V: 'static> RowSource<V> for Spread<V> {
    fn len(&self) -> usize {
        self.of.len().div_ceil(self.step)
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<V> {
        self.of.get(eval, self.step * index)
    }

    fn place(&self, index: usize) -> String {
        self.of.place(self.step * index)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        Some(Hasher::new("spread").hash("of", &self.of.identity(eval)?).int("step", self.step as u64).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.of.files(to);
    }
}

/// Parts of rows.
pub struct Flat<V, W, F> {
    pub of: Data<V>,
    /// The number of the first part of each row, and of all at last.
    pub starts: Vec<usize>,
    pub parts: F,
    /// The row whose parts were asked for last: the next ones are most often its own.
    pub last: RefCell<Option<(usize, Vec<W>)>>,
}

impl<V: 'static, W, F> Flat<V, W, F> {
    /// The row of a part, and the part's place in it.
    fn seat(&self, index: usize) -> (usize, usize) {
        let row = self.starts.partition_point(|start| *start <= index) - 1;
        (row, index - self.starts[row])
    }
}

impl<V: 'static, W: Clone, F: Fn(V) -> Res<Vec<W>>> RowSource<W> for Flat<V, W, F> {
    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<W> {
        let (row, part) = self.seat(index);
        if let Some((of, parts)) = &*self.last.borrow()
            && *of == row
        {
            return Ok(parts[part].clone());
        }
        let parts = (self.parts)(self.of.get(eval, row)?)?;
        let found = parts[part].clone();
        *self.last.borrow_mut() = Some((row, parts));
        Ok(found)
    }

    fn place(&self, index: usize) -> String {
        self.of.place(self.seat(index).0)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        Some(Hasher::new("flat").hash("of", &self.of.identity(eval)?).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.of.files(to);
    }
}

/// Rows after others.
pub struct Then<V> {
    pub first: Data<V>,
    pub second: Data<V>,
}

impl<V: 'static> RowSource<V> for Then<V> {
    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<V> {
        match index.checked_sub(self.first.len()) {
            None => self.first.get(eval, index),
            Some(index) => self.second.get(eval, index),
        }
    }

    fn place(&self, index: usize) -> String {
        match index.checked_sub(self.first.len()) {
            None => self.first.place(index),
            Some(index) => self.second.place(index),
        }
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        let (first, second) = (self.first.identity(eval)?, self.second.identity(eval)?);
        Some(Hasher::new("then").hash("first", &first).hash("second", &second).finish())
    }

    fn files(&self, to: &mut Vec<(String, String)>) {
        self.first.files(to);
        self.second.files(to);
    }
}
