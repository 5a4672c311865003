//! A process that is forked has none of its parent's threads: what belongs to them is refused there
//! at once, and nothing waits for them.
#![cfg(unix)]

mod support;

use std::time::{Duration, Instant};

use ndarray::{Array4, Axis};
use support::{Fixture, f32x4};
use vaekl::{Error, ErrorKind, Model, Session, SessionOptions, Tiling};

/// Runs `check` in a child, which has a minute for it; fails if it panics or hangs.
fn in_child(what: &str, check: impl FnOnce()) {
    // SAFETY: the child calls the library and the allocator, which systems' C libraries make usable
    // after a fork, and ends without running any exit handler.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{what}");
    if child == 0 {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(checked.is_err())) }
    }
    let start = Instant::now();
    let mut status = 0;
    // SAFETY: `status` is ours, and `child` is our child.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if start.elapsed() > Duration::from_secs(60) {
            // SAFETY: the child was not waited for yet, so the number is still its own.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(status, 0, "{what}: the child hung or failed");
}

fn is_refused<T>(what: &str, result: Result<T, Error>) {
    let Err(error) = result else { panic!("{what} succeeded") };
    assert_eq!(error.kind(), ErrorKind::State, "{what}: {error}");
    assert!(error.message().ends_with("make a session here"), "{what}: {error}");
}

fn opened() -> (Model, Array4<f32>, Array4<f32>) {
    let fixture = Fixture::open("tiled");
    let (latents, picture) = (f32x4(&fixture.tensor("latents")), f32x4(&fixture.tensor("image")));
    (fixture.model(|_| {}), latents, picture)
}

#[test]
fn a_child_refuses_the_session_of_its_parent_and_makes_its_own() {
    let (model, latents, picture) = opened();
    for threads in [1, 3] {
        let options = SessionOptions::default().with_threads(threads);
        let mut session = Session::new(&model, &options).unwrap();
        let expected = session.decode(latents.view()).unwrap().sample;
        let one = latents.index_axis(Axis(0), 0);
        in_child(&format!("{threads} threads"), || {
            is_refused("decode", session.decode(latents.view()));
            let mask = Array4::zeros((1, 1, 8, 8));
            is_refused("masked", session.decode_masked(latents.view(), mask.view(), mask.view()));
            is_refused("rows", session.decode_rows(one, &mut |_, _| panic!("a row")));
            is_refused("stream", session.stream(one));
            is_refused("encode", session.encode(picture.view()));
            is_refused("encode_rows", session.encode_rows(8, 8, &mut |_, _| panic!("a row")));
            is_refused("forward", session.forward(picture.view(), false, 0));
            assert_eq!(session.threads(), threads);
            let mut own = Session::new(&model, &options).unwrap();
            assert_eq!(own.decode(latents.view()).unwrap().sample, expected);
            drop(session);
            assert_eq!(own.decode(latents.view()).unwrap().sample, expected);
        });
    }
}

#[test]
fn a_stream_of_the_parent_is_refused_in_the_child_and_goes_on_in_the_parent() {
    let (model, latents, _) = opened();
    let options = SessionOptions::default().with_threads(3).with_tiling(Tiling::Diffusers);
    let options = options.with_tile_size(8).with_tile_overlap(2);
    let mut session = Session::new(&model, &options).unwrap();
    let expected = session.decode(latents.view()).unwrap().sample;
    let mut stream = Some(session.stream(latents.index_axis(Axis(0), 0)).unwrap());
    let mut rows = 0;
    while let Some(row) = stream.as_mut().unwrap().next_row().unwrap() {
        assert_eq!(row[0], expected[(0, 0, rows, 0)]);
        rows += 1;
        if rows == 3 {
            in_child("a stream", || {
                for _ in 0..2 {
                    let row = stream.as_mut().unwrap().next_row();
                    is_refused("next_row", row.map(|row| row.is_some()));
                }
                drop(stream.take());
            });
        }
    }
    assert_eq!(rows, expected.dim().2);
}
