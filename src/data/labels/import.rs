//! Rows of other programs become items and labels: pairs of one prompt are put together again to the order that they came
//! from, where there is one.
//! Deliberately not here: how rows are found in files (`table`) and into which set they go (`store`).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;

use super::order;
use super::{Item, Label, MOST_RESPONSES, Response, Status, Tiers, prompt_id};
use crate::data::DataError;
use crate::data::shape::{self, Example, Mapping, Turn};
use crate::data::source;
use crate::data::table::Set;
use crate::spec::Message;

/// Rows that a shape is recognised by, and that are read at once.
const RECOGNISED: u64 = 200;
const AT_ONCE: u64 = 2_000;
/// More rows than this are refused: they are held in memory while they are put together.
const MOST_ROWS: u64 = 2_000_000;

/// What came out of files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    pub items: Vec<Item>,
    /// Without annotator and id, which the file gives that they go to. The item is named by its place in `items`.
    pub labels: Vec<(usize, Label)>,
    pub rows: u64,
    /// What the rows are, in words.
    pub what: String,
    /// Rows that were left out, by why.
    pub left_out: BTreeMap<String, u64>,
}

/// What one row says.
#[derive(Clone, Debug)]
enum Said {
    /// Two responses, and which is better: −1 the first, 1 the second, 0 neither.
    Pair {
        prompt: Vec<Message>,
        a: Response,
        b: Response,
        better: i8,
        margin: Option<f64>,
        both_bad: bool,
    },
    Verdict {
        prompt: Vec<Message>,
        response: Response,
        good: bool,
    },
    /// Responses, in tiers of their places; none where they are only candidates.
    Order {
        id: Option<String>,
        prompt: Vec<Message>,
        responses: Vec<Response>,
        tiers: Option<Vec<Vec<usize>>>,
    },
    Label(Box<Label>),
}

/// Reads files of any form that is known by its look.
pub fn read(entries: &[String], base: &Path) -> Result<Imported, DataError> {
    let sources = source::expand(entries, "text", base)?;
    let scratch = tempfile::tempdir().map_err(|e| DataError::io(&std::env::temp_dir(), &e))?;
    let mut set = Set::open(&sources, scratch.path())?;
    while !set.advance(64 << 20, &mut |_, _, _| {})? {
        if set.rows() > MOST_ROWS {
            return Err(DataError::Other(format!("more than {MOST_ROWS} rows; import them in parts")));
        }
    }
    let mut values = Vec::new();
    let mut out = Imported { rows: set.rows(), ..Imported::default() };
    let mut from = 0;
    while from < set.rows() {
        for (_, row) in set.read(from, AT_ONCE)? {
            match row.parsed {
                Ok(parsed) => values.push(parsed.value),
                Err(fault) => *out.left_out.entry(format!("it cannot be read: {}", fault.what)).or_default() += 1,
            }
        }
        from += AT_ONCE;
    }
    of_values(values, sources.first().and_then(|s| shape::beside(s.path.as_ref()?)).map(|e| e.mapping), out)
}

/// The same of rows that are in memory.
pub fn of_values(values: Vec<Value>, mapping: Option<Mapping>, mut out: Imported) -> Result<Imported, DataError> {
    let look: Vec<&Value> = values.iter().take(RECOGNISED as usize).collect();
    let reader = Reader::of(&look, mapping);
    out.what = reader.name();
    let mut said = Vec::new();
    for value in &values {
        match reader.row(value) {
            Ok(row) => said.extend(row),
            Err(why) => *out.left_out.entry(why).or_default() += 1,
        }
    }
    if said.is_empty() {
        let why = out.left_out.keys().next().cloned().unwrap_or_else(|| "there is no row".into());
        return Err(DataError::Other(format!("no row says which responses there are to a prompt ({}): {why}", out.what)));
    }
    assemble(said, &mut out);
    Ok(out)
}

