//! What the keys of Eval do, what the pane asks for, and what it makes of the answers.
//! Deliberately not here: drawing.

use std::path::PathBuf;

use ratatui::layout::Position;
use serde_json::json;

use super::filter::ONLY;
use super::form::{Form, Outcome};
use super::items::{Listed, by_hand};
use super::{Asked, Eval, View, Wanted};
use crate::engine::jobs::EVAL_ASKS;
use crate::eval::render;
use crate::eval::store::Correction;
use crate::report::Signal;
use crate::spec::{EvalSpec, JobSpec, Message};
use crate::text::visible;
use crate::ui::examiner::COMPARED;
use crate::ui::keymap::Action;
use crate::ui::pane::{Context, Effect};
use crate::ui::widgets::field::Field;
use crate::ui::world::evals::{Ask, Opened};
use crate::ui::world::{Ended, Job, Load, World};

fn ask(what: Ask) -> Effect {
    Effect::Load(Load::Evals(what))
}

fn toast(text: &str) -> Vec<Effect> {
    vec![Effect::Toast(text.into())]
}

impl Eval {
    pub(super) fn perform(&mut self, action: Action, cx: &Context) -> Vec<Effect> {
        let world = cx.world;
        match action {
            "eval.new" => self.form = Some(Form::new(world, None)),
            "eval.again" => return self.again(world),
            "eval.open" => return self.enter(world),
            "eval.base" => return self.choose_base(world),
            "eval.stop" => return self.stop(world),
            "eval.left" | "eval.right" if self.view == View::Table => {
                let last = self.columns(world).len().saturating_sub(1);
                self.column = self.column.saturating_add_signed(if action == "eval.left" { -1 } else { 1 }).min(last);
            }
            "eval.left" => self.in_side = false,
            "eval.right" => self.in_side = true,
            "eval.down" => self.step(1, world),
            "eval.up" => self.step(-1, world),
            "eval.page_down" => self.step((self.seen.get().height / 2).max(1) as isize, world),
            "eval.page_up" => self.step(-((self.seen.get().height / 2).max(1) as isize), world),
            "eval.top" => self.step(isize::MIN / 2, world),
            "eval.end" => self.step(isize::MAX / 2, world),
            "eval.focus" => self.in_side = !self.in_side && self.view == View::Items,
            "eval.zoom" => self.zoom = !self.zoom,
            "eval.yank" => return self.yank(world),
            _ if self.view == View::Table => return toast("this key is of the items; Enter opens them"),
            "eval.filter" => self.asking = Some((Wanted::Filter, Field::new(&self.filter))),
            "eval.only" => {
                self.only = (self.only + 1) % ONLY.len();
                (self.filter, self.item, self.scroll) = (ONLY[self.only].0.to_owned(), 0, 0);
            }
            "eval.correct" => return self.correct(cx, None),
            "eval.tag" => self.asking = Some((Wanted::Tag, Field::default())),
            "eval.rank" | "eval.rank_all" => return self.to_rank(world, action == "eval.rank_all"),
            "eval.dataset" | "eval.dataset_all" => {
                let name =
                    format!("evals/tasks/{}-hard.jsonl", crate::run::directory::safe_name(&self.task_name(world).unwrap_or_default()));
                self.asking = Some((Wanted::Dataset { all: action == "eval.dataset_all" }, Field::new(&name)));
            }
            _ => {}
        }
        Vec::new()
    }

    /// The task of the selected row.
    pub(super) fn task_name(&self, world: &World) -> Option<String> {
        Self::rows(&self.columns(world)).into_iter().nth(self.task)
    }

    pub(super) fn step(&mut self, by: isize, world: &World) {
        let seen = self.seen.get();
        if self.view == View::Table {
            let last = Self::rows(&self.columns(world)).len().saturating_sub(1);
            self.task = self.task.saturating_add_signed(by).min(last);
        } else if self.in_side {
            self.scroll = self.scroll.saturating_add_signed(by).min(seen.lines.saturating_sub(seen.height));
        } else {
            let last = self.shown(world).map_or(0, |(o, task)| self.listed(o, &task).len()).saturating_sub(1);
            (self.item, self.scroll) = (self.item.saturating_add_signed(by).min(last), 0);
        }
    }

