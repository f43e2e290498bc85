//! The forms in which other programs keep preferences: TRL, LLaMA-Factory, Argilla, hh-rlhf, UltraFeedback-binarized, Chatbot
//! Arena. How a judged item becomes rows of each.
//! Deliberately not here: how their rows are read (`import`) and which labels are taken (`export`).

use serde_json::{Map, Value, json};

use super::order;
use super::{Response, Tiers};
use crate::spec::Message;

/// An item with the order that was settled on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    pub id: String,
    pub prompt: Vec<Message>,
    pub responses: Vec<Response>,
    pub tiers: Tiers,
    pub accept_cut: Option<usize>,
    pub strength: Option<u8>,
    /// Who judged it.
    pub annotators: Vec<String>,
    pub decided_at: u64,
}

impl Judged {
    fn text(&self, id: &str) -> &str {
        self.responses.iter().find(|r| r.id == id).map_or("", |r| r.content.as_str())
    }

    /// Pairs with their margins: the strength that a person gave, or the tiers between.
    fn pairs(&self) -> Vec<(&str, &str, f64)> {
        let strength = self.strength.filter(|s| *s > 0).map(f64::from);
        let pairs = order::pairs(&self.tiers).into_iter();
        pairs
            .map(|(a, b, apart)| (self.text(a), self.text(b), strength.filter(|_| self.responses.len() == 2).unwrap_or(apart as f64)))
            .collect()
    }

    /// Each response with whether it is a good one: by the line that was drawn; where none was, the best are good, the worst
    /// are not, and nothing is said of what lies between.
    fn verdicts(&self) -> Vec<(&str, bool)> {
        let last = self.tiers.len().saturating_sub(1);
        let good = |tier: usize| match self.accept_cut {
            Some(cut) => Some(tier < cut),
            None if last == 0 => None,
            None if tier == 0 => Some(true),
            None => (tier == last).then_some(false),
        };
        let of = |(tier, ids): (usize, &Vec<String>)| ids.iter().filter_map(|id| Some((self.text(id), good(tier)?))).collect::<Vec<_>>();
        self.tiers.iter().enumerate().flat_map(of).collect()
    }
}

/// A form of another program.
#[derive(Debug)]
pub struct Form {
    pub name: &'static str,
    pub about: &'static str,
    /// The rows of one judged item; or why this form cannot hold it.
    pub rows: fn(&Judged) -> Result<Vec<Value>, String>,
    /// What the `dataset_info.json` beside the file says of it, for programs that need one.
    pub entry: Option<fn(&str) -> Value>,
}

/// Every form that labels are written in.
pub const FORMS: &[Form] = &[
    Form {
        name: "trl",
        about: "TRL: prompt, chosen, rejected as messages, with a margin (DPO and reward trainers)",
        rows: trl,
        entry: None,
    },
    Form { name: "trl-unpaired", about: "TRL: prompt, completion, label (KTO)", rows: trl_unpaired, entry: None },
    Form {
        name: "llamafactory",
        about: "LLaMA-Factory: sharegpt ranking, with its entry in dataset_info.json",
        rows: llamafactory,
        entry: Some(|file| {
            json!({"file_name": file, "ranking": true, "formatting": "sharegpt",
                "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}})
        }),
    },
    Form {
        name: "llamafactory-kto",
        about: "LLaMA-Factory: messages with a kto_tag, with its entry in dataset_info.json",
        rows: llamafactory_kto,
        entry: Some(|file| {
            json!({"file_name": file, "formatting": "sharegpt", "columns": {"messages": "messages", "kto_tag": "label"},
                "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
                         "observation_tag": "tool", "system_tag": "system"}})
        }),
    },
    Form { name: "argilla", about: "Argilla: the responses and a ranking question, sorted by rank", rows: argilla, entry: None },
    Form { name: "hh", about: "hh-rlhf: two transcripts", rows: hh, entry: None },
    Form { name: "ultrafeedback", about: "UltraFeedback-binarized: two conversations with scores", rows: ultrafeedback, entry: None },
    Form { name: "arena", about: "Chatbot Arena: battles of two models, ties among them", rows: arena, entry: None },
];

/// A form by its name.
pub fn named(name: &str) -> Result<&'static Form, String> {
    FORMS.iter().find(|f| f.name == name).ok_or_else(|| {
        let names: Vec<&str> = FORMS.iter().map(|f| f.name).collect();
        format!("“{}” is no form; it is one of {}", super::visible(name), names.join(", "))
    })
}

