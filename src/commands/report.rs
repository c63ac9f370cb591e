//! `alignc report`: what was planned for a run, beside what it took.

use crate::args::Report;
use crate::commands::default_out;
use crate::commands::plan::{seconds, shortened};
use crate::failure::Failure;
use crate::print::{out, outln};
use crate::table;
use align_runtime::run::{Actual, StagePlan, read_actual, read_plan};
use align_runtime::train::bytes;
use serde_json::{Value, json};

pub fn report(args: &Report) -> Result<(), Failure> {
    let folder = if args.run.is_dir() { args.run.clone() } else { default_out(&args.run) };
    let (plans, actual) = (read_plan(&folder).map_err(Failure::new)?, read_actual(&folder).map_err(Failure::new)?);
    if actual.is_empty() {
        let message = format!("no stage of the run in {} has ended", folder.display());
        return Err(Failure::new(format!(
            "{message}\n  help: give the folder of a run, or its program; stages that were kept take nothing"
        )));
    }
    let of = |actual: &Actual| plans.iter().find(|plan| plan.hash == actual.hash).cloned().unwrap_or_default();
    let lines: Vec<(StagePlan, Actual)> = actual.into_iter().map(|actual| (of(&actual), actual)).collect();
    match args.json {
        true => lines.iter().for_each(|(plan, actual)| outln!("{}", event(plan, actual))),
        false => out!("{}", text(&lines)),
    }
    Ok(())
}

/// How far what was planned is from what was, in parts of this.
fn far(planned: Option<f64>, was: Option<f64>) -> Option<f64> {
    Some(planned? / was.filter(|was| *was > 0.0)? - 1.0)
}

fn peaks(plan: &StagePlan, actual: &Actual) -> (Option<f64>, Option<f64>) {
    (Some(plan.peak() as f64).filter(|peak| *peak > 0.0), actual.made.peak.map(|peak| peak as f64))
}

fn text(lines: &[(StagePlan, Actual)]) -> String {
    let head = ["stage", "memory", "was", "", "time", "was", ""].map(String::from);
    let share = |x: Option<f64>| x.map_or(String::new(), |x| format!("{:+.0} %", 100.0 * x));
    let row = |(plan, actual): &(StagePlan, Actual)| {
        let (planned, was) = peaks(plan, actual);
        let size = |x: Option<f64>| x.map_or("?".into(), |x| bytes(x as usize));
        vec![
            shortened(&actual.stage, 28),
            size(planned),
            size(was),
            share(far(planned, was)),
            plan.seconds.map_or("?".into(), seconds),
            seconds(actual.made.seconds),
            share(far(plan.seconds, Some(actual.made.seconds))),
        ]
    };
    table::aligned(&head, &lines.iter().map(row).collect::<Vec<_>>(), 1)
}

fn event(plan: &StagePlan, actual: &Actual) -> Value {
    let (planned, was) = peaks(plan, actual);
    json!({ "stage": actual.stage, "planned": plan, "actual": actual.made, "memory_off": far(planned, was),
            "time_off": far(plan.seconds, Some(actual.made.seconds)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use align_runtime::store::Made;

    #[test]
    fn planned_beside_what_was() {
        let plan =
            StagePlan { memory: vec![("weights".into(), 110 << 20)], seconds: Some(80.0), ..StagePlan::default() };
        let made = Made { peak: Some(100 << 20), seconds: 100.0, ..Made::default() };
        let actual = Actual { stage: "imitated".into(), made, ..Actual::default() };
        insta::assert_snapshot!(text(&[(plan, actual.clone()), (StagePlan::default(), actual)]));
    }
}
