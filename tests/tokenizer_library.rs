//! Tokenizers against the tokenizers library, and against ids that other programs made of the same texts.
//! Not here: token streams and files of text (`data_stream`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use weightroom::data::encoding::Plan;
use weightroom::data::fresh::Wish;
use weightroom::data::source::Source;
use weightroom::data::tokenizer::Tokenizer;
use weightroom::report::Silent;

/// Every text here is worth a look: blanks of all sorts, scripts, emoji, control characters.
const HARD: [&str; 12] = [
    "",
    " ",
    "Hello, World!\nThis is\u{a0}one.\n",
    "  two  blanks\n\n\n and\t\ttabs \r\n crlf\r\n",
    "don't I'LL we've 1234567 12ab",
    "漢字かな交じり文 и кириллица ελληνικά",
    "🚀🏽👩\u{200d}👩\u{200d}👧 e\u{301} ﷽",
    "\u{1b}[31mred\u{1b}[0m\0\u{7}\u{7f}\u{9b}",
    "\n\n \n  \nx\n",
    "a\nb\n c\n\nd \ne",
    "\u{feff}bom",
    "<|endoftext|> in the text",
];

fn unzipped(path: &str) -> Option<String> {
    let path = common::asset(path)?;
    if path.extension().is_none_or(|e| e != "gz") {
        return Some(std::fs::read_to_string(path).unwrap());
    }
    let output = std::process::Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip runs");
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

fn loaded(path: &str) -> Option<Tokenizer> {
    unzipped(path).map(|json| Tokenizer::from_json(&json).unwrap())
}

/// GPT-2's files are older than `tokenizer.json`: its vocabulary and merges in that form.
fn gpt2() -> Option<Tokenizer> {
    let vocab: Value = serde_json::from_str(&unzipped("tokenizers/gpt2/vocab.json")?).unwrap();
    let merges: Vec<String> = unzipped("tokenizers/gpt2/merges.txt")?.lines().map(str::to_owned).collect();
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let end = json!({ "id": 50256, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true });
    let whole = json!({ "version": "1.0", "added_tokens": [end], "normalizer": null, "pre_tokenizer": bytes, "decoder": bytes,
        "post_processor": null, "model": { "type": "BPE", "vocab": vocab, "merges": merges } });
    Some(Tokenizer::from_json(&whole.to_string()).unwrap())
}

fn foreign() -> Vec<(&'static str, Tokenizer)> {
    let files = [
        "tokenizers/llama3/tokenizer.json.gz",
        "tokenizers/qwen3/tokenizer.json.gz",
        "tokenizers/smollm2/tokenizer.json",
        "tokenizers/torchtune/tiny_bpe_tokenizer.json",
        "tokenizers/mistral_v1/tokenizer.json.gz",
        "models/stories260K/hf/tokenizer.json",
    ];
    let mut all: Vec<_> = files.iter().filter_map(|f| loaded(f).map(|t| (*f, t))).collect();
    all.extend(gpt2().map(|t| ("gpt2", t)));
    all
}

fn new(kind: &str, vocab: usize, end: Option<&str>, text: &str) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text.txt");
    std::fs::write(&path, text).unwrap();
    Tokenizer::train(kind, vocab, end, &[Source::file(&path, "text")], &Silent).unwrap()
}

/// The library alone, to encode whole texts with.
fn library(tokenizer: &Tokenizer) -> tokenizers::Tokenizer {
    tokenizers::Tokenizer::from_bytes(tokenizer.json()).unwrap()
}

fn bytes_of(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| tokenizer.token_bytes(*id)).collect()
}

#[test]
fn llamacpp_gives_the_same_ids() {
    let pairs = [
        ("gpt-2", gpt2()),
        ("llama-bpe", loaded("tokenizers/llama3/tokenizer.json.gz")),
        ("qwen2", loaded("tokenizers/qwen3/tokenizer.json.gz")),
    ];
    for (name, tokenizer) in pairs {
        let Some(tokenizer) = tokenizer else { return };
        let texts = unzipped(&format!("tokenizers/llamacpp/ggml-vocab-{name}.gguf.inp")).unwrap();
        let ids = unzipped(&format!("tokenizers/llamacpp/ggml-vocab-{name}.gguf.out")).unwrap();
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let mut compared = 0;
        for (text, ids) in texts.iter().zip(ids.lines()) {
            let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{name} {text:?}");
            assert_eq!(tokenizer.decode(&ids, false), *text, "{name}");
            assert_eq!(bytes_of(&tokenizer, &ids), text.as_bytes(), "{name}");
            compared += 1;
        }
        assert!(compared >= 46, "{name}: {compared}");
    }
}

