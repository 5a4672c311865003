//! What a session promises beside its numbers: the same bits whatever the threads, progress,
//! cancelling, clear errors, and a plan that holds.

mod support;

use std::io::ErrorKind as ErrorOfIo;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use ndarray::{Array4, Axis, s};
use support::{Fixture, encoder_values, f32x4};
use vaekl::{
    CancelToken, Error, ErrorKind, Model, ModelOptions, Parts, Progress, Session, SessionOptions,
    Storage, Tiling, plan_decode,
};

fn options(threads: usize, dtype: Storage) -> SessionOptions {
    let mut options = SessionOptions::default();
    (options.threads, options.activation_dtype) = (threads, dtype);
    options
}

fn sd_like() -> (Fixture, Model) {
    let fixture = Fixture::open("sd_like");
    let model = fixture.model(|config| config.force_upcast = false);
    (fixture, model)
}

/// Latents large enough for many blocks.
fn latents(channels: usize) -> Array4<f32> {
    Array4::from_shape_fn((1, channels, 17, 23), |(_, c, y, x)| {
        ((c * 31 + y * 7 + x * 3) as f32 * 0.7).sin()
    })
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let (_, model) = sd_like();
    for dtype in [Storage::F32, Storage::Bf16, Storage::F16] {
        let run = |threads| {
            let mut session = Session::new(&model, &options(threads, dtype)).unwrap();
            let picture = session.decode(latents(4).view()).unwrap().sample;
            let moments = encoder_values(&session.encode(picture.view()).unwrap().encoded);
            (picture.mapv(f32::to_bits), moments.mapv(f32::to_bits))
        };
        let one = run(1);
        for threads in [2, 3, 5] {
            assert!(run(threads) == one, "{threads} threads, {dtype}");
        }
    }
}

#[test]
fn a_batch_gives_what_its_pictures_give_alone() {
    let (fixture, model) =
        (Fixture::open("bf16_batch2"), Fixture::open("bf16_batch2").model(|_| {}));
    let batch = f32x4(&fixture.tensor("latents"));
    let mut session = Session::new(&model, &options(2, Storage::F32)).unwrap();
    let together = session.decode(batch.view()).unwrap().sample;
    for b in 0..2 {
        let alone = session.decode(batch.slice(s![b..b + 1, .., .., ..])).unwrap().sample;
        assert_eq!(together.slice(s![b..b + 1, .., .., ..]), alone);
    }
}

#[test]
fn rows_are_those_of_the_picture() {
    let (_, model) = sd_like();
    let mut session = Session::new(&model, &options(2, Storage::F32)).unwrap();
    let latents = latents(4);
    let picture = session.decode(latents.view()).unwrap().sample;
    let mut next = 0;
    session
        .decode_rows(latents.slice(s![0, .., .., ..]), &mut |y, row| {
            assert_eq!(y, next);
            next += 1;
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                for (c, &value) in pixel.iter().enumerate() {
                    assert_eq!(value, picture[(0, c, y, x)]);
                }
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(next, 17 * 8);
}

#[test]
fn forward_is_encode_then_decode() {
    let (fixture, model) = sd_like();
    let image = f32x4(&fixture.tensor("image"));
    let mut session = Session::new(&model, &options(2, Storage::F32)).unwrap();
    let posterior = session.encode(image.view()).unwrap().encoded.into_posterior().unwrap();
    let mode = session.decode(posterior.mode()).unwrap().sample;
    assert_eq!(session.forward(image.view(), false, 0).unwrap().sample, mode);
    let drawn = posterior.sample(&mut vaekl::Generator::new(33));
    let sample = session.decode(drawn.view()).unwrap().sample;
    assert_eq!(session.forward(image.view(), true, 33).unwrap().sample, sample);
    assert_ne!(mode, sample);
}

#[test]
fn progress_rises_to_its_total_on_the_calling_thread() {
    let (_, model) = sd_like();
    let mut session = Session::new(&model, &options(2, Storage::F32)).unwrap();
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let (log, caller) = (Arc::clone(&seen), std::thread::current().id());
    session.on_progress(Some(Box::new(move |progress| {
        assert_eq!(std::thread::current().id(), caller);
        log.lock().unwrap().push(progress);
        ControlFlow::Continue(())
    })));
    session.decode(latents(4).view()).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 10, "{} calls", seen.len());
    assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done));
    let last = seen.last().unwrap();
    assert!(last.done <= last.total && last.done * 10 > last.total * 9, "{last:?}");
}

