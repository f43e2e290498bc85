//! Life, the home pane: the life of a model as a map, with what this project has at each station.
//! Deliberately not here: the stations' own work; Enter leads to the pane that does it.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::widgets::Paragraph;

use crate::ui::keymap::{Action, Binding};
use crate::ui::pane::{Context, Effect, Pane};
use crate::ui::widgets;
use crate::ui::world::World;

#[derive(Default)]
pub struct Life;

impl Pane for Life {
    fn id(&self) -> &'static str {
        "life"
    }
    fn title(&self) -> &'static str {
        "Life"
    }
    fn bindings(&self) -> &'static [Binding] {
        &[]
    }
    fn explain(&self, _: &World) -> String {
        "The life of a model.".into()
    }
    fn act(&mut self, _: Action, _: &Context) -> Vec<Effect> {
        Vec::new()
    }
    fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let text = format!("{} runs in this project", cx.world.runs.len());
        frame.render_widget(Paragraph::new(text).block(widgets::panel("Life", true, cx.theme)), area);
    }
}
