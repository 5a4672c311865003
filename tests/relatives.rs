//! Models of other families: each is refused by its name, from its tensors alone and from the class
//! in a `config.json`, and no tensor of a model that opens is taken for one of theirs.
//!
//! `tests/fixtures/relatives.py` writes the names and shapes.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use support::{Fixture, data};
use vaekl::{Config, ErrorKind, Model, ModelOptions};

type Shapes = BTreeMap<String, Vec<usize>>;

struct Table {
    name: String,
    /// A part of the name in the message; `None` for what opens.
    family: Option<String>,
    /// The same for a half that has another: `None` where it is that of an `AutoencoderKL`.
    halves: BTreeMap<String, Option<String>>,
    tensors: Shapes,
}

impl Table {
    fn read(path: &Path) -> Self {
        let json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let halves = json["halves"].as_object().into_iter().flatten();
        let sides = |shape: &Value| {
            let sides = shape.as_array().unwrap().iter();
            sides.map(|side| side.as_u64().unwrap() as usize).collect()
        };
        let tensors = json["tensors"].as_object().unwrap().iter();
        Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            family: text(&json["family"]),
            halves: halves.map(|(root, family)| (root.clone(), text(family))).collect(),
            tensors: tensors.map(|(name, shape)| (name.clone(), sides(shape))).collect(),
        }
    }

    /// Those of a half, bare or behind a prefix.
    fn half(&self, root: &str) -> Shapes {
        let of_it = |n: &str| n.starts_with(root) || n.contains(&format!(".{root}"));
        let half = self.tensors.iter().filter(|(name, _)| of_it(name));
        half.map(|(name, shape)| (name.clone(), shape.clone())).collect()
    }
}

