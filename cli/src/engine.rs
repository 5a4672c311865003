//! A model and a session for one command: timing, progress and cancelling around its calls.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use ndarray::{Array4, ArrayView3, ArrayView4, ArrayViewMut4};
use vaekl::{
    Attention, Config, Encoded, ErrorKind, Model, ModelOptions, Parts, Plan, Session,
    SessionOptions, Storage, Tiling,
};

use crate::args::{AttentionKind, Options, PlannedCall, StorageKind, TilingKind};
use crate::embedded;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::latents::{Kind, Label};
use crate::png_rows::PngReader;
use crate::progress;
use crate::report::{self, Report};

/// A model and a session for one command.
pub(crate) struct Engine<'a> {
    options: &'a Options,
    interrupt: &'a Interrupt,
    /// The arrays in memory, for messages.
    beside: String,
    session: Session,
    load_s: f64,
    /// The activation type that the user was last told.
    dtype: Storage,
    /// Whether no call was cut into tiles.
    exact: bool,
}

impl<'a> Engine<'a> {
    /// Opens the model of `options` and makes a session on it.
    pub(crate) fn open(
        options: &'a Options,
        interrupt: &'a Interrupt,
        parts: Parts,
    ) -> Result<Self> {
        let start = Instant::now();
        let model = open_model(options, options.model.as_deref(), parts)?;
        interrupt.check()?;
        if let (Some(path), false) = (&options.model, options.quiet) {
            remark_on(path, &model);
        }
        let limits = session_options(options);
        let mut session = Session::new(&model, &limits)?;
        session.set_cancel_token(interrupt.token());
        interrupt.check()?;
        Ok(Self {
            options,
            interrupt,
            beside: String::new(),
            session,
            load_s: start.elapsed().as_secs_f64(),
            dtype: activation_dtype(options),
            exact: true,
        })
    }

    /// The model's configuration.
    pub(crate) fn config(&self) -> &Config {
        self.session.model().config()
    }

    /// What latents of `kind` are that this model makes or takes.
    pub(crate) fn label(&self, kind: Kind) -> Label {
        let model = self.session.model();
        let guessed = model.info().guessed.iter().find(|guess| guess.what == "preset");
        let family = match (&self.options.model, self.options.preset) {
            (None, _) => Some("embedded"),
            (Some(_), Some(preset)) => Some(preset.name()),
            (Some(_), None) => guessed.map(|guess| guess.value.as_str()),
        };
        Label::of(kind, model, family)
    }

    /// The type of activations between layers.
    pub(crate) fn storage(&self) -> Storage {
        self.session.activation_dtype()
    }

    /// Scales raw latents for the diffusion model.
    pub(crate) fn scale(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        Ok(self.config().scale_latents(latents)?)
    }

    /// The inverse of [`Engine::scale`].
    pub(crate) fn unscale(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        Ok(self.config().unscale_latents(latents)?)
    }

    /// Reserves memory of the budget for a call to come, before its input is read. Fails if no plan
    /// keeps the budget beside it or fits what the system can give, or if the input cannot be read
    /// within.
    pub(crate) fn reserve(&mut self, input: &Path, need: &Need) -> Result<()> {
        self.session.set_memory_reserved(process().saturating_add(need.arrays));
        self.beside = format!(
            "{}: with {} of input and output in memory",
            input.display(),
            report::mib(need.arrays)
        );
        let planned = match need.call {
            PlannedCall::Decode => self.session.plan_decode(need.height, need.width),
            PlannedCall::Encode => self.session.plan_encode(need.height, need.width),
        };
        if let Err(error) = planned {
            match error.kind() {
                ErrorKind::Budget => return Err(error.within(&self.beside).into()),
                ErrorKind::OutOfMemory => return Err(error.within(input.display()).into()),
                // What does not depend on memory is told by the call itself.
                _ => {}
            }
        }
        let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
        let (least, reading) = (process().saturating_add(need.reading), need.reading);
        match (self.options.memory, vaekl::memory_available()) {
            (Some(budget), _) if least > budget => Err(Failure::at(
                input,
                format!(
                    "a memory budget of {} cannot be kept: at least {} are needed to read it",
                    mib(budget),
                    mib(least)
                ),
            )),
            (_, Some(have)) if reading > have => Err(Failure::at(
                input,
                format!("{} are needed to read it, {} MiB can be had", mib(reading), have >> 20),
            )),
            _ => Ok(()),
        }
    }

