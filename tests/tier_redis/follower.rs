//! A replica of a server, behind a line that a test can hold up.

use crate::redis_server::Server;
use crate::world::{millis, until};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A replica.
pub(crate) struct Follower {
    pub(crate) server: Server,
    link: u16,
    held: Arc<AtomicBool>,
}

impl Follower {
    /// One that has all that the primary has.
    pub(crate) fn start(primary: &Server) -> Option<Self> {
        let held = Arc::new(AtomicBool::new(false));
        let link = link(primary.port, &held);
        let server = Server::start(&[
            "--replicaof",
            "127.0.0.1",
            &link.to_string(),
            "--repl-timeout",
            "3600",
        ])?;
        let follower = Self { server, link, held };
        follower.until_linked();
        Some(follower)
    }

    /// Waits until it follows its primary.
    #[track_caller]
    pub(crate) fn until_linked(&self) {
        until("the replica follows", || {
            let info: String =
                redis::cmd("INFO").arg("replication").query(&mut self.server.client()).unwrap();
            info.contains("master_link_status:up")
        });
    }

    /// It hears of no change, and does not know.
    pub(crate) fn hold(&self) {
        self.held.store(true, Ordering::Release);
    }

    /// It hears of all that was held.
    pub(crate) fn release(&self) {
        self.held.store(false, Ordering::Release);
    }

    /// It is a primary from now on, with what it has.
    pub(crate) fn promote(&self) {
        self.server.run("REPLICAOF NO ONE");
    }

    /// It follows its primary again, and forgets what it did meanwhile.
    pub(crate) fn follow(&self) {
        self.server.run(&format!("REPLICAOF 127.0.0.1 {}", self.link));
    }
}

/// A port on which the primary is reached, unless that is held.
fn link(primary: u16, held: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let held = Arc::clone(held);
    thread::spawn(move || {
        for replica in listener.incoming() {
            let Ok(replica) = replica else { return };
            let Ok(primary) = TcpStream::connect(("127.0.0.1", primary)) else { continue };
            let (to_primary, to_replica) = (primary.try_clone(), replica.try_clone());
            let (Ok(to_primary), Ok(to_replica)) = (to_primary, to_replica) else { continue };
            let held = Arc::clone(&held);
            thread::spawn(move || forward(replica, to_primary, &AtomicBool::new(false)));
            thread::spawn(move || forward(primary, to_replica, &held));
        }
    });
    port
}

fn forward(mut from: TcpStream, mut to: TcpStream, held: &AtomicBool) {
    let mut bytes = [0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        while held.load(Ordering::Acquire) {
            // Another process is held up: there is nothing here that it could wake.
            thread::sleep(millis(1));
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
