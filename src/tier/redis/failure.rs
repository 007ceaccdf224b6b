//! What went wrong, in the words of every remote.

use crate::tier::RemoteError;
use ::redis::{ErrorKind, RedisError, ServerError};
use std::time::Duration;

/// What the server answered instead of doing it, in its own words: `OOM command not allowed ..`.
pub(super) fn refused(error: &ServerError) -> RemoteError {
    RemoteError::Refused(words(error.code(), error.details()))
}

fn words(code: &str, details: Option<&str>) -> String {
    match details {
        Some(details) => format!("{code} {details}"),
        None => code.to_owned(),
    }
}

/// What kept an answer from coming, from whom, and how long it was waited for.
pub(super) fn failure(error: &RedisError, address: &str, waited: Duration) -> RemoteError {
    if error.is_timeout() {
        return RemoteError::TimedOut(waited);
    }
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension => {
            RemoteError::Refused(words(error.code().unwrap_or("ERR"), error.detail()))
        }
        ErrorKind::AuthenticationFailed | ErrorKind::RESP3NotSupported => {
            RemoteError::Refused(error.to_string())
        }
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            RemoteError::Garbled(error.to_string())
        }
        _ => RemoteError::Unreachable(format!("{address}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    const WAITED: Duration = Duration::from_millis(5);

    fn of(error: &RedisError) -> RemoteError {
        failure(error, "here:1", WAITED)
    }

    fn io(kind: io::ErrorKind) -> RedisError {
        io::Error::from(kind).into()
    }

    #[test]
    fn what_failed_is_told_apart() {
        assert_eq!(of(&io(io::ErrorKind::TimedOut)), RemoteError::TimedOut(WAITED));
        assert_eq!(of(&io(io::ErrorKind::WouldBlock)), RemoteError::TimedOut(WAITED));
        let reset = of(&io(io::ErrorKind::ConnectionReset));
        assert!(matches!(reset, RemoteError::Unreachable(why) if why.starts_with("here:1: ")));
        let password: RedisError = (ErrorKind::AuthenticationFailed, "wrong password").into();
        assert!(matches!(of(&password), RemoteError::Refused(_)));
        assert!(matches!(of(&(ErrorKind::Parse, "what?").into()), RemoteError::Garbled(_)));
    }

    #[test]
    fn a_refusal_is_in_the_words_of_the_server() {
        assert_eq!(words("OOM", Some("no more")), "OOM no more");
        assert_eq!(words("NOAUTH", None), "NOAUTH");
    }
}
