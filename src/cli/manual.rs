//! What manual pages say besides the help of a command: examples, files, environment, exit statuses, and where more
//! is told.

/// What a command reads or writes; files and environment follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    /// The specifications.
    Specs,
    /// The lock file beside them.
    Lock,
    /// The store.
    Store,
    /// The configuration file.
    Config,
    /// Other places: caches, servers, hosts.
    Others,
    /// An engine of the Remote Execution API.
    Engine,
    /// Signing keys by their names.
    Keys,
    /// A mirror, and `~/.buildbot`.
    Mirror,
    /// A folder of the editor's.
    EditorCache,
}

impl Uses {
    /// Files, and what is in them.
    pub fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Uses::Specs => &[
                (
                    "metro.conf",
                    "The entry file of the specifications, in the current folder or the nearest one above; --file names another.",
                ),
                (
                    "specs/",
                    "Beside metro.conf: files that take the place of standard specifications.",
                ),
            ],
            Uses::Lock => &[(
                "metro.lock",
                "Beside metro.conf: the trees that the names of seeds and snapshots stand for.",
            )],
            Uses::Store => &[
                ("/var/lib/mstore", "The store of root."),
                ("~/.local/share/mstore", "The store of other users."),
            ],
            Uses::Config => &[(
                "mstore.conf",
                "The configuration file: in the store, in ~/.config/mstore, or in /etc/mstore; the first that is there counts.",
            )],
            Uses::Keys => &[(
                "~/.config/mstore/keys/NAME.key",
                "The secret half of the signing key NAME.",
            )],
            Uses::Mirror => &[
                ("~/.buildbot", "What is managed."),
                (
                    "~/.metro",
                    "Where the mirror is, if the specifications do not say it.",
                ),
            ],
            Uses::EditorCache => &[(
                "~/.cache/mstore",
                "Copies of standard specifications that an editor opened.",
            )],
            Uses::Others | Uses::Engine => &[],
        }
    }

    /// Variables of the environment, and what they do.
    pub fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Uses::Store => &[
                ("MSTORE_STORE", "The folder of the store; --store wins."),
                (
                    "MSTORE_FOREIGN_STORE",
                    "With the value yes: use a store that belongs to another user, as --foreign-store does.",
                ),
                (
                    "XDG_DATA_HOME",
                    "Where the store of an ordinary user lies, in the folder mstore [default: ~/.local/share].",
                ),
                ("HOME", "The folder that ~ stands for."),
            ],
            Uses::Config => &[
                ("MSTORE_CONFIG", "The configuration file; --config wins."),
                (
                    "XDG_CONFIG_HOME",
                    "Where a user's mstore/mstore.conf lies [default: ~/.config].",
                ),
            ],
            Uses::Keys => &[(
                "XDG_CONFIG_HOME",
                "Where a user's mstore/keys lies [default: ~/.config].",
            )],
            Uses::Others => &[
                (
                    "MSTORE_SSH",
                    "The program to run as ssh, with its options [default: ssh].",
                ),
                (
                    "XDG_RUNTIME_DIR",
                    "Where the sockets of connections lie [default: the folder of temporary files].",
                ),
                (
                    "SSL_CERT_FILE, SSL_CERT_DIR",
                    "Certificates to believe in place of those of the system.",
                ),
            ],
            Uses::Engine => &[(
                "MSTORE_EXECUTOR",
                "The engine that builds, reapi://HOST:PORT/INSTANCE; --executor wins.",
            )],
            Uses::Mirror => &[("HOME", "The folder that ~ stands for.")],
            Uses::EditorCache => &[(
                "XDG_CACHE_HOME",
                "Where the folder mstore for the editor lies [default: ~/.cache].",
            )],
            Uses::Specs | Uses::Lock => &[],
        }
    }
}

/// Variables that every command looks at.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "NO_COLOR",
        "If it is set and not empty, there are no colours; --color wins.",
    ),
    (
        "PATH",
        "Where other programs are looked for: git, ssh, gpg, those that make images.",
    ),
    (
        "TERM",
        "With the value dumb: neither colours nor lines that are drawn again and again.",
    ),
];

/// Exit statuses of every command.
pub const STATUS: &[(u8, &str)] = &[
    (0, "All is done."),
    (2, "The arguments or the specifications are wrong."),
    (3, "The store or the machine is at fault."),
    (130, "Interrupted by Ctrl-C."),
];

