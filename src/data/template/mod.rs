//! Chat templates: a conversation as the text that a model was taught, rendered as transformers renders it
//! (`utils/chat_template_utils.py`), and which parts of that text are the assistant's. Training and generation both come here.
//! Deliberately not here: tokens of a rendered chat (`tokens`), and any vendor's template: a model brings its own.

mod builtin;
mod engine;
mod moment;
mod python;
mod spans;
mod tokens;

pub use moment::Moment;
pub use spans::{Found, Segments, Span};
pub use tokens::{Conversation, Tokens};

use super::shape::Turn;
use super::tokenizer::Tokenizer;
use super::{DataError, visible};
use crate::spec::Chat;
use serde_json::{Map, Value};

/// Longer templates are nobody's: the longest known has about 30 KB.
const MAX_SOURCE_BYTES: usize = 256 << 10;
/// Put behind a text that is to be gone on with, and looked for in what was rendered.
const CONTINUE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// A chat template with what it needs to know of its tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    source: String,
    /// For a model with tools, where it has one of its own for them.
    with_tools: Option<String>,
    /// How people call it: `chatml (built in)`, `the model's own`.
    name: String,
    /// `bos_token`, `eos_token` … as the template finds them.
    tokens: Map<String, Value>,
    /// Texts that end an answer where no token does.
    stops: &'static [&'static str],
    built_in: bool,
}

/// How a chat is to be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// As it stands, as training sees it.
    Nothing,
    /// The assistant's turn is opened.
    Answer,
    /// The last message is left open, to be gone on with.
    Continue,
}

impl Template {
    /// The template of a tokenizer: the one that its files bring, or the built-in one that fits its vocabulary.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        Self::own(tokenizer).unwrap_or_else(|| builtin::choose(tokenizer))
    }

    /// The one that came with the tokenizer.
    pub fn own(tokenizer: &Tokenizer) -> Option<Self> {
        let config = tokenizer.config()?;
        let (source, with_tools) = match &config["chat_template"] {
            Value::String(source) => (source.clone(), None),
            Value::Array(named) => {
                let find = |name: &str| named.iter().find(|t| t["name"] == name).and_then(|t| t["template"].as_str());
                let first = || named.iter().find_map(|t| t["template"].as_str());
                (find("default").or_else(first)?.to_owned(), find("tool_use").map(str::to_owned))
            }
            // transformers writes several as an object too.
            Value::Object(named) => {
                let find = |name: &str| named.get(name).and_then(Value::as_str);
                let first = || named.values().find_map(Value::as_str);
                (find("default").or_else(first)?.to_owned(), find("tool_use").map(str::to_owned))
            }
            _ => return None,
        };
        (!source.trim().is_empty()).then(|| Self {
            source,
            with_tools,
            name: "the model's own".into(),
            tokens: special_tokens(config),
            stops: &[],
            built_in: false,
        })
    }

    /// A template by its text, such as a file's.
    pub fn new(name: &str, source: &str, tokens: Map<String, Value>) -> Self {
        Self { source: source.into(), with_tools: None, name: name.into(), tokens, stops: &[], built_in: false }
    }

    pub fn name(&self) -> &str {
        &self.name
    }
    /// Jinja's text; foreign unless it is built in.
    pub fn source(&self) -> &str {
        &self.source
    }
    /// Whether it was chosen here, since the model brings none: what it was taught is then only guessed.
    pub fn is_built_in(&self) -> bool {
        self.built_in
    }
    pub fn stops(&self) -> &'static [&'static str] {
        self.stops
    }

    /// The chat as text. `now` is what the template is told of the time.
    ///
    /// # Errors
    /// What the template refuses (`raise_exception`), a fault in it with its line, and one that does not come to an end.
    pub fn render(&self, chat: &Chat, then: Then, now: Moment) -> Result<String, DataError> {
        let mut messages = plain_messages(chat);
        let mut tag_behind = None;
        if then == Then::Continue {
            let content = messages.last_mut().and_then(|m| m.get_mut("content"));
            let Some(Value::String(content)) = content else {
                return Err(self.fault("there is no last message with a text to go on with".into()));
            };
            tag_behind = Some(content.clone());
            content.push_str(CONTINUE);
        }
        let text = self.run(chat, &messages, then == Then::Answer, now, None)?;
        match tag_behind {
            None => Ok(text),
            Some(content) => self.cut(&text, &content),
        }
    }

    /// Renders with `messages` in the place of the chat's own; with a marker, the spans of `{% generation %}` are marked by it.
    fn run(&self, chat: &Chat, messages: &[Value], answer: bool, now: Moment, marker: Option<&str>) -> Result<String, DataError> {
        let source = self.with_tools.as_ref().filter(|_| !chat.tools.is_empty()).unwrap_or(&self.source);
        if source.len() > MAX_SOURCE_BYTES {
            return Err(self.fault(format!("it has {} bytes, which is no template", source.len())));
        }
        let mut context = self.tokens.clone();
        // What one conversation sets stands above the tokenizer's names, as keyword arguments do.
        context.extend(chat.more.clone());
        context.insert("messages".into(), Value::Array(messages.to_vec()));
        let list = |values: &[Value]| if values.is_empty() { Value::Null } else { Value::Array(values.to_vec()) };
        context.insert("tools".into(), list(&chat.tools));
        context.insert("documents".into(), list(&chat.documents));
        context.insert("add_generation_prompt".into(), answer.into());
        engine::render(source, &Value::Object(context), now, marker).map_err(|what| self.fault(what))
    }

    /// Cuts a rendering behind the text that was to be gone on with, as transformers does.
    fn cut(&self, text: &str, content: &str) -> Result<String, DataError> {
        let Some(at) = text.rfind(CONTINUE.trim_end()).filter(|_| text.contains(content.trim())) else {
            return Err(self.fault("it does not render the last message as it stands, so that it cannot be gone on with".into()));
        };
        // A template that trims took the tag's blank away, and would have taken those of the text.
        let whole = text[at..].starts_with(CONTINUE);
        Ok(if whole { text[..at].to_owned() } else { text[..at].trim_end().to_owned() })
    }

    fn fault(&self, what: String) -> DataError {
        DataError::Other(format!("chat template ({}): {}", visible(&self.name), visible(&what)))
    }
}

/// The chat that a row's turns are.
pub fn chat_of(turns: &[Turn]) -> Chat {
    Chat::of(turns.iter().map(|t| (t.role.as_str(), t.content.as_str())))
}

/// Messages as a template sees them: what is null is left out, and reasoning is found by each of its usual names.
fn plain_messages(chat: &Chat) -> Vec<Value> {
    const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];
    let plain = |message: &Map<String, Value>| {
        let mut map: Map<String, Value> = message.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
        if let Some(reasoning) = REASONING.iter().find_map(|key| map.get(*key).cloned()) {
            map.entry("thinking").or_insert_with(|| reasoning.clone());
            map.insert("reasoning_content".into(), reasoning);
        }
        Value::Object(map)
    };
    chat.messages.iter().map(plain).collect()
}

/// The names of special tokens that a configuration says, as templates find them.
fn special_tokens(config: &Value) -> Map<String, Value> {
    let Value::Object(config) = config else { return Map::new() };
    let named = config.iter().filter(|(key, _)| key.ends_with("_token") && !key.starts_with("add_"));
    named
        .filter_map(|(key, value)| {
            let name = value.as_str().or_else(|| value["content"].as_str())?;
            Some((key.clone(), Value::String(name.to_owned())))
        })
        .collect()
}
