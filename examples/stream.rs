//! stream: latents to a picture, row by row: the pixels are never whole in the caller's memory.
//!
//!     cargo run --release --example stream -- [[MODEL LATENTS WIDTH HEIGHT] OUT.ppm]
//!
//! The arguments are those of the example decode; the default picture is `stream.ppm`.

mod files;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use files::{Input, byte, pixmap_header};
use ndarray::Axis;
use vaekl::{AtomicFile, Session, SessionOptions};

fn stream() -> Result<(), Box<dyn Error>> {
    let Input { model, latents, out } = Input::from_arguments("stream.ppm")?;
    let mut session = Session::new(&model, &SessionOptions::default())?;

    let mut stream = session.stream(latents.index_axis(Axis(0), 0))?;
    let (width, height, channels) = (stream.width(), stream.height(), stream.channels());
    let mut file = AtomicFile::create(&out)?;
    file.write_all(pixmap_header(width, height, channels)?.as_bytes())?;
    // `width * channels` interleaved values at a time.
    while let Some(row) = stream.next_row()? {
        let bytes: Vec<u8> = row.iter().map(|&value| byte(value)).collect();
        file.write_all(&bytes)?;
    }
    // Only now is there a file of this name: an error above leaves what was there before.
    file.commit()?;
    println!("{}: {height} rows of {width} pixels", out.display());
    Ok(())
}

fn main() -> ExitCode {
    files::end(stream())
}
