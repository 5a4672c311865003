//! Files of latents: what the command writes says what it is, what it reads is believed, and what
//! other programs write is read.

mod common;

use std::collections::BTreeMap;

use common::{Folder, data, noise, npy, npy_values, repository, safetensors};
use safetensors::SafeTensors;

const FORMATS: [&str; 4] = ["npy", "npz", "safetensors", "latent"];
const SHAPE: [usize; 4] = [1, 16, 4, 6];

fn fixture(name: &str) -> String {
    data("latents").join(name).to_str().unwrap().to_owned()
}

/// Decodes `input` and gives the picture's values as bytes, and what was said.
fn decode(folder: &Folder, input: &str, options: &[&str]) -> (Vec<u8>, String) {
    let arguments = [&["decode", input, "-o", "decoded.npy", "--threads", "1"], options].concat();
    let output = folder.run(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{input}: {said}");
    (folder.read("decoded.npy"), said)
}

/// The error of a decode that must fail.
fn refuse(folder: &Folder, input: &str, options: &[&str]) -> String {
    folder.fail(1, [&["decode", input, "-o", "no.npy"], options].concat())
}

/// Encodes a picture to `name`.
fn encode(folder: &Folder, name: &str, options: &[&str]) {
    let picture = data("photo_40x24.png");
    folder.succeed([&["encode", picture.to_str().unwrap(), "-o", name], options].concat());
}

fn metadata(file: &[u8]) -> BTreeMap<String, String> {
    let (_, metadata) = SafeTensors::read_metadata(file).unwrap();
    metadata.metadata().clone().unwrap_or_default().into_iter().collect()
}

/// A `.safetensors` file of latents that says `texts`, which are pairs.
fn labelled(texts: &[(&str, &str)], shape: &[usize]) -> Vec<u8> {
    let texts: serde_json::Map<_, _> =
        texts.iter().map(|&(key, text)| (format!("vaekl.{key}"), text.into())).collect();
    let count = shape.iter().product::<usize>();
    let header = serde_json::json!({
        "__metadata__": texts,
        "latents": { "dtype": "F32", "shape": shape, "data_offsets": [0, 4 * count] },
    })
    .to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(noise(count).flat_map(f32::to_le_bytes));
    file
}

#[test]
fn what_is_written_is_read_without_a_word() {
    let folder = Folder::new();
    encode(&folder, "raw.npy", &[]);
    let (expected, said) = decode(&folder, "raw.npy", &[]);
    assert!(said.contains("raw.npy does not say what its latents are"), "{said}");
    for format in FORMATS {
        let name = format!("raw.{format}");
        let picture = data("photo_40x24.png");
        let report = folder.json(["encode", picture.to_str().unwrap(), "-o", &name]);
        assert_eq!((&report["format"], &report["latents"]), (&format.into(), &"raw".into()));
        let again = folder.read(&name);
        encode(&folder, &name, &[]);
        assert!(folder.read(&name) == again, "{name} depends on more than its contents");
        let (found, said) = decode(&folder, &name, &[]);
        assert!(found == expected, "{name}");
        assert!(said.is_empty() || format == "npy", "{said}");
    }
}

#[test]
fn a_file_says_what_it_is() {
    let folder = Folder::new();
    let fingerprint = folder.json(["info"])["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(fingerprint.len(), 16);
    assert!(folder.succeed(["info"]).contains(&format!("fingerprint {fingerprint}")));
    for (name, options, kind) in [
        ("raw.safetensors", &[][..], "raw"),
        ("raw.latent", &["--posterior", "sample"], "raw"),
        ("scaled.safetensors", &["--scaled"], "scaled"),
        ("moments.safetensors", &["--posterior", "moments"], "moments"),
    ] {
        encode(&folder, name, options);
        let file = folder.read(name);
        let said = metadata(&file);
        assert_eq!(said["vaekl.latents"], kind);
        assert_eq!(said["vaekl.family"], "embedded");
        assert_eq!(said["vaekl.channels"], "16");
        assert_eq!(said["vaekl.model"], fingerprint);
        assert!(said["vaekl.scaling_factor"].parse::<f64>().is_ok());
        assert_eq!(said["format"], "pt");
        let file = SafeTensors::deserialize(&file).unwrap();
        if name.ends_with(".latent") {
            assert_eq!(file.tensor("latent_tensor").unwrap().shape(), [1, 16, 3, 5]);
            assert_eq!(file.tensor("latent_format_version_0").unwrap().shape(), [0]);
        } else {
            assert_eq!(file.len(), 1);
        }
    }
    // A model of another family, whose preset is named.
    let grey = data("grey_model");
    let model = ["--model", grey.to_str().unwrap()];
    encode(&folder, "grey.safetensors", &model);
    let said = metadata(&folder.read("grey.safetensors"));
    assert_eq!((&*said["vaekl.family"], &*said["vaekl.channels"]), ("AutoencoderKL", "2"));
    assert_ne!(said["vaekl.model"], fingerprint);
    let Some(model) = repository("tests/data/ldm_checkpoint/model.safetensors") else { return };
    let preset = ["--preset", "sd-x4-upscaler", "--norm-num-groups", "4", "-q"];
    let model = ["--model", model.to_str().unwrap()];
    encode(&folder, "x4.safetensors", &[&model[..], &preset].concat());
    let said = metadata(&folder.read("x4.safetensors"));
    let found = (&*said["vaekl.family"], &*said["vaekl.scaling_factor"]);
    assert_eq!(found, ("sd-x4-upscaler", "0.08333"));
}

#[test]
fn a_file_that_says_scaled_is_unscaled() {
    let folder = Folder::new();
    encode(&folder, "scaled.npy", &["--scaled"]);
    let (expected, said) = decode(&folder, "scaled.npy", &["--scaled"]);
    assert!(said.contains("scaled.npy does not say whose latents it has"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for name in ["scaled.npz", "scaled.safetensors"] {
        encode(&folder, name, &["--scaled"]);
        for options in [&[][..], &["--scaled"]] {
            let (found, said) = decode(&folder, name, options);
            assert!(found == expected && said.is_empty(), "{name}: {said}");
        }
        let report = folder.json(["decode", name, "-o", "out.png"]);
        assert_eq!(report["latents"], "scaled");
    }
}

#[test]
fn moments_are_known_by_what_the_file_says() {
    let folder = Folder::new();
    encode(&folder, "raw.npy", &[]);
    let (expected, _) = decode(&folder, "raw.npy", &[]);
    for name in ["moments.npz", "moments.safetensors", "moments.npy"] {
        encode(&folder, name, &["--posterior", "moments"]);
        let (found, said) = decode(&folder, name, &[]);
        assert!(found == expected, "{name}");
        assert!(said.contains("moments, decoding their mean"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let texts = [("latents", "moments")];
    folder.write("halved.safetensors", &labelled(&texts, &SHAPE));
    let line = refuse(&folder, "halved.safetensors", &[]);
    assert!(line.contains("moments of 16 channels, expected 32"), "{line}");
}

#[test]
fn contradictions_are_refused() {
    let folder = Folder::new();
    let own = folder.json(["info"])["config"]["scaling_factor"].to_string();
    for (name, options) in [
        ("raw.npz", &[][..]),
        ("raw.safetensors", &[]),
        ("raw.latent", &[]),
        ("moments.safetensors", &["--posterior", "moments"]),
    ] {
        encode(&folder, name, options);
        let line = refuse(&folder, name, &["--scaled"]);
        assert!(line.contains(&format!("{name}: --scaled ")), "{line}");
        assert!(line.contains("leave --scaled out"), "{line}");
    }
    let line = refuse(&folder, &fixture("comfy.latent"), &["--scaled"]);
    assert!(line.contains("the file says that they are raw"), "{line}");

    // Latents of other families for the embedded model, which has no family but its own.
    let cases: [(&[(&str, &str)], &str); 5] = [
        (
            &[("family", "flux"), ("scaling_factor", &own), ("channels", "16")],
            "of flux (16 channels",
        ),
        (&[("channels", "4")], "of a model (4 channels)"),
        (&[("scaling_factor", "0.18215")], "of a model (scaling 0.18215)"),
        (&[("scaling_factor", &own), ("shift_factor", "0.25")], "shift 0.25)"),
        (&[("family", "embedded"), ("model", "0123456789abcdef")], "of embedded"),
    ];
    for (texts, part) in cases {
        let texts = [&[("latents", "raw")], texts].concat();
        folder.write("other.safetensors", &labelled(&texts, &SHAPE));
        let line = refuse(&folder, "other.safetensors", &[]);
        let expected = "other.safetensors: latents of embedded (16 channels, scaling ";
        assert!(line.contains(expected) && line.contains(part), "{line}");
        assert!(line.contains("--model is the one they were made with"), "{line}");
    }
    // And the other way round.
    encode(&folder, "embedded.npz", &[]);
    let grey = data("grey_model");
    let line = refuse(&folder, "embedded.npz", &["--model", grey.to_str().unwrap()]);
    assert!(line.contains("latents of AutoencoderKL (2 channels"), "{line}");

    for (texts, part) in [
        (&[("latents", "cooked")][..], "vaekl.latents: raw, scaled or moments expected"),
        (&[("latents", "raw"), ("channels", "many")], "vaekl.channels: a number expected"),
    ] {
        folder.write("nonsense.safetensors", &labelled(texts, &SHAPE));
        let line = refuse(&folder, "nonsense.safetensors", &[]);
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn another_model_of_the_family_is_remarked() {
    let folder = Folder::new();
    let grey = data("grey_model");
    let model = ["--model", grey.to_str().unwrap()];
    let texts = [("latents", "raw"), ("channels", "2"), ("model", "0123456789abcdef")];
    folder.write("other.safetensors", &labelled(&texts, &[1, 2, 4, 6]));
    let (_, said) = decode(&folder, "other.safetensors", &model);
    assert!(
        said.contains("made with another model of the same family (0123456789abcdef"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    encode(&folder, "own.safetensors", &model);
    assert_eq!(decode(&folder, "own.safetensors", &model).1, "");
    // Raw latents of the same model fit, whatever its factor is said to be; scaled ones do not.
    let config = std::fs::read_to_string(grey.join("config.json")).unwrap();
    folder.write("config.json", config.replace("0.18215", "0.25").as_bytes());
    let preset = [&model[..], &["--config", "config.json"]].concat();
    assert_eq!(decode(&folder, "own.safetensors", &preset).1, "");
    encode(&folder, "scaled.safetensors", &[&model[..], &["--scaled"]].concat());
    let line = refuse(&folder, "scaled.safetensors", &preset);
    assert!(line.contains("(2 channels, scaling 0.25"), "{line}");
    assert!(line.trim_end().ends_with("--preset its family"), "{line}");
}

#[test]
fn what_is_assumed_is_said_in_one_line() {
    let folder = Folder::new();
    folder.write("latents.npy", &npy(&[1, 2, 4, 6], noise(48)));
    let grey = data("grey_model");
    let grey = grey.to_str().unwrap();
    let said = |input: &str, options: &[&str]| {
        let (_, said) = decode(&folder, input, options);
        assert!(said.lines().count() <= 1, "{said}");
        said
    };
    let line = said("latents.npy", &["--model", grey]);
    let expected = "latents.npy does not say what its latents are: taken as raw; --scaled if they \
                    are those of the diffusion model";
    assert_eq!(line, format!("vaekl: {expected}\n"));
    assert_eq!(said("latents.npy", &["--model", grey, "--scaled"]), "");
    assert_eq!(said("latents.npy", &["--model", grey, "--quiet"]), "");
    let line = said(&fixture("raw.npy"), &[]);
    assert!(line.contains("raw ones of the embedded model"), "{line}");
    assert!(line.contains("--scaled if") && line.contains("--model for another's"), "{line}");
    let line = said(&fixture("raw.npy"), &["--scaled"]);
    assert!(line.contains("taken as the embedded model's"), "{line}");
    // ComfyUI's latents are raw, but whose?
    let line = said(&fixture("comfy.latent"), &[]);
    assert!(line.contains("taken as the embedded model's") && !line.contains("raw"), "{line}");
}

#[test]
fn files_of_other_programs_are_read() {
    let folder = Folder::new();
    let (expected, _) = decode(&folder, &fixture("raw.npy"), &["-q"]);
    let cases: [(&str, &[&str]); 9] = [
        ("comfy.latent", &[]),
        ("comfy.safetensors", &[]),
        ("cache.npz", &[]),
        ("cache_sized.npz", &[]),
        ("cache_sizes.npz", &["--tensor", "latents_4x6"]),
        ("half.npz", &[]),
        ("diffusers.safetensors", &[]),
        ("packed.safetensors", &["--size", "48x32"]),
        ("frame.npy", &[]),
    ];
    for (name, options) in cases {
        let options = [&["-q"], options].concat();
        let (found, _) = decode(&folder, &fixture(name), &options);
        npy_values(&found, &[1, 3, 32, 48]);
        assert!(found == expected, "{name}");
    }
    // The format is told by the contents.
    let renamed = std::fs::read(fixture("comfy.latent")).unwrap();
    folder.write("renamed.pt", &renamed);
    assert!(decode(&folder, "renamed.pt", &["-q"]).0 == expected);

    // ComfyUI's latents without the mark are scaled.
    let (expected, _) = decode(&folder, &fixture("comfy_other.npy"), &["-q"]);
    let (found, said) = decode(&folder, &fixture("comfy_other.latent"), &[]);
    assert!(found == expected);
    assert!(said.contains("of ComfyUI's first format, divided by 0.18215"), "{said}");
}

#[test]
fn pytorch_files_are_read() {
    let folder = Folder::new();
    let (expected, _) = decode(&folder, &fixture("raw.npy"), &["-q"]);
    for name in ["tensor.pt", "samples.pth", "strided.bin"] {
        let (found, _) = decode(&folder, &fixture(name), &["-q"]);
        assert!(found == expected, "{name}");
    }
}

#[test]
fn what_cannot_be_decoded_is_said() {
    let folder = Folder::new();
    for (name, options, part) in [
        ("cache_sizes.npz", &[][..], "latents of 2 sizes: --tensor picks one of latents_4x6, "),
        ("cache_sizes.npz", &["--tensor", "x"], "no tensor x, --tensor is one of latents_4x6, "),
        ("cache.npz", &["--tensor", "crop_ltrb"], "array crop_ltrb: elements are '<i8'"),
        ("objects.npz", &[], "array latents: elements are '|O'"),
        ("packed.safetensors", &[], "give the picture's --size WxH"),
        ("packed.safetensors", &["--size", "64x32"], "6 patches, 8 expected for --size 64x32"),
        ("raw.npy", &["--size", "64x32"], "of a picture of 48x32, 64x32 expected by --size"),
        ("raw.npy", &["--tensor", "latents"], "has no name"),
    ] {
        let line = refuse(&folder, &fixture(name), options);
        assert!(line.contains(part), "{name}: {line}");
    }
    folder.write("video.npy", &npy(&[1, 16, 2, 4, 6], noise(2 * 16 * 24)));
    let line = refuse(&folder, "video.npy", &[]);
    assert!(line.contains("2 frames, one expected: save one of them, latents[:, :, 0]"), "{line}");
    for name in ["x.pkl", "x.latents", "x"] {
        folder.write(name, b"");
        let line = refuse(&folder, name, &[]);
        for part in [".npz, .safetensors, .latent, .pt, .pth or .bin", "numpy.save("] {
            assert!(line.contains(part), "{line}");
        }
    }
    folder.write("text.npz", b"no archive");
    let line = refuse(&folder, "text.npz", &[]);
    assert!(line.contains("text.npz: not a valid .npz file"), "{line}");
    let wide = f64::MAX.to_le_bytes().repeat(16);
    folder.write("wide.safetensors", &safetensors(&[("x", "F64", &[1, 16, 1, 1], wide)]));
    let line = refuse(&folder, "wide.safetensors", &[]);
    assert!(line.contains("the value at [0, 0, 0, 0] is infinite, or exceeds"), "{line}");
}

#[test]
fn comfyui_has_raw_latents_only() {
    let folder = Folder::new();
    let picture = data("photo_40x24.png");
    let encode = ["encode", picture.to_str().unwrap(), "-o", "out.latent"];
    for (options, part) in
        [(&["--scaled"][..], "not for scaled ones"), (&["--posterior", "moments"], "moments")]
    {
        let line = folder.fail(2, [&encode[..], options].concat());
        assert!(
            line.contains("ComfyUI's .latent is for raw latents") && line.contains(part),
            "{line}"
        );
    }
    // Pictures are not latents.
    for name in ["out.npz", "out.latent"] {
        let line = folder.fail(1, ["decode", &fixture("raw.npy"), "-o", name]);
        assert!(line.contains("unknown extension"), "{line}");
    }
}
