//! Every convolution shape of Stable Diffusion's decoder and encoder at 512x512, by itself and
//! warm: time, rate counted as direct convolution, rate of multiplications really done, its share
//! of the peak of fused multiply-adds in the same process, and the relative rms error against f64.
//!
//!     cargo bench --features bench --bench layers -- [THREADS [FIRST_WORDS_OF_A_SHAPE]]

use vaekl::Level;
use vaekl::bench::{Layer, layer, peak};

/// Input size, channels from and to, filter size, resampling, residual, and how often a decode and
/// an encode run it.
type Row = (usize, usize, usize, usize, i8, bool, u32, u32);

const LAYERS: &[Row] = &[
    (64, 4, 512, 3, 0, false, 1, 0),
    (64, 512, 512, 3, 0, false, 5, 4),
    (64, 512, 512, 3, 0, true, 5, 4),
    (64, 512, 512, 1, 0, false, 4, 4),
    (64, 512, 512, 3, 1, false, 1, 0),
    (128, 512, 512, 3, 0, false, 3, 1),
    (128, 512, 512, 3, 0, true, 3, 2),
    (128, 512, 512, 3, 1, false, 1, 0),
    (256, 512, 256, 3, 0, false, 1, 0),
    (256, 256, 256, 3, 0, false, 2, 1),
    (256, 256, 256, 3, 0, true, 3, 2),
    (256, 512, 256, 1, 0, false, 1, 0),
    (256, 256, 256, 3, 1, false, 1, 0),
    (512, 256, 128, 3, 0, false, 1, 0),
    (512, 128, 128, 3, 0, false, 2, 2),
    (512, 128, 128, 3, 0, true, 3, 2),
    (512, 256, 128, 1, 0, false, 1, 0),
    (512, 128, 3, 3, 0, false, 1, 0),
    (512, 3, 128, 3, 0, false, 0, 1),
    (512, 128, 128, 3, -1, false, 0, 1),
    (256, 128, 256, 3, 0, false, 0, 1),
    (256, 128, 256, 1, 0, false, 0, 1),
    (256, 256, 256, 3, -1, false, 0, 1),
    (128, 256, 512, 3, 0, false, 0, 1),
    (128, 256, 512, 1, 0, false, 0, 1),
    (128, 512, 512, 3, -1, false, 0, 1),
    (64, 512, 8, 3, 0, false, 0, 1),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let threads = arguments.first().map_or(Ok(2), |threads| threads.parse())?;
    let wanted = arguments.get(1).cloned().unwrap_or_default();
    let level = Level::detect()?;
    println!("{level}, {threads} threads, peak {:.0} GFLOP/s", peak(level, threads));
    println!(
        "{:<40} {:>9} {:>8} {:>7} {:>6} {:>5} {:>8}",
        "", "", "ms", "direct", "true", "peak", "error"
    );
    let (mut decode, mut encode) = ((0.0, 0.0), (0.0, 0.0));
    let mut winograd = (0.0, 0.0);
    let mut peaks = Vec::new();
    for &(size, from, to, kernel, resample, residual, decodes, encodes) in LAYERS {
        let before = peak(level, threads);
        let shape = Layer { size, from, to, kernel, resample, residual };
        if !format!("{size}x{size}x{from} {to} {kernel} {resample}").starts_with(&wanted) {
            continue;
        }
        let (run, error) = layer(shape, level, threads, 5)?;
        let peak = (before + peak(level, threads)) / 2.0;
        peaks.push(peak);
        let rate = |work: u64| 2.0 * work as f64 / run.seconds / 1e9;
        println!(
            "{:<40} {:>9} {:>8.2} {:>7.0} {:>6.0} {:>4.0}% {:>8}",
            run.shape,
            run.method,
            run.seconds * 1e3,
            rate(run.direct),
            rate(run.done),
            rate(run.done) / peak * 100.0,
            error.map_or("residual".to_owned(), |error| format!("{error:.1e}"))
        );
        let of_winograd = if run.method.starts_with('F') { decodes + encodes } else { 0 };
        for (sum, count) in
            [(&mut decode, decodes), (&mut encode, encodes), (&mut winograd, of_winograd)]
        {
            sum.0 += run.seconds * f64::from(count);
            sum.1 += 2.0 * run.done as f64 * f64::from(count) / peak / 1e9;
        }
    }
    for (what, (seconds, at_peak)) in
        [("decode", decode), ("encode", encode), ("Winograd", winograd)]
    {
        println!(
            "{what}: {:.0} ms in these layers, {:.0} % of the peak",
            seconds * 1e3,
            at_peak / seconds * 100.0
        );
    }
    peaks.sort_by(f64::total_cmp);
    if let (Some(low), Some(high)) = (peaks.first(), peaks.last()) {
        println!("peak from {low:.0} to {high:.0} GFLOP/s");
    }
    Ok(())
}
