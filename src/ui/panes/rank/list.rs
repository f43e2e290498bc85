//! The list of sets, the form that lets models draw candidates for a new one, and the jobs that do so.
//! Deliberately not here: what is asked of a set.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{Part, Rank};
use crate::data::labels::check_name;
use crate::report::{JobState, Signal};
use crate::spec::{DrawSpec, JobSpec, Message, Sampler};
use crate::text::visible;
use crate::ui::keymap::Action;
use crate::ui::pane::{Context, Effect};
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, field::Field};
use crate::ui::world::labels::{Ask, SetLine};
use crate::ui::world::{Job, World};

/// What is asked for before candidates are drawn.
pub(super) struct Form {
    fields: Vec<(&'static str, &'static str, Field)>,
    at: usize,
    pub fault: Option<String>,
}

pub(super) enum Typed {
    Unused,
    Changed,
    Start,
}

impl Form {
    pub fn new(world: &World) -> Self {
        let model = world.favourite().map(|r| r.name.clone()).unwrap_or_default();
        let field = |name, help, text: &str| (name, help, Field::new(text));
        let fields = vec![
            field("set", "a new name, or a set that gets more items", &free_name(world)),
            field("prompts", "files of questions or conversations, or a question in \"quotes\"", "sample:questions"),
            field("models", "runs, directories or openai:URL#MODEL, separated by commas", &model),
            field("responses", "to each prompt, 2 to 9, the models taking turns", "4"),
            field("prompts at most", "of the files", "100"),
            field("temperature", "several, separated by commas, take turns", "0.9"),
            field("tokens", "the longest response", "256"),
        ];
        Self { fields, at: 0, fault: None }
    }

    fn text(&self, at: usize) -> &str {
        self.fields[at].2.text().trim()
    }

    pub fn key(&mut self, key: KeyEvent) -> Typed {
        let last = self.fields.len() - 1;
        match key.code {
            KeyCode::Esc => return Typed::Unused,
            KeyCode::Enter if self.at == last || key.modifiers.contains(KeyModifiers::CONTROL) => return Typed::Start,
            KeyCode::Tab if key.modifiers.contains(KeyModifiers::SHIFT) => self.at = self.at.saturating_sub(1),
            KeyCode::Enter | KeyCode::Tab | KeyCode::Down => self.at = (self.at + 1).min(last),
            KeyCode::BackTab | KeyCode::Up => self.at = self.at.saturating_sub(1),
            KeyCode::Char('s') if key.modifiers.contains(KeyModifiers::CONTROL) => return Typed::Start,
            _ if !self.fields[self.at].2.key(&key) => return Typed::Unused,
            _ => {}
        }
        self.fault = None;
        Typed::Changed
    }

    pub fn paste(&mut self, text: &str) {
        self.fields[self.at].2.insert(text);
    }

    /// The job that the fields describe; or what is wrong with them.
    fn spec(&self) -> Result<DrawSpec, String> {
        let set = self.text(0).to_owned();
        check_name("set", &set)?;
        let models: Vec<String> = self.text(2).split(',').map(|m| m.trim().to_owned()).filter(|m| !m.is_empty()).collect();
        let number = |at: usize| {
            self.text(at).parse::<usize>().map_err(|_| format!("{}: “{}” is no whole number", self.fields[at].0, self.text(at)))
        };
        let temperature = |t: &str| t.trim().parse::<f32>().ok().filter(|t| (0.0..=100.0).contains(t));
        let samplers = (self.text(5).split(',').map(|t| temperature(t).map(|temperature| Sampler { temperature, ..Sampler::default() })))
            .collect::<Option<Vec<_>>>()
            .ok_or("temperature: numbers from 0 to 100, separated by commas")?;
        let text = self.text(1);
        let typed = text.len() > 1 && text.starts_with('"') && text.ends_with('"');
        let prompts =
            if typed { vec![vec![Message { role: "user".into(), content: text[1..text.len() - 1].to_owned() }]] } else { Vec::new() };
        let files = if prompts.is_empty() { text.split_whitespace().map(str::to_owned).collect() } else { Vec::new() };
        let spec = DrawSpec {
            set,
            files,
            prompts,
            models,
            responses: number(3)?,
            limit: number(4)?,
            samplers,
            max_tokens: number(6)?,
            ..DrawSpec::default()
        };
        spec.problem().map_or(Ok(spec), Err)
    }

