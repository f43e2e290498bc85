//! What the keys of Tokens do, what the pane asks the loader and the engine for, and what it makes of their answers.
//! Deliberately not here: drawing.

use std::path::PathBuf;

use crossterm::event::{KeyCode, KeyEvent};

use super::form::Form;
use super::{Counted, PARTS, Part, Side, Tokens, Wanted};
use crate::report::{JobId, Signal};
use crate::spec::{CountSpec, JobSpec};
use crate::ui::keymap::Action;
use crate::ui::pane::{Context, Effect};
use crate::ui::widgets::field::Field;
use crate::ui::world::tokens::{Cut, Listed};
use crate::ui::world::{Job, Load, World};

impl Tokens {
    pub(super) fn perform(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let world = cx.world;
        match action {
            "tokens.write" => (self.typing, self.in_list, self.part) = (true, false, self.writable()),
            "tokens.open" if self.in_list => return self.choose(world),
            "tokens.open" => (self.typing, self.part) = (true, self.writable()),
            "tokens.part" => self.turn(1),
            "tokens.part_back" => self.turn(PARTS.len() - 1),
            "tokens.beside" => return self.beside(world),
            "tokens.train" => self.form = Some(Form::new(world)),
            "tokens.count" => self.asking = Some((Wanted::Data, Field::new("sample:stories"))),
            "tokens.path" => self.asking = Some((Wanted::Tokenizer, Field::default())),
            "tokens.ids" => self.ids = !self.ids,
            "tokens.search" => (self.part, self.in_list, self.vocabulary.searching) = (Part::Vocabulary, false, true),
            "tokens.sort" | "tokens.only" => {
                if self.part != Part::Vocabulary {
                    return vec![Effect::Toast("this key is of the vocabulary; v goes there".into())];
                }
                if action == "tokens.sort" {
                    self.vocabulary.sort_next()
                } else {
                    self.vocabulary.only_next()
                };
                self.vocabulary.look(world.shelf.get(&self.sides[0].name), self.counted.as_ref());
            }
            "tokens.next_word" => self.turn_word(1),
            "tokens.last_word" => self.turn_word(-1),
            "tokens.stop" => return self.stop(world),
            "tokens.focus" => self.in_list = !self.in_list,
            "tokens.zoom" => self.zoom = !self.zoom,
            "tokens.down" => self.step(world, 1),
            "tokens.up" => self.step(world, -1),
            "tokens.page_down" => self.step(world, (self.seen.get().height / 2).max(1) as isize),
            "tokens.page_up" => self.step(world, -((self.seen.get().height / 2).max(1) as isize)),
            "tokens.top" => self.step(world, isize::MIN / 2),
            "tokens.end" => self.step(world, isize::MAX / 2),
            "tokens.yank" => return self.yank(world),
            _ => {}
        }
        Vec::new()
    }

    /// The views that the text field is on.
    fn writable(&self) -> Part {
        if self.part == Part::Words { Part::Words } else { Part::Text }
    }

    fn turn(&mut self, by: usize) {
        let at = PARTS.iter().position(|(part, _)| *part == self.part).unwrap_or(0);
        (self.part, self.scroll, self.in_list) = (PARTS[(at + by) % PARTS.len()].0, 0, false);
    }

    fn turn_word(&mut self, by: isize) {
        let Some(cut) = &self.sides[0].cut else { return };
        self.word = Some(self.word_of(cut).saturating_add_signed(by).min(cut.words.len().saturating_sub(1)));
        self.scroll = 0;
    }

    /// The word that is shown of a text.
    pub(super) fn word_of(&self, cut: &Cut) -> usize {
        let most = || cut.words.iter().enumerate().max_by_key(|(at, word)| (word.steps.len(), std::cmp::Reverse(*at)));
        self.word.unwrap_or_else(|| most().map_or(0, |(at, _)| at)).min(cut.words.len().saturating_sub(1))
    }

    pub(super) fn step(&mut self, world: &World, by: isize) {
        let seen = self.seen.get();
        if self.in_list {
            self.at = self.at.saturating_add_signed(by).min(self.entries(world).len().saturating_sub(1));
        } else if self.part == Part::Vocabulary {
            self.vocabulary.step(by);
        } else {
            self.scroll = self.scroll.saturating_add_signed(by).min(seen.lines.saturating_sub(seen.height));
        }
    }

