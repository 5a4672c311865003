#![forbid(unsafe_code)]
//! The rows of a call, pulled one by one from a runner.

mod diffusers;
mod exact;
mod seamless;
mod tile;
mod whole;

use diffusers::DiffusersRows;
use exact::ExactRows;
use seamless::SeamlessRows;
use whole::WholeRows;

use super::budget::Call;
use super::plan::Plan;
use super::planes::{Fill, finite, input_name};
use super::runner::{MaskedFill, Runner};
use super::scheme::{Runs, Scheme};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::storage::Storage;
use crate::model::Model;
use crate::model::network::Part;

/// A call in progress, whose rows are pulled.
pub(super) struct Pull {
    scheme: Scheme,
    rows: RowSource,
    /// Whether a row was returned already.
    given: bool,
    /// Whether the caller accepts rows again.
    rewritable: bool,
}

/// The rows of each kind of scheme.
enum RowSource {
    /// All rows are computed.
    Whole(WholeRows),
    /// A row of tiles is computed when its first row is pulled.
    Diffusers(DiffusersRows),
    /// A row of tiles is computed when its first row is pulled; the input is already read.
    Seamless(SeamlessRows),
    /// A row of tiles is computed when its first row is pulled.
    Exact(ExactRows),
    /// The call failed, and does so again.
    Failed(Error),
}

impl Pull {
    /// Begins the call of `scheme` on the input of `fill`.
    ///
    /// # Errors
    /// Those of [`Session::decode`](crate::Session::decode), except for a wrong shape.
    pub(super) fn begin(
        model: &Model,
        runner: &mut Runner,
        scheme: Scheme,
        fill: &mut Fill<'_>,
    ) -> Result<Self> {
        Self::begin_masked(model, runner, scheme, fill, None)
    }

    /// Begins a call like [`Pull::begin`], with a masked picture if `scheme` has one.
    pub(super) fn begin_masked(
        model: &Model,
        runner: &mut Runner,
        scheme: Scheme,
        fill: &mut Fill<'_>,
        mut masked: Option<MaskedFill<'_>>,
    ) -> Result<Self> {
        runner.reserve(&scheme.plan(), scheme.resources)?;
        let again = masked.as_mut().map(MaskedFill::reborrow);
        let begun = RowSource::begin(model, runner, &scheme, fill, again);
        match with_same_files(model, begun) {
            Ok(rows) => Ok(Self { scheme, rows, given: false, rewritable: false }),
            Err(error) if widen(&error, &scheme, runner) => {
                let scheme = scheme.with_storage(Storage::Bf16, model)?;
                Self::begin_masked(model, runner, scheme, fill, masked)
            }
            Err(error) => Err(error),
        }
    }

    /// Marks the call's rows as rewritable: if the call begins anew, the caller accepts all rows
    /// again.
    pub(super) fn rewritable(self) -> Self {
        Self { rewritable: true, ..self }
    }

    /// Goes to the next row and returns its index; `None` after the last. `fill` is that of
    /// [`Pull::begin`].
    ///
    /// An overflow of `F16` begins the call anew in a type with more range, if no row was returned
    /// yet or rows are rewritable. All rows are computed again: no picture mixes types.
    ///
    /// # Errors
    /// `Cancelled`, `Io` if the scratch file fails; in tiles also arithmetic errors, and `Io` if a
    /// file of the weights has changed. Every later call fails with the same error.
    pub(super) fn advance(
        &mut self,
        model: &Model,
        runner: &mut Runner,
        fill: &mut Fill<'_>,
    ) -> Result<Option<usize>> {
        if let RowSource::Failed(error) = &self.rows {
            return Err(error.clone());
        }
        runner.threads.check_process()?;
        let error = match self.next(model, runner, fill) {
            Ok(row) => {
                self.given = true;
                return Ok(row);
            }
            Err(error) => error,
        };
        // Frees the old rows before new ones begin.
        self.rows = RowSource::Failed(error.clone());
        if !widen(&error, &self.scheme, runner) || (self.given && !self.rewritable) {
            return Err(error);
        }
        let again = self.scheme.with_storage(Storage::Bf16, model);
        match again.and_then(|scheme| Self::begin(model, runner, scheme, fill)) {
            Ok(begun) => *self = Self { rewritable: self.rewritable, ..begun },
            Err(error) => {
                self.rows = RowSource::Failed(error.clone());
                return Err(error);
            }
        }
        self.advance(model, runner, fill)
    }