    /// What is opened, where it is what is selected.
    pub(super) fn shown<'w>(&self, world: &'w World) -> Option<(&'w Opened, String)> {
        let columns = self.columns(world);
        let name = &columns.get(self.column)?.name;
        let opened = world.evals.opened.as_ref().filter(|o| o.whole.name == *name)?;
        Some((opened, self.task_name(world)?))
    }

    fn enter(&mut self, world: &World) -> Vec<Effect> {
        let columns = self.columns(world);
        if columns.is_empty() {
            self.form = Some(Form::new(world, None));
            return Vec::new();
        }
        if self.view == View::Items {
            self.in_side = !self.in_side;
            return Vec::new();
        }
        let task = Self::rows(&columns).into_iter().nth(self.task).unwrap_or_default();
        if columns.get(self.column).and_then(|c| c.task(&task)).is_none() {
            return toast("this evaluation does not have the task; n runs it");
        }
        (self.view, self.item, self.scroll, self.in_side) = (View::Items, 0, 0, false);
        // What runs has grown since it was read.
        self.asked.opened = None;
        Vec::new()
    }

    fn choose_base(&mut self, world: &World) -> Vec<Effect> {
        let columns = self.columns(world);
        let Some(column) = columns.get(self.column) else { return Vec::new() };
        if self.base.as_deref() == Some(&column.name) {
            self.base = None;
            return toast("each is compared with the one beside it");
        }
        self.base = Some(column.name.clone());
        vec![Effect::Toast(format!("all are compared with {}", column.name))]
    }

    /// The evaluation that runs, or waits to.
    pub(super) fn running<'w>(&self, world: &'w World) -> Option<&'w Job> {
        let own = self.started.and_then(|t| world.jobs.get(world.tickets.get(&t)?)).filter(|j| j.ended.is_none());
        own.or_else(|| world.jobs.values().rev().find(|j| j.kind == "eval" && j.ended.is_none()))
    }

    fn stop(&self, world: &World) -> Vec<Effect> {
        match self.running(world) {
            None => toast("no evaluation runs"),
            Some(job) => {
                let question = format!("Stop {}? What is done stays; a runs the rest.", visible(&job.title, false));
                vec![Effect::Confirm { question, then: Box::new(Effect::Signal(job.id, Signal::Stop)) }]
            }
        }
    }

    fn again(&mut self, world: &World) -> Vec<Effect> {
        let columns = self.columns(world);
        let Some(column) = columns.get(self.column) else { return toast("there is no evaluation yet; n starts one") };
        if column.job.is_some() {
            return toast("it runs already");
        }
        // The command line that is kept says what was asked.
        match spec_of(&column.report.again, (!column.report.complete).then(|| column.name.clone())) {
            Some(spec) => self.start(spec, world),
            None => toast("it does not say how it was made; n starts a new one"),
        }
    }

    fn start(&mut self, spec: EvalSpec, world: &World) -> Vec<Effect> {
        let ticket = world.ticket();
        self.started = Some(ticket);
        (self.view, self.column) = (View::Table, 0);
        vec![Effect::Start { ticket, spec: JobSpec::new("eval", &spec) }]
    }

    pub(super) fn form_outcome(&mut self, outcome: Outcome, world: &World) -> Vec<Effect> {
        match outcome {
            Outcome::Stay => Vec::new(),
            Outcome::Close => {
                self.form = None;
                Vec::new()
            }
            Outcome::Refuse(why) => vec![Effect::Toast(why)],
            Outcome::Start(spec) => {
                self.form = None;
                self.start(*spec, world)
            }
        }
    }

    pub(super) fn answered(&mut self, wanted: Wanted, text: &str, cx: &Context) -> Vec<Effect> {
        match wanted {
            Wanted::Filter => {
                (self.filter, self.item, self.scroll, self.only) = (text.to_owned(), 0, 0, 0);
                Vec::new()
            }
            Wanted::Tag if text.is_empty() => Vec::new(),
            Wanted::Tag => self.correct(cx, Some(text)),
            Wanted::Dataset { all } => self.to_file(cx.world, text, all),
        }
    }

    /// By hand: the score goes from right to wrong to none, or a tag is added or taken away.
    fn correct(&mut self, cx: &Context, tag: Option<&str>) -> Vec<Effect> {
        let Some((opened, task)) = self.shown(cx.world) else { return Vec::new() };
        let listed = self.listed(opened, &task);
        let Some(one) = listed.get(self.item) else { return Vec::new() };
        let (score, mut tags) = by_hand(&opened.whole, &task, &one.item.id);
        let score = match (tag, score) {
            (Some(_), score) => score,
            (None, None) => Some(1.0),
            (None, Some(s)) if s >= 1.0 => Some(0.0),
            (None, Some(_)) => None,
        };
        if let Some(tag) = tag {
            match tags.iter().position(|t| t == tag) {
                Some(at) => drop(tags.remove(at)),
                None => tags.push(tag.to_owned()),
            }
        }
        let correction = Correction { task, id: one.item.id.clone(), score, tags, by: "screen".into(), at_ms: cx.now_ms };
        vec![ask(Ask::Correct { name: opened.whole.name.clone(), correction })]
    }

    /// The selected item, or all that are listed.
    fn chosen<'w>(&self, opened: &'w Opened, task: &str, all: bool) -> Vec<Listed<'w>> {
        let mut listed = self.listed(opened, task);
        if all || listed.is_empty() { listed } else { vec![listed.swap_remove(self.item.min(listed.len() - 1))] }
    }

    /// Different answers to the same prompt, as a set of Rank's has them.
    fn to_rank(&self, world: &World, all: bool) -> Vec<Effect> {
        let Some((opened, task)) = self.shown(world) else { return Vec::new() };
        let names = [Some(&opened.whole), opened.base.as_ref()];
        let mut lines = Vec::new();
        for one in self.chosen(opened, &task, all) {
            let mut responses: Vec<(String, String)> = Vec::new();
            for (item, whole) in [Some(one.item), one.base].into_iter().zip(names) {
                let (Some(item), Some(whole)) = (item, whole) else { continue };
                for output in item.outputs.iter().filter(|o| !o.ended.is_empty() && !o.text.trim().is_empty()) {
                    if !responses.iter().any(|(text, _)| *text == output.text) && responses.len() < 9 {
                        responses.push((output.text.clone(), whole.report.model.clone()));
                    }
                }
            }
            if responses.len() < 2 {
                continue;
            }
            let responses: Vec<_> = responses
                .iter()
                .enumerate()
                .map(|(i, (text, model))| json!({"id": format!("r{}", i + 1), "content": text, "model": model}))
                .collect();
            let prompt = vec![Message { role: "user".into(), content: one.item.prompt.clone() }];
            lines.push(json!({"schema": 1, "id": format!("{task}-{}", one.item.id), "prompt": prompt, "responses": responses}).to_string());
        }
        if lines.is_empty() {
            return toast("Rank needs two different answers to an item: compare with another model, or draw several samples");
        }
        let set = crate::run::directory::safe_name(&format!("eval-{task}"));
        let what = format!("{} item{} to Rank", lines.len(), if lines.len() == 1 { "" } else { "s" });
        vec![ask(Ask::Add { path: PathBuf::from("labels").join(set).join("items.jsonl"), lines, what })]
    }

    fn to_file(&self, world: &World, path: &str, all: bool) -> Vec<Effect> {
        let Some((opened, task)) = self.shown(world) else { return Vec::new() };
        let path = PathBuf::from(path);
        let inside = path.is_relative() && !path.components().any(|c| matches!(c, std::path::Component::ParentDir));
        if !inside || path.extension().is_none_or(|e| e != "jsonl") {
            return toast("name a .jsonl file of the project, such as evals/tasks/hard.jsonl");
        }
        let row = |one: &Listed| {
            let item = one.item;
            json!({"id": item.id, "prompt": item.prompt, "target": item.expected, "tags": one.tags, "from": task}).to_string()
        };
        let lines: Vec<String> = self.chosen(opened, &task, all).iter().map(row).collect();
        if lines.is_empty() {
            return toast("no item is listed");
        }
        let what = format!("{} item{}", lines.len(), if lines.len() == 1 { "" } else { "s" });
        vec![ask(Ask::Add { path, lines, what })]
    }

    fn yank(&self, world: &World) -> Vec<Effect> {
        if self.view == View::Items {
            let Some((opened, task)) = self.shown(world) else { return Vec::new() };
            let listed = self.listed(opened, &task);
            let Some(one) = listed.get(self.item) else { return Vec::new() };
            let answer = one.item.outputs.first().map_or("", |o| o.text.as_str());
            return vec![Effect::Yank(format!("{}\n\n{answer}", one.item.prompt))];
        }
        let columns = self.columns(world);
        let Some(column) = columns.get(self.column) else { return Vec::new() };
        let compared = world.evals.compared.as_ref().and_then(|c| c.against.get(&column.name));
        vec![Effect::Yank(compared.map_or_else(|| render::markdown(&column.report), render::comparison_markdown))]
    }

    pub(super) fn click(&mut self, at: Position, cx: &Context) -> Vec<Effect> {
        let seen = self.seen.get();
        let row = usize::from(at.y.saturating_sub(seen.main.y));
        if self.view == View::Items {
            let len = self.shown(cx.world).map_or(0, |(o, task)| self.listed(o, &task).len());
            let first = crate::ui::widgets::window(self.item, len, seen.rows);
            if first + row < len {
                (self.item, self.scroll, self.in_side) = (first + row, 0, false);
            }
            return self.wants(cx.world);
        }
        let columns = self.columns(cx.world);
        let rows = Self::rows(&columns).len();
        let first = crate::ui::widgets::window(self.task, rows, seen.rows);
        if first + row < rows {
            self.task = first + row;
        }
        let place = super::draw::columns(seen.main.width, columns.len(), self.column);
        if let Some(x) = at.x.checked_sub(seen.main.x + place.name) {
            let column = place.first + usize::from(x / place.width.max(1));
            if column < columns.len() && column < place.first + place.count {
                self.column = column;
            }
        }
        self.wants(cx.world)
    }

    /// What is seen and not known.
    pub(super) fn wants(&mut self, world: &World) -> Vec<Effect> {
        let mut out = Vec::new();
        if world.evals.listed.is_none() {
            if !std::mem::replace(&mut self.asked.list, true) {
                out.push(ask(Ask::List));
            }
            return out;
        }
        let columns = self.columns(world);
        self.column = self.column.min(columns.len().saturating_sub(1));
        self.task = self.task.min(Self::rows(&columns).len().saturating_sub(1));
        let base = self.base_of(&columns);
        let names: Vec<String> = columns.iter().filter(|c| c.job.is_none()).take(COMPARED).map(|c| c.name.clone()).collect();
        let wanted = Some((names.clone(), base.clone()));
        if names.len() > 1 && self.asked.compared != wanted {
            self.asked.compared = wanted;
            out.push(ask(Ask::Compare { names, base: base.clone() }));
        }
        if let (View::Items, Some(column)) = (self.view, columns.get(self.column)) {
            let wanted = Some((column.name.clone(), base.clone()));
            if self.asked.opened != wanted {
                self.asked.opened = wanted;
                out.push(ask(Ask::Open { name: column.name.clone(), base }));
            }
        }
        out
    }

    /// Takes in what the loader and the engine said.
    pub(super) fn hear(&mut self, world: &World) -> Vec<Effect> {
        let mut out = Vec::new();
        if let Some((at, text)) = world.evals.said.as_ref().filter(|(at, _)| *at > self.heard) {
            self.heard = *at;
            out.push(Effect::Toast(text.clone()));
        }
        let ended = world.jobs.values().filter(|j| j.kind == "eval" && j.ended.is_some()).map(|j| j.id.0).max();
        if ended != std::mem::replace(&mut self.ended, ended) {
            // A new report lies on the disk.
            self.asked = Asked { list: true, ..Asked::default() };
            out.push(ask(Ask::List));
        }
        out.extend(self.hear_own(world));
        out
    }

    /// The evaluation that was started here: why it was refused, or what it asks.
    fn hear_own(&mut self, world: &World) -> Vec<Effect> {
        let Some(ticket) = self.started else { return Vec::new() };
        if let Some(why) = world.refused.get(&ticket) {
            self.started = None;
            return vec![Effect::Toast(why.clone())];
        }
        let Some(job) = world.tickets.get(&ticket).and_then(|id| world.jobs.get(id)).filter(|j| j.ended.is_some()) else {
            return Vec::new();
        };
        self.started = None;
        let asks = job.facts.get(EVAL_ASKS).and_then(|a| a.as_array()).filter(|_| matches!(job.ended, Some(Ended::Failed { .. })));
        let (Some(asks), Some(spec)) = (asks, &job.spec) else { return Vec::new() };
        let commands: Vec<String> = asks.iter().filter_map(|a| a.as_str()).map(|a| visible(a, false).into_owned()).collect();
        let mut params = spec.params.clone();
        params["allow_commands"] = true.into();
        let ticket = world.ticket();
        self.started = Some(ticket);
        let question =
            format!("The task runs “{}” on this machine, as you. Run it, now and from now on in this project?", commands.join("”, “"));
        vec![Effect::Confirm { question, then: Box::new(Effect::Start { ticket, spec: JobSpec { kind: "eval".into(), params } }) }]
    }
}

