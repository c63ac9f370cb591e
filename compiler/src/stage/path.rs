//! Paths of weights as programs write them: `.trunk`, `.blocks.attend`, `.blocks.3`.

use align_syntax::ast::{Expr, ExprKind};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;

/// The words of a path. One that names no layer means every layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Path(Vec<String>);

impl Path {
    pub fn new(text: &str) -> Path {
        Path(text.split('.').filter(|word| !word.is_empty()).map(str::to_string).collect())
    }

    /// `.a.b`; `None` if the expression is no path.
    pub fn of(expr: &Expr) -> Option<Path> {
        match &*expr.kind {
            ExprKind::Accessor(name) => Some(Path::new(&name.text)),
            ExprKind::Dot(of, name) => {
                let mut path = Path::of(of)?;
                path.0.push(name.text.clone());
                Some(path)
            }
            ExprKind::Index(of, args) => {
                let mut path = Path::of(of)?;
                match args.positional.first().map(|e| &*e.kind) {
                    Some(ExprKind::Int(n)) => path.0.push(n.to_string()),
                    _ => return None,
                }
                Some(path)
            }
            ExprKind::Paren(inner) => Path::of(inner),
            ExprKind::Text(text) => Some(Path::new(text)),
            _ => None,
        }
    }

    /// Whether a weight is this one or lies in this part.
    pub fn holds(&self, weight: &str) -> bool {
        let mut own = self.0.iter().peekable();
        for word in weight.split('.') {
            match own.peek() {
                None => return true,
                Some(next) if *next == word => drop(own.next()),
                Some(_) if word.parse::<usize>().is_ok() => {}
                Some(_) => return false,
            }
        }
        own.next().is_none()
    }

    /// The fault of a path that is none of these weights'.
    pub fn names_nothing<'a>(&self, weights: impl Iterator<Item = &'a str>, span: Span) -> Box<Diagnostic> {
        let text = self.0.join(".");
        let mut known: Vec<String> = vec![];
        for weight in weights {
            let words: Vec<&str> = weight.split('.').filter(|word| word.parse::<usize>().is_err()).collect();
            for end in 1..=words.len() {
                let part = words[..end].join(".");
                if !known.contains(&part) {
                    known.push(part);
                }
            }
        }
        let diagnostic = Diagnostic::error("E0207", span, format!("`.{text}` names no weight that is trained here"));
        Box::new(match did_you_mean(&text, known.iter().map(String::as_str)) {
            Some(near) => diagnostic.meant(near),
            None => {
                let parts: Vec<&str> = known.iter().filter(|p| !p.contains('.')).map(String::as_str).collect();
                diagnostic.help(format!("Its parts are {}.", parts.join(", ")))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_layers() {
        let holds = |path: &str, weight: &str| Path::new(path).holds(weight);
        assert!(holds("blocks", "blocks.3.attend.q") && holds("blocks.attend", "blocks.3.attend.q"));
        assert!(holds("blocks.3", "blocks.3.attend.q") && !holds("blocks.3", "blocks.2.attend.q"));
        assert!(
            holds("embed", "embed") && !holds("embed", "embedding") && !holds("blocks.attend.q", "blocks.3.attend")
        );
        let fault = Path::new("trunc")
            .names_nothing(["trunk.0.q", "head"].into_iter(), Span::new(align_syntax::span::FileId(0), 0, 0));
        assert!(format!("{fault:?}").contains("trunk"), "{fault:?}");
    }
}