    /// The next row of the same source.
    fn next(
        &mut self,
        model: &Model,
        runner: &mut Runner,
        fill: &mut Fill<'_>,
    ) -> Result<Option<usize>> {
        let whole = matches!(self.rows, RowSource::Whole(_));
        // A whole picture is done when its first row is given. A caller that takes all of them has
        // either none, after an error, or all: a cancel comes too late.
        if !(whole && self.given && self.rewritable) {
            runner.control.check()?;
        }
        let row = self.rows.advance(model, runner, &self.scheme, fill);
        if whole { row } else { with_same_files(model, row) }
    }

    /// The row that [`Pull::advance`] went to, interleaved.
    pub(super) fn row(&self) -> &[f32] {
        match &self.rows {
            RowSource::Whole(rows) => rows.row(),
            RowSource::Diffusers(rows) => rows.row(),
            RowSource::Seamless(rows) => rows.row(),
            RowSource::Exact(rows) => rows.row(),
            RowSource::Failed(_) => &[],
        }
    }

    /// Whether the input may still be read.
    pub(super) fn reads(&self) -> bool {
        match &self.rows {
            RowSource::Whole(_) | RowSource::Failed(_) => false,
            RowSource::Diffusers(_) => true,
            // Only if the call begins anew.
            RowSource::Seamless(_) => self.scheme.storage() == Storage::F16,
            RowSource::Exact(rows) => rows.reads() || self.scheme.storage() == Storage::F16,
        }
    }

    /// What the call needs.
    pub(super) fn plan(&self) -> Plan {
        self.scheme.plan()
    }

    /// The scheme that the call ended with, for the next such call.
    pub(super) fn into_scheme(self) -> Scheme {
        self.scheme
    }
}

/// If `error` is an overflow of `F16`, switches this and later calls of the session to `Bf16` and
/// returns true.
fn widen(error: &Error, scheme: &Scheme, runner: &mut Runner) -> bool {
    let overflow = error.kind() == ErrorKind::NonFinite && scheme.storage() == Storage::F16;
    if overflow {
        runner.storage = Storage::Bf16;
    }
    overflow
}

/// `result`, unless the weights' files have changed meanwhile: then it is worth nothing, and an
/// error of its own, such as a result that is not finite, only a consequence.
fn with_same_files<T>(model: &Model, result: Result<T>) -> Result<T> {
    if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Cancelled) {
        return result;
    }
    model.check_files()?;
    result
}

impl RowSource {
    fn begin(
        model: &Model,
        runner: &mut Runner,
        scheme: &Scheme,
        fill: &mut Fill<'_>,
        masked: Option<MaskedFill<'_>>,
    ) -> Result<Self> {
        let Scheme { request, runs, .. } = scheme;
        let network = request.network(model)?;
        let mut fill = finite(input_name(request.direction), network.in_channels(), fill);
        let call = Call {
            network: &network,
            part: Part::Whole,
            height: request.height,
            width: request.width,
        };
        Ok(match runs {
            Runs::Whole(planned) => {
                Self::Whole(WholeRows::begin(runner, &call, planned, &mut fill, masked)?)
            }
            Runs::Diffusers(tiles) => Self::Diffusers(DiffusersRows::begin(&call, tiles)),
            Runs::Seamless(tiles) => {
                Self::Seamless(SeamlessRows::begin(runner, &call, tiles, &mut fill)?)
            }
            Runs::Exact(tiles) => Self::Exact(ExactRows::begin(runner, &call, tiles, &mut fill)?),
        })
    }

    fn advance(
        &mut self,
        model: &Model,
        runner: &mut Runner,
        scheme: &Scheme,
        fill: &mut Fill<'_>,
    ) -> Result<Option<usize>> {
        match (self, &scheme.runs) {
            (Self::Whole(rows), _) => rows.advance(runner),
            (Self::Diffusers(rows), Runs::Diffusers(tiles)) => {
                rows.advance(model, runner, tiles, fill)
            }
            (Self::Seamless(rows), Runs::Seamless(tiles)) => rows.advance(model, runner, tiles),
            (Self::Exact(rows), Runs::Exact(tiles)) => rows.advance(model, runner, tiles, fill),
            (Self::Failed(error), _) => Err(error.clone()),
            _ => Err(Error::internal("rows of another scheme")),
        }
    }
}
