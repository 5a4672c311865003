//! `vaekl convert`: what it writes, what it says, and what it refuses.

mod common;

use common::{Folder, data, noise, npy, npy_values, repository};
use serde_json::json;

/// A file in the original layout, without a configuration.
const LDM_BARE: &str = "tests/data/ldm_bare/model.safetensors";
const LDM_CHECKPOINT: &str = "tests/data/ldm_checkpoint/model.safetensors";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

#[test]
fn a_model_goes_from_form_to_form_without_a_change() {
    let folder = Folder::new();
    let report = folder.json(["convert", "-o", "vae"]);
    assert_eq!((&report["model"], &report["output"]), (&"embedded".into(), &"vae".into()));
    assert_eq!(report["files"], json!([format!("vae/{WEIGHTS}"), "vae/config.json"]));
    assert_eq!((&report["layout"], &report["guessed"]), (&"diffusers".into(), &json!([])));
    let info = folder.json(["info"]);
    for key in ["tensors", "parameters", "weight_bytes", "dtypes", "parts"] {
        assert_eq!(report[key], info[key], "{key}");
    }
    let saved = |name: &str| {
        (folder.read(&format!("{name}/{WEIGHTS}")), folder.read(&format!("{name}/config.json")))
    };

    let text = folder.succeed(["convert", "vae", "-o", "vae.safetensors"]);
    assert!(text.starts_with("vae.safetensors: "), "{text}");
    assert!(
        text.contains(" tensors, ")
            && text.contains(" MiB of ")
            && text.ends_with("diffusers layout\n"),
        "{text}"
    );
    folder.succeed([
        "convert",
        "--model",
        "vae.safetensors",
        "-o",
        "ldm.safetensors",
        "--layout",
        "ldm",
    ]);
    let info = folder.json(["info", "ldm.safetensors"]);
    assert_eq!(
        (&info["layout"], &info["config_source"]),
        (&"original".into(), &"the file's metadata".into())
    );
    folder.succeed(["convert", "ldm.safetensors", "-o", "back", "-q"]);
    assert_eq!(saved("back"), saved("vae"));

    // Onto itself, in shards and back.
    let report = folder.json(["convert", "back", "-o", "back", "--max-shard-size", "100K"]);
    assert!(report["files"].as_array().unwrap().len() > 4, "{report}");
    assert!(!folder.path("back").join(WEIGHTS).exists());
    folder.succeed(["convert", "back", "-o", "back"]);
    assert_eq!(saved("back"), saved("vae"));
    assert_eq!(std::fs::read_dir(folder.path("back")).unwrap().count(), 2);

    let channels = info["config"]["latent_channels"].as_u64().unwrap() as usize;
    folder.write("latents.npy", &npy(&[1, channels, 3, 5], noise(channels * 15)));
    let decode = |model: &str, out: &str| {
        folder.succeed(["decode", "-q", "latents.npy", "-o", out, "--model", model]);
        npy_values(&folder.read(out), &[1, 3, 24, 40])
    };
    assert_eq!(decode("vae", "a.npy"), decode("ldm.safetensors", "b.npy"));
}

#[test]
fn the_type_of_the_weights_is_chosen() {
    let folder = Folder::new();
    let count = folder.json(["info"])["tensors"].clone();
    for dtype in ["f32", "f16", "bf16"] {
        let report = folder.json(["convert", "-o", "vae.safetensors", "--dtype", dtype]);
        assert_eq!(report["dtypes"], json!({ dtype: count }), "{dtype}");
        let info = folder.json(["info", "vae.safetensors"]);
        assert_eq!(info["weight_bytes"], report["weight_bytes"]);
    }
}

#[test]
fn guesses_are_told_and_a_preset_leaves_none_of_the_scaling() {
    let Some(model) = repository(LDM_BARE) else { return };
    let model = model.to_str().unwrap();
    let folder = Folder::new();
    let output = folder.run(["convert", model, "-o", "vae"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.lines().count() > 0, "{stderr}");
    let told = |line: &str| line.starts_with(&format!("vaekl: {model}: guessed "));
    assert!(stderr.lines().all(told), "{stderr}");
    let Some(model) = repository(LDM_CHECKPOINT) else { return };
    let model = model.to_str().unwrap();
    let preset = ["--preset", "sd-x4-upscaler", "--norm-num-groups", "4"];
    folder.json([&["convert", model, "-o", "x4.safetensors"], &preset[..]].concat());
    let info = folder.json(["info", "x4.safetensors"]);
    let expected = (&json!(0.08333), &json!([]));
    assert_eq!((&info["config"]["scaling_factor"], &info["guessed"]), expected);
}

#[test]
fn outputs_that_make_no_sense_are_refused_before_the_work() {
    let folder = Folder::new();
    folder.write("file", b"");
    std::fs::create_dir(folder.path("folder.safetensors")).unwrap();
    let cases = [
        (2, vec!["-o", "out.ckpt"], "a folder or a .safetensors file expected, out.ckpt found"),
        (2, vec!["-o", "OUT.GGUF"], "OUT.GGUF found"),
        (
            2,
            vec!["-o", "out", "--layout", "ldm"],
            "--layout ldm: a .safetensors file expected as --output, out found",
        ),
        (
            2,
            vec!["-o", "a.safetensors", "--max-shard-size", "1M"],
            "--max-shard-size: a folder expected as --output, a.safetensors found",
        ),
        (1, vec!["-o", "folder.safetensors"], "a .safetensors file expected, a folder found"),
        (1, vec!["-o", "file"], "file: a folder expected, a file found"),
        (1, vec!["-o", "file/out"], "file/out"),
        (1, vec!["-o", "none/out.safetensors"], "no folder none"),
    ];
    for (code, options, part) in cases {
        let line = folder.fail(code, [&["convert"][..], &options].concat());
        assert!(line.contains(part), "{line}");
    }
    let line = folder.fail(1, ["convert", "missing", "-o", "out"]);
    assert!(line.contains("missing: "), "{line}");
    let picture = data("photo_40x24.png");
    let line = folder.fail(1, ["convert", picture.to_str().unwrap(), "-o", "out"]);
    assert!(line.contains("photo_40x24.png: "), "{line}");
}
