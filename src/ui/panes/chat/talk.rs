//! A conversation as data: exchanges, their versions, and the tokens that came; folded from the reports of jobs.
//! Deliberately not here: keys, jobs being started, and how any of it is drawn.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::report::{Candidate, Distribution, JobId, JobState, Report, Token};
use crate::sample::stream::Utf8Stream;
use crate::spec::{Message, Sampler};
use crate::ui::world::{Ended, World};

/// What is asked of the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Go on with a text, which is all that a base model was taught.
    #[default]
    Continue,
    /// Answer as the assistant of a dialogue.
    Chat,
}

/// Where a token of the transcript comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Prompt,
    /// Taken over from the version that this one branched off, the picked token included.
    Kept,
    Drawn,
}

/// One token as the transcript shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub id: u32,
    pub bytes: Vec<u8>,
    /// The characters that are complete with this token; a character cut across tokens counts to its last one.
    pub text: String,
    pub probability: f32,
    pub alternatives: Vec<Candidate>,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// Asked for; the engine has not begun. `why` says what it waits for, where it said so.
    Waiting(String),
    Running,
    /// `end`, `length`, `stop` or `stopped`.
    Done(String),
    Failed {
        cause: String,
        hint: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    No,
    Wanted,
    Told,
}

/// One way in which an exchange went: a prompt with a seed.
#[derive(Clone, Debug)]
pub struct Version {
    pub model: String,
    pub prompt: String,
    /// What a branch keeps of the text after the prompt, with the picked token at its end.
    pub prefix: String,
    pub sampler: Sampler,
    pub ticket: u64,
    pub job: Option<JobId>,
    pub stage: Stage,
    pub pieces: Vec<Piece>,
    /// The distribution of the token after the last one, once the text has ended.
    pub next: Option<Distribution>,
    pub facts: BTreeMap<String, Value>,
    pub notes: Vec<String>,
    /// Ids of the prompt as the model saw it, a chat's markers included, and the bytes of each.
    pub prompt_ids: Vec<u32>,
    prompt_bytes: Vec<Vec<u8>>,
    /// When it was asked, when the first and the last token came, by the clock of the screen and of the engine.
    pub asked_ms: u64,
    /// A person wants it to end: told to the engine once its job is known.
    pub stop: Stop,
    first_ms: u64,
    last_ms: u64,
    read: usize,
    given: Vec<Token>,
    utf8: Utf8Stream,
}

