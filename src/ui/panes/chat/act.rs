//! What the pane's actions do: sending, stopping, versions, branches, moving, and asking for the next token's
//! distribution. Deliberately not here: keys (`mod`), drawing, and what is kept (`keep`).

use ratatui::layout::{Position, Rect};

use super::picker::{self, Choice};
use super::settings::ROWS;
use super::talk::{Exchange, Mode, Origin, SEEDS, Stage, Version};
use super::{Chat, Focus, Popup, RENDERED_WIDTH, Spot, Writing, view};
use crate::penalties::{Past, breakers};
use crate::report::{Candidate, Distribution, JobId, Signal};
use crate::sample::eliza;
use crate::spec::{GenerateSpec, JobSpec, Sampler};
use crate::text::visible;
use crate::ui::pane::{Context, Effect, Hint};
use crate::ui::widgets;
use crate::ui::world::World;

/// Alternatives that are asked for with each token.
const ALTERNATIVES: usize = 16;
/// How often the distribution is asked again while the model is in training.
const LIVE_PROBE_MS: u64 = 2_000;

/// What the newest distribution was asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    pub model: String,
    pub mode: Mode,
    pub text: String,
    exchanges: usize,
}

impl Chat {
    /// What would do something now. In the field letters are text: what they do is told as what comes after Esc.
    pub(super) fn offered(&self, world: &World) -> Vec<Hint> {
        match self.popup {
            Some(Popup::Models { .. }) => {
                return vec![("chat.open", "takes it"), ("chat.down", "down"), ("chat.up", "up"), ("app.back", "back")];
            }
            Some(Popup::Alternatives { .. }) => {
                return vec![("chat.open", "goes on from there"), ("chat.down", "down"), ("chat.up", "up"), ("app.back", "back")];
            }
            Some(Popup::Second { .. }) => {
                return vec![("chat.open", "asks it too"), ("chat.down", "down"), ("chat.up", "up"), ("app.back", "back")];
            }
            Some(Popup::Files { .. }) => {
                return vec![("chat.open", "opens it"), ("chat.down", "down"), ("chat.up", "up"), ("app.back", "back")];
            }
            Some(Popup::Rendered { .. }) => return vec![("chat.down", "down"), ("chat.up", "up"), ("app.back", "back")],
            None => {}
        }
        let writing = self.talk.open().next().is_some();
        let (model, mode, next) = (("chat.models", "model"), ("chat.mode", "chat/continue"), ("chat.next", "next part"));
        let mut letters = Vec::new();
        if !writing && self.model(world).is_some() {
            letters.extend([("chat.again", "again"), ("chat.five", "five seeds")]);
            if self.talk.last().is_some() {
                letters.extend([("chat.more", "go on"), ("chat.edit", "edit"), ("chat.rank", "to Rank")]);
            }
        }
        if self.talk.last().is_some() {
            letters.push(("chat.tint", "tint"));
        }
        letters.extend([model, mode]);
        let mut hints = Vec::new();
        match self.focus {
            Focus::Input if writing => hints.extend([("app.back", "stops"), next]),
            Focus::Input if self.model(world).is_none() => hints.extend([("go.life", "life"), next, ("app.back", "leaves")]),
            Focus::Input => {
                let goes_on = self.input.is_empty() && self.mode == Mode::Continue && self.talk.last().is_some() && !self.fresh;
                hints.extend([("chat.open", if goes_on { "go on" } else { "send" }), next, ("app.back", "leaves, then")]);
            }
            Focus::Text if writing => hints.push(("app.back", "stops")),
            Focus::Text if self.cursor.is_some() => {
                hints.extend([("chat.open", "alternatives"), ("chat.left", "left"), ("chat.right", "right")]);
            }
            Focus::Text => hints.push(("chat.write", "write")),
            Focus::Panel => {
                hints.extend([("chat.right", "more"), ("chat.left", "less"), ("chat.down", "next setting"), ("chat.default", "default")])
            }
        }
        if self.focus != Focus::Input || !writing {
            hints.extend(letters);
        }
        if self.focus != Focus::Input {
            hints.push(next);
        }
        hints
    }

