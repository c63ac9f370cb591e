//! Decompositions of small matrices: the host works them out in double precision, as the CPU back end does.

use std::time::Instant;

use align_compiler::interp::{Precision, Value};
use align_compiler::kernel::reference::decomposed;
use align_compiler::kernel::{Dense, Fault, View};
use align_compiler::tensor::{Axis, DType};

use crate::pool::Place;
use crate::run::{Frame, Run, Seat};

impl Run<'_, '_> {
    /// Waits for what is recorded, reads the matrices, and gives the results.
    pub(crate) fn dense(&mut self, frame: &Frame, dense: &Dense) -> Result<(), Fault> {
        let whole = |view: &View| place(frame.seat(view.buffer), frame, view);
        let places: Vec<Place> = dense.inputs.iter().chain(&dense.outs).map(whole).collect();
        let read = self.recorder.read(&places)?;
        let start = Instant::now();
        let mut words: Vec<Vec<f32>> = read.iter().map(|bytes| bytemuck::pod_collect_to_vec(bytes)).collect();
        let mut outs = words.split_off(dense.inputs.len());
        let seen = |(view, words): (&View, &Vec<f32>)| {
            let first = frame.seat(view.buffer).first;
            let axes: Vec<Axis> = view.axes.iter().map(|(axis, _)| axis.clone()).collect();
            let data = view.places(frame.lengths).into_iter().map(|at| f64::from(words[first + at])).collect();
            Value { axes, dtype: DType::Float, data }
        };
        let inputs = dense.inputs.iter().zip(&words).map(seen).collect();
        let failed = |what: String| Fault::Matrix { step: format!("{:?}", dense.kind).to_lowercase(), what };
        let results = decomposed(dense, inputs, frame.lengths, Precision::F64).map_err(failed)?;
        for (((view, value), words), place) in
            dense.outs.iter().zip(results).zip(&mut outs).zip(&places[dense.inputs.len()..])
        {
            let seat = frame.seat(view.buffer);
            let axes: Vec<Axis> = view.axes.iter().map(|(axis, _)| axis.clone()).collect();
            let value = value.laid_out(&axes, frame.lengths);
            for (at, x) in view.places(frame.lengths).into_iter().zip(value.data) {
                let old = if seat.bound.add { words[seat.first + at] } else { 0.0 };
                words[seat.first + at] = old + x as f32;
            }
            self.device().queue.write_buffer(&place.buffer, place.offset, bytemuck::cast_slice(words));
        }
        self.recorder.ran(start);
        Ok(())
    }
}

/// All entries of the buffer of a view, from where it is bound.
fn place(seat: &Seat, frame: &Frame, view: &View) -> Place {
    let entries = frame.unit.program.buffer(view.buffer).size().get(frame.lengths);
    Place { bytes: 4 * (seat.first + entries) as u64, ..seat.place.clone() }
}
