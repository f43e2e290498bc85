//! The Tokens pane: how tokenizers cut a text, what their vocabularies hold, and how a word was put together.
//! Deliberately not here: tokenizing and counting, which the loader and the engine do.

mod about;
mod act;
mod draw;
mod explain;
mod flow;
mod form;
mod vocabulary;
mod words;

use std::cell::Cell;

use crossterm::event::{KeyCode, KeyEvent, MouseButton, MouseEvent, MouseEventKind};
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui_textarea::TextArea;

use crate::text::visible;
use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint, Pane};
use crate::ui::widgets::field::Field;
use crate::ui::world::World;
use crate::ui::world::tokens::{Cut, Listed};
use form::Form;
use vocabulary::Vocabulary;

/// What stands in the field when nobody wrote anything yet.
const FIRST_TEXT: &str = "The cat sat on the mat.\nunbelievable: 12345 naïve 漢字 🚀";

/// What the pane shows of the chosen tokenizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Text,
    Vocabulary,
    Words,
    About,
}

const PARTS: [(Part, &str); 4] = [(Part::Text, "Text"), (Part::Vocabulary, "Vocabulary"), (Part::Words, "Words"), (Part::About, "About")];

/// A path that a person is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// A tokenizer to open.
    Tokenizer,
    /// Files to count tokens in.
    Data,
}

/// How one tokenizer cuts the text: what was asked last, and what was answered last.
#[derive(Default)]
struct Side {
    name: String,
    ticket: Option<u64>,
    /// The text's revision that the open question is about.
    asked: u64,
    cut: Option<Cut>,
    fault: Option<String>,
}

/// How often tokens stand in a dataset.
struct Counted {
    tokenizer: String,
    data: String,
    bytes: u64,
    tokens: u64,
    counts: Vec<u64>,
}

/// What the last drawing found out, for keys that move by lines and for the mouse.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    list: Rect,
    main: Rect,
    lines: usize,
    height: usize,
}

pub struct Tokens {
    part: Part,
    in_list: bool,
    zoom: bool,
    /// The row of the list, and the tokenizers that are shown: the chosen one, and one beside it.
    at: usize,
    sides: [Side; 2],
    text: TextArea<'static>,
    revision: u64,
    typing: bool,
    /// Ids under the tokens.
    ids: bool,
    scroll: usize,
    /// None: the word with the most merges, which has the most to show.
    word: Option<usize>,
    vocabulary: Vocabulary,
    asking: Option<(Wanted, Field)>,
    form: Option<Form>,
    /// Jobs that were asked for here: their tickets, and what they are about.
    training: Option<(u64, String)>,
    counting: Option<(u64, String, String)>,
    counted: Option<Counted>,
    /// Tokenizers that were opened by their paths.
    extra: Vec<Listed>,
    outbox: Vec<Effect>,
    seen: Cell<Seen>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self::new()
    }
}

impl Tokens {
    pub fn new() -> Self {
        let mut pane = Self {
            part: Part::Text,
            in_list: false,
            zoom: false,
            at: 0,
            sides: Default::default(),
            text: TextArea::default(),
            revision: 0,
            typing: false,
            ids: true,
            scroll: 0,
            word: None,
            vocabulary: Vocabulary::default(),
            asking: None,
            form: None,
            training: None,
            counting: None,
            counted: None,
            extra: Vec::new(),
            outbox: Vec::new(),
            seen: Cell::default(),
        };
        pane.set_text(FIRST_TEXT);
        pane
    }

    fn set_text(&mut self, text: &str) {
        self.text = TextArea::new(text.split('\n').map(str::to_owned).collect());
        self.text.set_hard_tab_indent(true);
        self.text.move_cursor(ratatui_textarea::CursorMove::Bottom);
        self.text.move_cursor(ratatui_textarea::CursorMove::End);
        self.revision += 1;
    }

    /// All tokenizers that can be chosen.
    fn entries<'a>(&'a self, world: &'a World) -> Vec<&'a Listed> {
        self.extra.iter().chain(world.shelf.listed.iter().flatten()).collect()
    }

    fn name(&self) -> &str {
        &self.sides[0].name
    }

