//! ELIZA: a partner of the kind that Joseph Weizenbaum described in 1966 ("ELIZA: a computer program for the study of natural
//! language communication between man and machine", CACM 9/1): keywords with ranks, and what was said turned around. A person
//! compares a model with it. The rules are written for this program.
//! Deliberately not here: any model, and any chance; the same talk gives the same answers.

use std::collections::BTreeMap;

use serde_json::json;

use crate::report::{Monitor, Report, Token};
use crate::spec::{GenerateSpec, Message};

/// Her name where a model is named.
pub const NAME: &str = "builtin:eliza";
/// More is not listened to.
const LONGEST: usize = 2000;

/// A keyword, how much it matters, and what is answered; `*` is what follows it, turned around, and `%` its first word.
struct Rule {
    keys: &'static [&'static str],
    rank: u8,
    answers: &'static [&'static str],
}

const fn rule(keys: &'static [&'static str], rank: u8, answers: &'static [&'static str]) -> Rule {
    Rule { keys, rank, answers }
}

const RULES: &[Rule] = &[
    rule(
        &["i remember"],
        9,
        &["What else comes to mind when you think of *?", "Why does * come back to you just now?", "How often do you think of *?"],
    ),
    rule(&["do you remember"], 9, &["Did you expect me to forget *?", "What is it about * that you want me to keep in mind?"]),
    rule(
        &["computer", "computers", "machine", "program", "robot", "language model"],
        8,
        &[
            "Does it trouble you to speak with a machine?",
            "What should a machine be able to do for you?",
            "I follow a page of rules. What do you follow?",
        ],
    ),
    rule(&["i dreamt", "i dreamed", "my dream"], 7, &["What did you feel when you dreamt *?", "Who else was there in the dream?"]),
    rule(
        &["i need", "i want", "i would like", "i wish"],
        6,
        &["What would change if you had *?", "Why *, and why now?", "Suppose you never got *. What then?"],
    ),
    rule(
        &["i am", "i'm"],
        5,
        &["How long have you been *?", "Is it because you are * that you came to me?", "Would you rather not be *?", "What made you *?"],
    ),
    rule(&["i feel", "i felt"], 5, &["When did you first feel *?", "What do you do when you feel *?", "Do others around you feel * too?"]),
    rule(&["i can't", "i cannot"], 5, &["What keeps you from it? Suppose you could *.", "Have you tried to *?"]),
    rule(&["i don't", "i do not"], 5, &["Why do you not *?", "Would it help you to *?"]),
    rule(&["i think", "i believe", "i guess"], 4, &["Are you sure that *?", "What makes you say that *?", "And if it were otherwise?"]),
    rule(
        &["you are", "you're"],
        4,
        &["What makes you think that I am *?", "Would it please you if I were *?", "Perhaps we should speak of you, and not of me."],
    ),
    rule(&["are you"], 4, &["Why would it matter to you whether I am *?", "What would you do if I were *?"]),
    rule(&["can you", "could you"], 4, &["You would like me to be able to *?", "What would it mean to you if I could *?"]),
    rule(&["why don't you"], 4, &["Should I *? Perhaps in good time I will.", "You would like me to *?"]),
    rule(&["why can't i"], 4, &["Do you think you should be able to *?", "What have you tried so far?"]),
    rule(
        &["my mother", "my father", "my sister", "my brother", "my wife", "my husband", "my child", "my family", "my friend"],
        4,
        &["Tell me more about your family and friends.", "Who else is close to you?", "What is it like to be with them?"],
    ),
    rule(&["because"], 3, &["Is that the real reason?", "What other reasons come to mind?", "Does that explain other things too?"]),
    rule(&["always", "never", "everyone", "everybody", "nobody"], 3, &["Can you think of one case?", "Really without any exception?"]),
    rule(&["my"], 2, &["Tell me more about your %.", "What does your % mean to you?"]),
    rule(&["sorry"], 2, &["There is no need to apologise.", "What do you feel when you apologise?"]),
    rule(
        &["what", "how", "who", "when", "where", "why"],
        1,
        &["What answer would please you most?", "Why do you ask?", "What do you think?"],
    ),
    rule(&["yes"], 1, &["You seem quite sure.", "I see. Go on."]),
    rule(&["no"], 1, &["Why not?", "You say no rather quickly."]),
    rule(&["hello", "hi", "good morning", "good evening"], 1, &["How do you do. What is on your mind?"]),
];

const OTHERWISE: &[&str] = &[
    "Please go on.",
    "What does that suggest to you?",
    "I am not sure that I follow you. Say it in other words?",
    "Does it bother you to speak of this?",
];

/// Who is meant, seen from the other side.
const TURNED: &[(&str, &str)] = &[
    ("i", "you"),
    ("me", "you"),
    ("my", "your"),
    ("mine", "yours"),
    ("myself", "yourself"),
    ("am", "are"),
    ("i'm", "you are"),
    ("i've", "you have"),
    ("i'll", "you will"),
    ("you", "I"),
    ("your", "my"),
    ("yours", "mine"),
    ("yourself", "myself"),
    ("you're", "I am"),
];

