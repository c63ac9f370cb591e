//! `alignc generate`: replies of a model, as they are drawn.

use crate::args::{Device, Generate};
use crate::device;
use crate::failure::Failure;
use crate::print::{errln, out, outln};
use align_compiler::stage::encode::Reader;
use align_compiler::stage::generate::Drawing;
use align_compiler::stage::text::{Chat, Message};
use align_compiler::world::{Grammar, Tokenizer};
use align_runtime::engine::{Cpu, Engine};
use align_runtime::generate::model::Writer;
use align_runtime::generate::{DRAFT, Drawn, Generator, Request, Stream};
use align_runtime::run::default_memory;
use align_runtime::train::held::Resident;
use serde_json::json;
use std::collections::HashMap;
use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn generate(args: &Generate) -> Result<(), Failure> {
    let world = super::fetching();
    let drawing = Drawing { temperature: args.temperature, weighs: args.draft.is_some(), ..Drawing::default() };
    let grammar = grammar(args)?;
    let writer = Writer::open(&world, &args.model, &drawing, args.top_p, grammar.as_ref()).map_err(Failure::new)?;
    let draft = args.draft.as_ref().map(|model| Writer::open(&world, model, &drawing, args.top_p, grammar.as_ref()));
    let draft = draft.transpose().map_err(Failure::new)?;
    let threads = super::threads(args.machine.threads);
    let (writer, (engine, notes)): (_, (Box<dyn Engine>, _)) = match args.machine.device {
        Device::Gpu(number) => (writer, device::gpu(number, args.machine.into())?),
        Device::Auto | Device::Cpu => (writer.exact(), (Box::new(Cpu::new(threads)), vec![])),
    };
    let draft = match args.machine.device {
        Device::Gpu(_) => draft,
        Device::Auto | Device::Cpu => draft.map(Writer::exact),
    };
    let generator = match &draft {
        Some(draft) => {
            let how = (args.ahead, args.temperature == 0.0);
            Generator::with_draft(&*engine, (&writer.generation, &draft.generation), how)
        }
        None => writer.generator(&*engine),
    };
    let generator = generator.map_err(Failure::new)?;
    notes.iter().for_each(|note| errln!("{note}"));
    if generator.recomputes() {
        errln!("On a GPU the whole context is computed for each token.");
    }
    let mut placed = writer.placed(&*engine);
    if let Some(draft) = &draft {
        placed.extend(draft.placed(&*engine).into_iter().map(|(path, weight)| (format!("{DRAFT}{path}"), weight)));
    }
    let interrupt = Interrupt::new()?;
    let mut session = Session { args, writer: &writer, generator, placed, interrupt, turns: 0 };
    match (args.chat, &args.prompt) {
        (true, prompt) => session.chat(prompt.as_deref())?,
        (false, Some(prompt)) => session.once(prompt)?,
        (false, None) => {
            let said = "--prompt says what is gone on from, or --chat begins a conversation";
            return Err(Failure::Usage(said.into()));
        }
    }
    if let Some(drafts) = session.generator.drafts() {
        errln!("{} of {} drafted tokens were taken ({:.0} %).", drafts.taken, drafts.drafted, 100.0 * drafts.rate());
    }
    Ok(())
}

/// What all replies keep to.
fn grammar(args: &Generate) -> Result<Option<Grammar>, Failure> {
    if let Some(pattern) = &args.regex {
        return Ok(Some(Grammar::Pattern(pattern.as_str().into())));
    }
    let Some(path) = &args.json_schema else { return Ok(None) };
    let wrong = |what: String| Failure::new(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
    // On one line, as a program's text.
    let schema: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| wrong(format!("it is not JSON: {error}")))?;
    Ok(Some(Grammar::Schema(schema.to_string().into())))
}

/// What Ctrl-C means: the reply that is written ends; where none is, the process does.
struct Interrupt {
    stop: Arc<AtomicBool>,
    writing: Arc<AtomicBool>,
}

impl Interrupt {
    fn new() -> Result<Interrupt, Failure> {
        const INTERRUPTED: i32 = 130;
        let found = Interrupt { stop: Arc::default(), writing: Arc::default() };
        let (stop, writing) = (found.stop.clone(), found.writing.clone());
        let handler = move || {
            if !writing.load(Ordering::SeqCst) || stop.swap(true, Ordering::SeqCst) {
                std::process::exit(INTERRUPTED);
            }
        };
        ctrlc::set_handler(handler).map_err(|error| Failure::new(format!("Ctrl-C cannot be caught: {error}")))?;
        Ok(found)
    }
}

