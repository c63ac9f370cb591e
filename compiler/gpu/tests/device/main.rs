//! What stays on a device, and where its limits are met.

use std::sync::LazyLock;

use align_compiler::kernel::bind::{Bindings, Fault, Slot};
use align_compiler::kernel::device::{DeviceArray, Place};
use align_compiler::kernel::{Program, fuse};
use align_compiler::storage::Storage;
use align_compiler::tensor::{Axis, AxisKind, DType, Graph, Lengths, MapOp};
use align_gpu::Gpu;

static GPU: LazyLock<Gpu> = LazyLock::new(|| Gpu::open(None).unwrap_or_else(|e| panic!("{e}")));

fn program(build: impl Fn(&mut Graph)) -> Program {
    let mut g = Graph::new();
    build(&mut g);
    fuse(&g).unwrap_or_else(|e| panic!("{e}"))
}

/// A size that the caller gives.
fn entry() -> Axis {
    Axis::new("entry", AxisKind::Dynamic(0))
}

fn lengths(count: usize) -> Lengths {
    Lengths::new().with(entry(), vec![count])
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 1013) as f32 * 0.25 - 100.0).collect()
}

/// `y = 2 x + x`.
fn thrice() -> Program {
    program(|g| {
        let x = g.input("x", vec![entry()], DType::Float);
        let two = g.float(2.0);
        let y = g.map(MapOp::Mul, &[x, two]);
        let y = g.map(MapOp::Add, &[y, x]);
        g.output("y", y);
    })
}

/// Bindings begin at multiples of 256 bytes; arrays are read and written from any entry.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn parts_of_arrays_begin_anywhere() {
    let code = GPU.compile(&thrice());
    let x = GPU.array(&numbers(1000));
    for (from, to, count) in [(0, 0, 1000), (1, 0, 100), (64, 64, 64), (63, 129, 500), (999, 7, 1)] {
        let y = GPU.array(&vec![0.5; 1000]);
        for add in [false, true] {
            let (read, write) = (Place::new(&x, from..from + count), Place::new(&y, to..to + count));
            let slot = if add { Slot::AddHeld(write) } else { Slot::WriteHeld(write) };
            let mut bindings = Bindings::from([("x", Slot::Held(read)), ("y", slot)]);
            code.run(&lengths(count), &mut bindings).unwrap_or_else(|e| panic!("{e}"));
            let times = if add { 6.0 } else { 3.0 };
            let want: Vec<f32> = (0..1000usize)
                .map(|i| match i.checked_sub(to).filter(|i| *i < count) {
                    Some(i) => times * numbers(1000)[from + i],
                    None => 0.5,
                })
                .collect();
            assert_eq!(y.read(0..1000).expect("it is there"), want, "{from} {to} {count} {add}");
        }
    }
}

/// A buffer that is bound for reading and for writing would be refused: what is written over what it reads has one binding.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn results_are_written_over_what_they_read() {
    let code = GPU.compile(&thrice());
    assert!(code.overlays("x", "y"));
    let x = GPU.array(&numbers(300));
    let place = Place::new(&x, 10..210);
    let mut bindings = Bindings::from([("x", Slot::Over("y")), ("y", Slot::WriteHeld(place))]);
    code.run(&lengths(200), &mut bindings).unwrap_or_else(|e| panic!("{e}"));
    let found = x.read(0..300).expect("it is there");
    let want = |i: usize, x: f32| if (10..210).contains(&i) { 3.0 * x } else { x };
    assert!(found.iter().zip(numbers(300)).enumerate().all(|(i, (found, x))| *found == want(i, x)));
    let mut host = numbers(200);
    let mut bindings = Bindings::from([("x", Slot::Over("y")), ("y", Slot::Write(&mut host))]);
    code.run(&lengths(200), &mut bindings).unwrap_or_else(|e| panic!("{e}"));
    assert!(host.iter().zip(numbers(200)).all(|(y, x)| *y == 3.0 * x));
}

/// A dimension of a grid has at most 65,535 workgroups.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn grids_have_more_workgroups_than_a_dimension() {
    let wide = Axis::fixed("wide", 20);
    let code = GPU.compile(&program(|g| {
        let x = g.input("x", vec![entry(), wide.clone()], DType::Float);
        let sum = g.sum(x, std::slice::from_ref(&wide));
        let scaled = g.map(MapOp::Div, &[x, sum]);
        let most = g.reduce(align_compiler::tensor::ReduceOp::Max, scaled, std::slice::from_ref(&wide));
        g.output("most", most);
    }));
    let rows = 70_001;
    let x: Vec<f32> = (0..rows).flat_map(|row| (0..20).map(move |i| 1.0 + ((row + i) % 20) as f32)).collect();
    let mut most = vec![0.0; rows];
    let mut bindings = Bindings::from([("x", Slot::Floats(&x)), ("most", Slot::Write(&mut most))]);
    code.run(&lengths(rows), &mut bindings).unwrap_or_else(|e| panic!("{e}"));
    assert!(most.iter().all(|m| (m - 20.0 / 210.0).abs() < 1e-6), "{:?}", &most[65_530..65_540]);
}

