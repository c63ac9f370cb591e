//! Small dense linear algebra, in double precision on the host: one matrix a thread.

use super::view::{Shared, place, sizes, strides, union};
use crate::unit::Frame;
use align_compiler::kernel::{Dense, DenseKind, Fault, View};
use align_compiler::linalg::{Matrix, cholesky, eigh, qr, solve, svd};
use align_compiler::tensor::Axis;
use align_compiler::tensor::graph::rank_axis;
use std::sync::Mutex;

pub struct Task(pub Dense);

/// A result: its numbers by rows, and its axes (one or two).
type Made = (Vec<f64>, Vec<Axis>);

impl Task {
    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, frame: &Frame) -> Result<(), Fault> {
        let Dense { kind, row, column, inputs, outs } = &self.0;
        let lengths = frame.lengths;
        let (rows, columns) = (lengths.size(row), lengths.size(column));
        let fault = |what: String| Fault::Matrix { step: format!("{kind:?}").to_lowercase(), what };
        if *kind == DenseKind::Solve && rows != columns {
            return Err(fault(format!("the matrix of a linear system has {rows} rows and {columns} columns")));
        }
        let rank = rank_axis(rows, columns);
        let others: Vec<Axis> = union(outs).into_iter().filter(|a| ![row, column, &rank].contains(&a)).collect();
        let counts = sizes(&others, lengths);
        let failed: Mutex<Option<(usize, String)>> = Mutex::new(None);
        frame.pool.run(counts.iter().product(), &|_, number| {
            let base = |view: &View| place(number, &counts, &strides(view, &others, lengths));
            let read = |view: &View, axes: &[&Axis]| {
                let axes: Vec<Axis> = axes.iter().map(|a| (*a).clone()).collect();
                let (sizes, strides, base) = (sizes(&axes, lengths), strides(view, &axes, lengths), base(view));
                let from = Shared(frame.floats(view.buffer).wrapping_add(view.offset + base));
                // SAFETY: within the view.
                let one = |i| f64::from(unsafe { from.get(place(i, &sizes, &strides)) });
                (0..sizes.iter().product()).map(one).collect::<Vec<f64>>()
            };
            let matrix = Matrix { rows, columns, data: read(&inputs[0], &[row, column]) };
            let right = inputs.get(1).map(|y| read(y, &[row]));
            match decomposed(*kind, matrix, right, [row, column, &rank]) {
                Ok(all) => {
                    for (view, (data, axes)) in outs.iter().zip(all) {
                        let (sizes, strides, base) = (sizes(&axes, lengths), strides(view, &axes, lengths), base(view));
                        let to = Shared(frame.floats(view.buffer).wrapping_add(view.offset + base));
                        for (i, x) in data.iter().enumerate() {
                            // SAFETY: within the view; matrices lie in different places.
                            unsafe { to.set(place(i, &sizes, &strides), *x as f32) };
                        }
                    }
                }
                Err(what) => {
                    let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                        *failed = Some((number, what.into()));
                    }
                }
            }
        });
        let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.map_or(Ok(()), |(_, what)| Err(fault(what)))
    }
}

fn decomposed(
    kind: DenseKind,
    matrix: Matrix,
    right: Option<Vec<f64>>,
    [row, column, rank]: [&Axis; 3],
) -> Result<Vec<Made>, &'static str> {
    let on = |data: Vec<f64>, axes: &[&Axis]| (data, axes.iter().map(|a| (*a).clone()).collect());
    Ok(match kind {
        DenseKind::Solve => {
            let x = solve(matrix, right.unwrap_or_default()).ok_or("the matrix of a linear system is singular")?;
            vec![on(x, &[column])]
        }
        DenseKind::Cholesky => {
            let l = cholesky(&matrix).ok_or("the matrix of a Cholesky decomposition is not positive definite")?;
            vec![on(l.data, &[row, column])]
        }
        DenseKind::Qr => {
            let (q, r) = qr(&matrix);
            vec![on(q.data, &[row, rank]), on(r.data, &[rank, column])]
        }
        DenseKind::Eigh => {
            let (values, vectors) = eigh(&matrix);
            vec![on(values, &[column]), on(vectors.data, &[row, column])]
        }
        DenseKind::Svd => {
            let (u, s, v) = svd(&matrix);
            vec![on(u.data, &[row, rank]), on(s, &[rank]), on(v.data, &[column, rank])]
        }
    })
}
