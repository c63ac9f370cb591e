//! What expressions are worth, at all three levels.

use super::env::Env;
use crate::philox::Philox;
use crate::stage::text::{self, Pieces};
use crate::tensor::{Axis, DType, Node};
use crate::world::Tokenizer;
use align_syntax::ast::{Def, DefKind, Method, Param};
use align_syntax::span::{FileId, Span};
use std::any::Any;
use std::fmt;
use std::rc::Rc;

#[derive(Clone)]
pub enum Value {
    Unit,
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Rc<str>),
    /// A template: a text whose parts keep where they come from.
    Pieces(Rc<Pieces>),
    Tuple(Rc<Tuple>),
    Record(Rc<Record>),
    List(Rc<Vec<Value>>),
    Map(Rc<Vec<(Value, Value)>>),
    None,
    Some(Rc<Value>),
    /// `a..b`; without an end `a..`.
    Range(i64, Option<i64>),
    /// `0.1..0.5`: a range of numbers.
    Interval(f64, f64),
    /// `32 examples`
    Quantity(f64, Rc<str>),
    Function(Rc<Function>),
    /// An axis, or a pack of axes.
    Axes(Rc<[Axis]>),
    /// A node of a graph that is being traced.
    Tensor(Tensor),
    Net(Rc<Net>),
    Prompt(Rc<text::Prompt>),
    Reply(Rc<text::Reply>),
    Chat(Rc<text::Chat>),
    /// A row of data in a traced function: its fields are inputs.
    Item(Rc<Item>),
    /// The same for one field that is a prompt, a reply or a chat.
    Stream(Rc<Stream>),
    Dist(Start),
    /// A declaration with a contract and its settings: `dpo(reference: p, beta: 0.1)`.
    Applied(Rc<Applied>),
    /// A sum of multiples of losses or rewards.
    Sum(Rc<Vec<(f64, Value)>>),
    /// A policy for tests whose functions give these values.
    Stub(Rc<Record>),
    Tokenizer(Rc<dyn Tokenizer>),
    /// A type by its name, where a function takes one: `example(Pair)`.
    Type(Rc<str>, FileId),
    /// A value of the pipeline that the evaluator only hands on.
    Foreign(Rc<dyn Foreign>),
}

/// A value that another part of the compiler defines: data, a number that only a run gives, a policy's history.
pub trait Foreign: fmt::Debug {
    /// What it is, for messages: `Data`, `Float`.
    fn kind(&self) -> String;
    fn as_any(&self) -> &dyn Any;
}

/// A node, and the graph of the stack of graphs to which it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    pub frame: u32,
    pub node: Node,
}

/// `(a, b, reward: r)`
#[derive(Clone, Debug, Default)]
pub struct Tuple {
    pub positional: Vec<Value>,
    pub named: Vec<(Rc<str>, Value)>,
}

/// A record; `name` is that of its type, if it was built by one.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub name: Option<Rc<str>>,
    pub fields: Vec<(Rc<str>, Value)>,
}

impl Record {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(n, _)| &**n == name).map(|(_, v)| v)
    }

    /// Replaces or adds a field.
    pub fn set(&mut self, name: &str, value: Value) {
        match self.fields.iter_mut().find(|(n, _)| &**n == name) {
            Some((_, old)) => *old = value,
            None => self.fields.push((name.into(), value)),
        }
    }
}

/// Something that can be called.
pub enum Function {
    /// A declaration. `given` holds the arguments of its first list when it waits for a second one.
    Def {
        def: Rc<DefCode>,
        given: Option<Given>,
    },
    Lambda {
        code: Rc<LambdaCode>,
        env: Env,
    },
    /// `.answer`
    Accessor(Rc<str>),
    Builtin(&'static str),
    /// A method of a net.
    Method {
        net: Rc<Net>,
        method: Rc<Method>,
    },
    /// A method that a patch adds to a net; the patch by its place among the net's.
    Added {
        net: Rc<Net>,
        patch: usize,
        method: Rc<Method>,
    },
    /// The same value whatever it is given: a number where a schedule is expected.
    Constant(Value),
    /// A schedule inside an optimizer that is being traced.
    Schedule(usize),
    /// The objective of a stage in its optimizer, or a loss that stands in one of its settings.
    Objective(crate::stage::optimizer::Objective),
    /// `grad(f)` and its like: a function of functions, and what it was given.
    Derived {
        word: &'static str,
        of: Value,
        brackets: Rc<[Axis]>,
    },
}

/// Arguments that were bound already.
#[derive(Clone, Debug, Default)]
pub struct Given {
    pub values: Vec<(Rc<str>, Value)>,
}

/// A declaration, and where it stands.
#[derive(Debug)]
pub struct DefCode {
    pub def: Def,
    pub file: FileId,
    /// Where it is defined, if not at the top of a file.
    pub env: Option<Env>,
}

impl DefCode {
    pub fn name(&self) -> &str {
        self.def.name.as_ref().map_or("", |n| &n.text)
    }

