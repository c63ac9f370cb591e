use super::*;
use crate::stage::items::ItemLayout;
use crate::stage::optimizer::OptimizerStage;
use crate::stage::states::StageStates;
use crate::stage::train::*;
use crate::tensor::{Axis, AxisKind, DType, Graph};

/// A schedule that falls from `peak` to 0 after a warm-up of `warmup` steps.
fn schedule(peak: f64, warmup: f64) -> Graph {
    let mut g = Graph::new();
    let (t, total) = (g.input("t", vec![], DType::Float), g.input("total", vec![], DType::Float));
    let (peak, warmup) = (g.float(peak), g.float(warmup));
    let early = g.map(MapOp::Lt, &[t, warmup]);
    let up = g.map(MapOp::Div, &[t, warmup]);
    let left = g.map(MapOp::Sub, &[total, t]);
    let down = g.map(MapOp::Div, &[left, total]);
    let share = g.map(MapOp::Where, &[early, up, down]);
    let value = g.map(MapOp::Mul, &[peak, share]);
    g.output("value", value);
    g
}

/// `1 - 0.9^t`, and the schedule itself.
fn scalars() -> Vec<Graph> {
    let mut g = Graph::new();
    let t = g.input("t", vec![], DType::Float);
    let (one, decay) = (g.float(1.0), g.float(0.9));
    let power = g.map(MapOp::Pow, &[decay, t]);
    let correction = g.map(MapOp::Sub, &[one, power]);
    g.output("value", correction);
    let mut lr = Graph::new();
    let rate = lr.input("schedule.0", vec![], DType::Float);
    lr.output("value", rate);
    vec![g, lr]
}

/// A step against the gradient, which counts less at first: `w - lr · g / (1 - 0.9^t)`.
fn update(entry: &Axis) -> Graph {
    let mut g = Graph::new();
    let (w, grad) = (g.input("w", vec![entry.clone()], DType::Float), g.input("g", vec![entry.clone()], DType::Float));
    let (t, lr) = (g.input("t", vec![], DType::Float), g.input("schedule.0", vec![], DType::Float));
    let (one, decay) = (g.float(1.0), g.float(0.9));
    let power = g.map(MapOp::Pow, &[decay, t]);
    let correction = g.map(MapOp::Sub, &[one, power]);
    let grad = g.map(MapOp::Div, &[grad, correction]);
    let step = g.map(MapOp::Mul, &[lr, grad]);
    let next = g.map(MapOp::Sub, &[w, step]);
    g.output("w", next);
    g
}

fn stage() -> TrainStage {
    TrainStage {
        moves: StageStates::default(),
        name: "tuned".into(),
        states: vec![],
        start: Graph::new(),
        coupled: None,
        swept: None,
        swept_along: None,
        step: Graph::new(),
        along: None,
        counts: Graph::new(),
        beside: vec![],
        layout: ItemLayout::default(),
        terms: vec![Term { name: "sft".into(), coefficient: 1.0 }, Term { name: "kl".into(), coefficient: 0.1 }],
        tracks: vec![],
        weights: vec![],
        frozen: vec![],
        narrow: vec![],
        optimizer: OptimizerStage {
            groups: vec![],
            scalars: scalars(),
            schedules: vec![schedule(1e-3, 10.0)],
            rates: vec![("learning_rate".into(), 0)],
        },
        batch: BatchSize::Examples(4),
        reuse: None,
        length: StageLength::Steps(20),
        clip: Some(1.0),
        order: Order::Shuffled,
        seed: 0,
        eval_every: Some(5),
        keep: Keep::Last,
        carry: Default::default(),
    }
}

