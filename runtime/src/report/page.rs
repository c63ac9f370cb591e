//! The page of a run: what `report.html` is filled with.

use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use serde::Serialize;

use super::chart::{chart, colour};
use super::curve::{Series, is_logarithmic, number};
use crate::error::{Error, Result};

/// All that the page shows.
#[derive(Default, Serialize)]
pub struct Page {
    pub title: String,
    /// `finished`, `running`, `stopped`, `failed`: also the class of the mark.
    pub state: &'static str,
    pub facts: Vec<Fact>,
    /// What ended the run early.
    pub fault: Option<String>,
    pub findings: Vec<Found>,
    pub stages: Vec<StagePage>,
    /// Rounds of loops, by the name that they share.
    pub rounds: Vec<Rounds>,
    pub params: Vec<Fact>,
    pub environment: Vec<Fact>,
    /// The program's text as HTML.
    pub source: String,
    pub style: &'static str,
}

/// A name and a value.
#[derive(Clone, Serialize)]
pub struct Fact {
    pub name: String,
    pub value: String,
}

impl Fact {
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Fact {
        Fact { name: name.into(), value: value.into() }
    }
}

/// What the program asked for.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Found {
    /// `numbers`: whether a column holds numbers alone.
    Table {
        head: Vec<String>,
        rows: Vec<Vec<String>>,
        numbers: Vec<bool>,
    },
    Claim {
        text: String,
        holds: bool,
        parts: Vec<Fact>,
    },
    Plot {
        chart: Chart,
    },
    Saved {
        path: String,
    },
}

#[derive(Serialize)]
pub struct StagePage {
    pub name: String,
    pub net: String,
    /// `kept`, `finished`, `running`, ..
    pub state: &'static str,
    pub facts: Vec<Fact>,
    pub slots: Vec<Fact>,
    pub sample: Vec<Row>,
    pub charts: Vec<Chart>,
}

/// A row of data.
#[derive(Serialize)]
pub struct Row {
    pub place: String,
    pub fields: Vec<Fact>,
}

/// The last values of a loop's rounds, one after another.
#[derive(Serialize)]
pub struct Rounds {
    pub name: String,
    pub count: usize,
    pub charts: Vec<Chart>,
}

#[derive(Serialize)]
pub struct Chart {
    pub title: String,
    /// Where it began, where it ended, its best values.
    pub note: String,
    pub legend: Vec<Legend>,
    pub svg: String,
}

#[derive(Serialize)]
pub struct Legend {
    pub label: String,
    pub colour: usize,
}

impl Chart {
    /// `None` where no value is finite.
    pub fn new(title: impl Into<String>, series: &[Series]) -> Option<Chart> {
        let svg = chart(series)?;
        let legend = match series {
            [_] => vec![],
            all => all.iter().enumerate().map(|(i, s)| Legend { label: s.label.clone(), colour: colour(i) }).collect(),
        };
        let mut note = match series {
            [one] => course(one),
            _ => String::new(),
        };
        if is_logarithmic(series) {
            note += if note.is_empty() { "logarithmic" } else { ", logarithmic" };
        }
        Some(Chart { title: title.into(), note, legend, svg })
    }
}

/// `4.61 → 0.02, least 0.018 at 240`
fn course(series: &Series) -> String {
    let points: Vec<(f64, f64)> = series.finite().collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    if points.iter().all(|(_, y)| y == &first.1) {
        return number(first.1);
    }
    let least = points.iter().fold(first, |a, b| if b.1 < a.1 { b } else { a });
    let most = points.iter().fold(first, |a, b| if b.1 > a.1 { b } else { a });
    let mut text = format!("{} → {}", number(first.1), number(last.1));
    // An end says itself.
    for (word, point) in [("least", least), ("most", most)] {
        if point.1 != first.1 && point.1 != last.1 {
            text += &format!(", {word} {} at {}", number(point.1), number(point.0));
        }
    }
    text
}

impl Page {
    pub fn html(&self) -> Result<String> {
        let wrong = |e: minijinja::Error| Error::new("report.html", format!("{e:#}"));
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(wrong)?;
        environment.set_syntax(syntax);
        environment.add_template("report.html", include_str!("report.html")).map_err(wrong)?;
        environment.get_template("report.html").and_then(|page| page.render(Value::from(Serde(self)))).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_of_a_curve() {
        let of = |ys: &[f64]| {
            course(&Series { label: String::new(), points: (1..).map(f64::from).zip(ys.iter().copied()).collect() })
        };
        assert_eq!(of(&[4.0, 1.0, 0.5, 0.75]), "4 → 0.75, least 0.5 at 3");
        assert_eq!((of(&[1.0, 2.0]), of(&[3.0, 3.0]), of(&[f64::NAN])), ("1 → 2".into(), "3".into(), String::new()));
    }

    #[test]
    fn texts_are_texts() {
        let text = "<script>alert('&')</script>".to_string();
        let page = Page {
            title: text.clone(),
            fault: Some(text.clone()),
            params: vec![Fact::new(&text, &text)],
            ..Page::default()
        };
        let html = page.html().unwrap();
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"), "{html}");
    }
}
