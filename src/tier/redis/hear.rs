//! What the server tells without being asked, and how it is made to.

use super::failure::refused;
use crate::tier::{Ear, Listen, Mode, RemoteError};
use ::redis::{Cmd, PushKind, Value, cmd};

/// The first version that never tells of something in the middle of an answer.
const TRACKS_SINCE: u32 = 7;

const NO_THIRD: &str = "it needs the third version of the protocol";

/// What asks a server for its version. In the third version of the protocol alone.
pub(super) fn hello() -> Cmd {
    cmd("HELLO")
}

/// What makes a server tell that said hello; in the second version of the protocol none does. `None` if nothing needs to be asked.
///
/// # Errors
///
/// Why it cannot.
pub(super) fn request(
    mode: Mode,
    listen: &Listen,
    hello: Option<&Value>,
) -> Result<Option<Cmd>, String> {
    if mode == Mode::TtlOnly {
        return Ok(None);
    }
    let hello = hello.ok_or(NO_THIRD)?;
    match mode {
        Mode::Tracking => {
            let mut tracking = tracking(hello)?;
            tracking.arg("BCAST").arg("PREFIX").arg(&listen.prefix[..]);
            Ok(Some(tracking))
        }
        Mode::Messages => {
            let mut subscribe = cmd("SUBSCRIBE");
            subscribe.arg(&listen.channel[..]);
            Ok(Some(subscribe))
        }
        mode => Err(format!("{mode} needs the connection that is read by")),
    }
}

/// What makes a server that said hello tell of the next change of all that is read on a connection from then on, to that connection.
///
/// Not `OPTIN`, by which every command that counts has another before it: what is asked on the connection is what is kept, and locks.
///
/// # Errors
///
/// Why it cannot.
#[cfg(feature = "redis-tokio")]
pub(super) fn request_of_what_is_read(hello: Option<&Value>) -> Result<Cmd, String> {
    tracking(hello.ok_or(NO_THIRD)?)
}

fn tracking(hello: &Value) -> Result<Cmd, String> {
    match version(hello) {
        Some(version) if version >= TRACKS_SINCE => {
            let mut tracking = cmd("CLIENT");
            tracking.arg("TRACKING").arg("ON");
            Ok(tracking)
        }
        Some(version) => Err(format!("version {version} is older than {TRACKS_SINCE}")),
        None => Err("it does not say its version".to_owned()),
    }
}

/// The first number of the version that a server says hello with.
fn version(hello: &Value) -> Option<u32> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let Value::Map(entries) = hello else { return None };
    let version = entries.iter().find(|(key, _)| text(key).as_deref() == Some("version"))?;
    text(&version.1)?.split('.').next()?.parse().ok()
}

/// Why a server is not listened to: what it said to each mode.
#[derive(Default)]
pub(super) struct Refusals(Vec<String>);

impl Refusals {
    pub(super) fn add(&mut self, mode: &dyn std::fmt::Display, why: &str) {
        self.0.push(format!("{mode}: {why}"));
    }

    /// What one node said to a mode.
    #[cfg(feature = "redis-cluster")]
    pub(super) fn add_told(&mut self, why: String) {
        self.0.push(why);
    }

    pub(super) fn into_error(self) -> RemoteError {
        RemoteError::Refused(match &self.0[..] {
            [] => "it was not said how to listen".to_owned(),
            whys => whys.join("; "),
        })
    }
}

/// Whether this is the server's consent to a mode.
pub(super) enum Consent {
    Given,
    Refused(String),
    /// It is something else.
    Awaited,
}

impl Consent {
    pub(super) fn of(answer: &Value) -> Self {
        match answer {
            Value::ServerError(error) => match refused(error) {
                RemoteError::Refused(why) => Self::Refused(why),
                other => Self::Refused(other.to_string()),
            },
            Value::Push { kind: PushKind::Subscribe, .. } => Self::Given,
            Value::Push { .. } => Self::Awaited,
            _ => Self::Given,
        }
    }
}

/// Passes on what the server told.
pub(super) fn tell(ear: &dyn Ear, kind: &PushKind, data: &[Value]) {
    tell_within(ear, b"", kind, data);
}

