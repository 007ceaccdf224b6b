//! The laws of the house that no compiler lint holds. Each law is a checker over parsed source, a test that runs it over this
//! package, and a test that shows it a breach. A breach is printed as `file:line: what`.

mod source;
mod tokens;

use proc_macro2::{Delimiter, TokenTree};
use source::{Breach, Source, attributes, is_cfg_test, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use tokens::{is_ident, line_of, paths, walk};

/// Lines a file may have before its test module.
const FILE_LINES: usize = 500;

/// Lines a function may have, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 50;

/// The files that may say `unsafe`: those that read without a lock, and those that call the system.
const UNSAFE: [&str; 10] = [
    "src/engine/index.rs",
    "src/engine/index/bucket.rs",
    "src/engine/index/growth.rs",
    "src/engine/index/homes.rs",
    "src/engine/slab.rs",
    "src/engine/slab/chunks.rs",
    "src/engine/epoch.rs",
    "src/engine/epoch/models.rs",
    "src/engine/index/models.rs",
    "src/engine/sys.rs",
];

/// The file that may name threads, locks and atomics where they come from.
const SYNC: &str = "src/sync.rs";

/// What only [`SYNC`] may name: it swaps them for their twins in the model checker.
const SYNC_ONLY: &[&[&str]] = &[
    &["std", "sync"],
    &["std", "thread"],
    &["core", "sync"],
    &["alloc", "sync"],
    &["parking_lot"],
    &["loom"],
];

/// Who may import whom: a module may use its own layer and every layer of a lower rank. A path belongs to the layer that
/// names its longest prefix. Layers of one rank do not know each other.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["observe", "time", "sync", "error", "hash", "caught", "crc", "engine::sys"]),
    (1, &["engine::code", "engine::slab", "engine::column", "engine::epoch"]),
    (2, &["policy::list", "policy::sketch"]),
    (3, &["policy"]),
    (3, &["engine::wheel"]),
    (4, &["engine"]),
    (
        5,
        &[
            "cache",
            "builder",
            "entry",
            "expiry",
            "freshness",
            "sweep",
            "maintainer",
            "write",
            "pinned",
            "bounds",
        ],
    ),
    (6, &["load"]),
    (7, &["tier"]),
    (7, &["snapshot"]),
    (8, &["store"]),
];

/// Imports against that order: who, what, and why. One that nothing needs any more is a breach itself.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "cache",
        "load::Ticket",
        "a cache keeps the flights of its keys for the segments, which do not look inside",
    ),
    (
        "write",
        "load::Ticket",
        "a load's write is conditional on its ticket, which is passed on unopened",
    ),
];

/// Runs a checker over every file that `held` chooses, and fails with all that it finds.
fn hold(held: impl Fn(&Source) -> bool, check: impl Fn(&Source) -> Vec<Breach>) {
    let found: Vec<_> = sources().iter().filter(|source| held(source)).flat_map(check).collect();
    report(found);
}

fn report(mut found: Vec<Breach>) {
    found.sort();
    let mut text = String::new();
    for Breach { file, line, what } in &found {
        let _ = writeln!(text, "{file}:{line}: {what}");
    }
    assert!(found.is_empty(), "the law is broken:\n{text}");
}

/// Shows a checker a breach: it must name just these lines.
fn must_find(check: impl Fn(&Source) -> Vec<Breach>, path: &str, text: &str, lines: &[usize]) {
    let found: Vec<_> =
        check(&Source::new(path, text)).into_iter().map(|breach| breach.line).collect();
    assert_eq!(found, lines, "in {path}:\n{text}");
}

// Files and functions are short.

fn long_file(source: &Source) -> Vec<Breach> {
    let is_tests = |item: &&syn::Item| {
        matches!(item, syn::Item::Mod(module) if module.content.is_some())
            && attributes(item).iter().any(is_cfg_test)
    };
    let tests = source.ast.items.iter().find(is_tests).map(|item| item.span().start().line - 1);
    let lines = tests.unwrap_or_else(|| source.text.lines().count());
    if lines <= FILE_LINES || source.is_test(1) {
        return Vec::new();
    }
    vec![source.breach(
        FILE_LINES + 1,
        format!("{lines} lines before its tests, {FILE_LINES} are the most"),
    )]
}

struct Functions<'a> {
    source: &'a Source,
    found: Vec<Breach>,
}

