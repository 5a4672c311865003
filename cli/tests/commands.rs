//! Each command on the embedded model: what it writes and what it prints.

mod common;

use common::{Folder, data, noise, npy, npy_values, repository, safetensors};
use serde_json::Value;

/// A bare file in the original layout, without a configuration.
const LDM_CHECKPOINT: &str = "tests/data/ldm_checkpoint/model.safetensors";

/// The keys every `--json` object has, with the types a program relies on.
fn check_common(report: &Value) {
    for seconds in ["load_s", "total_s", "peak_rss_mb"] {
        assert!(report[seconds].as_f64().is_some_and(|value| value > 0.0), "{seconds}: {report}");
    }
    assert!(report["cpu_level"].is_string(), "{report}");
    assert_eq!(report["model"], "embedded");
}

fn check_call(report: &Value, calls: &[&str]) {
    check_common(report);
    for call in ["encode_s", "decode_s"] {
        let seconds = report[call].as_f64();
        assert_eq!(seconds.is_some(), calls.contains(&call), "{report}");
        assert!(seconds.unwrap_or(0.0) <= report["total_s"].as_f64().unwrap(), "{report}");
    }
    assert_eq!(report["threads"], 2);
    assert_eq!(report["exact"], true);
}

/// Latents of the embedded model, `batch` of `height` x `width`.
fn latents(folder: &Folder, name: &str, batch: usize, height: usize, width: usize) -> Vec<f32> {
    let channels = latent_channels(folder);
    let values: Vec<f32> = noise(batch * channels * height * width).collect();
    folder.write(name, &npy(&[batch, channels, height, width], values.iter().copied()));
    values
}

fn latent_channels(folder: &Folder) -> usize {
    folder.json(["info"])["config"]["latent_channels"].as_u64().unwrap() as usize
}

#[test]
fn reconstruct_writes_a_picture_and_its_psnr() {
    let folder = Folder::new();
    let input = data("photo_40x24.png");
    let report = folder.json(
        ["reconstruct", input.to_str().unwrap(), "-o", "out.png", "--threads", "2"].as_slice(),
    );
    check_call(&report, &["encode_s", "decode_s"]);
    assert_eq!(report["dtype"], "f32");
    assert_eq!((&report["width"], &report["height"]), (&40.into(), &24.into()));
    assert_eq!(report["output"], "out.png");

    let output = image::open(folder.path("out.png")).unwrap();
    assert_eq!(output.color(), image::ColorType::Rgb8);
    let (input, output) = (image::open(input).unwrap().into_rgb8(), output.into_rgb8());
    assert_eq!(output.dimensions(), (40, 24));
    let square = |(&a, &b): (&u8, &u8)| (f64::from(a) - f64::from(b)).powi(2);
    let mse = input.iter().zip(output.iter()).map(square).sum::<f64>() / (40.0 * 24.0 * 3.0);
    let psnr = 10.0 * (255.0 * 255.0 / mse).log10();
    assert!((report["psnr_db"].as_f64().unwrap() - psnr).abs() < 1e-3, "{psnr} {report}");
}

#[test]
fn the_embedded_model_reconstructs_a_photo_it_has_not_seen() {
    let folder = Folder::new();
    let Some(photo) = repository("examples/astronaut.png") else { return };
    let report = folder.json(["reconstruct", photo.to_str().unwrap(), "-o", "out.png"]);
    let psnr = report["psnr_db"].as_f64().unwrap();
    assert!(psnr >= 26.0, "{psnr} dB");
}

#[test]
fn reconstruct_prints_one_line_for_a_person() {
    let folder = Folder::new();
    let input = data("photo_40x24.png");
    let input = input.to_str().unwrap();
    let stdout = folder.succeed(["reconstruct", input, "-o", "out.webp", "--threads", "1"]);
    assert_eq!(stdout.lines().count(), 1);
    assert!(stdout.starts_with("out.webp: 40x24, PSNR "), "{stdout}");
    assert!(stdout.ends_with("1 thread, f32\n"), "{stdout}");
    assert_eq!(folder.succeed(["reconstruct", input, "-o", "out.webp", "-q"]), "");
}

