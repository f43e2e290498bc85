//! Reads recipes with the place of every mistake, applies `--set`, and writes them with all defaults.
//! Deliberately not here: opening files; a recipe arrives as text with the name of where it came from.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::fault::{Fault, line_of};
use super::knobs::{KNOBS, Knob, Range, SECTIONS, knob};
use super::{ModelSection, Recipe};

/// One mistake in a recipe, for a form that checks while one types.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The key with its section, or a section's name; empty for a mistake of TOML itself.
    pub key: String,
    /// Counted from 1.
    pub line: Option<usize>,
    /// Says what is wrong and what would be right.
    pub message: String,
}

/// Why a recipe was refused: its first mistake, with the place.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct RecipeError {
    /// The file that the recipe came from, or `--set`.
    pub origin: String,
    pub problem: Problem,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.problem.line {
            write!(f, ":{line}")?;
        }
        if !self.problem.key.is_empty() {
            write!(f, ": {}", self.problem.key)?;
        }
        write!(f, ": {}", self.problem.message)
    }
}

impl Recipe {
    /// Reads a recipe. `origin` is the file's name for messages; `objective_knobs` are the keys that the recipe's
    /// objective has beside the common ones. The error is the first mistake in the text's order.
    pub fn parse(text: &str, origin: &str, objective_knobs: &[Knob]) -> Result<Self, RecipeError> {
        let (recipe, problems) = read(text, objective_knobs);
        match problems.into_iter().next() {
            Some(problem) => Err(RecipeError { origin: origin.into(), problem }),
            None => Ok(recipe),
        }
    }

    /// Sets one key from a bare text, as `--set key=value` does: `3e-4`, `true`, `a.txt,b.txt`. Relative paths are
    /// taken from `cwd`; an empty value removes a key that may be absent. Combinations are checked by `check`.
    pub fn set(&mut self, key: &str, value: &str, cwd: &Path, objective_knobs: &[Knob]) -> Result<(), RecipeError> {
        let fail = |message: String| RecipeError {
            origin: format!("--set {}={}", crate::text::visible(key, false), crate::text::visible(value, false)),
            problem: Problem { key: String::new(), line: None, message },
        };
        let Some(knob) = knob(key, objective_knobs) else { return Err(fail(unknown_key(key, objective_knobs))) };
        let value = if value.is_empty() && knob.optional() {
            None
        } else {
            let value = bare(&knob.range, value).and_then(|v| accept(&knob.range, &v)).map_err(&fail)?;
            Some(rebase(&knob.range, key, value, cwd))
        };
        let mut table = Table::try_from(&*self).map_err(|e| fail(e.to_string()))?;
        insert(&mut table, key, value);
        *self = table.try_into().map_err(|e: toml::de::Error| fail(e.message().into()))?;
        Ok(())
    }

    /// Checks what no single key can show: that heads divide the width, and the like. Lines are unknown here.
    pub fn check(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut wrong = |key: &str, message: String| found.push(Problem { key: key.into(), line: None, message });
        if self.model.init.is_none() {
            check_shape(&self.model, &mut wrong);
        }
        if self.tokenizer.path.is_none() && self.tokenizer.kind == "bpe" && self.tokenizer.vocab < 257 {
            wrong(
                "tokenizer.vocab",
                format!("{} is too small for bpe: it starts from the 256 bytes; use 257 or more", self.tokenizer.vocab),
            );
        }
        let t = &self.tokenizer;
        if t.path.is_none() && t.blank_runs == 1 {
            wrong("tokenizer.blank_runs", "1 is no run; use 2 or more, or 0 for none".into());
        }
        let of_bpe = [
            ("pattern", t.pattern != "gpt2"),
            ("split_digits", t.split_digits),
            ("blank_runs", t.blank_runs > 0),
            ("byte_fallback", t.byte_fallback),
        ];
        for (key, _) in of_bpe.iter().filter(|(_, given)| *given && t.path.is_none() && t.kind != "bpe") {
            wrong(&format!("tokenizer.{key}"), format!("is of a bpe, and tokenizer.kind is {}; leave it out", t.kind));
        }
        if let Some(min_lr) = self.optim.min_lr
            && min_lr > self.optim.lr
        {
            wrong("optim.min_lr", format!("{min_lr} is above optim.lr = {}; the schedule falls, so use at most that", self.optim.lr));
        }
        if self.data.val.is_empty() && self.data.val_fraction == 0.0 {
            wrong("data.val_fraction", "0 leaves nothing to validate on; use 0.1 or so, or name files in data.val".into());
        }
        found
    }

