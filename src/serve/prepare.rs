//! What is done with a request before it is written: texts become tokens, schemas grammars. By a thread of its own, so that long prompts
//! hold up nothing that is written.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use align_compiler::stage::encode::Reader;
use align_compiler::stage::policy::PolicySpec;
use align_compiler::stage::text::{Chat, Message as Line};
use align_compiler::world::{Constrained, Constraint, Grammar, Tokenizer};
use align_runtime::generate::model::policy;
use align_runtime::token::grammar::Grammars;
use align_runtime::world::Files;
use serde_json::{Map, Value};
use tokio::sync::mpsc::UnboundedSender;

use super::Named;
use super::ask::{Prompt, Said, Wanted};
use super::engine::Message;
use super::limits::{Limits, Place};
use super::problem::Problem;
use super::said::Piece;

/// What clients are told, in order.
#[derive(Debug)]
pub enum Event {
    /// It waits to be written; so many tokens are in its prompts.
    Begun { prompt_tokens: usize },
    /// More of the reply of this number.
    Piece { at: usize, piece: Piece },
    /// The rest of it, and why it ends, with so many tokens that were drawn.
    Ended { at: usize, piece: Piece, reason: &'static str, tokens: usize },
    /// Nothing more comes.
    Failed(Problem),
}

/// Where events go. It never waits: a reply is no longer than it may be.
pub type To = UnboundedSender<Event>;

/// A request as it came.
pub struct Order {
    /// The place of its model.
    pub model: usize,
    pub wanted: Wanted,
    pub to: To,
    pub place: Arc<Place>,
}

/// A request that can be written.
pub struct Ready {
    pub model: usize,
    /// Each with what its replies keep to.
    pub prompts: Vec<(Vec<u32>, Option<Box<dyn Constrained>>)>,
    pub wanted: Wanted,
    pub to: To,
    pub place: Arc<Place>,
}

/// Prepares requests until no more come. `opened` hears whether all models could be read.
pub fn prepare(
    models: &[Named],
    limits: Limits,
    from: Receiver<Order>,
    to: Sender<Message>,
    opened: Sender<Result<(), String>>,
) {
    let world = Files::new(".");
    let texts: Result<Vec<Texts>, String> = models.iter().map(|model| Texts::open(&world, &model.path)).collect();
    let mut texts = match texts {
        Ok(texts) => texts,
        Err(error) => return drop(opened.send(Err(error))),
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    for order in from {
        if order.to.is_closed() {
            continue;
        }
        let Order { model, wanted, to: client, place } = order;
        match texts[model].prompts(&wanted, &limits) {
            Err(problem) => drop(client.send(Event::Failed(problem))),
            Ok(prompts) => {
                let prompt_tokens = prompts.iter().map(|(ids, _)| ids.len()).sum();
                let _ = client.send(Event::Begun { prompt_tokens });
                let ready = Ready { model, prompts, wanted, to: client.clone(), place };
                if to.send(Message::Ready(Box::new(ready))).is_err() {
                    let _ = client.send(Event::Failed(Problem::stopping()));
                }
            }
        }
    }
}

/// What reads the texts of a model.
struct Texts {
    policy: Rc<PolicySpec>,
    tokenizer: Rc<dyn Tokenizer>,
    /// Made when they are first needed.
    grammars: Option<Grammars>,
    /// By their schemas.
    known: HashMap<String, Rc<dyn Constraint>>,
}

/// Grammars that are kept.
const KNOWN: usize = 32;

impl Texts {
    fn open(world: &Files, path: &str) -> Result<Texts, String> {
        let policy = policy(world, path).map_err(|error| error.to_string())?;
        let tokenizer = policy.tokenizer.clone().ok_or(format!("{path} has no tokenizer"))?;
        Ok(Texts { policy, tokenizer, grammars: None, known: HashMap::new() })
    }

    fn prompts(
        &mut self,
        wanted: &Wanted,
        limits: &Limits,
    ) -> Result<Vec<(Vec<u32>, Option<Box<dyn Constrained>>)>, Problem> {
        let context = self.policy.context.unwrap_or(usize::MAX);
        let most = limits.prompt.min(context.saturating_sub(1));
        let field = if matches!(wanted.prompt, Prompt::Chat(_)) { "messages" } else { "prompt" };
        let too_long = |found: &str| {
            let message = format!("A prompt has at most {most} tokens, this has {found}.");
            Problem::field(field, message).code("context_length_exceeded")
        };
        let is_longer = match &wanted.prompt {
            Prompt::Chat(said) => {
                let all: Vec<&str> = said.iter().map(|said| said.content.as_str()).collect();
                self.is_longer(&all.concat(), most)
            }
            Prompt::Texts(texts) => texts.iter().any(|text| self.is_longer(text, most)),
            Prompt::Tokens(_) => false,
        };
        if is_longer {
            return Err(too_long("more"));
        }
        let all = match &wanted.prompt {
            Prompt::Chat(said) => vec![self.chat(said)?],
            Prompt::Texts(texts) => texts.iter().map(|text| self.plain(text)).collect(),
            Prompt::Tokens(all) => all.clone(),
        };
        let size = self.tokenizer.vocab_size();
        for ids in &all {
            if ids.len() > most {
                return Err(too_long(&ids.len().to_string()));
            }
            if let Some(id) = ids.iter().find(|id| **id as usize >= size) {
                return Err(Problem::field(field, format!("There is no token {id}; the last is {}.", size - 1)));
            }
        }
        let grammar = wanted.schema.as_ref().map(|schema| self.grammar(schema)).transpose()?;
        Ok(all.into_iter().map(|ids| (ids, grammar.as_ref().map(|grammar| grammar.begin()))).collect())
    }

    /// Whether a text is clearly of more tokens than these. It is looked at from its beginning, so that no long one is read to its end.
    fn is_longer(&self, text: &str, most: usize) -> bool {
        /// Tokens that the end of a part may have more than in the whole.
        const CUT: usize = 64;
        let mut bytes = most.saturating_mul(2).max(1);
        while bytes < text.len() {
            let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            if self.tokenizer.encode(&text[..end], true).len() > most.saturating_add(CUT) {
                return true;
            }
            bytes *= 2;
        }
        false
    }

    /// As the chat template writes it.
    fn chat(&self, said: &[Said]) -> Result<Vec<u32>, Problem> {
        let line = |said: &Said| {
            let name = said.name.iter().map(|name| ("name".to_string(), Value::from(name.as_str())));
            let fields: Map<String, Value> = name.collect();
            Line { role: said.role.as_str().into(), content: said.content.as_str().into(), fields }
        };
        let messages: Vec<Line> = said.iter().map(line).collect();
        let chat = Chat { given: messages.len(), messages, tools: Value::Null };
        let reader = Reader { tokenizer: &*self.tokenizer, model: self.policy.model.as_deref() };
        match reader.chat(&chat) {
            Ok(encoded) => Ok(encoded.stream),
            Err(said) => Err(Problem::field("messages", said)),
        }
    }

    /// Text that is gone on from. Special tokens in it are recognised.
    fn plain(&self, text: &str) -> Vec<u32> {
        let mut ids = self.tokenizer.encode(text, true);
        if let Some(bos) = self.tokenizer.bos()
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        ids
    }

    fn grammar(&mut self, schema: &str) -> Result<Rc<dyn Constraint>, Problem> {
        if let Some(known) = self.known.get(schema) {
            return Ok(known.clone());
        }
        let wrong = |said: String| {
            Problem::field("response_format", format!("Replies cannot keep to this as a JSON schema: {said}."))
        };
        let grammars = self.grammars.get_or_insert_with(|| Grammars::of(&*self.tokenizer));
        let found = grammars.ready(&Grammar::Schema(schema.into())).map_err(wrong)?;
        let mut first = vec![false; self.tokenizer.vocab_size()];
        found.begin().allowed(&mut first).map_err(wrong)?;
        if !first.contains(&true) {
            return Err(wrong("no token of this model may begin a reply".into()));
        }
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        self.known.insert(schema.to_string(), found.clone());
        Ok(found)
    }
}
