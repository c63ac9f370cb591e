//! Expressions: the flat rows of the grammar become trees by the strength of their operators.

use super::{Builder, Pair, inner, maybe, next};
use crate::ast::{Args, Entry, Expr, ExprKind, InfixOp, IterateOver, Param, Pattern, PrefixOp};
use crate::diag::Diagnostic;
use crate::parse::Rule;
use crate::span::Span;
use std::collections::VecDeque;

/// How strongly operators bind, loosest first.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Strength {
    Pipe,
    Or,
    And,
    Not,
    Compare,
    Range,
    Sum,
    Product,
    Neg,
    Power,
}

const OPS: [(&str, InfixOp, Strength); 19] = [
    ("|>", InfixOp::Pipe, Strength::Pipe),
    ("with", InfixOp::With, Strength::Pipe),
    ("or", InfixOp::Or, Strength::Or),
    ("and", InfixOp::And, Strength::And),
    ("==", InfixOp::Eq, Strength::Compare),
    ("!=", InfixOp::Ne, Strength::Compare),
    ("<", InfixOp::Lt, Strength::Compare),
    ("<=", InfixOp::Le, Strength::Compare),
    (">", InfixOp::Gt, Strength::Compare),
    (">=", InfixOp::Ge, Strength::Compare),
    ("in", InfixOp::In, Strength::Compare),
    ("..", InfixOp::Range, Strength::Range),
    ("+", InfixOp::Add, Strength::Sum),
    ("-", InfixOp::Sub, Strength::Sum),
    ("++", InfixOp::Join, Strength::Sum),
    ("*", InfixOp::Mul, Strength::Product),
    ("/", InfixOp::Div, Strength::Product),
    ("%", InfixOp::Rem, Strength::Product),
    ("^", InfixOp::Pow, Strength::Power),
];

impl Strength {
    /// What the right operand of a left-associative operator must exceed.
    fn tighter(self) -> Strength {
        match self {
            Strength::Pipe => Strength::Or,
            Strength::Or => Strength::And,
            Strength::And => Strength::Not,
            Strength::Not => Strength::Compare,
            Strength::Compare => Strength::Range,
            Strength::Range => Strength::Sum,
            Strength::Sum => Strength::Product,
            Strength::Product => Strength::Neg,
            Strength::Neg | Strength::Power => Strength::Power,
        }
    }
}

fn op_of(pair: &Pair) -> (InfixOp, Strength) {
    let text = pair.clone().into_inner().next().map_or("", |op| op.as_str());
    let row = OPS.iter().find(|(word, ..)| *word == text).expect("the rule `op` lists these operators");
    (row.1, row.2)
}

type Row<'a> = VecDeque<Pair<'a>>;