#[test]
fn the_loop_of_a_stage() {
    let text = step_loop(&stage(), Role::Stage).unwrap().to_string();
    let want = "\
fn train(step: Int, end: Int, total: Int, updates_before: Int, time_before: Int) -> Int {
  var micro_batches: Int
  var i: Int
  var loss: Float
  var norm: Float
  var factor: Float
  var count.sft: Float
  var sum.sft: Float
  var count.kl: Float
  var sum.kl: Float
  var schedule.0: Float
  while (step < end) {
    if stop_asked() {
      if not(save(step)) {
        return 2
      }
      return 1
    }
    micro_batches = next_batch()
    if (micro_batches < 0) {
      return 2
    }
    count.sft = 0.0
    count.kl = 0.0
    i = 0
    while (i < micro_batches) {
      if not(count(i)) {
        return 2
      }
      count.sft = (count.sft + counted(0))
      count.kl = (count.kl + counted(1))
      i = (i + 1)
    }
    set_scale(0, where((count.sft > 0.0), (1.0 / count.sft), 0.0))
    set_scale(1, where((count.kl > 0.0), (0.1 / count.kl), 0.0))
    sum.sft = 0.0
    sum.kl = 0.0
    i = 0
    while (i < micro_batches) {
      if not(launch(i)) {
        return 2
      }
      sum.sft = (sum.sft + summed(0))
      sum.kl = (sum.kl + summed(1))
      i = (i + 1)
    }
    loss = 0.0
    loss = (loss + where((count.sft > 0.0), ((1.0 * sum.sft) / count.sft), 0.0))
    loss = (loss + where((count.kl > 0.0), ((0.1 * sum.kl) / count.kl), 0.0))
    norm = gradient_norm()
    if ((abs(loss) < inf) and (abs(norm) < inf)) {
    } else {
      not_finite(step, loss, norm)
      return 2
    }
    factor = min(1.0, (1.0 / (norm + 1e-6)))
    schedule.0 = (0.001 * where((float(step) < 10.0), (float(step) / 10.0), ((float(total) - float(step)) / float(total))))
    set_rate(0, schedule.0)
    set_scalar(0, (1.0 - pow(0.9, float((step + 1)))))
    set_scalar(1, schedule.0)
    if not(update((step + 1), factor)) {
      return 2
    }
    step = (step + 1)
    if not(evaluate(step)) {
      return 2
    }
    if not(log(step, loss, norm)) {
      return 2
    }
    if save_due(step) {
      if not(save(step)) {
        return 2
      }
    }
  }
  return 0
}
";
    assert_eq!(text, want);
    // A turn neither stops nor saves.
    let turn = step_loop(&stage(), Role::Turn).unwrap().to_string();
    assert!(["stop_asked", "save", "evaluate"].iter().all(|call| !turn.contains(call)), "{turn}");
    let carried = Carry { optimizer: true, data: false, time: true };
    let on = step_loop(&TrainStage { carry: carried, ..stage() }, Role::Stage).unwrap().to_string();
    assert!(on.contains("(1.0 - pow(0.9, float(((step + 1) + updates_before))))"), "{on}");
    assert!(on.contains("float((step + time_before)) < 10.0"), "{on}");
}

#[test]
fn scalars_leave_the_update() {
    let graph = update(&Axis::new("entry", AxisKind::Dynamic(0)));
    let hoisted = hoist(&graph, |name| name == "t" || name == "schedule.0");
    let input = |(_, n): (_, &crate::tensor::NodeData)| match &n.op {
        crate::tensor::Op::Input(name) => Some(name.clone()),
        _ => None,
    };
    let mut inputs: Vec<_> = hoisted.graph.nodes().filter_map(input).collect();
    inputs.sort();
    assert_eq!(inputs, ["g", "scalar.0", "scalar.1", "w"]);
    assert_eq!((hoisted.scalars.len(), hoisted.graph.outputs.len()), (2, 1));
}

#[test]
fn what_is_wrong_is_found() {
    let function = |body: Vec<Stmt>| Function {
        name: "f".into(),
        params: 1,
        locals: vec![("n".into(), Type::Int), ("x".into(), Type::Float)],
        body,
    };
    let done = Stmt::Return(Expr::Int(0));
    let (n, x) = (Expr::Read(Local(0)), Expr::Read(Local(1)));
    let fails = |stmt: Stmt, part: &str| {
        let error = verify(&function(vec![stmt, done.clone()])).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    assert_eq!(verify(&function(vec![done.clone()])), Ok(()));
    fails(Stmt::Set(Local(0), x.clone()), "n is Int");
    fails(Stmt::Set(Local(7), x.clone()), "no local 7");
    fails(Stmt::While(n.clone(), vec![]), "Bool");
    fails(Stmt::Do(Expr::Map(MapOp::Add, vec![n.clone(), x.clone()])), "Add");
    fails(Stmt::Do(Expr::Map(MapOp::Div, vec![n.clone(), n.clone()])), "Div");
    fails(Stmt::Do(Expr::Call(calls::UPDATE, vec![n.clone()])), "update takes 2");
    fails(Stmt::Do(Expr::Call(calls::UPDATE, vec![n.clone(), n])), "Float");
    assert!(verify(&function(vec![])).is_err());
}

#[test]
fn schedules_are_scalar_code() {
    let mut g = schedule(1.0, 2.0);
    let axis = Axis::fixed("a", 2);
    let x = g.input("x", vec![axis.clone()], DType::Float);
    g.outputs.clear();
    g.output("value", x);
    assert!(scalar(&g, "value", &|_| None).unwrap_err().contains("a:2"));
    assert!(scalar(&schedule(1.0, 2.0), "value", &|_| None).unwrap_err().contains("is not known here"));
    assert!(scalar(&g, "rate", &|_| None).is_err());
}
