//! Presence: who is in a room. Clients let themselves be heard every ten seconds, say; who has not been for thirty is offline. Nobody
//! watches them: the [cache](rooms) does, and its removal listener tells. `cargo run --example presence` prints
//!
//! ```text
//! second  online     count  what happens, and what is told
//!      0  alice bob      2  both come: alice came, bob came
//!     20  alice bob      2  alice is heard
//!     30  alice          2  bob was not, and nobody has looked
//!     31  alice          1  maintain() looks: bob went offline
//!     35  alice bob      2  bob has a new connection: bob came
//!     36  alice bob      2  the old one says goodbye, late
//!     41  bob            1  alice says goodbye: alice left
//!     90  bob            1  bob is heard again: bob went offline, bob came
//! last seen: alice at 20, bob at 90, carol never
//! ```

pub(crate) mod rooms;

use cachette::{BuildError, Clock, ManualClock};
use rooms::Presence;
use std::time::Duration;

/// What this example prints.
pub(crate) fn show() -> Result<String, BuildError> {
    let clock = ManualClock::new();
    let house = Presence::new(10_000, clock.clone())?;
    let heard = |user, connection| assert!(house.heard("lobby", user, connection), "it is full");
    let goodbye = |user, connection| house.goodbye("lobby", user, connection);
    let mut out = "second  online     count  what happens, and what is told\n".to_owned();
    let scenes: [(u64, &str, &dyn Fn()); 8] = [
        (0, "both come", &|| ["alice", "bob"].into_iter().for_each(|user| heard(user, 1))),
        (20, "alice is heard", &|| heard("alice", 1)),
        (30, "bob was not, and nobody has looked", &|| {}),
        (31, "maintain() looks", &|| house.online.maintain()),
        (35, "bob has a new connection", &|| heard("bob", 2)),
        (36, "the old one says goodbye, late", &|| goodbye("bob", 1)),
        (41, "alice says goodbye", &|| goodbye("alice", 1)),
        (90, "bob is heard again", &|| heard("bob", 2)),
    ];
    for (second, what, happens) in scenes {
        clock.advance(Duration::from_secs(second) - clock.now());
        happens();
        let (online, count, told) = (house.who("lobby"), house.count("lobby"), house.news());
        let (online, told) = (online.join(" "), told.join(", "));
        let colon = if told.is_empty() { "" } else { ": " };
        out += &format!("{second:>6}  {online:<9}{count:>7}  {what}{colon}{told}\n");
    }
    let seen = ["alice", "bob", "carol"].map(|user| match house.seen.get(user) {
        Some(at) => format!("{user} at {}", at.as_secs()),
        None => format!("{user} never"),
    });
    Ok(out + &format!("last seen: {}\n", seen.join(", ")))
}

fn main() -> Result<(), BuildError> {
    show().map(|out| print!("{out}"))
}
