//! Host code: typed scalar programs that call functions of the runtime. Machine code is made of it by the CPU back end.

mod hoist;
mod print;
mod scalar;
mod step_loop;
#[cfg(test)]
mod tests;
mod verify;

pub use hoist::{Hoisted, hoist};
pub use scalar::{scalar, scalar_node};
pub use step_loop::{FAULT, FINISHED, Role, STOPPED, asked, calls, step_loop};
pub use verify::verify;

use crate::tensor::MapOp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// 64 bits.
    Float,
    /// 64 bits.
    Int,
    Bool,
}

/// A variable of a function, by its place in [`Function::locals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(pub u32);

/// A function of Ints that gives an Int.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    /// How many of the first locals are parameters; these are Ints.
    pub params: usize,
    /// Names and types. What is no parameter starts as 0 or false.
    pub locals: Vec<(String, Type)>,
    pub body: Vec<Stmt>,
}

/// A function of the runtime.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    pub name: &'static str,
    pub params: &'static [Type],
    /// `None` gives nothing.
    pub result: Option<Type>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Float(f64),
    Int(i64),
    Bool(bool),
    Read(Local),
    /// Arithmetic in 64 bits. Both sides of `Where`, `And` and `Or` are evaluated.
    Map(MapOp, Vec<Expr>),
    /// To Float or Int. Floats become Ints towards zero.
    Cast(Type, Box<Expr>),
    Call(Call, Vec<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    Set(Local, Expr),
    If(Expr, Vec<Stmt>, Vec<Stmt>),
    While(Expr, Vec<Stmt>),
    Do(Expr),
    /// The rest of a block after it never runs.
    Return(Expr),
}

impl Function {
    /// The type of an expression of a function that was verified.
    pub fn type_of(&self, expr: &Expr) -> Type {
        match expr {
            Expr::Float(_) => Type::Float,
            Expr::Int(_) => Type::Int,
            Expr::Bool(_) => Type::Bool,
            Expr::Read(local) => self.locals[local.0 as usize].1,
            Expr::Map(op, inputs) if gives_bool(*op) || inputs.is_empty() => Type::Bool,
            Expr::Map(MapOp::Where, inputs) => self.type_of(&inputs[1]),
            Expr::Map(_, inputs) => self.type_of(&inputs[0]),
            Expr::Cast(to, _) => *to,
            Expr::Call(call, _) => call.result.unwrap_or(Type::Bool),
        }
    }
}

fn gives_bool(op: MapOp) -> bool {
    use MapOp::*;
    matches!(op, Not | IsNan | Eq | Ne | Lt | Le | Gt | Ge | And | Or)
}
