//! A terminal that is drawn on: its other screen, keys one by one, and all as it was at the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::cli::output;

/// The other screen, without a cursor and without wrapping long lines.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
/// Back again.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How the terminal was, while it is not.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether this process has a terminal that can be drawn on, and keys.
pub fn is_live() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal() && output::stdout_can_draw()
}

/// The terminal, as long as it is drawn on.
pub struct Screen(());

impl Screen {
    /// Takes the terminal. A panic gives it back before it is told of.
    pub fn enter() -> io::Result<Screen> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                leave();
                before(panic);
            }));
        });
        take()?;
        Ok(Screen(()))
    }

    /// Gives the terminal back, stops this process as Ctrl-Z does, and takes it again afterwards.
    pub fn suspend(&self) -> io::Result<()> {
        leave();
        signal_hook::low_level::raise(signal_hook::consts::SIGSTOP)?;
        take()
    }

    /// Columns and lines.
    pub fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout());
        let size = size.map(|size| (size.ws_col.into(), size.ws_row.into()));
        match size {
            Ok((columns, rows)) if columns > 0 && rows > 0 => (columns, rows),
            _ => (80, 24),
        }
    }

    /// Draws lines, which must not upset a terminal. `marked` is drawn the other way round.
    pub fn draw(&self, lines: &[String], marked: Option<usize>) -> io::Result<()> {
        let (columns, rows) = self.size();
        let mut text = String::from("\x1b[H");
        for (at, line) in lines.iter().take(rows).enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            let line: String = line.chars().take(columns).collect();
            match marked == Some(at) {
                true => text.push_str(&format!("\x1b[7m{line}\x1b[0m")),
                false => text.push_str(&line),
            }
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// The keys that were pressed, as bytes; none at the end of the terminal.
    pub fn keys(&self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 256];
        // Past the buffer of the library, which would hide keys from whoever waits for them.
        let n = rustix::io::read(io::stdin(), &mut buffer)?;
        Ok(buffer[..n].to_vec())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn take() -> io::Result<()> {
    let before = tcgetattr(io::stdin())?;
    let mut raw = before.clone();
    raw.make_raw();
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
    let mut out = io::stdout().lock();
    out.write_all(ENTER.as_bytes())?;
    out.flush()
}

/// Gives the terminal back, if it was taken.
fn leave() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs nothing.
        let mut out = io::stdout();
        let _ = out.write_all(LEAVE.as_bytes());
        let _ = out.flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &before);
    }
}
