//! What is kept of a conversation: files of it, answers that are liked or not, items of evaluations, samples to be ranked.
//! Deliberately not here: the form of a saved conversation (`transcript`).

use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::talk::{Mode, Stage, Version};
use super::{Chat, Popup, transcript};
use crate::spec::{Message, Sampler};
use crate::ui::pane::{Context, Effect};
use crate::ui::world::Load;

/// Answers that are ranked against each other.
pub const SAMPLES: usize = 4;

/// Samples on their way to ranking.
#[derive(Clone, Debug)]
pub struct Sampling {
    exchange: usize,
    /// Their versions.
    versions: Vec<usize>,
}

impl Chat {
    pub(super) fn save(&mut self, cx: &Context) {
        if self.talk.exchanges.is_empty() {
            return self.toast("there is nothing to save yet");
        }
        let path = self.file(cx);
        self.toast(&format!("writing {}", path.display()));
        let title = self.title();
        self.outbox.push(Effect::Load(Load::Write { path, text: transcript::write(&self.talk, &title, cx.now_ms) }));
        self.saved = self.written();
    }

    /// As a text for people.
    pub(super) fn save_page(&mut self, cx: &Context) {
        if self.talk.exchanges.is_empty() {
            return self.toast("there is nothing to write yet");
        }
        let path = self.file(cx).with_extension("md");
        self.toast(&format!("writing {}", path.display()));
        let text = self.talk.transcript(&self.title());
        self.outbox.push(Effect::Load(Load::Write { path, text }));
    }

    fn title(&self) -> String {
        let first = self.talk.exchanges.first().and_then(|e| e.versions.first());
        format!("A talk with {}", first.map_or("nobody", |v| v.model.as_str()))
    }

    fn file(&self, cx: &Context) -> PathBuf {
        let model = self.model(cx.world).map_or_else(|| "chat".into(), |c| c.run);
        let short = Path::new(&model).file_name().map_or_else(|| model.clone(), |n| n.to_string_lossy().into_owned());
        let name: String = short.chars().map(|c| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).take(60).collect();
        Path::new("chats").join(format!("{name}-{}.jsonl", super::act::stamp(cx.now_ms)))
    }

    /// How much there is to be saved.
    pub(super) fn written(&self) -> usize {
        self.talk.exchanges.iter().map(|e| e.versions.len()).sum()
    }

    pub(super) fn list_files(&mut self) {
        self.popup = Some(Popup::Files { at: 0 });
        self.outbox.push(Effect::Load(Load::Chats));
    }

    /// Opens a saved conversation; the one that is here is saved first where it was not.
    pub(super) fn open_file(&mut self, path: PathBuf, cx: &Context) {
        if self.talk.open().next().is_some() {
            return self.toast("it is still writing: Esc stops it");
        }
        if self.written() > self.saved {
            self.save(cx);
        }
        let ticket = cx.world.ticket();
        self.opening = Some((ticket, path.clone()));
        self.outbox.push(Effect::Load(Load::Chat { ticket, path }));
    }

    /// Takes in the file that was asked for.
    pub(super) fn take_file(&mut self, cx: &Context) {
        let Some((ticket, path)) = &self.opening else { return };
        let Some((_, result)) = cx.world.chat.as_ref().filter(|(answered, _)| answered == ticket) else { return };
        let name = path.display().to_string();
        let read = result.clone().and_then(|text| transcript::read(&text).map_err(|why| format!("{name}: {why}")));
        self.opening = None;
        match read {
            Ok(talk) => {
                self.mode = talk.last().map_or(self.mode, |e| e.mode);
                (self.talk, self.cursor, self.held, self.probed) = (talk, None, None, None);
                self.saved = self.written();
                self.toast(&format!("opened {name}"));
            }
            Err(why) => self.toast(&why),
        }
    }

    /// The version at the cursor or the last one, with what was asked, as messages.
    fn exchange_here(&self) -> Option<(Vec<Message>, &Version)> {
        let at = self.current()?;
        let exchange = self.talk.exchanges.get(at)?;
        let version = self.cursor.and_then(|c| exchange.versions.get(c.version)).or_else(|| exchange.version())?;
        Some((self.asked(at, version), version))
    }

    /// What a version answers, as messages.
    fn asked(&self, at: usize, version: &Version) -> Vec<Message> {
        match self.talk.exchanges.get(at).map(|e| e.mode) {
            Some(Mode::Chat) => self.talk.messages(at, &version.model, &version.prompt, ""),
            _ => vec![Message::new("user", &format!("{}{}", self.talk.lead(), version.prompt))],
        }
    }

    /// A thumb up or down, in the shape that is learnt from (KTO).
    pub(super) fn like(&mut self, good: bool, cx: &Context) {
        let Some((prompt, version)) = self.exchange_here().filter(|(_, v)| !v.is_open() && !v.said().trim().is_empty()) else {
            return self.toast("there is no answer yet to be liked");
        };
        let line = json!({
            "schema": 1, "prompt": prompt, "completion": [{ "role": "assistant", "content": version.said() }], "label": good,
            "model": version.model, "sampler": version.sampler, "at_ms": cx.now_ms,
        });
        let path = Path::new("labels").join("liked.jsonl");
        self.toast(&format!("{}, kept in {}", if good { "liked" } else { "disliked" }, path.display()));
        self.outbox.push(Effect::Load(Load::Append { path, line: line.to_string() }));
    }

