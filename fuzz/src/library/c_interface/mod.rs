//! Sequences of calls of the C interface: models, sessions, plans, decodes in every form, encodes,
//! streams, in any order, with arguments that are valid, wrong or NULL as far as the header allows.
//! Workspaces and outputs begin as NaN and end in guards. An output of a call that failed is as it
//! was, but for rows of a decode in tiles; a bug of the library is never the answer, and a session
//! works after any error.

use std::ffi::{CString, c_void};
use std::path::PathBuf;
use std::ptr;

use super::choices::Choices;
use super::models::data;
use abi::*;
use zone::{GUARD, Picture, Zone, bytes_of};

mod abi;
mod zone;

/// The most calls of a sequence.
const MOST_CALLS: usize = 24;

const INTERNAL: i32 = -11;
const END: i32 = 1;
const BUDGET: i32 = -7;

const MODELS: [&str; 6] = [
    "sd_like",
    "latent_1x1",
    "families/flux2",
    "families/asymmetric",
    "families/tiny",
    "families/taesana",
];

/// An open model with what it says of itself.
struct Model {
    handle: *mut c_void,
    info: ModelInfo,
}

/// Opens every model; it costs little, and each input frees what it opened.
fn open(name: &str) -> Model {
    let path = CString::new(data().join(name).to_string_lossy().as_bytes()).expect("a path");
    let mut handle = ptr::null_mut();
    let mut error = fresh();
    // SAFETY: the path ends in NUL, NULL options are the defaults, and both outputs are ours.
    let status = unsafe { vaekl_model_open(path.as_ptr(), ptr::null(), &mut handle, &mut error) };
    assert_eq!(status, 0, "{name}");
    let mut info = ModelInfo { struct_size: size_of::<ModelInfo>(), ..empty() };
    // SAFETY: the model is open, and `info` has its size.
    assert_eq!(unsafe { vaekl_model_get_info(handle, &mut info) }, 0);
    // SAFETY: any index is allowed.
    let _ = unsafe { (vaekl_model_notice(handle, 0), vaekl_model_notice(handle, u32::MAX)) };
    Model { handle, info }
}

fn empty() -> ModelInfo {
    // SAFETY: all fields are integers and floats, of which zeros are values.
    unsafe { std::mem::zeroed() }
}

fn fresh() -> Error {
    Error { status: 77, message: [GUARD; 504], os_error: 77 }
}

/// An error is what the header says: of the status, one text that ends, and untouched by success.
fn check(status: i32, error: &Error, call: &str) {
    assert!(status != INTERNAL && (-12..=END).contains(&status), "{call}: {status}");
    if status < 0 {
        assert_eq!(error.status, status, "{call}");
        let end = error.message.iter().position(|&byte| byte == 0);
        let text = std::str::from_utf8(&error.message[..end.expect("an end")]);
        assert!(!text.expect("UTF-8").is_empty(), "{call}");
    } else {
        assert_eq!((error.status, error.os_error), (77, 77), "{call}");
        assert!(error.message.iter().all(|&byte| byte == GUARD), "{call}");
    }
}

/// Sizes of the cancelling callbacks: calls that are left.
unsafe extern "C" fn on_progress(user: *mut c_void, done: u64, total: u64) -> i32 {
    assert!(done <= total);
    // SAFETY: `user` is the count of the sequence, which outlives the session.
    let left = unsafe { &mut *user.cast::<u32>() };
    *left = left.saturating_sub(1);
    i32::from(*left == 0)
}

/// Rows that were taken: the next one expected, and how many until the callback cancels.
struct Taken {
    next: u32,
    left: u32,
    row: usize,
}

