//! What stands inside of a net, and what a reward model says.

use serde_json::Value;

use crate::tiny::{answers, folder, sequences, step};

/// A program that shows what `fields` say of each row, and trains the score towards 0.
fn program(model: &str, fields: &str, train: bool) -> String {
    let train = if train {
        "let moved = train base { on rows; loss small(); optimizer adamw(lr: 1e-3); batch 2 examples; steps 1; clip none }\n show mean(rows |> map(x => score(moved, x.reply)))"
    } else {
        ""
    };
    format!(
        "edition 2026\n\
         use std.optimizers {{ adamw }}\n\
         record Row {{ prompt: Prompt, reply: Reply[prompt] }}\n\
         loss small(scorer: Scorer, x: Row) per example = score(scorer, x.reply)^2\n\
         policy base = load(\"{model}\")\n\
         data rows = for i in 0..1 {{ Row {{ prompt: \"\"\"a\"\"\", reply: \"\"\"b\"\"\" }} }}\n\
         pipeline {{\n show rows |> map(x => {{ {fields} }})\n {train}\n }}\n"
    )
}

fn rows(stored: &Value) -> Vec<(Vec<u32>, Vec<u32>)> {
    sequences(stored).into_iter().map(|ids| (ids[..1].to_vec(), ids[1..].to_vec())).collect()
}

/// A layer's output at each token and before it, and what the last norm gives.
#[test]
fn hidden_states() {
    const WIDTH: usize = 32;
    for name in ["llama", "gpt2"] {
        let folder = folder(name);
        let stored = crate::json(&format!("tiny/{name}/hidden.json"));
        let fields: Vec<String> = (0..WIDTH)
            .map(|i| {
                format!(
                    "a{i}: hidden(base, x.reply, layer: 0)[dim: {i}], \
                     b{i}: read(base, x.reply, .blocks, at: before)[layer: 0, dim: {i}], \
                     c{i}: hidden(base, x.reply)[dim: {i}]"
                )
            })
            .collect();
        let text = program(folder.path().to_str().unwrap(), &fields.join(", "), false);
        let found = crate::ids::of(&text, |graph| answers(graph, rows(&stored)));
        let mut compared = 0;
        for (row, sequence) in stored["sequences"].as_array().unwrap().iter().enumerate() {
            let states = sequence["hidden_states"].as_array().unwrap();
            for i in 0..WIDTH {
                for (field, (state, from)) in [(1, 1), (1, 0), (2, 1)].into_iter().enumerate() {
                    let values = &found[3 * i + field][row];
                    assert_eq!(values.len() + 1, states[state].as_array().unwrap().len());
                    for (place, value) in values.iter().enumerate() {
                        let want = states[state][place + from][i].as_f64().unwrap();
                        assert!(
                            (value - want).abs() <= 1e-4,
                            "{name}: state {state} at {place}, {i}: {value}, not {want}"
                        );
                        compared += 1;
                    }
                }
            }
        }
        assert_eq!(compared, 3 * WIDTH * 21);
    }
}

/// How much each place attends to each before it and to itself, in every layer and head.
#[test]
fn attention_maps() {
    let stored = crate::json("tiny/attentions.json");
    // Query heads in order, by the axes that the nets have for them.
    let heads: [(&str, [&str; 4]); 2] = [
        ("llama", ["kv: 0, rep: 0", "kv: 0, rep: 1", "kv: 1, rep: 0", "kv: 1, rep: 1"]),
        ("gpt2", ["head: 0", "head: 1", "head: 2", "head: 3"]),
    ];
    for (name, heads) in heads {
        let folder = folder(name);
        let (ids, want) = (crate::ids(&stored[name]["ids"]), stored[name]["attentions"].as_array().unwrap());
        let mut fields = vec![];
        for (layer, head) in (0..want.len()).flat_map(|layer| (0..heads.len()).map(move |head| (layer, head))) {
            for past in 0..ids.len() {
                let at = format!("{}, past: {past}", heads[head]);
                fields.push(format!("f{layer}_{head}_{past}: read(base, x.reply, .blocks[{layer}].attend.seen)[{at}]"));
            }
        }
        let text = program(folder.path().to_str().unwrap(), &fields.join(", "), false);
        let rows = vec![(ids[..1].to_vec(), ids[1..].to_vec())];
        let found = crate::ids::of(&text, |graph| answers(graph, rows));
        let mut compared = 0;
        for (layer, maps) in want.iter().enumerate() {
            for (head, map) in maps.as_array().unwrap().iter().enumerate() {
                for past in 0..ids.len() {
                    let values = &found[(layer * heads.len() + head) * ids.len() + past][0];
                    assert_eq!(values.len(), ids.len() - 1);
                    for (place, value) in values.iter().enumerate() {
                        // The first of these stands at the second token; none looks ahead.
                        let want = map[place + 1][past].as_f64().unwrap_or(0.0);
                        assert!((value - want).abs() <= 1e-4, "{name} {layer} {head}: {value}, not {want}");
                        compared += 1;
                    }
                }
            }
        }
        assert_eq!(compared, 2 * 4 * 9 * 8);
    }
}

/// Folders of transformers' `LlamaForSequenceClassification` with one label, one of which says that it has no tied head for
/// words: scores and gradients of them.
#[test]
fn scores_of_reward_models() {
    for name in ["llama_score", "llama_score_untied"] {
        let folder = folder(name);
        let stored = crate::json(&format!("tiny/{name}/scores.json"));
        let fields = "score: score(base, x.reply), last: value(base, x.reply)";
        let text = program(folder.path().to_str().unwrap(), fields, true);
        crate::ids::of(&text, |graph| {
            let found = answers(graph, rows(&stored));
            for (row, sequence) in stored["sequences"].as_array().unwrap().iter().enumerate() {
                let (score, want) = (found[0][row][0], sequence["score"].as_f64().unwrap());
                assert!((score - want).abs() <= 1e-4, "{name}: {score}, not {want}");
                assert_eq!(found[1][row].len(), sequence["ids"].as_array().unwrap().len() - 1);
            }
            let (loss, count) = step(graph, rows(&stored), 0.5, &stored["grad_norms"], name);
            let want = stored["loss"].as_f64().unwrap();
            assert!(
                count == 2.0 && (loss / 2.0 - want).abs() <= 1e-4 * want,
                "{name}: loss {}, not {want}",
                loss / 2.0
            );
        });
    }
}