impl Version {
    pub fn new(model: &str, prompt: &str, prefix: &str, sampler: &Sampler, ticket: u64, asked_ms: u64) -> Self {
        Self {
            model: model.into(),
            prompt: prompt.into(),
            prefix: prefix.into(),
            sampler: sampler.clone(),
            ticket,
            job: None,
            stage: Stage::Waiting(String::new()),
            pieces: Vec::new(),
            next: None,
            facts: BTreeMap::new(),
            notes: Vec::new(),
            prompt_ids: Vec::new(),
            prompt_bytes: Vec::new(),
            asked_ms,
            stop: Stop::No,
            first_ms: 0,
            last_ms: 0,
            read: 0,
            given: Vec::new(),
            utf8: Utf8Stream::new(),
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_) | Stage::Running)
    }

    /// Asks for an end; what came so far stays.
    pub fn want_stop(&mut self) {
        if self.is_open() && self.stop == Stop::No {
            self.stop = Stop::Wanted;
        }
    }

    /// The job that is to be told to stop now, once.
    pub fn tell_stop(&mut self) -> Option<JobId> {
        let job = self.job.filter(|_| self.stop == Stop::Wanted && self.is_open())?;
        self.stop = Stop::Told;
        Some(job)
    }

    /// Takes in what the world learnt of this version's job since the last time.
    pub fn update(&mut self, world: &World) {
        if !self.is_open() {
            return;
        }
        if let Some(why) = world.refused.get(&self.ticket) {
            self.stage = Stage::Failed { cause: why.clone(), hint: String::new() };
            return;
        }
        self.job = self.job.or_else(|| world.tickets.get(&self.ticket).copied());
        let Some(job) = self.job.and_then(|id| world.jobs.get(&id)) else { return };
        let fresh = job.reports.get(self.read..).unwrap_or_default();
        for event in fresh {
            self.fold(&event.report, event.at_ms);
        }
        self.read += fresh.len();
        if self.is_open() && self.pieces.is_empty() && job.state != JobState::Running {
            self.stage = Stage::Waiting(job.why.clone());
        }
        match &job.ended {
            Some(Ended::Failed { cause, hint }) => self.stage = Stage::Failed { cause: cause.clone(), hint: hint.clone() },
            Some(Ended::Finished { stopped, .. }) => {
                self.settle();
                let ended = if *stopped { "stopped" } else { self.fact_text("ended").unwrap_or("length") };
                self.stage = Stage::Done(ended.to_string());
            }
            None => {}
        }
    }

    /// Takes in one report.
    pub fn fold(&mut self, report: &Report, at_ms: u64) {
        match report {
            Report::Started { .. } => self.stage = Stage::Running,
            Report::Facts(facts) => self.facts.extend(facts.iter().map(|(k, v)| (k.clone(), v.clone()))),
            Report::Note { text, .. } => self.notes.push(text.clone()),
            Report::Distribution(distribution) => self.next = Some(distribution.clone()),
            Report::Token(token) if token.from_prompt => {
                self.prompt_ids.push(token.id);
                self.prompt_bytes.push(token.bytes.clone());
                self.given.push(token.clone());
            }
            Report::Token(token) => {
                self.settle();
                self.stage = Stage::Running;
                if self.drawn() == 0 {
                    self.first_ms = at_ms;
                }
                self.last_ms = at_ms;
                self.push(token, Origin::Drawn);
            }
            _ => {}
        }
    }

    /// Shows the prompt by its tokens, where they spell the prompt (a chat's have markers around it, and a long
    /// prompt lost its beginning: there the prompt stands as it was typed).
    fn settle(&mut self) {
        let given = std::mem::take(&mut self.given);
        if given.is_empty() {
            return;
        }
        let spelt: Vec<u8> = given.iter().flat_map(|t| t.bytes.iter().copied()).collect();
        let typed = format!("{}{}", self.prompt, self.prefix);
        // Some tokenizers put a blank before the text, and show their beginning-of-text token.
        let Some(skip) = (0..spelt.len()).find(|at| spelt[*at..] == *typed.as_bytes()).filter(|_| !typed.is_empty()) else { return };
        let mut at = 0usize;
        for mut token in given {
            let end = at + token.bytes.len();
            if end > skip {
                token.bytes.drain(..skip.saturating_sub(at));
                let origin = if at.max(skip) - skip < self.prompt.len() { Origin::Prompt } else { Origin::Kept };
                self.push(&token, origin);
            }
            at = end;
        }
    }

    fn push(&mut self, token: &Token, origin: Origin) {
        self.pieces.push(Piece {
            id: token.id,
            bytes: token.bytes.clone(),
            text: self.utf8.push(&token.bytes),
            probability: token.probability,
            alternatives: token.alternatives.clone(),
            origin,
        });
    }

    /// How many tokens were drawn.
    pub fn drawn(&self) -> usize {
        self.pieces.iter().filter(|p| p.origin == Origin::Drawn).count()
    }

    /// Whether the prompt is shown by its tokens.
    pub fn prompt_is_pieces(&self) -> bool {
        self.pieces.first().is_some_and(|p| p.origin != Origin::Drawn)
    }

    /// The pieces that are a model's reasoning, between `<think>` and `</think>` (or the end, while it lasts).
    pub fn thought(&self) -> Option<std::ops::Range<usize>> {
        let mut text = String::new();
        let ends: Vec<usize> = (self.pieces.iter())
            .map(|p| {
                if p.origin != Origin::Prompt {
                    text.push_str(&p.text);
                }
                text.len()
            })
            .collect();
        // Where the template opens the reasoning, the answer begins in the midst of it.
        let open = text.find("<think>").filter(|at| text[..*at].trim().is_empty());
        let close = text.find("</think>").map(|at| at + "</think>".len());
        let (from, to) = match (open, close) {
            (Some(open), close) => (open, close.unwrap_or(text.len())),
            (None, Some(close)) => (0, close),
            (None, None) => return None,
        };
        let first = ends.iter().position(|end| *end > from)?;
        let last = ends.iter().position(|end| *end >= to)?;
        Some(first..last + 1)
    }

    /// What the model said, a branch's beginning included.
    pub fn said(&self) -> String {
        let drawn: Vec<u8> = self.pieces.iter().filter(|p| p.origin == Origin::Drawn).flat_map(|p| p.bytes.iter().copied()).collect();
        format!("{}{}", self.prefix, String::from_utf8_lossy(&drawn))
    }

    /// The exact tokens that were drawn.
    pub fn drawn_ids(&self) -> Vec<u32> {
        self.pieces.iter().filter(|p| p.origin == Origin::Drawn).map(|p| p.id).collect()
    }

    /// The bytes of a token that stands in the text; none where it does not.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let drawn = self.pieces.iter().find(|p| p.id == id).map(|p| p.bytes.clone());
        let given = || self.prompt_ids.iter().position(|i| *i == id).and_then(|at| self.prompt_bytes.get(at).cloned());
        drawn.or_else(given).unwrap_or_default()
    }

    /// The text that a branch at `place` with `candidate` begins with: (prompt, prefix).
    ///
    /// # Errors
    /// Where that text would end within a character, or the candidate is no text (it ends the text).
    pub fn branch(&self, place: usize, candidate: &Candidate) -> Result<(String, String), String> {
        if candidate.text.is_empty() {
            return Err("this token has no text: it marks an end, and there is nothing to go on from".into());
        }
        let half = "this token is a part of a character: no text can be branched there".to_string();
        if candidate.text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(half);
        }
        let before = self.pieces.get(..place).unwrap_or_default();
        let bytes =
            |keep: fn(&Piece) -> bool| -> Vec<u8> { before.iter().filter(|p| keep(p)).flat_map(|p| p.bytes.iter().copied()).collect() };
        if self.pieces.get(place).is_some_and(|p| p.origin == Origin::Prompt) {
            let text = String::from_utf8(bytes(|_| true)).map_err(|_| half)?;
            return Ok((text + &candidate.text, String::new()));
        }
        let mut after = bytes(|p| p.origin != Origin::Prompt);
        if !self.prompt_is_pieces() {
            after.splice(..0, self.prefix.bytes());
        }
        let text = String::from_utf8(after).map_err(|_| half)?;
        Ok((self.prompt.clone(), text + &candidate.text))
    }

    pub fn fact(&self, name: &str) -> Option<f64> {
        self.facts.get(name).and_then(Value::as_f64)
    }
    pub fn fact_text(&self, name: &str) -> Option<&str> {
        self.facts.get(name).and_then(Value::as_str)
    }

    /// Tokens a second: the engine's figure at the end, until then by the times of the tokens.
    pub fn tokens_per_s(&self) -> Option<f64> {
        let by_engine = self.fact("tokens_per_s").filter(|t| *t > 0.0);
        let ms = self.last_ms.saturating_sub(self.first_ms);
        by_engine.or_else(|| (ms > 0 && self.drawn() > 1).then(|| (self.drawn() - 1) as f64 * 1e3 / ms as f64))
    }

    /// (tokens held, tokens that fit).
    pub fn context(&self) -> Option<(usize, usize)> {
        let fit = self.fact("context")? as usize;
        let prompt = self.fact("prompt_tokens").unwrap_or(0.0) as usize;
        let used = self.fact("context_used").map_or(prompt + self.drawn(), |u| u as usize);
        Some((used.min(fit), fit))
    }
}

