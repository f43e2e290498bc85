//! Finds and loads models by name (a run, a checkpoint, a model directory, an adapter), and keeps the last ones used.
//! Deliberately not here: the model that is training; it answers by itself, at its safepoints.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use candle_core::{DType, Device};

use super::jobs::Fault;
use super::lock;
use crate::data::tokenizer::Tokenizer;
use crate::model::decoder::Decoder;
use crate::model::gguf;
use crate::model::hf::{self, peft};
use crate::net::Patience;
use crate::report::Monitor;
use crate::run::directory::{self, RunDir};
use crate::sample::endpoint::{self, Endpoint};
use crate::sample::generator::{AskFault, Completion, Feed, Generator, Local, Piece, Question, Request, Score};

/// Loaded models that are kept: two are compared side by side.
const KEPT: usize = 2;

/// A model ready to generate.
pub struct Loaded {
    pub decoder: Decoder,
    pub tokenizer: Tokenizer,
    pub dir: PathBuf,
    /// As it was asked for.
    pub name: String,
}

impl Loaded {
    fn local(&self) -> Local<'_> {
        Local { name: &self.name, decoder: &self.decoder, tokenizer: &self.tokenizer }
    }
}

impl Generator for Loaded {
    fn name(&self) -> &str {
        &self.name
    }
    fn context(&self) -> Option<usize> {
        self.local().context()
    }
    fn tokenizer(&self) -> Option<&Tokenizer> {
        Some(&self.tokenizer)
    }
    fn begin(&self) -> Option<u32> {
        self.local().begin()
    }
    fn generate(
        &self,
        requests: &[Request],
        monitor: &dyn Monitor,
        tell: &mut (dyn FnMut(usize, Piece) + Send),
    ) -> Vec<Result<Completion, AskFault>> {
        self.local().generate(requests, monitor, tell)
    }
    fn serve(&self, feed: &dyn Feed, monitor: &dyn Monitor) {
        self.local().serve(feed, monitor);
    }
    fn score(&self, questions: &[Question], monitor: &dyn Monitor, tell: &mut (dyn FnMut(usize) + Send)) -> Vec<Result<Score, AskFault>> {
        self.local().score(questions, monitor, tell)
    }
}

/// The models used last, newest first.
#[derive(Default)]
pub struct Models {
    kept: Mutex<Vec<(Key, Arc<Loaded>)>>,
}

/// A model as it is now: a rewritten file is another model.
#[derive(Clone, PartialEq)]
struct Key {
    /// The model's directory, and its adapter's.
    parts: Vec<(PathBuf, Option<SystemTime>)>,
    device: String,
}

impl Models {
    /// What `name` means, wherever it is computed: the one door for all who want text or likelihoods of a model.
    pub fn generator(&self, project: &Path, name: &str, device: &Device) -> Result<Arc<dyn Generator>, Fault> {
        if name.starts_with(endpoint::PREFIX) {
            let opened = Endpoint::open(name, Patience::default(), |variable| std::env::var(variable).ok());
            return Ok(Arc::new(opened.map_err(|fault| Fault::new(fault.to_string(), ""))?));
        }
        Ok(self.get(project, name, device)?)
    }

    /// The model that `name` means in this project, on this device.
    pub fn get(&self, project: &Path, name: &str, device: &Device) -> Result<Arc<Loaded>, Fault> {
        let named = Named::find(project, name)?;
        let modified = |dir: &Path| {
            let weights = if peft::is_adapter(dir) { peft::weights_path(dir) } else { dir.join("model.safetensors") };
            std::fs::metadata(weights).or_else(|_| std::fs::metadata(dir)).and_then(|m| m.modified()).ok()
        };
        let parts = std::iter::once(&named.dir).chain(&named.adapter).map(|dir| (dir.clone(), modified(dir))).collect();
        let key = Key { parts, device: format!("{:?}", device.location()) };
        let mut kept = lock(&self.kept);
        if let Some(at) = kept.iter().position(|(k, _)| *k == key) {
            let found = kept.remove(at);
            kept.insert(0, found);
        } else {
            // The old ones go first: the new one may need their memory.
            kept.truncate(KEPT - 1);
            let loaded = load(named, name, device)?;
            kept.insert(0, (key, Arc::new(loaded)));
        }
        Ok(kept[0].1.clone())
    }
}

fn load(named: Named, name: &str, device: &Device) -> Result<Loaded, Fault> {
    let Named { dir, adapter } = named;
    let path = tokenizer_path(&dir, adapter.as_deref());
    let tokenizer = Tokenizer::load(&path)?;
    // Whole parameters that an adapter brings want parameters to replace.
    let whole = adapter.as_deref().map_or(Ok(false), peft::replaces)?;
    let mut decoder = match (gguf::is(&dir), whole) {
        (true, false) => gguf::load(&dir, device)?,
        (true, true) => gguf::open(&dir)?.trainable(DType::F32, device)?,
        (false, false) => hf::load_frozen(&dir, device)?,
        (false, true) => hf::load(&dir, DType::F32, device)?,
    };
    if let Some(adapter) = &adapter {
        peft::apply(&mut decoder, adapter)?;
    }
    let decoder = decoder.detached();
    let (has, knows) = (tokenizer.vocab_size(), decoder.config().vocab);
    if has > knows {
        return Err(Fault::new(
            format!("{}: the tokenizer has {has} tokens, but the model knows {knows}", path.display()),
            "put the tokenizer.json there that the model was trained with",
        ));
    }
    Ok(Loaded { decoder, tokenizer, dir: adapter.unwrap_or(dir), name: name.to_string() })
}

