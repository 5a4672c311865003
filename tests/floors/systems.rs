//! What differs from system to system stands in `src/os` alone, the command's in `cli/src/os.rs`.

use super::{rust, sources};

/// Conditions that `code` is compiled under: what stands in the parentheses of `cfg(`, `cfg!(` and
/// `cfg_attr(`.
fn conditions(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, word) in code.match_indices("cfg") {
        let rest = &code[at + word.len()..];
        let rest = rest.strip_prefix("_attr").or(rest.strip_prefix('!')).unwrap_or(rest);
        let Some(inside) = rest.strip_prefix('(') else { continue };
        let mut open = 1;
        let end = inside.find(|c| {
            open += i32::from(c == '(') - i32::from(c == ')');
            open == 0
        });
        found.push(&inside[..end.unwrap_or(inside.len())]);
    }
    found
}

/// Whether a condition asks for a system, rather than for a processor, a feature or a test.
fn asks_for_a_system(condition: &str) -> bool {
    let systems = ["unix", "windows", "target_os", "target_family", "target_env", "target_vendor"];
    condition.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| systems.contains(&word))
}

#[test]
fn conditions_are_found_however_they_are_written() {
    let text = r#"#[cfg(all(test, not(unix)))] fn f() { cfg!(target_os = "x") }
#[cfg_attr(windows, allow(dead_code))] #[cfg(feature = "unix")] #[cfg(target_arch = "y")]"#;
    let code = rust::code(text);
    let found: Vec<bool> = conditions(&code).into_iter().map(asks_for_a_system).collect();
    assert_eq!(found, [true, true, true, false, false]);
}

#[test]
fn systems_are_told_apart_in_os_alone() {
    let sources = sources::below("src").into_iter().chain(sources::below("cli/src"));
    let os = |path: &str| path.starts_with("src/os/") || path == "cli/src/os.rs";
    for file in sources.filter(|file| !os(&file.path)) {
        let (code, path) = (rust::code(&file.text), file.path);
        for condition in conditions(&code) {
            assert!(!asks_for_a_system(condition), "cfg({condition}) in {path}");
        }
        for name in ["std::os::", " os::unix", " os::linux", " os::windows", "libc", "memmap2"] {
            assert!(!code.contains(name), "{name} in {path}");
        }
    }
}
