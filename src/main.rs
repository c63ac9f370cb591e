//! `alignc`: compiles and runs `.align` files.

mod args;
mod commands;
mod data;
mod device;
mod drawing;
mod failure;
mod fetching;
mod findings;
mod print;
mod profile;
mod progress;
#[cfg(feature = "serve")]
mod serve;
mod states;
mod table;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

/// 0: done; 1: something a user gave is wrong, or a claim does not hold; 2: wrong usage.
fn main() -> ExitCode {
    quiet_drivers();
    // The evaluator follows the program by recursion.
    align_compiler::eval::on_deep_stack(run)
}

/// Mesa's Vulkan drivers complain on standard error where there is no desktop.
fn quiet_drivers() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread is there yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}

fn run() -> ExitCode {
    // clap prints usage errors itself, with exit code 2.
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Plan(args) => commands::plan::plan(&args),
        Command::Why(args) => commands::why::why(&args),
        Command::Graph(args) => commands::graph::graph(&args),
        Command::Sweep(args) => commands::sweep::sweep(&args),
        Command::Report(args) => commands::report::report(&args),
        Command::Store(args) => commands::store::store(&args),
        Command::Check(args) => commands::check::check(&args),
        Command::Fmt(args) => commands::fmt::fmt(&args),
        Command::Test(args) => commands::test::test(&args),
        Command::Emit(args) => commands::emit::emit(&args),
        Command::Score(args) => commands::score::score(&args),
        Command::Generate(args) => commands::generate::generate(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => commands::serve::serve(&args),
        Command::Data(args) => commands::data::data(&args),
        Command::Devices(args) => commands::devices::devices(&args),
        Command::Explain { code } => commands::explain::explain(&code),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}
