//! Errors of the elementary functions, measured through compiled kernels against double precision.

use align_compiler::kernel::{
    Address, Block, Buffer, BufferId, BufferKind, Dim, Index, Lanes, Let, Part, Program, Rows, Scalar, Size, Step,
    Store, Value,
};
use align_compiler::storage::Storage;
use align_compiler::tensor::{Axis, AxisKind, DType, Lengths, MapOp};
use align_cpu::{Bindings, Cpu, Executable, Slot};

fn axis() -> Axis {
    Axis::new("entry", AxisKind::Dynamic(0))
}

/// `out = op(x)`, entry by entry.
fn program(op: MapOp) -> Program {
    let buffer = |name: &str, kind| Buffer {
        name: name.into(),
        dtype: DType::Float,
        storage: Storage::F32,
        axes: vec![axis()],
        kind,
    };
    let at = || Address::default().with(Index::Loop(0), Size::one());
    let lets = vec![
        Let { value: Value(0), op: Scalar::Load(BufferId(0), at()) },
        Let { value: Value(1), op: Scalar::Map(op, vec![Value(0)]) },
    ];
    let stores = vec![Store { buffer: BufferId(1), at: at(), value: Value(1), add: false }];
    let nest = Rows {
        name: format!("{op:?}"),
        rows: vec![Dim { axes: vec![axis()] }],
        parts: vec![Part::Row(Block { lets, stores })],
        values: vec![DType::Float; 2],
        lanes: Lanes::Rows,
    };
    let buffers = vec![buffer("x", BufferKind::Input("x".into())), buffer("out", BufferKind::Output("out".into()))];
    Program { buffers, steps: vec![Step::Rows(nest)], ..Program::default() }
}

fn apply(code: &Executable, x: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let mut bindings = Bindings::from([("x", Slot::Floats(x)), ("out", Slot::Write(&mut out))]);
    code.run(&Lengths::new().with(axis(), vec![x.len()]), &mut bindings).expect("no faults");
    drop(bindings);
    out
}

/// The distance in units of the last place of `want` as an f32, at least those of `floor`.
fn ulps(got: f32, want: f64, floor: f64) -> f64 {
    let exponent = want.abs().max(floor).max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    (f64::from(got) - want).abs() / (exponent - 23.0).exp2()
}

/// The largest error over every `step`th float for which `within` holds.
fn worst(op: MapOp, step: usize, floor: f64, f: impl Fn(f64) -> f64, within: impl Fn(f32) -> bool) -> f64 {
    let code = Cpu::new(2).compile(&program(op)).expect("compiles");
    let mut worst: f64 = 0.0;
    let all: Vec<f32> = (0..=u32::MAX).step_by(step).map(f32::from_bits).filter(|x| within(*x)).collect();
    for x in all.chunks(1 << 20) {
        for (x, got) in x.iter().zip(apply(&code, x)) {
            let want = f(f64::from(*x));
            assert!(!got.is_nan(), "{op:?}({x}) is nan, not {want}");
            let error = ulps(got, want, floor);
            assert!(error < 4.0, "{op:?}({x}) is {got}, not {want}");
            worst = worst.max(error);
        }
    }
    println!("{op:?}: {worst:.3} ulp");
    worst
}

/// A prime, so that all kinds of mantissas come.
const STEP: usize = 1_009;

#[test]
fn exp_is_accurate() {
    let normal = |x: f32| x.is_finite() && (-87.336..88.722).contains(&x);
    assert!(worst(MapOp::Exp, STEP, 0.0, f64::exp, normal) < 1.3);
}

#[test]
fn log_is_accurate() {
    assert!(worst(MapOp::Log, STEP, 0.0, f64::ln, |x| x.is_finite() && x > 0.0) < 1.0);
}

#[test]
fn tanh_is_accurate() {
    assert!(worst(MapOp::Tanh, STEP, 0.0, f64::tanh, f32::is_finite) < 1.3);
}

