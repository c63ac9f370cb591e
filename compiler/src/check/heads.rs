//! The head of a loss against the axes of its value (SEMANTICS section 3).

use super::axes::{Axes, listed};

/// The axes that the head of a loss leaves, or why the value has others: E0210.
pub fn head_fits(head: &str, axes: &Axes, grouped: bool) -> Option<(String, String)> {
    let names: Vec<&str> = axes.names().map(|n| &**n).collect();
    let extra = |allowed: &[&str]| -> Vec<&str> { names.iter().filter(|n| !allowed.contains(n)).copied().collect() };
    let reduce = |extra: &[&str]| {
        let list = extra.join(", ");
        format!("Reduce it: `sum[{list}](..)` or `mean[{list}](..)`")
    };
    match head {
        "token" => {
            let more = extra(&["time", "sample"]);
            if !more.is_empty() {
                return Some((format!("the value still has {}", listed(&more)), format!("{}.", reduce(&more))));
            }
            (!names.contains(&"time")).then(|| {
                ("the value has no `time`".to_string(), "Say `per example`, or leave the tokens unreduced.".to_string())
            })
        }
        "sample" => {
            let more = extra(&["sample"]);
            if !more.is_empty() {
                return Some((format!("the value still has {}", listed(&more)), format!("{}.", reduce(&more))));
            }
            (grouped && !names.contains(&"sample")).then(|| {
                (
                    "the value has no `sample`".to_string(),
                    "Say `per group`, or leave the samples unreduced.".to_string(),
                )
            })
        }
        _ => (!names.is_empty()).then(|| {
            let other = match (names.contains(&"time"), names.contains(&"sample")) {
                (true, _) => ", or say `per token`",
                (false, true) => ", or say `per sample`",
                _ => "",
            };
            (format!("the value still has {}", listed(&names)), format!("{}{other}.", reduce(&names)))
        }),
    }
}
