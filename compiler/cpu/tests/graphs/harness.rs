//! Runs a graph both ways and compares. The suite is that of every device: `device` says which this one is.

use crate::device::{Compiled, THREADS, compile};

use align_compiler::interp::{self, Named, Precision, Value};
use align_compiler::kernel::{Bindings, BufferKind, Fault, Layouts, Program, Slot, fuse_in};
use align_compiler::storage::Storage;
use align_compiler::tensor::{Axis, AxisKind, DType, Graph, Lengths};

/// Numbers of one dtype as slots hold them.
pub enum Data {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
    Bools(Vec<bool>),
    Stored(Storage, Vec<u8>),
}

impl Data {
    fn of(value: &Value, dtype: DType) -> Data {
        match dtype {
            DType::Float => Data::Floats(value.data.iter().map(|x| *x as f32).collect()),
            DType::Int => Data::Ints(value.data.iter().map(|x| *x as i32).collect()),
            DType::Bool => Data::Bools(value.data.iter().map(|x| *x != 0.0).collect()),
        }
    }

    fn zeros(dtype: DType, count: usize) -> Data {
        match dtype {
            DType::Float => Data::Floats(vec![0.25; count]),
            DType::Int => Data::Ints(vec![7; count]),
            DType::Bool => Data::Bools(vec![true; count]),
        }
    }

    pub fn numbers(&self) -> Vec<f64> {
        match self {
            Data::Floats(x) => x.iter().map(|x| f64::from(*x)).collect(),
            Data::Ints(x) => x.iter().map(|x| f64::from(*x)).collect(),
            Data::Bools(x) => x.iter().map(|x| f64::from(u8::from(*x))).collect(),
            Data::Stored(storage, bytes) => panic!("{} bytes in {}", bytes.len(), storage.word()),
        }
    }
}

/// Runs an executable; outputs in the order of the program's buffers. Float outputs are written, or added to 0.25.
pub fn run(
    code: &Compiled,
    program: &Program,
    given: &Named,
    lengths: &Lengths,
    add: bool,
) -> Result<Vec<(String, Data)>, Fault> {
    let mut inputs = vec![];
    let mut outputs = vec![];
    for buffer in &program.buffers {
        match &buffer.kind {
            BufferKind::Input(name) | BufferKind::Weight(name) => {
                let value =
                    given.get(name).unwrap_or_else(|| panic!("{name} is given")).laid_out(&buffer.axes, lengths);
                let data = match (buffer.storage, Data::of(&value, buffer.dtype)) {
                    (Storage::F32, data) => data,
                    (storage, Data::Floats(x)) => Data::Stored(storage, storage.encode(&x)),
                    _ => panic!("{name} is not Float"),
                };
                inputs.push((name.clone(), data));
            }
            BufferKind::Output(name) => {
                outputs.push((name.clone(), Data::zeros(buffer.dtype, buffer.size().get(lengths))));
            }
            _ => {}
        }
    }
    let mut bindings = Bindings::new();
    for (name, data) in &inputs {
        let slot = match data {
            Data::Floats(x) => Slot::Floats(x),
            Data::Ints(x) => Slot::Ints(x),
            Data::Bools(x) => Slot::Bools(x),
            Data::Stored(storage, bytes) => Slot::Stored(*storage, bytes),
        };
        bindings.insert(name, slot);
    }
    for (name, data) in &mut outputs {
        let slot = match data {
            Data::Floats(x) => match add {
                true => Slot::Add(x),
                false => Slot::Write(x),
            },
            Data::Ints(x) => Slot::WriteInts(x),
            Data::Bools(x) => Slot::WriteBools(x),
            Data::Stored(storage, _) => panic!("an output in {}", storage.word()),
        };
        bindings.insert(name, slot);
    }
    code.run(lengths, &mut bindings)?;
    drop(bindings);
    Ok(outputs)
}

/// Within 1e-4 |x| + 1e-5 max|x|; other than floats exactly.
pub fn close(name: &str, want: &[f64], got: &[f64], float: bool, program: &Program) {
    assert_eq!(want.len(), got.len(), "{name}");
    let finite = want.iter().filter(|x| x.is_finite());
    let largest = finite.fold(0f64, |m, x| m.max(x.abs()));
    for (i, (w, g)) in want.iter().zip(got).enumerate() {
        let within = if float { 1e-4 * w.abs() + 1e-5 * largest + 1e-7 } else { 0.0 };
        let same = w == g || (w.is_nan() && g.is_nan()) || (w - g).abs() <= within;
        assert!(same, "{name}[{i}]: {w} by the interpreter, {g} by the kernels of\n{program}");
    }
}

