//! One person's way through a set: what is asked next, and every decision on the disk before that.
//! Deliberately not here: keys and orders in the making (`draft`), and screens.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::store::{ItemReader, SetDir, Writer};
use super::{Edited, Item, Label, RUSHED, Source, Status, Tiers, hash, order};
use crate::data::DataError;
use crate::rng::Stream;

/// A decision that took less was hardly read: it is asked once more.
pub const RUSHED_MS: u64 = 400;
/// Decisions between one and its hidden repeat, and before a rushed one is asked again.
const REPEAT_AFTER: usize = 10;
const AGAIN_AFTER: usize = 5;
/// Decisions further apart than this are of different sittings.
pub const SITTING_MS: u64 = 30 * 60_000;

/// What the guidelines ask for, besides what they say.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub criteria: Vec<String>,
    pub acceptability: bool,
    /// Of the decisions, this share is asked a second time without saying so.
    pub repeats: f64,
}

impl Settings {
    /// From lines such as `criteria: accuracy, helpfulness`, `acceptability: yes`, `repeats: 5%`.
    pub fn of(guidelines: &str) -> Self {
        let mut out = Self { criteria: Vec::new(), acceptability: false, repeats: 0.05 };
        for line in guidelines.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.trim_start_matches(['-', '*', ' ']).trim().to_ascii_lowercase().as_str() {
                "criteria" => out.criteria = value.split(',').map(|c| c.trim().to_owned()).filter(|c| !c.is_empty()).take(6).collect(),
                "acceptability" => out.acceptability = matches!(value.to_ascii_lowercase().as_str(), "yes" | "on" | "true"),
                "repeats" => {
                    let percent = value.trim_end_matches('%').trim().parse::<f64>();
                    out.repeats = percent.ok().filter(|p| (0.0..=100.0).contains(p)).map_or(out.repeats, |p| p / 100.0);
                }
                _ => {}
            }
        }
        out
    }
}

/// Why an item is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    New,
    /// A judging model did not agree with itself about it.
    Queued,
    /// The decision (its id) was rushed.
    Again(String),
    /// A hidden repeat of this decision.
    Repeat(String),
    /// A judging model says otherwise than this decision.
    Review(String),
    /// The person went back to this decision.
    Previous(String),
    /// The decision that this undo took back is open.
    Undone(String),
    /// People disagree about it.
    Adjudicate,
}

/// An item as it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Showing {
    pub item: Arc<Item>,
    /// Response ids by places on the screen.
    pub display: Vec<String>,
    pub shuffle_seed: u64,
    pub why: Why,
    /// The decision that stood, where the person comes back to it.
    pub before: Option<Box<Label>>,
}

/// What a person decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    pub skipped: bool,
    pub tiers: Tiers,
    pub accept_cut: Option<usize>,
    pub strength: Option<u8>,
    pub criteria: std::collections::BTreeMap<String, Tiers>,
    pub flags: Vec<String>,
    pub comment: String,
    pub edited: Option<Edited>,
    pub shown_at: u64,
    pub decided_at: u64,
    pub dwell_ms: u64,
    pub keys: Vec<String>,
}

/// How far a person is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Items that have a decision of this person, and all items.
    pub done: usize,
    pub items: usize,
    /// Decisions that stand, repeats among them: the number of the next one is one more.
    pub decisions: usize,
    /// Rushed ones that will be asked again.
    pub rushed: usize,
}

pub struct Session {
    pub set: SetDir,
    pub annotator: String,
    pub guidelines: String,
    pub settings: Settings,
    /// What opening the files found worth telling.
    pub told: Vec<String>,
    hash: String,
    adjudicates: bool,
    writer: Writer,
    reader: ItemReader,
    items: Vec<Arc<Item>>,
    index: HashMap<String, usize>,
    lines: Vec<Label>,
    by_id: HashMap<String, usize>,
    /// Lines that stand, in the order in which they were made.
    history: Vec<usize>,
    /// Lines that stand, of each item.
    of_item: HashMap<String, Vec<usize>>,
    repeats: VecDeque<usize>,
    again: VecDeque<usize>,
    reviews: VecDeque<usize>,
    queued: BTreeSet<usize>,
    /// All items before this one are decided.
    first_open: usize,
    /// Where `previous` stands in the history.
    cursor: Option<usize>,
    redo: Vec<Label>,
    showing: Option<Showing>,
}

