//! How the files of a model show themselves as they come from a hub.

use crate::print::{errln, outln};
use align_runtime::hub::Arrived;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::cell::RefCell;
use std::time::{Duration, Instant};

pub enum Fetching {
    /// A bar for each file, on a terminal.
    Bar(RefCell<Option<(String, ProgressBar)>>),
    /// A line when a file begins, and some while it comes.
    Lines(RefCell<Option<(String, Instant)>>),
    /// A line when a file is there.
    Json,
    Quiet,
}

/// Between two lines of a file.
const PAUSE: Duration = Duration::from_secs(10);

impl Fetching {
    pub fn bar() -> Fetching {
        Fetching::Bar(RefCell::new(None))
    }

    pub fn lines() -> Fetching {
        Fetching::Lines(RefCell::new(None))
    }

    pub fn arrived(&self, part: Arrived) {
        let whole = part.total == Some(part.bytes);
        match self {
            Fetching::Bar(bar) => {
                let mut bar = bar.borrow_mut();
                if bar.as_ref().is_none_or(|(file, _)| file != part.file) {
                    *bar = Some((part.file.to_string(), new_bar(&part)));
                }
                if let Some((_, bar)) = &*bar {
                    bar.set_position(part.bytes);
                    if whole {
                        bar.finish();
                    }
                }
            }
            Fetching::Lines(last) => {
                let mut last = last.borrow_mut();
                let new = last.as_ref().is_none_or(|(file, _)| file != part.file);
                if new || last.as_ref().is_some_and(|(_, when)| when.elapsed() > PAUSE) {
                    let total = part.total.map(|total| format!(" of {}", HumanBytes(total))).unwrap_or_default();
                    errln!("{}: {}, {}{total}", part.model, part.file, HumanBytes(part.bytes));
                    *last = Some((part.file.to_string(), Instant::now()));
                }
            }
            Fetching::Json if whole => {
                outln!("{}", json!({ "event": "fetch", "model": part.model, "file": part.file, "bytes": part.bytes }));
            }
            Fetching::Json | Fetching::Quiet => {}
        }
    }
}

fn new_bar(part: &Arrived) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(part.total, ProgressDrawTarget::stderr_with_hz(8));
    let template = "{prefix:<28!} {bar:20} {bytes}/{total_bytes}  {bytes_per_sec}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("━╸ "));
    bar.set_prefix(part.file.to_string());
    // What was there before does not count for the speed.
    bar.set_position(part.bytes);
    bar.reset_eta();
    bar
}
