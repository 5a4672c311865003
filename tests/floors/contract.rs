//! `docs/security.md` says what the sources do: every limit of a source is in its table, and every
//! fault names a test that is there.

use std::collections::BTreeSet;

use super::rust::{code, tokens};
use super::sources;

const PAGE: &str = "docs/security.md";

/// A limit of the sources is a constant that is named like these, or begins with one of them and
/// `_`.
const LIMITS: [&str; 3] = ["MOST", "MAX", "LONGEST"];

/// Floors that see no file and no caller: their constants are of algorithms.
const INSIDE: [&str; 4] = ["src/arch/", "src/kernels/", "src/ops/", "src/backend/"];

/// The rows of the table after `<!-- NAME:`, each with its cells. Rows of a heading, with one cell
/// that is not empty, are left out, and so are the names of the columns.
fn rows<'a>(page: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let (_, rest) = page.split_once(&format!("<!-- {name}:")).expect(name);
    let (table, _) = rest.split_once(&format!("<!-- end of {name} -->")).expect(name);
    let lines = table.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let rows = lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let filled = |row: &Vec<&str>| row.iter().filter(|cell| !cell.is_empty()).count() > 1;
    rows.skip(2).filter(filled).collect()
}

/// `file` and `name` of each "`file::name`" of a cell.
fn named(cell: &str) -> Vec<(&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|text| text.split_once("::")).collect()
}

/// What is wrong with a cell that names tests.
fn wrong_tests(cell: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let tests = named(cell);
    let mut wrong: Vec<String> = Vec::new();
    if tests.is_empty() || cell.contains("PENDING") {
        wrong.push("has no test".into());
    }
    for (file, name) in tests {
        let is_there = read(file).is_some_and(|text| match file.rsplit_once('.') {
            Some((_, "rs")) => text.contains(&format!("fn {name}(")),
            Some((_, "py")) => text.contains(&format!("def {name}(")),
            Some((_, "go")) => text.contains(&format!("func {name}(")),
            // A check of a script or of a program in C: some words of it.
            _ => text.contains(name),
        });
        if !is_there {
            wrong.push(format!("names `{file}::{name}`, which is not there"));
        }
    }
    wrong
}

/// The limits that the sources have, as `file::NAME`.
fn limits() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in ["src", "cli/src"].into_iter().flat_map(sources::below) {
        if INSIDE.iter().any(|folder| source.path.starts_with(folder)) {
            continue;
        }
        let code = code(&source.text);
        for three in tokens(&code).windows(3) {
            let [keyword, name, colon] = three else { continue };
            let is_limit = LIMITS.iter().any(|limit| {
                name.text.strip_prefix(limit).is_some_and(|r| r.is_empty() || r.starts_with('_'))
            });
            if keyword.text == "const" && colon.text == ":" && is_limit {
                found.insert(format!("{}::{}", source.path, name.text));
            }
        }
    }
    found
}

/// The numbers that a cell begins its parts with: `16, 65,536 bytes, 1 GiB` has 16, 65536 and 2^30.
fn numbers(cell: &str) -> BTreeSet<u64> {
    let parts = cell.split(", ").filter_map(|part| {
        let (number, unit) = part.split_once(' ').unwrap_or((part, ""));
        let number: u64 = number.replace(',', "").parse().ok()?;
        let shift = ["KiB", "MiB", "GiB"].iter().position(|known| unit.starts_with(known));
        Some(number << shift.map_or(0, |at| 10 * (at + 1)))
    });
    parts.collect()
}

/// The value of the constant `name` in `text`, if it is a number or a power of two.
fn value(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(&format!("const {name}:"))?;
    let (_, value) = rest.split_once(';')?.0.split_once("= ")?;
    let (number, shift) = value.split_once(" << ").unwrap_or((value, "0"));
    Some(number.replace('_', "").parse::<u64>().ok()? << shift.parse::<u32>().ok()?)
}

#[test]
fn every_fault_names_its_test() {
    let page = sources::text(PAGE);
    let rows = rows(&page, "faults");
    assert!(rows.len() > 30, "only {} faults were found", rows.len());
    let read = |file: &str| sources::exists(file).then(|| sources::text(file));
    let mut wrong = Vec::new();
    for row in rows {
        assert_eq!(row.len(), 3, "{row:?}");
        wrong.extend(wrong_tests(row[2], read).iter().map(|what| format!("{}: {what}", row[0])));
    }
    assert!(wrong.is_empty(), "{PAGE}: {} faults:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_limit_of_the_sources_is_in_the_table() {
    let page = sources::text(PAGE);
    let rows = rows(&page, "limits");
    let told: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| named(row[2]))
        .map(|(file, name)| format!("{file}::{name}"))
        .collect();
    let there = limits();
    let missing: Vec<_> = there.difference(&told).collect();
    assert!(missing.is_empty(), "{PAGE}: limits that are not in its table: {missing:#?}");
    // Others may be in the table too, under any name.
    for (file, name) in rows.iter().flat_map(|row| named(row[2])) {
        let is_there =
            sources::exists(file) && sources::text(file).contains(&format!("const {name}:"));
        assert!(is_there, "{PAGE}: `{file}::{name}` is not there");
    }
    for row in rows {
        let values =
            named(row[2]).into_iter().map(|(file, name)| value(&sources::text(file), name));
        // One that is computed from others cannot be compared here.
        if let Some(values) = values.collect::<Option<BTreeSet<u64>>>() {
            assert_eq!(numbers(row[1]), values, "{PAGE}: {}", row[0]);
        }
    }
}

#[test]
fn a_fault_without_a_test_is_found() {
    let read = |file: &str| (file == "tests/a.rs").then(|| "fn one() {}".to_owned());
    assert_eq!(wrong_tests("`tests/a.rs::one`", read), [""; 0]);
    assert_eq!(wrong_tests("", read), ["has no test"]);
    assert_eq!(wrong_tests("`tests/a.rs::one`, PENDING", read), ["has no test"]);
    let gone = wrong_tests("`tests/a.rs::on`, `tests/b.rs::one`", read);
    let expected = ["tests/a.rs::on", "tests/b.rs::one"];
    assert_eq!(gone, expected.map(|test| format!("names `{test}`, which is not there")));
}

#[test]
fn rows_of_a_table_are_read() {
    let page = "<!-- x: y -->\n\n| a | b |\n|---|---|\n| **A** | |\n| c | `d::E` |\n\
                <!-- end of x -->\n| f | g |\n";
    assert_eq!(rows(page, "x"), [["c", "`d::E`"]]);
    assert_eq!(named("`d::E`, `f`"), [("d", "E")]);
    assert_eq!(numbers("16, 65,536 bytes, 1 GiB, all"), [16, 65_536, 1 << 30].into());
    let text = "const MOST: u64 = 1 << 20; const MOST_AXES: usize = 1_000; const LONGEST: u8 = N;";
    let values = ["MOST", "MOST_AXES", "LONGEST"].map(|name| value(text, name));
    assert_eq!(values, [Some(1 << 20), Some(1000), None]);
}
