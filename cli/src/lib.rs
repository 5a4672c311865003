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
//! | `jpeg`, `webp`, `coded` | what a file says of itself, before anything is decoded |
//! | `resize`, `raster` | Pillow's Lanczos; pictures in memory |
//! | `latents` | latents in files, and what the files say of them |
//! | `arrays` | `.npy`, `.npz`, `.safetensors` and PyTorch's files |
//! | `limits`, `memory`, `parts` | how much is read; vectors that can fail; parts of a file |
//! | `output` | files that appear whole or not at all |
//! | `report` | what is printed at the end |
//! | `interrupt`, `progress`, `failure` | Ctrl-C, the bar, errors and exit codes |
//! | `os` | what differs by system |
//! | `fuzzing` | the readers, for `fuzz/` |
//!
//! It is a library so that `fuzz/` reaches its readers: nothing of it is an interface.
#![forbid(unsafe_code)]
#![doc(hidden)]

mod args;
mod arrays;
mod coded;
mod commands;
mod embedded;
mod engine;
mod failure;
pub mod fuzzing;
mod interrupt;
mod jpeg;
mod latents;
mod limits;
mod mask;
mod memory;
mod os;
mod output;
mod parts;
mod picture;
mod png_rows;
mod progress;
mod raster;
mod report;
mod resize;
mod sample;
mod webp;

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use vaekl::visible;

use args::Arguments;
use failure::Result;

/// What the program does: its exit code.
pub fn main() -> ExitCode {
    os::refuse_file_size_signal();
    let done = match Arguments::try_parse() {
        Ok(arguments) => commands::run(&arguments),
        Err(error) => match tell(&error) {
            Ok(()) => return error.exit_code().try_into().map_or(ExitCode::FAILURE, u8::into),
            Err(failure) => Err(failure),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell().into(),
    }
}

/// Prints a help text to stdout, or what is wrong with the command line to stderr.
fn tell(error: &clap::Error) -> Result<()> {
    if !error.use_stderr() {
        return report::told(error.print().and_then(|()| io::stdout().flush()));
    }
    // Colours are clap's own. What else a terminal acts on comes from names that a shell may have
    // found in a folder.
    let steers = |argument: std::ffi::OsString| {
        matches!(visible(&argument.to_string_lossy()), Cow::Owned(_))
    };
    if !std::env::args_os().any(steers) {
        let _ = error.print();
        return Ok(());
    }
    for line in error.render().to_string().lines() {
        let _ = writeln!(io::stderr(), "{}", visible(line));
    }
    Ok(())
}
