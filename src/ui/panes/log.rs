//! Jobs and log: what runs, what waits, what failed and why; and the lines that everything said, with a filter.
//! Deliberately not here: a run's curves (`train`) and a generation's text (`chat`).

use crossterm::event::{KeyCode, KeyEvent, MouseEvent, MouseEventKind};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::report::{JobState, Level, Signal};
use crate::text::visible;
use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint, Pane, Show};
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, field::Field};
use crate::ui::world::{Ended, Job, LogLine, World};

const BINDINGS: &[Binding] = &[
    Binding { action: "log.open", keys: "enter", label: "open", help: "Open the run of this job in Train.", footer: true },
    Binding { action: "log.pause", keys: "p", label: "pause", help: "Pause this job, or let it go on.", footer: true },
    Binding { action: "log.stop", keys: "s", label: "stop", help: "Save what this job has, and end it. Asks first.", footer: true },
    Binding {
        action: "log.earlier",
        keys: "K|shift-up",
        label: "earlier",
        help: "Move this waiting job towards the head of the line.",
        footer: true,
    },
    Binding { action: "log.later", keys: "J|shift-down", label: "later", help: "Move this waiting job back in the line.", footer: true },
    Binding { action: "log.filter", keys: "/", label: "filter", help: "Show only the lines that contain a text.", footer: true },
    Binding { action: "log.focus", keys: "tab|shift-tab", label: "jobs/log", help: "Move between the jobs and the log.", footer: true },
    Binding { action: "log.down", keys: "j|down", label: "down", help: "The next job or line.", footer: false },
    Binding { action: "log.up", keys: "k|up", label: "up", help: "The job or line before.", footer: false },
    Binding { action: "log.page_down", keys: "ctrl-d|pagedown", label: "page down", help: "Half a page down.", footer: false },
    Binding { action: "log.page_up", keys: "ctrl-u|pageup", label: "page up", help: "Half a page up.", footer: false },
    Binding { action: "log.top", keys: "g g|home", label: "top", help: "The first one.", footer: false },
    Binding { action: "log.end", keys: "G|end", label: "end", help: "The last one; the log follows what comes.", footer: false },
    Binding { action: "log.yank", keys: "y", label: "copy", help: "Copy the cause of this failure, or this line.", footer: false },
    Binding { action: "log.zoom", keys: "z", label: "zoom", help: "Give the whole pane to the part in focus.", footer: false },
];

#[derive(Default)]
pub struct Log {
    in_log: bool,
    zoomed: bool,
    /// From the newest.
    job: usize,
    /// From the newest; 0 follows what comes.
    line: usize,
    filter: Field,
    editing: bool,
}

impl Log {
    /// What runs, what waits in the order of the line, then what is over, newest first. Generations that went well
    /// are seen where they were asked for.
    fn jobs<'a>(&self, world: &'a World) -> Vec<&'a Job> {
        let quiet = |j: &Job| j.kind == "generate" && !matches!(j.ended, None | Some(Ended::Failed { .. }));
        let mut jobs: Vec<&Job> = world.jobs.values().rev().filter(|j| !quiet(j)).collect();
        jobs.sort_by_key(|j| match (&j.ended, j.state) {
            (Some(_), _) => (2, 0),
            (None, JobState::Waiting) => (1, place(j).unwrap_or(u64::MAX)),
            (None, _) => (0, 0),
        });
        jobs
    }

    fn lines<'a>(&self, world: &'a World) -> Vec<&'a LogLine> {
        let needle = self.filter.text().to_lowercase();
        world.log.iter().filter(|l| needle.is_empty() || l.text.to_lowercase().contains(&needle)).collect()
    }

    fn selected<'a>(&self, world: &'a World) -> Option<&'a Job> {
        self.jobs(world).get(self.job).copied()
    }

    fn step(&mut self, world: &World, by: isize) {
        // Jobs are listed newest first, lines newest last.
        let (at, len, by) = if self.in_log {
            let len = self.lines(world).len();
            (&mut self.line, len, -by)
        } else {
            let len = self.jobs(world).len();
            (&mut self.job, len, by)
        };
        *at = at.saturating_add_signed(by).min(len.saturating_sub(1));
    }

    fn on_job(&self, world: &World, act: impl Fn(&Job) -> Effect) -> Vec<Effect> {
        match self.selected(world) {
            None => vec![Effect::Toast("no job yet; the first one starts in Life or Train".into())],
            Some(job) if job.ended.is_some() => vec![Effect::Toast("this job is over".into())],
            Some(job) => vec![act(job)],
        }
    }
}

