//! Content from outside: known by its hashes before anybody has it, and the addresses it is to be had from.
//!
//! What a fetch gives is decided by [`Fixed`] alone; an [`Origin`] may change without anything being fetched
//! or built again. How addresses are read is said here, once, for those who write them down and for those who go
//! there.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use mstore_store::{StoreError, TreeHash};
use serde::{Deserialize, Serialize};

/// Longest name of a file, in bytes, as file systems have it.
const NAME_LIMIT: usize = 255;
/// Longest address, in bytes.
const ADDRESS_LIMIT: usize = 2048;

/// How a digest is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// BLAKE2b with 64 bytes.
    Blake2b,
    /// BLAKE3 with 32 bytes.
    Blake3,
    /// SHA-2 with 32 bytes.
    Sha256,
    /// SHA-2 with 64 bytes.
    Sha512,
}

impl Algorithm {
    /// All, in the order of their names.
    pub const ALL: [Algorithm; 4] = [
        Algorithm::Blake2b,
        Algorithm::Blake3,
        Algorithm::Sha256,
        Algorithm::Sha512,
    ];

    /// Its name, as specifications have it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Blake2b => "blake2b",
            Algorithm::Blake3 => "blake3",
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Bytes of a digest.
    pub fn bytes(self) -> usize {
        match self {
            Algorithm::Blake2b | Algorithm::Sha512 => 64,
            Algorithm::Blake3 | Algorithm::Sha256 => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest of a file: `sha256:HEX`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(Algorithm, String)", into = "(Algorithm, String)")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It does not begin with the name of an algorithm and a colon.
    #[error("`{0}` is not ALGORITHM:HEX with one of blake2b, blake3, sha256 and sha512")]
    Form(String),
    /// It does not have the digits of such a digest.
    #[error("a {algorithm} has {} hexadecimal digits, not `{text}`", .algorithm.bytes() * 2)]
    Hex {
        /// The algorithm.
        algorithm: Algorithm,
        /// What was given.
        text: String,
    },
}

impl Digest {
    /// Takes hexadecimal digits, of any case.
    pub fn new(algorithm: Algorithm, hex: &str) -> Result<Digest, DigestError> {
        let whole = hex.len() == algorithm.bytes() * 2;
        if !whole || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(DigestError::Hex {
                algorithm,
                text: hex.chars().take(160).collect(),
            });
        }
        Ok(Digest {
            algorithm,
            hex: hex.to_ascii_lowercase(),
        })
    }

    /// How it is made.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its digits, in lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let parts = text.split_once(':');
        let named = parts.and_then(|(name, hex)| {
            let algorithm = Algorithm::ALL.into_iter().find(|a| a.name() == name)?;
            Some((algorithm, hex))
        });
        match named {
            Some((algorithm, hex)) => Digest::new(algorithm, hex),
            None => Err(DigestError::Form(text.chars().take(160).collect())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl TryFrom<(Algorithm, String)> for Digest {
    type Error = DigestError;

    fn try_from((algorithm, hex): (Algorithm, String)) -> Result<Self, DigestError> {
        Digest::new(algorithm, &hex)
    }
}

impl From<Digest> for (Algorithm, String) {
    fn from(digest: Digest) -> Self {
        (digest.algorithm, digest.hex)
    }
}

/// What a fetch gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixed {
    /// The name of the file in the tree that it becomes; of a folder what it is called.
    pub name: String,
    /// What it is known by.
    pub content: Content,
}

/// What content is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// A file with all of these digests: sorted, one of an algorithm, at least one.
    File(Vec<Digest>),
    /// The files of a commit of a git repository, imported as snapshots are.
    Commit {
        /// The name of the tree that it must become, if that is known.
        tree: Option<TreeHash>,
        /// The commit, 40 or 64 hexadecimal digits.
        commit: String,
    },
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.content {
            Content::File(digests) => digests.iter().try_for_each(|d| write!(f, " {d}")),
            Content::Commit { commit, .. } => write!(f, " commit {commit}"),
        }
    }
}

/// Where something is to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Bytes of the file, where they are known.
    pub size: Option<u64>,
    /// Addresses, in the order in which they are tried.
    pub urls: Vec<String>,
}

