//! The threads of a session are its own, and have ended when it is dropped.
#![cfg(target_os = "linux")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use ndarray::Array4;
use support::Fixture;
use vaekl::{Session, SessionOptions};

/// The flag of a thread that is on its way out of the kernel, as one that was waited for may be
/// for a moment.
const EXITING: u32 = 0x4;

/// Names of the threads of this process that are not on their way out, by number.
fn threads() -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap();
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'))
        else {
            continue;
        };
        let flags = rest.split_whitespace().nth(6).and_then(|flags| flags.parse::<u32>().ok());
        if flags.is_some_and(|flags| flags & EXITING == 0) {
            names.insert(task.file_name().into_string().unwrap(), name.to_owned());
        }
    }
    names
}

// One test, for no other may have threads meanwhile.
#[test]
fn a_session_ends_with_its_threads() {
    let model = Fixture::open("sd_like").model(|_| {});
    let before = threads();
    let latents = Array4::from_elem((1, 4, 3, 3), 0.5);
    for round in 0..300 {
        let options = SessionOptions::default().with_threads(1 + round % 5);
        let mut session = Session::new(&model, &options).unwrap();
        if round % 50 < 5 {
            session.decode(latents.view()).unwrap();
            // No other pool, such as one of the whole process, was started by the way.
            let begun = Instant::now();
            let names = loop {
                let mut made = threads();
                made.retain(|number, _| !before.contains_key(number));
                // A thread gives itself its name as it begins.
                let named = made.values().all(|name| name.starts_with("vaekl-"));
                if named || begun.elapsed() > Duration::from_secs(10) {
                    break made;
                }
            };
            assert_eq!(names.len(), round % 5, "{names:?}");
            assert!(names.values().all(|name| name.starts_with("vaekl-")), "{names:?}");
        }
        drop(session);
        assert_eq!(threads(), before, "round {round}");
    }
}
