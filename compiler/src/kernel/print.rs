//! Programs as text. [`super::parse`] reads it back.

use super::ir::*;
use crate::storage::Storage;
use crate::tensor::Attention;
use crate::tensor::print::name as word;
use std::fmt::{self, Display, Formatter};

/// `a, b, c`
pub(super) struct List<'a, T>(pub &'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, x) in self.0.iter().enumerate() {
            if i > 0 {
                write!(f, ", ")?;
            }
            write!(f, "{x}")?;
        }
        Ok(())
    }
}

/// The views of a tree, or of what is kept of earlier places, each after a space.
struct Tables<'a, const N: usize>(Option<[&'a View; N]>);

impl<const N: usize> Display for Tables<'_, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.into_iter().flatten().try_for_each(|view| write!(f, " {view}"))
    }
}

impl Display for BufferId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// `64`, `64*{time#0*}`
impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.axes.is_empty() {
            true => write!(f, "{}", self.factor),
            false => write!(f, "{}*{{{}}}", self.factor, List(&self.axes)),
        }
    }
}

/// `[time#0*]`; several axes as one loop: `[time#0* x dim:64]`
impl Display for Dim {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (i, axis) in self.axes.iter().enumerate() {
            if i > 0 {
                write!(f, " x ")?;
            }
            write!(f, "{axis}")?;
        }
        write!(f, "]")
    }
}

/// `[3 + i0*64 + v2*64 below 100]`
impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.offset)?;
        for Term { index, stride } in &self.terms {
            match index {
                Index::Loop(i) => write!(f, " + i{i}*{stride}")?,
                Index::Value { value, below: None } => write!(f, " + {value}*{stride}")?,
                Index::Value { value, below: Some(n) } => write!(f, " + {value}*{stride} below {n}")?,
            }
        }
        write!(f, "]")
    }
}

/// `%3[0; time#0*: 64, dim:64: 1]`
impl Display for View {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{};", self.buffer, self.offset)?;
        for (i, (axis, stride)) in self.axes.iter().enumerate() {
            write!(f, "{} {{{axis}}} {stride}", if i > 0 { "," } else { "" })?;
        }
        write!(f, "]")
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.buffer, self.offset)
    }
}

impl Display for Strided {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}, {}, {})", self.dim, self.lhs, self.rhs, self.out)
    }
}

impl Display for Buffer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            BufferKind::Input(name) => write!(f, "input {name:?}")?,
            BufferKind::Weight(path) => write!(f, "weight {path:?}")?,
            BufferKind::Output(name) => write!(f, "output {name:?}")?,
            BufferKind::Temp => write!(f, "temp")?,
            BufferKind::Table(axis, kind) => write!(f, "table {} {{{axis}}}", word(kind))?,
            BufferKind::Const(values) => write!(f, "const ({})", List(values))?,
        }
        match self.storage {
            Storage::F32 => write!(f, " {}", word(&self.dtype))?,
            fewer => write!(f, " {}", fewer.word())?,
        }
        write!(f, " {{{}}} {:?}", List(&self.axes), self.name)
    }
}

/// Writes lines at a depth.
struct Lines<'a, 'b> {
    f: &'a mut Formatter<'b>,
    depth: usize,
}

impl Lines<'_, '_> {
    fn line(&mut self, text: fmt::Arguments) -> fmt::Result {
        writeln!(self.f, "{:1$}{text}", "", self.depth * 2)
    }

    fn program(&mut self, program: &Program) -> fmt::Result {
        for (id, buffer) in program.ids() {
            self.line(format_args!("{id} = {buffer}"))?;
        }
        program.steps.iter().try_for_each(|step| self.step(step))
    }

    fn nested(&mut self, body: &Program) -> fmt::Result {
        self.depth += 1;
        self.program(body)?;
        self.depth -= 1;
        self.line(format_args!("}}"))
    }

    fn bindings(&mut self, word: &str, all: &[Binding]) -> fmt::Result {
        all.iter().try_for_each(|b| self.line(format_args!("  {word} {} {:?}", b.buffer, b.name)))
    }

    fn carries(&mut self, all: &[Carry]) -> fmt::Result {
        all.iter()
            .try_for_each(|c| self.line(format_args!("  carry {} {:?} -> {:?} {}", c.first, c.input, c.output, c.last)))
    }

