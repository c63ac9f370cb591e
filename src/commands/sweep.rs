//! `alignc sweep`: a program with all combinations of some settings, in one table.

use crate::args::{Settings, Sweep};
use crate::commands::{STORE, about, build, checked, default_out, must_run, rebuilt, stop_at_interrupt, threads, told};
use crate::device;
use crate::failure::Failure;
use crate::print::{errln, out, outln};
use crate::table;
use align_compiler::program::Program;
use align_compiler::stage::params;
use align_runtime::run::{self, Finding, Progress, RunOptions, Running, Shared, steps};
use align_runtime::world::Files;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of the setting that is the run's seed, unless a param is called so.
const SEED: &str = "seed";
/// Columns of a table.
const WIDTH: usize = 80;

/// One run of a sweep.
struct Run {
    /// Settings that are told apart, in the order of the command line; the seed last.
    settings: Vec<(String, String)>,
    seed: u64,
    folder: PathBuf,
    /// Numbers by name, or why there are none.
    found: Result<Vec<(String, f64)>, String>,
}

pub fn sweep(args: &Sweep) -> Result<(), Failure> {
    let world = Files::of_program(".", &args.file).with_store(STORE);
    let (program, _) = checked(&args.file, &world)?;
    must_run(&program, &args.file)?;
    let is_seed = |name: &str| name == SEED && !params::names(&program).contains(&name);
    let mut axes: Vec<(String, Vec<String>)> = vec![];
    for (name, text) in &args.sets {
        let values = values(text).map_err(|what| Failure::Usage(format!("--set {name}={text}: {what}")))?;
        if is_seed(name) && values.iter().any(|value| value.parse::<u64>().is_err()) {
            return Err(Failure::Usage(format!("--set {name}={text}: a seed is a whole number from 0 on")));
        }
        axes.push((name.clone(), values));
    }
    // Runs that differ in their seeds alone stand together.
    axes.sort_by_key(|(name, _)| is_seed(name));
    let root = args.out.clone().unwrap_or_else(|| default_out(&args.file).join("sweep"));
    let all = combinations(&axes);
    let stop = stop_at_interrupt("stopping after this step")?;
    let mut runs = vec![];
    for (i, settings) in all.iter().enumerate() {
        let name = settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
        errln!("{}/{}  {name}", i + 1, all.len());
        let folder = root.join(name.replace(['/', '\\'], "_"));
        let seed = settings.iter().find(|(name, _)| is_seed(name)).and_then(|(_, value)| value.parse().ok());
        let seed = seed.unwrap_or(args.seed);
        let sets = settings.iter().filter(|(name, _)| !is_seed(name)).cloned().collect();
        let found = one(args, &program, &world, Settings { sets, seed, without: vec![] }, &folder, &stop);
        if stop.load(Ordering::Relaxed) {
            return Err(Failure::new("stopped; the same command goes on from here"));
        }
        if let Err(why) = &found {
            errln!("  failed: {why}");
        }
        runs.push(Run { settings: settings.clone(), seed, folder, found });
    }
    let json: Vec<Value> = runs.iter().map(Run::json).collect();
    let path = root.join("results.json");
    let written = fs::create_dir_all(&root).and_then(|()| fs::write(&path, format!("{:#}\n", json!(json))));
    written.map_err(|error| Failure::io(&path, "write", &error))?;
    match args.json {
        true => json.iter().for_each(|run| outln!("{run}")),
        false => out!("{}", text(&runs, &is_seed)),
    }
    match runs.iter().all(|run| run.found.is_ok()) {
        true => Ok(()),
        false => Err(Failure::Said),
    }
}

