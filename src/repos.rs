//! Repositories of a hub as they lie on this machine, in the cache that Python's huggingface_hub shares:
//! `models--org--name/{blobs,refs,snapshots}`. Deliberately not here: anything that fetches (`engine::pull`).

use std::fmt;
use std::path::{Path, PathBuf};

/// Names on the hub have at most so many characters.
const LONGEST_ID: usize = 96;
const LONGEST_REVISION: usize = 200;
/// Entries of a directory that are looked at.
const LOOKED_AT: usize = 10_000;
/// The prefix of a dataset's file: `hf:org/name/train.jsonl`.
pub const PREFIX: &str = "hf:";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// As addresses and directories spell it: `models`, `datasets`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A repository, perhaps at a revision: `org/name@rev`, `datasets/org/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repo {
    pub kind: Kind,
    /// `org/name`, or `name` alone for the oldest ones.
    pub id: String,
    /// A branch, tag or commit; none means `main`.
    pub revision: Option<String>,
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kind = if self.kind == Kind::Dataset { "datasets/" } else { "" };
        write!(f, "{kind}{}", self.id)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

impl Repo {
    /// Reads a name as people write or copy it; the error says what a name looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let given = text.trim();
        let rest = given.strip_prefix("https://huggingface.co/").or(given.strip_prefix(PREFIX)).unwrap_or(given);
        let (kind, rest) = match rest.split_once('/') {
            Some(("datasets", rest)) => (Kind::Dataset, rest),
            Some(("models", rest)) => (Kind::Model, rest),
            _ => (Kind::Model, rest),
        };
        let (id, revision) = rest.split_once('@').map_or((rest, None), |(id, revision)| (id, Some(revision.to_string())));
        let id = id.trim_end_matches('/');
        let shown: String = crate::text::visible(given, false).chars().take(LONGEST_ID + 8).collect();
        if !is_id(id) {
            return Err(format!("{shown:?} is no repository's name; write org/name, org/name@revision or datasets/org/name"));
        }
        if let Some(revision) = &revision
            && !is_revision(revision)
        {
            return Err(format!("{shown:?}: a branch, a tag or a commit follows the @"));
        }
        Ok(Self { kind, id: id.into(), revision })
    }

    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// `models--org--name`.
    pub fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.id.replace('/', "--"))
    }
}

/// What huggingface_hub accepts as a name, so that it can be a directory anywhere.
fn is_id(id: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
    };
    id.len() <= LONGEST_ID && id.split('/').count() <= 2 && id.split('/').all(part) && !id.contains("--") && !id.contains("..")
}

fn is_revision(revision: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+');
    revision.len() <= LONGEST_REVISION && revision.chars().all(fits) && is_path(revision)
}

/// Whether 40 hexadecimal digits name a commit itself.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether a file name from a listing stays below the directory that it is joined to: no `..`, nothing absolute, nothing
/// that some system reads otherwise.
pub fn is_path(path: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
    path.len() <= 1024 && path.split('/').all(part) && !path.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
}

/// The directory of all repositories on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    pub dir: PathBuf,
}

/// A repository of the cache at one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Cached {
    pub repo: Repo,
    pub commit: String,
    pub dir: PathBuf,
}

impl Cache {
    /// `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`, as huggingface_hub looks for it.
    pub fn of(var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| var(name).filter(|v| !v.is_empty()).map(|v| expanded(&v, &var));
        let dir = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| home(&var).join("hub"));
        Self { dir }
    }

    pub fn from_env() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    /// The directory that holds the repository at its revision; none where it was not pulled.
    pub fn snapshot(&self, repo: &Repo) -> Option<PathBuf> {
        let folder = self.dir.join(repo.folder());
        let revision = repo.revision();
        let commit = if is_commit(revision) { revision.to_string() } else { reference(&folder, revision)? };
        Some(folder.join("snapshots").join(commit)).filter(|dir| dir.is_dir())
    }

    /// Every repository with a revision that is known by a name; in order.
    pub fn list(&self) -> Vec<Cached> {
        let names = std::fs::read_dir(&self.dir).into_iter().flatten().flatten().take(LOOKED_AT);
        let mut out = Vec::new();
        for name in names.filter_map(|e| e.file_name().into_string().ok()) {
            let (kind, rest) = match (name.strip_prefix("models--"), name.strip_prefix("datasets--")) {
                (Some(rest), _) => (Kind::Model, rest),
                (_, Some(rest)) => (Kind::Dataset, rest),
                _ => continue,
            };
            let id = rest.replacen("--", "/", 1);
            if !is_id(&id) {
                continue;
            }
            let folder = self.dir.join(&name);
            for revision in std::fs::read_dir(folder.join("refs")).into_iter().flatten().flatten().take(LOOKED_AT) {
                let Ok(revision) = revision.file_name().into_string() else { continue };
                let named = Some(revision.clone()).filter(|r| r != "main");
                let repo = Repo { kind, id: id.clone(), revision: named };
                if let (Some(commit), Some(dir)) = (reference(&folder, &revision), self.snapshot(&repo)) {
                    out.push(Cached { repo, commit, dir });
                }
            }
        }
        out.sort_by(|a, b| a.repo.cmp(&b.repo));
        out
    }
}

