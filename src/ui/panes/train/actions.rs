//! The keys of the Train pane and what they do.
//! Deliberately not here: the recipe form's keys (`form`).

use super::form::Form;
use super::{Asked, Part, Sort, TABS, Tab, Train, charts};
use crate::report::Signal;
use crate::spec::{JobSpec, TrainSpec};
use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint};
use crate::ui::world::{Run, Status, World};

const fn shown(action: Action, keys: &'static str, label: &'static str, help: &'static str) -> Binding {
    Binding { action, keys, label, help, footer: true }
}

const fn quiet(action: Action, keys: &'static str, label: &'static str, help: &'static str) -> Binding {
    Binding { action, keys, label, help, footer: false }
}

pub(super) const BINDINGS: &[Binding] = &[
    shown("train.new", "n|o", "new", "Start a run: a form for its recipe."),
    shown("train.pause", "p", "pause", "Pause the run after the step it is at, or go on."),
    shown("train.checkpoint", "c", "checkpoint", "Save the run as it is now."),
    shown("train.stop", "s", "stop", "Save the run and end it; it can be resumed."),
    shown("train.view", "v", "view", "The next view: chart, step, samples, notes, recipe, difference."),
    quiet("train.resume", "r", "resume", "Go on with a run that was stopped or interrupted."),
    quiet("train.fork", "f", "fork", "A new run from this one's recipe, with keys changed."),
    quiet("train.step", ".", "one step", "While paused: do exactly one step."),
    quiet("train.talk", "t", "talk", "Talk to this run's model in Chat."),
    quiet("train.open", "enter", "open", "Look at the selected run."),
    quiet("train.overlay", "space", "overlay", "Lay this run's curves under the others, or take them away."),
    quiet("train.difference", "d", "difference", "What differs between the recipes of this run and the one laid under it."),
    quiet("train.log-y", "L", "log", "A logarithmic vertical axis."),
    quiet("train.log-x", "X", "log steps", "A logarithmic axis of steps."),
    quiet("train.smooth", "m", "smooth", "The next smoothing: none, little, some, much."),
    quiet("train.metric", "b", "metric", "Show the next metric in the big chart."),
    quiet("train.zoom-in", "+|=", "zoom in", "Fewer steps, around the cursor."),
    quiet("train.zoom-out", "-", "zoom out", "More steps."),
    quiet("train.zoom-reset", "0", "all", "All steps."),
    quiet("train.pan-left", "[|shift-left", "earlier", "Earlier steps."),
    quiet("train.pan-right", "]|shift-right", "later", "Later steps."),
    quiet("train.left", "left|h", "cursor", "Move the cursor to an earlier point; in the panel, the tab before."),
    quiet("train.right", "right|l", "cursor", "Move the cursor to a later point; in the panel, the next tab."),
    quiet("train.up", "up|k", "up", "The run above; in the panel, scroll."),
    quiet("train.down", "down|j", "down", "The run below; in the panel, scroll."),
    quiet("train.page-up", "ctrl-u|pageup", "page up", "Half a page up."),
    quiet("train.page-down", "ctrl-d|pagedown", "page down", "Half a page down."),
    quiet("train.top", "g g|home", "top", "The first run or line; in the chart, the first step."),
    quiet("train.end", "G|end", "end", "The last run or line; in the chart, the last step."),
    quiet("train.focus", "tab", "focus", "The next part: runs, chart, panel."),
    quiet("train.focus-back", "shift-tab", "focus", "The part before."),
    quiet("train.zoom", "z", "zoom", "The focused part alone, or all parts again."),
    quiet("train.filter", "/", "filter", "Show the runs whose name holds a text."),
    quiet("train.sort", "S", "sort", "Sort runs: newest, best, name, status."),
    quiet("train.yank", "y", "copy", "Copy what the cursor reads, or the newest sample, or the recipe."),
];

impl Train {
    /// What would do something now: to steer a run it must be alive, to step it must be paused.
    pub(super) fn offered(&self, world: &World) -> Vec<Hint> {
        if self.form.is_some() {
            let own = super::form::BINDINGS.iter().filter(|b| b.footer).map(|b| (b.action, b.label));
            return own.chain([("app.back", "leaves")]).collect();
        }
        if self.filtering {
            return vec![("train.open", "keeps the filter"), ("app.back", "leaves the field")];
        }
        let (new, view) = (("train.new", "new"), ("train.view", "view"));
        let Some(run) = self.run(world) else { return vec![new] };
        let (fork, talk, checkpoint) = (("train.fork", "fork"), ("train.talk", "talk"), ("train.checkpoint", "checkpoint"));
        match run.status() {
            Status::Running => vec![new, ("train.pause", "pause"), checkpoint, ("train.stop", "stop"), view, talk],
            Status::Paused => {
                vec![("train.step", "one step"), ("train.pause", "go on"), ("train.stop", "stop"), checkpoint, view, new, talk]
            }
            Status::Waiting => vec![("train.stop", "do not begin it"), view, new],
            Status::Elsewhere => vec![view, talk, fork, new],
            Status::Stopped | Status::Interrupted | Status::Failed => {
                let mut all = vec![("train.resume", "resume"), fork, new, view];
                if run.has_weights() {
                    all.insert(2, talk);
                } else {
                    all.remove(0);
                }
                all
            }
            Status::Finished => vec![talk, fork, new, view],
        }
    }

