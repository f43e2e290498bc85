//! Tokenizers of every format: the ids that their own programs make of the same texts, and files that are none.
//! Not here: how texts are encoded once a tokenizer is loaded (`tokenizer_library`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use proptest::prelude::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use weightroom::data::tokenizer::Tokenizer;

fn load(path: &str) -> Option<Tokenizer> {
    common::asset(path).map(|path| Tokenizer::load(&path).unwrap())
}

/// Texts and ids of llama.cpp's test vectors.
fn vectors(name: &str) -> Option<Vec<(String, Vec<u32>)>> {
    let read = |end: &str| {
        common::asset(&format!("tokenizers/llamacpp/ggml-vocab-{name}.gguf.{end}")).map(|p| std::fs::read_to_string(p).unwrap())
    };
    let (texts, ids) = (read("inp")?, read("out")?);
    let ids = ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect());
    let texts = texts.split("\n__ggml_vocab_test__\n").map(str::to_owned);
    // After the last mark stands a text of nothing, and its ids are no line.
    Some(texts.zip(ids.chain([Vec::new()])).collect())
}

fn all_equal(tokenizer: &Tokenizer, name: &str) {
    let Some(cases) = vectors(name) else { return };
    assert_eq!(cases.len(), 47, "{name}");
    let wrong: Vec<_> = cases.iter().filter(|(text, ids)| tokenizer.encode(text, false).unwrap() != *ids).map(|(t, _)| t).collect();
    assert!(wrong.is_empty(), "{name}: {} of 47 differ: {wrong:?}", wrong.len());
}

#[test]
fn llamacpp_gives_the_same_ids_for_every_format() {
    let files = [
        ("tokenizers/gpt2/vocab.json", "gpt-2"),
        ("tokenizers/gpt2", "gpt-2"),
        ("tokenizers/gpt2/merges.txt", "gpt-2"),
        ("tokenizers/llamacpp/ggml-vocab-gpt-2.gguf", "gpt-2"),
        ("tokenizers/llama2/tokenizer.model", "llama-spm"),
        ("tokenizers/llama2", "llama-spm"),
        ("tokenizers/llamacpp/ggml-vocab-llama-spm.gguf", "llama-spm"),
    ];
    for (file, name) in files {
        let Some(tokenizer) = load(file) else { return };
        all_equal(&tokenizer, name);
    }
}

#[test]
fn tiktoken_gives_the_same_ids() {
    let Some(expected) = common::asset("tokenizers/tiktoken/expected.json") else { return };
    let expected: Value = serde_json::from_slice(&std::fs::read(expected).unwrap()).unwrap();
    for (name, file) in
        [("gpt2", "gpt2/vocab.json"), ("cl100k_base", "tiktoken/cl100k_base.tiktoken"), ("o200k_base", "tiktoken/o200k_base.tiktoken")]
    {
        let tokenizer = load(&format!("tokenizers/{file}")).unwrap();
        let cases = expected["encodings"][name].as_array().unwrap();
        assert_eq!(cases.len(), 54);
        for case in cases {
            let (text, ids) = (case["text"].as_str().unwrap(), ids_of(&case["ids"]));
            assert_eq!(tokenizer.encode(text, false).unwrap(), ids, "{name} {text:?}");
            assert_eq!(tokenizer.decode(&ids, false), text, "{name}");
        }
    }
}

/// Without the notes beside it, an encoding is known by its ranks.
#[test]
fn a_known_encoding_is_recognised_without_its_notes() {
    let Some(file) = common::asset("tokenizers/tiktoken/cl100k_base.tiktoken") else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(&file, dir.path().join("some.tiktoken")).unwrap();
    let (alone, noted) = (Tokenizer::load(dir.path()).unwrap(), Tokenizer::load(&file).unwrap());
    assert_eq!(alone.json(), noted.json());
    assert_eq!((alone.end_of_text(None), alone.vocab_size()), (Some(100_257), 100_277));
    assert!(alone.origin().notes[0].contains("cl100k_base"), "{:?}", alone.origin());
}

#[test]
fn small_files_of_other_projects_open() {
    let Some(pair) = load("tokenizers/torchtune/tiny_bpe_vocab.json") else { return };
    // Its text held no control characters, so they have no tokens, and that is said.
    assert!(pair.origin().notes.iter().any(|n| n.contains("bytes have no token")), "{:?}", pair.origin());
    let json = load("tokenizers/torchtune/tiny_bpe_tokenizer.json").unwrap();
    let text = "Hello, World! how are you";
    assert_eq!(pair.encode(text, false).unwrap(), json.encode(text, false).unwrap());
    let tiktoken = load("tokenizers/torchtune/tiktoken_small.model").unwrap();
    assert_eq!(tiktoken.origin().format, "tiktoken");
    assert_eq!(tiktoken.decode(&tiktoken.encode(text, false).unwrap(), false), text);
    let stories = load("models/stories260K/gguf/stories260K-f32.gguf").unwrap();
    let hf = load("models/stories260K/hf").unwrap();
    assert_eq!(stories.encode("Once upon a time", true).unwrap(), hf.encode("Once upon a time", true).unwrap());
    assert_eq!(stories.end_of_text(None), hf.end_of_text(None));
}

