//! `METHODS.md`: the methods that the library has, read off the headers of its files.
//!
//! A header is the doc comment of a declaration: `/// Signum (arXiv 1802.04434, algorithm 1): what it does.` Title, paper
//! and text are taken from it; tests and vectors are found in the file. A paragraph that begins with `Demonstration:` says
//! what was measured, one that begins with `Assumed:` what the paper leaves open. What the library does not have, and why, stands in
//! `open.txt` beside this file.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use align_syntax::ast::{Def, DefKind, ItemKind};
use align_syntax::parse;
use align_syntax::span::FileId;

const UPDATE: &str = "METHODS_UPDATE";

/// Sections of the page, with the declarations that belong to them.
const SECTIONS: [(&str, DefKind); 9] = [
    ("Losses", DefKind::Loss),
    ("Rewards", DefKind::Reward),
    ("Optimizers", DefKind::Optimizer),
    ("Schedules", DefKind::Schedule),
    ("Samplers", DefKind::Sampler),
    ("Environments", DefKind::Env),
    ("Nets", DefKind::Net),
    ("Functions", DefKind::Fn),
    ("Studies", DefKind::Study),
];

/// A row of the page.
struct Method {
    kind: DefKind,
    name: String,
    title: String,
    papers: Vec<String>,
    /// Where there is no number of arXiv.
    source: String,
    /// From the project's root.
    file: String,
    tests: usize,
    vectors: Vec<String>,
    /// Functions of its file of which it is made, where the vectors are theirs.
    inner: Vec<String>,
    demonstration: String,
    assumed: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project").to_path_buf()
}

/// The `.align` files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false if path.extension().is_some_and(|end| end == "align") => all.push(path),
            false => {}
        }
    }
    all.sort();
    all
}

/// Whether a text holds a name as a word of its own.
fn mentions(text: &str, name: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.split(|c| !is_name(c)).any(|word| word == name)
}

/// Numbers of arXiv in a text, in order, each once.
fn papers(text: &str) -> Vec<String> {
    let mut found: Vec<String> = vec![];
    for part in text.split("arXiv ").skip(1) {
        let number: String = part.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let number = number.trim_end_matches('.').to_string();
        if number.len() > 8 && !found.contains(&number) {
            found.push(number);
        }
    }
    found
}

/// The words of a doc comment before its first bracket, colon or full stop: what the method is called.
fn title(text: &str) -> String {
    let end = [" (", ":", ". "].iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    text[..end].trim().trim_end_matches('.').to_string()
}

/// What the first bracket says of the source, up to a semicolon, unless it is a number of arXiv.
fn source(text: &str) -> String {
    let inner = text.split_once(" (").and_then(|(_, rest)| rest.split_once([')', ';'])).map_or("", |(inner, _)| inner);
    if inner.contains("arXiv") { String::new() } else { inner.to_string() }
}

/// The text after a mark at the start of a line, up to the next mark.
fn marked(docs: &[String], mark: &str) -> String {
    let mut found = vec![];
    let mut inside = false;
    for line in docs.iter().map(|line| line.trim()) {
        let begins = MARKS.iter().find(|mark| line.starts_with(**mark));
        inside = begins.map_or(inside, |begins| *begins == mark);
        if inside {
            found.push(line.strip_prefix(mark).unwrap_or(line).trim());
        }
    }
    found.join(" ")
}

const MARKS: [&str; 2] = ["Demonstration:", "Assumed:"];