    pub(super) fn perform(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let world = cx.world;
        match action {
            "train.new" => return self.begin(Form::new(world)),
            "train.fork" => return self.fork(world),
            "train.pause" | "train.checkpoint" | "train.stop" => return self.signal(action, world),
            "train.step" => {
                // What the step did is told in the panel; where there is room for one part alone, it is that one.
                if self.run(world).is_some_and(|run| run.status() == Status::Paused) {
                    (self.tab, self.panel_alone, self.scroll) = (Tab::Step, true, 0);
                }
                return self.signal(action, world);
            }
            "train.resume" => return self.resume(world),
            "train.talk" => {
                return self.selected.clone().map(|name| Effect::Open("chat", crate::ui::pane::Show::Named(name))).into_iter().collect();
            }
            "train.yank" => return self.yank(world),
            "train.open" => self.focus = if self.focus == Part::Runs { Part::Chart } else { self.focus },
            "train.view" => self.next_view(),
            "train.difference" => {
                (self.tab, self.panel_alone, self.focus, self.scroll) = (Tab::Difference, true, Part::Panel, 0);
            }
            "train.overlay" => self.toggle_overlay(world),
            "train.filter" => (self.filtering, self.focus) = (true, Part::Runs),
            "train.sort" => self.next_sort(),
            "train.zoom" => self.zoomed = !self.zoomed,
            "train.focus" => self.move_focus(true),
            "train.focus-back" => self.move_focus(false),
            _ => self.look(action, world),
        }
        self.open_missing(world)
    }

    /// What only changes how things are looked at.
    fn look(&mut self, action: Action, world: &World) {
        let runs = self.shown(world);
        match action {
            "train.log-y" => self.view.log_y = !self.view.log_y,
            "train.log-x" => {
                self.view.log_x = !self.view.log_x;
                self.view.span = None;
            }
            "train.smooth" => self.view.next_smoothing(),
            "train.metric" => self.next_metric(world),
            "train.zoom-in" => self.view.zoom(&runs, 0.5, None),
            "train.zoom-out" => self.view.zoom(&runs, 2.0, None),
            "train.zoom-reset" => self.view.reset(),
            "train.pan-left" => self.view.pan(&runs, -0.25),
            "train.pan-right" => self.view.pan(&runs, 0.25),
            "train.left" | "train.right" => self.sideways(action == "train.right", world),
            "train.up" => self.vertically(-1, world),
            "train.down" => self.vertically(1, world),
            "train.page-up" => self.vertically(-10, world),
            "train.page-down" => self.vertically(10, world),
            "train.top" => self.vertically(-100_000_000, world),
            "train.end" => self.vertically(100_000_000, world),
            _ => {}
        }
    }

    fn sideways(&mut self, forward: bool, world: &World) {
        if self.focus == Part::Panel && self.view.cursor.is_none() {
            let at = TABS.iter().position(|t| *t == self.tab).unwrap_or(0);
            let next = if forward { (at + 1) % TABS.len() } else { (at + TABS.len() - 1) % TABS.len() };
            (self.tab, self.scroll) = (TABS[next], 0);
            return;
        }
        let axis = self.view.axis(&self.shown(world));
        if let Some(series) = self.run(world).and_then(|run| run.series.get(self.view.metric())) {
            self.view.move_cursor(series, axis, charts::CURSOR_COLUMNS, forward);
        }
    }

    fn vertically(&mut self, by: i64, world: &World) {
        match self.focus {
            Part::Panel => self.scroll = (self.scroll as i64).saturating_add(by).clamp(0, 100_000) as usize,
            Part::Chart if by.abs() > 1_000 => {
                let series = self.run(world).and_then(|run| run.series.get(self.view.metric()));
                self.view.cursor = series.and_then(|s| if by < 0 { s.first() } else { s.last() }).map(|p| p.step);
            }
            Part::Runs | Part::Chart => {
                let names: Vec<String> = self.listed(world).iter().map(|run| run.name.clone()).collect();
                let at = names.iter().position(|name| Some(name) == self.selected.as_ref()).unwrap_or(0) as i64;
                let to = at.saturating_add(by).clamp(0, names.len().saturating_sub(1) as i64);
                if let Some(name) = names.get(to as usize) {
                    self.select(name);
                }
            }
        }
    }

    fn next_view(&mut self) {
        let at = TABS.iter().position(|t| *t == self.tab).unwrap_or(0);
        if !self.panel_alone {
            (self.panel_alone, self.tab) = (true, Tab::Step);
        } else if at + 1 < TABS.len() {
            self.tab = TABS[at + 1];
        } else {
            (self.panel_alone, self.tab) = (false, Tab::Step);
        }
        self.scroll = 0;
        if self.focus == Part::Runs {
            self.focus = Part::Chart;
        }
    }

