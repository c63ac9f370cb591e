//! What a kept stage was made of, and what that took: beside its result, so that it can be said why another one differs.

use std::collections::HashMap;

use align_compiler::stage::graph::{StageGraph, StageId, StageKind};
use align_compiler::stage::print::word;
use serde::{Deserialize, Serialize};

use crate::run::{About, now};

/// What a stage's hash is of, part by part, down to files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The file of the program, as it was named.
    pub program: String,
    /// In seconds since 1970.
    pub at: f64,
    pub seed: u64,
    /// The program's `param`s.
    pub params: Vec<(String, String)>,
    /// The stage, then those that it depends on.
    pub stages: Vec<Part>,
}

/// A stage of a [`Record`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    /// `train`, `data`, ..
    pub kind: String,
    pub hash: String,
    pub inputs: Vec<Input>,
    /// Files that rows are read from, each with a hash.
    pub files: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    pub hash: String,
    /// In the words of a program.
    pub shown: String,
    /// Its place in [`Record::stages`], where a stage makes it.
    pub stage: Option<usize>,
}

/// What a stage took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub engine: String,
    pub threads: usize,
    /// In seconds since 1970.
    pub at: f64,
    /// Of work, in all runs that had a part in it.
    pub seconds: f64,
    /// Forward tokens, and steps, in these seconds.
    pub tokens: u64,
    pub steps: usize,
    /// The most bytes that the process held meanwhile, where the system tells.
    pub peak: Option<usize>,
    /// What is done in a step, whatever the data and the weights: stages with the same shape are equally fast.
    pub shape: String,
}

impl Record {
    pub fn of(graph: &StageGraph, id: StageId, about: &About) -> Record {
        let (params, program) = (graph.params.clone(), about.file.clone());
        let mut record = Record { program, at: now(), seed: about.seed, params, stages: vec![] };
        record.add(graph, id, &mut HashMap::new());
        record
    }

    /// The place of a stage.
    fn add(&mut self, graph: &StageGraph, id: StageId, known: &mut HashMap<StageId, usize>) -> usize {
        if let Some(place) = known.get(&id) {
            return *place;
        }
        let (stage, place) = (graph.get(id), self.stages.len());
        known.insert(id, place);
        self.stages.push(Part::default());
        let input = |input: &align_compiler::stage::hash::HashInput| Input {
            name: input.name.clone(),
            hash: input.hash.to_string(),
            shown: input.shown.clone(),
            stage: input.stage.map(|of| self.add(graph, of, known)),
        };
        let inputs = stage.inputs.iter().map(input).collect();
        let files = match &stage.kind {
            StageKind::Data(data) => data.files.clone(),
            _ => vec![],
        };
        let (name, kind) = (stage.name.clone(), word(&stage.kind).to_string());
        self.stages[place] = Part { name, kind, hash: stage.hash.to_string(), inputs, files };
        place
    }

    /// The stage itself.
    pub fn stage(&self) -> Option<&Part> {
        self.stages.first()
    }
}
