//! Where the archives of a build come from: `provenance.json` in its folder, signed where there is a key.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use mstore_store::transfer::Vouch;
use serde::{Deserialize, Serialize};

use crate::repo::name::Place;
use crate::share::{SecretKey, Trust};

/// The file in a build folder.
pub const PROVENANCE: &str = "provenance.json";
/// The largest one that is read, in bytes.
pub const MAX_PROVENANCE: u64 = 4 << 20;
/// Keeps what is signed here apart from everything else that keys sign.
const CONTEXT: &str = "mstore 2026 repo provenance\n";
/// Format number.
const FORMAT: u32 = 1;

/// Where the archives of a build come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    format: u32,
    /// `target/build`.
    pub build: String,
    /// `target/arch_desc`.
    pub arch_desc: String,
    /// `target/subarch`.
    pub subarch: String,
    /// The build folder.
    pub version: String,
    /// Archives by their names.
    pub archives: BTreeMap<String, Origin>,
    /// Who vouches for all this, by the names of their keys: signatures of ed25519, as base64.
    #[serde(default)]
    pub signatures: BTreeMap<String, String>,
}

/// Where one archive comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The full name of the target.
    pub target: String,
    /// The derivation of its last step.
    pub derivation: String,
    /// The resolved key of that, where it is known.
    pub key: Option<String>,
    /// The tree.
    pub tree: String,
    /// The machine that published it.
    pub host: String,
    /// The size of the archive.
    pub bytes: u64,
    /// Its digests, as its hash file has them.
    pub digests: BTreeMap<String, String>,
}

impl Provenance {
    /// That of a build without archives.
    pub fn new(place: &Place, version: &str) -> Provenance {
        Provenance {
            format: FORMAT,
            build: place.build.to_string(),
            arch_desc: place.arch.to_string(),
            subarch: place.subarch.to_string(),
            version: version.to_owned(),
            archives: BTreeMap::new(),
            signatures: BTreeMap::new(),
        }
    }

    /// Reads a file; nothing if it is not one of this release.
    pub fn parse(bytes: &[u8]) -> Option<Provenance> {
        let read: Provenance = serde_json::from_slice(bytes).ok()?;
        (read.format == FORMAT).then_some(read)
    }

    /// Whether it is of this build.
    pub fn is_of(&self, place: &Place, version: &str) -> bool {
        self.build == place.build.as_str()
            && self.arch_desc == place.arch.as_str()
            && self.subarch == place.subarch.as_str()
            && self.version == version
    }

    /// What signatures are over.
    fn statement(&self) -> Vec<u8> {
        let unsigned = Provenance {
            signatures: BTreeMap::new(),
            ..self.clone()
        };
        let mut bytes = CONTEXT.as_bytes().to_vec();
        // Keys of maps are sorted, and no number has a fraction: the same value is the same text. It cannot fail,
        // as all keys are text.
        bytes.extend(serde_json::to_vec(&unsigned).unwrap_or_default());
        bytes
    }

    /// Signs it; signatures over something else are dropped by whoever changes it.
    pub fn sign(&mut self, key: &SecretKey) {
        let vouch = key.sign_statement(&self.statement());
        let text = BASE64_STANDARD.encode(vouch.bytes);
        self.signatures.insert(vouch.signer, text);
    }

    /// Says why it is not to be believed, if so.
    pub fn check(&self, trust: &Trust) -> Result<(), String> {
        let vouches = self.signatures.iter().filter_map(|(signer, text)| {
            let bytes = BASE64_STANDARD.decode(text).ok()?;
            Some(Vouch {
                signer: signer.clone(),
                bytes: bytes.try_into().ok()?,
            })
        });
        trust.check_statement(&self.statement(), &vouches.collect::<Vec<_>>())
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        // Cannot fail, as all keys are text.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::name::Name;

    #[test]
    fn a_signature_is_over_all_of_it() {
        let name = |text: &str| Name::new(text).unwrap();
        let place = Place {
            build: name("b"),
            arch: name("a"),
            subarch: name("s"),
        };
        let key = SecretKey::generate("k").unwrap();
        let trust = Trust::new([key.public()], 1);
        let mut provenance = Provenance::new(&place, "2015-02-18");
        provenance.archives.insert(
            "stage3.tar.xz".into(),
            Origin {
                target: "b/a/s/stage3".into(),
                derivation: "d".into(),
                key: None,
                tree: "t".into(),
                host: "h".into(),
                bytes: 5,
                digests: BTreeMap::from([("sha256".into(), "00".into())]),
            },
        );
        assert!(provenance.check(&trust).is_err());
        provenance.sign(&key);
        assert_eq!(provenance.check(&trust), Ok(()));
        let read = Provenance::parse(provenance.text().as_bytes()).unwrap();
        assert_eq!(read, provenance);
        assert_eq!(read.check(&trust), Ok(()));
        let other = Trust::new([SecretKey::generate("k").unwrap().public()], 1);
        assert!(
            read.check(&other)
                .unwrap_err()
                .contains("wrong signature of k")
        );
        let mut changed = read.clone();
        changed.archives.values_mut().for_each(|a| a.bytes += 1);
        assert!(changed.check(&trust).is_err());
        let mut changed = read;
        changed.version = "2015-02-19".into();
        assert!(changed.check(&trust).is_err());
        assert!(Provenance::parse(b"{}").is_none());
    }
}
