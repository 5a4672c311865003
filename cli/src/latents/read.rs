//! A file of any format to latents `[batch, channels, h, w]`.

use std::path::Path;

use ndarray::Array4;
use vaekl::Config;

use super::agree::{check_flag, check_model};
use super::choose::{COMFY, choose};
use super::format;
use super::label::{EMBEDDED, Kind, Label};
use super::shape::Expected;
use crate::arrays::Container;
use crate::failure::{Failure, Result};

/// The empty tensor that is beside ComfyUI's latents if they are raw.
pub(super) const COMFY_RAW: &str = "latent_format_version_0";
/// What ComfyUI's latents without it were multiplied by.
const COMFY_SCALING: f64 = 0.18215;

/// What is asked of a file.
pub(crate) struct Request<'a> {
    pub(crate) path: &'a Path,
    /// The name of the tensor, if the user gives it.
    pub(crate) tensor: Option<&'a str>,
    /// Whether the user says that the latents are scaled.
    pub(crate) scaled: bool,
    /// Width and height of the picture, if the user gives them.
    pub(crate) size: Option<(usize, usize)>,
    /// The label that the open model gives its latents.
    pub(crate) model: &'a Label,
    /// The configuration of the open model.
    pub(crate) config: &'a Config,
}

/// Latents of the file, what they are, and a remark for the user.
///
/// `[batch, channels, h, w]` with the model's channels, or twice as many of moments. Scaled latents
/// in patches, as FLUX.2 has them, are unfolded. Latents of another model, or other than the user
/// says, are an error.
pub(crate) fn read(request: &Request<'_>) -> Result<(Array4<f32>, Kind, Option<String>)> {
    let path = request.path;
    let at = |message: String| Failure::at(path, message);
    let container = Container::open(path, format::container(path)?)?;
    let entries = container.entries();
    let entry = choose(&entries, request.tensor).map_err(at)?;
    let mut label = Label::read(&container.metadata()).map_err(at)?.unwrap_or_default();
    let comfy = entry.name == COMFY && label.kind.is_none();
    if comfy {
        label.kind = Some(Kind::Raw);
    }
    if let Some(kind) = label.kind {
        check_flag(kind, request.scaled).map_err(at)?;
    }
    let other = check_model(&label, request.model).map_err(at)?;

    let mut array = container.read(&entry.name)?;
    let old = comfy && !entries.iter().any(|entry| entry.name == COMFY_RAW);
    if old {
        let factor = (1.0 / COMFY_SCALING) as f32;
        array.values.iter_mut().for_each(|value| *value *= factor);
    }
    let channels = request.model.channels.expect("a model has channels");
    let (config, size) = (request.config, request.size);
    let (factor, patch) = (config.downscale(), config.patch_size());
    let expected = Expected { channels, factor, patch, size };
    let (mut latents, packed) = expected.shape(array).map_err(at)?;

    let mut found = latents.dim().1;
    let folded = expected.is_folded(found);
    let scaled = label.kind.map_or(request.scaled, |kind| kind == Kind::Scaled);
    if folded && scaled {
        latents = config.unpatchify_latents(latents.view())?;
        found = channels;
    }
    let moments = match label.kind {
        Some(kind) => kind == Kind::Moments,
        // A tiny autoencoder has none.
        None => found == 2 * channels && !request.scaled && config.family.tiny().is_none(),
    };
    let (name, channels) = if moments { ("moments", 2 * channels) } else { ("latents", channels) };
    if found != channels {
        let folded = match folded {
            true => format!("; in patches of {patch}x{patch} only with --scaled"),
            false => String::new(),
        };
        return Err(at(format!("{name} of {found} channels, expected {channels}{folded}")));
    }
    let kind = match label.kind {
        Some(kind) => kind,
        None if moments => Kind::Moments,
        None if request.scaled => Kind::Scaled,
        None => Kind::Raw,
    };
    let mut remarks: Vec<String> = other.into_iter().collect();
    if old {
        remarks.push(format!("of ComfyUI's first format, divided by {COMFY_SCALING}"));
    }
    if kind == Kind::Moments {
        remarks.push("moments, decoding their mean".into());
    }
    let name = path.display();
    let remark = match (remarks.is_empty(), assumed(&label, request, kind, packed)) {
        (true, assumed) => assumed.map(|assumed| format!("{name} {assumed}")),
        (false, assumed) => {
            remarks.extend(assumed.map(|assumed| format!("the file {assumed}")));
            Some(format!("{name}: {}", remarks.join("; ")))
        }
    };
    Ok((latents, kind, remark))
}

/// What had to be assumed, because neither the file nor the user said it.
fn assumed(label: &Label, request: &Request<'_>, kind: Kind, packed: bool) -> Option<String> {
    let embedded = request.model.family.as_deref() == Some(EMBEDDED);
    let whose = label.family.is_none() && label.model.is_none() && embedded;
    let what = label.kind.is_none() && !request.scaled && kind != Kind::Moments;
    let usual = if packed { ", as packed ones mostly are" } else { "" };
    match (what, whose) {
        (true, true) => Some(format!(
            "does not say what its latents are: taken as raw ones of the embedded model, whose \
             latents are its own; --scaled if they are those of a diffusion model{usual}, --model \
             for another's"
        )),
        (true, false) => Some(format!(
            "does not say what its latents are: taken as raw; --scaled if they are those of the \
             diffusion model{usual}"
        )),
        (false, true) => Some(
            "does not say whose latents it has: taken as the embedded model's, which are its own; \
             --model for another's"
                .into(),
        ),
        (false, false) => None,
    }
}
