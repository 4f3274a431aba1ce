//! Logs while they are written.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mstore_store::Store;

use super::header;
use crate::build::step_log;
use crate::cli::Failure;
use crate::cli::output;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Time without a running step after which nothing more is waited for: between two steps of a run there is little.
const IDLE: Duration = Duration::from_secs(1);

/// A log that is written.
struct Live {
    shown: String,
    path: PathBuf,
    file: File,
    at: u64,
    content: output::Content,
}

/// Prints what the steps `names`, as people know them and as they are recorded, write until none of them is built any
/// more, whoever builds them. Tells whether any was.
pub fn follow(store: &Store, names: &[(String, String)]) -> Result<bool, Failure> {
    let mut any = false;
    let mut last_seen = Instant::now();
    let mut live: BTreeMap<usize, Live> = BTreeMap::new();
    // What the last line printed is of, to say so when another one takes its turn.
    let mut turn: Option<PathBuf> = None;
    loop {
        let running = store.being_built();
        for (at, (shown, name)) in names.iter().enumerate() {
            let runs = running.iter().any(|claimant| claimant.name == *name);
            if runs {
                (any, last_seen) = (true, Instant::now());
                open_newest(store, shown, name, live.entry(at))?;
            }
            if let Some(log) = live.get_mut(&at) {
                // Looked at after the step was: what it wrote before it ended is there.
                log.read_on(&mut turn, !runs)?;
            }
            if !runs {
                live.remove(&at);
            }
        }
        if !any || (live.is_empty() && last_seen.elapsed() > IDLE) {
            return Ok(any);
        }
        thread::sleep(LOOK);
    }
}

/// Opens the newest log of a step, if it is not open yet.
fn open_newest(
    store: &Store,
    shown: &str,
    name: &str,
    entry: Entry<'_, usize, Live>,
) -> Result<(), Failure> {
    let Entry::Vacant(place) = entry else {
        return Ok(());
    };
    let Some(path) = step_log::newest(store, name)? else {
        return Ok(());
    };
    // One whose end is known is of an earlier attempt: that of this one is just being made.
    if super::attempt_of(store, name, &path)?.is_some() {
        return Ok(());
    }
    let file = File::open(&path)
        .map_err(|e| Failure::machine(format!("cannot read {}: {e}", path.display())))?;
    place.insert(Live {
        shown: shown.to_owned(),
        path,
        file,
        at: 0,
        content: output::Content::new(),
    });
    Ok(())
}

impl Live {
    /// Prints what is new; `last` says that nothing follows.
    fn read_on(&mut self, turn: &mut Option<PathBuf>, last: bool) -> Result<(), Failure> {
        let io =
            |e: io::Error| Failure::machine(format!("cannot read {}: {e}", self.path.display()));
        // Where a log has got too long its end was put in place of its middle.
        self.at = self.at.min(self.file.metadata().map_err(io)?.len());
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = self.file.read_at(&mut buffer, self.at).map_err(io)?;
            if n > 0 && turn.as_ref() != Some(&self.path) {
                header(&self.shown, &self.path)?;
                *turn = Some(self.path.clone());
            }
            match n {
                0 if last => return self.content.show(&[], true),
                0 => return Ok(()),
                n => self.content.show(&buffer[..n], false)?,
            }
            self.at += n as u64;
        }
    }
}
