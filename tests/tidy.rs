//! The house rules that a machine can check: floors, file lengths, no panics outside tests, file headers.
//! Deliberately not here: style that rustfmt and clippy know already.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use std::fs;
use std::path::{Path, PathBuf};

/// Floors by top module of the crate. Imports go down only.
const FLOORS: &[(&str, u32)] = &[
    ("recipe", 0),
    ("report", 0),
    ("spec", 0),
    ("rng", 0),
    ("text", 0),
    ("distribution", 0),
    ("penalties", 0),
    ("gguf", 0),
    ("net", 0),
    ("repos", 0),
    ("data", 1),
    ("model", 1),
    ("run", 2),
    ("sample", 2),
    ("eval", 3),
    ("train", 4),
    ("engine", 5),
    ("ui", 6),
    ("cli", 6),
    ("main", 7),
];
/// Modules of one floor that do not know each other.
const BLIND: &[(&str, &str)] = &[("data", "model"), ("ui", "cli")];
/// The one crossing on floor 6: the command line opens the workbench through these names.
const DOOR: &[(&str, &str)] = &[("cli", "ui::run"), ("cli", "ui::Options"), ("cli", "ui::check_theme")];
const MAX_LINES: usize = 700;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    walk(&root, &mut out);
    for (path, _) in &mut out {
        *path = path.strip_prefix(&root).unwrap().to_path_buf();
    }
    out
}

fn top(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_string()
}

fn floor(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(n, _)| *n == name).map(|(_, f)| *f)
}

/// The code of a file without comments, strings, and without what stands under `#[cfg(test)]`.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    // Where a test item began: the depth of braces before it, and whether its own brace was seen.
    let mut test_from: Option<(i64, bool)> = None;
    let (mut depth, mut pending_test) = (0i64, false);
    let mut lexer = Lexer::default();
    for (number, line) in text.lines().enumerate() {
        let clean = lexer.strip(line);
        let trimmed = clean.trim();
        if test_from.is_none() && trimmed.starts_with("#[cfg(test)]") {
            pending_test = true;
        }
        if pending_test && !trimmed.starts_with("#[") && !trimmed.is_empty() {
            test_from = Some((depth, false));
            pending_test = false;
        }
        for c in clean.chars() {
            match c {
                '{' => {
                    depth += 1;
                    if let Some((_, opened)) = &mut test_from {
                        *opened = true;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        let inside_test = test_from.is_some() || pending_test;
        if let Some((from, opened)) = test_from
            && ((opened && depth <= from) || (!opened && trimmed.ends_with(';')))
        {
            test_from = None;
        }
        if !inside_test {
            out.push((number + 1, clean));
        }
    }
    out
}

/// Removes comments and the insides of string and character literals, over line ends where need be.
#[derive(Default)]
struct Lexer {
    block_comment: u32,
    /// Inside a string: the number of `#` of a raw one, or none for a plain one.
    string: Option<Option<usize>>,
}

impl Lexer {
    fn strip(&mut self, line: &str) -> String {
        let chars: Vec<char> = line.chars().collect();
        let mut out = String::new();
        let mut i = 0;
        while i < chars.len() {
            let rest = &chars[i..];
            i += if self.block_comment > 0 {
                self.in_comment(rest)
            } else if let Some(raw) = self.string {
                self.in_string(rest, raw, &mut out)
            } else if rest.starts_with(&['/', '/']) {
                break;
            } else {
                let word_before = i > 0 && (chars[i - 1].is_alphanumeric() || chars[i - 1] == '_') && chars[i - 1] != 'b';
                self.in_code(rest, word_before, &mut out)
            };
        }
        out
    }

    fn in_comment(&mut self, rest: &[char]) -> usize {
        if rest.starts_with(&['*', '/']) {
            self.block_comment -= 1;
            return 2;
        }
        if rest.starts_with(&['/', '*']) {
            self.block_comment += 1;
            return 2;
        }
        1
    }

    fn in_string(&mut self, rest: &[char], raw: Option<usize>, out: &mut String) -> usize {
        let closes = match raw {
            None if rest[0] == '\\' => return 2,
            None => rest[0] == '"',
            Some(hashes) => rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes,
        };
        if closes {
            self.string = None;
            out.push('"');
            return 1 + raw.unwrap_or(0);
        }
        1
    }

    fn in_code(&mut self, rest: &[char], word_before: bool, out: &mut String) -> usize {
        if rest.starts_with(&['/', '*']) {
            self.block_comment = 1;
            return 2;
        }
        if rest[0] == 'r' && !word_before {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            if rest.get(1 + hashes) == Some(&'"') {
                self.string = Some(Some(hashes));
                out.push('"');
                return 2 + hashes;
            }
        }
        if rest[0] == '"' {
            self.string = Some(None);
            out.push('"');
            return 1;
        }
        if rest[0] == '\'' && rest.get(1) == Some(&'\\') {
            // An escaped character literal: up to its closing quote.
            return rest[3.min(rest.len())..].iter().position(|c| *c == '\'').map_or(rest.len(), |p| p + 4);
        }
        if rest[0] == '\'' && rest.get(2) == Some(&'\'') {
            return 3;
        }
        out.push(rest[0]);
        1
    }
}

/// Every `crate::a::b` path in a piece of code, groups in braces opened (`crate::{a::b, c}`).
fn crate_paths(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        out.push(item.trim().to_string());
                        item.clear();
                        continue;
                    }
                    _ => {}
                }
                item.push(c);
            }
            out.push(item.trim().to_string());
        } else {
            out.push(rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect());
        }
    }
    out.retain(|p| !p.is_empty());
    out
}

