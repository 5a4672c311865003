#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.first().is_some_and(|first| matches!(first, 0x81..=0x8f | 0xde | 0xdf)) {
        common::open(bytes);
    }
});
