//! The tree of a `.align` file. Every node has its span; every expression an id that later passes hang types on.

use crate::span::Span;

/// A word with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

/// Identifies an expression within its file, counted from 0 in the order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExprId(pub u32);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    pub items: Vec<Item>,
    /// `//!` lines at the head of the file, without the mark.
    pub about: Vec<String>,
}

/// `///` lines before a declaration, statement, field, parameter or slot, without the mark.
pub type Docs = Vec<String>;

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub docs: Docs,
    pub span: Span,
    pub kind: ItemKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `use std.data { Pair, split }`
    Import {
        path: Vec<Name>,
        names: Vec<Name>,
    },
    /// `edition 2026`
    Edition(i64),
    /// `param beta: Float = 0.1 in 0..1`; the range is the right side of a top-level `in`.
    Param {
        name: Name,
        ty: Option<Type>,
        value: Expr,
        range: Option<Expr>,
    },
    Record {
        name: Name,
        generics: Vec<Generic>,
        fields: Vec<Field>,
    },
    /// `test "dpo vectors" vectors "dpo" as v { .. }`
    Test {
        name: String,
        vectors: Option<(String, Name)>,
        body: Block,
    },
    Def(Def),
    Bind(Bind),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub docs: Docs,
    pub name: Name,
    pub ty: Type,
    pub default: Option<Expr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefKind {
    Fn,
    Loss,
    Reward,
    Optimizer,
    Schedule,
    Sampler,
    Env,
    Net,
    Policy,
    Data,
    Pipeline,
    Study,
}

