//! Rows of every file that others published, and of every file that is broken: counts, shapes, values, messages.
//! Not here: training on them (`data_stream`) and what the screen makes of them (`ui_data_pane`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

mod common;

use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use weightroom::data::shape::{self, Example, Mapping, recognise};
use weightroom::data::source::{Source, expand};
use weightroom::data::table::{Row, Set, Table};

fn open(path: &Path) -> Table {
    Table::open(&Source::file(path, "text"), &std::env::temp_dir()).unwrap_or_else(|e| panic!("{e}"))
}

/// All rows of a file, looked through in small steps.
fn rows(path: &Path) -> (Table, Vec<Row>) {
    let mut table = open(path);
    let mut spans = Vec::new();
    while !table.advance(10_000, &mut |row, span| spans.push((row, span))).unwrap() {}
    let all = table.read(0, u64::MAX).unwrap();
    assert_eq!(all.iter().map(|r| (r.number, r.span)).collect::<Vec<_>>(), spans, "{}", path.display());
    (table, all)
}

fn values(path: &Path) -> Vec<Value> {
    rows(path).1.into_iter().map(|r| r.parsed.unwrap_or_else(|e| panic!("{}: {}", path.display(), e.what)).value).collect()
}

/// Rows, shape, and how many rows fit it.
fn facts(path: &Path) -> (usize, String, usize) {
    let all = values(path);
    let mapping = recognise(&all.iter().take(50).collect::<Vec<_>>());
    let fitting = all.iter().filter(|v| mapping.example(v).is_ok()).count();
    (all.len(), mapping.shape, fitting)
}

