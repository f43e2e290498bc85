//! The one loop of training: safepoints, accumulation, clipping, schedule, evaluation, checkpoints, exact resume.
//! Deliberately not here: what is optimised (`objective`), and the report of a job's end: whoever calls `train` or
//! `resume` makes `Finished` or `Failed` of what they return, since it also sees panics.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};

use super::follow::Following;
use super::gather::Gather;
use super::lanes::{self, Lanes};
use super::measure::{self, Memory, Phase, Phases};
use super::objective::pretrain::scalar;
use super::objective::{self, Context, Flow, Objective, StepStats};
use super::optim::{self, Accumulator, Optimizer};
use super::pages;
use super::precision::Precision;
use super::prepare::{self, Material};
use super::schedule::Schedule;
use crate::data::stream::Splits;
use crate::data::tokenizer::Tokenizer;
use crate::model::ModelError;
use crate::model::decoder::{Decoder, Pass};
use crate::model::params::Param;
use crate::recipe::Recipe;
use crate::report::{JobState, Level, Monitor, Report, SCHEMA, Signal, Values};
use crate::rng::Stream;
use crate::run::checkpoint::{self, Best, Contents, State};
use crate::run::directory::{Lock, RunDir};
use crate::run::log::RunLog;
use crate::run::read::{self, Validation};
use crate::run::series::SeriesDir;

const CAUSES: &str = "a learning rate that is too high, no warmup, no gradient clipping (optim.clip = 0), or broken data";

pub struct Request {
    /// The directory that `runs/` and the token cache are made in.
    pub project: PathBuf,
    /// Where the recipe's relative paths start.
    pub base: PathBuf,
    pub recipe: Recipe,
    /// Must be free; where none is given, one is made from the data and the family.
    pub name: Option<String>,
    pub device: Device,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub run: String,
    pub dir: PathBuf,
    pub step: u64,
    pub stopped: bool,
    /// The newest; of the whole validation split where the run came to its end.
    pub val: Option<Validation>,
}

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("{0}")]
    Other(String),
    /// A loss or gradient that is not finite. Nothing was changed by it, and nothing saved after it.
    #[error("{what} at step {step}: {value}; last good checkpoint: {last_good}; usual causes: {causes}")]
    NotFinite { what: String, step: u64, value: String, last_good: String, causes: String },
    #[error(transparent)]
    Run(#[from] crate::run::RunError),
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
}

impl TrainError {
    /// What usually helps, where the message itself does not say it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => "lower optim.lr, raise optim.warmup or set optim.clip = 1.0, then start again or fork the run",
            _ => "",
        }
    }

    fn is_full(&self) -> bool {
        match self {
            Self::Run(error) => error.is_full(),
            Self::Model(error) => matches!(error, crate::model::ModelError::Full { .. }),
            _ => false,
        }
    }
}

/// A run at work: everything but the objective.
pub struct Trainer<'a> {
    pub(super) monitor: &'a dyn Monitor,
    pub(super) run: RunDir,
    pub(super) log: RunLog,
    pub(super) recipe: Recipe,
    pub(super) tokenizer: Tokenizer,
    pub(super) splits: Splits,
    pub(super) decoder: Decoder,
    /// Steps done.
    pub(super) step: u64,
    pub(super) best: Option<Best>,
    pub(super) val: Option<Validation>,
    tokenizer_config: String,
    fingerprint: String,
    device: Device,
    optimizer: Optimizer,
    pub(super) precision: Precision,
    schedule: Schedule,
    steps: u64,
    tokens: u64,
    dropout: Stream,
    lanes: Lanes,
    /// The decoder, once for each lane.
    pub(super) twins: Vec<Decoder>,
    gather: Arc<Gather>,
    accumulator: Accumulator,
    /// The last field but for plain numbers: it gives back what the others freed.
    _pages: pages::Kept,
    memory: Memory,
    /// The newest checkpoint that is whole.
    saved: Option<(u64, PathBuf)>,
    paused: bool,
    /// Whether the step that the run stands at was evaluated.
    evaluated: bool,
    progress: Instant,
}

