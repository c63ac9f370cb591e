//! Declarations.

use super::{Builder, Pair, inner, maybe, next};
use crate::ast::{Body, Clause, Def, DefKind, Expr, ExprKind, InfixOp, Item, ItemKind};
use crate::diag::Diagnostic;
use crate::parse::Rule;

const KINDS: [(&str, DefKind); 12] = [
    ("fn", DefKind::Fn),
    ("loss", DefKind::Loss),
    ("reward", DefKind::Reward),
    ("optimizer", DefKind::Optimizer),
    ("schedule", DefKind::Schedule),
    ("sampler", DefKind::Sampler),
    ("env", DefKind::Env),
    ("net", DefKind::Net),
    ("policy", DefKind::Policy),
    ("data", DefKind::Data),
    ("pipeline", DefKind::Pipeline),
    ("study", DefKind::Study),
];

impl Builder<'_> {
    pub fn file(&mut self, pair: Pair) -> Vec<Item> {
        pair.into_inner().filter(|p| p.as_rule() == Rule::item).map(|p| self.item(p)).collect()
    }

    pub fn item(&mut self, pair: Pair) -> Item {
        let mut parts = inner(pair);
        let docs = self.docs(next(&mut parts));
        let what = next(&mut parts);
        let span = self.span(&what);
        let kind = match what.as_rule() {
            Rule::import => self.import(what),
            Rule::edition => self.edition(what),
            Rule::param => self.param(what),
            Rule::record => self.record(what),
            Rule::test => self.test(what),
            Rule::def => ItemKind::Def(self.def(what)),
            _ => ItemKind::Bind(self.bind(what)),
        };
        Item { docs, span, kind }
    }

    fn import(&mut self, pair: Pair) -> ItemKind {
        let mut parts = inner(pair);
        next(&mut parts);
        let path = self.words(&next(&mut parts));
        let names = parts.map(|imported| self.name(&next(&mut inner(imported)))).collect();
        ItemKind::Import { path, names }
    }

    fn edition(&mut self, pair: Pair) -> ItemKind {
        let int = inner(pair).nth(1).expect("an edition has its year");
        ItemKind::Edition(self.int(&int))
    }

    fn param(&mut self, pair: Pair) -> ItemKind {
        let mut parts = inner(pair);
        next(&mut parts);
        let name = self.name(&next(&mut parts));
        let ty = maybe(&mut parts, Rule::ty).map(|t| self.ty(t));
        let value = self.expr(next(&mut parts));
        let (value, range) = split_range(value);
        ItemKind::Param { name, ty, value, range }
    }

    fn record(&mut self, pair: Pair) -> ItemKind {
        let mut parts = inner(pair);
        next(&mut parts);
        let name = self.name(&next(&mut parts));
        let generics = maybe(&mut parts, Rule::generics).map_or_else(Vec::new, |g| self.generics(g));
        let fields = self.shape(next(&mut parts));
        ItemKind::Record { name, generics, fields }
    }

    fn test(&mut self, pair: Pair) -> ItemKind {
        let mut parts = inner(pair);
        next(&mut parts);
        let name = self.string(&next(&mut parts));
        let vectors = maybe(&mut parts, Rule::VECTORS).map(|_| {
            let file = self.string(&next(&mut parts));
            maybe(&mut parts, Rule::AS);
            (file, self.name(&next(&mut parts)))
        });
        let body = self.block(next(&mut parts));
        ItemKind::Test { name, vectors, body }
    }

    pub fn def(&mut self, pair: Pair) -> Def {
        let mut parts = inner(pair);
        let word = next(&mut parts);
        let kind_span = self.span(&word);
        let kind = KINDS.iter().find(|(w, _)| *w == word.as_str()).expect("the rule `kind` lists these words").1;
        let name = maybe(&mut parts, Rule::word).map(|w| self.name(&w));
        if name.is_none() && kind != DefKind::Pipeline {
            let error = Diagnostic::error("E0029", kind_span, format!("this `{}` has no name", word.as_str()));
            self.diagnostics.push(error.help(format!("Write `{} some_name ..`.", word.as_str())));
        }
        let generics = maybe(&mut parts, Rule::generics).map_or_else(Vec::new, |g| self.generics(g));
        let mut params = Vec::new();
        while let Some(list) = maybe(&mut parts, Rule::params) {
            params.push(self.params(list));
        }
        let result = maybe(&mut parts, Rule::result).map(|r| self.ty(next(&mut inner(r))));
        let mut clauses = Vec::new();
        while let Some(clause) = maybe(&mut parts, Rule::clause) {
            clauses.push(self.clause(clause));
        }
        let body = self.body(next(&mut parts));
        Def { kind, kind_span, name, generics, params, result, clauses, body }
    }

    fn clause(&mut self, pair: Pair) -> Clause {
        let mut parts = inner(pair);
        match next(&mut parts).as_rule() {
            Rule::PER => Clause::Per(self.name(&next(&mut parts))),
            _ => Clause::Over(parts.map(|w| self.name(&w)).collect()),
        }
    }

    pub fn body(&mut self, pair: Pair) -> Body {
        let what = next(&mut inner(pair));
        match what.as_rule() {
            Rule::block => Body::Block(self.block(what)),
            _ => Body::Expr(self.expr(what)),
        }
    }
}

/// `value in range` to its parts.
fn split_range(value: Expr) -> (Expr, Option<Expr>) {
    match *value.kind {
        ExprKind::Infix { op: InfixOp::In, left, right, .. } => (left, Some(right)),
        kind => (Expr { kind: Box::new(kind), ..value }, None),
    }
}
