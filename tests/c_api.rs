//! The C interface as C sees it: every program of `tests/c` and `examples` is compiled as C99 and
//! as C++17, linked with the shared and the static library, and run.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::c::{
    ALL, Language, Linking, compile, compile_with, data, families, fixture, library, root, run,
    scratch,
};

/// The arguments of each program in `tests/c`.
fn arguments(program: &str, data: &Path) -> Vec<String> {
    let fixture = fixture();
    let model = fixture.folder.display().to_string();
    let data = data.display().to_string();
    match program {
        "arguments" => vec![model, data],
        "decode_encode" => vec![model, data, fixture.meta["noise_seed"].to_string()],
        "families" => vec![support::data().join("families").display().to_string(), data],
        "save" => vec![model, data],
        // With the number of moments at which calls are cancelled.
        "outputs" => vec![model, "24".into()],
        "forks" | "threads" => vec![model],
        other => panic!("tests/c/{other}.c has no arguments in this test"),
    }
}

/// The programs of `tests/c`, by name.
fn programs() -> Vec<String> {
    let names = fs::read_dir(root().join("tests/c")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = names
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let expected =
        ["arguments", "decode_encode", "families", "forks", "outputs", "save", "threads"];
    assert_eq!(names, expected);
    names
}

fn run_everywhere(program: &str) {
    let data = data(&format!("c_api-data-{program}"));
    families(&data);
    for (language, linking) in ALL {
        let binary = compile(&format!("tests/c/{program}.c"), language, linking);
        let output = run(Command::new(&binary).args(arguments(program, &data)));
        assert_eq!(output.stdout, b"ok\n", "{program}, {language:?}, {linking:?}");
    }
}

#[test]
fn arguments_are_checked() {
    run_everywhere("arguments");
}

#[test]
fn decoding_and_encoding_give_what_diffusers_gives() {
    run_everywhere("decode_encode");
}

#[test]
fn families_give_what_their_definitions_give() {
    run_everywhere("families");
}

#[test]
fn models_are_saved() {
    run_everywhere("save");
}

#[test]
fn threads_share_what_they_may() {
    run_everywhere("threads");
}

#[test]
fn a_forked_child_is_told_to_make_a_session_of_its_own() {
    run_everywhere("forks");
}

#[test]
fn outputs_of_calls_that_fail_are_as_the_header_says() {
    run_everywhere("outputs");
}

#[test]
fn nothing_of_the_library_runs_when_it_is_unloaded() {
    let program = scratch("c_api-unload").join("unload");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c99", "-g"]).args(support::c::WARNINGS).arg("-I");
    compiler.arg(root().join("include")).arg(root().join("tests/c/loaded/unload.c"));
    run(compiler.arg("-o").arg(&program).args(["-ldl", "-lpthread", "-lm"]));
    let mut unload = Command::new(&program);
    unload.arg(library("libvaekl.so")).arg(fixture().folder).arg("300");
    assert_eq!(run(&mut unload).stdout, b"ok\n");
}

/// Examples that need nothing but this library; `scripts/hosts/c` runs the others, and compares
/// pixels.
#[test]
fn the_examples_run() {
    let data = data("c_api-data-examples");
    let model = fixture().folder;
    let weights = model.join("diffusion_pytorch_model.safetensors");
    let path = |name: &str| data.join(name).display().to_string();
    let (latents, picture, again) = (path("latents.f32"), path("decoded.ppm"), path("again.ppm"));
    let (sampled, asset) = (path("sampled.f32"), path("asset.ppm"));
    let (model, weights) = (model.display().to_string(), weights.display().to_string());
    let cases: [(&str, Vec<&str>, &str); 6] = [
        ("decode", vec![&model, &latents, "7", "5", &picture], "56x40, with "),
        ("roundtrip", vec![&model, &picture, &again], "56x40 pixels, 4x7x5 latents, PSNR "),
        ("sample", vec![&model, &picture, "7", &sampled], "1x4x5x7, scaled by 0.18215"),
        ("budget", vec![&model, "7", "5"], " MiB refused: "),
        ("cancel", vec![&model, "32", "32", "0.01"], "once more, to the end\n"),
        ("asset", vec![&weights, "4", &latents, "7", "5", &asset], ""),
    ];
    for (language, linking) in ALL {
        for (name, arguments, says) in &cases {
            let program = compile(&format!("examples/{name}.c"), language, linking);
            let output = run(Command::new(&program).args(arguments));
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(said.contains(says), "{name}: {said}");
        }
        let pixmap = fs::read(&picture).unwrap();
        assert!(pixmap.starts_with(b"P6\n56 40\n255\n"));
        assert_eq!(pixmap.len(), 13 + 56 * 40 * 3);
        assert!(pixmap == fs::read(&asset).unwrap(), "the asset decodes alike");

        let decode = compile("examples/decode.c", language, linking);
        let missing =
            Command::new(&decode).args(["/no/such", "x", "1", "1", "y"]).output().unwrap();
        assert_eq!(missing.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&missing.stderr).contains("VAEKL_ERR_IO: /no/such"));
    }
}

