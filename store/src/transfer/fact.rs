//! Facts on their way: what a key produced, who vouches for it, and the record behind it.

use crate::codec::{self, Bytes, CodecError};
use crate::{Hash, Realisation, RealisationKind, TreeHash};

/// Keeps what is signed apart from anything else that a key may sign.
pub const SIGNED_CONTEXT: &str = "mstore 2026-11-21 signed fact";
/// Longest record that travels, in bytes. Anybody can put one to a fact: signatures do not cover it.
pub const MAX_RECORD: usize = 1 << 20;
/// Longest encoded fact: the record, and room for names and signatures.
pub const MAX_FACT: usize = MAX_RECORD + (256 << 10);
/// Longest time of a build in milliseconds: up to here, seconds are exact enough to give them back.
const MAX_MILLISECONDS: u64 = 1 << 50;
const FORMAT: u32 = 1;

/// A signature over [`Fact::signed_bytes`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vouch {
    /// The name of the key that made it.
    pub signer: String,
    /// The signature, of ed25519.
    pub bytes: [u8; 64],
}

/// A realisation with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The realisation. Its log does not travel.
    pub realisation: Realisation,
    /// Who vouches for it, sorted.
    pub signatures: Vec<Vouch>,
    /// The derivation as whoever built it encoded it; one longer than [`MAX_RECORD`] does not travel.
    pub record: Option<Vec<u8>>,
}

/// kind, key, drv, name, tree, started, milliseconds, host, signatures, record.
type Wire = (
    u32,
    (u8, Hash, Hash, String, TreeHash),
    (i64, u64, String),
    Vec<(String, Bytes)>,
    Option<Bytes>,
);

