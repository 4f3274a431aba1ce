//! What came of a step at an engine: its record, its tree and its log, each checked before it is believed.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io::Read;

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use mstore_store::TreeHash;

use super::action::{self, LOG};
use super::cas::Portion;
use super::digest::Digest;
use super::errand::{AT_ONCE, Errand, Work, lock};
use super::operation::RESULT;
use super::reactor::Pending;
use super::trouble::{Trouble, shown};
use crate::build::log::BoundedLog;
use crate::build::step::Elsewhere;
use crate::drv::derivation::Output;
use crate::share::action::{MOST_RECORD, Outcome, Record};
use crate::share::bundle::{self, JoinError, MOST_PACKED, join};

/// Most bytes of a log: workers keep of longer ones what this machine does.
const MOST_LOG: u64 = BoundedLog::<Vec<u8>>::HEAD + (16 << 20);

/// What there is of a record.
pub enum Found {
    /// There is none.
    None,
    /// It cannot be believed, for this reason.
    Bad(String),
    /// It is about this step.
    Record(Box<Record>),
}

impl Errand<'_> {
    /// The record that a result has.
    pub(super) fn record(&self, work: &Work, result: &re::ActionResult) -> Result<Found, Trouble> {
        let Some(file) = output(result, RESULT) else {
            return Ok(Found::None);
        };
        let (digest, contents) = file?;
        if digest.size > MOST_RECORD as u64 {
            return Ok(Found::Bad(format!(
                "a record of {} bytes is none",
                digest.size
            )));
        }
        let function = work.execution.abilities.function;
        let bytes = match contents {
            inline if !inline.is_empty() && function.digest(inline) == digest => inline.to_vec(),
            _ => self
                .fetch(work, vec![digest])?
                .into_iter()
                .next()
                .unwrap_or_default(),
        };
        Ok(match Record::decode(&bytes) {
            Err(error) => Found::Bad(format!("its record: {}", shown(&error.to_string()))),
            Ok(record) if record.key != self.step.key() => Found::Bad(format!(
                "its record is about {}, and not about {}",
                record.key,
                self.step.key()
            )),
            Ok(record) => Found::Record(Box::new(record)),
        })
    }

    /// Brings here what a record tells of.
    pub(super) fn take(
        &self,
        work: &Work,
        result: &re::ActionResult,
        record: &Record,
        log: &mut dyn FnMut(&[u8]),
    ) -> Result<Elsewhere, Trouble> {
        let of_log = digest_of(result, LOG)?;
        if let Some(long) = of_log.filter(|digest| digest.size > MOST_PACKED) {
            let text = format!("mstore: the log of this step is too long to travel: {long}\n");
            log(text.as_bytes());
        }
        let of_log = of_log.filter(|digest| digest.size <= MOST_PACKED);
        match &record.outcome {
            Outcome::Built {
                size,
                tree,
                bundles,
                changed,
            } => {
                let gives_back = self.step.derivation().output == Output::Input;
                if gives_back && Some(*tree) != self.step.root_tree() {
                    return Err(Trouble::Disagrees(
                        "its result is dropped: a step that changes nothing came back changed"
                            .to_owned(),
                    ));
                }
                let log_bytes = self.join(work, *tree, bundles, of_log)?;
                self.tell_log(log_bytes, log)?;
                Ok(Elsewhere::Built {
                    tree: *tree,
                    changed: *changed,
                    size: *size,
                })
            }
            Outcome::Failed { how, status, .. } => {
                let got = of_log
                    .map(|digest| self.fetch(work, vec![digest]))
                    .transpose();
                match got {
                    Ok(got) => self.tell_log(got.and_then(|got| got.into_iter().next()), log)?,
                    // What failed has failed; its log is to be had or not.
                    Err(Trouble::Gone(_)) => {
                        log(b"mstore: the engine has lost the log of this step\n")
                    }
                    Err(trouble) => return Err(trouble),
                }
                Ok(Elsewhere::Failed {
                    how: shown(how),
                    status: *status,
                })
            }
            Outcome::Infrastructure { what, .. } => Err(Trouble::Disagrees(shown(what))),
        }
    }

    /// Makes a tree from its bundles, each of which is hashed, as all that is in them. Brings the log with them.
    fn join(
        &self,
        work: &Work,
        tree: TreeHash,
        bundles: &[bundle::Digest],
        of_log: Option<Digest>,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        let store = self.builder.store;
        let function = work.execution.abilities.function;
        let has_all = store.has_tree(tree)?;
        let wanted = bundles.iter().filter(|_| !has_all);
        let mut digests: Vec<Digest> = wanted.map(|b| action::bundle_digest(function, b)).collect();
        digests.extend(of_log);
        digests.sort_unstable();
        digests.dedup();
        // In the order in which they are needed.
        let names = bundles.iter().map(|b| action::bundle_digest(function, b));
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for (at, digest) in names.enumerate() {
            places.entry(digest).or_insert(at);
        }
        digests.sort_by_key(|digest| places.get(digest).copied().unwrap_or(0));
        let mut coming = Coming {
            errand: self,
            work,
            portions: work.cas.portions(&digests).into(),
            pending: VecDeque::new(),
            here: HashMap::new(),
        };
        let mut trouble = None;
        let joined = join(store, tree, bundles, &mut |_, bundle| {
            let digest = action::bundle_digest(function, bundle);
            coming.take(digest).map_err(|t| {
                trouble = Some(t);
                std::io::Error::other("it did not come")
            })
        });
        match (joined, trouble) {
            (_, Some(trouble)) => return Err(trouble),
            (Ok(()), None) => {}
            (Err(JoinError::Store(error)), None) => return Err(error.into()),
            (Err(error), None) => {
                return Err(Trouble::Disagrees(format!(
                    "its result is dropped: {}",
                    shown(&error.to_string())
                )));
            }
        }
        of_log.map(|digest| coming.take(digest)).transpose()
    }

    /// Passes on a log, within bounds.
    fn tell_log(&self, packed: Option<Vec<u8>>, log: &mut dyn FnMut(&[u8])) -> Result<(), Trouble> {
        let Some(packed) = packed else {
            log(b"mstore: the engine has not kept the log of this step\n");
            return Ok(());
        };
        let bad = |_| {
            Trouble::Disagrees("its result is dropped: its log cannot be decompressed".to_owned())
        };
        let mut left = MOST_LOG;
        let mut reader = zstd::stream::read::Decoder::new(&*packed).map_err(bad)?;
        reader.window_log_max(27).map_err(bad)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = reader.read(&mut buffer).map_err(bad)?;
            if read == 0 {
                return Ok(());
            }
            match left.checked_sub(read as u64) {
                Some(rest) => left = rest,
                None => {
                    log(b"\nmstore: the rest of this log is more than any worker sends\n");
                    return Ok(());
                }
            }
            log(&buffer[..read]);
        }
    }
}