/// A model to hand on: with parameters as wide as its files have them, and adapters merged into them.
pub struct Whole {
    pub decoder: Decoder,
    pub tokenizer: Tokenizer,
    /// Of the whole model, which is an adapter's base.
    pub dir: PathBuf,
}

/// Loads a model to hand it on.
pub fn whole(project: &Path, name: &str) -> Result<Whole, Fault> {
    let Named { dir, adapter } = Named::find(project, name)?;
    let path = tokenizer_path(&dir, adapter.as_deref());
    // What is merged is a sum of wide numbers and narrow ones.
    let dtype = if adapter.is_some() || gguf::is(&dir) { DType::F32 } else { hf::dtype_of(&dir)? };
    let mut decoder = match gguf::is(&dir) {
        true => gguf::open(&dir)?.trainable(dtype, &Device::Cpu)?,
        false => hf::load(&dir, dtype, &Device::Cpu)?,
    };
    if let Some(adapter) = &adapter {
        peft::apply(&mut decoder, adapter)?;
        decoder.merge()?;
    }
    Ok(Whole { decoder, tokenizer: Tokenizer::load(&path)?, dir })
}

/// The directory of the adapter that a name means; none where it means a whole model.
pub fn adapter(project: &Path, name: &str) -> Result<Option<PathBuf>, Fault> {
    Ok(match resolve(project, name) {
        // Its base need not be here.
        Ok(dir) if peft::is_adapter(&dir) => Some(dir),
        _ => Named::find(project, name)?.adapter,
    })
}

/// An adapter may bring a tokenizer of its own.
fn tokenizer_path(dir: &Path, adapter: Option<&Path>) -> PathBuf {
    let own = adapter.map(|adapter| adapter.join("tokenizer.json")).filter(|path| path.is_file());
    own.unwrap_or_else(|| if gguf::is(dir) { dir.to_path_buf() } else { dir.join("tokenizer.json") })
}

/// Where a model's parts are.
struct Named {
    /// Of the whole model, which is an adapter's base.
    dir: PathBuf,
    adapter: Option<PathBuf>,
}

impl Named {
    /// A model's own name, an adapter's (whose base is the one that it names), or `BASE+ADAPTER`.
    fn find(project: &Path, name: &str) -> Result<Self, Fault> {
        let whole = resolve(project, name);
        let dir = match (whole, name.rsplit_once('+')) {
            (Err(_), Some((base, adapter))) if resolve(project, adapter).is_ok_and(|dir| peft::is_adapter(&dir)) => {
                return Ok(Self { dir: resolve(project, base)?, adapter: Some(resolve(project, adapter)?) });
            }
            (whole, _) => whole?,
        };
        if !peft::is_adapter(&dir) {
            return Ok(Self { dir, adapter: None });
        }
        let Some(base) = peft::base_of(&dir)? else {
            let text = format!("{}: the adapter does not name its base model", crate::text::visible(&dir.display().to_string(), false));
            return Err(Fault::new(text, "name both: BASE+ADAPTER"));
        };
        // As a name of its own, or by a path that begins at the adapter or at a directory above it.
        let beside = || dir.ancestors().take(5).map(|above| above.join(&base)).find(|path| path.join("config.json").is_file());
        let found = resolve(project, &base).ok().filter(|path| !peft::is_adapter(path)).or_else(beside);
        let shown = |text: &str| crate::text::visible(text, false).into_owned();
        let missing = || {
            let text = format!("{}: its base model {} is not here", shown(&dir.display().to_string()), shown(&base));
            Fault::new(text, "pull it, or name where it is: BASE+ADAPTER")
        };
        Ok(Self { dir: found.ok_or_else(missing)?, adapter: Some(dir) })
    }
}

/// The directory that holds the model: of a run, its newest whole checkpoint.
pub fn resolve(project: &Path, name: &str) -> Result<PathBuf, Fault> {
    if name.is_empty() {
        return Err(Fault::new("no model is named".into(), "name a run, a checkpoint directory or a model directory"));
    }
    if name.starts_with(endpoint::PREFIX) {
        let shown = crate::text::visible(name, false).into_owned();
        return Err(Fault::new(format!("{shown}: a server generates text and does not give its weights"), "name a model of this machine"));
    }
    Ok(directory::model_dir(project, project, name)?)
}

/// The name of a run's newest checkpoint where an older one at `dir` had to stand in for it.
pub fn passed_over(project: &Path, name: &str, dir: &Path) -> Option<String> {
    let run = RunDir::open(project, name).ok()?;
    let newest = run.checkpoints().pop()?.path;
    (dir.parent() == newest.parent() && dir != newest).then(|| newest.file_name().unwrap_or_default().display().to_string())
}
