//! The rules, in the order in which they are asked, and the names of what the grammar wants.

use super::Case;
use super::forms::{
    arrow, brace_of_nothing, part_of_declaration, parts_of_forms, side_by_side, then_is_missing, type_is_missing,
    unfinished,
};
use crate::diag::{Diagnostic, did_you_mean};
use crate::lex::Kind;
use crate::parse::Rule;
use crate::recover::pieces::Context;
use crate::words::{BINDS, COMMANDS, ITEMS, KINDS, RESERVED, begins_item};

/// A rule says what is wrong if it is its case.
type Explain = fn(&Case) -> Option<Diagnostic>;

pub(super) const RULES: [Explain; 18] = [
    foreign_word,
    statement_outside,
    documents_nothing,
    reserved_name,
    letter_of_name,
    outside_lambda,
    part_of_declaration,
    field_without_colon,
    equals,
    positional_after_named,
    colon,
    then_is_missing,
    parts_of_forms,
    arrow,
    brace_of_nothing,
    unfinished,
    side_by_side,
    type_is_missing,
];

/// What the grammar's rules are called, most telling first.
pub(super) const WANTED: [(Rule, &str); 22] = [
    (Rule::item, "a declaration"),
    (Rule::def, "a declaration"),
    (Rule::stmt, "a statement"),
    (Rule::line, "a slot"),
    (Rule::ty, "a type"),
    (Rule::type_atom, "a type"),
    (Rule::expr, "an expression"),
    (Rule::term, "an expression"),
    (Rule::atom, "an expression"),
    (Rule::positional, "an argument"),
    (Rule::arguments, "arguments"),
    (Rule::pattern, "a name"),
    (Rule::word, "a name"),
    (Rule::any_word, "a name"),
    (Rule::type_name, "a name with a capital"),
    (Rule::string, "a text"),
    (Rule::int, "a whole number"),
    (Rule::block, "`{`"),
    (Rule::shape, "`{`"),
    (Rule::slots, "`{`"),
    (Rule::body, "`=` or `{`"),
    (Rule::infix, "an operator"),
];

/// Words that begin something in another language: what this one has instead.
const FOREIGN: [(&str, &str); 22] = [
    ("return", "The value of a block is its last expression: leave `return` out."),
    ("def", "A function begins with `fn`."),
    ("function", "A function begins with `fn`."),
    ("func", "A function begins with `fn`."),
    ("lambda", "A lambda is written `x => ..`."),
    ("import", "Names are imported with `use`: `use std.losses { dpo }`."),
    ("from", "Names are imported with `use`: `use std.losses { dpo }`."),
    ("class", "Plain data is a `record`, a model a `net`."),
    ("struct", "Plain data is a `record`."),
    ("type", "Plain data is a `record`."),
    ("const", "A constant is bound with `let`."),
    ("val", "A value is bound with `let`."),
    ("mut", "A value that changes is bound with `var`."),
    ("while", "`until condition { .. }` repeats until its condition holds."),
    ("loop", "`until condition { .. }` repeats until its condition holds."),
    ("match", "There is no `match`; use `if`, or the functions of Option."),
    ("switch", "There is no `switch`; use `if`."),
    ("elif", "Write `else if`."),
    ("print", "Values are shown with `show a, b`."),
    ("pass", "An empty block is `{ }`."),
    ("break", "There is no `break`; `until` and `iterate .. until` end by their condition."),
    ("async", "Rounds of a `for` may run side by side as they are."),
];

fn foreign_word(case: &Case) -> Option<Diagnostic> {
    let head = case.head();
    let (word, help) = FOREIGN.iter().find(|row| row.0 == case.text(head))?;
    let used = matches!(case.text(head + 1), "=" | "." | "(" | ":" | ",") && *word != "print";
    (!used).then(|| case.error("E0027", head, format!("there is no `{word}` in this language")).help(*help))
}

fn statement_outside(case: &Case) -> Option<Diagnostic> {
    let head = case.head();
    let word = case.text(head);
    if case.context != Context::Items || begins_item(word) {
        return None;
    }
    if case.kind(head) == Some(Kind::Doc) {
        return documents_nothing(case);
    }
    let known = KINDS.iter().chain(&ITEMS).chain(&["let"]).copied();
    let near = did_you_mean(word, known).filter(|_| word.len() > 2 && !COMMANDS.contains(&word));
    let follows = matches!(case.kind(head + 1), Some(Kind::Word | Kind::Type)) || case.text(head + 1) == "{";
    if let Some(near) = near.filter(|_| follows) {
        let message = format!("`{word}` does not begin a declaration");
        return Some(case.error("E0020", head, message).meant(near));
    }
    if case.text(head + 1) == "=" {
        let message = format!("`{word}` is assigned to outside of a block");
        return Some(case.error("E0020", head, message).help(format!("Write `let {word} = ..`.")));
    }
    let message = if COMMANDS.contains(&word) {
        format!("`{word}` stands outside of a pipeline")
    } else {
        format!("a declaration begins with a word such as `fn`, `loss` or `let`, not with {}", case.name(head))
    };
    Some(case.error("E0020", head, message).help("What is to be done stands in `pipeline { .. }`."))
}

