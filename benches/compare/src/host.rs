//! The side that conducts: starts a process for each peer of a row, and gives each a round in turn.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::Options;
use crate::peer::Info;
use crate::work::{Kind, Row};

/// All rounds of one peer in one row: what was measured, a number a round.
pub type Metrics = BTreeMap<String, Vec<f64>>;

/// The result of one peer in one row; an error says why there is none.
pub struct Outcome {
    pub peer: Info,
    pub metrics: Result<Metrics, String>,
}

/// Longer than any peer needs to fill itself with the largest row.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs `row` with `peers`: round one of each, then round two of each, and so on, so that whatever else happens on the
/// machine meets them all alike.
pub fn run(row: &'static Row, peers: &[Info], options: &Options) -> Vec<Outcome> {
    let mut players: Vec<_> = peers
        .iter()
        .filter(|peer| row.admits(peer, options))
        .map(|&peer| Player::new(peer, row, options))
        .collect();
    for player in &mut players {
        player.prepare();
    }
    // Every round in a process of its own measures the same bytes again: once is enough.
    let rounds = if row.kind == Kind::Memory { 1 } else { options.rounds };
    for _ in 0..rounds {
        for player in &mut players {
            player.ask("round");
        }
    }
    // The other rows say after every round what was resident.
    if !row.begins_anew() && row.kind != Kind::Cost {
        for player in &mut players {
            player.ask("peak");
        }
    }
    players.into_iter().map(Player::finish).collect()
}

/// A peer in a row.
struct Player {
    peer: Info,
    /// True if its process lives for one question only.
    fresh: bool,
    command: Command,
    process: Option<Process>,
    metrics: Result<Metrics, String>,
}

impl Player {
    fn new(peer: Info, row: &Row, options: &Options) -> Self {
        let program = std::env::current_exe().unwrap_or_else(|_| "cachette-compare".into());
        let mut command = Command::new(program);
        command.args(["--child", peer.name, "--rows", row.name]);
        command.args(["--threads", &options.threads.to_string()]);
        command.args(["--round-ms", &options.round_ms.to_string()]);
        if options.quick {
            command.arg("--quick");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let fresh = row.begins_anew() || peer.background && !row.reads();
        Self { peer, fresh, command, process: None, metrics: Ok(Metrics::new()) }
    }

    /// Starts the process and waits until it is ready, one peer after the other: a peer that works on a thread of its
    /// own does not disturb the filling of the next.
    fn prepare(&mut self) {
        if !self.fresh {
            self.process = self.start();
        }
    }

    fn start(&mut self) -> Option<Process> {
        match Process::start(&mut self.command) {
            Ok(process) => Some(process),
            Err(error) => {
                self.metrics = Err(error);
                None
            }
        }
    }

    /// Asks the process, a new one if there is none, unless something went wrong before.
    fn ask(&mut self, question: &str) {
        if self.metrics.is_err() {
            return;
        }
        let process = self.process.take().or_else(|| self.start());
        let Some(mut process) = process else { return };
        match (process.ask(question), &mut self.metrics) {
            (Ok(line), Ok(metrics)) => {
                record(metrics, &line);
                self.process = (!self.fresh).then_some(process);
            }
            (Err(error), metrics) => *metrics = Err(error),
            (Ok(_), Err(_)) => {}
        }
    }

    fn finish(self) -> Outcome {
        Outcome { peer: self.peer, metrics: self.metrics }
    }
}

/// Adds the `name=number` pairs of one answer.
fn record(metrics: &mut Metrics, line: &str) {
    for pair in line.split(' ') {
        let Some((name, number)) = pair.split_once('=') else { continue };
        if let Ok(number) = number.parse() {
            metrics.entry(name.to_owned()).or_default().push(number);
        }
    }
}

/// A running child. Dropping it ends it at once, whatever its peer is still busy with.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command.spawn().map_err(|error| format!("does not start: {error}"))?;
        let (send, lines) = channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let mut process = Self { child, lines };
        process.hear().map(|_| process)
    }

    fn ask(&mut self, question: &str) -> Result<String, String> {
        let mut line = self.child.stdin.as_ref().ok_or("has no standard input")?;
        writeln!(line, "{question}").map_err(|error| format!("ended early: {error}"))?;
        self.hear()
    }

    fn hear(&mut self) -> Result<String, String> {
        self.lines.recv_timeout(PATIENCE).map_err(|_| match self.child.try_wait() {
            Ok(Some(status)) => format!("ended early: {status}"),
            _ => format!("gave no answer within {} s", PATIENCE.as_secs()),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
