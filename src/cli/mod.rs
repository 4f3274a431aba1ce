//! The command line: one file a command. Parses arguments, calls the library, prints.
//!
//! Only this floor prints, reads the environment or decides an exit status.

/// Prints a line for people to stderr. Unlike `eprintln!` it does not panic when nobody listens
/// any more: a build must not end because its terminal went away.
macro_rules! tell {
    ($($part:tt)*) => { $crate::cli::output::tell(&format!($($part)*)) };
}

mod addresses;
mod args;
mod blame;
mod books;
mod bytes;
mod commands;
mod context;
mod definitions;
mod engine;
mod estimate;
mod failure;
mod findings;
mod imports;
mod lost;
mod manual;
mod output;
mod pins;
mod places;
mod progress;
mod repack;
mod report;
mod runs;
mod signals;
mod site;
mod spec;
mod text;
mod watch;
mod whole_file;
mod words;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[cfg(feature = "lsp")]
use commands::lsp;
use commands::{
    check, complete, completions, config, copy, diff, doctor, dpb, eval, export, fetch, fmt,
    forget, gc, graph, init, key, list, lock, log, man, metro, realise, repo, seed, serve, shell,
    show, snapshot, specs, stats, store, top, why, worker,
};
use context::Context;
pub use failure::Failure;

/// Builds Linux distribution stages from Metro specifications, once, and remembers them.
///
/// Give `realise` the name of a target, such as stage3-corei7. Without a metro.conf in the
/// current folder or above the standard specifications inside this program are used.
#[derive(Parser)]
#[command(
    name = "mstore",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    place: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Store to use [default: $MSTORE_STORE, else /var/lib/mstore for root and
    /// $XDG_DATA_HOME/mstore for others]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Configuration file [default: $MSTORE_CONFIG, else the first of mstore.conf in the store,
    /// $XDG_CONFIG_HOME/mstore/mstore.conf and /etc/mstore/mstore.conf]; of `mstore repo`: what is
    /// managed [default: ~/.buildbot]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    config: Option<PathBuf>,
    /// Enter this folder before anything else
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Entry file of the specifications [default: metro.conf here or in the nearest folder above, else the
    /// standard ones]
    #[arg(short = 'f', long = "file", global = true, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Define an element, replacing the entry file's definition: NAME=VALUE
    #[arg(short = 'D', long = "define", global = true, value_name = "NAME=VALUE")]
    define: Vec<String>,
    /// Ports tree, whose ports are targets too [default: the element ports/tree of the entry file]
    #[arg(long, global = true, value_name = "DIR")]
    ports_tree: Option<PathBuf>,
    /// Do not use the network: what is not here is named, and neither fetched nor asked for
    #[arg(long, global = true)]
    offline: bool,
    /// Map only your own uid and gid, even if subordinate ranges exist
    #[arg(long, global = true, hide_short_help = true)]
    single_id: bool,
    /// Use a store that belongs to another user, who may then decide what is read and run
    #[arg(long, global = true, hide_short_help = true)]
    foreign_store: bool,
    /// Use colours: auto, always or never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: output::When,
}

#[derive(Subcommand)]
enum Command {
    /// Bring targets up to date: build what is stale, reuse everything else
    #[command(visible_alias = "realize")]
    Realise(realise::Args),
    /// Bring what targets have fetched from outside, without building anything
    Fetch(fetch::Args),
    /// Write a metro.conf to begin with
    Init(init::Args),
    /// Evaluate specifications and print their elements
    Eval(eval::Args),
    /// Put specification files into canonical layout
    Fmt(fmt::Args),
    /// Check specifications: errors in any target, and what is probably not meant
    Check(check::Args),
    /// Serve an editor: the language server protocol over stdin and stdout
    #[cfg(feature = "lsp")]
    Lsp(lsp::Args),
    /// List builds, subarchitectures and targets
    List(list::Args),
    /// Show the derivations of a target, or what a seed or snapshot stands for
    Show(show::Args),
    /// Print the graph of a target's derivations
    Graph(graph::Args),
    /// Compare the derivations of two targets or of two revisions of the specifications
    Diff(diff::Args),
    /// Explain a decision
    Why(why::Args),
    /// Print the build logs of a target
    Log(log::Args),
    /// Look at what is being built, and steer it
    Top(top::Args),
    /// Show how long steps take, how often they fail, and what became slower
    Stats(stats::Args),
    /// Open a shell in the root file system of a target, or in the one that its last build left
    Shell(shell::Args),
    /// Remove what nothing needs any more from the store
    Gc(gc::Args),
    /// Forget what steps produced, and what was built on it here
    Forget(forget::Args),
    /// Make, import or list seeds, the root file systems that builds start in
    Seed(seed::Args),
    /// Import or list snapshots, the ports trees that builds read
    Snapshot(snapshot::Args),
    /// List, print or copy the standard specifications
    Specs(specs::Args),
    /// Show or change metro.lock
    Lock(lock::Args),
    /// Copy targets and trees to or from another store or a cache
    Copy(copy::Args),
    /// Show what is in force on this machine
    Config(config::Args),
    /// Tell what this machine can do, and what to change
    Doctor(doctor::Args),
    /// Let others copy from this store
    Serve(serve::Args),
    /// Build for a scheduler on another machine
    Worker(worker::Args),
    /// Make signing keys, and sign results with them
    Key(key::Args),
    /// Write a target or tree to an archive
    Export(export::Args),
    /// Look after the store
    Store(store::Args),
    Repo(repo::Args),
    Metro(metro::Args),
    Dpb(dpb::Args),
    #[command(hide = true)]
    Complete(complete::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Write the manual pages
    Man(man::Args),
}

/// Runs the command line and returns the process's exit status.
pub fn main() -> ExitCode {
    let words = arguments(std::env::args_os());
    let mut program = parser();
    let parsed = program.try_get_matches_from_mut(&words);
    let parsed = parsed.and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((matches, cli))
    });
    let (matches, cli) = match parsed {
        Ok(parsed) => parsed,
        Err(e) => {
            if e.use_stderr()
                && words
                    .iter()
                    .any(|word| word.to_string_lossy().starts_with("--json"))
            {
                let text = e.to_string();
                let text = text.lines().next().unwrap_or_default();
                Failure::usage(text.trim_start_matches("error: ")).answer();
            }
            if let Some(failure) = no_such_command(&e) {
                return failure.report();
            }
            // Help and version are data; anything else is a usage error.
            let code = if e.use_stderr() { failure::USAGE } else { 0 };
            let _ = match e.use_stderr() {
                // It repeats words that came from who knows where.
                true => {
                    let text = match output::stderr_colour() {
                        true => e.render().ansi().to_string(),
                        false => e.render().to_string(),
                    };
                    output::tell(text.trim_end_matches('\n'));
                    Ok(())
                }
                false => e.print(),
            };
            return ExitCode::from(code);
        }
    };
    output::set_colour(cli.place.color);
    let json = wants_json(&matches);
    match addresses::refuse(&program, &matches).and_then(|()| run(cli)) {
        Ok(code) => code,
        Err(failure) => {
            if json {
                failure.answer();
            }
            failure.report()
        }
    }
}