impl Builder<'_> {
    pub fn expr(&mut self, pair: Pair) -> Expr {
        let mut row: Row = pair.into_inner().collect();
        if row.front().is_some_and(|p| p.as_rule() == Rule::lambda) {
            return self.lambda(row.pop_front().expect("just seen"));
        }
        let expr = self.climb(&mut row, Strength::Pipe);
        debug_assert!(row.is_empty(), "every part of the row belongs to the tree");
        expr
    }

    /// The longest expression at the front of the row whose operators bind at least so strongly.
    fn climb(&mut self, row: &mut Row, least: Strength) -> Expr {
        let mut left = self.operand(row);
        while let Some(pair) = row.front() {
            match pair.as_rule() {
                Rule::infix => {
                    let (op, strength) = op_of(pair);
                    if strength < least {
                        break;
                    }
                    let pair = row.pop_front().expect("just seen");
                    left = self.infix(left, op, strength, &pair, row);
                }
                Rule::cast if least <= Strength::Pipe => {
                    let pair = row.pop_front().expect("just seen");
                    left = self.cast(left, pair);
                }
                Rule::open if least <= Strength::Range => {
                    let span = left.span.to(self.span(pair));
                    row.pop_front();
                    left = self.expr_of(ExprKind::OpenRange(left), span);
                }
                _ => break,
            }
        }
        left
    }

    fn infix(&mut self, left: Expr, op: InfixOp, strength: Strength, pair: &Pair, row: &mut Row) -> Expr {
        let op_span = self.span(&pair.clone().into_inner().next().expect("an infix has its operator"));
        let right = match strength {
            Strength::Power => self.climb(row, Strength::Power),
            _ => self.climb(row, strength.tighter()),
        };
        self.check_operands(&left, op, op_span, strength, &right);
        let span = left.span.to(right.span);
        self.expr_of(ExprKind::Infix { op, op_span, left, right }, span)
    }

    /// A term with its prefixes.
    fn operand(&mut self, row: &mut Row) -> Expr {
        let pair = row.pop_front().expect("an operator has operands");
        if pair.as_rule() != Rule::prefix {
            return self.term(pair);
        }
        let span = self.span(&pair);
        let (op, least) =
            if pair.as_str() == "-" { (PrefixOp::Neg, Strength::Power) } else { (PrefixOp::Not, Strength::Compare) };
        let value = self.climb(row, least);
        let span = span.to(value.span);
        self.expr_of(ExprKind::Prefix(op, value), span)
    }

    fn check_operands(&mut self, left: &Expr, op: InfixOp, op_span: Span, strength: Strength, right: &Expr) {
        let chained = |e: &Expr| matches!(&*e.kind, ExprKind::Infix { op, .. } if strength_of(*op) == strength);
        if strength == Strength::Compare && chained(left) {
            let error = Diagnostic::error("E0018", op_span, "comparisons do not chain")
                .label(left.span, "this is true or false");
            self.diagnostics.push(error.help("Write `a < b and b < c`."));
        }
        if strength == Strength::Range && (chained(left) || matches!(*left.kind, ExprKind::OpenRange(_))) {
            let error =
                Diagnostic::error("E0018", op_span, "a range has two ends").label(left.span, "this is a range already");
            self.diagnostics.push(error);
        }
        if op == InfixOp::Pipe {
            for side in [left, right] {
                if let Some(compared) = comparison_in(side) {
                    let error = Diagnostic::error("E0017", compared, "a comparison beside `|>` needs parentheses");
                    let help = "`|>` binds loosest of all. Put the comparison, or the pipe, in parentheses: `(xs |> f()) > 0`.";
                    self.diagnostics.push(error.label(op_span, "this takes all of both sides").help(help));
                }
            }
        }
    }

    fn cast(&mut self, value: Expr, pair: Pair) -> Expr {
        let span = value.span.to(self.span(&pair));
        let mut parts = inner(pair);
        next(&mut parts);
        let ty = self.named_type(&mut parts);
        let fields = parts.next().map(|f| self.fields(f));
        self.expr_of(ExprKind::Cast { value, ty, fields }, span)
    }

    pub fn lambda(&mut self, pair: Pair) -> Expr {
        let span = self.span(&pair);
        let mut parts = inner(pair);
        let head = next(&mut parts);
        let params = match head.as_rule() {
            Rule::params => self.params(head),
            _ => {
                let pattern = Pattern::Name(self.name(&head));
                vec![Param { docs: Vec::new(), pattern, ty: None, default: None }]
            }
        };
        let body = self.expr(next(&mut parts));
        self.expr_of(ExprKind::Lambda { params, body }, span)
    }

    fn term(&mut self, pair: Pair) -> Expr {
        let mut parts = inner(pair);
        let mut value = self.atom(next(&mut parts));
        for part in parts {
            value = self.postfix(value, part);
        }
        value
    }

    pub fn postfix(&mut self, value: Expr, pair: Pair) -> Expr {
        let span = value.span.to(self.span(&pair));
        let kind = match pair.as_rule() {
            Rule::dot => ExprKind::Dot(value, self.name(&next(&mut inner(pair)))),
            Rule::call => ExprKind::Call(value, self.bracketed(pair)),
            Rule::index => ExprKind::Index(value, self.bracketed(pair)),
            _ => ExprKind::Try(value),
        };
        self.expr_of(kind, span)
    }

    fn bracketed(&mut self, pair: Pair) -> Args {
        inner(pair).next().map(|a| self.arguments(a)).unwrap_or_default()
    }

    pub fn arguments(&mut self, pair: Pair) -> Args {
        let mut args = Args::default();
        for part in inner(pair) {
            match part.as_rule() {
                Rule::positional => args.positional.push(self.expr(next(&mut inner(part)))),
                Rule::named => {
                    let mut parts = inner(part);
                    let name = self.name(&next(&mut parts));
                    args.named.push((name, self.expr(next(&mut parts))));
                }
                _ => args.trailing = Some(self.lambda(part)),
            }
        }
        args
    }

    fn atom(&mut self, pair: Pair) -> Expr {
        let pair = next(&mut inner(pair));
        let span = self.span(&pair);
        let kind = match pair.as_rule() {
            Rule::number => self.number(pair),
            Rule::template => self.template(pair),
            Rule::string => ExprKind::Text(self.string(&pair)),
            Rule::TRUE => ExprKind::Bool(true),
            Rule::FALSE => ExprKind::Bool(false),
            Rule::choice => self.choice(pair),
            Rule::repeat => self.repeat(pair),
            Rule::iterate => self.iterate(pair),
            Rule::until => {
                let mut parts = inner(pair);
                next(&mut parts);
                ExprKind::Until { cond: self.expr(next(&mut parts)), body: self.block(next(&mut parts)) }
            }
            Rule::train => self.train(pair),
            Rule::make => {
                let mut parts = inner(pair);
                ExprKind::Make { name: self.name(&next(&mut parts)), fields: self.fields(next(&mut parts)) }
            }
            Rule::fields => ExprKind::Fields(self.fields(pair)),
            Rule::block => ExprKind::Block(self.block(pair)),
            Rule::list => ExprKind::List(inner(pair).map(|e| self.expr(e)).collect()),
            Rule::tuple => self.tuple(pair),
            Rule::accessor => ExprKind::Accessor(self.name(&next(&mut inner(pair)))),
            Rule::type_name => ExprKind::TypeName(pair.as_str().to_string()),
            Rule::broken => ExprKind::Error,
            _ => ExprKind::Word(pair.as_str().to_string()),
        };
        self.expr_of(kind, span)
    }

    fn tuple(&mut self, pair: Pair) -> ExprKind {
        let mut args = self.bracketed(pair);
        match args.positional.len() {
            1 if args.named.is_empty() && args.trailing.is_none() => ExprKind::Paren(args.positional.remove(0)),
            _ => ExprKind::Tuple(args),
        }
    }

    fn fields(&mut self, pair: Pair) -> Vec<Entry> {
        inner(pair)
            .map(|entry| {
                let mut parts = inner(entry);
                let key = next(&mut parts);
                let quoted = key.as_rule() == Rule::string;
                let mut name = self.name(&key);
                if quoted {
                    name.text = self.string(&key);
                }
                Entry { key: name, quoted, value: self.expr(next(&mut parts)) }
            })
            .collect()
    }

    fn choice(&mut self, pair: Pair) -> ExprKind {
        let mut exprs = inner(pair).filter(|p| p.as_rule() == Rule::expr);
        let mut part = || exprs.next();
        let (cond, then, otherwise) = (part(), part(), part());
        let cond = self.expr(cond.expect("an `if` has its condition"));
        let then = self.expr(then.expect("an `if` has its first branch"));
        ExprKind::If { cond, then, otherwise: otherwise.map(|e| self.expr(e)) }
    }

    fn repeat(&mut self, pair: Pair) -> ExprKind {
        let mut parts = inner(pair);
        next(&mut parts);
        let mut overs = Vec::new();
        while let Some(over) = maybe(&mut parts, Rule::over) {
            overs.push(self.over(over));
        }
        ExprKind::For { overs, body: self.block(next(&mut parts)) }
    }

    fn over(&mut self, pair: Pair) -> (Pattern, Expr) {
        let mut parts = inner(pair);
        let pattern = self.pattern(next(&mut parts));
        maybe(&mut parts, Rule::IN);
        (pattern, self.expr(next(&mut parts)))
    }

    fn iterate(&mut self, pair: Pair) -> ExprKind {
        let mut parts = inner(pair);
        next(&mut parts);
        let first = next(&mut parts);
        let over = match first.as_rule() {
            Rule::over => {
                let (pattern, xs) = self.over(first);
                IterateOver::In(pattern, xs)
            }
            _ => IterateOver::Count(self.expr(first)),
        };
        maybe(&mut parts, Rule::FROM);
        let from = self.expr(next(&mut parts));
        maybe(&mut parts, Rule::AS);
        let pattern = self.pattern(next(&mut parts));
        let until = maybe(&mut parts, Rule::UNTIL).map(|_| self.expr(next(&mut parts)));
        ExprKind::Iterate { over, from, pattern, until, body: self.block(next(&mut parts)) }
    }

    fn train(&mut self, pair: Pair) -> ExprKind {
        let mut parts = inner(pair);
        next(&mut parts);
        let what = self.expr(next(&mut parts));
        let pattern = maybe(&mut parts, Rule::AS).map(|_| self.pattern(next(&mut parts)));
        ExprKind::Train { what, pattern, slots: self.slots(next(&mut parts)) }
    }
}

fn strength_of(op: InfixOp) -> Strength {
    OPS.iter().find(|row| row.1 == op).expect("every operator has its row").2
}

/// A comparison that stands in the open: not in parentheses, not in an argument.
fn comparison_in(expr: &Expr) -> Option<Span> {
    match &*expr.kind {
        ExprKind::Infix { op, left, right, .. } => match strength_of(*op) {
            Strength::Compare => Some(expr.span),
            Strength::Or | Strength::And => comparison_in(left).or_else(|| comparison_in(right)),
            _ => None,
        },
        ExprKind::Prefix(PrefixOp::Not, value) => comparison_in(value),
        _ => None,
    }
}