/// Runs one combination.
fn one(
    args: &Sweep,
    program: &Program,
    world: &Files,
    settings: Settings,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<Vec<(String, f64)>, String> {
    let message = |failure: Failure| match failure {
        Failure::Message(message) | Failure::Usage(message) => message,
        Failure::Said => "as said above".into(),
    };
    let graph = build(program, &settings, world).map_err(message)?;
    let options = RunOptions {
        out: folder.to_path_buf(),
        store: STORE.into(),
        memory: args.machine.memory,
        checkpoint_every: None,
        tensorboard: false,
        profile: None,
        about: about(program, settings.seed),
    };
    let (engine, _) = device::engine(args.machine.into(), threads(args.machine.threads), &graph).map_err(message)?;
    let mut collected = Collected::default();
    let building = super::options(&settings);
    let mut first = Some(graph);
    let report = {
        let shown: RefCell<&mut dyn Progress> = RefCell::new(&mut collected);
        let running = Running::new(world, &options, (&*engine, stop), &shown);
        let mut again = || {
            let built = rebuilt(program, &building, &running);
            running.rest();
            built
        };
        let mut build = || first.take().map_or_else(&mut again, Ok);
        run::run(&mut build, &options, &*engine, &mut Shared(&shown), stop)
    };
    let report = report.map_err(|error| message(told(error, program)))?;
    if let Some(claim) = report.failed.first() {
        return Err(format!("this does not hold: {}", claim.text));
    }
    let mut found = collected.numbers;
    // What the last step of each stage logged.
    let metrics = fs::read(folder.join("metrics.jsonl")).unwrap_or_default();
    let mut last: Vec<(String, f64)> = vec![];
    for line in steps(&metrics) {
        if let (Some(stage), Some(loss)) = (line["stage"].as_str(), line["loss"].as_f64()) {
            let name = format!("{stage} loss");
            match last.iter_mut().find(|(known, _)| *known == name) {
                Some((_, value)) => *value = loss,
                None => last.push((name, loss)),
            }
        }
    }
    found.extend(last);
    Ok(found)
}

/// Numbers that a program shows.
#[derive(Default)]
struct Collected {
    numbers: Vec<(String, f64)>,
}

impl Progress for Collected {
    fn found(&mut self, finding: &Finding) {
        let Finding::Shown(shown) = finding else { return };
        let is_one = shown.rows.len() == 1;
        for row in &shown.rows {
            // Rows of a longer table are told apart by their first text.
            let of = row.iter().find(|cell| cell.parse::<f64>().is_err());
            if !is_one && of.is_none() {
                continue;
            }
            for (name, cell) in shown.head.iter().zip(row) {
                let Ok(value) = cell.parse::<f64>() else { continue };
                let name = if is_one { name.clone() } else { format!("{} {name}", of.map_or("", |of| of)) };
                self.numbers.push((name, value));
            }
        }
    }
}

impl Run {
    fn json(&self) -> Value {
        let settings: Map<String, Value> = self
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), serde_json::from_str(value).unwrap_or(json!(value))))
            .collect();
        let (numbers, failed) = match &self.found {
            Ok(found) => (found.iter().map(|(name, x)| (name.clone(), json!(x))).collect::<Map<_, _>>(), Value::Null),
            Err(why) => (Map::new(), json!(why)),
        };
        json!({ "settings": settings, "seed": self.seed, "folder": self.folder, "found": numbers, "failed": failed })
    }
}

/// The values of a setting: between commas, or a range of whole numbers.
fn values(text: &str) -> Result<Vec<String>, String> {
    if let Some((from, to)) = text.split_once("..") {
        let number = |text: &str| text.parse::<i64>().map_err(|_| "a range is of whole numbers".to_string());
        let (from, to) = (number(from)?, number(to)?);
        return match to - from {
            1..=1000 => Ok((from..to).map(|n| n.to_string()).collect()),
            n if n > 1000 => Err("this is more than a thousand values".into()),
            _ => Err("the range is empty: its end is no part of it".into()),
        };
    }
    let values: Vec<String> = text.split(',').map(|value| value.trim().to_string()).collect();
    match values.iter().any(String::is_empty) {
        true => Err("a value is empty".into()),
        false => Ok(values),
    }
}

