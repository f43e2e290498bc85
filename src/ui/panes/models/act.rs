//! What the keys of Models do, what the pane asks the loader and the engine for, and what it makes of their answers.
//! Deliberately not here: drawing.

use super::{Models, PARTS, Part, Wanted, Weighed};
use crate::engine::jobs::WEIGHED;
use crate::engine::show::{Listed, Shown};
use crate::report::{Report, Signal};
use crate::spec::{JobSpec, PullSpec, WeighSpec};
use crate::ui::keymap::Action;
use crate::ui::pane::{Effect, Show};
use crate::ui::widgets::field::Field;
use crate::ui::world::{Job, Load, World};

/// Jobs after which there may be another model.
const MAKERS: [&str; 3] = ["train", "pull", "export"];

impl Models {
    pub(super) fn perform(&mut self, action: Action, world: &World) -> Vec<Effect> {
        match action {
            "models.part" => self.turn(1),
            "models.part_back" => self.turn(PARTS.len() - 1),
            "models.open" if self.in_list => {
                if let Some(name) = self.entries(world).get(self.at).map(|l| l.name.clone()) {
                    self.show(name);
                    // Where the list has the whole pane, it makes room for what was chosen.
                    self.in_list = !self.seen.get().main.is_empty();
                }
            }
            "models.open" => self.in_list = true,
            "models.pull" if cfg!(not(feature = "hub")) => {
                return vec![Effect::Toast("this build fetches nothing from a hub; build with the feature hub".into())];
            }
            "models.pull" => self.asking = Some((Wanted::Repo, Field::default())),
            "models.filter" => {
                (self.part, self.in_list, self.asking) = (Part::Tensors, false, Some((Wanted::Filter, Field::new(&self.filter))))
            }
            "models.weigh" => return self.weigh(world),
            "models.stop" => return self.stop(world),
            "models.chat" if !self.name.is_empty() => return vec![Effect::Open("chat", Show::Named(self.name.clone()))],
            "models.sort" => (self.part, self.sort, self.scroll) = (Part::Tensors, self.sort.next(), 0),
            "models.reload" => {
                (self.listing, self.asked) = (true, Some(self.name.clone()));
                return vec![Effect::Load(Load::Models), Effect::Load(Load::Model(self.name.clone()))];
            }
            "models.focus" => self.in_list = !self.in_list,
            "models.zoom" => self.zoom = !self.zoom,
            "models.down" => self.step(world, 1),
            "models.up" => self.step(world, -1),
            "models.page_down" => self.step(world, (self.seen.get().height / 2).max(1) as isize),
            "models.page_up" => self.step(world, -((self.seen.get().height / 2).max(1) as isize)),
            "models.top" => self.step(world, isize::MIN / 2),
            "models.end" => self.step(world, isize::MAX / 2),
            "models.yank" => {
                let template = self.shown(world).and_then(|s| s.template.clone()).filter(|_| self.part == Part::Template);
                return vec![Effect::Yank(template.unwrap_or_else(|| self.name.clone()))];
            }
            _ => {}
        }
        Vec::new()
    }

    fn turn(&mut self, by: usize) {
        let at = PARTS.iter().position(|(part, _)| *part == self.part).unwrap_or(0);
        (self.part, self.scroll, self.in_list) = (PARTS[(at + by) % PARTS.len()].0, 0, false);
    }

