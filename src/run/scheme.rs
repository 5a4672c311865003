#![forbid(unsafe_code)]
//! The scheme of a call: whole or in tiles, with the plan of each run. It is chosen once, before
//! any work, and carried to the run.

use super::budget::{Call, Planned};
use super::options::{SessionOptions, Tiling};
use super::plan::Plan;
use super::planes::check_size;
use super::resources::{Least, Resources};
use super::tiling::diffusers::DiffusersTiles;
use super::tiling::exact::{self, ExactTiles};
use super::tiling::seamless::{self, SeamlessTiles};
use crate::base::error::{Error, Result};
use crate::base::storage::Storage;
use crate::model::Model;
use crate::model::network::{Direction, Network, Part};

/// A request: a direction, and an input of `height` x `width`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) direction: Direction,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Whether a decode has a mask.
    pub(super) masked: bool,
}

impl Request {
    /// The network that it runs.
    ///
    /// # Errors
    /// `Model` without such a network, `InvalidArgument` if the family takes no mask.
    pub(super) fn network<'m>(&self, model: &'m Model) -> Result<Network<'m>> {
        if self.masked { model.masked_decoder() } else { model.network(self.direction) }
    }
}

/// The scheme of a call.
pub(super) struct Scheme {
    pub(super) request: Request,
    pub(super) resources: Resources,
    pub(super) runs: Runs,
}

/// The runs of a call.
pub(super) enum Runs {
    /// One run on the whole picture.
    Whole(Planned),
    Diffusers(DiffusersTiles),
    Seamless(Box<SeamlessTiles>),
    Exact(Box<ExactTiles>),
}

impl Scheme {
    /// Chooses the scheme of a call within `resources`: in tiles if these request them and the
    /// picture is larger than one tile.
    ///
    /// # Errors
    /// `Model` without such a network, `InvalidArgument` for impossible tiles, `Budget` with the
    /// least sufficient budget.
    pub(super) fn choose(model: &Model, request: Request, resources: Resources) -> Result<Self> {
        let Request { direction, height, width, masked } = request;
        let network = request.network(model)?;
        if masked && resources.tiles.tiling != Tiling::Exact {
            return Err(Error::invalid("tiling: exact expected with a mask"));
        }
        let call = Call { network: &network, part: Part::Whole, height, width };
        let runs = match (resources.tiles.tiling, direction) {
            (Tiling::Diffusers, _) => match DiffusersTiles::of(&call, resources)? {
                Some(tiles) => Runs::Diffusers(tiles),
                None => Runs::Whole(call.plan(resources)?),
            },
            (Tiling::Exact | Tiling::Seamless, _) if network.exact_in_tiles() => {
                exact_tiles(&call, resources)?
            }
            (Tiling::Seamless, Direction::Decode) => seamless(&call, resources)?,
            (Tiling::Exact, _) | (Tiling::Seamless, _) => Runs::Whole(call.plan(resources)?),
        };
        Ok(Self { request, resources, runs })
    }

    /// The scheme of the same call with activations of type `storage`.
    pub(super) fn with_storage(&self, storage: Storage, model: &Model) -> Result<Self> {
        Self::choose(model, self.request, self.resources.with_storage(storage))
    }

    /// What the call needs.
    pub(super) fn plan(&self) -> Plan {
        match &self.runs {
            Runs::Whole(planned) => planned.plan,
            Runs::Diffusers(tiles) => tiles.plan,
            Runs::Seamless(tiles) => tiles.plan,
            Runs::Exact(tiles) => tiles.plan,
        }
    }

    /// The type of activations.
    pub(super) fn storage(&self) -> Storage {
        self.resources.settings.storage
    }
}

