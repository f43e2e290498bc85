//! The arithmetic of a next token's distribution: from logits to candidates, and from candidates to what a sampler
//! makes of them, so that a screen can slide the temperature without asking the model again.
//! Deliberately not here: drawing a token (`sample::sampler`), which needs every logit and a random stream.

use crate::penalties::{Moves, Past};
use crate::report::{Candidate, Distribution};
use crate::spec::Sampler;

/// Histogram bins of the tail are this wide, in logits. Replacing a bin by its mean errs by about
/// (width / temperature)² / 24 of the bin's mass: 0.3 % at temperature 1, and tails weigh little below that.
const BIN: f32 = 0.25;
const MAX_BINS: usize = 128;

/// What a sampler makes of one candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chance {
    /// The probability with which it is drawn after every filter; 0 where a filter cut it.
    pub p: f32,
    /// Its probability after the penalties and the temperature, before the filters.
    pub before: f32,
    pub kept: bool,
}

impl Distribution {
    /// The `top` best of `logits` (one a vocabulary entry; none NaN) exactly, all others as a histogram.
    /// `text` names a token. Ties go to the smaller id.
    pub fn from_logits(logits: &[f32], top: usize, text: impl Fn(u32) -> String) -> Self {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let top = top.min(order.len());
        if top > 0 && top < order.len() {
            order.select_nth_unstable_by(top - 1, by_logit);
        }
        order[..top].sort_unstable_by(by_logit);
        let (max, sum) = normaliser(logits.iter().map(|&l| (l, 1)), 1.0);
        let candidate = |&id: &u32| {
            let logit = logits[id as usize];
            Candidate { id, text: text(id), logit, probability: (f64::from(logit - max).exp() / sum) as f32 }
        };
        Self { top: order[..top].iter().map(candidate).collect(), tail: histogram(order[top..].iter().map(|&id| logits[id as usize])) }
    }

    /// From a token's alternatives alone. What is left of the probability is put behind them in one bin, so that
    /// temperature 1 is exact and others are about right.
    pub fn of_candidates(best: &[Candidate]) -> Self {
        let left = 1.0 - best.iter().map(|c| f64::from(c.probability)).sum::<f64>();
        let tail = best.last().zip(best.first()).filter(|(_, first)| left > 1e-6 && first.probability > 0.0).map(|(last, first)| {
            let logit = last.logit - 1.0;
            let each = f64::from(first.probability) * f64::from(logit - first.logit).exp();
            (logit, (left / each).clamp(1.0, 1e9) as u32)
        });
        Self { top: best.to_vec(), tail: tail.into_iter().collect() }
    }

    /// What `sampler` makes of the candidates in `top`, in their order. Penalties move tokens of the past, and a bias its
    /// own (tokens of the tail are not told apart, so that both leave the tail alone).
    pub fn probabilities(&self, sampler: &Sampler, past: &Past) -> Vec<Chance> {
        if self.top.is_empty() {
            return Vec::new();
        }
        // Entries are (logit, how many tokens, place in `top`), best first.
        let mut entries: Vec<(f32, u32, Option<usize>)> = Vec::with_capacity(self.top.len() + self.tail.len());
        let moves = Moves::new(sampler, past);
        for (place, candidate) in self.top.iter().enumerate() {
            entries.push((moves.apply(candidate.id, candidate.logit), 1, Some(place)));
        }
        entries.extend(self.tail.iter().map(|&(logit, count)| (logit, count, None)));
        entries.retain(|e| e.0 > f32::NEG_INFINITY && e.1 > 0);
        entries.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut out = vec![Chance::default(); self.top.len()];
        if sampler.temperature <= 0.0 {
            let best = entries.iter().find_map(|e| e.2).unwrap_or(0);
            out[best] = Chance { p: 1.0, before: 1.0, kept: true };
            return out;
        }
        let (max, sum) = normaliser(entries.iter().map(|e| (e.0, e.1)), sampler.temperature);
        let weight = |logit: f32| f64::from((logit - max) / sampler.temperature).exp();
        let kept = keep(&entries, weight, sampler);
        let total: f64 = entries.iter().zip(&kept).map(|(e, &n)| weight(e.0) * f64::from(n)).sum();
        for (entry, &n) in entries.iter().zip(&kept) {
            if let Some(place) = entry.2 {
                let kept = n > 0;
                let p = if kept { (weight(entry.0) / total) as f32 } else { 0.0 };
                out[place] = Chance { p, before: (weight(entry.0) / sum) as f32, kept };
            }
        }
        out
    }

    /// How many tokens the distribution is over.
    pub fn tokens(&self) -> u64 {
        self.top.len() as u64 + self.tail.iter().map(|t| u64::from(t.1)).sum::<u64>()
    }

