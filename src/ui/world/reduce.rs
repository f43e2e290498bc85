//! The reducer: a pure fold of what the engine and the loader say into the world.
//! Deliberately not here: what a run's reports add up to (`run`), and anything that waits.

use std::collections::btree_map::Entry;

use super::{Ended, Job, Load, Loaded, LogLine, Progress, Run, World};
use crate::engine::protocol::Up;
use crate::report::{Event, JobId, JobState, Level, Report};

/// The log that the screen holds; the files hold all of it.
const LOG_LINES: usize = 5_000;
/// Ended jobs whose reports (tokens of a generation) are kept.
const REPORTED_JOBS: usize = 64;
/// Ended questions for a distribution that are kept.
const KEPT_GLANCES: usize = 4;

impl World {
    /// Folds a frame of the engine. Pure: the same frames in the same order make the same world.
    pub fn fold(&mut self, up: Up) {
        self.revision += 1;
        match up {
            Up::Hello { version, device, threads, outlives, .. } => {
                (self.version, self.device, self.threads, self.outlives) = (version, device, threads, outlives);
                self.connected = true;
            }
            Up::Started { ticket, job } => {
                let known = self.jobs.entry(job).or_insert_with(|| Job::new(job));
                known.spec = known.spec.take().or(self.asked.remove(&ticket));
                self.tickets.insert(ticket, job);
            }
            Up::Refused { ticket, why } => {
                self.say(None, 0, Level::Error, why.clone());
                self.asked.remove(&ticket);
                self.refused.insert(ticket, why);
            }
            Up::Events(events) => events.into_iter().for_each(|event| self.event(event)),
            Up::Told(what) => self.say(None, 0, Level::Info, what),
            Up::Bye => self.break_off(),
        }
    }

    /// The engine is gone, and with it every job that had not ended; what a run has on disk is read again.
    fn break_off(&mut self) {
        self.connected = false;
        self.asked.clear();
        let mut lost = Vec::new();
        for job in self.jobs.values_mut().filter(|j| j.ended.is_none()) {
            let cause = "the engine broke off".to_string();
            job.ended = Some(Ended::Failed { cause, hint: "a run goes on from its last checkpoint: r in Train".into() });
            lost.push((job.id, job.run.clone().unwrap_or_else(|| job.title.clone())));
        }
        for (job, name) in lost {
            self.say(Some(job), 0, Level::Error, format!("the engine broke off, and {name} with it"));
            if let Some(run) = self.runs.get_mut(&name) {
                (run.job, run.state, run.elsewhere, run.stale) = (None, None, false, true);
            }
        }
    }

