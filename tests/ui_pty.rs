//! The real binary in a terminal of its own: what it leaves behind however it ends, what it writes and what it reads.
//! Not here: what the screens look like (`ui_shell`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.
#![cfg(unix)]

#[path = "common/pty.rs"]
mod pty;

use std::time::Duration;

use pty::Pty;

fn project() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("weightroom-pty-").tempdir().unwrap()
}

#[test]
fn quitting_gives_the_terminal_back() {
    let dir = project();
    let mut screen = Pty::open(dir.path(), 120, 36, &[]);
    screen.shows("The life of a model");
    assert!(screen.parser.screen().alternate_screen() && screen.parser.screen().bracketed_paste());
    screen.send("q");
    assert!(screen.ended().success());
    screen.assert_restored();
    // Nothing is written into a project before the first job.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn signals_give_the_terminal_back() {
    let dir = project();
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let mut screen = Pty::open(dir.path(), 80, 24, &[]);
        screen.signal(signal);
        screen.ended();
        screen.assert_restored();
    }
}

#[test]
#[cfg(debug_assertions)]
fn a_panic_of_the_screen_gives_the_terminal_back_and_tells() {
    let dir = project();
    let mut screen = Pty::open(dir.path(), 120, 36, &[("WEIGHTROOM_PROVOKE", "screen")]);
    screen.send("\x1b[24~");
    assert!(!screen.ended().success());
    screen.assert_restored();
    // The message comes after the screen is gone, or nobody would see it.
    let at = memchr::memmem::rfind(&screen.raw, b"provoked on the screen").expect("the panic is told");
    assert!(at > memchr::memmem::rfind(&screen.raw, b"\x1b[?1049l").unwrap());
}

#[test]
#[cfg(debug_assertions)]
fn a_panic_elsewhere_leaves_the_screen_intact() {
    let dir = project();
    let mut screen = Pty::open(dir.path(), 120, 36, &[("WEIGHTROOM_PROVOKE", "thread")]);
    screen.send("\x1b[24~");
    screen.shows("thread provoked panicked");
    assert!(screen.parser.screen().alternate_screen());
    screen.send("gj");
    screen.shows("[Jobs]");
    screen.send("q");
    assert!(screen.ended().success());
    screen.assert_restored();
}

#[test]
#[cfg(target_os = "linux")]
fn suspending_gives_the_terminal_back_and_continuing_takes_it() {
    let dir = project();
    let mut screen = Pty::open(dir.path(), 120, 36, &[]);
    screen.send("\x1a");
    screen.until("stop", Pty::is_stopped);
    screen.until("leave the screen", |s| !s.parser.screen().alternate_screen());
    screen.assert_restored();
    screen.signal(libc::SIGCONT);
    screen.until("take the screen again", |s| s.parser.screen().alternate_screen());
    screen.shows("The life of a model");
    screen.send("q");
    assert!(screen.ended().success());
    screen.assert_restored();
}

#[test]
fn replies_and_sequences_in_pieces_are_never_keys() {
    let dir = project();
    let mut screen = Pty::open(dir.path(), 120, 36, &[]);
    // A colour reply full of q, an arrow in pieces, an unknown sequence: none of them quits or moves to another pane.
    for bytes in ["\x1b]11;rgb:qqqq/qqqq/qqqq\x07", "\x1b]4;1;q\x1b\\", "\x1b", "[", "A", "\x1bOq", "\x1b[?62;4q"] {
        screen.send(bytes);
        screen.read_for(Duration::from_millis(5));
    }
    screen.send("?");
    screen.shows("Tab turns the page");
    screen.send("?");
    screen.until("close the help", |s| !s.contents().contains("Tab turns the page"));
    assert!(screen.contents().contains("[Life]"));
    screen.send("q");
    assert!(screen.ended().success());
}

#[test]
fn a_terminal_that_answers_nothing_is_not_asked_for_long_and_costs_nothing() {
    let dir = project();
    let mut screen = Pty::open_mute(dir.path(), 120, 36);
    let asked = |s: &Pty| memchr::memmem::find_iter(&s.raw, b"\x1b[5n").count();
    assert!(asked(&screen) > 0);
    // A key is answered while the first reply is still waited for, and so is another right behind it.
    for (key, shown) in [("gj", "[Jobs]"), ("gt", "[Train]"), ("gl", "[Life]")] {
        screen.send(key);
        screen.shows(shown);
    }
    screen.read_for(Duration::from_millis(1500));
    let before = asked(&screen);
    for (key, shown) in [("gj", "[Jobs]"), ("gt", "[Train]"), ("gl", "[Life]")] {
        screen.send(key);
        screen.shows(shown);
    }
    assert_eq!(asked(&screen), before, "it was asked again");
    screen.send("q");
    assert!(screen.ended().success());
    screen.assert_restored();
    let mut dumb = Pty::open(dir.path(), 120, 36, &[("TERM", "dumb")]);
    dumb.shows("safe to close");
    assert_eq!(asked(&dumb), 0);
}

