//! Trust: the keys that sign facts, and those whose signatures count.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use mstore_store::transfer::{Fact, Vouch};

/// First line of a file with a secret key.
const SECRET_HEAD: &str = "mstore secret key";
/// Longest name of a key.
const MAX_NAME: usize = 100;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A name that keys cannot have.
    #[error(
        "`{0}` cannot name a key, which takes letters, digits, and any of . _ - @ +, at most {MAX_NAME}"
    )]
    Name(String),
    /// Text that is not a public key.
    #[error("not a public key (NAME:BASE64 is expected): {0}")]
    Public(String),
    /// A file that holds no secret key.
    #[error("{} holds no secret key of mstore", .0.display())]
    Secret(PathBuf),
    /// A key is there already.
    #[error("there is a file already, and keys are never replaced: {}", .0.display())]
    Exists(PathBuf),
    /// The system failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

fn check_name(name: &str) -> Result<(), KeyError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
        return Err(KeyError::Name(name.chars().take(200).collect()));
    }
    Ok(())
}

/// What is signed of a statement: nothing that is signed of a fact begins so.
fn of_statement(statement: &[u8]) -> Vec<u8> {
    [b"mstore 2026 statement\n", statement].concat()
}

/// A key that signs.
pub struct SecretKey {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl SecretKey {
    /// Makes a new key.
    pub fn generate(name: &str) -> Result<SecretKey, KeyError> {
        check_name(name)?;
        let mut seed = [0u8; 32];
        let mut at = 0;
        while at < seed.len() {
            let rest = &mut seed[at..];
            match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
                Ok(n) => at += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(KeyError::Io {
                        action: "get random bytes for",
                        path: name.into(),
                        source: error.into(),
                    });
                }
            }
        }
        Ok(SecretKey {
            name: name.to_owned(),
            key: SigningKey::from_bytes(&seed),
        })
    }

    /// Reads a file that [`SecretKey::write`] wrote.
    pub fn read(path: &Path) -> Result<SecretKey, KeyError> {
        let text = fs::read_to_string(path).map_err(|source| KeyError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let refuse = || KeyError::Secret(path.to_owned());
        let mut lines = text.lines();
        if lines.next() != Some(SECRET_HEAD) {
            return Err(refuse());
        }
        let (name, bytes) = lines
            .next()
            .and_then(|line| line.split_once(':'))
            .ok_or_else(refuse)?;
        check_name(name)?;
        let bytes = BASE64_STANDARD.decode(bytes.trim()).map_err(|_| refuse())?;
        let seed = <[u8; 32]>::try_from(bytes).map_err(|_| refuse())?;
        Ok(SecretKey {
            name: name.to_owned(),
            key: SigningKey::from_bytes(&seed),
        })
    }

    /// Writes a file that only its owner may read. One that exists is never replaced.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let io = |action| {
            move |source| KeyError::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io("create the folder of"))?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
                _ => io("create")(error),
            })?;
        let bytes = BASE64_STANDARD.encode(self.key.to_bytes());
        file.write_all(format!("{SECRET_HEAD}\n{}:{bytes}\n", self.name).as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io("write"))
    }

    /// The key that others check its signatures with.
    pub fn public(&self) -> PublicKey {
        PublicKey {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// Signs bytes that say themselves what they are about, so that they are never taken for a fact.
    pub fn sign_statement(&self, statement: &[u8]) -> Vouch {
        Vouch {
            signer: self.name.clone(),
            bytes: self.key.sign(&of_statement(statement)).to_bytes(),
        }
    }

    /// Signs a fact, unless this key has done so.
    pub fn sign(&self, fact: &mut Fact) {
        let bytes = self.key.sign(&fact.signed_bytes()).to_bytes();
        let vouch = Vouch {
            signer: self.name.clone(),
            bytes,
        };
        if !fact.signatures.contains(&vouch) {
            fact.signatures.push(vouch);
            fact.signatures.sort();
        }
    }
}

/// A key that checks signatures. As text: `NAME:BASE64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.name,
            BASE64_STANDARD.encode(self.key.as_bytes())
        )
    }
}

