//! Rules about texts: equal, containing, matching, near, a letter, the sample world's colour.
//! Deliberately not here: numbers, lists and JSON.

use std::borrow::Cow;

use super::{Scorer, Verdict, extracted, needs_target, regex};
use crate::data::sample::judge;
use crate::eval::item::{Item, letter};
use crate::eval::task::Task;

pub const EXACT: Scorer = Scorer { name: "exact", help: "equal to a target, blanks around it aside", check: needs_target, score: exact };
pub const CONTAINS: Scorer = Scorer { name: "contains", help: "a target stands in it", check: needs_target, score: contains };
pub const REGEX: Scorer = Scorer {
    name: "regex",
    help: "what `extract` finds is a target; without a target, that it finds something",
    check: regex_check,
    score: matches,
};
pub const LETTER: Scorer = Scorer { name: "letter", help: "the letter of a choice", check: letter_check, score: by_letter };
pub const EDIT: Scorer =
    Scorer { name: "edit", help: "1 less the edit distance to the nearest target, by length", check: needs_target, score: edit };
pub const COLOUR: Scorer = Scorer {
    name: "colour",
    help: "the sample world's property: the colour that was asked for, no other, and a stop",
    check: |_| Ok(()),
    score: colour,
};

/// Text as the task compares it.
fn folded<'a>(task: &Task, text: &'a str) -> Cow<'a, str> {
    let text = text.trim();
    if !task.ignore_case && !task.ignore_punctuation {
        return Cow::Borrowed(text);
    }
    let mut out: String = if task.ignore_case { text.to_lowercase() } else { text.to_owned() };
    if task.ignore_punctuation {
        out = out.chars().filter(|c| !c.is_ascii_punctuation()).collect();
        out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    Cow::Owned(out)
}

/// What `extract` leaves of the answer, folded; or why there is nothing.
fn read<'a>(task: &Task, text: &'a str) -> Result<Cow<'a, str>, Verdict> {
    match extracted(task, text) {
        Err(why) => Err(Verdict::failed(why)),
        Ok(None) => Err(Verdict::unparsed("the expression finds nothing")),
        Ok(Some(part)) if part.trim().is_empty() => Err(Verdict::unparsed("the answer is empty")),
        Ok(Some(part)) => Ok(folded(task, part)),
    }
}

fn exact(task: &Task, item: &Item, text: &str) -> Verdict {
    match read(task, text) {
        Ok(found) => Verdict::right(item.targets.iter().any(|t| folded(task, t) == found), found),
        Err(verdict) => verdict,
    }
}

fn contains(task: &Task, item: &Item, text: &str) -> Verdict {
    match read(task, text) {
        Ok(found) => {
            let hit = item.targets.iter().map(|t| folded(task, t)).find(|t| !t.is_empty() && found.contains(t.as_ref()));
            let right = hit.is_some();
            Verdict::right(right, hit.map_or(found, |h| Cow::Owned(h.into_owned())))
        }
        Err(verdict) => verdict,
    }
}

fn regex_check(task: &Task) -> Result<(), String> {
    if task.extract.is_empty() { Err("score = “regex” needs extract".into()) } else { regex(&task.extract).map(drop) }
}

fn matches(task: &Task, item: &Item, text: &str) -> Verdict {
    match read(task, text) {
        Ok(found) if item.targets.is_empty() => Verdict::right(true, found),
        Ok(_) => exact(task, item, text),
        Err(verdict) if item.targets.is_empty() && verdict.fault.is_none() => Verdict::of(0.0, "", "no match"),
        Err(verdict) => verdict,
    }
}

fn letter_check(task: &Task) -> Result<(), String> {
    if task.answer.is_empty() && task.target.is_empty() { Err("score = “letter” needs an answer or a target".into()) } else { Ok(()) }
}

fn by_letter(task: &Task, item: &Item, text: &str) -> Verdict {
    let text = match extracted(task, text) {
        Ok(Some(text)) => text,
        Ok(None) => return Verdict::unparsed("the expression finds nothing"),
        Err(why) => return Verdict::failed(why),
    };
    let options = if item.choices.is_empty() { 26 } else { item.choices.len().min(26) };
    let Some(found) = find_letter(text, options) else { return Verdict::unparsed("no letter of a choice") };
    let by_text = |t: &String| find_letter(t, 26) == Some(found);
    let right = if item.right.is_empty() { item.targets.iter().any(by_text) } else { item.right.contains(&found) };
    Verdict::right(right, letter(found))
}

/// The letter that an answer names: behind “answer”, at the beginning, alone in brackets.
fn find_letter(text: &str, options: usize) -> Option<usize> {
    let index =
        |c: char| Some((c.to_ascii_uppercase() as u8).checked_sub(b'A')? as usize).filter(|i| *i < options && c.is_ascii_alphabetic());
    let chars: Vec<char> = text.chars().collect();
    // A letter that is no part of a word; lower case only within brackets.
    let lone = |at: usize| {
        let before = at.checked_sub(1).map(|i| chars[i]);
        let after = chars.get(at + 1);
        let in_brackets = before == Some('(') && after == Some(&')');
        let alone = before.is_none_or(|c| !c.is_alphanumeric() && c != '\'') && after.is_none_or(|c| !c.is_alphanumeric() && *c != '\'');
        let upper = chars[at].is_ascii_uppercase();
        if in_brackets || (alone && upper) { index(chars[at]) } else { None }
    };
    let lower: Vec<char> = chars.iter().map(char::to_ascii_lowercase).collect();
    let word: Vec<char> = "answer".chars().collect();
    let behind = (0..lower.len().saturating_sub(word.len())).rev().find(|at| lower[*at..].starts_with(&word));
    if let Some(at) = behind {
        let from = at + word.len();
        // “The answer is A man” would be no letter, but nobody is asked for one there.
        if let Some(found) = (from..(from + 40).min(chars.len())).find_map(lone) {
            return Some(found);
        }
    }
    let first = chars.iter().position(|c| !c.is_whitespace() && !matches!(c, '(' | '*' | '"' | '['))?;
    let closes = chars.get(first + 1).is_none_or(|c| matches!(c, ')' | '.' | ':' | ',' | '\n' | '*' | ']' | '"'));
    if closes && let Some(found) = index(chars[first]) {
        return Some(found);
    }
    let bracketed = (1..chars.len()).rev().find(|at| chars[at - 1] == '(' && chars.get(at + 1) == Some(&')'));
    bracketed.and_then(|at| index(chars[at])).or_else(|| {
        let all: Vec<usize> =
            (0..chars.len()).filter_map(|at| if chars[at] == 'I' || chars[at] == 'A' { None } else { lone(at) }).collect();
        all.last().copied()
    })
}

