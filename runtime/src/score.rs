//! Log-probabilities of a reply under a model.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use align_compiler::kernel::Layouts;
use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_compiler::stage::evaluate::EvaluateStage;
use align_compiler::stage::graph::{InitStage, PatchStage, PatchStart, Reads, StageGraph, StageId, StageKind};
use align_compiler::stage::hash::{ContentHash, Hasher};
use align_compiler::stage::items::{Item, ItemInput, ItemValue, PLACES, STREAM, TOKENS};
use align_compiler::stage::source::ItemSource;
use align_compiler::tensor::Axis;
use align_compiler::world::{Tokenizer, World};
use align_syntax::diag::Diagnostic;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::policy;
use crate::run::RunError;
use crate::train::held::{Numbers, Resident};
use crate::train::{Made, Weights};

/// The program that is run: its one row stands for any text.
const PROGRAM: &str = r#"
edition 2026
record Row { prompt: Prompt, reply: Reply[prompt] }
policy scored = load("MODEL")
data rows = for i in 0..1 { Row { prompt: """a""", reply: """b""" } }
pipeline { show rows |> map(x => { found: logp(scored, x.reply) }) }
"#;

/// A reply with the log-probability of each of its tokens, in nats.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// What begins a sequence included, where the model has such a token.
    pub prompt_ids: Vec<u32>,
    pub reply_ids: Vec<u32>,
    pub logps: Vec<f64>,
}

/// A model that is read and compiled for scoring.
pub struct Scorer {
    weights: Weights,
    tokenizer: Rc<dyn Tokenizer>,
    stage: EvaluateStage<'static>,
    memory: usize,
}

impl Scorer {
    /// Reads a model. `memory`: bytes that its temporaries may take.
    pub fn open(world: &dyn World, model: &str, memory: usize) -> std::result::Result<Scorer, RunError> {
        let text = PROGRAM.replace("MODEL", &model.replace('\\', "\\\\").replace('"', "\\\""));
        let (program, diagnostics) = load("score.align", &text, world);
        let wrong = |mut all: Vec<Diagnostic>| RunError::Program(Box::new(all.remove(0)));
        if !diagnostics.is_empty() {
            return Err(wrong(diagnostics));
        }
        let graph = build(&program, &BuildOptions::default(), world).map_err(wrong)?;
        let missing = || Error::new(model, "this model gives no log-probabilities");
        let (id, found) = evaluation(&graph).ok_or_else(missing)?;
        let source = graph.input(id, Reads::Frozen(0)).ok_or_else(missing)?;
        let weights = loaded(&graph, source)?.ok_or_else(missing)?;
        let tokenizer = weights.policy.tokenizer.clone().ok_or_else(missing)?;
        let stage = EvaluateStage {
            graph: found.graph.clone(),
            layout: found.layout.clone(),
            items: Rc::new(One(Item::default())),
            numbers: found.numbers.clone(),
            answers: found.answers.clone(),
            policies: found.policies.clone(),
            narrow: vec![],
            taken: None,
        };
        Ok(Scorer { weights, tokenizer, stage, memory })
    }

    /// Scores a reply as it is given: special tokens in both texts are recognised, and none is added at the end.
    pub fn score(&self, engine: &dyn Engine, prompt: &str, reply: &str) -> std::result::Result<Scored, RunError> {
        let mut prompt_ids = self.tokenizer.encode(prompt, true);
        if let Some(bos) = self.tokenizer.bos()
            && prompt_ids.first() != Some(&bos)
        {
            prompt_ids.insert(0, bos);
        }
        let reply_ids = self.tokenizer.encode(reply, true);
        if prompt_ids.is_empty() {
            prompt_ids.push(self.tokenizer.first());
        }
        let context = self.weights.policy.context.unwrap_or(usize::MAX);
        if prompt_ids.len() + reply_ids.len() > context {
            let tokens = format!("{} tokens", prompt_ids.len() + reply_ids.len());
            return Err(Error::new("prompt and reply", "they are too long for the model")
                .expected(format!("at most {context} tokens"))
                .found(tokens)
                .into());
        }
        if reply_ids.is_empty() {
            return Ok(Scored { prompt_ids, reply_ids, logps: vec![] });
        }
        let stage = EvaluateStage { items: Rc::new(One(self.item(&prompt_ids, &reply_ids)?)), ..self.stage.clone() };
        let prefix = &self.stage.policies[0].prefix;
        let weight =
            |path: &str| self.weights.get(path.strip_prefix(prefix.as_str()).unwrap_or(path)).map(Numbers::Floats);
        let mut evaluation = Evaluation::new(engine, &stage, &Layouts::default())?;
        let placed = evaluation.placed(engine, &weight);
        let weight = |path: &str| placed.get(path).map(Resident::slot);
        let evaluated = evaluation.run(&weight, self.memory, &AtomicBool::new(false))?.unwrap_or_default();
        let logps = evaluated.answer(0, 0).map(<[f64]>::to_vec).unwrap_or_default();
        Ok(Scored { prompt_ids, reply_ids, logps })
    }

