//! The C interface as C sees it: every program of `tests/c` and `examples` is compiled as C99 and as
//! C++17, linked with the shared and the static library, and run.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ndarray::ArrayD;
use support::Fixture;

/// What a C99 compiler needs to be told beside the standard, and a C++ compiler likewise.
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-pedantic", "-Werror"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The libraries that cargo built for this test, which lie beside it.
fn library(file: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let path = exe.parent().unwrap().join(file);
    assert!(path.exists(), "{} was not built", path.display());
    path
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[derive(Clone, Copy, Debug)]
enum Language {
    C99,
    Cpp17,
}

#[derive(Clone, Copy, Debug)]
enum Linking {
    Shared,
    Static,
}

const ALL: [(Language, Linking); 4] = [
    (Language::C99, Linking::Shared),
    (Language::C99, Linking::Static),
    (Language::Cpp17, Linking::Shared),
    (Language::Cpp17, Linking::Static),
];

/// The flags that docs/c_api.md gives for the static library.
fn static_flags() -> Vec<String> {
    let guide = fs::read_to_string(root().join("docs/c_api.md")).unwrap();
    let line =
        guide.lines().find(|line| line.contains("libvaekl.a -l")).expect("a line to link with");
    line.split_whitespace().filter(|word| word.starts_with("-l")).map(String::from).collect()
}

/// Compiles a program and gives its path.
fn compile(source: &str, language: Language, linking: Linking) -> PathBuf {
    let name = Path::new(source).file_stem().unwrap().to_str().unwrap();
    // A folder for each, and for each thread: tests run at the same time.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let folder = scratch(&format!("c_api-{test}-{name}-{language:?}-{linking:?}"));
    let program = folder.join(name);
    let mut command = match language {
        Language::C99 => Command::new("cc"),
        Language::Cpp17 => Command::new("c++"),
    };
    match language {
        Language::C99 => command.arg("-std=c99"),
        Language::Cpp17 => command.args(["-std=c++17", "-x", "c++"]),
    };
    command.args(WARNINGS).arg("-g").arg("-I").arg(root().join("include"));
    command.arg(root().join(source)).args(["-x", "none", "-o"]).arg(&program);
    match linking {
        Linking::Shared => {
            // The name the loader will ask for, which is the soname.
            let versioned = folder.join("libvaekl.so.0");
            let _ = fs::remove_file(&versioned);
            std::os::unix::fs::symlink(library("libvaekl.so"), &versioned).unwrap();
            command.arg(&versioned).arg(format!("-Wl,-rpath,{}", folder.display()));
            command.args(["-lpthread", "-lm"]);
        }
        Linking::Static => {
            command.arg(library("libvaekl.a")).args(static_flags());
        }
    }
    run(&mut command);
    program
}

fn fixture() -> Fixture {
    Fixture::open("sd_like")
}

/// The fixture in the plain files that the programs read.
fn data(test: &str) -> PathBuf {
    let (fixture, folder) = (fixture(), scratch(test));
    let write = |name: &str, values: ArrayD<f64>| {
        let bytes: Vec<u8> = values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
        fs::write(folder.join(name), bytes).unwrap();
    };
    write("latents.f32", fixture.tensor("latents"));
    write("decoded.f32", fixture.tensor("decoded_f64"));
    for name in ["image", "moments", "mode", "sample"] {
        write(&format!("{name}.f32"), fixture.tensor(name));
    }
    fs::copy(fixture.folder.join("config.json"), folder.join("config.json")).unwrap();
    let weights = fixture.folder.join("diffusion_pytorch_model.safetensors");
    fs::copy(weights, folder.join("model.safetensors")).unwrap();
    folder
}

/// The arguments of each program in `tests/c`.
fn arguments(program: &str, data: &Path) -> Vec<String> {
    let fixture = fixture();
    let model = fixture.folder.display().to_string();
    let data = data.display().to_string();
    match program {
        "arguments" => vec![model, data],
        "decode_encode" => vec![model, data, fixture.meta["noise_seed"].to_string()],
        "threads" => vec![model],
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
    assert_eq!(names, ["arguments", "decode_encode", "threads"]);
    names
}

fn run_everywhere(program: &str) {
    let data = data(&format!("c_api-data-{program}"));
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
fn threads_share_what_they_may() {
    run_everywhere("threads");
}

#[test]
fn the_examples_run() {
    let data = data("c_api-data-examples");
    let model = fixture().folder;
    for (language, linking) in ALL {
        let picture = data.join("decoded.ppm");
        let decode = compile("examples/decode.c", language, linking);
        let latents = data.join("latents.f32");
        run(Command::new(&decode).args([&model, &latents]).args(["7", "5"]).arg(&picture));
        let pixmap = fs::read(&picture).unwrap();
        assert!(pixmap.starts_with(b"P6\n56 40\n255\n"));
        assert_eq!(pixmap.len(), 13 + 56 * 40 * 3);

        let again = data.join("again.ppm");
        let roundtrip = compile("examples/roundtrip.c", language, linking);
        let output = run(Command::new(&roundtrip).args([&model, &picture, &again]));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.starts_with("56x40 pixels, 4x7x5 latents, PSNR "), "{said}");
        assert_eq!(fs::read(&again).unwrap().len(), pixmap.len());

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
    for program in programs() {
        let source = format!("tests/c/{program}.c");
        let binary = compile(&source, Language::C99, Linking::Shared);
        // A copy, as the other tests compile the same program again.
        let copy = data.join(&program);
        fs::copy(&binary, &copy).unwrap();
        run(Command::new("valgrind")
            .args(["--quiet", "--error-exitcode=9", "--leak-check=full"])
            .args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"])
            .arg(&copy)
            .args(arguments(&program, &data)));
    }
}

/// The shared library as it is released. Built here, into the folder of all builds.
fn released() -> PathBuf {
    let target = library("libvaekl.so").ancestors().nth(3).unwrap().to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--lib", "--package", "vaekl", "--target-dir"]).arg(&target);
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
