//! Data: the rows that a model learns from, one in full, what is wrong with them, and what a step sees of them.
//! `act` says what keys do, `draw` the list, `side` what stands beside it, `facts` and `mask` two of its pages, `form` the
//! cleaning's. Deliberately not here: reading files (`ui::desk`) and taking facts (a job).

mod act;
mod draw;
mod facts;
mod form;
mod mask;
mod side;

use crossterm::event::{KeyCode, KeyEvent, MouseEvent, MouseEventKind};
use ratatui::Frame;
use ratatui::layout::Rect;

use crate::data::clean::Cleaned;
use crate::data::facts::Facts;
use crate::ui::desk::{Ask, State};
use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint, Pane, Show};
use crate::ui::widgets::field::Field;
use crate::ui::world::{Load, World};

const fn bind(action: Action, keys: &'static str, label: &'static str, help: &'static str, footer: bool) -> Binding {
    Binding { action, keys, label, help, footer }
}

const BINDINGS: &[Binding] = &[
    bind("data.enter", "enter", "open", "Open these files, or this row in full; on a finding of the facts, go to its next row.", true),
    bind("data.view", "v", "view", "Show the row as text, as JSON, as a chat, as tokens with their loss, or the facts.", true),
    bind("data.filter", "/", "filter", "List only rows with a text, or by fields: id>7 role=user len>1000 is:broken.", true),
    bind("data.facts", "f", "facts", "Take the facts about all rows: lengths, duplicates, what is broken. Runs as a job.", true),
    bind("data.mask", "m", "mask", "Show the tokens that a training step sees of this row, and which carry loss.", true),
    bind("data.clean", "c", "clean", "Write a clean copy by rules that you choose.", true),
    bind("data.sort", "s", "sort", "Sort by length: longest first, shortest first, as in the file.", true),
    bind("data.sample", "r", "sample", "List rows at random; again, by the next seed.", true),
    bind("data.all", "a", "all", "List all rows, as they stand in the file.", false),
    bind("data.row", "#", "row", "Go to a row by its number.", false),
    bind("data.shape", "e", "shape", "Say what the rows are: SHAPE, or SHAPE part=field; nothing recognises it anew.", false),
    bind("data.open", "o", "open", "Open files, a directory or a pattern by name.", true),
    bind("data.reopen", "R", "reopen", "Open the same files again, as they are now.", false),
    bind("data.stop", "x", "stop", "Stop taking facts or cleaning; what was found so far stays.", false),
    bind("data.focus", "tab|shift-tab", "side", "Move between the list and what stands beside it.", false),
    bind("data.zoom", "z", "zoom", "Give the whole pane to the part in focus.", false),
    bind("data.down", "j|down", "down", "The next row or line.", false),
    bind("data.up", "k|up", "up", "The row or line before.", false),
    bind("data.next", "]|n", "next row", "The next row, wherever the focus is.", false),
    bind("data.previous", "[|N", "row before", "The row before, wherever the focus is.", false),
    bind("data.page_down", "ctrl-d|pagedown", "page down", "Half a page down.", false),
    bind("data.page_up", "ctrl-u|pageup", "page up", "Half a page up.", false),
    bind("data.top", "g g|home", "top", "The first row.", false),
    bind("data.end", "G|end", "end", "The last row.", false),
    bind("data.yank", "y", "copy", "Copy this row as it stands in the file.", false),
];

/// What stands beside the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Side {
    #[default]
    Text,
    Json,
    Chat,
    Mask,
    Facts,
}

/// What is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Typing {
    Filter,
    Open,
    Row,
    Shape,
}

/// What the desk was asked, so that nothing is asked twice.
#[derive(Clone, Debug, Default, PartialEq)]
struct Asked {
    list: bool,
    turn: u64,
    /// Where the window begins, and how many rows there were then.
    window: Option<(u64, u64)>,
    record: Option<u64>,
    mask: Option<(u64, Option<String>)>,
}

/// Rows that are read beyond the selected one, both ways.
const AROUND: u64 = 120;

