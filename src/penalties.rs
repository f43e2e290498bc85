//! What the text so far does to the next token's logits: bias, repetition, presence, frequency, and "don't repeat yourself".
//! The sampler and the screen compute it here, so that both say the same.
//! Deliberately not here: what is cut afterwards (`sample::sampler`, `distribution`).

use std::collections::BTreeMap;

use crate::spec::Sampler;

/// Longer repetitions count as this long.
const LONGEST_MATCH: usize = 64;

/// The text so far, as penalties see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past<'a> {
    /// All ids that the model sees, the prompt's included.
    pub seen: &'a [u32],
    /// How many of the last of them were generated: presence and frequency count those alone, as OpenAI's do.
    pub said: usize,
    /// Ids at which a repetition ends for DRY, ascending.
    pub breakers: &'a [u32],
}

impl<'a> Past<'a> {
    /// A text whose tokens all count as the prompt's.
    pub fn prompt(seen: &'a [u32]) -> Self {
        Self { seen, said: 0, breakers: &[] }
    }
}

/// What is done to one token's logit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Move {
    bias: f32,
    seen: bool,
    /// Times that it was generated.
    said: u32,
    dry: f32,
}

/// What is done to the logits of the tokens that the past or a bias concerns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moves {
    by_id: BTreeMap<u32, Move>,
    repetition: f32,
    presence: f32,
    frequency: f32,
}

impl Moves {
    pub fn new(sampler: &Sampler, past: &Past) -> Self {
        let mut moves = Self {
            by_id: BTreeMap::new(),
            repetition: sampler.repetition_penalty,
            presence: sampler.presence_penalty,
            frequency: sampler.frequency_penalty,
        };
        for (&id, &bias) in &sampler.logit_bias {
            moves.by_id.entry(id).or_default().bias = bias;
        }
        if sampler.repetition_penalty != 1.0 {
            past.seen.iter().for_each(|id| moves.by_id.entry(*id).or_default().seen = true);
        }
        if sampler.presence_penalty != 0.0 || sampler.frequency_penalty != 0.0 {
            let said = &past.seen[past.seen.len().saturating_sub(past.said)..];
            said.iter().for_each(|id| moves.by_id.entry(*id).or_default().said += 1);
        }
        if sampler.dry_multiplier > 0.0 {
            for (id, length) in repeated(past) {
                if length >= sampler.dry_allowed_length {
                    let power = (length - sampler.dry_allowed_length).min(LONGEST_MATCH) as i32;
                    moves.by_id.entry(id).or_default().dry = sampler.dry_multiplier * sampler.dry_base.powi(power);
                }
            }
        }
        moves
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
    /// The ids that are concerned, ascending.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.by_id.keys().copied()
    }

    /// The logit after bias, repetition, presence and frequency, and DRY, in this order.
    pub fn apply(&self, id: u32, logit: f32) -> f32 {
        let Some(m) = self.by_id.get(&id) else { return logit };
        let mut logit = logit + m.bias;
        if m.seen {
            logit = penalised(logit, self.repetition);
        }
        if m.said > 0 {
            logit -= self.presence + self.frequency * m.said as f32;
        }
        logit - m.dry
    }
}

/// The repetition penalty of CTRL (Keskar et al. 2019, section 4.1): a logit moves towards less probable.
pub fn penalised(logit: f32, penalty: f32) -> f32 {
    if logit > 0.0 { logit / penalty } else { logit * penalty }
}

/// For each token that would go on with a repetition of what stands at the end, how long that repetition already is: DRY
/// (p-e-w, text-generation-webui#5677). Nothing is repeated across a breaker.
fn repeated(past: &Past) -> BTreeMap<u32, usize> {
    let mut longest = BTreeMap::new();
    let Some((last, before)) = past.seen.split_last() else { return longest };
    let breaks = |id: &u32| past.breakers.binary_search(id).is_ok();
    if breaks(last) {
        return longest;
    }
    for (at, _) in before.iter().enumerate().filter(|(_, id)| *id == last) {
        let next = past.seen[at + 1];
        if breaks(&next) {
            continue;
        }
        let backwards = past.seen[..=at].iter().rev().zip(past.seen.iter().rev());
        let length = backwards.take(LONGEST_MATCH + 1).take_while(|(a, b)| a == b && !breaks(a)).count();
        let entry = longest.entry(next).or_insert(0);
        *entry = length.max(*entry);
    }
    longest
}

