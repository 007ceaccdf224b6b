//! A redis-server, and what it has counted.

use std::net::TcpListener;
use std::ops::Sub;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Server {
    port: u16,
    process: Child,
}

/// What it has done since it was started.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// Those within scripts, too.
    pub commands: f64,
    /// Calls of `EVAL` and `EVALSHA`.
    pub scripts: f64,
    pub bytes_in: f64,
    pub bytes_out: f64,
}

impl Server {
    pub fn start(folder: &Path) -> Result<Self, String> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| error.to_string())?.port();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--loglevel", "warning", "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server does not start: {error}"))?;
        let server = Self { port, process };
        let start = Instant::now();
        while server.ask::<String>("PING").is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                return Err("redis-server does not answer".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn ask<T: redis::FromRedisValue>(&self, command: &str) -> Result<T, String> {
        let client = redis::Client::open(self.url()).map_err(|error| error.to_string())?;
        let mut connection = client.get_connection().map_err(|error| error.to_string())?;
        redis::cmd(command).query(&mut connection).map_err(|error| error.to_string())
    }

    pub fn empty(&self) -> Result<(), String> {
        self.ask("FLUSHALL")
    }

    pub fn counts(&self) -> Result<Counts, String> {
        let client = redis::Client::open(self.url()).map_err(|error| error.to_string())?;
        let mut connection = client.get_connection().map_err(|error| error.to_string())?;
        let info: Result<String, _> = redis::cmd("INFO").arg("all").query(&mut connection);
        Ok(Counts::of(&info.map_err(|error| error.to_string())?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Counts {
    fn of(info: &str) -> Self {
        let number = |name: &str, before: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(before));
            let digits = line.map(|line| line.split(',').next().unwrap_or(line).trim());
            digits.and_then(|digits| digits.parse().ok()).unwrap_or(0.0)
        };
        Self {
            commands: number("total_commands_processed", ":"),
            scripts: number("cmdstat_eval", ":calls=") + number("cmdstat_evalsha", ":calls="),
            bytes_in: number("total_net_input_bytes", ":"),
            bytes_out: number("total_net_output_bytes", ":"),
        }
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            commands: self.commands - earlier.commands,
            scripts: self.scripts - earlier.scripts,
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn what_it_counts_is_read() {
        let info = "# Stats\r\ntotal_commands_processed:12\r\ntotal_net_input_bytes:34\r\ntotal_net_output_bytes:56\r\n\
                    cmdstat_eval:calls=2,usec=9\r\ncmdstat_evalsha:calls=7,usec=1\r\n";
        let Counts { commands, scripts, bytes_in, bytes_out } = Counts::of(info);
        assert_eq!([commands, scripts, bytes_in, bytes_out], [12.0, 9.0, 34.0, 56.0]);
    }
}
