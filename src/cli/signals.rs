//! signals: the first SIGINT or SIGTERM asks the run to stop where nothing is lost; the second stops at once.

use crate::engine::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io::Write;

/// Exit code of a process that a second signal ended.
const AT_ONCE: i32 = 130;

/// Listens on a thread of its own. SIGUSR1 counts as well: batch systems send it before the time is up.
pub fn listen(cancel: Cancel) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if cancel.is_requested() {
                // Nothing to clean up: what is committed is whole, and tmp/ is emptied at the next start.
                signal_hook::low_level::exit(AT_ONCE);
            }
            cancel.request();
            let text = "dcpipe: stopping at the next safe place; once more stops at once";
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    });
    Ok(())
}