fn tables() -> Vec<Table> {
    let entries = fs::read_dir(data().join("relatives")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let tables = paths.filter(|path| !path.ends_with("classes.json"));
    let mut tables: Vec<Table> = tables.map(|path| Table::read(&path)).collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    tables
}

/// What is said of a safetensors file with these tensors, behind a prefix.
fn message(tensors: &Shapes, prefix: &str) -> Option<String> {
    let bytes = |shape: &[usize]| 2 * shape.iter().product::<usize>();
    let zeros = vec![0; tensors.values().map(|shape| bytes(shape)).max().unwrap_or(0)];
    let views = tensors.iter().map(|(name, shape)| {
        let data = &zeros[..bytes(shape)];
        (format!("{prefix}{name}"), TensorView::new(Dtype::F16, shape.clone(), data).unwrap())
    });
    let file = serialize(views, None).unwrap();
    let error = Model::from_bytes(file, &ModelOptions::default()).err()?;
    assert_eq!(error.kind(), ErrorKind::Model, "{error}");
    Some(error.message().to_owned())
}

const REFUSED: &str = "which this version does not open";

/// What is wrong with a message that should have the family and one of the tensors.
fn wrong(found: Option<&str>, family: &str, tensors: &Shapes, prefix: &str) -> Option<String> {
    let Some(message) = found else { return Some("opened".to_owned()) };
    let names_one = || tensors.keys().any(|n| message.contains(&format!("tensor {prefix}{n} is")));
    let right = message.contains(family) && message.contains(REFUSED) && names_one();
    (!right || message.contains('\n')).then(|| format!("{family} expected: {message}"))
}

#[test]
fn relatives_are_refused_by_name_from_their_tensors() {
    let (mut errors, mut count) = (Vec::new(), 0);
    for table in tables() {
        let (name, Some(family)) = (&table.name, &table.family) else { continue };
        count += 1;
        for prefix in ["", "vae.", "first_stage_model.", "state_dict.module."] {
            let found = message(&table.tensors, prefix);
            if let Some(error) = wrong(found.as_deref(), family, &table.tensors, prefix) {
                errors.push(format!("{prefix}{name}: {error}"));
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    assert!(count >= 60, "{count}");
}

#[test]
fn halves_of_relatives_are_refused_by_name() {
    let (mut errors, mut alike) = (Vec::new(), Vec::new());
    for table in tables() {
        let (name, Some(family)) = (&table.name, &table.family) else { continue };
        for root in ["encoder", "decoder"] {
            let half = table.half(&format!("{root}."));
            if half.is_empty() {
                continue;
            }
            let expected = match table.halves.get(root) {
                Some(other) => other.as_ref(),
                None => Some(family),
            };
            let found = message(&half, "");
            if let Some(family) = expected {
                let error = wrong(found.as_deref(), family, &half, "");
                errors.extend(error.map(|error| format!("{name}, {root}: {error}")));
            } else {
                alike.push(format!("{name} {root}"));
                if found.as_ref().is_some_and(|message| message.contains(REFUSED)) {
                    errors.push(format!("{name}, {root}: {}", found.unwrap_or_default()));
                }
            }
        }
    }
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    // These have the tensors of an AutoencoderKL's half, and nothing else.
    let expected = [
        "consistency encoder",
        "svd encoder",
        "svd_original encoder",
        "vq decoder",
        "vq_lost encoder",
        "vq_lost decoder",
        "vq_lost_original encoder",
        "vq_lost_original decoder",
        "vq_movq encoder",
        "vq_movq_original encoder",
        "vq_original decoder",
    ];
    assert_eq!(alike, expected);
}

#[test]
fn models_that_open_have_no_mark_of_another_family() {
    let mut count = 0;
    for table in tables().iter().filter(|table| table.family.is_none()) {
        count += 1;
        let halves = ["encoder.", "decoder."].map(|root| table.half(root));
        for own in halves.iter().chain([&table.tensors]) {
            for prefix in ["", "vae."] {
                // Some tensors of many: what is missing is said instead.
                let message = message(own, prefix).unwrap_or_default();
                assert!(!message.contains(REFUSED), "{}: {message}", table.name);
            }
        }
    }
    assert!(count >= 16, "{count}");
}

/// A family that is not known is told by its axes at least.
#[test]
fn convolutions_of_sound_and_video_are_told_by_their_axes() {
    let table = tables().into_iter().find(|table| table.name == "opened_kl").unwrap();
    for (axes, expected) in [(3, "1-D convolutions"), (5, "3-D convolutions")] {
        for root in ["encoder.", "decoder."] {
            let mut half = table.half(root);
            half.values_mut().filter(|shape| shape.len() == 4).for_each(|shape| {
                shape.resize(axes, 3);
            });
            let wrong = wrong(message(&half, "").as_deref(), expected, &half, "");
            assert_eq!(wrong, None);
        }
    }
}

/// Inside a larger checkpoint, the marks of its other models do not matter.
#[test]
fn a_video_model_around_an_autoencoder_opens() {
    let fixture = Fixture::open("ldm_checkpoint");
    let bytes = fs::read(fixture.path()).unwrap();
    let own = SafeTensors::deserialize(&bytes).unwrap();
    let mut views: Vec<_> = own.iter().map(|(name, view)| (name.to_owned(), view)).collect();
    let options = ModelOptions::default().with_config(fixture.expected_config().unwrap());
    for (prefix, opens) in [("model.", true), ("first_stage_model.", false)] {
        let name = format!("{prefix}decoder.mid.block_1.time_stack.in_layers.0.weight");
        let other = TensorView::new(Dtype::F16, vec![32], &[0; 64]).unwrap();
        views.push((name, other));
        let file = serialize(views.clone(), None).unwrap();
        assert_eq!(Model::from_bytes(file, &options).is_ok(), opens, "{prefix}");
    }
}

#[test]
fn other_classes_are_refused_by_name_from_the_configuration() {
    let classes = fs::read_to_string(data().join("relatives/classes.json")).unwrap();
    let classes: Vec<String> = serde_json::from_str(&classes).unwrap();
    assert!(classes.len() >= 38);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("relatives");
    fs::create_dir_all(&folder).unwrap();
    let own = Fixture::open("sd_like").folder;
    let weights = "diffusion_pytorch_model.safetensors";
    fs::copy(own.join(weights), folder.join(weights)).unwrap();
    let own = fs::read_to_string(own.join("config.json")).unwrap();
    let opened =
        ["AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderTiny", "AsymmetricAutoencoderKL"];
    for class in classes.iter().filter(|class| !opened.contains(&class.as_str())) {
        let error = Config::from_json(&format!(r#"{{"_class_name": "{class}"}}"#)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Model, "{error}");
        assert!(error.message().contains(&format!("{class} found")), "{error}");
        // The tensors are those of an AutoencoderKL.
        let config = own.replace(r#""AutoencoderKL""#, &format!(r#""{class}""#));
        fs::write(folder.join("config.json"), config).unwrap();
        let error = Model::open(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Model, "{error}");
        let named =
            [class, "_class_name", "config.json"].iter().all(|p| error.message().contains(p));
        assert!(named, "{error}");
    }
}
