//! A cluster of a test's own: three primaries, each with a third of the slots.

use crate::redis_server::{PATIENCE, Server};
use redis::Value;
use std::time::{Duration, Instant};

pub(crate) const SLOTS: u16 = 16384;

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    /// Starts one that answers when this returns. `None` if there is no Redis here, and that is excused, or it is
    /// too old.
    pub(crate) fn start() -> Option<Self> {
        let nodes = (0..3).map(|_| node()).collect::<Option<Vec<_>>>()?;
        let cluster = Self { nodes };
        // Nor has it the commands of a cluster that are needed.
        if !cluster.nodes[0].tracks() {
            return None;
        }
        for (at, node) in (0..).zip(&cluster.nodes) {
            let (first, end) = (SLOTS / 3 * at, SLOTS / 3 * (at + 1));
            let last = if at == 2 { SLOTS } else { end } - 1;
            node.run(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            // Each begins to count at another number, or they would have to agree first.
            node.run(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1));
            cluster.meet(node);
        }
        cluster.agree();
        Some(cluster)
    }

    /// Makes a node known to the first.
    pub(crate) fn meet(&self, node: &Server) {
        self.nodes[0].run(&format!("CLUSTER MEET 127.0.0.1 {}", node.port));
    }

    /// Waits until all nodes know of all nodes, and of the same slots.
    pub(crate) fn agree(&self) {
        let start = Instant::now();
        let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
        let is_well = |node: &Server| {
            let info = text(&node.run("CLUSTER INFO"));
            let assigned = format!("cluster_slots_assigned:{SLOTS}\r");
            // Messages to a node without a link are lost.
            let is_linked = !text(&node.run("CLUSTER NODES")).contains("disconnected");
            let is_ok = info.contains("cluster_state:ok\r") && is_linked;
            is_ok && info.contains(&known) && info.contains(&assigned)
        };
        let owners = || self.nodes.iter().map(|node| owners(&node.run("CLUSTER SLOTS")));
        let mut again = Duration::from_secs(2);
        while !self.nodes.iter().all(is_well) || owners().any(|of| of != owners().next().unwrap()) {
            assert!(start.elapsed() < PATIENCE, "the nodes do not agree: {}", self.views());
            // On a busy machine a greeting may have come too late.
            if start.elapsed() > again {
                self.nodes.iter().for_each(|node| self.meet(node));
                again *= 2;
            }
            std::thread::yield_now();
        }
    }

    /// What each node knows of all.
    fn views(&self) -> String {
        self.nodes.iter().map(|node| text(&node.run("CLUSTER NODES")) + "\n").collect()
    }

    /// Another node, which knows of nobody.
    pub(crate) fn another() -> Option<Server> {
        node()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    /// The place of the node that has a name.
    pub(crate) fn owner(&self, name: &str) -> usize {
        let slot = self.slot(name);
        let slots = owners(&self.nodes[0].run("CLUSTER SLOTS"));
        let range = slots.iter().find(|range| (range.0..=range.1).contains(&slot)).unwrap();
        self.nodes.iter().position(|node| i64::from(node.port) == range.2).unwrap()
    }

    pub(crate) fn slot(&self, name: &str) -> i64 {
        match self.nodes[0].run(&format!("CLUSTER KEYSLOT {name}")) {
            Value::Int(slot) => slot,
            other => panic!("{other:?} is no slot"),
        }
    }

    /// Begins to move a slot: names that are not there are asked for at the other node.
    pub(crate) fn begin_to_move(&self, slot: i64, from: &Server, to: &Server) {
        to.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)));
        from.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)));
    }

    /// Moves some names of the slot.
    pub(crate) fn move_names(&self, slot: i64, from: &Server, to: &Server) {
        loop {
            let names = from.run(&format!("CLUSTER GETKEYSINSLOT {slot} 10"));
            let Value::Array(names) = names else { panic!("{names:?} are no names") };
            if names.is_empty() {
                return;
            }
            for name in &names {
                let (port, name) = (to.port, text(name));
                from.run(&format!("MIGRATE 127.0.0.1 {port} {name} 0 5000 REPLACE"));
            }
        }
    }

    /// The slot is the other node's, and all are told so.
    pub(crate) fn end_to_move(&self, slot: i64, from: &Server, to: &Server) {
        let set = format!("CLUSTER SETSLOT {slot} NODE {}", id(to));
        to.run(&set);
        from.run(&set);
        self.nodes.iter().for_each(|node| drop(node.run(&set)));
    }
}

fn node() -> Option<Server> {
    Server::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "3000",
        "--cluster-require-full-coverage",
        "no",
    ])
}

pub(crate) fn id(node: &Server) -> String {
    text(&node.run("CLUSTER MYID"))
}

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.clone(),
        other => panic!("{other:?} is no text"),
    }
}

/// The first and last slot of each range, and the port of its primary.
fn owners(slots: &Value) -> Vec<(i64, i64, i64)> {
    let array = |value: &Value| match value {
        Value::Array(items) => items.clone(),
        other => panic!("{other:?} is no array"),
    };
    let number = |value: &Value| match value {
        Value::Int(number) => *number,
        other => panic!("{other:?} is no number"),
    };
    let range = |range: &Value| {
        let range = array(range);
        (number(&range[0]), number(&range[1]), number(&array(&range[2])[1]))
    };
    let mut owners: Vec<_> = array(slots).iter().map(range).collect();
    owners.sort_unstable();
    owners
}
