//! Which files of a repository are wanted: what a model or a dataset is read from, and not its twins in other formats.
//! Deliberately not here: fetching.

use super::listing::Entry;
use crate::engine::jobs::Fault;
use crate::repos::{Kind, Repo};
use crate::spec::PullSpec;
use crate::text::visible;

/// Names that a message lists.
const LISTED: usize = 8;

/// The files to pull: those that the patterns say, or else those that are of use.
pub fn choose(all: Vec<Entry>, repo: &Repo, spec: &PullSpec) -> Result<Vec<Entry>, Fault> {
    let (include, exclude) = (patterns(&spec.include)?, patterns(&spec.exclude)?);
    let among = |patterns: &[glob::Pattern], path: &str| patterns.iter().any(|p| p.matches(path));
    let paths: Vec<String> = all.iter().map(|f| f.path.clone()).collect();
    let wanted = |path: &str| match repo.kind {
        _ if !include.is_empty() => among(&include, path) || is_small(path) && !path.contains('/'),
        Kind::Dataset => !path.ends_with(".py") && !path.ends_with(".gitattributes"),
        Kind::Model => is_of_use(path, &paths),
    };
    let files: Vec<Entry> = all.into_iter().filter(|f| wanted(&f.path) && !among(&exclude, &f.path)).collect();
    let matched = files.iter().any(|f| include.is_empty() || among(&include, &f.path));
    if !matched {
        return Err(nothing(repo, &paths, spec));
    }
    if repo.kind == Kind::Model && include.is_empty() && exclude.is_empty() && !files.iter().any(|f| is_weights(&f.path)) {
        return Err(nothing(repo, &paths, spec));
    }
    Ok(files)
}

/// Patterns as Python's: a star stands for anything, slashes too.
fn patterns(given: &[String]) -> Result<Vec<glob::Pattern>, Fault> {
    let read = |text: &String| {
        // A directory stands for all that is in it.
        let text = if text.ends_with('/') { format!("{text}*") } else { text.clone() };
        glob::Pattern::new(&text).map_err(|e| {
            Fault::new(format!("{}: no pattern: {} at character {}", visible(&text, false), e.msg, e.pos), "write it like *.gguf")
        })
    };
    given.iter().map(read).collect()
}

/// What is wrong with a pattern, whatever the repository holds.
pub fn problem(spec: &PullSpec) -> Option<String> {
    patterns(&spec.include).and_then(|_| patterns(&spec.exclude)).err().map(|fault| format!("{}; {}", fault.cause, fault.hint))
}

/// What stands beside weights and is read with them.
fn is_small(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    (ending(&[".json", ".jinja", ".tiktoken"]) && !name.ends_with(".index.json"))
        || matches!(name, "merges.txt" | "vocab.txt" | "tokenizer.model" | "spiece.model" | "README.md")
        || name.starts_with("LICENSE")
}

fn is_weights(path: &str) -> bool {
    [".safetensors", ".bin", ".gguf", ".pt", ".pth"].iter().any(|end| path.ends_with(end))
}

/// Of a model: its safetensors; its PyTorch files only where there are none; its GGUF only where there is one alone.
fn is_of_use(path: &str, all: &[String]) -> bool {
    let has = |end: &str| all.iter().any(|p| p.ends_with(end) && !p.starts_with("original/"));
    let twin = ["original/", "onnx/", "openvino/", "coreml/", "runs/", ".git/"].iter().any(|dir| path.starts_with(dir));
    let name = path.rsplit('/').next().unwrap_or(path);
    // Mistral's repositories hold the same weights once more in one file of its own.
    let again = name.starts_with("consolidated") && all.iter().any(|p| p.starts_with("model") && p.ends_with(".safetensors"));
    if twin || again {
        return false;
    }
    match name {
        n if n.ends_with(".safetensors") || n.ends_with(".safetensors.index.json") => true,
        n if n.starts_with("pytorch_model") && (n.ends_with(".bin") || n.ends_with(".bin.index.json")) => !has(".safetensors"),
        n if n.ends_with(".bin") => n.starts_with("adapter_model") && !has(".safetensors"),
        n if n.ends_with(".gguf") => !has(".safetensors") && !has(".bin") && all.iter().filter(|p| p.ends_with(".gguf")).count() == 1,
        _ => is_small(path),
    }
}

