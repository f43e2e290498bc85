//! The grammar of the sample world, read from its own small notation: rules, classes of words, registers.
//! Deliberately not here: deriving text (`derive`) and recognising it (`recognise`).
//!
//! # Notation
//! ```text
//! # a comment
//! %pet: name, food            a class of words; its first column is the word itself
//! cat, milk                   one entry a line; `a/b` in a cell offers several words, of which any may stand
//! @Story                      a rule; every line below it is one way to write it
//! 3: The {a:pet} sat. {Rest}  `3:` is its weight among the others (1 when absent)
//! @Rest
//! It drank its {a.food}.
//! ```
//! Within braces: `Rule` (a capital first) writes another rule; `class` or `class.column` any word of a class;
//! `r:class` writes a word and keeps its entry in register `r`, `r:class!q` one that differs from register `q`'s;
//! `r` and `r.column` write from the entry that `r` keeps. `^` before it makes the first letter a capital.
//! Registers are what makes it more than context-free: a name stays the same, and pronouns agree with it.

use std::collections::HashMap;

/// What is wrong with a grammar's text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("grammar {grammar}, line {line}: {what}")]
pub struct GrammarError {
    pub grammar: String,
    pub line: usize,
    pub what: String,
}

/// Rules over classes of words; names are resolved to numbers.
#[derive(Clone, Debug)]
pub struct Grammar {
    pub name: String,
    pub rules: Vec<Rule>,
    /// All entries of all classes, one class after another.
    pub entries: Vec<Entry>,
    pub classes: Vec<Class>,
    pub registers: Vec<Register>,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    pub alternatives: Vec<Alternative>,
}

#[derive(Clone, Debug)]
pub struct Alternative {
    pub weight: u64,
    pub symbols: Vec<Symbol>,
    pub line: usize,
}

/// A part of an alternative. Literal text is cut after each sentence, so that a reader may start at one.
#[derive(Clone, Debug, PartialEq)]
pub enum Symbol {
    Text(String),
    Rule(usize),
    Word(Word),
}

/// A word from a class or from a register's entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The register that is written (with a class) or read (without).
    pub register: Option<usize>,
    pub class: Option<usize>,
    pub column: Option<String>,
    /// Registers whose entries must differ from this one.
    pub differs: Vec<usize>,
    pub capital: bool,
}

#[derive(Clone, Debug)]
pub struct Class {
    pub name: String,
    pub columns: Vec<String>,
    /// Its entries are `first..end` of the grammar's.
    pub first: usize,
    pub end: usize,
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub class: usize,
    /// By column; each with the words that may stand there.
    pub cells: Vec<Vec<String>>,
}

#[derive(Clone, Debug)]
pub struct Register {
    pub name: String,
    /// The classes it is written from anywhere in the grammar.
    pub classes: Vec<usize>,
}

impl Grammar {
    /// Reads a grammar; `name` is for messages.
    pub fn parse(name: &str, text: &str) -> Result<Self, GrammarError> {
        let mut reader = Reader::new(name);
        for (index, line) in text.lines().enumerate() {
            reader.line(index + 1, line)?;
        }
        reader.finish()
    }
    pub fn rule(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| rule.name == name)
    }
    pub fn class(&self, name: &str) -> Option<&Class> {
        self.classes.iter().find(|class| class.name == name)
    }
    /// The words that entry `entry` offers in `column` (absent: the first).
    pub fn words(&self, entry: usize, column: Option<&str>) -> &[String] {
        let Some(found) = self.entries.get(entry) else { return &[] };
        let index = match column {
            None => Some(0),
            Some(column) => self.classes.get(found.class).and_then(|class| class.columns.iter().position(|name| name == column)),
        };
        index.and_then(|index| found.cells.get(index)).map_or(&[], Vec::as_slice)
    }
}

/// A first pass keeps lines as they are; names are resolved when all are known.
struct Reader {
    name: String,
    rules: Vec<(String, Vec<(usize, u64, String)>)>,
    classes: Vec<Class>,
    entries: Vec<Entry>,
    in_class: bool,
}