    fn item(&self, prompt: &[u32], reply: &[u32]) -> Result<Item> {
        let ints = |ids: &mut dyn Iterator<Item = usize>| ItemValue::Ints(ids.map(|id| id as i32).collect());
        let id = |id: &u32| *id as usize;
        let value = |input: &ItemInput| match &input.name {
            name if name.ends_with(STREAM) => Ok(ints(&mut prompt.iter().chain(reply).map(id))),
            name if name.ends_with(TOKENS) => Ok(ints(&mut reply.iter().map(id))),
            name if name.ends_with(PLACES) => Ok(ints(&mut (prompt.len() - 1..prompt.len() + reply.len() - 1))),
            name => Err(Error::new(name, "this is not known of a reply")),
        };
        let layout = &self.stage.layout;
        let values = layout.inputs.iter().map(value).collect::<Result<Vec<_>>>()?;
        let length = |axis: &Axis| {
            let input = layout.inputs.iter().find(|input| input.axes.contains(axis));
            let stream = input.is_some_and(|input| input.name.ends_with(STREAM));
            vec![if stream { prompt.len() + reply.len() } else { reply.len() }]
        };
        let lengths = layout.ragged.iter().map(length).collect();
        Ok(Item { values, lengths, tokens: prompt.len() + reply.len() })
    }
}

fn evaluation<'g, 'p>(graph: &'g StageGraph<'p>) -> Option<(StageId, &'g EvaluateStage<'p>)> {
    graph.stages().find_map(|(id, stage)| match &stage.kind {
        StageKind::Evaluate(found) => Some((id, &**found)),
        _ => None,
    })
}

/// The weights of a stage that loads a model, draws one, or puts a patch on one.
pub(crate) fn loaded(graph: &StageGraph, stage: StageId) -> Result<Option<Weights>> {
    Ok(match &graph.get(stage).kind {
        StageKind::Load(load) => match &load.policy.model {
            Some(model) => Some(policy::load(&load.policy, &**model, &load.path)?),
            None => None,
        },
        StageKind::Init(InitStage { policy, seed }) => {
            let drawn = |place, _: &_| Ok(Made::New(policy::draw(policy, place, *seed)));
            Some(Weights::make(policy, drawn).unwrap_or_else(|never: Infallible| match never {}))
        }
        StageKind::Patch(PatchStage { policy, start }) => {
            let below = graph.input(stage, Reads::Policy).map(|below| loaded(graph, below)).transpose()?.flatten();
            let patched = |below: Weights| match start {
                PatchStart::Read(stored) => policy::with_stored(policy, &below, stored),
                // A head below an adapter that holds one.
                PatchStart::Drawn { seed } => Ok(policy::patch(policy, &below, *seed)),
            };
            below.map(patched).transpose()?
        }
        _ => None,
    })
}

/// One row.
struct One(Item);

impl ItemSource for One {
    fn len(&self) -> usize {
        1
    }

    fn item(&self, _index: usize) -> std::result::Result<Item, Box<Diagnostic>> {
        Ok(self.0.clone())
    }

    fn place(&self, _index: usize) -> String {
        "the reply".into()
    }

    fn identity(&self) -> ContentHash {
        Hasher::new("one").finish()
    }
}