impl Session {
    /// Opens a set for a person. With `adjudicates`, only what others disagree about is asked.
    pub fn open(project: &Path, set: &str, annotator: &str, adjudicates: bool) -> Result<Self, DataError> {
        let set = SetDir::open(project, set)?;
        let guidelines = set.page("guidelines.md")?;
        let (writer, lines, faults) = Writer::open(&set, annotator)?;
        if lines.iter().any(Label::is_ai) {
            let what = "holds the labels of a judging model";
            return Err(DataError::file(set.labels_path(annotator), what, "choose another name: people's labels and models' stay apart"));
        }
        let mut session = Self {
            annotator: annotator.into(),
            settings: Settings::of(&guidelines),
            told: faults.told(&format!("{annotator}{}", super::store::LABELS)).into_iter().collect(),
            hash: hash(&guidelines),
            guidelines,
            adjudicates,
            writer,
            reader: ItemReader::new(set.clone()),
            set,
            items: Vec::new(),
            index: HashMap::new(),
            lines: Vec::new(),
            by_id: HashMap::new(),
            history: Vec::new(),
            of_item: HashMap::new(),
            repeats: VecDeque::new(),
            again: VecDeque::new(),
            reviews: VecDeque::new(),
            queued: BTreeSet::new(),
            first_open: 0,
            cursor: None,
            redo: Vec::new(),
            showing: None,
        };
        session.look()?;
        session.told.extend(session.reader.faults.told("items.jsonl"));
        lines.into_iter().for_each(|line| session.take_in(line));
        session.queue_others()?;
        session.advance();
        Ok(session)
    }

    /// Reads items that were added since; how many.
    pub fn look(&mut self) -> Result<usize, DataError> {
        let mut fresh = Vec::new();
        self.reader.more(&mut fresh)?;
        let count = fresh.len();
        for item in fresh {
            self.index.insert(item.id.clone(), self.items.len());
            self.items.push(Arc::new(item));
        }
        if count > 0 && self.showing.is_none() {
            self.advance();
        }
        Ok(count)
    }

    pub fn showing(&self) -> Option<&Showing> {
        self.showing.as_ref()
    }

    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// All lines of this person, superseded ones too.
    pub fn lines(&self) -> &[Label] {
        &self.lines
    }

    /// The last decision that stands.
    pub fn last(&self) -> Option<&Label> {
        self.history.last().map(|at| &self.lines[*at])
    }

    pub fn progress(&self) -> Progress {
        let done = self.of_item.keys().filter(|id| self.index.contains_key(*id)).count();
        Progress { done, items: self.items.len(), decisions: self.history.len(), rushed: self.again.len() }
    }

    /// Makes a decision about what is asked: when this returns, it is on the disk and the next item is chosen.
    pub fn decide(&mut self, decision: Decision) -> Result<&Label, DataError> {
        let Some(showing) = self.showing.clone() else {
            return Err(DataError::Other("nothing is asked; nothing was decided".into()));
        };
        let supersedes = match &showing.why {
            Why::Again(id) | Why::Review(id) | Why::Previous(id) | Why::Undone(id) => Some(id.clone()),
            Why::New | Why::Queued | Why::Repeat(_) | Why::Adjudicate => None,
        };
        let repeats = match &showing.why {
            Why::Repeat(id) => Some(id.clone()),
            // A change of a repeat stays one.
            _ => showing.before.as_ref().and_then(|b| b.repeats.clone()),
        };
        let mut flags = decision.flags;
        if decision.dwell_ms < RUSHED_MS && !decision.skipped {
            flags.push(RUSHED.into());
        }
        let status = match (decision.skipped, self.adjudicates) {
            (true, _) => Status::Skipped,
            (_, true) => Status::Adjudicated,
            _ => Status::Ranked,
        };
        let label = Label {
            item: showing.item.id.clone(),
            prompt: showing.item.prompt.clone(),
            responses: showing.item.responses.clone(),
            display_order: showing.display,
            shuffle_seed: showing.shuffle_seed,
            tiers: decision.tiers,
            accept_cut: decision.accept_cut,
            strength: decision.strength,
            criteria: decision.criteria,
            status,
            supersedes,
            repeats,
            flags,
            comment: decision.comment,
            edited: decision.edited,
            source: Source::Human,
            guideline_hash: self.hash.clone(),
            shown_at: decision.shown_at,
            decided_at: decision.decided_at,
            dwell_ms: decision.dwell_ms,
            keys: decision.keys,
            ..Label::default()
        };
        let label = self.write(label)?;
        self.redo.clear();
        self.cursor = None;
        self.take_in(label);
        self.advance();
        Ok(&self.lines[self.lines.len() - 1])
    }