impl Functions<'_> {
    fn check(&mut self, sig: &syn::Signature, block: &syn::Block) {
        let line = sig.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line - line + 1;
        if lines > FUNCTION_LINES && !self.source.is_test(line) {
            let what = format!("`{}` has {lines} lines, {FUNCTION_LINES} are the most", sig.ident);
            self.found.push(self.source.breach(line, what));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.check(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

fn long_functions(source: &Source) -> Vec<Breach> {
    let mut functions = Functions { source, found: Vec::new() };
    functions.visit_file(&source.ast);
    functions.found
}

#[test]
fn files_are_short() {
    hold(Source::is_library, long_file);
    let long = "// a line\n".repeat(FILE_LINES);
    must_find(long_file, "src/a.rs", &long, &[]);
    must_find(long_file, "src/a.rs", &format!("{long}struct A;\n"), &[FILE_LINES + 1]);
    let tests = "#[cfg(test)]\nmod tests {\n}\n";
    must_find(long_file, "src/a.rs", &format!("{long}{tests}"), &[]);
    must_find(long_file, "src/a.rs", &format!("{long}\n{tests}"), &[FILE_LINES + 1]);
}

#[test]
fn functions_are_short() {
    hold(|source| !source.path.starts_with("tests/"), long_functions);
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", "();\n".repeat(lines - 2));
    let (longest, longer) = (function(FUNCTION_LINES), function(FUNCTION_LINES + 1));
    must_find(long_functions, "src/a.rs", &longest, &[]);
    must_find(long_functions, "src/a.rs", &longer, &[1]);
    must_find(long_functions, "src/a.rs", &format!("struct A;\nimpl A {{\n{longer}}}"), &[3]);
    must_find(long_functions, "src/a.rs", &format!("trait A {{\n{longer}}}"), &[2]);
    must_find(long_functions, "src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{longer}}}"), &[]);
}

// Nothing is left undone, nothing is waved through.

fn unfinished(source: &Source) -> Vec<Breach> {
    // In halves, so that this file keeps the law.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let calls = [concat!("to", "do!"), concat!("unimple", "mented!")];
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '!');
        if words.any(|word| marks.contains(&word.trim_end_matches('!')) || calls.contains(&word)) {
            found.push(source.breach(number + 1, format!("left undone: {}", line.trim())));
        }
    }
    found
}

fn allows(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    walk(source.tokens(), &mut Vec::new(), &mut |tokens, at, _| {
        let Some(TokenTree::Group(group)) = tokens.get(at) else { return };
        let before = at.checked_sub(1).map(|at| tokens[at].to_string()).unwrap_or_default();
        if group.delimiter() != Delimiter::Bracket || !["#", "!"].contains(&before.as_str()) {
            return;
        }
        walk(group.stream(), &mut Vec::new(), &mut |inner, at, _| {
            let called = matches!(inner.get(at + 1), Some(TokenTree::Group(_)));
            if called && is_ident(inner, at, "allow") {
                found.push(
                    source.breach(line_of(&inner[at]), "`allow`: use `expect` with a reason"),
                );
            }
        });
    });
    found
}

#[test]
fn nothing_is_left_undone() {
    hold(|_| true, unfinished);
    for mark in ["TO DO", "FIX ME", "X XX", "to do!", "unimple mented!"] {
        let mark = mark.replace(' ', "");
        must_find(unfinished, "src/a.rs", &format!("struct A;\n// a {mark}: later"), &[2]);
        must_find(unfinished, "src/a.rs", &format!("struct A;\n// a{mark}b"), &[]);
    }
}

#[test]
fn no_lint_is_silenced() {
    hold(|_| true, allows);
    must_find(allows, "src/a.rs", "struct A;\n#[allow(dead_code)]\nstruct B;", &[2]);
    must_find(allows, "src/a.rs", "#![allow(dead_code)]\nstruct B;", &[1]);
    must_find(allows, "src/a.rs", "#[cfg_attr(x, allow(dead_code))]\nstruct B;", &[1]);
    must_find(allows, "src/a.rs", "mod a {\n#[allow(x)]\nfn f() {}}", &[2]);
    must_find(allows, "src/a.rs", "fn f() { [allow(1)]; }\n// #[allow(x)]", &[]);
}

// The language is that of the oldest supported compiler.

struct LetChains<'a> {
    source: &'a Source,
    found: Vec<Breach>,
}

impl<'ast> Visit<'ast> for LetChains<'_> {
    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        for side in [&expr.left, &expr.right] {
            if let syn::Expr::Let(side) = &**side {
                let line = side.let_token.span.start().line;
                self.found.push(self.source.breach(line, "a let chain: newer than `rust-version`"));
            }
        }
        visit::visit_expr_binary(self, expr);
    }
}

fn let_chains(source: &Source) -> Vec<Breach> {
    let mut chains = LetChains { source, found: Vec::new() };
    chains.visit_file(&source.ast);
    chains.found
}

#[test]
fn no_let_chains() {
    hold(
        |source| !source.path.starts_with("benches/compare/") && !source.path.starts_with("fuzz/"),
        let_chains,
    );
    must_find(let_chains, "src/a.rs", "fn f() {\nif let A = b\n&& let C = d {}\n}", &[2, 3]);
    must_find(let_chains, "src/a.rs", "fn f() { while a && let A = b && c {} }", &[1]);
    must_find(let_chains, "src/a.rs", "fn f() { if let A = b && c {} }", &[1]);
    must_find(let_chains, "src/a.rs", "fn f() { if let A = b { if c && d {} } }", &[]);
}

