//! A call that gets no memory fails with `OutOfMemory`, and its session gives the same bits after.
//!
//! Allocations of 4 KiB and more fail one at a time. The allocator is that of the whole process,
//! so that this file has one test. `scripts/walk` does the same from C, and for all else that the
//! system may refuse.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use ndarray::{Array3, Array4};
use support::Fixture;
use vaekl::{ErrorKind, Model, Result, Session, SessionOptions, Tiling, plan_decode};

/// Allocations of so many bytes may fail.
const LARGE: usize = 4096;

/// The system's allocator, which fails one large allocation on request.
struct Failing;

/// Large allocations to come until the one that fails; 0 for none.
static LEFT: AtomicUsize = AtomicUsize::new(0);
/// Large allocations so far.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn fails(bytes: usize) -> bool {
    if bytes < LARGE {
        return false;
    }
    COUNT.fetch_add(1, SeqCst);
    LEFT.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1)
}

// SAFETY: all calls go to the system's allocator, or give NULL, as an allocator may.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: by the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: by the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if fails(size) {
            return ptr::null_mut();
        }
        // SAFETY: by the caller's contract.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static FAILING: Failing = Failing;

/// Latents, and a picture of as many pixels as they decode to.
struct Inputs {
    latents: Array3<f32>,
    picture: Array4<f32>,
    rows: Vec<f32>,
}

type Call = fn(&mut Session, &mut Inputs) -> Result<()>;

/// The calls on a session. Each gives what it computed.
const CALLS: [(&str, Call); 3] = [
    ("decode", |session, inputs| {
        let latents = inputs.latents.view().insert_axis(ndarray::Axis(0));
        inputs.rows.clear();
        inputs.rows.extend(session.decode(latents)?.sample.iter());
        Ok(())
    }),
    ("stream", |session, inputs| {
        inputs.rows.clear();
        session.decode_rows(inputs.latents.view(), &mut |_, row| {
            inputs.rows.extend(row);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }),
    ("encode", |session, inputs| {
        inputs.rows.clear();
        inputs.rows.extend(session.encode(inputs.picture.view())?.encoded.mode().iter());
        Ok(())
    }),
];

fn inputs(model: &Model) -> Inputs {
    let (config, (height, width)) = (model.config(), (12, 20));
    let scale = config.downscale();
    let pixels = (1, config.in_channels, height * scale, width * scale);
    let latents = (config.latent_channels, height, width);
    let value = |at: usize| (at as f32 * 0.7).sin();
    Inputs {
        latents: Array3::from_shape_fn(latents, |(c, y, x)| value(c * 31 + y * 7 + x * 3)),
        picture: Array4::from_shape_fn(pixels, |(_, c, y, x)| value(c * 31 + y * 7 + x * 3)),
        // Room for the result of any call: what the test allocates does not fail.
        rows: Vec::with_capacity(pixels.2 * pixels.3 * 64),
    }
}

/// Fails the large allocations of `call` one at a time, 2 at most. Gives how many failed.
fn walk(
    what: &str,
    session: &mut Session,
    inputs: &mut Inputs,
    call: fn(&mut Session, &mut Inputs) -> Result<()>,
) -> usize {
    COUNT.store(0, SeqCst);
    call(session, inputs).unwrap();
    let (count, expected) = (COUNT.load(SeqCst), inputs.rows.clone());
    let mut failed = 0;
    for at in (1..=count).step_by(count.div_ceil(2).max(1)) {
        LEFT.store(at, SeqCst);
        let result = call(session, inputs);
        LEFT.store(0, SeqCst);
        match result {
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{what}, {at}: {error}"),
            // What asks the system for its limits goes on without an answer.
            Ok(()) => assert!(inputs.rows == expected, "{what}, {at}: other bits"),
        }
        call(session, inputs).unwrap();
        assert!(inputs.rows == expected, "{what}: other bits after allocation {at} failed");
        failed += 1;
    }
    failed
}

#[test]
fn what_cannot_be_allocated_is_an_error_and_the_session_goes_on() {
    let mut failed = 0;
    let families = ["taesd", "taef2", "flux2", "asymmetric"].map(Fixture::family);
    let fixtures = std::iter::once(Fixture::open("sd_like")).chain(families);
    for fixture in fixtures {
        let (name, model) = (&fixture.name, fixture.model(|_| ()));
        let mut inputs = inputs(&model);
        let mut all = vec![("exact", SessionOptions::default())];
        let mut tiled = |what, tiling| {
            let mut options = SessionOptions::default();
            (options.tiling, options.tile_size) = (tiling, 8);
            if plan_decode(&model, &options, 12, 20).is_ok() {
                all.push((what, options));
            }
        };
        tiled("diffusers", Tiling::Diffusers);
        tiled("seamless", Tiling::Seamless);
        for (tiling, mut options) in all {
            options.threads = 2;
            let mut session = Session::new(&model, &options).unwrap();
            for (call, f) in CALLS {
                let what = format!("{name}, {tiling}, {call}");
                // A half that the fixture lacks.
                if f(&mut session, &mut inputs).is_ok() {
                    failed += walk(&what, &mut session, &mut inputs, f);
                }
            }
        }
    }
    assert!(failed > 25, "only {failed} allocations failed");
}
