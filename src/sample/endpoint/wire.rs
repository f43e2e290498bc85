//! The shapes of the OpenAI protocol as a client meets them: requests, streams of events, answers. What a server sends is
//! measured before it is kept. Deliberately not here: connections (`endpoint`).

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::sample::generator::{Completion, Prompt, Request};
use crate::spec::Sampler;
use crate::text::visible;

/// Keys that some servers do not know and that change no text, or have a twin of another name.
pub const OPTIONAL: &[&str] = &["stream_options", "logprobs", "max_tokens", "seed"];

/// One line of a stream, and all of a stream for every token that was asked for: far more than any server sends.
const LINE_BYTES: usize = 4 << 20;
const TOKEN_BYTES: usize = 1 << 14;
const STREAM_BYTES: usize = 16 << 20;
/// Text of one token: the longest of known vocabularies have 256 bytes.
const TOKEN_TEXT: usize = 512;
/// What is kept of an answer that is no stream, to quote from.
const QUOTED: usize = 200;

/// The body that asks for a text, as a stream.
pub fn request(model: &str, request: &Request, shy: &BTreeSet<&'static str>) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), model.into());
    let chat = match &request.prompt {
        Prompt::Chat(messages) => {
            body.insert("messages".into(), json!(messages));
            true
        }
        Prompt::Text(text) => {
            body.insert("prompt".into(), text.as_str().into());
            false
        }
        Prompt::Ids(_) => false,
    };
    let limit = if shy.contains("max_tokens") { "max_completion_tokens" } else { "max_tokens" };
    body.insert(limit.into(), request.max_tokens.into());
    body.insert("stream".into(), true.into());
    if !shy.contains("stream_options") {
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    if !shy.contains("logprobs") {
        body.insert("logprobs".into(), if chat { true.into() } else { 0.into() });
    }
    if !request.stop.is_empty() {
        body.insert("stop".into(), json!(request.stop));
    }
    sampler(&request.sampler, shy, &mut body);
    Value::Object(body)
}

/// The sampler's settings by the names that servers know: the protocol's own always, others only where they are set.
fn sampler(sampler: &Sampler, shy: &BTreeSet<&'static str>, body: &mut Map<String, Value>) {
    let Ok(Value::Object(given)) = serde_json::to_value(sampler) else { return };
    let Ok(Value::Object(usual)) = serde_json::to_value(Sampler::default()) else { return };
    for (name, value) in given {
        let always = matches!(name.as_str(), "temperature" | "top_p" | "seed");
        let known = matches!(
            name.as_str(),
            "top_k"
                | "min_p"
                | "typical_p"
                | "repetition_penalty"
                | "presence_penalty"
                | "frequency_penalty"
                | "logit_bias"
                | "dry_multiplier"
                | "dry_base"
                | "dry_allowed_length"
        );
        if !shy.contains(name.as_str()) && (always || known && usual.get(&name) != Some(&value)) {
            body.insert(name, rounded(value));
        }
    }
}

/// Settings are f32: 0.8, and not 0.800000011920929.
fn rounded(value: Value) -> Value {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(x) => ((x * 1e6).round() / 1e6).into(),
        None => value,
    }
}

/// The message of an error's body in brackets; nothing where it has none.
pub fn said(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = value.get("error").unwrap_or(&value);
    let text = [error.get("message"), error.get("detail"), Some(error)].into_iter().flatten().find_map(Value::as_str);
    let text = text.map(str::to_string).unwrap_or_else(|| String::from_utf8_lossy(&body[..body.len().min(QUOTED)]).into_owned());
    let text: String = visible(text.trim(), false).chars().take(300).collect();
    if text.is_empty() { text } else { format!(" ({text})") }
}

/// What to say of an answer that is no JSON.
pub fn prose(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(QUOTED)]);
    let text: String = visible(text.trim(), false).chars().take(80).collect();
    if text.is_empty() { "answers nothing".into() } else { format!("answers prose instead of JSON ({text} …)") }
}

/// Cuts a stream of server-sent events into the data of each.
#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
    data: String,
    seen: Vec<u8>,
    events: usize,
}

