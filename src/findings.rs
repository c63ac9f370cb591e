//! What a run found, as text or as JSON lines: tables, claims, curves, saved policies.

use crate::print::{errln, out, outln};
use crate::table;
use align_runtime::run::{Asserted, Finding};
use serde_json::{Value, json};

/// For people: on standard output, but for claims that do not hold.
pub fn show(finding: &Finding) {
    match finding {
        Finding::Shown(shown) => out!("{}", table::text(&shown.head, &shown.rows)),
        Finding::Asserted(claim) if claim.holds => outln!("holds: {}", claim.text),
        Finding::Asserted(claim) => {
            errln!("error: this does not hold: {}", claim.text);
            claim.parts.iter().for_each(|(text, value)| errln!("  {text} is {}", table::number(*value)));
        }
        Finding::Plotted(curves) => {
            for curve in curves {
                let last = curve.points.last().map_or(String::new(), |(_, y)| table::number(*y));
                outln!("{}: {} points, the last {last}", curve.label, curve.points.len());
            }
        }
        Finding::Saved(path) => outln!("saved {}", path.display()),
    }
}

/// One event of `--json`.
pub fn event(finding: &Finding) -> Value {
    match finding {
        Finding::Shown(shown) => json!({ "event": "show", "head": shown.head, "rows": shown.rows }),
        Finding::Asserted(Asserted { text, holds, parts }) => {
            let parts: serde_json::Map<_, _> = parts.iter().map(|(text, value)| (text.clone(), json!(value))).collect();
            json!({ "event": "assert", "text": text, "holds": holds, "parts": parts })
        }
        Finding::Plotted(curves) => {
            let curves: Vec<_> = curves.iter().map(|c| json!({ "label": c.label, "points": c.points })).collect();
            json!({ "event": "plot", "curves": curves })
        }
        Finding::Saved(path) => json!({ "event": "save", "path": path }),
    }
}
