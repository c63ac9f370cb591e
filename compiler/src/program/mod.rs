//! Loading: a file, and of the files that it uses those that are reached.

pub(crate) mod planned;

use crate::world::World;
use align_syntax::ast::{self, BindTarget, DefKind, Generic, ItemKind, Name, Pattern};
use align_syntax::diag::{Diagnostic, Severity, did_you_mean};
use align_syntax::parse;
use align_syntax::span::{FileId, Sources};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// A program: its file, and the library files it reaches.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub sources: Sources,
    /// By [`FileId`]. The first is the program's own.
    pub files: Vec<ProgramFile>,
    /// Names of the core, in sight in every file.
    core: HashMap<String, ItemRef>,
    /// What `load` may make of a model: the nets of the library, by name, and the patches that may be on them.
    loadable: HashMap<String, ItemRef>,
}

/// A parsed file.
#[derive(Clone, Debug, Default)]
pub struct ProgramFile {
    pub tree: ast::File,
    /// Whether all of the file could be read.
    pub whole: bool,
    /// The module that it belongs to; `None` for the program's own file.
    pub module: Option<String>,
    /// Names of its own items, then those it imports.
    names: HashMap<String, ItemRef>,
}

/// An item of a file. A binding of several names is one item with several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemRef {
    pub file: FileId,
    pub index: usize,
}

/// See [`Program::along`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// What the name means without axes.
    Same,
    Core(ItemRef),
    /// A primitive, if there is one of this name.
    Primitive,
}

/// Whether an item is a function, and not one along axes.
fn takes_no_axes(item: &ast::Item) -> bool {
    match &item.kind {
        ItemKind::Def(def) => {
            let is_value = def.params.is_empty() && matches!(def.kind, DefKind::Data | DefKind::Policy);
            let along = def.generics.iter().any(|generic| !matches!(generic, Generic::Type(_)));
            !is_value && !along && def.kind != DefKind::Net
        }
        _ => false,
    }
}

impl Program {
    pub fn item(&self, at: ItemRef) -> &ast::Item {
        &self.file(at.file).tree.items[at.index]
    }

    pub fn file(&self, id: FileId) -> &ProgramFile {
        &self.files[id.0 as usize]
    }

    /// Whether there is anything to run: a pipeline or a study in the program's own file.
    pub fn runs(&self) -> bool {
        let is_run = |def: &ast::Def| matches!(def.kind, DefKind::Pipeline | DefKind::Study);
        self.items(self.main()).any(|(_, item)| matches!(&item.kind, ItemKind::Def(def) if is_run(def)))
    }

    /// The program's own file.
    pub fn main(&self) -> FileId {
        FileId(0)
    }

    /// What a name means at the top of a file: its own item, an imported one, or one of the core.
    pub fn lookup(&self, file: FileId, name: &str) -> Option<ItemRef> {
        self.file(file).names.get(name).or_else(|| self.core.get(name)).copied()
    }

    /// What a name with axes in brackets means at the top of a file: it is another function than the name without, so what takes
    /// no axes there hides no function of the core.
    pub fn along(&self, file: FileId, name: &str) -> Along {
        match self.file(file).names.get(name) {
            Some(own) if takes_no_axes(self.item(*own)) => {
                self.core.get(name).map_or(Along::Primitive, |at| Along::Core(*at))
            }
            _ => Along::Same,
        }
    }

    /// A net of the library, if the program loads models.
    pub fn loadable(&self, net: &str) -> Option<ItemRef> {
        self.loadable.get(net).copied()
    }

    /// All names in sight at the top of a file, for suggestions.
    pub fn names(&self, file: FileId) -> impl Iterator<Item = &str> {
        self.file(file).names.keys().chain(self.core.keys()).map(String::as_str)
    }

    /// Items of a file with their places.
    pub fn items(&self, file: FileId) -> impl Iterator<Item = (ItemRef, &ast::Item)> {
        self.file(file).tree.items.iter().enumerate().map(move |(index, item)| (ItemRef { file, index }, item))
    }
}

/// The path of the module whose names are in sight everywhere.
pub const CORE: &str = "core";

/// The table that says which patch the content of an adapter's folder is: a name of the core, or of the program.
pub const ADAPTERS: &str = "adapters";

