//! How a program is run.

use std::path::PathBuf;
use std::time::Duration;

use align_syntax::span::Sources;

use crate::train::Saving;

/// Between checkpoints, unless something else is said.
const BETWEEN: Duration = Duration::from_secs(60);

/// What the command line says.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The run's folder.
    pub out: PathBuf,
    /// Finished stages and checkpoints.
    pub store: PathBuf,
    /// Bytes for everything that a stage holds. Unless it is said, half of the machine's memory, or what a device with its
    /// own says.
    pub memory: Option<usize>,
    /// Steps between checkpoints. Unless it is said, they are made by time.
    pub checkpoint_every: Option<usize>,
    /// Writes event files for TensorBoard.
    pub tensorboard: bool,
    /// Counts where time goes; the texts are those that kernels come from.
    pub profile: Option<Sources>,
    /// What the report says of the program.
    pub about: About,
}

/// A program as its report shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// The name of its file.
    pub file: String,
    pub source: String,
    /// The seed of all draws.
    pub seed: u64,
}

impl RunOptions {
    pub(super) fn saving(&self) -> Saving {
        self.checkpoint_every.map_or(Saving::Time(BETWEEN), Saving::Steps)
    }
}

/// A size such as `2GiB`, `500MB` or a number of bytes.
pub fn size(text: &str) -> Option<usize> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
    let number: f64 = number.trim().parse().ok()?;
    let bytes = number * unit as f64;
    (1.0..1e18).contains(&bytes).then_some(bytes as usize)
}

/// Half of the memory that this process may use: the machine's, or its container's where that is less.
pub fn default_memory() -> usize {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib << 10)
    });
    let container = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse::<usize>().ok());
    machine.into_iter().chain(container).min().unwrap_or(4 << 30) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("2GiB"), Some(2 << 30));
        assert_eq!(size("1.5 MiB"), Some(3 << 19));
        assert_eq!(size("500MB"), Some(500_000_000));
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("7B"), Some(7));
        assert!(["", "x", "-1GiB", "2 GiBs", "0", "nan"].iter().all(|text| size(text).is_none()));
        assert!(default_memory() > 1 << 20);
    }
}