#[test]
fn expected_ids_of_sentencepiece_vocabularies() {
    for (tokenizer, cases) in [
        ("tokenizers/mistral_v1/tokenizer.json.gz", "tokenizers/mistral_v1/expected.json"),
        ("tokenizers/gemma3/tokenizer.json.gz", "tokenizers/gemma3/expected_hf_tokenizers.json"),
    ] {
        let (Some(tokenizer), Some(cases)) = (loaded(tokenizer), unzipped(cases)) else { return };
        let cases: Value = serde_json::from_str(&cases).unwrap();
        for case in cases["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> = case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{text:?}");
            // The blank that Mistral's normalizer puts before a text is in the bytes, and the decoder strips it.
            let bytes = String::from_utf8(bytes_of(&tokenizer, &ids)).unwrap();
            let decoded = tokenizer.decode(&ids, false);
            assert!(bytes == decoded || bytes == format!(" {decoded}"), "{bytes:?} {decoded:?}");
        }
    }
}

#[test]
fn stories260k_encodes_and_decodes_as_its_reference() {
    let Some(cases) = unzipped("models/stories260K/reference/encodings.json") else { return };
    let tokenizer = Tokenizer::load(&common::asset("models/stories260K/hf").unwrap()).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
    for case in &cases {
        let ids: Vec<u32> = case["ids_hf_tokenizers"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        assert_eq!(tokenizer.encode(case["text"].as_str().unwrap(), true).unwrap(), ids);
        assert_eq!(tokenizer.decode(&ids, true), case["decoded"].as_str().unwrap());
    }
    assert!(cases.len() > 3);
    assert_eq!((tokenizer.vocab_size(), tokenizer.end_of_text(None)), (512, tokenizer.token_id("</s>")));
    assert_eq!(tokenizer.token_bytes(tokenizer.token_id("<0x0A>").unwrap()), b"\n");
}

#[test]
fn hard_texts_are_the_librarys_and_their_bytes_are_the_text() {
    let mut all = foreign();
    all.push(("byte", new("byte", 0, Some("<|endoftext|>"), "x")));
    all.push(("char", new("char", 0, Some("<|endoftext|>"), &HARD.concat())));
    all.push(("bpe", new("bpe", 400, Some("<|endoftext|>"), &HARD.concat().repeat(3))));
    for (name, tokenizer) in &all {
        let library = library(tokenizer);
        for text in HARD {
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(ids, library.encode(text, false).unwrap().get_ids(), "{name} {text:?}");
            let decoded = tokenizer.decode(&ids, false);
            let bytes = String::from_utf8_lossy(&bytes_of(tokenizer, &ids)).into_owned();
            assert!(bytes == decoded || bytes == format!(" {decoded}"), "{name} {bytes:?} {decoded:?}");
            // Qwen's normalizer composes letters and their accents, so there the text itself may differ.
            if !tokenizer.json().contains("\"NFC\"") {
                assert!(bytes == text || bytes == format!(" {text}"), "{name} {bytes:?} {text:?}");
            }
        }
    }
}

/// Texts out of fragments that a careless cut would tokenize differently.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "\n",
        "\n\n",
        "\r\n",
        " ",
        "  ",
        "\t",
        "a",
        "word",
        " word",
        "7",
        "123456",
        "!",
        "?!",
        "'s",
        "'",
        "é",
        "e\u{301}",
        "\u{301}",
        "漢",
        "\u{a0}",
        "\u{2028}",
        "<|endoftext|>",
        "<|im_start|>",
        "🚀",
        "\u{0}",
        "x\ny",
        "x\n y",
        ".\n\n- item",
        "\u{85}",
    ]);
    prop::collection::vec(fragment, 0..40).prop_map(|parts| parts.concat())
}

#[test]
fn pieces_give_the_ids_of_the_whole() {
    let mut all = foreign();
    all.push(("bpe", new("bpe", 300, Some("<|endoftext|>"), &HARD.concat().repeat(3))));
    let linewise = all.iter().filter(|(_, t)| matches!(t.plan(), Plan::Lines)).count();
    assert!(linewise == all.len() || linewise > 5, "{linewise} of {}", all.len());
    for (name, tokenizer) in &all {
        let library = library(tokenizer);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 100, ..ProptestConfig::default() });
        let outcome = runner.run(&fragments(), |text| {
            let pieces: Vec<u32> = tokenizer.pieces(&text, 1).flat_map(|piece| tokenizer.encode_text(piece).unwrap()).collect();
            let whole = library.encode(text.as_str(), false).unwrap();
            prop_assert_eq!(pieces.as_slice(), whole.get_ids());
            Ok(())
        });
        outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// Where words are cut and merged without the library, the ids are the library's, whatever the text.
