//! Which node has which names.
//!
//! A name lies in one of 16384 slots, and a slot belongs to one primary. What is between the first `{` of a name and the next `}`
//! decides by itself, if it is not empty: so a value and its lease lie together.
//!
//! **Source.** The Redis cluster specification; CRC-16/XMODEM of what decides, modulo the number of slots.

use crate::tier::RemoteError;
use crate::tier::redis::ops::{array, bytes, number};
use ::redis::{Cmd, Value, cmd};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

const SLOTS: usize = 16384;

/// No node.
const NONE: u16 = u16::MAX;

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::tier::redis) struct Address {
    pub(in crate::tier::redis) host: String,
    pub(in crate::tier::redis) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// `HOST:PORT`; without a host it is that of who says so.
    pub(super) fn read(text: &str, said_by: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if host.is_empty() { &said_by.host } else { host };
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

/// The slot of a name.
pub(super) fn slot(name: &[u8]) -> u16 {
    crc16(deciding(name)) % SLOTS as u16
}

fn deciding(name: &[u8]) -> &[u8] {
    let tag = name.iter().position(|&byte| byte == b'{').and_then(|open| {
        let tag = name.get(open + 1..)?;
        tag.get(..tag.iter().position(|&byte| byte == b'}')?)
    });
    tag.filter(|tag| !tag.is_empty()).unwrap_or(name)
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    })
}

/// A primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    id: String,
    pub(super) address: Address,
}

/// What one node says of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    /// All primaries, by their ids: also those without slots, which may be given one any time.
    nodes: Vec<Node>,
    /// The node of each slot, by its place among them.
    owners: Vec<u16>,
}

impl Topology {
    /// What a node is asked.
    pub(super) fn question() -> Cmd {
        let mut shards = cmd("CLUSTER");
        shards.arg("SHARDS");
        shards
    }

    /// What a node has answered.
    pub(super) fn read(answer: Value, said_by: &Address, is_encrypted: bool) -> Answer<Self> {
        let mut found = Vec::new();
        for shard in array(answer)? {
            let ranges = array(field(&shard, "slots")?.clone())?;
            let ranges: Vec<i64> = ranges.iter().map(number).collect::<Answer<_>>()?;
            let Value::Array(nodes) = field(&shard, "nodes")? else { return Err(garbled()) };
            if let Some(primary) = primary(nodes, !ranges.is_empty())? {
                found.push((node(primary, said_by, is_encrypted)?, ranges));
            }
        }
        found.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        let mut owners = vec![NONE; SLOTS];
        for (at, (_, ranges)) in (0..NONE).zip(&found) {
            for range in ranges.chunks(2) {
                let &[first, last] = range else { return Err(garbled()) };
                let (first, last) = (usize::try_from(first), usize::try_from(last));
                let (Ok(first), Ok(last)) = (first, last) else { return Err(garbled()) };
                owners.get_mut(first..=last).ok_or_else(garbled)?.fill(at);
            }
        }
        let nodes: Vec<_> = found.into_iter().map(|(node, _)| node).collect();
        if nodes.is_empty() { Err(garbled()) } else { Ok(Self { nodes, owners }) }
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Who answers for a name; some node, which knows better, if it is not known.
    pub(super) fn owner(&self, name: &[u8]) -> &Address {
        let owner = self.owners.get(usize::from(slot(name))).copied().unwrap_or(NONE);
        let node = self.nodes.get(usize::from(owner)).or(self.nodes.first());
        &node.unwrap_or_else(|| unreachable!("a cluster has a node")).address
    }

    /// How many slots belong to nobody.
    pub(super) fn lacks(&self) -> usize {
        self.owners.iter().filter(|&&owner| owner == NONE).count()
    }

    /// A number that is another where something is another.
    pub(super) fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.nodes.iter().for_each(|node| node.id.hash(&mut hasher));
        self.owners.hash(&mut hasher);
        hasher.finish()
    }
}

/// Where the nodes are is left out: one may see another elsewhere than itself.
impl PartialEq for Topology {
    fn eq(&self, other: &Self) -> bool {
        let ids = |of: &Self| of.nodes.iter().map(|node| node.id.clone()).collect::<Vec<_>>();
        self.owners == other.owners && ids(self) == ids(other)
    }
}

type Answer<T> = Result<T, RemoteError>;

/// The primary of a shard. One that has failed, and has no slots, is none: nothing can be written there.
fn primary(nodes: &[Value], has_slots: bool) -> Answer<Option<&Value>> {
    let mut failed = None;
    for node in nodes {
        if text(field(node, "role")?)? == "master" {
            if !text(field(node, "health")?)?.starts_with("fail") {
                return Ok(Some(node));
            }
            failed = Some(node);
        }
    }
    Ok(failed.filter(|_| has_slots))
}

