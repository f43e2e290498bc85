//! What came of evaluations as text: lines for a terminal, Markdown for a pull request, JUnit XML for continuous integration.
//! Deliberately not here: colours and screens, and where the text goes.

use std::fmt::Write;

use super::compare::{ALPHA, Compared, Comparison};
use super::report::{ItemResult, Report, Status, TaskReport};
use super::shown;

/// A score with its interval: `0.884 [0.838, 0.918]`.
pub fn score(task: &TaskReport) -> String {
    match (task.score, &task.interval) {
        (Some(score), Some(i)) => format!("{} [{}, {}]", number(score), number(i.low), number(i.high)),
        (Some(score), None) => number(score),
        (None, _) => "–".into(),
    }
}

/// Three decimals, or fewer of what is large.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => format!("{value}"),
        v if v < 100.0 => format!("{value:.3}"),
        v if v < 10_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A p-value as people write it.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "p < 0.001".into() } else { format!("p = {p:.3}") }
}

/// What is counted apart from the score: `3 unparsed · 1 too long`.
pub fn apart(task: &TaskReport) -> String {
    let parts = [(task.unparsed, "unparsed"), (task.too_long, "longer than the context"), (task.failed, "failed")];
    parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect::<Vec<_>>().join(" · ")
}

/// One line a task, for a terminal.
pub fn lines(report: &Report) -> String {
    let width = report.tasks.iter().map(|t| shown(&t.name).chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for task in &report.tasks {
        let name = shown(&task.name);
        let pad = " ".repeat(width.saturating_sub(name.chars().count()));
        let _ = write!(out, "{name}{pad}  {} {}  n {}", task.metric, score(task), task.n);
        if task.n < task.total {
            let _ = write!(out, " of {}", task.total);
        }
        let _ = write!(out, "  {:.1} items/s", task.items_per_s);
        if task.cached > 0 {
            let _ = write!(out, "  {} from before", task.cached);
        }
        let apart = apart(task);
        if !apart.is_empty() {
            let _ = write!(out, "  {apart}");
        }
        out.push('\n');
    }
    out
}

/// `report.md`: what a pull request shows.
pub fn markdown(report: &Report) -> String {
    let mut out = format!("### Evaluation of `{}`\n\n", cell(&report.model));
    out.push_str("| task | measure | score | 95 % interval | n | unparsed | too long | failed | items/s |\n|---|---|---:|---|---:|---:|---:|---:|---:|\n");
    for t in &report.tasks {
        let interval = t.interval.as_ref().map(|i| format!("{} – {} ({})", number(i.low), number(i.high), i.method)).unwrap_or_default();
        let n = if t.n < t.total { format!("{} of {}", t.n, t.total) } else { t.n.to_string() };
        let score = t.score.map_or("–".into(), number);
        let arrow = if t.higher_is_better { "↑" } else { "↓" };
        let _ = writeln!(
            out,
            "| {} | {} {arrow} | {score} | {interval} | {n} | {} | {} | {} | {:.1} |",
            cell(&t.name),
            t.metric,
            t.unparsed,
            t.too_long,
            t.failed,
            t.items_per_s
        );
    }
    out.push('\n');
    for t in &report.tasks {
        let others: Vec<String> =
            t.measures.iter().filter(|(name, _)| **name != t.metric).map(|(name, f)| format!("{name} {}", number(f.value))).collect();
        let mut facts =
            vec![format!("kind {}", t.kind), format!("{} examples", t.shots), format!("seed {}", t.seed), format!("task `{}`", t.hash)];
        if t.chat {
            facts.push("chat template".into());
        }
        if t.samples > 1 {
            facts.push(format!("{} samples an item", t.samples));
        }
        if !t.judge.is_empty() {
            facts.push(format!("judged by `{}`", cell(&t.judge)));
        }
        facts.extend(others);
        facts.extend(t.notes.iter().map(|n| cell(n)));
        let _ = writeln!(out, "- **{}**: {}", cell(&t.name), facts.join(" · "));
    }
    let parameters = report.parameters.map(|p| format!(" · {p} parameters")).unwrap_or_default();
    let recipe = report.recipe_hash.as_ref().map(|h| format!(" · recipe `{h}`")).unwrap_or_default();
    let state = if report.complete { "" } else { " · **not complete**" };
    let _ = writeln!(
        out,
        "\nModel `{}`{parameters}{recipe} · {} · {} · {:.1} s{state}",
        report.model_hash,
        cell(&report.device),
        report.program,
        report.seconds
    );
    if !report.again.is_empty() {
        let _ = writeln!(out, "\n```sh\n{}\n```", report.again.replace("```", ""));
    }
    out
}

/// A comparison for a pull request.
pub fn comparison_markdown(found: &Comparison) -> String {
    let mut out = format!("### `{}` → `{}`\n\n", cell(&found.a), cell(&found.b));
    out.push_str("| task | measure | A | B | difference | 95 % interval | test | lost | won | can be seen | |\n|---|---|---:|---:|---:|---|---|---:|---:|---:|---|\n");
    for t in &found.tasks {
        let p = &t.paired;
        let (lost, won) = lost_and_won(t);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {:+.3} | {:+.3} – {:+.3} | {} {} | {lost} | {won} | ±{:.3} | {} |",
            cell(&t.task),
            t.metric,
            number(t.a),
            number(t.b),
            p.difference,
            p.low,
            p.high,
            p.test,
            p_value(t.p_corrected),
            p.detectable,
            word(t)
        );
    }
    for t in &found.tasks {
        if !t.note.is_empty() {
            let _ = writeln!(out, "\n{}: {}", cell(&t.task), t.note);
        }
    }
    for line in &found.left_out {
        let _ = writeln!(out, "\nNot compared: {}", cell(line));
    }
    out
}

