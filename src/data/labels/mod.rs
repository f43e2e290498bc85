//! Labels: what people (and models that judge) said of responses to prompts. This page is the schema.
//! Deliberately not here: how files are read and written (`store`), what is asked next (`session`), other programs' forms
//! (`forms`), and figures about labels (`stats`).
//!
//! # On disk
//! ```text
//! labels/<set>/items.jsonl           what is ranked: a prompt and its responses a line
//!              guidelines.md         what people are asked to look at; settings stand in it as `name: value` lines
//!              rubric.md             what a judging model is told
//!              <name>.labels.jsonl   the decisions of one person, or of one judging model
//! ```
//! A line of a label file is a [`Label`]. Files only grow: a change is a new line that `supersedes` an older one, and so is
//! an undo. A line is written and synced before anything else is asked. A last line without its end was never confirmed to
//! anybody; it is dropped when the file is opened. Fields that this version does not know are kept wherever lines are copied.

pub mod candidates;
pub mod draft;
pub mod export;
pub mod forms;
pub mod import;
pub mod merge;
pub mod order;
pub mod session;
pub mod stats;
pub mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::visible;
use crate::spec::Message;

/// Version of the lines of `items.jsonl` and of label files.
pub const SCHEMA: u32 = 1;
/// Responses to one prompt: as many as there are digits to rank them with.
pub const MOST_RESPONSES: usize = 9;
/// Longest name of a set or an annotator.
const LONGEST_NAME: usize = 48;

/// Response ids, best first; those of one tier are as good as each other.
pub type Tiers = Vec<Vec<String>>;

/// A prompt and the responses that are to be ranked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    #[serde(default = "schema")]
    pub schema: u32,
    pub id: String,
    pub prompt: Vec<Message>,
    pub responses: Vec<Response>,
    /// What a later version says of it.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A response, and where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Unique within its item: `r1`.
    pub id: String,
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As a `GenerateSpec` has it, or as another program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The exact tokens, where they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// One decision about one item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Label {
    #[serde(default = "schema")]
    pub schema: u32,
    /// Of this decision, unique among all of a set: the annotator's name and a number.
    pub id: String,
    /// Of the item.
    #[serde(default)]
    pub item: String,
    #[serde(default)]
    pub prompt: Vec<Message>,
    #[serde(default)]
    pub responses: Vec<Response>,
    /// Response ids as they stood on the screen, from 1.
    #[serde(default)]
    pub display_order: Vec<String>,
    #[serde(default)]
    pub shuffle_seed: u64,
    /// Best first; empty where nothing was ranked.
    #[serde(default)]
    pub tiers: Tiers,
    /// How many tiers from the top are acceptable; none where it was not asked.
    #[serde(default)]
    pub accept_cut: Option<usize>,
    /// Of a pair: how much better the better one is, 1 (hardly) to 4 (far); 0 a tie, none where it was not said.
    #[serde(default)]
    pub strength: Option<u8>,
    /// Orders by single criteria, beside the overall one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub criteria: BTreeMap<String, Tiers>,
    #[serde(default)]
    pub status: Status,
    /// The decision in whose place this one stands.
    #[serde(default)]
    pub supersedes: Option<String>,
    /// The decision of which this is a hidden repeat: both count, for the agreement with oneself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
    /// `rushed`, and reasons that a person gave.
    #[serde(default)]
    pub flags: Vec<String>,
    #[serde(default)]
    pub comment: String,
    /// A better response that a person wrote.
    #[serde(default)]
    pub edited: Option<Edited>,
    #[serde(default)]
    pub annotator: String,
    #[serde(default)]
    pub source: Source,
    /// The beginning of the SHA-256 of the guidelines (of the rubric, for a judging model) as they were.
    #[serde(default)]
    pub guideline_hash: String,
    /// Milliseconds since the Unix epoch.
    #[serde(default)]
    pub shown_at: u64,
    #[serde(default)]
    pub decided_at: u64,
    /// From the moment at which the terminal showed the item.
    #[serde(default)]
    pub dwell_ms: u64,
    /// What was pressed.
    #[serde(default)]
    pub keys: Vec<String>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edited {
    /// The response that it began as.
    pub from: String,
    pub content: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Ranked,
    Skipped,
    /// Takes back the decision that it supersedes: the item is open again.
    Undone,
    /// Settles a disagreement of others.
    Adjudicated,
    /// Of a judging model: both orders did not give the same, or it did not say what is better.
    Inconsistent,
    #[serde(untagged)]
    Other(String),
}

