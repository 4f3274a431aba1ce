//! The hosts file: which machines build, and how much each of them takes.
//!
//! A line names a host and what is different about it, in the form of dpb's file (dpb(1), the option `-h`):
//!
//! ```text
//! # comment
//! STARTUP=/usr/local/bin/prepare
//! localhost jobs=2
//! builder@big.example.org jobs=16 sf=3 memory=2G timeout=90 arch=x86_64
//! ```

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::frames::shown;
use crate::share::address::{Remote, SshAddress};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Most hosts of a file.
const MAX_HOSTS: usize = 10_000;

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This machine.
    Here,
    /// Another one.
    Ssh(SshAddress),
}

/// A host of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its line, from 1.
    pub line: usize,
    /// What it is called, as it stands there.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Jobs that it runs at a time; as many as it has processors where that is left out.
    pub jobs: Option<NonZeroU16>,
    /// How fast it is beside the others: a job takes half the time where it is twice as great. Learnt from what was
    /// built before where it is left out.
    pub speed: Option<f64>,
    /// Bytes up to which a step that is known to need no more is built in memory there.
    pub memory: Option<u64>,
    /// How long connecting to it may take, and then each answer.
    pub timeout: Option<Duration>,
    /// How long a step may print nothing, unless it says so itself; then it is ended.
    pub silence: Option<Duration>,
    /// The machine that it must be, as `uname -m` says.
    pub arch: Option<String>,
}

/// A hosts file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostsFile {
    /// The hosts, in their order.
    pub hosts: Vec<Host>,
    /// A program that is run on each host before it builds anything.
    pub startup: Option<PathBuf>,
}

/// A hosts file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// It cannot be read.
    #[error("cannot read the hosts file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no text, or too long.
    #[error("the hosts file {}: {detail}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A line of it is wrong.
    #[error("{}:{line}: `{word}`: {detail}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The word that is wrong.
        word: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl HostsFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<HostsFile, HostsError> {
        let failed = |source| HostsError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let mut text = Vec::new();
        let mut file = file.take(MAX_FILE + 1);
        file.read_to_end(&mut text).map_err(failed)?;
        let refuse = |detail: &str| HostsError::File {
            path: path.to_owned(),
            detail: detail.to_owned(),
        };
        if text.len() as u64 > MAX_FILE {
            return Err(refuse("it is larger than 1 MiB"));
        }
        let text = String::from_utf8(text).map_err(|_| refuse("it is not text (UTF-8)"))?;
        HostsFile::parse(path, &text)
    }

    /// Reads text, which stands in the file `path`.
    pub fn parse(path: &Path, text: &str) -> Result<HostsFile, HostsError> {
        let mut file = HostsFile::default();
        for (number, text) in (1..).zip(text.lines()) {
            let text = text.split('#').next().unwrap_or_default();
            let mut words = text.split_whitespace();
            let Some(first) = words.next() else {
                continue;
            };
            let refuse = |(word, detail): (&str, String)| HostsError::Line {
                path: path.to_owned(),
                line: number,
                word: quoted(word),
                // It may have a part of the word in it.
                detail: shown(&detail),
            };
            if let Some(program) = first.strip_prefix("STARTUP=") {
                let startup = startup(program, file.startup.as_deref(), words.next());
                file.startup = Some(startup.map_err(|detail| refuse((first, detail)))?);
                continue;
            }
            let host = host(number, first, words).map_err(refuse)?;
            if let Some(other) = file.hosts.iter().find(|other| other.name == host.name) {
                let detail = format!("it stands in line {} already", other.line);
                return Err(refuse((first, detail)));
            }
            if file.hosts.len() == MAX_HOSTS {
                return Err(refuse((first, format!("more than {MAX_HOSTS} hosts"))));
            }
            file.hosts.push(host);
        }
        if file.hosts.is_empty() {
            return Err(HostsError::File {
                path: path.to_owned(),
                detail: "it names no host".to_owned(),
            });
        }
        Ok(file)
    }
}

/// Characters of a wrong word that are shown.
const MOST_WORD: usize = 200;

/// A word as it may be shown: without what moves a cursor, and not endless.
fn quoted(word: &str) -> String {
    let escaped = word.chars().flat_map(|c| match c.is_control() {
        true => c.escape_default().collect::<Vec<char>>(),
        false => vec![c],
    });
    escaped.take(MOST_WORD).collect()
}

fn startup(program: &str, before: Option<&Path>, rest: Option<&str>) -> Result<PathBuf, String> {
    if before.is_some() {
        return Err("there is one already".to_owned());
    }
    if rest.is_some() {
        return Err("nothing may stand behind it".to_owned());
    }
    let path = PathBuf::from(program);
    match path.is_absolute() {
        true => Ok(path),
        false => Err("it must be a whole path, from /".to_owned()),
    }
}

/// A host from the words of its line; an error is about a word.
fn host<'t>(
    line: usize,
    name: &'t str,
    words: impl Iterator<Item = &'t str>,
) -> Result<Host, (&'t str, String)> {
    let place = match name {
        "localhost" => Place::Here,
        _ => ssh(name).map_err(|detail| (name, detail))?,
    };
    let mut host = Host {
        line,
        name: name.to_owned(),
        place,
        jobs: None,
        speed: None,
        memory: None,
        timeout: None,
        silence: None,
        arch: None,
    };
    let mut seen: Vec<&str> = Vec::new();
    for word in words {
        let (property, value) = word
            .split_once('=')
            .ok_or_else(|| (word, "PROPERTY=VALUE is expected".to_owned()))?;
        if seen.contains(&property) {
            return Err((word, format!("{property} stands there twice")));
        }
        seen.push(property);
        set(&mut host, property, value).map_err(|detail| (word, detail))?;
    }
    Ok(host)
}

