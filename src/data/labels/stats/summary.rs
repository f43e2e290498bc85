//! All figures of a set at once: of each annotator, between them, and of the models whose responses were ranked.
//! Deliberately not here: the formulas, and how figures are shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::store::{SetDir, standing};
use super::super::{Label, Tiers, order};
use super::alpha::{Level, alpha};
use super::kappa::{Weights, kappa};
use super::{Figure, bootstrap, bradley_terry, median};
use crate::data::DataError;

/// A pause longer than this is no work on labels.
const PAUSE_MS: u64 = 5 * 60_000;
/// Disagreements that are listed.
const LISTED: usize = 200;
const SEED: u64 = 1;

/// One annotator.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Person {
    pub name: String,
    /// Whether it is a judging model.
    pub ai: bool,
    /// Decisions that stand; of these, skipped ones, rushed ones, and a judging model's that it did not agree with itself about.
    pub labels: usize,
    pub skipped: usize,
    pub rushed: usize,
    pub inconsistent: usize,
    /// Decisions that were taken back, and their share of all that were made.
    pub undone: usize,
    pub undo_rate: f64,
    /// While at work: pauses of more than five minutes do not count.
    pub per_hour: Option<f64>,
    pub median_ms: Option<f64>,
    /// Cohen's kappa between decisions and their hidden repeats, over pairs of responses.
    pub with_self: Option<Figure>,
    pub repeats: usize,
    /// How often the response at each place of the screen was the one best one, and how often by chance.
    pub positions: Vec<(Figure, f64)>,
    /// How often the longer of two was better.
    pub longer: Option<Figure>,
}

/// Two annotators on what both ranked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Between {
    pub a: String,
    pub b: String,
    /// Whether one of them is a judging model.
    pub ai: bool,
    pub items: usize,
    /// Share of pairs of responses on which both say the same, and Cohen's kappa of it.
    pub same: Option<Figure>,
    pub kappa: Option<Figure>,
}

/// An item on which people disagree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    pub item: String,
    pub prompt: String,
    /// By annotator, in the ids of the responses.
    pub orders: Vec<(String, String)>,
    /// Pairs of responses on which somebody says the opposite.
    pub opposite: usize,
    pub adjudicated: bool,
}

/// A model among the others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelRate {
    pub model: String,
    /// How often it wins against another one, by Bradley and Terry.
    pub wins: Figure,
    /// Comparisons with other models.
    pub games: u64,
}

/// A set in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub set: String,
    pub items: usize,
    pub people: Vec<Person>,
    pub between: Vec<Between>,
    /// Krippendorff's alpha of people: of the ranks of responses (ordinal), of pairs (nominal), of what is acceptable (nominal).
    pub alpha_ranks: Option<Figure>,
    pub alpha_pairs: Option<Figure>,
    pub alpha_acceptable: Option<Figure>,
    pub disagreements: Vec<Disagreement>,
    pub disagreeing: usize,
    /// By people's labels alone.
    pub models: Vec<ModelRate>,
    /// Whether somebody won or lost everything, so that half a win each way was added.
    pub smoothed: bool,
    /// What the files found worth telling.
    pub told: Vec<String>,
}

/// Reads everybody's labels of a set and counts.
pub fn summarise(set: &SetDir) -> Result<Summary, DataError> {
    let (all, mut told) = set.all_lines()?;
    let (items, faults) = set.items()?;
    told.extend(faults.told("items.jsonl"));
    let mut out = Summary { set: set.name.clone(), items: items.len(), told, ..Summary::default() };
    let mut first: Vec<(String, bool, BTreeMap<String, &Label>)> = Vec::new();
    for (name, lines) in &all {
        let stand = standing(lines);
        let ai = lines.iter().any(Label::is_ai);
        out.people.push(person(name, ai, lines, &stand));
        let ranked = stand.iter().filter(|l| l.ranks() && l.repeats.is_none()).map(|l| (l.item.clone(), *l)).collect();
        first.push((name.clone(), ai, ranked));
    }
    for (i, (a, a_ai, of_a)) in first.iter().enumerate() {
        for (b, b_ai, of_b) in &first[i + 1..] {
            out.between.extend(between((a, of_a), (b, of_b), *a_ai || *b_ai));
        }
    }
    let people: Vec<&(String, bool, BTreeMap<String, &Label>)> = first.iter().filter(|(_, ai, _)| !ai).collect();
    alphas(&people, &mut out);
    disagreements(&people, &mut out);
    models(&people, &mut out);
    Ok(out)
}

