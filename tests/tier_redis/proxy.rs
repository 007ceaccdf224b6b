//! A way to a server on which what the server sends can be held up, as for a client that does not read.

use crate::redis_server::Server;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use tokio::net::TcpSocket;
use tokio::runtime::Builder;

#[derive(Default)]
struct Gate {
    held: Mutex<bool>,
    changed: Condvar,
    gone: AtomicBool,
}

impl Gate {
    fn set(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut held = self.held.lock().unwrap();
        while *held {
            held = self.changed.wait(held).unwrap();
        }
    }
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    gate: Arc<Gate>,
}

impl Proxy {
    pub(crate) fn before(server: &Server) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, gate) = (listener.local_addr().unwrap().port(), Arc::<Gate>::default());
        let (shared, to) = (Arc::clone(&gate), server.port);
        thread::spawn(move || {
            for client in listener.incoming() {
                if shared.gone.load(Ordering::SeqCst) {
                    return;
                }
                carry(client.unwrap(), to, &shared);
            }
        });
        Self { port, gate }
    }

    /// What the server sends is read no more.
    pub(crate) fn hold(&self) {
        self.gate.set(true);
    }

    pub(crate) fn release(&self) {
        self.gate.set(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.gate.gone.store(true, Ordering::SeqCst);
        self.release();
        // So that whoever waits for the next connection sees that it is gone.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn carry(client: TcpStream, to: u16, gate: &Arc<Gate>) {
    let server = narrow(to);
    let (there, back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || copy(there, server, || {}));
    let gate = Arc::clone(gate);
    thread::spawn(move || copy(back, client, || gate.pass()));
}

/// A connection for which the system keeps little that has not been read.
fn narrow(port: u16) -> TcpStream {
    let runtime = Builder::new_current_thread().enable_io().build().unwrap();
    let connect = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4_096)?;
        socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?.into_std()
    };
    let stream = runtime.block_on(connect).unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

/// Passes on what comes, until one side is closed.
fn copy(mut from: TcpStream, mut to: TcpStream, pass: impl Fn()) {
    let mut some = [0; 4_096];
    while let Ok(length @ 1..) = from.read(&mut some) {
        pass();
        if to.write_all(&some[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
