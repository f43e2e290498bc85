//! Items and labels from elsewhere go into a set: what is there already stays as it is, and ids are brought together.
//! Deliberately not here: what files look like (`import`).

use std::collections::BTreeMap;
use std::path::Path;

use super::import::Imported;
use super::store::{LABELS, SetDir, Writer, labels_of_file, standing};
use super::{Item, Label, Source, check_name};
use crate::data::DataError;

/// What was new, and what was there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Put {
    pub items: usize,
    pub items_there: usize,
    pub labels: usize,
    pub labels_there: usize,
    pub told: Vec<String>,
}

/// Puts imported items into a set, and their labels into the file of an annotator; `source` marks them where it is given.
pub fn put(set: &SetDir, imported: &Imported, annotator: Option<(&str, Source)>) -> Result<Put, DataError> {
    set.make()?;
    let (known, _) = set.items()?;
    let mut by_id: BTreeMap<String, Item> = known.into_iter().map(|i| (i.id.clone(), i)).collect();
    let mut out = Put::default();
    let mut fresh = Vec::new();
    // Of each imported item: the id it gets, and its responses' ids by those that they came with.
    let mut names: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for item in &imported.items {
        let mut id = item.id.clone();
        let mut number = 1;
        loop {
            match by_id.get(&id) {
                None => {
                    let item = Item { id: id.clone(), ..item.clone() };
                    names.push((id.clone(), item.responses.iter().map(|r| (r.id.clone(), r.id.clone())).collect()));
                    by_id.insert(id, item.clone());
                    fresh.push(item);
                    break;
                }
                Some(there) => match same_responses(item, there) {
                    Some(map) => {
                        out.items_there += 1;
                        names.push((id, map));
                        break;
                    }
                    None => {
                        number += 1;
                        id = format!("{}-{number}", item.id);
                    }
                },
            }
        }
    }
    out.items = set.add(&fresh)?.0;
    let Some((name, source)) = annotator.filter(|_| !imported.labels.is_empty()) else { return Ok(out) };
    let (mut writer, lines, faults) = Writer::open(set, name)?;
    out.told.extend(faults.told(&format!("{name}{LABELS}")));
    if lines.iter().any(|l| (l.source == Source::Ai) != (source == Source::Ai)) {
        let what = "holds labels of people, and these are a model's (or the other way round)";
        return Err(DataError::file(set.labels_path(name), what, "choose another name with --as: they are never mixed in one file"));
    }
    let there: Vec<(String, super::Tiers)> = standing(&lines).into_iter().map(|l| (l.item.clone(), sorted(&l.tiers))).collect();
    let mut new = Vec::new();
    for (at, label) in &imported.labels {
        let (id, map) = &names[*at];
        let label = renamed(label, &by_id[id], map, source.clone());
        if there.contains(&(label.item.clone(), sorted(&label.tiers))) {
            out.labels_there += 1;
        } else {
            new.push(label);
        }
    }
    out.labels = new.len();
    writer.write(new)?;
    Ok(out)
}

/// The ids of an item's responses by those of another with the same texts; none where a text is not there.
fn same_responses(item: &Item, there: &Item) -> Option<BTreeMap<String, String>> {
    if item.prompt != there.prompt {
        return None;
    }
    let mut free: Vec<&super::Response> = there.responses.iter().collect();
    let mut map = BTreeMap::new();
    for response in &item.responses {
        let same = |r: &&super::Response| {
            r.content == response.content && (r.model == response.model || response.model.is_none() || r.model.is_none())
        };
        let at = free.iter().position(same)?;
        map.insert(response.id.clone(), free.remove(at).id.clone());
    }
    Some(map)
}

fn renamed(label: &Label, item: &Item, map: &BTreeMap<String, String>, source: Source) -> Label {
    let name = |id: &String| map.get(id).cloned().unwrap_or_else(|| id.clone());
    let mut out = label.clone();
    out.item.clone_from(&item.id);
    out.tiers.iter_mut().flatten().for_each(|id| *id = name(id));
    out.criteria.values_mut().flatten().flatten().for_each(|id| *id = name(id));
    out.display_order.iter_mut().for_each(|id| *id = name(id));
    out.responses.clone_from(&item.responses);
    if source == Source::Ai {
        out.source = source;
    }
    (out.supersedes, out.repeats) = (None, None);
    out
}

fn sorted(tiers: &super::Tiers) -> super::Tiers {
    let mut tiers = tiers.clone();
    tiers.iter_mut().for_each(|t| t.sort());
    tiers
}

/// Takes over the label file of an annotator from another copy of the set: lines that are new, with the items that they are
/// about. The same decision under two ids stays one; two decisions under one id are refused.
pub fn merge(set: &SetDir, path: &Path, name: Option<&str>) -> Result<(String, Put), DataError> {
    let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let name = match name.or_else(|| file.strip_suffix(LABELS)) {
        Some(name) => name,
        None => {
            return Err(DataError::file(path, format!("its name does not end with {LABELS}"), "say whose labels they are with --as NAME"));
        }
    };
    check_name("annotator", name).map_err(DataError::Other)?;
    let (lines, faults) = labels_of_file(path)?;
    let mut out = Put { told: faults.told(file).into_iter().collect(), ..Put::default() };
    let (mut writer, there, _) = Writer::open(set, name)?;
    let known: BTreeMap<&str, &Label> = there.iter().map(|l| (l.id.as_str(), l)).collect();
    let mut new = Vec::new();
    for line in &lines {
        match known.get(line.id.as_str()) {
            Some(same) if *same == line => out.labels_there += 1,
            Some(_) => {
                let what = format!("“{}” is another decision than the one of this id in {}", super::visible(&line.id), set.name);
                return Err(DataError::file(path, what, "somebody of the same name labelled both: merge it --as another name"));
            }
            None => new.push(line.clone()),
        }
    }
    let mut items: BTreeMap<&str, Item> = BTreeMap::new();
    for line in lines.iter().filter(|l| !l.item.is_empty() && l.responses.len() > 1) {
        let item = || Item {
            schema: super::SCHEMA,
            id: line.item.clone(),
            prompt: line.prompt.clone(),
            responses: line.responses.clone(),
            ..Item::default()
        };
        items.entry(&line.item).or_insert_with(item);
    }
    let items: Vec<Item> = items.into_values().collect();
    (out.items, out.items_there) = set.add(&items)?;
    out.labels = new.len();
    writer.copy(&new)?;
    Ok((name.to_owned(), out))
}
