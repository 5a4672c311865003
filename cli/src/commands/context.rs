//! What every subcommand is given.

use std::path::Path;
use std::time::Instant;

use crate::args::Options;
use crate::failure::Result;
use crate::interrupt::Interrupt;
use crate::report::{self, Report};

/// The options for all subcommands, Ctrl-C, and the clock.
pub(super) struct Context<'a> {
    pub(super) options: &'a Options,
    pub(super) interrupt: Interrupt,
    start: Instant,
}

impl<'a> Context<'a> {
    /// Starts the clock, and takes Ctrl-C over.
    pub(super) fn new(options: &'a Options) -> Result<Self> {
        let start = Instant::now();
        let (interrupt, left_alone) = Interrupt::install()?;
        let context = Self { options, interrupt, start };
        if let Some(error) = left_alone {
            context.remark(&format!("Ctrl-C ends the command at once: {error}"));
        }
        Ok(context)
    }

    /// Tells the user something that is neither result nor error.
    pub(super) fn remark(&self, line: &str) {
        if !self.options.quiet {
            report::remark(line);
        }
    }

    /// Prints the result: `report` with `--json`, else `text` unless `--quiet`.
    pub(super) fn finish(&self, report: Report, model: Option<&Path>, text: &str) -> Result<()> {
        self.finish_lines(report, model, &[text.to_owned()])
    }

    /// [`Context::finish`] with several lines of text.
    pub(super) fn finish_lines(
        &self,
        mut report: Report,
        model: Option<&Path>,
        lines: &[String],
    ) -> Result<()> {
        if !self.options.json {
            return if self.options.quiet { Ok(()) } else { report::print(lines) };
        }
        let name = model.map_or("embedded".into(), |path| path.to_string_lossy());
        report.set("model", name.as_ref());
        report.set("peak_rss_mb", report::peak_rss_mb());
        report.set_seconds("total_s", self.start.elapsed().as_secs_f64());
        report.print()
    }
}
