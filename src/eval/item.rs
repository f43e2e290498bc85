//! One graded question: what a row of a task's data became.
//! Deliberately not here: which field of a row is what (`task`), and what is asked of a model (`ask`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::Message;

/// An item of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Item {
    /// Unique within its task.
    pub id: String,
    /// Where its row stands: `gsm8k_test.jsonl line 3`.
    pub place: String,
    /// The question; of a text to be predicted, nothing.
    pub prompt: String,
    /// The conversation before the answer, where the data has one.
    pub messages: Vec<Message>,
    /// Of a multiple choice.
    pub choices: Vec<String>,
    /// Where the choices differ in what comes before a common end (WinoGrande): one a choice.
    pub contexts: Vec<String>,
    /// Right choices.
    pub right: Vec<usize>,
    /// Right texts; of a text to be predicted, the text.
    pub targets: Vec<String>,
    /// An answer that the data brings along, for the model `given`.
    pub given: Option<String>,
    /// Items of one cluster (questions about one text) are no independent ones.
    pub cluster: Option<String>,
    pub tags: Vec<String>,
    /// The row itself, for rules and commands.
    pub row: Value,
}

impl Item {
    /// What identifies its content: a changed question is another one. An answer that is brought along is none of it.
    pub fn hash(&self) -> String {
        let content = (&self.prompt, &self.messages, &self.choices, &self.contexts, &self.right, &self.targets, &self.row);
        short_hash(&serde_json::to_vec(&content).unwrap_or_default())
    }

    /// What is expected, for people.
    pub fn expected(&self) -> String {
        match (self.right.as_slice(), self.choices.is_empty()) {
            ([], _) | (_, true) => self.targets.join(" | "),
            (right, false) => {
                let name = |at: &usize| format!("{} {}", letter(*at), self.choices.get(*at).map_or("", String::as_str));
                right.iter().map(name).collect::<Vec<_>>().join(" | ")
            }
        }
    }
}

/// The first 16 hexadecimal digits of the SHA-256.
pub fn short_hash(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// `A`, `B`, …; beyond `Z` the number.
pub fn letter(at: usize) -> String {
    if at < 26 { char::from(b'A' + at as u8).to_string() } else { (at + 1).to_string() }
}
