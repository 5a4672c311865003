#![forbid(unsafe_code)]
//! The rows that a call gives, made out of a runner and pulled one by one.

mod diffusers;
mod seamless;
mod whole;

use std::sync::Arc;

use diffusers::DiffusersRows;
use seamless::SeamlessRows;
use whole::WholeRows;

use super::budget::Call;
use super::planes::{Fill, finite};
use super::runner::Runner;
use super::scheme::{Runs, Scheme};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::storage::Storage;
use crate::model::Model;
use crate::model::network::Part;

/// A call in progress, whose rows are pulled.
pub(super) struct Pull {
    scheme: Arc<Scheme>,
    rows: Rows,
    /// Whether a row was given.
    given: bool,
}

/// The rows of each kind of scheme.
enum Rows {
    /// All are made.
    Whole(WholeRows),
    /// A row of tiles is made when its first row is pulled.
    Diffusers(DiffusersRows),
    /// A row of tiles is made when its first row is pulled; the input has been read.
    Seamless(SeamlessRows),
}

impl Pull {
    /// Begins the call of `scheme`, whose input is that of `fill`.
    ///
    /// # Errors
    /// As [`Session::decode`](crate::Session::decode), but for the shape of the input.
    pub(super) fn begin(
        model: &Model,
        runner: &mut Runner,
        scheme: Arc<Scheme>,
        fill: &mut Fill<'_>,
    ) -> Result<Self> {
        runner.reserve(&scheme.plan(), scheme.resources)?;
        match Rows::begin(model, runner, &scheme, fill) {
            Ok(rows) => Ok(Self { scheme, rows, given: false }),
            Err(error) => {
                let scheme = wider(error, &scheme, model, runner)?;
                Self::begin(model, runner, scheme, fill)
            }
        }
    }

    /// Goes to the next row, and tells which it is; `None` after the last. `fill` is that of
    /// [`Pull::begin`].
    ///
    /// # Errors
    /// `NonFinite` where the arithmetic overflows after rows were given. In f16 storage
    /// [`Pull::again`] then begins anew.
    pub(super) fn advance(
        &mut self,
        model: &Model,
        runner: &mut Runner,
        fill: &mut Fill<'_>,
    ) -> Result<Option<usize>> {
        match self.rows.advance(model, runner, &self.scheme, fill) {
            Ok(row) => {
                self.given = true;
                Ok(row)
            }
            Err(error) if self.given => {
                widen(&error, &self.scheme, runner);
                Err(error)
            }
            Err(error) => {
                // Nobody has seen a row yet.
                self.again(error, model, runner, fill)?;
                self.advance(model, runner, fill)
            }
        }
    }

    /// Begins anew in a storage that has the range, where `error` is an overflow of `F16`; gives
    /// the error back where it is another. No picture mixes storages: all of its rows are made
    /// again.
    pub(super) fn again(
        &mut self,
        error: Error,
        model: &Model,
        runner: &mut Runner,
        fill: &mut Fill<'_>,
    ) -> Result<()> {
        let scheme = wider(error, &self.scheme, model, runner)?;
        *self = Self::begin(model, runner, scheme, fill)?;
        Ok(())
    }

    /// The row that [`Pull::advance`] went to, interleaved.
    pub(super) fn row(&self) -> &[f32] {
        match &self.rows {
            Rows::Whole(rows) => rows.row(),
            Rows::Diffusers(rows) => rows.row(),
            Rows::Seamless(rows) => rows.row(),
        }
    }

    /// Whether more of the input is to be read.
    pub(super) fn reads(&self) -> bool {
        // An overflow in tiles begins anew, before a row was given.
        !matches!(self.rows, Rows::Whole(_))
    }

    /// How the call is worked on.
    pub(super) fn scheme(&self) -> &Arc<Scheme> {
        &self.scheme
    }
}

/// The scheme in `Bf16`, which has the range, after an overflow in `F16`; later calls of the
/// session stay with it.
fn wider(error: Error, scheme: &Scheme, model: &Model, runner: &mut Runner) -> Result<Arc<Scheme>> {
    if !widen(&error, scheme, runner) {
        return Err(error);
    }
    Ok(Arc::new(scheme.stored_as(Storage::Bf16, model)?))
}

/// Stores what is planned from now on as `Bf16`, where `error` is an overflow in `F16`.
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
            _ => Err(Error::internal("rows of another scheme")),
        }
    }
}
