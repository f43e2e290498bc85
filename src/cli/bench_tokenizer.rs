//! `bench tokenizer`: how fast a tokenizer encodes a text with all cores.
//! Deliberately not here: how a text is cut into pieces that are encoded at once (`data::encoding`).

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args as ClapArgs;
use rayon::prelude::*;
use serde_json::json;

use super::tokenizer::load;
use super::{Failure, out};
use crate::data::source::{self, Part};

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// A tokenizer's file or directory, a run, or builtin:sample.
    pub tokenizer: String,
    /// The text to encode.
    pub file: PathBuf,
    /// Rounds that are timed, after one that is not; the fastest counts.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    #[arg(long)]
    pub json: bool,
}

/// Bytes that one thread encodes at a time.
const PIECE_BYTES: usize = 32 << 10;

pub fn run(project: &Path, args: &Args) -> Result<(), Failure> {
    if !(1..=1_000).contains(&args.rounds) {
        return Err(Failure::Usage(format!("--rounds {} is out of range; it is 1 to 1000", args.rounds)));
    }
    let tokenizer = load(project, &args.tokenizer)?;
    let sources = source::expand(&[args.file.to_string_lossy().into_owned()], "text", Path::new("")).map_err(Failure::failed)?;
    let mut texts: Vec<String> = Vec::new();
    for source in &sources {
        let bytes = source.open().map_err(Failure::failed)?;
        for document in source::documents(&bytes, Part::Whole, source, None).map_err(Failure::failed)? {
            texts.push(document.map_err(Failure::failed)?.text.into_owned());
        }
    }
    let pieces: Vec<&str> = texts.iter().flat_map(|text| tokenizer.pieces(text, PIECE_BYTES)).collect();
    let encode = || -> Result<usize, Failure> {
        let counts = pieces.par_iter().map(|piece| tokenizer.encode_text(piece).map(|ids| ids.len()));
        counts.try_reduce(|| 0, |a, b| Ok(a + b)).map_err(|fault| Failure::Failed(format!("{}; {}", fault.what, fault.remedy)))
    };
    let tokens = encode()?;
    let mut seconds = f64::INFINITY;
    for _ in 0..args.rounds {
        let from = Instant::now();
        encode()?;
        seconds = seconds.min(from.elapsed().as_secs_f64());
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    let (mb_per_s, tokens_per_s) = (bytes as f64 / seconds / 1e6, tokens as f64 / seconds);
    let threads = rayon::current_num_threads();
    if args.json {
        let value = json!({ "threads": threads, "bytes": bytes, "tokens": tokens, "mb_per_s": mb_per_s, "tokens_per_s": tokens_per_s });
        return Ok(out::json(&value)?);
    }
    out::line(format!("text        {} bytes, {} tokens", out::grouped(bytes as u64), out::grouped(tokens as u64)))?;
    Ok(out::line(format!("speed       {mb_per_s:.1} MB/s, {} tokens/s on {threads} threads", out::grouped(tokens_per_s as u64)))?)
}
