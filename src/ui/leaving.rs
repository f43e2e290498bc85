//! Leaving and coming back: what quitting asks, what it stops, what an engine that broke off means, and the line that
//! tells what happened while nobody watched. Deliberately not here: the engine process and the files (`engine::link`, `loader`).

use super::pane::{Effect, Show};
use super::shell::{Asking, Out, Shell, TOAST_MS, is_generation};
use super::widgets;
use super::world::{Away, Job, Load};
use crate::engine::protocol::Command;
use crate::report::{JobId, JobState, Signal};
use crate::spec::{JobSpec, TrainSpec};

impl Shell {
    /// Jobs that are worth a question when one quits.
    pub(super) fn open_jobs(&self) -> Vec<&Job> {
        self.world.jobs.values().filter(|j| j.ended.is_none() && !is_generation(j)).collect()
    }

    pub(super) fn quit_question(&self) -> String {
        let name = |j: &&Job| j.run.clone().unwrap_or_else(|| j.title.clone());
        match self.open_jobs().as_slice() {
            [] => "Leave weightroom?".into(),
            [one] if one.state == JobState::Paused => format!("{} is paused, and stays so.", name(one)),
            [one] if one.state == JobState::Waiting => format!("{} waits for its turn.", name(one)),
            [one] if one.kind == "train" => format!("{} is training.", name(one)),
            [one] => format!("{} is running.", name(one)),
            many => {
                let (wait, work): (Vec<&&Job>, Vec<&&Job>) = many.iter().partition(|j| j.state == JobState::Waiting);
                let first = work.first().or(wait.first()).map(|j| name(j)).unwrap_or_default();
                let also = match work.len().saturating_sub(1) {
                    0 => String::new(),
                    n => format!(", {n} more with it"),
                };
                let line = match wait.len() {
                    0 => String::new(),
                    1 => ", and 1 more waits for its turn".to_string(),
                    n => format!(", and {n} more wait for their turn"),
                };
                let does = if work.first().is_some_and(|j| j.state == JobState::Paused) { "is paused, and stays so" } else { "is running" };
                let lost = if wait.is_empty() { "" } else { " What waits is saved by nobody: s drops it." };
                format!("{first} {does}{also}{line}.{lost}")
            }
        }
    }

