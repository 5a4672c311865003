//! `vaekl`: encodes pictures to latents and decodes latents to pictures, on CPUs. All of it is in
//! the library beside it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vaekl_cli::main()
}
