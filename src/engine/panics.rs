//! panics: a stage that panics has a bug; it fails like any other, in one line, and the run survives.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Remembers the place of a panic and prints nothing. A program sets it as its panic hook: a stage's panic becomes an
/// error and needs no second message.
pub fn remember(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    PLACE.with_borrow_mut(|at| *at = place);
}

/// Runs `work`; a panic in it becomes its message and place.
///
/// # Errors
/// The panic.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        // The place is unknown if the panic was on another thread, such as one of rayon's.
        let place = PLACE.with_borrow_mut(Option::take).map(|place| format!(" at {place}")).unwrap_or_default();
        format!("panicked{place}: {text}")
    })
}
