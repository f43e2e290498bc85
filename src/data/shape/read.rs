//! Rows by their shape: a value and a mapping make an example, or say why they do not.
//! Deliberately not here: which shape it is (`recognise`).

use super::turns::{self, Turn, kind};
use super::{Example, Mapping};
use serde_json::Value;

impl Mapping {
    /// The row as its shape understands it; the error is the reason why it does not fit, in a few words.
    pub fn example(&self, row: &Value) -> Result<Example, String> {
        match self.shape.as_str() {
            "text" if row.is_string() => Ok(Example::Text(row.as_str().unwrap_or_default().into())),
            "other" => Ok(Example::Text(all_texts(row))),
            _ if !row.is_object() => Err(format!("the row is {}, not an object", kind(row))),
            "text" => Ok(Example::Text(self.text(row, "text")?)),
            "messages" | "sharegpt" => self.chat(row),
            "alpaca" => self.alpaca(row),
            "prompt/completion" => Ok(Example::Pair { prompt: self.text(row, "prompt")?, completion: self.text(row, "completion")? }),
            "preference" => self.preference(row),
            "ranking" => self.ranking(row),
            "kto" => self.judged(row),
            "question/answer" => {
                Ok(Example::Question { question: self.asked(row, "question")?, choices: Vec::new(), answer: self.answer(row, "answer")? })
            }
            "choices" => self.choices(row),
            "choice columns" => {
                let choices = ["a", "b", "c", "d"].iter().map(|slot| self.text(row, slot)).collect::<Result<_, _>>()?;
                let answer = self.text(row, "answer")?;
                if !matches!(answer.trim(), "A" | "B" | "C" | "D") {
                    return Err(format!("the answer is “{}”, not A, B, C or D", short(&answer)));
                }
                Ok(Example::Question { question: self.text(row, "question")?, choices, answer })
            }
            "prompts" => Ok(Example::Text(self.asked(row, "prompt")?)),
            "tokens" => match self.value(row, "ids")? {
                Value::Array(ids) => {
                    ids.iter().map(|id| id.as_i64().ok_or("an id is no whole number".into())).collect::<Result<_, _>>().map(Example::Tokens)
                }
                other => Err(format!("the ids are {}", kind(other))),
            },
            other => Err(format!("{other} is no shape")),
        }
    }

