//! Thousands of calls in one process: memory and descriptors stay flat, bits stay the same.
//!
//! `VAEKL_SOAK=N` sets the decodes, and as many encodes; `VAEKL_SOAK_CSV` names a file for the
//! curve, which `scripts/soak` draws.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Array4;
use support::{Fixture, encoder_values};
use vaekl::{Model, Session, SessionOptions, Storage};

/// Threads of the host, each with sessions of its own.
const HOSTS: usize = 4;
const SESSIONS: usize = 4;
/// The fixtures, of each family.
const MODELS: [&str; 4] = ["sd_like", "families/taesd", "families/flux2", "families/asymmetric"];
const STORAGES: [Storage; 3] = [Storage::F32, Storage::Bf16, Storage::F16];

/// Sizes of latents.
const SIZES: [(usize, usize); 3] = [(3, 5), (8, 7), (16, 11)];

/// A model, and the results of each storage and size: what any session must give.
struct Known {
    path: PathBuf,
    model: Model,
    results: Vec<(Array4<f32>, Array4<f32>)>,
}

fn latents(model: &Model, (height, width): (usize, usize)) -> Array4<f32> {
    Array4::from_shape_fn((1, model.config().latent_channels, height, width), |(_, c, y, x)| {
        ((c * 31 + y * 7 + x * 3) as f32 * 0.7).sin()
    })
}

fn session(model: &Model, storage: Storage, threads: usize) -> Session {
    let options = SessionOptions::default().with_threads(threads).with_activation_dtype(storage);
    Session::new(model, &options).unwrap()
}

/// A decode, and an encode of its picture.
fn both(session: &mut Session, size: (usize, usize)) -> (Array4<f32>, Array4<f32>) {
    let latents = latents(session.model(), size);
    let picture = session.decode(latents.view()).unwrap().sample;
    let values = encoder_values(&session.encode(picture.view()).unwrap().encoded);
    (picture, values)
}

impl Known {
    fn new(name: &str) -> Self {
        let fixture = match name.strip_prefix("families/") {
            Some(name) => Fixture::family(name),
            None => Fixture::open(name),
        };
        let path = fixture.path();
        let model = Model::open(&path).unwrap();
        let mut results = Vec::new();
        for storage in STORAGES {
            for size in SIZES {
                results.push(both(&mut session(&model, storage, 1), size));
            }
        }
        Self { path, model, results }
    }
}

/// Descriptors and threads of this process, and its memory in KiB.
fn state() -> (usize, usize, u64) {
    let count = |folder: &str| fs::read_dir(folder).unwrap().count();
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    (count("/proc/self/fd"), count("/proc/self/task"), pages * 4)
}

/// A generator of small numbers.
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        (self.0 >> 33) as usize % most
    }
}

#[test]
fn memory_and_descriptors_stay_flat_and_bits_the_same() {
    let calls = std::env::var("VAEKL_SOAK").map_or(400, |text| text.parse::<usize>().unwrap());
    let before = state().0;
    let known: Vec<Known> = MODELS.iter().map(|name| Known::new(name)).collect();
    let done = AtomicUsize::new(0);
    let curve = Mutex::new(vec![(0, state())]);
    std::thread::scope(|scope| {
        for host in 0..HOSTS {
            let (known, done, curve) = (&known, &done, &curve);
            scope.spawn(move || {
                let mut draw = Draw(host as u64 + 1);
                let mut sessions: Vec<(usize, usize, Session)> = (0..SESSIONS)
                    .map(|index| {
                        let (which, storage) = ((host + index) % known.len(), index % 3);
                        let model = &known[which].model;
                        (which, storage, session(model, STORAGES[storage], 1 + index % 3))
                    })
                    .collect();
                loop {
                    let number = done.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        break;
                    }
                    let size = draw.below(SIZES.len());
                    let index = draw.below(SESSIONS);
                    let (which, storage, session) = &mut sessions[index];
                    let expected = &known[*which].results[*storage * SIZES.len() + size];
                    assert!(both(session, SIZES[size]) == *expected, "call {number}");
                    if draw.below(16) == 0 {
                        // A model of its own, and another session in place of this one.
                        let model = Model::open(&known[*which].path).unwrap();
                        *session = self::session(&model, STORAGES[*storage], 1 + draw.below(3));
                    }
                    if number.is_multiple_of(calls.div_ceil(100)) {
                        curve.lock().unwrap().push((number, state()));
                    }
                }
            });
        }
    });
    drop(known);
    assert_eq!(state().0, before, "descriptors that were left");
    let mut curve = curve.into_inner().unwrap();
    curve.sort_unstable();
    if let Ok(path) = std::env::var("VAEKL_SOAK_CSV") {
        let mut file = fs::File::create(path).unwrap();
        writeln!(file, "calls,descriptors,threads,kib").unwrap();
        for (number, (descriptors, threads, kib)) in &curve {
            writeln!(file, "{number},{descriptors},{threads},{kib}").unwrap();
        }
    }
    // The first half fills what later calls reuse.
    let most = |part: &[(usize, (usize, usize, u64))]| {
        part.iter().map(|(_, (_, _, memory))| *memory).max().unwrap_or(0)
    };
    // A model has two files at most; each session may have one of its own, and each host one that
    // it opens.
    let files = 2 * (MODELS.len() + HOSTS * SESSIONS + HOSTS) + HOSTS;
    for (number, (descriptors, ..)) in &curve {
        assert!(*descriptors <= before + files, "call {number}: {descriptors} descriptors");
    }
    let (warm, rest) = curve.split_at(curve.len() / 2);
    let (kib, later_kib) = (most(warm), most(rest));
    assert!(later_kib <= kib + kib / 10 + 4096, "memory: {kib} KiB, later {later_kib} KiB");
}
