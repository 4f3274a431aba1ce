//! `push`, `receive`

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitCode};

use serde::Serialize;

use super::desk::Desk;
use crate::cli::args::{self, TrustArgs};
use crate::cli::failure::{FOUND, MACHINE};
use crate::cli::site::Site;
use crate::cli::{Failure, output};
use crate::project::Reach;
use crate::project::peers::ssh_command;
use crate::repo::layout::Mirror;
use crate::repo::name::Place;
use crate::repo::push::{Pushed, Receiver, SendError, receive as take, send};
use crate::repo::quote::shown;
use crate::repo::scan::scan_own;
use crate::share::address::SshAddress;
use crate::share::{Remote, Trust, ssh};

/// Push the newest builds of the rotation to another mirror
#[derive(clap::Args)]
pub struct Push {
    /// The other mirror: a folder, or ssh://[USER@]HOST[:PORT]/FOLDER
    #[arg(value_name = "FOLDER|ADDRESS")]
    to: String,
    /// All complete builds that are kept, in place of the newest one of each subarch
    #[arg(long)]
    all: bool,
    /// Program to run as ssh, with its options [default: $MSTORE_SSH, else ssh]
    #[arg(long, value_name = "COMMAND")]
    ssh: Option<String>,
    /// Name of mstore at the other end of an ssh connection
    #[arg(long, value_name = "PROGRAM", default_value = "mstore")]
    remote_program: String,
}

/// What became of a build, as JSON: one line each.
#[derive(Serialize)]
struct PushedView<'a> {
    path: String,
    build: &'a str,
    arch_desc: &'a str,
    subarch: &'a str,
    version: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// Runs `push`.
pub fn push(desk: &Desk<'_>, args: Push) -> Result<ExitCode, Failure> {
    let buildbot = desk.buildbot()?;
    let mirror = desk.mirror()?;
    let remote: Remote = args.to.parse().map_err(Failure::usage)?;
    let keep = match args.all {
        true => buildbot.settings().keep_num,
        false => 1,
    };
    let subarches = scan_own(&mirror, buildbot.settings());
    let builds = subarches.iter().flat_map(|subarch| {
        // The oldest first: what is latest stays latest.
        let mut names: Vec<&str> = subarch
            .complete()
            .take(keep)
            .map(|b| b.name.as_str())
            .collect();
        names.reverse();
        names
            .into_iter()
            .map(|name| (&subarch.place, name.to_owned()))
    });
    let builds: Vec<(&Place, String)> = builds.collect();
    match remote {
        Remote::Folder(path) => {
            let site = desk.site_at(Mirror::open(&path)?)?;
            let trust = trust(&site)?;
            let (own, theirs) = UnixStream::pair()
                .map_err(|e| Failure::machine(format!("cannot make a pipe: {e}")))?;
            std::thread::scope(|scope| {
                let receiving = scope.spawn(|| {
                    let result = serve(&site, trust.as_ref(), &|_| true, &theirs, &theirs);
                    // The other end must not wait for an answer.
                    let _ = theirs.shutdown(std::net::Shutdown::Both);
                    result
                });
                let mut from = BufReader::new(&own);
                let mut to = BufWriter::new(&own);
                let pushed = push_all(desk, &mirror, &builds, &mut from, &mut to);
                let _ = own.shutdown(std::net::Shutdown::Both);
                let _ = receiving.join();
                pushed
            })
        }
        Remote::Ssh(address) => {
            let mut reach = desk.context().reach();
            if let Some(command) = &args.ssh {
                reach.ssh = ssh_command(command);
            }
            reach.remote_program = args.remote_program;
            over_ssh(desk, &mirror, &builds, &address, &reach)
        }
        Remote::Http(_) => Err(
            Failure::usage(format!("{}: nothing can be pushed there", args.to))
                .hint("give a folder, or ssh://HOST/FOLDER"),
        ),
    }
}

