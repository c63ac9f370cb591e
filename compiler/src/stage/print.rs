//! The stage graph as text: `emit --level stages`.

use super::graph::{
    Cell, PatchStart, Points, Reads, Stage, StageEval, StageGraph, StageId, StageKind, Table, TrainNode, UpdateNode,
};
use super::number::Number;
use super::policy::PolicySpec;
use super::train::{BatchSize, Order, StageLength, TrainStage};
use crate::batch::training::UNUSED;
use crate::rewrite::Rewrites;
use crate::tensor::{Axis, AxisKind, Graph, MapOp};
use std::collections::HashMap;
use std::fmt;

/// A stage: what it is, what it reads, and its slots on lines of their own.
pub(super) fn stage(f: &mut fmt::Formatter<'_>, graph: &StageGraph, id: StageId, stage: &Stage) -> fmt::Result {
    write!(f, "%{} {}", id.index(), word(&stage.kind))?;
    if !stage.name.is_empty() {
        write!(f, " {}", stage.name)?;
    }
    let inputs = graph.inputs(id);
    let of = |what: fn(&Reads) -> bool| inputs.iter().find(|(_, reads)| what(reads)).map(|(from, _)| from.index());
    match &stage.kind {
        StageKind::Init(init) => write!(f, " = {} seed {}", net(&init.policy), init.seed)?,
        StageKind::Patch(patch) => {
            let from = of(|r| *r == Reads::Policy).unwrap_or_default();
            write!(f, " = {} over %{from} ", net(&patch.policy))?;
            match &patch.start {
                PatchStart::Drawn { seed } => write!(f, "seed {seed}")?,
                PatchStart::Read(stored) => write!(f, "from {:?}", stored.path)?,
            }
        }
        StageKind::Load(load) => write!(f, " = {} from {:?}", net(&load.policy), load.path)?,
        StageKind::Merge(merge) => {
            let from = of(|r| *r == Reads::Policy).unwrap_or_default();
            write!(f, " = {} of %{from}", net(&merge.policy))?;
            for (from, _) in inputs.iter().filter(|(_, reads)| matches!(reads, Reads::Frozen(_))) {
                write!(f, ", %{}", from.index())?;
            }
        }
        StageKind::Choose(choose) => {
            let [then, otherwise] = [true, false].map(|side| of_side(&inputs, side));
            write!(f, " = {} of %{then} if {} else %{otherwise}", net(&choose.policy), number(&choose.condition))?;
        }
        StageKind::Join(_) | StageKind::Part(_) => {
            let policy = match &stage.kind {
                StageKind::Join(join) => &join.policy,
                StageKind::Part(part) => &part.policy,
                _ => unreachable!("it is one of these"),
            };
            let from = inputs.iter().map(|(from, _)| format!("%{}", from.index())).collect::<Vec<_>>().join(", ");
            write!(f, " = {} of {from}", net(policy))?;
        }
        StageKind::Data(data) => {
            write!(f, ": {} rows", grouped(data.rows))?;
            if data.passes > 1 {
                write!(f, " in {} passes", data.passes)?;
            }
        }
        StageKind::Train(_) | StageKind::Evaluate(_) | StageKind::Save(_) => {
            if let Some(policy) = of(|r| *r == Reads::Policy) {
                write!(f, " %{policy}")?;
            }
            for (from, _) in inputs.iter().filter(|(_, reads)| matches!(reads, Reads::Frozen(_))) {
                write!(f, ", reads %{}", from.index())?;
            }
            if let Some(kept) = of(|r| *r == Reads::Kept) {
                write!(f, ", with %{kept}")?;
            }
            if let Some(data) = of(|r| *r == Reads::Data) {
                write!(f, " on %{data}")?;
            }
        }
        StageKind::Sample(sample) => {
            let policies: Vec<String> = inputs.iter().map(|(from, _)| format!("%{}", from.index())).collect();
            write!(f, " {} for {} prompts", policies.join(", "), grouped(sample.asks.len()))?;
        }
        StageKind::Ask(ask) => write!(f, " {}", ask.server.name())?,
        StageKind::Show(_) | StageKind::Assert(_) | StageKind::Plot(_) => {}
    }
    writeln!(f, "  {:?}", stage.hash)?;
    match &stage.kind {
        StageKind::Train(node) => train(f, node),
        StageKind::Evaluate(node) => {
            node.numbers.iter().enumerate().try_for_each(|(i, name)| writeln!(f, "  .{i} {name}"))?;
            node.answers.iter().try_for_each(|answer| writeln!(f, "  .{} of each row", answer.name))
        }
        StageKind::Sample(sample) => {
            let wanted = &sample.wanted;
            writeln!(f, "  {} replies of up to {} tokens", wanted.replies(), wanted.max_tokens)
        }
        StageKind::Ask(ask) => writeln!(f, "  {} requests", grouped(ask.questions.len())),
        StageKind::Save(save) => match &save.precision {
            Some(precision) => writeln!(f, "  to {:?} as {precision}", save.to),
            None => writeln!(f, "  to {:?}", save.to),
        },
        StageKind::Show(show) => table(f, &show.table),
        StageKind::Plot(plot) => plot.series.iter().try_for_each(|series| match &series.points {
            Points::Logged { stage, name } => writeln!(f, "  %{}.{name} as {:?}", stage.index(), series.label),
            Points::Numbers(points) => writeln!(f, "  {} points as {:?}", points.len(), series.label),
        }),
        StageKind::Assert(assert) => writeln!(f, "  {}", number(&assert.holds)),
        StageKind::Init(_)
        | StageKind::Patch(_)
        | StageKind::Load(_)
        | StageKind::Merge(_)
        | StageKind::Choose(_)
        | StageKind::Join(_)
        | StageKind::Part(_)
        | StageKind::Data(_) => Ok(()),
    }
}

