//! A disk that fills up at any byte of an output: the command says so, and the old file stays.
#![cfg(unix)]

mod common;

use std::process::{Command, Stdio};

use common::{Folder, noise, npy};

/// Runs a program that may write no file longer than so many bytes, with the error of a write
/// instead of the signal that Python itself ignores.
const LIMITED: &str = "
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.argv[2], sys.argv[2:])
";

#[test]
fn a_cut_output_is_never_a_success() {
    let folder = Folder::new();
    let channels = folder.json(["info"])["config"]["latent_channels"].as_u64().unwrap() as usize;
    folder.write("latents.npy", &npy(&[1, channels, 8, 8], noise(channels * 64)));
    for name in ["out.png", "out.jpg", "out.webp", "out.npy", "out.safetensors"] {
        let arguments = ["decode", "latents.npy", "-o", name, "--quiet", "--threads", "1"];
        folder.run(arguments);
        let whole = folder.read(name).len();
        folder.write(name, b"the old one");
        let before = folder.files();
        // The last bytes are the ones that encoders write in their destructors.
        let ends = [1, 4, 5, 12, 13, 40].map(|left| whole - left);
        for limit in (0..4).map(|quarter| quarter * whole / 4).chain(ends) {
            let command = folder.command(arguments);
            let output = Command::new("python3")
                .args(["-c", LIMITED, &limit.to_string()])
                .arg(command.get_program())
                .args(command.get_args())
                .current_dir(command.get_current_dir().unwrap())
                .stdin(Stdio::null())
                .output()
                .unwrap();
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
