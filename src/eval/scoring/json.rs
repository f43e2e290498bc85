//! JSON that keeps to a schema.
//! Deliberately not here: schemas that lie elsewhere; references to other files and hosts are not followed.

use serde_json::Value;

use super::{Scorer, Verdict, extracted};
use crate::eval::item::Item;
use crate::eval::task::Task;

pub const JSON: Scorer =
    Scorer { name: "json", help: "JSON that keeps to the schema; where there is a target too, that is equal to it", check, score };

fn check(task: &Task) -> Result<(), String> {
    match &task.schema {
        None => Ok(()),
        Some(schema) => jsonschema::validator_for(schema)
            .map(drop)
            .map_err(|e| format!("schema is no JSON schema: {}", crate::eval::shown(&e.to_string()))),
    }
}

fn score(task: &Task, item: &Item, text: &str) -> Verdict {
    let part = match extracted(task, text) {
        Ok(Some(part)) => part,
        Ok(None) => return Verdict::unparsed("the expression finds nothing"),
        Err(why) => return Verdict::failed(why),
    };
    let Some(value) = find(part) else { return Verdict::unparsed("no JSON in the answer") };
    let said = value.to_string();
    if let Some(schema) = &task.schema {
        let validator = match jsonschema::validator_for(schema) {
            Ok(validator) => validator,
            Err(e) => return Verdict::failed(format!("the schema: {e}")),
        };
        if let Some(error) = validator.iter_errors(&value).next() {
            let at = error.instance_path().to_string();
            let why = crate::eval::shown(&error.to_string());
            return Verdict::of(0.0, said, format!("{}{why}", if at.is_empty() { String::new() } else { format!("{at}: ") }));
        }
    }
    let targets: Vec<Value> = item.targets.iter().filter_map(|t| serde_json::from_str(t).ok()).collect();
    let right = item.targets.is_empty() || targets.contains(&value);
    Verdict::of(f64::from(right), said, if right { "keeps to the schema" } else { "not the value that is wanted" })
}

/// The answer as JSON: all of it, what stands in a fence, or from the first bracket on.
fn find(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let fenced = text.split("```").nth(1).map(|inside| inside.trim_start_matches(|c: char| c.is_ascii_alphabetic()));
    if let Some(value) = fenced.and_then(|inside| serde_json::from_str(inside.trim()).ok()) {
        return Some(value);
    }
    let from = text.find(['{', '['])?;
    serde_json::Deserializer::from_str(&text[from..]).into_iter::<Value>().next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_keeps_to_its_schema() {
        let schema = json!({"type": "object", "required": ["age"], "properties": {"age": {"type": "integer", "minimum": 0}}});
        let task = Task { schema: Some(schema), ..Task::default() };
        let of = |text: &str| score(&task, &Item::default(), text);
        assert_eq!(of("{\"age\": 3}").score, 1.0);
        assert_eq!(of("Here:\n```json\n{\"age\": 3}\n```\nDone.").score, 1.0);
        assert_eq!(of("It is {\"age\": 3}.").score, 1.0);
        let low = of("{\"age\": -1}");
        assert!(low.score == 0.0 && low.reason.starts_with("/age: "), "{low:?}");
        assert_eq!(of("{}").score, 0.0);
        assert!(of("three").extracted.is_none() && of("{\"age\":").extracted.is_none());
        let item = Item { targets: vec!["{\"b\":1,\"a\":[2]}".into()], ..Item::default() };
        assert_eq!(score(&Task::default(), &item, "{\"a\": [2], \"b\": 1}").score, 1.0);
        assert_eq!(score(&Task::default(), &item, "{\"a\": [], \"b\": 1}").score, 0.0);
        assert!(check(&Task { schema: Some(json!({"type": 7})), ..Task::default() }).unwrap_err().contains("no JSON schema"));
        let elsewhere = json!({"$ref": "http://127.0.0.1:9/schema.json"});
        assert!(check(&Task { schema: Some(elsewhere), ..Task::default() }).is_err(), "nothing is fetched");
    }
}