#[test]
fn ids_are_the_librarys_on_any_text() {
    let mut all = foreign();
    all.push(("bpe", new("bpe", 300, Some("<|endoftext|>"), &HARD.concat().repeat(3))));
    let odd = prop::sample::select(vec![
        "'s",
        "'S",
        "'ſ",
        "ſ",
        "'LL",
        "'re",
        "'Ve",
        "'",
        " '",
        "\u{212a}",
        "\u{a0}",
        "\u{3000}",
        "½",
        "Ⅷ",
        "٣",
        "१",
        "a\u{300}",
        " \n",
        "\r",
        "\t",
        "  ",
        "!",
        "…",
        "/",
        "word",
        "Zürich",
        "漢",
        "ß",
        "ǅ",
        "\u{1f600}",
        "1",
        "ª",
        "ः",
        "\u{2029}",
        "\u{1c}",
        "\u{85}",
        "_",
        "०",
    ]);
    let texts = || (any::<String>(), prop::collection::vec(odd.clone(), 0..24), "[ -~]{0,24}").prop_map(|(a, b, c)| b.concat() + &a + &c);
    let long = format!("{}x{} {}", "-".repeat(700), "a".repeat(600), "\n".repeat(600));
    for (name, tokenizer) in &all {
        let library = library(tokenizer);
        let whole = library.encode(long.as_str(), false).unwrap();
        assert_eq!(tokenizer.encode(&long, false).unwrap(), whole.get_ids(), "{name}");
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 300, ..ProptestConfig::default() });
        let outcome = runner.run(&texts(), |text| {
            let whole = library.encode(text.as_str(), false).unwrap();
            prop_assert_eq!(tokenizer.encode(&text, false).unwrap(), whole.get_ids(), "{}", text);
            Ok(())
        });
        outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn any_text_comes_back_from_bytes_and_bpe() {
    let byte = new("byte", 0, None, "x");
    let bpe = new("bpe", 300, Some("<|endoftext|>"), "the cat sat on the mat, the dog on the log. ");
    proptest!(|(text in any::<String>())| {
        let ids = byte.encode(&text, true).unwrap();
        prop_assert_eq!(ids.len(), text.len());
        prop_assert_eq!(byte.decode(&ids, false), text.as_str());
        prop_assert_eq!(bytes_of(&byte, &ids), text.as_bytes());
        let ids = bpe.encode(&text, true).unwrap();
        prop_assert_eq!(bpe.decode(&ids, false), text.as_str());
        prop_assert_eq!(bytes_of(&bpe, &ids), text.as_bytes());
    });
}

#[test]
fn a_char_vocabulary_is_the_sorted_characters_and_says_what_it_does_not_know() {
    let tokenizer = new("char", 0, None, "hello\n wörld\n");
    assert_eq!(tokenizer.vocab_size(), 10);
    assert_eq!(tokenizer.encode("\n dö", false).unwrap(), [0, 1, 2, 9]);
    assert_eq!(tokenizer.decode(&[0, 1, 1, 9, 0], false), "\n  ö\n");
    let error = tokenizer.encode("hello é", false).unwrap_err().to_string();
    assert!(error.contains("the character “é” (U+00E9) is not among the 10"), "{error}");
    assert!(tokenizer.encode("\u{1b}", false).unwrap_err().to_string().contains("“␛” (U+001B)"));
    // With a special token in the text it is the library that finds the fault, and the place is told all the same.
    let special = new("char", 0, Some("<|end|>"), "abc");
    let fault = special.encode_text("ab<|end|>cz").unwrap_err();
    assert_eq!(fault.offset, Some(10), "{fault:?}");
    assert_eq!(special.encode("ab<|end|>c", false).unwrap(), [0, 1, 3, 2]);
    assert_eq!(
        (special.end_of_text(Some("<|end|>")), special.end_of_text(Some("<|no|>")), special.end_of_text(None)),
        (Some(3), None, Some(3))
    );
    assert!(special.is_special(3) && !special.is_special(0));
    assert_eq!(special.decode(&[0, 3, 1], true), "ab");
}