    /// The recipe as TOML with every key and default written out, section by section, always in the same order; a
    /// key that is absent stands as a comment. `parse` reads it back to an equal recipe.
    pub fn to_toml(&self) -> String {
        let table = Table::try_from(self).unwrap_or_default();
        let mut out = String::new();
        for section in SECTIONS {
            let values = if section.is_empty() { Some(&table) } else { table.get(*section).and_then(Value::as_table) };
            if !section.is_empty() {
                out.push_str(&format!("\n[{section}]\n"));
            }
            for knob in KNOBS.iter().filter(|k| k.section() == *section) {
                match values.and_then(|v| v.get(knob.key())) {
                    Some(value) => out.push_str(&format!("{} = {}\n", knob.key(), written(value))),
                    None => out.push_str(&format!("# {} is absent\n", knob.key())),
                }
            }
            if *section == "objective" {
                for (key, value) in &self.objective.rest {
                    out.push_str(&format!("{} = {}\n", key_written(key), written(value)));
                }
            }
        }
        out
    }

    /// Makes the recipe's relative paths start at `base`, so that it means the same from everywhere.
    pub fn absolute(&mut self, base: &Path) {
        for path in self.data.train.iter_mut().chain(&mut self.data.val) {
            *path = joined(path, base);
        }
        if let Some(path) = &mut self.tokenizer.path {
            *path = joined(path, base);
        }
        if let Some(init) = &mut self.model.init {
            *init = joined_if_there(init, base);
        }
    }
}

/// All mistakes of a recipe's text, in the text's order; empty for a good one.
pub fn validate(text: &str, objective_knobs: &[Knob]) -> Vec<Problem> {
    read(text, objective_knobs).1
}

/// A key as it was found: name with section, line, value.
struct Found {
    key: String,
    line: usize,
    value: Value,
}

fn read(text: &str, objective: &[Knob]) -> (Recipe, Vec<Problem>) {
    let document = match toml_edit::Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let Fault { line, key, message } = Fault::of_edit(text, &error);
            return (Recipe::default(), vec![Problem { key: crate::text::visible(&key, false).into_owned(), line, message }]);
        }
    };
    let (found, mut problems) = walk(text, document.as_table());
    let mut table = Table::new();
    for item in &found {
        let problem = |message: String| Problem { key: item.key.clone(), line: Some(item.line), message };
        match knob(&item.key, objective) {
            None => problems.push(problem(unknown_key(&item.key, objective))),
            Some(knob) => match accept(&knob.range, &item.value) {
                Ok(value) => insert(&mut table, &item.key, Some(value)),
                Err(message) => problems.push(problem(message)),
            },
        }
    }
    let recipe: Recipe = match table.try_into() {
        Ok(recipe) => recipe,
        Err(error) => {
            problems.push(Problem { key: String::new(), line: None, message: error.message().into() });
            Recipe::default()
        }
    };
    let place = |key: &str| found.iter().find(|f| f.key == key).map(|f| f.line);
    problems.extend(recipe.check().into_iter().map(|p| Problem { line: place(&p.key).or_else(|| section_line(text, &p.key)), ..p }));
    problems.sort_by_key(|p| p.line.unwrap_or(usize::MAX));
    (recipe, problems)
}