/// What a person wants before the next step.
#[derive(PartialEq)]
enum Go {
    Step,
    Stop,
}

/// Trains a new run from its recipe to the end, or to a stop.
pub fn train(request: Request, monitor: &dyn Monitor) -> Result<Outcome, TrainError> {
    let Request { project, base, mut recipe, name, device } = request;
    recipe.absolute(&base);
    let hint = name_hint(&recipe);
    if let Some(name) = &name {
        crate::run::directory::check_name(name)?;
    }
    let from = prepare::From { project: &project, checkpoint: None, tokenizer: None, device: &device };
    let material = prepare::material(recipe, &from, monitor)?;
    let (run, lock) = RunDir::create(&project, name.as_deref(), &hint, &material.recipe.to_toml())?;
    let path = run.path.clone();
    let saved = material.tokenizer.save(&path.join("tokenizer.json")).map_err(TrainError::from);
    let made = saved.and_then(|()| Trainer::new(run, lock, material, device, None, monitor));
    let mut trainer = made.inspect_err(|_| {
        // Half a run would only be in the way of the next one of its name.
        let _ = std::fs::remove_dir_all(&path);
    })?;
    trainer.announce(&[]);
    let entry = objective::find(&trainer.recipe.objective.kind)?;
    (entry.run)(&mut trainer, None)
}

/// Goes on with a run from its newest checkpoint that is whole; from the beginning where it has none yet.
pub fn resume(project: &Path, run: &str, device: Device, monitor: &dyn Monitor) -> Result<Outcome, TrainError> {
    let run = RunDir::open(project, run)?;
    let lock = run.lock()?;
    checkpoint::tidy(&run.path)?;
    let origin = run.path.join("recipe.toml").display().to_string();
    let text = run.recipe()?;
    // The objective's own keys are known once its name is: the first reading is for that name alone.
    let kind = toml::from_str::<Recipe>(&text).map(|r| r.objective.kind).unwrap_or_default();
    let entry = objective::find(&kind)?;
    let recipe = Recipe::parse(&text, &origin, entry.knobs).map_err(|e| TrainError::Other(e.to_string()))?;
    let (found, notes) = checkpoint::newest_whole(&run.path)?;
    let state = match &found {
        Some(found) => Some(checkpoint::load_state(&found.path)?),
        None if notes.is_empty() => {
            check_never_saved(&run)?;
            None
        }
        None => return Err(TrainError::Other(format!("{}; no checkpoint of run {} is whole: start a new run", notes[0], run.name))),
    };
    let own = run.path.join("tokenizer.json");
    let path = found.as_ref().map(|f| f.path.as_path());
    let from = prepare::From { project, checkpoint: path, tokenizer: Some(own), device: &device };
    let material = prepare::material(recipe, &from, monitor)?;
    if let Some(state) = &state {
        if state.data != material.fingerprint {
            return Err(TrainError::Other(format!(
                "run {}: the training data is not what it was at step {}; restore the files, or start a new run with model.init = \"{}\"",
                run.name, state.step, run.name
            )));
        }
        checkpoint::set_aside_after(&run.path, state.step)?;
    }
    let mut trainer = Trainer::new(run, lock, material, device, found.zip(state.as_ref()), monitor)?;
    trainer.announce(&notes);
    (entry.run)(&mut trainer, state.as_ref())
}

/// A run that was killed before its first checkpoint begins again. One whose checkpoints somebody deleted must not:
/// its log would be written over by another training.
fn check_never_saved(run: &RunDir) -> Result<(), TrainError> {
    let Some(step) = read::last_saved(&run.path)? else { return Ok(()) };
    let dir = run.path.display().to_string();
    let dir = crate::text::visible(&dir, false);
    Err(TrainError::Other(format!(
        "run {name}: {dir}/checkpoints holds no checkpoint, though step {step} was saved there: they were deleted; put them back, or \
         start anew under another name (weightroom train {dir}/recipe.toml --name {name}-again)",
        name = run.name
    )))
}

