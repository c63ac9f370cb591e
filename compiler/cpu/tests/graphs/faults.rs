use crate::device::{THREADS, compile};
use crate::harness::{dim, lengths, run, token};
use align_compiler::interp::{Named, Value};
use align_compiler::kernel::{Bindings, Fault, Slot, fuse};
use align_compiler::tensor::{Axis, DType, Graph, MapOp};

fn fault(build: impl Fn(&mut Graph), index: Vec<i64>) -> Fault {
    let mut g = Graph::new();
    build(&mut g);
    let program = fuse(&g).expect("it has kernels");
    let mut given = Named::from([("i".into(), Value::ints(vec![token()], index))]);
    crate::harness::fill(&g, &mut given, &lengths());
    let faults: Vec<Fault> = THREADS
        .into_iter()
        .map(|threads| {
            let code = compile(&program, threads);
            run(&code, &program, &given, &lengths(), false).map(|_| ()).expect_err("a fault")
        })
        .collect();
    assert_eq!(faults[0], faults[1]);
    faults[0].clone()
}

fn vocab() -> Axis {
    Axis::fixed("vocab", 5)
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn an_index_outside_is_told() {
    let reads = |g: &mut Graph| {
        let i = g.input("i", vec![token()], DType::Int);
        let table = g.weight("table", vec![vocab(), dim(3)]);
        let x = g.gather(table, &vocab(), i);
        g.output("x", x);
    };
    let adds = |g: &mut Graph| {
        let i = g.input("i", vec![token()], DType::Int);
        let x = g.input("x", vec![token(), dim(3)], DType::Float);
        let out = g.scatter_add(i, x, &vocab(), vec![vocab(), dim(3)]);
        g.output("out", out);
    };
    for bad in [-1, 5, i64::from(i32::MIN), i64::from(i32::MAX)] {
        let mut index = vec![1; 23];
        index[17] = bad;
        for found in [fault(reads, index.clone()), fault(adds, index)] {
            assert!(matches!(found, Fault::Index { index, .. } if index == bad), "{found}");
        }
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn a_division_by_0_is_told() {
    let divides = |g: &mut Graph| {
        let i = g.input("i", vec![token()], DType::Int);
        let seven = g.int(7);
        let x = g.map(MapOp::Div, &[seven, i]);
        g.output("x", x);
    };
    let mut index = vec![1; 23];
    index[22] = 0;
    assert!(matches!(fault(divides, index), Fault::Division { .. }));
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn slots_are_checked() {
    let mut g = Graph::new();
    let x = g.input("x", vec![dim(3)], DType::Float);
    let y = g.map(MapOp::Neg, &[x]);
    g.output("y", y);
    let code = compile(&fuse(&g).expect("it has kernels"), 1);
    let (floats, few, ints) = ([1f32; 3], [1f32; 2], [1i32; 3]);
    let mut out = [0f32; 3];
    let mut run = |slot: Option<Slot<'_>>| {
        let mut bindings: Bindings = slot.into_iter().map(|slot| ("x", slot)).collect();
        bindings.insert("y", Slot::Write(&mut out));
        code.run(&lengths(), &mut bindings)
    };
    assert_eq!(run(None), Err(Fault::Missing { name: "x".into() }));
    assert!(matches!(run(Some(Slot::Floats(&few))), Err(Fault::Slot { .. })));
    assert!(matches!(run(Some(Slot::Ints(&ints))), Err(Fault::Slot { .. })));
    assert_eq!(run(Some(Slot::Floats(&floats))), Ok(()));
    assert_eq!(out, [-1.0; 3]);
    // An output without a slot is not kept.
    let mut bindings = Bindings::from([("x", Slot::Floats(&floats))]);
    assert_eq!(code.run(&lengths(), &mut bindings), Ok(()));
}
