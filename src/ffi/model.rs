use std::ffi::{CString, c_char, c_void};
use std::mem::offset_of;
use std::ptr;

use super::args;
use super::guard::{free, guard, guard_out};
use super::options::{self, Growing, end_of};
use super::status::{vaekl_error, vaekl_status};
use super::types::{
    VAEKL_DEVICE_CPU, VAEKL_DEVICE_CUDA, VAEKL_DTYPE_F32, vaekl_device, vaekl_dtype,
};
use crate::base::alloc;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::storage::Storage;
use crate::model::network::Direction;
use crate::model::{Model, ModelOptions, Parts};

/// An open autoencoder: immutable, shared by any number of sessions and threads.
pub struct vaekl_model {
    pub(super) model: Model,
    /// The string that vaekl_model_config returns.
    config: CString,
    /// The strings that vaekl_model_family and vaekl_model_family_source return.
    family: CString,
    family_source: CString,
    /// The strings that vaekl_model_notice returns.
    notices: Vec<CString>,
}

impl vaekl_model {
    fn leak(model: Model) -> Result<*mut Self> {
        let config = c_text(&model.config().to_json())?;
        let info = model.info();
        let (family, family_source) = (c_text(&info.family)?, c_text(&info.family_source)?);
        let notices = info.notices();
        let notices = alloc::try_collected(notices.iter().map(|it| c_text(it)), "notices")?;
        let model = Self { model, config, family, family_source, notices };
        Ok(Box::into_raw(Box::new(model)))
    }
}

/// A copy of `text` for C.
///
/// # Errors
/// `Model` if it has a NUL, `OutOfMemory`.
fn c_text(text: &str) -> Result<CString> {
    let mut bytes = alloc::with_capacity(text.len() + 1, "a text")?;
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    let with_nul = |_| Error::model("config, or a tensor's name: a NUL");
    CString::from_vec_with_nul(bytes).map_err(with_nul)
}

/// The decoder: latents to pictures.
pub const VAEKL_PART_DECODER: u32 = 1;
/// The encoder: pictures to latents.
pub const VAEKL_PART_ENCODER: u32 = 2;

const BOTH: u32 = VAEKL_PART_DECODER | VAEKL_PART_ENCODER;

/// Options for opening a model. Structs that begin with struct_size grow only at the end: the _init
/// function, called with sizeof(the struct), fills in defaults and records the size. So a program
/// compiled against an older header keeps working.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_model_options {
    /// sizeof(vaekl_model_options), set by _init.
    pub struct_size: usize,
    /// Where the model runs; default VAEKL_DEVICE_CPU.
    pub device: vaekl_device,
    /// Index of the device; default 0, the only one for a CPU.
    pub device_index: u32,
    /// Parts to open, a sum of VAEKL_PART; default both. An error if the checkpoint lacks one.
    pub parts: u32,
    /// Type of packed weights; default F32, the only one in this version.
    pub weight_dtype: vaekl_dtype,
    /// Path of a config.json to use. Default NULL: the checkpoint's own, or inferred from shapes.
    pub config_path: *const c_char,
    /// Name of a published model: "sd", "sdxl", "sdxl-fp16-fix", "sd3", "flux", "playground-v2.5",
    /// "sd-x4-upscaler", "cogview4", "flux2", "asymmetric", "taesd", "taesdxl", "taesd3", "taef1",
    /// "taef2" or "taesana". Sets scaling, shift and latent statistics, which shapes do
    /// not tell, and overrides the configuration. Default NULL: guessed if the checkpoint has no
    /// configuration.
    pub preset: *const c_char,
    /// Variant of a diffusers folder: "fp16" opens diffusion_pytorch_model.fp16.safetensors.
    /// Default NULL: none.
    pub variant: *const c_char,
    /// Groups of each GroupNorm, for a checkpoint without a configuration; shapes do not tell it.
    /// Default 0: from the configuration, or 32 without one.
    pub norm_num_groups: u32,
    /// Nonzero: files are read, a layer at a time, instead of mapped; default 0. A file that
    /// changes is then an error, whatever happens to it. Files that the system cannot map are read
    /// in any case.
    pub disable_mmap: u32,
}