    /// Encodes `sample` of the file `input`; the seconds are those of the call.
    pub(crate) fn encode(
        &mut self,
        input: &Path,
        sample: ArrayView4<'_, f32>,
    ) -> Result<(Encoded, f64)> {
        self.timed("encode", input, |session| {
            let output = session.encode(sample)?;
            Ok((output.encoded, output.plan))
        })
    }

    /// Like [`Engine::encode`], for a picture whose rows are read as needed.
    pub(crate) fn encode_rows(
        &mut self,
        input: &Path,
        mut rows: PngReader,
        height: usize,
        width: usize,
    ) -> Result<(Encoded, f64)> {
        let mut fill = |y: usize, row: &mut [f32]| rows.read(y, row);
        self.timed("encode", input, |session| {
            let output = session.encode_rows(height, width, &mut fill)?;
            Ok((output.encoded, output.plan))
        })
    }

    /// Decodes raw `latents` of the file `input`; the seconds are those of the call.
    pub(crate) fn decode(
        &mut self,
        input: &Path,
        latents: ArrayView4<'_, f32>,
    ) -> Result<(Array4<f32>, f64)> {
        self.timed("decode", input, |session| {
            let output = session.decode(latents)?;
            Ok((output.sample, output.plan))
        })
    }

    /// Like [`Engine::decode`], keeping `picture` where `mask` is 0.
    pub(crate) fn decode_masked(
        &mut self,
        input: &Path,
        latents: ArrayView4<'_, f32>,
        picture: ArrayView4<'_, f32>,
        mask: ArrayView4<'_, f32>,
    ) -> Result<(Array4<f32>, f64)> {
        self.timed("decode", input, |session| {
            let output = session.decode_masked(latents, picture, mask)?;
            Ok((output.sample, output.plan))
        })
    }

    /// Decodes one raw latent `[channels, h, w]` of the file `input` and passes on the picture row
    /// by row; the seconds include both.
    pub(crate) fn decode_rows(
        &mut self,
        input: &Path,
        latents: ArrayView3<'_, f32>,
        on_row: &mut dyn FnMut(usize, &[f32]) -> ControlFlow<()>,
    ) -> Result<f64> {
        let call = |session: &mut Session| Ok(((), session.decode_rows(latents, on_row)?));
        Ok(self.timed("decode", input, call)?.1)
    }

    /// Runs a call that returns its result and plan; returns the result and the seconds.
    fn timed<T>(
        &mut self,
        label: &'static str,
        input: &Path,
        call: impl FnOnce(&mut Session) -> vaekl::Result<(T, Plan)>,
    ) -> Result<(T, f64)> {
        self.interrupt.check()?;
        let bar = progress::bar(label, self.options.quiet);
        self.session.on_progress(Some(progress::callback(bar.clone())));
        let start = Instant::now();
        let result = call(&mut self.session);
        let seconds = start.elapsed().as_secs_f64();
        bar.finish_and_clear();
        let (output, plan) = result.map_err(|error| match error.kind() {
            ErrorKind::Budget => error.within(&self.beside),
            _ => error.within(input.display()),
        })?;
        self.interrupt.check()?;
        self.exact &= plan.exact;
        self.remark_on_dtype();
        Ok((output, seconds))
    }

    fn remark_on_dtype(&mut self) {
        let asked_for = std::mem::replace(&mut self.dtype, self.session.activation_dtype());
        if self.dtype != asked_for && !self.options.quiet {
            let line = format!("the model overflows in {asked_for}: {} was used", self.dtype);
            report::remark(&line);
        }
    }

    /// The fields of `--json` that every call has in common.
    pub(crate) fn report(&self, report: &mut Report) {
        report.set_seconds("load_s", self.load_s);
        report.set("threads", self.session.threads());
        report.set("dtype", self.session.activation_dtype().name());
        report.set("cpu_level", self.session.level().name());
        report.set("exact", self.exact);
    }

