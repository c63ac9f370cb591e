//! Why a stage is not a kept one: what of its hash differs, down to files, code and settings.

use std::collections::HashSet;

use super::record::{Input, Part, Record};

/// Something that differs.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// In words, such as `batch 4 examples -> 8 examples`.
    Own(String),
    /// A stage that it depends on, and what differs there.
    Of { stage: String, kind: String, changes: Vec<Change> },
}

impl Change {
    /// The words at the bottom of it, each once.
    pub fn roots(changes: &[Change]) -> Vec<String> {
        fn add(changes: &[Change], roots: &mut Vec<String>) {
            for change in changes {
                match change {
                    Change::Own(words) if !roots.contains(words) => roots.push(words.clone()),
                    Change::Own(_) => {}
                    Change::Of { changes, .. } => add(changes, roots),
                }
            }
        }
        let mut roots = vec![];
        add(changes, &mut roots);
        roots
    }
}

/// What differs in a stage from one that was kept.
pub fn changes(new: &Record, old: &Record) -> Vec<Change> {
    Compared { new, old, seen: HashSet::new() }.parts(0, 0)
}

/// The one of several records of the same stage that differs in the fewest things; of equals the latest.
pub fn nearest<'r>(new: &Record, all: impl IntoIterator<Item = &'r Record>) -> Option<&'r Record> {
    let name = |record: &Record| record.stage().map(|part| (part.name.clone(), part.kind.clone()));
    let same = all.into_iter().filter(|old| name(old) == name(new) && old.program == new.program);
    same.min_by(|a, b| {
        let far = |old: &&Record| Change::roots(&changes(new, old)).len();
        far(a).cmp(&far(b)).then(b.at.total_cmp(&a.at))
    })
}

struct Compared<'r> {
    new: &'r Record,
    old: &'r Record,
    /// Pairs of stages that were compared: what is read twice is told once.
    seen: HashSet<(usize, usize)>,
}

impl Compared<'_> {
    fn parts(&mut self, new: usize, old: usize) -> Vec<Change> {
        let (Some(a), Some(b)) = (self.new.stages.get(new), self.old.stages.get(old)) else { return vec![] };
        if a.hash == b.hash || !self.seen.insert((new, old)) {
            return vec![];
        }
        let mut found = vec![];
        for input in &a.inputs {
            match b.inputs.iter().find(|other| other.name == input.name) {
                None => found.push(Change::Own(format!("{}: {} is new", input.name, words(input)))),
                Some(other) if other.hash == input.hash => {}
                Some(other) => found.extend(self.input(a, b, input, other)),
            }
        }
        let gone = b.inputs.iter().filter(|other| a.inputs.iter().all(|input| input.name != other.name));
        found.extend(gone.map(|other| Change::Own(format!("{}: no {} any more", other.name, words(other)))));
        found
    }

    fn input(&mut self, of: &Part, before: &Part, new: &Input, old: &Input) -> Vec<Change> {
        if let (Some(a), Some(b)) = (new.stage, old.stage) {
            let part = &self.new.stages[a];
            let changes = self.parts(a, b);
            let name = if part.name.is_empty() { part.kind.clone() } else { part.name.clone() };
            return vec![Change::Of { stage: name, kind: part.kind.clone(), changes }];
        }
        if new.name == "rows" {
            return rows(of, before).into_iter().map(Change::Own).collect();
        }
        vec![Change::Own(match (new.name.as_str(), new.shown == old.shown) {
            ("numerics", _) => format!("alignc computes otherwise: {} -> {}", old.shown, new.shown),
            ("file", true) => format!("{} changed", new.shown),
            ("loss" | "optimizer" | "net", true) => format!("code of {} {}", new.name, name_of(&new.shown)),
            ("code", true) => format!("code of {}", if of.name.is_empty() { &of.kind } else { &of.name }),
            (name, true) => format!("{name} changed"),
            (name, false) if is_long(old) && is_long(new) && name_of(&old.shown) == name_of(&new.shown) => {
                let (before, now) = differing(&old.shown, &new.shown);
                format!("{name} {}: {before} -> {now}", name_of(&new.shown))
            }
            (name, false) => format!("{name} {} -> {}", words(old), words(new)),
        })]
    }
}

fn words(input: &Input) -> &str {
    if input.shown.is_empty() { "nothing" } else { &input.shown }
}

/// Whether words are told by what differs in them alone.
fn is_long(input: &Input) -> bool {
    input.shown.chars().count() > 40
}