/// The methods that a file declares.
fn methods(path: &Path) -> Vec<Method> {
    let text = fs::read_to_string(path).expect("a file in UTF-8");
    let file = path.strip_prefix(root()).expect("a file of the project").display().to_string().replace('\\', "/");
    let parsed = parse(FileId(0), &text);
    assert!(parsed.diagnostics.is_empty(), "{file} does not parse");
    let tests: Vec<(&str, Option<&str>)> = (parsed.file.items.iter())
        .filter_map(|item| match &item.kind {
            ItemKind::Test { vectors, body, .. } => {
                let body = &text[body.span.start as usize..body.span.end as usize];
                Some((body, vectors.as_ref().map(|(name, _)| name.as_str())))
            }
            _ => None,
        })
        .collect();
    // Functions that are no methods themselves.
    let functions: Vec<&str> = (parsed.file.items.iter())
        .filter_map(|item| match &item.kind {
            ItemKind::Def(Def { kind: DefKind::Fn, name: Some(name), .. }) => {
                (!item.docs.iter().any(|line| line.contains("arXiv"))).then_some(name.text.as_str())
            }
            _ => None,
        })
        .collect();
    let mut found = vec![];
    for item in &parsed.file.items {
        let ItemKind::Def(Def { kind, name: Some(name), .. }) = &item.kind else { continue };
        let doc =
            item.docs.iter().map(|line| line.trim()).take_while(|line| !MARKS.iter().any(|m| line.starts_with(m)));
        let doc = doc.collect::<Vec<_>>().join(" ").trim().to_string();
        // Functions are methods where they say of which paper; others do not.
        let is_method = match kind {
            // What a study is made of is not the library's.
            kind if file.starts_with("examples/") => *kind == DefKind::Study,
            DefKind::Fn => doc.contains("arXiv"),
            kind => SECTIONS.iter().any(|(_, of)| of == kind),
        };
        if !is_method {
            continue;
        }
        assert!(
            !doc.is_empty(),
            "{file}: {} has no doc comment that says what it is and where it comes from",
            name.text
        );
        let of = |name: &str| -> Vec<&(&str, Option<&str>)> {
            tests.iter().filter(|(body, _)| mentions(body, name)).collect()
        };
        let by_vectors = |name: &str| -> Vec<String> {
            of(name).into_iter().filter_map(|(_, vectors)| vectors.map(str::to_string)).collect()
        };
        let mut vectors = by_vectors(&name.text);
        let mut inner: Vec<String> = vec![];
        if vectors.is_empty() {
            // Where a file's inputs stand at an inner place, its numbers are those of a function that the method calls.
            let body = &text[item.span.start as usize..item.span.end as usize];
            let called =
                functions.iter().filter(|function| mentions(body, function) && !by_vectors(function).is_empty());
            inner = called.map(|helper| helper.to_string()).collect();
            vectors = inner.iter().flat_map(|helper| by_vectors(helper)).collect();
            vectors.sort();
            vectors.dedup();
        }
        for vector in &vectors {
            let numbers = root().join(format!("tests/data/vectors/{vector}.json"));
            assert!(numbers.exists(), "{file}: the test by vectors of {} needs {}", name.text, numbers.display());
        }
        found.push(Method {
            kind: *kind,
            name: name.text.clone(),
            title: title(&doc),
            papers: papers(&doc),
            source: source(&doc),
            tests: of(&name.text).into_iter().filter(|(_, vectors)| vectors.is_none()).count(),
            vectors,
            inner,
            demonstration: marked(&item.docs, MARKS[0]),
            assumed: marked(&item.docs, MARKS[1]),
            file: file.clone(),
        });
    }
    found
}