fn person(name: &str, ai: bool, lines: &[Label], stand: &[&Label]) -> Person {
    use super::super::Status;
    let made = lines.iter().filter(|l| l.status != Status::Undone).count();
    let undone = lines.len() - made;
    let ranked: Vec<&&Label> = stand.iter().filter(|l| l.ranks()).collect();
    let mut times: Vec<u64> = stand.iter().map(|l| l.decided_at).filter(|t| *t > 0).collect();
    times.sort_unstable();
    let worked: u64 = times.windows(2).map(|w| w[1] - w[0]).filter(|gap| *gap <= PAUSE_MS).sum();
    let gaps = times.windows(2).filter(|w| w[1] - w[0] <= PAUSE_MS).count();
    let mut dwell: Vec<f64> = ranked.iter().map(|l| l.dwell_ms as f64).filter(|d| *d > 0.0).collect();
    let by_id: BTreeMap<&str, &Label> = lines.iter().map(|l| (l.id.as_str(), l)).collect();
    // A repeat is of what was said before it, whether or not that was changed since.
    let twice: Vec<Vec<(usize, usize)>> = ranked
        .iter()
        .filter_map(|l| Some(rated(&by_id.get(l.repeats.as_deref()?)?.tiers, &l.tiers)))
        .filter(|pairs| !pairs.is_empty())
        .collect();
    Person {
        name: name.into(),
        ai,
        labels: stand.len(),
        skipped: stand.iter().filter(|l| l.status == Status::Skipped).count(),
        rushed: stand.iter().filter(|l| l.is_rushed()).count(),
        inconsistent: stand.iter().filter(|l| l.status == Status::Inconsistent).count(),
        undone,
        undo_rate: if made > 0 { undone as f64 / made as f64 } else { 0.0 },
        per_hour: (worked > 0).then(|| gaps as f64 * 3_600_000.0 / worked as f64),
        median_ms: median(&mut dwell),
        with_self: kappa_of(&twice),
        repeats: twice.len(),
        positions: positions(&ranked),
        longer: longer(&ranked),
    }
}

/// What two orders say of each pair of responses that both ranked: 0 the first, 1 a tie, 2 the second.
fn rated(a: &Tiers, b: &Tiers) -> Vec<(usize, usize)> {
    let (places_a, places_b) = (order::places(a), order::places(b));
    let ids: Vec<&str> = places_a.keys().copied().collect();
    let mut out = Vec::new();
    for (i, x) in ids.iter().enumerate() {
        for y in &ids[i + 1..] {
            if let (Some(one), Some(two)) = (order::compare(&places_a, x, y), order::compare(&places_b, x, y)) {
                out.push(((one + 1) as usize, (two + 1) as usize));
            }
        }
    }
    out
}

fn kappa_of(items: &[Vec<(usize, usize)>]) -> Option<Figure> {
    let n = items.iter().map(Vec::len).sum::<usize>() as u64;
    bootstrap::figure(items.len(), n, SEED, |drawn| {
        let all: Vec<(usize, usize)> = drawn.iter().flat_map(|i| items[*i].iter().copied()).collect();
        kappa(&all, 3, Weights::None)
    })
}

fn between((a, of_a): (&String, &BTreeMap<String, &Label>), (b, of_b): (&String, &BTreeMap<String, &Label>), ai: bool) -> Option<Between> {
    let both = of_a.iter().filter_map(|(item, label)| Some(rated(&label.tiers, &of_b.get(item)?.tiers)));
    let items: Vec<Vec<(usize, usize)>> = both.filter(|p| !p.is_empty()).collect();
    if items.is_empty() {
        return None;
    }
    let n = items.iter().map(Vec::len).sum::<usize>() as u64;
    let same = bootstrap::figure(items.len(), n, SEED, |drawn| {
        let (mut hits, mut count) = (0.0, 0.0);
        for (x, y) in drawn.iter().flat_map(|i| &items[*i]) {
            hits += f64::from(x == y);
            count += 1.0;
        }
        (count > 0.0).then(|| hits / count)
    });
    Some(Between { a: a.clone(), b: b.clone(), ai, items: items.len(), same, kappa: kappa_of(&items) })
}

type Ranked<'a> = (String, bool, BTreeMap<String, &'a Label>);

