//! Tiles as diffusers has them: its numbers, row by row, within a budget.

mod support;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use ndarray::{Array4, ArrayD, Axis, s};
use support::{Distance, Fixture, encoder_values, f32x4};
use vaekl::{
    CancelToken, ErrorKind, Model, Session, SessionOptions, Storage, Tiling, plan_decode,
    plan_encode,
};

/// Tile size and overlap in latents, as `tests/fixtures/references.py` has them.
const TILES: [(usize, usize); 7] = [(8, 2), (4, 1), (4, 2), (6, 3), (12, 3), (10, 5), (16, 4)];

fn options((size, overlap): (usize, usize)) -> SessionOptions {
    let mut options = SessionOptions::default();
    options.threads = 2;
    options.tiling = Tiling::Diffusers;
    (options.tile_size, options.tile_overlap) = (size, overlap);
    options
}

fn opened() -> (Fixture, Model) {
    let fixture = Fixture::open("tiled");
    let model = fixture.model(|_| {});
    (fixture, model)
}

fn expected(fixture: &Fixture, name: &str) -> ArrayD<f64> {
    let bytes = std::fs::read(fixture.folder.join("tiles.safetensors")).unwrap();
    support::read(&bytes, name)
}

#[test]
fn tiles_are_those_of_diffusers() {
    let (fixture, model) = opened();
    let (latents, image) = (f32x4(&fixture.tensor("latents")), f32x4(&fixture.tensor("image")));
    let whole = Session::new(&model, &SessionOptions::default()).unwrap().decode(latents.view());
    let whole = whole.unwrap().sample;
    for (size, overlap) in TILES {
        let mut session = Session::new(&model, &options((size, overlap))).unwrap();
        let decoded = session.decode(latents.view()).unwrap().sample;
        let encoded = encoder_values(&session.encode(image.view()).unwrap().encoded);
        let name = format!("{size}_{overlap}");
        let wanted = expected(&fixture, &format!("decoded_{name}"));
        let decode = Distance::new(&decoded, &wanted).psnr;
        let moments = expected(&fixture, &format!("moments_{name}"));
        let encode = Distance::new(&encoded, &moments).psnr;
        println!("{name:>5}: decode {decode:.1} dB, encode {encode:.1} dB");
        assert!(decode >= 100.0 && encode >= 100.0, "{name}: {decode} and {encode} dB");
        // The test could not fail if tiles made no difference.
        assert!(Distance::new(&whole, &wanted).psnr < 60.0, "{name}");
    }
}

#[test]
fn the_default_tile_is_the_models_sample_size() {
    let (fixture, model) = opened();
    let latents = f32x4(&fixture.tensor("latents"));
    let mut session = Session::new(&model, &options((0, 0))).unwrap();
    let found = session.decode(latents.view()).unwrap().sample;
    assert!(Distance::new(&found, &expected(&fixture, "decoded_8_2")).psnr >= 100.0);
    // What is no larger than a tile is not cut.
    let small = latents.slice(s![.., .., ..8, ..8]);
    let mut exact = Session::new(&model, &SessionOptions::default()).unwrap();
    assert_eq!(session.decode(small).unwrap().sample, exact.decode(small).unwrap().sample);
    assert!(plan_decode(&model, &options((0, 0)), 8, 8).unwrap().exact);
}

