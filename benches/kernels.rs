//! GFLOP/s of the matrix kernel, one thread, at every CPU level, and its share of the peak of fused
//! multiply-adds measured in the same process.
//!
//!     cargo bench --features bench --bench kernels

use vaekl::{Level, bench};

fn main() {
    for level in Level::available() {
        let peak = bench::peak(level, 1);
        println!("{level}: peak {peak:.1} GFLOP/s");
        for (what, rows, taps, depth, columns) in [
            ("3x3, 128 to 128 channels", 56, 9, 128, 128),
            ("3x3, 512 to 512 channels", 56, 9, 512, 512),
            ("a point of Winograd, 128 to 64", 52, 1, 128, 64),
            ("a point of Winograd, 256 to 64", 52, 1, 256, 64),
            ("a point of Winograd, 512 to 64", 52, 1, 512, 64),
            ("the same with 11 tiles", 11, 1, 512, 64),
        ] {
            let rate = bench::gemm(level, rows, taps, depth, columns);
            println!("  {what:<32} {rate:6.1} GFLOP/s, {:.0} %", rate / peak * 100.0);
        }
        println!("  peak again {:.1} GFLOP/s", bench::peak(level, 1));
    }
}
