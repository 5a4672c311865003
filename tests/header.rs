//! `include/vaekl.h` is what `src/ffi/` says. `VAEKL_BLESS=1 cargo test --test header` rewrites it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The sections of the header: a title, and the files whose `pub` items it has.
const SECTIONS: &[(&str, &[&str])] = &[
    ("status", &["status.rs"]),
    ("value types", &["types.rs"]),
    ("model: immutable, shareable", &["model.rs"]),
    ("model, saved", &["save.rs"]),
    ("session: one call at a time, owns threads and workspace", &["turn.rs", "session.rs"]),
    ("plan: what a call will need", &["plan.rs"]),
    ("decode", &["decode.rs"]),
    ("decode, row by row", &["stream.rs"]),
    ("encode", &["encode.rs"]),
];

const HEAD: &str = "\
/* libvaekl - Stable Diffusion VAE (AutoencoderKL) for C, C++, Go, Swift, Python.
 *
 * Errors     Every fallible function returns a vaekl_status. Most also take an
 *            optional vaekl_error, owned by the caller, as their last argument.
 *            An error before the work (arguments, state, memory, budget) leaves
 *            outputs untouched, and so does any error of a call without tiles,
 *            but for one that vaekl_decode names. In tiles rows are written as
 *            they are made: vaekl_decode leaves an unspecified number of them
 *            in the image that failed. If a picture of a batch fails, the
 *            images before it are complete. No error is kept in thread-local
 *            or global state.
 * Ownership  Free each vaekl_x* obtained through `out` once, with vaekl_x_free;
 *            NULL is accepted. A model may be freed before its sessions: they
 *            hold their own reference. Input pointers are borrowed for the call
 *            only, unless stated otherwise.
 * Threads    Any thread may call. Calls that take `const vaekl_x *` may run
 *            concurrently; one that takes `vaekl_x *` needs exclusive access to
 *            that object. Of two calls on one session the second returns
 *            VAEKL_ERR_STATE. vaekl_session_cancel and vaekl_session_memory may
 *            run while another call uses the session.
 * Processes  A session belongs to the process that made it. In a child of fork()
 *            every call on it, and on its stream, returns VAEKL_ERR_STATE at
 *            once; freeing it there is allowed and waits for nothing. Models
 *            work in both: make a new session in the child. A child that is
 *            forked in a callback must not return from it.
 * Files      Weights are mapped from their files unless disable_mmap is set. A
 *            file that is truncated while it is mapped ends the process with
 *            SIGBUS when a call reads it; nothing can be promised then. One
 *            that was written in place makes the calls that come then, or that
 *            it changed under, fail with VAEKL_ERR_IO. Replacing a file by
 *            rename, and removing it, is harmless.
 * Unloading  Once all sessions are freed, none of the library's threads is left:
 *            dlclose is safe.
 * Callbacks  Run on the thread that made the call, never after it returns. They
 *            must not throw, longjmp, or call back into the same session, except
 *            for vaekl_session_cancel and vaekl_session_memory.
 * Panics     A bug in the library is returned as VAEKL_ERR_INTERNAL and poisons
 *            the session, which can then only be freed.
 *
 * Generated from src/ffi/ by `VAEKL_BLESS=1 cargo test --test header`.
 */
#ifndef VAEKL_H
#define VAEKL_H

#include <stddef.h>
#include <stdint.h>
";

const OPEN: &str = "\
#ifdef __cplusplus
extern \"C\" {
#endif
";

const CLOSE: &str = "\
#ifdef __cplusplus
}
#endif

#endif /* VAEKL_H */
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The declarations of files, in their order.
fn declarations(files: &[&str]) -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let paths = || files.iter().map(|file| root().join("src/ffi").join(file));
    let bindings = paths()
        .fold(cbindgen::Builder::new().with_config(config), |builder, path| builder.with_src(path))
        .generate()
        .unwrap_or_else(|error| panic!("{files:?}: {error}"));
    let mut text = Vec::new();
    bindings.write(&mut text);
    let sources: String = paths().map(|path| fs::read_to_string(path).unwrap()).collect();
    arrange(&sources, &String::from_utf8(text).unwrap())
}

