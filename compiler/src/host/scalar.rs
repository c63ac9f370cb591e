//! A tensor graph without axes as a host expression: schedules.

use super::{Expr, Type};
use crate::tensor::{DType, Graph, MapOp, Node, Op};

/// The output `name` of a graph of scalars, with `input` for what it reads. The error is a clause.
pub fn scalar(graph: &Graph, name: &str, input: &dyn Fn(&str) -> Option<Expr>) -> Result<Expr, String> {
    let output = graph.outputs.iter().find(|(n, _)| n == name).map(|(_, node)| *node);
    scalar_node(graph, output.ok_or_else(|| format!("there is no output {name}"))?, input)
}

fn host_type(dtype: DType) -> Type {
    match dtype {
        DType::Float => Type::Float,
        DType::Int => Type::Int,
        DType::Bool => Type::Bool,
    }
}

/// As [`scalar`], for any node of the graph.
pub fn scalar_node(graph: &Graph, at: Node, input: &dyn Fn(&str) -> Option<Expr>) -> Result<Expr, String> {
    let data = graph.get(at);
    if !data.axes.is_empty() {
        return Err(format!("a value has the axes {:?}", data.axes));
    }
    let inputs =
        |from: usize| data.inputs[from..].iter().map(|n| scalar_node(graph, *n, input)).collect::<Result<Vec<_>, _>>();
    Ok(match &data.op {
        Op::Input(name) => input(name).ok_or_else(|| format!("{name} is not known here"))?,
        Op::Const(c) => match data.dtype {
            DType::Float => Expr::Float(*c),
            DType::Int => Expr::Int(*c as i64),
            DType::Bool => Expr::Bool(*c != 0.0),
        },
        Op::Stop => inputs(0)?.remove(0),
        Op::Cast => {
            let (from, to) = (graph.dtype(data.inputs[0]), host_type(data.dtype));
            let of = inputs(0)?.remove(0);
            match (from, to) {
                (from, to) if host_type(from) == to => of,
                (_, Type::Bool) => return Err("a number is read as a Bool".into()),
                _ => Expr::Cast(to, Box::new(of)),
            }
        }
        // Whole numbers divide as Floats do, then rounded down.
        Op::Map(op @ (MapOp::Div | MapOp::Rem)) if data.dtype == DType::Int => {
            let floats = inputs(0)?.into_iter().map(|e| Expr::Cast(Type::Float, Box::new(e))).collect();
            let quotient = Expr::Map(*op, floats);
            let whole = if *op == MapOp::Div { Expr::Map(MapOp::Floor, vec![quotient]) } else { quotient };
            Expr::Cast(Type::Int, Box::new(whole))
        }
        Op::Map(op) => Expr::Map(*op, inputs(0)?),
        op => return Err(format!("{op:?} has no place in scalar code")),
    })
}
