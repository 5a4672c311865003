//! Memory that a call writes to: NaN between guards.

use std::ffi::c_void;

use super::super::choices::Choices;
use super::abi::Image;

/// What stands before and after every output.
pub const GUARD: u8 = 0xa5;
const MARGIN: usize = 64;

/// Bytes between guards, 64-byte aligned: what an output is written to.
pub struct Zone {
    memory: Vec<u128>,
    start: usize,
    pub len: usize,
}

impl Zone {
    /// `len` bytes of NaN in every type that has one.
    pub fn new(len: usize) -> Self {
        let memory = vec![u128::from_ne_bytes([GUARD; 16]); (len + 3 * MARGIN) / 16 + 1];
        let start = MARGIN + memory.as_ptr().cast::<u8>().align_offset(MARGIN) % MARGIN;
        let mut zone = Self { memory, start, len };
        zone.bytes().fill(0xff);
        zone
    }

    pub fn all(&mut self) -> &mut [u8] {
        let (at, len) = (self.memory.as_mut_ptr().cast(), self.memory.len() * 16);
        // SAFETY: the same memory, borrowed as long as `self`; any bytes are numbers.
        unsafe { std::slice::from_raw_parts_mut(at, len) }
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        let (start, len) = (self.start, self.len);
        &mut self.all()[start..start + len]
    }

    pub fn pointer(&mut self) -> *mut c_void {
        self.bytes().as_mut_ptr().cast()
    }

    /// Fills in values of type `dtype` that a call accepts, or now and then one that it does not.
    pub fn fill(&mut self, dtype: u32, choices: &mut Choices<'_>) {
        let wild = choices.below(16) == 0;
        let mut mixed = u32::from(choices.byte());
        let size = bytes_of(dtype);
        for element in self.bytes().chunks_exact_mut(size) {
            mixed = mixed.wrapping_mul(0x9e37_79b9).wrapping_add(u32::from(choices.byte()) + 1);
            let value = (mixed >> 8) as f32 / (1 << 24) as f32;
            let mut bits = match dtype {
                1 => u32::from(half::f16::from_f32(value).to_bits()),
                2 => u32::from(half::bf16::from_f32(value).to_bits()),
                3 => mixed >> 24,
                _ => value.to_bits(),
            };
            if wild && mixed >> 28 == 0 {
                bits = !0;
            }
            element.copy_from_slice(&bits.to_le_bytes()[..size]);
        }
    }

    pub fn check_guards(&mut self, call: &str) {
        let (start, end) = (self.start, self.start + self.len);
        let all = self.all();
        let intact = |bytes: &[u8]| bytes.iter().all(|&byte| byte == GUARD);
        assert!(intact(&all[..start]) && intact(&all[end..]), "{call}: a guard was written");
    }
}

pub fn bytes_of(dtype: u32) -> usize {
    match dtype {
        1 | 2 => 2,
        3 => 1,
        _ => 4,
    }
}

/// A picture with the memory that its view is of.
pub struct Picture {
    pub zone: Zone,
    pub view: Image,
}

impl Picture {
    /// Of `channels`, `width` and `height`; strides are packed or have gaps.
    pub fn new(choices: &mut Choices<'_>, [channels, height, width]: [u32; 3]) -> Self {
        let (dtype, layout) = (choices.pick(&[0, 1, 2, 3]), choices.pick(&[0, 1]));
        let size = bytes_of(dtype);
        let samples = if layout == 0 { channels * width } else { width } as usize;
        let gap = size * choices.below(5);
        let row = samples * size + gap;
        let rows = height as usize;
        let plane = row * rows + gap;
        let planes = if layout == 0 { 1 } else { channels as usize };
        let len = (planes - 1) * plane + (rows - 1) * row + samples * size;
        let mut zone = Zone::new(len);
        let packed = gap == 0;
        let view = Image {
            data: zone.pointer(),
            width,
            height,
            dtype,
            layout,
            row_stride: if packed { 0 } else { row },
            plane_stride: if packed { 0 } else { plane },
        };
        Self { zone, view }
    }
}
