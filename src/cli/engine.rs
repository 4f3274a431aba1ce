//! The engine that builds: what options, environment and configuration file say of it.

use std::env;

#[cfg(feature = "reapi")]
use crate::build::host;
use crate::cli::Failure;
use crate::config::Config;
use crate::schedule::realise::Site;
#[cfg(feature = "reapi")]
use crate::schedule::reapi::{Engine, EngineAddress, Function, Settings};

/// The variable that names an engine.
pub const VARIABLE: &str = "MSTORE_EXECUTOR";
/// What stands for this machine where an engine is named otherwise.
const HERE: &str = "here";
/// The worker's program, beside this one.
#[cfg(feature = "reapi")]
const WORKER: &str = "mstore-worker";

/// What the environment says.
pub fn variable() -> Option<String> {
    env::var(VARIABLE).ok().filter(|url| !url.is_empty())
}

/// The address of the engine that is to build, if one is: `given` with the command, else in the environment, else in the
/// file.
pub fn address(config: &Config, given: Option<&str>) -> Option<String> {
    let address = given
        .map(str::to_owned)
        .or_else(variable)
        .or_else(|| config.engine.executor.clone());
    address.filter(|address| address != HERE)
}

/// The engine that is to build, if one is, with the machines that do so beside it.
#[cfg(feature = "reapi")]
pub fn engine<'a>(
    config: &Config,
    given: Option<&str>,
    beside: Option<&'a dyn Site>,
) -> Result<Option<Box<dyn Site + 'a>>, Failure> {
    let Some(address) = address(config, given) else {
        return Ok(None);
    };
    let settings = settings(config, &address)?;
    let engine = Engine::new(settings, env!("CARGO_PKG_VERSION"));
    Ok(Some(Box::new(match beside {
        Some(site) => engine.beside(site),
        None => engine,
    })))
}

/// Refuses an engine, if one is to build.
#[cfg(not(feature = "reapi"))]
pub fn engine<'a>(
    config: &Config,
    given: Option<&str>,
    _: Option<&'a dyn Site>,
) -> Result<Option<Box<dyn Site + 'a>>, Failure> {
    match address(config, given) {
        None => Ok(None),
        Some(_) => Err(
            Failure::usage("this mstore was built without engines of remote execution")
                .hint("build it with the feature `reapi`, or say --executor here"),
        ),
    }
}

/// What there is to know of an engine.
#[cfg(feature = "reapi")]
pub fn settings(config: &Config, address: &str) -> Result<Settings, Failure> {
    let address: EngineAddress = address.parse().map_err(|error| {
        Failure::usage(error).hint(
            "the address comes from --executor, MSTORE_EXECUTOR or `executor` in the configuration file",
        )
    })?;
    let said = &config.engine;
    let mut settings = Settings {
        insecure: said.insecure,
        token: said.token.clone(),
        ca: said.ca.clone(),
        cert: said.cert.clone(),
        key: said.key.clone(),
        properties: said.properties.clone(),
        digest: match said.digest.as_deref() {
            Some("blake3") => Function::Blake3,
            _ => Function::Sha256,
        },
        salt: said.salt.clone().unwrap_or_default(),
        ..Settings::new(address)
    };
    if let Some(most) = said.inflight {
        settings.inflight = most as usize;
    }
    if let Some(time) = said.queue_timeout {
        settings.queue_timeout = time;
    }
    let machine = host::machine();
    let beside = env::current_exe().ok();
    let beside = beside.map(|program| program.with_file_name(WORKER));
    for platform in host::platforms() {
        let runs = platform == machine || host::is_32_bit_of(&machine, &platform);
        if let Some(beside) = beside.as_ref().filter(|_| runs) {
            settings.workers.insert(platform, beside.clone());
        }
    }
    for (name, file) in &said.workers {
        let platform = match name.as_str() {
            "arm64" => "aarch64",
            "amd64" | "x86-64" => "x86_64",
            other => other,
        };
        settings.workers.insert(platform.to_owned(), file.clone());
    }
    Ok(settings)
}
