//! What a call allocates besides its workspace is no more than its plan counts for it.
//!
//! The allocator counts for all threads of the process, so that this file has one test, and one
//! that is asked for by itself: `cargo test --test bookkeeping -- --ignored`.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ndarray::Array3;
use support::Fixture;
use vaekl::{Model, Plan, Session, SessionOptions, Tiling, plan_decode, plan_encode};

/// The system's allocator, which counts the bytes in use and the most that ever were. The library
/// takes its workspace from the system itself.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    MOST.fetch_max(IN_USE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: all calls go to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: by the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: by the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both exist while one is copied to the other.
        grow(size);
        // SAFETY: by the caller's contract.
        let made = unsafe { System.realloc(at, layout, size) };
        IN_USE.fetch_sub(layout.size(), Relaxed);
        made
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most bytes in use during `call` beyond those before it.
fn allocated(call: impl FnOnce()) -> usize {
    let before = IN_USE.load(Relaxed);
    MOST.store(before, Relaxed);
    call();
    MOST.load(Relaxed) - before
}

/// What `plan` counts besides the workspace, the code and the threads' own memory; the weights are
/// among it.
fn beside(plan: &Plan, threads: usize) -> u64 {
    plan.peak_bytes - plan.workspace_bytes - (4 << 20) - (256 << 10) * threads as u64
}

fn check(what: &str, plan: &Plan, session: &Session, measured: usize) {
    let (counted, measured) = (beside(plan, session.threads()), measured as u64);
    // Weights are mapped, and not among what is measured.
    let weights = session.model().info().weight_bytes;
    assert!(measured <= counted, "{what}: {measured} bytes allocated, {counted} counted");
    // Without tiles, whose rows are beside the workspace, it is near what it bounds: a small part
    // of the workspace, and what is fixed.
    if plan.tiles_x * plan.tiles_y > 1 {
        return;
    }
    let most = plan.workspace_bytes / 16 + weights + (1 << 20);
    assert!(counted <= most, "{what}: {counted} bytes counted, of {most} at most");
}

fn decode(what: &str, model: &Model, options: &SessionOptions, height: usize, width: usize) {
    let channels = model.config().latent_channels;
    let latents = Array3::from_shape_fn((channels, height, width), |(c, y, x)| {
        ((c * 31 + y * 7 + x * 3) as f32 * 0.7).sin()
    });
    let plan = plan_decode(model, options, height, width).unwrap();
    let mut session = Session::new(model, options).unwrap();
    let measured = allocated(|| {
        let mut rows = 0;
        let mut on_row = |_: usize, _: &[f32]| {
            rows += 1;
            ControlFlow::Continue(())
        };
        assert_eq!(session.decode_rows(latents.view(), &mut on_row).unwrap(), plan);
        assert_eq!(rows, height * model.config().downscale());
    });
    check(&format!("{what}, decode {width}x{height}"), &plan, &session, measured);
}

fn encode(what: &str, model: &Model, options: &SessionOptions, height: usize, width: usize) {
    let plan = plan_encode(model, options, height, width).unwrap();
    let mut session = Session::new(model, options).unwrap();
    let mut result = 0;
    let measured = allocated(|| {
        let fill = &mut |y: usize, row: &mut [f32]| {
            row.iter_mut().enumerate().for_each(|(x, v)| *v = ((x + y) as f32 * 0.3).sin());
            Ok(())
        };
        let output = session.encode_rows(height, width, fill).unwrap();
        // The caller's.
        result = output.encoded.mode().len() * size_of::<f32>();
        result *= if output.encoded.posterior().is_some() { 2 } else { 1 };
    });
    check(&format!("{what}, encode {width}x{height}"), &plan, &session, measured - result);
}

fn options(threads: usize) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.threads = threads;
    options
}

#[test]
fn what_a_call_allocates_is_counted() {
    let kl = Model::open(Fixture::open("latent_1x1").path()).unwrap();
    let families = support::data().join("families");
    let tiny = Model::open(families.join("tiny")).unwrap();
    let flux2 = Model::open(families.join("flux2")).unwrap();

    for (name, model) in [("kl", &kl), ("flux2", &flux2), ("tiny", &tiny)] {
        let scale = model.config().downscale();
        for (threads, side) in [(1, 16), (3, 384)] {
            let latents = side / scale;
            decode(name, model, &options(threads), latents, latents + 3);
            encode(name, model, &options(threads), side, side + 3 * scale);
        }
        for tiling in [Tiling::Diffusers, Tiling::Seamless] {
            let mut options = options(2);
            (options.tiling, options.tile_size) = (tiling, 16);
            decode(&format!("{name}, {tiling:?}"), model, &options, 40, 50);
        }
        // Split, spilled, in tiles of a size that the budget chooses.
        let mut options = options(3);
        options.scratch_dir = Some(std::env::temp_dir());
        let full = plan_decode(model, &options, 64, 64).unwrap();
        for tiling in [Tiling::Exact, Tiling::Seamless] {
            options.tiling = tiling;
            for part in [9, 5] {
                let beside = full.peak_bytes - full.workspace_bytes;
                options.memory_budget = beside + full.workspace_bytes * part / 10;
                if plan_decode(model, &options, 64, 64).is_ok() {
                    decode(&format!("{name}, {tiling:?}, {part}/10"), model, &options, 64, 64);
                }
            }
        }
    }
}

/// Of few channels: lists that grow with the picture would show.
#[test]
#[ignore = "minutes: pictures of 4096x4096"]
fn what_a_call_on_a_large_picture_allocates_is_counted() {
    let kl = Model::open(Fixture::open("latent_1x1").path()).unwrap();
    let tiny = Model::open(support::data().join("families/tiny")).unwrap();
    for (name, model) in [("kl", &kl), ("tiny", &tiny)] {
        let side = 4096 / model.config().downscale();
        decode(name, model, &options(2), side, side);
        encode(name, model, &options(2), 4096, 4096);
    }
}
