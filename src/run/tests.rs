use std::cell::Cell;

thread_local! {
    /// How often a network was recorded on this thread.
    static RECORDED: Cell<usize> = const { Cell::new(0) };
}

/// Counts a recording.
pub(super) fn recorded() {
    RECORDED.set(RECORDED.get() + 1);
}

use ndarray::Array4;

use super::*;
use crate::model::Model;

/// Recordings of what `call` does.
fn recordings<T>(call: impl FnOnce() -> T) -> (T, usize) {
    RECORDED.set(0);
    let result = call();
    (result, RECORDED.get())
}

fn model() -> Model {
    Model::open("cli/model").unwrap()
}

fn latents(model: &Model, batch: usize, side: usize) -> Array4<f32> {
    Array4::from_shape_fn((batch, model.config().latent_channels, side, side), |(b, c, y, x)| {
        ((b * 5 + c * 31 + y * 7 + x * 3) as f32 * 0.7).sin()
    })
}

#[test]
fn a_call_records_its_network_once_per_strategy() {
    let model = model();
    let latents = latents(&model, 3, 24);
    let mut session = Session::new(&model, &SessionOptions::default()).unwrap();
    // Without a budget once in all, whatever the batch.
    let (decoded, count) = recordings(|| session.decode(latents.view()).unwrap());
    assert_eq!(count, 1);
    let (_, count) = recordings(|| session.encode(decoded.sample.view()).unwrap());
    assert_eq!(count, 1);
    let (_, count) = recordings(|| {
        let mut stream = session.stream(latents.index_axis(ndarray::Axis(0), 0)).unwrap();
        while stream.next_row().unwrap().is_some() {}
    });
    assert_eq!(count, 1);

    // With one, once for each strategy from the fastest to the first that keeps it.
    let scratch_dir = Some(std::env::temp_dir());
    let options = SessionOptions { scratch_dir, ..SessionOptions::default() };
    let plan = |budget| {
        let options = SessionOptions { memory_budget: budget, ..options.clone() };
        recordings(|| plan_decode(&model, &options, 24, 24).unwrap())
    };
    let (fastest, count) = plan(u64::MAX);
    assert_eq!((fastest, count), (decoded.plan, 1));
    let (_, tried) = plan(fastest.peak_bytes - 1);
    assert!(tried > 1, "a budget that the fastest strategy keeps");
    let mut session = Session::new(&model, &options).unwrap();
    session.set_memory_budget(fastest.peak_bytes - 1);
    let (_, count) = recordings(|| session.decode(latents.view()).unwrap());
    assert_eq!(count, tried);
}

#[test]
fn tiles_are_recorded_once_per_window() {
    let model = model();
    let latents = latents(&model, 1, 11);
    for (tiling, windows) in [
        // Tiles of 4 from every 3 on: three times 4, and 2 at the end.
        (Tiling::Diffusers, 2 * 2),
        // The front, the reduced picture, and tiles of 4, 4 and 3 whose halos are cut at the edges.
        (Tiling::Seamless, 2 + 3 * 3),
    ] {
        let options = SessionOptions { tiling, tile_size: 4, ..SessionOptions::default() };
        let mut session = Session::new(&model, &options).unwrap();
        let (output, count) = recordings(|| session.decode(latents.view()).unwrap());
        assert_eq!(count, windows, "{tiling:?}");
        assert_eq!((output.plan.exact, output.plan.tiles_x > 2), (false, true), "{tiling:?}");
    }
}
