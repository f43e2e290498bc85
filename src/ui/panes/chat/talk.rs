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
    /// Ids of the prompt as the model saw it, a chat's markers included.
    pub prompt_ids: Vec<u32>,
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

    /// What the model said, a branch's beginning included.
    pub fn said(&self) -> String {
        let drawn: Vec<u8> = self.pieces.iter().filter(|p| p.origin == Origin::Drawn).flat_map(|p| p.bytes.iter().copied()).collect();
        format!("{}{}", self.prefix, String::from_utf8_lossy(&drawn))
    }

    /// All ids so far, for the repetition penalty.
    pub fn ids(&self) -> Vec<u32> {
        let drawn = self.pieces.iter().filter(|p| p.origin == Origin::Drawn).map(|p| p.id);
        self.prompt_ids.iter().copied().chain(drawn).collect()
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

/// A prompt and what became of it, in one or more versions.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub mode: Mode,
    pub versions: Vec<Version>,
    pub shown: usize,
    /// Begins a new conversation: a chat does not look behind it.
    pub fresh: bool,
    /// Shows the newest versions below each other: the same prompt under several seeds.
    pub spread: bool,
}

/// How many seeds a prompt is tried under at once.
pub const SEEDS: u64 = 5;

impl Exchange {
    pub fn version(&self) -> Option<&Version> {
        self.versions.get(self.shown)
    }

    /// Whether the version of this number is on the screen.
    pub fn shows(&self, number: usize) -> bool {
        if self.spread { number + SEEDS as usize >= self.versions.len() } else { number == self.shown }
    }
}

/// All exchanges, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    pub exchanges: Vec<Exchange>,
}

impl Talk {
    pub fn update(&mut self, world: &World) {
        self.exchanges.iter_mut().flat_map(|e| e.versions.iter_mut()).for_each(|v| v.update(world));
    }

    pub fn open(&self) -> impl Iterator<Item = &Version> {
        self.exchanges.iter().flat_map(|e| e.versions.iter()).filter(|v| v.is_open())
    }

    pub fn last(&self) -> Option<&Exchange> {
        self.exchanges.last()
    }

    /// The messages of a chat up to exchange `at` (not included), with `prompt` as what the person says now and
    /// `prefix` as the beginning of the answer.
    pub fn messages(&self, at: usize, prompt: &str, prefix: &str) -> Vec<Message> {
        let say = |role: &str, content: String| Message { role: role.into(), content };
        let before = &self.exchanges[..at.min(self.exchanges.len())];
        let fresh = self.exchanges.get(at).is_some_and(|e| e.fresh);
        let from = if fresh { before.len() } else { before.iter().rposition(|e| e.fresh || e.mode != Mode::Chat).unwrap_or(0) };
        let mut out = Vec::new();
        for version in before[from..].iter().filter(|e| e.mode == Mode::Chat).filter_map(Exchange::version) {
            out.push(say("user", version.prompt.clone()));
            out.push(say("assistant", version.said().trim().to_string()));
        }
        out.push(say("user", prompt.to_string()));
        if !prefix.is_empty() {
            out.push(say("assistant", prefix.to_string()));
        }
        out
    }

    /// The conversation as Markdown, for a file.
    pub fn transcript(&self, title: &str) -> String {
        let mut out = format!("# {title}\n");
        for exchange in &self.exchanges {
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
            shown: 0,
            fresh,
            spread: false,
        };
        let mut talk = Talk { exchanges: vec![exchange(Mode::Continue, "x", false), exchange(Mode::Chat, "one", false)] };
        let roles = |talk: &Talk, at| talk.messages(at, "now", "").iter().map(|m| m.content.clone()).collect::<Vec<_>>();
        assert_eq!(roles(&talk, 2), ["one", "yes", "now"]);
        assert_eq!(roles(&talk, 1), ["now"]);
        talk.exchanges.push(exchange(Mode::Chat, "two", true));
        assert_eq!(roles(&talk, 3), ["two", "yes", "now"]);
        assert_eq!(talk.messages(3, "now", "be").last().unwrap().role, "assistant");
        assert!(talk.transcript("T").contains("user: two\n\nassistant:  yes"));
    }
}