enum Reader {
    Arena,
    Argilla,
    Labels,
    Items,
    Shape(Mapping),
}

impl Reader {
    fn of(rows: &[&Value], mapping: Option<Mapping>) -> Self {
        let most = |fits: &dyn Fn(&Value) -> bool| !rows.is_empty() && rows.iter().filter(|r| fits(r)).count() * 2 > rows.len();
        let has = |name: &'static str| move |row: &Value| row.get(name).is_some();
        if most(&|r| has("winner")(r) && has("conversation_a")(r)) {
            Self::Arena
        } else if most(&|r| has("tiers")(r) && has("responses")(r)) {
            Self::Labels
        } else if most(&|r| has("response-1")(r) || has("ranking.responses")(r)) {
            Self::Argilla
        } else if most(&|r| has("prompt")(r) && r["responses"].get(0).is_some_and(|first| first.get("content").is_some())) {
            Self::Items
        } else {
            Self::Shape(mapping.unwrap_or_else(|| shape::recognise(rows)))
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Arena => "Chatbot Arena battles".into(),
            Self::Argilla => "Argilla rankings".into(),
            Self::Labels => "labels of this program".into(),
            Self::Items => "prompts with candidates".into(),
            Self::Shape(mapping) if mapping.variant.is_empty() => mapping.shape.clone(),
            Self::Shape(mapping) => format!("{}, {}", mapping.shape, mapping.variant),
        }
    }

    fn row(&self, row: &Value) -> Result<Option<Said>, String> {
        match self {
            Self::Arena => battle(row).map(Some),
            Self::Argilla => argilla(row).map(Some),
            Self::Labels => {
                let label: Label = serde_json::from_value(row.clone()).map_err(|e| format!("it is no label: {e}"))?;
                // An undo is nothing to anybody else.
                Ok((label.status != Status::Undone).then(|| Said::Label(Box::new(label))))
            }
            Self::Items => {
                let responses = row["responses"].as_array().ok_or("the responses are no list")?;
                let responses = responses.iter().map(candidate).collect::<Result<Vec<_>, _>>()?;
                let id = row["id"].as_str().map(str::to_owned);
                Ok(Some(Said::Order { id, prompt: prompt(&row["prompt"])?, responses, tiers: None }))
            }
            Self::Shape(mapping) => of_shape(mapping, row).map(Some),
        }
    }
}

fn of_shape(mapping: &Mapping, row: &Value) -> Result<Said, String> {
    match mapping.example(row)? {
        Example::Preference { prompt, chosen, rejected } => {
            let margin = row["margin"].as_f64().or_else(|| Some(row["score_chosen"].as_f64()? - row["score_rejected"].as_f64()?));
            let (a, b) = (last(&chosen)?, last(&rejected)?);
            Ok(Said::Pair { prompt: said(&prompt), a, b, better: -1, margin, both_bad: false })
        }
        Example::Judged { prompt, answer, good } => Ok(Said::Verdict { prompt: said(&prompt), response: last(&answer)?, good }),
        Example::Ranking { prompt, answers } => {
            let responses = answers.iter().map(|(text, _)| response(text.clone(), None)).collect();
            let scores: Option<Vec<f64>> = answers.iter().map(|(_, score)| *score).collect();
            // A list of outputs is written the best first; candidates without ratings are only candidates.
            let tiers = match scores {
                Some(scores) => Some(by_score(&scores)),
                None if mapping.field("answers") == Some("output") => Some((0..answers.len()).map(|i| vec![i]).collect()),
                None => None,
            };
            Ok(Said::Order { id: None, prompt: vec![Message { role: "user".into(), content: prompt }], responses, tiers })
        }
        _ => Err(format!("its shape is {}, which says nothing of several responses", mapping.shape)),
    }
}

