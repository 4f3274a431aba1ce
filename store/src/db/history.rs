//! History: every attempt to build something, also those that failed.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

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

/// A run of a step that ended well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PastRun {
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How many seconds it took: 0 or more, and fewer than ten years have.
    pub seconds: f64,
    /// Its machine, by its place in [`PastRuns::hosts`].
    pub host: usize,
}

/// Runs of steps that ended well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastRuns {
    /// The names of machines.
    pub hosts: Vec<String>,
    /// Of each name that was asked for its newest runs, the newest last.
    pub of: Vec<Vec<PastRun>>,
    /// The newest runs of steps of any name, the newest first.
    pub newest: Vec<(String, PastRun)>,
    /// Runs that were left out because what is recorded of them makes no sense.
    pub senseless: usize,
}

/// Newest runs of a step that tell how long it usually takes.
const RUNS: usize = 9;
/// Newest runs of steps of any name that tell how fast machines are.
const NEWEST: usize = 4096;
/// Seconds of the longest run that is believed: ten years.
const LONGEST: f64 = 10.0 * 365.0 * 86_400.0;
/// Bytes of the longest name of a machine that is believed.
const HOST_NAME: usize = 255;

/// Rows of the history that are read in the time in which one name is looked up.
const ROWS_FOR_ONE: usize = 8;

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

    /// The newest runs of steps of these names that ended well, and of others by which machines can be compared.
    pub fn past_runs(&self, names: &[&str]) -> Result<PastRuns, StoreError> {
        let mut taken = Taken {
            runs: PastRuns {
                of: vec![Vec::new(); names.len()],
                ..PastRuns::default()
            },
            hosts: HashMap::new(),
        };
        if names.is_empty() {
            return Ok(taken.runs);
        }
        self.database().read("read the history", |c| {
            // As good as the number of rows, and known at once.
            let rows: Option<i64> =
                c.query_row("SELECT max(id) FROM history", [], |row| row.get(0))?;
            let rows = usize::try_from(rows.unwrap_or(0)).unwrap_or(usize::MAX);
            if rows == 0 {
                return Ok(());
            }
            taken.newest(c)?;
            match rows / ROWS_FOR_ONE < names.len() {
                true => taken.of_all(c, names),
                false => taken.of_each(c, names),
            }
        })?;
        Ok(taken.runs)
    }

    /// Visits the newest attempts at steps, the newest row first. Rows that make no sense are passed over.
    pub fn past(
        &self,
        query: &PastQuery<'_>,
        visit: &mut dyn FnMut(Past<'_>),
    ) -> Result<Looked, StoreError> {
        self.database().read("read the history", |c| {
            // As good as the number of rows, and known at once.
            let last: Option<i64> =
                c.query_row("SELECT max(id) FROM history", [], |row| row.get(0))?;
            let last = last.unwrap_or(0).max(0);
            let newest = i64::try_from(query.newest).unwrap_or(i64::MAX);
            let mut looked = Looked {
                of: last.unsigned_abs(),
                ..Looked::default()
            };
            let mut rows = c.prepare_cached(
                "SELECT name, host, started, seconds, outcome FROM history \
                 WHERE id > ?1 AND kind = 'step' ORDER BY id DESC",
            )?;
            let mut rows = rows.query([last.saturating_sub(newest)])?;
            while let Some(row) = rows.next()? {
                let Some(past) = past_at(row) else {
                    looked.skipped += 1;
                    continue;
                };
                if query.since.is_none_or(|since| past.started >= since)
                    && query.host.is_none_or(|host| past.host == host)
                {
                    looked.read += 1;
                    visit(past);
                }
            }
            Ok(looked)
        })
    }
}

/// Which attempts at steps are wanted for a look at the past.
#[derive(Clone, Copy, Debug, Default)]
pub struct PastQuery<'a> {
    /// The newest N rows are looked at: what that costs does not grow with the history.
    pub newest: u64,
    /// Those alone that began at this second or later.
    pub since: Option<i64>,
    /// Those alone of this host.
    pub host: Option<&'a str>,
}

