//! What the keys of the Data pane do. Deliberately not here: what is drawn.

use ratatui::layout::{Position, Rect};

use super::form::{Form, Outcome};
use super::{Data, Side, Typing, ask, facts, side};
use crate::report::Signal;
use crate::spec::{InspectSpec, JobSpec};
use crate::ui::desk::{Ask, View};
use crate::ui::keymap::Action;
use crate::ui::pane::{Context, Effect};
use crate::ui::widgets;
use crate::ui::widgets::field::Field;
use crate::ui::world::World;

/// Rows of half a page, and lines.
const PAGE: isize = 12;

fn toast(text: &str) -> Vec<Effect> {
    vec![Effect::Toast(text.into())]
}

impl Data {
    pub(super) fn action(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let world = cx.world;
        match action {
            "data.open" => {
                self.typing = Some((Typing::Open, Field::default()));
                return Vec::new();
            }
            "data.down" | "data.up" | "data.page_down" | "data.page_up" | "data.top" | "data.end" => {
                let by = match action {
                    "data.down" => 1,
                    "data.up" => -1,
                    "data.page_down" => PAGE,
                    "data.page_up" => -PAGE,
                    "data.top" => isize::MIN / 2,
                    _ => isize::MAX / 2,
                };
                self.step(by, world);
                return Vec::new();
            }
            "data.focus" => self.in_side = !self.in_side && self.state(world).is_some(),
            "data.zoom" => self.zoomed = !self.zoomed,
            _ if self.state(world).is_none() => {
                return match action {
                    "data.enter" => match world.data.files.as_ref().and_then(|f| f.get(self.picked)) {
                        Some((file, _)) => self.open_files(vec![file.clone()], cx),
                        None => toast("no data file here; o opens one by its path"),
                    },
                    _ => toast("nothing is open yet: Enter opens the selected file, o another"),
                };
            }
            "data.enter" if self.in_side && self.side == Side::Facts => return self.next_example(world),
            "data.enter" => (self.in_side, self.scroll) = (true, 0),
            "data.view" => self.next_side(world),
            "data.mask" => self.show(if self.side == Side::Mask { Side::Text } else { Side::Mask }),
            "data.next" | "data.previous" => {
                self.select(world, if action == "data.next" { 1 } else { -1 });
            }
            "data.filter" => {
                let before = match self.state(world).map(|s| &s.view) {
                    Some(View::Filter(text)) => text.clone(),
                    _ => String::new(),
                };
                self.typing = Some((Typing::Filter, Field::new(&before)));
            }
            "data.row" => self.typing = Some((Typing::Row, Field::default())),
            "data.shape" => {
                let now = self.state(world).and_then(|s| s.mapping.as_ref()).map(ToString::to_string).unwrap_or_default();
                self.typing = Some((Typing::Shape, Field::new(&now)));
            }
            "data.all" => return self.view(View::All),
            "data.sort" => {
                let next = match self.state(world).map(|s| &s.view) {
                    Some(View::Longest) => View::Shortest,
                    Some(View::Shortest) => View::All,
                    _ => View::Longest,
                };
                return self.view(next);
            }
            "data.sample" => {
                self.seed = match self.state(world).map(|s| &s.view) {
                    Some(View::Sample { seed }) => seed + 1,
                    _ => 1,
                };
                return self.view(View::Sample { seed: self.seed });
            }
            "data.facts" => return self.take_facts(world),
            "data.clean" => self.form = self.state(world).map(|state| Form::new(state, self.facts.as_deref())),
            "data.stop" => {
                let tickets = [self.inspecting, self.cleaning];
                let jobs = tickets.into_iter().flatten().filter_map(|t| world.tickets.get(&t));
                return jobs.map(|job| Effect::Signal(*job, Signal::Stop)).collect();
            }
            "data.reopen" => {
                let entries = self.state(world).map(|s| s.entries.clone()).unwrap_or_default();
                return self.open_files(entries, cx);
            }
            "data.yank" => {
                return match world.data.record.as_ref().filter(|r| r.at == self.selected) {
                    Some(record) => vec![Effect::Yank(record.raw.clone())],
                    None => toast("the row is not read yet"),
                };
            }
            _ => {}
        }
        Vec::new()
    }

    /// Moves in the part in focus.
    fn step(&mut self, by: isize, world: &World) {
        if self.state(world).is_none() {
            let files = world.data.files.as_ref().map_or(0, Vec::len);
            self.picked = self.picked.saturating_add_signed(by).min(files.saturating_sub(1));
        } else if !self.in_side {
            self.select(world, by);
        } else if let (Side::Facts, Some(found)) = (self.side, &self.facts) {
            let last = facts::findings(found).len().saturating_sub(1);
            (self.finding, self.example) = (self.finding.saturating_add_signed(by).min(last), 0);
        } else {
            self.scroll = self.scroll.saturating_add_signed(by).min(side::LINES);
        }
    }

    fn select(&mut self, world: &World, by: isize) {
        let listed = self.state(world).map_or(0, |s| s.listed);
        let to = self.selected.saturating_add_signed(by as i64).min(listed.saturating_sub(1));
        if to != self.selected {
            (self.selected, self.scroll) = (to, 0);
        }
    }

    pub(super) fn wheel(&mut self, in_side: bool, by: isize, cx: &Context) {
        if in_side && self.state(cx.world).is_some() && self.side != Side::Facts {
            self.scroll = self.scroll.saturating_add_signed(by).min(side::LINES);
        } else {
            let before = std::mem::replace(&mut self.in_side, in_side);
            self.step(by.signum(), cx.world);
            self.in_side = before;
        }
    }

