//! The Eval pane: tasks and models with their scores, differences on the same items, and the items themselves.
//! Deliberately not here: asking models (the engine's `eval` job) and statistics (`eval`).

mod act;
mod draw;
mod explain;
mod filter;
mod form;
mod item;
mod items;
mod keys;

use crossterm::event::{KeyCode, KeyEvent, MouseButton, MouseEvent, MouseEventKind};
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use std::borrow::Cow;
use std::cell::Cell;

use crate::eval::report::{Report, TaskReport};
use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint, Pane, Show};
use crate::ui::widgets::field::Field;
use crate::ui::world::{Job, World};
use form::Form;

/// What is on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum View {
    /// Tasks and evaluations.
    #[default]
    Table,
    /// The items of one task in one evaluation.
    Items,
}

/// What a line is typed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Filter,
    Tag,
    /// A file that items are added to: the selected one, or all that are listed.
    Dataset {
        all: bool,
    },
}

/// What the loader was asked, so that nothing is asked twice.
#[derive(Clone, Debug, Default, PartialEq)]
struct Asked {
    list: bool,
    compared: Option<(Vec<String>, Option<String>)>,
    opened: Option<(String, Option<String>)>,
}

/// What the last drawing found out, for the mouse and for keys that move by pages.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    main: Rect,
    side: Rect,
    /// Lines of the side, and how many fit.
    lines: usize,
    height: usize,
    rows: usize,
}

#[derive(Default)]
pub struct Eval {
    view: View,
    /// The row (a task) and the column (an evaluation).
    task: usize,
    column: usize,
    /// The evaluation that others are set against; the one before the selected where none was chosen.
    base: Option<String>,
    /// Among the items that the filter leaves.
    item: usize,
    filter: String,
    /// Goes round the usual filters.
    only: usize,
    in_side: bool,
    zoom: bool,
    scroll: usize,
    asking: Option<(Wanted, Field)>,
    form: Option<Form>,
    /// The evaluation that was started here.
    started: Option<u64>,
    asked: Asked,
    /// The newest evaluation that had ended when the list was read last.
    ended: Option<u64>,
    /// The last word of the loader that was passed on.
    heard: u64,
    seen: Cell<Seen>,
}

/// A column of the table.
struct Column<'a> {
    name: String,
    report: Cow<'a, Report>,
    /// While it runs.
    job: Option<&'a Job>,
}

impl Column<'_> {
    fn task(&self, name: &str) -> Option<&TaskReport> {
        self.report.tasks.iter().find(|t| t.name == name)
    }
}

impl Eval {
    /// All evaluations, those that run first.
    fn columns<'a>(&self, world: &'a World) -> Vec<Column<'a>> {
        let mut out = Vec::new();
        let live = world.jobs.values().rev().filter(|j| j.kind == "eval" && j.ended.is_none());
        for job in live {
            let Some(eval) = job.facts.get("eval") else { continue };
            let name = eval["name"].as_str().unwrap_or_default().to_owned();
            if let Ok(report) = serde_json::from_value(eval["report"].clone()) {
                out.push(Column { name, report: Cow::Owned(report), job: Some(job) });
            }
        }
        for (name, report) in world.evals.listed.iter().flatten() {
            if !out.iter().any(|c| c.name == *name) {
                out.push(Column { name: name.clone(), report: Cow::Borrowed(report), job: None });
            }
        }
        out
    }

    /// The names of all tasks, in the order in which the columns have them.
    fn rows(columns: &[Column]) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for task in columns.iter().flat_map(|c| &c.report.tasks) {
            if !out.contains(&task.name) {
                out.push(task.name.clone());
            }
        }
        out
    }

    /// The evaluation that the selected one is compared with.
    fn base_of(&self, columns: &[Column]) -> Option<String> {
        let own = columns.get(self.column).map(|c| c.name.as_str());
        let chosen = self.base.clone().filter(|b| columns.iter().any(|c| c.name == *b) && Some(b.as_str()) != own);
        chosen.or_else(|| columns.get(self.column + 1).or(columns.first()).map(|c| c.name.clone()).filter(|b| Some(b.as_str()) != own))
    }
}

