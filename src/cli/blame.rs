//! Errors of the library sorted by who is to blame, with the advice that names commands.
//!
//! Nothing below the command line knows how it is called, so this is the one place that does.

use std::path::Path;

use mstore_store::transfer::TransferError;
use mstore_store::{ErrorKind, ObjectKind, StoreError};

use super::failure::{Failure, Kind};
use crate::build::error::Infrastructure;
use crate::build::seed::SeedError;
use crate::build::step_log::StepLogError;
use crate::build::userns::UsernsError;
use crate::config::ConfigError;
use crate::drv::fetch::FetchError;
use crate::drv::{FactsError, StepName};
use crate::image::MediaError;
use crate::packages::binary::BinaryError;
use crate::plan::embedded::VIRTUAL_SPECS;
use crate::plan::git::GitError;
use crate::plan::{LockError, NameError, PinKind, PinOrigin, PlanError, WalkError};
use crate::project::find::{HashKind, Wants};
use crate::project::repair::VitalFile;
use crate::project::{FindError, ProjectError};
use crate::repo::config::{BuildbotError, NotThatShape};
use crate::repo::layout::MirrorError;
use crate::repo::mode::ModeError;
use crate::repo::publish::{GatherError, PublishError};
use crate::repo::run::RunError;
use crate::repo::strategy::StrategyError;
use crate::schedule::ScheduleError;
use crate::share::RemoteError;
use crate::share::trust::KeyError;

/// Candidates that an error names at most.
const NAMED: usize = 10;

/// What to do about a store that may not be written.
pub const READ_ONLY: &str = "run it as the user that the store belongs to, and where it is mounted for writing; `mstore export TREE --to DIR` needs neither";

/// What to do about a store that is full.
pub const IN_STORE: &str = "nothing in the store is lost; `mstore gc` frees what nobody needs any more, --store DIR uses a store on another file system";

/// What to do about a full file system.
fn no_space_hint(e: &StoreError) -> &'static str {
    match e {
        StoreError::NoSpace {
            room: Some(room), ..
        } if room.store.is_none() => {
            "nothing in the store is lost; free some space there, or write to another file system, then try again"
        }
        _ => IN_STORE,
    }
}

/// What to do about an error of the store that is the machine's fault.
fn store_hint(e: &StoreError) -> Option<&'static str> {
    match e.kind() {
        ErrorKind::Corrupt => {
            return Some(
                "`mstore store verify` tells everything that is damaged, and with --repair forgets it, so that `mstore realise` builds it anew",
            );
        }
        ErrorKind::NoSpace => return Some(no_space_hint(e)),
        ErrorKind::Owner => {
            return Some(
                "files of other owners need ranges of ids: as root, run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` and install newuidmap (package uidmap)",
            );
        }
        // Trees come and go; an object within one is there as long as the tree is.
        ErrorKind::Missing if !matches!(e, StoreError::Missing { what: "tree", .. }) => {
            return Some(
                "`mstore store verify` tells everything that is missing, and with --repair fetches or forgets it",
            );
        }
        _ => {}
    }
    Some(match e {
        StoreError::Database { .. } => {
            "`mstore store verify` tells whether the database is damaged, and with --repair writes it anew"
        }
        StoreError::NewerFormat { .. } => {
            "use the release of mstore that made it, or a later one, or another store: --store DIR"
        }
        StoreError::ReadOnly { .. } => READ_ONLY,
        // The store's own; other files may be somebody else's.
        StoreError::Io {
            action: "write to the database",
            ..
        } => READ_ONLY,
        StoreError::LinkedFolder { .. } => {
            "remove the link; a folder that lies on another disk is mounted in its place (`mount --bind`)"
        }
        StoreError::Io {
            action: "enter", ..
        } => {
            "a store is for its owner and its group: ask its owner, or use another store: --store DIR"
        }
        StoreError::LostFormat { .. } => {
            "`mstore store verify --repair` writes it anew if the database is sound; nothing else of the store is touched"
        }
        StoreError::NotAStore { .. } => {
            "give the folder of a store, or one that is empty or absent: --store DIR"
        }
        StoreError::Unreadable { .. } => {
            "the disk may be failing: save what you can; `mstore store verify` tells what is affected, and with --repair gets it again or forgets it"
        }
        _ => return None,
    })
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        match e.kind() {
            ErrorKind::Input => Failure::new(Kind::Usage, e),
            ErrorKind::Lossy => Failure::new(Kind::Found, e)
                .hint("run it as root, or leave out what this user cannot make with --lossy"),
            ErrorKind::Interrupted => {
                Failure::interrupted().hint("what is done stays done; run it again to go on")
            }
            _ => {
                let hint = store_hint(&e);
                Failure::new(Kind::Machine, e).hints(hint)
            }
        }
    }
}