    fn move_focus(&mut self, forward: bool) {
        self.focus = match (self.focus, forward) {
            (Part::Runs, true) | (Part::Panel, false) => Part::Chart,
            (Part::Chart, true) | (Part::Runs, false) => Part::Panel,
            (Part::Panel, true) | (Part::Chart, false) => Part::Runs,
        };
        self.panel_alone = self.focus == Part::Panel;
    }

    fn next_sort(&mut self) {
        self.sort = match self.sort {
            Sort::Newest => Sort::Best,
            Sort::Best => Sort::Name,
            Sort::Name => Sort::Status,
            Sort::Status => Sort::Newest,
        };
    }

    fn next_metric(&mut self, world: &World) {
        let Some(run) = self.run(world) else { return };
        let names: Vec<&String> = run.series.keys().filter(|name| *name != "val/loss").collect();
        let at = names.iter().position(|name| *name == self.view.metric());
        if let Some(next) = names.get(at.map_or(0, |i| (i + 1) % names.len())) {
            self.view.metric = (*next).clone();
        }
    }

    fn toggle_overlay(&mut self, world: &World) {
        let Some(name) = self.selected.clone() else { return };
        if let Some(at) = self.overlaid.iter().position(|n| *n == name) {
            self.overlaid.remove(at);
        } else if self.overlaid.len() < 5 && world.runs.contains_key(&name) {
            self.overlaid.push(name);
        }
    }

    fn begin(&mut self, form: Form) -> Vec<Effect> {
        let form = self.form.insert(Box::new(form));
        Vec::from([form.first()])
    }

    fn fork(&mut self, world: &World) -> Vec<Effect> {
        match self.run(world) {
            Some(run) if !run.recipe.is_empty() => {
                let form = Form::fork(run, world);
                self.begin(form)
            }
            Some(run) => vec![Effect::Toast(format!("{}: its recipe is not read yet", run.name))],
            None => vec![Effect::Toast("no run to fork; n starts one".into())],
        }
    }

    fn signal(&self, action: Action, world: &World) -> Vec<Effect> {
        let toast = |text: String| vec![Effect::Toast(text)];
        let Some(run) = self.run(world) else { return toast("no run is selected; n starts one".into()) };
        let Some(job) = run.job.filter(|_| run.is_live()) else {
            let other = world.live_run().map(|live| format!("; {} is at work: select it first", live.name));
            return toast(format!("{} is not running{}", run.name, other.unwrap_or_default()));
        };
        let (paused, waits) = (run.status() == Status::Paused, run.status() == Status::Waiting);
        let send = |signal| vec![Effect::Signal(job, signal)];
        match action {
            "train.stop" => {
                vec![Effect::Confirm { question: stop_question(run, world), then: Box::new(Effect::Signal(job, Signal::Stop)) }]
            }
            _ if waits => toast(format!("{} has not begun: it waits for the device", run.name)),
            "train.pause" => send(if paused { Signal::Continue } else { Signal::Pause }),
            "train.checkpoint" => send(Signal::Checkpoint),
            "train.step" if paused => send(Signal::Step),
            _ => toast("p pauses first; then each . does one step".into()),
        }
    }

    fn resume(&mut self, world: &World) -> Vec<Effect> {
        let Some(run) = self.run(world) else { return vec![Effect::Toast("no run to resume".into())] };
        let why = match run.status() {
            Status::Paused => Some("it is paused; p goes on"),
            Status::Running | Status::Waiting => Some("it runs or will; p pauses it"),
            Status::Elsewhere => Some("another process is at work on it"),
            Status::Finished => Some("it is finished; f starts a new run from its recipe"),
            Status::Interrupted | Status::Stopped | Status::Failed => None,
        };
        if let Some(why) = why {
            return vec![Effect::Toast(format!("{}: {why}", run.name))];
        }
        let ticket = world.ticket();
        let spec = JobSpec::new("train", &TrainSpec { resume: Some(run.name.clone()), ..TrainSpec::default() });
        self.asked = Some(Asked { ticket, form: None, under: None });
        vec![Effect::Start { ticket, spec }]
    }

    fn yank(&self, world: &World) -> Vec<Effect> {
        let Some(run) = self.run(world) else { return Vec::new() };
        let text = match (self.view.cursor, self.tab) {
            (Some(step), _) => charts::reading(run, step, self.view.metric()),
            (None, Tab::Samples) => run.samples.last().map(|(_, prompt, text)| format!("{prompt}{text}")).unwrap_or_default(),
            _ => run.recipe.clone(),
        };
        if text.is_empty() { Vec::new() } else { vec![Effect::Yank(text), Effect::Toast("copied".into())] }
    }
}

/// What is asked before a run ends. Its step moves on while one reads, so it is not named; the footer has it.
fn stop_question(run: &Run, world: &World) -> String {
    if run.status() == Status::Waiting {
        return format!("{} waits for the device. Take it out of the queue?", run.name);
    }
    let mut question = format!("Save {} and end it? It can be resumed.", run.name);
    if let Some(next) = world.waiting_runs().first() {
        question.push_str(&format!(" Then {} begins, which waits for the device.", next.name));
    }
    question
}
