use std::cell::UnsafeCell;
use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ops::ControlFlow;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::args;
use super::guard::{free, guard, guard_out};
use super::model::vaekl_model;
use super::options::{self, Growing, end_of};
use super::status::{vaekl_error, vaekl_status};
use super::types::{
    VAEKL_ATTENTION_ROW_BY_ROW, VAEKL_ATTENTION_STREAMED, VAEKL_DTYPE_F32, VAEKL_TILING_DIFFUSERS,
    VAEKL_TILING_EXACT, VAEKL_TILING_SEAMLESS, vaekl_attention, vaekl_dtype, vaekl_tiling,
};
use crate::base::buffer::ALIGN;
use crate::base::error::{Error, ErrorKind, Result};
use crate::run::{
    Attention, Plan, Progress, Session, SessionOptions, Tiling, plan_decode, plan_encode,
};

/// One user of a model at a time; owns threads and workspace.
pub struct vaekl_session {
    /// Whether a call has the session, and whether that one is asked to stop: [`IDLE`], [`BUSY`] or
    /// [`CANCELLED`]. One value, so that no request is lost and none reaches a later call; a handle of
    /// [`Session`] would be reset by each picture of a batch.
    state: Arc<AtomicU8>,
    /// Set when a call panicked: the session may be inconsistent and is not used again.
    poisoned: AtomicBool,
    /// Bytes of workspace after the last call.
    memory: AtomicU64,
    session: UnsafeCell<Session>,
}

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const CANCELLED: u8 = 2;

/// Called on the calling thread from time to time. `done` and `total` count units of work. Return 0 to
/// go on, non-zero to cancel.
pub type vaekl_progress_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64) -> i32>;

/// How a session works.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_session_options {
    /// sizeof(vaekl_session_options).
    pub struct_size: usize,
    /// Bytes that the process may have during a call, weights included; 0 = no limit. A call that cannot
    /// keep it fails with VAEKL_ERR_BUDGET before any work. The result is the same bits with any budget.
    pub memory_budget: u64,
    /// 0 = physical cores.
    pub threads: u32,
    /// Storage between layers; default F32. F16 becomes F32 for a model whose force_upcast is set.
    pub activation_dtype: vaekl_dtype,
    /// Default VAEKL_TILING_EXACT.
    pub tiling: vaekl_tiling,
    /// Latent pixels of a tile's side; 0 = the model's sample_size, or for seamless tiles the most that the
    /// budget has room for. Read by the other tilings only.
    pub tile_size: u32,
    /// Latent pixels that neighbours of diffusers' tiles share, 0 = a quarter of the tile.
    pub tile_overlap: u32,
    /// A folder where activations may go that the budget has no room for, in a file without a name;
    /// default NULL. Copied.
    pub scratch_dir: *const c_char,
    /// Memory that calls use as their workspace, optional: 64-byte aligned, borrowed until the session is
    /// freed; its contents mean nothing. Default NULL: the session has its own.
    pub workspace: *mut c_void,
    /// vaekl_plan.workspace_bytes, or less where a leaner way to work is welcome; 0 without a workspace.
    pub workspace_size: usize,
    /// Optional.
    pub progress: vaekl_progress_fn,
    /// First argument of `progress`, kept until the session is freed.
    pub progress_user: *mut c_void,
    /// Default VAEKL_ATTENTION_STREAMED.
    pub attention: vaekl_attention,
    /// 1 for one projection of query, key and value instead of three; default 0.
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
    fn to_rust(self) -> Result<SessionOptions> {
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
    /// The memory is the session's alone until it is freed.
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
        if !workspace.addr().is_multiple_of(ALIGN) {
            let message = format!("options.workspace: alignment to {ALIGN} bytes expected");
            return Err(Error::invalid(message));
        }
        args::span(workspace.addr(), Some(workspace_size))
            .ok_or_else(|| Error::invalid("options.workspace_size: too large"))?;
        // SAFETY: aligned and not NULL, as just checked; the rest by the caller's contract.
        Ok(Some(unsafe { std::slice::from_raw_parts_mut(workspace.cast(), workspace_size) }))
    }

    fn callback(&self) -> Callback {
        Callback { function: self.progress, user: self.progress_user }
    }
}

/// What a caller wants to be told, and how.
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

impl vaekl_session {
    fn new(mut session: Session, callback: Callback) -> Self {
        let state = Arc::new(AtomicU8::new(IDLE));
        let watched = Arc::clone(&state);
        session.on_progress(Some(Box::new(move |Progress { done, total, .. }| {
            match watched.load(Ordering::Relaxed) {
                CANCELLED => ControlFlow::Break(()),
                _ => callback.call(done, total),
            }
        })));
        Self {
            state,
            poisoned: AtomicBool::new(false),
            memory: AtomicU64::new(session.memory() as u64),
            session: UnsafeCell::new(session),
        }
    }

