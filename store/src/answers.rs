//! Answers that were worked out from a store, kept beside it with the state in which they were true.
//!
//! An answer is a file in `cache/`, named by the question, whose bytes mean nothing to the store. It is not
//! synced: a checksum tells one that a power cut damaged. It is true as long as the state of the database
//! is the one that was read together with everything that led to the answer (see [`Steady::answers`]).
//!
//! [`Steady::answers`]: crate::Steady::answers

use std::path::{Path, PathBuf};

use crate::db::{Database, rescue, state};
use crate::disk::{Disk, RealDisk};
use crate::layout::DATABASE;
use crate::session::random_name;
use crate::{Hash, Store, StoreError, TreeHash};

/// Longer answers are not kept.
const MOST: usize = 16 << 20;

fn path_of(root: &Path, question: &Hash) -> PathBuf {
    root.join("cache").join(format!("answer-{question}"))
}

impl Store {
    /// Keeps an answer. One that is too long is not kept.
    pub fn keep_answer(&self, question: &Hash, answer: &[u8]) -> Result<(), StoreError> {
        self.writable("keep an answer")?;
        if answer.len() > MOST {
            return Ok(());
        }
        let path = path_of(self.path(), question);
        let new = self.session()?.tmp.join(random_name()?);
        let mut bytes = Hash::of(answer).as_bytes().to_vec();
        bytes.extend_from_slice(answer);
        let write = || {
            let file = self.disk().create(&new)?;
            file.write_at(&bytes, 0)?;
            self.disk().rename(&new, &path)
        };
        write().map_err(|e| StoreError::io("keep an answer in", &path, e))
    }

    /// The answer to a question that was kept for the store in `root`, with the state of the store as it is
    /// now. Does not open the store: nothing is made, mended or locked.
    pub fn kept_answer(root: &Path, question: &Hash) -> Option<(Vec<u8>, i64)> {
        let mut bytes = RealDisk::ANYWHERE
            .read(&path_of(root, question), MOST as u64 + 32)
            .ok()?;
        let answer = bytes.split_off(bytes.len().min(32));
        if bytes != Hash::of(&answer).as_bytes() || rescue::is_pending(root) {
            return None;
        }
        let database = Database::open(&root.join(DATABASE), true, None).ok()?;
        let state = database
            .read("look for changes", state::of_answers)
            .ok()??;
        Some((answer, state))
    }

    /// The files of the packs that have the objects of trees themselves, and of their root directories:
    /// what [`Store::has_tree`] reads. `None` when one is not here.
    pub fn files_of_trees(&self, trees: &[TreeHash]) -> Result<Option<Vec<PathBuf>>, StoreError> {
        let mut files = std::collections::BTreeSet::new();
        for tree in trees {
            let dir = match self.tree(*tree) {
                Ok(tree) => tree.dir,
                Err(StoreError::Missing { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            for hash in [tree.0, dir.0] {
                match self.find(&hash)? {
                    Some((pack, _)) => files.insert(pack.path.clone()),
                    None => return Ok(None),
                };
            }
        }
        Ok(Some(files.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, Realisation, RealisationKind};

    #[test]
    fn an_answer_comes_back_with_the_state_and_a_damaged_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let store = Store::open(root, &OpenOptions::create()).unwrap();
        let question = Hash::of(b"question");
        let state = store.steady().unwrap().answers().unwrap();
        assert_eq!(Store::kept_answer(root, &question), None);
        store.keep_answer(&question, b"answer").unwrap();
        let kept = || Store::kept_answer(root, &question);
        assert_eq!(kept(), Some((b"answer".to_vec(), state)));
        let tree = store.import_dir(&root.join("logs"), &Default::default());
        let r = Realisation {
            kind: RealisationKind::Step,
            key: question,
            drv: question,
            name: "a:b".into(),
            tree: tree.unwrap().tree,
            started: 1,
            seconds: 1.0,
            host: "h".into(),
            log: None,
        };
        assert_eq!(
            kept().unwrap().1,
            state,
            "what is added takes no answer back"
        );
        store.record(&r).unwrap();
        let later = kept().unwrap().1;
        assert_ne!(later, state);
        let files = store.files_of_trees(&[r.tree]).unwrap().unwrap();
        assert_eq!(files.len(), 1);
        let path = path_of(root, &question);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(kept(), None);
            std::fs::write(&path, &good[..at]).unwrap();
            assert_eq!(kept(), None);
        }
        std::fs::write(&path, &good).unwrap();
        assert!(kept().is_some());
        store.gc(&crate::GcPolicy::newest(0), false).unwrap();
        drop(store);
        let store = Store::open(root, &OpenOptions::create()).unwrap();
        store.gc(&crate::GcPolicy::newest(0), false).unwrap();
        assert_ne!(kept().unwrap().1, later, "what goes takes answers back");
    }

    #[test]
    fn what_is_read_steadily_is_of_one_state_until_this_handle_writes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let other = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let key = Hash::of(b"part");
        let part = TreeHash(Hash::of(b"tree"));
        let steady = store.steady().unwrap();
        let answers = steady.answers();
        assert!(answers.is_some());
        other.put_part(&key, part).unwrap();
        assert_eq!(store.part(&key).unwrap(), None);
        let second = store.steady().unwrap();
        assert_eq!(second.answers(), answers);
        drop(second);
        assert_eq!(store.part(&key).unwrap(), None, "the first still holds");
        assert_eq!(steady.answers(), answers);
        store.put_part(&Hash::of(b"own"), part).unwrap();
        assert_eq!(steady.answers(), None);
        assert_eq!(store.part(&key).unwrap(), Some(part));
        drop(steady);
        assert_ne!(store.steady().unwrap().answers(), answers);
    }
}