/// A comparison for a terminal.
pub fn comparison_lines(found: &Comparison) -> String {
    let mut out = format!("{} → {}\n", shown(&found.a), shown(&found.b));
    for t in &found.tasks {
        let p = &t.paired;
        let (lost, won) = lost_and_won(t);
        let _ = writeln!(
            out,
            "{}  {} {} → {}  {:+.3} [{:+.3}, {:+.3}]  {} {} over {} items, {lost} lost, {won} won  {}",
            shown(&t.task),
            t.metric,
            number(t.a),
            number(t.b),
            p.difference,
            p.low,
            p.high,
            p.test,
            p_value(t.p_corrected),
            p.n,
            word(t)
        );
        if !t.worse && !t.better {
            let _ = writeln!(out, "  this many items show a difference of {:.3} in 8 of 10 cases", p.detectable);
        }
        if t.unmatched > 0 {
            let _ = writeln!(out, "  {} items are in one alone", t.unmatched);
        }
        if !t.note.is_empty() {
            let _ = writeln!(out, "  {}", t.note);
        }
    }
    found.left_out.iter().for_each(|line| _ = writeln!(out, "not compared: {}", shown(line)));
    out
}

/// Items on which B did worse, and better.
pub fn lost_and_won(t: &Compared) -> (usize, usize) {
    if t.higher_is_better { (t.paired.a_better, t.paired.b_better) } else { (t.paired.b_better, t.paired.a_better) }
}

/// What a comparison says in a word.
pub fn word(t: &Compared) -> &'static str {
    match (t.worse, t.better) {
        (true, _) => "worse",
        (_, true) => "better",
        _ if t.p_corrected >= ALPHA => "not to be told apart",
        _ => "",
    }
}

/// JUnit XML: a suite a task, a case an item. A wrong answer is a failure, what could not be graded is an error.
pub fn junit(report: &Report, items: &[ItemResult]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(out, "<testsuites name=\"{}\" time=\"{:.3}\">", xml(&report.model), report.seconds);
    for task in &report.tasks {
        let own: Vec<&ItemResult> = items.iter().filter(|i| i.task == task.name).collect();
        let wrong = |i: &&&ItemResult| i.status.counts() && is_wrong(task, i);
        let failures = own.iter().filter(wrong).count();
        let errors = own.iter().filter(|i| i.status == Status::Failed).count();
        let skipped = own.iter().filter(|i| i.status == Status::TooLong).count();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{:.3}\">",
            xml(&task.name),
            own.len(),
            task.seconds
        );
        for item in own {
            let _ = write!(out, "    <testcase classname=\"{}\" name=\"{}\"", xml(&task.name), xml(&item.id));
            let why = xml(&item.reason);
            let body = match item.status {
                Status::Failed => format!("<error message=\"{why}\"/>"),
                Status::TooLong => format!("<skipped message=\"{why}\"/>"),
                _ if is_wrong(task, item) => {
                    let got = item.extracted.clone().unwrap_or_else(|| "nothing that could be read".into());
                    format!("<failure message=\"expected {}, got {}\">{why}</failure>", xml(&item.expected), xml(&got))
                }
                _ => String::new(),
            };
            let _ = if body.is_empty() { writeln!(out, "/>") } else { writeln!(out, ">{body}</testcase>") };
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Of measures that are no share nothing is wrong.
fn is_wrong(task: &TaskReport, item: &ItemResult) -> bool {
    task.higher_is_better && item.score.is_some_and(|s| s < 1.0)
}

/// Foreign text in an attribute or between tags.
fn xml(text: &str) -> String {
    const LONGEST: usize = 2000;
    let text = crate::text::visible(text, true);
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars().take(LONGEST) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Foreign text in a cell of a Markdown table.
fn cell(text: &str) -> String {
    shown(text).replace('|', "\\|").replace('`', "'").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_breaks_neither_tables_nor_xml() {
        let task = TaskReport {
            name: "a|b<c>".into(),
            metric: "acc".into(),
            higher_is_better: true,
            n: 1,
            total: 2,
            score: Some(0.5),
            ..TaskReport::default()
        };
        let report = Report { model: "m`x`\u{1b}[31m".into(), tasks: vec![task], ..Report::default() };
        let md = markdown(&report);
        assert!(md.contains("a\\|b&lt;c>") && md.contains("1 of 2") && !md.contains('\u{1b}') && md.contains("not complete"), "{md}");
        let item = |id: &str, status, score| ItemResult {
            task: "a|b<c>".into(),
            id: id.into(),
            status,
            score,
            reason: "\"<&>\u{1b}".into(),
            ..ItemResult::default()
        };
        let items = [
            item("1", Status::Graded, Some(0.0)),
            item("2", Status::Failed, None),
            item("3\n", Status::Graded, Some(1.0)),
            item("4", Status::TooLong, None),
        ];
        let xml = junit(&report, &items);
        assert!(
            xml.contains("tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\"")
                && xml.contains("&quot;&lt;&amp;&gt;␛")
                && xml.contains("name=\"3&#10;\"/>"),
            "{xml}"
        );
    }
}