/// The ids of `seen` whose text holds one of the breakers, ascending: what `Past::breakers` wants.
pub fn breakers(sampler: &Sampler, seen: &[u32], mut text: impl FnMut(u32) -> Vec<u8>) -> Vec<u32> {
    if sampler.dry_multiplier <= 0.0 || sampler.dry_breakers.is_empty() {
        return Vec::new();
    }
    let mut ids = seen.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let holds = |bytes: &[u8], breaker: &str| !breaker.is_empty() && bytes.windows(breaker.len()).any(|w| w == breaker.as_bytes());
    ids.retain(|id| {
        let bytes = text(*id);
        sampler.dry_breakers.iter().any(|breaker| holds(&bytes, breaker))
    });
    ids
}

impl Sampler {
    /// What is wrong with these settings, in one line that names the setting and its range.
    pub fn problem(&self) -> Option<String> {
        const MAX_BIASES: usize = 1024;
        let rows: [(&str, f32, f32, f32, &str); 9] = [
            ("temperature", self.temperature, 0.0, 100.0, "0 (always the most probable token) to 100"),
            ("top_p", self.top_p, 0.0, 1.0, "between 0 and 1 (1 keeps all)"),
            ("min_p", self.min_p, 0.0, 1.0, "between 0 and 1 (0 keeps all)"),
            ("typical_p", self.typical_p, 0.0, 1.0, "between 0 and 1 (1 keeps all)"),
            ("repetition_penalty", self.repetition_penalty, 0.01, 100.0, "0.01 to 100 (1 penalises nothing)"),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0, "-2 to 2 (0 penalises nothing)"),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0, "-2 to 2 (0 penalises nothing)"),
            ("dry_multiplier", self.dry_multiplier, 0.0, 100.0, "0 (off) to 100"),
            ("dry_base", self.dry_base, 1.0, 10.0, "1 to 10"),
        ];
        let out = rows.iter().find(|(_, value, least, most, _)| !(*least..=*most).contains(value));
        let breaker = || self.dry_breakers.len() > 64 || self.dry_breakers.iter().any(|b| b.len() > 64);
        let bias = self.logit_bias.iter().find(|(_, bias)| !(-100.0..=100.0).contains(*bias));
        match out {
            Some((name, value, .., range)) => Some(format!("{name} = {value}: must be {range}")),
            None if !(1..=LONGEST_MATCH).contains(&self.dry_allowed_length) => {
                Some(format!("dry_allowed_length = {}: must be 1 to {LONGEST_MATCH}", self.dry_allowed_length))
            }
            None if breaker() => Some("dry_breakers: must be at most 64 texts of at most 64 bytes".into()),
            None if self.logit_bias.len() > MAX_BIASES => {
                Some(format!("logit_bias: {} tokens; at most {MAX_BIASES}", self.logit_bias.len()))
            }
            None => bias.map(|(id, bias)| format!("logit_bias of token {id} = {bias}: must be -100 to 100")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(sampler: &Sampler, past: &Past, id: u32, logit: f32) -> f32 {
        Moves::new(sampler, past).apply(id, logit)
    }

    #[test]
    fn penalties_by_hand() {
        let past = Past { seen: &[1, 2, 2, 3, 2], said: 3, breakers: &[] };
        let plain = Sampler::default();
        assert!(Moves::new(&plain, &past).is_empty());
        let repetition = Sampler { repetition_penalty: 2.0, ..plain.clone() };
        assert_eq!(
            (moved(&repetition, &past, 1, 3.0), moved(&repetition, &past, 3, -3.0), moved(&repetition, &past, 9, 3.0)),
            (1.5, -6.0, 3.0)
        );
        // Of the three that were generated, two are 2 and one is 3; the prompt does not count.
        let counted = Sampler { presence_penalty: 0.5, frequency_penalty: 0.25, ..plain.clone() };
        assert_eq!((moved(&counted, &past, 2, 1.0), moved(&counted, &past, 3, 1.0), moved(&counted, &past, 1, 1.0)), (0.0, 0.25, 1.0));
        let bias = Sampler { logit_bias: [(1, 4.0), (7, -100.0)].into(), repetition_penalty: 2.0, ..plain };
        assert_eq!((moved(&bias, &past, 1, -2.0), moved(&bias, &past, 7, 1.0)), (1.0, -99.0));
    }

    #[test]
    fn dry_counts_how_long_the_end_was_there_before() {
        let dry = Sampler { dry_multiplier: 0.8, dry_base: 1.75, dry_allowed_length: 2, ..Sampler::default() };
        // 1 2 3 4 … 1 2 3: another 4 would repeat three tokens; 0.8 · 1.75^(3 − 2).
        let past = Past { seen: &[1, 2, 3, 4, 9, 1, 2, 3], said: 0, breakers: &[] };
        assert!((moved(&dry, &past, 4, 0.0) + 0.8 * 1.75).abs() < 1e-6);
        assert_eq!((moved(&dry, &past, 9, 0.0), moved(&dry, &past, 1, 0.0)), (0.0, 0.0));
        // One token alone may repeat.
        assert_eq!(moved(&dry, &Past { seen: &[3, 4, 9, 3], ..past }, 4, 0.0), 0.0);
        // A breaker within the repetition ends it: 2 3 are left.
        assert!((moved(&dry, &Past { breakers: &[1], ..past }, 4, 0.0) + 0.8).abs() < 1e-6);
        assert_eq!(moved(&dry, &Past { breakers: &[3], ..past }, 4, 0.0), 0.0);
        assert_eq!(moved(&dry, &Past { breakers: &[4], ..past }, 4, 0.0), 0.0);
        // The longest of several counts, and a text that repeats itself for long does not overflow.
        let long: Vec<u32> = std::iter::repeat_n(5, 5000).collect();
        assert!(moved(&dry, &Past { seen: &long, ..past }, 5, 0.0).is_finite());
        let texts = |id: u32| [b"a".to_vec(), b"b\n".to_vec(), b":".to_vec()][id as usize].clone();
        assert_eq!(breakers(&dry, &[2, 0, 1, 2], texts), [1, 2]);
    }

    #[test]
    fn wrong_settings_are_named() {
        let wrong = [
            Sampler { temperature: f32::NAN, ..Sampler::default() },
            Sampler { top_p: 1.5, ..Sampler::default() },
            Sampler { typical_p: -0.1, ..Sampler::default() },
            Sampler { repetition_penalty: 0.0, ..Sampler::default() },
            Sampler { presence_penalty: 3.0, ..Sampler::default() },
            Sampler { frequency_penalty: f32::INFINITY, ..Sampler::default() },
            Sampler { dry_base: 0.5, ..Sampler::default() },
            Sampler { dry_allowed_length: 0, ..Sampler::default() },
            Sampler { logit_bias: [(1, f32::NAN)].into(), ..Sampler::default() },
        ];
        let names: Vec<String> = wrong.iter().map(|s| s.problem().unwrap()).collect();
        for (text, name) in names.iter().zip([
            "temperature",
            "top_p",
            "typical_p",
            "repetition_penalty",
            "presence_penalty",
            "frequency_penalty",
            "dry_base",
            "dry_allowed_length",
            "logit_bias of token 1",
        ]) {
            assert!(text.starts_with(name), "{text}");
        }
        assert_eq!(Sampler::default().problem(), None);
        // A file from before these settings reads as it was meant.
        let old: Sampler =
            serde_json::from_str(r#"{"temperature":0.5,"top_k":3,"top_p":1.0,"min_p":0.0,"repetition_penalty":1.0,"seed":7}"#).unwrap();
        assert_eq!(old, Sampler { temperature: 0.5, top_k: 3, seed: 7, ..Sampler::default() });
    }
}
