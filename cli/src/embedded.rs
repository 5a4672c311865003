//! The embedded model, for use without `--model`. Its card is `cli/model/README.md`.

use vaekl::{Config, Model, ModelOptions, Parts};

use crate::failure::Result;

const CONFIG: &str = include_str!("../model/config.json");
const WEIGHTS: &[u8] = include_bytes!("../model/diffusion_pytorch_model.safetensors");

/// Opens the embedded model.
pub(crate) fn open(parts: Parts) -> Result<Model> {
    let options = ModelOptions::default().with_parts(parts).with_config(Config::from_json(CONFIG)?);
    Ok(Model::from_bytes(WEIGHTS, &options)?)
}
