//! What a run tells those who look at it from outside, and what they can change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Card, Driver, Planner, worth};
use crate::schedule::control::words::{
    Answer, Counts, Explained, FailedView, HostView, JobView, Question, Reason, Stated, View,
};
use crate::schedule::engine::{EngineEvent, HostId, HostState, JobId, JobState, Waiting};
use crate::schedule::executor::{Desk, Host, HostDesk, HostNews};
use crate::schedule::progress::RunEvent;

/// Most jobs, hosts and failures that are listed, and most jobs that are explained at a time.
const MOST: usize = 1000;
/// Failures that are remembered for those who look.
const FAILURES: usize = 200;
/// Most jobs that a reason names.
const NAMED: usize = 50;
/// Longest text from elsewhere, in characters.
const TEXT: usize = 1000;

/// What is known besides the state of the engine.
#[derive(Default)]
pub(super) struct Operator {
    /// Hosts that somebody told to start nothing more.
    drained: BTreeSet<HostId>,
    /// Of those, and of others that are up, what they can do.
    there: BTreeMap<HostId, Host>,
    /// Why hosts are down.
    down: BTreeMap<HostId, String>,
    /// The last failures, the newest first.
    failures: VecDeque<FailedView>,
    /// Jobs that were told to stop: they end, or do not start.
    stops: BTreeSet<JobId>,
    /// Those of them that have ended, or were to start.
    stopped: BTreeSet<JobId>,
}

impl Operator {
    /// Takes in what happened to a host; gives what the engine is to hear of it. A host that is drained stays so when
    /// it comes back.
    pub fn news(&mut self, host: HostId, news: HostNews) -> HostNews {
        match &news {
            HostNews::Up(offer) => {
                self.there.insert(host, offer.clone());
                self.down.remove(&host);
            }
            HostNews::Down(reason) => {
                self.there.remove(&host);
                self.down.insert(host, cut(reason));
            }
            // By somebody else, who lets it go on too.
            HostNews::Stopped | HostNews::Named(_) => {}
        }
        match news {
            HostNews::Up(offer) if self.drained.contains(&host) => HostNews::Named(offer),
            news => news,
        }
    }

    /// Whether a job was told to stop.
    pub fn stops(&self, job: JobId) -> bool {
        self.stops.contains(&job)
    }

    /// Takes in that a job that was told to stop does not run.
    pub fn put_by(&mut self, job: JobId) {
        self.stopped.insert(job);
    }

    /// The jobs that do not run since they were told so.
    pub fn stopped(&self) -> impl Iterator<Item = JobId> {
        self.stopped.iter().copied()
    }

    /// Remembers a failure.
    pub fn failed(&mut self, name: &str, host: &str, how: &str, seconds: f64) {
        self.failures.truncate(FAILURES - 1);
        self.failures.push_front(FailedView {
            name: name.to_owned(),
            host: host.to_owned(),
            how: cut(how),
            seconds,
        });
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

/// The word for a state.
fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Named => "not listed",
        JobState::Open => "open",
        JobState::ToBuild => "to build",
        JobState::Queued => "queued",
        JobState::Aside => "aside",
        JobState::Locked => "locked",
        JobState::Running => "running",
        JobState::Usable => "usable",
        JobState::Failed => "failed",
        JobState::Skipped => "skipped",
        JobState::Broken => "broken",
    }
}

fn reason(reason: &str, text: String) -> Reason {
    Reason {
        reason: reason.to_owned(),
        text,
        ..Reason::default()
    }
}

