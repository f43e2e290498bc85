//! Models for people: which there are, and what one is, where it comes from and what it needs.
//! Deliberately not here: running one (`models`), and the numbers in its tensors (`jobs::weigh`).

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::jobs::Fault;
use super::{device, models};
use crate::data::anatomy::Explained;
use crate::data::tokenizer::Tokenizer;
use crate::model::anatomy::{self, Anatomy};
use crate::model::memory::{self, Training};
use crate::model::{accelerator, hf};
use crate::recipe::Recipe;
use crate::repos::{Cache, Kind};
use crate::run::directory::{self, RunDir};
use crate::sample::endpoint;
use crate::text::visible;

/// Entries of a directory that are looked at, and ancestors that are told of.
const LOOKED_AT: usize = 2_000;
const ANCESTORS: usize = 8;
const TEMPLATE_BYTES: u64 = 4 << 20;

/// A model that could be opened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed {
    /// What opens it.
    pub name: String,
    /// `run`, `checkpoint`, `directory`, `pulled`, `GGUF`.
    pub what: &'static str,
    /// Bytes of its files; 0 where that was not looked at.
    pub bytes: u64,
}

/// What one model is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Shown {
    pub name: String,
    pub path: PathBuf,
    pub anatomy: Anatomy,
    /// Name and value, for people.
    pub shape: Vec<(&'static str, String)>,
    pub memory: Vec<(&'static str, String)>,
    pub tokenizer: Vec<(&'static str, String)>,
    /// Where it comes from, the nearest first.
    pub lineage: Vec<String>,
    pub template: Option<String>,
}

/// The models of a project, newest runs first, then what lies in `models/` and beside it, then what was pulled.
pub fn list(project: &Path) -> Vec<Listed> {
    let mut out = Vec::new();
    let mut add = |name: String, what: &'static str, path: &Path| out.push(Listed { name, what, bytes: bytes_of(path) });
    for run in directory::list(project) {
        if let Some((_, newest)) = run.checkpoints.last() {
            add(run.name.clone(), "run", newest);
        }
        for (step, path) in run.checkpoints.iter().rev().skip(1) {
            let _ = step;
            let name = path.strip_prefix(project).unwrap_or(path).to_string_lossy().into_owned();
            add(name, "checkpoint", path);
        }
    }
    for dir in ["models", ""] {
        let mut names: Vec<String> = std::fs::read_dir(project.join(dir))
            .map(|list| list.take(LOOKED_AT).flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
            .unwrap_or_default();
        names.sort();
        for name in names.into_iter().filter(|n| !n.starts_with('.')) {
            let name = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            let path = project.join(&name);
            if name.ends_with(".gguf") && path.is_file() {
                add(name, "GGUF", &path);
            } else if path.join("config.json").is_file() || path.join("adapter_config.json").is_file() {
                add(name, "directory", &path);
            }
        }
    }
    for cached in Cache::from_env().list().into_iter().filter(|c| c.repo.kind == Kind::Model) {
        add(cached.repo.to_string(), "pulled", &cached.dir);
    }
    out
}

/// Bytes of a file, or of the weights in a directory.
fn bytes_of(path: &Path) -> u64 {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    if !path.is_dir() {
        return size(path);
    }
    let weights = |p: &PathBuf| {
        p.extension().is_some_and(|e| e == "safetensors" || e == "gguf" || e == "bin") && !p.ends_with("optimizer.safetensors")
    };
    std::fs::read_dir(path).map_or(0, |list| list.take(LOOKED_AT).flatten().map(|e| e.path()).filter(weights).map(|p| size(&p)).sum())
}

/// The directory or file of a model.
pub fn place(project: &Path, name: &str) -> Result<PathBuf, Fault> {
    let path = project.join(name);
    if !name.starts_with(endpoint::PREFIX) && (path.join("adapter_config.json").is_file() || path.is_file() && name.ends_with(".gguf")) {
        return Ok(path);
    }
    models::resolve(project, name)
}

/// Looks at one model: its files' heads, its tokenizer and template, its history.
pub fn show(project: &Path, name: &str) -> Result<Shown, Fault> {
    let path = place(project, name)?;
    let anatomy = anatomy::read(&path)?;
    let config = Keys::of(&anatomy);
    Ok(Shown {
        name: name.into(),
        shape: shape(&anatomy, &config),
        memory: memory(&path, &anatomy, &config),
        tokenizer: tokenizer(&path),
        lineage: lineage(project, name, &path, &anatomy),
        template: template(&path, &anatomy),
        path,
        anatomy,
    })
}

/// The config's numbers under the names that families and formats have for them.
struct Keys<'a> {
    config: &'a Value,
    architecture: String,
}

impl<'a> Keys<'a> {
    fn of(anatomy: &'a Anatomy) -> Self {
        let config = &anatomy.config;
        let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_string);
        let class = || config.pointer("/architectures/0").and_then(Value::as_str).map(str::to_string);
        let architecture =
            text("general.architecture").or_else(|| text("model_type")).or_else(class).or_else(|| text("peft_type")).unwrap_or_default();
        Self { config, architecture }
    }

    fn get(&self, names: &[&str]) -> Option<u64> {
        let own = |name: &&str| self.config.get(*name).or_else(|| self.config.get(format!("{}.{name}", self.architecture)))?.as_u64();
        names.iter().find_map(own)
    }
    fn layers(&self) -> Option<u64> {
        self.get(&["num_hidden_layers", "n_layer", "block_count"])
    }
    fn width(&self) -> Option<u64> {
        self.get(&["hidden_size", "n_embd", "embedding_length"])
    }
    fn heads(&self) -> Option<u64> {
        self.get(&["num_attention_heads", "n_head", "attention.head_count"]).filter(|n| *n > 0)
    }
    fn kv_heads(&self) -> Option<u64> {
        self.get(&["num_key_value_heads", "attention.head_count_kv"]).or_else(|| self.heads())
    }
    fn head_dim(&self) -> Option<u64> {
        self.get(&["head_dim", "attention.key_length"]).or_else(|| Some(self.width()? / self.heads()?))
    }
    fn context(&self) -> Option<u64> {
        self.get(&["max_position_embeddings", "n_positions", "n_ctx", "context_length"])
    }
    fn vocab(&self) -> Option<u64> {
        self.get(&["vocab_size"])
    }
}

fn shape(anatomy: &Anatomy, config: &Keys) -> Vec<(&'static str, String)> {
    let mut out = vec![("architecture", visible(&config.architecture, false).into_owned())];
    if !anatomy.tensors.is_empty() {
        out.push(("parameters", format!("{} in {} tensors", grouped(anatomy.parameters()), anatomy.tensors.len())));
    }
    let number = |n: Option<u64>| n.map(grouped);
    let heads = config.heads().map(|heads| match config.kv_heads() {
        Some(kv) if kv != heads => format!("{heads}, of which {kv} for keys and values"),
        _ => heads.to_string(),
    });
    let more = [
        ("layers", number(config.layers())),
        ("width", number(config.width())),
        ("feed-forward", number(config.get(&["intermediate_size", "n_inner", "feed_forward_length"]))),
        ("heads", heads),
        ("experts", number(config.get(&["num_local_experts", "num_experts", "expert_count"]))),
        ("context", config.context().map(|n| format!("{} tokens", grouped(n)))),
        ("vocabulary", config.vocab().map(|n| format!("{} tokens", grouped(n)))),
    ];
    out.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
    out.push(("files", format!("{}, {}", anatomy.format, size(anatomy.bytes()))));
    let kinds: Vec<String> =
        anatomy.kinds.iter().map(|(kind, n)| format!("{kind} {:.1} %", *n as f64 * 100.0 / anatomy.parameters().max(1) as f64)).collect();
    out.push(("numbers", kinds.join(", ")));
    out.retain(|(_, value)| !value.is_empty());
    out
}

/// What running and training it takes, and what there is.
fn memory(path: &Path, anatomy: &Anatomy, config: &Keys) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let weights = anatomy.bytes();
    let cache = || {
        let per_token = 2 * config.layers()?.checked_mul(config.kv_heads()?)?.checked_mul(config.head_dim()?)?;
        Some((per_token.checked_mul(4)?, config.context()?))
    };
    let needed = match cache() {
        Some((per_token, context)) => {
            let full = per_token.saturating_mul(context);
            out.push((
                "to run",
                format!(
                    "{} of weights as they are stored, and {} for each 1,000 tokens of context in f32 ({} for all {})",
                    size(weights),
                    size(per_token.saturating_mul(1000)),
                    size(full),
                    grouped(context)
                ),
            ));
            weights.saturating_add(full)
        }
        None => {
            out.push(("to run", format!("{} of weights", size(weights))));
            weights
        }
    };
    let training = hf::load_config(path).ok().map(|c| {
        c.training_bytes(Training { batch: 1, accumulates: false, moments: 2, recompute: false, lanes: device::threads() as u64 })
    });
    if let Some(bytes) = training {
        out.push(("to train", format!("about {} in f32 with AdamW, one full context at a time", size(bytes))));
    }
    let here = match device::choose(None).ok().and_then(|d| accelerator::about(&d)) {
        Some(gpu) => Some((gpu.name, gpu.free_bytes)),
        None => memory::available().map(|bytes| ("this machine".to_string(), bytes)),
    };
    if let Some((name, free)) = here {
        let fits = |needed: u64| if needed <= free { "fits" } else { "does not fit" };
        let train = training.map(|bytes| format!(", training {}", fits(bytes))).unwrap_or_default();
        out.push((
            "there is",
            format!("{} free on {}: running with a full context {}{train}", size(free), visible(&name, false), fits(needed)),
        ));
    }
    out
}

