//! GFLOP/s of the matrix kernel, one thread, at every CPU level, and its share of the peak of fused
//! multiply-adds measured in the same process.
//!
//!     cargo bench --features bench --bench kernels

use vaekl::bench::{self, Pass, Product};
use vaekl::{Level, Result};

fn main() -> Result<()> {
    for level in Level::available() {
        let peak = bench::peak(level, 1)?;
        println!("{level}: peak {peak:.1} GFLOP/s");
        for (what, rows, taps, depth, columns, pairs) in [
            ("3x3, 128 to 128 channels", 56, 9, 128, 128, 1),
            ("3x3, 512 to 512 channels", 56, 9, 512, 512, 1),
            ("a point of Winograd, 128 to 32", 26, 1, 128, 32, 1),
            ("a point of Winograd, 512 to 32", 26, 1, 512, 32, 1),
            ("64 points of Winograd, 128 to 32", 26, 1, 128, 32, 64),
            ("64 points of Winograd, 256 to 32", 26, 1, 256, 32, 64),
            ("64 points of Winograd, 512 to 32", 26, 1, 512, 32, 64),
            ("the same with 11 tiles", 11, 1, 512, 32, 64),
        ] {
            let rate = bench::gemm(level, Product { rows, taps, depth, columns, pairs })?;
            println!("  {what:<32} {rate:6.1} GFLOP/s, {:.0} %", rate / peak * 100.0);
        }
        for (what, pass) in [
            ("load with GroupNorm and SiLU", Pass::Load),
            ("tiles of F(8,3) to points", Pass::Input),
            ("points of F(8,3) to tiles", Pass::Output),
            ("store with GroupNorm's sums", Pass::Store),
            ("store with residual and sums", Pass::Residual),
        ] {
            let time = bench::pass(level, pass)?;
            // What the multiply-adds of a convolution from 128 to 128 channels take at the peak.
            let convolution = 2.0 * 128.0 * 100.0 / 64.0 / peak;
            let share = time / convolution * 100.0;
            println!(
                "  {what:<32} {time:6.3} ns a value, {share:.1} % of F(8,3)'s products at the peak"
            );
        }
        println!("  peak again {:.1} GFLOP/s", bench::peak(level, 1)?);
    }
    Ok(())
}