impl PublicKey {
    /// The key called `name`; `None` if the bytes are not a public key.
    pub fn new(name: &str, bytes: &[u8; 32]) -> Option<PublicKey> {
        Some(PublicKey {
            name: name.to_owned(),
            key: VerifyingKey::from_bytes(bytes).ok()?,
        })
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        let refuse = || KeyError::Public(text.chars().take(200).collect());
        let (name, bytes) = text.trim().split_once(':').ok_or_else(refuse)?;
        check_name(name)?;
        let bytes = BASE64_STANDARD.decode(bytes.trim()).map_err(|_| refuse())?;
        let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| refuse())?;
        PublicKey::new(name, &bytes).ok_or_else(refuse)
    }
}

/// The keys whose signatures count, and how many of them a fact needs.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The keys.
    keys: Vec<PublicKey>,
    /// How many different ones must have signed.
    need: usize,
    /// Believes everything: the caller says so.
    blind: bool,
}

/// A fact that is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} (tree {tree}) {detail}")]
pub struct Untrusted {
    /// The name of what was realised.
    pub name: String,
    /// The tree that it is said to be.
    pub tree: String,
    /// What is missing.
    pub detail: String,
}

impl Trust {
    /// Believes what `need` of the keys signed, at least one.
    pub fn new(all: impl IntoIterator<Item = PublicKey>, need: usize) -> Trust {
        let mut keys: Vec<PublicKey> = Vec::new();
        for key in all {
            // The same key under two names is one.
            if !keys.iter().any(|k| k.key == key.key) {
                keys.push(key);
            }
        }
        Trust {
            keys,
            need: need.max(1),
            blind: false,
        }
    }

    /// Believes everything.
    pub fn blind() -> Trust {
        Trust {
            keys: Vec::new(),
            need: 0,
            blind: true,
        }
    }

    /// Whether it believes everything.
    pub fn is_blind(&self) -> bool {
        self.blind
    }

    /// Whether nothing can ever be believed.
    pub fn is_empty(&self) -> bool {
        !self.blind && self.keys.len() < self.need
    }

    /// Says why a fact is not to be believed, if so.
    pub fn check(&self, fact: &Fact) -> Result<(), Untrusted> {
        self.check_bytes(&fact.signed_bytes(), &fact.signatures)
            .map_err(|detail| Untrusted {
                name: fact.realisation.name.clone(),
                tree: fact.realisation.tree.to_string(),
                detail,
            })
    }

    /// Says why what [`SecretKey::sign_statement`] signed is not to be believed, if so.
    pub fn check_statement(&self, statement: &[u8], signatures: &[Vouch]) -> Result<(), String> {
        self.check_bytes(&of_statement(statement), signatures)
    }