// SAFETY: integers and raw pointers, the first of them the size.
unsafe impl Growing for vaekl_model_options {
    const NAME: &'static str = "vaekl_model_options";
    const FIRST: usize = end_of(offset_of!(Self, variant) + size_of::<*const c_char>());
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            device: VAEKL_DEVICE_CPU,
            device_index: 0,
            parts: BOTH,
            weight_dtype: VAEKL_DTYPE_F32,
            config_path: ptr::null(),
            preset: ptr::null(),
            variant: ptr::null(),
            norm_num_groups: 0,
            disable_mmap: 0,
        }
    }
}

impl vaekl_model_options {
    /// # Safety
    /// The strings are NULL or NUL-terminated.
    unsafe fn to_rust(self) -> Result<ModelOptions> {
        self.check_device()?;
        let parts = match self.parts {
            BOTH => Parts::Both,
            VAEKL_PART_DECODER => Parts::Decoder,
            VAEKL_PART_ENCODER => Parts::Encoder,
            other => {
                return Err(args::unknown("options.parts", "a sum of VAEKL_PART constants", other));
            }
        };
        // SAFETY: by the caller's contract.
        let (config_path, preset, variant) = unsafe {
            (
                args::path(self.config_path, "options.config_path")?,
                args::text(self.preset, "options.preset")?,
                args::text(self.variant, "options.variant")?,
            )
        };
        Ok(ModelOptions {
            parts,
            config_path,
            config: None,
            preset: preset.map(str::parse).transpose()?,
            norm_num_groups: (self.norm_num_groups != 0).then_some(self.norm_num_groups as usize),
            variant: variant.map(str::to_owned),
            disable_mmap: self.disable_mmap != 0,
        })
    }

    fn check_device(&self) -> Result<()> {
        let unsupported = |what: &'static str| Err(Error::new(ErrorKind::Unsupported, what));
        match self.device {
            VAEKL_DEVICE_CPU => {}
            VAEKL_DEVICE_CUDA => return unsupported("options.device: this build has no CUDA"),
            other => {
                return Err(args::unknown("options.device", "VAEKL_DEVICE_CPU or _CUDA", other));
            }
        }
        if self.device_index != 0 {
            return Err(args::unknown("options.device_index", "0 for a CPU", self.device_index));
        }
        match args::float_dtype(self.weight_dtype, "options.weight_dtype")? {
            Storage::F32 => Ok(()),
            _ => unsupported(
                "options.weight_dtype: packed weights are VAEKL_DTYPE_F32 in this build",
            ),
        }
    }
}

/// Properties of an open model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_model_info {
    /// In: sizeof(vaekl_model_info). Out: bytes written.
    pub struct_size: usize,
    /// Channels of decoded pictures.
    pub image_channels: u32,
    /// Channels of latents.
    pub latent_channels: u32,
    /// Side of a picture in pixels divided by the side of its latent.
    pub downscale: u32,
    /// Parts of the model, a sum of VAEKL_PART.
    pub parts: u32,
    /// The factor by which VAEKL_LATENT_SCALED multiplies.
    pub scaling_factor: f32,
    /// The offset that VAEKL_LATENT_SCALED subtracts before that; 0 if the model has none.
    pub shift_factor: f32,
    /// Size of the weights in bytes, in the checkpoint's types.
    pub weight_bytes: u64,
    /// Number of weights.
    pub parameters: u64,
    /// Channels of pictures to encode.
    pub input_channels: u32,
    /// Number of configuration fields that were guessed; 0 if the configuration was read.
    pub guessed: u32,
    /// 1 if the weights are mapped or in memory, 0 if they are read from their file, a layer at a
    /// time.
    pub mapped: u32,
    /// Number of tensors of the autoencoder that the configuration leaves out.
    pub unused_tensors: u32,
    /// 1 if vaekl_encode gives a posterior, 0 if it gives latents (AutoencoderTiny).
    pub posterior: u32,
    /// 1 if vaekl_decode_masked works (AsymmetricAutoencoderKL).
    pub masks: u32,
    /// Side of the patches that scaled latents may be folded into: 2 for AutoencoderKLFlux2,
    /// otherwise 1.
    pub patch_size: u32,
    /// Must be ignored.
    pub reserved: u32,
}

