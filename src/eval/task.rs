//! What a task is: a TOML file, a file of lm-evaluation-harness, or a data file whose benchmark is recognised; and its
//! items, read and checked.
//! Deliberately not here: what a kind of task asks and how it grades (`tasks`).

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::item::{Item, short_hash};
use super::rows::{self, Row};
use super::tasks::{self, TaskKind};
use super::template::{Templates, field, plain};
use super::{EvalError, harness, known, shown};
use crate::rng::Stream;
use crate::spec::{Message, Sampler};

/// A task file is a page of text.
const TASK_BYTES: u64 = 1 << 20;

/// A task as its file says it. Texts are Jinja over a row's fields, or a field's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Task {
    pub name: String,
    pub about: String,
    /// A name in `TASKS`.
    pub kind: String,
    /// Files, directories, globs, `sample:NAME`, relative to the task's file.
    #[serde(deserialize_with = "one_or_many")]
    pub data: Vec<String>,
    /// The first so many rows.
    pub limit: Option<usize>,
    /// The question; of `perplexity` the text.
    pub prompt: String,
    /// The right text, or a field that holds one or a list of them.
    pub target: String,
    /// Of a multiple choice: a list, or a template that gives one.
    pub choices: Choices,
    /// Where the choices differ in their contexts: one a choice.
    pub contexts: Choices,
    /// Which choice is right: its index from 0, its letter, its text or its label, or a list of those.
    pub answer: String,
    /// Labels that `answer` may name, where they are not A, B, C ….
    pub labels: String,
    pub id: String,
    /// Items with the same one are no independent ones: the interval says so.
    pub cluster: String,
    pub tags: String,
    /// A field with an answer that the data brings along; the model `given` answers with it.
    pub given: String,
    /// Before the examples.
    pub description: String,
    /// Between a question and its answer.
    pub delimiter: String,
    pub shots: usize,
    /// Where examples come from; the task's own rows (never the item itself) where nothing is named.
    #[serde(deserialize_with = "one_or_many")]
    pub shots_from: Vec<String>,
    /// `first`, or `drawn` by the seed, anew for each item.
    pub shots_order: String,
    pub shot_delimiter: String,
    /// Whether the model's chat template is put around the question.
    pub chat: bool,
    pub system: String,
    pub max_tokens: usize,
    pub stop: Vec<String>,
    pub temperature: f32,
    pub top_k: usize,
    pub top_p: f32,
    pub min_p: f32,
    pub seed: u64,
    /// Answers drawn for each item.
    pub samples: usize,
    /// What several answers make: `mean`, `majority`, `best`, `pass@k`.
    pub combine: String,
    pub k: usize,
    /// How a generated text is scored: a name in `SCORERS`.
    pub score: String,
    /// An expression whose first group (or whole match) is the answer.
    pub extract: String,
    /// Take the last match and not the first.
    pub extract_last: bool,
    pub ignore_case: bool,
    pub ignore_punctuation: bool,
    /// A JSON schema that the answer keeps to.
    pub schema: Option<Value>,
    /// The measure that is the score; the kind's first where nothing is named.
    pub metric: String,
    /// A model that judges, what it shall judge by, and the grades that it may give.
    pub judge: String,
    pub rubric: String,
    pub grades: [f64; 2],
    /// A program and its arguments: JSON in, JSON out, one item at a time.
    pub command: Vec<String>,
    pub timeout_s: f64,
}

impl Default for Task {
    fn default() -> Self {
        let text = String::new;
        Self {
            name: text(),
            about: text(),
            kind: text(),
            data: Vec::new(),
            limit: None,
            prompt: text(),
            target: text(),
            choices: Choices::default(),
            contexts: Choices::default(),
            answer: text(),
            labels: text(),
            id: text(),
            cluster: text(),
            tags: text(),
            given: text(),
            description: text(),
            delimiter: " ".into(),
            shots: 0,
            shots_from: Vec::new(),
            shots_order: "first".into(),
            shot_delimiter: "\n\n".into(),
            chat: false,
            system: text(),
            max_tokens: 128,
            stop: Vec::new(),
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
            samples: 1,
            combine: "mean".into(),
            k: 1,
            score: "exact".into(),
            extract: text(),
            extract_last: false,
            ignore_case: false,
            ignore_punctuation: false,
            schema: None,
            metric: text(),
            judge: text(),
            rubric: text(),
            grades: [1.0, 10.0],
            command: Vec::new(),
            timeout_s: 10.0,
        }
    }
}