fn alphas(people: &[&Ranked], out: &mut Summary) {
    let items: BTreeSet<&String> = people.iter().flat_map(|(_, _, of)| of.keys()).collect();
    // Of each item, its units: the values that people gave one response, or one pair of them.
    let (mut ranks, mut pairs, mut accepted): (Vec<Units>, Vec<Units>, Vec<Units>) = Default::default();
    for item in items {
        let labels: Vec<&Label> = people.iter().filter_map(|(_, _, of)| of.get(item).copied()).collect();
        if labels.len() < 2 {
            continue;
        }
        let (mut rank, mut accept): (BTreeMap<&str, Vec<f64>>, BTreeMap<&str, Vec<f64>>) = Default::default();
        let mut pair: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        for label in labels {
            for (id, value) in order::ranks(&label.tiers) {
                rank.entry(id).or_default().push(value);
            }
            let places = order::places(&label.tiers);
            let ids: Vec<&str> = places.keys().copied().collect();
            for (i, a) in ids.iter().enumerate() {
                for b in &ids[i + 1..] {
                    pair.entry((a, b)).or_default().extend(order::compare(&places, a, b).map(f64::from));
                }
            }
            if let Some(cut) = label.accept_cut {
                for (id, place) in places {
                    accept.entry(id).or_default().push(f64::from(place < cut));
                }
            }
        }
        ranks.push(rank.into_values().collect());
        pairs.push(pair.into_values().collect());
        accepted.push(accept.into_values().filter(|v| v.len() > 1).collect());
    }
    out.alpha_ranks = alpha_of(&ranks, Level::Ordinal);
    out.alpha_pairs = alpha_of(&pairs, Level::Nominal);
    accepted.retain(|units| !units.is_empty());
    out.alpha_acceptable = alpha_of(&accepted, Level::Nominal);
}

type Units = Vec<Vec<f64>>;

fn alpha_of(items: &[Units], level: Level) -> Option<Figure> {
    let n = items.iter().map(Vec::len).sum::<usize>() as u64;
    bootstrap::figure(items.len(), n, SEED, |drawn| {
        let units: Vec<&[f64]> = drawn.iter().flat_map(|i| items[*i].iter().map(Vec::as_slice)).collect();
        alpha(&units, level)
    })
}

fn positions(ranked: &[&&Label]) -> Vec<(Figure, f64)> {
    let most = ranked.iter().map(|l| l.display_order.len()).max().unwrap_or(0);
    let mut out = Vec::new();
    for place in 0..most {
        let (mut hits, mut n, mut chance) = (0.0, 0, 0.0);
        for label in ranked.iter().filter(|l| l.display_order.len() > place && l.tiers.first().is_some_and(|t| t.len() == 1)) {
            n += 1;
            chance += 1.0 / label.display_order.len() as f64;
            hits += f64::from(label.tiers[0][0] == label.display_order[place]);
        }
        out.extend(Figure::share(hits, n).map(|share| (share, chance / n as f64)));
    }
    out
}

fn longer(ranked: &[&&Label]) -> Option<Figure> {
    let of = |label: &&&Label| {
        let length = |id: &str| label.response(id).map_or(0, |r| r.content.chars().count());
        let pairs = order::pairs(&label.tiers).into_iter().map(|(a, b, _)| (length(a), length(b)));
        pairs.filter(|(a, b)| a != b).map(|(a, b)| a > b).collect::<Vec<bool>>()
    };
    let items: Vec<Vec<bool>> = ranked.iter().map(of).filter(|p| !p.is_empty()).collect();
    let n = items.iter().map(Vec::len).sum::<usize>() as u64;
    bootstrap::figure(items.len(), n, SEED, |drawn| {
        let all = drawn.iter().flat_map(|i| &items[*i]);
        let (hits, count) = all.fold((0u64, 0u64), |(h, n), hit| (h + u64::from(*hit), n + 1));
        (count > 0).then(|| hits as f64 / count as f64)
    })
}

