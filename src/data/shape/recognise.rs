//! Which shape rows have: each shape is tried on the first rows with the fields that usually hold its parts.
//! Deliberately not here: what is done with the rows that then do not fit.

use super::{Example, Mapping, SHAPES, Shape};
use serde_json::Value;

/// The mapping that fits most of these rows; of those that fit equally many, the first in the list of shapes.
pub fn recognise(rows: &[&Value]) -> Mapping {
    if rows.is_empty() || rows.iter().filter(|row| row.is_string()).count() * 2 > rows.len() {
        return Mapping::of("text");
    }
    let mut best: Option<(usize, Mapping)> = None;
    for shape in SHAPES.iter().filter(|s| !s.slots.is_empty()) {
        let Some(mapping) = proposed(shape, rows) else { continue };
        let fitting = rows.iter().filter(|row| fits(&mapping, row)).count();
        // A shape that hardly any row has is none.
        if fitting * 2 > rows.len() && best.as_ref().is_none_or(|(most, _)| fitting > *most) {
            best = Some((fitting, mapping));
        }
    }
    let mut mapping = best.map_or_else(|| Mapping::of("other"), |(_, mapping)| mapping);
    mapping.variant = variant(&mapping, rows);
    mapping
}

/// The shape with the first usual field of each slot that most rows have.
fn proposed(shape: &Shape, rows: &[&Value]) -> Option<Mapping> {
    let mut mapping = Mapping::of(shape.name);
    for slot in shape.slots {
        let taken = |field: &str| mapping.fields.values().any(|f| f == field);
        let has = |field: &&&str| rows.iter().filter(|row| row.get(**field).is_some()).count() * 2 > rows.len();
        // What only some rows have may still be a part that is not needed.
        let any = |field: &&&str| rows.iter().any(|row| row.get(**field).is_some());
        let field = if slot.needed { slot.usual.iter().find(has) } else { slot.usual.iter().filter(|f| !taken(f)).find(any) };
        match field {
            Some(field) if !taken(field) => _ = mapping.fields.insert(slot.name.into(), (*field).into()),
            _ if slot.needed => return None,
            _ => {}
        }
    }
    Some(mapping)
}

/// Whether a row reads, and looks like what the shape means.
fn fits(mapping: &Mapping, row: &Value) -> bool {
    let Ok(example) = mapping.example(row) else { return false };
    let first = |key: &str| row.get(mapping.field("messages").unwrap_or_default()).and_then(|list| list.get(0)?.get(key)).is_some();
    match (mapping.shape.as_str(), &example) {
        ("messages", Example::Chat(turns)) => turns.is_empty() || !first("from"),
        ("sharegpt", Example::Chat(turns)) => !turns.is_empty() && first("from"),
        // Ratings or a list of answers make a ranking; `output` alone is alpaca's.
        ("ranking", Example::Ranking { .. }) => true,
        ("kto", _) => !row.get(mapping.field("label").unwrap_or_default()).is_some_and(Value::is_number) || row.get("prompt").is_some(),
        _ => true,
    }
}

/// A finer name of the shape, after those who made it known.
fn variant(mapping: &Mapping, rows: &[&Value]) -> String {
    let field = |slot: &str| mapping.field(slot).and_then(|f| rows.iter().find_map(|row| row.get(f)));
    match mapping.shape.as_str() {
        "preference" => match field("chosen") {
            Some(Value::String(text)) if text.starts_with("\n\nHuman:") => "hh-rlhf transcripts",
            Some(Value::Array(_)) if mapping.field("chosen") == Some("chosen_messages") => "LLaMA-Factory pairs",
            Some(Value::Array(_)) if mapping.field("prompt") == Some("prompt") => "UltraFeedback",
            Some(Value::Object(_)) => "LLaMA-Factory ranking",
            _ => "",
        },
        "ranking" => match field("answers") {
            Some(Value::Array(list)) if list.iter().any(Value::is_object) => "UltraFeedback ratings",
            _ => "",
        },
        "choice columns" => "MMLU",
        _ => "",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shapes_are_told_apart() {
        let turns = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
        let share = json!([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]);
        for (row, shape, variant) in [
            (json!("a line"), "text", ""),
            (json!({"id": 1, "text": "x"}), "text", ""),
            (json!({"messages": turns}), "messages", ""),
            (json!({"conversations": turns}), "messages", ""),
            (json!({"conversations": share}), "sharegpt", ""),
            (json!({"instruction": "a", "input": "", "output": "b"}), "alpaca", ""),
            (json!({"prompt": "a", "completion": "b"}), "prompt/completion", ""),
            (json!({"prompt": "a", "chosen": "b", "rejected": "c"}), "preference", ""),
            (
                json!({"chosen": "\n\nHuman: q\n\nAssistant: b", "rejected": "\n\nHuman: q\n\nAssistant: c"}),
                "preference",
                "hh-rlhf transcripts",
            ),
            (json!({"prompt": "q", "chosen": turns, "rejected": turns}), "preference", "UltraFeedback"),
            (json!({"conversations": [share[0]], "chosen": share[1], "rejected": share[1]}), "preference", "LLaMA-Factory ranking"),
            (json!({"instruction": "q", "completions": [{"response": "x"}, {"response": "y"}]}), "ranking", "UltraFeedback ratings"),
            (json!({"instruction": "q", "input": "", "output": ["x", "y"]}), "ranking", ""),
            (json!({"prompt": "a", "completion": "b", "label": true}), "kto", ""),
            (json!({"messages": turns, "label": false}), "kto", ""),
            (json!({"question": "q", "answer": "a"}), "question/answer", ""),
            (json!({"question": "q", "choices": ["x", "y"], "answer": 1}), "choices", ""),
            (json!({"input": [{"role": "user", "content": "q"}], "target": "a"}), "question/answer", ""),
            (json!({"text": "write it", "code": "def f"}), "question/answer", ""),
            (json!({"turns": ["a", "b"]}), "prompts", ""),
            (json!({"input_ids": [1, 2], "labels": [-100, 2]}), "tokens", ""),
            (json!({"a": 1}), "other", ""),
            (json!([1]), "other", ""),
        ] {
            let mapping = recognise(&[&row]);
            assert_eq!((mapping.shape.as_str(), mapping.variant.as_str()), (shape, variant), "{row}");
        }
    }

    #[test]
    fn the_shape_of_most_rows_wins() {
        let (a, b) = (json!({"text": "x"}), json!({"prompt": "p", "completion": "c"}));
        assert_eq!(recognise(&[&a, &a, &b]).shape, "text");
        assert_eq!(recognise(&[&a, &b]).shape, "other");
        assert_eq!(recognise(&[]).shape, "text");
    }
}
