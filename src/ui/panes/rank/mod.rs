//! The Rank pane: responses to a prompt beside each other, put in order by a few keys, each decision on the disk before the
//! next is asked.
//! Deliberately not here: what keys add up to (`data::labels::draft`), what is asked next (`data::labels::session`), files.

mod act;
mod draw;
mod explain;
mod keys;
mod list;
mod page;
mod text;

use std::cell::{Cell, RefCell};
use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;
use ratatui_textarea::TextArea;

use crate::data::labels::Edited;
use crate::data::labels::draft::Draft;
use crate::data::labels::session::Decision;
use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint, Pane};
use crate::ui::widgets::field::Field;
use crate::ui::world::World;
use crate::ui::world::labels::{Ask, Now};
use text::Look;

/// What `weightroom rank` opens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opening {
    pub set: String,
    /// None asks.
    pub annotator: Option<String>,
    /// Decisions that are wanted in this sitting.
    pub goal: Option<usize>,
    /// Asks what others disagree about.
    pub adjudicates: bool,
}

/// What the pane shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    /// The sets of the project.
    #[default]
    List,
    /// What is asked.
    Item,
    Guidelines,
    Summary,
}

/// How the responses stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum View {
    /// By the width of the screen.
    #[default]
    Auto,
    Columns,
    Grid,
    One,
}

/// What a line of text is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// The annotator's name.
    Name,
    Flag,
    Comment,
}

/// What the last drawing found out, for keys that scroll and for the mouse.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Of the prompt, then of each response that was drawn: where, and how many lines it has.
    parts: Vec<(Rect, usize)>,
}

/// Lines that were laid out, until what they come from changes.
#[derive(Default)]
struct Laid {
    /// Turn, response (`usize::MAX` for the prompt), width, look, base of comparison, theme.
    lines: Vec<(LaidKey, std::rc::Rc<Vec<Line<'static>>>)>,
}

type LaidKey = (u64, usize, usize, Look, usize, String);

pub struct Rank {
    part: Part,
    opening: Option<Opening>,
    /// The row of the list.
    at: usize,
    form: Option<list::Form>,
    /// The set that is open or being opened.
    set: String,
    adjudicates: bool,
    goal: Option<usize>,
    goal_told: bool,
    /// Of the answer that the draft is about.
    turn: u64,
    draft: Draft,
    keys: Vec<String>,
    flags: Vec<String>,
    comment: String,
    edited: Option<Edited>,
    /// A decision that is on its way to the disk, and whether it failed to get there.
    pending: Option<(Decision, bool)>,
    /// The response that the last decision implied (counted from 0), and when: its digit is swallowed for a second.
    absorb: Option<(usize, Instant)>,
    /// A word about the last key.
    said: Option<String>,
    /// The turn that the last frame drew, when the first frame with it was begun, and when the terminal showed it.
    drew: Cell<u64>,
    sent: Option<(u64, Instant)>,
    shown: Option<(u64, Instant)>,
    /// None scrolls all responses together; 0 is the prompt.
    focus: Option<usize>,
    /// Of the prompt, then of each response.
    scroll: Vec<usize>,
    tab: usize,
    view: View,
    look: Look,
    field: Option<(Wanted, Field)>,
    editor: Option<TextArea<'static>>,
    page_scroll: usize,
    /// The answers of the world that were heard last.
    heard: (u64, u64),
    /// The job that draws candidates and how far it was at the last look.
    drawn: (u64, u64),
    reminded_ms: u64,
    asked_sets: bool,
    outbox: Vec<Effect>,
    seen: RefCell<Seen>,
    laid: RefCell<Laid>,
}

impl Default for Rank {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Rank {
    /// With what is to be opened at once, where the pane stands alone.
    pub fn new(opening: Option<Opening>) -> Self {
        Self {
            part: Part::List,
            goal: opening.as_ref().and_then(|o| o.goal),
            opening,
            at: 0,
            form: None,
            set: String::new(),
            adjudicates: false,
            goal_told: false,
            turn: 0,
            draft: Draft::default(),
            keys: Vec::new(),
            flags: Vec::new(),
            comment: String::new(),
            edited: None,
            pending: None,
            absorb: None,
            said: None,
            drew: Cell::new(0),
            sent: None,
            shown: None,
            focus: None,
            scroll: Vec::new(),
            tab: 0,
            view: View::Auto,
            look: Look::Markdown,
            field: None,
            editor: None,
            page_scroll: 0,
            heard: (0, 0),
            drawn: (0, 0),
            reminded_ms: 0,
            asked_sets: false,
            outbox: Vec::new(),
            seen: RefCell::default(),
            laid: RefCell::default(),
        }
    }

    /// What is asked, where something is.
    fn now<'a>(&self, world: &'a World) -> Option<&'a Now> {
        world.labels.now.as_deref().filter(|now| now.turn > 0 && now.set == self.set)
    }

    /// The number of responses that are asked about now.
    fn count(&self, world: &World) -> usize {
        self.now(world).and_then(|n| n.showing.as_ref()).map_or(0, |s| s.display.len())
    }

    fn is_asking(&self) -> bool {
        self.part == Part::Item && self.turn > 0
    }

    /// Whether the item is a pair, which has keys of its own.
    fn is_pair(&self) -> bool {
        self.is_asking() && self.scroll.len() == 3
    }

