//! The arguments of every subcommand, and their help. Deliberately not here: what they do.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// A workbench for the whole life of a language model: with no subcommand, it opens in the terminal.
#[derive(Debug, Parser)]
#[command(name = "weightroom", version, about, args_conflicts_with_subcommands = false)]
#[command(after_help = "Begin in an empty directory with `weightroom`, or without a screen with `weightroom train sample`.\n\
                        Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.")]
pub struct Args {
    /// The project's directory; runs/ and the like appear in it.
    #[arg(short = 'C', value_name = "DIR", default_value = ".", global = true)]
    pub project: PathBuf,
    #[command(flatten)]
    pub screen: Screen,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// How the workbench shows itself: for the commands that open it.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Screen {
    /// Draw the workbench in plain ASCII.
    #[arg(long)]
    pub ascii: bool,
    /// Look, and start or change nothing.
    #[arg(long)]
    pub readonly: bool,
    /// The workbench's colours: a theme by its name, or a file.
    #[arg(long, value_name = "T")]
    pub theme: Option<String>,
}

impl Screen {
    /// What was given before the subcommand, and what behind it.
    pub fn with(&self, later: &Self) -> Self {
        Self {
            ascii: self.ascii || later.ascii,
            readonly: self.readonly || later.readonly,
            theme: later.theme.as_ref().or(self.theme.as_ref()).cloned(),
        }
    }