/// Parses a program and what it reaches. The program holds all that could be read; errors are among the diagnostics.
pub fn load(name: &str, text: &str, world: &dyn World) -> (Program, Vec<Diagnostic>) {
    let mut loader = Loader { world, program: Program::default(), by_name: HashMap::new(), diagnostics: vec![] };
    loader.file(name, text, None);
    let mut next = 0;
    // Files are read in the order in which they are first reached.
    while next < loader.program.files.len() {
        loader.names(FileId(next as u32));
        next += 1;
    }
    loader.diagnostics.sort_by_key(Diagnostic::span);
    (loader.program, loader.diagnostics)
}

struct Loader<'w> {
    world: &'w dyn World,
    program: Program,
    by_name: HashMap<String, FileId>,
    diagnostics: Vec<Diagnostic>,
}

impl Loader<'_> {
    fn file(&mut self, name: &str, text: &str, module: Option<String>) -> FileId {
        let id = self.program.sources.add(name, text);
        let parsed = parse(id, text);
        let whole = parsed.diagnostics.iter().all(|d| d.severity != Severity::Error);
        self.diagnostics.extend(parsed.diagnostics);
        self.program.files.push(ProgramFile { tree: parsed.file, whole, module, names: HashMap::new() });
        self.core_of(text);
        let loads = mentions(text, "load");
        if self.program.loadable.is_empty() && loads {
            self.nets();
        }
        if loads || mentions(text, "adapter") {
            self.core_of(ADAPTERS);
        }
        id
    }

    /// Reads the library's nets: which of them a model is, only the model says.
    fn nets(&mut self) {
        let Some(nets) = self.world.module("std.nets") else { return };
        for (name, file) in &nets.names {
            let id = self.library_file("std.nets", file, &nets.files);
            if let Some(item) = id.and_then(|id| own_item(&self.program, id, name)) {
                self.program.loadable.insert(name.clone(), item);
            }
        }
        let Some(core) = self.world.module(CORE) else { return };
        for (name, file) in &core.names {
            let id = self.library_file(CORE, file, &core.files);
            let item = id.and_then(|id| own_item(&self.program, id, name));
            let is_net =
                |item: &ItemRef| matches!(&self.program.item(*item).kind, ItemKind::Def(d) if d.kind == DefKind::Net);
            if let Some(item) = item.filter(is_net) {
                self.program.loadable.entry(name.clone()).or_insert(item);
            }
        }
    }

    /// Reads the core's files of which a text names something.
    fn core_of(&mut self, text: &str) {
        let Some(core) = self.world.module(CORE) else { return };
        for (name, file) in &core.names {
            if !self.program.core.contains_key(name) && mentions(text, name) {
                let id = self.library_file(CORE, file, &core.files);
                if let Some(item) = id.and_then(|id| own_item(&self.program, id, name)) {
                    self.program.core.insert(name.clone(), item);
                }
            }
        }
    }

    fn library_file(&mut self, module: &str, name: &str, files: &[(String, Cow<'static, str>)]) -> Option<FileId> {
        if let Some(id) = self.by_name.get(name) {
            return Some(*id);
        }
        let (_, text) = files.iter().find(|(n, _)| n == name)?;
        let id = FileId(self.program.files.len() as u32);
        self.by_name.insert(name.to_string(), id);
        Some(self.file(name, text, Some(module.to_string())))
    }

    /// Names of a file's items and imports.
    fn names(&mut self, file: FileId) {
        let mut own: BTreeMap<String, (ItemRef, Name)> = BTreeMap::new();
        let mut imports = vec![];
        for (at, item) in self.program.items(file) {
            if let ItemKind::Import { path, names } = &item.kind {
                imports.push((at, path.clone(), names.clone()));
            }
            for name in declared(&item.kind) {
                if let Some((_, first)) = own.get(&name.text) {
                    self.diagnostics.push(
                        Diagnostic::error("E0103", name.span, format!("`{}` is defined twice in this file", name.text))
                            .label(first.span, "first here"),
                    );
                } else {
                    own.insert(name.text.clone(), (at, name.clone()));
                }
            }
        }
        for (_, path, names) in imports {
            for (name, target) in self.import(&path, &names) {
                if let Some((_, first)) = own.get(&name.text) {
                    self.diagnostics.push(
                        Diagnostic::error("E0103", name.span, format!("`{}` is defined twice in this file", name.text))
                            .label(first.span, "also here"),
                    );
                } else {
                    own.insert(name.text.clone(), (target, name));
                }
            }
        }
        self.program.files[file.0 as usize].names = own.into_iter().map(|(name, (at, _))| (name, at)).collect();
    }

    /// The items that `use path { names }` brings.
    fn import(&mut self, path: &[Name], names: &[Name]) -> Vec<(Name, ItemRef)> {
        let dotted = path.iter().map(|n| n.text.as_str()).collect::<Vec<_>>().join(".");
        let (Some(first), Some(last)) = (path.first(), path.last()) else { return vec![] };
        let span = first.span.to(last.span);
        let Some(module) = self.world.module(&dotted) else {
            let known = planned::MODULES.iter().map(|(m, _)| *m);
            let diagnostic = match planned::names(&dotted) {
                Some(_) => Diagnostic::error("E0102", span, format!("the standard library does not have {dotted} yet")),
                None => Diagnostic::error("E0101", span, format!("there is no module {dotted}"))
                    .help(format!("modules begin with `std.`, or are files beside the program: {dotted}.align")),
            };
            self.diagnostics.push(match did_you_mean(&dotted, known.filter(|m| *m != dotted)) {
                Some(near) if planned::names(&dotted).is_none() => diagnostic.meant(near),
                _ => diagnostic,
            });
            return vec![];
        };
        let mut found = vec![];
        for name in names.iter().filter(|n| !planned::is_primitive(&dotted, &n.text)) {
            let Some((_, file)) = module.names.iter().find(|(n, _)| *n == name.text) else {
                self.diagnostics.push(missing(&dotted, name, &module.names));
                continue;
            };
            let id = self.library_file(&dotted, file, &module.files);
            if let Some(item) = id.and_then(|id| own_item(&self.program, id, &name.text)) {
                found.push((name.clone(), item));
            }
        }
        found
    }
}

fn missing(module: &str, name: &Name, names: &[(String, String)]) -> Diagnostic {
    if planned::names(module).is_some_and(|planned| planned.contains(&name.text.as_str())) {
        let message = format!("the standard library does not have `{}` of {module} yet", name.text);
        return Diagnostic::error("E0102", name.span, message);
    }
    let diagnostic = Diagnostic::error("E0101", name.span, format!("{module} has no `{}`", name.text));
    match did_you_mean(&name.text, names.iter().map(|(n, _)| n.as_str())) {
        Some(near) => diagnostic.meant(near),
        None => match planned::module_of(&name.text).filter(|other| *other != module) {
            Some(other) => diagnostic.help(format!("It is in {other}: `use {other} {{ {} }}`.", name.text)),
            None => diagnostic,
        },
    }
}

/// Whether a text has the name as a whole word.
fn mentions(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(word) && !text[at + name.len()..].chars().next().is_some_and(word)
    })
}

