//! Each command on the families beside `AutoencoderKL`: FLUX.2's, tiny and asymmetric models.

mod common;

use std::path::{Path, PathBuf};

use common::{Folder, data, npy, npy_values, repository};
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

/// The fixtures, their class, and whether their encoder gives a posterior.
const FAMILIES: [(&str, &str, bool); 12] = [
    ("asymmetric", "AsymmetricAutoencoderKL", true),
    ("flux2", "AutoencoderKLFlux2", true),
    ("flux2_own", "AutoencoderKLFlux2", true),
    ("flux2_small_decoder", "AutoencoderKLFlux2", true),
    ("taef2", "AutoencoderTiny", false),
    ("taef2_diffusers_names", "AutoencoderTiny", false),
    ("taesana", "AutoencoderTiny", false),
    ("taesd", "AutoencoderTiny", false),
    ("taesd_safetensors", "AutoencoderTiny", false),
    ("tiny", "AutoencoderTiny", false),
    ("tiny_silu_16", "AutoencoderTiny", false),
    ("tiny_tiled", "AutoencoderTiny", false),
];

/// A fixture: what `--model` takes, and its reference.
struct Fixture {
    model: String,
    reference: Vec<u8>,
}

impl Fixture {
    /// `None` in a published package.
    fn open(name: &str) -> Option<Self> {
        let folder = repository("tests/data/families")?.join(name);
        let single = ["model", "taef2", "taesd3"].map(|stem| format!("{stem}.safetensors"));
        let single = single.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        let model = single.unwrap_or_else(|| folder.clone());
        let reference = std::fs::read(folder.join("reference.safetensors")).unwrap();
        Some(Self { model: model.to_str().unwrap().to_owned(), reference })
    }

    fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.reference).unwrap().tensor(name).is_ok()
    }

    /// Shape and values of a tensor of the reference.
    fn tensor(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.reference).unwrap();
        let tensor = file.tensor(name).unwrap();
        let data = tensor.data();
        let values = match tensor.dtype() {
            Dtype::F64 => data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
            Dtype::F32 => {
                data.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect()
            }
            other => panic!("{name}: {other:?}"),
        };
        (tensor.shape().to_vec(), values)
    }

    /// Writes a tensor of the reference as `NAME.npy`, and gives this name.
    fn write(&self, folder: &Folder, name: &str) -> String {
        let (shape, values) = self.tensor(name);
        let file = format!("{name}.npy");
        folder.write(&file, &npy(&shape, values.iter().map(|&value| value as f32)));
        file
    }

    /// Whether a `.npy` has a tensor of the reference, to 1e-4 of its range.
    fn check(&self, file: &[u8], name: &str) {
        let (shape, expected) = self.tensor(name);
        let found = npy_values(file, &shape);
        let range = expected.iter().copied().fold(f64::MIN, f64::max)
            - expected.iter().copied().fold(f64::MAX, f64::min);
        let worst = found.iter().zip(&expected).map(|(&a, b)| (f64::from(a) - b).abs());
        let worst = worst.fold(0.0, f64::max) / range;
        assert!(worst < 1e-4, "{}: {name} is off by {worst:.1e} of its range", self.model);
    }
}

/// The command on a fixture.
fn on<'a>(fixture: &'a Fixture, arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--model", &fixture.model]].concat()
}

