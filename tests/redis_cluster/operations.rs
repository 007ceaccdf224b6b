//! What is asked of a cluster, and what it answers.

use super::*;
use cachette::tier::{Found, Mode, RemoteError, Turn, laws};
use std::collections::BTreeSet;

#[test]
fn it_keeps_the_laws() {
    let Some(cluster) = Cluster::start() else { return };
    // Messages come by the bus between the nodes, in their own time.
    let trial = laws::Trial::new(remote(&cluster), std::thread::sleep).modes(&[Mode::Tracking]);
    laws::check(&trial.patience(PATIENCE));
}

#[test]
fn every_operation_is_answered_by_the_nodes_that_have_its_names() {
    let Some(cluster) = Cluster::start() else { return };
    let (remote, places) = (remote(&cluster), places(300));
    let count = places.len();
    let values: Vec<_> = (0..count).map(|n| envelope(n as u64, n as u8)).collect();
    let names: Vec<&[u8]> = places.iter().map(|place| &place.value[..]).collect();
    let claims: Vec<_> = places.iter().map(|place| claim(place, 1)).collect();
    assert_eq!(wait(remote.read(&claims)), Ok(vec![Found::Granted; count]));
    let leased = |at: usize| Write { leased: Some(token(1)), ..write(&places[at], &values[at]) };
    let writes: Vec<_> = (0..count).map(leased).collect();
    assert_eq!(wait(remote.write(&writes)), Ok(vec![true; count]));
    assert_eq!(wait(remote.write(&writes)), Ok(vec![false; count]));
    for (found, value) in wait(remote.read(&claims)).unwrap().iter().zip(&values) {
        assert!(matches!(found, Found::Value { bytes, .. } if bytes == value), "{found:?}");
    }
    let heads = wait(remote.heads(&names)).unwrap();
    assert!(heads.iter().zip(&values).all(|(head, value)| head.unwrap()[..] == value[..HEAD]));
    for node in &cluster.nodes {
        let redis::Value::Int(size) = node.run("DBSIZE") else { panic!("it has a size") };
        assert!((50..150).contains(&size), "{size}");
    }
    let unless = |(n, place)| Delete { unless: (n % 2 == 0).then_some(0), ..delete(place) };
    let deletes: Vec<_> = places.iter().enumerate().map(unless).collect();
    let deleted: Vec<_> = (0..count).map(|n| n % 2 == 1).collect();
    assert_eq!(wait(remote.delete(&deletes)), Ok(deleted));
    wait(remote.delete(&places.iter().map(delete).collect::<Vec<_>>())).unwrap();
    assert_eq!(wait(remote.numbers(&names, 7, LONG)), Ok(vec![7; count]));
    for (n, name) in (0..).zip(&names) {
        wait(remote.set_number(name, n, LONG, None)).unwrap();
    }
    assert_eq!(wait(remote.numbers(&names, 7, LONG)), Ok((0..count as u64).collect()));
    for place in &places[..30] {
        let turn = |number, turn| wait(remote.lock(&place.lease, token(number), turn)).unwrap();
        assert!(turn(1, Turn::Take(LONG)) && !turn(2, Turn::Take(LONG)));
        assert!(turn(1, Turn::Extend(LONG)) && !turn(2, Turn::Free) && turn(1, Turn::Free));
    }
}

#[test]
fn scripts_are_told_to_each_node_that_has_not_seen_them() {
    let Some(cluster) = Cluster::start() else { return };
    let (remote, places) = (remote(&cluster), places(30));
    let reads: Vec<_> = places.iter().map(read).collect();
    assert_eq!(wait(remote.read(&reads)), Ok(vec![Found::Nothing; 30]));
    cluster.nodes[1].run("SCRIPT FLUSH");
    assert_eq!(wait(remote.read(&reads)), Ok(vec![Found::Nothing; 30]));
}

/// All names that a scan finds.
fn scan(remote: &dyn Remote, pattern: &[u8]) -> Result<BTreeSet<Vec<u8>>, RemoteError> {
    let (mut names, mut from) = (BTreeSet::new(), None);
    loop {
        let page = wait(remote.scan(pattern, from.as_deref()))?;
        names.extend(page.names);
        from = page.next;
        if from.is_none() {
            return Ok(names);
        }
    }
}

#[test]
fn a_name_is_followed_to_where_its_slot_has_moved() {
    let Some(cluster) = Cluster::start() else { return };
    let (remote, here) = (remote(&cluster), place("0"));
    wait(remote.write(&[write(&here, b"text")])).unwrap();
    let (slot, at) = (cluster.slot("{p:k:0}"), cluster.owner("{p:k:0}"));
    let (from, to) = (&cluster.nodes[at], &cluster.nodes[(at + 1) % 3]);
    cluster.begin_to_move(slot, from, to);
    cluster.move_names(slot, from, to);
    // Half way: what names one thing alone is answered there.
    let is_value = |found: &[Found]| matches!(found, [Found::Value { .. }]);
    assert!(is_value(&wait(remote.read(&[read(&here)])).unwrap()));
    cluster.end_to_move(slot, from, to);
    // The first goes to where the slot was.
    for _ in 0..2 {
        assert!(is_value(&wait(remote.read(&[claim(&here, 1)])).unwrap()));
    }
    assert_eq!(wait(remote.delete(&[delete(&here)])), Ok(vec![true]));
}

