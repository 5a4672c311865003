use std::mem::offset_of;

use super::args;
use super::guard::guard;
use super::model::vaekl_model;
use super::options::{self, Growing, end_of};
use super::session::vaekl_session_options;
use super::status::{vaekl_error, vaekl_status};
use crate::base::error::Result;
use crate::model::Model;
use crate::run::{Plan, SessionOptions, plan_decode, plan_encode};

/// What a call will need.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_plan {
    /// In: sizeof(vaekl_plan). Out: bytes written.
    pub struct_size: usize,
    /// Workspace in bytes. Exact: the call itself follows this plan.
    pub workspace_bytes: u64,
    /// Scratch file in bytes; 0 without a scratch_dir.
    pub scratch_bytes: u64,
    /// Upper bound in bytes of what the call adds to the process's memory: workspace, the weights
    /// resident at a time, threads, and the library's own lists and code. Memory of the caller is
    /// not included.
    pub peak_bytes: u64,
    /// Number of tiles in a row; 1 without tiles.
    pub tiles_x: u32,
    /// Number of tiles in a column; 1 without tiles.
    pub tiles_y: u32,
    /// Side of a tile in latent pixels; 0 without tiles.
    pub tile_size: u32,
    /// 1 if the result equals the untiled one.
    pub exact: u32,
}

// SAFETY: integers, the first of them the size.
unsafe impl Growing for vaekl_plan {
    const NAME: &'static str = "vaekl_plan";
    const FIRST: usize = end_of(offset_of!(Self, exact) + size_of::<u32>());
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            workspace_bytes: 0,
            scratch_bytes: 0,
            peak_bytes: 0,
            tiles_x: 1,
            tiles_y: 1,
            tile_size: 0,
            exact: 1,
        }
    }
}

impl From<Plan> for vaekl_plan {
    fn from(plan: Plan) -> Self {
        Self {
            workspace_bytes: plan.workspace_bytes,
            scratch_bytes: plan.scratch_bytes,
            peak_bytes: plan.peak_bytes,
            exact: u32::from(plan.exact),
            tiles_x: plan.tiles_x as u32,
            tiles_y: plan.tiles_y as u32,
            tile_size: plan.tile_size as u32,
            ..Self::defaults()
        }
    }
}

/// The body of vaekl_plan_decode and vaekl_plan_encode.
///
/// # Safety
/// The pointers are as the header asks.
unsafe fn plan(
    model: *const vaekl_model,
    options: *const vaekl_session_options,
    out: *mut vaekl_plan,
    make: impl FnOnce(&Model, &SessionOptions) -> Result<Plan>,
) -> Result<()> {
    // SAFETY: by the caller's contract.
    unsafe {
        let model = args::object(model, "model")?;
        let options = options::read(options)?.to_rust()?;
        let room = options::room(out)?;
        options::write(out, room, &make(&model.model, &options)?.into());
    }
    Ok(())
}

/// Plans a decode of one latent of `latent_width` x `latent_height` by a session with `options`.
/// Set out->struct_size first. Allocates nothing that outlives the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_plan_decode(
    model: *const vaekl_model,
    options: *const vaekl_session_options,
    latent_width: u32,
    latent_height: u32,
    out: *mut vaekl_plan,
    error: *mut vaekl_error,
) -> vaekl_status {
    let (width, height) = (latent_width as usize, latent_height as usize);
    // SAFETY: all pointers by the contract of the header.
    unsafe { guard(error, || plan(model, options, out, |m, o| plan_decode(m, o, height, width))) }
}

/// Plans an encode of one picture of `width` x `height` pixels by a session with `options`. Set
/// out->struct_size first. Allocates nothing that outlives the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_plan_encode(
    model: *const vaekl_model,
    options: *const vaekl_session_options,
    width: u32,
    height: u32,
    out: *mut vaekl_plan,
    error: *mut vaekl_error,
) -> vaekl_status {
    let (width, height) = (width as usize, height as usize);
    // SAFETY: all pointers by the contract of the header.
    unsafe { guard(error, || plan(model, options, out, |m, o| plan_encode(m, o, height, width))) }
}
