//! `mstore key`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_store::Store;

use crate::cli::Failure;
use crate::cli::args;
use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::output::plural;
use crate::cli::watch::Watch;
use crate::plan::Pins;
use crate::project::Access;
use crate::project::copy::{CopyOptions, SendOptions, send};
use crate::project::open::Folder;
use crate::share::{Parcel, Remote, SecretKey};

/// Make signing keys, and sign results with them
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a signing key, and print its public half
    Generate {
        /// Its name, such as release-2026
        name: String,
        /// File for the secret half [default: keys/NAME.key in the folder of the user's configuration]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the public half of a signing key
    Public {
        /// File with the secret half, or the name of a key in the default place
        #[arg(value_name = "FILE|NAME")]
        key: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign what the store knows of targets
    Sign {
        /// Targets, such as stage3-corei7, or patterns
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
        /// File with the secret half, or the name of a key in the default place [default: sign/key of
        /// the configuration file]
        #[arg(long, value_name = "FILE|NAME")]
        key: Option<String>,
        /// Sign them also in the binary cache in this folder, which they were copied to before
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Generate { name, out, json } => {
            let key = SecretKey::generate(&name)?;
            let path = match out {
                Some(path) => path,
                None => args::keys_folder(context)?.join(format!("{name}.key")),
            };
            key.write(&path)?;
            if json {
                output::json(&serde_json::json!({
                    "name": name,
                    "file": path.display().to_string(),
                    "public": key.public().to_string(),
                }))?;
                return Ok(ExitCode::SUCCESS);
            }
            tell!(
                "the secret key is in {}; keep it to yourself",
                path.display()
            );
            tell!("others trust it by this line in trust/keys of their configuration file:");
            output::line(key.public())?;
        }
        Command::Public { key, json } => {
            let public = find(context, &key)?.public();
            match json {
                true => output::json(&serde_json::json!({ "public": public.to_string() }))?,
                false => output::line(public)?,
            }
        }
        Command::Sign {
            targets,
            key,
            cache,
            json,
        } => {
            let key = match key {
                Some(key) => find(context, &key)?,
                None => args::signing_key(&context.config()?, None)?.ok_or_else(|| {
                    Failure::usage("no key to sign with").hint(
                        "give one with --key, or name it in sign/key of the configuration file",
                    )
                })?,
            };
            context.enter()?;
            let project = context.project(Access::Change)?;
            let recipes = project.recipes(&project.targets(&targets)?)?;
            let parcel = project.sign(&recipes, Pins::Optional, &key)?;
            if let Some(folder) = &cache {
                to_cache(context, &project.store, parcel.clone(), folder)?;
            }
            let n = parcel.facts.len();
            match json {
                true => output::json(&serde_json::json!({
                    "signed": n,
                    "public": key.public().to_string(),
                }))?,
                false => output::line(format!("signed {n} {}", plural(n, "fact")))?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts signed facts into a cache that is there.
fn to_cache(
    context: &Context,
    store: &Store,
    mut parcel: Parcel,
    folder: &Path,
) -> Result<(), Failure> {
    if Folder::of(folder)? != Folder::Cache {
        return Err(Failure::usage("is not a binary cache")
            .about(folder)
            .hint("`mstore copy TARGET --to DIR --cache` makes one"));
    }
    context.check_owner(folder)?;
    // Their trees are there, or are wanted by nobody.
    parcel.trees.clear();
    let options = SendOptions {
        reach: &context.reach(),
        cache: true,
        blind: false,
    };
    let copy = CopyOptions {
        root: None,
        dry_run: false,
        cancel: context.cancel()?,
        events: &Watch::new(true),
    };
    send(
        store,
        &parcel,
        &Remote::Folder(folder.to_path_buf()),
        &options,
        &copy,
    )?;
    Ok(())
}

/// A key by file or by name.
fn find(context: &Context, key: &str) -> Result<SecretKey, Failure> {
    let named = args::keys_folder(context)
        .map(|folder| folder.join(format!("{key}.key")))
        .ok()
        .filter(|path| !key.contains('/') && path.is_file());
    Ok(SecretKey::read(&named.unwrap_or_else(|| key.into()))?)
}
