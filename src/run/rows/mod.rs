#![forbid(unsafe_code)]
//! The rows that a call gives, made out of a runner and pulled one by one.

mod diffusers;
mod seamless;
mod whole;

use diffusers::DiffusersRows;
use seamless::SeamlessRows;
use whole::WholeRows;

use super::budget::Call;
use super::plan::Plan;
use super::planes::{Fill, finite};
use super::runner::Runner;
use super::scheme::{Runs, Scheme};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::storage::Storage;
use crate::model::Model;
use crate::model::network::Part;

/// A call in progress, whose rows are pulled.
pub(super) struct Pull {
    scheme: Scheme,
    rows: Rows,
    /// Whether a row was given.
    given: bool,
    /// Whether rows that were given may be given again.
    rewritable: bool,
}

/// The rows of each kind of scheme.
enum Rows {
    /// All are made.
    Whole(WholeRows),
    /// A row of tiles is made when its first row is pulled.
    Diffusers(DiffusersRows),
    /// A row of tiles is made when its first row is pulled; the input has been read.
    Seamless(SeamlessRows),
    /// Those of a call that failed.
    Failed,
}

impl Pull {
    /// Begins the call of `scheme`, whose input is that of `fill`.
    ///
    /// # Errors
    /// As [`Session::decode`](crate::Session::decode), but for the shape of the input.
    pub(super) fn begin(
        model: &Model,
        runner: &mut Runner,
        scheme: Scheme,
        fill: &mut Fill<'_>,
    ) -> Result<Self> {
        runner.reserve(&scheme.plan(), scheme.resources)?;
        match Rows::begin(model, runner, &scheme, fill) {
            Ok(rows) => Ok(Self { scheme, rows, given: false, rewritable: false }),
            Err(error) if widen(&error, &scheme, runner) => {
                Self::begin(model, runner, scheme.stored_as(Storage::Bf16, model)?, fill)
            }
            Err(error) => Err(error),
        }
    }

    /// The same for who can take rows again, from the first: where the call begins anew.
    pub(super) fn rewritable(self) -> Self {
        Self { rewritable: true, ..self }
    }

    /// Goes to the next row, and tells which it is; `None` after the last. `fill` is that of
    /// [`Pull::begin`].
    ///
    /// An overflow of `F16` begins the call anew in a storage that has the range. No picture mixes
    /// storages: all of its rows are made again, where none was given or they may be given again.
    ///
    /// # Errors
    /// `Cancelled`; in tiles also those of the arithmetic, after which all others are `State`.
    pub(super) fn advance(
        &mut self,
        model: &Model,
        runner: &mut Runner,
        fill: &mut Fill<'_>,
    ) -> Result<Option<usize>> {
        runner.control.check()?;
        let error = match self.rows.advance(model, runner, &self.scheme, fill) {
            Ok(row) => {
                self.given = true;
                return Ok(row);
            }
            // A row that is made and could not be read is asked for again.
            Err(error) if matches!(self.rows, Rows::Whole(_)) => return Err(error),
            Err(error) => error,
        };
        // What it held goes before another begins.
        self.rows = Rows::Failed;
        if !widen(&error, &self.scheme, runner) || (self.given && !self.rewritable) {
            return Err(error);
        }
        let scheme = self.scheme.stored_as(Storage::Bf16, model)?;
        *self = Self { rewritable: self.rewritable, ..Self::begin(model, runner, scheme, fill)? };
        self.advance(model, runner, fill)
    }

    /// The row that [`Pull::advance`] went to, interleaved.
    pub(super) fn row(&self) -> &[f32] {
        match &self.rows {
            Rows::Whole(rows) => rows.row(),
            Rows::Diffusers(rows) => rows.row(),
            Rows::Seamless(rows) => rows.row(),
            Rows::Failed => &[],
        }
    }

    /// Whether more of the input may be read.
    pub(super) fn reads(&self) -> bool {
        match &self.rows {
            Rows::Whole(_) | Rows::Failed => false,
            Rows::Diffusers(_) => true,
            // Only to begin anew.
            Rows::Seamless(_) => self.scheme.storage() == Storage::F16,
        }
    }

    /// What the call needs.
    pub(super) fn plan(&self) -> Plan {
        self.scheme.plan()
    }

    /// How the call was worked on, for the next of its kind.
    pub(super) fn into_scheme(self) -> Scheme {
        self.scheme
    }
}

/// Stores what is planned from now on as `Bf16`, where `error` is an overflow in `F16`; later calls
/// of the session stay with it.
fn widen(error: &Error, scheme: &Scheme, runner: &mut Runner) -> bool {
    let overflow = error.kind() == ErrorKind::NonFinite && scheme.storage() == Storage::F16;
    if overflow {
        runner.storage = Storage::Bf16;
    }
    overflow
}

impl Rows {
    fn begin(
        model: &Model,
        runner: &mut Runner,
        scheme: &Scheme,
        fill: &mut Fill<'_>,
    ) -> Result<Self> {
        let Scheme { request, runs, .. } = scheme;
        let network = model.network(request.direction)?;
        let mut fill = finite(request.direction, network.in_channels(), fill);
        let call = Call {
            network: &network,
            part: Part::Whole,
            height: request.height,
            width: request.width,
        };
        Ok(match runs {
            Runs::Whole(planned) => {
                Self::Whole(WholeRows::begin(runner, &call, planned, &mut fill)?)
            }
            Runs::Diffusers(tiles) => Self::Diffusers(DiffusersRows::begin(&call, tiles)),
            Runs::Seamless(tiles) => {
                Self::Seamless(SeamlessRows::begin(runner, &call, tiles, &mut fill)?)
            }
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
            (Self::Failed, _) => Err(Error::new(ErrorKind::State, "the call has failed before")),
            _ => Err(Error::internal("rows of another scheme")),
        }
    }
}