    fn poison_if_panicking(&self) {
        if std::thread::panicking() {
            self.poisoned.store(true, Ordering::Relaxed);
        }
    }

    fn check_poison(&self) -> Result<()> {
        let what = "session: poisoned by a defect of the library in an earlier call";
        match self.poisoned.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::State, what)),
            false => Ok(()),
        }
    }
}

/// The right to use a session, held by one call at a time.
struct Turn<'a>(&'a vaekl_session);

impl<'a> Turn<'a> {
    fn take(handle: &'a vaekl_session) -> Result<Self> {
        if handle.state.compare_exchange(IDLE, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return Err(Error::new(ErrorKind::State, "session: in use by another call"));
        }
        let turn = Self(handle);
        handle.check_poison()?;
        Ok(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.poison_if_panicking();
        self.0.state.store(IDLE, Ordering::Release);
    }
}

/// Gives the session to `body`, or fails with `State` when another call has it.
///
/// # Safety
/// `session` is NULL or a session that is not freed meanwhile.
pub(super) unsafe fn enter<R>(
    session: *const vaekl_session,
    body: impl FnOnce(&mut Session) -> Result<R>,
) -> Result<R> {
    // SAFETY: by the caller's contract.
    unsafe { take_turn(session, body) }.map(|(result, _)| result)
}

/// As [`enter`]; when `body` succeeds the session stays in use until [`leave`].
///
/// # Safety
/// As [`enter`].
pub(super) unsafe fn hold<R>(
    session: *const vaekl_session,
    body: impl FnOnce(&mut Session) -> Result<R>,
) -> Result<R> {
    // SAFETY: by the caller's contract.
    let (result, turn) = unsafe { take_turn(session, body) }?;
    std::mem::forget(turn);
    Ok(result)
}

/// Gives the session that is held to `body`, unless its holder was asked to stop.
///
/// # Safety
/// `session` came through [`hold`], and [`leave`] comes later.
pub(super) unsafe fn held<R>(
    session: *const vaekl_session,
    body: impl FnOnce(&mut Session) -> Result<R>,
) -> Result<R> {
    struct PoisonIfPanicking<'a>(&'a vaekl_session);
    impl Drop for PoisonIfPanicking<'_> {
        fn drop(&mut self) {
            self.0.poison_if_panicking();
        }
    }
    // SAFETY: a live session; what changes in it are atomics and what the holder has alone.
    let handle = unsafe { &*session };
    handle.check_poison()?;
    if handle.state.load(Ordering::Relaxed) == CANCELLED {
        return Err(Error::new(ErrorKind::Cancelled, "cancelled while rows were taken"));
    }
    let _guard = PoisonIfPanicking(handle);
    // SAFETY: the holder makes this the only reference.
    let session = unsafe { &mut *handle.session.get() };
    let result = body(session);
    handle.memory.store(session.memory() as u64, Ordering::Relaxed);
    result
}

/// Ends the use of a session that is held.
///
/// # Safety
/// As [`held`], which does not run.
pub(super) unsafe fn leave(session: *const vaekl_session) {
    // SAFETY: by the caller's contract.
    unsafe { (*session).state.store(IDLE, Ordering::Release) }
}

/// The body of [`enter`] and [`hold`].
///
/// # Safety
/// As [`enter`].
unsafe fn take_turn<'a, R>(
    session: *const vaekl_session,
    body: impl FnOnce(&mut Session) -> Result<R>,
) -> Result<(R, Turn<'a>)> {
    // SAFETY: by the caller's contract; what changes in it are atomics and what `Turn` protects.
    let handle: &'a vaekl_session = unsafe { args::object(session, "session") }?;
    let turn = Turn::take(handle)?;
    // SAFETY: the turn makes this the only reference.
    let session = unsafe { &mut *handle.session.get() };
    let result = body(session);
    handle.memory.store(session.memory() as u64, Ordering::Relaxed);
    Ok((result?, turn))
}

/// What a call will need.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct vaekl_plan {
    /// In: sizeof(vaekl_plan). Out: bytes filled.
    pub struct_size: usize,
    /// Exact: found by planning the real graph.
    pub workspace_bytes: u64,
    /// On disk, 0 without a scratch_dir.
    pub scratch_bytes: u64,
    /// An upper bound of the process's memory during the call: workspace, the weights that are resident
    /// at a time, and 16 MiB for the process itself. What the caller holds comes to it.
    pub peak_bytes: u64,
    /// Tiles in a row, 1 when the picture is worked on whole.
    pub tiles_x: u32,
    /// Tiles in a column, likewise.
    pub tiles_y: u32,
    /// Latent pixels of a tile's side, 0 without tiles.
    pub tile_size: u32,
    /// Rows worked on at a time, 0 when all of them are kept.
    pub band_rows: u32,
    /// 1 when the result equals the untiled one.
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
            band_rows: 0,
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