unsafe extern "C" fn on_rows(
    user: *mut c_void,
    y: u32,
    count: u32,
    rows: *const c_void,
    stride: usize,
) -> i32 {
    // SAFETY: `user` is the `Taken` of the call.
    let taken = unsafe { &mut *user.cast::<Taken>() };
    assert_eq!(y, taken.next);
    assert!(count > 0 && stride >= taken.row);
    let bytes = (count as usize - 1) * stride + taken.row;
    // SAFETY: so many bytes are valid by the header.
    let bytes = unsafe { std::slice::from_raw_parts(rows.cast::<u8>(), bytes) };
    std::hint::black_box(bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>());
    taken.next += count;
    taken.left = taken.left.saturating_sub(1);
    i32::from(taken.left == 0)
}

/// A session with what it borrows.
struct Session {
    handle: *mut c_void,
    /// The workspace, if it is lent one.
    workspace: Option<Zone>,
    options: SessionOptions,
    _scratch: CString,
    left: Box<u32>,
    limited: bool,
    /// Whether a decode may be in tiles, whose rows are written as they are made.
    tiled: bool,
}

impl Session {
    fn options(choices: &mut Choices<'_>) -> (SessionOptions, CString) {
        // SAFETY: zeros are values of integers, and NULL.
        let mut options: SessionOptions = unsafe { std::mem::zeroed() };
        let size = size_of::<SessionOptions>();
        // SAFETY: `options` has its size.
        assert_eq!(unsafe { vaekl_session_options_init(&mut options, size) }, 0);
        options.threads = 1 + choices.below(3) as u32;
        options.activation_dtype = choices.pick(&[0, 0, 1, 2, 3, 9]);
        options.tiling = choices.pick(&[0, 0, 1, 2, 7]);
        options.tile_size = choices.pick(&[0, 0, 4, 5, 8, 1]);
        options.tile_overlap = choices.pick(&[0, 0, 1, 2, 9]);
        options.attention = choices.pick(&[0, 1, 1, 5]);
        options.fuse_qkv = choices.pick(&[0, 1, 0, 2]);
        options.memory_budget = match choices.below(4) {
            0 => u64::from(choices.word()) >> choices.below(16),
            1 => (4 << 20) + u64::from(choices.word() >> 11),
            _ => 0,
        };
        let folder = if choices.flag() { std::env::temp_dir() } else { PathBuf::from("/no/such") };
        let folder = CString::new(folder.to_string_lossy().as_bytes()).expect("a path");
        if choices.flag() {
            options.scratch_dir = folder.as_ptr();
        }
        (options, folder)
    }

    fn new(choices: &mut Choices<'_>, model: &Model) -> Option<Self> {
        let (mut options, scratch) = Self::options(choices);
        let mut left = Box::new(u32::MAX);
        if choices.flag() {
            options.progress = Some(on_progress);
            options.progress_user = ptr::from_mut(&mut *left).cast();
        }
        let mut workspace = None;
        if choices.below(4) == 0 {
            let mut zone = Zone::new((choices.word() >> 11) as usize);
            (options.workspace, options.workspace_size) = (zone.pointer(), zone.len);
            if zone.len == 0 {
                options.workspace = ptr::null_mut();
            }
            workspace = Some(zone);
        }
        let (mut handle, mut error) = (ptr::null_mut(), fresh());
        // SAFETY: model and options are ours; the workspace outlives the session.
        let status = unsafe { vaekl_session_new(model.handle, &options, &mut handle, &mut error) };
        check(status, &error, "vaekl_session_new");
        assert_eq!(handle.is_null(), status != 0);
        let limited = options.memory_budget > 0 || workspace.is_some();
        // A limit may cut a tiny autoencoder's picture.
        let tiled = options.tiling != 0 || limited;
        (status == 0).then_some(Self {
            handle,
            workspace,
            options,
            _scratch: scratch,
            left,
            limited,
            tiled,
        })
    }

    /// What holds after every call.
    fn after(&mut self, call: &str) {
        if let Some(zone) = &mut self.workspace {
            zone.check_guards(call);
        }
        // SAFETY: the session is alive.
        let _ = unsafe { vaekl_session_memory(self.handle) };
    }
}

