//! Derives text from a grammar: a seeded walk through its rules.
//! Deliberately not here: what becomes of the text (`files`).

use super::grammar::{Grammar, Symbol, Word};
use crate::rng::Stream;

/// Text of `rule`; an error where the grammar reads a register that nothing has written, or never ends.
pub fn derive(grammar: &Grammar, rule: usize, random: &mut Stream) -> Result<String, String> {
    let mut derivation = Derivation { grammar, random, registers: vec![None; grammar.registers.len()], out: String::new() };
    derivation.rule(rule, 0)?;
    Ok(derivation.out)
}

struct Derivation<'a> {
    grammar: &'a Grammar,
    random: &'a mut Stream,
    registers: Vec<Option<usize>>,
    out: String,
}

/// No sensible text nests deeper; a rule that always calls itself does.
const DEEPEST: usize = 200;

impl Derivation<'_> {
    fn rule(&mut self, rule: usize, depth: usize) -> Result<(), String> {
        let grammar = self.grammar;
        let rule = grammar.rules.get(rule).ok_or("no such rule")?;
        if depth > DEEPEST {
            return Err(format!("rule {} never ends", rule.name));
        }
        let total = rule.alternatives.iter().map(|alternative| alternative.weight).sum();
        let mut drawn = self.random.below(total);
        for alternative in &rule.alternatives {
            if drawn < alternative.weight {
                for symbol in &alternative.symbols {
                    match symbol {
                        Symbol::Text(text) => self.out.push_str(text),
                        Symbol::Rule(rule) => self.rule(*rule, depth + 1)?,
                        Symbol::Word(word) => self.word(word, &rule.name)?,
                    }
                }
                return Ok(());
            }
            drawn -= alternative.weight;
        }
        Err(format!("rule {} has no line of any weight", rule.name))
    }
    fn word(&mut self, word: &Word, rule: &str) -> Result<(), String> {
        let grammar = self.grammar;
        let entry = match (word.class, word.register) {
            (Some(class), register) => {
                let class = grammar.classes.get(class).ok_or("no such class")?;
                let taken: Vec<usize> = word.differs.iter().filter_map(|&other| self.registers[other]).collect();
                let free: Vec<usize> = (class.first..class.end).filter(|entry| !taken.contains(entry)).collect();
                let entry = *self.random.pick(&free).ok_or_else(|| format!("class {} is used up in rule {rule}", class.name))?;
                if let Some(register) = register {
                    self.registers[register] = Some(entry);
                }
                entry
            }
            (None, Some(register)) => self.registers[register]
                .ok_or_else(|| format!("rule {rule} reads register {} before it is written", grammar.registers[register].name))?,
            (None, None) => return Err(format!("rule {rule} names nothing")),
        };
        let words = grammar.words(entry, word.column.as_deref());
        let text = self.random.pick(words).ok_or_else(|| format!("rule {rule} reads a column {:?} that is not there", word.column))?;
        push_word(&mut self.out, text, word.capital);
        Ok(())
    }
}

/// Appends `text`, its first letter a capital where asked for.
pub fn push_word(out: &mut String, text: &str, capital: bool) {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if capital => {
            out.extend(first.to_uppercase());
            out.push_str(chars.as_str());
        }
        _ => out.push_str(text),
    }
}
