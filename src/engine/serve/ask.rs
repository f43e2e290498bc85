//! What a client asks, read from its JSON: every key of the protocol is heeded or refused by its name.
//! Deliberately not here: answers.

use serde_json::{Map, Value, json};

use crate::sample::generator::{Prompt, Request};
use crate::spec::{Message, Sampler};
use crate::text::visible;

/// Texts for one request, and texts that end one.
const MOST_CHOICES: u64 = 64;
const MOST_STOPS: usize = 16;
/// Tokens where a client does not say how many: the protocol's own numbers, the second within the context.
const COMPLETION_TOKENS: usize = 16;
const CHAT_TOKENS: usize = 4096;

/// A request as it was understood.
#[derive(Clone, Debug)]
pub struct Asked {
    pub requests: Vec<Request>,
    pub chat: bool,
    pub stream: bool,
    /// Whether a stream ends with how many tokens there were.
    pub usage: bool,
    pub logprobs: bool,
    /// What stands before the answer, where the client wants to see it again.
    pub echo: Option<String>,
}

/// Why a request is refused: the key, and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub param: Option<&'static str>,
    pub message: String,
}

fn refuse<T>(param: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { param: Some(param), message: message.into() })
}

/// Keys that ask for what is not here, with the values that ask for nothing.
const NOT_HERE: &[(&str, &[&str])] = &[
    ("tools", &["[]"]),
    ("functions", &["[]"]),
    ("response_format", &["{\"type\":\"text\"}"]),
    ("top_logprobs", &["0"]),
    ("suffix", &["\"\""]),
    ("best_of", &["1"]),
    ("audio", &[]),
    ("modalities", &["[\"text\"]"]),
    ("guided_json", &[]),
    ("guided_regex", &[]),
];

/// Reads a request for a chat or for a completion. `context` is what the model sees at once.
pub fn read(body: &Value, chat: bool, context: Option<usize>) -> Result<Asked, Refusal> {
    let Value::Object(body) = body else { return Err(Refusal { param: None, message: "the body is no JSON object".into() }) };
    for (key, nothing) in NOT_HERE {
        if let Some(value) = body.get(*key).filter(|v| !v.is_null())
            && !nothing.contains(&value.to_string().as_str())
        {
            return refuse(key, format!("{key} is not supported by this server; leave it out"));
        }
    }
    let prompts = if chat { vec![Prompt::Chat(messages(body)?)] } else { prompts(body)? };
    let echo = match (flag(body, "echo")?, prompts.as_slice()) {
        (false, _) => None,
        (true, [Prompt::Text(text)]) => Some(text.clone()),
        (true, _) => return refuse("echo", "echo is for one prompt of text"),
    };
    let logprobs = match body.get("logprobs") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(Value::Number(n)) if n.as_u64().is_some_and(|n| n <= 1) => true,
        Some(_) => return refuse("logprobs", "only the chosen tokens' log-probabilities are known: true, or 0 for a completion"),
    };
    if echo.is_some() && logprobs {
        return refuse("echo", "the log-probabilities of the prompt are not known; leave out echo or logprobs");
    }
    let usual = if chat { context.unwrap_or(CHAT_TOKENS).min(CHAT_TOKENS) } else { COMPLETION_TOKENS };
    let most = (1u64 << 20) as f64;
    let max_tokens = match number(body, "max_completion_tokens", 1.0, most)? {
        Some(n) => Some(n),
        None => number(body, "max_tokens", 1.0, most)?,
    };
    let template = Request {
        prompt: Prompt::Ids(Vec::new()),
        max_tokens: max_tokens.map_or(usual, |n| n as usize),
        sampler: sampler(body)?,
        stop: stops(body)?,
    };
    let choices = number(body, "n", 1.0, MOST_CHOICES as f64)?.unwrap_or(1.0) as u64;
    if choices * prompts.len() as u64 > MOST_CHOICES {
        return refuse("n", format!("more than {MOST_CHOICES} texts at once"));
    }
    // Texts for the same prompt differ by their seeds.
    let with = |prompt: &Prompt, i: u64| {
        let sampler = Sampler { seed: template.sampler.seed.wrapping_add(i), ..template.sampler.clone() };
        Request { prompt: prompt.clone(), sampler, ..template.clone() }
    };
    let requests = prompts.iter().flat_map(|prompt| (0..choices).map(move |i| (prompt, i))).map(|(prompt, i)| with(prompt, i)).collect();
    let usage = match body.get("stream_options") {
        None | Some(Value::Null) => false,
        Some(Value::Object(options)) => flag(options, "include_usage")?,
        Some(_) => return refuse("stream_options", "stream_options is an object"),
    };
    Ok(Asked { requests, chat, stream: flag(body, "stream")?, usage, logprobs, echo })
}