    fn compares(&self) -> bool {
        !self.sides[1].name.is_empty()
    }
}

const fn bind(action: Action, keys: &'static str, label: &'static str, help: &'static str, footer: bool) -> Binding {
    Binding { action, keys, label, help, footer }
}

const BINDINGS: &[Binding] = &[
    bind("tokens.write", "i", "write", "Write in the text field; the tokens follow as you type. Esc leaves it.", true),
    bind("tokens.part", "v", "next view", "The next view: text, vocabulary, words, about.", true),
    bind("tokens.part_back", "V", "view before", "The view before.", false),
    bind("tokens.open", "enter", "choose", "Show the tokenizer under the cursor; elsewhere, write in the text field.", true),
    bind("tokens.beside", "b", "beside", "Put the tokenizer under the cursor beside the chosen one, or take it away.", true),
    bind("tokens.train", "t|o", "train", "Train a new tokenizer: a form with its options.", true),
    bind("tokens.count", "d", "count", "Count the tokens of files: frequencies, what is never used, bytes a token.", true),
    bind("tokens.path", "a", "open file", "Open a tokenizer by its path.", false),
    bind("tokens.ids", "m", "ids", "Show or hide the ids under the tokens.", false),
    bind("tokens.search", "/", "search", "Search the vocabulary.", false),
    bind("tokens.sort", "s", "sort", "Sort the vocabulary by id, length or frequency.", false),
    bind("tokens.only", "f", "only", "All of the vocabulary, what is never used, what is special, or one script.", false),
    bind("tokens.next_word", "l|right|n", "next word", "The next word.", false),
    bind("tokens.last_word", "h|left|N", "word before", "The word before.", false),
    bind("tokens.stop", "x", "stop", "Stop the training or counting that was started here. Asks first.", false),
    bind("tokens.focus", "tab|shift-tab", "list", "Move between the list of tokenizers and the view.", true),
    bind("tokens.down", "j|down", "down", "The next line.", false),
    bind("tokens.up", "k|up", "up", "The line before.", false),
    bind("tokens.page_down", "ctrl-d|pagedown", "page down", "Half a page down.", false),
    bind("tokens.page_up", "ctrl-u|pageup", "page up", "Half a page up.", false),
    bind("tokens.top", "g g|home", "top", "The first line.", false),
    bind("tokens.end", "G|end", "end", "The last line.", false),
    bind("tokens.yank", "y", "copy", "Copy the ids of the text, or the token under the cursor.", false),
    bind("tokens.zoom", "z", "zoom", "Give the whole pane to the view.", false),
];

