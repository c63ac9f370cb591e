//! Rules about the parts of declarations and forms: what is missing, or stands where it has no place.

use super::Case;
use super::rules::{lambda_belongs_inside, noun};
use crate::diag::Diagnostic;
use crate::lex::Kind;
use crate::parse::Rule;
use crate::recover::pieces::Context;
use crate::words::{KINDS, begins_item};

pub(super) fn then_is_missing(case: &Case) -> Option<Diagnostic> {
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
pub(super) fn parts_of_forms(case: &Case) -> Option<Diagnostic> {
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

pub(super) fn part_of_declaration(case: &Case) -> Option<Diagnostic> {
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
pub(super) fn arrow(case: &Case) -> Option<Diagnostic> {
    let i = case.before().filter(|i| case.text(case.found) == "->" && case.ends_expression(*i))?;
    let params = if case.text(i) == ")" { "(..)" } else { case.text(i) };
    let error = case.error("E0016", case.found, "`->` stands in types and before the type of a result");
    Some(error.help(format!("A lambda is written `{params} => ..`.")))
}

pub(super) fn brace_of_nothing(case: &Case) -> Option<Diagnostic> {
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

pub(super) fn unfinished(case: &Case) -> Option<Diagnostic> {
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

pub(super) fn side_by_side(case: &Case) -> Option<Diagnostic> {
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

pub(super) fn type_is_missing(case: &Case) -> Option<Diagnostic> {
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
