//! Conversations as files: JSON Lines that are read back with all versions and tokens, a head line and then an exchange a line.
//! Deliberately not here: where they are written, and the alternatives of tokens, which would be most of a file.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::talk::{Exchange, Mode, Origin, Piece, Stage, Talk, Version};
use crate::spec::Sampler;
use crate::text::visible;

/// The version of the form; a file of a later one is refused.
const SCHEMA: u32 = 1;
/// Exchanges and versions that are read; more are nobody's.
const MOST: usize = 100_000;

#[derive(Serialize, Deserialize)]
struct Head {
    /// `weightroom chat`.
    what: String,
    schema: u32,
    #[serde(default)]
    title: String,
    #[serde(default)]
    saved_ms: u64,
    #[serde(default)]
    system: String,
    #[serde(default)]
    examples: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    /// `chat` or `continue`.
    mode: String,
    /// The exchange (from 0) and the version of it that this one goes on from.
    after: Option<(usize, usize)>,
    #[serde(default)]
    fresh: bool,
    #[serde(default)]
    spread: bool,
    #[serde(default)]
    pair: bool,
    #[serde(default)]
    shown: usize,
    versions: Vec<Said>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    model: String,
    prompt: String,
    #[serde(default)]
    prefix: String,
    sampler: Sampler,
    /// What was drawn; the tokens say it once more, with their probabilities.
    text: String,
    /// (id, text, probability) each.
    #[serde(default)]
    tokens: Vec<(u32, String, f32)>,
    #[serde(default)]
    ended: String,
    /// `prompt_tokens`, `tokens_per_s`, `prompt_text` …
    #[serde(default)]
    facts: std::collections::BTreeMap<String, Value>,
}

/// The conversation as a file's text.
pub fn write(talk: &Talk, title: &str, now_ms: u64) -> String {
    let (system, examples) = (talk.system.clone(), talk.examples.clone());
    let head = Head { what: "weightroom chat".into(), schema: SCHEMA, title: title.into(), saved_ms: now_ms, system, examples };
    let mut out = serde_json::to_string(&head).unwrap_or_default() + "\n";
    for exchange in &talk.exchanges {
        let line = Line {
            mode: if exchange.mode == Mode::Chat { "chat" } else { "continue" }.into(),
            after: exchange.after,
            fresh: exchange.fresh,
            spread: exchange.spread,
            pair: exchange.pair,
            shown: exchange.shown,
            versions: exchange.versions.iter().map(said).collect(),
        };
        out += &(serde_json::to_string(&line).unwrap_or_default() + "\n");
    }
    out
}

fn said(version: &Version) -> Said {
    let drawn = || version.pieces.iter().filter(|p| p.origin == Origin::Drawn);
    Said {
        model: version.model.clone(),
        prompt: version.prompt.clone(),
        prefix: version.prefix.clone(),
        sampler: version.sampler.clone(),
        text: drawn().map(|p| p.text.as_str()).collect(),
        tokens: drawn().map(|p| (p.id, p.text.clone(), p.probability)).collect(),
        ended: match &version.stage {
            Stage::Done(ended) => ended.clone(),
            Stage::Failed { cause, .. } => format!("failed: {cause}"),
            _ => "stopped".into(),
        },
        facts: version.facts.clone(),
    }
}