fn node(node: &Value, said_by: &Address, is_encrypted: bool) -> Answer<Node> {
    let id = text(field(node, "id")?)?;
    let which = if is_encrypted { "tls-port" } else { "port" };
    // A Redis 7.0 tells where it encrypts only if the nodes themselves talk so.
    let none = |_| {
        RemoteError::Garbled(format!("the node {id} tells no {which}; is its tls-cluster right?"))
    };
    let port = field(node, which).map_err(none)?;
    let port = u16::try_from(number(port)?).map_err(|_| garbled())?;
    let host = match field(node, "endpoint")? {
        Value::Nil => String::new(),
        host => text(host)?,
    };
    let host = match &host[..] {
        "?" => return Err(RemoteError::Garbled(format!("nobody knows where the node {id} is"))),
        "" => said_by.host.clone(),
        _ => host,
    };
    Ok(Node { id, address: Address { host, port } })
}

/// What a map has under a name. In the second version of the protocol it is an array.
fn field<'a>(map: &'a Value, name: &str) -> Answer<&'a Value> {
    let is = |key: &Value| match key {
        Value::BulkString(bytes) => bytes == name.as_bytes(),
        Value::SimpleString(text) => text == name,
        _ => false,
    };
    let found = match map {
        Value::Map(entries) => entries.iter().find(|(key, _)| is(key)).map(|(_, value)| value),
        Value::Array(items) => items.chunks(2).find_map(|pair| match pair {
            [key, value] if is(key) => Some(value),
            _ => None,
        }),
        _ => None,
    };
    found.ok_or_else(garbled)
}

fn text(value: &Value) -> Answer<String> {
    match value {
        Value::SimpleString(text) => Ok(text.clone()),
        other => String::from_utf8(bytes(other.clone())?).map_err(|_| garbled()),
    }
}

