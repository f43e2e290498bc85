//! The mouse in the Train pane: a click selects a run or sets the cursor, the wheel zooms and scrolls.
//! Deliberately not here: tabs and the palette, which are the shell's.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::{Part, Train, is_small, is_wide};
use crate::ui::pane::{Context, Effect};
use crate::ui::widgets::{self, chart};

impl Train {
    /// Where the list and the chart lie, as `draw_parts` lays them out.
    fn places(&self, area: Rect) -> (Rect, Rect) {
        let none = Rect::default();
        if self.zoomed {
            return match self.focus {
                Part::Runs => (area, none),
                Part::Chart => (none, area),
                Part::Panel => (none, none),
            };
        }
        let below = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        if is_small(area) {
            return match (self.focus, self.panel_alone) {
                (Part::Runs, _) => (below, none),
                (_, true) => (none, none),
                _ => (none, Rect { height: below.height.saturating_sub(1), ..below }),
            };
        }
        let (list, side, under) =
            if is_wide(area) { (27, (area.width * 3 / 10).clamp(48, 72), 18) } else { (24, 0, 5 + (area.height / 4).clamp(8, 14)) };
        let chart = Rect { x: area.x + list, y: area.y, width: area.width - list - side, height: area.height.saturating_sub(under) };
        (Rect { width: list, ..area }, chart)
    }

    pub(super) fn on_mouse(&mut self, event: MouseEvent, area: Rect, cx: &Context) -> Vec<Effect> {
        if self.form.is_some() {
            return Vec::new();
        }
        let (list, chart) = self.places(area);
        let at = Position { x: event.column, y: event.row };
        let plot = chart::plot_area(inside(chart), true);
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) | MouseEventKind::Drag(MouseButton::Left) if plot.contains(at) => {
                self.focus = Part::Chart;
                let axis = self.view.axis(&self.shown(cx.world));
                let step = chart::step_at(plot, axis, event.column);
                let series = self.run(cx.world).and_then(|run| run.series.get(self.view.metric()));
                // The nearest point that there is.
                self.view.cursor = series.and_then(|s| s.get(s.index_of(step)).or_else(|| s.last())).map(|p| p.step);
            }
            MouseEventKind::Down(MouseButton::Left) if list.contains(at) => {
                self.focus = Part::Runs;
                let rows = inside(list);
                let runs = self.listed(cx.world);
                let selected = runs.iter().position(|run| Some(&run.name) == self.selected.as_ref()).unwrap_or(0);
                let from = widgets::window(selected, runs.len(), rows.height as usize);
                let name = runs.get(from + usize::from(event.row.saturating_sub(rows.y))).map(|run| run.name.clone());
                if let Some(name) = name.filter(|_| rows.contains(at)) {
                    self.select(&name);
                    return self.open_missing(cx.world);
                }
            }
            MouseEventKind::ScrollUp | MouseEventKind::ScrollDown if plot.contains(at) => {
                let share = f64::from(event.column - plot.x) / f64::from(plot.width.max(1));
                let factor = if event.kind == MouseEventKind::ScrollUp { 0.8 } else { 1.25 };
                let runs = self.shown(cx.world);
                self.view.zoom(&runs, factor, Some(share));
            }
            MouseEventKind::ScrollUp if list.contains(at) => return self.in_part(Part::Runs, "train.up", cx),
            MouseEventKind::ScrollDown if list.contains(at) => return self.in_part(Part::Runs, "train.down", cx),
            MouseEventKind::ScrollUp => return self.in_part(Part::Panel, "train.up", cx),
            MouseEventKind::ScrollDown => return self.in_part(Part::Panel, "train.down", cx),
            _ => {}
        }
        Vec::new()
    }

    /// Does an action as if this part had the focus.
    fn in_part(&mut self, part: Part, action: &'static str, cx: &Context) -> Vec<Effect> {
        let before = std::mem::replace(&mut self.focus, part);
        let effects = self.perform(action, cx);
        self.focus = before;
        effects
    }
}

fn inside(area: Rect) -> Rect {
    Rect { x: area.x + 1, y: area.y + 1, width: area.width.saturating_sub(2), height: area.height.saturating_sub(2) }
}
