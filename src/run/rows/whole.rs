#![forbid(unsafe_code)]
//! The rows of a call of one run.

use crate::backend::Statistics;
use crate::base::buffer::{AlignedBuf, cast};
use crate::base::error::Result;
use crate::run::budget::{Call, Planned};
use crate::run::control::Meter;
use crate::run::planes::Fill;
use crate::run::runner::{Io, Made, MaskedFill, RunInput, Runner};

/// The rows of a run's output, which the runner holds until its next run.
pub(super) struct WholeRows {
    made: Made,
    /// The row read last.
    row: AlignedBuf,
    next: usize,
}

impl WholeRows {
    /// Runs `call` on the rows of `fill`.
    pub(super) fn begin(
        runner: &mut Runner,
        call: &Call<'_>,
        planned: &Planned,
        fill: &mut Fill<'_>,
        masked: Option<MaskedFill<'_>>,
    ) -> Result<Self> {
        let mut meter = Meter::new(planned.plan.multiply_adds);
        let (input, statistics) = (RunInput::Rows(fill), Statistics::Own);
        // As fields, so that each takes a lifetime of its own.
        let masked = masked.map(|MaskedFill { picture, mask }| MaskedFill { picture, mask });
        let made =
            runner.run(call, planned, Io { input, masked, statistics, meter: &mut meter })?;
        Self::of(made)
    }

    /// The rows of a run's output, in `F32`.
    pub(super) fn of(made: Made) -> Result<Self> {
        let shape = made.shape();
        let row = AlignedBuf::zeroed(shape.width * shape.channels * size_of::<f32>(), "a row")?;
        Ok(Self { made, row, next: 0 })
    }

    /// Goes to the next row. A row that could not be read can be asked for again.
    pub(super) fn advance(&mut self, runner: &mut Runner) -> Result<Option<usize>> {
        let shape = self.made.shape();
        if self.next == shape.height {
            return Ok(None);
        }
        runner.read(&self.made, self.next, 0..shape.width, &mut self.row)?;
        self.next += 1;
        Ok(Some(self.next - 1))
    }

    pub(super) fn row(&self) -> &[f32] {
        cast(&self.row)
    }
}
