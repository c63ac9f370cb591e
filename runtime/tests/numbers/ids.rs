//! Stages of a program whose rows are token ids.

use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_compiler::stage::graph::{StageGraph, StageKind, TrainNode};
use align_compiler::stage::hash::ContentHash;
use align_compiler::stage::items::{Item, ItemLayout, ItemValue, PLACES, STREAM, TOKENS};
use align_compiler::stage::source::ItemSource;
use align_runtime::world::Files;
use align_syntax::diag::Diagnostic;

/// Prompts and replies.
pub struct Ids {
    layout: ItemLayout,
    rows: Vec<(Vec<u32>, Vec<u32>)>,
}

impl Ids {
    pub fn new(layout: &ItemLayout, rows: Vec<(Vec<u32>, Vec<u32>)>) -> Ids {
        Ids { layout: layout.clone(), rows }
    }

    pub fn all(&self) -> Vec<Item> {
        (0..self.len()).map(|i| self.item(i).unwrap()).collect()
    }
}

impl ItemSource for Ids {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn item(&self, index: usize) -> Result<Item, Box<Diagnostic>> {
        let (prompt, reply) = &self.rows[index];
        let (first, all) = (prompt.len(), prompt.len() + reply.len());
        let values = |name: &str| -> Vec<usize> {
            let stream = prompt.iter().chain(reply).map(|id| *id as usize);
            match name {
                name if name.ends_with(STREAM) => stream.collect(),
                name if name.ends_with(TOKENS) => reply.iter().map(|id| *id as usize).collect(),
                name if name.ends_with(PLACES) => (first - 1..all - 1).collect(),
                name => panic!("{name} is read"),
            }
        };
        let found: Vec<Vec<usize>> = self.layout.inputs.iter().map(|input| values(&input.name)).collect();
        let length = |axis| {
            let at = self.layout.inputs.iter().position(|input| input.axes.contains(axis)).unwrap();
            vec![found[at].len()]
        };
        Ok(Item {
            lengths: self.layout.ragged.iter().map(length).collect(),
            values: found.iter().map(|ids| ItemValue::Ints(ids.iter().map(|id| *id as i32).collect())).collect(),
            tokens: all,
        })
    }

    fn place(&self, index: usize) -> String {
        format!("row {index}")
    }

    fn identity(&self) -> ContentHash {
        unreachable!("nothing asks")
    }
}

/// Supervised fine-tuning of a model, one batch of `batch` rows in their order after the other, and log-probs under it.
fn program(model: &str, batch: usize) -> String {
    format!(
        "edition 2026\n\
         use std.losses {{ sft }}\n\
         use std.optimizers {{ adamw }}\n\
         record Row {{ prompt: Prompt, reply: Reply[prompt] }}\n\
         policy base = load(\"{model}\")\n\
         data rows = for i in 0..1 {{ Row {{ prompt: \"\"\"a\"\"\", reply: \"\"\"b\"\"\" }} }}\n\
         pipeline {{\n\
           let tuned = train base {{\n\
             on        rows\n\
             loss      sft(.reply)\n\
             optimizer adamw(lr: 2e-5, weight_decay: 0)\n\
             batch     {batch} examples\n\
             steps     12\n\
             clip      none\n\
             order     given\n\
           }}\n\
           show rows |> map(x => {{ found: logp(base, x.reply) }})\n\
         }}\n"
    )
}

/// Builds the program and looks at its stages.
pub fn with<T>(model: &str, batch: usize, look: impl FnOnce(&StageGraph) -> T) -> T {
    of(&program(model, batch), look)
}

/// As [`with`], of a program of its own.
pub fn of<T>(text: &str, look: impl FnOnce(&StageGraph) -> T) -> T {
    let world = Files::new(".");
    let (program, diagnostics) = load("main.align", text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let graph = build(&program, &BuildOptions::default(), &world).unwrap_or_else(|errors| panic!("{errors:#?}"));
    look(&graph)
}

pub fn train<'g, 'p>(graph: &'g StageGraph<'p>) -> &'g TrainNode<'p> {
    let node = graph.stages().find_map(|(_, stage)| match &stage.kind {
        StageKind::Train(node) => Some(&**node),
        _ => None,
    });
    node.expect("there is a training stage")
}
