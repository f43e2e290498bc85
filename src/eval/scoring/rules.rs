//! The instructions of IFEval that a program can check: by their ids and arguments, after the definitions of its paper and program
//! (Zhou et al. 2023, “Instruction-Following Evaluation for Large Language Models”).
//! Deliberately not here: which answers count (`tasks::ifeval`).

use serde_json::Value;

use super::regex as expression;
use super::sentences::{is_language, sentences, words};

/// Every instruction that is known.
pub const RULES: [&str; 25] = [
    "keywords:existence",
    "keywords:frequency",
    "keywords:forbidden_words",
    "keywords:letter_frequency",
    "language:response_language",
    "length_constraints:number_sentences",
    "length_constraints:number_paragraphs",
    "length_constraints:number_words",
    "length_constraints:nth_paragraph_first_word",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "detectable_format:number_bullet_lists",
    "detectable_format:constrained_response",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
    "detectable_format:json_format",
    "detectable_format:title",
    "combination:two_responses",
    "combination:repeat_prompt",
    "startend:end_checker",
    "startend:quotation",
    "change_case:capital_word_frequency",
    "change_case:english_capital",
    "change_case:english_lowercase",
    "punctuation:no_comma",
];

/// Whether a text keeps an instruction. An empty text keeps none. An error where the instruction or its arguments are unknown.
pub fn follows(rule: &str, arguments: &Value, text: &str) -> Result<bool, String> {
    let args = Arguments(arguments);
    let kept = match rule.split_once(':').map_or("", |(family, _)| family) {
        "keywords" | "language" => keywords(rule, &args, text)?,
        "length_constraints" => lengths(rule, &args, text)?,
        "detectable_content" | "detectable_format" => formats(rule, &args, text)?,
        _ => others(rule, &args, text)?,
    };
    Ok(kept && !text.trim().is_empty())
}

/// A text without its first line, its last, both, and each of these without asterisks: for the loose measure.
pub fn loosened(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.split('\n').collect();
    let part = |from: usize, to: usize| lines.get(from..to.max(from)).unwrap_or_default().join("\n").trim().to_owned();
    let n = lines.len();
    let mut out = vec![part(1, n), part(0, n.saturating_sub(1)), part(1, n.saturating_sub(1))];
    let plain: Vec<String> = std::iter::once(text.to_owned()).chain(out.iter().cloned()).map(|t| t.replace('*', "")).collect();
    out.extend(plain);
    out
}

struct Arguments<'a>(&'a Value);

impl Arguments<'_> {
    fn number(&self, name: &str) -> Result<usize, String> {
        self.0[name].as_f64().filter(|n| *n >= 0.0).map(|n| n as usize).ok_or_else(|| format!("has no number {name}"))
    }
    fn text(&self, name: &str) -> Result<&str, String> {
        self.0[name].as_str().ok_or_else(|| format!("has no text {name}"))
    }
    fn texts(&self, name: &str) -> Result<Vec<&str>, String> {
        self.0[name].as_array().map(|l| l.iter().filter_map(Value::as_str).collect()).ok_or_else(|| format!("has no list {name}"))
    }
    /// Compares by `less than` or `at least`.
    fn holds(&self, relation: &str, count: usize, than: &str) -> Result<bool, String> {
        let than = self.number(than)?;
        match self.text(relation)? {
            "less than" => Ok(count < than),
            "at least" => Ok(count >= than),
            other => Err(format!("“{other}” is no relation")),
        }
    }
}

/// Matches, whatever the case. What is no expression is looked for as it stands.
fn count_matches(pattern: &str, text: &str) -> usize {
    expression(&format!("(?i){pattern}"))
        .or_else(|_| expression(&format!("(?i){}", regex::escape(pattern))))
        .map_or(0, |r| r.find_iter(text).count())
}

fn finds(pattern: &str, text: &str) -> bool {
    expression(pattern).is_ok_and(|r| r.is_match(text))
}

fn found(pattern: &str, text: &str) -> Vec<String> {
    expression(pattern).map(|r| r.find_iter(text).map(|m| m.as_str().to_owned()).collect()).unwrap_or_default()
}

fn unknown(rule: &str) -> Result<bool, String> {
    Err(format!("“{}” is no instruction that is known", crate::eval::shown(rule)))
}

fn keywords(rule: &str, args: &Arguments, text: &str) -> Result<bool, String> {
    Ok(match rule {
        "keywords:existence" => args.texts("keywords")?.iter().all(|k| count_matches(k, text) > 0),
        "keywords:frequency" => args.holds("relation", count_matches(args.text("keyword")?, text), "frequency")?,
        "keywords:forbidden_words" => {
            let words = args.texts("forbidden_words")?;
            !words.iter().any(|w| count_matches(&format!(r"\b{w}\b"), text) > 0)
        }
        "keywords:letter_frequency" => {
            let letter = args.text("letter")?.to_lowercase();
            args.holds("let_relation", text.to_lowercase().matches(&letter).count(), "let_frequency")?
        }
        "language:response_language" => {
            let code = args.text("language")?;
            is_language(text, code).ok_or_else(|| format!("the language “{}” is not known here", crate::eval::shown(code)))?
        }
        _ => return unknown(rule),
    })
}

