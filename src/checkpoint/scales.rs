#![forbid(unsafe_code)]
//! Scales of weights with 8 bits, which lie beside them as tensors of their own.
//!
//! | tensor | what it is |
//! |---|---|
//! | `X.scale_weight`, `X.weight_scale` | the factor of every element of `X.weight`, a scalar |
//! | `X.scale_input`, `X.input_scale` | the factor of activations, which are not quantised here |
//! | `scaled_fp8`, `X.comfy_quant` | marks of ComfyUI: the scales say the same |

use super::raw_tensors::RawTensors;
use super::tensor::Tensor;
use crate::base::alloc;
use crate::base::error::{ErrorKind, Result};

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
    let scales = raw.tensors.keys().filter_map(|name| weight_of(name));
    let scales = alloc::collected(scales, "scales of weights")?;
    for (name, weight) in scales {
        if !raw.tensors.contains_key(&weight) {
            continue;
        }
        let Some(scale) = raw.tensors.remove(&name) else { continue };
        match factor(&scale)? {
            Ok(factor) if raw.tensors[&weight].scale.is_none() => {
                raw.tensors.entry(weight).and_modify(|tensor| tensor.scale = Some(factor));
            }
            Ok(_) => {
                raw.tensors.remove(&weight);
                raw.unsupported.insert(weight, format!("{name}, a second scale,"));
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
    refuse_unknown(raw)
}

/// Makes 8-bit weights unsupported that have a scale of another kind, such as one for each row:
/// without it they are other numbers.
fn refuse_unknown(raw: &mut RawTensors) -> Result<()> {
    let names = raw.tensors.keys().chain(raw.unsupported.keys());
    let unknown = names
        .filter(|name| name.rsplit('.').next().is_some_and(|end| end.contains("scale")))
        .filter_map(|name| {
            let layer = &name[..name.rfind('.')?];
            let weight = format!("{layer}.weight");
            let coded = raw.tensors.get(&weight).is_some_and(|it| it.dtype.block().1 == 1);
            coded.then(|| (name.clone(), weight))
        });
    for (name, weight) in alloc::collected(unknown, "scales of weights")? {
        raw.tensors.remove(&weight);
        raw.unsupported.insert(weight, format!("{name}, a scale of another kind,"));
    }
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
    let factor = match scale.to_f32() {
        Ok(values) => values[0],
        Err(error) if error.kind() == ErrorKind::Format => return Ok(Err("corrupt".into())),
        Err(error) => return Err(error),
    };
    Ok(if factor.is_finite() { Ok(factor) } else { Err(format!("{factor}")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::Bytes;
    use crate::base::encoding::Encoding;
    use crate::checkpoint::contents::Contents;

    /// A weight of 8 bits, 1.0, with tensors of f32 beside it.
    fn with(beside: &[(&str, &[usize], &[f32])]) -> RawTensors {
        let mut raw = RawTensors::default();
        let mut insert = |name: &str, dtype, shape: &[usize], bytes: Vec<u8>| {
            let contents = Contents::Memory(Bytes::new(bytes));
            let tensor = Tensor::new(name.into(), dtype, shape.to_vec(), contents).unwrap();
            raw.tensors.insert(name.into(), tensor);
        };
        insert("x.weight", Encoding::F8E4M3, &[1], vec![0x38]);
        for (name, shape, values) in beside {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            insert(name, Encoding::F32, shape, bytes);
        }
        apply(&mut raw).unwrap();
        raw
    }

    #[test]
    fn a_weight_has_one_scale_of_a_known_kind_or_none() {
        for name in ["x.scale_weight", "x.weight_scale"] {
            let raw = with(&[(name, &[], &[0.5])]);
            assert_eq!(raw.tensors["x.weight"].to_f32().unwrap(), [0.5]);
            assert_eq!(raw.tensors.len(), 1);
        }
        assert_eq!(with(&[]).tensors["x.weight"].to_f32().unwrap(), [1.0]);
        for (beside, said) in [
            (vec![("x.weight_scale_inv", &[][..], &[2.0][..])], "another kind"),
            (vec![("x.scale", &[], &[2.0])], "another kind"),
            (vec![("x.scale_weight", &[], &[2.0]), ("x.weight_scale", &[], &[2.0])], "second"),
            (vec![("x.weight_scale", &[2], &[2.0, 2.0])], "instead of a scalar"),
            (vec![("x.weight_scale", &[], &[f32::NAN])], "NaN"),
        ] {
            let raw = with(&beside);
            assert!(raw.unsupported["x.weight"].contains(said), "{:?}", raw.unsupported);
        }
    }
}
