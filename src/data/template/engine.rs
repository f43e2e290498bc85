//! A template run by minijinja in the manner of transformers' environment: trimmed blocks, loop controls, its functions,
//! and bounds on the steps, the depth and the text of a template that means no good.
//! Deliberately not here: what is put into the context (`mod`).

use super::moment::Moment;
use super::python;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Serde, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use std::io;

/// Steps of any template (an instruction, or 64 bytes of text), and those more for each byte of what it is given.
const STEPS: u64 = 1_000_000;
const STEPS_PER_BYTE: u64 = 4;
/// Text of any template, and the more for each byte of what it is given.
const TEXT_BYTES: usize = 1 << 20;
const TEXT_PER_BYTE: usize = 16;
/// Calls of macros and nested blocks.
const DEPTH: usize = 200;
/// Items of a list that is kept, and additions in a template: what one expression can make of lists at most.
const LONGEST_LIST: usize = 10_000;
const ADDITIONS: usize = 2_000;

/// Renders `source`. With a marker, what stands in `{% generation %}` is put between two of it. An error is one line.
pub fn render(source: &str, context: &serde_json::Value, now: Moment, marker: Option<&str>) -> Result<String, String> {
    if source.matches('+').count() > ADDITIONS {
        return Err(format!("it has more than {ADDITIONS} additions, which is no template"));
    }
    let source = prepared(source);
    let given = source.len() + size(context);
    let limit = TEXT_BYTES + TEXT_PER_BYTE * given;
    let mut environment = environment(now, marker.map(str::to_owned), limit).map_err(|e| told(&e))?;
    environment.set_fuel(Some(STEPS + STEPS_PER_BYTE * given as u64));
    let template = environment.template_from_named_str("chat", &source).map_err(|e| told(&e))?;
    let mut text = Text { bytes: Vec::new(), limit };
    template.render_captured_to(Value::from(Serde(context)), &mut text).map_err(|e| told(&e))?;
    // Pieces of text are whole characters.
    String::from_utf8(text.bytes).map_err(|_| "it rendered what is no text".into())
}

fn environment(now: Moment, marker: Option<String>, limit: usize) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_recursion_limit(DEPTH);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(python::method);
    environment.add_filter("tojson", move |state: &State, args: Rest<ValueOrKwargs>| python::tojson(state, &args.into_values(), limit));
    environment.add_filter("bounded", bounded);
    environment.add_filter("indent", |state: &State, args: Rest<ValueOrKwargs>| python::indent(state, &args.into_values()));
    environment.add_filter("generated", move |text: String| match &marker {
        Some(marker) => format!("{marker}{text}{marker}"),
        None => text,
    });
    environment
        .add_function("raise_exception", |what: String| -> Result<Value, Error> { Err(Error::new(ErrorKind::InvalidOperation, what)) });
    environment.add_function("strftime_now", move |format: String| now.strftime(&format));
    environment.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    Ok(environment)
}

