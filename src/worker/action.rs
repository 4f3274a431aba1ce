//! A job in a folder, as the workers of an engine run it: `./mstore-worker action job`.
//!
//! Beside the job lie its bundles, below `b`. What comes of it is left there too: `result`, which is the record, the
//! bundles of the result below `out`, and `log.zst`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mstore_store::{Store, remove_tree};

use super::needs;
use super::trouble::{Code, Trouble};
use super::work::{Hands, Site, Worked, pack_log};
use crate::build::cancel::CancelToken;
use crate::build::processors::Processors;
use crate::build::userns::{Entered, UsernsError};
use crate::share::action::{Job, MOST_JOB, Outcome, Record, Times, bundle_name, bundle_path};
use crate::share::bundle::{Digest, MOST_PACKED};

/// What the program is called that an action brings along.
pub const PROGRAM: &str = "mstore-worker";
/// The file of the job.
pub const JOB: &str = "job";
/// The record of what came of the job.
pub const RESULT: &str = "result";
/// The bundles of the result.
pub const OUT: &str = "out";
/// What the script printed.
pub const LOG: &str = "log.zst";
/// Where the store is that goes with the action.
const OWN_STORE: &str = ".mstore";
/// Bytes from the end of the log for the engine's own page.
const TOLD: u64 = 64 << 10;

/// The worker for this machine that lies beside a program, as it does where both were installed together.
pub fn beside(program: &Path) -> Option<PathBuf> {
    let worker = program.parent()?.join(PROGRAM);
    worker.is_file().then_some(worker)
}

/// An action, as it was started.
#[derive(Debug)]
pub struct Action<'a> {
    /// The folder that it runs in.
    pub folder: &'a Path,
    /// The file of the job.
    pub job: &'a Path,
    /// A store that stays; else there is one beside the action, which goes with it.
    pub store: Option<&'a Path>,
    /// What came of entering a user namespace.
    pub entered: &'a Result<Entered, UsernsError>,
    /// Ends it.
    pub cancel: &'a CancelToken,
    /// Processors of this machine.
    pub processors: usize,
    /// The name of this machine.
    pub host: String,
}

/// How an action ended, and what is to be said of it.
#[derive(Debug)]
pub struct Ended {
    /// The exit status: 0 built, 1 the build failed, from 100 on the machine did.
    pub status: u8,
    /// For people.
    pub text: String,
    /// The end of what the script printed.
    pub log: Vec<u8>,
}

