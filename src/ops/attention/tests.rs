//! Attention gives the same bits wherever its operands are, and whatever it may keep.

use std::ops::ControlFlow;

use super::{Algorithm, Geometry, Job, TokenRows};
use crate::arch::Level;
use crate::base::buffer::{AlignedBuf, Elements, ElementsMut, cast_mut};
use crate::base::scratch_file::ScratchFile;
use crate::base::storage::Storage;
use crate::kernels::Kernels;
use crate::kernels::threads::Threads;
use crate::ops::exec::Exec;
use crate::ops::place::{Source, Staged, Target};

const F32: usize = size_of::<f32>();

/// Query, key and value as columns of one activation, or each by itself; in memory or in a file.
fn run(
    (tokens, channels): (usize, usize),
    algorithm: Algorithm,
    threads: usize,
    packed_limit: usize,
    in_file: bool,
) -> Vec<u8> {
    let pitch = 3 * channels + 5;
    let mut operands = AlignedBuf::zeroed(tokens * pitch * F32, "test").unwrap();
    for (i, value) in cast_mut::<f32>(&mut operands).iter_mut().enumerate() {
        *value = ((i * 7919 + 13) % 2003) as f32 / 1001.0 - 1.0;
    }
    let mut out = AlignedBuf::zeroed(tokens * channels * F32, "test").unwrap();
    let (read, written) = (operands.len() as u64, out.len() as u64);
    let file = ScratchFile::create(&std::env::temp_dir(), read + written).unwrap();
    let (spilled_in, spilled_out) = (file.region(0..read), file.region(read..read + written));
    spilled_in.write(0, &operands).unwrap();
    if in_file {
        operands.fill(0xff);
    }
    let rows = |first: usize| TokenRows {
        source: match in_file {
            true => Source::File(spilled_in.clone(), Storage::F32),
            false => Source::Memory(Elements::new(Storage::F32, &operands)),
        },
        stride: pitch,
        first,
    };
    let geometry = Geometry::new(tokens, channels, algorithm, packed_limit);
    let (kernels, threads) =
        (Kernels::new(Level::detect().unwrap()).unwrap(), Threads::new(threads).unwrap());
    let staged = match in_file {
        true => Staged { input: pitch * F32, output: channels * F32 },
        false => Staged::default(),
    };
    let bytes = geometry.scratch(kernels.panels(), threads.count(), staged).unwrap();
    let mut scratch = AlignedBuf::zeroed(bytes, "test").unwrap();
    let job =
        Job { geometry, query: rows(0), key: rows(channels), value: rows(2 * channels), staged };
    let target = match in_file {
        true => Target::File(spilled_out.clone(), Storage::F32),
        false => Target::Memory(ElementsMut::new(Storage::F32, &mut out)),
    };
    let exec = Exec { threads: &threads, kernels: &kernels };
    let mut tick = |_, _| ControlFlow::Continue(());
    let flow = job.run(exec, target, &mut scratch, &mut tick).unwrap();
    assert!(flow.is_continue());
    if in_file {
        out.fill(0xff);
        spilled_out.read(0, &mut out).unwrap();
    }
    out.to_vec()
}

#[test]
fn the_bits_depend_on_the_operands_alone() {
    for shape in [(1, 8), (130, 40), (700, 64)] {
        for algorithm in [Algorithm::Streamed, Algorithm::RowByRow] {
            let expected = run(shape, algorithm, 1, usize::MAX, false);
            for (threads, packed_limit, in_file) in
                [(3, usize::MAX, false), (1, 0, false), (2, usize::MAX, true), (3, 0, true)]
            {
                let found = run(shape, algorithm, threads, packed_limit, in_file);
                assert!(
                    found == expected,
                    "{shape:?} {algorithm:?} {threads} {packed_limit} {in_file}"
                );
            }
        }
    }
}