/// A conversation of a file's text; the error says which line is at fault.
pub fn read(text: &str) -> Result<Talk, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let fault = |n: usize, e: &serde_json::Error| format!("line {}: {}", n + 1, visible(&e.to_string(), false));
    let (n, head) = lines.next().ok_or("the file is empty")?;
    let head: Head = serde_json::from_str(head).map_err(|e| fault(n, &e))?;
    if head.what != "weightroom chat" {
        return Err("line 1: it is no saved conversation".into());
    }
    if head.schema > SCHEMA {
        return Err(format!("it was written by a later version (schema {}, and this one knows {SCHEMA}); open it with that", head.schema));
    }
    let mut talk = Talk { system: head.system, examples: head.examples, ..Talk::default() };
    for (n, line) in lines.take(MOST) {
        let line: Line = serde_json::from_str(line).map_err(|e| fault(n, &e))?;
        if line.versions.is_empty() || line.versions.len() > MOST {
            return Err(format!("line {}: an exchange without a version", n + 1));
        }
        let known = |(at, version): &(usize, usize)| talk.exchanges.get(*at).is_some_and(|e| *version < e.versions.len());
        if line.after.as_ref().is_some_and(|after| !known(after)) || (line.after.is_none() && !talk.exchanges.is_empty()) {
            return Err(format!("line {}: it goes on from an exchange that does not stand before it", n + 1));
        }
        talk.exchanges.push(Exchange {
            mode: if line.mode == "chat" { Mode::Chat } else { Mode::Continue },
            shown: line.shown.min(line.versions.len() - 1),
            versions: line.versions.into_iter().map(version).collect(),
            after: line.after,
            fresh: line.fresh,
            spread: line.spread,
            pair: line.pair,
        });
    }
    Ok(talk)
}

fn version(said: Said) -> Version {
    let mut version = Version::new(&said.model, &said.prompt, &said.prefix, &said.sampler, 0, 0);
    let whole: String = said.tokens.iter().map(|t| t.1.as_str()).collect();
    // A file that somebody edited: its text is what was said.
    let tokens = if whole == said.text { said.tokens } else { vec![(0, said.text, 1.0)] };
    version.pieces = tokens
        .into_iter()
        .map(|(id, text, probability)| Piece {
            id,
            bytes: text.clone().into_bytes(),
            text,
            probability: if probability.is_finite() { probability } else { 0.0 },
            alternatives: Vec::new(),
            origin: Origin::Drawn,
        })
        .collect();
    version.facts = said.facts;
    version.stage = Stage::Done(said.ended);
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_comes_back_as_it_was() {
        let mut talk = Talk { system: "s".into(), examples: "a => b".into(), ..Talk::default() };
        let said = |text: &str| {
            version(Said {
                model: "m".into(),
                prompt: "p\u{1b}\n".into(),
                prefix: String::new(),
                sampler: Sampler { logit_bias: [(3, 1.0)].into(), ..Sampler::default() },
                text: text.into(),
                tokens: vec![(7, text.into(), 0.5)],
                ended: "end".into(),
                facts: [("tokens".to_owned(), 1.into())].into(),
            })
        };
        talk.add(Exchange { mode: Mode::Chat, versions: vec![said("x"), said("é")], shown: 1, ..Exchange::default() });
        talk.add(Exchange { versions: vec![said("y")], fresh: true, pair: true, ..Exchange::default() });
        let text = write(&talk, "T", 5);
        let again = read(&text).unwrap();
        assert_eq!(write(&again, "T", 5), text);
        assert_eq!((again.path(), again.exchanges[1].after, again.exchanges[0].versions[1].said()), (vec![0, 1], Some((0, 1)), "é".into()));
    }

    #[test]
    fn files_that_are_no_conversation_are_refused_by_line() {
        let head = r#"{"what":"weightroom chat","schema":1}"#;
        for (text, part) in [
            ("", "is empty"),
            ("{}", "line 1"),
            (r#"{"what":"x","schema":1}"#, "no saved conversation"),
            (r#"{"what":"weightroom chat","schema":9}"#, "later version"),
            (&format!("{head}\nx"), "line 2"),
            (&format!("{head}\n{{\"mode\":\"chat\",\"after\":null,\"versions\":[]}}"), "without a version"),
            (
                &format!(
                    "{head}\n{{\"mode\":\"chat\",\"after\":[5,0],\"versions\":[{{\"model\":\"m\",\"prompt\":\"\",\"sampler\":{{}},\"text\":\"\"}}]}}"
                ),
                "does not stand before",
            ),
        ] {
            let why = read(text).err().unwrap();
            assert!(why.contains(part), "{text}: {why}");
        }
        assert!(read(head).unwrap().exchanges.is_empty());
    }
}
