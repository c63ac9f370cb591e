//! Host code as text.

use super::{Expr, Function, Stmt, Type};
use crate::tensor::MapOp;
use std::fmt;

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Float => "Float",
            Type::Int => "Int",
            Type::Bool => "Bool",
        })
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |locals: &[(String, Type)]| {
            locals.iter().map(|(name, of)| format!("{name}: {of}")).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "fn {}({}) -> Int {{", self.name, names(&self.locals[..self.params]))?;
        for local in &self.locals[self.params..] {
            writeln!(f, "  var {}", names(std::slice::from_ref(local)))?;
        }
        self.block(f, &self.body, 1)?;
        writeln!(f, "}}")
    }
}

impl Function {
    fn block(&self, f: &mut fmt::Formatter<'_>, body: &[Stmt], depth: usize) -> fmt::Result {
        let pad = "  ".repeat(depth);
        for stmt in body {
            match stmt {
                Stmt::Set(local, value) => {
                    writeln!(f, "{pad}{} = {}", self.locals[local.0 as usize].0, self.text(value))?;
                }
                Stmt::If(condition, then, other) => {
                    writeln!(f, "{pad}if {} {{", self.text(condition))?;
                    self.block(f, then, depth + 1)?;
                    if !other.is_empty() {
                        writeln!(f, "{pad}}} else {{")?;
                        self.block(f, other, depth + 1)?;
                    }
                    writeln!(f, "{pad}}}")?;
                }
                Stmt::While(condition, body) => {
                    writeln!(f, "{pad}while {} {{", self.text(condition))?;
                    self.block(f, body, depth + 1)?;
                    writeln!(f, "{pad}}}")?;
                }
                Stmt::Do(value) => writeln!(f, "{pad}{}", self.text(value))?,
                Stmt::Return(value) => writeln!(f, "{pad}return {}", self.text(value))?,
            }
        }
        Ok(())
    }

    fn text(&self, expr: &Expr) -> String {
        let list = |inputs: &[Expr]| inputs.iter().map(|e| self.text(e)).collect::<Vec<_>>().join(", ");
        match expr {
            Expr::Float(x) => format!("{x:?}"),
            Expr::Int(n) => n.to_string(),
            Expr::Bool(b) => b.to_string(),
            Expr::Read(local) => self.locals[local.0 as usize].0.clone(),
            Expr::Map(op, inputs) => match (sign(*op), &inputs[..]) {
                (Some(sign), [a, b]) => format!("({} {sign} {})", self.text(a), self.text(b)),
                _ => format!("{}({})", format!("{op:?}").to_lowercase(), list(inputs)),
            },
            Expr::Cast(to, of) => format!("{}({})", to.to_string().to_lowercase(), self.text(of)),
            Expr::Call(call, inputs) => format!("{}({})", call.name, list(inputs)),
        }
    }
}

fn sign(op: MapOp) -> Option<&'static str> {
    Some(match op {
        MapOp::Add => "+",
        MapOp::Sub => "-",
        MapOp::Mul => "*",
        MapOp::Div => "/",
        MapOp::Eq => "==",
        MapOp::Ne => "!=",
        MapOp::Lt => "<",
        MapOp::Le => "<=",
        MapOp::Gt => ">",
        MapOp::Ge => ">=",
        MapOp::And => "and",
        MapOp::Or => "or",
        _ => return None,
    })
}
