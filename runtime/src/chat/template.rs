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
/// The name of the filter that bounds what a template keeps.
const BOUNDED: &str = "bounded_";
/// Instructions (and what its values weigh) of one rendering: those of a long conversation, not those of a loop without end.
const FUEL: u64 = 5_000_000;
/// The widest indent of JSON.
const WIDEST: usize = 64;
/// Macros and includes inside of each other.
const DEPTH: usize = 100;
/// Bytes of a text that a template makes.
const LONGEST: usize = 64 << 20;

/// A template with the special tokens of its tokenizer.
pub struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Template {
    pub fn new(text: &str, tokenizer: &dyn Tokenizer) -> Result<Template> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH);
        environment.add_filter(BOUNDED, bounded);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| wrong(&e))?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(|state, value, method, args| {
            if method == "format" {
                narrow(value.as_str().unwrap_or_default())?;
            }
            minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
        });
        environment.add_function("raise_exception", |text: String| -> std::result::Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
        });
        environment.add_filter("tojson", to_json);
        let source = with_bounds(&with_generation_marks(text));
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
        let mut out = Output(vec![]);
        template.render_captured_to(values, &mut out).map_err(|e| wrong(&e))?;
        String::from_utf8(out.0).map_err(|_| Error::new("chat template", "it writes what is not UTF-8"))
    }
}

/// Refuses formats that pad to widths beyond all use.
fn narrow(form: &str) -> std::result::Result<(), minijinja::Error> {
    let wide = form.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 4);
    match wide {
        true => Err(minijinja::Error::new(ErrorKind::InvalidOperation, "a format is too wide")),
        false => Ok(()),
    }
}

/// What the template writes, as far as it stays within bounds.
struct Output(Vec<u8>);

impl std::io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(std::io::Error::other(format!("it writes more than {LONGEST} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A value that a template keeps: no text or list grows without end, step by step.
fn bounded(value: Jinja) -> std::result::Result<Jinja, minijinja::Error> {
    let long = match value.as_str() {
        Some(text) => text.len() > LONGEST,
        None => value.len().is_some_and(|len| len > LONGEST / 64),
    };
    match long {
        true => Err(minijinja::Error::new(ErrorKind::InvalidOperation, "a value grows without end")),
        false => Ok(value),
    }
}

/// A template whose tags `{% .. %}` are others: `change` is given what stands inside of one, and leaves it with `None`.
fn with_tags(text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        match change(&tag[2..end]) {
            Some(other) => out.push_str(&other),
            None => out.push_str(&tag[..end + 2]),
        }
        rest = &tag[end + 2..];
    }
    out.push_str(rest);
    out
}

/// `{% set x = e %}` keeps `(e)|bounded`.
fn with_bounds(text: &str) -> String {
    with_tags(text, |inside| {
        let is_set = inside.trim_start_matches(['-', '+']).trim_start().starts_with("set ");
        let (target, value) = inside.split_once('=').filter(|_| is_set)?;
        let (value, close) = match value.strip_suffix(['-', '+']) {
            Some(cut) => (cut, &value[cut.len()..]),
            None => (value, ""),
        };
        Some(format!("{{%{target}= ({value})|{BOUNDED} {close}%}}"))
    })
}

fn wrong(error: &minijinja::Error) -> Error {
    let place = error.line().map_or("chat template".into(), |line| format!("chat template, line {line}"));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_string);
    Error::new(place, format!("cannot render a conversation: {detail}"))
}

/// `{% generation %}` is a statement of its own in the ecosystem; here it writes a mark.
fn with_generation_marks(text: &str) -> String {
    with_tags(text, |inside| {
        let mark = match inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim() {
            "generation" => GENERATED,
            "endgeneration" => GENERATED_END,
            _ => return None,
        };
        // A statement around the mark: the white space around it is cut as around the tag.
        let left = if inside.starts_with('-') { "-" } else { "" };
        let right = if inside.ends_with('-') { "-" } else { "" };
        Some(format!("{{%{left} if true %}}{mark}{{% endif {right}%}}"))
    })
}

/// As Python's `json.dumps` writes it, which templates rely on: no escapes for HTML.
fn to_json(value: Jinja, options: Kwargs) -> std::result::Result<Jinja, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let fail = |e: serde_json::Error| minijinja::Error::new(ErrorKind::InvalidOperation, e.to_string());
    let json = serde_json::to_value(&value).map_err(fail)?;
    if indent.is_some_and(|width| width > WIDEST) {
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("an indent is at most {WIDEST}")));
    }
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