#[test]
fn a_scan_finds_the_names_of_all_nodes() {
    let Some(cluster) = Cluster::start() else { return };
    let (remote, places) = (remote(&cluster), places(3_000));
    let writes: Vec<_> = places.iter().map(|place| write(place, b"text")).collect();
    wait(remote.write(&writes)).unwrap();
    let names: BTreeSet<_> = places.iter().map(|place| place.value.clone()).collect();
    assert_eq!(scan(&*remote, b"{p:k:*}"), Ok(names));
    assert_eq!(scan(&*remote, b"{p:k:17}").unwrap().len(), 1);
    for wrong in [&b"17"[..], b"zz:0:0", b"1:0", b"\xff"] {
        let page = wait(remote.scan(b"*", Some(wrong)));
        assert!(matches!(page, Err(RemoteError::Garbled(_))), "{page:?}");
    }
}

#[test]
fn a_scan_ends_when_slots_move() {
    let Some(cluster) = Cluster::start() else { return };
    let (remote, first) = (remote(&cluster), place("0"));
    wait(remote.write(&[write(&first, b"text")])).unwrap();
    let name = "{p:k:0}";
    let (slot, at) = (cluster.slot(name), cluster.owner(name));
    let (from, to) = (&cluster.nodes[at], &cluster.nodes[(at + 1) % 3]);
    let page = wait(remote.scan(b"*", None)).unwrap();
    cluster.begin_to_move(slot, from, to);
    let began = scan(&*remote, b"*");
    assert!(matches!(&began, Err(RemoteError::Unreachable(why)) if why.contains("moved")));
    cluster.move_names(slot, from, to);
    cluster.end_to_move(slot, from, to);
    cluster.agree();
    let after = wait(remote.scan(b"*", page.next.as_deref()));
    assert!(matches!(after, Err(RemoteError::Unreachable(_))), "{after:?}");
    assert_eq!(scan(&*remote, b"*"), Ok([first.value.clone()].into()));
}

#[test]
fn a_node_that_is_gone_is_missed_by_its_names_alone() {
    let Some(mut cluster) = Cluster::start() else { return };
    let (remote, places) = (remote(&cluster), places(30));
    let writes: Vec<_> = places.iter().map(|place| write(place, b"text")).collect();
    wait(remote.write(&writes)).unwrap();
    let gone = |place: &Place| cluster.owner(std::str::from_utf8(&place.value).unwrap()) == 1;
    let (there, here): (Vec<_>, Vec<_>) = places.iter().partition(|place| gone(place));
    cluster.nodes[1].kill();
    for place in there {
        let answer = wait(remote.read(&[read(place)]));
        let told = match &answer {
            Err(RemoteError::Unreachable(_)) => true,
            Err(RemoteError::Refused(why)) => why.starts_with("CLUSTERDOWN"),
            _ => false,
        };
        assert!(told, "{answer:?}");
    }
    for place in here {
        let found = wait(remote.read(&[read(place)])).unwrap();
        assert!(matches!(found[..], [Found::Value { .. }]), "{found:?}");
    }
    cluster.nodes[1].restart();
    cluster.agree();
    let reads: Vec<_> = places.iter().map(read).collect();
    // Connections that the restart has cut fail once.
    let found = wait(remote.read(&reads)).or_else(|_| wait(remote.read(&reads))).unwrap();
    assert_eq!(found.len(), 30);
}

#[test]
fn it_needs_one_address_of_a_node() {
    let new = |urls: &[&str]| {
        let options = urls.iter().map(|url| RedisOptions::new(url).unwrap());
        RedisCluster::new(options).map(drop).map_err(|error| error.to_string())
    };
    assert!(new(&[]).unwrap_err().contains("there is none"));
    assert!(new(&["unix:///tmp/socket"]).unwrap_err().contains("host"));
    assert!(new(&["redis://localhost/3"]).unwrap_err().contains("database"));
    let Some(cluster) = Cluster::start() else { return };
    let only = RedisCluster::new([options("redis://127.0.0.1:1"), options(&cluster.urls()[2])]);
    let (only, places) = (only.unwrap(), places(30));
    let reads: Vec<_> = places.iter().map(read).collect();
    assert_eq!(wait(only.read(&reads)), Ok(vec![Found::Nothing; 30]));
    let none = RedisCluster::new([options("redis://127.0.0.1:1")]).unwrap();
    let answer = wait(none.read(&reads));
    assert!(matches!(answer, Err(RemoteError::Unreachable(_))), "{answer:?}");
}

#[test]
fn a_server_that_is_no_cluster_is_refused() {
    let Some(server) = crate::redis_server::Server::start(&[]) else { return };
    let remote = RedisCluster::new([options(&server.url())]).unwrap();
    let answer = wait(remote.read(&[read(&place("0"))]));
    assert!(matches!(&answer, Err(RemoteError::Refused(why)) if why.contains("cluster")));
}
