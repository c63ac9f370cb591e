use super::*;
use crate::eval::checks::{Library, explained, nowhere, program};

const PROGRAM: &str = r#"
reward right(y: Reply, answer: Float, bonus: Float = 0) -> Option[Float] {
  let found = number(y.text)?
  some(if found == answer then 1 + bonus else 0)
}
reward short(y: Reply, most: Int = 3) -> Float = if y.text.length <= most then 0 else -1
reward picks(y: Reply) -> Text = chars(y.text)[1]
reward letters(y: Reply) -> Float = count(y.text, chars(y.text)[2]) / 1
reward endless(y: Reply) -> Float {
  var n = 0
  until n < 0 { n = n + 1 }
  n
}
fn half(y: Reply) -> Float = y.text.length / 2
let one = { prompt: "2+2=", reply: "4", answer: 4.0, other: 5.0, extra: 0.5 }
let group = { prompt: "2+2=", answer: 4.0, listed: [7, 8, 9], reply: ["4", "x", "44"], logp: [[-1.0], [-2.0], [-3.0]], finished: [true, true, false], tau: [1, 2, 3] }
"#;

/// What `score` makes of an expression, and what was counted.
fn scored(text: &str) -> (Res<Value>, String) {
    let program = program(&format!("{PROGRAM}\nlet x = {text}\n"));
    let mut eval = Eval::new(&program, &Library);
    let value = eval.global("x", nowhere());
    let tally = eval.tally.borrow();
    let counts: Vec<String> =
        tally.counts.iter().map(|c| format!("{} {}/{}/{}", c.name, c.scored, c.none, c.failed)).collect();
    (value, counts.join(", "))
}

fn worth(text: &str) -> String {
    match scored(text) {
        (Ok(value), _) => format!("{value:?}"),
        (Err(error), _) => format!("{}: {}", error.code, error.message),
    }
}

#[test]
fn rewards_take_settings_fields_and_the_item() {
    assert_eq!(worth("(one |> score(right())).reward"), "1.0");
    assert_eq!(worth("(one |> score(right)).reward"), "1.0");
    assert_eq!(worth("(one |> score(right(.other))).reward"), "0.0");
    assert_eq!(worth("(one |> score(right(x => x.answer, bonus: .extra))).reward"), "1.5");
    assert_eq!(worth("(one |> score(right(4))).reward"), "1.0");
    assert_eq!(worth("(one |> score(y => y.text == \"4\")).reward"), "1.0");
    assert_eq!(worth("(one |> score((y, x) => x.other)).reward"), "5.0");
    assert_eq!(worth("(one |> score(.extra)).reward"), "0.5");
    assert_eq!(worth("(one |> score(half)).reward"), "0.5");
    assert_eq!(worth("(one |> score((y, x) => y.prompt.text == x.prompt)).reward"), "1.0");
}

#[test]
fn parts_of_a_sum_are_fields() {
    let sum = "(one |> score(right() + 0.5 * half - short(0) + (y => 10)))";
    assert_eq!(worth(&format!("{sum}.reward")), "12.25");
    assert_eq!(worth(&format!("{sum}.rewards.half")), "0.5");
    assert_eq!(worth(&format!("{sum}.rewards.short")), "-1.0");
    assert_eq!(worth(&format!("{sum}.rewards.reward")), "10.0");
    assert_eq!(worth("(one |> score(half + half)).rewards.half_2"), "0.5");
}

#[test]
fn a_reward_that_is_none_masks_its_sample() {
    let (value, counts) = scored("group |> score(right())");
    let Ok(Value::Record(row)) = value else { panic!("{value:?}") };
    assert_eq!(format!("{:?}", row.get("reward")), "Some([1.0, 0.0])");
    assert_eq!(format!("{:?}", row.get("reply")), "Some([\"4\", \"44\"])");
    assert_eq!(
        format!("{:?} {:?}", row.get("logp"), row.get("finished")),
        "Some([[-1.0], [-3.0]]) Some([true, false])"
    );
    assert_eq!(format!("{:?} {:?}", row.get("listed"), row.get("tau")), "Some([7, 8, 9]) Some([1, 3])");
    assert_eq!(worth("(group |> score((y, x) => x.listed.length + x.tau)).reward"), "[4.0, 5.0, 6.0]");
    assert_eq!(counts, "right 2/1/0");
    assert_eq!(worth("(group |> score((y, x) => x.logp[0])).reward"), "[-1.0, -2.0, -3.0]");
    assert_eq!(worth("([one, one with { reply: \"no\" }] |> score(right())).length"), "1");
    assert_eq!(
        worth("one with { reply: \"no\" } |> score(right())"),
        "E0720: no reply has a reward: `right` is none for 1 of 1"
    );
}

