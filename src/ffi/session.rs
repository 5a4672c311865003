use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ops::ControlFlow;
use std::ptr;

use super::args;
use super::guard::{free, guard, guard_out};
use super::model::vaekl_model;
use super::options::{self, Growing, end_of};
use super::status::{vaekl_error, vaekl_status};
use super::turn::vaekl_session;
use super::types::{
    VAEKL_ATTENTION_ROW_BY_ROW, VAEKL_ATTENTION_STREAMED, VAEKL_DTYPE_F32, VAEKL_TILING_DIFFUSERS,
    VAEKL_TILING_EXACT, VAEKL_TILING_SEAMLESS, vaekl_attention, vaekl_dtype, vaekl_tiling,
};
use crate::base::error::{Error, Result};
use crate::run::{Attention, Progress, Session, SessionOptions, Tiling};

/// Called from time to time with the progress of a call, on its thread. `done` and `total` count
/// units of work. Return 0 to go on, non-zero to cancel.
pub type vaekl_progress_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64) -> i32>;

/// Options of a session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_session_options {
    /// sizeof(vaekl_session_options), set by _init.
    pub struct_size: usize,
    /// Limit in bytes of what a call adds to the process's memory: workspace, weights, threads, the
    /// library's own lists and code; 0 = no limit. What the process holds already and the caller's
    /// buffers do not count. A call that does not fit fails with VAEKL_ERR_BUDGET before any work.
    /// The limit never changes a bit of the result, except in seamless tiles whose size is left to
    /// it. Without one too, a call takes the fastest plan for which the system has memory.
    pub memory_budget: u64,
    /// Number of threads; 0 = one per physical core. It never changes a bit of the result.
    pub threads: u32,
    /// Type of the activations between layers; default F32. F16 becomes F32 if the model sets
    /// force_upcast.
    pub activation_dtype: vaekl_dtype,
    /// Any VAEKL_TILING; default VAEKL_TILING_EXACT.
    pub tiling: vaekl_tiling,
    /// Side of a tile in latent pixels; VAEKL_TILING_EXACT does not read it. Default 0: the model's
    /// sample_size, or for seamless tiles with a budget or a workspace the largest that fits. A
    /// multiple of 4 for seamless tiles with an AutoencoderTiny.
    pub tile_size: u32,
    /// Overlap of neighbouring diffusers' tiles in latent pixels. Default 0: a quarter of a tile,
    /// or an eighth with an AutoencoderTiny. Must be 0 for seamless tiles.
    pub tile_overlap: u32,
    /// Folder for a nameless scratch file, to which activations are spilled that do not fit the
    /// budget. Copied. Default NULL: none.
    pub scratch_dir: *const c_char,
    /// Optional memory for calls to work in, 64-byte aligned, borrowed until the session is freed.
    /// Its contents do not matter. Default NULL: the session allocates its own.
    pub workspace: *mut c_void,
    /// Size of `workspace` in bytes; 0 without one. If it is smaller than
    /// vaekl_plan.workspace_bytes, a leaner plan is used where one exists.
    pub workspace_size: usize,
    /// Callback for progress. Default NULL: none.
    pub progress: vaekl_progress_fn,
    /// First argument of `progress`; not used after the session is freed.
    pub progress_user: *mut c_void,
    /// Any VAEKL_ATTENTION; default VAEKL_ATTENTION_STREAMED.
    pub attention: vaekl_attention,
    /// 1 = project query, key and value at once, 0 = one by one; default 0.
    pub fuse_qkv: u32,
}

// SAFETY: integers, raw pointers and an optional function pointer, the first of them the size.
unsafe impl Growing for vaekl_session_options {
    const NAME: &'static str = "vaekl_session_options";
    const FIRST: usize = end_of(offset_of!(Self, fuse_qkv) + size_of::<u32>());
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            memory_budget: 0,
            threads: 0,
            activation_dtype: VAEKL_DTYPE_F32,
            tiling: VAEKL_TILING_EXACT,
            tile_size: 0,
            tile_overlap: 0,
            scratch_dir: ptr::null(),
            workspace: ptr::null_mut(),
            workspace_size: 0,
            progress: None,
            progress_user: ptr::null_mut(),
            attention: VAEKL_ATTENTION_STREAMED,
            fuse_qkv: 0,
        }
    }
}

