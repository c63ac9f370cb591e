//! Types of the compiler's own functions: a row for each name.

use crate::eval;
use crate::stage::{build, words};

/// What a function gives, from what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Elementwise: the element, with the axes of all arguments by the rule of operators.
    Elementwise(Elem),
    /// Without the axes in brackets; with `min` and `max` of two arguments and no brackets elementwise.
    Reduce(Elem),
    /// With the axes of the operand, along the axes in brackets.
    Along(Elem),
    /// `argsort[a]`, `topk[a]`: Int with the operand's axes; the axis gets the size `k`, if there is one.
    Ranks,
    /// `argmax[a]`: Int without the axis.
    RankOf,
    Index,
    Size,
    Tile,
    Rename,
    Concat,
    Stack,
    Flatten,
    Place,
    /// A tensor whose axes are those in brackets.
    Filled(Elem),
    Scan,
    Vmap,
    Grad,
    /// `all[batch](x)`: the operand, with the axis.
    AllItems,
    Logp,
    Logits,
    Next,
    Hidden,
    Read,
    Value,
    Score,
    Generate,
    Sample,
    Map,
    FlatMap,
    /// A stream or list of the same items as the first argument.
    SameItems,
    SplitData,
    Length,
    OrElse,
    Indexed,
    Some,
    Rows,
    /// Any arguments, nothing known.
    Free,
    Matrix,
    /// Always this.
    Always(Simple),
    /// Type of the first argument.
    First,
    Unknown,
}

/// The element of an elementwise result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elem {
    Float,
    Int,
    Bool,
    /// Int if all arguments are, else Float.
    Number,
    /// What the arguments have in common, as for the branches of `where`.
    Same,
}

/// A type without parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simple {
    Int,
    Bool,
    Text,
    Unit,
    Policy,
    Weights,
    Patch,
    Reply,
    Range,
    Tokens,
    Dist,
    Texts,
    Numbers,
    MaybeInt,
    MaybeFloat,
    Remote,
}

/// A builtin: its name, its parameters as `name:Type`, with `?` after the name if it may be left out and `*` after the
/// type if it takes any number of arguments, and what it gives.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    pub params: &'static str,
    pub rule: Rule,
}

/// A parameter of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltinParam {
    pub name: &'static str,
    pub ty: &'static str,
    pub optional: bool,
    pub many: bool,
}

impl Row {
    pub fn params(&self) -> impl Iterator<Item = BuiltinParam> {
        self.params.split_whitespace().map(|word| {
            let (name, ty) = word.split_once(':').unwrap_or((word, "Any"));
            let (ty, many) = ty.strip_suffix('*').map_or((ty, false), |ty| (ty, true));
            let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
            BuiltinParam { name, ty, optional, many }
        })
    }
}

/// The row of a name.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name)
}

/// Whether something computes it: the evaluator, or the pipeline.
pub fn ready(name: &str) -> bool {
    eval::primitives().chain(build::PRIMITIVES).any(|known| known == name) || words::find(name).is_some()
}

/// All names, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

const fn row(name: &'static str, params: &'static str, rule: Rule) -> Row {
    Row { name, params, rule }
}

use Elem::{Number, Same};
use Rule::*;

