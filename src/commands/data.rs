//! `alignc data`: rows as text and tokens, which of these carry loss, and what there is to count.

use crate::args::Data;
use crate::commands::{build_with, checked, colours, options, report, stop_at_interrupt, width};
use crate::data::{self, Page, of};
use crate::failure::Failure;
use align_compiler::stage::build::BuildOptions;
use align_compiler::stage::look::{self, Looked};
use align_compiler::stage::rows::Reading;
use align_compiler::stage::source::ItemSource;
use align_compiler::world::World;
use align_runtime::inspect::{Counter, Plain, RawError, RawFile, Statistics};
use align_runtime::token::Bytes;
use align_runtime::world::Files;
use indicatif::{ProgressBar, ProgressDrawTarget};
use std::io::{self, BufWriter, IsTerminal, Stdout};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn data(args: &Data) -> Result<(), Failure> {
    let is_program = args.file.extension().is_some_and(|end| end == "align");
    let usage = |said: bool, option: &str, what: &str| match said {
        true => Err(Failure::Usage(format!("`{option}` {what}"))),
        false => Ok(()),
    };
    if is_program {
        usage(args.record.is_some(), "--as", "is for files of rows; a program says itself what its columns are")?;
        usage(
            args.model.is_some() && args.name.is_none(),
            "--model",
            "needs `--data NAME`: else a stage's policy reads",
        )?;
        return program(args);
    }
    usage(args.name.is_some(), "--data", "is for programs; this file is data itself")?;
    usage(!args.settings.sets.is_empty(), "--set", "is for programs")?;
    raw(args)
}

/// A file of rows without a program.
fn raw(args: &Data) -> Result<(), Failure> {
    // What is wrong with the file is said before what is wrong with its rows.
    if let Err(error) = std::fs::metadata(&args.file) {
        return Err(match error.kind() {
            io::ErrorKind::NotFound => Failure::new(format!("there is no file {}", args.file.display())),
            _ => Failure::io(&args.file, "read", &error),
        });
    }
    let world = Files::new(".");
    let (reading, tokens) = given(args, &world)?;
    let file = RawFile::open(&args.file, args.record.as_deref(), &world).map_err(|error| match error {
        RawError::Program(_) => Failure::new(format!("`--as`: {error}")),
        RawError::File(said) => Failure::new(said),
    })?;
    let (items, notes) = file.rows(&reading, &world).map_err(|error| match error {
        RawError::Program(mut all) => {
            let _ = report(&mut all, &file.program.sources);
            Failure::Said
        }
        RawError::File(said) => Failure::new(said),
    })?;
    let name = args.file.display().to_string();
    show(args, &[Source { name, readers: vec![], notes, tokens, items: &items, looked: &items }])
}