fn set(host: &mut Host, property: &str, value: &str) -> Result<(), String> {
    match property {
        "jobs" => {
            let jobs = value.parse().ok().filter(|n: &NonZeroU16| n.get() <= 4096);
            host.jobs = Some(jobs.ok_or("a number from 1 to 4096 is expected")?);
        }
        "sf" => {
            let speed = value.parse().ok();
            let speed = speed.filter(|n: &f64| n.is_finite() && (1e-3..=1e6).contains(n));
            host.speed = Some(speed.ok_or("a number from 0.001 to 1000000 is expected")?);
        }
        "memory" => {
            host.memory = Some(crate::config::size(value)?);
        }
        "timeout" => host.timeout = Some(seconds(value)?),
        "silence" => host.silence = Some(seconds(value)?),
        "arch" => {
            let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if value.is_empty() || value.len() > 64 || !value.bytes().all(word) {
                return Err("what `uname -m` prints there is expected".to_owned());
            }
            host.arch = Some(value.to_owned());
        }
        _ => {
            return Err("known are arch, jobs, memory, sf, silence and timeout".to_owned());
        }
    }
    Ok(())
}

fn seconds(value: &str) -> Result<Duration, String> {
    let seconds = value.parse().ok();
    let seconds = seconds.filter(|n: &u64| (1..=86_400).contains(n));
    let seconds = seconds.ok_or("seconds, from 1 to a day, are expected")?;
    Ok(Duration::from_secs(seconds))
}

fn ssh(name: &str) -> Result<Place, String> {
    let address = match name.contains("://") {
        true => name.to_owned(),
        false => format!("ssh://{name}"),
    };
    match address.parse() {
        Ok(Remote::Ssh(address)) => Ok(Place::Ssh(address)),
        Ok(_) => Err("a host is reached by ssh".to_owned()),
        Err(error) => Err(error.detail.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<HostsFile, String> {
        HostsFile::parse(Path::new("hosts"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn hosts_have_what_their_lines_say() {
        let file = parse(
            "# ours\nSTARTUP=/bin/prepare\n\nlocalhost jobs=2 # here\n\
             me@big:2222 jobs=16 sf=2.5 memory=4G timeout=60 silence=70 arch=x86_64\n",
        );
        let file = file.unwrap();
        assert_eq!(file.startup.as_deref(), Some(Path::new("/bin/prepare")));
        assert_eq!(file.hosts[0].place, Place::Here);
        assert_eq!(file.hosts[0].jobs, NonZeroU16::new(2));
        let big = &file.hosts[1];
        let Place::Ssh(address) = &big.place else {
            panic!("{big:?}");
        };
        assert_eq!(address.user.as_deref(), Some("me"));
        assert_eq!((address.host.as_str(), address.port), ("big", Some(2222)));
        assert_eq!(
            (big.line, big.speed, big.memory),
            (5, Some(2.5), Some(4 << 30))
        );
        assert_eq!(file.hosts[0].speed, None);
        assert_eq!(big.timeout, Some(Duration::from_secs(60)));
        assert_eq!(big.silence, Some(Duration::from_secs(70)));
        assert_eq!(big.arch.as_deref(), Some("x86_64"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = [
            "",
            "a jobs",
            "a jobs=0",
            "a jobs=5000",
            "a sf=nan",
            "a sf=0",
            "a memory=lots",
            "a timeout=0",
            "a arch=",
            "a speed=3",
            "a jobs=1 jobs=2",
            "a\nb\na",
            "-oProxyCommand=x",
            "http://a",
            "STARTUP=x\na",
            "STARTUP=/x\nSTARTUP=/y\na",
            "STARTUP=/x y\na",
        ];
        let all: Vec<String> = wrong
            .iter()
            .map(|text| parse(text).map_or_else(|e| e, |file| panic!("{text}: {file:?}")))
            .collect();
        insta::assert_snapshot!(all.join("\n"), @r"
        the hosts file hosts: it names no host
        hosts:1: `jobs`: PROPERTY=VALUE is expected
        hosts:1: `jobs=0`: a number from 1 to 4096 is expected
        hosts:1: `jobs=5000`: a number from 1 to 4096 is expected
        hosts:1: `sf=nan`: a number from 0.001 to 1000000 is expected
        hosts:1: `sf=0`: a number from 0.001 to 1000000 is expected
        hosts:1: `memory=lots`: `lots` is not a size; sizes are like 500M, 20G or 1.5T
        hosts:1: `timeout=0`: seconds, from 1 to a day, are expected
        hosts:1: `arch=`: what `uname -m` prints there is expected
        hosts:1: `speed=3`: known are arch, jobs, memory, sf, silence and timeout
        hosts:1: `jobs=2`: jobs stands there twice
        hosts:3: `a`: it stands in line 1 already
        hosts:1: `-oProxyCommand=x`: it does not name a host that can be
        hosts:1: `http://a`: a host is reached by ssh
        hosts:1: `STARTUP=x`: it must be a whole path, from /
        hosts:2: `STARTUP=/y`: there is one already
        hosts:1: `STARTUP=/x`: nothing may stand behind it
        ");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_stumble(text in "(\\PC|\n|=|#| ){0,80}") {
            let _ = parse(&text);
        }
    }
}