/// The command on a fixture, without a word on stderr.
fn quiet<'a>(fixture: &'a Fixture, arguments: &[&'a str]) -> Vec<&'a str> {
    [&on(fixture, arguments)[..], &["--quiet"]].concat()
}

fn photo(name: &str) -> String {
    data(name).to_str().unwrap().to_owned()
}

#[test]
fn info_tells_the_family_and_what_tells_it() {
    let folder = Folder::new();
    for (name, class, posterior) in FAMILIES {
        let Some(fixture) = Fixture::open(name) else { return };
        let info = folder.json(["info", &fixture.model]);
        assert_eq!((&info["family"], &info["posterior"]), (&json!(class), &json!(posterior)));
        let source = info["family_source"].as_str().unwrap();
        let bare = info["config_source"] == "inferred from shapes";
        assert_eq!(source.starts_with("tensor "), bare, "{name}: {source}");
        assert_eq!(info["masks"], json!(name == "asymmetric"), "{name}");
        let patch = if class == "AutoencoderKLFlux2" { 2 } else { 1 };
        assert_eq!(info["patch_size"], json!(patch), "{name}");
        let variant = match name {
            "taef2" | "taef2_diffusers_names" => json!("flux_2"),
            "taesana" => json!("f32"),
            _ => json!(null),
        };
        assert_eq!(info["family_variant"], variant, "{name}");
        assert_eq!(info["foreign_tensors"], 0, "{name}");

        let text = folder.succeed(["info", &fixture.model]);
        let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line("family ").contains(class) && line("family ").contains(source), "{text}");
        assert_eq!(line("latents ").contains("no posterior"), !posterior, "{text}");
        assert_eq!(line("latents ").contains("in patches of 2x2"), patch == 2, "{text}");
        assert_eq!(line("masks ").ends_with("not taken"), name != "asymmetric", "{text}");
    }
    let text = folder.succeed(["info"]);
    assert!(text.contains("family      AutoencoderKL (the configuration: given)"), "{text}");
}

#[test]
fn every_family_is_encoded_and_decoded_as_by_its_definition() {
    let folder = Folder::new();
    for (name, _, posterior) in FAMILIES {
        let Some(fixture) = Fixture::open(name) else { return };
        let (image, latents) = (fixture.write(&folder, "image"), fixture.write(&folder, "latents"));
        folder.succeed(quiet(&fixture, &["decode", &latents, "-o", "decoded.npy"]));
        fixture.check(&folder.read("decoded.npy"), "decoded_f64");
        let encode = ["encode", &image, "-o", "encoded.npy"];
        if posterior {
            let options = [&encode[..], &["--posterior", "moments"]].concat();
            folder.succeed(quiet(&fixture, &options));
            fixture.check(&folder.read("encoded.npy"), "moments");
        } else {
            folder.succeed(quiet(&fixture, &encode));
            fixture.check(&folder.read("encoded.npy"), "encoded");
        }
        if fixture.has("latents_denormalised") && name.starts_with("tiny") {
            folder.succeed(quiet(&fixture, &[&encode[..], &["--scaled"]].concat()));
            fixture.check(&folder.read("encoded.npy"), "encoded_normalised");
        }
        for call in ["decode", "encode"] {
            let plan = ["plan", call, "--size", "128x96", "--model", &fixture.model];
            let plan = folder.json(plan);
            assert!(plan["multiply_adds"].as_u64().unwrap() > 0, "{name}: {plan}");
            assert_eq!((&plan["width"], &plan["height"]), (&json!(128), &json!(96)));
        }
    }
}

