//! The text of a tensor graph to the graph: the inverse of [`super::print`], for tests and for reading what `emit` printed.

use super::axis::{Axis, AxisKind};
use super::graph::{Graph, Node, NodeData};
use super::op::{Attention, CallKind, DType, MapOp, Op, RandomKind, ReduceOp, TableKind};
use super::print::name;
use std::collections::HashMap;
use std::fmt;

/// Why a text is not a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ParseError {}

/// Reads what [`super::print::print`] writes. Whether the graph makes sense is for [`super::verify`].
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut reader = Reader { text, at: 0 };
    let result = reader.graph().and_then(|graph| match reader.rest().is_empty() {
        true => Ok(graph),
        false => Err("expected the end of the text".to_string()),
    });
    let line = text[..reader.at].matches('\n').count() + 1;
    result.map_err(|what| ParseError { line, what })
}

pub(crate) struct Reader<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
}

pub(crate) type Read<T> = Result<T, String>;

pub(crate) const MAPS: [MapOp; 34] = {
    use MapOp::*;
    [
        Neg, Abs, Sign, Exp, Log, Sqrt, Rsqrt, Sin, Cos, Tanh, Sigmoid, Floor, Ceil, Round, Bf16, Not, IsNan, Add, Sub,
        Mul, Div, Rem, Pow, Min, Max, Eq, Ne, Lt, Le, Gt, Ge, And, Or, Where,
    ]
};

impl<'a> Reader<'a> {
    /// What is left, without leading white space.
    pub(crate) fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    pub(crate) fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    pub(crate) fn expect(&mut self, token: &str) -> Read<()> {
        match self.take(token) {
            true => Ok(()),
            false => Err(format!("expected `{token}`, found `{}`", self.rest().lines().next().unwrap_or_default())),
        }
    }

