//! Seamless tiles: the exact picture but for a small error of its statistics, whatever the tiles,
//! and the same bits whatever the threads and the place of the activations.

mod support;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use ndarray::{Array4, s};
use support::{Distance, Fixture, f32x4};
use vaekl::{ErrorKind, Model, Session, SessionOptions, Tiling, plan_decode, plan_encode};

fn options(tile_size: usize) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.threads = 2;
    options.tiling = Tiling::Seamless;
    options.tile_size = tile_size;
    options
}

fn decode(model: &Model, options: &SessionOptions, latents: &Array4<f32>) -> Array4<f32> {
    Session::new(model, options).unwrap().decode(latents.view()).unwrap().sample
}

/// The default model and latents of a picture with a sky, a hill and a fence, 40x32 of them.
fn scene() -> (Model, Array4<f32>) {
    let model = Model::open("cli/model").unwrap();
    let picture = Array4::from_shape_fn((1, 3, 256, 320), |(_, c, y, x)| {
        let (y, x, c) = (y as f32 / 256.0, x as f32 / 320.0, c as f32);
        let hill = 0.5 + 0.25 * (7.0 * x).sin();
        let fence = if y > 0.75 && (x * 40.0).fract() < 0.3 { 0.6 } else { 0.0 };
        if y < hill {
            0.9 - y - 0.2 * c
        } else {
            0.3 * c - 0.5 * y + 0.2 * (60.0 * y * x).sin() + fence
        }
    });
    let mut session = Session::new(&model, &SessionOptions::default()).unwrap();
    let latents = session.encode(picture.view()).unwrap().encoded.mode().to_owned();
    (model, latents)
}

fn psnr(found: &Array4<f32>, expected: &Array4<f32>) -> f64 {
    Distance::new(found, &expected.mapv(f64::from).into_dyn()).psnr
}

#[test]
fn tiles_are_the_exact_picture_but_for_a_small_error() {
    let (model, latents) = scene();
    let exact = decode(&model, &SessionOptions::default(), &latents);
    for size in [24, 16, 12, 7] {
        let found = psnr(&decode(&model, &options(size), &latents), &exact);
        println!("tiles of {size}: {found:.1} dB");
        assert!(found >= 50.0, "tiles of {size}: {found}");
    }
    let mut diffusers = options(16);
    diffusers.tiling = Tiling::Diffusers;
    let found = psnr(&decode(&model, &diffusers, &latents), &exact);
    assert!(found < 45.0, "the picture makes no difference to tiles: {found}");
}

/// Tiles of 32x20 and of 16x20 latents, whose reduced picture is the same: what is left is
/// rounding.
#[test]
fn where_tiles_meet_nothing_is_seen() {
    let (model, latents) = scene();
    let plans = [35, 20].map(|size| plan_decode(&model, &options(size), 32, 40).unwrap());
    assert_eq!(plans.map(|plan| (plan.tiles_x, plan.tiles_y)), [(2, 1), (2, 2)]);
    let [large, small] = [35, 20].map(|size| decode(&model, &options(size), &latents));
    let found = psnr(&large, &small);
    assert!(found >= 100.0, "{found} dB");
    let turned = latents.permuted_axes([0, 1, 3, 2]).as_standard_layout().to_owned();
    let [large, small] = [35, 20].map(|size| decode(&model, &options(size), &turned));
    let found = psnr(&large, &small);
    assert!(found >= 100.0, "turned: {found} dB");
}

/// Where all of the picture is in the reduced one, its statistics are exact.
#[test]
fn every_architecture_decodes_to_its_exact_picture() {
    for fixture in Fixture::all() {
        if !fixture.has("latents") {
            continue;
        }
        let model = fixture.model(|_| {});
        let some = f32x4(&fixture.tensor("latents"));
        let (_, channels, rows, columns) = some.dim();
        // Enough of them that tiles do not have all of the picture around them.
        let (height, width, size) = (30, 34, 32);
        let latents = Array4::from_shape_fn((1, channels, height, width), |(_, c, y, x)| {
            some[(0, c, y % rows, x % columns)] * (0.5 + 0.03 * x as f32)
        });
        let plan = plan_decode(&model, &options(size), height, width).unwrap();
        assert!(!plan.exact && plan.tiles_x == 2, "{}", fixture.name);
        let exact = decode(&model, &SessionOptions::default(), &latents);
        let found = psnr(&decode(&model, &options(size), &latents), &exact);
        println!("{:>24}: {found:.1} dB", fixture.name);
        assert!(found >= 95.0, "{}: {found}", fixture.name);
    }
}

