//! Names and types: what every expression of a program is, and what is wrong with it (SEMANTICS sections 1, 2 and 9).
//!
//! The checker is silent where it does not know: `Type::Unknown` fits everything. An annotated function is checked
//! once; one without annotations is a template, checked again for the types of each call.

mod args;
mod axes;
mod block;
mod builtins;
mod by_rule;
mod call;
mod contract;
mod define;
mod dispatch;
mod expr;
mod fields;
mod fits;
mod heads;
mod index;
mod items;
mod items_fit;
mod levels;
mod names;
mod net;
mod ops;
mod print;
mod replies;
mod scope;
mod size;
mod train;
mod types;
mod typing;
mod uses;
mod walk;

pub use axes::{Axes, Axis, AxisKind, Origin};
pub use print::print_types;
pub use size::Size;
pub use types::{Fun, LossUse, Net, NetKind, Record, Type};

use crate::program::{ItemRef, Program};
use align_syntax::ast::ExprId;
use align_syntax::diag::Diagnostic;
use align_syntax::span::{FileId, Span};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// What is known of a program.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    pub diagnostics: Vec<Diagnostic>,
    pub types: HashMap<(FileId, ExprId), Type>,
    /// Parameters that were taken by name from what is offered.
    pub captures: Vec<Capture>,
    /// Calls that are applied for every index of some axes.
    pub lifts: Vec<Lift>,
    /// Bindings with their types, in order of place: what `let` and its like name, items, parameters without a written type.
    pub bindings: Vec<(Span, String, Type)>,
    /// What functions and methods give, by the place of their bodies.
    pub results: Vec<(Span, String, Type)>,
}

/// A parameter that the user of a contract did not give (R29): `loss sft: reply <- item.reply`.
#[derive(Clone, Debug, PartialEq)]
pub struct Capture {
    /// The use.
    pub at: Span,
    /// `loss sft`
    pub of: String,
    pub param: String,
    /// `item.reply`
    pub from: String,
}

/// A function that is applied for every index of axes that it does not name.
#[derive(Clone, Debug, PartialEq)]
pub struct Lift {
    pub at: Span,
    pub function: String,
    pub axes: Vec<String>,
}

/// Checks the program's own file, and of the library's files what it calls.
pub fn check(program: &Program) -> Checked {
    let mut checker = Checker::new(program);
    checker.file(program.main());
    checker.done()
}

/// Checks every file that was read.
pub fn check_all(program: &Program) -> Checked {
    let mut checker = Checker::new(program);
    for file in 0..program.files.len() {
        checker.file(FileId(file as u32));
    }
    checker.done()
}

/// How deep calls of templates are followed, how often within themselves, and how many in all: beyond it a result is
/// not known.
const MAX_DEPTH: usize = 16;
const MAX_AGAIN: usize = 1;
const MAX_CALLS: usize = 4000;

struct Checker<'p> {
    program: &'p Program,
    out: Checked,
    reported: HashSet<(&'static str, Span)>,
    /// Types of items: `None` while they are inferred.
    items: HashMap<(ItemRef, String), Option<Type>>,
    codes: Vec<Rc<call::Code<'p>>>,
    code_of_item: HashMap<ItemRef, usize>,
    results: HashMap<usize, Vec<(Vec<Type>, Option<Type>)>>,
    nets: HashMap<ItemRef, Rc<net::NetInfo>>,
    /// Where a function reads a Text, if it does.
    texts: HashMap<usize, Option<Span>>,
    records: HashMap<ItemRef, Type>,
    /// Axes of the reductions directly around the expression.
    under: Vec<Rc<str>>,
    /// Products that break the rule of operators, by expression: an enclosing operand may still contain them.
    pending: HashMap<(FileId, ExprId), (usize, Axes)>,
    /// The calls of templates that the checker is inside of.
    calls: Vec<(Span, String)>,
    made: usize,
    /// The codes whose bodies are being looked at.
    inside: Vec<usize>,
    keys: u32,
}

impl<'p> Checker<'p> {
    fn new(program: &'p Program) -> Checker<'p> {
        Checker {
            program,
            out: Checked::default(),
            reported: HashSet::new(),
            items: HashMap::new(),
            codes: Vec::new(),
            code_of_item: HashMap::new(),
            results: HashMap::new(),
            nets: HashMap::new(),
            texts: HashMap::new(),
            records: HashMap::new(),
            under: Vec::new(),
            pending: HashMap::new(),
            calls: Vec::new(),
            made: 0,
            inside: Vec::new(),
            keys: 0,
        }
    }

    fn done(mut self) -> Checked {
        self.out.diagnostics.retain(|d| !d.code.is_empty());
        self.out.diagnostics.sort_by_key(|d| (d.span(), d.code));
        self.functions_of_bindings();
        self.out.bindings.sort_by_key(|b| b.0);
        self.out.bindings.dedup_by_key(|b| b.0);
        self.out.lifts.sort_by_key(|l| l.at);
        self.out.lifts.dedup();
        self.out.captures.sort_by_key(|c| c.at);
        self.out.captures.dedup();
        self.out
    }

    /// A bound lambda has the types of its last call.
    fn functions_of_bindings(&mut self) {
        for (_, _, ty) in &mut self.out.bindings {
            let Type::Fn(Fun::Closure(id)) = ty else { continue };
            let calls = self.results.get(id).into_iter().flatten();
            let known = calls.filter_map(|(args, result)| Some((args, result.clone()?))).rfind(|c| !c.1.is_unknown());
            if let Some((args, result)) = known {
                let n = self.codes[*id].params.len();
                let from = if n == 1 { args[0].clone() } else { Type::pair(args[..n].to_vec()) };
                *ty = Type::Fn(Fun::Typed(Rc::new((from, result))));
            }
        }
    }

    /// Reports, once for each place and code; inside a template's call that call is named too.
    fn report(&mut self, mut diagnostic: Diagnostic) {
        if !self.reported.insert((diagnostic.code, diagnostic.span())) {
            return;
        }
        if let Some((at, what)) = self.calls.last()
            && (at.file != diagnostic.span().file || *at != diagnostic.span())
        {
            diagnostic = diagnostic.label(*at, what.clone());
        }
        self.out.diagnostics.push(diagnostic);
    }

    fn key(&mut self) -> u32 {
        self.keys += 1;
        self.keys
    }

    fn bound(&mut self, span: Span, name: &str, ty: &Type) {
        match self.out.bindings.iter_mut().find(|(at, ..)| *at == span) {
            Some(known) if known.2.is_unknown() => known.2 = ty.clone(),
            Some(_) => {}
            None => self.out.bindings.push((span, name.to_string(), ty.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