// SAFETY: integers and floats, the first of them the size.
unsafe impl Growing for vaekl_model_info {
    const NAME: &'static str = "vaekl_model_info";
    const FIRST: usize = end_of(offset_of!(Self, guessed) + size_of::<u32>());
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            image_channels: 0,
            latent_channels: 0,
            downscale: 0,
            parts: 0,
            scaling_factor: 0.0,
            shift_factor: 0.0,
            weight_bytes: 0,
            parameters: 0,
            input_channels: 0,
            guessed: 0,
            mapped: 0,
            unused_tensors: 0,
            posterior: 0,
            masks: 0,
            patch_size: 0,
            reserved: 0,
        }
    }
}

impl vaekl_model_info {
    fn new(model: &Model) -> Self {
        let (config, info) = (model.config(), model.info());
        let part = |there: bool, part| if there { part } else { 0 };
        Self {
            struct_size: size_of::<Self>(),
            image_channels: config.out_channels as u32,
            latent_channels: config.latent_channels as u32,
            downscale: config.downscale() as u32,
            parts: part(model.network(Direction::Decode).is_ok(), VAEKL_PART_DECODER)
                | part(model.network(Direction::Encode).is_ok(), VAEKL_PART_ENCODER),
            scaling_factor: config.scaling_factor as f32,
            shift_factor: config.shift_factor.unwrap_or(0.0) as f32,
            weight_bytes: info.weight_bytes,
            parameters: info.parameters,
            input_channels: config.in_channels as u32,
            guessed: info.guessed.len() as u32,
            mapped: info.mapped.into(),
            unused_tensors: info.unused_tensors.len() as u32,
            posterior: config.family.tiny().is_none().into(),
            masks: model.masked_decoder().is_ok().into(),
            patch_size: config.patch_size() as u32,
            reserved: 0,
        }
    }
}

/// Bytes that the caller keeps alive.
struct Borrowed {
    ptr: *const u8,
    len: usize,
}

// SAFETY: the bytes are not changed while the model lives, by the contract of
// vaekl_model_open_bytes.
unsafe impl Send for Borrowed {}
// SAFETY: as above.
unsafe impl Sync for Borrowed {}

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: checked not NULL and within isize; alive by the contract of
        // vaekl_model_open_bytes.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// Fills in the defaults. `struct_size` is sizeof(vaekl_model_options).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_options_init(
    options: *mut vaekl_model_options,
    struct_size: usize,
) -> vaekl_status {
    // SAFETY: `options` has `struct_size` bytes by the contract of the header; errors may be NULL.
    unsafe { guard(ptr::null_mut(), || options::init(options, struct_size)) }
}

/// Opens a checkpoint of any format: a file, a diffusers folder, or what the local cache of the
/// Hugging Face hub has of "org/name". NULL `options` mean the defaults. Files are mapped: do not
/// change them while the model exists (Files, at the head).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_open(
    path: *const c_char,
    options: *const vaekl_model_options,
    out: *mut *mut vaekl_model,
    error: *mut vaekl_error,
) -> vaekl_status {
    let body = || {
        // SAFETY: strings and structs are the caller's, by the contract of the header.
        let (path, options) =
            unsafe { (args::path(path, "path")?, options::read(options)?.to_rust()?) };
        let path = path.ok_or_else(|| Error::invalid("path: NULL"))?;
        let model = Model::open_with(path, &options)?;
        vaekl_model::leak(model)
    };
    // SAFETY: `out` and `error` by the contract of the header.
    unsafe { guard_out(error, out, body) }
}

