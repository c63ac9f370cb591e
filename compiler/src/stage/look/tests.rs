use super::*;
use crate::program::load;
use crate::stage::build::build;
use crate::stage::testing::{Bytes, Memory};

const PROGRAM: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft, dpo }
use std.optimizers { adamw }
use std.metrics { perplexity }
use std.data { Pair }
record Demo { id: Int, prompt: Prompt, reply: Reply[prompt], source: Text }
data demos = for i in 0..20 { Demo { id: i, prompt: """q{i}:""", reply: """{i * i * i * i * i}""", source: "s" } }
  |> split(train: 0.5, test: 0.5)
data pairs = for i in 0..4 { Pair { prompt: """p{i}""", chosen: """yes""", rejected: """no""" } }
data unread = for i in 0..2 { Demo { id: i, prompt: """a""", reply: """b""", source: "s" } }
policy start = gpt(layers: 1, width: 8, heads: 2, tokenizer: bytes, context: 8)
pipeline {
  let taught = train start {
    on demos.train, truncate: start
    loss sft(.reply)
    optimizer adamw(lr: 1e-3)
    batch 4 examples
    epochs 1
    eval perplexity(demos.test, .reply), every: 2
  }
  for beta in [0.1, 0.2] {
    let liked = train taught { on pairs; loss dpo(reference: taught, beta: beta); optimizer adamw(lr: 1e-3); batch 2 examples; epochs 1 }
    show perplexity(liked, demos.test, .reply)
  }
}
"#;

fn reading() -> Reading {
    Reading { tokenizer: Rc::new(Bytes { bos: false }), model: None, context: None, truncate: None }
}

#[test]
fn what_stages_read() {
    let world = Memory::default();
    let (program, diagnostics) = load("main.align", PROGRAM, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let options = BuildOptions { uncut: true, ..BuildOptions::default() };
    let graph = build(&program, &options, &world).unwrap_or_else(|errors| panic!("{errors:?}"));
    let uses = uses(&graph);
    let names: Vec<&str> = uses.iter().map(|one| one.looked.name()).collect();
    assert_eq!(names, ["demos.train", "demos.test", "pairs"]);
    // A loop's stages read one data; the loss is a program's words.
    assert_eq!(uses[0].readers, ["taught: sft(.reply)"]);
    assert_eq!(uses[1].readers.len(), 2, "{:?}", uses[1].readers);
    assert_eq!(uses[2].readers.len(), 2, "{:?}", uses[2].readers);
    // Row 9 is longer than the context, and is not cut.
    let look = uses[0].looked.look(9).expect("a row");
    let [text] = &look.texts[..] else { panic!("{look:?}") };
    assert_eq!((text.field.as_str(), text.prompt.as_deref(), text.part), ("reply", Some("prompt"), None));
    assert_eq!(text.encoded.stream.len(), "q9:59049".len() + 1);
    assert_eq!(text.loss(), [false, false, false, true, true, true, true, true, true]);
    assert!(look.numbers.is_empty(), "the loss reads no number");
    let fields: Vec<&str> = look.fields.iter().map(|name| &**name).collect();
    assert_eq!(fields, ["id", "prompt", "reply", "source"]);
    let how = uses[0].looked.reading().expect("text is read");
    assert_eq!((how.context, how.truncate), (Some(8), Some(crate::stage::encode::Truncate::Start)));
    let pair = uses[2].looked.look(0).expect("a row");
    assert_eq!(pair.texts.iter().map(|text| text.field.as_str()).collect::<Vec<_>>(), ["chosen", "rejected"]);
}

#[test]
fn data_by_their_name() {
    let world = Memory::default();
    let (program, _) = load("main.align", PROGRAM, &world);
    assert_eq!(names(&program).collect::<Vec<_>>(), ["demos", "pairs", "unread"]);
    let options = BuildOptions::default();
    let (rows, notes) = named(&program, &["unread"], &reading(), &options, &world).expect("data");
    assert_eq!((rows.len(), rows.name(), notes.len()), (2, "unread", 0));
    let look = rows.look(1).expect("a row");
    // What a loss would read: replies with their prompts, numbers. Texts are read by nothing.
    assert_eq!(look.texts.len(), 1);
    assert_eq!(look.numbers, [("id".to_string(), ItemValue::Ints(vec![1]))]);
    let (rows, _) = named(&program, &["demos.test"], &reading(), &options, &world).expect("data");
    assert_eq!(rows.look(0).expect("a row").numbers[0].1, ItemValue::Ints(vec![10]));
    let error = |name| {
        let errors = named(&program, &[name], &reading(), &options, &world).err().expect("an error");
        errors.into_iter().map(|e| e.message).collect::<Vec<_>>().join("; ")
    };
    assert!(error("demos").contains("`demos.train`, `demos.test`"), "{}", error("demos"));
    assert!(error("demos.tset").contains("no part `tset`"));
    assert!(error("pairs.train").contains("no part"));
}

#[test]
fn rows_that_do_not_fit_are_told_when_they_are_read() {
    let lines =
        vec![r#"{"prompt": "a", "completion": "b"}"#, r#"{"prompt": "a"}"#, r#"{"prompt": "c", "completion": 1}"#];
    let world = Memory { files: vec![("d.jsonl", lines)], model: None };
    let text = "use std.data { Pair, Demo }\ndata rows = jsonl(\"d.jsonl\")\n\
                data pairs = rows as Pair\ndata demos = rows as Demo\n";
    let (program, _) = load("main.align", text, &world);
    let options = BuildOptions::default();
    let (rows, notes) = named(&program, &["pairs", "demos"], &reading(), &options, &world).expect("demos");
    assert_eq!(rows.name(), "demos");
    assert!(notes[0].contains("`Demo { prompt: .prompt, reply: .completion }`"), "{notes:?}");
    assert!(rows.look(0).is_ok());
    let wrong = |row| rows.look(row).expect_err("a row that does not fit").message;
    assert!(wrong(1).contains("d.jsonl:2") && wrong(1).contains("completion"), "{}", wrong(1));
    assert!(wrong(2).contains("d.jsonl:3") && wrong(2).contains("reply"), "{}", wrong(2));
    let errors = named(&program, &["pairs"], &reading(), &options, &world).err().expect("an error");
    assert!(errors.len() == 1 && errors[0].code == "E0701", "{errors:?}");
    let known = known_columns(&program, "Demo", &world);
    assert_eq!(
        known[..3],
        [vec!["prompt", "reply"], vec!["prompt", "completion"], vec!["instruction", "input", "output"]]
    );
}
