//! Numbers for people, short and of steady width, so that a live screen does not jitter.
//! Deliberately not here: exact figures; a cursor's reading shows those.

/// Three significant digits with a unit's prefix: `21.3k`, `412`, `0.0123`, `8.20e-4`.
pub fn short(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞".into() } else { "-∞".into() };
    }
    let size = value.abs();
    match size {
        0.0 => "0".into(),
        s if s >= 999.5e12 => format!("{value:.2e}"),
        s if s >= 999.5e9 => three(value / 1e12) + "T",
        s if s >= 999.5e6 => three(value / 1e9) + "G",
        s if s >= 999.5e3 => three(value / 1e6) + "M",
        s if s >= 999.5 => three(value / 1e3) + "k",
        s if s >= 0.01 => three(value),
        _ => format!("{value:.2e}"),
    }
}

fn three(value: f64) -> String {
    let size = value.abs();
    match size {
        s if s >= 99.95 => format!("{value:.0}"),
        s if s >= 9.995 => format!("{value:.1}"),
        s if s >= 0.0995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A loss: three decimals while it is of a usual size.
pub fn loss(value: f64) -> String {
    if value.is_finite() && value.abs() < 1000.0 { format!("{value:.3}") } else { short(value) }
}

/// A step in few characters: `412`, `2k`, `9.87k`, `1M`.
pub fn step(value: u64) -> String {
    let scaled = |unit: u64, name: &str| {
        let text = format!("{:.2}", value as f64 / unit as f64);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        format!("{text}{name}")
    };
    match value {
        0..1_000 => value.to_string(),
        1_000..1_000_000 => scaled(1_000, "k"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "M"),
        _ => scaled(1_000_000_000, "G"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        let cases = [(21_345.0, "21.3k"), (999.7, "1.00k"), (8.2e-4, "8.20e-4"), (0.5, "0.50"), (2.104, "2.10"), (f64::NAN, "NaN")];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
        assert_eq!((step(412), step(2000), step(9870), step(1_000_000)), ("412".into(), "2k".into(), "9.87k".into(), "1M".into()));
    }
}
