//! Names in sight while code runs.

use super::value::{Net, Value};
use crate::tensor::Axis;
use align_syntax::span::FileId;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// A scope. Cloning shares it.
#[derive(Clone)]
pub struct Env(Rc<Frame>);

struct Frame {
    vars: RefCell<Vec<(Rc<str>, Value)>>,
    parent: Option<Env>,
    body: Rc<Body>,
    /// Its number among all scopes, in the order in which they begin.
    begun: u64,
}

thread_local!(static BEGUN: Cell<u64> = const { Cell::new(0) });

impl Frame {
    fn new(parent: Option<Env>, body: Rc<Body>) -> Rc<Frame> {
        let begun = BEGUN.with(|count| count.replace(count.get() + 1));
        Rc::new(Frame { vars: RefCell::default(), parent, body, begun })
    }
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
        Env(Frame::new(None, Rc::new(body)))
    }

    /// The outermost scope of a body that sees what `self` sees.
    pub fn body_inside(&self, body: Body) -> Env {
        Env(Frame::new(Some(self.clone()), Rc::new(body)))
    }

    /// A block inside.
    pub fn inner(&self) -> Env {
        Env(Frame::new(Some(self.clone()), self.0.body.clone()))
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
        self.replace(name, value).is_some()
    }

    /// Gives a name that is in sight another value. The old one, if there was one.
    pub fn replace(&self, name: &str, value: Value) -> Option<Value> {
        let mut vars = self.0.vars.borrow_mut();
        if let Some((_, old)) = vars.iter_mut().find(|(n, _)| &**n == name) {
            return Some(std::mem::replace(old, value));
        }
        drop(vars);
        self.0.parent.as_ref()?.replace(name, value)
    }

    /// How many scopes further out a name is bound, and when that scope began.
    pub(crate) fn place(&self, name: &str) -> Option<(usize, u64)> {
        let mut scope = self;
        for out in 0.. {
            if scope.0.vars.borrow().iter().any(|(n, _)| &**n == name) {
                return Some((out, scope.0.begun));
            }
            scope = scope.0.parent.as_ref()?;
        }
        None
    }

    /// The value of a name in the scope that began at this time, if that is in sight, and how far out it is.
    pub(crate) fn of_scope(&self, begun: u64, name: &str) -> Option<(usize, Value)> {
        let mut scope = self;
        for out in 0.. {
            if scope.0.begun == begun {
                let vars = scope.0.vars.borrow();
                return vars.iter().find(|(n, _)| &**n == name).map(|(_, value)| (out, value.clone()));
            }
            scope = scope.0.parent.as_ref()?;
        }
        None
    }

    /// The scope so far out.
    pub(crate) fn further_out(&self, out: usize) -> Option<&Env> {
        (0..out).try_fold(self, |scope, _| scope.0.parent.as_ref())
    }

    /// Scopes that begin from now on have this number or a larger one.
    pub(crate) fn now() -> u64 {
        BEGUN.with(Cell::get)
    }

    /// When the scope began: later ones have larger numbers.
    pub(crate) fn begun(&self) -> u64 {
        self.0.begun
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
