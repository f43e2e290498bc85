//! Brings together what a run needs before its first step: recipe, data, tokenizer, model; each fault is found before
//! anything is written. Deliberately not here: the run's directory and the loop (`drive`).

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use sha2::{Digest, Sha256};

use super::drive::TrainError;
use super::objective;
use crate::data::stream::{self, Splits, TokenStream};
use crate::data::tokenizer::{Tokenizer, of_recipe};
use crate::data::{DataError, source};
use crate::model::config::Config;
use crate::model::decoder::Decoder;
use crate::model::hf;
use crate::recipe::Recipe;
use crate::report::Monitor;
use crate::run::directory;

/// Everything that a run works on.
pub(super) struct Material {
    pub recipe: Recipe,
    pub tokenizer: Tokenizer,
    pub tokenizer_config: String,
    pub splits: Splits,
    pub decoder: Decoder,
    /// Of the whole run.
    pub steps: u64,
    /// What the tokens are, so that other data is not taken for the same.
    pub fingerprint: String,
}

/// Where the material comes from beside the recipe.
pub(super) struct From<'a> {
    pub project: &'a Path,
    /// A checkpoint to go on from.
    pub checkpoint: Option<&'a Path>,
    /// The tokenizer of a run that exists.
    pub tokenizer: Option<PathBuf>,
    pub device: &'a Device,
}

/// Reads and checks everything. The recipe's paths are absolute.
pub(super) fn material(recipe: Recipe, from: &From, monitor: &dyn Monitor) -> Result<Material, TrainError> {
    let mut recipe = recipe;
    check_recipe(&recipe)?;
    let init = match (&from.checkpoint, &recipe.model.init) {
        (Some(checkpoint), _) => Some(checkpoint.to_path_buf()),
        (None, Some(init)) => Some(directory::model_dir(from.project, Path::new(""), init)?),
        (None, None) => None,
    };
    let (train, val) = source::of_recipe(&recipe.data, Path::new(""))?;
    let tokenizer = tokenizer(&recipe, from, init.as_deref(), (&train, &val), monitor)?;
    let eot = end_of_text(&recipe, &tokenizer)?;
    let mut decoder = match &init {
        Some(dir) => loaded(dir, &tokenizer, from.device)?,
        None => {
            let config = Config::from_recipe(&recipe.model, tokenizer.vocab_size(), eot)?;
            Decoder::new(config, recipe.seed, DType::F32, from.device)?
        }
    };
    decoder.set_dropout(recipe.model.dropout);
    decoder.set_recompute(recipe.model.recompute);
    if recipe.model.init.is_some() {
        take_shape(&mut recipe, decoder.config());
    }
    let cache = from.project.join(".weightroom").join("tokens");
    let splits = stream::open(&train, &val, recipe.data.val_fraction, &tokenizer, eot, &cache, monitor)?;
    splits.check(decoder.config().context)?;
    let steps = steps(&recipe, &splits.train, decoder.config().context);
    let tokenizer_config = tokenizer_config(&tokenizer, init.as_deref(), decoder.config());
    let fingerprint = fingerprint(&splits, &tokenizer);
    Ok(Material { recipe, tokenizer, tokenizer_config, splits, decoder, steps, fingerprint })
}

/// What no file is needed for.
pub fn check_recipe(recipe: &Recipe) -> Result<(), TrainError> {
    objective::find(&recipe.objective.kind)?;
    if let Some(problem) = recipe.check().into_iter().next() {
        return Err(TrainError::Other(format!("{}: {}", problem.key, problem.message)));
    }
    if recipe.data.train.is_empty() {
        return Err(TrainError::Other("data.train: no text to train on; name files, globs or sample:NAME".into()));
    }
    Ok(())
}

