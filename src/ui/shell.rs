//! The shell: what is on the screen and what every key means. Pure: events, frames of the engine and times come in,
//! requests go out; no I/O, so that tests drive it like the real thing.
//! Deliberately not here: drawing (`frame`), threads and the terminal (`ui::run`).

use std::collections::BTreeSet;
use std::time::Instant;

use crossterm::event::{Event, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Rect;

use super::config::{Config, Notify};
use super::help::Help;
use super::keymap::{Action, Binding, Chord, GLOBAL, Keymap, Resolved};
use super::palette::{Choice, Outcome, Palette};
use super::pane::{Context, Effect, Pane};
use super::theme::Theme;
use super::world::{Ended, Job, Load, Loaded, World};
use crate::engine::protocol::{Command, Up};
use crate::report::{JobId, JobState, Level, Signal};

/// How long a line at the bottom stays.
pub(super) const TOAST_MS: u64 = 4_000;
/// How often a run that another process writes is looked at again.
const LOOK_MS: u64 = 2_000;
/// A second Ctrl-C within this time asks whether to quit.
const INTERRUPT_MS: u64 = 3_000;

/// What the shell asks of the world outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    Command(Command),
    Load(Load),
    Yank(String),
    /// A bell and a notification.
    Notify(String),
    Mouse(bool),
    Suspend,
    /// Forget what the terminal shows and draw everything.
    Redraw,
    Exit,
}

/// What lies above the pane.
pub(super) enum Overlay {
    Help(Help),
    Palette { palette: Palette, before: String },
    Question(Question),
}

/// A question that must have been drawn before a key answers it.
pub(super) struct Question {
    pub text: String,
    pub kind: Asking,
    /// When the first frame with it was begun.
    pub sent: Option<Instant>,
    /// When it was on the terminal; keys that were read before it answer nothing.
    pub drawn: Option<Instant>,
}

pub(super) enum Asking {
    /// Enter does it.
    Confirm(Box<Effect>),
    /// `s` saves, stops and leaves.
    Quit,
}

/// What the shell is made with.
pub struct Setup {
    pub config: Config,
    pub themes: Vec<Theme>,
    pub theme: Theme,
    pub mouse: bool,
    pub ascii: bool,
    pub readonly: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let themes = super::config::themes(None).0;
        Self { config: Config::default(), themes, theme: Theme::default_dark(), mouse: true, ascii: false, readonly: false }
    }
}

pub struct Shell {
    pub world: World,
    pub(super) panes: Vec<Box<dyn Pane>>,
    pub(super) current: usize,
    history: Vec<usize>,
    pub(super) keymap: Keymap,
    pub(super) themes: Vec<Theme>,
    pub(super) theme: Theme,
    pub(super) overlay: Option<Overlay>,
    pressed: Vec<Chord>,
    /// What may follow the keys pressed so far.
    pub(super) next: Vec<(Chord, Binding)>,
    pub(super) toast: Option<(String, u64)>,
    interrupted_at: Option<u64>,
    /// When the last event was read from the terminal.
    read: Option<Instant>,
    /// What another screen did last, and when.
    pub(super) told: Option<(String, u64)>,
    pub(super) leaving: bool,
    ended: BTreeSet<JobId>,
    /// Jobs that are paused for want of room on the disk, as far as was told.
    full: BTreeSet<JobId>,
    /// From when and until when the line stands that tells what happened meanwhile, until it is sure that it was seen.
    pub(super) telling: Option<(u64, u64)>,
    /// Trainings that wait, or did at the last look.
    waited: BTreeSet<JobId>,
    /// When the list of runs was read last because another process is at work on one, or seemed to be.
    looked_ms: u64,
    focused: bool,
    pub(super) mouse: bool,
    ascii: bool,
    pub(super) readonly: bool,
    notify: Notify,
    /// The body and the tabs as they were drawn last, for the mouse.
    pub(super) body: Rect,
    pub(super) tabs: Vec<(Rect, usize)>,
    pub(super) out: Vec<Out>,
}