#[test]
fn encode_then_decode_is_reconstruct() {
    let folder = Folder::new();
    let input = data("photo_40x24.png");
    let input = input.to_str().unwrap();
    folder.succeed(["reconstruct", input, "-o", "once.png"]);
    let report = folder.json(["encode", input, "-o", "latents.safetensors", "--threads", "2"]);
    check_call(&report, &["encode_s"]);
    let channels = latent_channels(&folder);
    assert_eq!(report["shape"], serde_json::json!([1, channels, 3, 5]));
    let report =
        folder.json(["decode", "latents.safetensors", "-o", "twice.png", "--threads", "2"]);
    check_call(&report, &["decode_s"]);
    assert_eq!((&report["width"], &report["height"]), (&40.into(), &24.into()));
    assert_eq!(folder.read("once.png"), folder.read("twice.png"));

    // Scaling there and back is the identity up to rounding, which may change a sample by one.
    folder.succeed(["encode", input, "-o", "scaled.npy", "--scaled"]);
    assert_ne!(folder.read("scaled.npy"), folder.latents(&data("photo_40x24.png"), &[]));
    folder.succeed(["decode", "scaled.npy", "-o", "scaled.png", "--scaled", "-q"]);
    let once = image::open(folder.path("once.png")).unwrap().into_rgb8();
    let scaled = image::open(folder.path("scaled.png")).unwrap().into_rgb8();
    assert!(once.iter().zip(scaled.iter()).all(|(a, b)| a.abs_diff(*b) <= 1));
}

