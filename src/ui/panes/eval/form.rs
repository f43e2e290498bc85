//! The form of an evaluation: which model, which tasks. Deliberately not here: what tasks ask (`eval`).

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::engine::jobs::eval_problem;
use crate::spec::EvalSpec;
use crate::text::visible;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, field::Field};
use crate::ui::world::World;

/// What a key of the form leads to.
pub enum Outcome {
    Stay,
    Close,
    /// It cannot start like this.
    Refuse(String),
    Start(Box<EvalSpec>),
}

/// What is chosen so far.
pub struct Form {
    at: usize,
    model: Field,
    /// Named tasks with a line about each, and whether they are chosen.
    tasks: Vec<(String, String, bool)>,
    more: Field,
    limit: Field,
    /// None: as each task says.
    chat: Option<bool>,
}

/// Places before and after the tasks.
const MODEL: usize = 0;

impl Form {
    pub fn new(world: &World, model: Option<String>) -> Self {
        let model = model.or_else(|| world.favourite().map(|run| run.name.clone())).unwrap_or_default();
        let tasks: Vec<(String, String, bool)> =
            world.evals.tasks.iter().map(|(name, about)| (name.clone(), about.clone(), false)).collect();
        Self { at: MODEL, model: Field::new(&model), tasks, more: Field::default(), limit: Field::default(), chat: None }
    }

    fn more_at(&self) -> usize {
        self.tasks.len() + 1
    }
    fn limit_at(&self) -> usize {
        self.tasks.len() + 2
    }
    fn chat_at(&self) -> usize {
        self.tasks.len() + 3
    }

    fn field(&mut self) -> Option<&mut Field> {
        match self.at {
            MODEL => Some(&mut self.model),
            at if at == self.more_at() => Some(&mut self.more),
            at if at == self.limit_at() => Some(&mut self.limit),
            _ => None,
        }
    }

    pub fn paste(&mut self, text: &str) {
        if let Some(field) = self.field() {
            field.insert(text);
        }
    }

    pub fn key(&mut self, key: &KeyEvent) -> Outcome {
        let last = self.chat_at();
        match key.code {
            KeyCode::Esc => return Outcome::Close,
            KeyCode::Enter => return self.start(),
            KeyCode::Down | KeyCode::Tab => self.at = (self.at + 1).min(last),
            KeyCode::Up | KeyCode::BackTab => self.at = self.at.saturating_sub(1),
            _ => {
                if let Some(field) = self.field() {
                    field.key(key);
                    return Outcome::Stay;
                }
                match key.code {
                    KeyCode::Char('j') => self.at = (self.at + 1).min(last),
                    KeyCode::Char('k') => self.at = self.at.saturating_sub(1),
                    KeyCode::Char(' ' | 'x') if self.at == last => {
                        self.chat = match self.chat {
                            None => Some(true),
                            Some(true) => Some(false),
                            Some(false) => None,
                        }
                    }
                    KeyCode::Char(' ' | 'x') => {
                        if let Some(task) = self.tasks.get_mut(self.at - 1) {
                            task.2 = !task.2;
                        }
                    }
                    _ => {}
                }
            }
        }
        Outcome::Stay
    }

    fn start(&self) -> Outcome {
        let mut tasks: Vec<String> = self.tasks.iter().filter(|t| t.2).map(|t| t.0.clone()).collect();
        tasks.extend(self.more.text().split_whitespace().map(str::to_owned));
        let limit = match self.limit.text().trim() {
            "" => None,
            text => match text.parse::<usize>() {
                Ok(n) if n > 0 => Some(n),
                _ => return Outcome::Refuse(format!("“{}” is no number of items; leave it empty for all", visible(text, false))),
            },
        };
        let spec = EvalSpec { model: self.model.text().trim().into(), tasks, limit, chat: self.chat, ..EvalSpec::default() };
        match eval_problem(&spec) {
            Some(why) => Outcome::Refuse(why.replace(" with --task, for example --task sample-questions", "; Space chooses one")),
            None => Outcome::Start(Box::new(spec)),
        }
    }

    pub fn draw(&self, frame: &mut Frame, area: Rect, theme: &Theme) {
        let rows = self.chat_at() + 1;
        let area = widgets::centered(area, 96, rows as u16 + 4);
        widgets::blank(frame, area, theme);
        let block = widgets::panel("New evaluation", true, theme);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        if inner.height < 2 || inner.width < 30 {
            return;
        }
        let body = usize::from(inner.height) - 1;
        let first = widgets::window(self.at, rows, body);
        let name_width = 24.min(usize::from(inner.width) / 2);
        for (y, at) in (inner.y..inner.bottom() - 1).zip(first..rows) {
            let line = Rect { y, height: 1, ..inner };
            let chosen = at == self.at;
            let (mark, name, about) = match at {
                MODEL => ("    ", "model".to_owned(), String::new()),
                at if at == self.more_at() => ("    ", "other tasks".into(), String::new()),
                at if at == self.limit_at() => ("    ", "items at most".into(), String::new()),
                at if at == self.chat_at() => {
                    let how = match self.chat {
                        None => "as each task says",
                        Some(true) => "on",
                        Some(false) => "off",
                    };
                    ("    ", "chat template".into(), how.into())
                }
                at => {
                    let (name, about, on) = &self.tasks[at - 1];
                    (if *on { "[x] " } else { "[ ] " }, visible(name, false).into_owned(), visible(about, false).into_owned())
                }
            };
            let room = usize::from(inner.width).saturating_sub(name_width + 6);
            frame.render_widget(
                Line::from(vec![
                    Span::styled(if chosen { "▸" } else { " " }, theme.accent),
                    Span::styled(format!("{mark}{} ", widgets::pad(&name, name_width)), if chosen { theme.title } else { theme.text }),
                    Span::styled(widgets::fit(&about, room).into_owned(), theme.dim),
                ]),
                line,
            );
            let field = match at {
                MODEL => Some((&self.model, "a run, a directory, openai:URL#NAME")),
                at if at == self.more_at() => Some((&self.more, "files: TOML, YAML of lm-evaluation-harness, data of a known benchmark")),
                at if at == self.limit_at() => Some((&self.limit, "all")),
                _ => None,
            };
            if let Some((field, help)) = field {
                let x = inner.x + 6 + name_width as u16;
                let place = Rect { x, width: inner.right().saturating_sub(x + 1), ..line };
                if field.text().is_empty() && !chosen {
                    frame.render_widget(Span::styled(widgets::fit(help, usize::from(place.width)).into_owned(), theme.dim), place);
                } else {
                    field.draw(frame, place, theme.text, chosen);
                }
            }
        }
        let foot = Rect { y: inner.bottom() - 1, height: 1, ..inner };
        let text = " Space chooses · Enter starts · Esc leaves";
        frame.render_widget(Span::styled(widgets::fit(text, usize::from(foot.width)).into_owned(), theme.dim), foot);
    }
}
