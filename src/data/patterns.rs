//! The expressions that cut a text into words before byte pairs are merged, under the names that people know them by.
//! Deliberately not here: the cutting itself, which is the tokenizers library's, and where cuts are certain (`encoding`).

use serde_json::{Value, json};

/// A way to cut words.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    pub name: &'static str,
    /// In one line, for help.
    pub help: &'static str,
    pub regex: &'static str,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// All patterns; the first is the usual one.
pub const PATTERNS: &[Pattern] = &[
    Pattern {
        name: "gpt2",
        help: "letters, digits and signs apart, a blank before each (GPT-2)",
        regex: r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    },
    Pattern { name: "cl100k", help: "digits by threes, line ends by themselves (GPT-4)", regex: LLAMA3 },
    Pattern { name: "llama3", help: "the same expression as cl100k (Llama-3)", regex: LLAMA3 },
    Pattern {
        name: "qwen2",
        help: "as cl100k, each digit by itself (Qwen 2 and 3)",
        regex: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    },
    Pattern {
        name: "o200k",
        help: "as cl100k, words also cut where capitals begin (GPT-4o)",
        regex: concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    },
];

/// The names, for choices and messages.
pub const NAMES: &[&str] = &["gpt2", "cl100k", "llama3", "qwen2", "o200k"];

pub fn find(name: &str) -> Option<&'static Pattern> {
    PATTERNS.iter().find(|p| p.name == name)
}

/// The name of an expression that is one of these.
pub fn name_of(regex: &str) -> Option<&'static str> {
    PATTERNS.iter().find(|p| p.regex == regex).map(|p| p.name)
}

/// The `pre_tokenizer` of a byte-level `tokenizer.json` that cuts words by this expression.
pub fn byte_level(regex: &str, split_digits: bool, prefix_space: bool) -> Value {
    let gpt2 = regex == PATTERNS[0].regex;
    let mut steps = Vec::new();
    if split_digits {
        steps.push(json!({ "type": "Digits", "individual_digits": true }));
    }
    if !gpt2 {
        steps.push(split(regex));
    }
    // GPT-2's expression is built into the library's step from characters to bytes.
    steps.push(json!({ "type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true, "use_regex": gpt2 }));
    sequence(steps)
}

/// The `pre_tokenizer` of a `tokenizer.json` over characters that cuts words by this expression.
pub fn characters(regex: &str, split_digits: bool) -> Value {
    let digits = split_digits.then(|| json!({ "type": "Digits", "individual_digits": true }));
    sequence(digits.into_iter().chain([split(regex)]).collect())
}

fn split(regex: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false })
}

fn sequence(mut steps: Vec<Value>) -> Value {
    if steps.len() == 1 { steps.remove(0) } else { json!({ "type": "Sequence", "pretokenizers": steps }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_patterns() {
        assert_eq!(PATTERNS.iter().map(|p| p.name).collect::<Vec<_>>(), NAMES);
        assert_eq!(find("qwen2").and_then(|p| name_of(p.regex)), Some("qwen2"));
        assert_eq!(find("gpt5"), None);
    }
}
