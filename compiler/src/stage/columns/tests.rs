use crate::program::load;
use crate::stage::build::{BuildOptions, build};
use crate::stage::graph::{Cell, StageKind};
use crate::stage::testing::Memory;

/// What rows show, cell by cell, and what was noted; or the first error with its help.
fn shown(line: &'static str, cast: &str, show: &str) -> Result<(String, String), String> {
    let world = Memory { files: vec![("d.jsonl", vec![line])], model: None };
    let text = format!(
        "use std.data {{ Demo, Pair, Rated, Stepwise, Talk }}\n\
         data rows = jsonl(\"d.jsonl\") as {cast}\n\
         pipeline {{ show rows |> map(x => {show}) }}"
    );
    let (program, diagnostics) = load("main.align", &text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let graph = build(&program, &BuildOptions::default(), &world).map_err(|mut all| {
        let first = all.remove(0);
        format!("{} | {}", first.message, first.help.unwrap_or_default())
    })?;
    let table = graph.stages().find_map(|(_, stage)| match &stage.kind {
        StageKind::Show(show) => Some(&show.table),
        _ => None,
    });
    let cells = table.expect("something is shown").rows.iter().flatten().map(|cell| match cell {
        Cell::Text(text) => text.clone(),
        other => format!("{other:?}"),
    });
    Ok((cells.collect::<Vec<_>>().join(" | "), graph.notes.join("\n")))
}

#[test]
fn columns_of_the_field_are_known() {
    let demo = "{ a: x.prompt, b: x.reply }";
    let cases = [
        (r#"{"prompt": "p", "completion": "c"}"#, "p | c", "`Demo { prompt: .prompt, reply: .completion }`"),
        (r#"{"text": "t"}"#, " | t", r#"`Demo { prompt: x => "", reply: .text }`"#),
        (r#"{"instruction": "i", "input": "", "output": "o"}"#, "i | o", "instructed(x.instruction, x.input)"),
        (r#"{"instruction": "i", "input": "j", "output": "o"}"#, "i\n\nj | o", "instructed(x.instruction, x.input)"),
        (r#"{"instruction": "i", "output": "o"}"#, "i | o", "`Demo { prompt: .instruction, reply: .output }`"),
        (r#"{"messages": [{"role": "user", "content": "u"}]}"#, " | user: u", "reply: .messages"),
        (
            r#"{"conversations": [{"from": "gpt", "value": "u"}]}"#,
            " | assistant: u",
            "reply: x => shared(x.conversations)",
        ),
        (
            r#"{"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "a"}]}"#,
            "user: u | user: u\nassistant: a",
            "`Demo { prompt: .prompt, reply: .completion }`",
        ),
        (r#"{"prompt": "p", "reply": "c"}"#, "p | c", ""),
    ];
    for (line, expected, note) in cases {
        let (found, noted) = shown(line, "Demo", demo).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(found, expected, "{line}");
        assert!(noted.contains(note) && noted.is_empty() == note.is_empty(), "{line}: {noted}");
    }
    let pair = "{ a: x.prompt, b: x.chosen, c: x.rejected }";
    let implicit = r#"{"chosen": "Q: a? A: yes", "rejected": "Q: a? A: no"}"#;
    assert_eq!(shown(implicit, "Pair", pair).unwrap().0, "Q: a? A: |  yes |  no");
    let talks = r#"{"chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}],
                    "rejected": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "b"}]}"#;
    assert_eq!(shown(talks, "Pair", pair).unwrap().0, "user: u | user: u\nassistant: a | user: u\nassistant: b");
    // A prompt as text, answers as whole conversations.
    let mixed = r#"{"prompt": "u", "chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}],
                    "rejected": [{"role": "assistant", "content": "b"}]}"#;
    assert_eq!(shown(mixed, "Pair", pair).unwrap().0, "u | user: u\nassistant: a | user: u\nassistant: b");
    let rated = r#"{"prompt": "p", "completion": "c", "label": false}"#;
    assert_eq!(shown(rated, "Rated", "{ a: x.reply, b: x.good }").unwrap().0, "c | false");
    let steps = r#"{"prompt": "p", "completions": ["a", "b"], "labels": [true, false]}"#;
    assert_eq!(shown(steps, "Stepwise", "{ a: x.reply, b: x.good[1] }").unwrap().0, "a\nb | false");
    let talk = "{ a: x.chat }";
    let tools = r#"{"messages": [{"role": "user", "content": "u"}], "tools": "[{\"name\": \"f\"}]"}"#;
    assert_eq!(shown(tools, "Talk", talk).unwrap().0, "user: u");
    assert_eq!(shown(r#"{"prompt": "p", "completion": "c"}"#, "Talk", talk).unwrap().0, "user: p\nassistant: c");
}

#[test]
fn what_the_program_says_comes_first() {
    let line = r#"{"prompt": "p", "completion": "c", "thumb": true}"#;
    let (found, noted) = shown(line, "Rated { good: .thumb }", "{ a: x.reply, b: x.good }").unwrap();
    assert_eq!(found, "c | true");
    assert_eq!(noted, "rows like d.jsonl:1 are read as `Rated { prompt: .prompt, reply: .completion }`");
    let (found, noted) = shown(line, "Demo { reply: .prompt }", "{ a: x.reply }").unwrap();
    assert_eq!((found.as_str(), noted.as_str()), ("p", ""));
}

#[test]
fn columns_that_nobody_knows_are_an_error_that_says_what_is_known() {
    let error = shown(r#"{"a": "b"}"#, "Pair", "{ a: x.prompt }").unwrap_err();
    assert!(error.starts_with("d.jsonl:1: a Pair needs the field prompt, which is not there"), "{error}");
    assert!(error.contains("say what each field is: `as Pair { .. }`"), "{error}");
    assert!(error.contains("chosen: x => after(x.chosen, x.rejected)"), "{error}");
}