    pub(super) fn click(&mut self, at: Position, list: Rect, side: Rect, cx: &Context) {
        self.in_side = side.contains(at) && self.state(cx.world).is_some();
        if !list.contains(at) || at.y <= list.y {
            return;
        }
        let line = usize::from(at.y - list.y - 1);
        let height = usize::from(list.height.saturating_sub(2));
        match self.state(cx.world) {
            None => {
                let files = cx.world.data.files.as_ref().map_or(0, Vec::len);
                self.picked = (widgets::window(self.picked, files, height) + line).min(files.saturating_sub(1));
            }
            Some(state) => {
                let height = super::draw::rows_shown(height);
                let first = widgets::window(self.selected as usize, state.listed as usize, height) as u64;
                (self.selected, self.scroll) = ((first + line as u64).min(state.listed.saturating_sub(1)), 0);
            }
        }
    }

    fn show(&mut self, side: Side) {
        (self.side, self.scroll) = (side, 0);
    }

    fn next_side(&mut self, world: &World) {
        let chat = world.data.record.as_ref().and_then(|r| r.example.as_ref()).is_some_and(side::is_chat);
        let all =
            [Some(Side::Text), Some(Side::Json), chat.then_some(Side::Chat), Some(Side::Mask), self.facts.is_some().then_some(Side::Facts)];
        let all: Vec<Side> = all.into_iter().flatten().collect();
        let at = all.iter().position(|s| *s == self.side).map_or(0, |at| at + 1);
        self.show(all[at % all.len()]);
    }

    fn view(&mut self, view: View) -> Vec<Effect> {
        self.selected = 0;
        vec![ask(Ask::View(view))]
    }

    pub(super) fn open_files(&mut self, entries: Vec<String>, cx: &Context) -> Vec<Effect> {
        let same = self.state(cx.world).is_some_and(|s| s.entries == entries);
        if !same {
            (self.facts, self.cleaned) = (None, None);
            if self.side == Side::Facts {
                self.side = Side::Text;
            }
        }
        self.opened = !same;
        vec![ask(Ask::Open(entries))]
    }

    pub(super) fn typed(&mut self, typing: Typing, text: &str, cx: &Context) -> Vec<Effect> {
        match typing {
            Typing::Open if text.is_empty() => Vec::new(),
            Typing::Open => self.open_files(vec![text.to_owned()], cx),
            Typing::Filter => self.view(View::Filter(text.to_owned())),
            Typing::Shape => vec![ask(Ask::Shape((!text.is_empty()).then(|| text.to_owned())))],
            Typing::Row => match text.replace([',', '.', ' '], "").parse::<u64>() {
                Ok(row) if row > 0 => {
                    self.selected = row - 1;
                    self.scroll = 0;
                    self.wants(cx.world)
                }
                _ => toast("a row is a number, from 1"),
            },
        }
    }

    /// Starts the job, with the tokenizer and the context of the run that there is.
    fn take_facts(&mut self, world: &World) -> Vec<Effect> {
        if self.inspecting.is_some() {
            return toast("the facts are being taken; x stops that");
        }
        let Some(state) = self.state(world) else { return Vec::new() };
        let run = self.run(world);
        let recipe = run.as_ref().and_then(|name| world.runs.get(name)).filter(|r| !r.recipe.is_empty());
        let context = recipe.and_then(|r| crate::recipe::Recipe::parse(&r.recipe, "recipe", &[]).ok()).map(|r| r.model.context as u64);
        let spec = InspectSpec {
            files: state.entries.clone(),
            shape: state.mapping.as_ref().filter(|_| state.mapping_from == "by hand").map(ToString::to_string),
            context: context.filter(|_| run.is_some()),
            tokenizer: run,
            against: Vec::new(),
        };
        let ticket = world.ticket();
        self.inspecting = Some(ticket);
        self.show(Side::Facts);
        vec![Effect::Start { ticket, spec: JobSpec::new("inspect", &spec) }]
    }

    /// Goes to the next example of the finding that is selected.
    fn next_example(&mut self, world: &World) -> Vec<Effect> {
        let Some(found) = &self.facts else { return toast("there are no facts yet; f takes them") };
        let all = facts::findings(found);
        let Some((_, finding)) = all.get(self.finding).filter(|(_, f)| !f.examples.is_empty()) else {
            return toast("nothing of this kind was found");
        };
        let place = &finding.examples[self.example % finding.examples.len()];
        self.selected = place.row;
        self.example += 1;
        let n = finding.examples.len();
        let text = format!("row {}: {} ({} of {n} named)", widgets::grouped(place.row + 1), place.why, (self.example - 1) % n + 1);
        let mut out = vec![Effect::Toast(text)];
        if self.state(world).is_some_and(|s| s.view != View::All) {
            out.push(ask(Ask::View(View::All)));
        }
        out
    }

    pub(super) fn form_outcome(&mut self, outcome: Outcome, cx: &Context) -> Vec<Effect> {
        match outcome {
            Outcome::Stay => Vec::new(),
            Outcome::Close => {
                self.form = None;
                Vec::new()
            }
            Outcome::Refuse(why) => vec![Effect::Toast(why)],
            Outcome::Start(spec) => {
                self.form = None;
                let ticket = cx.world.ticket();
                (self.cleaning, self.cleaned) = (Some(ticket), None);
                self.show(Side::Facts);
                vec![Effect::Start { ticket, spec: JobSpec::new("clean", &*spec) }]
            }
        }
    }
}