    pub(super) fn perform(&mut self, action: &str, cx: &Context) {
        if self.popup.is_some() && self.in_popup(action, cx) {
            return;
        }
        match action {
            "chat.write" => self.focus = Focus::Input,
            "chat.open" => self.open_here(),
            "chat.again" => self.again(1, cx),
            "chat.five" => self.again(SEEDS, cx),
            "chat.edit" => self.edit(),
            "chat.tint" => self.tint = !self.tint,
            "chat.models" => self.popup = Some(Popup::Models { at: self.model_place(cx.world) }),
            "chat.second" => match self.second.take() {
                Some(_) => self.toast("one model again"),
                None => self.popup = Some(Popup::Second { at: 0 }),
            },
            "chat.mode" => self.mode = if self.mode == Mode::Chat { Mode::Continue } else { Mode::Chat },
            "chat.next" => self.turn_focus(true),
            "chat.previous" => self.turn_focus(false),
            "chat.right" | "chat.left" => self.sideways(if action == "chat.right" { 1 } else { -1 }),
            "chat.down" | "chat.up" => self.vertically(if action == "chat.down" { 1 } else { -1 }),
            "chat.half_down" => self.scroll((self.seen.get().height / 2).max(1) as i64),
            "chat.half_up" => self.scroll(-((self.seen.get().height / 2).max(1) as i64)),
            "chat.top" => self.held = Some(0),
            "chat.end" => (self.held, self.cursor) = (None, None),
            "chat.version_next" => self.turn_version(1),
            "chat.version_previous" => self.turn_version(-1),
            "chat.default" => self.settings.reset(ROWS[self.row.min(ROWS.len() - 1)]),
            "chat.more" => self.go_on(cx),
            "chat.new" => {
                self.fresh = true;
                self.focus = Focus::Input;
                self.toast("a new conversation: the model is not told what was said before");
            }
            "chat.zoom" => self.zoom = !self.zoom,
            _ => self.perform_keeping(action, cx),
        }
    }

    /// Actions that put something in front, look, or keep.
    fn perform_keeping(&mut self, action: &str, cx: &Context) {
        match action {
            "chat.system" if self.mode == Mode::Continue => self.toast("a system prompt belongs to a chat: c changes to one"),
            "chat.system" => self.write_in_front(Writing::System),
            "chat.examples" => self.write_in_front(Writing::Examples),
            "chat.think" => self.unfold = !self.unfold,
            "chat.rendered" => self.popup = Some(Popup::Rendered { top: 0 }),
            "chat.save" => self.save(cx),
            "chat.page" => self.save_page(cx),
            "chat.files" => self.list_files(),
            "chat.rank" => self.hand_to_rank(cx),
            "chat.like" => self.like(true, cx),
            "chat.dislike" => self.like(false, cx),
            "chat.keep" => self.keep_item(cx),
            "chat.yank" => self.yank(),
            _ => {}
        }
    }

    /// The field is for what stands in front of all turns; what was being written waits.
    fn write_in_front(&mut self, writing: Writing) {
        if self.writing == Writing::Prompt {
            self.draft = self.input.text();
        }
        let text = if writing == Writing::System { self.talk.system.clone() } else { self.talk.examples.clone() };
        self.input.set(&text);
        (self.writing, self.focus) = (writing, Focus::Input);
    }

    /// Back to the prompt that was being written.
    pub(super) fn write_prompt(&mut self) {
        if self.writing != Writing::Prompt {
            self.writing = Writing::Prompt;
            let draft = std::mem::take(&mut self.draft);
            self.input.set(&draft);
        }
    }

    /// Folds the world in, asks for what the screen lacks, and hands out what is to be done.
    pub(super) fn settle(&mut self, cx: &Context) -> Vec<Effect> {
        self.talk.update(cx.world);
        let open = self.talk.exchanges.iter_mut().flat_map(|e| e.versions.iter_mut());
        let told: Vec<JobId> = open.filter_map(Version::tell_stop).collect();
        self.outbox.extend(told.into_iter().map(|job| Effect::Signal(job, Signal::Stop)));
        self.take_samples(cx.now_ms);
        self.take_file(cx);
        self.ask_probe(cx);
        std::mem::take(&mut self.outbox)
    }

    pub(super) fn stop(&mut self) {
        self.talk.exchanges.iter_mut().flat_map(|e| e.versions.iter_mut()).for_each(Version::want_stop);
    }

