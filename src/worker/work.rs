//! One job in a store: its trees are joined, its step is built as it is everywhere, its result is cut.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mstore_store::{ErrorKind, Store};

use crate::build::cancel::CancelToken;
use crate::build::error::StepError;
use crate::build::log::BoundedLog;
use crate::build::pause::Stopwatch;
use crate::build::processors::Processors;
use crate::build::sandbox::Sandbox;
use crate::build::step::{Builder, BuiltStep, Limits, Note};
use crate::build::step_log;
use crate::drv::StoreFacts;
use crate::drv::derivation::SANDBOX_PROFILE;
use crate::drv::fetcher::NoFetcher;
use crate::share::action::{Job, Outcome, Record, Times};
use crate::share::bundle::{Cut, CutError, Digest, Get, MOST_PACKED, Take, join};

use super::needs;
use super::trouble::{Code, Trouble, cancelled};

/// Where jobs are worked on.
#[derive(Clone)]
pub struct Site<'a> {
    /// Where inputs and results are kept.
    pub store: &'a Store,
    /// Processors that the jobs of this process share.
    pub processors: Processors,
    /// Whether this process has mounts of its own: work folders may lie in memory.
    pub memory: Option<u64>,
    /// The name of this machine, for the store's own record.
    pub host: String,
}

/// What is done with a job while it is worked on.
pub struct Hands<'a, 'g> {
    /// Gets a bundle of the job, by its number in it.
    pub get: &'a mut Get<'g>,
    /// Takes a bundle of the result.
    pub take: &'a Take<'a>,
    /// Ends the work.
    pub cancel: &'a CancelToken,
}

/// What came of a job.
#[derive(Debug)]
pub struct Worked {
    /// For whoever sent the job.
    pub record: Record,
    /// What the script printed, where it ran.
    pub log: Option<PathBuf>,
    /// What is to blame, if it is not the build.
    pub trouble: Option<Trouble>,
}

impl Site<'_> {
    /// Works on a job. Failing is an outcome like others: it is in the record.
    pub fn work(&self, job: &Job, hands: &mut Hands<'_, '_>) -> Worked {
        let began = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs().cast_signed());
        let peak = AtomicU64::new(0);
        let mut times = Times {
            began,
            ..Times::default()
        };
        let name = log_name(job);
        let ended = self.outcome(job, &name, hands, &mut times, &peak);
        let log = step_log::newest(self.store, &name).ok().flatten();
        let (outcome, trouble) = match ended {
            Ok(outcome) => (outcome, None),
            Err(trouble) => {
                let (code, what) = (trouble.code as u8, trouble.what.clone());
                (Outcome::Infrastructure { code, what }, Some(trouble))
            }
        };
        let peak = peak.into_inner();
        Worked {
            record: Record {
                key: job.step.key(),
                times,
                memory: (peak > 0).then_some(peak),
                outcome,
            },
            log,
            trouble,
        }
    }

    fn outcome(
        &self,
        job: &Job,
        name: &str,
        hands: &mut Hands<'_, '_>,
        times: &mut Times,
        peak: &AtomicU64,
    ) -> Result<Outcome, Trouble> {
        let derivation = job.step.derivation();
        if derivation.fetched().is_some() {
            return Err(Trouble::new(
                Code::Job,
                "it is fetched, which whoever sent it does itself",
            ));
        }
        if derivation.sandbox != SANDBOX_PROFILE && !derivation.is_union() {
            let profile = &derivation.sandbox;
            let what = format!("this program does not isolate builds as `{profile}`");
            return Err(Trouble::new(Code::Job, what));
        }
        let clock = Stopwatch::start();
        self.join(job, hands)?;
        times.join = millis(clock.elapsed());
        let clock = Stopwatch::start();
        let built = self.build(job, name, hands.cancel, peak);
        times.build = millis(clock.elapsed());
        let built = match built {
            Ok(built) => built,
            Err(StepError::Failed(failure)) => {
                return Ok(Outcome::Failed {
                    how: failure.how,
                    step: 0,
                    limit: failure.limit,
                    status: failure.status,
                });
            }
            Err(StepError::Infrastructure(error)) => return Err(error.into()),
            Err(StepError::Cancelled | StepError::Lost(_)) => return Err(cancelled()),
        };
        let clock = Stopwatch::start();
        let bundles = self.cut(job, &built, hands)?;
        times.cut = millis(clock.elapsed());
        Ok(Outcome::Built {
            size: self.store.work_size(name)?,
            tree: built.tree,
            bundles,
            changed: built.changed,
        })
    }

    /// Brings the trees of a job into the store, those that are there excepted.
    fn join(&self, job: &Job, hands: &mut Hands<'_, '_>) -> Result<(), Trouble> {
        // The trees that are there must not go while others come.
        let lease = self.store.lease("remote execution")?;
        let lacking = job.lacking(|tree| match lease.protect(tree) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
            Err(error) => Err(error),
        })?;
        let bytes = lacking.iter().flat_map(|(_, layer)| &layer.bundles);
        needs::room(self.store.path(), bytes.map(|bundle| bundle.size).sum())?;
        for (first, layer) in lacking {
            let (get, cancel) = (&mut *hands.get, hands.cancel);
            join(
                self.store,
                layer.tree,
                &layer.bundles,
                &mut |number, digest: &Digest| {
                    if cancel.is_cancelled() {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                    get(first + number, digest)
                },
            )?;
        }
        Ok(())
    }

    fn build(
        &self,
        job: &Job,
        name: &str,
        cancel: &CancelToken,
        peak: &AtomicU64,
    ) -> Result<BuiltStep, StepError> {
        let facts = StoreFacts::new(self.store.clone());
        let usual = Limits::default();
        let builder = Builder {
            slots: 1,
            store: self.store,
            facts: &facts,
            sandbox: Sandbox::new(),
            fetcher: &NoFetcher,
            cancel,
            processors: self.processors.clone(),
            limits: Limits {
                memory: self.memory,
                file: job.bounds.file.unwrap_or(usual.file),
                output: job.bounds.output.unwrap_or(usual.output),
                ..usual
            },
            note: &|note| {
                if let Note::Used { memory } = note {
                    peak.fetch_max(memory, Ordering::Relaxed);
                }
            },
            raw: &|_| (),
            anew: job.anew,
            host: self.host.clone(),
        };
        builder.build(name, &job.step, &mut |_| ())
    }

    fn cut(
        &self,
        job: &Job,
        built: &BuiltStep,
        hands: &Hands<'_, '_>,
    ) -> Result<Vec<Digest>, Trouble> {
        let cut = Cut::plan(self.store, built.tree, &job.step.below())?;
        // Made even if it was made before: whoever sent the job wants the bytes.
        let made = cut.make(self.store, &|number, digest, bytes| {
            if hands.cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            (hands.take)(number, digest, bytes)
        });
        match made {
            Err(CutError::Taken(error)) if error.kind() == io::ErrorKind::Interrupted => {
                Err(cancelled())
            }
            made => Ok(made?),
        }
    }
}