impl Pane for Tokens {
    fn id(&self) -> &'static str {
        "tokens"
    }

    fn title(&self) -> &'static str {
        "Tokens"
    }

    fn bindings(&self) -> &'static [Binding] {
        BINDINGS
    }

    fn hints(&self, world: &World) -> Vec<Hint> {
        if self.form.is_some() || self.asking.is_some() || self.vocabulary.searching {
            return Vec::new();
        }
        let next = match self.part {
            Part::Text => "vocabulary",
            Part::Vocabulary => "words",
            Part::Words => "about",
            Part::About => "text",
        };
        let mut hints = match (self.in_list, self.part) {
            (true, _) => vec![("tokens.open", "choose"), ("tokens.beside", "beside"), ("tokens.path", "open file")],
            (_, Part::Text) => {
                vec![("tokens.write", "write"), ("tokens.part", next), ("tokens.ids", if self.ids { "hide ids" } else { "ids" })]
            }
            (_, Part::Vocabulary) => vec![
                ("tokens.search", "search"),
                ("tokens.sort", "sort"),
                ("tokens.only", "only"),
                ("tokens.count", "count in files"),
                ("tokens.part", next),
            ],
            (_, Part::Words) => vec![("tokens.next_word", "next word"), ("tokens.write", "write"), ("tokens.part", next)],
            (_, Part::About) => vec![("tokens.count", "count in files"), ("tokens.part", next)],
        };
        if self.busy(world) {
            hints.push(("tokens.stop", "stop"));
        }
        hints.extend([("tokens.train", "train"), ("tokens.focus", if self.in_list { "view" } else { "tokenizers" })]);
        hints
    }

    fn explain(&self, world: &World) -> String {
        explain::text(self, world)
    }

    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let mut effects = self.perform(action, cx);
        effects.extend(self.ask(cx.world));
        effects
    }

    fn key(&mut self, key: KeyEvent, cx: &Context) -> Option<Vec<Effect>> {
        let used = if let Some(form) = &mut self.form {
            match form.key(key) {
                form::Typed::Unused => return None,
                form::Typed::Changed => {}
                form::Typed::Start => self.start_training(cx.world),
            }
            true
        } else if let Some((wanted, field)) = &mut self.asking {
            match key.code {
                KeyCode::Enter => {
                    let (wanted, path) = (*wanted, field.text().trim().to_owned());
                    self.asking = None;
                    self.answered(wanted, &path, cx.world);
                    true
                }
                _ => field.key(&key),
            }
        } else if self.vocabulary.searching {
            self.vocabulary.key(key)
        } else if self.typing {
            self.type_key(key)
        } else {
            false
        };
        if !used {
            return None;
        }
        self.vocabulary.look(cx.world.shelf.get(&self.sides[0].name), self.counted.as_ref());
        let mut effects = std::mem::take(&mut self.outbox);
        effects.extend(self.ask(cx.world));
        Some(effects)
    }

    fn paste(&mut self, text: &str, cx: &Context) -> Vec<Effect> {
        if let Some(form) = &mut self.form {
            form.paste(text);
        } else if let Some((_, field)) = &mut self.asking {
            field.insert(text);
        } else if self.vocabulary.searching {
            self.vocabulary.needle.insert(text);
            self.vocabulary.look(cx.world.shelf.get(&self.sides[0].name), self.counted.as_ref());
        } else if self.typing {
            // Tabs and line ends are worth seeing as tokens; other control characters come as marks.
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            let plain: Vec<String> = text.split('\t').map(|part| visible(part, true).into_owned()).collect();
            self.text.insert_str(plain.join("\t"));
            self.revision += 1;
        }
        self.ask(cx.world)
    }

    fn mouse(&mut self, event: MouseEvent, _: Rect, cx: &Context) -> Vec<Effect> {
        let seen = self.seen.get();
        let at = Position { x: event.column, y: event.row };
        match event.kind {
            MouseEventKind::ScrollDown => self.step(cx.world, 3),
            MouseEventKind::ScrollUp => self.step(cx.world, -3),
            MouseEventKind::Down(MouseButton::Left) if seen.list.contains(at) => {
                let row = usize::from(at.y.saturating_sub(seen.list.y + 1));
                let len = self.entries(cx.world).len();
                let from = crate::ui::widgets::window(self.at, len, usize::from(seen.list.height.saturating_sub(2)));
                if from + row < len {
                    (self.at, self.in_list, self.typing) = (from + row, true, false);
                    return self.act("tokens.open", cx);
                }
            }
            MouseEventKind::Down(MouseButton::Left) if seen.main.contains(at) => self.in_list = false,
            _ => {}
        }
        Vec::new()
    }

    fn captures_text(&self) -> bool {
        self.typing || self.form.is_some() || self.asking.is_some() || self.vocabulary.searching
    }

    fn back(&mut self) -> bool {
        if self.form.take().is_some() || self.asking.take().is_some() {
            return true;
        }
        if self.vocabulary.searching || !self.vocabulary.needle.text().is_empty() && self.part == Part::Vocabulary {
            self.vocabulary.leave();
            return true;
        }
        if std::mem::take(&mut self.typing) || std::mem::take(&mut self.zoom) || std::mem::take(&mut self.in_list) {
            return true;
        }
        if self.part != Part::Text {
            self.part = Part::Text;
            return true;
        }
        false
    }

    fn streams(&self, world: &World) -> bool {
        let _ = world;
        // The tokens of what is being typed belong on the screen with the key.
        self.typing
    }

    fn refresh(&mut self, cx: &Context) -> Vec<Effect> {
        self.hear(cx.world);
        let mut effects = std::mem::take(&mut self.outbox);
        effects.extend(self.ask(cx.world));
        effects
    }

    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        draw::pane(self, frame, area, cx);
    }
}
