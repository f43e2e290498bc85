//! What templates take from Python beside Jinja: `json.dumps`, numbers as Python writes them, and methods of texts.
//! Deliberately not here: the methods that minijinja's own library of them knows.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

/// Deeper values are nobody's, and would be walked on the stack.
const MAX_DEPTH: usize = 100;

/// How `json.dumps` is asked to write.
struct Style {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
    limit: usize,
}

/// `tojson` of transformers: `json.dumps(x, ensure_ascii, indent, separators, sort_keys)`, never escaped for HTML.
pub fn tojson(state: &State, args: &[Value], limit: usize) -> Result<String, Error> {
    let (positional, named): (&[Value], Kwargs) = from_args(args)?;
    let Some((value, positional)) = positional.split_first() else { return Err(Error::from(ErrorKind::MissingArgument)) };
    let option = |at: usize, name: &str| -> Result<Value, Error> {
        match positional.get(at) {
            Some(value) => Ok(value.clone()),
            None => Ok(named.get::<Option<Value>>(name)?.unwrap_or_default()),
        }
    };
    let indent = option(1, "indent")?;
    let indent = match indent.kind() {
        ValueKind::Undefined | ValueKind::None => None,
        ValueKind::String => Some(indent.to_string()),
        _ => Some(" ".repeat(indent.as_i64().unwrap_or(0).clamp(0, 1000) as usize)),
    };
    let separators = option(2, "separators")?;
    let (item, key) = match separators.kind() {
        ValueKind::Undefined | ValueKind::None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        _ => (separators.get_item_by_index(0)?.to_string(), separators.get_item_by_index(1)?.to_string()),
    };
    let style = Style { ascii: option(0, "ensure_ascii")?.is_true(), indent, item, key, sort: option(3, "sort_keys")?.is_true(), limit };
    named.assert_all_used()?;
    let mut out = String::new();
    dump(value, &style, 0, &mut out)?;
    state.consume_fuel(out.len() as u64 / 64)?;
    Ok(out)
}

fn dump(value: &Value, style: &Style, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH || out.len() > style.limit {
        return Err(Error::new(ErrorKind::InvalidOperation, "the value is too deep or too large to be written as JSON"));
    }
    let not = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, format!("Object of type {what} is not JSON serializable")));
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if value.is_integer() => out.push_str(&value.to_string()),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) => out.push_str(&float(number)),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::String => quote(value.as_str().unwrap_or_default(), style.ascii, out),
        // The sum of two lists is a list, which knows its length, where a generator does not.
        kind if kind == ValueKind::Seq || (kind == ValueKind::Iterable && value.len().is_some()) => {
            list(value.try_iter()?, style, depth, ['[', ']'], out, |item, style, depth, out| dump(&item, style, depth, out))?;
        }
        ValueKind::Map => {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                let name = match key.kind() {
                    ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                    ValueKind::None => "null".into(),
                    ValueKind::Bool => if key.is_true() { "true" } else { "false" }.into(),
                    ValueKind::Number if !key.is_integer() => f64::try_from(key.clone()).map_or_else(|_| key.to_string(), float),
                    _ => key.to_string(),
                };
                pairs.push((name, value.get_item(&key)?));
            }
            if style.sort {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            list(pairs.into_iter(), style, depth, ['{', '}'], out, |(name, value), style, depth, out| {
                quote(&name, style.ascii, out);
                out.push_str(&style.key);
                dump(&value, style, depth, out)
            })?;
        }
        ValueKind::Undefined => return not("Undefined"),
        ValueKind::Iterable => return not("generator"),
        other => return not(&other.to_string()),
    }
    Ok(())
}

fn list<T>(
    items: impl Iterator<Item = T>,
    style: &Style,
    depth: usize,
    [open, close]: [char; 2],
    out: &mut String,
    mut one: impl FnMut(T, &Style, usize, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = |depth: usize, out: &mut String| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    };
    out.push(open);
    let mut any = false;
    for item in items {
        if any {
            out.push_str(&style.item);
        }
        any = true;
        line(depth + 1, out);
        one(item, style, depth + 1, out)?;
    }
    if any {
        line(depth, out);
    }
    out.push(close);
    Ok(())
}

