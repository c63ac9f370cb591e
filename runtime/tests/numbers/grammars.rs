//! Replies that keep to a grammar: a JSON schema or a regular expression, in tokens of bytes and of a vocabulary.

use std::sync::atomic::AtomicBool;

use align_compiler::stage::generate::Drawing;
use align_compiler::world::Grammar;
use align_runtime::engine::Cpu;
use align_runtime::generate::model::Writer;
use align_runtime::generate::{Drawn, Request};
use align_runtime::world::Files;
use serde_json::Value;

use crate::tiny;

fn of_program(text: &str, policy: &str, incremental: bool, sampler: &str) -> Result<Writer, String> {
    let drawing = Drawing { incremental, ..Drawing::default() };
    Writer::of_program(&Files::new("."), text, policy, &drawing, Some(sampler)).map_err(|error| error.to_string())
}

fn write(writer: &Writer, requests: &[Request]) -> Vec<Vec<Drawn>> {
    let engine = Cpu::new(2);
    let (mut generator, placed) = (writer.generator(&engine).unwrap(), writer.placed(&engine));
    let weight = |path: &str| placed.get(path).map(|values| values.slot());
    let found = generator.run(&weight, requests, 5, 4 << 30, &AtomicBool::new(false), &mut |_, _, _| {});
    found.unwrap_or_else(|error| panic!("{error}")).expect("nothing stops it")
}

fn text(writer: &Writer, drawn: &Drawn) -> String {
    let stop = writer.tokenizer().stop();
    let tokens: Vec<u32> = drawn.tokens.iter().copied().filter(|token| *token != stop).collect();
    writer.tokenizer().decode(&tokens)
}

/// Random nets of bytes that write what they please.
const RANDOM: &str = r#"
edition 2026
use std.nets { gpt }
use std.samplers { constrained, kept_to, only_best }
policy own = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes)
let dates = constrained(grammar: matching(r"[12][0-9]{3}-(0[1-9]|1[0-2])(-[0-9]{2})?"))
let animal = json_schema({
  type: "object", additionalProperties: false, required: ["kind", "legs"]
  properties: {
    kind: { enum: ["bee", "ant", "üble Wespe"] }, legs: { type: "integer", minimum: 0, maximum: 99 }
    tags: { type: "array", items: { type: "boolean" }, maxItems: 3 }
  }
})
let animals = constrained(grammar: animal)
sampler few(policy: Policy, grammar: Grammar, k: Int) (context) -> Tensor[vocab] = only_best(kept_to(grammar, context, next(policy, context)), k)
let few_dates = few(grammar: matching(r"[12][0-9]{3}-(0[1-9]|1[0-2])(-[0-9]{2})?"), k: 3)
let odd = constrained(grammar: matching(r"(ab|cd)*x?"))
"#;

fn is_date(text: &str) -> bool {
    let b = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| b[range].iter().all(u8::is_ascii_digit);
    let month = |text: &str| text.parse::<u32>().is_ok_and(|month| (1..=12).contains(&month));
    let begins = text.len() >= 7 && matches!(b[0], b'1' | b'2') && digits(0..4) && b[4] == b'-' && month(&text[5..7]);
    begins && (text.len() == 7 || (text.len() == 10 && b[7] == b'-' && digits(8..10)))
}

fn is_animal(text: &str) -> bool {
    let Ok(Value::Object(all)) = serde_json::from_str(text) else { return false };
    let tags = all
        .get("tags")
        .is_none_or(|tags| tags.as_array().is_some_and(|tags| tags.len() <= 3 && tags.iter().all(Value::is_boolean)));
    let kind = all.get("kind").and_then(Value::as_str).is_some_and(|kind| ["bee", "ant", "üble Wespe"].contains(&kind));
    let legs = all.get("legs").and_then(Value::as_i64).is_some_and(|legs| (0..=99).contains(&legs));
    tags && kind && legs && all.keys().all(|key| ["kind", "legs", "tags"].contains(&&**key))
}

fn is_odd(text: &str) -> bool {
    let pairs = text.strip_suffix('x').unwrap_or(text);
    pairs.as_bytes().chunks(2).all(|pair| pair == b"ab" || pair == b"cd")
}

#[test]
fn every_reply_keeps_to_its_grammar() {
    let cases: [(&str, fn(&str) -> bool); 4] =
        [("dates", is_date), ("animals", is_animal), ("few_dates", is_date), ("odd", is_odd)];
    for (sampler, holds) in cases {
        let [cached, whole] = [true, false].map(|incremental| of_program(RANDOM, "own", incremental, sampler).unwrap());
        let request = Request { prompt: vec![65, 66], n: 40, max_tokens: 120, row: 3, ..Request::default() };
        let found = write(&cached, std::slice::from_ref(&request));
        let finished = found[0].iter().filter(|drawn| drawn.finished).count();
        // White space between the parts of JSON may go on.
        assert!(finished >= 30, "{sampler}: {finished}");
        for drawn in found[0].iter().filter(|drawn| drawn.finished) {
            let text = text(&cached, drawn);
            assert!(holds(&text), "{sampler}: {text:?}");
            // The one end that is left is certain.
            assert!(drawn.drawn_logps.iter().all(|logp| logp.is_finite() && *logp <= 1e-6), "{sampler}: {drawn:?}");
        }
        let other = write(&whole, &[Request { n: 4, ..request.clone() }]);
        let tokens = |all: &[Drawn]| all.iter().take(4).map(|drawn| drawn.tokens.clone()).collect::<Vec<_>>();
        assert_eq!(tokens(&other[0]), tokens(&found[0]), "{sampler}: whole contexts give the same");
        // What is given first goes through the grammar too.
        let begin = found[0][0].tokens[..3].to_vec();
        let rest = write(&cached, &[Request { begin, n: 1, ..request }]);
        assert_eq!(rest[0][0].tokens, found[0][0].tokens, "{sampler}");
    }
}

