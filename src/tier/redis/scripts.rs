//! What the server does in one step. Each script names all its keys, and does with Redis 6 and later and with Valkey.
//!
//! Numbers in Lua are doubles and its strings are compared by locale, so a version is compared as two halves of 32 bits. An answer has
//! no `nil` in it: an array would end there.

use crate::sync::OnceLock;
use ::redis::Cmd;
use std::borrow::Cow;

/// A script, which the server knows by its hash once it has seen it.
pub(super) struct Script {
    text: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    const fn new(text: &'static str) -> Self {
        Self { text, hash: OnceLock::new() }
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| ::redis::Script::new(self.text).get_hash().to_owned())
    }
}

/// How the server is told which script.
#[derive(Clone, Copy)]
pub(super) enum By {
    /// It has seen it, most likely.
    Hash,
    /// It has not, or has been restarted, or was told to forget it.
    Text,
}

/// A script with what it is called with.
pub(super) struct Call<'a> {
    script: &'static Script,
    keys: Vec<&'a [u8]>,
    arguments: Vec<Cow<'a, [u8]>>,
}

impl<'a> Call<'a> {
    pub(super) fn new(script: &'static Script) -> Self {
        Self { script, keys: Vec::new(), arguments: Vec::new() }
    }

    pub(super) fn key(&mut self, key: &'a [u8]) -> &mut Self {
        self.keys.push(key);
        self
    }

    pub(super) fn bytes(&mut self, bytes: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.arguments.push(bytes.into());
        self
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.bytes(number.to_string().into_bytes())
    }

    /// The command that the server is sent.
    pub(super) fn command(&self, by: By) -> Cmd {
        let mut command = match by {
            By::Hash => ::redis::cmd("EVALSHA"),
            By::Text => ::redis::cmd("EVAL"),
        };
        command.arg(match by {
            By::Hash => self.script.hash(),
            By::Text => self.script.text,
        });
        command.arg(self.keys.len());
        for key in &self.keys {
            command.arg(*key);
        }
        for argument in &self.arguments {
            command.arg(&**argument);
        }
        command
    }
}