fn quote(text: &str, ascii: bool, out: &mut String) {
    use std::fmt::Write;
    out.push('"');
    for c in text.chars() {
        let written = match c {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            '\u{8}' => out.write_str("\\b"),
            '\u{c}' => out.write_str("\\f"),
            c if u32::from(c) < 0x20 => write!(out, "\\u{:04x}", u32::from(c)),
            c if ascii && !c.is_ascii() => {
                let mut units = [0u16; 2];
                c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
            }
            c => out.write_char(c),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    out.push('"');
}

/// Jinja2's `indent`, which keeps the line end of a text's last line where minijinja's drops it.
pub fn indent(state: &State, args: &[Value]) -> Result<String, Error> {
    let (positional, named): (&[Value], Kwargs) = from_args(args)?;
    let option = |at: usize, name: &str| -> Result<Value, Error> {
        match positional.get(at) {
            Some(value) => Ok(value.clone()),
            None => Ok(named.get::<Option<Value>>(name)?.unwrap_or_default()),
        }
    };
    let Some(text) = positional.first().map(ToString::to_string) else { return Err(Error::from(ErrorKind::MissingArgument)) };
    let (width, first, blank) = (option(1, "width")?, option(2, "first")?.is_true(), option(3, "blank")?.is_true());
    named.assert_all_used()?;
    let by = match width.kind() {
        ValueKind::String => width.to_string(),
        ValueKind::Undefined | ValueKind::None => " ".repeat(4),
        _ => " ".repeat(width.as_i64().unwrap_or(4).clamp(0, 1000) as usize),
    };
    // Each line may get as many more bytes.
    state.consume_fuel((text.matches('\n').count() as u64 + 1) * (by.len() as u64 / 64 + 1))?;
    let mut out = if first { by.clone() } else { String::new() };
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
            if !line.is_empty() || blank {
                out.push_str(&by);
            }
        }
        out.push_str(line);
    }
    Ok(out)
}

/// A float as Python's `repr` writes it: the shortest digits that give it back, scientific below 1e-4 and from 1e16 on.
pub fn float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = x.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// Methods of texts and dictionaries that minijinja's library of them lacks.
pub fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match name {
            "removeprefix" => {
                let (prefix,): (&str,) = from_args(args)?;
                return Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)));
            }
            "removesuffix" => {
                let (suffix,): (&str,) = from_args(args)?;
                return Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)));
            }
            "partition" | "rpartition" => {
                let (mark,): (&str,) = from_args(args)?;
                if mark.is_empty() {
                    return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
                }
                let last = name == "rpartition";
                let parts = match if last { text.rsplit_once(mark) } else { text.split_once(mark) } {
                    Some((a, b)) => [a, mark, b],
                    None if last => ["", "", text],
                    None => [text, "", ""],
                };
                return Ok(parts.into_iter().map(|part| Value::from(part.to_owned())).collect());
            }
            "rsplit" => {
                let (mark, most): (Option<&str>, Option<i64>) = from_args(args)?;
                let Some(mark) = mark.filter(|m| !m.is_empty()) else {
                    return minijinja_contrib::pycompat::unknown_method_callback(state, value, "split", &[]);
                };
                let most = most.filter(|n| *n >= 0).map_or(usize::MAX, |n| n as usize + 1);
                let mut parts: Vec<&str> = text.rsplitn(most, mark).collect();
                parts.reverse();
                return Ok(parts.into_iter().map(|part| Value::from(part.to_owned())).collect());
            }
            "index" => {
                let (what,): (&str,) = from_args(args)?;
                let at = text.find(what).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "substring not found"))?;
                return Ok(Value::from(text[..at].chars().count()));
            }
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_are_as_pythons() {
        // repr() of each.
        for (x, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (123456.789, "123456.789"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(float(x), text);
        }
    }
}