impl vaekl_session_options {
    pub(super) fn to_rust(self) -> Result<SessionOptions> {
        let tiling = self.tiling()?;
        let attention = match self.attention {
            VAEKL_ATTENTION_STREAMED => Attention::Streamed,
            VAEKL_ATTENTION_ROW_BY_ROW => Attention::RowByRow,
            other => {
                let expected = "VAEKL_ATTENTION_STREAMED or _ROW_BY_ROW";
                return Err(args::unknown("options.attention", expected, other));
            }
        };
        // SAFETY: NULL or a string, by the contract of the header.
        let scratch_dir = unsafe { args::path(self.scratch_dir, "options.scratch_dir") }?;
        Ok(SessionOptions {
            threads: self.threads as usize,
            activation_dtype: args::float_dtype(self.activation_dtype, "options.activation_dtype")?,
            fuse_qkv: args::flag(self.fuse_qkv, "options.fuse_qkv")?,
            attention,
            memory_budget: self.memory_budget,
            memory_reserved: 0,
            scratch_dir,
            tiling,
            tile_size: self.tile_size as usize,
            tile_overlap: self.tile_overlap as usize,
        })
    }

    fn tiling(&self) -> Result<Tiling> {
        match self.tiling {
            VAEKL_TILING_EXACT => Ok(Tiling::Exact),
            VAEKL_TILING_DIFFUSERS => Ok(Tiling::Diffusers),
            VAEKL_TILING_SEAMLESS => Ok(Tiling::Seamless),
            other => Err(args::unknown("options.tiling", "a VAEKL_TILING constant", other)),
        }
    }

    /// The caller's workspace.
    ///
    /// # Safety
    /// The memory is valid for reads and writes, and the session's alone, until the session is
    /// freed.
    unsafe fn workspace(&self) -> Result<Option<&'static mut [u8]>> {
        let Self { workspace, workspace_size, .. } = *self;
        match (workspace.is_null(), workspace_size) {
            (true, 0) => return Ok(None),
            (true, size) => {
                let message = format!("options.workspace: NULL with a workspace_size of {size}");
                return Err(Error::invalid(message));
            }
            (false, 0) => return Err(Error::invalid("options.workspace_size: 0")),
            _ => {}
        }
        args::span(workspace.addr(), Some(workspace_size))
            .ok_or_else(|| Error::invalid("options.workspace_size: too large"))?;
        // SAFETY: not NULL and no longer than an object can be, as just checked; bytes need no
        // alignment. Valid and not shared by the caller's contract for as long as the session
        // lives, which nothing that has the slice outlives: so it may be called 'static.
        Ok(Some(unsafe { std::slice::from_raw_parts_mut(workspace.cast(), workspace_size) }))
    }

    fn callback(&self) -> Callback {
        Callback { function: self.progress, user: self.progress_user }
    }
}

/// The caller's progress function and its first argument.
struct Callback {
    function: vaekl_progress_fn,
    user: *mut c_void,
}

// SAFETY: called on the thread that made the call only, whichever that is; the caller who moves a
// session between threads moves `user` with it.
unsafe impl Send for Callback {}