    pub(super) fn send(&mut self, text: String, cx: &Context) {
        match self.writing {
            Writing::System | Writing::Examples => {
                let empty = text.trim().is_empty();
                let said = match self.writing {
                    Writing::System => "the system prompt",
                    _ => "the examples",
                };
                self.toast(&if empty { format!("{said}: none now") } else { format!("{said} stands in front from now on") });
                *if self.writing == Writing::System { &mut self.talk.system } else { &mut self.talk.examples } = text;
                self.write_prompt();
                return;
            }
            Writing::Edit(at) => {
                self.write_prompt();
                if self.talk.exchanges.get(at).is_some_and(|e| e.mode == self.mode) {
                    if let Some(exchange) = self.talk.exchanges.get_mut(at) {
                        (exchange.spread, exchange.pair) = (false, false);
                    }
                    return self.start(at, &text, "", self.settings.sampler.clone(), cx);
                }
            }
            Writing::Prompt => {}
        }
        if text.is_empty() && self.mode == Mode::Continue && self.talk.last().is_some() && !self.fresh {
            return self.go_on(cx);
        }
        if text.trim().is_empty() && self.mode == Mode::Chat {
            return self.toast("say something first");
        }
        if self.model(cx.world).is_none() {
            self.input.set(&text);
            return self.toast("there is no model yet: train one in Life, or in Train");
        }
        let fresh = std::mem::take(&mut self.fresh);
        let pair = self.second.is_some();
        let at = self.talk.add(Exchange { mode: self.mode, fresh, pair, ..Exchange::default() });
        self.start(at, &text, "", self.settings.sampler.clone(), cx);
        if let Some(second) = self.second.clone() {
            self.start_with(&second, at, &text, "", self.settings.sampler.clone(), cx);
        }
    }

    /// Adds a version to an exchange, shows it and starts its job.
    pub(super) fn start(&mut self, at: usize, prompt: &str, prefix: &str, sampler: Sampler, cx: &Context) {
        let Some(choice) = self.model(cx.world) else { return };
        // From now on another run that begins does not take this one's place.
        self.picked = Some(choice.clone());
        self.start_with(&choice, at, prompt, prefix, sampler, cx);
    }

    fn start_with(&mut self, choice: &Choice, at: usize, prompt: &str, prefix: &str, sampler: Sampler, cx: &Context) {
        let Some(mode) = self.talk.exchanges.get(at).map(|e| e.mode) else { return };
        let messages = if mode == Mode::Chat { self.talk.messages(at, &choice.label, prompt, prefix) } else { Vec::new() };
        let spec = GenerateSpec {
            model: choice.model.clone(),
            prompt: if mode == Mode::Chat { String::new() } else { format!("{}{prompt}{prefix}", self.talk.lead()) },
            messages,
            max_tokens: self.settings.max_tokens,
            sampler: sampler.clone(),
            alternatives: ALTERNATIVES,
            distribution: true,
            ..GenerateSpec::default()
        };
        let ticket = cx.world.ticket();
        if let Some(exchange) = self.talk.exchanges.get_mut(at) {
            exchange.versions.push(Version::new(&choice.label, prompt, prefix, &sampler, ticket, cx.now_ms));
            exchange.shown = exchange.versions.len() - 1;
        }
        (self.cursor, self.held) = (None, None);
        self.outbox.push(Effect::Start { ticket, spec: JobSpec::new("generate", &spec) });
    }

    /// The exchange at the token cursor, else the last one.
    pub(super) fn current(&self) -> Option<usize> {
        self.cursor.map(|c| c.exchange).or_else(|| self.talk.end())
    }

    pub(super) fn busy(&mut self) -> bool {
        let busy = self.talk.open().next().is_some();
        if busy {
            self.outbox.push(Effect::Toast("it is still writing: Esc stops it".into()));
        }
        busy
    }