/// What is told of an attempt at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past<'a> {
    /// What was built.
    pub name: &'a str,
    /// The machine.
    pub host: &'a str,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How long it took: a number, not below 0.
    pub seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
}

/// What a look at the past came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Attempts that were told.
    pub read: u64,
    /// Rows that the history has, about.
    pub of: u64,
    /// Rows that were left out since they make no sense: somebody else wrote them, or the database is damaged.
    pub skipped: u64,
}

/// Longest name of a step or a host that is believed, in bytes.
const MOST_NAME: usize = 4096;

/// An attempt, if the row makes sense.
fn past_at<'r>(row: &'r Row<'_>) -> Option<Past<'r>> {
    let name = row.get_ref(0).ok()?.as_str().ok()?;
    let host = row.get_ref(1).ok()?.as_str().ok()?;
    let started = row.get_ref(2).ok()?.as_i64().ok()?;
    let seconds = match row.get_ref(3).ok()? {
        ValueRef::Real(seconds) => seconds,
        // As a database may keep a number that is whole.
        ValueRef::Integer(seconds) => seconds as f64,
        _ => return None,
    };
    let word = row.get_ref(4).ok()?.as_str().ok()?;
    let outcome = Outcome::of_word(word);
    let sound = outcome.word() == word
        && started >= 0
        && seconds.is_finite()
        && seconds >= 0.0
        && !name.is_empty()
        && name.len() <= MOST_NAME
        && host.len() <= MOST_NAME;
    sound.then_some(Past {
        name,
        host,
        started,
        seconds,
        outcome,
    })
}

/// Runs as they are taken from rows.
struct Taken {
    runs: PastRuns,
    hosts: HashMap<String, usize>,
}

