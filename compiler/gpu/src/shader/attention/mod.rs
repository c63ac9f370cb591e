//! Attention: a workgroup works out a tile of scores, 32 places by 32, in registers, from tiles of both factors that it
//! holds in its memory; scores never leave it.
//!
//! Forward: online softmax (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022). Backward: probabilities are
//! worked out again from the kept log-sum-exp, once by tiles of queries and once by tiles of keys, so that each result is
//! summed by one workgroup in a fixed order (Dao, FlashAttention-2, 2023).
//!
//! Tiles are of packed places, so one may span segments; the first key that a query sees masks what is of another one. A
//! mask is a large negative number: WGSL lets compilers assume that there is no infinity.
//!
//! In a tree the places of a segment that see a key end where its table says; tiles of which none sees another are worked out
//! all the same, and masked.
//!
//! Of the 64 lanes eight are `down` and eight `across`: a lane has rows `down + 8 i` and columns `4 across + j` of the scores,
//! for i and j below four, and of a result the fours `across + 8 f` of the same rows.

mod backward;
mod forward;

use align_compiler::kernel::{Size, Tree, View};
use align_compiler::tensor::{Attention, Axis, TableKind};

use super::source::Source;

pub use backward::kernels as backward;
pub use forward::kernels as forward;

const LANES: usize = 64;
/// Places of a tile.
const TILE: usize = 32;
/// Rows of a lane.
const ROWS: usize = 4;
/// Fours along `hdim` or `vdim` of the factors of scores that are held at once.
const HELD: usize = 8;
/// Fours of a row in the first piece of the workgroup's memory: one more than there are, so that lanes meet different banks.
const PITCH: usize = HELD + 1;
/// Fours in the second piece.
const SECOND: usize = 512;
/// Columns of a result that a workgroup works out; if there are more, further workgroups work the scores out again.
const MOST: usize = 128;

const PARTS: [&str; 4] = ["x", "y", "z", "w"];

/// A tensor [time, heads.., width] of one head.
struct Rows<'a> {
    view: &'a View,
    /// Where the head begins.
    base: String,
    axis: &'a Axis,
    width: usize,
    /// It is read four at a time.
    fours: bool,
}

/// A kernel of attention while it is written.
struct Writer<'a, 'p> {
    s: Source<'p>,
    attention: &'a Attention,
    /// Views that the kernel reads or writes.
    views: Vec<&'a View>,
    /// Indices of head axes.
    heads: Vec<(Axis, String)>,
    time: String,
    first: String,
    second: String,
    /// Workgroups along the columns of the result.
    parts: usize,
    tree: Option<Branches<'a>>,
}

/// The tables of a tree, each with where it begins.
struct Branches<'a> {
    tree: &'a Tree,
    ends: String,
    places: String,
}

impl<'a, 'p> Writer<'a, 'p> {
    fn new(mut s: Source<'p>, attention: &'a Attention, views: Vec<&'a View>) -> Writer<'a, 'p> {
        let first = s.shared("weights", &format!("array<vec4<f32>, {}>", TILE * PITCH));
        let second = s.shared("fetched", &format!("array<vec4<f32>, {SECOND}>"));
        let time = s.axis(&attention.time);
        Writer { s, attention, views, heads: vec![], time, first, second, parts: 1, tree: None }
    }

    /// Which tile, head and part of the result this workgroup has; its lanes' rows.
    fn begin(&mut self, heads: &Size, parts: usize) {
        self.parts = parts;
        let group = self.s.group();
        let heads = self.s.size(heads);
        let tiles = match self.attention.time.fixed_size() {
            Some(n) => format!("{}u", n.div_ceil(TILE)),
            None => format!("(({} + {}u) / {TILE}u)", self.time, TILE - 1),
        };
        self.s.line(format!("let first_row = {group} % {tiles} * {TILE}u;"));
        self.s.line(format!("let head = {group} / {tiles} % {heads};"));
        self.s.line(format!("let part = {group} / ({tiles} * {heads});"));
        // The last workgroups of a grid may have no tile.
        self.s.open(format!("if part >= {parts}u"));
        self.s.line("return;");
        self.s.close();
        self.s.line("let down = lane / 8u;");
        self.s.line("let across = lane % 8u;");
        for i in 0..ROWS {
            self.s.line(format!("let row_{i} = first_row + down + {}u;", 8 * i));
            // What rows past the last place read is not used.
            self.s.line(format!("let inside_{i} = min(row_{i}, {} - 1u);", self.time));
        }
    }

    /// Says the indices of head axes, counted over all of them.
    fn unfold(&mut self, place: &str, axes: &[Axis]) {
        let loops: Vec<(String, Size)> = axes.iter().map(|a| (a.name().to_string(), Size::of([a]))).collect();
        let names = self.s.unfold(place, &loops);
        self.heads.extend(axes.iter().cloned().zip(names));
    }

