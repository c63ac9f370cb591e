//! `alignc store`: what runs have kept.

use crate::args::{Prune, StoreArgs, StoreCommand};
use crate::commands::STORE;
use crate::commands::plan::shortened;
use crate::failure::Failure;
use crate::print::{out, outln};
use crate::table;
use align_runtime::run::day;
use align_runtime::store::{Listed, Store};
use align_runtime::train::bytes;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn store(args: &StoreArgs) -> Result<(), Failure> {
    let all = Store::new(STORE).list();
    match &args.command {
        None => list(&all, false),
        Some(StoreCommand::Ls { json }) => list(&all, *json),
        Some(StoreCommand::Prune(args)) => return prune(&all, args),
    }
    Ok(())
}

fn list(all: &[Listed], as_json: bool) {
    if as_json {
        for listed in all {
            let made = listed.entry.made();
            outln!(
                "{}",
                json!({ "hash": listed.hash, "stage": stage(listed), "kind": kind(listed), "program": program(listed),
                                 "finished": listed.unfinished.is_none(), "step": listed.unfinished, "bytes": listed.bytes,
                                 "used": listed.used.map(since_1970), "made": made, "in_use": listed.entry.is_in_use() })
            );
        }
        return;
    }
    if all.is_empty() {
        outln!("Nothing is kept in {STORE}.");
        return;
    }
    let head = ["hash", "stage", "", "program", "used", "size"].map(String::from);
    out!("{}", table::aligned(&head, &all.iter().map(row).collect::<Vec<_>>(), 5));
    let total = bytes(all.iter().map(|listed| listed.bytes).sum::<u64>() as usize);
    outln!("\n{} stages, {total} in {STORE}", all.len());
}

fn row(listed: &Listed) -> Vec<String> {
    let state = match listed.unfinished {
        Some(step) => format!("to step {step}"),
        None => kind(listed),
    };
    vec![
        listed.hash[..8].to_string(),
        shortened(&stage(listed), 24),
        state,
        // The end of a path says more than its beginning.
        from_the_end(&program(listed), 18),
        listed.used.map_or(String::new(), |used| day(since_1970(used))),
        bytes(listed.bytes as usize),
    ]
}

fn from_the_end(text: &str, most: usize) -> String {
    let count = text.chars().count();
    match count <= most {
        true => text.to_string(),
        false => std::iter::once('…').chain(text.chars().skip(count + 1 - most)).collect(),
    }
}

fn stage(listed: &Listed) -> String {
    let part = listed.record.as_ref().and_then(|record| record.stage());
    part.map_or("?".into(), |part| part.name.clone())
}

fn kind(listed: &Listed) -> String {
    let part = listed.record.as_ref().and_then(|record| record.stage());
    part.map_or(String::new(), |part| part.kind.clone())
}

fn program(listed: &Listed) -> String {
    listed.record.as_ref().map_or(String::new(), |record| record.program.clone())
}

fn since_1970(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn prune(all: &[Listed], args: &Prune) -> Result<(), Failure> {
    if args.unused.is_none() && args.down_to.is_none() && args.program.is_none() && !args.unfinished {
        let message = "`prune` needs to be told what: --unused AGE, --down-to SIZE, --unfinished, --program FILE";
        return Err(Failure::Usage(message.into()));
    }
    let now = SystemTime::now();
    let age = |listed: &Listed| listed.used.and_then(|used| now.duration_since(used).ok()).unwrap_or_default();
    let wanted = all.iter().filter(|listed| {
        args.unused.is_none_or(|unused| age(listed) >= unused)
            && (!args.unfinished || listed.unfinished.is_some())
            && args.program.as_ref().is_none_or(|of| program(listed) == *of)
    });
    let mut left: u64 = all.iter().map(|listed| listed.bytes).sum();
    let (mut removed, mut freed, mut used) = (0, 0, 0);
    for listed in wanted {
        if args.down_to.is_some_and(|most| left <= most as u64) {
            break;
        }
        let done = match args.dry {
            true => !listed.entry.is_in_use(),
            false => listed.remove().map_err(Failure::new)?,
        };
        match done {
            true => {
                outln!("{}  {}  {}", &listed.hash[..8], bytes(listed.bytes as usize), shortened(&stage(listed), 50));
                (removed, freed, left) = (removed + 1, freed + listed.bytes, left - listed.bytes);
            }
            false => used += 1,
        }
    }
    let verb = if args.dry { "would be removed" } else { "removed" };
    outln!("{removed} stages {verb}, {} freed, {} left", bytes(freed as usize), bytes(left as usize));
    if used > 0 {
        outln!("{used} are in use and stay");
    }
    Ok(())
}
