//! Where the code stands that runs: what the nodes that it adds come from.

use super::value::Net;
use super::{Eval, Res};
use crate::program::CORE;
use crate::tensor::origin::FROZEN;
use crate::tensor::{Graph, Origin, Place};
use align_syntax::ast::Expr;
use align_syntax::span::Span;
use std::rc::Rc;
use std::sync::Arc;

/// A place in the code, and the net whose method it is.
#[derive(Clone, Default)]
pub(super) struct At {
    /// The innermost expression outside of `core`.
    span: Option<Span>,
    /// The innermost expression of the program's own file.
    own: Option<Span>,
    net: Option<Rc<Net>>,
}

impl At {
    fn is(&self, other: &At) -> bool {
        let same_net = match (&self.net, &other.net) {
            (Some(a), Some(b)) => Rc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same_net && (self.span, self.own) == (other.span, other.own)
    }
}

impl Eval<'_> {
    /// Runs `f` as the code of an expression.
    pub(super) fn at<T>(&mut self, expr: &Expr, f: impl FnOnce(&mut Self) -> T) -> T {
        let (span, own) = (self.at.span, self.at.own);
        if self.program.file(expr.span.file).module.as_deref() != Some(CORE) {
            self.at.span = Some(expr.span);
        }
        if expr.span.file == self.program.main() {
            self.at.own = Some(expr.span);
        }
        let value = f(self);
        (self.at.span, self.at.own) = (span, own);
        value
    }

    /// Runs `f` as a method of a net.
    pub(super) fn in_net<T>(&mut self, net: &Rc<Net>, f: impl FnOnce(&mut Self) -> Res<T>) -> Res<T> {
        let outer = self.at.net.replace(net.clone());
        let value = f(self);
        self.at.net = outer;
        value
    }

    /// A graph that is being traced. What is added to it comes from the code that runs.
    pub(super) fn graph_of(&mut self, frame: usize) -> &mut Graph {
        if !self.here.0.is(&self.at) {
            self.here = (self.at.clone(), self.origin_of(&self.at));
        }
        let graph = &mut self.frames[frame].graph;
        graph.come_from(self.here.1.clone());
        graph
    }

    fn origin_of(&self, at: &At) -> Origin {
        // Weights that are trained have plain paths; where there are such, the other policies are told apart.
        let own = self.prefixes.iter().any(|(_, prefix)| prefix.is_empty());
        let other = |net: &Net| own && self.source_prefix(net.source).ends_with(':');
        let word = |net: &Net| if other(net) { FROZEN } else { "" };
        let part = |net: &Rc<Net>| format!("{}{}", word(net), net.prefix.trim_end_matches('.'));
        let place = |span| Place { span, own: at.own, part: at.net.as_ref().map_or(String::new(), part) };
        Origin { place: at.span.map(place).map(Arc::new), backward: false }
    }
}
