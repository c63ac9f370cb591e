//! The loop of a training stage: next batch, counts, launches, schedules, update, metrics, checkpoints, stop.

use super::{Call, Expr, Function, Local, Stmt, Type, hoist, scalar, scalar_node, verify};
use crate::stage::train::TrainStage;
use crate::tensor::MapOp;

/// What the loop gives: all steps are made; it was asked to stop, and saved; a call failed and said why.
pub const FINISHED: i64 = 0;
pub const STOPPED: i64 = 1;
pub const FAULT: i64 = 2;

/// The functions of the runtime that the loop calls. Those that give a Bool give false where they failed.
pub mod calls {
    use super::super::Type::{Bool, Float, Int};
    use super::super::{Call, Type};

    const fn call(name: &'static str, params: &'static [Type], result: Type) -> Call {
        Call { name, params, result: Some(result) }
    }

    pub const STOP_ASKED: Call = call("stop_asked", &[], Bool);
    /// Takes the next rows and cuts them into micro-batches: how many these are, or -1.
    pub const NEXT_BATCH: Call = call("next_batch", &[], Int);
    /// `(micro-batch)`: works out the denominators of its terms.
    pub const COUNT: Call = call("count", &[Int], Bool);
    /// `(term)`: its denominator over the micro-batch that was counted last.
    pub const COUNTED: Call = call("counted", &[Int], Float);
    /// `(term, scale)`.
    pub const SET_SCALE: Call = Call { name: "set_scale", params: &[Int, Float], result: None };
    /// `(micro-batch)`: forward and backward; its gradient is added.
    pub const LAUNCH: Call = call("launch", &[Int], Bool);
    /// `(term)`: its numerator over the micro-batch that was launched last.
    pub const SUMMED: Call = call("summed", &[Int], Float);
    pub const GRADIENT_NORM: Call = call("gradient_norm", &[], Float);
    /// `(value)`: what is logged as the learning rate.
    pub const SET_RATE: Call = Call { name: "set_rate", params: &[Float], result: None };
    /// `(scalar, value)`: a scalar of [`hoist`](super::super::hoist) for the update.
    pub const SET_SCALAR: Call = Call { name: "set_scalar", params: &[Int, Float], result: None };
    /// `(t, factor)`: the optimizer's step t (from 1), the gradient times `factor`.
    pub const UPDATE: Call = call("update", &[Int, Float], Bool);
    /// `(step)`: evaluations after that many steps.
    pub const EVALUATE: Call = call("evaluate", &[Int], Bool);
    /// `(step, loss, norm)`: a line of metrics.
    pub const LOG: Call = call("log", &[Int, Float, Float], Bool);
    /// `(step)`: whether a checkpoint is due after that many steps.
    pub const SAVE_DUE: Call = call("save_due", &[Int], Bool);
    pub const SAVE: Call = call("save", &[Int], Bool);
    /// `(step, loss, norm)`: says why the step is not applied.
    pub const NOT_FINITE: Call = Call { name: "not_finite", params: &[Int, Float, Float], result: None };
}

/// Added to the norm before it divides, as torch has it.
const CLIP_MARGIN: f64 = 1e-6;

struct Builder {
    locals: Vec<(String, Type)>,
}

impl Builder {
    fn local(&mut self, name: impl Into<String>, of: Type) -> Local {
        self.locals.push((name.into(), of));
        Local(self.locals.len() as u32 - 1)
    }
}

fn map(op: MapOp, a: Expr, b: Expr) -> Expr {
    Expr::Map(op, vec![a, b])
}

fn call(call: Call, inputs: Vec<Expr>) -> Expr {
    Expr::Call(call, inputs)
}

/// Gives up where a call failed.
fn need(call: Expr) -> Stmt {
    Stmt::If(Expr::Map(MapOp::Not, vec![call]), vec![Stmt::Return(Expr::Int(FAULT))], vec![])
}

fn finite(x: Expr) -> Expr {
    map(MapOp::Lt, Expr::Map(MapOp::Abs, vec![x]), Expr::Float(f64::INFINITY))
}

