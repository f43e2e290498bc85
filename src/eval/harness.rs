//! Plain task files of lm-evaluation-harness (YAML): data on disk, Jinja templates, its four output types, its metrics.
//! Deliberately not here: Python. A file that calls functions (`!function`) or fetches its data is refused with the reason.

use std::path::Path;

use serde_json::{Map, Value};

use super::task::{Choices, Task};
use super::{EvalError, shown};

/// Keys that change nothing of what is asked and graded here.
const IDLE: [&str; 16] = [
    "task",
    "task_alias",
    "tag",
    "group",
    "metadata",
    "dataset_name",
    "version",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "num_fewshot",
    "training_split",
    "test_split",
    "validation_split",
    "fewshot_split",
    "description",
    "unsafe_code",
];

/// Reads such a file; also what of it is not used.
pub fn read(text: &str, place: &str, base: &Path, project: &Path) -> Result<(Task, Vec<String>), EvalError> {
    let wrong = |what: String, remedy: &str| EvalError::task(place, what, remedy);
    if let Some(at) = text.lines().position(|l| l.contains("!function")) {
        return Err(wrong(format!("line {}: calls a function of Python", at + 1), "write the task as TOML; only templates are read"));
    }
    let value: Value =
        serde_saphyr::from_str(text).map_err(|e| wrong(format!("is no YAML: {}", shown(&first_line(&e.to_string()))), "mend the file"))?;
    let Value::Object(map) = value else { return Err(wrong("is no task: it has no keys".into(), "name a task's file")) };
    for (key, what) in [
        ("include", "includes another file"),
        ("process_docs", "processes its rows by a function"),
        ("process_results", "grades by a function"),
    ] {
        if map.contains_key(key) {
            return Err(wrong(what.into(), "write it as one file without it, or as TOML"));
        }
    }
    let mut task = Task { delimiter: " ".into(), ..Task::default() };
    let mut notes = Vec::new();
    let of = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    task.name = of("task");
    task.description = of("description");
    (task.data, task.shots_from) = data(&map, base, project).map_err(|(what, remedy)| wrong(what, &remedy))?;
    task.shots = map.get("num_fewshot").and_then(Value::as_u64).unwrap_or(0) as usize;
    task.samples = map.get("repeats").and_then(Value::as_u64).unwrap_or(1).max(1) as usize;
    if let Some(text) = map.get("target_delimiter").and_then(Value::as_str) {
        task.delimiter = text.into();
    }
    if let Some(text) = map.get("fewshot_delimiter").and_then(Value::as_str) {
        task.shot_delimiter = text.into();
    }
    let sampler = map.get("fewshot_config").and_then(|c| c.get("sampler")).and_then(Value::as_str).unwrap_or("default");
    if task.shots > 0 && sampler != "first_n" {
        task.shots_order = "drawn".into();
        notes.push("examples are drawn by a seed of this program, and so are others than the harness draws".into());
    }
    output(&map, &mut task).map_err(|what| wrong(what, "write the task as TOML"))?;
    metrics(&map, &mut task, &mut notes);
    let used = [
        "dataset_path",
        "dataset_kwargs",
        "output_type",
        "doc_to_text",
        "doc_to_target",
        "doc_to_choice",
        "target_delimiter",
        "fewshot_delimiter",
        "fewshot_config",
        "metric_list",
        "generation_kwargs",
        "filter_list",
        "repeats",
    ];
    notes.extend(
        map.keys()
            .filter(|k| !used.contains(&k.as_str()) && !IDLE.contains(&k.as_str()))
            .map(|k| format!("the key “{}” is not used", shown(k))),
    );
    Ok((task, notes))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The files of the split that is tested, and of the one that examples are taken from.
fn data(map: &Map<String, Value>, base: &Path, project: &Path) -> Result<(Vec<String>, Vec<String>), (String, String)> {
    let kind = map.get("dataset_path").and_then(Value::as_str).unwrap_or_default();
    let files = map.get("dataset_kwargs").and_then(|k| k.get("data_files"));
    let Some(files) = files.filter(|_| ["json", "csv", "parquet", "text"].contains(&kind)) else {
        let remedy = "fetch it, and say dataset_path: json with dataset_kwargs: {data_files: {test: FILE}}";
        return Err((format!("its data is “{}”, which is no file here", shown(kind)), remedy.into()));
    };
    let split = |key: &str| map.get(key).and_then(Value::as_str);
    let of = |name: &str| -> Vec<String> {
        let value = if let Value::Object(splits) = files { splits.get(name) } else { Some(files) };
        let list = match value {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        list.into_iter().map(|file| found(&file, base, project)).collect()
    };
    let tested = split("test_split").or(split("validation_split")).unwrap_or("test");
    let tests = of(tested);
    if tests.is_empty() {
        return Err((format!("names no file of the split “{}”", shown(tested)), "name one in dataset_kwargs: data_files".into()));
    }
    let shots = split("fewshot_split").or(split("training_split")).filter(|s| *s != tested).map(of).unwrap_or_default();
    Ok((tests, shots))
}

/// The harness takes paths from where it was started: tried are the file's directory, the one above, and the project.
fn found(file: &str, base: &Path, project: &Path) -> String {
    let above = base.parent().unwrap_or(base);
    let there = [base, above, project].into_iter().map(|dir| dir.join(file)).find(|p| p.exists());
    there.map_or_else(|| file.to_owned(), |p| p.to_string_lossy().into_owned())
}

fn output(map: &Map<String, Value>, task: &mut Task) -> Result<(), String> {
    let template = |key: &str| match map.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => String::new(),
    };
    let kind = map.get("output_type").and_then(Value::as_str).unwrap_or("generate_until");
    task.prompt = template("doc_to_text");
    let target = template("doc_to_target");
    match kind {
        "multiple_choice" => {
            task.kind = "choice".into();
            task.answer = target;
            task.choices = match map.get("doc_to_choice") {
                Some(Value::String(text)) => Choices::Of(text.clone()),
                Some(Value::Array(list)) => Choices::These(list.iter().map(|v| super::template::plain(v).into_owned()).collect()),
                _ => return Err("a multiple choice without doc_to_choice".into()),
            };
        }
        "loglikelihood_rolling" => {
            task.kind = "perplexity".into();
            task.prompt = target;
        }
        "loglikelihood" => {
            task.kind = "cloze".into();
            task.target = target;
        }
        "generate_until" => {
            task.kind = "generate".into();
            task.target = target;
            generation(map, task);
        }
        other => return Err(format!("output_type “{}” is none that is read", shown(other))),
    }
    Ok(())
}

fn generation(map: &Map<String, Value>, task: &mut Task) {
    let kwargs = map.get("generation_kwargs");
    let of = |key: &str| kwargs.and_then(|k| k.get(key));
    task.max_tokens = of("max_gen_toks").or(of("max_new_tokens")).and_then(Value::as_u64).unwrap_or(256) as usize;
    task.stop = match of("until") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => vec![task.shot_delimiter.clone()],
    };
    task.stop.retain(|s| !s.is_empty());
    if of("do_sample").and_then(Value::as_bool) == Some(true) {
        task.temperature = of("temperature").and_then(Value::as_f64).unwrap_or(1.0) as f32;
    }
    // The first filter that takes something out of the answer.
    let filters = map.get("filter_list").and_then(Value::as_array).into_iter().flatten();
    let steps = filters.flat_map(|f| f.get("filter").and_then(Value::as_array).into_iter().flatten());
    for step in steps.filter(|s| s["function"] == "regex") {
        if let Some(pattern) = step["regex_pattern"].as_str() {
            task.extract = pattern.to_owned();
            task.extract_last = step["group_select"].as_i64() == Some(-1);
            break;
        }
    }
}

