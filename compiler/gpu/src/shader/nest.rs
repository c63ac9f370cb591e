//! Nests: an invocation for each row, or a workgroup whose lanes share the passes of a row.

use std::collections::HashMap;

use align_compiler::kernel::{
    Address, Block, BufferId, Dim, Index, Lanes, Part, Pass, Reduce, Rows, Scalar, Size, Term, Value,
};
use align_compiler::tensor::{DType, Lengths, ReduceOp};

use super::library::Function;
use super::scalar::word;
use super::source::Source;
use super::{Context, Grid, Kernels, Site};

/// Who works out a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Spread {
    /// One invocation.
    Alone,
    /// A workgroup of so many lanes: they share the indices of each pass.
    Group(usize),
}

/// Lanes of a workgroup whose invocations have rows of their own.
const WIDTH: usize = 128;
/// Indices of a pass below which a row has one invocation.
const SHORT: usize = 16;
/// Terms of a sum that are added up before they go into the total.
const RUN: usize = 128;
/// Characters of an expression that is not worth a line of its own.
const BRIEF: usize = 90;

/// How the nest is likely to be fast.
pub fn spread(nest: &Rows, lengths: &Lengths) -> Spread {
    let passes = nest.parts.iter().filter_map(|part| if let Part::Pass(pass) = part { Some(pass) } else { None });
    let length = |pass: &Pass| pass.loops.iter().map(|span| span.dim.size().get(lengths)).product::<usize>();
    let longest = passes.map(length).max().unwrap_or(0);
    let rows: usize = nest.rows.iter().map(|dim| dim.size().get(lengths)).product();
    // Neighbouring rows read neighbouring entries: one invocation each, while there are enough of them.
    let enough = nest.lanes == Lanes::Rows && rows >= 1024;
    match longest {
        _ if enough || longest <= SHORT => Spread::Alone,
        0..=128 => Spread::Group(32),
        129..=512 => Spread::Group(64),
        513..=2048 => Spread::Group(128),
        _ => Spread::Group(256),
    }
}

pub fn kernels(context: Context, nest: &Rows, spread: Spread) -> Kernels {
    let mut writer = Writer {
        source: Source::new(context),
        nest,
        spread,
        uses: uses(nest),
        known: HashMap::new(),
        indices: HashMap::new(),
        loops: vec![],
        sites: vec![],
    };
    let rows = nest.rows.iter().fold(Size::one(), |n, dim| n.times(&dim.size()));
    writer.kernel(&rows);
    let Writer { source, sites, .. } = writer;
    let (width, grid) = match spread {
        Spread::Alone => (WIDTH, Grid(vec![(rows, WIDTH)])),
        Spread::Group(width) => (width, Grid(vec![(rows, 1)])),
    };
    let over = nest.rows.iter().map(|dim| format!("{dim}")).collect::<Vec<_>>().join(" ");
    let kind = if nest.parts.iter().any(|p| matches!(p, Part::Pass(_))) { "for each" } else { "at each" };
    let over = if over.is_empty() { String::new() } else { format!(" {kind} {over}") };
    let about = format!("{}{over}", nest.name);
    Kernels { kernels: vec![source.finish(&about, width, grid)], scratch: vec![], sites }
}

/// How often each scalar is read. One that another part reads counts twice: it may do so again and again.
fn uses(nest: &Rows) -> Vec<usize> {
    let mut uses = vec![0; nest.values.len()];
    let mut home = vec![None; nest.values.len()];
    for (i, part) in nest.parts.iter().enumerate() {
        let (Part::Row(block) | Part::Pass(Pass { block, .. })) = part;
        block.lets.iter().for_each(|l| home[l.value.0 as usize] = Some(i));
    }
    for (i, part) in nest.parts.iter().enumerate() {
        let mut read = |value: &Value, times: usize| {
            let value = value.0 as usize;
            uses[value] += if home[value] == Some(i) { times } else { 2 };
        };
        let block = match part {
            Part::Row(block) => block,
            Part::Pass(pass) => {
                pass.loops.iter().filter_map(|span| span.within).for_each(|(a, b)| {
                    read(&a, 2);
                    read(&b, 2);
                });
                pass.reduces.iter().for_each(|r| read(&r.value, 1));
                &pass.block
            }
        };
        let address = |at: &Address, read: &mut dyn FnMut(&Value, usize)| {
            at.terms.iter().for_each(|term| {
                if let Index::Value { value, .. } = &term.index {
                    read(value, 1);
                }
            });
        };
        for op in block.lets.iter().map(|l| &l.op) {
            match op {
                Scalar::Load(_, at) => address(at, &mut read),
                Scalar::Map(_, args) => args.iter().for_each(|v| read(v, 1)),
                Scalar::Cast(x) => read(x, 1),
                Scalar::Random { seed, counter, .. } => counter.iter().chain([seed]).for_each(|v| read(v, 1)),
                Scalar::Const(_) | Scalar::Index(_) | Scalar::Size(_) => {}
            }
        }
        for store in &block.stores {
            address(&store.at, &mut read);
            read(&store.value, 1);
        }
    }
    uses
}

