//! Signatures: names of those who vouch for a realisation, with their proof.

use rusqlite::{Transaction, params};

use super::Durable;
use super::rows::hash_at;
use crate::{Hash, Store, StoreError, TreeHash};

/// Somebody's word that a key produced a tree. The store keeps it and does not check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The key of the realisation.
    pub key: Hash,
    /// The tree that it is said to have produced.
    pub tree: TreeHash,
    /// The name of the signing key.
    pub signer: String,
    /// The signature itself.
    pub bytes: [u8; 64],
}

/// Adds a signature within a transaction.
pub(crate) fn add(t: &Transaction<'_>, s: &Signature) -> rusqlite::Result<()> {
    t.prepare_cached(
        "INSERT OR REPLACE INTO signature (key, tree, signer, signature) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        s.key.to_string(),
        s.tree.to_string(),
        s.signer,
        &s.bytes[..]
    ])?;
    Ok(())
}

impl Store {
    /// Keeps a signature; an earlier one of the same signer for the same fact is replaced.
    pub fn add_signature(&self, signature: &Signature) -> Result<(), StoreError> {
        self.writable("keep a signature")?;
        self.database()
            .write(Durable::Yes, "keep a signature", |t| add(t, signature))
    }

    /// The signatures for a key, sorted by tree and signer.
    pub fn signatures(&self, key: &Hash) -> Result<Vec<Signature>, StoreError> {
        self.database().read("look up signatures", |c| {
            c.prepare_cached(
                "SELECT key, tree, signer, signature FROM signature WHERE key = ?1 \
                 ORDER BY tree, signer",
            )?
            .query_map([key.to_string()], |row| {
                Ok(Signature {
                    key: hash_at(row, 0)?,
                    tree: TreeHash(hash_at(row, 1)?),
                    signer: row.get(2)?,
                    bytes: row.get(3)?,
                })
            })?
            .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenOptions;

    #[test]
    fn signatures_of_several_signers() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let make = |signer: &str, byte| Signature {
            key: Hash::of(b"k"),
            tree: TreeHash(Hash::of(b"t")),
            signer: signer.into(),
            bytes: [byte; 64],
        };
        for signature in [make("b", 1), make("a", 2), make("b", 3)] {
            store.add_signature(&signature).unwrap();
        }
        let found = store.signatures(&Hash::of(b"k")).unwrap();
        assert_eq!(found, [make("a", 2), make("b", 3)]);
        assert!(store.signatures(&Hash::of(b"x")).unwrap().is_empty());
    }
}
