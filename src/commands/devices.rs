//! `alignc devices`: what programs can run on.

use crate::args::Devices;
use crate::commands::threads;
use crate::failure::Failure;
use crate::print::{out, outln};
use crate::table::{number, text};
use align_runtime::engine::Cpu;
use serde_json::{Value, json};

/// A device in words and numbers: what `--device` calls it, and what it reaches.
struct Row {
    name: String,
    about: String,
    /// Bytes.
    memory: Option<u64>,
    /// GFLOP/s of a product, GB/s.
    rates: Option<(f64, Option<f64>)>,
    more: Vec<String>,
}

pub fn devices(args: &Devices) -> Result<(), Failure> {
    let cpu = Cpu::new(threads(None));
    let rows: Vec<Row> = std::iter::once(Row {
        name: "cpu".into(),
        about: format!("{} threads", cpu.threads()),
        memory: Some(2 * align_runtime::run::default_memory() as u64),
        rates: Some((cpu.peak() / 1e9, None)),
        more: vec![],
    })
    .chain(graphics())
    .collect();
    if args.json {
        rows.iter().for_each(|row| outln!("{}", row.json()));
        return Ok(());
    }
    let head = ["device", "", "memory", "GFLOP/s", "GB/s"].map(String::from);
    let cells = |row: &Row| {
        let (product, memory) = row.rates.map_or((None, None), |(p, m)| (Some(p), m));
        let rounded = |x: Option<f64>| x.map_or(String::new(), |x| number(if x > 10.0 { x.round() } else { x }));
        let gib = row.memory.map_or(String::new(), |bytes| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64));
        vec![row.name.clone(), row.about.clone(), gib, rounded(product), rounded(memory)]
    };
    out!("{}", text(&head, &rows.iter().map(cells).collect::<Vec<_>>()));
    for row in rows.iter().filter(|row| !row.more.is_empty()) {
        outln!("\n{}", row.name);
        row.more.iter().for_each(|line| outln!("  {line}"));
    }
    if rows.len() == 1 {
        outln!("\nNo GPU is found: there is none, or its Vulkan, Metal or DirectX 12 driver is not installed.");
    }
    Ok(())
}

impl Row {
    fn json(&self) -> Value {
        let (product, memory) = self.rates.map_or((None, None), |(p, m)| (Some(p), m));
        json!({
            "device": self.name, "about": self.about, "memory": self.memory, "gflops": product, "gb_per_s": memory,
            "more": self.more,
        })
    }
}

#[cfg(feature = "gpu")]
fn graphics() -> Vec<Row> {
    use align_runtime::engine::graphics::{Gpu, list};
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let row = |(i, about): (usize, align_runtime::engine::graphics::About)| {
        let mut more = vec![
            format!("{} by {}", about.driver, about.back_end),
            format!("a tensor: at most {}; a buffer: at most {}", mib(about.binding), mib(about.buffer)),
            format!(
                "kernels can {}be timed; f16: {}",
                if about.times { "" } else { "not " },
                if about.f16 { "yes" } else { "no" }
            ),
        ];
        if !about.matrices.is_empty() {
            more.push(format!("multiplies matrices at once: {}", about.matrices.join(", ")));
        }
        let measured = Gpu::open(Some(i)).map_err(|error| error.to_string());
        let measured = measured.and_then(|gpu| gpu.rates().map_err(|fault| fault.to_string()));
        let rates = match measured {
            Ok(rates) => {
                more.push(format!("a run costs {:.0} µs", 1e6 * rates.run));
                Some((rates.product / 1e9, Some(rates.memory / 1e9)))
            }
            Err(why) => {
                more.push(why);
                None
            }
        };
        let about_it = format!("{}, {}", about.name, about.kind);
        Row { name: format!("gpu:{i}"), about: about_it, memory: Some(about.memory), rates, more }
    };
    list().into_iter().enumerate().map(row).collect()
}

#[cfg(not(feature = "gpu"))]
fn graphics() -> Vec<Row> {
    vec![]
}
