use align_compiler::stage::text::Message;
use serde_json::{Value, json};

use super::*;
use crate::token::{Bytes, Hf, Roles};

const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<s>system\nBe kind</s>\n' }}{% endif %}{{ '<s>' + message['role'] + '\n' + message['content'] + '</s>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}";

/// Bytes with `<s>` and `</s>` (the stop token).
fn tokenizer() -> Hf {
    let mut json: Value = serde_json::from_str(&Bytes.to_json()).unwrap();
    let added = |id, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json["added_tokens"] = json!([added(256, "<s>"), added(257, "</s>")]);
    let roles = Roles { stop: Some("</s>".into()), bos: Some("<s>".into()), add_bos: Some(false), ..Roles::default() };
    Hf::from_json("t.json", json.to_string().as_bytes(), &roles).unwrap()
}

fn conversation(turns: &[(&str, &str)]) -> Chat {
    let message = |(role, content): &(&str, &str)| Message {
        role: (*role).into(),
        content: (*content).into(),
        fields: Default::default(),
    };
    Chat { messages: turns.iter().map(message).collect(), ..Chat::default() }
}

/// What the assistant says.
fn spoken(template: &str, turns: &[(&str, &str)]) -> Vec<String> {
    let rendered = render(template, &tokenizer(), &conversation(turns)).unwrap();
    rendered.spoken.iter().map(|span| rendered.text[span.clone()].to_string()).collect()
}

const TALK: [(&str, &str); 4] = [("user", "2+2?"), ("assistant", "4"), ("user", "4"), ("assistant", "Yes, 4.")];

#[test]
fn the_assistant_and_its_stop_token() {
    assert_eq!(spoken(CHATML, &TALK), ["4</s>", "Yes, 4.</s>"]);
    let rendered = render(CHATML, &tokenizer(), &conversation(&TALK[..2])).unwrap();
    assert_eq!(rendered.text, "<s>system\nBe kind</s>\n<s>user\n2+2?</s>\n<s>assistant\n4</s>\n");
    assert_eq!(rendered.filled.iter().map(|f| &rendered.text[f.clone()]).collect::<Vec<_>>(), ["2+2?", "4"]);
}

/// What looks like a stop token in a message ends no turn.
#[test]
fn messages_cannot_end_turns() {
    let turns = [("user", "say </s>"), ("assistant", "ok </s><s>user\nno")];
    assert_eq!(spoken(CHATML, &turns), ["ok </s><s>user\nno</s>"]);
}

#[test]
fn templates_that_change_messages() {
    let trims = CHATML.replace("message['content']", "message['content'].strip()");
    assert_eq!(spoken(&trims, &[("user", " a "), ("assistant", " b\n")]), ["b</s>"]);
    // No mark survives this one; renderings of longer and longer conversations show the turns.
    let upper = CHATML.replace("message['content']", "(message['content'] | replace('a', 'A') | list | join)[:9]");
    assert_eq!(spoken(&upper, &[("user", "a"), ("assistant", "banana split and more")]), ["bAnAnA sp</s>"]);
    let last = CHATML.replace("message['content']", "(message['content'] if loop.last else message['content'][:1])");
    let error = render(&last, &tokenizer(), &conversation(&TALK)).unwrap_err().to_string();
    assert!(error.contains("{% generation %}"), "{error}");
}

/// What stands between the beginning of a turn and the message is said too.
#[test]
fn thoughts() {
    let template = "{% for m in messages %}<s>{{ m.role }}\n{% if m.role == 'assistant' and m.thought %}<think>{{ m.thought }}</think>{% endif %}{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}";
    let mut chat = conversation(&[("user", "?"), ("assistant", "4")]);
    chat.messages[1].fields.insert("thought".into(), json!("hm"));
    let rendered = render(template, &tokenizer(), &chat).unwrap();
    assert_eq!(&rendered.text[rendered.spoken[0].clone()], "<think>hm</think>4</s>");
}

/// What is given carries no loss; where all is, the template ends in what begins an answer.
#[test]
fn given_messages() {
    let blocks = "{%- for m in messages %}\n<s>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}{% else %}{{ m.content }}</s>{% endif %}\n{% endfor %}";
    for template in [CHATML, blocks] {
        let chat = Chat { given: 3, ..conversation(&TALK) };
        let rendered = render(template, &tokenizer(), &chat).unwrap();
        let spoken: Vec<_> = rendered.spoken.iter().map(|span| &rendered.text[span.clone()]).collect();
        assert_eq!(spoken, ["Yes, 4.</s>"]);
    }
    let prompt = render(CHATML, &tokenizer(), &Chat { given: 3, ..conversation(&TALK[..3]) }).unwrap();
    assert!(prompt.text.ends_with("4</s>\n<s>assistant\n") && prompt.spoken.is_empty(), "{prompt:?}");
}

#[test]
fn generation_blocks() {
    let template = "{%- for m in messages %}\n<s>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}{% else %}{{ m.content }}</s>{% endif %}\n{% endfor %}";
    assert_eq!(spoken(template, &TALK), ["4</s>", "Yes, 4.</s>"]);
}

#[test]
fn mistakes() {
    let fails = |template: &str, parts: &[&str]| {
        let error = render(template, &tokenizer(), &conversation(&TALK)).unwrap_err().to_string();
        parts.iter().for_each(|part| assert!(error.contains(part), "{part}: {error}"));
    };
    fails(&CHATML.replace("'</s>'", "'.'"), &["no stop token", "`</s>` after `4`"]);
    fails("{{ raise_exception('roles must alternate') }}", &["roles must alternate"]);
    fails("{% for m in messages %}\n{{ m.content | nonsense }}{% endfor %}", &["line 2", "nonsense"]);
    fails("{% for m in messages %}", &["chat template"]);
}

/// As Python writes JSON.
#[test]
fn json_in_templates() {
    let template = "{{ tools | tojson }}{{ tools | tojson(indent=2) }}";
    let chat = Chat { messages: vec![], tools: json!({"a": 1, "b": "<é>"}), given: 0 };
    let text = render(template, &tokenizer(), &chat).unwrap().text;
    assert_eq!(text, "{\"a\": 1, \"b\": \"<é>\"}{\n  \"a\": 1,\n  \"b\": \"<é>\"\n}");
}
