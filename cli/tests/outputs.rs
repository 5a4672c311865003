//! Outputs and messages that can be trusted: nothing is left behind, nothing is lost, and nothing
//! of a file steers the terminal.
#![cfg(unix)]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Folder, data, kill, noise, npy, safetensors, wait_for_handler};

/// Runs a program after what a line of Python has done to the process.
fn prepared(line: &str, command: &Command) -> Output {
    let program =
        format!("import os, resource, signal, sys\n{line}\nos.execv(sys.argv[1], sys.argv[1:])");
    let mut python = Command::new("python3");
    python.args(["-c", &program]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        python.current_dir(folder);
    }
    python.stdin(Stdio::null()).output().unwrap()
}

/// Latents for the embedded model.
fn latents(folder: &Folder, batch: usize, side: usize) -> Vec<u8> {
    let channels = channels(folder);
    npy(&[batch, channels, side, side], noise(batch * channels * side * side))
}

fn channels(folder: &Folder) -> usize {
    folder.json(["info"])["config"]["latent_channels"].as_u64().unwrap() as usize
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_command_leaves_nothing() {
    let folder = Folder::new();
    // Pictures of a batch are finished one after another; an array is one file.
    folder.write("batch.npy", &latents(&folder, 400, 6));
    folder.write("big.npy", &latents(&folder, 4, 64));
    for (input, output) in
        [("batch.npy", "out.png"), ("big.npy", "out.npy"), ("big.npy", "out.jpg")]
    {
        for round in 1..6 {
            let mut child = folder.command(["decode", input, "-o", output, "-q"]).spawn().unwrap();
            wait_for_handler(&child);
            std::thread::sleep(Duration::from_millis(150 * round));
            let running = child.try_wait().unwrap().is_none();
            kill(&child, "-KILL");
            child.wait().unwrap();
            if !running && round > 1 {
                break; // A fast machine is done by then.
            }
            assert!(running, "{input} finished too early");
            assert_eq!(folder.files(), ["batch.npy", "big.npy"], "{output}, round {round}");
        }
    }
}

#[test]
fn a_batch_needs_no_more_files_than_there_may_be() {
    let folder = Folder::new();
    folder.write("latents.npy", &latents(&folder, 80, 1));
    let command = folder.command(["decode", "latents.npy", "-o", "out.png", "-q"]);
    let output = prepared("resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))", &command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(folder.files().len(), 81);
}

#[test]
fn a_batch_that_fails_changes_no_file() {
    let folder = Folder::new();
    let channels = channels(&folder);
    let mut values: Vec<f32> = noise(5 * channels * 16).collect();
    values[3 * channels * 16] = f32::NAN;
    folder.write("latents.npy", &npy(&[5, channels, 4, 4], values));
    folder.write("out_1.png", b"the old one");
    for output in ["out.png", "out.jpg"] {
        folder.fail(1, ["decode", "latents.npy", "-o", output, "-q"]);
        assert_eq!(folder.read("out_1.png"), b"the old one");
    }
}

#[test]
fn two_signals_at_any_moment_leave_a_whole_model_or_none() {
    let folder = Folder::new();
    let model = data("../../model");
    for round in 0..24 {
        let mut child = folder
            .command(["convert", model.to_str().unwrap(), "-o", "new/vae", "-q", "--dtype", "f32"])
            .args(["--max-shard-size", "1000"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_handler(&child);
        std::thread::sleep(Duration::from_millis(5 * round));
        for _ in 0..2 {
            if child.try_wait().unwrap().is_none() {
                kill(&child, "-TERM");
            }
        }
        let status = child.wait().unwrap();
        if folder.path("new").exists() {
            folder.succeed(["info", "new/vae"]);
            let hidden = |name: &String| name.starts_with('.');
            let names = fs::read_dir(folder.path("new/vae")).unwrap();
            let names: Vec<_> =
                names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            assert!(!names.iter().any(hidden), "{names:?}");
            fs::remove_dir_all(folder.path("new")).unwrap();
        } else {
            assert_eq!(status.code(), Some(130), "round {round}");
        }
        assert!(folder.files().is_empty(), "round {round}: {:?}", folder.files());
    }
}

#[test]
fn a_limit_of_file_sizes_is_a_full_disk_and_no_signal() {
    let folder = Folder::new();
    folder.write("latents.npy", &latents(&folder, 1, 8));
    let limit = "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))";
    folder.write("large.npy", &latents(&folder, 1, 64));
    // The output, and the scratch file, which the large one needs within 60 MiB.
    let scratch = ["--memory", "60M", "--scratch", ".", "--threads", "2"];
    for (input, options, file) in
        [("latents.npy", &[][..], "out.npy"), ("large.npy", &scratch, "scratch folder")]
    {
        let mut command = folder.command(["decode", input, "-o", "out.npy", "-q"]);
        let output = prepared(limit, command.args(options));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with("vaekl: ") && stderr.contains("File too large"), "{stderr}");
        assert!(stderr.contains(file), "{stderr}");
        assert_eq!(folder.files(), ["large.npy", "latents.npy"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_is_an_error_of_every_command() {
    let folder = Folder::new();
    folder.write("latents.npy", &latents(&folder, 1, 2));
    let picture = data("photo_40x24.png");
    let picture = picture.to_str().unwrap();
    let cases: [&[&str]; 9] = [
        &["info"],
        &["info", "--json"],
        &["plan", "decode", "--size", "64x64"],
        &["decode", "latents.npy", "-o", "out.png", "--json"],
        &["encode", picture, "-o", "out.npy"],
        &["reconstruct", picture, "-o", "out.png", "--json"],
        &["convert", "-o", "out.safetensors", "--json"],
        &["--help"],
        &["--version"],
    ];
    for arguments in cases {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = folder.command(arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        let told = stderr.lines().last().unwrap_or_default();
        assert!(told.starts_with("vaekl: stdout: "), "{arguments:?}: {stderr}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_without_a_thread_for_ctrl_c_goes_on() {
    // Any user but root is limited.
    let folder = Folder::new();
    fs::set_permissions(folder.path("."), Permissions::from_mode(0o755)).unwrap();
    let program = folder.path("vaekl");
    fs::copy(env!("CARGO_BIN_EXE_vaekl"), &program).unwrap();
    let line = "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))";
    for (quiet, remarks) in [(false, 1), (true, 0)] {
        let mut command = Command::new(&program);
        command.args(["plan", "decode", "--size", "64x64"]).args(quiet.then_some("--quiet"));
        let output = prepared(line, &command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stderr.lines().count(), remarks, "{stderr}");
        assert!(
            quiet || stderr.starts_with("vaekl: Ctrl-C ends the command at once: "),
            "{stderr}"
        );
    }
}

/// Fails if a terminal would act on anything but the ends of lines.
fn steers_nothing(output: &Output, what: &str) {
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        let bad = |c: char| {
            c != '\n' && c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(bad), "{what}: {text:?}");
    }
}

#[test]
fn no_name_of_a_file_steers_the_terminal() {
    const EVIL: &str = "a\x1b]0;title\x07\x1b[2J\u{202e}\u{9b}1mb\nvaekl: fine\r";
    let folder = Folder::new();
    let evil = |extension: &str| format!("{EVIL}.{extension}");
    folder.write(&evil("npy"), &latents(&folder, 1, 2));
    let two = [EVIL, "decoder.other"].map(|name| (name, "F32", &[1usize][..], vec![0; 4]));
    folder.write(&evil("safetensors"), &safetensors(&two));
    folder.write("dtype.safetensors", &safetensors(&[("a", EVIL, &[1], vec![0; 4])]));
    folder.write("broken.safetensors", &[&4u64.to_le_bytes()[..], b"{\x1b[}"].concat());
    // A model with tensors that it does not know, and a configuration with values of its own.
    fs::create_dir(folder.path("model")).unwrap();
    let model = data("../../model");
    let weights = fs::read(model.join("diffusion_pytorch_model.safetensors")).unwrap();
    let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&weights[8..8 + length]).unwrap();
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(header).unwrap();
    let (_, any) = header.iter().find(|(name, _)| name.starts_with("decoder.")).unwrap();
    let mut extra = any.clone();
    let bytes = (weights.len() - 8 - length) as u64;
    extra["dtype"] = "F32".into();
    extra["shape"] = serde_json::json!([1]);
    extra["data_offsets"] = serde_json::json!([bytes, bytes + 4]);
    header.insert(format!("decoder.{EVIL}"), extra);
    let header = serde_json::Value::Object(header).to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()];
    let file = [&file.concat(), &weights[8 + length..], &[0; 4]].concat();
    folder.write("model/diffusion_pytorch_model.safetensors", &file);
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    folder.write("model/config.json", config.as_bytes());
    folder.write("class.json", config.replace("AutoencoderKL", "\\u001b[2J\\u202e").as_bytes());

    let (npy, tensors, png) = (evil("npy"), evil("safetensors"), evil("png"));
    let cases: [&[&str]; 14] = [
        &["decode", &npy, "-o", &png],
        &["decode", &npy, "-o", &png, "--json"],
        &["decode", &npy, "-o", &evil("none")],
        &["encode", &png, "-o", &npy, "--json"],
        &["decode", &tensors, "-o", "out.png"],
        &["decode", &tensors, "-o", "out.png", "--tensor", EVIL],
        &["info", &tensors],
        &["info", "dtype.safetensors"],
        &["info", "broken.safetensors"],
        &["info", "model"],
        &["info", "model", "--json"],
        &["info", "model", "--config", "class.json"],
        &["convert", "model", "-o", EVIL],
        &["decode", &npy, EVIL],
    ];
    let mut shown = 0;
    for arguments in cases {
        let output = folder.run(arguments);
        steers_nothing(&output, &format!("{arguments:?}"));
        let text = [output.stdout, output.stderr].concat();
        shown += usize::from(String::from_utf8_lossy(&text).contains("u{1b}"));
    }
    assert!(shown > 8, "{shown}");
    // Bytes that are no text at all.
    let output = folder.run([OsStr::new("info"), OsStr::from_bytes(b"\xff\x1b[2J\xc2")]);
    steers_nothing(&output, "bytes");
}
