//! Facts of a store, to pass on, and facts of others that a store takes over.

use rusqlite::OptionalExtension;

use super::{Fact, Vouch};
use crate::db::realisations::{COLUMNS, IfKnown, put_realisation, realisation_at};
use crate::db::{Durable, records, signatures};
use crate::{Hash, Realisation, RealisationKind, Signature, Store, StoreError, TreeHash};

/// The name that facts about parts of trees go by.
const PART: &str = "part";

impl Store {
    fn fact_of(&self, mut realisation: Realisation) -> Result<Fact, StoreError> {
        let signatures = self.vouches(&realisation.key, realisation.tree)?;
        realisation.log = None;
        Ok(Fact {
            record: self.derivation(&realisation.key)?,
            realisation,
            signatures,
        })
    }

    fn vouches(&self, key: &Hash, tree: TreeHash) -> Result<Vec<Vouch>, StoreError> {
        let all = self.signatures(key)?.into_iter();
        Ok(all
            .filter(|s| s.tree == tree)
            .map(|s| Vouch {
                signer: s.signer,
                bytes: s.bytes,
            })
            .collect())
    }

    /// What is known of a key: of a step or target that was realised, or of a part of a tree.
    pub fn fact(&self, key: &Hash) -> Result<Option<Fact>, StoreError> {
        if let Some(realisation) = self.realisation(key)? {
            return self.fact_of(realisation).map(Some);
        }
        let Some(tree) = self.part(key)? else {
            return Ok(None);
        };
        Ok(Some(Fact {
            realisation: Realisation {
                kind: RealisationKind::Part,
                key: *key,
                drv: *key,
                name: PART.into(),
                tree,
                started: 0,
                seconds: 0.0,
                host: String::new(),
                log: None,
            },
            signatures: self.vouches(key, tree)?,
            record: None,
        }))
    }

    /// The newest realisation of a derivation.
    pub fn fact_of_derivation(&self, drv: &Hash) -> Result<Option<Fact>, StoreError> {
        let found = self.database().read("look up a derivation", |c| {
            c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM realisation WHERE drv = ?1 AND kind = 'step' \
                 ORDER BY started DESC, key LIMIT 1"
            ))?
            .query_row([drv.to_string()], realisation_at)
            .optional()
        })?;
        found.map(|r| self.fact_of(r)).transpose()
    }

    /// Keeps a fact that somebody else established. Whether to believe it is the caller's to decide.
    /// The tree need not be here. What this store found out itself stays as it is.
    pub fn take_fact(&self, fact: &Fact) -> Result<(), StoreError> {
        self.writable("record a realisation")?;
        let r = &fact.realisation;
        self.database()
            .write(Durable::Yes, "record a realisation", |t| {
                if let Some(record) = &fact.record
                    && r.kind != RealisationKind::Part
                {
                    records::put(t, &r.key, record)?;
                }
                put_realisation(t, r, IfKnown::Keep)?;
                for vouch in &fact.signatures {
                    signatures::add(
                        t,
                        &Signature {
                            key: r.key,
                            tree: r.tree,
                            signer: vouch.signer.clone(),
                            bytes: vouch.bytes,
                        },
                    )?;
                }
                Ok(())
            })
    }
}