fn documents_nothing(case: &Case) -> Option<Diagnostic> {
    let alone = (0..case.len()).all(|i| case.kind(i) == Some(Kind::Doc));
    if case.kind(case.found) != Some(Kind::Doc) && !alone {
        return None;
    }
    let place = if alone { 0 } else { case.found };
    let error = case.error("E0019", place, "this comment documents nothing");
    Some(error.help("`///` stands on the line before what it documents. Other comments begin with `//`."))
}

fn reserved_name(case: &Case) -> Option<Diagnostic> {
    let i = (0..case.len()).find(|i| {
        let word = case.text(*i);
        let reserved = case.kind(*i) == Some(Kind::Word) && RESERVED.contains(&word);
        reserved && i.checked_sub(1).is_some_and(|before| name_belongs_after(case, before, *i))
    })?;
    let word = case.text(i);
    let error = case.error("E0009", i, format!("`{word}` is a reserved word and cannot be a name"));
    Some(error.help(format!("Choose another name, such as `{word}_` or `the_{word}`.")))
}

/// Must a name follow token `i`, so that `next` is one?
fn name_belongs_after(case: &Case, i: usize, next: usize) -> bool {
    let word = case.text(i);
    let begins = i == case.head() || (i > 0 && matches!(case.text(i - 1), "{" | ";"));
    if begins && (BINDS.contains(&word) || KINDS.contains(&word) || word == "param") {
        return true;
    }
    if word == "for" {
        return true;
    }
    // A parameter: in the parentheses of a head, before `:`, `,` or `)`.
    let list = case.around(next).filter(|open| case.text(*open) == "(");
    let of_head = list.is_some_and(|open| open > 0 && is_head(case, open));
    of_head && matches!(word, "(" | ",") && matches!(case.text(next + 1), ":" | "," | ")" | "=")
}

/// Is the parenthesis the parameter list of a declaration or a method?
fn is_head(case: &Case, open: usize) -> bool {
    let head = case.head();
    let declares = KINDS.contains(&case.text(head)) && open == head + 2;
    declares || (open == head + 1 && matches!(case.text(case.partner(open) + 1), "=" | "{" | "->"))
}

fn letter_of_name(case: &Case) -> Option<Diagnostic> {
    let head = case.head();
    let (word, name) = (case.text(head), head + 1);
    let small = match case.kind(name)? {
        Kind::Word => true,
        Kind::Type => false,
        _ => return None,
    };
    if word == "record" && small && !RESERVED.contains(&case.text(name)) {
        let error = case.error("E0026", name, "a record's name begins with a capital");
        return Some(error.help(format!("Write `{}`.", capital(case.text(name)))));
    }
    let binds = BINDS.contains(&word) && case.context != Context::Slots || word == "let";
    let names = binds || KINDS.contains(&word) || word == "param";
    if names && !small {
        let error = case.error("E0026", name, format!("the name of a {} begins with a small letter", noun(word)));
        return Some(error.help(format!("Write `{}`; names with a capital are types.", snake(case.text(name)))));
    }
    None
}

pub(super) fn noun(word: &str) -> &str {
    match word {
        "fn" => "function",
        "let" | "var" | "data" | "policy" => "value",
        "param" => "parameter",
        _ => word,
    }
}

fn capital(word: &str) -> String {
    word.split('_').filter_map(|w| Some(w.get(..1)?.to_uppercase() + &w[1..])).collect()
}