/// A prompt and what became of it, in one or more versions. What was said next hangs on the version that it answers, so that
/// the versions of all exchanges are a tree.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    pub mode: Mode,
    pub versions: Vec<Version>,
    pub shown: usize,
    /// The exchange before, and which of its versions this one goes on from; none at the beginning.
    pub after: Option<(usize, usize)>,
    /// Begins a new conversation: a chat does not look behind it.
    pub fresh: bool,
    /// Shows the newest versions below each other: the same prompt under several seeds.
    pub spread: bool,
    /// Shows the newest two versions beside each other: the same prompt to two models.
    pub pair: bool,
}

/// How many seeds a prompt is tried under at once.
pub const SEEDS: u64 = 5;

impl Exchange {
    pub fn version(&self) -> Option<&Version> {
        self.versions.get(self.shown)
    }

    /// Whether the version of this number is on the screen.
    pub fn shows(&self, number: usize) -> bool {
        match (self.spread, self.pair) {
            (true, _) => number + SEEDS as usize >= self.versions.len(),
            (_, true) => number + 2 >= self.versions.len(),
            _ => number == self.shown,
        }
    }

    /// What a model said here, where several were asked; else the version of this number.
    fn heard_by(&self, model: &str, number: usize) -> Option<&Version> {
        let own = || self.versions.iter().rev().find(|v| v.model == model);
        self.pair.then(own).flatten().or_else(|| self.versions.get(number))
    }
}

