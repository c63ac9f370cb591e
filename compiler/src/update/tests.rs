//! Traces of several weights against the same worked out for all of them at once.

use super::localize::localize;
use super::phases::phases;
use super::tensor_axis;
use crate::interp::{Named, Precision, Value, run};
use crate::rewrite::simplify::simplify;
use crate::tensor::{Axis, DType, Graph, Lengths, MapOp, ReduceOp};

fn entry() -> Axis {
    Axis::fixed("entry", 2)
}

/// `w / (1 + max over all weights of their greatest entry) + place`, and the norm of all as a state of each.
fn coupled() -> Graph {
    let mut g = Graph::new();
    let (tensor, entry) = (tensor_axis(), entry());
    let w = g.input("w", vec![tensor.clone(), entry.clone()], DType::Float);
    let own = g.reduce(ReduceOp::Max, w, std::slice::from_ref(&entry));
    let most = g.reduce(ReduceOp::Max, own, std::slice::from_ref(&tensor));
    let one = g.float(1.0);
    let below = g.map(MapOp::Add, &[one, most]);
    let next = g.map(MapOp::Div, &[w, below]);
    let place = g.iota(&tensor);
    let place = g.cast(place, DType::Float);
    let next = g.map(MapOp::Add, &[next, place]);
    let square = g.contract(next, next, &[tensor.clone(), entry.clone()]);
    let norm = g.map(MapOp::Sqrt, &[square]);
    let norm = g.tile(norm, &tensor);
    g.output("w", next);
    g.output("state.norm", norm);
    g
}

#[test]
fn weights_meet_between_phases() {
    let whole = coupled();
    let values = [[1.0, -2.0], [0.5, 4.0], [-3.0, 0.25]];
    let lengths = Lengths::new().with(tensor_axis(), vec![3]);
    let value = |axes: Vec<Axis>, data: Vec<f64>| Value { axes, dtype: DType::Float, data };
    let all: Named = [("w".to_string(), value(vec![tensor_axis(), entry()], values.concat()))].into();
    let expected = run(&whole, &all, &lengths, Precision::F64).unwrap();

    let layout = |name: &str| match name {
        "w" => Some(vec![entry()]),
        "state.norm" => Some(vec![]),
        _ => None,
    };
    let parts = phases(&localize(&simplify(&whole)).unwrap(), &layout);
    assert_eq!(parts.len(), 3, "the norm is of what the greatest entry decides");
    let mut known = Named::new();
    let mut last: Vec<Vec<(String, Value)>> = vec![];
    for part in &parts {
        let mut given: Vec<(String, Vec<f64>)> = vec![];
        last.clear();
        for (here, own) in values.iter().enumerate() {
            let mut inputs = known.clone();
            inputs.insert("w".into(), value(vec![entry()], own.to_vec()));
            inputs.insert("here".into(), Value { axes: vec![], dtype: DType::Int, data: vec![here as f64] });
            let found = run(part, &inputs, &lengths, Precision::F64).unwrap();
            for (name, found) in found.iter().filter(|(name, _)| name.starts_with("all.")) {
                match given.iter_mut().find(|(n, _)| n == name) {
                    Some((_, data)) => data.extend(&found.data),
                    None => given.push((name.clone(), found.data.clone())),
                }
            }
            last.push(found);
        }
        known.extend(given.into_iter().map(|(name, data)| (name, value(vec![tensor_axis()], data))));
    }
    for (name, expected) in expected {
        let found: Vec<f64> =
            last.iter().flat_map(|outputs| outputs.iter().find(|(n, _)| *n == name).unwrap().1.data.clone()).collect();
        assert!(expected.data.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-12), "{name}: {expected:?} {found:?}");
        assert_eq!(expected.data.len(), found.len());
    }
}

#[test]
fn entries_of_other_weights_are_refused() {
    let mut g = Graph::new();
    let w = g.input("w", vec![tensor_axis(), entry()], DType::Float);
    let most = g.reduce(ReduceOp::Max, w, &[tensor_axis()]);
    g.output("w", most);
    assert!(localize(&g).unwrap_err().contains("`entry`"));
}