/// Opens a file of any format in memory, `len` bytes. They are not copied: they must stay valid and
/// unchanged until the model and all its sessions are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_open_bytes(
    bytes: *const c_void,
    len: usize,
    options: *const vaekl_model_options,
    out: *mut *mut vaekl_model,
    error: *mut vaekl_error,
) -> vaekl_status {
    let body = || {
        args::pointer(bytes.cast::<u8>(), "bytes")?;
        args::span(bytes.addr(), Some(len))
            .ok_or_else(|| Error::invalid(format!("len: {len} does not fit the address space")))?;
        // SAFETY: strings and structs are the caller's, by the contract of the header.
        let options = unsafe { options::read(options)?.to_rust()? };
        let model = Model::from_bytes(Borrowed { ptr: bytes.cast(), len }, &options)?;
        vaekl_model::leak(model)
    };
    // SAFETY: `out` and `error` by the contract of the header.
    unsafe { guard_out(error, out, body) }
}

/// Fills in `out`. Set out->struct_size first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_get_info(
    model: *const vaekl_model,
    out: *mut vaekl_model_info,
) -> vaekl_status {
    let body = || {
        // SAFETY: `model` and `out` are the caller's, by the contract of the header.
        unsafe {
            let model = args::object(model, "model")?;
            let room = options::room(out)?;
            options::write(out, room, &vaekl_model_info::new(&model.model));
        }
        Ok(())
    };
    // SAFETY: errors may be NULL.
    unsafe { guard(ptr::null_mut(), body) }
}

/// The family of a model: the name of diffusers' class, such as "AutoencoderTiny". Valid until the
/// model is freed; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_family(model: *const vaekl_model) -> *const c_char {
    // SAFETY: NULL or a live model, by the contract of the header.
    let model = unsafe { args::object(model, "model") };
    model.map_or(ptr::null(), |model| model.family.as_ptr())
}

/// What tells the family, for a person: the class in a configuration, or a tensor. Valid until the
/// model is freed; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_family_source(model: *const vaekl_model) -> *const c_char {
    // SAFETY: NULL or a live model, by the contract of the header.
    let model = unsafe { args::object(model, "model") };
    model.map_or(ptr::null(), |model| model.family_source.as_ptr())
}

/// The configuration as JSON in the form of config.json, with every field of the family's class,
/// whether read, inferred or guessed. Valid until the model is freed; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_config(model: *const vaekl_model) -> *const c_char {
    // SAFETY: NULL or a live model, by the contract of the header.
    let model = unsafe { args::object(model, "model") };
    model.map_or(ptr::null(), |model| model.config.as_ptr())
}

/// The statistics that VAEKL_LATENT_SCALED uses, `(latent - mean) / std`: of each latent channel,
/// or of an AutoencoderKLFlux2, whose weights have them, of each channel of a folded latent.
/// Returns their number, 0 if the model has none, and writes the first `count` of them to `mean`
/// and `std`, each of which may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_latent_statistics(
    model: *const vaekl_model,
    mean: *mut f64,
    std: *mut f64,
    count: u32,
) -> u32 {
    // SAFETY: NULL or a live model, by the contract of the header.
    let Ok(model) = (unsafe { args::object(model, "model") }) else { return 0 };
    let config = model.model.config();
    let means = config.latents_mean.as_deref().unwrap_or_default();
    let deviations = config.latents_std.as_deref().unwrap_or_default();
    for (to, from) in [(mean, means), (std, deviations)] {
        if !to.is_null() {
            let count = from.len().min(count as usize);
            // SAFETY: not NULL, and then room for `count` values, by the contract of the header.
            unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, count) }
        }
    }
    means.len() as u32
}

/// What to tell the user of a model: guessed parts of the configuration, and weights that the
/// configuration leaves out. A line of UTF-8 for each `index` from 0 on, NULL after the last. Valid
/// until the model is freed; NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_notice(
    model: *const vaekl_model,
    index: u32,
) -> *const c_char {
    // SAFETY: NULL or a live model, by the contract of the header.
    let model = unsafe { args::object(model, "model") };
    let notice = model.ok().and_then(|model| model.notices.get(index as usize));
    notice.map_or(ptr::null(), |notice| notice.as_ptr())
}

/// Frees a model. Its sessions keep their own reference and stay valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_free(model: *mut vaekl_model) {
    // SAFETY: NULL or from an open, and not used after, by the contract of the header.
    unsafe { free(model) }
}