impl From<MediaError> for Failure {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Store(error) => error.into(),
            MediaError::Missing { package, .. } => Failure::new(Kind::Machine, error).hint(format!(
                "unpack Debian's package {package} (dpkg -x FILE DIR) and name the folder: --boot-from DIR"
            ))
            .hint("--no-boot does without: such a medium starts no machine"),
            MediaError::Machine(_) => Failure::new(Kind::Usage, error)
                .hint("--no-boot makes one without; put a boot loader of the machine's beside it"),
            MediaError::Word(_) | MediaError::Unfit { .. } => Failure::new(Kind::Usage, error),
            _ => Failure::new(Kind::Machine, error),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(e: PlanError) -> Self {
        match e {
            PlanError::Spec(spec) => {
                let hint = match spec.own_file() {
                    Some(own) => Some(format!(
                        "`mstore specs cat {}` prints one to begin with",
                        own.like
                    )),
                    None => spec.path().and_then(standard_hint),
                };
                Failure::diagnostics(move |colour| spec.render(colour)).hints(hint)
            }
            PlanError::Port {
                error: Some(error),
                pkgpath,
                reason,
            } => match &*error {
                PlanError::Spec(spec) => {
                    let spec = spec.clone();
                    Failure::diagnostics(move |colour| spec.render(colour))
                }
                _ => {
                    let hints: Vec<String> = error.help().map(str::to_owned).into_iter().collect();
                    Failure::usage(format!("{pkgpath}: {reason}")).hints(hints)
                }
            },
            PlanError::Lock(lock) => lock.into(),
            PlanError::Facts(_) => Failure::new(Kind::Machine, e),
            _ => {
                let kind = match e {
                    PlanError::AbsentPin { .. } => Kind::Machine,
                    _ => Kind::Usage,
                };
                let hints: Vec<String> = e.help().map(str::to_owned).into_iter().collect();
                let command = plan_hint(&e);
                Failure::new(kind, e).hints(hints).hints(command)
            }
        }
    }
}

/// Says how the standard specification that an error is in can be replaced.
fn standard_hint(path: &Path) -> Option<String> {
    let path = path.strip_prefix(VIRTUAL_SPECS).ok()?.display();
    Some(format!(
        "`mstore specs export {path}` copies this file to `specs`, where you can change it"
    ))
}

/// Says which command helps where there is no plan.
fn plan_hint(error: &PlanError) -> Option<String> {
    Some(match error {
        PlanError::NoEntry { .. } => {
            "write one, or leave out --file to use the standard specs".to_owned()
        }
        PlanError::Name(NameError::Unknown { nearest, .. }) if nearest.is_empty() => {
            "`mstore list` shows what there is".to_owned()
        }
        PlanError::NotPinned {
            kind, name, host, ..
        } => pin_hint(*kind, name, *host),
        PlanError::AbsentPin {
            name, host: true, ..
        } => format!("capture this machine again: `mstore lock --update {name}`"),
        PlanError::AbsentPin { kind, name, .. } => {
            format!("import it again: `{}`", import_command(*kind, name))
        }
        PlanError::Imported { name, .. } => {
            format!("import it: `{}`", import_command(PinKind::Snapshot, name))
        }
        PlanError::NoSuchRead { snapshot, .. } => format!(
            "correct the path, or import a snapshot that has it: `{}`",
            import_command(PinKind::Snapshot, snapshot)
        ),
        _ => return None,
    })
}

