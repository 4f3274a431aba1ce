//! History: every attempt to build something, also those that failed.

use rusqlite::{Row, params};

use crate::db::Durable;
use crate::db::rows::{hash_at, kind_at};
use crate::{Hash, RealisationKind, Store, StoreError, TreeHash};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// There is a tree.
    Ok,
    /// What was built is to blame.
    Failed,
    /// The machine is to blame.
    Infrastructure,
    /// It was told to stop.
    Interrupted,
}

impl Outcome {
    /// The word for it, as the database has it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Infrastructure => "infrastructure",
            Outcome::Interrupted => "interrupted",
        }
    }

    fn of_word(word: &str) -> Outcome {
        match word {
            "failed" => Outcome::Failed,
            "infrastructure" => Outcome::Infrastructure,
            "interrupted" => Outcome::Interrupted,
            _ => Outcome::Ok,
        }
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// What was to be made.
    pub kind: RealisationKind,
    /// The resolved key.
    pub key: Hash,
    /// The derivation hash.
    pub drv: Hash,
    /// What was built.
    pub name: String,
    /// The result, if there is one.
    pub tree: Option<TreeHash>,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How long it took.
    pub seconds: f64,
    /// The machine.
    pub host: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The step or phase in which it failed.
    pub phase: Option<String>,
    /// How it failed, for people.
    pub detail: Option<String>,
    /// File name of the log in [`Store::logs_dir`].
    pub log: Option<String>,
}

/// Which attempts to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryFilter<'a> {
    /// Those of this name alone.
    pub name: Option<&'a str>,
    /// Those of this key alone.
    pub key: Option<&'a Hash>,
    /// Those alone of which this is the key, the derivation or the tree.
    pub of: Option<&'a Hash>,
    /// The newest N.
    pub limit: Option<u32>,
}

const COLUMNS: &str =
    "key, kind, drv, name, tree, started, seconds, host, outcome, phase, detail, log";

fn attempt_at(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let tree: Option<String> = row.get(4)?;
    let outcome: String = row.get(8)?;
    Ok(Attempt {
        key: hash_at(row, 0)?,
        kind: kind_at(row, 1)?,
        drv: hash_at(row, 2)?,
        name: row.get(3)?,
        tree: match tree {
            Some(_) => Some(TreeHash(hash_at(row, 4)?)),
            None => None,
        },
        started: row.get(5)?,
        seconds: row.get(6)?,
        host: row.get(7)?,
        outcome: Outcome::of_word(&outcome),
        phase: row.get(9)?,
        detail: row.get(10)?,
        log: row.get(11)?,
    })
}

