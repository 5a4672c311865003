#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vaekl_fuzz::library::c_interface::c_interface(bytes));