/// Answers.
impl<P: Planner> Driver<'_, P> {
    pub(super) fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::View => Answer::View(Box::new(self.view())),
            Question::Why { of } => self.why(&of),
            Question::Drain { host } => self.drain(&host),
            Question::Resume { host } => self.resume(&host),
            Question::Add { line } => self.add(&line),
            Question::Stop { job } => self.stop_job(&job),
            Question::Requeue { job } => self.requeue_job(&job),
        }
    }

    fn view(&mut self) -> View {
        let left = self.time_left();
        let seconds = self.began.elapsed().as_secs_f64();
        let count =
            |states: &[JobState]| -> usize { states.iter().map(|s| self.engine.count(*s)).sum() };
        let counts = Counts {
            usable: count(&[JobState::Usable]),
            running: count(&[JobState::Running]),
            queued: count(&[JobState::Queued, JobState::Aside]),
            to_build: count(&[JobState::ToBuild, JobState::Open]),
            failed: count(&[JobState::Failed]),
            ignored: count(&[JobState::Skipped, JobState::Broken]),
            locked: count(&[JobState::Locked]).saturating_sub(self.operator.stopped.len()),
            stopped: self.operator.stopped.len(),
        };
        let began = SystemTime::now() - Duration::from_secs_f64(seconds);
        let failures = &self.operator.failures;
        View {
            pid: std::process::id(),
            machine: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            started: began
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs().cast_signed()),
            seconds,
            left,
            ending: self.ending(),
            counts,
            jobs: self.job_views(),
            more_jobs: self.running.len().saturating_sub(MOST),
            hosts: self.host_views(),
            more_hosts: self.hosts.len().saturating_sub(MOST),
            failures: failures.iter().cloned().collect(),
            more_failures: counts.failed.saturating_sub(failures.len()),
            stopped: self
                .operator
                .stopped()
                .take(MOST)
                .map(|job| self.cards[job].name.clone())
                .collect(),
        }
    }

    /// Why nothing more starts.
    fn ending(&self) -> Option<String> {
        if self.outcome.cancelled || self.leaving {
            Some("the run was told to stop".to_owned())
        } else if let Some((_, error)) = &self.outcome.infrastructure {
            Some(cut(&error.to_string()))
        } else if self.engine.is_stopped() {
            Some("something failed, and --keep-going was not given".to_owned())
        } else {
            None
        }
    }

    fn job_views(&self) -> Vec<JobView> {
        let mut jobs: Vec<JobView> = Vec::with_capacity(self.running.len());
        for (job, run) in &self.running {
            let Some(going) = self.pulses.get(*job) else {
                continue;
            };
            let card = &self.cards[*job];
            jobs.push(JobView {
                name: card.name.clone(),
                host: self.host_name(run.host),
                seconds: going.clock.elapsed().as_secs_f64(),
                expected: card.seconds.map(|seconds| {
                    let host = self.hosts.get(&run.host);
                    seconds / host.map_or(1.0, |host| worth(host.speed))
                }),
                silent: going.silent(),
                most_silent: going.most_silence(),
                output: going.bytes(),
            });
        }
        jobs.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        jobs.truncate(MOST);
        jobs
    }

    fn host_views(&self) -> Vec<HostView> {
        let mut busy: BTreeMap<HostId, usize> = BTreeMap::new();
        for run in self.running.values() {
            *busy.entry(run.host).or_default() += 1;
        }
        let hosts = self.hosts.iter().take(MOST);
        let views = hosts.map(|(id, host)| HostView {
            name: host.name.clone(),
            state: self.host_word(*id).to_owned(),
            why: self.operator.down.get(id).cloned(),
            slots: host.slots.max(1),
            busy: busy.get(id).copied().unwrap_or_default(),
            speed: host.speed,
        });
        views.collect()
    }

    /// The word for the state of a host.
    fn host_word(&self, host: HostId) -> &'static str {
        if self.operator.drained.contains(&host) {
            return "drained";
        }
        match self.engine.host_state(host) {
            HostState::Named => "coming",
            HostState::Up => "up",
            HostState::Stopped => "drained",
            HostState::Down => "down",
        }
    }

    fn host_name(&self, host: HostId) -> String {
        let host = self.hosts.get(&host);
        host.map_or_else(String::new, |host| host.name.clone())
    }

    /// The jobs of that name: of a target all of its jobs.
    fn jobs_called(&self, name: &str) -> Vec<JobId> {
        let is_it = |called: &str| {
            let rest = called.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        let all = self.engine.jobs();
        let named = all.filter(|job| {
            let Card { node, name, .. } = &self.cards[*job];
            is_it(name) || is_it(&self.planner.recorded_as(node))
        });
        named.collect()
    }

    fn why(&self, of: &str) -> Answer {
        let jobs = self.jobs_called(of);
        if jobs.is_empty() {
            return Answer::Refused(format!("nothing in this run is called {}", cut(of)));
        }
        let jobs = jobs.iter().take(MOST);
        Answer::Why(jobs.map(|job| self.explain(*job)).collect())
    }

    fn explain(&self, job: JobId) -> Explained {
        let state = self.engine.state(job);
        let reasons = match self.engine.why_waiting(job) {
            Some(_) if self.operator.stopped.contains(&job) => vec![reason(
                "stopped",
                "it was told to stop; `mstore top --requeue` lets it start again".to_owned(),
            )],
            Some(waiting) => self.waits(&waiting),
            None => vec![self.stands(job, state)],
        };
        Explained {
            job: self.cards[job].name.clone(),
            state: state_word(state).to_owned(),
            reasons,
        }
    }

    /// What is said of a job that does not wait.
    fn stands(&self, job: JobId, state: JobState) -> Reason {
        let name = &self.cards[job].name;
        match (state, self.running.get(&job)) {
            (JobState::Running, Some(run)) => {
                let host = self.host_name(run.host);
                let since = self.pulses.get(job).map(|going| going.clock.elapsed());
                let seconds = since.unwrap_or_default().as_secs();
                Reason {
                    hosts: vec![host.clone()],
                    ..reason("runs", format!("it runs on {host}, for {seconds} s"))
                }
            }
            (JobState::Running, None) => reason("runs", "it starts just now".to_owned()),
            (JobState::Usable, _) => reason("there", "its result is there".to_owned()),
            (JobState::Failed, _) => {
                let failures = self.operator.failures.iter();
                let mut how = failures.filter(|failure| failure.name == *name);
                let how = how.next().map(|failure| format!(": {}", failure.how));
                let text = format!("it failed{}", how.unwrap_or_default());
                reason("failed", text)
            }
            (JobState::Skipped, _) => {
                let text = "something that it needs failed: it will not be built".to_owned();
                reason("skipped", text)
            }
            _ => reason("broken", "it cannot be built as it was listed".to_owned()),
        }
    }

    /// The engine's reason in words, with what is known of the jobs and hosts that it names.
    fn waits(&self, waiting: &Waiting) -> Vec<Reason> {
        match waiting {
            Waiting::Unlisted => vec![reason(
                "unlisted",
                "another job needs it, and nobody has listed it yet".to_owned(),
            )],
            Waiting::Open => vec![reason(
                "open",
                "it is not known yet all that it needs".to_owned(),
            )],
            Waiting::Needs(needs) => vec![self.needs(needs)],
            Waiting::Path(other) => {
                let stated = Stated {
                    job: self.cards[*other].name.clone(),
                    state: state_word(self.engine.state(*other)).to_owned(),
                };
                let text = format!("another job of its path runs: {}", stated.job);
                vec![Reason {
                    jobs: vec![stated],
                    ..reason("path", text)
                }]
            }
            Waiting::Lock => vec![reason(
                "lock",
                "another scheduler holds the lock of its path".to_owned(),
            )],
            Waiting::RunStopped => vec![match self.ending() {
                Some(why) => reason("ending", format!("nothing more starts: {why}")),
                None => reason(
                    "held",
                    "nothing starts for now: there is a stop file".to_owned(),
                ),
            }],
            Waiting::NoHost => vec![reason("no-host", "none of the hosts can run it".to_owned())],
            Waiting::NoneUp(hosts) => self.each_host(hosts),
            Waiting::Full(hosts) => {
                let mut reasons = self.each_host(hosts);
                // Those that would be there if they were up are told of too.
                let others = self.hosts.keys().copied();
                let full: BTreeSet<HostId> = hosts.iter().copied().collect();
                let others = others.filter(|host| {
                    !full.contains(host) && self.engine.host_state(*host) != HostState::Up
                });
                reasons.extend(self.each_host(&others.collect::<Vec<_>>()));
                reasons
            }
            Waiting::HeldFor(host) => {
                let name = self.host_name(*host);
                let text = format!(
                    "a slower host is free, and {name} is expected to end it earlier, though it runs something else yet"
                );
                vec![Reason {
                    hosts: vec![name],
                    ..reason("faster-host", text)
                }]
            }
            Waiting::Gate(_, others) => {
                let names = others.iter().take(3).map(|job| &*self.cards[*job].name);
                let names = names.collect::<Vec<_>>().join(", ");
                let stated = others.iter().take(NAMED).map(|job| Stated {
                    job: self.cards[*job].name.clone(),
                    state: state_word(self.engine.state(*job)).to_owned(),
                });
                vec![Reason {
                    jobs: stated.collect(),
                    ..reason(
                        "gate",
                        format!("others with its tag, or from its site, run: {names}"),
                    )
                }]
            }
            Waiting::Wide(host) => {
                let text = match host {
                    Some(host) => format!(
                        "it needs several slots: nothing else starts on {} until they are free",
                        self.host_name(*host)
                    ),
                    None => "it needs several slots of one host, which none has free".to_owned(),
                };
                vec![Reason {
                    hosts: host.iter().map(|host| self.host_name(*host)).collect(),
                    ..reason("wide", text)
                }]
            }
            Waiting::Kept(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(|host| self.host_name(*host)).collect();
                let text = format!(
                    "what is free on {} is kept for a job that needs several slots",
                    hosts.iter().take(6).cloned().collect::<Vec<_>>().join(", ")
                );
                vec![Reason {
                    hosts,
                    ..reason("kept", text)
                }]
            }
            Waiting::Near(host) => {
                let name = self.host_name(*host);
                let text = format!("{name} holds what it needs, and is soon free");
                vec![Reason {
                    hosts: vec![name],
                    ..reason("near", text)
                }]
            }
            Waiting::Order => vec![reason(
                "order",
                "jobs that are more urgent come first, and wait as well".to_owned(),
            )],
        }
    }

    fn needs(&self, needs: &[JobId]) -> Reason {
        let mut jobs: Vec<Stated> = Vec::new();
        for need in needs.iter().take(NAMED) {
            jobs.push(Stated {
                job: self.cards[*need].name.clone(),
                state: state_word(self.engine.state(*need)).to_owned(),
            });
        }
        let named: Vec<String> = jobs
            .iter()
            .take(6)
            .map(|need| format!("{} ({})", need.job, need.state))
            .collect();
        let more = match needs.len().saturating_sub(named.len()) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let text = format!("it needs {}{more}", named.join(", "));
        Reason {
            jobs,
            ..reason("needs", text)
        }
    }

    /// Why nothing starts on each of these hosts.
    fn each_host(&self, hosts: &[HostId]) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for host in hosts.iter().take(NAMED) {
            let name = self.host_name(*host);
            let (kind, text) = match self.host_word(*host) {
                "drained" => (
                    "host-drained",
                    format!("{name} was told to start nothing more"),
                ),
                "coming" => ("host-coming", format!("{name} is not there yet")),
                "down" => {
                    let why = self.operator.down.get(host);
                    let why = why.map_or(String::new(), |why| format!(": {why}"));
                    ("host-down", format!("{name} is away{why}"))
                }
                _ => {
                    let there = self.running.values().filter(|run| run.host == *host);
                    let there: Vec<&str> =
                        there.map(|run| self.cards[run.job].name.as_str()).collect();
                    let slots = self.hosts.get(host).map_or(1, |host| host.slots.max(1));
                    let shown = there.iter().take(3).copied().collect::<Vec<_>>().join(", ");
                    let more = match there.len().saturating_sub(3) {
                        0 => String::new(),
                        n => format!(" and {n} more"),
                    };
                    (
                        "host-busy",
                        format!(
                            "{name} is busy: {} of {slots} slots, with {shown}{more}",
                            there.len()
                        ),
                    )
                }
            };
            reasons.push(Reason {
                hosts: vec![name],
                ..reason(kind, text)
            });
        }
        reasons
    }

    /// The host of that name.
    fn host_called(&self, name: &str) -> Result<HostId, Answer> {
        let mut hosts = self.hosts.iter();
        let found = hosts.find(|(_, host)| host.name == name);
        found.map(|(id, _)| *id).ok_or_else(|| {
            let names = self.hosts.values().take(20).map(|host| &*host.name);
            Answer::Refused(format!(
                "this run has no host {}; it has {}",
                cut(name),
                names.collect::<Vec<_>>().join(", ")
            ))
        })
    }

    fn drain(&mut self, name: &str) -> Answer {
        let host = match self.host_called(name) {
            Ok(host) => host,
            Err(refusal) => return refusal,
        };
        if self.host_word(host) == "drained" {
            return Answer::Refused(format!("{name} is drained already"));
        }
        self.operator.drained.insert(host);
        let news = HostNews::Stopped;
        self.observer.event(RunEvent::Host { name, news: &news });
        self.host(host, news);
        let left = self.running.values().filter(|run| run.host == host);
        Answer::Done(match left.count() {
            0 => format!("nothing more starts on {name}"),
            n => format!("nothing more starts on {name}; {n} running there may end"),
        })
    }

    fn resume(&mut self, name: &str) -> Answer {
        let host = match self.host_called(name) {
            Ok(host) => host,
            Err(refusal) => return refusal,
        };
        if !self.operator.drained.remove(&host) {
            return Answer::Refused(format!("{name} was not drained"));
        }
        match self.operator.there.get(&host).cloned() {
            Some(offer) => {
                let news = HostNews::Up(offer);
                self.observer.event(RunEvent::Host { name, news: &news });
                self.host(host, news);
                Answer::Done(format!("jobs start on {name} again"))
            }
            None => Answer::Done(format!("jobs start on {name} once it is back")),
        }
    }

    fn add(&mut self, line: &str) -> Answer {
        let desk: Arc<dyn Desk> = self.intake.office.clone();
        let added = match self.executor.add(line, HostDesk(desk)) {
            Ok(added) => added,
            Err(why) => return Answer::Refused(cut(&why)),
        };
        let mut names = BTreeSet::new();
        for (host, news) in added {
            if let HostNews::Named(offer) | HostNews::Up(offer) = &news {
                names.insert(offer.name.clone());
            }
            self.host(host, news);
        }
        let names: Vec<String> = names.into_iter().collect();
        Answer::Done(format!(
            "{} is added, and gets jobs once it is there",
            names.join(", ")
        ))
    }
}

