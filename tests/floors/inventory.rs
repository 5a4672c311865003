//! How much `unsafe` there is, file by file, in `unsafe.txt`: a change shows it to its reviewer.
//! `VAEKL_BLESS=1 cargo test --test floors` rewrites the table.

use std::fmt::Write;

use super::rust::{code, tokens};
use super::sources;

/// What `unsafe` stands before, as columns of the table.
#[derive(Debug, Default, PartialEq)]
struct Count {
    blocks: usize,
    functions: usize,
    implementations: usize,
    /// `#[unsafe(no_mangle)]`: a name that others could have too.
    attributes: usize,
}

/// `text` is a file's. Types of functions, as in a callback's, ask nobody for care: they are not
/// counted.
fn count(text: &str) -> Count {
    let code = code(text);
    let tokens = tokens(&code);
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut found = Count::default();
    for at in (0..tokens.len()).filter(|&at| text(at) == "unsafe") {
        // The ABI of `unsafe extern "C" fn` is a string, and left out.
        let next = if text(at + 1) == "extern" { at + 2 } else { at + 1 };
        match text(next) {
            "fn" if text(next + 1) == "(" => {}
            "fn" => found.functions += 1,
            "impl" | "trait" => found.implementations += 1,
            "(" => found.attributes += 1,
            "{" => found.blocks += 1,
            other => panic!("`unsafe {other}`: not known here"),
        }
    }
    found
}

fn table() -> String {
    let mut text = String::from("blocks functions implementations attributes\n");
    let mut total = Count::default();
    for source in ["src", "cli/src", "benches"].into_iter().flat_map(sources::below) {
        let Count { blocks, functions, implementations, attributes } = count(&source.text);
        if blocks + functions + implementations + attributes == 0 {
            continue;
        }
        let path = source.path;
        writeln!(text, "{blocks:6} {functions:9} {implementations:15} {attributes:10} {path}")
            .unwrap();
        total.blocks += blocks;
        total.functions += functions;
        total.implementations += implementations;
        total.attributes += attributes;
    }
    let Count { blocks, functions, implementations, attributes } = total;
    writeln!(text, "{blocks:6} {functions:9} {implementations:15} {attributes:10} in all").unwrap();
    text
}

#[test]
fn unsafe_is_where_the_inventory_has_it() {
    sources::compare("tests/floors/unsafe.txt", &table());
}

#[test]
fn each_kind_of_unsafe_is_counted() {
    let text = r#"
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn a(f: unsafe extern "C" fn(i32)) { unsafe { b() } }
        unsafe fn b() { /* unsafe { } */ "unsafe { }"; }
        unsafe impl Send for C {}
        unsafe trait D {}
    "#;
    let expected = Count { blocks: 1, functions: 2, implementations: 2, attributes: 1 };
    assert_eq!(count(text), expected);
}
