//! Names in sight, and what holds for the whole body of a declaration.

use super::axes::Axis;
use super::types::Type;
use align_syntax::ast::DefKind;
use align_syntax::span::{FileId, Span};
use std::rc::Rc;

/// Names in sight at a place. Cloning shares what is outside.
#[derive(Clone)]
pub struct Scope {
    vars: Option<Rc<Var>>,
    pub body: Rc<Body>,
    /// Number of the innermost block: a name is bound once in each.
    block: u32,
}

/// A name that is bound.
pub struct Var {
    pub name: Rc<str>,
    pub ty: Type,
    pub kind: VarKind,
    pub span: Span,
    /// Tells bindings apart, in origins of axes.
    pub key: u32,
    block: u32,
    next: Option<Rc<Var>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarKind {
    Let,
    Var,
    State,
    Param,
    /// A weight or part of a net, an axis, or one of a net's methods.
    Member,
}

/// What a body is part of.
#[derive(Clone, Debug)]
pub struct Body {
    pub file: FileId,
    /// The declaration's kind; `None` at the top of a file and in tests.
    pub kind: Option<DefKind>,
    /// Names that only a `rename` of this body introduces.
    pub paired: Vec<Rc<str>>,
    /// Axes with sizes (those of a net), and axes that stand for generic names.
    pub axes: Vec<Axis>,
    pub generics: Vec<(Rc<str>, Vec<Axis>)>,
    /// Type variables.
    pub types: Vec<Rc<str>>,
    /// Whether each value is computed in the step, on the device: Text is then an error.
    pub tensor: bool,
    /// The type of `w`, for states of an optimizer.
    pub weight: Option<Type>,
}

impl Body {
    pub fn new(file: FileId, kind: Option<DefKind>) -> Body {
        Body {
            file,
            kind,
            paired: Vec::new(),
            axes: Vec::new(),
            generics: Vec::new(),
            types: Vec::new(),
            tensor: false,
            weight: None,
        }
    }

    /// The axis of a name, with its size where the body knows it.
    pub fn axis(&self, name: &str) -> Axis {
        self.axes.iter().find(|a| &*a.name == name).cloned().unwrap_or_else(|| Axis::open(name))
    }

    /// The axes that a word in brackets stands for.
    pub fn axes_of(&self, name: &str) -> Vec<Axis> {
        match self.generics.iter().find(|(n, _)| &**n == name) {
            Some((_, axes)) => axes.clone(),
            None => vec![self.axis(name)],
        }
    }
}

impl Scope {
    pub fn new(body: Body) -> Scope {
        Scope { vars: None, body: Rc::new(body), block: 0 }
    }

    /// The same names in another body.
    pub fn in_body(&self, body: Body) -> Scope {
        Scope { body: Rc::new(body), ..self.clone() }
    }

    /// A block inside: names of outside may be bound again.
    pub fn inner(&self, block: u32) -> Scope {
        Scope { block, ..self.clone() }
    }

    pub fn bind(&mut self, name: &str, ty: Type, kind: VarKind, span: Span, key: u32) {
        let var = Var { name: name.into(), ty, kind, span, key, block: self.block, next: self.vars.take() };
        self.vars = Some(Rc::new(var));
    }

    pub fn get(&self, name: &str) -> Option<&Var> {
        self.iter().find(|v| &*v.name == name)
    }

    /// A binding of this name in this very block.
    pub fn in_block(&self, name: &str) -> Option<&Var> {
        self.iter().take_while(|v| v.block == self.block).find(|v| &*v.name == name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|v| &*v.name)
    }

    fn iter(&self) -> impl Iterator<Item = &Var> {
        std::iter::successors(self.vars.as_deref(), |v| v.next.as_deref())
    }
}