pub fn c_interface(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let model = open(choices.pick(&MODELS));
    let mut session = Session::new(&mut choices, &model);
    for _ in 0..MOST_CALLS {
        if choices.is_over() {
            break;
        }
        let Some(open) = &mut session else {
            session = Session::new(&mut choices, &model);
            continue;
        };
        // A callback that cancels soon, or never.
        let soon = 1 + choices.word() % choices.pick(&[8, 64, 512]);
        *open.left = if choices.below(4) == 0 { soon } else { u32::MAX };
        match choices.below(8) {
            0 | 1 => decode(&mut choices, &model, open),
            2 => masked(&mut choices, &model, open),
            3 => rows(&mut choices, &model, open),
            4 => stream(&mut choices, &model, open),
            5 => encode(&mut choices, &model, open),
            6 => plan(&mut choices, &model, open),
            _ => {
                // SAFETY: the session is alive, and freed once.
                unsafe {
                    vaekl_session_cancel(open.handle);
                    vaekl_session_free(open.handle);
                }
                open.handle = ptr::null_mut();
            }
        }
        match &mut session {
            Some(open) if open.handle.is_null() => session = None,
            Some(open) => open.after("a call"),
            None => {}
        }
    }
    // SAFETY: both are ours; the session may outlive the model.
    unsafe {
        vaekl_model_free(model.handle);
        if let Some(session) = session {
            vaekl_session_free(session.handle);
        }
        vaekl_session_free(ptr::null_mut());
        vaekl_stream_free(ptr::null_mut());
    }
}

/// Latents of valid values, with their memory; now and then a field is wrong.
fn latents(choices: &mut Choices<'_>, model: &Model, batch: u32) -> (Zone, Latent) {
    let (height, width) = (1 + choices.below(6) as u32, 1 + choices.below(6) as u32);
    let dtype = choices.pick(&[0, 1, 2]);
    let channels = model.info.latent_channels;
    let count = (batch * channels * height * width) as usize;
    let mut zone = Zone::new(count * bytes_of(dtype));
    zone.fill(dtype, choices);
    let mut view = Latent {
        data: zone.pointer(),
        batch,
        channels,
        height,
        width,
        dtype,
        scale: choices.pick(&[0, 1]),
    };
    spoil_latent(choices, &mut view);
    (zone, view)
}

/// Makes a field wrong, one time of many. No view claims more than the memory that it has: that is
/// the caller's part of the contract.
fn spoil_latent(choices: &mut Choices<'_>, view: &mut Latent) {
    match choices.below(64) {
        0 => view.data = ptr::null_mut(),
        1 => view.batch = 0,
        2 => view.channels -= 1,
        3 => view.height = 0,
        4 => view.width = 0,
        5 => view.dtype = choices.pick(&[3, 4, 255, u32::MAX]),
        6 => view.scale = 2,
        _ => {}
    }
}

fn spoil_image(choices: &mut Choices<'_>, view: &mut Image) {
    match choices.below(64) {
        0 => view.data = ptr::null_mut(),
        1 => view.width -= 1,
        2 => view.height = 0,
        3 => view.dtype = choices.pick(&[4, 255, u32::MAX]),
        4 => view.layout = 2,
        5 => view.row_stride = 1,
        6 => (view.layout, view.plane_stride) = (1, 1),
        _ => {}
    }
}

fn shape(model: &Model, latent: &Latent) -> [u32; 3] {
    let side = |side: u32| (side % 64).max(1) * model.info.downscale;
    [model.info.image_channels, side(latent.height), side(latent.width)]
}

fn decode(choices: &mut Choices<'_>, model: &Model, session: &mut Session) {
    let batch = 1 + choices.below(2) as u32;
    let (_zone, latent) = latents(choices, model, batch);
    let shape = shape(model, &latent);
    let mut pictures: Vec<_> = (0..batch).map(|_| Picture::new(choices, shape)).collect();
    let mut views: Vec<_> = pictures.iter().map(|picture| picture.view).collect();
    spoil_image(choices, &mut views[0]);
    let mut error = fresh();
    // SAFETY: views of memory that lives through the call.
    let status = unsafe { vaekl_decode(session.handle, &latent, views.as_ptr(), &mut error) };
    check(status, &error, "vaekl_decode");
    finish(status, &mut pictures, session, session.tiled);
}

