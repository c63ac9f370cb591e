use super::*;
use align_compiler::host::{Expr, Local, Stmt};
use align_compiler::tensor::MapOp;

#[derive(Default)]
struct Seen {
    floats: Vec<f64>,
    calls: i64,
}

extern "C" fn keep(seen: &mut Seen, x: f64) {
    seen.floats.push(x);
}

extern "C" fn below(seen: &mut Seen, limit: i64) -> bool {
    seen.calls += 1;
    seen.calls < limit
}

const KEEP: Call = Call { name: "keep", params: &[Type::Float], result: None };
const BELOW: Call = Call { name: "below", params: &[Type::Int], result: Some(Type::Bool) };

fn run(locals: &[(&str, Type)], params: usize, body: Vec<Stmt>, arguments: &[i64]) -> (i64, Seen) {
    let locals = locals.iter().map(|(name, of)| (name.to_string(), *of)).collect();
    let function = Function { name: "test".into(), params, locals, body };
    let symbols = [(KEEP, keep as *const u8), (BELOW, below as *const u8)];
    let program = HostProgram::compile(&function, &symbols).unwrap();
    assert!(program.clif().contains("block0"), "{}", program.clif());
    let mut seen = Seen::default();
    // SAFETY: both functions take a `Seen` and what their calls say.
    let result = unsafe { program.call((&raw mut seen).cast(), arguments) };
    (result, seen)
}

fn map(op: MapOp, inputs: &[Expr]) -> Expr {
    Expr::Map(op, inputs.to_vec())
}

#[test]
fn loops_branches_and_calls() {
    // Adds the even numbers below n, while the runtime says so.
    let (n, i, sum) = (Local(0), Local(1), Local(2));
    let read = Expr::Read;
    let half = Expr::Cast(Type::Float, Box::new(read(i)));
    let half = map(MapOp::Div, &[half, Expr::Float(2.0)]);
    let even = map(MapOp::Eq, &[map(MapOp::Floor, std::slice::from_ref(&half)), half]);
    let body = vec![
        Stmt::While(
            map(MapOp::And, &[map(MapOp::Lt, &[read(i), read(n)]), Expr::Call(BELOW, vec![Expr::Int(9)])]),
            vec![
                Stmt::If(
                    even,
                    vec![
                        Stmt::Set(sum, map(MapOp::Add, &[read(sum), read(i)])),
                        Stmt::Do(Expr::Call(KEEP, vec![Expr::Cast(Type::Float, Box::new(read(sum)))])),
                    ],
                    vec![],
                ),
                Stmt::Set(i, map(MapOp::Add, &[read(i), Expr::Int(1)])),
            ],
        ),
        Stmt::If(
            map(MapOp::Gt, &[read(sum), Expr::Int(11)]),
            vec![Stmt::Return(Expr::Int(-1))],
            vec![Stmt::Return(read(sum))],
        ),
        Stmt::Return(Expr::Int(77)),
    ];
    let locals = [("n", Type::Int), ("i", Type::Int), ("sum", Type::Int)];
    let (result, seen) = run(&locals, 1, body.clone(), &[5]);
    assert_eq!((result, seen.floats, seen.calls), (6, vec![0.0, 2.0, 6.0], 6));
    let (result, seen) = run(&locals, 1, body, &[100]);
    assert_eq!((result, seen.calls), (-1, 9), "0 + 2 + 4 + 6 until the ninth call");
}

#[test]
fn arithmetic() {
    use MapOp::*;
    let x = Expr::Float(-2.5);
    let cases: Vec<(Expr, f64)> = vec![
        (map(Neg, std::slice::from_ref(&x)), 2.5),
        (map(Abs, std::slice::from_ref(&x)), 2.5),
        (map(Sign, std::slice::from_ref(&x)), -1.0),
        (map(Sign, &[Expr::Float(0.0)]), 0.0),
        (map(Exp, std::slice::from_ref(&x)), (-2.5f64).exp()),
        (map(Log, &[Expr::Float(3.0)]), 3f64.ln()),
        (map(Sqrt, &[Expr::Float(3.0)]), 3f64.sqrt()),
        (map(Rsqrt, &[Expr::Float(4.0)]), 0.5),
        (map(Sin, std::slice::from_ref(&x)), (-2.5f64).sin()),
        (map(Cos, std::slice::from_ref(&x)), (-2.5f64).cos()),
        (map(Tanh, std::slice::from_ref(&x)), (-2.5f64).tanh()),
        (map(Sigmoid, std::slice::from_ref(&x)), 1.0 / (1.0 + 2.5f64.exp())),
        (map(Floor, std::slice::from_ref(&x)), -3.0),
        (map(Ceil, std::slice::from_ref(&x)), -2.0),
        (map(Round, std::slice::from_ref(&x)), -2.0),
        (map(Pow, &[Expr::Float(2.0), Expr::Float(0.5)]), 2f64.sqrt()),
        (map(Rem, &[x.clone(), Expr::Float(2.0)]), 1.5),
        (map(Min, &[x.clone(), Expr::Float(1.0)]), -2.5),
        (map(Max, &[x.clone(), Expr::Float(1.0)]), 1.0),
        (map(Where, &[map(IsNan, std::slice::from_ref(&x)), Expr::Float(1.0), Expr::Float(2.0)]), 2.0),
        (Expr::Cast(Type::Float, Box::new(Expr::Cast(Type::Int, Box::new(x.clone())))), -2.0),
        (Expr::Cast(Type::Float, Box::new(map(Sign, &[Expr::Int(-9)]))), -1.0),
        (Expr::Cast(Type::Float, Box::new(map(Mul, &[Expr::Int(-9), Expr::Int(3)]))), -27.0),
        (Expr::Cast(Type::Float, Box::new(map(Or, &[Expr::Bool(false), map(Not, &[Expr::Bool(false)])]))), 1.0),
    ];
    let mut body: Vec<Stmt> = cases.iter().map(|(e, _)| Stmt::Do(Expr::Call(KEEP, vec![e.clone()]))).collect();
    body.push(Stmt::Return(Expr::Int(0)));
    let (_, seen) = run(&[], 0, body, &[]);
    for ((expr, want), got) in cases.iter().zip(&seen.floats) {
        assert!((want - got).abs() <= 1e-15 * want.abs(), "{expr:?}: {got}, not {want}");
    }
    assert_eq!(seen.floats.len(), cases.len());
}

#[test]
fn unknown_functions_are_errors() {
    let function = Function {
        name: "f".into(),
        params: 0,
        locals: vec![],
        body: vec![Stmt::Do(Expr::Call(KEEP, vec![Expr::Float(0.0)])), Stmt::Return(Expr::Int(0))],
    };
    assert_eq!(HostProgram::compile(&function, &[]).err(), Some("there is no function keep".into()));
}
