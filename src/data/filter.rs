//! Which rows a person wants to see: a text that stands in them, or what their fields are.
//! Deliberately not here: who goes through the rows.

use super::shape::{Example, Mapping};
use super::table::Row;
use serde_json::Value;

/// Terms that a row must all meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    /// A text anywhere in the row, in small letters.
    Text(String),
    /// `is:broken`, `is:unfit`, `is:empty`.
    Is(&'static str),
    /// A field, how it is compared, and with what. `len` is the row's length in bytes, `line` its line.
    Field(Vec<String>, Compare, String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Is,
    IsNot,
    Contains,
    Less,
    More,
}

const STATES: &[&str] = &["broken", "unfit", "empty"];

/// What a filter may say, in one line.
pub const HELP: &str =
    "text · field=value · field!=value · field:part · len>1000 · line<50 · is:broken is:unfit is:empty · a.0.b and a.*.b reach in";

impl Filter {
    /// Terms at blanks, all of which must hold; quotes keep blanks together.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut terms, mut rest) = (Vec::new(), text.trim());
        while !rest.is_empty() {
            let (word, quoted, after) = word(rest);
            rest = after.trim_start();
            terms.push(term(&word, quoted)?);
        }
        Ok(Self { terms })
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn matches(&self, row: &Row, mapping: &Mapping) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Text(text) => {
                contains(&row.raw, text) || row.parsed.as_ref().is_ok_and(|p| any_text(&p.value, &|t| t.to_lowercase().contains(text)))
            }
            Term::Is("broken") => row.parsed.is_err(),
            Term::Is(state) => row.parsed.as_ref().is_ok_and(|p| match (*state, mapping.example(&p.value)) {
                ("unfit", example) => example.is_err(),
                (_, Ok(Example::Tokens(ids))) => ids.is_empty(),
                (_, Ok(example)) => example.texts().iter().all(|t| t.trim().is_empty()),
                (_, Err(_)) => false,
            }),
            Term::Field(path, compare, wanted) => match path[0].as_str() {
                "len" if path.len() == 1 => number(row.span.bytes() as f64, *compare, wanted),
                "line" if path.len() == 1 => number(row.span.line as f64, *compare, wanted),
                _ => row.parsed.as_ref().is_ok_and(|p| field(&p.value, path, *compare, wanted)),
            },
        })
    }
}

fn term(word: &str, quoted: bool) -> Result<Term, String> {
    if quoted {
        return Ok(Term::Text(word.to_lowercase()));
    }
    if let Some(state) = word.strip_prefix("is:") {
        let known = STATES.iter().find(|s| **s == state);
        return known
            .map(|s| Term::Is(s))
            .ok_or_else(|| format!("is:{} is not known; there are is:{}", super::visible(state), STATES.join(", is:")));
    }
    let signs = [("!=", Compare::IsNot), ("=", Compare::Is), (":", Compare::Contains), ("<", Compare::Less), (">", Compare::More)];
    let first =
        signs.iter().filter_map(|(sign, compare)| word.find(sign).map(|at| (at, sign.len(), *compare))).min_by_key(|f| (f.0, 3 - f.1));
    let Some((at, length, compare)) = first.filter(|f| f.0 > 0) else { return Ok(Term::Text(word.to_lowercase())) };
    let value = word[at + length..].trim_matches('"').to_owned();
    if matches!(compare, Compare::Less | Compare::More) && value.parse::<f64>().is_err() {
        return Err(format!("“{}” is no number to compare with", super::visible(&value)));
    }
    Ok(Term::Field(word[..at].split('.').map(str::to_owned).collect(), compare, value))
}

/// The first word, whether it was quoted as a whole, and what follows.
fn word(text: &str) -> (String, bool, &str) {
    if let Some(inner) = text.strip_prefix('"') {
        let end = inner.find('"').unwrap_or(inner.len());
        return (inner[..end].to_owned(), true, inner.get(end + 1..).unwrap_or_default());
    }
    let mut quoted = false;
    let end = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        c.is_whitespace() && !quoted
    });
    let end = end.map_or(text.len(), |(at, _)| at);
    (text[..end].to_owned(), false, &text[end..])
}

fn contains(raw: &[u8], text: &str) -> bool {
    // Most rows hold what they say as it stands, in plain letters.
    String::from_utf8_lossy(raw).to_lowercase().contains(text)
}

fn any_text(value: &Value, holds: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => holds(text),
        Value::Array(items) => items.iter().any(|v| any_text(v, holds)),
        Value::Object(map) => map.values().any(|v| any_text(v, holds)),
        _ => false,
    }
}

fn number(value: f64, compare: Compare, wanted: &str) -> bool {
    let Ok(wanted) = wanted.parse::<f64>() else { return false };
    match compare {
        Compare::Is | Compare::Contains => value == wanted,
        Compare::IsNot => value != wanted,
        Compare::Less => value < wanted,
        Compare::More => value > wanted,
    }
}

fn field(value: &Value, path: &[String], compare: Compare, wanted: &str) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return match value {
            Value::String(text) => match compare {
                Compare::Is => text == wanted,
                Compare::IsNot => text != wanted,
                Compare::Contains => text.to_lowercase().contains(&wanted.to_lowercase()),
                Compare::Less | Compare::More => number(text.chars().count() as f64, compare, wanted),
            },
            Value::Number(n) => number(n.as_f64().unwrap_or(f64::NAN), compare, wanted),
            Value::Array(items) if matches!(compare, Compare::Less | Compare::More) => number(items.len() as f64, compare, wanted),
            other => {
                let text = other.to_string();
                (text.as_str() == wanted) != (compare == Compare::IsNot)
            }
        };
    };
    match value {
        Value::Array(items) if first == "*" => items.iter().any(|v| field(v, rest, compare, wanted)),
        Value::Array(items) => first.parse::<usize>().ok().and_then(|i| items.get(i)).is_some_and(|v| field(v, rest, compare, wanted)),
        Value::Object(map) if first == "*" => map.values().any(|v| field(v, rest, compare, wanted)),
        Value::Object(map) => map.get(first).map_or(compare == Compare::IsNot, |v| field(v, rest, compare, wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::formats::Span;

    #[test]
    fn terms_find_their_rows() {
        let raw = r#"{"id": 7, "text": "One Day", "tags": ["a", "b"], "messages": [{"role": "user"}, {"role": "tool"}], "ok": true}"#;
        let row = Row {
            number: 0,
            span: Span { start: 0, end: raw.len() as u64, line: 3 },
            parsed: crate::data::value::parse(raw),
            raw: raw.as_bytes().to_vec(),
        };
        let mapping = Mapping::parse("text").unwrap();
        let holds = |text: &str| Filter::parse(text).unwrap().matches(&row, &mapping);
        for yes in [
            "",
            "one",
            "\"one day\"",
            "id=7",
            "id!=8",
            "id>6 id<8",
            "text:day",
            "text=\"One Day\"",
            "text>6",
            "tags.0=a",
            "tags.*=b",
            "messages.*.role=tool",
            "tags>1",
            "ok=true",
            "len>50",
            "line=3",
            "other!=1",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in [
            "two",
            "id=8",
            "text=one",
            "tags.2=a",
            "messages.0.role=tool",
            "is:broken",
            "is:unfit",
            "is:empty",
            "len<5",
            "one id=8",
            "ok=false",
        ] {
            assert!(!holds(no), "{no}");
        }
        assert!(Filter::parse("is:odd").unwrap_err().contains("is:broken, is:unfit"));
        assert!(Filter::parse("id>x").unwrap_err().contains("no number"));
    }
}
