//! The one way in which text is asked of a model: many prompts in, tokens with their log-probabilities out. Chat,
//! candidates, evals and rollouts ask through it, whether weights of this machine answer or a server.
//! Deliberately not here: which model a name means (`engine::models`).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::generate::generate;
use super::weigh::{Weighed, weigh};
use crate::data::tokenizer::Tokenizer;
use crate::model::ModelError;
use crate::model::decoder::Decoder;
use crate::report::{JobId, Monitor, Report, Signal, Sink};
use crate::spec::{GenerateSpec, Message, Sampler};

/// What a text begins with.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Continued as it stands.
    Text(String),
    /// A chat, rendered by the model's template; the assistant answers.
    Chat(Vec<Message>),
    /// Exact tokens. Servers refuse them.
    Ids(Vec<u32>),
}

/// One text to be generated. Its tokens depend on it alone: not on what else is asked at the same time.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub prompt: Prompt,
    pub max_tokens: usize,
    pub sampler: Sampler,
    /// Generation ends before the first of these texts.
    pub stop: Vec<String>,
}

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    pub text: String,
    /// Exact tokens; empty where a server does not say them.
    pub ids: Vec<u32>,
    /// Of each token under the model's own distribution (temperature 1, nothing cut); empty where a server does not say.
    pub log_probs: Vec<f32>,
    /// `end`, `length`, `stop`, `stopped`.
    pub ended: String,
    pub prompt_tokens: usize,
    /// 0 where no token was drawn.
    pub first_token_ms: f64,
    /// Of the tokens after the first; 0 where there are none.
    pub tokens_per_s: f64,
}

/// A text whose likelihood after another is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// Cut into tokens together, blanks at the context's end going over to the continuation, as lm-evaluation-harness does.
    Text { context: String, continuation: String },
    /// Exact tokens; the context is not empty.
    Ids { context: Vec<u32>, continuation: Vec<u32> },
}

/// The likelihood of a continuation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// The continuation's tokens.
    pub ids: Vec<u32>,
    /// ln p of each of them.
    pub log_probs: Vec<f32>,
    /// Whether each was the likeliest token at its place.
    pub greedy: bool,
}

impl Score {
    /// ln p of the whole continuation.
    pub fn sum(&self) -> f64 {
        self.log_probs.iter().map(|&l| f64::from(l)).sum()
    }
}

/// Why an answer is missing.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum AskFault {
    /// This one alone cannot be answered (longer than the context, an unknown token).
    #[error("{0}")]
    Refused(String),
    /// The model or the server cannot answer at all.
    #[error("{0}")]
    Broken(String),
    /// `monitor.stopped()` said so.
    #[error("stopped")]
    Stopped,
}