fn disagreements(people: &[&Ranked], out: &mut Summary) {
    use super::super::Status;
    let items: BTreeSet<&String> = people.iter().flat_map(|(_, _, of)| of.keys()).collect();
    for item in items {
        let all: Vec<(&String, &Label)> = people.iter().filter_map(|(name, _, of)| Some((name, *of.get(item)?))).collect();
        let adjudicated = all.iter().any(|(_, l)| l.status == Status::Adjudicated);
        let labels: Vec<&(&String, &Label)> = all.iter().filter(|(_, l)| l.status == Status::Ranked).collect();
        let differs = labels.windows(2).any(|w| order::places(&w[0].1.tiers) != order::places(&w[1].1.tiers));
        if !differs {
            continue;
        }
        out.disagreeing += 1;
        let mut opposite = 0;
        for (i, (_, a)) in labels.iter().enumerate() {
            opposite += labels[i + 1..].iter().flat_map(|(_, b)| rated(&a.tiers, &b.tiers)).filter(|(x, y)| x.abs_diff(*y) == 2).count();
        }
        let written = |tiers: &Tiers| tiers.iter().map(|t| t.join("=")).collect::<Vec<_>>().join(">");
        let prompt = labels[0].1.prompt.last().map(|m| m.content.chars().take(200).collect()).unwrap_or_default();
        let orders = labels.iter().map(|(name, l)| ((*name).clone(), written(&l.tiers))).collect();
        out.disagreements.push(Disagreement { item: item.clone(), prompt, orders, opposite, adjudicated });
    }
    out.disagreements.sort_by_key(|d| (d.adjudicated, std::cmp::Reverse(d.opposite)));
    out.disagreements.truncate(LISTED);
}

type Games = Vec<(usize, usize, f64)>;

/// Wins between models by people's labels. Items are drawn again for the intervals.
fn models(people: &[&Ranked], out: &mut Summary) {
    let labels = || people.iter().flat_map(|(_, _, of)| of.values());
    let named = labels().flat_map(|l| &l.responses).filter_map(|r| r.model.as_ref());
    let names: Vec<&String> = named.collect::<BTreeSet<_>>().into_iter().collect();
    if !(2..=64).contains(&names.len()) {
        return;
    }
    let items: Vec<Games> = labels().map(|l| games(l, &names)).filter(|g| !g.is_empty()).collect();
    if items.is_empty() {
        return;
    }
    let table = |drawn: &mut dyn Iterator<Item = usize>| {
        let mut wins = vec![vec![0.0; names.len()]; names.len()];
        for (x, y, share) in drawn.flat_map(|i| &items[i]) {
            wins[*x][*y] += share;
            wins[*y][*x] += 1.0 - share;
        }
        wins
    };
    let wins = table(&mut (0..items.len()));
    let (strengths, smoothed) = bradley_terry::strengths(&wins);
    let rates = bradley_terry::win_rates(&strengths);
    let mut stream = crate::rng::Stream::new(SEED, "bradley-terry");
    let mut drawn: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    for _ in 0..bootstrap::ROUNDS / 2 {
        let picks: Vec<usize> = (0..items.len()).map(|_| stream.below(items.len() as u64) as usize).collect();
        let (strengths, _) = bradley_terry::strengths_to(&table(&mut picks.into_iter()), 1e-6, 500);
        bradley_terry::win_rates(&strengths).into_iter().zip(&mut drawn).for_each(|(rate, of)| of.push(rate));
    }
    out.smoothed = smoothed;
    for (i, name) in names.iter().enumerate() {
        drawn[i].sort_by(f64::total_cmp);
        let end = |q| bootstrap::quantile(&drawn[i], q).unwrap_or(rates[i]);
        let games = (0..names.len()).map(|j| wins[i][j] + wins[j][i]).sum::<f64>().round() as u64;
        let wins = Figure { value: rates[i], low: end(0.025), high: end(0.975), n: games };
        out.models.push(ModelRate { model: (*name).clone(), wins, games });
    }
    out.models.sort_by(|a, b| b.wins.value.total_cmp(&a.wins.value));
}

/// What a label says of pairs of models: the two, and what the first one won.
fn games(label: &Label, names: &[&String]) -> Games {
    let places = order::places(&label.tiers);
    let player = |r: &super::super::Response| names.binary_search(&r.model.as_ref()?).ok();
    let mut games = Vec::new();
    for (i, a) in label.responses.iter().enumerate() {
        for b in &label.responses[i + 1..] {
            let (Some(x), Some(y), Some(said)) = (player(a), player(b), order::compare(&places, &a.id, &b.id)) else { continue };
            if x != y {
                games.push((x, y, (1.0 - f64::from(said)) / 2.0));
            }
        }
    }
    games
}
