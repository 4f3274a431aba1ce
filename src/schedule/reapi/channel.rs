//! The connection to an engine: TLS, token, calls with their deadlines, and what the engine can do.

use std::fs;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use bazel_remote_apis::build::bazel::semver::SemVer;
use prost::Message;
use re::capabilities_client::CapabilitiesClient;
use tokio::runtime::Handle;
use tonic::metadata::{Ascii, BinaryMetadataValue, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response};

use super::digest::Function;
use super::outcome::{First, Ruling, Seen, judge};
use super::settings::Settings;
use super::trouble::{Call, Status, Trouble, shown};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(20);
/// How long a call may take that carries little.
pub const SHORT: Duration = Duration::from_secs(60);
/// How long a call may take that carries blobs.
pub const LONG: Duration = Duration::from_secs(600);
/// Most bytes of one message, whatever an engine says that it sends and takes.
pub const MOST_MESSAGE: usize = 8 << 20;
/// Most bytes of blobs in a message where the engine sets no limit: that of gRPC itself, less what is around them.
const USUAL_BATCH: usize = (4 << 20) - (64 << 10);
/// Most bytes of a token, and of a certificate or key.
const MOST_TOKEN: u64 = 16 << 10;
const MOST_PEM: u64 = 4 << 20;
/// How long is paused after a failure, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(20));
/// The name under which the protocol wants to know who asks.
const METADATA: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";

/// What an engine can do, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Most bytes of blobs in one message.
    pub batch: usize,
    /// The function that its digests are made with.
    pub function: Function,
    /// The same, where requests are to name it.
    pub named: i32,
    /// The range of its priorities, if it has any.
    pub priorities: Option<(i32, i32)>,
}

/// A connection to an engine, made when it is first needed and again when it breaks.
pub struct Line {
    /// Where it leads, and how.
    pub settings: Settings,
    endpoint: Endpoint,
    /// What its channels belong to.
    runtime: Handle,
    channel: Mutex<Channel>,
    token: Mutex<Token>,
    caller: BinaryMetadataValue,
}

