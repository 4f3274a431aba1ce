//! Running `mstore dpb` over a folder of logs `L`, and looking into that.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, Ran};

pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

pub fn command(place: &Place, arguments: &[&str]) -> Command {
    place.command(&[&["dpb", "-L", "L"], arguments].concat())
}

pub fn dpb(place: &Place, arguments: &[&str]) -> Ran {
    Going::new(&mut command(place, arguments)).ended()
}

/// A file of the folder of logs; empty if it is not there.
pub fn log(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path("L").join(name)).unwrap_or_default()
}

/// The lines of engine.log, without process and seconds.
pub fn engine(place: &Place) -> Vec<String> {
    let text = log(place, "engine.log");
    let lines = text
        .lines()
        .map(|line| line.split_once(": ").unwrap().1.to_owned());
    lines.collect()
}

#[track_caller]
pub fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let began = Instant::now();
    while !test() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A run that goes on; it is killed with this, and when it takes more than two minutes.
pub struct Going(Option<Child>);

impl Drop for Going {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Going {
    pub fn new(command: &mut Command) -> Going {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Going(Some(command.spawn().unwrap()))
    }

    pub fn signal(&self, signal: Signal) {
        let child = self.0.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    pub fn is_over(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ran {
        fn text(pipe: Option<impl Read>) -> String {
            let mut bytes = Vec::new();
            pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        }
        let began = Instant::now();
        while !self.is_over() {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "it does not end"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut child = self.0.take().unwrap();
        Ran {
            stdout: text(child.stdout.take()),
            stderr: text(child.stderr.take()),
            status: child.wait().unwrap().code(),
        }
    }
}