fn import_command(kind: PinKind, name: &str) -> String {
    match kind {
        PinKind::Seed => format!("mstore seed import FILE.tar.xz --name {name}"),
        PinKind::Snapshot => format!("mstore snapshot import DIR --name {name}"),
    }
}

/// Says how a seed or snapshot can be had. `host` tells that it may be captured from this machine.
pub fn pin_hint(kind: PinKind, name: &str, host: bool) -> String {
    let import = import_command(kind, name);
    match (kind, host) {
        (PinKind::Snapshot, _) => {
            format!("import it with `{import}` (a directory, git repository or tarball)")
        }
        (PinKind::Seed, true) => format!(
            "capture it from this machine with `mstore seed host --name {name}`, or import one with \
             `{import}`"
        ),
        (PinKind::Seed, false) => format!(
            "import one with `{import}`, or capture this machine with `mstore seed host --name {name}`"
        ),
    }
}

impl From<LockError> for Failure {
    fn from(e: LockError) -> Self {
        match e {
            LockError::Load(spec) => Failure::diagnostics(move |colour| spec.render(colour)),
            LockError::Io { .. } => Failure::new(Kind::Machine, e),
            _ => {
                let help = e.help();
                Failure::new(Kind::Usage, e).hints(help)
            }
        }
    }
}

impl From<WalkError> for Failure {
    fn from(e: WalkError) -> Self {
        match e {
            WalkError::Facts(e) => e.into(),
            WalkError::NoRoot { .. } => Failure::new(Kind::Usage, e),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Self {
        match e {
            ConfigError::Load(errors) => Failure::diagnostics(move |colour| errors.render(colour)),
            ConfigError::Eval(error) => {
                Failure::diagnostics(move |colour| error.diagnostic.render(colour))
            }
            other => Failure::new(Kind::Usage, other),
        }
    }
}

impl From<BuildbotError> for Failure {
    fn from(error: BuildbotError) -> Self {
        match error {
            BuildbotError::Load(errors) => {
                Failure::diagnostics(move |colour| errors.render(colour))
            }
            BuildbotError::Eval(error) => {
                Failure::diagnostics(move |colour| error.diagnostic.render(colour))
            }
            BuildbotError::Missing(_) => Failure::new(Kind::Usage, error)
                .hint("name one with --config FILE; doc/repository.md tells what is in it"),
            BuildbotError::At { .. } | BuildbotError::Io { .. } => Failure::new(Kind::Usage, error),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Interrupted => Failure::interrupted()
                .hint("archives that were finished are kept; run it again to go on"),
            PublishError::Store(error) => error.into(),
            PublishError::Gpg(_) => Failure::new(Kind::Machine, error)
                .hint("gpg has to sign without asking anybody: see repo/gpg-key in doc/config.md"),
            PublishError::Lock(_) | PublishError::LockLost { .. } | PublishError::Io { .. } => {
                Failure::new(Kind::Machine, error)
            }
        }
    }
}

impl From<GatherError> for Failure {
    fn from(error: GatherError) -> Self {
        match error {
            GatherError::Project(error) => error.into(),
            GatherError::Version { .. } => Failure::new(Kind::Usage, error)
                .hint("name the build by a day: -D target/version=2015-02-18"),
            GatherError::Name { .. } | GatherError::Compression { .. } => {
                Failure::new(Kind::Usage, error)
            }
        }
    }
}

impl From<ModeError> for Failure {
    fn from(error: ModeError) -> Self {
        match error {
            ModeError::Plan(error) => error.into(),
            ModeError::Unknown { .. } => Failure::new(Kind::Usage, error).hint(
                "list the targets of a kind of build in multi/targets/KIND of the specifications; `mstore list` shows what there is",
            ),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Project(error) => error.into(),
            RunError::Gather(error) => error.into(),
            RunError::Publish(error) => error.into(),
            RunError::NoSeed {
                ref kind,
                ref seed,
                ref subarch,
                ..
            } => {
                let day = format!("{}/YYYY-MM-DD/", subarch.display());
                let import = import_command(PinKind::Seed, seed);
                let put = format!(
                    "put a {kind} into {day} and its day into that file; or import one: {import}"
                );
                Failure::new(Kind::Usage, error).hints([
                    put,
                    "or let another subarch lend its stage3: write `remote` into .control/strategy/build, and its names into .control/remote/build, arch_desc and subarch".to_owned(),
                ])
            }
            RunError::NoArchive { .. } => Failure::new(Kind::Usage, error)
                .hint("put the archive there, or the day of one that is there into the file"),
            RunError::Version { .. } => {
                Failure::new(Kind::Usage, error).hint("write the day of the newest build into it")
            }
            RunError::Import { path, source } => super::imports::refused(source, &path),
            RunError::NoSnapshot { .. } => {
                Failure::new(Kind::Usage, error).hint("leave `snapshot` out of the targets")
            }
            RunError::Held { .. } => Failure::new(Kind::Found, error)
                .hint("another run makes it: wait until it has ended, and run this again"),
            RunError::Interrupted => {
                Failure::interrupted().hint("what is finished is kept; run it again to go on")
            }
            RunError::Io { .. } => Failure::new(Kind::Machine, error),
        }
    }
}

impl From<NotThatShape> for Failure {
    fn from(error: NotThatShape) -> Self {
        match error {
            NotThatShape::Buildbot(error) => error.into(),
            NotThatShape::Function { .. } => Failure::new(Kind::Found, error).hint(
                "Metro text says by the last build what comes next, and by the subarch what is built besides; keep the Python file",
            ),
            NotThatShape::Name { .. } => {
                Failure::new(Kind::Found, error).hint("keep the Python file")
            }
        }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Store(error) => error.into(),
            TransferError::Cancelled => {
                Failure::interrupted().hint("what arrived is kept; run it again to go on")
            }
            error => Failure::new(Kind::Machine, error),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Io { .. } => Failure::new(Kind::Machine, error),
            KeyError::Exists(_) => Failure::new(Kind::Usage, error)
                .hint("give another name, or another file with --out"),
            _ => Failure::new(Kind::Usage, error),
        }
    }
}

impl From<SeedError> for Failure {
    fn from(error: SeedError) -> Self {
        let hint = match &error {
            SeedError::Unreadable { .. } => {
                Some("run `mstore seed host` as root once, or make them readable")
            }
            _ => None,
        };
        Failure::new(Kind::Machine, error).hints(hint)
    }
}

/// Gives errors that are always the same one's fault.
macro_rules! blame {
    ($($error:ty => $kind:ident),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::new(Kind::$kind, error)
            }
        })*
    };
}

