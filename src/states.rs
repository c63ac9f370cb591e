//! What a run would do with each stage, and why.

use crate::args::Settings;
use crate::commands::options;
use align_compiler::program::Program;
use align_compiler::stage::build::build;
use align_compiler::stage::graph::{StageGraph, StageId, StageKind};
use align_runtime::run::About;
use align_runtime::store::changes::{Change, changes, nearest};
use align_runtime::store::{Made, Record, Store, checkpoint};
use align_runtime::world::Files;
use std::collections::HashMap;

/// What is there of a stage.
pub enum State {
    /// It is finished.
    Kept(Option<Made>),
    /// A checkpoint is there, of this step.
    Begun(usize),
    /// Another one of its name is there: the nearest, and what differs from it.
    Changed(Box<Record>, Reason),
    New,
}

/// Why a stage is not the one that is kept.
#[derive(Default)]
pub struct Reason {
    /// Settings of the program that have other values: name, before, now.
    pub params: Vec<(String, String, String)>,
    /// What differs beside what these do.
    pub rest: Vec<Change>,
}

impl Reason {
    /// In few words, the causes alone.
    pub fn words(&self) -> Vec<String> {
        let params = self.params.iter().map(|(name, before, now)| format!("{name} {before} -> {now}"));
        params.chain(Change::roots(&self.rest)).collect()
    }
}

/// Stages whose results are kept.
pub fn is_kept(kind: &StageKind) -> bool {
    matches!(kind, StageKind::Train(_) | StageKind::Evaluate(_) | StageKind::Sample(_))
}

/// What there is of the stages of a program.
pub struct States<'a> {
    program: &'a Program,
    world: &'a Files,
    settings: &'a Settings,
    about: &'a About,
    store: Store,
    /// What is noted of kept stages.
    records: Vec<Record>,
    /// Stages of the program with other values of some params, by these.
    others: HashMap<Vec<(String, String)>, HashMap<(String, String), Record>>,
}

impl<'a> States<'a> {
    pub fn new(
        program: &'a Program,
        world: &'a Files,
        settings: &'a Settings,
        about: &'a About,
        store: &str,
    ) -> States<'a> {
        let store = Store::new(store);
        let records = store.list().into_iter().filter_map(|listed| listed.record).collect();
        States { program, world, settings, about, store, records, others: HashMap::new() }
    }

    pub fn of(&mut self, graph: &StageGraph, id: StageId) -> State {
        if let StageKind::Ask(ask) = &graph.get(id).kind {
            return if ask.is_answered { State::Kept(None) } else { State::New };
        }
        let entry = self.store.entry(&graph.get(id).hash.to_string());
        if entry.is_finished() {
            return State::Kept(entry.made());
        }
        if let Some(step) = entry.work_if_there().and_then(|work| checkpoint::steps(work).first().copied()) {
            return State::Begun(step);
        }
        let new = Record::of(graph, id, self.about);
        match nearest(&new, &self.records).cloned() {
            Some(old) => {
                let reason = self.reason(&new, &old);
                State::Changed(Box::new(old), reason)
            }
            None => State::New,
        }
    }

    /// Settings are told apart from the rest by trying: with their old values, is the stage the old one?
    fn reason(&mut self, new: &Record, old: &Record) -> Reason {
        let value = |name: &str| old.params.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        let differ = new.params.iter().filter_map(|(name, now)| {
            let before = value(name)?;
            (before != *now).then(|| (name.clone(), before, now.clone()))
        });
        let differ: Vec<(String, String, String)> = differ.collect();
        let back = |of: &[&(String, String, String)]| -> Vec<(String, String)> {
            of.iter().map(|(name, before, _)| (name.clone(), plain(before))).collect()
        };
        if differ.is_empty() {
            return Reason { params: vec![], rest: changes(new, old) };
        }
        let all = back(&differ.iter().collect::<Vec<_>>());
        let Some(reverted) = self.with(new, all) else { return Reason { params: vec![], rest: changes(new, old) } };
        let is = |record: &Record| record.stage().map(|part| part.hash.clone());
        let mut params = vec![];
        for param in &differ {
            // One that makes no difference is no reason.
            let matters = match differ.len() {
                1 => is(&reverted) != is(new),
                _ => self.with(new, back(&[param])).is_none_or(|alone| is(&alone) != is(new)),
            };
            if matters {
                params.push(param.clone());
            }
        }
        Reason { params, rest: changes(&reverted, old) }
    }

    /// The stage of this name where these params have other values.
    fn with(&mut self, of: &Record, sets: Vec<(String, String)>) -> Option<Record> {
        let part = of.stage()?;
        let key = (part.name.clone(), part.kind.clone());
        if let Some(known) = self.others.get(&sets) {
            return known.get(&key).cloned();
        }
        let mut options = options(self.settings);
        options.sets.extend(sets.iter().cloned());
        let graph = build(self.program, &options, self.world).ok()?;
        let kept = graph.stages().filter(|(_, stage)| is_kept(&stage.kind));
        let records = kept.filter_map(|(id, _)| {
            let record = Record::of(&graph, id, self.about);
            let part = record.stage()?;
            Some(((part.name.clone(), part.kind.clone()), record))
        });
        let records: HashMap<_, _> = records.collect();
        let found = records.get(&key).cloned();
        self.others.insert(sets, records);
        found
    }
}

/// A value as `--set` takes it.
fn plain(value: &str) -> String {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value).to_string()
}
