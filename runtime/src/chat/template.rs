//! A chat template and how the ecosystem renders it.

use align_compiler::stage::text::Message;
use align_compiler::world::Tokenizer;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{Environment, ErrorKind, context};
use serde_json::Value as Json;

use super::marks::{GENERATED, GENERATED_END};
use crate::error::{Error, Result};

const NAME: &str = "chat";

/// A template with the special tokens of its tokenizer.
pub struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Template {
    pub fn new(text: &str, tokenizer: &dyn Tokenizer) -> Result<Template> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| wrong(&e))?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |text: String| -> std::result::Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
        });
        environment.add_filter("tojson", to_json);
        let source = with_generation_marks(text);
        environment.add_template_owned(NAME, source).map_err(|e| wrong(&e))?;
        let eos = tokenizer.token_text(tokenizer.stop()).unwrap_or_default();
        Ok(Template { environment, bos: tokenizer.bos_text().unwrap_or_default(), eos })
    }

    /// What the template writes, without marks. `prompt`: it ends in what begins the assistant's next turn.
    pub fn render(&self, messages: &[Message], tools: &Json, prompt: bool) -> Result<String> {
        let contents = messages.iter().map(|message| message.content.to_string()).collect();
        let text = self.render_with(messages, contents, tools, prompt)?;
        Ok(text.replace([GENERATED, GENERATED_END], ""))
    }

    /// What the template writes where the messages say `contents` instead.
    pub fn render_with(
        &self,
        messages: &[Message],
        contents: Vec<String>,
        tools: &Json,
        prompt: bool,
    ) -> Result<String> {
        let messages: Vec<_> = (messages.iter().zip(contents))
            .map(|(message, content)| {
                let mut fields = message.fields.clone();
                fields.insert("role".into(), (&*message.role).into());
                fields.insert("content".into(), content.into());
                Jinja::from(Serde(fields))
            })
            .collect();
        let template = self.environment.get_template(NAME).map_err(|e| wrong(&e))?;
        let values = context! {
            messages, tools => Jinja::from(Serde(tools)), add_generation_prompt => prompt, bos_token => self.bos.clone(), eos_token => self.eos.clone(),
        };
        template.render(values).map_err(|e| wrong(&e))
    }
}

fn wrong(error: &minijinja::Error) -> Error {
    let place = error.line().map_or("chat template".into(), |line| format!("chat template, line {line}"));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
    Error::new(place, format!("cannot render a conversation: {detail}"))
}

/// `{% generation %}` is a statement of its own in the ecosystem; here it writes a mark.
fn with_generation_marks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let inside = &tag[2..end];
        let word = inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let mark = match word {
            "generation" => Some(GENERATED),
            "endgeneration" => Some(GENERATED_END),
            _ => None,
        };
        match mark {
            // A statement around the mark: the white space around it is cut as around the tag.
            Some(mark) => {
                let (left, right) =
                    (if inside.starts_with('-') { "-" } else { "" }, if inside.ends_with('-') { "-" } else { "" });
                out.push_str(&format!("{{%{left} if true %}}{mark}{{% endif {right}%}}"));
            }
            None => out.push_str(&tag[..end + 2]),
        }
        rest = &tag[end + 2..];
    }
    out.push_str(rest);
    out
}

/// As Python's `json.dumps` writes it, which templates rely on: no escapes for HTML.
fn to_json(value: Jinja, options: Kwargs) -> std::result::Result<Jinja, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let fail = |e: serde_json::Error| minijinja::Error::new(ErrorKind::InvalidOperation, e.to_string());
    let json = serde_json::to_value(&value).map_err(fail)?;
    let text = match indent {
        Some(width) => {
            let spaces = " ".repeat(width);
            let mut bytes = vec![];
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            let mut writer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
            serde::Serialize::serialize(&json, &mut writer).map_err(fail)?;
            String::from_utf8(bytes).unwrap_or_default()
        }
        None => spaced(&json),
    };
    Ok(Jinja::from_safe_string(text))
}

/// One line, with a space after each comma and colon.
fn spaced(json: &Json) -> String {
    match json {
        Json::Array(list) => {
            format!("[{}]", list.iter().map(spaced).collect::<Vec<_>>().join(", "))
        }
        Json::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| format!("{}: {}", Json::String(key.clone()), spaced(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}
