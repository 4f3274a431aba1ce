//! The view that is drawn again and again, and its keys.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::consts::SIGWINCH;

use super::screen::Screen;
use super::text::{Item, Line, lines};
use crate::build::cancel::CancelToken;
use crate::cli::context::Context;
use crate::cli::failure::INTERRUPTED;
use crate::cli::output::{calm, escaped};
use crate::cli::{Failure, runs};
use crate::schedule::control::words::{Answer, Question, View};
use crate::schedule::control::{ControlError, Instance};

const HELP: &str = "q quit  up/down choose  s stop a step  r requeue  d drain or resume a host  a add a host  w why  tab next run";
/// Longest line that is typed, in characters.
const TYPED: usize = 1000;

/// What is typed.
enum Typing {
    /// Keys are commands.
    Commands,
    /// The line of a host.
    Host(String),
    /// A question that y answers.
    Sure(Question, String),
}

/// Why it ends.
enum End {
    Quit,
    Interrupted,
}

struct Live {
    instances: Vec<Instance>,
    /// Which of them is shown.
    shown: usize,
    view: View,
    /// What is chosen.
    chosen: Option<Item>,
    /// The first line that is shown.
    top: usize,
    typing: Typing,
    /// What came of the last command.
    said: String,
}

/// Shows runs until the user quits, or they have ended.
pub fn watch(
    context: &Context,
    instances: Vec<Instance>,
    pid: Option<u32>,
    every: Duration,
) -> Result<ExitCode, Failure> {
    let machine = |error: io::Error| Failure::machine(format!("cannot use the terminal: {error}"));
    let cancel = CancelToken::of(context.cancel()?).map_err(machine)?;
    let (mut resized, sender) = io::pipe().map_err(machine)?;
    signal_hook::low_level::pipe::register(SIGWINCH, sender).map_err(machine)?;
    let mut live = Live {
        instances,
        shown: 0,
        view: View::default(),
        chosen: None,
        top: 0,
        typing: Typing::Commands,
        said: HELP.to_owned(),
    };
    let screen = Screen::enter().map_err(machine)?;
    let mut next = Instant::now();
    let ended = loop {
        if Instant::now() >= next {
            next = Instant::now() + every;
            if !live.look(context, pid)? {
                break None;
            }
        }
        live.draw(&screen).map_err(machine)?;
        let left = next.saturating_duration_since(Instant::now());
        let wait = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let stdin = io::stdin();
        let mut fds = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&cancel, PollFlags::IN),
            PollFd::new(&resized, PollFlags::IN),
        ];
        let ready = rustix::event::poll(&mut fds, Some(&wait));
        let [keys, cancelled, size] = fds.map(|fd| ready.is_ok() && !fd.revents().is_empty());
        if cancelled {
            break Some(End::Interrupted);
        }
        if size {
            let _ = io::Read::read(&mut resized, &mut [0; 64]);
        }
        if keys {
            let pressed = screen.keys().map_err(machine)?;
            if pressed.is_empty() {
                break Some(End::Quit);
            }
            if let Some(end) = live.press(&pressed, &screen).map_err(machine)? {
                break Some(end);
            }
            next = next.min(Instant::now() + Duration::from_millis(100));
        }
    };
    drop(screen);
    match ended {
        Some(End::Interrupted) => Ok(ExitCode::from(INTERRUPTED)),
        Some(End::Quit) => Ok(ExitCode::SUCCESS),
        None => {
            tell!("{}", live.said);
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Live {
    /// Asks what goes on; false if nothing does any more.
    fn look(&mut self, context: &Context, pid: Option<u32>) -> Result<bool, Failure> {
        loop {
            let Some(instance) = self.instances.get_mut(self.shown) else {
                self.instances = runs::all(context, None)?;
                self.instances
                    .retain(|it| pid.is_none_or(|pid| pid == it.pid));
                self.shown = 0;
                if self.instances.is_empty() {
                    return Ok(false);
                }
                continue;
            };
            match instance.ask(&Question::View) {
                Ok(Answer::View(view)) => {
                    self.view = *view;
                    return Ok(true);
                }
                Err(error @ ControlError::Silent { .. }) => {
                    self.said = error.to_string();
                    // The connection would answer the old question first.
                    self.instances = runs::all(context, pid)?;
                    return Ok(true);
                }
                Ok(_) => self.said = runs::nonsense(instance).to_string(),
                Err(error) => self.said = error.to_string(),
            }
            self.instances.remove(self.shown);
        }
    }

    fn draw(&mut self, screen: &Screen) -> io::Result<()> {
        let all = lines(&self.view);
        let (_, rows) = screen.size();
        let room = rows.saturating_sub(1).max(1);
        let marked = all
            .iter()
            .position(|line| line.item.is_some() && line.item == self.chosen);
        if let Some(marked) = marked {
            self.top = self.top.clamp(marked.saturating_sub(room - 1), marked);
        } else {
            self.top = 0;
        }
        self.top = self.top.min(all.len().saturating_sub(room));
        let shown = all.iter().skip(self.top).take(room);
        let mut drawn: Vec<String> = shown.map(|line| line.text.clone()).collect();
        drawn.resize(room, String::new());
        let below = match &self.typing {
            Typing::Commands => match self.instances.len() {
                0 | 1 => self.said.clone(),
                n => format!("[{} of {n} runs] {}", self.shown + 1, self.said),
            },
            Typing::Host(line) => format!("host to add, such as me@big jobs=8: {line}_"),
            Typing::Sure(_, what) => format!("{what}? y/n"),
        };
        drawn.push(escaped(&calm(&below)));
        screen.draw(&drawn, marked.map(|at| at - self.top))
    }

    fn press(&mut self, keys: &[u8], screen: &Screen) -> io::Result<Option<End>> {
        let mut rest = keys;
        while let Some((&key, after)) = rest.split_first() {
            rest = after;
            match (key, &mut self.typing) {
                (0x03, _) => return Ok(Some(End::Interrupted)),
                (0x1a, _) => screen.suspend()?,
                (0x1b, Typing::Commands) => match rest {
                    [b'[' | b'O', b'A', more @ ..] => {
                        self.choose(false);
                        rest = more;
                    }
                    [b'[' | b'O', b'B', more @ ..] => {
                        self.choose(true);
                        rest = more;
                    }
                    // Another key, of which nothing is known: all of it.
                    _ => rest = &[],
                },
                (0x1b, _) => self.typing = Typing::Commands,
                (b'q', Typing::Commands) => return Ok(Some(End::Quit)),
                (_, Typing::Commands) => self.command(key),
                (b'\r' | b'\n', Typing::Host(line)) => {
                    let line = std::mem::take(line);
                    self.typing = Typing::Commands;
                    if !line.trim().is_empty() {
                        self.ask(&Question::Add { line });
                    }
                }
                (0x08 | 0x7f, Typing::Host(line)) => drop(line.pop()),
                (b' '..=b'~', Typing::Host(line)) if line.len() < TYPED => {
                    line.push(char::from(key));
                }
                (_, Typing::Host(_)) => {}
                (b'y' | b'Y', Typing::Sure(question, _)) => {
                    let question = question.clone();
                    self.typing = Typing::Commands;
                    self.ask(&question);
                }
                (_, Typing::Sure(..)) => self.typing = Typing::Commands,
            }
        }
        Ok(None)
    }

    fn command(&mut self, key: u8) {
        let chosen = self.chosen.clone();
        match (key, chosen) {
            (b'k', _) => self.choose(false),
            (b'j', _) => self.choose(true),
            (b'\t', _) if !self.instances.is_empty() => {
                self.shown = (self.shown + 1) % self.instances.len();
                self.chosen = None;
            }
            (b'a', _) => self.typing = Typing::Host(String::new()),
            (b's', Some(Item::Job(job))) => {
                let what = format!("stop {job}");
                self.typing = Typing::Sure(Question::Stop { job }, what);
            }
            (b'r', Some(Item::Ended(job))) => self.ask(&Question::Requeue { job }),
            (b'd', Some(Item::Host(host))) => {
                let mut hosts = self.view.hosts.iter();
                let drained = hosts.any(|it| it.name == host && it.state == "drained");
                self.ask(&match drained {
                    true => Question::Resume { host },
                    false => Question::Drain { host },
                });
            }
            (b'w', Some(Item::Job(of) | Item::Ended(of))) => self.ask(&Question::Why { of }),
            (b's', _) => self.said = "choose a job that runs: up and down".to_owned(),
            (b'r', _) => self.said = "choose a step that failed or was stopped".to_owned(),
            (b'd', _) => self.said = "choose a host: up and down".to_owned(),
            _ => self.said = HELP.to_owned(),
        }
    }

    /// Chooses the next thing, or the one before.
    fn choose(&mut self, next: bool) {
        let all: Vec<Line> = lines(&self.view);
        let items: Vec<&Item> = all.iter().filter_map(|line| line.item.as_ref()).collect();
        let at = self.chosen.as_ref();
        let at = at.and_then(|chosen| items.iter().position(|item| *item == chosen));
        let at = match (at, next) {
            (None, _) => 0,
            (Some(at), true) => (at + 1).min(items.len().saturating_sub(1)),
            (Some(at), false) => at.saturating_sub(1),
        };
        self.chosen = items.get(at).map(|item| (*item).clone());
    }

    fn ask(&mut self, question: &Question) {
        let Some(instance) = self.instances.get_mut(self.shown) else {
            return;
        };
        self.said = match instance.ask(question) {
            Ok(Answer::Done(said) | Answer::Refused(said)) => said,
            Ok(Answer::Why(explained)) => {
                let first = explained.first();
                let reasons = first.into_iter().flat_map(|it| &it.reasons);
                reasons.map(|it| &*it.text).collect::<Vec<_>>().join("; ")
            }
            Ok(Answer::View(_)) => runs::nonsense(instance).to_string(),
            Err(error) => error.to_string(),
        };
    }
}
