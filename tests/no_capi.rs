//! Without the feature `capi` the library exports no function of the C interface.
#![cfg(all(target_os = "linux", not(feature = "capi")))]

use std::process::Command;

#[test]
fn no_function_of_the_c_interface_is_exported() {
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("libvaekl.so");
    assert!(library.exists(), "{} was not built", library.display());
    let listed = match Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: nm: {error}"),
    };
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let symbols = String::from_utf8(listed.stdout).unwrap();
    let exported: Vec<&str> = symbols.lines().filter(|line| line.contains("vaekl_")).collect();
    assert!(exported.is_empty(), "{exported:?}");
}
