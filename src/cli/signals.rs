//! signals: the first that asks the run to stop has it stop where nothing is lost; the second stops it at once.

use crate::cli::text;
use crate::engine::Cancel;
use signal_hook::consts::{SIGBUS, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::io;

/// What asks the run to stop.
const ASKED: [i32; 4] = [SIGINT, SIGTERM, SIGUSR1, SIGHUP];
/// Exit code of a process that a second signal ended.
const AT_ONCE: i32 = 130;
/// Exit code of one that found a file cut short under its hands.
const DAMAGED: i32 = 5;

/// Listens on a thread of its own. SIGUSR1 counts as well: batch systems send it before the time is up; and SIGHUP, where
/// nobody (nohup) has it ignored.
pub fn listen(cancel: Cancel) -> io::Result<()> {
    let asked: Vec<i32> = ASKED.into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(SIGHUP)).collect();
    let mut signals = Signals::new(asked)?;
    let listen = move || {
        for _ in signals.forever() {
            if cancel.is_requested() {
                // Nothing to clean up: what is committed is whole, and tmp/ is emptied at the next start.
                signal_hook::low_level::exit(AT_ONCE);
            }
            cancel.request();
            text::note("stopping at the next checkpoint; press Ctrl-C again to stop now");
        }
    };
    std::thread::Builder::new().spawn(listen)?;
    Ok(())
}

/// Leaves what asks for an end to the process that this one works for.
pub fn ignore_all() {
    ASKED.iter().for_each(|signal| _ = ignore(*signal));
}

/// What the operating system has to say of files comes as an error and a sentence, and not as the end of the process.
pub fn tame() {
    let ignored = ignore(SIGXFSZ); // A write beyond a limit is an error then, as on a full disk.
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

/// A mapped file that is cut short, or whose disk goes away, while it is read gives SIGBUS, and there is no way on.
///
/// No library stands between: what would chain Rust's own handler, which takes itself away when it is called, leaves a
/// moment in which a second thread's SIGBUS ends the process without a word.
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