/// What differs in two texts, from a bracket or comma to the next.
fn differing(old: &str, new: &str) -> (String, String) {
    let [a, b]: [Vec<char>; 2] = [old, new].map(|text| text.chars().collect());
    let mut start = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    while start > 0 && !matches!(a[start - 1], '(' | ',') {
        start -= 1;
    }
    let most = a.len().min(b.len()) - start;
    let mut end = a.iter().rev().zip(b.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    while end > 0 && !matches!(a[a.len() - end], ',' | ')') {
        end -= 1;
    }
    let part = |text: &[char]| match text[start..text.len() - end].iter().collect::<String>().trim() {
        "" => "nothing".to_string(),
        part => part.to_string(),
    };
    (part(&a), part(&b))
}

/// `dpo` of `dpo(beta: 0.1)`.
fn name_of(shown: &str) -> &str {
    shown.split_once('(').map_or(shown, |(name, _)| name)
}

/// Why data have other rows.
fn rows(new: &Part, old: &Part) -> Vec<String> {
    let mut found = vec![];
    for (path, hash) in &new.files {
        match old.files.iter().find(|(other, _)| other == path) {
            Some((_, other)) if other == hash => {}
            Some(_) => found.push(format!("{path} changed")),
            None => found.push(format!("{path} is read now")),
        }
    }
    let gone = old.files.iter().filter(|(path, _)| new.files.iter().all(|(other, _)| other != path));
    found.extend(gone.map(|(path, _)| format!("{path} is read no more")));
    match (found.is_empty(), new.name.is_empty()) {
        (false, _) => found,
        (true, true) => vec!["code of the data".into()],
        (true, false) => vec![format!("code of the data {}", new.name)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, kind: &str, inputs: &[(&str, &str, &str, Option<usize>)], files: &[(&str, &str)]) -> Part {
        let input = |(name, hash, shown, stage): &(&str, &str, &str, Option<usize>)| Input {
            name: name.to_string(),
            hash: hash.to_string(),
            shown: shown.to_string(),
            stage: *stage,
        };
        let hash = inputs.iter().map(|(_, hash, ..)| *hash).collect();
        Part {
            name: name.into(),
            kind: kind.into(),
            hash,
            inputs: inputs.iter().map(input).collect(),
            files: files.iter().map(|(path, hash)| (path.to_string(), hash.to_string())).collect(),
        }
    }

    fn record(at: f64, rows: &str, batch: &str, loss: &str) -> Record {
        let stages = vec![
            part(
                "tuned",
                "train",
                &[
                    ("data", rows, "pairs", Some(1)),
                    ("loss", loss, "dpo(beta: 0.1)", None),
                    ("batch", batch, batch, None),
                ],
                &[],
            ),
            part("pairs", "data", &[("rows", rows, "", None)], &[("x.jsonl", rows), ("y.jsonl", "y")]),
        ];
        Record { program: "a.align".into(), at, seed: 0, params: vec![], stages }
    }

    #[test]
    fn what_differs_is_told_down_to_files() {
        let old = record(1.0, "r", "4", "l");
        assert!(changes(&old, &old).is_empty());
        let of = |new: &Record| Change::roots(&changes(new, &old));
        assert_eq!(of(&record(2.0, "r", "8", "l")), ["batch 4 -> 8"]);
        assert_eq!(of(&record(2.0, "r", "4", "m")), ["code of loss dpo"]);
        let both = record(2.0, "s", "8", "l");
        assert_eq!(of(&both), ["x.jsonl changed", "batch 4 -> 8"]);
        let Change::Of { stage, kind, .. } = &changes(&both, &old)[0] else { panic!("a stage") };
        assert_eq!((stage.as_str(), kind.as_str()), ("pairs", "data"));
    }

    #[test]
    fn long_words_are_told_by_what_differs() {
        let of = |peak: &str, decay: &str| {
            format!("adamw(lr: cosine(peak: {peak}, warmup: 0.05), eps: 1e-8, decay: {decay})")
        };
        let told = |old: &str, new: &str| {
            let (before, now) = differing(old, new);
            format!("{before} -> {now}")
        };
        assert_eq!(told(&of("0.001", "0"), &of("0.002", "0")), "peak: 0.001 -> peak: 0.002");
        assert_eq!(told(&of("0.001", "0"), &of("0.001", "0.1")), "decay: 0 -> decay: 0.1");
        assert_eq!(told("sft(.a, on: x)", "sft(.a)"), ".a, on: x -> .a");
        assert_eq!(told("f(a, a)", "f(a, a, a)"), "a -> a, a");
    }

    #[test]
    fn the_nearest_differs_in_the_fewest_things() {
        let all = [record(1.0, "r", "4", "l"), record(2.0, "s", "8", "l"), record(3.0, "s", "9", "l")];
        assert_eq!(nearest(&record(9.0, "r", "8", "l"), &all).unwrap().at, 2.0);
        assert_eq!(nearest(&record(9.0, "s", "7", "l"), &all).unwrap().at, 3.0, "of equals the latest");
        let mut other = record(9.0, "r", "8", "l");
        other.program = "b.align".into();
        assert!(nearest(&other, &all).is_none());
    }
}