/// The kernels give what the interpreter gives; they give the same bits on three threads and when run again; outputs that
/// add do so.
pub fn check_with(graph: &Graph, given: &Named, lengths: &Lengths) -> Program {
    check_in(graph, given, lengths, &Layouts::default())
}

/// As [`check_with`], of numbers as they are stored.
pub fn check_in(graph: &Graph, given: &Named, lengths: &Lengths, layouts: &Layouts) -> Program {
    let program = fuse_in(graph, layouts).unwrap_or_else(|e| panic!("{e}"));
    let stored = |(name, value): (&String, &Value)| {
        let axes = layouts.inputs.get(name).unwrap_or(&value.axes);
        let stored = layouts.storage.get(name).map(|storage| value.stored(axes, *storage, lengths));
        (name.clone(), stored.unwrap_or_else(|| value.clone()))
    };
    let stored: Named = given.iter().map(stored).collect();
    let wanted = interp::run(graph, &stored, lengths, Precision::F64).unwrap_or_else(|e| panic!("{e}"));
    let code = compile(&program, THREADS[0]);
    let outputs = run(&code, &program, given, lengths, false).unwrap_or_else(|e| panic!("{e}\n{program}"));
    let added = run(&code, &program, given, lengths, true).unwrap_or_else(|e| panic!("{e}\n{program}"));
    assert_eq!(outputs.len(), wanted.len(), "{program}");
    for ((name, data), (_, sum)) in outputs.iter().zip(&added) {
        let (_, value) = wanted.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}"));
        let buffer = program.buffers.iter().find(|b| b.kind == BufferKind::Output(name.clone())).expect("it is there");
        let want = value.laid_out(&buffer.axes, lengths).data;
        let float = buffer.dtype == DType::Float;
        close(name, &want, &data.numbers(), float, &program);
        let by = if float { 0.25 } else { 0.0 };
        let want: Vec<f64> = want.iter().map(|x| x + by).collect();
        close(&format!("{name} added"), &want, &sum.numbers(), float, &program);
    }
    let threads = compile(&program, THREADS[1]);
    for _ in 0..2 {
        let again = run(&threads, &program, given, lengths, false).unwrap_or_else(|e| panic!("{e}"));
        for ((name, x), (_, y)) in outputs.iter().zip(&again) {
            let bits = |d: &Data| d.numbers().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(x), bits(y), "{name} on three threads");
        }
    }
    program
}

/// Numbers that look random, in -1..1.
pub fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0) as f32)
    };
    (0..count).map(|_| next()).collect()
}

/// Values for inputs and weights: floats in -1..1, ints from 0 to 4, bools.
pub fn fill(graph: &Graph, given: &mut Named, lengths: &Lengths) {
    use align_compiler::tensor::Op;
    for (node, data) in graph.nodes() {
        let (Op::Weight(name) | Op::Input(name)) = &data.op else { continue };
        if given.contains_key(name) {
            continue;
        }
        let count = data.axes.iter().map(|a| lengths.size(a)).product();
        let numbers = noise(u64::from(node.0) + 7, count).into_iter().map(|x| match data.dtype {
            DType::Float => x,
            DType::Int => ((x + 1.0) * 2.49).floor(),
            DType::Bool => f64::from(u8::from(x > 0.0)),
        });
        let value = Value { axes: data.axes.clone(), dtype: data.dtype, data: numbers.collect() };
        given.insert(name.clone(), value);
    }
}

pub fn token() -> Axis {
    Axis::ragged("time", 0, None).packed()
}

/// A size that a batch decides: 37.
pub fn many() -> Axis {
    Axis::new("many", AxisKind::Dynamic(0))
}

/// Larger than a block of work: 70001.
pub fn huge() -> Axis {
    Axis::new("huge", AxisKind::Dynamic(1))
}

pub fn dim(n: usize) -> Axis {
    Axis::fixed("dim", n)
}

/// Five sequences, the third of them empty.
pub fn lengths() -> Lengths {
    Lengths::new()
        .with(Axis::item(), vec![5])
        .with(token(), vec![3, 1, 0, 17, 2])
        .with(many(), vec![37])
        .with(huge(), vec![70_001])
}

/// Builds a graph, gives it values, and checks it.
pub fn check(build: impl Fn(&mut Graph)) -> Program {
    let mut graph = Graph::new();
    build(&mut graph);
    let mut given = Named::new();
    fill(&graph, &mut given, &lengths());
    check_with(&graph, &given, &lengths())
}