    fn again(&mut self, times: u64, cx: &Context) {
        if self.busy() {
            return;
        }
        let nothing_yet = self.talk.exchanges.is_empty();
        if nothing_yet {
            let text = self.input.text();
            self.input.set("");
            self.send(text, cx);
            if times == 1 {
                return;
            }
        }
        let Some((at, exchange)) = self.current().and_then(|at| Some((at, self.talk.exchanges.get(at)?))) else { return };
        if self.settings.sampler.temperature == 0.0 {
            let text = "at temperature 0 every seed gives the same text: raise the temperature first";
            return self.outbox.push(Effect::Toast(text.into()));
        }
        let Some(version) = exchange.version() else { return };
        let (prompt, prefix) = (version.prompt.clone(), version.prefix.clone());
        let newest = exchange.versions.iter().map(|v| v.sampler.seed).max().unwrap_or(0);
        // The text that is there is one of the five, where it differs from the others by its seed alone.
        let alike = Sampler { seed: version.sampler.seed, ..self.settings.sampler.clone() } == version.sampler;
        let last = exchange.shown + 1 == exchange.versions.len() && !exchange.spread;
        let failed = matches!(version.stage, Stage::Failed { .. });
        let counts = alike && last && !failed && self.model(cx.world).is_some_and(|c| c.label == version.model);
        let wanted = if times > 1 && counts { times - 1 } else { times };
        for n in 1..=wanted {
            let sampler = Sampler { seed: newest.saturating_add(n), ..self.settings.sampler.clone() };
            self.start(at, &prompt, &prefix, sampler, cx);
        }
        if let Some(exchange) = self.talk.exchanges.get_mut(at) {
            (exchange.spread, exchange.pair) = (times > 1, false);
        }
        if times == 1 {
            self.settings.sampler.seed = newest.saturating_add(1);
        }
    }

    fn edit(&mut self) {
        let Some((at, exchange)) = self.current().and_then(|at| Some((at, self.talk.exchanges.get(at)?))) else { return };
        let Some(prompt) = exchange.version().map(|v| v.prompt.clone()) else { return };
        self.mode = exchange.mode;
        if self.writing == Writing::Prompt {
            self.draft = self.input.text();
        }
        self.input.set(&prompt);
        (self.writing, self.focus) = (Writing::Edit(at), Focus::Input);
    }

    fn go_on(&mut self, cx: &Context) {
        if self.busy() {
            return;
        }
        let Some(at) = self.current() else { return };
        let Some(version) = self.talk.exchanges.get(at).and_then(Exchange::version) else { return };
        let (prompt, said) = (version.prompt.clone(), version.said());
        self.start(at, &prompt, &said, self.settings.sampler.clone(), cx);
    }

    fn yank(&mut self) {
        let version = self.current().and_then(|at| self.talk.exchanges.get(at)).and_then(Exchange::version);
        let Some(version) = version else { return };
        self.outbox.push(Effect::Yank(format!("{}{}", version.prompt, version.said())));
        self.outbox.push(Effect::Toast("copied".into()));
    }

    fn turn_focus(&mut self, on: bool) {
        self.focus = match (self.focus, on) {
            (Focus::Input, true) | (Focus::Panel, false) => Focus::Text,
            (Focus::Text, true) | (Focus::Input, false) => Focus::Panel,
            (Focus::Panel, true) | (Focus::Text, false) => Focus::Input,
        };
    }

    fn turn_version(&mut self, by: i64) {
        let Some(exchange) = self.current().and_then(|at| self.talk.exchanges.get_mut(at)) else { return };
        (exchange.spread, exchange.pair) = (false, false);
        exchange.shown = (exchange.shown as i64 + by).clamp(0, exchange.versions.len() as i64 - 1) as usize;
        self.cursor = None;
    }

    // Moving.

    fn sideways(&mut self, by: i64) {
        if self.focus == Focus::Panel {
            return self.settings.adjust(ROWS[self.row.min(ROWS.len() - 1)], by);
        }
        let spots = self.spots();
        let at = self.cursor.and_then(|c| spots.iter().position(|s| *s == c));
        let next = match at {
            Some(at) => (at as i64 + by).clamp(0, spots.len() as i64 - 1) as usize,
            // Coming in from the right: the last token; from the left: the first that was drawn in the last exchange.
            None if by < 0 => spots.len().saturating_sub(1),
            None => spots.iter().position(|s| Some(s.exchange) == self.current()).unwrap_or(0),
        };
        self.cursor = spots.get(next).copied();
    }

    fn vertically(&mut self, by: i64) {
        if self.focus == Focus::Panel {
            self.row = (self.row as i64 + by).clamp(0, ROWS.len() as i64 - 1) as usize;
        } else if let Some(cursor) = self.cursor {
            self.cursor = Some(view::beside(self, cursor, by).unwrap_or(cursor));
        } else {
            self.scroll(by);
        }
    }

