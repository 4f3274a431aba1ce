//! Signals that end a command: Ctrl-C, termination, a terminal that goes away.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use super::Failure;
use crate::build::cancel::CancelToken;

/// Ctrl-C and termination, as flags.
pub struct Stop {
    /// Becomes true with the first signal.
    pub stopped: Arc<AtomicBool>,
    /// Cancelled with the first signal.
    pub cancel: CancelToken,
}

static STOP: OnceLock<CancelToken> = OnceLock::new();

impl Stop {
    /// The first signal stops the builds and cleans up; a second one ends the process at once.
    pub fn install() -> Result<Stop, Failure> {
        let machine = |e: std::io::Error| Failure::machine(format!("cannot handle signals: {e}"));
        let cancel = CancelToken::new().map_err(machine)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let cancel = STOP.get_or_init(|| cancel).clone();
        for signal in [
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGHUP,
        ] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stopped))
                .map_err(machine)?;
            signal_hook::flag::register(signal, Arc::clone(&stopped)).map_err(machine)?;
        }
        let (flag, token) = (Arc::clone(&stopped), cancel.clone());
        std::thread::spawn(move || {
            while !flag.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::sleep(std::time::Duration::from_millis(30));
            }
            token.cancel();
        });
        Ok(Stop { stopped, cancel })
    }
}