#[test]
fn every_published_file_opens_with_its_rows_and_its_shape() {
    let Some(data) = common::asset("data") else { return };
    let known: &[(&str, usize, &str)] = &[
        ("HumanEval.jsonl.gz", 164, "question/answer"),
        ("TruthfulQA.csv", 817, "question/answer"),
        ("axolotl/alpaca.json", 2, "alpaca"),
        ("axolotl/conversation.json", 1, "sharegpt"),
        ("axolotl/conversation.missingturns.json", 1, "sharegpt"),
        ("axolotl/conversation.tokenized.json", 1, "tokens"),
        ("axolotl/conversation.tokenized_llama2chat.json", 1, "tokens"),
        ("bbh/boolean_expressions.json", 250, "question/answer"),
        ("bbh/date_understanding.json", 250, "question/answer"),
        ("bbh/davinci_direct_boolean_expressions.json", 250, "question/answer"),
        ("bbh/davinci_direct_boolean_expressions_metrics.jsonl", 1, "other"),
        ("bbh/dyck_languages.json", 250, "question/answer"),
        ("bbh/snarks.json", 178, "question/answer"),
        ("bbh/word_sorting.json", 250, "question/answer"),
        ("gsm8k_test.jsonl", 1319, "question/answer"),
        ("gsm8k_train.jsonl", 7473, "question/answer"),
        ("humaneval_example_problem.jsonl", 1, "question/answer"),
        ("humaneval_example_samples.jsonl", 6, "text"),
        ("ifeval_input_data.jsonl", 541, "prompts"),
        ("inspect/biology_qa.jsonl", 20, "question/answer"),
        ("inspect/popularity.jsonl", 100, "question/answer"),
        ("inspect/security_guide.jsonl", 16, "question/answer"),
        ("inspect/theory_of_mind.jsonl", 100, "question/answer"),
        ("llamafactory/dataset_info.json", 1, "other"),
        ("llamafactory/glaive_toolcall_en_demo.json", 300, "sharegpt"),
        ("llamafactory/identity.json", 91, "alpaca"),
        ("llamafactory/v1_dpo_demo.jsonl", 10, "preference"),
        ("llamafactory/v1_sft_demo.jsonl", 500, "messages"),
        ("mbpp.jsonl", 974, "question/answer"),
        ("mt_bench_question.jsonl", 80, "prompts"),
        ("sharegpt_dummy_conversation.json", 500, "sharegpt"),
        ("parquet/alltypes_plain.snappy.parquet", 2, "other"),
        ("parquet/binary.parquet", 12, "other"),
        ("parquet/datapage_v2.snappy.parquet", 5, "other"),
        ("parquet/delta_byte_array.parquet", 1000, "other"),
        ("parquet/delta_byte_array_expect.csv", 1000, "other"),
        ("parquet/float16_nonzeros_and_nans.parquet", 8, "other"),
        ("parquet/gsm8k_test.zstd.parquet", 1319, "question/answer"),
        ("parquet/large_string_map.brotli.parquet", 2, "other"),
        ("parquet/list_columns.parquet", 3, "other"),
        ("parquet/lz4_raw_compressed.parquet", 4, "other"),
        ("parquet/messages_nested.snappy.parquet", 100, "messages"),
        ("parquet/nested_lists.snappy.parquet", 3, "other"),
    ];
    let mut wrong = Vec::new();
    for (name, count, shape) in known {
        let found = facts(&data.join(name));
        if found != (*count, (*shape).into(), *count) {
            wrong.push(format!("{name}: {found:?}, not {count} of {shape}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // MMLU's tables have no header: every one is recognised by its columns.
    let counts = [
        ("abstract_algebra", 100),
        ("formal_logic", 126),
        ("high_school_us_history", 204),
        ("marketing", 234),
        ("moral_disputes", 346),
        ("world_religions", 171),
    ];
    for (name, count) in counts {
        assert_eq!(facts(&data.join(format!("mmlu/test/{name}_test.csv"))), (count, "choice columns".into(), count), "{name}");
    }
    let dev = expand(&["mmlu/dev".into()], "text", &data).unwrap();
    assert_eq!(dev.len(), 57);
    for source in &dev {
        assert_eq!(facts(source.path.as_ref().unwrap()), (5, "choice columns".into(), 5), "{source:?}");
    }
    // Nothing in the folder was left out.
    let all = expand(&[".".into()], "text", &data).unwrap();
    let listed = known.len() + counts.len() + dev.len();
    let other: Vec<_> = all.iter().filter(|s| s.name.ends_with("LICENSES.md")).collect();
    assert_eq!((all.len() - other.len(), other.len()), (listed, 1), "{all:?}");
}

#[test]
fn parquet_has_the_values_of_its_sources() {
    let Some(data) = common::asset("data") else { return };
    let parquet = |name: &str| values(&data.join("parquet").join(name));
    assert_eq!(parquet("gsm8k_test.zstd.parquet"), values(&data.join("gsm8k_test.jsonl")));
    // Arrow turns 0.0 and 1.0 into numbers of the same value.
    let (nested, source) = (parquet("messages_nested.snappy.parquet"), values(&data.join("llamafactory/v1_sft_demo.jsonl")));
    let mapping = Mapping::parse("messages").unwrap();
    assert_eq!(nested.len(), 100, "the first hundred");
    for (a, b) in nested.iter().zip(&source) {
        let (Example::Chat(a), Example::Chat(b)) = (mapping.example(a).unwrap(), mapping.example(b).unwrap()) else { panic!() };
        assert!(a.iter().zip(&b).all(|(a, b)| a.role == b.role && a.content == b.content) && a.len() == b.len());
    }
    // The expected table writes null as an empty field.
    let text = |v: &Value| v.as_str().map_or_else(|| if v.is_null() { String::new() } else { v.to_string() }, str::to_owned);
    let (found, expected) = (parquet("delta_byte_array.parquet"), parquet("delta_byte_array_expect.csv"));
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(&expected) {
        let (Value::Object(a), Value::Object(b)) = (a, b) else { panic!() };
        assert!(a.iter().zip(b).all(|((k, v), (l, w))| k == l && text(v) == text(w)), "{a:?} {b:?}");
    }
}

#[test]
fn parquet_of_every_encoding_reads_as_it_is_documented() {
    let Some(data) = common::asset("data/parquet") else { return };
    let all = |name: &str| values(&data.join(name));
    let plain = all("alltypes_plain.snappy.parquet");
    assert_eq!(
        plain[0],
        json!({"id": 6, "bool_col": true, "tinyint_col": 0, "smallint_col": 0, "int_col": 0, "bigint_col": 0, "float_col": 0.0,
               "double_col": 0.0, "date_string_col": "04/01/09", "string_col": "0", "timestamp_col": "2009-04-01 00:00:00"})
    );
    assert_eq!((&plain[1]["id"], &plain[1]["float_col"], &plain[1]["double_col"]), (&json!(7), &json!(1.1), &json!(10.1)));
    let binary: Vec<String> = all("binary.parquet").iter().map(|v| v["foo"].as_str().unwrap().to_owned()).collect();
    assert_eq!(binary, (0..12).map(|i| String::from_utf8(vec![i]).unwrap()).collect::<Vec<_>>());
    let v2 = all("datapage_v2.snappy.parquet");
    assert_eq!(v2[0], json!({"a": "abc", "b": 1, "c": 2.0, "d": true, "e": [1, 2, 3]}));
    assert_eq!((&v2[1]["e"], &v2[4]), (&Value::Null, &json!({"a": "abc", "b": 5, "c": 2.0, "d": true, "e": [1, 2]})));
    let f16: Vec<Value> = all("float16_nonzeros_and_nans.parquet").into_iter().map(|mut v| v["x"].take()).collect();
    assert_eq!(f16, [json!(null), json!(1.0), json!(-2.0), json!("NaN"), json!(0.0), json!(-1.0), json!(-0.0), json!(2.0)]);
    let lists = all("list_columns.parquet");
    assert_eq!(lists[0], json!({"int64_list": [1, 2, 3], "utf8_list": ["abc", "efg", "hij"]}));
    assert_eq!(lists[1], json!({"int64_list": [null, 1], "utf8_list": null}));
    assert_eq!(lists[2], json!({"int64_list": [4], "utf8_list": ["efg", null, "hij", "xyz"]}));
    let lz4 = all("lz4_raw_compressed.parquet");
    assert_eq!(lz4.iter().map(|v| v["c0"].clone()).collect::<Vec<_>>(), [1_593_604_800, 1_593_604_800, 1_593_604_801, 1_593_604_801]);
    assert_eq!(lz4.iter().map(|v| v["c1"].clone()).collect::<Vec<_>>(), ["abc", "def", "abc", "def"]);
    assert_eq!(all("nested_lists.snappy.parquet")[0]["a"], json!([[["a", "b"], ["c"]], [null, ["d"]]]));
    // Two gigabytes of text in four kilobytes: the rows are there, and the text is not unpacked.
    let large = all("large_string_map.brotli.parquet");
    assert!(large.len() == 2 && large[0]["arr"].as_str().unwrap().ends_with("bytes in this column: too large to show]"), "{large:?}");
}

#[test]
fn a_list_of_data_sets_beside_a_file_says_what_it_is() {
    let Some(data) = common::asset("data/llamafactory") else { return };
    let entry = shape::beside(&data.join("glaive_toolcall_en_demo.json")).unwrap();
    assert_eq!((entry.name.as_str(), entry.mapping.shape.as_str()), ("glaive_toolcall_en_demo", "sharegpt"));
    for (file, name) in [("glaive_toolcall_en_demo.json", "glaive_toolcall_en_demo"), ("identity.json", "identity")] {
        let entry = shape::beside(&data.join(file)).unwrap();
        assert_eq!(entry.name, name);
        assert!(values(&data.join(file)).iter().all(|row| entry.mapping.example(row).is_ok()), "{file}");
    }
    let entries = shape::entries(&data.join("dataset_info.json"));
    assert_eq!((entries.len(), entries.iter().filter(|e| e.file.is_some()).count()), (104, 14));
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

/// Rows of words that no packing makes small.
fn lines(count: usize) -> String {
    let mut random = weightroom::rng::Stream::new(7, "lines");
    (0..count)
        .map(|i| format!("{{\"id\": {i}, \"text\": \"{:016x} {:016x}\"}}\n", random.below(u64::MAX), random.below(u64::MAX)))
        .collect()
}

#[test]
fn packed_files_read_as_unpacked_ones() {
    let dir = Dir::new();
    let text = lines(3000);
    let plain = values(&dir.file("a.jsonl", &text));
    let gz = [gzip(&text.as_bytes()[..1000]), gzip(&text.as_bytes()[1000..])].concat();
    assert_eq!(values(&dir.file("a.jsonl.gz", gz)), plain, "two members one after the other are one file");
    assert_eq!(values(&dir.file("a.jsonl.zst", zstd::encode_all(text.as_bytes(), 3).unwrap())), plain);
    let csv: String =
        "id,text\n".to_owned() + &plain.iter().map(|v| format!("{},\"{}\"\n", v["id"], v["text"].as_str().unwrap())).collect::<String>();
    let read = values(&dir.file("a.csv.zst", zstd::encode_all(csv.as_bytes(), 3).unwrap()));
    assert!(read.iter().zip(&plain).all(|(a, b)| a["text"] == b["text"]) && read.len() == 3000);
    if let Some(data) = common::asset("data/parquet") {
        let packed = gzip(&std::fs::read(data.join("gsm8k_test.zstd.parquet")).unwrap());
        assert_eq!(values(&dir.file("a.parquet.gz", packed)).len(), 1319);
    }
}

#[test]
fn every_format_with_a_text_field_trains_alike() {
    use weightroom::data::{source::Part, stream, tokenizer::Tokenizer};
    let dir = Dir::new();
    let texts = ["One day, \"he\" said.", "Two\nlines", "Three", "Four more"];
    let jsonl: String = texts.iter().map(|t| json!({"id": 1, "text": t}).to_string() + "\n").collect();
    let csv: String = "id,text\n".to_owned() + &texts.iter().map(|t| format!("1,\"{}\"\n", t.replace('"', "\"\""))).collect::<String>();
    let array = Value::Array(texts.iter().map(|t| json!({"text": t})).collect()).to_string();
    let byte = Tokenizer::train("byte", 0, Some("<|endoftext|>"), &[], &weightroom::report::Silent).unwrap();
    let end = byte.end_of_text(None);
    let ids = |path: &Path| {
        let splits =
            stream::open(&[Source::file(path, "text")], &[], 0.25, &byte, end, &dir.0.path().join("tokens"), &weightroom::report::Silent)
                .unwrap();
        [&splits.train, &splits.val].map(|s| {
            let mut ids = vec![0; s.len()];
            s.read(0, &mut ids);
            ids
        })
    };
    let plain = ids(&dir.file("a.jsonl", &jsonl));
    assert_eq!(plain[1], [b"Four more".iter().map(|b| u32::from(*b)).collect::<Vec<_>>(), vec![end.unwrap()]].concat());
    let packed = gzip(csv.as_bytes());
    for (name, content) in
        [("a.csv", csv.as_bytes()), ("a.json", array.as_bytes()), ("b.csv.gz", &packed), ("a.jsonl.gz", &gzip(jsonl.as_bytes()))]
    {
        assert_eq!(ids(&dir.file(name, content)), plain, "{name}");
    }
    let wrong = dir.file("w.csv", "id,text\n1,a\n2\n3,c\n");
    let source = Source::file(&wrong, "text");
    let bytes = source.open().unwrap();
    let error = weightroom::data::source::documents(&bytes, Part::Whole, &source, None)
        .unwrap()
        .filter_map(Result::err)
        .next()
        .unwrap()
        .to_string();
    assert!(error.contains("w.csv: line 3: 1 fields where the table has 2 columns; mend or drop the row"), "{error}");
    if let Some(data) = common::asset("data/parquet") {
        let mut source = Source::file(&data.join("gsm8k_test.zstd.parquet"), "answer");
        let bytes = source.open().unwrap();
        let texts: Vec<_> =
            weightroom::data::source::documents(&bytes, Part::Whole, &source, None).unwrap().map(|d| d.unwrap().text.len()).collect();
        assert_eq!(texts.len(), 1319);
        source.field = "text".into();
        let error =
            weightroom::data::source::documents(&bytes, Part::Whole, &source, None).unwrap().next().unwrap().err().unwrap().to_string();
        assert!(error.contains("no field “text”; the row has “question”, “answer”: set data.field"), "{error}");
    }
}

#[test]
fn any_row_is_found_from_the_places_kept() {
    let dir = Dir::new();
    let path = dir.file("a.jsonl", lines(5000));
    let mut table = open(&path);
    while !table.advance(1 << 16, &mut |_, _| {}).unwrap() {}
    for row in [0, 1, 63, 64, 65, 127, 2500, 4999] {
        let found = table.read(row, 3).unwrap();
        assert_eq!(found.len() as u64, 3.min(5000 - row));
        assert!(found.iter().zip(row..).all(|(r, n)| r.number == n && r.span.line == n + 1), "{row}");
        assert_eq!(found[0].parsed.as_ref().unwrap().value["id"], row);
    }
    assert!(table.read(5000, 1).unwrap().is_empty());
}

#[test]
fn several_files_are_one_table() {
    let dir = Dir::new();
    let files = [dir.file("a.jsonl", lines(10)), dir.file("b.csv", "id,text\n1,x\n2,y\n"), dir.file("c.txt", "one\ntwo\n")];
    let sources: Vec<Source> = files.iter().map(|f| Source::file(f, "text")).collect();
    let mut set = Set::open(&sources, dir.0.path()).unwrap();
    let mut seen = Vec::new();
    while !set.advance(8, &mut |file, row, _| seen.push((file, row))).unwrap() {}
    assert_eq!((set.rows(), seen.len(), seen[13]), (14, 14, (2, 13)));
    let across = set.read(9, 4).unwrap();
    let places: Vec<(usize, u64, u64)> = across.iter().map(|(file, row)| (*file, row.number, row.span.line)).collect();
    assert_eq!(places, [(0, 9, 10), (1, 10, 2), (1, 11, 3), (2, 12, 1)]);
    assert_eq!((set.locate(11), set.number(1, 1), set.locate(14)), (Some((1, 1)), 11, None));
}

#[test]
fn a_truncated_gzip_shows_its_rows_and_says_where_it_ends() {
    let dir = Dir::new();
    let whole = gzip(lines(60_000).as_bytes());
    let path = dir.file("a.jsonl.gz", &whole[..whole.len() / 2]);
    let (table, found) = rows(&path);
    let fault = table.fault().unwrap();
    assert!(fault.contains("a.jsonl.gz: the gzip file is cut off after ") && fault.contains("; fetch the file again"), "{fault}");
    let good = found.iter().filter(|r| r.parsed.is_ok()).count();
    assert!(good > 10_000 && found.len() - good <= 1, "{good} of {}", found.len());
    // Training refuses it with the same words.
    let error = Source::file(&path, "text").open().err().unwrap().to_string();
    assert!(error.contains("is cut off after"), "{error}");
    let error = Table::open(&Source::file(&dir.file("b.jsonl.gz", "no gzip at all"), "text"), dir.0.path()).err().unwrap().to_string();
    assert!(error.contains("b.jsonl.gz: the gzip file is damaged"), "{error}");
    let error = Table::open(&Source::file(&dir.file("b.jsonl.zst", "no zstd at all"), "text"), dir.0.path()).err().unwrap().to_string();
    assert!(error.contains("b.jsonl.zst: the zstd file is damaged"), "{error}");
}

#[test]
fn a_corrupt_parquet_is_an_error_that_names_it() {
    let dir = Dir::new();
    let error = |content: &[u8]| {
        let path = dir.file("a.parquet", content);
        match Table::open(&Source::file(&path, "text"), dir.0.path()) {
            Err(e) => e.to_string(),
            Ok(mut table) => {
                while !table.advance(1 << 20, &mut |_, _| {}).unwrap() {}
                table.fault().unwrap_or_default().to_owned()
            }
        }
    };
    assert!(error(b"").contains("a.parquet: not a whole Parquet file"), "{}", error(b""));
    assert!(error(b"PAR1 and nothing else PAR1").contains("not a whole Parquet file"));
    if let Some(data) = common::asset("data/parquet") {
        let whole = std::fs::read(data.join("gsm8k_test.zstd.parquet")).unwrap();
        assert!(error(&whole[..whole.len() / 2]).contains("not a whole Parquet file"));
        let mut bad = whole.clone();
        bad[2000..2400].fill(0xaa);
        assert!(error(&bad).contains("a.parquet: not a whole Parquet file"), "{}", error(&bad));
    }
}

#[test]
fn one_line_of_200_mb_is_shown_as_what_it_is() {
    let dir = Dir::new();
    let mut content = b"{\"text\": \"first\"}\n{\"text\": \"".to_vec();
    content.resize(content.len() + (200 << 20), b'x');
    content.extend_from_slice(b"\"}\n{\"text\": \"last\"}\n");
    let path = dir.file("a.jsonl", &content);
    drop(content);
    let (_, found) = rows(&path);
    assert_eq!(found.len(), 3);
    let fault = &found[1].parsed.as_ref().unwrap_err().what;
    assert!(fault.contains("bytes are too long a row to read; the longest is 67,108,864"), "{fault}");
    assert!(found[1].raw.len() < 10_000 && found[1].raw.starts_with(b"{\"text\": \"xxx"));
    assert_eq!(found[2].parsed.as_ref().unwrap().value["text"], "last");
}

#[test]
fn marks_line_ends_zeroes_and_double_keys_are_no_trouble() {
    let dir = Dir::new();
    let (_, found) = rows(&dir.file(
        "a.jsonl",
        b"\xef\xbb\xbf{\"text\": \"a\"}\r\n\r\n{\"text\": \"b\0c\"}\n{\"text\": \"\\u0000\", \"text\": \"d\"}\r\n\xff\xfe\n",
    ));
    assert_eq!(found.iter().map(|r| r.span.line).collect::<Vec<_>>(), [1, 3, 4, 5]);
    assert_eq!(found[0].parsed.as_ref().unwrap().value, json!({"text": "a"}));
    let fault = found[1].parsed.as_ref().unwrap_err();
    assert!(fault.what.contains("not JSON at column") && fault.what.contains("control character"), "{}", fault.what);
    assert_eq!(found[2].parsed.as_ref().unwrap().oddity.as_deref(), Some("the key “text” comes twice: the last one counts"));
    let fault = found[3].parsed.as_ref().unwrap_err();
    assert!(fault.not_utf8 && fault.what.contains("not UTF-8 at byte 0 of the row (0xff)"), "{}", fault.what);
    let (_, found) = rows(&dir.file("a.txt", b"a\0b\r\nc\r\n"));
    let text: Vec<_> = found.iter().map(|r| r.parsed.as_ref().unwrap().value.as_str().unwrap().to_owned()).collect();
    assert_eq!(text, ["a\0b", "c"]);
    let error = Table::open(&Source::file(&dir.file("w.txt", b"\xff\xfea\0b\0"), "text"), dir.0.path()).err().unwrap().to_string();
    assert!(error.contains("looks like UTF-16; convert it with `iconv"), "{error}");
}

#[test]
fn rows_of_two_shapes_are_counted_apart() {
    let dir = Dir::new();
    let mut text = "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}]}\n".repeat(5);
    text += "{\"prompt\": \"p\", \"completion\": \"c\"}\nnull\n";
    let all = values(&dir.file("a.jsonl", text));
    let mapping = recognise(&all.iter().collect::<Vec<_>>());
    assert_eq!(mapping.shape, "messages");
    let faults: Vec<String> = all.iter().filter_map(|v| mapping.example(v).err()).collect();
    assert_eq!(faults, ["no field “messages”", "the row is null, not an object"]);
}

#[test]
fn a_file_that_changes_while_it_is_open_is_noticed() {
    let dir = Dir::new();
    let path = dir.file("a.jsonl", lines(2000));
    let mut table = open(&path);
    table.advance(20_000, &mut |_, _| {}).unwrap();
    assert!(table.rows() > 10 && table.read(0, 1).is_ok());
    // Cut off in place: a mapped file would end the process here.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    let error = table.read(5, 1).unwrap_err().to_string();
    assert!(error.contains("a.jsonl: changed while it was open; open it again"), "{error}");
    assert!(table.advance(1 << 20, &mut |_, _| {}).is_err());
    // Replaced by another, and gone.
    let path = dir.file("b.jsonl", lines(20));
    let mut table = open(&path);
    table.advance(1 << 20, &mut |_, _| {}).unwrap();
    dir.file("new", lines(21));
    std::fs::rename(dir.0.path().join("new"), &path).unwrap();
    assert!(table.read(5, 1).unwrap_err().to_string().contains("changed while it was open"));
    std::fs::remove_file(&path).unwrap();
    assert!(table.read(5, 1).unwrap_err().to_string().contains("b.jsonl: no such file"));
}

#[test]
fn a_directory_without_readable_files_says_what_is_read() {
    let dir = Dir::new();
    dir.file("a.bin", "x");
    let error = expand(&[".".into()], "text", dir.0.path()).unwrap_err().to_string();
    assert!(error.contains("the directory holds no text") && error.contains(".parquet") && error.contains(".csv"), "{error}");
}

#[test]
fn what_the_readers_make_of_noise_is_never_a_crash() {
    // `WEIGHTROOM_FUZZ_SECONDS` is for each reader.
    let seconds: f64 = std::env::var("WEIGHTROOM_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0.5);
    let dir = Dir::new();
    let json = "[{\"messages\": [{\"role\": \"user\", \"content\": \"q\\u00e9\"}], \"n\": [1, -2.5e3, null]}, {\"text\": \"a\\nb\"}]";
    let parquet = common::asset("data/parquet").map(|d| std::fs::read(d.join("datapage_v2.snappy.parquet")).unwrap());
    let text = "One day.\n\nTwo <|endoftext|> three\r\n \n\u{feff}four";
    let seeds: Vec<(&str, Vec<u8>)> = vec![
        ("jsonl", lines(5).into_bytes()),
        ("json", json.as_bytes().to_vec()),
        ("csv", "id,text\n1,\"a \"\"b\"\"\nc\"\n2,d\n".as_bytes().to_vec()),
        ("txt", text.as_bytes().to_vec()),
        ("jsonl.gz", gzip(lines(5).as_bytes())),
        ("jsonl.zst", zstd::encode_all(lines(5).as_bytes(), 3).unwrap()),
        ("parquet", parquet.unwrap_or_else(|| b"PAR1PAR1".to_vec())),
    ];
    // A reader that panics on damage is caught and told as damage; its message would only fill the test's output.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some("weightroom-unpack") {
            usual(info);
        }
    }));
    for (extension, seed) in seeds {
        let until = std::time::Instant::now() + std::time::Duration::from_secs_f64(seconds);
        let mut random = weightroom::rng::Stream::new(11, extension);
        let (mut tried, mut rows_found) = (0u64, 0u64);
        while tried < 20 || std::time::Instant::now() < until {
            let mut content = seed.clone();
            for _ in 0..1 + random.below(6) {
                let at = random.below(content.len().max(1) as u64) as usize;
                match random.below(5) {
                    0 if at < content.len() => content[at] = random.below(256) as u8,
                    1 if at < content.len() => content[at] ^= 1 << random.below(8),
                    2 => content.truncate(at),
                    3 => content.insert(at, b"\"\\{}[],\n\r\0\xff"[random.below(11) as usize]),
                    _ => {
                        let piece: Vec<u8> = content[at..].iter().copied().take(20).collect();
                        content.splice(at..at, piece);
                    }
                }
            }
            let path = dir.file(&format!("a.{extension}"), &content);
            if let Ok(mut table) = Table::open(&Source::file(&path, "text"), dir.0.path()) {
                let mut spans = Vec::new();
                let step = 1 + random.below(40);
                while !table.advance(step, &mut |_, span| spans.push(span)).unwrap() {}
                let read = table.read(0, u64::MAX).unwrap();
                assert_eq!(read.iter().map(|r| r.span).collect::<Vec<_>>(), spans, "{extension}: {content:?}");
                assert!(spans.windows(2).all(|p| p[0].end <= p[1].start && p[0].line <= p[1].line), "{extension}: {content:?}");
                let parsed: Vec<Value> = read.into_iter().filter_map(|r| r.parsed.ok()).map(|p| p.value).collect();
                let mapping = recognise(&parsed.iter().collect::<Vec<_>>());
                for value in &parsed {
                    let _ = mapping.example(value).map(|e| e.text());
                }
                rows_found += spans.len() as u64;
            }
            tried += 1;
        }
        println!("{extension}: {tried} files, {rows_found} rows");
    }
}
