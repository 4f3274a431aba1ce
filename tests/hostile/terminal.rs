//! Words for the terminal in what builds, trees and repositories say; the terminal itself.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;

use crate::Test;
use crate::place::Place;
use crate::tally::Tally;

pub const ALL: &[Test] = &[
    ("the_terminal_stays_outside", the_terminal_stays_outside),
    (
        "a_terminal_that_only_prints_gets_every_line",
        a_terminal_that_only_prints_gets_every_line,
    ),
    ("lines_are_cut_to_the_width", lines_are_cut_to_the_width),
    (
        "nothing_reaches_a_terminal_raw",
        nothing_reaches_a_terminal_raw,
    ),
];

/// A title, a cleared screen, the clipboard, a question, text that is hidden, overwritten or turned round.
const NASTY: &str = r"printf 'A\033]0;owned\007B\033[2JC\033]52;c;aGVsbG8=\007D\033[6nE\033[8mF\033[0m\nG\rH\302\2332JI\342\200\256J\033P0\033\\K\033[31mred\033[0m\n'";

/// A terminal: its controlling end, and the end for programs.
fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&controller).unwrap();
    rustix::pty::unlockpt(&controller).unwrap();
    let name = rustix::pty::ptsname(&controller, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let other = rustix::fs::open(&*name, flags, rustix::fs::Mode::empty()).unwrap();
    (controller, other)
}

/// What a command shows on a terminal that is its output and its errors.
fn shown(place: &Place, arguments: &[&str]) -> Vec<u8> {
    shown_on(place, "xterm", arguments)
}

/// The same, on a terminal that says what it is.
fn shown_on(place: &Place, kind: &str, arguments: &[&str]) -> Vec<u8> {
    shown_within(place, kind, 80, arguments)
}

/// The same, on a terminal of some columns.
fn shown_within(place: &Place, kind: &str, columns: u16, arguments: &[&str]) -> Vec<u8> {
    let (controller, other) = terminal();
    let size = rustix::termios::Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&controller, size).unwrap();
    let mut command = place.command(arguments);
    command.env("TERM", kind);
    command
        .stdout(Stdio::from(other.try_clone().unwrap()))
        .stderr(Stdio::from(other));
    let mut child = command.spawn().unwrap();
    drop(command);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut file = File::from(controller);
        let mut buffer = [0; 4096];
        // It ends with an error when the last program has closed it.
        while let Ok(n) = file.read(&mut buffer) {
            all.extend_from_slice(&buffer[..n]);
        }
        all
    });
    child.wait().unwrap();
    reader.join().unwrap()
}

fn a_terminal_that_only_prints_gets_every_line(place: &Place, _: &Tally) -> Option<&'static str> {
    place.targets(&[("t", "base", &[("one", "echo 1 > /x")])]);
    let text = |out: Vec<u8>| String::from_utf8(out).unwrap();
    let plain = text(shown_on(place, "dumb", &["realise", "t-s"]));
    assert!(!plain.contains('\x1b'), "{plain:?}");
    for line in [
        "1 step to build",
        "building t-s:one",
        "built t-s:one in",
        "1 built in",
    ] {
        assert!(plain.contains(line), "{line}: {plain}");
    }
    let live = text(shown_on(place, "xterm", &["realise", "--rebuild", "t-s"]));
    assert!(live.contains("\x1b[32mbuilt\x1b[0m t-s:one in"), "{live:?}");
    None
}

/// A step with a long name prints long lines: what is drawn again and again must not wrap.
fn lines_are_cut_to_the_width(place: &Place, _: &Tally) -> Option<&'static str> {
    let long =
        "x=wwwwwwwwww; x=$x$x$x$x; for i in 1 2 3 4 5 6 7 8; do echo $x$x$x; sleep 0.2; done";
    place.targets(&[("t", "base", &[("one", long)])]);
    let out = shown_within(place, "xterm", 50, &["realise", "t-s"]);
    let text = String::from_utf8(out).unwrap();
    let drawn: Vec<String> = text.split(['\r', '\n']).map(plain).collect();
    // Lines that are drawn again stand side by side here, filled up to the width: what counts is how much of a long
    // one is there. Not a column is left unused, or hardly one.
    let runs = drawn.iter().flat_map(|line| line.split(|c| c != 'w'));
    let widest = runs.map(str::len).max();
    assert!(
        widest.is_some_and(|w| (30..50).contains(&w)),
        "{widest:?}: {text:?}"
    );
    None
}