#[test]
fn a_reply_is_read_before_the_terminal_is_given_back() {
    let dir = project();
    let mut screen = Pty::open(dir.path(), 120, 36, &[]);
    screen.shows("safe to close");
    // Half a second of bytes stands in the line when the last key is typed.
    screen.drains(10_000);
    screen.send("gj");
    screen.read_for(Duration::from_millis(30));
    screen.send("q");
    assert!(screen.ended().success());
    screen.drains(0);
    screen.read_for(Duration::from_millis(300));
    screen.assert_restored();
    // In a terminal that echoes, a reply that nobody reads would stand there as `^[[0n`.
    assert!(memchr::memmem::find(&screen.raw, b"[0n").is_none(), "{}", screen.contents());
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let dir = project();
    let mut screen = Pty::open(dir.path(), 120, 36, &[]);
    screen.shows("safe to close");
    while screen.read_for(Duration::from_millis(700)) > 0 {}
    assert_eq!(screen.read_for(Duration::from_secs(1)), 0);
    // A key that changes nothing writes nothing either.
    screen.send("X");
    assert_eq!(screen.read_for(Duration::from_millis(500)), 0);
}

#[test]
fn it_follows_the_size_and_says_when_there_is_too_little() {
    let dir = project();
    let mut screen = Pty::open(dir.path(), 120, 36, &[]);
    screen.shows("Lineage");
    screen.resize(50, 10);
    screen.shows("needs 60×16");
    screen.resize(80, 24);
    screen.shows("✓ Data");
    screen.send("q");
    assert!(screen.ended().success());
}

#[test]
fn control_characters_of_names_are_marks_and_no_color_is_honoured() {
    let dir = project();
    let odd = dir.path().join("pro\u{1b}[31mject\u{7}");
    std::fs::create_dir(&odd).unwrap();
    let mut screen = Pty::open(&odd, 120, 36, &[("NO_COLOR", "1")]);
    screen.shows("pro␛[31mject␇");
    screen.send(":");
    screen.shows("Commands");
    assert!(!screen.raw.contains(&7));
    for colour in ["\x1b[31m", "38;2;", "48;2;", "38;5;", "48;5;"] {
        assert!(memchr::memmem::find(&screen.raw, colour.as_bytes()).is_none(), "{colour:?} was written");
    }
    screen.send("\x1b");
    screen.until("close the palette", |s| !s.contents().contains("Commands"));
    screen.send("q");
    assert!(screen.ended().success());
}

#[test]
fn settings_are_read_and_their_mistakes_told() {
    let dir = project();
    std::fs::create_dir(dir.path().join("weightroom")).unwrap();
    let text = "theme = \"light\"\n[keys]\n\"go.log\" = \"J\"\n\"go.nowhere\" = \"x\"\n";
    std::fs::write(dir.path().join("weightroom/config.toml"), text).unwrap();
    let mut screen = Pty::open(dir.path(), 120, 36, &[]);
    screen.shows("config.toml:4: no action is called `go.nowhere`");
    let ground = screen.parser.screen().cell(0, 0).unwrap().bgcolor();
    assert_eq!(ground, vt100::Color::Rgb(0xfa, 0xf9, 0xf5));
    screen.send("J");
    screen.shows("[Jobs]");
}

#[test]
fn a_line_that_does_not_drain_delays_frames_and_not_keys_and_the_picture_is_right_in_the_end() {
    let dir = project();
    let mut screen = Pty::open(dir.path(), 120, 36, &[]);
    screen.shows("safe to close");
    screen.hold(true);
    // Many screens' worth of frames and many keys, while nothing is read at this end.
    for _ in 0..60 {
        screen.send("?");
        std::thread::sleep(Duration::from_millis(2));
        screen.send("\x1b[B\x1b[B?gj\x0cgl\x0cgt\x0c");
        std::thread::sleep(Duration::from_millis(2));
    }
    let stalled = screen.memory_kb();
    // Ten times what one step of the allocator brings, were it kept.
    for _ in 0..1500 {
        screen.send("gj\x0cgt\x0c");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(screen.memory_kb() < stalled + 20 * 1024, "{} kB, then {} kB", stalled, screen.memory_kb());
    // A question asked now is seen by nobody: what is typed at it does nothing.
    screen.send("gl");
    let before = screen.raw.len();
    screen.hold(false);
    // What was on its way when the line stood still may show the same pane: only this is new.
    screen.send(":");
    screen.shows("Commands");
    screen.send("\x1b");
    screen.until("close the palette", |s| !s.contents().contains("Commands"));
    screen.shows("[Life]");
    while screen.read_for(Duration::from_millis(700)) > 0 {}
    // Frames that nobody could have seen were never written.
    assert!(screen.raw.len() - before < 200_000, "{} bytes", screen.raw.len() - before);
    let seen = screen.contents();
    screen.send("\x0c");
    screen.read_for(Duration::from_millis(500));
    assert_eq!(screen.contents(), seen, "a full repaint changes nothing");
    screen.send("q");
    assert!(screen.ended().success());
    screen.assert_restored();
}
