use super::super::{Gemm, Init, Kernels, PackConv, Prefetch, TileShape, Winograd};
use super::{GUARD, MARGIN, Numbers, bytes, bytes_mut, levels};
use crate::base::encoding::Dense;
use crate::base::weight::DenseWeight;

const ALL: [Winograd; 5] =
    [Winograd::F4, Winograd::F6, Winograd::F8, Winograd::Doubled, Winograd::Halved];

/// A rectangle of tiles with all that a convolution of them needs.
struct Case {
    winograd: Winograd,
    down: usize,
    across: usize,
    in_channels: usize,
    out_channels: usize,
    /// Pixels that the tiles reach, `[row][column][in_channels.next_multiple_of(16)]`.
    pixels: Vec<f32>,
    /// `[out_channels][in_channels][3][3]`.
    filters: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn new(winograd: Winograd, down: usize, across: usize, channels: (usize, usize)) -> Self {
        let (in_channels, out_channels) = channels;
        let mut numbers = Numbers(19);
        let case = Self {
            winograd,
            down,
            across,
            in_channels,
            out_channels,
            pixels: Vec::new(),
            filters: numbers.vec(out_channels * in_channels * 9),
            bias: numbers.vec(out_channels.next_multiple_of(32)),
        };
        let (rows, columns) = case.reach();
        Self { pixels: numbers.vec(rows * columns * case.pixel_stride()), ..case }
    }

    fn reach(&self) -> (usize, usize) {
        let reach = |tiles| (tiles - 1) * self.winograd.step() + self.winograd.inputs();
        (reach(self.down), reach(self.across))
    }

    fn pixel_stride(&self) -> usize {
        self.in_channels.next_multiple_of(16)
    }

    fn outputs(&self) -> (usize, usize) {
        (self.down * self.winograd.outputs(), self.across * self.winograd.outputs())
    }

    /// The convolution as its definition has it, in f64: row `y` and column `x` of the tiles'
    /// outputs. Outputs of a doubled picture begin a row and a column before those of the tiles'
    /// second inputs.
    fn expected(&self, y: usize, x: usize, channel: usize) -> f64 {
        let input = |y: usize, x: usize, from: usize| {
            f64::from(self.pixels[(y * self.reach().1 + x) * self.pixel_stride() + from])
        };
        let mut sum = f64::from(self.bias[channel]);
        for from in 0..self.in_channels {
            for (tap, &weight) in
                self.filters[(channel * self.in_channels + from) * 9..][..9].iter().enumerate()
            {
                let (down, right) = (tap / 3, tap % 3);
                let value = match self.winograd {
                    Winograd::Doubled => input((y + down) / 2, (x + right) / 2, from),
                    Winograd::Halved => input(2 * y + down, 2 * x + right, from),
                    _ => input(y + down, x + right, from),
                };
                sum += f64::from(weight) * value;
            }
        }
        sum
    }

