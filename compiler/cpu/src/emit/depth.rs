//! On how many loops each scalar of a nest depends: that is where it is worked out.

use super::nest::block_of;
use crate::normal::Slot;
use align_compiler::kernel::{Address, Index, Part, Rows, Scalar, Value};

/// For each scalar the number of outer loops it needs, counted over the loops of rows and those of its pass.
pub struct Depths(Vec<usize>);

impl Depths {
    pub fn of(nest: &Rows, slots: &[Slot]) -> Depths {
        let rows = nest.rows.len();
        let mut depths = vec![0; nest.values.len()];
        for part in &nest.parts {
            let inner = match part {
                Part::Row(_) => rows,
                Part::Pass(pass) => rows + pass.loops.len(),
            };
            for step in &block_of(part).lets {
                let of = |value: &Value| depths[value.0 as usize];
                depths[step.value.0 as usize] = match &step.op {
                    Scalar::Const(_) | Scalar::Size(_) => 0,
                    // What the nest writes may change, so it is read where it stands.
                    Scalar::Load(buffer, _) if slots[buffer.0 as usize].stored => inner,
                    Scalar::Load(_, at) => of_address(at, of),
                    Scalar::Index(i) => i + 1,
                    Scalar::Map(_, args) => args.iter().map(of).max().unwrap_or(0),
                    Scalar::Cast(x) => of(x),
                    Scalar::Random { seed, counter, .. } => counter.iter().map(of).max().unwrap_or(0).max(of(seed)),
                };
            }
            if let Part::Pass(pass) = part {
                pass.reduces.iter().for_each(|r| depths[r.result.0 as usize] = rows);
            }
        }
        Depths(depths)
    }

    pub fn of_value(&self, value: Value) -> usize {
        self.0[value.0 as usize]
    }
}

fn of_address(address: &Address, of: impl Fn(&Value) -> usize) -> usize {
    let term = |index: &Index| match index {
        Index::Loop(i) => i + 1,
        Index::Value { value, .. } => of(value),
    };
    address.terms.iter().map(|t| term(&t.index)).max().unwrap_or(0)
}