#[test]
fn bpe_training_repeats_itself_keeps_its_size_and_learns_frequent_words() {
    let text = "the cat sat on the mat and the dog sat on the log\n".repeat(50) + "rare";
    let first = new("bpe", 300, Some("<|endoftext|>"), &text);
    assert_eq!(first.json(), new("bpe", 300, Some("<|endoftext|>"), &text).json());
    assert!((258..=300).contains(&first.vocab_size()), "{}", first.vocab_size());
    assert_eq!(first.encode(" the", false).unwrap().len(), 1);
    assert_eq!(first.token_id("<|endoftext|>"), Some(0));
    // The mark that divides documents is none of the text that merges are learned from.
    let marked = "aa<|endoftext|>".repeat(100);
    assert_eq!(new("bpe", 300, Some("<|endoftext|>"), &marked).vocab_size(), 258);
}

#[test]
fn wrong_wishes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    std::fs::write(&path, "text").unwrap();
    let sources = [Source::file(&path, "text")];
    let error = |kind: &str, vocab, end: Option<&str>| Tokenizer::train(kind, vocab, end, &sources, &Silent).err().unwrap().to_string();
    assert!(error("bpee", 300, None).contains("“bpee” is unknown; did you mean bpe?"));
    assert!(error("bpe", 256, Some("<|e|>")).contains("tokenizer.vocab = 256 is out of range; a bpe vocabulary has 257"));
    assert!(error("char", 0, Some("x")).contains("at least two characters"));
    let refused = |wish: Wish| Tokenizer::make(&wish, &sources, &Silent).err().unwrap().to_string();
    let bpe = Wish::new("bpe", 300, &[]);
    assert!(refused(Wish { pattern: "gpt5", ..bpe }).contains("the pattern “gpt5” is unknown; write one of gpt2, cl100k"));
    assert!(refused(Wish { blank_runs: 65, ..bpe }).contains("2 to 64"));
    assert!(refused(Wish { blank_runs: 64, ..bpe }).contains("319 (256 bytes, the special tokens and the runs of blanks)"));
    assert!(refused(Wish { kind: "char", split_digits: true, ..bpe }).contains("are of a bpe, and this is a char tokenizer"));
}

#[test]
fn a_file_that_is_no_tokenizer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let error = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        Tokenizer::load(dir.path()).err().unwrap().to_string()
    };
    for (content, what) in [
        (&b"{"[..], "not JSON"),
        (b"[1]", "no “model” object"),
        (b"{\"model\":{\"type\":\"New\"}}", "not a tokenizer"),
        (b"{\"model\":{\"type\":\"WordLevel\",\"vocab\":{},\"unk_token\":\"u\"}}", "0 ids"),
        (b"\xff{}", "not UTF-8 at byte 0"),
    ] {
        let error = error(content);
        assert!(error.contains("tokenizer.json: ") && error.contains(what) && !error.contains('\n'), "{error}");
    }
    assert!(Tokenizer::load(Path::new("gone/tokenizer.json")).err().unwrap().to_string().contains("no such file"));
}

#[test]
fn long_and_strange_inputs_neither_fail_nor_lose_anything() {
    let bpe = new("bpe", 300, None, "the cat sat on the mat. ");
    for text in [" ".repeat(300_000), "a".repeat(300_000), "\0".repeat(10_000), "\n".repeat(100_000), "ab \u{301}".repeat(50_000)] {
        let ids = bpe.encode(&text, false).unwrap();
        assert_eq!(bytes_of(&bpe, &ids), text.as_bytes());
    }
    let odd = new("bpe", 300, None, &(" ".repeat(300_000) + &"a".repeat(200_000) + "\u{1b}\0\r\n"));
    assert!(odd.vocab_size() > 256);
}

#[test]
fn the_configuration_beside_a_tokenizer_goes_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = new("byte", 0, Some("<|stop|>"), "x");
    fresh.save(&dir.path().join("sub/tokenizer.json")).unwrap();
    let config: Value = serde_json::from_str(&fresh.config_json(Some(256), 64, Some("{{ x }}"))).unwrap();
    assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
    assert_eq!(
        (&config["eos_token"], &config["model_max_length"], &config["chat_template"]),
        (&json!("<|stop|>"), &json!(64), &json!("{{ x }}"))
    );
    std::fs::write(
        dir.path().join("sub/tokenizer_config.json"),
        "{\"eos_token\":{\"content\":\"<|stop|>\"},\"chat_template\":\"t\",\"own\":1}",
    )
    .unwrap();
    let again = Tokenizer::load(&dir.path().join("sub")).unwrap();
    assert_eq!((again.json(), again.hash()), (fresh.json(), fresh.hash()));
    assert_eq!((again.end_of_text(None), again.chat_template()), (Some(256), Some("t")));
    assert_eq!(serde_json::from_str::<Value>(&again.config_json(None, 64, None)).unwrap()["own"], 1);
}
