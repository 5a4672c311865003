#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"PK") || bytes.first() == Some(&0x80) {
        common::open(bytes);
    }
});