    /// A view at the head, which begins at `name`.
    fn at_head(&mut self, view: &View, name: &str) -> String {
        let heads: Vec<(&Axis, &str)> = self.heads.iter().map(|(axis, name)| (axis, name.as_str())).collect();
        let base = self.s.within(view, &heads);
        if base == "0u" {
            return base;
        }
        let name = self.s.name(name);
        self.s.line(format!("let {name} = {base};"));
        name
    }

    fn rows(&mut self, view: &'a View, axis: &'a Axis, name: &str) -> Rows<'a> {
        let base = self.at_head(view, &format!("of_{name}"));
        let fours = self.views.iter().filter(|v| v.buffer == view.buffer).all(|v| self.in_fours(v));
        Rows { view, base, axis, width: width(axis), fours }
    }

    /// Whether all rows of a view begin at multiples of four, and lie densely.
    fn in_fours(&self, view: &View) -> bool {
        let Attention { hdim, vdim, .. } = self.attention;
        let dense = |(axis, stride): &(Axis, Size)| match axis == hdim || axis == vdim {
            true => stride.is_one() && width(axis).is_multiple_of(4),
            false => stride.factor % 4 == 0,
        };
        let has = view.has(hdim) || view.has(vdim);
        has && self.s.has_fours(view.buffer) && view.offset.is_multiple_of(4) && view.axes.iter().all(dense)
    }

    /// An entry of a place.
    fn at(&mut self, rows: &Rows, place: &str, entry: &str) -> String {
        let time = self.s.times(place, &rows.view.stride(&self.attention.time));
        let within = self.s.times(entry, &rows.view.stride(rows.axis));
        let parts: Vec<String> = [Some(rows.base.clone()), time, within].into_iter().flatten().collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|p| *p != "0u").collect();
        if parts.is_empty() { "0u".into() } else { parts.join(" + ") }
    }

    /// The number that a row has in a view without width, such as the log-sum-exp.
    fn number(&mut self, view: &View, base: &str, place: &str) -> String {
        let time = self.s.times(place, &view.stride(&self.attention.time)).unwrap_or("0u".into());
        let at = if base == "0u" { time } else { format!("{base} + {time}") };
        self.s.load(view.buffer, &at)
    }

    fn grow(&mut self, tree: Option<&'a Tree>) {
        self.tree = tree.map(|tree| {
            let (ends, places) = (self.at_head(&tree.ends, "of_ends"), self.at_head(&tree.places, "of_places"));
            Branches { tree, ends, places }
        });
    }

    /// For queries or keys at a place: which number decides by the tree whether one sees the other, and its place in its own
    /// sequence.
    fn branch(&mut self, place: &str, is_query: bool) -> [String; 2] {
        let Some(Branches { tree, ends, places }) = self.tree.take() else { return Default::default() };
        let position = self.s.table(&self.attention.time, TableKind::Position, place);
        let bound = if is_query { position } else { self.number(&tree.ends, &ends, place) };
        let own = self.number(&tree.places, &places, place);
        self.tree = Some(Branches { tree, ends, places });
        [bound, own]
    }

    /// Says `bound_i` and `own_i` of the rows, where there is a tree.
    fn row_branches(&mut self, is_query: bool) {
        if self.tree.is_none() {
            return;
        }
        for i in 0..ROWS {
            let [bound, own] = self.branch(&format!("inside_{i}"), is_query);
            self.s.line(format!("let bound_{i} = {bound};"));
            self.s.line(format!("let own_{i} = {own};"));
        }
    }

    /// Says `bounds` and `owns` of the columns, where there is a tree.
    fn column_branches(&mut self, is_query: bool) {
        if self.tree.is_none() {
            return;
        }
        let mut all = [const { vec![] }; 2];
        for j in 0..4 {
            self.s.line(format!("let column_{j} = min(columns[{j}u], {} - 1u);", self.time));
            let found = self.branch(&format!("column_{j}"), is_query);
            all.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
        self.s.line(format!("let bounds = vec4<i32>({});", all[0].join(", ")));
        self.s.line(format!("let owns = vec4<i32>({});", all[1].join(", ")));
    }

    /// What the tree adds to the mask of row `i`.
    fn branch_mask(&self, i: usize, rows_are_queries: bool) -> String {
        if self.tree.is_none() {
            return String::new();
        }
        let (sees, apart) = match rows_are_queries {
            true => (format!("(vec4(bound_{i}) < bounds)"), format!("vec4(own_{i}) - owns")),
            false => (format!("(bounds < vec4(bound_{i}))"), format!("owns - vec4(own_{i})")),
        };
        match self.attention.window {
            None => format!(" & {sees}"),
            Some(window) => format!(" & {sees} & ({apart} < vec4({}))", window.max(1)),
        }
    }

    /// No key before this one is seen by a query.
    fn first_key(&mut self, query: &str) -> String {
        let position = self.s.table(&self.attention.time, TableKind::Position, query);
        // In a tree what is near in its sequence may be far in the segment.
        match self.attention.window.filter(|_| self.tree.is_none()) {
            None => format!("{query} - u32({position})"),
            Some(window) => format!("{query} - min(u32({position}), {}u)", window.max(1) - 1),
        }
    }

    /// A number that all lanes have, but that cannot be seen to be the same in all: it is worked out by the first lane.
    fn uniform(&mut self, name: &str, value: &str) -> String {
        let shared = self.s.shared(name, "u32");
        self.s.open("if lane == 0u");
        self.s.line(format!("{shared} = {value};"));
        self.s.close();
        let name = self.s.name(&format!("{name}_of_all"));
        self.s.line(format!("let {name} = workgroupUniformLoad(&{shared});"));
        name
    }

    /// Fetches fours of `TILE` (or fewer) places into one of the pieces of memory. `order`: where a place's fours begin, from
    /// its number in the tile `t`.
    fn fetch(
        &mut self,
        rows: &Rows,
        into: &str,
        places: usize,
        place: &str,
        (entry, fours): (&str, usize),
        order: &str,
    ) {
        let count = places * fours;
        self.s.open(format!("for (var i = lane; i < {count}u; i += {LANES}u)"));
        self.s.line(format!("let t = i / {fours}u;"));
        self.s.line(format!("let f = i % {fours}u;"));
        self.s.line(format!("let place = {place} + t;"));
        self.s.line(match entry {
            "0u" => "let entry = 4u * f;".to_string(),
            _ => format!("let entry = {entry} + 4u * f;"),
        });
        self.s.line("var x = vec4<f32>();");
        let whole =
            rows.width.is_multiple_of(4 * fours) && (!entry.starts_with("part") || self.parts <= parts(rows.width));
        let (time, width) = (self.time.clone(), rows.width);
        self.s.open(match whole {
            true => format!("if place < {time}"),
            false => format!("if place < {time} && entry < {width}u"),
        });
        match (rows.fours, width % 4 == 0) {
            (true, _) => {
                let at = self.at(rows, "place", "entry");
                let name = self.s.fours(rows.view.buffer);
                self.s.line(format!("x = {name}[({at}) / 4u];"));
            }
            (false, all) => {
                for (j, part) in PARTS.into_iter().enumerate() {
                    let at = self.at(rows, "place", &if j == 0 { "entry".into() } else { format!("(entry + {j}u)") });
                    let value = self.s.load(rows.view.buffer, &at);
                    match all || j == 0 {
                        true => self.s.line(format!("x.{part} = {value};")),
                        false => {
                            self.s.open(format!("if entry + {j}u < {width}u"));
                            self.s.line(format!("x.{part} = {value};"));
                            self.s.close();
                        }
                    }
                }
            }
        }
        self.s.close();
        self.s.line(format!("{into}[{order} + f] = x;"));
        self.s.close();
    }

    /// `{name}_i[j]`: the products of rows `i` of the tile at `first_row` with rows of the tile at `first_column`.
    fn scores(&mut self, name: &str, left: &Rows, right: &Rows) {
        (0..ROWS).for_each(|i| self.s.line(format!("var {name}_{i} = vec4<f32>();")));
        let held = left.width.div_ceil(4).min(HELD);
        let chunks = left.width.div_ceil(4 * held);
        let entry = if chunks == 1 { "0u" } else { "entry_first" };
        if chunks > 1 {
            let (end, step) = (4 * held * chunks, 4 * held);
            self.s.open(format!("for (var {entry} = 0u; {entry} < {end}u; {entry} += {step}u)"));
        }
        self.s.line("workgroupBarrier();");
        let (first, second) = (self.first.clone(), self.second.clone());
        self.fetch(left, &first, TILE, "first_row", (entry, held), &format!("t * {PITCH}u"));
        // The places of a lane are those of its neighbours in turn: they meet different banks.
        let order = format!("((t & 3u) * 8u + (t >> 2u)) * {PITCH}u");
        self.fetch(right, &second, TILE, "first_column", (entry, held), &order);
        self.s.line("workgroupBarrier();");
        self.s.open(format!("for (var k = 0u; k < {held}u; k++)"));
        for j in 0..4 {
            self.s.line(format!("let b_{j} = {second}[(across + {}u) * {PITCH}u + k];", 8 * j));
        }
        for i in 0..ROWS {
            self.s.line(format!("let a_{i} = {first}[(down + {}u) * {PITCH}u + k];", 8 * i));
            let dots: Vec<String> = (0..4).map(|j| format!("dot(a_{i}, b_{j})")).collect();
            self.s.line(format!("{name}_{i} += vec4({});", dots.join(", ")));
        }
        self.s.close();
        if chunks > 1 {
            self.s.close();
        }
    }

    /// Fours of a lane in a result of this width.
    fn own_fours(width: usize) -> usize {
        width.min(MOST).div_ceil(4 * 8)
    }

    fn zeros(&mut self, name: &str, width: usize) {
        for i in 0..ROWS {
            (0..Self::own_fours(width)).for_each(|f| self.s.line(format!("var {name}_{i}_{f} = vec4<f32>();")));
        }
    }

    /// Adds to `{name}_i_f` the products of the weights `{weights}_i` of all columns with the rows at `first_column`.
    fn product(&mut self, name: &str, weights: &str, right: &Rows) {
        let own = Self::own_fours(right.width);
        let fours = 8 * own;
        // A power of two: tiles are made of whole parts, and these of fours.
        let places = 1 << (SECOND / fours).min(TILE).ilog2();
        debug_assert!(places >= 4 && TILE.is_multiple_of(places));
        let (first, second) = (self.first.clone(), self.second.clone());
        self.s.line("workgroupBarrier();");
        for i in 0..ROWS {
            self.s.line(format!("{first}[(down + {}u) * {PITCH}u + across] = {weights}_{i};", 8 * i));
        }
        let several = places < TILE;
        if several {
            self.s.open(format!("for (var t_first = 0u; t_first < {TILE}u; t_first += {places}u)"));
            self.s.line("workgroupBarrier();");
        }
        let place = if several { "first_column + t_first" } else { "first_column" };
        let entry = if self.parts == 1 { "0u".to_string() } else { format!("part * {MOST}u") };
        self.fetch(right, &second, places, place, (&entry, fours), &format!("t * {fours}u"));
        self.s.line("workgroupBarrier();");
        self.s.open(format!("for (var k = 0u; k < {}u; k++)", places / 4));
        let from = if several { "(t_first >> 2u) + k" } else { "k" };
        for i in 0..ROWS {
            self.s.line(format!("let w_{i} = {first}[(down + {}u) * {PITCH}u + {from}];", 8 * i));
        }
        for (j, part) in PARTS.into_iter().enumerate() {
            for f in 0..own {
                self.s.line(format!("let x_{j}_{f} = {second}[(4u * k + {j}u) * {fours}u + across + {}u];", 8 * f));
                for i in 0..ROWS {
                    let sum = format!("{name}_{i}_{f}");
                    self.s.line(format!("{sum} = fma(vec4(w_{i}.{part}), x_{j}_{f}, {sum});"));
                }
            }
        }
        self.s.close();
        if several {
            self.s.close();
        }
    }

    /// Stores the lane's part of a result, each entry through `value`.
    fn store(&mut self, name: &str, rows: &Rows, value: impl Fn(usize, &str) -> String) {
        let width = rows.width;
        for i in 0..ROWS {
            self.s.open(format!("if row_{i} < {}", self.time));
            for f in 0..Self::own_fours(width) {
                let start = if self.parts == 1 { String::new() } else { format!("part * {MOST}u + ") };
                self.s.line(format!("let entry_{f} = {start}4u * across + {}u;", 32 * f));
                for (j, part) in PARTS.into_iter().enumerate() {
                    let entry = if j == 0 { format!("entry_{f}") } else { format!("(entry_{f} + {j}u)") };
                    // The first of four guards all where the width is a multiple of four.
                    let guarded = !width.is_multiple_of(4) || j == 0;
                    if guarded {
                        self.s.open(format!("if {} < {width}u", entry.trim_matches(['(', ')'])));
                    }
                    let at = self.at(rows, &format!("row_{i}"), &entry);
                    self.s.store(rows.view.buffer, &at, &value(i, &format!("{name}_{i}_{f}.{part}")), false);
                    if !width.is_multiple_of(4) || j == 3 {
                        self.s.close();
                    }
                }
            }
            self.s.close();
        }
    }

    /// The lane's columns of the tile.
    fn columns(&mut self) {
        self.s.line("let columns = vec4(first_column + 4u * across) + vec4(0u, 1u, 2u, 3u);");
    }

    fn scale(&mut self) -> String {
        self.s.constant(self.attention.scale, align_compiler::tensor::DType::Float)
    }
}

fn width(axis: &Axis) -> usize {
    axis.fixed_size().unwrap_or(0)
}

/// Workgroups along a result of this width.
fn parts(width: usize) -> usize {
    width.div_ceil(MOST).max(1)
}