impl Callback {
    fn call(&self, done: u64, total: u64) -> ControlFlow<()> {
        let Some(function) = self.function else { return ControlFlow::Continue(()) };
        // SAFETY: a function of the header's type, by the contract of vaekl_session_options.
        match unsafe { function(self.user, done, total) } {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

/// Fills in the defaults. `struct_size` is sizeof(vaekl_session_options).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_session_options_init(
    options: *mut vaekl_session_options,
    struct_size: usize,
) -> vaekl_status {
    // SAFETY: `options` has `struct_size` bytes by the contract of the header; errors may be NULL.
    unsafe { guard(ptr::null_mut(), || options::init(options, struct_size)) }
}

/// Makes a session. NULL `options` mean the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_session_new(
    model: *const vaekl_model,
    options: *const vaekl_session_options,
    out: *mut *mut vaekl_session,
    error: *mut vaekl_error,
) -> vaekl_status {
    let body = || {
        // SAFETY: `model` and `options` by the contract of the header.
        let (model, options) = unsafe { (args::object(model, "model")?, options::read(options)?) };
        let mut session = Session::new(&model.model, &options.to_rust()?)?;
        // SAFETY: as above.
        if let Some(workspace) = unsafe { options.workspace() }? {
            session.set_workspace(workspace)?;
        }
        let callback = options.callback();
        session.on_progress(Some(Box::new(move |Progress { done, total, .. }| {
            callback.call(done, total)
        })));
        Ok(Box::into_raw(Box::new(vaekl_session::new(session))))
    };
    // SAFETY: `out` and `error` by the contract of the header.
    unsafe { guard_out(error, out, body) }
}

/// Cancels the session's current call, if any: it returns VAEKL_ERR_CANCELLED within a fraction of
/// a second. For an open stream, the next and all later reads return it. A later call is not
/// affected. Callable from any thread, but not from a signal handler. Without effect in a forked
/// child, and once a result without tiles is being copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_session_cancel(session: *const vaekl_session) {
    // SAFETY: NULL or a live session, by the contract of the header.
    if let Ok(handle) = unsafe { args::object(session, "session") } {
        handle.cancel();
    }
}

/// Workspace in bytes that the session holds since its last call ended. Callable from any thread; 0
/// for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_session_memory(session: *const vaekl_session) -> u64 {
    // SAFETY: NULL or a live session, by the contract of the header.
    let handle = unsafe { args::object(session, "session") };
    handle.map_or(0, vaekl_session::memory)
}

/// Frees a session, and returns when its threads have ended. No call may be using it: a session in
/// use, as in a callback, is leaked instead. In a forked child it waits for nothing; a session that
/// was in use at the fork is leaked there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_session_free(session: *mut vaekl_session) {
    // SAFETY: NULL or from vaekl_session_new, and not used after, by the contract of the header.
    unsafe {
        if args::object(session, "session").is_ok_and(vaekl_session::in_use) {
            return;
        }
        free(session);
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{VAEKL_DTYPE_F16, VAEKL_DTYPE_U8};
    use super::*;
    use crate::base::error::ErrorKind;

    fn defaults() -> vaekl_session_options {
        vaekl_session_options::defaults()
    }

    fn refused(options: vaekl_session_options) -> (ErrorKind, String) {
        let error = options.to_rust().unwrap_err();
        (error.kind(), error.message().to_owned())
    }

    #[test]
    fn options_reach_rust() {
        let options = vaekl_session_options {
            threads: 3,
            activation_dtype: VAEKL_DTYPE_F16,
            attention: VAEKL_ATTENTION_ROW_BY_ROW,
            fuse_qkv: 1,
            ..defaults()
        };
        let options = options.to_rust().unwrap();
        assert_eq!((options.threads, options.fuse_qkv), (3, true));
        assert_eq!(options.activation_dtype, crate::base::storage::Storage::F16);
        assert_eq!(options.attention, Attention::RowByRow);
    }

    #[test]
    fn an_unknown_constant_is_named() {
        for (options, field) in [
            (vaekl_session_options { tiling: 3, ..defaults() }, "tiling"),
            (vaekl_session_options { attention: 2, ..defaults() }, "attention"),
            (vaekl_session_options { fuse_qkv: 2, ..defaults() }, "fuse_qkv"),
            (
                vaekl_session_options { activation_dtype: VAEKL_DTYPE_U8, ..defaults() },
                "activation_dtype",
            ),
        ] {
            let (kind, message) = refused(options);
            assert_eq!(kind, ErrorKind::InvalidArgument);
            assert!(message.starts_with(&format!("options.{field}: ")), "{message}");
        }
    }
}