struct Session<'a> {
    args: &'a Generate,
    writer: &'a Writer,
    generator: Generator,
    placed: HashMap<String, Resident<'a>>,
    interrupt: Interrupt,
    /// Replies so far: each has draws of its own.
    turns: u64,
}

impl Session<'_> {
    fn tokenizer(&self) -> &dyn Tokenizer {
        &**self.writer.tokenizer()
    }

    /// Replies to a prompt. Special tokens in it are recognised.
    fn once(&mut self, prompt: &str) -> Result<(), Failure> {
        let mut ids = self.tokenizer().encode(prompt, true);
        if let Some(bos) = self.tokenizer().bos()
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        self.answer(ids).map(drop)
    }

    /// A conversation: lines of standard input are what the user says. With a prompt, the answer to that alone.
    fn chat(&mut self, prompt: Option<&str>) -> Result<(), Failure> {
        let message = |role: &str, content: &str| Message {
            role: role.into(),
            content: content.into(),
            fields: serde_json::Map::new(),
        };
        let mut messages: Vec<Message> = self.args.system.iter().map(|text| message("system", text)).collect();
        if let Some(prompt) = prompt {
            messages.push(message("user", prompt));
            return self.turn(&messages).map(drop);
        }
        let is_terminal = std::io::stdin().is_terminal();
        let mut lines = std::io::stdin().lock().lines();
        loop {
            if is_terminal {
                out!("> ");
                let _ = std::io::stdout().flush();
            }
            let line = match lines.next() {
                None => return Ok(()),
                Some(line) => line.map_err(|error| Failure::new(format!("cannot read what is said: {error}")))?,
            };
            if line.trim().is_empty() {
                continue;
            }
            messages.push(message("user", &line));
            let said = self.turn(&messages)?;
            messages.push(message("assistant", &said));
        }
    }

    /// What the assistant says next.
    fn turn(&mut self, messages: &[Message]) -> Result<String, Failure> {
        let chat = Chat { messages: messages.to_vec(), given: messages.len(), tools: serde_json::Value::Null };
        let reader = Reader { tokenizer: self.tokenizer(), model: self.writer.model.as_deref() };
        let ids = reader.chat(&chat).map_err(Failure::new)?.stream;
        self.answer(ids)
    }

    /// Replies to a prompt, printed as they come. Gives the text of the first.
    fn answer(&mut self, prompt: Vec<u32>) -> Result<String, Failure> {
        let Generate { n, max_tokens, stop, json, seed, .. } = self.args;
        let tokenizer = self.writer.tokenizer().clone();
        let request =
            Request { prompt, begin: vec![], n: *n, row: self.turns, max_tokens: *max_tokens, stop: stop.clone() };
        self.turns += 1;
        let mut streams: Vec<Stream> = (0..*n).map(|_| Stream::new(tokenizer.clone())).collect();
        let mut texts = vec![String::new(); *n];
        let streamed = *n == 1 && !json;
        let mut hear = |_: usize, sample: usize, token: u32| {
            let text = streams[sample].push(token);
            if streamed {
                out!("{text}");
                let _ = std::io::stdout().flush();
            }
            texts[sample] += &text;
        };
        let memory = self.args.machine.memory.unwrap_or_else(default_memory);
        let placed = &self.placed;
        let weight = |path: &str| placed.get(path).map(Resident::slot);
        self.interrupt.stop.store(false, Ordering::SeqCst);
        self.interrupt.writing.store(true, Ordering::SeqCst);
        let found =
            self.generator.run(&weight, std::slice::from_ref(&request), *seed, memory, &self.interrupt.stop, &mut hear);
        self.interrupt.writing.store(false, Ordering::SeqCst);
        let found = found.map_err(|error| {
            if streamed && !texts[0].is_empty() {
                outln!();
            }
            Failure::new(error)
        })?;
        for (i, stream) in streams.into_iter().enumerate() {
            let rest = stream.end();
            if streamed {
                outln!("{rest}");
            }
            texts[i] += &rest;
        }
        // Where it was stopped there are only the texts so far.
        let drawn = found.map(|mut all| all.remove(0)).unwrap_or_default();
        for (i, text) in texts.iter().enumerate().filter(|_| !streamed) {
            match json {
                true => outln!("{}", event(text, drawn.get(i))),
                false => outln!("[{}]\n{text}", i + 1),
            }
        }
        Ok(texts.swap_remove(0))
    }
}

/// A reply as JSON.
fn event(text: &str, drawn: Option<&Drawn>) -> serde_json::Value {
    match drawn {
        Some(Drawn { tokens, logps, finished, .. }) => {
            json!({ "text": text, "ids": tokens, "logps": logps, "finished": finished })
        }
        None => json!({ "text": text, "finished": false }),
    }
}
