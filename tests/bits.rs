//! The bits of every fixture's decode, moments and samples, in every storage, tiling and strategy.
//!
//! `tests/data/bits/LEVEL.txt` has a line for each: fixture, what was asked for, and the SHA-256 of
//! the values as little-endian f32. A change that moves bits on purpose writes the files anew and
//! says so in the changelog:
//!
//! ```sh
//! for level in portable avx2 avx512; do
//!   VAEKL_CPU=$level VAEKL_BLESS=1 cargo test --test bits
//! done
//! ```

mod support;

use std::fmt::Write;
use std::fs;

use ndarray::{Array4, s};
use sha2::{Digest, Sha256};
use support::{Fixture, data, encoder_values, f32x4};
use vaekl::{
    Generator, Model, Plan, Result, Session, SessionOptions, Storage, Tiling, plan_decode,
    plan_encode,
};

/// What a call gave: its hash, or the kind of its error.
fn outcome(result: Result<Array4<f32>>) -> String {
    match result {
        Ok(values) => {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
        }
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Nearly the least of what `plan` needs, in a scratch folder where there may be one.
fn leanest(
    options: &SessionOptions,
    plan: impl Fn(&SessionOptions) -> Result<Plan>,
) -> SessionOptions {
    let mut options = options.clone();
    options.scratch_dir = Some(std::env::temp_dir());
    // An error names the least in whole MiB.
    options.memory_budget = 1;
    let Err(error) = plan(&options) else { return options };
    let least = error.message().split("at least ").nth(1).and_then(|rest| rest.split(' ').next());
    options.memory_budget = least.map_or(1, |least| least.parse::<u64>().unwrap() << 20);
    options
}

/// A line for each call on `fixture` in one storage and tiling.
fn lines(fixture: &Fixture, model: &Model, options: &SessionOptions, name: &str) -> String {
    let latents = f32x4(&fixture.tensor("latents"));
    let mut image = f32x4(&fixture.tensor("image"));
    if options.tiling == Tiling::Diffusers {
        // Its tiles need sides of whole latents.
        let (factor, (_, _, height, width)) = (model.config().downscale(), image.dim());
        let [height, width] = [height, width].map(|side| side - side % factor);
        image = image.slice(s![.., .., ..height, ..width]).to_owned();
    }
    let decode = |options: &SessionOptions| {
        let mut session = Session::new(model, options).unwrap();
        outcome(session.decode(latents.view()).map(|output| output.sample))
    };
    let encode = |options: &SessionOptions| {
        let mut session = Session::new(model, options).unwrap();
        session.encode(image.view()).map(|output| output.encoded)
    };
    let (_, _, height, width) = latents.dim();
    let (_, _, rows, columns) = image.dim();
    let decoded = decode(options);
    let encoded = encode(options);
    let seed = fixture.meta["noise_seed"].as_u64().unwrap_or(0);
    let moments = outcome(encoded.clone().map(|encoded| encoder_values(&encoded)));
    let sample = outcome(encoded.map(|encoded| encoded.sample(&mut Generator::new(seed))));

    // The leanest strategy gives the same bits.
    let fixture = &fixture.name;
    let lean = leanest(options, |options| plan_decode(model, options, height, width));
    assert_eq!(decode(&lean), decoded, "{fixture} {name}, decode by the leanest plan");
    let lean = leanest(options, |options| plan_encode(model, options, rows, columns));
    let lean = outcome(encode(&lean).map(|encoded| encoder_values(&encoded)));
    assert_eq!(lean, moments, "{fixture} {name}, encode by the leanest plan");

    let mut lines = String::new();
    for (what, hash) in [("decode", decoded), ("moments", moments), ("sample", sample)] {
        writeln!(lines, "{fixture} {name} {what} {hash}").unwrap();
    }
    lines
}

#[test]
#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), ignore = "bits of x86-64 Linux")]
fn every_fixture_has_its_bits() {
    let mut found = String::new();
    let mut level = None;
    for fixture in Fixture::all().into_iter().chain(Fixture::families()) {
        for dtype in [Storage::F32, Storage::Bf16, Storage::F16] {
            for (name, tiling) in [
                ("whole", Tiling::Exact),
                ("diffusers", Tiling::Diffusers),
                ("seamless", Tiling::Seamless),
            ] {
                // f16 storage is what is held here, not its upgrade.
                let model = fixture.model(|config| config.force_upcast = false);
                let mut options = SessionOptions::default();
                (options.threads, options.activation_dtype) = (2, dtype);
                options.tiling = tiling;
                if tiling != Tiling::Exact {
                    options.tile_size = 4;
                }
                found += &lines(&fixture, &model, &options, &format!("{dtype} {name}"));
                level = Some(Session::new(&model, &options).unwrap().level().name());
            }
        }
    }
    let path = data().join("bits").join(format!("{}.txt", level.expect("fixtures")));
    if std::env::var_os("VAEKL_BLESS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let moved: Vec<(&str, &str)> =
        expected.lines().zip(found.lines()).filter(|(expected, found)| expected != found).collect();
    assert!(moved.is_empty(), "{}: {} moved: {moved:#?}", path.display(), moved.len());
    assert_eq!(expected.lines().count(), found.lines().count(), "{}", path.display());
}
