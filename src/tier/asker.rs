//! The remote as the cache asks it: in time, not while it is left alone, and never without a word when it fails.

use super::breaker::{Change, Circuit};
use super::events::{Event, Events};
use super::remote::{Remote, RemoteError, Reply};
use crate::load::Spawn;
use crate::sync::Arc;
use crate::time::{Clock, nanos};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

pub(super) struct Asker {
    pub(super) remote: Arc<dyn Remote>,
    pub(super) circuit: Circuit,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawn: Arc<dyn Spawn>,
    pub(super) events: Events,
    /// No answer is waited for longer. A remote that blocks keeps its own times.
    pub(super) timeout: Duration,
}

impl Asker {
    pub(super) fn now(&self) -> u64 {
        nanos(self.clock.now())
    }

    pub(super) fn tell(&self, event: &Event) {
        self.events.tell(self.clock.now(), event);
    }

    pub(super) async fn ask<'a, T>(
        &'a self,
        doing: &'static str,
        ask: impl FnOnce(&'a dyn Remote) -> Reply<'a, T>,
    ) -> Result<T, RemoteError> {
        if !self.circuit.lets(self.now()) {
            return Err(RemoteError::Spared);
        }
        let answer = self.in_time(ask(&*self.remote)).await;
        let reached =
            !matches!(answer, Err(RemoteError::Unreachable(_) | RemoteError::TimedOut(_)));
        match self.circuit.note(reached, self.now()) {
            Change::None => {}
            Change::Opened => self.tell(&Event::BreakerOpened),
            Change::Closed => self.tell(&Event::BreakerClosed),
        }
        if let Err(error) = &answer {
            self.tell(&Event::RemoteFailed { doing, error: error.clone() });
        }
        answer
    }

    pub(super) async fn in_time<T>(&self, mut reply: Reply<'_, T>) -> Result<T, RemoteError> {
        let mut timer = None;
        poll_fn(|context| {
            if let Poll::Ready(answer) = reply.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            // Only an answer that is waited for needs a timer.
            let timer = timer.get_or_insert_with(|| self.spawn.sleep(self.timeout));
            timer.as_mut().poll(context).map(|()| Err(RemoteError::TimedOut(self.timeout)))
        })
        .await
    }
}
