//! Sentences, words and languages of a text, for rules that count them.
//! Deliberately not here: exactness; where a sentence ends and what language it is in are guesses, in IFEval's own program too.

/// Words as Python's `\w+` finds them.
pub fn words(text: &str) -> usize {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).count()
}

/// Abbreviations behind which no sentence ends.
const SHORT: [&str; 18] =
    ["mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "inc", "ltd", "co", "no", "fig", "e.g", "i.e", "u.s"];

/// Sentences: ends are stops, question and exclamation marks before a blank and something that begins a sentence.
pub fn sentences(text: &str) -> usize {
    let chars: Vec<char> = text.trim().chars().collect();
    let mut count = 0;
    let mut from = 0;
    let mut at = 0;
    while at < chars.len() {
        if !matches!(chars[at], '.' | '!' | '?' | '…') {
            at += 1;
            continue;
        }
        let stop = at;
        while at < chars.len() && matches!(chars[at], '.' | '!' | '?' | '…' | '"' | '\'' | ')' | '”' | '’' | '*') {
            at += 1;
        }
        let ends = at >= chars.len() || chars[at].is_whitespace();
        let next = chars[at..].iter().find(|c| !c.is_whitespace());
        let begins = next.is_none_or(|c| !c.is_lowercase());
        let word: String =
            chars[from..stop].iter().rev().take_while(|c| !c.is_whitespace()).collect::<Vec<_>>().into_iter().rev().collect();
        let word = word.to_lowercase();
        let short = chars[stop] == '.'
            && (SHORT.contains(&word.as_str()) || word.chars().count() == 1 && word != "i" && word.chars().all(char::is_alphabetic));
        if ends && begins && !short {
            count += 1;
            from = at;
        }
    }
    count + usize::from(chars[from..].iter().any(|c| c.is_alphanumeric()))
}

/// Whether a text is in the language of an ISO 639-1 code: by its script, or by its small words. None for a language of which
/// nothing is known here.
pub fn is_language(text: &str, code: &str) -> Option<bool> {
    let letters: Vec<char> = text.chars().filter(|c| c.is_alphabetic()).collect();
    let share = |range: &dyn Fn(u32) -> bool| letters.iter().filter(|c| range(**c as u32)).count() as f64 / letters.len().max(1) as f64;
    let of = |from: u32, to: u32| share(&|c| (from..=to).contains(&c)) > 0.5;
    Some(match code {
        "hi" | "mr" | "ne" => of(0x900, 0x97f),
        "bn" => of(0x980, 0x9ff),
        "pa" => of(0xa00, 0xa7f),
        "gu" => of(0xa80, 0xaff),
        "ta" => of(0xb80, 0xbff),
        "te" => of(0xc00, 0xc7f),
        "kn" => of(0xc80, 0xcff),
        "ml" => of(0xd00, 0xd7f),
        "th" => of(0xe00, 0xe7f),
        "ko" => of(0xac00, 0xd7a3),
        "el" => of(0x370, 0x3ff),
        "he" => of(0x590, 0x5ff),
        "ar" | "fa" | "ur" => of(0x600, 0x6ff),
        "ru" | "bg" | "uk" | "mk" => of(0x400, 0x4ff),
        "ja" => share(&|c| (0x3040..=0x30ff).contains(&c)) > 0.1,
        "zh" | "zh-cn" | "zh-tw" => of(0x4e00, 0x9fff) && share(&|c| (0x3040..=0x30ff).contains(&c)) <= 0.1,
        _ => {
            let count = |code: &str| SMALL.iter().find(|(c, _)| *c == code).map(|(_, words)| small(text, words));
            let own = count(code)?;
            let most = SMALL.iter().map(|(_, words)| small(text, words)).max().unwrap_or(0);
            own > 0 && own == most
        }
    })
}

/// The commonest small words of languages in Latin letters.
const SMALL: [(&str, &str); 9] = [
    ("en", "the of and to in is that it for was with as his on be at by"),
    ("de", "der die und das ist nicht ein eine zu den mit auf für von dem sich"),
    ("fr", "le la les et des est une que dans pour qui sur pas au du il"),
    ("es", "el la los las y que es una por con para del se como está su"),
    ("pt", "o os as e que é uma por com para do da em não dos são"),
    ("it", "il la gli e che è una per con del della di non sono nel si"),
    ("fi", "ja on ei että se oli hän mutta joka kun niin ovat olla myös tai tämä"),
    ("sw", "na ya wa kwa ni katika za la hii cha kama yake kuwa hiyo lakini watu"),
    ("vi", "là của và có không được một cho các người trong này với những đã để"),
];

fn small(text: &str, words: &str) -> usize {
    let words: Vec<&str> = words.split(' ').collect();
    text.to_lowercase().split(|c: char| !c.is_alphabetic()).filter(|w| words.contains(w)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_words_and_languages_are_told() {
        let found = ["", "One.", "Dr. Smith went. He came back!", "What? \"Yes.\" She left", "It is 3.5 m. ok", "A. B. Carter wrote it."]
            .map(sentences);
        assert_eq!(found, [0, 1, 2, 3, 1, 1]);
        assert_eq!(words("It's a 2-day trip_x"), 6);
        assert_eq!(is_language("Das ist nicht die Katze und der Hund", "de"), Some(true));
        assert_eq!(is_language("Das ist nicht die Katze und der Hund", "en"), Some(false));
        assert_eq!(is_language("यह हिन्दी में है", "hi"), Some(true));
        assert_eq!(is_language("x", "tlh"), None);
    }
}