impl Lines {
    /// The events that are complete with these bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, &'static str> {
        if self.events == 0 && self.seen.len() < QUOTED {
            self.seen.extend_from_slice(&bytes[..bytes.len().min(QUOTED)]);
        }
        self.rest.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut from = 0;
        while let Some(at) = memchr::memchr(b'\n', &self.rest[from..]) {
            let line = String::from_utf8_lossy(&self.rest[from..from + at]).into_owned();
            from += at + 1;
            self.line(line.trim_end_matches('\r'), &mut out);
        }
        self.rest.drain(..from);
        if self.rest.len() + self.data.len() > LINE_BYTES {
            return Err("sends a line without an end");
        }
        Ok(out)
    }

    fn line(&mut self, line: &str, out: &mut Vec<String>) {
        if line.is_empty() {
            if !self.data.is_empty() {
                self.events += 1;
                out.push(std::mem::take(&mut self.data));
            }
        } else if let Some(data) = line.strip_prefix("data:") {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
        }
    }

    pub fn is_stream(&self) -> bool {
        self.events > 0
    }

    /// The first bytes, to quote from.
    pub fn beginning(&self) -> &[u8] {
        &self.seen
    }
}

/// A text as it comes.
pub struct Answer {
    pub text: String,
    pub ended: Option<String>,
    log_probs: Vec<f32>,
    /// Whether every piece so far came with its probabilities.
    all_likely: bool,
    pieces: usize,
    prompt_tokens: usize,
    tokens: usize,
    first: Option<Instant>,
    thinks: bool,
    bytes: usize,
    most_bytes: usize,
    most_text: usize,
}

impl Answer {
    pub fn new(request: &Request) -> Self {
        let n = request.max_tokens.min(1 << 24);
        Self {
            text: String::new(),
            ended: None,
            log_probs: Vec::new(),
            all_likely: true,
            pieces: 0,
            prompt_tokens: 0,
            tokens: 0,
            first: None,
            thinks: false,
            bytes: 0,
            most_bytes: STREAM_BYTES + n * TOKEN_BYTES,
            most_text: (n + 64) * TOKEN_TEXT,
        }
    }

    /// Takes in one event; whether the stream is over with it.
    pub fn event(&mut self, data: &str, started: Instant, tell: &dyn Fn(&str)) -> Result<bool, String> {
        self.bytes += data.len();
        if self.bytes > self.most_bytes {
            return Err("sends far more than was asked for".into());
        }
        if data.trim() == "[DONE]" {
            self.ended.get_or_insert_with(|| "end".into());
            return Ok(true);
        }
        let value: Value = serde_json::from_str(data).map_err(|_| prose(data.as_bytes()))?;
        if value.get("error").is_some_and(|e| !e.is_null()) {
            return Err(format!("broke off{}", said(data.as_bytes())));
        }
        let _ = started;
        self.take(&value, "delta", tell)?;
        Ok(false)
    }