/// What the page of one command says.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The command, without `mstore`: `store ls`.
    pub command: &'static str,
    /// What is done, and the line that does it.
    pub examples: &'static [(&'static str, &'static str)],
    /// What it uses.
    pub uses: &'static [Uses],
    /// What status 1 means, if the command has it.
    pub found: Option<&'static str>,
    /// Other pages.
    pub also: &'static [&'static str],
    /// Files of the documentation.
    pub doc: &'static [&'static str],
}

use Uses::{Config, EditorCache, Engine, Keys, Lock, Mirror, Others, Specs, Store};

const PROJECT: &[Uses] = &[Specs, Lock, Store];
const BUILD: &[Uses] = &[Specs, Lock, Store, Config, Others];

const fn page(
    command: &'static str,
    uses: &'static [Uses],
    examples: &'static [(&'static str, &'static str)],
) -> Page {
    Page {
        command,
        examples,
        uses,
        found: None,
        also: &[],
        doc: &[],
    }
}

impl Page {
    const fn found(self, found: &'static str) -> Page {
        Page {
            found: Some(found),
            ..self
        }
    }

    const fn also(self, also: &'static [&'static str]) -> Page {
        Page { also, ..self }
    }

    const fn doc(self, doc: &'static [&'static str]) -> Page {
        Page { doc, ..self }
    }
}

/// The page of a command; `""` is the program's own.
pub fn of(command: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.command == command)
}

