//! `mstore why waiting`

use std::process::ExitCode;

use crate::cli::context::Context;
use crate::cli::{Failure, output, runs};
use crate::schedule::control::words::{Answer, Explained, Question};

/// Asks the runs that go on: the one that builds it, or the one that was named.
pub fn waiting(
    context: &Context,
    names: &[String],
    pid: Option<u32>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let mut found: Vec<Explained> = Vec::new();
    let mut instances = runs::all(context, pid)?;
    for name in names {
        let before = found.len();
        let mut refused = None;
        for instance in &mut instances {
            let question = Question::Why { of: name.clone() };
            match runs::ask(instance, &question) {
                Ok(Answer::Why(explained)) => found.extend(explained),
                Ok(_) => return Err(runs::nonsense(instance)),
                Err(error) => refused = Some(error),
            }
        }
        if found.len() == before {
            let error = match refused {
                Some(error) => error,
                None => runs::nothing(context)?,
            };
            return Err(error
                .hint(format!(
                    "`mstore realise {name}` starts a run that builds it"
                ))
                .hint(format!(
                    "`mstore why rebuild {name}` tells whether it is to be built at all"
                )));
        }
    }
    if json {
        output::json_pretty(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    for Explained {
        job,
        state,
        reasons,
    } in &found
    {
        output::line(format!(
            "{} is {}",
            output::escaped(job),
            output::escaped(state)
        ))?;
        for reason in reasons {
            output::line(format!("  {}", output::escaped(&reason.text)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
