//! The command as a process: Ctrl-C, closed pipes, permissions.
#![cfg(unix)]

mod common;

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{Folder, data, kill, noise, npy, wait_for_handler};

#[test]
fn ctrl_c_and_sigterm_cancel_and_leave_no_file() {
    for signal in ["-INT", "-TERM"] {
        cancelled_by(signal);
    }
}

fn cancelled_by(signal: &str) {
    let folder = Folder::new();
    let channels = folder.json(["info"])["config"]["latent_channels"].as_u64().unwrap() as usize;
    // Minutes of work for the embedded model.
    folder.write("big.npy", &npy(&[4, channels, 192, 192], noise(4 * channels * 192 * 192)));
    let mut child = folder
        .command(["decode", "big.npy", "-o", "out.npy", "--quiet"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_handler(&child);
    // A little later the decode is under way.
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "finished too early to be cancelled");
    assert_eq!(folder.files(), ["big.npy"]);

    kill(&child, signal);
    let (status, stderr) = end_of(child);
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert_eq!(stderr, "vaekl: cancelled\n");
    assert_eq!(folder.files(), ["big.npy"]);
}

#[test]
fn a_second_signal_ends_what_waits_for_ever() {
    let folder = Folder::new();
    let made = Command::new("mkfifo").arg(folder.path("fifo.npy")).status().unwrap();
    assert!(made.success());
    let mut child = folder
        .command(["decode", "fifo.npy", "-o", "out.npy"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_handler(&child);
    assert_eq!(folder.files(), ["fifo.npy"]);
    // Before the model is open the first signal would be heard.
    std::thread::sleep(Duration::from_millis(1500));
    // Opening the FIFO waits for a writer; the first signal asks, and is not heard.
    kill(&child, "-TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "did not wait for the FIFO");
    kill(&child, "-INT");
    let (status, stderr) = end_of(child);
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert_eq!(stderr, "vaekl: cancelled\n");
    assert_eq!(folder.files(), ["fifo.npy"]);
}

/// How the process ends, which must be soon, and what it says.
fn end_of(mut child: Child) -> (ExitStatus, String) {
    let start = Instant::now();
    let status = child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (status, stderr)
}

#[test]
fn a_terminal_sees_progress_and_a_pipe_does_not() {
    let folder = Folder::new();
    let channels = folder.json(["info"])["config"]["latent_channels"].as_u64().unwrap() as usize;
    folder.write("latents.npy", &npy(&[1, channels, 64, 64], noise(channels * 64 * 64)));
    let piped = folder.run(["decode", "latents.npy", "-o", "out.png"]);
    let said = String::from_utf8_lossy(&piped.stderr);
    assert!(said.lines().count() == 1 && !said.contains('%'), "{said}");

    let command = folder.command(["decode", "latents.npy", "-o", "out.png"]);
    let terminal = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let output = Command::new("python3")
        .args(["-c", terminal])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{seen}");
    assert!(seen.contains("decode") && seen.contains('%'), "{seen:?}");
}

#[test]
fn a_closed_stdout_is_no_error() {
    let folder = Folder::new();
    let picture = data("photo_40x24.png");
    let mut child = folder
        .command(["reconstruct", picture.to_str().unwrap(), "-o", "out.png"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    assert_eq!(folder.files(), ["out.png"]);
}

#[test]
fn outputs_have_the_permissions_of_any_file() {
    let folder = Folder::new();
    let picture = data("photo_40x24.png");
    let write = || folder.succeed(["reconstruct", picture.to_str().unwrap(), "-o", "out.png"]);
    let mode = |name| folder.path(name).metadata().unwrap().permissions().mode();
    write();
    folder.write("plain", b"");
    assert_eq!(mode("out.png"), mode("plain"));
    // Those of a file that is replaced are kept, though it may not be written to.
    for kept in [0o600, 0o444] {
        std::fs::set_permissions(folder.path("out.png"), Permissions::from_mode(kept)).unwrap();
        write();
        assert_eq!(mode("out.png") & 0o777, kept);
    }
}

#[test]
fn a_link_is_replaced_and_not_followed() {
    let folder = Folder::new();
    let picture = data("photo_40x24.png");
    folder.write("elsewhere", b"somebody's");
    symlink("elsewhere", folder.path("out.png")).unwrap();
    folder.succeed(["reconstruct", picture.to_str().unwrap(), "-o", "out.png"]);
    assert_eq!(folder.read("elsewhere"), b"somebody's");
    assert!(folder.path("out.png").symlink_metadata().unwrap().is_file());
    assert_eq!(folder.files(), ["elsewhere", "out.png"]);
}
