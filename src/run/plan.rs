#![forbid(unsafe_code)]
//! What a call will need, found by running the network on the recorder.

use crate::arch::Level;
use crate::backend::{Algorithm, Backend, Slot};
use crate::base::buffer::physical_memory;
use crate::base::error::{Error, ErrorKind, Result};
#[cfg(feature = "bench")]
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::kernels::{Kernels, Panels, threads};
use crate::model::blocks::Settings;
use crate::model::window::Window;
use crate::model::{Model, decoder, encoder};

#[cfg(feature = "bench")]
use super::budget::Planned;
use super::budget::{Call, plan_call};
use super::options::SessionOptions;

/// What a call will need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Bytes of workspace: activations and scratch memory, to the byte.
    pub workspace_bytes: u64,
    /// Bytes of the scratch file, 0 without one.
    pub scratch_bytes: u64,
    /// An upper bound of the process's memory during the call: workspace, the weights that are resident at
    /// a time, and 16 MiB for the process itself. What the caller holds comes to it.
    pub peak_bytes: u64,
    /// Multiply-adds, counted as direct convolutions.
    pub multiply_adds: u64,
    /// Whether the result is that of the whole picture in one piece.
    pub exact: bool,
    /// Tiles in a row and in a column, 1 when the picture is worked on whole.
    pub tiles_x: usize,
    /// Likewise.
    pub tiles_y: usize,
    /// Latent pixels of a tile's side, 0 without tiles.
    pub tile_size: usize,
}

impl Plan {
    /// Whether the machine has the memory for it. A session refuses a call that does not pass; asking
    /// first spares the reading of its input.
    ///
    /// ```
    /// use vaekl::{ErrorKind, Model, SessionOptions, plan_encode};
    ///
    /// let model = Model::open("models/default")?;
    /// let plan = plan_encode(&model, &SessionOptions::default(), 1 << 20, 1 << 20)?;
    /// assert_eq!(plan.fits_machine().unwrap_err().kind(), ErrorKind::OutOfMemory);
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    ///
    /// # Errors
    /// `OutOfMemory`, with the bytes needed and those the machine has.
    pub fn fits_machine(&self) -> Result<()> {
        match physical_memory() {
            Some(have) if self.workspace_bytes > have => {
                let need = self.workspace_bytes;
                let message = format!("{need} bytes of workspace needed, the machine has {have}");
                Err(Error::new(ErrorKind::OutOfMemory, message))
            }
            _ => Ok(()),
        }
    }
}

/// Which network a call runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Decode,
    Encode,
}

/// What the plan of a call depends on beside the model.
#[derive(Clone, Copy)]
pub(crate) struct Resources {
    pub(crate) settings: Settings,
    pub(crate) algorithm: Algorithm,
    pub(crate) panels: Panels,
    pub(crate) threads: usize,
    /// Bytes, 0 for no limit.
    pub(crate) budget: u64,
    /// Whether there is a folder for a scratch file.
    pub(crate) scratch: bool,
    /// Bytes of workspace that the caller has, if it is the caller's.
    pub(crate) workspace: u64,
}

impl Resources {
    /// With `bytes` less of a budget.
    pub(super) fn less(self, bytes: u64) -> Self {
        match self.budget {
            0 => self,
            budget => Self { budget: budget.saturating_sub(bytes).max(1), ..self },
        }
    }

    /// Whether there is any limit.
    pub(super) fn limited(&self) -> bool {
        self.budget != 0 || self.workspace != u64::MAX
    }

    /// Whether `plan` keeps all limits.
    pub(super) fn allow(&self, plan: &Plan) -> bool {
        (self.budget == 0 || plan.peak_bytes <= self.budget)
            && plan.workspace_bytes <= self.workspace
    }

    /// With activations of half the size, if they are not already.
    pub(super) fn in_bf16(self) -> Option<Self> {
        let mut settings = self.settings;
        settings.dtype = Storage::Bf16;
        (self.settings.dtype == Storage::F32).then_some(Self { settings, ..self })
    }
}

/// What of a network a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// The first part of a decoder, which needs all of the picture at hand.
    Front,
    /// The rest of it: of all, or of a tile with a halo.
    Rest(Option<Window>),
}