impl Reader {
    fn new(name: &str) -> Self {
        Self { name: name.to_string(), rules: Vec::new(), classes: Vec::new(), entries: Vec::new(), in_class: false }
    }
    fn error(&self, line: usize, what: impl Into<String>) -> GrammarError {
        GrammarError { grammar: self.name.clone(), line, what: what.into() }
    }
    fn line(&mut self, number: usize, raw: &str) -> Result<(), GrammarError> {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(head) = line.strip_prefix('%') {
            let (name, columns) = head.split_once(':').ok_or_else(|| self.error(number, "a class is written `%name: column, column`"))?;
            self.in_class = true;
            let columns = columns.split(',').map(|column| column.trim().to_string()).collect();
            self.classes.push(Class { name: name.trim().into(), columns, first: self.entries.len(), end: self.entries.len() });
        } else if let Some(name) = line.strip_prefix('@') {
            self.in_class = false;
            self.rules.push((name.trim().into(), Vec::new()));
        } else if self.in_class {
            self.entry(number, line)?;
        } else {
            let (weight, body) = match line.split_once(": ") {
                Some((digits, body)) if digits.bytes().all(|b| b.is_ascii_digit()) => (digits.parse().unwrap_or(1), body),
                _ => (1, line),
            };
            let body = body.replace("\\n", "\n").replace("\\t", "\t");
            match self.rules.last_mut() {
                Some((_, lines)) => lines.push((number, weight, body)),
                None => return Err(self.error(number, "text before the first rule")),
            }
        }
        Ok(())
    }
    fn entry(&mut self, number: usize, line: &str) -> Result<(), GrammarError> {
        let cells: Vec<Vec<String>> = line.split(',').map(|cell| cell.split('/').map(|word| word.trim().to_string()).collect()).collect();
        let class = self.classes.len().saturating_sub(1);
        let columns = self.classes.get(class).map_or(0, |class| class.columns.len());
        if cells.len() != columns {
            return Err(self.error(number, format!("{} cells where the class has {columns} columns", cells.len())));
        }
        self.entries.push(Entry { class, cells });
        if let Some(class) = self.classes.last_mut() {
            class.end = self.entries.len();
        }
        Ok(())
    }
    fn finish(self) -> Result<Grammar, GrammarError> {
        let mut names = Names {
            rules: self.rules.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect(),
            classes: self.classes.iter().enumerate().map(|(index, class)| (class.name.clone(), index)).collect(),
            registers: Vec::new(),
        };
        // Registers are known by their writing, wherever it stands; reading comes second.
        for (number, _, body) in self.rules.iter().flat_map(|(_, lines)| lines) {
            names.declare(body).map_err(|what| self.error(*number, what))?;
        }
        let mut rules = Vec::with_capacity(self.rules.len());
        for (name, lines) in &self.rules {
            let mut alternatives = Vec::with_capacity(lines.len());
            for (number, weight, body) in lines {
                let symbols = names.symbols(body).map_err(|what| self.error(*number, what))?;
                alternatives.push(Alternative { weight: *weight, symbols, line: *number });
            }
            if alternatives.is_empty() {
                return Err(self.error(0, format!("rule {name} has no line")));
            }
            rules.push(Rule { name: name.clone(), alternatives });
        }
        Ok(Grammar { name: self.name, rules, entries: self.entries, classes: self.classes, registers: names.registers })
    }
}

struct Names {
    rules: HashMap<String, usize>,
    classes: HashMap<String, usize>,
    registers: Vec<Register>,
}

impl Names {
    fn register(&self, name: &str) -> Option<usize> {
        self.registers.iter().position(|register| register.name == name)
    }
    fn declare(&mut self, body: &str) -> Result<(), String> {
        for part in body.split('{').skip(1) {
            let inner = part.split('}').next().unwrap_or_default().trim_start_matches('^');
            let Some((name, rest)) = inner.split_once(':') else { continue };
            let class = rest.split(['.', '!']).next().unwrap_or_default();
            let class = *self.classes.get(class).ok_or_else(|| format!("no class {class:?}"))?;
            match self.register(name) {
                Some(index) if !self.registers[index].classes.contains(&class) => self.registers[index].classes.push(class),
                Some(_) => {}
                None => self.registers.push(Register { name: name.into(), classes: vec![class] }),
            }
        }
        Ok(())
    }
    fn symbols(&self, body: &str) -> Result<Vec<Symbol>, String> {
        let mut out = Vec::new();
        let mut rest = body;
        while let Some(open) = rest.find('{') {
            push_sentences(&mut out, &rest[..open]);
            let close = rest[open..].find('}').ok_or("a brace that is not closed")? + open;
            out.push(self.reference(&rest[open + 1..close])?);
            rest = &rest[close + 1..];
        }
        push_sentences(&mut out, rest);
        Ok(out)
    }
    fn reference(&self, inner: &str) -> Result<Symbol, String> {
        let (capital, inner) = inner.strip_prefix('^').map_or((false, inner), |inner| (true, inner));
        if inner.starts_with(|c: char| c.is_ascii_uppercase()) {
            return self.rules.get(inner).map(|&rule| Symbol::Rule(rule)).ok_or_else(|| format!("no rule {inner:?}"));
        }
        let mut pieces = inner.split('!');
        let head = pieces.next().unwrap_or_default();
        let differs =
            pieces.map(|name| self.register(name).ok_or_else(|| format!("no register {name:?}"))).collect::<Result<Vec<_>, _>>()?;
        let (path, column) = head.split_once('.').map_or((head, None), |(path, column)| (path, Some(column.to_string())));
        let (register, class) = match path.split_once(':') {
            Some((register, class)) => (self.register(register), self.classes.get(class).copied()),
            None => match self.register(path) {
                Some(register) => (Some(register), None),
                None => (None, Some(*self.classes.get(path).ok_or_else(|| format!("no class or register {path:?}"))?)),
            },
        };
        Ok(Symbol::Word(Word { register, class, column, differs, capital }))
    }
}

/// Literal text, cut behind each sentence's end and its blank.
fn push_sentences(out: &mut Vec<Symbol>, text: &str) {
    let mut start = 0;
    // A blank behind a rule stands alone, so that what follows it may start a text.
    if text.starts_with([' ', '\n']) && matches!(out.last(), Some(Symbol::Rule(_))) {
        out.push(Symbol::Text(text[..1].to_string()));
        start = 1;
    }
    for (at, c) in text.char_indices() {
        if (c == ' ' || c == '\n') && at > start && ends_sentence(&text[..at]) {
            out.push(Symbol::Text(text[start..=at].to_string()));
            start = at + 1;
        }
    }
    if start < text.len() {
        out.push(Symbol::Text(text[start..].to_string()));
    }
}

/// Whether `text` ends as a sentence does: with a stop, perhaps inside a closing quote.
pub fn ends_sentence(text: &str) -> bool {
    text.trim_end_matches('"').ends_with(['.', '!', '?'])
}