/// Choices written out, or where they stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Choices {
    Of(String),
    These(Vec<String>),
}

impl Default for Choices {
    fn default() -> Self {
        Self::Of(String::new())
    }
}

impl Choices {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Of(template) => template.is_empty(),
            Self::These(list) => list.is_empty(),
        }
    }
    fn of(&self, templates: &Templates, row: &Value) -> Result<Vec<String>, String> {
        match self {
            Self::Of(template) if template.is_empty() => Ok(Vec::new()),
            Self::Of(template) => templates.list(template, row),
            Self::These(list) => list.iter().map(|choice| templates.text(choice, row)).collect(),
        }
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Given::deserialize(deserializer)? {
        Given::One(one) => vec![one],
        Given::Many(many) => many,
    })
}

/// A task with its items.
#[derive(Clone)]
pub struct Prepared {
    pub task: Task,
    pub kind: &'static TaskKind,
    pub items: Vec<Item>,
    pub shots: Vec<Item>,
    /// Of everything that decides what is asked and how it is graded, apart from the items.
    pub hash: String,
    /// What a person should know: keys of a foreign file that are not used.
    pub notes: Vec<String>,
}

/// What is asked of every task of an evaluation, over what the tasks say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    pub limit: Option<usize>,
    pub shots: Option<usize>,
    pub chat: Option<bool>,
    pub samples: Option<usize>,
    pub seed: Option<u64>,
    pub judge: Option<String>,
}

impl Overrides {
    fn apply(&self, task: &mut Task) {
        task.limit = self.limit.or(task.limit);
        task.shots = self.shots.unwrap_or(task.shots);
        task.chat = self.chat.unwrap_or(task.chat);
        task.samples = self.samples.unwrap_or(task.samples);
        task.seed = self.seed.unwrap_or(task.seed);
        if let Some(judge) = &self.judge {
            task.judge.clone_from(judge);
        }
    }
}

/// Reads a task by its file (`.toml`, `.yaml`), by a data file, by a name in the project's `evals/tasks/`, or by a built-in name
/// (`sample-questions`).
pub fn load(name: &str, project: &Path, overrides: &Overrides) -> Result<Prepared, EvalError> {
    let (mut task, base, notes) = find(name, project)?;
    overrides.apply(&mut task);
    prepare(task, &base, &project.join(".weightroom"), notes)
}

/// Tasks by name: those in `evals/tasks/` and those that are built in, each with a line about it.
pub fn listed(project: &Path) -> Vec<(String, String)> {
    let files = |dir: &str, ends: &[&str]| -> Vec<(String, String)> {
        let entries = std::fs::read_dir(project.join(dir)).into_iter().flat_map(|d| d.take(1000).flatten());
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|n| ends.iter().any(|end| n.ends_with(end)));
        names.sort();
        names.into_iter().map(|n| (format!("{dir}/{n}"), "of this project".to_owned())).collect()
    };
    let mut own = files(TASKS_DIR, &[".toml", ".yaml", ".yml", ".jsonl"]);
    // What Chat kept.
    own.extend(files(super::store::EVALS, &[".jsonl"]));
    let own = own.into_iter();
    own.chain(known::BUILT_IN.iter().map(|(name, text)| {
        let about = toml::from_str::<Task>(text).map(|t| t.about).unwrap_or_default();
        ((*name).to_owned(), about)
    }))
    .collect()
}

/// Where a project keeps tasks of its own.
pub const TASKS_DIR: &str = "evals/tasks";

