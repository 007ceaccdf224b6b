//! A thread that listens.
//!
//! It reads in turn what the server tells and what the server answers, so all that was told before an answer is passed on before it.
//! The time that it waits for the next message is the clock of its heartbeat.

use super::{RedisRemote, left_of};
use crate::tier::redis::hear::{Consent, Refusals, given_up, hello, request, tell};
use crate::tier::redis::ops::checked;
use crate::tier::{Ear, Listen, Mode, RemoteError};
use ::redis::{Cmd, Connection, RedisResult, Value, cmd};
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// What the server is asked at every beat.
pub(in crate::tier::redis) trait Question: Sync {
    fn command(&self) -> Cmd;

    /// Whether the answer lets the line go on.
    fn check(&self, answer: Value) -> Result<(), RemoteError>;
}

/// Whether it is there: any answer will do.
pub(in crate::tier::redis) struct Ping;

impl Question for Ping {
    fn command(&self) -> Cmd {
        cmd("PING")
    }

    fn check(&self, _: Value) -> Result<(), RemoteError> {
        Ok(())
    }
}

impl RedisRemote {
    /// Listens until the line is lost, and says why it was.
    pub(in crate::tier::redis) fn hear(
        &self,
        listen: &Listen,
        ear: &dyn Ear,
        question: &dyn Question,
    ) -> RemoteError {
        match self.try_hear(listen, ear, question) {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    fn try_hear(
        &self,
        listen: &Listen,
        ear: &dyn Ear,
        question: &dyn Question,
    ) -> Result<Infallible, RemoteError> {
        let mut refusals = Refusals::default();
        let (connection, hello) = self.open(&mut refusals)?;
        let mut line = Line { remote: self, connection, listen, ear, question, timed_out: 0 };
        for &mode in &listen.modes {
            match line.ask_for(mode, hello.as_ref())? {
                Ok(()) => {
                    ear.up(mode);
                    return line.run();
                }
                Err(why) => refusals.add(&mode, &why),
            }
        }
        Err(refusals.into_error())
    }

    /// A connection on which the server tells of something, with its hello; one on which it does not, if it cannot.
    fn open(&self, refusals: &mut Refusals) -> Result<(Connection, Option<Value>), RemoteError> {
        let connected = self.connect(&self.options.third_client());
        let connected = connected.map_err(|error| self.options.not_connected(&error));
        let mut connection = match connected {
            Err(RemoteError::Refused(why)) => {
                refusals.add(&"the third version of the protocol", &why);
                let connection = self.connect(&self.client);
                return Ok((connection.map_err(|error| self.options.not_connected(&error))?, None));
            }
            connected => connected?,
        };
        let patience = self.options.answer_timeout;
        let said = connection
            .set_read_timeout(Some(patience))
            .and_then(|()| connection.set_write_timeout(Some(patience)))
            .and_then(|()| connection.send_packed_command(&hello().get_packed_command()))
            .and_then(|()| connection.recv_response())
            .map_err(|error| self.options.not_answered(&error))?;
        Ok((connection, Some(said)))
    }
}

struct Line<'a> {
    remote: &'a RedisRemote,
    connection: Connection,
    listen: &'a Listen,
    ear: &'a dyn Ear,
    question: &'a dyn Question,
    /// How many reads have ended without an answer. The connection takes as many answers for late ones, and throws them away; it
    /// never throws away what it was told.
    timed_out: usize,
}

impl Line<'_> {
    /// Asks to be told in this way. The inner error says why the server does not.
    fn ask_for(
        &mut self,
        mode: Mode,
        hello: Option<&Value>,
    ) -> Result<Result<(), String>, RemoteError> {
        let request = match request(mode, self.listen, hello) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(Ok(())),
            Err(why) => return Ok(Err(why)),
        };
        let (patience, start) = (self.remote.options.answer_timeout, Instant::now());
        let failed = |error| self.remote.options.not_answered(&error);
        self.connection.send_packed_command(&request.get_packed_command()).map_err(failed)?;
        loop {
            let answer = receive(&mut self.connection, left_of(patience, start)).map_err(failed)?;
            match Consent::of(&answer) {
                Consent::Given => return Ok(Ok(())),
                Consent::Refused(why) => return Ok(Err(why)),
                Consent::Awaited => {}
            }
        }
    }

    fn run(mut self) -> Result<Infallible, RemoteError> {
        loop {
            let start = Instant::now();
            if self.ear.is_gone() {
                return Err(given_up());
            }
            self.beat(start)?;
            self.hear_until_next(start)?;
        }
    }

    /// Asks the server the question, and waits for the answer.
    fn beat(&mut self, start: Instant) -> Result<(), RemoteError> {
        let asked = self.ear.now();
        let ping = Ping.command().get_packed_command();
        let mut questions = ping.repeat(std::mem::take(&mut self.timed_out));
        questions.extend(self.question.command().get_packed_command());
        let patience = self.listen.patience;
        let lost = |error| self.remote.options.lost(&error, patience);
        self.connection.set_write_timeout(Some(left_of(patience, start))).map_err(lost)?;
        self.connection.send_packed_command(&questions).map_err(lost)?;
        while start.elapsed() < patience {
            match receive(&mut self.connection, left_of(patience, start)).map_err(lost)? {
                Value::Push { kind, data } => tell(self.ear, &kind, &data),
                answer => {
                    self.question.check(checked(answer)?)?;
                    self.ear.alive(asked);
                    return Ok(());
                }
            }
        }
        Err(RemoteError::TimedOut(patience))
    }

    /// Passes on what the server tells until the next beat is due.
    fn hear_until_next(&mut self, start: Instant) -> Result<(), RemoteError> {
        while start.elapsed() < self.listen.beat {
            match receive(&mut self.connection, left_of(self.listen.beat, start)) {
                Ok(Value::Push { kind, data }) => tell(self.ear, &kind, &data),
                Ok(answer) => {
                    checked(answer)?;
                }
                Err(error) if error.is_timeout() => {
                    self.timed_out = 1;
                    return Ok(());
                }
                Err(error) => return Err(self.remote.options.lost(&error, self.listen.patience)),
            }
        }
        Ok(())
    }
}

/// What comes next within this time.
fn receive(connection: &mut Connection, patience: Duration) -> RedisResult<Value> {
    connection.set_read_timeout(Some(patience))?;
    connection.recv_response()
}
