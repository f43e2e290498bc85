//! Life, the home pane: the life of a model as a map, with what this project has at each station and what comes next.
//! Deliberately not here: the stations' own work; Enter leads to the pane that does it.

mod below;
mod draw;
mod experiments;
mod next;
mod stations;

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::Frame;
use ratatui::layout::{Position, Rect};

use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Hint, Pane, Show};
use crate::ui::widgets;
use crate::ui::world::evals::Ask;
use crate::ui::world::{Load, Run, World};
use experiments::EXPERIMENTS;
use stations::{Station, View};

const BINDINGS: &[Binding] = &[
    Binding {
        action: "life.enter",
        keys: "enter",
        label: "go",
        help: "Go to this station or start it; in the experiments, run this one.",
        footer: true,
    },
    Binding {
        action: "life.focus",
        keys: "tab|shift-tab",
        label: "map/experiments",
        help: "Move between the map and the experiments.",
        footer: true,
    },
    Binding { action: "life.model", keys: "m", label: "next model", help: "Choose the model whose life is shown.", footer: true },
    Binding { action: "life.new", keys: "o", label: "new run", help: "Open a recipe of your own: your data, your model.", footer: true },
    Binding { action: "life.right", keys: "l|right", label: "right", help: "The next station.", footer: false },
    Binding { action: "life.left", keys: "h|left", label: "left", help: "The station before.", footer: false },
    Binding {
        action: "life.down",
        keys: "j|down",
        label: "down",
        help: "The next experiment, or from the map to the experiments.",
        footer: false,
    },
    Binding { action: "life.up", keys: "k|up", label: "up", help: "The experiment before, or back to the map.", footer: false },
    Binding { action: "life.top", keys: "g g|home", label: "first", help: "The first one.", footer: false },
    Binding { action: "life.end", keys: "G|end", label: "last", help: "The last one.", footer: false },
];

#[derive(Default)]
pub struct Life {
    /// None: the station that comes next, whichever that is.
    station: Option<Station>,
    in_experiments: bool,
    experiment: usize,
    /// The model that was chosen; none: the live run, else the newest.
    model: Option<String>,
    /// Whether the sets of labels were asked for.
    asked_sets: bool,
    /// The run whose recipe was asked for.
    asked: Option<String>,
    /// Whether evaluations were looked for.
    asked_evals: bool,
}

impl Life {
    fn model<'a>(&self, world: &'a World) -> Option<&'a Run> {
        self.model.as_ref().and_then(|name| world.runs.get(name)).or_else(|| stations::newest(world))
    }

    fn station(&self, world: &World) -> Station {
        self.station.unwrap_or_else(|| stations::next(self.model(world)))
    }

    fn go_station(&mut self, world: &World, by: isize) {
        let at = self.station(world) as usize;
        let at = at.saturating_add_signed(by).min(Station::ALL.len() - 1);
        self.station = Some(Station::ALL[at]);
        self.in_experiments = false;
    }

    fn enter(&mut self, cx: &Context) -> Vec<Effect> {
        if self.in_experiments {
            return EXPERIMENTS.get(self.experiment).map(|e| e.run(cx.world, self.model(cx.world))).unwrap_or_default();
        }
        let run = self.model(cx.world);
        match (self.station(cx.world), run) {
            (Station::Data, Some(run)) => match stations::recipe(Some(run)).and_then(|r| r.data.train.first().cloned()) {
                Some(file) => vec![Effect::Open("data", Show::Named(file))],
                None => vec![Effect::Go("data")],
            },
            (Station::Tokenizer, Some(_)) => vec![Effect::Open("train", Show::New)],
            (Station::Evaluate, Some(run)) => vec![Effect::Open("eval", Show::Named(run.name.clone()))],
            (Station::Rank, Some(_)) => vec![Effect::Go("rank")],
            (Station::Chat, Some(run)) => vec![Effect::Open("chat", Show::Named(run.name.clone()))],
            (_, Some(run)) => vec![Effect::Open("train", Show::Named(run.name.clone()))],
            (Station::Rank, None) => vec![Effect::Go("rank")],
            (Station::Chat | Station::Evaluate, None) => {
                vec![Effect::Toast("there is no model yet; the station Pretrain makes one".into())]
            }
            (_, None) => {
                // From here on the map follows the new run.
                (self.station, self.model) = (None, None);
                experiments::train_sample(cx.world)
            }
        }
    }

    fn next_model(&mut self, world: &World) -> Vec<Effect> {
        let mut names: Vec<&Run> = world.runs.values().collect();
        names.sort_by_key(|r| std::cmp::Reverse(r.at_ms));
        let Some(current) = self.model(world) else { return vec![Effect::Toast("there is no model yet".into())] };
        let at = names.iter().position(|r| r.name == current.name).unwrap_or(0);
        self.model = names.get((at + 1) % names.len().max(1)).map(|r| r.name.clone());
        Vec::new()
    }
}

