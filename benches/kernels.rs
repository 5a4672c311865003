//! GFLOP/s of the matrix kernel, one thread, at every CPU level, and its share of the peak of fused
//! multiply-adds measured in the same process.
//!
//!     cargo bench --features bench --bench kernels

use vaekl::bench::{self, Product};
use vaekl::{Level, Result};

fn main() -> Result<()> {
    for level in Level::available() {
        let peak = bench::peak(level, 1);
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
        println!("  peak again {:.1} GFLOP/s", bench::peak(level, 1));
    }
    Ok(())
}