#[test]
fn a_reward_that_fails_is_left_out_and_counted() {
    let (value, counts) = scored("group with { reply: [\"abc\", \"x\", \"aac\"] } |> score(letters)");
    let Ok(Value::Record(row)) = value else { panic!("{value:?}") };
    assert_eq!(format!("{:?}", row.get("reward")), "Some([1.0, 1.0])");
    assert_eq!(counts, "letters 2/0/1");
    let (value, counts) = scored("group |> score(y => 1 / (y.text.length - 1))");
    assert!(value.is_ok(), "{value:?}");
    assert_eq!(counts, "reward 1/0/2");
    let (value, _) = scored("group |> score(y => [1][5])");
    let error = value.expect_err("all fail");
    assert_eq!(error.code, "E0334");
    assert!(error.labels.iter().any(|(_, said)| said.contains("fails for 3 of 3")), "{error:?}");
    let (value, _) = scored("one |> score(endless)");
    let error = value.expect_err("no fuel");
    assert_eq!((error.code, &*error.message), ("E0331", "this used up its 10_000_000 operations"));
    assert!(error.labels.iter().any(|(_, said)| said.contains("`endless`")) || !error.labels.is_empty());
    assert_eq!(worth("one |> score(y => 9_000_000_000_000_000_000 * 9)"), "E0332: the Int is beyond 64 bits");
    assert_eq!(
        worth("one |> score(y => y.text)"),
        "E0140: a reward gives a Float, an `Option[Float]` or a Float for each token, this is a Text"
    );
    assert_eq!(worth("one |> score(y => log(0 - 1))"), "E0721: the reward is NaN");
}

#[test]
fn tokens_have_rewards_of_their_own() {
    assert_eq!(worth("(one |> score((y => [0.5, 0.25]) + (y => 1))).reward"), "[0.5, 1.25]");
    assert_eq!(worth("(one |> score((y => tensor[time]([0.5, 0.25])) + half)).reward"), "[0.5, 0.75]");
    let (value, counts) = scored("one |> score((y => [0.5, 0.25]) + (y => [1, 2, 3]))");
    assert!(value.is_err());
    assert_eq!(counts, "reward 0/0/1, reward_2 1/0/0");
}

#[test]
fn rewards_are_functions() {
    assert_eq!(worth("right(reply(\"2+2=\", \"4\"), 4)"), "<an Option>");
    assert_eq!(worth("short(reply(text: \"4000\"), most: 2)"), "-1.0");
    assert_eq!(worth("short(\"4000\", 2)"), "-1.0");
    assert_eq!(worth("right(.other)(reply(text: \"5\"), one)"), "1.0");
    assert_eq!(worth("(right() + half)(reply(text: \"4\"), one)"), "1.5");
}

#[test]
fn what_is_no_reward_is_said() {
    assert!(worth("one |> score(3)").starts_with("E0113: `score` takes a reward"));
    assert!(worth("{ a: 1 } |> score(half)").starts_with("E0120"));
    assert_eq!(worth("{ reply: \"4\" } |> score(right())"), "E0111: `right` needs `answer`");
    assert_eq!(worth("one |> score(right(1, 2, 3))"), "E0112: `right` takes 2 settings");
}

#[test]
fn reports_say_what_was_left_out() {
    let program = program(&format!("{PROGRAM}\nlet x = group |> score(right() + 0 * letters)\n"));
    let mut eval = Eval::new(&program, &Library);
    assert!(eval.global("x", nowhere()).is_err());
    let said = eval.tally.borrow().sentences().join("\n");
    assert!(said.contains("the reward `right` was none for 1 of 3 replies"), "{said}");
    assert!(said.contains("the reward `letters` failed for 3 (") && said.contains(" of 3 replies"), "{said}");
    explained(&program, Ok(()));
}

/// Rewards a second through `score`. Run in release: `cargo test --release --lib -- --ignored --nocapture rate_of_rewards`.
#[test]
#[ignore = "it measures time"]
fn rate_of_rewards() {
    let text = "use std.rewards { exact_number, ends_in_number, repetition_penalty, countdown, think_format }\n\
                let rows = for a in 0..2000 { { prompt: \"\"\"{a} + {a} = \"\"\", reply: \"\"\"The sum of {a} and {a} is {a + a}.\"\"\", answer: a + a, target: 24, numbers: [3, 3, 8, 8] } }\n";
    for reward in [
        "y => if y.text == \"\" then 0 else 1",
        "exact_number(.answer)",
        "ends_in_number()",
        "think_format()",
        "repetition_penalty()",
        "countdown()",
        "exact_number(.answer) + 0.5 * ends_in_number()",
    ] {
        let program = program(&format!("{text}let reward = {reward}\n"));
        let mut eval = Eval::new(&program, &Library);
        let Ok(Value::List(rows)) = eval.global("rows", nowhere()) else { panic!("rows") };
        let reward = eval.global("reward", nowhere()).expect("a reward");
        let rewards = Rewards::new(&mut eval, &reward, nowhere()).expect("a reward");
        let begin = std::time::Instant::now();
        for row in rows.iter() {
            explained(&program, eval.score_item(&rewards, row));
        }
        let rate = rows.len() as f64 / begin.elapsed().as_secs_f64();
        let names: Vec<&str> = rewards.names().collect();
        println!("{rate:>10.0} a second: {}", names.join(" + "));
    }
}