/// Jobs that are stopped and let go on.
impl<P: Planner> Driver<'_, P> {
    /// The only job of that name.
    fn job_called(&self, name: &str) -> Result<JobId, Answer> {
        let refuse = |text: String| Err(Answer::Refused(text));
        match &*self.jobs_called(name) {
            [] => refuse(format!("nothing in this run is called {}", cut(name))),
            [job] => Ok(*job),
            [first, ..] => refuse(format!(
                "{} has several steps: name one, such as {}",
                cut(name),
                self.cards[*first].name
            )),
        }
    }

    fn stop_job(&mut self, name: &str) -> Answer {
        let job = match self.job_called(name) {
            Ok(job) => job,
            Err(refusal) => return refusal,
        };
        let name = self.cards[job].name.clone();
        let state = self.engine.state(job);
        if state.is_final() {
            return Answer::Refused(format!("{name} is {}, and does not run", state_word(state)));
        }
        if !self.operator.stops.insert(job) {
            return Answer::Refused(format!("{name} was told to stop already"));
        }
        if self.running.contains_key(&job) {
            self.executor.cancel(job);
            return Answer::Done(format!("{name} is being ended, and does not start again"));
        }
        Answer::Done(format!("{name} does not start"))
    }

    fn requeue_job(&mut self, name: &str) -> Answer {
        let job = match self.job_called(name) {
            Ok(job) => job,
            Err(refusal) => return refusal,
        };
        let name = self.cards[job].name.clone();
        let state = self.engine.state(job);
        let stopped = self.operator.stopped.contains(&job);
        match state {
            JobState::Failed if !self.engine.is_stopped() => {
                let node = &self.cards[job].node;
                self.outcome.failed.retain(|(failed, _)| failed != node);
                let failures = &mut self.operator.failures;
                failures.retain(|failure| failure.name != name);
            }
            JobState::Locked if stopped && !self.engine.is_stopped() => {}
            // It was told to stop, and has not come to it.
            _ if self.operator.stops(job)
                && !state.is_final()
                && !self.running.contains_key(&job)
                && !stopped =>
            {
                self.operator.stops.remove(&job);
                return Answer::Done(format!("{name} starts when it can"));
            }
            JobState::Failed | JobState::Locked => {
                let why = self
                    .ending()
                    .unwrap_or_else(|| "it is locked by another scheduler".to_owned());
                return Answer::Refused(format!("{name} does not start again: {why}"));
            }
            state => {
                return Answer::Refused(format!(
                    "{name} is {}: only what failed or was stopped starts again",
                    state_word(state)
                ));
            }
        }
        self.operator.stops.remove(&job);
        self.operator.stopped.remove(&job);
        self.events.push_back(EngineEvent::LockGone(vec![job]));
        Answer::Done(format!("{name} is queued again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        Host {
            name: name.to_owned(),
            slots: 1,
            speed: 1.0,
            platforms: None,
            here: true,
            about: String::new(),
        }
    }

    #[test]
    fn a_drained_host_that_comes_back_gets_nothing() {
        let mut operator = Operator::default();
        let id = HostId::nth(0);
        let up = || HostNews::Up(host("a"));
        assert_eq!(operator.news(id, up()), up());
        // Whoever else stops it lets it go on.
        assert_eq!(operator.news(id, HostNews::Stopped), HostNews::Stopped);
        assert_eq!(operator.news(id, up()), up());
        operator.drained.insert(id);
        operator.news(id, HostNews::Down("gone".to_owned()));
        assert_eq!(operator.down[&id], "gone");
        assert_eq!(operator.news(id, up()), HostNews::Named(host("a")));
        assert!(operator.down.is_empty() && operator.there.contains_key(&id));
    }

    #[test]
    fn no_more_failures_are_kept_than_can_be_shown() {
        let mut operator = Operator::default();
        for n in 0..FAILURES * 2 {
            operator.failed(&format!("j{n}"), "h", &"x".repeat(TEXT * 2), 1.0);
        }
        assert_eq!(operator.failures.len(), FAILURES);
        assert_eq!(operator.failures[0].name, format!("j{}", FAILURES * 2 - 1));
        assert_eq!(operator.failures[0].how.len(), TEXT);
    }
}
