//! The stations of a model's life: what this project has at each, in a few words, and what comes next.
//! Deliberately not here: stations that do not work yet, and drawing.

use crate::data::sample;
use crate::recipe::Recipe;
use crate::text::visible;
use crate::ui::widgets;
use crate::ui::world::{Run, Status, World};

/// In the order of a model's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Station {
    Data,
    Tokenizer,
    Pretrain,
    Rank,
    Evaluate,
    Chat,
}

/// What is drawn.
pub struct View<'a> {
    pub run: Option<&'a Run>,
    pub station: Station,
    pub in_experiments: bool,
    pub experiment: usize,
}

/// How a station stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something is here.
    Done,
    /// At work now.
    Live,
    /// What comes next.
    Next,
    /// Waits for the stations before it.
    Later,
    Failed,
}

/// A station's few lines.
pub struct Card {
    pub standing: Standing,
    /// The newest artifact.
    pub what: String,
    /// Its main figure.
    pub figure: String,
    /// 0 to 1 while at work.
    pub progress: Option<f64>,
}

impl Station {
    pub const ALL: [Self; 6] = [Self::Data, Self::Tokenizer, Self::Pretrain, Self::Rank, Self::Evaluate, Self::Chat];

    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "Data",
            Self::Tokenizer => "Tokenizer",
            Self::Pretrain => "Pretrain",
            Self::Rank => "Rank",
            Self::Evaluate => "Evaluate",
            Self::Chat => "Chat",
        }
    }

    /// What happens at this station, in plain words.
    pub fn about(self) -> &'static str {
        match self {
            Self::Data => "The text that the model learns from. It can only ever know what stands in here.",
            Self::Tokenizer => "Cuts text into numbered pieces, the tokens: the only thing that a model reads and writes.",
            Self::Pretrain => "Guess the next token, compare with the real one, nudge every weight; many thousand times.",
            Self::Rank => "People say which of several answers is better: what a model is taught by, once it can write.",
            Self::Evaluate => "The loss on text that was held back: what the model has understood rather than memorised.",
            Self::Chat => "Give the model a beginning and it continues, one token at a time. A model of stories tells stories.",
        }
    }

    /// What Enter does here now.
    pub fn enter(self, run: Option<&Run>) -> String {
        let name = run.map(|r| visible(&r.name, false).into_owned()).unwrap_or_default();
        match (self, run) {
            (Self::Rank, _) => "rank responses, or let models draw some, in Rank".into(),
            (Self::Data, Some(_)) => "see its rows, and what a step sees of them, in Data".into(),
            (Self::Tokenizer, Some(_)) => "choose another tokenizer: opens a recipe".into(),
            (Self::Data | Self::Tokenizer | Self::Pretrain, None) => "train the sample; about a minute".into(),
            (Self::Pretrain, Some(_)) => format!("watch {name} in Train"),
            (Self::Evaluate, Some(_)) => format!("the scores of {name} in Eval"),
            (Self::Chat, Some(run)) if run.is_live() => format!("talk to {name} while it learns"),
            (Self::Chat, Some(_)) => format!("talk to {name}"),
            (Self::Evaluate | Self::Chat, None) => "needs a model first".into(),
        }
    }

    pub fn card(self, run: Option<&Run>, world: &World) -> Card {
        let recipe = recipe(run);
        match self {
            Self::Data => data(run, recipe.as_ref()),
            Self::Tokenizer => tokenizer(run, recipe.as_ref()),
            Self::Pretrain => pretrain(run, recipe.as_ref()),
            Self::Rank => rank(world),
            Self::Evaluate => evaluate(run, world),
            Self::Chat => chat(run),
        }
    }
}

/// The recipe of a run; the sample's where there is no run.
pub fn recipe(run: Option<&Run>) -> Option<Recipe> {
    let text = match run {
        Some(run) => run.recipe.as_str(),
        None => sample::recipe("sample")?,
    };
    if text.is_empty() { None } else { Recipe::parse(text, "recipe", &[]).ok() }
}