/// Places with the best score first, equal scores together.
fn by_score(scores: &[f64]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut tiers: Vec<Vec<usize>> = Vec::new();
    for at in order {
        match tiers.last_mut() {
            Some(tier) if scores[tier[0]] == scores[at] => tier.push(at),
            _ => tiers.push(vec![at]),
        }
    }
    tiers
}

fn said(turns: &[Turn]) -> Vec<Message> {
    turns.iter().map(|t| Message { role: t.role.clone(), content: t.content.clone() }).collect()
}

fn last(turns: &[Turn]) -> Result<Response, String> {
    match turns {
        [] => Err("a response has no turn".into()),
        [one] => Ok(response(one.content.clone(), None)),
        _ => Err("a response has several turns; only its last may be of the assistant".into()),
    }
}

fn response(content: String, model: Option<String>) -> Response {
    Response { content, model, ..Response::default() }
}

fn candidate(value: &Value) -> Result<Response, String> {
    match value {
        Value::String(text) => Ok(response(text.clone(), None)),
        Value::Object(_) => serde_json::from_value::<Response>(with_id(value)).map_err(|e| format!("a response cannot be read: {e}")),
        _ => Err("a response is no text".into()),
    }
}

/// Candidates of others need no ids.
fn with_id(value: &Value) -> Value {
    let mut value = value.clone();
    if value.get("id").is_none_or(|id| !id.is_string()) {
        value["id"] = "".into();
    }
    value
}

/// A prompt as a text or as a conversation.
fn prompt(value: &Value) -> Result<Vec<Message>, String> {
    match value {
        Value::String(text) => Ok(vec![Message { role: "user".into(), content: text.clone() }]),
        Value::Array(_) | Value::Object(_) => {
            let mapping = Mapping::parse("messages messages=m")?;
            match mapping.example(&serde_json::json!({ "m": value }))? {
                Example::Chat(turns) => Ok(said(&turns)),
                _ => Err("the prompt is no conversation".into()),
            }
        }
        _ => Err("the prompt is neither a text nor a conversation".into()),
    }
}

fn battle(row: &Value) -> Result<Said, String> {
    let side = |name: &str, model: &str| -> Result<(Vec<Message>, Response), String> {
        let mut turns = prompt(&row[name])?;
        match turns.pop() {
            Some(last) if last.role == "assistant" => Ok((turns, response(last.content, row[model].as_str().map(str::to_owned)))),
            _ => Err(format!("{name} does not end with an answer")),
        }
    };
    let ((prompt, a), (other, b)) = (side("conversation_a", "model_a")?, side("conversation_b", "model_b")?);
    if prompt != other {
        return Err("the two conversations differ before their last answers".into());
    }
    let (better, both_bad) = match row["winner"].as_str() {
        Some("model_a") => (-1, false),
        Some("model_b") => (1, false),
        Some("tie") => (0, false),
        Some("tie (bothbad)" | "both_bad" | "bothbad") => (0, true),
        other => return Err(format!("the winner is “{}”", super::visible(other.unwrap_or("nobody")))),
    };
    Ok(Said::Pair { prompt, a, b, better, margin: None, both_bad })
}