// Unsafe code, threads and locks have their places.

fn unsafe_code(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    walk(source.tokens(), &mut Vec::new(), &mut |tokens, at, _| {
        if is_ident(tokens, at, "unsafe") && !UNSAFE.contains(&source.path.as_str()) {
            found.push(source.breach(line_of(&tokens[at]), "`unsafe`: not in this file"));
        }
    });
    found
}

fn sync_names(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    walk(source.tokens(), &mut Vec::new(), &mut |tokens, at, _| {
        for (path, line) in paths(tokens, at) {
            let named = SYNC_ONLY.iter().any(|name| starts_with(&path, name));
            if named && source.path != SYNC && !source.is_test(line) {
                found.push(
                    source.breach(line, format!("`{}` is named in {SYNC} alone", path.join("::"))),
                );
            }
        }
    });
    found
}

#[test]
fn unsafe_code_has_its_files() {
    hold(Source::is_library, unsafe_code);
    must_find(unsafe_code, "src/a.rs", "fn f() {\nunsafe { g() }\n}", &[2]);
    must_find(unsafe_code, "src/a.rs", "unsafe impl Send for A {}", &[1]);
    must_find(unsafe_code, "src/engine/slab.rs", "unsafe impl Send for A {}", &[]);
    must_find(unsafe_code, "src/a.rs", "// unsafe\nconst A: &str = \"unsafe\";", &[]);
}

#[test]
fn threads_and_locks_have_one_source() {
    hold(Source::is_library, sync_names);
    must_find(sync_names, "src/a.rs", "struct A;\nuse std::sync::Arc;", &[2]);
    must_find(sync_names, "src/a.rs", "use std::{fmt, sync::{\nArc, atomic::AtomicU8}};", &[2, 2]);
    must_find(sync_names, "src/a.rs", "use core::sync::atomic;", &[1]);
    must_find(sync_names, "src/a.rs", "fn f() {\nassert!(::std::thread::panicking());\n}", &[2]);
    must_find(sync_names, "src/a.rs", "fn f(_: &parking_lot::Mutex<u8>) {}", &[1]);
    must_find(sync_names, SYNC, "use std::sync::Arc;", &[]);
    must_find(
        sync_names,
        "src/a.rs",
        "use std::fmt;\n#[cfg(test)]\nmod tests { use std::sync::Arc; }",
        &[],
    );
    must_find(sync_names, "src/a.rs", "/// std::sync::Arc\nuse crate::sync::Arc;", &[]);
}

// Imports run one way.

/// Names that the crate's root re-exports, and where from: `Cache` is `[cache, Cache]`.
type Root = BTreeMap<String, Vec<String>>;

fn layer(path: &[String]) -> Option<(u8, &'static str)> {
    let names = LAYERS.iter().flat_map(|(rank, names)| names.iter().map(|name| (*rank, *name)));
    names.filter(|(_, name)| is_under(path, name)).max_by_key(|(_, name)| name.split("::").count())
}

/// Layers are the same if they stand in one row of the table.
fn row(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, names)| names.contains(&name))
}

fn is_under(path: &[String], name: &str) -> bool {
    starts_with(path, &name.split("::").collect::<Vec<_>>())
}

fn starts_with(path: &[String], start: &[&str]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(part, start)| part == start)
}

/// `path` from the crate's root, if it begins with `crate`, `self` or `super`.
fn from_root(path: &[String], module: &[String], root: &Root) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()),
            _ => break,
        }
        rest = after;
    }
    if rest.len() == path.len() {
        return None;
    }
    base.extend_from_slice(rest);
    let exported = base.first().and_then(|name| root.get(name)).filter(|_| layer(&base).is_none());
    Some(exported.cloned().unwrap_or(base))
}

fn root_of(lib: &Source) -> Root {
    let mut root = Root::new();
    walk(lib.tokens(), &mut Vec::new(), &mut |tokens, at, _| {
        if !is_ident(tokens, at, "use") {
            return;
        }
        for (mut path, _) in paths(tokens, at + 1) {
            path.retain(|part| part != "crate" && part != "self");
            if let Some(name) = path.last().cloned() {
                root.insert(name, path);
            }
        }
    });
    root
}