    fn value<'r>(&self, row: &'r Value, slot: &str) -> Result<&'r Value, String> {
        let field = self.field(slot).ok_or_else(|| format!("no field is named for {slot}"))?;
        row.get(field).ok_or_else(|| format!("no field “{}”", short(field)))
    }

    fn text(&self, row: &Value, slot: &str) -> Result<String, String> {
        match self.value(row, slot)? {
            Value::String(text) => Ok(text.clone()),
            other => Err(format!("the field “{}” is {}, not a text", short(self.field(slot).unwrap_or(slot)), kind(other))),
        }
    }

    /// A part that may be missing or null.
    fn maybe<'r>(&self, row: &'r Value, slot: &str) -> Option<&'r Value> {
        row.get(self.field(slot)?).filter(|v| !v.is_null())
    }

    fn chat(&self, row: &Value) -> Result<Example, String> {
        let mut turns = turns::turns(self.value(row, "messages")?, self)?;
        if let Some(Value::String(system)) = self.maybe(row, "system").filter(|v| v.as_str() != Some("")) {
            turns.insert(0, Turn::new("system", system.as_str()));
        }
        Ok(Example::Chat(turns))
    }

    fn alpaca(&self, row: &Value) -> Result<Example, String> {
        let mut turns = Vec::new();
        if let Some(Value::String(system)) = self.maybe(row, "system").filter(|v| v.as_str() != Some("")) {
            turns.push(Turn::new("system", system.as_str()));
        }
        for exchange in self.maybe(row, "history").and_then(Value::as_array).into_iter().flatten() {
            let (Some(question), Some(answer)) = (exchange[0].as_str(), exchange[1].as_str()) else {
                return Err("the history is no list of pairs".into());
            };
            turns.extend([Turn::new("user", question), Turn::new("assistant", answer)]);
        }
        let instruction = self.text(row, "instruction")?;
        let input = self.maybe(row, "input").and_then(Value::as_str).unwrap_or_default();
        let question = if input.is_empty() { instruction } else { format!("{instruction}\n{input}") };
        turns.extend([Turn::new("user", question), Turn::new("assistant", self.text(row, "output")?)]);
        Ok(Example::Chat(turns))
    }

    fn preference(&self, row: &Value) -> Result<Example, String> {
        let side = |slot: &str| -> Result<Vec<Turn>, String> {
            match self.value(row, slot)? {
                Value::String(text) => Ok(turns::transcript(text).unwrap_or_else(|| vec![Turn::new("assistant", text.as_str())])),
                other => turns::turns(other, self).map_err(|why| format!("{slot}: {why}")),
            }
        };
        let (mut chosen, mut rejected) = (side("chosen")?, side("rejected")?);
        let mut prompt = match self.maybe(row, "prompt") {
            None => Vec::new(),
            Some(Value::String(text)) => turns::transcript(text).unwrap_or_else(|| vec![Turn::new("user", text.as_str())]),
            Some(other) => turns::turns(other, self).map_err(|why| format!("prompt: {why}"))?,
        };
        if let Some(Value::String(system)) = self.maybe(row, "system").filter(|v| v.as_str() != Some("")) {
            prompt.insert(0, Turn::new("system", system.as_str()));
        }
        // Both sides may repeat the prompt, or be the only place where it stands.
        if chosen.len() > 1 && rejected.len() > 1 {
            let same = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count().min(chosen.len() - 1).min(rejected.len() - 1);
            if same > 0 && (prompt.is_empty() || chosen[..same].ends_with(&prompt)) {
                prompt = chosen[..same].to_vec();
                (chosen, rejected) = (chosen.split_off(same), rejected.split_off(same));
            }
        }
        if chosen.is_empty() || rejected.is_empty() {
            return Err("an answer has no turn".into());
        }
        Ok(Example::Preference { prompt, chosen, rejected })
    }

    fn ranking(&self, row: &Value) -> Result<Example, String> {
        let Value::Array(list) = self.value(row, "answers")? else { return Err("the answers are no list".into()) };
        let answers = list
            .iter()
            .map(|answer| match answer {
                Value::String(text) => Ok((text.clone(), None)),
                Value::Object(map) => {
                    let text = ["response", "text", "content", "answer"].iter().find_map(|key| map.get(*key)?.as_str());
                    let score = ["overall_score", "score", "rating", "fine-grained_score"].iter().find_map(|key| map.get(*key)?.as_f64());
                    text.map(|t| (t.to_owned(), score)).ok_or_else(|| "an answer has no text".to_owned())
                }
                other => Err(format!("an answer is {}", kind(other))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if answers.len() < 2 {
            return Err("fewer than two answers to compare".into());
        }
        let mut prompt = self.text(row, "prompt")?;
        if let Some(Value::String(input)) = self.maybe(row, "input").filter(|v| v.as_str() != Some("")) {
            prompt = format!("{prompt}\n{input}");
        }
        Ok(Example::Ranking { prompt, answers })
    }

    fn judged(&self, row: &Value) -> Result<Example, String> {
        let good = match self.value(row, "label")? {
            Value::Bool(good) => *good,
            Value::Number(n) if matches!(n.as_f64(), Some(0.0 | 1.0)) => n.as_f64() == Some(1.0),
            other => return Err(format!("the label is {}, not true or false", kind(other))),
        };
        let mut answer = match self.value(row, "completion")? {
            Value::String(text) => vec![Turn::new("assistant", text.as_str())],
            other => turns::turns(other, self)?,
        };
        let prompt = match self.maybe(row, "prompt") {
            Some(Value::String(text)) => vec![Turn::new("user", text.as_str())],
            Some(other) => turns::turns(other, self)?,
            None if answer.len() > 1 => {
                let last = answer.split_off(answer.len() - 1);
                std::mem::replace(&mut answer, last)
            }
            None => Vec::new(),
        };
        Ok(Example::Judged { prompt, answer, good })
    }

    /// A question, which may be a conversation or a list of texts.
    fn asked(&self, row: &Value, slot: &str) -> Result<String, String> {
        match self.value(row, slot)? {
            Value::String(text) => Ok(text.clone()),
            Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
                Ok(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
            }
            list @ Value::Array(_) => Ok(turns::turns(list, self)?.into_iter().map(|t| t.content).collect::<Vec<_>>().join("\n")),
            other => Err(format!("the field “{}” is {}, not a text", short(self.field(slot).unwrap_or(slot)), kind(other))),
        }
    }

    fn answer(&self, row: &Value, slot: &str) -> Result<String, String> {
        match self.value(row, slot)? {
            Value::String(text) => Ok(text.clone()),
            Value::Number(n) => Ok(n.to_string()),
            Value::Bool(b) => Ok(b.to_string()),
            Value::Array(items) if !items.is_empty() => {
                Ok(items.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect::<Vec<_>>().join("\n"))
            }
            other => Err(format!("the answer is {}", kind(other))),
        }
    }

    fn choices(&self, row: &Value) -> Result<Example, String> {
        let list = match self.value(row, "choices")? {
            Value::Array(items) => items.clone(),
            // ARC and the like: {"text": […], "label": […]}.
            Value::Object(map) => map.get("text").and_then(Value::as_array).cloned().ok_or("the choices hold no list")?,
            other => return Err(format!("the choices are {}", kind(other))),
        };
        let choices = list.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        Ok(Example::Question { question: self.asked(row, "question")?, choices, answer: self.answer(row, "answer")? })
    }
}

/// All texts within a value, in order, a line each.
fn all_texts(value: &Value) -> String {
    fn walk(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::String(text) => out.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|v| walk(v, out)),
            Value::Object(map) => map.values().for_each(|v| walk(v, out)),
            Value::Null => {}
            other => out.push(other.to_string()),
        }
    }
    let mut out = Vec::new();
    walk(value, &mut out);
    out.join("\n")
}

