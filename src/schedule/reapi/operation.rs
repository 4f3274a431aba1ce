//! Operations of an engine: begun, waited for, taken up again, and cancelled when nobody wants them any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use bazel_remote_apis::google::longrunning::operations_client::OperationsClient;
use bazel_remote_apis::google::longrunning::{CancelOperationRequest, Operation, operation};
use prost::Message;
use re::action_cache_client::ActionCacheClient;
use re::execution_client::ExecutionClient;
use tonic::{Code, Streaming};

use super::channel::{Abilities, Line, MOST_MESSAGE, Pauses, SHORT};
use super::digest::Digest;
use super::reactor::{Stop, Teller};
use super::trouble::{Call, Status, Trouble};

/// How long a stream may be silent before it is opened anew.
const SILENCE: Duration = Duration::from_secs(300);
/// How long a cancelled operation is waited for: until its name is known, and until the engine has taken it in.
const GOODBYE: Duration = Duration::from_secs(5);
/// How often an engine may forget an operation.
const MOST_FORGOTTEN: u32 = 5;
/// Most letters of the name of an operation.
const MOST_NAME: usize = 4096;
/// The file of the record, which is asked for together with the result where that is possible.
pub const RESULT: &str = "result";

/// What is to be executed.
#[derive(Clone)]
pub struct Execution {
    /// The line to the engine.
    pub line: Arc<Line>,
    /// What the engine can do.
    pub abilities: Abilities,
    /// The digest of the action.
    pub action: Digest,
    /// The name of an operation of it that is known.
    pub known: Option<String>,
    /// Its priority among those of the engine, where that has any: the least number comes first.
    pub priority: Option<i32>,
    /// How long it may be queued before that is told.
    pub queue_timeout: Duration,
    /// How long it may be executed.
    pub limit: Option<Duration>,
}

/// The priority of something this urgent, in the range that an engine announced. The most urgent gets the lower end,
/// which comes first.
pub fn priority(range: Option<(i32, i32)>, urgency: f64) -> Option<i32> {
    let (least, most) = range.filter(|(least, most)| least <= most)?;
    let span = f64::from(most) - f64::from(least);
    let above = (span * (1.0 - urgency.clamp(0.0, 1.0))).round();
    // Within the range, and nothing where it is no number.
    Some((f64::from(least) + above) as i32)
}

/// What happens to an operation.
#[derive(Debug)]
pub enum News {
    /// It has this name.
    Named(String),
    /// The engine has forgotten the operation that it had.
    Forgotten,
    /// It is queued for so long.
    Queued(Duration),
}

/// How an operation ended.
#[derive(Debug)]
pub struct Ended {
    /// The status that the response has.
    pub status: Status,
    /// What the engine says came out.
    pub result: Option<re::ActionResult>,
    /// Whether it says that it comes from a cache.
    pub cached: bool,
}

impl Execution {
    fn client(&self) -> ExecutionClient<tonic::transport::Channel> {
        ExecutionClient::new(self.line.channel()).max_decoding_message_size(MOST_MESSAGE)
    }

