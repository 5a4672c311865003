#![forbid(unsafe_code)]
//! Scales of weights with 8 bits, which lie beside them as tensors of their own.
//!
//! | tensor | what it is |
//! |---|---|
//! | `X.scale_weight`, `X.weight_scale` | the factor of every element of `X.weight`, a scalar |
//! | `X.scale_input`, `X.input_scale` | the factor of activations, which are not quantised here |
//! | `scaled_fp8`, `X.comfy_quant` | marks of ComfyUI: the scales say the same |

use super::tensor::{RawTensors, Tensor};
use crate::base::error::Result;

/// Ends of the names of scales of weights.
const OF_WEIGHTS: [&str; 2] = [".scale_weight", ".weight_scale"];
/// Ends of names that say nothing of a weight's values.
const MARKS: [&str; 4] = [".scale_input", ".input_scale", ".scaled_fp8", ".comfy_quant"];

/// Gives each weight its scale, and removes the tensors of scales. A weight whose scale is no
/// finite scalar becomes unsupported: only that of an autoencoder is an error.
///
/// # Errors
/// `Io` if a scale cannot be read.
pub(super) fn apply(raw: &mut RawTensors) -> Result<()> {
    let scales: Vec<(String, String)> =
        raw.tensors.keys().filter_map(|name| weight_of(name)).collect();
    for (name, weight) in scales {
        if !raw.tensors.contains_key(&weight) {
            continue;
        }
        let Some(scale) = raw.tensors.remove(&name) else { continue };
        match factor(&scale)? {
            Ok(factor) => {
                raw.tensors.entry(weight).and_modify(|tensor| tensor.scale = Some(factor));
            }
            Err(found) => {
                raw.tensors.remove(&weight);
                raw.unsupported.insert(weight, format!("{name}, a scale that is {found},"));
            }
        }
    }
    let is_mark =
        |name: &str| name == "scaled_fp8" || MARKS.iter().any(|mark| name.ends_with(mark));
    raw.tensors.retain(|name, _| !is_mark(name));
    raw.unsupported.retain(|name, _| !is_mark(name));
    Ok(())
}

/// The name of a scale with that of its weight, or `None` if `name` is of no scale.
fn weight_of(name: &str) -> Option<(String, String)> {
    let layer = OF_WEIGHTS.iter().find_map(|end| name.strip_suffix(end))?;
    Some((name.to_owned(), format!("{layer}.weight")))
}

/// The factor, or what the tensor is instead.
fn factor(scale: &Tensor) -> Result<std::result::Result<f32, String>> {
    if scale.len() != 1 || scale.shape.len() > 1 {
        return Ok(Err(format!("{:?} instead of a scalar", scale.shape)));
    }
    let factor = scale.to_f32()?[0];
    Ok(if factor.is_finite() { Ok(factor) } else { Err(format!("{factor}")) })
}
