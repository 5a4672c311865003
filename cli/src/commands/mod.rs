//! The subcommands.

mod decode;
mod encode;
mod info;
mod plan;
mod reconstruct;

use std::path::Path;
use std::time::Instant;

use crate::args::{Arguments, Command, Options};
use crate::failure::Result;
use crate::interrupt::Interrupt;
use crate::report::{self, Report};

/// What every subcommand is given.
struct Context<'a> {
    options: &'a Options,
    interrupt: Interrupt,
    start: Instant,
}

/// Runs the subcommand of `arguments`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let context = Context { options: &arguments.options, interrupt: Interrupt::install()?, start };
    match &arguments.command {
        Command::Reconstruct(arguments) => reconstruct::run(&context, arguments),
        Command::Encode(arguments) => encode::run(&context, arguments),
        Command::Decode(arguments) => decode::run(&context, arguments),
        Command::Plan(arguments) => plan::run(&context, arguments),
        Command::Info(arguments) => info::run(&context, arguments),
    }
}

impl Context<'_> {
    /// Tells the user something that is neither result nor error.
    fn remark(&self, line: &str) {
        if !self.options.quiet {
            report::remark(line);
        }
    }

    /// Prints the result: `report` with `--json`, else `text` unless `--quiet`.
    fn finish(&self, mut report: Report, model: Option<&Path>, text: &str) -> Result<()> {
        if !self.options.json {
            return if self.options.quiet { Ok(()) } else { report::print(text) };
        }
        let name = model.map_or("embedded".into(), |path| path.to_string_lossy());
        report.set("model", name.as_ref());
        report.set("peak_rss_mb", report::peak_rss_mb());
        report.set_seconds("total_s", self.start.elapsed().as_secs_f64());
        report.print()
    }
}
