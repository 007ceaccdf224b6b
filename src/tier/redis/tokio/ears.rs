//! Those who are told what comes on the connection that all share.

use crate::sync::{Arc, Mutex};
use ::redis::PushInfo;
use ::tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The ears of one connection. Clones are the same.
#[derive(Clone)]
pub(super) struct Ears(Arc<Mutex<State>>);

enum State {
    Told(Vec<UnboundedSender<PushInfo>>),
    /// The connection was given up: its ears hear no more, and are to know it.
    Closed,
}

impl Ears {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::Told(Vec::new()))))
    }

    /// Another. Its queue ends when the connection is given up.
    pub(super) fn add(&self) -> UnboundedReceiver<PushInfo> {
        let (sender, told) = unbounded_channel();
        if let State::Told(ears) = &mut *self.0.lock() {
            ears.retain(|ear| !ear.is_closed());
            ears.push(sender);
        }
        told
    }

    /// Puts this into every queue.
    pub(super) fn tell(&self, push: &PushInfo) {
        if let State::Told(ears) = &mut *self.0.lock() {
            ears.retain(|ear| ear.send(push.clone()).is_ok());
        }
    }

    pub(super) fn close(&self) {
        *self.0.lock() = State::Closed;
    }
}
