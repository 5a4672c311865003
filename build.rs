//! Gives the shared library its soname, so that programs linked against it ask for this ABI.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // 0: every 0.x may break the ABI of the one before; from 1.0 on this is the major version.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libvaekl.so.0");
    }
}