/// A bearer token, as its file had it last.
#[derive(Default)]
struct Token {
    value: Option<MetadataValue<Ascii>>,
    stamp: Option<(u64, u64, i64, i64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Whole values are put in.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn setup(why: impl Into<String>, remedy: &str) -> Trouble {
    Trouble::Setup {
        why: why.into(),
        remedy: remedy.to_owned(),
    }
}

/// Reads a file of a setting.
fn read(setting: &str, path: &Path, most: u64) -> Result<Vec<u8>, Trouble> {
    let failed = |detail: String| {
        setup(
            format!("cannot read {}: {detail}", path.display()),
            &format!("{setting} in the configuration file names it"),
        )
    };
    let length = fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if length > most {
        return Err(failed(format!("it has more than {most} bytes")));
    }
    fs::read(path).map_err(|e| failed(e.to_string()))
}

impl Token {
    /// Reads the file if it is another than before; tells whether it was.
    fn renew(&mut self, path: &Path) -> Result<bool, Trouble> {
        let failed = |detail: String| {
            setup(
                format!("cannot use the token in {}: {detail}", path.display()),
                "reapi/token in the configuration file names a file that holds nothing but the token",
            )
        };
        let found = fs::metadata(path).map_err(|e| failed(e.to_string()))?;
        let stamp = Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()));
        if self.stamp == stamp {
            return Ok(false);
        }
        if found.len() > MOST_TOKEN {
            return Err(failed("it is too long".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        let value = MetadataValue::try_from(format!("Bearer {}", text.trim()));
        // The error would show it.
        let mut value = value.map_err(|_| failed("it has letters that no token has".to_owned()))?;
        value.set_sensitive(true);
        self.value = Some(value);
        self.stamp = stamp;
        Ok(true)
    }
}

impl Line {
    /// A line to an engine. To be called within the runtime. `program` is the version of this program.
    pub fn new(settings: Settings, program: &str) -> Result<Line, Trouble> {
        let address = &settings.address;
        if !address.is_secure() && !address.is_loopback() && !settings.insecure {
            return Err(setup(
                format!(
                    "{address} is another machine, and nothing that travels there is encrypted"
                ),
                "give an address that begins with reapis://, or allow it with reapi/insecure: yes",
            ));
        }
        let bad = |e: tonic::transport::Error| {
            setup(shown(&e.to_string()), "look at the address of the engine")
        };
        let mut endpoint = Endpoint::from_shared(address.uri())
            .map_err(bad)?
            .connect_timeout(CONNECT)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .tcp_keepalive_interval(Some(Duration::from_secs(10)))
            .tcp_keepalive_retries(Some(3))
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .http2_max_header_list_size(64 << 10);
        if address.is_secure() {
            endpoint = endpoint.tls_config(tls(&settings)?).map_err(|_| {
                setup(
                    "the certificates of the settings cannot be used",
                    "look at reapi/ca, reapi/cert and reapi/key: all are in PEM form",
                )
            })?;
        }
        let caller = re::RequestMetadata {
            tool_details: Some(re::ToolDetails {
                tool_name: "mstore".to_owned(),
                tool_version: program.to_owned(),
            }),
            ..re::RequestMetadata::default()
        };
        let line = Line {
            channel: Mutex::new(endpoint.connect_lazy()),
            endpoint,
            runtime: Handle::current(),
            token: Mutex::default(),
            caller: BinaryMetadataValue::from_bytes(&caller.encode_to_vec()),
            settings,
        };
        line.renew_token()?;
        Ok(line)
    }

    /// The name of the instance, as requests give it.
    pub fn instance(&self) -> String {
        self.settings.address.instance().to_owned()
    }

    /// The channel as it is now.
    pub fn channel(&self) -> Channel {
        lock(&self.channel).clone()
    }

    /// Leaves the connection to itself and takes another from now on.
    pub fn reconnect(&self) {
        // May be asked for from any thread, and a channel belongs to the runtime.
        let _guard = self.runtime.enter();
        *lock(&self.channel) = self.endpoint.connect_lazy();
    }

    /// Reads the file of the token again if it has changed; tells whether it had.
    pub fn renew_token(&self) -> Result<bool, Trouble> {
        match &self.settings.token {
            Some(path) => lock(&self.token).renew(path),
            None => Ok(false),
        }
    }

    /// A request with all that an engine wants to know, which is to be answered within `deadline`.
    pub fn request<T>(
        &self,
        message: T,
        deadline: Option<Duration>,
    ) -> Result<Request<T>, Trouble> {
        self.renew_token()?;
        let mut request = Request::new(message);
        if let Some(token) = &lock(&self.token).value {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        request
            .metadata_mut()
            .insert_bin(METADATA, self.caller.clone());
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        Ok(request)
    }

    /// Asks once, and once more where the token was refused and its file has another by now.
    pub async fn once<M, R, F, A>(
        &self,
        call: Call,
        message: M,
        deadline: Duration,
        ask: F,
    ) -> Result<R, Trouble>
    where
        M: Clone,
        F: Fn(Channel, Request<M>) -> A,
        A: Future<Output = Result<Response<R>, tonic::Status>>,
    {
        let mut again = true;
        loop {
            let request = self.request(message.clone(), Some(deadline))?;
            // An engine that does not keep to the deadline is not waited for.
            let answer = tokio::time::timeout(deadline, ask(self.channel(), request)).await;
            let status = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => Status::of_call(&status),
                Err(_) => {
                    self.reconnect();
                    Status {
                        code: Code::DeadlineExceeded,
                        message: format!("not an answer within {} s", deadline.as_secs()),
                        ..Status::ok()
                    }
                }
            };
            let refused = matches!(status.code, Code::Unauthenticated | Code::PermissionDenied);
            if refused && std::mem::take(&mut again) && self.renew_token()? {
                continue;
            }
            return Err(Trouble::Call(call, status));
        }
    }

    /// Asks until there is an answer, or one that more asking does not change.
    pub async fn ask<M, R, F, A>(
        &self,
        call: Call,
        message: M,
        deadline: Duration,
        ask: F,
    ) -> Result<R, Trouble>
    where
        M: Clone,
        F: Fn(Channel, Request<M>) -> A,
        A: Future<Output = Result<Response<R>, tonic::Status>>,
    {
        let mut pauses = Pauses::new(self.settings.patience);
        loop {
            match self.once(call, message.clone(), deadline, &ask).await {
                Err(trouble) => pauses.after(trouble).await?,
                done => return done,
            }
        }
    }

    /// Asks what the engine can do, and whether that is enough.
    pub async fn abilities(&self) -> Result<Abilities, Trouble> {
        let message = re::GetCapabilitiesRequest {
            instance_name: self.instance(),
        };
        let ask = |channel, request| async move {
            let mut client =
                CapabilitiesClient::new(channel).max_decoding_message_size(MOST_MESSAGE);
            client.get_capabilities(request).await
        };
        let told = self.once(Call::Capabilities, message, SHORT, ask).await?;
        abilities(&told, self.settings.digest)
    }
}

fn tls(settings: &Settings) -> Result<ClientTlsConfig, Trouble> {
    let mut tls = ClientTlsConfig::new()
        .domain_name(settings.address.host())
        .timeout(CONNECT);
    tls = match &settings.ca {
        Some(path) => tls.ca_certificate(Certificate::from_pem(read("reapi/ca", path, MOST_PEM)?)),
        None => tls.with_native_roots(),
    };
    match (&settings.cert, &settings.key) {
        (Some(cert), Some(key)) => {
            let cert = read("reapi/cert", cert, MOST_PEM)?;
            let key = read("reapi/key", key, MOST_PEM)?;
            Ok(tls.identity(Identity::from_pem(cert, key)))
        }
        (None, None) => Ok(tls),
        _ => Err(setup(
            "a certificate of this client needs its key, and a key its certificate",
            "give both reapi/cert and reapi/key, or neither",
        )),
    }
}

/// Whether what an engine says that it can do is enough.
fn abilities(told: &re::ServerCapabilities, wanted: Function) -> Result<Abilities, Trouble> {
    let lacks = |what: String| {
        setup(
            what,
            "mstore needs an engine of the Remote Execution API 2.1 or later that executes",
        )
    };
    let version = |v: &Option<SemVer>| v.as_ref().map(|v| (v.major, v.minor));
    let (low, high) = (
        version(&told.low_api_version),
        version(&told.high_api_version),
    );
    if low.is_some_and(|low| low > (2, i32::MAX)) || high.is_none_or(|high| high < (2, 1)) {
        let shown =
            |v: Option<(i32, i32)>| v.map_or("nothing".to_owned(), |(a, b)| format!("{a}.{b}"));
        return Err(lacks(format!(
            "it speaks versions from {} to {} of the protocol",
            shown(low),
            shown(high)
        )));
    }
    let execution = told.execution_capabilities.as_ref();
    let Some(execution) = execution.filter(|execution| execution.exec_enabled) else {
        return Err(lacks("it does not execute: it only keeps blobs".to_owned()));
    };
    let number = wanted.number();
    let cache = told.cache_capabilities.as_ref();
    let keeps = cache.is_none_or(|cache| {
        cache.digest_functions.is_empty() || cache.digest_functions.contains(&number)
    });
    let executes = execution.digest_function == number
        || execution.digest_functions.contains(&number)
        || (wanted == Function::Sha256
            && execution.digest_function == 0
            && execution.digest_functions.is_empty());
    if !keeps || !executes {
        return Err(setup(
            format!("it does not take digests of {}", wanted.name()),
            "reapi/digest is sha256 where nothing else is said, which nearly all engines take",
        ));
    }
    let batch = cache.map_or(0, |cache| cache.max_batch_total_size_bytes);
    let batch = match usize::try_from(batch) {
        Ok(0) | Err(_) => USUAL_BATCH,
        Ok(most) => most.min(USUAL_BATCH),
    };
    let ranges = execution.execution_priority_capabilities.as_ref();
    let range = ranges.and_then(|ranges| ranges.priorities.first());
    Ok(Abilities {
        batch,
        function: wanted,
        // Older ones do not know the field.
        named: if high >= Some((2, 3)) { number } else { 0 },
        priorities: range.map(|range| (range.min_priority, range.max_priority)),
    })
}

/// The pauses between attempts, and how long they go on.
pub struct Pauses {
    next: Duration,
    since: Option<Instant>,
    patience: Duration,
}

impl Pauses {
    /// Pauses for as long as that, counted from the first failure of a row.
    pub fn new(patience: Duration) -> Pauses {
        Pauses {
            next: PAUSE.0,
            since: None,
            patience,
        }
    }

    /// Says that something went well.
    pub fn forget(&mut self) {
        self.next = PAUSE.0;
        self.since = None;
    }

    /// Pauses after a failure of a call that may go away by itself; gives any other back, and one that lasts too long.
    pub async fn after(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let Trouble::Call(call, status) = &trouble else {
            return Err(trouble);
        };
        let seen = Seen::Call {
            call: *call,
            status: status.clone(),
            looked: false,
        };
        let Ruling::Again {
            first: First::Pause,
            ..
        } = judge(&seen)
        else {
            return Err(trouble);
        };
        if self.since.get_or_insert_with(Instant::now).elapsed() >= self.patience {
            return Err(trouble);
        }
        tokio::time::sleep(jittered(self.next)).await;
        self.next = PAUSE.1.min(self.next * 2);
        Ok(())
    }
}

/// Between half and all of a time: many that wait do not come back in one moment.
pub fn jittered(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    time.mul_f64(0.5 + (random % 1024) as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_connection_is_taken_from_any_thread() {
        let reactor = super::super::reactor::Reactor::start().unwrap();
        let settings = Settings::new("reapi://127.0.0.1:1/main".parse().unwrap());
        let line = reactor.within(|| Line::new(settings, "0")).unwrap();
        line.reconnect();
    }

    fn told() -> re::ServerCapabilities {
        let version = |minor| {
            Some(SemVer {
                major: 2,
                minor,
                ..SemVer::default()
            })
        };
        re::ServerCapabilities {
            cache_capabilities: Some(re::CacheCapabilities {
                digest_functions: vec![1],
                max_batch_total_size_bytes: 65_536,
                ..re::CacheCapabilities::default()
            }),
            execution_capabilities: Some(re::ExecutionCapabilities {
                digest_function: 1,
                exec_enabled: true,
                ..re::ExecutionCapabilities::default()
            }),
            low_api_version: version(0),
            high_api_version: version(2),
            ..re::ServerCapabilities::default()
        }
    }

    #[test]
    fn limits_of_an_engine_are_kept_and_its_age_is_minded() {
        let found = abilities(&told(), Function::Sha256).unwrap();
        assert_eq!((found.batch, found.named), (65_536, 0));
        let mut newer = told();
        newer.high_api_version.as_mut().unwrap().minor = 3;
        newer
            .cache_capabilities
            .as_mut()
            .unwrap()
            .max_batch_total_size_bytes = 0;
        let found = abilities(&newer, Function::Sha256).unwrap();
        assert_eq!((found.batch, found.named), (USUAL_BATCH, 1));
        for hostile in [-1, i64::MAX] {
            let mut other = told();
            other
                .cache_capabilities
                .as_mut()
                .unwrap()
                .max_batch_total_size_bytes = hostile;
            assert_eq!(
                abilities(&other, Function::Sha256).unwrap().batch,
                USUAL_BATCH
            );
        }
    }

    #[test]
    fn engines_that_cannot_do_it_are_refused() {
        let refused = |told: &re::ServerCapabilities, function| {
            matches!(abilities(told, function), Err(Trouble::Setup { .. }))
        };
        assert!(refused(
            &re::ServerCapabilities::default(),
            Function::Sha256
        ));
        assert!(refused(&told(), Function::Blake3));
        let mut old = told();
        old.high_api_version.as_mut().unwrap().minor = 0;
        assert!(refused(&old, Function::Sha256));
        let mut keeps = told();
        keeps.execution_capabilities.as_mut().unwrap().exec_enabled = false;
        assert!(refused(&keeps, Function::Sha256));
        let mut next = told();
        next.low_api_version.as_mut().unwrap().major = 3;
        next.high_api_version.as_mut().unwrap().major = 3;
        assert!(refused(&next, Function::Sha256));
    }

    #[test]
    fn a_token_is_read_again_when_it_changes_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "first\n").unwrap();
        let mut token = Token::default();
        assert!(token.renew(&path).unwrap());
        assert!(!token.renew(&path).unwrap());
        fs::write(&path, "another").unwrap();
        assert!(token.renew(&path).unwrap());
        assert_eq!(
            token.value.as_ref().unwrap().to_str().unwrap(),
            "Bearer another"
        );
        assert!(!format!("{:?}", token.value).contains("another"));
        fs::write(&path, "sec\u{1}ret").unwrap();
        let Err(Trouble::Setup { why, .. }) = token.renew(&path) else {
            panic!("it is taken");
        };
        assert!(!why.contains("ret\u{1}") && !why.contains("sec"), "{why}");
    }

    #[test]
    fn nothing_travels_plain_without_being_asked_for() {
        let settings = Settings::new("reapi://farm.example:1/x".parse().unwrap());
        assert!(matches!(
            Line::new(settings, "1"),
            Err(Trouble::Setup { .. })
        ));
    }
}