fn nothing(repo: &Repo, paths: &[String], spec: &PullSpec) -> Fault {
    let listed = |end: &str| {
        let mut names: Vec<&str> = paths.iter().map(String::as_str).filter(|p| p.ends_with(end)).collect();
        let more = names.len().saturating_sub(LISTED);
        names.truncate(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        visible(&format!("{}{more}", names.join(", ")), false).into_owned()
    };
    if !spec.include.is_empty() {
        let hint = format!("it has {}", listed(if paths.iter().any(|p| p.ends_with(".gguf")) { ".gguf" } else { "" }));
        return Fault::new(format!("{repo}: no file matches --include {}", visible(&spec.include.join(" "), false)), hint);
    }
    if paths.iter().any(|p| p.ends_with(".gguf")) {
        return Fault::new(
            format!("{repo} holds several GGUF files: {}", listed(".gguf")),
            "choose one with --include, as in --include '*Q4_K_M*'",
        );
    }
    let what = if repo.kind == Kind::Model { "no weights that can be used" } else { "no files" };
    let hint = if repo.kind == Kind::Model {
        "if it is a dataset, name it datasets/org/name; --include '*' takes whatever there is"
    } else {
        "check the name"
    };
    Fault::new(format!("{repo} holds {what}"), hint)
}

#[cfg(test)]
mod tests {
    use super::super::listing::Hash;
    use super::*;

    fn chosen(paths: &[&str], spec: &PullSpec) -> Result<Vec<String>, String> {
        let all = paths.iter().map(|p| Entry { path: p.to_string(), size: 1, hash: Hash::Git("0".repeat(40)) }).collect();
        let repo = super::super::repo_of(spec).unwrap();
        choose(all, &repo, spec).map(|files| files.into_iter().map(|f| f.path).collect()).map_err(|f| format!("{}; {}", f.cause, f.hint))
    }

    #[test]
    fn a_model_is_pulled_in_one_format() {
        let spec = PullSpec { repo: "a/b".into(), ..PullSpec::default() };
        let both = [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "onnx/model.onnx",
            "original/params.json",
            ".gitattributes",
            "tokenizer.model",
            "chat_template.jinja",
            "modeling.py",
        ];
        assert_eq!(chosen(&both, &spec).unwrap(), ["config.json", "model.safetensors", "tokenizer.model", "chat_template.jinja"]);
        assert_eq!(chosen(&["config.json", "pytorch_model.bin", "vocab.txt"], &spec).unwrap().len(), 3);
        let sharded = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
        ];
        assert_eq!(chosen(&sharded, &spec).unwrap(), sharded[..4]);
        assert_eq!(chosen(&["a.gguf", "README.md"], &spec).unwrap(), ["a.gguf", "README.md"]);
        let several = chosen(&["a-Q4_0.gguf", "a-Q8_0.gguf"], &spec).unwrap_err();
        assert!(several.contains("a-Q4_0.gguf, a-Q8_0.gguf") && several.contains("--include"), "{several}");
        assert!(chosen(&["train.jsonl"], &spec).unwrap_err().contains("datasets/org/name"));
    }

    #[test]
    fn patterns_choose() {
        let spec = |include: &[&str], exclude: &[&str]| PullSpec {
            repo: "a/b".into(),
            include: include.iter().map(|s| s.to_string()).collect(),
            exclude: exclude.iter().map(|s| s.to_string()).collect(),
            ..PullSpec::default()
        };
        let paths = ["a-Q4_0.gguf", "a-Q8_0.gguf", "config.json", "sub/x.json", "sub/deep/y.bin"];
        assert_eq!(chosen(&paths, &spec(&["*Q4*"], &[])).unwrap(), ["a-Q4_0.gguf", "config.json"]);
        assert_eq!(chosen(&paths, &spec(&["sub/"], &["*.bin", "config.json"])).unwrap(), ["sub/x.json"]);
        assert!(chosen(&paths, &spec(&["*Q5*"], &[])).unwrap_err().contains("a-Q8_0.gguf"));
        assert!(problem(&spec(&["[a"], &[])).is_some());
        let data = PullSpec { repo: "datasets/a/b".into(), ..PullSpec::default() };
        assert_eq!(chosen(&["data/train.parquet", "load.py", ".gitattributes"], &data).unwrap(), ["data/train.parquet"]);
    }
}
