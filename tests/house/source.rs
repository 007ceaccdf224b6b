//! The package's Rust files, parsed, with the lines that only tests have.

use proc_macro2::TokenStream;
use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The folders whose Rust files are held to the laws, where these do not say otherwise.
const FOLDERS: [&str; 5] = ["src", "tests", "examples", "benches", "fuzz"];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Breach {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// A Rust file.
pub(crate) struct Source {
    /// From the package's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) ast: syn::File,
    /// Lines of items that only tests have.
    tests: Vec<RangeInclusive<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let ast = syn::parse_file(text).unwrap_or_else(|error| {
            panic!("{path}:{}: cannot be parsed: {error}", error.span().start().line)
        });
        let mut finder = TestItems::default();
        finder.visit_file(&ast);
        Self { path: path.to_owned(), text: text.to_owned(), ast, tests: finder.ranges }
    }

    pub(crate) fn breach(&self, line: usize, what: impl Into<String>) -> Breach {
        Breach { file: self.path.clone(), line, what: what.into() }
    }

    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&line))
    }

    pub(crate) fn is_library(&self) -> bool {
        self.path.starts_with("src/")
    }

    /// The module that a file under `src` is: `src/policy/lru.rs` is `[policy, lru]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inner.split('/').filter(|part| !["lib", "mod"].contains(part)).map(str::to_owned).collect()
    }

    pub(crate) fn tokens(&self) -> TokenStream {
        // The parser has accepted the text, so the lexer does.
        self.text.parse().unwrap_or_default()
    }
}

/// Finds the items under `#[cfg(test)]`.
#[derive(Default)]
struct TestItems {
    ranges: Vec<RangeInclusive<usize>>,
    /// Modules under `#[cfg(test)]` that are files of their own.
    files: Vec<String>,
}

impl TestItems {
    fn note(&mut self, attrs: &[syn::Attribute], item: &impl Spanned) -> bool {
        let test = attrs.iter().find(|attr| is_cfg_test(attr));
        if let Some(attr) = test {
            self.ranges.push(attr.span().start().line..=item.span().end().line);
        }
        test.is_some()
    }
}

/// True for `#[cfg(test)]` and `#[cfg(all(test, ..))]`.
pub(crate) fn is_cfg_test(attr: &syn::Attribute) -> bool {
    let Ok(list) = attr.meta.require_list() else { return false };
    let tokens = list.tokens.to_string().replace(' ', "");
    list.path.is_ident("cfg") && (tokens == "test" || tokens.starts_with("all(test"))
}

pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for TestItems {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let is_test = self.note(attributes(item), item);
        match item {
            syn::Item::Mod(module) if is_test && module.content.is_none() => {
                self.files.push(module.ident.to_string());
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.attrs, item);
    }
}

/// The package's Rust files. Those of `src` that only tests compile are marked as tests from end to end.
pub(crate) fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in FOLDERS {
        read(root, &root.join(folder), &mut sources);
    }
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the sources were not found");
    let mut tests = BTreeSet::new();
    for source in sources.iter().filter(|source| source.is_library()) {
        let mut finder = TestItems::default();
        finder.visit_file(&source.ast);
        for file in finder.files {
            tests.insert([source.module(), vec![file]].concat());
        }
    }
    for source in &mut sources {
        let module = source.module();
        if source.is_library() && tests.iter().any(|test| module.starts_with(test)) {
            source.tests.push(0..=usize::MAX);
        }
    }
    sources
}

fn read(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if name != "target" {
                read(root, &path, sources);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let inner = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            sources.push(Source::new(&inner, &text));
        }
    }
}
