//! Rotary positions: how fast each pair of numbers turns, unscaled and by the ways in which models are stretched to longer
//! texts. Formulas as in transformers' `modeling_rope_utils.py`.
//! Deliberately not here: the rotation itself (`ops`), and learned tables of positions.

use candle_core::{DType, Device, Result, Tensor};
use std::f64::consts::PI;

/// One rotation of queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the wavelengths.
    pub theta: f64,
    /// Numbers of each head that turn, from the first on.
    pub dims: usize,
    pub scaling: Scaling,
}

/// How positions beyond those of the first training are reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    None,
    /// Positions divided by `factor` (Chen et al. 2023).
    Linear {
        factor: f64,
    },
    /// A base that grows with the text once it is longer than `original` (bloc97 and emozilla 2023).
    Dynamic {
        factor: f64,
        original: usize,
    },
    /// Long wavelengths divided by `factor`, short ones not, smoothly between (Llama 3.1).
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: usize,
    },
    /// The same with a ramp over dimensions, and a gain of cosines and sines (Peng et al. 2023).
    Yarn {
        factor: f64,
        original: usize,
        fast: f64,
        slow: f64,
        truncate: bool,
        gain: f64,
    },
    /// A divisor for each pair of numbers, others for texts longer than `original` (Ding et al. 2024, LongRoPE).
    Long {
        short: Vec<f64>,
        long: Vec<f64>,
        original: usize,
        gain: f64,
    },
}

/// Cosines and sines of the positions of one pass: (tokens, dims / 2) each.
#[derive(Clone)]
pub struct Angles {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl Rope {
    pub fn new(theta: f64, dims: usize) -> Self {
        Self { theta, dims, scaling: Scaling::None }
    }

    /// A divisor for each pair of numbers, and what cosines and sines are multiplied with: the scaling in a form that does not
    /// depend on the text; none without a scaling, or where it does depend on it.
    pub fn divisors(&self) -> Option<(Vec<f64>, f64)> {
        match self.scaling {
            Scaling::None | Scaling::Dynamic { .. } | Scaling::Long { .. } => None,
            Scaling::Linear { .. } | Scaling::Llama3 { .. } | Scaling::Yarn { .. } => {
                let (speeds, gain) = self.speeds(0);
                let plain = Self::new(self.theta, self.dims).speeds(0).0;
                Some((plain.into_iter().zip(speeds).map(|(plain, scaled)| plain / scaled).collect(), gain))
            }
        }
    }

    /// Radians a position for each pair of numbers, in a text of so many tokens, and what cosines and sines are multiplied
    /// with.
    fn speeds(&self, tokens: usize) -> (Vec<f64>, f64) {
        let d = self.dims as f64;
        let with_base = |base: f64| (0..self.dims / 2).map(move |i| base.powf(-2.0 * i as f64 / d));
        let plain = || with_base(self.theta);
        match &self.scaling {
            Scaling::None => (plain().collect(), 1.0),
            Scaling::Linear { factor } => (plain().map(|f| f / factor).collect(), 1.0),
            Scaling::Dynamic { factor, original } => {
                let length = tokens.max(*original) as f64;
                let grown = self.theta * (factor * length / *original as f64 - (factor - 1.0)).powf(d / (d - 2.0));
                (with_base(grown).collect(), 1.0)
            }
            Scaling::Llama3 { factor, low, high, original } => {
                let one = |f: f64| {
                    let turns = *original as f64 * f / (2.0 * PI);
                    match turns {
                        t if t < *low => f / factor,
                        t if t > *high => f,
                        t => {
                            let share = (t - low) / (high - low);
                            (1.0 - share) * f / factor + share * f
                        }
                    }
                };
                (plain().map(one).collect(), 1.0)
            }
            Scaling::Yarn { factor, original, fast, slow, truncate, gain } => {
                let place = |turns: f64| d * (*original as f64 / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
                let (mut low, mut high) = (place(*fast), place(*slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(d - 1.0));
                if low == high {
                    high += 0.001;
                }
                let one = |(i, f): (usize, f64)| {
                    let slowed = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    f / factor * slowed + f * (1.0 - slowed)
                };
                (plain().enumerate().map(one).collect(), *gain)
            }
            Scaling::Long { short, long, original, gain } => {
                let divisors = if tokens > *original { long } else { short };
                (plain().zip(divisors).map(|(f, by)| f / by).collect(), *gain)
            }
        }
    }

    /// The angles of spans of tokens: first positions and lengths, each span being the end of a text of its own.
    pub fn angles(&self, spans: &[(usize, usize)], dtype: DType, device: &Device) -> Result<Angles> {
        let half = self.dims / 2;
        let total: usize = spans.iter().map(|(_, new)| new).sum();
        let (mut cos, mut sin) = (Vec::with_capacity(total * half), Vec::with_capacity(total * half));
        for &(start, new) in spans {
            let (speeds, gain) = self.speeds(start + new);
            for (place, speed) in (start..start + new).flat_map(|p| speeds.iter().map(move |f| (p, f))) {
                let angle = place as f64 * speed;
                cos.push(angle.cos() * gain);
                sin.push(angle.sin() * gain);
            }
        }
        let table = |values: Vec<f64>| Tensor::from_vec(values, (total, half), &Device::Cpu)?.to_dtype(dtype)?.to_device(device);
        Ok(Angles { cos: table(cos)?, sin: table(sin)? })
    }
}

/// What transformers multiplies cosines and sines with where a `yarn` config does not say it.
pub fn yarn_gain(factor: f64, mscale: Option<f64>, mscale_all_dim: Option<f64>) -> f64 {
    let of = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
    match (mscale.filter(|m| *m != 0.0), mscale_all_dim.filter(|m| *m != 0.0)) {
        (Some(m), Some(all)) => of(m) / of(all),
        _ => of(1.0),
    }
}

/// The same for `longrope`.
pub fn long_gain(factor: f64, original: usize) -> f64 {
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() }
}