    fn write(&mut self, label: Label) -> Result<Label, DataError> {
        let mut made = self.writer.write(vec![label])?;
        made.pop().ok_or_else(|| DataError::Other("nothing was written".into()))
    }

    /// Takes the last decision back, which is then open again; none where there is none. Works over restarts.
    pub fn undo(&mut self, at_ms: u64) -> Result<Option<&Label>, DataError> {
        let Some(at) = self.history.last().copied() else { return Ok(None) };
        let undone = self.lines[at].clone();
        let label = Label {
            status: Status::Undone,
            supersedes: Some(undone.id.clone()),
            keys: vec!["u".into()],
            tiers: Vec::new(),
            accept_cut: None,
            strength: None,
            criteria: Default::default(),
            flags: Vec::new(),
            comment: String::new(),
            edited: None,
            shown_at: at_ms,
            decided_at: at_ms,
            dwell_ms: 0,
            ..undone.clone()
        };
        let label = self.write(label)?;
        let why = Why::Undone(label.id.clone());
        self.take_in(label);
        self.cursor = None;
        if let Some(item) = self.index.get(&undone.item) {
            self.first_open = self.first_open.min(*item);
        }
        self.revisit(&undone, why);
        self.redo.push(undone);
        Ok(self.redo.last())
    }

    /// Makes the decision again that was taken back last; none where something else was decided since.
    pub fn redo(&mut self, at_ms: u64) -> Result<Option<&Label>, DataError> {
        let Some(label) = self.redo.pop() else { return Ok(None) };
        let undo = self.lines.iter().rev().find(|l| l.supersedes.as_deref() == Some(&label.id)).map(|l| l.id.clone());
        let label = self.write(Label { supersedes: undo, decided_at: at_ms, ..label })?;
        self.take_in(label);
        self.advance();
        Ok(self.last())
    }

    /// Goes back to the decision before, which may be changed; false at the first one.
    pub fn previous(&mut self) -> bool {
        let at = self.cursor.unwrap_or(self.history.len());
        let Some(at) = at.checked_sub(1) else { return false };
        self.cursor = Some(at);
        let label = self.lines[self.history[at]].clone();
        let why = Why::Previous(label.id.clone());
        self.revisit(&label, why);
        true
    }

    /// Goes on from a decision that was gone back to; false where the person is not back.
    pub fn forward(&mut self) -> bool {
        let Some(at) = self.cursor else { return false };
        if at + 1 < self.history.len() {
            let label = self.lines[self.history[at + 1]].clone();
            self.cursor = Some(at + 1);
            let why = Why::Previous(label.id.clone());
            self.revisit(&label, why);
        } else {
            self.cursor = None;
            self.advance();
        }
        true
    }

    /// Shows an item as it stood on the screen before.
    fn revisit(&mut self, label: &Label, why: Why) {
        let item = match self.index.get(&label.item) {
            Some(at) => self.items[*at].clone(),
            // The item is gone from the set; the label holds all of it.
            None => Arc::new(Item {
                schema: super::SCHEMA,
                id: label.item.clone(),
                prompt: label.prompt.clone(),
                responses: label.responses.clone(),
                ..Item::default()
            }),
        };
        let before = Some(Box::new(label.clone()));
        self.showing = Some(Showing { item, display: label.display_order.clone(), shuffle_seed: label.shuffle_seed, why, before });
    }

