//! A graph of boxes and arrows, as text for Graphviz or as a picture.

mod layout;
mod svg;

pub use svg::svg;

/// What is drawn: boxes of lines of text, and arrows between them.
#[derive(Debug, Default)]
pub struct Drawing {
    pub boxes: Vec<Box>,
    /// From one box to another; `strong` ones are drawn thicker.
    pub arrows: Vec<Arrow>,
}

#[derive(Debug)]
pub struct Box {
    pub lines: Vec<String>,
    pub look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Where something comes from: data, models, first weights.
    Source,
    /// What is worked out and kept.
    Kept,
    /// What is shown, saved, claimed.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrow {
    pub from: usize,
    pub to: usize,
    pub strong: bool,
}

/// A text in the language of Graphviz.
pub fn dot(drawing: &Drawing) -> String {
    let quoted = |lines: &[String]| {
        let escaped = lines.iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\""));
        escaped.collect::<Vec<_>>().join("\\n")
    };
    let mut out = String::from("digraph stages {\n  node [shape=box, fontname=\"monospace\", fontsize=11];\n");
    for (i, of) in drawing.boxes.iter().enumerate() {
        let look = match of.look {
            Look::Source => ", style=rounded",
            Look::Kept => ", style=bold",
            Look::End => ", style=dashed",
        };
        out += &format!("  s{i} [label=\"{}\"{look}];\n", quoted(&of.lines));
    }
    for Arrow { from, to, strong } in &drawing.arrows {
        out += &format!("  s{from} -> s{to}{};\n", if *strong { "" } else { " [style=dashed]" });
    }
    out + "}\n"
}

/// A text in lines of about so many characters, broken at spaces and after commas and dots where that can be.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > width {
        let at = (width / 2..=width).rev().find(|at| matches!(rest[*at - 1], ' ' | ',' | '.' | '(' | '_' | '/'));
        let after = rest.split_off(at.unwrap_or(width));
        *lines.last_mut().expect("there is one") = rest.iter().collect::<String>().trim().to_string();
        lines.push(String::new());
        rest = after;
    }
    *lines.last_mut().expect("there is one") = rest.iter().collect::<String>().trim().to_string();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_broken_and_whole() {
        let name = "perplexity(a_very_long_name_of_a_policy, problems.test, .chat) and even more of it";
        let lines = wrapped(name, 28);
        assert!(lines.iter().all(|line| line.chars().count() <= 28), "{lines:?}");
        let without = |text: &str| text.replace(' ', "");
        assert_eq!(without(&lines.concat()), without(name));
    }
}