fn argilla(row: &Value) -> Result<Said, String> {
    let mut responses = Vec::new();
    while let Some(text) = row[format!("response-{}", responses.len() + 1)].as_str() {
        let name = format!("response-{}", responses.len() + 1);
        let model = row["metadata"]["models"][&name].as_str().map(str::to_owned);
        responses.push(response(text.into(), model));
    }
    let place = |value: &Value| {
        let number: usize = value.as_str()?.strip_prefix("response-")?.parse().ok()?;
        number.checked_sub(1).filter(|at| *at < responses.len())
    };
    // As records write it, or as columns of a flattened data set do.
    let mut ranked: Vec<(i64, usize)> = Vec::new();
    if let Some(values) = row["ranking"].as_array().and_then(|all| all.iter().find(|r| r["status"] != "discarded")?["value"].as_array()) {
        for value in values {
            let rank = value["rank"].as_i64().ok_or("a rank is missing")?;
            ranked.push((rank, place(&value["value"]).ok_or("a value names no response")?));
        }
    } else if let Some(values) = row["ranking.responses"].get(0).and_then(Value::as_array) {
        let ranks = row["ranking.responses.ranks"].get(0).and_then(Value::as_array);
        for (i, value) in values.iter().enumerate() {
            let rank = ranks.and_then(|r| r.get(i)?.as_i64()).unwrap_or(i as i64);
            ranked.push((rank, place(value).ok_or("a value names no response")?));
        }
    }
    // The ranks say the order, wherever the values stand.
    ranked.sort_unstable();
    let mut tiers: Vec<(i64, Vec<usize>)> = Vec::new();
    for (rank, at) in ranked {
        match tiers.last_mut() {
            Some((last, tier)) if *last == rank => tier.push(at),
            _ => tiers.push((rank, vec![at])),
        }
    }
    let id = row["id"].as_str().map(str::to_owned);
    let tiers = (!tiers.is_empty()).then(|| tiers.into_iter().map(|(_, tier)| tier).collect());
    Ok(Said::Order { id, prompt: prompt(&row["prompt"])?, responses, tiers })
}

/// Puts together what rows say of the same prompt.
fn assemble(all: Vec<Said>, out: &mut Imported) {
    let mut pairs: Vec<(Vec<Message>, Vec<Compared>)> = Vec::new();
    let mut verdicts: Vec<(Vec<Message>, Vec<(Response, bool)>)> = Vec::new();
    let (mut pair_at, mut verdict_at) = (HashMap::new(), HashMap::new());
    let mut names = Names::default();
    for said in all {
        match said {
            Said::Pair { prompt, a, b, better, margin, both_bad } => {
                let at = *pair_at.entry(prompt_id(&prompt)).or_insert_with(|| {
                    pairs.push((prompt, Vec::new()));
                    pairs.len() - 1
                });
                pairs[at].1.push(Compared { a, b, better, margin, both_bad });
            }
            Said::Verdict { prompt, response, good } => {
                let at = *verdict_at.entry(prompt_id(&prompt)).or_insert_with(|| {
                    verdicts.push((prompt, Vec::new()));
                    verdicts.len() - 1
                });
                verdicts[at].1.push((response, good));
            }
            Said::Order { id, prompt, responses, tiers } => {
                let tiers = tiers.map(|t| (t, None, None));
                push(out, &mut names, id, prompt, responses, tiers);
            }
            Said::Label(label) => {
                let item = Item {
                    id: names.free(&label.item),
                    prompt: label.prompt.clone(),
                    responses: label.responses.clone(),
                    ..Item::default()
                };
                out.items.push(item);
                out.labels.push((out.items.len() - 1, *label));
            }
        }
    }
    for (prompt, compared) in pairs {
        match together(&compared) {
            Some((responses, tiers, cut, strength)) => push(out, &mut names, None, prompt, responses, Some((tiers, cut, strength))),
            // They contradict each other, or have nothing to do with each other: each stays a pair of its own.
            None => {
                for one in compared {
                    if let Some((responses, tiers, cut, strength)) = together(std::slice::from_ref(&one)) {
                        push(out, &mut names, None, prompt.clone(), responses, Some((tiers, cut, strength)));
                    } else {
                        *out.left_out.entry("both responses are the same".into()).or_default() += 1;
                    }
                }
            }
        }
    }
    for (prompt, judged) in verdicts {
        for some in judged.chunks(MOST_RESPONSES) {
            let place = |good: bool| (0..some.len()).filter(|i| some[*i].1 == good).collect::<Vec<_>>();
            let tiers: Vec<Vec<usize>> = [place(true), place(false)].into_iter().filter(|t| !t.is_empty()).collect();
            let cut = usize::from(some.iter().any(|(_, good)| *good));
            let responses = some.iter().map(|(r, _)| r.clone()).collect();
            push(out, &mut names, None, prompt.clone(), responses, Some((tiers, Some(cut), None)));
        }
    }
}

