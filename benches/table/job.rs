//! Runs of programs, ours and others', and what they cost.

use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder to run in: without a store, so that stages are run and not found.
pub struct Place {
    folder: TempDir,
    pub project: PathBuf,
    /// That a run may use.
    pub threads: String,
}

/// What a process printed and held.
struct Ran {
    text: String,
    /// The most bytes of memory.
    peak: f64,
}

/// What a training run of ours was.
pub struct Training {
    /// Seconds since the stage began, at the end of each step.
    pub ends: Vec<f64>,
    /// Seconds of the stages before it.
    pub before: f64,
    pub tokens: f64,
    pub peak: f64,
    /// `profile.json`, if it was asked for.
    pub profile: Option<Value>,
}

impl Place {
    pub fn new(threads: usize) -> Result<Place, String> {
        let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
        let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        for shared in ["models", "examples", "benches"] {
            let (from, to) = (project.join(shared), folder.path().join(shared));
            std::os::unix::fs::symlink(&from, to).map_err(|e| format!("{}: {e}", from.display()))?;
        }
        Ok(Place { folder, project, threads: threads.to_string() })
    }

    pub fn write(&self, file: &str, text: &str) -> Result<(), String> {
        std::fs::write(self.folder.path().join(file), text).map_err(|e| format!("{file}: {e}"))
    }

    /// Runs a program.
    pub fn train(&self, program: &str, settings: &[(&str, &str)], flags: &[&str]) -> Result<Training, String> {
        let at = self.folder.path();
        for left in ["out", ".align"] {
            let _ = std::fs::remove_dir_all(at.join(left));
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_alignc"));
        command.current_dir(at).arg("run").arg(program).arg("--json").args(["--threads", &self.threads]).args(flags);
        settings.iter().for_each(|(name, value)| {
            command.arg("--set").arg(format!("{name}={value}"));
        });
        let ran = run(&mut command)?;
        let events: Vec<Value> = ran.text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let steps = events.iter().filter(|event| event["event"] == "step");
        let ends: Vec<f64> = steps.clone().filter_map(|event| event["seconds"].as_f64()).collect();
        let stage = steps.clone().find_map(|event| event["stage"].as_str()).ok_or(format!("{program} ran no stage"))?;
        let others = events.iter().filter(|event| event["event"] == "end" && event["stage"] != stage);
        let before = others.filter_map(|event| event["seconds"].as_f64()).sum();
        let stem = Path::new(program).file_stem().unwrap_or_default();
        let folder = at.join("out").join(stem);
        let lines = read(&folder.join("metrics.jsonl"))?;
        let last = lines.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_default();
        let tokens = last["num_tokens"].as_f64().ok_or(format!("{stage} counted no tokens"))?;
        let profile = match flags.contains(&"--profile") {
            true => serde_json::from_str(&read(&folder.join("profile.json"))?).ok(),
            false => None,
        };
        Ok(Training { ends, before, tokens, peak: ran.peak, profile })
    }
}

/// Runs a Python program, and gives the JSON of its last line and its peak memory in bytes.
pub fn python(command: &mut Command) -> Result<(Value, f64), String> {
    let ran = run(command)?;
    let last = ran.text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok((last.ok_or("the program printed no figures")?, ran.peak))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn run(command: &mut Command) -> Result<Ran, String> {
    let name = command.get_program().to_string_lossy().to_string();
    let failed = |e: std::io::Error| format!("{name}: {e}");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
    let mut text = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut text).map_err(failed)?;
    // The standard library waits without asking what the process has used.
    // SAFETY: all zeros are a value of this plain struct.
    let (mut status, mut usage) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
    // SAFETY: both pointers are to values of ours, and the process is a child that nobody has waited for.
    let waited = unsafe { libc::wait4(child.id() as libc::pid_t, &mut status, 0, &mut usage) };
    if waited < 0 || status != 0 {
        return Err(format!("{name} failed: run it by hand to see why\n  {command:?}"));
    }
    let unit = if cfg!(target_os = "macos") { 1.0 } else { 1024.0 };
    Ok(Ran { text, peak: usage.ru_maxrss as f64 * unit })
}