/// What is found at each place. For each: value, lease; token or nothing, milliseconds, first bytes of a value that is no good or
/// nothing.
///
/// Two answers for each: a value and its milliseconds, or one of [`GRANTED`] and so on and the milliseconds of the lease.
pub(super) static READ: Script = Script::new(
    "local found = {}
    for i = 1, #KEYS, 2 do
        local at = (i - 1) / 2 * 3
        local token, time, bad = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
        local value = redis.pcall('GET', KEYS[i])
        if type(value) == 'table' then
            if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
            found[i], found[i + 1] = 4, 0
        elseif value and (bad == ''
            or string.sub(value, 1, #bad) .. string.rep('\\0', #bad - #value) ~= bad) then
            found[i], found[i + 1] = value, redis.call('PTTL', KEYS[i])
        elseif token == '' then
            found[i], found[i + 1] = 3, 0
        elseif redis.call('SET', KEYS[i + 1], token, 'NX', 'PX', time) then
            found[i], found[i + 1] = 1, 0
        else
            found[i], found[i + 1] = 2, redis.call('PTTL', KEYS[i + 1])
        end
    end
    return found",
);

/// The answers of [`READ`] that are no value.
pub(super) const GRANTED: i64 = 1;
pub(super) const HELD: i64 = 2;
pub(super) const NOTHING: i64 = 3;
pub(super) const FOREIGN: i64 = 4;

/// Where a primary is: its history, and how far that has come.
pub(super) static INFO: Script = Script::new(
    "local info = redis.call('INFO', 'replication')
    local history = string.match(info, 'master_replid:(%x+)')
    local offset = string.match(info, 'master_repl_offset:(%d+)')
    if not string.find(info, 'role:master', 1, true) or not history or not offset then
        return redis.error_reply('ERR it is no primary')
    end
    return {history, offset}",
);

/// Where a replica is, and what it finds at each name: as [`READ`], by no lease.
pub(super) static REPLICA: Script = Script::new(
    "local info = redis.call('INFO', 'replication')
    local history = string.match(info, 'master_replid:(%x+)')
    local offset = string.match(info, 'slave_repl_offset:(%d+)')
    if not string.find(info, 'master_link_status:up', 1, true) or not history or not offset then
        return redis.error_reply('ERR it is no replica whose primary is there')
    end
    local found = {history, offset}
    for i, key in ipairs(KEYS) do
        local value, time = redis.pcall('GET', key), 0
        if type(value) == 'table' then
            if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
            value = 4
        elseif value then
            time = redis.call('PTTL', key)
        else
            value = 3
        end
        found[2 * i + 1], found[2 * i + 2] = value, time
    end
    return found",
);

/// The first bytes of each value; fewer, or none, where there is no such value.
pub(super) static HEADS: Script = Script::new(
    "local heads = {}
    for i, key in ipairs(KEYS) do
        local head = redis.pcall('GETRANGE', key, 0, ARGV[1] - 1)
        heads[i] = type(head) == 'string' and head or ''
    end
    return heads",
);

/// Below, equal to or above zero, as the version of the value there is older than the one that is given, the same, or newer.
macro_rules! with_version {
    ($script:literal) => {
        concat!(
            "local function version(key, high, low)
                local found = redis.pcall('GETRANGE', key, 12, 19)
                if type(found) ~= 'string' or #found < 8 then return -1 end
                local its_low, its_high = struct.unpack('<I4I4', found)
                if its_high ~= high then return its_high - high end
                return its_low - low
            end
            ",
            $script
        )
    };
}

/// Writes a value. Value, lease; bytes, milliseconds, token or nothing, halves of the version or nothing, something or nothing,
/// channel and message if someone is told.
///
/// The value goes first: a server whose memory is full refuses nothing any more to a script that has changed something.
///
/// The something is for a server that tells of changes of what was read. It forgets a name as it tells of it, its writer too: who keeps
/// what it has written must have looked at the name after. Who has looked before is told of its own change whether or not it had read the
/// name, and need not wonder whose the next one is. It looks by a command that all who read need anyway.
pub(super) static WRITE: Script = Script::new(with_version!(
    "if ARGV[3] ~= '' and redis.pcall('GET', KEYS[2]) ~= ARGV[3] then return 0 end
    if ARGV[4] ~= '' and version(KEYS[1], tonumber(ARGV[4]), tonumber(ARGV[5])) > 0 then
        redis.call('DEL', KEYS[2])
        return 0
    end
    if ARGV[6] ~= '' then redis.call('PTTL', KEYS[1]) end
    local written = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    redis.call('DEL', KEYS[2])
    if written.err then return written end
    if ARGV[6] ~= '' then redis.call('PTTL', KEYS[1]) end
    if ARGV[7] then redis.call('PUBLISH', ARGV[7], ARGV[8]) end
    return 1"
));

/// Deletes a value and its lease. Value, lease; halves of the version or nothing, something or nothing, channel and message if
/// someone is told.
pub(super) static DELETE: Script = Script::new(with_version!(
    "local stays = ARGV[1] ~= '' and version(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])) >= 0
    if ARGV[3] ~= '' then redis.call('PTTL', KEYS[1]) end
    redis.call('DEL', KEYS[2])
    if not stays then redis.call('UNLINK', KEYS[1]) end
    if ARGV[4] then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
    return stays and 0 or 1"
));

/// The number under each name. Names; a number for where there is none, milliseconds, something or nothing.
pub(super) static NUMBERS: Script = Script::new(
    "local numbers = {}
    for i, key in ipairs(KEYS) do
        local number = redis.pcall('GET', key)
        if type(number) ~= 'string' or not string.match(number, '^%d+$') then
            number = ARGV[1]
            redis.call('SET', key, number, 'PX', ARGV[2])
            if ARGV[3] ~= '' then redis.call('PTTL', key) end
        end
        numbers[i] = number
    end
    return numbers",
);

/// Puts a number under a name. Name; number, milliseconds, something or nothing, channel and message if someone is told.
pub(super) static SET_NUMBER: Script = Script::new(
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    if ARGV[3] ~= '' then redis.call('PTTL', KEYS[1]) end
    if ARGV[4] then redis.call('PUBLISH', ARGV[4], ARGV[5]) end
    return 1",
);

/// Takes a lock. Name; token, milliseconds.
pub(super) static TAKE: Script =
    Script::new("return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0");

/// Keeps a lock. Name; token, milliseconds.
pub(super) static EXTEND: Script = Script::new(
    "if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
);

/// Gives a lock back. Name; token.
pub(super) static FREE: Script = Script::new(
    "if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('DEL', KEYS[1])",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::HEAD;
    use crate::tier::envelope::VERSION_AT;

    #[test]
    fn a_call_is_the_same_by_hash_and_by_text() {
        let mut call = Call::new(&FREE);
        call.key(b"name").bytes(&b"token"[..]).number(7);
        let sent = |by| String::from_utf8(call.command(by).get_packed_command()).unwrap();
        let tail = "\r\n$1\r\n1\r\n$4\r\nname\r\n$5\r\ntoken\r\n$1\r\n7\r\n";
        let (hash, text) = (sent(By::Hash), sent(By::Text));
        assert!(hash.starts_with("*6\r\n$7\r\nEVALSHA\r\n$40\r\n") && hash.ends_with(tail));
        assert!(text.starts_with("*6\r\n$4\r\nEVAL\r\n") && text.ends_with(tail));
    }

    #[test]
    fn the_version_is_where_the_envelope_has_it() {
        let range = format!("'GETRANGE', key, {VERSION_AT}, {}", VERSION_AT + 7);
        assert!(WRITE.text.contains(&range) && DELETE.text.contains(&range));
        const { assert!(VERSION_AT + 8 <= HEAD) };
    }
}