    fn check_bytes(&self, bytes: &[u8], signatures: &[Vouch]) -> Result<(), String> {
        if self.blind {
            return Ok(());
        }
        let good: Vec<&PublicKey> = self
            .keys
            .iter()
            .filter(|k| {
                signatures.iter().any(|vouch| {
                    vouch.signer == k.name
                        && k.key
                            .verify_strict(bytes, &Signature::from_bytes(&vouch.bytes))
                            .is_ok()
                })
            })
            .collect();
        if good.len() >= self.need {
            return Ok(());
        }
        let names = |list: Vec<&str>| list.join(", ");
        let signers: Vec<&str> = signatures.iter().map(|v| v.signer.as_str()).collect();
        Err(if signers.is_empty() {
            "is not signed".to_owned()
        } else if self.keys.is_empty() {
            format!(
                "is signed by {}, but no key is trusted here",
                names(signers)
            )
        } else if good.is_empty() {
            let known = |name: &&str| self.keys.iter().any(|k| k.name == **name);
            match signers.iter().find(|name| known(name)) {
                Some(name) => format!("has a wrong signature of {name}"),
                None => format!("is signed by {}, who is not trusted here", names(signers)),
            }
        } else {
            format!(
                "has trusted signatures of {} only, and needs {}",
                names(good.iter().map(|k| k.name.as_str()).collect()),
                self.need
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mstore_store::{Hash, Realisation, RealisationKind, TreeHash};

    fn fact() -> Fact {
        Fact {
            realisation: Realisation {
                kind: RealisationKind::Step,
                key: Hash::of(b"key"),
                drv: Hash::of(b"drv"),
                name: "b/a/s/stage3:run".into(),
                tree: TreeHash(Hash::of(b"tree")),
                started: 0,
                seconds: 0.0,
                host: String::new(),
                log: None,
            },
            signatures: Vec::new(),
            record: None,
        }
    }

    fn trust(need: usize, keys: &[&SecretKey]) -> Trust {
        Trust::new(keys.iter().map(|k| k.public()), need)
    }

    #[test]
    fn a_public_key_has_one_spelling() {
        let key = SecretKey::generate("a").unwrap().public();
        let text = key.to_string();
        assert_eq!(text.parse::<PublicKey>().unwrap(), key);
        let bare = text.trim_end_matches('=');
        let (head, last) = bare.split_at(bare.len() - 1);
        // The bits that belong to no byte are 0, so the digit after the last one has them set.
        let next = char::from(last.as_bytes()[0] + 1);
        let split = format!("{} {}", &text[..10], &text[10..]);
        for other in [bare.to_owned(), format!("{head}{next}="), split] {
            assert!(other.parse::<PublicKey>().is_err(), "{other}");
        }
    }

    #[test]
    fn k_of_n_different_keys_must_have_signed() {
        let make = |name: &str| SecretKey::generate(name).unwrap();
        let (a, b, c, stranger) = (make("a"), make("b"), make("c"), make("mallory"));
        let all = [&a, &b, &c];
        let mut one = fact();
        assert!(
            trust(1, &all)
                .check(&one)
                .unwrap_err()
                .detail
                .contains("not signed")
        );
        a.sign(&mut one);
        assert_eq!(trust(1, &all).check(&one), Ok(()));
        let short = trust(2, &all).check(&one).unwrap_err();
        assert!(short.detail.contains("of a only"), "{short}");
        // The same key twice is one, under two names as well.
        a.sign(&mut one);
        let twice = [
            a.public(),
            PublicKey::new("z", a.public().key.as_bytes()).unwrap(),
        ];
        let mut other_name = one.clone();
        other_name.signatures.push(Vouch {
            signer: "z".into(),
            ..one.signatures[0].clone()
        });
        assert!(Trust::new(twice, 2).check(&other_name).is_err());
        b.sign(&mut one);
        assert_eq!(trust(2, &all).check(&one), Ok(()));
        assert!(trust(3, &all).check(&one).is_err());
        // A stranger, and one who takes another's name.
        let mut strange = fact();
        stranger.sign(&mut strange);
        let refused = trust(1, &all).check(&strange).unwrap_err();
        assert!(refused.detail.contains("mallory"), "{refused}");
        strange.signatures[0].signer = "a".into();
        let refused = trust(1, &all).check(&strange).unwrap_err();
        assert!(refused.detail.contains("wrong signature of a"), "{refused}");
        assert!(trust(1, &[]).check(&one).is_err());
        assert!(trust(1, &[]).is_empty());
        assert_eq!(Trust::blind().check(&fact()), Ok(()));
    }

    #[test]
    fn a_changed_fact_is_not_the_one_that_was_signed() {
        let key = SecretKey::generate("release").unwrap();
        let mut signed = fact();
        key.sign(&mut signed);
        signed.realisation.tree = TreeHash(Hash::of(b"another"));
        assert!(trust(1, &[&key]).check(&signed).is_err());
    }

    #[test]
    fn keys_come_back_from_text_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/keys/release.key");
        let key = SecretKey::generate("release-2026").unwrap();
        key.write(&path).unwrap();
        assert!(key.write(&path).is_err(), "never replaced");
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let back = SecretKey::read(&path).unwrap();
        assert_eq!(back.public(), key.public());
        let text = key.public().to_string();
        assert_eq!(text.parse::<PublicKey>().unwrap(), key.public());
        // A public key is not a secret one.
        fs::write(&path, &text).unwrap();
        assert!(SecretKey::read(&path).is_err());
        for bad in ["", "a", "a:", ":AAAA", "a b:AAAA", &text[..text.len() - 4]] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
        assert!(SecretKey::generate("a/b").is_err());
        assert!(!format!("{key:?}").contains(&text));
    }
}
