//! Panics of user code that must go no further.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `f`, and says whether it panicked. What a panic carries may panic when it is dropped, and so on.
pub(crate) fn caught(f: impl FnOnce()) -> bool {
    let mut outcome = catch_unwind(AssertUnwindSafe(f));
    let panicked = outcome.is_err();
    while let Err(payload) = outcome {
        outcome = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    }
    panicked
}

#[cfg(test)]
#[cfg(not(cachette_loom))]
mod tests {
    use super::*;
    use std::panic::resume_unwind;

    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                resume_unwind(Box::new(Self(self.0 - 1)));
            }
        }
    }

    #[test]
    fn a_panic_goes_no_further() {
        assert!(!caught(|| {}));
        assert!(caught(|| resume_unwind(Box::new(()))));
        assert!(caught(|| resume_unwind(Box::new(Bomb(3)))));
    }
}
