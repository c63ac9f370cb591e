//! Statements, bindings, and the slots of `train`.

use super::{Builder, Pair, inner, maybe, next};
use crate::ast::{
    Bind, BindTarget, BindValue, BindWord, Binder, Block, ExprKind, Method, Name, Pattern, SlotKind, SlotLine, Slots,
    Stmt, StmtKind,
};
use crate::parse::Rule;

const WORDS: [(&str, BindWord); 7] = [
    ("let", BindWord::Let),
    ("var", BindWord::Var),
    ("state", BindWord::State),
    ("track", BindWord::Track),
    ("weight", BindWord::Weight),
    ("part", BindWord::Part),
    ("axis", BindWord::Axis),
];

impl Builder<'_> {
    pub fn block(&mut self, pair: Pair) -> Block {
        let span = self.span(&pair);
        Block { span, stmts: inner(pair).map(|s| self.stmt(s)).collect() }
    }

    pub fn stmt(&mut self, pair: Pair) -> Stmt {
        let mut parts = inner(pair);
        let docs = self.docs(next(&mut parts));
        let what = next(&mut parts);
        let span = self.span(&what);
        let kind = match what.as_rule() {
            Rule::bind => StmtKind::Bind(self.bind(what)),
            Rule::assign => self.assign(what),
            Rule::method => StmtKind::Method(self.method(what)),
            Rule::command => {
                let mut parts = inner(what);
                let word = self.name(&next(&mut parts));
                StmtKind::Command { word, args: self.arguments(next(&mut parts)) }
            }
            Rule::def => StmtKind::Def(self.def(what)),
            _ => StmtKind::Expr(self.expr(what)),
        };
        Stmt { docs, span, kind }
    }

    fn assign(&mut self, pair: Pair) -> StmtKind {
        let mut parts = inner(pair);
        let word = next(&mut parts);
        let span = self.span(&word);
        let mut target = self.expr_of(ExprKind::Word(word.as_str().to_string()), span);
        while let Some(part) = parts.next_if(|p| p.as_rule() != Rule::expr) {
            target = self.postfix(target, part);
        }
        StmtKind::Assign { target, value: self.expr(next(&mut parts)) }
    }

    fn method(&mut self, pair: Pair) -> Method {
        let mut parts = inner(pair);
        let name = self.name(&next(&mut parts));
        let mut params = Vec::new();
        while let Some(list) = maybe(&mut parts, Rule::params) {
            params.push(self.params(list));
        }
        let result = maybe(&mut parts, Rule::result).map(|r| self.ty(next(&mut inner(r))));
        Method { name, params, result, body: self.body(next(&mut parts)) }
    }

    pub fn bind(&mut self, pair: Pair) -> Bind {
        let mut parts = inner(pair);
        let first = next(&mut parts);
        let word = WORDS.iter().find(|(w, _)| *w == first.as_str()).expect("the rule `bind_word` lists these words").1;
        Bind { word, word_span: self.span(&first), binders: parts.map(|b| self.binder(b)).collect() }
    }

    fn binder(&mut self, pair: Pair) -> Binder {
        let mut parts = inner(pair);
        let first = next(&mut parts);
        let target = match first.as_rule() {
            Rule::path => {
                let mut words = self.words(&first);
                match words.len() {
                    1 => BindTarget::Pattern(Pattern::Name(words.remove(0))),
                    _ => BindTarget::Path(words),
                }
            }
            _ => BindTarget::Pattern(self.pattern(first)),
        };
        let ty = maybe(&mut parts, Rule::ty).map(|t| self.ty(t));
        let value = parts.next().map(|value| {
            let drawn = value.as_rule() == Rule::drawn;
            let expr = if drawn { next(&mut inner(value)) } else { value };
            let expr = self.expr(expr);
            if drawn { BindValue::Drawn(expr) } else { BindValue::Is(expr) }
        });
        Binder { target, ty, value }
    }

    /// The words of a path such as `std.data`, each with its place.
    pub fn words(&self, pair: &Pair) -> Vec<Name> {
        let mut start = pair.as_span().start();
        let mut words = Vec::new();
        for word in pair.as_str().split('.') {
            words.push(Name { text: word.to_string(), span: self.at(start, start + word.len()) });
            start += word.len() + 1;
        }
        words
    }

    pub fn slots(&mut self, pair: Pair) -> Slots {
        let span = self.span(&pair);
        Slots { span, lines: inner(pair).map(|l| self.slot_line(l)).collect() }
    }

    pub fn slot_line(&mut self, pair: Pair) -> SlotLine {
        let mut parts = inner(pair);
        let docs = self.docs(next(&mut parts));
        let what = next(&mut parts);
        let span = self.span(&what);
        let kind = match what.as_rule() {
            Rule::bind => SlotKind::Bind(self.bind(what)),
            Rule::clock => self.clock(what),
            _ => {
                let mut parts = inner(what);
                let word = self.name(&next(&mut parts));
                let args = maybe(&mut parts, Rule::arguments).map(|a| self.arguments(a)).unwrap_or_default();
                SlotKind::Slot { word, args, slots: parts.next().map(|s| self.slots(s)) }
            }
        };
        SlotLine { docs, span, kind }
    }

    fn clock(&mut self, pair: Pair) -> SlotKind {
        let mut parts = inner(pair);
        next(&mut parts);
        let count = next(&mut parts);
        let span = self.span(&count);
        let kind = match count.as_rule() {
            Rule::int => ExprKind::Int(self.int(&count)),
            Rule::word => ExprKind::Word(count.as_str().to_string()),
            _ => ExprKind::Int(1),
        };
        let count = self.expr_of(kind, span);
        maybe(&mut parts, Rule::STEPS);
        SlotKind::Each { count, body: self.block(next(&mut parts)) }
    }
}
