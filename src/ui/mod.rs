//! Floor 6: the workbench. This page is its event loop: one channel in, one frame out.
//! Deliberately not here: what keys mean (`shell`) and what is drawn (`frame`, `panes`).

pub mod config;
pub mod desk;
mod examiner;
mod frame;
pub mod harness;
mod help;
mod input;
pub mod keymap;
mod leaving;
pub mod loader;
mod outlet;
mod palette;
pub mod pane;
pub mod panes;
mod pulse;
mod shelf;
pub mod shell;
pub mod sitting;
pub mod terminal;
pub mod theme;
pub mod widgets;
pub mod world;

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossterm::event::Event;
use ratatui::Terminal;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};

use crate::engine::Handle;
use crate::engine::protocol::{Command, Up};
use config::Config;
use input::Heard;
use loader::Loader;
use outlet::{Drained, Outlet};
use pulse::Pulse;
use shell::{Out, Setup, Shell};
use terminal::Screen;
use theme::{Depth, Theme};
use world::{Loaded, World};

/// Frames of numbers come at most this often; of streaming text at the second rate.
const DATA_MS: u64 = 90;
const STREAM_MS: u64 = 33;
/// How long a line that does not drain is waited for before the terminal is given back.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a closing engine may take to save what it has.
const SAVING: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Default)]
pub struct Options {
    pub ascii: bool,
    pub readonly: bool,
    pub theme: Option<String>,
    pub mouse: Option<bool>,
    /// A run to open at once.
    pub run: Option<String>,
    /// The Rank pane alone, on a set.
    pub rank: Option<panes::rank::Opening>,
}

impl Options {
    /// For the Rank pane alone: a set, who ranks it (none asks), decisions that are wanted, and whether it is to settle what
    /// people disagree about.
    pub fn ranking(self, set: String, annotator: Option<String>, goal: Option<usize>, adjudicates: bool) -> Self {
        Self { rank: Some(panes::rank::Opening { set, annotator, goal, adjudicates }), ..self }
    }
}

/// All that the screen's thread ever waits for.
enum Message {
    Input(Event, Instant),
    /// The terminal says at a moment that it has shown all that was written until an earlier one.
    Answered {
        until: Instant,
        at: Instant,
    },
    Up(Up),
    /// The engine's end of the channel is gone.
    EngineGone,
    Loaded(Loaded),
    Signal(i32),
    /// What was drawn has left for the terminal.
    Drained(Instant),
    /// Another thread panicked.
    Panic(String),
}

/// Opens the workbench on a project and returns when the person quits; the terminal is as it was.
pub fn run(project: &Path, handle: Handle, options: Options) -> color_eyre::Result<()> {
    let (commands, events) = handle.split();
    run_over(project, commands, events, options)
}

/// Refuses a theme that there is not, before anything is started. The error names it and the nearest that there is.
pub fn check_theme(name: &str) -> Result<(), String> {
    let (themes, complaints) = config::themes(config::directory().as_deref());
    config::find_theme(&themes, name).map(drop).map_err(|why| {
        // A theme of the person's own that cannot be read is no theme without a name.
        let own = format!("/{name}.toml: ");
        complaints.into_iter().find(|c| c.contains(&own)).unwrap_or(why)
    })
}