/// A tree of exchanges, and what stands in front of all of them.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// In the order in which they were asked.
    pub exchanges: Vec<Exchange>,
    /// What a chat's model is told first; empty for nothing.
    pub system: String,
    /// Examples in front: of a chat, lines `question => answer`; else text as it stands.
    pub examples: String,
}

impl Talk {
    pub fn update(&mut self, world: &World) {
        self.exchanges.iter_mut().flat_map(|e| e.versions.iter_mut()).for_each(|v| v.update(world));
    }

    pub fn open(&self) -> impl Iterator<Item = &Version> {
        self.exchanges.iter().flat_map(|e| e.versions.iter()).filter(|v| v.is_open())
    }

    /// The exchanges that are shown: from the first on, each time the one that goes on from the version that is shown.
    pub fn path(&self) -> Vec<usize> {
        let mut out = Vec::new();
        let mut next = self.exchanges.iter().position(|e| e.after.is_none());
        // Exchanges go on from earlier ones alone; a file that says otherwise cannot make this run in a circle.
        while let Some(at) = next.filter(|at| out.last().is_none_or(|last| at > last)) {
            out.push(at);
            let here = Some((at, self.exchanges[at].shown));
            next = self.exchanges.iter().rposition(|e| e.after == here);
        }
        out
    }

    /// The last exchange that is shown.
    pub fn end(&self) -> Option<usize> {
        self.path().pop()
    }

    pub fn last(&self) -> Option<&Exchange> {
        self.end().and_then(|at| self.exchanges.get(at))
    }

    /// Adds an exchange behind what is shown.
    pub fn add(&mut self, exchange: Exchange) -> usize {
        let after = self.end().map(|at| (at, self.exchanges[at].shown));
        self.exchanges.push(Exchange { after, ..exchange });
        self.exchanges.len() - 1
    }

    /// The messages of a chat with `model` up to exchange `at` (not included; beyond the last for the next one), with `prompt`
    /// as what the person says now and `prefix` as the beginning of the answer.
    pub fn messages(&self, at: usize, model: &str, prompt: &str, prefix: &str) -> Vec<Message> {
        let say = |role: &str, content: &str| Message::new(role, content);
        let mut before = Vec::new();
        let own = self.exchanges.get(at);
        let mut next = match own {
            Some(exchange) if exchange.fresh => None,
            Some(exchange) => exchange.after,
            None => self.end().map(|at| (at, self.exchanges[at].shown)),
        };
        while let Some((at, version)) = next.take() {
            let Some(exchange) = self.exchanges.get(at).filter(|e| e.mode == Mode::Chat) else { break };
            before.extend(exchange.heard_by(model, version));
            next = exchange.after.filter(|(before, _)| !exchange.fresh && *before < at);
        }
        let mut out = self.front();
        for version in before.into_iter().rev() {
            out.push(say("user", &version.prompt));
            out.push(say("assistant", version.said().trim()));
        }
        out.push(say("user", prompt));
        if !prefix.is_empty() {
            out.push(say("assistant", prefix));
        }
        out
    }

