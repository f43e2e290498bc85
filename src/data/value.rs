//! One JSON value from text, with the keys that come twice noticed: serde_json alone keeps the last one without a word.
//! Deliberately not here: where a value stands in a file (`formats`) and what it means (`shape`).

use super::formats::{Parsed, RowFault};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;

/// Reads a value that is all of the text.
pub fn parse(text: &str) -> Result<Parsed, RowFault> {
    let twice = RefCell::new(None);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Seed { twice: &twice }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value)).map_err(|e| {
        let message = e.to_string();
        let cause = message.split(" at line ").next().unwrap_or_default();
        let place =
            if e.line() > 1 { format!("line {} of the row, column {}", e.line(), e.column()) } else { format!("column {}", e.column()) };
        RowFault::new(format!("not JSON at {place}: {}", super::visible(cause)))
    })?;
    let oddity = twice.into_inner().map(|key: String| {
        let short: String = key.chars().take(40).collect();
        format!("the key “{}” comes twice: the last one counts", super::visible(&short))
    });
    Ok(Parsed { value, oddity })
}

#[derive(Clone, Copy)]
struct Seed<'t> {
    /// The first key that came twice.
    twice: &'t RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;
    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            if fields.insert(key.clone(), value).is_some() {
                self.twice.borrow_mut().get_or_insert(key);
            }
        }
        if fields.len() > MAX_FIELDS {
            return Err(A::Error::custom(format!("an object of more than {MAX_FIELDS} fields")));
        }
        Ok(Value::Object(fields))
    }
}

/// No row of a data set has more; a file of another kind may.
const MAX_FIELDS: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_serde_json_and_twice_is_noticed() {
        let text = r#"{"a":[1,-2,3.5,null,true,{"b":"\u0000é"}],"c":18446744073709551615}"#;
        let parsed = parse(text).unwrap();
        assert_eq!((parsed.value, parsed.oddity), (serde_json::from_str::<Value>(text).unwrap(), None));
        let parsed = parse(r#"{"a":1,"x":{"b\u001b":1,"b\u001b":2},"a":3}"#).unwrap();
        assert_eq!(parsed.value, serde_json::json!({"a": 3, "x": {"b\u{1b}": 2}}));
        assert_eq!(parsed.oddity.unwrap(), "the key “b␛” comes twice: the last one counts");
        assert_eq!(parse("{\"a\":1").unwrap_err().what, "not JSON at column 6: EOF while parsing an object");
        assert!(parse("1 2").unwrap_err().what.contains("trailing"));
        assert!(parse(&"[".repeat(10_000)).unwrap_err().what.contains("recursion"));
    }
}
