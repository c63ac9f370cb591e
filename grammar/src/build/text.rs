//! Literals: numbers, strings, templates.

use super::{Builder, Pair, inner, next};
use crate::ast::{ExprKind, TemplatePart};
use crate::diag::Diagnostic;
use crate::parse::Rule;

impl Builder<'_> {
    pub fn int(&mut self, pair: &Pair) -> i64 {
        let digits = pair.as_str().replace('_', "");
        digits.parse().unwrap_or_else(|_| {
            let message = format!("the whole number {digits} is too large");
            let error =
                Diagnostic::error("E0024", self.span(pair), message).here(format!("the largest is {}", i64::MAX));
            self.diagnostics.push(error);
            i64::MAX
        })
    }

    pub fn number(&mut self, pair: Pair) -> ExprKind {
        let mut parts = inner(pair);
        let digits = next(&mut parts);
        let float =
            |p: &Pair| p.as_str().replace('_', "").parse::<f64>().expect("the rule `float` allows what Rust reads");
        match parts.next() {
            Some(unit) => ExprKind::Quantity(float(&digits), self.name(&unit)),
            None if digits.as_rule() == Rule::float => ExprKind::Float(float(&digits)),
            None => ExprKind::Int(self.int(&digits)),
        }
    }

    pub fn string(&mut self, pair: &Pair) -> String {
        let text = pair.as_str();
        if let Some(raw) = text.strip_prefix("r\"") {
            return raw[..raw.len() - 1].to_string();
        }
        let at = pair.as_span().start();
        if let Some((start, end)) = hole_in(text) {
            let message = "braces in a plain string are characters";
            let warning = Diagnostic::warning("W0010", self.at(at + start, at + end), message)
                .here("this stays as it is written")
                .help("A text with expressions in it has three quotes: `\"\"\"..{x}..\"\"\"`.");
            self.diagnostics.push(warning);
        }
        self.unescape(&text[1..text.len() - 1], at + 1, false)
    }

    pub fn template(&mut self, pair: Pair) -> ExprKind {
        let parts = inner(pair).map(|part| match part.as_rule() {
            Rule::text => TemplatePart::Text(self.unescape(part.as_str(), part.as_span().start(), true)),
            _ => TemplatePart::Hole(self.expr(next(&mut inner(part)))),
        });
        ExprKind::Template(parts.collect())
    }

    /// Resolves escapes, and in a template doubled braces; `start` is where the text stands in the file.
    fn unescape(&mut self, text: &str, start: usize, template: bool) -> String {
        let mut out = String::with_capacity(text.len());
        let mut chars = text.char_indices().peekable();
        while let Some((i, c)) = chars.next() {
            if template && (c == '{' || c == '}') {
                chars.next_if(|(_, next)| *next == c);
                out.push(c);
                continue;
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, '0')) => out.push('\0'),
                Some((_, 'u')) => match unicode(&text[i + 2..]) {
                    Some((c, len)) => {
                        out.push(c);
                        while chars.next_if(|(at, _)| *at < i + 2 + len).is_some() {}
                    }
                    None => {
                        let span = self.at(start + i, start + i + 2);
                        let error = Diagnostic::error("E0023", span, "`\\u` needs the code of a character in braces");
                        self.diagnostics.push(error.help("Write it as in `\"\\u{e9}\"`, with hexadecimal digits."));
                    }
                },
                Some((_, c @ ('"' | '\\' | '{' | '}' | '\''))) => out.push(c),
                Some((at, c)) => {
                    let span = self.at(start + i, start + at + c.len_utf8());
                    let error = Diagnostic::error("E0023", span, format!("there is no escape `\\{c}`"));
                    let help = "Escapes are \\n \\t \\r \\0 \\\" \\\\ and \\u{..}. For a backslash itself write `\\\\`, or a string without escapes: `r\"..\"`.";
                    self.diagnostics.push(error.help(help));
                    out.push(c);
                }
                None => out.push('\\'),
            }
        }
        out
    }
}

/// Something in a plain string that looks like a hole: a name or a field in braces, not after a backslash.
fn hole_in(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|i| from + i) {
        let length = text[open..].find('}')?;
        let inside = &text[open + 1..open + length];
        let name = |w: &str| {
            w.starts_with(|c: char| c.is_ascii_lowercase()) && w.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if inside.split('.').all(name) && !text[..open].ends_with(['\\', '{']) && !text[..open].ends_with("\\u") {
            return Some((open, open + length + 1));
        }
        from = open + 1;
    }
    None
}

/// `{e9}` at the start of a text: the character, and how many bytes say it.
fn unicode(text: &str) -> Option<(char, usize)> {
    let digits = text.strip_prefix('{')?.split_once('}')?.0;
    let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Some((c, digits.len() + 2))
}