/// The same, but for names that do not begin with the prefix.
pub(super) fn tell_within(ear: &dyn Ear, prefix: &[u8], kind: &PushKind, data: &[Value]) {
    match (kind, data) {
        (PushKind::Invalidate, [Value::Array(names)]) => {
            let known: Option<Vec<_>> = names.iter().map(bytes).collect();
            // A name that is not understood may be any.
            let Some(mut names) = known else { return ear.all_changed() };
            names.retain(|name| name.starts_with(prefix));
            if !names.is_empty() {
                ear.changed(&names);
            }
        }
        // All names are gone: it tells of none.
        (PushKind::Invalidate, _) => ear.all_changed(),
        (PushKind::Message, [_, message]) => match bytes(message) {
            Some(message) => ear.message(message),
            None => ear.all_changed(),
        },
        _ => {}
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// How a line ends that nobody is interested in any more.
pub(super) fn given_up() -> RemoteError {
    RemoteError::Unreachable("nobody listens any more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Task;
    use crate::sync::Mutex;
    use std::time::Duration;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_version_is_read_from_the_hello() {
        let hello =
            |of: Value| Value::Map(vec![(text("proto"), Value::Int(3)), (text("version"), of)]);
        assert_eq!(version(&hello(text("7.2.4"))), Some(7));
        assert_eq!(version(&hello(Value::SimpleString("10".to_owned()))), Some(10));
        assert_eq!(version(&hello(text("newest"))), None);
        assert_eq!(version(&hello(Value::Int(7))), None);
        assert_eq!(version(&Value::Map(Vec::new())), None);
        assert_eq!(version(&Value::Okay), None);
    }

    /// Notes what it is told, each in a word.
    struct Notes(Mutex<Vec<String>>);

    impl Ear for Notes {
        fn up(&self, _: Mode) {}
        fn changed(&self, names: &[&[u8]]) {
            self.0.lock().extend(names.iter().map(|name| String::from_utf8_lossy(name).into()));
        }
        fn all_changed(&self) {
            self.0.lock().push("all".to_owned());
        }
        fn message(&self, message: &[u8]) {
            self.0.lock().push(format!("message {}", String::from_utf8_lossy(message)));
        }
        fn now(&self) -> Duration {
            Duration::ZERO
        }
        fn alive(&self, _: Duration) {}
        fn sleep(&self, _: Duration) -> Task {
            Box::pin(std::future::pending())
        }
        fn is_gone(&self) -> bool {
            false
        }
    }

    #[test]
    fn what_is_not_understood_may_be_any_name() {
        let told = |kind: PushKind, data: &[Value]| {
            let notes = Notes(Mutex::new(Vec::new()));
            tell(&notes, &kind, data);
            notes.0.into_inner()
        };
        let within = |prefix: &[u8], data: &Value| {
            let notes = Notes(Mutex::new(Vec::new()));
            tell_within(&notes, prefix, &PushKind::Invalidate, std::slice::from_ref(data));
            notes.0.into_inner()
        };
        let names = Value::Array(vec![text("a"), text("b")]);
        assert_eq!(told(PushKind::Invalidate, &[names]), ["a", "b"]);
        assert_eq!(told(PushKind::Invalidate, &[Value::Nil]), ["all"]);
        assert_eq!(told(PushKind::Invalidate, &[]), ["all"]);
        let names = Value::Array(vec![text("b"), text("ab"), text("a")]);
        assert_eq!(within(b"a", &names), ["ab", "a"]);
        assert!(within(b"c", &names).is_empty());
        assert_eq!(within(b"c", &Value::Nil), ["all"]);
        let strange = Value::Array(vec![text("a"), Value::Int(1)]);
        assert_eq!(within(b"c", &strange), ["all"]);
        assert_eq!(told(PushKind::Invalidate, &[strange]), ["all"]);
        assert_eq!(told(PushKind::Message, &[text("channel"), text("text")]), ["message text"]);
        assert_eq!(told(PushKind::Message, &[text("channel"), Value::Int(1)]), ["all"]);
        assert!(told(PushKind::Subscribe, &[text("channel"), Value::Int(1)]).is_empty());
    }
}
