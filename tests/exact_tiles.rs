//! Exact tiles: a tiny autoencoder gives the bits of the whole picture in any tiles, by any budget,
//! as a stream, on any number of threads.

mod support;

use ndarray::{Array4, Axis};
use support::Fixture;
use vaekl::{
    Encoded, ErrorKind, Model, Session, SessionOptions, Storage, Tiling, plan_decode, plan_encode,
};

/// Values in about [-1, 1] that are alike nowhere.
fn noise(shape: (usize, usize, usize, usize)) -> Array4<f32> {
    let mut state = 0x2545_f491_u32;
    Array4::from_shape_simple_fn(shape, || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
}

fn options(dtype: Storage) -> SessionOptions {
    SessionOptions::default().with_activation_dtype(dtype).with_threads(2)
}

fn decode(model: &Model, options: &SessionOptions, latents: &Array4<f32>) -> (Vec<u32>, usize) {
    let mut session = Session::new(model, options).unwrap();
    let output = session.decode(latents.view()).unwrap();
    let tiles = output.plan.tiles_x * output.plan.tiles_y;
    assert!(output.plan.exact);
    (output.sample.iter().map(|value| value.to_bits()).collect(), tiles)
}

fn encode(model: &Model, options: &SessionOptions, picture: &Array4<f32>) -> (Vec<u32>, usize) {
    let mut session = Session::new(model, options).unwrap();
    let output = session.encode(picture.view()).unwrap();
    let tiles = output.plan.tiles_x * output.plan.tiles_y;
    let Encoded::Latents(latents) = output.encoded else { panic!("no latents") };
    (latents.iter().map(|value| value.to_bits()).collect(), tiles)
}

const TINY: [&str; 4] = ["taesd", "tiny_silu_16", "taesana", "tiny"];

#[test]
fn tiles_of_any_size_give_the_bits_of_the_whole() {
    for name in TINY {
        let model = Fixture::family(name).model(|_| {});
        let config = model.config();
        let latents = noise((1, config.latent_channels, 29, 22));
        let side = config.downscale();
        let picture = noise((1, config.in_channels, 21 * side - 3, 9 * side + 1));
        for dtype in [Storage::F32, Storage::Bf16] {
            let whole = options(dtype);
            let (decoded, _) = decode(&model, &whole, &latents);
            let (encoded, _) = encode(&model, &whole, &picture);
            for (size, threads) in [(8, 3), (20, 1)] {
                let tiled = whole.clone().with_tiling(Tiling::Seamless).with_tile_size(size);
                let tiled = tiled.with_threads(threads);
                let (found, tiles) = decode(&model, &tiled, &latents);
                assert_eq!(tiles, 29_usize.div_ceil(size) * 22_usize.div_ceil(size));
                assert!(found == decoded, "{name} {dtype}: decode in tiles of {size}");
                let (found, tiles) = encode(&model, &tiled, &picture);
                assert!(tiles > 1);
                assert!(found == encoded, "{name} {dtype}: encode in tiles of {size}");
            }
        }
    }
}

/// The pooling of FLUX.2's variant sees the whole picture: what follows is in tiles all the same.
#[test]
fn a_pooled_decoder_is_exact_in_tiles() {
    let model = Fixture::family("taef2").model(|_| {});
    let latents = noise((1, 32, 21, 30));
    let (whole, _) = decode(&model, &options(Storage::F32), &latents);
    for size in [4, 16] {
        let tiled = options(Storage::F32).with_tiling(Tiling::Seamless).with_tile_size(size);
        let (found, tiles) = decode(&model, &tiled, &latents);
        assert!(tiles > 1 && found == whole, "tiles of {size}");
    }
}

#[test]
fn a_budget_chooses_tiles_and_changes_no_bit() {
    let model = Fixture::family("taesd").model(|_| {});
    let latents = noise((1, 4, 130, 100));
    let (whole, _) = decode(&model, &options(Storage::F32), &latents);
    let need = plan_decode(&model, &options(Storage::F32), 130, 100).unwrap().peak_bytes;
    let mut counts = Vec::new();
    for budget in [need, 60 << 20, 24 << 20] {
        let tight = options(Storage::F32).with_memory_budget(budget);
        let plan = plan_decode(&model, &tight, 130, 100).unwrap();
        assert!(plan.peak_bytes <= budget && plan.exact, "{plan:?}");
        let (found, tiles) = decode(&model, &tight, &latents);
        assert!(found == whole, "decode by {budget}");
        counts.push(tiles);
    }
    assert!(counts[0] == 1 && counts.is_sorted() && counts[2] > counts[1], "{counts:?}");
    // An encoder's halo is some 600 pixels.
    let picture = noise((1, 3, 2400, 120));
    let (latents_of, _) = encode(&model, &options(Storage::F32), &picture);
    let need = plan_encode(&model, &options(Storage::F32), 2400, 120).unwrap().peak_bytes;
    let tight = options(Storage::F32).with_memory_budget(need - (4 << 20));
    let (found, tiles) = encode(&model, &tight, &picture);
    assert!(tiles > 1 && found == latents_of, "encode in {tiles} tiles");
    // A stream asks for rows as it goes.
    let tight = options(Storage::F32).with_memory_budget(30 << 20);
    let mut session = Session::new(&model, &tight).unwrap();
    let mut stream = session.stream(latents.index_axis(Axis(0), 0)).unwrap();
    let (width, height) = (stream.width(), stream.height());
    let mut y = 0;
    while let Some(row) = stream.next_row().unwrap() {
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            for (c, value) in pixel.iter().enumerate() {
                assert_eq!(value.to_bits(), whole[(c * height + y) * width + x]);
            }
        }
        y += 1;
    }
    assert_eq!(y, height);
}

#[test]
fn a_tile_size_that_the_squares_do_not_divide_is_refused() {
    let model = Fixture::family("taesd").model(|_| {});
    let tiled = options(Storage::F32).with_tiling(Tiling::Seamless).with_tile_size(10);
    let error = plan_decode(&model, &tiled, 64, 64).unwrap_err();
    assert!(error.message().contains("a multiple of 4 expected"), "{error}");
    // Too many of them are no matter of memory.
    let error = plan_decode(&model, &tiled.with_tile_size(4), 8, 1 << 22).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.message().contains("at most 65536 tiles"), "{error}");
}

/// The exact tiling reads no tile size, and an encoder rather takes a scratch file than tiles.
#[test]
fn what_the_exact_tiling_does_not_read() {
    let model = Fixture::family("taesd").model(|_| {});
    let need = plan_decode(&model, &options(Storage::F32), 128, 128).unwrap().peak_bytes;
    let tight = options(Storage::F32).with_memory_budget(need / 2);
    let expected = plan_decode(&model, &tight, 128, 128).unwrap();
    assert!(expected.tiles_x * expected.tiles_y > 1);
    let sized = tight.with_tile_size(30).with_tile_overlap(8);
    assert_eq!(plan_decode(&model, &sized, 128, 128).unwrap(), expected);
    let need = plan_encode(&model, &options(Storage::F32), 2400, 120).unwrap().peak_bytes;
    let tight = options(Storage::F32).with_memory_budget(need - (4 << 20));
    assert!(plan_encode(&model, &tight, 2400, 120).unwrap().tiles_y > 1);
    let plan = plan_encode(&model, &tight.with_scratch_dir(std::env::temp_dir()), 2400, 120);
    let plan = plan.unwrap();
    assert!(plan.tiles_y == 1 && plan.scratch_bytes > 0, "{plan:?}");
}