    /// What the cache of the engine has for the action.
    pub async fn cached(&self) -> Result<Option<re::ActionResult>, Trouble> {
        let message = re::GetActionResultRequest {
            instance_name: self.line.instance(),
            action_digest: Some(self.action.wire()),
            inline_stdout: false,
            inline_stderr: false,
            inline_output_files: vec![RESULT.to_owned()],
            digest_function: self.abilities.named,
        };
        let ask = |channel, request| async move {
            let mut client =
                ActionCacheClient::new(channel).max_decoding_message_size(MOST_MESSAGE);
            client.get_action_result(request).await
        };
        match self.line.ask(Call::Blobs, message, SHORT, ask).await {
            Ok(result) => Ok(Some(result)),
            Err(Trouble::Call(_, status)) if status.code == Code::NotFound => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    async fn begin(&self, known: Option<&str>) -> Result<Streaming<Operation>, Trouble> {
        match known {
            Some(name) => {
                let message = re::WaitExecutionRequest {
                    name: name.to_owned(),
                };
                let ask = |_, request| async { self.client().wait_execution(request).await };
                self.open(Call::Wait, message, ask).await
            }
            None => {
                let message = re::ExecuteRequest {
                    instance_name: self.line.instance(),
                    // What its cache has was looked at, and is not believed.
                    skip_cache_lookup: true,
                    action_digest: Some(self.action.wire()),
                    execution_policy: self
                        .priority
                        .map(|priority| re::ExecutionPolicy { priority }),
                    results_cache_policy: None,
                    digest_function: self.abilities.named,
                    inline_stdout: false,
                    inline_stderr: true,
                    inline_output_files: vec![RESULT.to_owned()],
                };
                let ask = |_, request| async { self.client().execute(request).await };
                self.open(Call::Execute, message, ask).await
            }
        }
    }

    /// Opens a stream. What it begins with may take as long as engines queue; only the deadline of the call is left out.
    async fn open<M, F, A>(
        &self,
        call: Call,
        message: M,
        ask: F,
    ) -> Result<Streaming<Operation>, Trouble>
    where
        M: Clone,
        F: Fn((), tonic::Request<M>) -> A,
        A: Future<Output = Result<tonic::Response<Streaming<Operation>>, tonic::Status>>,
    {
        let mut again = true;
        loop {
            let request = self.line.request(message.clone(), None)?;
            let answer = tokio::time::timeout(SILENCE, ask((), request)).await;
            let status = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => Status::of_call(&status),
                Err(_) => {
                    self.line.reconnect();
                    Status {
                        code: Code::DeadlineExceeded,
                        message: "not an answer".to_owned(),
                        ..Status::ok()
                    }
                }
            };
            let refused = matches!(status.code, Code::Unauthenticated | Code::PermissionDenied);
            if refused && std::mem::take(&mut again) && self.line.renew_token()? {
                continue;
            }
            return Err(Trouble::Call(call, status));
        }
    }

    /// Has the action executed, or waits for the operation that is known, until it has ended. When it is stopped, so
    /// is the operation.
    pub async fn run(self, stop: Stop, teller: Teller<News>) -> Result<Ended, Trouble> {
        let known = Known {
            name: Mutex::new(self.known.clone()),
            asked: AtomicBool::new(false),
        };
        let mut over = false;
        {
            let mut follow = std::pin::pin!(self.follow(&known, &teller));
            tokio::select! {
                biased;
                () = stop.stopped() => {}
                ended = &mut follow => match ended {
                    Err(Trouble::Over) => over = true,
                    ended => return ended,
                },
            }
            // One that was asked for has a name in a moment, by which it can be cancelled.
            let named = async {
                while known.asked.load(Ordering::Relaxed) && known.name().is_none() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            if !over {
                tokio::select! {
                    _ = tokio::time::timeout(GOODBYE, named) => {}
                    _ = &mut follow => {}
                }
            }
        }
        let name = known.name().clone();
        if let Some(name) = name {
            self.cancel(name).await;
        }
        Err(match over {
            true => Trouble::Over,
            false => Trouble::Cancelled,
        })
    }

    /// Cancels an operation. An engine that does not take it in is left to itself.
    async fn cancel(&self, name: String) {
        let message = CancelOperationRequest { name };
        let ask = |channel, request| async move {
            OperationsClient::new(channel)
                .cancel_operation(request)
                .await
        };
        let _ = self.line.once(Call::Wait, message, GOODBYE, ask).await;
    }

    async fn follow(&self, known: &Known, teller: &Teller<News>) -> Result<Ended, Trouble> {
        let mut pauses = Pauses::new(self.line.settings.patience);
        let mut forgotten = 0;
        let mut queue = Queue {
            since: Instant::now(),
            timeout: self.queue_timeout,
            told: false,
            limit: self.limit,
            executed: None,
        };
        loop {
            let name = known.name().clone();
            let call = if name.is_some() {
                Call::Wait
            } else {
                Call::Execute
            };
            known.asked.store(true, Ordering::Relaxed);
            let trouble = match self.begin(name.as_deref()).await {
                Ok(stream) => match self
                    .listen(stream, call, known, &mut pauses, &mut queue, teller)
                    .await
                {
                    Ok(Some(ended)) => return Ok(ended),
                    Ok(None) => continue,
                    Err(trouble) => trouble,
                },
                Err(trouble) => trouble,
            };
            match &trouble {
                Trouble::Call(Call::Wait, status)
                    if status.code == Code::NotFound && forgotten < MOST_FORGOTTEN =>
                {
                    forgotten += 1;
                    *known.name() = None;
                    teller.tell(News::Forgotten);
                }
                _ => {
                    known.asked.store(false, Ordering::Relaxed);
                    pauses.after(trouble).await?;
                }
            }
        }
    }

    /// Listens to a stream until the operation has ended, or the stream was silent for long.
    async fn listen(
        &self,
        mut stream: Streaming<Operation>,
        call: Call,
        known: &Known,
        pauses: &mut Pauses,
        queue: &mut Queue,
        teller: &Teller<News>,
    ) -> Result<Option<Ended>, Trouble> {
        let mut heard = Instant::now();
        loop {
            let left = SILENCE.saturating_sub(heard.elapsed());
            let wait = queue.left().map_or(left, |queued| left.min(queued));
            let wait = queue.time_left().map_or(wait, |rest| wait.min(rest));
            let next = match tokio::time::timeout(wait, stream.message()).await {
                Ok(Ok(next)) => next,
                Ok(Err(status)) => return Err(Trouble::Call(call, Status::of_call(&status))),
                Err(_) => {
                    if queue.time_left() == Some(Duration::ZERO) {
                        return Err(Trouble::Over);
                    }
                    if let Some(queued) = queue.is_long() {
                        teller.tell(News::Queued(queued));
                    }
                    if heard.elapsed() < SILENCE {
                        continue;
                    }
                    // Either the link is dead, or there is nothing to say: a new stream tells.
                    self.line.reconnect();
                    return Ok(None);
                }
            };
            let Some(operation) = next else {
                let status =
                    tonic::Status::unavailable("the stream ended before the operation did");
                return Err(Trouble::Call(call, Status::of_call(&status)));
            };
            heard = Instant::now();
            pauses.forget();
            if operation.name.len() > MOST_NAME {
                return Err(Trouble::Disagrees(
                    "the name of an operation is too long".to_owned(),
                ));
            }
            if known.name().as_deref() != Some(&operation.name) && !operation.name.is_empty() {
                *known.name() = Some(operation.name.clone());
                teller.tell(News::Named(operation.name.clone()));
            }
            if operation.done {
                return ended(operation).map(Some);
            }
            queue.heed(&operation);
        }
    }
}

/// What is known of an operation while it is followed.
struct Known {
    name: Mutex<Option<String>>,
    /// Whether the engine may be about to name it.
    asked: AtomicBool,
}

impl Known {
    fn name(&self) -> MutexGuard<'_, Option<String>> {
        // Whole names are put in.
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long an operation has been queued.
struct Queue {
    since: Instant,
    timeout: Duration,
    told: bool,
    /// How long it may be executed, and since when it is.
    limit: Option<Duration>,
    executed: Option<Instant>,
}

impl Queue {
    /// How long until it is told that it is queued.
    fn left(&self) -> Option<Duration> {
        (!self.told).then(|| self.timeout.saturating_sub(self.since.elapsed()))
    }

    /// For how long it has been queued, if that is to be told now.
    fn is_long(&mut self) -> Option<Duration> {
        let queued = self.since.elapsed();
        (queued >= self.timeout && !std::mem::replace(&mut self.told, true)).then_some(queued)
    }

    /// Takes in what is said of it.
    fn heed(&mut self, operation: &Operation) {
        let metadata = operation.metadata.as_ref();
        let metadata = metadata
            .filter(|any| any.type_url.ends_with("ExecuteOperationMetadata"))
            .and_then(|any| re::ExecuteOperationMetadata::decode(&*any.value).ok());
        if let Some(metadata) = metadata
            && metadata.stage == re::execution_stage::Value::Executing as i32
        {
            // Nothing more to tell; a worker that is lost leads back into the queue and is told of by the engine.
            self.told = true;
            self.executed.get_or_insert_with(Instant::now);
        }
    }

    /// How long it may still be executed.
    fn time_left(&self) -> Option<Duration> {
        let executed = self.executed?.elapsed();
        self.limit.map(|limit| limit.saturating_sub(executed))
    }
}

/// What an operation that has ended says.
fn ended(operation: Operation) -> Result<Ended, Trouble> {
    match operation.result {
        Some(operation::Result::Error(status)) => Ok(Ended {
            status: Status::of_operation(&status),
            result: None,
            cached: false,
        }),
        Some(operation::Result::Response(any)) => {
            let response = re::ExecuteResponse::decode(&*any.value);
            let response = response.map_err(|_| {
                Trouble::Disagrees("an operation ended with what is no response".to_owned())
            })?;
            Ok(Ended {
                status: response
                    .status
                    .as_ref()
                    .map_or_else(Status::ok, Status::of_operation),
                result: response.result,
                cached: response.cached_result,
            })
        }
        None => Err(Trouble::Disagrees(
            "an operation ended with neither a response nor an error".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_comes_first_within_the_range() {
        let of = |range, urgency| priority(Some(range), urgency);
        assert_eq!(priority(None, 1.0), None);
        assert_eq!(of((0, 0), 0.3), Some(0));
        assert_eq!(of((-100, 100), 1.0), Some(-100));
        assert_eq!(of((-100, 100), 0.0), Some(100));
        assert_eq!(of((-100, 100), 0.5), Some(0));
        assert_eq!(of((1, 9), 2.0), Some(1));
        // What an engine may say all the same.
        assert_eq!(of((i32::MIN, i32::MAX), 0.0), Some(i32::MAX));
        assert_eq!(of((i32::MIN, i32::MAX), 1.0), Some(i32::MIN));
        assert_eq!(of((9, 1), 0.5), None);
    }
}
