//! Diagnostics as text for people and as JSON for programs.

use crate::diag::{Diagnostic, Severity};
use crate::narrow::narrowed;
use crate::span::{Sources, Span};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents};
use miette::{SourceCode, SourceSpan, SpanContents};
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
    match handler.render_report(&mut out, &Report::new(diagnostic, sources, style.width)) {
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
    source: Excerpt,
    labels: Vec<LabeledSpan>,
    elsewhere: Vec<Report>,
}

impl Report {
    fn new(diagnostic: &Diagnostic, sources: &Sources, width: usize) -> Report {
        let severity = match diagnostic.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        };
        let home = diagnostic.span().file;
        let here: Vec<&(Span, String)> = diagnostic.labels.iter().filter(|(span, _)| span.file == home).collect();
        let (source, labels) = excerpt(&here, sources, width);
        let elsewhere = diagnostic.labels.iter().filter(|(span, _)| span.file != home).map(|(span, text)| {
            let (source, labels) = excerpt(&[&(*span, String::new())], sources, width);
            let severity = miette::Severity::Advice;
            Report { code: None, severity, message: text.clone(), help: None, source, labels, elsewhere: Vec::new() }
        });
        Report {
            code: Some(diagnostic.code),
            severity,
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
            source,
            labels,
            elsewhere: elsewhere.collect(),
        }
    }
}

/// The text that labels of one file are shown in, and the labels in it. The first is the primary one.
fn excerpt(labels: &[&(Span, String)], sources: &Sources, width: usize) -> (Excerpt, Vec<LabeledSpan>) {
    /// What stands before a line: its number and a bar.
    const MARGIN: usize = 8;
    let first = labels[0].0;
    let source = sources.get(first.file);
    let places: Vec<(usize, usize)> = labels.iter().map(|(s, _)| (s.start as usize, s.end as usize)).collect();
    let (text, places) = narrowed(&source.text, &places, width.saturating_sub(MARGIN).max(MARGIN));
    let column = sources.line_column(first.file, first.start).1 - 1;
    let excerpt = Excerpt { name: source.name.clone(), text, first: places[0].0, column };
    let labels = labels.iter().zip(places).enumerate().map(|(i, ((_, said), (start, end)))| {
        let said = Some(said.clone()).filter(|said| !said.is_empty());
        let place = (start, end - start);
        match i {
            0 => LabeledSpan::new_primary_with_span(said, place),
            _ => LabeledSpan::new_with_span(said, place),
        }
    });
    (excerpt, labels.collect())
}

/// A file with its long lines cut.
#[derive(Debug)]
struct Excerpt {
    name: String,
    text: String,
    /// The primary label's place, and its column in the whole line, from 0.
    first: usize,
    column: usize,
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let read = self.text.read_span(span, before, after)?;
        // Without lines around it is asked for the head of a report.
        let is_head = (before, after) == (0, 0) && span.offset() == self.first;
        let column = if is_head { self.column } else { read.column() };
        let (data, place, line, count) = (read.data(), *read.span(), read.line(), read.line_count());
        Ok(Box::new(MietteSpanContents::new_named(self.name.clone(), data, place, line, column, count)))
    }
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
    fn long_lines_are_cut_around_their_labels() {
        let mut sources = Sources::default();
        let long = format!("let a = 1\nlet b = [{}oops, {}]\n", "é, ".repeat(9_000), "1, ".repeat(9_000));
        let start = long.find("oops").expect("it is there");
        let main = sources.add("main.align", long);
        let diagnostics =
            [Diagnostic::error("E0104", Span::new(main, start, start + 4), "`oops` is not defined").here("this")];
        let shown = render(&diagnostics, &sources, Style::default());
        assert!(shown.lines().all(|line| line.chars().count() <= 80) && shown.len() < 1000, "{shown}");
        assert!(
            shown.contains("oops, 1, ") && shown.contains("main.align:2:27010") && shown.contains("this"),
            "{shown}"
        );
        let (line, mark) = (shown.find("oops, 1").map(|at| &shown[..at]), shown.find("──┬").map(|at| &shown[..at]));
        let column = |before: Option<&str>| before.and_then(|b| b.lines().last().map(|l| l.chars().count()));
        assert_eq!(column(line), column(mark), "{shown}");
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
