//! What goes wrong is one line on stderr, an exit code, and no file.

mod common;

use common::{Folder, data, noise, npy, npy_f64, safetensors};

fn picture() -> String {
    data("photo_40x24.png").to_str().unwrap().to_owned()
}

#[test]
fn usage_errors_exit_with_2() {
    let folder = Folder::new();
    let picture = picture();
    let clap = [
        vec![],
        vec!["paint"],
        vec!["decode", "latents.npy"],
        vec!["decode", "latents.npy", "-o", "out.png", "--dtype", "f64"],
        vec!["decode", "latents.npy", "-o", "out.png", "--threads", "-1"],
        vec!["decode", "latents.npy", "-o", "out.png", "--preset", "nonsense"],
        vec!["info", "a", "--model", "b"],
    ];
    for arguments in clap {
        let output = folder.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let own = [
        (vec!["--seed", "1"], "--posterior sample"),
        (vec!["--posterior", "moments", "--scaled"], "moments"),
        (vec!["--config", "config.json"], "--config needs a model"),
        (vec!["--variant", "fp16"], "--variant needs a model"),
    ];
    for (options, part) in own {
        let arguments = [&["encode", &picture, "-o", "out.npy"][..], &options].concat();
        let line = folder.fail(2, &arguments);
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn outputs_are_checked_before_the_work() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("folder.png")).unwrap();
    folder.write("file", b"");
    // The input does not exist either: the output is found first.
    let cases = [
        ("out.gif", "out.gif: unknown extension"),
        ("out", "out: unknown extension"),
        ("nowhere/out.png", "no folder nowhere"),
        ("file/out.png", "no folder file"),
        ("folder.png", "folder.png: is a folder"),
    ];
    for (output, part) in cases {
        for command in ["decode", "reconstruct"] {
            let line = folder.fail(1, [command, "missing.npy", "-o", output]);
            assert!(line.contains(part), "{line}");
        }
    }
    let line = folder.fail(1, ["encode", &picture(), "-o", "latents.png"]);
    assert!(
        line.contains("latents.png: latents are written as .npy, .npz, .safetensors or .latent"),
        "{line}"
    );
}

#[test]
fn inputs_that_are_not_there_or_not_what_they_say() {
    let folder = Folder::new();
    folder.write("text.png", b"not a picture at all");
    folder.write("empty.png", b"");
    let whole = std::fs::read(picture()).unwrap();
    folder.write("cut.png", &whole[..whole.len() / 2]);
    folder.write("tiny.png", &tiny_png());
    let cases = [
        ("missing.png", "missing.png: No such file"),
        ("text.png", "text.png: not a png, jpeg or webp picture"),
        ("empty.png", "empty.png: not a png, jpeg or webp picture"),
        ("cut.png", "cut.png: cannot read the picture"),
        ("tiny.png", "tiny.png: picture of 5x3, expected at least 8x8"),
        ("missing.npy", "missing.npy: No such file"),
        ("small.npy", "small.npy: array of 9x7, expected at least 8x8"),
        ("grey.npy", "grey.npy: picture: 3 channels expected (in_channels), 1 found"),
        ("nan.npy", "nan.npy: picture: NaN at channel 1, row 2, column 3"),
        ("large.npy", "large.npy: -1e300 at batch 0, channel 1, row 2, column 3 exceeds the range"),
    ];
    folder.write("small.npy", &npy(&[1, 3, 7, 9], noise(3 * 7 * 9)));
    folder.write("grey.npy", &npy(&[1, 1, 8, 8], noise(64)));
    let at = 64 + 2 * 8 + 3;
    let mut values: Vec<f32> = noise(3 * 64).collect();
    let large = values.iter().enumerate().map(|(i, &v)| if i == at { -1e300 } else { v.into() });
    folder.write("large.npy", &npy_f64(&[1, 3, 8, 8], large));
    values[at] = f32::NAN;
    folder.write("nan.npy", &npy(&[1, 3, 8, 8], values));
    for (input, part) in cases {
        for (command, output) in [("encode", "out.npy"), ("reconstruct", "out.png")] {
            let line = folder.fail(1, [command, input, "-o", output]);
            assert!(line.contains(part), "{line}");
        }
    }
}

#[test]
fn pictures_that_are_cut_off() {
    let folder = Folder::new();
    let cuts = |name: &str, bytes: &[u8]| {
        for length in [bytes.len() / 2, bytes.len() * 9 / 10, bytes.len() - 1] {
            folder.write(name, &bytes[..length]);
            let line = folder.fail(1, ["encode", name, "-o", "out.npy"]);
            assert!(line.contains(&format!("{name}: cannot read the picture")), "{length}: {line}");
        }
    };
    // The thumbnail in its EXIF segment has an end of its own.
    let mut jpeg = std::fs::read(data("photo_turned_6.jpg")).unwrap();
    let thumbnail = b"\xff\xe1\x00\x0eExif\0\0\xff\xd8\xff\xd9\0\0".iter().copied();
    jpeg.splice(2..2, thumbnail);
    let webp = std::fs::read(data("photo.webp")).unwrap();
    cuts("cut.jpg", &jpeg);
    cuts("cut.webp", &webp);
    // What stands after the end is nobody's business.
    for (name, bytes) in [("more.jpg", &jpeg), ("more.webp", &webp)] {
        folder.write(name, &[bytes, &b"something that a phone appended"[..]].concat());
        folder.succeed(["encode", name, "-o", "out.npy", "--quiet"]);
    }
}

fn tiny_png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(5, 3).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn gigantic_and_empty_pictures_are_refused_by_their_header() {
    let folder = Folder::new();
    folder.write("giant.png", &png_header(100_000, 100_000));
    let line = folder.fail(1, ["reconstruct", "giant.png", "-o", "out.png"]);
    assert!(line.contains("giant.png: picture of 100000x100000, expected 1 to 2"), "{line}");
    folder.write("empty.png", &png_header(0, 16));
    let line = folder.fail(1, ["reconstruct", "empty.png", "-o", "out.png"]);
    assert!(line.contains("empty.png: "), "{line}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_picture_beyond_memory_is_refused_by_its_header() {
    let folder = Folder::new();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let memory = 1024 * kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
    let plan = folder.json(["info"])["encode"]["workspace_bytes"].as_u64().unwrap();
    // The most pixels that are read, 1024 times the 512x512 that `info` tells of.
    if memory > 1000 * plan {
        println!("skipped: the machine has memory for any picture");
        return;
    }
    folder.write("large.png", &png_header(1 << 14, 1 << 14));
    for (command, output) in [("encode", "out.npy"), ("reconstruct", "out.png")] {
        let line = folder.fail(1, [command, "large.png", "-o", output]);
        assert!(line.contains("large.png: picture of 16384x16384 (width x height): "), "{line}");
        assert!(line.contains("MiB can be had"), "{line}");
    }
}

/// A PNG with RGB pixels that never come.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        let crc = !body.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        });
        [&(data.len() as u32).to_be_bytes(), &body[..], &crc.to_be_bytes()].concat()
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = chunk(b"IHDR", &[&size[..], &[8, 2, 0, 0, 0]].concat());
    [b"\x89PNG\r\n\x1a\n", &header[..], &chunk(b"IDAT", &[0x78, 0x9c])].concat()
}

#[test]
fn latents_that_make_no_sense() {
    let folder = Folder::new();
    let channels = folder.json(["info"])["config"]["latent_channels"].as_u64().unwrap() as usize;
    let numbers = |shape: &[usize]| npy(shape, noise(shape.iter().product()));
    folder.write("channels.npy", &numbers(&[1, 3, 4, 4]));
    folder.write("flat.npy", &numbers(&[4, 4]));
    folder.write("none.npy", &numbers(&[1, channels, 0, 4]));
    let whole = numbers(&[1, channels, 4, 4]);
    folder.write("cut.npy", &whole[..whole.len() - 1]);
    folder.write("text.npy", b"no numbers");
    folder.write("cut.safetensors", &[9, 0, 0, 0, 0, 0, 0, 0, b'{']);
    let one = |name| (name, "F32", &[1usize][..], vec![0; 4]);
    folder.write("two.safetensors", &safetensors(&[one("a"), one("b")]));
    folder.write("int.safetensors", &safetensors(&[("a", "I32", &[1], vec![0; 4])]));
    let expected = format!("latents of 3 channels, expected {channels}");
    let cases = [
        ("channels.npy", expected.as_str()),
        ("flat.npy", "shape [4, 4], expected [batch, channels, height, width]"),
        ("none.npy", "holds nothing"),
        ("cut.npy", "do not make shape"),
        ("text.npy", "not a .npy file"),
        ("cut.safetensors", "truncated, or not safetensors"),
        ("two.safetensors", "2 tensors (a, b), expected one, or one named latents, latent_tensor"),
        ("int.safetensors", "elements are I32"),
        ("latents.png", "latents are read from .npy, .npz"),
    ];
    folder.write("latents.png", &tiny_png());
    for (input, part) in cases {
        let line = folder.fail(1, ["decode", input, "-o", "out.png"]);
        assert!(line.contains(&format!("{input}: ")) && line.contains(part), "{line}");
    }
}

#[test]
fn a_latent_that_is_not_finite_is_named() {
    let folder = Folder::new();
    let channels = folder.json(["info"])["config"]["latent_channels"].as_u64().unwrap() as usize;
    for (bad, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        // Channel 2, row 3, column 1 of [channels, 4, 5].
        let at = 2 * 20 + 3 * 5 + 1;
        let values = noise(channels * 20).enumerate().map(|(i, v)| if i == at { bad } else { v });
        folder.write("bad.npy", &npy(&[1, channels, 4, 5], values));
        let line = folder.fail(1, ["decode", "bad.npy", "-o", "out.png", "-q"]);
        let expected = format!("bad.npy: latents: {text} at channel 2, row 3, column 1");
        assert!(line.contains(&expected), "{line}");
    }
}

#[test]
fn models_that_are_none() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("empty")).unwrap();
    folder.write("cut.safetensors", &[0xff; 8]);
    for model in ["missing", "empty", "cut.safetensors"] {
        let line = folder.fail(1, ["reconstruct", &picture(), "-o", "out.png", "--model", model]);
        assert!(line.contains(model), "{line}");
        let line = folder.fail(1, ["info", model]);
        assert!(line.contains(model), "{line}");
    }
}

#[test]
fn a_failure_leaves_the_old_output() {
    let folder = Folder::new();
    folder.write("out.png", b"the old one");
    folder.write("text.npy", b"no numbers");
    folder.fail(1, ["decode", "text.npy", "-o", "out.png"]);
    assert_eq!(folder.read("out.png"), b"the old one");
    folder.succeed(["reconstruct", &picture(), "-o", "out.png"]);
    assert!(folder.read("out.png").starts_with(b"\x89PNG"));
}