#[test]
fn sigmoid_is_accurate() {
    let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
    assert!(worst(MapOp::Sigmoid, STEP, 0.0, exact, |x| x.is_finite() && x > -87.0) < 2.5);
}

#[test]
fn sin_and_cos_are_accurate_everywhere() {
    let floor = 0.5;
    assert!(worst(MapOp::Sin, STEP, floor, f64::sin, f32::is_finite) < 1.2);
    assert!(worst(MapOp::Cos, STEP, floor, f64::cos, f32::is_finite) < 1.2);
}

#[test]
fn rsqrt_is_accurate() {
    assert!(worst(MapOp::Rsqrt, STEP, 0.0, |x| 1.0 / x.sqrt(), |x| x.is_finite() && x > 0.0) < 1.5);
}

#[test]
fn special_arguments() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let cases: [(MapOp, &[(f32, f32)]); 13] = [
        (
            MapOp::Exp,
            &[
                (0.0, 1.0),
                (-0.0, 1.0),
                (inf, inf),
                (-inf, 0.0),
                (nan, nan),
                (89.0, inf),
                (-104.0, 0.0),
                (1e38, inf),
                (-1e38, 0.0),
            ],
        ),
        (MapOp::Log, &[(1.0, 0.0), (0.0, -inf), (-0.0, -inf), (inf, inf), (-1.0, nan), (-inf, nan), (nan, nan)]),
        (MapOp::Tanh, &[(0.0, 0.0), (inf, 1.0), (-inf, -1.0), (nan, nan), (1e30, 1.0), (-100.0, -1.0)]),
        (MapOp::Sigmoid, &[(0.0, 0.5), (inf, 1.0), (-inf, 0.0), (nan, nan), (1e30, 1.0), (-1e30, 0.0)]),
        (MapOp::Sin, &[(0.0, 0.0), (inf, nan), (-inf, nan), (nan, nan)]),
        (MapOp::Cos, &[(0.0, 1.0), (inf, nan), (nan, nan)]),
        (MapOp::Sign, &[(0.0, 0.0), (3.0, 1.0), (-0.5, -1.0), (-inf, -1.0), (nan, nan)]),
        (MapOp::Round, &[(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (nan, nan), (inf, inf)]),
        (
            MapOp::Bf16,
            &[
                (1.0, 1.0),
                // Halfway: to the even one.
                (f32::from_bits(0x3f80_8000), 1.0),
                (f32::from_bits(0x3f81_8000), f32::from_bits(0x3f82_0000)),
                (f32::from_bits(0xbf80_8001), f32::from_bits(0xbf81_0000)),
                (f32::MAX, inf),
                (f32::from_bits(0x0000_ffff), f32::from_bits(0x0001_0000)),
                (-inf, -inf),
                (nan, nan),
                (f32::from_bits(0x7fff_ffff), nan),
            ],
        ),
        (MapOp::Floor, &[(-0.5, -1.0), (1.5, 1.0), (1e30, 1e30)]),
        (MapOp::Ceil, &[(-0.5, -0.0), (1.5, 2.0)]),
        (MapOp::Sqrt, &[(4.0, 2.0), (-1.0, nan), (inf, inf)]),
        (MapOp::Rsqrt, &[(4.0, 0.5), (0.0, inf), (inf, 0.0), (-1.0, nan)]),
    ];
    for (op, pairs) in cases {
        let code = Cpu::new(1).compile(&program(op)).expect("compiles");
        // In vectors and one by one.
        for repeat in [1, 5, 16] {
            let x: Vec<f32> = pairs.iter().flat_map(|p| vec![p.0; repeat]).collect();
            for (i, got) in apply(&code, &x).iter().enumerate() {
                let (x, want) = pairs[i / repeat];
                assert!(*got == want || (got.is_nan() && want.is_nan()), "{op:?}({x}) is {got}, not {want}");
            }
        }
    }
}