/// Adds an attempt within a transaction.
pub(crate) fn add(t: &rusqlite::Transaction<'_>, a: &Attempt) -> rusqlite::Result<()> {
    t.prepare_cached(&format!(
        "INSERT INTO history ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    ))?
    .execute(params![
        a.key.to_string(),
        a.kind.word(),
        a.drv.to_string(),
        a.name,
        a.tree.map(|t| t.to_string()),
        a.started,
        a.seconds,
        a.host,
        a.outcome.word(),
        a.phase,
        a.detail,
        a.log,
    ])?;
    Ok(())
}

impl Store {
    /// Notes an attempt that has no result. One that has is noted by [`Store::record`].
    pub fn note_attempt(&self, attempt: &Attempt) -> Result<(), StoreError> {
        self.writable("note an attempt")?;
        self.database()
            .write(Durable::No, "note an attempt", |t| add(t, attempt))
    }

    /// Attempts, newest first.
    pub fn history(&self, filter: &HistoryFilter<'_>) -> Result<Vec<Attempt>, StoreError> {
        let mut conditions = Vec::new();
        let mut values = Vec::new();
        // Each of these has an index.
        for (column, value) in [
            ("name = ?", filter.name.map(str::to_owned)),
            ("key = ?", filter.key.map(ToString::to_string)),
        ] {
            if let Some(value) = value {
                conditions.push(column);
                values.push(value);
            }
        }
        if let Some(of) = filter.of {
            conditions.push(
                "id IN (SELECT id FROM history WHERE key = ? UNION SELECT id FROM history WHERE drv = ? \
                 UNION SELECT id FROM history WHERE tree = ?)",
            );
            values.extend(std::iter::repeat_n(of.to_string(), 3));
        }
        let wanted = match conditions.is_empty() {
            true => String::new(),
            false => format!("WHERE {}", conditions.join(" AND ")),
        };
        let limit = filter.limit.map_or(-1, i64::from);
        self.database().read("read the history", |c| {
            c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM history {wanted} ORDER BY started DESC, id DESC LIMIT {limit}"
            ))?
            .query_map(rusqlite::params_from_iter(values), attempt_at)?
            .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, Realisation};

    #[test]
    fn every_attempt_is_there_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let tree = store.import_dir(dir.path().join("logs").as_path(), &Default::default());
        let tree = tree.unwrap().tree;
        let mut failed = Attempt {
            kind: RealisationKind::Step,
            key: Hash::of(b"k"),
            drv: Hash::of(b"d"),
            name: "a:run".into(),
            tree: None,
            started: 10,
            seconds: 0.5,
            host: "h".into(),
            outcome: Outcome::Failed,
            phase: Some("run".into()),
            detail: Some("exit status 7".into()),
            log: Some("a.log".into()),
        };
        store.note_attempt(&failed).unwrap();
        let built = Realisation {
            kind: failed.kind,
            key: failed.key,
            drv: failed.drv,
            name: failed.name.clone(),
            tree,
            started: 20,
            seconds: 1.0,
            host: "h".into(),
            log: None,
        };
        store.record(&built).unwrap();
        failed.name = "b:run".into();
        failed.key = Hash::of(b"other");
        failed.started = 30;
        failed.outcome = Outcome::Infrastructure;
        store.note_attempt(&failed).unwrap();
        let mut interrupted = failed.clone();
        (interrupted.name, interrupted.key) = ("c:run".into(), Hash::of(b"third"));
        interrupted.outcome = Outcome::Interrupted;
        interrupted.drv = Hash::of(b"third");
        store.note_attempt(&interrupted).unwrap();
        let outcomes = |filter| -> Vec<Outcome> {
            let all = store.history(&filter).unwrap();
            all.into_iter().map(|a| a.outcome).collect()
        };
        let all = HistoryFilter::default();
        assert_eq!(
            outcomes(all),
            [
                Outcome::Interrupted,
                Outcome::Infrastructure,
                Outcome::Ok,
                Outcome::Failed
            ]
        );
        let of_a = HistoryFilter {
            name: Some("a:run"),
            ..all
        };
        assert_eq!(outcomes(of_a), [Outcome::Ok, Outcome::Failed]);
        let last = HistoryFilter {
            limit: Some(1),
            ..of_a
        };
        assert_eq!(store.history(&last).unwrap()[0].tree, Some(tree));
        let by_key = HistoryFilter {
            key: Some(&failed.key),
            ..all
        };
        assert_eq!(store.history(&by_key).unwrap(), [failed.clone()]);
        let of = |hash: &Hash| {
            let filter = HistoryFilter {
                of: Some(hash),
                ..all
            };
            store.history(&filter).unwrap().len()
        };
        assert_eq!(of(&tree.0), 1);
        assert_eq!(of(&failed.drv), 3);
        assert_eq!(of(&failed.key), 1);
        // Derivations and keys are found by how they begin.
        let begin = |hash: &Hash| hash.to_string()[..6].to_owned();
        let found = store.steps_with_prefix(&begin(&failed.drv)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].hash, found[0].is_key), (failed.drv, false));
        assert_eq!(found[0].name, "b:run");
        let found = store.steps_with_prefix(&begin(&built.key)).unwrap();
        assert_eq!((found[0].hash, found[0].is_key), (built.key, true));
        let all = store.steps_with_prefix("").unwrap();
        assert_eq!(
            all.len(),
            5,
            "two keys of one derivation, and one of another"
        );
    }
}
