//! Shows on a terminal how far an export is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output;

/// A line that lives until this is dropped; nothing where stderr is no terminal.
pub struct Meter {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    /// Begins to show what `written` counts, in bytes.
    pub fn start(label: String, written: Arc<AtomicU64>) -> Meter {
        let ended = Arc::new(AtomicBool::new(false));
        if !output::stderr_is_live() {
            return Meter {
                ended,
                thread: None,
            };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        let thread = std::thread::spawn({
            let ended = ended.clone();
            move || {
                while !ended.load(Ordering::Relaxed) {
                    let text = match written.load(Ordering::Relaxed) {
                        0 => label.clone(),
                        bytes => format!("{label}: {}", output::size(bytes)),
                    };
                    bar.set_message(output::calm(&text).into_owned());
                    bar.tick();
                    std::thread::sleep(Duration::from_millis(100));
                }
                bar.finish_and_clear();
            }
        });
        Meter {
            ended,
            thread: Some(thread),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only draws.
            let _ = thread.join();
        }
    }
}
