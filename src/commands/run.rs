//! `alignc run`: runs a program to its end, or to where it is stopped.

use crate::args::Run;
use crate::commands::{
    STORE, about, build_with, checked, default_out, must_run, options, rebuilt, stop_at_interrupt, threads, told,
    verify,
};
use crate::device;
use crate::failure::Failure;
use crate::fetching::Fetching;
use crate::print::{out, outln};
use crate::profile;
use crate::progress::{Bar, Json, Lines, Quiet};
use align_compiler::stage::passes::REFERENCE;
use align_runtime::run::{self, Progress, RunOptions, Running, Shared};
use align_runtime::world::Files;
use std::cell::RefCell;
use std::io::IsTerminal;

pub fn run(args: &Run) -> Result<(), Failure> {
    let shown = match () {
        () if args.json => Fetching::Json,
        () if args.quiet => Fetching::Quiet,
        () if std::io::stderr().is_terminal() => Fetching::bar(),
        () => Fetching::lines(),
    };
    let world = Files::of_program(".", &args.file).with_store(STORE).asking(args.refresh);
    let world = world.fetching(move |part| shown.arrived(part));
    let (program, _) = checked(&args.file, &world)?;
    must_run(&program, &args.file)?;
    let mut building = options(&args.settings);
    if args.verify {
        // The whole step is compared.
        building.passes.leave_out(REFERENCE);
    }
    let graph = build_with(&program, &building, &world)?;
    let options = RunOptions {
        out: args.out.clone().unwrap_or_else(|| default_out(&args.file)),
        store: STORE.into(),
        memory: args.machine.memory,
        checkpoint_every: args.checkpoint_every,
        tensorboard: args.tensorboard,
        profile: args.profile.then(|| program.sources.clone()),
        about: about(&program, args.settings.seed),
    };
    let mut progress: Box<dyn Progress> = match () {
        () if args.json => Box::new(Json::new()),
        () if args.quiet => Box::new(Quiet),
        () if std::io::stderr().is_terminal() => Box::new(Bar::new()),
        () => Box::new(Lines::new()),
    };
    if args.verify {
        graph.notes.iter().for_each(|note| progress.note(note));
        return verify::verify(args, &program, &graph, &options, progress.as_mut());
    }
    let (engine, notes) = device::engine(args.into(), threads(args.machine.threads), &graph)?;
    let stop = stop_at_interrupt("stopping after this step")?;
    graph.notes.iter().chain(&notes).for_each(|note| progress.note(note));
    let mut first = Some(graph);
    let result = {
        let shown: RefCell<&mut dyn Progress> = RefCell::new(&mut *progress);
        let running = Running::new(&world, &options, (&*engine, &stop), &shown);
        let mut again = || {
            let built = rebuilt(&program, &building, &running);
            running.rest();
            built
        };
        let mut build = || first.take().map_or_else(&mut again, Ok);
        run::run(&mut build, &options, &*engine, &mut Shared(&shown), &stop)
    };
    drop(progress);
    let found = result.map_err(|error| told(error, &program))?;
    for table in &found.profile {
        match args.json {
            true => outln!("{}", profile::event(table)),
            false => out!("{}", profile::text(table)),
        }
    }
    match (found.stopped, found.failed.is_empty()) {
        (true, _) => Err(Failure::new("stopped; the same command goes on from here")),
        (false, false) => Err(Failure::Said),
        (false, true) => Ok(()),
    }
}