impl Shell {
    pub fn new(world: World, panes: Vec<Box<dyn Pane>>, setup: Setup) -> Self {
        let all: Vec<Binding> = panes.iter().flat_map(|p| p.all_bindings()).chain(GLOBAL.iter().copied()).collect();
        let theme = Theme { ascii: setup.ascii, ..setup.theme };
        Self {
            world,
            panes,
            current: 0,
            history: Vec::new(),
            keymap: Keymap::new(&all, &setup.config.keys),
            themes: setup.themes,
            theme,
            overlay: None,
            pressed: Vec::new(),
            next: Vec::new(),
            toast: None,
            interrupted_at: None,
            read: None,
            told: None,
            leaving: false,
            ended: BTreeSet::new(),
            full: BTreeSet::new(),
            telling: None,
            waited: BTreeSet::new(),
            looked_ms: 0,
            focused: true,
            mouse: setup.mouse,
            ascii: setup.ascii,
            readonly: setup.readonly,
            notify: setup.config.notify,
            body: Rect::default(),
            tabs: Vec::new(),
            out: vec![Out::Load(Load::Runs), Out::Load(Load::Away), Out::Command(Command::Watch)],
        }
    }

    /// What was asked for since the last call.
    pub fn take(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// The pane that is shown.
    pub fn pane(&self) -> &dyn Pane {
        self.panes[self.current].as_ref()
    }

    /// Lets the first pane look at the world.
    pub fn begin(&mut self, complaints: &[String], now_ms: u64) {
        if let Some(first) = complaints.first() {
            let count = complaints.len();
            let jobs = self.keymap.show("go.log", self.theme.ascii);
            let all =
                if count > 1 { format!("{count} mistakes in the settings; {jobs} lists them all. The first: ") } else { String::new() };
            let text = crate::text::visible(&format!("{all}{first}"), false).into_owned();
            self.toast = Some((text, now_ms + 3 * TOAST_MS));
            for text in complaints {
                let line = super::world::LogLine { at_ms: now_ms, job: None, level: Level::Warning, text: text.clone() };
                self.world.log.push(line);
            }
        }
        self.refresh(now_ms);
    }

    /// A frame of the engine.
    pub fn up(&mut self, up: Up, now_ms: u64) {
        if matches!(up, Up::Bye) && self.leaving {
            self.out.push(Out::Exit);
        }
        if let Up::Refused { why: said, .. } | Up::Told(said) = &up {
            self.say(said.clone(), now_ms);
        }
        if let Up::Told(what) = &up {
            self.told = Some((what.clone(), now_ms));
        }
        // An engine that is told to end says how its jobs ended before it goes; what is open now is lost.
        let bye = matches!(up, Up::Bye) && !self.leaving;
        let lost = if bye { self.open_jobs().iter().map(|j| self.world.reached(j)).collect() } else { Vec::new() };
        self.world.fold(up);
        if !lost.is_empty() {
            self.broke_off(lost, now_ms);
        }
        self.notice_ends(now_ms);
        self.notice_beginnings(now_ms);
        self.refresh(now_ms);
    }

    /// An answer of the loader.
    pub fn loaded(&mut self, answer: Loaded, now_ms: u64) {
        match &answer {
            Loaded::Failed { why, .. }
            | Loaded::Data(super::desk::Answer::Failed(why))
            | Loaded::Labels(super::world::labels::Answer::Failed(why)) => self.say(why.clone(), now_ms),
            Loaded::Away(away) => self.came_back(away, now_ms),
            Loaded::Wrote(path) => self.say(format!("wrote {}", path.display()), now_ms),
            _ => {}
        }
        self.world.loaded(answer);
        self.refresh(now_ms);
    }

    /// A thread that is not the screen's panicked: the screen stays, and the log says so.
    pub fn panicked(&mut self, what: String, now_ms: u64) {
        self.world.log.push(super::world::LogLine { at_ms: now_ms, job: None, level: Level::Error, text: what.clone() });
        self.say(what, now_ms);
    }

    /// A frame that was begun then is on its way to the terminal.
    pub fn sent(&mut self, begun: Instant) {
        if let Some(Overlay::Question(question)) = &mut self.overlay {
            question.sent.get_or_insert(begun);
        }
        self.panes[self.current].sent(begun);
    }

    /// Whether a question is on its way to the terminal and it is not known yet when it got there.
    pub fn awaits_drawing(&self) -> bool {
        match &self.overlay {
            Some(Overlay::Question(q)) => q.sent.is_some() && q.drawn.is_none(),
            Some(_) => false,
            None => self.panes[self.current].awaits_drawing(),
        }
    }

    /// What was on its way until `until` is on the terminal since `at`: a question in it may be answered from then on.
    pub fn drawn(&mut self, until: Instant, at: Instant) {
        if let Some(Overlay::Question(question)) = &mut self.overlay
            && question.sent.is_some_and(|begun| until >= begun)
        {
            question.drawn.get_or_insert(at);
        }
        self.panes[self.current].drawn(until, at);
    }

    /// When to draw again although nothing comes in.
    pub fn wakes(&self, now_ms: u64) -> Option<u64> {
        let cx = Context { world: &self.world, theme: &self.theme, now_ms, read: None };
        let toast = self.toast.as_ref().map(|(_, until)| *until);
        let told = self.telling.map(|(_, until)| until);
        let look = self.another_works().then_some(self.looked_ms + LOOK_MS);
        toast.into_iter().chain(told).chain(look).chain(self.panes[self.current].wakes(&cx)).min()
    }

    /// Drops what has had its time.
    pub fn tick(&mut self, now_ms: u64) {
        if self.toast.as_ref().is_some_and(|(_, until)| *until <= now_ms) {
            self.toast = None;
        }
        if self.telling.is_some_and(|(_, until)| now_ms >= until) {
            self.was_told();
        }
        if self.another_works() && now_ms >= self.looked_ms + LOOK_MS {
            self.looked_ms = now_ms;
            self.out.push(Out::Load(Load::Runs));
        }
    }

    /// Whether a run is written by a process that tells this screen nothing. Of one that was killed a moment ago, it only
    /// looks so.
    fn another_works(&self) -> bool {
        self.world.runs.values().any(|run| run.status() == super::world::Status::Elsewhere)
    }

    /// Whether what comes from the engine should be drawn as it comes.
    pub fn streams(&self) -> bool {
        self.panes[self.current].streams(&self.world)
    }

    /// An event of the terminal, and when it was read.
    pub fn input(&mut self, event: Event, read: Instant, now_ms: u64) {
        self.read = Some(read);
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key, read, now_ms),
            Event::Paste(text) => self.paste(&text, now_ms),
            Event::Mouse(mouse) => self.mouse_event(mouse, now_ms),
            Event::FocusGained => self.focused = true,
            Event::FocusLost => self.focused = false,
            _ => {}
        }
    }

    fn key(&mut self, key: KeyEvent, read: Instant, now_ms: u64) {
        if self.telling.is_some_and(|(since, _)| now_ms >= since + super::leaving::SEEN_MS) {
            self.was_told();
        }
        let chord = Chord::of(&key);
        if self.leaving {
            if Chord::parse("ctrl-c") == Some(chord) {
                self.out.push(Out::Exit);
            }
            return;
        }
        if self.overlay.is_some() {
            return self.overlay_key(key, chord, read, now_ms);
        }
        if !self.pressed.is_empty() {
            if chord.is_escape() {
                return self.unpress();
            }
            self.pressed.push(chord);
            return self.resolve(key, now_ms);
        }
        if self.panes[self.current].captures_text() {
            let always = ["ctrl-g", "f1", "ctrl-c", "ctrl-l"].iter().any(|k| Chord::parse(k) == Some(chord));
            if !always && (self.with_pane(now_ms, |pane, cx| pane.key(key, cx)) || chord.is_printable()) {
                return;
            }
        }
        self.pressed.push(chord);
        self.resolve(key, now_ms);
    }

    fn unpress(&mut self) {
        self.pressed.clear();
        self.next.clear();
    }

    fn resolve(&mut self, key: KeyEvent, now_ms: u64) {
        let resolved = self.keymap.resolve(self.panes[self.current].bindings(), GLOBAL, &self.pressed);
        match resolved {
            Resolved::Pending(next) => self.next = next,
            Resolved::Act { action, own } => {
                self.unpress();
                if own {
                    self.act(action, now_ms);
                } else {
                    self.global(action, key, now_ms);
                }
            }
            Resolved::Nothing => {
                let alone = self.pressed.len() == 1;
                self.unpress();
                if alone {
                    self.with_pane(now_ms, |pane, cx| pane.key(key, cx));
                }
            }
        }
    }

    /// Runs something on the pane that is shown and does what it asks for; whether it used the occasion.
    fn with_pane(&mut self, now_ms: u64, run: impl FnOnce(&mut dyn Pane, &Context) -> Option<Vec<Effect>>) -> bool {
        let cx = Context { world: &self.world, theme: &self.theme, now_ms, read: self.read };
        let effects = run(self.panes[self.current].as_mut(), &cx);
        let used = effects.is_some();
        for effect in effects.into_iter().flatten() {
            self.effect(effect, now_ms);
        }
        used
    }

    fn act(&mut self, action: Action, now_ms: u64) {
        self.with_pane(now_ms, |pane, cx| Some(pane.act(action, cx)));
    }

    fn refresh(&mut self, now_ms: u64) {
        self.with_pane(now_ms, |pane, cx| Some(pane.refresh(cx)));
    }

    fn global(&mut self, action: Action, key: KeyEvent, now_ms: u64) {
        match action {
            "app.help" => self.overlay = Some(Overlay::Help(Help::default())),
            "app.palette" => {
                let palette = Palette::new(self.entries());
                self.overlay = Some(Overlay::Palette { palette, before: self.theme.name.clone() });
            }
            "app.back" => {
                if !self.panes[self.current].back()
                    && let Some(previous) = self.history.pop()
                {
                    self.current = previous;
                }
                self.refresh(now_ms);
            }
            "app.quit" => self.quit(),
            "app.detach" => self.detach(),
            "app.interrupt" => self.interrupt(key, now_ms),
            "app.suspend" => self.out.push(Out::Suspend),
            "app.redraw" => self.out.push(Out::Redraw),
            _ => {
                if let Some(id) = action.strip_prefix("go.") {
                    self.go(id, now_ms);
                }
            }
        }
    }

    /// Shows the pane of this id; whether there is one.
    pub fn go(&mut self, id: &str, now_ms: u64) -> bool {
        let Some(index) = self.panes.iter().position(|p| p.id() == id) else {
            self.say(format!("there is no pane called {id}"), now_ms);
            return false;
        };
        if index != self.current {
            self.history.retain(|i| *i != index);
            self.history.push(self.current);
            self.current = index;
            self.refresh(now_ms);
        }
        true
    }

    fn interrupt(&mut self, key: KeyEvent, now_ms: u64) {
        if self.interrupted_at.is_some_and(|at| now_ms.saturating_sub(at) < INTERRUPT_MS) {
            self.interrupted_at = None;
            return self.ask(self.quit_question(), Asking::Quit);
        }
        self.interrupted_at = Some(now_ms);
        let generating: Vec<JobId> = self.world.jobs.values().filter(|j| is_generation(j)).map(|j| j.id).collect();
        for job in &generating {
            self.out.push(Out::Command(Command::Signal { job: *job, signal: Signal::Stop }));
        }
        let captured = self.panes[self.current].captures_text();
        let used = !generating.is_empty() || (captured && self.with_pane(now_ms, |pane, cx| pane.key(key, cx)));
        let what = if !generating.is_empty() { "generation stopped" } else { "nothing is being generated" };
        if !used || !captured {
            self.say(format!("{what}; Ctrl-C again asks whether to quit"), now_ms);
        }
    }

    pub(super) fn ask(&mut self, text: String, kind: Asking) {
        self.overlay = Some(Overlay::Question(Question { text, kind, sent: None, drawn: None }));
    }

    fn overlay_key(&mut self, key: KeyEvent, chord: Chord, read: Instant, now_ms: u64) {
        let is = |name: &str| Chord::parse(name) == Some(chord);
        match &mut self.overlay {
            Some(Overlay::Help(help)) => {
                let stays = help.key(chord);
                if !stays {
                    self.overlay = None;
                }
            }
            Some(Overlay::Palette { palette, before }) => match palette.key(&key) {
                Outcome::Stay => self.preview(),
                Outcome::Close => {
                    let before = before.clone();
                    self.set_theme(&before);
                    self.overlay = None;
                }
                Outcome::Run(choice) => {
                    let before = before.clone();
                    self.overlay = None;
                    self.set_theme(&before);
                    self.choose(choice, key, now_ms);
                }
            },
            Some(Overlay::Question(question)) => {
                // Staying is always safe; anything else needs a question that was seen.
                if is("esc") || is("q") {
                    self.overlay = None;
                    return;
                }
                if question.drawn.is_none_or(|drawn| read <= drawn) {
                    return;
                }
                match &question.kind {
                    Asking::Confirm(effect) if is("enter") => {
                        let effect = (**effect).clone();
                        self.overlay = None;
                        self.effect(effect, now_ms);
                    }
                    Asking::Quit => self.quit_key(is("enter"), is("s")),
                    _ => {}
                }
            }
            None => {}
        }
    }

    fn preview(&mut self) {
        if let Some(Overlay::Palette { palette, before }) = &self.overlay {
            let name = match palette.choice() {
                Some(Choice::Theme(name)) => name,
                _ => before.clone(),
            };
            self.set_theme(&name);
        }
    }

    fn set_theme(&mut self, name: &str) {
        if self.theme.name != name
            && let Some(theme) = self.themes.iter().find(|t| t.name == name)
        {
            self.theme = Theme { ascii: self.ascii, ..theme.clone() };
        }
    }

    fn choose(&mut self, choice: Choice, key: KeyEvent, now_ms: u64) {
        match choice {
            Choice::Global(action) => self.global(action, key, now_ms),
            Choice::Theme(name) => {
                self.set_theme(&name);
                self.say(format!("theme {name}; keep it with theme = {name:?} in config.toml"), now_ms);
            }
            Choice::Mouse(on) => {
                self.mouse = on;
                self.out.push(Out::Mouse(on));
                self.say(if on { "the mouse works here" } else { "the mouse belongs to the terminal" }.to_string(), now_ms);
            }
            Choice::Pane(index, action) => {
                if let Some(id) = self.panes.get(index).map(|p| p.id()) {
                    self.go(id, now_ms);
                    self.act(action, now_ms);
                }
            }
        }
    }

    fn paste(&mut self, text: &str, now_ms: u64) {
        match &mut self.overlay {
            Some(Overlay::Palette { palette, .. }) => palette.paste(text),
            Some(_) => {}
            None => {
                self.unpress();
                self.with_pane(now_ms, |pane, cx| Some(pane.paste(text, cx)));
            }
        }
    }

    fn mouse_event(&mut self, event: MouseEvent, now_ms: u64) {
        let wheel = match event.kind {
            MouseEventKind::ScrollDown => Some(true),
            MouseEventKind::ScrollUp => Some(false),
            _ => None,
        };
        match (&mut self.overlay, wheel) {
            (Some(Overlay::Help(help)), Some(down)) => {
                help.scroll = if down { help.scroll + 3 } else { help.scroll.saturating_sub(3) };
            }
            (Some(Overlay::Palette { palette, .. }), Some(down)) => {
                palette.wheel(down);
                self.preview();
            }
            (Some(_), _) => {}
            (None, _) => {
                let at = ratatui::layout::Position { x: event.column, y: event.row };
                if event.kind == MouseEventKind::Down(MouseButton::Left)
                    && let Some((_, index)) = self.tabs.iter().find(|(rect, _)| rect.contains(at))
                {
                    let id = self.panes[*index].id();
                    self.go(id, now_ms);
                } else if self.body.contains(at) {
                    let body = self.body;
                    self.with_pane(now_ms, |pane, cx| Some(pane.mouse(event, body, cx)));
                }
            }
        }
    }

    /// Does what a pane asks for.
    pub fn effect(&mut self, effect: Effect, now_ms: u64) {
        if self.readonly && super::leaving::changes(&effect) {
            if let Effect::Start { ticket, .. } = &effect {
                self.world.refused.insert(*ticket, "read-only: start the workbench without --readonly to generate or train".into());
            }
            return self.say("read-only: nothing is started, stopped or written".into(), now_ms);
        }
        match effect {
            Effect::Start { ticket, spec } => {
                self.world.asked.insert(ticket, spec.clone());
                self.out.push(Out::Command(Command::Start { ticket, spec }));
            }
            Effect::Move(job, by) => self.out.push(Out::Command(Command::Move { job, by })),
            Effect::Signal(job, signal) => self.out.push(Out::Command(Command::Signal { job, signal })),
            Effect::Go(id) => {
                self.go(id, now_ms);
            }
            Effect::Open(id, show) => {
                if self.go(id, now_ms) {
                    self.with_pane(now_ms, |pane, cx| Some(pane.open(&show, cx)));
                }
            }
            Effect::Confirm { question, then } => self.ask(question, Asking::Confirm(then)),
            Effect::OpenRun(name) => self.out.push(Out::Load(Load::Run(name))),
            Effect::Toast(text) => self.say(text, now_ms),
            Effect::Yank(text) => {
                self.say(format!("copied {} characters", text.chars().count()), now_ms);
                self.out.push(Out::Yank(text));
            }
            Effect::Load(load) => self.out.push(Out::Load(load)),
            Effect::Quit => self.quit(),
        }
    }

    pub(super) fn say(&mut self, text: String, now_ms: u64) {
        self.toast = Some((crate::text::visible(&text, false).into_owned(), now_ms + TOAST_MS));
    }

    /// Tells the person of runs that waited and have begun: nobody pressed a key for it at this moment.
    fn notice_beginnings(&mut self, now_ms: u64) {
        for job in self.world.jobs.values().filter(|j| j.ended.is_none()) {
            if job.events > 0 && job.state == JobState::Waiting && job.run_name().is_some() {
                self.waited.insert(job.id);
            }
        }
        let begun: Vec<JobId> = self
            .waited
            .iter()
            .copied()
            .filter(|id| self.world.jobs.get(id).is_none_or(|j| j.state != JobState::Waiting || j.ended.is_some()))
            .collect();
        for id in begun {
            self.waited.remove(&id);
            let Some(name) = self.world.jobs.get(&id).filter(|j| j.ended.is_none()).and_then(Job::run_name) else { continue };
            let before = self.toast.as_ref().map(|(text, _)| format!("{text} · ")).unwrap_or_default();
            self.say(format!("{before}{name}, which waited, begins now"), now_ms);
        }
    }

    /// Tells the person of jobs that ended since the last look.
    fn notice_ends(&mut self, now_ms: u64) {
        let mut messages = Vec::new();
        let chat = self.keymap.show("go.chat", self.theme.ascii);
        let talk = if chat.is_empty() { chat } else { format!(" · {chat} talks to it") };
        for job in self.world.jobs.values() {
            let Some(ended) = &job.ended else { continue };
            if !self.ended.insert(job.id) || is_quiet(job) {
                continue;
            }
            let name = job.run.as_ref().unwrap_or(&job.title);
            messages.push(match ended {
                Ended::Finished { summary, .. } if job.run.is_some() => format!("{}{talk}", super::world::told_of(name, summary)),
                Ended::Finished { summary, .. } => super::world::told_of(name, summary),
                Ended::Failed { cause, .. } => format!("{name} failed: {cause}"),
            });
        }
        for job in self.world.jobs.values().filter(|j| j.ended.is_none()) {
            if job.state != JobState::Paused {
                self.full.remove(&job.id);
            } else if crate::run::says_full(&job.why) && self.full.insert(job.id) {
                messages.push(format!("{} is paused: {}", job.run.as_ref().unwrap_or(&job.title), job.why));
            }
        }
        for text in messages {
            let text = self.by_whom(text, now_ms);
            self.say(text.clone(), now_ms);
            // Nobody pressed a key for it at this moment: it stays until somebody may have looked up.
            if let Some((_, stays)) = &mut self.toast {
                *stays = now_ms + 3 * TOAST_MS;
            }
            // The person's own command is the engine's to run.
            if self.notify != Notify::Off && !self.focused {
                self.out.push(Out::Notify(text));
            }
        }
        if self.leaving && self.open_jobs().is_empty() && !self.out.contains(&Out::Exit) {
            self.out.push(Out::Exit);
        }
    }
}

pub(super) fn is_generation(job: &Job) -> bool {
    job.kind == "generate" && job.ended.is_none()
}

/// A generation's end is seen where it was asked for; everything else is worth a line.
fn is_quiet(job: &Job) -> bool {
    job.kind == "generate"
}