/// What a device cannot bind or hold is told with the number, and the device goes on working.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn what_is_too_large_is_told() {
    let code = GPU.compile(&thrice());
    let about = GPU.about();
    let count = (about.binding / 4) as usize + 1024;
    if about.kind == "software" {
        let (x, y) = (GPU.zeros(count), GPU.zeros(count));
        let (read, write) = (Place::new(&x, 0..count), Place::new(&y, 0..count));
        let mut bindings = Bindings::from([("x", Slot::Held(read)), ("y", Slot::WriteHeld(write))]);
        let fault = code.run(&lengths(count), &mut bindings).expect_err("it cannot be bound");
        assert!(matches!(&fault, Fault::Device { what } if what.contains(&(4 * count).to_string())), "{fault}");
    }
    let far = (about.buffer / 4) as usize + 1024;
    let x = GPU.zeros(far);
    let told = x.read(0..1).expect_err("there is no such buffer").to_string();
    assert!(told.contains(&about.buffer.to_string()), "{told}");
    let mut bindings = Bindings::from([("x", Slot::Held(Place::new(&x, 0..8)))]);
    let fault = code.run(&lengths(8), &mut bindings).expect_err("there is no such buffer");
    assert!(matches!(fault, Fault::Device { .. }), "{fault}");
    let (x, mut y) = (numbers(8), vec![0.0; 8]);
    let mut bindings = Bindings::from([("x", Slot::Floats(&x)), ("y", Slot::Write(&mut y))]);
    code.run(&lengths(8), &mut bindings).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(y[3], 3.0 * x[3]);
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn weights_in_fewer_bits_stay_as_bytes() {
    let weight = Axis::fixed("entry", 96);
    for storage in [Storage::Bf16, Storage::Q8, Storage::Q4] {
        let mut g = Graph::new();
        let w = g.weight("w", vec![weight.clone()]);
        let one = g.float(1.0);
        let y = g.map(MapOp::Add, &[w, one]);
        g.output("y", y);
        let mut layouts = align_compiler::kernel::Layouts::default();
        layouts.storage.insert("w".into(), storage);
        let program = align_compiler::kernel::fuse_in(&g, &layouts).unwrap_or_else(|e| panic!("{e}"));
        let code = GPU.compile(&program);
        let bytes = storage.encode(&numbers(96));
        let held = GPU.bytes(&bytes);
        let mut y = vec![0.0; 96];
        let mut bindings = Bindings::from([("w", Slot::StoredHeld(storage, &held)), ("y", Slot::Write(&mut y))]);
        code.run(&Lengths::new(), &mut bindings).unwrap_or_else(|e| panic!("{e}"));
        let want: Vec<f32> = storage.decode(&bytes, 96).into_iter().map(|x| x + 1.0).collect();
        assert_eq!(y, want, "{}", storage.word());
    }
}

/// Passes over whole arrays, in f64.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn passes_over_arrays() {
    let count = 10_007;
    let values = numbers(count);
    let x = GPU.array(&values);
    let norm = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    assert!((x.norm().expect("it is there") / norm - 1.0).abs() < 1e-6);
    for size in [1e25, 1e-25] {
        let far = GPU.array(&[3.0 * size, 4.0 * size]);
        assert!((far.norm().expect("it is there") / (5.0 * f64::from(size)) - 1.0).abs() < 1e-6, "{size}");
    }
    assert!(!GPU.array(&[1.0, f32::NAN]).norm().expect("it is there").is_finite());
    assert!(!GPU.array(&[1.0, f32::INFINITY]).norm().expect("it is there").is_finite());
    x.scale(0.5);
    assert_eq!(x.read(77..79).expect("it is there"), [0.5 * values[77], 0.5 * values[78]]);
    let y = x.zeros(count);
    y.fill(2.0);
    y.copy(5, &x, 100..105);
    let found = y.read(0..12).expect("it is there");
    assert_eq!(found[..5], [2.0; 5]);
    assert_eq!(found[5..10], values[100..105].iter().map(|x| 0.5 * x).collect::<Vec<_>>());
    // A compensated sum keeps what a plain one loses.
    let (sum, carry) = (GPU.array(&[1.0; 70]), GPU.zeros(70));
    for _ in 0..100 {
        let before = carry.read(0..70).expect("it is there");
        carry.write(0, &before.iter().map(|c| c + 1e-8).collect::<Vec<_>>());
        sum.fold(&carry);
    }
    assert!(sum.read(0..70).expect("it is there").iter().all(|s| (s - 1.000_001).abs() < 1.2e-7));
    assert_eq!(GPU.zeros(0).norm().expect("nothing"), 0.0);
}

#[test]
fn a_number_that_no_adapter_has() {
    let told = Gpu::open(Some(1000)).err().expect("there are not so many").to_string();
    assert!(told.starts_with("there is no gpu:1000") || told == "no GPU is found", "{told}");
}

/// Axes may have the names of what kernels call their own.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn axes_have_any_name() {
    let names = ["row", "entry", "part", "chunk", "slice", "lane", "group", "column", "product", "sizes", "first", "k"];
    for pair in names.windows(2) {
        let [a, b] = [0, 1].map(|i| Axis::fixed(pair[i], 40 + i));
        let code = GPU.compile(&program(|g| {
            let x = g.input("x", vec![a.clone(), b.clone()], DType::Float);
            let y = g.map(MapOp::Exp, &[x]);
            let sums = [&a, &b].map(|axis| g.sum(y, std::slice::from_ref(axis)));
            let product = g.contract(x, y, std::slice::from_ref(&b));
            [("y", y), ("first", sums[0]), ("second", sums[1]), ("product", product)]
                .into_iter()
                .for_each(|(name, node)| g.output(name, node));
        }));
        let x = vec![0.0; 40 * 41];
        let mut second = vec![0.0; 40];
        let mut bindings = Bindings::from([("x", Slot::Floats(&x)), ("second", Slot::Write(&mut second))]);
        code.run(&Lengths::new(), &mut bindings).unwrap_or_else(|e| panic!("{pair:?}: {e}"));
        assert_eq!(second, [41.0; 40], "{pair:?}");
    }
}
