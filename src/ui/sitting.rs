//! The sitting: a thread that holds the set which somebody ranks. It writes each decision to the disk and only then says what
//! is asked next, so that the thread that draws never waits and nothing that was answered is lost.
//! Deliberately not here: what is asked (`data::labels::session`), and any drawing.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::{SystemTime, UNIX_EPOCH};

use super::world::labels::{Answer, Ask, Last, Now, SetLine, Sitting};
use crate::data::labels::Label;
use crate::data::labels::session::{SITTING_MS, Session};
use crate::data::labels::stats::{median, summarise};
use crate::data::labels::store::{self, SetDir};

/// The asking end. The thread ends when this is dropped.
pub struct Desk {
    asks: Sender<Ask>,
}

impl Desk {
    pub fn spawn(project: PathBuf, answer: impl Fn(Answer) -> bool + Send + 'static) -> std::io::Result<Self> {
        let (asks, asked) = channel();
        std::thread::Builder::new().name("sitting".into()).spawn(move || {
            let mut worker = Worker::new(project);
            while let Ok(ask) = asked.recv() {
                let mut listens = true;
                worker.execute(ask, &mut |a| listens &= answer(a));
                if !listens {
                    return;
                }
            }
        })?;
        Ok(Self { asks })
    }

    /// Never waits.
    pub fn ask(&self, ask: Ask) {
        // The thread is gone only after the screen stopped listening, and then nobody misses the answer.
        let _ = self.asks.send(ask);
    }
}

/// Does the work, one ask after the other; tests drive it without a thread.
pub struct Worker {
    project: PathBuf,
    session: Option<Session>,
    adjudicates: bool,
    turn: u64,
    began_ms: u64,
    /// Lines that were there when the sitting began.
    first: usize,
    before: Option<(u64, usize)>,
}

impl Worker {
    pub fn new(project: PathBuf) -> Self {
        Self { project, session: None, adjudicates: false, turn: 0, began_ms: 0, first: 0, before: None }
    }

    pub fn execute(&mut self, ask: Ask, tell: &mut dyn FnMut(Answer)) {
        let done = match ask {
            Ask::Sets => {
                tell(Answer::Sets { sets: sets(&self.project), user: std::env::var("USER").unwrap_or_default() });
                return;
            }
            Ask::Summary { set } => {
                let found = SetDir::open(&self.project, &set).and_then(|set| summarise(&set)).map_err(|e| e.to_string());
                tell(found.map_or_else(Answer::Failed, |summary| Answer::Summary(Box::new(summary))));
                return;
            }
            Ask::Close => {
                self.session = None;
                tell(Answer::Closed);
                return;
            }
            Ask::Open { set, annotator, adjudicates } => self.open(&set, &annotator, adjudicates),
            other => self.go_on(other),
        };
        match done {
            Ok(Some((told, fresh))) => {
                self.turn += u64::from(fresh);
                if let Some(now) = self.now(told) {
                    tell(Answer::Now(Box::new(now)));
                }
            }
            Ok(None) => {}
            Err(why) => tell(Answer::Failed(why)),
        }
    }

    fn open(&mut self, set: &str, annotator: &str, adjudicates: bool) -> Result<Option<Told>, String> {
        // The lock of the set that was open goes first: it may be the same one.
        self.session = None;
        let session = Session::open(&self.project, set, annotator, adjudicates).map_err(|e| e.to_string())?;
        (self.adjudicates, self.began_ms, self.first) = (adjudicates, now_ms(), session.lines().len());
        self.before = last_sitting(session.lines());
        let told = session.told.clone();
        self.session = Some(session);
        Ok(Some((told, true)))
    }

