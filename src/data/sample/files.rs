//! What each file of `sample-data/` is made of, row by row, from the grammars and a seed.
//! Deliberately not here: the files' contents as they are built in (`mod`).

use super::derive::derive;
use super::grammar::Grammar;
use super::judge::judge;
use super::{SampleError, World};
use crate::rng::Stream;
use serde_json::{Map, Value};
use std::collections::HashSet;

const STORIES: usize = 2600;
const SEA: usize = 1100;
const DIALOGUES: usize = 450;
const QUESTIONS: usize = 2400;
const PROMPTS: usize = 1000;
/// One in so many questions and prompts is kept for testing.
const TEST_EVERY: usize = 10;

/// All files, each as its name and its text of JSON lines. The same seed gives the same bytes.
pub fn make(world: &World, seed: u64) -> Result<Vec<(String, String)>, SampleError> {
    let stories = distinct(&world.home, "Story", STORIES, seed)?;
    let sea = distinct(&world.sea, "Story", SEA, seed)?;
    let dialogues = distinct(&world.talk, "Dialogue", DIALOGUES, seed)?;
    let (questions_train, questions_test) = split(questions(world, seed)?);
    let (prompts_train, prompts_test) = split(prompts(world, seed)?);
    let story = |domain: &'static str| move |text: &String| row(&[("text", text.as_str()), ("domain", domain)]);
    Ok(vec![
        ("stories.jsonl".into(), lines(stories.iter().map(story("home")))),
        ("sea.jsonl".into(), lines(sea.iter().map(story("sea")))),
        ("dialogues.jsonl".into(), lines(dialogues.iter().map(|text| dialogue(text)))),
        ("questions-train.jsonl".into(), lines(questions_train)),
        ("questions-test.jsonl".into(), lines(questions_test)),
        ("prompts-train.jsonl".into(), lines(prompts_train)),
        ("prompts-test.jsonl".into(), lines(prompts_test)),
    ])
}

/// `count` texts of a rule, no two alike, in the order they were drawn.
fn distinct(grammar: &Grammar, rule: &str, count: usize, seed: u64) -> Result<Vec<String>, SampleError> {
    let failed = |what: String| SampleError::Derive { grammar: grammar.name.clone(), rule: rule.to_string(), what };
    let index = grammar.rule(rule).ok_or_else(|| failed("there is no such rule".into()))?;
    let mut random = Stream::new(seed, &format!("sample/{}/{rule}", grammar.name));
    let (mut seen, mut texts) = (HashSet::new(), Vec::with_capacity(count));
    // A rule with fewer texts than asked for would never end: twenty times the number is enough for any that has them.
    for _ in 0..count * 20 {
        if texts.len() == count {
            return Ok(texts);
        }
        let text = derive(grammar, index, &mut random).map_err(failed)?;
        if seen.insert(text.clone()) {
            texts.push(text);
        }
    }
    Err(failed(format!("only {} different texts where {count} are asked for", texts.len())))
}

/// Questions with answers, each question once.
fn questions(world: &World, seed: u64) -> Result<Vec<Value>, SampleError> {
    let mut asked = HashSet::new();
    let texts = distinct(&world.talk, "Question", QUESTIONS, seed)?;
    let pairs = texts.iter().filter_map(|text| text.split_once('\t')).filter(|(question, _)| asked.insert(*question));
    Ok(pairs.map(|(question, answer)| row(&[("prompt", question), ("completion", answer)])).collect())
}

/// Prompts that ask for a colour, each once; `chosen` does what was asked, `rejected` does not, by `judge`.
fn prompts(world: &World, seed: u64) -> Result<Vec<Value>, SampleError> {
    let mut asked = HashSet::new();
    let texts = distinct(&world.talk, "Asked", PROMPTS * 2, seed)?;
    let mut random = Stream::new(seed, "sample/rejected");
    let mut rows = Vec::new();
    for (prompt, chosen) in texts.iter().filter_map(|text| text.split_once('\t')).filter(|(prompt, _)| asked.insert(*prompt)).take(PROMPTS)
    {
        let rejected = spoil(world, prompt, chosen, &mut random);
        rows.push(row(&[("prompt", prompt), ("chosen", chosen), ("rejected", &rejected)]));
    }
    Ok(rows)
}

/// A response with one fault: another colour, no colour, or an end without its stop.
fn spoil(world: &World, prompt: &str, response: &str, random: &mut Stream) -> String {
    let Some(asked) = super::judge::colour_of(prompt) else { return String::new() };
    let mut colours: Vec<&str> = super::judge::COLOURS.to_vec();
    debug_assert_eq!(world.talk.class("colour").map(|class| class.end - class.first), Some(colours.len()));
    colours.retain(|colour| *colour != asked);
    let spoilt = match random.below(3) {
        0 => response.replace(asked, random.pick(&colours).copied().unwrap_or("grey")),
        1 => response.replace(&format!("{asked} "), ""),
        _ => response.trim_end_matches('.').to_string(),
    };
    debug_assert!(!judge(prompt, &spoilt).passed());
    spoilt
}

/// Every tenth row is for testing. Rows are already in random order.
fn split(rows: Vec<Value>) -> (Vec<Value>, Vec<Value>) {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (index, row) in rows.into_iter().enumerate() {
        if index % TEST_EVERY == TEST_EVERY - 1 { test.push(row) } else { train.push(row) }
    }
    (train, test)
}

fn row(fields: &[(&str, &str)]) -> Value {
    Value::Object(fields.iter().map(|(name, value)| (name.to_string(), Value::from(*value))).collect())
}

/// A dialogue's turns stand one a line, each behind its role; the row has them as messages, and as ChatML text.
fn dialogue(text: &str) -> Value {
    let turns: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let messages = turns.iter().map(|(role, content)| row(&[("role", role), ("content", content)])).collect();
    let rendered: String = turns.iter().map(|(role, content)| format!("<|im_start|>{role}\n{content}<|im_end|>\n")).collect();
    let mut fields = Map::new();
    fields.insert("messages".into(), Value::Array(messages));
    fields.insert("text".into(), Value::from(rendered));
    Value::Object(fields)
}

fn lines(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().fold(String::new(), |mut out, row| {
        out.push_str(&row.to_string());
        out.push('\n');
        out
    })
}