fn lengths(rule: &str, args: &Arguments, text: &str) -> Result<bool, String> {
    Ok(match rule {
        "length_constraints:number_sentences" => args.holds("relation", sentences(text), "num_sentences")?,
        "length_constraints:number_words" => args.holds("relation", words(text), "num_words")?,
        "length_constraints:number_paragraphs" => {
            let parts: Vec<&str> = text.split("***").collect();
            let empty = |at: usize| parts[at].trim().is_empty();
            let inner_empty = (1..parts.len().saturating_sub(1)).any(empty);
            let ends = usize::from(empty(0)) + usize::from(parts.len() > 1 && empty(parts.len() - 1));
            !inner_empty && parts.len() - ends == args.number("num_paragraphs")?
        }
        "length_constraints:nth_paragraph_first_word" => {
            let parts: Vec<&str> = text.split("\n\n").collect();
            let full = parts.iter().filter(|p| !p.trim().is_empty()).count();
            let nth = args.number("nth_paragraph")?;
            let paragraph = if nth >= 1 && nth <= full { parts.get(nth - 1).map_or("", |p| p.trim()) } else { "" };
            let word = paragraph.split_whitespace().next().unwrap_or_default().trim_start_matches('\'').trim_start_matches('"');
            let word = word.split(['.', ',', '?', '!', '\'', '"']).next().unwrap_or_default().to_lowercase();
            !paragraph.is_empty() && full == args.number("num_paragraphs")? && word == args.text("first_word")?.to_lowercase()
        }
        _ => return unknown(rule),
    })
}

fn formats(rule: &str, args: &Arguments, text: &str) -> Result<bool, String> {
    Ok(match rule {
        "detectable_content:number_placeholders" => found(r"\[.*?\]", text).len() >= args.number("num_placeholders")?,
        "detectable_content:postscript" => {
            let pattern = match args.text("postscript_marker")? {
                "P.P.S" => r"p\.\s?p\.\s?s".to_owned(),
                "P.S." => r"p\.\s?s\.".to_owned(),
                other => regex::escape(&other.to_lowercase()),
            };
            finds(&pattern, &text.to_lowercase())
        }
        "detectable_format:number_bullet_lists" => {
            let stars = found(r"(?m)^\s*\*[^\*].*$", text).len();
            stars + found(r"(?m)^\s*-.*$", text).len() == args.number("num_bullets")?
        }
        "detectable_format:constrained_response" => ["yes", "no", "maybe"].iter().any(|w| text.contains(&format!("My answer is {w}."))),
        "detectable_format:number_highlighted_sections" => {
            let single = found(r"\*[^\n\*]*\*", text).iter().filter(|h| !h.trim_matches('*').trim().is_empty()).count();
            let double = found(r"\*\*[^\n\*]*\*\*", text).iter().filter(|h| !h.trim_matches('*').trim().is_empty()).count();
            single + double >= args.number("num_highlights")?
        }
        "detectable_format:multiple_sections" => {
            let marker = regex::escape(args.text("section_spliter")?);
            found(&format!(r"\s?{marker}\s?\d+\s?"), text).len() >= args.number("num_sections")?
        }
        "detectable_format:json_format" => {
            let text = text.trim();
            let inside = ["```json", "```Json", "```JSON", "```"].iter().find_map(|p| text.strip_prefix(p)).unwrap_or(text);
            serde_json::from_str::<Value>(inside.strip_suffix("```").unwrap_or(inside).trim()).is_ok()
        }
        "detectable_format:title" => {
            found(r"<<[^\n]+>>", text).iter().any(|t| !t.trim_start_matches('<').trim_end_matches('>').trim().is_empty())
        }
        _ => return unknown(rule),
    })
}

