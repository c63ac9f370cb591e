//! Text to tokens, roughly: enough to know what is a comment, a string, a bracket or the end of a line, for any text
//! whatever. The parser proper is the grammar's; the tokens serve spans, recovery and the formatter.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Begins with a small letter or `_`.
    Word,
    /// Begins with a capital.
    Type,
    Number,
    /// `"..."` or `r"..."`.
    Str,
    /// A string whose line ends before it does.
    OpenStr,
    /// `"""` at the start of a template.
    TemplateStart,
    TemplateText,
    TemplateEnd,
    /// `{` and `}` of a template.
    HoleStart,
    HoleEnd,
    /// `(`, `[` or `{`.
    Open,
    Close,
    Comma,
    Semi,
    Op,
    Newline,
    /// `// ..` and `//! ..`.
    Note,
    /// `/// ..`
    Doc,
    /// A character that no program has outside strings and comments.
    Odd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

impl Token {
    pub fn text<'a>(&self, text: &'a str) -> &'a str {
        &text[self.start..self.end]
    }
}

/// Operators and marks, longest first.
const OPS: [&str; 26] = [
    "|>", "++", "->", "=>", "==", "!=", "<=", ">=", "&&", "||", "**", "..", "+", "-", "*", "/", "%", "^", "=", "<",
    ">", "~", "?", ":", ".", "!",
];

/// All tokens of a text, in order; only blanks are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, out: Vec::with_capacity(text.len() / 4), holes: Vec::new() };
    while lexer.at < text.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    out: Vec<Token>,
    /// Open braces within each open hole of a template.
    holes: Vec<usize>,
}

impl Lexer<'_> {
    fn push(&mut self, kind: Kind, len: usize) {
        self.out.push(Token { kind, start: self.at, end: self.at + len });
        self.at += len;
    }

    fn step(&mut self) {
        let rest = &self.text[self.at..];
        let first = rest.chars().next().expect("the loop stops at the end");
        let line = || rest.find(['\n', '\r']).unwrap_or(rest.len());
        match first {
            ' ' | '\t' => self.at += 1,
            '\r' if !rest.starts_with("\r\n") && !rest.starts_with('\r') => self.at += 1,
            '\r' => self.push(Kind::Newline, if rest.starts_with("\r\n") { 2 } else { 1 }),
            '\n' => self.push(Kind::Newline, 1),
            _ if rest.starts_with("///") && !rest.starts_with("////") => self.push(Kind::Doc, line()),
            _ if rest.starts_with("//") => self.push(Kind::Note, line()),
            _ if rest.starts_with("\"\"\"") => {
                self.push(Kind::TemplateStart, 3);
                self.template();
            }
            '"' => self.string(1, line(), true),
            'r' if rest.starts_with("r\"") => self.string(2, line(), false),
            'a'..='z' | '_' => self.push(Kind::Word, word_len(rest)),
            'A'..='Z' => self.push(Kind::Type, word_len(rest)),
            '0'..='9' => self.push(Kind::Number, number_len(rest)),
            '(' | '[' | '{' => {
                if let (Some(depth), '{') = (self.holes.last_mut(), first) {
                    *depth += 1;
                }
                self.push(Kind::Open, 1);
            }
            '}' if self.holes.last() == Some(&0) => {
                self.holes.pop();
                self.push(Kind::HoleEnd, 1);
                self.template();
            }
            ')' | ']' | '}' => {
                if let (Some(depth), '}') = (self.holes.last_mut(), first) {
                    *depth -= 1;
                }
                self.push(Kind::Close, 1);
            }
            ',' => self.push(Kind::Comma, 1),
            ';' => self.push(Kind::Semi, 1),
            _ => match OPS.iter().find(|op| rest.starts_with(**op)) {
                Some(op) => self.push(Kind::Op, op.len()),
                None => self.push(Kind::Odd, first.len_utf8()),
            },
        }
    }

    /// A string of one line; `open` is the length of what begins it.
    fn string(&mut self, open: usize, line: usize, escapes: bool) {
        let bytes = &self.text.as_bytes()[self.at..self.at + line];
        let mut i = open;
        while i < bytes.len() && bytes[i] != b'"' {
            i += if escapes && bytes[i] == b'\\' { 2 } else { 1 };
        }
        if i < bytes.len() { self.push(Kind::Str, i + 1) } else { self.push(Kind::OpenStr, line) }
    }

    /// The text of a template up to its end or its next hole.
    fn template(&mut self) {
        let bytes = &self.text.as_bytes()[self.at..];
        let mut i = 0;
        while i < bytes.len() {
            match bytes[i] {
                b'\\' => i += 2,
                b'{' if bytes.get(i + 1) == Some(&b'{') => i += 2,
                b'{' => break,
                b'"' if bytes[i..].starts_with(b"\"\"\"") => break,
                _ => i += 1,
            }
        }
        // An escaped character may have several bytes.
        while i < bytes.len() && !self.text.is_char_boundary(self.at + i) {
            i += 1;
        }
        let i = i.min(bytes.len());
        let next = bytes.get(i).copied();
        if i > 0 {
            self.push(Kind::TemplateText, i);
        }
        match next {
            Some(b'{') => {
                self.push(Kind::HoleStart, 1);
                self.holes.push(0);
            }
            Some(_) => self.push(Kind::TemplateEnd, 3),
            None => {}
        }
    }
}

fn word_len(rest: &str) -> usize {
    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
}

/// `1`, `16_384`, `0.5`, `1e-6`; the point needs digits after it.
fn number_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let digits = |mut i: usize| {
        while i < bytes.len() && (bytes[i].is_ascii_digit() || bytes[i] == b'_') {
            i += 1;
        }
        i
    };
    let mut i = digits(0);
    if bytes.get(i) == Some(&b'.') && bytes.get(i + 1).is_some_and(u8::is_ascii_digit) {
        i = digits(i + 1);
    }
    if matches!(bytes.get(i), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(i + 1), Some(b'-' | b'+')));
        if bytes.get(i + 1 + sign).is_some_and(u8::is_ascii_digit) {
            i = digits(i + 1 + sign);
        }
    }
    i
}