/// The run whose life is shown when nobody chose one: the live one, else the newest with a model that did not break.
pub fn newest(world: &World) -> Option<&Run> {
    world.live_run().or_else(|| world.favourite())
}

/// Why a newer run than the one that is shown is not: `lr-x30 failed`.
pub fn passed_over(world: &World, shown: &Run) -> Option<String> {
    let newest = world.runs.values().filter(|r| r.status() != Status::Waiting).max_by_key(|r| r.at_ms)?;
    let why = match newest.status() {
        Status::Failed => "failed",
        _ if !newest.has_weights() => "has no model yet",
        _ => return None,
    };
    (newest.name != shown.name && newest.at_ms > shown.at_ms).then(|| format!("{} {why}", visible(&newest.name, false)))
}

/// The station that comes next.
pub fn next(run: Option<&Run>) -> Station {
    match run {
        Some(run) if matches!(run.status(), Status::Finished | Status::Stopped) => Station::Chat,
        _ => Station::Pretrain,
    }
}

fn data(run: Option<&Run>, recipe: Option<&Recipe>) -> Card {
    let names = recipe.map(|r| r.data.train.join(", ")).unwrap_or_default();
    let built_in = recipe.and_then(|r| match r.data.train.as_slice() {
        [one] => one.strip_prefix("sample:").and_then(sample::text),
        _ => None,
    });
    let tokens = run.and_then(|r| r.facts.get("train_tokens")).and_then(serde_json::Value::as_f64);
    let figure = match (tokens, built_in) {
        (Some(tokens), _) => format!("{} tokens", widgets::count(tokens)),
        (None, Some(text)) => format!("{}, built in", widgets::bytes(text.len() as u64)),
        (None, None) => String::new(),
    };
    let short = names.rsplit('/').next().unwrap_or_default();
    Card { standing: Standing::Done, what: visible(short, false).into_owned(), figure, progress: None }
}

fn tokenizer(run: Option<&Run>, recipe: Option<&Recipe>) -> Card {
    let what = recipe.map(|r| match &r.tokenizer.path {
        Some(path) => visible(path.rsplit('/').next().unwrap_or(path), false).into_owned(),
        None => r.tokenizer.kind.clone(),
    });
    let vocab = run
        .and_then(|r| r.facts.get("vocab"))
        .and_then(serde_json::Value::as_u64)
        .or_else(|| recipe.filter(|r| r.tokenizer.kind == "bpe" && r.tokenizer.path.is_none()).map(|r| r.tokenizer.vocab as u64));
    let figure = vocab.map(|v| format!("{} tokens", widgets::grouped(v))).unwrap_or_default();
    let standing = if run.is_some() { Standing::Done } else { Standing::Later };
    Card { standing, what: what.unwrap_or_default(), figure, progress: None }
}

fn pretrain(run: Option<&Run>, recipe: Option<&Recipe>) -> Card {
    let Some(run) = run else {
        let figure = recipe.map(|r| format!("{} steps", widgets::grouped(r.optim.steps as u64))).unwrap_or_default();
        return Card { standing: Standing::Next, what: "not yet".into(), figure, progress: None };
    };
    let standing = match run.status() {
        Status::Failed | Status::Interrupted => Standing::Failed,
        Status::Finished | Status::Stopped => Standing::Done,
        _ => Standing::Live,
    };
    let how = match run.status() {
        Status::Paused => " · paused",
        Status::Waiting => " · waits",
        Status::Stopped => " · stopped",
        Status::Failed => " · failed",
        Status::Interrupted => " · interrupted",
        _ => "",
    };
    let figure = match (run.steps, run.progress.as_ref()) {
        (_, Some(p)) if run.step == 0 => match p.total {
            Some(total) if total > 0 => format!("{} {:.0} %", p.what, 100.0 * p.done as f64 / total as f64),
            _ => p.what.clone(),
        },
        (Some(steps), _) => format!("step {} of {}", run.step, steps),
        (None, _) => format!("step {}", run.step),
    };
    let progress = match (standing, run.steps) {
        (Standing::Live, Some(steps)) if steps > 0 => Some(run.step as f64 / steps as f64),
        _ => None,
    };
    Card { standing, what: format!("{}{how}", visible(&run.name, false)), figure: visible(&figure, false).into_owned(), progress }
}

