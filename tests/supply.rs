//! What the project is made of, beyond its own sources: every dependency has a reason, comes from
//! the registry and has a licence that `deny.toml` allows; no crate is there twice unless that file
//! says why; and the release's list of parts (`scripts/sbom.py`) is complete. `scripts/supply` asks
//! `cargo deny` the same, and for known vulnerabilities.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
const MANIFESTS: [&str; 2] = ["Cargo.toml", "cli/Cargo.toml"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A dependency of a manifest: its section, its name, and the line above it.
struct Dependency<'a> {
    section: &'a str,
    name: &'a str,
    above: &'a str,
}

fn dependencies(manifest: &str) -> Vec<Dependency<'_>> {
    let (mut section, mut above, mut found) = ("", "", Vec::new());
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            // `[dependencies.name]` would hide its name from what follows.
            assert!(!name.contains("dependencies."), "[{name}]: write it in one line");
            section = name;
        } else if section.ends_with("dependencies")
            && line.starts_with(|c: char| c.is_alphanumeric())
        {
            let name = line.split([' ', '=', '.']).next().unwrap();
            found.push(Dependency { section, name, above });
        }
        above = line;
    }
    found
}

/// A package of `Cargo.lock`: its fields.
fn locked(lock: &str) -> Vec<BTreeMap<&str, &str>> {
    let packages = lock.split("[[package]]").skip(1);
    let fields = packages.map(|package| {
        let lines = package.lines().filter_map(|line| line.split_once(" = "));
        lines.map(|(key, value)| (key, value.trim_matches('"'))).collect()
    });
    fields.collect()
}

/// The texts in quotes of a list in `deny.toml`, which begins with `NAME = [`.
fn list<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let start = text.find(&format!("\n{name} = [")).unwrap_or_else(|| panic!("no {name}"));
    let list = &text[start..];
    let end = list.find("]\n").unwrap();
    list[..end].split('"').skip(1).step_by(2).collect()
}

/// The lines of the section `[NAME]` of `deny.toml` that are a table, each with its quoted texts.
fn tables<'a>(text: &'a str, section: &str) -> Vec<Vec<&'a str>> {
    let (_, rest) = text.split_once(&format!("\n[{section}]\n")).unwrap();
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    let tables = lines.filter(|line| line.trim_start().starts_with('{'));
    tables.map(|line| line.split('"').skip(1).step_by(2).collect()).collect()
}

/// Whether an SPDX expression can be met with licences of `allowed`: AND binds closer than OR.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = alternatives(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "{expression}");
    met
}

fn alternatives(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(words, at, allowed);
    }
    met
}

fn all_of(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = licence(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= licence(words, at, allowed);
    }
    met
}

fn licence(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let word = words[*at];
    *at += 1;
    if word == "(" {
        let met = alternatives(words, at, allowed);
        *at += 1;
        return met;
    }
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
        return false; // An exception is another licence, and none is allowed.
    }
    allowed.contains(&word)
}

/// `cargo metadata` of what this machine's build needs, which is on this machine.
fn metadata() -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["metadata", "--format-version", "1", "--locked", "--offline"]);
    let output = cargo.args(["--features", "vaekl/capi", "--filter-platform", &host()]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("{field} of {value}"))
}