/// See [`StageGraph::planned`].
pub(super) fn planned(graph: &StageGraph) -> String {
    let order = graph.order();
    let mut labels: HashMap<usize, String> = HashMap::new();
    for id in &order {
        let stage = graph.get(*id);
        let name = if stage.name.is_empty() { word(&stage.kind) } else { &stage.name };
        let others = (2..).map(|i| format!("{name}#{i}"));
        let free = std::iter::once(name.to_string()).chain(others).find(|label| labels.values().all(|l| l != label));
        labels.insert(id.index(), free.unwrap_or_default());
    }
    let mut text = String::new();
    for id in &order {
        let stage = graph.get(*id);
        let printed = Printed(graph, *id).to_string();
        for (at, line) in printed.lines().enumerate() {
            let line = match at {
                0 => line.rsplit_once("  #").map_or(line, |(line, _)| line),
                _ => line,
            };
            let line = match (at, line.split_once(' ')) {
                // The label says the name.
                (0, Some((number, rest))) => {
                    let kind = word(&stage.kind);
                    let rest = rest.strip_prefix(kind).unwrap_or(rest);
                    let rest = rest
                        .strip_prefix(&format!(" {}", stage.name))
                        .filter(|_| !stage.name.is_empty())
                        .unwrap_or(rest);
                    format!("{number}: {kind}{rest}")
                }
                _ => line.to_string(),
            };
            text += &named(&line, &labels);
            text.push('\n');
        }
        if let StageKind::Train(node) = &stage.kind {
            let wide = wide_values(&node.stage.step);
            let others = node.stage.frozen.len() + node.policy.patches.len();
            if others > 0 && !graph.copies {
                text += "  holds weights that policies have in common once\n";
            }
            let unused = node.stage.step.outputs.iter().filter(|(name, _)| name.starts_with(UNUSED)).count();
            if unused > 0 {
                text += &format!("  works out the gradients of {unused} weights that are not trained\n");
            }
            text += &match wide.iter().max() {
                Some(most) => format!("  holds {} values of up to {} numbers a token\n", wide.len(), grouped(*most)),
                None => "  holds no logits\n".to_string(),
            };
        }
    }
    text
}

struct Printed<'g, 'p>(&'g StageGraph<'p>, StageId);