/// Blobs on their way here, some at a time.
struct Coming<'a> {
    errand: &'a Errand<'a>,
    work: &'a Work,
    portions: VecDeque<Portion>,
    pending: VecDeque<(Portion, Pending<Vec<Vec<u8>>>)>,
    here: HashMap<Digest, Vec<u8>>,
}

impl Coming<'_> {
    /// Waits for a blob.
    fn take(&mut self, digest: Digest) -> Result<Vec<u8>, Trouble> {
        loop {
            if let Entry::Occupied(found) = self.here.entry(digest) {
                return Ok(found.remove());
            }
            while self.pending.len() < AT_ONCE
                && let Some(portion) = self.portions.pop_front()
            {
                let (cas, wanted) = (self.work.cas.clone(), portion.clone());
                let reactor = &self.errand.live.reactor;
                let pending =
                    reactor.spawn(self.errand.stop, async move { cas.read_all(wanted).await });
                self.pending.push_back((portion, pending));
            }
            let Some((portion, pending)) = self.pending.pop_front() else {
                return Err(Trouble::Disagrees(
                    "its result is dropped: it has one bundle twice".to_owned(),
                ));
            };
            let blobs = pending.wait()?;
            for (digest, blob) in portion.into_iter().zip(blobs) {
                lock(&self.errand.live.traffic).received += digest.size;
                self.here.insert(digest, blob);
            }
        }
    }
}

/// An output file of a result, with what is there of its content.
fn output<'a>(
    result: &'a re::ActionResult,
    name: &str,
) -> Option<Result<(Digest, &'a [u8]), Trouble>> {
    let file = result.output_files.iter().find(|file| file.path == name)?;
    let digest = file
        .digest
        .as_ref()
        .map(|d| Digest::read(d).map_err(Trouble::from));
    let digest = digest.unwrap_or_else(|| {
        Err(Trouble::Disagrees(format!(
            "its result is dropped: {name} has no digest"
        )))
    });
    Some(digest.map(|digest| (digest, &*file.contents)))
}

/// The digest of an output file of a result.
pub(super) fn digest_of(result: &re::ActionResult, name: &str) -> Result<Option<Digest>, Trouble> {
    let file = output(result, name).transpose()?;
    Ok(file.map(|(digest, _)| digest))
}
