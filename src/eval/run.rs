//! Runs a task on a model: what earlier results answer is taken over, the rest is asked in chunks, graded and kept at once.
//! Deliberately not here: files (`store`) and threads; a person's stop is heard through the monitor.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

use super::EvalError;
use super::ask::{Ask, TOO_LONG, Wanted, rendered, too_long};
use super::item::{Item, short_hash};
use super::report::{ItemResult, Output, Status, TaskReport, main_measure, summarise};
use super::task::Prepared;
use super::tasks::{Answers, Graded, Help};
use crate::data::tokenizer::Tokenizer;
use crate::report::{JobId, Monitor, Report, Signal, Sink};
use crate::rng::Stream;
use crate::run::RunError;
use crate::sample::generator::{AskFault, Completion, Generator, Piece, Prompt, Question, Request, Score};

/// The model that answers with what the data brings along.
pub const GIVEN: &str = "given";
/// Items that are asked at once.
const SCORED_AT_ONCE: usize = 16;
const GENERATED_AT_ONCE: usize = 64;
/// How often a partial result is told.
const TELL_EVERY_MS: u128 = 500;
/// Of longer answers the first so many tokens are kept one by one.
const TOKENS_KEPT: usize = 4096;

/// A task that is to be run.
pub struct Run<'a> {
    pub prepared: &'a Prepared,
    pub model: &'a dyn Generator,
    pub model_hash: &'a str,
    pub judge: Option<&'a dyn Generator>,
    pub monitor: &'a dyn Monitor,
    /// Where relative paths of commands start.
    pub dir: &'a Path,
    /// Results of earlier evaluations, by their keys.
    pub earlier: &'a HashMap<String, ItemResult>,
}

/// Keeps a result; whatever it returns as an error ends the run.
pub type Keep<'a> = dyn FnMut(&ItemResult) -> Result<(), RunError> + Send + 'a;
/// Hears how the task stands.
pub type Tell<'a> = dyn FnMut(&TaskReport) + Send + 'a;

impl Run<'_> {
    /// Runs all items. Results come in the order of the items.
    pub fn run(&self, keep: &mut Keep, tell: &mut Tell) -> Result<(Vec<ItemResult>, TaskReport), EvalError> {
        let items = &self.prepared.items;
        let keys: Vec<String> = items.iter().map(|i| self.key(i)).collect();
        let mut state = State {
            run: self,
            keys,
            results: vec![None; items.len()],
            cached: 0,
            begun: Instant::now(),
            told: None,
            keep,
            tell,
            fault: None,
        };
        for (at, item) in items.iter().enumerate() {
            if let Some(found) = self.earlier.get(&state.keys[at]) {
                let found =
                    ItemResult { task: self.prepared.task.name.clone(), id: item.id.clone(), place: item.place.clone(), ..found.clone() };
                state.cached += 1;
                state.put(at, found);
            }
        }
        // In an order of its own, so that what is done so far is a fair sample of what is to come.
        let mut order: Vec<usize> = (0..items.len()).filter(|at| state.results[*at].is_none()).collect();
        Stream::new(self.prepared.task.seed, "eval/order").shuffle(&mut order);
        let generates = self
            .prepared
            .items
            .first()
            .is_some_and(|i| matches!((self.prepared.kind.ask)(self.prepared, i, self.model), Ok(Ask::Generate(_))));
        for chunk in order.chunks(if generates { GENERATED_AT_ONCE } else { SCORED_AT_ONCE }) {
            if self.monitor.stopped() {
                return Err(EvalError::Stopped);
            }
            state.chunk(chunk)?;
        }
        let (cached, seconds) = (state.cached, state.begun.elapsed().as_secs_f64());
        let results: Vec<ItemResult> = state.results.into_iter().flatten().collect();
        let report = summarise(self.prepared, &results, cached, seconds);
        tell(&report);
        Ok((results, report))
    }

    /// What decides a result: the model, the task, the item, its samplers, and examples that are other items.
    fn key(&self, item: &Item) -> String {
        let shots: Vec<String> = if self.prepared.task.shots > 0 && self.prepared.shots.is_empty() {
            self.prepared.shots_for(item).into_iter().map(Item::hash).collect()
        } else {
            Vec::new()
        };
        let given = if self.model.name() == GIVEN { item.given.as_deref() } else { None };
        // The id draws the samples' seeds.
        let parts = (self.model_hash, &self.prepared.hash, item.hash(), &item.id, shots, given);
        short_hash(&serde_json::to_vec(&parts).unwrap_or_default())
    }
}