impl From<ModelError> for AskFault {
    fn from(error: ModelError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What a streaming caller hears of request `index`.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece<'a> {
    /// Whole characters that it adds.
    Text(&'a str),
    Done(&'a Result<Completion, AskFault>),
}

/// Answers in the order of the questions; what is told along the way may come in any order.
pub trait Generator: Send + Sync {
    /// How people and files name it: a run and its checkpoint, a directory, `openai:URL#MODEL`.
    fn name(&self) -> &str;
    /// Tokens that it sees at once; none where a server does not say.
    fn context(&self) -> Option<usize>;
    /// Generates all of them, as many at once as pays. `tell` hears each piece as it comes.
    fn generate(
        &self,
        requests: &[Request],
        monitor: &dyn Monitor,
        tell: &mut (dyn FnMut(usize, Piece) + Send),
    ) -> Vec<Result<Completion, AskFault>>;
    /// Generates for `feed` until it is over or `monitor` is stopped. This one answers one request after the other; a
    /// generator that can take requests in while others are under way does better.
    fn serve(&self, feed: &dyn Feed, monitor: &dyn Monitor) {
        while !monitor.stopped() && !feed.is_over() {
            for (number, request) in feed.take(1, true) {
                let listener = Listener { monitor, left: AtomicBool::new(false) };
                let mut tell = |_: usize, piece: Piece| {
                    if !feed.tell(number, piece) {
                        listener.left.store(true, Ordering::Release);
                    }
                };
                self.generate(std::slice::from_ref(&request), &listener, &mut tell);
            }
        }
    }
    /// Likelihoods. `tell` hears of each that is done. Servers that cannot say them are `Broken`, with the reason.
    fn score(&self, questions: &[Question], monitor: &dyn Monitor, tell: &mut (dyn FnMut(usize) + Send)) -> Vec<Result<Score, AskFault>>;
    /// The tokenizer, where the model's own is at hand.
    fn tokenizer(&self) -> Option<&Tokenizer>;
    /// The token that a text begins with for this model, where it is known.
    fn begin(&self) -> Option<u32> {
        None
    }
}

/// Where requests come from while others are under way, and where what is generated goes: a server's side of a generator.
pub trait Feed: Send + Sync {
    /// Requests that wait, `most` of them at most, each with a number of its own. With `idle` nothing is under way, and it
    /// may wait some tens of milliseconds for the first; without, it never waits. An empty answer says nothing of later.
    fn take(&self, most: usize, idle: bool) -> Vec<(u64, Request)>;
    /// Hears what comes of request `number`: texts, then one `Done`. False once nobody listens to it any more: it is to be
    /// dropped without a `Done`, and its place given to another.
    fn tell(&self, number: u64, piece: Piece) -> bool;
    /// Whether no more requests will come. What is under way is still told.
    fn is_over(&self) -> bool;
}

/// Stops where its monitor does, or when the one that it generates for has left.
struct Listener<'a> {
    monitor: &'a dyn Monitor,
    left: AtomicBool,
}

impl Monitor for Listener<'_> {
    fn report(&self, report: Report) {
        self.monitor.report(report);
    }
    fn stopped(&self) -> bool {
        self.left.load(Ordering::Acquire) || self.monitor.stopped()
    }
    fn safepoint(&self) -> Signal {
        self.monitor.safepoint()
    }
    fn wait(&self) -> Signal {
        self.monitor.wait()
    }
    fn child(&self, job: JobId) -> Box<dyn Monitor> {
        self.monitor.child(job)
    }
    fn attach(&self, _: Box<dyn Sink>) {}
}

/// Weights of this machine.
pub struct Local<'a> {
    pub name: &'a str,
    pub decoder: &'a Decoder,
    pub tokenizer: &'a Tokenizer,
}

impl Generator for Local<'_> {
    fn name(&self) -> &str {
        self.name
    }
    fn context(&self) -> Option<usize> {
        Some(self.decoder.config().context)
    }
    fn tokenizer(&self) -> Option<&Tokenizer> {
        Some(self.tokenizer)
    }
    fn begin(&self) -> Option<u32> {
        let config = self.decoder.config();
        config.bos.or(self.tokenizer.end_of_text(None)).or(config.eos)
    }

    fn generate(
        &self,
        requests: &[Request],
        monitor: &dyn Monitor,
        tell: &mut (dyn FnMut(usize, Piece) + Send),
    ) -> Vec<Result<Completion, AskFault>> {
        let one = |(index, request): (usize, &Request)| {
            let made = self.complete(request, monitor);
            if let Ok(made) = &made {
                tell(index, Piece::Text(&made.text));
            }
            tell(index, Piece::Done(&made));
            made
        };
        requests.iter().enumerate().map(one).collect()
    }

    fn score(&self, questions: &[Question], monitor: &dyn Monitor, tell: &mut (dyn FnMut(usize) + Send)) -> Vec<Result<Score, AskFault>> {
        let mut out: Vec<Result<Score, AskFault>> = Vec::with_capacity(questions.len());
        let (mut asked, mut places) = (Vec::new(), Vec::new());
        for (place, question) in questions.iter().enumerate() {
            match self.sequence(question) {
                Ok(sequence) => {
                    asked.push(sequence);
                    places.push(place);
                    out.push(Err(AskFault::Stopped));
                }
                Err(fault) => {
                    out.push(Err(fault));
                    tell(place);
                }
            }
        }
        let found = weigh(self.decoder, &asked, &|| monitor.stopped(), &mut |at| tell(places[at]));
        places.iter().zip(found).for_each(|(place, found)| out[*place] = found);
        out
    }
}