impl Origin {
    /// The site of the first address: the host that it names, without the port; nothing if it is a file.
    pub fn site(&self) -> Option<String> {
        let authority = match self.urls.first()?.parse().ok()? {
            Address::Http(address) => address.authority,
            Address::Git(url) => url.split_once("://")?.1.split('/').next()?.to_owned(),
            Address::File(_) => return None,
        };
        let port = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let host = match authority.rsplit_once(':') {
            Some((host, after)) if port(after) => host,
            _ => &authority,
        };
        (!host.is_empty()).then(|| host.to_ascii_lowercase())
    }
}

/// Whether a file may be called `name`: one part of a path, printable, and not hidden from people.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_LIMIT
        && !name.starts_with('.')
        && !name
            .chars()
            .any(|c| c == '/' || c.is_control() || c.is_whitespace())
}

/// Whether `text` can be the hash of a commit.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// An address that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `http://` or `https://`.
    Http(HttpAddress),
    /// `file:///`, as a path.
    File(PathBuf),
    /// A git repository, as git takes it.
    Git(String),
}

/// An address on a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAddress {
    /// Whether the server has to prove who it is.
    pub secure: bool,
    /// The host, with its port.
    pub authority: String,
    /// The path with its query, from the first slash.
    pub path: String,
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// Text that is not an address that something can be fetched from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {detail}")]
pub struct AddressError {
    /// The text, without what could be a password.
    pub text: String,
    /// What is wrong with it.
    pub detail: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let refuse = |detail| AddressError {
            text: without_user(text),
            detail,
        };
        if text.len() > ADDRESS_LIMIT {
            return Err(refuse("it is too long"));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse("it has blanks or control characters"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(refuse(
                "it begins with none of https://, http://, file:///, git+https://, git+http://, git+file:/// and git://",
            ));
        };
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "https" | "http" => http(scheme == "https", rest)
                .map(Address::Http)
                .map_err(refuse),
            "file" => local(rest).map(Address::File).map_err(refuse),
            "git+https" | "git+http" => http(scheme == "git+https", rest)
                .map(|address| Address::Git(address.to_string()))
                .map_err(refuse),
            "git" => {
                let address = http(false, rest).map_err(refuse)?;
                Ok(Address::Git(format!(
                    "git://{}{}",
                    address.authority, address.path
                )))
            }
            "git+file" => {
                let path = local(rest).map_err(refuse)?;
                Ok(Address::Git(format!("file://{}", path.display())))
            }
            _ => Err(refuse(
                "nothing can be fetched that way; there are https, http, file, git+https, git+http, git+file and git",
            )),
        }
    }
}

/// Shortens an address that was refused to what may be printed.
fn without_user(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(200)
        .collect();
    let Some((scheme, rest)) = text.split_once("://") else {
        return text;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => text,
    }
}

fn http(secure: bool, rest: &str) -> Result<HttpAddress, &'static str> {
    // What follows is for whoever shows a page.
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("a user name or password cannot be part of it");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if authority.is_empty() || authority.starts_with('-') || !authority.bytes().all(plain) {
        return Err("it does not name a host that can be");
    }
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    if !path.is_ascii() {
        return Err("characters beyond ASCII are written as %XX");
    }
    Ok(HttpAddress {
        secure,
        authority: authority.to_owned(),
        path,
    })
}

/// A path of this machine. A relative one would mean something else in every folder.
fn local(rest: &str) -> Result<PathBuf, &'static str> {
    let path = Path::new(rest);
    if !path.is_absolute() {
        return Err("the path of a file begins with a slash: file:///PATH");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("the path has `..`");
    }
    Ok(path.to_owned())
}

