//! The work of a lease: its action is read, the job in it done, and what came of it brought back.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use bazel_remote_apis::google::protobuf::Any;
use bazel_remote_apis::google::rpc;
use mstore_store::{OpenOptions, Store};
use prost::Message;
use tonic::Code;

use super::bot::{Craft, told};
use super::table::Finished;
use crate::build::cancel::CancelToken;
use crate::build::processors::Processors;
use crate::schedule::reapi::action::bundle_digest;
use crate::schedule::reapi::cas::Cas;
use crate::schedule::reapi::digest::{Blob, Digest, Function};
use crate::schedule::reapi::reactor::{Pending, Reactor, Stop};
use crate::schedule::reapi::trouble::Trouble;
use crate::share::action::{Job, MOST_JOB, Outcome, Record, bundle_name};
use crate::share::bundle;
use crate::worker::action::{JOB, LOG, OUT, PROGRAM, RESULT, tail};
use crate::worker::work::{Hands, Site, Worked, pack_log};
use crate::worker::{Code as Why, Trouble as Failed};

/// Largest action, command or folder that is read, in bytes.
const MOST_MESSAGE: u64 = 4 << 20;
/// Bundles that are read ahead.
const AHEAD: usize = 3;
/// How long folders of trees are not looked at after they were.
const LOOK: Duration = Duration::from_secs(20);
/// Bundles of a result that are shorter travel together at the end.
const SMALL: usize = 256 << 10;

/// Does jobs in a store that stays.
pub struct Builder<'a> {
    /// Where calls are carried out.
    pub reactor: &'a Reactor,
    /// The blobs of the engine.
    pub cas: Cas,
    /// The function of its digests.
    pub function: Function,
    /// Where trees are kept.
    pub store: &'a Store,
    /// Processors that all sessions share.
    pub processors: Processors,
    /// Bytes of memory that a work folder may take.
    pub memory: Option<u64>,
    /// The name of this machine.
    pub host: String,
    /// What keeps the folders of trees within a bound.
    pub bound: WrittenOutBound,
}

/// What trees that are written out whole may take: a worker that never ends looks at it itself.
#[derive(Debug)]
pub struct WrittenOutBound {
    /// Bytes.
    pub bytes: u64,
    /// Whether this process can see all others of this machine.
    pub sees_all: bool,
    /// When to look again.
    next: Mutex<Instant>,
}

impl WrittenOutBound {
    /// One that is looked at after the first job.
    pub fn new(bytes: u64, sees_all: bool) -> Self {
        WrittenOutBound {
            bytes,
            sees_all,
            next: Mutex::new(Instant::now()),
        }
    }

    /// Removes those used longest ago while there is too much, now and then. What cannot be removed now is tried again.
    pub fn keep(&self, store: &Store) {
        // One session is enough.
        let Ok(mut next) = self.next.try_lock() else {
            return;
        };
        let now = Instant::now();
        if now < *next {
            return;
        }
        let _ = store.trim(self.bytes, self.sees_all);
        // With very many folders the look itself takes time.
        *next = Instant::now() + LOOK.max(now.elapsed() * 100);
    }
}

impl Craft for Builder<'_> {
    fn work(&self, payload: Option<Any>, cancel: &CancelToken) -> Finished {
        let stop = Stop::default();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Calls are ended by another flag than processes are.
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    if cancel.is_cancelled() {
                        stop.stop();
                        return;
                    }
                    std::thread::park_timeout(std::time::Duration::from_millis(50));
                }
            });
            let finished = self.lease(payload, cancel, &stop);
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            self.bound.keep(self.store);
            finished.unwrap_or_else(|finished| finished)
        })
    }
}

/// An end before the work.
type Ends<T> = Result<T, Finished>;

fn foreign<T>(what: &str) -> Ends<T> {
    Err(Finished::failed(
        Code::InvalidArgument,
        format!("this worker takes jobs of mstore alone: {what}"),
    ))
}

/// What a failed call means for a lease.
fn ended(trouble: Trouble) -> Finished {
    let code = match &trouble {
        Trouble::Gone(_) => Code::FailedPrecondition,
        Trouble::Cancelled | Trouble::Over => Code::Unavailable,
        Trouble::Disagrees(_) => Code::Internal,
        // Its disk is full, or fails: another machine may have better luck.
        Trouble::Store(_) => {
            return Finished {
                rests: true,
                ..Finished::failed(Code::Unavailable, told(&trouble))
            };
        }
        Trouble::Call(..) | Trouble::Setup { .. } => Code::Unavailable,
    };
    Finished::failed(code, told(&trouble))
}

