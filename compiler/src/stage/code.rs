//! Code as a hash: its text, and all that the words in it name.
//!
//! What rows are worked out of is their identity where they are too many to be read first. The hash takes in too much
//! rather than too little: a word counts as a use of everything of that name that is in sight. Code whose meaning lies
//! outside of the program (it reads a file by itself) or in values that only a run gives has none.

use super::foreign::{Rows, cast};
use super::hash::{ContentHash, Hasher};
use super::rows;
use super::words::READERS;
use crate::eval::Eval;
use crate::eval::env::Env;
use crate::eval::value::{DefCode, Function, Value};
use crate::program::Along;
use align_syntax::ast::{Body, ItemKind, Pattern};
use align_syntax::span::Span;
use std::collections::HashSet;

/// Adds up code. `None` of its methods: it has no hash.
pub(super) struct Code<'e, 'p> {
    eval: &'e Eval<'p>,
    hasher: Hasher,
    /// Spans that were taken in, each with the scope that it was read in (0: the top of its file).
    seen: HashSet<(Span, usize)>,
}

impl<'e, 'p> Code<'e, 'p> {
    /// The seed has a part in all of it: code may draw.
    pub fn new(eval: &'e Eval<'p>, kind: &str) -> Code<'e, 'p> {
        let mut hasher = Hasher::new(kind);
        hasher.int("seed", eval.seed);
        Code { eval, hasher, seen: HashSet::new() }
    }

    pub fn hasher(&mut self) -> &mut Hasher {
        &mut self.hasher
    }

    pub fn finish(mut self) -> ContentHash {
        self.hasher.finish()
    }

    /// The text of a span, and what its words name where it stands.
    pub fn text(&mut self, span: Span, env: &Env) -> Option<()> {
        self.text_in(span, env, env.address())
    }

    fn text_in(&mut self, span: Span, env: &Env, scope: usize) -> Option<()> {
        if !self.seen.insert((span, scope)) {
            return Some(());
        }
        let program = self.eval.program;
        let text = program.sources.slice(span);
        self.hasher.text("code", text);
        let mut words = HashSet::new();
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if word.starts_with(|c: char| c.is_ascii_digit()) || !words.insert(word) {
                continue;
            }
            if READERS.contains(&word) {
                return None;
            }
            if let Some(value) = env.get(word) {
                self.hasher.text("is", word);
                self.value(&value)?;
            } else if let Some(at) = program.lookup(env.file(), word) {
                let item = program.item(at);
                if let ItemKind::Param { name, .. } = &item.kind
                    && let Some(set) = self.eval.settings.get(&name.text)
                {
                    self.hasher.text("set", word);
                    self.value(&set.clone())?;
                }
                self.text_in(item.span, &self.eval.top(at.file), 0)?;
                // The word may stand with axes.
                if let Along::Core(at) = program.along(env.file(), word) {
                    self.text_in(program.item(at).span, &self.eval.top(at.file), 0)?;
                }
            }
        }
        Some(())
    }

    /// A value that code has captured.
    pub fn value(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::Unit | Value::None | Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                self.hasher.text("kind", &value.kind());
                rows::hash(value, &mut self.hasher);
            }
            Value::Text(_) | Value::Pieces(_) | Value::Prompt(_) | Value::Reply(_) | Value::Chat(_) => {
                rows::hash(value, &mut self.hasher);
            }
            Value::Range(from, to) => {
                self.hasher.int("from", *from as u64).int("open", u64::from(to.is_none()));
                self.hasher.int("to", to.unwrap_or(0) as u64);
            }
            Value::Interval(from, to) => {
                self.hasher.float("from", *from).float("to", *to);
            }
            Value::Quantity(n, unit) => {
                self.hasher.float("number", *n).text("of", unit);
            }
            Value::Some(inner) => {
                self.hasher.text("kind", "some");
                self.value(inner)?;
            }
            Value::List(list) => {
                self.hasher.int("list", list.len() as u64);
                list.iter().try_for_each(|value| self.value(value).ok_or(())).ok()?;
            }
            Value::Map(pairs) => {
                self.hasher.int("map", pairs.len() as u64);
                for (key, value) in pairs.iter() {
                    self.value(key)?;
                    self.value(value)?;
                }
            }
            Value::Tuple(tuple) => {
                self.hasher.int("tuple", tuple.positional.len() as u64);
                tuple.positional.iter().try_for_each(|value| self.value(value).ok_or(())).ok()?;
                self.named(&tuple.named)?;
            }
            Value::Record(record) => self.named(&record.fields)?,
            Value::Tokenizer(tokenizer) => {
                self.hasher.text("tokenizer", &tokenizer.identity());
            }
            Value::Function(function) => self.function(function)?,
            Value::Applied(applied) => {
                self.def(&applied.code)?;
                applied.positional.iter().try_for_each(|value| self.value(value).ok_or(())).ok()?;
                self.named(&applied.named)?;
            }
            Value::Foreign(_) => {
                let identity = cast::<Rows>(value)?.data.identity(self.eval)?;
                self.hasher.hash("data", &identity);
            }
            _ => return None,
        }
        Some(())
    }

    fn named(&mut self, fields: &[(std::rc::Rc<str>, Value)]) -> Option<()> {
        self.hasher.int("named", fields.len() as u64);
        for (name, value) in fields {
            self.hasher.text("name", name);
            self.value(value)?;
        }
        Some(())
    }

    fn function(&mut self, function: &Function) -> Option<()> {
        match function {
            Function::Lambda { code, env } => {
                // The names of its parameters stand before its body.
                let start = code.params.first().map_or(code.body.span.start, |param| start(&param.pattern));
                self.text(Span { start, ..code.body.span }, env)
            }
            Function::Def { def, given } => {
                self.def(def)?;
                given.as_ref().map_or(Some(()), |given| self.named(&given.values))
            }
            Function::Accessor(name) => {
                self.hasher.text("accessor", name);
                Some(())
            }
            Function::Builtin(name) if !READERS.contains(name) => {
                self.hasher.text("primitive", name);
                Some(())
            }
            Function::Constant(value) => self.value(value),
            _ => None,
        }
    }

    fn def(&mut self, def: &DefCode) -> Option<()> {
        let end = match &def.def.body {
            Body::Expr(expr) => expr.span.end,
            Body::Block(block) => block.span.end,
        };
        let span = Span { end, ..def.def.kind_span };
        match &def.env {
            Some(env) => self.text(span, env),
            None => self.text_in(span, &self.eval.top(def.file), 0),
        }
    }
}

fn start(pattern: &Pattern) -> u32 {
    match pattern {
        Pattern::Name(name) => name.span.start,
        Pattern::Tuple(_, span) => span.start,
    }
}
