use std::ffi::c_void;

/// The type of an element. Integers and constants, not C enums: a value the library does not know
/// is an error, not undefined behaviour.
pub type vaekl_dtype = u32;
/// IEEE 754 binary32.
pub const VAEKL_DTYPE_F32: vaekl_dtype = 0;
/// IEEE 754 binary16.
pub const VAEKL_DTYPE_F16: vaekl_dtype = 1;
/// bfloat16.
pub const VAEKL_DTYPE_BF16: vaekl_dtype = 2;
/// Images only: [-1, 1] is [0, 255], clamped and rounded half to even.
pub const VAEKL_DTYPE_U8: vaekl_dtype = 3;

/// The order of an image's values.
pub type vaekl_layout = u32;
/// Interleaved; row_stride covers one row of all channels.
pub const VAEKL_LAYOUT_HWC: vaekl_layout = 0;
/// Planar: a plane per channel.
pub const VAEKL_LAYOUT_CHW: vaekl_layout = 1;

/// Where a model runs.
pub type vaekl_device = u32;
/// The processor.
pub const VAEKL_DEVICE_CPU: vaekl_device = 0;
/// An NVIDIA GPU. VAEKL_ERR_UNSUPPORTED in this version.
pub const VAEKL_DEVICE_CUDA: vaekl_device = 1;

/// How a picture larger than a tile is worked on. EXACT never changes a bit of the result; the
/// other two are asked for, never chosen.
pub type vaekl_tiling = u32;
/// The result of the whole picture in one piece. Default.
pub const VAEKL_TILING_EXACT: vaekl_tiling = 0;
/// The tiles and blends of diffusers.
pub const VAEKL_TILING_DIFFUSERS: vaekl_tiling = 1;
/// Decoding in tiles that share the statistics of the whole picture: no seams, an error far below a
/// step of 8 bits, twice the time or more. Encoding is exact.
pub const VAEKL_TILING_SEAMLESS: vaekl_tiling = 2;

/// How attention is computed. The two agree up to rounding.
pub type vaekl_attention = u32;
/// One pass over the keys with a running softmax. Default.
pub const VAEKL_ATTENTION_STREAMED: vaekl_attention = 0;
/// All scores of a few queries at a time, then their softmax.
pub const VAEKL_ATTENTION_ROW_BY_ROW: vaekl_attention = 1;

/// A view of pixels, of as many channels as the model's pictures have (vaekl_model_info); nothing
/// is owned. Values are about [-1, 1], and decoded ones are not clamped, except as U8. Strides are
/// in bytes, multiples of the element's size; 0 is packed. Memory behind an output view need not be
/// initialised, and the bytes between its rows are left alone.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_image {
    /// The first pixel, aligned to its element's size. Only read when the view is an input.
    pub data: *mut c_void,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Any VAEKL_DTYPE.
    pub dtype: vaekl_dtype,
    /// Any VAEKL_LAYOUT.
    pub layout: vaekl_layout,
    /// Bytes from a row to the next.
    pub row_stride: usize,
    /// Bytes from a plane to the next; CHW only.
    pub plane_stride: usize,
}

/// What AutoencoderKL.decode takes and .encode gives.
pub const VAEKL_LATENT_RAW: u32 = 0;
/// What the diffusion model works on: scaling_factor, shift_factor and latents_mean/std are undone
/// before decoding and applied after encoding.
pub const VAEKL_LATENT_SCALED: u32 = 1;

/// A view of latents, contiguous NCHW. Batches are worked on one by one, so that memory does not
/// grow with `batch` (what diffusers calls slicing).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_latent {
    /// The first value, aligned to its size. Only read when the view is an input.
    pub data: *mut c_void,
    /// Latents, 1 or more.
    pub batch: u32,
    /// latent_channels of the model; twice that for moments.
    pub channels: u32,
    /// Rows: those of the picture divided by the model's downscale.
    pub height: u32,
    /// Columns, likewise.
    pub width: u32,
    /// F32, F16 or BF16.
    pub dtype: vaekl_dtype,
    /// VAEKL_LATENT_RAW or VAEKL_LATENT_SCALED.
    pub scale: u32,
}