impl Builder<'_> {
    fn lease(&self, payload: Option<Any>, cancel: &CancelToken, stop: &Stop) -> Ends<Finished> {
        let job = self.job(payload, stop)?;
        // One of its own: what comes is kept from the collector for as long as the lease, and no longer.
        let store = Store::open(self.store.path(), &OpenOptions::default())
            .map_err(|error| ended(Trouble::Store(error)))?;
        let site = Site {
            store: &store,
            processors: self.processors.clone(),
            memory: self.memory,
            host: self.host.clone(),
        };
        let mut ahead = Ahead::new(self, &job, stop);
        let small = Mutex::new(Vec::new());
        // What ended a call, which the work sees as an error of files.
        let failed: Mutex<Option<Trouble>> = Mutex::new(None);
        let keep = |trouble: Trouble| {
            let kind = match trouble {
                Trouble::Cancelled => io::ErrorKind::Interrupted,
                _ => io::ErrorKind::Other,
            };
            let what = told(&trouble);
            failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(trouble);
            io::Error::new(kind, what)
        };
        let worked = site.work(
            &job,
            &mut Hands {
                get: &mut |number, _| ahead.get(number).map_err(&keep),
                take: &|_, digest, bytes| {
                    let blob = Blob {
                        digest: bundle_digest(self.function, digest),
                        bytes,
                    };
                    if blob.bytes.len() < SMALL {
                        small
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(blob);
                        return Ok(());
                    }
                    self.upload(vec![blob], stop).map_err(&keep)
                },
                cancel,
            },
        );
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let small = small.into_inner().unwrap_or_else(PoisonError::into_inner);
        if cancel.is_cancelled() {
            return Err(ended(Trouble::Cancelled));
        }
        if let Some(trouble) = failed {
            return Err(ended(trouble));
        }
        self.leave(worked, small, stop)
    }

    /// Reads an action down to its job; whatever is not ours is given back.
    fn job(&self, payload: Option<Any>, stop: &Stop) -> Ends<Job> {
        let Some(payload) = payload else {
            return foreign("the lease is empty");
        };
        let kind = payload.type_url.rsplit('/').next().unwrap_or_default();
        let action = match kind {
            "build.bazel.remote.execution.v2.Action" => re::Action::decode(&*payload.value),
            "build.bazel.remote.execution.v2.Digest" => {
                let digest = re::Digest::decode(&*payload.value);
                let digest = digest.or_else(|_| foreign("the lease names no action"))?;
                Ok(self.message::<re::Action>(Some(&digest), stop)?)
            }
            _ => return foreign("the lease is about something else"),
        };
        let action = action.or_else(|_| foreign("the lease holds no action"))?;
        let command: re::Command = self.message(action.command_digest.as_ref(), stop)?;
        let wanted = [&format!("./{PROGRAM}"), "action", JOB];
        if command.arguments != wanted || !command.environment_variables.is_empty() {
            return foreign("the command is another one");
        }
        let root: re::Directory = self.message(action.input_root_digest.as_ref(), stop)?;
        let file = root.files.iter().find(|file| file.name == JOB);
        let digest = file.and_then(|file| file.digest.as_ref());
        let bytes = self.blob(digest, MOST_JOB as u64, stop)?;
        Job::decode(&bytes).or_else(|error| foreign(&format!("the job: {error}")))
    }

    fn message<M: Message + Default>(&self, digest: Option<&re::Digest>, stop: &Stop) -> Ends<M> {
        let bytes = self.blob(digest, MOST_MESSAGE, stop)?;
        M::decode(&*bytes).or_else(|_| foreign("a message of the action cannot be read"))
    }

    fn blob(&self, digest: Option<&re::Digest>, most: u64, stop: &Stop) -> Ends<Vec<u8>> {
        let Some(digest) = digest else {
            return foreign("the action is not complete");
        };
        let digest = Digest::read(digest).or_else(|_| foreign("a digest of it cannot be read"))?;
        if digest.size > most {
            return foreign(&format!("it has a blob of {} bytes", digest.size));
        }
        self.fetch(digest, stop).wait().map_err(ended)
    }

    fn fetch(&self, digest: Digest, stop: &Stop) -> Pending<Vec<u8>> {
        let cas = self.cas.clone();
        self.reactor.spawn(stop, async move {
            let mut blobs = cas.read_all(vec![digest]).await?;
            Ok(blobs.pop().unwrap_or_default())
        })
    }

    /// Uploads what the engine lacks.
    fn upload(&self, blobs: Vec<Blob>, stop: &Stop) -> Result<(), Trouble> {
        let cas = self.cas.clone();
        self.reactor.run(stop, async move {
            let mut digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest).collect();
            digests.sort_unstable();
            digests.dedup();
            let missing = cas.missing(&digests).await?;
            let mut blobs: HashMap<Digest, Blob> =
                blobs.into_iter().map(|blob| (blob.digest, blob)).collect();
            for portion in cas.portions(&missing) {
                let taken = portion.iter().filter_map(|digest| blobs.remove(digest));
                cas.upload(taken.collect()).await?;
            }
            Ok(())
        })
    }

    /// Uploads what came of a job, and says so.
    fn leave(&self, worked: Worked, mut blobs: Vec<Blob>, stop: &Stop) -> Ends<Finished> {
        let Worked {
            record,
            log,
            trouble,
        } = worked;
        let internal = |what: String| Finished::failed(Code::Internal, what);
        let bytes = record
            .encode()
            .map_err(|error| internal(error.to_string()))?;
        let result = Blob::new(self.function, bytes);
        // In memory: the disk may be what fails.
        let packed = pack_log(log.as_deref())
            .map_err(|error| internal(format!("cannot read the log: {error}")))?;
        let packed = Blob::new(self.function, packed);
        let out = outputs(&record, self.function);
        let (tree, folder) = out;
        let exit = match &record.outcome {
            Outcome::Built { .. } => 0,
            Outcome::Failed { .. } => 1,
            Outcome::Infrastructure { code, .. } => (*code).into(),
        };
        let file = |path: &str, blob: &Blob| re::OutputFile {
            path: path.to_owned(),
            digest: Some(blob.digest.wire()),
            ..re::OutputFile::default()
        };
        let action_result = re::ActionResult {
            output_files: vec![file(LOG, &packed), file(RESULT, &result)],
            output_directories: vec![re::OutputDirectory {
                path: OUT.to_owned(),
                tree_digest: Some(tree.digest.wire()),
                ..re::OutputDirectory::default()
            }],
            exit_code: exit,
            stderr_raw: log.as_deref().map(tail).unwrap_or_default(),
            ..re::ActionResult::default()
        };
        blobs.extend([result, packed, tree, folder]);
        self.upload(blobs, stop).map_err(ended)?;
        let rests = trouble.as_ref().is_some_and(is_machine);
        Ok(Finished {
            rests,
            status: trouble.as_ref().map_or_else(rpc::Status::default, status),
            result: Some(Any {
                type_url: "type.googleapis.com/build.bazel.remote.execution.v2.ActionResult"
                    .to_owned(),
                value: action_result.encode_to_vec(),
            }),
        })
    }
}

