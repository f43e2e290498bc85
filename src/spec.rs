//! What a job is asked to do: plain data that travels to the engine over a channel or a socket.
//! Deliberately not here: what a recipe's keys mean (`recipe`) and how a job is done (`engine::jobs`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A job by its kind (a name in the engine's `JOBS`) and its parameters (that job's own type, as JSON).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    pub kind: String,
    pub params: serde_json::Value,
}

impl JobSpec {
    /// `params` is one of the types below; they always have a JSON form.
    pub fn new(kind: &str, params: &impl Serialize) -> Self {
        Self { kind: kind.into(), params: serde_json::to_value(params).unwrap_or_default() }
    }
}

/// `train`: one run of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainSpec {
    /// The recipe's TOML text, with `--set` already applied; ignored when `resume` names a run.
    pub recipe: String,
    /// Where the recipe's relative paths start.
    pub base: PathBuf,
    /// The run's name; made from the recipe's name where none is given.
    pub name: Option<String>,
    /// A run to go on with from its last checkpoint.
    pub resume: Option<String>,
    /// `cpu`, `cuda`, `cuda:1`, `metal`; the engine chooses where none is given.
    pub device: Option<String>,
}

/// `generate`: continue a prompt, or answer in a chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerateSpec {
    /// A run's name, a checkpoint directory, or a model directory.
    pub model: String,
    /// Continued as it stands, unless `messages` is not empty.
    pub prompt: String,
    /// A chat: rendered by the model's template.
    pub messages: Vec<Message>,
    /// What the template is given beside: schemas of functions, documents, and variables such as `enable_thinking`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub template: serde_json::Map<String, serde_json::Value>,
    /// 0 asks for the distribution of the next token alone.
    pub max_tokens: usize,
    pub sampler: Sampler,
    /// How many alternatives to report with each token.
    pub alternatives: usize,
    /// Whether to report the distribution of the token after the last one.
    pub distribution: bool,
    /// Generation ends before the first of these texts.
    pub stop: Vec<String>,
    pub device: Option<String>,
}

impl Default for GenerateSpec {
    fn default() -> Self {
        Self {
            model: String::new(),
            prompt: String::new(),
            messages: Vec::new(),
            tools: Vec::new(),
            documents: Vec::new(),
            template: serde_json::Map::new(),
            max_tokens: 128,
            sampler: Sampler::default(),
            alternatives: 0,
            distribution: false,
            stop: Vec::new(),
            device: None,
        }
    }
}

impl GenerateSpec {
    /// The chat that is asked for.
    pub fn chat(&self) -> Chat {
        let Self { tools, documents, template, .. } = self.clone();
        Chat { tools, documents, more: template, ..Chat::from(self.messages.as_slice()) }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    pub content: String,
}

impl Message {
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A conversation with all that a chat template may be given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chat {
    /// Objects with `role` and `content`, and what templates know beside: `tool_calls`, `name`, `reasoning_content`.
    pub messages: Vec<serde_json::Map<String, serde_json::Value>>,
    /// JSON schemas of functions that the model may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<serde_json::Value>,
    /// With `title` and `text` each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<serde_json::Value>,
    /// What this conversation sets by name, such as `enable_thinking`.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Chat {
    /// A chat of plain turns: (role, content) each.
    pub fn of<'m>(turns: impl IntoIterator<Item = (&'m str, &'m str)>) -> Self {
        let message = |(role, content): (&str, &str)| {
            [("role", role), ("content", content)]
                .map(|(key, value)| (key.to_owned(), serde_json::Value::from(value)))
                .into_iter()
                .collect()
        };
        Self { messages: turns.into_iter().map(message).collect(), ..Self::default() }
    }