fn own_item(program: &Program, file: FileId, name: &str) -> Option<ItemRef> {
    program.items(file).find(|(_, item)| declared(&item.kind).any(|n| n.text == name)).map(|(at, _)| at)
}

/// The names that an item declares at the top of its file.
pub fn declared(item: &ItemKind) -> impl Iterator<Item = &Name> {
    let names: Vec<&Name> = match item {
        ItemKind::Param { name, .. } | ItemKind::Record { name, .. } => vec![name],
        // A pipeline or study is run, not named in expressions.
        ItemKind::Def(def) if matches!(def.kind, DefKind::Pipeline | DefKind::Study) => vec![],
        ItemKind::Def(def) => def.name.iter().collect(),
        ItemKind::Bind(bind) => bind
            .binders
            .iter()
            .flat_map(|b| match &b.target {
                BindTarget::Pattern(pattern) => pattern_names(pattern),
                BindTarget::Path(path) => path.iter().take(1).collect(),
            })
            .collect(),
        ItemKind::Import { .. } | ItemKind::Edition(_) | ItemKind::Test { .. } => vec![],
    };
    names.into_iter()
}

/// The names that a pattern binds.
pub fn pattern_names(pattern: &Pattern) -> Vec<&Name> {
    match pattern {
        Pattern::Name(name) => vec![name],
        Pattern::Tuple(parts, _) => parts.iter().flat_map(pattern_names).collect(),
    }
}

#[cfg(test)]
mod tests;
