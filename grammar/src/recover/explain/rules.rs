//! The rules, in the order in which they are asked, and the names of what the grammar wants.

use super::Case;
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
        return Some(case.error("E0020", head, message).help(format!("Did you mean `{near}`?")));
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

fn noun(word: &str) -> &str {
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
fn lambda_belongs_inside(case: &Case, start: usize, call: usize) -> Diagnostic {
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

fn then_is_missing(case: &Case) -> Option<Diagnostic> {
    let any_if = (0..case.found).any(|i| case.text(i) == "if");
    if !any_if && matches!(case.text(case.found), "then" | "else") {
        let message = format!("this {} belongs to no `if`", case.name(case.found));
        return Some(case.error("E0021", case.found, message));
    }
    let last = case.found.min(case.len());
    let mut open = Vec::new();
    for i in 0..last {
        match case.text(i) {
            "if" if case.text(i + 1) != ":" && (i == 0 || case.text(i - 1) != ".") => open.push(i),
            "then" => drop(open.pop()),
            _ => {}
        }
    }
    let start = open.pop().filter(|start| case.around(last) == case.around(*start))?;
    let ends = case.before().is_some_and(|i| case.ends_expression(i) && i > start);
    if !ends || matches!(case.text(case.found), "=" | ",") {
        return None;
    }
    let error = case.error("E0021", case.found, format!("expected `then`, found {}", case.name(case.found)));
    let error = error.label(case.span(start), "this `if` asks for it");
    Some(error.help("Write `if condition then value else value`; a branch of several steps is a block: `then { .. }`."))
}

/// The words that the forms with braces need between their parts.
fn parts_of_forms(case: &Case) -> Option<Diagnostic> {
    const FORMS: [(&str, &[&str], &str); 4] = [
        (
            "iterate",
            &["from", "as", "{"],
            "Write `iterate n from start as name { .. }`, or `iterate x in xs from start as name { .. }`.",
        ),
        ("for", &["in", "{"], "Write `for x in xs { .. }`."),
        ("until", &["{"], "Write `until condition { .. }`."),
        ("train", &["{"], "Write `train net { .. }`, or `train net as name { .. }`."),
    ];
    let level = case.around(case.found.min(case.len()));
    let end = case.found.min(case.len());
    let start = (0..end)
        .rev()
        .find(|i| case.around(*i) == level && FORMS.iter().any(|f| f.0 == case.text(*i)) && begins_form(case, *i))?;
    let (word, parts, help) = FORMS.iter().find(|f| f.0 == case.text(start))?;
    let seen = |part: &str| (start + 1..end).find(|i| case.text(*i) == part && case.around(*i) == level);
    let at = parts.iter().position(|part| seen(part).is_none())?;
    let missing = parts[at];
    // A later part may stand there already.
    let place = parts[at..].iter().find_map(|part| seen(part)).unwrap_or(case.found);
    let finished = place > start + 1 && case.ends_expression(place - 1);
    if !finished || case.text(place) == missing {
        return None;
    }
    let error = case.error("E0031", place, format!("expected `{missing}`, found {}", case.name(place)));
    Some(error.label(case.span(start), format!("this `{word}` asks for it")).help(*help))
}

/// A word of a form, not a field, argument or slot of that name.
fn begins_form(case: &Case, i: usize) -> bool {
    let before = i.checked_sub(1).map_or("", |b| case.text(b));
    let slot = case.context == Context::Slots && i == case.head();
    before != "." && case.text(i + 1) != ":" && !slot && !(case.text(i) == "until" && matches!(before, ")" | "]"))
}

fn part_of_declaration(case: &Case) -> Option<Diagnostic> {
    let head = case.head();
    let word = case.text(head);
    let kind = KINDS.contains(&word);
    if !(kind || word == "param" || word == "record" || word == "test") || case.context == Context::Slots {
        return None;
    }
    if case.found <= head + 1 && word == "test" {
        return Some(
            case.error("E0029", case.found, "a test has a name in quotes")
                .help("Write `test \"what it shows\" { .. }`."),
        );
    }
    if case.found <= head + 1 && !matches!(word, "pipeline") {
        let found = case.name(case.found);
        return Some(case.error("E0029", case.found, format!("expected the name of a {}, found {found}", noun(word))));
    }
    if let Some(clause) = case.before().filter(|i| matches!(case.text(*i), "per" | "over") && case.around(*i).is_none())
    {
        let (wanted, found) = (
            if case.text(clause) == "per" { "`token`, `sample`, `example`, `group` or `batch`" } else { "axes" },
            case.name(case.found),
        );
        return Some(case.error(
            "E0029",
            case.found,
            format!("expected {wanted} after `{}`, found {found}", case.text(clause)),
        ));
    }
    if case.found < case.len() {
        return None;
    }
    let name = case.text(head + 1);
    let help = match word {
        "param" => format!("A parameter has a default: `param {name}: Float = 0.1`."),
        "record" => format!("Its fields stand in braces: `record {name} {{ prompt: Prompt }}`."),
        "test" => format!("Its statements stand in braces: `test {name} {{ .. }}`."),
        _ => "Give it a value, `= ..`, or a block, `{ .. }`.".to_string(),
    };
    if case.before().is_some_and(|i| !case.ends_expression(i)) {
        return None;
    }
    Some(
        case.error(
            "E0029",
            head,
            format!("this {} has no {}", noun(word), if word == "param" { "value" } else { "body" }),
        )
        .help(help),
    )
}

/// `x -> e` as a lambda.
fn arrow(case: &Case) -> Option<Diagnostic> {
    let i = case.before().filter(|i| case.text(case.found) == "->" && case.ends_expression(*i))?;
    let params = if case.text(i) == ")" { "(..)" } else { case.text(i) };
    let error = case.error("E0016", case.found, "`->` stands in types and before the type of a result");
    Some(error.help(format!("A lambda is written `{params} => ..`.")))
}

fn brace_of_nothing(case: &Case) -> Option<Diagnostic> {
    let i = case.before()?;
    if case.text(case.found) != "{" || !case.ends_expression(i) {
        return None;
    }
    if case.begins_lambda(case.found + 1) {
        return Some(lambda_belongs_inside(case, case.found + 1, i));
    }
    let error = case.error("E0030", case.found, format!("a brace cannot follow {}", case.name(i)));
    let help = match case.kind(i) {
        Some(Kind::Word) => {
            "A record is made by its name with a capital: `Pair { .. }`. What a function needs stands in parentheses."
        }
        _ => "Put a line end or `;` before a block. A lambda stands inside the parentheses of the call.",
    };
    Some(error.help(help))
}

fn unfinished(case: &Case) -> Option<Diagnostic> {
    let i = case.before()?;
    let word = case.text(i);
    let asks = match case.kind(i) {
        Some(Kind::Op) => !matches!(word, "?" | ":" | "." | ".."),
        Some(Kind::Word) => matches!(word, "and" | "or" | "with" | "in" | "not" | "then" | "else" | "if"),
        _ => false,
    };
    if !asks || case.begins_expression(case.found) {
        return None;
    }
    let message = format!("expected an expression after `{word}`, found {}", case.name(case.found));
    let error = if case.found < case.len() {
        case.error("E0022", case.found, message)
    } else {
        case.error("E0022", i, message)
    };
    Some(if word == "->" { error.help("After `->` stands a type.") } else { error })
}

fn side_by_side(case: &Case) -> Option<Diagnostic> {
    let i = case.before()?;
    if !case.ends_expression(i) || !case.begins_expression(case.found) {
        return None;
    }
    if case.text(i) == "each" && i == case.head() && case.context != Context::Slots {
        let error = case.error("E0001", i, "`each n steps` stands in the braces of `train`");
        return Some(error);
    }
    let (left, right) = (case.name(i), case.name(case.found));
    let error = case.error("E0015", case.found, format!("{left} and {right} stand side by side"));
    let call = case.kind(i) == Some(Kind::Word) && !matches!(case.text(case.found), "{" | "(" | "[");
    let comma_before = i > 0 && case.text(i - 1) == "," && case.around(i).is_none();
    let help = match (case.around(case.found), call) {
        (None, true) if case.context == Context::Slots && comma_before => {
            "Slots are parted by a line end or `;`, not by a comma.".to_string()
        }
        (None, _) if case.context == Context::Fields => "Put a comma or an operator between them.".to_string(),
        _ if begins_item(case.text(case.found)) => {
            "A declaration or statement begins on a line of its own, or after `;`.".to_string()
        }
        (Some(open), true) if case.text(open) != "{" => {
            format!("Put a comma or an operator between them, or make it a call: `{}(..)`.", case.text(i))
        }
        (Some(open), false) if case.text(open) != "{" => "Put a comma or an operator between them.".to_string(),
        (_, true) => {
            format!("A call has parentheses: `{}(..)`. Statements are parted by a line end or `;`.", case.text(i))
        }
        (_, false) => "Put an operator between them, or a line end or `;` between two statements.".to_string(),
    };
    Some(error.help(help))
}

fn type_is_missing(case: &Case) -> Option<Diagnostic> {
    let i = case.before().filter(|i| case.text(*i) == ":")?;
    let wants_type = case.wanted.iter().any(|r| matches!(r, Rule::ty | Rule::type_atom | Rule::type_name));
    let message = if wants_type && !case.wanted.contains(&Rule::expr) { "a type" } else { "a value" };
    let error =
        case.error("E0001", case.found, format!("expected {message} after `:`, found {}", case.name(case.found)));
    let _ = i;
    Some(if message == "a type" {
        error.help("Types begin with a capital, as in `Float` or `List[Int]`.")
    } else {
        error
    })
}
