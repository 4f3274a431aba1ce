//! Files over http and https: redirects within bounds, resumed where they broke off, never slower than is of use.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mstore_store::Cancel;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::partial::{Note, Partial};
use super::{CHUNK, FetchOptions, MOST, Say, Trouble, Wanted, failed_to, wrong_size};
use crate::drv::fetch::{FetchError, HttpAddress};
use crate::share::http_client::{HttpOptions, SLOWEST, Steady, e_text, reason, tls};

/// Servers that send on to one another, at most.
const MOST_REDIRECTS: usize = 8;
/// Times that a file is gone on with, as long as each brings something.
const MOST_RESUMES: usize = 50;
/// Times in a row that may bring nothing.
const IDLE: usize = 2;
/// Times that a server may be too slow.
const MOST_STALLS: usize = 2;
/// Time between two reports.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Web servers.
pub(super) struct Web {
    options: HttpOptions,
    plain: OnceLock<Agent>,
    secure: OnceLock<Result<Agent, String>>,
}

/// How one request ended that did not bring the rest of the file.
enum End {
    /// The connection broke off: it can be gone on.
    Broken(String),
    /// It did not go on in time. A server that is slow once may be slow for ever.
    Slow(String),
    /// What has come cannot be gone on with.
    Restart,
    Trouble(Trouble),
}

impl From<FetchError> for End {
    fn from(error: FetchError) -> Self {
        End::Trouble(error.into())
    }
}

fn there(why: impl Into<String>) -> End {
    End::Trouble(Trouble::There(why.into()))
}

impl Web {
    pub fn new(options: &FetchOptions) -> Web {
        Web {
            options: HttpOptions {
                timeout: options.timeout,
                ca_file: options.ca_file.clone(),
            },
            plain: OnceLock::new(),
            secure: OnceLock::new(),
        }
    }

    /// Brings a file into `partial`. Tells whether something of it was there before.
    pub fn get(
        &self,
        address: &HttpAddress,
        wanted: &Wanted<'_>,
        partial: &Partial,
        say: &mut Say<'_>,
        cancel: &Cancel,
    ) -> Result<bool, Trouble> {
        let url = address.to_string();
        let (mut resumed, mut idle, mut stalls, mut restarted) = (false, 0, 0, false);
        for _ in 0..MOST_RESUMES {
            let validator = partial
                .note()
                .filter(|note| note.url == url)
                .and_then(|note| note.validator);
            let before = match &validator {
                Some(_) => partial.length()?,
                None => 0,
            };
            if before > 0 {
                resumed = true;
                if wanted.size == Some(before) {
                    return Ok(resumed);
                }
                say(&format!("going on with {url} at byte {before}"), false);
            } else {
                say(&format!("fetching {url}"), false);
            }
            let from = validator.filter(|_| before > 0).map(|v| (before, v));
            let why = match self.once(address, from, wanted, partial, say, cancel) {
                Ok(()) => return Ok(resumed),
                Err(End::Trouble(trouble)) => return Err(trouble),
                Err(End::Restart) if restarted => "it sends another part than asked for".to_owned(),
                Err(End::Restart) => {
                    partial.clear()?;
                    (restarted, resumed) = (true, false);
                    continue;
                }
                Err(End::Broken(why)) => why,
                Err(End::Slow(why)) => {
                    stalls += 1;
                    why
                }
            };
            idle = match partial.length()? > before {
                true => 0,
                false => idle + 1,
            };
            if idle >= IDLE || stalls >= MOST_STALLS {
                return Err(Trouble::There(why));
            }
            say(&format!("{url}: {why}"), false);
        }
        Err(Trouble::There("it breaks off again and again".to_owned()))
    }