/// A declaration with a kind: `loss sft(policy: Policy, reply: Reply) per token = ..`.
#[derive(Clone, Debug, PartialEq)]
pub struct Def {
    pub kind: DefKind,
    pub kind_span: Span,
    /// `None` for `pipeline { }`.
    pub name: Option<Name>,
    pub generics: Vec<Generic>,
    /// Parameter lists: settings first, then (schedules, samplers) what each use gives.
    pub params: Vec<Vec<Param>>,
    pub result: Option<Type>,
    pub clauses: Vec<Clause>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Generic {
    /// `..as`: any number of axes.
    Pack(Name),
    Axis(Name),
    Type(Name),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    pub docs: Docs,
    pub pattern: Pattern,
    pub ty: Option<Type>,
    pub default: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Clause {
    /// `per token`
    Per(Name),
    /// `over rows, cols`
    Over(Vec<Name>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Expr(Expr),
    Block(Block),
}

// ---------------------------------------------------------------------------------------------- types

#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    pub span: Span,
    pub kind: TypeKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TypeKind {
    /// `Pair`, `List[Int]`, `Tensor[time, dim]`, `Reply[prompt]`, `countdown.Problem`; also a type variable in lower case.
    Named {
        name: Name,
        args: Vec<TypeArg>,
    },
    /// `[rows, cols]` alone: Float each of these.
    Axes(Vec<TypeArg>),
    /// `{ rate: Float, value: Float }`
    Shape(Vec<Field>),
    /// `()` is the empty tuple; one element is that element.
    Tuple(Vec<Type>),
    /// `T each axis`, `T each [a, b]`
    Each(Box<Type>, Vec<TypeArg>),
    Fn(Box<Type>, Box<Type>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum TypeArg {
    /// `..as`
    Pack(Name),
    /// `time: 16`
    Sized(Name, Expr),
    /// An axis (a lower-case name without arguments) or a type.
    Type(Type),
}

// ----------------------------------------------------------------------------------------- statements

#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub span: Span,
    pub stmts: Vec<Stmt>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    pub docs: Docs,
    pub span: Span,
    pub kind: StmtKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    Bind(Bind),
    /// `m = e`, `table[row: id] = e`, `a.b = e`; the target is a word with dots and indices.
    Assign {
        target: Expr,
        value: Expr,
    },
    /// `apply(x: Tensor[time]) -> T = ..` in a net, env or optimizer.
    Method(Method),
    /// `show a, b`, `save p, to: "x"`, `plot ..`, `assert ..`
    Command {
        word: Name,
        args: Args,
    },
    Def(Def),
    Expr(Expr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindWord {
    Let,
    Var,
    State,
    Track,
    Weight,
    Part,
    Axis,
}

/// `let (a, b) = f(x)`, `state m = 0, v = 0`, `weight q: [dim] ~ normal(0.02)`
#[derive(Clone, Debug, PartialEq)]
pub struct Bind {
    pub word: BindWord,
    pub word_span: Span,
    pub binders: Vec<Binder>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Binder {
    pub target: BindTarget,
    pub ty: Option<Type>,
    pub value: Option<BindValue>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BindTarget {
    Pattern(Pattern),
    /// `track rewards.margin = m`: two or more words.
    Path(Vec<Name>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum BindValue {
    /// `= e`
    Is(Expr),
    /// `~ d`: drawn from the distribution d.
    Drawn(Expr),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    pub name: Name,
    pub params: Vec<Vec<Param>>,
    pub result: Option<Type>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    Name(Name),
    Tuple(Vec<Pattern>, Span),
}

/// The braces of `train`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    pub span: Span,
    pub lines: Vec<SlotLine>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SlotLine {
    pub docs: Docs,
    pub span: Span,
    pub kind: SlotKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SlotKind {
    Bind(Bind),
    /// `each 50 steps { .. }`; `each step` has the count 1. The count is an Int literal or a variable.
    Each {
        count: Expr,
        body: Block,
    },
    /// `loss dpo(..)`, `update critic, every: 2 { .. }`
    Slot {
        word: Name,
        args: Args,
        slots: Option<Slots>,
    },
}

// ---------------------------------------------------------------------------------------- expressions

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub id: ExprId,
    pub span: Span,
    pub kind: Box<ExprKind>,
}

/// Positional arguments, then named ones. A lambda that is written last is a positional argument with `trailing` set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args {
    pub positional: Vec<Expr>,
    pub named: Vec<(Name, Expr)>,
    /// A lambda after named arguments.
    pub trailing: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Int(i64),
    Float(f64),
    /// A number with a unit: `32 examples`, `16_384 tokens`, `2 GiB`.
    Quantity(f64, Name),
    Bool(bool),
    /// Escapes are resolved.
    Text(String),
    Template(Vec<TemplatePart>),
    /// A variable, or a word whose meaning later passes decide (axis, slot value such as `given`).
    Word(String),
    /// `Pair`, `countdown.Problem`
    TypeName(String),
    /// `.answer`, `.1.reply`: the function that reads a field; one part, further ones are `Dot` on it.
    Accessor(Name),
    List(Vec<Expr>),
    /// `(a, reward: r)`; `()` is the empty tuple; `(a)` alone is `Paren`.
    Tuple(Args),
    /// Parentheses around one expression, kept for the formatter.
    Paren(Expr),
    /// `{ a: 1 }`; a key that is a text makes a Map.
    Fields(Vec<Entry>),
    /// `Pair { prompt: p }`
    Make {
        name: Name,
        fields: Vec<Entry>,
    },
    Block(Block),
    If {
        cond: Expr,
        then: Expr,
        otherwise: Option<Expr>,
    },
    For {
        overs: Vec<(Pattern, Expr)>,
        body: Block,
    },
    Iterate {
        over: IterateOver,
        from: Expr,
        pattern: Pattern,
        until: Option<Expr>,
        body: Block,
    },
    Until {
        cond: Expr,
        body: Block,
    },
    Train {
        what: Expr,
        pattern: Option<Pattern>,
        slots: Slots,
    },
    Lambda {
        params: Vec<Param>,
        body: Expr,
    },
    Prefix(PrefixOp, Expr),
    Infix {
        op: InfixOp,
        op_span: Span,
        left: Expr,
        right: Expr,
    },
    /// `1..`: open at the right.
    OpenRange(Expr),
    /// `x as Demo { prompt: .question }`
    Cast {
        value: Expr,
        ty: Type,
        fields: Option<Vec<Entry>>,
    },
    Dot(Expr, Name),
    Call(Expr, Args),
    Index(Expr, Args),
    /// `x?`
    Try(Expr),
    /// A place that could not be parsed; reported already, later passes are silent about it.
    Error,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TemplatePart {
    Text(String),
    Hole(Expr),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// A word, or a text (then `quoted`).
    pub key: Name,
    pub quoted: bool,
    pub value: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub enum IterateOver {
    Count(Expr),
    In(Pattern, Expr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixOp {
    Neg,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfixOp {
    /// `|>`
    Pipe,
    With,
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Range,
    Add,
    Sub,
    /// `++`
    Join,
    Mul,
    Div,
    Rem,
    Pow,
}
