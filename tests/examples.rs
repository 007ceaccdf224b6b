//! The examples print what their documentation says.

#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/batch_loader.rs"]
mod batch_loader;
#[expect(dead_code, reason = "an example's `main` prints what the test compares")]
#[path = "../examples/custom_policy.rs"]
mod custom_policy;

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
