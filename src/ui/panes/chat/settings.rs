//! The sampler's settings as rows that arrow keys move: names, steps, words for what each does.
//! Deliberately not here: what a setting does to a distribution (`distribution`), and drawing.

use crate::spec::Sampler;

/// One row of the sampler panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Temperature,
    TopK,
    TopP,
    MinP,
    Typical,
    Repetition,
    Presence,
    Frequency,
    Dry,
    Seed,
    MaxTokens,
}

pub const ROWS: &[Row] = &[
    Row::Temperature,
    Row::TopK,
    Row::TopP,
    Row::MinP,
    Row::Repetition,
    Row::Seed,
    Row::MaxTokens,
    Row::Typical,
    Row::Presence,
    Row::Frequency,
    Row::Dry,
];

const TEMPERATURES: &[f32] =
    &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.5, 3.0, 5.0];
const TOP_K: &[f32] = &[1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 100.0, 200.0, 0.0];
const TOP_P: &[f32] = &[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0];
const MIN_P: &[f32] = &[0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0];
const REPETITION: &[f32] = &[0.9, 1.0, 1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0];
const TYPICAL: &[f32] = &[0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0];
const PENALTIES: &[f32] = &[-1.0, -0.5, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0];
const DRY: &[f32] = &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 5.0];
const MAX_TOKENS: &[f32] = &[1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 200.0, 256.0, 512.0, 1024.0, 2048.0];

/// What the panel sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub sampler: Sampler,
    pub max_tokens: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sampler: Sampler::default(), max_tokens: 128 }
    }
}

impl Row {
    pub fn name(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::TopK => "top-k",
            Self::TopP => "top-p",
            Self::MinP => "min-p",
            Self::Typical => "typical",
            Self::Repetition => "repetition",
            Self::Presence => "presence",
            Self::Frequency => "frequency",
            Self::Dry => "dry",
            Self::Seed => "seed",
            Self::MaxTokens => "max tokens",
        }
    }

    /// What it does, in a few words.
    pub fn help(self) -> &'static str {
        match self {
            Self::Temperature => "low: the likeliest word nearly always; high: bolder",
            Self::TopK => "only the k likeliest tokens may be drawn",
            Self::TopP => "only the likeliest tokens that make up this share",
            Self::MinP => "only tokens at least this likely beside the best",
            Self::Repetition => "above 1: tokens already in the text get less likely",
            Self::Typical => "only tokens about as surprising as the model expects to be",
            Self::Presence => "above 0: a token that was written gets less likely, once",
            Self::Frequency => "above 0: a token gets less likely each time it was written",
            Self::Dry => "above 0: what would go on with a repetition gets less likely, the longer the less",
            Self::Seed => "the same seed draws the same text again",
            Self::MaxTokens => "the text ends after so many tokens",
        }
    }
}

impl Settings {
    /// The value as shown; `off` where the setting changes nothing.
    pub fn show(&self, row: Row) -> String {
        let s = &self.sampler;
        match row {
            Row::Temperature if s.temperature == 0.0 => "0 greedy".into(),
            Row::Temperature => format!("{:.2}", s.temperature),
            Row::TopK if s.top_k == 0 => "off".into(),
            Row::TopK => s.top_k.to_string(),
            Row::TopP if s.top_p >= 1.0 => "off".into(),
            Row::TopP => format!("{:.2}", s.top_p),
            Row::MinP if s.min_p == 0.0 => "off".into(),
            Row::MinP => format!("{:.2}", s.min_p),
            Row::Repetition if s.repetition_penalty == 1.0 => "off".into(),
            Row::Repetition => format!("{:.2}", s.repetition_penalty),
            Row::Typical if s.typical_p >= 1.0 => "off".into(),
            Row::Typical => format!("{:.2}", s.typical_p),
            Row::Presence if s.presence_penalty == 0.0 => "off".into(),
            Row::Presence => format!("{:.2}", s.presence_penalty),
            Row::Frequency if s.frequency_penalty == 0.0 => "off".into(),
            Row::Frequency => format!("{:.2}", s.frequency_penalty),
            Row::Dry if s.dry_multiplier == 0.0 => "off".into(),
            Row::Dry => format!("{:.2}", s.dry_multiplier),
            Row::Seed => s.seed.to_string(),
            Row::MaxTokens => self.max_tokens.to_string(),
        }
    }