/// The answer to the last of what a person said; what was said before decides which of several answers comes, so that she
/// does not repeat herself at once, and what she comes back to when nothing else helps.
pub fn answer(said: &[&str]) -> String {
    let Some((last, before)) = said.split_last() else { return "How do you do. What is on your mind?".into() };
    let words = words(last);
    let found = RULES.iter().filter_map(|rule| Some((rule, behind(rule, &words)?))).max_by_key(|(rule, _)| rule.rank);
    match found {
        Some((rule, rest)) => {
            let again = before.iter().filter(|text| behind(rule, &self::words(text)).is_some()).count();
            fill(rule.answers, again, &rest)
        }
        None => {
            // She keeps what was said of one's own, and comes back to it.
            let own = before.iter().rev().find_map(|text| self::words(text).windows(2).find(|w| w[0] == "my").map(<[String]>::to_vec));
            match own.filter(|_| before.len() % 3 == 2) {
                Some(own) => format!("Earlier you spoke of {}. Has this to do with it?", turned(&own)),
                None => OTHERWISE[before.len() % OTHERWISE.len()].into(),
            }
        }
    }
}

/// The answer whose turn it is; one that needs what follows the keyword is left out where nothing does.
fn fill(answers: &[&str], again: usize, rest: &[String]) -> String {
    let fits: Vec<&&str> = answers.iter().filter(|a| !rest.is_empty() || !a.contains(['*', '%'])).collect();
    match fits.get(again % fits.len().max(1)) {
        Some(answer) => answer.replace('*', &turned(rest)).replace('%', rest.first().map_or("", String::as_str)),
        None => OTHERWISE[again % OTHERWISE.len()].into(),
    }
}

/// The words behind a rule's keyword up to the end of the clause; none where it does not stand there.
fn behind(rule: &Rule, words: &[String]) -> Option<Vec<String>> {
    rule.keys.iter().find_map(|key| {
        let key: Vec<&str> = key.split(' ').collect();
        let at = words.windows(key.len()).position(|w| w.iter().zip(&key).all(|(a, b)| a == b))?;
        Some(words[at + key.len()..].iter().take_while(|w| w.as_str() != ".").cloned().collect())
    })
}

/// Lower-case words, with `.` where a clause ends.
fn words(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for c in text.chars().take(LONGEST).flat_map(char::to_lowercase) {
        let c = if c == '’' { '\'' } else { c };
        if c.is_alphanumeric() || c == '\'' || c == '-' {
            if let Some(word) = out.last_mut() {
                word.push(c);
            }
        } else {
            if matches!(c, '.' | ',' | ';' | ':' | '?' | '!' | '\n') {
                out.push(".".into());
            }
            out.push(String::new());
        }
    }
    out.retain(|w| !w.is_empty());
    out
}

fn turned(words: &[String]) -> String {
    let turn = |word: &String| TURNED.iter().find(|(from, _)| from == word).map_or(word.clone(), |(_, to)| (*to).to_owned());
    let mut out: Vec<String> = words.iter().map(turn).collect();
    // At the end it is who something is done to.
    if let Some(last) = out.last_mut().filter(|w| *w == "I") {
        *last = "me".into();
    }
    out.join(" ")
}

/// Her answer as the reports of a generation: a word a token.
pub fn generate(spec: &GenerateSpec, monitor: &dyn Monitor) -> (String, usize) {
    let of_user = |m: &&Message| m.role == "user";
    let said: Vec<&str> = spec.messages.iter().filter(of_user).map(|m| m.content.as_str()).collect();
    let said = if spec.messages.is_empty() { vec![spec.prompt.as_str()] } else { said };
    let facts = |pairs: &[(&str, serde_json::Value)]| {
        Report::Facts(pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect::<BTreeMap<_, _>>())
    };
    monitor.report(facts(&[("prompt_tokens", json!(said.len())), ("rendering", json!("ELIZA's rules"))]));
    let answer = answer(&said);
    let words: Vec<&str> = answer.split_inclusive(' ').take(spec.max_tokens).collect();
    for (i, word) in words.iter().enumerate() {
        let bytes = word.as_bytes().to_vec();
        monitor.report(Report::Token(Token { id: i as u32, bytes, probability: 1.0, alternatives: Vec::new(), from_prompt: false }));
    }
    let text: String = words.concat();
    monitor.report(facts(&[("tokens", json!(words.len())), ("ended", json!("end"))]));
    (text, words.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_turned_around() {
        assert_eq!(answer(&["I am afraid of my own shadow."]), "How long have you been afraid of your own shadow?");
        assert_eq!(answer(&["Hello!"]), "How do you do. What is on your mind?");
        assert_eq!(answer(&["well, I need you"]), "What would change if you had me?");
        assert_eq!(answer(&["My cat sleeps, and I sleep too"]), "Tell me more about your cat.");
        assert_eq!(answer(&["I’m tired"]), "How long have you been tired?");
        assert_eq!(answer(&["I am"]), "Please go on.");
        assert_eq!(answer(&[]), "How do you do. What is on your mind?");
    }

    #[test]
    fn she_does_not_repeat_herself_at_once_and_comes_back_to_things() {
        let (first, second) = (answer(&["I am sad"]), answer(&["I am sad", "I am sad"]));
        assert_ne!(first, second);
        assert_eq!(answer(&["my garden is dry", "yes", "the weather"]), "Earlier you spoke of your garden. Has this to do with it?");
        assert_ne!(answer(&["blue"]), answer(&["blue", "green"]));
        // Any text at all, however long.
        assert!(!answer(&["\u{1b}[31m", &"i am ".repeat(10_000), "…'-"]).is_empty());
    }
}
