//! A file of any format to latents `[batch, channels, h, w]`.

use std::path::Path;

use ndarray::Array4;
use vaekl::Config;

use super::agree::{check_flag, check_model};
use super::choose::{COMFY, choose};
use super::format;
use super::label::{EMBEDDED, Kind, Label};
use super::shape::{Expected, LatentShape};
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

/// Latents in a file, all about them known, and nothing of their elements read.
pub(crate) struct LatentsFile<'a> {
    request: &'a Request<'a>,
    container: Container,
    name: String,
    layout: LatentShape,
    /// Whether they are divided by [`COMFY_SCALING`].
    is_old: bool,
    /// Whether they are in patches, which are unfolded.
    is_folded: bool,
    kind: Kind,
    /// What there is to say to the user.
    remark: Option<String>,
}

/// Latents of the file, what they are, and a remark for the user: [`open`], then read.
pub(crate) fn read(request: &Request<'_>) -> Result<(Array4<f32>, Kind, Option<String>)> {
    open(request)?.read()
}

/// Opens the latents of a file.
///
/// `[batch, channels, h, w]` with the model's channels, or twice as many of moments. Scaled latents
/// in patches, as FLUX.2 has them, are unfolded. Latents of another model, or other than the user
/// says, are an error.
pub(crate) fn open<'a>(request: &'a Request<'a>) -> Result<LatentsFile<'a>> {
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

    let shape = container.shape(&entry.name)?;
    let is_old = comfy && !entries.iter().any(|entry| entry.name == COMFY_RAW);
    let channels = request.model.channels.expect("a model has channels");
    let (config, size) = (request.config, request.size);
    let (factor, patch) = (config.downscale(), config.patch_size());
    let expected = Expected { channels, factor, patch, size };
    let layout = expected.layout(&shape).map_err(at)?;

    let [_, mut found, _, _] = layout.dims;
    let folded = expected.is_folded(found);
    let scaled = label.kind.map_or(request.scaled, |kind| kind == Kind::Scaled);
    let is_folded = folded && scaled;
    if is_folded {
        found = channels;
    }
    let moments = match label.kind {
        Some(kind) => kind == Kind::Moments,
        // A tiny autoencoder has none.
        None => found == 2 * channels && !request.scaled && config.family.tiny().is_none(),
    };
    let (what, channels) = if moments { ("moments", 2 * channels) } else { ("latents", channels) };
    if found != channels {
        let folded = match folded {
            true => format!("; in patches of {patch}x{patch} only with --scaled"),
            false => String::new(),
        };
        return Err(at(format!("{what} of {found} channels, expected {channels}{folded}")));
    }
    let kind = match label.kind {
        Some(kind) => kind,
        None if moments => Kind::Moments,
        None if request.scaled => Kind::Scaled,
        None => Kind::Raw,
    };
    let mut remarks: Vec<String> = other.into_iter().collect();
    if is_old {
        remarks.push(format!("of ComfyUI's first format, divided by {COMFY_SCALING}"));
    }
    if kind == Kind::Moments {
        remarks.push("moments, decoding their mean".into());
    }
    let file = path.display();
    let remark = match (remarks.is_empty(), assumed(&label, request, kind, layout.packed)) {
        (true, assumed) => assumed.map(|assumed| format!("{file} {assumed}")),
        (false, assumed) => {
            remarks.extend(assumed.map(|assumed| format!("the file {assumed}")));
            Some(format!("{file}: {}", remarks.join("; ")))
        }
    };
    let name = entry.name.clone();
    Ok(LatentsFile { request, container, name, layout, is_old, is_folded, kind, remark })
}

impl LatentsFile<'_> {
    /// Batch, channels, height and width of what [`LatentsFile::read`] gives; moments have twice
    /// the channels of latents.
    pub(crate) fn dims(&self) -> [usize; 4] {
        let [batch, channels, height, width] = self.layout.dims;
        let patch = if self.is_folded { self.request.config.patch_size() } else { 1 };
        [batch, channels / patch.pow(2), height * patch, width * patch]
    }

    /// The most bytes in memory while [`LatentsFile::read`] reads, its result among them.
    pub(crate) fn reading_bytes(&self) -> Result<u64> {
        let sides = self.layout.dims.map(|side| side as u64);
        let values = sides.iter().fold(4, |bytes: u64, &side| bytes.saturating_mul(side));
        // Beside the array, its unpacked or unfolded copy.
        let copies = u64::from(self.layout.packed || self.is_folded);
        let reading = self.container.reading_bytes(&self.name)?;
        Ok(reading.max(values.saturating_mul(1 + copies)))
    }

    /// Latents of the file, what they are, and a remark for the user.
    pub(crate) fn read(self) -> Result<(Array4<f32>, Kind, Option<String>)> {
        let Self { request, container, name, layout, is_old, is_folded, kind, remark } = self;
        let mut values = container.read(&name)?;
        if is_old {
            let factor = (1.0 / COMFY_SCALING) as f32;
            values.iter_mut().for_each(|value| *value *= factor);
        }
        let within = |error: vaekl::Error| error.within(request.path.display());
        let mut latents = layout.apply(values).map_err(within)?;
        if is_folded {
            latents = request.config.unpatchify_latents(latents.view()).map_err(within)?;
        }
        Ok((latents, kind, remark))
    }
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