impl Local<'_> {
    fn complete(&self, request: &Request, monitor: &dyn Monitor) -> Result<Completion, AskFault> {
        if monitor.stopped() {
            return Err(AskFault::Stopped);
        }
        let (prompt, messages) = match &request.prompt {
            Prompt::Text(text) => (text.clone(), Vec::new()),
            Prompt::Chat(messages) => (String::new(), messages.clone()),
            Prompt::Ids(ids) => (self.tokenizer.decode(ids, false), Vec::new()),
        };
        let Request { max_tokens, sampler, stop, .. } = request.clone();
        let spec = GenerateSpec { prompt, messages, max_tokens, sampler, stop, ..GenerateSpec::default() };
        let heard = Heard { monitor, log_probs: Mutex::default() };
        let made = generate(self.decoder, self.tokenizer, &spec, &heard)?;
        if made.ended == "stopped" {
            return Err(AskFault::Stopped);
        }
        Ok(Completion {
            text: made.text,
            ids: made.ids,
            log_probs: heard.log_probs.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner),
            ended: made.ended,
            prompt_tokens: made.prompt_tokens,
            first_token_ms: made.first_token_ms,
            tokens_per_s: made.tokens_per_s,
        })
    }

    /// A question as tokens, checked.
    fn sequence(&self, question: &Question) -> Result<Weighed, AskFault> {
        let (context, continuation) = match question {
            Question::Ids { context, continuation } => (context.clone(), continuation.clone()),
            Question::Text { context, continuation } => self.cut(context, continuation)?,
        };
        if context.is_empty() || continuation.is_empty() {
            return Err(AskFault::Refused("the context or the continuation has no tokens".into()));
        }
        let ids = [context.as_slice(), continuation.as_slice()].concat();
        let config = self.decoder.config();
        // The last token is asked for and never entered.
        if ids.len() - 1 > config.context {
            return Err(AskFault::Refused(format!("{} tokens, and the model sees {} at once", ids.len() - 1, config.context)));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= config.vocab) {
            return Err(AskFault::Refused(format!("token {id} is beyond the {} that the model knows", config.vocab)));
        }
        Ok(Weighed { ids, first: context.len() })
    }

    /// Both texts as tokens. An empty context is the token that begins a text.
    fn cut(&self, context: &str, continuation: &str) -> Result<(Vec<u32>, Vec<u32>), AskFault> {
        let encode = |text: &str| self.tokenizer.encode(text, true).map_err(|e| AskFault::Refused(e.to_string()));
        let kept = context.trim_end();
        let continuation = format!("{}{continuation}", &context[kept.len()..]);
        if kept.is_empty() {
            let config = self.decoder.config();
            let begin = config.bos.or(self.tokenizer.end_of_text(None)).or(config.eos).unwrap_or(0);
            return Ok((vec![begin], encode(&continuation)?));
        }
        let context = encode(kept)?;
        let mut whole = encode(&format!("{kept}{continuation}"))?;
        let rest = whole.split_off(context.len().min(whole.len()));
        Ok((context, rest))
    }
}

/// Keeps what the tokens say of their probabilities; asks its caller's monitor whether to stop.
struct Heard<'a> {
    monitor: &'a dyn Monitor,
    log_probs: Mutex<Vec<f32>>,
}

impl Monitor for Heard<'_> {
    fn report(&self, report: Report) {
        if let Report::Token(token) = report
            && !token.from_prompt
        {
            self.log_probs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(token.probability.ln());
        }
    }
    fn stopped(&self) -> bool {
        self.monitor.stopped()
    }
    fn safepoint(&self) -> Signal {
        self.monitor.safepoint()
    }
    fn wait(&self) -> Signal {
        self.monitor.wait()
    }
    fn child(&self, job: JobId) -> Box<dyn Monitor> {
        self.monitor.child(job)
    }
    fn attach(&self, _: Box<dyn Sink>) {}
}
