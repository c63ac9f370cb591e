//! Data: rows in an order, made when asked for by the evaluator. `V` is what a row is.
//!
//! Nothing here holds rows. Shuffles and filters hold an index of four bytes a row, so data may be larger than memory.

use super::hash::{ContentHash, Hasher};
use crate::eval::{Eval, Res};
use crate::philox::Philox;
use crate::world::Rows;
use align_syntax::diag::Diagnostic;
use std::rc::Rc;

/// Keys of random streams: what a draw is for. Part of the key of SEMANTICS section 8, so that draws for different purposes
/// never agree by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `uniform()` and its like in a generator of data.
    Data = 1,
    /// `shuffle(seed:)`.
    Shuffle = 2,
    /// How weights start.
    Weights = 3,
    /// The order of rows in an epoch of a training stage.
    Epoch = 4,
}

/// The random numbers of one row (or weight, or epoch) for one purpose.
pub fn draws(seed: u64, purpose: Purpose, row: u64) -> Philox {
    Philox::new(seed, (purpose as u64) << 48 | row)
}

/// A permutation of `0..len` by seed: the Fisher-Yates shuffle. `row` tells epochs apart.
pub fn permutation(seed: u64, purpose: Purpose, row: u64, len: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len as u32).collect();
    let mut random = draws(seed, purpose, row);
    for i in (1..len).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    order
}

/// What rows are read from.
pub trait RowSource<V> {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A row. The message of an error need not say which; [`Data::get`] does.
    fn get(&self, eval: &mut Eval, index: usize) -> Res<V>;
    /// Where a row comes from: file and line, or its number.
    fn place(&self, index: usize) -> String;
}

/// Rows in an order.
pub struct Data<V> {
    source: Rc<dyn RowSource<V>>,
}

impl<V> Clone for Data<V> {
    fn clone(&self) -> Self {
        Data { source: self.source.clone() }
    }
}

impl<V: 'static> Data<V> {
    pub fn new(source: impl RowSource<V> + 'static) -> Data<V> {
        Data { source: Rc::new(source) }
    }

    /// `len` rows, each a function of its number.
    pub fn generated(len: usize, row: impl Fn(&mut Eval, usize) -> Res<V> + 'static) -> Data<V> {
        Data::new(Generated { len, row })
    }

    /// The rows of a file; `read` makes a row of its JSON value.
    pub fn file(rows: Rc<dyn Rows>, read: impl Fn(&mut Eval, serde_json::Value) -> Res<V> + 'static) -> Data<V> {
        Data::new(File { rows, read })
    }

    pub fn len(&self) -> usize {
        self.source.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row. An error says which row it is of.
    pub fn get(&self, eval: &mut Eval, index: usize) -> Res<V> {
        self.source.get(eval, index).map_err(|error| self.at_row(index, error))
    }

    /// An error of a row, with the row's place.
    fn at_row(&self, index: usize, mut error: Box<Diagnostic>) -> Box<Diagnostic> {
        let place = self.source.place(index);
        if !error.message.starts_with(&place) {
            error.message = format!("{place}: {}", error.message);
        }
        error
    }

    pub fn place(&self, index: usize) -> String {
        self.source.place(index)
    }

    pub fn map<W: 'static>(&self, f: impl Fn(&mut Eval, V) -> Res<W> + 'static) -> Data<W> {
        Data::new(Mapped { of: self.clone(), f })
    }

    /// The rows where `keep` holds. Reads all rows at once.
    pub fn filter(&self, eval: &mut Eval, keep: impl Fn(&mut Eval, &V) -> Res<bool>) -> Res<Data<V>> {
        let mut order = vec![];
        for i in 0..self.len() {
            let row = self.get(eval, i)?;
            if keep(eval, &row).map_err(|error| self.at_row(i, error))? {
                order.push(i as u32);
            }
        }
        Ok(self.picked(order))
    }

    /// Rows `order[0]`, `order[1]`, ..
    pub fn picked(&self, order: Vec<u32>) -> Data<V> {
        Data::new(Picked { of: self.clone(), order })
    }

    /// At most `most` rows, evenly spread.
    pub fn sample(&self, most: usize) -> Data<V> {
        let step = self.len().div_ceil(most).max(1);
        self.picked((0..self.len() as u32).step_by(step).collect())
    }

    pub fn shuffle(&self, seed: u64) -> Data<V> {
        self.picked(permutation(seed, Purpose::Shuffle, 0, self.len()))
    }

    /// Rows `start..start + len`, as far as there are so many.
    pub fn slice(&self, start: usize, len: usize) -> Data<V> {
        let start = start.min(self.len());
        Data::new(Slice { of: self.clone(), start, len: len.min(self.len() - start) })
    }

    /// Consecutive parts of these shares of the rows. An error is a sentence.
    pub fn split(&self, shares: &[Share]) -> Result<Vec<Data<V>>, String> {
        let sizes = sizes(self.len(), shares)?;
        let mut start = 0;
        let part = |size: usize| {
            let part = self.slice(start, size);
            start += size;
            part
        };
        Ok(sizes.into_iter().map(part).collect())
    }

    /// The hash of all rows, in order. Reads all rows, so what is wrong with any is found here.
    pub fn content(&self, eval: &mut Eval, mut add: impl FnMut(&V, &mut Hasher)) -> Res<ContentHash> {
        let mut hasher = Hasher::new("rows");
        for row in 0..self.len() {
            add(&self.get(eval, row)?, &mut hasher);
        }
        Ok(hasher.int("rows", self.len() as u64).finish())
    }
}

