//! A task that listens.
//!
//! What reads the connection puts what the server tells into a queue at once, and only then looks at what comes next. So what was told
//! before an answer is in the queue before the answer is known, and is passed on before it.

use super::{RedisTokio, Shared};
use crate::sync::Arc;
use crate::tier::redis::hear::{Consent, Refusals, given_up, hello, request, tell};
use crate::tier::redis::ops::checked;
use crate::tier::{Ear, Listen, Mode, RemoteError};
use ::redis::aio::MultiplexedConnection;
use ::redis::{Cmd, PushInfo, PushKind, Value, cmd};
use ::tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use ::tokio::task::AbortHandle;
use ::tokio::time::{Instant, sleep, timeout};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Ends the task when nobody waits for it any more.
struct Leash(AbortHandle);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RedisTokio {
    pub(super) async fn hear(
        &self,
        listen: Listen,
        ear: Arc<dyn Ear>,
    ) -> Result<Infallible, RemoteError> {
        let shared = Arc::clone(&self.shared);
        let task = self.runtime.spawn(async move { shared.hear(&listen, &*ear).await });
        let _leash = Leash(task.abort_handle());
        super::ended(task).await
    }
}

impl Shared {
    async fn hear(&self, listen: &Listen, ear: &dyn Ear) -> Result<Infallible, RemoteError> {
        let mut refusals = Refusals::default();
        let (sender, told) = unbounded_channel();
        let (connection, hello) = self.open(&sender, &mut refusals).await?;
        let mut line = Line { shared: self, connection, _sender: sender, told, listen, ear };
        for &mode in &listen.modes {
            match line.ask_for(mode, hello.as_ref()).await? {
                Ok(()) => {
                    ear.up(mode);
                    return line.run().await;
                }
                Err(why) => refusals.add(&mode, &why),
            }
        }
        Err(refusals.into_error())
    }

    /// A connection on which the server tells of something, with its hello; one on which it does not, if it cannot.
    async fn open(
        &self,
        sender: &UnboundedSender<PushInfo>,
        refusals: &mut Refusals,
    ) -> Result<(MultiplexedConnection, Option<Value>), RemoteError> {
        let config = super::config().set_push_sender(sender.clone());
        let mut connection = match self.connect(&self.options.third_client(), config).await {
            Err(RemoteError::Refused(why)) => {
                refusals.add(&"the third version of the protocol", &why);
                return Ok((self.connect(&self.client, super::config()).await?, None));
            }
            connected => connected?,
        };
        let said = self.answer(&mut connection, &hello()).await?;
        Ok((connection, Some(said)))
    }

    async fn answer(
        &self,
        connection: &mut MultiplexedConnection,
        command: &Cmd,
    ) -> Result<Value, RemoteError> {
        let patience = self.options.answer_timeout;
        match timeout(patience, connection.send_packed_command(command)).await {
            Ok(answer) => answer.map_err(|error| self.options.not_answered(&error)),
            Err(_) => Err(RemoteError::TimedOut(patience)),
        }
    }
}

struct Line<'a> {
    shared: &'a Shared,
    connection: MultiplexedConnection,
    /// So that the queue does not end where nothing is told.
    _sender: UnboundedSender<PushInfo>,
    told: UnboundedReceiver<PushInfo>,
    listen: &'a Listen,
    ear: &'a dyn Ear,
}

impl Line<'_> {
    /// Asks to be told in this way. The inner error says why the server does not.
    async fn ask_for(
        &mut self,
        mode: Mode,
        hello: Option<&Value>,
    ) -> Result<Result<(), String>, RemoteError> {
        let request = match request(mode, self.listen, hello) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(Ok(())),
            Err(why) => return Ok(Err(why)),
        };
        let answer = self.shared.answer(&mut self.connection, &request).await?;
        Ok(match Consent::of(&answer) {
            Consent::Refused(why) => Err(why),
            Consent::Given | Consent::Awaited => Ok(()),
        })
    }

    async fn run(mut self) -> Result<Infallible, RemoteError> {
        loop {
            let start = Instant::now();
            if self.ear.is_gone() {
                return Err(given_up());
            }
            self.beat().await?;
            let rest = self.listen.beat.saturating_sub(start.elapsed());
            self.hear_until(sleep(rest)).await?;
        }
    }

    /// Asks the server whether it is there, and waits for the answer.
    async fn beat(&mut self) -> Result<(), RemoteError> {
        let asked = self.ear.now();
        let (mut connection, patience) = (self.connection.clone(), self.listen.patience);
        let ping = cmd("PING");
        let answer = timeout(patience, connection.send_packed_command(&ping));
        let answer = self.hear_until(answer).await?.map_err(|_| RemoteError::TimedOut(patience))?;
        checked(answer.map_err(|error| self.shared.options.lost(&error, patience))?)?;
        // All that was told before the answer is in the queue by now.
        for _ in 0..self.told.len() {
            if let Ok(push) = self.told.try_recv() {
                self.tell(&push)?;
            }
        }
        self.ear.alive(asked);
        Ok(())
    }

    /// Passes on what the server tells until that future is ready.
    async fn hear_until<T>(&mut self, end: impl Future<Output = T>) -> Result<T, RemoteError> {
        let mut end = pin!(end);
        poll_fn(|context| {
            // First: a server that tells without a pause must not keep it from being polled.
            if let Poll::Ready(output) = end.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            while let Poll::Ready(Some(push)) = self.told.poll_recv(context) {
                if let Err(error) = self.tell(&push) {
                    return Poll::Ready(Err(error));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn tell(&self, push: &PushInfo) -> Result<(), RemoteError> {
        if push.kind == PushKind::Disconnection {
            return Err(self.shared.options.cut());
        }
        tell(self.ear, &push.kind, &push.data);
        Ok(())
    }
}