/// Where the section of a key begins, for a mistake in a default that is not written out.
fn section_line(text: &str, key: &str) -> Option<usize> {
    let section = key.split('.').next()?;
    text.lines().position(|l| l.trim_start().starts_with(&format!("[{section}]"))).map(|i| i + 1)
}

fn walk(text: &str, root: &toml_edit::Table) -> (Vec<Found>, Vec<Problem>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (name, item) in root.iter() {
        let line = key_line(text, root, name);
        let table = item.as_table_like();
        match table {
            Some(table) if SECTIONS.contains(&name) && !name.is_empty() => {
                for (key, item) in table.iter() {
                    let line = table.key(key).and_then(toml_edit::Key::span).map_or(line, |s| line_of(text, s.start));
                    found.push(Found { key: format!("{name}.{key}"), line, value: plain(item) });
                }
            }
            Some(_) => {
                let near = nearest(name, SECTIONS.iter().copied().filter(|s| !s.is_empty()));
                let message = format!("no such section; nearest valid: [{near}]; sections are {}", SECTIONS[1..].join(", "));
                problems.push(Problem { key: name.into(), line: Some(line), message });
            }
            None if SECTIONS.contains(&name) => {
                problems.push(Problem {
                    key: name.into(),
                    line: Some(line),
                    message: format!("is a section; write [{name}] and its keys below"),
                });
            }
            None => found.push(Found { key: name.into(), line, value: plain(item) }),
        }
    }
    (found, problems)
}

fn key_line(text: &str, table: &toml_edit::Table, name: &str) -> usize {
    let span = table.key(name).and_then(toml_edit::Key::span).or_else(|| table.get(name).and_then(toml_edit::Item::span));
    span.map_or(1, |s| line_of(text, s.start))
}

/// A value without its decoration. A kind that no knob takes (a date, a table) becomes a table, which none accepts.
fn plain(item: &toml_edit::Item) -> Value {
    item.as_value().map_or_else(|| Value::Table(Table::new()), plain_value)
}

fn plain_value(value: &toml_edit::Value) -> Value {
    use toml_edit::Value as V;
    match value {
        V::String(s) => Value::String(s.value().clone()),
        V::Integer(i) => Value::Integer(*i.value()),
        V::Float(f) => Value::Float(*f.value()),
        V::Boolean(b) => Value::Boolean(*b.value()),
        V::Array(items) => Value::Array(items.iter().map(plain_value).collect()),
        V::Datetime(_) | V::InlineTable(_) => Value::Table(Table::new()),
    }
}

/// The value as the recipe's fields want it, or what is wrong with it.
fn accept(range: &Range, value: &Value) -> Result<Value, String> {
    let shown = || crate::text::visible(&written(value), false).into_owned();
    let wrong_type = || format!("{} is {}; it must be {range}", shown(), kind_of(value));
    let outside = || format!("{} is out of range; it must be {range}", shown());
    match (range, value) {
        (Range::Int { min, max }, Value::Integer(i)) => (min <= i && i <= max).then(|| value.clone()).ok_or_else(outside),
        (Range::Float { min, max }, Value::Integer(_) | Value::Float(_)) => {
            let number = number(value).ok_or_else(wrong_type)?;
            (*min <= number && number <= *max).then_some(Value::Float(number)).ok_or_else(outside)
        }
        (Range::Bool, Value::Boolean(_)) | (Range::Text, Value::String(_)) => Ok(value.clone()),
        (Range::Path, Value::String(path)) if path.is_empty() => Err(format!("is empty; it must be {range}")),
        (Range::Path, Value::String(_)) => Ok(value.clone()),
        (Range::Choice(names), Value::String(name)) if names.contains(&name.as_str()) => Ok(value.clone()),
        (Range::Choice(names), Value::String(name)) => {
            Err(format!("{} is not known; nearest valid: \"{}\"; it must be {range}", shown(), nearest(name, names.iter().copied())))
        }
        (Range::Texts | Range::Paths, Value::String(_)) => Ok(Value::Array(vec![value.clone()])),
        (Range::Texts | Range::Paths, Value::Array(items)) if items.iter().all(Value::is_str) => Ok(value.clone()),
        (Range::Floats { len, min, max }, Value::Array(items)) => {
            let numbers: Option<Vec<f64>> = items.iter().map(number).collect();
            let numbers = numbers.filter(|n| n.len() == *len).ok_or_else(wrong_type)?;
            if numbers.iter().all(|n| min <= n && n <= max) {
                Ok(Value::Array(numbers.into_iter().map(Value::Float).collect()))
            } else {
                Err(outside())
            }
        }
        _ => Err(wrong_type()),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(i) => Some(*i as f64),
        Value::Float(f) => Some(*f),
        _ => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "a truth value",
        Value::Array(_) => "a list",
        Value::Datetime(_) | Value::Table(_) => "a table or a date",
    }
}

