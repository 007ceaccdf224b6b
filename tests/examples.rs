//! The examples print what their documentation says.

#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/batch_loader.rs"]
mod batch_loader;
#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/custom_policy.rs"]
mod custom_policy;
#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/leaderboard.rs"]
mod leaderboard;
#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/presence/main.rs"]
mod presence;
#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/rate_limiter/main.rs"]
mod rate_limiter;
#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/read_through.rs"]
mod read_through;
#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/refresh_ahead.rs"]
mod refresh_ahead;
#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/session_store.rs"]
mod session_store;
#[expect(dead_code, reason = "the example runs longer than its test")]
#[path = "../examples/stampede.rs"]
mod stampede;
#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/write_behind.rs"]
mod write_behind;

use std::process::Command;

/// Where a test tells the process that it starts which database to use.
const DATABASE: &str = "CACHETTE_TEST_DATABASE";

/// The first block of plain text in a file's documentation.
fn documented(source: &str) -> Vec<&str> {
    let text = source.lines().map_while(|line| line.strip_prefix("//!"));
    let block = text.skip_while(|line| line.trim() != "```text").skip(1);
    block
        .take_while(|line| line.trim() != "```")
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect()
}

#[test]
fn custom_policy_prints_what_it_says() {
    let mut says = documented(include_str!("../examples/custom_policy.rs"));
    if !cfg!(feature = "test-kit") {
        says.pop();
        says.push("with --features test-kit it is held to the laws, too");
    }
    let printed = custom_policy::show().unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), says);
}

#[test]
fn batch_loader_prints_what_it_says() {
    let says = documented(include_str!("../examples/batch_loader.rs"));
    assert_eq!(batch_loader::show().lines().collect::<Vec<_>>(), says);
}

#[test]
fn presence_prints_what_it_says() {
    let says = documented(include_str!("../examples/presence/main.rs"));
    assert_eq!(presence::show().unwrap().lines().collect::<Vec<_>>(), says);
}

#[test]
fn rate_limiter_prints_what_it_says() {
    let says = documented(include_str!("../examples/rate_limiter/main.rs"));
    assert_eq!(rate_limiter::show().unwrap().lines().collect::<Vec<_>>(), says);
}

#[test]
fn read_through_prints_what_it_says() {
    let says = documented(include_str!("../examples/read_through.rs"));
    assert_eq!(read_through::show().unwrap().lines().collect::<Vec<_>>(), says);
}

#[test]
fn refresh_ahead_prints_what_it_says() {
    let says = documented(include_str!("../examples/refresh_ahead.rs"));
    assert_eq!(refresh_ahead::show().unwrap().lines().collect::<Vec<_>>(), says);
}

#[test]
fn session_store_prints_what_it_says() {
    let says = documented(include_str!("../examples/session_store.rs"));
    assert_eq!(session_store::show().unwrap().lines().collect::<Vec<_>>(), says);
}

#[test]
fn leaderboard_prints_what_it_says() {
    let says = documented(include_str!("../examples/leaderboard.rs"));
    assert_eq!(leaderboard::show().unwrap().lines().collect::<Vec<_>>(), says);
}

/// No test of its own: this program is the shop if it is started by the test below, which kills it.
#[test]
fn the_shop() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    write_behind::shop(database.as_ref()).unwrap();
}

#[test]
fn write_behind_prints_what_it_says() {
    let database = std::env::temp_dir().join(format!("shop-{}.sqlite", std::process::id()));
    let mut shop = Command::new(std::env::current_exe().unwrap());
    shop.args(["--exact", "the_shop", "--nocapture"]).env(DATABASE, &database);
    let printed = write_behind::show(&database, &mut shop);
    std::fs::remove_file(database).unwrap();
    let says = documented(include_str!("../examples/write_behind.rs"));
    assert_eq!(printed.unwrap().lines().collect::<Vec<_>>(), says);
}

/// The numbers hang on the machine; what is listed does not.
#[test]
fn stampede_charts_every_way() {
    let printed = stampede::show(2, std::time::Duration::from_millis(1)).unwrap();
    let rows: Vec<_> = printed.lines().map(|line| (line[..16].trim(), &line[16..])).collect();
    let ways =
        ["no protection", "single flight", "early refresh", "refresh ahead", "stale meanwhile"];
    let named: Vec<_> = rows.iter().step_by(2).map(|(way, _)| *way).collect();
    assert_eq!((named, rows.len()), (ways.to_vec(), 10), "{printed}");
    for (at, (_, row)) in rows.into_iter().enumerate() {
        let mut words = row.split_whitespace();
        assert_eq!(words.next(), Some(["loads", "waited"][at % 2]), "{printed}");
        let count: usize = words.next().unwrap().parse().unwrap();
        assert_eq!(words.next().unwrap_or("").len(), count.div_ceil(8), "{printed}");
    }
}
