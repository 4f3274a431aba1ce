//! Small things remembered beside realisations: the derivation behind each key, and parts that were
//! cut out of trees. Losing one costs an explanation or a lookup, never a result.

use std::fs;
use std::path::Path;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Database, Durable};
use crate::disk::Disk;
use crate::{Hash, Store, StoreError, TreeHash};

/// Largest derivation that is remembered or read.
const LIMIT: usize = 64 << 20;
/// Shorter ones are not worth compressing.
const SMALL: usize = 256;
/// Where the first release had them, as small files.
const OLD_FOLDER: &str = "derivations";

pub(crate) fn put(t: &Transaction<'_>, key: &Hash, bytes: &[u8]) -> rusqlite::Result<()> {
    let packed = match bytes.len() {
        0..SMALL => None,
        _ => zstd::bulk::compress(bytes, 3).ok(),
    };
    let (coding, stored) = match packed.as_deref().filter(|p| p.len() < bytes.len()) {
        Some(packed) => ("zstd", packed),
        None => ("plain", bytes),
    };
    t.prepare_cached(
        "INSERT OR REPLACE INTO derivation (key, coding, length, bytes) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![key.to_string(), coding, bytes.len() as i64, stored])?;
    Ok(())
}

pub(crate) fn put_part(t: &Transaction<'_>, key: &Hash, part: TreeHash) -> rusqlite::Result<()> {
    t.prepare_cached("INSERT OR REPLACE INTO part (key, tree) VALUES (?1, ?2)")?
        .execute([key.to_string(), part.to_string()])?;
    Ok(())
}

fn old_path(root: &Path, key: &Hash, suffix: &str) -> std::path::PathBuf {
    let text = key.to_string();
    let (head, rest) = text.split_at(2);
    root.join(OLD_FOLDER)
        .join(head)
        .join(format!("{rest}.{suffix}"))
}

impl Store {
    /// Remembers the derivation behind a key, as bytes that mean nothing to the store. It is durable
    /// when a realisation recorded after it is.
    pub fn put_derivation(&self, key: &Hash, bytes: &[u8]) -> Result<(), StoreError> {
        self.writable("remember a derivation")?;
        let known: Option<i64> = self.database().read("look up a derivation", |c| {
            c.prepare_cached("SELECT length FROM derivation WHERE key = ?1")?
                .query_row([key.to_string()], |row| row.get(0))
                .optional()
        })?;
        if known == Some(bytes.len() as i64) || bytes.len() > LIMIT {
            return Ok(());
        }
        self.database()
            .write(Durable::No, "remember a derivation", |t| put(t, key, bytes))
    }

    /// The derivation behind a key, if it is remembered. What is damaged counts as forgotten.
    pub fn derivation(&self, key: &Hash) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.database().read("look up a derivation", |c| {
            c.prepare_cached("SELECT coding, length, bytes FROM derivation WHERE key = ?1")?
                .query_row([key.to_string()], |row| {
                    let (coding, length): (String, i64) = (row.get(0)?, row.get(1)?);
                    Ok((coding, length, row.get::<_, Vec<u8>>(2)?))
                })
                .optional()
        })?;
        Ok(match found {
            Some((coding, length, bytes)) => match (coding.as_str(), usize::try_from(length)) {
                ("plain", _) => Some(bytes),
                ("zstd", Ok(length)) if length <= LIMIT => {
                    zstd::bulk::decompress(&bytes, length).ok()
                }
                _ => None,
            },
            None if self.is_read_only() => fs::read(old_path(self.path(), key, "drv")).ok(),
            None => None,
        })
    }

    /// The keys whose derivations are remembered, sorted.
    pub fn derivation_keys(&self) -> Result<Vec<Hash>, StoreError> {
        self.database().read("list derivations", |c| {
            c.prepare("SELECT key FROM derivation ORDER BY key")?
                .query_map([], |row| super::rows::hash_at(row, 0))?
                .collect()
        })
    }

    /// Remembers which tree a part of a tree is; the caller's key names both.
    pub fn put_part(&self, key: &Hash, part: TreeHash) -> Result<(), StoreError> {
        self.writable("remember a part of a tree")?;
        self.database()
            .write(Durable::No, "remember a part of a tree", |t| {
                put_part(t, key, part)
            })
    }

    /// The part of a tree that was remembered under `key`.
    pub fn part(&self, key: &Hash) -> Result<Option<TreeHash>, StoreError> {
        let found = self.database().read("look up a part of a tree", |c| {
            c.prepare_cached("SELECT tree FROM part WHERE key = ?1")?
                .query_row([key.to_string()], |row| super::rows::hash_at(row, 0))
                .optional()
        })?;
        Ok(match found {
            Some(tree) => Some(TreeHash(tree)),
            None if self.is_read_only() => fs::read(old_path(self.path(), key, "part"))
                .ok()
                .and_then(|bytes| Hash::from_slice(&bytes))
                .map(TreeHash),
            None => None,
        })
    }

    /// Forgets derivations behind keys that have no realisation. Returns how many.
    pub fn forget_derivations(&self) -> Result<u64, StoreError> {
        self.writable("forget derivations")?;
        self.database()
            .write(Durable::No, "forget derivations", |t| {
                t.execute(
                    "DELETE FROM derivation WHERE key NOT IN (SELECT key FROM realisation)",
                    [],
                )
            })
            .map(|n| n as u64)
    }
}

/// Takes over the files in which the first release had them, once.
pub(crate) fn take_old(
    disk: &dyn Disk,
    root: &Path,
    database: &Database,
) -> Result<(), StoreError> {
    let folder = root.join(OLD_FOLDER);
    let Ok(heads) = disk.list(&folder) else {
        return Ok(());
    };
    database.write(Durable::Yes, "take over derivations", |t| {
        for head in heads {
            let below = folder.join(&head);
            for file in disk.list(&below).unwrap_or_default() {
                let (head, name) = (head.to_string_lossy(), file.to_string_lossy());
                let Some((rest, suffix)) = name.split_once('.') else {
                    continue;
                };
                let Ok(key) = format!("{head}{rest}").parse::<Hash>() else {
                    continue;
                };
                // One that cannot be read explains nothing any more.
                let Ok(bytes) = disk.read(&below.join(&file), LIMIT as u64) else {
                    continue;
                };
                match (suffix, Hash::from_slice(&bytes)) {
                    ("drv", _) => put(t, &key, &bytes)?,
                    ("part", Some(part)) => put_part(t, &key, TreeHash(part))?,
                    _ => {}
                }
            }
        }
        Ok(())
    })?;
    disk.remove_tree(&folder)
        .map_err(|e| StoreError::io("remove", &folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenOptions;

    #[test]
    fn derivations_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let long = b"a line of a script\n".repeat(100);
        for bytes in [&b""[..], b"short", &long] {
            let key = Hash::of(bytes);
            assert_eq!(store.derivation(&key).unwrap(), None);
            store.put_derivation(&key, bytes).unwrap();
            store.put_derivation(&key, bytes).unwrap();
            assert_eq!(store.derivation(&key).unwrap().as_deref(), Some(bytes));
        }
        assert_eq!(store.derivation_keys().unwrap().len(), 3);
        assert_eq!(store.forget_derivations().unwrap(), 3);
        assert_eq!(store.derivation(&Hash::of(b"short")).unwrap(), None);
    }
}
