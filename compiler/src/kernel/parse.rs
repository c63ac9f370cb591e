//! The text of a program to the program: the inverse of [`super::print`], for tests and for reading what `emit` printed.

use super::ir::*;
use crate::storage::Storage;
use crate::tensor::parse::{MAPS, ParseError, Read, Reader};
use crate::tensor::{Attention, Axis, DType, RandomKind, ReduceOp, TableKind};

/// Reads what a program prints. Whether it makes sense is for [`super::verify`].
pub fn parse(text: &str) -> Result<Program, ParseError> {
    let mut reader = Reader { text, at: 0 };
    let result = reader.program().and_then(|program| match reader.rest().is_empty() {
        true => Ok(program),
        false => Err(format!("expected a step, found `{}`", reader.rest().lines().next().unwrap_or_default())),
    });
    let line = text[..reader.at].matches('\n').count() + 1;
    result.map_err(|what| ParseError { line, what })
}

const DTYPES: [DType; 3] = [DType::Float, DType::Int, DType::Bool];
const TABLES: [TableKind; 4] = [TableKind::Segment, TableKind::Position, TableKind::Start, TableKind::Length];
const REDUCES: [ReduceOp; 6] =
    [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Prod, ReduceOp::Any, ReduceOp::All];
const DENSE: [DenseKind; 5] = [DenseKind::Solve, DenseKind::Cholesky, DenseKind::Qr, DenseKind::Eigh, DenseKind::Svd];

