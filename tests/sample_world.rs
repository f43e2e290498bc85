//! The sample world: it is what its generator writes, and its grammar accepts it and nothing shuffled.
//! Deliberately not here: what a model learns from it, which `weightroom sample score` measures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use std::path::Path;
use weightroom::data::sample::{self, check::Kind, files, recognise::Start, recognise::recognise};
use weightroom::rng::Stream;

fn texts(name: &str) -> Vec<String> {
    let rows = sample::text(name).unwrap().lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| row["text"].as_str().unwrap().to_string()).collect()
}

/// Run with `WEIGHTROOM_REWRITE_SAMPLE=1` after a change to a grammar, to write `sample-data/` anew.
#[test]
fn the_files_are_what_the_generator_writes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-data");
    let made = files::make(&sample::World::new().unwrap(), sample::SEED).unwrap();
    if std::env::var_os("WEIGHTROOM_REWRITE_SAMPLE").is_some() {
        made.iter().for_each(|(name, text)| std::fs::write(directory.join(name), text).unwrap());
        return;
    }
    assert_eq!(made.len(), sample::names().count());
    for (name, text) in made {
        let on_disk = std::fs::read_to_string(directory.join(&name)).unwrap();
        assert!(on_disk == text, "sample-data/{name} is not what the grammar gives: run this test with WEIGHTROOM_REWRITE_SAMPLE=1");
    }
}

#[test]
fn the_checker_accepts_every_row_that_the_generator_wrote() {
    for name in sample::names() {
        let report = sample::check(sample::text(name).unwrap()).unwrap();
        assert!(report.passed() && report.begun == 0, "{name}: {report}");
    }
}

#[test]
fn a_story_cut_anywhere_is_a_beginning_and_a_shuffled_one_is_not() {
    let world = sample::World::new().unwrap();
    let mut random = Stream::new(5, "test");
    let stories = texts("stories");
    let (mut shuffled_accepted, mut swapped_accepted) = (0, 0);
    for story in stories.iter().step_by(41) {
        let cut = random.below(story.len() as u64) as usize;
        let found = world.recognise(Kind::Story, &story[..cut]);
        assert!(found.prefix && found.reached == cut, "{} at {cut}", &story[..cut]);
        let mut words: Vec<&str> = story.split(' ').collect();
        random.shuffle(&mut words);
        shuffled_accepted += usize::from(world.recognise(Kind::Story, &words.join(" ")).prefix);
        // Two words that stand beside each other, exchanged: the least that can be wrong with the order.
        let mut words: Vec<&str> = story.split(' ').collect();
        let at = random.below(words.len() as u64 - 1) as usize;
        words.swap(at, at + 1);
        swapped_accepted += usize::from(words[at] != words[at + 1] && world.recognise(Kind::Story, &words.join(" ")).prefix);
    }
    assert_eq!(shuffled_accepted, 0);
    assert!(swapped_accepted <= 2, "{swapped_accepted} stories with two words exchanged were accepted");
}

#[test]
fn pronouns_names_and_sums_must_agree() {
    let world = sample::World::new().unwrap();
    let accepts = |text: &str| world.recognise(Kind::Story, text).prefix;
    assert!(accepts("Anna and her mother had a red ball. One day it was gone. She looked under the bed"));
    assert!(!accepts("Anna and her mother had a red ball. One day it was gone. He looked under the bed"));
    assert!(!accepts("Anna and his mother"));
    assert!(!accepts("Anna and her mother had a red ball. One day the kite was gone."));
    assert!(accepts("There were four ducks on the pond. Then one swam away. Only three were left."));
    assert!(!accepts("There were four ducks on the pond. Then one swam away. Only two were left."));
    assert!(!accepts("There were three ducks on the pond. Then two swam away. Only one were left."));
    assert!(!accepts("The cat sat on the mat because it was soft."));
    assert!(accepts("The cat sat on the mat because it was tir"));
}

#[test]
fn a_prompt_in_the_middle_of_a_story_is_continued() {
    let world = sample::World::new().unwrap();
    let accepts = |text: &str| world.recognise(Kind::Sentences, text).prefix;
    assert!(accepts("\"Good cat,\" she said, and the cat purred. Then the cat slept on the mat because it was so"));
    assert!(accepts("He looked in the garden, but it was not there."));
    assert!(!accepts("Looked in the garden he"));
    assert!(!accepts("cat purred."));
}

#[test]
fn hostile_text_ends_soon() {
    let world = sample::World::new().unwrap();
    for text in ["\u{1b}[31m", "", "é", &"Anna had ".repeat(5000), &"The cat sat on the ".repeat(3000)] {
        let found = recognise(&world.home, Start::AnySentence, text);
        assert!(!found.whole);
    }
    let report = sample::check("{\"text\": \"\u{9b}The cat flew.\"}\n{broken").unwrap();
    assert_eq!((report.documents, report.failures.len()), (2, 2));
    assert!(!report.to_string().contains('\u{9b}'));
}

#[test]
fn the_sample_is_of_the_size_it_should_be() {
    let bytes: usize = sample::names().map(|name| sample::text(name).unwrap().len()).sum();
    assert!((400_000..2_000_000).contains(&bytes), "{bytes} bytes");
    assert!(sample::text("stories").unwrap().len() > 300_000 && sample::text("sea").unwrap().len() > 150_000);
}

#[test]
fn test_rows_do_not_stand_in_the_training_rows() {
    for kind in ["questions", "prompts"] {
        let prompts = |part: &str| -> Vec<String> {
            let rows = sample::text(&format!("{kind}-{part}")).unwrap().lines();
            rows.map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap()["prompt"].as_str().unwrap().to_string()).collect()
        };
        let (train, test) = (prompts("train"), prompts("test"));
        assert!(test.len() >= 50 && train.len() > 8 * test.len(), "{kind}: {} and {}", train.len(), test.len());
        assert!(test.iter().all(|prompt| !train.contains(prompt)), "{kind}");
    }
}

#[test]
fn the_examples_of_the_essay_are_in_the_text() {
    let text = texts("stories").join("\n");
    for seat in sample::score::SEATS {
        let share = text.matches(&format!(" sat on the {seat}")).count() as f64 / text.matches(" sat on the ").count() as f64;
        assert!((0.1..0.25).contains(&share), "{seat}: {share}");
    }
    assert_eq!(text.matches("San ").count(), text.matches("San Francisco").count());
    assert!(text.contains("kitten") && text.contains("because it was tired") && text.contains("because it was soft"));
    assert!(!text.contains("unbelievable"), "the tokenizer is to split a word that it has not seen");
    for word in ["believe", "unbeliev", "disbeliev", "unhappy", "unable", "readable", "lovable"] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn recipes_are_read_and_name_texts_that_there_are() {
    for name in sample::recipes() {
        let recipe: weightroom::recipe::Recipe = toml::from_str(sample::recipe(name).unwrap()).unwrap();
        for source in recipe.data.train.iter().chain(&recipe.data.val) {
            let known = source.strip_prefix("sample:").and_then(sample::text);
            assert!(known.is_some_and(|text| !text.is_empty()) || source == "input.txt", "{name}: {source}");
        }
    }
}
