//! The model of Bradley and Terry (1952): each player has a strength, and wins against another in the proportion of both.
//! Fitted by the iteration of Hunter (2004, "MM algorithms for generalized Bradley-Terry models").
//! Deliberately not here: who plays.

/// Strengths of players by what they won: `wins[i][j]` of i against j, ties as half a win for both. Their geometric mean is 1.
/// Where somebody has won or lost everything there is no finite strength; then half a win each way is added to every pair
/// that met, and the second value is true.
pub fn strengths(wins: &[Vec<f64>]) -> (Vec<f64>, bool) {
    strengths_to(wins, 1e-12, 10_000)
}

/// The same until no strength moves by more than this share, or after so many rounds.
pub fn strengths_to(wins: &[Vec<f64>], share: f64, rounds: usize) -> (Vec<f64>, bool) {
    let n = wins.len();
    let smoothed = !is_connected(wins);
    let met = |i: usize, j: usize| i != j && (smoothed || wins[i][j] + wins[j][i] > 0.0);
    let won = |i: usize, j: usize| wins[i][j] + if smoothed && i != j { 0.5 } else { 0.0 };
    let total: Vec<f64> = (0..n).map(|i| (0..n).filter(|j| *j != i).map(|j| won(i, j)).sum()).collect();
    let mut strength = vec![1.0; n];
    for _ in 0..rounds {
        let mut next: Vec<f64> = (0..n)
            .map(|i| {
                let games = (0..n).filter(|j| met(i, *j)).map(|j| (won(i, j) + won(j, i)) / (strength[i] + strength[j])).sum::<f64>();
                if games > 0.0 { total[i] / games } else { 1.0 }
            })
            .collect();
        let mean = (next.iter().map(|s| s.ln()).sum::<f64>() / n.max(1) as f64).exp();
        next.iter_mut().for_each(|s| *s /= mean);
        let moved = next.iter().zip(&strength).map(|(a, b)| (a / b).ln().abs()).fold(0.0, f64::max);
        strength = next;
        if moved < share {
            break;
        }
    }
    (strength, smoothed)
}

/// How often each wins against another one chosen by chance.
pub fn win_rates(strengths: &[f64]) -> Vec<f64> {
    let others = strengths.len().saturating_sub(1).max(1) as f64;
    let against = |i: usize| (0..strengths.len()).filter(move |j| *j != i).map(move |j| strengths[i] / (strengths[i] + strengths[j]));
    (0..strengths.len()).map(|i| against(i).sum::<f64>() / others).collect()
}

/// Whether from each player one comes to every other along wins: the condition of Ford (1957) for finite strengths.
fn is_connected(wins: &[Vec<f64>]) -> bool {
    let reaches_all = |forward: bool| {
        let mut seen = vec![false; wins.len()];
        let mut open = vec![0];
        while let Some(i) = open.pop() {
            if !std::mem::replace(&mut seen[i], true) {
                open.extend((0..wins.len()).filter(|j| *j != i && if forward { wins[i][*j] > 0.0 } else { wins[*j][i] > 0.0 }));
            }
        }
        seen.into_iter().all(|s| s)
    };
    wins.is_empty() || (reaches_all(true) && reaches_all(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a logistic regression without intercept on the differences of players (scipy 1.17, BFGS to 1e-12).
    #[test]
    fn strengths_equal_a_logistic_regression() {
        let wins = vec![vec![0.0, 7.0, 9.5, 6.0], vec![3.0, 0.0, 6.0, 8.0], vec![1.5, 4.0, 0.0, 5.5], vec![2.0, 3.0, 4.5, 0.0]];
        let (found, smoothed) = strengths(&wins);
        assert!(!smoothed);
        for (s, want) in found.iter().zip(LOG_STRENGTHS) {
            assert!((s.ln() - want).abs() < 1e-6, "{:?}", found.iter().map(|s| s.ln()).collect::<Vec<_>>());
        }
        let rates = win_rates(&found);
        assert!((rates.iter().sum::<f64>() - 2.0).abs() < 1e-9, "on average half of all is won: {rates:?}");
    }

    #[test]
    fn who_won_everything_gets_a_finite_strength_and_it_is_said() {
        let (found, smoothed) = strengths(&[vec![0.0, 5.0], vec![0.0, 0.0]]);
        assert!(smoothed && (found[0] / found[1] - 11.0).abs() < 1e-6, "{found:?}");
        assert_eq!(strengths(&[]), (vec![], false));
        assert_eq!(strengths(&[vec![0.0]]).0, [1.0]);
    }

    const LOG_STRENGTHS: [f64; 4] = [0.964_554_272_820, 0.133_843_394_853, -0.475_145_549_642, -0.623_252_118_031];
}
