//! A task that listens.
//!
//! What reads the connection puts what the server tells into a queue at once, and only then looks at what comes next. So what was told
//! before an answer is in the queue before the answer is known, and is passed on before it.

use super::{Open, RedisTokio, Shared};
use crate::sync::{Arc, Ordering};
use crate::tier::redis::hear::{
    Consent, Refusals, given_up, hello, request, request_of_what_is_read, tell, tell_within,
};
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
        let mut own = None;
        for &mode in &listen.modes {
            let mut line = match own.take() {
                _ if mode == Mode::OptIn => self.shared_line(listen, ear).await?,
                Some(line) => line,
                None => self.own_line(listen, ear, &mut refusals).await?,
            };
            match line.ask_for(mode).await? {
                Ok(()) => {
                    ear.up(mode);
                    return line.run().await;
                }
                Err(why) => refusals.add(&mode, &why),
            }
            own = Some(line).filter(|line| line.number.is_none());
        }
        Err(refusals.into_error())
    }

    /// A line on the connection that all share.
    ///
    /// The server answers on it and tells on it, in one order: what had changed before a PING is in the queue before its answer is known. What
    /// has changed after it was read may be told before who read it has noted it, for answers are passed on by other tasks: it is
    /// for him to see that something was told since he asked.
    ///
    /// What is read while one connection is given up and the next is not listened to yet is told of by none. But the line ends with its
    /// connection, so no answer to a question of later than that keeps L1 open, and L1 is emptied when the next line is there.
    async fn shared_line<'a>(
        &'a self,
        listen: &'a Listen,
        ear: &'a dyn Ear,
    ) -> Result<Line<'a>, RemoteError> {
        let Open { connection, number, ears } = self.open_telling().await?;
        let tells = ears.is_some();
        let told = ears.map_or_else(|| unbounded_channel().1, |ears| ears.add());
        let (number, _sender) = (Some(number), None);
        let mut line =
            Line { shared: self, connection, hello: None, number, _sender, told, listen, ear };
        if tells {
            line.hello = Some(line.answer(&hello()).await?);
        }
        Ok(line)
    }

    /// A line on a connection of its own.
    async fn own_line<'a>(
        &'a self,
        listen: &'a Listen,
        ear: &'a dyn Ear,
        refusals: &mut Refusals,
    ) -> Result<Line<'a>, RemoteError> {
        let (sender, told) = unbounded_channel();
        let (connection, hello) = self.connect_to_hear(&sender, refusals).await?;
        let (number, _sender) = (None, Some(sender));
        Ok(Line { shared: self, connection, hello, number, _sender, told, listen, ear })
    }

    /// A connection on which the server tells of something, with its hello; one on which it does not, if it cannot.
    async fn connect_to_hear(
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
    /// What the server said of itself, in the third version of the protocol.
    hello: Option<Value>,
    /// Of the connection, if all share it.
    number: Option<u64>,
    /// So that the queue does not end where nothing is told. That of a connection that all share does, when it is given up.
    _sender: Option<UnboundedSender<PushInfo>>,
    told: UnboundedReceiver<PushInfo>,
    listen: &'a Listen,
    ear: &'a dyn Ear,
}

impl Line<'_> {
    /// Asks to be told in this way. The inner error says why the server does not.
    async fn ask_for(&mut self, mode: Mode) -> Result<Result<(), String>, RemoteError> {
        let hello = self.hello.as_ref();
        let request = match mode {
            Mode::OptIn => request_of_what_is_read(hello).map(Some),
            mode => request(mode, self.listen, hello),
        };
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(Ok(())),
            Err(why) => return Ok(Err(why)),
        };
        let answer = self.answer(&request).await?;
        Ok(match Consent::of(&answer) {
            Consent::Refused(why) => Err(why),
            Consent::Given | Consent::Awaited => {
                if mode == Mode::OptIn {
                    self.shared.looks.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
        })
    }

    async fn answer(&mut self, command: &Cmd) -> Result<Value, RemoteError> {
        let answer = self.shared.answer(&mut self.connection, command).await;
        self.unless_lost(answer).await
    }

    /// A connection on which the line was lost is not used by others either.
    async fn unless_lost<T>(&self, result: Result<T, RemoteError>) -> Result<T, RemoteError> {
        if let (Err(_), Some(number)) = (&result, self.number) {
            self.shared.give_up(number).await;
        }
        result
    }

    async fn run(mut self) -> Result<Infallible, RemoteError> {
        while !self.ear.is_gone() {
            let turned = self.turn().await;
            self.unless_lost(turned).await?;
        }
        Err(given_up())
    }

    async fn turn(&mut self) -> Result<(), RemoteError> {
        let start = Instant::now();
        self.beat().await?;
        let rest = self.listen.beat.saturating_sub(start.elapsed());
        self.hear_until(sleep(rest)).await
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
        if self.told.is_closed() {
            // What is read now may be read on another connection, on which nobody hears what becomes of it.
            return Err(self.shared.options.cut());
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
            while let Poll::Ready(push) = self.told.poll_recv(context) {
                let told = push.map_or_else(|| Err(self.shared.options.cut()), |it| self.tell(&it));
                if let Err(error) = told {
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
        match self.number {
            Some(_) => tell_within(self.ear, &self.listen.prefix, &push.kind, &push.data),
            None => tell(self.ear, &push.kind, &push.data),
        }
        Ok(())
    }
}
