use std::ffi::c_char;
use std::mem::offset_of;
use std::path::Path;
use std::ptr;

use super::args;
use super::guard::guard;
use super::model::vaekl_model;
use super::options::{self, Growing, end_of};
use super::status::{vaekl_error, vaekl_status};
use super::types::vaekl_dtype;
use crate::base::error::{Error, Result};
use crate::checkpoint::KeyLayout;
use crate::model::SaveOptions;

/// For vaekl_save_options.dtype only: each tensor keeps its type; one that is quantised or has 8
/// bits becomes F32.
pub const VAEKL_DTYPE_KEEP: vaekl_dtype = 255;

/// How a saved file names its tensors.
pub type vaekl_key_layout = u32;
/// The names of diffusers: decoder.mid_block.attentions.0.to_q.weight. Default.
pub const VAEKL_KEYS_DIFFUSERS: vaekl_key_layout = 0;
/// The names of the original ("LDM"): decoder.mid.attn_1.q.weight. Single files only.
pub const VAEKL_KEYS_ORIGINAL: vaekl_key_layout = 1;

/// Options for saving a model. Like vaekl_model_options, the struct grows only at its end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_save_options {
    /// sizeof(vaekl_save_options), set by _init.
    pub struct_size: usize,
    /// Type of all tensors, rounded to nearest even: F32, F16 or BF16; default VAEKL_DTYPE_KEEP. A
    /// value that overflows is an error that names its tensor.
    pub dtype: vaekl_dtype,
    /// Names of the tensors; default VAEKL_KEYS_DIFFUSERS, the only one for a folder.
    pub layout: vaekl_key_layout,
    /// Most bytes of tensors in a file of a folder; a larger tensor has a file of its own. Default
    /// 0: one file.
    pub max_shard_size: u64,
    /// Variant of the weights in a folder: "fp16" makes diffusion_pytorch_model.fp16.safetensors.
    /// Default NULL: none.
    pub variant: *const c_char,
}

// SAFETY: integers and a raw pointer, the first of them the size.
unsafe impl Growing for vaekl_save_options {
    const NAME: &'static str = "vaekl_save_options";
    const FIRST: usize = end_of(offset_of!(Self, variant) + size_of::<*const c_char>());
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            dtype: VAEKL_DTYPE_KEEP,
            layout: VAEKL_KEYS_DIFFUSERS,
            max_shard_size: 0,
            variant: ptr::null(),
        }
    }
}

impl vaekl_save_options {
    /// # Safety
    /// The string is NULL or NUL-terminated.
    unsafe fn to_rust(self) -> Result<SaveOptions> {
        let mut options = SaveOptions::default();
        if self.dtype != VAEKL_DTYPE_KEEP {
            options.dtype = Some(args::float_dtype(self.dtype, "options.dtype")?);
        }
        options.layout = match self.layout {
            VAEKL_KEYS_DIFFUSERS => KeyLayout::Diffusers,
            VAEKL_KEYS_ORIGINAL => KeyLayout::Original,
            other => {
                return Err(args::unknown("options.layout", "a VAEKL_KEYS constant", other));
            }
        };
        options.max_shard_size = (self.max_shard_size != 0).then_some(self.max_shard_size);
        // SAFETY: by the caller's contract.
        let variant = unsafe { args::text(self.variant, "options.variant")? };
        options.variant = variant.map(str::to_owned);
        Ok(options)
    }
}

/// Fills in the defaults. `struct_size` is sizeof(vaekl_save_options).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_save_options_init(
    options: *mut vaekl_save_options,
    struct_size: usize,
) -> vaekl_status {
    // SAFETY: `options` has `struct_size` bytes by the contract of the header; errors may be NULL.
    unsafe { guard(ptr::null_mut(), || options::init(options, struct_size)) }
}

/// Saves a model: to one file if `path` ends in .safetensors, with the configuration in its
/// metadata, else to a diffusers folder, which is made if it is not there. NULL `options` mean the
/// defaults. Files appear whole or not at all, and replace those of an earlier save; they may be
/// the ones that the model was opened from.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_model_save(
    model: *const vaekl_model,
    path: *const c_char,
    options: *const vaekl_save_options,
    error: *mut vaekl_error,
) -> vaekl_status {
    let body = || {
        // SAFETY: model, strings and structs are the caller's, by the contract of the header.
        let (model, path, options) = unsafe {
            let model = args::object(model, "model")?;
            (model, args::path(path, "path")?, options::read(options)?.to_rust()?)
        };
        let path = path.ok_or_else(|| Error::invalid("path: NULL"))?;
        let saved = if is_file_name(&path) {
            model.model.save_file(&path, &options)
        } else {
            model.model.save_pretrained(&path, &options)
        };
        saved.map(|_| ())
    };
    // SAFETY: `error` by the contract of the header.
    unsafe { guard(error, body) }
}

fn is_file_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors"))
}