/// Who decided. People's labels and models' are counted and exported apart unless somebody asks for both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    #[default]
    Human,
    Ai,
    #[serde(untagged)]
    Other(String),
}

pub const RUSHED: &str = "rushed";

impl Label {
    /// Whether it says which response is better (or that none is).
    pub fn ranks(&self) -> bool {
        matches!(self.status, Status::Ranked | Status::Adjudicated) && !self.tiers.is_empty()
    }

    pub fn is_rushed(&self) -> bool {
        self.flags.iter().any(|f| f == RUSHED)
    }

    pub fn is_ai(&self) -> bool {
        self.source == Source::Ai
    }

    pub fn response(&self, id: &str) -> Option<&Response> {
        self.responses.iter().find(|r| r.id == id)
    }

    /// As the bottom line says it, by places on the screen: `3>1=4>2`.
    pub fn in_short(&self) -> String {
        match self.status {
            Status::Skipped => return "skipped".into(),
            Status::Undone => return "undone".into(),
            Status::Inconsistent => return "inconsistent".into(),
            _ => {}
        }
        let place = |id: &String| self.display_order.iter().position(|d| d == id).map_or("?".into(), |p| (p + 1).to_string());
        let tier = |tier: &Vec<String>| tier.iter().map(place).collect::<Vec<_>>().join("=");
        let mut parts: Vec<String> = self.tiers.iter().map(tier).collect();
        if let Some(cut) = self.accept_cut.filter(|cut| *cut <= parts.len()) {
            parts.insert(cut, "|".into());
        }
        let text = parts.join(">").replace(">|>", " | ").replace("|>", "| ").replace(">|", " |");
        if self.strength.is_some_and(|s| s > 1) { format!("{text} ×{}", self.strength.unwrap_or(0)) } else { text }
    }
}

fn schema() -> u32 {
    SCHEMA
}

/// What cannot be the name of a set or of an annotator: names become files.
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    let shown: String = visible(name).chars().take(LONGEST_NAME).collect();
    let fault = if name.is_empty() {
        "is empty"
    } else if name.chars().count() > LONGEST_NAME {
        "is too long"
    } else if let Some(c) = name.chars().find(|c| !(c.is_alphanumeric() || matches!(c, '-' | '_'))) {
        return Err(format!("{what} “{shown}”: “{}” cannot be part of a name; use letters, digits, - and _", visible(&c.to_string())));
    } else if name.starts_with('-') {
        "begins with a dash"
    } else {
        return Ok(());
    };
    Err(format!("{what} “{shown}” {fault}; use up to {LONGEST_NAME} letters, digits, - and _"))
}

