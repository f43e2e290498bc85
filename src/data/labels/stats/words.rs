//! Figures of a set in words, for a terminal's page and for a shell alike.
//! Deliberately not here: the figures, and colours.

use super::{Figure, Person, Summary};
use crate::data::visible;

/// A line of the page, and whether it is a heading.
pub type Line = (bool, String);

/// The page.
pub fn page(s: &Summary) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    out.push((true, format!("{} · {} items", visible(&s.set), s.items)));
    out.extend(s.told.iter().map(|t| (false, format!("! {}", visible(t)))));
    if s.people.is_empty() {
        out.push((false, "nobody has ranked anything yet".into()));
        return out;
    }
    for person in &s.people {
        people(person, &mut out);
    }
    agreement(s, &mut out);
    if !s.models.is_empty() {
        out.push((true, "which model wins, by people (Bradley–Terry, 95 % by bootstrap)".into()));
        for m in &s.models {
            out.push((
                false,
                format!("{:>7}  {}  against another one, {} comparisons", percent(m.wins.value), interval(&m.wins, true), m.games),
            ));
            let last = out.len() - 1;
            out[last].1 = format!("{}  {}", fixed(&visible(&m.model), 28), out[last].1);
        }
        if s.smoothed {
            out.push((
                false,
                "somebody won or lost everything: half a win each way was added to every pair, so that there is a figure".into(),
            ));
        }
    }
    disagreements(s, &mut out);
    out
}

fn people(p: &Person, out: &mut Vec<Line>) {
    let kind = if p.ai { " · a judging model, counted apart from people" } else { "" };
    out.push((true, format!("{}{kind}", visible(&p.name))));
    let mut parts = vec![format!("{} decisions", p.labels)];
    parts.extend((p.skipped > 0).then(|| format!("{} skipped", p.skipped)));
    parts.extend((p.inconsistent > 0).then(|| format!("{} not the same in both orders, left to people", p.inconsistent)));
    parts.extend((p.rushed > 0).then(|| format!("{} rushed", p.rushed)));
    if !p.ai {
        parts.extend(p.per_hour.map(|n| format!("{n:.0} an hour")));
        parts.extend(p.median_ms.map(|ms| format!("median {:.1} s", ms / 1e3)));
        parts.push(format!("{:.1} % taken back", p.undo_rate * 100.0));
    }
    out.push((false, parts.join(" · ")));
    if let Some(kappa) = &p.with_self {
        out.push((false, format!("with oneself     κ {} {} on {} hidden repeats", number(kappa.value), interval(kappa, false), p.repeats)));
    }
    if !p.positions.is_empty() {
        let chance = p.positions[0].1;
        let shares: Vec<String> =
            p.positions.iter().enumerate().map(|(i, (f, _))| format!("{}: {} {}", i + 1, percent(f.value), interval(f, true))).collect();
        out.push((false, format!("best by position {} (by chance {})", shares.join("  "), percent(chance))));
    }
    if let Some(longer) = &p.longer {
        out.push((false, format!("longer is better {} {} of {} pairs", percent(longer.value), interval(longer, true), longer.n)));
    }
}

fn agreement(s: &Summary, out: &mut Vec<Line>) {
    if s.between.is_empty() {
        return;
    }
    out.push((true, "agreement with others".into()));
    for b in &s.between {
        let apart = if b.ai { "  a person and a model, or two models" } else { "" };
        let mut text = format!("{}  {} items", fixed(&format!("{} and {}", visible(&b.a), visible(&b.b)), 28), b.items);
        if let Some(same) = &b.same {
            text.push_str(&format!(", same on {} {} of {} pairs", percent(same.value), interval(same, true), same.n));
        }
        if let Some(kappa) = &b.kappa {
            text.push_str(&format!(", κ {} {}", number(kappa.value), interval(kappa, false)));
        }
        out.push((false, text + apart));
    }
    let alphas = [("ranks (ordinal)", &s.alpha_ranks), ("pairs (nominal)", &s.alpha_pairs), ("acceptable (nominal)", &s.alpha_acceptable)];
    for (name, figure) in alphas {
        if let Some(f) = figure {
            out.push((
                false,
                format!(
                    "{}  α {} {} of {} units, people alone",
                    fixed(&format!("all, {name}"), 28),
                    number(f.value),
                    interval(f, false),
                    f.n
                ),
            ));
        }
    }
}

fn disagreements(s: &Summary, out: &mut Vec<Line>) {
    if s.disagreements.is_empty() {
        return;
    }
    let open = s.disagreements.iter().filter(|d| !d.adjudicated).count();
    out.push((
        true,
        format!(
            "{} items on which people disagree, {open} of those listed to be settled (weightroom rank {} --adjudicate)",
            s.disagreeing,
            visible(&s.set)
        ),
    ));
    for d in s.disagreements.iter().take(20) {
        let orders: Vec<String> = d.orders.iter().map(|(who, order)| format!("{} {order}", visible(who))).collect();
        let settled = if d.adjudicated { " · settled" } else { "" };
        let prompt: String = d.prompt.chars().take(60).collect();
        out.push((false, format!("{}: {} · “{}”{settled}", visible(&d.item), orders.join(", "), visible(&prompt))));
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn number(value: f64) -> String {
    format!("{value:.2}")
}

fn interval(f: &Figure, share: bool) -> String {
    if share { format!("[{:.1}, {:.1}]", f.low * 100.0, f.high * 100.0) } else { format!("[{:.2}, {:.2}]", f.low, f.high) }
}

fn fixed(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count >= width { text.to_owned() } else { format!("{text}{}", " ".repeat(width - count)) }
}
