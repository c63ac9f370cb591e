//! Code as a hash: its tree ([`tree`]), and all that the words in it name.
//!
//! What rows are worked out of is their identity where they are too many to be read first. The hash takes in too much
//! rather than too little: a field counts as a use of everything of that name that is in sight, too. Code whose meaning lies
//! outside of the program (it reads a file by itself) or in values that only a run gives has none.

use super::foreign::{Rows, cast};
use super::hash::{ContentHash, Hasher};
use super::remote::server_of;
use super::rows;
use super::words::READERS;
use crate::eval::Eval;
use crate::eval::env::Env;
use crate::eval::value::{DefCode, Function, Value};
use crate::program::ItemRef;
use align_syntax::ast::{Block, Expr, ItemKind, Pattern, Type};
use align_syntax::span::Span;
use std::collections::HashMap;
use tree::Tree;

mod tree;

/// Adds up code. `None` of its methods: it has no hash.
pub(super) struct Code<'e, 'p> {
    eval: &'e Eval<'p>,
    hasher: Hasher,
    /// Places that were taken in, each with the scope that it was read in (0: the top of its file), and their numbers.
    seen: HashMap<(Span, usize), u64>,
}

impl<'e, 'p> Code<'e, 'p> {
    /// The seed has a part in all of it: code may draw.
    pub fn new(eval: &'e Eval<'p>, kind: &str) -> Code<'e, 'p> {
        let mut hasher = Hasher::new(kind);
        hasher.int("seed", eval.seed);
        Code { eval, hasher, seen: HashMap::new() }
    }

    pub fn hasher(&mut self) -> &mut Hasher {
        &mut self.hasher
    }

    pub fn finish(mut self) -> ContentHash {
        self.hasher.finish()
    }

    /// The rounds of a loop whose body makes rows.
    pub fn generator(&mut self, overs: &[(Pattern, Expr)], body: &Block, env: &Env) -> Option<()> {
        let at = (body.span, env.address());
        self.once(at, |code| Tree::new(code, env).rounds(overs, body))
    }

    /// An expression in a scope.
    pub fn expr(&mut self, expr: &Expr, env: &Env) -> Option<()> {
        let at = (expr.span, env.address());
        self.once(at, |code| Tree::new(code, env).alone(expr))
    }

    /// A type of records, with what these are.
    pub fn record(&mut self, ty: &Type, env: &Env) -> Option<()> {
        let at = (ty.span, env.address());
        self.once(at, |code| Tree::new(code, env).ty(ty))
    }

    /// Takes in what stands at a place; where it was before, its number among the places alone.
    fn once(&mut self, at: (Span, usize), add: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let next = self.seen.len() as u64;
        if let Some(known) = self.seen.get(&at) {
            self.hasher.int("again", *known);
            return Some(());
        }
        self.seen.insert(at, next);
        add(self)
    }

    /// What a word or the name of a type means at the top of its file.
    pub(super) fn item(&mut self, at: ItemRef) -> Option<()> {
        let (program, top) = (self.eval.program, self.eval.top(at.file));
        let item = program.item(at);
        if let ItemKind::Param { name, .. } = &item.kind
            && let Some(set) = self.eval.settings.get(&name.text)
        {
            self.hasher.text("param", "set");
            return self.value(&set.clone());
        }
        self.once((item.span, 0), |code| Tree::new(code, &top).item(&item.kind))
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
            Value::Sum(terms) => {
                self.hasher.int("sum", terms.len() as u64);
                for (by, term) in terms.iter() {
                    self.hasher.float("by", *by);
                    self.value(term)?;
                }
            }
            Value::Net(net) => {
                let identity = self.eval.hooks.as_ref()?.identity(net)?;
                self.hasher.hash("net", &identity).text("part", &net.prefix);
            }
            Value::Foreign(_) if server_of(value).is_some() => {
                self.hasher.text("kind", "remote policy");
                server_of(value)?.hash(&mut self.hasher);
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
                let at = (code.body.span, env.address());
                self.once(at, |all| Tree::new(all, env).lambda(&code.params, &code.body))
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
        let (env, scope) = match &def.env {
            Some(env) => (env.clone(), env.address()),
            None => (self.eval.top(def.file), 0),
        };
        self.once((def.def.kind_span, scope), |code| Tree::new(code, &env).def(&def.def))
    }
}