struct Compared {
    a: Response,
    b: Response,
    better: i8,
    margin: Option<f64>,
    both_bad: bool,
}

type Order = (Vec<Response>, Vec<Vec<usize>>, Option<usize>, Option<u8>);

/// The order that comparisons came from; none where they are of no one order.
fn together(compared: &[Compared]) -> Option<Order> {
    let mut responses: Vec<Response> = Vec::new();
    let mut place = |r: &Response| {
        responses.iter().position(|known| known.content == r.content && known.model == r.model).unwrap_or_else(|| {
            responses.push(r.clone());
            responses.len() - 1
        })
    };
    let placed: Vec<(usize, usize, &Compared)> = compared.iter().map(|c| (place(&c.a), place(&c.b), c)).collect();
    if responses.len() > MOST_RESPONSES || placed.iter().any(|(a, b, _)| a == b) {
        return None;
    }
    let strict = placed.iter().filter_map(|(a, b, c)| match c.better {
        -1 => Some((*a, *b)),
        1 => Some((*b, *a)),
        _ => None,
    });
    let tiers = order::of_pairs(&strict.collect::<Vec<_>>(), responses.len())?;
    let tier = |at: usize| tiers.iter().position(|t| t.contains(&at));
    if placed.iter().any(|(a, b, c)| c.better == 0 && tier(*a) != tier(*b)) {
        return None;
    }
    let cut = placed.iter().filter(|(.., c)| c.both_bad).filter_map(|(a, ..)| tier(*a)).min();
    let strength = match (responses.len(), compared) {
        (2, [one]) => one.margin.filter(|m| m.fract() == 0.0 && (1.0..=4.0).contains(m)).map(|m| m as u8),
        _ => None,
    };
    Some((responses, tiers, cut, strength))
}

/// Names of items, none given twice.
#[derive(Default)]
struct Names(HashMap<String, u64>);

impl Names {
    fn free(&mut self, wanted: &str) -> String {
        let count = self.0.entry(wanted.to_owned()).or_default();
        *count += 1;
        if *count == 1 { wanted.to_owned() } else { format!("{wanted}-{count}") }
    }
}

type Judged = (Vec<Vec<usize>>, Option<usize>, Option<u8>);

fn push(
    out: &mut Imported,
    names: &mut Names,
    id: Option<String>,
    prompt: Vec<Message>,
    mut responses: Vec<Response>,
    judged: Option<Judged>,
) {
    let mut seen = std::collections::BTreeSet::new();
    let named = responses.iter().all(|r| !r.id.is_empty() && seen.insert(r.id.clone()));
    if !named {
        responses.iter_mut().enumerate().for_each(|(i, r)| r.id = format!("r{}", i + 1));
    }
    let id = names.free(&id.filter(|id| !id.is_empty()).unwrap_or_else(|| prompt_id(&prompt)));
    let item = Item { schema: super::SCHEMA, id, prompt, responses, ..Item::default() };
    if let Some(why) = super::item_fault(&item) {
        *out.left_out.entry(why).or_default() += 1;
        return;
    }
    if let Some((tiers, accept_cut, strength)) = judged {
        let named = |tier: &Vec<usize>| tier.iter().filter_map(|at| Some(item.responses.get(*at)?.id.clone())).collect();
        let tiers: Tiers = order::tidy(&tiers.iter().map(named).collect());
        let label = Label {
            item: item.id.clone(),
            prompt: item.prompt.clone(),
            responses: item.responses.clone(),
            display_order: item.responses.iter().map(|r| r.id.clone()).collect(),
            tiers,
            accept_cut,
            strength,
            ..Label::default()
        };
        out.labels.push((out.items.len(), label));
    }
    out.items.push(item);
}
