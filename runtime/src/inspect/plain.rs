//! Conversations without a model: each message after the name of who says it.

use std::rc::Rc;

use align_compiler::stage::text::Chat;
use align_compiler::world::{Model, Rendered, Tokenizer};
use serde_json::Value;

use crate::token::Bytes;

/// What stands for a model where data are looked at without one. It writes `user: ..`, a message a line, and the assistant's
/// messages carry loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Model for Plain {
    fn config(&self) -> Value {
        Value::Null
    }

    fn tokenizer(&self) -> Result<Rc<dyn Tokenizer>, String> {
        Ok(Rc::new(Bytes))
    }

    fn chat_template(&self) -> Option<String> {
        None
    }

    fn chat(&self, chat: &Chat) -> Result<Rendered, String> {
        let mut rendered = Rendered::default();
        for (at, message) in chat.messages.iter().enumerate() {
            rendered.text += &format!("{}: ", message.role);
            let start = rendered.text.len();
            rendered.text += &message.content;
            // What a message holds beside its text (calls of tools) is said too.
            if !message.fields.is_empty() {
                rendered.text += &Value::Object(message.fields.clone()).to_string();
            }
            let said = start..rendered.text.len();
            rendered.text.push('\n');
            if at >= chat.given && &*message.role == "assistant" {
                rendered.spoken.push(said.clone());
            }
            rendered.filled.push(said);
        }
        Ok(rendered)
    }

    fn shape(&self, _: &str) -> Option<Vec<usize>> {
        None
    }

    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), String> {
        Err(format!("no model is given, so there is no tensor {name}"))
    }

    fn tensors(&self) -> Vec<String> {
        vec![]
    }

    fn identity(&self) -> Result<String, String> {
        Ok("plain".into())
    }
}
