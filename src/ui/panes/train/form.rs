//! The recipe form: every knob as a field that is checked while one types, and an estimate of what it would need.
//! Deliberately not here: drawing (`form_draw`), and what any knob means (`recipe`).

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Asked, Train};
use crate::data::sample;
use crate::engine::catalog;
use crate::recipe::{KNOBS, Knob, Range, Recipe};
use crate::spec::{JobSpec, TrainSpec};
use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect};
use crate::ui::widgets::field::Field;
use crate::ui::world::{Estimate, Load, Run, World};

pub(super) const BINDINGS: &[Binding] = &[
    Binding {
        action: "form.start",
        keys: "enter|ctrl-s",
        label: "start",
        help: "Start the run, or go to the first mistake.",
        footer: true,
    },
    Binding { action: "form.next", keys: "down|tab", label: "next", help: "The next field.", footer: true },
    Binding { action: "form.previous", keys: "up|shift-tab", label: "previous", help: "The field before.", footer: false },
    Binding { action: "form.page-down", keys: "pagedown", label: "section", help: "The next section.", footer: true },
    Binding { action: "form.page-up", keys: "pageup", label: "section", help: "The section before.", footer: false },
    Binding { action: "form.default", keys: "ctrl-r", label: "default", help: "Put the field's default back.", footer: true },
];

/// Where the recipe comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// A recipe that is built into the program.
    Built(&'static str),
    /// That of a run.
    Run(String),
    /// A file, by its path.
    File,
}

/// A line of the form that can have the focus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Row {
    Source,
    Path,
    Name,
    /// Of a fork: new weights, or those of the run.
    Weights,
    Knob(usize),
}

pub(super) struct Form {
    /// Why the engine refused what was asked for.
    pub refused: Option<String>,
    /// The run whose recipe is changed.
    pub fork: Option<String>,
    pub go_on: bool,
    pub sources: Vec<(Source, String)>,
    pub source: usize,
    pub path: Field,
    pub name: Field,
    /// One for each of `KNOBS`.
    pub inputs: Vec<Field>,
    pub at: usize,
    /// By knob: what is wrong with its value.
    pub mistakes: Vec<Option<String>>,
    /// What is wrong without belonging to a knob.
    pub trouble: Option<String>,
    pub estimate: Option<Result<Estimate, String>>,
    base: PathBuf,
    /// The recipe as it was taken over: objective keys that no field shows are kept from it.
    taken: Recipe,
    dirty: bool,
    pending: Option<u64>,
    reading: Option<u64>,
    wants_file: bool,
}

/// A value as a field shows it.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => match items.as_slice() {
            [toml::Value::String(one)] if !one.is_empty() && !one.contains(',') && !one.starts_with('[') => one.clone(),
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

fn text_of(recipe: &Recipe, knob: &Knob) -> String {
    let table = toml::Table::try_from(recipe).unwrap_or_default();
    let section = if knob.section().is_empty() { Some(&table) } else { table.get(knob.section()).and_then(toml::Value::as_table) };
    section.and_then(|s| s.get(knob.key())).map(shown).unwrap_or_default()
}

impl Form {
    /// A new run, from the built-in sample or whatever the person chooses.
    pub fn new(world: &World) -> Self {
        let built = sample::recipes().map(|name| (Source::Built(name), sample::recipe(name).unwrap_or_default().to_string()));
        let runs = world.runs.values().filter(|run| !run.recipe.is_empty()).map(|run| (Source::Run(run.name.clone()), run.recipe.clone()));
        let sources: Vec<_> = built.chain(runs).chain([(Source::File, String::new())]).collect();
        Self::with(sources, None, world)
    }

    /// A run's recipe with keys to change.
    pub fn fork(run: &Run, world: &World) -> Self {
        let mut form = Self::with(vec![(Source::Run(run.name.clone()), run.recipe.clone())], Some(run.name.clone()), world);
        form.at = form.rows().iter().position(|row| matches!(row, Row::Knob(i) if KNOBS[*i].name == "optim.lr")).unwrap_or(0);
        form
    }

    fn with(sources: Vec<(Source, String)>, fork: Option<String>, world: &World) -> Self {
        let mut form = Self {
            refused: None,
            fork,
            go_on: false,
            sources,
            source: 0,
            path: Field::default(),
            name: Field::default(),
            inputs: vec![Field::default(); KNOBS.len()],
            at: 0,
            mistakes: vec![None; KNOBS.len()],
            trouble: None,
            estimate: None,
            base: world.project.clone(),
            taken: Recipe::default(),
            dirty: true,
            pending: None,
            reading: None,
            wants_file: false,
        };
        let text = form.sources.first().map(|(_, text)| text.clone()).unwrap_or_default();
        form.take(&text);
        form
    }

