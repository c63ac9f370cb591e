//! Conversations by a model's chat template (Jinja), and what of the text the assistant says.
//!
//! What a message says is found in what the template writes by marks around it, so no second rendering has to agree
//! with the first. Templates that change a message's text fall back to renderings of ever longer conversations.

use std::ops::Range;

use align_compiler::stage::text::Chat;
use align_compiler::world::{Rendered, Tokenizer};

mod marks;
mod template;

use crate::error::{Error, Result, quoted};
use marks::Marked;
use template::Template;

const ASSISTANT: &str = "assistant";

/// A conversation as the template writes it. Errors: the template does not render, ends no turn of the assistant with the
/// tokenizer's stop token, or does not show which text is the assistant's.
pub fn render(template: &str, tokenizer: &dyn Tokenizer, chat: &Chat) -> Result<Rendered> {
    let template = Template::new(template, tokenizer)?;
    let marked = Marked::render(&template, chat)?;
    let spoken = match marked.generated.is_empty() {
        true => turns(&template, tokenizer, chat, &marked)?,
        // The template itself says what the assistant generates.
        false => generated(&template, chat, &marked)?,
    };
    let filled = marked.contents.into_iter().flatten().flatten().collect();
    Ok(Rendered { text: marked.text, spoken, filled })
}

/// What the template marks as generated, after the messages that are given.
fn generated(template: &Template, chat: &Chat, marked: &Marked) -> Result<Vec<Range<usize>>> {
    let all = marked.generated.iter().cloned();
    if chat.given == 0 {
        return Ok(all.collect());
    }
    let ends = marked.contents.iter().flat_map(|contents| contents[..chat.given].iter().flatten().map(|span| span.end));
    let end = match ends.max() {
        Some(end) => end,
        None => {
            let head = template.render(&chat.messages[..chat.given], &chat.tools, true)?;
            if !marked.text.starts_with(&head) {
                return Err(unclear(chat.given));
            }
            head.len()
        }
    };
    Ok(all.filter(|span| span.start >= end).collect())
}

/// The template changes what stands before message `i` (from 1), depending on what follows.
fn unclear(i: usize) -> Error {
    Error::new("chat template", "it does not show which text is the assistant's")
        .found(format!("a template that changes message {i} of the conversation later on"))
        .fix("Mark the assistant's part with `{% generation %}` and `{% endgeneration %}` in the template")
}

/// What the assistant says, as bytes of the text: from the end of what begins its turn to its stop token.
fn turns(template: &Template, tokenizer: &dyn Tokenizer, chat: &Chat, marked: &Marked) -> Result<Vec<Range<usize>>> {
    let stop = tokenizer.token_text(tokenizer.stop()).unwrap_or_default();
    let text = &marked.text;
    let mut turns = vec![];
    let said = chat.messages.iter().enumerate().skip(chat.given);
    for (i, message) in said.filter(|(_, message)| &*message.role == ASSISTANT) {
        let (content, end) = match &marked.contents {
            Some(contents) => {
                // A message may be left out, or say nothing.
                let Some(content) = contents[i].clone() else { continue };
                let next = contents[i + 1..].iter().flatten().map(|span| span.start).next().unwrap_or(text.len());
                let stop_at = text[content.end..next].find(&stop).map(|at| content.end + at + stop.len());
                (content, stop_at)
            }
            None => {
                let turn = by_prefix(template, chat, i, text)?;
                let stop_at = text[turn.clone()].rfind(&stop).map(|at| turn.start + at + stop.len());
                (turn, stop_at)
            }
        };
        let Some(end) = end.filter(|_| !stop.is_empty()) else {
            let after = text[content.end..].chars().take(20).collect::<String>();
            return Err(Error::new("chat template", "no stop token ends what the assistant says")
                .expected(format!("{} after {}", quoted(&stop), quoted(&message.content)))
                .found(quoted(&after))
                .fix("Write the tokenizer's stop token at the end of each turn, or say which token it is"));
        };
        // What a template writes between the usual beginning of a turn and the message is the assistant's too.
        let head = template.render(&chat.messages[..i], &chat.tools, true).ok();
        let head = head.filter(|head| head.len() <= content.start && text.starts_with(head.as_str()));
        turns.push(head.map_or(content.start, |head| head.len())..end);
    }
    Ok(turns)
}

/// Where the turn of message `i` lies, when its text itself is not found: between two renderings that begin alike.
fn by_prefix(template: &Template, chat: &Chat, i: usize, text: &str) -> Result<Range<usize>> {
    let before = template.render(&chat.messages[..i], &chat.tools, true)?;
    let after = template.render(&chat.messages[..=i], &chat.tools, false)?;
    match after.starts_with(&before) && text.starts_with(&after) {
        true => Ok(before.len()..after.len()),
        false => Err(unclear(i + 1)),
    }
}

#[cfg(test)]
mod tests;
