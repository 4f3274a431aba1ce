//! One step, built by an engine: described, provided with what the engine lacks, executed, and what came of it brought
//! here. Called by the thread of the job, which waits.

use std::sync::Arc;
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;

use super::action::{self, LOG, Rules, describe};
use super::cas::Cas;
use super::digest::Digest;
use super::errand::{Blobs, Errand, Live, Work};
use super::operation::{Ended, Execution, News, priority};
use super::outcome::{First, Record as Seeing, Ruling, Seen, judge};
use super::result::{Found, digest_of};
use super::trouble::{Trouble, shown};
use crate::build::error::StepError;
use crate::build::sandbox::Status;
use crate::build::step::{Elsewhere, Note};
use crate::share::action::Outcome;

/// How often an engine may lose blobs of one job, and results.
const MOST_UPLOADS: u32 = 3;
/// How often it may be full, or forget, before a job is given back.
const MOST_WAITS: u32 = 10;
/// How long is paused before a job is given back, and while an engine is full at most.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Most bytes that are shown of what a worker says on its standard error.
const MOST_SAID: usize = 400;

/// What a call was ended by, where it has a trouble of its own.
enum Next {
    Done(Elsewhere),
    /// The engine is to be asked what it lacks.
    Upload(String),
    /// It runs again after a moment.
    Wait(String),
    /// The job is given back.
    Lost(String),
}

