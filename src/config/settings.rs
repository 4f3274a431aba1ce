//! Every setting that is in force: its value, and where it comes from.

use std::path::{Path, PathBuf};

use mstore_lang::{Definition, DiskFiles, Files, Spec};

use super::engine::{INFLIGHT, QUEUE_TIMEOUT};
use super::{Config, ConfigError, ELEMENTS};

/// A setting that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The element.
    pub name: String,
    /// Its value as the file would write it; `None` where there is none, which is a setting as well.
    pub value: Option<String>,
    /// The file and the line in it; `None` where nothing is said, so that it is as usual.
    pub from: Option<(PathBuf, usize)>,
}

impl Config {
    /// All settings, in alphabetical order, those of caches for each cache.
    pub fn settings(&self) -> Result<Vec<Setting>, ConfigError> {
        self.settings_among(&DiskFiles)
    }

    fn settings_among(&self, files: &dyn Files) -> Result<Vec<Setting>, ConfigError> {
        let none: &[Definition] = &[];
        let spec = match &self.file {
            Some(path) => Some(Spec::load(files, path, none)?),
            None => None,
        };
        let mut names: Vec<String> = Vec::new();
        for element in ELEMENTS {
            match element.split_once("NAME") {
                None => names.push((*element).to_owned()),
                Some(("reapi/worker/", _)) => {
                    let workers = self.engine.workers.keys();
                    names.extend(workers.map(|platform| format!("reapi/worker/{platform}")));
                }
                Some((head, tail)) => {
                    let caches = self.caches.iter();
                    names.extend(caches.map(|cache| format!("{head}{}{tail}", cache.name)));
                }
            }
        }
        names.sort_unstable();
        let setting = |name: String| Setting {
            from: spec.as_ref().and_then(|spec| {
                let label = spec.definitions(&name).into_iter().next()?;
                Some((label.path().to_owned(), label.line()))
            }),
            value: self.value(&name),
            name,
        };
        Ok(names.into_iter().map(setting).collect())
    }

