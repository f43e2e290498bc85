//! How Life looks: the map as cards in a row where there is room and as a list where not, the experiments, the lineage.
//! Deliberately not here: what the cards say (`stations`).

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::below;
use super::experiments::EXPERIMENTS;
use super::stations::{self, Card, Standing, Station, View};
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;

/// Below this the map is a list.
const MAP_WIDTH: u16 = 110;
/// Between two cards.
const GAP: u16 = 3;

/// Where everything is.
pub struct Places {
    map: Rect,
    pub stations: Vec<Rect>,
    /// What the chosen station is about, and what Enter does.
    about: Rect,
    pub experiments: Rect,
    lineage: Rect,
    /// The lineage and more in a few lines, where there is room for no more.
    short: Rect,
    words: Rect,
    curve: Rect,
    next: Rect,
}

pub fn places(area: Rect) -> Places {
    let wide = area.width >= MAP_WIDTH;
    let map_height = if wide { 9 } else { Station::ALL.len() as u16 + 2 };
    let about = 3;
    let [map, about, rest] = Layout::vertical([Constraint::Length(map_height), Constraint::Length(about), Constraint::Min(0)]).areas(area);
    let inner = Rect { x: map.x + 1, y: map.y + 1, width: map.width.saturating_sub(2), height: map.height.saturating_sub(2) };
    let n = Station::ALL.len() as u16;
    let stations = if wide {
        let row = inner.width.saturating_sub(2);
        let card = row.saturating_sub(GAP * (n - 1)) / n;
        let step = |i: u16| i * (row - card) / (n - 1);
        (0..n).map(|i| Rect { x: inner.x + 1 + step(i), y: inner.y, width: card, height: inner.height }).collect()
    } else {
        (0..n).map(|i| Rect { y: inner.y + i, height: 1.min(inner.bottom().saturating_sub(inner.y + i)), ..inner }).collect()
    };
    // On a small terminal the last experiment gives its line to what the model writes; the list scrolls.
    let listed = EXPERIMENTS.len() as u16 + if area.height < 22 { 1 } else { 2 };
    let none = Rect { height: 0, ..rest };
    let mut places = Places { map, stations, about, experiments: none, lineage: none, short: none, words: none, curve: none, next: none };
    if wide {
        let [top, below] = Layout::vertical([Constraint::Length(rest.height.min(11)), Constraint::Min(0)]).areas(rest);
        [places.experiments, places.lineage] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(top);
        let [words, side] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(below);
        (places.words, places.next) = (words, side);
        if side.height >= 22 {
            [places.curve, places.next] = Layout::vertical([Constraint::Fill(1), Constraint::Length(11)]).areas(side);
        }
    } else {
        let [top, below] = Layout::vertical([Constraint::Length(listed), Constraint::Min(0)]).areas(rest);
        places.experiments = top;
        if below.height >= 18 {
            [places.lineage, places.next, places.words] =
                Layout::vertical([Constraint::Length(10), Constraint::Length(8), Constraint::Min(0)]).areas(below);
        } else {
            places.short = below;
        }
    }
    places
}

pub fn draw(frame: &mut Frame, area: Rect, view: &View, cx: &Context) {
    let theme = cx.theme;
    let places = places(area);
    if places.map.height < 3 || places.map.width < 20 {
        return;
    }
    let mut block = widgets::panel("The life of a model", !view.in_experiments, theme);
    if let Some(run) = view.run {
        let newer = stations::passed_over(cx.world, run).map(|why| format!("; {why}: m")).unwrap_or_default();
        let whose = format!(" {}{newer} ", visible(&run.name, false));
        block = block.title(Line::styled(widgets::fit(&whose, usize::from(area.width / 2)).into_owned(), theme.dim).right_aligned());
    }
    frame.render_widget(block, places.map);
    for (station, place) in Station::ALL.into_iter().zip(&places.stations) {
        let card = station.card(view.run, cx.world);
        let chosen = station == view.station;
        if place.height > 1 {
            draw_card(frame, *place, station, &card, chosen, !view.in_experiments, theme);
            if station != Station::Chat {
                let arrow = Rect { x: place.right(), y: place.y + place.height / 2, width: GAP, height: 1 };
                frame.render_widget(Span::styled(" → ", theme.dim), arrow);
            }
        } else if place.height == 1 {
            draw_row(frame, *place, station, &card, chosen && !view.in_experiments, theme);
        }
    }
    draw_about(frame, places.about, view, cx);
    draw_experiments(frame, places.experiments, view, cx);
    draw_lineage(frame, places.lineage, view, theme);
    below::words(frame, places.words, view, theme);
    below::curve(frame, places.curve, view, theme);
    below::next_steps(frame, places.next, view, cx);
    if places.short.height > 2 {
        below::in_short(frame, places.short, view, cx);
    }
}

