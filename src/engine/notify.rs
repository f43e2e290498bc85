//! The person's own command at the end or the fault of a job. The engine runs it, since it sees each of them once, however
//! many screens look and also when none does.
//! Deliberately not here: the terminal's bell and its notification, which are each screen's own.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etcetera::BaseStrategy;

use crate::report::{JobState, Report};
use crate::text::{told_of, visible};

/// What happens at the end or the fault of a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Notify {
    Off,
    /// The terminal's bell and its desktop notification.
    #[default]
    Bell,
    /// Both, and this shell command with the message in `WEIGHTROOM_MESSAGE`.
    Command(String),
}

/// The directory of the person's settings; none where the system names no home.
pub fn directory() -> Option<PathBuf> {
    etcetera::choose_base_strategy().ok().map(|s| s.config_dir().join("weightroom"))
}

/// The largest file of settings that is read here.
const MAX_SETTINGS: u64 = 1 << 20;

impl Notify {
    /// The setting as the file writes it: true, false, "off", "bell" or a command.
    pub fn of(text: Option<&str>, on: Option<bool>) -> Option<Self> {
        match (text, on) {
            (_, Some(true)) | (Some("bell"), _) => Some(Self::Bell),
            (_, Some(false)) | (Some("off" | ""), _) => Some(Self::Off),
            (Some(command), _) => Some(Self::Command(command.into())),
            (None, None) => None,
        }
    }

    /// As the person's settings have it now. A screen tells what is wrong with them.
    fn load() -> Self {
        let read = || {
            let path = directory()?.join("config.toml");
            let text = (std::fs::metadata(&path).ok()?.len() <= MAX_SETTINGS).then(|| std::fs::read_to_string(&path).ok())??;
            let table: toml::Table = text.parse().ok()?;
            let value = table.get("notify")?;
            Self::of(value.as_str(), value.as_bool())
        };
        read().unwrap_or_default()
    }
}

/// What a report says that a person who is elsewhere should hear of a job called `name`; none for most.
pub(super) fn words(name: &str, report: &Report) -> Option<String> {
    match report {
        Report::Finished { summary, .. } => Some(told_of(name, summary)),
        Report::Failed { cause, .. } => Some(format!("{name} failed: {cause}")),
        Report::State { state: JobState::Paused, why } if crate::run::says_full(why) => Some(format!("{name} is paused: {why}")),
        _ => None,
    }
}

/// Runs the person's command, if there is one, beside the engine.
pub(super) fn tell(project: &Path, text: &str) {
    let Notify::Command(command) = Notify::load() else { return };
    let child = Command::new("sh")
        .args(["-c", &command])
        .env("WEIGHTROOM_MESSAGE", visible(text, false).as_ref())
        .current_dir(if project.is_dir() { project } else { Path::new("/") })
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(project).map_or_else(Stdio::null, Stdio::from))
        .spawn();
    match child {
        Ok(mut child) => {
            let project = project.to_path_buf();
            // Its entry goes when it has ended.
            let _ = super::thread("weightroom-notify", move || match child.wait() {
                Ok(status) if status.success() => {}
                Ok(status) => complain(&project, &format!("ended with {status}")),
                Err(error) => complain(&project, &error.to_string()),
            });
        }
        Err(error) => complain(project, &error.to_string()),
    }
}

/// The engine's log, where what the command itself complains of goes too; none where it cannot be written.
fn log(project: &Path) -> Option<File> {
    OpenOptions::new().append(true).create(true).open(project.join(".weightroom").join("engine.log")).ok()
}

fn complain(project: &Path, what: &str) {
    if let Some(mut log) = log(project) {
        // A log that cannot be written has nobody left to tell.
        let _ = writeln!(log, "the command of `notify` in config.toml: {}", visible(what, false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_a_full_disk_are_told_and_a_pause_that_was_asked_for_is_not() {
        assert_eq!(words("demo", &Report::finished(false, "demo done at step 9")).as_deref(), Some("demo done at step 9"));
        assert_eq!(words("bench", &Report::finished(false, "3 rows")).as_deref(), Some("bench: 3 rows"));
        let failed = Report::Failed { cause: "loss is NaN".into(), hint: String::new(), log: None };
        assert_eq!(words("demo", &failed).as_deref(), Some("demo failed: loss is NaN"));
        let paused = |why: String| Report::State { state: JobState::Paused, why };
        assert_eq!(words("demo", &paused("as asked".into())), None);
        let full = words("demo", &paused(crate::run::full_disk(Path::new("runs/demo")))).unwrap();
        assert!(full.starts_with("demo is paused: the disk is full"), "{full}");
    }

    #[test]
    fn the_setting_is_a_switch_or_a_command() {
        assert_eq!(Notify::of(None, Some(true)), Some(Notify::Bell));
        assert_eq!(Notify::of(Some("off"), None), Some(Notify::Off));
        assert_eq!(Notify::of(Some("beep 3"), None), Some(Notify::Command("beep 3".into())));
        assert_eq!(Notify::of(None, None), None);
    }
}