    /// The value in force of an element, as the file would write it.
    fn value(&self, name: &str) -> Option<String> {
        let yes = |yes: bool| Some(if yes { "yes" } else { "no" }.to_owned());
        let path = |path: &Option<PathBuf>| path.as_deref().map(shown);
        if let Some(rest) = name.strip_prefix("cache/") {
            let (cache, field) = rest.split_once('/')?;
            let cache = self.caches.iter().find(|c| c.name == cache)?;
            return match field {
                "url" => Some(cache.url.clone()),
                "timeout" => Some(cache.timeout.as_secs().to_string()),
                "ca-file" => path(&cache.ca_file),
                _ => None,
            };
        }
        let words = |words: &mut dyn Iterator<Item = &str>| {
            let words: Vec<&str> = words.collect();
            (!words.is_empty()).then(|| words.join(" "))
        };
        if let Some(platform) = name.strip_prefix("reapi/worker/") {
            return self.engine.workers.get(platform).map(|file| shown(file));
        }
        match name {
            "executor" => self.engine.executor.clone(),
            "reapi/token" => path(&self.engine.token),
            "reapi/ca" => path(&self.engine.ca),
            "reapi/cert" => path(&self.engine.cert),
            "reapi/key" => path(&self.engine.key),
            "reapi/property" => {
                let all = self.engine.properties.iter();
                let all: Vec<String> = all.map(|(name, value)| format!("{name}={value}")).collect();
                words(&mut all.iter().map(String::as_str))
            }
            "reapi/digest" => Some(self.engine.digest.clone().unwrap_or("sha256".to_owned())),
            "reapi/salt" => self.engine.salt.clone().filter(|salt| !salt.is_empty()),
            "reapi/inflight" => Some(self.engine.inflight.unwrap_or(INFLIGHT).to_string()),
            "reapi/queue-timeout" => Some(
                self.engine
                    .queue_timeout
                    .unwrap_or(QUEUE_TIMEOUT)
                    .as_secs()
                    .to_string(),
            ),
            "reapi/insecure" => yes(self.engine.insecure),
            "gc/keep" => Some(self.gc.keep.to_string()),
            "gc/keep-days" => self.gc.keep_days.map(|n| n.to_string()),
            "gc/max-size" => self.gc.max_size.map(|n| n.to_string()),
            "gc/written-out" => Some(self.gc.written_out.to_string()),
            "gc/roots" => words(&mut self.gc.roots.iter().map(String::as_str)),
            "gc/failed-days" => Some(self.gc.failed_days.to_string()),
            "gc/log-days" => Some(self.gc.log_days.to_string()),
            "gc/lock-days" => Some(self.gc.lock_days.to_string()),
            "gc/repack" => yes(self.gc.repack),
            "gc/grace" => Some(self.gc.grace.to_string()),
            "build/file-limit" => self.build.file_limit.map(|n| n.to_string()),
            "build/output-limit" => self.build.output_limit.map(|n| n.to_string()),
            "fetch/timeout" => Some(self.fetch.timeout.as_secs().to_string()),
            "fetch/ca-file" => path(&self.fetch.ca_file),
            "fetch/per-site" => Some(self.fetch.a_site.to_string()),
            "caches" => words(&mut self.caches.iter().map(|c| c.name.as_str())),
            "trust/keys" => words(&mut self.trust.keys.iter().map(|k| k.name.as_str())),
            "trust/need" => Some(self.trust.need.to_string()),
            "sign/key" => path(&self.sign_key),
            "sign/verify" => yes(self.sign_verify),
            "repo/shared" => yes(self.shared_mirror),
            "repo/gpg-key" => self.gpg_key.clone(),
            "repo/gpg-home" => path(&self.gpg_home),
            _ => None,
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a file that says all there is to say no setting is left out, and each has its line.
    #[test]
    fn every_element_has_its_value_and_its_line() {
        let key = "A".repeat(43) + "=";
        let values = [
            ("build/file-limit", "1000"),
            ("build/output-limit", "2000"),
            ("cache/near/ca-file", "/near.pem"),
            ("cache/near/timeout", "7"),
            ("cache/near/url", "/srv/cache"),
            ("caches", "near"),
            ("executor", "reapi://farm:1/x"),
            ("fetch/ca-file", "/all.pem"),
            ("fetch/per-site", "9"),
            ("fetch/timeout", "8"),
            ("gc/failed-days", "1"),
            ("gc/grace", "2"),
            ("gc/keep", "4"),
            ("gc/keep-days", "5"),
            ("gc/lock-days", "6"),
            ("gc/log-days", "7"),
            ("gc/max-size", "9000"),
            ("gc/repack", "yes"),
            ("gc/roots", "a b"),
            ("gc/written-out", "10"),
            ("reapi/ca", "/ca.pem"),
            ("reapi/cert", "/me.pem"),
            ("reapi/digest", "blake3"),
            ("reapi/inflight", "9"),
            ("reapi/insecure", "yes"),
            ("reapi/key", "/me.key"),
            ("reapi/property", "pool=a zone=b"),
            ("reapi/queue-timeout", "60"),
            ("reapi/salt", "mine"),
            ("reapi/token", "/token"),
            ("reapi/worker/near", "/worker"),
            ("repo/gpg-home", "/gpg"),
            ("repo/gpg-key", "me"),
            ("repo/shared", "yes"),
            ("sign/key", "/me.key"),
            ("sign/verify", "no"),
            ("trust/keys", "me"),
            ("trust/need", "1"),
        ];
        let known = ELEMENTS.iter().map(|e| e.replace("NAME", "near"));
        let mut known: Vec<String> = known.collect();
        known.sort_unstable();
        assert_eq!(known, values.map(|(name, _)| name));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mstore.conf");
        let line = |(name, value): &(&str, &str)| match *name {
            "trust/keys" => format!("{name}: me:{key}\n"),
            _ => format!("{name}: {value}\n"),
        };
        std::fs::write(&path, values.iter().map(line).collect::<String>()).unwrap();
        let settings = Config::read(&DiskFiles, &path).unwrap().settings().unwrap();
        let expected: Vec<Setting> = values
            .iter()
            .zip(1..)
            .map(|((name, value), line)| Setting {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                from: Some((path.clone(), line)),
            })
            .collect();
        assert_eq!(settings, expected);
    }

    #[test]
    fn without_a_file_everything_is_as_usual() {
        let settings = Config::default().settings().unwrap();
        assert_eq!(settings.len(), ELEMENTS.len() - 4);
        assert!(settings.iter().all(|s| s.from.is_none()));
        let keep = settings.iter().find(|s| s.name == "gc/keep").unwrap();
        assert_eq!(keep.value.as_deref(), Some("3"));
    }
}