/// The loop of a stage as a function of the steps already made and the steps in all.
pub fn step_loop(stage: &TrainStage) -> Result<Function, String> {
    let mut b = Builder { locals: vec![] };
    let (step, total) = (b.local("step", Type::Int), b.local("total", Type::Int));
    let (micros, i) = (b.local("micro_batches", Type::Int), b.local("i", Type::Int));
    let (loss, norm, factor) =
        (b.local("loss", Type::Float), b.local("norm", Type::Float), b.local("factor", Type::Float));
    let terms: Vec<(Local, Local)> = (stage.terms.iter())
        .map(|term| {
            (b.local(format!("count.{}", term.name), Type::Float), b.local(format!("sum.{}", term.name), Type::Float))
        })
        .collect();
    let schedules: Vec<Local> =
        (0..stage.optimizer.schedules.len()).map(|s| b.local(format!("schedule.{s}"), Type::Float)).collect();
    let read = Expr::Read;
    let next = || map(MapOp::Add, read(step), Expr::Int(1));
    let for_each_micro_batch = |mut body: Vec<Stmt>| {
        body.push(Stmt::Set(i, map(MapOp::Add, read(i), Expr::Int(1))));
        [Stmt::Set(i, Expr::Int(0)), Stmt::While(map(MapOp::Lt, read(i), read(micros)), body)]
    };

    let mut body = vec![
        Stmt::If(
            call(calls::STOP_ASKED, vec![]),
            vec![need(call(calls::SAVE, vec![read(step)])), Stmt::Return(Expr::Int(STOPPED))],
            vec![],
        ),
        Stmt::Set(micros, call(calls::NEXT_BATCH, vec![])),
        Stmt::If(map(MapOp::Lt, read(micros), Expr::Int(0)), vec![Stmt::Return(Expr::Int(FAULT))], vec![]),
    ];
    // Denominators of the whole step come first: they are what gradients are divided by.
    body.extend(terms.iter().flat_map(|(count, sum)| [count, sum]).map(|x| Stmt::Set(*x, Expr::Float(0.0))));
    let add = |to: Local, from: Call, term: usize| {
        Stmt::Set(to, map(MapOp::Add, read(to), call(from, vec![Expr::Int(term as i64)])))
    };
    let mut counting = vec![need(call(calls::COUNT, vec![read(i)]))];
    counting.extend(terms.iter().enumerate().map(|(t, (count, _))| add(*count, calls::COUNTED, t)));
    body.extend(for_each_micro_batch(counting));
    let share = |count: Local, x: Expr| {
        let some = map(MapOp::Gt, read(count), Expr::Float(0.0));
        Expr::Map(MapOp::Where, vec![some, map(MapOp::Div, x, read(count)), Expr::Float(0.0)])
    };
    for (t, (term, (count, _))) in stage.terms.iter().zip(&terms).enumerate() {
        let scale = share(*count, Expr::Float(term.coefficient));
        body.push(Stmt::Do(call(calls::SET_SCALE, vec![Expr::Int(t as i64), scale])));
    }
    let mut launching = vec![need(call(calls::LAUNCH, vec![read(i)]))];
    launching.extend(terms.iter().enumerate().map(|(t, (_, sum))| add(*sum, calls::SUMMED, t)));
    body.extend(for_each_micro_batch(launching));
    body.push(Stmt::Set(loss, Expr::Float(0.0)));
    for (term, (count, sum)) in stage.terms.iter().zip(&terms) {
        let part = share(*count, map(MapOp::Mul, Expr::Float(term.coefficient), read(*sum)));
        body.push(Stmt::Set(loss, map(MapOp::Add, read(loss), part)));
    }
    body.push(Stmt::Set(norm, call(calls::GRADIENT_NORM, vec![])));
    let reported = vec![read(step), read(loss), read(norm)];
    body.push(Stmt::If(
        map(MapOp::And, finite(read(loss)), finite(read(norm))),
        vec![],
        vec![Stmt::Do(call(calls::NOT_FINITE, reported)), Stmt::Return(Expr::Int(FAULT))],
    ));
    let scaled = match stage.clip {
        Some(limit) => {
            let above = map(MapOp::Add, read(norm), Expr::Float(CLIP_MARGIN));
            map(MapOp::Min, Expr::Float(1.0), map(MapOp::Div, Expr::Float(limit), above))
        }
        None => Expr::Float(1.0),
    };
    body.push(Stmt::Set(factor, scaled));
    let float = |of: Expr| Expr::Cast(Type::Float, Box::new(of));
    for (s, (schedule, to)) in stage.optimizer.schedules.iter().zip(&schedules).enumerate() {
        let input = |name: &str| match name {
            "t" => Some(float(read(step))),
            "total" => Some(float(read(total))),
            _ => None,
        };
        let value = scalar(schedule, "value", &input).map_err(|what| format!("schedule {s}: {what}"))?;
        body.push(Stmt::Set(*to, value));
    }
    if let Some(rate) = stage.optimizer.learning_rate.and_then(|s| schedules.get(s)) {
        body.push(Stmt::Do(call(calls::SET_RATE, vec![read(*rate)])));
    }
    let input = |name: &str| match name {
        "t" => Some(float(next())),
        name => schedules.get(name.strip_prefix("schedule.")?.parse::<usize>().ok()?).map(|local| read(*local)),
    };
    for (k, node) in hoist(&stage.optimizer.update).scalars.into_iter().enumerate() {
        let value = scalar_node(&stage.optimizer.update, node, &input)?;
        body.push(Stmt::Do(call(calls::SET_SCALAR, vec![Expr::Int(k as i64), value])));
    }
    body.push(need(call(calls::UPDATE, vec![next(), read(factor)])));
    body.push(Stmt::Set(step, next()));
    if stage.eval_every.is_some() {
        body.push(need(call(calls::EVALUATE, vec![read(step)])));
    }
    body.push(need(call(calls::LOG, vec![read(step), read(loss), read(norm)])));
    body.push(Stmt::If(
        call(calls::SAVE_DUE, vec![read(step)]),
        vec![need(call(calls::SAVE, vec![read(step)]))],
        vec![],
    ));
    let body = vec![Stmt::While(map(MapOp::Lt, read(step), read(total)), body), Stmt::Return(Expr::Int(FINISHED))];
    let function = Function { name: "train".into(), params: 2, locals: b.locals, body };
    verify(&function)?;
    Ok(function)
}
