//! What the file says of an engine that builds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigError, Reader};

/// What begins the names of elements that name the worker's program for a platform.
const WORKER: &str = "reapi/worker/";

/// Most steps at a time where nothing is said.
pub const INFLIGHT: u32 = 1000;
/// How long a step may be queued before that is told, where nothing is said.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(600);

/// An engine of the Remote Execution API; as usual where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engine {
    /// Its address, if it is to build.
    pub executor: Option<String>,
    /// The file with the bearer token.
    pub token: Option<PathBuf>,
    /// Certificates to believe in the place of those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate of this client.
    pub cert: Option<PathBuf>,
    /// The key of that certificate.
    pub key: Option<PathBuf>,
    /// Properties that workers must have, by name.
    pub properties: Vec<(String, String)>,
    /// The worker's program, by platform.
    pub workers: BTreeMap<String, PathBuf>,
    /// The function of its digests: `sha256` or `blake3`.
    pub digest: Option<String>,
    /// A word that keeps results apart from those of others.
    pub salt: Option<String>,
    /// Most steps at a time.
    pub inflight: Option<u32>,
    /// How long a step may be queued before that is told.
    pub queue_timeout: Option<Duration>,
    /// Whether what travels to another machine may be plain.
    pub insecure: bool,
}

impl Reader<'_> {
    pub(super) fn engine(&self) -> Result<Engine, ConfigError> {
        let mut engine = Engine {
            executor: self.line("executor")?.filter(|url| !url.is_empty()),
            token: self.file("reapi/token")?,
            ca: self.file("reapi/ca")?,
            cert: self.file("reapi/cert")?,
            key: self.file("reapi/key")?,
            salt: self.line("reapi/salt")?,
            inflight: self.number("reapi/inflight", 1)?,
            insecure: self.yes("reapi/insecure", false)?,
            ..Engine::default()
        };
        for word in self.words("reapi/property")? {
            match word.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    engine.properties.push((name.to_owned(), value.to_owned()));
                }
                _ => {
                    let detail = format!("`{word}` is not of the form NAME=VALUE");
                    return Err(self.bad("reapi/property", detail));
                }
            }
        }
        engine.digest = self.line("reapi/digest")?.filter(|name| !name.is_empty());
        if let Some(name) = engine
            .digest
            .as_deref()
            .filter(|name| !["sha256", "blake3"].contains(name))
        {
            return Err(self.bad(
                "reapi/digest",
                format!("`{name}` is neither sha256 nor blake3"),
            ));
        }
        if let Some(text) = self.line("reapi/queue-timeout")? {
            let time = time(&text).map_err(|detail| self.bad("reapi/queue-timeout", detail))?;
            engine.queue_timeout = Some(time);
        }
        for name in self.spec.names() {
            if let Some(platform) = name.strip_prefix(WORKER)
                && let Some(file) = self.file(name)?
            {
                engine.workers.insert(platform.to_owned(), file);
            }
        }
        Ok(engine)
    }
}

/// Reads a length of time: `30s`, `10m`, `2h`, or a number of seconds.
fn time(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a length of time; those are like 30s, 10m or 2h");
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit: u64 = match unit.trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(bad()),
    };
    let number: u32 = number.parse().map_err(|_| bad())?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(time("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(time("2 h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "m", "-1", "1.5h", "1d", "99999999999"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