/// The place of a job that waits for the device, from 1.
fn place(job: &Job) -> Option<u64> {
    job.facts.get("place").and_then(serde_json::Value::as_u64).filter(|_| job.ended.is_none() && job.state == JobState::Waiting)
}

fn name(job: &Job) -> String {
    let name = job.run_name().unwrap_or_else(|| job.title.clone());
    visible(if name.is_empty() { &job.kind } else { &name }, false).into_owned()
}

/// A job's mark, how it stands in words, and the colour of both.
fn standing(job: &Job, theme: &Theme) -> (&'static str, String, Style) {
    match (&job.ended, job.state) {
        (Some(Ended::Failed { cause, hint }), _) if hint.is_empty() => ("✗", format!("failed: {cause}"), theme.error),
        (Some(Ended::Failed { cause, hint }), _) => ("✗", format!("failed: {cause}; {hint}"), theme.error),
        (Some(Ended::Finished { stopped: true, summary }), _) => ("■", format!("stopped: {summary}"), theme.warning),
        (Some(Ended::Finished { summary, .. }), _) => ("✓", summary.clone(), theme.good),
        (None, JobState::Running) => {
            let progress = job.progress.as_ref().map(|p| match p.total {
                Some(total) => format!(" · {} {}/{} {}", p.what, widgets::count(p.done as f64), widgets::count(total as f64), p.unit),
                None => format!(" · {} {} {}", p.what, widgets::count(p.done as f64), p.unit),
            });
            ("●", format!("running{}", progress.unwrap_or_default()), theme.good)
        }
        (None, JobState::Paused) => ("‖", because("paused", &job.why), theme.warning),
        (None, JobState::Waiting) => {
            let line = place(job).map_or("waiting".to_string(), |n| format!("waiting, number {n} in line"));
            ("○", because(&line, &job.why), theme.dim)
        }
    }
}

fn because(what: &str, why: &str) -> String {
    if why.is_empty() { what.into() } else { format!("{what}: {why}") }
}

