//! Estimates in words.

use super::output::plural;
use crate::project::Estimates;

/// Says how long something takes; nothing where nothing is built. What is not known is said.
pub fn told(estimates: &Estimates) -> Option<String> {
    let Estimates { least, most } = estimates;
    let (steps, unknown) = (most.steps, most.unknown);
    if steps == 0 {
        return None;
    }
    if most.is_unknown() {
        let none = match steps {
            1 => "the step was never built here".to_owned(),
            n => format!("none of the {n} steps was ever built here"),
        };
        return Some(format!("an unknown time: {none}"));
    }
    let (short, long) = (about(least.seconds), about(most.seconds));
    let mut text = match least.is_unknown() || short == long {
        true if least.steps > 0 => format!("about {long}"),
        true => format!("up to about {long}, if all inputs come out different"),
        false => format!("about {short}, and up to {long} if all inputs come out different"),
    };
    if unknown > 0 {
        text.push_str(&format!(
            ", without {unknown} of {steps} {} that were never built here",
            plural(steps, "step")
        ));
    }
    Some(text)
}

/// A duration in seconds, minutes or hours, whichever says enough.
pub fn about(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        ..1.5 => "1 s".to_owned(),
        ..89.5 => format!("{seconds:.0} s"),
        ..7170.0 => format!("{minutes} min"),
        _ if minutes.is_multiple_of(60) => format!("{} h", minutes / 60),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Estimate;

    #[test]
    fn what_is_not_known_is_said() {
        let of = |steps, unknown, seconds| Estimate {
            steps,
            unknown,
            seconds,
        };
        let pairs = [
            (of(0, 0, 0.0), of(0, 0, 0.0)),
            (of(1, 1, 0.0), of(1, 1, 0.0)),
            (of(1, 1, 0.0), of(20, 20, 0.0)),
            (of(1, 0, 0.2), of(1, 0, 0.2)),
            (of(2, 0, 45.0), of(2, 0, 45.0)),
            (of(2, 0, 300.0), of(9, 0, 8000.0)),
            (of(2, 1, 300.0), of(9, 2, 7200.0)),
            (of(1, 1, 0.0), of(9, 3, 90.0)),
            (of(0, 0, 0.0), of(9, 0, 3600.0)),
        ];
        let told: Vec<String> = pairs
            .into_iter()
            .map(|(least, most)| told(&Estimates { least, most }).unwrap_or_default())
            .collect();
        insta::assert_snapshot!(told.join("\n"), @"

        an unknown time: the step was never built here
        an unknown time: none of the 20 steps was ever built here
        about 1 s
        about 45 s
        about 5 min, and up to 2 h 13 min if all inputs come out different
        about 5 min, and up to 2 h if all inputs come out different, without 2 of 9 steps that were never built here
        about 2 min, without 3 of 9 steps that were never built here
        up to about 60 min, if all inputs come out different
        ");
    }
}
