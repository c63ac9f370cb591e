//! The loop of a training stage: next batch, counts, launches, schedules, update, metrics, checkpoints, stop.

use super::{Call, Expr, Function, Local, Stmt, Type, scalar, verify};
use crate::stage::optimizer::Objective;
use crate::stage::train::{Term, TrainStage};
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
    /// `(rate, value)`: a schedule that is logged.
    pub const SET_RATE: Call = Call { name: "set_rate", params: &[Int, Float], result: None };
    /// `(scalar, value)`: a number of the step for the update.
    pub const SET_SCALAR: Call = Call { name: "set_scalar", params: &[Int, Float], result: None };
    /// `(t, factor)`: the optimizer's step t (from 1), the gradient times `factor`.
    pub const UPDATE: Call = call("update", &[Int, Float], Bool);
    /// As `UPDATE`, of an optimizer that asks for the objective elsewhere: -1 where it failed, 0 when the step is made, else
    /// what it asks for.
    pub const UPDATE_ASKING: Call = call("update_asking", &[Int, Float], Int);
    /// Goes to the point at which the objective is asked for, before the next rows are taken.
    pub const AT_POINT: Call = Call { name: "at_point", params: &[], result: None };
    /// `(t, value, factor)`: goes on with the objective at the point, and its gradient times `factor`.
    pub const ANSWER: Call = call("answer", &[Int, Float, Float], Int);
    /// `(step)`: what the stage itself moves after that many steps, and evaluations.
    pub const EVALUATE: Call = call("evaluate", &[Int], Bool);
    /// `(step, loss, norm)`: a line of metrics.
    pub const LOG: Call = call("log", &[Int, Float, Float], Bool);
    /// `(step)`: whether a checkpoint is due after that many steps.
    pub const SAVE_DUE: Call = call("save_due", &[Int], Bool);
    pub const SAVE: Call = call("save", &[Int], Bool);
    /// `(step, loss, norm)`: says why the step is not applied.
    pub const NOT_FINITE: Call = Call { name: "not_finite", params: &[Int, Float, Float], result: None };
}

/// What the loop is told of what an update asks for.
pub fn asked(of: Objective) -> i64 {
    1 + 2 * of.of as i64 + i64::from(of.fresh)
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

/// What a loop is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A whole stage.
    Stage,
    /// The turn of an update in a step of a stage: that stops, evaluates and saves.
    Turn,
}

