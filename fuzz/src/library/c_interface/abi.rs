//! The part of `include/vaekl.h` that is called, as Rust declares it.
#![allow(clippy::missing_safety_doc)]

use std::ffi::{c_char, c_void};

#[repr(C)]
pub struct Error {
    pub status: i32,
    pub message: [u8; 504],
    pub os_error: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Image {
    pub data: *mut c_void,
    pub width: u32,
    pub height: u32,
    pub dtype: u32,
    pub layout: u32,
    pub row_stride: usize,
    pub plane_stride: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Latent {
    pub data: *mut c_void,
    pub batch: u32,
    pub channels: u32,
    pub height: u32,
    pub width: u32,
    pub dtype: u32,
    pub scale: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ModelInfo {
    pub struct_size: usize,
    pub image_channels: u32,
    pub latent_channels: u32,
    pub downscale: u32,
    pub parts: u32,
    pub scaling_factor: f32,
    pub shift_factor: f32,
    pub weight_bytes: u64,
    pub parameters: u64,
    pub input_channels: u32,
    pub guessed: u32,
    pub mapped: u32,
    pub unused_tensors: u32,
    pub posterior: u32,
    pub masks: u32,
    pub patch_size: u32,
    pub reserved: u32,
}

pub type Progress = Option<unsafe extern "C" fn(*mut c_void, u64, u64) -> i32>;
pub type OnRows = Option<unsafe extern "C" fn(*mut c_void, u32, u32, *const c_void, usize) -> i32>;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct SessionOptions {
    pub struct_size: usize,
    pub memory_budget: u64,
    pub threads: u32,
    pub activation_dtype: u32,
    pub tiling: u32,
    pub tile_size: u32,
    pub tile_overlap: u32,
    pub scratch_dir: *const c_char,
    pub workspace: *mut c_void,
    pub workspace_size: usize,
    pub progress: Progress,
    pub progress_user: *mut c_void,
    pub attention: u32,
    pub fuse_qkv: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Plan {
    pub struct_size: usize,
    pub workspace_bytes: u64,
    pub scratch_bytes: u64,
    pub peak_bytes: u64,
    pub tiles_x: u32,
    pub tiles_y: u32,
    pub tile_size: u32,
    pub exact: u32,
}

// The functions of include/vaekl.h, which the library has by the feature `capi`.
unsafe extern "C" {
    pub fn vaekl_model_open(
        path: *const c_char,
        options: *const c_void,
        out: *mut *mut c_void,
        error: *mut Error,
    ) -> i32;
    pub fn vaekl_model_get_info(model: *const c_void, out: *mut ModelInfo) -> i32;
    pub fn vaekl_model_notice(model: *const c_void, index: u32) -> *const c_char;
    pub fn vaekl_model_free(model: *mut c_void);
    pub fn vaekl_session_options_init(options: *mut SessionOptions, struct_size: usize) -> i32;
    pub fn vaekl_session_new(
        model: *const c_void,
        options: *const SessionOptions,
        out: *mut *mut c_void,
        error: *mut Error,
    ) -> i32;
    pub fn vaekl_session_cancel(session: *const c_void);
    pub fn vaekl_session_memory(session: *const c_void) -> u64;
    pub fn vaekl_session_free(session: *mut c_void);
    pub fn vaekl_plan_decode(
        model: *const c_void,
        options: *const SessionOptions,
        width: u32,
        height: u32,
        out: *mut Plan,
        error: *mut Error,
    ) -> i32;
    pub fn vaekl_plan_encode(
        model: *const c_void,
        options: *const SessionOptions,
        width: u32,
        height: u32,
        out: *mut Plan,
        error: *mut Error,
    ) -> i32;
    pub fn vaekl_decode(
        session: *mut c_void,
        latent: *const Latent,
        out: *const Image,
        error: *mut Error,
    ) -> i32;
    pub fn vaekl_decode_masked(
        session: *mut c_void,
        latent: *const Latent,
        picture: *const Image,
        mask: *const Image,
        out: *const Image,
        error: *mut Error,
    ) -> i32;
    pub fn vaekl_decode_rows(
        session: *mut c_void,
        latent: *const Latent,
        dtype: u32,
        on_rows: OnRows,
        user: *mut c_void,
        error: *mut Error,
    ) -> i32;
    pub fn vaekl_stream_open(
        session: *mut c_void,
        latent: *const Latent,
        dtype: u32,
        out: *mut *mut c_void,
        error: *mut Error,
    ) -> i32;
    pub fn vaekl_stream_read(
        stream: *mut c_void,
        dst: *mut c_void,
        row_stride: usize,
        max_rows: u32,
        rows_out: *mut u32,
        error: *mut Error,
    ) -> i32;
    pub fn vaekl_stream_free(stream: *mut c_void);
    pub fn vaekl_encode(
        session: *mut c_void,
        image: *const Image,
        posterior: u32,
        seed: u64,
        out: *const Latent,
        error: *mut Error,
    ) -> i32;
}