fn mark(standing: Standing, theme: &Theme) -> (&'static str, Style) {
    match standing {
        Standing::Done => ("✓", theme.good),
        Standing::Live => ("●", theme.accent),
        Standing::Next => ("◇", theme.key),
        Standing::Later => ("○", theme.dim),
        Standing::Failed => ("✗", theme.error),
    }
}

fn draw_card(frame: &mut Frame, place: Rect, station: Station, card: &Card, chosen: bool, focused: bool, theme: &Theme) {
    let lit = chosen && focused;
    let block = widgets::panel("", lit, theme);
    let inner = block.inner(place);
    frame.render_widget(block, place);
    if inner.width < 4 || inner.height < 3 {
        return;
    }
    let width = usize::from(inner.width.saturating_sub(2));
    let (glyph, style) = mark(card.standing, theme);
    let name = if chosen { theme.title.patch(theme.accent) } else { theme.title };
    let later = card.standing == Standing::Later;
    let mut lines = vec![
        Line::from(vec![
            Span::styled(if chosen { "▸" } else { " " }, theme.accent),
            Span::styled(station.name(), name),
            Span::raw(" "),
            Span::styled(glyph, style),
        ]),
        Line::default(),
        Line::styled(format!(" {}", widgets::fit(&card.what, width)), if later { theme.dim } else { theme.text }),
        Line::styled(format!(" {}", widgets::fit(&card.figure, width)), theme.dim),
    ];
    if let Some(done) = card.progress {
        lines.push(bar(done, width, theme));
    }
    for (line, y) in lines.into_iter().zip(inner.y..inner.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..inner });
    }
}

/// A bar of `width` columns, full to `done` (0 to 1).
fn bar(done: f64, width: usize, theme: &Theme) -> Line<'static> {
    let full = ((done.clamp(0.0, 1.0) * width as f64).round() as usize).min(width);
    Line::from(vec![
        Span::raw(" "),
        Span::styled("━".repeat(full), theme.accent),
        Span::styled(if theme.ascii { "." } else { "─" }.repeat(width - full), theme.border),
    ])
}

fn draw_row(frame: &mut Frame, place: Rect, station: Station, card: &Card, chosen: bool, theme: &Theme) {
    let (glyph, style) = mark(card.standing, theme);
    let wide = usize::from(place.width);
    let figure = match card.progress {
        Some(done) => format!("{}  {:.0} %", card.figure, 100.0 * done),
        None => card.figure.clone(),
    };
    let line = Line::from(vec![
        Span::styled(if chosen { "▸" } else { " " }, theme.accent),
        Span::styled(format!("{glyph} "), style),
        Span::styled(widgets::pad(station.name(), 12), theme.title),
        Span::styled(widgets::pad(&card.what, 26.min(wide.saturating_sub(16))), theme.text),
        Span::styled(widgets::fit(&figure, wide.saturating_sub(42)).into_owned(), theme.dim),
    ]);
    frame.render_widget(line, place);
    if chosen {
        frame.buffer_mut().set_style(place, theme.selected);
    }
}

