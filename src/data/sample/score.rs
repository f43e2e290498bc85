//! What the sample is measured by: whether a model's text parses, is new, and continues the known sentences as it should.
//! Deliberately not here: any model; one is met as a `Subject`, so that a test can be one too.

use super::check::Kind;
use super::grammar::GrammarError;
use super::{World, text};
use std::fmt;

/// A model that is measured.
pub trait Subject {
    /// Text from the beginning of a document, of `tokens` tokens or up to the end of the text.
    fn sample(&mut self, seed: u64, tokens: usize, temperature: f64) -> Result<Sample, String>;
    /// The `count` likeliest next tokens after `prompt`, each as its text with its probability, likeliest first.
    fn next(&mut self, prompt: &str, count: usize) -> Result<Vec<(String, f64)>, String>;
    /// The natural logarithm of the probability that `continuation` follows `prompt`, over all of its tokens.
    fn log_probability(&mut self, prompt: &str, continuation: &str) -> Result<f64, String>;
    /// The embedding of a word that is one token with a blank before it; `None` where it is not one, or there is no access.
    fn embedding(&mut self, word: &str) -> Option<Vec<f32>> {
        let _ = word;
        None
    }
}

/// A generated text, and whether the model ended it itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub text: String,
    pub ended: bool,
}

/// The figures, and what they rest on.
#[derive(Clone, Debug, Default)]
pub struct Score {
    pub samples: usize,
    /// Samples that the generator's grammar derives: as a beginning, or whole where the model ended them.
    pub parsed: usize,
    /// Samples that do not stand in the training text.
    pub new: usize,
    /// Those that do not parse: the sample, and how many bytes of it do.
    pub failures: Vec<(String, usize)>,
    /// The likeliest next tokens after "The cat sat on the".
    pub seats: Vec<(String, f64)>,
    /// How many times likelier "Francisco" is than "kitten" after "San".
    pub francisco: f64,
    /// The words nearest to king − man + woman (cosine, the three left out), where embeddings are to be had.
    pub queen: Vec<(String, f64)>,
}

/// The words that may follow "The cat sat on the".
pub const SEATS: [&str; 6] = ["mat", "floor", "couch", "table", "bed", "chair"];
const CAT: &str = "The cat sat on the";

impl Score {
    /// Whether the six likeliest next tokens after "The cat sat on the" are the six seats.
    pub fn seats_right(&self) -> bool {
        self.seats.len() >= SEATS.len() && self.seats.iter().take(SEATS.len()).all(|(token, _)| SEATS.contains(&token.trim_start()))
    }
    /// Whether all that is asked of the sample's model holds.
    pub fn passed(&self) -> bool {
        self.parsed * 100 >= self.samples * 80 && self.new * 100 >= self.samples * 50 && self.seats_right() && self.francisco >= 100.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |words: &[(String, f64)]| words.iter().map(|(word, p)| format!("{} {p:.3}", word.trim())).collect::<Vec<_>>().join(", ");
        writeln!(f, "parse under the grammar   {} of {} (asked: 80 of 100)", self.parsed, self.samples)?;
        writeln!(f, "not in the training text  {} of {} (asked: 50 of 100)", self.new, self.samples)?;
        writeln!(f, "The cat sat on the …      {} ({})", list(&self.seats), if self.seats_right() { "the six" } else { "not the six" })?;
        write!(f, "San …                     Francisco {:.0} times as likely as kitten (asked: 100)", self.francisco)?;
        if !self.queen.is_empty() {
            write!(f, "\nking − man + woman ≈      {}", list(&self.queen))?;
        }
        Ok(())
    }
}

/// Measures a model with `samples` samples of `tokens` tokens at `temperature`; `training` is the text it learned from
/// (absent: the sample's stories).
pub fn score(subject: &mut dyn Subject, samples: usize, tokens: usize, temperature: f64, training: Option<&str>) -> Result<Score, String> {
    let world = World::new().map_err(|error: GrammarError| error.to_string())?;
    let known = training.map_or_else(stories, str::to_string);
    let mut score = Score { samples, ..Score::default() };
    for seed in 0..samples as u64 {
        let sample = subject.sample(seed, tokens, temperature)?;
        let found = world.recognise(Kind::Story, &sample.text);
        if if sample.ended { found.whole } else { found.prefix } {
            score.parsed += 1;
        } else {
            score.failures.push((sample.text.clone(), found.reached));
        }
        score.new += usize::from(!known.contains(sample.text.trim()));
    }
    score.seats = subject.next(CAT, SEATS.len() + 2)?;
    score.francisco = (subject.log_probability("San", " Francisco")? - subject.log_probability("San", " kitten")?).exp();
    score.queen = analogy(subject, &world);
    Ok(score)
}

/// The training text of the sample's recipe, one story a line.
fn stories() -> String {
    let rows = text("stories").unwrap_or_default().lines();
    let rows = rows.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    rows.filter_map(|row| Some(row.get("text")?.as_str()?.to_string())).collect::<Vec<_>>().join("\n")
}

/// The five words of the home domain nearest to king − man + woman.
fn analogy(subject: &mut dyn Subject, world: &World) -> Vec<(String, f64)> {
    let (Some(king), Some(man), Some(woman)) = (subject.embedding("king"), subject.embedding("man"), subject.embedding("woman")) else {
        return Vec::new();
    };
    let wanted: Vec<f32> = king.iter().zip(&man).zip(&woman).map(|((k, m), w)| k - m + w).collect();
    let mut words: Vec<&String> = world.home.entries.iter().flat_map(|entry| entry.cells.iter().flatten()).collect();
    words.sort();
    words.dedup();
    words.retain(|word| !["king", "man", "woman"].contains(&word.as_str()));
    let mut near: Vec<(String, f64)> =
        words.into_iter().filter_map(|word| Some((word.clone(), cosine(&subject.embedding(word)?, &wanted)))).collect();
    near.sort_by(|a, b| b.1.total_cmp(&a.1));
    near.truncate(5);
    near
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-12)
}