/// The set that most was ranked of.
fn rank(world: &World) -> Card {
    let most = world.labels.sets.iter().flatten().max_by_key(|s| (s.labels(), s.items));
    let (standing, what, figure) = match most.map(|s| (visible(&s.name, false).into_owned(), s.labels(), s.items as u64)) {
        None => (Standing::Later, "not yet".to_string(), String::new()),
        Some((set, 0, items)) => (Standing::Next, set, format!("{} to rank", widgets::grouped(items))),
        Some((set, labels, items)) => (Standing::Done, set, format!("{} of {}", widgets::grouped(labels as u64), widgets::grouped(items))),
    };
    Card { standing, what, figure, progress: None }
}

fn evaluate(run: Option<&Run>, world: &World) -> Card {
    let tasks = run.and_then(|r| world.evals.newest_of(&r.name)).map(|(_, report)| &report.tasks);
    if let Some((task, score)) = tasks.and_then(|t| t.iter().find_map(|t| Some((t, t.score?)))) {
        let half = task.interval.as_ref().map(|i| format!(" ±{:.2}", i.half_width())).unwrap_or_default();
        let what = format!("{} {score:.2}{half}", visible(&task.name, false));
        let many = tasks.map_or(1, Vec::len);
        let figure = if many > 1 { format!("and {} more tasks", many - 1) } else { format!("{} items", task.n) };
        return Card { standing: Standing::Done, what, figure, progress: None };
    }
    let best = run.and_then(|r| r.best);
    let what = best.map(|(_, loss)| format!("loss {loss:.3}"));
    let figure = best.map(|_| "on held-out text".to_string());
    let standing = match (best, run) {
        (Some(_), Some(run)) if run.is_live() => Standing::Live,
        (Some(_), _) => Standing::Done,
        _ => Standing::Later,
    };
    Card { standing, what: what.unwrap_or_else(|| "not yet".into()), figure: figure.unwrap_or_default(), progress: None }
}

fn chat(run: Option<&Run>) -> Card {
    let (standing, what, figure) = match run {
        None => (Standing::Later, "nobody yet".to_string(), String::new()),
        Some(run) => {
            let name = visible(&run.name, false).into_owned();
            match run.status() {
                Status::Finished | Status::Stopped => (Standing::Next, name, "ready".to_string()),
                Status::Failed | Status::Interrupted if run.checkpoints.is_empty() => (Standing::Later, "nobody yet".into(), String::new()),
                Status::Failed | Status::Interrupted => (Standing::Done, name, "last checkpoint".into()),
                _ if run.step > 0 => (Standing::Done, name, "while it learns".into()),
                _ => (Standing::Later, name, "soon".into()),
            }
        }
    };
    Card { standing, what, figure, progress: None }
}

/// The lines of the lineage: (what, value). Without a run those of the sample, as far as its recipe says.
pub fn lineage(run: Option<&Run>) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(r) = recipe(run) {
        lines.push(("data", r.data.train.join(", ")));
        lines.push((
            "tokenizer",
            match &r.tokenizer.path {
                Some(path) => path.clone(),
                None if r.tokenizer.kind == "bpe" => format!("bpe, {} tokens, trained on this data", r.tokenizer.vocab),
                None => format!("{}, made from this data", r.tokenizer.kind),
            },
        ));
        lines.push(("model", model(&r, run)));
        let batch = r.optim.batch * r.optim.accumulate;
        lines.push(("step", format!("{batch} × {} tokens", r.model.context)));
        lines.push(("optimizer", format!("{} · lr {} · {}", r.optim.kind, r.optim.lr, r.optim.schedule)));
        lines.push(("seed", r.seed.to_string()));
    }
    if let Some((step, loss)) = run.and_then(|run| run.best) {
        lines.push(("best", format!("{loss:.4} held-out loss at step {step}")));
    }
    if let Some((step, path)) = run.and_then(Run::newest_checkpoint) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        lines.push(("saved", if name.is_empty() { format!("step {step}") } else { name }));
    }
    lines.into_iter().map(|(k, v)| (k, visible(&v, false).into_owned())).collect()
}

