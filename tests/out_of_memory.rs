//! A call that gets no memory fails with `OutOfMemory`, and its session gives the same bits after;
//! a model that cannot be opened or saved for want of it can be afterwards.
//!
//! Allocations of 4 KiB and more fail one at a time. The allocator is that of the whole process,
//! so that this file has one test. `scripts/walk` does the same from C, and for all else that the
//! system may refuse.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use ndarray::{Array3, Array4, Axis};
use support::Fixture;
use vaekl::{
    ErrorKind, Model, Result, SaveOptions, Session, SessionOptions, Storage, Tiling, plan_decode,
};

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
}

/// Gives the bits that it computed, in brief.
type Call = fn(&mut Session, &mut Inputs) -> Result<u64>;

const CALLS: [(&str, Call); 3] = [
    ("decode", |session, inputs| {
        let latents = inputs.latents.view().insert_axis(Axis(0));
        Ok(bits(session.decode(latents)?.sample.iter()))
    }),
    ("stream", |session, inputs| {
        let mut seen = 0_u64;
        session.decode_rows(inputs.latents.view(), &mut |_, row| {
            seen = bits(row.iter()) ^ seen.rotate_left(1);
            ControlFlow::Continue(())
        })?;
        Ok(seen)
    }),
    ("encode", |session, inputs| {
        Ok(bits(session.encode(inputs.picture.view())?.encoded.mode().iter()))
    }),
];

/// A number that another bit in `values` changes (FNV-1a).
fn bits<'a>(values: impl Iterator<Item = &'a f32>) -> u64 {
    values.fold(0xcbf2_9ce4_8422_2325, |hash, value| {
        (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01b3)
    })
}

fn inputs(model: &Model) -> Inputs {
    let (config, (height, width)) = (model.config(), (12, 20));
    let scale = config.downscale();
    let pixels = (1, config.in_channels, height * scale, width * scale);
    let latents = (config.latent_channels, height, width);
    let value = |at: usize| (at as f32 * 0.7).sin();
    Inputs {
        latents: Array3::from_shape_fn(latents, |(c, y, x)| value(c * 31 + y * 7 + x * 3)),
        picture: Array4::from_shape_fn(pixels, |(_, c, y, x)| value(c * 31 + y * 7 + x * 3)),
    }
}

/// Fails the large allocations of `call` one at a time, `most` at most. Gives how many failed. What
/// `call` gives may not have been allocated by the test.
fn walk<T: PartialEq>(what: &str, most: usize, mut call: impl FnMut() -> Result<T>) -> usize {
    COUNT.store(0, SeqCst);
    let expected = call().unwrap();
    let count = COUNT.load(SeqCst);
    let mut failed = 0;
    for at in (1..=count).step_by(count.div_ceil(most).max(1)) {
        LEFT.store(at, SeqCst);
        let result = call();
        LEFT.store(0, SeqCst);
        match result {
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{what}, {at}: {error}"),
            // What asks the system for its limits goes on without an answer.
            Ok(found) => assert!(found == expected, "{what}, {at}: something else"),
        }
        assert!(call().unwrap() == expected, "{what}: something else after {at} failed");
        failed += 1;
    }
    failed
}

/// Opening the fixture, and saving it in one file, in many and in another type.
fn open_and_save(fixture: &Fixture, model: &Model) -> usize {
    let name = format!("vaekl-oom-{}-{}", fixture.name, std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).unwrap();
    let (file, shards) = (folder.join("one.safetensors"), folder.join("shards"));
    let as_it_is = SaveOptions::default();
    let cut = SaveOptions::default().with_max_shard_size(20_000).with_dtype(Storage::Bf16);
    let mut failed = walk(&format!("{}, save", fixture.name), 100, || {
        Ok(model.save_file(&file, &as_it_is)?.weight_bytes)
    });
    failed += walk(&format!("{}, shards", fixture.name), 100, || {
        Ok(model.save_pretrained(&shards, &cut)?.weight_bytes)
    });
    for path in [&file, &shards] {
        failed += walk(&format!("{}, open", path.display()), 100, || {
            Ok(Model::open(path)?.info().weight_bytes)
        });
    }
    std::fs::remove_dir_all(&folder).unwrap();
    failed
}

#[test]
fn what_cannot_be_allocated_is_an_error_and_the_session_goes_on() {
    let mut failed = 0;
    let families = ["taesd", "taef2", "flux2", "asymmetric"].map(Fixture::family);
    let fixtures = std::iter::once(Fixture::open("sd_like")).chain(families);
    for fixture in fixtures {
        let (name, model) = (&fixture.name, fixture.model(|_| ()));
        failed += open_and_save(&fixture, &model);
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
                    failed += walk(&what, 2, || f(&mut session, &mut inputs));
                }
            }
        }
    }
    assert!(failed > 200, "only {failed} allocations failed");
}