    pub fn span(&self) -> Span {
        self.def.name.as_ref().map_or(self.def.kind_span, |n| n.span)
    }
}

#[derive(Debug)]
pub struct LambdaCode {
    pub params: Vec<Param>,
    pub body: align_syntax::ast::Expr,
}

/// A net with its configuration. Weights are not values but paths: `prefix` is what theirs begin with.
pub struct Net {
    pub shape: Rc<NetShape>,
    /// `blocks.0.attend.`, empty for a whole net that is trained.
    pub prefix: Rc<str>,
    /// Which weights it has: 0 are those it is born with, others were given by the pipeline.
    pub source: u32,
    /// Values that stand for weights, by path from here: `net with { scale: x }`.
    pub given: Rc<Vec<(String, Value)>>,
    /// What was put on the whole net by `with`, the first first. Parts have those of the whole.
    pub patches: Rc<Vec<Patch>>,
}

/// A net that was put on another: `policy with lora(rank: 8)`, `policy with head()`. It has weights of its own: beside each
/// weight that it is on, or one set of them for the methods that it adds.
#[derive(Clone)]
pub struct Patch {
    /// What the paths of its weights begin with; next comes that of the weight that each is beside, if it is on weights.
    pub name: Rc<str>,
    pub applied: Rc<Applied>,
    /// The weights that it is on, by path, each with the net built for its axes.
    pub on: Rc<Vec<PatchedWeight>>,
    /// The net whose methods it adds to the one that it is put on; `None` for a patch that multiplies.
    pub adds: Option<Rc<Net>>,
    /// Paths of the weights that were there before and still train; `None` if all do.
    pub trains: Option<Rc<Vec<String>>>,
}

/// A weight that a patch is on.
#[derive(Clone)]
pub struct PatchedWeight {
    pub path: String,
    pub by: Rc<Net>,
    /// The axes that its products sum over, and its others, as `by` was built with them.
    pub from: Rc<[Axis]>,
    pub to: Rc<[Axis]>,
}

/// What the configuration of a net fixes.
pub enum NetShape {
    Defined {
        code: Rc<DefCode>,
        /// The scope of its body: settings and axes.
        env: Env,
        settings: Vec<(Rc<str>, Value)>,
        axes: Vec<(Rc<str>, Axis)>,
        parts: Vec<(Rc<str>, Value)>,
        weights: Vec<WeightDecl>,
        methods: Vec<Rc<Method>>,
        tokenizer: Option<Rc<dyn Tokenizer>>,
    },
    /// `stack(n, net)`
    Stack { layers: usize, of: Rc<Net> },
}

/// A weight of a net as it was declared.
pub struct WeightDecl {
    pub name: Rc<str>,
    pub axes: Vec<Axis>,
    /// Those of them that grow with the net.
    pub wide: Vec<Axis>,
    pub start: Option<Start>,
    pub span: Span,
}

/// A distribution that is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dist {
    Constant(f64),
    Normal { mean: f64, std: f64 },
    Uniform { low: f64, high: f64 },
}

impl Dist {
    pub fn draw(&self, random: &mut Philox) -> f64 {
        match self {
            Dist::Constant(x) => *x,
            Dist::Normal { mean, std } => mean + std * random.normal(),
            Dist::Uniform { low, high } => low + (high - low) * random.uniform(),
        }
    }
}

/// What the entries of a weight are before training: draws that are keyed by (seed, place of the weight in the net, entry).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    pub dist: Dist,
    /// The seed of these draws, if not the run's.
    pub seed: Option<u64>,
}

impl From<Dist> for Start {
    fn from(dist: Dist) -> Start {
        Start { dist, seed: None }
    }
}

/// The type of an item's field, as far as traced code needs it.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldType {
    Float,
    Int,
    Bool,
    Text,
    Prompt,
    /// A reply or a chat: tokens that carry a loss.
    Reply,
    Record(ItemType),
    /// `T each sample`: as many as the row has, on an axis of this name.
    Each(String, Box<FieldType>),
    /// A list of numbers, or lists of these, of one shape in all rows.
    Numbers {
        shape: Vec<usize>,
        dtype: DType,
    },
    /// Anything that tensor code cannot read; what it is called.
    Other(String),
}

/// Fields of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemType {
    pub name: Option<String>,
    pub fields: Vec<(String, FieldType)>,
}