    pub(super) fn scroll(&mut self, by: i64) {
        let seen = self.seen.get();
        let last = seen.lines.saturating_sub(seen.height);
        let top = self.held.unwrap_or(last).min(last) as i64 + by;
        self.held = if top >= last as i64 { None } else { Some(top.max(0) as usize) };
    }

    pub(super) fn click(&mut self, at: Position, area: Rect, _: &Context) {
        self.focus = Focus::Text;
        self.cursor = view::spot_at(self, at, area);
    }

    /// All tokens that are shown, in reading order.
    pub(super) fn spots(&self) -> Vec<Spot> {
        let mut out = Vec::new();
        for (exchange, e) in self.talk.path().into_iter().filter_map(|at| Some((at, self.talk.exchanges.get(at)?))) {
            for (version, v) in e.versions.iter().enumerate().filter(|(i, _)| e.shows(*i)) {
                let folded = v.thought().filter(|_| !self.unfold).unwrap_or_default();
                out.extend((0..v.pieces.len()).filter(|p| !folded.contains(p)).map(|piece| Spot { exchange, version, piece }));
            }
        }
        out
    }

    // Overlays.

    fn model_place(&self, world: &World) -> usize {
        let now = self.model(world);
        picker::choices(world).iter().position(|c| now.as_ref().is_some_and(|n| n.model == c.model)).unwrap_or(0)
    }

    fn open_here(&mut self) {
        match (self.focus, self.cursor) {
            (Focus::Text, Some(_)) if !self.candidates().is_empty() => self.popup = Some(Popup::Alternatives { at: 0 }),
            (Focus::Text, Some(_)) => {
                let text = "no alternatives are known here: nothing stood before this token";
                self.outbox.push(Effect::Toast(text.into()));
            }
            _ => self.focus = Focus::Input,
        }
    }