/// A part of the network of a direction, on any backend.
pub(crate) fn network<B: Backend>(
    backend: &mut B,
    model: &Model,
    (direction, part): (Direction, Part),
    settings: Settings,
    input: Slot,
) -> Result<Slot> {
    match (direction, part) {
        (Direction::Encode, _) => encoder::encode(backend, model.need_encoder()?, settings, input),
        (_, Part::Whole) => decoder::decode(backend, model.need_decoder()?, settings, input),
        (_, Part::Front) => decoder::front(backend, model.need_decoder()?, settings, input),
        (_, Part::Rest(window)) => {
            decoder::rest(backend, model.need_decoder()?, settings, window, input)
        }
    }
}

pub(crate) fn input_channels(model: &Model, direction: Direction) -> usize {
    match direction {
        Direction::Decode => model.config().latent_channels,
        Direction::Encode => model.config().in_channels,
    }
}

/// What a decode of latents of `height` rows of `width` would need in a session with `options`.
///
/// ```
/// use ndarray::Array4;
/// use vaekl::{Model, Session, SessionOptions, plan_decode};
///
/// let (model, options) = (Model::open("models/default")?, SessionOptions::default());
/// let plan = plan_decode(&model, &options, 16, 16)?;
///
/// let mut session = Session::new(&model, &options)?;
/// session.decode(Array4::zeros((1, model.config().latent_channels, 16, 16)).view())?;
/// assert_eq!(session.memory() as u64, plan.workspace_bytes);
/// # Ok::<(), vaekl::Error>(())
/// ```
///
/// # Errors
/// As [`Session::decode`](crate::Session::decode), without the arithmetic's and the memory's own.
pub fn plan_decode(
    model: &Model,
    options: &SessionOptions,
    height: usize,
    width: usize,
) -> Result<Plan> {
    for_options(model, options, Direction::Decode, height, width)
}

/// What an encode of a picture of `height` rows of `width` would need in a session with `options`.
///
/// # Errors
/// As [`Session::encode`](crate::Session::encode), without the arithmetic's and the memory's own.
pub fn plan_encode(
    model: &Model,
    options: &SessionOptions,
    height: usize,
    width: usize,
) -> Result<Plan> {
    for_options(model, options, Direction::Encode, height, width)
}

fn for_options(
    model: &Model,
    options: &SessionOptions,
    direction: Direction,
    height: usize,
    width: usize,
) -> Result<Plan> {
    let threads = options.resolve_threads()?;
    let kernels = Kernels::new(Level::detect()?);
    let dtype = options.resolve_storage(model);
    let resources = options.resources(model, dtype, &kernels, threads);
    check_size(direction, height, width)?;
    plan_call(options, Call::new(model, direction, height, width), resources)
}

/// All that a run without a session needs.
#[cfg(feature = "bench")]
pub(crate) fn planned(
    model: &Model,
    options: &SessionOptions,
    direction: Direction,
    height: usize,
    width: usize,
) -> Result<(Planned, Resources, Shape)> {
    let kernels = Kernels::new(Level::detect()?);
    let (threads, dtype) = (options.resolve_threads()?, options.resolve_storage(model));
    let resources = options.resources(model, dtype, &kernels, threads);
    let planned = Call::new(model, direction, height, width).plan(resources)?;
    Ok((planned, resources, Shape::new(height, width, input_channels(model, direction))))
}

/// Refuses an input without pixels.
pub(crate) fn check_size(direction: Direction, height: usize, width: usize) -> Result<()> {
    if height == 0 || width == 0 {
        let what = if direction == Direction::Decode { "latents" } else { "picture" };
        return Err(Error::invalid(format!(
            "{what} of {width}x{height} (width x height) have no pixels"
        )));
    }
    Ok(())
}

/// Refuses a row of the input with a value that is not finite.
pub(super) fn check_finite(
    direction: Direction,
    y: usize,
    row: &[f32],
    channels: usize,
) -> Result<()> {
    let Some(at) = row.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    let what = if direction == Direction::Decode { "latents" } else { "picture" };
    let (x, c, value) = (at / channels, at % channels, row[at]);
    Err(Error::invalid(format!("{what}: {value} at channel {c}, row {y}, column {x}")))
}

/// Threads of a session that did not ask for a number.
pub(crate) fn default_threads() -> usize {
    threads::physical_cores()
}