fn garbled() -> RemoteError {
    RemoteError::Garbled("this is no map of a cluster".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(word: &str) -> Value {
        Value::BulkString(word.as_bytes().to_vec())
    }

    fn here() -> Address {
        Address { host: "here".to_owned(), port: 1 }
    }

    #[test]
    fn a_node_that_does_not_tell_where_it_encrypts_is_named() {
        let node = [("id", "a"), ("role", "master"), ("health", "online"), ("endpoint", "")];
        let mut node: Vec<_> = node.map(|(key, value)| (word(key), word(value))).into();
        node.push((word("port"), Value::Int(7000)));
        let shard = vec![
            (word("slots"), Value::Array(vec![Value::Int(0), Value::Int(16383)])),
            (word("nodes"), Value::Array(vec![Value::Map(node)])),
        ];
        let shards = || Value::Array(vec![Value::Map(shard.clone())]);
        assert_eq!(Topology::read(shards(), &here(), false).unwrap().lacks(), 0);
        let read = Topology::read(shards(), &here(), true);
        let Err(RemoteError::Garbled(why)) = read else { panic!("{read:?}") };
        assert!(why.contains("node a") && why.contains("tls-cluster"), "{why}");
    }

    /// A shard of nodes, each with its id, role, health and endpoint; in this version of the protocol.
    fn shard(version: u8, slots: &[i64], nodes: &[[&str; 4]]) -> Value {
        let map = |entries: Vec<(Value, Value)>| match version {
            2 => Value::Array(entries.into_iter().flat_map(|(key, value)| [key, value]).collect()),
            _ => Value::Map(entries),
        };
        let node = |[id, role, health, endpoint]: &[&str; 4]| {
            map(vec![
                (word("id"), word(id)),
                (word("port"), Value::Int(7000)),
                (word("tls-port"), Value::Int(7001)),
                (word("endpoint"), word(endpoint)),
                (word("role"), word(role)),
                (word("health"), word(health)),
            ])
        };
        let slots = slots.iter().map(|&slot| Value::Int(slot)).collect();
        let nodes = nodes.iter().map(node).collect();
        map(vec![(word("slots"), Value::Array(slots)), (word("nodes"), Value::Array(nodes))])
    }

    fn read(shards: Vec<Value>) -> Topology {
        Topology::read(Value::Array(shards), &here(), false).unwrap()
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!((slot(b"foo"), slot(b"bar"), slot(b"")), (12182, 5061, 0));
        assert_eq!(slot(b"lease{users.1:k:42}"), slot(b"{users.1:k:42}"));
        assert_eq!(deciding(b"a{b}{c}"), b"b");
        assert_eq!(deciding(b"a{{b}}"), b"{b");
        assert_eq!(deciding(b"}{a}"), b"a");
        for whole in [&b"a{}{b}"[..], b"a{b", b"a}b{", b"{", b"a"] {
            assert_eq!(deciding(whole), whole);
        }
    }

    #[test]
    fn primaries_are_found_in_both_versions_of_the_protocol() {
        for version in [2, 3] {
            let replica = ["r", "replica", "online", "r.example"];
            let topology = read(vec![
                shard(version, &[5000, 16383], &[replica, ["b", "master", "online", "b.example"]]),
                shard(version, &[0, 9, 11, 4999], &[["a", "master", "online", ""]]),
                shard(version, &[], &[["c", "master", "loading", "c.example"]]),
                shard(version, &[], &[["d", "master", "fail", "d.example"]]),
            ]);
            let hosts: Vec<_> = topology.nodes.iter().map(|node| &node.address.host[..]).collect();
            assert_eq!(hosts, ["here", "b.example", "c.example"]);
            assert_eq!(topology.lacks(), 1);
            assert_eq!(topology.owner(b"foo").host, "b.example");
            assert_eq!(topology.owner(b"").to_string(), "here:7000");
        }
        let shards = Value::Array(vec![shard(3, &[0, 0], &[["a", "master", "online", ""]])]);
        let encrypted = Topology::read(shards, &here(), true).unwrap();
        assert_eq!(encrypted.owner(b"").port, 7001);
    }

    #[test]
    fn who_has_failed_has_its_slots_until_another_has_them() {
        let (old, new) = (["a", "master", "fail", "a"], ["b", "master", "online", "b"]);
        let alone = read(vec![shard(3, &[0, 16383], &[old])]);
        assert_eq!(alone.owner(b"foo").host, "a");
        for after in [[old, new], [new, old]] {
            let after = read(vec![shard(3, &[0, 16383], &after)]);
            assert_eq!(after.owner(b"foo").host, "b");
            assert_ne!(alone, after);
            assert_ne!(alone.print(), after.print());
        }
    }

    #[test]
    fn a_slot_or_a_node_more_is_another_topology() {
        let a = ["a", "master", "online", "a"];
        let b = ["b", "master", "online", "b"];
        let maps = [
            read(vec![shard(3, &[0, 9], &[a]), shard(3, &[10, 19], &[b])]),
            read(vec![shard(3, &[0, 10], &[a]), shard(3, &[11, 19], &[b])]),
            read(vec![shard(3, &[0, 9], &[a])]),
            read(vec![shard(3, &[0, 9], &[a]), shard(3, &[], &[b])]),
        ];
        for (at, one) in maps.iter().enumerate() {
            for (other_at, other) in maps.iter().enumerate() {
                assert_eq!(one == other, at == other_at);
                assert_eq!(one.print() == other.print(), at == other_at);
            }
        }
        // Whatever the order, and wherever they are.
        let elsewhere = ["a", "master", "online", "10.0.0.1"];
        let again = read(vec![shard(3, &[10, 19], &[b]), shard(3, &[0, 9], &[elsewhere])]);
        assert_eq!(again, maps[0]);
    }

    #[test]
    fn what_is_no_map_is_refused() {
        let a = |endpoint| ["a", "master", "online", endpoint];
        for answer in [
            Value::Okay,
            Value::Array(Vec::new()),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![shard(3, &[0], &[a("a")])]),
            Value::Array(vec![shard(3, &[0, 16384], &[a("a")])]),
            Value::Array(vec![shard(3, &[9, 7], &[a("a")])]),
            Value::Array(vec![shard(3, &[-1, 7], &[a("a")])]),
            Value::Array(vec![shard(3, &[0, 7], &[a("?")])]),
        ] {
            let read = Topology::read(answer, &here(), false);
            assert!(matches!(read, Err(RemoteError::Garbled(_))), "{read:?}");
        }
    }

    #[test]
    fn addresses_are_read_as_redirections_tell_them() {
        let read = |text| Address::read(text, &here()).map(|address| address.to_string());
        assert_eq!(read("b.example:7000").as_deref(), Some("b.example:7000"));
        assert_eq!(read(":7000").as_deref(), Some("here:7000"));
        assert_eq!(read("fe80::1:7000").unwrap(), "fe80::1:7000");
        assert_eq!((read("b.example"), read("b:port"), read("b:70000")), (None, None, None));
    }
}