    fn ask(&mut self, ask: Ask) {
        self.outbox.push(keys::load(ask));
    }
}

impl Pane for Rank {
    fn id(&self) -> &'static str {
        "rank"
    }

    fn title(&self) -> &'static str {
        "Rank"
    }

    fn bindings(&self) -> &'static [Binding] {
        match self.part {
            Part::List => keys::LIST,
            Part::Item if self.is_pair() => keys::PAIR,
            Part::Item => keys::ITEM,
            Part::Guidelines | Part::Summary => keys::PAGE,
        }
    }

    fn all_bindings(&self) -> Vec<Binding> {
        let mut all: Vec<Binding> = Vec::new();
        for binding in [keys::ITEM, keys::PAIR, keys::LIST, keys::PAGE].into_iter().flatten() {
            if !all.iter().any(|b| b.action == binding.action) {
                all.push(*binding);
            }
        }
        all
    }

    fn hints(&self, world: &World) -> Vec<Hint> {
        keys::hints(self, world)
    }

    fn explain(&self, world: &World) -> String {
        explain::text(self, world)
    }

    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        self.perform(action, cx);
        std::mem::take(&mut self.outbox)
    }

    fn key(&mut self, key: KeyEvent, cx: &Context) -> Option<Vec<Effect>> {
        let used = if let Some(form) = &mut self.form {
            match form.key(key) {
                list::Typed::Unused => false,
                list::Typed::Changed => true,
                list::Typed::Start => {
                    self.start_drawing(cx);
                    true
                }
            }
        } else if let Some(editor) = &mut self.editor {
            if key.code == KeyCode::Char('s') && key.modifiers.contains(KeyModifiers::CONTROL) {
                self.keep_edit(cx);
                true
            } else if key.code == KeyCode::Esc {
                false
            } else {
                editor.input(ratatui_textarea::Input::from(key));
                true
            }
        } else if let Some((_, field)) = &mut self.field {
            if key.code == KeyCode::Enter {
                self.answered(cx);
                true
            } else {
                field.key(&key)
            }
        } else {
            false
        };
        used.then(|| std::mem::take(&mut self.outbox))
    }

    fn paste(&mut self, text: &str, _: &Context) -> Vec<Effect> {
        if let Some(form) = &mut self.form {
            form.paste(text);
        } else if let Some(editor) = &mut self.editor {
            editor.insert_str(crate::text::visible(&text.replace("\r\n", "\n"), true));
        } else if let Some((_, field)) = &mut self.field {
            field.insert(text);
        }
        Vec::new()
    }

    fn mouse(&mut self, event: MouseEvent, _: Rect, _: &Context) -> Vec<Effect> {
        let at = Position { x: event.column, y: event.row };
        let hit = self.seen.borrow().parts.iter().position(|(area, _)| area.contains(at));
        match event.kind {
            MouseEventKind::ScrollDown | MouseEventKind::ScrollUp => {
                let by = if event.kind == MouseEventKind::ScrollDown { 3 } else { -3 };
                match self.part {
                    Part::Item => self.scroll_part(hit, by),
                    _ => self.page_scroll = self.page_scroll.saturating_add_signed(by),
                }
            }
            MouseEventKind::Down(MouseButton::Left) if self.part == Part::Item => self.focus = hit,
            _ => {}
        }
        Vec::new()
    }

    fn captures_text(&self) -> bool {
        self.form.is_some() || self.editor.is_some() || self.field.is_some()
    }

    fn back(&mut self) -> bool {
        if self.form.take().is_some() || self.editor.take().is_some() || self.field.take().is_some() {
            return true;
        }
        match self.part {
            Part::Guidelines | Part::Summary => {
                self.part = if self.turn > 0 { Part::Item } else { Part::List };
                true
            }
            Part::Item if !self.draft.is_untouched() => {
                while !self.draft.is_untouched() {
                    self.draft.press(crate::data::labels::draft::Press::Back);
                }
                self.said = Some("began anew".into());
                true
            }
            Part::Item if self.focus.take().is_some() => true,
            // Alone, there is nothing behind it.
            Part::Item if self.opening.is_none() => {
                self.part = Part::List;
                self.turn = 0;
                self.ask(Ask::Close);
                self.ask(Ask::Sets);
                true
            }
            _ => false,
        }
    }

    fn refresh(&mut self, cx: &Context) -> Vec<Effect> {
        self.hear(cx);
        std::mem::take(&mut self.outbox)
    }

    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        draw::pane(self, frame, area, cx);
    }

    fn sent(&mut self, begun: Instant) {
        if self.drew.get() == self.turn && self.sent.is_none_or(|(turn, _)| turn != self.turn) {
            self.sent = Some((self.turn, begun));
        }
    }

    fn drawn(&mut self, until: Instant, at: Instant) {
        if let Some((turn, begun)) = self.sent
            && until >= begun
            && self.shown.is_none_or(|(shown, _)| shown != turn)
        {
            self.shown = Some((turn, at));
        }
    }

    fn awaits_drawing(&self) -> bool {
        let of = |moment: Option<(u64, Instant)>| moment.map(|(turn, _)| turn);
        self.is_asking() && !self.captures_text() && of(self.sent) == Some(self.turn) && of(self.shown) != Some(self.turn)
    }
}