    /// What the keys of the quit question do now.
    pub(super) fn quit_keys(&self) -> &'static [(&'static str, &'static str)] {
        match (self.open_jobs().is_empty(), self.world.outlives, self.readonly) {
            (true, ..) => &[("Enter", " leaves")],
            (false, true, true) => &[("Enter", " leaves it running")],
            (false, true, false) => &[("Enter", " leaves it running"), ("s", " saves and stops")],
            (false, false, _) => &[("s", " saves and stops")],
        }
    }

    /// Quits at once when there is nothing to decide; asks otherwise.
    pub(super) fn quit(&mut self) {
        if self.open_jobs().is_empty() {
            self.out.push(Out::Exit);
        } else {
            self.ask(self.quit_question(), Asking::Quit);
        }
    }

    /// Leaves, and lets everything go on; where it would not go on, asks.
    pub(super) fn detach(&mut self) {
        if self.world.outlives {
            self.out.push(Out::Exit);
        } else {
            self.quit();
        }
    }

    /// A key on the quit question; one that means nothing there leaves it standing.
    pub(super) fn quit_key(&mut self, enter: bool, stop: bool) {
        let idle = self.open_jobs().is_empty();
        if enter && (idle || self.world.outlives) {
            self.overlay = None;
            self.out.push(Out::Exit);
        } else if stop && !(self.readonly && self.world.outlives) {
            self.overlay = None;
            self.stop_and_leave();
        }
    }

    /// Stops and saves what runs, and leaves when the engine says that all is done.
    fn stop_and_leave(&mut self) {
        let open: Vec<JobId> = self.open_jobs().iter().map(|j| j.id).collect();
        if open.is_empty() {
            self.out.push(Out::Exit);
            return;
        }
        self.leaving = true;
        if self.world.outlives {
            // Other screens may look at the same engine; it ends by itself when nobody does.
            self.out.extend(open.into_iter().map(|job| Out::Command(Command::Signal { job, signal: Signal::Stop })));
        } else {
            self.out.push(Out::Command(Command::Shutdown));
        }
    }

    /// The engine ended and its jobs did not: says so, and offers to go on with the run that was in training.
    pub(super) fn broke_off(&mut self, lost: Vec<(Option<String>, u64)>, now_ms: u64) {
        let waiting = lost.iter().filter(|(run, _)| run.is_none()).count();
        let also = if waiting == 0 { String::new() } else { format!(" What only waited ({waiting}) has to be started again.") };
        let Some((run, step)) = lost.into_iter().find_map(|(run, step)| Some((run?, step))) else {
            return self.say("the engine broke off; the next job starts a new one".into(), now_ms);
        };
        let text = format!("The engine broke off while {run} was at step {}.{also}", widgets::grouped(step));
        let hint = "it can go on from its last checkpoint";
        if self.readonly || self.overlay.is_some() {
            return self.say(format!("{text} {hint}: r in Train"), now_ms);
        }
        let spec = JobSpec::new("train", &TrainSpec { resume: Some(run.clone()), ..TrainSpec::default() });
        let then = Effect::Start { ticket: self.world.ticket(), spec };
        self.go("train", now_ms);
        self.effect(Effect::Open("train", Show::Named(run)), now_ms);
        self.ask(format!("{text} Go on from its last checkpoint?"), Asking::Confirm(Box::new(then)));
    }

    /// The end of a job with what another screen did to it a moment before, which the line of the end would hide.
    pub(super) fn by_whom(&mut self, end: String, now_ms: u64) -> String {
        let of_this = |what: &str| what.split(" was ").next().is_some_and(|name| !name.is_empty() && end.starts_with(name));
        match self.told.take_if(|(what, at)| of_this(what) && now_ms.saturating_sub(*at) < 10_000) {
            Some((what, _)) => format!("{what} · {end}"),
            None => end,
        }
    }

    /// Opens a run in Train.
    pub fn show_run(&mut self, run: String, now_ms: u64) {
        self.out.push(Out::Load(Load::Run(run.clone())));
        self.effect(Effect::Open("train", Show::Named(run)), now_ms);
    }

    /// Tells what happened while nobody watched.
    pub(super) fn came_back(&mut self, away: &Away, now_ms: u64) {
        if away.lines.is_empty() {
            return self.was_told();
        }
        let gone = now_ms.saturating_sub(away.since_ms);
        self.say(format!("away {}: {}", widgets::duration(gone), away.lines.join(" · ")), now_ms);
        // After a while it is read by somebody who has just sat down.
        let until = now_ms + if gone < A_WHILE_MS { TOAST_MS } else { AWAY_MS };
        if let Some((_, stays)) = &mut self.toast {
            *stays = until;
        }
        self.telling = Some((now_ms, until));
    }

    /// What happened meanwhile has stood on the screen and need not be told again. Until then a screen that goes (its line
    /// broke, it was killed) leaves the telling to the next one.
    pub(super) fn was_told(&mut self) {
        self.telling = None;
        // Who may only look takes nothing away from the one who comes back.
        if !self.readonly {
            self.out.push(Out::Load(Load::Told));
        }
    }
}

/// Whether an effect, or what it asks about, does more than look.
pub(super) fn changes(effect: &Effect) -> bool {
    match effect {
        Effect::Confirm { then, .. } => changes(then),
        Effect::Load(Load::Labels(ask)) => ask.changes(),
        other => matches!(
            other,
            Effect::Start { .. } | Effect::Signal(..) | Effect::Move(..) | Effect::Load(Load::Write { .. } | Load::Append { .. })
        ),
    }
}

/// How long the summary stays, after how long an absence.
const AWAY_MS: u64 = 20_000;
const A_WHILE_MS: u64 = 60_000;
/// Who presses a key after this time has had a look at the screen.
pub(super) const SEEN_MS: u64 = 1_000;
