//! Which labels are taken out of a set, as one order an item, and on which side of a split they go.
//! Deliberately not here: the forms of other programs (`forms`).

use std::collections::BTreeMap;

use super::forms::Judged;
use super::store::{SetDir, standing};
use super::{Label, Response, Source, Status, order, prompt_id};
use crate::data::DataError;
use crate::rng::Stream;

/// Whose labels are taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Who {
    /// These annotators alone; all where none is named.
    pub names: Vec<String>,
    /// Judging models' labels as well, or instead; people's alone otherwise.
    pub ai: Ai,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ai {
    #[default]
    No,
    Also,
    Only,
}

/// What was taken, and what was not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    pub judged: Vec<Judged>,
    /// Decisions of people and of judging models in it.
    pub human: usize,
    pub ai: usize,
    /// Items that have no order to give, by why.
    pub left_out: BTreeMap<String, u64>,
    /// Items on which several annotators were put together.
    pub merged: usize,
    /// Responses that a person wrote as the best.
    pub edited: usize,
    /// What the files found worth telling.
    pub told: Vec<String>,
}

/// Takes one order an item: the adjudicated one; else the only one; else the mean of all annotators' ranks.
pub fn take(set: &SetDir, who: &Who) -> Result<Taken, DataError> {
    let (all, told) = set.all_lines()?;
    let mut out = Taken { told, ..Taken::default() };
    if let Some(unknown) = who.names.iter().find(|n| !all.contains_key(*n)) {
        let known: Vec<&str> = all.keys().map(String::as_str).collect();
        let why = format!("nobody of the name “{}” labelled {}; there are {}", super::visible(unknown), set.name, known.join(", "));
        return Err(DataError::Other(why));
    }
    let mut of_item: BTreeMap<String, Vec<&Label>> = BTreeMap::new();
    let mut order_of_items: Vec<String> = Vec::new();
    let mut put = |label| {
        let label: &Label = label;
        of_item.entry(label.item.clone()).or_insert_with(|| {
            order_of_items.push(label.item.clone());
            Vec::new()
        });
        of_item.entry(label.item.clone()).or_default().push(label);
    };
    for (_, lines) in all.iter().filter(|(name, _)| who.names.is_empty() || who.names.contains(name)) {
        for label in standing(lines) {
            let ai = label.source == Source::Ai;
            let wanted = match who.ai {
                Ai::No => !ai,
                Ai::Also => true,
                Ai::Only => ai,
            };
            // A hidden repeat is for the agreement with oneself.
            if wanted && label.repeats.is_none() {
                put(label);
            }
        }
    }
    for id in order_of_items {
        match settle(&of_item[&id], &mut out) {
            Ok(judged) => out.judged.push(judged),
            Err(why) => *out.left_out.entry(why.into()).or_default() += 1,
        }
    }
    Ok(out)
}

fn settle(labels: &[&Label], out: &mut Taken) -> Result<Judged, &'static str> {
    let ranked: Vec<&&Label> = labels.iter().filter(|l| l.ranks()).collect();
    if ranked.is_empty() {
        return Err("skipped, or not settled by the judge");
    }
    // What was rushed and not asked again was hardly read.
    let sure = |l: &&&&Label| !l.is_rushed() || l.supersedes.is_some();
    let mut kept: Vec<&&Label> = ranked.iter().filter(sure).copied().collect();
    if kept.is_empty() {
        return Err("rushed, and not asked again yet");
    }
    if let Some(adjudicated) = kept.iter().rfind(|l| l.status == Status::Adjudicated) {
        kept = vec![adjudicated];
    }
    let first = kept[0];
    let mut judged = Judged {
        id: first.item.clone(),
        prompt: first.prompt.clone(),
        responses: first.responses.clone(),
        tiers: order::tidy(&first.tiers),
        accept_cut: first.accept_cut,
        strength: first.strength,
        annotators: kept.iter().map(|l| l.annotator.clone()).collect(),
        decided_at: kept.iter().map(|l| l.decided_at).max().unwrap_or(0),
    };
    if kept.len() > 1 {
        judged.tiers = order::consensus(&kept.iter().map(|l| &l.tiers).collect::<Vec<_>>());
        let same = |a: &Label| order::places(&a.tiers) == order::places(&first.tiers) && a.accept_cut == first.accept_cut;
        if !kept.iter().all(|l| same(l)) {
            (judged.accept_cut, judged.strength) = (None, None);
        }
        out.merged += 1;
    }
    for label in &kept {
        if label.is_ai() { out.ai += 1 } else { out.human += 1 }
    }
    if let Some(edited) = kept.iter().rev().find_map(|l| l.edited.as_ref()).filter(|e| !e.content.trim().is_empty()) {
        // What a person wrote because no response was good enough is better than each of them.
        let response =
            Response { id: "edited".into(), content: edited.content.clone(), model: Some("person".into()), ..Response::default() };
        judged.responses.push(response);
        judged.tiers.insert(0, vec!["edited".into()]);
        judged.accept_cut = judged.accept_cut.map(|cut| cut + 1);
        judged.strength = None;
        out.edited += 1;
    }
    Ok(judged)
}

/// Whether an item is of the validation part: by its prompt alone, so that all that is said of a prompt stays together.
pub fn validates(judged: &Judged, share: f64, seed: u64) -> bool {
    share > 0.0 && Stream::new(seed, &prompt_id(&judged.prompt)).uniform() < share
}
