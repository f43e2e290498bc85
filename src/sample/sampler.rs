//! Drawing one token from logits. The order is: repetition penalty, temperature, top-k, top-p, min-p.
//! Deliberately not here: the model and its cache (`generate`), and what a screen shows of it (`distribution`).

use super::SampleError;
use crate::distribution::penalised;
use crate::rng::Stream;
use crate::spec::Sampler;

/// A token that may be drawn, and its probability after every filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    pub id: u32,
    pub p: f64,
}

/// Draws the next token. `logits`: one a vocabulary entry; `seen`: the ids of the text so far. Temperature 0 takes
/// the best (the smallest id of a tie) and leaves the stream as it is; else one number is drawn.
///
/// # Errors
/// A logit that is NaN or +∞, no token that is possible, a setting out of range. −∞ is an impossible token.
pub fn draw(logits: &[f32], seen: &[u32], sampler: &Sampler, stream: &mut Stream) -> Result<u32, SampleError> {
    let kept = kept(logits, seen, sampler)?;
    let last = kept.last().map(|k| k.id).ok_or(SampleError::Impossible)?;
    if kept.len() == 1 && sampler.temperature <= 0.0 {
        return Ok(last);
    }
    let u = stream.uniform();
    let mut sum = 0.0;
    for k in &kept {
        sum += k.p;
        if u < sum {
            return Ok(k.id);
        }
    }
    Ok(last) // rounding can leave the sum a little short of 1
}

/// The tokens that pass every filter with their probabilities, which sum to 1; best first where a filter sorted.
pub fn kept(logits: &[f32], seen: &[u32], sampler: &Sampler) -> Result<Vec<Kept>, SampleError> {
    if let Some(problem) = sampler.problem() {
        return Err(SampleError::Setting(problem));
    }
    check(logits)?;
    let mut moved: Vec<Kept> = logits.iter().enumerate().map(|(id, &l)| Kept { id: id as u32, p: f64::from(l) }).collect();
    if sampler.repetition_penalty != 1.0 {
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            if let Some(k) = moved.get_mut(id as usize) {
                k.p = f64::from(penalised(k.p as f32, sampler.repetition_penalty));
            }
        }
    }
    moved.retain(|k| k.p > f64::NEG_INFINITY);
    let best = moved.iter().copied().reduce(|a, b| if b.p > a.p { b } else { a }).ok_or(SampleError::Impossible)?;
    if sampler.temperature <= 0.0 {
        return Ok(vec![Kept { id: best.id, p: 1.0 }]);
    }
    // A tiny temperature makes the quotient −∞, whose exponential is the right 0.
    moved.iter_mut().for_each(|k| k.p = ((k.p - best.p) / f64::from(sampler.temperature)).exp());
    top_k(&mut moved, sampler.top_k);
    top_p(&mut moved, f64::from(sampler.top_p));
    let least = f64::from(sampler.min_p); // the best has weight 1
    moved.retain(|k| k.p >= least);
    normalise(&mut moved);
    Ok(moved)
}

/// log p of every token under the model's own distribution (temperature 1, nothing cut).
pub fn log_probabilities(logits: &[f32]) -> Result<Vec<f32>, SampleError> {
    check(logits)?;
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return Err(SampleError::Impossible);
    }
    let log_sum = logits.iter().map(|&l| f64::from(l - max).exp()).sum::<f64>().ln();
    Ok(logits.iter().map(|&l| (f64::from(l - max) - log_sum) as f32).collect())
}

fn check(logits: &[f32]) -> Result<(), SampleError> {
    match logits.iter().position(|l| l.is_nan() || *l == f32::INFINITY) {
        Some(id) => Err(SampleError::NotFinite { id, value: logits[id] }),
        None => Ok(()),
    }
}

fn best_first(a: &Kept, b: &Kept) -> std::cmp::Ordering {
    b.p.total_cmp(&a.p).then(a.id.cmp(&b.id))
}

fn top_k(kept: &mut Vec<Kept>, k: usize) {
    if k > 0 && k < kept.len() {
        kept.select_nth_unstable_by(k - 1, best_first);
        kept.truncate(k);
    }
    if k > 0 {
        kept.sort_unstable_by(best_first);
    }
}

/// The smallest set of best tokens whose mass reaches `p` (nucleus sampling, Holtzman et al. 2020).
fn top_p(kept: &mut Vec<Kept>, p: f64) {
    if p >= 1.0 {
        return;
    }
    let mass: f64 = kept.iter().map(|k| k.p).sum();
    // Tokens under this bound weigh less than 1 − p together, so the set lies above it and the sort stays short.
    let bound = (1.0 - p) * mass / kept.len() as f64 * (1.0 - 1e-9);
    let best = kept.iter().copied().min_by(best_first);
    kept.retain(|k| k.p >= bound);
    kept.sort_unstable_by(best_first);
    let mut sum = 0.0;
    let mut n = 0;
    for k in kept.iter() {
        if sum >= p * mass {
            break;
        }
        sum += k.p;
        n += 1;
    }
    kept.truncate(n.max(1));
    if kept.is_empty() {
        kept.extend(best);
    }
}