fn flag(body: &Map<String, Value>, key: &'static str) -> Result<bool, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(yes)) => Ok(*yes),
        Some(_) => refuse(key, format!("{key} is true or false")),
    }
}

fn number(body: &Map<String, Value>, key: &'static str, least: f64, most: f64) -> Result<Option<f64>, Refusal> {
    match body.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(n) if n >= least && n <= most => Ok(Some(n)),
            _ => refuse(key, format!("{key} is a number from {least} to {most}")),
        },
    }
}

fn messages(body: &Map<String, Value>) -> Result<Vec<Message>, Refusal> {
    let Some(list) = body.get("messages").and_then(Value::as_array).filter(|l| !l.is_empty()) else {
        return refuse("messages", "messages is a list of at least one message");
    };
    let read = |message: &Value| {
        let Some(fields) = message.as_object() else { return refuse("messages", "a message is an object of role and content") };
        let mut fields = fields.clone();
        let role = fields.get("role").and_then(Value::as_str).unwrap_or_default();
        if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool") {
            let role: String = visible(role, false).chars().take(40).collect();
            return refuse("messages", format!("role {role:?}: roles are system, user, assistant and tool"));
        }
        // What newer clients call the developer is the system to a model's template.
        let role = if role == "developer" { "system" } else { role }.to_string();
        let content = text(fields.get("content").unwrap_or(&Value::Null))?;
        fields.insert("role".into(), role.into());
        fields.insert("content".into(), content.into());
        serde_json::from_value(Value::Object(fields)).or_else(|e| refuse("messages", format!("a message that is not understood: {e}")))
    };
    list.iter().map(read).collect()
}

/// A message's text: itself, or its parts put together.
fn text(content: &Value) -> Result<String, Refusal> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Array(parts) => {
            let part = |part: &Value| part.get("text").and_then(Value::as_str).filter(|_| part["type"] == "text").map(str::to_string);
            let texts: Option<Vec<String>> = parts.iter().map(part).collect();
            texts.map_or_else(|| refuse("messages", "only parts of type text can be read"), |texts| Ok(texts.join("\n")))
        }
        _ => refuse("messages", "content is a text, or a list of parts"),
    }
}

fn prompts(body: &Map<String, Value>) -> Result<Vec<Prompt>, Refusal> {
    let ids = |list: &[Value]| -> Option<Prompt> {
        let ids: Option<Vec<u32>> = list.iter().map(|v| v.as_u64().and_then(|n| u32::try_from(n).ok())).collect();
        ids.filter(|ids| !ids.is_empty()).map(Prompt::Ids)
    };
    let one = |value: &Value| match value {
        Value::String(text) => Some(Prompt::Text(text.clone())),
        Value::Array(list) => ids(list),
        _ => None,
    };
    let found = match body.get("prompt") {
        Some(Value::Array(list)) if list.first().is_some_and(Value::is_number) => ids(list).map(|p| vec![p]),
        Some(Value::Array(list)) if !list.is_empty() => list.iter().map(one).collect(),
        Some(value) => one(value).map(|p| vec![p]),
        None => None,
    };
    found.map_or_else(|| refuse("prompt", "prompt is a text, a list of texts, or a list of token ids"), Ok)
}

fn stops(body: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let list = match body.get("stop") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => match list.iter().map(|v| v.as_str().map(str::to_string)).collect::<Option<Vec<_>>>() {
            Some(list) => list,
            None => return refuse("stop", "stop is a text or a list of texts"),
        },
        Some(_) => return refuse("stop", "stop is a text or a list of texts"),
    };
    if list.len() > MOST_STOPS || list.iter().any(String::is_empty) {
        return refuse("stop", format!("stop has {MOST_STOPS} texts at most, and none is empty"));
    }
    Ok(list)
}

/// Settings of the sampler by their names in the protocol, with the ranges that it gives them.
const SETTINGS: &[(&str, f64, f64)] = &[
    ("temperature", 0.0, 100.0),
    ("top_p", 0.0, 1.0),
    ("top_k", 0.0, 1e9),
    ("min_p", 0.0, 1.0),
    ("typical_p", 0.0, 1.0),
    ("repetition_penalty", 0.01, 100.0),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
    ("dry_multiplier", 0.0, 100.0),
    ("dry_base", 1.0, 100.0),
    ("dry_allowed_length", 1.0, 1e6),
];

