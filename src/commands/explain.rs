//! `alignc explain E0123`: what a diagnostic code means, at length.

use crate::failure::Failure;
use crate::print::outln;
use align_syntax::codes;
use align_syntax::diag::{did_you_mean, meant};

pub fn explain(code: &str) -> Result<(), Failure> {
    if let Some(text) = codes::explain(&code.to_uppercase()) {
        outln!("{text}");
        return Ok(());
    }
    let near = did_you_mean(code, codes::all().map(|c| c.code));
    let hint = near.map_or("Codes look like E0202.".to_string(), meant);
    Err(Failure::Usage(format!("there is no code {code}. {hint}")))
}
