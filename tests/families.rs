//! Parity of the families beside `AutoencoderKL` with diffusers, or with the definition that their
//! publisher gives: every fixture of `tests/data/families`, decoded and encoded in every storage,
//! against fp64.
//!
//! `cargo test --release --test families -- --nocapture` prints the table.
//!
//! | storage | tolerance |
//! |---|---|
//! | f32 | largest difference at most 1e-4 of the range, PSNR at least 100 dB |
//! | bf16, f16 | PSNR above torch's own in the mean, below it by 2 dB at most, which is scatter |

mod support;

use support::{Distance, Fixture, encoder_values, f32x4};
use vaekl::{Model, ModelOptions, Session, SessionOptions, Storage, Tiling};

const DTYPES: [Storage; 3] = [Storage::F32, Storage::Bf16, Storage::F16];

/// How far two runs of the same arithmetic on pictures of a few hundred values differ, in dB.
const SCATTER: f64 = 2.0;

fn options(dtype: Storage) -> SessionOptions {
    SessionOptions::default().with_activation_dtype(dtype).with_threads(2)
}

/// What the encoder of `session` makes of the fixture's picture.
fn encoded(session: &mut Session, fixture: &Fixture) -> ndarray::Array4<f32> {
    encoder_values(&session.encode(f32x4(&fixture.tensor("image")).view()).unwrap().encoded)
}

/// Prints a line of the table; whether the distance is tolerated.
fn line(fixture: &Fixture, what: &str, dtype: Storage, distance: Distance) -> bool {
    let torch = fixture.torch_psnr(what, dtype);
    println!(
        "{:<24} {what:<8} {dtype:>5} {:>10.2e} {:>8.1} {torch:>8.1}",
        fixture.name, distance.max, distance.psnr
    );
    match dtype {
        Storage::F32 => distance.max <= 1e-4 && distance.psnr >= 100.0,
        _ => distance.psnr >= torch - SCATTER,
    }
}

