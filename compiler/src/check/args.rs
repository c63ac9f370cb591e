//! Arguments: which goes to which parameter.

use super::Checker;
use super::scope::Scope;
use super::types::Type;
use crate::program::planned;
use align_syntax::ast::{self, Args, Expr, ExprKind, Name, Param, Pattern};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;

/// An argument: written here, or what stands before `|>`.
#[derive(Clone)]
pub enum Arg<'p> {
    Written(&'p Expr),
    Piped(&'p Expr, Type),
}

impl<'p> Arg<'p> {
    pub fn expr(&self) -> &'p Expr {
        match self {
            Arg::Written(e) | Arg::Piped(e, _) => e,
        }
    }

    pub fn span(&self) -> Span {
        self.expr().span
    }

    pub fn is_lambda(&self) -> bool {
        matches!(self, Arg::Written(e) if matches!(&*e.kind, ExprKind::Lambda { .. }))
    }
}

/// The arguments of a call.
#[derive(Clone, Default)]
pub struct Given<'p> {
    pub positional: Vec<Arg<'p>>,
    pub named: Vec<(&'p Name, Arg<'p>)>,
    pub trailing: Option<Arg<'p>>,
}

impl<'p> Given<'p> {
    pub fn new(args: &'p Args) -> Given<'p> {
        Given {
            positional: args.positional.iter().map(Arg::Written).collect(),
            named: args.named.iter().map(|(n, e)| (n, Arg::Written(e))).collect(),
            trailing: args.trailing.as_ref().map(Arg::Written),
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Arg<'p>> {
        self.positional.iter().chain(self.named.iter().map(|n| &n.1)).chain(self.trailing.iter())
    }
}

/// A parameter as calls see it.
#[derive(Clone, Debug)]
pub struct Slot {
    pub name: String,
    pub optional: bool,
    pub function: bool,
    pub many: bool,
}

/// Which arguments go to a parameter: one, or several to one that takes any number.
pub type Bound<'p> = Vec<Vec<Arg<'p>>>;

impl<'p> Checker<'p> {
    /// Distributes arguments over parameters: positional, then named; a last lambda fills the first parameter of
    /// function type that is not given. `lacking` says whether missing ones are reported.
    pub fn bind(&mut self, of: &str, slots: &[Slot], given: &Given<'p>, at: Span, lacking: bool) -> Bound<'p> {
        let mut bound: Bound<'p> = vec![Vec::new(); slots.len()];
        let mut last: Option<Arg<'p>> = given.trailing.clone();
        let mut positional = &given.positional[..];
        if let [rest @ .., end] = positional {
            let direct = slots.get(rest.len()).is_some_and(|s| s.function || s.many);
            if last.is_none() && end.is_lambda() && !direct && slots.iter().any(|s| s.function) {
                last = Some(end.clone());
                positional = rest;
            }
        }
        let mut next = 0;
        for arg in positional {
            match slots.get(next) {
                Some(slot) => {
                    bound[next].push(arg.clone());
                    next += usize::from(!slot.many);
                }
                None => {
                    let error = Diagnostic::error("E0112", arg.span(), format!("{of} takes {}", counted(slots.len())));
                    self.report(error.help(takes(of, slots)));
                    break;
                }
            }
        }
        let mut misspelt = false;
        for (name, arg) in &given.named {
            match slots.iter().position(|s| s.name == name.text) {
                Some(i) if bound[i].is_empty() || slots[i].many => bound[i].push(arg.clone()),
                Some(i) => {
                    let error = Diagnostic::error("E0115", name.span, format!("`{}` is given twice", name.text));
                    self.report(error.label(bound[i][0].span(), "this is it already"));
                }
                None => {
                    misspelt |= did_you_mean(&name.text, slots.iter().map(|s| s.name.as_str())).is_some();
                    self.unknown_argument(of, name, slots);
                }
            }
        }
        if let Some(lambda) = last {
            match (0..slots.len()).find(|i| slots[*i].function && bound[*i].is_empty()) {
                Some(i) => bound[i].push(lambda),
                None => match (0..slots.len()).find(|i| bound[*i].is_empty()) {
                    Some(i) => bound[i].push(lambda),
                    None => {
                        let error = Diagnostic::error("E0112", lambda.span(), format!("{of} takes no more arguments"));
                        self.report(error.help(takes(of, slots)));
                    }
                },
            }
        }
        // What is missing may be what was misspelt.
        if lacking && !misspelt {
            let missing: Vec<&str> = (0..slots.len())
                .filter(|i| bound[*i].is_empty() && !slots[*i].optional)
                .map(|i| &*slots[i].name)
                .collect();
            if let [first, ..] = missing[..] {
                let function = of.trim_matches('`');
                if self.of_library(function) && planned::more_of(function, None) {
                    let message = format!("the standard library does not have this form of {of} yet");
                    self.report(Diagnostic::error("E0102", at, message).help(takes(of, slots)));
                    return bound;
                }
                let list: Vec<String> = missing.iter().map(|m| format!("`{m}`")).collect();
                let error = Diagnostic::error("E0111", at, format!("{of} needs {}", list.join(" and ")));
                self.report(error.help(format!("Add `{first}: ..`. {}", takes(of, slots))));
            }
        }
        bound
    }

    /// Whether the program's own file takes this name from the library.
    pub fn of_library(&self, function: &str) -> bool {
        let main = self.program.main();
        self.program.lookup(main, function).is_some_and(|item| item.file != main)
    }

    /// E0110
    pub fn unknown_argument(&mut self, of: &str, name: &Name, slots: &[Slot]) {
        let core = planned::names(crate::program::CORE);
        let function = of.trim_matches('`');
        let reduction = matches!(name.text.as_str(), "where" | "or") && core.is_some_and(|c| c.contains(&function));
        if reduction || self.of_library(function) && planned::more_of(function, Some(&name.text)) {
            let message = format!("the standard library does not have `{}` of {of} yet", name.text);
            return self.report(Diagnostic::error("E0102", name.span, message).help(takes(of, slots)));
        }
        let error = Diagnostic::error("E0110", name.span, format!("{of} has no argument `{}`", name.text));
        let near = did_you_mean(&name.text, slots.iter().map(|s| s.name.as_str()));
        self.report(match near {
            Some(near) => error.meant(near),
            None => error.help(takes(of, slots)),
        });
    }

    /// Type of an argument.
    pub fn arg(&mut self, arg: &Arg<'p>, s: &Scope, want: &Type) -> Type {
        match arg {
            Arg::Written(e) => self.expr(e, s, want),
            Arg::Piped(_, ty) => ty.clone(),
        }
    }

    /// The parameters of a code, as calls see them.
    pub fn slots(params: &[Param]) -> Vec<Slot> {
        params
            .iter()
            .map(|p| Slot {
                name: match &p.pattern {
                    Pattern::Name(name) => name.text.clone(),
                    Pattern::Tuple(..) => String::new(),
                },
                optional: p.default.is_some(),
                function: p.ty.as_ref().is_some_and(|t| matches!(t.kind, ast::TypeKind::Fn(..))),
                many: false,
            })
            .collect()
    }
}

fn counted(n: usize) -> String {
    match n {
        0 => "no arguments".to_string(),
        1 => "one argument".to_string(),
        n => format!("{n} arguments"),
    }
}

/// "`dpo` takes reference, beta and label_smoothing."
pub fn takes(of: &str, slots: &[Slot]) -> String {
    let names: Vec<&str> = slots.iter().map(|s| s.name.as_str()).filter(|n| !n.is_empty()).collect();
    let capital = format!("{}{}", of[..1].to_uppercase(), &of[1..]);
    if names.is_empty() {
        format!("{capital} takes nothing.")
    } else {
        format!("{capital} takes {}.", super::axes::listed(&names))
    }
}

/// The name of a parameter, for messages.
pub fn slot_name(param: &Param) -> String {
    match &param.pattern {
        Pattern::Name(name) => name.text.clone(),
        Pattern::Tuple(..) => "the tuple".to_string(),
    }
}
