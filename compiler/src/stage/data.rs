//! Data: rows in an order, made when asked for by the evaluator. `V` is what a row is.
//!
//! Nothing here holds rows, so data may be larger than memory, and endless but for a number. `map split take zip` hold nothing
//! of a row; a shuffle holds four bytes a row of up to a million, a filter four bytes a row that it keeps, and a filter alone
//! reads rows before they are asked for: all of them, once.
//!
//! Data are known by the content of their rows, where these are few enough to be read first; else by what they are made of:
//! the content of files, and the code ([`super::code`]) that makes rows of it.

use super::graph::StageId;
use super::hash::{ContentHash, Hasher};
use crate::eval::{Eval, Res};
use crate::philox::Philox;
use crate::world::Rows;
use align_syntax::diag::Diagnostic;
use sources::{File, Flat, Generated, Kept, MadeRows, Mapped, Picked, Shuffled, Slice, Spread, Then, Zipped};
use std::cell::{OnceCell, RefCell};
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
    /// Draws of a loss, by the rows that were taken before its step.
    Loss = 5,
    /// Tokens that a policy draws.
    Token = 6,
    /// What decides which tokens of a draft are taken, and what comes in the place of others.
    Draft = 7,
}

/// The random numbers of one row (or weight, or epoch) for one purpose.
pub fn draws(seed: u64, purpose: Purpose, row: u64) -> Philox {
    Philox::new(seed, (purpose as u64) << 48 | row)
}

pub use super::permutation::{Permutation, permutation};

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
    /// What the rows are made of, without a look at any. Equal ones have equal rows. `None` where that cannot be told.
    fn identity(&self, eval: &Eval) -> Option<ContentHash>;
    /// Adds the files that rows are read from, each with a hash of its content.
    fn files(&self, to: &mut Vec<(String, String)>);
}

/// What a function of rows is.
type Key = Box<dyn Fn(&Eval) -> Option<ContentHash>>;

/// What policies drew of rows.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    /// The stages that drew it.
    pub stages: Vec<StageId>,
    /// Nothing was drawn yet: rows have something in the place of replies. Good for a check and a plan, not for a run.
    pub stand_in: bool,
}

/// Rows in an order.
pub struct Data<V> {
    source: Rc<dyn RowSource<V>>,
    /// Functions between a row and what it was made of: the draws of each are apart.
    maps: u64,
    /// How often rows are gone through to make them all.
    passes: u64,
    drawn: Rc<Drawn>,
}

impl<V> Clone for Data<V> {
    fn clone(&self) -> Self {
        Data { source: self.source.clone(), drawn: self.drawn.clone(), ..*self }
    }
}