    /// Where the value stands on its scale, 0 to 1; none for the seed, which has no scale.
    pub fn place(&self, row: Row) -> Option<f64> {
        let (scale, value) = self.scale(row)?;
        Some(nearest(scale, value) as f64 / (scale.len() - 1) as f64)
    }

    /// Moves a setting by `by` steps of its scale.
    pub fn adjust(&mut self, row: Row, by: i64) {
        let Some((scale, value)) = self.scale(row) else {
            self.sampler.seed = self.sampler.seed.saturating_add_signed(by);
            return;
        };
        let at = (nearest(scale, value) as i64 + by).clamp(0, scale.len() as i64 - 1);
        self.set(row, scale[at as usize]);
    }

    /// Back to what it was at the start.
    pub fn reset(&mut self, row: Row) {
        let default = Self::default();
        match default.scale(row) {
            Some((_, value)) => self.set(row, value),
            None => self.sampler.seed = default.sampler.seed,
        }
    }

    /// All that differs from "nothing is cut", in one line.
    pub fn line(&self) -> String {
        let shown = ROWS.iter().filter(|r| !matches!(r, Row::Seed | Row::MaxTokens)).map(|r| (r.name(), self.show(*r)));
        let on: Vec<String> = shown.filter(|(_, value)| value != "off").map(|(name, value)| format!("{name} {value}")).collect();
        format!("{} · seed {}", on.join(" · "), self.sampler.seed)
    }

    fn scale(&self, row: Row) -> Option<(&'static [f32], f32)> {
        let s = &self.sampler;
        Some(match row {
            Row::Temperature => (TEMPERATURES, s.temperature),
            Row::TopK => (TOP_K, s.top_k as f32),
            Row::TopP => (TOP_P, s.top_p),
            Row::MinP => (MIN_P, s.min_p),
            Row::Typical => (TYPICAL, s.typical_p),
            Row::Repetition => (REPETITION, s.repetition_penalty),
            Row::Presence => (PENALTIES, s.presence_penalty),
            Row::Frequency => (PENALTIES, s.frequency_penalty),
            Row::Dry => (DRY, s.dry_multiplier),
            Row::MaxTokens => (MAX_TOKENS, self.max_tokens as f32),
            Row::Seed => return None,
        })
    }

    fn set(&mut self, row: Row, value: f32) {
        match row {
            Row::Temperature => self.sampler.temperature = value,
            Row::TopK => self.sampler.top_k = value as usize,
            Row::TopP => self.sampler.top_p = value,
            Row::MinP => self.sampler.min_p = value,
            Row::Typical => self.sampler.typical_p = value,
            Row::Repetition => self.sampler.repetition_penalty = value,
            Row::Presence => self.sampler.presence_penalty = value,
            Row::Frequency => self.sampler.frequency_penalty = value,
            Row::Dry => self.sampler.dry_multiplier = value,
            Row::MaxTokens => self.max_tokens = value as usize,
            Row::Seed => self.sampler.seed = value as u64,
        }
    }
}

fn nearest(scale: &[f32], value: f32) -> usize {
    let far = |i: &usize| (scale[*i] - value).abs();
    (0..scale.len()).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_moves_both_ways_stays_valid_and_comes_back() {
        for &row in ROWS {
            let mut settings = Settings::default();
            for by in [1i64; 40].into_iter().chain([-1; 90]) {
                settings.adjust(row, by);
                assert_eq!(settings.sampler.problem(), None, "{}", row.name());
                assert!(settings.max_tokens > 0 && !settings.show(row).is_empty());
                assert!(settings.place(row).is_none_or(|p| (0.0..=1.0).contains(&p)));
            }
            assert_ne!(settings, Settings { sampler: Sampler { seed: 1, ..Sampler::default() }, ..Settings::default() });
            settings.reset(row);
            assert_eq!(settings, Settings::default(), "{}", row.name());
        }
    }

    #[test]
    fn the_line_names_what_is_on() {
        let mut settings = Settings::default();
        assert_eq!(settings.line(), "temperature 0.80 · seed 0");
        settings.adjust(Row::TopP, -2);
        assert_eq!(settings.line(), "temperature 0.80 · top-p 0.98 · seed 0");
    }
}
