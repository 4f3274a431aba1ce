//! Carries a plan out.

use super::*;
use crate::db::{Durable, used};
use crate::pack::{Effort, PackWriter, Packed, RecordKind, SealedPack};
use crate::session::random_name;

impl Store {
    /// Removes what is dead as a whole, and dead manifests. Only this needs the lock for long.
    pub(super) fn remove_dead(&self, plan: &mut Plan, lock: StoreLock) -> Result<(), StoreError> {
        let forget = |t: &rusqlite::Transaction<'_>, plan: &Plan| -> rusqlite::Result<()> {
            forget_layers(t, &plan.layers)?;
            for path in &plan.dead_locks {
                t.execute("DELETE FROM pin WHERE path = ?1", [path])?;
                t.execute("DELETE FROM lock_file WHERE path = ?1", [path])?;
            }
            for path in &plan.missing_locks {
                t.execute(
                    "UPDATE lock_file SET missing = ?2 WHERE path = ?1",
                    rusqlite::params![path, used::now()],
                )?;
            }
            let trees = plan.report.gone.iter().filter_map(|gone| match gone {
                Gone::Tree { tree, .. } => Some(*tree),
                _ => None,
            });
            forget_uses(t, &trees.collect::<Vec<_>>())
        };
        let copies = match self.copy_living(&plan.marks, &plan.meta, PackKind::Meta, &|| Ok(())) {
            // A full disk is when a collection is needed most: what needs no room goes first.
            Err(StoreError::NoSpace { .. }) => {
                self.replace(&[], &[], |t| forget_layers(t, &plan.layers))?;
                for path in plan.layers.iter().map(|(_, path)| path).chain(&plan.paths) {
                    let gone = self.disk().remove_tree(path);
                    gone.map_err(|e| StoreError::io("remove", path, e))?;
                }
                self.copy_living(&plan.marks, &plan.meta, PackKind::Meta, &|| Ok(()))?
            }
            other => other?,
        };
        let aside = self.scratch("gc")?;
        let fresh = self.replace(&copies, &plan.dead, |t| forget(t, plan))?;
        plan.marks.adopt(self.refresh()?, &fresh);
        let paths = plan.layers.iter().map(|(_, path)| path).chain(&plan.paths);
        for (n, path) in paths.enumerate() {
            match self.disk().rename(path, &aside.path().join(n.to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("move aside", path, error));
                }
                _ => {}
            }
        }
        self.unlink_packs(plan.dead.iter().map(|pack| pack.name()))?;
        drop(lock);
        aside.remove()
    }

    /// Writes half-dead packs of contents anew, some at a time.
    pub(super) fn rewrite(&self, policy: &GcPolicy<'_>, plan: &mut Plan) -> Result<(), StoreError> {
        let mut rest = std::mem::take(&mut plan.data).into_iter().peekable();
        let mut undone: Vec<String> = Vec::new();
        while rest.peek().is_some() {
            policy.go_on()?;
            let mut batch: Vec<Victim> = Vec::new();
            let mut bytes = 0;
            while let Some(victim) = rest.next_if(|v| batch.is_empty() || bytes + v.living <= ROUND)
            {
                bytes += victim.living;
                batch.push(victim);
            }
            let go_on = || policy.go_on();
            let done = match self.copy_living(&plan.marks, &batch, PackKind::Data, &go_on) {
                Ok(copies) => self.swap(policy, plan, &batch, copies),
                Err(error) => Err(error),
            };
            match done {
                Ok(done) => {
                    let names = batch.iter().map(|v| v.pack.name().to_owned());
                    undone.extend(names.filter(|name| !done.contains(name)));
                }
                // What frees room without needing any is done; the rest waits for more of it.
                Err(StoreError::NoSpace { .. }) => {
                    let all = batch.iter().map(|v| v.pack.name().to_owned());
                    undone.extend(all.chain(rest.by_ref().map(|v| v.pack.name().to_owned())));
                }
                Err(error) => return Err(error),
            }
        }
        plan.report.gone.retain(|gone| match gone {
            Gone::Rewrite { name, .. } => !undone.contains(name),
            _ => true,
        });
        plan.report.postponed = undone;
        Ok(())
    }

    /// Puts copies in the place of packs, except of those in which something became needed after
    /// the copy was made. Returns the names of the packs that went.
    fn swap(
        &self,
        policy: &GcPolicy<'_>,
        plan: &mut Plan,
        batch: &[Victim],
        mut copies: Vec<(PackKind, SealedPack)>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let _lock = self.lock_exclusive()?;
        // What went is not here any more, and what came back is wanted.
        let roots = self.gc_roots(policy, &Dropped::new())?;
        plan.marks.renew_in_place(self.refresh()?);
        mark_all(policy, &roots, &mut plan.marks)?;
        let mut gone: Vec<Arc<PackFile>> = Vec::new();
        for victim in batch {
            let number = plan.marks.packs.number(victim.pack.name());
            if number.is_some_and(|n| plan.marks.count(n) == victim.copied) {
                gone.push(victim.pack.clone());
            }
        }
        let names = gone.iter().map(|pack| pack.name().to_owned()).collect();
        // Additions of which nothing is needed any more may name what goes: a manifest that can be
        // found has to be complete.
        let meta = victims(&plan.marks, PackKind::Meta, false)?;
        copies.extend(self.copy_living(&plan.marks, &meta, PackKind::Meta, &|| Ok(()))?);
        gone.extend(meta.iter().map(|v| v.pack.clone()));
        for (number, pack) in plan.marks.packs.packs.iter().enumerate() {
            if pack.is_meta() && plan.marks.count(number) == 0 {
                gone.push(pack.clone());
            }
        }
        let forgotten = dead_trees(&plan.marks, &gone)?;
        let fresh = self.replace(&copies, &gone, |t| forget_uses(t, &forgotten))?;
        plan.marks.adopt(self.refresh()?, &fresh);
        self.unlink_packs(gone.iter().map(|pack| pack.name()))?;
        Ok(names)
    }

    /// Copies the living objects of the victims into new packs, durable but not yet visible.
    fn copy_living(
        &self,
        marks: &Marks,
        victims: &[Victim],
        content: PackKind,
        go_on: &dyn Fn() -> Result<(), StoreError>,
    ) -> Result<Vec<(PackKind, SealedPack)>, StoreError> {
        let session = self.session()?;
        let mut effort = Effort::Thorough;
        for victim in victims {
            effort = effort.min(victim.pack.open()?.effort());
        }
        let mut sealed = Vec::new();
        let mut writer: Option<PackWriter> = None;
        for victim in victims {
            let Some(number) = marks.packs.number(victim.pack.name()) else {
                continue;
            };
            let pack = marks.packs.packs[number].open()?;
            let mut places = Vec::new();
            for at in 0..pack.count() {
                if marks.is_marked(number, at) {
                    places.push(pack.entry(at)?);
                }
            }
            places.sort_unstable_by_key(|place| place.offset);
            for place in places {
                go_on()?;
                let current = match writer.take() {
                    Some(writer) => writer,
                    None => {
                        let path = session.tmp.join(random_name()?);
                        PackWriter::create(self.disk(), &path, effort)?
                    }
                };
                let end = pack.with_stored(&place, |stored| {
                    current.append(&Packed {
                        hash: place.hash,
                        kind: place.kind,
                        raw: place.raw,
                        flags: place.flags,
                        stored,
                    })
                })?;
                if end > crate::ingest::PACK_LIMIT {
                    sealed.push((content, current.seal()?));
                } else {
                    writer = Some(current);
                }
            }
        }
        if let Some(writer) = writer {
            sealed.push((content, writer.seal()?));
        }
        Ok(sealed)
    }

    /// Makes the copies part of the store in place of what they were copied from, and does
    /// more in the same step: whatever happens, nobody finds a tree of which a part is gone.
    pub(crate) fn replace(
        &self,
        copies: &[(PackKind, SealedPack)],
        dead: &[Arc<PackFile>],
        more: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<Vec<String>, StoreError> {
        let removed: Vec<&str> = dead.iter().map(|pack| pack.name()).collect();
        self.change_packs(
            Durable::Yes,
            "replace packs",
            copies,
            &removed,
            |t, rows| {
                more(t)?;
                Ok(rows.iter().map(|row| row.name.clone()).collect())
            },
        )
    }
}

