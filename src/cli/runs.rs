//! The runs of the store that go on in other processes.

use super::Failure;
use super::context::Context;
use super::failure::Kind;
use crate::schedule::control::words::{Answer, Question};
use crate::schedule::control::{ControlError, Instance, instances};

/// All of them, in the order of their processes; the one of a process alone, if it was named.
pub fn all(context: &Context, pid: Option<u32>) -> Result<Vec<Instance>, Failure> {
    let mut found = instances(&context.store_path()?).map_err(failed)?;
    if let Some(pid) = pid {
        found.retain(|instance| instance.pid == pid);
        if found.is_empty() {
            return Err(Failure::found(format!(
                "process {pid} does not build anything in this store"
            ))
            .hint("`mstore top` without --pid shows what goes on"));
        }
    }
    Ok(found)
}

/// The one that is to be asked: there must be exactly one, or its process be named.
pub fn one(context: &Context, pid: Option<u32>) -> Result<Instance, Failure> {
    let mut found = all(context, pid)?;
    match (found.pop(), found.is_empty()) {
        (Some(instance), true) => Ok(instance),
        (Some(last), false) => {
            let pids = found.iter().chain([&last]).map(|run| run.pid.to_string());
            let pids: Vec<String> = pids.collect();
            Err(Failure::usage(format!(
                "several runs go on in this store: those of the processes {}",
                pids.join(", ")
            ))
            .hint("say which one: --pid PID"))
        }
        (None, _) => Err(nothing(context)?),
    }
}

/// What is said where nothing goes on.
pub fn nothing(context: &Context) -> Result<Failure, Failure> {
    let store = context.store_path()?;
    Ok(Failure::found(format!(
        "nothing is being built in the store {}",
        store.display()
    )))
}

/// Asks; what is refused is an error.
pub fn ask(instance: &mut Instance, question: &Question) -> Result<Answer, Failure> {
    match instance.ask(question).map_err(failed)? {
        Answer::Refused(why) => Err(Failure::found(why)),
        answer => Ok(answer),
    }
}

/// An answer to something else.
pub fn nonsense(instance: &Instance) -> Failure {
    failed(ControlError::Nonsense { pid: instance.pid })
}

fn failed(error: ControlError) -> Failure {
    let kind = match error {
        ControlError::Over { .. } => Kind::Found,
        _ => Kind::Machine,
    };
    Failure::new(kind, error)
}