    /// Folds one event. A repetition changes nothing; a gap marks the run for reading again.
    pub fn event(&mut self, event: Event) {
        let job = self.jobs.entry(event.job).or_insert_with(|| Job::new(event.job));
        let Some(missed) = job.accept(&event) else { return };
        job.fold(&event);
        let title = job.run.clone().unwrap_or_else(|| job.title.clone());
        match &event.report {
            Report::Note { level, text } => self.say(Some(event.job), event.at_ms, *level, text.clone()),
            Report::Failed { cause, hint, .. } => {
                let text = if hint.is_empty() { format!("{title} failed: {cause}") } else { format!("{title} failed: {cause}; {hint}") };
                self.say(Some(event.job), event.at_ms, Level::Error, text);
            }
            // A screen asks for the next token's distribution at every key; that is nothing to tell of.
            Report::Finished { .. } if job.is_glance() => {}
            Report::Finished { summary, .. } => self.say(Some(event.job), event.at_ms, Level::Info, super::told_of(&title, summary)),
            _ => {}
        }
        let job_id = event.job;
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let Some(name) = job.run.clone() else {
            let expected = job.run_name();
            // An evaluation says for hours how it stands; its facts hold the newest word.
            if job.kind != "eval" {
                job.reports.push(event);
            }
            if let Some(name) = expected {
                self.expect_run(job_id, &name);
            }
            self.forget_old_reports();
            self.forget_glances();
            return;
        };
        if let Report::Started { .. } = &event.report {
            // It may have got another name than the one it was expected under.
            self.runs.retain(|known, run| run.job != Some(job_id) || *known == name);
        }
        let run = match self.runs.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(slot) => {
                let name = slot.key().clone();
                slot.insert(Run::named(&name))
            }
        };
        run.job = Some(event.job);
        run.stale |= missed > 0;
        run.fold(&event);
    }

    /// A run that waits for the device is shown like any other, and goes again if it never begins.
    fn expect_run(&mut self, id: JobId, name: &str) {
        let Some(job) = self.jobs.get(&id) else { return };
        match self.runs.get_mut(name) {
            None if job.state == JobState::Waiting && job.ended.is_none() => {
                let recipe = job.spec.as_ref().and_then(|s| s.params.get("recipe")?.as_str()).unwrap_or_default().to_string();
                let mut run = Run::named(name);
                (run.job, run.state, run.opened, run.recipe) = (Some(id), Some(job.state), true, recipe);
                self.runs.insert(name.into(), run);
            }
            Some(run) if run.job == Some(id) && job.ended.is_some() => drop(self.runs.remove(name)),
            Some(run) if run.job == Some(id) => run.state = Some(job.state),
            _ => {}
        }
    }

    /// Folds an answer of the loader.
    pub fn loaded(&mut self, answer: Loaded) {
        self.revision += 1;
        match answer {
            Loaded::Runs(list) => {
                self.runs_loaded = true;
                let names: Vec<&str> = list.iter().map(|r| r.name.as_str()).collect();
                self.runs.retain(|name, run| run.is_live() || names.contains(&name.as_str()));
                for run in list {
                    match self.runs.get_mut(&run.name) {
                        // What is open knows more than the list does.
                        Some(known) if known.opened || known.is_live() => {
                            // It ended, or went on, while nobody told: it is read again.
                            known.stale |= !known.is_live() && known.elsewhere && (!run.elsewhere || known.step < run.step);
                            known.elsewhere = run.elsewhere;
                        }
                        Some(known) => {
                            let job = known.job;
                            *known = run;
                            known.job = job;
                        }
                        None => {
                            self.runs.insert(run.name.clone(), run);
                        }
                    }
                }
            }
            Loaded::Run(run) => match self.runs.get_mut(&run.name) {
                Some(known) => known.merge(*run),
                None => {
                    self.runs.insert(run.name.clone(), *run);
                }
            },
            Loaded::Estimate { ticket, result } => {
                self.estimates.insert(ticket, result);
                // Only the newest few can still be on a screen.
                while self.estimates.len() > 8 {
                    self.estimates.pop_first();
                }
            }
            Loaded::Recipe { ticket, result } => {
                self.recipes.insert(ticket, result);
            }
            Loaded::Away(away) => {
                for line in away.lines {
                    self.say(None, away.since_ms, Level::Info, format!("while you were away: {line}"));
                }
            }
            Loaded::Tokenizers(list) => self.shelf.listed = Some(list),
            Loaded::Tokenizer { name, result } => self.shelf.opened(name, result),
            Loaded::Cut { ticket, result } => self.shelf.cut(ticket, result),
            Loaded::Models(list) => self.models.list(list),
            Loaded::Model { name, result } => self.models.opened(name, result),
            Loaded::Data(answer) => self.data.fold(answer),
            Loaded::Chats(files) => self.chats = Some(files),
            Loaded::Chat { ticket, result } => self.chat = Some((ticket, result)),
            Loaded::Evals(answer) => self.evals.fold(answer),
            Loaded::Labels(answer) => self.labels.fold(answer),
            Loaded::Wrote(path) => self.say(None, 0, Level::Info, format!("wrote {}", path.display())),
            Loaded::Failed { what, why } => {
                if let Load::Run(name) = &what
                    && let Some(run) = self.runs.get_mut(name)
                {
                    // What could be known of it is known; asking again would fail again.
                    (run.stale, run.opened) = (false, true);
                }
                self.say(None, 0, Level::Error, why);
            }
        }
    }

    fn say(&mut self, job: Option<JobId>, at_ms: u64, level: Level, text: String) {
        self.log.push(LogLine { at_ms, job, level, text });
        if self.log.len() > LOG_LINES {
            self.log.drain(..LOG_LINES / 5);
        }
    }

    fn forget_old_reports(&mut self) {
        let ended = |job: &&mut Job| job.ended.is_some() && !job.reports.is_empty();
        let many = self.jobs.values_mut().filter(ended).count();
        for job in self.jobs.values_mut().filter(ended).take(many.saturating_sub(REPORTED_JOBS)) {
            job.reports = Vec::new();
        }
    }

    /// Questions that drew no token are kept only as long as their answer may still be read.
    fn forget_glances(&mut self) {
        let old: Vec<JobId> =
            self.jobs.values().filter(|j| j.ended.is_some() && j.is_glance()).map(|j| j.id).rev().skip(KEPT_GLANCES).collect();
        for id in old {
            self.jobs.remove(&id);
            self.tickets.retain(|_, job| *job != id);
        }
    }
}

impl Job {
    /// Whether it was asked for the next token's distribution alone.
    fn is_glance(&self) -> bool {
        self.kind == "generate" && self.facts.get("tokens").and_then(serde_json::Value::as_u64) == Some(0)
    }

    /// Whether this event is new: how many were missed before it; none where it was folded before.
    fn accept(&mut self, event: &Event) -> Option<u64> {
        // A job numbers its first reports itself until a run's log takes the numbering over, which begins with
        // `Started` or `Resumed` and may go back.
        let restarts = match &event.report {
            Report::Started { run, .. } => self.run.is_none() && run.is_some(),
            _ => false,
        };
        let missed = match self.seq {
            Some(_) if restarts => 0,
            Some(last) if event.seq <= last => return None,
            Some(last) => event.seq - last - 1,
            None => 0,
        };
        self.seq = Some(event.seq);
        self.missed += missed;
        Some(missed)
    }

    fn fold(&mut self, event: &Event) {
        self.events += 1;
        self.at_ms = event.at_ms;
        if self.since_ms == 0 {
            self.since_ms = event.at_ms;
        }
        match &event.report {
            Report::Started { kind, title, run } => {
                (self.kind, self.title) = (kind.clone(), title.clone());
                if run.is_some() {
                    self.run.clone_from(run);
                    self.reports.clear();
                }
                self.state = JobState::Running;
            }
            Report::State { state, why } => (self.state, self.why) = (*state, why.clone()),
            Report::Progress { what, done, total, unit } => {
                self.progress = Some(Progress { what: what.clone(), done: *done, total: *total, unit: unit.clone() });
            }
            Report::Facts(facts) => self.facts.extend(facts.iter().map(|(k, v)| (k.clone(), v.clone()))),
            Report::Finished { stopped, summary, .. } => self.ended = Some(Ended::Finished { stopped: *stopped, summary: summary.clone() }),
            Report::Failed { cause, hint, .. } => self.ended = Some(Ended::Failed { cause: cause.clone(), hint: hint.clone() }),
            _ => {}
        }
    }
}
