//! `report.html` and event files, however a run ends.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use align_runtime::engine::Cpu;
use align_runtime::run::{Progress, Silent, StepShown};

use crate::{DOUBLES, run_in, run_until, try_run};

fn report(folder: &Path) -> String {
    fs::read_to_string(folder.join("out/report.html")).unwrap()
}

/// The text of a page without its tags, on one line.
fn text(html: &str) -> String {
    let body = &html[html.find("<body>").unwrap()..];
    let plain: Vec<&str> = body.split('<').map(|part| part.split_once('>').map_or("", |(_, text)| text)).collect();
    let text = plain.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    [("&lt;", "<"), ("&gt;", ">"), ("&#x2f;", "/"), ("&#x27;", "'"), ("&quot;", "\""), ("&amp;", "&")]
        .iter()
        .fold(text, |text, (escaped, plain)| text.replace(escaped, plain))
}

fn charts(html: &str) -> usize {
    html.matches("<svg").count()
}

/// Steps of the events of a stage, in order.
fn event_steps(folder: &Path) -> Vec<u64> {
    let stage = folder.join("out/tensorboard/taught");
    let files: Vec<_> = fs::read_dir(stage).unwrap().flatten().map(|entry| entry.path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let (bytes, mut at, mut steps) = (fs::read(&files[0]).unwrap(), 0, vec![]);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let event = &bytes[at + 12..at + 12 + length];
        // After the time stands the step; a summary follows.
        if event[11] == 5 << 3 | 2 {
            steps.push(u64::from(event[10]));
        }
        at += length + 16;
    }
    steps
}

/// Asks to stop after a step.
struct StopsAfter<'a>(&'a AtomicBool, usize);

impl Progress for StopsAfter<'_> {
    fn step(&mut self, step: &StepShown) {
        self.0.store(step.step == self.1, Ordering::Relaxed);
    }
}

#[test]
fn a_finished_run_shows_all_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let plotted = DOUBLES.replace("  save", "  plot history(taught).loss, halves: [0.5, 0.25]\n  save");
    run_in(folder.path(), &plotted, &[], &Cpu::new(2), &mut Silent);
    let html = report(folder.path());
    // One file that needs nothing else.
    assert!(!html.contains("http") && !html.contains("<script") && !html.contains("url("), "{html}");
    // Loss, perplexity, gradient norm, learning rate, rate; and what the program plots.
    assert_eq!(charts(&html), 6);
    let text = text(&html);
    for part in [
        "main.align finished",
        "training steps 30",
        "taught finished gpt, ",
        "loss 5.",
        "perplexity",
        "tokens per second",
        "history(taught).loss halves",
        "holds perplexity(taught, doubles.train, .answer) < perplexity(untrained, doubles.train, .answer)",
        "optimizer adamw(lr: cosine(peak: 0.03, warmup: 0.1, floor: 0)",
        "beta1: 0.9, beta2: 0.999",
        "clip 1 ",
        "order shuffled, seed 0",
        "eval perplexity, every: 10",
        "First rows of the data row",
        "*2= answer",
        "saved",
        "param steps: Int = 30",
        "engine cpu, 2 threads",
        "memory for a stage 1.0 GiB",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(event_steps(folder.path()), (1..=30).collect::<Vec<_>>());

    // The second run, of which all is kept, shows the same curves.
    fs::remove_dir_all(folder.path().join("out")).unwrap();
    run_in(folder.path(), &plotted, &[], &Cpu::new(2), &mut Silent);
    let again = report(folder.path());
    assert!(self::text(&again).contains("taught kept gpt, "), "{again}");
    let curves = |html: &str| html.matches("<polyline").count();
    assert_eq!((charts(&again), curves(&again)), (charts(&html), curves(&html)));
    assert_eq!(event_steps(folder.path()), (1..=30).collect::<Vec<_>>());
}

#[test]
fn a_stopped_run_has_a_report_and_the_next_one_the_whole_curve() {
    let (folder, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    let run = run_until(folder.path(), DOUBLES, &[], &Cpu::new(2), &mut StopsAfter(&stop, 11), &stop).unwrap();
    assert!(run.stopped);
    let stopped = text(&report(folder.path()));
    assert!(stopped.contains("main.align stopped") && stopped.contains("training steps 11"), "{stopped}");
    assert!(stopped.contains("taught stopped") && !stopped.contains("holds"), "{stopped}");
    assert_eq!(event_steps(folder.path()), (1..=11).collect::<Vec<_>>());
    run_in(folder.path(), DOUBLES, &[], &Cpu::new(2), &mut Silent);
    let whole = text(&report(folder.path()));
    assert!(whole.contains("main.align finished") && whole.contains("taught finished"), "{whole}");
    assert!(whole.contains("training steps 30"), "{whole}");
    assert_eq!(event_steps(folder.path()), (1..=30).collect::<Vec<_>>());
}

#[test]
fn a_fault_is_in_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = DOUBLES.replace("loss      sft(.answer)", "loss      (p, x) => log(0 - mean[time](sft(p, x.answer)))");
    let error = try_run(folder.path(), &wrong, &[], &Cpu::new(2), &mut Silent).unwrap_err().to_string();
    let text = text(&report(folder.path()));
    assert!(text.contains("main.align failed"), "{text}");
    assert!(text.contains(&error) && error.contains("taught"), "{error}\n{text}");
}