#[test]
fn breaking_off_cancels_and_leaves_the_session_usable() {
    let (_, model) = sd_like();
    let mut session = Session::new(&model, &options(2, Storage::F32)).unwrap();
    let whole = session.decode(latents(4).view()).unwrap().sample;
    session.on_progress(Some(Box::new(|_| ControlFlow::Break(()))));
    let error = session.decode(latents(4).view()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    session.on_progress(None);
    assert_eq!(session.decode(latents(4).view()).unwrap().sample, whole);
}

#[test]
fn another_thread_cancels() {
    let (_, model) = sd_like();
    let mut session = Session::new(&model, &options(1, Storage::F32)).unwrap();
    let token = CancelToken::new();
    session.set_cancel_token(token.clone());
    // Cancelled from inside the call, so that there is no race to lose.
    let asked = token.clone();
    session.on_progress(Some(Box::new(move |_| {
        let asked = asked.clone();
        std::thread::spawn(move || asked.cancel()).join().unwrap();
        ControlFlow::Continue(())
    })));
    assert_eq!(session.decode(latents(4).view()).unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(token.is_cancelled());
}

/// A token stays cancelled, so that no cancel is lost: who wants to go on gives another.
#[test]
fn a_call_under_a_cancelled_token_does_no_work() {
    let (fixture, model) = sd_like();
    let mut session = Session::new(&model, &options(1, Storage::F32)).unwrap();
    let picture = f32x4(&fixture.tensor("image"));
    let whole = session.decode(latents(4).view()).unwrap().sample;
    session.on_progress(Some(Box::new(|_| panic!("work"))));
    let token = CancelToken::new();
    session.set_cancel_token(token.clone());
    token.cancel();
    let batch = latents(4);
    let one = batch.index_axis(Axis(0), 0);
    let (_, channels, height, width) = picture.dim();
    assert_eq!(channels, 3);
    for _ in 0..2 {
        for error in [
            session.decode(batch.view()).err(),
            session.decode_rows(one, &mut |_, _| panic!("a row")).err(),
            session.stream(one).err(),
            session.encode(picture.view()).err(),
            session.encode_rows(height, width, &mut |_, _| panic!("asked for a row")).err(),
            session.forward(picture.view(), false, 0).err(),
        ] {
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Cancelled));
        }
    }
    session.on_progress(None);
    session.set_cancel_token(CancelToken::new());
    assert_eq!(session.decode(batch.view()).unwrap().sample, whole);
}