/// A loop as a function of the steps already made, the steps after which it ends and the steps in all; the updates that the
/// optimizer has made before the stage, and the steps that the clock of schedules had made before it.
pub fn step_loop(stage: &TrainStage, role: Role) -> Result<Function, String> {
    let mut b = Builder { locals: vec![] };
    let (step, end, total) = (b.local("step", Type::Int), b.local("end", Type::Int), b.local("total", Type::Int));
    let (updates_before, time_before) = (b.local("updates_before", Type::Int), b.local("time_before", Type::Int));
    let (micros, i) = (b.local("micro_batches", Type::Int), b.local("i", Type::Int));
    let (loss, norm, factor) =
        (b.local("loss", Type::Float), b.local("norm", Type::Float), b.local("factor", Type::Float));
    let objectives: Vec<&[Term]> =
        std::iter::once(&stage.terms[..]).chain(stage.beside.iter().map(|beside| &beside.terms[..])).collect();
    let mut locals = |terms: &[Term]| -> Vec<(Local, Local)> {
        let local = |term: &Term| {
            (b.local(format!("count.{}", term.name), Type::Float), b.local(format!("sum.{}", term.name), Type::Float))
        };
        terms.iter().map(local).collect()
    };
    let terms: Vec<Vec<(Local, Local)>> = objectives.iter().map(|terms| locals(terms)).collect();
    let schedules: Vec<Local> =
        (0..stage.optimizer.schedules.len()).map(|s| b.local(format!("schedule.{s}"), Type::Float)).collect();
    let asks = stage.optimizer.asks();
    let locals_of_asking = asks
        .then(|| (b.local("asked", Type::Int), b.local("norm_at_first", Type::Float), b.local("value", Type::Float)));
    let read = Expr::Read;
    let next = || map(MapOp::Add, read(step), Expr::Int(1));
    let for_each_micro_batch = |mut body: Vec<Stmt>| {
        body.push(Stmt::Set(i, map(MapOp::Add, read(i), Expr::Int(1))));
        [Stmt::Set(i, Expr::Int(0)), Stmt::While(map(MapOp::Lt, read(i), read(micros)), body)]
    };

    let mut body = vec![];
    if role == Role::Stage {
        let stops = vec![need(call(calls::SAVE, vec![read(step)])), Stmt::Return(Expr::Int(STOPPED))];
        body.push(Stmt::If(call(calls::STOP_ASKED, vec![]), stops, vec![]));
    }
    let taken = || {
        let failed = map(MapOp::Lt, read(micros), Expr::Int(0));
        let stops = Stmt::If(failed, vec![Stmt::Return(Expr::Int(FAULT))], vec![]);
        [Stmt::Set(micros, call(calls::NEXT_BATCH, vec![])), stops]
    };
    body.extend(taken());
    let add = |to: Local, from: Call, term: usize| {
        Stmt::Set(to, map(MapOp::Add, read(to), call(from, vec![Expr::Int(term as i64)])))
    };
    let share = |count: Local, x: Expr| {
        let some = map(MapOp::Gt, read(count), Expr::Float(0.0));
        Expr::Map(MapOp::Where, vec![some, map(MapOp::Div, x, read(count)), Expr::Float(0.0)])
    };
    // Denominators of the whole step come first: they are what gradients are divided by.
    let counted = |of: usize| {
        let terms = &terms[of];
        let mut body: Vec<Stmt> = terms.iter().map(|(count, _)| Stmt::Set(*count, Expr::Float(0.0))).collect();
        let mut counting = vec![need(call(calls::COUNT, vec![read(i)]))];
        counting.extend(terms.iter().enumerate().map(|(t, (count, _))| add(*count, calls::COUNTED, t)));
        body.extend(for_each_micro_batch(counting));
        for (t, (term, (count, _))) in objectives[of].iter().zip(terms).enumerate() {
            let scale = share(*count, Expr::Float(term.coefficient));
            body.push(Stmt::Do(call(calls::SET_SCALE, vec![Expr::Int(t as i64), scale])));
        }
        body
    };
    // The loss, the gradient and its norm, in `at`.
    let launched = |of: usize, at: Local| {
        let terms = &terms[of];
        let mut body: Vec<Stmt> = terms.iter().map(|(_, sum)| Stmt::Set(*sum, Expr::Float(0.0))).collect();
        let mut launching = vec![need(call(calls::LAUNCH, vec![read(i)]))];
        launching.extend(terms.iter().enumerate().map(|(t, (_, sum))| add(*sum, calls::SUMMED, t)));
        body.extend(for_each_micro_batch(launching));
        body.push(Stmt::Set(at, Expr::Float(0.0)));
        for (term, (count, sum)) in objectives[of].iter().zip(terms) {
            let part = share(*count, map(MapOp::Mul, Expr::Float(term.coefficient), read(*sum)));
            body.push(Stmt::Set(at, map(MapOp::Add, read(at), part)));
        }
        body.push(Stmt::Set(norm, call(calls::GRADIENT_NORM, vec![])));
        body.push(Stmt::If(
            map(MapOp::And, finite(read(at)), finite(read(norm))),
            vec![],
            vec![
                Stmt::Do(call(calls::NOT_FINITE, vec![read(step), read(at), read(norm)])),
                Stmt::Return(Expr::Int(FAULT)),
            ],
        ));
        let scaled = match stage.clip {
            Some(limit) => {
                let above = map(MapOp::Add, read(norm), Expr::Float(CLIP_MARGIN));
                map(MapOp::Min, Expr::Float(1.0), map(MapOp::Div, Expr::Float(limit), above))
            }
            None => Expr::Float(1.0),
        };
        body.push(Stmt::Set(factor, scaled));
        body
    };
    body.extend(counted(0));
    body.extend(launched(0, loss));
    let float = |of: Expr| Expr::Cast(Type::Float, Box::new(of));
    let after = |is: bool, before: Local, of: Expr| if is { map(MapOp::Add, of, read(before)) } else { of };
    let timed = |of: Expr| float(after(stage.carry.time, time_before, of));
    for (s, (schedule, to)) in stage.optimizer.schedules.iter().zip(&schedules).enumerate() {
        let input = |name: &str| match name {
            "t" => Some(timed(read(step))),
            "total" => Some(timed(read(total))),
            _ => None,
        };
        let value = scalar(schedule, "value", &input).map_err(|what| format!("schedule {s}: {what}"))?;
        body.push(Stmt::Set(*to, value));
    }
    for (k, (_, schedule)) in stage.optimizer.rates.iter().enumerate() {
        if let Some(rate) = schedules.get(*schedule) {
            body.push(Stmt::Do(call(calls::SET_RATE, vec![Expr::Int(k as i64), read(*rate)])));
        }
    }
    let input = |name: &str| match name {
        "t" => Some(float(after(stage.carry.optimizer, updates_before, next()))),
        "total" => Some(timed(read(total))),
        "loss" => Some(read(loss)),
        name => schedules.get(name.strip_prefix("schedule.")?.parse::<usize>().ok()?).map(|local| read(*local)),
    };
    for (k, graph) in stage.optimizer.scalars.iter().enumerate() {
        let value = scalar(graph, "value", &input)?;
        body.push(Stmt::Do(call(calls::SET_SCALAR, vec![Expr::Int(k as i64), value])));
    }
    match locals_of_asking {
        None => body.push(need(call(calls::UPDATE, vec![next(), read(factor)]))),
        Some((wanted, kept_norm, value)) => {
            body.push(Stmt::Set(kept_norm, read(norm)));
            body.push(Stmt::Set(wanted, call(calls::UPDATE_ASKING, vec![next(), read(factor)])));
            let mut answer = vec![Stmt::Do(call(calls::AT_POINT, vec![]))];
            for of in 0..objectives.len() {
                let is = |fresh| map(MapOp::Eq, read(wanted), Expr::Int(asked(Objective { of, fresh })));
                let taken: Vec<Stmt> = taken().into_iter().collect();
                if of == 0 {
                    // The step's own denominators are known already.
                    answer.push(Stmt::If(is(true), taken.into_iter().chain(counted(0)).collect(), vec![]));
                    let own = map(MapOp::Le, read(wanted), Expr::Int(asked(Objective { of, fresh: true })));
                    match objectives.len() {
                        1 => answer.extend(launched(0, value)),
                        _ => answer.push(Stmt::If(own, launched(0, value), vec![])),
                    }
                    continue;
                }
                let mut other = vec![Stmt::If(is(true), taken, vec![])];
                other.extend(counted(of));
                other.extend(launched(of, value));
                answer.push(Stmt::If(map(MapOp::Or, is(false), is(true)), other, vec![]));
            }
            answer.push(Stmt::Set(wanted, call(calls::ANSWER, vec![next(), read(value), read(factor)])));
            body.push(Stmt::While(map(MapOp::Gt, read(wanted), Expr::Int(0)), answer));
            let failed = map(MapOp::Lt, read(wanted), Expr::Int(0));
            body.push(Stmt::If(failed, vec![Stmt::Return(Expr::Int(FAULT))], vec![]));
            body.push(Stmt::Set(norm, read(kept_norm)));
        }
    }
    body.push(Stmt::Set(step, next()));
    if role == Role::Stage && (stage.eval_every.is_some() || !stage.moves.events.is_empty()) {
        body.push(need(call(calls::EVALUATE, vec![read(step)])));
    }
    body.push(need(call(calls::LOG, vec![read(step), read(loss), read(norm)])));
    if role == Role::Stage {
        let saves = vec![need(call(calls::SAVE, vec![read(step)]))];
        body.push(Stmt::If(call(calls::SAVE_DUE, vec![read(step)]), saves, vec![]));
    }
    let body = vec![Stmt::While(map(MapOp::Lt, read(step), read(end)), body), Stmt::Return(Expr::Int(FINISHED))];
    let function = Function { name: "train".into(), params: 5, locals: b.locals, body };
    verify(&function)?;
    Ok(function)
}