impl Pane for Log {
    fn id(&self) -> &'static str {
        "log"
    }

    fn title(&self) -> &'static str {
        "Jobs"
    }

    fn bindings(&self) -> &'static [Binding] {
        BINDINGS
    }

    fn hints(&self, world: &World) -> Vec<Hint> {
        let mut hints = Vec::new();
        if let Some(job) = self.selected(world).filter(|_| !self.in_log) {
            hints.extend(job.run.is_some().then_some(("log.open", "open")));
            if job.ended.is_none() {
                let pause = if job.state == JobState::Paused { "go on" } else { "pause" };
                hints.extend((job.kind == "train" && job.state != JobState::Waiting).then_some(("log.pause", pause)));
                hints.push(("log.stop", "stop"));
            }
            let line = world.jobs.values().filter(|j| place(j).is_some()).count();
            hints.extend((place(job).is_some() && line > 1).then_some(("log.earlier", "earlier")));
            hints.extend((place(job).is_some() && line > 1).then_some(("log.later", "later")));
        }
        hints.extend([("log.filter", "filter"), ("log.focus", if self.in_log { "to the jobs" } else { "to the log" })]);
        hints
    }

    fn explain(&self, world: &World) -> String {
        let open = world.jobs.values().filter(|j| j.ended.is_none()).count();
        let failed = world.jobs.values().filter(|j| matches!(j.ended, Some(Ended::Failed { .. }))).count();
        format!(
            "# What this shows\nA job is one thing the engine is doing: training a run, generating text, making a tokenizer. Above are the jobs of \
             the engine: what runs, what waits in line, then what is over, newest first: {} so far, {open} not over, {failed} failed. Below is the log, the lines that jobs and the \
             workbench wrote.\n\n# Why it matters\nOnly one job uses the processor at a time, so that its speed means something; others wait for it. \
             A job that fails takes nothing with it: its cause is told here with what usually helps, and a run that was saved can go on from its \
             last checkpoint.\n\n# What you can do\nPause a job, let it go on, or stop it: stopping saves first. In a training run the same keys work \
             in Train.",
            world.jobs.len()
        )
    }

    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let world = cx.world;
        match action {
            "log.down" => self.step(world, 1),
            "log.up" => self.step(world, -1),
            "log.page_down" => self.step(world, 10),
            "log.page_up" => self.step(world, -10),
            "log.top" => self.step(world, isize::MIN / 2),
            "log.end" => self.step(world, isize::MAX / 2),
            "log.focus" => self.in_log = !self.in_log,
            "log.earlier" | "log.later" => {
                let by = if action == "log.later" { 1 } else { -1 };
                let Some(job) = self.selected(world).filter(|j| place(j).is_some()) else {
                    return vec![Effect::Toast("only a job that waits in the line can be moved".into())];
                };
                let last = world.jobs.values().filter_map(place).max().unwrap_or(1);
                let at = place(job).unwrap_or(1) as i64;
                let moved = (at + by).clamp(1, last as i64) - at;
                // The selection goes with the job.
                self.job = self.job.saturating_add_signed(moved as isize);
                return vec![Effect::Move(job.id, moved)];
            }
            "log.zoom" => self.zoomed = !self.zoomed,
            "log.filter" => (self.editing, self.in_log) = (true, true),
            "log.pause" => {
                return self.on_job(world, |job| {
                    Effect::Signal(job.id, if job.state == JobState::Paused { Signal::Continue } else { Signal::Pause })
                });
            }
            "log.stop" => {
                return self.on_job(world, |job| Effect::Confirm {
                    question: match job.state {
                        JobState::Waiting => format!("Take {} out of the line? It has not begun.", name(job)),
                        _ => format!("Stop {}? What it has is saved.", name(job)),
                    },
                    then: Box::new(Effect::Signal(job.id, Signal::Stop)),
                });
            }
            "log.open" => match self.selected(world).map(|j| j.run.clone()) {
                Some(Some(run)) => return vec![Effect::Open("train", Show::Named(run))],
                Some(None) => return vec![Effect::Toast("this job is not a run; its end is told here".into())],
                None => {}
            },
            "log.yank" if self.in_log => {
                let lines = self.lines(world);
                return lines.iter().rev().nth(self.line).map(|l| Effect::Yank(l.text.clone())).into_iter().collect();
            }
            "log.yank" => return self.selected(world).map(|j| Effect::Yank(standing(j, cx.theme).1)).into_iter().collect(),
            _ => {}
        }
        Vec::new()
    }

    fn key(&mut self, key: KeyEvent, _: &Context) -> Option<Vec<Effect>> {
        if !self.editing {
            return None;
        }
        match key.code {
            KeyCode::Enter => self.editing = false,
            KeyCode::Esc => {
                self.editing = false;
                self.filter.clear();
            }
            _ if self.filter.key(&key) => self.line = 0,
            _ => return None,
        }
        Some(Vec::new())
    }

    fn paste(&mut self, text: &str, _: &Context) -> Vec<Effect> {
        if self.editing {
            self.filter.insert(text);
        }
        Vec::new()
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect, cx: &Context) -> Vec<Effect> {
        match event.kind {
            MouseEventKind::ScrollDown => self.step(cx.world, 3),
            MouseEventKind::ScrollUp => self.step(cx.world, -3),
            MouseEventKind::Down(_) => {
                let (jobs, _) = self.places(area, cx.world);
                self.in_log = event.row >= jobs.bottom();
                if !self.in_log && event.row > jobs.y {
                    let first = widgets::window(self.job, self.jobs(cx.world).len(), usize::from(jobs.height.saturating_sub(2)));
                    self.job = (first + usize::from(event.row - jobs.y - 1)).min(self.jobs(cx.world).len().saturating_sub(1));
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn captures_text(&self) -> bool {
        self.editing
    }

    fn back(&mut self) -> bool {
        let filtered = !self.filter.text().is_empty();
        self.filter.clear();
        let zoomed = std::mem::take(&mut self.zoomed);
        filtered || zoomed
    }

    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let (jobs, log) = self.places(area, cx.world);
        if jobs.height > 2 {
            self.draw_jobs(frame, jobs, cx);
        }
        if log.height > 2 {
            self.draw_log(frame, log, cx);
        }
    }
}

impl Log {
    fn places(&self, area: Rect, world: &World) -> (Rect, Rect) {
        let none = Rect { height: 0, ..area };
        match (self.zoomed, self.in_log) {
            (true, true) => (none, area),
            (true, false) => (area, none),
            _ => {
                let rows = (self.jobs(world).len() as u16).clamp(2, (area.height / 2).max(3)) + 2;
                let [jobs, log] = Layout::vertical([Constraint::Length(rows), Constraint::Min(3)]).areas(area);
                (jobs, log)
            }
        }
    }

    fn draw_jobs(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let block = widgets::panel("Jobs", !self.in_log, theme);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let jobs = self.jobs(cx.world);
        if jobs.is_empty() {
            let text = match cx.world.runs.is_empty() {
                true => " Nothing has been started yet. In Life one Enter trains the sample.",
                false => " No job runs. What runs have done stands in Train; the next one starts there or in Life.",
            };
            frame.render_widget(Span::styled(text, theme.dim), Rect { height: 1.min(inner.height), ..inner });
        }
        let first = widgets::window(self.job, jobs.len(), usize::from(inner.height));
        let wide = usize::from(inner.width);
        for (row, job) in jobs.iter().enumerate().skip(first).take(usize::from(inner.height)) {
            let (mark, how, style) = standing(job, theme);
            let chosen = row == self.job;
            let time = match job.ended {
                Some(_) => widgets::duration(job.at_ms.saturating_sub(job.since_ms)),
                None => widgets::clock(job.since_ms),
            };
            let line = Line::from(vec![
                Span::styled(if chosen { "▸" } else { " " }, theme.accent),
                Span::styled(format!("{mark} "), style),
                Span::styled(widgets::pad(&job.kind, 10), theme.dim),
                Span::styled(widgets::pad(&name(job), 22), theme.text),
                Span::styled(format!("{time:>9}  "), theme.dim),
                Span::styled(widgets::fit(&visible(&how, false), wide.saturating_sub(46)).into_owned(), style),
            ]);
            let place = Rect { y: inner.y + (row - first) as u16, height: 1, ..inner };
            frame.render_widget(line, place);
            if chosen && !self.in_log {
                frame.buffer_mut().set_style(place, theme.selected);
            }
        }
    }

    fn draw_log(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let lines = self.lines(cx.world);
        let title = match (self.filter.text(), self.editing) {
            ("", false) => "Log".to_string(),
            (filter, _) => format!("Log /{filter}  {} of {}", lines.len(), cx.world.log.len()),
        };
        let block = widgets::panel(&title, self.in_log, theme);
        let mut inner = block.inner(area);
        frame.render_widget(block, area);
        if self.editing && inner.height > 1 {
            let field = Rect { y: inner.bottom() - 1, height: 1, ..inner };
            inner.height -= 1;
            frame.render_widget(Span::styled(" /", theme.key), field);
            self.filter.draw(frame, Rect { x: field.x + 2, width: field.width.saturating_sub(2), ..field }, theme.text, true);
        }
        let height = usize::from(inner.height);
        let end = lines.len().saturating_sub(self.line.saturating_sub(height / 2)).max(height.min(lines.len()));
        let first = end.saturating_sub(height);
        // A line is never cut: a long one goes on below, and the oldest give way to it.
        let wide = usize::from(inner.width).saturating_sub(12);
        let mut rows: Vec<(bool, Line)> = Vec::new();
        for (row, line) in lines.iter().enumerate().take(end).skip(first).rev() {
            let (mark, style) = match line.level {
                Level::Info => (" ", theme.text),
                Level::Warning => ("!", theme.warning),
                Level::Error => ("✗", theme.error),
            };
            let time = if line.at_ms == 0 { "        ".into() } else { widgets::clock(line.at_ms) };
            let chosen = self.in_log && row + 1 + self.line == lines.len();
            for (i, text) in widgets::wrap(&visible(&line.text, false), wide).into_iter().enumerate().rev() {
                let head = if i == 0 { format!("{time} ") } else { " ".repeat(9) };
                let text = Line::from(vec![
                    Span::styled(if chosen && i == 0 { "▸" } else { " " }, theme.accent),
                    Span::styled(head, theme.dim),
                    Span::styled(if i == 0 { format!("{mark} ") } else { "  ".into() }, style),
                    Span::styled(text, style),
                ]);
                rows.push((chosen, text));
            }
        }
        // The chosen one is seen whatever wraps below it.
        let newest = rows.iter().rposition(|(chosen, _)| *chosen).map_or(0, |at| (at + 1).saturating_sub(height));
        let rows: Vec<_> = rows.into_iter().skip(newest).take(height).collect();
        for ((chosen, line), y) in rows.into_iter().rev().zip(inner.y..inner.bottom()) {
            let place = Rect { y, height: 1, ..inner };
            frame.render_widget(line, place);
            if chosen {
                frame.buffer_mut().set_style(place, theme.selected);
            }
        }
    }
}
