#![forbid(unsafe_code)]
//! Models that are not opened, known by their tensors. Opened as an `AutoencoderKL`, near relatives
//! would give a wrong picture; the others are named instead of "no autoencoder".
//!
//! | file | what it does |
//! |---|---|
//! | `families` | the families, and the marks of each |
//! | `marks` | names and shapes of tensors |

mod families;
mod marks;

use std::collections::{BTreeMap, BTreeSet};

use self::families::{FAMILIES, VQ};
use self::marks::Named;
use super::prefix::{Prefix, bare, unwrapped};
use super::raw_tensors::RawTensors;
use crate::base::alloc;
use crate::base::error::{Error, Result};

/// What is allocated here, for messages.
const NAMES: &str = "names of tensors";

/// Fails for the tensors of a family that is not opened.
///
/// # Errors
/// `Model`, with the family and one of its tensors.
pub(super) fn refuse(raw: &RawTensors) -> Result<()> {
    let shapes = raw.tensors.iter().map(|(name, tensor)| (name, Some(&*tensor.shape)));
    let names = shapes.chain(raw.unsupported.keys().map(|name| (name, None)));
    // One by one: collected, they would be in a vector first, whose allocation cannot fail.
    let mut unwrapped = BTreeMap::new();
    for (name, shape) in names {
        unwrapped.insert(self::unwrapped(name), (name, shape));
    }
    let mut set = BTreeSet::new();
    for name in unwrapped.keys() {
        set.insert(name.as_str());
    }
    let prefix = Prefix::find(&set);
    // Beside an autoencoder's own tensors, those of the larger model do not matter.
    let inside = |name: &str| match &prefix {
        // A half that lacks its name may be another's.
        Some(prefix) => prefix.strip(name).map(|rest| (rest.to_owned(), prefix.complete(rest))),
        None => Some((bare(name, &BEFORE).to_owned(), String::new())),
    };
    let mut tensors = Vec::new();
    for (name, &(in_file, shape)) in &unwrapped {
        let Some((name, completed)) = inside(name) else { continue };
        if !completed.is_empty() && completed != name {
            alloc::push(&mut tensors, Named { name: completed, shape, in_file }, NAMES)?;
        }
        alloc::push(&mut tensors, Named { name, shape, in_file }, NAMES)?;
    }
    tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut marks = FAMILIES.iter().flat_map(|f| f.marks.iter().map(|mark| (f.name, mark)));
    let marked = marks.find_map(|(family, mark)| Some((family, mark.find(&tensors)?)));
    match marked.or_else(|| Some((VQ, without_quantiser(&tensors)?))) {
        None => Ok(()),
        Some((family, at)) => Err(Error::model(format!(
            "tensor {} is of {family}, which this version does not open",
            tensors[at].in_file
        ))),
    }
}

/// What stands before the names of such families alone.
const BEFORE: [&str; 2] = ["audio_vae", "pretransform"];

/// The last convolution of an encoder that gives as many channels as the decoder takes: no means
/// and variances, but vectors whose quantiser is missing.
fn without_quantiser(tensors: &[Named<'_>]) -> Option<usize> {
    let place = |name| tensors.iter().position(|tensor| tensor.name == name);
    let at = place("encoder.conv_out.weight")?;
    let [outputs, _, _, _] = tensors[at].shape? else { return None };
    let [_, inputs, _, _] = tensors[place("decoder.conv_in.weight")?].shape? else { return None };
    (outputs == inputs).then_some(at)
}

/// A mark in the names of tensors.
enum Mark {
    Starts(&'static str),
    Has(&'static str),
}

use Mark::{Has, Starts};

impl Mark {
    fn fits(&self, name: &str) -> bool {
        match self {
            Starts(text) => name.starts_with(text),
            Has(text) => name.contains(text),
        }
    }
}

/// Tensors of models whose autoencoder is in another file.
const WITHOUT: [Mark; 5] = [
    Has("model.diffusion_model."),
    Has("double_blocks."),
    Has("joint_blocks."),
    Has("text_model."),
    Starts("time_embedding."),
];

/// The first of the tensors that is of a model without an autoencoder.
pub(super) fn of_another_model<'n>(names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names.into_iter().find(|name| WITHOUT.iter().any(|mark| mark.fits(name)))
}