fn tokenizer(path: &Path) -> Vec<(&'static str, String)> {
    // A tokenizer of its own may lie in a directory that has none: then the base model's is meant.
    let explained = match Tokenizer::load(path) {
        Ok(tokenizer) => Explained::new(tokenizer),
        Err(why) => return vec![("tokenizer", visible(&why.to_string(), false).into_owned())],
    };
    let a = &explained.anatomy;
    let named: Vec<String> = a.special.iter().take(12).map(|(id, name)| format!("{} {id}", crate::text::token(name.as_bytes()))).collect();
    let more = if a.special.len() > 12 { format!("  and {} more", a.special.len() - 12) } else { String::new() };
    let mut out = vec![
        ("kind", format!("{}, read from {}", a.kind, a.format)),
        ("vocabulary", format!("{} tokens, {} merges", grouped(a.vocab as u64), grouped(a.merges as u64))),
        ("words", visible(&a.words, false).into_owned()),
        ("first", visible(&a.normalizer, false).into_owned()),
        ("special", format!("{}{more}", named.join("  "))),
    ];
    out.extend(a.notes.iter().map(|note| ("note", visible(note, false).into_owned())));
    out.retain(|(_, value)| !value.is_empty());
    out
}

/// The chat template as its author wrote it.
fn template(path: &Path, anatomy: &Anatomy) -> Option<String> {
    if let Some(text) = anatomy.config.get("tokenizer.chat_template").and_then(Value::as_str) {
        return Some(text.to_string());
    }
    let read = |name: &str| {
        let path = path.join(name);
        std::fs::metadata(&path).ok().filter(|m| m.len() <= TEMPLATE_BYTES)?;
        std::fs::read_to_string(path).ok()
    };
    if let Some(text) = read("chat_template.jinja") {
        return Some(text);
    }
    let config: Value = serde_json::from_str(&read("tokenizer_config.json")?).ok()?;
    match config.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        // Several by name: the default one.
        Value::Array(list) => {
            let named = |name: &str| list.iter().find(|t| t["name"] == name);
            named("default").or(list.first())?.get("template")?.as_str().map(str::to_string)
        }
        _ => None,
    }
}

