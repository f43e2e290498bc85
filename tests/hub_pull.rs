//! Pulling from a hub, against one on loopback that breaks off, lies, refuses and redirects.
//! Not here: the real Hub; no test leaves this machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![cfg(feature = "hub")]

#[path = "common/cli.rs"]
mod cli;
#[path = "common/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use server::{Asked, Body, Reply, Server};
use sha1::Digest;
use weightroom::engine::pull::{Broken, Hub, Pulled, Token, pull};
use weightroom::net::Patience;
use weightroom::report::{JobId, Monitor, Report, Signal, Sink};
use weightroom::repos::{Cache, Repo};
use weightroom::spec::PullSpec;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A repository: its files, of which the large ones are kept as LFS does.
fn files() -> BTreeMap<String, Vec<u8>> {
    let big = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    BTreeMap::from([
        ("config.json".to_string(), b"{\"model_type\": \"llama\"}".to_vec()),
        ("model.safetensors".to_string(), big),
        ("pytorch_model.bin".to_string(), vec![7; 1000]),
        ("sub dir/tokenizer.json".to_string(), b"{}".to_vec()),
        ("README.md".to_string(), Vec::new()),
    ])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".bin")
}

fn hash(path: &str, content: &[u8]) -> String {
    match is_large(path) {
        true => hex(&sha2::Sha256::digest(content)),
        false => hex(&sha1::Sha1::new().chain_update(format!("blob {}\0", content.len())).chain_update(content).finalize()),
    }
}

fn entry(path: &str, content: &[u8]) -> Value {
    let hash = hash(path, content);
    match is_large(path) {
        true => {
            json!({"type": "file", "path": path, "size": content.len(), "oid": "0".repeat(40), "lfs": {"oid": hash, "size": content.len(), "pointerSize": 135}})
        }
        false => json!({"type": "file", "path": path, "size": content.len(), "oid": hash}),
    }
}

/// The path that an address asks for, unescaped as far as these tests need it.
fn wanted(asked: &Asked) -> Option<String> {
    let (_, path) = asked.path.split_once(&format!("/resolve/{COMMIT}/"))?;
    Some(path.replace("%20", " "))
}

fn content(asked: &Asked, bytes: &[u8]) -> Reply {
    match asked.from() {
        Some(from) if from < bytes.len() => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Reply::new(206, &bytes[from..]).with("content-range", &range)
        }
        Some(_) => Reply::new(416, ""),
        None => Reply::new(200, bytes),
    }
}

/// A hub that does everything right.
fn good(asked: &Asked, files: &BTreeMap<String, Vec<u8>>) -> Reply {
    if asked.path.contains("/revision/") {
        return Reply::json(json!({"id": "a/b", "sha": COMMIT}));
    }
    if asked.path.contains("/tree/") {
        let mut entries: Vec<Value> = files.iter().map(|(path, bytes)| entry(path, bytes)).collect();
        entries.push(json!({"type": "directory", "path": "sub dir", "oid": "1".repeat(40), "size": 0}));
        return Reply::json(entries.into());
    }
    match wanted(asked).and_then(|path| files.get(&path)) {
        Some(bytes) => content(asked, bytes),
        None => Reply::new(404, "").with("x-error-code", "EntryNotFound"),
    }
}

fn hub(server: &Server, cache: &Path) -> Hub {
    let patience =
        Patience { attempts: 4, first_wait: Duration::from_millis(5), connect: Duration::from_secs(5), silence: Duration::from_secs(20) };
    Hub { endpoint: server.url().parse().unwrap(), token: None, cache: Cache { dir: cache.into() }, offline: false, patience }
}

fn spec(repo: &str) -> PullSpec {
    PullSpec { repo: repo.into(), ..PullSpec::default() }
}

/// Keeps what is told; stops when the flag is set.
#[derive(Default)]
struct Ear {
    told: Mutex<Vec<Report>>,
    stop: Arc<AtomicBool>,
}

