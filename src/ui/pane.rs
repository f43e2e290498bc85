//! What a pane is. A pane holds view state only; `draw` and `key` do no I/O.

use std::time::Instant;

use crossterm::event::{KeyEvent, MouseEvent};
use ratatui::Frame;
use ratatui::layout::Rect;

use super::keymap::{Action, Binding};
use super::theme::Theme;
use super::world::World;
use crate::report::{JobId, Signal};
use crate::spec::JobSpec;

/// What a pane asks of the shell.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Start a job; `ticket` is chosen by the pane with `World::ticket()` semantics and comes back with the job's number.
    Start {
        ticket: u64,
        spec: JobSpec,
    },
    Signal(JobId, Signal),
    /// Move a job that waits for the device by so many places in the line, forward where negative.
    Move(JobId, i64),
    /// Go to the pane of this id (`life`, `train`, `chat`, `log`).
    Go(&'static str),
    /// Go to a pane and show something there; `Pane::open` says what it understands.
    Open(&'static str, Show),
    /// Ask first; the effect happens on Enter, once the question has been drawn.
    Confirm {
        question: String,
        then: Box<Effect>,
    },
    /// Load a run from disk into the world (recipe, series, samples), in the background.
    OpenRun(String),
    /// A short line on the bottom for a few seconds.
    Toast(String),
    Yank(String),
    /// Work that touches files, done by the loader thread; the answer comes as a change of the world.
    Load(super::world::Load),
    Quit,
}

/// What a pane is asked to show when another one leads there.
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    /// Train: the run of the job that answers this ticket, on its samples.
    Samples { ticket: u64 },
    /// Train: the curves of these runs over each other, the first one selected. Some may not have started yet: they
    /// appear in the world under these names when they do.
    Compare(Vec<String>),
    /// Train: this run. Chat: this model (a run's name or a directory).
    Named(String),
    /// Train: a new recipe form.
    New,
}

/// An action (the pane's own or the shell's), and what it would do now in a word or two.
pub type Hint = (Action, &'static str);

/// What a pane sees besides the world while it handles input or draws.
pub struct Context<'a> {
    pub world: &'a World,
    pub theme: &'a Theme,
    /// Milliseconds since the Unix epoch, of this frame.
    pub now_ms: u64,
    /// When the event that is handled was read from the terminal; none while nothing is.
    pub read: Option<Instant>,
}

/// One screenful of the workbench with keys of its own.
pub trait Pane {
    fn id(&self) -> &'static str;
    fn title(&self) -> &'static str;
    /// Keys of this pane: the help overlay and the palette come from here.
    fn bindings(&self) -> &'static [Binding];
    /// All keys that it ever has: those of its other modes (a form) too, so that they can be rebound.
    fn all_bindings(&self) -> Vec<Binding> {
        self.bindings().to_vec()
    }
    /// What the footer offers now, most useful first: actions with a word for each. Only what would do something now.
    fn hints(&self, world: &World) -> Vec<Hint> {
        let _ = world;
        self.bindings().iter().filter(|b| b.footer).map(|b| (b.action, b.label)).collect()
    }
    /// The Explain page: what this pane shows and why it matters, in plain words, with the numbers now on screen.
    fn explain(&self, world: &World) -> String;
    /// A bound action of this pane.
    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect>;
    /// A key that nothing bound, or any key while `captures_text`. None: not used.
    fn key(&mut self, key: KeyEvent, cx: &Context) -> Option<Vec<Effect>> {
        let _ = (key, cx);
        None
    }
    fn paste(&mut self, text: &str, cx: &Context) -> Vec<Effect> {
        let _ = (text, cx);
        Vec::new()
    }
    fn mouse(&mut self, event: MouseEvent, area: Rect, cx: &Context) -> Vec<Effect> {
        let _ = (event, area, cx);
        Vec::new()
    }
    /// Whether printable keys go to a text field of this pane now.
    fn captures_text(&self) -> bool {
        false
    }
    /// Esc: goes back one step within the pane; false when there is nothing to go back from.
    fn back(&mut self) -> bool {
        false
    }
    /// Another pane leads here; called after the pane was entered.
    fn open(&mut self, show: &Show, cx: &Context) -> Vec<Effect> {
        let _ = (show, cx);
        Vec::new()
    }
    /// When to draw again although nothing came in (milliseconds since the epoch); none while nothing moves by itself.
    fn wakes(&self, cx: &Context) -> Option<u64> {
        let _ = cx;
        None
    }
    /// Whether every arrival should be drawn at once (text that streams) and not ten times a second.
    fn streams(&self, world: &World) -> bool {
        let _ = world;
        false
    }
    /// Called after the world changed and when the pane is entered; may ask for work.
    fn refresh(&mut self, cx: &Context) -> Vec<Effect> {
        let _ = cx;
        Vec::new()
    }
    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context);
    /// A frame that was begun then is on its way to the terminal.
    fn sent(&mut self, begun: Instant) {
        let _ = begun;
    }
    /// All frames that were begun until `until` are on the terminal since `at`.
    fn drawn(&mut self, until: Instant, at: Instant) {
        let _ = (until, at);
    }
    /// Whether something is on its way to the terminal that keys must not answer before it was seen: until that is known,
    /// keys wait.
    fn awaits_drawing(&self) -> bool {
        false
    }
}
