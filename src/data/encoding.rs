//! How a long text may be encoded piece by piece, or by a table, with exactly the ids that the library gives.
//! Deliberately not here: any tokenizer for which that is not certain; those are encoded by the library, whole.

use super::patterns;
use serde_json::Value;
use std::collections::HashMap;

/// What is certain about a tokenizer.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Every character is a token of the vocabulary, or unknown.
    Char(HashMap<char, u32>),
    /// Every byte is a token.
    Byte(Box<[u32; 256]>),
    /// No token and no merge reaches over a line feed between two visible ASCII characters.
    Lines,
    /// Nothing: encode each text as one.
    Whole,
}

/// Of the known expressions that cut words (`patterns`), none lets a match go on after a line feed that a visible ASCII
/// character other than a slash follows, nor looks from before one to what follows it: a run of blanks that ends in
/// such a line feed is divided the same way at the end of a text, given that a visible character stands before the
/// line feed (so that the run is that one).
fn is_linewise(regex: &Value) -> bool {
    regex.as_str().is_some_and(|regex| patterns::name_of(regex).is_some())
}

/// The expression of a `char` tokenizer's pieces. It is written so that fancy-regex and Oniguruma, which the
/// Python library uses, read it alike.
pub const ANY_CHARACTER: &str = r"[\s\S]";

/// Reads what is certain from the tokenizer's JSON.
pub fn plan(json: &Value) -> Plan {
    let model = &json["model"];
    let added: Vec<&Value> = json["added_tokens"].as_array().map(|list| list.iter().collect()).unwrap_or_default();
    // A token that takes blanks on its left, or asks for a word boundary there, looks over a line's end.
    let local = |token: &&Value| {
        token["lstrip"] != Value::Bool(true)
            && token["single_word"] != Value::Bool(true)
            && token["content"].as_str().is_some_and(|c| !c.contains('\n'))
    };
    if !added.iter().all(local) || !model["dropout"].is_null() {
        return Plan::Whole;
    }
    let normalizer = &json["normalizer"];
    let pre = &json["pre_tokenizer"];
    if normalizer.is_null() {
        let contents: Vec<&str> = added.iter().filter_map(|t| t["content"].as_str()).collect();
        if let Some(table) = char_table(model, pre, &contents) {
            return Plan::Char(table);
        }
        if let Some(table) = byte_table(model, pre, &contents) {
            return Plan::Byte(table);
        }
    }
    // NFC composes nothing with a line feed, and a visible ASCII character begins a composition of its own.
    let plain = normalizer.is_null() || normalizer["type"] == "NFC";
    if plain && model["type"] == "BPE" && linewise(pre) && cuts(pre) { Plan::Lines } else { Plan::Whole }
}

fn char_table(model: &Value, pre: &Value, added: &[&str]) -> Option<HashMap<char, u32>> {
    let any = pre["type"] == "Split" && pre["pattern"]["Regex"] == ANY_CHARACTER && pre["invert"] == false;
    if !any || pre["behavior"] != "Isolated" || model["type"] != "WordLevel" {
        return None;
    }
    let vocab = model["vocab"].as_object()?;
    // With an unknown token in the vocabulary the library would use it.
    if vocab.contains_key(model["unk_token"].as_str()?) {
        return None;
    }
    let mut table = HashMap::with_capacity(vocab.len());
    for (token, id) in vocab.iter().filter(|(token, _)| !added.contains(&token.as_str())) {
        let mut characters = token.chars();
        table.insert(characters.next()?, u32::try_from(id.as_u64()?).ok()?);
        if characters.next().is_some() {
            return None;
        }
    }
    Some(table)
}

fn byte_table(model: &Value, pre: &Value, added: &[&str]) -> Option<Box<[u32; 256]>> {
    let bytes = pre["type"] == "ByteLevel" && pre["add_prefix_space"] == false && pre["use_regex"] == false;
    let affixes = ["continuing_subword_prefix", "end_of_word_suffix"].iter().any(|k| model[*k].as_str().is_some_and(|s| !s.is_empty()));
    if !bytes || affixes || model["type"] != "BPE" || !model["merges"].as_array()?.is_empty() {
        return None;
    }
    let vocab = model["vocab"].as_object()?;
    if vocab.keys().filter(|token| !added.contains(&token.as_str())).count() != 256 {
        return None;
    }
    let mut table = Box::new([0; 256]);
    for byte in 0..=255u8 {
        table[usize::from(byte)] = u32::try_from(vocab.get(&super::decoding::char_of(byte).to_string())?.as_u64()?).ok()?;
    }
    Some(table)
}

fn linewise(pre: &Value) -> bool {
    match pre["type"].as_str() {
        Some("ByteLevel") => pre["add_prefix_space"] == false,
        Some("Digits") => true,
        Some("Split") => pre["invert"] == false && pre["behavior"] == "Isolated" && is_linewise(&pre["pattern"]["Regex"]),
        Some("Sequence") => pre["pretokenizers"].as_array().is_some_and(|list| list.iter().all(linewise)),
        _ => false,
    }
}

/// Whether words are cut at all: where they are not, a merge may reach over a line feed.
fn cuts(pre: &Value) -> bool {
    match pre["type"].as_str() {
        Some("Split") => true,
        Some("ByteLevel") => pre["use_regex"] != false,
        Some("Sequence") => pre["pretokenizers"].as_array().is_some_and(|list| list.iter().any(cuts)),
        _ => false,
    }
}

/// Cuts a text into pieces of about `target` bytes whose ids, one after another, are the ids of the text.
pub fn pieces<'a>(text: &'a str, plan: &Plan, target: usize) -> impl Iterator<Item = &'a str> + use<'a> {
    let whole = matches!(plan, Plan::Whole);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = if whole { rest.len() } else { safe_cut(rest.as_bytes(), target) };
        let (piece, after) = rest.split_at(cut);
        rest = after;
        Some(piece)
    })
}

/// The first place from `target` on that follows a line feed between two visible ASCII characters (the second no slash,
/// which o200k's signs go on with); else the end.
fn safe_cut(bytes: &[u8], target: usize) -> usize {
    let mut from = target;
    while from < bytes.len() {
        let Some(at) = memchr::memchr(b'\n', &bytes[from..]).map(|n| from + n) else {
            return bytes.len();
        };
        let visible = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_graphic);
        if at > 0 && visible(at - 1) && visible(at + 1) && bytes[at + 1] != b'/' {
            return at + 1;
        }
        from = at + 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_between_visible_characters_and_lose_nothing() {
        let text = "one two\nthree \nfour\n\nfive\r\nsix\n seven\néight\nnine\nten";
        let all: Vec<&str> = pieces(text, &Plan::Lines, 1).collect();
        assert_eq!(all, ["one two\n", "three \nfour\n\nfive\r\nsix\n seven\néight\n", "nine\n", "ten"]);
        assert_eq!(pieces(text, &Plan::Whole, 1).collect::<Vec<_>>(), [text]);
        assert_eq!(pieces("", &Plan::Lines, 1).count(), 0);
    }
}
