//! Train: the runs of the project, their curves, what a step does, what the model writes while it learns.
//! Deliberately not here: what is true of a run (the world), and any computation.

mod actions;
mod charts;
mod explain;
mod follow;
mod form;
mod form_draw;
mod list;
mod mouse;
mod step;
mod view;
mod words;

use std::cell::RefCell;
use std::collections::BTreeSet;

use crossterm::event::{KeyCode, KeyEvent, MouseEvent};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};

use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint, Pane, Show};
use crate::ui::widgets::field::Field;
use crate::ui::world::{Run, Status, World};
use form::Form;
use view::{Memory, View};

/// What has the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Part {
    Runs,
    #[default]
    Chart,
    Panel,
}

/// What the lower panel shows; on a small screen also what the whole pane shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Tab {
    #[default]
    Step,
    Samples,
    Notes,
    Recipe,
    Difference,
}

const TABS: [Tab; 5] = [Tab::Step, Tab::Samples, Tab::Notes, Tab::Recipe, Tab::Difference];

impl Tab {
    fn title(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Samples => "samples",
            Self::Notes => "notes",
            Self::Recipe => "recipe",
            Self::Difference => "difference",
        }
    }
}

/// The order of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Sort {
    #[default]
    Newest,
    Best,
    Name,
    Status,
}

/// A job asked for, until the engine answered.
struct Asked {
    ticket: u64,
    /// Comes back with the reason if the engine refuses.
    form: Option<Box<Form>>,
    /// A run to lay under the new one.
    under: Option<String>,
}

#[derive(Default)]
pub struct Train {
    selected: Option<String>,
    /// Other runs whose curves are drawn too.
    overlaid: Vec<String>,
    focus: Part,
    zoomed: bool,
    tab: Tab,
    /// On a small screen, whether the chart is shown instead of the panel's tab.
    panel_alone: bool,
    view: View,
    sort: Sort,
    filter: Field,
    filtering: bool,
    /// Lines that the panel is scrolled down.
    scroll: usize,
    form: Option<Box<Form>>,
    asked: Option<Asked>,
    /// Runs to lay over each other as they appear, and how many of them have.
    comparing: (Vec<String>, usize),
    opening: BTreeSet<String>,
    memory: RefCell<Memory>,
}

/// Whether there is no room for parts beside each other.
fn is_small(area: Rect) -> bool {
    area.width < 96 || area.height < 25
}

fn is_wide(area: Rect) -> bool {
    area.width >= 168 && area.height >= 36
}

impl Train {
    fn run<'a>(&self, world: &'a World) -> Option<&'a Run> {
        world.runs.get(self.selected.as_ref()?)
    }

    /// The selected run and those laid under it.
    fn shown<'a>(&self, world: &'a World) -> Vec<&'a Run> {
        let others = self.overlaid.iter().filter(|name| Some(*name) != self.selected.as_ref());
        self.selected.iter().chain(others).filter_map(|name| world.runs.get(name)).collect()
    }

    fn select(&mut self, name: &str) {
        if self.selected.as_deref() != Some(name) {
            self.selected = Some(name.into());
            self.view.reset();
            self.scroll = 0;
        }
    }

    /// Reads what is shown and not here yet.
    fn open_missing(&mut self, world: &World) -> Vec<Effect> {
        let mut effects = Vec::new();
        for run in self.shown(world) {
            let missing = run.stale || !run.opened;
            if missing && self.opening.insert(run.name.clone()) {
                effects.push(Effect::OpenRun(run.name.clone()));
            }
        }
        self.opening.retain(|name| world.runs.get(name).is_some_and(|run| run.stale || !run.opened));
        effects
    }

    /// Follows the answer to a job that was asked for.
    fn follow(&mut self, world: &World) {
        let Some(asked) = &self.asked else { return };
        if let Some(why) = world.refused.get(&asked.ticket) {
            let form = self.asked.take().and_then(|a| a.form);
            self.form = form.map(|mut form| {
                form.refused = Some(why.clone());
                form
            });
            return;
        }
        let run = world.tickets.get(&asked.ticket).and_then(|job| world.jobs.get(job)).and_then(|job| job.run.clone());
        if let Some(name) = run {
            let under = self.asked.take().and_then(|a| a.under);
            self.select(&name);
            self.overlaid = under.into_iter().collect();
        }
    }

    /// Shows the runs that were asked for together, as far as they have begun: one that waits has no curve.
    fn compare(&mut self, world: &World) {
        let (names, seen) = &self.comparing;
        let there: Vec<String> =
            names.iter().filter(|n| world.runs.get(*n).is_some_and(|run| run.status() != Status::Waiting)).cloned().collect();
        if there.len() == *seen {
            return;
        }
        self.comparing.1 = there.len();
        if let Some((first, others)) = there.split_first() {
            self.select(first);
            self.overlaid = others.to_vec();
        }
    }

    fn draw_parts(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        if self.zoomed {
            return match self.focus {
                Part::Runs => self.draw_list(frame, area, cx),
                Part::Chart => self.draw_chart(frame, area, cx),
                Part::Panel => self.draw_panel(frame, area, cx, self.tab),
            };
        }
        if is_small(area) {
            return self.draw_small(frame, area, cx);
        }
        if is_wide(area) {
            return self.draw_wide(frame, area, cx);
        }
        let [list, right] = Layout::horizontal([Constraint::Length(24), Constraint::Fill(1)]).areas(area);
        // What one step did to one token needs a line or two more.
        let stepping = self.tab == Tab::Step && self.run(cx.world).is_some_and(|run| run.status() == Status::Paused);
        let panel = (area.height / 4).clamp(if stepping { 11 } else { 8 }, 14);
        let [chart, small, panel] = Layout::vertical([Constraint::Fill(1), Constraint::Length(5), Constraint::Length(panel)]).areas(right);
        self.draw_list(frame, list, cx);
        self.draw_chart(frame, chart, cx);
        self.draw_small_charts(frame, small, cx);
        self.draw_panel(frame, panel, cx, self.tab);
    }

    fn draw_wide(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let side = (area.width * 3 / 10).clamp(48, 72);
        let [list, middle, side] = Layout::horizontal([Constraint::Length(27), Constraint::Fill(1), Constraint::Length(side)]).areas(area);
        let [chart, small, step] = Layout::vertical([Constraint::Fill(1), Constraint::Length(7), Constraint::Length(11)]).areas(middle);
        let [samples, other] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(side);
        self.draw_list(frame, list, cx);
        self.draw_chart(frame, chart, cx);
        self.draw_small_charts(frame, small, cx);
        self.draw_panel(frame, step, cx, Tab::Step);
        self.draw_panel(frame, samples, cx, Tab::Samples);
        let tab = if matches!(self.tab, Tab::Step | Tab::Samples) { Tab::Notes } else { self.tab };
        self.draw_panel(frame, other, cx, tab);
    }

    fn draw_small(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let [line, rest] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        self.draw_run_line(frame, line, cx);
        if self.focus == Part::Runs {
            self.draw_list(frame, rest, cx);
        } else if self.panel_alone {
            self.draw_panel(frame, rest, cx, self.tab);
        } else {
            let [chart, figures] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(rest);
            self.draw_chart(frame, chart, cx);
            self.draw_figures(frame, figures, cx);
        }
    }
}