struct Writer<'n, 'p> {
    source: Source<'p>,
    nest: &'n Rows,
    spread: Spread,
    uses: Vec<usize>,
    /// The expression of each scalar: a name, or what is worked out where it is read.
    known: HashMap<Value, String>,
    /// Indices that were checked.
    indices: HashMap<(Value, Option<Size>), String>,
    /// The names of loops.
    loops: Vec<String>,
    sites: Vec<Site>,
}

impl Writer<'_, '_> {
    fn kernel(&mut self, rows: &Size) {
        let nest = self.nest;
        let single = rows.is_one();
        let group = self.source.group();
        let place = match self.spread {
            Spread::Alone => {
                self.source.line(format!("let row = {group} * {WIDTH}u + lane;"));
                "row"
            }
            Spread::Group(_) => group,
        };
        // The last workgroups of a grid may have no rows.
        let size = self.source.size(rows);
        self.source.open(format!("if {place} >= {size}"));
        self.source.line("return;");
        self.source.close();
        let dims: Vec<(String, Size)> = nest.rows.iter().map(|dim| (of(dim), dim.size())).collect();
        self.loops = if single { vec!["0u".into(); dims.len()] } else { self.source.unfold(place, &dims) };
        let stored = stored(nest);
        for (i, part) in nest.parts.iter().enumerate() {
            if i > 0 && self.shares() && reads_of(part).iter().any(|buffer| stored[..i].concat().contains(buffer)) {
                self.source.line("storageBarrier();");
                self.source.line("workgroupBarrier();");
            }
            match part {
                Part::Row(block) => {
                    self.lets(block);
                    self.row_stores(block);
                }
                Part::Pass(pass) => self.pass(pass),
            }
        }
    }

    /// Whether the lanes of a workgroup share a row.
    fn shares(&self) -> bool {
        matches!(self.spread, Spread::Group(_))
    }

    fn row_stores(&mut self, block: &Block) {
        if block.stores.is_empty() {
            return;
        }
        if self.shares() {
            self.source.open("if lane == 0u");
        }
        self.stores(block);
        if self.shares() {
            self.source.close();
        }
    }