    /// Sends one request and takes what comes; from a byte on if that is as far as it had come.
    fn once(
        &self,
        address: &HttpAddress,
        from: Option<(u64, String)>,
        wanted: &Wanted<'_>,
        partial: &Partial,
        say: &mut Say<'_>,
        cancel: &Cancel,
    ) -> Result<(), End> {
        let limit = wanted.size.unwrap_or(MOST);
        let response = self.open(address, from.as_ref(), limit, cancel)?;
        let (offset, mut file) = match (response.status(), from) {
            (StatusCode::OK, _) => {
                let mut note = Note {
                    url: address.to_string(),
                    validator: None,
                };
                // In this order: a note never speaks of bytes that are of another file.
                let file = partial.restart(&note.url)?;
                note.validator = validator(&response);
                partial.write_note(&note)?;
                (0, file)
            }
            (StatusCode::PARTIAL_CONTENT, Some((offset, _))) => {
                let range = header(&response, "content-range").unwrap_or_default();
                if !range.starts_with(&format!("bytes {offset}-")) {
                    return Err(End::Restart);
                }
                let mut file = partial.append()?;
                file.seek(SeekFrom::Start(offset))
                    .map_err(failed_to("write to", partial.path()))?;
                (offset, file)
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => return Err(End::Restart),
            (other, _) => return Err(there(format!("it answers {other}"))),
        };
        let length = header(&response, "content-length").and_then(|l| l.parse::<u64>().ok());
        let total = length.map(|length| offset.saturating_add(length));
        match (total, wanted.size) {
            (Some(total), Some(size)) if total != size => {
                return Err(there(wrong_size(total, size)));
            }
            (Some(total), None) if total > MOST => {
                return Err(there(format!("it has {total} bytes, more than are taken")));
            }
            _ => {}
        }
        let body = Steady::new(response.into_body().into_reader(), self.options.timeout);
        let came = take(
            body,
            &mut file,
            partial,
            (offset, limit),
            total,
            say,
            cancel,
        )?;
        match total.or(wanted.size) {
            Some(total) if came < total => Err(End::Broken(format!(
                "it broke off after {came} of {total} bytes"
            ))),
            _ => Ok(()),
        }
    }

    /// Sends a request, and follows where servers send on to.
    fn open(
        &self,
        address: &HttpAddress,
        from: Option<&(u64, String)>,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<Response<Body>, End> {
        let mut at = address.clone();
        for _ in 0..=MOST_REDIRECTS {
            if cancel.is_cancelled() {
                return Err(FetchError::Cancelled.into());
            }
            let mut request = self
                .agent(&at)
                .map_err(there)?
                .get(at.to_string())
                .header("Accept-Encoding", "identity");
            if let Some((offset, validator)) = from {
                request = request
                    .header("Range", format!("bytes={offset}-"))
                    .header("If-Range", validator);
            }
            // The size may be unknown; the least rate holds all the same.
            let patience = self.options.timeout + Duration::from_secs(limit / SLOWEST);
            let sent = request
                .config()
                .timeout_recv_body(Some(patience))
                .build()
                .call();
            let response = match sent {
                Ok(response) => response,
                Err(error) => {
                    let via = match at == *address {
                        true => String::new(),
                        false => format!("{at}: "),
                    };
                    return Err(End::Broken(format!("{via}{}", reason(&error))));
                }
            };
            let code = response.status().as_u16();
            if !matches!(code, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let Some(location) = header(&response, "location") else {
                return Err(there(format!("it answers {code} and does not say where")));
            };
            at = at
                .redirect(location)
                .map_err(|e| there(format!("it sends on to {e}")))?;
        }
        Err(there(format!(
            "it sends on more than {MOST_REDIRECTS} times"
        )))
    }

    fn agent(&self, address: &HttpAddress) -> Result<&Agent, String> {
        let agent = |config: ureq::config::ConfigBuilder<ureq::typestate::AgentScope>| {
            Agent::from(
                config
                    .http_status_as_error(false)
                    .max_redirects(0)
                    .timeout_resolve(Some(self.options.timeout))
                    .timeout_connect(Some(self.options.timeout))
                    .timeout_send_request(Some(self.options.timeout))
                    .timeout_recv_response(Some(self.options.timeout))
                    .timeout_per_read(Some(self.options.timeout))
                    .user_agent(concat!("mstore/", env!("CARGO_PKG_VERSION")))
                    .build(),
            )
        };
        if !address.secure {
            return Ok(self.plain.get_or_init(|| agent(Agent::config_builder())));
        }
        let made = self.secure.get_or_init(|| {
            let tls = tls("https", &self.options).map_err(|e| e.to_string())?;
            Ok(agent(Agent::config_builder().tls_config(tls)))
        });
        made.as_ref().map_err(Clone::clone)
    }
}

/// Writes a body down. Gives where it ended.
fn take(
    mut body: impl Read,
    file: &mut File,
    partial: &Partial,
    (offset, limit): (u64, u64),
    total: Option<u64>,
    say: &mut Say<'_>,
    cancel: &Cancel,
) -> Result<u64, End> {
    let mut buffer = vec![0; CHUNK];
    let (mut at, mut reported) = (offset, Instant::now());
    loop {
        if cancel.is_cancelled() {
            return Err(FetchError::Cancelled.into());
        }
        let n = match body.read(&mut buffer) {
            Ok(0) => return Ok(at),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(broken(&e)),
        };
        at += n as u64;
        if at > limit {
            return Err(there(format!(
                "it sends more than the {limit} bytes that were expected"
            )));
        }
        file.write_all(&buffer[..n])
            .map_err(failed_to("write to", partial.path()))?;
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let of = total.map(|total| format!(" of {:.1}", mib(total)));
            say(
                &format!("{:.1}{} MiB", mib(at), of.unwrap_or_default()),
                true,
            );
        }
    }
}

/// Tells a body that broke off from one that does not come.
fn broken(error: &io::Error) -> End {
    use io::ErrorKind::{TimedOut, WouldBlock};
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<ureq::Error>());
    let slow = matches!(error.kind(), TimedOut | WouldBlock)
        || matches!(inner, Some(ureq::Error::Timeout(_)));
    match slow {
        true => End::Slow("it does not go on in time".to_owned()),
        false => End::Broken(e_text(error)),
    }
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// What tells that a file is the same later. A weak tag does not.
fn validator(response: &Response<Body>) -> Option<String> {
    let tag = header(response, "etag").filter(|tag| tag.starts_with('"'));
    let any = tag.or_else(|| header(response, "last-modified"))?;
    (any.len() <= 1000).then(|| any.to_owned())
}
