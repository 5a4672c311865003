#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vaekl_fuzz::library::folder::index(bytes));