/// A run in progress.
struct State<'a, 'k> {
    run: &'a Run<'a>,
    keys: Vec<String>,
    results: Vec<Option<ItemResult>>,
    cached: usize,
    begun: Instant,
    told: Option<Instant>,
    keep: &'k mut Keep<'k>,
    tell: &'k mut Tell<'k>,
    fault: Option<EvalError>,
}

impl State<'_, '_> {
    fn chunk(&mut self, chunk: &[usize]) -> Result<(), EvalError> {
        let run = self.run;
        let (mut scored, mut generated) = (Vec::new(), Vec::new());
        for &at in chunk {
            let item = &run.prepared.items[at];
            match (run.prepared.kind.ask)(run.prepared, item, run.model) {
                Ok(Ask::Score(questions)) => scored.push((at, questions)),
                Ok(Ask::Generate(wanted)) => generated.push((at, wanted)),
                Err(AskFault::Refused(why)) => self.refused(at, &why),
                Err(AskFault::Stopped) => return Err(EvalError::Stopped),
                Err(AskFault::Broken(why)) => return Err(EvalError::Model(why)),
            }
        }
        self.score(scored)?;
        self.generate(generated)?;
        self.fault.take().map_or(Ok(()), Err)
    }

    /// Asks for likelihoods. Questions with the same beginning stand together, since a model may read it once.
    fn score(&mut self, asked: Vec<(usize, Vec<Question>)>) -> Result<(), EvalError> {
        let mut order: Vec<(usize, usize)> =
            asked.iter().enumerate().flat_map(|(i, (_, questions))| (0..questions.len()).map(move |q| (i, q))).collect();
        order.sort_by(|a, b| beginning(&asked[a.0].1[a.1]).cmp(&beginning(&asked[b.0].1[b.1])));
        let questions: Vec<Question> = order.iter().map(|(i, q)| asked[*i].1[*q].clone()).collect();
        if questions.is_empty() {
            return Ok(());
        }
        let found = self.run.model.score(&questions, &Quiet(self.run.monitor), &mut |_| ());
        let mut answers: Vec<Vec<Option<Score>>> = asked.iter().map(|(_, q)| vec![None; q.len()]).collect();
        let mut refused: Vec<Option<String>> = vec![None; asked.len()];
        for ((i, q), found) in order.into_iter().zip(found) {
            match found {
                Ok(score) => answers[i][q] = Some(score),
                Err(AskFault::Refused(why)) => refused[i] = Some(why),
                Err(AskFault::Broken(why)) => return Err(EvalError::Model(why)),
                Err(AskFault::Stopped) => return Err(EvalError::Stopped),
            }
        }
        let mut complete = Vec::new();
        for (i, (at, _)) in asked.iter().enumerate() {
            let scores: Vec<Score> = std::mem::take(&mut answers[i]).into_iter().flatten().collect();
            match refused[i].take() {
                Some(why) => self.refused(*at, &why),
                None => complete.push((*at, Answers::Scores(scores))),
            }
        }
        self.grade(complete);
        Ok(())
    }

    /// Asks for texts; an item is graded as soon as all of its samples are there, unless others have to be asked for that.
    fn generate(&mut self, asked: Vec<(usize, Vec<Wanted>)>) -> Result<(), EvalError> {
        let run = self.run;
        let (mut requests, mut owners) = (Vec::new(), Vec::new());
        let mut open: BTreeMap<usize, Vec<Option<Completion>>> = BTreeMap::new();
        let mut limits: Vec<bool> = Vec::new();
        for (at, wanted) in asked {
            let item = &run.prepared.items[at];
            if run.model.name() == GIVEN {
                self.given(at);
                continue;
            }
            let room = match wanted.first().map(|w| room(run.model, w)) {
                Some(Err(why)) => {
                    self.refused(at, &why);
                    continue;
                }
                Some(Ok(room)) => room,
                None => continue,
            };
            open.insert(at, vec![None; wanted.len()]);
            for w in wanted {
                let max_tokens = w.max_tokens.min(room);
                limits.push(max_tokens < w.max_tokens);
                owners.push((at, w.sample));
                let sampler = run.prepared.sampler(item, w.sample);
                requests.push(Request { prompt: w.prompt, max_tokens, sampler, stop: run.prepared.task.stop.clone() });
            }
        }
        if requests.is_empty() {
            return Ok(());
        }
        let at_once = run.prepared.task.judge.is_empty() && run.prepared.task.command.is_empty();
        let mut later: Vec<(usize, Answers)> = Vec::new();
        let mut broken: Option<EvalError> = None;
        run.model.generate(&requests, &Quiet(run.monitor), &mut |index, piece| {
            let (Piece::Done(made), Some(&(at, sample))) = (piece, owners.get(index)) else { return };
            match made {
                Ok(made) if limits[index] && made.ended == "length" => {
                    open.remove(&at);
                    let n = made.prompt_tokens + made.ids.len();
                    self.refused(at, &format!("{TOO_LONG}: the answer was cut after {n} tokens, where the context ends"));
                }
                Ok(made) => {
                    let Some(samples) = open.get_mut(&at) else { return };
                    if let Some(place) = samples.get_mut(sample) {
                        *place = Some(made.clone());
                    }
                    if samples.iter().all(Option::is_some) {
                        let answers = Answers::Texts(open.remove(&at).into_iter().flatten().flatten().collect());
                        if at_once { self.grade(vec![(at, answers)]) } else { later.push((at, answers)) }
                    }
                }
                Err(AskFault::Refused(why)) => {
                    if open.remove(&at).is_some() {
                        self.refused(at, why);
                    }
                }
                Err(AskFault::Stopped) => broken = Some(EvalError::Stopped),
                Err(AskFault::Broken(why)) => broken = Some(EvalError::Model(why.clone())),
            }
        });
        if !run.monitor.stopped() || later.is_empty() {
            self.grade(later);
        }
        broken.map_or(Ok(()), Err)
    }

