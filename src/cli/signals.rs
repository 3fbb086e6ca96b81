//! signals: the first one stops the run at a place where nothing is lost; the second stops it at once.

use crate::cli::text;
use crate::engine::Cancel;
use signal_hook::consts::{SIGBUS, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::io;

/// The signals that ask the run to stop.
const ASKED: [i32; 4] = [SIGINT, SIGTERM, SIGUSR1, SIGHUP];
/// Exit code of a process that a second signal ended.
const AT_ONCE: i32 = 130;
/// Exit code of a process that found a mapped file cut short.
const DAMAGED: i32 = 5;

/// Listens on a separate thread. Batch systems send SIGUSR1 before the time is up, so it counts as well. SIGHUP counts
/// unless nohup has made it ignored.
pub fn listen(cancel: Cancel) -> io::Result<()> {
    let asked: Vec<i32> = ASKED.into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(SIGHUP)).collect();
    let mut signals = Signals::new(asked)?;
    let listen = move || {
        for _ in signals.forever() {
            if cancel.is_requested() {
                // Nothing to clean up: committed work is whole, and the next start empties tmp/.
                signal_hook::low_level::exit(AT_ONCE);
            }
            cancel.request();
            text::note("stopping at the next checkpoint; press Ctrl-C again to stop now");
        }
    };
    std::thread::Builder::new().spawn(listen)?;
    Ok(())
}

/// Ignores requests to stop: the process that started this one handles them.
pub fn ignore_all() {
    ASKED.iter().for_each(|signal| _ = ignore(*signal));
}

/// Turns signals about files into errors with a message, so that they do not end the process silently.
pub fn tame() {
    let ignored = ignore(SIGXFSZ); // Then a write beyond a limit is an error, as on a full disk.
    let told = on_cut_file();
    debug_assert!(ignored && told);
}

#[expect(unsafe_code, reason = "std does not tell how a signal is dealt with")]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: `action` is large enough and read only after success; a null new action changes nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

#[expect(unsafe_code, reason = "std does not ignore signals")]
fn ignore(signal: i32) -> bool {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(signal, libc::SIG_IGN) != libc::SIG_ERR }
}

/// A mapped file gives SIGBUS if it is cut short, or if its disk fails, during a read. The process cannot continue.
///
/// No library chains this handler to Rust's own. Rust's handler removes itself when it is called. In that moment a
/// second thread's SIGBUS would end the process without a message.
#[expect(unsafe_code, reason = "std does not handle signals")]
fn on_cut_file() -> bool {
    // SAFETY: the action is initialised, and the handler does nothing that a handler may not do.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = tell_of_cut_file as extern "C" fn(i32) as libc::sighandler_t;
        libc::sigemptyset(&raw mut action.sa_mask);
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(SIGBUS, &raw const action, std::ptr::null_mut()) == 0
    }
}

#[expect(unsafe_code, reason = "a handler may do little, and this one does")]
extern "C" fn tell_of_cut_file(_: i32) {
    const TEXT: &[u8] =
        b"dcpipe: error: a file was cut short, or its disk failed, while it was being read. Nothing committed \
is lost: dcpipe verify names what is wrong in the store, then run the same command again.\n";
    // SAFETY: write and _exit may be called in a handler, and nothing else is.
    unsafe {
        libc::write(2, TEXT.as_ptr().cast(), TEXT.len());
        libc::_exit(DAMAGED);
    }
}