fn sampler(body: &Map<String, Value>) -> Result<Sampler, Refusal> {
    // The protocol's own temperature is 1, and no two answers are the same unless a seed is given.
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    let Ok(Value::Object(mut fields)) = serde_json::to_value(Sampler { temperature: 1.0, seed: clock, ..Sampler::default() }) else {
        return Err(Refusal { param: None, message: "the sampler's settings cannot be read".into() });
    };
    for (key, least, most) in SETTINGS {
        let Some(value) = number(body, key, *least, *most)? else { continue };
        match fields.get_mut(*key) {
            Some(slot) => *slot = if slot.is_u64() { json!(value as u64) } else { json!(value) },
            None if value == 0.0 => {}
            None => return refuse(key, format!("{key} is not supported by this server; leave it out")),
        }
    }
    match body.get("seed") {
        None | Some(Value::Null) => {}
        Some(seed) => match seed.as_i64() {
            Some(seed) => drop(fields.insert("seed".into(), json!(seed as u64))),
            None => return refuse("seed", "seed is a whole number"),
        },
    }
    if let Some(bias) = body.get("logit_bias").filter(|b| !b.is_null() && b.as_object().is_none_or(|o| !o.is_empty())) {
        match fields.get_mut("logit_bias") {
            Some(slot) if bias.is_object() => *slot = bias.clone(),
            _ => return refuse("logit_bias", "logit_bias is an object of token ids and numbers"),
        }
    }
    let made: Sampler = serde_json::from_value(Value::Object(fields)).or_else(|e| refuse("logit_bias", e.to_string()))?;
    match made.problem() {
        Some(message) => Err(Refusal { param: None, message }),
        None => Ok(made),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: Value, chat: bool) -> String {
        let refusal = read(&body, chat, None).unwrap_err();
        format!("{}: {}", refusal.param.unwrap_or(""), refusal.message)
    }

    #[test]
    fn a_chat_is_read_with_its_settings() {
        let body = json!({"messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            "n": 2, "seed": 7, "temperature": 0, "top_p": 0.5, "max_completion_tokens": 9, "max_tokens": 3, "stop": "x", "stream": true, "stream_options": {"include_usage": true}, "user": "me"});
        let asked = read(&body, true, Some(64)).unwrap();
        let Prompt::Chat(messages) = &asked.requests[0].prompt else { panic!("{asked:?}") };
        assert_eq!((messages[0].role.as_str(), messages[1].content.as_str()), ("system", "a\nb"));
        assert_eq!(asked.requests.iter().map(|r| r.sampler.seed).collect::<Vec<_>>(), [7, 8]);
        assert_eq!((asked.requests[0].max_tokens, asked.requests[0].sampler.top_p, asked.stream, asked.usage), (9, 0.5, true, true));
        let plain = read(&json!({"messages": [{"role": "user", "content": "a"}]}), true, Some(64)).unwrap();
        assert_eq!((plain.requests[0].max_tokens, plain.requests[0].sampler.temperature), (64, 1.0));
    }

    #[test]
    fn completions_take_texts_and_ids() {
        let count = |prompt: Value| read(&json!({"prompt": prompt, "n": 2}), false, None).map(|a| a.requests.len());
        assert_eq!(
            [count(json!("a")), count(json!(["a", "b"])), count(json!([1, 2])), count(json!([[1], [2, 3]]))],
            [Ok(2), Ok(4), Ok(2), Ok(4)]
        );
        assert!(count(json!([])).is_err() && count(json!(7)).is_err() && count(json!([1, "a"])).is_err() && count(json!([-1])).is_err());
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_its_name() {
        let chat = |key: &str, value: Value| refused(json!({"messages": [{"role": "user", "content": "a"}], key: value}), true);
        for (key, value) in [
            ("tools", json!([{}])),
            ("n", json!(0)),
            ("n", json!(1000)),
            ("temperature", json!(-1)),
            ("temperature", json!("hot")),
            ("max_tokens", json!(0)),
            ("stop", json!([""])),
            ("stop", json!(7)),
            ("stream", json!("yes")),
            ("top_p", json!(2)),
            ("seed", json!(1.5)),
            ("logprobs", json!(5)),
            ("top_logprobs", json!(5)),
            ("response_format", json!({"type": "json_object"})),
            ("logit_bias", json!({"a": "b"})),
        ] {
            let why = chat(key, value.clone());
            assert!(why.contains(key), "{key} {value}: {why}");
        }
        assert!(refused(json!({"messages": []}), true).starts_with("messages"));
        assert!(refused(json!({"messages": [{"role": "robot", "content": ""}]}), true).contains("robot"));
        assert!(refused(json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), true).contains("type text"));
        assert!(refused(json!([]), true).contains("no JSON object"));
    }
}
