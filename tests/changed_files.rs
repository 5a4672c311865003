//! Weights that change while they are in use: an error that names the file, never another picture.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ndarray::{Array4, Axis};
use support::{Fixture, f32x4};
use vaekl::{
    Error, ErrorKind, Model, ModelOptions, SaveOptions, Session, SessionOptions, TensorFile, Tiling,
};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A model of its own, in a folder that is removed with it.
struct Copy {
    folder: PathBuf,
    latents: Array4<f32>,
}

impl Copy {
    fn new(name: &str) -> Self {
        let fixture = Fixture::open("tiled");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for file in ["config.json", WEIGHTS] {
            fs::copy(fixture.folder.join(file), folder.join(file)).unwrap();
        }
        let copy = Self { folder, latents: f32x4(&fixture.tensor("latents")) };
        // Long ago, for a system whose clock does not tell two moments of a test apart.
        let file = File::options().write(true).open(copy.weights()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        copy
    }

    fn weights(&self) -> PathBuf {
        self.folder.join(WEIGHTS)
    }

    fn open(&self, mapped: bool) -> Model {
        let options = ModelOptions::default().with_disable_mmap(!mapped);
        Model::open_with(&self.folder, &options).unwrap()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Truncated,
    Emptied,
    Grown,
    Rewritten,
    Touched,
    Replaced,
    Removed,
}

impl Change {
    /// Whether those who have the file open see it.
    fn is_seen(self) -> bool {
        !matches!(self, Self::Replaced | Self::Removed)
    }

    fn make(self, path: &Path) {
        let open = || File::options().write(true).open(path).unwrap();
        let length = fs::metadata(path).unwrap().len();
        match self {
            Self::Truncated => open().set_len(length / 2).unwrap(),
            Self::Emptied => open().set_len(0).unwrap(),
            Self::Grown => open().set_len(length + 1).unwrap(),
            Self::Rewritten => open().write_all(&vec![0x3f; length as usize]).unwrap(),
            Self::Touched => open().set_modified(SystemTime::now()).unwrap(),
            Self::Replaced => {
                let other = path.with_extension("other");
                fs::write(&other, b"something else").unwrap();
                fs::rename(other, path).unwrap();
            }
            Self::Removed => fs::remove_file(path).unwrap(),
        }
    }
}

const CHANGES: [Change; 7] = [
    Change::Truncated,
    Change::Emptied,
    Change::Grown,
    Change::Rewritten,
    Change::Touched,
    Change::Replaced,
    Change::Removed,
];

/// Changes that may happen while a call reads a mapped file, without ending the process.
fn may_happen(change: Change, mapped: bool) -> bool {
    let shrinks = matches!(change, Change::Truncated | Change::Emptied);
    // Only a Unix replaces and removes files that are open.
    (!shrinks || !mapped) && (change.is_seen() || cfg!(unix))
}

fn says_so(what: &str, error: &Error, copy: &Copy) {
    assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}");
    let file = format!("weights file {}: changed while in use: ", copy.weights().display());
    assert!(error.message().starts_with(&file), "{what}: {error}");
}

#[test]
fn a_change_before_a_call_is_an_error_of_each_call() {
    for mapped in [true, false] {
        for change in CHANGES.into_iter().filter(|&change| change.is_seen() || cfg!(unix)) {
            let what = format!("mapped: {mapped}, {change:?}");
            let copy = Copy::new(&format!("changed-before-{mapped}-{change:?}"));
            let model = copy.open(mapped);
            let mut session = Session::new(&model, &SessionOptions::default()).unwrap();
            let picture = session.decode(copy.latents.view()).unwrap().sample;
            change.make(&copy.weights());
            let saved = copy.folder.join("saved.safetensors");
            if !change.is_seen() {
                assert_eq!(session.decode(copy.latents.view()).unwrap().sample, picture, "{what}");
                model.save_file(&saved, &SaveOptions::default()).unwrap();
                continue;
            }
            for _ in 0..2 {
                says_so(&what, &session.decode(copy.latents.view()).unwrap_err(), &copy);
                says_so(&what, &session.encode(picture.view()).unwrap_err(), &copy);
                let one = copy.latents.index_axis(Axis(0), 0);
                says_so(&what, &session.stream(one).err().unwrap(), &copy);
                says_so(
                    &what,
                    &model.save_file(&saved, &SaveOptions::default()).unwrap_err(),
                    &copy,
                );
                assert!(!saved.exists(), "{what}");
            }
        }
    }
}

#[test]
fn a_change_during_a_call_is_an_error_of_this_call() {
    for mapped in [true, false] {
        for change in CHANGES.into_iter().filter(|&change| may_happen(change, mapped)) {
            for tiling in [Tiling::Exact, Tiling::Diffusers, Tiling::Seamless] {
                let what = format!("mapped: {mapped}, {change:?}, {tiling:?}");
                let copy = Copy::new(&format!("changed-during-{mapped}-{change:?}-{tiling:?}"));
                let model = copy.open(mapped);
                let options = SessionOptions::default().with_threads(2).with_tiling(tiling);
                let options = match tiling {
                    Tiling::Exact => options,
                    _ => options.with_tile_size(8),
                };
                let mut session = Session::new(&model, &options).unwrap();
                let expected = session.decode(copy.latents.view()).unwrap().sample;
                let (path, mut made) = (copy.weights(), false);
                session.on_progress(Some(Box::new(move |progress| {
                    if progress.done > progress.total / 3 && !made {
                        change.make(&path);
                        made = true;
                    }
                    ControlFlow::Continue(())
                })));
                match session.decode(copy.latents.view()) {
                    Ok(found) => {
                        assert!(!change.is_seen(), "{what}: a success");
                        assert_eq!(found.sample, expected, "{what}");
                    }
                    Err(error) => {
                        assert!(change.is_seen(), "{what}: {error}");
                        says_so(&what, &error, &copy);
                    }
                }
            }
        }
    }
}

#[test]
fn a_stream_whose_weights_changed_stays_failed() {
    let copy = Copy::new("changed-stream");
    let model = copy.open(true);
    let options = SessionOptions::default().with_tiling(Tiling::Diffusers).with_tile_size(8);
    let mut session = Session::new(&model, &options).unwrap();
    let mut stream = session.stream(copy.latents.index_axis(Axis(0), 0)).unwrap();
    assert!(stream.next_row().unwrap().is_some());
    Change::Rewritten.make(&copy.weights());
    let first = stream.next_row().unwrap_err();
    says_so("a stream", &first, &copy);
    assert_eq!(stream.next_row().unwrap_err().message(), first.message());
}

#[test]
fn a_file_of_tensors_that_changed_is_not_read() {
    for change in [Change::Truncated, Change::Rewritten, Change::Touched] {
        let copy = Copy::new(&format!("changed-tensors-{change:?}"));
        let file = TensorFile::open(copy.weights()).unwrap();
        let name = "decoder.conv_in.weight";
        file.to_f32(name).unwrap();
        change.make(&copy.weights());
        let error = file.to_f32(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.message().contains("changed while in use"), "{error}");
    }
}