impl Fact {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let r = &self.realisation;
        let signatures: Vec<(String, Bytes)> = self
            .signatures
            .iter()
            .map(|s| (s.signer.clone(), Bytes(s.bytes.to_vec())))
            .collect();
        let milliseconds = (r.seconds.max(0.0) * 1000.0).round() as u64;
        let wire: Wire = (
            FORMAT,
            (r.kind.number(), r.key, r.drv, r.name.clone(), r.tree),
            (r.started, milliseconds, r.host.clone()),
            signatures,
            self.record
                .clone()
                .filter(|record| record.len() <= MAX_RECORD)
                .map(Bytes),
        );
        codec::encode(&wire)
    }

    /// Reads the canonical encoding.
    pub fn decode(bytes: &[u8]) -> Result<Fact, CodecError> {
        let wire: Wire = codec::decode(bytes, MAX_FACT)?;
        let (format, (kind, key, drv, name, tree), (started, ms, host), signatures, record) = wire;
        let malformed = |detail: &str| CodecError::Malformed {
            detail: detail.into(),
        };
        if format != FORMAT {
            return Err(malformed(
                "this release does not know the format of the fact",
            ));
        }
        let kind = RealisationKind::from_number(kind)
            .ok_or_else(|| malformed("this release does not know the kind of the fact"))?;
        let plain = |text: &str| text.len() <= 1000 && !text.chars().any(char::is_control);
        if !plain(&name) || !plain(&host) || signatures.iter().any(|(key, _)| !plain(key)) {
            return Err(malformed("a name is too long or not printable"));
        }
        if record.as_ref().is_some_and(|r| r.0.len() > MAX_RECORD) {
            return Err(malformed("its record is too long"));
        }
        if signatures.len() > 100 {
            return Err(malformed("too many signatures"));
        }
        let signatures = signatures.into_iter().map(|(signer, bytes)| {
            let bytes = <[u8; 64]>::try_from(bytes.0).map_err(|_| malformed("bad signature"))?;
            Ok(Vouch { signer, bytes })
        });
        let signatures = signatures.collect::<Result<Vec<_>, CodecError>>()?;
        if !signatures.is_sorted_by(|a, b| a < b) {
            return Err(malformed("signatures are not sorted"));
        }
        if ms > MAX_MILLISECONDS {
            return Err(malformed("no build takes so long"));
        }
        Ok(Fact {
            realisation: Realisation {
                kind,
                key,
                drv,
                name,
                tree,
                started,
                seconds: ms as f64 / 1000.0,
                host,
                log: None,
            },
            signatures,
            record: record.map(|bytes| bytes.0),
        })
    }

    /// What signatures are over: everything that somebody relies on.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let r = &self.realisation;
        codec::encode(&(
            SIGNED_CONTEXT,
            FORMAT,
            r.kind.number(),
            r.key,
            r.drv,
            &r.name,
            r.tree,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fact {
        Fact {
            realisation: Realisation {
                kind: RealisationKind::Step,
                key: Hash::of(b"key"),
                drv: Hash::of(b"drv"),
                name: "funtoo/x86/corei7/stage3:run".into(),
                tree: TreeHash(Hash::of(b"tree")),
                started: 1_795_000_000,
                seconds: 12.345,
                host: "builder".into(),
                log: None,
            },
            signatures: vec![Vouch {
                signer: "release".into(),
                bytes: [7; 64],
            }],
            record: Some(b"record".to_vec()),
        }
    }

    #[test]
    fn facts_come_back_and_damaged_ones_do_not() {
        let fact = sample();
        let bytes = fact.encode();
        assert_eq!(Fact::decode(&bytes).unwrap(), fact);
        for at in 0..bytes.len() {
            assert!(Fact::decode(&bytes[..at]).is_err());
        }
        let mut many = fact.clone();
        many.signatures = vec![many.signatures[0].clone(); 101];
        assert!(Fact::decode(&many.encode()).is_err());
        let mut long = fact.clone();
        long.record = Some(vec![0; MAX_RECORD]);
        assert_eq!(Fact::decode(&long.encode()).unwrap(), long);
        long.record = Some(vec![0; MAX_RECORD + 1]);
        assert_eq!(Fact::decode(&long.encode()).unwrap().record, None);
        let mut name = fact;
        name.realisation.name = "a\u{1b}[2J".into();
        assert!(Fact::decode(&name.encode()).is_err());
    }

    /// Found while the fuzz target `objects` was written: these were read, and had another encoding when they were
    /// passed on.
    #[test]
    fn what_has_another_encoding_is_refused() {
        let mut fact = sample();
        let other = Vouch {
            signer: "a".into(),
            ..fact.signatures[0].clone()
        };
        fact.signatures.push(other);
        assert!(Fact::decode(&fact.encode()).is_err());
        fact.signatures.sort();
        assert_eq!(Fact::decode(&fact.encode()).unwrap(), fact);
        fact.signatures[1] = fact.signatures[0].clone();
        assert!(Fact::decode(&fact.encode()).is_err());
        let mut fact = sample();
        fact.realisation.seconds = MAX_MILLISECONDS as f64 / 1000.0;
        let bytes = fact.encode();
        assert_eq!(Fact::decode(&bytes).unwrap().encode(), bytes);
        fact.realisation.seconds = f64::INFINITY;
        assert!(Fact::decode(&fact.encode()).is_err());
    }

    #[test]
    fn signatures_cover_all_that_is_relied_on() {
        let fact = sample();
        let mut others = vec![fact.clone(); 5];
        others[0].realisation.kind = RealisationKind::Target;
        others[1].realisation.key = Hash::of(b"other");
        others[2].realisation.drv = Hash::of(b"other");
        others[3].realisation.name.push('x');
        others[4].realisation.tree = TreeHash(Hash::of(b"other"));
        for other in others {
            assert_ne!(fact.signed_bytes(), other.signed_bytes());
        }
        // These bytes are a contract.
        insta::assert_snapshot!(Hash::of(&fact.signed_bytes()), @"rdagnhtkxcy3i7ysmquxexi57hswrbyctpotg2nqptfplvqs3lga");
    }
}
