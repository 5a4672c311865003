//! A disk that fills up at any byte of an output: the command says so, and the old file stays.
#![cfg(unix)]

mod common;

use std::process::{Command, Output, Stdio};

use common::{Folder, noise, npy};

/// Runs a program that may write no file longer than so many bytes, with the error of a write
/// instead of the signal that Python itself ignores.
const LIMITED: &str = "
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.argv[2], sys.argv[2:])
";

/// Runs the command in `folder` with files of at most `limit` bytes.
fn limited(folder: &Folder, arguments: &[&str], limit: usize) -> Output {
    let command = folder.command(arguments);
    Command::new("python3")
        .args(["-c", LIMITED, &limit.to_string()])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_cut_output_is_never_a_success() {
    let folder = Folder::new();
    let channels = folder.json(["info"])["config"]["latent_channels"].as_u64().unwrap() as usize;
    folder.write("latents.npy", &npy(&[1, channels, 8, 8], noise(channels * 64)));
    folder.succeed(["decode", "latents.npy", "-o", "picture.png", "--quiet"]);
    let decoded = ["png", "jpg", "webp", "npy", "safetensors"].map(|kind| ("decode", kind));
    let encoded = ["npy", "npz", "safetensors", "latent"].map(|kind| ("encode", kind));
    for (call, kind) in decoded.into_iter().chain(encoded) {
        let name = &format!("{call}.{kind}");
        let input = if call == "decode" { "latents.npy" } else { "picture.png" };
        let arguments = [call, input, "-o", name, "--quiet", "--threads", "1"];
        folder.succeed(arguments);
        let whole = folder.read(name).len();
        folder.write(name, b"the old one");
        let before = folder.files();
        // The last bytes are the ones that encoders write in their destructors.
        let ends = [1, 4, 5, 12, 13, 40].map(|left| whole - left);
        for limit in (0..4).map(|quarter| quarter * whole / 4).chain(ends) {
            let output = limited(&folder, &arguments, limit);
            let stderr = String::from_utf8_lossy(&output.stderr);
            let what = format!("{name}, {limit} of {whole} bytes: {stderr}");
            assert_eq!(output.status.code(), Some(1), "{what}");
            assert!(stderr.starts_with(&format!("vaekl: {name}: ")), "{what}");
            assert_eq!(stderr.lines().count(), 1, "{what}");
            assert_eq!(folder.read(name), b"the old one", "{what}");
            assert_eq!(folder.files(), before, "{what}");
        }
    }
}

#[test]
fn a_cut_model_is_never_a_success() {
    let folder = Folder::new();
    folder.succeed(["convert", "-o", "old", "-q"]);
    folder.succeed(["convert", "-o", "old.safetensors", "-q"]);
    let weights = "old/diffusion_pytorch_model.safetensors";
    let size = folder.read(weights).len();
    let there = ["old/config.json", weights, "old.safetensors"].map(|name| folder.read(name));
    for (output, file) in [
        ("old", weights),
        ("new/vae", "new/vae/diffusion_pytorch_model.safetensors"),
        ("old.safetensors", "old.safetensors"),
        ("new.safetensors", "new.safetensors"),
    ] {
        for limit in [0, 9, size / 2, size - 1] {
            let output = limited(&folder, &["convert", "-o", output], limit);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.starts_with(&format!("vaekl: {file}: ")), "{stderr}");
            assert_eq!(folder.files(), ["old", "old.safetensors"], "{stderr}");
            assert_eq!(std::fs::read_dir(folder.path("old")).unwrap().count(), 2, "{stderr}");
        }
    }
    let found = ["old/config.json", weights, "old.safetensors"].map(|name| folder.read(name));
    assert!(found == there);
}

#[test]
fn a_cut_configuration_is_never_a_success() {
    let Some(model) = common::repository("tests/data/sd_like") else { return };
    let folder = Folder::new();
    std::fs::create_dir(folder.path("model")).unwrap();
    let weights = "diffusion_pytorch_model.safetensors";
    let bytes = std::fs::read(model.join(weights)).unwrap();
    folder.write(&format!("model/{weights}"), &bytes);
    // Longer than the weights, which are all within the limit then.
    let mut config = std::fs::read(model.join("config.json")).unwrap();
    config.resize(bytes.len() + 20_000, b' ');
    folder.write("model/config.json", &config);
    for limit in [bytes.len() + 1000, config.len() - 1] {
        let output = limited(&folder, &["convert", "model", "-o", "new"], limit);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("vaekl: new/config.json: "), "{stderr}");
        assert_eq!(folder.files(), ["model"]);
    }
    folder.succeed(["convert", "model", "-o", "new", "-q"]);
    assert_eq!(folder.read("new/config.json"), config);
}