impl Taken {
    /// The run of a row `started, seconds, host`; nothing if it makes no sense.
    fn run(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<PastRun>> {
        let started = row.get_ref(0)?.as_i64().ok();
        let seconds = match row.get_ref(1)? {
            ValueRef::Real(seconds) => Some(seconds),
            ValueRef::Integer(seconds) => Some(seconds as f64),
            _ => None,
        };
        let seconds = seconds.filter(|seconds| (0.0..LONGEST).contains(seconds));
        let host = row.get_ref(2)?.as_str().ok();
        let host = host.filter(|host| host.len() <= HOST_NAME);
        let (Some(started), Some(seconds), Some(host)) = (started, seconds, host) else {
            self.runs.senseless += 1;
            return Ok(None);
        };
        let host = match self.hosts.get(host) {
            Some(known) => *known,
            None => {
                let new = self.runs.hosts.len();
                self.runs.hosts.push(host.to_owned());
                self.hosts.insert(host.to_owned(), new);
                new
            }
        };
        Ok(Some(PastRun {
            started,
            seconds,
            host,
        }))
    }

    fn newest(&mut self, c: &Connection) -> rusqlite::Result<()> {
        let mut newest = c.prepare_cached(&format!(
            "SELECT started, seconds, host, name FROM \
             (SELECT * FROM history ORDER BY id DESC LIMIT {NEWEST}) \
             WHERE outcome = 'ok' AND kind = 'step'"
        ))?;
        let mut rows = newest.query([])?;
        while let Some(row) = rows.next()? {
            if let (Some(run), Ok(name)) = (self.run(row)?, row.get_ref(3)?.as_str()) {
                self.runs.newest.push((name.to_owned(), run));
            }
        }
        // Rows are counted once: below.
        self.runs.senseless = 0;
        Ok(())
    }

    /// Reads the whole table: the quicker way to many names.
    fn of_all(&mut self, c: &Connection, names: &[&str]) -> rusqlite::Result<()> {
        let mut at: HashMap<&str, Vec<usize>> = HashMap::with_capacity(names.len());
        for (number, name) in names.iter().enumerate() {
            at.entry(name).or_default().push(number);
        }
        let mut all = c.prepare_cached(
            "SELECT started, seconds, host, name FROM history \
             WHERE outcome = 'ok' AND kind = 'step' ORDER BY id",
        )?;
        let mut all = all.query([])?;
        while let Some(row) = all.next()? {
            let Some(wanted) = row.get_ref(3)?.as_str().ok().and_then(|name| at.get(name)) else {
                continue;
            };
            if let Some(run) = self.run(row)? {
                for number in wanted {
                    self.runs.of[*number].push(run);
                }
            }
        }
        for runs in &mut self.runs.of {
            // Stable: of runs of one second the later row is the newer run.
            runs.sort_by_key(|run| run.started);
            runs.drain(..runs.len().saturating_sub(RUNS));
        }
        Ok(())
    }

    /// Looks each name up.
    fn of_each(&mut self, c: &Connection, names: &[&str]) -> rusqlite::Result<()> {
        let mut newest = c.prepare_cached(
            "SELECT started, seconds, host FROM history \
             WHERE name = ?1 AND outcome = 'ok' AND kind = 'step' \
             ORDER BY started DESC, id DESC",
        )?;
        for (number, name) in names.iter().enumerate() {
            let mut found = Vec::new();
            let mut rows = newest.query([name])?;
            while found.len() < RUNS
                && let Some(row) = rows.next()?
            {
                found.extend(self.run(row)?);
            }
            found.reverse();
            self.runs.of[number] = found;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, Realisation};

    /// Whether names are looked up one by one or the whole table is read makes no difference.
    #[test]
    fn the_newest_runs_that_ended_well_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        assert_eq!(store.past_runs(&["a:run"]).unwrap().of, [[]]);
        let note = |name: &str, started: i64, seconds: f64, outcome: Outcome| {
            let attempt = Attempt {
                kind: RealisationKind::Step,
                key: Hash::of(b"k"),
                drv: Hash::of(b"d"),
                name: name.into(),
                tree: None,
                started,
                seconds,
                host: "h".into(),
                outcome,
                phase: None,
                detail: None,
                log: None,
            };
            store.note_attempt(&attempt).unwrap();
        };
        // Long ago it took long; what failed or was stopped says nothing.
        for at in 0..5 {
            note("a:run", at, 1000.0, Outcome::Ok);
        }
        for (at, seconds) in (10..).zip([9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.5]) {
            note("a:run", at, seconds, Outcome::Ok);
            note("a:run", at, 0.001, Outcome::Failed);
        }
        note("a:run", 99, 0.001, Outcome::Interrupted);
        note("b:run", 10, 2.0, Outcome::Ok);
        note("b:run", 11, 4.0, Outcome::Ok);
        note("c:run", 11, 4.0, Outcome::Infrastructure);
        let names = ["a:run", "b:run", "c:run", "d:run"];
        let wanted: [&[f64]; 4] = [
            &[9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.5],
            &[2.0, 4.0],
            &[],
            &[],
        ];
        let seconds = |runs: &[PastRun]| runs.iter().map(|run| run.seconds).collect();
        let told = |names: &[&str]| -> Vec<Vec<f64>> {
            let runs = store.past_runs(names).unwrap();
            assert_eq!((runs.senseless, runs.newest.len()), (0, 16));
            assert_eq!(runs.hosts, ["h"]);
            runs.of.iter().map(|runs| seconds(runs)).collect()
        };
        assert_eq!(told(&names), wanted);
        let few: Vec<Vec<f64>> = names.iter().flat_map(|name| told(&[name])).collect();
        assert_eq!(few, wanted);
        // All of them come from the table as it stands.
        let many: Vec<&str> = names.iter().cycle().take(400).copied().collect();
        assert!(told(&many).iter().eq(wanted.iter().cycle().take(400)));
    }

    /// Others may have written to the database.
    #[test]
    fn runs_that_make_no_sense_are_left_out_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let insert = "INSERT INTO history (key, kind, drv, name, started, seconds, host, outcome) \
                      VALUES ('k', 'step', 'd', 'a:run', ?1, ?2, ?3, 'ok')";
        let add = |values: &[&dyn rusqlite::ToSql]| {
            let added = store
                .database()
                .write(Durable::No, "test", |t| t.execute(insert, values));
            added.unwrap();
        };
        let long = "h".repeat(300);
        add(&[&1, &4.0, &"h"]);
        for seconds in [-1.0, 1e300, f64::INFINITY, f64::NEG_INFINITY] {
            add(&[&2, &seconds, &"h"]);
        }
        add(&[&3, &"soon", &"h"]);
        add(&[&4, &1.0, &long]);
        add(&[&"today", &1.0, &"h"]);
        add(&[&5, &7, &"h"]);
        for names in [&["a:run"][..], &["a:run", "a:run", "b:run"]] {
            let runs = store.past_runs(names).unwrap();
            let seconds: Vec<f64> = runs.of[0].iter().map(|run| run.seconds).collect();
            assert_eq!(seconds, [4.0, 7.0]);
            assert_eq!((runs.hosts.len(), runs.newest.len()), (1, 2));
            assert!(runs.senseless >= 7, "{runs:?}");
        }
    }