impl Monitor for Ear {
    fn report(&self, report: Report) {
        self.told.lock().unwrap().push(report);
    }
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
    fn safepoint(&self) -> Signal {
        Signal::Continue
    }
    fn wait(&self) -> Signal {
        Signal::Continue
    }
    fn child(&self, _: JobId) -> Box<dyn Monitor> {
        Box::new(Self::default())
    }
    fn attach(&self, _: Box<dyn Sink>) {}
}

fn try_pull(hub: &Hub, spec: &PullSpec) -> Result<Pulled, String> {
    pull(hub, spec, &Ear::default()).map_err(|broken| match broken {
        Broken::Stopped => "stopped".into(),
        Broken::Fault(fault) => format!("{}; {}", fault.cause, fault.hint),
    })
}

fn holds(pulled: &Pulled, files: &BTreeMap<String, Vec<u8>>, paths: &[&str]) {
    for path in paths {
        assert_eq!(&std::fs::read(pulled.dir.join(path)).unwrap(), &files[*path], "{path}");
    }
}

const WANTED: [&str; 4] = ["config.json", "model.safetensors", "sub dir/tokenizer.json", "README.md"];

/// The wanted files once more with only the names that the default choice takes.
fn with_json(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    files.insert("sub dir/tokenizer.json".into(), b"{}".to_vec());
    files
}