/// A row in a traced function.
#[derive(Debug)]
pub struct Item {
    pub ty: ItemType,
    /// The path of its fields: empty for the row itself, `task.` for a record in it.
    pub prefix: String,
}

/// A prompt or a reply of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// The path of the field: inputs are `<path>.stream`, `<path>.tokens`, `<path>.places`.
    pub path: Rc<str>,
    pub is_prompt: bool,
    /// The axis of a field `each sample`: a stream for each of its indices.
    pub each: Option<Axis>,
}

/// Settings that were given to a declaration with a contract.
#[derive(Debug)]
pub struct Applied {
    pub code: Rc<DefCode>,
    pub positional: Vec<Value>,
    pub named: Vec<(Rc<str>, Value)>,
    /// Where it was applied.
    pub span: Span,
}

/// The word of a kind of declaration, as it is written.
pub trait KindWord {
    fn word(&self) -> &'static str;
}

impl Value {
    pub fn text(text: impl AsRef<str>) -> Value {
        Value::Text(text.as_ref().into())
    }

    pub fn list(values: Vec<Value>) -> Value {
        Value::List(Rc::new(values))
    }

    pub fn function(function: Function) -> Value {
        Value::Function(Rc::new(function))
    }

    pub fn builtin(name: &'static str) -> Value {
        Value::function(Function::Builtin(name))
    }

    pub fn axis(axis: &Axis) -> Value {
        Value::Axes([axis.clone()].into())
    }

    /// The number of an Int, Float or Bool.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            Value::Foreign(foreign) => super::rational::float(foreign),
            _ => None,
        }
    }

    /// An Int, or a Float that is whole: lengths, counts and places are given by either.
    pub fn whole(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            Value::Float(x) if x.fract() == 0.0 && x.abs() < 9e15 => Some(*x as i64),
            _ => None,
        }
    }

    /// The dtype of a number.
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Value::Int(_) => Some(DType::Int),
            Value::Float(_) => Some(DType::Float),
            Value::Bool(_) => Some(DType::Bool),
            _ => None,
        }
    }

    /// The characters of a Text or a template.
    pub fn as_text(&self) -> Option<Rc<str>> {
        match self {
            Value::Text(text) => Some(text.clone()),
            Value::Pieces(pieces) => Some(pieces.to_string().into()),
            _ => None,
        }
    }

    /// What it is, in a user's words.
    pub fn kind(&self) -> String {
        match self {
            Value::Unit => "()".into(),
            Value::Int(_) => "an Int".into(),
            Value::Float(_) => "a Float".into(),
            Value::Bool(_) => "a Bool".into(),
            Value::Text(_) | Value::Pieces(_) => "a Text".into(),
            Value::Tuple(_) => "a tuple".into(),
            Value::Record(r) => r.name.as_ref().map_or("a record".into(), |n| format!("a {n}")),
            Value::List(_) => "a List".into(),
            Value::Map(_) => "a Map".into(),
            Value::None | Value::Some(_) => "an Option".into(),
            Value::Range(..) | Value::Interval(..) => "a range".into(),
            Value::Quantity(_, unit) => format!("a number of {unit}"),
            Value::Function(_) => "a function".into(),
            Value::Axes(_) => "an axis".into(),
            Value::Tensor(_) => "a Tensor".into(),
            Value::Net(_) => "a net".into(),
            Value::Stub(_) => "a Policy".into(),
            Value::Prompt(_) => "a Prompt".into(),
            Value::Reply(_) => "a Reply".into(),
            Value::Chat(_) => "a Chat".into(),
            Value::Item(item) => format!("a {}", item.ty.name.as_deref().unwrap_or("record")),
            Value::Stream(s) => if s.is_prompt { "a Prompt" } else { "a Reply" }.into(),
            Value::Dist(_) => "a distribution".into(),
            Value::Applied(applied) if applied.code.def.kind == DefKind::Net => "a patch".into(),
            Value::Applied(applied) => format!("a {}", applied.code.def.kind.word()),
            Value::Sum(_) => "a sum of losses".into(),
            Value::Tokenizer(_) => "a tokenizer".into(),
            Value::Type(name, _) => format!("the type {name}"),
            Value::Foreign(foreign) => format!("a {}", foreign.kind()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(n) => write!(f, "{n}"),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Text(t) => write!(f, "{t:?}"),
            Value::Pieces(p) => write!(f, "{:?}", p.to_string()),
            Value::List(l) => write!(f, "{l:?}"),
            Value::Tuple(t) => write!(f, "{t:?}"),
            Value::Record(r) => write!(f, "{r:?}"),
            Value::Tensor(t) => write!(f, "{t:?}"),
            Value::Axes(a) => write!(f, "{a:?}"),
            other => write!(f, "<{}>", other.kind()),
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<function>")
    }
}
