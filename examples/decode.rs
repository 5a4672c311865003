//! decode: latents to a picture, in one call.
//!
//!     cargo run --release --example decode -- [[MODEL LATENTS WIDTH HEIGHT] OUT.ppm]
//!
//! MODEL is a diffusers folder or a `.safetensors` file. LATENTS is a file of WIDTH x HEIGHT raw
//! latents: f32 values, channel by channel as torch lays them out. The defaults are the model in
//! `cli/model`, latents of a drawn picture, and `decode.ppm`.

mod files;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use files::{Input, byte, pixmap_header};
use ndarray::Axis;
use vaekl::{AtomicFile, Session, SessionOptions};

fn decode() -> Result<(), Box<dyn Error>> {
    let Input { model, latents, out } = Input::from_arguments("decode.ppm")?;
    let mut session = Session::new(&model, &SessionOptions::default())?;

    // [1, channels, height, width] in about [-1, 1], unclamped.
    let pictures = session.decode(latents.view())?.sample;

    let (_, channels, height, width) = pictures.dim();
    let picture = pictures.index_axis(Axis(0), 0);
    let pixels: Vec<u8> =
        picture.permuted_axes([1, 2, 0]).iter().map(|&value| byte(value)).collect();
    let mut file = AtomicFile::create(&out)?;
    file.write_all(pixmap_header(width, height, channels)?.as_bytes())?;
    file.write_all(&pixels)?;
    file.commit()?;
    println!("{}: {width}x{height}, with {}", out.display(), session.level());
    Ok(())
}

fn main() -> ExitCode {
    files::end(decode())
}
