use super::*;
use crate::eval::checks::{Library, nowhere, program};
use crate::stage::words::as_data;

/// Warnings about a reward of sums, with replies as given, or with none.
fn warnings(reward: &str, given: bool) -> Vec<String> {
    let text = format!(
        "use std.rewards {{ exact_number, ends_in_number, number_is, exact_text, letter_count, repetition_penalty }}\n\
         let rows = for a in 0..20 {{ {{ prompt: \"\"\"{{a}} + {{a}} = \"\"\", reply: if a % 2 == 0 then \"\"\"{{a + a}}\"\"\" else \"\"\"so {{a}}\"\"\", answer: a + a, quality: a / 10 }} }}\n\
         let reward = {reward}\n"
    );
    let program = program(&text);
    let mut eval = Eval::new(&program, &Library);
    let rows = eval.global("rows", nowhere()).expect("rows");
    let reward = eval.global("reward", nowhere()).unwrap_or_else(|error| panic!("{error:?}"));
    let data = as_data(&rows).expect("a list");
    let warnings = probe(&mut eval, &reward, &data, given, nowhere());
    warnings.iter().map(|w| format!("{} {} {}", w.code, w.message, w.labels[0].1).trim_end().to_string()).collect()
}

#[test]
fn rewards_that_are_fine_are_silent() {
    for reward in [
        "exact_number(.answer)",
        "number_is(.answer)",
        "exact_text(.answer)",
        "exact_number(.answer) + 0.5 * ends_in_number() + repetition_penalty()",
        "exact_number(.answer) - 0.001 * (y => y.text.length)",
        ".quality",
        "(y, x) => x.quality",
        "repetition_penalty()",
        "y => if y.text == \"\" then 0.1 else 0 - 1",
    ] {
        let found = warnings(reward, true);
        match reward.starts_with("y => if") {
            // An empty answer gets more than any that is known.
            true => assert!(found[0].starts_with("W0722 an empty answer gets a reward of 0.1; no answer"), "{found:?}"),
            false => assert_eq!(found, Vec::<String>::new(), "{reward}"),
        }
    }
    assert_eq!(warnings("exact_number(.answer)", false), Vec::<String>::new());
}

#[test]
fn what_pays_for_nothing_is_told() {
    let found = warnings("(y, x) => contains(y.text, \"\"\"{x.answer}\"\"\")", true);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(
            "W0722 a list of numbers that has the right one gets a reward of 1; the best known answer gets 1"
        ),
        "{found:?}"
    );
    let found = warnings("y => if y.text.length < 5 then 1 else 0", true);
    assert!(found[0].starts_with("W0722 an empty answer gets a reward of 1;"), "{found:?}");
    let found = warnings("y => y.text.length / 10", false);
    assert!(found[0].starts_with("W0722 one word without end gets a reward of 204.7;"), "{found:?}");
    assert!(found[0].contains("also: a list of numbers"), "{found:?}");
    let found = warnings("(y, x) => if contains(y.text, x.prompt) then 1 else 0", true);
    assert!(
        found[0].starts_with("W0722 the prompt again gets a reward of 1; no answer is known that gets more than 0"),
        "{found:?}"
    );
    let found = warnings("ends_in_number()", true);
    assert!(found[0].contains("gets a reward of 1; the best known answer gets 1"), "{found:?}");
}

#[test]
fn what_fails_is_told() {
    let found = warnings("y => if chars(y.text)[0] == \"4\" then 1 else 0", true);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("W0723 the reward of an empty answer fails: "), "{found:?}");
}