#[test]
fn rows_threads_and_scratch_files_give_the_same_bits() {
    let model = Model::open("cli/model").unwrap();
    let latents = Array4::from_shape_fn((1, 16, 80, 96), |(_, c, y, x)| {
        4.0 * (0.1 * (c + 1) as f32 * x as f32 + 0.07 * y as f32).sin()
    });
    let mut options = options(24);
    let decoded = decode(&model, &options, &latents);
    let one = latents.slice(s![0, .., .., ..]);
    let mut session = Session::new(&model, &options).unwrap();
    let mut stream = session.stream(one).unwrap();
    let mut y = 0;
    while let Some(row) = stream.next_row().unwrap() {
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            assert_eq!(pixel, decoded.slice(s![0, .., y, x]).to_vec(), "row {y}, column {x}");
        }
        y += 1;
    }
    assert_eq!(y, 640);
    // One that is left half-way leaves the session as it was.
    session.stream(one).unwrap().next_row().unwrap();
    assert_eq!(session.decode(latents.view()).unwrap().sample, decoded);

    let in_memory = plan_decode(&model, &options, 80, 96).unwrap();
    options.threads = 3;
    options.scratch_dir = Some(std::env::temp_dir());
    options.memory_budget = 1 << 20;
    let error = plan_decode(&model, &options, 80, 96).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Budget);
    let least = error.message().split("at least ").nth(1).and_then(|rest| rest.split(' ').next());
    options.memory_budget = least.unwrap().parse::<u64>().unwrap() << 20;
    let plan = plan_decode(&model, &options, 80, 96).unwrap();
    assert!(plan.scratch_bytes > 0 && plan.workspace_bytes < in_memory.workspace_bytes);
    let mut session = Session::new(&model, &options).unwrap();
    assert_eq!(session.decode(latents.view()).unwrap().sample, decoded);
    assert_eq!(session.memory() as u64, plan.workspace_bytes);
}

#[test]
fn a_budget_chooses_the_tiles_and_needs_none_where_the_picture_fits() {
    let (model, _) = scene();
    let whole = plan_decode(&model, &SessionOptions::default(), 128, 128).unwrap();
    let mut options = options(0);
    options.memory_budget = whole.peak_bytes;
    assert!(plan_decode(&model, &options, 128, 128).unwrap().exact);
    let mut last = usize::MAX;
    for part in [8, 7, 6, 5] {
        options.memory_budget = whole.peak_bytes * part / 10;
        let plan = plan_decode(&model, &options, 128, 128).unwrap();
        assert!(plan.peak_bytes <= options.memory_budget && !plan.exact, "{part}: {plan:?}");
        assert!(plan.tile_size <= last);
        last = plan.tile_size;
    }
    // Without a budget, tiles are the model's sample size.
    options.memory_budget = 0;
    assert!(plan_decode(&model, &options, 64, 64).unwrap().exact);
    assert_eq!(plan_decode(&model, &options, 65, 64).unwrap().tile_size, 64);
}

#[test]
fn progress_counts_all_runs_and_a_cancel_ends_them() {
    let (model, latents) = scene();
    let mut session = Session::new(&model, &options(16)).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let steps = Arc::clone(&seen);
    session.on_progress(Some(Box::new(move |progress| {
        steps.lock().unwrap().push((progress.done, progress.total));
        ControlFlow::Continue(())
    })));
    session.decode(latents.view()).unwrap();
    let steps = seen.lock().unwrap().clone();
    let total = plan_decode(&model, &options(16), 32, 40).unwrap().multiply_adds;
    assert!(steps.iter().all(|&(done, of)| of == total && done <= total));
    assert!(steps.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    assert!(steps.last().unwrap().0 > total - total / 20, "{:?} of {total}", steps.last());

    for part in [1, 4, 7, 9] {
        session.on_progress(Some(Box::new(move |progress| {
            if progress.done > progress.total / 10 * part {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })));
        assert_eq!(session.decode(latents.view()).unwrap_err().kind(), ErrorKind::Cancelled);
    }
    // A stream that was stopped between its rows gives no more.
    session.on_progress(Some(Box::new(|progress| {
        if progress.done > progress.total / 20 * 19 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })));
    let mut stream = session.stream(latents.slice(s![0, .., .., ..])).unwrap();
    let error = loop {
        match stream.next_row() {
            Ok(row) => assert!(row.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    for _ in 0..3 {
        let again = stream.next_row().unwrap_err();
        assert_eq!((again.kind(), again.message()), (error.kind(), error.message()));
    }
    session.on_progress(None);
    session.decode(latents.view()).unwrap();
}

#[test]
fn what_they_are_not_for_is_exact_or_refused() {
    let (model, latents) = scene();
    let mut with_overlap = options(16);
    with_overlap.tile_overlap = 4;
    let error = plan_decode(&model, &with_overlap, 32, 40).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("tile overlap: 0 expected"), "{error}");
    assert!(plan_encode(&model, &options(16), 256, 320).unwrap().exact);
    for tiling in [Tiling::Seamless, Tiling::Diffusers] {
        let mut tiny = options(2);
        (tiny.tiling, tiny.tile_overlap) = (tiling, usize::from(tiling == Tiling::Diffusers));
        let error = plan_decode(&model, &tiny, 1, 1 << 30).unwrap_err();
        assert!(error.message().contains("tiles along a side"), "{error}");
    }
    assert!(plan_decode(&model, &options(usize::MAX), 32, 40).unwrap().exact);
    let mut noisy = latents;
    noisy[(0, 2, 17, 3)] = f32::NAN;
    let error = Session::new(&model, &options(16)).unwrap().decode(noisy.view()).unwrap_err();
    assert!(error.message().contains("channel 2, row 17, column 3"), "{error}");
}