/// Longer texts are compared by their beginnings: the distance takes the product of the lengths.
const EDIT_CHARS: usize = 4000;

fn edit(task: &Task, item: &Item, text: &str) -> Verdict {
    let found = match read(task, text) {
        Ok(found) => found,
        Err(verdict) => return verdict,
    };
    let cut = |t: &str| t.chars().take(EDIT_CHARS).collect::<String>();
    let own = cut(&found);
    let near = item.targets.iter().map(|t| strsim::normalized_levenshtein(&own, &cut(&folded(task, t)))).fold(0.0, f64::max);
    Verdict::of(near, found, format!("{:.0} % the same", 100.0 * near))
}

fn colour(_: &Task, item: &Item, text: &str) -> Verdict {
    if text.trim().is_empty() {
        return Verdict::unparsed("the answer is empty");
    }
    let said = judge::judge(&item.prompt, text);
    let part = |on: bool, what: &'static str| if on { None } else { Some(what) };
    let missing: Vec<&str> =
        [part(said.colour, "the colour is missing"), part(said.faithful, "another colour"), part(said.ended, "no stop at the end")]
            .into_iter()
            .flatten()
            .collect();
    Verdict::of(said.score(), text.trim(), if missing.is_empty() { "all kept".into() } else { missing.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(targets: &[&str]) -> Item {
        Item { targets: targets.iter().map(|t| (*t).to_owned()).collect(), ..Item::default() }
    }

    #[test]
    fn texts_are_equal_within_what_the_task_ignores() {
        let strict = Task::default();
        let loose = Task { ignore_case: true, ignore_punctuation: true, ..Task::default() };
        assert_eq!(exact(&strict, &item(&["Paris", "paris"]), " Paris\n").score, 1.0);
        assert_eq!(exact(&strict, &item(&["Paris."]), "Paris").score, 0.0);
        assert_eq!(exact(&loose, &item(&["Paris."]), "PARIS!").score, 1.0);
        assert_eq!(exact(&strict, &item(&[""]), "  "), Verdict::unparsed("the answer is empty"), "nothing equals nothing");
        assert_eq!(contains(&loose, &item(&["lower jawbone"]), "It is the Lower-Jawbone, the lower jawbone.").score, 1.0);
        assert_eq!(contains(&strict, &item(&[""]), "x").score, 0.0);
    }

    #[test]
    fn an_expression_takes_the_answer_out() {
        let task = Task { extract: "ANSWER: (\\w+)".into(), ..Task::default() };
        assert_eq!(exact(&task, &item(&["yes"]), "hm ANSWER: yes ANSWER: no").score, 1.0);
        let last = Task { extract_last: true, ..task.clone() };
        assert_eq!(exact(&last, &item(&["no"]), "hm ANSWER: yes ANSWER: no").score, 1.0);
        assert!(exact(&task, &item(&["yes"]), "yes").extracted.is_none());
        assert_eq!(matches(&task, &item(&[]), "ANSWER: x").score, 1.0);
        assert_eq!(matches(&task, &item(&[]), "x").score, 0.0);
        assert!(regex_check(&Task { extract: "(".into(), ..Task::default() }).unwrap_err().contains("no expression"));
    }

    #[test]
    fn letters_are_found_where_people_write_them() {
        let cases: [(&str, Option<&str>); 14] = [
            ("B", Some("B")),
            (" (c) because", Some("C")),
            ("D. It is so", Some("D")),
            ("The answer is B.", Some("B")),
            ("The correct answer is: (A)", Some("A")),
            ("**C**", Some("C")),
            ("I think it is C", Some("C")),
            ("Answer: B, and not A", Some("B")),
            ("a dog", None),
            ("I do not know", None),
            ("", None),
            ("E", None),
            ("It must be (b), surely", Some("B")),
            ("b)", Some("B")),
        ];
        for (text, expected) in cases {
            assert_eq!(find_letter(text, 4).map(letter).as_deref(), expected, "{text:?}");
        }
        let item = Item { choices: vec!["x".into(); 4], right: vec![1], ..Item::default() };
        assert_eq!(by_letter(&Task::default(), &item, "b)").score, 1.0);
        assert!(by_letter(&Task::default(), &item, "none").extracted.is_none());
    }

    #[test]
    fn near_texts_score_between() {
        assert_eq!(edit(&Task::default(), &item(&["kitten"]), "sitting").score, strsim::normalized_levenshtein("kitten", "sitting"));
        assert!(edit(&Task::default(), &item(&["x"]), "").extracted.is_none());
        let prompt = Item { prompt: "Tell me about a red ball.".into(), ..Item::default() };
        assert_eq!(colour(&Task::default(), &prompt, "Anna had a red ball").score, 0.75);
    }
}