#[test]
fn a_model_comes_as_python_would_lay_it() {
    let all = Arc::new(with_json(files()));
    let kept = all.clone();
    let server = Server::start(move |asked| good(asked, &kept));
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(&server, dir.path());
    let ear = Ear::default();
    let pulled = pull(&hub, &spec("a/b"), &ear).unwrap();
    holds(&pulled, &all, &WANTED);
    assert_eq!((pulled.files, pulled.commit.as_str()), (4, COMMIT));
    assert!(!pulled.dir.join("pytorch_model.bin").exists(), "twins in other formats stay");
    let folder = dir.path().join("models--a--b");
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(pulled.dir, folder.join("snapshots").join(COMMIT));
    let link = std::fs::read_link(pulled.dir.join("sub dir/tokenizer.json")).unwrap();
    assert_eq!(link, Path::new("../../../blobs").join(hash("t.json", b"{}")));
    let blobs: BTreeSet<String> =
        std::fs::read_dir(folder.join("blobs")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(blobs, WANTED.iter().map(|p| hash(p, &all[*p])).collect());
    assert_eq!(hub.cache.snapshot(&Repo::parse("a/b").unwrap()), Some(pulled.dir.clone()));
    let told = ear.told.lock().unwrap();
    let total = all.iter().filter(|(p, _)| WANTED.contains(&p.as_str())).map(|(_, b)| b.len() as u64).sum::<u64>();
    let last = told.iter().rev().find_map(|r| if let Report::Progress { done, total, .. } = r { Some((*done, *total)) } else { None });
    assert_eq!(last, Some((total, Some(total))));
    // Once more: nothing but the listing is asked.
    let before = server.asked().len();
    let again = pull(&hub, &spec("a/b"), &Ear::default()).unwrap();
    assert_eq!((again.fetched, server.asked().len() - before), (0, 2));
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let all = Arc::new(files());
    let kept = all.clone();
    let (breaks, starts, stop) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let (count, seen, flag) = (breaks.clone(), starts.clone(), stop.clone());
    let server = Server::start(move |asked| match wanted(asked) {
        Some(path) if path == "model.safetensors" => {
            seen.lock().unwrap().push(asked.from().unwrap_or(0));
            flag.store(asked.from() == Some(1_234_567), Ordering::Release);
            let mut count = count.lock().unwrap();
            *count += 1;
            let reply = content(asked, &kept[&path]);
            match (*count, reply.body) {
                (1 | 3, Body::Whole(bytes)) => Reply { body: Body::Cut(bytes, 900_000), ..reply },
                (2, _) => Reply::new(503, "busy").with("retry-after", "0"),
                (_, body) => Reply { body, ..reply },
            }
        }
        _ => good(asked, &kept),
    });
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(&server, dir.path());
    let pulled = try_pull(&hub, &spec("a/b")).unwrap();
    holds(&pulled, &all, &["model.safetensors"]);
    assert_eq!(*starts.lock().unwrap(), [0, 900_000, 900_000, 1_800_000]);
    // A person stops it; the next pull takes up what lies there, also what another program left.
    let other = tempfile::tempdir().unwrap();
    let hub = Hub { cache: Cache { dir: other.path().into() }, ..hub };
    let partial = other.path().join("models--a--b/blobs").join(format!("{}.incomplete", hash("m.safetensors", &all["model.safetensors"])));
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::fs::write(&partial, &all["model.safetensors"][..1_234_567]).unwrap();
    let ear = Ear { stop, ..Ear::default() };
    assert!(matches!(pull(&hub, &spec("a/b"), &ear), Err(Broken::Stopped)));
    assert!(!other.path().join("models--a--b/refs/main").exists(), "half a snapshot is no revision");
    let kept = std::fs::metadata(&partial).unwrap().len() as usize;
    starts.lock().unwrap().clear();
    let pulled = try_pull(&hub, &spec("a/b")).unwrap();
    holds(&pulled, &all, &["model.safetensors"]);
    assert!((1_234_567..3_000_000).contains(&kept), "{kept}");
    assert_eq!(*starts.lock().unwrap(), [kept]);
}

#[test]
fn what_has_another_hash_is_not_kept() {
    let all = Arc::new(files());
    let kept = all.clone();
    let server = Server::start(move |asked| {
        let mut lie = kept.as_ref().clone();
        lie.get_mut("model.safetensors").unwrap()[5] ^= 1;
        if wanted(asked).is_some() { good(asked, &lie) } else { good(asked, &kept) }
    });
    let dir = tempfile::tempdir().unwrap();
    let hub = hub(&server, dir.path());
    let error = try_pull(&hub, &spec("a/b")).unwrap_err();
    assert!(error.contains("model.safetensors came with another content") && error.contains("not kept"), "{error}");
    let left: Vec<_> = std::fs::read_dir(dir.path().join("models--a--b/blobs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    let sum = hash("m.safetensors", &all["model.safetensors"]);
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(&sum)), "{left:?}");
    // A partial file of another content costs one download more, and no more.
    drop(server);
    let kept = all.clone();
    let server = Server::start(move |asked| good(asked, &kept));
    let hub = Hub { endpoint: server.url().parse().unwrap(), ..hub };
    std::fs::write(dir.path().join("models--a--b/blobs").join(format!("{sum}.incomplete")), vec![1; 1000]).unwrap();
    holds(&try_pull(&hub, &spec("a/b")).unwrap(), &all, &WANTED);
    let fetches: Vec<_> = server.asked().iter().filter(|a| a.path.ends_with("model.safetensors")).map(Asked::from).collect();
    assert_eq!(fetches, [Some(1000), None]);
    // More bytes than the listing says end the download, and not the memory or the disk.
    drop(server);
    let server = Server::start(move |asked| match wanted(asked) {
        Some(path) if path == "model.safetensors" => {
            Reply::new(200, "").body(Body::Pieces(Box::new(std::iter::repeat_with(|| vec![0; 1 << 16]))))
        }
        _ => good(asked, &all),
    });
    let other = tempfile::tempdir().unwrap();
    let hub = Hub { endpoint: server.url().parse().unwrap(), cache: Cache { dir: other.path().into() }, ..hub };
    let error = try_pull(&hub, &spec("a/b")).unwrap_err();
    assert!(error.contains("more of model.safetensors came than the listing says"), "{error}");
}

#[test]
fn the_key_goes_to_the_hub_alone() {
    let all = Arc::new(files());
    let kept = all.clone();
    let cdn = Server::start(move |asked| content(asked, &kept["model.safetensors"]));
    let (kept, elsewhere) = (all.clone(), cdn.url());
    let server = Server::start(move |asked| match wanted(asked) {
        // A renamed repository within the hub, then the content network.
        Some(_) if asked.path.starts_with("/a/b/") => Reply::new(307, "").with("location", &asked.path.replace("/a/b/", "/new/b/")),
        Some(path) if path == "model.safetensors" => Reply::new(302, "").with("location", &format!("{elsewhere}/signed?x=1")),
        _ => good(asked, &kept),
    });
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub { token: Some(Token("hf_secret".into())), ..hub(&server, dir.path()) };
    holds(&try_pull(&hub, &spec("a/b")).unwrap(), &all, &WANTED);
    assert!(server.asked().iter().all(|a| a.header("authorization") == Some("Bearer hf_secret")));
    assert!(!cdn.asked().is_empty() && cdn.asked().iter().all(|a| a.header("authorization").is_none()));
    assert!(!format!("{:?}", hub.token).contains("secret"));
    // Nor does a second page of the listing at another address get it.
    let (kept, elsewhere) = (all, cdn.url());
    let before = cdn.asked().len();
    let server = Server::start(move |asked| match asked.path.contains("/tree/") {
        true => good(asked, &kept).with("link", &format!("<{elsewhere}/steal>; rel=\"next\"")),
        false => good(asked, &kept),
    });
    let other = tempfile::tempdir().unwrap();
    let hub = Hub { endpoint: server.url().parse().unwrap(), cache: Cache { dir: other.path().into() }, ..hub };
    try_pull(&hub, &spec("a/b")).unwrap();
    assert_eq!(cdn.asked().len(), before);
}

#[test]
fn refusals_say_what_to_do() {
    let answer = |status: u16, code: &'static str, key: bool| {
        let server = Server::start(move |_| {
            Reply::new(status, "{\"error\": \"so it is\\u001b[31m\"}").with("x-error-code", code).with("retry-after", "0")
        });
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub { token: key.then(|| Token("hf_secret".into())), ..hub(&server, dir.path()) };
        let error = try_pull(&hub, &spec("a/b@v9")).unwrap_err();
        assert!(!error.contains(['\n', '\u{1b}']) && !error.contains("secret"), "{error}");
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "nothing is made before there is something to put there");
        (error, server.asked().len())
    };
    for (status, code, key, words, asked) in [
        (401, "RepoNotFound", false, ["no public repository a/b@v9", "HF_TOKEN"], 1),
        (401, "GatedRepo", false, ["is gated", "accept its conditions at http://127.0.0.1"], 1),
        (403, "GatedRepo", true, ["your token has no access", "/a/b"], 1),
        (401, "", true, ["does not take the token", "renew HF_TOKEN"], 1),
        (403, "", true, ["access is refused (so it is␛", "the account of your token"], 1),
        (404, "RepoNotFound", true, ["no repository a/b@v9", "datasets/org/name"], 1),
        (404, "RevisionNotFound", false, ["no revision v9", "/a/b/tree/main"], 1),
        (429, "", false, ["too many requests", "HF_TOKEN"], 4),
        (503, "", false, ["503 Service Unavailable", "pull again later"], 4),
        (418, "", false, ["418", "pull again"], 1),
    ] {
        let (error, requests) = answer(status, code, key);
        assert!(words.iter().all(|w| error.contains(w)), "{status} {code}: {error}");
        assert_eq!(requests, asked, "{status} {code}");
    }
    let gone = Server::start(|_| Reply::new(200, "").body(Body::Nothing));
    let dir = tempfile::tempdir().unwrap();
    let error = try_pull(&hub(&gone, dir.path()), &spec("a/b")).unwrap_err();
    assert!(error.contains(&gone.url()) && error.contains("goes on where it stopped"), "{error}");
}