/// Ids that sentencepiece 0.2.3 makes of these texts with torchtune's unigram model (nmt_nfkc, extra blanks removed).
#[test]
fn a_unigram_model_gives_sentencepieces_ids() {
    let Some(tokenizer) = load("tokenizers/torchtune/m.model") else { return };
    assert_eq!(tokenizer.origin().format, "SentencePiece (unigram)");
    for (text, ids) in UNIGRAM {
        assert_eq!(tokenizer.encode(text, false).unwrap(), *ids, "{text:?}");
    }
}

const UNIGRAM: &[(&str, &[u32])] = &[
    ("Hello, world!", &[12, 1803, 3, 1024, 103]),
    ("", &[]),
    ("  two  blanks ", &[158, 190, 1788, 7]),
    ("unbelievable 12345", &[176, 80, 418, 52, 24, 217, 270, 645, 651, 0, 480]),
    ("ﬁne Ｆｕｌｌ", &[700, 400, 88, 104]),
    ("漢字 naïve café", &[12, 0, 12, 27, 57, 0, 175, 105, 57, 92, 0]),
    ("a\tb\nc", &[9, 190, 105]),
    ("the cat sat on the mat because it was tired", &[5, 105, 124, 507, 39, 5, 644, 19, 277, 18, 16, 828]),
    ("…½ ™", &[12, 4, 4, 4, 435, 0, 651, 471, 373]),
    ("🚀🚀 ok", &[12, 0, 12, 38, 85]),
    (" ", &[]),
];

#[test]
fn the_two_files_of_mistral_agree() {
    let Some(spm) = load("tokenizers/mistral_v1/tokenizer.model") else { return };
    let cases: Value =
        serde_json::from_slice(&std::fs::read(common::asset("tokenizers/mistral_v1/expected.json").unwrap()).unwrap()).unwrap();
    for case in cases["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(spm.encode(text, false).unwrap(), ids_of(&case["ids"]), "{text:?}");
    }
    proptest!(ProptestConfig::with_cases(64), |(text in "\\PC{0,40}")| {
        let ids = spm.encode(&text, false).unwrap();
        prop_assert_eq!(spm.decode(&ids, false), text);
    });
}

fn ids_of(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn refused(dir: &Path, name: &str, content: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    let error = Tokenizer::load(&path).err().unwrap().to_string();
    assert!((error.contains(name) || error.contains("merges.txt: ")) && !error.contains('\n') && !error.contains('\u{1b}'), "{error:?}");
    error
}

#[test]
fn hostile_files_are_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let cases: &[(&str, &[u8], &str)] = &[
        ("a.gguf", b"GGUF", "ends"),
        ("b.gguf", b"not it at all", "does not begin with GGUF"),
        ("c.gguf", b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", "more than there are bytes for"),
        ("d.gguf", b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "tokenizer.ggml.model is missing"),
        ("a.tiktoken", b"", "no token stands in it"),
        ("b.tiktoken", b"IQ== 0\n!! 1\n", "line 2: the token is not Base64"),
        ("c.tiktoken", b"IQ== 0\nIg== 0\n", "two tokens have the rank 0"),
        ("d.tiktoken", b"IQ== 99999999999\n", "the rank is no number"),
        ("e.tiktoken", b"IQ== 0\n", "the byte 0x00 has no token"),
        ("f.tiktoken", b"\x1b[31m\n", "line 1: not a token"),
        ("a.model", b"\x00\x01\x02", "no SentencePiece model"),
        ("b.model", b"\x0a\x05\x0a\xff", "no SentencePiece model"),
        ("vocab.json", b"{\"a\": 0}", "merges.txt is missing"),
        ("tokenizer.json", b"{\"model\": 1}", "no \u{201c}model\u{201d} object"),
    ];
    for (name, content, what) in cases {
        let error = refused(dir, name, content);
        assert!(error.contains(what), "{error}");
    }
    std::fs::write(dir.join("merges.txt"), "a b\n").unwrap();
    assert!(refused(dir, "vocab.json", b"{\"a\": 0}").contains("line 1: the token “b” is not in the vocabulary"));
    std::fs::write(dir.join("merges.txt"), "").unwrap();
    assert!(refused(dir, "vocab.json", b"{\"a\": 0}").contains("is not byte-level"));
    let empty = tempfile::tempdir().unwrap();
    assert!(Tokenizer::load(empty.path()).err().unwrap().to_string().contains("holds no tokenizer"));
}

/// Every file cut short or with bytes changed is refused or read; none panics.
#[test]
fn damaged_files_never_panic() {
    let files: Vec<PathBuf> =
        ["tokenizers/torchtune/m.model", "models/stories260K/gguf/stories260K-f32.gguf", "tokenizers/torchtune/tiktoken_small.model"]
            .iter()
            .filter_map(|f| common::asset(f))
            .collect();
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let good = std::fs::read(&file).unwrap();
        let path = dir.path().join(file.file_name().unwrap());
        let head = good.len().min(20_000);
        proptest!(ProptestConfig::with_cases(24), |(cut in 0..good.len(), at in 0..head, byte: u8, n in 0usize..4)| {
            let mut bad = if n == 0 { good[..cut].to_vec() } else { good.clone() };
            for i in 0..n {
                bad[(at * (i + 1)) % head] = byte.wrapping_add(i as u8);
            }
            std::fs::write(&path, &bad).unwrap();
            match Tokenizer::load(&path) {
                Ok(tokenizer) => drop(tokenizer.encode("any text \u{1f680} of \u{fb01} two", false)),
                Err(e) => prop_assert!(!e.to_string().contains('\n')),
            }
        });
    }
}
