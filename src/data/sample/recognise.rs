//! Recognises text under a grammar: whether it is a derivation, or the beginning of one.
//! Deliberately not here: files and rows (`check`).
//!
//! A depth-first search over configurations (where in which rule, what to return to, what the registers keep, how
//! far in the text), each entered once. Stacks and registers are shared and numbered, so that a configuration is
//! three numbers; a call that is the last thing of its line returns past it, so that right recursion stays flat.

use super::derive::push_word;
use super::grammar::{Grammar, Symbol, Word, ends_sentence};
use std::collections::{HashMap, HashSet};

/// How far a text goes with a grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recognised {
    /// The text is a complete derivation.
    pub whole: bool,
    /// The text is the beginning of a derivation, or a complete one.
    pub prefix: bool,
    /// Bytes that some derivation shares with the text.
    pub reached: usize,
}

/// Where a text may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the beginning of this rule.
    Rule(usize),
    /// At the beginning of any sentence of any rule, as when a prompt is continued; registers that the missing
    /// text would have written take any fitting entry, and keep it. Sentences may then follow in any order.
    AnySentence,
}

/// More configurations than any text of the sample needs; a hostile one ends here.
const MOST_CONFIGURATIONS: usize = 400_000;

pub fn recognise(grammar: &Grammar, start: Start, text: &str) -> Recognised {
    let mut search = Search {
        grammar,
        text,
        anywhere: start == Start::AnySentence,
        nodes: Table::default(),
        registers: Table::default(),
        seen: HashSet::new(),
        open: Vec::new(),
        found: Recognised { whole: false, prefix: text.is_empty(), reached: 0 },
    };
    search.begin(start);
    search.run();
    search.found
}

/// Numbers equal values equally.
struct Table<T> {
    items: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Table<T> {
    fn number(&mut self, item: T) -> u32 {
        if let Some(&number) = self.numbers.get(&item) {
            return number;
        }
        let number = self.items.len() as u32;
        self.items.push(item.clone());
        self.numbers.insert(item, number);
        number
    }
}

/// A place in an alternative, and the node to go on with after it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Node {
    rule: u32,
    alternative: u32,
    symbol: u32,
    then: Option<u32>,
}

struct Search<'a> {
    grammar: &'a Grammar,
    text: &'a str,
    anywhere: bool,
    nodes: Table<Node>,
    registers: Table<Vec<Option<usize>>>,
    seen: HashSet<(Option<u32>, u32, usize)>,
    open: Vec<(Option<u32>, u32, usize)>,
    found: Recognised,
}