    /// Folds a line into what stands.
    fn take_in(&mut self, label: Label) {
        let at = self.lines.len();
        if let Some(over) = label.supersedes.as_ref().and_then(|id| self.by_id.get(id)).copied() {
            self.history.retain(|h| *h != over);
            let item = self.lines[over].item.clone();
            if let Some(of) = self.of_item.get_mut(&item) {
                of.retain(|l| *l != over);
                if of.is_empty() {
                    self.of_item.remove(&item);
                }
            }
            self.again.retain(|l| *l != over);
            self.repeats.retain(|l| *l != over);
            if let Some(original) = self.lines[over].repeats.as_ref().and_then(|id| self.by_id.get(id)).copied()
                && label.status == Status::Undone
            {
                self.repeats.push_front(original);
            }
        }
        self.by_id.insert(label.id.clone(), at);
        if label.status != Status::Undone {
            self.history.push(at);
            self.of_item.entry(label.item.clone()).or_default().push(at);
            if label.ranks() {
                let seconds = label.supersedes.as_ref().and_then(|id| self.by_id.get(id)).map(|o| &self.lines[*o]);
                if label.is_rushed() && !seconds.is_some_and(Label::is_rushed) {
                    self.again.push_back(at);
                } else if label.repeats.is_none() && self.is_repeated(&label.item) {
                    self.repeats.push_back(at);
                }
            }
        }
        if let Some(original) = label.repeats.as_ref().and_then(|id| self.by_id.get(id)).copied()
            && label.status != Status::Undone
        {
            self.repeats.retain(|l| *l != original);
        }
        self.lines.push(label);
    }

    /// Whether an item is of those that are asked twice: the same ones whenever it is asked.
    fn is_repeated(&self, item: &str) -> bool {
        let name = format!("repeat/{}/{}/{item}", self.set.name, self.annotator);
        !self.adjudicates && Stream::new(0, &name).uniform() < self.settings.repeats
    }

    /// What judging models leave to people, and in adjudication what people leave to each other.
    fn queue_others(&mut self) -> Result<(), DataError> {
        let mut of_people: HashMap<String, Vec<Tiers>> = HashMap::new();
        let mut settled = BTreeSet::new();
        let others: Vec<String> = self.set.annotators().into_iter().filter(|n| *n != self.annotator).collect();
        for name in others {
            // A file that cannot be read is told by who asks for it; here it only has nothing to say.
            let Ok((lines, _)) = self.set.lines(&name) else { continue };
            for label in super::store::standing(&lines) {
                let Some(at) = self.index.get(&label.item).copied() else { continue };
                if label.is_ai() {
                    self.hear_judge(at, label);
                } else if label.status == Status::Adjudicated {
                    settled.insert(label.item.clone());
                } else if label.ranks() && label.repeats.is_none() {
                    of_people.entry(label.item.clone()).or_default().push(label.tiers.clone());
                }
            }
        }
        if self.adjudicates {
            let differ = |orders: &Vec<Tiers>| orders.iter().any(|o| order::places(o) != order::places(&orders[0]));
            self.queued = of_people
                .iter()
                .filter(|(item, orders)| differ(orders) && !settled.contains(*item))
                .filter_map(|(item, _)| self.index.get(item).copied())
                .collect();
        }
        Ok(())
    }

    fn hear_judge(&mut self, item: usize, label: &Label) {
        let own = self.of_item.get(&label.item).and_then(|of| of.last()).copied();
        match (own, &label.status) {
            (None, Status::Inconsistent) => _ = self.queued.insert(item),
            (Some(own), _) if label.ranks() && self.lines[own].ranks() => {
                let mine = &self.lines[own];
                // What was looked at again since is settled.
                if contradicts(&label.tiers, &mine.tiers) && mine.decided_at < label.decided_at && !self.reviews.contains(&own) {
                    self.reviews.push_back(own);
                }
            }
            _ => {}
        }
    }

