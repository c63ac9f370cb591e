//! Where a run takes place.

use std::fs;

/// Lines `what`, `value` about this machine.
pub fn machine() -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let mut lines = vec![];
    let system = read("/proc/sys/kernel/osrelease");
    lines.push(("system", format!("{} {} {}", std::env::consts::OS, system.trim(), std::env::consts::ARCH)));
    if let Some(name) = field(&read("/proc/cpuinfo"), "model name") {
        lines.push(("processor", name));
    }
    if let Ok(cores) = std::thread::available_parallelism() {
        lines.push(("cores", cores.to_string()));
    }
    if let Some(kib) =
        field(&read("/proc/meminfo"), "MemTotal").and_then(|m| m.split(' ').next()?.parse::<usize>().ok())
    {
        lines.push(("memory", super::bytes(kib << 10)));
    }
    lines
}
