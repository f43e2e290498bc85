//! The vocabulary browser: which tokens, in which order, and the one under the cursor.
//! Deliberately not here: where frequencies come from (`act`).

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Counted;
use crate::data::anatomy::{Explained, script};
use crate::text::token;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, field::Field, grouped};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    #[default]
    Id,
    Longest,
    Shortest,
    MostFrequent,
    LeastFrequent,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Only {
    #[default]
    All,
    Never,
    Used,
    Special,
    Script(&'static str),
}

const SCRIPTS: [&str; 10] = ["Latin", "Cyrillic", "Greek", "Han", "Kana", "Hangul", "Arabic", "digits", "signs", "bytes"];

#[derive(Default)]
pub struct Vocabulary {
    pub needle: Field,
    pub searching: bool,
    sort: Sort,
    only: Only,
    rows: Vec<u32>,
    at: usize,
    /// What the rows were made of, so that they are made anew only when that changes.
    made: Option<Made>,
    /// Grows with every count.
    counts: u64,
}

#[derive(PartialEq)]
struct Made {
    hash: String,
    needle: String,
    sort: Sort,
    only: Only,
    counts: u64,
}

impl Vocabulary {
    pub fn forget(&mut self) {
        (self.made, self.at) = (None, 0);
        self.rows.clear();
    }

    pub fn counted(&mut self) {
        self.counts += 1;
        self.sort = Sort::MostFrequent;
    }

    pub fn leave(&mut self) {
        self.searching = false;
        self.needle.clear();
        self.made = None;
    }

    pub fn key(&mut self, key: KeyEvent) -> bool {
        if key.code == KeyCode::Enter {
            self.searching = false;
            return true;
        }
        self.needle.key(&key)
    }

    pub fn sort_next(&mut self) {
        self.sort = match self.sort {
            Sort::Id => Sort::Longest,
            Sort::Longest => Sort::Shortest,
            Sort::Shortest => Sort::MostFrequent,
            Sort::MostFrequent => Sort::LeastFrequent,
            Sort::LeastFrequent => Sort::Id,
        };
    }

    pub fn only_next(&mut self) {
        self.only = match self.only {
            Only::All => Only::Never,
            Only::Never => Only::Used,
            Only::Used => Only::Special,
            Only::Special => Only::Script(SCRIPTS[0]),
            Only::Script(name) => {
                let next = SCRIPTS.iter().position(|s| *s == name).map_or(0, |at| at + 1);
                SCRIPTS.get(next).map_or(Only::All, |name| Only::Script(name))
            }
        };
    }

    pub fn step(&mut self, by: isize) {
        self.at = self.at.saturating_add_signed(by).min(self.rows.len().saturating_sub(1));
    }

    pub fn selected(&self) -> Option<u32> {
        self.rows.get(self.at).copied()
    }

    /// Makes the rows anew where what they are made of has changed.
    pub fn look(&mut self, explained: Option<&Arc<Explained>>, counted: Option<&Counted>) {
        let Some(explained) = explained else { return };
        let made = Made {
            hash: explained.tokenizer.hash(),
            needle: self.needle.text().to_lowercase(),
            sort: self.sort,
            only: self.only,
            counts: self.counts,
        };
        if self.made.as_ref() == Some(&made) {
            return;
        }
        let count = |id: u32| counted.and_then(|c| c.counts.get(id as usize)).copied().unwrap_or(0);
        let fits = |id: u32| match self.only {
            Only::All => true,
            Only::Never => counted.is_some() && count(id) == 0 && !explained.tokenizer.is_special(id),
            Only::Used => count(id) > 0,
            Only::Special => explained.tokenizer.is_special(id),
            Only::Script(name) => script(explained.bytes(id)) == name,
        };
        let named = made.needle.parse::<u32>().ok();
        let sought = |id: u32| {
            made.needle.is_empty()
                || named == Some(id)
                || String::from_utf8_lossy(explained.bytes(id)).to_lowercase().contains(&made.needle)
                || token(explained.bytes(id)).to_lowercase().contains(&made.needle)
        };
        let mut rows: Vec<u32> = explained.ids().filter(|id| fits(*id) && sought(*id)).collect();
        match self.sort {
            Sort::Id => {}
            Sort::Longest => rows.sort_by_key(|id| (std::cmp::Reverse(explained.bytes(*id).len()), *id)),
            Sort::Shortest => rows.sort_by_key(|id| (explained.bytes(*id).len(), *id)),
            Sort::MostFrequent => rows.sort_by_key(|id| (std::cmp::Reverse(count(*id)), *id)),
            Sort::LeastFrequent => rows.sort_by_key(|id| (count(*id), *id)),
        }
        (self.rows, self.at, self.made) = (rows, 0, Some(made));
    }

    fn words(&self) -> String {
        let sort = match self.sort {
            Sort::Id => "by id",
            Sort::Longest => "longest first",
            Sort::Shortest => "shortest first",
            Sort::MostFrequent => "most frequent first",
            Sort::LeastFrequent => "least frequent first",
        };
        let only = match self.only {
            Only::All => "all tokens".to_owned(),
            Only::Never => "never used".to_owned(),
            Only::Used => "used".to_owned(),
            Only::Special => "special".to_owned(),
            Only::Script(name) => name.to_owned(),
        };
        format!("{} · {only} · {sort}", grouped(self.rows.len() as u64))
    }

    /// Draws the table; gives the number of its rows and how many are seen.
    pub(super) fn draw(
        &self,
        frame: &mut Frame,
        area: Rect,
        explained: &Explained,
        counted: Option<&Counted>,
        theme: &Theme,
    ) -> (usize, usize) {
        let mut y = area.y;
        let line = |y: u16| Rect { y, height: 1, ..area };
        if area.height < 4 {
            return (0, 0);
        }
        let mut head = vec![Span::styled(self.words(), theme.title)];
        if let Some(c) = counted {
            let of = format!(" · counted in {}: {} tokens", crate::text::visible(&c.data, false), grouped(c.tokens));
            head.push(Span::styled(of, theme.dim));
        } else {
            head.push(Span::styled(" · not counted in any file yet", theme.dim));
        }
        frame.render_widget(Line::from(head), line(y));
        y += 1;
        if self.searching || !self.needle.text().is_empty() {
            frame.render_widget(Span::styled("/", theme.key), line(y));
            let field = Rect { x: area.x + 2, width: area.width.saturating_sub(2), ..line(y) };
            self.needle.draw(frame, field, theme.text, self.searching);
            y += 1;
        }
        let wide = usize::from(area.width);
        let text = wide.saturating_sub(2 + 8 + 7 + 10 + 12 + 9).max(8);
        let head = format!("  {:>7}  {} {:>6} {:<9} {:>11} {:>7}", "id", widgets::pad("token", text), "bytes", "script", "count", "share");
        frame.render_widget(Line::styled(head, theme.dim), line(y));
        y += 1;
        let height = usize::from(area.bottom().saturating_sub(y));
        if self.rows.is_empty() {
            let why = if self.only == Only::Never && counted.is_none() {
                "nothing was counted yet: d counts the tokens of files"
            } else {
                "no token fits; Esc shows all"
            };
            frame.render_widget(Line::styled(format!("  {why}"), theme.dim), line(y));
            return (0, height);
        }
        let from = widgets::window(self.at, self.rows.len(), height);
        for (n, id) in self.rows.iter().enumerate().skip(from).take(height) {
            let bytes = explained.bytes(*id);
            let special = explained.tokenizer.is_special(*id);
            let (count, share) = match counted {
                Some(c) => {
                    let count = c.counts.get(*id as usize).copied().unwrap_or(0);
                    (
                        if count == 0 { "never".into() } else { grouped(count) },
                        format!("{:.3}%", 100.0 * count as f64 / c.tokens.max(1) as f64),
                    )
                }
                None => ("-".into(), "-".into()),
            };
            let kind = if special { "special" } else { script(bytes) };
            let row = format!(
                "{} {:>7}  {} {:>6} {:<9} {:>11} {:>7}",
                if n == self.at { "▸" } else { " " },
                id,
                widgets::pad(&token(bytes), text),
                bytes.len(),
                kind,
                count,
                share
            );
            let style = if n == self.at {
                theme.selected
            } else if special {
                theme.accent
            } else {
                theme.text
            };
            frame.render_widget(Line::styled(widgets::fit(&row, wide).into_owned(), style), line(y));
            y += 1;
        }
        (self.rows.len(), height)
    }
}