    /// Does what is asked of the open set; none where nothing changed.
    fn go_on(&mut self, ask: Ask) -> Result<Option<Told>, String> {
        let turn = self.turn;
        let session = self.session.as_mut().ok_or("no set is open; choose one first")?;
        let fail = |e: crate::data::DataError| e.to_string();
        let told = match ask {
            // What was decided about something that is not asked any more is not a decision.
            Ask::Decide { turn: of, .. } if of != turn => return Ok(None),
            Ask::Decide { decision, .. } => {
                session.decide(*decision).map_err(fail)?;
                String::new()
            }
            Ask::Undo { at_ms } => match session.undo(at_ms).map_err(fail)? {
                Some(label) => format!("took back {}; decide it again, or Ctrl-r keeps it", label.in_short()),
                None => "nothing to undo: no decision of yours stands in this set".into(),
            },
            Ask::Redo { at_ms } => match session.redo(at_ms).map_err(fail)? {
                Some(_) => "made again".into(),
                None => "nothing to do again: the last thing was no undo".into(),
            },
            Ask::Previous if session.previous() => "an earlier decision: a new order changes it, . goes on".into(),
            Ask::Previous => "this is your first decision".into(),
            Ask::Forward => {
                session.forward();
                String::new()
            }
            Ask::Look => {
                let asked = session.showing().is_some();
                // What is on the screen stays there, with what was pressed about it; only the count of items moves.
                return Ok((session.look().map_err(fail)? > 0).then(|| (Vec::new(), !asked)));
            }
            _ => return Ok(None),
        };
        Ok(Some((if told.is_empty() { Vec::new() } else { vec![told] }, true)))
    }

    fn now(&self, told: Vec<String>) -> Option<Now> {
        let session = self.session.as_ref()?;
        let progress = session.progress();
        let last = session.last().map(|label| Last {
            number: progress.decisions,
            order: label.in_short(),
            models: label.display_order.iter().map(|id| label.response(id).and_then(|r| r.model.clone()).unwrap_or_default()).collect(),
            rushed: label.is_rushed(),
        });
        let mine = &session.lines()[self.first..];
        let undone = mine.iter().filter(|l| l.status == crate::data::labels::Status::Undone).count();
        let mut dwell: Vec<f64> = mine.iter().filter(|l| l.ranks()).map(|l| l.dwell_ms as f64).collect();
        let sitting =
            Sitting { began_ms: self.began_ms, made: mine.len() - undone, undone, median_ms: median(&mut dwell), before: self.before };
        Some(Now {
            turn: self.turn,
            set: session.set.name.clone(),
            annotator: session.annotator.clone(),
            adjudicates: self.adjudicates,
            showing: session.showing().cloned(),
            progress,
            last,
            guidelines: session.guidelines.clone(),
            settings: session.settings.clone(),
            told,
            sitting,
        })
    }
}

/// What is to be told with what is asked next, and whether that is another thing than before.
type Told = (Vec<String>, bool);

/// When the last sitting ended and how many decisions it had.
fn last_sitting(lines: &[Label]) -> Option<(u64, usize)> {
    let times: Vec<u64> = lines.iter().map(|l| l.decided_at).collect();
    let end = *times.last().filter(|t| **t > 0)?;
    let together = times.windows(2).rev().take_while(|w| w[1].saturating_sub(w[0]) < SITTING_MS).count();
    Some((end, together + 1))
}

fn sets(project: &Path) -> Vec<SetLine> {
    store::list(project).into_iter().filter_map(|name| line(project, name)).collect()
}

fn line(project: &Path, name: String) -> Option<SetLine> {
    let set = SetDir::open(project, &name).ok()?;
    let items = count_lines(&set.items_path());
    let annotators = set.annotators().into_iter().map(|who| {
        // A file that cannot be read is told of when it is opened; the list shows it without a count.
        let (lines, _) = set.lines(&who).unwrap_or_default();
        (who, store::standing(&lines).len(), lines.iter().any(Label::is_ai))
    });
    Some(SetLine { annotators: annotators.collect(), guidelines: set.path.join("guidelines.md").is_file(), items, name })
}

fn count_lines(path: &Path) -> usize {
    use std::io::Read;
    let Ok(mut file) = std::fs::File::open(path) else { return 0 };
    let (mut buffer, mut count) = (vec![0; 1 << 16], 0);
    while let Ok(n @ 1..) = file.read(&mut buffer) {
        count += memchr::memchr_iter(b'\n', &buffer[..n]).count();
    }
    count
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