    /// The alternatives at the token cursor.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        self.version_at_cursor().map(|(v, piece)| v.pieces[piece].alternatives.clone()).unwrap_or_default()
    }

    pub(super) fn version_at_cursor(&self) -> Option<(&Version, usize)> {
        let spot = self.cursor?;
        let version = self.talk.exchanges.get(spot.exchange)?.versions.get(spot.version)?;
        (spot.piece < version.pieces.len()).then_some((version, spot.piece))
    }

    /// Whether the overlay took the action.
    fn in_popup(&mut self, action: &str, cx: &Context) -> bool {
        let count = match &self.popup {
            Some(Popup::Models { .. } | Popup::Second { .. }) => picker::choices(cx.world).len(),
            Some(Popup::Alternatives { .. }) => self.candidates().len(),
            Some(Popup::Files { .. }) => cx.world.chats.as_ref().map_or(0, Vec::len),
            Some(Popup::Rendered { .. }) => self.rendered(usize::from(RENDERED_WIDTH)).len(),
            None => return false,
        };
        let Some(
            Popup::Models { at } | Popup::Second { at } | Popup::Alternatives { at } | Popup::Files { at } | Popup::Rendered { top: at },
        ) = &mut self.popup
        else {
            return false;
        };
        let last = count.saturating_sub(1);
        match action {
            "chat.down" => *at = (*at + 1).min(last),
            "chat.up" => *at = at.saturating_sub(1),
            "chat.half_down" => *at = (*at + 8).min(last),
            "chat.half_up" => *at = at.saturating_sub(8),
            "chat.top" => *at = 0,
            "chat.end" => *at = last,
            "chat.open" => self.take(cx),
            _ => return true,
        }
        if let Some(Popup::Models { at }) = self.popup {
            self.show_checkpoints(at, cx.world);
        }
        true
    }

    /// A run that was only listed so far is read, so that its checkpoints show.
    fn show_checkpoints(&mut self, at: usize, world: &World) {
        let Some(choice) = picker::choices(world).into_iter().nth(at) else { return };
        if choice.model == choice.run && world.runs.get(&choice.run).is_some_and(|r| !r.opened && r.checkpoints.is_empty()) {
            self.outbox.push(Effect::OpenRun(choice.run));
        }
    }

    fn take(&mut self, cx: &Context) {
        match self.popup.take() {
            Some(Popup::Models { at }) => {
                if let Some(choice) = picker::choices(cx.world).into_iter().nth(at) {
                    self.pick(choice);
                }
            }
            Some(Popup::Second { at }) => {
                if let Some(choice) = picker::choices(cx.world).into_iter().nth(at) {
                    self.toast(&format!("{} is asked the same from now on", choice.label));
                    (self.second, self.focus) = (Some(choice), Focus::Input);
                }
            }
            Some(Popup::Files { at }) => {
                let path = cx.world.chats.as_ref().and_then(|files| files.get(at)).map(|(path, _)| path.clone());
                if let Some(path) = path {
                    self.open_file(path, cx);
                }
            }
            Some(Popup::Rendered { .. }) => {}
            Some(Popup::Alternatives { at }) => self.branch(at, cx),
            None => {}
        }
    }

    /// Talks to another from now on.
    pub(super) fn pick(&mut self, choice: Choice) {
        if choice.model == eliza::NAME {
            self.mode = Mode::Chat; // she knows nothing else
        }
        (self.picked, self.focus) = (Some(choice), Focus::Input);
    }

    /// The prompt of the version at the cursor, or the last one, as the model was given it.
    pub(super) fn rendered(&self, width: usize) -> Vec<String> {
        let version = self.version_at_cursor().map(|(v, _)| v).or_else(|| self.talk.last()?.version());
        let Some(version) = version else { return vec!["nothing was asked yet".into()] };
        let text = match version.fact_text("prompt_text") {
            Some(text) => text.to_owned(),
            None => format!("{}{}{}", self.talk.lead(), version.prompt, version.prefix),
        };
        widgets::wrap(&visible(&text, true), width)
    }

    fn branch(&mut self, at: usize, cx: &Context) {
        if self.busy() {
            return;
        }
        let Some(candidate) = self.candidates().into_iter().nth(at) else { return };
        let Some(exchange) = self.cursor.map(|c| c.exchange) else { return };
        let Some((version, piece)) = self.version_at_cursor() else { return };
        match version.branch(piece, &candidate) {
            Ok((prompt, prefix)) => {
                if let Some(e) = self.talk.exchanges.get_mut(exchange) {
                    (e.spread, e.pair) = (false, false);
                }
                self.start(exchange, &prompt, &prefix, self.settings.sampler.clone(), cx);
            }
            Err(why) => self.outbox.push(Effect::Toast(why)),
        }
    }

    // The distribution of the next token.

    /// Asks for the distribution after what stands in the field. One question at a time: the next one goes out when
    /// the answer is here, about the text as it is then, so that typing never queues.
    fn ask_probe(&mut self, cx: &Context) {
        if let Some(probe) = &mut self.probe {
            probe.update(cx.world);
            if probe.is_open() {
                return;
            }
        }
        if self.talk.open().next().is_some() {
            return; // one device: the text comes first
        }
        let Some(choice) = self.model(cx.world).filter(|c| c.model != eliza::NAME) else { return };
        if matches!(self.writing, Writing::System | Writing::Examples) {
            return;
        }
        let text = self.input.text();
        if text.is_empty() && self.talk.last().is_some() {
            return;
        }
        let about = Probed { model: choice.model.clone(), mode: self.mode, text, exchanges: self.talk.exchanges.len() };
        let live = choice.model == choice.run && cx.world.runs.get(&choice.run).is_some_and(|r| r.is_live());
        let due = self.probe.as_ref().is_none_or(|p| cx.now_ms.saturating_sub(p.asked_ms) >= LIVE_PROBE_MS);
        if self.probed.as_ref() == Some(&about) && !(live && due) {
            return;
        }
        // What failed once is not tried again at every key; a run in training may get there.
        let failed = self.probe.as_ref().is_some_and(|p| matches!(p.stage, Stage::Failed { .. }));
        if failed && self.probed.as_ref().is_some_and(|p| p.model == about.model && p.mode == about.mode) && !(live && due) {
            return;
        }
        let messages = if self.mode == Mode::Chat {
            self.talk.messages(self.talk.exchanges.len(), &choice.label, &about.text, "")
        } else {
            Vec::new()
        };
        let prompt = if self.mode == Mode::Chat { String::new() } else { format!("{}{}", self.talk.lead(), about.text) };
        let spec = GenerateSpec {
            model: choice.model,
            prompt,
            messages,
            max_tokens: 0,
            alternatives: 1,
            distribution: true,
            ..GenerateSpec::default()
        };
        let ticket = cx.world.ticket();
        let before = self.probe.take().and_then(|p| p.next);
        let mut probe = Version::new(&choice.label, &about.text, "", &self.settings.sampler, ticket, cx.now_ms);
        probe.next = before; // the old bars stay until the new ones are here
        self.probe = Some(probe);
        self.probed = Some(about);
        self.outbox.push(Effect::Start { ticket, spec: JobSpec::new("generate", &spec) });
    }

    /// What the bars show.
    pub(super) fn outlook(&self) -> Option<Outlook> {
        if let Some((version, piece)) = self.version_at_cursor() {
            return Outlook::of_piece(version, piece);
        }
        let mut open = self.talk.exchanges.iter().flat_map(|e| &e.versions).filter(|v| v.is_open() && v.drawn() > 0);
        if let Some(version) = open.next_back() {
            return Outlook::of_piece(version, version.pieces.len() - 1);
        }
        let probe = self.probe.as_ref().filter(|_| !self.input.is_empty() || self.talk.last().is_none());
        if let Some((probe, distribution)) = probe.and_then(|p| Some((p, p.next.clone()?))) {
            return Some(Outlook { drawn: None, after: probe.prompt.clone(), ..Outlook::of(probe, distribution, probe.pieces.len()) });
        }
        let version = self.talk.last()?.version()?;
        let after = format!("{}{}", version.prompt, version.said());
        Some(Outlook { drawn: None, after, ..Outlook::of(version, version.next.clone()?, version.pieces.len()) })
    }
}

