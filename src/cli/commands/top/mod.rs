//! `mstore top`

mod live;
mod screen;
mod text;

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::context::Context;
use crate::cli::{Failure, output, runs};
use crate::schedule::control::Instance;
use crate::schedule::control::words::{Answer, Question, View};

/// Look at what is being built, and steer it
///
/// On a terminal the view is drawn again and again, and keys steer the run: see `?` there. Elsewhere it is printed
/// once.
#[derive(clap::Args)]
pub struct Args {
    /// The run of this process [default: the only one in the store]
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Print once what goes on
    #[arg(long)]
    once: bool,
    /// Look again after so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    every: Duration,
    /// Start nothing more on this host; what runs there may end
    #[arg(long, value_name = "HOST", group = "verb")]
    drain: Option<String>,
    /// Start jobs on a host again that was drained
    #[arg(long, value_name = "HOST", group = "verb")]
    resume: Option<String>,
    /// Build on one more host: a line as in a hosts file, such as 'me@big jobs=8'
    #[arg(long, value_name = "LINE", group = "verb")]
    add: Option<String>,
    /// End a step and do not start it again; what needs it waits
    #[arg(long, value_name = "STEP", group = "verb")]
    stop: Option<String>,
    /// Let a step start again that was stopped, or that failed
    #[arg(long, value_name = "STEP", group = "verb")]
    requeue: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn seconds(word: &str) -> Result<Duration, String> {
    let seconds: f64 = word
        .parse()
        .map_err(|_| "a number is expected".to_owned())?;
    match (0.1..=3600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("from 0.1 to 3600 seconds".to_owned()),
    }
}

impl Args {
    /// What is to be done, if something is.
    fn verb(&self) -> Option<Question> {
        let own = |word: &Option<String>| word.clone();
        None.or_else(|| own(&self.drain).map(|host| Question::Drain { host }))
            .or_else(|| own(&self.resume).map(|host| Question::Resume { host }))
            .or_else(|| own(&self.add).map(|line| Question::Add { line }))
            .or_else(|| own(&self.stop).map(|job| Question::Stop { job }))
            .or_else(|| own(&self.requeue).map(|job| Question::Requeue { job }))
    }
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    if let Some(verb) = args.verb() {
        let mut instance = runs::one(context, args.pid)?;
        let Answer::Done(done) = runs::ask(&mut instance, &verb)? else {
            return Err(runs::nonsense(&instance));
        };
        match args.json {
            true => output::json(&serde_json::json!({ "done": done }))?,
            false => output::line(output::escaped(&done))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut instances = runs::all(context, args.pid)?;
    if !args.json && !args.once && !instances.is_empty() && screen::is_live() {
        return live::watch(context, instances, args.pid, args.every);
    }
    let mut views = Vec::new();
    for instance in &mut instances {
        views.push(view(instance)?);
    }
    if args.json {
        output::json_pretty(&views)?;
        return Ok(ExitCode::SUCCESS);
    }
    if views.is_empty() {
        let store = context.store_path()?;
        tell!("nothing is being built in the store {}", store.display());
    }
    for (at, view) in views.iter().enumerate() {
        if at > 0 {
            output::line("")?;
        }
        for line in text::lines(view) {
            output::line(line.text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What goes on in a run.
fn view(instance: &mut Instance) -> Result<View, Failure> {
    match runs::ask(instance, &Question::View)? {
        Answer::View(view) => Ok(*view),
        _ => Err(runs::nonsense(instance)),
    }
}