#[test]
fn a_tiny_model_has_no_posterior() {
    let Some(fixture) = Fixture::open("taesd") else { return };
    let folder = Folder::new();
    let picture = photo("photo_40x24.png");
    let encode = ["encode", &picture, "-o", "out.npy"];
    folder.succeed(quiet(&fixture, &encode));
    let mode = folder.read("out.npy");
    npy_values(&mode, &[1, 4, 3, 5]);
    let sample = ["--posterior", "sample", "--seed", "7"];
    folder.succeed(quiet(&fixture, &[&encode[..], &sample].concat()));
    assert!(folder.read("out.npy") == mode);
    let moments = [&encode[..], &["--posterior", "moments"]].concat();
    let line = folder.fail(2, quiet(&fixture, &moments));
    assert!(line.contains("--posterior moments: an AutoencoderTiny has no posterior"), "{line}");
    let patches = [&encode[..], &["--scaled", "--patches"]].concat();
    let line = folder.fail(2, quiet(&fixture, &patches));
    let expected = "--patches: an AutoencoderKLFlux2 expected, AutoencoderTiny found";
    assert!(line.contains(expected), "{line}");
    // The last row of a picture that is cut off in other families is a latent of its own.
    let image = fixture.write(&folder, "image");
    let output = folder.run(["reconstruct", &image, "-o", "out.npy", "--model", &fixture.model]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !said.contains("left out"), "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("56x48, PSNR "));
    npy_values(&folder.read("out.npy"), &[1, 3, 48, 56]);
}

#[test]
fn every_family_reconstructs_a_picture() {
    let folder = Folder::new();
    for (name, ..) in FAMILIES {
        let Some(fixture) = Fixture::open(name) else { return };
        let picture = photo("photo_64x40.png");
        let report = folder.json(on(&fixture, &["reconstruct", &picture, "-o", "out.png"]));
        let out = image::open(folder.path("out.png")).unwrap();
        // 32 pixels a latent, or 8 and fewer.
        let height = if name == "taesana" { 32 } else { 40 };
        assert_eq!((out.width(), out.height()), (64, height), "{name}");
        assert_eq!((&report["width"], &report["height"]), (&json!(64), &json!(height)));
        assert!(report["psnr_db"].as_f64().is_some(), "{report}");
    }
}

#[test]
fn latents_of_flux2_are_read_and_written_in_patches() {
    let Some(fixture) = Fixture::open("flux2") else { return };
    let folder = Folder::new();
    let image = fixture.write(&folder, "image");
    let scaled = ["encode", &image, "--scaled"];
    folder.succeed(quiet(&fixture, &[&scaled[..], &["-o", "plain.npy"]].concat()));
    fixture.check(&folder.read("plain.npy"), "mode_normalised");
    let patches = ["encode", &image, "--scaled", "--patches"];
    let report = folder.json(on(&fixture, &[&patches[..], &["-o", "patches.npy"]].concat()));
    assert_eq!(report["patch_size"], 2);
    fixture.check(&folder.read("patches.npy"), "patches");

    let decode = |name: &str, options: &[&str]| {
        let decode = [&["decode", name, "-o", "decoded.npy"], options].concat();
        folder.succeed(quiet(&fixture, &decode));
        folder.read("decoded.npy")
    };
    let expected = decode("plain.npy", &["--scaled"]);
    assert!(decode("patches.npy", &["--scaled", "--size", "48x32"]) == expected);
    // A file that says what it is needs no flag.
    folder.succeed(quiet(&fixture, &[&patches[..], &["-o", "patches.safetensors"]].concat()));
    assert!(decode("patches.safetensors", &[]) == expected);

    for options in [&[][..], &["--size", "48x32"]] {
        let decode = [&["decode", "patches.npy", "-o", "no.npy"], options].concat();
        let line = folder.fail(1, quiet(&fixture, &decode));
        let part = "latents of 24 channels, expected 6; in patches of 2x2 only with --scaled";
        assert!(line.contains("patches.npy: ") && line.contains(part), "{line}");
    }
    let size = ["decode", "patches.npy", "-o", "no.npy", "--scaled", "--size", "24x16"];
    let line = folder.fail(1, quiet(&fixture, &size));
    assert!(line.contains("latents of a picture of 48x32, 24x16 expected by --size"), "{line}");
    let alone = ["encode", &image, "-o", "no.npy", "--patches"];
    assert!(!folder.run(quiet(&fixture, &alone)).status.success());

    // Pictures are resized to whole patches, arrays are not.
    let picture = photo("photo_40x24.png");
    let encode = ["encode", &picture, "-o", "out.npy", "--scaled", "--patches"];
    folder.succeed(quiet(&fixture, &encode));
    npy_values(&folder.read("out.npy"), &[1, 24, 1, 2]);
    folder.write("odd.npy", &npy(&[1, 3, 24, 32], vec![0.5; 3 * 24 * 32]));
    let odd = ["encode", "odd.npy", "-o", "no.npy", "--scaled", "--patches"];
    let line = folder.fail(1, quiet(&fixture, &odd));
    assert!(line.contains("odd.npy: array of 32x24, which has latents of 4x3"), "{line}");
}

#[test]
fn latents_of_another_model_are_refused() {
    let [Some(flux2), Some(other), Some(taesd), Some(asymmetric)] =
        ["flux2", "tiny", "taesd", "asymmetric"].map(Fixture::open)
    else {
        return;
    };
    let folder = Folder::new();
    let picture = photo("photo_64x40.png");
    for (fixture, name) in [(&flux2, "flux2.npz"), (&taesd, "taesd.npz"), (&other, "tiny.npz")] {
        folder.succeed(quiet(fixture, &["encode", &picture, "-o", name]));
    }
    let refuse = |fixture: &Fixture, name: &str, preset: &[&str]| {
        let decode = [&["decode", name, "-o", "no.npy"], preset].concat();
        folder.fail(1, quiet(fixture, &decode))
    };
    let line = refuse(&taesd, "flux2.npz", &[]);
    let part = "latents of AutoencoderTiny (4 channels, scaling 1, shift 0) expected by the model";
    assert!(line.contains(part), "{line}");
    assert!(line.contains("of AutoencoderKLFlux2 (6 channels"), "{line}");
    let line = refuse(&asymmetric, "taesd.npz", &[]);
    assert!(line.contains("of AutoencoderTiny (4 channels"), "{line}");
    // Twice the channels are no moments: a tiny model has none.
    folder.write("wide.npy", &npy(&[1, 8, 3, 5], vec![0.0; 8 * 15]));
    let line = refuse(&taesd, "wide.npy", &[]);
    assert!(line.contains("wide.npy: latents of 8 channels, expected 4"), "{line}");
    // Both have 4 channels and a factor of 1: the presets tell.
    let xl = ["encode", &picture, "-o", "xl.npz", "--preset", "taesdxl"];
    folder.succeed(quiet(&taesd, &xl));
    folder.succeed([
        "convert",
        &taesd.model,
        "-q",
        "-o",
        "half.safetensors",
        "--dtype",
        "bf16",
        "--preset",
        "taesd",
    ]);
    let half = Fixture { model: folder.path("half.safetensors").to_str().unwrap().into(), ..taesd };
    let line = refuse(&half, "xl.npz", &["--preset", "taesd"]);
    assert!(line.contains("latents of taesd (4") && line.contains("of taesdxl (4"), "{line}");

    // The same model in another type: its statistics are rounded.
    let convert = ["convert", &flux2.model, "-q", "-o", "bf16", "--dtype", "bf16"];
    folder.succeed(convert);
    let output = folder.run(["decode", "flux2.npz", "-o", "out.npy", "--model", "bf16"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("another model of the same family"), "{said}");
}

#[test]
fn what_is_outside_of_a_mask_is_kept() {
    let Some(fixture) = Fixture::open("asymmetric") else { return };
    let folder = Folder::new();
    let [latents, picture, mask] =
        ["latents", "condition_image", "mask"].map(|name| fixture.write(&folder, name));
    let decode = |options: &[&str], out: &str| {
        let decode = [&["decode", &latents, "-o", out], options].concat();
        folder.json(on(&fixture, &decode))
    };
    let report = decode(&["--picture", &picture, "--mask", &mask], "decoded.npy");
    assert_eq!(report["masked"], true);
    let masked = folder.read("decoded.npy");
    fixture.check(&masked, "decoded_masked_f64");
    let (shape, values) = fixture.tensor("mask");
    folder.write("flat.npy", &npy(&shape[2..], values.iter().map(|&value| value as f32)));
    decode(&["--picture", &picture, "--mask", "flat.npy"], "decoded.npy");
    assert!(folder.read("decoded.npy") == masked);
    decode(&["--picture", &picture, "--mask", &mask], "decoded.png");
    assert_eq!(image::open(folder.path("decoded.png")).unwrap().width(), 56);

    // A grey picture: white is 1, black is 0.
    let (height, width) = (shape[2], shape[3]);
    let inside = |x: usize, y: usize| x > width / 2 && y > 8;
    let grey = image::GrayImage::from_fn(width as u32, height as u32, |x, y| {
        image::Luma([if inside(x as usize, y as usize) { 255 } else { 0 }])
    });
    grey.save(folder.path("mask.png")).unwrap();
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let values = pixels.map(|(x, y)| f32::from(u8::from(inside(x, y))));
    folder.write("binary.npy", &npy(&[1, 1, height, width], values));
    decode(&["--picture", &picture, "--mask", "binary.npy"], "array.npy");
    decode(&["--picture", &picture, "--mask", "mask.png"], "grey.npy");
    let expected = folder.read("grey.npy");
    assert!(expected == folder.read("array.npy") && expected != masked);

    // As diffusers' forward(sample, mask): the picture that is encoded is the one that is kept.
    let forward = ["reconstruct", &picture, "-o", "forward.npy", "--mask", "mask.png"];
    folder.succeed(quiet(&fixture, &forward));
    folder.succeed(quiet(&fixture, &["encode", &picture, "-o", "encoded.npy"]));
    let composed =
        ["decode", "encoded.npy", "-o", "out.npy", "--picture", &picture, "--mask", "mask.png"];
    folder.succeed(quiet(&fixture, &composed));
    assert!(folder.read("forward.npy") == folder.read("out.npy"));
    folder.succeed(quiet(&fixture, &["decode", "encoded.npy", "-o", "plain.npy"]));
    assert!(folder.read("plain.npy") != folder.read("out.npy"));
}

#[test]
fn masks_that_do_not_fit_are_refused() {
    let Some(fixture) = Fixture::open("asymmetric") else { return };
    let folder = Folder::new();
    let [latents, picture, mask] =
        ["latents", "condition_image", "mask"].map(|name| fixture.write(&folder, name));
    let small = photo("grey_44x28.png");
    let count = 40 * 56;
    folder.write("two.npy", &npy(&[2, 40, 56], vec![1.0; 2 * count]));
    folder.write("batch.npy", &npy(&[2, 1, 40, 56], vec![1.0; 2 * count]));
    folder.write("large.npy", &npy(&[40, 56], vec![255.0; count]));
    folder.write("nan.npy", &npy(&[40, 56], vec![f32::NAN; count]));
    folder.write("line.npy", &npy(&[40], vec![1.0; 40]));
    for (picture, mask, part) in [
        (&*picture, &*small, "grey_44x28.png: mask of 44x28, expected 56x40"),
        (&picture, "two.npy", "two.npy: mask of 2 channels, expected 1"),
        (&picture, "batch.npy", "batch.npy: masks for a batch of 2, expected 1"),
        (&picture, "large.npy", "large.npy: mask of values from 0 to 1 expected, 255 found at"),
        (&picture, "nan.npy", "nan.npy: mask of values from 0 to 1 expected, NaN found at"),
        (&picture, "line.npy", "line.npy: shape [40], expected [height, width] or"),
        (&picture, "none.png", "none.png: "),
        (&small, &mask, "grey_44x28.png: picture of 44x28, expected 56x40"),
        (&mask, &mask, "mask.npy: picture of 1 channels, expected 3"),
    ] {
        let decode = ["decode", &latents, "-o", "no.npy", "--picture", picture, "--mask", mask];
        let line = folder.fail(1, quiet(&fixture, &decode));
        assert!(line.contains(part), "{line}");
    }
    let small = ["reconstruct", &picture, "-o", "no.npy", "--mask", &small];
    let line = folder.fail(1, quiet(&fixture, &small));
    assert!(line.contains("grey_44x28.png: mask of 44x28, expected 56x40"), "{line}");
    let tiles = ["reconstruct", &picture, "-o", "no.npy", "--mask", &mask, "--tiling", "seamless"];
    let line = folder.fail(2, quiet(&fixture, &tiles));
    assert!(line.contains("--mask: --tiling exact expected, tiles found"), "{line}");
    // One without the other, and a family that has no use for a mask.
    for option in ["--picture", "--mask"] {
        let decode = ["decode", &latents, "-o", "no.npy", option, &mask];
        assert_eq!(folder.run(quiet(&fixture, &decode)).status.code(), Some(2));
    }
    let decode = ["decode", &latents, "-o", "no.npy", "--picture", &picture, "--mask", &mask];
    let line = folder.fail(2, decode);
    let part = "--mask: an AsymmetricAutoencoderKL expected, AutoencoderKL found";
    assert!(line.contains(part), "{line}");
    let line = folder.fail(2, ["reconstruct", &picture, "-o", "no.npy", "--mask", &mask]);
    assert!(line.contains(part), "{line}");
}

/// The names of the tensors of a `.safetensors` file.
fn names(file: &[u8]) -> Vec<String> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    names.into_iter().map(ToString::to_string).collect()
}

#[test]
fn every_family_is_converted_and_comes_back() {
    let folder = Folder::new();
    for (name, class, _) in FAMILIES {
        let Some(fixture) = Fixture::open(name) else { return };
        let latents = fixture.write(&folder, "latents");
        let decode = |model: &str| {
            let decode = ["decode", &latents, "-q", "-o", "out.npy", "--model", model];
            folder.succeed(decode);
            folder.read("out.npy")
        };
        let expected = decode(&fixture.model);
        let output = folder.run(["convert", &fixture.model, "-o", name]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let variant = ["taef2", "taef2_diffusers_names", "taesana"].contains(&name);
        assert_eq!(
            said.contains("opens here; diffusers leaves a part of it out"),
            variant,
            "{name}: {said}"
        );
        assert!(!String::from_utf8(output.stdout).unwrap().contains("other tensors"), "{name}");
        let config = folder.read(&format!("{name}/config.json"));
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["_class_name"], class);
        assert!(decode(name) == expected, "{name}");
        assert_eq!(folder.json(["info", name])["guessed"], json!([]), "{name}");

        let file = format!("{name}.safetensors");
        let report = folder.json(["convert", name, "-o", &file]);
        assert_eq!(report["family"], class);
        assert!(decode(&file) == expected, "{file}");
        let original = format!("{name}.original.safetensors");
        let convert = ["convert", name, "-o", &original, "--layout", "original"];
        if name == "asymmetric" {
            let line = folder.fail(1, convert);
            assert!(line.contains("layout: diffusers' expected for an Asymmetric"), "{line}");
            continue;
        }
        folder.succeed(convert);
        assert!(decode(&original) == expected, "{original}");
        assert_eq!(folder.json(["info", &original])["layout"], "original", "{name}");
        let found = names(&folder.read(&original));
        let own = |file: &str| names(&std::fs::read(file).unwrap());
        let parts = match name {
            "flux2_own" | "taesd_safetensors" => {
                assert_eq!(found, own(&fixture.model), "{name}: the publisher's names");
                continue;
            }
            "flux2" => ["encoder.quant_conv.weight", "decoder.post_quant_conv.bias"],
            "taef2" => ["encoder.11.pool.1.bias", "decoder.3.conv.4.bias"],
            _ => continue,
        };
        assert!(parts.iter().all(|part| found.iter().any(|name| name == part)), "{found:?}");
    }
}

/// The real weights of TAEF2, where `VAEKL_TAEF2` names a folder with `taef2_encoder.pth` and
/// `taef2_decoder.pth`.
#[test]
fn taef2_reconstructs_a_photograph() {
    let Some(model) = std::env::var_os("VAEKL_TAEF2").map(PathBuf::from) else {
        println!("VAEKL_TAEF2 names no folder: not tested");
        return;
    };
    let Some(photo) = repository("examples/astronaut.png") else { return };
    let folder = Folder::new();
    let arguments: [&Path; 6] = [
        "reconstruct".as_ref(),
        &photo,
        "-o".as_ref(),
        "out.png".as_ref(),
        "--model".as_ref(),
        &model,
    ];
    let psnr = folder.json(arguments)["psnr_db"].as_f64().unwrap();
    println!("{psnr:.4} dB");
    assert!((psnr - 31.2).abs() < 0.05, "{psnr}");
}