#[derive(Default)]
pub struct Data {
    /// In the list of files.
    picked: usize,
    /// A place in the view.
    selected: u64,
    side: Side,
    in_side: bool,
    zoomed: bool,
    scroll: usize,
    typing: Option<(Typing, Field)>,
    form: Option<form::Form>,
    /// In the facts: the finding that is selected, and its example that was gone to.
    finding: usize,
    example: usize,
    seed: u64,
    asked: Asked,
    /// The jobs that were asked for, by their tickets.
    inspecting: Option<u64>,
    cleaning: Option<u64>,
    facts: Option<Box<Facts>>,
    cleaned: Option<Box<Cleaned>>,
    /// Where the next set of files was asked for: the view begins at its top.
    opened: bool,
}

fn ask(what: Ask) -> Effect {
    Effect::Load(Load::Data(what))
}

impl Data {
    fn state<'w>(&self, world: &'w World) -> Option<&'w State> {
        world.data.state.as_ref()
    }

    /// The run by whose recipe tokens are shown and counted.
    fn run(&self, world: &World) -> Option<String> {
        world.favourite().filter(|run| run.has_weights()).map(|run| run.name.clone())
    }

    /// Asks for what is seen and not known.
    fn wants(&mut self, world: &World) -> Vec<Effect> {
        let mut out = Vec::new();
        let data = &world.data;
        if data.files.is_none() && !self.asked.list {
            self.asked.list = true;
            out.push(ask(Ask::List));
        }
        let Some(state) = &data.state else { return out };
        if state.turn != self.asked.turn {
            self.asked = Asked { list: true, turn: state.turn, ..Asked::default() };
            (self.scroll, self.selected) = (0, if std::mem::take(&mut self.opened) { 0 } else { self.selected });
        }
        self.selected = self.selected.min(state.listed.saturating_sub(1));
        if state.listed == 0 {
            return out;
        }
        let from = self.selected.saturating_sub(AROUND);
        let until = (self.selected + AROUND / 2).min(state.listed);
        let has = |at: u64| data.window.first().is_some_and(|f| f.at <= at) && data.window.last().is_some_and(|l| l.at + 1 > at);
        let covered = has(self.selected.saturating_sub(AROUND / 2)) && has(until.saturating_sub(1));
        let asked = self
            .asked
            .window
            .is_some_and(|(at, listed)| at <= self.selected.saturating_sub(AROUND / 2) && (at + 2 * AROUND).min(listed) >= until);
        if !covered && !asked {
            self.asked.window = Some((from, state.listed));
            out.push(ask(Ask::Window { from, count: 2 * AROUND }));
        }
        if data.record.as_ref().is_none_or(|r| r.at != self.selected) && self.asked.record != Some(self.selected) {
            self.asked.record = Some(self.selected);
            out.push(ask(Ask::Record(self.selected)));
        }
        if let (Side::Mask, Some(record)) = (self.side, data.record.as_ref().filter(|r| r.at == self.selected)) {
            let wanted = Some((record.row, self.run(world)));
            if self.asked.mask != wanted {
                self.asked.mask.clone_from(&wanted);
                out.push(ask(Ask::Mask { row: record.row, run: self.run(world) }));
            }
        }
        out
    }

    /// Takes over what jobs have found.
    fn hear(&mut self, world: &World) {
        let ended = |ticket: &Option<u64>| {
            let job = world.jobs.get(world.tickets.get(&(*ticket)?)?)?;
            job.ended.is_some().then_some(job)
        };
        let value = |facts: &std::collections::BTreeMap<String, serde_json::Value>| {
            serde_json::Value::Object(facts.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
        };
        if let Some(job) = ended(&self.inspecting) {
            self.inspecting = None;
            if let Some(facts) = Some(&job.facts).filter(|f| !f.is_empty()).and_then(|f| serde_json::from_value(value(f)).ok()) {
                (self.facts, self.finding, self.example) = (Some(facts), 0, 0);
            }
        }
        if let Some(job) = ended(&self.cleaning) {
            self.cleaning = None;
            self.cleaned = Some(&job.facts).filter(|f| !f.is_empty()).and_then(|f| serde_json::from_value(value(f)).ok());
        }
    }
}