fn draw_about(frame: &mut Frame, area: Rect, view: &View, cx: &Context) {
    let theme = cx.theme;
    if area.height < 2 || area.width < 10 {
        return;
    }
    let width = usize::from(area.width.saturating_sub(4));
    let (about, enter) = if view.in_experiments {
        let experiment = EXPERIMENTS.get(view.experiment);
        let run = experiment.is_some_and(|e| e.compared(cx.world).is_some());
        let enter = if run { "see both curves in Train" } else { "run it, and see both curves in Train" };
        (experiment.map_or("", |e| e.question), enter.to_string())
    } else {
        (view.station.about(), view.station.enter(view.run))
    };
    let enter = widgets::fit(&enter, width.saturating_sub(8)).into_owned();
    let mut lines: Vec<Line> =
        widgets::wrap(about, width).into_iter().take(2).map(|text| Line::styled(format!("  {text}"), theme.dim)).collect();
    lines.push(Line::from(vec![Span::styled("  Enter", theme.key), Span::raw("  "), Span::styled(enter, theme.title)]));
    for (line, y) in lines.into_iter().zip(area.y..area.bottom()) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}

fn draw_experiments(frame: &mut Frame, area: Rect, view: &View, cx: &Context) {
    if area.height < 3 || area.width < 12 {
        return;
    }
    let theme = cx.theme;
    let block = widgets::panel("Experiments", view.in_experiments, theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    // With room to spare each question stands under its name.
    let two = usize::from(inner.height) >= 2 * EXPERIMENTS.len();
    let each = if two { 2 } else { 1 };
    let height = usize::from(inner.height) / each;
    let first = widgets::window(view.experiment, EXPERIMENTS.len(), height);
    let wide = usize::from(inner.width);
    for (row, experiment) in EXPERIMENTS.iter().enumerate().skip(first).take(height) {
        let chosen = view.in_experiments && row == view.experiment;
        let place = Rect { y: inner.y + ((row - first) * each) as u16, height: 1, ..inner };
        let answer = experiment.answer(cx.world).unwrap_or_default();
        let answer = if two && answer.contains(" against ") { format!("loss {answer}") } else { answer };
        let rest = wide.saturating_sub(25 + answer.len());
        let middle = if two { String::new() } else { experiment.question.to_string() };
        let line = Line::from(vec![
            Span::styled(if chosen { "▸" } else { " " }, theme.accent),
            Span::styled(widgets::pad(experiment.name, 20), theme.text),
            Span::styled(format!("  {} ", widgets::pad(&middle, rest)), theme.dim),
            Span::styled(answer, theme.accent),
        ]);
        frame.render_widget(line, place);
        if chosen {
            frame.buffer_mut().set_style(place, theme.selected);
        }
        if two {
            let question = Line::styled(format!("   {}", widgets::fit(experiment.question, wide.saturating_sub(4))), theme.dim);
            frame.render_widget(question, Rect { y: place.y + 1, ..place });
        }
    }
}

fn draw_lineage(frame: &mut Frame, area: Rect, view: &View, theme: &Theme) {
    if area.height < 3 || area.width < 12 {
        return;
    }
    let title = match view.run {
        Some(run) => format!("Lineage of {}", visible(&run.name, false)),
        None => "Lineage of the sample, once it is trained".to_string(),
    };
    let block = widgets::panel(&title, false, theme);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inner.width.saturating_sub(14));
    let lines = stations::lineage(view.run);
    let last = lines.len().saturating_sub(1);
    // With room to spare each line says what it means.
    let column = 46;
    for ((i, (what, value)), y) in lines.into_iter().enumerate().zip(inner.y..inner.bottom()) {
        let (value, meaning) = if width >= column + 38 {
            (widgets::pad(&value, column), stations::meaning(what))
        } else {
            (widgets::fit(&value, width).into_owned(), "")
        };
        let line = Line::from(vec![
            Span::styled(if i == last { " └ " } else { " ├ " }, theme.border),
            Span::styled(widgets::pad(what, 10), theme.dim),
            Span::styled(value, theme.text),
            Span::styled(format!("  {meaning}"), theme.dim),
        ]);
        frame.render_widget(line, Rect { y, height: 1, ..inner });
    }
}
