//! The tree as text: nested lists without places. What `alignc emit --level tree` prints, and what tests compare.
//!
//! The first word of a list says what it is: `(call f x)`, `(+ a b)`, `(fn twice (params (x Float)) (* 2 x))`. Names and numbers
//! stand for themselves, texts in quotes.

mod nodes;

use crate::ast::{Expr, File};
use std::fmt::Write;

/// Characters a line.
const WIDTH: usize = 120;

/// A node: a word, or a list.
pub(crate) enum Node {
    Word(String),
    List(Vec<Node>),
}

/// All items of a file.
pub fn print(file: &File) -> String {
    let mut out = String::new();
    for line in &file.about {
        writeln!(out, "about {line:?}").expect("a String takes all");
    }
    for item in &file.items {
        nodes::item(item).print(0, 0, &mut out);
        out.push('\n');
    }
    out
}

/// One expression, on as many lines as it needs.
pub fn print_expr(expr: &Expr) -> String {
    let mut out = String::new();
    nodes::expr(expr).print(0, 0, &mut out);
    out
}

impl Node {
    /// On one line if it fits beside the `closing` brackets that follow, else each part on its own.
    fn print(&self, indent: usize, closing: usize, out: &mut String) {
        let Node::List(parts) = self else { return self.flat(out) };
        if indent + self.width() + closing <= WIDTH {
            return self.flat(out);
        }
        out.push('(');
        // Words at the front stay with the head.
        let words = parts.iter().take_while(|p| matches!(p, Node::Word(_))).count();
        for (i, part) in parts.iter().enumerate() {
            if i > 0 && i < words {
                out.push(' ');
            } else if i > 0 {
                write!(out, "\n{:1$}", "", indent + 2).expect("a String takes all");
            }
            part.print(indent + 2, if i + 1 == parts.len() { closing + 1 } else { 0 }, out);
        }
        out.push(')');
    }

    fn width(&self) -> usize {
        match self {
            Node::Word(word) => word.chars().count(),
            Node::List(parts) => parts.iter().map(|p| p.width() + 1).sum::<usize>().max(1) + 1,
        }
    }

    fn flat(&self, out: &mut String) {
        match self {
            Node::Word(word) => out.push_str(word),
            Node::List(parts) => {
                out.push('(');
                for (i, part) in parts.iter().enumerate() {
                    if i > 0 {
                        out.push(' ');
                    }
                    part.flat(out);
                }
                out.push(')');
            }
        }
    }
}