/// Between its rows as well, though all are made.
#[test]
fn a_cancelled_stream_gives_no_more_rows() {
    let (_, model) = sd_like();
    let mut session = Session::new(&model, &options(1, Storage::F32)).unwrap();
    let token = CancelToken::new();
    session.set_cancel_token(token.clone());
    let batch = latents(4);
    let one = batch.index_axis(Axis(0), 0);
    let mut stream = session.stream(one).unwrap();
    assert!(stream.next_row().unwrap().is_some());
    token.cancel();
    for _ in 0..3 {
        assert_eq!(stream.next_row().unwrap_err().kind(), ErrorKind::Cancelled);
    }
    let token = CancelToken::new();
    session.set_cancel_token(token.clone());
    let mut rows = 0;
    let stop = &mut |_, _: &[f32]| {
        rows += 1;
        token.cancel();
        ControlFlow::Continue(())
    };
    assert_eq!(session.decode_rows(one, stop).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(rows, 1);
}

#[test]
fn an_error_of_the_input_ends_the_call_and_comes_back_as_it_is() {
    let (_, model) = sd_like();
    for tiling in [Tiling::Exact, Tiling::Diffusers] {
        let mut options = options(1, Storage::F32);
        (options.tiling, options.tile_size) = (tiling, 4);
        let mut session = Session::new(&model, &options).unwrap();
        let mut asked = 0;
        let gone = &mut |y: usize, row: &mut [f32]| {
            asked += 1;
            row.fill(0.5);
            if y < 3 { Ok(()) } else { Err(Error::io("row", ErrorOfIo::UnexpectedEof.into())) }
        };
        let error = session.encode_rows(64, 64, gone).unwrap_err();
        assert_eq!((error.kind(), asked), (ErrorKind::Io, 4));
        assert_eq!(error.io_error().unwrap().kind(), ErrorOfIo::UnexpectedEof);
        assert_eq!(error.message(), "row: unexpected end of file");
        session.decode(latents(4).view()).unwrap();
    }
}

#[test]
fn a_budget_changes_and_the_threads_stay() {
    let (_, model) = sd_like();
    let mut session = Session::new(&model, &options(2, Storage::F32)).unwrap();
    let whole = session.decode(latents(4).view()).unwrap().sample;
    session.set_memory_budget(1 << 20);
    let error = session.decode(latents(4).view()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Budget, "{error}");
    let (height, width) = (latents(4).dim().2, latents(4).dim().3);
    let plan = plan_decode(&model, &options(2, Storage::F32), height, width).unwrap();
    session.set_memory_budget(plan.peak_bytes);
    assert_eq!(session.decode(latents(4).view()).unwrap().sample, whole);
    assert_eq!(session.memory() as u64, plan.workspace_bytes);
    session.set_memory_budget(0);
    assert_eq!(session.decode(latents(4).view()).unwrap().sample, whole);
    assert_eq!(session.threads(), 2);
}

#[test]
fn wrong_inputs_are_named() {
    let (_, model) = sd_like();
    let mut session = Session::new(&model, &options(1, Storage::F32)).unwrap();
    let mut error = |latents: Array4<f32>| {
        let error = session.decode(latents.view()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        error.message().to_owned()
    };
    let message = error(Array4::zeros((1, 3, 8, 8)));
    assert!(message.contains("4 channels expected") && message.contains("3 found"), "{message}");
    assert!(error(Array4::zeros((1, 4, 0, 8))).contains("8x0"));
    assert!(error(Array4::zeros((0, 4, 8, 8))).contains("batch"));
    let mut nan = latents(4);
    nan[(0, 2, 5, 11)] = f32::NAN;
    assert!(error(nan.clone()).contains("NaN at channel 2, row 5, column 11"));
    nan[(0, 2, 5, 11)] = f32::INFINITY;
    assert!(error(nan).contains("inf at channel 2, row 5, column 11"));
    let error = session.encode(Array4::zeros((1, 3, 7, 64)).view()).unwrap_err();
    assert!(error.message().contains("too small to be halved"), "{error}");
}

#[test]
fn a_gigantic_picture_is_refused_before_anything_is_allocated() {
    let (_, model) = sd_like();
    let mut session = Session::new(&model, &options(1, Storage::F32)).unwrap();
    let value = ndarray::arr0(0.5f32);
    for side in [1 << 17, 1 << 30, 1 << 40] {
        let huge = value.broadcast((1, 4, side, side));
        let Some(huge) = huge else { continue };
        let error = session.decode(huge).unwrap_err();
        let kinds = [ErrorKind::OutOfMemory, ErrorKind::InvalidArgument];
        assert!(kinds.contains(&error.kind()), "{error}");
        assert_eq!(session.memory(), 0);
    }
}

#[test]
fn the_workspace_is_what_the_plan_said() {
    let (_, model) = sd_like();
    for (height, width) in [(1, 1), (5, 7), (17, 23)] {
        for dtype in [Storage::F32, Storage::Bf16] {
            let options = options(2, dtype);
            let plan = plan_decode(&model, &options, height, width).unwrap();
            let mut session = Session::new(&model, &options).unwrap();
            session.decode(Array4::zeros((1, 4, height, width)).view()).unwrap();
            assert_eq!(session.memory() as u64, plan.workspace_bytes);
            assert!(plan.exact);
        }
    }
}

#[test]
fn memory_of_the_caller_serves_as_the_workspace() {
    let (_, model) = sd_like();
    let latents = latents(4);
    let mut own = Session::new(&model, &options(2, Storage::F32)).unwrap();
    let expected = own.decode(latents.view()).unwrap();
    let bytes = expected.plan.workspace_bytes as usize;

    let mut session = Session::new(&model, &options(2, Storage::F32)).unwrap();
    let memory = || {
        let memory: &'static mut [u8] = vec![0x55; bytes + 128].leak();
        let aligned = memory.as_ptr().align_offset(64);
        &mut memory[aligned..]
    };
    let refused = session.set_workspace(&mut memory()[1..]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    session.set_workspace(&mut memory()[..bytes]).unwrap();
    assert_eq!(session.memory(), bytes);
    assert_eq!(session.decode(latents.view()).unwrap().sample, expected.sample);
}

#[test]
fn half_precision_is_upgraded_where_the_model_demands_it() {
    let fixture = Fixture::open("sd_like");
    let model = fixture.model(|config| config.force_upcast = true);
    let latents = f32x4(&fixture.tensor("latents"));
    let mut half = Session::new(&model, &options(1, Storage::F16)).unwrap();
    assert_eq!(half.activation_dtype(), Storage::F32);
    let mut full = Session::new(&model, &options(1, Storage::F32)).unwrap();
    let (a, b) = (half.decode(latents.view()).unwrap(), full.decode(latents.view()).unwrap());
    assert_eq!(a.sample, b.sample);
}

#[test]
fn an_overflow_of_half_precision_is_repeated_in_bf16() {
    let fixture = Fixture::open("sd_like");
    let model = fixture.model(|config| config.force_upcast = false);
    // Large latents drive conv_in over 65504, which only f16 cannot hold.
    let huge = f32x4(&fixture.tensor("latents")).mapv(|v| v * 1e6);
    let mut half = Session::new(&model, &options(1, Storage::F16)).unwrap();
    let picture = half.decode(huge.view()).unwrap().sample;
    assert_eq!(half.activation_dtype(), Storage::Bf16);
    assert!(picture.iter().all(|v| v.is_finite()));
    let mut bf16 = Session::new(&model, &options(1, Storage::Bf16)).unwrap();
    assert_eq!(bf16.decode(huge.view()).unwrap().sample, picture);
}

#[test]
fn a_batch_goes_on_in_the_storage_that_has_the_range() {
    let fixture = Fixture::open("sd_like");
    let model = fixture.model(|config| config.force_upcast = false);
    let one = f32x4(&fixture.tensor("latents"));
    let huge = one.mapv(|v| v * 1e6);
    let batch = ndarray::concatenate(Axis(0), &[one.view(), huge.view(), one.view()]).unwrap();
    let mut half = Session::new(&model, &options(1, Storage::F16)).unwrap();
    let pictures = half.decode(batch.view()).unwrap().sample;
    let alone = |storage, latents: &Array4<f32>| {
        let mut session = Session::new(&model, &options(1, storage)).unwrap();
        session.decode(latents.view()).unwrap().sample
    };
    let count = one.dim().0;
    for (b, storage, latents) in
        [(0, Storage::F16, &one), (1, Storage::Bf16, &huge), (2, Storage::Bf16, &one)]
    {
        let found = pictures.slice(s![b * count..(b + 1) * count, .., .., ..]);
        assert_eq!(found, alone(storage, latents), "picture {b}");
    }
}

#[test]
fn an_input_is_asked_for_again_where_its_call_begins_anew() {
    let fixture = Fixture::open("sd_like");
    let model = fixture.model(|config| config.force_upcast = false);
    let encode = |storage| {
        let mut asked = Vec::new();
        let mut session = Session::new(&model, &options(1, storage)).unwrap();
        let fill = &mut |y: usize, row: &mut [f32]| {
            asked.push(y);
            row.iter_mut().enumerate().for_each(|(x, v)| *v = ((x * 7 + y * 3) % 11) as f32 * 1e5);
            Ok(())
        };
        let output = session.encode_rows(16, 24, fill).unwrap();
        (encoder_values(&output.encoded), asked)
    };
    let ((half, asked), (bf16, once)) = (encode(Storage::F16), encode(Storage::Bf16));
    assert_eq!(once, (0..16).collect::<Vec<_>>());
    assert_eq!(asked, [once.clone(), once].concat());
    assert_eq!(half, bf16);
}

#[test]
fn an_overflow_of_f32_is_an_error_that_names_the_layer() {
    let fixture = Fixture::open("sd_like");
    let model = fixture.model(|_| {});
    let huge = f32x4(&fixture.tensor("latents")).mapv(|v| v.signum() * 3e38);
    let mut session = Session::new(&model, &options(1, Storage::F32)).unwrap();
    let error = session.decode(huge.view()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NonFinite, "{error}");
    assert!(error.message().contains("conv"), "{error}");
}

#[test]
fn half_a_model_does_its_half() {
    let fixture = Fixture::open("sd_like");
    let mut only = ModelOptions::default();
    only.parts = Parts::Decoder;
    let model = Model::open_with(fixture.path(), &only).unwrap();
    let mut session = Session::new(&model, &options(1, Storage::F32)).unwrap();
    session.decode(f32x4(&fixture.tensor("latents")).view()).unwrap();
    let error = session.encode(f32x4(&fixture.tensor("image")).view()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Model, "{error}");
}

#[test]
fn sessions_of_one_model_work_side_by_side() {
    let (_, model) = sd_like();
    let alone =
        Session::new(&model, &options(1, Storage::F32)).unwrap().decode(latents(4).view()).unwrap();
    std::thread::scope(|scope| {
        for threads in [1, 2] {
            let (model, alone) = (&model, &alone);
            scope.spawn(move || {
                let mut session = Session::new(model, &options(threads, Storage::F32)).unwrap();
                for _ in 0..3 {
                    assert_eq!(session.decode(latents(4).view()).unwrap().sample, alone.sample);
                }
            });
        }
    });
}

#[test]
fn options_out_of_range_are_refused() {
    let (_, model) = sd_like();
    let error = Session::new(&model, &options(5000, Storage::F32)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}