fn find(name: &str, project: &Path) -> Result<(Task, PathBuf, Vec<String>), EvalError> {
    if let Some((_, text)) = known::BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok((parse(text, name)?, project.to_owned(), Vec::new()));
    }
    let beside = ["toml", "yaml", "jsonl"].map(|end| project.join(TASKS_DIR).join(format!("{name}.{end}")));
    let path = std::iter::once(project.join(name)).chain(beside).find(|p| p.is_file()).unwrap_or_else(|| project.join(name));
    let base = path.parent().unwrap_or(project).to_owned();
    let place = path.to_string_lossy().into_owned();
    let own_name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let named = |mut task: Task| {
        if task.name.is_empty() {
            task.name.clone_from(&own_name);
        }
        task
    };
    match path.extension().and_then(|e| e.to_str()) {
        Some("toml") => Ok((named(parse(&text_of(&path)?, &place)?), base, Vec::new())),
        Some("yaml" | "yml") => harness::read(&text_of(&path)?, &place, &base, project).map(|(task, notes)| (named(task), base, notes)),
        _ if path.exists() || name.starts_with("sample:") => {
            let entry = if name.starts_with("sample:") { name.to_owned() } else { place };
            let task = known::task_of(&entry, project, &project.join(".weightroom"))?;
            Ok((named(task), project.to_owned(), vec!["recognised by the shape of its rows".into()]))
        }
        _ => {
            let names = known::BUILT_IN.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
            let remedy = format!("name a task's file (TOML, or YAML of lm-evaluation-harness), a data file, or one of {names}");
            Err(EvalError::task(name, "no such task", &remedy))
        }
    }
}

fn text_of(path: &Path) -> Result<String, EvalError> {
    let io = |e: &std::io::Error| EvalError::Data(crate::data::DataError::io(path, e));
    let file = std::fs::File::open(path).map_err(|e| io(&e))?;
    let mut text = String::new();
    file.take(TASK_BYTES + 1).read_to_string(&mut text).map_err(|e| io(&e))?;
    if text.len() as u64 > TASK_BYTES {
        return Err(EvalError::task(&path.to_string_lossy(), "is far too large for a task", "name a task's file"));
    }
    Ok(text)
}

/// A task from TOML; `place` is for messages.
pub fn parse(text: &str, place: &str) -> Result<Task, EvalError> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map(|s| text.get(..s.start).unwrap_or(text).matches('\n').count() + 1);
        let line = line.map(|n| format!("line {n}: ")).unwrap_or_default();
        EvalError::task(place, format!("{line}{}", e.message().replace('\n', " ")), "`weightroom eval --keys` lists the keys of a task")
    })
}

/// Reads the data of a task and makes its items.
pub fn prepare(task: Task, base: &Path, scratch: &Path, notes: Vec<String>) -> Result<Prepared, EvalError> {
    let wrong = |what: String| EvalError::task(&task.name, what, "mend the task");
    if task.data.is_empty() {
        return Err(EvalError::task(&task.name, "has no data", "name a file by data = \"FILE\""));
    }
    let rows = rows::read(&task.data, base, scratch, task.limit)?;
    let example_rows = match task.shots {
        0 => Vec::new(),
        _ if task.shots_from.is_empty() => Vec::new(),
        _ => rows::read(&task.shots_from, base, scratch, None)?,
    };
    prepare_rows(task.clone(), &rows, &example_rows, notes).map_err(|e| match e {
        EvalError::Task(what) if !what.contains(&task.name) => wrong(what),
        other => other,
    })
}

/// The same with rows that were read already.
pub fn prepare_rows(mut task: Task, rows: &[Row], example_rows: &[Row], notes: Vec<String>) -> Result<Prepared, EvalError> {
    if task.kind.is_empty() || (task.prompt.is_empty() && task.kind != "perplexity") {
        let known = known::recognise(rows, &task.name).ok_or_else(|| {
            EvalError::task(&task.name, "its rows are of no benchmark that is known", "say kind, prompt and target, or answer")
        })?;
        task = known::fill(task, known);
    }
    check(&task)?;
    let kind = tasks::named(&task.kind)?;
    (kind.check)(&task).map_err(|what| EvalError::task(&task.name, what, "mend the task"))?;
    let templates = Templates::default();
    let items = items(&task, rows, &templates)?;
    if items.is_empty() {
        return Err(EvalError::task(&task.name, "its data holds no row", "name data that does"));
    }
    let shots = if example_rows.is_empty() { Vec::new() } else { self::items(&task, example_rows, &templates)? };
    if task.shots > 0 {
        let there = if example_rows.is_empty() { items.len() - 1 } else { shots.len() };
        if there < task.shots {
            return Err(EvalError::task(&task.name, format!("{} examples are asked for and {there} are there", task.shots), "lower shots"));
        }
    }
    // Names and limits change nothing of what one item is asked; data stands in the items' own hashes.
    let of_hash = Task { name: String::new(), about: String::new(), limit: None, data: Vec::new(), shots_from: Vec::new(), ..task.clone() };
    let example_hashes: Vec<String> = if task.shots > 0 { shots.iter().map(Item::hash).collect() } else { Vec::new() };
    let hash = short_hash(&serde_json::to_vec(&(super::report::GRADING, of_hash, example_hashes)).unwrap_or_default());
    Ok(Prepared { task, kind, items, shots, hash, notes })
}

