//! Turns of conversations, in every spelling that is met: role and content, from and value, parts in a list, and
//! transcripts in one text.
//! Deliberately not here: templates, which make a text of turns.

use super::Mapping;
use serde_json::Value;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// `system`, `user`, `assistant`, `tool`, or what the data calls it.
    pub role: String,
    pub content: String,
    /// How much its tokens count in the loss, where the data says so.
    pub weight: Option<f64>,
}

impl Turn {
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), weight: None }
    }
}

/// A list of turns; the error says which turn is none, and why.
pub(super) fn turns(value: &Value, mapping: &Mapping) -> Result<Vec<Turn>, String> {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(i, item)| turn(item, mapping).map_err(|why| format!("turn {}: {why}", i + 1))).collect()
        }
        Value::Object(_) => Ok(vec![turn(value, mapping)?]),
        // Lists of turns are also written as text of JSON, in tables.
        Value::String(text) if text.trim_start().starts_with('[') => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => turns(&list, mapping),
            _ => Err("a text where a list of turns should be".into()),
        },
        other => Err(format!("{} where a list of turns should be", kind(other))),
    }
}

fn turn(value: &Value, mapping: &Mapping) -> Result<Turn, String> {
    let Value::Object(map) = value else { return Err(format!("{} where an object should be", kind(value))) };
    let tag = |name: &str| mapping.tags.get(name).map(String::as_str);
    let pick = |tagged: Option<&str>, usual: &[&str]| match tagged {
        Some(key) => map.get(key),
        None => usual.iter().find_map(|key| map.get(*key)),
    };
    let role = pick(tag("role"), &["role", "from", "speaker"]);
    let Some(Value::String(role)) = role else { return Err("no role".into()) };
    let content = match pick(tag("content"), &["content", "value", "text"]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<Vec<_>, _>>()?.concat(),
        Some(Value::Null) | None => String::new(),
        Some(other) => return Err(format!("its content is {}", kind(other))),
    };
    let calls = map.get("tool_calls").or_else(|| map.get("function_call")).filter(|v| !v.is_null());
    let content = match calls {
        Some(calls) => [content, calls.to_string()].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n"),
        None if pick(tag("content"), &["content", "value", "text"]).is_none() => return Err("no content".into()),
        None => content,
    };
    let weight = ["weight", "loss_weight"].iter().find_map(|key| map.get(*key)).and_then(Value::as_f64);
    Ok(Turn { role: usual_role(role, mapping), content, weight })
}

/// One part of a content that is a list: a text, or what stands for a picture and the like.
fn part(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Object(map) => match ["text", "value", "content"].iter().find_map(|key| map.get(*key)) {
            Some(Value::String(text)) => Ok(text.clone()),
            // A field of another type of part, which a table fills with null.
            _ => Ok(format!("[{}]", map.get("type").and_then(Value::as_str).unwrap_or("part"))),
        },
        other => Err(format!("a part of its content is {}", kind(other))),
    }
}

/// The usual name of a role.
fn usual_role(role: &str, mapping: &Mapping) -> String {
    let tagged =
        [("user", "user"), ("assistant", "assistant"), ("system_role", "system"), ("observation", "tool"), ("function", "assistant")];
    if let Some((_, usual)) = tagged.iter().find(|(tag, _)| mapping.tags.get(*tag).is_some_and(|name| name == role)) {
        return (*usual).into();
    }
    match role {
        "human" | "Human" | "User" | "prompter" => "user",
        "gpt" | "Assistant" | "bot" | "model" | "chatgpt" | "bing" | "bard" | "function_call" | "tool_call" => "assistant",
        "observation" | "function" | "tool_response" | "ipython" => "tool",
        "developer" | "System" => "system",
        other => other,
    }
    .into()
}

/// A transcript in one text, as hh-rlhf writes it: `\n\nHuman: … \n\nAssistant: …`. None where it is no transcript.
pub(super) fn transcript(text: &str) -> Option<Vec<Turn>> {
    const MARKS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];
    if !text.starts_with(MARKS[0].0) {
        return None;
    }
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((mark, role)) = MARKS.iter().find(|(mark, _)| rest.starts_with(mark)) {
        rest = &rest[mark.len()..];
        let end = MARKS.iter().filter_map(|(mark, _)| rest.find(mark)).min().unwrap_or(rest.len());
        out.push(Turn::new(role, rest[..end].trim_start_matches(' ')));
        rest = &rest[end..];
    }
    Some(out)
}