impl Reader<'_> {
    fn program(&mut self) -> Read<Program> {
        let mut program = Program::default();
        while self.rest().starts_with('%') {
            let BufferId(id) = self.buffer_id()?;
            if id as usize != program.buffers.len() {
                return Err(format!("expected buffer %{}", program.buffers.len()));
            }
            self.expect("=")?;
            program.buffers.push(self.buffer()?);
        }
        while !self.rest().is_empty() && !self.rest().starts_with('}') {
            program.steps.push(self.step()?);
        }
        Ok(program)
    }

    fn buffer_id(&mut self) -> Read<BufferId> {
        self.expect("%")?;
        Ok(BufferId(self.number()?))
    }

    fn braced(&mut self) -> Read<Axis> {
        self.expect("{")?;
        let axis = self.axis()?;
        self.expect("}")?;
        Ok(axis)
    }

    fn braced_axes(&mut self) -> Read<Vec<Axis>> {
        self.separated("{", "}", Self::axis)
    }

    fn buffer(&mut self) -> Read<Buffer> {
        let kind = match self.word()? {
            "input" => BufferKind::Input(self.quoted()?),
            "weight" => BufferKind::Weight(self.quoted()?),
            "output" => BufferKind::Output(self.quoted()?),
            "temp" => BufferKind::Temp,
            "table" => {
                let kind = self.variant(&TABLES)?;
                BufferKind::Table(self.braced()?, kind)
            }
            "const" => BufferKind::Const(self.separated("(", ")", Self::number)?),
            word => return Err(format!("`{word}` is not a kind of buffer")),
        };
        let fewer = Storage::ALL.into_iter().find(|s| *s != Storage::F32 && self.take(s.word()));
        let dtype = if fewer.is_some() { DType::Float } else { self.variant(&DTYPES)? };
        let axes = self.braced_axes()?;
        Ok(Buffer { name: self.quoted()?, dtype, storage: fewer.unwrap_or_default(), axes, kind })
    }

    fn size(&mut self) -> Read<Size> {
        let factor = self.number()?;
        let axes = if self.take("*{") {
            let mut axes = vec![self.axis()?];
            while self.take(",") {
                axes.push(self.axis()?);
            }
            self.expect("}")?;
            axes
        } else {
            vec![]
        };
        Ok(Size { factor, axes })
    }

    fn dim(&mut self) -> Read<Dim> {
        self.expect("[")?;
        let mut axes = vec![self.axis()?];
        while self.take("x") {
            axes.push(self.axis()?);
        }
        self.expect("]")?;
        Ok(Dim { axes })
    }

    fn value(&mut self) -> Read<Value> {
        self.expect("v")?;
        Ok(Value(self.number()?))
    }

    fn address(&mut self) -> Read<Address> {
        self.expect("[")?;
        let mut address = Address { offset: self.number()?, terms: vec![] };
        while self.take("+") {
            let mut index = match self.take("i") {
                true => Index::Loop(self.number()?),
                false => Index::Value { value: self.value()?, below: None },
            };
            self.expect("*")?;
            let stride = self.size()?;
            if let (Index::Value { below, .. }, true) = (&mut index, self.take("below")) {
                *below = Some(self.size()?);
            }
            address.terms.push(Term { index, stride });
        }
        self.expect("]")?;
        Ok(address)
    }

    fn view(&mut self) -> Read<View> {
        let buffer = self.buffer_id()?;
        self.expect("[")?;
        let offset = self.number()?;
        let axes = self.separated(";", "]", |r| Ok((r.braced()?, r.size()?)))?;
        Ok(View { buffer, offset, axes })
    }

    fn operand(&mut self) -> Read<Operand> {
        let buffer = self.buffer_id()?;
        self.expect("[")?;
        let offset = self.number()?;
        self.expect("]")?;
        Ok(Operand { buffer, offset })
    }

    fn strided(&mut self, group: &str) -> Read<Vec<Strided>> {
        self.expect(group)?;
        self.separated("(", ")", |r| {
            let dim = r.dim()?;
            r.expect("(")?;
            let lhs = r.size()?;
            r.expect(",")?;
            let rhs = r.size()?;
            r.expect(",")?;
            let out = r.size()?;
            r.expect(")")?;
            Ok(Strided { dim, lhs, rhs, out })
        })
    }

    fn attention_form(&mut self) -> Read<Attention> {
        let (time, hdim, vdim) = (self.braced()?, self.braced()?, self.braced()?);
        self.expect("kv")?;
        let kv = self.braced_axes()?;
        self.expect("rep")?;
        let rep = self.braced_axes()?;
        self.expect("scale")?;
        let scale = self.number()?;
        let window = if self.take("window") { Some(self.number()?) } else { None };
        let tree = self.take("tree");
        let cached = if self.take("cached") { Some(self.braced()?) } else { None };
        Ok(Attention { time, hdim, vdim, kv, rep, scale, window, tree, cached })
    }

    fn tree(&mut self, attention: &Attention) -> Read<Option<Tree>> {
        Ok(if attention.tree { Some(Tree { ends: self.view()?, places: self.view()? }) } else { None })
    }

    fn step(&mut self) -> Read<Step> {
        Ok(match self.word()? {
            "rows" => Step::Rows(self.rows()?),
            "contraction" => {
                let name = self.quoted()?;
                let (lhs, rhs) = (self.operand()?, self.operand()?);
                self.expect("->")?;
                let (out, add) = (self.operand()?, self.take("add"));
                let (batch, m) = (self.strided("batch")?, self.strided("m")?);
                let (n, k) = (self.strided("n")?, self.strided("k")?);
                Step::Contraction(Contraction { name, lhs, rhs, out, batch, m, n, k, add })
            }
            "attention" => {
                let attention = self.attention_form()?;
                let (query, key, value) = (self.view()?, self.view()?, self.view()?);
                let tree = self.tree(&attention)?;
                let cache = match attention.cached {
                    Some(_) => Some(Cache { keys: self.view()?, values: self.view()?, rows: self.view()? }),
                    None => None,
                };
                self.expect("->")?;
                let (out, lse) = (self.view()?, self.view()?);
                Step::Attention(AttentionStep { attention, query, key, value, tree, cache, out, lse })
            }
            "attention_grad" => {
                let attention = self.attention_form()?;
                let (query, key, value) = (self.view()?, self.view()?, self.view()?);
                let (out, lse, cotangent) = (self.view()?, self.view()?, self.view()?);
                let tree = self.tree(&attention)?;
                self.expect("->")?;
                let (query_grad, key_grad, value_grad) = (self.view()?, self.view()?, self.view()?);
                Step::AttentionGrad(AttentionGradStep {
                    attention,
                    query,
                    key,
                    value,
                    tree,
                    out,
                    lse,
                    cotangent,
                    query_grad,
                    key_grad,
                    value_grad,
                })
            }
            "scatter" => {
                let (axis, index, values) = (self.braced()?, self.view()?, self.view()?);
                self.expect("->")?;
                Step::Scatter(Scatter { axis, index, values, out: self.view()?, add: self.take("add") })
            }
            "cumsum" => {
                let (axis, reverse) = (self.braced()?, self.take("reverse"));
                let input = self.view()?;
                self.expect("->")?;
                Step::Cumsum(Cumsum { axis, reverse, input, out: self.view()? })
            }
            word @ ("argsort" | "top") => {
                let axis = self.braced()?;
                let kind = if word == "top" { SortKind::Top(self.braced()?) } else { SortKind::Argsort };
                let input = self.view()?;
                self.expect("->")?;
                Step::Sort(Sort { kind, axis, input, out: self.view()? })
            }
            "dense" => {
                let (kind, row, column) = (self.variant(&DENSE)?, self.braced()?, self.braced()?);
                let inputs = self.separated("(", ")", Self::view)?;
                self.expect("->")?;
                Step::Dense(Dense { kind, row, column, inputs, outs: self.separated("(", ")", Self::view)? })
            }
            "chunked" => {
                let (axis, block) = (self.braced()?, self.number()?);
                self.expect("{")?;
                let (inputs, mut outputs) = (self.bindings("in")?, vec![]);
                while self.take("out ") {
                    let bound = self.binding()?;
                    let sum = self.take("sum");
                    outputs.push(ChunkOutput { bound, sum, add: self.take("add") });
                }
                Step::Chunked(Chunked { axis, block, body: self.body_program()?, inputs, outputs })
            }
            "scan" => {
                let (axis, reverse) = (self.braced()?, self.take("reverse"));
                self.expect("{")?;
                let (carries, slices) = (self.carries()?, self.bindings("slice")?);
                let (captured, results) = (self.bindings("in")?, self.bindings("out")?);
                let body = self.body_program()?;
                Step::Scan(Scan { axis, reverse, body, carries, slices, captured, results })
            }
            "loop" => {
                let (within, go_on) = (self.number()?, self.quoted()?);
                self.expect("{")?;
                let (carries, captured) = (self.carries()?, self.bindings("in")?);
                Step::Loop(Loop { within, go_on, body: self.body_program()?, carries, captured })
            }
            word => return Err(format!("`{word}` is not a step")),
        })
    }

    fn body_program(&mut self) -> Read<Box<Program>> {
        let body = self.program()?;
        self.expect("}")?;
        Ok(Box::new(body))
    }

    fn binding(&mut self) -> Read<Binding> {
        let buffer = self.buffer_id()?;
        Ok(Binding { name: self.quoted()?, buffer })
    }

    fn bindings(&mut self, word: &str) -> Read<Vec<Binding>> {
        let mut all = vec![];
        while self.take(&format!("{word} ")) {
            all.push(self.binding()?);
        }
        Ok(all)
    }

    fn carries(&mut self) -> Read<Vec<Carry>> {
        let mut all = vec![];
        while self.take("carry ") {
            let (first, input) = (self.buffer_id()?, self.quoted()?);
            self.expect("->")?;
            let output = self.quoted()?;
            all.push(Carry { input, output, first, last: self.buffer_id()? });
        }
        Ok(all)
    }

    fn rows(&mut self) -> Read<Rows> {
        let name = self.quoted()?;
        let rows = self.separated("(", ")", Self::dim)?;
        self.expect("lanes")?;
        let lanes = self.variant(&[Lanes::Rows, Lanes::Pass])?;
        self.expect("{")?;
        let mut nest = Rows { name, rows, parts: vec![], values: vec![], lanes };
        while !self.take("}") {
            if self.take("pass (") {
                let mut loops = vec![];
                while !self.take(")") {
                    self.take(",");
                    let dim = self.dim()?;
                    let within = if self.take("within") { Some((self.value()?, self.value()?)) } else { None };
                    loops.push(Span { dim, within });
                }
                self.expect("{")?;
                let mut pass = Pass { loops, block: Block::default(), reduces: vec![] };
                self.block(&mut nest.values, &mut pass.block, &mut pass.reduces)?;
                self.expect("}")?;
                nest.parts.push(Part::Pass(pass));
            } else {
                let mut block = Block::default();
                self.block(&mut nest.values, &mut block, &mut vec![])?;
                if block == Block::default() {
                    return Err(format!(
                        "expected a scalar, found `{}`",
                        self.rest().lines().next().unwrap_or_default()
                    ));
                }
                nest.parts.push(Part::Row(block));
            }
        }
        Ok(nest)
    }

    fn block(&mut self, values: &mut Vec<DType>, block: &mut Block, reduces: &mut Vec<Reduce>) -> Read<()> {
        loop {
            let rest = self.rest();
            let add = rest.starts_with("add ");
            if add || rest.starts_with("store ") {
                self.word()?;
                let (buffer, at) = (self.buffer_id()?, self.address()?);
                block.stores.push(Store { buffer, at, value: self.value()?, add });
            } else if rest.starts_with('v') {
                let value = self.value()?;
                let dtype = self.variant(&DTYPES)?;
                if value.0 as usize >= values.len() {
                    values.resize(value.0 as usize + 1, dtype);
                }
                values[value.0 as usize] = dtype;
                self.expect("=")?;
                if self.take("reduce") {
                    let op = self.variant(&REDUCES)?;
                    reduces.push(Reduce { op, value: self.value()?, result: value });
                } else {
                    let op = self.scalar()?;
                    block.lets.push(Let { value, op });
                }
            } else {
                return Ok(());
            }
        }
    }

    fn scalar(&mut self) -> Read<Scalar> {
        Ok(match self.word()? {
            "const" => Scalar::Const(self.number()?),
            "load" => Scalar::Load(self.buffer_id()?, self.address()?),
            "index" => {
                self.expect("i")?;
                Scalar::Index(self.number()?)
            }
            "size" => Scalar::Size(self.size()?),
            "cast" => Scalar::Cast(self.value()?),
            "random" => {
                let kind = self.variant(&[RandomKind::Uniform, RandomKind::Normal])?;
                let (stream, seed) = (self.number()?, self.value()?);
                Scalar::Random { kind, stream, seed, counter: self.separated("(", ")", Self::value)? }
            }
            word => {
                let map = MAPS.iter().find(|m| crate::tensor::print::name(*m) == word);
                let map = *map.ok_or_else(|| format!("`{word}` is not a scalar function"))?;
                let mut args = vec![self.value()?];
                while self.take(",") {
                    args.push(self.value()?);
                }
                Scalar::Map(map, args)
            }
        })
    }
}
