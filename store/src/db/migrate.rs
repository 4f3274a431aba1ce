//! The tables, as a list of numbered steps.
//!
//! `PRAGMA user_version` tells how many steps a database has behind it. Opening it for writing does
//! the rest in one transaction. A step that was released is never changed: the next one is added
//! at the end, and doc/store-format.md tells of it.
//!
//! A new column has a default, since programs of before that have the database open go on to add rows
//! without it; readers of old databases get a temporary view with the column (`stand_in`), which stands
//! before the table of that name. A table whose rows decide what planning finds renews `answers` in the
//! table `state` with triggers on every change of it.

use rusqlite::{Connection, Transaction};

/// One step.
struct Step {
    /// Brings a database to the next version.
    up: &'static str,
    /// What a connection that must not write gets in its place: temporary tables and views of the
    /// names that the step makes, so that everything that only reads works on older databases.
    stand_in: &'static str,
}

const STEPS: &[Step] = &[
    Step {
        up: "
CREATE TABLE realisation (
  key TEXT PRIMARY KEY, drv TEXT NOT NULL, name TEXT NOT NULL, tree TEXT NOT NULL,
  started INTEGER NOT NULL, seconds REAL NOT NULL, host TEXT NOT NULL, log TEXT
) WITHOUT ROWID;
CREATE INDEX realisation_name ON realisation (name, started);
CREATE INDEX realisation_tree ON realisation (tree);
CREATE TABLE history (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, drv TEXT NOT NULL, name TEXT NOT NULL, tree TEXT,
  started INTEGER NOT NULL, seconds REAL NOT NULL, host TEXT NOT NULL, log TEXT, outcome TEXT NOT NULL
);
CREATE INDEX history_name ON history (name, started);
CREATE TABLE pack (
  name TEXT PRIMARY KEY, content TEXT NOT NULL, bytes INTEGER NOT NULL, objects INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE root (name TEXT PRIMARY KEY, tree TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE lease (
  id INTEGER PRIMARY KEY, session TEXT NOT NULL, pid INTEGER NOT NULL, process_start INTEGER NOT NULL,
  boot TEXT NOT NULL, purpose TEXT NOT NULL
);
CREATE INDEX lease_session ON lease (session);
CREATE TABLE lease_tree (
  lease INTEGER NOT NULL, tree TEXT NOT NULL, PRIMARY KEY (lease, tree)
) WITHOUT ROWID;
CREATE TABLE layer (
  tree TEXT PRIMARY KEY, base TEXT, depth INTEGER NOT NULL, boot TEXT NOT NULL
) WITHOUT ROWID;
",
        stand_in: "",
    },
    Step {
        up: "
CREATE TABLE derivation (
  key TEXT PRIMARY KEY, coding TEXT NOT NULL, length INTEGER NOT NULL, bytes BLOB NOT NULL
);
CREATE TABLE part (key TEXT PRIMARY KEY, tree TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE signature (
  key TEXT NOT NULL, tree TEXT NOT NULL, signer TEXT NOT NULL,
  signature BLOB NOT NULL CHECK (length(signature) = 64), PRIMARY KEY (key, tree, signer)
) WITHOUT ROWID;
CREATE TABLE lock_file (
  path TEXT PRIMARY KEY, seen INTEGER NOT NULL, missing INTEGER
) WITHOUT ROWID;
CREATE TABLE pin (
  path TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, tree TEXT NOT NULL,
  PRIMARY KEY (path, kind, name)
) WITHOUT ROWID;
CREATE TABLE used (tree TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
ALTER TABLE history ADD COLUMN phase TEXT;
ALTER TABLE history ADD COLUMN detail TEXT;
UPDATE history SET outcome = 'ok' WHERE outcome = 'built';
CREATE INDEX history_key ON history (key);
",
        stand_in: "
CREATE TEMP TABLE derivation (key TEXT PRIMARY KEY, coding TEXT, length INTEGER, bytes BLOB);
CREATE TEMP TABLE part (key TEXT PRIMARY KEY, tree TEXT);
CREATE TEMP TABLE signature (key TEXT, tree TEXT, signer TEXT, signature BLOB);
CREATE TEMP TABLE lock_file (path TEXT PRIMARY KEY, seen INTEGER, missing INTEGER);
CREATE TEMP TABLE pin (path TEXT, kind TEXT, name TEXT, tree TEXT);
CREATE TEMP TABLE used (tree TEXT PRIMARY KEY, at INTEGER);
CREATE TEMP VIEW history AS
  SELECT id, key, drv, name, tree, started, seconds, host, log,
    CASE outcome WHEN 'built' THEN 'ok' ELSE outcome END AS outcome, NULL AS phase, NULL AS detail,
    CASE WHEN instr(name, ':') > 0 THEN 'step' ELSE 'target' END AS kind
  FROM main.history;
",
    },
    Step {
        up: "
CREATE TABLE lease_pack (
  lease INTEGER NOT NULL, pack TEXT NOT NULL, PRIMARY KEY (lease, pack)
) WITHOUT ROWID;
CREATE INDEX realisation_drv ON realisation (drv);
",
        stand_in: "CREATE TEMP TABLE lease_pack (lease INTEGER, pack TEXT);",
    },
    // Until here names told kinds: those of steps had a colon. The triggers tell the kind of a row that comes
    // without one: from a program of an older release that had the database open already, or from a rescue
    // of an older database.
    Step {
        up: "
ALTER TABLE realisation ADD COLUMN kind TEXT NOT NULL DEFAULT '';
ALTER TABLE history ADD COLUMN kind TEXT NOT NULL DEFAULT '';
UPDATE realisation SET kind = CASE WHEN instr(name, ':') > 0 THEN 'step' ELSE 'target' END;
UPDATE history SET kind = CASE WHEN instr(name, ':') > 0 THEN 'step' ELSE 'target' END;
CREATE TRIGGER realisation_kind AFTER INSERT ON realisation WHEN NEW.kind = '' BEGIN
  UPDATE realisation SET kind = CASE WHEN instr(NEW.name, ':') > 0 THEN 'step' ELSE 'target' END
    WHERE key = NEW.key;
END;
CREATE TRIGGER history_kind AFTER INSERT ON history WHEN NEW.kind = '' BEGIN
  UPDATE history SET kind = CASE WHEN instr(NEW.name, ':') > 0 THEN 'step' ELSE 'target' END
    WHERE id = NEW.id;
END;
",
        stand_in: "
CREATE TEMP VIEW realisation AS
  SELECT key, drv, name, tree, started, seconds, host, log,
    CASE WHEN instr(name, ':') > 0 THEN 'step' ELSE 'target' END AS kind
  FROM main.realisation;
CREATE TEMP VIEW IF NOT EXISTS history AS
  SELECT id, key, drv, name, tree, started, seconds, host, log, outcome, phase, detail,
    CASE WHEN instr(name, ':') > 0 THEN 'step' ELSE 'target' END AS kind
  FROM main.history;
",
    },
    // Folders of checkouts that were made before have no time, and are written anew.
    Step {
        up: "ALTER TABLE layer ADD COLUMN made INTEGER NOT NULL DEFAULT 0;",
        stand_in: "
CREATE TEMP VIEW layer AS SELECT tree, base, depth, boot, 0 AS made FROM main.layer;
",
    },
    // `state` has a random number for what may be remembered: which packs there are, and which answers the
    // database and the packs give. Whoever finds the number that it saw before knows that nothing changed.
    Step {
        up: "
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state (name, value) VALUES ('packs', random()), ('answers', random());
CREATE TRIGGER pack_added AFTER INSERT ON pack BEGIN
  UPDATE state SET value = random() WHERE name = 'packs';
END;
CREATE TRIGGER pack_removed AFTER DELETE ON pack BEGIN
  UPDATE state SET value = random();
END;
CREATE TRIGGER pack_changed AFTER UPDATE ON pack BEGIN
  UPDATE state SET value = random();
END;
CREATE TRIGGER realisation_added AFTER INSERT ON realisation BEGIN
  UPDATE state SET value = random() WHERE name = 'answers';
END;
CREATE TRIGGER realisation_removed AFTER DELETE ON realisation BEGIN
  UPDATE state SET value = random() WHERE name = 'answers';
END;
CREATE TRIGGER realisation_changed AFTER UPDATE ON realisation BEGIN
  UPDATE state SET value = random() WHERE name = 'answers';
END;
CREATE TRIGGER part_added AFTER INSERT ON part BEGIN
  UPDATE state SET value = random() WHERE name = 'answers';
END;
CREATE TRIGGER part_removed AFTER DELETE ON part BEGIN
  UPDATE state SET value = random() WHERE name = 'answers';
END;
CREATE TRIGGER part_changed AFTER UPDATE ON part BEGIN
  UPDATE state SET value = random() WHERE name = 'answers';
END;
CREATE TRIGGER pin_removed AFTER DELETE ON pin BEGIN
  UPDATE state SET value = random() WHERE name = 'answers';
END;
CREATE TRIGGER lock_file_removed AFTER DELETE ON lock_file BEGIN
  UPDATE state SET value = random() WHERE name = 'answers';
END;
CREATE INDEX history_drv ON history (drv);
CREATE INDEX history_tree ON history (tree);
",
        stand_in: "CREATE TEMP TABLE state (name TEXT PRIMARY KEY, value INTEGER);",
    },
    // Null until the next full verification for packs that are here already.
    Step {
        up: "
ALTER TABLE pack ADD COLUMN index_hash TEXT;
ALTER TABLE pack ADD COLUMN records_hash TEXT;
",
        stand_in: "
CREATE TEMP VIEW pack AS
  SELECT name, content, bytes, objects, NULL AS index_hash, NULL AS records_hash FROM main.pack;
",
    },
    Step {
        up: "
CREATE TABLE size (name TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE held (
  host TEXT NOT NULL, tree TEXT NOT NULL, bytes INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (host, tree)
) WITHOUT ROWID;
",
        stand_in: "
CREATE TEMP TABLE size (name TEXT PRIMARY KEY, bytes INTEGER);
CREATE TEMP TABLE held (host TEXT, tree TEXT, bytes INTEGER, at INTEGER);
",
    },
    Step {
        up: "
CREATE TABLE bundles (key TEXT PRIMARY KEY, list BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
",
        stand_in: "CREATE TEMP TABLE bundles (key TEXT PRIMARY KEY, list BLOB, at INTEGER);",
    },
    Step {
        up: "
CREATE TABLE operation (
  engine TEXT NOT NULL, action TEXT NOT NULL, name TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (engine, action)
) WITHOUT ROWID;
",
        stand_in: "CREATE TEMP TABLE operation (engine TEXT, action TEXT, name TEXT, at INTEGER);",
    },
];

/// The version that this release writes.
pub(super) fn newest() -> u32 {
    STEPS.len() as u32
}

/// How many steps a database has behind it.
pub(super) fn version(c: &Connection) -> rusqlite::Result<i64> {
    c.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Does the steps that a database lacks. Nothing happens to one that has them all.
pub(super) fn migrate(t: &Transaction<'_>) -> rusqlite::Result<()> {
    // Another process may have been faster.
    let done = usize::try_from(version(t)?).unwrap_or(usize::MAX);
    for step in STEPS.iter().skip(done) {
        t.execute_batch(step.up)?;
    }
    if done < STEPS.len() {
        t.pragma_update(None, "user_version", newest())?;
    }
    Ok(())
}

/// Lets a connection that must not write read a database of an older version.
pub(super) fn stand_in(c: &Connection, version: usize) -> rusqlite::Result<()> {
    // Nothing may be written, not even to the folder of temporary files.
    c.execute_batch("PRAGMA temp_store = MEMORY")?;
    for step in STEPS.iter().skip(version) {
        c.execute_batch(step.stand_in)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Database, Durable};
    use crate::{Hash, OpenOptions, Outcome, RealisationKind, Store, StoreError};

    const NAMES: [&str; 2] = ["b/a/s/stage1", "b/a/s/stage1:run"];

    /// Records a realisation as releases did that knew no kinds. Not in the history, which they do too.
    fn put_old(c: &Connection, n: usize, name: &str) {
        let key = Hash::of(&[n as u8]).to_string();
        c.prepare_cached(
            "INSERT OR REPLACE INTO realisation (key, drv, name, tree, started, seconds, host, log) \
             VALUES (?1, ?1, ?2, ?1, 5, 1.5, 'here', NULL)",
        )
        .unwrap()
        .execute([&key, name])
        .unwrap();
    }

    fn kinds(store: &Store) -> Vec<(String, RealisationKind)> {
        let all = store.realisations(None).unwrap().into_iter();
        let mut all: Vec<_> = all.map(|r| (r.name, r.kind)).collect();
        all.sort();
        all
    }

    fn expected() -> Vec<(String, RealisationKind)> {
        let kinds = [RealisationKind::Target, RealisationKind::Step];
        NAMES.map(str::to_owned).into_iter().zip(kinds).collect()
    }

    /// A database as the first release wrote it.
    fn first_release(store: &std::path::Path) -> Hash {
        drop(Store::open(store, &OpenOptions::create()).unwrap());
        let path = store.join("db/mstore.sqlite");
        for file in [
            "db/mstore.sqlite",
            "db/mstore.sqlite-wal",
            "db/mstore.sqlite-shm",
        ] {
            let _ = std::fs::remove_file(store.join(file));
        }
        let key = Hash::of(b"key");
        let c = Connection::open(&path).unwrap();
        c.execute_batch(STEPS[0].up).unwrap();
        c.execute(
            "INSERT INTO history (key, drv, name, tree, started, seconds, host, log, outcome)
             VALUES (?1, ?1, 'a', ?1, 5, 1.5, 'here', NULL, 'built')",
            [key.to_string()],
        )
        .unwrap();
        for (n, name) in NAMES.iter().enumerate() {
            put_old(&c, n, name);
        }
        c.pragma_update(None, "user_version", 1).unwrap();
        let folder = store.join("derivations").join(&key.to_string()[..2]);
        std::fs::create_dir_all(&folder).unwrap();
        let name = |suffix| format!("{}.{suffix}", &key.to_string()[2..]);
        std::fs::write(folder.join(name("drv")), b"recipe").unwrap();
        std::fs::write(folder.join(name("part")), key.as_bytes()).unwrap();
        std::fs::write(folder.join(".new-1-1"), b"half").unwrap();
        key
    }

    fn check(store: &Store, key: &Hash) {
        assert_eq!(
            store.derivation(key).unwrap().as_deref(),
            Some(&b"recipe"[..])
        );
        assert_eq!(store.part(key).unwrap().map(|t| t.0), Some(*key));
        let history = store.history(&Default::default()).unwrap();
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].outcome, Outcome::Ok);
        assert_eq!(history[0].phase, None);
        assert_eq!(history[0].kind, RealisationKind::Target);
        assert_eq!(kinds(store), expected());
    }

    #[test]
    fn every_older_version_can_be_read_and_brought_up() {
        for version in 1..STEPS.len() {
            let dir = tempfile::tempdir().unwrap();
            first_release(dir.path());
            let c = Connection::open(dir.path().join("db/mstore.sqlite")).unwrap();
            for step in &STEPS[1..version] {
                c.execute_batch(step.up).unwrap();
            }
            c.pragma_update(None, "user_version", version as u32)
                .unwrap();
            drop(c);
            for options in [OpenOptions::read_only(), OpenOptions::default()] {
                let store = Store::open(dir.path(), &options).unwrap();
                let history = store.history(&Default::default()).unwrap();
                assert_eq!(history[0].kind, RealisationKind::Target, "{version}");
                assert_eq!(kinds(&store), expected(), "{version}");
                let misfits = store.database().read("test", crate::db::rows::misfits);
                assert_eq!(misfits.unwrap(), [""; 0], "{version}");
            }
        }
    }

    #[test]
    fn what_an_older_program_adds_meanwhile_gets_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), &OpenOptions::create()).unwrap());
        let path = dir.path().join("db/mstore.sqlite");
        std::fs::remove_file(&path).unwrap();
        let older = Connection::open(&path).unwrap();
        for step in &STEPS[..3] {
            older.execute_batch(step.up).unwrap();
        }
        older.pragma_update(None, "user_version", 3).unwrap();
        put_old(&older, 0, NAMES[0]);
        let store = Store::open(dir.path(), &OpenOptions::default()).unwrap();
        put_old(&older, 1, NAMES[1]);
        older
            .execute_batch(
                "INSERT INTO history (key, drv, name, started, seconds, host, outcome) \
                 SELECT key, drv, name, started, seconds, host, 'ok' FROM realisation",
            )
            .unwrap();
        assert_eq!(kinds(&store), expected());
        let mut history = store.history(&Default::default()).unwrap();
        history.sort_by(|a, b| a.name.cmp(&b.name));
        let history: Vec<_> = history.into_iter().map(|a| (a.name, a.kind)).collect();
        assert_eq!(history, expected());
    }

    #[test]
    fn an_old_store_can_be_read_without_a_change_and_is_brought_up_by_the_first_writer() {
        let dir = tempfile::tempdir().unwrap();
        let key = first_release(dir.path());
        let reader = Store::open(dir.path(), &OpenOptions::read_only()).unwrap();
        check(&reader, &key);
        assert!(reader.signatures(&key).unwrap().is_empty());
        assert!(reader.pins().unwrap().is_empty());
        assert!(dir.path().join("derivations").exists());
        let writer = Store::open(dir.path(), &OpenOptions::default()).unwrap();
        check(&writer, &key);
        assert!(!dir.path().join("derivations").exists());
        // Who has the old one open goes on.
        assert_eq!(reader.history(&Default::default()).unwrap().len(), 1);
        drop(writer);
        check(
            &Store::open(dir.path(), &OpenOptions::read_only()).unwrap(),
            &key,
        );
        check(
            &Store::open(dir.path(), &OpenOptions::default()).unwrap(),
            &key,
        );
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        first_release(dir.path());
        let path = dir.path().join("db/mstore.sqlite");
        // Somebody's table stands in the way.
        let c = Connection::open(&path).unwrap();
        c.execute_batch("CREATE TABLE used (x)").unwrap();
        drop(c);
        assert!(Database::open(&path, false, None).is_err());
        let c = Connection::open(&path).unwrap();
        assert_eq!(version(&c).unwrap(), 1);
        assert!(c.prepare("SELECT * FROM derivation").is_err());
        c.execute_batch("DROP TABLE used").unwrap();
        drop(c);
        let database = Database::open(&path, false, None).unwrap();
        database
            .write(Durable::No, "test", |t| t.execute("DELETE FROM used", []))
            .unwrap();
    }

    #[test]
    fn a_newer_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path(), &OpenOptions::create()).unwrap());
        let c = Connection::open(dir.path().join("db/mstore.sqlite")).unwrap();
        c.pragma_update(None, "user_version", newest() + 1).unwrap();
        drop(c);
        for options in [OpenOptions::read_only(), OpenOptions::create()] {
            match Store::open(dir.path(), &options) {
                Err(StoreError::NewerFormat { found, known, .. }) => {
                    assert_eq!((found, known), (newest() + 1, newest()));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
