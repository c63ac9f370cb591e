//! Imports that nothing uses.

use super::walk::{self, Visitor};
use align_syntax::ast::{Expr, ExprKind, File, ItemKind, Type, TypeKind};
use align_syntax::diag::Diagnostic;
use std::collections::HashSet;

#[derive(Default)]
struct Words<'p>(HashSet<&'p str>);

impl<'p> Words<'p> {
    fn add(&mut self, word: &'p str) {
        self.0.insert(word);
        // `countdown.Problem` uses the module `countdown`.
        if let Some((first, _)) = word.split_once('.') {
            self.0.insert(first);
        }
    }
}

impl<'p> Visitor<'p> for Words<'p> {
    fn expr(&mut self, e: &'p Expr) {
        match &*e.kind {
            ExprKind::Word(word) | ExprKind::TypeName(word) => self.add(word),
            ExprKind::Make { name, .. } => self.add(&name.text),
            _ => {}
        }
    }

    fn ty(&mut self, ty: &'p Type) {
        if let TypeKind::Named { name, .. } = &ty.kind {
            self.add(&name.text);
        }
    }
}

/// A warning for every imported name that the file does not use.
pub fn unused_imports(file: &File) -> Vec<Diagnostic> {
    let mut words = Words::default();
    file.items.iter().for_each(|item| walk::item(item, &mut words));
    let mut warnings = Vec::new();
    for item in &file.items {
        let ItemKind::Import { path, names } = &item.kind else { continue };
        let imported = if names.is_empty() { &path[path.len().saturating_sub(1)..] } else { &names[..] };
        for name in imported.iter().filter(|n| !words.0.contains(n.text.as_str())) {
            let warning = Diagnostic::warning("W0107", name.span, format!("`{}` is imported but not used", name.text));
            warnings.push(warning.help("Take it out of the `use`."));
        }
    }
    warnings
}
