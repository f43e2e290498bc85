//! The Chat pane: talk to a model, watch it choose its words, and see what it might have said instead.
//! Deliberately not here: generation itself; the pane starts `generate` jobs and folds their reports.

mod act;
mod draw;
mod explain;
mod flow;
mod input;
mod keep;
mod panel;
mod picker;
mod settings;
mod talk;
mod transcript;
mod view;

use std::cell::Cell;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::Frame;
use ratatui::layout::{Position, Rect};

use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint, Pane, Show};
use crate::ui::world::World;
use input::{Input, Typed};
use picker::Choice;
use settings::Settings;
use talk::{Mode, Talk, Version};

/// What a base model is given to go on with when nobody wrote anything yet.
const FIRST_PROMPT: &str = "The cat sat on the";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Focus {
    #[default]
    Input,
    Text,
    Panel,
}

/// What lies above the transcript.
#[derive(Clone, Debug, PartialEq)]
enum Popup {
    Models {
        at: usize,
    },
    /// The model that is asked the same beside the first.
    Second {
        at: usize,
    },
    Alternatives {
        at: usize,
    },
    /// Saved conversations.
    Files {
        at: usize,
    },
    /// The prompt as the model was given it.
    Rendered {
        top: usize,
    },
}

/// What the field is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writing {
    #[default]
    Prompt,
    /// Another prompt for this exchange.
    Edit(usize),
    System,
    Examples,
}

/// Columns in which a rendered prompt is shown.
const RENDERED_WIDTH: u16 = 92;

/// A token of the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    exchange: usize,
    version: usize,
    piece: usize,
}

/// What the last drawing found out, for keys that move by lines.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    lines: usize,
    top: usize,
    height: usize,
    width: usize,
}

pub struct Chat {
    picked: Option<Choice>,
    mode: Mode,
    talk: Talk,
    input: Input,
    settings: Settings,
    focus: Focus,
    row: usize,
    tint: bool,
    zoom: bool,
    cursor: Option<Spot>,
    popup: Option<Popup>,
    /// The newest question for the next token's distribution, and what it was asked about.
    probe: Option<Version>,
    probed: Option<act::Probed>,
    /// The first line shown, while a person reads further up; none follows the text.
    held: Option<usize>,
    /// The next prompt begins a new conversation, or becomes a version of the last exchange.
    fresh: bool,
    writing: Writing,
    /// The prompt that was being written when the field was taken for something else.
    draft: String,
    /// Whether reasoning is shown.
    unfold: bool,
    /// Asked the same beside the first.
    second: Option<Choice>,
    sampling: Option<keep::Sampling>,
    /// The file that was asked for.
    opening: Option<(u64, std::path::PathBuf)>,
    /// Versions that are in the newest file.
    saved: usize,
    outbox: Vec<Effect>,
    seen: Cell<Seen>,
}

impl Default for Chat {
    fn default() -> Self {
        Self::new()
    }
}

impl Chat {
    pub fn new() -> Self {
        Self {
            picked: None,
            mode: Mode::Continue,
            talk: Talk::default(),
            input: Input::new(FIRST_PROMPT),
            settings: Settings::default(),
            focus: Focus::Input,
            row: 0,
            tint: false,
            zoom: false,
            cursor: None,
            popup: None,
            probe: None,
            probed: None,
            held: None,
            fresh: false,
            writing: Writing::Prompt,
            draft: String::new(),
            unfold: false,
            second: None,
            sampling: None,
            opening: None,
            saved: 0,
            outbox: Vec::new(),
            seen: Cell::default(),
        }
    }

    fn captures_text_now(&self) -> bool {
        self.focus == Focus::Input && self.popup.is_none()
    }

    fn model(&self, world: &World) -> Option<Choice> {
        self.picked.clone().or_else(|| picker::default(world))
    }
}

