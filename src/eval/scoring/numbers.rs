//! The number that an answer ends in, as word problems want it: behind `####`, in a box, behind “the answer is”, or the last one.
//! Deliberately not here: arithmetic; “2 + 3” is no 5.

use super::{Scorer, Verdict, extracted, needs_target};
use crate::eval::item::Item;
use crate::eval::task::Task;

pub const NUMBER: Scorer =
    Scorer { name: "number", help: "the number that the answer ends in is the target's", check: needs_target, score };

fn score(task: &Task, item: &Item, text: &str) -> Verdict {
    let part = match extracted(task, text) {
        Ok(Some(part)) => part,
        Ok(None) => return Verdict::unparsed("the expression finds nothing"),
        Err(why) => return Verdict::failed(why),
    };
    let wanted: Vec<String> = item.targets.iter().filter_map(|t| answer(t)).collect();
    if wanted.is_empty() {
        return Verdict::failed(format!("no target is a number: {}", crate::eval::shown(&item.targets.join(" | "))));
    }
    match answer(part) {
        Some(found) => Verdict::right(wanted.contains(&found), found),
        None => Verdict::unparsed("no number in the answer"),
    }
}

/// The number that a text answers with, in the one form in which equal numbers are equal texts: `-1234.5`. None where there is none.
pub fn answer(text: &str) -> Option<String> {
    let behind = |at: usize| numbers(&text[at..]).into_iter().next();
    if let Some(at) = text.rfind("####") {
        // What stands behind the mark is the answer, also where it is no number.
        return behind(at + 4);
    }
    if let Some(inside) = boxed(text) {
        return fraction(inside).or_else(|| numbers(inside).pop());
    }
    // Lower case of ASCII keeps every byte in its place.
    let lower = text.to_ascii_lowercase();
    let phrases = ["answer is", "answer:", "answer would be", "answer =", "answer equals"];
    let at = phrases.iter().filter_map(|p| lower.rfind(p).map(|at| at + p.len())).max();
    at.and_then(behind).or_else(|| numbers(text).pop())
}

/// What stands in the last `\boxed{…}`.
fn boxed(text: &str) -> Option<&str> {
    let from = text.rfind("\\boxed{")? + "\\boxed{".len();
    let mut depth = 1;
    for (at, c) in text[from..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[from..from + at]);
        }
    }
    Some(&text[from..])
}

/// `\frac{3}{4}`, `\dfrac{…}`, `3/4`, with a sign before.
fn fraction(text: &str) -> Option<String> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix(['-', '−']) {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let (above, below) = match ["\\frac{", "\\dfrac{", "\\tfrac{"].iter().find_map(|f| text.strip_prefix(f)) {
        Some(rest) => rest.strip_suffix('}')?.split_once("}{")?,
        None => text.split_once('/')?,
    };
    let value = above.trim().parse::<f64>().ok()? / below.trim().parse::<f64>().ok()?;
    let value = if negative { -value } else { value };
    if value.is_finite() { canonical(&format!("{value}")) } else { None }
}

/// All numbers in a text, in order.
fn numbers(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let starts = digit(at) || chars[at] == '.' && digit(at + 1) && (at == 0 || !digit(at - 1));
        if !starts {
            at += 1;
            continue;
        }
        let negative = sign_before(&chars, at);
        let mut number = String::new();
        while digit(at) {
            number.push(chars[at]);
            at += 1;
            // A thousands' mark stands before exactly three digits.
            let mark = chars.get(at).is_some_and(|c| matches!(c, ',' | '\u{a0}' | '\u{202f}' | '\u{2009}' | '\''));
            let three = digit(at + 1) && digit(at + 2) && digit(at + 3) && !digit(at + 4);
            if mark && three && number.len() <= 3 + 3 * (number.len() / 3) {
                at += 1;
            }
            // LaTeX writes it in braces.
            if chars[at.min(chars.len())..].starts_with(&['{', ',', '}']) && digit(at + 3) {
                at += 3;
            }
        }
        if chars.get(at) == Some(&'.') && digit(at + 1) {
            number.push('.');
            at += 1;
            while digit(at) {
                number.push(chars[at]);
                at += 1;
            }
        }
        let exponent =
            matches!(chars.get(at), Some('e' | 'E')) && (digit(at + 1) || matches!(chars.get(at + 1), Some('-' | '+')) && digit(at + 2));
        if exponent {
            let from = at;
            at += 2;
            while digit(at) {
                at += 1;
            }
            let text: String = chars[from..at].iter().collect();
            number = format!("{number}{text}").parse::<f64>().map_or(number, |v| format!("{v}"));
        }
        let signed = if negative { format!("-{number}") } else { number };
        out.extend(canonical(&signed));
    }
    out
}

