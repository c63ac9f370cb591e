//! Where the time of a stage goes: what its kernels took and what they did, what the host did around them, and what they
//! are written as. Nothing of it costs anything where no profile is asked for.

mod clock;
mod table;
mod trace;

use std::path::Path;

use align_syntax::span::Sources;
use serde_json::json;

use crate::engine::{Engine, Spent};
use crate::error::{Error, Result};
use crate::model::files::replace_with;

pub use clock::{Clock, Section};
pub use table::{Place, Row, Table};

/// Steps of a stage whose single runs are kept for the trace.
pub const TRACED: usize = 3;

/// The profile of a run.
pub struct Profile {
    sources: Sources,
    peak: Option<f64>,
    stages: Vec<StageSpent>,
}

/// What a stage took.
#[derive(Clone, Debug)]
pub struct StageSpent {
    pub name: String,
    /// Steps; of an evaluation one.
    pub steps: usize,
    /// Forward tokens.
    pub tokens: u64,
    /// Of wall time.
    pub seconds: f64,
    /// What each section of the host's work took, kernels included.
    pub clock: Clock,
    /// Kernels, by the section that ran them.
    pub kernels: Vec<(Section, Spent)>,
    /// Bytes of each part.
    pub memory: Vec<(&'static str, usize)>,
}

impl Profile {
    /// Measures what the machine can do.
    pub fn new(sources: Sources, engine: &dyn Engine) -> Profile {
        Profile { sources, peak: engine.peak(), stages: vec![] }
    }

    pub fn add(&mut self, stage: StageSpent) {
        self.stages.push(stage);
    }

    /// A table for each stage.
    pub fn tables(&self) -> Vec<Table> {
        self.stages.iter().map(|stage| Table::new(stage, &self.sources, self.peak)).collect()
    }

    /// Writes `profile.json`, all rows of all tables, and `trace.json`, which <https://ui.perfetto.dev> and
    /// `chrome://tracing` show, into a folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let stages: Vec<_> = self.tables().iter().map(Table::json).collect();
        let (flops, bytes) = (self.peak, peak_memory());
        let profile = json!({ "peak_flops_per_second": flops, "peak_memory_bytes": bytes, "stages": stages });
        let files = [("profile.json", profile), ("trace.json", trace::trace(&self.stages, &self.sources))];
        for (name, content) in files {
            let path = folder.join(name);
            let text = serde_json::to_vec(&content).map_err(|e| Error::new(path.display(), e.to_string()))?;
            replace_with(&path, &text).map_err(|e| Error::new(path.display(), e.to_string()))?;
        }
        Ok(())
    }
}

/// The most bytes of memory that this process has held so far, where the system tells.
pub fn peak_memory() -> Option<usize> {
    status("VmHWM:")
}

/// The bytes of memory that this process holds now; 0 where the system does not tell.
pub fn resident_memory() -> usize {
    status("VmRSS:").unwrap_or(0)
}

/// From now on [`peak_memory`] is what is held from now on. Whether the system does this.
pub fn forget_peak() -> bool {
    // As `proc(5)` has it.
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn status(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib << 10)
}