const fn bind(action: Action, keys: &'static str, label: &'static str, help: &'static str, footer: bool) -> Binding {
    Binding { action, keys, label, help, footer }
}

const BINDINGS: &[Binding] = &[
    bind(
        "chat.write",
        "i",
        "write",
        "Write a prompt. Enter sends it, Ctrl-j makes a line, ↑ in an empty field brings the last one back.",
        true,
    ),
    bind("chat.open", "enter", "open", "On a token: what else it might have said. In a list: take the entry. Else: write a prompt.", true),
    bind("chat.again", "a", "again", "The same prompt with a new seed.", true),
    bind("chat.five", "f", "five seeds", "The same prompt under five seeds, below each other: what probabilistic means.", true),
    bind(
        "chat.edit",
        "e",
        "edit",
        "Edit the prompt at the cursor (else the last one); sending it makes a version beside the old one.",
        true,
    ),
    bind("chat.tint", "t", "tint", "Colour every token by its probability (underline where there is no colour).", true),
    bind("chat.models", "m", "model", "Choose whom to talk to: a run, the one in training, or a checkpoint.", true),
    bind("chat.mode", "c", "chat/continue", "Continue a text, or answer in a dialogue.", true),
    bind("chat.next", "tab", "next part", "The field, the text, the sampler.", true),
    bind("chat.previous", "shift-tab", "previous part", "The sampler, the text, the field.", false),
    bind("chat.right", "l|right", "right", "The next token; in the sampler, more.", false),
    bind("chat.left", "h|left", "left", "The token before; in the sampler, less.", false),
    bind("chat.down", "j|down", "down", "A line down; in the sampler, the next setting.", false),
    bind("chat.up", "k|up", "up", "A line up; in the sampler, the setting before.", false),
    bind("chat.half_down", "ctrl-d|pagedown", "page down", "Half a page down.", false),
    bind("chat.half_up", "ctrl-u|pageup", "page up", "Half a page up; the text then stays while more is written.", false),
    bind("chat.top", "g g|home", "top", "To the beginning.", false),
    bind("chat.end", "G|end", "end", "To the end, and follow what is written.", false),
    bind("chat.version_next", "]", "next version", "The next version of this exchange, with what was said after it.", false),
    bind("chat.version_previous", "[", "version before", "The version before of this exchange, with what was said after it.", false),
    bind("chat.second", "b", "beside", "Ask a second model the same, beside the first; again: only one.", false),
    bind("chat.system", "p", "system prompt", "What the model of a chat is told before everything else.", false),
    bind(
        "chat.examples",
        "x",
        "examples",
        "Examples in front: in a chat, lines of question => answer; else a text that yours goes on from.",
        false,
    ),
    bind("chat.think", "T", "reasoning", "Show or fold what stands between <think> and </think>.", false),
    bind("chat.rendered", "v", "view prompt", "The prompt as the model was given it, by its chat template.", false),
    bind("chat.rank", "r", "to Rank", "Four answers to this prompt, to be ranked: into `labels/chat/`.", true),
    bind("chat.like", "L", "like", "A good answer: kept in `labels/liked.jsonl`.", false),
    bind("chat.dislike", "D", "dislike", "A bad answer: kept in `labels/liked.jsonl`.", false),
    bind("chat.keep", "K", "keep as item", "This exchange as an item of an evaluation: into `evals/kept.jsonl`.", false),
    bind("chat.default", "d", "default", "In the sampler: the setting's default.", false),
    bind("chat.more", "n", "go on", "Go on with the text where it ended.", true),
    bind("chat.new", "o", "new", "A new conversation: what was said before is not told to the model.", false),
    bind("chat.zoom", "z", "zoom", "The focused part alone, and back.", false),
    bind("chat.save", "s", "save", "Save the conversation with all its versions to a file in `chats/`.", false),
    bind("chat.files", "w", "open", "Open a saved conversation; this one is saved first.", false),
    bind("chat.page", "M", "write a page", "The conversation as it is shown, as Markdown in `chats/`.", false),
    bind("chat.yank", "y", "yank", "Copy the last text to the clipboard.", false),
];