/// The same over two ends of an engine's channels.
pub fn run_over(project: &Path, commands: Sender<Command>, events: Receiver<Up>, options: Options) -> color_eyre::Result<()> {
    let (sender, messages) = channel();
    let panes = match &options.rank {
        Some(opening) => vec![Box::new(panes::rank::Rank::new(Some(opening.clone()))) as Box<dyn pane::Pane>],
        None => panes::all(),
    };
    let known: Vec<keymap::Binding> = panes.iter().flat_map(|p| p.all_bindings()).chain(keymap::GLOBAL.iter().copied()).collect();
    let directory = config::directory();
    let config = Config::load(directory.as_deref(), &known);
    let (themes, mut complaints) = config::themes(directory.as_deref());
    complaints.splice(0..0, config.complaints.iter().cloned());
    let depth = depth();
    let wanted = match (&options.theme, &config.theme) {
        (Some(name), _) => Some((name, "--theme".to_string())),
        (None, name) => name.as_ref().map(|name| (name, format!("{}: theme", config.theme_at))),
    };
    let theme = choose_theme(&themes, wanted, depth, &mut complaints);
    let setup = Setup {
        mouse: options.mouse.or(config.mouse).unwrap_or(true),
        ascii: options.ascii || config.ascii.unwrap_or(false),
        readonly: options.readonly,
        config,
        themes,
        theme,
    };
    let mouse = setup.mouse;
    let project = std::path::absolute(project)?;
    let mut shell = Shell::new(World::new(project.clone()), panes, setup);

    let loader = {
        let sender = sender.clone();
        Loader::spawn(project, move |answer| sender.send(Message::Loaded(answer)).is_ok())?
    };
    // A dumb terminal would show the question.
    let pulse = Arc::new(Pulse::new(std::env::var("TERM").is_ok_and(|term| term != "dumb")));
    spawn_sources(&sender, events, &pulse)?;
    let output = std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let (to, tells) = (sender.clone(), pulse.clone());
    let outlet = Outlet::spawn(output, move |told| {
        // Nobody is there any more where the terminal is gone: the same as a hang-up.
        let _ = to.send(match told {
            Drained::At(at) => Message::Drained(at),
            Drained::Gone => {
                tells.forget();
                Message::Signal(SIGHUP)
            }
        });
    })?;
    let hook = PanicHook::install(sender);
    terminal::enter(mouse)?;
    let session = Session;
    let terminal = Terminal::new(Screen::new(outlet, depth, None).with_pulse(pulse.clone())?)?;
    if let Some(run) = options.run {
        shell.show_run(run, now_ms());
    }
    let mut driver = Driver { shell, terminal, pulse, messages, commands, loader, mouse, signalled: false, held: Vec::new() };
    let result = driver.drive(&complaints);
    driver.settle();
    drop(session);
    drop(hook);
    driver.close();
    result
}

/// Gives the terminal back however the loop ends.
struct Session;

impl Drop for Session {
    fn drop(&mut self) {
        // After a panic the hook has done it already, and doing it twice would move the cursor over what it told.
        if !std::thread::panicking() {
            terminal::leave();
        }
    }
}

struct Driver {
    shell: Shell,
    terminal: Terminal<Screen<Outlet>>,
    pulse: Arc<Pulse>,
    messages: Receiver<Message>,
    commands: Sender<Command>,
    loader: Loader,
    mouse: bool,
    signalled: bool,
    /// What was typed while a question was on its way to the terminal.
    held: Vec<(Event, Instant)>,
}

