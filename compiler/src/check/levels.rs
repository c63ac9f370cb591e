//! What tensor code may not do (SEMANTICS section 2).

use super::Checker;
use super::call::CodeBody;
use super::types::Type;
use super::walk::{self, Visitor};
use align_syntax::ast::{DefKind, Expr, ExprKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;

const FIX: &str = "Make a number of it before, as a field of the item: \
                   `data |> map(x => x with { flag: x.kind == \"a\" })`, and read `x.flag` here.";

impl<'p> Checker<'p> {
    /// E0301: an expression of tensor code that is a Text.
    pub fn text_in_tensor(&mut self, e: &'p Expr, before: usize) {
        let inside = self.out.diagnostics[before..].iter().any(|d| d.code == "E0301");
        if !reads(e) || inside {
            return;
        }
        let error = Diagnostic::error("E0301", e.span, "tensor code cannot read Text")
            .here("this is a Text; losses, nets and optimizers run on the device, where there are numbers only");
        self.report(error.help(FIX));
    }

    /// E0301: tensor code that calls a function which reads Text.
    pub fn text_in_callee(&mut self, id: usize, at: Span) {
        let Some(place) = self.text_of(id) else { return };
        let name = self.codes[id].name.clone();
        let error = Diagnostic::error("E0301", at, format!("tensor code cannot call `{name}`, which reads Text"))
            .label(place, "here it reads a Text");
        self.report(error.help(FIX));
    }

    fn text_of(&mut self, id: usize) -> Option<Span> {
        if let Some(known) = self.texts.get(&id) {
            return *known;
        }
        self.texts.insert(id, None);
        let code = self.codes[id].clone();
        if code.scope.body.kind != Some(DefKind::Fn) {
            return None;
        }
        self.define(id);
        let mut all = Reads(Vec::new());
        match code.body {
            CodeBody::Expr(e) => walk::expr(e, &mut all),
            CodeBody::Block(b) => walk::block(b, &mut all),
        }
        let file = code.scope.body.file;
        let text = |e: &&&Expr| matches!(self.out.types.get(&(file, e.id)), Some(Type::Text));
        let found = all.0.iter().find(text).map(|e| e.span);
        self.texts.insert(id, found);
        found
    }
}

/// Whether an expression reads a value, rather than being one as written.
fn reads(e: &Expr) -> bool {
    matches!(&*e.kind, ExprKind::Word(_) | ExprKind::Dot(..) | ExprKind::Call(..) | ExprKind::Index(..))
}

struct Reads<'p>(Vec<&'p Expr>);

impl<'p> Visitor<'p> for Reads<'p> {
    fn expr(&mut self, e: &'p Expr) {
        if reads(e) {
            self.0.push(e);
        }
    }
}
