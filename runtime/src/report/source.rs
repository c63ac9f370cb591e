//! A program's text as HTML.

use align_syntax::highlight::{Class, highlight};

/// The text in spans whose classes say what a word is. Everything is escaped.
pub fn html(text: &str) -> String {
    let (mut out, mut at) = (String::with_capacity(2 * text.len()), 0);
    for (part, class) in highlight(text) {
        escape(&text[at..part.start], &mut out);
        let class = match class {
            Class::Keyword => "k",
            Class::Type => "y",
            Class::Number => "n",
            Class::Text => "s",
            Class::Comment => "c",
        };
        out += &format!("<span class=\"{class}\">");
        escape(&text[part.clone()], &mut out);
        out += "</span>";
        at = part.end;
    }
    escape(&text[at..], &mut out);
    out
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_classes() {
        assert_eq!(
            html("let a = x<y // <b>"),
            "<span class=\"k\">let</span> a = x&lt;y <span class=\"c\">// &lt;b&gt;</span>"
        );
    }
}