/// A bare text from the command line as the kind of value that the range takes.
fn bare(range: &Range, text: &str) -> Result<Value, String> {
    let digits = text.replace('_', "");
    let wrong = || format!("\"{}\" is not {range}", crate::text::visible(text, false));
    Ok(match range {
        Range::Int { .. } => Value::Integer(digits.parse().map_err(|_| wrong())?),
        Range::Float { .. } => Value::Float(digits.parse().map_err(|_| wrong())?),
        Range::Bool => Value::Boolean(text.parse().map_err(|_| wrong())?),
        Range::Floats { .. } => {
            let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
            let numbers: Result<Vec<Value>, _> = inner.split(',').map(|n| n.trim().parse().map(Value::Float)).collect();
            Value::Array(numbers.map_err(|_| wrong())?)
        }
        Range::Texts | Range::Paths if text.trim_start().starts_with('[') => {
            let table: Table = format!("x = {text}").parse().map_err(|_| wrong())?;
            table.get("x").cloned().ok_or_else(wrong)?
        }
        // A comma parts paths, but not texts: a prompt may well hold one.
        Range::Paths => Value::Array(text.split(',').filter(|p| !p.is_empty()).map(|p| Value::String(p.into())).collect()),
        Range::Choice(_) | Range::Text | Range::Texts | Range::Path => Value::String(unquoted(text).into()),
    })
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text)
}

fn rebase(range: &Range, key: &str, value: Value, cwd: &Path) -> Value {
    match (range, value) {
        (Range::Path, Value::String(path)) if key == "model.init" => Value::String(joined_if_there(&path, cwd)),
        (Range::Path, Value::String(path)) => Value::String(joined(&path, cwd)),
        (Range::Paths, Value::Array(paths)) => {
            Value::Array(paths.iter().filter_map(Value::as_str).map(|p| Value::String(joined(p, cwd))).collect())
        }
        (_, value) => value,
    }
}

/// `path` from `base`; a built-in text (`sample:NAME`) is no path and stays.
fn joined(path: &str, base: &Path) -> String {
    if path.starts_with("sample:") || path.starts_with(crate::repos::PREFIX) {
        return path.into();
    }
    let whole = base.join(path);
    let mut clean = PathBuf::new();
    for part in whole.components().filter(|c| !matches!(c, std::path::Component::CurDir)) {
        clean.push(part);
    }
    clean.to_string_lossy().into_owned()
}

/// `model.init` may be a run's name, which must not become a path.
fn joined_if_there(path: &str, base: &Path) -> String {
    if base.join(path).exists() { joined(path, base) } else { path.into() }
}

fn insert(table: &mut Table, key: &str, value: Option<Value>) {
    let (section, key) = key.split_once('.').map_or(("", key), |(s, k)| (s, k));
    let target = if section.is_empty() {
        table
    } else {
        let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = entry else { return };
        inner
    };
    match value {
        Some(value) => target.insert(key.into(), value),
        None => target.remove(key),
    };
}