fn short(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    crate::data::visible(&short).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(mapping: &str, row: Value) -> Result<Example, String> {
        Mapping::parse(mapping).unwrap().example(&row)
    }

    fn turns(list: &[(&str, &str)]) -> Vec<Turn> {
        list.iter().map(|(r, c)| Turn::new(r, *c)).collect()
    }

    #[test]
    fn every_shape_reads_its_rows() {
        let alpaca =
            read("alpaca input=input history=history", json!({"instruction": "a", "input": "b", "output": "c", "history": [["q", "r"]]}));
        assert_eq!(alpaca.unwrap(), Example::Chat(turns(&[("user", "q"), ("assistant", "r"), ("user", "a\nb"), ("assistant", "c")])));
        let hh = read("preference", json!({"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"}));
        let want = |prompt: &[(&str, &str)]| Example::Preference {
            prompt: turns(prompt),
            chosen: turns(&[("assistant", "good")]),
            rejected: turns(&[("assistant", "bad")]),
        };
        assert_eq!(hh.unwrap(), want(&[("user", "q")]));
        let pair = |text: &str| json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": text}]);
        let ultra = read("preference prompt=prompt", json!({"prompt": "q", "chosen": pair("good"), "rejected": pair("bad")}));
        assert_eq!(ultra.unwrap(), want(&[("user", "q")]));
        let ranking = json!({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}});
        assert_eq!(read("preference prompt=conversations", ranking).unwrap(), want(&[("user", "q")]));
        let rated =
            json!({"instruction": "q", "completions": [{"response": "x", "overall_score": 7.5}, {"response": "y", "overall_score": 2}]});
        let answers = vec![("x".to_owned(), Some(7.5)), ("y".to_owned(), Some(2.0))];
        assert_eq!(read("ranking", rated).unwrap(), Example::Ranking { prompt: "q".into(), answers });
        let kto = read("kto completion=messages", json!({"messages": pair("good"), "label": true}));
        let judged = Example::Judged { prompt: turns(&[("user", "q")]), answer: turns(&[("assistant", "good")]), good: true };
        assert_eq!(kto.unwrap(), judged);
        assert_eq!(read("kto prompt=prompt", json!({"prompt": "q", "completion": "good", "label": 1})).unwrap(), judged);
        let mmlu = json!({"column 1": "q", "column 2": "1", "column 3": "2", "column 4": "3", "column 5": "4", "column 6": "B"});
        assert!(matches!(read("choice columns", mmlu).unwrap(), Example::Question { choices, .. } if choices.len() == 4));
    }

    #[test]
    fn what_does_not_fit_says_why() {
        for (mapping, row, why) in [
            ("text", json!({"text": 3}), "the field “text” is a number, not a text"),
            ("text", json!({"txt": ""}), "no field “text”"),
            ("text", json!([1]), "the row is a list, not an object"),
            ("kto", json!({"completion": "x", "label": "yes"}), "the label is a text, not true or false"),
            ("preference", json!({"chosen": [], "rejected": []}), "an answer has no turn"),
            ("messages", json!({"messages": {}}), "no role"),
            ("ranking", json!({"instruction": "", "completions": ["x"]}), "fewer than two answers to compare"),
        ] {
            assert_eq!(read(mapping, row).unwrap_err(), why);
        }
    }
}