#[test]
fn every_family_agrees_with_its_definition() {
    let fixtures = Fixture::families();
    assert!(fixtures.len() >= 11, "only {} fixtures found", fixtures.len());
    println!("{:<24} {:<8} {:>5} {:>10} {:>8} {:>8}", "", "", "", "max/range", "dB", "torch");
    let (mut failures, mut gains) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
    for fixture in &fixtures {
        // f16 storage is what is measured here, not its upgrade.
        let model = fixture.model(|config| config.force_upcast = false);
        let result = if fixture.has("encoded") { "encoded" } else { "moments" };
        for (dtype, gains) in DTYPES.into_iter().zip(&mut gains) {
            let mut session = Session::new(&model, &options(dtype)).unwrap();
            let decoded = session.decode(f32x4(&fixture.tensor("latents")).view()).unwrap().sample;
            assert_eq!(session.activation_dtype(), dtype, "{}", fixture.name);
            let decode = Distance::new(&decoded, &fixture.tensor("decoded_f64"));
            let encode = Distance::new(&encoded(&mut session, fixture), &fixture.tensor(result));
            for (what, distance) in [("decoded", decode), (result, encode)] {
                gains.push(distance.psnr - fixture.torch_psnr(what, dtype));
                if !line(fixture, what, dtype, distance) {
                    failures.push(format!("{} {what} {dtype}: {distance:?}", fixture.name));
                }
            }
        }
    }
    let mean = |gains: &Vec<f64>| gains.iter().sum::<f64>() / gains.len() as f64;
    let [_, bf16, f16] = gains.each_ref().map(mean);
    println!("above torch's own in the mean: bf16 {bf16:.1} dB, f16 {f16:.1} dB");
    assert!(bf16 > 0.0 && f16 > 0.0);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_masked_decode_agrees_with_diffusers() {
    let fixture = Fixture::family("asymmetric");
    let model = fixture.model(|config| config.force_upcast = false);
    let [latents, picture, mask] =
        ["latents", "condition_image", "mask"].map(|name| f32x4(&fixture.tensor(name)));
    for dtype in DTYPES {
        let mut session = Session::new(&model, &options(dtype)).unwrap();
        let made = session.decode_masked(latents.view(), picture.view(), mask.view()).unwrap();
        let distance = Distance::new(&made.sample, &fixture.tensor("decoded_masked_f64"));
        assert!(line(&fixture, "decoded_masked", dtype, distance), "{dtype}: {distance:?}");
    }
}

#[test]
fn tiles_of_diffusers_are_a_tiny_autoencoders_own() {
    let fixture = Fixture::family("tiny_tiled");
    let model = fixture.model(|_| {});
    // The attributes that meta.json names: 64 pixels, a quarter of them shared.
    let tiled = options(Storage::F32).with_tiling(Tiling::Diffusers);
    let tiled = tiled.with_tile_size(8).with_tile_overlap(2);
    let mut session = Session::new(&model, &tiled).unwrap();
    let output = session.decode(f32x4(&fixture.tensor("latents")).view()).unwrap();
    assert!(!output.plan.exact && output.plan.tiles_x * output.plan.tiles_y > 1);
    let decode = Distance::new(&output.sample, &fixture.tensor("decoded_tiled_f64"));
    let encode = Distance::new(&encoded(&mut session, &fixture), &fixture.tensor("encoded_tiled"));
    assert!(decode.psnr >= 100.0 && encode.psnr >= 100.0, "{decode:?} {encode:?}");
    let asymmetric = Fixture::family("asymmetric").model(|_| {});
    let mut session = Session::new(&asymmetric, &tiled).unwrap();
    let error = session.decode(ndarray::Array4::zeros((1, 4, 24, 24)).view()).unwrap_err();
    assert!(error.message().contains("AsymmetricAutoencoderKL has no tiles"), "{error}");
}

#[test]
fn latents_are_scaled_as_pipelines_do() {
    for fixture in Fixture::families() {
        let model = fixture.model(|_| {});
        let config = model.config();
        if fixture.has("latents_denormalised") {
            let mut latents = f32x4(&fixture.tensor("latents"));
            config.unscale_latents(latents.view_mut()).unwrap();
            let distance = Distance::new(&latents, &fixture.tensor("latents_denormalised"));
            assert!(distance.max < 1e-6, "{}: {distance:?}", fixture.name);
        }
        if fixture.has("patches") {
            let (patches, expected) = (f32x4(&fixture.tensor("patches")), "mode_normalised");
            let latents = config.unpatchify_latents(patches.view()).unwrap();
            let distance = Distance::new(&latents, &fixture.tensor(expected));
            assert!(distance.max < 1e-6, "{}: {distance:?}", fixture.name);
            assert_eq!(config.patchify_latents(latents.view()).unwrap(), patches);
            // The raw ones of before are those that scaling gives these of.
            let mut again = latents.clone();
            config.unscale_latents(again.view_mut()).unwrap();
            config.scale_latents(again.view_mut()).unwrap();
            assert!(Distance::new(&again, &fixture.tensor(expected)).max < 1e-6);
        }
    }
}

#[test]
fn families_are_inferred_from_names_and_shapes() {
    for (name, family, tensor) in [
        ("flux2_own", "AutoencoderKLFlux2", "bn.running_mean"),
        ("taesd", "AutoencoderTiny", "encoder.layers.0.bias"),
        ("taesd_safetensors", "AutoencoderTiny", "encoder.layers.0.bias"),
        ("taef2", "AutoencoderTiny", "encoder.layers.0.bias"),
        ("taef2_diffusers_names", "AutoencoderTiny", "encoder.layers.0.bias"),
        ("taesana", "AutoencoderTiny", "encoder.layers.0.bias"),
    ] {
        let fixture = Fixture::family(name);
        let model = Model::open_with(fixture.path(), &ModelOptions::default()).unwrap();
        let info = model.info();
        assert_eq!((&*info.family, &*info.family_source), (family, &*format!("tensor {tensor}")));
        if let Some(expected) = fixture.expected_config() {
            assert_eq!(model.config().family, expected.family, "{name}");
            assert_eq!(model.config().latent_channels, expected.latent_channels, "{name}");
        }
    }
    for name in ["flux2", "flux2_small_decoder", "tiny", "asymmetric"] {
        let model = Fixture::family(name).model(|_| {});
        assert_eq!(model.info().family_source, "the configuration: given");
    }
}
