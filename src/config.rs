//! The configuration file: what a machine's owner wants of mstore, in Metro text. See doc/config.md.

mod engine;
mod settings;

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use mstore_lang::nearest::nearest;
use mstore_lang::{Definition, DiskFiles, EvalError, Files, LoadErrors, Spec, Value};

pub use engine::Engine;
pub use settings::Setting;

/// Where it is looked for last.
pub const SYSTEM_FILE: &str = "/etc/mstore/mstore.conf";
/// Its name elsewhere.
pub const FILE_NAME: &str = "mstore.conf";

/// How long a cache may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that things are fetched from may take to answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// The elements that there are; `NAME` stands for the name of a cache, or of a platform.
const ELEMENTS: &[&str] = &[
    "gc/keep",
    "gc/keep-days",
    "gc/max-size",
    "gc/written-out",
    "gc/roots",
    "gc/failed-days",
    "gc/log-days",
    "gc/lock-days",
    "gc/repack",
    "gc/grace",
    "build/file-limit",
    "build/output-limit",
    "fetch/timeout",
    "fetch/ca-file",
    "fetch/per-site",
    "caches",
    "cache/NAME/url",
    "cache/NAME/timeout",
    "trust/keys",
    "trust/need",
    "sign/key",
    "sign/verify",
    "repo/shared",
    "repo/gpg-key",
    "repo/gpg-home",
    "cache/NAME/ca-file",
    "executor",
    "reapi/token",
    "reapi/ca",
    "reapi/cert",
    "reapi/key",
    "reapi/property",
    "reapi/worker/NAME",
    "reapi/digest",
    "reapi/salt",
    "reapi/inflight",
    "reapi/queue-timeout",
    "reapi/insecure",
];

/// What the file says, with defaults for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What the collector keeps.
    pub gc: Gc,
    /// What a step may leave and write.
    pub build: Build,
    /// How content is fetched that is known by its hashes.
    pub fetch: Fetch,
    /// Where finished trees may be fetched from, in this order.
    pub caches: Vec<Cache>,
    /// Whose signatures count.
    pub trust: Trust,
    /// The file with the key that signs what is built here.
    pub sign_key: Option<PathBuf>,
    /// Whether inputs of what will be signed are read and compared before they are used.
    pub sign_verify: bool,
    /// Whether the mirror is shared with machines on which the old tool runs.
    pub shared_mirror: bool,
    /// The key of gpg that signs archives in a mirror, as gpg names it.
    pub gpg_key: Option<String>,
    /// The folder with the keys of gpg, if it is not the usual one.
    pub gpg_home: Option<PathBuf>,
    /// The engine that builds.
    pub engine: Engine,
}

/// What the collector keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gc {
    /// How many of the newest trees of each target stay.
    pub keep: usize,
    /// Days for which everything that was built stays as well.
    pub keep_days: Option<u32>,
    /// The size in bytes that the store shall not exceed.
    pub max_size: Option<u64>,
    /// The bytes that trees may take that were written out whole.
    pub written_out: u64,
    /// Targets (full names, or patterns with `*` and `?`) and trees that always live.
    pub roots: Vec<String>,
    /// Days after which roots of failed steps go.
    pub failed_days: u32,
    /// Days after which logs go, but for those of results that are still here.
    pub log_days: u32,
    /// Days after which the pins of lock files that are gone go.
    pub lock_days: u32,
    /// What stays and was compressed fast is compressed well afterwards.
    pub repack: bool,
    /// Where a size is set, what was used in the last minutes, this many, stays.
    pub grace: u32,
}

impl Default for Gc {
    fn default() -> Self {
        Gc {
            keep: 3,
            keep_days: None,
            max_size: None,
            written_out: 10 << 30,
            roots: Vec::new(),
            failed_days: 14,
            log_days: 90,
            lock_days: 30,
            repack: false,
            grace: 15,
        }
    }
}

/// What a step may leave and write; as usual where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// The most bytes that a file may have.
    pub file_limit: Option<u64>,
    /// The most bytes of output.
    pub output_limit: Option<u64>,
}

/// How content is fetched that is known by its hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Time to connect, and to wait for anything to come.
    pub timeout: Duration,
    /// Certificates to believe besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// How many steps of a run fetch from one site at a time.
    pub a_site: NonZeroU16,
}