fn metrics(map: &Map<String, Value>, task: &mut Task, notes: &mut Vec<String>) {
    let list = map.get("metric_list").and_then(Value::as_array);
    let Some(first) = list.and_then(|l| l.first()) else { return };
    task.ignore_case = first["ignore_case"].as_bool().unwrap_or(false);
    task.ignore_punctuation = first["ignore_punctuation"].as_bool().unwrap_or(false);
    match first["metric"].as_str().unwrap_or_default() {
        "exact_match" => {}
        name @ ("acc" | "acc_norm" | "acc_bytes" | "bits_per_byte" | "byte_perplexity" | "word_perplexity" | "perplexity") => {
            task.metric = name.into()
        }
        other => notes.push(format!("the metric “{}” is not known; the score is another one", shown(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str) -> Result<(Task, Vec<String>), String> {
        read(text, "x.yaml", Path::new("/tasks"), Path::new("/project")).map_err(|e| e.to_string())
    }

    #[test]
    fn a_plain_file_becomes_a_task() {
        let text = "task: x\ndataset_path: json\ndataset_kwargs: {data_files: {test: a.jsonl, dev: b.jsonl}}\ntest_split: test\nfewshot_split: dev\n\
                    num_fewshot: 3\noutput_type: generate_until\ndoc_to_text: \"Q: {{q}}\\nA:\"\ndoc_to_target: \"{{a}}\"\n\
                    generation_kwargs: {until: [\"\\n\"], max_gen_toks: 9}\nmetric_list: [{metric: exact_match, ignore_case: true}]\n\
                    filter_list:\n- name: n\n  filter:\n  - {function: regex, regex_pattern: '(\\d+)', group_select: -1}\n  - {function: take_first}\nnovel: 1\n";
        let (task, notes) = task(text).unwrap();
        assert_eq!((task.kind.as_str(), task.prompt.as_str(), task.target.as_str(), task.shots), ("generate", "Q: {{q}}\nA:", "{{a}}", 3));
        assert_eq!(
            (task.data, task.shots_from, task.stop, task.max_tokens),
            (vec!["a.jsonl".into()], vec!["b.jsonl".into()], vec!["\n".into()], 9)
        );
        assert!(task.ignore_case && task.extract == "(\\d+)" && task.extract_last && task.shots_order == "drawn");
        assert!(notes.iter().any(|n| n.contains("novel")), "{notes:?}");
    }

    #[test]
    fn what_is_not_plain_is_refused_with_its_reason() {
        assert!(task("task: x\ndoc_to_text: !function utils.f\n").unwrap_err().contains("line 2: calls a function"));
        assert!(task("task: x\ndataset_path: gsm8k\n").unwrap_err().contains("no file here"));
        assert!(task("a: [").unwrap_err().contains("no YAML") && task("3").unwrap_err().contains("no task"));
        assert!(task("include: y.yaml\n").unwrap_err().contains("includes another file"));
        let none = "dataset_path: json\ndataset_kwargs: {data_files: {train: a.jsonl}}\n";
        assert!(task(none).unwrap_err().contains("no file of the split “test”"));
    }
}
