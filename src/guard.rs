//! Work on hostile input by code that is not ours, and that may panic on it.

use std::cell::Cell;
use std::panic::{UnwindSafe, catch_unwind};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, in which a panic says something of its input and is no bug of
/// this program: `None` then. It must not leave the panic to another thread.
pub fn guarded<T>(work: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(work);
    GUARDED.set(before);
    result.ok()
}

/// Whether this thread is in guarded work: a panic hook has nothing to say then.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer() {
        assert_eq!(
            guarded(|| [is_guarded(), guarded(is_guarded) == Some(true), is_guarded()]),
            Some([true; 3])
        );
        assert!(!is_guarded());
        assert_eq!(guarded(|| -> u8 { panic!("this is a test") }), None);
        assert!(!is_guarded());
    }
}