/// A place that finished trees are fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Its name.
    pub name: String,
    /// Where it is: a folder, `ssh://…`, `http://…` or `https://…`.
    pub url: String,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// Certificates to believe besides those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Public keys.
    pub keys: Vec<TrustedKey>,
    /// How many of them must have signed.
    pub need: usize,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// Its name.
    pub name: String,
    /// The key itself (ed25519).
    pub bytes: [u8; 32],
}

impl Default for Config {
    fn default() -> Self {
        Config {
            file: None,
            gc: Gc::default(),
            build: Build::default(),
            fetch: Fetch {
                timeout: FETCH_TIMEOUT,
                ca_file: None,
                a_site: NonZeroU16::MIN,
            },
            caches: Vec::new(),
            trust: Trust {
                keys: Vec::new(),
                need: 1,
            },
            sign_key: None,
            sign_verify: true,
            shared_mirror: false,
            gpg_key: None,
            gpg_home: None,
            engine: Engine::default(),
        }
    }
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read, or is not Metro text.
    #[error(transparent)]
    Load(#[from] LoadErrors),
    /// An element has no value.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// An element that means nothing here, or a value that does not fit.
    #[error("{}:{line}: {element}: {detail}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// The line of the definition.
        line: usize,
        /// The element.
        element: String,
        /// What is wrong.
        detail: String,
    },
    /// A file that was named is not there.
    #[error("there is no configuration file {}", .0.display())]
    Missing(PathBuf),
}

/// The places where a configuration file may lie, best first. The caller reads the environment.
pub fn places(store: Option<&Path>, config_home: Option<&Path>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    all.extend(store.map(|s| s.join(FILE_NAME)));
    all.extend(config_home.map(|c| c.join("mstore").join(FILE_NAME)));
    all.push(SYSTEM_FILE.into());
    all
}

impl Config {
    /// Reads `named` if it is given, else the first of `places` that exists; without any, everything
    /// is as usual.
    pub fn find(named: Option<&Path>, places: &[PathBuf]) -> Result<Config, ConfigError> {
        if let Some(path) = named {
            if !DiskFiles.is_file(path).unwrap_or(false) {
                return Err(ConfigError::Missing(path.to_owned()));
            }
            return Config::read(&DiskFiles, path);
        }
        for path in places {
            // One that is there and cannot be looked at must not be passed over.
            match std::fs::metadata(path) {
                Err(e) if is_absent(&e) => {}
                _ => return Config::read(&DiskFiles, path),
            }
        }
        Ok(Config::default())
    }

    /// Reads one file.
    pub fn read(files: &dyn Files, path: &Path) -> Result<Config, ConfigError> {
        let spec = Spec::load(files, path, &[] as &[Definition])?;
        let mut config = Config {
            file: Some(path.to_owned()),
            ..Config::default()
        };
        let reader = Reader { spec: &spec, path };
        for name in spec.names() {
            reader.check_name(name)?;
        }
        reader.gc(&mut config.gc)?;
        reader.build(&mut config.build)?;
        if let Some(seconds) = reader.number("fetch/timeout", 1)? {
            config.fetch.timeout = Duration::from_secs(seconds.into());
        }
        config.fetch.ca_file = reader.file("fetch/ca-file")?;
        if let Some(most) = reader.number("fetch/per-site", 1)? {
            let most = u16::try_from(most).ok().and_then(NonZeroU16::new);
            config.fetch.a_site = most.unwrap_or(NonZeroU16::MAX);
        }
        config.caches = reader.caches()?;
        reader.trust(&mut config.trust)?;
        config.sign_key = reader.file("sign/key")?;
        config.sign_verify = reader.yes("sign/verify", true)?;
        config.shared_mirror = reader.yes("repo/shared", false)?;
        config.gpg_key = reader.line("repo/gpg-key")?.filter(|key| !key.is_empty());
        config.gpg_home = reader.file("repo/gpg-home")?;
        config.engine = reader.engine()?;
        Ok(config)
    }
}

fn is_absent(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(e.kind(), NotFound | NotADirectory)
}

struct Reader<'a> {
    spec: &'a Spec,
    path: &'a Path,
}