fn check_shape(m: &ModelSection, wrong: &mut impl FnMut(&str, String)) {
    if m.head_dim.is_none() && !m.width.is_multiple_of(m.heads) {
        wrong("model.heads", format!("{} does not divide model.width = {}; {}", m.heads, m.width, divisors(m.width, m.heads)));
        return;
    }
    let kv_heads = m.kv_heads.unwrap_or(m.heads);
    if !m.heads.is_multiple_of(kv_heads) {
        wrong("model.kv_heads", format!("{kv_heads} does not divide model.heads = {}; {}", m.heads, divisors(m.heads, kv_heads)));
    }
    let head_dim = m.head_dim.unwrap_or(m.width / m.heads);
    if m.family == "gpt2" {
        if kv_heads != m.heads {
            wrong("model.kv_heads", format!("gpt2 has no grouped keys and values; leave it out, or use {}", m.heads));
        }
        if head_dim * m.heads != m.width {
            wrong(
                "model.head_dim",
                format!("gpt2 needs heads * head_dim = width, and {} * {head_dim} is not {}; leave it out", m.heads, m.width),
            );
        }
    } else if !head_dim.is_multiple_of(2) {
        let key = if m.head_dim.is_some() { "model.head_dim" } else { "model.heads" };
        wrong(key, format!("gives heads of {head_dim} numbers; rotary positions turn pairs, so use an even number of them"));
    }
}

/// The remedy for a number that does not divide another: the divisors nearest to it.
fn divisors(of: usize, near: usize) -> String {
    let below = (1..=near.min(of)).rev().find(|d| of.is_multiple_of(*d));
    let above = (near..=of).find(|d| of.is_multiple_of(*d));
    match (below, above) {
        (Some(a), Some(b)) if a != b => format!("use {a} or {b}"),
        (Some(a), _) | (_, Some(a)) => format!("use {a}"),
        _ => "use a divisor".into(),
    }
}

/// Names that other programs give to these keys.
const ALIASES: &[(&str, &str)] = &[
    ("learning_rate", "optim.lr"),
    ("batch_size", "optim.batch"),
    ("max_steps", "optim.steps"),
    ("max_iters", "optim.steps"),
    ("iterations", "optim.steps"),
    ("n_layer", "model.layers"),
    ("num_layers", "model.layers"),
    ("num_hidden_layers", "model.layers"),
    ("n_head", "model.heads"),
    ("num_heads", "model.heads"),
    ("n_embd", "model.width"),
    ("hidden_size", "model.width"),
    ("d_model", "model.width"),
    ("block_size", "model.context"),
    ("seq_len", "model.context"),
    ("intermediate_size", "model.ffn"),
    ("grad_clip", "optim.clip"),
    ("gradient_accumulation_steps", "optim.accumulate"),
    ("vocab_size", "tokenizer.vocab"),
];

fn unknown_key(name: &str, objective: &[Knob]) -> String {
    let (section, key) = name.split_once('.').map_or(("", name), |(s, k)| (s, k));
    let names = || KNOBS.iter().chain(objective);
    let near = ALIASES
        .iter()
        .find(|(alias, _)| *alias == key)
        .map(|(_, knob)| *knob)
        .or_else(|| names().find(|k| k.key() == key).map(|k| k.name))
        .unwrap_or_else(|| {
            let score = |k: &&Knob| strsim::jaro_winkler(key, k.key()) + if k.section() == section { 0.2 } else { 0.0 };
            names().max_by(|a, b| score(a).total_cmp(&score(b))).map_or("seed", |k| k.name)
        });
    format!("no such key; nearest valid: {near}")
}

fn nearest<'a>(name: &str, valid: impl Iterator<Item = &'a str>) -> &'a str {
    valid.max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b))).unwrap_or("")
}

fn key_written(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain { key.into() } else { written(&Value::String(key.into())) }
}

/// A value in TOML. Floats are written as short as they read back the same; `Display` of 1e-8 would have nine digits.
fn written(value: &Value) -> String {
    match value {
        Value::Float(f) if f.is_finite() => format!("{f:?}"),
        Value::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Table(_) => "{…}".into(),
        other => other.to_string(),
    }
}
