//! Graphs run by the interpreter: slow, and right by being plain.

use std::any::Any;
use std::cell::RefCell;
use std::ops::Range;

use align_compiler::interp::{Named, Precision, Value, run};
use align_compiler::kernel::Layouts;
use align_compiler::kernel::device::{DeviceArray, DeviceBytes, DeviceError};
use align_compiler::tensor::{Axis, Graph, Lengths, Op};

use super::{Bindings, Compiled, Device, Engine, Fault, Slot, arena};
use crate::error::Result;

/// Runs graphs one number at a time, rounded to f32. It keeps arrays as a device does that has a memory of its own, so what is
/// tested by it is tested for those too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interpreter;

struct Interpreted {
    graph: Graph,
    layouts: Layouts,
}

struct Floats(RefCell<Vec<f32>>);

struct Bytes(Vec<u8>);

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

    fn device(&self) -> Option<&dyn Device> {
        Some(self)
    }

    fn piece(&self) -> usize {
        usize::MAX
    }
}

impl Device for Interpreter {
    fn floats(&self, values: &[f32]) -> Box<dyn DeviceArray> {
        Box::new(Floats(RefCell::new(values.to_vec())))
    }

    fn zeroed(&self, len: usize) -> Box<dyn DeviceArray> {
        Box::new(Floats(RefCell::new(vec![0.0; len])))
    }

    fn bytes(&self, bytes: &[u8]) -> Box<dyn DeviceBytes> {
        Box::new(Bytes(bytes.to_vec()))
    }
}

impl DeviceArray for Floats {
    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    fn read(&self, range: Range<usize>) -> std::result::Result<Vec<f32>, DeviceError> {
        Ok(self.0.borrow()[range].to_vec())
    }

    fn write(&self, at: usize, values: &[f32]) {
        self.0.borrow_mut()[at..at + values.len()].copy_from_slice(values);
    }

    fn zeros(&self, len: usize) -> Box<dyn DeviceArray> {
        Interpreter.zeroed(len)
    }

    fn fill(&self, value: f32) {
        self.0.borrow_mut().fill(value);
    }

    fn copy(&self, at: usize, from: &dyn DeviceArray, range: Range<usize>) {
        self.write(at, &floats(from).0.borrow()[range]);
    }

    fn scale(&self, factor: f32) {
        self.0.borrow_mut().iter_mut().for_each(|x| *x *= factor);
    }

    fn norm(&self) -> std::result::Result<f64, DeviceError> {
        Ok(arena::norm(&self.0.borrow(), 1))
    }

    fn fold(&self, carry: &dyn DeviceArray) {
        arena::fold(&mut self.0.borrow_mut(), &mut floats(carry).0.borrow_mut(), 1);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DeviceBytes for Bytes {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn floats(array: &dyn DeviceArray) -> &Floats {
    array.as_any().downcast_ref().expect("arrays of one engine")
}

impl Compiled for Interpreted {
    fn run(&self, lengths: &Lengths, bindings: &mut Bindings) -> std::result::Result<(), Fault> {
        let count = |axes: &[Axis]| axes.iter().map(|axis| lengths.size(axis)).product();
        let failed = |error: DeviceError| Fault { what: error.0 };
        let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let narrow = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let mut given = Named::new();
        for (_, node) in self.graph.nodes() {
            let (Op::Input(name) | Op::Weight(name)) = &node.op else { continue };
            let axes = self.layouts.inputs.get(name).unwrap_or(&node.axes);
            let slot = match bindings.get(name.as_str()) {
                Some(Slot::Over(output)) => bindings.get(output),
                slot => slot,
            };
            let data = match slot {
                Some(Slot::Write(x)) => wide(x),
                Some(Slot::Floats(x)) => wide(x),
                Some(Slot::Held(x) | Slot::WriteHeld(x)) => wide(&x.array.read(x.range()).map_err(failed)?),
                Some(Slot::Ints(x)) => x.iter().map(|x| f64::from(*x)).collect(),
                Some(Slot::Bools(x)) => x.iter().map(|x| f64::from(u8::from(*x))).collect(),
                Some(Slot::Stored(storage, bytes)) => wide(&storage.decode(bytes, count(axes))),
                Some(Slot::StoredHeld(storage, bytes)) => {
                    let Bytes(bytes) = bytes.as_any().downcast_ref().expect("bytes of one engine");
                    wide(&storage.decode(bytes, count(axes)))
                }
                _ => return Err(Fault { what: format!("the input {name} is not given") }),
            };
            given.insert(name.clone(), Value { axes: axes.clone(), dtype: node.dtype, data });
        }
        let outputs = run(&self.graph, &given, lengths, Precision::F32).map_err(|e| Fault { what: e.to_string() })?;
        for (name, value) in outputs {
            let value = match self.layouts.outputs.get(&name) {
                Some(axes) => value.laid_out(axes, lengths),
                None => value,
            };
            match bindings.get_mut(name.as_str()) {
                Some(Slot::Write(to)) => to.iter_mut().zip(&value.data).for_each(|(to, x)| *to = *x as f32),
                Some(Slot::Add(to)) => to.iter_mut().zip(&value.data).for_each(|(to, x)| *to += *x as f32),
                Some(Slot::WriteHeld(to)) => to.array.write(to.start, &narrow(&value.data)),
                Some(Slot::AddHeld(to)) => {
                    let mut sum = to.array.read(to.range()).map_err(failed)?;
                    sum.iter_mut().zip(&value.data).for_each(|(to, x)| *to += *x as f32);
                    to.array.write(to.start, &sum);
                }
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