impl Pane for Data {
    fn id(&self) -> &'static str {
        "data"
    }

    fn title(&self) -> &'static str {
        "Data"
    }

    fn bindings(&self) -> &'static [Binding] {
        BINDINGS
    }

    fn hints(&self, world: &World) -> Vec<Hint> {
        if self.form.is_some() {
            return Vec::new();
        }
        let Some(state) = self.state(world) else { return vec![("data.enter", "open"), ("data.open", "a path")] };
        let mut hints = Vec::new();
        if self.side == Side::Facts && self.in_side && self.facts.is_some() {
            hints.push(("data.enter", "go to a row"));
        } else if !self.in_side {
            hints.push(("data.enter", "read"));
        }
        hints.extend([("data.view", "view"), ("data.filter", "filter")]);
        hints.push(if self.inspecting.is_some() || self.cleaning.is_some() { ("data.stop", "stop") } else { ("data.facts", "facts") });
        hints.extend([("data.mask", "mask"), ("data.clean", "clean"), ("data.sort", "sort"), ("data.sample", "sample")]);
        if state.view != crate::ui::desk::View::All {
            hints.insert(2, ("data.all", "all rows"));
        }
        hints.push(("data.open", "open"));
        hints
    }

    fn explain(&self, world: &World) -> String {
        let now = match self.state(world) {
            None => {
                "Nothing is open. The list shows the data files of this project and the texts that are built in; Enter opens one.".into()
            }
            Some(state) => {
                let shape = state.mapping.as_ref().map(|m| format!("{}, that is {}", m.shape, m.shape().about)).unwrap_or_default();
                format!("Open are {} rows of the shape {shape}.", crate::ui::widgets::grouped(state.rows))
            }
        };
        format!(
            "# What this shows\nA model can only learn what stands in its data, and most trainings that fail, fail here. {now} The list has a \
             line for each row; ✗ marks one that cannot be read or is of another shape. Beside it stands the selected row: as text, as JSON, as a \
             conversation, as tokens; v goes from one to the next.\n\n# Facts\nf reads every row, as a job that can be stopped, and says how long rows are, \
             which come twice or nearly so, which are empty or broken, and what looks private. Enter on a finding goes to its rows.\n\n# The mask\nA training \
             step does not see text but tokens, and learns only from those that carry loss: marked by ▀ below them. A prompt is only read (·). \
             ◆ is the end of a document: where it is never a target, a model never learns to stop. The tokens are made by the code that makes batches.\n\n# \
             Cleaning\nc writes a new file of the rows that keep to rules, and says what was left out and why. The source is never touched."
        )
    }

    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let mut out = self.action(action, cx);
        out.extend(self.wants(cx.world));
        out
    }

    fn key(&mut self, key: KeyEvent, cx: &Context) -> Option<Vec<Effect>> {
        if let Some(form) = &mut self.form {
            let outcome = form.key(&key);
            return Some(self.form_outcome(outcome, cx));
        }
        let (typing, field) = self.typing.as_mut()?;
        match key.code {
            KeyCode::Enter => {
                let (typing, text) = (*typing, field.text().trim().to_owned());
                self.typing = None;
                Some(self.typed(typing, &text, cx))
            }
            KeyCode::Esc => {
                self.typing = None;
                Some(Vec::new())
            }
            _ => field.key(&key).then(Vec::new),
        }
    }

    fn paste(&mut self, text: &str, _: &Context) -> Vec<Effect> {
        if let Some(form) = &mut self.form {
            form.paste(text);
        } else if let Some((_, field)) = &mut self.typing {
            field.insert(text);
        }
        Vec::new()
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect, cx: &Context) -> Vec<Effect> {
        let (list, side) = self.places(area);
        let at = ratatui::layout::Position { x: event.column, y: event.row };
        match event.kind {
            MouseEventKind::ScrollDown => self.wheel(side.contains(at), 3, cx),
            MouseEventKind::ScrollUp => self.wheel(side.contains(at), -3, cx),
            MouseEventKind::Down(_) => self.click(at, list, side, cx),
            _ => return Vec::new(),
        }
        self.wants(cx.world)
    }

    fn captures_text(&self) -> bool {
        self.typing.is_some() || self.form.is_some()
    }

    fn back(&mut self) -> bool {
        let used = self.zoomed || self.in_side;
        (self.zoomed, self.in_side) = (false, false);
        used
    }

    fn open(&mut self, show: &Show, cx: &Context) -> Vec<Effect> {
        match show {
            Show::Named(file) => self.open_files(vec![file.clone()], cx),
            _ => Vec::new(),
        }
    }

    fn refresh(&mut self, cx: &Context) -> Vec<Effect> {
        self.hear(cx.world);
        self.wants(cx.world)
    }

    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        self.draw_all(frame, area, cx);
    }
}
