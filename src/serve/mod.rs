//! `alignc serve`: models answer over HTTP, by the usual interface for completions.
//!
//! Three threads. One has the connections ([`http`]), reads what is asked ([`ask`]) and says the answers ([`answer`]). One makes tokens of texts
//! ([`prepare`]). One writes, for all clients together ([`engine`]). A request goes from the first to the second to the third, and events go from
//! both straight back to the client, who goes away by dropping where they come out.

mod answer;
mod ask;
mod body;
mod engine;
mod fields;
mod http;
mod limits;
mod log;
mod prepare;
mod problem;
mod reply;
mod said;

use std::hash::{BuildHasher, Hasher};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use align_compiler::eval::on_deep_stack;
use align_runtime::engine::Cpu;
use align_runtime::generate::model::Writer;
use tokio::sync::watch;

use crate::failure::Failure;
pub use http::is_loopback;
pub use limits::Limits;

/// A model, and what clients call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub path: String,
}

/// What the command line says.
pub struct Settings {
    pub models: Vec<Named>,
    pub limits: Limits,
    pub token: Option<String>,
    pub log: bool,
    /// Replies of a model that are written at once at most.
    pub rows: usize,
    /// Bytes beside the weights, for all models together.
    pub memory: usize,
    pub threads: usize,
}

/// Answers on a port until Ctrl-C. `ready` is called when all models are there.
pub fn serve(settings: Settings, listener: TcpListener, ready: impl FnOnce()) -> Result<(), Failure> {
    let Settings { models, limits, token, log, rows, memory, threads } = settings;
    let world = crate::commands::fetching();
    let mut writers: Vec<Writer> = vec![];
    for model in &models {
        let mut writer = Writer::by_row(&world, &model.path, ask::LIKELIEST).map_err(Failure::new)?.exact();
        writers.iter().for_each(|other| writer.share(other));
        writers.push(writer);
    }
    let cpu = Cpu::new(threads);
    let generator = |writer: &Writer| writer.generator(&cpu).map_err(Failure::new);
    let mut generators = writers.iter().map(generator).collect::<Result<Vec<_>, _>>()?;
    let mut running = vec![];
    for (writer, generator) in writers.iter().zip(&mut generators) {
        let longest = limits.prompt.saturating_add(limits.reply).min(writer.generation.context.unwrap_or(usize::MAX));
        let running_one = generator.open(rows, longest, memory / models.len()).map_err(Failure::new)?;
        let (placed, desk) = (writer.placed(&cpu), engine::Counter::new(writer.tokenizer()));
        running.push(engine::Model { running: running_one, placed, desk });
    }
    let (orders, to_prepare) = channel();
    let (messages, to_write) = channel();
    let (stop, stopped) = watch::channel(false);
    let (opened, is_opened) = channel();
    let (names, tell) = (models.clone(), messages.clone());
    thread::spawn(move || on_deep_stack(|| prepare::prepare(&names, limits, to_prepare, tell, opened)));
    match is_opened.recv() {
        Ok(Ok(())) => {}
        Ok(Err(said)) => return Err(Failure::new(said)),
        Err(_) => return Err(Failure::new("the models' texts cannot be read")),
    }
    stop_at_interrupt(stop, messages)?;
    let shared = http::Shared { models, limits, token, log, open: Default::default(), began: now(), orders };
    let answering = thread::spawn(move || http::answer(listener, shared, stopped));
    ready();
    engine::run(&mut running, &to_write);
    match answering.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(format!("the connections cannot be served: {error}"))),
        Err(_) => Err(Failure::new("the connections cannot be served")),
    }
}

/// Ctrl-C cuts what is written, a second one ends the process at once.
fn stop_at_interrupt(
    stop: watch::Sender<bool>,
    messages: std::sync::mpsc::Sender<engine::Message>,
) -> Result<(), Failure> {
    const INTERRUPTED: i32 = 130;
    let handler = move || {
        if stop.send_replace(true) {
            std::process::exit(INTERRUPTED);
        }
        let _ = messages.send(engine::Message::Stop);
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::new(format!("Ctrl-C cannot be caught: {error}")))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A number that nobody knows before.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