    pub(crate) fn span(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !of(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    pub(crate) fn word(&mut self) -> Read<&'a str> {
        match self.span(|c| c.is_alphanumeric() || c == '_') {
            "" => Err(format!("expected a word, found `{}`", self.rest().lines().next().unwrap_or_default())),
            word => Ok(word),
        }
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self) -> Read<T> {
        let word = self.span(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        word.parse().map_err(|_| format!("expected a number, found `{word}`"))
    }

    pub(crate) fn quoted(&mut self) -> Read<String> {
        let rest = self.rest();
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let text = stream.next().and_then(Result::ok).ok_or("expected a quoted name")?;
        self.at += stream.byte_offset();
        Ok(text)
    }

    pub(crate) fn variant<T: fmt::Debug + Copy>(&mut self, of: &[T]) -> Read<T> {
        let word = self.word()?;
        of.iter().copied().find(|v| name(v) == word).ok_or_else(|| format!("`{word}` is not one of {of:?}"))
    }

    pub(crate) fn separated<T>(&mut self, open: &str, close: &str, one: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        self.expect(open)?;
        let mut all = vec![];
        while !self.take(close) {
            if !all.is_empty() {
                self.expect(",")?;
            }
            all.push(one(self)?);
        }
        Ok(all)
    }

    pub(crate) fn axis(&mut self) -> Read<Axis> {
        let word = self.word()?;
        let mut axis = match () {
            () if self.take(":") => Axis::fixed(word, self.number()?),
            () if self.take("?") => Axis::new(word, AxisKind::Dynamic(self.number()?)),
            () if self.take("~") => return Ok(Axis::new(word, AxisKind::Paired(self.axis()?))),
            () if self.take("#") => {
                let origin = self.number()?;
                let outer = if self.text[self.at..].starts_with('(') {
                    self.expect("(")?;
                    let outer = self.axis()?;
                    self.expect(")")?;
                    Some(outer)
                } else {
                    None
                };
                Axis::ragged(word, origin, outer)
            }
            () if word == "item" => Axis::item(),
            () => return Err(format!("`{word}` is not an axis")),
        };
        while self.take("*") {
            axis = match axis.kind() {
                AxisKind::Packed(_) => Axis::new(axis.name(), AxisKind::Pairs(axis.clone())),
                _ => axis.packed(),
            };
        }
        if self.take("&") {
            axis = Axis::new(axis.name(), AxisKind::Cross(axis.clone(), self.axis()?));
        }
        Ok(axis)
    }

    fn axes(&mut self) -> Read<Vec<Axis>> {
        self.separated("[", "]", Self::axis)
    }

    fn graph(&mut self) -> Read<Graph> {
        let mut graph = Graph::new();
        let mut nodes: HashMap<u32, Node> = HashMap::new();
        let mut params = vec![];
        if self.take("params") {
            params.push(self.id()?);
            while self.take(",") {
                params.push(self.id()?);
            }
        }
        while !self.take("outputs") {
            let id = self.id()?;
            self.expect("=")?;
            let data = self.node(&nodes)?;
            let node = graph.push(data);
            nodes.insert(id, node);
        }
        let find = |id: u32| nodes.get(&id).copied().ok_or_else(|| format!("%{id} is not there"));
        graph.params = params.into_iter().map(find).collect::<Read<_>>()?;
        while self.rest().starts_with('"') {
            let name = self.quoted()?;
            self.expect("=")?;
            let node = find(self.id()?)?;
            graph.output(name, node);
            if !self.take(",") {
                break;
            }
        }
        Ok(graph)
    }

    fn id(&mut self) -> Read<u32> {
        self.expect("%")?;
        self.number()
    }

    fn reverse(&mut self) -> Read<bool> {
        match self.word()? {
            "reverse" => Ok(true),
            "forward" => Ok(false),
            word => Err(format!("expected `forward` or `reverse`, found `{word}`")),
        }
    }

    fn body(&mut self) -> Read<Box<Graph>> {
        self.expect("{")?;
        let graph = self.graph()?;
        self.expect("}")?;
        Ok(Box::new(graph))
    }

    fn attention(&mut self) -> Read<Attention> {
        let (time, hdim, vdim) = (self.axis()?, self.axis()?, self.axis()?);
        let (kv, rep) = (self.axes()?, self.axes()?);
        let scale = self.number()?;
        let window = if self.take("none") { None } else { Some(self.number()?) };
        let tree = self.take("tree");
        let cached = if self.take("cached") { Some(self.axis()?) } else { None };
        Ok(Attention { time, hdim, vdim, kv, rep, scale, window, tree, cached })
    }

    fn node(&mut self, nodes: &HashMap<u32, Node>) -> Read<NodeData> {
        let word = self.word()?;
        let mut op = self.op(word)?;
        let inputs = if self.rest().starts_with('(') { self.separated("(", ")", Self::id)? } else { vec![] };
        if let Op::Scan { body, .. } | Op::Loop { body, .. } | Op::Call { body, .. } = &mut op {
            *body = self.body()?;
        }
        let find = |id: u32| nodes.get(&id).copied().ok_or_else(|| format!("%{id} is not there yet"));
        let inputs = inputs.into_iter().map(find).collect::<Read<_>>()?;
        self.expect(":")?;
        let dtype = self.variant(&[DType::Float, DType::Int, DType::Bool])?;
        Ok(NodeData::new(op, inputs, self.axes()?, dtype))
    }

    /// An op up to its inputs; bodies are filled in later.
    fn op(&mut self, word: &str) -> Read<Op> {
        const REDUCTIONS: [ReduceOp; 6] =
            [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Prod, ReduceOp::Any, ReduceOp::All];
        const TABLES: [TableKind; 4] = [TableKind::Segment, TableKind::Position, TableKind::Start, TableKind::Length];
        if let Some(map) = MAPS.iter().find(|m| name(*m) == word) {
            return Ok(Op::Map(*map));
        }
        Ok(match word {
            "input" => Op::Input(self.quoted()?),
            "weight" => Op::Weight(self.quoted()?),
            "const" => Op::Const(self.number()?),
            "array" => Op::Array(self.separated("{", "}", Self::number)?),
            "iota" => Op::Iota,
            "table" => {
                let kind = self.variant(&TABLES)?;
                Op::Table(self.axis()?, kind)
            }
            "random" => Op::Random(self.variant(&[RandomKind::Uniform, RandomKind::Normal])?, self.number()?),
            "cast" => Op::Cast,
            "stop" => Op::Stop,
            "reduce" => Op::Reduce(self.variant(&REDUCTIONS)?, self.axes()?),
            "contract" => Op::Contract(self.axes()?),
            "tile" => Op::Tile(self.axis()?),
            "rename" => Op::Rename { from: self.axis()?, to: self.axis()? },
            "flatten" => Op::Flatten { from: [self.axis()?, self.axis()?], to: self.axis()? },
            "split" => Op::Split { from: self.axis()?, to: [self.axis()?, self.axis()?] },
            "slice" => Op::Slice { from: self.axis()?, to: self.axis()?, start: self.number()? },
            "pad" => Op::Pad { from: self.axis()?, to: self.axis()?, start: self.number()? },
            "concat" => Op::Concat { from: self.axes()?, to: self.axis()? },
            "items" => Op::Items(self.axis()?),
            "here" => Op::Here,
            "gather" => Op::Gather(self.axis()?),
            "scatter_add" => Op::ScatterAdd(self.axis()?),
            "argsort" => Op::Argsort(self.axis()?),
            "topk" => Op::Topk { from: self.axis()?, to: self.axis()? },
            "compact" => Op::Compact { from: self.axis()?, to: self.axis()? },
            "expand" => Op::Expand { from: self.axis()?, to: self.axis()? },
            "cumsum" => Op::Cumsum { axis: self.axis()?, reverse: self.reverse()? },
            "scan" => Op::Scan {
                axis: self.axis()?,
                reverse: self.reverse()?,
                carries: self.number()?,
                xs: self.number()?,
                body: Box::default(),
            },
            "loop" => Op::Loop { within: self.number()?, carries: self.number()?, body: Box::default() },
            "solve" => Op::Solve(self.axis()?, self.axis()?),
            "cholesky" => Op::Cholesky(self.axis()?, self.axis()?),
            "qr" => Op::Qr(self.axis()?, self.axis()?),
            "eigh" => Op::Eigh(self.axis()?, self.axis()?),
            "svd" => Op::Svd(self.axis()?, self.axis()?),
            "segment_reduce" => Op::SegmentReduce(self.variant(&REDUCTIONS)?, self.axis()?),
            "segment_tile" => Op::SegmentTile(self.axis()?),
            "call" => {
                let kind = match self.word()? {
                    "plain" => CallKind::Plain,
                    "chunked" => CallKind::Chunked { axis: self.axis()? },
                    "attention" => CallKind::Attention(self.attention()?),
                    "attention_grad" => CallKind::AttentionGrad(self.attention()?),
                    kind => return Err(format!("there is no call of the kind `{kind}`")),
                };
                Op::Call { kind, body: Box::default() }
            }
            "result" => Op::Result(self.number()?),
            _ => return Err(format!("there is no op `{word}`")),
        })
    }
}
