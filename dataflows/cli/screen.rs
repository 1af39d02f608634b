//! A terminal taken over for a while: its other screen, and keys as they are pressed.

use std::io;
use std::time::Duration;

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use super::failure::Failure;
use super::ui::Ui;

/// How long it is waited for a key at a time.
const TICK: Duration = Duration::from_millis(100);
/// The same, as terminals take it.
const TENTHS: u8 = 1;
/// What Ctrl-C gives where it is a key like others.
const CTRL_C: u8 = 3;

/// The other screen of the terminal. Dropped, it leaves the terminal as it was.
pub(crate) struct Screen<'a> {
    ui: &'a Ui,
    /// How keys were read before, where they come from a terminal.
    before: Option<Termios>,
}

impl Screen<'_> {
    /// Takes the terminal over.
    pub(crate) fn open(ui: &Ui) -> Result<Screen<'_>, Failure> {
        let before = termios::tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut keys = before.clone();
            // Ctrl-C is a key, too: a second one would end the program with the terminal as it is here.
            keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            keys.special_codes[SpecialCodeIndex::VMIN] = 0;
            keys.special_codes[SpecialCodeIndex::VTIME] = TENTHS;
            termios::tcsetattr(io::stdin(), OptionalActions::Now, &keys)
                .map_err(|error| Failure::running(format!("cannot set up the terminal: {error}")))?;
        }
        let screen = Screen { ui, before };
        // No cursor, and what is wider is cut.
        ui.result("\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l")?;
        Ok(screen)
    }

    /// Shows `text` in place of what was there; as much of it as there is room for.
    pub(crate) fn show(&self, text: &str) -> Result<(), Failure> {
        let rows = match termios::tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_row > 0 => usize::from(size.ws_row),
            _ => usize::MAX,
        };
        let lines: Vec<&str> = text.lines().take(rows).collect();
        self.ui.result(format!("\u{1b}[H{}\u{1b}[J", lines.join("\u{1b}[K\r\n")))
    }

    /// Waits for `time`, or until `q` or Ctrl-C is pressed or `asked` says so; whether to go on.
    pub(crate) fn pause(&self, time: Duration, asked: impl Fn() -> bool) -> bool {
        let mut left = time;
        // What was pressed meanwhile is heard, however short the pause is.
        loop {
            if asked() || self.is_left() {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            left = left.saturating_sub(TICK);
        }
    }

    /// Whether a key is pressed within a tick that ends it.
    fn is_left(&self) -> bool {
        let mut keys = [0_u8; 64];
        if self.before.is_some()
            && let Ok(n) = rustix::io::read(io::stdin(), &mut keys)
        {
            return keys[..n].iter().any(|key| matches!(*key, b'q' | b'Q' | CTRL_C));
        }
        // Nobody to hear from.
        std::thread::sleep(TICK);
        false
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to mend.
        self.ui.result("\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l").ok();
        if let Some(before) = &self.before {
            termios::tcsetattr(io::stdin(), OptionalActions::Flush, before).ok();
        }
    }
}
