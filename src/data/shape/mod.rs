//! What the rows of a data set are: plain text, conversations, preferences, questions; which of their fields is what; and
//! rows read by that.
//! Deliberately not here: how values are found in files (`formats`, `table`) and how a shape is guessed (`recognise`).

mod dataset_info;
mod read;
mod recognise;
mod turns;

pub use dataset_info::{beside, entries};
pub use recognise::recognise;
pub use turns::{Turn, order_fault};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of row, and the fields that make it one.
#[derive(Debug)]
pub struct Shape {
    pub name: &'static str,
    /// What it is good for, in a few words.
    pub about: &'static str,
    pub slots: &'static [Slot],
}

/// A part of a row that a shape knows, and the fields that usually hold it, the likeliest first.
#[derive(Debug)]
pub struct Slot {
    pub name: &'static str,
    pub usual: &'static [&'static str],
    pub needed: bool,
}

const fn needed(name: &'static str, usual: &'static [&'static str]) -> Slot {
    Slot { name, usual, needed: true }
}

const fn may(name: &'static str, usual: &'static [&'static str]) -> Slot {
    Slot { name, usual, needed: false }
}

const QUESTION: &[&str] = &["question", "Question", "problem", "input", "prompt", "query", "text"];

/// Every shape. Where rows fit several, the first is meant.
pub const SHAPES: &[Shape] = &[
    Shape {
        name: "preference",
        about: "two answers to one prompt, of which one is the better",
        slots: &[
            needed("chosen", &["chosen", "chosen_messages", "chosen_response", "response_chosen"]),
            needed("rejected", &["rejected", "rejected_messages", "rejected_response", "response_rejected"]),
            may("prompt", &["prompt", "question", "instruction", "conversations", "messages", "input"]),
            may("system", &["system"]),
        ],
    },
    Shape {
        name: "ranking",
        about: "several answers to one prompt, with ratings or the best first",
        slots: &[
            needed("prompt", &["instruction", "prompt", "question"]),
            needed("answers", &["completions", "responses", "answers", "output"]),
            may("input", &["input"]),
        ],
    },
    Shape {
        name: "kto",
        about: "one answer, and whether it is a good one",
        slots: &[
            needed("completion", &["completion", "response", "messages", "conversations"]),
            needed("label", &["label", "kto_tag"]),
            may("prompt", &["prompt", "question", "instruction"]),
        ],
    },
    Shape {
        name: "messages",
        about: "a conversation of turns with role and content",
        slots: &[
            needed("messages", &["messages", "conversation", "conversations", "chat"]),
            may("tools", &["tools"]),
            may("system", &["system"]),
        ],
    },
    Shape {
        name: "sharegpt",
        about: "a conversation of turns with from and value",
        slots: &[needed("messages", &["conversations", "conversation", "messages"]), may("tools", &["tools"]), may("system", &["system"])],
    },
    Shape {
        name: "alpaca",
        about: "an instruction, perhaps with an input, and its output",
        slots: &[
            needed("instruction", &["instruction"]),
            needed("output", &["output", "response", "answer"]),
            may("input", &["input", "context"]),
            may("system", &["system"]),
            may("history", &["history"]),
        ],
    },
    Shape {
        name: "choices",
        about: "a question, the answers to choose from, and the right one",
        slots: &[
            needed("question", QUESTION),
            needed("choices", &["choices", "options"]),
            needed("answer", &["answer", "label", "target"]),
        ],
    },
    Shape {
        name: "choice columns",
        about: "a question, four answers to choose from, and the letter of the right one, as columns (MMLU)",
        slots: &[
            needed("question", &["column 1", "question", "input"]),
            needed("a", &["column 2", "A"]),
            needed("b", &["column 3", "B"]),
            needed("c", &["column 4", "C"]),
            needed("d", &["column 5", "D"]),
            needed("answer", &["column 6", "answer", "target"]),
        ],
    },
    Shape {
        name: "prompt/completion",
        about: "a text and how it goes on",
        slots: &[needed("prompt", &["prompt"]), needed("completion", &["completion", "response"]), may("system", &["system"])],
    },
    Shape {
        name: "question/answer",
        about: "a task with a known answer",
        slots: &[
            needed("question", QUESTION),
            needed(
                "answer",
                &[
                    "answer",
                    "Best Answer",
                    "best_answer",
                    "target",
                    "canonical_solution",
                    "solution",
                    "code",
                    "output",
                    "response",
                    "answer_matching_behavior",
                    "prediction",
                ],
            ),
        ],
    },
    Shape {
        name: "tokens",
        about: "ids of tokens that another program made",
        slots: &[needed("ids", &["input_ids", "tokens", "ids"]), may("labels", &["labels"])],
    },
    Shape {
        name: "text",
        about: "plain text, to be continued",
        slots: &[needed(
            "text",
            &[
                "text",
                "content",
                "document",
                "body",
                "completion",
                "story",
                "article",
                "raw_content",
                "markdown",
                "code",
                "sentence",
                "abstract",
            ],
        )],
    },
    Shape {
        name: "prompts",
        about: "questions or instructions without an answer",
        slots: &[needed("prompt", &["prompt", "turns", "question", "instruction", "query"])],
    },
    Shape { name: "other", about: "rows of another kind: all their texts count as one", slots: &[] },
];

/// A shape by its name.
pub fn named(name: &str) -> Option<&'static Shape> {
    SHAPES.iter().find(|s| s.name == name)
}

/// Which shape the rows have, and which field is which of its parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    pub shape: String,
    /// Field by slot; slots that the rows lack are absent. A text row that is no object has none.
    pub fields: BTreeMap<String, String>,
    /// What a turn's parts are called where they are not the usual: `role`, `content`, `user`, `assistant`, `system` …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// A finer name where there is one: `hh-rlhf transcripts`, `UltraFeedback`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Mapping {
    pub fn of(shape: &str) -> Self {
        Self { shape: shape.into(), fields: BTreeMap::new(), tags: BTreeMap::new(), variant: String::new() }
    }

    pub fn shape(&self) -> &'static Shape {
        named(&self.shape).unwrap_or(&SHAPES[SHAPES.len() - 1])
    }

    pub fn field(&self, slot: &str) -> Option<&str> {
        self.fields.get(slot).map(String::as_str)
    }

    /// A mapping from what a person writes: `alpaca`, or `question/answer question=q answer=a`. Slots that are not
    /// named keep their usual field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = split_words(text).into_iter();
        let name = words.next().unwrap_or_default();
        let (shape, first) = match named(&name) {
            Some(shape) => (shape, None),
            // A name of two words: `choice columns`.
            None => match words.next().and_then(|second| named(&format!("{name} {second}"))) {
                Some(shape) => (shape, None),
                None => {
                    let names: Vec<&str> = SHAPES.iter().map(|s| s.name).collect();
                    return Err(format!("“{}” is no shape; it is one of {}", super::visible(&name), names.join(", ")));
                }
            },
        };
        let mut mapping = Self::of(shape.name);
        for slot in shape.slots.iter().filter(|s| s.needed) {
            mapping.fields.insert(slot.name.into(), slot.usual.first().copied().unwrap_or_default().into());
        }
        for word in first.into_iter().chain(words) {
            let Some((slot, field)) = word.split_once('=') else {
                return Err(format!("“{}” says nothing; write slot=field", super::visible(&word)));
            };
            if shape.slots.iter().any(|s| s.name == slot) {
                mapping.fields.insert(slot.into(), field.into());
            } else if TAGS.contains(&slot) {
                mapping.tags.insert(slot.into(), field.into());
            } else {
                let names: Vec<&str> = shape.slots.iter().map(|s| s.name).chain(TAGS.iter().copied()).collect();
                return Err(format!("{} has no part “{}”; it has {}", shape.name, super::visible(slot), names.join(", ")));
            }
        }
        Ok(mapping)
    }
}