#[test]
fn rows_threads_and_budgets_give_the_same_bits() {
    let (fixture, model) = opened();
    let latents = f32x4(&fixture.tensor("latents"));
    let mut options = options((6, 3));
    let mut session = Session::new(&model, &options).unwrap();
    let decoded = session.decode(latents.view()).unwrap().sample;
    let one = latents.index_axis(Axis(0), 0);
    let same = |y: usize, row: &[f32]| {
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            assert_eq!(pixel, decoded.slice(s![0, .., y, x]).to_vec(), "row {y}, column {x}");
        }
    };

    let mut next = 0;
    session
        .decode_rows(one, &mut |y, row| {
            assert_eq!(y, next);
            next += 1;
            same(y, row);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(next, decoded.dim().2);

    let mut stream = session.stream(one).unwrap();
    assert_eq!((stream.height(), stream.width(), stream.channels()), (76, 52, 3));
    let mut y = 0;
    while let Some(row) = stream.next_row().unwrap() {
        same(y, row);
        y += 1;
    }
    assert_eq!(y, 76);
    // One that is left half-way leaves the session as it was.
    session.stream(one).unwrap().next_row().unwrap();

    options.threads = 3;
    let plan = plan_decode(&model, &options, 19, 13).unwrap();
    assert_eq!((plan.exact, plan.tiles_x, plan.tiles_y, plan.tile_size), (false, 5, 7, 6));
    options.memory_budget = plan.peak_bytes;
    options.scratch_dir = Some(std::env::temp_dir());
    let mut session = Session::new(&model, &options).unwrap();
    assert_eq!(session.decode(latents.view()).unwrap().sample, decoded);
    options.memory_budget = 1 << 20;
    assert_eq!(plan_decode(&model, &options, 19, 13).unwrap_err().kind(), ErrorKind::Budget);
}

#[test]
fn progress_counts_all_tiles_and_a_cancel_ends_them() {
    let (fixture, model) = opened();
    let latents = f32x4(&fixture.tensor("latents"));
    let mut session = Session::new(&model, &options((6, 3))).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let steps = Arc::clone(&seen);
    session.on_progress(Some(Box::new(move |progress| {
        steps.lock().unwrap().push((progress.done, progress.total));
        ControlFlow::Continue(())
    })));
    session.decode(latents.view()).unwrap();
    let steps = seen.lock().unwrap().clone();
    let total = plan_decode(&model, &options((6, 3)), 19, 13).unwrap().multiply_adds;
    assert!(steps.iter().all(|&(done, of)| of == total && done <= total));
    assert!(steps.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    assert!(steps.last().unwrap().0 > total - total / 20, "{:?} of {total}", steps.last());

    session.on_progress(Some(Box::new(|progress| {
        if progress.done > progress.total / 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })));
    assert_eq!(session.decode(latents.view()).unwrap_err().kind(), ErrorKind::Cancelled);
    // A stream that failed says so again when it is read again.
    let mut stream = session.stream(latents.index_axis(Axis(0), 0)).unwrap();
    let failed = std::iter::repeat_with(|| stream.next_row().map(drop).err());
    let kinds: Vec<_> = failed.flatten().take(3).map(|error| error.kind()).collect();
    assert_eq!(kinds, [ErrorKind::Cancelled; 3]);
    session.on_progress(None);
    session.decode(latents.view()).unwrap();
}

#[test]
fn what_makes_no_tiles_is_refused() {
    let (fixture, model) = opened();
    let latents = f32x4(&fixture.tensor("latents"));
    for tiles in [(4, 4), (4, 9), (1, 1)] {
        let mut session = Session::new(&model, &options(tiles)).unwrap();
        let error = session.decode(latents.view()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("tile overlap"), "{error}");
    }
    let error = plan_encode(&model, &options((8, 2)), 52, 73).unwrap_err();
    assert!(error.message().contains("multiples of 4, 73x52 found"), "{error}");
    let mut noisy = latents.clone();
    noisy[(0, 2, 17, 3)] = f32::NAN;
    let error = Session::new(&model, &options((8, 2))).unwrap().decode(noisy.view()).unwrap_err();
    assert!(error.message().contains("channel 2, row 17, column 3"), "{error}");
}

/// Latents of the fixture whose last rows overflow f16, and no other: only later tiles have them.
fn overflowing(fixture: &Fixture) -> Array4<f32> {
    let mut latents = f32x4(&fixture.tensor("latents"));
    let (_, _, height, _) = latents.dim();
    latents.slice_mut(s![.., .., height - 2.., ..]).mapv_inplace(|v| v * 1e6);
    latents
}

fn half(tiling: Tiling, storage: Storage) -> SessionOptions {
    let mut options = options((4, 0));
    (options.tiling, options.activation_dtype) = (tiling, storage);
    options
}

#[test]
fn no_picture_mixes_storages() {
    let fixture = Fixture::open("tiled");
    let model = fixture.model(|config| config.force_upcast = false);
    let latents = overflowing(&fixture);
    for tiling in [Tiling::Diffusers, Tiling::Seamless] {
        let session = |storage| Session::new(&model, &half(tiling, storage)).unwrap();
        let mut bf16 = session(Storage::Bf16);
        let expected = bf16.decode(latents.view()).unwrap();
        // The first tiles do not overflow.
        let mut whole = session(Storage::F16);
        let first = latents.slice(s![.., .., ..6, ..]);
        whole.decode(first).unwrap();
        assert_eq!(whole.activation_dtype(), Storage::F16, "{tiling:?}");
        // An array is made anew, and tells the plan that it was made by.
        let found = whole.decode(latents.view()).unwrap();
        assert_eq!(whole.activation_dtype(), Storage::Bf16, "{tiling:?}");
        assert_eq!(found.sample, expected.sample, "{tiling:?}");
        assert_eq!(found.plan, expected.plan, "{tiling:?}");
    }
}

#[test]
fn rows_that_were_given_are_not_followed_by_those_of_another_storage() {
    let fixture = Fixture::open("tiled");
    let model = fixture.model(|config| config.force_upcast = false);
    let latents = overflowing(&fixture);
    let one = latents.index_axis(Axis(0), 0);
    let session = |storage| Session::new(&model, &half(Tiling::Diffusers, storage)).unwrap();
    let expected = session(Storage::Bf16).decode(latents.view()).unwrap().sample;
    let rows = |session: &mut Session| {
        let mut rows = 0;
        let result = session.decode_rows(one, &mut |y, row| {
            assert_eq!(y, rows);
            rows += 1;
            assert!(row.iter().all(|value| value.is_finite()));
            ControlFlow::Continue(())
        });
        (result, rows)
    };

    let mut by_rows = session(Storage::F16);
    let (result, given) = rows(&mut by_rows);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::NonFinite);
    assert!(given > 0 && given < expected.dim().2, "{given} rows");
    // The next call has the range.
    let (result, given) = rows(&mut by_rows);
    assert_eq!((result.is_ok(), given), (true, expected.dim().2));

    let mut streamed = session(Storage::F16);
    let token = CancelToken::new();
    streamed.set_cancel_token(token.clone());
    let mut stream = streamed.stream(one).unwrap();
    let error = loop {
        match stream.next_row() {
            Ok(row) => assert!(row.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    // The first error, whatever comes later.
    for _ in 0..2 {
        let again = stream.next_row().unwrap_err();
        assert_eq!((again.kind(), again.message()), (error.kind(), error.message()));
        token.cancel();
    }
}

#[test]
fn a_refusal_names_the_least_that_tiles_can_keep() {
    let (_, model) = opened();
    let mut options = options((6, 3));
    options.memory_budget = 1 << 20;
    let error = plan_decode(&model, &options, 640, 640).unwrap_err();
    assert!(error.message().contains("budget of 1 MiB"), "{error}");
    let number = error.message().split("at least ").nth(1).unwrap();
    let least: u64 = number.split_whitespace().next().unwrap().parse().unwrap();
    options.memory_budget = least << 20;
    plan_decode(&model, &options, 640, 640).unwrap();
    options.memory_budget = (least - 1) << 20;
    assert!(plan_decode(&model, &options, 640, 640).is_err());
}