fn messages(turns: &[Message]) -> Value {
    turns.iter().map(|m| json!({"role": m.role, "content": m.content})).collect()
}

fn answer(text: &str) -> Value {
    json!([{"role": "assistant", "content": text}])
}

fn trl(j: &Judged) -> Result<Vec<Value>, String> {
    let row = |(a, b, margin): (&str, &str, f64)| json!({"prompt": messages(&j.prompt), "chosen": answer(a), "rejected": answer(b), "margin": margin});
    Ok(j.pairs().into_iter().map(row).collect())
}

fn trl_unpaired(j: &Judged) -> Result<Vec<Value>, String> {
    let row = |(text, good): (&str, bool)| json!({"prompt": messages(&j.prompt), "completion": answer(text), "label": good});
    Ok(j.verdicts().into_iter().map(row).collect())
}

/// What LLaMA-Factory's converter wants of a prompt: after a system turn, turns of the person and the assistant take turns,
/// and the person's is the last. It skips rows that are otherwise, with a warning that is easily missed.
fn alternates(prompt: &[Message]) -> Result<(), String> {
    let turns: Vec<&str> = prompt.iter().map(|m| m.role.as_str()).collect();
    let turns = turns.strip_prefix(&["system"]).unwrap_or(&turns);
    let fits = |(i, role): (usize, &&str)| if i % 2 == 0 { matches!(*role, "user" | "tool") } else { *role == "assistant" };
    if let Some(at) = turns.iter().enumerate().position(|turn| !fits(turn)) {
        return Err(format!("turn {} of its prompt is of the role “{}”, where turns have to alternate", at + 1, super::visible(turns[at])));
    }
    if turns.len().is_multiple_of(2) { Err("its prompt does not end with a turn of the person".into()) } else { Ok(()) }
}

fn sharegpt(message: &Message) -> Value {
    let from = match message.role.as_str() {
        "user" => "human",
        "assistant" => "gpt",
        "tool" => "observation",
        other => other,
    };
    json!({"from": from, "value": message.content})
}

fn llamafactory(j: &Judged) -> Result<Vec<Value>, String> {
    alternates(&j.prompt)?;
    let talk: Value = j.prompt.iter().map(sharegpt).collect();
    let said = |text: &str| json!({"from": "gpt", "value": text});
    Ok(j.pairs().into_iter().map(|(a, b, _)| json!({"conversations": talk, "chosen": said(a), "rejected": said(b)})).collect())
}

fn llamafactory_kto(j: &Judged) -> Result<Vec<Value>, String> {
    alternates(&j.prompt)?;
    let row = |(text, good): (&str, bool)| {
        let turns = j.prompt.iter().cloned().chain([Message { role: "assistant".into(), content: text.into() }]).collect::<Vec<_>>();
        json!({"messages": messages(&turns), "label": good})
    };
    Ok(j.verdicts().into_iter().map(row).collect())
}