/// The format of JSON that commands print: doc/json.md. It grows when a script could notice.
const JSON_FORMAT: &str = "1";

/// The program's arguments. Every `--json` may say which format is expected: `--json=1`.
fn parser() -> clap::Command {
    fn versioned(command: clap::Command) -> clap::Command {
        let command = command.mut_args(|arg| match arg.get_id() == "json" {
            false => arg,
            true => arg
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .value_name("FORMAT")
                .value_parser(json_format)
                .default_value("no")
                .default_missing_value(JSON_FORMAT)
                .hide_default_value(true),
        });
        command.mut_subcommands(versioned)
    }
    versioned(Cli::command())
}

fn json_format(word: &str) -> Result<bool, String> {
    match word {
        "no" => Ok(false),
        JSON_FORMAT => Ok(true),
        _ => Err(format!(
            "this mstore prints format {JSON_FORMAT}: see doc/json.md"
        )),
    }
}

/// Whether the command that was given is to print JSON.
fn wants_json(matches: &ArgMatches) -> bool {
    match matches.subcommand() {
        Some((_, below)) if wants_json(below) => true,
        _ => {
            matches.try_get_one("json").ok().flatten() == Some(&true)
                && matches.value_source("json") == Some(ValueSource::CommandLine)
        }
    }
}

/// What is said to a word that people try and that is no command.
fn no_such_command(error: &clap::Error) -> Option<Failure> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};

    match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) => words::advice(word),
        _ => None,
    }
}

