//! The display on a terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::Test;
use crate::place::Place;
use crate::run::{command, eventually};

pub const ALL: &[Test] = &[(
    "a_terminal_shows_jobs_and_counters",
    a_terminal_shows_jobs_and_counters,
)];

/// A terminal: the side of the person, and that of the program.
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
    (master, slave)
}

fn resize(master: &OwnedFd, columns: u16) {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}

/// What stands in the lines that were drawn last.
fn last_drawn(text: &str) -> Vec<String> {
    let drawn = text.rsplit("\x1b[J").next().unwrap_or(text);
    drawn
        .lines()
        .map(|line| line.trim_end_matches('\r').to_owned())
        .collect()
}

fn a_terminal_shows_jobs_and_counters(place: &Place) {
    let slow: &[(&str, &str)] = &[("build", "echo first; sleep 3; echo x > /x")];
    place.targets(&[("low", "base", slow), ("top", "low", &[("fake", "true")])]);
    let (master, slave) = terminal();
    resize(&master, 80);
    let mut command = command(place, &["-T", "0.3", "top-s"]);
    let mut child = command
        .env("TERM", "xterm")
        .stdout(Stdio::null())
        .stderr(Stdio::from(slave))
        .spawn()
        .unwrap();
    drop(command);
    let seen = Arc::new(Mutex::new(String::new()));
    let (sink, mut source) = (Arc::clone(&seen), File::from(master.try_clone().unwrap()));
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n) = source.read(&mut buffer) {
            if n == 0 {
                break;
            }
            sink.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    });
    let text = || seen.lock().unwrap().clone();
    eventually("a job is shown", || text().contains("low-s(build) ["));
    eventually("its script runs", || {
        last_drawn(&text())
            .first()
            .is_some_and(|l| l.starts_with("low-s(build)"))
    });
    let lines = last_drawn(&text());
    let job = lines
        .iter()
        .find(|l| l.starts_with("low-s(build) ["))
        .unwrap();
    let (pid, size) = job
        .trim_start_matches("low-s(build) [")
        .split_once("] ")
        .unwrap();
    assert!(
        pid.parse::<u32>().is_ok() && size.parse::<u64>().is_ok(),
        "{job}"
    );
    assert!(
        lines.iter().any(|l| l == "I=0 B=0 Q=0 T=1 !=0"),
        "{lines:?}"
    );
    // A narrow terminal: lines are cut, and it is drawn though nothing happens.
    resize(&master, 14);
    eventually("lines are cut", || {
        last_drawn(&text()).iter().any(|l| l == "low-s(build) ")
    });
    resize(&master, 80);
    eventually("lines are whole again", || {
        last_drawn(&text())
            .iter()
            .any(|l| l.starts_with("low-s(build) ["))
    });
    // Ctrl-Z, and the shell's `fg` a while later.
    let process = Pid::from_child(&child);
    kill_process(process, Signal::TSTP).unwrap();
    let stopped = || {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    };
    eventually("it stops", stopped);
    let before = text().len();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(text().len(), before, "it draws while it is stopped");
    kill_process(process, Signal::CONT).unwrap();
    eventually("it is drawn again", || text().len() > before);
    let after = text().split_off(before);
    let first = after.split('\n').next().unwrap();
    assert!(
        !first.contains("\x1b["),
        "what the shell wrote is left alone: {first:?}"
    );
    let status = child.wait().unwrap();
    drop(master);
    reader.join().unwrap();
    assert_eq!(status.code(), Some(0), "{}", text());
    assert_eq!(last_drawn(&text()), ["I=2 B=0 Q=0 T=0 !=0"], "{}", text());
}