    /// The answer that the data brings along.
    fn given(&mut self, at: usize) {
        let item = &self.run.prepared.items[at];
        match &item.given {
            Some(text) => {
                let made = Completion { text: text.clone(), ended: "given".into(), ..Completion::default() };
                self.grade(vec![(at, Answers::Texts(vec![made]))]);
            }
            None => {
                self.put_graded(at, &Graded::failed("the row brings no answer along; name the field by given"), &Answers::Texts(Vec::new()))
            }
        }
    }

    fn grade(&mut self, answered: Vec<(usize, Answers)>) {
        if answered.is_empty() {
            return;
        }
        let run = self.run;
        let (places, items): (Vec<usize>, Vec<(&Item, Answers)>) =
            answered.into_iter().map(|(at, answers)| (at, (&run.prepared.items[at], answers))).unzip();
        let help = Help { monitor: &Quiet(run.monitor), judge: run.judge, dir: run.dir };
        let graded = (run.prepared.kind.grade)(run.prepared, &items, &help);
        if run.monitor.stopped() && graded.iter().any(|g| g.measures.is_none()) {
            // A judge that was stopped judged nothing: the items are asked again.
            return;
        }
        for ((at, (_, answers)), graded) in places.into_iter().zip(&items).zip(graded) {
            self.put_graded(at, &graded, answers);
        }
    }

    fn put_graded(&mut self, at: usize, graded: &Graded, answers: &Answers) {
        let item = &self.run.prepared.items[at];
        let status = match (&graded.measures, graded.unparsed) {
            (None, _) => Status::Failed,
            (_, true) => Status::Unparsed,
            _ => Status::Graded,
        };
        let measures = graded.measures.clone().unwrap_or_default();
        let main = main_measure(self.run.prepared.kind, &self.run.prepared.task.metric).name;
        let result = ItemResult {
            status,
            score: measures.get(main).copied(),
            measures,
            outputs: outputs(self.run, item, answers),
            extracted: graded.extracted.clone(),
            reason: graded.reason.clone(),
            samples: graded.samples.clone(),
            ..self.blank(at)
        };
        self.keep(at, result);
    }

    fn refused(&mut self, at: usize, why: &str) {
        let status = if why.starts_with(TOO_LONG) || why.contains("at once") { Status::TooLong } else { Status::Failed };
        let result = ItemResult { status, reason: why.into(), ..self.blank(at) };
        self.keep(at, result);
    }

    fn blank(&self, at: usize) -> ItemResult {
        let item = &self.run.prepared.items[at];
        let prompt = if item.messages.is_empty() {
            item.prompt.clone()
        } else {
            item.messages.iter().map(|m| format!("{}: {}", m.role, m.content)).collect::<Vec<_>>().join("\n")
        };
        ItemResult {
            task: self.run.prepared.task.name.clone(),
            id: item.id.clone(),
            key: self.keys[at].clone(),
            item: item.hash(),
            place: item.place.clone(),
            prompt,
            expected: item.expected(),
            cluster: item.cluster.clone(),
            tags: item.tags.clone(),
            ..ItemResult::default()
        }
    }

    /// Keeps a new result, and says so.
    fn keep(&mut self, at: usize, result: ItemResult) {
        if let Err(error) = (self.keep)(&result) {
            self.fault.get_or_insert(EvalError::Run(error));
        }
        self.put(at, result);
    }

