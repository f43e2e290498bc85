//! Answers in the protocol's shapes: whole ones, chunks of a stream, errors.
//! Deliberately not here: connections.

use serde_json::{Value, json};

use super::ask::Asked;
use crate::data::tokenizer::Tokenizer;
use crate::sample::generator::{AskFault, Completion};

/// What all answers to one request have in common.
pub struct Head {
    pub id: String,
    pub model: String,
    pub created: u64,
    pub chat: bool,
    pub logprobs: bool,
}

impl Head {
    pub fn new(number: u64, created: u64, model: &str, asked: &Asked) -> Self {
        let kind = if asked.chat { "chatcmpl" } else { "cmpl" };
        Self { id: format!("{kind}-{created:x}-{number}"), model: model.into(), created, chat: asked.chat, logprobs: asked.logprobs }
    }

    fn wrap(&self, object: &str, choices: Value) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }

    fn chunk_object(&self) -> &'static str {
        if self.chat { "chat.completion.chunk" } else { "text_completion" }
    }

    /// The first chunk of a text of a chat, which says who speaks.
    pub fn opening(&self, index: usize) -> Value {
        self.wrap(
            self.chunk_object(),
            json!([{"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null}]),
        )
    }

    pub fn piece(&self, index: usize, text: &str) -> Value {
        let choice = match self.chat {
            true => json!({"index": index, "delta": {"content": text}, "logprobs": null, "finish_reason": null}),
            false => json!({"index": index, "text": text, "logprobs": null, "finish_reason": null}),
        };
        self.wrap(self.chunk_object(), json!([choice]))
    }

    /// The last chunk of a text; what is known of its tokens comes with it.
    pub fn closing(&self, index: usize, done: &Completion, tokenizer: Option<&Tokenizer>) -> Value {
        let logprobs = self.log_probs(done, tokenizer);
        let choice = match self.chat {
            true => json!({"index": index, "delta": {}, "logprobs": logprobs, "finish_reason": reason(done)}),
            false => json!({"index": index, "text": "", "logprobs": logprobs, "finish_reason": reason(done)}),
        };
        self.wrap(self.chunk_object(), json!([choice]))
    }

    pub fn usage_chunk(&self, done: &[Completion]) -> Value {
        let mut value = self.wrap(self.chunk_object(), json!([]));
        value["usage"] = usage(done);
        value
    }

    /// All texts at once.
    pub fn whole(&self, done: &[Completion], echo: Option<&str>, tokenizer: Option<&Tokenizer>) -> Value {
        let choice = |(index, one): (usize, &Completion)| {
            let logprobs = self.log_probs(one, tokenizer);
            match self.chat {
                true => {
                    json!({"index": index, "message": {"role": "assistant", "content": one.text, "refusal": null}, "logprobs": logprobs, "finish_reason": reason(one)})
                }
                false => {
                    json!({"index": index, "text": format!("{}{}", echo.unwrap_or_default(), one.text), "logprobs": logprobs, "finish_reason": reason(one)})
                }
            }
        };
        let mut value =
            self.wrap(if self.chat { "chat.completion" } else { "text_completion" }, done.iter().enumerate().map(choice).collect());
        value["usage"] = usage(done);
        value
    }

    fn log_probs(&self, done: &Completion, tokenizer: Option<&Tokenizer>) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        let bytes = |id: &u32| tokenizer.map(|t| t.token_bytes(*id)).unwrap_or_default();
        let tokens: Vec<(Vec<u8>, f32)> = done.ids.iter().map(bytes).zip(done.log_probs.iter().copied()).collect();
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.chat {
            true => {
                let content =
                    tokens.iter().map(|(bytes, p)| json!({"token": name(bytes), "logprob": p, "bytes": bytes, "top_logprobs": []}));
                json!({"content": content.collect::<Vec<_>>(), "refusal": null})
            }
            false => {
                let mut at = 0;
                let mut offsets = Vec::with_capacity(tokens.len());
                for (bytes, _) in &tokens {
                    offsets.push(at);
                    at += name(bytes).chars().count();
                }
                json!({
                    "tokens": tokens.iter().map(|(bytes, _)| name(bytes)).collect::<Vec<_>>(),
                    "token_logprobs": tokens.iter().map(|(_, p)| *p).collect::<Vec<_>>(),
                    "top_logprobs": null, "text_offset": offsets,
                })
            }
        }
    }
}

fn reason(done: &Completion) -> &'static str {
    // A server that ends cuts its texts off, as a limit does.
    if matches!(done.ended.as_str(), "length" | "stopped") { "length" } else { "stop" }
}

fn usage(done: &[Completion]) -> Value {
    let prompt: usize = done.iter().map(|d| d.prompt_tokens).max().unwrap_or(0);
    let made: usize = done.iter().map(|d| d.ids.len()).sum();
    json!({"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made})
}

/// An error's status and body.
pub fn error(status: u16, kind: &str, param: Option<&str>, code: Option<&str>, message: &str) -> (u16, Value) {
    let message = crate::text::visible(message, false).into_owned();
    (status, json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
}

/// Why a text did not come.
pub fn fault(fault: &AskFault) -> (u16, Value) {
    match fault {
        AskFault::Refused(why) => error(400, "invalid_request_error", None, None, why),
        AskFault::Broken(why) => error(500, "server_error", None, None, why),
        AskFault::Stopped => error(503, "server_error", None, Some("ending"), "the server is ending; ask another one"),
    }
}
