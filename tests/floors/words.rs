//! One word, one meaning: the words that `CONTRIBUTING.md` retires do not return as identifiers.

use std::fs;
use std::path::Path;

use super::rust::{code, tokens};
use super::sources;

/// What the table below "## Words" has in its last column, in backticks.
fn retired(guide: &str) -> Vec<&str> {
    let section = guide.split_once("\n## Words\n").map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or("");
    let cells = section.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

/// The words of an identifier in snake or camel case, in small letters.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && small) {
            words.push(String::new());
        }
        small = c.is_lowercase();
        words.last_mut().unwrap().extend(c.to_lowercase().filter(|c| *c != '_'));
    }
    words
}

/// The identifiers of `text` that have a retired word, and the types that have a retired name.
fn found<'t>(text: &'t str, retired: &[&str]) -> Vec<&'t str> {
    let tokens = tokens(text);
    let before = std::iter::once("").chain(tokens.iter().map(|token| token.text));
    let wrong = tokens.iter().zip(before).filter(|(token, before)| {
        let defined = matches!(*before, "struct" | "enum" | "trait" | "type" | "union");
        let words = words(token.text);
        token.is_name()
            && retired.iter().any(|word| match word.starts_with(char::is_uppercase) {
                true => defined && token.text == *word,
                false => words.iter().any(|part| part == word),
            })
    });
    wrong.map(|(token, _)| token.text).collect()
}

#[test]
fn retired_words_do_not_return() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRIBUTING.md");
    let guide = fs::read_to_string(guide).unwrap();
    let retired = retired(&guide);
    assert!(retired.len() > 8, "the glossary was not found: {retired:?}");
    let mut wrong = Vec::new();
    for folder in ["src", "cli/src", "benches"] {
        for source in sources::below(folder).iter().filter(|file| file.path.ends_with(".rs")) {
            let code = code(&source.text);
            let found = found(&code, &retired);
            wrong.extend(found.iter().map(|name| format!("{}: {name}", source.path)));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn words_are_found_in_identifiers_of_both_cases() {
    let retired = ["stored", "Tiles"];
    let code = "struct Tiles; fn stored_at(x: StoredF32, restored: Tiles) { Tiles::STORED }";
    assert_eq!(found(code, &retired), ["Tiles", "stored_at", "StoredF32", "STORED"]);
}

#[test]
fn the_glossary_is_read() {
    let guide = "# A\n| a | b | `no` |\n\n## Words\n\n| w | m | instead of |\n|---|---|---|\n\
                 | `spilled` | `x` | `stored`, `Stored` |\n| y | z | |\n\n## B\n| a | b | `no` |\n";
    assert_eq!(retired(guide), ["stored", "Stored"]);
}