/// The body of the two plans.
///
/// # Safety
/// The pointers are as the header asks.
unsafe fn plan(
    model: *const vaekl_model,
    options: *const vaekl_session_options,
    out: *mut vaekl_plan,
    make: impl FnOnce(&crate::model::Model, &SessionOptions) -> Result<Plan>,
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

/// Fills in defaults: `options` of `struct_size` bytes, which is sizeof(vaekl_session_options).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_session_options_init(
    options: *mut vaekl_session_options,
    struct_size: usize,
) -> vaekl_status {
    // SAFETY: `options` has `struct_size` bytes by the contract of the header; errors may be NULL.
    unsafe { guard(ptr::null_mut(), || options::init(options, struct_size)) }
}

/// What a session with `options` would do for a decode of this size. Allocates nothing that outlives
/// the call. The caller has set out->struct_size.
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

/// The same for an encode.
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

/// Makes a session. NULL `options` are the defaults.
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
            session.lend(workspace);
        }
        Ok(Box::into_raw(Box::new(vaekl_session::new(session, options.callback()))))
    };
    // SAFETY: `out` and `error` by the contract of the header.
    unsafe { guard_out(error, out, body) }
}

/// Makes the call that uses the session, if there is one, return VAEKL_ERR_CANCELLED within a fraction
/// of a second; of an open stream the next read. From any thread; a later call is not affected.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_session_cancel(session: *const vaekl_session) {
    // SAFETY: NULL or a live session, by the contract of the header.
    if let Ok(handle) = unsafe { args::object(session, "session") } {
        let (from, to) = (BUSY, CANCELLED);
        let _ = handle.state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Bytes of workspace held since the last call ended. From any thread; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_session_memory(session: *const vaekl_session) -> u64 {
    // SAFETY: NULL or a live session, by the contract of the header.
    let handle = unsafe { args::object(session, "session") };
    handle.map_or(0, |handle| handle.memory.load(Ordering::Relaxed))
}

/// Frees a session. Not while a call uses it; one that is in use (a callback frees it) is leaked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_session_free(session: *mut vaekl_session) {
    // SAFETY: NULL or from vaekl_session_new, and not used after, by the contract of the header.
    unsafe {
        if args::object(session, "session").is_ok_and(|h| h.state.load(Ordering::Acquire) != IDLE) {
            return;
        }
        free(session);
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::{VAEKL_ERR_INTERNAL, VAEKL_ERR_STATE, VAEKL_OK};
    use super::super::types::{VAEKL_DTYPE_F16, VAEKL_DTYPE_U8};
    use super::*;

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
    fn a_panic_poisons_the_session_and_not_the_model() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/default");
        let model = crate::model::Model::open(path).unwrap();
        let session = || {
            let session = Session::new(&model, &SessionOptions::default()).unwrap();
            vaekl_session::new(session, defaults().callback())
        };
        let call = |session: &vaekl_session, body: &dyn Fn()| {
            let body = |_: &mut Session| {
                body();
                Ok(())
            };
            // SAFETY: the session lives as long as the borrow, and errors may be NULL.
            unsafe { guard(ptr::null_mut(), || enter(session, body)) }
        };
        let first = session();
        assert_eq!(call(&first, &|| {}), VAEKL_OK);
        assert_eq!(call(&first, &|| panic!("a defect")), VAEKL_ERR_INTERNAL);
        for _ in 0..2 {
            assert_eq!(call(&first, &|| unreachable!()), VAEKL_ERR_STATE);
        }
        assert_eq!(call(&session(), &|| {}), VAEKL_OK);

        // While it is held for a stream too.
        let streamed = session();
        let read = |body: &dyn Fn()| {
            let body = |_: &mut Session| {
                body();
                Ok(())
            };
            // SAFETY: the session is held, and errors may be NULL.
            unsafe { guard(ptr::null_mut(), || held(&raw const streamed, body)) }
        };
        // SAFETY: the session lives until the end of this test.
        unsafe { hold(&raw const streamed, |_| Ok(())) }.unwrap();
        assert_eq!(read(&|| {}), VAEKL_OK);
        assert_eq!(read(&|| panic!("a defect")), VAEKL_ERR_INTERNAL);
        assert_eq!(read(&|| unreachable!()), VAEKL_ERR_STATE);
        // SAFETY: it was held.
        unsafe { leave(&raw const streamed) };
        assert_eq!(call(&streamed, &|| unreachable!()), VAEKL_ERR_STATE);
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