/// Guards, and outputs of a call that failed before any picture. A batch keeps its first ones, and
/// a decode in tiles its first rows.
fn finish(status: i32, pictures: &mut [Picture], session: &Session, in_tiles: bool) {
    assert!(status != BUDGET || session.limited, "a budget that nobody set");
    let whole = pictures.len() == 1 && !in_tiles;
    for Picture { zone, .. } in pictures {
        zone.check_guards("an output");
        let untouched = zone.bytes().iter().all(|&byte| byte == 0xff);
        assert!(status == 0 || !whole || untouched, "written although the call failed: {status}");
    }
}

fn masked(choices: &mut Choices<'_>, model: &Model, session: &mut Session) {
    let (_zone, latent) = latents(choices, model, 1);
    let shape = shape(model, &latent);
    let mut out = [Picture::new(choices, shape)];
    let mut picture = Picture::new(choices, shape);
    picture.zone.fill(picture.view.dtype, choices);
    let mut mask = Picture::new(choices, [1, shape[1], shape[2]]);
    mask.zone.fill(mask.view.dtype, choices);
    spoil_image(choices, &mut mask.view);
    let mut error = fresh();
    // SAFETY: views of memory that lives through the call.
    let status = unsafe {
        let (picture, mask) = (&picture.view, &mask.view);
        vaekl_decode_masked(session.handle, &latent, picture, mask, &out[0].view, &mut error)
    };
    check(status, &error, "vaekl_decode_masked");
    assert!(status != 0 || model.info.masks == 1);
    finish(status, &mut out, session, false);
}

fn rows(choices: &mut Choices<'_>, model: &Model, session: &mut Session) {
    let (_zone, latent) = latents(choices, model, 1);
    let [channels, height, width] = shape(model, &latent);
    let dtype = choices.pick(&[0, 1, 2, 3]);
    let left = if choices.below(8) == 0 { 1 + choices.below(20) as u32 } else { u32::MAX };
    let mut taken = Taken { next: 0, left, row: (channels * width) as usize * bytes_of(dtype) };
    let (mut error, user) = (fresh(), ptr::from_mut(&mut taken).cast());
    // SAFETY: the latents live through the call, and so does what the callback is given.
    let status = unsafe {
        vaekl_decode_rows(session.handle, &latent, dtype, Some(on_rows), user, &mut error)
    };
    check(status, &error, "vaekl_decode_rows");
    assert!(status != 0 || taken.next == height, "{} of {height} rows", taken.next);
}

