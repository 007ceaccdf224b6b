//! A rate limit that processes share: a [token bucket](bucket) in Redis or Valkey, by a script, which runs as one. The server must be one
//! that may be tried. `cargo run --example rate_limiter_redis --features redis -- redis://127.0.0.1/` prints
//!
//! ```text
//! 100 tokens, and one more an hour: of 4000 requests by 2 processes at once 100 pass
//! the next is to wait for 1 hour, and the 1000 after it ask Redis 0 times
//! ```

pub(crate) mod bucket;

use bucket::Limiter;
use redis::{Client, RedisResult};
use std::error::Error;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::{thread, time::Duration};

const HOUR: Duration = Duration::from_secs(3_600);

/// The part of a process: once `begin` returns, each of four threads makes 500 requests. How many pass.
fn take_part(url: &str, client: &str, begin: impl FnOnce()) -> RedisResult<usize> {
    let (limiter, server) = (Limiter::new(100, HOUR), Client::open(url)?);
    let connections = (0..4).map(|_| server.get_connection()).collect::<RedisResult<Vec<_>>>()?;
    let passes = |redis: &mut _| matches!(limiter.ask(redis, client), Ok(None));
    let requests = |mut redis| (0..500).filter(|_| passes(&mut redis)).count();
    begin();
    Ok(thread::scope(|scope| {
        let start = |redis| scope.spawn(|| requests(redis));
        let threads = connections.into_iter().map(start).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    }))
}

/// The second process: it begins when its input ends.
pub(crate) fn second(url: &str, client: &str) -> RedisResult<()> {
    let passed = take_part(url, client, || {
        println!("ready");
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
    })?;
    println!("passed: {passed}");
    Ok(())
}

/// What this example prints, where `second` starts the second process.
pub(crate) fn show(
    url: &str,
    second: impl FnOnce(&str) -> Command,
) -> Result<String, Box<dyn Error>> {
    let client = format!("demo {}", std::process::id());
    let mut second = second(&client).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (input, output) = (second.stdin.take(), second.stdout.take().ok_or("no output")?);
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let first = take_part(url, &client, || {
        lines.find(|line| line.ends_with("ready"));
        drop(input);
    })?;
    let other = lines.find_map(|line| line.strip_prefix("passed: ")?.parse::<usize>().ok());
    second.wait()?;
    let passed = first + other.ok_or("the second process has failed")?;

    let (limiter, mut redis) = (Limiter::new(100, HOUR), Client::open(url)?.get_connection()?);
    let hours = limiter.ask(&mut redis, &client)?.unwrap_or_default().as_secs().div_ceil(3_600);
    redis::cmd("DEL").arg(format!("limit:{client}")).exec(&mut redis)?;
    // It has a full bucket now: who asks for it passes.
    let asked = (0..1_000).filter(|_| !matches!(limiter.ask(&mut redis, &client), Ok(Some(_))));
    Ok(format!(
        "100 tokens, and one more an hour: of 4000 requests by 2 processes at once {passed} pass\n\
         the next is to wait for {hours} hour, and the 1000 after it ask Redis {} times\n",
        asked.count()
    ))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [program, url] => {
            let mut command = Command::new(program);
            let second = |client: &str| {
                command.args([url, client]);
                command
            };
            print!("{}", show(url, second)?);
        }
        [_, url, client] => second(url, client)?,
        _ => return Err("say where it is: redis://127.0.0.1/".into()),
    }
    Ok(())
}