/// `HF_HOME`, else `XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface`.
pub fn home(var: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let set = |name: &str| var(name).filter(|v| !v.is_empty()).map(|v| expanded(&v, var));
    set("HF_HOME").unwrap_or_else(|| set("XDG_CACHE_HOME").unwrap_or_else(|| expanded("~/.cache", var)).join("huggingface"))
}

/// A path with `~` for the person's own directory.
pub fn expanded(path: &str, var: &impl Fn(&str) -> Option<String>) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => Path::new(&var("HOME").unwrap_or_else(|| ".".into())).join(rest),
        None => path.into(),
    }
}

/// The commit that a branch or tag stood for when it was last pulled.
fn reference(folder: &Path, revision: &str) -> Option<String> {
    let path = folder.join("refs").join(revision);
    if std::fs::metadata(&path).ok()?.len() > 256 {
        return None;
    }
    let commit = std::fs::read_to_string(path).ok()?.trim().to_string();
    is_commit(&commit).then_some(commit)
}

/// The path that `hf:org/name@rev/file` names among the datasets (or, where there is none, the models) that were pulled.
/// The error says how to get it.
pub fn dataset_path(entry: &str, cache: &Cache) -> Result<PathBuf, String> {
    let rest = entry.strip_prefix(PREFIX).unwrap_or(entry);
    let rest = rest.strip_prefix("datasets/").unwrap_or(rest);
    let mut parts = rest.splitn(3, '/');
    let (org, name, file) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let repo = Repo::parse(&format!("datasets/{org}/{name}"))?;
    if !file.is_empty() && !is_path(file) {
        return Err("a path within the repository follows its name, as in hf:org/name/data/train.jsonl".into());
    }
    match cache.snapshot(&repo) {
        Some(dir) => Ok(if file.is_empty() { dir } else { dir.join(file) }),
        None => Err(format!("{} was not pulled; weightroom pull datasets/{org}/{name} fetches it", repo.id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_people_write_them() {
        let repo = |kind, id: &str, revision: Option<&str>| Repo { kind, id: id.into(), revision: revision.map(str::to_string) };
        for (text, expected) in [
            ("org/name", repo(Kind::Model, "org/name", None)),
            ("gpt2", repo(Kind::Model, "gpt2", None)),
            ("org/name@refs/pr/1", repo(Kind::Model, "org/name", Some("refs/pr/1"))),
            ("datasets/a/b@v1.0", repo(Kind::Dataset, "a/b", Some("v1.0"))),
            ("https://huggingface.co/datasets/a/b/", repo(Kind::Dataset, "a/b", None)),
            ("hf:a/b", repo(Kind::Model, "a/b", None)),
        ] {
            assert_eq!(Repo::parse(text).unwrap(), expected, "{text}");
        }
        for text in ["", "a/b/c", "../x", "a/..", "a--b/c", "-a/b", "a/b@", "a/b@../../x", "a b/c", "a/b@x y", "/a/b", &"x".repeat(97)] {
            let error = Repo::parse(text).unwrap_err();
            assert!(!error.contains('\n'), "{text}: {error}");
        }
        assert_eq!(Repo::parse("datasets/a/b@v1").unwrap().folder(), "datasets--a--b");
        assert_eq!(Repo::parse("datasets/a/b@v1").unwrap().to_string(), "datasets/a/b@v1");
    }

    #[test]
    fn hostile_paths_are_no_paths() {
        for path in ["model.safetensors", "a/b/c.json", ".gitattributes", "ünïcode.txt", "a..b/c"] {
            assert!(is_path(path), "{path}");
        }
        for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "C:\\x", "a\\b", "C:/x", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(!is_path(path), "{path}");
        }
    }

    #[test]
    fn the_cache_is_where_python_looks_for_it() {
        let at = |pairs: &'static [(&'static str, &'static str)]| {
            Cache::of(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string())).dir.to_string_lossy().into_owned()
        };
        assert_eq!(at(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(at(&[("HOME", "/h"), ("HF_HOME", "~/hf")]), "/h/hf/hub");
        assert_eq!(at(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/d")]), "/c");
    }

    #[test]
    fn a_snapshot_is_found_by_branch_and_by_commit() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache { dir: dir.path().into() };
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let folder = dir.path().join("datasets--a--b");
        std::fs::create_dir_all(folder.join("snapshots").join(commit)).unwrap();
        std::fs::create_dir_all(folder.join("refs")).unwrap();
        std::fs::write(folder.join("refs/main"), format!("{commit}\n")).unwrap();
        std::fs::write(folder.join("refs/evil"), "../../..").unwrap();
        let of = |name: &str| cache.snapshot(&Repo::parse(name).unwrap());
        assert_eq!(of("datasets/a/b"), Some(folder.join("snapshots").join(commit)));
        assert_eq!(of(&format!("datasets/a/b@{commit}")), of("datasets/a/b"));
        assert_eq!([of("datasets/a/b@evil"), of("a/b"), of("datasets/a/b@v2")], [None, None, None]);
        assert_eq!(cache.list().iter().map(|c| c.repo.to_string()).collect::<Vec<_>>(), ["datasets/a/b"]);
        assert_eq!(dataset_path("hf:a/b/x.jsonl", &cache).unwrap(), folder.join("snapshots").join(commit).join("x.jsonl"));
        assert!(dataset_path("hf:a/b/../x", &cache).unwrap_err().contains("path within"));
        assert!(dataset_path("hf:a/c/x", &cache).unwrap_err().contains("weightroom pull datasets/a/c"));
    }
}