/// A distribution with what it comes after.
pub struct Outlook {
    pub distribution: Distribution,
    /// Ids of the text before it, how many of the last were drawn, and those that end a repetition.
    seen: Vec<u32>,
    said: usize,
    breakers: Vec<u32>,
    /// The token that was drawn from it.
    pub drawn: Option<u32>,
    /// The text that it comes after.
    pub after: String,
}

impl Outlook {
    /// What penalties see of the text before it.
    pub fn past(&self) -> Past<'_> {
        Past { seen: &self.seen, said: self.said, breakers: &self.breakers }
    }

    /// A distribution after the first `pieces` pieces of a version.
    fn of(version: &Version, distribution: Distribution, pieces: usize) -> Self {
        let before = &version.pieces[..pieces];
        let said = before.iter().filter(|p| p.origin == Origin::Drawn).count();
        let in_prompt = version.pieces.get(pieces).is_some_and(|p| p.origin != Origin::Drawn);
        let seen: Vec<u32> = if in_prompt {
            before.iter().map(|p| p.id).collect()
        } else {
            let drawn = before.iter().filter(|p| p.origin == Origin::Drawn).map(|p| p.id);
            version.prompt_ids.iter().copied().chain(drawn).collect()
        };
        let breakers = breakers(&version.sampler, &seen, |id| version.token_bytes(id));
        Self { distribution, seen, said, breakers, drawn: None, after: String::new() }
    }

    fn of_piece(version: &Version, piece: usize) -> Option<Self> {
        let p = version.pieces.get(piece).filter(|p| !p.alternatives.is_empty())?;
        let before = &version.pieces[..piece];
        let typed = if version.prompt_is_pieces() { String::new() } else { format!("{}{}", version.prompt, version.prefix) };
        let after = before.iter().fold(typed, |text, p| text + &p.text);
        let distribution = Distribution::of_candidates(&p.alternatives);
        Some(Self { drawn: Some(p.id), after, ..Self::of(version, distribution, piece) })
    }
}

/// `20261125-031500` (UTC), for names of files.
pub(super) fn stamp(now_ms: u64) -> String {
    let (days, second) = ((now_ms / 86_400_000) as i64, now_ms / 1000 % 86_400);
    // Days since 1970 to a civil date, by Howard Hinnant's algorithm for the proleptic Gregorian calendar.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn stamps_are_dates() {
        assert_eq!(super::stamp(0), "19700101-000000");
        assert_eq!(super::stamp(951_827_696_000), "20000229-123456");
        assert_eq!(super::stamp(1_795_575_600_000), "20261125-030000");
    }
}
