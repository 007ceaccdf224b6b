//! The examples that are there to be taken along keep what their documentation says, beside what they print.

#[expect(dead_code, reason = "what it prints is compared by another test")]
#[path = "../examples/presence/main.rs"]
mod presence;
#[expect(dead_code, reason = "what it prints is compared by another test")]
#[path = "../examples/rate_limiter/main.rs"]
mod rate_limiter;
#[cfg(feature = "redis")]
#[expect(dead_code, reason = "its `main` reads the program's arguments")]
#[path = "../examples/rate_limiter_redis/main.rs"]
mod rate_limiter_redis;
#[cfg(feature = "redis")]
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "support/redis_server.rs"]
mod redis_server;

#[path = "example_laws/counts.rs"]
mod counts;
#[path = "example_laws/limits.rs"]
mod limits;
#[cfg(feature = "redis")]
#[path = "example_laws/shared.rs"]
mod shared;