#[test]
fn every_dependency_has_its_reason() {
    let mut seen = 0;
    for manifest in MANIFESTS {
        let manifest_text = read(manifest);
        for Dependency { section, name, above } in dependencies(&manifest_text) {
            let reason = above.strip_prefix("# ").unwrap_or("");
            assert!(reason.len() > 8, "{manifest}: [{section}] {name} has no reason above it");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} dependencies were found");
}

#[test]
fn crates_come_from_the_registry_with_their_checksums() {
    let lock = read("Cargo.lock");
    let packages = locked(&lock);
    let foreign: Vec<_> = packages.iter().filter(|one| one.contains_key("source")).collect();
    assert_eq!(packages.len() - foreign.len(), MANIFESTS.len(), "packages of our own");
    assert!(foreign.len() > 50);
    for package in foreign {
        assert_eq!(package["source"], REGISTRY, "{}", package["name"]);
        assert_eq!(package["checksum"].len(), 64, "{}", package["name"]);
    }
}

#[test]
fn crates_of_two_versions_are_those_that_deny_toml_names() {
    let (lock, deny) = (read("Cargo.lock"), read("deny.toml"));
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in locked(&lock) {
        versions.entry(package["name"]).or_default().push(package["version"]);
    }
    versions.retain(|_, versions| versions.len() > 1);
    for skipped in tables(&deny, "bans") {
        let (name, old) = skipped[0].split_once('@').unwrap();
        assert!(skipped[1].len() > 2, "{name} has no reason");
        let known = versions.get_mut(name).unwrap_or_else(|| panic!("{name} is there once"));
        known.retain(|version| !version.starts_with(&format!("{old}.")));
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "more than one version: {versions:?}");
}

#[test]
fn licences_are_those_that_deny_toml_allows() {
    let deny = read("deny.toml");
    let (allowed, exceptions) = (list(&deny, "allow"), tables(&deny, "licenses"));
    let metadata = metadata();
    let packages = items(&metadata, "packages");
    assert!(packages.len() > 50);
    for package in packages {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        let special = exceptions.iter().find(|exception| exception[0] == name);
        let more = special.map_or(&[][..], |exception| &exception[1..]);
        let allowed = [&allowed[..], more].concat();
        assert!(is_met(licence, &allowed), "{name}: {licence}");
    }
}

/// Every crate that links into a release: those that cannot be left out are in the list, and no
/// other than those that can be.
#[test]
fn the_list_of_parts_is_complete_and_valid() {
    let mut python = Command::new("python3");
    python.current_dir(root()).arg("scripts/sbom.py").args([&host(), "1700000000"]);
    let output = match python.env("CARGO_NET_OFFLINE", "true").output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: python3: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(text(&document, "spdxVersion"), "SPDX-2.3");
    assert_eq!(text(&document, "dataLicense"), "CC0-1.0");
    assert_eq!(text(&document, "SPDXID"), "SPDXRef-DOCUMENT");
    assert!(text(&document, "name").starts_with("vaekl-"));
    assert!(text(&document, "documentNamespace").starts_with("https://"));
    assert_eq!(text(&document["creationInfo"], "created"), "2023-11-14T22:13:20Z");
    assert!(
        items(&document["creationInfo"], "creators")[0].as_str().unwrap().starts_with("Tool: ")
    );

    let lock = read("Cargo.lock");
    let sums: BTreeMap<_, _> = locked(&lock)
        .into_iter()
        .map(|one| ((one["name"], one["version"]), one.get("checksum").copied()))
        .collect();
    let mut identifiers = BTreeSet::from(["SPDXRef-DOCUMENT"]);
    let mut listed = BTreeSet::new();
    for package in items(&document, "packages") {
        let (name, version) = (text(package, "name"), text(package, "versionInfo"));
        assert!(identifiers.insert(text(package, "SPDXID")), "{name}: twice");
        assert!(
            !text(package, "downloadLocation").is_empty() && !package["filesAnalyzed"].is_null()
        );
        assert!(!text(package, "copyrightText").is_empty());
        let licence = text(package, "licenseDeclared");
        assert!(!licence.contains('/') && licence.len() > 2, "{name}: {licence}");
        if name == "rust-std" {
            continue;
        }
        let found = package["checksums"][0]["checksumValue"].as_str();
        assert_eq!(found, sums[&(name, version)], "{name}");
        let purl = text(&package["externalRefs"][0], "referenceLocator");
        assert_eq!(purl, format!("pkg:cargo/{name}@{version}"));
        listed.insert((name, version));
    }
    for relation in items(&document, "relationships") {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            assert!(identifiers.contains(text(relation, end)), "{relation}");
        }
    }

    let metadata = metadata();
    let (least, most) = (linked(&metadata, false), linked(&metadata, true));
    let missing: Vec<_> = least.difference(&listed).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    let odd: Vec<_> = listed.difference(&most).collect();
    assert!(odd.is_empty(), "do not link: {odd:?}");
    assert!(!listed.iter().any(|(name, _)| ["cbindgen", "sha2", "tempfile"].contains(name)));
}

/// Name and version of what our packages need to run, and what that needs: with optional
/// dependencies, which may be off, or without.
fn linked(metadata: &Value, optional: bool) -> BTreeSet<(&str, &str)> {
    let packages: BTreeMap<&str, &Value> =
        items(metadata, "packages").iter().map(|one| (text(one, "id"), one)).collect();
    let nodes: BTreeMap<&str, &Value> =
        items(&metadata["resolve"], "nodes").iter().map(|one| (text(one, "id"), one)).collect();
    let own = items(metadata, "workspace_members").iter().map(|id| id.as_str().unwrap());
    let mut open: Vec<&str> = own.collect();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        let package = packages[id];
        if !found.insert((text(package, "name"), text(package, "version"))) {
            continue;
        }
        for needed in items(nodes[id], "deps") {
            let at_run_time = items(needed, "dep_kinds").iter().any(|one| one["kind"].is_null());
            let id = text(needed, "pkg");
            let target = &packages[id]["targets"][0]["kind"][0];
            if at_run_time && target != "proc-macro" && (optional || must(package, packages[id])) {
                open.push(id);
            }
        }
    }
    found
}

/// Whether `package` cannot do without `needed`.
fn must(package: &Value, needed: &Value) -> bool {
    items(package, "dependencies").iter().any(|one| {
        one["name"] == needed["name"] && one["kind"].is_null() && one["optional"] == false
    })
}

#[test]
fn expressions_of_licences_are_understood() {
    let met = |expression: &str| is_met(expression, &["MIT", "Apache-2.0"]);
    assert!(met("MIT") && met("GPL-3.0 OR MIT") && met("MIT/GPL-3.0"));
    assert!(met("(MIT OR GPL-3.0) AND Apache-2.0") && met("GPL-3.0 OR MIT AND Apache-2.0"));
    assert!(!met("GPL-3.0") && !met("MIT AND GPL-3.0") && !met("(MIT OR Apache-2.0) AND GPL-3.0"));
    assert!(!met("Apache-2.0 WITH LLVM-exception"));
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let manifest = r#"[dependencies]
# Because of this.
a = "1"
b = { version = "1", features = [
  "c",
] }
[features]
d = []
[target.'cfg(x)'.dev-dependencies]

e.workspace = true
"#;
    let found = dependencies(manifest);
    let names: Vec<_> = found.iter().map(|one| (one.section, one.name, one.above)).collect();
    assert_eq!(names[0], ("dependencies", "a", "# Because of this."));
    assert_eq!(names[1], ("dependencies", "b", "a = \"1\""));
    assert_eq!(names[2], ("target.'cfg(x)'.dev-dependencies", "e", ""));
    assert_eq!(names.len(), 3);
}