fn snake(word: &str) -> String {
    let mut out = String::new();
    for (i, c) in word.char_indices() {
        if c.is_uppercase() && i > 0 && !word[..i].ends_with(|b: char| b.is_uppercase() || b == '_') {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// `xs |> map(f) x => ..`, `map x => ..`
fn outside_lambda(case: &Case) -> Option<Diagnostic> {
    let before = case.before()?;
    // The grammar may have taken the lambda's parameters for a unit, a value or a second call.
    let params = if case.text(before) == ")" { case.partner(before) } else { before };
    let is = |start: &usize| *start > 0 && case.begins_lambda(*start) && case.ends_expression(*start - 1);
    let start = [case.found, params].into_iter().find(is)?;
    Some(lambda_belongs_inside(case, start, start - 1))
}

/// The lambda at `start` belongs to the call that ends with token `call`.
pub(super) fn lambda_belongs_inside(case: &Case, start: usize, call: usize) -> Diagnostic {
    let callee = if case.text(call) == ")" { case.partner(call).saturating_sub(1) } else { call };
    let name = if case.kind(callee) == Some(Kind::Word) { case.text(callee) } else { "f" };
    let params = if case.text(start) == "(" { "(..)" } else { case.text(start) };
    let message = "a lambda is an argument: it stands inside the parentheses of the call";
    case.error("E0007", start, message).help(format!("Write `{name}({params} => ..)`."))
}

fn positional_after_named(case: &Case) -> Option<Diagnostic> {
    let place = case.found.min(case.len().checked_sub(1)?);
    let place = if case.text(place) == ")" || case.text(place) == "]" { place.checked_sub(1)? } else { place };
    let open = case.around(place);
    let start = match open {
        Some(open) if matches!(case.text(open), "(" | "[") => open + 1,
        None if case.context == Context::Slots || COMMANDS.contains(&case.text(case.head())) => case.head() + 1,
        _ => return None,
    };
    let end = open.map_or(case.len(), |open| case.partner(open));
    let mut named = None;
    let mut at = start;
    let mut first = true;
    while at < end {
        if first {
            let is_named = case.kind(at) == Some(Kind::Word) && case.text(at + 1) == ":";
            let equals = case.text(at + 1) == "=";
            if let (Some(named), false) = (named, is_named || equals || case.begins_lambda(at)) {
                let last = (at..end).find(|i| case.text(*i) == ",").unwrap_or(end) - 1;
                let error = Diagnostic::error(
                    "E0008",
                    case.spans(at, last.max(at)),
                    "an argument without a name after one with a name",
                );
                return Some(
                    error.label(case.span(named), "named").help("Put it before the named ones, or give its name."),
                );
            }
            if is_named {
                named = Some(at);
            }
        }
        first = case.text(at) == ",";
        at = if matches!(case.kind(at), Some(Kind::Open | Kind::TemplateStart)) { case.partner(at) } else { at } + 1;
    }
    None
}

fn field_without_colon(case: &Case) -> Option<Diagnostic> {
    let name = case.head();
    if case.context != Context::Fields || matches!(case.text(name + 1), ":" | "=") {
        return None;
    }
    let (word, found) = (case.name(name), case.name(name + 1));
    let error = case.error("E0001", name + 1, format!("expected `:` after {word}, found {found}"));
    Some(error.help("A field has a name, a colon and its value, in a record's declaration its type."))
}

/// `=` where `==` or `:` is meant.
fn equals(case: &Case) -> Option<Diagnostic> {
    let head = case.head();
    let name_of = |i: usize| {
        let name = i.checked_sub(1).filter(|n| case.kind(*n) == Some(Kind::Word))?;
        let first = name == head && case.context == Context::Fields;
        let listed = name > 0 && case.around(i).is_some() && matches!(case.text(name - 1), "(" | "[" | "," | "{");
        (case.text(i) == "=" && (first || listed)).then_some(name)
    };
    let near = [Some(case.found), case.before(), Some(case.found + 1)];
    if let Some(name) = near.into_iter().flatten().find_map(name_of) {
        let word = case.text(name);
        let error = case.error("E0006", name + 1, format!("the value of `{word}` follows a `:`"));
        return Some(error.help(format!("Write `{word}: ..`; to compare, write `==`.")));
    }
    let i = case.found;
    if case.text(i) == "==" && (BINDS.contains(&case.text(head)) || case.text(head) == "param") {
        return Some(case.error("E0001", i, "`==` compares; a value is given by `=`").help("Write `= ..`."));
    }
    if case.text(i) != "=" {
        return None;
    }
    if case.context == Context::Slots && i == case.head() + 1 {
        let word = case.text(case.head());
        let error = case.error("E0005", i, "a slot has no mark between its word and its value");
        return Some(error.help(format!("Write `{word} ..`; `state {word} = ..` binds a name.")));
    }
    let error = case.error("E0004", i, "`=` does not compare");
    Some(error.help("Write `==` to compare. `=` binds a name, once in a statement."))
}

/// `:` where `=`, `->` or a blank belongs.
fn colon(case: &Case) -> Option<Diagnostic> {
    let head = case.head();
    let near = |i: &usize| case.text(*i) == ":" && case.around(*i).is_none();
    let i = [Some(case.found), case.before()].into_iter().flatten().find(near)?;
    let word = case.text(head);
    if case.context == Context::Slots && i == head + 1 {
        let error = case.error("E0005", i, "a slot has no mark between its word and its value");
        return Some(error.help(format!("Write `{word} ..`.")));
    }
    if i > 0 && case.text(i - 1) == ")" && KINDS.contains(&word) {
        let error = case.error("E0005", i, "the result's type follows `->`");
        return Some(error.help("Write `-> Type`."));
    }
    if BINDS.contains(&word) || matches!(word, "param" | "policy" | "data") || i == head + 1 {
        let error = case.error("E0005", i, "after `:` stands a type; a value follows `=`");
        let name = case.text(i - 1);
        let lead = if i == head + 1 { "let " } else { "" };
        return Some(error.help(format!("Write `{lead}{name} = ..`.")));
    }
    None
}