impl Pane for Eval {
    fn id(&self) -> &'static str {
        "eval"
    }

    fn title(&self) -> &'static str {
        "Eval"
    }

    fn bindings(&self) -> &'static [Binding] {
        keys::BINDINGS
    }

    fn hints(&self, world: &World) -> Vec<Hint> {
        if self.form.is_some() || self.asking.is_some() {
            return Vec::new();
        }
        let mut hints = Vec::new();
        let columns = self.columns(world);
        if self.view == View::Items {
            hints.extend([("eval.only", "only"), ("eval.filter", "filter"), ("eval.correct", "by hand"), ("eval.tag", "tag")]);
            hints.extend([
                ("eval.rank", "to Rank"),
                ("eval.dataset", "to a file"),
                ("eval.open", if self.in_side { "list" } else { "read" }),
            ]);
            return hints;
        }
        if !columns.is_empty() {
            hints.push(("eval.open", "items"));
        }
        if columns.len() > 1 {
            hints.push(("eval.base", "compare with this"));
        }
        if self.running(world).is_some() {
            hints.push(("eval.stop", "stop"));
        }
        hints.extend([("eval.new", "new"), ("eval.again", "again")]);
        if columns.is_empty() {
            hints.pop();
        }
        hints
    }

    fn explain(&self, world: &World) -> String {
        explain::text(self, world)
    }

    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let mut out = self.perform(action, cx);
        out.extend(self.wants(cx.world));
        out
    }

    fn key(&mut self, key: KeyEvent, cx: &Context) -> Option<Vec<Effect>> {
        if let Some(form) = &mut self.form {
            let outcome = form.key(&key);
            return Some(self.form_outcome(outcome, cx.world));
        }
        let (wanted, field) = self.asking.as_mut()?;
        match key.code {
            KeyCode::Enter => {
                let (wanted, text) = (*wanted, field.text().trim().to_owned());
                self.asking = None;
                Some(self.answered(wanted, &text, cx))
            }
            KeyCode::Esc => {
                self.asking = None;
                Some(Vec::new())
            }
            _ => field.key(&key).then(Vec::new),
        }
    }

    fn paste(&mut self, text: &str, _: &Context) -> Vec<Effect> {
        if let Some(form) = &mut self.form {
            form.paste(text);
        } else if let Some((_, field)) = &mut self.asking {
            field.insert(text);
        }
        Vec::new()
    }

    fn mouse(&mut self, event: MouseEvent, _: Rect, cx: &Context) -> Vec<Effect> {
        let seen = self.seen.get();
        let at = Position { x: event.column, y: event.row };
        match event.kind {
            MouseEventKind::ScrollDown | MouseEventKind::ScrollUp => {
                let by = if event.kind == MouseEventKind::ScrollDown { 3 } else { -3 };
                let before = std::mem::replace(&mut self.in_side, seen.side.contains(at) && self.view == View::Items);
                self.step(by, cx.world);
                self.in_side = before;
            }
            MouseEventKind::Down(MouseButton::Left) if seen.side.contains(at) => self.in_side = self.view == View::Items,
            MouseEventKind::Down(MouseButton::Left) if seen.main.contains(at) => return self.click(at, cx),
            _ => {}
        }
        self.wants(cx.world)
    }

    fn captures_text(&self) -> bool {
        self.form.is_some() || self.asking.is_some()
    }

    fn back(&mut self) -> bool {
        if self.form.take().is_some() || self.asking.take().is_some() || std::mem::take(&mut self.zoom) {
            return true;
        }
        if self.view == View::Items {
            if !std::mem::take(&mut self.in_side) {
                if self.filter.is_empty() {
                    self.view = View::Table
                } else {
                    self.filter.clear()
                }
                (self.only, self.item, self.scroll) = (0, 0, 0);
            }
            return true;
        }
        false
    }

    fn open(&mut self, show: &Show, cx: &Context) -> Vec<Effect> {
        if let Show::Named(model) = show {
            self.view = View::Table;
            let columns = self.columns(cx.world);
            match columns.iter().position(|c| c.report.model == *model) {
                Some(at) => self.column = at,
                None => self.form = Some(Form::new(cx.world, Some(model.clone()))),
            }
        }
        self.wants(cx.world)
    }

    fn refresh(&mut self, cx: &Context) -> Vec<Effect> {
        let mut out = self.hear(cx.world);
        out.extend(self.wants(cx.world));
        out
    }

    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        draw::pane(self, frame, area, cx);
    }
}
