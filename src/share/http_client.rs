//! HTTP client: caches on web servers.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mstore_store::transfer::TransferError;
use mstore_store::transfer::cache::{Body, Fetch};
use ureq::http::StatusCode;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error, ResponseExt as _};

/// A body must come at least this fast, in bytes a second, measured over all of it.
pub(super) const SLOWEST: u64 = 16 << 10;
/// A request that failed before anything came is tried so often.
const TRIES: usize = 2;

/// How to reach a web server.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Time to connect, and to wait for anything to come.
    pub timeout: Duration,
    /// Certificates to believe besides those of the system.
    pub ca_file: Option<PathBuf>,
}

/// A cache at an address.
#[derive(Debug)]
pub struct HttpFetch {
    agent: Agent,
    base: String,
    timeout: Duration,
}

impl HttpFetch {
    /// Prepares to fetch from `base`; nothing is sent yet.
    pub fn new(base: &str, options: &HttpOptions) -> Result<HttpFetch, TransferError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(5)
            .timeout_resolve(Some(options.timeout))
            .timeout_connect(Some(options.timeout))
            .timeout_send_request(Some(options.timeout))
            .timeout_recv_response(Some(options.timeout))
            .timeout_per_read(Some(options.timeout))
            .user_agent(concat!("mstore/", env!("CARGO_PKG_VERSION")));
        if base.to_ascii_lowercase().starts_with("https:") {
            config = config.tls_config(tls(base, options)?);
        }
        Ok(HttpFetch {
            agent: config.build().into(),
            base: base.trim_end_matches('/').to_owned(),
            timeout: options.timeout,
        })
    }

    fn wrong(&self, detail: impl Into<String>) -> TransferError {
        TransferError::peer(&self.base, detail)
    }

    fn body(&self, response: ureq::http::Response<ureq::Body>) -> Box<dyn Read + Send> {
        let body = response.into_body().into_reader();
        Box::new(Steady::new(body, self.timeout))
    }

    /// Sends a request for a file of about `len` bytes.
    fn send(
        &self,
        path: &str,
        range: Option<(u64, u64)>,
        len: u64,
    ) -> Result<ureq::http::Response<ureq::Body>, TransferError> {
        let url = format!("{}/{path}", self.base);
        let patience = self.timeout + Duration::from_secs(len / SLOWEST);
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self.agent.get(&url);
            if let Some((from, to)) = range {
                request = request.header("Range", format!("bytes={from}-{}", to.saturating_sub(1)));
            }
            let sent = request
                .config()
                .timeout_recv_body(Some(patience))
                .build()
                .call();
            match sent {
                Ok(response) => return Ok(response),
                // A connection kept from an earlier request may have been closed meanwhile.
                Err(Error::Io(_) | Error::Protocol(_)) if tries < TRIES => {}
                Err(error) => return Err(self.wrong(reason(&error))),
            }
        }
    }
}

/// A body that must keep coming: a server that gives a byte now and then is as good as down. Only time
/// that is spent waiting counts, not what the reader does in between.
pub(super) struct Steady<R> {
    body: R,
    timeout: Duration,
    waited: Duration,
    bytes: u64,
}

impl<R> Steady<R> {
    pub(super) fn new(body: R, timeout: Duration) -> Steady<R> {
        Steady {
            body,
            timeout,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        let n = self.body.read(buffer)?;
        self.waited += began.elapsed();
        self.bytes += n as u64;
        if n > 0 && self.waited > self.timeout + Duration::from_secs(self.bytes / SLOWEST) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(n)
    }
}

/// An error in few words.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::Timeout(_) => "it does not answer in time".into(),
        Error::HostNotFound => "there is no such host".into(),
        Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            "nobody answers there".into()
        }
        Error::Io(e) => e.to_string(),
        other => other.to_string(),
    }
}

pub(super) fn tls(base: &str, options: &HttpOptions) -> Result<TlsConfig, TransferError> {
    let wrong = |detail: String| TransferError::peer(base, detail);
    // What cannot be loaded of many certificates is no reason to stop: the rest may do.
    let system = rustls_native_certs::load_native_certs().certs;
    let mut roots: Vec<Certificate<'static>> = system
        .iter()
        .map(|cert| Certificate::from_der(cert).to_owned())
        .collect();
    if let Some(path) = &options.ca_file {
        let text = std::fs::read(path)
            .map_err(|e| wrong(format!("cannot read {}: {e}", path.display())))?;
        let before = roots.len();
        for item in parse_pem(&text) {
            match item {
                Ok(PemItem::Certificate(cert)) => roots.push(cert),
                Ok(_) => {}
                Err(e) => return Err(wrong(format!("{}: {e}", path.display()))),
            }
        }
        if roots.len() == before {
            return Err(wrong(format!("{} has no certificate", path.display())));
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .build())
}

impl Fetch for HttpFetch {
    fn name(&self) -> String {
        self.base.clone()
    }

    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TransferError> {
        let mut response = self.send(path, None, limit.min(1 << 20))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            other => return Err(self.wrong(format!("it answers {other} for {path}"))),
        }
        if length(&response).is_some_and(|length| length > limit) {
            return Err(self.wrong(format!("{path} is too long")));
        }
        let mut bytes = Vec::new();
        let body = Steady::new(response.body_mut().as_reader(), self.timeout);
        let mut body = body.take(limit + 1);
        body.read_to_end(&mut bytes)
            .map_err(|e| self.wrong(format!("{path}: {}", e_text(&e))))?;
        if bytes.len() as u64 > limit {
            return Err(self.wrong(format!("{path} is too long")));
        }
        Ok(Some(bytes))
    }

    fn stretch(&self, path: &str, from: u64, to: u64) -> Result<Body, TransferError> {
        // Where the server knows no ranges, all of a pack comes.
        let response = self.send(path, Some((from, to)), (to - from).max(64 << 20))?;
        let _ = response.get_uri();
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get("content-range");
                let range = range.and_then(|r| r.to_str().ok()).unwrap_or_default();
                let expected = format!("bytes {from}-{}/", to.saturating_sub(1));
                if !range.starts_with(&expected) {
                    return Err(self.wrong(format!("it sends another part of {path}")));
                }
                if length(&response).is_some_and(|length| length != to - from) {
                    return Err(self.wrong(format!("it sends another length of {path}")));
                }
                Ok(Body::Stretch(self.body(response)))
            }
            StatusCode::OK => {
                let length = length(&response);
                Ok(Body::Whole(self.body(response), length))
            }
            other => Err(self.wrong(format!("it answers {other} for {path}"))),
        }
    }
}

/// The length of a body, where it is told.
fn length(response: &ureq::http::Response<ureq::Body>) -> Option<u64> {
    let length = response.headers().get("content-length")?;
    length.to_str().ok()?.parse().ok()
}

pub(super) fn e_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
            "it does not go on in time".into()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_that_sends_a_byte_now_and_then_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            // Until the client has enough of it.
            while client.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let options = HttpOptions {
            timeout: Duration::from_millis(300),
            ca_file: None,
        };
        let fetch = HttpFetch::new(&format!("http://{address}"), &options).unwrap();
        let began = Instant::now();
        let error = fetch.get("file", 1 << 20).unwrap_err().to_string();
        assert!(error.contains("in time"), "{error}");
        // All of it would take hours, and a minute is what a megabyte may.
        assert!(began.elapsed() < Duration::from_secs(20));
        drop(fetch);
        server.join().unwrap();
    }
}