    /// "2 threads, f32", for a person.
    pub(crate) fn summary(&self) -> String {
        let threads = self.session.threads();
        let plural = if threads == 1 { "" } else { "s" };
        let tiles = if self.exact { "" } else { ", in tiles" };
        format!("{threads} thread{plural}, {}{tiles}", self.session.activation_dtype())
    }
}

/// Says what was guessed of a model, and what its configuration leaves out: a wrong guess gives a
/// wrong picture without an error.
pub(crate) fn remark_on(path: &Path, model: &Model) {
    for notice in model.info().notices() {
        report::remark(&format!("{}: {notice}", path.display()));
    }
}

/// Opens the model at `path`, or the embedded one.
pub(crate) fn open_model(options: &Options, path: Option<&Path>, parts: Parts) -> Result<Model> {
    let Some(path) = path else {
        let given = [
            ("--config", options.config.is_some()),
            ("--preset", options.preset.is_some()),
            ("--norm-num-groups", options.norm_num_groups.is_some()),
            ("--variant", options.variant.is_some()),
            ("--disable-mmap", options.disable_mmap),
        ];
        return match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::Usage(format!("{option} needs a model"))),
            None => embedded::open(parts),
        };
    };
    let mut model_options = ModelOptions::default().with_parts(parts);
    model_options.config_path = options.config.clone();
    model_options.disable_mmap = options.disable_mmap;
    model_options.preset = options.preset;
    model_options.norm_num_groups = options.norm_num_groups;
    model_options.variant = options.variant.clone();
    Ok(Model::open_with(path, &model_options)?)
}

/// The session's options from the command line.
pub(crate) fn session_options(options: &Options) -> SessionOptions {
    let attention = match options.attention {
        AttentionKind::Streamed => Attention::Streamed,
        AttentionKind::RowByRow => Attention::RowByRow,
    };
    let tiling = match options.tiling {
        TilingKind::Exact => Tiling::Exact,
        TilingKind::Diffusers => Tiling::Diffusers,
        TilingKind::Seamless => Tiling::Seamless,
    };
    let mut session = SessionOptions::default()
        .with_threads(options.threads)
        .with_activation_dtype(activation_dtype(options))
        .with_fuse_qkv(options.fuse_qkv)
        .with_attention(attention)
        .with_memory_budget(options.memory.unwrap_or(0))
        .with_tiling(tiling)
        .with_tile_size(options.tile_size)
        .with_tile_overlap(options.tile_overlap);
    session.scratch_dir = options.scratch.clone();
    session
}

/// The memory that a call takes besides the library's.
pub(crate) struct Need {
    pub(crate) call: PlannedCall,
    /// Inputs of the call.
    pub(crate) batch: usize,
    /// The size of each, in latents or in pixels.
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// The most bytes while the input is read.
    pub(crate) reading: u64,
    /// Bytes of the arrays that are in memory during the call.
    pub(crate) arrays: u64,
}

/// Number of values in an array of this shape, saturating.
pub(crate) fn values(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product, &side| product.saturating_mul(side))
}

/// Bytes of `values` of f32.
pub(crate) fn bytes(values: usize) -> u64 {
    (values as u64).saturating_mul(4)
}

/// Bytes of the process besides what the library plans and the arrays: its code, and what formats
/// take to read and write. More where a checkpoint's header takes more already.
pub(crate) fn process() -> u64 {
    const USUAL: u64 = 12 << 20;
    let beyond = vaekl::memory_in_use().unwrap_or(0).saturating_sub(USUAL);
    // In whole MiB, so that a plan and the call that follows it agree.
    USUAL + beyond.next_multiple_of(1 << 20)
}

fn activation_dtype(options: &Options) -> Storage {
    options.dtype.map_or(Storage::F32, storage)
}

/// The library's type for a value of `--dtype`.
pub(crate) fn storage(storage: StorageKind) -> Storage {
    match storage {
        StorageKind::F32 => Storage::F32,
        StorageKind::Bf16 => Storage::Bf16,
        StorageKind::F16 => Storage::F16,
    }
}