fn over_ssh(
    desk: &Desk<'_>,
    mirror: &Mirror,
    builds: &[(&Place, String)],
    address: &SshAddress,
    reach: &Reach,
) -> Result<ExitCode, Failure> {
    let mut words = vec![reach.remote_program.as_str(), "repo"];
    if let Some(folder) = &address.store {
        words.extend(["--mirror", folder]);
    }
    words.push("receive");
    let command = ssh::command(address, &reach.ssh_options(None), &words)?;
    let mut child = ssh::spawn(address, command)?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failure::machine("ssh has no pipes"));
    };
    let mut from = BufReader::new(output);
    let mut to = BufWriter::new(input);
    let pushed = push_all(desk, mirror, builds, &mut from, &mut to);
    // Closes the pipes, upon which the other end ends by itself.
    drop(to);
    drop(from);
    let status = ended(&mut child);
    match (pushed, status) {
        (Err(_), Some(255)) => Err(Failure::machine(format!(
            "{}: ssh could not connect",
            address.name()
        ))),
        (Err(_), Some(127)) => Err(Failure::machine(format!(
            "{}: mstore is not installed there, or not in its PATH (--remote-program names it)",
            address.name()
        ))),
        (pushed, _) => pushed,
    }
}

fn ended(child: &mut Child) -> Option<i32> {
    child.wait().ok()?.code()
}

/// Pushes one build after the other; one that is not taken does not end it.
fn push_all(
    desk: &Desk<'_>,
    mirror: &Mirror,
    builds: &[(&Place, String)],
    from: &mut dyn BufRead,
    to: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let cancel = desk.context().cancel()?;
    let mut worst = 0;
    for (place, version) in builds {
        let path = mirror.path(place).join(version);
        let pushed = match send(mirror, place, version, from, to, cancel) {
            Ok(pushed) => pushed,
            Err(SendError::Interrupted) => {
                return Err(
                    Failure::interrupted().hint("what arrived is kept; push again to go on")
                );
            }
            // In the middle of a file there is no way to go on with the next one.
            Err(error) => {
                return Err(
                    Failure::machine(error).hint("what arrived is kept; push again to go on")
                );
            }
        };
        let (outcome, bytes, detail) = match &pushed {
            Pushed::Published(bytes) => ("published", Some(*bytes), None),
            Pushed::There => ("there", None, None),
            Pushed::Gone => ("gone", None, None),
            Pushed::Refused(why) => ("refused", None, Some(why.as_str())),
        };
        if let Some(why) = detail {
            worst = worst.max(FOUND);
            tell!("error: {} was not taken: {}", shown(&path), shown(why));
        }
        if desk.json() {
            output::json(&PushedView {
                path: path.to_string_lossy().into_owned(),
                build: place.build.as_str(),
                arch_desc: place.arch.as_str(),
                subarch: place.subarch.as_str(),
                version,
                outcome,
                bytes,
                detail,
            })?;
        } else if let Some(bytes) = bytes {
            output::line(format!("pushed {}: {}", shown(&path), output::size(bytes)))?;
        }
    }
    Ok(ExitCode::from(worst))
}

/// Whose builds are taken: everybody's, as long as the configuration trusts no key.
fn trust(site: &Site) -> Result<Option<Trust>, Failure> {
    match site.config.trust.keys.is_empty() {
        true => Ok(None),
        false => Ok(Some(args::trust(&site.config, &TrustArgs::default())?)),
    }
}

fn serve(
    site: &Site,
    trust: Option<&Trust>,
    takes: &dyn Fn(&Place) -> bool,
    from: impl io::Read,
    to: impl io::Write,
) -> io::Result<()> {
    let receiver = Receiver {
        mirror: &site.mirror,
        ownership: &site.ownership,
        machine: &site.machine,
        shared: site.config.shared_mirror,
        trust,
        takes,
    };
    take(
        &receiver,
        &mut BufReader::new(from),
        &mut BufWriter::new(to),
    )
}

/// Runs `receive`: the other end of `push` over ssh.
pub fn receive(desk: &Desk<'_>) -> Result<ExitCode, Failure> {
    let buildbot = desk.buildbot()?;
    let site = desk.site()?;
    let trust = trust(&site)?;
    let settings = buildbot.settings();
    let takes = |place: &Place| settings.manages(place);
    match serve(
        &site,
        trust.as_ref(),
        &takes,
        io::stdin().lock(),
        io::stdout().lock(),
    ) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            tell!("error: {error}; what arrived is kept");
            Ok(ExitCode::from(MACHINE))
        }
    }
}