    /// Fills the fields from a recipe's text.
    fn take(&mut self, text: &str) {
        self.dirty = true;
        let knobs = catalog::objective_knobs(text).unwrap_or_default();
        match Recipe::parse(text, "recipe", knobs) {
            Ok(mut recipe) => {
                recipe.absolute(&self.base);
                self.inputs = KNOBS.iter().map(|knob| Field::new(&text_of(&recipe, knob))).collect();
                self.taken = recipe;
                self.check();
            }
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    pub fn rows(&self) -> Vec<Row> {
        let mut rows = vec![Row::Source, Row::Name];
        if self.sources.get(self.source).is_some_and(|(s, _)| *s == Source::File) {
            rows.insert(1, Row::Path);
        }
        if self.fork.is_some() {
            rows[0] = Row::Weights;
        }
        rows.extend((0..KNOBS.len()).map(Row::Knob));
        rows
    }

    pub fn row(&self) -> Row {
        self.rows().get(self.at).copied().unwrap_or(Row::Source)
    }

    /// The recipe of the fields, and the mistakes by knob.
    fn build(&self) -> (Recipe, Vec<Option<String>>) {
        let mut recipe = Recipe { objective: self.taken.objective.clone(), ..Recipe::default() };
        let mut mistakes = vec![None; KNOBS.len()];
        let fresh = recipe.clone();
        for ((knob, input), mistake) in KNOBS.iter().zip(&self.inputs).zip(&mut mistakes) {
            let text = input.text().trim();
            if knob.name == "model.init" {
                // A run's name or a path as it stands: whether it is there is for the engine to find out.
                recipe.model.init = (!text.is_empty()).then(|| text.to_string());
            } else if text.is_empty() && !knob.optional() && !matches!(knob.range, Range::Text | Range::Texts | Range::Paths) {
                *mistake = Some(format!("needs a value: {}", knob.range));
            } else if text != text_of(&fresh, knob)
                && let Err(error) = recipe.set(knob.name, text, &self.base, &[])
            {
                *mistake = Some(error.problem.message);
            }
        }
        if let Some(run) = self.fork.as_ref().filter(|_| self.go_on) {
            recipe.model.init = Some(run.clone());
        }
        (recipe, mistakes)
    }

    fn check(&mut self) {
        let (recipe, mut mistakes) = self.build();
        self.trouble = None;
        // Combinations are looked at only when every value by itself is good.
        if mistakes.iter().all(Option::is_none) {
            for problem in recipe.check() {
                match KNOBS.iter().position(|knob| knob.name == problem.key) {
                    Some(i) => mistakes[i] = Some(problem.message),
                    None => self.trouble = Some(problem.message),
                }
            }
            if recipe.data.train.is_empty()
                && let Some(i) = KNOBS.iter().position(|knob| knob.name == "data.train")
            {
                mistakes[i] = Some("names no text to train on; a file, a glob, or sample:stories".into());
            }
        }
        self.mistakes = mistakes;
        self.refused = None;
    }

    pub fn is_good(&self) -> bool {
        self.trouble.is_none() && self.mistakes.iter().all(Option::is_none)
    }

    /// Asks for what the fields need: an estimate, or the recipe of a file.
    pub fn ask(&mut self, world: &World) -> Vec<Effect> {
        if std::mem::take(&mut self.wants_file) {
            let ticket = world.ticket();
            self.reading = Some(ticket);
            return vec![Effect::Load(Load::Recipe { ticket, path: PathBuf::from(self.path.text().trim()) })];
        }
        if !self.dirty || self.pending.is_some() || !self.is_good() {
            return Vec::new();
        }
        self.dirty = false;
        vec![self.first_with(world.ticket())]
    }

    /// The first estimate; its ticket is of no number that the world gives.
    pub fn first(&mut self) -> Effect {
        self.dirty = false;
        self.first_with(0)
    }

    fn first_with(&mut self, ticket: u64) -> Effect {
        self.pending = Some(ticket);
        Effect::Load(Load::Estimate { ticket, recipe: self.build().0.to_toml(), base: self.base.clone() })
    }

    /// Takes what the loader answered.
    pub fn arrived(&mut self, world: &World) {
        if let Some(answer) = self.pending.and_then(|ticket| world.estimates.get(&ticket)) {
            self.estimate = Some(answer.clone());
            self.pending = None;
        }
        match self.reading.and_then(|ticket| world.recipes.get(&ticket)) {
            Some(Ok(recipe)) => {
                self.base.clone_from(&recipe.base);
                self.reading = None;
                let text = recipe.text.clone();
                self.take(&text);
            }
            Some(Err(why)) => {
                self.trouble = Some(why.clone());
                self.reading = None;
            }
            None => {}
        }
    }

    fn field(&mut self) -> Option<&mut Field> {
        match self.row() {
            Row::Path => Some(&mut self.path),
            Row::Name => Some(&mut self.name),
            Row::Knob(i) => self.inputs.get_mut(i),
            Row::Source | Row::Weights => None,
        }
    }

    /// An editing key; whether it was used.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        if matches!(key.code, KeyCode::Up | KeyCode::Down | KeyCode::Tab | KeyCode::BackTab | KeyCode::Enter | KeyCode::Esc)
            || (ctrl && matches!(key.code, KeyCode::Char('s' | 'r' | 'z' | 'y')))
        {
            return false;
        }
        let sideways = match key.code {
            KeyCode::Left => Some(false),
            KeyCode::Right | KeyCode::Char(' ') => Some(true),
            _ => None,
        };
        if let Some(forward) = sideways
            && self.turn(forward)
        {
            return true;
        }
        let Some(field) = self.field() else { return matches!(key.code, KeyCode::Char(_)) && !ctrl };
        let before = field.text().to_string();
        let used = field.key(&key);
        if field.text() != before {
            self.changed();
        }
        used
    }

    pub fn paste(&mut self, text: &str) {
        if let Some(field) = self.field() {
            field.insert(text.trim_end());
            self.changed();
        }
    }

    fn changed(&mut self) {
        if matches!(self.row(), Row::Knob(_)) {
            self.dirty = true;
            self.check();
        }
    }

    /// The next or previous of a few choices; false where the row has none.
    fn turn(&mut self, forward: bool) -> bool {
        let step = |at: usize, len: usize| if forward { (at + 1) % len.max(1) } else { (at + len.max(1) - 1) % len.max(1) };
        match self.row() {
            Row::Source => {
                self.source = step(self.source, self.sources.len());
                let text = self.sources.get(self.source).map(|(_, text)| text.clone()).unwrap_or_default();
                if !text.is_empty() {
                    self.take(&text);
                }
            }
            Row::Weights => {
                self.go_on = !self.go_on;
                self.dirty = true;
                self.check();
            }
            Row::Knob(i) => {
                let choices: &[&str] = match KNOBS[i].range {
                    Range::Choice(names) => names,
                    Range::Bool if KNOBS[i].optional() => &["", "true", "false"],
                    Range::Bool => &["true", "false"],
                    _ => return false,
                };
                let at = choices.iter().position(|c| *c == self.inputs[i].text()).map_or(0, |at| step(at, choices.len()));
                self.inputs[i] = Field::new(choices[at]);
                self.changed();
            }
            Row::Path | Row::Name => return false,
        }
        true
    }

    fn go(&mut self, to: usize) {
        // Leaving the field of a path reads the file.
        if self.row() == Row::Path && !self.path.text().trim().is_empty() {
            self.wants_file = true;
        }
        self.at = to.min(self.rows().len() - 1);
    }

    fn act(&mut self, action: Action) {
        let rows = self.rows();
        let section = |row: &Row| if let Row::Knob(i) = row { KNOBS[*i].section() } else { "run" };
        let here = section(&self.row());
        match action {
            "form.next" => self.go((self.at + 1) % rows.len()),
            "form.previous" => self.go((self.at + rows.len() - 1) % rows.len()),
            "form.page-down" => self.go((self.at..rows.len()).find(|i| section(&rows[*i]) != here).unwrap_or(0)),
            "form.page-up" => {
                let before = (0..self.at).rev().find(|i| section(&rows[*i]) != here).unwrap_or(rows.len() - 1);
                let name = section(&rows[before]);
                self.go(rows.iter().position(|row| section(row) == name).unwrap_or(before));
            }
            "form.default" => {
                if let Row::Knob(i) = self.row() {
                    self.inputs[i] = Field::new(&text_of(&Recipe::default(), &KNOBS[i]));
                    self.changed();
                }
            }
            _ => {}
        }
    }

    fn first_mistake(&self) -> Option<usize> {
        let knob = self.mistakes.iter().position(Option::is_some)?;
        self.rows().iter().position(|row| *row == Row::Knob(knob))
    }
}

impl Train {
    pub(super) fn act_in_form(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let Some(form) = &mut self.form else { return Vec::new() };
        if action != "form.start" {
            form.act(action);
            return form.ask(cx.world);
        }
        if form.row() == Row::Path || form.reading.is_some() {
            form.go(form.at + 1);
            return form.ask(cx.world);
        }
        if !form.is_good() {
            if let Some(at) = form.first_mistake() {
                form.at = at;
            }
            return Vec::new();
        }
        let ticket = cx.world.ticket();
        let name = form.name.text().trim();
        let (recipe, base) = (form.build().0.to_toml(), form.base.clone());
        let spec = TrainSpec { recipe, base, name: (!name.is_empty()).then(|| name.to_string()), ..TrainSpec::default() };
        let form = self.form.take();
        let under = form.as_ref().and_then(|form| form.fork.clone());
        self.asked = Some(Asked { ticket, form, under });
        vec![Effect::Start { ticket, spec: JobSpec::new("train", &spec) }]
    }
}