impl fmt::Display for Printed<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        stage(f, self.0, self.1, self.0.get(self.1))
    }
}

/// The text with labels for `%1`, `%2`, ..
fn named(text: &str, labels: &HashMap<usize, String>) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match part[..digits].parse().ok().and_then(|id: usize| labels.get(&id)) {
            Some(label) => out += &format!("{label}{}", &part[digits..]),
            None => out += &format!("%{part}"),
        }
    }
    out
}

/// Of values that a step holds for every token, the numbers a token of those that are as wide as logits.
fn wide_values(step: &Graph) -> Vec<usize> {
    let wide = Rewrites::default().wide;
    let packed = |axis: &Axis| matches!(axis.kind(), AxisKind::Packed(_));
    let values = step.nodes().filter(|(_, data)| data.axes.iter().any(packed));
    let numbers = values.map(|(_, data)| data.axes.iter().filter_map(Axis::fixed_size).product());
    numbers.filter(|n| *n >= wide).collect()
}

/// The stage that a choice takes if its condition holds, or does not.
fn of_side(inputs: &[(StageId, Reads)], side: bool) -> usize {
    inputs.iter().find(|(_, reads)| *reads == Reads::Side(side)).map_or(0, |(from, _)| from.index())
}

/// What a stage does, in a word.
pub fn word(kind: &StageKind) -> &'static str {
    match kind {
        StageKind::Init(_) => "init",
        StageKind::Patch(_) => "patch",
        StageKind::Load(_) => "load",
        StageKind::Merge(_) => "merge",
        StageKind::Choose(_) => "choose",
        StageKind::Join(_) => "join",
        StageKind::Part(_) => "part",
        StageKind::Data(_) => "data",
        StageKind::Train(_) => "train",
        StageKind::Evaluate(_) => "evaluate",
        StageKind::Sample(_) => "sample",
        StageKind::Ask(_) => "ask",
        StageKind::Save(_) => "save",
        StageKind::Show(_) => "show",
        StageKind::Assert(_) => "assert",
        StageKind::Plot(_) => "plot",
    }
}

fn net(policy: &PolicySpec) -> String {
    format!("{}, {} numbers in {} weights", policy.net, grouped(policy.size()), policy.weights.len())
}

/// What updates which weights, and what it keeps.
fn optimizer(f: &mut fmt::Formatter<'_>, stage: &TrainStage) -> fmt::Result {
    let optimizer = &stage.optimizer;
    for group in &optimizer.groups {
        let states: Vec<&str> = group.states.iter().map(|state| state.name.as_str()).collect();
        let numbers: usize = group.weights.iter().map(|i| stage.weights[*i].len).sum();
        let phases: usize = group.variants.iter().map(|variant| variant.phases.len()).max().unwrap_or(0);
        let view: Vec<String> = group.view.iter().map(|axis| axis.to_string()).collect();
        write!(
            f,
            "  optimizer of {} numbers on [{}], state [{}]",
            grouped(numbers),
            view.join(", "),
            states.join(", ")
        )?;
        if group.variants.len() > 1 {
            write!(f, ", {} ways to go", group.variants.len())?;
        }
        if phases > 1 {
            write!(f, ", {phases} phases")?;
        }
        writeln!(f)?;
    }
    let rates: Vec<&str> = optimizer.rates.iter().map(|(name, _)| name.as_str()).collect();
    writeln!(f, "  schedules {}, logged as [{}]", optimizer.schedules.len(), rates.join(", "))
}