fn check(task: &Task) -> Result<(), EvalError> {
    let wrong = |what: String, remedy: &str| Err(EvalError::task(&task.name, what, remedy));
    if task.samples == 0 || task.samples > 1000 {
        return wrong(format!("samples = {}", task.samples), "it is 1 to 1000");
    }
    if !(0.0..=100.0).contains(&task.temperature) {
        return wrong(format!("temperature = {}", task.temperature), "it is 0 to 100");
    }
    if task.samples > 1 && task.temperature == 0.0 {
        return wrong("several samples at temperature 0 are one".into(), "set temperature, or samples = 1");
    }
    if !["mean", "majority", "best", "pass@k"].contains(&task.combine.as_str()) {
        return wrong(format!("combine = “{}”", shown(&task.combine)), "it is mean, majority, best or pass@k");
    }
    if !["first", "drawn"].contains(&task.shots_order.as_str()) {
        return wrong(format!("shots_order = “{}”", shown(&task.shots_order)), "it is first or drawn");
    }
    if task.k == 0 || task.combine == "pass@k" && task.k > task.samples {
        return wrong(format!("k = {} of {} samples", task.k, task.samples), "it is 1 to the number of samples");
    }
    if !(1..=1_000_000).contains(&task.max_tokens) {
        return wrong(format!("max_tokens = {}", task.max_tokens), "it is 1 to 1000000");
    }
    Ok(())
}

fn items(task: &Task, rows: &[Row], templates: &Templates) -> Result<Vec<Item>, EvalError> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let item = item(task, row, templates)
            .map_err(|what| EvalError::task(&task.name, format!("{}: {what}", row.place), "mend the row or the task"))?;
        if !seen.insert(item.id.clone()) {
            let what = format!("{}: the id “{}” comes twice", row.place, shown(&item.id));
            return Err(EvalError::task(&task.name, what, "give each row an id of its own, or set id to another field"));
        }
        out.push(item);
    }
    Ok(out)
}

/// Fields that usually number rows.
const IDS: [&str; 5] = ["id", "key", "task_id", "question_id", "ind"];

fn item(task: &Task, row: &Row, templates: &Templates) -> Result<Item, String> {
    let value = &row.value;
    let own = |template: &str| if template.is_empty() { Ok(None) } else { templates.text(template, value).map(Some) };
    let id = match task.id.as_str() {
        "" => IDS.iter().find_map(|name| value.get(name)).map(|id| plain(id).into_owned()),
        template => Some(templates.text(template, value)?),
    };
    let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("{}:{}", row.file, row.number + 1));
    [&task.prompt, &task.target].into_iter().try_for_each(|template| named(template, value))?;
    let (prompt, messages) = question(task, value, templates)?;
    let choices = task.choices.of(templates, value)?;
    let contexts = task.contexts.of(templates, value)?;
    let options = choices.len().max(contexts.len());
    let right = if options == 0 { Vec::new() } else { right(task, value, templates, &choices, options)? };
    let targets = match task.target.as_str() {
        "" => Vec::new(),
        template => match templates.value(template, value)? {
            Value::Array(list) => list.iter().map(|v| plain(v).into_owned()).collect(),
            _ => vec![templates.text(template, value)?],
        },
    };
    let tags = match templates.value(&task.tags, value) {
        _ if task.tags.is_empty() => Vec::new(),
        Ok(Value::Array(list)) => list.iter().map(|v| plain(v).into_owned()).collect(),
        Ok(other) => vec![plain(&other).into_owned()],
        Err(why) => return Err(why),
    };
    let given = if task.given.is_empty() { None } else { field(value, &task.given).map(|v| plain(v).into_owned()) };
    let cluster = own(&task.cluster)?;
    let mut kept = value.clone();
    if let (Some(map), true) = (kept.as_object_mut(), given.is_some()) {
        // The same question with another model's answer beside it is the same question.
        map.remove(&task.given);
    }
    Ok(Item { id, place: row.place.clone(), prompt, messages, choices, contexts, right, targets, given, cluster, tags, row: kept })
}

