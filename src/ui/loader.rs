//! The loader's thread: files and counts on behalf of the screen, so that the thread that draws never waits.
//! Deliberately not here: state; an answer is folded by the world.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

use super::world::{Load, Loaded};

/// The asking end. The thread ends when this is dropped.
pub struct Loader {
    requests: Sender<Load>,
}

impl Loader {
    /// Starts the thread; every answer goes through `answer`, which returns whether anybody still listens.
    pub fn spawn(project: PathBuf, answer: impl Fn(Loaded) -> bool + Send + 'static) -> std::io::Result<Self> {
        let (requests, asked) = channel::<Load>();
        std::thread::Builder::new().name("loader".into()).spawn(move || {
            while let Ok(load) = asked.recv() {
                if !answer(execute(&project, load)) {
                    return;
                }
            }
        })?;
        Ok(Self { requests })
    }

    /// Never waits.
    pub fn ask(&self, load: Load) {
        // The thread is gone only after the screen stopped listening, and then nobody misses the answer.
        let _ = self.requests.send(load);
    }
}

/// Does one piece of work; pure but for the files it names.
pub fn execute(project: &Path, load: Load) -> Loaded {
    match load {
        Load::Write { path, text } => write(project, path, &text),
        what => Loaded::Failed { why: "not read yet".into(), what },
    }
}

fn write(project: &Path, path: PathBuf, text: &str) -> Loaded {
    let full = project.join(&path);
    let done = match full.parent() {
        Some(parent) => std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&full, text)),
        None => std::fs::write(&full, text),
    };
    match done {
        Ok(()) => Loaded::Wrote(path),
        Err(error) => {
            let why = format!("{}: could not be written: {error}; choose another place or free the disk", full.display());
            Loaded::Failed { what: Load::Write { path, text: String::new() }, why }
        }
    }
}
