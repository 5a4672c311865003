use half::{bf16, f16};

use super::super::{Act, AffineAct, Epilogue, Store, Sum};
use super::{Guarded, Numbers, close, levels};
use crate::base::buffer::{AlignedBuf, Elements, ElementsMut, cast_mut};

const CHANNELS: [usize; 8] = [1, 3, 4, 6, 10, 17, 36, 128];
const ACTS: [Option<Act>; 6] = [
    None,
    Some(Act::Silu),
    Some(Act::Mish),
    Some(Act::Gelu),
    Some(Act::Relu),
    Some(Act::SoftClamp),
];

/// The error function in f64: its series, and 1 where that is all there is in f32.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn exact(act: Option<Act>, x: f64) -> f64 {
    match act {
        None => x,
        Some(Act::Silu) => x / (1.0 + (-x).exp()),
        Some(Act::Mish) => x * x.exp().ln_1p().tanh(),
        Some(Act::Gelu) => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
        Some(Act::Relu) => x.max(0.0),
        Some(Act::SoftClamp) => 3.0 * (x / 3.0).tanh(),
    }
}

#[test]
fn activations_agree_with_f64() {
    for kernels in levels() {
        for channels in CHANNELS {
            for act in ACTS {
                let (mut numbers, pixels) = (Numbers(5), 5);
                let (src_stride, dst_stride) = (channels + 3, channels + 5);
                let values: Vec<f32> =
                    numbers.vec(pixels * src_stride).iter().map(|v| v * 9.0).collect();
                let (scale, shift) = (numbers.vec(channels), numbers.vec(channels));
                let halves: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
                let brains: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
                let sources =
                    [Elements::F32(&values), Elements::F16(&halves), Elements::Bf16(&brains)];
                for (src, affine) in sources.into_iter().flat_map(|s| [(s, false), (s, true)]) {
                    let mut dst = Guarded::new(pixels, channels, dst_stride);
                    let job = AffineAct {
                        src,
                        src_stride,
                        pixels,
                        channels,
                        affine: affine.then_some((&scale[..], &shift[..])),
                        act,
                        dst_stride,
                    };
                    kernels.affine_act(&job, dst.inner());
                    dst.check_guards();
                    for pixel in 0..pixels {
                        for c in 0..channels {
                            let at = pixel * src_stride + c;
                            let x = f64::from(match src {
                                Elements::F32(s) => s[at],
                                Elements::F16(s) => s[at].to_f32(),
                                Elements::Bf16(s) => s[at].to_f32(),
                            });
                            let x = if affine {
                                x * f64::from(scale[c]) + f64::from(shift[c])
                            } else {
                                x
                            };
                            let tolerance = 2e-6 * x.abs().max(1.0);
                            close(
                                dst.at(pixel, c),
                                exact(act, x),
                                tolerance,
                                &(kernels.level(), act, channels, c),
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Runs `act` on `values`, a pixel of one channel each, and as one pixel of many.
fn apply(kernels: &super::Kernels, act: Act, values: &[f32]) -> Vec<f32> {
    let mut dst = vec![0.0; values.len()];
    let n = values.len();
    let job = AffineAct {
        src: Elements::F32(values),
        src_stride: n,
        pixels: 1,
        channels: n,
        affine: None,
        act: Some(act),
        dst_stride: n,
    };
    kernels.affine_act(&job, &mut dst);
    dst
}

#[test]
fn extremes_are_sane() {
    const FAR: f32 = 1e38;
    let inputs = [-FAR, -200.0, -100.0, -88.0, -0.0, 0.0, 88.0, 100.0, 200.0, FAR, f32::NAN, 1e-30];
    for kernels in levels() {
        for act in [Act::Silu, Act::Mish, Act::Gelu, Act::Relu] {
            let found = apply(&kernels, act, &inputs);
            for (&x, &y) in inputs.iter().zip(&found) {
                let what = (kernels.level(), act, x);
                match x {
                    x if x.is_nan() => assert!(y.is_nan(), "{what:?}: {y}"),
                    x if x >= 88.0 => assert_eq!(y, x, "{what:?}"),
                    x if x <= -88.0 => assert!(y.abs() < 1e-30, "{what:?}: {y}"),
                    x => assert!((y - x).abs() <= 1e-30 || y.abs() <= x.abs(), "{what:?}: {y}"),
                }
            }
        }
    }
}

#[test]
fn silu_is_precise_over_its_whole_range() {
    // A million values: 2 ulp of the exponential, one of the sum and one of the quotient.
    for kernels in levels() {
        let values: Vec<f32> = (0..500_000)
            .map(|i| (i as f32 / 500_000.0 - 0.5) * 170.0)
            .flat_map(|x| [x, x * 0.01])
            .collect();
        let found = apply(&kernels, Act::Silu, &values);
        let mut worst = 0.0_f64;
        for (&x, &y) in values.iter().zip(&found) {
            let expected = exact(Some(Act::Silu), f64::from(x));
            let magnitude = (expected.abs() as f32).max(f32::MIN_POSITIVE);
            let ulp = f64::from(magnitude.next_up()) - f64::from(magnitude);
            worst = worst.max((f64::from(y) - expected).abs() / ulp);
        }
        println!("{}: silu within {worst:.2} ulp", kernels.level());
        assert!(worst <= 4.0, "{}: {worst} ulp", kernels.level());
    }
}

#[test]
fn stores_round_add_and_sum() {
    for kernels in levels() {
        for channels in CHANNELS {
            let ways = [(false, false), (true, false), (false, true), (true, true)];
            let all = [Epilogue::None, Epilogue::Act(Act::Relu), Epilogue::Signed];
            let all = ways.iter().flat_map(|way| all.map(|epilogue| (way, epilogue)));
            for (&(residual, stream), epilogue) in all {
                // Streams need lines that are aligned.
                let stride = if stream { channels.next_multiple_of(16) + 16 } else { channels + 4 };
                let (mut numbers, pixels) = (Numbers(11), 7);
                let acc = numbers.vec(pixels * (channels + 2));
                let before = numbers.vec(pixels * stride);
                let job = |dst_stride| Store {
                    acc: &acc,
                    acc_stride: channels + 2,
                    pixels,
                    channels,
                    residual,
                    epilogue,
                    stream,
                    dst_stride,
                };
                let mut aligned = AlignedBuf::zeroed(before.len() * 4, "f32 activations").unwrap();
                let f32s: &mut [f32] = cast_mut(&mut aligned);
                f32s.copy_from_slice(&before);
                let mut f16s: Vec<f16> = before.iter().map(|&v| f16::from_f32(v)).collect();
                let mut bf16s: Vec<bf16> = before.iter().map(|&v| bf16::from_f32(v)).collect();
                let before: [Vec<f32>; 3] = [
                    before.clone(),
                    f16s.iter().map(|v| v.to_f32()).collect(),
                    bf16s.iter().map(|v| v.to_f32()).collect(),
                ];
                let mut sums = vec![vec![Sum { sum: 1.0, square: 2.0 }; channels]; 3];
                kernels.store(&job(stride), ElementsMut::F32(f32s), Some(&mut sums[0]));
                kernels.store(&job(stride), ElementsMut::F16(&mut f16s), Some(&mut sums[1]));
                kernels.store(&job(stride), ElementsMut::Bf16(&mut bf16s), Some(&mut sums[2]));
                let rounded: [Vec<f32>; 3] = [
                    f32s.to_vec(),
                    f16s.iter().map(|v| v.to_f32()).collect(),
                    bf16s.iter().map(|v| v.to_f32()).collect(),
                ];
                let round: [fn(f32) -> f32; 3] =
                    [|v| v, |v| f16::from_f32(v).to_f32(), |v| bf16::from_f32(v).to_f32()];
                for (kind, round) in round.into_iter().enumerate() {
                    let mut expected = vec![Sum { sum: 1.0, square: 2.0 }; channels];
                    for (at, (&found, &before)) in
                        rounded[kind].iter().zip(&before[kind]).enumerate()
                    {
                        let (pixel, c) = (at / stride, at % stride);
                        if c >= channels {
                            assert_eq!(found, before, "a gap was written");
                            continue;
                        }
                        let x = acc[pixel * (channels + 2) + c];
                        let x = if residual { x + before } else { x };
                        let x = round(match epilogue {
                            Epilogue::None => x,
                            Epilogue::Act(_) => x.max(0.0),
                            Epilogue::Signed => 2.0 * x - 1.0,
                        });
                        // A zero may have either sign.
                        assert_eq!(
                            (found + 0.0).to_bits(),
                            (x + 0.0).to_bits(),
                            "{} {kind} {channels}",
                            kernels.level()
                        );
                        expected[c].sum += f64::from(x);
                        expected[c].square += f64::from(x) * f64::from(x);
                    }
                    for (found, expected) in sums[kind].iter().zip(&expected) {
                        assert!((found.sum - expected.sum).abs() < 1e-12);
                        assert!((found.square - expected.square).abs() < 1e-12);
                    }
                }
            }
        }
    }
}

#[test]
fn rounding_is_that_of_the_half_crate() {
    // Every upper half of an f32, with lower halves around the ties: infinities, NaN and denormals
    // too.
    let values: Vec<f32> = (0..=u16::MAX)
        .flat_map(|high| {
            [0, 1, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff]
                .map(|low| f32::from_bits(u32::from(high) << 16 | low))
        })
        .collect();
    for kernels in levels() {
        let n = values.len();
        let job = Store {
            acc: &values,
            acc_stride: n,
            pixels: 1,
            channels: n,
            residual: false,
            epilogue: Epilogue::None,
            stream: false,
            dst_stride: n,
        };
        let (mut halves, mut brains) = (vec![f16::ZERO; n], vec![bf16::ZERO; n]);
        kernels.store(&job, ElementsMut::F16(&mut halves), None);
        kernels.store(&job, ElementsMut::Bf16(&mut brains), None);
        for (i, &value) in values.iter().enumerate() {
            let (half, brain) = (f16::from_f32(value), bf16::from_f32(value));
            assert!(halves[i] == half || (value.is_nan() && halves[i].is_nan()), "{value}");
            assert!(brains[i] == brain || (value.is_nan() && brains[i].is_nan()), "{value}");
        }
    }
}

#[test]
fn what_is_not_finite_shows_in_the_sums() {
    for kernels in levels() {
        for (value, f16_finite) in
            [(f32::NAN, false), (f32::INFINITY, false), (1e5, false), (6e4, true)]
        {
            let mut acc = vec![1.0; 40];
            acc[17] = value;
            let job = Store {
                acc: &acc,
                acc_stride: 40,
                pixels: 1,
                channels: 40,
                residual: false,
                epilogue: Epilogue::None,
                stream: false,
                dst_stride: 40,
            };
            let (mut dst, mut sums) = (vec![f16::ZERO; 40], vec![Sum::default(); 40]);
            kernels.store(&job, ElementsMut::F16(&mut dst), Some(&mut sums));
            for (c, sum) in sums.iter().enumerate() {
                assert_eq!(sum.square.is_finite(), c != 17 || f16_finite, "{value} {c}");
            }
        }
    }
}
