//! What the examples share: the command line, files of latents, and pixmaps.

use std::error::Error;
use std::path::PathBuf;

use ndarray::Array4;
use vaekl::{Model, Session, SessionOptions};

/// What a decode begins with.
pub(crate) struct Input {
    pub(crate) model: Model,
    /// Raw latents, `[1, channels, height, width]`.
    pub(crate) latents: Array4<f32>,
    /// The picture's path.
    pub(crate) out: PathBuf,
}

impl Input {
    /// Reads `[[MODEL LATENTS WIDTH HEIGHT] OUT.ppm]` from the command line: without a model the
    /// default one and latents of a drawn picture, without a picture's path `out`.
    pub(crate) fn from_arguments(out: &str) -> Result<Self, Box<dyn Error>> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match &arguments[..] {
            [] | [_] => {
                let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/cli/model"))?;
                let latents = drawn(&model)?;
                let out = arguments.first().map_or(out, |out| out).into();
                Ok(Self { model, latents, out })
            }
            [path, latents, width, height, out] => {
                let model = Model::open(path)?;
                let channels = model.config().latent_channels;
                let shape = (1, channels, number(height)?, number(width)?);
                Ok(Self { model, latents: read_latents(latents, shape)?, out: out.into() })
            }
            _ => Err("usage: [[MODEL LATENTS WIDTH HEIGHT] OUT.ppm]".into()),
        }
    }
}

/// Raw latents of a drawn picture: a sun over waves.
fn drawn(model: &Model) -> vaekl::Result<Array4<f32>> {
    let picture = Array4::from_shape_fn((1, 3, 192, 256), |(_, channel, y, x)| {
        let (x, y) = (x as f32, y as f32);
        let colour = if (x - 180.0).hypot(y - 60.0) < 32.0 {
            [1.0, 0.7, -0.5]
        } else if y > 120.0 + 12.0 * (x / 25.0).sin() {
            [-0.8, y / 192.0 - 0.6, 0.4]
        } else {
            [y / 150.0 - 0.3, y / 300.0, 0.7]
        };
        colour[channel]
    });
    let posterior = Session::new(model, &SessionOptions::default())?.encode(picture.view())?;
    Ok(posterior.encoded.mode().to_owned())
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text}: a number expected"))
}

/// Reads little-endian f32 values, channel by channel, as numpy's `tofile` writes them.
fn read_latents(
    path: &str,
    shape: (usize, usize, usize, usize),
) -> Result<Array4<f32>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let (values, rest) = bytes.as_chunks();
    let values: Vec<f32> = values.iter().copied().map(f32::from_le_bytes).collect();
    match Array4::from_shape_vec(shape, values) {
        Ok(latents) if rest.is_empty() => Ok(latents),
        _ => Err(format!("{path}: f32 values of shape {shape:?} expected").into()),
    }
}

/// The header of a binary pixmap of 8-bit values.
pub(crate) fn pixmap_header(
    width: usize,
    height: usize,
    channels: usize,
) -> Result<String, String> {
    match channels {
        3 => Ok(format!("P6\n{width} {height}\n255\n")),
        1 => Ok(format!("P5\n{width} {height}\n255\n")),
        _ => Err(format!("the model's pictures have {channels} channels, a pixmap 1 or 3")),
    }
}

/// A value of a decoded picture, about [-1, 1], as a byte.
pub(crate) fn byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8
}

/// Runs `example`, and prints the message of its error.
pub(crate) fn end(example: Result<(), Box<dyn Error>>) -> std::process::ExitCode {
    match example {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}