    fn step(&mut self, step: &Step) -> fmt::Result {
        match step {
            Step::Rows(nest) => self.rows(nest),
            Step::Contraction(c) => {
                let Contraction { name, lhs, rhs, out, batch, m, n, k, add } = c;
                let add = if *add { " add" } else { "" };
                self.line(format_args!(
                    "contraction {name:?} {lhs} {rhs} -> {out}{add} batch({}) m({}) n({}) k({})",
                    List(batch),
                    List(m),
                    List(n),
                    List(k)
                ))
            }
            Step::Attention(a) => {
                self.attention("attention", &a.attention)?;
                let tree = Tables(a.tree.as_ref().map(Tree::views));
                let cache = Tables(a.cache.as_ref().map(Cache::views));
                self.line(format_args!("  {} {} {}{tree}{cache} -> {} {}", a.query, a.key, a.value, a.out, a.lse))
            }
            Step::AttentionGrad(a) => {
                self.attention("attention_grad", &a.attention)?;
                let tree = Tables(a.tree.as_ref().map(Tree::views));
                self.line(format_args!(
                    "  {} {} {} {} {} {}{tree} -> {} {} {}",
                    a.query, a.key, a.value, a.out, a.lse, a.cotangent, a.query_grad, a.key_grad, a.value_grad
                ))
            }
            Step::Scatter(s) => self.line(format_args!(
                "scatter {{{}}} {} {} -> {}{}",
                s.axis,
                s.index,
                s.values,
                s.out,
                if s.add { " add" } else { "" }
            )),
            Step::Cumsum(c) => self.line(format_args!(
                "cumsum {{{}}}{} {} -> {}",
                c.axis,
                if c.reverse { " reverse" } else { "" },
                c.input,
                c.out
            )),
            Step::Sort(s) => match &s.kind {
                SortKind::Argsort => self.line(format_args!("argsort {{{}}} {} -> {}", s.axis, s.input, s.out)),
                SortKind::Top(to) => self.line(format_args!("top {{{}}} {{{to}}} {} -> {}", s.axis, s.input, s.out)),
            },
            Step::Dense(d) => self.line(format_args!(
                "dense {} {{{}}} {{{}}} ({}) -> ({})",
                word(&d.kind),
                d.row,
                d.column,
                List(&d.inputs),
                List(&d.outs)
            )),
            Step::Chunked(c) => {
                self.line(format_args!("chunked {{{}}} {} {{", c.axis, c.block))?;
                self.bindings("in", &c.inputs)?;
                for o in &c.outputs {
                    let how = match (o.sum, o.add) {
                        (false, _) => "",
                        (true, false) => " sum",
                        (true, true) => " sum add",
                    };
                    self.line(format_args!("  out {} {:?}{how}", o.bound.buffer, o.bound.name))?;
                }
                self.nested(&c.body)
            }
            Step::Scan(s) => {
                self.line(format_args!("scan {{{}}}{} {{", s.axis, if s.reverse { " reverse" } else { "" }))?;
                self.carries(&s.carries)?;
                self.bindings("slice", &s.slices)?;
                self.bindings("in", &s.captured)?;
                self.bindings("out", &s.results)?;
                self.nested(&s.body)
            }
            Step::Loop(l) => {
                self.line(format_args!("loop {} {:?} {{", l.within, l.go_on))?;
                self.carries(&l.carries)?;
                self.bindings("in", &l.captured)?;
                self.nested(&l.body)
            }
        }
    }

    fn attention(&mut self, word: &str, a: &Attention) -> fmt::Result {
        let Attention { time, hdim, vdim, kv, rep, scale, window, tree, cached } = a;
        let window = window.map_or(String::new(), |w| format!(" window {w}"));
        let tree = if *tree { " tree" } else { "" };
        let cached = cached.as_ref().map_or(String::new(), |axis| format!(" cached {{{axis}}}"));
        self.line(format_args!(
            "{word} {{{time}}} {{{hdim}}} {{{vdim}}} kv{{{}}} rep{{{}}} scale {scale:?}{window}{tree}{cached}",
            List(kv),
            List(rep)
        ))
    }

    fn rows(&mut self, nest: &Rows) -> fmt::Result {
        self.line(format_args!("rows {:?} ({}) lanes {} {{", nest.name, List(&nest.rows), word(&nest.lanes)))?;
        self.depth += 1;
        for part in &nest.parts {
            match part {
                Part::Row(block) => self.block(nest, block)?,
                Part::Pass(pass) => {
                    let spans: Vec<String> = pass
                        .loops
                        .iter()
                        .map(|span| match span.within {
                            None => format!("{}", span.dim),
                            Some((start, length)) => format!("{} within {start} {length}", span.dim),
                        })
                        .collect();
                    self.line(format_args!("pass ({}) {{", List(&spans)))?;
                    self.depth += 1;
                    self.block(nest, &pass.block)?;
                    for r in &pass.reduces {
                        let dtype = word(&nest.values[r.result.0 as usize]);
                        self.line(format_args!("{} {dtype} = reduce {} {}", r.result, word(&r.op), r.value))?;
                    }
                    self.depth -= 1;
                    self.line(format_args!("}}"))?;
                }
            }
        }
        self.depth -= 1;
        self.line(format_args!("}}"))
    }

    fn block(&mut self, nest: &Rows, block: &Block) -> fmt::Result {
        for Let { value, op } in &block.lets {
            let dtype = word(&nest.values[value.0 as usize]);
            match op {
                Scalar::Const(c) => self.line(format_args!("{value} {dtype} = const {c:?}"))?,
                Scalar::Load(buffer, at) => self.line(format_args!("{value} {dtype} = load {buffer}{at}"))?,
                Scalar::Index(i) => self.line(format_args!("{value} {dtype} = index i{i}"))?,
                Scalar::Size(size) => self.line(format_args!("{value} {dtype} = size {size}"))?,
                Scalar::Map(op, args) => {
                    self.line(format_args!("{value} {dtype} = {} {}", word(op), List(args)))?;
                }
                Scalar::Cast(x) => self.line(format_args!("{value} {dtype} = cast {x}"))?,
                Scalar::Random { kind, stream, seed, counter } => self.line(format_args!(
                    "{value} {dtype} = random {} {stream} {seed} ({})",
                    word(kind),
                    List(counter)
                ))?,
            }
        }
        for Store { buffer, at, value, add } in &block.stores {
            self.line(format_args!("{} {buffer}{at} {value}", if *add { "add" } else { "store" }))?;
        }
        Ok(())
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Lines { f, depth: 0 }.program(self)
    }
}

/// One step as text.
impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Lines { f, depth: 0 }.step(self)
    }
}
