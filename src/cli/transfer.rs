//! What commands that move data share: opening places, trust, keys, progress.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mstore_store::Store;
use mstore_store::transfer::cache::{CacheReader, Fetch, FolderFetch};
use mstore_store::transfer::{Progress, ReceiveOptions, TransferError};

use super::context::Context;
use super::{Failure, output};
use crate::config::Config;
use crate::project::open::Folder;
use crate::project::{Access, open_store};
use crate::share::address::SshAddress;
use crate::share::cache::CachePeer;
#[cfg(feature = "http")]
use crate::share::http_client::{HttpFetch, HttpOptions};
use crate::share::ssh::{self, SshOptions, SshPeer};
use crate::share::trust::KeyError;
use crate::share::{LocalPeer, Peer, PublicKey, Remote, SecretKey, Trust};

/// How often plain progress lines are printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Options of reaching other places.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ReachArgs {
    /// Connections to use at a time
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub jobs: u8,
    /// Program to run as ssh, with its options [default: $MSTORE_SSH, else ssh]
    #[arg(long, value_name = "COMMAND")]
    pub ssh: Option<String>,
    /// Name of mstore at the other end of an ssh connection
    #[arg(long, value_name = "PROGRAM", default_value = "mstore")]
    pub remote_program: String,
    /// File of certificates to believe besides those of the system (PEM)
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Seconds that the other end may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u32,
}

/// Opens a place to copy from; `store` has room for temporary files.
pub fn open(remote: &Remote, reach: &ReachArgs, store: &Store) -> Result<Arc<dyn Peer>, Failure> {
    match remote {
        Remote::Folder(path) => match Folder::of(path)? {
            Folder::Store => Ok(Arc::new(LocalPeer::new(&open_store(path, Access::Read)?)?)),
            Folder::Cache => Ok(Arc::new(folder_cache(path, reach.jobs.into(), store)?)),
            Folder::Empty | Folder::BegunStore | Folder::BegunCache => Err(Failure::usage(
                format!("{}: there is no store and no cache", path.display()),
            )),
        },
        Remote::Ssh(place) => Ok(Arc::new(ssh(place, reach)?)),
        Remote::Http(address) => Ok(Arc::new(web(
            address,
            Duration::from_secs(reach.timeout.into()),
            reach.ca_file.as_deref(),
            reach.jobs.into(),
            store,
        )?)),
    }
}

fn cache(fetch: Box<dyn Fetch>, jobs: usize, store: &Store) -> Result<CachePeer, TransferError> {
    let scratch = match store.is_read_only() {
        true => None,
        false => Some(store.scratch("cache")?),
    };
    let spool = match &scratch {
        Some(scratch) => scratch.path().to_owned(),
        None => std::env::temp_dir(),
    };
    Ok(CachePeer::new(
        CacheReader::open(fetch, jobs, spool)?,
        scratch,
    ))
}

/// Opens a cache in a folder.
pub fn folder_cache(path: &Path, jobs: usize, store: &Store) -> Result<CachePeer, TransferError> {
    cache(Box::new(FolderFetch::new(path)), jobs, store)
}

/// Opens a cache on a web server.
#[cfg(feature = "http")]
pub fn web(
    address: &str,
    timeout: Duration,
    ca_file: Option<&Path>,
    jobs: usize,
    store: &Store,
) -> Result<CachePeer, TransferError> {
    let options = HttpOptions {
        timeout,
        ca_file: ca_file.map(Path::to_owned),
    };
    cache(Box::new(HttpFetch::new(address, &options)?), jobs, store)
}

/// Says that this program was built without it.
#[cfg(not(feature = "http"))]
pub fn web(
    address: &str,
    _timeout: Duration,
    _ca_file: Option<&Path>,
    _jobs: usize,
    _store: &Store,
) -> Result<CachePeer, TransferError> {
    Err(TransferError::peer(
        address,
        "this mstore was built without the feature `http`",
    ))
}