    fn pass(&mut self, pass: &Pass) {
        let (before, outer, indices) = (self.known.clone(), self.loops.len(), self.indices.clone());
        let partial: Vec<String> = pass.reduces.iter().map(|reduce| self.begin(reduce.op, reduce.result)).collect();
        // Long sums go through shorter ones, whose digits are not lost in a large total.
        let is_sum = |reduce: &&Reduce| self.is_float_sum(reduce);
        let sums = if is_long(pass) { pass.reduces.iter().filter(is_sum).count() } else { 0 };
        let short: Vec<String> = (0..sums).map(|_| self.source.name("short")).collect();
        short.iter().for_each(|name| self.source.line(format!("var {name} = 0.0;")));
        let terms = (sums > 0).then(|| self.source.name("terms"));
        if let Some(terms) = &terms {
            self.source.line(format!("var {terms} = 0u;"));
        }
        let spans: Vec<(String, String)> = (pass.loops.iter())
            .map(|span| match span.within {
                None => ("0u".to_string(), self.source.size(&span.dim.size())),
                Some((start, length)) => (format!("u32({})", self.get(start)), format!("u32({})", self.get(length))),
            })
            .collect();
        let mut opened = 0;
        match (self.spread, &spans[..]) {
            (Spread::Group(width), [(start, length)]) => {
                let name = self.source.name(&of(&pass.loops[0].dim));
                let (from, to) = match start.as_str() {
                    "0u" => ("lane".to_string(), length.clone()),
                    _ => (format!("{start} + lane"), format!("{start} + {length}")),
                };
                self.source.open(format!("for (var {name} = {from}; {name} < {to}; {name} += {width}u)"));
                self.loops.push(name);
                opened += 1;
            }
            (Spread::Group(width), _) => {
                let place = self.source.name("place");
                let all = spans.iter().map(|(_, length)| length.clone()).collect::<Vec<_>>().join(" * ");
                self.source.open(format!("for (var {place} = lane; {place} < {all}; {place} += {width}u)"));
                opened += 1;
                for (i, (start, length)) in spans.iter().enumerate() {
                    let name = self.source.name(&of(&pass.loops[i].dim));
                    let inner = spans[i + 1..].iter().map(|(_, l)| l.clone()).collect::<Vec<_>>().join(" * ");
                    let at = if inner.is_empty() { place.clone() } else { format!("{place} / ({inner})") };
                    let at = if i == 0 { at } else { format!("{at} % {length}") };
                    let at = if start == "0u" { at } else { format!("{start} + {at}") };
                    self.source.line(format!("let {name} = {at};"));
                    self.loops.push(name);
                }
            }
            (Spread::Alone, _) => {
                for (i, (start, length)) in spans.iter().enumerate() {
                    let name = self.source.name(&of(&pass.loops[i].dim));
                    let to = if start == "0u" { length.clone() } else { format!("{start} + {length}") };
                    self.source.open(format!("for (var {name} = {start}; {name} < {to}; {name}++)"));
                    self.loops.push(name);
                    opened += 1;
                }
            }
        }
        self.lets(&pass.block);
        self.stores(&pass.block);
        let mut shorts = short.iter();
        for (reduce, partial) in pass.reduces.iter().zip(&partial) {
            let dtype = self.nest.values[reduce.result.0 as usize];
            let value = self.get(reduce.value);
            let text = match self.is_float_sum(reduce) {
                true => format!("{} += {};", shorts.next().unwrap_or(partial), bare(&value)),
                false => format!("{partial} = {};", self.source.combine(reduce.op, dtype, partial, &value)),
            };
            self.source.line(text);
        }
        let totals: Vec<(&String, &String)> = (pass.reduces.iter().zip(&partial))
            .filter(|(reduce, _)| self.is_float_sum(reduce))
            .map(|(_, partial)| partial)
            .zip(&short)
            .collect();
        if let Some(terms) = &terms {
            self.source.line(format!("{terms}++;"));
            self.source.open(format!("if ({terms} & {}u) == 0u", RUN - 1));
            for (total, short) in &totals {
                self.source.line(format!("{total} += {short};"));
                self.source.line(format!("{short} = 0.0;"));
            }
            self.source.close();
        }
        (0..opened).for_each(|_| self.source.close());
        totals.iter().for_each(|(total, short)| self.source.line(format!("{total} += {short};")));
        self.loops.truncate(outer);
        (self.known, self.indices) = (before, indices);
        for (reduce, partial) in pass.reduces.iter().zip(partial) {
            let name = match self.shares() {
                false => partial,
                true => {
                    let dtype = self.nest.values[reduce.result.0 as usize];
                    let joined = self.source.across(reduce.op, dtype, &partial);
                    let name = format!("v{}", reduce.result.0);
                    self.source.line(format!("let {name} = {joined};"));
                    name
                }
            };
            self.known.insert(reduce.result, name);
        }
    }

    fn is_float_sum(&self, reduce: &Reduce) -> bool {
        reduce.op == ReduceOp::Sum && self.nest.values[reduce.result.0 as usize] == DType::Float
    }

    /// The variable in which a reduction gathers.
    fn begin(&mut self, op: ReduceOp, result: Value) -> String {
        let dtype = self.nest.values[result.0 as usize];
        let what = match op {
            ReduceOp::Sum => "total",
            ReduceOp::Prod => "product",
            ReduceOp::Max => "largest",
            ReduceOp::Min => "least",
            ReduceOp::Any => "any_of",
            ReduceOp::All => "all_of",
        };
        let (name, start) = (self.source.name(what), self.source.neutral(op, dtype));
        self.source.line(format!("var {name}: {} = {start};", word(dtype)));
        name
    }

    fn get(&self, value: Value) -> String {
        self.known[&value].clone()
    }