/// The arguments, with the command in them that the program is called by: `buildrepo` is `mstore repo`, `metro` is
/// `mstore metro`, `dpb` is `mstore dpb`.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = given.collect();
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    let command = match called.and_then(std::ffi::OsStr::to_str) {
        Some("buildrepo") => Some("repo"),
        Some("metro") => Some("metro"),
        Some("dpb") => Some("dpb"),
        _ => None,
    };
    if let Some(command) = command {
        arguments.insert(1, command.into());
    }
    arguments
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    // It looks for what is given in the words that it completes.
    if let Command::Complete(args) = cli.command {
        return complete::run(args);
    }
    let context = Context::new(cli.place)?;
    match cli.command {
        Command::Realise(args) => realise::run(&context, args),
        Command::Fetch(args) => fetch::run(&context, args),
        Command::Init(args) => init::run(&context, args),
        Command::Eval(args) => eval::run(&context, args),
        Command::Fmt(args) => fmt::run(&context, args),
        Command::Check(args) => check::run(&context, args),
        #[cfg(feature = "lsp")]
        Command::Lsp(args) => lsp::run(&context, args),
        Command::List(args) => list::run(&context, args),
        Command::Show(args) => show::run(&context, args),
        Command::Graph(args) => graph::run(&context, args),
        Command::Diff(args) => diff::run(&context, args),
        Command::Why(args) => why::run(&context, args),
        Command::Log(args) => log::run(&context, args),
        Command::Top(args) => top::run(&context, args),
        Command::Stats(args) => stats::run(&context, args),
        Command::Shell(args) => shell::run(&context, args),
        Command::Gc(args) => gc::run(&context, args),
        Command::Forget(args) => forget::run(&context, args),
        Command::Seed(args) => seed::run(&context, args),
        Command::Snapshot(args) => snapshot::run(&context, args),
        Command::Specs(args) => specs::run(&context, args),
        Command::Lock(args) => lock::run(&context, args),
        Command::Copy(args) => copy::run(&context, args),
        Command::Config(args) => config::run(&context, args),
        Command::Doctor(args) => doctor::run(&context, args),
        Command::Serve(args) => serve::run(&context, args),
        Command::Worker(args) => worker::run(&context, args),
        Command::Key(args) => key::run(&context, args),
        Command::Export(args) => export::run(&context, args),
        Command::Store(args) => store::run(&context, args),
        Command::Repo(args) => repo::run(&context, args),
        Command::Complete(args) => complete::run(args),
        Command::Metro(args) => metro::run(&context, args),
        Command::Dpb(args) => dpb::run(&context, args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::{Cli, parser};
    use clap::{Command, CommandFactory};

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
        parser().debug_assert();
    }

    /// Commands without `--json`, and why.
    const WITHOUT_JSON: &[(&str, &str)] = &[
        ("complete", "shells read what it prints"),
        ("dpb", "programs read its logs"),
        ("completions", "shells read what it prints"),
        ("man", "man reads what it prints"),
        ("lsp", "editors speak with it"),
        ("shell", "people speak with it"),
        ("specs cat", "it prints files as they are"),
        ("store cat", "it prints files as they are"),
        ("worker", "a scheduler speaks with it"),
    ];

    #[test]
    fn every_command_prints_json_or_says_why_not() {
        fn look(command: &Command, path: &str, without: &mut Vec<String>) {
            let mut below = command.get_subcommands().peekable();
            let has = command.get_arguments().any(|arg| arg.get_id() == "json");
            if below.peek().is_none() && !has {
                without.push(path.to_owned());
            }
            // Arguments of a group are those of its commands as well.
            for sub in below.filter(|_| !has) {
                let path = format!("{path} {}", sub.get_name());
                look(sub, path.trim_start(), without);
            }
        }
        let mut without = Vec::new();
        look(&parser(), "", &mut without);
        without.retain(|path| !path.starts_with("complete "));
        without.sort_unstable();
        let mut allowed: Vec<&str> = WITHOUT_JSON.iter().map(|(path, _)| *path).collect();
        allowed.retain(|path| *path != "complete");
        allowed.sort_unstable();
        assert_eq!(without, allowed);
    }

    #[test]
    fn json_may_say_its_format() {
        let parse = |words: &[&str]| {
            let matches = parser().try_get_matches_from(words);
            matches.map(|matches| super::wants_json(&matches))
        };
        assert!(parse(&["mstore", "list", "--json"]).unwrap());
        assert!(parse(&["mstore", "list", "--json=1", "a"]).unwrap());
        assert!(parse(&["mstore", "list", "--json", "a"]).unwrap());
        assert!(parse(&["mstore", "repo", "fails", "--json"]).unwrap());
        assert!(!parse(&["mstore", "list"]).unwrap());
        let error = parse(&["mstore", "list", "--json=2"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("prints format 1"), "{error}");
    }

    /// A command's own argument under the id of a global one would silently take its place.
    #[test]
    fn no_command_shadows_an_option_of_all_commands() {
        fn look(command: &Command, global: &[String]) {
            for sub in command.get_subcommands() {
                for argument in sub.get_arguments().filter(|a| !a.is_global_set()) {
                    let id = argument.get_id().to_string();
                    assert!(!global.contains(&id), "{} {id}", sub.get_name());
                }
                look(sub, global);
            }
        }
        let cli = Cli::command();
        let global: Vec<String> = cli
            .get_arguments()
            .filter(|a| a.is_global_set())
            .map(|a| a.get_id().to_string())
            .collect();
        assert!(!global.is_empty());
        look(&cli, &global);
    }
}