    /// The role of a message; empty where it has none.
    pub fn role(&self, at: usize) -> &str {
        self.text_of(at, "role")
    }
    /// The text of a message; empty where it is none.
    pub fn content(&self, at: usize) -> &str {
        self.text_of(at, "content")
    }
    fn text_of(&self, at: usize, key: &str) -> &str {
        self.messages.get(at).and_then(|m| m.get(key)).and_then(serde_json::Value::as_str).unwrap_or_default()
    }
}

impl From<&[Message]> for Chat {
    fn from(messages: &[Message]) -> Self {
        Self::of(messages.iter().map(|m| (m.role.as_str(), m.content.as_str())))
    }
}

/// How the next token is drawn. The order is: logit bias, repetition, presence and frequency penalties, DRY, temperature,
/// top-k, top-p, min-p, typical.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampler {
    /// 0 takes the most probable token always.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: usize,
    /// 1 keeps all.
    pub top_p: f32,
    /// 0 keeps all.
    pub min_p: f32,
    /// The mass of tokens about as surprising as the distribution expects that is kept (locally typical sampling, Meister et
    /// al. 2022); 1 keeps all.
    pub typical_p: f32,
    /// 1 penalises nothing.
    pub repetition_penalty: f32,
    /// Taken off the logit of each token that was generated already; 0 penalises nothing.
    pub presence_penalty: f32,
    /// Taken off as often as it was generated.
    pub frequency_penalty: f32,
    /// "Don't repeat yourself": `dry_multiplier · dry_base ^ (n − dry_allowed_length)` is taken off a token that would go on
    /// with a repetition of n tokens; 0 is off.
    pub dry_multiplier: f32,
    pub dry_base: f32,
    pub dry_allowed_length: usize,
    /// Texts across which nothing counts as repeated.
    pub dry_breakers: Vec<String>,
    /// Added to the logits of tokens, by id.
    pub logit_bias: std::collections::BTreeMap<u32, f32>,
    pub seed: u64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_breakers: ["\n", ":", "\"", "*"].map(String::from).to_vec(),
            logit_bias: std::collections::BTreeMap::new(),
            seed: 0,
        }
    }
}

/// `tokenizer`: train a tokenizer on text files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenizerSpec {
    pub files: Vec<PathBuf>,
    /// `char`, `byte` or `bpe`.
    pub kind: String,
    pub vocab: usize,
    /// Tokens of their own that divide the text.
    pub special: Vec<String>,
    /// Of a `bpe`, as in a recipe's `[tokenizer]`; an empty pattern is the usual one.
    pub pattern: String,
    pub split_digits: bool,
    pub blank_runs: usize,
    pub byte_fallback: bool,
    pub out: PathBuf,
}

/// `inspect`: the facts about data files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InspectSpec {
    /// Files, directories and globs.
    pub files: Vec<String>,
    /// `SHAPE slot=field …`; recognised where none is given.
    pub shape: Option<String>,
    /// A tokenizer file, a directory that holds one, or a run.
    pub tokenizer: Option<String>,
    /// How many tokens a model sees at once.
    pub context: Option<u64>,
    /// Evaluation files, to look for in the data.
    pub against: Vec<String>,
}

/// `clean`: a new file of the rows that keep to rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CleanSpec {
    #[serde(flatten)]
    pub data: InspectSpec,
    /// The file to write; it must not exist.
    pub out: PathBuf,
    /// Names of rules that drop rows.
    pub drop: Vec<String>,
    /// The least and the greatest length, in tokens where a tokenizer is named and in characters otherwise.
    pub min: Option<u64>,
    pub max: Option<u64>,
    /// One kind of line end, no blanks at line ends, no control and unseen characters.
    pub normalise: bool,
    /// Marks in the place of e-mail addresses and keys.
    pub redact: bool,
}

/// `export`: a model in a format that other programs open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportSpec {
    /// A run's name, a checkpoint or model directory, or a `.gguf` file.
    pub model: String,
    /// `hf`, `peft` or `gguf`.
    pub format: String,
    /// Of `gguf`: `f32`, `f16` (where none is given), `q8_0`, `q4_0` or `q4_K`.
    pub quant: Option<String>,
    /// The directory to write; it must be empty or not exist.
    pub out: PathBuf,
}

/// `count`: how often a tokenizer's tokens stand in files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountSpec {
    /// A tokenizer's file or directory, or `builtin:NAME`.
    pub tokenizer: String,
    pub files: Vec<PathBuf>,
}

/// `pull`: a repository of a hub, into the cache that other programs share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullSpec {
    /// `org/name`, `org/name@revision`, `datasets/org/name`.
    pub repo: String,
    /// Whether it is a dataset, where its name does not say so.
    pub dataset: bool,
    /// Patterns of files, as in `*.gguf`; what is of use where there are none.
    pub include: Vec<String>,
    /// Patterns of files that are left out.
    pub exclude: Vec<String>,
}

/// `serve`: a model over the OpenAI protocol.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServeSpec {
    pub model: String,
    /// What clients call it; its name here where this is empty.
    pub name: String,
    pub host: String,
    /// 0 takes a free one.
    pub port: u16,
    /// Who has it may ask; none is needed on this machine's own address.
    pub key: Option<String>,
    pub device: Option<String>,
}

