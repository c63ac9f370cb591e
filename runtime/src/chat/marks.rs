//! Marks around what messages say, which a rendering carries to where the text ends up.

use std::ops::Range;

use align_compiler::stage::text::{Chat, Message};

use super::template::Template;
use crate::error::Result;

/// Private characters that no text of a conversation should hold. Where one does, marks are not used.
const BEGIN: char = '\u{F8A00}';
const END: char = '\u{F8A01}';
pub const GENERATED: char = '\u{F8A02}';
pub const GENERATED_END: char = '\u{F8A03}';

/// A rendered conversation, and where its parts lie in it, as bytes.
pub struct Marked {
    pub text: String,
    /// For each message, where its text (without white space at its ends) lies; `None` for one that was left out.
    /// Without a value at all the template does not carry marks.
    pub contents: Option<Vec<Option<Range<usize>>>>,
    /// What the template itself marks as generated.
    pub generated: Vec<Range<usize>>,
}

impl Marked {
    pub fn render(template: &Template, chat: &Chat) -> Result<Marked> {
        let (messages, tools) = (&chat.messages[..], &chat.tools);
        let plain = messages.iter().map(|message| message.content.to_string()).collect();
        let rendered = template.render_with(messages, plain, tools, chat.is_prompt())?;
        let (text, generated) = pairs(&rendered, GENERATED, GENERATED_END);
        let wrapped = messages.iter().map(|message| wrap(&message.content)).collect();
        let marked = template.render_with(messages, wrapped, tools, chat.is_prompt()).ok();
        let marked = marked.map(|marked| marked.replace([GENERATED, GENERATED_END], ""));
        let foreign = messages.iter().any(|message| message.content.contains([BEGIN, END, GENERATED, GENERATED_END]));
        let found = marked.filter(|_| !foreign).map(|marked| pairs(&marked, BEGIN, END));
        let contents = found.filter(|(same, _)| *same == text).and_then(|(_, spans)| in_order(messages, &text, &spans));
        Ok(Marked { text, contents, generated })
    }
}

/// Marks stand inside of white space, so a template that trims a message does the same to a marked one.
fn wrap(content: &str) -> String {
    let inner = content.trim();
    if inner.is_empty() {
        return content.to_string();
    }
    let start = content.len() - content.trim_start().len();
    format!("{}{BEGIN}{inner}{END}{}", &content[..start], &content[start + inner.len()..])
}

/// The text without the marks, and what stood between each pair of them.
fn pairs(marked: &str, begin: char, end: char) -> (String, Vec<Range<usize>>) {
    let mut text = String::with_capacity(marked.len());
    let (mut spans, mut open) = (vec![], None);
    for c in marked.chars() {
        match c {
            c if c == begin => open = Some(text.len()),
            c if c == end => spans.extend(open.take().map(|start| start..text.len())),
            c => text.push(c),
        }
    }
    (text, spans)
}

/// The span of each message, where the spans come in the order of the messages.
fn in_order(messages: &[Message], text: &str, spans: &[Range<usize>]) -> Option<Vec<Option<Range<usize>>>> {
    let mut spans = spans.iter().peekable();
    let mut contents = vec![];
    for message in messages {
        let same = spans.next_if(|span| text[(*span).clone()] == *message.content.trim());
        contents.push(same.cloned());
    }
    // One that is left over is a copy, or comes out of order.
    spans.next().is_none().then_some(contents)
}