    pub fn draw(&self, frame: &mut Frame, area: Rect, theme: &Theme) {
        let place = widgets::centered(area, 96.min(area.width.saturating_sub(2)), self.fields.len() as u16 * 2 + 5);
        widgets::blank(frame, place, theme);
        let block = widgets::panel("let models answer prompts, to rank their responses", true, theme);
        let inner = block.inner(place);
        frame.render_widget(block, place);
        let mut y = inner.y;
        for (i, (name, help, field)) in self.fields.iter().enumerate() {
            if y >= inner.bottom() {
                return;
            }
            let here = i == self.at;
            let mark = if here { "▸ " } else { "  " };
            let label = Line::from(vec![
                Span::styled(mark, theme.accent),
                Span::styled(widgets::pad(name, 16), if here { theme.title } else { theme.dim }),
            ]);
            frame.render_widget(label, Rect { y, height: 1, ..inner });
            let at = Rect { x: inner.x + 19, y, width: inner.width.saturating_sub(20), height: 1 };
            field.draw(frame, at, if here { theme.selected } else { theme.text }, here);
            if here && y + 1 < inner.bottom() {
                let help = Line::styled(widgets::fit(help, usize::from(at.width)).into_owned(), theme.dim);
                frame.render_widget(help, Rect { y: y + 1, ..at });
            }
            y += 2;
        }
        let foot = match &self.fault {
            Some(why) => Line::styled(visible(why, false).into_owned(), theme.error),
            None => Line::styled("Enter: next field; on the last one, or Ctrl-s: draw · Esc: not now", theme.dim),
        };
        frame.render_widget(
            foot,
            Rect { y: inner.bottom().saturating_sub(1), height: 1, x: inner.x + 2, width: inner.width.saturating_sub(2) },
        );
    }
}

fn free_name(world: &World) -> String {
    let sets = world.labels.sets.iter().flatten();
    let taken: Vec<&str> = sets.map(|s| s.name.as_str()).collect();
    (1..).map(|n| format!("set{n}")).find(|n| !taken.contains(&n.as_str())).unwrap_or_default()
}

/// The job that draws candidates, of any set.
pub(super) fn drawing(world: &World) -> Option<&Job> {
    world.jobs.values().rev().find(|j| j.kind.starts_with("draw") && j.ended.is_none())
}

/// The newest one of this set, which may have ended.
pub(super) fn drawing_of<'a>(world: &'a World, set: &str) -> Option<&'a Job> {
    let of =
        |job: &&Job| job.spec.as_ref().is_some_and(|s| s.kind.starts_with("draw") && s.params["set"] == set) || job.title == title(set);
    world.jobs.values().rev().find(of)
}

/// What the job is called, which other screens know it by.
pub(super) fn title(set: &str) -> String {
    format!("candidates of {set}")
}

/// How the drawing stands, in a few words.
pub(super) fn standing(job: &Job) -> String {
    let progress = job.progress.as_ref().map(|p| format!("{} of {} prompts", p.done, p.total.unwrap_or(p.done))).unwrap_or_default();
    let text = match (&job.ended, job.state) {
        (Some(crate::ui::world::Ended::Failed { cause, .. }), _) => format!("candidates: failed: {cause}"),
        (Some(_), _) => return String::new(),
        (None, JobState::Waiting) => format!("candidates wait: {}", job.why),
        (None, _) => format!("candidates: {progress}"),
    };
    visible(&text, false).into_owned()
}

