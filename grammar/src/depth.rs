//! How deeply a text may be nested: parser, tree and later passes follow it by recursion.

use crate::diag::Diagnostic;
use crate::lex::{Kind, Token};
use crate::lines;
use crate::span::{FileId, Span};

/// Brackets within each other.
const BRACKETS: usize = 64;
/// Lambdas, branches, powers, function types and prefixes within each other, in one expression.
const NESTED: usize = 64;
/// Operators, fields and calls in a row, in one expression.
const CHAINED: usize = 400;

/// Words whose last part takes all that follows.
const NESTING: [&str; 7] = ["then", "else", "not", "train", "for", "until", "iterate"];

/// The first place where a text is nested too deeply to be read.
pub(crate) fn too_deep(file: FileId, text: &str, tokens: &[Token]) -> Option<Diagnostic> {
    // How much is nested and chained in the expression of each open bracket.
    let mut levels = vec![(0, 0)];
    for (i, token) in tokens.iter().enumerate() {
        let word = token.text(text);
        let depth = levels.len();
        let (nested, chained) = levels.last_mut().expect("the file itself is a level");
        match token.kind {
            Kind::Open | Kind::HoleStart | Kind::TemplateStart => {
                *chained += 1;
                levels.push((0, 0));
            }
            Kind::Close | Kind::HoleEnd | Kind::TemplateEnd if depth > 1 => drop(levels.pop()),
            Kind::Comma | Kind::Semi => (*nested, *chained) = (0, 0),
            Kind::Newline if lines::ends(text, tokens, i) => (*nested, *chained) = (0, 0),
            Kind::Op if matches!(word, "=>" | "->" | "^" | "**" | "!") => *nested += 1,
            Kind::Op if word == "-" && i > 0 && tokens[i - 1].kind == Kind::Op => *nested += 1,
            Kind::Op => *chained += 1,
            Kind::Word if NESTING.contains(&word) => *nested += 1,
            Kind::Word if matches!(word, "and" | "or" | "with" | "in" | "as" | "each") => *chained += 1,
            _ => {}
        }
        let (nested, chained) = *levels.last().expect("the file itself is a level");
        if levels.len() > BRACKETS || nested > NESTED || chained > CHAINED {
            let span = Span::new(file, token.start, token.end);
            let error = Diagnostic::error("E0028", span, "this is nested too deeply");
            return Some(error.help("Give parts of it names with `let`."));
        }
    }
    None
}