/// A name for a run from what it trains on: `tinyshakespeare-llama`.
fn name_hint(recipe: &Recipe) -> String {
    let first = recipe.data.train.first().map(String::as_str).unwrap_or_default();
    let stem = first.strip_prefix("sample:").unwrap_or(first);
    let stem = Path::new(stem).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{stem}-{}", recipe.model.family)
}

impl<'a> Trainer<'a> {
    pub(super) fn new(
        run: RunDir,
        lock: Lock,
        material: Material,
        device: Device,
        from: Option<(checkpoint::Checkpoint, &State)>,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, TrainError> {
        let Material { recipe, tokenizer, tokenizer_config, splits, mut decoder, steps, fingerprint } = material;
        let precision = Precision::of_recipe(&recipe.optim, &mut decoder);
        let mut optimizer = Optimizer::of_recipe(&recipe.optim, decoder.params())?;
        let schedule = Schedule::of_recipe(&recipe.optim, steps).map_err(TrainError::Other)?;
        let mut dropout = Stream::new(recipe.seed, "dropout");
        let (mut step, mut tokens, mut saved) = (0, 0, None);
        if let Some((found, state)) = from {
            optimizer.restore(checkpoint::load_moments(&found.path)?, state.step)?;
            dropout = state.streams.get("dropout").cloned().unwrap_or(dropout);
            (step, tokens) = (state.step, state.tokens);
            saved = Some((found.step, found.path));
        }
        let flops = decoder.config().flops_per_token() * (recipe.optim.batch * decoder.config().context) as f64;
        let lanes = Lanes::new(&device, lanes::threads(), recipe.optim.batch, flops);
        let gather = Gather::new(lanes.count());
        let twins = (0..lanes.count()).map(|lane| decoder.lane(gather.hand(lane))).collect();
        let log = RunLog::open(&run, lock)?;
        let resumed = log.seq() > 0;
        if resumed {
            log.rewind(step)?;
        }
        monitor.attach(Box::new(log.clone()));
        monitor.report(Report::Started { kind: "train".into(), title: run.name.clone(), run: Some(run.name.clone()) });
        if resumed {
            monitor.report(Report::Resumed { step });
        }
        let mut trainer = Self {
            monitor,
            run,
            log,
            recipe,
            tokenizer,
            splits,
            decoder,
            step,
            best: None,
            val: None,
            tokenizer_config,
            fingerprint,
            memory: Memory::new(&device),
            device,
            optimizer,
            precision,
            schedule,
            steps,
            tokens,
            dropout,
            lanes,
            twins,
            gather,
            accumulator: Accumulator::default(),
            _pages: pages::Kept::new(),
            saved,
            paused: false,
            evaluated: false,
            progress: Instant::now(),
        };
        trainer.recall()?;
        Ok(trainer)
    }

    /// What the log knows of evaluations up to this step.
    fn recall(&mut self) -> Result<(), TrainError> {
        let series = SeriesDir::glance(&self.run.path)?;
        let val = series.get("val/loss").unwrap_or_default();
        for point in val.iter().filter(|p| p.value.is_finite()) {
            if self.best.is_none_or(|b| point.value < b.val_loss) {
                self.best = Some(Best { step: point.step, val_loss: point.value });
            }
        }
        let last = |name: &str| series.get(name).and_then(|s| s.last()).filter(|p| p.step == self.step).map(|p| p.value);
        self.evaluated = last("val/loss").is_some();
        self.val = Validation::latest(&series, self.recipe.eval.batches == 0);
        Ok(())
    }

    pub(super) fn report(&self, report: Report) {
        self.monitor.report(report);
    }

    /// What a reader must know before the first value.
    fn announce(&mut self, notes: &[String]) {
        measure::metrics(&self.device).into_iter().for_each(|m| self.report(Report::Metric(m)));
        let config = self.decoder.config();
        let parameters: usize = self.decoder.params().iter().map(|p| p.var.elem_count()).sum();
        let mut facts: BTreeMap<String, serde_json::Value> = BTreeMap::new();
        let mut fact = |name: &str, value: serde_json::Value| drop(facts.insert(name.into(), value));
        fact("run", self.run.name.clone().into());
        fact("steps", self.steps.into());
        fact("parameters", parameters.into());
        fact("vocab", config.vocab.into());
        fact("context", config.context.into());
        fact("train_tokens", self.splits.train.len().into());
        fact("val_tokens", self.splits.val.len().into());
        fact("tokens_per_step", (self.recipe.optim.batch * self.recipe.optim.accumulate * config.context).into());
        for (name, value) in &self.splits.facts {
            facts.entry(name.clone()).or_insert_with(|| value.clone().into());
        }
        self.report(Report::Facts(facts));
        for note in &self.precision.notes {
            self.report(Report::note(Level::Info, note.clone()));
        }
        if self.recipe.model.recompute && !self.device.is_cpu() {
            self.report(Report::note(
                Level::Warning,
                "model.recompute = true does nothing on this device: blocks are computed again on the CPU alone",
            ));
        }
        for note in notes {
            // A resume has put the damaged directory aside under a name that no list takes for a checkpoint.
            self.report(Report::note(Level::Warning, format!("{note}; set aside, going on from step {}", self.step)));
        }
        self.tell_progress();
    }

    fn tell_progress(&mut self) {
        self.progress = Instant::now();
        self.report(Report::Progress { what: "train".into(), done: self.step, total: Some(self.steps), unit: "steps".into() });
    }

    /// Hears the outside world until the next step may be taken.
    fn attend<O: Objective>(&mut self, keep: &Keep<O>) -> Result<Go, TrainError> {
        loop {
            let signal = if self.paused { self.monitor.wait() } else { self.monitor.safepoint() };
            match signal {
                Signal::Continue => {
                    if self.paused {
                        self.paused = false;
                        self.report(Report::State { state: JobState::Running, why: String::new() });
                    }
                    return Ok(Go::Step);
                }
                Signal::Step => {
                    self.pause();
                    return Ok(Go::Step);
                }
                Signal::Pause => self.pause(),
                Signal::Checkpoint => self.save(keep)?,
                Signal::Stop => return Ok(Go::Stop),
                // The engine lends the device before it tells us; there is nothing of ours to put aside.
                Signal::Yield => {}
                Signal::Serve(job, spec) => self.serve(job, &spec),
            }
        }
    }

    fn pause(&mut self) {
        if !self.paused {
            self.paused = true;
            self.report(Report::State { state: JobState::Paused, why: format!("paused after step {}", self.step) });
        }
    }

    /// Does what needs room on the disk. Where there is none, the run is paused and it is tried again until there is,
    /// or until somebody wants the run to stop.
    fn with_room(&mut self, mut work: impl FnMut(&mut Self) -> Result<(), TrainError>) -> Result<(), TrainError> {
        let mut told = false;
        loop {
            let result = work(self);
            if !result.as_ref().is_err_and(TrainError::is_full) {
                if told && result.is_ok() {
                    let (state, why) = match self.paused {
                        true => (JobState::Paused, format!("paused after step {}", self.step)),
                        false => (JobState::Running, "there is room on the disk again".into()),
                    };
                    self.report(Report::State { state, why });
                }
                return result;
            }
            let why = crate::run::full_disk(&self.run.path);
            // Again each time: the log may have found room for its few bytes, and told so.
            self.report(Report::State { state: JobState::Paused, why: why.clone() });
            if !told {
                told = true;
                self.report(Report::note(Level::Warning, why));
            }
            let until = Instant::now() + Duration::from_secs(1);
            while Instant::now() < until {
                if self.monitor.stopped() {
                    return Err(TrainError::Other(format!(
                        "{}: the disk is full, so step {} was not saved; last good checkpoint: {}; make room, then resume {}",
                        crate::text::visible(&self.run.path.display().to_string(), false),
                        self.step,
                        self.last_good(),
                        self.run.name
                    )));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// The newest checkpoint, for a person.
    fn last_good(&self) -> String {
        self.saved.as_ref().map_or("none yet".to_string(), |(step, path)| {
            format!("step {step} ({})", path.strip_prefix(&self.run.path).unwrap_or(path).display())
        })
    }

    /// Writes a checkpoint of the step that the run stands at, unless there is one.
    fn save<O: Objective>(&mut self, keep: &Keep<O>) -> Result<(), TrainError> {
        self.with_room(|trainer| trainer.try_save(keep))
    }

    fn try_save<O: Objective>(&mut self, keep: &Keep<O>) -> Result<(), TrainError> {
        if self.saved.as_ref().is_some_and(|(step, _)| *step == self.step) {
            return Ok(());
        }
        // What the checkpoint counts on is on the disk before it.
        self.log.sync()?;
        let json = |e: serde_json::Error| TrainError::Other(format!("state.json: {e}"));
        let state = State {
            schema: SCHEMA,
            step: self.step,
            steps: self.steps,
            seq: self.log.seq(),
            tokens: self.tokens,
            streams: BTreeMap::from([("dropout".to_string(), self.dropout.clone())]),
            objective: O::NAME.into(),
            objective_state: keep.objective.state()?,
            pending: serde_json::to_value(&keep.pending).map_err(json)?,
            data: self.fingerprint.clone(),
            optimizer: self.recipe.optim.kind.clone(),
            best: self.best,
            files: BTreeMap::new(),
            rest: serde_json::Map::new(),
        };
        let contents = Contents {
            decoder: &self.decoder,
            tokenizer: &self.tokenizer,
            tokenizer_config: &self.tokenizer_config,
            moments: self.optimizer.moments()?,
            state,
        };
        let saved = checkpoint::save(&self.run.path, contents)?;
        self.report(Report::Artifact { kind: "checkpoint".into(), path: saved.path.clone(), step: Some(saved.step) });
        self.saved = Some((saved.step, saved.path));
        checkpoint::prune(&self.run.path, self.recipe.checkpoint.keep, self.best.map(|b| b.step))?;
        Ok(())
    }

    /// Forward, loss and backward of every micro-batch, each cut for the lanes.
    fn gradients<O: Objective>(&mut self, objective: &O, batches: &[O::Batch], phases: &mut Phases) -> Result<Gradients, TrainError> {
        let (mut loss, mut tokens, mut grads, mut norm) = (0.0, 0, Vec::new(), 0.0);
        let drops = self.decoder.config().dropout > 0.0;
        for batch in batches {
            let parts = objective.parts(batch, self.lanes.count());
            // Each lane's masks come from a stream of its own, all of which follow from the run's one.
            let stream = |_| drops.then(|| Stream::new(self.dropout.next_u64(), "dropout in a lane"));
            let streams: Vec<_> = (0..parts.len()).map(stream).collect();
            let parts = parts.into_iter().zip(&self.twins).zip(streams);
            let parts = parts.map(|((part, decoder), dropout)| (part, decoder, dropout, phases.fork())).collect();
            let shares = self.lanes.run(parts, |(part, decoder, mut dropout, mut phases): (O::Batch, &Decoder, Option<Stream>, Phases)| {
                let mut pass = Pass { dropout: dropout.as_mut(), ..Pass::default() };
                let share = objective.loss(decoder, &part, &mut pass, &mut phases)?;
                let loss = scalar(&share.loss)?;
                decoder.hand_gradients(&share.loss)?;
                phases.mark(Phase::Backward)?;
                Ok::<_, TrainError>((loss, share.tokens, phases))
            });
            let shares = shares.into_iter().collect::<Result<Vec<_>, _>>()?;
            let mut forks = Vec::with_capacity(shares.len());
            for (part, count, fork) in shares {
                loss += part;
                tokens += count;
                forks.push(fork);
            }
            let params = self.decoder.params();
            let found = self.gather.take(params.iter().map(|p| p.var.as_tensor())).map_err(ModelError::from)?;
            // What is not there is zero where it may be: its squares are too.
            let absent = |param: &Param| Ok((param.absent()?, self.device.is_cpu().then_some(0.0)));
            let found = found.into_iter().zip(params).map(|(found, param)| found.map_or_else(|| absent(param), Ok));
            let (all, squares): (Vec<Tensor>, Vec<Option<f64>>) = found.collect::<Result<Vec<_>, ModelError>>()?.into_iter().unzip();
            if batches.len() > 1 {
                self.accumulator.add(all)?;
            } else {
                let sum: Option<f64> = squares.into_iter().sum();
                norm = sum.map_or_else(|| optim::global_norm(&all), |sum| Ok(sum.sqrt()))?;
                grads = all;
            }
            phases.join(&forks);
            phases.mark(Phase::Backward)?;
        }
        if batches.len() > 1 {
            grads = self.accumulator.take();
            norm = optim::global_norm(&grads)?;
        }
        Ok(Gradients { loss, grads, norm, tokens })
    }

    /// One step: the loss before it, and everything that is measured.
    pub(super) fn advance<O: Objective>(&mut self, keep: &mut Keep<O>) -> Result<Flow, TrainError> {
        let start = Instant::now();
        let mut phases = Phases::begin(&self.device, self.step);
        if keep.pending.is_empty() {
            let decoder = self.decoder.detached();
            keep.pending.extend(keep.objective.collect(&self.context(&decoder))?);
        }
        let Some(batches) = keep.pending.pop_front() else { return Ok(Flow::Finish) };
        let Gradients { loss, grads, norm, tokens } = self.gradients(&keep.objective, &batches, &mut phases)?;
        self.check_finite(loss, norm)?;
        let lr = self.schedule.at(self.step);
        let scale = optim::clip_scale(norm, self.recipe.optim.clip);
        // A step that a person takes by itself is shown by the way of one token; its times are those of the step alone.
        let follows = self.paused.then(|| phases.aside(|| self.follow(&keep.objective, &batches, &grads))).flatten();
        let change = self.optimizer.step(&grads, lr, scale)?;
        drop(grads);
        phases.mark(Phase::Update)?;
        self.step += 1;
        if let Some(report) = follows.and_then(|following| following.end(&self.decoder.detached(), self.step, lr, scale)) {
            self.report(report);
        }
        self.tokens += tokens;
        self.evaluated = false;
        let mut values: Vec<(String, f64)> = vec![("train/loss".into(), loss), ("lr".into(), lr), ("grad_norm".into(), norm)];
        if change.ratio > 0.0 {
            values.push(("update_ratio".into(), change.ratio));
        }
        values.push(("tokens_per_s".into(), tokens as f64 / start.elapsed().as_secs_f64().max(1e-9)));
        values.extend(self.memory.values());
        values.push(("epoch".into(), self.tokens as f64 / self.splits.train.len().max(1) as f64));
        values.extend(phases.values());
        self.report(Report::Values(Values { step: self.step, values }));
        if self.progress.elapsed().as_secs() >= 1 || self.paused {
            self.tell_progress();
        }
        if self.paused {
            self.log.flush()?;
        }
        // A monitor cannot tell that the log cannot be written; training on without a log would lose the run.
        if let Some(fault) = self.log.fault() {
            return Err(fault.into());
        }
        Ok(keep.objective.stepped(&StepStats { step: self.step, loss, grad_norm: norm }))
    }

    fn follow<O: Objective>(&self, objective: &O, batches: &[O::Batch], grads: &[Tensor]) -> Option<Following> {
        let example = objective.example(batches.first()?)?;
        Following::begin(&self.decoder.detached(), &self.tokenizer, example, grads)
    }

    fn context<'c>(&'c self, decoder: &'c Decoder) -> Context<'c> {
        Context { recipe: &self.recipe, decoder, tokenizer: &self.tokenizer, splits: &self.splits, monitor: self.monitor }
    }

    /// Asked before the update, so that the weights are still those of the last good step.
    fn check_finite(&self, loss: f64, norm: f64) -> Result<(), TrainError> {
        if loss.is_finite() && norm.is_finite() {
            return Ok(());
        }
        let step = self.step + 1;
        self.report(Report::Values(Values { step, values: vec![("train/loss".into(), loss), ("grad_norm".into(), norm)] }));
        self.log.flush()?;
        let (what, value) = if loss.is_finite() { ("the gradient is not finite", norm) } else { ("the loss is not finite", loss) };
        let last_good = self.last_good();
        Err(TrainError::NotFinite { what: what.into(), step, value: format!("{value}"), last_good, causes: CAUSES.into() })
    }

    /// Checkpoint first, then evaluation: what was learned is safe before anything else is tried.
    fn milestones<O: Objective>(&mut self, keep: &Keep<O>, end: bool) -> Result<(), TrainError> {
        let due = |every: usize| every > 0 && self.step.is_multiple_of(every as u64);
        let (save, evaluate) = (self.recipe.checkpoint.every, self.recipe.eval.every);
        let (save, evaluate) = (end || (due(save) && self.step > 0), end || due(evaluate));
        // A model that was not made here may change where it lies, and a resume needs it as it was.
        let foreign = self.step == 0 && self.recipe.model.init.is_some();
        if save || foreign {
            self.save(keep)?;
        }
        if evaluate && !self.evaluated {
            let better = self.evaluate(&keep.objective, end)?;
            self.evaluated = better.is_some();
            if better == Some(true) && self.step > 0 && self.recipe.checkpoint.every > 0 {
                self.save(keep)?;
                checkpoint::prune(&self.run.path, self.recipe.checkpoint.keep, self.best.map(|b| b.step))?;
            }
        }
        if save || evaluate {
            self.tell_progress();
        }
        Ok(())
    }
}

/// What a step learned before its update: the summed loss, the gradients in the order of the parameters and the norm of
/// all of them together, and the tokens that went through.
struct Gradients {
    loss: f64,
    grads: Vec<Tensor>,
    norm: f64,
    tokens: u64,
}

/// The objective and what it has collected.
pub(super) struct Keep<O: Objective> {
    objective: O,
    pending: VecDeque<Vec<O::Batch>>,
}

impl<O: Objective> Keep<O> {
    /// Anew, or as a checkpoint holds it.
    pub(super) fn of(trainer: &Trainer, state: Option<&State>) -> Result<Self, TrainError> {
        let decoder = trainer.decoder.detached();
        let objective = O::new(&trainer.context(&decoder), state.map(|s| s.objective_state.clone()))?;
        let parsed = state.map(|state| serde_json::from_value(state.pending.clone())).transpose();
        let pending = parsed.map_err(|e| TrainError::Other(format!("state.json: pending: {e}")))?.unwrap_or_default();
        Ok(Self { objective, pending })
    }
}

/// The loop, for one objective; `state` is what a checkpoint holds of it.
pub(super) fn run<O: Objective>(trainer: &mut Trainer, state: Option<&State>) -> Result<Outcome, TrainError> {
    let mut keep = Keep::<O>::of(trainer, state)?;
    let mut end = trainer.step >= trainer.steps;
    trainer.milestones(&keep, end)?;
    let mut stopped = false;
    while !end {
        if trainer.attend(&keep)? == Go::Stop {
            stopped = true;
            trainer.save(&keep)?;
            break;
        }
        end = trainer.advance(&mut keep)? == Flow::Finish || trainer.step >= trainer.steps;
        trainer.milestones(&keep, end)?;
    }
    trainer.tell_progress();
    trainer.with_room(|t| Ok(t.log.sync()?))?;
    Ok(Outcome {
        run: trainer.run.name.clone(),
        dir: trainer.run.path.clone(),
        step: trainer.step,
        // A stop during the last evaluation leaves it undone; a resume does it.
        stopped: stopped || (end && trainer.monitor.stopped() && !trainer.evaluated),
        val: trainer.val,
    })
}
