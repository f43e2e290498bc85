//! The view of a model's tensors: their order, and the lines of the table.
//! Deliberately not here: taking the figures (`engine::jobs`).

use std::collections::BTreeMap;

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::Weighed;
use crate::model::anatomy::{Anatomy, Figures, Tensor};
use crate::text::visible;
use crate::ui::theme::Theme;
use crate::ui::widgets::{count, fit, grouped, pad};

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// As they stand in the model.
    #[default]
    Place,
    Size,
    Norm,
    Largest,
    /// What is not finite first.
    Broken,
}

impl Sort {
    pub fn next(self) -> Self {
        match self {
            Self::Place => Self::Size,
            Self::Size => Self::Norm,
            Self::Norm => Self::Largest,
            Self::Largest => Self::Broken,
            Self::Broken => Self::Place,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Place => "in the model's order",
            Self::Size => "largest first",
            Self::Norm => "by norm",
            Self::Largest => "by largest number",
            Self::Broken => "what is not finite first",
        }
    }
}

type Taken = BTreeMap<String, Option<Figures>>;

/// The tensors to show, in their order.
pub fn chosen<'a>(anatomy: &'a Anatomy, filter: &str, sort: Sort, taken: Option<&Taken>) -> Vec<&'a Tensor> {
    let mut all: Vec<&Tensor> = anatomy.tensors.iter().filter(|t| filter.is_empty() || t.name.to_lowercase().contains(filter)).collect();
    let figures = |t: &Tensor| taken.and_then(|f| f.get(&t.name).copied().flatten()).unwrap_or_default();
    let falling = |all: &mut Vec<&Tensor>, key: &dyn Fn(&Tensor) -> f64| all.sort_by(|a, b| key(b).total_cmp(&key(a)));
    match sort {
        Sort::Place => {}
        Sort::Size => falling(&mut all, &|t| t.elements as f64),
        Sort::Norm => falling(&mut all, &|t| figures(t).norm),
        Sort::Largest => falling(&mut all, &|t| figures(t).most),
        Sort::Broken => falling(&mut all, &|t| (figures(t).nan + figures(t).infinite) as f64),
    }
    all
}

/// Columns of what stands behind the name: shape, type, and the figures where there is room.
const SHAPE: usize = 15;
const KIND: usize = 5;
const FIGURES: usize = 36;
const NAME: usize = 20;

/// The table's head and its rows `from` on, as many as `height`.
pub fn lines(
    shown: &[&Tensor],
    weighed: Option<&Weighed>,
    (from, height): (usize, usize),
    width: usize,
    theme: &Theme,
) -> (Line<'static>, Vec<Line<'static>>) {
    let full = width >= NAME + SHAPE + KIND + FIGURES + 4;
    let name = width.saturating_sub(SHAPE + KIND + 3 + if full { FIGURES + 1 } else { 12 }).max(8);
    let titles = if full { format!("{:>10} {:>9} {:>9} {:>5}", "norm", "mean", "largest", "bad") } else { format!("{:>11}", "norm") };
    let head = format!("{} {:>SHAPE$} {:<KIND$} {titles}", pad("tensor", name), "shape", "type");
    let row = |tensor: &&Tensor| {
        let shape = tensor.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
        let mut spans = vec![
            Span::styled(pad(&narrow(&visible(&tensor.name, false), name), name), theme.text),
            Span::styled(format!(" {:>SHAPE$}", fit(&shape, SHAPE)), theme.dim),
            Span::styled(format!(" {}", pad(&visible(&tensor.kind, false), KIND)), theme.dim),
        ];
        let style = |f: &Figures| if f.nan + f.infinite > 0 { theme.error } else { theme.text };
        match weighed.and_then(|w| w.figures.get(&tensor.name)) {
            Some(Some(f)) if full => {
                let bad = if f.nan + f.infinite > 0 { count((f.nan + f.infinite) as f64) } else { "·".into() };
                spans.push(Span::styled(format!(" {:>10.4} {:>+9.1e} {:>9.3e} {bad:>5}", f.norm, f.mean, f.most), style(f)));
            }
            Some(Some(f)) if f.nan + f.infinite > 0 => {
                spans.push(Span::styled(format!(" {:>11}", format!("✗ {} bad", count((f.nan + f.infinite) as f64))), theme.error))
            }
            Some(Some(f)) => spans.push(Span::styled(format!(" {:>11.4}", f.norm), style(f))),
            Some(None) => spans.push(Span::styled(" not read", theme.dim)),
            None => {}
        }
        Line::from(spans)
    };
    (Line::styled(head, theme.title), shown.iter().skip(from).take(height).map(row).collect())
}

/// A long name in its room: what all names have in common goes first, the layer's number stays.
fn narrow(name: &str, width: usize) -> String {
    if name.width() <= width {
        return name.to_owned();
    }
    let name = name.strip_suffix(".weight").unwrap_or(name);
    let layer = name.split('.').position(|part| part.parse::<u32>().is_ok());
    let short = name.split('.').skip(layer.unwrap_or(0)).collect::<Vec<_>>().join(".");
    fit(&short, width).into_owned()
}

/// What stands above the table.
pub fn summary(anatomy: &Anatomy, shown: usize, filter: &str, sort: Sort, weighed: Option<&Weighed>) -> String {
    let of = if shown == anatomy.tensors.len() { String::new() } else { format!(" of {}", grouped(anatomy.tensors.len() as u64)) };
    let filter = if filter.is_empty() { String::new() } else { format!(" with “{filter}”") };
    let figures = match weighed {
        None => "w takes their figures".to_owned(),
        Some(w) if w.norm.is_none() => format!("{} weighed", w.figures.len()),
        Some(w) => {
            let broken = w.figures.values().flatten().filter(|f| f.nan + f.infinite > 0).count();
            let state =
                if broken == 0 { "every number is finite".to_owned() } else { format!("{broken} hold numbers that are not finite") };
            format!("norm of all {:.4}, {state}", w.norm.unwrap_or(0.0))
        }
    };
    format!("{}{of} tensors{filter} · {} · {figures}", grouped(shown as u64), sort.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_the_number_of_its_layer() {
        assert_eq!(narrow("model.layers.10.mlp.up_proj.weight", 16), "10.mlp.up_proj");
        assert_eq!(narrow("model.layers.0.post_attention_layernorm.weight", 16), "0.post_attentio…");
        assert_eq!(narrow("model.embed_tokens.weight", 20), "model.embed_tokens");
        assert_eq!(narrow("漢字.weight", 30), "漢字.weight");
        assert_eq!(narrow("abc", 0), "");
    }
}
