//! Chat templates.

use align_compiler::stage::text::{Chat, Message};
use align_runtime::chat::render;
use align_runtime::token::{Bytes, Hf, Roles, Tokenizer};
use serde_json::{Value, json};

use crate::Draw;
use crate::guard::{case, wrong};

const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ 'be kind\n' }}{% endif %}{{ message['role'] + '\n' + message['content'] + '</s>' + '\n' }}{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}";

fn written(template: &str, content: &str) -> Result<(), String> {
    let mut json: Value = serde_json::from_str(&Bytes.to_json()).unwrap();
    json["added_tokens"] = json!([{"id": 256, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
                                   "normalized": false, "special": true}]);
    let roles = Roles { stop: Some("</s>".into()), ..Roles::default() };
    let tokenizer = Hf::from_json("t.json", json.to_string().as_bytes(), &roles).map_err(|e| e.to_string())?;
    let message =
        |role: &str, content: &str| Message { role: role.into(), content: content.into(), fields: Default::default() };
    let messages = vec![message("user", content), message("assistant", content)];
    render(template, &tokenizer, &Chat { messages, ..Chat::default() }).map(drop).map_err(|e| e.to_string())
}

#[test]
fn templates_without_end() {
    let nested = format!("{}{}", "{% if true %}".repeat(5_000), "{% endif %}".repeat(5_000));
    let brackets = format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000));
    let cases = [
        ("a long loop", "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}"),
        (
            "a loop without text",
            "{% for i in range(100000) %}{% for j in range(100000) %}{% for k in range(100000) %}{% endfor %}{% endfor %}{% endfor %}",
        ),
        ("itself", "{% include 'chat' %}"),
        ("its own base", "{% extends 'chat' %}"),
        ("a macro that calls itself", "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}"),
        (
            "doubling",
            "{% set ns = namespace(x='xxxxxxxxxxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        ),
        ("a product of texts", "{{ 'x' * 100000000000 }}"),
        ("a product of products", "{{ ('x' * 100000) * 100000 }}"),
        ("a range without end", "{{ range(100000000000) | list }}"),
        ("a wide field", "{{ '%1000000000s' | format('x') }}"),
        ("an indent", "{{ messages | tojson(indent=100000000000) }}"),
        (
            "replaced again and again",
            "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(40) %}{% set ns.x = ns.x.replace('x', 'xxxxxxxx') %}{% endfor %}{{ ns.x }}",
        ),
        (
            "joined again and again",
            "{% set ns = namespace(x=['xxxxxxxx']) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x | join }}",
        ),
        ("deep blocks", &nested),
        ("deep brackets", &brackets),
    ];
    for (name, template) in cases {
        wrong(name, &["chat template"], || written(template, "a"));
    }
    let long = "word ".repeat(200_000);
    assert_eq!(case("a good conversation of 2 MB", || written(CHATML, &long)), None);
}

#[test]
fn damaged_templates() {
    let mut found = 0;
    for seed in 0..160u64 {
        let mut draw = Draw::new(4000 + seed);
        let bytes = draw.damaged(CHATML.as_bytes(), usize::MAX);
        let template = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(said) = case(&format!("template {seed}: {template}"), || written(&template, "a </s> b")) {
            assert!(said.contains("chat template"), "{seed}: {said}");
            found += 1;
        }
    }
    assert!(found > 60, "{found} of 160 are errors");
}