/// The folder of a result's bundles: as a tree, and as a folder.
fn outputs(record: &Record, function: Function) -> (Blob, Blob) {
    let bundles = match &record.outcome {
        Outcome::Built { bundles, .. } => &bundles[..],
        Outcome::Failed { .. } | Outcome::Infrastructure { .. } => &[],
    };
    let files = bundles
        .iter()
        .enumerate()
        .map(|(number, bundle)| re::FileNode {
            name: bundle_name(number),
            digest: Some(bundle_digest(function, bundle).wire()),
            ..re::FileNode::default()
        });
    let mut files: Vec<re::FileNode> = files.collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let folder = re::Directory {
        files,
        ..re::Directory::default()
    };
    let tree = re::Tree {
        root: Some(folder.clone()),
        children: Vec::new(),
    };
    (Blob::of(function, &tree), Blob::of(function, &folder))
}

/// Whose fault a failure is, and whether trying again helps.
fn status(trouble: &Failed) -> rpc::Status {
    let code = match trouble.code {
        Why::Job => Code::InvalidArgument,
        Why::Bundles => Code::FailedPrecondition,
        Why::Room | Why::Cancelled => Code::Unavailable,
        Why::Other | Why::Sandbox | Why::Store | Why::Platform => Code::Internal,
    };
    rpc::Status {
        code: code as i32,
        message: trouble.to_string(),
        details: Vec::new(),
    }
}

/// Whether the next job would fail here as well.
fn is_machine(trouble: &Failed) -> bool {
    matches!(trouble.code, Why::Room | Why::Sandbox | Why::Store)
}

/// The bundles of a job as they are asked for, some of them read ahead: within a tree they are asked for in a row.
struct Ahead<'a> {
    builder: &'a Builder<'a>,
    stop: &'a Stop,
    digests: Vec<Digest>,
    /// For each bundle, the first one of the next tree.
    ends: Vec<usize>,
    /// Numbers, and what is on its way.
    open: VecDeque<(usize, Pending<Vec<u8>>)>,
}

impl<'a> Ahead<'a> {
    fn new(builder: &'a Builder<'a>, job: &Job, stop: &'a Stop) -> Ahead<'a> {
        let digest = |bundle: &bundle::Digest| bundle_digest(builder.function, bundle);
        let mut ends = Vec::new();
        for layer in &job.layers {
            let end = ends.len() + layer.bundles.len();
            ends.resize(end, end);
        }
        Ahead {
            builder,
            stop,
            digests: job.bundles().map(digest).collect(),
            ends,
            open: VecDeque::new(),
        }
    }

    fn get(&mut self, number: usize) -> Result<Vec<u8>, Trouble> {
        if self.open.front().is_none_or(|(first, _)| *first != number) {
            self.open.clear();
        }
        let end = self.ends.get(number).copied().unwrap_or_default();
        let next = self.open.back().map_or(number, |(last, _)| last + 1);
        for at in next..end.min(number + 1 + AHEAD) {
            let pending = self.builder.fetch(self.digests[at], self.stop);
            self.open.push_back((at, pending));
        }
        match self.open.pop_front() {
            Some((_, pending)) => pending.wait(),
            None => Err(Trouble::Disagrees("there is no such bundle".to_owned())),
        }
    }
}