    /// The first option that was given.
    pub fn given(&self) -> Option<&'static str> {
        let all = [("--readonly", self.readonly), ("--theme", self.theme.is_some()), ("--ascii", self.ascii)];
        all.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

/// What makes tokens of the text so far less likely.
#[derive(Debug, ClapArgs)]
pub struct Penalties {
    /// Above 1, tokens that stand in the text get less likely.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub repetition_penalty: f32,
    /// Taken off each token that was generated already; -2 to 2.
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Taken off as often as a token was generated; -2 to 2.
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// Don't repeat yourself: what is taken off a token that goes on with a repetition; 0 is off.
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    pub dry_multiplier: f32,
    /// By how much more with each token of a longer repetition.
    #[arg(long, default_value_t = 1.75, value_name = "X")]
    pub dry_base: f32,
    /// Tokens that may be repeated.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub dry_allowed_length: usize,
    /// Add BIAS (-100 to 100) to the logit of the token ID; may be given several times.
    #[arg(long, value_name = "ID=BIAS", value_parser = bias)]
    pub logit_bias: Vec<(u32, f32)>,
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let parts = text.split_once('=').and_then(|(id, bias)| Some((id.trim().parse().ok()?, bias.trim().parse().ok()?)));
    parts.ok_or_else(|| "write a token's id, = and a number, such as 262=-100".into())
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a model by a recipe, or go on with a run.
    Train(Train),
    /// Continue a prompt, or answer in a chat.
    Generate(Generate),
    /// Train and use tokenizers.
    Tokenizer {
        #[command(subcommand)]
        what: Tokenizer,
    },
    /// Look into data files, and write clean copies of them.
    Data {
        #[command(subcommand)]
        what: Data,
    },
    /// Fetch a model or a dataset from the Hugging Face Hub; its name is a MODEL everywhere afterwards.
    #[cfg(feature = "hub")]
    Pull(Pull),
    /// Serve a model over the OpenAI protocol (chat and completions), until Ctrl-C.
    Serve(Serve),
    /// Run tasks on a model, and compare what came of it.
    Eval(Eval),
    /// Rank responses: the pane alone, for a labeler.
    Rank(super::rank::Args),
    /// Draw candidates to rank, take labels in and give them out, and say how good they are.
    Labels {
        #[command(subcommand)]
        what: super::labels::What,
    },
    /// List the project's runs.
    Runs {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show a run (how it stands, its recipe, what it last wrote) with its model, or any other model.
    Show(Show),
    /// Come back to a run from any terminal: the workbench on that run, or its events as text or JSON.
    Attach(Attach),
    /// Stop a run, wherever it was started: it is saved first.
    Stop(Stop),
    /// What this machine is and can do: one page to paste into a bug report.
    Doctor {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// The built-in sample world: write it, check texts against its grammar, score a model by it.
    Sample {
        #[command(subcommand)]
        what: Sample,
    },
    /// Write a model in a format that other programs open.
    Export(Export),
    /// Host a project's engine in a process of its own, which screens come to and leave.
    Engine(Engine),
    /// Measure this machine.
    Bench {
        #[command(subcommand)]
        what: BenchWhat,
    },
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Every key of a recipe can be set from here, as in --set optim.lr=3e-4 --set model.layers=8 --set data.train=a.txt,b.txt.\n\
                        `weightroom train --keys` lists all keys with their ranges and defaults."
)]
pub struct Train {
    /// A recipe (TOML), or the name of a built-in one: sample.
    pub recipe: Option<String>,
    /// Set a key of the recipe; paths are taken from the current directory.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The run's name; made from the recipe's where none is given.
    #[arg(long)]
    pub name: Option<String>,
    /// Go on with this run from its last checkpoint.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "set", "name", "dry_run"])]
    pub resume: Option<String>,
    /// cpu, cuda, cuda:N or metal.
    #[arg(long)]
    pub device: Option<String>,
    /// Start it in the project's engine, print the run's name and return: it goes on without this terminal.
    #[arg(long, conflicts_with_all = ["dry_run", "keys", "here"])]
    pub detach: bool,
    /// Train in this process instead of the project's engine: the training ends with it.
    #[arg(long, conflicts_with_all = ["dry_run", "keys"])]
    pub here: bool,
    /// Check everything, say what it would need, and start nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the run's events, one JSON object a line, and nothing else.
    #[arg(long)]
    pub json: bool,
    /// List every key of a recipe.
    #[arg(long, conflicts_with_all = ["recipe", "set", "name", "resume", "device", "dry_run"])]
    pub keys: bool,
}

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Generate {
    /// A run's name, a checkpoint or model directory, a pulled org/name[@rev], or openai:URL#MODEL where a server generates.
    pub model: String,
    /// The text to go on from; - reads it from standard input.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prompt: String,
    /// Take the prompt as a question in a conversation, rendered by the model's template.
    #[arg(long)]
    pub chat: bool,
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub max_tokens: usize,
    /// 0 takes the most probable token always.
    #[arg(long, default_value_t = 0.8, value_name = "T")]
    pub temperature: f32,
    /// Draw from the K most probable tokens; 0 from all.
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: usize,
    /// Draw from the most probable tokens that together have probability P.
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Leave out tokens with less than P times the probability of the best.
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub min_p: f32,
    /// Draw from the tokens about as surprising as expected that together have probability P.
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub typical_p: f32,
    #[command(flatten)]
    pub penalties: Penalties,
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub seed: u64,
    /// With --chat: what the model is told before the question.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// cpu, cuda, cuda:N or metal.
    #[arg(long)]
    pub device: Option<String>,
    /// Print the generated text alone.
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Print the job's events, one JSON object a line, and nothing else; the last one's report.finished.result holds
    /// the text, its number of tokens, and why it ended (end, length, stop, stopped).
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Tokenizer {
    /// Train a tokenizer on text files.
    #[command(allow_negative_numbers = true)]
    Train {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// char, byte or bpe.
        #[arg(long, default_value = "bpe")]
        kind: String,
        /// How many tokens a bpe has: 257 to 1000000, 4096 where none is given.
        #[arg(long, value_name = "N")]
        vocab: Option<usize>,
        /// A token of its own, such as <|endoftext|>, that divides the text; may be given several times.
        #[arg(long, value_name = "NAME")]
        special: Vec<String>,
        /// How a bpe cuts a text into words, which no token reaches over: gpt2, cl100k, llama3, qwen2 or o200k.
        #[arg(long, value_name = "NAME", default_value = "gpt2", hide_default_value = true)]
        pattern: String,
        /// Every digit is a token of its own.
        #[arg(long)]
        split_digits: bool,
        /// Tokens for runs of 2 to N blanks, as code is indented with.
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        blank_runs: usize,
        /// A bpe of characters, with bytes for rare ones, instead of one of bytes.
        #[arg(long)]
        byte_fallback: bool,
        /// The tokenizer.json to write.
        #[arg(short, value_name = "FILE")]
        out: PathBuf,
        /// Print the job's events, one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Print the ids of a text.
    Encode {
        /// A tokenizer.json, vocab.json (with its merges.txt), .tiktoken, SentencePiece .model or .gguf; a directory that
        /// holds one; or a run.
        tokenizer: String,
        /// - reads it from standard input.
        text: String,
        /// Add no special tokens, such as a beginning.
        #[arg(long)]
        no_special: bool,
        /// Print {"ids": […]}.
        #[arg(long)]
        json: bool,
    },
    /// Print the text of ids.
    #[command(allow_negative_numbers = true)]
    Decode {
        tokenizer: String,
        /// Numbers, separated by commas or blanks.
        #[arg(required = true)]
        ids: Vec<String>,
        /// Print {"text": …}.
        #[arg(long)]
        json: bool,
    },
    /// Say what a tokenizer is: its kind, special tokens, longest entries; with a file or a text, how it does on it.
    Inspect {
        tokenizer: String,
        /// Files (or directories, globs, sample:NAME): bytes a token, what is common, what is never used.
        #[arg(value_name = "FILE")]
        files: Vec<String>,
        /// The same as FILE.
        #[arg(long, value_name = "FILE")]
        data: Vec<String>,
        /// The tokens of this text, and how each word was put together, merge by merge.
        #[arg(long, value_name = "TEXT")]
        text: Option<String>,
        /// A second tokenizer to compare with.
        #[arg(long, value_name = "TOKENIZER")]
        with: Option<String>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Data {
    /// Say what is in data files: rows, lengths, duplicates, what is broken, what an evaluation shares with them.
    #[command(allow_negative_numbers = true)]
    Inspect {
        #[command(flatten)]
        given: DataFiles,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write the rows that keep to rules into a new file, and say what was left out and why.
    #[command(allow_negative_numbers = true)]
    #[command(after_help = "Rules: broken, unfit, empty, roles, secrets, contaminated, duplicates, near-duplicates. The source is \
                            never written, and no file is overwritten.")]
    Clean {
        #[command(flatten)]
        given: DataFiles,
        /// The file to write: .jsonl, or .txt for plain text.
        #[arg(short, value_name = "FILE")]
        out: PathBuf,
        /// Rules that drop rows, separated by commas.
        #[arg(long, value_name = "RULES", value_delimiter = ',', default_value = "broken,empty,duplicates")]
        drop: Vec<String>,
        /// Drop rows that are shorter: in tokens with --tokenizer, else in characters.
        #[arg(long, value_name = "N")]
        min: Option<u64>,
        /// Drop rows that are longer.
        #[arg(long, value_name = "N")]
        max: Option<u64>,
        /// One kind of line end, no blanks at line ends, no control and unseen characters.
        #[arg(long)]
        normalise: bool,
        /// Put marks in the place of e-mail addresses and of keys that look like secrets.
        #[arg(long)]
        redact: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// What both look at.
#[derive(Debug, ClapArgs)]
pub struct DataFiles {
    /// Files, directories and globs: txt, md, jsonl, json, csv, tsv, parquet, each also as .gz and .zst.
    #[arg(required = true)]
    pub files: Vec<String>,
    /// What rows are, where it is recognised wrongly: SHAPE, or "SHAPE part=field …".
    #[arg(long, value_name = "SHAPE")]
    pub shape: Option<String>,
    /// Count tokens by it: a tokenizer.json, a directory that holds one, or a run.
    #[arg(long, value_name = "T")]
    pub tokenizer: Option<String>,
    /// Say what a context of N tokens cuts off.
    #[arg(long, value_name = "N")]
    pub context: Option<u64>,
    /// Look for the texts of this evaluation file; may be given several times.
    #[arg(long, value_name = "FILE")]
    pub against: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Sample {
    /// Write the sample's files, made from its grammar anew, and the recipes that train on them (in DIR/recipes).
    Write { dir: PathBuf },
    /// Check a text or JSONL file against the sample's grammar.
    Check {
        file: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Score a model that was trained on the sample.
    #[command(allow_negative_numbers = true)]
    Score {
        model: String,
        /// How many texts to draw.
        #[arg(long, default_value_t = 100)]
        samples: usize,
        #[arg(long, default_value_t = 40)]
        tokens: usize,
        #[arg(long, default_value_t = 0.8)]
        temperature: f64,
        #[arg(long)]
        json: bool,
    },
}

#[cfg(feature = "hub")]
#[derive(Debug, ClapArgs)]
#[command(after_help = "Files lie in the cache that Python's huggingface_hub shares (HF_HUB_CACHE, HF_HOME). HF_TOKEN or the file of \
                        `hf auth login` opens private and gated repositories, HF_ENDPOINT names another hub, HF_HUB_OFFLINE=1 \
                        fetches nothing. A pull that was broken off goes on where it stopped.")]
pub struct Pull {
    /// org/name, org/name@revision, datasets/org/name.
    pub repo: String,
    /// It is a dataset.
    #[arg(long)]
    pub dataset: bool,
    /// Only files that match, as in '*Q4_K_M*' or 'data/'; may be given several times. Without it a model is fetched in
    /// one format: safetensors, else PyTorch's, else its one GGUF.
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Leave out files that match; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Print the job's events, one JSON object a line, and nothing else.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Show {
    /// A run's name, a checkpoint or model directory, a GGUF file, or a pulled org/name[@rev].
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// List every tensor with its shape and type.
    #[arg(long)]
    pub tensors: bool,
    /// The same with the norm, mean and largest of its numbers, and how many of them are not finite.
    #[arg(long)]
    pub norms: bool,
    /// The whole chat template, and not its beginning alone.
    #[arg(long)]
    pub template: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Serve {
    /// A run's name, a checkpoint or model directory, or a pulled org/name[@rev].
    pub model: String,
    /// The address to listen at; any but this machine's own needs a key.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// What clients have to send as their API key; WEIGHTROOM_KEY holds it where it should not stand in a list of processes.
    #[arg(long)]
    pub key: Option<String>,
    /// What clients call the model; MODEL as it is given here where none is given.
    #[arg(long)]
    pub name: Option<String>,
    /// cpu, cuda, cuda:N or metal.
    #[arg(long)]
    pub device: Option<String>,
    /// Print the job's events, one JSON object a line, and nothing else.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct Attach {
    pub run: String,
    /// Print every event of the run, one JSON object a line, from the first one on, until it ends.
    #[arg(long)]
    pub json: bool,
    /// Begin with this event; the sequence numbers of a run count from 0.
    #[arg(long, value_name = "SEQ", default_value_t = 0, requires = "json")]
    pub from: u64,
    /// Print lines of text instead of opening the workbench, as is done without a terminal.
    #[arg(long, conflicts_with = "json")]
    pub text: bool,
    #[command(flatten)]
    pub screen: Screen,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "hf is a directory that transformers opens, with adapters merged into the weights; peft is an adapter as PEFT has it; \
                        gguf is a file for llama.cpp, with tokenizer and template."
)]
pub struct Export {
    /// A run's name, a checkpoint or model directory, or a .gguf file.
    pub model: String,
    /// hf, peft or gguf.
    #[arg(long, value_name = "FORMAT")]
    pub format: String,
    /// The type of a gguf file's matrices: f32, f16, q8_0, q4_0 or q4_K; f16 where none is given.
    #[arg(long, value_name = "TYPE")]
    pub quant: Option<String>,
    /// The directory to write; it must be empty or not exist.
    #[arg(short, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the job's events, one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Stop {
    /// The run to stop.
    #[arg(required_unless_present = "engine")]
    pub run: Option<String>,
    /// End the project's engine, with all that runs in it; each is saved first.
    #[arg(long, conflicts_with = "run")]
    pub engine: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Engine {
    /// The project's directory.
    pub dir: PathBuf,
    /// Go on in the background, in a session of its own, and return once it listens.
    #[arg(long)]
    pub detach: bool,
    #[arg(long, hide = true)]
    pub own_session: bool,
}

#[derive(Debug, Subcommand)]
pub enum BenchWhat {
    /// Time the training step of a decoder of this shape.
    Train(BenchTrain),
    /// Time a model's generation, always taking the likeliest token.
    Decode(BenchDecode),
    /// Time the encoding of a text with all cores.
    Tokenizer(super::bench_tokenizer::Args),
    /// Drive the workbench in a terminal of its own and measure it.
    Screen(super::bench_screen::Args),
}

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct BenchDecode {
    /// A run's name, a checkpoint or model directory, or a .gguf file.
    pub model: String,
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub prompt_tokens: usize,
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub new_tokens: usize,
    /// Texts that are generated side by side.
    #[arg(long, default_value_t = 1, value_name = "B")]
    pub batch: usize,
    /// cpu, cuda, cuda:N or metal.
    #[arg(long)]
    pub device: Option<String>,
    /// Print one line of JSON, with the keys of `bench/peer_decode.py`.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
pub struct BenchTrain {
    #[arg(long)]
    pub vocab: usize,
    #[arg(long)]
    pub width: usize,
    #[arg(long)]
    pub heads: usize,
    #[arg(long)]
    pub layers: usize,
    #[arg(long)]
    pub context: usize,
    #[arg(long)]
    pub batch: usize,
    /// Steps that are timed, after two that are not.
    #[arg(long, default_value_t = 12)]
    pub steps: usize,
    /// cpu, cuda, cuda:N or metal.
    #[arg(long)]
    pub device: Option<String>,
    /// As a recipe's optim.precision.
    #[arg(long, default_value = "f32", value_parser = ["f32", "bf16"])]
    pub precision: String,
    /// As a recipe's optim.tf32: of CUDA alone.
    #[arg(long, value_name = "BOOL")]
    pub tf32: Option<bool>,
    /// As a recipe's model.recompute.
    #[arg(long)]
    pub recompute: bool,
    /// Print one line of JSON, with the keys of `bench/peer_train.py`.
    #[arg(long)]
    pub json: bool,
}

/// Run tasks on a model, and compare what came of it.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "A task is a TOML file (--keys lists its keys), a plain YAML file of lm-evaluation-harness, a data file whose benchmark is \
                        recognised (MMLU, GSM8K, TruthfulQA, BIG-Bench Hard, IFEval, ARC, HellaSwag, PIQA, WinoGrande, questions with answers, text), \
                        a file in evals/tasks/, or a built-in name (--list). Interrupted evaluations go on where they were."
)]
pub struct Eval {
    #[command(subcommand)]
    pub what: Option<EvalWhat>,
    /// A run, a checkpoint or model directory, an endpoint; given for answers that the data brings along.
    pub model: Option<String>,
    /// A task; may be given several times.
    #[arg(long = "task", value_name = "T")]
    pub tasks: Vec<String>,
    /// The directory to write; evals/NAME where none is given.
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The first N items of each task.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Examples before each item.
    #[arg(long, value_name = "N")]
    pub shots: Option<usize>,
    /// Put the model's chat template around each item.
    #[arg(long, conflicts_with = "no_chat")]
    pub chat: bool,
    /// Put no chat template around items.
    #[arg(long)]
    pub no_chat: bool,
    /// Answers drawn for each item.
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// The model that judges.
    #[arg(long, value_name = "MODEL")]
    pub judge: Option<String>,
    /// Let tasks run the programs that they name.
    #[arg(long)]
    pub allow_commands: bool,
    /// Ask everything anew, and take nothing over from earlier evaluations.
    #[arg(long)]
    pub fresh: bool,
    /// cpu, cuda, cuda:N or metal.
    #[arg(long)]
    pub device: Option<String>,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// List the tasks that have names.
    #[arg(long, conflicts_with_all = ["model", "tasks", "keys"])]
    pub list: bool,
    /// List every key of a task, every kind, and every rule that scores a text.
    #[arg(long, conflicts_with_all = ["model", "tasks"])]
    pub keys: bool,
}

#[derive(Debug, Subcommand)]
pub enum EvalWhat {
    /// Compare two evaluations on the same items: differences with intervals, what flipped, what became worse beyond chance.
    Compare {
        /// A directory that `eval` wrote, or its name in evals/.
        a: String,
        b: String,
        /// Exit with 1 where B is worse beyond chance.
        #[arg(long)]
        fail_on_regression: bool,
        /// Print Markdown for a pull request.
        #[arg(long, conflicts_with = "json")]
        markdown: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}
