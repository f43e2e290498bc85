//! The tokenizer of the sample's recipe cuts words as the essay says.
//! Deliberately not here: tokenizers in general.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use weightroom::data::{sample, source, tokenizer::Tokenizer};
use weightroom::recipe::Recipe;
use weightroom::report::Silent;

#[test]
fn the_six_seats_are_one_token_each_and_unbelievable_is_three() {
    let recipe: Recipe = toml::from_str(sample::recipe("sample").unwrap()).unwrap();
    let (sources, _) = source::of_recipe(&recipe.data, std::path::Path::new(".")).unwrap();
    let section = &recipe.tokenizer;
    let tokenizer = Tokenizer::train(&section.kind, section.vocab, section.end_of_text.as_deref(), &sources, &Silent).unwrap();
    let pieces = |text: &str| -> Vec<String> {
        let ids = tokenizer.encode(text, false).unwrap();
        ids.iter().map(|id| String::from_utf8(tokenizer.token_bytes(*id)).unwrap()).collect()
    };
    for seat in sample::score::SEATS.iter().chain(&["kitten", "king", "queen", "man", "woman", "cat"]) {
        assert_eq!(pieces(&format!(" {seat}")), [format!(" {seat}")]);
    }
    assert_eq!(pieces("unbelievable"), ["un", "believ", "able"]);
    assert_eq!(pieces(" unbelievable"), [" un", "believ", "able"]);
    assert_eq!(pieces("San Francisco"), ["San", " Francisco"]);
}