    fn put(&mut self, at: usize, result: ItemResult) {
        self.results[at] = Some(result);
        let done = self.results.iter().flatten().count() as u64;
        let total = self.results.len() as u64;
        let due = self.told.is_none_or(|t| t.elapsed().as_millis() >= TELL_EVERY_MS);
        if due || done == total {
            self.told = Some(Instant::now());
            let what = self.run.prepared.task.name.clone();
            self.run.monitor.report(Report::Progress { what, done, total: Some(total), unit: "items".into() });
            let so_far: Vec<ItemResult> = self.results.iter().flatten().cloned().collect();
            (self.tell)(&summarise(self.run.prepared, &so_far, self.cached, self.begun.elapsed().as_secs_f64()));
        }
    }
}

/// What the order of questions is by.
fn beginning(question: &Question) -> (&str, &[u32]) {
    match question {
        Question::Text { context, .. } => (context, &[]),
        Question::Ids { context, .. } => ("", context),
    }
}

/// How many tokens an answer may have before the context ends.
fn room(model: &dyn Generator, wanted: &Wanted) -> Result<usize, String> {
    let (Some(context), Some(tokenizer)) = (model.context(), model.tokenizer()) else { return Ok(usize::MAX) };
    let count = |text: &str, special: bool| tokenizer.encode(text, special).map(|ids| ids.len()).map_err(|e| e.to_string());
    let prompt = match &wanted.prompt {
        Prompt::Text(text) => count(text, true)?,
        Prompt::Chat(messages) => count(&rendered(messages, tokenizer)?, false)?,
        Prompt::Ids(ids) => ids.len(),
    };
    if prompt >= context { Err(too_long(prompt + 1, context)) } else { Ok(context - prompt) }
}

/// What was answered, token by token.
fn outputs(run: &Run, item: &Item, answers: &Answers) -> Vec<Output> {
    let texts = |ids: &[u32]| -> Vec<String> {
        let Some(tokenizer) = run.model.tokenizer() else { return Vec::new() };
        ids.iter().take(TOKENS_KEPT).map(|id| crate::text::token(&tokenizer.token_bytes(*id))).collect()
    };
    let cut = |ids: &[u32]| ids.iter().take(TOKENS_KEPT).copied().collect::<Vec<_>>();
    match answers {
        Answers::Texts(made) => made
            .iter()
            .map(|c| Output {
                text: c.text.clone(),
                ids: cut(&c.ids),
                tokens: texts(&c.ids),
                log_probs: c.log_probs.iter().take(TOKENS_KEPT).copied().collect(),
                ended: c.ended.clone(),
                right: false,
            })
            .collect(),
        Answers::Scores(scores) => scores
            .iter()
            .enumerate()
            .map(|(at, s)| Output {
                text: item.choices.get(at).or(item.contexts.get(at)).cloned().unwrap_or_default(),
                ids: cut(&s.ids),
                tokens: texts(&s.ids),
                log_probs: s.log_probs.iter().take(TOKENS_KEPT).copied().collect(),
                ended: String::new(),
                right: item.right.contains(&at),
            })
            .collect(),
    }
}

/// Hears the caller's stop, and says nothing: an item's tokens are no reports of the evaluation.
pub struct Quiet<'a>(pub &'a dyn Monitor);

impl Monitor for Quiet<'_> {
    fn report(&self, _: Report) {}
    fn stopped(&self) -> bool {
        self.0.stopped()
    }
    fn safepoint(&self) -> Signal {
        self.0.safepoint()
    }
    fn wait(&self) -> Signal {
        self.0.wait()
    }
    fn child(&self, job: JobId) -> Box<dyn Monitor> {
        self.0.child(job)
    }
    fn attach(&self, _: Box<dyn Sink>) {}
}

/// Stands where a model would: the data brings the answers along.
pub struct Given;

impl Generator for Given {
    fn name(&self) -> &str {
        GIVEN
    }
    fn context(&self) -> Option<usize> {
        None
    }
    fn tokenizer(&self) -> Option<&Tokenizer> {
        None
    }
    fn generate(
        &self,
        requests: &[Request],
        _: &dyn Monitor,
        tell: &mut (dyn FnMut(usize, Piece) + Send),
    ) -> Vec<Result<Completion, AskFault>> {
        let none: Vec<Result<Completion, AskFault>> = requests.iter().map(|_| Err(AskFault::Refused("nothing is given".into()))).collect();
        none.iter().enumerate().for_each(|(at, made)| tell(at, Piece::Done(made)));
        none
    }
    fn score(&self, questions: &[Question], _: &dyn Monitor, _: &mut (dyn FnMut(usize) + Send)) -> Vec<Result<Score, AskFault>> {
        let why = "answers that the data brings along have no likelihoods; name a model";
        questions.iter().map(|_| Err(AskFault::Broken(why.into()))).collect()
    }
}