fn tokenizer(
    recipe: &Recipe,
    from: &From,
    init: Option<&Path>,
    (train, val): (&[source::Source], &[source::Source]),
    monitor: &dyn Monitor,
) -> Result<Tokenizer, DataError> {
    if let Some(own) = from.tokenizer.as_ref().filter(|p| p.is_file()) {
        return Tokenizer::load(own);
    }
    if let Some(path) = &recipe.tokenizer.path {
        return Tokenizer::load(Path::new(path));
    }
    if let Some(path) = init.map(|dir| dir.join("tokenizer.json")).filter(|p| p.is_file()) {
        return Tokenizer::load(&path);
    }
    Ok(of_recipe(&recipe.tokenizer, Path::new(""), train, val, monitor)?.0)
}

/// The token that ends a document. One that the recipe names and the tokenizer lacks would leave documents undivided.
fn end_of_text(recipe: &Recipe, tokenizer: &Tokenizer) -> Result<Option<u32>, TrainError> {
    let name = recipe.tokenizer.end_of_text.as_deref();
    match (name, tokenizer.end_of_text(name)) {
        (Some(name), None) => Err(TrainError::Other(format!(
            "tokenizer.end_of_text: the tokenizer has no token \"{}\"; leave the key out, or name a token that it has",
            crate::text::visible(name, false)
        ))),
        (_, end) => Ok(end),
    }
}

fn loaded(dir: &Path, tokenizer: &Tokenizer, device: &Device) -> Result<Decoder, TrainError> {
    let (vocab, has) = (tokenizer.vocab_size(), hf::load_config(dir)?.vocab);
    if vocab > has {
        return Err(TrainError::Other(format!(
            "{}: the model knows {has} tokens and the tokenizer has {vocab}; use the model's own tokenizer (leave tokenizer.path out) or a smaller one",
            crate::text::visible(&dir.display().to_string(), false)
        )));
    }
    Ok(hf::load(dir, DType::F32, device)?)
}

/// The shape keys of a recipe that goes on from a model are that model's.
fn take_shape(recipe: &mut Recipe, config: &Config) {
    let m = &mut recipe.model;
    m.family = config.family.name().into();
    (m.layers, m.heads, m.width, m.context) = (config.layers, config.heads, config.width, config.context);
    (m.kv_heads, m.head_dim, m.ffn, m.tied) = (Some(config.kv_heads), Some(config.head_dim), Some(config.ffn), Some(config.tied));
    (m.rope_theta, m.norm_eps) = (config.rope_theta(), config.norm_eps);
}

fn steps(recipe: &Recipe, train: &TokenStream, context: usize) -> u64 {
    let Some(epochs) = recipe.optim.epochs else { return recipe.optim.steps as u64 };
    let a_step = (recipe.optim.batch * recipe.optim.accumulate * context) as f64;
    ((train.len() as f64 * epochs / a_step).ceil() as u64).max(1)
}

/// What Python's transformers needs beside `tokenizer.json`. A model's own file goes on with it.
fn tokenizer_config(tokenizer: &Tokenizer, init: Option<&Path>, config: &Config) -> String {
    if let Some(text) = init.and_then(|dir| fs::read_to_string(dir.join("tokenizer_config.json")).ok()) {
        return text;
    }
    let token = |id: Option<u32>| id.map(|id| tokenizer.decode(&[id], false)).filter(|t| !t.is_empty());
    let value = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token(config.bos),
        "eos_token": token(config.eos),
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": false,
    });
    format!("{value:#}\n")
}

/// Lengths, the tokenizer and up to four thousand pieces of the tokens, evenly spread: other data is told from the
/// same without reading all of a long text.
fn fingerprint(splits: &Splits, tokenizer: &Tokenizer) -> String {
    const PIECES: usize = 4096;
    const PIECE: usize = 256;
    let mut hash = Sha256::new();
    hash.update(tokenizer.hash());
    for stream in [&splits.train, &splits.val] {
        hash.update((stream.len() as u64).to_le_bytes());
        let stride = (stream.len() / PIECES).max(PIECE);
        let mut piece = [0u32; PIECE];
        for start in (0..stream.len()).step_by(stride) {
            let n = PIECE.min(stream.len() - start);
            stream.read(start, &mut piece[..n]);
            piece[..n].iter().for_each(|id| hash.update(id.to_le_bytes()));
        }
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
