//! Checks that host code is well typed.

use super::{Expr, Function, Stmt, Type, gives_bool};
use crate::tensor::MapOp;

/// The first thing that is wrong with a function, as a clause.
pub fn verify(function: &Function) -> Result<(), String> {
    if function.locals.len() < function.params || function.locals[..function.params].iter().any(|p| p.1 != Type::Int) {
        return Err(format!("the parameters of {} are not all Ints", function.name));
    }
    block(function, &function.body)?;
    match function.body.last() {
        Some(Stmt::Return(_)) => Ok(()),
        _ => Err(format!("{} does not end in a return", function.name)),
    }
}

fn block(function: &Function, body: &[Stmt]) -> Result<(), String> {
    for stmt in body {
        match stmt {
            Stmt::Set(local, value) => {
                let (name, want) =
                    function.locals.get(local.0 as usize).ok_or_else(|| format!("there is no local {}", local.0))?;
                let found = expr(function, value)?;
                if found != Some(*want) {
                    return Err(format!("{name} is {want} and is set to {found:?}"));
                }
            }
            Stmt::If(condition, then, other) => {
                is(function, condition, Type::Bool)?;
                block(function, then)?;
                block(function, other)?;
            }
            Stmt::While(condition, body) => {
                is(function, condition, Type::Bool)?;
                block(function, body)?;
            }
            Stmt::Do(value) => drop(expr(function, value)?),
            Stmt::Return(value) => is(function, value, Type::Int)?,
        }
    }
    Ok(())
}

fn is(function: &Function, value: &Expr, want: Type) -> Result<(), String> {
    match expr(function, value)? {
        Some(found) if found == want => Ok(()),
        found => Err(format!("{value:?} is {found:?} where {want} is needed")),
    }
}

/// The type; `None` for a call that gives nothing.
fn expr(function: &Function, e: &Expr) -> Result<Option<Type>, String> {
    Ok(Some(match e {
        Expr::Float(_) => Type::Float,
        Expr::Int(_) => Type::Int,
        Expr::Bool(_) => Type::Bool,
        Expr::Read(local) => {
            function.locals.get(local.0 as usize).ok_or_else(|| format!("there is no local {}", local.0))?.1
        }
        Expr::Cast(to, of) => {
            expr(function, of)?;
            match to {
                Type::Bool => return Err("nothing is cast to Bool".into()),
                to => *to,
            }
        }
        Expr::Call(call, inputs) => {
            if inputs.len() != call.params.len() {
                return Err(format!("{} takes {} values, not {}", call.name, call.params.len(), inputs.len()));
            }
            inputs.iter().zip(call.params).try_for_each(|(input, want)| is(function, input, *want))?;
            return Ok(call.result);
        }
        Expr::Map(op, inputs) => {
            let types: Vec<Type> = inputs
                .iter()
                .map(|e| expr(function, e)?.ok_or_else(|| format!("{e:?} gives nothing")))
                .collect::<Result<_, _>>()?;
            return map(*op, &types).map(Some).ok_or_else(|| format!("{op:?} of {types:?} is not known"));
        }
    }))
}

fn map(op: MapOp, types: &[Type]) -> Option<Type> {
    use MapOp::*;
    let of = match op {
        Where => (types.first() == Some(&Type::Bool)).then(|| types.get(1).copied())??,
        _ => *types.first()?,
    };
    let operands = if op == Where { &types[1..] } else { types };
    let count = match op {
        Neg | Abs | Sign | Exp | Log | Sqrt | Rsqrt | Sin | Cos | Tanh | Sigmoid | Floor | Ceil | Round | Bf16
        | Not | IsNan => 1,
        _ => 2,
    };
    if operands.len() != count || operands.iter().any(|t| *t != of) {
        return None;
    }
    let fits = match op {
        Not | And | Or => of == Type::Bool,
        Where => true,
        Eq | Ne => true,
        // Division of Ints can fault, which host code has no way to say yet.
        Add | Sub | Mul | Min | Max | Neg | Abs | Sign | Lt | Le | Gt | Ge => of != Type::Bool,
        _ => of == Type::Float,
    };
    fits.then_some(if gives_bool(op) { Type::Bool } else { of })
}