impl Default for ServeSpec {
    fn default() -> Self {
        Self { model: String::new(), name: String::new(), host: "127.0.0.1".into(), port: 8080, key: None, device: None }
    }
}

impl std::fmt::Debug for ServeSpec {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "ServeSpec({} at {}:{})", self.model, self.host, self.port)
    }
}

/// `weigh`: figures of the numbers in a model's tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WeighSpec {
    /// As for `generate`; no server.
    pub model: String,
}

/// `eval`: tasks on a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EvalSpec {
    /// A run, a checkpoint or model directory, an endpoint; `given` for answers that the data brings along.
    pub model: String,
    /// Task files, data files, or names.
    pub tasks: Vec<String>,
    /// The directory to write, in the project; made from the model's name where none is given.
    pub out: Option<PathBuf>,
    /// Over what the tasks say.
    pub limit: Option<usize>,
    pub shots: Option<usize>,
    pub chat: Option<bool>,
    pub samples: Option<usize>,
    pub seed: Option<u64>,
    pub judge: Option<String>,
    /// Whether programs that tasks name may be run, now and from now on.
    pub allow_commands: bool,
    /// Take nothing over from earlier evaluations.
    pub fresh: bool,
    pub device: Option<String>,
}

/// `draw`: lets models answer prompts, for people to rank. With models of servers alone the job is `draw-remote`, which does
/// not wait for the device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DrawSpec {
    /// The set that gets the items.
    pub set: String,
    /// Data files (and directories, globs, `sample:NAME`) that prompts are taken from.
    pub files: Vec<String>,
    /// Prompts that somebody typed.
    pub prompts: Vec<Vec<Message>>,
    /// Models by name; they take turns.
    pub models: Vec<String>,
    /// Responses to each prompt.
    pub responses: usize,
    /// Prompts of the files at most.
    pub limit: usize,
    /// They take turns too; their seeds are set anew for each response.
    pub samplers: Vec<Sampler>,
    pub max_tokens: usize,
    /// Continue the prompt's text instead of answering it as a chat; as the model knows where none is given.
    pub raw: Option<bool>,
    pub seed: u64,
    pub device: Option<String>,
}

impl Default for DrawSpec {
    fn default() -> Self {
        Self {
            set: String::new(),
            files: Vec::new(),
            prompts: Vec::new(),
            models: Vec::new(),
            responses: 4,
            limit: 100,
            samplers: Vec::new(),
            max_tokens: 256,
            raw: None,
            seed: 0,
            device: None,
        }
    }
}

impl DrawSpec {
    /// What is wrong with it; none where it can be done.
    pub fn problem(&self) -> Option<String> {
        if self.models.is_empty() {
            return Some("no model is named; name a run, a directory or openai:URL#MODEL".into());
        }
        if self.files.is_empty() && self.prompts.is_empty() {
            return Some("there is nothing to answer; name files of prompts, or type one".into());
        }
        if !(2..=9).contains(&self.responses) {
            return Some(format!("{} responses cannot be ranked; draw 2 to 9 of each prompt", self.responses));
        }
        if self.max_tokens == 0 || self.limit == 0 {
            return Some("0 tokens or prompts would draw nothing; take 1 or more".into());
        }
        None
    }

    /// The kind of job.
    pub fn kind(&self) -> &'static str {
        if self.models.iter().all(|m| remote(m)) { "draw-remote" } else { "draw" }
    }
}

/// `judge`: lets a model rank the items of a set, in both orders. With a model of a server the job is `judge-remote`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgeSpec {
    pub set: String,
    pub model: String,
    /// The annotator that its labels are kept under.
    pub name: String,
    /// Items at most.
    pub limit: usize,
    pub max_tokens: usize,
    pub device: Option<String>,
}

impl Default for JudgeSpec {
    fn default() -> Self {
        Self { set: String::new(), model: String::new(), name: String::new(), limit: 1_000_000, max_tokens: 512, device: None }
    }
}

impl JudgeSpec {
    /// The kind of job.
    pub fn kind(&self) -> &'static str {
        if remote(&self.model) { "judge-remote" } else { "judge" }
    }
}

/// Whether a model of this name is asked over the network.
fn remote(model: &str) -> bool {
    model.starts_with("openai:")
}
