//! The pages behind what is asked: the guidelines, and how a sitting and the whole set went.
//! Deliberately not here: the figures (`data::labels::stats`).

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::text::{self, Look};
use super::{Part, Rank};
use crate::data::labels::stats::words;
use crate::text::visible;
use crate::ui::keymap::Action;
use crate::ui::pane::{Context, Effect};
use crate::ui::theme::Theme;
use crate::ui::widgets;
use crate::ui::world::World;
use crate::ui::world::labels::{Ask, Now};

impl Rank {
    pub(super) fn page_action(&mut self, action: Action, cx: &Context) {
        let page = usize::from(self.seen.borrow().parts.first().map_or(10, |(area, _)| area.height));
        match action {
            "rank.list_down" => self.page_scroll += 1,
            "rank.list_up" => self.page_scroll = self.page_scroll.saturating_sub(1),
            "rank.page_down" => self.page_scroll += page / 2,
            "rank.page_up" => self.page_scroll = self.page_scroll.saturating_sub(page / 2),
            "rank.undo" if self.turn > 0 => {
                self.part = Part::Item;
                self.ask(Ask::Undo { at_ms: cx.now_ms });
            }
            "rank.copy" => {
                let text = self.page(cx.world).into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
                self.outbox.push(Effect::Yank(text));
            }
            _ => self.part = if self.turn > 0 { Part::Item } else { Part::List },
        }
        let last = self.seen.borrow().parts.first().map_or(0, |(area, lines)| lines.saturating_sub(usize::from(area.height)));
        self.page_scroll = self.page_scroll.min(last);
    }

    /// The page as lines, headings marked.
    fn page(&self, world: &World) -> Vec<(bool, String)> {
        let mut out = Vec::new();
        if self.part == Part::Guidelines {
            let guidelines = self.now(world).map_or("", |n| n.guidelines.as_str());
            if guidelines.is_empty() {
                let set = &self.set;
                out.push((false, format!("This set has no guidelines. Write them to labels/{set}/guidelines.md; lines such as")));
                out.extend(["criteria: accuracy, helpfulness", "acceptability: yes", "repeats: 5%"].map(|l| (false, format!("    {l}"))));
                out.push((
                    false,
                    "in it ask for orders beside the overall one, for a line of what is acceptable, and for hidden repeats.".into(),
                ));
            }
            out.extend(guidelines.lines().map(|l| (l.starts_with('#'), visible(l, false).into_owned())));
            return out;
        }
        if let Some(now) = self.now(world) {
            out.extend(sitting(now, self.goal));
            out.push((false, String::new()));
        }
        match world.labels.summary.as_deref().filter(|s| s.set == self.set) {
            Some(summary) => out.extend(words::page(summary)),
            None => out.push((false, "counting …".into())),
        }
        out
    }
}

/// How the sitting went.
fn sitting(now: &Now, goal: Option<usize>) -> Vec<(bool, String)> {
    let s = &now.sitting;
    let mut parts = vec![format!("{} decisions", s.made)];
    parts.extend(goal.map(|goal| if s.made >= goal { format!("the goal of {goal} is reached") } else { format!("goal {goal}") }));
    parts.extend((s.undone > 0).then(|| format!("{} taken back", s.undone)));
    parts.extend(s.median_ms.map(|ms| format!("median {:.1} s", ms / 1e3)));
    parts.push(format!("{} of {} items have a decision of yours", now.progress.done, now.progress.items));
    let mut out = vec![(true, format!("this sitting of {}", visible(&now.annotator, false))), (false, parts.join(" · "))];
    if now.showing.is_none() {
        out.push((false, "Nothing is left to ask: thank you. Items that are drawn meanwhile come by themselves.".into()));
    }
    out
}

pub(super) fn draw(pane: &Rank, frame: &mut Frame, area: Rect, cx: &Context) {
    let theme: &Theme = cx.theme;
    let title = if pane.part == Part::Guidelines { "guidelines" } else { "summary" };
    let block = widgets::panel(title, true, theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let width = usize::from(inner.width);
    let lines: Vec<Line> = if pane.part == Part::Guidelines && pane.now(cx.world).is_some_and(|n| !n.guidelines.is_empty()) {
        text::lines(pane.now(cx.world).map_or("", |n| n.guidelines.as_str()), None, Look::Markdown, width, theme)
    } else {
        let styled = |(head, line): (bool, String)| {
            let style = if head { theme.title } else { theme.text };
            widgets::wrap(&line, width).into_iter().map(move |l| Line::styled(l, style)).collect::<Vec<_>>()
        };
        let mut lines = Vec::new();
        for (head, line) in pane.page(cx.world) {
            if head && !lines.is_empty() {
                lines.push(Line::default());
            }
            lines.extend(styled((head, line)));
        }
        lines
    };
    let count = lines.len();
    let from = pane.page_scroll.min(count.saturating_sub(usize::from(inner.height)));
    for (line, y) in lines.into_iter().skip(from).zip(inner.y..inner.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..inner });
    }
    pane.seen.replace(super::Seen { parts: vec![(inner, count)] });
}
