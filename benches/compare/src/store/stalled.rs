//! A store that has stalled: what is written waits until it is let go.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Condvar, Mutex, PoisonError};

use cachette::store::{Answer, Change, Store};

/// A store that answers nothing until it is let go, and keeps nothing.
#[derive(Default)]
pub struct Stalled {
    gone: Mutex<bool>,
    bell: Condvar,
}

impl Stalled {
    /// Answers, from now on.
    pub fn let_go(&self) {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }

    fn wait(&self) {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.bell.wait_while(gone, |gone| !*gone));
    }
}

impl<V: Send + Sync + 'static> Store<u64, V> for Stalled {
    type Error = Infallible;

    fn blocks(&self) -> bool {
        true
    }

    fn load<'a>(&'a self, _: &'a u64) -> Answer<'a, Result<Option<V>, Infallible>> {
        Box::pin(ready(Ok(None)))
    }

    fn apply<'a>(&'a self, _: Change<'a, u64, V>) -> Answer<'a, Result<(), Infallible>> {
        Box::pin(async {
            self.wait();
            Ok(())
        })
    }
}