impl<V: 'static> Data<V> {
    pub fn new(source: impl RowSource<V> + 'static) -> Data<V> {
        Data { source: Rc::new(source), maps: 0, passes: 1, drawn: Rc::default() }
    }

    /// Rows that are made of these.
    fn over<W>(&self, source: impl RowSource<W> + 'static) -> Data<W> {
        Data { source: Rc::new(source), maps: self.maps, passes: self.passes, drawn: self.drawn.clone() }
    }

    /// What policies drew of the rows.
    pub fn drawn(&self) -> &Drawn {
        &self.drawn
    }

    /// The same rows, of which policies drew this, and what was drawn before.
    pub fn with_drawn(mut self, more: &Drawn) -> Data<V> {
        let drawn = Rc::make_mut(&mut self.drawn);
        drawn.stages.extend(&more.stages);
        drawn.stand_in |= more.stand_in;
        self
    }

    /// `len` rows, each a function of its number; `key` tells what function it is.
    pub fn generated(
        len: usize,
        key: impl Fn(&Eval) -> Option<ContentHash> + 'static,
        row: impl Fn(&mut Eval, usize) -> Res<V> + 'static,
    ) -> Data<V> {
        Data::new(Generated { len, key: Box::new(key), row })
    }

    /// These rows, which nothing but themselves tells apart from others.
    pub fn held(rows: Vec<V>) -> Data<V>
    where
        V: Clone,
    {
        Data::generated(rows.len(), |_| None, move |_, at| Ok(rows[at].clone()))
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

    /// What keys the draws of a function of these rows.
    pub(super) fn keys(&self, row: usize) -> [u64; 2] {
        [u64::MAX - (self.maps + 1), row as u64]
    }

    /// The same rows; draws of functions of them are apart from those of functions before.
    pub(super) fn drawn_apart(self) -> Data<V> {
        Data { maps: self.maps + 1, ..self }
    }

    /// How often rows are gone through to make them all.
    pub fn passes(&self) -> u64 {
        self.passes
    }

    /// The same rows, all made now and held; so later ones are made of these.
    pub fn made(&self, eval: &mut Eval) -> Res<Data<V>>
    where
        V: Clone,
    {
        let rows = (0..self.len()).map(|i| self.get(eval, i)).collect::<Res<Vec<V>>>()?;
        let source = MadeRows { of: self.clone(), rows };
        Ok(Data { passes: self.passes + 1, ..self.over(source) })
    }

    /// A row. An error says which row it is of.
    pub fn get(&self, eval: &mut Eval, index: usize) -> Res<V> {
        eval.in_row(|eval| self.source.get(eval, index)).map_err(|error| self.at_row(index, error))
    }

    /// An error of a row, with the row's place.
    pub(super) fn at_row(&self, index: usize, mut error: Box<Diagnostic>) -> Box<Diagnostic> {
        let place = self.source.place(index);
        if !error.message.starts_with(&place) {
            error.message = format!("{place}: {}", error.message);
        }
        error
    }

    pub fn place(&self, index: usize) -> String {
        self.source.place(index)
    }

    /// A function of every row; `key` tells what function it is.
    pub fn map<W: 'static>(
        &self,
        key: impl Fn(&Eval) -> Option<ContentHash> + 'static,
        f: impl Fn(&mut Eval, V) -> Res<W> + 'static,
    ) -> Data<W> {
        let maps = self.maps + 1;
        let source = Rc::new(Mapped { of: self.clone(), maps, key: Box::new(key), f });
        Data { source, maps, passes: self.passes, drawn: self.drawn.clone() }
    }

    /// A row of this and the row of `other` at the same place. Both have one length.
    pub fn zip<U: 'static, W: 'static>(&self, other: &Data<U>, f: impl Fn(V, U) -> W + 'static) -> Data<W> {
        let zipped = Data {
            source: Rc::new(Zipped { left: self.clone(), right: other.clone(), f }),
            maps: self.maps.max(other.maps),
            passes: self.passes.max(other.passes),
            drawn: self.drawn.clone(),
        };
        zipped.with_drawn(&other.drawn)
    }

    /// The rows where `keep` holds. Reads all rows at once; these are not more than 2^32.
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

    /// What a function makes of every row, where it makes something. Reads all rows at once, as [`Data::filter`] does; what is made
    /// of not very many rows is held, else made again when it is asked for.
    pub fn filter_map<W: Clone + 'static>(
        &self,
        eval: &mut Eval,
        key: impl Fn(&Eval) -> Option<ContentHash> + 'static,
        f: impl Fn(&mut Eval, V) -> Res<Option<W>> + 'static,
    ) -> Res<Data<W>> {
        let of = self.map(key, f);
        let (mut order, mut held) = (vec![], vec![]);
        for i in 0..of.len() {
            let Some(row) = of.get(eval, i)? else { continue };
            order.push(i as u32);
            if of.len() <= READ_FIRST {
                held.push(row);
            }
        }
        let (maps, passes, drawn) = (of.maps, of.passes, of.drawn.clone());
        Ok(Data { source: Rc::new(Kept { of, order, held }), maps, passes, drawn })
    }

    /// The parts of every row, one after another. Reads all rows at once.
    pub fn flat<W: Clone + 'static>(
        &self,
        eval: &mut Eval,
        parts: impl Fn(V) -> Res<Vec<W>> + 'static,
    ) -> Res<Data<W>> {
        let mut starts = vec![0];
        for i in 0..self.len() {
            let row = self.get(eval, i)?;
            let parts = parts(row).map_err(|error| self.at_row(i, error))?;
            starts.push(starts[i] + parts.len());
        }
        Ok(self.over(Flat { of: self.clone(), starts, parts, last: RefCell::new(None) }))
    }

    /// These rows, and then others.
    pub fn then(&self, other: &Data<V>) -> Data<V> {
        let both = Data {
            source: Rc::new(Then { first: self.clone(), second: other.clone() }),
            maps: self.maps.max(other.maps),
            passes: self.passes.max(other.passes),
            drawn: self.drawn.clone(),
        };
        both.with_drawn(&other.drawn)
    }

    /// Rows `order[0]`, `order[1]`, ..
    pub fn picked(&self, order: Vec<u32>) -> Data<V> {
        self.over(Picked { of: self.clone(), order })
    }

    /// At most `most` rows, evenly spread.
    pub fn sample(&self, most: usize) -> Data<V> {
        self.over(Spread { of: self.clone(), step: self.len().div_ceil(most.max(1)).max(1) })
    }

    pub fn shuffle(&self, seed: u64) -> Data<V> {
        self.over(Shuffled { of: self.clone(), seed, order: OnceCell::new() })
    }

    /// Rows `start..start + len`, as far as there are so many.
    pub fn slice(&self, start: usize, len: usize) -> Data<V> {
        let start = start.min(self.len());
        self.over(Slice { of: self.clone(), start, len: len.min(self.len() - start) })
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

    /// Whether these are the same rows, not others that are equal.
    pub fn is(&self, other: &Data<V>) -> bool {
        Rc::ptr_eq(&self.source, &other.source)
    }

    /// See [`RowSource::identity`].
    pub fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        self.source.identity(eval)
    }

    /// See [`RowSource::files`].
    pub fn files(&self, to: &mut Vec<(String, String)>) {
        self.source.files(to);
    }

    /// The hash of all rows, in order. Reads all rows, so what is wrong with any is found here; but of more than
    /// [`READ_FIRST`] rows whose making is known none is read, and the hash is that of their making.
    pub fn content(&self, eval: &mut Eval, mut add: impl FnMut(&V, &mut Hasher)) -> Res<ContentHash> {
        if self.len() > READ_FIRST
            && let Some(identity) = self.identity(eval)
        {
            return Ok(Hasher::new("made rows").hash("of", &identity).int("rows", self.len() as u64).finish());
        }
        let mut hasher = Hasher::new("rows");
        for row in 0..self.len() {
            add(&self.get(eval, row)?, &mut hasher);
        }
        Ok(hasher.int("rows", self.len() as u64).finish())
    }
}

/// Rows that are all read before a stage runs.
pub const READ_FIRST: usize = 1 << 16;

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

mod sources;
#[cfg(test)]
mod tests;