/// A word alone is a field's name; one that the row does not have would otherwise be asked or expected as it stands.
fn named(template: &str, row: &Value) -> Result<(), String> {
    let word = template.starts_with(|c: char| c.is_ascii_alphabetic()) && template.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if word && field(row, template).is_none() {
        return Err(format!("the row has no field “{}”", shown(template)));
    }
    Ok(())
}

/// The question as text, and as a conversation where the field holds one.
fn question(task: &Task, row: &Value, templates: &Templates) -> Result<(String, Vec<Message>), String> {
    if let Some(Value::Array(turns)) = field(row, &task.prompt) {
        let messages: Vec<Message> = serde_json::from_value(Value::Array(turns.clone()))
            .map_err(|_| format!("the field “{}” is a list, and none of turns with role and content", shown(&task.prompt)))?;
        let text = messages.iter().map(|m| m.content.as_str()).collect::<Vec<_>>().join("\n");
        return Ok((text, messages));
    }
    if task.prompt.is_empty() { Ok((String::new(), Vec::new())) } else { Ok((templates.text(&task.prompt, row)?, Vec::new())) }
}

/// The right choices: an index, a letter, a label, the text itself, or a list of those.
fn right(task: &Task, row: &Value, templates: &Templates, choices: &[String], options: usize) -> Result<Vec<usize>, String> {
    if task.answer.is_empty() {
        return Err("the task says no answer".into());
    }
    let labels = if task.labels.is_empty() { Vec::new() } else { templates.list(&task.labels, row)? };
    let one = |answer: &Value| -> Result<usize, String> {
        let text = plain(answer);
        let text = text.trim();
        let index = match answer {
            Value::Bool(b) => Some(usize::from(*b)),
            _ => labels
                .iter()
                .position(|l| l == text)
                .or_else(|| text.parse::<usize>().ok())
                .or_else(|| choices.iter().position(|c| c.trim() == text))
                .or_else(|| letter_index(text)),
        };
        index.filter(|i| *i < options).ok_or_else(|| format!("the answer “{}” is none of its {options} choices", shown(text)))
    };
    match templates.value(&task.answer, row)? {
        Value::Array(list) if !list.is_empty() => list.iter().map(one).collect(),
        other => one(&other).map(|i| vec![i]),
    }
}

fn letter_index(text: &str) -> Option<usize> {
    let text = text.trim_matches(|c: char| matches!(c, '(' | ')' | '.' | ' '));
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) if c.is_ascii_alphabetic() => Some((c.to_ascii_uppercase() as u8 - b'A') as usize),
        _ => None,
    }
}

impl Prepared {
    /// The examples that are put before an item.
    pub fn shots_for<'a>(&'a self, item: &Item) -> Vec<&'a Item> {
        let from: &[Item] = if self.shots.is_empty() { &self.items } else { &self.shots };
        let own = self.shots.is_empty();
        let mut others: Vec<&Item> = from.iter().filter(|i| !own || i.id != item.id).collect();
        if self.task.shots_order == "drawn" {
            Stream::new(self.task.seed, &format!("eval/shots/{}", item.id)).shuffle(&mut others);
        }
        others.truncate(self.task.shots);
        others
    }

    /// The sampler of one of an item's answers: a seed for each, so that no answer depends on what else is asked.
    pub fn sampler(&self, item: &Item, sample: usize) -> Sampler {
        let t = &self.task;
        let seed = Stream::new(t.seed, &format!("eval/{}/{sample}", item.id)).next_u64() >> 1;
        Sampler { temperature: t.temperature, top_k: t.top_k, top_p: t.top_p, min_p: t.min_p, seed, ..Sampler::default() }
    }
}
