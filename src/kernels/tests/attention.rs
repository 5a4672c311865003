use super::super::Softmax;
use super::{Guarded, Numbers, close, levels};

#[test]
fn a_running_softmax_is_the_softmax() {
    for kernels in levels() {
        for (rows, blocks) in
            [(1, vec![1]), (3, vec![64, 64, 5]), (5, vec![17, 3, 1, 33]), (2, vec![130])]
        {
            let (mut numbers, scale) = (Numbers(9), 0.7_f32);
            let total: usize = blocks.iter().sum();
            // Large enough that a softmax without its maximum would overflow.
            let scores: Vec<f32> = numbers.vec(rows * total).iter().map(|v| v * 300.0).collect();
            let (mut maximum, mut sum) = (vec![f32::NEG_INFINITY; rows], vec![0.0; rows]);
            let mut correction = vec![0.0; rows];
            let mut found = vec![vec![0.0_f64; total]; rows];
            let mut first = 0;
            for &columns in &blocks {
                let mut block = Guarded::new(rows, columns, columns + 6);
                for row in 0..rows {
                    block.inner()[row * (columns + 6)..][..columns]
                        .copy_from_slice(&scores[row * total + first..][..columns]);
                }
                let job = Softmax { rows, columns, stride: columns + 6, scale };
                kernels.softmax_update(
                    &job,
                    block.inner(),
                    &mut maximum,
                    &mut sum,
                    &mut correction,
                );
                block.check_guards();
                for (row, found) in found.iter_mut().enumerate() {
                    for value in &mut found[..first] {
                        *value *= f64::from(correction[row]);
                    }
                    for column in 0..columns {
                        found[first + column] = f64::from(block.at(row, column));
                    }
                }
                first += columns;
            }
            for row in 0..rows {
                let exact: Vec<f64> = scores[row * total..][..total]
                    .iter()
                    .map(|&s| f64::from(s) * f64::from(scale))
                    .collect();
                let largest = exact.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let all: f64 = exact.iter().map(|s| (s - largest).exp()).sum();
                for (found, exact) in found[row].iter().zip(&exact) {
                    let found = (found / f64::from(sum[row])) as f32;
                    // Scores of 200 are themselves only known to 1e-5.
                    close(
                        found,
                        (exact - largest).exp() / all,
                        3e-5,
                        &(kernels.level(), rows, total),
                    );
                }
            }
        }
    }
}

#[test]
fn rows_are_scaled_in_place() {
    for kernels in levels() {
        for columns in [1, 5, 16, 37] {
            let mut numbers = Numbers(2);
            let (before, factors) = (numbers.vec(4 * columns), numbers.vec(4));
            let mut values = Guarded::new(4, columns, columns + 3);
            for row in 0..4 {
                values.inner()[row * (columns + 3)..][..columns]
                    .copy_from_slice(&before[row * columns..][..columns]);
            }
            kernels.scale_rows(values.inner(), 4, columns, columns + 3, &factors);
            values.check_guards();
            for row in 0..4 {
                for column in 0..columns {
                    assert_eq!(
                        values.at(row, column),
                        before[row * columns + column] * factors[row]
                    );
                }
            }
        }
    }
}
