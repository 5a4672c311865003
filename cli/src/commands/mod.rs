//! The subcommands.

mod context;
mod convert;
mod decode;
mod encode;
mod info;
mod plan;
mod reconstruct;

use crate::args::{Arguments, Command};
use crate::failure::Result;
use context::Context;

/// Runs the subcommand of `arguments`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let context = Context::new(&arguments.options)?;
    match &arguments.command {
        Command::Reconstruct(arguments) => reconstruct::run(&context, arguments),
        Command::Encode(arguments) => encode::run(&context, arguments),
        Command::Decode(arguments) => decode::run(&context, arguments),
        Command::Plan(arguments) => plan::run(&context, arguments),
        Command::Info(arguments) => info::run(&context, arguments),
        Command::Convert(arguments) => convert::run(&context, arguments),
    }
}