impl Pane for Chat {
    fn id(&self) -> &'static str {
        "chat"
    }
    fn title(&self) -> &'static str {
        "Chat"
    }
    fn bindings(&self) -> &'static [Binding] {
        BINDINGS
    }
    fn hints(&self, world: &World) -> Vec<Hint> {
        self.offered(world)
    }
    fn explain(&self, world: &World) -> String {
        explain::page(self, world)
    }

    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        self.talk.update(cx.world);
        self.perform(action, cx);
        self.settle(cx)
    }

    fn key(&mut self, key: KeyEvent, cx: &Context) -> Option<Vec<Effect>> {
        if !self.captures_text() {
            return None;
        }
        match key.code {
            KeyCode::Esc => {
                if !self.back() {
                    return None;
                }
            }
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                if self.input.is_empty() {
                    return None;
                }
                self.input.drop_text();
            }
            KeyCode::Tab => self.perform("chat.next", cx),
            KeyCode::BackTab => self.perform("chat.previous", cx),
            KeyCode::PageUp => self.perform("chat.half_up", cx),
            KeyCode::PageDown => self.perform("chat.half_down", cx),
            KeyCode::Enter if key.modifiers.is_empty() && self.talk.open().next().is_some() => {
                self.outbox.push(Effect::Toast("it is still writing: Esc stops it".into()));
            }
            _ => match self.input.key(key) {
                Typed::Sent(text) => self.send(text, cx),
                Typed::Changed => {}
                Typed::Unused => return None,
            },
        }
        Some(self.settle(cx))
    }

    fn paste(&mut self, text: &str, cx: &Context) -> Vec<Effect> {
        self.popup = None;
        self.focus = Focus::Input;
        self.input.paste(text);
        self.settle(cx)
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect, cx: &Context) -> Vec<Effect> {
        let areas = view::Areas::of(self, area);
        let at = Position { x: event.column, y: event.row };
        match event.kind {
            MouseEventKind::ScrollUp => self.scroll(-3),
            MouseEventKind::ScrollDown => self.scroll(3),
            MouseEventKind::Down(MouseButton::Left) if self.popup.is_some() => self.popup = None,
            MouseEventKind::Down(MouseButton::Left) if areas.input.contains(at) => self.focus = Focus::Input,
            MouseEventKind::Down(MouseButton::Left) if areas.panel.is_some_and(|p| p.contains(at)) => self.focus = Focus::Panel,
            MouseEventKind::Down(MouseButton::Left) if areas.text.contains(at) => self.click(at, areas.text, cx),
            _ => return Vec::new(),
        }
        self.settle(cx)
    }

    fn captures_text(&self) -> bool {
        self.captures_text_now()
    }

    fn back(&mut self) -> bool {
        if self.popup.take().is_some() {
            return true;
        }
        if self.talk.open().any(|v| v.stop == talk::Stop::No) {
            self.stop();
            return true;
        }
        if self.cursor.take().is_some() {
            return true;
        }
        if self.zoom {
            self.zoom = false;
            return true;
        }
        self.write_prompt();
        let was = std::mem::replace(&mut self.focus, Focus::Text);
        was != Focus::Text
    }

    fn open(&mut self, show: &Show, cx: &Context) -> Vec<Effect> {
        if let Show::Named(model) = show {
            let known = picker::choices(cx.world).into_iter().find(|c| c.model == *model);
            self.pick(known.unwrap_or_else(|| Choice::named(model)));
        }
        self.settle(cx)
    }

    fn streams(&self, _: &World) -> bool {
        self.talk.open().next().is_some()
    }

    fn refresh(&mut self, cx: &Context) -> Vec<Effect> {
        self.settle(cx)
    }

    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        draw::draw(self, frame, area, cx);
    }
}
