//! Graphs run by the interpreter: slow, and right by being plain.

use align_compiler::interp::{Named, Precision, Value, run};
use align_compiler::kernel::Layouts;
use align_compiler::tensor::{Graph, Lengths, Op};

use super::{Bindings, Compiled, Engine, Fault, Slot};
use crate::error::Result;

/// Runs graphs one number at a time, rounded to f32.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

struct Interpreted {
    graph: Graph,
    layouts: Layouts,
}

impl Engine for Interpreter {
    fn name(&self) -> &'static str {
        "interpreter"
    }

    fn threads(&self) -> usize {
        1
    }

    fn compile(&self, graph: &Graph, layouts: &Layouts) -> Result<Box<dyn Compiled>> {
        Ok(Box::new(Interpreted { graph: graph.clone(), layouts: layouts.clone() }))
    }
}

impl Compiled for Interpreted {
    fn run(&self, lengths: &Lengths, bindings: &mut Bindings) -> std::result::Result<(), Fault> {
        let mut given = Named::new();
        for (_, node) in self.graph.nodes() {
            let (Op::Input(name) | Op::Weight(name)) = &node.op else { continue };
            let axes = self.layouts.inputs.get(name).unwrap_or(&node.axes);
            let slot = match bindings.get(name.as_str()) {
                Some(Slot::Over(output)) => bindings.get(output),
                slot => slot,
            };
            let data = match slot {
                Some(Slot::Write(x)) => x.iter().map(|x| f64::from(*x)).collect(),
                Some(Slot::Floats(x)) => x.iter().map(|x| f64::from(*x)).collect(),
                Some(Slot::Ints(x)) => x.iter().map(|x| f64::from(*x)).collect(),
                Some(Slot::Bools(x)) => x.iter().map(|x| f64::from(u8::from(*x))).collect(),
                Some(Slot::Stored(storage, bytes)) => {
                    let count = axes.iter().map(|axis| lengths.size(axis)).product();
                    storage.decode(bytes, count).into_iter().map(f64::from).collect()
                }
                _ => return Err(Fault { what: format!("the input {name} is not given") }),
            };
            given.insert(name.clone(), Value { axes: axes.clone(), dtype: node.dtype, data });
        }
        let outputs = run(&self.graph, &given, lengths, Precision::F32).map_err(|e| Fault { what: e.to_string() })?;
        for (name, value) in outputs {
            match bindings.get_mut(name.as_str()) {
                Some(Slot::Write(to)) => to.iter_mut().zip(&value.data).for_each(|(to, x)| *to = *x as f32),
                Some(Slot::Add(to)) => to.iter_mut().zip(&value.data).for_each(|(to, x)| *to += *x as f32),
                Some(Slot::WriteInts(to)) => to.iter_mut().zip(&value.data).for_each(|(to, x)| *to = *x as i32),
                Some(Slot::WriteBools(to)) => to.iter_mut().zip(&value.data).for_each(|(to, x)| *to = *x != 0.0),
                _ => {}
            }
        }
        Ok(())
    }

    /// All that is read is read first.
    fn overlays(&self, _: &str, _: &str) -> bool {
        true
    }

    /// As if every value were kept to the end as f32.
    fn memory(&self, lengths: &Lengths) -> usize {
        let size = |axes: &[_]| axes.iter().map(|axis| lengths.size(axis)).product::<usize>();
        self.graph.nodes().map(|(_, node)| 4 * size(&node.axes)).sum()
    }
}