fn model(r: &Recipe, run: Option<&Run>) -> String {
    let parameters = run.and_then(|run| run.facts.get("parameters")).and_then(serde_json::Value::as_f64);
    let size = parameters.map(|p| format!(" · {} parameters", widgets::count(p))).unwrap_or_default();
    match &r.model.init {
        Some(init) => format!("goes on from {init}{size}"),
        None => format!("{} · {} layers × {}{size}", r.model.family, r.model.layers, r.model.width),
    }
}

/// Data, tokenizer and model in one line: `sample:stories → bpe 896 → llama · 2 layers × 128 · 504k parameters`.
pub fn in_a_line(run: &Run) -> Option<String> {
    let r = recipe(Some(run))?;
    let tokenizer = match &r.tokenizer.path {
        Some(path) => path.rsplit('/').next().unwrap_or(path).to_string(),
        None if r.tokenizer.kind == "bpe" => format!("bpe {}", r.tokenizer.vocab),
        None => r.tokenizer.kind.clone(),
    };
    let line = format!("{} → {tokenizer} → {}", r.data.train.join(", "), model(&r, Some(run)));
    Some(visible(&line, false).into_owned())
}

/// What a line of the lineage means for the model.
pub fn meaning(what: &str) -> &'static str {
    match what {
        "data" => "all that it can ever know",
        "tokenizer" => "the pieces that it reads and writes",
        "model" => "how much it can hold",
        "step" => "what it reads before each nudge",
        "optimizer" => "how far each nudge goes",
        "seed" => "the same one, the same weights",
        "best" => "on text that it never saw",
        "saved" => "the newest checkpoint",
        _ => "",
    }
}

/// The Explain page.
pub fn explain(world: &World, run: Option<&Run>) -> String {
    let mut text = "# What this shows\nThe life of a language model, from left to right. Text is collected (Data), cut into numbered pieces \
                    (Tokenizer), and a network is trained to guess the next piece (Pretrain). How well it guesses text that it never saw is measured \
                    (Evaluate). Then one can talk to it (Chat). The card with the mark is where you are; Enter goes there or starts it.\n\n"
        .to_string();
    match run {
        None => text.push_str(
            "# Now\nThis project is empty, so the sample that is built in is offered: stories of a small town, about 600 kB. One Enter trains a \
             small model on it, in about a minute on two processor cores. You will see noise turn into words, and words into sentences.\n\n",
        ),
        Some(run) => {
            text.push_str(&format!("# Now\nThis is {}", visible(&run.name, false)));
            if let (Some(steps), true) = (run.steps, run.step > 0) {
                text.push_str(&format!(", at step {} of {steps}", run.step));
            }
            text.push_str(". ");
            if let Some((step, loss)) = run.best {
                text.push_str(&format!(
                    "Its best held-out loss is {loss:.3}, at step {step}. A loss of {loss:.3} means that at each token the model is about as unsure as \
                     if it had to choose among {:.1} equally likely ones. ",
                    loss.exp()
                ));
            }
            match world.runs.len() {
                1 => text.push_str("It is the only run of this project.\n\n"),
                runs => text.push_str(&format!("The project has {runs} runs; m shows the next one.\n\n")),
            }
        }
    }
    text.push_str(
        "# Experiments\nEach changes one thing, trains again and lays both curves over each other in Train. It is the quickest way to get a feeling \
         for what matters: guess first, then look.\n\n# Lineage\nWhat a model came from. A model is nothing but its data, its tokenizer, its recipe and \
         its seed: with all four the same, training gives the same weights again, bit for bit.",
    );
    text
}
