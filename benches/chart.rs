//! How long a run of a million logged steps with nine metrics takes to open and to draw: `cargo bench --bench chart`.
//! Deliberately not here: a limit; a test that asserts a time fails on a busy machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use std::time::Instant;

use weightroom::report::{Event, JobId, Report, Sink, Values};
use weightroom::run::directory::RunDir;
use weightroom::run::log::RunLog;
use weightroom::run::series::SeriesDir;
use weightroom::ui::harness::Harness;
use weightroom::ui::loader::Worker;
use weightroom::ui::world::Load;

const METRICS: [&str; 9] =
    ["train/loss", "val/loss", "lr", "grad_norm", "tokens_per_s", "memory_mb", "time/forward_ms", "time/backward_ms", "time/update_ms"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps: u64 = std::env::var("STEPS").ok().and_then(|s| s.parse().ok()).unwrap_or(1_000_000);
    let project = tempfile::tempdir()?;
    let start = Instant::now();
    write_run(project.path(), steps)?;
    println!("written     {:8.0} ms  ({steps} steps, {} metrics)", ms(start), METRICS.len());

    let run = project.path().join("runs/long");
    let start = Instant::now();
    let rebuilt = SeriesDir::rebuilt(&run)?;
    println!("rebuilt     {:8.0} ms  (from the log; {} metrics)", ms(start), rebuilt.names().len());
    drop(rebuilt);

    for (width, height) in [(120, 36), (200, 60)] {
        let mut harness = Harness::new(width, height);
        let mut worker = Worker::new(project.path().into());
        worker.execute(Load::Runs, &mut |answer| harness.loaded(answer));
        let start = Instant::now();
        let mut first = None;
        worker.execute(Load::Run("long".into()), &mut |answer| {
            harness.loaded(answer);
            if first.is_none() {
                let read = ms(start);
                harness.keys("g t");
                harness.draw();
                first = Some((read, ms(start)));
            }
        });
        let (read, drawn) = first.ok_or("nothing was read")?;
        println!("{width}x{height}: opened in {drawn:.0} ms (read {read:.0} ms), notes and all after {:.0} ms", ms(start));
        for (name, keys) in [("still", ""), ("zooming", "+"), ("panning", "["), ("cursor", "right"), ("smoothing", "m"), ("logarithm", "L")]
        {
            let mut times = Vec::new();
            for _ in 0..40 {
                let start = Instant::now();
                if keys.is_empty() {
                    harness.draw();
                } else {
                    harness.keys(keys);
                }
                times.push(ms(start));
            }
            times.sort_by(f64::total_cmp);
            println!("  {name:<10} median {:6.2} ms   worst {:6.2} ms", times[20], times[39]);
            harness.keys("0");
        }
    }
    Ok(())
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// A run as the training loop would log it.
fn write_run(project: &std::path::Path, steps: u64) -> Result<(), Box<dyn std::error::Error>> {
    let recipe = weightroom::recipe::Recipe::default().to_toml();
    let (dir, lock) = RunDir::create(project, Some("long"), "long", &recipe)?;
    let mut log = RunLog::open(&dir, lock)?;
    let mut seq = 0;
    let mut say = |report: Report| {
        seq += 1;
        log.write(&Event { job: JobId(1), seq: seq - 1, at_ms: 1_767_268_800_000 + seq, report })
    };
    say(Report::Started { kind: "train".into(), title: "long".into(), run: Some("long".into()) })?;
    for step in 1..=steps {
        let x = step as f64;
        let noise = |k: u64| (step.wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (k << 32)) >> 40) as f64 / (1 << 24) as f64 - 0.5;
        let mut values = vec![("train/loss".to_string(), 1.5 + 3.0 / (1.0 + x / 2e4) + 0.2 * noise(0))];
        if step % 1000 == 0 {
            values.push((METRICS[1].into(), 1.6 + 3.0 / (1.0 + x / 2e4)));
        }
        values.extend(METRICS.iter().enumerate().skip(2).map(|(i, name)| ((*name).to_string(), 100.0 + i as f64 + noise(i as u64))));
        say(Report::Values(Values { step, values }))?;
    }
    say(Report::finished(false, "done"))?;
    log.sync()?;
    Ok(())
}