fn train(f: &mut fmt::Formatter<'_>, node: &TrainNode) -> fmt::Result {
    let stage = &node.stage;
    learns(f, stage)?;
    match stage.length {
        StageLength::Steps(n) => writeln!(f, "  steps {}", grouped(n))?,
        StageLength::Epochs(n) => writeln!(f, "  epochs {n}")?,
    }
    clips(f, stage)?;
    match stage.order {
        Order::Shuffled => writeln!(f, "  order shuffled, seed {}", stage.seed)?,
        Order::Given => writeln!(f, "  order given")?,
    }
    if stage.keep.decides().is_some() {
        writeln!(f, "  keep {}", stage.keep)?;
    }
    trains(f, stage)?;
    for update in &node.updates {
        let UpdateNode { name, every, times, is_first, .. } = update;
        let place = if *is_first { "before" } else { "after" };
        writeln!(f, "  update {name}, {place} the stage's own, every {every} steps, {times} of its own")?;
        learns(f, &update.stage)?;
        clips(f, &update.stage)?;
        trains(f, &update.stage)?;
    }
    for StageEval { name, .. } in &node.evals {
        writeln!(f, "  eval {name}, every {}", stage.eval_every.unwrap_or_default())?;
    }
    Ok(())
}

/// What an update makes small, and how.
fn learns(f: &mut fmt::Formatter<'_>, stage: &TrainStage) -> fmt::Result {
    for term in &stage.terms {
        writeln!(f, "  loss {} * {}", term.coefficient, term.name)?;
    }
    if !stage.states.is_empty() {
        let states: Vec<&str> = stage.states.iter().map(|state| state.name.as_str()).collect();
        writeln!(f, "  loss state [{}]", states.join(", "))?;
    }
    for term in stage.beside.iter().flat_map(|beside| &beside.terms) {
        writeln!(f, "  of the optimizer, loss {} * {}", term.coefficient, term.name)?;
    }
    if stage.along.is_some() || stage.beside.iter().any(|beside| beside.along.is_some()) {
        writeln!(f, "  derivatives along a direction")?;
    }
    if stage.coupled.is_some() {
        writeln!(f, "  all examples of a step together")?;
    }
    optimizer(f, stage)?;
    match stage.batch {
        BatchSize::Examples(n) => writeln!(f, "  batch {} examples", grouped(n)),
        BatchSize::Tokens(n) => writeln!(f, "  batch {} tokens", grouped(n)),
    }
}

fn clips(f: &mut fmt::Formatter<'_>, stage: &TrainStage) -> fmt::Result {
    match stage.clip {
        Some(norm) => writeln!(f, "  clip {norm}"),
        None => writeln!(f, "  clip none"),
    }
}

fn trains(f: &mut fmt::Formatter<'_>, stage: &TrainStage) -> fmt::Result {
    let trained: usize = stage.weights.iter().map(|w| w.len).sum();
    writeln!(f, "  trains {} numbers in {} weights", grouped(trained), stage.weights.len())
}

fn table(f: &mut fmt::Formatter<'_>, table: &Table) -> fmt::Result {
    if !table.head.is_empty() {
        writeln!(f, "  {}", table.head.join(" | "))?;
    }
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(cell).collect();
        writeln!(f, "  {}", cells.join(" | "))?;
    }
    Ok(())
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => format!("{text:?}"),
        Cell::Number(n) => number(n),
        Cell::Answer { stage, output, row } => format!("%{}.{output}[{row}]", stage.index()),
    }
}

fn number(n: &Number) -> String {
    let (op, inputs) = match n {
        Number::Known(value) => return value.to_string(),
        Number::Of { stage, output } => return format!("%{}.{output}", stage.index()),
        Number::OfRows(_) => {
            let read: Vec<String> = n.reads().iter().map(|(stage, _)| format!("%{}", stage.index())).collect();
            return format!("of the rows of {}", read.join(", "));
        }
        Number::Map(op, inputs) => (op, inputs.iter().map(number).collect::<Vec<_>>()),
    };
    let symbol = match op {
        MapOp::Add => "+",
        MapOp::Sub => "-",
        MapOp::Mul => "*",
        MapOp::Div => "/",
        MapOp::Lt => "<",
        MapOp::Le => "<=",
        MapOp::Gt => ">",
        MapOp::Ge => ">=",
        MapOp::Eq => "==",
        MapOp::Ne => "!=",
        MapOp::And => "and",
        MapOp::Or => "or",
        _ => return format!("{}({})", format!("{op:?}").to_lowercase(), inputs.join(", ")),
    };
    format!("({})", inputs.join(&format!(" {symbol} ")))
}

/// 118912 as `118_912`.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}