/// Trees of packs that go which nothing needs.
fn dead_trees(marks: &Marks, gone: &[Arc<PackFile>]) -> Result<Vec<TreeHash>, StoreError> {
    let gone: BTreeSet<&str> = gone.iter().map(|pack| pack.name()).collect();
    let mut dead = Vec::new();
    for (number, file) in marks.packs.packs.iter().enumerate() {
        if file.is_meta() && gone.contains(file.name()) {
            let pack = file.open()?;
            for at in (0..pack.count()).filter(|at| !marks.is_marked(number, *at)) {
                let entry = pack.entry(at)?;
                if entry.kind == RecordKind::Tree {
                    dead.push(TreeHash(entry.hash));
                }
            }
        }
    }
    Ok(dead)
}

/// Forgets when trees were used last, which tells that it was a collection that removed them.
fn forget_uses(t: &rusqlite::Transaction<'_>, trees: &[TreeHash]) -> rusqlite::Result<()> {
    let mut forget = t.prepare("DELETE FROM used WHERE tree = ?1")?;
    for tree in trees {
        forget.execute([tree.to_string()])?;
    }
    Ok(())
}

fn forget_layers(
    t: &rusqlite::Transaction<'_>,
    layers: &[(Option<TreeHash>, PathBuf)],
) -> rusqlite::Result<()> {
    let mut forget = t.prepare("DELETE FROM layer WHERE tree = ?1 AND (base IS NULL) = ?2")?;
    for (tree, path) in layers {
        if let Some(tree) = tree {
            let whole = path.parent().is_some_and(|p| p.ends_with("checkouts"));
            forget.execute(rusqlite::params![tree.to_string(), whole])?;
        }
    }
    Ok(())
}