/// What is wrong with the order or the filling of turns for training: none where nothing is.
pub fn order_fault(turns: &[Turn]) -> Option<String> {
    let known = ["system", "user", "assistant", "tool"];
    let mut before: Option<&str> = None;
    for (i, turn) in turns.iter().enumerate() {
        let (n, role) = (i + 1, turn.role.as_str());
        if !known.contains(&role) {
            return Some(format!("turn {n} is of the role “{}”", crate::data::visible(role)));
        }
        match (before, role) {
            (None | Some("system"), "system" | "user") => {}
            (Some(_), "system") => return Some(format!("turn {n} is a system turn in the midst")),
            (None | Some("system"), _) => return Some(format!("it begins with {role}")),
            (Some("user" | "tool"), "assistant") | (Some("assistant"), "user" | "tool") | (Some("tool"), "tool" | "user") => {}
            (Some(a), b) => return Some(format!("turn {n}: {b} follows {a}")),
        }
        if turn.content.trim().is_empty() && role != "system" {
            return Some(format!("turn {n} ({role}) is empty"));
        }
        before = Some(role);
    }
    match before {
        None => Some("it has no turn".into()),
        Some("assistant") => None,
        Some(last) => Some(format!("it ends with {last}: nothing answers")),
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(value: &Value, mapping: &Mapping) -> Vec<(String, String)> {
        turns(value, mapping).unwrap().into_iter().map(|t| (t.role, t.content)).collect()
    }

    #[test]
    fn every_spelling_is_one() {
        let want = vec![("user".to_owned(), "hi".to_owned()), ("assistant".to_owned(), "yo".to_owned())];
        let plain = Mapping::of("messages");
        let mut tagged = Mapping::of("messages");
        tagged.tags = [("role", "who"), ("content", "says"), ("user", "U"), ("assistant", "A")].map(|(a, b)| (a.into(), b.into())).into();
        for (value, mapping) in [
            (json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]), &plain),
            (json!([{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]), &plain),
            (
                json!([{"role": "user", "content": [{"type": "text", "value": "hi"}]}, {"role": "model", "content": [{"text": "y"}, "o"]}]),
                &plain,
            ),
            (json!("[{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"yo\"}]"), &plain),
            (json!([{"who": "U", "says": "hi"}, {"who": "A", "says": "yo"}]), &tagged),
        ] {
            assert_eq!(said(&value, mapping), want, "{value}");
        }
        assert!(turns(&json!([{"role": "user"}]), &plain).unwrap_err().contains("turn 1: no content"));
        assert!(turns(&json!(["x"]), &plain).unwrap_err().contains("turn 1: a text where an object"));
        let call = json!([{"role": "assistant", "content": null, "tool_calls": [{"name": "f"}]}]);
        assert_eq!(said(&call, &plain)[0].1, "[{\"name\":\"f\"}]");
    }

    #[test]
    fn transcripts_and_orders() {
        let turns = transcript("\n\nHuman: a\n\nb?\n\nAssistant: c\n\nHuman: d\n\nAssistant: ").unwrap();
        let said: Vec<_> = turns.iter().map(|t| (t.role.as_str(), t.content.as_str())).collect();
        assert_eq!(said, [("user", "a\n\nb?"), ("assistant", "c"), ("user", "d"), ("assistant", "")]);
        assert!(transcript("Human: a").is_none());
        let fault = |roles: &[&str]| order_fault(&roles.iter().map(|r| Turn::new(r, "x")).collect::<Vec<_>>()).unwrap_or_default();
        assert_eq!(fault(&["system", "user", "assistant", "tool", "assistant", "user", "assistant"]), "");
        assert_eq!(fault(&["assistant"]), "it begins with assistant");
        assert_eq!(fault(&["user", "user"]), "turn 2: user follows user");
        assert_eq!(fault(&["user", "assistant", "user"]), "it ends with user: nothing answers");
        assert_eq!(fault(&["user", "assistant", "system"]), "turn 3 is a system turn in the midst");
        assert_eq!(fault(&[]), "it has no turn");
        assert_eq!(order_fault(&turns).unwrap(), "turn 4 (assistant) is empty");
    }
}