/// What the step goes by in the worker's store. Its key is in it: steps of one name may run side by side.
fn log_name(job: &Job) -> String {
    format!("{}.{}", job.step.derivation().name, job.step.key())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes of the beginning and of the end of a log that is too long to travel whole.
const SHORT: (u64, usize) = (12 << 20, 2 << 20);

/// Compresses what a script printed, so that it travels in one piece as bundles do: where that would be too long, with
/// what lies in the middle left out, which is said there. Without a log, nothing is compressed: whoever waits for it
/// finds it.
pub fn pack_log(log: Option<&Path>) -> io::Result<Vec<u8>> {
    let Some(log) = log else {
        return compress(&mut io::empty());
    };
    let packed = compress(&mut File::open(log)?)?;
    if packed.len() as u64 <= MOST_PACKED {
        return Ok(packed);
    }
    let mut short = BoundedLog::with_limits(Vec::new(), SHORT.0, SHORT.1);
    let (mut file, mut piece) = (File::open(log)?, vec![0; 64 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return compress(&mut short.finish()?.as_slice()),
            read => short.push(&piece[..read]),
        }
    }
}

/// Compresses, and stops when it is known that it is too long.
fn compress(from: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 3)?;
    packed.include_checksum(true)?;
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 || packed.get_ref().len() as u64 > MOST_PACKED {
            return packed.finish();
        }
        packed.write_all(&piece[..read])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_does_not_compress_travels_without_its_middle() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut noise = vec![0; 20 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        std::fs::write(&log, &noise).unwrap();
        let packed = pack_log(Some(&log)).unwrap();
        assert!((packed.len() as u64) < MOST_PACKED, "{}", packed.len());
        let text = zstd::decode_all(&*packed).unwrap();
        let head = SHORT.0 as usize;
        assert_eq!(text[..head], noise[..head]);
        assert!(
            text[head..].starts_with(b"\n[... "),
            "{:?}",
            &text[head..head + 40]
        );
        assert_eq!(text[text.len() - 1000..], noise[noise.len() - 1000..]);
        // One that compresses is whole, however long it is.
        std::fs::write(&log, vec![b'x'; 20 << 20]).unwrap();
        let packed = pack_log(Some(&log)).unwrap();
        assert_eq!(zstd::decode_all(&*packed).unwrap().len(), 20 << 20);
        assert_eq!(zstd::decode_all(&*pack_log(None).unwrap()).unwrap(), b"");
    }
}