/// The nearest name that may be one: `Ana María/2` is `Ana-María-2`; none where nothing is left.
pub fn safe_name(text: &str) -> Option<String> {
    let mut out = String::new();
    for c in text.chars().take(LONGEST_NAME * 4) {
        if c.is_alphanumeric() || c == '_' {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let name: String = out.chars().take(LONGEST_NAME).collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

/// What is wrong with an item: none where it can be ranked.
pub fn item_fault(item: &Item) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    if let Some(twice) = item.responses.iter().find(|r| !seen.insert(r.id.as_str())) {
        return Some(format!("two responses have the id “{}”", visible(&twice.id)));
    }
    match item.responses.len() {
        0 | 1 => return Some("fewer than two responses to compare".into()),
        n if n > MOST_RESPONSES => return Some(format!("{n} responses; no more than {MOST_RESPONSES} can be ranked at once")),
        _ => {}
    }
    if item.id.is_empty() || item.responses.iter().any(|r| r.id.is_empty()) {
        return Some("an id is empty".into());
    }
    let first = item.responses[0].content.trim();
    item.responses.iter().all(|r| r.content.trim() == first).then(|| "all responses are equal".into())
}

/// The beginning of the SHA-256 of a text, as `guideline_hash` has it; empty for an empty text.
pub fn hash(text: &str) -> String {
    use sha2::{Digest, Sha256};
    if text.is_empty() {
        return String::new();
    }
    Sha256::digest(text.as_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// An id that follows from what is asked, so that the same prompt has the same id everywhere.
pub fn prompt_id(prompt: &[Message]) -> String {
    let mut text = String::new();
    for message in prompt {
        text.push_str(&message.role);
        text.push('\u{1f}');
        text.push_str(&message.content);
        text.push('\u{1e}');
    }
    format!("p{}", &hash(&format!("{text}\u{1d}"))[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_directory_are_refused_and_can_be_made_safe() {
        for bad in ["", "a/b", "../x", "a.b", "a\u{1b}[2J", "-x", "a b", &"x".repeat(60)] {
            let why = check_name("annotator", bad).unwrap_err();
            assert!(why.contains("annotator") && why.contains("letters") && !why.contains('\u{1b}'), "{why}");
        }
        for good in ["ana", "Ana-2", "天野", "a_b"] {
            check_name("annotator", good).unwrap();
        }
        assert_eq!(safe_name("Ana María/2..").as_deref(), Some("Ana-María-2"));
        assert_eq!(safe_name("///"), None);
        check_name("set", &safe_name("../../etc/passwd").unwrap()).unwrap();
    }

    #[test]
    fn a_label_keeps_what_it_does_not_know() {
        let line = r#"{"schema":9,"id":"a-1","item":"x","prompt":[],"responses":[{"id":"r1","content":"c","score":2.5}],"status":"dreamt","source":"oracle","tiers":[["r1"]],"mood":"calm"}"#;
        let label: Label = serde_json::from_str(line).unwrap();
        assert_eq!((&label.status, &label.source, label.schema), (&Status::Other("dreamt".into()), &Source::Other("oracle".into()), 9));
        assert!(!label.ranks());
        let again = serde_json::to_value(&label).unwrap();
        assert_eq!((&again["mood"], &again["responses"][0]["score"], &again["status"]), (&"calm".into(), &2.5.into(), &"dreamt".into()));
    }

    #[test]
    fn an_order_in_short_speaks_of_places_on_the_screen() {
        let order = |tiers: &[&[&str]], cut| {
            let label = Label {
                display_order: ["d", "b", "a", "c"].map(String::from).to_vec(),
                tiers: tiers.iter().map(|t| t.iter().map(|s| s.to_string()).collect()).collect(),
                accept_cut: cut,
                ..Label::default()
            };
            label.in_short()
        };
        assert_eq!(order(&[&["a"], &["d"], &["c"], &["b"]], None), "3>1>4>2");
        assert_eq!(order(&[&["a"], &["d", "c"], &["b"]], Some(1)), "3 | 1=4>2");
        assert_eq!(order(&[&["a", "b", "c", "d"]], Some(0)), "| 3=2=4=1");
        assert_eq!(order(&[&["a", "b"], &["c", "d"]], Some(2)), "3=2>4=1 |");
    }

    #[test]
    fn items_that_cannot_be_ranked_say_why() {
        let item = |texts: &[&str]| Item {
            id: "x".into(),
            responses: texts
                .iter()
                .enumerate()
                .map(|(i, t)| Response { id: format!("r{i}"), content: t.to_string(), ..Response::default() })
                .collect(),
            ..Item::default()
        };
        assert_eq!(item_fault(&item(&["a"])).unwrap(), "fewer than two responses to compare");
        assert_eq!(item_fault(&item(&["a", "a ", " a"])).unwrap(), "all responses are equal");
        assert_eq!(item_fault(&item(&["a", "a", "b"])), None);
        assert!(item_fault(&item(&["a", "b"].repeat(5))).unwrap().starts_with("10 responses"));
        let mut twice = item(&["a", "b"]);
        twice.responses[1].id = "r0".into();
        assert!(item_fault(&twice).unwrap().contains("“r0”"));
    }
}
