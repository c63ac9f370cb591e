//! How a run shows itself: a bar on a terminal, plain lines elsewhere, JSON lines, or what it found alone.

use crate::findings;
use crate::print::{errln, outln};
use align_runtime::run::{Finding, Progress, StepShown};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::time::{Duration, Instant};

/// A bar that stays where it is.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    pub fn new() -> Bar {
        Bar(None)
    }
}

impl Progress for Bar {
    fn begins(&mut self, stage: &str, done: usize, total: usize) {
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr_with_hz(8));
        let style = ProgressStyle::with_template("{prefix:<12!} {bar:20} {pos}/{len}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
        bar.set_prefix(stage.to_string());
        bar.set_position(done as u64);
        self.0 = Some(bar);
    }

    fn step(&mut self, step: &StepShown) {
        if let Some(bar) = &self.0 {
            bar.set_message(state(step));
            bar.set_position(step.step as u64);
        }
    }

    fn ends(&mut self, stage: &str, kept: bool) {
        match self.0.take() {
            Some(bar) => bar.finish(),
            None if kept => errln!("{stage}: kept from an earlier run"),
            None => {}
        }
    }

    fn found(&mut self, finding: &Finding) {
        match &self.0 {
            Some(bar) => bar.suspend(|| findings::show(finding)),
            None => findings::show(finding),
        }
    }

    fn note(&mut self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| errln!("{text}")),
            None => errln!("{text}"),
        }
    }
}

/// Lines, not too many of them.
pub struct Lines {
    last: Option<Instant>,
}

/// Between two lines of a stage.
const PAUSE: Duration = Duration::from_secs(5);

impl Lines {
    pub fn new() -> Lines {
        Lines { last: None }
    }
}

impl Progress for Lines {
    fn begins(&mut self, stage: &str, done: usize, total: usize) {
        self.last = None;
        match (done, total) {
            (0, 0) => {}
            (0, total) => errln!("{stage}: {total} steps"),
            (done, total) => errln!("{stage}: goes on after step {done} of {total}"),
        }
    }

    fn step(&mut self, step: &StepShown) {
        if step.step == step.total || self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.last = Some(Instant::now());
            errln!("{}: step {}/{}  {}", step.stage, step.step, step.total, state(step));
        }
    }

    fn ends(&mut self, stage: &str, kept: bool) {
        if kept {
            errln!("{stage}: kept from an earlier run");
        }
    }

    fn found(&mut self, finding: &Finding) {
        findings::show(finding);
    }

    fn note(&mut self, text: &str) {
        errln!("{text}");
    }
}

/// Nothing but what the program asks for.
pub struct Quiet;

impl Progress for Quiet {
    fn found(&mut self, finding: &Finding) {
        findings::show(finding);
    }
}

/// One object a line on standard output. `seconds`: since the stage began.
pub struct Json {
    begun: Instant,
}

impl Json {
    pub fn new() -> Json {
        Json { begun: Instant::now() }
    }
}

impl Progress for Json {
    fn begins(&mut self, stage: &str, done: usize, total: usize) {
        self.begun = Instant::now();
        outln!("{}", json!({ "event": "begin", "stage": stage, "done": done, "total": total }));
    }

    fn step(&mut self, step: &StepShown) {
        let StepShown { stage, step, total, loss, tokens_per_second, left } = *step;
        outln!(
            "{}",
            json!({ "event": "step", "stage": stage, "seconds": self.begun.elapsed().as_secs_f64(), "step": step,
                    "total": total, "loss": loss, "tokens_per_second": tokens_per_second,
                    "seconds_left": left.as_secs_f64() })
        );
    }

    fn ends(&mut self, stage: &str, kept: bool) {
        let seconds = self.begun.elapsed().as_secs_f64();
        outln!("{}", json!({ "event": "end", "stage": stage, "kept": kept, "seconds": seconds }));
    }

    fn found(&mut self, finding: &Finding) {
        outln!("{}", findings::event(finding));
    }

    fn note(&mut self, text: &str) {
        outln!("{}", json!({ "event": "note", "text": text }));
    }
}

/// `loss 0.4312  12.3k tokens/s  left 1m 20s`
fn state(step: &StepShown) -> String {
    let rate = step.tokens_per_second;
    let rate = if rate >= 10_000.0 { format!("{:.1}k", rate / 1000.0) } else { format!("{rate:.0}") };
    format!("loss {:.4}  {rate} tokens/s  left {}", step.loss, time(step.left))
}

/// `1h 2m`, `3m 20s`, `14s`
pub fn time(left: Duration) -> String {
    let s = left.as_secs();
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let shown = |s| time(Duration::from_secs(s));
        assert_eq!([shown(14), shown(200), shown(3720)], ["14s", "3m 20s", "1h 02m"]);
    }
}