#[test]
fn hostile_listings_are_refused() {
    let listing = |entries: Value| {
        let server = Server::start(move |asked| match asked.path.contains("/tree/") {
            true => Reply::json(entries.clone()),
            false => good(asked, &files()),
        });
        let dir = tempfile::tempdir().unwrap();
        let error = try_pull(&hub(&server, &dir.path().join("cache")), &spec("a/b")).unwrap_err();
        assert!(!error.contains('\n'), "{error}");
        assert!(!dir.path().join("evil").exists() && !dir.path().join("cache/models--a--b/snapshots").exists());
        error
    };
    let with = |path: &str| json!([entry("config.json", b"{}"), entry(path, b"x")]);
    for path in [
        "../../../../evil.json",
        "/tmp/evil.json",
        "a/../../evil.json",
        "C:\\evil.json",
        "a//b.json",
        "x\u{0}.json",
        "..",
        &"x/".repeat(600),
    ] {
        let error = listing(with(path));
        assert!(error.contains("no path within it"), "{path:?}: {error}");
    }
    for (entries, word) in [
        (json!({"error": "x"}), "no list of files"),
        (json!([{"type": "file", "path": "config.json", "size": 1, "oid": "../../x"}]), "the hash of config.json"),
        (json!([{"type": "file", "path": "config.json", "size": -1, "oid": "0".repeat(40)}]), "the size"),
        (json!([]), "no weights"),
        (
            json!([{"type": "file", "path": "model.safetensors", "oid": "0".repeat(40), "lfs": {"oid": "0".repeat(64), "size": 1u64 << 60}}]),
            "are free",
        ),
    ] {
        let error = listing(entries.clone());
        assert!(error.contains(word), "{entries}: {error}");
    }
    // An answer without an end is not read to its end.
    let server = Server::start(|_| Reply::new(200, "").body(Body::Pieces(Box::new(std::iter::repeat_with(|| vec![b'['; 1 << 20])))));
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub { patience: Patience { attempts: 1, ..hub(&server, dir.path()).patience }, ..hub(&server, dir.path()) };
    let error = try_pull(&hub, &spec("a/b")).unwrap_err();
    assert!(error.contains("longer than"), "{error}");
}

