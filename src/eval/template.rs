//! Jinja over the fields of a row, as lm-evaluation-harness uses it: the text of a prompt, the list of choices.
//! Deliberately not here: chat templates (`sample`), which render whole conversations.

use std::borrow::Cow;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::Value;

/// Steps that one rendering may take: a template is a stranger's program.
const FUEL: u64 = 200_000;
/// The longest text that a template makes.
const LONGEST: usize = 16 << 20;

/// Renders templates; make one for a task and keep it.
pub struct Templates {
    env: Environment<'static>,
}

impl Default for Templates {
    fn default() -> Self {
        let mut env = Environment::new();
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            env.set_syntax(syntax);
        }
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        env.set_fuel(Some(FUEL));
        env.add_filter("regex_replace", regex_replace);
        Self { env }
    }
}

impl Templates {
    /// The text that a template makes of a row. The name of a field alone stands for what is in the field.
    pub fn text(&self, template: &str, row: &Value) -> Result<String, String> {
        if !template.contains('{') {
            return Ok(match field(row, template) {
                Some(value) => plain(value).into_owned(),
                None => template.to_owned(),
            });
        }
        let text = self.env.render_str(template, context(row)).map_err(|e| fault(&e))?;
        if text.len() > LONGEST { Err("makes more than 16 MB of text".into()) } else { Ok(text) }
    }

    /// The value of a template that is one expression (`{{choices.text}}`), of a field's name, or of text that reads as JSON.
    pub fn value(&self, template: &str, row: &Value) -> Result<Value, String> {
        if let Some(value) = field(row, template) {
            return Ok(value.clone());
        }
        let inner =
            template.trim().strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).filter(|t| !t.contains("{{") && !t.contains("}}"));
        if let Some(expression) = inner {
            let expression = self.env.compile_expression(expression).map_err(|e| fault(&e))?;
            let value = expression.eval(context(row)).map_err(|e| fault(&e))?;
            return serde_json::to_value(&value).map_err(|e| e.to_string());
        }
        let text = self.text(template, row)?;
        Ok(serde_json::from_str(text.trim()).unwrap_or(Value::String(text)))
    }

    /// A list of texts.
    pub fn list(&self, template: &str, row: &Value) -> Result<Vec<String>, String> {
        match self.value(template, row)? {
            Value::Array(items) => Ok(items.iter().map(|v| plain(v).into_owned()).collect()),
            other => Err(format!("gives {} and not a list", kind(&other))),
        }
    }
}

/// A field of a row, also one within another (`choices.text`).
pub fn field<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return None;
    }
    row.get(path).or_else(|| path.split('.').try_fold(row, |value, name| value.get(name)))
}

/// A value as text: a string as it is, anything else as JSON.
pub fn plain(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The fields by their names, and all of them as `row`, for names that are no identifiers.
fn context(row: &Value) -> minijinja::Value {
    let mut all = row.as_object().cloned().unwrap_or_default();
    all.insert("row".into(), row.clone());
    minijinja::Value::from(Serde(Value::Object(all)))
}

fn fault(error: &Error) -> String {
    let detail = error.detail().map(str::to_owned).unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => "takes too many steps".into(),
        ErrorKind::UndefinedError => format!("names a field that the row does not have ({})", super::shown(&error.to_string())),
        kind => format!("is no template that works: {kind:?} {}", super::shown(&detail)),
    }
}

/// lm-evaluation-harness' filter.
fn regex_replace(text: String, pattern: String, value: Option<String>, kwargs: Kwargs) -> Result<String, Error> {
    let value = match value {
        Some(value) => value,
        None => kwargs.get::<Option<String>>("value")?.unwrap_or_default(),
    };
    let regex = regex::RegexBuilder::new(&pattern).size_limit(1 << 20).build();
    let regex = regex.map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))?;
    Ok(regex.replace_all(&text, value.as_str()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_become_texts_and_lists() {
        let t = Templates::default();
        let row = json!({"question": " What? ", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answer": 1, "Best Answer": "x"});
        assert_eq!(t.text("{{question.strip()}}\nA. {{choices.text[0]}}\n", &row).unwrap(), "What?\nA. a\n");
        assert_eq!(t.text("question", &row).unwrap(), " What? ");
        assert_eq!(t.text("no field", &row).unwrap(), "no field");
        assert_eq!(t.text("{{row['Best Answer']}}", &row).unwrap(), "x");
        assert_eq!(t.list("{{choices.text}}", &row).unwrap(), ["a", "b"]);
        assert_eq!(t.list("choices.label", &row).unwrap(), ["A", "B"]);
        assert_eq!(t.list("{{ [row['Best Answer']] + ['y'] }}", &row).unwrap(), ["x", "y"]);
        assert_eq!(t.value("{{answer}}", &row).unwrap(), json!(1));
        assert_eq!(t.text("{{ question | regex_replace('[?]', '!') }}", &row).unwrap(), " What! ");
    }

    #[test]
    fn a_template_that_cannot_be_says_why() {
        let t = Templates::default();
        let row = json!({"q": "x"});
        assert!(t.text("{{missing}}", &row).unwrap_err().contains("does not have"), "{}", t.text("{{missing}}", &row).unwrap_err());
        assert!(t.text("{{", &row).is_err() && t.list("q", &row).unwrap_err().contains("not a list"));
        let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        assert!(t.text(endless, &row).unwrap_err().contains("too many steps"));
    }
}
