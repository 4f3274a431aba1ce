//! `mstore key`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::Failure;
use crate::cli::args;
use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::output::plural;
use crate::plan::Pins;
use crate::project::Access;
use crate::share::SecretKey;

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
    },
    /// Print the public half of a signing key
    Public {
        /// File with the secret half, or the name of a key in the default place
        #[arg(value_name = "FILE|NAME")]
        key: String,
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
    },
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Generate { name, out } => {
            let key = SecretKey::generate(&name)?;
            let path = match out {
                Some(path) => path,
                None => args::keys_folder(context)?.join(format!("{name}.key")),
            };
            key.write(&path)?;
            tell!(
                "the secret key is in {}; keep it to yourself",
                path.display()
            );
            tell!("others trust it by this line in trust/keys of their configuration file:");
            output::line(key.public())?;
        }
        Command::Public { key } => output::line(find(context, &key)?.public())?,
        Command::Sign { targets, key } => {
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
            let n = project.sign(&recipes, Pins::Optional, &key)?;
            output::line(format!("signed {n} {}", plural(n, "fact")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A key by file or by name.
fn find(context: &Context, key: &str) -> Result<SecretKey, Failure> {
    let named = args::keys_folder(context)
        .map(|folder| folder.join(format!("{key}.key")))
        .ok()
        .filter(|path| !key.contains('/') && path.is_file());
    Ok(SecretKey::read(&named.unwrap_or_else(|| key.into()))?)
}