impl Pane for Train {
    fn id(&self) -> &'static str {
        "train"
    }

    fn title(&self) -> &'static str {
        "Train"
    }

    fn bindings(&self) -> &'static [Binding] {
        if self.form.is_some() { form::BINDINGS } else { actions::BINDINGS }
    }

    fn all_bindings(&self) -> Vec<Binding> {
        actions::BINDINGS.iter().chain(form::BINDINGS).copied().collect()
    }

    fn hints(&self, world: &World) -> Vec<Hint> {
        self.offered(world)
    }

    fn explain(&self, world: &World) -> String {
        explain::text(self.run(world))
    }

    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        if self.form.is_some() { self.act_in_form(action, cx) } else { self.perform(action, cx) }
    }

    fn key(&mut self, key: KeyEvent, cx: &Context) -> Option<Vec<Effect>> {
        if let Some(form) = &mut self.form {
            return form.key(key).then(|| form.ask(cx.world));
        }
        if self.filtering {
            if key.code == KeyCode::Enter {
                self.filtering = false;
                return Some(Vec::new());
            }
            return self.filter.key(&key).then(Vec::new);
        }
        None
    }

    fn paste(&mut self, text: &str, cx: &Context) -> Vec<Effect> {
        if let Some(form) = &mut self.form {
            form.paste(text);
            return form.ask(cx.world);
        }
        if self.filtering {
            self.filter.insert(text);
        }
        Vec::new()
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect, cx: &Context) -> Vec<Effect> {
        self.on_mouse(event, area, cx)
    }

    fn captures_text(&self) -> bool {
        self.form.is_some() || self.filtering
    }

    fn back(&mut self) -> bool {
        if self.form.take().is_some() || std::mem::take(&mut self.filtering) || std::mem::take(&mut self.zoomed) {
            return true;
        }
        if !self.filter.text().is_empty() {
            self.filter.clear();
            return true;
        }
        self.view.cursor.take().is_some() || self.view.span.take().is_some()
    }

    fn open(&mut self, show: &Show, cx: &Context) -> Vec<Effect> {
        match show {
            Show::Samples { ticket } => {
                self.asked = Some(Asked { ticket: *ticket, form: None, under: None });
                self.tab = Tab::Samples;
            }
            Show::Compare(names) => self.comparing = (names.clone(), 0),
            Show::Named(name) => self.select(name),
            Show::New => return self.perform("train.new", cx),
        }
        self.refresh(cx)
    }

    fn refresh(&mut self, cx: &Context) -> Vec<Effect> {
        let world = cx.world;
        self.follow(world);
        self.compare(world);
        if self.run(world).is_none() {
            let first = world.live_run().map(|r| r.name.clone()).or_else(|| self.listed(world).first().map(|r| r.name.clone()));
            self.selected = first;
        }
        self.overlaid.retain(|name| world.runs.contains_key(name));
        let mut effects = self.open_missing(world);
        if let Some(form) = &mut self.form {
            form.arrived(world);
            effects.extend(form.ask(world));
        }
        effects
    }

    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        if area.is_empty() {
            return;
        }
        match &self.form {
            Some(form) => form.draw(frame, area, cx),
            None if cx.world.runs.is_empty() => self.draw_empty(frame, area, cx),
            None => self.draw_parts(frame, area, cx),
        }
    }
}