blame! {
    FactsError => Machine,
    MirrorError => Usage,
    StrategyError => Machine,
    Infrastructure => Machine,
    RemoteError => Usage,
    StepLogError => Machine,
    UsernsError => Machine,
}

/// A failure of the machine or the store in the middle of a step.
pub fn step(name: &StepName, error: &Infrastructure) -> Failure {
    let room = error.room().map(|room| format!("; {room}"));
    let failure = Failure::machine(format!("{name}: {error}{}", room.unwrap_or_default()));
    let failure = failure.at_step(name);
    match error {
        Infrastructure::Engine { remedy, .. } if !remedy.is_empty() => failure.hint(remedy.clone()),
        error if error.is_disk_full() => failure.hint(IN_STORE),
        _ => failure,
    }
}

/// What ended a run over steps, and the step that met it, if one did.
pub fn run(step: Option<&StepName>, error: &ScheduleError) -> Failure {
    match (step, error) {
        (Some(name), ScheduleError::Build(error)) => self::step(name, error),
        (Some(name), error) => Failure::machine(format!("{name}: {error}")).at_step(name),
        (None, error) => Failure::machine(error),
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        let help = error.help();
        Failure::new(Kind::Usage, error).hints(help)
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        match error {
            ProjectError::Store(error) => error.into(),
            ProjectError::Plan(error) => error.into(),
            ProjectError::Facts(error) => error.into(),
            ProjectError::Walk(error) => error.into(),
            ProjectError::Transfer(error) => error.into(),
            ProjectError::Binary(error) => error.into(),
            ProjectError::Find(error) => (*error).into(),
            ProjectError::Impure { .. } => Failure::new(Kind::Usage, error).hint(
                "without it the step can be built and checked: take its word out of metro/options",
            ),
            ProjectError::NoStore { .. } => Failure::new(Kind::Usage, error)
                .hint("`mstore realise` makes it; another one is given by --store DIR"),
            ProjectError::NeitherStoreNorCache { .. } => Failure::new(Kind::Usage, error)
                .hint("give the folder of a store or of a cache, or one that is empty or absent"),
            ProjectError::NothingThere { .. }
            | ProjectError::CacheUrl { .. }
            | ProjectError::NoBuiltin { .. }
            | ProjectError::NoPin { .. }
            | ProjectError::UnusedPin { .. }
            | ProjectError::Gone { .. }
            | ProjectError::IsStore { .. }
            | ProjectError::NoStoreYet { .. }
            | ProjectError::SameStore { .. } => Failure::new(Kind::Usage, error),
            ProjectError::ToWebServer => Failure::new(Kind::Usage, error)
                .hint("copy to a folder that it serves, or to the machine: ssh://HOST"),
            ProjectError::NoResult {
                refused,
                trusts_nobody,
                ..
            } => no_result(Failure::new(Kind::Machine, error), refused, trusts_nobody),
            ProjectError::Unusable { file, .. } => {
                Failure::new(Kind::Found, error).hint(match file {
                    VitalFile::Format => {
                        "`mstore store verify --repair` writes it anew if the database is sound"
                    }
                    VitalFile::Database => {
                        "`mstore store verify --repair` writes it anew from what can still be read, and from the packs"
                    }
                })
            }
            ProjectError::Unwritable { ref store, .. } => {
                let path = store.display();
                let own = format!(
                    "or use a store of your own, --store DIR, with {path} among its caches (doc/caches.md)"
                );
                Failure::new(Kind::Machine, error)
                    .hint("run it as the user that the store belongs to, and where it is mounted for writing")
                    .hint(own)
            }
            ProjectError::Namespace(error) => error.into(),
            ProjectError::Seed(error) => error.into(),
            ProjectError::Lacking { ref needs, .. } => {
                let hints = needs.iter();
                let hints: Vec<String> = hints
                    .map(|need| pin_hint(need.kind, &need.name, false))
                    .collect();
                Failure::new(Kind::Usage, error).hints(hints)
            }
            ProjectError::OnlyImport { ref need } => {
                let hint = match &need.from {
                    PinOrigin::Import => Some(pin_hint(need.kind, &need.name, false)),
                    PinOrigin::Host | PinOrigin::Builtin(_) => None,
                };
                Failure::new(Kind::Usage, error).hints(hint)
            }
            ProjectError::ForeignSeed { ref seed, .. } => {
                let hint = format!("import one: {}", import_command(PinKind::Seed, seed));
                Failure::new(Kind::Machine, error).hint(hint)
            }
            ProjectError::Step {
                step: ref name,
                error,
            } => step(name, &error),
            ProjectError::Offline(_) => Failure::new(Kind::Machine, error)
                .hint("where there is a network, `mstore fetch TARGET` brings them")
                .hint("or put the files into a folder, and take them from there: `mstore fetch TARGET --from DIR`"),
            ProjectError::Fetch(FetchError::Cancelled) => Failure::interrupted(),
            ProjectError::Fetch(FetchError::Store(error)) => error.into(),
            ProjectError::Fetch(_) => Failure::new(Kind::Machine, error),
            ProjectError::OtherTree { ref name, .. } => {
                let hint = format!("`mstore lock --update {name}` pins what is there now");
                Failure::new(Kind::Machine, error).hint(hint)
            }
            ProjectError::Interrupted => Failure::interrupted(),
            ProjectError::NotOffered { .. }
            | ProjectError::Untrusted(_)
            | ProjectError::Token(_)
            | ProjectError::Io { .. } => Failure::new(Kind::Machine, error),
        }
    }
}

