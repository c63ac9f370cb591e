//! Diagnostics as text for people and as JSON for programs.

use crate::diag::{Diagnostic, Severity};
use crate::span::{Sources, Span};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};
use std::fmt;

/// How to print diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colours and underlines, for a terminal that shows them.
    pub colour: bool,
    /// Characters a line.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Style { colour: false, width: 80 }
    }
}

/// All diagnostics, one after the other, each with the lines it speaks of, then how many there are.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, style: Style) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        out += &one(diagnostic, sources, style);
        out.push('\n');
    }
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let counted = [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")]
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}{}", if *n == 1 { "" } else { "s" }))
        .collect::<Vec<_>>();
    if !counted.is_empty() {
        out += &format!("{}\n", counted.join(", "));
    }
    out
}

fn one(diagnostic: &Diagnostic, sources: &Sources, style: Style) -> String {
    let theme = if style.colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(style.width)
        .with_links(false)
        .with_context_lines(1)
        .with_wrap_lines(true)
        .with_break_words(false);
    let mut out = String::new();
    match handler.render_report(&mut out, &Report::new(diagnostic, sources)) {
        Ok(()) => out,
        Err(_) => plain(diagnostic, sources),
    }
}

/// One line: the form for a place that cannot be shown.
fn plain(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let span = diagnostic.span();
    let (line, column) = sources.line_column(span.file, span.start);
    let name = &sources.get(span.file).name;
    format!("{name}:{line}:{column}: {} {}\n", diagnostic.code, diagnostic.message)
}

/// A diagnostic as an object: `code severity message file line column end_line end_column labels help`. Lines and columns count
/// from 1, columns in characters; the end is the first place after.
pub fn to_json(diagnostic: &Diagnostic, sources: &Sources) -> Value {
    let mut object = place(diagnostic.span(), sources);
    let labels: Vec<Value> = diagnostic
        .labels
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(span, text)| {
            let mut label = place(*span, sources);
            label["text"] = json!(text);
            label
        })
        .collect();
    let head = json!({
        "code": diagnostic.code,
        "severity": severity_word(diagnostic.severity),
        "message": diagnostic.message,
    });
    let mut out = head;
    for (key, value) in object.as_object_mut().into_iter().flatten() {
        out[key.as_str()] = value.take();
    }
    out["labels"] = Value::Array(labels);
    out["help"] = json!(diagnostic.help);
    out
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn place(span: Span, sources: &Sources) -> Value {
    let (line, column) = sources.line_column(span.file, span.start);
    let (end_line, end_column) = sources.line_column(span.file, span.end);
    json!({
        "file": sources.get(span.file).name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    })
}

/// What miette prints: the labels of one file; those of other files follow as reports of their own.
#[derive(Debug)]
struct Report {
    code: Option<&'static str>,
    severity: miette::Severity,
    message: String,
    help: Option<String>,
    source: NamedSource<String>,
    labels: Vec<LabeledSpan>,
    elsewhere: Vec<Report>,
}

impl Report {
    fn new(diagnostic: &Diagnostic, sources: &Sources) -> Report {
        let severity = match diagnostic.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        };
        let home = diagnostic.span().file;
        let source = |span: Span| {
            let source = sources.get(span.file);
            NamedSource::new(&source.name, source.text.to_string())
        };
        let labels = diagnostic.labels.iter().filter(|(span, _)| span.file == home).enumerate();
        let labels = labels.map(|(i, (span, text))| labeled(*span, text, i == 0)).collect();
        let elsewhere = diagnostic.labels.iter().filter(|(span, _)| span.file != home).map(|(span, text)| Report {
            code: None,
            severity: miette::Severity::Advice,
            message: text.clone(),
            help: None,
            source: source(*span),
            labels: vec![labeled(*span, "", true)],
            elsewhere: Vec::new(),
        });
        Report {
            code: Some(diagnostic.code),
            severity,
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
            source: source(diagnostic.span()),
            labels,
            elsewhere: elsewhere.collect(),
        }
    }
}

fn labeled(span: Span, text: &str, primary: bool) -> LabeledSpan {
    let place = (span.start as usize, (span.end - span.start) as usize);
    let text = Some(text.to_string()).filter(|t| !t.is_empty());
    if primary { LabeledSpan::new_primary_with_span(text, place) } else { LabeledSpan::new_with_span(text, place) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.code.map(|code| Box::new(code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        if self.elsewhere.is_empty() {
            return None;
        }
        Some(Box::new(self.elsewhere.iter().map(|r| r as &dyn miette::Diagnostic)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Vec<Diagnostic>, Sources) {
        let mut sources = Sources::default();
        let main = sources.add("main.align", "fn f(x: Float) = x\n\nlet é = f(1, 2)\n");
        let other = sources.add("other.align", "let z = 3\n");
        let call = Span::new(main, 28, 35);
        let diagnostics = vec![
            Diagnostic::error("E0001", call, "too much is given")
                .here("two values")
                .label(Span::new(main, 5, 6), "one parameter")
                .help("Leave one out."),
            Diagnostic::warning("W0010", Span::new(main, 24, 26), "a name beside another")
                .label(Span::new(other, 4, 5), "the other"),
        ];
        (diagnostics, sources)
    }

    #[test]
    fn reports_show_places_help_and_other_files() {
        let (diagnostics, sources) = example();
        insta::assert_snapshot!(render(&diagnostics, &sources, Style::default()));
        let coloured = render(&diagnostics, &sources, Style { colour: true, width: 80 });
        assert!(coloured.contains('\u{1b}'));
    }

    #[test]
    fn objects_have_lines_and_columns() {
        let (diagnostics, sources) = example();
        let object = to_json(&diagnostics[0], &sources);
        let expected = json!({
            "code": "E0001", "severity": "error", "message": "too much is given", "file": "main.align", "line": 3, "column": 8,
            "end_line": 3, "end_column": 15,
            "labels": [
                {"file": "main.align", "line": 3, "column": 8, "end_line": 3, "end_column": 15, "text": "two values"},
                {"file": "main.align", "line": 1, "column": 6, "end_line": 1, "end_column": 7, "text": "one parameter"},
            ],
            "help": "Leave one out.",
        });
        assert_eq!(object, expected);
        assert_eq!(to_json(&diagnostics[1], &sources)["severity"], "warning");
    }
}
