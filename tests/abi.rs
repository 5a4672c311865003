//! The binary interface holds: a program of the first header runs with the library of today,
//! nothing that it knows has moved, and nothing is exported that no list names.
//!
//! `tests/abi/first/vaekl.h` is the header that the first release promises, as it was before its
//! structs grew for the first time. It never changes after that release.
#![cfg(target_os = "linux")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::process::Command;

use support::c::{Language, Linking, compile_with, data, fixture, library, root, run, scratch};

fn header(folder: &str) -> String {
    fs::read_to_string(root().join(folder).join("vaekl.h")).unwrap()
}

/// The functions that a header declares: each name with its declaration, on one line.
fn functions(header: &str) -> BTreeMap<String, String> {
    let lines = header.lines().filter(|line| !line.starts_with(['/', '#', '*']));
    let code = lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>();
    let declared = code.join("\n").replace("extern \"C\" {", ";");
    let statements = declared.split(';').map(|one| one.split_whitespace().collect::<Vec<_>>());
    let functions = statements.map(|words| words.join(" ")).filter_map(|statement| {
        let (before, _) = statement.split_once('(')?;
        let name = before.rsplit([' ', '*']).next().filter(|name| name.starts_with("vaekl_"))?;
        Some((name.to_owned(), statement))
    });
    functions.collect()
}

/// Name and fields of each struct of a header.
fn structs(header: &str) -> Vec<(&str, Vec<&str>)> {
    let bodies = header.split("typedef struct ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(" {")?;
        let fields = rest.split_once('}')?.0.lines().filter_map(|line| {
            let line = line.trim();
            let field = line.strip_suffix(';').filter(|_| !line.starts_with("//"))?;
            field.rsplit([' ', '*']).next()?.split('[').next()
        });
        (!name.contains(';')).then(|| (name, fields.collect()))
    });
    bodies.collect()
}

/// The constants of a header.
fn constants(header: &str) -> Vec<&str> {
    let defined = header.lines().filter_map(|line| line.strip_prefix("#define VAEKL_"));
    let valued = defined.filter_map(|rest| rest.split_once(' ')).map(|(name, _)| name);
    valued.filter(|name| !name.starts_with("VERSION_")).collect()
}

#[test]
fn a_program_of_the_first_header_runs() {
    let data = data("abi-data");
    let mut said = Vec::new();
    for headers in ["tests/abi/first", "include"] {
        let folder = root().join(headers);
        let (language, linking) = (Language::C99, Linking::Shared);
        let program = compile_with("tests/abi/first.c", &folder, &[], language, linking);
        said.push(run(Command::new(&program).args([&fixture().folder, &data])).stdout);
    }
    assert_eq!(said[0].len(), 2 * (56 * 40 * 3 + 4 * 5 * 7 * 4) + 2);
    assert!(said[0] == said[1], "the two headers give different results");
}

/// Structs have grown at their end only, and constants have kept their values, as a C compiler sees
/// it.
#[test]
fn what_the_first_header_knows_has_not_moved() {
    let first = header("tests/abi/first");
    let renamed = first.replace("vaekl_", "first_").replace("VAEKL_", "FIRST_");
    let folder = scratch("abi-layout");
    fs::write(folder.join("first.h"), &renamed).unwrap();

    let mut text = String::from("#include \"first.h\"\n#include <vaekl.h>\n");
    let mut fields = 0;
    for (name, members) in structs(&first) {
        let old = name.replace("vaekl_", "first_");
        // One that does not say its size cannot grow: callers have it on their stack, or in an
        // array.
        let relation = if members[0] == "struct_size" { ">=" } else { "==" };
        writeln!(text, "_Static_assert(sizeof({name}) {relation} sizeof({old}), \"{name}\");")
            .unwrap();
        for member in members {
            for what in
                [format!("offsetof(TYPE, {member})"), format!("sizeof(((TYPE *)0)->{member})")]
            {
                let (new, old) = (what.replace("TYPE", name), what.replace("TYPE", &old));
                writeln!(text, "_Static_assert({new} == {old}, \"{name}.{member}\");").unwrap();
            }
            fields += 1;
        }
    }
    let constants = constants(&first);
    for name in &constants {
        writeln!(text, "_Static_assert(VAEKL_{name} == FIRST_{name}, \"{name}\");").unwrap();
    }
    assert!(fields > 50 && constants.len() > 30, "{fields} fields, {} constants", constants.len());

    let (source, object) = (folder.join("layout.c"), folder.join("layout.o"));
    fs::write(&source, text).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-Wall", "-Werror", "-c", "-I"]).arg(root().join("include"));
    run(cc.arg("-I").arg(&folder).arg(&source).arg("-o").arg(&object));
}

/// `VAEKL_BLESS=1 cargo test --test abi` adds to the list, which only grows.
#[test]
fn exported_are_the_functions_of_the_header_and_no_others() {
    let symbols =
        run(Command::new("nm").args(["-D", "--defined-only"]).arg(library("libvaekl.so")));
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    let exported: BTreeSet<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    let today = functions(&header("include"));
    assert_eq!(exported, today.keys().map(String::as_str).collect());

    let list = root().join("tests/abi/symbols.txt");
    let known = fs::read_to_string(&list).unwrap();
    let gone: Vec<&str> = known.lines().filter(|name| !exported.contains(name)).collect();
    assert!(gone.is_empty(), "gone: {gone:?}");
    if std::env::var_os("VAEKL_BLESS").is_some() {
        fs::write(&list, exported.iter().fold(String::new(), |text, name| text + name + "\n"))
            .unwrap();
    } else {
        assert_eq!(known.lines().collect::<BTreeSet<_>>(), exported);
    }
}

#[test]
fn the_functions_of_the_first_header_are_declared_alike() {
    let (first, today) = (functions(&header("tests/abi/first")), functions(&header("include")));
    assert!(first.len() >= 20, "{first:?}");
    for (name, declaration) in &first {
        assert_eq!(Some(declaration), today.get(name), "{name}");
    }
}