/// Where a model comes from: its run's recipe and what that began with, its repository, its base, what its file says.
fn lineage(project: &Path, name: &str, path: &Path, anatomy: &Anatomy) -> Vec<String> {
    let mut out = Vec::new();
    let mut at = run_of(project, name, path);
    let mut init = None;
    while let Some(run) = at.take().filter(|_| out.len() < ANCESTORS) {
        let Ok(recipe) =
            run.recipe().map_err(|e| e.to_string()).and_then(|text| Recipe::parse(&text, "recipe.toml", &[]).map_err(|e| e.to_string()))
        else {
            out.push(format!("run {}, whose recipe cannot be read", run.name));
            break;
        };
        let steps = directory::summary(&run).step;
        let tokenizer = recipe.tokenizer.path.clone().unwrap_or_else(|| format!("{} of its own", recipe.tokenizer.kind));
        out.push(format!(
            "run {}: {} for {} steps on {}; tokenizer {tokenizer}",
            run.name,
            recipe.objective.kind,
            grouped(steps),
            recipe.data.train.join(", ")
        ));
        init = recipe.model.init.clone();
        at = init.as_deref().and_then(|init| run_of(project, init, &project.join(init)));
    }
    out.extend(init.map(|init| format!("begun from {init}")));
    let cache = Cache::from_env();
    if let Some(cached) = cache.list().into_iter().find(|c| path.starts_with(&c.dir)) {
        out.push(format!("pulled from {} at commit {}", cached.repo, &cached.commit[..12]));
    }
    let text = |key: &str| anatomy.config.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    for (key, what) in [
        ("general.name", "called"),
        ("general.base_model.0.repo_url", "made from"),
        ("general.source.url", "made from"),
        ("general.quantized_by", "quantised by"),
        ("base_model_name_or_path", "an adapter of"),
        ("_name_or_path", "saved by transformers from"),
        ("transformers_version", "written by transformers"),
        ("general.license", "licence"),
    ] {
        out.extend(text(key).map(|value| format!("{what} {value}")));
    }
    out.iter().map(|line| visible(line, false).into_owned()).collect()
}

/// The run that a name or a checkpoint's directory belongs to.
fn run_of(project: &Path, name: &str, path: &Path) -> Option<RunDir> {
    if let Ok(run) = RunDir::open(project, name) {
        return Some(run);
    }
    let runs = project.join("runs");
    let rest = path.strip_prefix(&runs).ok()?;
    RunDir::open(project, rest.components().next()?.as_os_str().to_str()?).ok()
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// `1234567` as `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