/// One run, or exact tiles if they are asked for or the limits demand them: neither changes a bit.
fn exact_tiles(call: &Call<'_>, resources: Resources) -> Result<Runs> {
    let mut tiles = resources.tiles;
    if tiles.tiling == Tiling::Exact {
        if !resources.limited() {
            return Ok(Runs::Whole(call.plan(resources)?));
        }
        (tiles.size, tiles.overlap) = (0, 0);
    }
    let resources = Resources { tiles, ..resources };
    let asked_for = tiles.tiling == Tiling::Seamless && (tiles.size != 0 || !resources.budgeted());
    let mut least = Least::NONE;
    // An encoder's tiles do many times the work of the whole picture on a scratch file.
    let encodes = call.network.direction() == Direction::Encode;
    let before_tiles = Resources { scratch: resources.scratch && encodes, ..resources };
    if !asked_for && let Some(planned) = call.search(before_tiles, &mut least)? {
        return Ok(Runs::Whole(planned));
    }
    let sides = exact::sides(call, resources)?;
    let latents = match call.network.direction() {
        Direction::Decode => (call.height, call.width),
        Direction::Encode => {
            (call.network.output_length(call.height), call.network.output_length(call.width))
        }
    };
    if asked_for && sides.iter().all(|side| side.0 >= latents.0 && side.1 >= latents.1) {
        return Ok(Runs::Whole(call.plan(resources)?));
    }
    if let Some(tiles) = ExactTiles::search(call, &sides, resources, &mut least)? {
        return Ok(Runs::Exact(Box::new(tiles)));
    }
    if !asked_for
        && !encodes
        && let Some(planned) = call.search(resources, &mut least)?
    {
        return Ok(Runs::Whole(planned));
    }
    Err(ExactTiles::refusal(call, &sides, resources, least))
}

/// Seamless tiles, or one run if the picture needs none.
fn seamless(call: &Call<'_>, resources: Resources) -> Result<Runs> {
    let sizes = seamless::sizes(call, resources)?;
    let chosen = resources.tiles.size == 0 && resources.budgeted();
    let in_memory = Resources { scratch: false, ..resources };
    let mut least = Least::NONE;
    if chosen && let Ok(Some(planned)) = call.search(in_memory, &mut least) {
        return Ok(Runs::Whole(planned));
    }
    if sizes.iter().all(|&size| size >= call.height && size >= call.width) {
        return Ok(Runs::Whole(call.plan(resources)?));
    }
    Ok(Runs::Seamless(Box::new(SeamlessTiles::of(call, &sizes, resources)?)))
}

/// What a session with `options` needs to decode one latent of `height` x `width`.
///
/// ```
/// use ndarray::Array4;
/// use vaekl::{Model, Session, SessionOptions, plan_decode};
///
/// let (model, options) = (Model::open("cli/model")?, SessionOptions::default());
/// let plan = plan_decode(&model, &options, 16, 16)?;
///
/// let mut session = Session::new(&model, &options)?;
/// let latents = Array4::zeros((1, model.config().latent_channels, 16, 16));
/// assert_eq!(session.decode(latents.view())?.plan, plan);
/// assert_eq!(session.memory() as u64, plan.workspace_bytes);
/// # Ok::<(), vaekl::Error>(())
/// ```
///
/// # Errors
/// Those of [`Session::decode`](crate::Session::decode), except for those of arithmetic and memory.
pub fn plan_decode(
    model: &Model,
    options: &SessionOptions,
    height: usize,
    width: usize,
) -> Result<Plan> {
    let request = Request { direction: Direction::Decode, height, width, masked: false };
    Ok(for_options(model, options, request)?.plan())
}

/// What a session with `options` needs to encode one picture of `height` x `width` pixels.
///
/// # Errors
/// Those of [`Session::encode`](crate::Session::encode), except for those of arithmetic and memory.
pub fn plan_encode(
    model: &Model,
    options: &SessionOptions,
    height: usize,
    width: usize,
) -> Result<Plan> {
    let request = Request { direction: Direction::Encode, height, width, masked: false };
    Ok(for_options(model, options, request)?.plan())
}

/// The scheme of a call for `options`, without a session.
fn for_options(model: &Model, options: &SessionOptions, request: Request) -> Result<Scheme> {
    let Request { direction, height, width, .. } = request;
    let resources = Resources::of_options(options, model)?;
    check_size(direction, height, width)?;
    Scheme::choose(model, request, resources)
}
