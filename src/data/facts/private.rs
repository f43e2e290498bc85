//! What a pattern can find of private things: addresses of e-mail, and keys that look like secrets.
//! Deliberately not here: names, places, numbers of telephones; no pattern finds those reliably.

use memchr::memmem;
use std::ops::Range;

/// What was found, and where in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
    pub kind: &'static str,
    pub at: Range<usize>,
}

impl Private {
    pub fn is_email(&self) -> bool {
        self.kind == "e-mail address"
    }
}

/// How a kind of key begins, how many characters follow at least, and which may.
struct Key {
    kind: &'static str,
    begins: &'static str,
    least: usize,
    also: &'static str,
}

const KEYS: &[Key] = &[
    Key { kind: "AWS key", begins: "AKIA", least: 16, also: "" },
    Key { kind: "AWS key", begins: "ASIA", least: 16, also: "" },
    Key { kind: "GitHub token", begins: "ghp_", least: 36, also: "" },
    Key { kind: "GitHub token", begins: "gho_", least: 36, also: "" },
    Key { kind: "GitHub token", begins: "ghs_", least: 36, also: "" },
    Key { kind: "GitHub token", begins: "github_pat_", least: 50, also: "_" },
    Key { kind: "GitLab token", begins: "glpat-", least: 20, also: "-_" },
    Key { kind: "Slack token", begins: "xoxb-", least: 20, also: "-" },
    Key { kind: "Slack token", begins: "xoxp-", least: 20, also: "-" },
    Key { kind: "Google key", begins: "AIza", least: 35, also: "-_" },
    Key { kind: "Hugging Face token", begins: "hf_", least: 30, also: "" },
    Key { kind: "API key", begins: "sk-", least: 32, also: "-_" },
    Key { kind: "Stripe key", begins: "sk_live_", least: 24, also: "" },
    Key { kind: "npm token", begins: "npm_", least: 36, also: "" },
    Key { kind: "JSON web token", begins: "eyJhbGciOi", least: 40, also: "-_." },
];

/// Everything found in a text, in order, none within another.
pub fn find(text: &str) -> Vec<Private> {
    let mut found = emails(text);
    for key in KEYS {
        for at in memmem::find_iter(text.as_bytes(), key.begins) {
            let joined = text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
            let rest = &text.as_bytes()[at + key.begins.len()..];
            let of_key = |b: &u8| b.is_ascii_alphanumeric() || key.also.as_bytes().contains(b);
            let length = rest.iter().take_while(|b| of_key(b)).count();
            // Words of prose and of code hold no digits and capitals in such numbers.
            let mixed = rest[..length].iter().any(u8::is_ascii_digit) && rest[..length].iter().any(u8::is_ascii_alphabetic);
            if !joined && mixed && length >= key.least {
                found.push(Private { kind: key.kind, at: at..at + key.begins.len() + length });
            }
        }
    }
    for at in memmem::find_iter(text.as_bytes(), "-----BEGIN ") {
        let Some(head) = text[at..].lines().next().filter(|l| l.contains("PRIVATE KEY-----")) else { continue };
        let end = text[at..].find("-----END").and_then(|e| text[at + e + 8..].find("-----").map(|n| at + e + 8 + n + 5));
        found.push(Private { kind: "private key", at: at..end.unwrap_or(at + head.len()) });
    }
    found.sort_by_key(|p| (p.at.start, std::cmp::Reverse(p.at.end)));
    let mut end = 0;
    found.retain(|p| {
        let keep = p.at.start >= end;
        end = end.max(p.at.end);
        keep
    });
    found
}

fn emails(text: &str) -> Vec<Private> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    for at in memchr::memchr_iter(b'@', bytes) {
        let local = |b: &u8| b.is_ascii_alphanumeric() || b"._%+-".contains(b);
        let before = bytes[..at].iter().rev().take(64).take_while(|b| local(b)).count();
        let host = |b: &u8| b.is_ascii_alphanumeric() || b".-".contains(b);
        let mut after = bytes[at + 1..].iter().take(253).take_while(|b| host(b)).count();
        while after > 0 && b".-".contains(&bytes[at + after]) {
            after -= 1;
        }
        let domain = &text[at + 1..at + 1 + after];
        let top = domain.rsplit_once('.').map_or("", |(name, top)| if name.is_empty() || domain.contains("..") { "" } else { top });
        let start = at - before;
        if before > 0 && top.len() >= 2 && top.bytes().all(|b| b.is_ascii_alphabetic()) && bytes[start] != b'.' {
            found.push(Private { kind: "e-mail address", at: start..at + 1 + after });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(&'static str, &str)> {
        find(text).into_iter().map(|p| (p.kind, &text[p.at])).collect()
    }

    #[test]
    fn addresses_and_keys_are_found_and_their_like_are_not() {
        let text = "Write to Jo.Doe+x@mail.example.org. Not: @user, a@b, x@y.1, \"é@\", foo@bar..com";
        assert_eq!(all(text), [("e-mail address", "Jo.Doe+x@mail.example.org")]);
        let key = format!("key=ghp_{} and AKIAIOSFODNN7EXAMPLE", "a1B2".repeat(9));
        assert_eq!(all(&key).iter().map(|f| f.0).collect::<Vec<_>>(), ["GitHub token", "AWS key"]);
        assert!(all("a task-oriented-approach-to-learning-and-more, sk-learn, MAKIAVELLI1234567890AB").is_empty());
        let pem = "x -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- y";
        assert_eq!(all(pem), [("private key", &pem[2..pem.len() - 2])]);
        assert_eq!(all("-----BEGIN PRIVATE KEY-----\nMII")[0].1, "-----BEGIN PRIVATE KEY-----");
    }
}
