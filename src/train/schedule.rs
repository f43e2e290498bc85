//! The learning rate of each step. A pure function of the step, so that a resume has nothing to restore.
//! Deliberately not here: which step it is (`drive`), and what the rate is used for (`optim`).

use crate::recipe::OptimSection;

/// How the rate goes on after the warmup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Constant,
    Cosine,
    Wsd,
}

/// Warmup, then constant, cosine, or warmup–stable–decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub shape: Shape,
    pub lr: f64,
    pub min_lr: f64,
    pub warmup: u64,
    pub steps: u64,
    /// The share of all steps in which `wsd` decays.
    pub decay_fraction: f64,
}

impl Schedule {
    /// `steps` is given apart, since a recipe may count epochs.
    pub fn of_recipe(optim: &OptimSection, steps: u64) -> Result<Self, String> {
        let shape = match optim.schedule.as_str() {
            "constant" => Shape::Constant,
            "cosine" => Shape::Cosine,
            "wsd" => Shape::Wsd,
            other => return Err(format!("optim.schedule: {other:?} is not one of constant, cosine, wsd")),
        };
        let min_lr = optim.min_lr.unwrap_or(optim.lr / 10.0);
        Ok(Self { shape, lr: optim.lr, min_lr, warmup: optim.warmup as u64, steps, decay_fraction: optim.decay_fraction })
    }

    /// The rate of the step that has `done` steps before it (counted from 0).
    ///
    /// Warmup: `lr · (done + 1) / warmup` for `done < warmup`, so that the first step is not wasted on a rate of 0.
    /// Cosine (Loshchilov & Hutter 2017, as in nanoGPT): `min + (lr − min) · ½(1 + cos πp)` with
    /// `p = (done − warmup) / (steps − warmup)`.
    /// WSD (Hu et al. 2024, MiniCPM): `lr` until the last `decay_fraction · steps` steps, then linearly to `min`,
    /// which the step after the last one would have.
    pub fn at(&self, done: u64) -> f64 {
        if done < self.warmup {
            return self.lr * (done + 1) as f64 / self.warmup as f64;
        }
        match self.shape {
            Shape::Constant => self.lr,
            Shape::Cosine => {
                let length = self.steps.saturating_sub(self.warmup).max(1);
                let p = ((done - self.warmup) as f64 / length as f64).min(1.0);
                self.min_lr + (self.lr - self.min_lr) * 0.5 * (1.0 + (std::f64::consts::PI * p).cos())
            }
            Shape::Wsd => {
                let decay = (self.steps as f64 * self.decay_fraction).round();
                let left = self.steps.saturating_sub(done) as f64;
                if left >= decay { self.lr } else { self.min_lr + (self.lr - self.min_lr) * left / decay }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Schedule = Schedule { shape: Shape::Cosine, lr: 1e-3, min_lr: 1e-4, warmup: 3, steps: 10, decay_fraction: 0.2 };

    #[test]
    fn wsd_holds_and_then_falls_in_a_line() {
        let s = Schedule { shape: Shape::Wsd, ..BASE };
        assert_eq!(s.at(3), 1e-3);
        assert_eq!(s.at(8), 1e-3);
        assert!((s.at(9) - 5.5e-4).abs() < 1e-12);
        assert!((s.at(10) - 1e-4).abs() < 1e-12);
    }

    #[test]
    fn a_warmup_longer_than_the_run_and_no_warmup_are_both_finite() {
        for warmup in [0, 10, 50] {
            for shape in [Shape::Constant, Shape::Cosine, Shape::Wsd] {
                let s = Schedule { shape, warmup, ..BASE };
                assert!((0..=12).all(|i| s.at(i).is_finite() && s.at(i) > 0.0 && s.at(i) <= 1e-3), "{s:?}");
            }
        }
    }
}