/// What turns may call their parts otherwise.
const TAGS: &[&str] = &["role", "content", "user", "assistant", "system_role", "observation", "function"];

/// Words at blanks; quotes keep blanks in a word: `answer="Best Answer"`.
fn split_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            c if c.is_whitespace() && !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    words
}

impl std::fmt::Display for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.shape)?;
        for (slot, field) in self.fields.iter().chain(&self.tags) {
            let quote = if field.contains(char::is_whitespace) { "\"" } else { "" };
            write!(f, " {slot}={quote}{field}{quote}")?;
        }
        Ok(())
    }
}

/// A row as its shape understands it.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    Text(String),
    Chat(Vec<Turn>),
    Pair {
        prompt: String,
        completion: String,
    },
    Preference {
        prompt: Vec<Turn>,
        chosen: Vec<Turn>,
        rejected: Vec<Turn>,
    },
    /// The answers with their ratings, or the best first.
    Ranking {
        prompt: String,
        answers: Vec<(String, Option<f64>)>,
    },
    Judged {
        prompt: Vec<Turn>,
        answer: Vec<Turn>,
        good: bool,
    },
    Question {
        question: String,
        choices: Vec<String>,
        answer: String,
    },
    Tokens(Vec<i64>),
}

impl Example {
    /// All of its text, part by part, as statistics count it.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::Chat(t) => contents(t),
            Self::Pair { prompt, completion } => vec![prompt, completion],
            Self::Preference { prompt, chosen, rejected } => [contents(prompt), contents(chosen), contents(rejected)].concat(),
            Self::Ranking { prompt, answers } => std::iter::once(prompt.as_str()).chain(answers.iter().map(|a| a.0.as_str())).collect(),
            Self::Judged { prompt, answer, .. } => [contents(prompt), contents(answer)].concat(),
            Self::Question { question, choices, answer } => {
                let choices = choices.iter().map(String::as_str);
                std::iter::once(question.as_str()).chain(choices).chain([answer.as_str()]).collect()
            }
            Self::Tokens(_) => Vec::new(),
        }
    }

    /// All of its text as one, its parts on lines of their own.
    pub fn text(&self) -> String {
        self.texts().join("\n")
    }
}

fn contents(turns: &[Turn]) -> Vec<&str> {
    turns.iter().map(|t| t.content.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_written_as_it_is_read() {
        for text in ["alpaca input=context instruction=instruction output=output", "messages messages=chat role=speaker"] {
            assert_eq!(Mapping::parse(text).unwrap().to_string(), text);
        }
        let mapping = Mapping::parse("question/answer answer=\"Best Answer\"").unwrap();
        assert_eq!((mapping.field("question"), mapping.field("answer")), (Some("question"), Some("Best Answer")));
        assert_eq!(Mapping::parse(&mapping.to_string()).unwrap(), mapping);
        assert!(Mapping::parse("choice columns a=x").unwrap().field("a") == Some("x"));
        assert!(Mapping::parse("chat").unwrap_err().contains("is one of preference"));
        assert!(Mapping::parse("text body=x").unwrap_err().contains("has no part “body”; it has text"));
    }
}
