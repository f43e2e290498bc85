//! The Models pane: the models of this project and of the shared cache, and what one of them is made of.
//! Deliberately not here: looking at files, fetching and weighing, which the loader and the engine do.

mod act;
mod draw;
mod explain;
mod overview;
mod tensors;

use std::cell::Cell;
use std::collections::BTreeMap;

use crossterm::event::{KeyCode, KeyEvent, MouseButton, MouseEvent, MouseEventKind};
use ratatui::Frame;
use ratatui::layout::{Position, Rect};

use crate::model::anatomy::Figures;
use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint, Pane, Show};
use crate::ui::widgets::field::Field;
use crate::ui::world::World;
use tensors::Sort;

/// What the pane shows of the chosen model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Overview,
    Tensors,
    Config,
    Template,
}

const PARTS: [(Part, &str); 4] =
    [(Part::Overview, "Overview"), (Part::Tensors, "Tensors"), (Part::Config, "Config"), (Part::Template, "Template")];

/// A line that a person is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// A repository to pull.
    Repo,
    /// What tensors' names shall hold.
    Filter,
}

/// A model's figures as far as they were taken.
struct Weighed {
    model: String,
    ticket: u64,
    /// Reports of the job that were read.
    read: usize,
    figures: BTreeMap<String, Option<Figures>>,
    norm: Option<f64>,
}

/// What the last drawing found out, for keys that move by lines and for the mouse.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    list: Rect,
    main: Rect,
    lines: usize,
    height: usize,
}

#[derive(Default)]
pub struct Models {
    part: Part,
    in_list: bool,
    zoom: bool,
    /// The row of the list, and the model that is shown.
    at: usize,
    name: String,
    scroll: usize,
    sort: Sort,
    filter: String,
    asking: Option<(Wanted, Field)>,
    weighed: Option<Weighed>,
    /// Pulls that were asked for here, with what they are of.
    pulls: Vec<(u64, String)>,
    /// Whether the list and the model were asked for, and what of each is awaited.
    listing: bool,
    asked: Option<String>,
    /// Jobs that were seen to end: the list is read anew after one that makes models.
    ended: usize,
    seen: Cell<Seen>,
}

const fn bind(action: Action, keys: &'static str, label: &'static str, help: &'static str, footer: bool) -> Binding {
    Binding { action, keys, label, help, footer }
}

const BINDINGS: &[Binding] = &[
    bind("models.part", "v", "next view", "The next view: overview, tensors, config, template.", true),
    bind("models.part_back", "V", "view before", "The view before.", false),
    bind("models.open", "enter", "choose", "Show the model under the cursor.", true),
    bind("models.pull", "p|o", "pull", "Fetch a model or a dataset from the Hugging Face Hub.", true),
    bind("models.weigh", "w", "weigh", "Look through all numbers: norm, mean and largest of each tensor, and what is not finite.", true),
    bind("models.stop", "x", "stop", "Stop the pull or the weighing that was started here. Asks first.", false),
    bind("models.chat", "t", "talk", "Talk to this model in Chat.", true),
    bind("models.sort", "s", "sort", "Sort the tensors by place, size, norm or largest number.", false),
    bind("models.filter", "/", "filter", "Show only tensors whose names hold a text.", false),
    bind("models.reload", "r", "look again", "Look through the project and the cache again.", false),
    bind("models.focus", "tab|shift-tab", "list", "Move between the list of models and the view.", true),
    bind("models.down", "j|down", "down", "The next line.", false),
    bind("models.up", "k|up", "up", "The line before.", false),
    bind("models.page_down", "ctrl-d|pagedown", "page down", "Half a page down.", false),
    bind("models.page_up", "ctrl-u|pageup", "page up", "Half a page up.", false),
    bind("models.top", "g g|home", "top", "The first line.", false),
    bind("models.end", "G|end", "end", "The last line.", false),
    bind("models.yank", "y", "copy", "Copy the model's name; in the template's view, the template.", false),
    bind("models.zoom", "z", "zoom", "Give the whole pane to the view.", false),
];

impl Pane for Models {
    fn id(&self) -> &'static str {
        "models"
    }

    fn title(&self) -> &'static str {
        "Models"
    }

    fn bindings(&self) -> &'static [Binding] {
        BINDINGS
    }

    fn hints(&self, world: &World) -> Vec<Hint> {
        if self.asking.is_some() {
            return Vec::new();
        }
        let mut hints = Vec::new();
        if self.in_list {
            hints.push(("models.open", "choose"));
        }
        let next = match self.part {
            Part::Overview => "tensors",
            Part::Tensors => "config",
            Part::Config => "template",
            Part::Template => "overview",
        };
        if !self.jobs(world).is_empty() {
            hints.push(("models.stop", "stop"));
        }
        if !self.name.is_empty() {
            hints.push(("models.part", next));
            if self.part == Part::Tensors {
                hints.extend([("models.sort", "sort"), ("models.filter", "filter")]);
            }
            hints.extend([("models.weigh", "weigh"), ("models.chat", "talk")]);
        }
        hints.extend([("models.pull", "pull"), ("models.focus", if self.in_list { "view" } else { "models" })]);
        hints
    }

    fn explain(&self, world: &World) -> String {
        explain::text(self, world)
    }

    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let mut effects = self.perform(action, cx.world);
        effects.extend(self.ask(cx.world));
        effects
    }

    fn key(&mut self, key: KeyEvent, cx: &Context) -> Option<Vec<Effect>> {
        let (wanted, field) = self.asking.as_mut()?;
        if key.code == KeyCode::Enter {
            let (wanted, text) = (*wanted, field.text().trim().to_owned());
            self.asking = None;
            return Some(self.answered(wanted, &text, cx.world));
        }
        let used = field.key(&key);
        if *wanted == Wanted::Filter && used {
            // The list follows what is typed.
            (self.filter, self.scroll) = (field.text().trim().to_lowercase(), 0);
        }
        used.then(Vec::new)
    }

    fn paste(&mut self, text: &str, _: &Context) -> Vec<Effect> {
        if let Some((_, field)) = &mut self.asking {
            field.insert(text);
        }
        Vec::new()
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
                    (self.at, self.in_list) = (from + row, true);
                    return self.act("models.open", cx);
                }
            }
            MouseEventKind::Down(MouseButton::Left) if seen.main.contains(at) => self.in_list = false,
            _ => {}
        }
        Vec::new()
    }

    fn captures_text(&self) -> bool {
        self.asking.is_some()
    }

    fn back(&mut self) -> bool {
        if let Some((wanted, _)) = self.asking.take() {
            if wanted == Wanted::Filter {
                self.filter.clear();
            }
            return true;
        }
        if self.part == Part::Tensors && !std::mem::take(&mut self.filter).is_empty() {
            return true;
        }
        if std::mem::take(&mut self.zoom) || std::mem::take(&mut self.in_list) {
            return true;
        }
        let elsewhere = self.part != Part::Overview;
        (self.part, self.scroll) = (Part::Overview, if elsewhere { 0 } else { self.scroll });
        elsewhere
    }

    fn open(&mut self, show: &Show, cx: &Context) -> Vec<Effect> {
        if let Show::Named(name) = show {
            self.show(name.clone());
        }
        self.ask(cx.world)
    }

    fn refresh(&mut self, cx: &Context) -> Vec<Effect> {
        self.hear(cx.world);
        self.ask(cx.world)
    }

    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        draw::pane(self, frame, area, cx);
    }
}