    /// Chooses what is asked next.
    fn advance(&mut self) {
        self.showing = self.pick();
    }

    fn pick(&mut self) -> Option<Showing> {
        let decided = self.history.len();
        let waited = |at: usize, history: &[usize], least: usize| {
            history.iter().rposition(|h| *h == at).is_some_and(|place| history.len() - 1 - place >= least)
        };
        if self.adjudicates {
            let open = self.queued.iter().copied().find(|i| !self.of_item.contains_key(&self.items[*i].id))?;
            return Some(self.fresh(open, Why::Adjudicate));
        }
        while let Some(own) = self.reviews.front().copied() {
            self.reviews.pop_front();
            if self.history.contains(&own) {
                let label = self.lines[own].clone();
                let why = Why::Review(label.id.clone());
                return Some(self.second(&label, why));
            }
        }
        if let Some(at) = self.again.front().copied().filter(|at| waited(*at, &self.history, AGAIN_AFTER)) {
            let label = self.lines[at].clone();
            let why = Why::Again(label.id.clone());
            return Some(self.second(&label, why));
        }
        if let Some(at) = self.repeats.front().copied().filter(|at| waited(*at, &self.history, REPEAT_AFTER)) {
            let label = self.lines[at].clone();
            let why = Why::Repeat(label.id.clone());
            return Some(self.second(&label, why));
        }
        if let Some(open) = self.queued.iter().copied().find(|i| !self.of_item.contains_key(&self.items[*i].id)) {
            return Some(self.fresh(open, Why::Queued));
        }
        while self.items.get(self.first_open).is_some_and(|i| self.of_item.contains_key(&i.id)) {
            self.first_open += 1;
        }
        if self.first_open < self.items.len() {
            return Some(self.fresh(self.first_open, Why::New));
        }
        // Nothing else is left: what should have waited longer comes now, if it is not what was just decided.
        let last = self.history.last().copied().filter(|_| decided > 1);
        if let Some(at) = self.again.front().copied() {
            let label = self.lines[at].clone();
            let why = Why::Again(label.id.clone());
            return Some(self.second(&label, why));
        }
        let at = self.repeats.iter().copied().find(|at| Some(*at) != last && decided > 1)?;
        let label = self.lines[at].clone();
        let why = Why::Repeat(label.id.clone());
        Some(self.second(&label, why))
    }

    /// An item for the first time, shuffled.
    fn fresh(&self, at: usize, why: Why) -> Showing {
        self.shuffled(self.items[at].clone(), why)
    }

    /// An item once more, shuffled anew.
    fn second(&self, label: &Label, why: Why) -> Showing {
        let item = match self.index.get(&label.item) {
            Some(at) => self.items[*at].clone(),
            None => Arc::new(Item {
                schema: super::SCHEMA,
                id: label.item.clone(),
                prompt: label.prompt.clone(),
                responses: label.responses.clone(),
                ..Item::default()
            }),
        };
        self.shuffled(item, why)
    }

    fn shuffled(&self, item: Arc<Item>, why: Why) -> Showing {
        // 53 bits, so that every reader of JSON keeps it whole.
        let name = format!("shuffle/{}/{}/{}/{}", self.set.name, self.annotator, item.id, self.lines.len());
        let shuffle_seed = Stream::new(0, &name).next_u64() >> 11;
        let display = display_order(&item, shuffle_seed);
        Showing { item, display, shuffle_seed, why, before: None }
    }
}

/// The places of an item's responses that a seed gives.
pub fn display_order(item: &Item, shuffle_seed: u64) -> Vec<String> {
    let mut ids: Vec<String> = item.responses.iter().map(|r| r.id.clone()).collect();
    Stream::new(shuffle_seed, "display").shuffle(&mut ids);
    ids
}

/// Whether two orders have no best response in common.
pub fn contradicts(a: &Tiers, b: &Tiers) -> bool {
    match (a.first(), b.first()) {
        (Some(a), Some(b)) => !a.iter().any(|id| b.contains(id)),
        _ => false,
    }
}