fn argilla(j: &Judged) -> Result<Vec<Value>, String> {
    let mut row = Map::new();
    row.insert("id".into(), j.id.clone().into());
    row.insert("prompt".into(), messages(&j.prompt));
    let name = |id: &str| j.responses.iter().position(|r| r.id == id).map(|at| format!("response-{}", at + 1));
    for (i, response) in j.responses.iter().enumerate() {
        row.insert(format!("response-{}", i + 1), response.content.clone().into());
    }
    let tier = |(rank, ids): (usize, &Vec<String>)| {
        ids.iter().filter_map(|id| Some(json!({"value": name(id)?, "rank": rank + 1}))).collect::<Vec<_>>()
    };
    let value: Vec<Value> = j.tiers.iter().enumerate().flat_map(tier).collect();
    row.insert("ranking".into(), json!([{"user_id": j.annotators.join("+"), "value": value, "status": "submitted"}]));
    let models: Map<String, Value> =
        j.responses.iter().enumerate().filter_map(|(i, r)| Some((format!("response-{}", i + 1), r.model.clone()?.into()))).collect();
    row.insert("metadata".into(), json!({"models": models}));
    Ok(vec![row.into()])
}

fn hh(j: &Judged) -> Result<Vec<Value>, String> {
    alternates(&j.prompt)?;
    const MARKS: [&str; 2] = ["\n\nHuman:", "\n\nAssistant:"];
    let mut prompt = String::new();
    for turn in &j.prompt {
        prompt.push_str(match turn.role.as_str() {
            "user" => MARKS[0],
            "assistant" => MARKS[1],
            other => return Err(format!("a transcript has no place for a turn of the role “{}”", super::visible(other))),
        });
        prompt.push(' ');
        prompt.push_str(&turn.content);
    }
    let texts = j.prompt.iter().map(|m| m.content.as_str()).chain(j.responses.iter().map(|r| r.content.as_str()));
    if texts.into_iter().any(|t| MARKS.iter().any(|mark| t.contains(mark))) {
        return Err("one of its texts looks like a transcript itself".into());
    }
    let whole = |text: &str| format!("{prompt}{} {text}", MARKS[1]);
    Ok(j.pairs().into_iter().map(|(a, b, _)| json!({"chosen": whole(a), "rejected": whole(b)})).collect())
}

fn ultrafeedback(j: &Judged) -> Result<Vec<Value>, String> {
    let prompt = j.prompt.iter().rfind(|m| m.role == "user").map_or("", |m| m.content.as_str());
    let talk = |text: &str| {
        messages(&j.prompt.iter().cloned().chain([Message { role: "assistant".into(), content: text.into() }]).collect::<Vec<_>>())
    };
    let places = order::places(&j.tiers);
    let score = |id: &str| (j.tiers.len() - places.get(id).copied().unwrap_or(0)) as f64;
    let row = |(a, b, _): (&str, &str, usize)| {
        json!({"prompt": prompt, "prompt_id": j.id, "chosen": talk(j.text(a)), "rejected": talk(j.text(b)),
               "messages": talk(j.text(a)), "score_chosen": score(a), "score_rejected": score(b)})
    };
    Ok(order::pairs(&j.tiers).into_iter().map(row).collect())
}

fn arena(j: &Judged) -> Result<Vec<Value>, String> {
    let places = order::places(&j.tiers);
    let talk = |text: &str| {
        messages(&j.prompt.iter().cloned().chain([Message { role: "assistant".into(), content: text.into() }]).collect::<Vec<_>>())
    };
    let model = |r: &Response| r.model.clone().unwrap_or_else(|| "unknown".into());
    let mut rows = Vec::new();
    for (i, a) in j.responses.iter().enumerate() {
        for b in &j.responses[i + 1..] {
            let winner = match order::compare(&places, &a.id, &b.id) {
                Some(-1) => "model_a",
                Some(1) => "model_b",
                Some(_) if j.accept_cut.is_some_and(|cut| places.get(a.id.as_str()).is_some_and(|place| *place >= cut)) => "tie (bothbad)",
                Some(_) => "tie",
                None => continue,
            };
            rows.push(json!({"question_id": j.id, "model_a": model(a), "model_b": model(b), "winner": winner, "judge": j.annotators.join("+"),
                "conversation_a": talk(&a.content), "conversation_b": talk(&b.content),
                "turn": j.prompt.iter().filter(|m| m.role == "user").count(), "anony": true, "language": "", "tstamp": j.decided_at as f64 / 1e3}));
        }
    }
    Ok(rows)
}