impl Rank {
    pub(super) fn list_action(&mut self, action: Action, cx: &Context) {
        let sets = cx.world.labels.sets.as_deref().unwrap_or_default();
        self.said = None;
        match action {
            "rank.list_down" => self.at = (self.at + 1).min(sets.len().saturating_sub(1)),
            "rank.list_up" => self.at = self.at.saturating_sub(1),
            "rank.new" => self.form = Some(Form::new(cx.world)),
            "rank.open" | "rank.adjudicate" => {
                let Some(set) = sets.get(self.at) else { return };
                (self.set, self.adjudicates, self.turn) = (set.name.clone(), action == "rank.adjudicate", 0);
                self.ask_name(cx);
            }
            "rank.figures" => {
                let Some(set) = sets.get(self.at) else { return };
                self.set = set.name.clone();
                self.show_summary();
            }
            "rank.stop" => {
                if let Some(job) = drawing(cx.world) {
                    let question = format!("Stop drawing {}? What is drawn stays.", visible(&job.title, false));
                    self.outbox.push(Effect::Confirm { question, then: Box::new(Effect::Signal(job.id, Signal::Stop)) });
                }
            }
            _ => {}
        }
    }

    pub(super) fn start_drawing(&mut self, cx: &Context) {
        let Some(form) = &mut self.form else { return };
        match form.spec() {
            Ok(spec) => {
                let kind = spec.kind();
                self.outbox.push(Effect::Start { ticket: cx.world.ticket(), spec: JobSpec::new(kind, &spec) });
                self.outbox.push(Effect::Toast(format!("candidates are drawn into {}; rank them as they come", spec.set)));
                self.form = None;
                self.part = Part::List;
                self.ask(Ask::Sets);
            }
            Err(why) => form.fault = Some(why),
        }
    }
}

/// The sets, one a line, with how far everybody is.
pub(super) fn draw(pane: &Rank, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme = cx.theme;
    let block = widgets::panel("sets to rank", pane.form.is_none(), theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let sets = cx.world.labels.sets.as_deref();
    let mut lines: Vec<Line> = Vec::new();
    match sets {
        None => lines.push(Line::styled(" looking for sets …", theme.dim)),
        Some([]) => lines.extend(empty(theme, usize::from(inner.width))),
        Some(sets) => {
            let from = widgets::window(pane.at, sets.len(), usize::from(inner.height.saturating_sub(2)));
            lines.push(head(theme));
            lines.extend(sets.iter().enumerate().skip(from).map(|(i, s)| row(s, i == pane.at, theme, usize::from(inner.width))));
        }
    }
    if let Some(job) = drawing(cx.world) {
        lines.push(Line::default());
        lines.push(Line::styled(format!(" {} · {}", visible(&job.title, false), standing(job)), theme.text));
    }
    if let Some(said) = &pane.said {
        lines.push(Line::default());
        lines.extend(
            widgets::wrap(&visible(said, false), usize::from(inner.width))
                .into_iter()
                .map(|l| Line::styled(format!(" {l}"), theme.warning)),
        );
    }
    for (line, y) in lines.into_iter().zip(inner.y..inner.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..inner });
    }
    if let Some(form) = &pane.form {
        form.draw(frame, area, theme);
    }
}

fn head(theme: &Theme) -> Line<'static> {
    Line::styled(format!("   {} {:>7} {:>9}  {}", widgets::pad("set", 24), "items", "decisions", "by whom"), theme.dim)
}

fn row(set: &SetLine, here: bool, theme: &Theme, width: usize) -> Line<'static> {
    let who = set.annotators.iter().map(|(name, n, ai)| format!("{name} {n}{}", if *ai { " (a model)" } else { "" })).collect::<Vec<_>>();
    let who = if who.is_empty() { "nobody yet".into() } else { who.join(" · ") };
    let name = widgets::pad(&visible(&set.name, false), 24);
    let text = format!(" {} {name} {:>7} {:>9}  {}", if here { "▸" } else { " " }, widgets::grouped(set.items as u64), set.labels(), who);
    Line::styled(widgets::pad(&visible(&text, false), width), if here { theme.selected } else { theme.text })
}

fn empty(theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let text = "This project has nothing to rank yet.\n\no lets one or several models answer prompts; their responses become a set. In a shell, \
                weightroom labels draw does the same, and weightroom labels import takes candidates and labels of other programs: TRL, LLaMA-Factory, \
                Argilla, hh-rlhf, UltraFeedback, Chatbot Arena.\n\nPeople's orders of responses are what reward models and preference training learn from.";
    let mut lines = vec![Line::default()];
    lines.extend(widgets::wrap(text, width.saturating_sub(4).min(88)).into_iter().map(|l| Line::styled(format!("  {l}"), theme.text)));
    lines
}
