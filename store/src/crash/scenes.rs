//! Scenes: what a store does not do every day, begun from folders made beforehand, with a fault at each
//! call. The script in `script.rs` begins with nothing.

use super::sweep::stride;
use super::*;
use crate::disk::faulty::Fault;

/// Where what a scene begins with is kept.
const BEFORE: &str = "before";

/// Something that a store does, alone or with others.
pub(super) trait Scene {
    /// What was acknowledged.
    type Known: Clone + Default;

    /// Folders in which it happens.
    const FOLDERS: &'static [&'static str];

    /// Makes what is there beforehand, below `top`.
    fn prepare(&mut self, bench: &mut Bench, top: &Path);

    /// Does it, and notes what was acknowledged.
    fn play(
        &self,
        bench: &Bench,
        disk: &Arc<FaultyDisk>,
        known: &mut Self::Known,
    ) -> Result<(), StoreError>;

    /// Looks whether all is as it must be after the machine came back, before anything is done again.
    fn check(&self, bench: &Bench, known: &Self::Known);

    /// Looks whether all is as it must be when it was done again, to the end.
    fn check_end(&self, bench: &Bench, known: &Self::Known);
}

/// What a power cut may do, and what else may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Stop,
    PowerCut,
    Full,
    Error,
    /// The disk acknowledges syncs before it does them, and does them in order.
    Early,
}

impl Mode {
    fn cases(self, n: u64) -> Vec<(Fault, Crash)> {
        let stop = Fault::StopAt(n);
        match self {
            Mode::Stop => vec![(stop, Crash::Kill)],
            Mode::PowerCut => vec![
                (stop, Crash::Bare),
                (stop, Crash::Hollow),
                (stop, Crash::Mixed(n)),
                (stop, Crash::Scattered(n)),
            ],
            Mode::Full => vec![
                (Fault::FullFrom(n), Crash::Kill),
                (Fault::FullFrom(n), Crash::Mixed(n)),
            ],
            Mode::Error if n.is_multiple_of(2) => vec![(Fault::ErrorAt(n), Crash::Kill)],
            Mode::Error => vec![(Fault::ErrorAt(n), Crash::Scattered(n))],
            Mode::Early => vec![(stop, Crash::Late(n))],
        }
    }
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn begin<S: Scene>(bench: &Bench) {
    for name in S::FOLDERS {
        bench.clear(name);
        let from = bench.top.path().join(BEFORE).join(name);
        if from.is_dir() {
            copy_folder(&from, &bench.top.path().join(name));
        }
    }
}

fn play<S: Scene>(
    scene: &S,
    bench: &Bench,
    world: &Arc<World>,
    boot: &str,
) -> (S::Known, Result<(), StoreError>) {
    let disk = FaultyDisk::new(world, boot);
    let mut known = S::Known::default();
    let result = scene.play(bench, &disk, &mut known);
    closed(&disk);
    (known, result)
}

/// Plays it without faults; returns the number of calls.
fn rehearse<S: Scene>(scene: &S, bench: &Bench, looks: bool) -> u64 {
    begin::<S>(bench);
    let fault = if looks {
        Fault::ErrorAt(u64::MAX)
    } else {
        Fault::None
    };
    let world = bench.world(S::FOLDERS[0], fault, false);
    let (known, result) = play(scene, bench, &world, &RealDisk::ANYWHERE.boot());
    result.unwrap();
    let calls = world.calls();
    world.crash(Crash::Kill);
    scene.check(bench, &known);
    scene.check_end(bench, &known);
    calls
}

fn meet<S: Scene>(scene: &S, bench: &Bench, fault: Fault, how: Crash, lies: bool) {
    let mut tell = Tell(format!("{fault:?}, {how:?}"));
    begin::<S>(bench);
    let world = bench.world(S::FOLDERS[0], fault, lies);
    let boot = match how {
        Crash::Kill => RealDisk::ANYWHERE.boot(),
        _ => "before the power cut".into(),
    };
    let (mut known, result) = play(scene, bench, &world, &boot);
    tell.0 = format!("{} {:?}", tell.0, world.failed());
    if let (Fault::FullFrom(_), Err(error)) = (fault, &result) {
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    }
    world.crash(how);
    if how != Crash::Kill {
        for name in S::FOLDERS {
            forget_unsynced(&bench.top.path().join(name));
        }
    }
    if lies {
        // It promised what it did not keep.
        known = S::Known::default();
    }
    scene.check(bench, &known);
    // It goes on where it was interrupted.
    let world = bench.world(S::FOLDERS[0], Fault::None, false);
    let (known, result) = play(scene, bench, &world, &RealDisk::ANYWHERE.boot());
    result.unwrap();
    world.crash(Crash::Kill);
    scene.check(bench, &known);
    scene.check_end(bench, &known);
}

/// Tries a scene with a fault at each call, or at about `some` of them.
pub(super) fn sweep<S: Scene>(mut scene: S, mode: Mode, some: u64) {
    let mut bench = Bench::new();
    let before = bench.top.path().join(BEFORE);
    fs::create_dir_all(&before).unwrap();
    scene.prepare(&mut bench, &before);
    let count = rehearse(&scene, &bench, mode == Mode::Error);
    println!("{count} calls");
    for n in (1..=count).step_by(stride(count, some)) {
        for (fault, how) in mode.cases(n) {
            meet(&scene, &bench, fault, how, mode == Mode::Early);
        }
    }
}