fn program(args: &Data) -> Result<(), Failure> {
    let world = Files::of_program(".", &args.file);
    let (program, _) = checked(&args.file, &world)?;
    let all: Vec<&str> = look::names(&program).collect();
    let is_known = |name: &str| all.contains(&name.split('.').next().unwrap_or_default());
    // Data that are read by another model than that of a stage.
    let named = |name: &str| {
        let (reading, tokens) = given(args, &world)?;
        let found = look::named(&program, &[name], &reading, &options(&args.settings), &world);
        let (items, notes) = found.map_err(|mut errors| {
            let _ = report(&mut errors, &program.sources);
            Failure::Said
        })?;
        show(args, &[Source { name: name.into(), readers: vec![], notes, tokens, items: &items, looked: &items }])
    };
    let unknown = |name: &str, more: &[String]| {
        let known: Vec<&str> = all.iter().copied().chain(more.iter().map(String::as_str)).collect();
        Failure::Usage(match known.is_empty() {
            true => format!("{} has no data", args.file.display()),
            false => format!("there are no data `{name}`; there are {}", known.join(", ")),
        })
    };
    if let (Some(name), Some(_)) = (&args.name, &args.model) {
        return if is_known(name) { named(name) } else { Err(unknown(name, &[])) };
    }
    let graph = build_with(&program, &BuildOptions { uncut: true, ..options(&args.settings) }, &world)?;
    let uses = look::uses(&graph);
    let named_by = |of: &look::DataUse| match of.looked.name() {
        "" => of.readers.join(", "),
        name => name.to_string(),
    };
    let mut sources: Vec<Source> = (uses.iter())
        .map(|of| {
            let look::DataUse { items, looked, readers } = of;
            let (name, readers) = (named_by(of), readers.clone());
            Source { name, readers, notes: vec![], tokens: String::new(), items: *items, looked: *looked }
        })
        .collect();
    if let Some(name) = &args.name {
        let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
        sources.retain(|source| source.name == *name);
        match (sources.is_empty(), is_known(name)) {
            (true, true) => return named(name),
            (true, false) => return Err(unknown(name, &names)),
            (false, _) => {}
        }
    }
    if sources.is_empty() {
        let known = all.iter().map(|name| format!("`--data {name}`")).collect::<Vec<_>>().join(", ");
        let help = if known.is_empty() { String::new() } else { format!("; to look at data that none reads: {known}") };
        return Err(Failure::new(format!("no stage of {} reads data{help}", args.file.display())));
    }
    if let Some(first) = sources.first_mut() {
        first.notes.clone_from(&graph.notes);
    }
    show(args, &sources)
}

/// How data are read that no stage reads, and what reads them.
fn given(args: &Data, world: &Files) -> Result<(Reading, String), Failure> {
    let Some(path) = &args.model else {
        let model = Some(Rc::new(Plain) as Rc<_>);
        let reading = Reading { tokenizer: Rc::new(Bytes), model, context: args.context, truncate: None };
        return Ok((reading, "bytes, since no `--model` is given".into()));
    };
    let model = world.model(path).map_err(Failure::new)?;
    let tokenizer = model.tokenizer().map_err(Failure::new)?;
    let context = model.config()["context"].as_u64().map(|context| context as usize);
    Ok((Reading { tokenizer, model: Some(model), context, truncate: None }, format!("of {path}")))
}

/// Data to show.
struct Source<'a> {
    name: String,
    readers: Vec<String>,
    notes: Vec<String>,
    /// What makes tokens of them, where it is not a stage's policy.
    tokens: String,
    items: &'a dyn ItemSource,
    looked: &'a dyn Looked,
}

fn show(args: &Data, sources: &[Source]) -> Result<(), Failure> {
    let longest = sources.iter().map(|source| source.items.len()).max().unwrap_or(0);
    if let Some(beyond) = args.row.iter().find(|row| **row > longest) {
        return Err(Failure::Usage(format!("there is no row {beyond}; there are {}", of(longest, "row"))));
    }
    let stop = stop_at_interrupt("stopping after this row")?;
    let mut page = Page::new(BufWriter::new(io::stdout()), width(), colours(&io::stdout()) && !args.json);
    let mut broken = false;
    for (i, source) in sources.iter().enumerate() {
        let shown = match i > 0 && !args.json {
            true => page.line("").and_then(|()| self::source(args, source, &mut page, &stop)),
            false => self::source(args, source, &mut page, &stop),
        };
        match shown {
            Ok(bad) => broken |= bad,
            // Nobody reads on.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::new(format!("cannot print: {error}"))),
        }
        if stop.load(Ordering::SeqCst) {
            return Err(Failure::new("stopped"));
        }
    }
    if broken { Err(Failure::Said) } else { Ok(()) }
}