fn others(rule: &str, args: &Arguments, text: &str) -> Result<bool, String> {
    let cased = |upper: bool| {
        let wrong = text.chars().any(|c| if upper { c.is_lowercase() } else { c.is_uppercase() });
        !wrong && text.chars().any(|c| if upper { c.is_uppercase() } else { c.is_lowercase() })
    };
    Ok(match rule {
        "combination:two_responses" => {
            let parts: Vec<&str> = text.split("******").collect();
            let inner_empty = (1..parts.len().saturating_sub(1)).any(|i| parts[i].trim().is_empty());
            let full: Vec<&str> = parts.iter().map(|p| p.trim()).filter(|p| !p.is_empty()).collect();
            !inner_empty && full.len() == 2 && full[0] != full[1]
        }
        "combination:repeat_prompt" => text.trim().to_lowercase().starts_with(&args.text("prompt_to_repeat")?.trim().to_lowercase()),
        "startend:end_checker" => text.trim().trim_matches('"').to_lowercase().ends_with(&args.text("end_phrase")?.trim().to_lowercase()),
        "startend:quotation" => {
            let text = text.trim();
            text.len() > 1 && text.starts_with('"') && text.ends_with('"')
        }
        "change_case:capital_word_frequency" => {
            let capital = |w: &&str| w.chars().any(char::is_uppercase) && !w.chars().any(char::is_lowercase);
            let count = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))).filter(capital).count();
            args.holds("capital_relation", count, "capital_frequency")?
        }
        "change_case:english_capital" => cased(true),
        "change_case:english_lowercase" => cased(false),
        "punctuation:no_comma" => !text.contains(','),
        _ => return unknown(rule),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_instruction_is_kept_and_broken() {
        let cases: &[(&str, Value, &str, &str)] = &[
            ("keywords:existence", json!({"keywords": ["cat", "dog"]}), "A Cat and dogs.", "A cat."),
            ("keywords:frequency", json!({"keyword": "story", "frequency": 2, "relation": "at least"}), "story Story", "story"),
            ("keywords:forbidden_words", json!({"forbidden_words": ["rock"]}), "rocket", "a Rock!"),
            ("keywords:letter_frequency", json!({"letter": "#", "let_frequency": 2, "let_relation": "at least"}), "# #", "#"),
            ("language:response_language", json!({"language": "de"}), "Das ist der Hund und die Katze", "This is the dog and the cat"),
            ("length_constraints:number_sentences", json!({"relation": "less than", "num_sentences": 3}), "One. Two.", "One. Two. Three."),
            ("length_constraints:number_paragraphs", json!({"num_paragraphs": 2}), "a\n***\nb", "a\n***\n\n***\nb"),
            ("length_constraints:number_words", json!({"relation": "at least", "num_words": 3}), "a b c", "a b"),
            (
                "length_constraints:nth_paragraph_first_word",
                json!({"first_word": "Weekend", "num_paragraphs": 2, "nth_paragraph": 2}),
                "a\n\n\"weekend, yes",
                "weekend\n\na",
            ),
            ("detectable_content:number_placeholders", json!({"num_placeholders": 2}), "[a] and [b c]", "[a]"),
            ("detectable_content:postscript", json!({"postscript_marker": "P.S."}), "Bye\nP. S. more", "Bye PS"),
            ("detectable_format:number_bullet_lists", json!({"num_bullets": 2}), "* a\n- b", "* a\n**b**"),
            ("detectable_format:constrained_response", json!({}), "Well. My answer is no.", "No."),
            ("detectable_format:number_highlighted_sections", json!({"num_highlights": 2}), "*a* and *b*", "*a*"),
            (
                "detectable_format:multiple_sections",
                json!({"section_spliter": "PARAGRAPH", "num_sections": 2}),
                "PARAGRAPH 1 a PARAGRAPH 2 b",
                "PARAGRAPH 1 a",
            ),
            ("detectable_format:json_format", json!({}), "```json\n{\"a\": 1}\n```", "{a: 1}"),
            ("detectable_format:title", json!({}), "<<Joy>>\ntext", "<< >>"),
            ("combination:two_responses", json!({}), "a ****** b", "a ****** a"),
            ("combination:repeat_prompt", json!({"prompt_to_repeat": "Say hi"}), "say hi\nhi", "hi"),
            ("startend:end_checker", json!({"end_phrase": "Right?"}), "So it is, right?\"", "Right? Yes"),
            ("startend:quotation", json!({}), "\"all of it\"", "\"a\" b"),
            ("change_case:capital_word_frequency", json!({"capital_relation": "less than", "capital_frequency": 2}), "ONE two", "ONE TWO"),
            ("change_case:english_capital", json!({}), "HELLO 2!", "Hello"),
            ("change_case:english_lowercase", json!({}), "hello 2!", "Hello"),
            ("punctuation:no_comma", json!({}), "a b", "a, b"),
        ];
        let named: Vec<&str> = cases.iter().map(|c| c.0).collect();
        assert_eq!(named, RULES);
        for (rule, args, kept, broken) in cases {
            assert_eq!(follows(rule, args, kept), Ok(true), "{rule}: {kept:?}");
            assert_eq!(follows(rule, args, broken), Ok(false), "{rule}: {broken:?}");
            assert_eq!(follows(rule, args, " "), Ok(false), "{rule}: nothing");
        }
        assert!(follows("keywords:existence", &json!({}), "x").unwrap_err().contains("keywords"));
        assert!(follows("new:rule", &json!({}), "x").is_err());
    }

    #[test]
    fn the_loose_measure_drops_lines_and_asterisks() {
        let variants = loosened("Sure:\n*hello*\nBye");
        assert_eq!(variants[..3], ["*hello*\nBye", "Sure:\n*hello*", "*hello*"]);
        assert!(variants.contains(&"hello".to_owned()) && variants.len() == 7);
        assert_eq!(loosened("").len(), 7);
    }
}