const ROWS: &[Row] = &[
    // Numbers, at every index.
    row("abs", "x:Float", Elementwise(Number)),
    row("exp", "x:Float", Elementwise(Elem::Float)),
    row("log", "x:Float", Elementwise(Elem::Float)),
    row("sqrt", "x:Float", Elementwise(Elem::Float)),
    row("rsqrt", "x:Float", Elementwise(Elem::Float)),
    row("sin", "x:Float", Elementwise(Elem::Float)),
    row("cos", "x:Float", Elementwise(Elem::Float)),
    row("tanh", "x:Float", Elementwise(Elem::Float)),
    row("sigmoid", "x:Float", Elementwise(Elem::Float)),
    row("sign", "x:Float", Elementwise(Number)),
    row("floor", "x:Float", Elementwise(Elem::Int)),
    row("ceil", "x:Float", Elementwise(Elem::Int)),
    row("round", "x:Float", Elementwise(Elem::Int)),
    row("int", "x:Float", Elementwise(Elem::Int)),
    row("float", "x:Float", Elementwise(Elem::Float)),
    row("is_nan", "x:Float", Elementwise(Elem::Bool)),
    row("where", "c:Bool a:Any b:Any", Elementwise(Same)),
    row("stop", "x:Any", First),
    // Reductions.
    row("sum", "x:Any where?:Bool or?:Float", Reduce(Number)),
    row("min", "x:Any y?:Any* where?:Bool or?:Float", Reduce(Number)),
    row("max", "x:Any y?:Any* where?:Bool or?:Float", Reduce(Number)),
    row("prod", "x:Any where?:Bool or?:Float", Reduce(Number)),
    row("any", "x:Any where?:Bool or?:Bool", Reduce(Elem::Bool)),
    row("all", "x:Any where?:Bool or?:Bool", AllItems),
    row("mean", "x:Any where?:Bool or?:Float", Reduce(Elem::Float)),
    row("std", "x:Any where?:Bool or?:Float correction?:Int", Reduce(Elem::Float)),
    row("variance", "x:Any where?:Bool or?:Float correction?:Int", Reduce(Elem::Float)),
    row("logsumexp", "x:Any where?:Bool or?:Float", Reduce(Elem::Float)),
    // Along axes.
    row("softmax", "x:Any where?:Bool", Along(Elem::Float)),
    row("log_softmax", "x:Any where?:Bool", Along(Elem::Float)),
    row("cumsum", "x:Any reverse?:Bool", Along(Number)),
    row("reverse_cumsum", "x:Any", Along(Number)),
    row("argsort", "x:Float", Ranks),
    row("topk", "x:Float k:Int", Ranks),
    row("argmax", "x:Float", RankOf),
    row("argmin", "x:Float", RankOf),
    // Axes.
    row("place", "v:Any at:Int or?:Float", Place),
    row("put", "x:Any i:Int v:Any", First),
    row("rename", "x:Any", Rename),
    row("tile", "x:Any", Tile),
    row("concat", "xs:Any*", Concat),
    row("stack", "xs:Any*", Stack),
    row("flatten", "x:Any to?:Any", Flatten),
    row("index", "like?:Any", Index),
    row("size", "like?:Any", Size),
    row("dims", "w:Any", Always(Simple::Int)),
    row("here", "", Always(Simple::Int)),
    row("tensor", "list:Any", Filled(Elem::Float)),
    row("zeros", "like?:Any", Filled(Elem::Float)),
    row("ones", "like?:Any", Filled(Elem::Float)),
    row("full", "value:Float", Filled(Elem::Float)),
    row("eye", "", Filled(Elem::Float)),
    row("linspace", "from:Float to:Float n?:Int", Filled(Elem::Float)),
    row("uniform", "lo?:Float hi?:Float like?:Any seed?:Any", Filled(Elem::Float)),
    row("normal", "m?:Float s?:Float like?:Any seed?:Any", Filled(Elem::Float)),
    row("scan", "xs?:Any f:Fn from?:Any reverse?:Bool first?:Bool", Scan),
    // Functions of functions.
    row("vmap", "f:Fn", Vmap),
    row("grad", "f:Fn by?:Any", Grad),
    row("fresh", "f:Any", First),
    row("jvp", "f:Fn", Unknown),
    // Linear algebra.
    row("solve", "m:Float y:Float", Unknown),
    row("eigh", "m:Float", Unknown),
    row("qr", "m:Float", Unknown),
    row("svd", "m:Float", Unknown),
    row("cholesky", "m:Float", First),
    // Nets.
    row("logp", "policy:Net reply:Any after?:Any", Logp),
    row("logits", "policy:Net reply:Any after?:Any", Logits),
    row("entropy", "policy:Any reply?:Any", Logp),
    row("kl", "policy:Net reference:Net reply:Any", Logp),
    row("next", "policy:Net context:Any", Next),
    row("allowed", "grammar:Any context:Any", Rule::Unknown),
    row("json_schema", "schema:Any", Rule::Unknown),
    row("matching", "pattern:Any", Rule::Unknown),
    row("read", "net:Net reply:Any path:Fn at?:Word", Read),
    row("hidden", "net:Net reply:Any layer?:Int at?:Word", Hidden),
    row("value", "critic:Net reply:Any", Value),
    row("score", "scorer:Any reply:Any reply_two?:Any fuel?:Any", Score),
    row("weights", "net:Net type?:Any", Always(Simple::Weights)),
    row("tokenizer", "letters:Text", Always(Simple::Patch)),
    row("matrix", "name:Text", Matrix),
    row("merged", "policy:Net", First),
    row("training", "", Always(Simple::Bool)),
    row("wide", "n:Int", Always(Simple::Int)),
    row("fan_in", "w:Any", Always(Simple::Int)),
    row("wide_in", "w:Any", Always(Simple::Bool)),
    row("wide_out", "w:Any", Always(Simple::Bool)),
    // Text and tokens.
    row("reply", "prompt?:Any text?:Any tokens?:Any", Always(Simple::Reply)),
    row("empty_reply", "prompt:Any", Always(Simple::Reply)),
    row("tokens", "text:Any", Always(Simple::Tokens)),
    row("positions", "reply:Any", Rule::Unknown),
    row("sampled", "reply:Any", Rule::Unknown),
    row(
        "generate",
        "policy:Any prompt:Any n?:Int begin?:Any sampler?:Any temperature?:Float max_tokens?:Int stop?:Any input?:Any seed?:Any",
        Generate,
    ),
    row("decode", "of:Any tokens:Any", Free),
    row("find", "text:Any part:Text", Always(Simple::MaybeInt)),
    row("number", "text:Text", Always(Simple::MaybeFloat)),
    row("rational", "text:Any", Always(Simple::MaybeFloat)),
    row("numbers", "text:Any", Always(Simple::Numbers)),
    row("chars", "text:Text", Always(Simple::Texts)),
    row("lower", "text:Any", Always(Simple::Text)),
    row("upper", "text:Any", Always(Simple::Text)),
    row("trim", "text:Any", Always(Simple::Text)),
    row("starts_with", "text:Any part:Text", Always(Simple::Bool)),
    row("ends_with", "text:Any part:Text", Always(Simple::Bool)),
    row("replace", "text:Any part:Text by:Text", Always(Simple::Text)),
    row("between", "text:Any from:Text to?:Text", Rule::Unknown),
    row("has", "text:Any pattern:Text", Always(Simple::Bool)),
    row("match", "text:Any pattern:Text", Rule::Unknown),
    row("matches", "text:Any pattern:Text", Rule::Unknown),
    row("count", "of:Any what?:Any", Always(Simple::Int)),
    row("contains", "text:Any part:Any", Always(Simple::Bool)),
    row("join", "texts:Any between?:Text", Always(Simple::Text)),
    row("json", "text:Text", Rule::Unknown),
    // Files and the outside.
    row(
        "http",
        "url:Text model?:Text key?:Any parallel?:Int timeout?:Float retries?:Int backoff?:Float longest?:Int budget?:Any",
        Always(Simple::Remote),
    ),
    row("env", "name:Text", Always(Simple::Text)),
    row("load", "path:Text", Always(Simple::Policy)),
    row("adapter", "path:Text", Always(Simple::Patch)),
    row("jsonl", "path:Any", Rows),
    row("csv", "path:Any separator?:Text", Rows),
    row("parquet", "path:Any", Rows),
    row("lines", "path:Any", Rule::Unknown),
    row("drawn", "of:Any", Free),
    row("example", "of:Any", Free),
    row("stub", "", Free),
    row("agrees", "v:Any loss?:Any", Always(Simple::Unit)),
    // Streams and lists.
    row("map", "xs:Any f:Fn", Map),
    row("flat_map", "xs:Any f:Fn", FlatMap),
    row("filter", "xs:Any f:Fn", SameItems),
    row("filter_map", "xs:Any f:Fn", FlatMap),
    row("zip", "xs:Any ys:Any", Free),
    row("range", "from:Int to?:Int by?:Int", Always(Simple::Range)),
    row("sort_by", "xs:Any key:Fn", SameItems),
    row("length", "xs:Any", Length),
    row("every", "xs:Any f:Fn", Always(Simple::Bool)),
    row("distinct", "xs:Any", First),
    row("first", "xs:Any n?:Int", Rule::Unknown),
    row("last", "xs:Any n?:Int", Rule::Unknown),
    row("indexed", "xs:Any", Indexed),
    row("opening", "xs:Any ys:Any", First),
    row("take", "xs:Any n:Int", SameItems),
    row("collect", "xs:Any", Rule::Unknown),
    row("shuffle", "xs:Any seed?:Any", SameItems),
    row("draw", "xs:Any n?:Int weight?:Any seed?:Any", Rule::Unknown),
    row("split", "xs:Any", SplitData),
    row(
        "sample",
        "from:Any policy?:Any n?:Int prompt?:Any sampler?:Any begin?:Any env?:Any turns?:Int max_tokens?:Any temperature?:Float stop?:Any input?:Any seed?:Any",
        Sample,
    ),
    // Values that may be absent.
    row("some", "value:Any", Rule::Some),
    row("and_then", "value:Any f:Fn", Rule::Unknown),
    row("or_else", "value:Any otherwise:Any", OrElse),
    // Records of a run.
    row("history", "policy:Any", Rule::Unknown),
    row("run", "policy:Any", Rule::Unknown),
    row("runs", "policy:Any", Rule::Unknown),
    row("measure", "f:Fn", Rule::Unknown),
    row("traced", "f:Fn", Rule::Unknown),
    row("compile", "text:Text fuel?:Int", Rule::Unknown),
    row("spent", "of:Any", Rule::Unknown),
    row("categorical", "logits:Float", Always(Simple::Dist)),
];

/// Words that are values of the language, with no arguments.
pub const CONSTANTS: &[&str] = &["inf", "none", "bytes", "empty", "nan"];