/// Says why a peer may have no result that counts.
fn no_result(mut failure: Failure, refused: bool, trusts_nobody: bool) -> Failure {
    if !refused {
        failure = failure.hint(
            "both ends must have the same specifications and the same metro.lock; `mstore diff` compares",
        );
    }
    if trusts_nobody {
        failure = failure.hint(
            "no signing key is trusted here: add the public key to trust/keys of the configuration file, or give --trust NAME:BASE64; for a folder or ssh host of your own there is --trust-unsigned",
        );
    }
    failure
}

impl From<BinaryError> for Failure {
    fn from(error: BinaryError) -> Self {
        match error {
            BinaryError::Store(error) => error.into(),
            error => Failure::new(Kind::Machine, error),
        }
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        match error {
            FindError::NeitherNameNorHash {
                unknown,
                word,
                wants,
            } => Failure::from(*unknown)
                .hint(format!("nor does the hash of a {wants} begin with {word}")),
            error => {
                let hints = find_hints(&error);
                Failure::new(Kind::Usage, error).hints(hints)
            }
        }
    }
}

/// Says how the hashes that are wanted can be had.
fn where_from(wants: Wants) -> &'static str {
    match wants {
        Wants::Tree | Wants::Object => {
            "`mstore list` names targets, `mstore seed list` and `mstore snapshot list` what is pinned, `mstore store root list` gc roots, and `mstore show TARGET` tells the hashes of a target"
        }
        Wants::Step | Wants::Derivation | Wants::Anything => {
            "`mstore show TARGET` tells the hashes of a target as it is specified now, `mstore log TARGET --attempts --json` those of earlier ones"
        }
    }
}