/// A text without colours and the moving about of a cursor.
fn plain(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic());
        out.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    out
}

fn nothing_reaches_a_terminal_raw(place: &Place, tally: &Tally) -> Option<&'static str> {
    let failing = format!("{NASTY}\nexit 1");
    let name = "touch \"$(printf 'n\\033]0;x\\007\\342\\200\\256')\"";
    let files =
        format!("mkdir /d; cd /d; {name}; {NASTY} > content; mkfifo -m 666 p; {name}.socket");
    place.targets(&[
        ("good", "base", &[("one", NASTY)]),
        ("bad", "base", &[("one", &failing)]),
        ("files", "base", &[("one", &files)]),
    ]);
    let commands: &[&[&str]] = &[
        &["realise", "good-s"],
        &["realise", "-L", "good-s", "--rebuild"],
        &["realise", "bad-s"],
        &["realise", "-L", "bad-s"],
        &["log", "good-s"],
        &["log", "bad-s"],
        &["log", "--attempts", "bad-s"],
        &["realise", "files-s"],
        &["store", "ls", "files-s:d"],
        &["store", "ls", "-R", "files-s"],
        &["store", "cat", "files-s:d/content"],
        &["store", "cat", "files-s:d/nothing\x1b]0;x\x07"],
        &["diff", "--trees", "good-s", "files-s"],
        &["why", "\x1b]0;x\x07"],
        &["realise", "no\x1b]0;x\x07such"],
    ];
    for arguments in commands {
        let out = shown(place, arguments);
        let text = String::from_utf8_lossy(&out);
        let raw = [
            "\x1b]", "\x1b[2J", "\x1b[6n", "\x1b[8m", "\x1bP", "\x07", "\u{9b}", "\u{202e}", "G\rH",
        ];
        let found: Vec<_> = raw.iter().filter(|raw| text.contains(**raw)).collect();
        tally.held(
            arguments.join(" "),
            found.is_empty() && !text.is_empty(),
            format!("{found:?} in {text:?}"),
        );
    }
    // To a file or a pipe a log goes as it is.
    let plain = place.run(&["log", "good-s"]).ok();
    tally.held("a log in a pipe", plain.contains("\x1b]0;owned\x07"), plain);
    None
}

fn the_terminal_stays_outside(place: &Place, tally: &Tally) -> Option<&'static str> {
    place.targets(&[("a", "base", &[("one", "true")])]);
    let tree = place.tree("a");
    // The terminal is none, one or two of the three; what is typed is never for the command unless it is its input.
    let script = "for n in 0 1 2; do test -t $n && echo terminal $n >&1; done; \
                  (head -c 6 <&2; head -c 6 <&1; cat) 2>/dev/null | tr a-z A-Z; echo end; echo errors >&2";
    for on in [vec![2], vec![1], vec![1, 2]] {
        let (controller, other) = terminal();
        let mut command: Command = place.command(&["shell", &tree, "--", "/bin/sh", "-c", script]);
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        for n in &on {
            let end = Stdio::from(other.try_clone().unwrap());
            match n {
                1 => command.stdout(end),
                _ => command.stderr(end),
            };
        }
        let mut keys = File::from(controller.try_clone().unwrap());
        keys.write_all(b"secret\nsecret\n").unwrap();
        let child = command.spawn().unwrap();
        drop((command, other));
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            let mut buffer = [0; 4096];
            let mut file = File::from(controller);
            while let Ok(n) = file.read(&mut buffer) {
                all.extend_from_slice(&buffer[..n]);
            }
            all
        });
        let began = Instant::now();
        let output = child.wait_with_output().unwrap();
        drop(keys);
        let mut all = reader.join().unwrap();
        all.extend(output.stdout);
        all.extend(output.stderr);
        let all = String::from_utf8_lossy(&all);
        let what = format!("a terminal as {on:?}");
        let ended = all.contains("end") && all.contains("errors");
        tally.held(&what, !all.contains("SECRET") && ended, &all);
        tally.held(&what, !all.contains("terminal"), &all);
        tally.held(
            &what,
            began.elapsed() < Duration::from_secs(30),
            "it waited",
        );
    }
    None
}
