//! `--memory` and `--scratch`: the same bytes, a process within its budget, and a
//! refusal before any work.

mod common;

use common::{Folder, noise, npy};
use image::{Rgb, RgbImage};

const MIB: u64 = 1 << 20;

/// Latents of the embedded model for a picture of 512x512.
fn latents(folder: &Folder) {
    folder.write("latents.npy", &npy(&[1, 16, 64, 64], noise(16 * 64 * 64)));
}

#[test]
fn a_plan_is_what_the_decode_then_needs() {
    let folder = Folder::new();
    latents(&folder);
    let plan = folder.json(["plan", "decode", "--size", "512x512", "--threads", "2"]);
    for field in ["peak_bytes", "workspace_bytes", "multiply_adds"] {
        assert!(plan[field].as_u64().is_some_and(|value| value > 0), "{field}: {plan}");
    }
    assert_eq!((&plan["scratch_bytes"], &plan["exact"]), (&0.into(), &true.into()));
    assert_eq!((&plan["width"], &plan["height"]), (&512.into(), &512.into()));
    let text = folder.succeed(["plan", "encode", "--size", "64x32"]);
    assert!(text.starts_with("encode        64x32\nprocess       at most "), "{text}");

    // Any budget from there down to the least gives the same bytes, in a process that keeps it.
    let mut budget = plan["peak_bytes"].as_u64().unwrap();
    folder.succeed(["decode", "latents.npy", "-o", "all.png", "-q"]);
    let mut steps = 0;
    loop {
        let memory = budget.to_string();
        let limits = ["--memory", &memory, "--scratch", ".", "--threads", "2"];
        let report = folder.json(["decode", "latents.npy", "-o", "some.png"].iter().chain(&limits));
        let peak = report["peak_rss_mb"].as_f64().unwrap();
        assert!(peak <= budget as f64 / MIB as f64, "{peak} MiB in a budget of {memory}");
        assert!(folder.read("all.png") == folder.read("some.png"), "{memory}");
        assert_eq!(folder.files(), ["all.png", "latents.npy", "some.png"]);
        let size = ["plan", "decode", "--size", "512x512"];
        let below = (budget - 1).to_string();
        let limits = ["--memory", &below, "--scratch", ".", "--threads", "2", "--json"];
        let next = folder.run(size.iter().chain(&limits));
        if !next.status.success() {
            break;
        }
        let next: serde_json::Value = serde_json::from_slice(&next.stdout).unwrap();
        budget = next["peak_bytes"].as_u64().unwrap();
        steps += 1;
    }
    assert!(steps > 2, "{steps}");
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused_with_the_least_that_can() {
    let folder = Folder::new();
    latents(&folder);
    let line = folder.fail(1, ["decode", "latents.npy", "-o", "out.png", "--memory", "20M", "-q"]);
    for part in ["latents.npy: ", "20 MiB", "at least", "with a scratch folder"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let least = line.split("at least ").nth(1).unwrap().split(' ').next().unwrap();
    let memory = format!("{least}M");
    folder.succeed(["decode", "latents.npy", "-o", "out.png", "--memory", &memory, "-q"]);
    folder.fail(1, ["plan", "decode", "--memory", "20M"]);
}

#[test]
fn a_picture_is_encoded_from_its_rows_within_a_budget() {
    let folder = Folder::new();
    let pixel = |x, y| Rgb([x, y, x * y / 512].map(|value| (value / 2) as u8));
    RgbImage::from_fn(512, 512, pixel).save(folder.path("photo.png")).unwrap();
    let encode = ["encode", "photo.png", "--threads", "2"];
    folder.json(encode.iter().chain(&["-o", "all.npy"]));
    let plan = ["plan", "encode", "--size", "512x512", "--threads", "2", "--scratch", "."];
    let line = folder.fail(1, plan.iter().chain(&["--memory", "1M"]));
    let least = line.split("at least ").nth(1).unwrap().split(' ').next().unwrap();
    let memory = format!("{least}M");
    let report = folder.json(encode.iter().chain(&[
        "-o",
        "some.npy",
        "--scratch",
        ".",
        "--memory",
        &memory,
    ]));
    let peak = report["peak_rss_mb"].as_f64().unwrap();
    assert!(peak <= least.parse().unwrap(), "{peak} MiB in a budget of {memory}");
    assert!(folder.read("all.npy") == folder.read("some.npy"));

    // What is held beside the session is taken from the budget: an array file is read whole.
    folder.succeed(["decode", "all.npy", "-o", "picture.npy", "-q"]);
    let limits = ["-o", "other.npy", "--scratch", ".", "--memory", &memory];
    let line = folder.fail(1, ["encode", "picture.npy", "--threads", "2"].iter().chain(&limits));
    assert!(line.contains("with 3.0 MiB of input and output in memory"), "{line}");
}

#[test]
fn limits_that_make_no_sense_are_said() {
    let folder = Folder::new();
    for size in ["0", "-1", "M", "1Q", "nan", "1e300G"] {
        let output = folder.run(["plan", "decode", &format!("--memory={size}")]);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains("--memory"), "{line}");
    }
    for size in ["512", "0x8", "8x0", "axb", "-8x8"] {
        let output = folder.run(["plan", "decode", &format!("--size={size}")]);
        assert_eq!(output.status.code(), Some(2), "{size}");
    }
    for size in ["68719476736x68719476736", "8x8796093022208"] {
        folder.fail(1, ["plan", "decode", "--size", size]);
    }
    let line = folder.fail(2, ["plan", "decode", "--size", "100x96"]);
    assert!(line.contains("multiples of the model's factor, which is 8"), "{line}");
    latents(&folder);
    let limits = ["--memory", "60M", "--scratch", "/not/there", "--threads", "2"];
    let line =
        folder.fail(1, ["decode", "latents.npy", "-o", "out.png", "-q"].iter().chain(&limits));
    assert!(line.contains("/not/there"), "{line}");
}

#[test]
fn sizes_are_powers_of_1024() {
    let folder = Folder::new();
    let budget = |text: &str| {
        folder.json(["plan", "decode", "--size", "8x8", "--memory", text])["memory_budget"].clone()
    };
    assert_eq!(budget("256M"), 256 * MIB);
    assert_eq!(budget("0.5GiB"), 512 * MIB);
    assert_eq!(budget("524288k"), 512 * MIB);
    assert_eq!(budget("536870912"), 512 * MIB);
}

#[test]
fn tiles_are_asked_for_and_said() {
    let folder = Folder::new();
    latents(&folder);
    let plan = folder.json(["plan", "decode", "--tiling", "diffusers", "--tile-size", "32"]);
    assert_eq!((&plan["tiles_x"], &plan["tile_size"]), (&3.into(), &32.into()));
    assert_eq!(plan["exact"], false);
    let tiles = ["--tiling", "diffusers", "--tile-size", "32", "--tile-overlap", "8"];
    let report = folder.json(["decode", "latents.npy", "-o", "tiled.png"].iter().chain(&tiles));
    assert_eq!(report["exact"], false);
    folder.json(["decode", "latents.npy", "-o", "whole.png"]);
    assert!(folder.read("tiled.png") != folder.read("whole.png"));
    let tiles = ["--tiling", "diffusers", "--tile-size", "8", "--tile-overlap", "8"];
    let line = folder.fail(1, ["decode", "latents.npy", "-o", "no.png", "-q"].iter().chain(&tiles));
    assert!(line.contains("tile overlap"), "{line}");
}

/// The command under a limit of `ulimit`, with glibc's arenas for threads left out of it.
#[cfg(target_os = "linux")]
fn limited(folder: &Folder, limit: &str, arguments: &[&str]) -> std::process::Output {
    let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_vaekl")]).args(arguments);
    command.current_dir(folder.path("")).env("MALLOC_ARENA_MAX", "1").output().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn without_a_budget_the_fastest_plan_is_taken_that_the_limits_of_the_process_allow() {
    let folder = Folder::new();
    latents(&folder);
    let decode = |output| ["decode", "latents.npy", "-o", output, "--threads", "2", "-q"];
    folder.succeed(decode("all.png"));
    let plan = folder.json(["plan", "decode", "--size", "512x512", "--threads", "2"]);
    let workspace = plan["workspace_bytes"].as_u64().unwrap() >> 10;
    for kind in ["-v", "-d"] {
        // From what no plan fits to what any does: a picture or a message, never a killed process.
        let mut ends = std::collections::BTreeSet::new();
        for part in 1..=8 {
            let limit = format!("{kind} {}", 40_000 + workspace * part / 6);
            let output = limited(&folder, &limit, &decode("some.png"));
            let line = String::from_utf8(output.stderr).unwrap();
            match output.status.code() {
                Some(0) => assert!(folder.read("all.png") == folder.read("some.png"), "{limit}"),
                Some(1) => assert!(
                    line.contains("MiB can be had") || line.contains("could not be allocated"),
                    "{limit}: {line}"
                ),
                // The loader's own.
                Some(127) => {}
                _ => panic!("{limit}: {:?} {line}", output.status),
            }
            ends.insert(output.status.code());
        }
        assert!(ends.contains(&Some(0)) && ends.contains(&Some(1)), "{kind}: {ends:?}");
    }
}

/// A control group of `bytes`, where this process may make one.
#[cfg(target_os = "linux")]
struct Group(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Group {
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("vaekl-test-{}", std::process::id());
        let roots =
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        roots.into_iter().find_map(|(root, limit)| {
            let group = Self(std::path::Path::new(root).join(&name));
            std::fs::create_dir(&group.0).ok()?;
            std::fs::write(group.0.join(limit), bytes.to_string()).ok()?;
            Some(group)
        })
    }
}

#[cfg(target_os = "linux")]
impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn without_a_budget_a_container_is_not_outgrown() {
    let folder = Folder::new();
    latents(&folder);
    let Some(group) = Group::new(72 << 20) else {
        println!("skipped: no control group can be made here");
        return;
    };
    folder.succeed(["decode", "latents.npy", "-o", "all.png", "-q"]);
    let tasks = group.0.join("cgroup.procs");
    let script = format!("echo $$ > '{}' && exec \"$0\" \"$@\"", tasks.display());
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_vaekl")]);
        command.args(["decode", "latents.npy", "-o", "some.png", "-q", "--threads", "2"]);
        command.args(more).current_dir(folder.path("")).output().unwrap()
    };
    // The fastest plan takes more; with a scratch folder a leaner one fits.
    let output = run(&["--scratch", "."]);
    assert!(output.status.success(), "{output:?}");
    assert!(folder.read("all.png") == folder.read("some.png"));
    let output = run(&[]);
    let line = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => assert!(folder.read("all.png") == folder.read("some.png")),
        Some(1) => assert!(line.contains("MiB can be had"), "{line}"),
        _ => panic!("{:?} {line}", output.status),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_input_that_a_budget_cannot_hold_is_refused_before_it_is_read() {
    let folder = Folder::new();
    // 1 GiB of zeros that take no disk. A process of 400 MB could not read them.
    let header = npy(&[1, 16, 4096, 4096], std::iter::empty());
    let file = std::fs::File::create(folder.path("large.npy")).unwrap();
    std::io::Write::write_all(&mut &file, &header).unwrap();
    file.set_len(header.len() as u64 + (4 << 28)).unwrap();
    folder.write("photo.png", &{
        // A side that is resized, so that the picture is read as a whole.
        let mut bytes = Vec::new();
        let picture = RgbImage::new(4097, 4096);
        picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        bytes
    });
    for (command, input, least) in [("decode", "large.npy", 1024), ("encode", "photo.png", 192)] {
        let output = if command == "decode" { "out.png" } else { "out.npy" };
        let memory = ["--memory", "64M", "--scratch", ".", "--threads", "2", "-q"];
        let arguments = [&[command, input, "-o", output], &memory[..]].concat();
        let ended = limited(&folder, "-v 400000", &arguments);
        let line = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{line}");
        assert!(line.contains("a memory budget of 64 MiB cannot be kept"), "{line}");
        let number = line.split("at least ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(number.parse::<u64>().unwrap() > least, "{line}");
    }
    assert_eq!(folder.files(), ["large.npy", "photo.png"]);
}

/// Encoders of other crates end the process where an allocation fails.
#[test]
#[cfg(target_os = "linux")]
fn a_picture_that_cannot_be_encoded_for_want_of_memory_is_an_error() {
    let folder = Folder::new();
    folder.write("latents.npy", &npy(&[1, 4, 96, 96], noise(4 * 96 * 96)));
    let Some(model) = common::repository("tests/data/sd_like") else { return };
    let (model, mut told) = (model.to_str().unwrap(), 0);
    for mebibytes in (48..=88).step_by(2) {
        let limit = format!("-v {}", mebibytes << 10);
        let arguments = ["decode", "latents.npy", "-o", "out.webp", "--model", model, "-q"];
        let arguments = [&arguments[..], &["--threads", "2"]].concat();
        let ended = limited(&folder, &limit, &arguments);
        let line = String::from_utf8(ended.stderr).unwrap();
        assert!(matches!(ended.status.code(), Some(0 | 1)), "{limit}: {:?} {line}", ended.status);
        told += u32::from(line.contains("out.webp: an encoder: "));
    }
    assert!(told > 0, "no encoder lacked memory");
}

#[test]
fn a_batch_counts_with_all_of_its_pictures() {
    let folder = Folder::new();
    let values = noise(2 * 3 * 512 * 512).map(|value| value.clamp(-1.0, 1.0));
    folder.write("two.npy", &npy(&[2, 3, 512, 512], values));
    let line = folder.fail(1, ["reconstruct", "two.npy", "-o", "out.npy", "--memory", "20M", "-q"]);
    // Two pictures of 3 MiB, and the two that come of them.
    assert!(line.contains("two.npy: with 12.0 MiB of input and output in memory"), "{line}");
}
