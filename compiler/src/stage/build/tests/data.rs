//! Data of programs: files, rows, chats and models.

use super::*;
use crate::stage::items::ItemValue;
use crate::stage::testing::Llama;

#[test]
fn rows_of_files_are_checked_against_records() {
    let world = |lines: &[&'static str]| Memory { files: vec![("d.jsonl", lines.to_vec())], model: None };
    let text = program(r#"jsonl("d.jsonl") as Demo { prompt: .question, reply: .answer }"#, SLOTS, "");
    let build = |lines: &[&'static str]| built(&text, &world(lines), &[], |graph| train(graph, "tuned").items.len());
    let good = r#"{"question": "a", "answer": "b", "more": [1]}"#;
    assert_eq!(build(&[good, good]), Ok(2));
    let error = |line| build(&[good, line]).unwrap_err();
    assert_eq!(
        error(r#"{"question": "a", "answer": 3}"#),
        "E0701 d.jsonl:2: field reply: expected a Reply or Text, this is 3"
    );
    assert_eq!(
        error(r#"{"question": null, "answer": "b"}"#),
        "E0701 d.jsonl:2: field prompt: expected a Prompt or Text, this is nothing (null)"
    );
    assert_eq!(error(r#"{"question": "a"}"#), "E0120 d.jsonl:2: a record has no field `answer`");
    assert_eq!(error("{"), "E0702 d.jsonl:2: this is not JSON");
    assert_eq!(build(&[]).unwrap_err(), "E0706 the data has no rows");
    let text = text.replace("d.jsonl", "e.jsonl");
    assert_eq!(built(&text, &world(&[good]), &[], |_| ()).unwrap_err(), "E0702 there is no file e.jsonl");
    let text = program(r#"jsonl("d.jsonl") as Demo { promt: .question }"#, SLOTS, "");
    assert_eq!(built(&text, &world(&[good]), &[], |_| ()).unwrap_err(), "E0110 Demo has no field `promt`");
}

#[test]
fn draws_belong_to_their_row() {
    let data = format!("{DEMOS} |> map(x => x with {{ noise: uniform() }})");
    let shown = "show demos |> map(x => { noise: x.noise })\nshow demos |> map(x => { noise: x.noise })";
    let tables = graph(&program(&data, SLOTS, shown), |graph| {
        let stages = graph.stages().filter_map(|(_, s)| match &s.kind {
            StageKind::Show(show) => Some(format!("{:?}", show.table.rows)),
            _ => None,
        });
        stages.collect::<Vec<_>>()
    });
    assert_eq!(tables.len(), 2);
    assert_eq!(tables[0], tables[1], "the same draw whenever the row is read");
    let mut cells: Vec<&str> = tables[0].split(')').collect();
    cells.sort();
    cells.dedup();
    assert!(cells.len() > 15, "rows differ: {}", tables[0]);
}

#[test]
fn plain_text_is_read_by_lines() {
    let world = Memory { files: vec![("d.txt", vec!["a b", "c"])], model: None };
    let data = r#"lines("d.txt") |> map(line => Demo { prompt: "", reply: line })"#;
    let text = program(data, SLOTS, "");
    let tokens = |text: &str| built(text, &world, &[], |graph| train(graph, "tuned").items.item(0).unwrap().tokens);
    // Begin, three letters, stop.
    assert_eq!(tokens(&text), Ok(5));
    assert_eq!(tokens(&text.replace(r#"prompt: """#, r#"prompt: ">""#)), Ok(5));
    let alone = r#"lines("d.txt") |> map(line => Doc { reply: line })"#;
    let alone = program(alone, SLOTS, "").replace("data demos", "record Doc { reply: Reply }\ndata demos");
    assert_eq!(tokens(&alone), Ok(5));
    let helped = |text: &str| {
        let (program, _) = load("main.align", text, &world);
        build(&program, &BuildOptions::default(), &world).map(|_| ()).unwrap_err().remove(0).help.unwrap_or_default()
    };
    assert!(helped(&alone.replace("reply: Reply", "reply: Text")).contains("give it the type Reply"));
    let bare = program(r#"lines("d.txt")"#, &SLOTS.replace("sft(.reply)", "sft()"), "");
    assert!(helped(&bare).contains("record Doc { reply: Reply }"), "{}", helped(&bare));
    let bare = program(r#"lines("d.txt")"#, &SLOTS.replace("sft(.reply)", "sft(x => x)"), "");
    assert!(helped(&bare).contains("a field of type Reply"), "{}", helped(&bare));
}

#[test]
fn rows_that_do_not_fit_need_a_word() {
    let long = r#"for i in 0..4 { Demo { prompt: """{if i == 2 then "a long question" else "q"}""", reply: "yes" } }"#;
    assert_eq!(error(&program(long, SLOTS, "")), "E0705 row 3: field reply has 19 tokens, the context is 12");
    let rows = |how: &str| {
        let slots = format!("{SLOTS}\ntruncate {how}");
        graph(&program(long, &slots, ""), |graph| {
            let items = &train(graph, "tuned").items;
            (0..items.len()).map(|row| items.item(row).unwrap().tokens).collect::<Vec<_>>()
        })
    };
    assert_eq!(rows("drop"), [5, 5, 5]);
    assert_eq!(rows("start"), [5, 5, 12, 5]);
    let cut = SLOTS.replace("on demos", "on demos, truncate: end");
    let all_long = long.replace("i == 2", "true").replace("a long question", "questions");
    assert!(error(&program(&all_long, &cut, "")).starts_with("E0703 no sampled row puts loss on the stop token"));
}

#[test]
fn chats_need_a_template() {
    let data = r#"[{ chat: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }] }] as Talk"#;
    let text = program(data, &SLOTS.replace(".reply", ".chat"), "");
    let text = text.replace("data demos", "record Talk { chat: Chat }\ndata demos");
    assert!(
        error(&text).starts_with("E0701 row 1: field chat: a Chat needs a model with a chat template"),
        "{}",
        error(&text)
    );
}

#[test]
fn chats_of_other_names_are_told_the_names() {
    let data = r#"[{ chat: [{ from: "human", value: "a" }, { from: "gpt", value: "b" }] }] as Talk"#;
    let text = program(data, &SLOTS.replace(".reply", ".chat"), "");
    let error = error(&text.replace("data demos", "record Talk { chat: Chat }\ndata demos"));
    assert!(error.ends_with("a message has `role` and `content`; map `from` and `value` to them"), "{error}");
}

#[test]
fn models_are_loaded_and_read_chats_by_their_template() {
    let data = r#"[{ chat: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }] }] as Talk"#;
    let text = program(data, &SLOTS.replace(".reply", ".chat"), "save tuned, to: \"out\"");
    let text = text.replace("data demos", "record Talk { chat: Chat }\ndata demos");
    let text = text.replace("gpt(layers: 1, width: 8, heads: 2, tokenizer: bytes, context: 12)", r#"load("m")"#);
    let text = text.replace("use std.nets { gpt }\n", "");
    let good = Llama { begins: 1, stops: true, lacks: "" };
    let load = |model| {
        built(&text, &Memory { files: vec![], model: Some(model) }, &[], |graph| {
            let node = train(graph, "tuned");
            let StageKind::Load(load) = &graph.get(graph.find("start").unwrap()).kind else { panic!("it is loaded") };
            assert_eq!((&load.path[..], load.policy.context, load.policy.weights.len()), ("m", Some(64), 11));
            assert!(load.policy.stored.iter().all(Option::is_some));
            node.items.item(0).unwrap()
        })
    };
    let item = load(good).unwrap_or_else(|e| panic!("{e}"));
    // "<s>user:a</s>assistant:b</s>", of which "b</s>" carries the loss.
    assert_eq!(item.tokens, 20);
    assert!(item.values.contains(&ItemValue::Ints(vec![98, 257])));
    assert_eq!(load(Llama { begins: 0, ..good }).unwrap().tokens, 20, "a sequence begins by itself");
    let error = |model| load(model).unwrap_err();
    assert!(error(Llama { begins: 2, ..good }).starts_with("E0704 row 1: the token that begins a sequence"));
    assert!(error(Llama { stops: false, ..good }).starts_with("E0703"));
    let lacks = Llama { lacks: "model.norm.weight", ..good };
    assert!(error(lacks).starts_with("E0709 the model has no tensor model.norm.weight"), "{}", error(lacks));
    let none = built(&text, &Memory::default(), &[], |_| ()).unwrap_err();
    assert_eq!(none, "E0708 there is no model m");
}

#[test]
fn rows_of_generators_are_made_when_they_are_read() {
    // A quarter of a million million rows, each of which takes its two numbers apart.
    let many = r#"for a in 0..1_000_000, b in 0..1_000_000 {
      let right = uniform() < 0.5
      Demo { prompt: """{a}+{b}""", reply: """{if right then a + b else 0}""" }
    }"#;
    let slots = SLOTS.replace("context: 12", "context: 64");
    let items = |data: &str| {
        let text = program(data, &slots, "").replace("context: 12", "context: 64");
        graph(&text, |graph| {
            let items = &train(graph, "tuned").items;
            let rows = (0..items.len().min(5)).map(|row| items.item(row).unwrap().values);
            (items.len(), rows.collect::<Vec<_>>(), items.identity())
        })
    };
    let (len, first, hash) = items(many);
    assert_eq!(len, 1_000_000_000_000);
    let (len, taken, other) = items(&format!("{many} |> take(5)"));
    assert_eq!((len, &taken), (5, &first));
    assert_ne!(hash, other);
    let (len, part, shuffled) = items(&format!("({many} |> shuffle(seed: 1) |> split(train: 0.9, test: 0.1)).test"));
    assert_eq!(len, 100_000_000_000);
    assert!(part != first && shuffled != hash);
    // The code that makes it is its identity.
    assert_eq!(items(many).2, hash);
    assert_ne!(items(&many.replace("else 0", "else 1")).2, hash);
    let by = |f: &str| {
        let data = format!("{many} |> map(x => changed(x))\nfn changed(x: Demo) -> Demo = {f}");
        items(&data).2
    };
    assert_eq!(by("x"), by("x"));
    assert_ne!(by("x"), by("Demo { prompt: x.prompt, reply: \"a\" }"), "what a function that it calls does");
}

#[test]
fn rounds_that_depend_on_others_are_rows_as_in_a_loop() {
    let rows = |data: &str| {
        let text = program(data, SLOTS, "show demos |> take(60) |> map(x => { p: x.prompt, r: x.reply })");
        graph(&text, |graph| {
            let found = graph.stages().find_map(|(_, s)| match &s.kind {
                StageKind::Show(show) => Some(format!("{:?}", show.table.rows)),
                _ => None,
            });
            (train(graph, "tuned").items.len(), found.unwrap())
        })
    };
    let body = r#"Demo { prompt: """{a}{b}{c}{int(uniform() * 9)}""", reply: """{uniform() < 0.5}""" }"#;
    for overs in [
        "a in 0..3, b in 0..2, c in [5, 7]",
        "a in 0..4, b in 0..a, c in a..3",
        "a in [3, 1, 2], b in 0..a, c in 0..2",
        "a in 0..2, b in range(2), c in [a, b, 9]",
        "(a, b) in [(1, 2), (3, 4)], c in 0..b",
        "a in 0..3, b in 0..int(uniform() * 4), c in 0..2",
    ] {
        let lazy = rows(&format!("for {overs} {{ {body} }}"));
        // A function without a type gives a List: it runs the loop.
        let whole = rows(&format!("listed() |> take(1000)\nfn listed() = for {overs} {{ {body} }}"));
        assert_eq!(lazy, whole, "{overs}");
        assert!(lazy.0 > 0, "{overs}");
    }
}

#[test]
fn endless_data_are_refused_at_once() {
    let far = "for a in 0..10_000_000_000, b in 0..10_000_000_000 { Demo { prompt: \"a\", reply: \"b\" } } |> take(2)";
    assert_eq!(error(&program(far, SLOTS, "")), "E0331 these are more rows than an Int can count");
    let far = "for a in 0..10_000_000_000 { Demo { prompt: \"a\", reply: \"b\" } } |> filter(x => true)";
    let expected = "E0331 `filter` reads every row, and these are 10000000000 rows; it may read 100000000";
    assert_eq!(error(&program(far, SLOTS, "")), expected);
}

/// Two functions of a row, and the loop that made it, draw apart.
#[test]
fn draws_of_functions_in_a_row_are_apart() {
    let data = r#"for a in 0..9 { { first: uniform() } }
  |> map(x => x with { second: uniform() })
  |> map(x => Demo { prompt: """{x.first == x.second}""", reply: """{uniform() == x.second}""" })"#;
    let same = r#"for a in 0..9 { Demo { prompt: """{false}""", reply: """{false}""" } }"#;
    let rows = |data: &str| {
        graph(&program(data, SLOTS, ""), |graph| {
            let items = &train(graph, "tuned").items;
            (0..9).map(|row| format!("{:?}", items.item(row).unwrap().values)).collect::<Vec<_>>()
        })
    };
    assert_eq!(rows(data), rows(same));
}
