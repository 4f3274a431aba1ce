//! What a store knows, as facts to pass on, and facts of others as something that it knows.

use rusqlite::{OptionalExtension, params};

use super::{Fact, FactKind, Vouch};
use crate::db::{Durable, records, signatures};
use crate::facts::{COLUMNS, realisation_at};
use crate::{Hash, Realisation, Signature, Store, StoreError, TreeHash};

impl FactKind {
    /// What the realisation of this name is about: names of steps have a colon.
    fn of_name(name: &str) -> FactKind {
        if name.contains(':') {
            FactKind::Step
        } else {
            FactKind::Target
        }
    }
}

/// The name that facts about parts of trees go by.
const PART: &str = "part";

impl Store {
    fn fact_of(&self, mut realisation: Realisation) -> Result<Fact, StoreError> {
        let signatures = self.vouches(&realisation.key, realisation.tree)?;
        realisation.log = None;
        Ok(Fact {
            kind: FactKind::of_name(&realisation.name),
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
            kind: FactKind::Part,
            realisation: Realisation {
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
                "SELECT {COLUMNS} FROM realisation WHERE drv = ?1 AND instr(name, ':') > 0 \
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
                if fact.kind == FactKind::Part {
                    records::put_part(t, &r.key, r.tree)?;
                } else {
                    if let Some(record) = &fact.record {
                        records::put(t, &r.key, record)?;
                    }
                    let values = params![
                        r.key.to_string(),
                        r.drv.to_string(),
                        r.name,
                        r.tree.to_string(),
                        r.started,
                        r.seconds,
                        r.host,
                        r.log,
                    ];
                    t.prepare_cached(&format!(
                        "INSERT OR IGNORE INTO realisation ({COLUMNS}) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
                    ))?
                    .execute(values)?;
                }
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