/// Text that a template may make so much of.
struct Text {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Text {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.limit {
            return Err(io::Error::other(format!("it makes more than {} bytes of text", self.limit)));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// minijinja's fault in one line with its place; what a template says itself stands first.
fn told(error: &Error) -> String {
    let place = error.line().map_or(String::new(), |line| format!("line {line}: "));
    let source = std::error::Error::source(error).map(|s| format!(" ({s})")).unwrap_or_default();
    let text = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it does not come to an end within the steps that a template may take".into(),
        (_, Some(detail)) => format!("{detail}{source}"),
        (kind, None) => format!("{kind}{source}"),
    };
    let text = text.replace('\n', " ");
    format!("{place}{}", text.chars().take(500).collect::<String>())
}

/// How much a value holds, in bytes and values.
fn size(value: &serde_json::Value) -> usize {
    use serde_json::Value as Json;
    match value {
        Json::String(text) => text.len() + 1,
        Json::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Json::Object(map) => 1 + map.iter().map(|(k, v)| k.len() + size(v)).sum::<usize>(),
        _ => 1,
    }
}

/// The template as it is run: each `{% generation %}` block is one of the filter `generated`, and what is set or given to a
/// macro passes `bounded`, since lists that are added to themselves cost minijinja no steps until all of them are copied. Blanks
/// and marks stay as they are.
fn prepared(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 64);
    let mut rest = source;
    while let Some(at) = [rest.find("{%"), rest.find("{#")].into_iter().flatten().min() {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        if tag.starts_with("{#") {
            let end = tag.find("#}").map_or(tag.len(), |end| end + 2);
            out.push_str(&tag[..end]);
            rest = &tag[end..];
            continue;
        }
        let inner = &tag[2..];
        let sign = usize::from(inner.starts_with(['-', '+']));
        let word_at = sign + inner[sign..].len() - inner[sign..].trim_start().len();
        let word: &str = inner[word_at..].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        out.push_str(&tag[..2 + word_at]);
        let behind = &inner[word_at + word.len()..];
        let body = &behind[..tag_end(behind)];
        rest = &behind[body.len()..];
        let (body, close) = body.split_at(body.trim_end_matches(['-', '+']).len());
        match word {
            "generation" => out.push_str(&format!("filter generated{body}{close}")),
            "endgeneration" => out.push_str(&format!("endfilter{body}{close}")),
            "set" if assignment(body).is_some() => {
                let (target, value) = body.split_at(assignment(body).unwrap_or_default());
                out.push_str(&format!("set{target}= ({}) | bounded {close}", &value[1..]));
            }
            "macro" => {
                let bounds = parameters(body).map(|name| format!("{name} = ({name}) | bounded"));
                let sets: Vec<String> = bounds.map(|set| format!("{{% set {set} ")).collect();
                out.push_str(&format!("macro{body}"));
                sets.iter().for_each(|set| out.push_str(&format!("%}}{set}")));
                out.push_str(close);
            }
            other => out.push_str(&format!("{other}{body}{close}")),
        }
        if word == "raw" {
            // What is raw is text, whatever it looks like.
            let end = rest.find("endraw").unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out + rest
}

/// Characters of a tag's or an expression's text that stand in no string, with how deep they stand in brackets.
fn outside_strings(text: &str) -> impl Iterator<Item = (usize, char, i32)> + '_ {
    let (mut quote, mut escaped, mut depth) = (None, false, 0);
    text.char_indices().filter_map(move |(at, c)| {
        if let Some(open) = quote {
            (quote, escaped) = (if c == open && !escaped { None } else { quote }, c == '\\' && !escaped);
            return None;
        }
        match c {
            '"' | '\'' => {
                quote = Some(c);
                return None;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        Some((at, c, depth))
    })
}

/// Where the `%}` of a tag stands, or the text's end.
fn tag_end(text: &str) -> usize {
    outside_strings(text).find(|(at, c, _)| *c == '%' && text[at + 1..].starts_with('}')).map_or(text.len(), |(at, ..)| at)
}

/// Where the `=` of an assignment stands; a block that is set has none.
fn assignment(text: &str) -> Option<usize> {
    let found = outside_strings(text).find(|(_, c, depth)| *depth == 0 && matches!(c, '=' | '|'));
    found.filter(|(at, c, _)| *c == '=' && !text[at + 1..].starts_with('=')).map(|(at, ..)| at)
}

/// The names of a macro's parameters.
fn parameters(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.find('(').map_or("", |at| &text[at + 1..text.rfind(')').unwrap_or(text.len()).max(at + 1)]);
    let cuts: Vec<usize> = outside_strings(inside).filter(|(_, c, depth)| *c == ',' && *depth == 0).map(|(at, ..)| at).collect();
    let starts = std::iter::once(0).chain(cuts.clone().into_iter().map(|at| at + 1));
    let parts = starts.zip(cuts.into_iter().chain([inside.len()])).map(|(from, to)| &inside[from..to]);
    let name = |part: &str| part.split('=').next().unwrap_or_default().trim().len();
    parts.map(move |part| part.trim_start()).map(move |part| &part[..name(part)]).filter(|name| !name.is_empty())
}

/// A list of more items than any conversation has is a template's that means no good.
fn bounded(value: Value) -> Result<Value, Error> {
    match value.len() {
        Some(n) if n > LONGEST_LIST && value.kind() != ValueKind::String => {
            Err(Error::new(ErrorKind::InvalidOperation, format!("it makes a list of {n} items")))
        }
        _ => Ok(value),
    }
}
