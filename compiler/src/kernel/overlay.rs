//! Where an output may lie in the place of an input.

use crate::storage::Storage;

use super::ir::{BufferId, BufferKind, Part, Program, Scalar, Step};

impl Program {
    /// Whether the output may be written over the input, both by name: each entry of the input is read only for the entry of
    /// the output that takes its place. So it is in a program of one pointwise nest.
    pub fn overlays(&self, input: &str, output: &str) -> bool {
        let find = |wanted: &dyn Fn(&BufferKind) -> bool| {
            let found = self.buffers.iter().position(|buffer| wanted(&buffer.kind));
            found.map(|i| BufferId(i as u32))
        };
        let from = find(&|kind| matches!(kind, BufferKind::Input(name) | BufferKind::Weight(name) if name == input));
        let to = find(&|kind| matches!(kind, BufferKind::Output(name) if name == output));
        let (Some(from), Some(to), [Step::Rows(rows)]) = (from, to, &self.steps[..]) else { return false };
        if [from, to].iter().any(|id| self.buffer(*id).storage != Storage::F32) {
            return false;
        }
        let [Part::Row(block)] = &rows.parts[..] else { return false };
        let mut stores = block.stores.iter().filter(|store| store.buffer == to);
        let (Some(store), None) = (stores.next(), stores.next()) else { return false };
        // Scalars come before stores in a block.
        let apart = block.lets.iter().all(|x| match &x.op {
            Scalar::Load(buffer, at) if *buffer == from => *at == store.at,
            // What was stored is read again: it is no longer the last thing that is done with the place.
            Scalar::Load(buffer, _) => *buffer != to,
            _ => true,
        });
        apart && !store.add
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::fuse;
    use crate::tensor::{Axis, AxisKind, DType, Graph, MapOp};

    #[test]
    fn what_is_worked_out_entry_by_entry_may_be_written_in_place() {
        let entry = Axis::new("entry", AxisKind::Dynamic(0));
        let mut g = Graph::new();
        let [w, m, shared] = [("w", vec![entry.clone()]), ("m", vec![entry.clone()]), ("shared", vec![])]
            .map(|(n, a)| g.input(n, a, DType::Float));
        let next = g.map(MapOp::Add, &[m, w]);
        let moved = g.map(MapOp::Mul, &[next, shared]);
        let sum = g.sum(w, std::slice::from_ref(&entry));
        let by_sum = g.map(MapOp::Mul, &[w, sum]);
        let mut two = g.clone();
        g.output("next.m", next);
        g.output("next.w", moved);
        let program = fuse(&g).unwrap_or_else(|e| panic!("{e}"));
        assert!(program.overlays("w", "next.w") && program.overlays("m", "next.m"));
        assert!(!program.overlays("shared", "next.w"), "every entry reads it");
        assert!(!program.overlays("w", "other") && !program.overlays("other", "next.w"));
        // All entries are read before the first is written.
        two.output("next.w", by_sum);
        let program = fuse(&two).unwrap_or_else(|e| panic!("{e}"));
        assert!(!program.overlays("w", "next.w"));
    }
}