impl Pane for Life {
    fn id(&self) -> &'static str {
        "life"
    }

    fn title(&self) -> &'static str {
        "Life"
    }

    fn bindings(&self) -> &'static [Binding] {
        BINDINGS
    }

    fn hints(&self, world: &World) -> Vec<Hint> {
        let none = world.runs.is_empty();
        let enter = match (self.in_experiments, none, self.station(world)) {
            (true, ..) if EXPERIMENTS.get(self.experiment).is_some_and(|e| e.compared(world).is_some()) => "curves",
            (true, ..) => "run it",
            (false, _, Station::Rank) => "rank",
            (false, true, Station::Evaluate | Station::Chat) => "",
            (false, true, _) => "train the sample",
            (false, false, Station::Data) => "rows",
            (false, false, Station::Tokenizer) => "recipe",
            (false, false, Station::Evaluate) => "scores",
            (false, false, Station::Chat) => "talk",
            (false, false, _) => "watch",
        };
        let mut hints = vec![("life.enter", enter), ("life.focus", if self.in_experiments { "map" } else { "experiments" })];
        hints.retain(|(_, label)| !label.is_empty());
        if world.runs.len() > 1 {
            hints.push(("life.model", "next model"));
        }
        hints.push(("life.new", "new run"));
        hints
    }

    fn explain(&self, world: &World) -> String {
        stations::explain(world, self.model(world))
    }

    fn act(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let last = EXPERIMENTS.len() - 1;
        match action {
            "life.enter" => return self.enter(cx),
            "life.model" => return self.next_model(cx.world),
            "life.new" => return vec![Effect::Open("train", Show::New)],
            "life.focus" => self.in_experiments = !self.in_experiments,
            "life.right" => self.go_station(cx.world, 1),
            "life.left" => self.go_station(cx.world, -1),
            "life.down" if self.in_experiments => self.experiment = (self.experiment + 1).min(last),
            "life.down" => (self.in_experiments, self.experiment) = (true, 0),
            "life.up" if self.in_experiments && self.experiment > 0 => self.experiment -= 1,
            "life.up" => self.in_experiments = false,
            "life.top" if self.in_experiments => self.experiment = 0,
            "life.top" => self.station = Some(Station::ALL[0]),
            "life.end" if self.in_experiments => self.experiment = last,
            "life.end" => self.station = Station::ALL.last().copied(),
            _ => {}
        }
        Vec::new()
    }

    fn mouse(&mut self, event: MouseEvent, area: Rect, cx: &Context) -> Vec<Effect> {
        let at = Position { x: event.column, y: event.row };
        let places = draw::places(area);
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) => {
                if let Some(index) = places.stations.iter().position(|r| r.contains(at)) {
                    let station = Station::ALL[index];
                    let again = !self.in_experiments && self.station(cx.world) == station;
                    (self.station, self.in_experiments) = (Some(station), false);
                    return if again { self.enter(cx) } else { Vec::new() };
                }
                if places.experiments.contains(at) && event.row > places.experiments.y {
                    let height = usize::from(places.experiments.height.saturating_sub(2));
                    let row =
                        usize::from(event.row - places.experiments.y - 1) + widgets::window(self.experiment, EXPERIMENTS.len(), height);
                    if row < EXPERIMENTS.len() {
                        (self.experiment, self.in_experiments) = (row, true);
                    }
                }
                Vec::new()
            }
            MouseEventKind::ScrollDown => self.act("life.down", cx),
            MouseEventKind::ScrollUp => self.act("life.up", cx),
            _ => Vec::new(),
        }
    }

    fn back(&mut self) -> bool {
        let changed = self.in_experiments || self.station.is_some();
        (self.in_experiments, self.station) = (false, None);
        changed
    }

    fn refresh(&mut self, cx: &Context) -> Vec<Effect> {
        if self.model.as_ref().is_some_and(|name| !cx.world.runs.contains_key(name)) {
            self.model = None;
        }
        let mut effects = Vec::new();
        if cx.world.labels.sets.is_none() && !std::mem::replace(&mut self.asked_sets, true) {
            effects.push(Effect::Load(Load::Labels(crate::ui::world::labels::Ask::Sets)));
        }
        let Some(run) = self.model(cx.world) else { return effects };
        // A run that lives has its recipe on disk by the time of its first step.
        let there = !run.is_live() || run.step > 0;
        if run.recipe.is_empty() && there && self.asked.as_ref() != Some(&run.name) {
            self.asked = Some(run.name.clone());
            effects.push(Effect::OpenRun(run.name.clone()));
        }
        if cx.world.evals.listed.is_none() && !std::mem::replace(&mut self.asked_evals, true) {
            effects.push(Effect::Load(Load::Evals(Ask::List)));
        }
        effects
    }

    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        draw::draw(frame, area, &self.view(cx.world), cx);
    }
}

impl Life {
    fn view<'a>(&self, world: &'a World) -> View<'a> {
        View { run: self.model(world), station: self.station(world), in_experiments: self.in_experiments, experiment: self.experiment }
    }
}
