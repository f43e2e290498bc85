//! Prompts out of any data set, for models to answer.
//! Deliberately not here: models and how they are asked.

use std::path::Path;

use super::prompt_id;
use crate::data::DataError;
use crate::data::shape::{self, Example, Turn};
use crate::data::source;
use crate::data::table::Set;
use crate::spec::Message;

/// Rows that a shape is recognised by, and that are read at once.
const RECOGNISED: u64 = 200;

/// The prompts of files, each once, up to `most`: a conversation without its last answer, a question, a line of text. With
/// the number of rows that have none.
pub fn prompts(entries: &[String], base: &Path, most: usize) -> Result<(Vec<Vec<Message>>, u64), DataError> {
    let sources = source::expand(entries, "text", base)?;
    let scratch = tempfile::tempdir().map_err(|e| DataError::io(&std::env::temp_dir(), &e))?;
    let mut set = Set::open(&sources, scratch.path())?;
    let (mut out, mut seen, mut without) = (Vec::new(), std::collections::BTreeSet::new(), 0);
    let mut mapping = sources.first().and_then(|s| shape::beside(s.path.as_ref()?)).map(|e| e.mapping);
    let (mut from, mut done) = (0, false);
    while out.len() < most {
        while !done && set.rows() < from + RECOGNISED {
            done = set.advance(1 << 20, &mut |_, _, _| {})?;
        }
        let rows = set.read(from, RECOGNISED)?;
        if rows.is_empty() {
            break;
        }
        from += rows.len() as u64;
        let values: Vec<_> = rows.into_iter().filter_map(|(_, row)| row.parsed.ok()).map(|p| p.value).collect();
        let mapping = mapping.get_or_insert_with(|| shape::recognise(&values.iter().collect::<Vec<_>>()));
        for value in &values {
            match mapping.example(value).ok().and_then(prompt) {
                Some(prompt) if out.len() < most && seen.insert(prompt_id(&prompt)) => out.push(prompt),
                Some(_) => {}
                None => without += 1,
            }
        }
    }
    Ok((out, without))
}

fn prompt(example: Example) -> Option<Vec<Message>> {
    let said = |turns: Vec<Turn>| turns.into_iter().map(|t| Message { role: t.role, content: t.content }).collect::<Vec<_>>();
    let user = |content: String| vec![Message { role: "user".into(), content }];
    let prompt = match example {
        Example::Chat(mut turns) => {
            while turns.last().is_some_and(|t| t.role == "assistant") {
                turns.pop();
            }
            said(turns)
        }
        Example::Preference { prompt, .. } | Example::Judged { prompt, .. } => said(prompt),
        Example::Text(text) | Example::Ranking { prompt: text, .. } | Example::Pair { prompt: text, .. } => user(text),
        Example::Question { question, choices, .. } if choices.is_empty() => user(question),
        Example::Question { question, choices, .. } => {
            let listed: Vec<String> = choices.iter().zip('A'..).map(|(choice, letter)| format!("{letter}. {choice}")).collect();
            user(format!("{question}\n{}", listed.join("\n")))
        }
        Example::Tokens(_) => return None,
    };
    prompt.last().is_some_and(|m| !m.content.trim().is_empty()).then_some(prompt)
}