    fn lets(&mut self, block: &Block) {
        for l in &block.lets {
            let dtype = self.nest.values[l.value.0 as usize];
            let (text, brief) = match &l.op {
                Scalar::Const(x) => (self.source.constant(*x, dtype), true),
                Scalar::Index(i) => (format!("i32({})", self.loops[*i]), true),
                Scalar::Size(size) => (format!("i32({})", self.source.size(size)), true),
                Scalar::Load(buffer, at) => {
                    let at = self.place(*buffer, at);
                    (self.source.load(*buffer, &at), false)
                }
                Scalar::Cast(x) => {
                    let (from, x) = (self.nest.values[x.0 as usize], self.get(*x));
                    (self.source.cast(&x, from, dtype), false)
                }
                Scalar::Map(op, args) => {
                    let of = args.last().map_or(dtype, |v| self.nest.values[v.0 as usize]);
                    let args: Vec<String> = args.iter().map(|v| self.get(*v)).collect();
                    let args: Vec<&str> = args.iter().map(String::as_str).collect();
                    let sites = &mut self.sites;
                    (self.source.map(*op, of, &args, |source| site(source, sites, Site::Division)), false)
                }
                Scalar::Random { kind, stream, seed, counter } => {
                    let (seed, counter): (String, Vec<String>) =
                        (self.get(*seed), counter.iter().map(|c| self.get(*c)).collect());
                    let counter: Vec<&str> = counter.iter().map(String::as_str).collect();
                    (self.source.random(*kind, *stream, &seed, &counter), false)
                }
            };
            // A load has a line of its own: what is stored may lie where it reads.
            let once = self.uses[l.value.0 as usize] <= 1 && !matches!(l.op, Scalar::Load(..));
            let text = if brief || (once && text.len() < BRIEF) {
                text
            } else {
                let name = format!("v{}", l.value.0);
                self.source.line(format!("let {name} = {};", bare(&text)));
                name
            };
            self.known.insert(l.value, text);
        }
    }

    fn stores(&mut self, block: &Block) {
        // All values before the first of them is stored.
        let values: Vec<String> = block.stores.iter().map(|store| self.get(store.value)).collect();
        for (store, value) in block.stores.iter().zip(values) {
            let at = self.place(store.buffer, &store.at);
            self.source.store(store.buffer, &at, bare(&value), store.add);
        }
    }

    /// Where in a buffer, in entries.
    fn place(&mut self, buffer: BufferId, at: &Address) -> String {
        let mut parts = if at.offset > 0 { vec![format!("{}u", at.offset)] } else { vec![] };
        for Term { index, stride } in &at.terms {
            let index = match index {
                Index::Loop(i) => self.loops[*i].clone(),
                Index::Value { value, below } => self.checked(buffer, *value, below.as_ref()),
            };
            parts.extend(self.source.times(&index, stride));
        }
        if parts.is_empty() { "0u".into() } else { parts.join(" + ") }
    }

    /// An index that was worked out, as u32.
    fn checked(&mut self, buffer: BufferId, value: Value, below: Option<&Size>) -> String {
        let key = (value, below.cloned());
        if let Some(known) = self.indices.get(&key) {
            return known.clone();
        }
        let index = self.get(value);
        let Some(below) = below else { return format!("u32({})", bare(&index)) };
        let below = self.source.size(below);
        let site = site(&mut self.source, &mut self.sites, Site::Index(buffer));
        let text = self.source.call(Function::Checked, &[bare(&index), &below, &site]);
        let name = self.source.name("index");
        self.source.line(format!("let {name} = {text};"));
        self.indices.insert(key, name.clone());
        name
    }
}

/// Whether a pass may have many more indices than a run of a sum.
fn is_long(pass: &Pass) -> bool {
    let all = pass.loops.iter().fold(Size::one(), |n, span| n.times(&span.dim.size()));
    all.constant().is_none_or(|n| n > 16 * RUN)
}

/// The number of a fault.
fn site(source: &mut Source, sites: &mut Vec<Site>, site: Site) -> String {
    let known = sites.iter().position(|s| *s == site);
    let number = known.unwrap_or_else(|| {
        sites.push(site);
        sites.len() - 1
    });
    let first = source.fault();
    if number == 0 { first } else { format!("{first} + {number}u") }
}

/// An expression without brackets around all of it.
fn bare(text: &str) -> &str {
    let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else { return text };
    let mut depth = 0i32;
    for c in inner.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return text;
        }
    }
    inner
}

/// What a loop is called.
fn of(dim: &Dim) -> String {
    dim.axes.iter().map(|axis| axis.name()).collect::<Vec<_>>().join("_")
}

/// The buffers that each part stores to.
fn stored(nest: &Rows) -> Vec<Vec<BufferId>> {
    let of = |part: &Part| {
        let (Part::Row(block) | Part::Pass(Pass { block, .. })) = part;
        block.stores.iter().map(|store| store.buffer).collect()
    };
    nest.parts.iter().map(of).collect()
}

fn reads_of(part: &Part) -> Vec<BufferId> {
    let (Part::Row(block) | Part::Pass(Pass { block, .. })) = part;
    let load = |op: &Scalar| if let Scalar::Load(buffer, _) = op { Some(*buffer) } else { None };
    block.lets.iter().filter_map(|l| load(&l.op)).collect()
}
