//! What a text is made of, for those who show it: keywords, strings, comments.

use std::ops::Range;

use crate::lex::{Kind, tokens};
use crate::words::{COMMANDS, RESERVED, begins_item};

/// A kind of word that is shown in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Keyword,
    Type,
    Number,
    Text,
    Comment,
}

/// The parts of a text that have a class, in order. Any text has such parts, also one that does not parse.
pub fn highlight(text: &str) -> Vec<(Range<usize>, Class)> {
    let class = |kind: Kind, word: &str| match kind {
        Kind::Word => {
            let keyword = RESERVED.contains(&word) || COMMANDS.contains(&word) || begins_item(word);
            keyword.then_some(Class::Keyword)
        }
        Kind::Type => Some(Class::Type),
        Kind::Number => Some(Class::Number),
        Kind::Str | Kind::OpenStr | Kind::TemplateStart | Kind::TemplateText | Kind::TemplateEnd => Some(Class::Text),
        Kind::Note | Kind::Doc => Some(Class::Comment),
        _ => None,
    };
    let all = tokens(text);
    let is =
        |at: Option<usize>, mark: &str| at.and_then(|at| all.get(at)).is_some_and(|token| token.text(text) == mark);
    let name = |at: usize| all[at].kind == Kind::Word && (is(at.checked_sub(1), ".") || is(Some(at + 1), ":"));
    let parts = all.iter().enumerate().filter(|(at, _)| !name(*at));
    parts.filter_map(|(_, token)| Some((token.start..token.end, class(token.kind, token.text(text))?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_strings_and_comments() {
        let text = "let x: Int = 1 // one\nshow \"\"\"{x} of\"\"\"";
        let parts: Vec<_> = highlight(text).into_iter().map(|(part, class)| (&text[part], class)).collect();
        use Class::*;
        let want = [("let", Keyword), ("Int", Type), ("1", Number), ("// one", Comment), ("show", Keyword)];
        assert_eq!(parts[..5], want);
        assert_eq!(parts[5..], [("\"\"\"", Text), (" of", Text), ("\"\"\"", Text)]);
        assert_eq!(highlight("rows.train(train: p.loss)"), [], "names of fields and arguments are no keywords");
    }
}
