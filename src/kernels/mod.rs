pub(crate) mod threads;
use crate::arch::Level; use crate::base::buffer::*; use crate::base::dtype::DType;
#[derive(Clone, Copy, Debug, PartialEq)] pub(crate) enum Act { Silu, Mish, Gelu, Relu }
#[derive(Clone, Copy, Default, Debug)] pub(crate) struct Sum { pub(crate) sum: f64, pub(crate) square: f64 }
impl std::ops::Add for Sum { type Output = Sum; fn add(self, o: Sum) -> Sum { Sum { sum: self.sum + o.sum, square: self.square + o.square } } }
#[derive(Clone, Copy)] pub(crate) struct Kernels {}
pub(crate) struct AffineAct<'a> { pub(crate) src: Elements<'a>, pub(crate) src_stride: usize, pub(crate) pixels: usize, pub(crate) channels: usize, pub(crate) affine: Option<(&'a [f32], &'a [f32])>, pub(crate) act: Option<Act>, pub(crate) dst_stride: usize }
pub(crate) struct Gemm<'a> { pub(crate) a: &'a [f32], pub(crate) a_stride: usize, pub(crate) rows: usize, pub(crate) taps: &'a [usize], pub(crate) depth: usize, pub(crate) b: &'a [f32], pub(crate) panels: usize, pub(crate) init: Init<'a>, pub(crate) c_stride: usize }
pub(crate) enum Init<'a> { Zero, Bias(&'a [f32]), Keep }
pub(crate) struct Store<'a> { pub(crate) acc: &'a [f32], pub(crate) acc_stride: usize, pub(crate) pixels: usize, pub(crate) channels: usize, pub(crate) residual: bool, pub(crate) dst_stride: usize }
pub(crate) struct Softmax { pub(crate) rows: usize, pub(crate) columns: usize, pub(crate) stride: usize, pub(crate) scale: f32 }
pub(crate) struct PackConv<'a> { pub(crate) weight: &'a [u8], pub(crate) dtype: DType, pub(crate) out_channels: usize, pub(crate) in_channels: usize, pub(crate) taps: usize }
fn get(e: Elements, i: usize) -> f32 { match e { Elements::F32(s) => s[i], Elements::F16(s) => s[i].to_f32(), Elements::Bf16(s) => s[i].to_f32() } }
const NR: usize = 16;
impl Kernels {
    pub(crate) fn new(_: Level) -> Self { Kernels {} }
    pub(crate) fn level(&self) -> Level { Level::Portable }
    pub(crate) fn nr(&self) -> usize { NR }
    pub(crate) fn gemm(&self, g: &Gemm, c: &mut [f32]) {
        for i in 0..g.rows { for p in 0..g.panels { 
            let mut acc = [0f32; NR];
            for j in 0..NR { acc[j] = match g.init { Init::Zero => 0.0, Init::Bias(b) => b[p*NR+j], Init::Keep => c[i*g.c_stride+p*NR+j] }; }
            for (t, &tap) in g.taps.iter().enumerate() { for k in 0..g.depth { let a = g.a[i*g.a_stride+tap+k]; let b = &g.b[(p*g.taps.len()*g.depth + t*g.depth+k)*NR..][..NR]; for j in 0..NR { acc[j] += a*b[j]; } } }
            c[i*g.c_stride+p*NR..][..NR].copy_from_slice(&acc);
        } }
    }
    pub(crate) fn affine_act(&self, j: &AffineAct, dst: &mut [f32]) {
        for p in 0..j.pixels { for c in 0..j.channels { let mut v = get(j.src, p*j.src_stride+c); if let Some((a,b)) = j.affine { v = v*a[c]+b[c]; }
            v = match j.act { None => v, Some(Act::Silu) => v/(1.0+(-v).exp()), Some(Act::Relu) => v.max(0.0), Some(Act::Mish) => v*(1.0+v.exp()).ln().tanh(), Some(Act::Gelu) => 0.5*v*(1.0+libm_erf(v/2f32.sqrt())) };
            dst[p*j.dst_stride+c] = v; } }
    }
    pub(crate) fn store(&self, j: &Store, mut dst: ElementsMut, mut sums: Option<&mut [Sum]>) {
        for p in 0..j.pixels { for c in 0..j.channels { let mut v = j.acc[p*j.acc_stride+c]; let i = p*j.dst_stride+c;
            let s = match &mut dst { ElementsMut::F32(d) => { if j.residual { v += d[i]; } d[i] = v; v }
                ElementsMut::F16(d) => { if j.residual { v += d[i].to_f32(); } d[i] = half::f16::from_f32(v); d[i].to_f32() }
                ElementsMut::Bf16(d) => { if j.residual { v += d[i].to_f32(); } d[i] = half::bf16::from_f32(v); d[i].to_f32() } };
            if let Some(x) = &mut sums { x[c].sum += s as f64; x[c].square += s as f64 * s as f64; } } }
    }
    pub(crate) fn softmax_update(&self, s: &Softmax, sc: &mut [f32], max: &mut [f32], sum: &mut [f32], corr: &mut [f32]) {
        for r in 0..s.rows { let row = &mut sc[r*s.stride..][..s.columns]; let m = row.iter().fold(max[r], |m,&x| m.max(x*s.scale)); corr[r] = (max[r]-m).exp(); let mut t = 0.0; for x in row { *x = (*x*s.scale-m).exp(); t += *x; } sum[r] = sum[r]*corr[r]+t; max[r] = m; }
    }
    pub(crate) fn scale_rows(&self, v: &mut [f32], rows: usize, cols: usize, stride: usize, f: &[f32]) { for r in 0..rows { for x in &mut v[r*stride..][..cols] { *x *= f[r]; } } }
    pub(crate) fn pack_conv(&self, j: &PackConv, panel: usize, dst: &mut [f32]) {
        for t in 0..j.taps { for i in 0..j.in_channels { for l in 0..NR { let o = panel*NR+l; let e = (o*j.in_channels+i)*j.taps+t; let z = j.dtype.size();
            dst[(t*j.in_channels+i)*NR+l] = if o < j.out_channels { let b = &j.weight[e*z..][..z]; match j.dtype { DType::F32 => f32::from_le_bytes(b.try_into().unwrap()), DType::F64 => f64::from_le_bytes(b.try_into().unwrap()) as f32, DType::F16 => half::f16::from_le_bytes(b.try_into().unwrap()).to_f32(), DType::Bf16 => half::bf16::from_le_bytes(b.try_into().unwrap()).to_f32() } } else { 0.0 }; } } }
    }
    pub(crate) fn pack_rows_transposed(&self, rows: Elements, stride: usize, n: usize, depth: usize, dst: &mut [f32]) { for k in 0..depth { for l in 0..NR { dst[k*NR+l] = if l < n { get(rows, l*stride+k) } else { 0.0 }; } } }
    pub(crate) fn pack_rows(&self, rows: Elements, stride: usize, depth: usize, n: usize, dst: &mut [f32]) { for p in 0..n.div_ceil(NR) { for k in 0..depth { for l in 0..NR { dst[(p*depth+k)*NR+l] = if p*NR+l < n { get(rows, k*stride+p*NR+l) } else { 0.0 }; } } } }
}
fn libm_erf(x: f32) -> f32 { let t = 1.0/(1.0+0.3275911*x.abs()); let y = 1.0-(((((1.061405429*t-1.453152027)*t)+1.421413741)*t-0.284496736)*t+0.254829592)*t*(-x*x).exp(); y.copysign(x) }
