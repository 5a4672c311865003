//! Files that attack their reader (tests/data/hostile, by tests/fixtures/hostile_*.py): each is
//! refused in words that its sidecar knows, soon, and nothing in it has run.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vaekl::{Model, ModelOptions};

/// What a file with code in it would make.
const CANARY: &str = "vaekl_canary";
/// A tenth of a second in a release; tests run beside others, on processors that are slower.
const SOON: Duration = Duration::from_secs(2);

/// Each file with the words of its sidecars, `expected_*.json`.
fn corpus() -> BTreeMap<PathBuf, String> {
    let folder = support::data().join("hostile");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let is_sidecar = |name: &&String| name.starts_with("expected_") && name.ends_with(".json");
    let mut words = BTreeMap::new();
    for sidecar in names.iter().filter(is_sidecar) {
        let text = fs::read_to_string(folder.join(sidecar)).unwrap();
        let expected: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        for (name, part) in expected {
            assert!(words.insert(folder.join(&name), part).is_none(), "{name} in two sidecars");
        }
    }
    let strangers = names.iter().filter(|name| !is_sidecar(name));
    for name in strangers {
        assert!(words.contains_key(&folder.join(name)), "{name} is in no sidecar");
    }
    words
}

/// Whether this build cannot inflate, and says so.
fn is_about_feature(message: &str) -> bool {
    !cfg!(feature = "deflate") && message.contains("feature \"deflate\"")
}

#[test]
fn every_hostile_file_is_refused_in_the_words_expected() {
    let corpus = corpus();
    assert!(corpus.len() > 25);
    let mut wrong = Vec::new();
    for (path, words) in &corpus {
        let name = path.file_name().unwrap().to_str().unwrap();
        let start = Instant::now();
        let message = match Model::open(path) {
            Ok(_) => "it was opened".to_owned(),
            Err(error) => error.message().to_owned(),
        };
        let fits = message.contains(name)
            && (message.contains(words) || is_about_feature(&message))
            && !message.contains('\n')
            && start.elapsed() < SOON;
        if !fits {
            wrong.push(format!("\"{words}\", {:?}: {message}", start.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!Path::new(CANARY).exists(), "code of a file has run");
}

/// A file that is cut anywhere, or has another byte anywhere, is refused or is a model.
#[test]
fn files_of_pytorch_with_any_byte_wrong_are_survived() {
    for name in ["tensors.pt", "tensors_deflated.pt", "tensors_legacy.pt", "lightning.pt"] {
        let bytes = fs::read(support::data().join("pickles").join(name)).unwrap();
        for cut in (0..bytes.len()).step_by(13) {
            assert!(Model::from_bytes(bytes[..cut].to_vec(), &ModelOptions::default()).is_err());
        }
        for at in (0..bytes.len()).step_by(3) {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                // None of them has an autoencoder, so that all are refused at last.
                assert!(Model::from_bytes(bytes, &ModelOptions::default()).is_err());
            }
        }
    }
}
