//! Which operation of a graph first gives a value that is not a number.

use align_compiler::interp::{Named, Precision, Value, run};
use align_compiler::stage::items::{ItemValue, Packed};
use align_compiler::tensor::{DType, Graph, MapOp, Node, Op};

/// The first operation whose result is nan (or else infinite) while what it reads is finite, in words. The graph is run by
/// the interpreter, so it should be small. `given` holds what does not come from the items.
pub fn first_not_finite(graph: &Graph, packed: &Packed, given: &[(&str, &[f32])]) -> Option<String> {
    let mut looked = graph.clone();
    looked.outputs.clear();
    let mut named = Named::new();
    for (node, data) in graph.nodes() {
        match &data.op {
            Op::Input(name) | Op::Weight(name) => {
                let numbers = numbers(name, packed, given)?;
                named.insert(name.clone(), Value { axes: data.axes.clone(), dtype: data.dtype, data: numbers });
            }
            // Several results are looked at one by one.
            Op::Scan { .. } | Op::Loop { .. } | Op::Call { .. } => {}
            _ if data.dtype == DType::Float => looked.output(node.0.to_string(), node),
            _ => {}
        }
    }
    let values = run(&looked, &named, &packed.lengths, Precision::F32).ok()?;
    // Minus infinity is how masks are written.
    let bad = |value: &Value, wrong: fn(f64) -> bool| value.data.iter().any(|x| wrong(*x));
    let first = |wrong| values.iter().find(|(_, value)| bad(value, wrong));
    let (name, _) = first(f64::is_nan).or_else(|| first(|x| x == f64::INFINITY))?;
    let node = Node(name.parse().ok()?);
    let data = graph.get(node);
    let axes: Vec<&str> = data.axes.iter().map(|axis| axis.name()).collect();
    let word = match &data.op {
        Op::Map(MapOp::Div) => "a division".to_string(),
        Op::Map(op) => format!("{op:?}").to_lowercase(),
        Op::Reduce(op, _) | Op::SegmentReduce(op, _) => format!("{op:?}").to_lowercase(),
        Op::Contract(_) => "a sum of products".into(),
        Op::Result(_) => "a fused operation".into(),
        op => format!("{op:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_lowercase(),
    };
    Some(if axes.is_empty() { word } else { format!("{word} over {}", axes.join(", ")) })
}

/// What an input or a weight holds.
fn numbers(name: &str, packed: &Packed, given: &[(&str, &[f32])]) -> Option<Vec<f64>> {
    if let Some((_, values)) = given.iter().find(|(n, _)| *n == name) {
        return Some(values.iter().map(|x| f64::from(*x)).collect());
    }
    Some(match packed.values.get(name)? {
        ItemValue::Floats(x) => x.iter().map(|x| f64::from(*x)).collect(),
        ItemValue::Ints(x) => x.iter().map(|x| f64::from(*x)).collect(),
        ItemValue::Bools(x) => x.iter().map(|x| f64::from(u8::from(*x))).collect(),
    })
}