#[test]
fn the_command_reads_the_variables_and_a_pulled_name_is_a_model() {
    let all = Arc::new(BTreeMap::from([
        ("README.md".to_string(), b"hello".to_vec()),
        ("data/train.jsonl".to_string(), b"{\"text\": \"one\"}\n{\"text\": \"two\"}\n".to_vec()),
    ]));
    let kept = all.clone();
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some("Bearer hf_file") if asked.path.starts_with("/api/datasets/a/d/") || asked.path.starts_with("/datasets/a/d/") => {
            good(asked, &kept)
        }
        _ => Reply::new(401, "").with("x-error-code", "RepoNotFound"),
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "hf_file\n").unwrap();
    let command = |args: &[&str], more: &[(&str, &str)]| {
        let mut command = cli::weightroom(dir.path(), args);
        for name in [
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
        ] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", server.url()).env("HF_HOME", dir.path()).envs(more.iter().copied());
        cli::of(command.output().unwrap())
    };
    let offline = &[("HF_HUB_OFFLINE", "1")];
    command(&["pull", "datasets/a/d"], offline).bad(1, &["datasets/a/d is not on this machine", "HF_HUB_OFFLINE"]);
    command(&["data", "inspect", "hf:a/d/data/train.jsonl"], &[]).bad(1, &["weightroom pull datasets/a/d"]);
    let ran = command(&["pull", "a/d", "--dataset"], &[]).good();
    let path = dir.path().join("hub/datasets--a--d/snapshots").join(COMMIT);
    assert!(ran.out.contains("datasets/a/d: 2 files") && ran.out.contains(&path.display().to_string()), "{}", ran.out);
    command(&["pull", "datasets/a/d"], offline).good();
    let facts = command(&["data", "inspect", "hf:a/d/data/train.jsonl", "--json"], &[]).good();
    assert_eq!(serde_json::from_str::<Value>(&facts.out).unwrap()["rows"], 2);
    let ran = command(&["pull", "datasets/a/d", "--json"], &[]).good();
    let last: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["report"]["finished"]["result"]["path"], path.display().to_string());
    command(&["pull", "a/other"], &[("HF_TOKEN", "hf_wrong")]).bad(1, &["does not take the token"]);
    command(&["pull", "../x"], &[]).bad(2, &["no repository's name"]);
    command(&["pull", "a/d"], &[("HF_ENDPOINT", "file:///etc")]).bad(1, &["HF_ENDPOINT", "no address of a hub"]);
    command(&["generate", "a/model", "--prompt", "x"], &[]).bad(1, &["weightroom pull a/model fetches it"]);
}