    /// Takes in the one body of a server that does not stream.
    pub fn whole(&mut self, value: &Value, tell: &dyn Fn(&str)) -> Result<(), String> {
        if value.get("choices").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            return Err(format!("answers no choices{}", said(value.to_string().as_bytes())));
        }
        self.take(value, "message", tell)?;
        self.ended.get_or_insert_with(|| "end".into());
        Ok(())
    }

    fn take(&mut self, value: &Value, part: &str, tell: &dyn Fn(&str)) -> Result<(), String> {
        if let Some(usage) = value.get("usage").filter(|u| u.is_object()) {
            let number = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
            (self.prompt_tokens, self.tokens) = (number("prompt_tokens"), number("completion_tokens"));
        }
        let Some(choice) = value.pointer("/choices/0") else { return Ok(()) };
        let of = |key: &str| choice.get(part).and_then(|d| d.get(key)).and_then(Value::as_str).unwrap_or_default();
        let thought = if of("reasoning_content").is_empty() { of("reasoning") } else { of("reasoning_content") };
        let text = if of("content").is_empty() { choice.get("text").and_then(Value::as_str).unwrap_or_default() } else { of("content") };
        if !thought.is_empty() {
            let open = if std::mem::replace(&mut self.thinks, true) { "" } else { "<think>\n" };
            self.say(&format!("{open}{thought}"), choice, tell)?;
        }
        if !text.is_empty() {
            let close = if std::mem::replace(&mut self.thinks, false) { "\n</think>\n\n" } else { "" };
            self.say(&format!("{close}{text}"), choice, tell)?;
        }
        match choice.get("finish_reason").and_then(Value::as_str) {
            Some("length") => self.ended = Some("length".into()),
            Some("content_filter") => return Err("withheld the rest of its answer (content_filter)".into()),
            // vLLM and SGLang say which text it was that stopped it.
            Some(_) if ["stop_reason", "matched_stop"].iter().any(|k| choice.get(*k).is_some_and(Value::is_string)) => {
                self.ended = Some("stop".into())
            }
            Some(_) => self.ended = Some("end".into()),
            None => {}
        }
        Ok(())
    }

    fn say(&mut self, text: &str, choice: &Value, tell: &dyn Fn(&str)) -> Result<(), String> {
        if self.text.len() + text.len() > self.most_text {
            return Err("sends far more text than was asked for".into());
        }
        self.first.get_or_insert_with(Instant::now);
        self.pieces += 1;
        let said = match choice.get("logprobs") {
            Some(Value::Object(said)) => match (said.get("content"), said.get("token_logprobs")) {
                (Some(Value::Array(content)), _) => content.iter().filter_map(|t| t.get("logprob").and_then(Value::as_f64)).collect(),
                (_, Some(Value::Array(list))) => list.iter().filter_map(Value::as_f64).collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        self.all_likely &= !said.is_empty();
        if self.log_probs.len() < self.most_text {
            self.log_probs.extend(said.into_iter().map(|l: f64| l as f32));
        }
        self.text.push_str(text);
        tell(text);
        Ok(())
    }

    /// A person stopped it.
    pub fn stopped(&mut self) {
        self.ended = Some("stopped".into());
    }

    /// What came of it.
    pub fn completion(self, started: Instant) -> Completion {
        let tokens = self.tokens.max(self.log_probs.len()).max(if self.tokens == 0 { self.pieces } else { 0 });
        let after = self.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        Completion {
            text: self.text,
            ids: Vec::new(),
            log_probs: if self.all_likely { self.log_probs } else { Vec::new() },
            ended: self.ended.unwrap_or_else(|| "end".into()),
            prompt_tokens: self.prompt_tokens,
            first_token_ms: self.first.map_or(0.0, |first| (first - started).as_secs_f64() * 1e3),
            tokens_per_s: if tokens > 1 && after > 0.0 { (tokens - 1) as f64 / after } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_wherever_the_bytes_are() {
        let stream = ": hello\r\ndata: {\"a\": 1}\r\n\r\nevent: x\ndata: one\ndata: two\n\ndata:[DONE]\n\n".as_bytes();
        for size in 1..stream.len() {
            let mut lines = Lines::default();
            let events: Vec<String> = stream.chunks(size).flat_map(|c| lines.push(c).unwrap()).collect();
            assert_eq!(events, ["{\"a\": 1}", "one\ntwo", "[DONE]"], "{size}");
        }
        let mut endless = Lines::default();
        let error = (0..1000).find_map(|_| endless.push(&[b'x'; 1 << 16]).err());
        assert_eq!(error, Some("sends a line without an end"));
    }

    #[test]
    fn only_what_is_set_is_sent() {
        let ask = |sampler: Sampler, shy: &[&'static str]| {
            let asked = Request { prompt: Prompt::Text("a".into()), max_tokens: 3, sampler, stop: Vec::new() };
            request("m", &asked, &shy.iter().copied().collect())
        };
        let plain = ask(Sampler::default(), &[]);
        assert_eq!((plain["temperature"].to_string().as_str(), plain["max_tokens"].as_u64()), ("0.8", Some(3)));
        assert!(plain.get("top_k").is_none() && plain.get("stop").is_none() && plain["stream"] == true && plain["prompt"] == "a");
        let set = ask(Sampler { top_k: 5, repetition_penalty: 1.1, ..Sampler::default() }, &["max_tokens", "logprobs"]);
        assert_eq!(
            (set["top_k"].as_u64(), set["repetition_penalty"].as_f64(), set["max_completion_tokens"].as_u64()),
            (Some(5), Some(1.1), Some(3))
        );
        assert!(set.get("logprobs").is_none() && set.get("max_tokens").is_none());
    }
}
