//! The text of a nest's kernels: rows, and scalars of rows and of passes.

use std::collections::HashMap;

use align_compiler::kernel::{Address, Block, BufferId, Dim, Index, Part, Pass, Rows, Scalar, Size, Term, Value};

use super::super::Site;
use super::super::library::Function;
use super::super::source::Source;
use super::{Spread, loaded, stored};

/// Characters of an expression that is not worth a line of its own.
const BRIEF: usize = 90;

/// What of a nest a kernel works out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Whole,
    /// The pass of this number, from what earlier kernels have found, and what stands before it is stored.
    Pass(usize),
    /// What stands behind the last pass.
    End,
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

pub struct Writer<'n, 'p> {
    pub source: Source<'p>,
    pub nest: &'n Rows,
    pub spread: Spread,
    pub phase: Phase,
    uses: Vec<usize>,
    /// The expression of each scalar: a name, or what is worked out where it is read.
    pub known: HashMap<Value, String>,
    /// Indices that were checked.
    pub indices: HashMap<(Value, Option<Size>), String>,
    /// The names of loops.
    pub loops: Vec<String>,
    sites: Vec<Site>,
}

impl<'n, 'p> Writer<'n, 'p> {
    /// `sites`: those of kernels of the step before this one.
    pub fn new(source: Source<'p>, nest: &'n Rows, spread: Spread, phase: Phase, sites: Vec<Site>) -> Writer<'n, 'p> {
        let (known, indices) = (HashMap::new(), HashMap::new());
        Writer { source, nest, spread, phase, uses: uses(nest), known, indices, loops: vec![], sites }
    }

    /// The text, and all places where a fault may be found.
    pub fn finish(self) -> (Source<'p>, Vec<Site>) {
        (self.source, self.sites)
    }

    pub fn kernel(&mut self, rows: &Size) {
        let nest = self.nest;
        let Spread { rows: side, chunks, .. } = self.spread;
        let group = self.source.group();
        let size = self.source.size(rows);
        let group = match self.phase {
            Phase::Pass(_) => {
                self.source.line(format!("let chunk = {group} % {chunks}u;"));
                format!("({group} / {chunks}u)")
            }
            _ => group.to_string(),
        };
        match side {
            1 => self.source.line(format!("let row = {};", bare(&group))),
            _ if self.shares() => {
                self.source.line(format!("let slice = lane / {side}u;"));
                self.source.line(format!("let own_row = {group} * {side}u + lane % {side}u;"));
                self.source.line(format!("let row = min(own_row, {size} - 1u);"));
            }
            _ => self.source.line(format!("let row = {group} * {side}u + lane;")),
        }
        // The last workgroups of a grid may have no rows; where lanes wait for each other, all of them go on.
        let beyond = match side > 1 && self.shares() {
            true => format!("{group} * {side}u >= {size}"),
            false => format!("row >= {size}"),
        };
        self.source.open(format!("if {beyond}"));
        self.source.line("return;");
        self.source.close();
        let dims: Vec<(String, Size)> = nest.rows.iter().map(|dim| (of(dim), dim.size())).collect();
        self.loops = if rows.is_one() { vec!["0u".into(); dims.len()] } else { self.source.unfold("row", &dims) };
        let last = match self.phase {
            Phase::Whole => usize::MAX,
            Phase::Pass(last) => last,
            Phase::End => super::passes(nest).count(),
        };
        let mut passes = 0;
        for (i, part) in nest.parts.iter().enumerate() {
            let reads_own = || nest.parts[..i].iter().flat_map(stored).any(|b| loaded(part).any(|l| l == b));
            if self.phase == Phase::Whole && i > 0 && self.shares() && reads_own() {
                self.source.line("storageBarrier();");
                self.source.line("workgroupBarrier();");
            }
            match part {
                Part::Row(block) => {
                    self.lets(block);
                    if passes == last || self.phase == Phase::Whole {
                        self.row_stores(block);
                    }
                }
                Part::Pass(pass) => {
                    match self.phase {
                        Phase::Whole => self.pass(pass),
                        Phase::Pass(own) if own == passes => {
                            self.pass_in_chunks(pass, &size);
                            return;
                        }
                        _ => self.handed_on(pass, &size),
                    }
                    passes += 1;
                }
            }
        }
    }

    /// Whether several lanes share a row.
    pub fn shares(&self) -> bool {
        self.spread.slices > 1
    }

    /// Which of the lanes that share a row this is.
    pub fn slice(&self) -> &'static str {
        if self.spread.rows > 1 { "slice" } else { "lane" }
    }

    fn row_stores(&mut self, block: &Block) {
        if block.stores.is_empty() {
            return;
        }
        let first = self.shares().then(|| format!("{} == 0u", self.slice()));
        let live = (self.shares() && self.spread.rows > 1).then(|| "row == own_row".to_string());
        let chunk = matches!(self.phase, Phase::Pass(_)).then(|| "chunk == 0u".to_string());
        let conditions: Vec<String> = [first, live, chunk].into_iter().flatten().collect();
        if conditions.is_empty() {
            self.stores(block);
            return;
        }
        self.source.open(format!("if {}", conditions.join(" && ")));
        self.stores(block);
        self.source.close();
    }

    pub fn get(&self, value: Value) -> String {
        self.known[&value].clone()
    }

    pub fn lets(&mut self, block: &Block) {
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

    pub fn stores(&mut self, block: &Block) {
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
    pub fn checked(&mut self, buffer: BufferId, value: Value, below: Option<&Size>) -> String {
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
pub fn bare(text: &str) -> &str {
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
pub fn of(dim: &Dim) -> String {
    dim.axes.iter().map(|axis| axis.name()).collect::<Vec<_>>().join("_")
}
