//! Gives the shared library its soname, so that programs linked against it ask for this ABI.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Counts breaks of the binary interface, not versions; tests/abi.rs holds it.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libvaekl.so.0");
    }
}