    pub(super) fn entries<'a>(&self, world: &'a World) -> &'a [Listed] {
        world.models.listed.as_deref().unwrap_or_default()
    }

    pub(super) fn shown<'a>(&self, world: &'a World) -> Option<&'a Shown> {
        world.models.get(&self.name).map(|s| s.as_ref())
    }

    pub(super) fn show(&mut self, name: String) {
        if self.name != name {
            (self.scroll, self.filter) = (0, String::new());
        }
        self.name = name;
    }

    pub(super) fn step(&mut self, world: &World, by: isize) {
        let seen = self.seen.get();
        if self.in_list {
            self.at = self.at.saturating_add_signed(by).min(self.entries(world).len().saturating_sub(1));
        } else {
            self.scroll = self.scroll.saturating_add_signed(by).min(seen.lines.saturating_sub(seen.height));
        }
    }

    fn weigh(&mut self, world: &World) -> Vec<Effect> {
        if self.name.is_empty() || self.weighing(world).is_some() {
            return Vec::new();
        }
        let ticket = world.ticket();
        let model = self.name.clone();
        self.weighed = Some(Weighed { model: model.clone(), ticket, read: 0, figures: Default::default(), norm: None });
        (self.part, self.in_list) = (Part::Tensors, false);
        vec![Effect::Start { ticket, spec: JobSpec::new("weigh", &WeighSpec { model }) }]
    }

    pub(super) fn answered(&mut self, wanted: Wanted, text: &str, world: &World) -> Vec<Effect> {
        if wanted == Wanted::Filter || text.is_empty() {
            return Vec::new();
        }
        // What stands behind the name are patterns of files, as with --include.
        let mut words = text.split_whitespace().map(str::to_owned);
        let repo = words.next().unwrap_or_default();
        let ticket = world.ticket();
        self.pulls.push((ticket, repo.clone()));
        let spec = PullSpec { repo, include: words.collect(), ..PullSpec::default() };
        vec![Effect::Start { ticket, spec: JobSpec::new("pull", &spec) }]
    }

    /// The jobs that were started here and go on.
    pub(super) fn jobs<'a>(&self, world: &'a World) -> Vec<&'a Job> {
        let tickets = self.pulls.iter().map(|p| p.0).chain(self.weighed.iter().map(|w| w.ticket));
        tickets.filter_map(|t| world.jobs.get(world.tickets.get(&t)?)).filter(|job| job.ended.is_none()).collect()
    }

    fn weighing<'a>(&self, world: &'a World) -> Option<&'a Job> {
        let weighed = self.weighed.as_ref().filter(|w| w.model == self.name)?;
        world.jobs.get(world.tickets.get(&weighed.ticket)?).filter(|job| job.ended.is_none())
    }

    fn stop(&self, world: &World) -> Vec<Effect> {
        match self.jobs(world).first() {
            Some(job) => {
                let question = match job.kind.as_str() {
                    "pull" => format!("Stop the pull of {}? What came is kept, and pulling again goes on there.", job.title),
                    _ => format!("Stop: {}?", job.title),
                };
                vec![Effect::Confirm { question, then: Box::new(Effect::Signal(job.id, Signal::Stop)) }]
            }
            None => vec![Effect::Toast("nothing that was started here runs".into())],
        }
    }

    /// What is missing for what is shown.
    pub(super) fn ask(&mut self, world: &World) -> Vec<Effect> {
        let mut effects = Vec::new();
        if world.models.listed.is_none() && !std::mem::replace(&mut self.listing, true) {
            effects.push(Effect::Load(Load::Models));
        }
        if !self.name.is_empty() && !world.models.open.contains_key(&self.name) && self.asked.as_deref() != Some(&self.name) {
            self.asked = Some(self.name.clone());
            effects.push(Effect::Load(Load::Model(self.name.clone())));
        }
        let makers = || world.jobs.values().filter(|job| job.ended.is_some() && MAKERS.contains(&job.kind.as_str())).count();
        if world.models.listed.is_some() {
            let ended = makers();
            if std::mem::replace(&mut self.ended, ended) != ended {
                effects.push(Effect::Load(Load::Models));
                // A run has another checkpoint now.
                if !self.name.is_empty() {
                    effects.push(Effect::Load(Load::Model(self.name.clone())));
                }
            }
        }
        effects
    }

    /// Takes in what came: the first model of a list, figures of tensors.
    pub(super) fn hear(&mut self, world: &World) {
        if self.name.is_empty()
            && let Some(first) = self.entries(world).first()
        {
            self.name = first.name.clone();
        }
        self.at = self.at.min(self.entries(world).len().saturating_sub(1));
        let Some(weighed) = &mut self.weighed else { return };
        let Some(job) = world.tickets.get(&weighed.ticket).and_then(|id| world.jobs.get(id)) else { return };
        for event in &job.reports[weighed.read.min(job.reports.len())..] {
            let Report::Facts(facts) = &event.report else { continue };
            for (key, value) in facts {
                match key.strip_prefix(WEIGHED) {
                    Some(name) => drop(weighed.figures.insert(name.to_owned(), serde_json::from_value(value.clone()).unwrap_or_default())),
                    None if key == "norm" => weighed.norm = value.as_f64(),
                    None => {}
                }
            }
        }
        weighed.read = weighed.read.max(job.reports.len());
    }
}
