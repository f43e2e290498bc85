//! Drawing one token from logits. The order is: bias and penalties (`penalties`), temperature, top-k, top-p, min-p, typical.
//! Deliberately not here: the model and its cache (`generate`), and what a screen shows of it (`distribution`).

use super::SampleError;
use crate::distribution::typical_limit;
use crate::penalties::{Moves, Past};
use crate::rng::Stream;
use crate::spec::Sampler;

/// A token that may be drawn, and its probability after every filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    pub id: u32,
    pub p: f64,
}

/// Draws the next token. `logits`: one a vocabulary entry; `past`: the text so far. Temperature 0 takes
/// the best (the smallest id of a tie) and leaves the stream as it is; else one number is drawn.
///
/// # Errors
/// A logit that is NaN or +∞, no token that is possible, a setting out of range. −∞ is an impossible token.
pub fn draw(logits: &[f32], past: &Past, sampler: &Sampler, stream: &mut Stream) -> Result<u32, SampleError> {
    let kept = kept(logits, past, sampler)?;
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
pub fn kept(logits: &[f32], past: &Past, sampler: &Sampler) -> Result<Vec<Kept>, SampleError> {
    if let Some(problem) = sampler.problem() {
        return Err(SampleError::Setting(problem));
    }
    check(logits)?;
    let mut moved: Vec<Kept> = logits.iter().enumerate().map(|(id, &l)| Kept { id: id as u32, p: f64::from(l) }).collect();
    let moves = Moves::new(sampler, past);
    for id in moves.ids() {
        if let Some(k) = moved.get_mut(id as usize) {
            k.p = f64::from(moves.apply(id, k.p as f32));
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
    if sampler.typical_p < 1.0 {
        typical(&mut moved, f64::from(sampler.typical_p));
    }
    normalise(&mut moved);
    Ok(moved)
}

/// ln of the sum of all exponentials, which a logit is taken from to be a log-probability.
pub fn log_sum(logits: &[f32]) -> Result<f64, SampleError> {
    check(logits)?;
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return Err(SampleError::Impossible);
    }
    Ok(f64::from(max) + logits.iter().map(|&l| f64::from(l - max).exp()).sum::<f64>().ln())
}

/// log p of every token under the model's own distribution (temperature 1, nothing cut).
pub fn log_probabilities(logits: &[f32]) -> Result<Vec<f32>, SampleError> {
    let sum = log_sum(logits)?;
    Ok(logits.iter().map(|&l| (f64::from(l) - sum) as f32).collect())
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

/// The tokens nearest to the expected surprise, until their mass reaches `p` (locally typical sampling, Meister et al. 2022).
fn typical(kept: &mut Vec<Kept>, p: f64) {
    normalise(kept);
    kept.retain(|k| k.p > 0.0);
    let expected: f64 = kept.iter().map(|k| -k.p * k.p.ln()).sum();
    let distance = |k: &Kept| (-k.p.ln() - expected).abs();
    let mut of: Vec<(f64, f64)> = kept.iter().map(|k| (distance(k), k.p)).collect();
    of.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    if let Some(limit) = typical_limit(&of, p) {
        kept.retain(|k| distance(k) <= limit);
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
        let mut kept = kept(&logits(), &Past::default(), sampler).unwrap();
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
        let seen = kept(&logits(), &Past::prompt(&[1, 1, 99]), &Sampler { repetition_penalty: 3.0, ..one() }).unwrap();
        assert!((seen[1].p - 2.0 / 10.0).abs() < 1e-6, "8^(1/3) = 2 of 10: {}", seen[1].p);
    }

    /// Probabilities by transformers 5.24's processors and warpers of the same names, in its order, on the logits
    /// ln [2, 8, 1, 4, 1, 0.5, 3] after the tokens 1, 1, 3. Ties are cut in another order there, so that they are compared sorted.
    #[test]
    fn filters_are_those_of_transformers() {
        let logits: Vec<f32> = [2.0f32, 8.0, 1.0, 4.0, 1.0, 0.5, 3.0].iter().map(|x| x.ln()).collect();
        let typical = |typical_p| Sampler { typical_p, ..one() };
        let cases: [(Sampler, [f64; 7]); 7] = [
            (typical(0.2), [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
            (typical(0.5), [0.117647, 0.470588, 0.0, 0.235294, 0.0, 0.0, 0.176471]),
            (typical(0.8), [0.117647, 0.470588, 0.0, 0.235294, 0.0, 0.0, 0.176471]),
            (typical(0.95), [0.105263, 0.421053, 0.052632, 0.210526, 0.052632, 0.0, 0.157895]),
            (Sampler { temperature: 0.7, top_k: 5, top_p: 0.8, ..typical(0.6) }, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
            (Sampler { repetition_penalty: 1.5, min_p: 0.2, ..one() }, [0.147931, 0.295861, 0.073965, 0.186381, 0.073965, 0.0, 0.221896]),
            (
                Sampler { logit_bias: [(3, 1.5), (0, -0.5)].into(), repetition_penalty: 1.3, temperature: 1.2, top_p: 0.9, ..one() },
                [0.079228, 0.255788, 0.0, 0.429045, 0.067449, 0.0, 0.168491],
            ),
        ];
        for (sampler, mut want) in cases {
            let mut got = vec![0.0; 7];
            kept(&logits, &Past::prompt(&[1, 1, 3]), &sampler).unwrap().iter().for_each(|k| got[k.id as usize] = k.p);
            got.sort_by(f64::total_cmp);
            want.sort_by(f64::total_cmp);
            assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 2e-6), "{sampler:?}: {got:?} {want:?}");
        }
    }

    #[test]
    fn the_screen_computes_what_the_sampler_does() {
        let mut stream = Stream::new(1, "test");
        let logits: Vec<f32> = (0..300).map(|_| (stream.normal() * 2.0) as f32).collect();
        let d = Distribution::from_logits(&logits, 300, |_| String::new());
        let seen = [d.top[0].id, d.top[3].id, d.top[1].id, d.top[0].id, d.top[3].id];
        let plain = || Sampler { temperature: 0.9, ..Sampler::default() };
        for sampler in [
            plain(),
            Sampler { top_k: 40, top_p: 0.9, ..plain() },
            Sampler { top_p: 0.7, min_p: 0.02, repetition_penalty: 1.3, ..plain() },
            Sampler { top_k: 7, min_p: 0.1, repetition_penalty: 0.8, ..plain() },
            Sampler { top_p: 0.999, ..plain() },
            Sampler { typical_p: 0.5, ..plain() },
            Sampler { typical_p: 0.9, top_k: 50, presence_penalty: 0.7, frequency_penalty: 0.3, ..plain() },
            Sampler { dry_multiplier: 2.0, dry_allowed_length: 1, logit_bias: [(d.top[2].id, -3.0), (d.top[9].id, 1.0)].into(), ..plain() },
        ] {
            let past = Past { seen: &seen, said: 3, breakers: &[] };
            let chances = d.probabilities(&sampler, &past);
            let kept = kept(&logits, &past, &sampler).unwrap();
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
            (0..4000).map(|_| draw(&logits(), &Past::default(), &sampler, &mut stream).unwrap()).collect::<Vec<u32>>()
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
        assert_eq!(draw(&logits(), &Past::default(), &greedy, &mut stream).unwrap(), 1);
        assert_eq!(draw(&[1.0, 5.0, 5.0], &Past::default(), &greedy, &mut stream).unwrap(), 1);
        assert_eq!(stream, before);
        // A temperature near 0 underflows every other weight and still works.
        assert_eq!(draw(&logits(), &Past::default(), &Sampler { temperature: 1e-30, ..one() }, &mut stream).unwrap(), 1);
    }

    #[test]
    fn logits_that_are_not_numbers_are_named() {
        let mut stream = Stream::new(0, "sample");
        let mut try_draw = |logits: &[f32]| draw(logits, &Past::default(), &one(), &mut stream);
        assert!(matches!(try_draw(&[0.0, f32::NAN]), Err(SampleError::NotFinite { id: 1, .. })));
        assert!(matches!(try_draw(&[f32::INFINITY, 0.0]), Err(SampleError::NotFinite { id: 0, .. })));
        assert!(matches!(try_draw(&[f32::NEG_INFINITY; 3]), Err(SampleError::Impossible)));
        assert!(matches!(try_draw(&[]), Err(SampleError::Impossible)));
        assert_eq!(try_draw(&[f32::NEG_INFINITY, 0.0]).unwrap(), 1);
        assert!(log_probabilities(&[f32::NAN]).is_err());
        assert!((log_probabilities(&logits()).unwrap()[1] - 0.5f32.ln()).abs() < 1e-6);
    }
}