/// Connects to another machine; ssh may ask for what it needs.
pub fn ssh(place: &SshAddress, reach: &ReachArgs) -> Result<SshPeer, Failure> {
    Ok(ssh::start(place, &ssh_options(reach, None))?.connect()?)
}

/// How to start ssh.
pub fn ssh_options(reach: &ReachArgs, unattended: Option<u32>) -> SshOptions {
    let command = reach
        .ssh
        .clone()
        .or_else(|| std::env::var("MSTORE_SSH").ok())
        .unwrap_or_default();
    let mut command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if command.is_empty() {
        command.push("ssh".to_owned());
    }
    SshOptions {
        command,
        remote_program: reach.remote_program.clone(),
        unattended,
    }
}

/// Options of trust.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TrustArgs {
    /// Believe facts that this public key signed, besides those of the configuration file
    #[arg(long = "trust", value_name = "NAME:BASE64")]
    pub trust: Vec<String>,
}

/// Whose signatures count.
pub fn trust(config: &Config, args: &TrustArgs) -> Result<Trust, Failure> {
    let more: Vec<PublicKey> = args
        .trust
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, KeyError>>()?;
    Ok(Trust::new(&config.trust, &more))
}

/// The key to sign with: the one given, else the one that the configuration file names.
pub fn signing_key(config: &Config, given: Option<&Path>) -> Result<Option<SecretKey>, Failure> {
    let path = match (given, &config.sign_key) {
        (Some(path), _) => path,
        (None, Some(path)) => path,
        (None, None) => return Ok(None),
    };
    Ok(Some(SecretKey::read(path)?))
}

/// Where a user's own configuration lies, and keys with it.
pub fn keys_folder(context: &Context) -> Result<PathBuf, Failure> {
    context
        .config_home()
        .map(|home| home.join("mstore").join("keys"))
        .ok_or_else(|| {
            Failure::usage("no place for keys: HOME is not set").hint("give a file: --out FILE")
        })
}

/// Shows how far a transfer is.
pub struct Bar {
    bar: ProgressBar,
    live: bool,
    quiet: bool,
    state: Mutex<(Instant, Instant)>,
}

impl Bar {
    /// A bar on this process's stderr.
    pub fn new(quiet: bool) -> Bar {
        let live = !quiet && std::io::stderr().is_terminal();
        let target = if live {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template(
            "{spinner} {msg} [{bar:30}] {bytes} of {total_bytes} of content, {eta} to go",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let now = Instant::now();
        Bar {
            bar,
            live,
            quiet,
            state: Mutex::new((now, now)),
        }
    }

    /// Takes in how far it is.
    pub fn update(&self, what: &str, p: &Progress) {
        if self.quiet {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let (started, last) = *state;
        let every = if self.live {
            Duration::from_millis(100)
        } else {
            LINE_EVERY
        };
        if last.elapsed() < every {
            return;
        }
        state.1 = Instant::now();
        drop(state);
        let seconds = started.elapsed().as_secs_f64().max(0.001);
        let rate = output::size((p.bytes as f64 / seconds) as u64);
        let text = format!(
            "{what}: {} of {} objects, {} ({rate}/s)",
            p.objects,
            p.objects_wanted,
            output::size(p.bytes)
        );
        if self.live {
            self.bar.set_length(p.content_wanted);
            self.bar.set_position(p.content);
            self.bar.set_message(text);
        } else {
            tell!("{text}");
        }
    }

    /// Prints a line above the bar.
    pub fn say(&self, text: &str) {
        if self.live {
            self.bar.suspend(|| tell!("{text}"));
        } else {
            tell!("{text}");
        }
    }

    /// Removes it.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Runs `work` with options that end it on Ctrl-C and show how far it is.
pub fn with_progress<R>(
    bar: &Bar,
    what: &str,
    stop: &AtomicBool,
    dry_run: bool,
    work: impl FnOnce(&ReceiveOptions<'_>) -> R,
) -> R {
    let progress = |p: &Progress| bar.update(what, p);
    work(&ReceiveOptions {
        cancel: stop,
        progress: &progress,
        dry_run,
    })
}