/// Says what to do about a word that names nothing that can be used.
fn find_hints(error: &FindError) -> Vec<String> {
    match error {
        FindError::Ambiguous { found, .. } => {
            let named = found.iter().take(NAMED);
            let mut hints: Vec<String> = named.map(|f| format!("{} ({f})", f.hash)).collect();
            if found.len() > NAMED {
                hints.push(format!("and {} more", found.len() - NAMED));
            }
            hints
        }
        FindError::OtherKind { found, wants } => vec![match found.kind {
            HashKind::Object(ObjectKind::Tree) => {
                "a tree is there already: `mstore store path` names its folder, `mstore show` the step that made it".to_owned()
            }
            HashKind::Object(_) => {
                "`mstore store find` tells in which trees it is, and where".to_owned()
            }
            _ => where_from(*wants).to_owned(),
        }],
        FindError::NoHash { wants, .. } => vec![where_from(*wants).to_owned()],
        FindError::NotSpecified { word, .. } => {
            vec![format!("`mstore show {word}` shows what it was")]
        }
        FindError::SpecifiedOtherwise { word, found } => {
            let name = found.target();
            vec![
                format!("`mstore diff {word} {name}` tells what changed"),
                format!("to have it as it is specified now, give its name: {name}"),
            ]
        }
        FindError::NoTree { found } => {
            vec![format!("build it first: mstore realise {}", found.target())]
        }
        FindError::SeveralMakers { makers, .. } => {
            let keys = makers.iter().map(|m| format!("{} (key of {})", m.key, m.name));
            let first = "name one of the steps by its key:".to_owned();
            std::iter::once(first).chain(keys).collect()
        }
        FindError::NoMaker { tree } => {
            vec![format!("`mstore store ls {tree}` lists what is in it")]
        }
        FindError::NotRemembered { .. } => vec![
            "it never was built here, or gc forgot it; `mstore log HASH --attempts` tells how it went".to_owned(),
        ],
        FindError::NoPackage {
            target,
            known: true,
            ..
        } => vec![format!("`mstore show {target}` lists its packages")],
        FindError::NoPackage { target, .. } => vec![format!(
            "which packages it has is known when the step resolve has run: mstore realise --dry-run --resolve {target}"
        )],
        FindError::NoStep { steps, .. } => vec![format!("its steps are: {}", steps.join(" "))],
        FindError::NoPin { kind, name, .. } => vec![
            format!("`mstore {kind} list` shows what there is"),
            pin_hint(*kind, name, false),
        ],
        FindError::SeedAndSnapshot { name } => {
            vec![format!("write seed/{name} or snapshot/{name}")]
        }
        FindError::AbsentPin { kind, name, .. } => {
            vec![format!("import it again: `{}`", import_command(*kind, name))]
        }
        FindError::NotBuilt { target } => vec![format!("build it first: mstore realise {target}")],
        _ => Vec::new(),
    }
}