fn row(method: &Method) -> String {
    let paper = |number: &String| format!("[{number}](https://arxiv.org/abs/{number})");
    let papers = method.papers.iter().map(paper).collect::<Vec<_>>().join(", ");
    let papers = if papers.is_empty() { method.source.clone() } else { papers };
    let vectors = method.vectors.iter().map(|name| format!("[{name}](../tests/data/vectors/{name}.json)"));
    let status = match (method.vectors.is_empty(), method.tests, method.demonstration.is_empty()) {
        (false, ..) if !method.inner.is_empty() => {
            &format!("agrees with a reference in `{}`", method.inner.join("`, `"))
        }
        (false, ..) => "agrees with a reference",
        (true, 0, true) => "no test of its own",
        (true, 0, false) => "demonstrated",
        (true, ..) => "tested",
    };
    let status = match method.assumed.is_empty() {
        true => status.to_string(),
        false => format!("{status}; assumed: {}", method.assumed),
    };
    let tests = if method.tests == 0 { String::new() } else { method.tests.to_string() };
    let short = method.file.strip_prefix("stdlib/").map_or(format!("../{}", method.file), str::to_string);
    let cells = [
        format!("`{}`", method.name),
        method.title.clone(),
        papers,
        format!("[{}]({short})", method.file),
        status,
        tests,
        vectors.collect::<Vec<_>>().join(", "),
        method.demonstration.clone(),
    ];
    format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

fn page() -> String {
    let root = root();
    // What tests are made of is no method.
    let library =
        files(&root.join("stdlib/std")).into_iter().filter(|path| !path.starts_with(root.join("stdlib/std/toys")));
    let all = library.chain(files(&root.join("examples/studies")));
    let methods: Vec<Method> = all.flat_map(|path| methods(&path)).collect();
    let mut page = String::from(
        "# Methods\n\nMade from the files' own headers by `cargo test -p align-stdlib`; [CONTRIBUTING.md](../CONTRIBUTING.md) \
         says how. `test`: how many tests of its file use it, beside those by vectors.\n",
    );
    for (title, kind) in SECTIONS {
        let mut rows: Vec<&Method> = methods.iter().filter(|method| method.kind == kind).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        if rows.is_empty() {
            continue;
        }
        let head = ["name", "method", "paper", "file", "status", "test", "vector", "demonstration"];
        writeln!(page, "\n## {title}\n\n| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()))
            .expect("a text grows");
        rows.iter().for_each(|method| writeln!(page, "{}", row(method)).expect("a text grows"));
    }
    page.push_str("\n## Not there, or in part\n\n| name | method | paper | what is there | what is missing |\n|---|---|---|---|---|\n");
    open_methods().iter().for_each(|open| writeln!(page, "{}", open.row()).expect("a text grows"));
    page
}

/// A method that the library lacks, or has in part: a line of `open.txt`, five cells between bars.
struct Open {
    name: String,
    title: String,
    paper: String,
    there: String,
    missing: String,
}

impl Open {
    fn row(&self) -> String {
        let paper = format!("[{0}](https://arxiv.org/abs/{0})", self.paper);
        format!("| `{}` | {} | {paper} | {} | {} |", self.name, self.title, self.there, self.missing)
    }
}

fn open_methods() -> Vec<Open> {
    let path = root().join("stdlib/tests/open.txt");
    let text = fs::read_to_string(&path).expect("the list of what is not there");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let open = lines.map(|line| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_string()).collect();
        let Ok([name, title, paper, there, missing]) = <[String; 5]>::try_from(cells) else {
            panic!("{}: five cells between bars are expected: {line}", path.display())
        };
        Open { name, title, paper, there, missing }
    });
    let mut open: Vec<Open> = open.collect();
    open.sort_by(|a, b| a.name.cmp(&b.name));
    open
}

/// What is said to be there in part is there, and nothing is missing twice.
#[test]
fn what_is_open_names_what_there_is() {
    let library = files(&root().join("stdlib/std"));
    let all: Vec<Method> = library.iter().flat_map(|path| methods(path)).collect();
    let mut names = vec![];
    for open in open_methods() {
        assert!(!open.missing.is_empty() && open.paper.contains('.'), "{} says nothing of what is missing", open.name);
        for there in open.there.split('`').skip(1).step_by(2) {
            assert!(all.iter().any(|method| method.name == there), "{}: there is no `{there}`", open.name);
        }
        assert!(!names.contains(&open.name), "{} stands there twice", open.name);
        names.push(open.name);
    }
}

#[test]
fn the_list_of_methods_is_that_of_the_files() {
    let path = root().join("stdlib/METHODS.md");
    let page = page();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let changed = page.lines().find(|line| !kept.lines().any(|kept| kept == *line));
    let changed = changed.or_else(|| kept.lines().find(|line| !page.lines().any(|new| new == *line)));
    assert!(
        page == kept,
        "stdlib/METHODS.md is not up to date. Write it anew, also where a merge left marks in it:\n\
         \n    {UPDATE}=1 cargo test -p align-stdlib --test methods\n\nThe first line that differs:\n{}\n",
        changed.unwrap_or_default()
    );
}

#[test]
fn headers_are_read() {
    let doc = "RMSprop (Hinton 2012, lecture 6e; torch's names): the gradient divided.";
    assert_eq!((title(doc), source(doc)), ("RMSprop".into(), "Hinton 2012, lecture 6e".into()));
    let doc = "Direct Preference Optimization (arXiv 2305.18290, eq. 7): as TRL, with arXiv 2403.00409. And arXiv 2305.18290.";
    assert_eq!(papers(doc), ["2305.18290", "2403.00409"]);
    assert_eq!((title(doc), source(doc)), ("Direct Preference Optimization".into(), String::new()));
    let docs = ["It.", "Demonstration: 2 against", "3.", "Assumed: no noise."].map(String::from);
    assert_eq!((marked(&docs, MARKS[0]), marked(&docs, MARKS[1])), ("2 against 3.".into(), "no noise.".into()));
    assert!(mentions("adamw(lr: 1)", "adamw") && !mentions("adamw_x(adam)", "adamw"));
}