fn normalise(kept: &mut [Kept]) {
    let sum: f64 = kept.iter().map(|k| k.p).sum();
    kept.iter_mut().for_each(|k| k.p /= sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Distribution;

    fn one() -> Sampler {
        Sampler { temperature: 1.0, ..Sampler::default() }
    }

    fn logits() -> Vec<f32> {
        // Probabilities 1/8, 1/2, 1/16, 1/4, 1/16.
        [2.0f32, 8.0, 1.0, 4.0, 1.0].iter().map(|x| x.ln()).collect()
    }

    fn ids_and_percent(sampler: &Sampler) -> Vec<(u32, f64)> {
        let mut kept = kept(&logits(), &[], sampler).unwrap();
        kept.sort_by(best_first);
        kept.iter().map(|k| (k.id, (k.p * 1e4).round() / 100.0)).collect()
    }

    #[test]
    fn hand_computed_filters() {
        assert_eq!(ids_and_percent(&one()), [(1, 50.0), (3, 25.0), (0, 12.5), (2, 6.25), (4, 6.25)]);
        assert_eq!(ids_and_percent(&Sampler { top_k: 2, ..one() }), [(1, 66.67), (3, 33.33)]);
        assert_eq!(ids_and_percent(&Sampler { top_p: 0.8, ..one() }), [(1, 57.14), (3, 28.57), (0, 14.29)]);
        assert_eq!(ids_and_percent(&Sampler { top_p: 0.0, ..one() }), [(1, 100.0)]);
        assert_eq!(ids_and_percent(&Sampler { min_p: 0.2, ..one() }), [(1, 57.14), (3, 28.57), (0, 14.29)]);
        assert_eq!(ids_and_percent(&Sampler { temperature: 0.5, top_k: 3, ..one() }), [(1, 76.19), (3, 19.05), (0, 4.76)]);
        // A tie at the border of top-k goes to the smaller id.
        assert_eq!(ids_and_percent(&Sampler { top_k: 4, ..one() }).last().unwrap().0, 2);
        let seen = kept(&logits(), &[1, 1, 99], &Sampler { repetition_penalty: 3.0, ..one() }).unwrap();
        assert!((seen[1].p - 2.0 / 10.0).abs() < 1e-6, "8^(1/3) = 2 of 10: {}", seen[1].p);
    }

    #[test]
    fn the_screen_computes_what_the_sampler_does() {
        let mut stream = Stream::new(1, "test");
        let logits: Vec<f32> = (0..300).map(|_| (stream.normal() * 2.0) as f32).collect();
        let d = Distribution::from_logits(&logits, 300, |_| String::new());
        for (top_k, top_p, min_p, repetition_penalty) in
            [(0, 1.0, 0.0, 1.0), (40, 0.9, 0.0, 1.0), (0, 0.7, 0.02, 1.3), (7, 1.0, 0.1, 0.8), (0, 0.999, 0.0, 1.0)]
        {
            let sampler = Sampler { temperature: 0.9, top_k, top_p, min_p, repetition_penalty, seed: 0 };
            let seen = [d.top[0].id, d.top[3].id];
            let chances = d.probabilities(&sampler, &seen);
            let kept = kept(&logits, &seen, &sampler).unwrap();
            assert_eq!(kept.len(), chances.iter().filter(|c| c.kept).count());
            for k in kept {
                let place = d.top.iter().position(|c| c.id == k.id).unwrap();
                assert!((f64::from(chances[place].p) - k.p).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn draws_follow_the_probabilities_and_the_seed() {
        let sampler = one();
        let draw_many = |seed| {
            let mut stream = Stream::new(seed, "sample");
            (0..4000).map(|_| draw(&logits(), &[], &sampler, &mut stream).unwrap()).collect::<Vec<u32>>()
        };
        let drawn = draw_many(3);
        assert_eq!(drawn, draw_many(3));
        assert_ne!(drawn, draw_many(4));
        for (id, p) in [(0, 0.125), (1, 0.5), (2, 0.0625), (3, 0.25), (4, 0.0625)] {
            let share = drawn.iter().filter(|d| **d == id).count() as f64 / 4000.0;
            assert!((share - p).abs() < 0.03, "{id}: {share}");
        }
    }

    #[test]
    fn greedy_takes_the_best_and_draws_nothing() {
        let mut stream = Stream::new(0, "sample");
        let before = stream.clone();
        let greedy = Sampler { temperature: 0.0, ..one() };
        assert_eq!(draw(&logits(), &[], &greedy, &mut stream).unwrap(), 1);
        assert_eq!(draw(&[1.0, 5.0, 5.0], &[], &greedy, &mut stream).unwrap(), 1);
        assert_eq!(stream, before);
        // A temperature near 0 underflows every other weight and still works.
        assert_eq!(draw(&logits(), &[], &Sampler { temperature: 1e-30, ..one() }, &mut stream).unwrap(), 1);
    }

    #[test]
    fn logits_that_are_not_numbers_are_named() {
        let mut stream = Stream::new(0, "sample");
        let mut try_draw = |logits: &[f32]| draw(logits, &[], &one(), &mut stream);
        assert!(matches!(try_draw(&[0.0, f32::NAN]), Err(SampleError::NotFinite { id: 1, .. })));
        assert!(matches!(try_draw(&[f32::INFINITY, 0.0]), Err(SampleError::NotFinite { id: 0, .. })));
        assert!(matches!(try_draw(&[f32::NEG_INFINITY; 3]), Err(SampleError::Impossible)));
        assert!(matches!(try_draw(&[]), Err(SampleError::Impossible)));
        assert_eq!(try_draw(&[f32::NEG_INFINITY, 0.0]).unwrap(), 1);
        assert!(log_probabilities(&[f32::NAN]).is_err());
        assert!((log_probabilities(&logits()).unwrap()[1] - 0.5f32.ln()).abs() < 1e-6);
    }
}
