//! The Explain page of Tokens: what is on the screen, in plain words, with its numbers as the example.
//! Deliberately not here: the keys.

use super::Tokens;
use crate::text::token;
use crate::ui::widgets::grouped;
use crate::ui::world::World;

pub(super) fn text(pane: &Tokens, world: &World) -> String {
    let mut out = String::from(
        "# What this shows\nA model reads numbers, not letters. A tokenizer cuts a text into pieces from a fixed list, its vocabulary, and each \
         piece, a token, has a number. All that a model ever sees of a word is which tokens it was cut into.\n\n",
    );
    if let (Some(cut), Some(explained)) = (&pane.sides[0].cut, world.shelf.get(pane.name())) {
        let (tokens, bytes) = (cut.pieces.len(), cut.bytes);
        out.push_str(&format!(
            "The text in the field has {bytes} bytes; this tokenizer of {} tokens makes {tokens} of them: {:.2} bytes a token. ",
            grouped(explained.anatomy.vocab as u64),
            bytes as f64 / tokens.max(1) as f64
        ));
        if let Some(word) = cut.words.iter().max_by_key(|w| w.steps.len()).filter(|w| !w.steps.is_empty()) {
            let whole: String = word.end.iter().map(|id| token(explained.bytes(*id))).collect();
            out.push_str(&format!(
                "The word {whole} began as {} pieces, and {} merges made {} of them.",
                word.start.len(),
                word.steps.len(),
                word.end.len()
            ));
        }
        out.push_str("\n\n");
    }
    out.push_str(
        "# Why it matters\nFewer tokens for the same text mean that more of it fits in the model's context, and that each step reads more. But \
         a bigger vocabulary costs parameters, and a token that the data hardly has is never learned: sort by frequency, or show what is never used. Digits \
         that are cut by chance make arithmetic hard; scripts that the tokenizer was not trained on fall apart into bytes, so that a text in \
         them costs several times as many tokens.\n\n# How a tokenizer is made\nByte-pair encoding begins with single bytes. It counts which \
         two neighbours are most frequent in a text, makes them one token, and does so again until the vocabulary is full. The number before a merge is its \
         place in that order: an early one is frequent everywhere. To cut a word later, the same merges are made in the same order; the view \
         of words shows it step by step.\n\n# Reading the marks\nA blank is ·, a tab is →, a line's end is ␊; a byte that is only a part of a \
         character is \\xE2. Tokens are divided by │, and every other one is underlined. Ids stand below.",
    );
    out
}
