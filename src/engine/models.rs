//! Finds and loads models by name (a run, a checkpoint, a model directory), and keeps the last ones used.
//! Deliberately not here: the model that is training; it answers by itself, at its safepoints.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use candle_core::Device;

use super::jobs::Fault;
use super::lock;
use crate::data::tokenizer::Tokenizer;
use crate::model::decoder::Decoder;
use crate::model::{gguf, hf};
use crate::report::Monitor;
use crate::run::directory::{self, RunDir};
use crate::sample::generator::{AskFault, Completion, Generator, Local, Piece, Question, Request, Score};

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
    fn generate(
        &self,
        requests: &[Request],
        monitor: &dyn Monitor,
        tell: &mut (dyn FnMut(usize, Piece) + Send),
    ) -> Vec<Result<Completion, AskFault>> {
        self.local().generate(requests, monitor, tell)
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

/// A directory's model as it is now: a rewritten file is another model.
#[derive(Clone, PartialEq)]
struct Key {
    dir: PathBuf,
    modified: Option<SystemTime>,
    device: String,
}

impl Models {
    /// What `name` means, wherever it is computed: the one door for all who want text or likelihoods of a model.
    pub fn generator(&self, project: &Path, name: &str, device: &Device) -> Result<Arc<dyn Generator>, Fault> {
        Ok(self.get(project, name, device)?)
    }

    /// The model that `name` means in this project, on this device.
    pub fn get(&self, project: &Path, name: &str, device: &Device) -> Result<Arc<Loaded>, Fault> {
        let dir = resolve(project, name)?;
        let modified =
            std::fs::metadata(dir.join("model.safetensors")).or_else(|_| std::fs::metadata(&dir)).and_then(|m| m.modified()).ok();
        let key = Key { dir: dir.clone(), modified, device: format!("{:?}", device.location()) };
        let mut kept = lock(&self.kept);
        if let Some(at) = kept.iter().position(|(k, _)| *k == key) {
            let found = kept.remove(at);
            kept.insert(0, found);
        } else {
            // The old ones go first: the new one may need their memory.
            kept.truncate(KEPT - 1);
            let loaded = load(dir, name, device)?;
            kept.insert(0, (key, Arc::new(loaded)));
        }
        Ok(kept[0].1.clone())
    }
}

fn load(dir: PathBuf, name: &str, device: &Device) -> Result<Loaded, Fault> {
    let (tokenizer, decoder) = if gguf::is(&dir) {
        (Tokenizer::load(&dir)?, gguf::load(&dir, device)?)
    } else {
        (Tokenizer::load(&dir.join("tokenizer.json"))?, hf::load_frozen(&dir, device)?)
    };
    let (has, knows) = (tokenizer.vocab_size(), decoder.config().vocab);
    if has > knows {
        let path = dir.join("tokenizer.json");
        return Err(Fault::new(
            format!("{}: the tokenizer has {has} tokens, but the model knows {knows}", path.display()),
            "put the tokenizer.json there that the model was trained with",
        ));
    }
    Ok(Loaded { decoder, tokenizer, dir, name: name.to_string() })
}

/// The directory that holds the model: of a run, its newest whole checkpoint.
pub fn resolve(project: &Path, name: &str) -> Result<PathBuf, Fault> {
    if name.is_empty() {
        return Err(Fault::new("no model is named".into(), "name a run, a checkpoint directory or a model directory"));
    }
    Ok(directory::model_dir(project, project, name)?)
}

/// The name of a run's newest checkpoint where an older one at `dir` had to stand in for it.
pub fn passed_over(project: &Path, name: &str, dir: &Path) -> Option<String> {
    let run = RunDir::open(project, name).ok()?;
    let newest = run.checkpoints().pop()?.path;
    (dir.parent() == newest.parent() && dir != newest).then(|| newest.file_name().unwrap_or_default().display().to_string())
}