/// How much of the data a part takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Share {
    Rows(usize),
    Part(f64),
}

/// Shares to numbers of rows; parts that sum to 1 take every row.
fn sizes(len: usize, shares: &[Share]) -> Result<Vec<usize>, String> {
    let (mut sizes, mut taken, mut parts) = (vec![], 0, 0.0);
    let rows: usize = shares.iter().map(|s| if let Share::Rows(n) = s { *n } else { 0 }).sum();
    if rows > len {
        return Err(format!("the parts ask for {rows} rows, the data has {len}"));
    }
    let mut given = 0;
    for share in shares {
        let size = match share {
            Share::Rows(n) => *n,
            Share::Part(part) if !(0.0..=1.0).contains(part) => {
                return Err(format!("a part of the data lies between 0 and 1, this is {part}"));
            }
            Share::Part(part) => {
                parts += part;
                if parts > 1.0 + 1e-9 {
                    return Err(format!("the parts sum to {parts}, more than the whole"));
                }
                let until = (parts * len as f64).round() as usize;
                let size = until - given;
                given = until;
                size
            }
        };
        taken += size;
        sizes.push(size);
    }
    match taken > len {
        true => Err(format!("the parts ask for {taken} rows, the data has {len}")),
        false => Ok(sizes),
    }
}

struct Generated<F> {
    len: usize,
    row: F,
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
}

struct File<F> {
    rows: Rc<dyn Rows>,
    read: F,
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
}

/// An error of a file's row, before it is known which words of the program read it.
fn unplaced(code: &'static str, message: String) -> Box<Diagnostic> {
    use align_syntax::span::{FileId, Span};
    Box::new(Diagnostic::error(code, Span::new(FileId(0), 0, 0), message))
}

struct Mapped<V, F> {
    of: Data<V>,
    f: F,
}

impl<V: 'static, W, F: Fn(&mut Eval, V) -> Res<W>> RowSource<W> for Mapped<V, F> {
    fn len(&self) -> usize {
        self.of.len()
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<W> {
        let row = self.of.get(eval, index)?;
        // Draws are keyed by the row, whenever and how often it is asked for.
        eval.round(index as u64, |eval| (self.f)(eval, row))
    }

    fn place(&self, index: usize) -> String {
        self.of.place(index)
    }
}

struct Picked<V> {
    of: Data<V>,
    order: Vec<u32>,
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
}

struct Slice<V> {
    of: Data<V>,
    start: usize,
    len: usize,
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
}

#[cfg(test)]
mod tests;