/// Whether a minus belongs to the number that begins at `at`: before it or before its currency, and not between two values.
fn sign_before(chars: &[char], at: usize) -> bool {
    let minus = |c: char| matches!(c, '-' | '−' | '–' | '﹣' | '－');
    let currency = |c: char| matches!(c, '$' | '€' | '£' | '¥' | '\\');
    let mut i = at;
    while i > 0 && currency(chars[i - 1]) {
        i -= 1;
    }
    if i == 0 || !minus(chars[i - 1]) {
        return false;
    }
    let before = i.checked_sub(2).map(|b| chars[b]);
    before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, ')' | ']' | '%' | '}'))
}

/// One form for each value: no zeros that say nothing, no `-0`.
fn canonical(number: &str) -> Option<String> {
    let (negative, digits) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.chars().chain(part.chars()).all(|c| c.is_ascii_digit()) {
        return None;
    }
    let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    let value = if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") };
    Some(if negative && value != "0" { format!("-{value}") } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_numbers() {
        let cases: &[(&str, Option<&str>)] = &[
            // The mark of GSM8K, whatever follows or stands before.
            ("She pays 5 * 3 = <<5*3=15>>15 dollars.\n#### 15", Some("15")),
            ("#### 1,234", Some("1234")),
            ("####-7", Some("-7")),
            ("#### $18.00 per day", Some("18")),
            ("#### 70,000 dollars in 2 years", Some("70000")),
            ("#### 3\n\nQuestion: What is 4 + 5?", Some("3")),
            ("The answer is 7.\n#### none", None),
            // Boxes.
            ("so \\boxed{42}.", Some("42")),
            ("\\boxed{1{,}250} and 3 more", Some("1250")),
            ("\\boxed{\\frac{3}{4}}", Some("0.75")),
            ("\\boxed{-\\frac{1}{2}}", Some("-0.5")),
            ("\\boxed{\\text{about } 12 \\text{ cm}}", Some("12")),
            ("\\boxed{7/2}", Some("3.5")),
            // Phrases.
            ("The answer is 42. I hope this helps 100%!", Some("42")),
            ("The answer is 9. No, the answer is 10 apples for 2 people.", Some("10")),
            ("Answer: -3.50", Some("-3.5")),
            ("The answer is that she has twelve, which is 12.", Some("12")),
            // The last number, with units, commas and signs.
            ("She has 5 apples and 3 oranges, so 8 fruits", Some("8")),
            ("It costs $1,000,000.", Some("1000000")),
            ("It costs 1,000,000.50", Some("1000000.5")),
            ("The temperature is −5°C", Some("-5")),
            ("a loss of -$50", Some("-50")),
            ("a loss of $-50", Some("-50")),
            ("5-3", Some("3")),
            ("x = (2)-3", Some("3")),
            ("50%", Some("50")),
            ("It takes 2.5 hours.", Some("2.5")),
            (".5", Some("0.5")),
            ("007", Some("7")),
            ("-0", Some("0")),
            ("3.000", Some("3")),
            ("1, 2, 3", Some("3")),
            ("10,20", Some("20")),
            ("12,345,67", Some("67")),
            ("1.5e3 metres", Some("1500")),
            ("2e-3", Some("0.002")),
            ("3 eggs", Some("3")),
            ("12\u{202f}500 km", Some("12500")),
            ("99999999999999999999", Some("99999999999999999999")),
            ("v1.2.3", Some("3")),
            // Nothing.
            ("", None),
            ("I do not know.", None),
            ("twelve", None),
            ("…-$", None),
            ("\\boxed{}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(answer(text).as_deref(), *expected, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_equals_nothing() {
        let item = |target: &str| Item { targets: vec![target.into()], ..Item::default() };
        let task = Task::default();
        assert_eq!(score(&task, &item("a\n#### 1,080"), "So it is 1080 cm."), Verdict::right(true, "1080"));
        assert_eq!(score(&task, &item("#### 5"), "five").extracted, None);
        assert_eq!(score(&task, &item("#### 5"), "five").score, 0.0);
        assert!(score(&task, &item("none"), "none").fault.is_some(), "a target without a number is a fault of the task");
    }
}