impl HttpAddress {
    /// Where a server sends on to. A server that has to prove who it is cannot send to one that need not.
    pub fn redirect(&self, location: &str) -> Result<HttpAddress, AddressError> {
        let refuse = |detail| AddressError {
            text: without_user(location),
            detail,
        };
        let lower = location.to_ascii_lowercase();
        let whole = if let Some(rest) = location.strip_prefix("//") {
            format!("{}://{rest}", if self.secure { "https" } else { "http" })
        } else if lower.starts_with("http://") || lower.starts_with("https://") {
            location.to_owned()
        } else if location
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|first| first.contains(':'))
        {
            return Err(refuse("it sends on to what is not a web server"));
        } else if location.starts_with('/') {
            HttpAddress {
                path: location.to_owned(),
                ..self.clone()
            }
            .to_string()
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
            HttpAddress {
                path: format!("{folder}{location}"),
                ..self.clone()
            }
            .to_string()
        };
        match whole.parse()? {
            Address::Http(next) if self.secure && !next.secure => {
                Err(refuse("it sends on from https to http"))
            }
            Address::Http(next) => Ok(next),
            _ => Err(refuse("it sends on to what is not a web server")),
        }
    }
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// None of the addresses gave it.
    #[error("cannot fetch {name}{}", listed(.tried))]
    Nowhere {
        /// What was wanted.
        name: String,
        /// What became of each address, in the order in which they were tried.
        tried: Vec<Tried>,
    },
    /// The network must not be used, and nothing else gives it.
    #[error("{0} is not here, and nothing is fetched")]
    Offline(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file in the store could not be handled.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Somebody cancelled it.
    #[error("interrupted")]
    Cancelled,
}

/// What became of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The address.
    pub url: String,
    /// What went wrong.
    pub why: String,
}

fn listed(tried: &[Tried]) -> String {
    match tried {
        [] => ": it has no address".to_owned(),
        tried => tried
            .iter()
            .map(|Tried { url, why }| format!("\n  {url}: {why}"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digests_are_read_strictly() {
        let hex = "AB".repeat(32);
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(digest.hex(), hex.to_lowercase());
        for bad in [
            "",
            "sha256",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:zz",
            &format!("sha512:{hex}"),
            &format!("SHA256:{hex}"),
            &format!("sha256:{hex}0"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_strictly() {
        let fine = |text: &str| text.parse::<Address>().unwrap();
        let Address::Http(http) = fine("https://example.org:8443/a/b?c=d#e") else {
            panic!("not http")
        };
        assert_eq!(http.to_string(), "https://example.org:8443/a/b?c=d");
        assert_eq!(fine("file:///a/b"), Address::File("/a/b".into()));
        assert_eq!(
            fine("git+https://example.org/r.git"),
            Address::Git("https://example.org/r.git".into())
        );
        assert_eq!(
            fine("git+file:///srv/r.git"),
            Address::Git("file:///srv/r.git".into())
        );
        for bad in [
            "a/b",
            "file:a",
            "file://a/b",
            "file:///a/../b",
            "git+file://../r",
            "ftp://example.org/a",
            "ext::sh -c id",
            "git+ext://sh",
            "https://",
            "https:///a",
            "https://-oProxyCommand=id/a",
            "git://-x/a",
            "https://user:secret@example.org/a",
            "https://a b/",
            "https://a/\n",
        ] {
            let error = bad.parse::<Address>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn redirects_lead_nowhere_that_is_less_safe() {
        let Address::Http(from) = "https://a.example/x/y?z".parse().unwrap() else {
            panic!("not http")
        };
        for (location, want) in [
            ("https://b.example/q", Some("https://b.example/q")),
            ("//b.example/q", Some("https://b.example/q")),
            ("/q?r", Some("https://a.example/q?r")),
            ("q", Some("https://a.example/x/q")),
            ("http://a.example/x/y", None),
            ("file:///etc/passwd", None),
            ("https://user@b.example/", None),
            ("javascript:1", None),
        ] {
            let got = from.redirect(location).ok().map(|a| a.to_string());
            assert_eq!(got.as_deref(), want, "{location}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_addresses_panic(text in ".{0,60}", from in "https?://[ab/?]{1,6}") {
            let _ = text.parse::<Address>();
            if let Ok(Address::Http(from)) = from.parse()
                && let Ok(next) = from.redirect(&text)
            {
                prop_assert!(next.secure || !from.secure);
                // What was understood once is understood again.
                let again = next.to_string().parse::<Address>();
                prop_assert_eq!(again, Ok(Address::Http(next)));
            }
        }
    }
}