impl Reader<'_> {
    fn bad(&self, element: &str, detail: impl Into<String>) -> ConfigError {
        let definitions = self.spec.definitions(element);
        let (path, line) = match definitions.first() {
            Some(label) => (label.path().to_owned(), label.line()),
            None => (self.path.to_owned(), 1),
        };
        ConfigError::Bad {
            path,
            line,
            element: element.to_owned(),
            detail: detail.into(),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), ConfigError> {
        let known = ELEMENTS.iter().any(|e| match e.split_once("NAME") {
            None => *e == name,
            Some((head, tail)) => name
                .strip_prefix(head)
                .and_then(|n| n.strip_suffix(tail))
                .is_some_and(|n| !n.is_empty() && !n.contains('/')),
        });
        if known {
            return Ok(());
        }
        // Compared as if about the cache that it seems to be about.
        let cache = name
            .strip_prefix("cache/")
            .and_then(|n| n.split('/').next());
        let all = ELEMENTS
            .iter()
            .map(|e| e.replace("NAME", cache.filter(|c| !c.is_empty()).unwrap_or("NAME")));
        let near = nearest(name, all);
        Err(self.bad(
            name,
            match near {
                Some(near) => format!("there is no such element; nearest: {near}"),
                None => format!(
                    "there is no such element; there are: {}",
                    ELEMENTS.join(" ")
                ),
            },
        ))
    }

    fn line(&self, element: &str) -> Result<Option<String>, ConfigError> {
        match self.spec.get(element)? {
            None => Ok(None),
            Some(Value::Line(text)) => Ok(Some(text.trim().to_owned())),
            Some(Value::Block(_)) => Err(self.bad(element, "it is a block; one line is expected")),
        }
    }

    /// A path; a relative one begins at the folder of the configuration file.
    fn file(&self, element: &str) -> Result<Option<PathBuf>, ConfigError> {
        let path = self.line(element)?.filter(|path| !path.is_empty());
        let folder = self.path.parent().unwrap_or(Path::new(""));
        Ok(path.map(|path| folder.join(path)))
    }

    /// The words of an element: of a line, or of all lines of a block.
    fn words(&self, element: &str) -> Result<Vec<String>, ConfigError> {
        let text = self.spec.get(element)?.map(|v| v.to_text());
        let words = text.as_deref().unwrap_or_default().split_whitespace();
        Ok(words.map(str::to_owned).collect())
    }

    fn number(&self, element: &str, from: u32) -> Result<Option<u32>, ConfigError> {
        let Some(text) = self.line(element)? else {
            return Ok(None);
        };
        match text.parse::<u32>() {
            Ok(n) if n >= from => Ok(Some(n)),
            _ => Err(self.bad(
                element,
                format!("`{text}` is not a whole number of {from} or more"),
            )),
        }
    }

    fn gc(&self, gc: &mut Gc) -> Result<(), ConfigError> {
        if let Some(n) = self.number("gc/keep", 0)? {
            gc.keep = n as usize;
        }
        gc.keep_days = self.number("gc/keep-days", 0)?;
        if let Some(text) = self.line("gc/max-size")? {
            gc.max_size = Some(size(&text).map_err(|detail| self.bad("gc/max-size", detail))?);
        }
        if let Some(text) = self.line("gc/written-out")? {
            gc.written_out = size(&text).map_err(|detail| self.bad("gc/written-out", detail))?;
        }
        gc.roots = self.words("gc/roots")?;
        for (element, number) in [
            ("gc/failed-days", &mut gc.failed_days),
            ("gc/log-days", &mut gc.log_days),
            ("gc/lock-days", &mut gc.lock_days),
            ("gc/grace", &mut gc.grace),
        ] {
            if let Some(n) = self.number(element, 0)? {
                *number = n;
            }
        }
        gc.repack = self.yes("gc/repack", false)?;
        Ok(())
    }

    /// Reads `yes` or `no`.
    fn yes(&self, element: &str, usual: bool) -> Result<bool, ConfigError> {
        match self.line(element)?.as_deref() {
            None => Ok(usual),
            Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(other) => Err(self.bad(element, format!("`{other}` is neither yes nor no"))),
        }
    }

    fn build(&self, limits: &mut Build) -> Result<(), ConfigError> {
        for (element, limit) in [
            ("build/file-limit", &mut limits.file_limit),
            ("build/output-limit", &mut limits.output_limit),
        ] {
            if let Some(text) = self.line(element)? {
                *limit = Some(size(&text).map_err(|detail| self.bad(element, detail))?);
            }
        }
        Ok(())
    }

    fn caches(&self) -> Result<Vec<Cache>, ConfigError> {
        let names = self.words("caches")?;
        let mut caches: Vec<Cache> = Vec::new();
        for name in &names {
            if name.contains('/') {
                return Err(self.bad(
                    "caches",
                    format!("`{name}` cannot name a cache: it has a /"),
                ));
            }
            if caches.iter().any(|c| c.name == *name) {
                return Err(self.bad("caches", format!("`{name}` is named twice")));
            }
            let url = self.line(&format!("cache/{name}/url"))?;
            let Some(url) = url.filter(|u| !u.is_empty()) else {
                return Err(self.bad("caches", format!("`{name}` has no cache/{name}/url")));
            };
            let timeout = self.number(&format!("cache/{name}/timeout"), 1)?;
            caches.push(Cache {
                name: name.clone(),
                url,
                timeout: timeout.map_or(TIMEOUT, |s| Duration::from_secs(s.into())),
                ca_file: self.file(&format!("cache/{name}/ca-file"))?,
            });
        }
        // A cache that is described and not used is a mistake, or is to be switched off: then its
        // description goes into a comment.
        for element in self.spec.names() {
            if let Some((name, _)) = element
                .strip_prefix("cache/")
                .and_then(|n| n.split_once('/'))
                && !names.iter().any(|n| n == name)
            {
                return Err(self.bad(element, format!("`caches` does not name `{name}`")));
            }
        }
        Ok(caches)
    }

    fn trust(&self, trust: &mut Trust) -> Result<(), ConfigError> {
        let text = self.spec.get("trust/keys")?.map(|v| v.to_text());
        for line in text.as_deref().unwrap_or_default().lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |detail: String| self.bad("trust/keys", detail);
            let (name, key) = line
                .split_once(':')
                .ok_or_else(|| bad(format!("`{line}` is not of the form NAME:BASE64")))?;
            if name.is_empty() || trust.keys.iter().any(|k| k.name == name) {
                return Err(bad(format!("`{line}` has no name of its own")));
            }
            let bytes = BASE64_STANDARD.decode(key.trim()).ok();
            let bytes = bytes.and_then(|b| <[u8; 32]>::try_from(b).ok());
            trust.keys.push(TrustedKey {
                name: name.to_owned(),
                bytes: bytes
                    .ok_or_else(|| bad(format!("the key of `{name}` is not 32 bytes in Base64")))?,
            });
        }
        if let Some(n) = self.number("trust/need", 1)? {
            trust.need = n as usize;
            if trust.need > trust.keys.len() {
                return Err(self.bad(
                    "trust/need",
                    format!("trust/keys has {} only, fewer than {n}", trust.keys.len()),
                ));
            }
        }
        Ok(())
    }
}

