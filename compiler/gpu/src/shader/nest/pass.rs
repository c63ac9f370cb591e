//! Passes of nests: loops over inner indices, and their reductions.

use align_compiler::kernel::{Index, Pass, Reduce, Scalar, Size, Term, Value};
use align_compiler::tensor::{DType, ReduceOp};

use super::super::scalar::word;
use super::passes;
use super::writer::{Writer, bare, of};

/// Terms of a sum that are added up before they go into the total.
const RUN: usize = 128;

impl Writer<'_, '_> {
    /// A pass by the lanes of a row: what it found is then known to all of them.
    pub fn pass(&mut self, pass: &Pass) {
        let partial = self.partial(pass);
        for (reduce, partial) in pass.reduces.iter().zip(partial) {
            let name = if self.shares() { self.joined(reduce, &partial) } else { partial };
            self.known.insert(reduce.result, name);
        }
    }

    /// A chunk of a pass, whose findings are handed on.
    pub fn pass_in_chunks(&mut self, pass: &Pass, rows: &str) {
        let partial = self.partial(pass);
        let joined: Vec<String> = pass.reduces.iter().zip(partial).map(|(r, p)| self.joined(r, &p)).collect();
        if joined.is_empty() {
            return;
        }
        let live = if self.spread.rows > 1 { " && row == own_row" } else { "" };
        self.source.open(format!("if {} == 0u{live}", self.slice()));
        for (reduce, joined) in pass.reduces.iter().zip(joined) {
            let (number, element) = self.between(reduce);
            let name = self.source.scratch(number, element);
            let value = if element == "u32" { format!("select(0u, 1u, {joined})") } else { joined };
            self.source.line(format!("{name}[chunk * {rows} + row] = {value};"));
        }
        self.source.close();
    }

    /// What an earlier kernel found in the chunks of a pass, in order.
    pub fn handed_on(&mut self, pass: &Pass, rows: &str) {
        for reduce in &pass.reduces {
            let total = self.begin(reduce.op, reduce.result);
            let (number, element) = self.between(reduce);
            let name = self.source.scratch(number, element);
            self.source.open(format!("for (var part = 0u; part < {}u; part++)", self.spread.chunks));
            let found = format!("{name}[part * {rows} + row]");
            let found = if element == "u32" { format!("({found} != 0u)") } else { found };
            let dtype = self.nest.values[reduce.result.0 as usize];
            let text = self.source.combine(reduce.op, dtype, &total, &found);
            self.source.line(format!("{total} = {text};"));
            self.source.close();
            self.known.insert(reduce.result, total);
        }
    }

    /// Where a reduction is handed on: the number of the memory, and the type of its elements.
    fn between(&self, reduce: &Reduce) -> (usize, &'static str) {
        let all = passes(self.nest).flat_map(|pass| &pass.reduces);
        let number = all.take_while(|other| other.result != reduce.result).count();
        match self.nest.values[reduce.result.0 as usize] {
            DType::Bool => (number, "u32"),
            dtype => (number, word(dtype)),
        }
    }

    /// The value of a reduction in all lanes of a row, under a name.
    fn joined(&mut self, reduce: &Reduce, partial: &str) -> String {
        let dtype = self.nest.values[reduce.result.0 as usize];
        let joined = self.source.across(reduce.op, dtype, partial);
        let name = format!("v{}", reduce.result.0);
        self.source.line(format!("let {name} = {joined};"));
        name
    }

    /// The loops of a pass, as far as they are this lane's. Gives the variables of its reductions.
    fn partial(&mut self, pass: &Pass) -> Vec<String> {
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
        self.check_before(pass);
        let opened = match self.shares() || self.spread.chunks > 1 {
            true => self.shared_loops(pass, &spans),
            false => self.own_loops(pass, &spans),
        };
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
        partial
    }

    /// All indices, in loops within each other. Gives how many blocks are open.
    fn own_loops(&mut self, pass: &Pass, spans: &[(String, String)]) -> usize {
        for (i, (start, length)) in spans.iter().enumerate() {
            let name = self.source.name(&of(&pass.loops[i].dim));
            let to = if start == "0u" { length.clone() } else { format!("{start} + {length}") };
            self.source.open(format!("for (var {name} = {start}; {name} < {to}; {name}++)"));
            self.loops.push(name);
        }
        spans.len()
    }

    /// Every so many indices, counted over all loops. Gives how many blocks are open.
    fn shared_loops(&mut self, pass: &Pass, spans: &[(String, String)]) -> usize {
        let (slices, chunks, slice) = (self.spread.slices, self.spread.chunks, self.slice());
        let (first, step) = match chunks {
            1 => (slice.to_string(), slices),
            _ => (format!("chunk * {slices}u + {slice}"), slices * chunks),
        };
        // Lanes beyond the last row have nothing to do.
        let live = if self.spread.rows > 1 { "row == own_row && " } else { "" };
        if let [(start, length)] = spans {
            let name = self.source.name(&of(&pass.loops[0].dim));
            let (from, to) = match start.as_str() {
                "0u" => (first, length.clone()),
                _ => (format!("{start} + {first}"), format!("{start} + {length}")),
            };
            self.source.open(format!("for (var {name} = {from}; {live}{name} < {to}; {name} += {step}u)"));
            self.loops.push(name);
            return 1;
        }
        let place = self.source.name("place");
        let all = spans.iter().map(|(_, length)| length.clone()).collect::<Vec<_>>().join(" * ");
        self.source.open(format!("for (var {place} = {first}; {live}{place} < {all}; {place} += {step}u)"));
        for (i, (start, length)) in spans.iter().enumerate() {
            let name = self.source.name(&of(&pass.loops[i].dim));
            let inner = spans[i + 1..].iter().map(|(_, l)| l.clone()).collect::<Vec<_>>().join(" * ");
            let at = if inner.is_empty() { place.clone() } else { format!("{place} / ({inner})") };
            let at = if i == 0 { at } else { format!("{at} % {length}") };
            let at = if start == "0u" { at } else { format!("{start} + {at}") };
            self.source.line(format!("let {name} = {at};"));
            self.loops.push(name);
        }
        1
    }

    /// Indices that a pass reads at and that do not change in it are checked once.
    fn check_before(&mut self, pass: &Pass) {
        let loads = pass.block.lets.iter().filter_map(|l| match &l.op {
            Scalar::Load(buffer, at) => Some((*buffer, at)),
            _ => None,
        });
        let stores = pass.block.stores.iter().map(|store| (store.buffer, &store.at));
        for (buffer, at) in loads.chain(stores) {
            for Term { index, .. } in &at.terms {
                if let Index::Value { value, below: below @ Some(_) } = index
                    && self.known.contains_key(value)
                {
                    self.checked(buffer, *value, below.as_ref());
                }
            }
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
}

/// Whether a pass may have many more indices than a run of a sum.
fn is_long(pass: &Pass) -> bool {
    let all = pass.loops.iter().fold(Size::one(), |n, span| n.times(&span.dim.size()));
    all.constant().is_none_or(|n| n > 16 * RUN)
}