impl Search<'_> {
    fn begin(&mut self, start: Start) {
        let registers = self.registers.number(vec![None; self.grammar.registers.len()]);
        match start {
            Start::Rule(rule) => self.call(rule, None, registers, 0),
            Start::AnySentence => self.begin_sentences(registers, 0),
        }
    }
    fn begin_sentences(&mut self, registers: u32, at: usize) {
        for (rule, found) in self.grammar.rules.iter().enumerate() {
            for (alternative, line) in found.alternatives.iter().enumerate() {
                for symbol in 0..line.symbols.len() {
                    if begins_sentence(self.grammar, &line.symbols, symbol) {
                        let node = Node { rule: rule as u32, alternative: alternative as u32, symbol: symbol as u32, then: None };
                        let node = self.nodes.number(node);
                        self.push(Some(node), registers, at);
                    }
                }
            }
        }
    }
    fn push(&mut self, node: Option<u32>, registers: u32, at: usize) {
        if self.seen.len() < MOST_CONFIGURATIONS && self.seen.insert((node, registers, at)) {
            self.open.push((node, registers, at));
        }
    }
    fn call(&mut self, rule: usize, then: Option<u32>, registers: u32, at: usize) {
        let count = self.grammar.rules.get(rule).map_or(0, |rule| rule.alternatives.len());
        for alternative in 0..count {
            let node = self.nodes.number(Node { rule: rule as u32, alternative: alternative as u32, symbol: 0, then });
            self.push(Some(node), registers, at);
        }
    }
    fn run(&mut self) {
        while let Some((node, registers, at)) = self.open.pop() {
            if self.found.whole {
                return;
            }
            match node {
                Some(node) => self.step(self.nodes.items[node as usize], registers, at),
                None => self.ended(registers, at),
            }
        }
    }
    /// The derivation is complete at byte `at`.
    fn ended(&mut self, registers: u32, at: usize) {
        if at == self.text.len() {
            self.found.whole = true;
            self.found.prefix = true;
        } else if self.anywhere && self.text[at..].starts_with([' ', '\n']) {
            self.begin_sentences(registers, at + 1);
        }
    }
    fn step(&mut self, node: Node, registers: u32, at: usize) {
        let grammar = self.grammar;
        let symbols = &grammar.rules[node.rule as usize].alternatives[node.alternative as usize].symbols;
        let Some(symbol) = symbols.get(node.symbol as usize) else {
            return self.push(node.then, registers, at);
        };
        let then = if node.symbol as usize + 1 == symbols.len() {
            node.then
        } else {
            Some(self.nodes.number(Node { symbol: node.symbol + 1, ..node }))
        };
        match symbol {
            Symbol::Text(text) => self.literal(text, then, registers, at),
            Symbol::Rule(rule) => self.call(*rule, then, registers, at),
            Symbol::Word(word) => self.word(word, then, registers, at),
        }
    }
    fn literal(&mut self, expected: &str, then: Option<u32>, registers: u32, at: usize) {
        let rest = &self.text.as_bytes()[at..];
        let shared = rest.iter().zip(expected.as_bytes()).take_while(|(a, b)| a == b).count();
        self.found.reached = self.found.reached.max(at + shared);
        if shared == expected.len() {
            self.push(then, registers, at + shared);
        }
        if shared == rest.len() {
            // The text ends inside, or exactly behind, what the grammar would write.
            self.found.prefix = true;
        }
    }
    fn word(&mut self, word: &Word, then: Option<u32>, registers: u32, at: usize) {
        let grammar = self.grammar;
        let kept = self.registers.items[registers as usize].clone();
        let bound = match (word.class, word.register) {
            (None, Some(register)) => kept[register],
            _ => None,
        };
        let candidates: Vec<usize> = match (bound, word.class, word.register) {
            (Some(entry), _, _) => vec![entry],
            (None, Some(class), _) => (grammar.classes[class].first..grammar.classes[class].end).collect(),
            (None, None, Some(register)) => {
                grammar.registers[register].classes.iter().flat_map(|&c| grammar.classes[c].first..grammar.classes[c].end).collect()
            }
            (None, None, None) => Vec::new(),
        };
        for entry in candidates {
            if word.differs.iter().any(|&other| kept[other] == Some(entry)) {
                continue;
            }
            let after = match word.register {
                Some(register) if kept[register] != Some(entry) => {
                    let mut changed = kept.clone();
                    changed[register] = Some(entry);
                    self.registers.number(changed)
                }
                _ => registers,
            };
            for text in grammar.words(entry, word.column.as_deref()) {
                let mut written = String::with_capacity(text.len());
                push_word(&mut written, text, word.capital);
                self.literal(&written, then, after, at);
            }
        }
    }
}

/// Whether a sentence may start at this symbol: at the head of a line, behind a finished sentence or behind a rule,
/// and with a capital or a quote.
fn begins_sentence(grammar: &Grammar, symbols: &[Symbol], at: usize) -> bool {
    let free = match at.checked_sub(1).map(|before| &symbols[before]) {
        None => true,
        Some(Symbol::Text(text)) if text.trim().is_empty() => at >= 2 && matches!(symbols[at - 2], Symbol::Rule(_)),
        Some(Symbol::Text(text)) => text.ends_with([' ', '\n']) && ends_sentence(text.trim_end()),
        Some(_) => false,
    };
    free && match &symbols[at] {
        Symbol::Text(text) => text.starts_with(|c: char| c.is_ascii_uppercase() || c == '"'),
        Symbol::Word(word) => word.capital || names_someone(grammar, word),
        Symbol::Rule(_) => false,
    }
}

/// Whether the word is written with a capital wherever it stands.
fn names_someone(grammar: &Grammar, word: &Word) -> bool {
    let class = word.class.or_else(|| word.register.and_then(|register| grammar.registers[register].classes.first().copied()));
    let first = class.and_then(|class| grammar.words(grammar.classes[class].first, word.column.as_deref()).first());
    first.is_some_and(|text| text.starts_with(|c: char| c.is_ascii_uppercase()))
}