    /// Entropy in bits of the whole distribution at a temperature: how undecided the model is.
    pub fn entropy_bits(&self, temperature: f32) -> f64 {
        if temperature <= 0.0 {
            return 0.0;
        }
        let all = || self.top.iter().map(|c| (c.logit, 1)).chain(self.tail.iter().copied());
        let (max, sum) = normaliser(all(), temperature);
        let nats: f64 = all()
            .filter(|(logit, _)| *logit > f32::NEG_INFINITY)
            .map(|(logit, n)| {
                let log_p = f64::from((logit - max) / temperature) - sum.ln();
                -f64::from(n) * log_p.exp() * log_p
            })
            .sum();
        (nats / std::f64::consts::LN_2).max(0.0)
    }
}

/// How many tokens of each entry pass top-k, then top-p of what is left, then min-p, then typical. Entries are best first.
fn keep(entries: &[(f32, u32, Option<usize>)], weight: impl Fn(f32) -> f64, sampler: &Sampler) -> Vec<u32> {
    let mut left = if sampler.top_k == 0 { u64::MAX } else { sampler.top_k as u64 };
    let mut kept: Vec<u32> = entries
        .iter()
        .map(|e| {
            let n = u64::from(e.1).min(left);
            left -= n;
            n as u32
        })
        .collect();
    if sampler.top_p < 1.0 {
        let mass: f64 = entries.iter().zip(&kept).map(|(e, &n)| weight(e.0) * f64::from(n)).sum();
        let mut before = 0.0;
        for (place, (entry, n)) in entries.iter().zip(&mut kept).enumerate() {
            let each = weight(entry.0);
            // A token is kept while the mass before it is short of top_p; the first one always is.
            let room = (f64::from(sampler.top_p) * mass - before) / each;
            let pass = if room <= 0.0 { 0 } else { (room.ceil() as u64).min(u64::from(*n)) as u32 };
            before += each * f64::from(*n);
            *n = if place == 0 { pass.max(1).min(entry.1) } else { pass };
        }
    }
    if sampler.min_p > 0.0 {
        let least = entries.first().map_or(0.0, |e| weight(e.0)) * f64::from(sampler.min_p);
        for (entry, n) in entries.iter().zip(&mut kept) {
            if weight(entry.0) < least {
                *n = 0;
            }
        }
    }
    if sampler.typical_p < 1.0 {
        keep_typical(entries, weight, f64::from(sampler.typical_p), &mut kept);
    }
    kept
}

/// Keeps the tokens nearest to the expected surprise until their mass reaches `p`; those as near as the last one stay too.
fn keep_typical(entries: &[(f32, u32, Option<usize>)], weight: impl Fn(f32) -> f64, p: f64, kept: &mut [u32]) {
    let mass: f64 = entries.iter().zip(kept.iter()).map(|(e, &n)| weight(e.0) * f64::from(n)).sum();
    let surprise = |logit: f32| -(weight(logit) / mass).ln();
    let mut of: Vec<(f64, f64)> = Vec::new(); // (distance from the expected, mass)
    let all = || entries.iter().zip(kept.iter()).filter(|(e, n)| **n > 0 && weight(e.0) > 0.0);
    let expected: f64 = all().map(|(e, &n)| f64::from(n) * weight(e.0) / mass * surprise(e.0)).sum();
    // Tokens of one entry are equally far, so that they are kept or cut together.
    of.extend(all().map(|(e, &n)| ((surprise(e.0) - expected).abs(), f64::from(n) * weight(e.0) / mass)));
    of.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some(limit) = typical_limit(&of, p) else { return };
    for (entry, n) in entries.iter().zip(kept.iter_mut()) {
        if *n > 0 && (surprise(entry.0) - expected).abs() > limit {
            *n = 0;
        }
    }
}

/// The distance of the last token that is kept: the first at which the mass reaches `p`. `of` is (distance, mass), nearest first.
pub fn typical_limit(of: &[(f64, f64)], p: f64) -> Option<f64> {
    let mut sum = 0.0;
    let below = of.iter().take_while(|(_, mass)| {
        sum += mass;
        sum < p
    });
    let at = below.count();
    of.get(at.min(of.len().saturating_sub(1))).map(|(distance, _)| *distance)
}

/// The greatest logit and Σ n · exp((logit − max) / temperature).
fn normaliser(logits: impl Iterator<Item = (f32, u32)> + Clone, temperature: f32) -> (f32, f64) {
    let max = logits.clone().map(|l| l.0).fold(f32::NEG_INFINITY, f32::max);
    let sum = logits.map(|(l, n)| f64::from(n) * f64::from((l - max) / temperature).exp()).sum();
    (max, sum)
}