/// Each value of each axis with each of the others, the last axis fastest.
fn combinations(axes: &[(String, Vec<String>)]) -> Vec<Vec<(String, String)>> {
    let mut all = vec![vec![]];
    for (name, values) in axes {
        let with = |before: &Vec<(String, String)>| -> Vec<Vec<(String, String)>> {
            let one = |value: &String| before.iter().cloned().chain([(name.clone(), value.clone())]).collect();
            values.iter().map(one).collect()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

/// A row for each combination of what is no seed: means over the seeds, and their standard deviation.
fn text(runs: &[Run], is_seed: &dyn Fn(&str) -> bool) -> String {
    let own = |run: &Run| -> Vec<(String, String)> {
        run.settings.iter().filter(|(name, _)| !is_seed(name)).cloned().collect()
    };
    let mut groups: Vec<(Vec<(String, String)>, Vec<&Run>)> = vec![];
    for run in runs {
        match groups.iter_mut().find(|(settings, _)| *settings == own(run)) {
            Some((_, of)) => of.push(run),
            None => groups.push((own(run), vec![run])),
        }
    }
    let mut names: Vec<&str> = vec![];
    for (name, _) in runs.iter().flat_map(|run| run.found.iter().flatten()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let seeds = groups.iter().map(|(_, of)| of.len()).max().unwrap_or(0);
    let mut head: Vec<String> = runs.first().map(own).into_iter().flatten().map(|(name, _)| name).collect();
    if seeds > 1 {
        head.push("seeds".into());
    }
    let mut rows: Vec<Vec<String>> = vec![];
    for (settings, of) in &groups {
        let mut row: Vec<String> = settings.iter().map(|(_, value)| value.clone()).collect();
        let whole = of.iter().filter(|run| run.found.is_ok()).count();
        match (seeds > 1, whole == of.len()) {
            (true, true) => row.push(whole.to_string()),
            (true, false) => row.push(format!("{whole}, {} failed", of.len() - whole)),
            (false, _) => {}
        }
        rows.push(row);
    }
    let column = |name: &str| -> Vec<String> {
        let cell = |(_, of): &(_, Vec<&Run>)| {
            let values = of.iter().filter_map(|run| run.found.as_ref().ok()?.iter().find(|(n, _)| n == name));
            summary(&values.map(|(_, value)| *value).collect::<Vec<_>>())
        };
        groups.iter().map(cell).collect()
    };
    // As many tables below each other as the columns need.
    let keys = head.len();
    let (mut out, mut rest) = (String::new(), &names[..]);
    loop {
        let (mut heads, mut cells) = (head.clone(), rows.clone());
        let mut taken = 0;
        for name in rest {
            let (mut more, mut wider) = (heads.clone(), cells.clone());
            more.push(crate::commands::plan::shortened(name, 36));
            wider.iter_mut().zip(column(name)).for_each(|(row, cell)| row.push(cell));
            let fits = table::aligned(&more, &wider, keys).lines().all(|line| line.chars().count() <= WIDTH);
            if !fits && taken > 0 {
                break;
            }
            (heads, cells, taken) = (more, wider, taken + 1);
        }
        out += &table::aligned(&heads, &cells, keys);
        rest = &rest[taken..];
        if rest.is_empty() {
            return out;
        }
        out += "\n";
    }
}

/// The mean, and the standard deviation of several.
fn summary(values: &[f64]) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let spread = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    match values.len() {
        0 => "failed".into(),
        1 => table::number(mean),
        _ => format!("{} ± {}", table::number(mean), table::number(spread)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_lists_or_ranges() {
        let of = |text: &str| values(text).map(|values| values.join(" "));
        assert_eq!(of("0.05, 0.1,0.3"), Ok("0.05 0.1 0.3".into()));
        assert_eq!(of("1..4"), Ok("1 2 3".into()));
        assert_eq!(of("abc"), Ok("abc".into()));
        assert!(["", "1,,2", "3..3", "a..b", "0..99999"].iter().all(|text| of(text).is_err()));
    }

    #[test]
    fn means_over_seeds_stand_in_tables_of_eighty_columns() {
        let axes = [("beta", vec!["0.1", "0.3"]), ("seed", vec!["1", "2", "3"])]
            .map(|(name, values)| (name.to_string(), values.into_iter().map(String::from).collect()));
        let mut runs: Vec<Run> = vec![];
        for (i, settings) in combinations(&axes).into_iter().enumerate() {
            let numbers =
                ["accuracy(tuned, sums.test, .answer)", "perplexity(tuned, sums.test, .answer)", "tuned loss"];
            let found = numbers.iter().map(|name| (name.to_string(), 0.5 + i as f64 / 16.0)).collect();
            let found = if i == 4 { Err("this does not hold".to_string()) } else { Ok(found) };
            runs.push(Run { settings, seed: i as u64, folder: PathBuf::new(), found });
        }
        let shown = text(&runs, &|name| name == "seed");
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
        insta::assert_snapshot!(shown);
    }
}