/// Tokens that are allowed come as often as their chances among those that are: Pearson's statistic lies below four of its standard
/// deviations.
#[test]
fn odds_are_those_of_the_policy() {
    let folder = tiny::folder("llama");
    let stored = crate::json("tiny/llama/logits.json");
    let sequence = &stored["sequences"][0];
    let context = crate::ids(&sequence["ids"])[..5].to_vec();
    let z: Vec<f64> = sequence["logits"][4].as_array().unwrap().iter().map(|z| z.as_f64().unwrap()).collect();
    let text = format!(
        "edition 2026\nuse std.samplers {{ constrained }}\npolicy own = load(\"{}\")\n\
         let letters = constrained(grammar: matching(\"([a-m]| the)[xy]?\"))\n",
        folder.path().display()
    );
    let writer = of_program(&text, "own", true, "letters").unwrap();
    let request = Request { prompt: context, n: 4000, max_tokens: 1, row: 1, ..Request::default() };
    let found = write(&writer, &[request]);
    // Of the text " the" all that it may begin with: " ", " t" and " the" are tokens.
    let starts = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", " ", " t", " the"];
    let may = |token: u32| starts.contains(&writer.tokenizer().decode(&[token]).as_str()) && token != 0;
    let weights: Vec<f64> = (0..z.len()).map(|i| if may(i as u32) { z[i].exp() } else { 0.0 }).collect();
    let total: f64 = weights.iter().sum();
    let wanted: Vec<f64> = weights.iter().map(|x| x / total).collect();
    let mut counts = vec![0; z.len()];
    for drawn in &found[0] {
        let token = drawn.tokens[0] as usize;
        counts[token] += 1;
        assert!((f64::from(drawn.drawn_logps[0]) - wanted[token].ln()).abs() < 1e-4, "{token}");
    }
    let surprise = crate::generate::surprise(&counts, &wanted);
    println!("{surprise:.2} deviations");
    assert!(surprise < 4.0, "{surprise}");
}

#[test]
fn what_no_reply_can_keep_to_is_said() {
    let folder = tiny::folder("llama");
    let of = |grammar: &str| {
        let text = format!(
            "edition 2026\nuse std.samplers {{ constrained }}\npolicy own = load(\"{}\")\nlet s = constrained(grammar: {grammar})\n",
            folder.path().display()
        );
        of_program(&text, "own", true, "s").err().unwrap_or_default()
    };
    let error = of("matching(\"ü+\")");
    assert!(error.contains("E0724") && error.contains("no token of this policy may begin a reply"), "{error}");
    for (grammar, said) in [
        ("matching(\"a(\")", "as a pattern"),
        ("json_schema(\"{\")", "it is not JSON"),
        ("json_schema({ type: \"nothing\" })", "as a JSON schema"),
        ("json_schema(3)", "takes the Text of a JSON schema, this is"),
        ("3", "takes a grammar"),
    ] {
        let error = of(grammar);
        assert!(error.contains(said), "{grammar}: {error}");
    }
    assert_eq!(of("matching(\"a|b\")"), "");
}

/// A model of a vocabulary writes JSON that fits, and text that matches, by any spelling of it.
#[test]
fn a_real_model_keeps_to_grammars() {
    let Some(model) = crate::smollm() else { return };
    let schema = r#"{"type": "object", "additionalProperties": false, "required": ["name", "age"],
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 1, "maximum": 120}}}"#;
    let write = |grammar: Grammar, top_p: Option<f64>, prompt: &str, n: usize| -> Vec<(String, bool)> {
        let writer = Writer::open(&Files::new("."), &model, &Drawing::default(), top_p, Some(&grammar));
        let writer = writer.unwrap_or_else(|error| panic!("{error}"));
        let prompt = writer.tokenizer().encode(prompt, true);
        let request = Request { prompt, n, max_tokens: 40, ..Request::default() };
        let found = self::write(&writer, &[request]);
        found[0].iter().map(|drawn| (text(&writer, drawn), drawn.finished)).collect()
    };
    let prompt = "A person as JSON:\n";
    for top_p in [None, Some(0.9)] {
        let found = write(Grammar::Schema(schema.into()), top_p, prompt, 6);
        println!("{found:?}");
        let finished: Vec<&String> = found.iter().filter(|(_, finished)| *finished).map(|(text, _)| text).collect();
        assert!(finished.len() >= 4, "{found:?}");
        for text in finished {
            let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let age = value["age"].as_i64().is_some_and(|age| (1..=120).contains(&age));
            let name = value["name"].as_str().is_some_and(|name| name.chars().count() <= 12);
            assert!(age && name && value.as_object().unwrap().len() == 2, "{text}");
        }
    }
    let found = write(Grammar::Pattern(r"(yes|no), [a-z ]{3,30}\.".into()), None, "Is water wet? ", 8);
    for (text, finished) in &found {
        let rest = text.strip_prefix("yes, ").or(text.strip_prefix("no, "));
        let fits = rest.and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| {
            (3..=30).contains(&rest.len()) && rest.bytes().all(|c| c == b' ' || c.is_ascii_lowercase())
        });
        assert!(fits || !finished, "{text:?}");
    }
    assert!(found.iter().filter(|(_, finished)| *finished).count() >= 4, "{found:?}");
}