/// What a kept command line asked for; `out` where it goes on in the same directory.
fn spec_of(again: &str, out: Option<String>) -> Option<EvalSpec> {
    let words = words(again);
    let mut words = words.iter().map(String::as_str);
    if (words.next(), words.next()) != (Some("weightroom"), Some("eval")) {
        return None;
    }
    let mut spec = EvalSpec { model: words.next()?.to_owned(), ..EvalSpec::default() };
    while let Some(word) = words.next() {
        match word {
            "--task" => spec.tasks.push(words.next()?.to_owned()),
            "--limit" => spec.limit = words.next()?.parse().ok(),
            "--shots" => spec.shots = words.next()?.parse().ok(),
            "--samples" => spec.samples = words.next()?.parse().ok(),
            "--seed" => spec.seed = words.next()?.parse().ok(),
            "--chat" => spec.chat = Some(true),
            "--no-chat" => spec.chat = Some(false),
            "--judge" => spec.judge = Some(words.next()?.to_owned()),
            "-o" => drop(words.next()?),
            _ => return None,
        }
    }
    spec.out = out.map(|name| PathBuf::from(crate::eval::store::EVALS).join(name));
    Some(spec)
}

/// The words of a command line, with quotes undone.
fn words(line: &str) -> Vec<String> {
    let (mut out, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => (quoted, any) = (!quoted, true),
            '\\' if !quoted => word.extend(chars.next()),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => word.push(c),
        }
    }
    if any || !word.is_empty() {
        out.push(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_command_line_is_run_again() {
        let line = "weightroom eval 'my model' --task a.toml --task 'it'\\''s' --limit 5 --no-chat --judge j -o evals/x";
        let spec = spec_of(line, Some("x".into())).unwrap();
        assert_eq!((spec.model.as_str(), spec.tasks, spec.limit), ("my model", vec!["a.toml".to_owned(), "it's".into()], Some(5)));
        assert_eq!((spec.chat, spec.judge.as_deref(), spec.out), (Some(false), Some("j"), Some(PathBuf::from("evals/x"))));
        assert!(spec_of("rm -rf /", None).is_none() && spec_of("weightroom eval m --what", None).is_none());
    }
}