    /// The outputs by way of all kernels, `[row][column][columns of the panels]` between guards.
    fn run(&self, kernels: &Kernels) -> (Vec<f32>, usize) {
        let (winograd, tiles) = (self.winograd, self.down * self.across);
        let nr = kernels.panels().width();
        let panels = self.out_channels.div_ceil(nr);
        let (depth, columns) = (self.in_channels, panels * nr);
        let weight: Vec<u8> = self.filters.iter().flat_map(|v| v.to_le_bytes()).collect();
        let pack = PackConv {
            weight: DenseWeight { bytes: &weight, dtype: Dense::F32 },
            out_channels: self.out_channels,
            in_channels: depth,
            taps: 9,
        };
        let filter_stride = panels * nr * depth + 16;
        let mut filters = vec![GUARD; winograd.filters() * filter_stride];
        for panel in 0..panels {
            let at = panel * nr * depth;
            let row_stride = 3 * nr * depth + 16;
            let mut columns = vec![GUARD; winograd.columns() * row_stride];
            let (channels, dst) = (0..depth, &mut columns);
            kernels.winograd_filter_columns(winograd, &pack, panel, channels, row_stride, dst);
            for (phase, y, row) in winograd.rows() {
                let from = &columns[winograd.column(phase, y) * row_stride..][..row_stride - 16];
                let to = &mut filters[row.start * filter_stride + at..];
                let (to, stride) = (bytes_mut(to), 4 * filter_stride);
                kernels.winograd_filter_row(winograd, phase, row.len(), from, stride, to);
            }
        }
        for gap in filters.chunks_exact(filter_stride) {
            assert!(gap[..filter_stride - 16].iter().all(|&v| v != GUARD), "left unwritten");
            assert!(
                gap[filter_stride - 16..].iter().all(|&v| v == GUARD),
                "written between points"
            );
        }

        let tile_stride = self.pixel_stride() + 16;
        let input_point = tiles * tile_stride;
        let mut inputs = vec![GUARD; MARGIN + winograd.points() * input_point + MARGIN];
        let shape = TileShape {
            down: self.down,
            across: self.across,
            row_stride: self.reach().1 * self.pixel_stride(),
            pixel_stride: self.pixel_stride(),
            tile_stride,
            point_stride: input_point,
            channels: self.pixel_stride(),
        };
        kernels.winograd_input(winograd, &shape, &self.pixels, &mut inputs[MARGIN..]);
        for (at, &value) in inputs.iter().enumerate() {
            let inside = at.checked_sub(MARGIN).is_some_and(|at| {
                at < winograd.points() * input_point && at % tile_stride < self.pixel_stride()
            });
            assert_eq!(inside, value != GUARD, "inputs at {at}");
        }

        let product_point = tiles * columns;
        let mut products = vec![0.0; winograd.points() * product_point];
        let (rows, width) = self.outputs();
        let mut out = vec![GUARD; MARGIN + rows * width * columns + MARGIN];
        let mut met = vec![false; winograd.filters()];
        for phase in 0..winograd.phases() {
            for point in 0..winograd.points() {
                let Some(filter) = winograd.filter(phase, point) else { continue };
                met[filter] = true;
                let gemm = Gemm {
                    a: &inputs[MARGIN + point * input_point..],
                    a_stride: tile_stride,
                    rows: tiles,
                    taps: &[0],
                    depth,
                    b: bytes(&filters[filter * filter_stride..][..filter_stride]),
                    columns: self.out_channels,
                    init: Init::Zero,
                    c_stride: columns,
                    prefetch: Prefetch::Panel,
                };
                kernels.gemm(&gemm, &mut products[point * product_point..]);
            }
            let (apart, (down_by, right_by)) = winograd.phase(phase);
            let shape = TileShape {
                down: self.down,
                across: self.across,
                row_stride: apart * width * columns,
                pixel_stride: apart * columns,
                tile_stride: columns,
                point_stride: product_point,
                channels: columns,
            };
            let at = MARGIN + (down_by * width + right_by) * columns;
            let end = out.len() - MARGIN;
            kernels.winograd_output(winograd, &shape, &products, &self.bias, &mut out[at..end]);
        }
        assert!(met.iter().all(|&met| met), "each filter meets a point");
        (out, columns)
    }
}

/// The tolerance is twice what the last outputs of a tile are off at most, where the powers of the
/// points are largest: as a part of the root of the channels that are summed, which the outputs
/// themselves are of the size of, 4e-5, and 3.3e-4 with F(8, 3). A wrong coefficient is off by as
/// much as that root.
#[test]
fn tiles_are_what_the_convolution_gives() {
    for kernels in levels() {
        for winograd in ALL {
            for (down, across, channels) in
                [(1, 1, (16, 1)), (1, 2, (5, 33)), (2, 3, (40, 32)), (3, 1, (128, 70))]
            {
                let case = Case::new(winograd, down, across, channels);
                let (out, columns) = case.run(&kernels);
                let (rows, width) = case.outputs();
                let part = if winograd == Winograd::F8 { 6.6e-4 } else { 8e-5 };
                let tolerance = part * (channels.0 as f64).sqrt();
                for (at, &found) in out.iter().enumerate() {
                    let inside = at.checked_sub(MARGIN).filter(|&at| at < rows * width * columns);
                    let Some(at) = inside else {
                        assert_eq!(found, GUARD, "written outside of the tiles");
                        continue;
                    };
                    let (pixel, channel) = (at / columns, at % columns);
                    if channel < case.out_channels {
                        let expected = case.expected(pixel / width, pixel % width, channel);
                        let what = (kernels.level(), winograd, down, across, pixel, channel);
                        super::close(found, expected, tolerance, &what);
                    }
                }
            }
        }
    }
}