/// cbindgen gives types before constants before functions; here everything stands where the source
/// has it, so that a type is followed by its constants.
fn arrange(source: &str, made: &str) -> String {
    let mut blocks: Vec<&str> =
        made.split("\n\n").map(str::trim).filter(|b| !b.is_empty()).collect();
    let mut out = String::new();
    for name in source.lines().filter_map(public_name) {
        let Some(at) = blocks.iter().position(|block| defines(block, name)) else { continue };
        let block = polish(blocks.remove(at));
        // A constant follows its type, or another constant, without a gap.
        let after = out.lines().next_back().unwrap_or("");
        let of_group = after.starts_with("#define")
            || after.starts_with("typedef ") && after.contains("int32_t vaekl_");
        let gap = if block.contains("#define") && of_group { "" } else { "\n" };
        write!(out, "{gap}{block}").unwrap();
    }
    assert!(blocks.is_empty(), "not found in the source: {blocks:?}");
    out
}

/// The name in a line like `pub const NAME: u32 = 1;`.
fn public_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ")?;
    let value = ["type ", "const ", "struct "].iter().find_map(|kind| rest.strip_prefix(kind));
    let rest = value.or_else(|| rest.split_once(" fn ").map(|(_, rest)| rest))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

fn defines(block: &str, name: &str) -> bool {
    let forms = [
        format!("#define {name} "),
        format!(" {name};"),
        format!("typedef struct {name} {{"),
        format!("(*{name})("),
        format!(" {name}("),
        format!(" *{name}("),
    ];
    let code = block.lines().find(|line| !line.trim_start().starts_with("//")).unwrap_or("");
    forms.iter().any(|form| code.contains(form.as_str()))
}

/// Declarations as one would write them: a negative constant in parentheses, so that
/// `-X` is not `--1`; an unsigned one unsigned; and names of structs without `struct`,
/// which the typedefs spare.
fn polish(block: &str) -> String {
    let mut out = String::new();
    for line in block.lines() {
        match line.strip_prefix("#define ").and_then(|rest| rest.split_once(' ')) {
            Some((name, value)) if value.starts_with('-') => {
                writeln!(out, "#define {name} ({value})").unwrap();
            }
            Some((name, value)) if !matches!(name, "VAEKL_OK" | "VAEKL_END") => {
                writeln!(out, "#define {name} {value}u").unwrap();
            }
            None if !line.starts_with("typedef") => {
                writeln!(out, "{}", line.replace("struct vaekl_", "vaekl_")).unwrap();
            }
            _ => writeln!(out, "{line}").unwrap(),
        }
    }
    out
}

fn header() -> String {
    let mut text = String::from(HEAD);
    text.push('\n');
    for (part, place, number) in [
        ("MAJOR", "Major", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", "Minor", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", "Patch", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        writeln!(text, "// {place} version of this header.").unwrap();
        writeln!(text, "#define VAEKL_VERSION_{part} {number}").unwrap();
    }
    write!(text, "\n{OPEN}\n").unwrap();
    for (title, files) in SECTIONS {
        let rule = "-".repeat(70_usize.saturating_sub(title.len()));
        let declared = declarations(files);
        write!(text, "/* ---- {title} {rule} */\n\n{}\n", declared.trim_start()).unwrap();
    }
    text.push_str(CLOSE);
    text
}

#[test]
fn the_committed_header_is_what_the_sources_say() {
    let path = root().join("include/vaekl.h");
    let made = header();
    if std::env::var_os("VAEKL_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if let Some((at, (old, new))) =
        committed.lines().zip(made.lines()).enumerate().find(|(_, (old, new))| old != new)
    {
        panic!(
            "include/vaekl.h, line {}: {old:?} should be {new:?}; \
             run VAEKL_BLESS=1 cargo test --test header",
            at + 1
        );
    }
    assert_eq!(committed.len(), made.len(), "include/vaekl.h has lost its end");
}

#[test]
fn every_exported_function_is_declared() {
    let made = header();
    let mut seen = 0;
    for entry in fs::read_dir(root().join("src/ffi")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for rest in text.split("extern \"C\" fn vaekl_").skip(1) {
            let name: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(made.contains(&format!("vaekl_{name}(")), "vaekl_{name} is not in a section");
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} functions found");
}