    /// What stands before a chat's first turn.
    pub fn front(&self) -> Vec<Message> {
        let mut out = Vec::new();
        if !self.system.trim().is_empty() {
            out.push(Message::new("system", self.system.trim()));
        }
        for (question, answer) in self.examples.lines().filter_map(|line| line.split_once("=>")) {
            out.extend([Message::new("user", question.trim()), Message::new("assistant", answer.trim())]);
        }
        out
    }

    /// The text that stands before a prompt that is gone on with.
    pub fn lead(&self) -> String {
        if self.examples.trim().is_empty() { String::new() } else { format!("{}\n", self.examples.trim_end()) }
    }

    /// The conversation as Markdown, for a file.
    pub fn transcript(&self, title: &str) -> String {
        let mut out = format!("# {title}\n");
        if !self.system.trim().is_empty() {
            out.push_str(&format!("\nsystem: {}\n", self.system.trim()));
        }
        for exchange in self.path().into_iter().map(|at| &self.exchanges[at]) {
            for (_, version) in exchange.versions.iter().enumerate().filter(|(number, _)| exchange.shows(*number)) {
                let s = &version.sampler;
                out.push_str(&format!(
                    "\n## {} · temperature {} · top-k {} · top-p {} · min-p {} · repetition {} · seed {}\n\n",
                    version.model, s.temperature, s.top_k, s.top_p, s.min_p, s.repetition_penalty, s.seed
                ));
                match exchange.mode {
                    Mode::Continue => out.push_str(&format!("**{}**{}\n", version.prompt, version.said())),
                    Mode::Chat => out.push_str(&format!("user: {}\n\nassistant: {}\n", version.prompt, version.said())),
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, from_prompt: bool) -> Report {
        let bytes = text.as_bytes().to_vec();
        Report::Token(Token { id: text.len() as u32, bytes, probability: 0.5, alternatives: Vec::new(), from_prompt })
    }

    fn version(prompt: &str, prefix: &str, reports: &[Report]) -> Version {
        let mut version = Version::new("m", prompt, prefix, &Sampler::default(), 1, 0);
        reports.iter().enumerate().for_each(|(i, r)| version.fold(r, 1000 + 10 * i as u64));
        version
    }

    fn candidate(text: &str) -> Candidate {
        Candidate { id: 9, text: text.into(), logit: 0.0, probability: 0.1 }
    }

    #[test]
    fn a_prompt_is_shown_by_its_tokens_where_they_spell_it() {
        let v = version("a cat", "", &[token("<s>", true), token(" a", true), token(" cat", true), token(" sat", false)]);
        let shown: Vec<_> = v.pieces.iter().map(|p| (p.text.as_str(), p.origin)).collect();
        assert_eq!(shown, [("a", Origin::Prompt), (" cat", Origin::Prompt), (" sat", Origin::Drawn)]);
        assert_eq!(v.prompt_ids.len(), 3);
        let chat = version("hi", "", &[token("user: hi\n", true), token("yes", false)]);
        assert!(!chat.prompt_is_pieces());
        assert_eq!(chat.said(), "yes");
    }

    #[test]
    fn a_branch_keeps_the_text_before_it() {
        let v = version("a", "", &[token("a", true), token(" b", false), token(" c", false)]);
        assert_eq!(v.branch(2, &candidate(" d")), Ok(("a".into(), " b d".into())));
        assert_eq!(v.branch(0, &candidate("x")), Ok(("x".into(), String::new())));
        assert!(v.branch(1, &candidate("\u{fffd}")).is_err() && v.branch(1, &candidate("")).is_err());
        let again = version("a", " b d", &[token("a b", true), token(" d", true), token(" e", false)]);
        assert_eq!(again.pieces[0].origin, Origin::Prompt);
        assert_eq!(again.pieces[1].origin, Origin::Kept);
        assert_eq!(again.said(), " b d e");
        // A chat's prompt is not shown by tokens: the kept beginning is in the prefix alone.
        let chat = version("a", " b", &[token("user: a\nassistant: b", true), token(" c", false)]);
        assert_eq!(chat.branch(0, &candidate(" d")), Ok(("a".into(), " b d".into())));
    }

    #[test]
    fn a_character_cut_across_tokens_shows_with_its_last_one() {
        let cut = |bytes: &[u8]| {
            Report::Token(Token { id: 1, bytes: bytes.to_vec(), probability: 1.0, alternatives: Vec::new(), from_prompt: false })
        };
        let v = version("", "", &[cut(&[0xe6, 0xbc]), cut(&[0xa2, b'!'])]);
        assert_eq!(v.pieces.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(), ["", "漢!"]);
    }

    #[test]
    fn a_chat_looks_back_to_where_it_began() {
        let exchange = |mode, prompt: &str, fresh| Exchange {
            mode,
            versions: vec![version(prompt, "", &[token(" yes", false)])],
            fresh,
            ..Exchange::default()
        };
        let mut talk = Talk::default();
        talk.add(exchange(Mode::Continue, "x", false));
        talk.add(exchange(Mode::Chat, "one", false));
        let roles = |talk: &Talk, at| talk.messages(at, "m", "now", "").iter().map(|m| m.content.clone()).collect::<Vec<_>>();
        assert_eq!(roles(&talk, 2), ["one", "yes", "now"]);
        assert_eq!(roles(&talk, 1), ["now"]);
        talk.add(exchange(Mode::Chat, "two", true));
        assert_eq!(roles(&talk, 3), ["two", "yes", "now"]);
        assert_eq!(talk.messages(3, "m", "now", "be").last().unwrap().role, "assistant");
        assert!(talk.transcript("T").contains("user: two\n\nassistant:  yes"));
    }

    #[test]
    fn what_was_said_next_hangs_on_the_version_that_it_answers() {
        let said =
            |prompt: &str, model: &str, answer: &str| Version { model: model.into(), ..version(prompt, "", &[token(answer, false)]) };
        let chat = |versions| Exchange { mode: Mode::Chat, versions, ..Exchange::default() };
        let mut talk = Talk { system: "Be kind.".into(), examples: "1 => one\nnot an example".into(), ..Talk::default() };
        talk.add(chat(vec![said("a", "m", "first")]));
        talk.add(chat(vec![said("b", "m", "after first")]));
        let texts = |talk: &Talk, model: &str| talk.messages(99, model, "now", "").iter().map(|m| m.content.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&talk, "m"), ["Be kind.", "1", "one", "a", "first", "b", "after first", "now"]);
        // Another version of the first: what followed the old one is gone from sight, and comes back with it.
        talk.exchanges[0].versions.push(said("a2", "m", "second"));
        talk.exchanges[0].shown = 1;
        assert_eq!((talk.path(), talk.end()), (vec![0], Some(0)));
        assert_eq!(texts(&talk, "m")[3..], ["a2", "second", "now"]);
        talk.add(chat(vec![said("c", "m", "after second")]));
        assert_eq!(talk.path(), [0, 2]);
        talk.exchanges[0].shown = 0;
        assert_eq!(talk.path(), [0, 1]);
        // Two models that are asked the same hear themselves alone.
        talk.add(Exchange { pair: true, ..chat(vec![said("d", "m", "of m"), said("d", "n", "of n")]) });
        assert_eq!((texts(&talk, "m")[8].as_str(), texts(&talk, "n")[8].as_str()), ("of m", "of n"));
    }

    #[test]
    fn reasoning_is_known_by_its_marks() {
        let v = version("q", "", &["<th", "ink>a", " b", "</think>", "c"].map(|t| token(t, false)));
        assert_eq!(v.thought(), Some(0..4));
        assert_eq!(version("q", "", &["<think>", "a"].map(|t| token(t, false))).thought(), Some(0..2));
        assert_eq!(version("q", "", &["a", "</think>", "b"].map(|t| token(t, false))).thought(), Some(0..2));
        assert_eq!(version("q", "", &["a <think>", "b"].map(|t| token(t, false))).thought(), None);
    }
}