impl Action<'_> {
    /// Does all of it. Whatever the end is, nothing is left beside the files that an action promises.
    pub fn run(&self) -> Ended {
        let own = self.folder.join(OWN_STORE);
        let done = self.done(&own);
        // Nothing that runs any more holds it.
        let removed = match fs::symlink_metadata(&own) {
            Ok(_) => remove_tree(&own),
            Err(_) => Ok(()),
        };
        let mut ended = done.unwrap_or_else(|(record, trouble)| {
            if let Some(record) = record {
                // What cannot be written is told on stderr all the same.
                let _ = self.leave(&record, None);
            }
            Ended::of(&trouble)
        });
        if let Err(error) = removed {
            ended.text += &format!("\ncannot remove {}: {error}", own.display());
        }
        ended
    }

    /// Gives the record of a failure that came before the work, where the job is known.
    fn done(&self, own: &Path) -> Result<Ended, (Option<Box<Record>>, Trouble)> {
        let job = self.read_job().map_err(|trouble| (None, trouble))?;
        let told = |trouble: Trouble| (Some(Box::new(failed(&job, &trouble))), trouble);
        let (store, site_memory) = self.open(own).map_err(told)?;
        let site = Site {
            store: &store,
            processors: Processors::new(self.processors),
            memory: site_memory,
            host: self.host.clone(),
        };
        let out = self.folder.join(OUT);
        fs::create_dir(&out).map_err(|error| told(cannot("make the folder", &out, &error)))?;
        let worked = site.work(
            &job,
            &mut Hands {
                get: &mut |number, digest| self.bundle(number, digest),
                take: &|number, _, bytes| {
                    let path = out.join(bundle_name(number));
                    File::create_new(path)?.write_all(&bytes)
                },
                cancel: self.cancel,
            },
        );
        let Worked {
            record,
            log,
            trouble,
        } = worked;
        let tail = log.as_deref().map(tail).unwrap_or_default();
        self.leave(&record, log.as_deref())
            .map_err(|trouble| (None, trouble))?;
        Ok(match (&record.outcome, trouble) {
            (_, Some(trouble)) => Ended {
                log: tail,
                ..Ended::of(&trouble)
            },
            (Outcome::Built { tree, .. }, _) => Ended {
                status: 0,
                text: format!("built {tree}"),
                log: tail,
            },
            (Outcome::Failed { how, .. }, _) => Ended {
                status: 1,
                text: format!("the step failed: {how}"),
                log: tail,
            },
            (Outcome::Infrastructure { code, what }, _) => Ended {
                status: *code,
                text: what.clone(),
                log: tail,
            },
        })
    }

    fn read_job(&self) -> Result<Job, Trouble> {
        let path = self.folder.join(self.job);
        let bytes = read_within(&path, MOST_JOB as u64)
            .map_err(|error| Trouble::new(Code::Job, format!("{}: {error}", path.display())))?;
        Job::decode(&bytes)
            .map_err(|error| Trouble::new(Code::Job, format!("{}: {error}", path.display())))
    }

    /// Opens the store, and looks whether builds can run in it.
    fn open(&self, own: &Path) -> Result<(Store, Option<u64>), Trouble> {
        let path = self.store.unwrap_or(own);
        if self.store.is_none() {
            // What an earlier run left that was killed.
            if fs::symlink_metadata(own).is_ok() {
                remove_tree(own).map_err(|error| cannot("remove", own, &error))?;
            }
        }
        let store = Store::open(path, &mstore_store::OpenOptions::create())?;
        let scratch = store.scratch("check")?;
        needs::sandbox(self.entered, scratch.path())?;
        Ok((store, None))
    }

    /// Reads a bundle of the job.
    fn bundle(&self, number: usize, digest: &Digest) -> io::Result<Vec<u8>> {
        read_within(
            &self.folder.join(bundle_path(number)),
            digest.size.min(MOST_PACKED),
        )
    }

    /// Writes what is left: the log, and last the record, under another name first.
    fn leave(&self, record: &Record, log: Option<&Path>) -> Result<(), Trouble> {
        let path = self.folder.join(LOG);
        let packed = pack_log(log).and_then(|packed| File::create_new(&path)?.write_all(&packed));
        packed.map_err(|error| cannot("write", &path, &error))?;
        let bytes = record
            .encode()
            .map_err(|error| Trouble::new(Code::Other, error.to_string()))?;
        let (new, path) = (self.folder.join(".result"), self.folder.join(RESULT));
        let written = File::create(&new).and_then(|mut file| file.write_all(&bytes));
        written
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| cannot("write", &path, &error))
    }
}

impl Ended {
    fn of(trouble: &Trouble) -> Ended {
        Ended {
            status: trouble.code as u8,
            text: trouble.what.clone(),
            log: Vec::new(),
        }
    }
}

/// The record of a job that was not begun.
fn failed(job: &Job, trouble: &Trouble) -> Record {
    Record {
        key: job.step.key(),
        times: Times::default(),
        memory: None,
        outcome: Outcome::Infrastructure {
            code: trouble.code as u8,
            what: trouble.what.clone(),
        },
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Trouble {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::Room,
        _ => Code::Other,
    };
    Trouble::new(code, format!("cannot {what} {}: {error}", path.display()))
}

/// Reads a file that has `most` bytes or fewer. A link to it is followed: engines lay inputs out as such.
fn read_within(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // What is no file must not be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// The end of a log, as much as goes to the engine's own page. What cannot be read is left out: the whole log travels
/// beside it.
pub fn tail(log: &Path) -> Vec<u8> {
    use std::io::{Seek, SeekFrom};
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TOLD)))?;
        let mut bytes = Vec::new();
        file.take(TOLD).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    read().unwrap_or_default()
}