/// All pages.
pub const PAGES: &[Page] = &[
    page(
        "",
        &[Specs, Lock, Store, Config],
        &[
            ("See what can be built here", "mstore list"),
            ("Build a target", "mstore realise stage3-corei7"),
            ("Write it to an archive", "mstore export stage3-corei7"),
            ("See what is in the way on this machine", "mstore doctor"),
        ],
    )
    .doc(&["doc/stages.md", "doc/specs.md", "doc/language.md"]),
    page(
        "realise",
        &[Specs, Lock, Store, Config, Others, Engine],
        &[
            ("Build a target", "mstore realise stage3-corei7"),
            (
                "See what would be built, and why",
                "mstore realise -n stage3-corei7",
            ),
            (
                "Build all that this machine can, and go on after failures",
                "mstore realise -k 'stage3-*'",
            ),
            (
                "Leave a link to the result beside you",
                "mstore realise stage3-corei7 --out-link result",
            ),
            (
                "Build twice, and compare",
                "mstore realise --check stage3-corei7",
            ),
            (
                "Build on an engine of the Remote Execution API",
                "mstore realise stage3-corei7 --executor reapi://127.0.0.1:50051/main",
            ),
        ],
    )
    .found("A build failed, --check found a difference, or a target that was named was left out.")
    .also(&["why-rebuild", "log", "shell", "list", "doctor"])
    .doc(&["doc/stages.md"]),
    page(
        "fetch",
        BUILD,
        &[
            (
                "Bring all that a target needs from outside",
                "mstore fetch stage3-corei7",
            ),
            (
                "Take it from a folder of archives",
                "mstore fetch stage3-corei7 --from /media/distfiles",
            ),
        ],
    )
    .found("Something could not be fetched.")
    .also(&["realise"])
    .doc(&["doc/specs.md"]),
    page(
        "init",
        &[Specs],
        &[
            ("Begin in the current folder", "mstore init"),
            (
                "Begin in another, with a subarchitecture for this machine",
                "mstore init mydistro --subarch mycpu",
            ),
        ],
    )
    .also(&["specs", "check"])
    .doc(&["doc/specs.md"]),
    page(
        "eval",
        PROJECT,
        &[
            ("Print every element", "mstore eval"),
            (
                "Print one, as for building a target",
                "mstore eval -t stage3-corei7 -k portage/CFLAGS",
            ),
            (
                "Print one under another definition",
                "mstore eval target/subarch=corei7 -k portage/CFLAGS",
            ),
        ],
    )
    .also(&["why-value", "check"])
    .doc(&["doc/language.md"]),
    page(
        "fmt",
        &[Specs],
        &[
            ("Format all specifications here", "mstore fmt"),
            ("See what would change", "mstore fmt --diff"),
            ("Format in an editor", "mstore fmt -"),
        ],
    )
    .found("--check found files that are not in canonical layout.")
    .also(&["check"])
    .doc(&["doc/language.md"]),
    page(
        "check",
        &[Specs, Lock],
        &[
            ("Check everything", "mstore check"),
            ("Check, a line for each finding", "mstore check --format short"),
            (
                "Check the targets of one kind",
                "mstore check --target 'stage3-*'",
            ),
        ],
    )
    .found("There are findings.")
    .also(&["fmt", "lsp"])
    .doc(&["doc/specs.md"]),
    page(
        "lsp",
        &[Specs, EditorCache],
        &[("Serve an editor, which starts it", "mstore lsp")],
    )
    .also(&["check"])
    .doc(&["doc/editors.md"]),
    page(
        "list",
        PROJECT,
        &[
            ("List what can be built here", "mstore list"),
            ("List the targets that fit a pattern", "mstore list 'stage3-*'"),
        ],
    )
    .also(&["show", "doctor"]),
    page(
        "show",
        PROJECT,
        &[
            ("Show how a target is built", "mstore show stage3-corei7"),
            ("Show what a seed stands for", "mstore show seed/host/x86_64"),
        ],
    )
    .also(&["graph", "why"]),
    page(
        "graph",
        PROJECT,
        &[
            ("Print steps and what they need", "mstore graph stage3-corei7"),
            (
                "Print the input of Graphviz",
                "mstore graph --dot stage3-corei7",
            ),
        ],
    )
    .also(&["show"]),
    page(
        "diff",
        PROJECT,
        &[
            (
                "See what a change of the specifications builds again",
                "mstore diff --from HEAD",
            ),
            (
                "Compare two targets",
                "mstore diff stage3-corei7 stage3-generic_64",
            ),
        ],
    )
    .found("Something differs.")
    .also(&["why-rebuild"]),
    page(
        "why",
        PROJECT,
        &[(
            "Ask why a target is to be built again",
            "mstore why rebuild stage3-corei7",
        )],
    ),
    page(
        "why rebuild",
        PROJECT,
        &[("Ask it", "mstore why rebuild stage3-corei7")],
    )
    .also(&["diff", "realise"]),
    page(
        "why waiting",
        BUILD,
        &[
            ("Ask about one step", "mstore why waiting stage3-corei7:libc"),
            ("Ask about all steps of a target", "mstore why waiting stage3-corei7"),
        ],
    )
    .found("Nothing is being built, or nothing of that name is part of it.")
    .also(&["top", "realise"])
    .doc(&["doc/operating.md"]),
    page(
        "top",
        BUILD,
        &[
            ("Look at what is being built", "mstore top"),
            ("Print it once, for a script", "mstore top --json"),
            ("Let a host run empty", "mstore top --drain builder@big.example.org"),
            (
                "Add one to a run over several hosts",
                "mstore top --add builder@big.example.org",
            ),
        ],
    )
    .found("The run refuses what it is told, or there is none to tell it.")
    .also(&["why-waiting", "realise", "log"])
    .doc(&["doc/operating.md", "doc/cluster.md"]),
    page(
        "stats",
        BUILD,
        &[
            ("Show how long steps take", "mstore stats"),
            ("Look at the last week on one host", "mstore stats --since 7 --host big"),
        ],
    )
    .also(&["log", "top"])
    .doc(&["doc/operating.md"]),
    page(
        "why alive",
        BUILD,
        &[
            (
                "Ask why gc keeps what a target is",
                "mstore why alive stage3-corei7",
            ),
            (
                "Ask it under another rule",
                "mstore why alive stage3-corei7 --keep 1",
            ),
        ],
    )
    .also(&["gc", "store-root"])
    .doc(&["doc/store.md"]),
    page(
        "why value",
        PROJECT,
        &[(
            "Ask where a value comes from",
            "mstore why value portage/CFLAGS -t stage3-corei7",
        )],
    )
    .found("The element has no value.")
    .also(&["eval"]),
    page(
        "log",
        PROJECT,
        &[
            ("Print the log of a target", "mstore log stage3-corei7"),
            ("Follow a build that runs", "mstore log -f stage3-corei7"),
            (
                "List all attempts",
                "mstore log --attempts stage3-corei7",
            ),
        ],
    )
    .also(&["shell", "realise"]),
    page(
        "shell",
        PROJECT,
        &[
            (
                "Look at what a failed build left",
                "mstore shell stage3-corei7",
            ),
            (
                "Run one command in a finished target",
                "mstore shell --finished stage3-corei7 -- ls /etc",
            ),
        ],
    )
    .found("The command inside ended with status 1; its other statuses are passed on as well.")
    .also(&["log"])
    .doc(&["doc/sandbox.md"]),
    page(
        "gc",
        &[Specs, Lock, Store, Config],
        &[
            ("See what would go", "mstore gc -n"),
            ("Keep the newest tree of each target", "mstore gc --keep 1"),
            ("Make the store no larger than 20 GB", "mstore gc --max-size 20G"),
            ("Make a cache smaller", "mstore gc --cache /srv/cache --keep 2"),
        ],
    )
    .found("Results were found whose trees are lost.")
    .also(&["why-alive", "store-root", "forget"])
    .doc(&["doc/store.md"]),
    page(
        "forget",
        BUILD,
        &[(
            "Forget a step and all that was built on it",
            "mstore forget stage1-corei7:libc",
        )],
    )
    .also(&["realise", "gc"]),
    page(
        "seed",
        PROJECT,
        &[(
            "Import a stage as a seed",
            "mstore seed import stage3-corei7.tar.xz --name corei7",
        )],
    ),
    page("seed list", PROJECT, &[("List them", "mstore seed list")]).also(&["lock"]),
    page(
        "seed import",
        &[Specs, Lock, Store, Config, Others],
        &[
            (
                "Import an archive",
                "mstore seed import stage3-corei7.tar.xz --name corei7",
            ),
            (
                "Fetch one, and remember from where",
                "mstore seed import https://example.org/seed.tar.xz --hash sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
        ],
    )
    .also(&["lock", "snapshot-import"]),
    page(
        "seed host",
        PROJECT,
        &[
            ("See what would be captured", "mstore seed host -n"),
            ("Capture this machine", "mstore seed host"),
        ],
    ),
    page(
        "snapshot",
        PROJECT,
        &[(
            "Import a ports tree",
            "mstore snapshot import /var/git/meta-repo --name funtoo",
        )],
    ),
    page(
        "snapshot list",
        PROJECT,
        &[("List them", "mstore snapshot list")],
    )
    .also(&["lock"]),
    page(
        "snapshot import",
        &[Specs, Lock, Store, Config, Others],
        &[
            (
                "Import a revision of a git repository",
                "mstore snapshot import /var/git/meta-repo --rev HEAD --name funtoo",
            ),
            (
                "Import a branch from elsewhere, which `mstore lock --update` follows",
                "mstore snapshot import git+https://example.org/ports.git --rev main",
            ),
        ],
    )
    .also(&["lock", "seed-import"]),
    page(
        "specs",
        &[Specs],
        &[("List the standard specifications", "mstore specs list")],
    )
    .doc(&["doc/specs.md"]),
    page("specs list", &[Specs], &[("List them", "mstore specs list")]),
    page(
        "specs cat",
        &[Specs],
        &[("Print one", "mstore specs cat targets/seedling/stage1.conf")],
    ),
    page(
        "specs export",
        &[Specs],
        &[
            (
                "Copy one to change it",
                "mstore specs export targets/seedling/stage1.conf",
            ),
            (
                "Copy all into another folder",
                "mstore specs export --all --to upstream",
            ),
        ],
    ),
    page(
        "lock",
        &[Specs, Lock, Store, Config, Others],
        &[
            ("Show the lock file", "mstore lock"),
            (
                "Take today's ports tree",
                "mstore lock --update ports",
            ),
            (
                "Start from what was built here",
                "mstore lock --seed corei7=stage3-corei7",
            ),
        ],
    )
    .also(&["seed-import", "snapshot-import"])
    .doc(&["doc/config.md"]),
    page(
        "copy",
        BUILD,
        &[
            (
                "Make a cache that others can use",
                "mstore copy stage3-corei7 --to /srv/cache --cache",
            ),
            (
                "Copy to the store of another host",
                "mstore copy stage3-corei7 --to ssh://build@host",
            ),
            (
                "Copy from a cache",
                "mstore copy stage3-corei7 --from https://example.org/cache",
            ),
        ],
    )
    .also(&["key-sign", "serve", "export"])
    .doc(&["doc/caches.md"]),
    page(
        "config",
        &[Specs, Store, Config, Others],
        &[("See what is in force", "mstore config show")],
    )
    .doc(&["doc/config.md"]),
    page(
        "config show",
        &[Specs, Store, Config, Others],
        &[
            ("See what is in force", "mstore config show"),
            (
                "See it for another file",
                "mstore config show --config ./mstore.conf",
            ),
        ],
    )
    .doc(&["doc/config.md"]),
    page(
        "doctor",
        &[Store, Others],
        &[
            ("Look at this machine", "mstore doctor"),
            (
                "Look whether another disk will do",
                "mstore doctor --store /mnt/store",
            ),
        ],
    )
    .also(&["realise"])
    .doc(&["doc/sandbox.md"]),
    page(
        "serve",
        &[Store, Config],
        &[
            ("Serve this machine", "mstore serve"),
            ("Serve a network", "mstore serve --listen 0.0.0.0:8787"),
        ],
    )
    .also(&["copy"])
    .doc(&["doc/caches.md"]),
    page(
        "worker",
        &[Store, Config],
        &[(
            "Build for the machine at the other end of two pipes",
            "mstore worker --stdio",
        ), (
            "Take jobs from a BuildGrid, two at a time",
            "mstore worker --bots reapis://farm.example/main -j 2",
        )],
    )
    .also(&["realise"])
    .doc(&["doc/cluster.md"]),
    page(
        "key",
        &[Config, Keys],
        &[("Make a key", "mstore key generate release-2026")],
    )
    .doc(&["doc/caches.md"]),
    page(
        "key generate",
        &[Keys],
        &[("Make a key", "mstore key generate release-2026")],
    )
    .also(&["key-sign"])
    .doc(&["doc/caches.md"]),
    page(
        "key public",
        &[Keys],
        &[(
            "Print what others trust it by",
            "mstore key public release-2026",
        )],
    )
    .also(&["key-generate"]),
    page(
        "key sign",
        &[Specs, Lock, Store, Config, Keys],
        &[(
            "Sign what was built before there was a key",
            "mstore key sign 'stage3-*' --key release-2026",
        )],
    )
    .also(&["copy"])
    .doc(&["doc/caches.md"]),
    page(
        "export",
        PROJECT,
        &[
            ("Write an archive", "mstore export stage3-corei7"),
            (
                "Write an image for containers",
                "mstore export stage3-corei7 stage3.oci",
            ),
            (
                "Write a folder",
                "mstore export stage3-corei7 --to /srv/root",
            ),
            (
                "Write all stages that are built, with what is published beside them",
                "mstore export 'stage3-*' --to release --digests --contents --sign",
            ),
            (
                "Write a live medium with the kernel of an unpacked package",
                "mstore export stage4-corei7 stage4.iso --boot-from boot",
            ),
            (
                "Write the packages of a stage so that Portage installs them",
                "mstore export stage3-corei7 --binhost packages",
            ),
        ],
    )
    .found("The form cannot hold everything, and --lossy was not given.")
    .also(&["store-path", "copy"])
    .doc(&["doc/images.md", "doc/packages.md", "doc/stages.md"]),
    page(
        "store",
        &[Store],
        &[("Print what is in it", "mstore store info")],
    )
    .doc(&["doc/store.md"]),
    page(
        "store ls",
        PROJECT,
        &[("List a folder of a target", "mstore store ls stage3-corei7:etc")],
    )
    .also(&["store-cat", "store-stat"]),
    page(
        "store cat",
        PROJECT,
        &[(
            "Print a file of a target",
            "mstore store cat stage3-corei7:etc/os-release",
        )],
    ),
    page(
        "store stat",
        PROJECT,
        &[(
            "Show owner, mode and hash of a file",
            "mstore store stat stage3-corei7:bin/su",
        )],
    ),
    page(
        "store du",
        PROJECT,
        &[("Show what a target takes", "mstore store du stage3-corei7")],
    )
    .also(&["store-info"]),
    page(
        "store path",
        PROJECT,
        &[(
            "Print a folder with a target's files",
            "mstore store path stage3-corei7",
        )],
    )
    .also(&["export"]),
    page(
        "store find",
        PROJECT,
        &[(
            "Find the trees that have a file of such a name",
            "mstore store find 'libc.so*'",
        )],
    )
    .found("Nothing was found."),
    page(
        "store info",
        &[Store],
        &[("Print statistics", "mstore store info")],
    ),
    page(
        "store root",
        PROJECT,
        &[(
            "Keep what a target is today",
            "mstore store root add release-1 stage3-corei7",
        )],
    )
    .also(&["gc"]),
    page(
        "store root add",
        PROJECT,
        &[(
            "Keep what a target is today",
            "mstore store root add release-1 stage3-corei7",
        )],
    )
    .also(&["gc"]),
    page(
        "store root remove",
        &[Store],
        &[("Keep it no more", "mstore store root remove release-1")],
    )
    .also(&["gc"]),
    page(
        "store root list",
        &[Store],
        &[("List them", "mstore store root list")],
    )
    .also(&["why-alive"]),
    page(
        "store verify",
        &[Store, Config, Others],
        &[
            ("Read everything again", "mstore store verify"),
            ("Mend what can be mended", "mstore store verify --repair"),
        ],
    )
    .found("Something is wrong.")
    .also(&["forget"])
    .doc(&["doc/store.md"]),
    page(
        "store repack",
        &[Store],
        &[("Compress well", "mstore store repack")],
    )
    .also(&["gc"]),
    page(
        "metro",
        &[Mirror, Specs, Lock, Store, Config, Others],
        &[
            (
                "Build stage1, stage2, stage3 and openvz over the mirror",
                "mstore metro multi: yes multi/mode: full multi/extras: openvz target/build: funtoo-current target/subarch: corei7",
            ),
            (
                "Only print what would be built, and from what",
                "mstore metro -n multi: yes multi/mode: freshen target/build: funtoo-current target/subarch: corei7",
            ),
            ("Print the value of an element", "mstore metro -k path/mirror"),
        ],
    )
    .found("A step failed, or another run builds the subarch.")
    .also(&["realise", "repo-next", "eval"])
    .doc(&["doc/metro.md", "doc/repository.md"]),
    page(
        "dpb",
        &[Specs, Lock, Store, Config, Others],
        &[
            (
                "Build all there is on the machines of a file, from another terminal followed in engine.log",
                "mstore dpb -a -h hosts",
            ),
            (
                "Build one target and go on when its errors are mended and their locks removed",
                "mstore dpb -q stage3-corei7",
            ),
        ],
    )
    .found("Something failed, is locked, or was not built.")
    .also(&["realise", "worker"])
    .doc(&["doc/dpb.md", "doc/cluster.md"]),
    page(
        "repo",
        &[Mirror, Specs, Config],
        &[("Build what comes next", "mstore repo next")],
    )
    .doc(&["doc/repository.md"]),
    page(
        "repo nextbuild",
        &[Mirror],
        &[("Print it", "mstore repo nextbuild")],
    )
    .found("There is nothing to build."),
    page(
        "repo next",
        &[Mirror, Specs, Lock, Store, Config, Others],
        &[
            ("Build it", "mstore repo next"),
            ("Only print what would be run", "mstore repo next --pretend"),
        ],
    )
    .found("The build failed, or there is nothing to build."),
    page(
        "repo build",
        &[Mirror, Specs, Lock, Store, Config, Others],
        &[(
            "Build a subarch now",
            "mstore repo build funtoo-current x86-64bit corei7",
        )],
    )
    .found("The build failed."),
    page(
        "repo publish",
        &[Mirror, Specs, Lock, Store, Config],
        &[("Publish targets", "mstore repo publish 'stage3-*'")],
    )
    .found("A build could not be published."),
    page(
        "repo push",
        &[Mirror, Others],
        &[(
            "Push to another host",
            "mstore repo push ssh://mirror@host/srv/mirror",
        )],
    )
    .found("A build could not be pushed."),
    page("repo fails", &[Mirror], &[("List them", "mstore repo fails")]),
    page(
        "repo zap",
        &[Mirror],
        &[("Try again what failed", "mstore repo zap")],
    ),
    page(
        "repo empties",
        &[Mirror],
        &[("List them", "mstore repo empties")],
    ),
    page(
        "repo clean",
        &[Mirror],
        &[
            ("See what would go", "mstore repo clean"),
            ("Remove it", "mstore repo clean --run"),
        ],
    )
    .found("Something could not be removed."),
    page(
        "repo digestgen",
        &[Mirror, Config],
        &[("Make what is missing", "mstore repo digestgen")],
    )
    .found("A file could not be read or written."),
    page(
        "repo index.xml",
        &[Mirror],
        &[("Write it", "mstore repo index.xml")],
    ),
    page(
        "repo compress",
        &[Mirror],
        &[("Compress below a folder", "mstore repo compress /srv/mirror")],
    )
    .found("An archive could not be compressed."),
    page(
        "repo import-buildbot",
        &[Mirror],
        &[(
            "Print it from a file of another place",
            "mstore repo import-buildbot --config /root/.buildbot",
        )],
    )
    .found("The file is Python that Metro text cannot say."),
    page(
        "completions",
        &[],
        &[(
            "Complete in this bash",
            "source <(mstore completions bash)",
        )],
    ),
    page(
        "man",
        &[],
        &[
            ("Write all pages", "mstore man /usr/local/share/man/man1"),
            ("Read the main one", "mstore man | man -l -"),
        ],
    ),
];
