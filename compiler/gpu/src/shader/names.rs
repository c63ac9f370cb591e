//! Identifiers of WGSL from names of buffers and axes.

use std::collections::HashSet;

use wgpu::naga::keywords::wgsl as keywords;

use super::library;

/// Names that kernels give to things of their own. An axis may be called so, too.
const TAKEN: [&str; 24] = [
    "Sizes",
    "sizes",
    "faults",
    "group",
    "groups",
    "group_id",
    "lane",
    "main",
    "row",
    "own_row",
    "slice",
    "chunk",
    "part",
    "entry",
    "product",
    "column",
    "lane_row",
    "lane_column",
    "first",
    "i",
    "j",
    "k",
    "x",
    "a",
];

fn is_taken(name: &str) -> bool {
    let of_language = keywords::RESERVED.contains(&name) || keywords::BUILTIN_IDENTIFIERS.contains(&name);
    of_language || TAKEN.contains(&name) || library::is_name(name)
}

/// Gives every name once.
#[derive(Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// Nothing else gets this name.
    pub fn take(&mut self, name: &str) {
        self.0.insert(name.to_string());
    }

    /// The name without what identifiers cannot hold; with a number behind it if it is taken already.
    pub fn give(&mut self, name: &str) -> String {
        let mut plain = String::new();
        for c in name.chars() {
            let c = if c.is_ascii_alphanumeric() { c } else { '_' };
            // Two underscores in a row are not for programs.
            if c != '_' || !(plain.is_empty() || plain.ends_with('_')) {
                plain.push(c);
            }
        }
        let mut plain = plain.trim_end_matches('_').to_string();
        if plain.is_empty() || plain.starts_with(|c: char| c.is_ascii_digit()) {
            plain.insert_str(0, "of_");
        }
        if plain.len() > 48 {
            // The end of a path says more than its beginning.
            plain = plain[plain.len() - 48..].trim_start_matches('_').to_string();
        }
        let plain = plain.trim_end_matches('_').to_string();
        let mut candidates = std::iter::once(plain.clone()).chain((2..).map(|i| format!("{plain}_{i}")));
        let value = |c: &str| c.strip_prefix('v').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
        let free = candidates.find(|c| !value(c) && !is_taken(c) && !self.0.contains(c)).unwrap_or(plain);
        self.0.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers_and_differ() {
        let mut names = Names::default();
        let given =
            ["decoder.blocks.0.norm", "mul.22", "mul.22", "sizes", "0", "", "a..b", "größe"].map(|n| names.give(n));
        let want = ["decoder_blocks_0_norm", "mul_22", "mul_22_2", "sizes_2", "of_0", "of_2", "a_b", "gr_e"];
        assert_eq!(given, want.map(String::from));
    }
}