    /// The exchange as an item of an evaluation, with the answer as what is expected.
    pub(super) fn keep_item(&mut self, cx: &Context) {
        let Some((prompt, version)) = self.exchange_here().filter(|(_, v)| !v.is_open() && !v.said().trim().is_empty()) else {
            return self.toast("there is no answer yet that could be expected");
        };
        let line = json!({
            "schema": 1, "question": version.prompt, "answer": version.said().trim(), "messages": prompt, "model": version.model,
            "at_ms": cx.now_ms,
        });
        let path = Path::new("evals").join("kept.jsonl");
        self.toast(&format!("kept in {}: what was answered is what is expected", path.display()));
        self.outbox.push(Effect::Load(Load::Append { path, line: line.to_string() }));
    }

    /// Asks for as many answers to this prompt as are ranked; those that are there count.
    pub(super) fn hand_to_rank(&mut self, cx: &Context) {
        if self.busy() {
            return;
        }
        if self.talk.exchanges.is_empty() {
            let text = self.input.text();
            if text.trim().is_empty() {
                return self.toast("write a prompt first: its answers are ranked");
            }
            self.input.set("");
            self.send(text, cx);
        }
        let Some((at, exchange)) = self.current().and_then(|at| Some((at, self.talk.exchanges.get(at)?))) else { return };
        let Some(version) = exchange.version() else { return };
        if self.settings.sampler.temperature == 0.0 {
            return self.toast("at temperature 0 all answers are the same: raise the temperature first");
        }
        let (prompt, prefix) = (version.prompt.clone(), version.prefix.clone());
        let fits = |v: &Version| v.prompt == prompt && v.prefix == prefix && !matches!(v.stage, Stage::Failed { .. });
        let mut versions: Vec<usize> =
            exchange.versions.iter().enumerate().rev().filter(|(_, v)| fits(v)).map(|(i, _)| i).take(SAMPLES).collect();
        let newest = exchange.versions.iter().map(|v| v.sampler.seed).max().unwrap_or(0);
        for n in 1..=(SAMPLES - versions.len()) as u64 {
            versions.push(self.talk.exchanges[at].versions.len());
            let sampler = Sampler { seed: newest.saturating_add(n), ..self.settings.sampler.clone() };
            self.start(at, &prompt, &prefix, sampler, cx);
        }
        if let Some(exchange) = self.talk.exchanges.get_mut(at) {
            (exchange.spread, exchange.pair) = (true, false);
        }
        versions.sort_unstable();
        self.sampling = Some(Sampling { exchange: at, versions });
        self.toast(&format!("{SAMPLES} answers go to Rank once they are written"));
    }

    /// Writes the answers down once all are there.
    pub(super) fn take_samples(&mut self, now_ms: u64) {
        let Some(sampling) = self.sampling.take() else { return };
        let Some(exchange) = self.talk.exchanges.get(sampling.exchange) else { return };
        let versions: Vec<&Version> = sampling.versions.iter().filter_map(|i| exchange.versions.get(*i)).collect();
        if versions.iter().any(|v| v.is_open()) {
            self.sampling = Some(sampling);
            return;
        }
        let done: Vec<&&Version> = versions.iter().filter(|v| matches!(v.stage, Stage::Done(_)) && !v.said().trim().is_empty()).collect();
        let mut different: Vec<&Version> = Vec::new();
        for version in done {
            if !different.iter().any(|v| v.said() == version.said()) {
                different.push(version);
            }
        }
        let Some(first) = different.first().filter(|_| different.len() > 1) else {
            return self.toast("fewer than two different answers came: there is nothing to rank");
        };
        let prompt = self.asked(sampling.exchange, first);
        let responses: Vec<_> = (different.iter().enumerate())
            .map(|(i, v)| {
                json!({ "id": format!("r{}", i + 1), "content": v.said(), "model": v.model, "sampler": v.sampler, "seed": v.sampler.seed, "ids": v.drawn_ids() })
            })
            .collect();
        let line = json!({ "schema": 1, "id": id(&prompt, now_ms), "prompt": prompt, "responses": responses });
        let path = Path::new("labels").join("chat").join("items.jsonl");
        let n = different.len();
        self.toast(&format!("{n} answers are in {}: Rank them there", path.display()));
        self.outbox.push(Effect::Load(Load::Append { path, line: line.to_string() }));
    }

    pub(super) fn toast(&mut self, text: &str) {
        self.outbox.push(Effect::Toast(text.into()));
    }
}

/// An item's name: the beginning of a hash of its prompt and the time, since a prompt may be sent twice.
fn id(prompt: &[Message], now_ms: u64) -> String {
    let text = format!("{}{now_ms}", serde_json::to_string(prompt).unwrap_or_default());
    let hash: String = Sha256::digest(text.as_bytes()).iter().take(6).map(|b| format!("{b:02x}")).collect();
    format!("c{hash}")
}