/// (mean logit, count) of equal bins from the best down; impossible tokens (−∞) are in no bin.
fn histogram(logits: impl Iterator<Item = f32> + Clone) -> Vec<(f32, u32)> {
    let finite = logits.filter(|l| l.is_finite());
    let (min, max) = finite.clone().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), l| (a.min(l), b.max(l)));
    if min > max {
        return Vec::new();
    }
    let width = BIN.max((max - min) / MAX_BINS as f32);
    let mut bins = vec![(0.0f64, 0u32); MAX_BINS];
    for logit in finite {
        let bin = &mut bins[(((max - logit) / width) as usize).min(MAX_BINS - 1)];
        *bin = (bin.0 + f64::from(logit), bin.1 + 1);
    }
    bins.into_iter().filter(|b| b.1 > 0).map(|(sum, n)| ((sum / f64::from(n)) as f32, n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn sampler() -> Sampler {
        Sampler { temperature: 1.0, ..Sampler::default() }
    }

    fn known() -> Distribution {
        // exp gives 8, 4, 2, 1, 1: probabilities 1/2, 1/4, 1/8, 1/16, 1/16.
        let logits: Vec<f32> = [8.0f32, 4.0, 2.0, 1.0, 1.0].iter().map(|x| x.ln()).collect();
        Distribution::from_logits(&logits, 5, |id| id.to_string())
    }

    fn ps(d: &Distribution, s: &Sampler) -> Vec<f32> {
        d.probabilities(s, &Past::default()).iter().map(|c| (c.p * 1e5).round() / 1e5).collect()
    }

    #[test]
    fn hand_computed_filters() {
        let d = known();
        assert_eq!(ps(&d, &sampler()), [0.5, 0.25, 0.125, 0.0625, 0.0625]);
        assert_eq!(ps(&d, &Sampler { top_k: 2, ..sampler() }), [0.66667, 0.33333, 0.0, 0.0, 0.0]);
        // 0.5 + 0.25 falls short of 0.8, so the third is in.
        assert_eq!(ps(&d, &Sampler { top_p: 0.8, ..sampler() }), [0.57143, 0.28571, 0.14286, 0.0, 0.0]);
        assert_eq!(ps(&d, &Sampler { top_p: 0.0, ..sampler() }), [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(ps(&d, &Sampler { min_p: 0.3, ..sampler() }), [0.66667, 0.33333, 0.0, 0.0, 0.0]);
        assert_eq!(ps(&d, &Sampler { temperature: 0.0, ..sampler() }), [1.0, 0.0, 0.0, 0.0, 0.0]);
        // Temperature 0.5 squares: 64, 16, 4, 1, 1 of 86.
        assert_eq!(ps(&d, &Sampler { temperature: 0.5, ..sampler() }), [0.74419, 0.18605, 0.04651, 0.01163, 0.01163]);
        // The order: top-p counts within what top-k left (2/3 reaches 0.6).
        assert_eq!(ps(&d, &Sampler { top_k: 2, top_p: 0.6, ..sampler() }), [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert!((d.entropy_bits(1.0) - 1.875).abs() < 1e-5, "{}", d.entropy_bits(1.0));
    }

    #[test]
    fn the_penalty_moves_seen_tokens_alone() {
        let d = known();
        let chances = d.probabilities(&Sampler { repetition_penalty: 2.0, ..sampler() }, &Past::prompt(&[0]));
        // ln 8 / 2 = ln 2.83: of 10.83.
        let root = 8f32.sqrt();
        assert!((chances[0].p - root / (8.0 + root)).abs() < 1e-5);
        assert!((chances[1].p - 4.0 / (8.0 + root)).abs() < 1e-5);
    }

    #[test]
    fn the_histogram_gives_the_normaliser_at_any_temperature() {
        let mut stream = Stream::new(5, "logits");
        let logits: Vec<f32> = (0..4096).map(|_| (stream.normal() * 2.5) as f32).collect();
        let few = Distribution::from_logits(&logits, 20, |_| String::new());
        assert_eq!(few.tokens(), 4096);
        assert!(few.tail.len() <= MAX_BINS);
        for temperature in [0.3f32, 0.7, 1.0, 1.5, 3.0] {
            let exact: f64 = logits.iter().map(|&l| f64::from(l / temperature).exp()).sum();
            let got = few.probabilities(&Sampler { temperature, ..sampler() }, &Past::default());
            for (chance, candidate) in got.iter().zip(&few.top) {
                let want = f64::from(candidate.logit / temperature).exp() / exact;
                assert!((f64::from(chance.p) / want - 1.0).abs() < 5e-3, "{temperature}: {} {want}", chance.p);
            }
        }
    }

    #[test]
    fn alternatives_alone_give_the_probabilities_at_temperature_1() {
        let mut stream = Stream::new(6, "logits");
        let logits: Vec<f32> = (0..1000).map(|_| (stream.normal() * 2.0) as f32).collect();
        let best = Distribution::from_logits(&logits, 8, |_| String::new()).top;
        let chances = Distribution::of_candidates(&best).probabilities(&sampler(), &Past::default());
        for (chance, candidate) in chances.iter().zip(&best) {
            assert!((chance.p / candidate.probability - 1.0).abs() < 0.02, "{} {}", chance.p, candidate.probability);
        }
        assert!(Distribution::of_candidates(&[]).probabilities(&sampler(), &Past::default()).is_empty());
    }

    #[test]
    fn impossible_tokens_stay_impossible() {
        let d = Distribution::from_logits(&[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY], 2, |id| id.to_string());
        assert_eq!(d.top[0].id, 1);
        assert_eq!(d.probabilities(&sampler(), &Past::default())[0].p, 1.0);
        assert!(Distribution::default().probabilities(&sampler(), &Past::default()).is_empty());
    }
}