/// Shows data; gives whether a row could not be read.
fn source(args: &Data, source: &Source, page: &mut Page<BufWriter<Stdout>>, stop: &AtomicBool) -> io::Result<bool> {
    let reading = source
        .looked
        .reading()
        .cloned()
        .map(|reading| Reading { context: args.context.or(reading.context), ..reading });
    let reading = reading.as_ref();
    let tokenizer = reading.map(|reading| &*reading.tokenizer);
    let len = source.items.len();
    about(args, source, reading, page)?;
    let whole = !args.row.is_empty();
    let rows = if whole { args.row.clone() } else { (1..=args.rows.min(len)).collect() };
    let mut broken = false;
    for at in rows.into_iter().filter(|at| *at <= len) {
        let place = source.items.place(at - 1);
        match source.looked.look(at - 1) {
            Ok(look) if args.json => {
                page.line(&data::row_json(&source.name, (at, &place), &look, tokenizer).to_string())?;
            }
            Ok(look) => data::row(page, (at, &place), &look, tokenizer, whole, args.tokens)?,
            Err(error) => {
                broken = true;
                match args.json {
                    true => page.line(&data::broken_json(&source.name, (at, &place), &error.message).to_string())?,
                    false => data::broken(page, at, &error.message)?,
                }
            }
        }
        page.flush()?;
    }
    if whole {
        return Ok(broken);
    }
    let found = counted(source, reading, stop);
    match args.json {
        true => page.line(&data::statistics_json(&source.name, &found, len).to_string())?,
        false => data::statistics(page, &found, reading, len)?,
    }
    page.flush()?;
    Ok(found.bad > 0)
}

/// What there is to say of data before their rows.
fn about(
    args: &Data,
    source: &Source,
    reading: Option<&Reading>,
    page: &mut Page<BufWriter<Stdout>>,
) -> io::Result<()> {
    let Source { name, readers, notes, tokens, items, looked } = source;
    // What is wrong with the first row is said there.
    let first = looked.look(0).unwrap_or_default();
    let columns: Vec<String> = first.fields.iter().map(|name| name.to_string()).collect();
    if args.json {
        return page.line(&data::about_json(name, items.len(), readers, notes, &columns, reading).to_string());
    }
    page.line(&format!("{name}: {}", of(items.len(), "row")))?;
    if !readers.is_empty() {
        page.entry("read by", &readers.join(", "))?;
    }
    let is_read = |name: &str| {
        let below = |path: &str| path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        first.texts.iter().any(|text| below(&text.field) || text.prompt.as_deref() == Some(name))
            || first.numbers.iter().any(|(path, _)| below(path))
    };
    let (read, unread): (Vec<String>, Vec<String>) = columns.into_iter().partition(|name| is_read(name));
    if !read.is_empty() {
        page.entry("read", &read.join(", "))?;
    }
    if !unread.is_empty() {
        page.entry("others", &unread.join(", "))?;
    }
    notes.iter().try_for_each(|note| page.entry("as", note))?;
    if let (Some(reading), false) = (reading, first.texts.is_empty()) {
        let size = data::count(reading.tokenizer.vocab_size());
        let mut said = match (tokens.is_empty(), reading.tokenizer.identity() == "bytes") {
            (false, _) => tokens.clone(),
            (true, true) => "bytes".into(),
            (true, false) => format!("of the policy, {size} different ones"),
        };
        if let Some(context) = reading.context {
            said += &format!("; context {}", data::count(context));
        }
        page.entry("tokens", &said)?;
        page.entry("", "▌ carries loss   │ is read and carries none")?;
    }
    page.flush()
}

/// Reads all rows, as long as nobody stops it.
fn counted(source: &Source, reading: Option<&Reading>, stop: &AtomicBool) -> Statistics {
    /// From so many rows on it takes a while.
    const MANY: usize = 2_000;
    let len = source.items.len();
    let bar = match len >= MANY && io::stderr().is_terminal() {
        true => ProgressBar::with_draw_target(Some(len as u64), ProgressDrawTarget::stderr_with_hz(4)),
        false => ProgressBar::hidden(),
    };
    let mut counter = Counter::new(reading);
    for row in 0..len {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        bar.inc(1);
        match source.looked.look(row) {
            Ok(look) => counter.add(row, &look),
            Err(error) => counter.bad(error.message),
        }
    }
    bar.finish_and_clear();
    counter.finish()
}
