//! `vaekl`: encodes pictures to latents and decodes latents to pictures, on CPUs.
//!
//! A thin user of the library's public API. From top to bottom:
//!
//! | module | what lives there |
//! |---|---|
//! | `args` | the command line, and the help texts |
//! | `commands` | one file per subcommand |
//! | `engine` | a model and a session for one command: timing, progress, cancelling |
//! | `sample` | pictures or arrays as the encoder takes them and the decoder gives them |
//! | `mask` | what an `AsymmetricAutoencoderKL` draws of a picture, and what it keeps |
//! | `picture`, `png_rows` | png, jpeg and webp files, whole; png files row by row |
//! | `resize`, `raster` | Pillow's Lanczos; pictures in memory |
//! | `latents` | latents in files, and what the files say of them |
//! | `arrays` | `.npy`, `.npz`, `.safetensors` and PyTorch's files |
//! | `output` | files that appear whole or not at all |
//! | `report` | what is printed at the end |
//! | `interrupt`, `progress`, `failure` | Ctrl-C, the bar, errors and exit codes |
//! | `fuzzing` | the readers, for `fuzz/` |
//!
//! It is a library so that `fuzz/` reaches its readers: nothing of it is an interface.
#![forbid(unsafe_code)]
#![doc(hidden)]

mod args;
mod arrays;
mod commands;
mod embedded;
mod engine;
mod failure;
pub mod fuzzing;
mod interrupt;
mod latents;
mod mask;
mod output;
mod picture;
mod png_rows;
mod progress;
mod raster;
mod report;
mod resize;
mod sample;

use std::process::ExitCode;

use clap::Parser;

use args::Arguments;

/// What the program does: its exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match commands::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell().into(),
    }
}
