//! Names in sight while code runs.

use super::value::{Net, Value};
use crate::tensor::Axis;
use align_syntax::span::FileId;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// A scope. Cloning shares it.
#[derive(Clone)]
pub struct Env(Rc<Frame>);

struct Frame {
    vars: RefCell<Vec<(Rc<str>, Value)>>,
    parent: Option<Env>,
    body: Rc<Body>,
}

/// What holds for the whole body of a declaration.
pub struct Body {
    pub file: FileId,
    /// Axes that parameters, weights and renames of this body have brought into sight, by name. The last one wins.
    pub axes: RefCell<Vec<Axis>>,
    /// Names that only a rename of this body has introduced: exempt from the rule of operators.
    pub paired: RefCell<Vec<String>>,
    /// Axes of arguments that the parameters do not name: the body does not see them.
    pub lifted: Vec<Axis>,
    /// It is the body of a loss: it may have states.
    pub is_loss: bool,
    /// Fields are those of every item of the step (`per batch`): a reduction without brackets takes all of them.
    pub every_item: bool,
    /// The net whose method this is.
    pub net: Option<Rc<Net>>,
}

impl Body {
    pub fn new(file: FileId) -> Body {
        Body {
            file,
            axes: RefCell::default(),
            paired: RefCell::default(),
            lifted: vec![],
            is_loss: false,
            every_item: false,
            net: None,
        }
    }

    /// Notes axes that are in sight from now on.
    pub fn see(&self, axes: &[Axis]) {
        let mut known = self.axes.borrow_mut();
        for axis in axes {
            if !known.contains(axis) && !self.lifted.contains(axis) {
                known.push(axis.clone());
            }
        }
    }
}

impl Env {
    /// The outermost scope of a body.
    pub fn new(body: Body) -> Env {
        Env(Rc::new(Frame { vars: RefCell::default(), parent: None, body: Rc::new(body) }))
    }

    /// The outermost scope of a body that sees what `self` sees.
    pub fn body_inside(&self, body: Body) -> Env {
        Env(Rc::new(Frame { vars: RefCell::default(), parent: Some(self.clone()), body: Rc::new(body) }))
    }

    /// A block inside.
    pub fn inner(&self) -> Env {
        Env(Rc::new(Frame { vars: RefCell::default(), parent: Some(self.clone()), body: self.0.body.clone() }))
    }

    pub fn body(&self) -> &Body {
        &self.0.body
    }

    pub fn file(&self) -> FileId {
        self.0.body.file
    }

    /// Tells scopes apart while they live.
    pub(crate) fn address(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }

    /// Binds a name here.
    pub fn bind(&self, name: &str, value: Value) {
        let mut vars = self.0.vars.borrow_mut();
        match vars.iter_mut().find(|(n, _)| &**n == name) {
            Some((_, old)) => *old = value,
            None => vars.push((name.into(), value)),
        }
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        let own = self.0.vars.borrow().iter().find(|(n, _)| &**n == name).map(|(_, v)| v.clone());
        own.or_else(|| self.0.parent.as_ref()?.get(name))
    }

    /// Gives a name that is in sight another value; false if there is none.
    pub fn assign(&self, name: &str, value: Value) -> bool {
        let mut vars = self.0.vars.borrow_mut();
        if let Some((_, old)) = vars.iter_mut().find(|(n, _)| &**n == name) {
            *old = value;
            return true;
        }
        drop(vars);
        self.0.parent.as_ref().is_some_and(|parent| parent.assign(name, value))
    }

    /// All names in sight, for suggestions.
    pub fn names(&self) -> Vec<Rc<str>> {
        let mut names: Vec<Rc<str>> = self.0.vars.borrow().iter().map(|(n, _)| n.clone()).collect();
        if let Some(parent) = &self.0.parent {
            names.extend(parent.names());
        }
        names
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<scope>")
    }
}
