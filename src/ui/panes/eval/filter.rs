//! Which items are listed: by words, by how they stand, by tags. Deliberately not here: the list itself.

use crate::eval::report::{ItemResult, Status};

/// The usual filters, in the order in which a key goes round.
pub const ONLY: [(&str, &str); 6] = [
    ("", "all"),
    ("is:flipped", "flipped"),
    ("is:wrong", "wrong"),
    ("is:unparsed", "unparsed"),
    ("is:ungraded", "not graded"),
    ("is:hand", "judged by hand"),
];

/// What is known of an item besides its result.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// The score of the evaluation that it is compared with.
    pub base: Option<f64>,
    /// By hand.
    pub hand: Option<f64>,
    pub tags: &'a [String],
}

/// Whether an item fits every word of a filter.
pub fn fits(filter: &str, item: &ItemResult, about: &About, higher_is_better: bool) -> bool {
    filter.split_whitespace().all(|word| {
        let (negated, word) = word.strip_prefix('-').map_or((false, word), |rest| (true, rest));
        let fits = match word.split_once(':') {
            Some(("is", state)) => is(state, item, about, higher_is_better),
            Some(("tag", tag)) => about.tags.iter().any(|t| t.eq_ignore_ascii_case(tag)),
            _ => {
                let word = word.to_lowercase();
                let has = |text: &str| text.to_lowercase().contains(&word);
                has(&item.id) || has(&item.prompt) || has(&item.expected) || item.outputs.iter().any(|o| has(&o.text))
            }
        };
        fits != negated
    })
}

fn is(state: &str, item: &ItemResult, about: &About, higher_is_better: bool) -> bool {
    let full = item.score.is_some_and(|s| s >= 1.0);
    match state {
        "right" => item.status.counts() && higher_is_better && full,
        "wrong" => item.status == Status::Graded && higher_is_better && !full,
        "unparsed" => item.status == Status::Unparsed,
        "long" => item.status == Status::TooLong,
        "failed" => item.status == Status::Failed,
        "ungraded" => !item.status.counts(),
        "flipped" => about.base.is_some() && item.score.is_some() && about.base != item.score,
        "lost" => matches!((about.base, item.score), (Some(b), Some(s)) if (s < b) == higher_is_better && s != b),
        "hand" => about.hand.is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_states_and_tags_choose_items() {
        let item = ItemResult { id: "q1".into(), prompt: "What is a Cat?".into(), score: Some(0.0), ..ItemResult::default() };
        let tags = ["hard".to_owned()];
        let about = About { base: Some(1.0), hand: None, tags: &tags };
        let fit = |filter: &str| fits(filter, &item, &about, true);
        assert!(fit("") && fit("cat") && fit("is:wrong is:flipped tag:Hard") && fit("-dog is:lost") && fit("-is:hand"));
        assert!(!fit("dog") && !fit("is:right") && !fit("tag:easy") && !fit("is:nonsense") && !fit("-cat"));
        assert!(!fits("is:wrong", &item, &about, false), "of a measure that is no share nothing is wrong");
    }
}