    fn selected(&self, world: &World) -> Option<String> {
        self.entries(world).get(self.at).map(|listed| listed.name.clone())
    }

    fn choose(&mut self, world: &World) -> Vec<Effect> {
        let Some(name) = self.selected(world) else { return Vec::new() };
        self.show(name);
        Vec::new()
    }

    fn show(&mut self, name: String) {
        if self.sides[1].name == name {
            self.sides[1] = Side::default();
        }
        self.sides[0] = Side { name, ..Side::default() };
        (self.scroll, self.word) = (0, None);
        self.vocabulary.forget();
    }

    fn beside(&mut self, world: &World) -> Vec<Effect> {
        if self.compares() && (!self.in_list || self.selected(world).as_deref() == Some(self.sides[1].name.as_str())) {
            self.sides[1] = Side::default();
            return Vec::new();
        }
        if !self.in_list {
            self.in_list = true;
            return vec![Effect::Toast("choose the tokenizer to put beside, and press the key again".into())];
        }
        match self.selected(world) {
            Some(name) if name == self.name() => vec![Effect::Toast("this one is shown already; choose another".into())],
            Some(name) => {
                self.sides[1] = Side { name, ..Side::default() };
                (self.in_list, self.part) = (false, Part::Text);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn yank(&self, world: &World) -> Vec<Effect> {
        if self.part == Part::Vocabulary {
            let token = self.vocabulary.selected().and_then(|id| world.shelf.get(self.name())?.tokenizer.token(id));
            return token.map(Effect::Yank).into_iter().collect();
        }
        let ids = self.sides[0].cut.as_ref().map(|cut| cut.pieces.iter().map(|p| p.id.to_string()).collect::<Vec<_>>().join(" "));
        ids.map(Effect::Yank).into_iter().collect()
    }

    pub(super) fn type_key(&mut self, key: KeyEvent) -> bool {
        if matches!(key.code, KeyCode::Esc | KeyCode::BackTab | KeyCode::F(_)) {
            return false;
        }
        let before = self.text.lines().to_vec();
        self.text.input(key);
        if self.text.lines() != before {
            self.revision += 1;
        }
        true
    }

    pub(super) fn answered(&mut self, wanted: Wanted, path: &str, world: &World) {
        if path.is_empty() {
            return;
        }
        match wanted {
            Wanted::Tokenizer => {
                self.extra.retain(|listed| listed.name != path);
                self.extra.insert(0, Listed { name: path.into(), what: "file".into() });
                self.at = 0;
                self.show(path.into());
            }
            Wanted::Data => {
                let ticket = world.ticket();
                let files = path.split_whitespace().map(PathBuf::from).collect();
                let spec = JobSpec::new("count", &CountSpec { tokenizer: self.name().into(), files });
                self.counting = Some((ticket, self.name().into(), path.into()));
                self.outbox.push(Effect::Start { ticket, spec });
            }
        }
    }

    pub(super) fn start_training(&mut self, world: &World) {
        let Some(form) = &mut self.form else { return };
        match form.spec(world) {
            Ok(spec) => {
                let ticket = world.ticket();
                let name = spec.out.to_string_lossy().into_owned();
                self.outbox.push(Effect::Start { ticket, spec: JobSpec::new("tokenizer", &spec) });
                self.training = Some((ticket, name));
                self.form = None;
            }
            Err(why) => form.trouble = Some(why),
        }
    }

    /// The jobs that were started here and go on.
    pub(super) fn jobs<'a>(&self, world: &'a World) -> Vec<&'a Job> {
        let tickets = self.training.iter().map(|t| t.0).chain(self.counting.iter().map(|c| c.0));
        tickets.filter_map(|t| world.jobs.get(world.tickets.get(&t)?)).filter(|job| job.ended.is_none()).collect()
    }

    pub(super) fn busy(&self, world: &World) -> bool {
        !self.jobs(world).is_empty()
    }

    fn stop(&self, world: &World) -> Vec<Effect> {
        match self.jobs(world).first() {
            None => vec![Effect::Toast("nothing was started here that still goes on".into())],
            Some(job) => {
                let id: JobId = job.id;
                let question = format!("Stop {}? What it did so far is lost.", crate::text::visible(&job.title, false));
                vec![Effect::Confirm { question, then: Box::new(Effect::Signal(id, Signal::Stop)) }]
            }
        }
    }

    /// Takes in what the loader and the engine answered.
    pub(super) fn hear(&mut self, world: &World) {
        if self.name().is_empty() && world.shelf.listed.is_some() {
            let first = self.entries(world).first().map(|listed| listed.name.clone());
            first.into_iter().for_each(|name| self.show(name));
        }
        for side in &mut self.sides {
            let Some(answer) = side.ticket.and_then(|ticket| world.shelf.cuts.get(&ticket)) else { continue };
            side.ticket = None;
            match answer {
                Ok(cut) => (side.cut, side.fault) = (Some(cut.clone()), None),
                Err(why) => (side.cut, side.fault) = (None, Some(why.clone())),
            }
        }
        self.hear_training(world);
        self.hear_counting(world);
        self.vocabulary.look(world.shelf.get(&self.sides[0].name), self.counted.as_ref());
    }

    fn hear_training(&mut self, world: &World) {
        let Some((ticket, name)) = &self.training else { return };
        if let Some(why) = world.refused.get(ticket) {
            self.outbox.push(Effect::Toast(why.clone()));
            self.training = None;
            return;
        }
        let Some(ended) = world.tickets.get(ticket).and_then(|id| world.jobs.get(id)?.ended.as_ref()) else { return };
        let name = name.clone();
        self.training = None;
        match ended {
            crate::ui::world::Ended::Finished { stopped: false, summary } => {
                self.outbox.push(Effect::Load(Load::Tokenizers));
                self.outbox.push(Effect::Load(Load::Tokenizer { name: name.clone(), again: true }));
                self.outbox.push(Effect::Toast(format!("{name}: {summary}")));
                self.show(name);
            }
            crate::ui::world::Ended::Finished { summary, .. } => self.outbox.push(Effect::Toast(summary.clone())),
            crate::ui::world::Ended::Failed { cause, .. } => self.outbox.push(Effect::Toast(cause.clone())),
        }
    }

    fn hear_counting(&mut self, world: &World) {
        let Some((ticket, tokenizer, data)) = &self.counting else { return };
        if let Some(why) = world.refused.get(ticket) {
            self.outbox.push(Effect::Toast(why.clone()));
            self.counting = None;
            return;
        }
        let Some(job) = world.tickets.get(ticket).and_then(|id| world.jobs.get(id)).filter(|job| job.ended.is_some()) else { return };
        if let Some(crate::ui::world::Ended::Failed { cause, .. }) = &job.ended {
            self.outbox.push(Effect::Toast(cause.clone()));
        }
        let figure = |key: &str| job.facts.get(key).and_then(serde_json::Value::as_u64);
        if let (Some(bytes), Some(tokens), Some(flat)) =
            (figure("bytes"), figure("tokens"), job.facts.get("counts").and_then(|c| c.as_array()))
        {
            let flat: Vec<u64> = flat.iter().filter_map(serde_json::Value::as_u64).collect();
            let mut counts = Vec::new();
            for pair in flat.chunks_exact(2) {
                let id = pair[0] as usize;
                if id < 1 << 24 {
                    counts.resize(counts.len().max(id + 1), 0);
                    counts[id] = pair[1];
                }
            }
            self.counted = Some(Counted { tokenizer: tokenizer.clone(), data: data.clone(), bytes, tokens, counts });
            self.vocabulary.counted();
        }
        self.counting = None;
    }

    /// What has to be asked for so that the screen is up to date. One question about the text is open at a time.
    pub(super) fn ask(&mut self, world: &World) -> Vec<Effect> {
        let mut effects = Vec::new();
        if world.shelf.listed.is_none() && self.revision > 0 {
            effects.push(Effect::Load(Load::Tokenizers));
        }
        let text = self.text.lines().join("\n");
        for side in self.sides.iter_mut().filter(|side| !side.name.is_empty()) {
            if !world.shelf.open.contains_key(&side.name) {
                effects.push(Effect::Load(Load::Tokenizer { name: side.name.clone(), again: false }));
            }
            if side.ticket.is_none() && side.asked != self.revision {
                let ticket = world.ticket();
                (side.ticket, side.asked) = (Some(ticket), self.revision);
                effects.push(Effect::Load(Load::Cut { ticket, name: side.name.clone(), text: text.clone() }));
            }
        }
        effects
    }
}
