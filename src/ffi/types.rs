use std::ffi::c_void;

/// Type of an element. All such types are integers with constants, not C enums: an unknown value is
/// an error, not undefined behaviour.
pub type vaekl_dtype = u32;
/// 32-bit float (IEEE 754 binary32).
pub const VAEKL_DTYPE_F32: vaekl_dtype = 0;
/// 16-bit float (IEEE 754 binary16).
pub const VAEKL_DTYPE_F16: vaekl_dtype = 1;
/// bfloat16.
pub const VAEKL_DTYPE_BF16: vaekl_dtype = 2;
/// 8-bit unsigned integer, images only: [-1, 1] maps to [0, 255], clamped, rounded half to even.
pub const VAEKL_DTYPE_U8: vaekl_dtype = 3;

/// Order of the values of an image.
pub type vaekl_layout = u32;
/// Interleaved: all channels of a pixel together.
pub const VAEKL_LAYOUT_HWC: vaekl_layout = 0;
/// Planar: one plane per channel.
pub const VAEKL_LAYOUT_CHW: vaekl_layout = 1;

/// Where a model runs.
pub type vaekl_device = u32;
/// The CPU.
pub const VAEKL_DEVICE_CPU: vaekl_device = 0;
/// An NVIDIA GPU: VAEKL_ERR_UNSUPPORTED in this version.
pub const VAEKL_DEVICE_CUDA: vaekl_device = 1;

/// Whether to split a picture that is larger than a tile. EXACT never changes a bit of the result;
/// the library never chooses the other two by itself.
pub type vaekl_tiling = u32;
/// The result of the whole picture. Default. An AutoencoderTiny is cut into tiles where the budget
/// demands it, which changes no bit.
pub const VAEKL_TILING_EXACT: vaekl_tiling = 0;
/// The overlapping, blended tiles of diffusers, with their seams.
pub const VAEKL_TILING_DIFFUSERS: vaekl_tiling = 1;
/// Decodes in tiles that share the statistics of the whole picture: no seams, an error far below
/// one 8-bit step, at least twice the time. Encoding is exact, and an AutoencoderTiny in both
/// directions.
pub const VAEKL_TILING_SEAMLESS: vaekl_tiling = 2;

/// Algorithm for attention. Both give the same result up to rounding.
pub type vaekl_attention = u32;
/// One pass over the keys, with a running softmax. Default.
pub const VAEKL_ATTENTION_STREAMED: vaekl_attention = 0;
/// All scores of a few queries, then their softmax.
pub const VAEKL_ATTENTION_ROW_BY_ROW: vaekl_attention = 1;

/// A picture in the caller's memory. It has the model's number of channels (vaekl_model_info:
/// image_channels, or input_channels to encode). Values are nominally in [-1, 1]; decoded ones are
/// not clamped, except as U8. Strides are in bytes and multiples of the element's size; 0 means
/// packed. An output need not be initialised; bytes between its rows are not written.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_image {
    /// The first pixel, aligned to the element's size. Only read if the image is an input.
    pub data: *mut c_void,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Type of the values: any VAEKL_DTYPE.
    pub dtype: vaekl_dtype,
    /// Order of the values: any VAEKL_LAYOUT.
    pub layout: vaekl_layout,
    /// Bytes from one row to the next; 0 = packed. A row has all channels in HWC, one in CHW.
    pub row_stride: usize,
    /// Bytes from one plane to the next; 0 = packed. Read for CHW only.
    pub plane_stride: usize,
}

/// Latents as AutoencoderKL.decode takes and .encode returns them.
pub const VAEKL_LATENT_RAW: u32 = 0;
/// Latents as the diffusion model uses them: scaling_factor, shift_factor and latents_mean/std, or
/// the statistics that an AutoencoderKLFlux2 has in its weights, are undone before decoding and
/// applied after encoding.
pub const VAEKL_LATENT_SCALED: u32 = 1;

/// A batch of latents in the caller's memory, contiguous NCHW. Latents are processed one at a time
/// (diffusers' slicing), so memory does not grow with `batch`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_latent {
    /// The first value, aligned to the element's size. Only read if the latents are an input.
    pub data: *mut c_void,
    /// Number of latents, at least 1.
    pub batch: u32,
    /// The model's latent_channels; twice that for moments. Scaled latents of a model with a
    /// patch_size p may be folded: p * p times as many channels, sides divided by p.
    pub channels: u32,
    /// Height: the picture's height divided by the model's downscale.
    pub height: u32,
    /// Width: the picture's width divided by the model's downscale.
    pub width: u32,
    /// Type of the values: F32, F16 or BF16.
    pub dtype: vaekl_dtype,
    /// VAEKL_LATENT_RAW or VAEKL_LATENT_SCALED.
    pub scale: u32,
}
