//! A service of products: its handlers ask the cache, which lies in this process before a Redis that all instances share, and the Redis
//! before `SQLite`. Run it twice, on two ports and one database: what is written through one is seen through the other.
//!
//! ```sh
//! redis-server --port 6399 --save '' &
//! cargo run --release --example service --features json,redis-tokio -- --redis redis://localhost:6399 --database /tmp/products.db
//! curl localhost:8080/products/7
//! curl -X PUT localhost:8080/products/7 -H 'content-type: application/json' -d '{"name": "lamp", "category": "light", "cents": 1995}'
//! curl 'localhost:8080/products?ids=7,8,999'
//! curl -X DELETE localhost:8080/categories/light
//! curl localhost:8080/stats
//! wrk --threads 2 --connections 64 --duration 10s --latency http://localhost:8080/products/7
//! ```
//!
//! Stop the Redis while `wrk` runs: nobody is told. What the cache makes of it stands on standard error, and in `/health`.
//!
//! Reading order: `cache` (the two levels, and what may be chosen), `api` (what handlers do with it), `shop` (the database).

mod api;
mod cache;
mod shop;

use clap::Parser;
use shop::Shop;
use std::error::Error;
use std::path::PathBuf;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Serves products by HTTP.
#[derive(Parser)]
pub(crate) struct Args {
    /// The port to listen on; 0 is any that is free
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Where the Redis is: redis://[[USER]:PASSWORD@]HOST[:PORT]; without it, a store in this process takes its place
    #[arg(long)]
    redis: Option<String>,
    /// The file of the database; without it, it is gone with the process
    #[arg(long)]
    database: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    serve(Args::parse()).await
}

/// Serves until it is told to end, and lets the requests end that are under way.
pub(crate) async fn serve(args: Args) -> Result<(), Box<dyn Error>> {
    let shop = Shop::open(args.database.as_deref())?;
    let products = cache::products(args.redis.as_deref(), shop.clone())?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, api::routes(products.clone(), shop))
        .with_graceful_shutdown(told_to_end())
        .await?;
    match products.undelivered() {
        0 => println!("the end"),
        // Nobody will make up for them: until the TTL ends, other instances may see what was deleted.
        some => println!("the end; {some} deletions have not reached the Redis"),
    }
    Ok(())
}

/// Ctrl-C, or `kill`.
async fn told_to_end() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