impl Driver {
    fn drive(&mut self, complaints: &[String]) -> color_eyre::Result<()> {
        self.shell.begin(complaints, now_ms());
        if self.perform()? {
            return Ok(());
        }
        self.draw()?;
        let mut last = Instant::now();
        // Whether something came in that no frame shows yet, and whether it should be seen at once.
        let (mut stale, mut urgent) = (false, false);
        loop {
            // While a frame is on its way nothing is drawn, so nothing is due: the next message is that it has left.
            let blocked = !self.terminal.backend().out().is_empty();
            // A frame that has left may stand in a slow line, and another would only stand behind it.
            let unseen = self.pulse.patience(Instant::now());
            let pause = Duration::from_millis(if self.shell.streams() { STREAM_MS } else { DATA_MS });
            let wake = self.shell.wakes(now_ms()).map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
            let due = stale.then(|| pause.saturating_sub(last.elapsed()));
            let first = match unseen.or_else(|| due.into_iter().chain(wake).min()).filter(|_| !blocked) {
                None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => self.messages.recv_timeout(wait),
            };
            match first {
                Ok(message) => {
                    for message in std::iter::once(message).chain(std::iter::from_fn(|| self.messages.try_recv().ok())).collect::<Vec<_>>()
                    {
                        stale |= !matches!(message, Message::Drained(_) | Message::Answered { .. });
                        urgent |= self.take(message)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) if unseen.is_some() => {
                    self.pulse.give_up();
                    let now = Instant::now();
                    urgent |= self.seen(now, now);
                }
                Err(RecvTimeoutError::Timeout) => urgent |= wake.is_some_and(|w| w <= pause) && !stale,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.signalled || self.perform()? {
                return Ok(());
            }
            // Numbers wait until the terminal has shown all.
            let wanted = (urgent && self.pulse.lets_through()) || (stale && self.pulse.due() == 0 && last.elapsed() >= pause);
            if wanted && self.terminal.backend().out().is_empty() {
                self.draw()?;
                last = Instant::now();
                (stale, urgent) = (false, false);
                // Time that passed may have asked for something.
                if self.perform()? {
                    return Ok(());
                }
            }
        }
    }

    /// The terminal shows, or must be taken to show, since `at` all that was written until `until`: a question in it may be
    /// answered, also by what was typed since. Whether something was.
    fn seen(&mut self, until: Instant, at: Instant) -> bool {
        self.shell.drawn(until, at);
        if self.held.is_empty() || self.shell.awaits_drawing() {
            return false;
        }
        for (event, read) in std::mem::take(&mut self.held) {
            self.shell.input(event, read, now_ms());
        }
        true
    }

    /// Waits a moment until the terminal has all that was written, and we all that it has to say: neither the last frame
    /// and a farewell mix, nor does the shell take a reply for typed.
    fn settle(&self) {
        let began = Instant::now();
        self.terminal.backend().out().settle(SETTLE);
        self.pulse.settle(SETTLE.saturating_sub(began.elapsed()));
    }

    /// Takes one message; whether it should be seen at once.
    fn take(&mut self, message: Message) -> color_eyre::Result<bool> {
        let now = now_ms();
        match message {
            Message::Input(event, read) => {
                #[cfg(debug_assertions)]
                provoke(&event);
                if self.shell.awaits_drawing() {
                    // An answer may overtake the word that its question was seen; the times of both decide.
                    self.held.push((event, read));
                    return Ok(false);
                }
                self.shell.input(event, read, now);
                return Ok(true);
            }
            Message::Up(up) => self.shell.up(up, now),
            Message::EngineGone => self.shell.up(Up::Bye, now),
            Message::Loaded(answer) => {
                self.shell.loaded(answer, now);
                return Ok(true);
            }
            Message::Signal(SIGTERM | SIGHUP | SIGINT) => self.signalled = true,
            Message::Signal(SIGTSTP) => {
                self.settle();
                terminal::leave();
                // Stops the whole process; the next line runs when `fg` lets it go on.
                signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
                self.retake()?;
                return Ok(true);
            }
            Message::Signal(SIGCONT) => {
                self.retake()?;
                return Ok(true);
            }
            Message::Drained(at) => {
                self.pulse.left(at);
                // Where the terminal is to answer, only that says that it was seen.
                return Ok(self.pulse.due() == 0 && self.seen(at, at));
            }
            Message::Answered { until, at } => return Ok(self.seen(until, at)),
            // The next frame asks for the size.
            Message::Signal(SIGWINCH) => return Ok(true),
            Message::Signal(_) => {}
            Message::Panic(what) => {
                self.shell.panicked(what, now);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the terminal again after a stop, whoever stopped us, and forgets what it showed.
    fn retake(&mut self) -> color_eyre::Result<()> {
        crossterm::terminal::disable_raw_mode()?;
        terminal::enter(self.mouse)?;
        self.pulse.forget();
        self.terminal.backend_mut().forget();
        self.terminal.clear()?;
        Ok(())
    }

    /// Does what the shell asked for; whether it is over.
    fn perform(&mut self) -> color_eyre::Result<bool> {
        let tmux = std::env::var_os("TMUX").is_some();
        for out in self.shell.take() {
            match out {
                Out::Command(command) => {
                    if self.commands.send(command).is_err() {
                        self.shell.panicked("the engine has ended; leave with q and start again".into(), now_ms());
                    }
                }
                Out::Load(load) => self.loader.ask(load),
                Out::Yank(text) => self.terminal.backend_mut().write_raw(&terminal::yank_sequence(&text, tmux))?,
                Out::Notify(text) => self.terminal.backend_mut().write_raw(&terminal::notify_sequence(&text, tmux))?,
                Out::Mouse(on) => {
                    self.mouse = on;
                    self.terminal.backend_mut().write_raw(terminal::mouse_sequence(on))?;
                }
                Out::Suspend => suspend()?,
                Out::Redraw => {
                    self.terminal.backend_mut().forget();
                    self.terminal.clear()?;
                }
                Out::Exit => return Ok(true),
            }
        }
        Ok(false)
    }

    fn draw(&mut self) -> color_eyre::Result<()> {
        let now = now_ms();
        let (begun, handed) = (Instant::now(), self.terminal.backend().out().handed());
        self.terminal.draw(|frame| self.shell.draw(frame, now))?;
        self.shell.sent(begun);
        if self.terminal.backend().out().handed() == handed {
            // Nothing had to be written: the terminal shows it already, and nobody will tell that it has left.
            self.shell.drawn(begun, begun);
        }
        Ok(())
    }

    /// The screen is gone; the engine saves what it is at.
    fn close(&mut self) {
        if self.shell.world.outlives {
            // The engine has a process of its own and goes on; it hears that this screen is gone when the line closes.
            return;
        }
        let running = self.shell.world.jobs.values().any(|j| j.ended.is_none());
        if self.commands.send(Command::Shutdown).is_err() || !running {
            return;
        }
        let until = Instant::now() + SAVING;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match self.messages.recv_timeout(left) {
                Ok(Message::Up(Up::Bye) | Message::EngineGone) | Err(_) => return,
                // A second interrupt does not want to wait.
                Ok(Message::Signal(SIGINT | SIGTERM)) => return,
                Ok(_) => {}
            }
        }
    }
}

/// The threads that fill the channel: input, engine, signals.
fn spawn_sources(sender: &Sender<Message>, events: Receiver<Up>, pulse: &Arc<Pulse>) -> std::io::Result<()> {
    let to = sender.clone();
    std::thread::Builder::new().name("engine events".into()).spawn(move || {
        while let Ok(up) = events.recv() {
            if to.send(Message::Up(up)).is_err() {
                return;
            }
        }
        let _ = to.send(Message::EngineGone);
    })?;
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGHUP, SIGINT, SIGTSTP, SIGCONT, SIGWINCH])?;
    let to = sender.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if to.send(Message::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    let (to, pulse) = (sender.clone(), pulse.clone());
    std::thread::Builder::new().name("input".into()).spawn(move || {
        let send = |heard, at| match heard {
            Heard::Event(event) => to.send(Message::Input(event, at)).is_ok(),
            Heard::Answer => pulse.answered(at).is_none_or(|until| to.send(Message::Answered { until, at }).is_ok()),
        };
        input::run(|| pulse.due() > 0, send);
        pulse.forget();
        // A terminal may go without a signal to us (when its multiplexer is killed): nobody is there any more.
        let _ = to.send(Message::Signal(SIGHUP));
    })?;
    Ok(())
}

/// Asks the whole process group to stop, as the terminal itself would; our own part is done when the signal arrives.
fn suspend() -> std::io::Result<()> {
    // SAFETY: kill only sends a signal; group 0 is our own.
    if unsafe { libc::kill(0, SIGTSTP) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

type Hook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Sync + Send + 'static>;

/// While it stands, a panic of this thread gives the terminal back before it is told, and one of any other thread
/// becomes a line on the screen, which stays as it is.
struct PanicHook(std::sync::Arc<Hook>);

impl PanicHook {
    fn install(sender: Sender<Message>) -> Self {
        let previous: std::sync::Arc<Hook> = std::sync::Arc::new(std::panic::take_hook());
        let (screen, tell) = (std::thread::current().id(), previous.clone());
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == screen {
                terminal::leave();
                tell(info);
            } else if crate::engine::worker::on_engine_thread() {
                // Becomes a failed job; the command line's hook keeps the trace for its log and prints nothing.
                tell(info);
            } else {
                let name = std::thread::current().name().unwrap_or("unnamed").to_string();
                let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
                let what = info.payload_as_str().unwrap_or("no message");
                let _ = sender.send(Message::Panic(format!("thread {name} panicked{place}: {what}")));
            }
        }));
        Self(previous)
    }
}

impl Drop for PanicHook {
    fn drop(&mut self) {
        // A panicking thread may not touch the hook; then the process is about to end anyway.
        if !std::thread::panicking() {
            let previous = self.0.clone();
            std::panic::set_hook(Box::new(move |info| previous(info)));
        }
    }
}

/// Lets the tests of a debug build see what a panic leaves behind: F12 with `WEIGHTROOM_PROVOKE` set.
#[cfg(debug_assertions)]
#[allow(clippy::panic)] // It is what the function is for, and a release build has no such function.
fn provoke(event: &Event) {
    use crossterm::event::{KeyCode, KeyEvent};
    if !matches!(event, Event::Key(KeyEvent { code: KeyCode::F(12), .. })) {
        return;
    }
    match std::env::var("WEIGHTROOM_PROVOKE").as_deref() {
        Ok("screen") => std::panic::panic_any("provoked on the screen's thread"),
        Ok("thread") => {
            let _ = std::thread::Builder::new().name("provoked".into()).spawn(|| std::panic::panic_any("provoked beside the screen"));
        }
        _ => {}
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// How many colours this terminal shows; none with `NO_COLOR`.
fn depth() -> Depth {
    use termprofile::{DetectorSettings, TermProfile};
    if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        return Depth::Mono;
    }
    match TermProfile::detect(&std::io::stdout(), DetectorSettings::default()) {
        TermProfile::TrueColor => Depth::TrueColor,
        TermProfile::Ansi256 => Depth::Ansi256,
        TermProfile::Ansi16 => Depth::Ansi16,
        TermProfile::NoColor | TermProfile::NoTty => Depth::Mono,
    }
}

/// The theme asked for; else one that fits the terminal: its own colours where it has sixteen, light where it says so.
/// A name that there is not costs the setting and a line that says where it stands.
fn choose_theme(themes: &[Theme], wanted: Option<(&String, String)>, depth: Depth, complaints: &mut Vec<String>) -> Theme {
    let found = wanted.and_then(|(name, place)| {
        let found = config::find_theme(themes, name);
        found.map_err(|why| complaints.push(format!("{place} {why}"))).ok()
    });
    if depth == Depth::Mono {
        return Theme::plain();
    }
    if let Some(theme) = found {
        return theme;
    }
    // `COLORFGBG` is `foreground;background`; 7 and 15 are light grounds.
    let light = std::env::var("COLORFGBG").is_ok_and(|v| matches!(v.rsplit(';').next(), Some("7" | "15")));
    let name = match (depth, light) {
        (Depth::Ansi16, _) => "16-colour",
        (_, true) => "light",
        _ => "dark",
    };
    themes.iter().find(|t| t.name == name).cloned().unwrap_or_else(Theme::default_dark)
}