/// Whether `word` stands in `line` with no part of a name before it.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        word.starts_with('.') || !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

fn none_of(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_go_down_only() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let from = top(&path);
        if from == "lib" {
            continue;
        }
        let Some(from_floor) = floor(&from) else {
            faults.push(format!("src/{}: `{from}` stands on no floor; add it to FLOORS and to the map in lib.rs", path.display()));
            continue;
        };
        let whole: String = code(&text).into_iter().map(|(_, l)| l + "\n").collect();
        for target in crate_paths(&whole) {
            let to = target.split("::").next().unwrap_or("").to_string();
            let Some(to_floor) = floor(&to) else { continue };
            let door = DOOR.iter().any(|(m, p)| *m == from && target.starts_with(p));
            let blind = BLIND.iter().any(|(a, b)| (*a == from && *b == to) || (*b == from && *a == to)) && !door;
            if to_floor > from_floor || blind {
                faults.push(format!("src/{}: {from} (floor {from_floor}) may not know crate::{target} (floor {to_floor})", path.display()));
            }
        }
    }
    none_of(faults);
}

#[test]
fn foreign_crates_stay_on_their_floors() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let from = top(&path);
        for (number, line) in code(&text) {
            let place = format!("src/{}:{number}", path.display());
            if has_word(&line, "candle_core::") && (from == "data" || !matches!(floor(&from), Some(1..=5))) {
                faults.push(format!("{place}: candle belongs to floors 1 to 5, and not to data"));
            }
            if (has_word(&line, "ratatui::") || has_word(&line, "crossterm::")) && from != "ui" {
                faults.push(format!("{place}: the terminal belongs to ui"));
            }
            if from != "cli" && ["println!", "eprintln!", "print!", "eprint!"].iter().any(|m| has_word(&line, m)) {
                faults.push(format!("{place}: printing belongs to cli"));
            }
        }
    }
    none_of(faults);
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            faults.push(format!("src/{}: {lines} lines; which two ideas live in it?", path.display()));
        }
        if !text.starts_with("//!") || text.starts_with("//! stub") {
            faults.push(format!("src/{}: does not open with what it is for", path.display()));
        }
    }
    none_of(faults);
}

#[test]
fn nothing_panics_outside_tests() {
    const FORBIDDEN: &[&str] = &[".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "process::exit("];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (number, line) in code(&text) {
            faults.extend(FORBIDDEN.iter().filter(|w| has_word(&line, w)).map(|w| format!("src/{}:{number}: {w}", path.display())));
        }
    }
    none_of(faults);
}

#[test]
fn there_is_no_global_mutable_state() {
    const MUTABLE: &[&str] = &["Mutex", "RwLock", "Atomic", "OnceLock", "LazyLock", "Cell"];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (number, line) in code(&text) {
            let item = line.trim_start();
            let item = item.strip_prefix("pub ").or_else(|| item.strip_prefix("pub(crate) ")).unwrap_or(item);
            let mutable = item.starts_with("static ") && MUTABLE.iter().any(|w| item.contains(w));
            if mutable || item.starts_with("static mut ") || item.starts_with("thread_local!") {
                faults.push(format!("src/{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    none_of(faults);
}

#[test]
fn the_checker_itself_sees_what_it_should() {
    let text = "use crate::{ui::run, data};\nfn f() { let s = \"a.unwrap()\"; x.unwrap(); } // y.unwrap()\n#[cfg(test)]\nmod tests {\n  fn g() { z.unwrap(); }\n}\nfn h() { crate::engine::x(); }\n";
    let lines = code(text);
    assert_eq!(lines.iter().filter(|(_, l)| l.contains(".unwrap()")).count(), 1);
    assert!(lines.iter().any(|(n, l)| *n == 7 && l.contains("crate::engine")));
    assert_eq!(crate_paths(&lines.iter().map(|(_, l)| l.clone() + "\n").collect::<String>()), ["ui::run", "data", "engine::x"]);
}