/// Imports of `source` against the order; `used` gathers the exceptions that were needed.
fn upward(source: &Source, root: &Root, used: &mut BTreeSet<usize>) -> Vec<Breach> {
    let Some((rank, from)) = layer(&source.module()) else {
        return vec![source.breach(1, "this file's module is in no layer: give it one in LAYERS")];
    };
    let mut found = Vec::new();
    walk(source.tokens(), &mut source.module(), &mut |tokens, at, module| {
        for (path, line) in paths(tokens, at) {
            let Some(to) = from_root(&path, module, root).filter(|_| !source.is_test(line)) else {
                continue;
            };
            let name = to.join("::");
            let excepted = EXCEPTIONS
                .iter()
                .position(|(who, what, _)| is_under(&source.module(), who) && is_under(&to, what));
            if let Some(exception) = excepted {
                used.insert(exception);
                continue;
            }
            match layer(&to) {
                Some((below, _)) if below < rank => {}
                Some((_, same)) if row(same) == row(from) => {}
                Some(_) => {
                    found.push(source.breach(line, format!("`{from}` may not import `{name}`")));
                }
                None => found.push(
                    source.breach(line, format!("`{name}` is in no layer: give it one in LAYERS")),
                ),
            }
        }
    });
    found
}

#[test]
fn imports_run_one_way() {
    let sources = sources();
    let root =
        sources.iter().find(|source| source.path == "src/lib.rs").map(root_of).unwrap_or_default();
    let mut used = BTreeSet::new();
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.is_library() && source.path != "src/lib.rs")
    {
        if !source.is_test(1) {
            found.extend(upward(source, &root, &mut used));
        }
    }
    report(found);
    for (number, (who, what, why)) in EXCEPTIONS.iter().enumerate() {
        assert!(
            used.contains(&number),
            "no longer needed: `{who}` imports `{what}`, because {why}"
        );
    }
}

#[test]
fn an_import_against_the_order_is_found() {
    let lib = Source::new(
        "src/lib.rs",
        "mod cache;\npub use cache::Cache;\npub use crate::load::{self as l, LoadError};",
    );
    let root = root_of(&lib);
    let check = |source: &Source| upward(source, &root, &mut BTreeSet::new());
    must_find(check, "src/policy/lru.rs", "use crate::policy::list::List;\nuse super::Meta;", &[]);
    must_find(check, "src/policy/lru.rs", "use crate::engine::slab::Slot;", &[]);
    must_find(
        check,
        "src/policy/lru.rs",
        "use crate::engine::{slab::Slot,\nsegment::Segment};",
        &[2],
    );
    must_find(check, "src/policy/lru.rs", "use crate::engine::wheel::Wheel;", &[1]);
    must_find(check, "src/policy/lru.rs", "fn f() { super::super::cache::g(); }", &[1]);
    must_find(check, "src/policy/list.rs", "use crate::policy::Meta;", &[1]);
    must_find(
        check,
        "src/engine/slab.rs",
        "mod a {\nuse super::Slot;\nuse super::super::Segment; }",
        &[3],
    );
    must_find(
        check,
        "src/engine/segment.rs",
        "use crate::{time, policy, observe};\nuse crate::Cache;",
        &[2],
    );
    must_find(check, "src/cache.rs", "fn f() { assert!(crate::LoadError::new()); }", &[1]);
    must_find(check, "src/cache.rs", "#[cfg(test)]\nmod tests { use crate::load::flight; }", &[]);
    must_find(
        check,
        "src/load/flight.rs",
        "use crate::cache::Cache;\nuse crate::tier::Lease;",
        &[2],
    );
    must_find(
        check,
        "src/observe/stats.rs",
        "use crate::sync::Arc;\nuse crate::policy::Slot;",
        &[2],
    );
    must_find(check, "src/observe/stats.rs", "pub(crate) struct A;\nuse crate::*;", &[2]);
    must_find(check, "src/cache.rs", "use crate::nowhere::A;", &[1]);
    must_find(check, "src/nowhere.rs", "struct A;", &[1]);
}

/// The numbers of the promises in the table of DESIGN.md that no test's name begins with.
fn unkept<'a>(design: &'a str, tests: &str) -> Vec<&'a str> {
    let rows = design.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let numbers = rows.map(|(number, _)| number).filter(|number| {
        let (kind, digits) = number.split_at(number.len().min(1));
        kind.chars().all(char::is_uppercase) && digits.parse::<u32>().is_ok()
    });
    numbers.filter(|number| !tests.contains(&format!("fn {}_", number.to_lowercase()))).collect()
}

#[test]
fn every_promise_has_a_test() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let design = std::fs::read_to_string(root.join("DESIGN.md")).expect("DESIGN.md is there");
    let tests: String = sources().iter().map(|source| source.text.as_str()).collect();
    assert!(design.contains("| C1 | "), "the table of promises was not found");
    assert_eq!(unkept(&design, &tests), [""; 0], "promised, and not tested");
    assert_eq!(unkept("| | promise |\n| C1 | x |\n| L12 | y |", "fn c1_a() {}"), ["L12"]);
}