fn stream(choices: &mut Choices<'_>, model: &Model, session: &mut Session) {
    let (_zone, latent) = latents(choices, model, 1);
    let [channels, height, width] = shape(model, &latent);
    let dtype = choices.pick(&[0, 1, 2, 3]);
    let (mut stream, mut error) = (ptr::null_mut(), fresh());
    // SAFETY: the latents live until the stream is freed.
    let status =
        unsafe { vaekl_stream_open(session.handle, &latent, dtype, &mut stream, &mut error) };
    check(status, &error, "vaekl_stream_open");
    assert_eq!(stream.is_null(), status != 0);
    if status != 0 {
        return;
    }
    let row = (channels * width) as usize * bytes_of(dtype);
    let (mut rows, mut over) = (Vec::new(), false);
    for _ in 0..2 * height {
        let most = choices.below(9) as u32;
        let stride = row + bytes_of(dtype) * choices.below(3);
        let len = (most as usize * stride + row).saturating_sub(stride);
        let mut zone = Zone::new(len);
        // An argument that is refused costs no row.
        let given = if choices.below(16) == 0 { 1 } else { stride };
        let (mut count, mut error) = (u32::MAX, fresh());
        if choices.below(32) == 0 {
            // SAFETY: the stream has the session, which is alive.
            unsafe { vaekl_session_cancel(session.handle) };
        }
        // SAFETY: the zone has room for `most` rows, `stride` apart.
        let status = unsafe {
            vaekl_stream_read(stream, zone.pointer(), given, most, &mut count, &mut error)
        };
        check(status, &error, "vaekl_stream_read");
        zone.check_guards("vaekl_stream_read");
        match status {
            0 => {
                assert!(count <= most && (count > 0 || most == 0), "{count} of {most} rows");
                for y in 0..count as usize {
                    rows.extend_from_slice(&zone.bytes()[y * stride..][..row]);
                }
            }
            END => {
                assert_eq!((rows.len(), count), (height as usize * row, 0));
                over = true;
                break;
            }
            _ => {
                assert!(zone.bytes().iter().all(|&byte| byte == 0xff), "written by a failure");
                if choices.flag() {
                    break;
                }
            }
        }
        if choices.below(32) == 0 {
            break;
        }
    }
    assert!(rows.len() <= height as usize * row);
    // SAFETY: freed once.
    unsafe { vaekl_stream_free(stream) };
    if over {
        let mut zone = Zone::new(rows.len());
        let data = zone.pointer();
        let view = Image { data, width, height, dtype, layout: 0, row_stride: 0, plane_stride: 0 };
        let mut error = fresh();
        // SAFETY: views of memory that lives through the call.
        let status = unsafe { vaekl_decode(session.handle, &latent, &view, &mut error) };
        assert!(status != 0 || zone.bytes() == rows, "the stream has other rows than the decode");
    }
}

fn encode(choices: &mut Choices<'_>, model: &Model, session: &mut Session) {
    let downscale = model.info.downscale;
    let (high, wide) = (1 + choices.below(5) as u32, 1 + choices.below(5) as u32);
    let size = [model.info.input_channels, high * downscale, wide * downscale];
    let mut picture = Picture::new(choices, size);
    picture.zone.fill(picture.view.dtype, choices);
    spoil_image(choices, &mut picture.view);
    let posterior = choices.pick(&[0, 1, 2, 2, 3]);
    let dtype = choices.pick(&[0, 1, 2]);
    let channels = model.info.latent_channels * if posterior == 2 { 2 } else { 1 };
    let mut zone = Zone::new((channels * high * wide) as usize * bytes_of(dtype));
    let scale = choices.pick(&[0, 0, 1]);
    let data = zone.pointer();
    let mut out = Latent { data, batch: 1, channels, height: high, width: wide, dtype, scale };
    spoil_latent(choices, &mut out);
    let (seed, mut error) = (choices.long(), fresh());
    // SAFETY: views of memory that lives through the call.
    let status =
        unsafe { vaekl_encode(session.handle, &picture.view, posterior, seed, &out, &mut error) };
    check(status, &error, "vaekl_encode");
    zone.check_guards("vaekl_encode");
    let untouched = zone.bytes().iter().all(|&byte| byte == 0xff);
    assert!(status == 0 || untouched, "written although the call failed: {status}");
}

fn plan(choices: &mut Choices<'_>, model: &Model, session: &Session) {
    let (mut plan, mut error) =
        (Plan { struct_size: size_of::<Plan>(), ..Plan::default() }, fresh());
    let side = |choices: &mut Choices<'_>| match choices.below(8) {
        0 => choices.word(),
        _ => choices.below(200) as u32,
    };
    let (width, height) = (side(choices), side(choices));
    // SAFETY: model and options are alive, and the outputs are ours.
    let status = unsafe {
        if choices.flag() {
            vaekl_plan_decode(model.handle, &session.options, width, height, &mut plan, &mut error)
        } else {
            vaekl_plan_encode(model.handle, &session.options, width, height, &mut plan, &mut error)
        }
    };
    check(status, &error, "vaekl_plan");
    let budget = session.options.memory_budget;
    assert!(status != 0 || budget == 0 || plan.peak_bytes <= budget);
}