#[test]
fn encode_writes_what_of_the_posterior_is_asked_for() {
    let folder = Folder::new();
    let input = data("photo_40x24.png");
    let channels = latent_channels(&folder);
    let shape = [1, channels, 3, 5];
    let mode = npy_values(&folder.latents(&input, &["--posterior", "mode"]), &shape);
    let moments = folder.latents(&input, &["--posterior", "moments"]);
    let moments = npy_values(&moments, &[1, 2 * channels, 3, 5]);
    assert_eq!(mode, moments[..mode.len()]);

    let sample = |options: &[&str]| {
        let options = [&["--posterior", "sample"], options].concat();
        npy_values(&folder.latents(&input, &options), &shape)
    };
    let zero = sample(&[]);
    assert_ne!(zero, mode);
    assert_eq!(zero, sample(&["--seed", "0"]));
    assert_ne!(zero, sample(&["--seed", "33"]));

    // Moments are decoded by their mean, and the user is told.
    let path = input.to_str().unwrap();
    folder.succeed(["encode", path, "-o", "moments.safetensors", "--posterior", "moments"]);
    let output = folder.run(["decode", "moments.safetensors", "-o", "moments.png"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("decoding their mean"));
    folder.succeed(["reconstruct", path, "-o", "mode.png"]);
    assert_eq!(folder.read("moments.png"), folder.read("mode.png"));
}

#[test]
fn what_of_an_array_is_left_out_is_said() {
    let folder = Folder::new();
    let channels = latent_channels(&folder);
    let (height, width) = (20, 33);
    let whole: Vec<f32> = noise(2 * 3 * height * width).collect();
    folder.write("odd.npy", &npy(&[2, 3, height, width], whole));
    let output = folder.run(["encode", "odd.npy", "-o", "odd-latents.npy", "--json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("vaekl: odd.npy: 33x20, of which 32x16 are encoded"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["batch"], 2);
    assert_eq!(report["shape"], serde_json::json!([2, channels, 2, 4]));
    let output = folder.run(["reconstruct", "odd.npy", "-o", "odd-out.npy"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("32x16 are encoded"), "{output:?}");
    // An array of whole latents needs no words.
    folder.write("even.npy", &npy(&[1, 3, 16, 32], noise(3 * 16 * 32)));
    folder.succeed(["encode", "even.npy", "-o", "out.npy"]);
}

#[test]
fn decode_reads_every_dtype_and_writes_every_format() {
    let folder = Folder::new();
    let channels = latent_channels(&folder);
    let shape = [channels, 4, 6];
    // Halves of integers are the same number in every dtype.
    let values: Vec<f32> = (0..channels * 24).map(|i| (i % 7) as f32 * 0.5 - 1.5).collect();
    folder.write("a.npy", &npy(&shape, values.iter().copied()));
    let bytes = |f: &dyn Fn(f32) -> Vec<u8>| values.iter().flat_map(|&v| f(v)).collect::<Vec<u8>>();
    let f32s = bytes(&|v| v.to_le_bytes().to_vec());
    let f16s = bytes(&|v| half::f16::from_f32(v).to_le_bytes().to_vec());
    let bf16s = bytes(&|v| half::bf16::from_f32(v).to_le_bytes().to_vec());
    let other = ("other", "U8", &[1usize][..], vec![0]);
    folder.write("b.safetensors", &safetensors(&[("x", "F16", &shape, f16s.clone())]));
    folder.write("c.safetensors", &safetensors(&[other, ("latents", "BF16", &shape, bf16s)]));
    folder.write("d.safetensors", &safetensors(&[("latents", "F32", &shape, f32s)]));
    let halves = npy(&shape, []);
    let as_half = |header: &[u8]| {
        let at = header.windows(3).position(|window| window == b"<f4").unwrap();
        [&header[..at], b"<f2", &header[at + 3..]].concat()
    };
    folder.write("e.npy", &[as_half(&halves), f16s.clone()].concat());
    for name in ["a.npy", "e.npy", "b.safetensors", "c.safetensors", "d.safetensors"] {
        folder.succeed(["decode", name, "-o", &format!("{name}.png"), "-q"]);
        assert_eq!(folder.read(&format!("{name}.png")), folder.read("a.npy.png"), "{name}");
    }

    let png = image::open(folder.path("a.npy.png")).unwrap().into_rgb8();
    assert_eq!(png.dimensions(), (48, 32));
    folder.succeed(["decode", "a.npy", "-o", "out.npy", "-q"]);
    let values = npy_values(&folder.read("out.npy"), &[1, 3, 32, 48]);
    for (x, y, pixel) in png.enumerate_pixels() {
        for c in 0..3 {
            let value = values[(c * 32 + y as usize) * 48 + x as usize];
            let sample = ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even();
            assert_eq!(f32::from(pixel[c]), sample, "({x}, {y})");
        }
    }
    folder.succeed(["decode", "a.npy", "-o", "out.webp", "-q"]);
    assert_eq!(image::open(folder.path("out.webp")).unwrap().into_rgb8(), png);
    folder.succeed(["decode", "a.npy", "-o", "out.safetensors", "-q"]);
    assert!(folder.read("out.safetensors").ends_with(&folder.read("out.npy")[128..]));
    folder.succeed(["decode", "a.npy", "-o", "out.JPG", "-q"]);
    assert_eq!(image::open(folder.path("out.JPG")).unwrap().into_rgb8().dimensions(), (48, 32));
}

#[test]
fn a_batch_becomes_numbered_pictures_or_one_array() {
    let folder = Folder::new();
    let values = latents(&folder, "two.npy", 2, 3, 2);
    let channels = latent_channels(&folder);
    let report = folder.json(["decode", "two.npy", "-o", "out.png"]);
    assert_eq!(report["output"], serde_json::json!(["out_0.png", "out_1.png"]));
    assert_eq!(folder.files(), ["out_0.png", "out_1.png", "two.npy"]);
    let second = values[values.len() / 2..].iter().copied();
    folder.write("second.npy", &npy(&[1, channels, 3, 2], second));
    folder.succeed(["decode", "second.npy", "-o", "second.png", "-q"]);
    assert_eq!(folder.read("second.png"), folder.read("out_1.png"));
    folder.succeed(["decode", "two.npy", "-o", "out.npy", "-q"]);
    npy_values(&folder.read("out.npy"), &[2, 3, 24, 16]);
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let folder = Folder::new();
    latents(&folder, "latents.npy", 1, 17, 13);
    let picture = data("photo_64x40.png");
    let run = |threads: &str| {
        folder.succeed(["decode", "latents.npy", "-o", "out.npy", "--threads", threads, "-q"]);
        let encoded = folder.latents(&picture, &["--posterior", "moments", "--threads", threads]);
        (folder.read("out.npy"), encoded)
    };
    let one = run("1");
    assert!(run("2") == one, "2 threads");
    assert!(run("3") == one, "3 threads");
}

#[test]
fn session_options_are_in_effect() {
    let folder = Folder::new();
    latents(&folder, "latents.npy", 1, 5, 4);
    let decode = |options: &[&str]| {
        let arguments = [&["decode", "latents.npy", "-o", "out.npy"], options].concat();
        let report = folder.json(arguments);
        (report["dtype"].clone(), npy_values(&folder.read("out.npy"), &[1, 3, 40, 32]))
    };
    let (dtype, exact) = decode(&[]);
    assert_eq!(dtype, "f32");
    let far =
        |values: &[f32]| exact.iter().zip(values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let (dtype, bf16) = decode(&["--dtype", "bf16"]);
    assert_eq!(dtype, "bf16");
    assert!(far(&bf16) > 1e-4, "bf16 storage was not in effect");
    for options in [&["--attention", "row-by-row"][..], &["--fuse-qkv"]] {
        let (_, other) = decode(options);
        assert!(far(&other) < 1e-4, "{options:?}");
    }
}

#[test]
fn info_tells_configuration_and_memory() {
    let folder = Folder::new();
    let report = folder.json(["info"]);
    check_common(&report);
    assert_eq!(report["parts"], "encoder and decoder");
    assert_eq!(report["config"]["in_channels"], 3);
    assert_eq!(report["foreign_tensors"], 0);
    assert!(report["parameters"].as_u64().unwrap() > 10_000);
    assert!(report["decode"]["workspace_bytes"].as_u64().unwrap() > 512 * 512 * 3 * 4);
    assert!(report["encode"]["multiply_adds"].as_u64().unwrap() > 1_000_000);

    let model = data("grey_model");
    let model = model.to_str().unwrap();
    let stdout = folder.succeed(["info", model]);
    for part in [model, "in_channels                 1", "encoder and decoder", "config.json"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    assert_eq!(stdout, folder.succeed(["info", "--model", model]));
}

#[test]
fn info_of_a_bare_file_tells_what_was_guessed() {
    let folder = Folder::new();
    let Some(model) = repository(LDM_CHECKPOINT) else { return };
    let model = model.to_str().unwrap();
    let line = folder.fail(1, ["info", model]);
    assert!(line.contains("norm_num_groups"), "{line}");
    let report =
        folder.json(["info", model, "--norm-num-groups", "4", "--preset", "sd-x4-upscaler"]);
    assert_eq!(report["layout"], "original, behind first_stage_model.");
    assert_eq!(report["config"]["block_out_channels"], serde_json::json!([8, 12, 16]));
    assert_eq!(report["config"]["scaling_factor"], 0.08333);
    assert!(report["foreign_tensors"].as_u64().unwrap() > 0);
    assert_eq!(report["config_source"], "inferred from shapes, with preset sd-x4-upscaler");
    let usual = "silu: shapes do not tell, all known families have it";
    assert_eq!(report["guessed"], serde_json::json!([format!("act_fn = {usual}")]));
    // 4 latent channels and three levels are the upscaler's.
    let report = folder.json(["info", model, "--norm-num-groups", "4"]);
    assert_eq!(report["config_source"], "inferred from shapes");
    let guess = report["guessed"][1].as_str().unwrap();
    assert!(guess.starts_with("preset = sd-x4-upscaler: "), "{guess}");
}

#[test]
fn guesses_are_said() {
    let folder = Folder::new();
    let Some(model) = repository(LDM_CHECKPOINT) else { return };
    let name = model.to_str().unwrap();
    let model = ["--model", name, "--norm-num-groups", "4"];
    let picture = data("photo_40x24.png");
    let encode = ["encode", picture.to_str().unwrap(), "-o", "latents.npy"];
    let decode = ["decode", "latents.npy", "-o", "out.npy"];
    for command in [&encode[..], &decode] {
        let line = [command, &model, &["--scaled"]].concat();
        let said = String::from_utf8(folder.run(&line).stderr).unwrap();
        let expected = ["guessed act_fn = silu", "guessed preset = sd-x4-upscaler: 4 latent"];
        assert_eq!(said.lines().filter(|line| line.contains("guessed")).count(), 2, "{said}");
        for guess in expected {
            assert!(said.contains(&format!("vaekl: {name}: {guess}")), "{said}");
        }
        let quiet = folder.run([&line[..], &["--quiet"]].concat());
        assert!(quiet.status.success() && quiet.stderr.is_empty());
    }
}

#[test]
fn groups_beside_a_configuration_are_refused() {
    let folder = Folder::new();
    let model = data("grey_model");
    let line = folder.fail(1, ["info", model.to_str().unwrap(), "--norm-num-groups", "4"]);
    assert!(line.contains("norm_num_groups: none expected beside a configuration"), "{line}");
}

#[test]
fn help_and_version() {
    let folder = Folder::new();
    assert_eq!(folder.succeed(["--version"]), format!("vaekl {}\n", env!("CARGO_PKG_VERSION")));
    for arguments in [&["--help"][..], &["decode", "--help"], &["encode", "--help"]] {
        let help = folder.succeed(arguments);
        for part in ["Examples:", "--threads <N>", "--model <PATH>", "--json"] {
            assert!(help.contains(part), "{part}: {help}");
        }
    }
}