#[test]
fn valgrind_finds_nothing() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return;
    }
    let data = data("c_api-data-valgrind");
    families(&data);
    for program in programs() {
        let source = format!("tests/c/{program}.c");
        let binary = compile(&source, Language::C99, Linking::Shared);
        // A copy, as the other tests compile the same program again.
        let copy = data.join(&program);
        fs::copy(&binary, &copy).unwrap();
        // A forked child leaks on purpose what its parent's threads were at.
        let leaks = if program == "forks" { "--leak-check=no" } else { "--leak-check=full" };
        let mut arguments = arguments(&program, &data);
        if program == "outputs" {
            // Or valgrind took ten minutes.
            arguments[1] = "4".into();
        }
        run(Command::new("valgrind")
            .args(["--quiet", "--error-exitcode=9", leaks])
            .args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"])
            .arg(&copy)
            .args(arguments));
    }
}

#[test]
fn sanitizers_find_nothing() {
    let data = data("c_api-data-sanitizers");
    families(&data);
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    for program in programs() {
        let source = format!("tests/c/{program}.c");
        let include = root().join("include");
        let binary = compile_with(&source, &include, &flags, Language::C99, Linking::Shared);
        let output = run(Command::new(&binary).args(arguments(&program, &data)));
        assert_eq!(output.stdout, b"ok\n", "{program}");
    }
}

/// The shared library as it is released. Built here, into the folder of all builds.
fn released() -> PathBuf {
    let target = library("libvaekl.so").ancestors().nth(3).unwrap().to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--lib", "--package", "vaekl", "--features", "capi"]);
    cargo.arg("--target-dir").arg(&target);
    run(cargo.current_dir(root()));
    target.join("release/libvaekl.so")
}

#[test]
fn the_release_is_small_and_needs_and_shows_little() {
    let library = released();
    let stripped = scratch("c_api-release").join("libvaekl.so");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(&library));
    let size = fs::metadata(&stripped).unwrap().len();
    println!("libvaekl.so: {size} bytes stripped");
    assert!(size < 3_000_000, "{size} bytes");

    let symbols = run(Command::new("nm").args(["-D", "--defined-only"]).arg(&stripped)).stdout;
    let symbols = String::from_utf8(symbols).unwrap();
    let names: Vec<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert!(names.len() >= 20 && names.iter().all(|name| name.starts_with("vaekl_")), "{names:?}");

    let needed = run(Command::new("ldd").arg(&stripped)).stdout;
    for line in String::from_utf8(needed).unwrap().lines() {
        let name = line.trim().split([' ', '.']).next().unwrap().rsplit('/').next().unwrap();
        let known =
            ["linux-vdso", "libc", "libm", "libgcc_s"].contains(&name) || name.starts_with("ld-");
        assert!(known, "needs {line}");
    }
    let dynamic = run(Command::new("readelf").arg("-d").arg(&stripped)).stdout;
    assert!(String::from_utf8(dynamic).unwrap().contains("soname: [libvaekl.so.0]"));
}