/// Reads a size: `500M`, `20G`, `1.5T`, in powers of 1024, or a number of bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size; sizes are like 500M, 20G or 1.5T");
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_uppercase();
    let shift = match unit.trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        _ => return Err(bad()),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    if part.is_empty() || part.len() > 9 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let scale = 10u128.pow(part.len() as u32);
    let part: u128 = part.parse().map_err(|_| bad())?;
    let bytes = (u128::from(whole) << shift) + ((part << shift) / scale);
    u64::try_from(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let path = dir.path().join("mstore.conf");
        std::fs::write(&path, text).map_err(|e| e.to_string())?;
        Config::read(&DiskFiles, &path).map_err(|e| {
            let text = e.to_string();
            text.replace(&format!("{}/", dir.path().display()), "")
        })
    }

    #[test]
    fn a_whole_file() {
        let key = "A".repeat(43) + "=";
        let text = format!(
            "caches: near far\n\
             [section gc]\nkeep: 5\nkeep-days: 10\nmax-size: 20G\n\
             roots: seedling/*/corei7/stage3 abcd\nfailed-days: 1\nlog-days: 2\nlock-days: 3\nrepack: yes\n\
             [section cache/near]\nurl: /srv/cache\n\
             [section cache/far]\nurl: https://example.org/c\ntimeout: 2\n\
             [section trust]\nkeys: [\nme-1:{key}\n\n# a remark\nyou:{key}\n]\nneed: 2\n"
        );
        let config = read(&text).unwrap();
        assert_eq!(config.gc.keep, 5);
        assert_eq!(config.gc.keep_days, Some(10));
        assert_eq!(config.gc.max_size, Some(20 << 30));
        assert_eq!(config.gc.roots, ["seedling/*/corei7/stage3", "abcd"]);
        assert_eq!(
            (
                config.gc.failed_days,
                config.gc.log_days,
                config.gc.lock_days
            ),
            (1, 2, 3)
        );
        assert!(config.gc.repack);
        let caches: Vec<_> = config
            .caches
            .iter()
            .map(|c| (c.name.as_str(), c.url.as_str(), c.timeout.as_secs()))
            .collect();
        assert_eq!(
            caches,
            [
                ("near", "/srv/cache", 5),
                ("far", "https://example.org/c", 2)
            ]
        );
        let keys: Vec<_> = config
            .trust
            .keys
            .iter()
            .map(|k| (&*k.name, k.bytes))
            .collect();
        assert_eq!(keys, [("me-1", [0; 32]), ("you", [0; 32])]);
        assert_eq!(config.trust.need, 2);
    }

    #[test]
    fn the_manual_s_example_is_one() {
        let manual = include_str!("../doc/config.md");
        let lines = manual.lines().filter_map(|l| l.strip_prefix("    "));
        let config = read(&lines.collect::<Vec<_>>().join("\n")).unwrap();
        assert_eq!(config.caches.len(), 2);
        assert_eq!(config.trust.keys.len(), 1);
        for element in ELEMENTS {
            assert!(manual.contains(&format!("`{element}`")), "{element}");
        }
    }

    #[test]
    fn an_empty_file_says_nothing() {
        let mut config = read("# nothing\n").unwrap();
        config.file = None;
        assert_eq!(config, Config::default());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, want) in [
            (
                "gc/repack: maybe\n",
                "mstore.conf:1: gc/repack: `maybe` is neither yes nor no",
            ),
            (
                "\ngc/kep: 3\n",
                "mstore.conf:2: gc/kep: there is no such element; nearest: gc/keep",
            ),
            (
                "caches: a\ncache/a/url: /x\ncache/a/timout: 3\n",
                "mstore.conf:3: cache/a/timout: there is no such element; nearest: cache/a/timeout",
            ),
            (
                "gc/keep: many\n",
                "mstore.conf:1: gc/keep: `many` is not a whole number of 0 or more",
            ),
            (
                "gc/keep: -1\n",
                "mstore.conf:1: gc/keep: `-1` is not a whole number of 0 or more",
            ),
            (
                "gc/max-size: 20X\n",
                "mstore.conf:1: gc/max-size: `20X` is not a size; sizes are like 500M, 20G or 1.5T",
            ),
            (
                "caches: a\n",
                "mstore.conf:1: caches: `a` has no cache/a/url",
            ),
            (
                "caches: a a\ncache/a/url: /x\n",
                "mstore.conf:1: caches: `a` is named twice",
            ),
            (
                "cache/b/url: /x\n",
                "mstore.conf:1: cache/b/url: `caches` does not name `b`",
            ),
            (
                "trust/keys: [\nnobody\n]\n",
                "mstore.conf:1: trust/keys: `nobody` is not of the form NAME:BASE64",
            ),
            (
                "trust/keys: [\nme:AAAA\n]\n",
                "mstore.conf:1: trust/keys: the key of `me` is not 32 bytes in Base64",
            ),
            (
                "trust/need: 0\n",
                "mstore.conf:1: trust/need: `0` is not a whole number of 1 or more",
            ),
            (
                "trust/need: 2\n",
                "mstore.conf:1: trust/need: trust/keys has 0 only, fewer than 2",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), want);
        }
        assert!(
            read("gc/keep: $[nothing]\n")
                .unwrap_err()
                .contains("nothing")
        );
        assert!(read("gc/keep 3\n").is_err());
    }

    #[test]
    fn the_first_place_counts_and_a_named_file_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let all = places(
            Some(&dir.path().join("store")),
            Some(&dir.path().join("home")),
        );
        assert_eq!(all.len(), 3);
        let home = dir.path().join("home/mstore");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join(FILE_NAME), "gc/keep: 7\n").unwrap();
        assert_eq!(Config::find(None, &all[..2]).unwrap().gc.keep, 7);
        std::fs::create_dir_all(dir.path().join("store")).unwrap();
        std::fs::write(dir.path().join("store").join(FILE_NAME), "gc/keep: 8\n").unwrap();
        assert_eq!(Config::find(None, &all[..2]).unwrap().gc.keep, 8);
        let named = dir.path().join("nowhere.conf");
        assert!(matches!(
            Config::find(Some(&named), &all[..2]),
            Err(ConfigError::Missing(_))
        ));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("1"), Ok(1));
        assert_eq!(size("2k"), Ok(2048));
        assert_eq!(size("1.5G"), Ok(3 << 29));
        assert_eq!(size("20 GiB"), Ok(20 << 30));
        for bad in ["", "G", "-1", "1.G", "1e9", "99999999P", "1 2", "20X"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
