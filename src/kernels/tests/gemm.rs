use super::super::{Gemm, Init, Kernels, Prefetch};
use super::{Guarded, Numbers, bytes, close, levels};

struct Case {
    rows: usize,
    taps: Vec<usize>,
    depth: usize,
    panels: usize,
    a_stride: usize,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for rows in (1..=30).chain([56]) {
        cases.push(Case { rows, taps: vec![0], depth: 27, panels: 1, a_stride: 27 });
    }
    for depth in [1, 3, 4, 16, 17, 130] {
        // A 3x3 filter over a band of 10 columns.
        let taps = (0..9).map(|t| (t / 3 * 10 + t % 3) * (depth + 5)).collect();
        cases.push(Case { rows: 8, taps, depth, panels: 3, a_stride: depth + 5 });
    }
    cases.push(Case { rows: 7, taps: vec![3, 0, 50], depth: 9, panels: 2, a_stride: 24 });
    cases
}

fn extent(case: &Case) -> usize {
    (case.rows - 1) * case.a_stride + case.taps.iter().max().unwrap() + case.depth
}

#[test]
fn products_agree_with_plain_loops() {
    for kernels in levels() {
        let nr = kernels.panels().width();
        for case in cases() {
            let mut numbers = Numbers(7);
            // Exactly as long as the kernel may read: a read beyond is found by valgrind or the
            // sanitizer.
            let a = numbers.vec(extent(&case));
            let columns = case.panels * nr;
            let k = case.taps.len() * case.depth;
            let b = numbers.vec(k * columns);
            let bias = numbers.vec(columns);
            for init in [Init::Zero, Init::Bias(&bias), Init::Keep] {
                let mut c = Guarded::new(case.rows, columns, columns + 7);
                let before = numbers.vec(case.rows);
                for (row, &before) in c.inner().chunks_mut(columns + 7).zip(&before) {
                    row[..columns].fill(before);
                }
                let gemm = Gemm {
                    a: &a,
                    a_stride: case.a_stride,
                    rows: case.rows,
                    taps: &case.taps,
                    depth: case.depth,
                    b: bytes(&b),
                    columns,
                    init,
                    c_stride: columns + 7,
                    prefetch: Prefetch::Panel,
                };
                kernels.gemm(&gemm, c.inner());
                c.check_guards();
                for row in 0..case.rows {
                    for column in 0..columns {
                        let start = match init {
                            Init::Zero => 0.0,
                            Init::Bias(bias) => bias[column],
                            Init::Keep => before[row],
                        };
                        let (mut sum, mut size) = (f64::from(start), 1.0);
                        for (t, &tap) in case.taps.iter().enumerate() {
                            for i in 0..case.depth {
                                let x = f64::from(a[row * case.a_stride + tap + i]);
                                let panel = column / nr * k * nr;
                                let w = b[panel + (t * case.depth + i) * nr + column % nr];
                                sum += x * f64::from(w);
                                size += (x * f64::from(w)).abs();
                            }
                        }
                        // A chain of k roundings, each at most half an ulp of the sum so far.
                        let what = (kernels.level(), case.rows, case.depth, row, column);
                        close(c.at(row, column), sum, size * 1e-6, &what);
                    }
                }
            }
        }
    }
}

/// Runs rows `cuts` of one product separately and gives all of `c`.
fn cut(kernels: &Kernels, a: &[f32], b: &[f32], cuts: &[usize]) -> Vec<u32> {
    let (depth, stride, columns) = (100, 103, 2 * kernels.panels().width());
    let rows: usize = cuts.iter().sum();
    let mut c = vec![0.0; rows * columns];
    let mut first = 0;
    for &rows in cuts {
        let gemm = Gemm {
            a: &a[first * stride..],
            a_stride: stride,
            rows,
            taps: &[0, 3],
            depth,
            b: bytes(b),
            columns,
            init: Init::Zero,
            c_stride: columns,
            prefetch: Prefetch::Panel,
        };
        kernels.gemm(&gemm, &mut c[first * columns..]);
        first += rows;
    }
    c.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn the_bits_of_a_row_do_not_depend_on_the_others() {
    for kernels in levels() {
        let mut numbers = Numbers(3);
        let (a, b) = (numbers.vec(41 * 103), numbers.vec(2 * 200 * kernels.panels().width()));
        let whole = cut(&kernels, &a, &b, &[40]);
        for cuts in [vec![1; 40], vec![13, 27], vec![14, 14, 12], vec![6, 6, 28], vec![39, 1]] {
            assert!(cut(&kernels, &a, &b, &cuts) == whole, "{} {cuts:?}", kernels.level());
        }
    }
}

#[test]
#[should_panic]
fn a_row_too_many_is_refused() {
    let kernels = levels().next().unwrap();
    let columns = kernels.panels().width();
    let (a, b, mut c) = (vec![0.0; 29], vec![0.0; 10 * columns], vec![0.0; 3 * columns]);
    let gemm = Gemm {
        a: &a,
        a_stride: 10,
        rows: 3,
        taps: &[0],
        depth: 10,
        b: bytes(&b),
        columns,
        init: Init::Zero,
        c_stride: columns,
        prefetch: Prefetch::Panel,
    };
    kernels.gemm(&gemm, &mut c);
}