    #[test]
    fn a_look_at_the_past_passes_over_what_makes_no_sense() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let mut seen = Vec::new();
        let mut look = |query: PastQuery<'_>| {
            seen.clear();
            let looked = store.past(&query, &mut |past| {
                seen.push((past.name.to_owned(), past.seconds, past.outcome));
            });
            (looked.unwrap(), seen.clone())
        };
        let all = PastQuery {
            newest: u64::MAX,
            ..PastQuery::default()
        };
        assert_eq!(look(all), (Looked::default(), Vec::new()));
        let add = |values: &str| {
            let text = format!(
                "INSERT INTO history (key, drv, kind, name, started, seconds, host, outcome) \
                 VALUES ('k', 'd', {values})"
            );
            let add = store
                .database()
                .write(Durable::No, "add", |t| t.execute(&text, []));
            add.unwrap();
        };
        add("'step', 'a:run', 10, 1.5, 'h', 'ok'");
        add("'target', 'a', 10, 1.5, 'h', 'ok'");
        for nonsense in [
            "'step', 'a:run', 10, 'soon', 'h', 'ok'",
            "'step', 'a:run', 10, -1.0, 'h', 'ok'",
            "'step', 'a:run', 10, 9e999, 'h', 'ok'",
            "'step', 'a:run', -10, 1.0, 'h', 'ok'",
            "'step', 'a:run', 'then', 1.0, 'h', 'ok'",
            "'step', 'a:run', 10, 1.0, 'h', 'well'",
            "'step', x'ff', 10, 1.0, 'h', 'ok'",
            "'step', '', 10, 1.0, 'h', 'ok'",
            "'step', 'a:run', 10, 1.0, x'00', 'ok'",
        ] {
            add(nonsense);
        }
        add("'step', 'b:run', 20, 2, 'i', 'failed'");
        let (looked, told) = look(all);
        let b = ("b:run".to_owned(), 2.0, Outcome::Failed);
        let a = ("a:run".to_owned(), 1.5, Outcome::Ok);
        assert_eq!(told, [b.clone(), a.clone()]);
        let (read, of, skipped) = (2, 12, 9);
        assert_eq!(looked, Looked { read, of, skipped });
        let last = look(PastQuery { newest: 1, ..all }).1;
        assert_eq!(last, std::slice::from_ref(&b));
        let since = Some(11);
        assert_eq!(look(PastQuery { since, ..all }).1, [b]);
        let host = Some("h");
        assert_eq!(look(PastQuery { host, ..all }).1, [a]);
    }

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