impl Errand<'_> {
    /// Has the step built. `log` takes what its script printed.
    pub fn run(&self, log: &mut dyn FnMut(&[u8])) -> Result<Elsewhere, StepError> {
        self.carry_out(log).map_err(|trouble| self.blame(trouble))
    }

    /// Says who is to blame for what no more asking has mended.
    fn blame(&self, trouble: Trouble) -> StepError {
        match trouble {
            Trouble::Cancelled | Trouble::Over => StepError::Cancelled,
            _ if self.stop.is_stopped() => StepError::Cancelled,
            Trouble::Store(error) => error.into(),
            Trouble::Setup { why, remedy } => self.live.closed(why, remedy).into(),
            Trouble::Disagrees(why) => self.lost(&why),
            Trouble::Gone(digest) => {
                self.lost(&format!("the blob {digest} is gone again and again"))
            }
            Trouble::Call(call, status) => {
                let why = status.to_string();
                match judge(&Seen::Call {
                    call,
                    status,
                    looked: false,
                }) {
                    Ruling::Closed { why, remedy } => {
                        self.live.closed(why, remedy.to_owned()).into()
                    }
                    _ => self.lost(&why),
                }
            }
        }
    }

    fn lost(&self, why: &str) -> StepError {
        StepError::Lost(format!("{}: {why}", self.live.label))
    }

    fn carry_out(&self, log: &mut dyn FnMut(&[u8])) -> Result<Elsewhere, Trouble> {
        let Live { line, .. } = self.live;
        let abilities = self.live.abilities(self.stop, line.settings.patience)?;
        let (job, cuts) = self.job()?;
        let platform = &self.step.derivation().platform;
        let settings = &line.settings;
        let programs = &self.live.programs;
        let program = programs.of(platform, &settings.workers, abilities.function)?;
        let described = describe(
            &job,
            program.digest,
            &Rules {
                function: abilities.function,
                properties: &settings.properties,
                salt: &settings.salt,
                do_not_cache: self.check,
            },
        );
        let engine = settings.address.to_string();
        let action = described.action.to_string();
        let store = self.builder.store;
        let blobs = Blobs::new(described, program, cuts, abilities.function);
        let limit = self.step.derivation().policy.timeout;
        let limit = limit.map(Duration::from_secs);
        let mut work = Work {
            cas: Cas::new(Arc::clone(line), abilities.clone()),
            execution: Execution {
                line: Arc::clone(line),
                priority: priority(abilities.priorities, self.urgency),
                abilities,
                action: blobs.described.action,
                known: store.operation(&engine, &action)?,
                queue_timeout: settings.queue_timeout,
                limit: limit.map(|limit| limit.saturating_add(settings.staging)),
            },
            blobs,
            looked: false,
            again: false,
        };
        let anew = self.check || self.builder.anew || work.execution.known.is_some();
        let cached = match anew {
            true => Ok(None),
            false => self.cached(&work, log),
        };
        let done = match cached {
            Ok(Some(built)) => Ok(built),
            Ok(None) => self.execute(&mut work, (&engine, &action), log),
            Err(trouble) => Err(trouble),
        };
        let cut = work.blobs.cuts.iter().flat_map(|cut| &cut.bundles);
        self.live.fresh.drop_all(cut);
        // One that cannot be reached may run on; every other end is the end of the operation too.
        if !matches!(&done, Err(Trouble::Call(_, _))) {
            store.forget_operation(&engine, &action)?;
        }
        done
    }

    /// What a cache of the engine has, if that can be believed and is there.
    fn cached(
        &self,
        work: &Work,
        log: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Elsewhere>, Trouble> {
        let execution = work.execution.clone();
        let cached = self
            .live
            .reactor
            .run(self.stop, async move { execution.cached().await });
        let cached = match cached {
            Err(Trouble::Call(call, status)) => {
                let seen = Seen::Call {
                    call,
                    status: status.clone(),
                    looked: false,
                };
                match judge(&seen) {
                    // A cache that cannot be asked has nothing.
                    Ruling::Again { .. } => None,
                    _ => return Err(Trouble::Call(call, status)),
                }
            }
            cached => cached?,
        };
        let Some(result) = cached.filter(|result| result.exit_code == 0) else {
            return Ok(None);
        };
        let taken = self.record(work, &result).and_then(|record| {
            let record = match record {
                Found::Record(record) => record,
                Found::None | Found::Bad(_) => return Ok(None),
            };
            let Outcome::Built { bundles, .. } = &record.outcome else {
                return Ok(None);
            };
            let digest = |bundle| action::bundle_digest(work.execution.abilities.function, bundle);
            let mut needed: Vec<Digest> = bundles.iter().map(digest).collect();
            needed.extend(digest_of(&result, LOG)?);
            let cas = work.cas.clone();
            let missing = self
                .live
                .reactor
                .run(self.stop, async move { cas.missing(&needed).await })?;
            match missing.is_empty() {
                true => self.take(work, &result, &record, log).map(Some),
                false => Ok(None),
            }
        });
        match taken {
            // What a cache says and does not keep is as good as nothing.
            Err(Trouble::Gone(_) | Trouble::Disagrees(_)) => Ok(None),
            taken => taken,
        }
    }

    /// Has it executed until it has ended in a way that is believed.
    fn execute(
        &self,
        work: &mut Work,
        (engine, action): (&str, &str),
        log: &mut dyn FnMut(&[u8]),
    ) -> Result<Elsewhere, Trouble> {
        let (mut uploads, mut waits, mut pause) = (0, 0, PAUSE);
        loop {
            let next = match self.attempt(work, (engine, action), log) {
                Err(Trouble::Gone(digest)) => Next::Upload(format!("the blob {digest} is gone")),
                Err(Trouble::Over) => Next::Done(self.over(log)),
                Err(trouble) => self.after(work, trouble)?,
                Ok(next) => next,
            };
            work.execution.known = None;
            let (count, most, why) = match next {
                Next::Done(elsewhere) => return Ok(elsewhere),
                Next::Lost(why) => {
                    self.pause(pause)?;
                    return Err(Trouble::Disagrees(why));
                }
                Next::Upload(why) => {
                    work.again = true;
                    self.live.belief.forget(&work.blobs.digests());
                    (&mut uploads, MOST_UPLOADS, why)
                }
                Next::Wait(why) => {
                    self.pause(pause)?;
                    pause = LONGEST_PAUSE.min(pause * 2);
                    (&mut waits, MOST_WAITS, why)
                }
            };
            *count += 1;
            if *count > most {
                self.pause(pause)?;
                return Err(Trouble::Disagrees(why));
            }
        }
    }

    /// The end of a step that took longer than it may.
    fn over(&self, log: &mut dyn FnMut(&[u8])) -> Elsewhere {
        let limit = self.step.derivation().policy.timeout.unwrap_or_default();
        let text = format!(
            "mstore: it was cancelled at the engine, where it ran longer than the {limit} s of its policy/timeout; no \
             log comes back of what is cancelled\n"
        );
        log(text.as_bytes());
        Elsewhere::Failed {
            how: Status::TimedOut.to_string(),
            status: Status::TimedOut.raw(),
        }
    }

    /// What follows from the trouble of a call.
    fn after(&self, work: &Work, trouble: Trouble) -> Result<Next, Trouble> {
        let Trouble::Call(call, status) = trouble else {
            return Err(trouble);
        };
        let ruling = judge(&Seen::Call {
            call,
            status: status.clone(),
            looked: work.looked,
        });
        match ruling {
            // It was asked again for long by then.
            Ruling::Again {
                first: First::Pause,
                ..
            } => Err(Trouble::Call(call, status)),
            ruling => self.obey(ruling),
        }
    }

    /// What follows from a ruling other than that there is a result.
    fn obey(&self, ruling: Ruling) -> Result<Next, Trouble> {
        Ok(match ruling {
            Ruling::Again { first, why } => match first {
                First::Pause => Next::Lost(why),
                First::Upload => Next::Upload(why),
                First::Nothing => Next::Wait(why),
                First::Fewer => {
                    (self.full)();
                    Next::Wait(why)
                }
            },
            Ruling::Closed { why, remedy } => {
                return Err(Trouble::Setup {
                    why,
                    remedy: remedy.to_owned(),
                });
            }
            Ruling::Dropped { why } => Next::Lost(format!("its result is dropped: {why}")),
            Ruling::Built | Ruling::Failed => Next::Lost("there is nothing to take".to_owned()),
        })
    }

    /// Provides the engine with what it lacks, has the action executed once, and looks at what came of it.
    fn attempt(
        &self,
        work: &mut Work,
        (engine, action): (&str, &str),
        log: &mut dyn FnMut(&[u8]),
    ) -> Result<Next, Trouble> {
        let store = self.builder.store;
        if work.execution.known.is_none() {
            // Only what is asked again after a failure tells that it lacks nothing.
            work.looked = self.provide(work)? && work.again;
        }
        let execution = work.execution.clone();
        let stop = self.stop.clone();
        let ended =
            self.live
                .reactor
                .attend(|teller| execution.run(stop, teller), &mut |news| {
                    match news {
                        News::Named(name) => store.note_operation(engine, action, &name)?,
                        News::Forgotten => store.forget_operation(engine, action)?,
                        News::Queued(time) => self.tell_queued(time),
                    }
                    Ok(())
                })?;
        // Whatever is next is another operation.
        store.forget_operation(engine, action)?;
        let Ended {
            status,
            result,
            cached,
        } = ended;
        let result = result.unwrap_or_default();
        let ok = status.code == tonic::Code::Ok;
        let found = match ok {
            true => self.record(work, &result)?,
            // Whatever lies there, nobody says that it is whole.
            false => Found::None,
        };
        let record = match &found {
            Found::None => Seeing::None,
            Found::Bad(why) => Seeing::Bad(why.clone()),
            Found::Record(record) => match &record.outcome {
                Outcome::Built { .. } => Seeing::Built,
                Outcome::Failed { .. } => Seeing::Failed,
                Outcome::Infrastructure { what, .. } => Seeing::Infrastructure(shown(what)),
            },
        };
        let ruling = judge(&Seen::Ended {
            status,
            exit: result.exit_code,
            cached,
            record,
            looked: work.looked,
        });
        match (ruling, found) {
            (Ruling::Built | Ruling::Failed, Found::Record(record)) => {
                self.take(work, &result, &record, log).map(Next::Done)
            }
            (Ruling::Again { first, why }, _) => self.obey(Ruling::Again {
                first,
                why: with_said(why, &result),
            }),
            (ruling, _) => self.obey(ruling),
        }
    }

    fn tell_queued(&self, time: Duration) {
        let platform = &self.step.derivation().platform;
        (self.builder.note)(Note::Queued {
            step: self.name.to_owned(),
            engine: self.live.line.settings.address.to_string(),
            seconds: time.as_secs(),
            properties: action::shown_properties(platform, &self.live.line.settings.properties),
        });
    }
}

/// Adds what a worker said last on its standard error, where the engine sent it along.
fn with_said(why: String, result: &re::ActionResult) -> String {
    let raw = &result.stderr_raw;
    let end = &raw[raw.len().saturating_sub(MOST_SAID)..];
    let text = String::from_utf8_lossy(end);
    match text.trim().lines().last() {
        Some(line) if !line.trim().is_empty() => format!("{why}: {}", shown(line)),
        _ => why,
    }
}
