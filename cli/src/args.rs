//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use vaekl::Preset;

const ABOUT: &str = "Encode pictures to latents and decode latents to pictures with the \
autoencoders of Stable Diffusion and FLUX, on CPUs.";

const LONG_ABOUT: &str = "Encode pictures to latents and decode latents to pictures with the \
autoencoders of Stable Diffusion and FLUX, on CPUs, with diffusers' numbers: AutoencoderKL, \
AutoencoderKLFlux2, AutoencoderTiny (TAESD) and AsymmetricAutoencoderKL.

Without --model the command uses a small embedded model, for trying everything at once. Its \
latents are its own: those of Stable Diffusion, SDXL, SD3 or FLUX need their own model.";

const FILES: &str = "\
IMAGE is a png, jpeg or webp picture of any depth. Its EXIF orientation is applied, alpha is \
dropped, and all bits of 16-bit samples are used. If its sides are not multiples of the model's \
downscale factor (usually 8), it is resized to the next lower multiples as in diffusers: with \
Pillow's Lanczos, bit for bit.

A MASK, for an AsymmetricAutoencoderKL, is a grey picture, white where the model draws and black \
where it keeps the picture, or an array in [0, 1]: [height, width], with or without axes of 1 \
before them, or one for each picture of a batch. Neither it nor --picture is resized.

IMAGE may also be an array in [-1, 1], .npy or .safetensors: [batch, channels, height, width] or \
[channels, height, width], 16-, 32- or 64-bit floats, or bf16 in .safetensors. Arrays are not \
resized; the encoder ignores rows and columns that do not fill a latent, except a tiny one's.

In a .safetensors file a picture is the only tensor, or the one named 'image' or 'sample'.

LATENTS are such an array, of any range: .npy, .npz (caches of trainers too), .safetensors, \
ComfyUI's .latent, or a .pt, .pth or .bin of PyTorch. They are the tensor named 'latents', \
'latent_tensor', 'latent', 'samples', 'moments' or 'sample', or the only one that can be, or the \
one of --tensor. What encode writes as .npz, .safetensors or .latent says what it is (raw, scaled \
or moments, and of which model), and decode believes it: it refuses what contradicts, and says \
what it had to assume.

Outputs appear complete or not at all, and replace existing files. Pictures have 8 bits per \
sample (png and webp lossless, jpeg at quality 95); arrays are f32 and unclamped.

The environment variable VAEKL_CPU (portable, avx2 or avx512) lowers the instruction set.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 cancelled by Ctrl-C or SIGTERM; a second \
Ctrl-C or SIGTERM exits at once.";

const EXAMPLES: &str = "\
Examples:
  vaekl reconstruct photo.jpg -o out.png
  vaekl encode photo.jpg -o latents.safetensors --model stable-diffusion-v1-5/vae --scaled
  vaekl decode latents.npy -o out.png --model sdxl_vae.safetensors --preset sdxl --threads 4
  vaekl decode latents.npy -o out.png --model vae/ --memory 256M --scratch /var/tmp
  vaekl info model.safetensors
  vaekl convert model.safetensors -o folder --preset sd

Run 'vaekl COMMAND --help' for the details of a command.";

const RECONSTRUCT: &str = "Encode a picture, decode the mean of its latents, and print the PSNR.

The PSNR compares the 8-bit samples of the input, after resizing, with those of the output: \
10 * log10(255^2 / mean squared difference), over all channels.

With --mask the decoder keeps what is outside of the mask, as AsymmetricAutoencoderKL.forward of \
diffusers does with a mask.";

const RECONSTRUCT_EXAMPLES: &str = "\
Examples:
  vaekl reconstruct photo.jpg -o out.png
  vaekl reconstruct photo.png -o out.webp --model vae/ --dtype bf16 --json
  vaekl reconstruct photo.png -o out.png --model asymmetric/ --mask mask.png";

const ENCODE: &str = "Encode a picture to latents, written as f32.

The latents are raw, as AutoencoderKL.encode returns them; with --scaled they are scaled for the \
diffusion model. A .npz, .safetensors or .latent (ComfyUI's, for raw latents) says which; a .npy \
cannot. A tiny autoencoder (TAESD) has no posterior: its latents are the mode and the sample. \
FLUX.2 has its latents in patches of 2x2: --patches writes them so.";

const ENCODE_EXAMPLES: &str = "\
Examples:
  vaekl encode photo.jpg -o latents.npy
  vaekl encode photo.jpg -o latents.safetensors --posterior sample --seed 42 --scaled
  vaekl encode photo.jpg -o photo.latent                     # for ComfyUI
  vaekl encode photo.jpg -o moments.npy --posterior moments   # mean, then log-variance
  vaekl encode photo.jpg -o patches.npy --model flux2/vae --scaled --patches";

const DECODE: &str = "Decode latents to a picture.

Latents are raw, as AutoencoderKL.decode takes them; with --scaled they are those of the diffusion \
model. A file that says that its latents are scaled is unscaled without the flag. Moments, with \
twice the latent channels, are decoded by their mean. FLUX's packed latents, [batch, patches, 4 * \
channels], need --size. FLUX.2's scaled latents may be in patches of 2x2, with 4 times the \
channels. With --picture and --mask the decoder of an AsymmetricAutoencoderKL keeps the picture \
outside of the mask. Pictures are clamped to 8 bits; .npy and .safetensors hold unclamped f32. A \
batch goes to one array file, or to pictures OUT_0.png, OUT_1.png, ...";

const DECODE_EXAMPLES: &str = "\
Examples:
  vaekl decode latents.npy -o out.png
  vaekl decode latents.safetensors -o out.npy --model vae/ --scaled
  vaekl decode cache.npz -o out.png --model vae/ --tensor latents_64x64
  vaekl decode packed.pt -o out.png --model flux/vae --scaled --size 1024x768
  vaekl decode latents.pt -o out.png --model asymmetric/ --picture photo.png --mask mask.png";

const PLAN: &str = "Show what a decode or an encode needs, without doing it: memory of the \
process, workspace, scratch file, multiply-adds.

With --memory, this is the fastest plan within that limit; if none fits, the error names the least \
limit that would do. A call with the same options follows the same plan.";

const PLAN_EXAMPLES: &str = "\
Examples:
  vaekl plan decode --size 1024x1024 --model vae/
  vaekl plan decode --size 1024x1024 --model vae/ --memory 256M --scratch /var/tmp --json";

const INFO: &str = "Show a model: its family and what tells it, its configuration and which parts \
were guessed; parameters, their types and layout, memory.

MODEL is what --model takes; default: the embedded model.";

const INFO_EXAMPLES: &str = "\
Examples:
  vaekl info
  vaekl info sdxl_vae.safetensors --preset sdxl
  vaekl info stable-diffusion-v1-5/vae --variant fp16 --json";

const CONVERT: &str = "Save a model in another form: a diffusers folder, or one .safetensors file \
that has its configuration with it.

SRC is what --model takes; default: the embedded model. DST is a file if it ends in .safetensors, \
else a folder, which diffusers' from_pretrained opens. What the configuration of SRC does not say \
is guessed, as for every command, and is then written: --preset and --config say it instead.

Without --dtype each tensor keeps its type; a quantised one becomes f32. Rounding is to nearest, \
ties to even; a value that overflows is an error. Tensors that are not the autoencoder's are left \
out. The model may be saved onto itself. The tiny autoencoders of FLUX.2 and Sana, which \
diffusers does not have, are written so that they open here.";

const CONVERT_EXAMPLES: &str = "\
Examples:
  vaekl convert sdxl_vae.safetensors -o sdxl-vae --preset sdxl
  vaekl convert stable-diffusion-v1-5/vae -o vae.safetensors --dtype f16
  vaekl convert vae -o ldm.safetensors --layout ldm";

#[derive(Parser)]
#[command(name = "vaekl", version, about = ABOUT, long_about = LONG_ABOUT)]
#[command(after_help = EXAMPLES, after_long_help = format!("{FILES}\n\n{EXAMPLES}"))]
#[command(subcommand_required = true, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(about = "Encode a picture and decode it again; prints the PSNR")]
    #[command(long_about = RECONSTRUCT, after_long_help = RECONSTRUCT_EXAMPLES)]
    Reconstruct(Reconstruct),
    #[command(about = "Encode a picture to latents")]
    #[command(long_about = ENCODE, after_long_help = ENCODE_EXAMPLES)]
    Encode(Encode),
    #[command(about = "Decode latents to a picture")]
    #[command(long_about = DECODE, after_long_help = DECODE_EXAMPLES)]
    Decode(Decode),
    #[command(about = "Show what a decode or an encode needs, without doing it")]
    #[command(long_about = PLAN, after_long_help = PLAN_EXAMPLES)]
    Plan(Plan),
    #[command(about = "Show a model's configuration, parameters and memory")]
    #[command(long_about = INFO, after_long_help = INFO_EXAMPLES)]
    Info(Info),
    #[command(about = "Save a model as a diffusers folder or as one file, in any type")]
    #[command(long_about = CONVERT, after_long_help = CONVERT_EXAMPLES)]
    Convert(Convert),
}

#[derive(Args)]
pub(crate) struct Reconstruct {
    /// Picture (png, jpeg, webp) or array (.npy, .safetensors)
    pub(crate) image: PathBuf,
    /// Output file: .png, .jpg, .webp, .npy or .safetensors
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Draw what is white in this mask and keep the rest of the picture; for an
    /// AsymmetricAutoencoderKL
    #[arg(long, value_name = "MASK")]
    pub(crate) mask: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Encode {
    /// Picture (png, jpeg, webp) or array (.npy, .safetensors)
    pub(crate) image: PathBuf,
    /// Output file: .npy, .npz, .safetensors or .latent
    #[arg(short, long, value_name = "LATENTS")]
    pub(crate) output: PathBuf,
    /// Which value of the posterior to write
    #[arg(long, value_enum, default_value_t)]
    pub(crate) posterior: Posterior,
    /// Seed of the sample's noise, drawn as torch.randn does on a CPU [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Scale the latents for the diffusion model, by the model's factor, shift and statistics
    #[arg(long)]
    pub(crate) scaled: bool,
    /// Write scaled latents in patches of 2x2, as FLUX.2's diffusion model has them: 4 times the
    /// channels, half the sides
    #[arg(long, requires = "scaled")]
    pub(crate) patches: bool,
}

#[derive(Args)]
pub(crate) struct Decode {
    /// Latents (.npy, .npz, .safetensors, .latent, .pt, .pth, .bin)
    pub(crate) latents: PathBuf,
    /// Output file: .png, .jpg, .webp, .npy or .safetensors
    #[arg(short, long, value_name = "IMAGE")]
    pub(crate) output: PathBuf,
    /// The latents are scaled: undo the model's factor, shift and statistics first. Not needed for
    /// a file that says so itself
    #[arg(long)]
    pub(crate) scaled: bool,
    /// Name of the tensor, in a file of several
    #[arg(long, value_name = "NAME")]
    pub(crate) tensor: Option<String>,
    /// Width and height of the picture in pixels, for packed latents of FLUX
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) size: Option<(usize, usize)>,
    /// Picture to keep outside of the mask, of the size that is decoded
    #[arg(long, value_name = "IMAGE", requires = "mask")]
    pub(crate) picture: Option<PathBuf>,
    /// Draw what is white in this mask and keep the rest of --picture; for an
    /// AsymmetricAutoencoderKL
    #[arg(long, value_name = "MASK", requires = "picture")]
    pub(crate) mask: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Plan {
    /// What to plan
    #[arg(value_enum)]
    pub(crate) call: PlannedCall,
    /// Width and height of the picture in pixels, such as 1024x768
    #[arg(long, value_name = "WxH", value_parser = size, default_value = "512x512")]
    pub(crate) size: (usize, usize),
}

#[derive(Args)]
pub(crate) struct Info {
    /// File or folder of any format, or org/name
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Convert {
    /// Model to save, as --model takes it
    #[arg(value_name = "SRC", conflicts_with = "model")]
    pub(crate) path: Option<PathBuf>,
    /// Output: a file if it ends in .safetensors, else a folder
    #[arg(short, long, value_name = "DST")]
    pub(crate) output: PathBuf,
    /// Names of the tensors; those of ldm need a file
    #[arg(long, value_enum, default_value_t)]
    pub(crate) layout: LayoutKind,
    /// Most bytes of tensors in a file of a folder, such as 500M [default: one file]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) max_shard_size: Option<u64>,
}

/// Options of every command.
#[derive(Args)]
pub(crate) struct Options {
    /// A diffusers folder, a file of safetensors, PyTorch, Flax or GGUF, or org/name in the local
    /// cache of the Hugging Face hub; in diffusers' or the original (LDM) layout [default:
    /// the embedded model]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Model")]
    pub(crate) model: Option<PathBuf>,
    /// config.json to use instead of the model's own
    #[arg(long, global = true, value_name = "PATH", help_heading = "Model")]
    pub(crate) config: Option<PathBuf>,
    /// Model family, which sets scaling, shift and latent statistics if a file has no configuration
    /// or a wrong one: sd, sdxl, sdxl-fp16-fix, sd3, flux, playground-v2.5, sd-x4-upscaler,
    /// cogview4, flux2, asymmetric, taesd, taesdxl, taesd3, taef1, taef2, taesana
    #[arg(long, global = true, value_name = "NAME", value_parser = preset, help_heading = "Model")]
    pub(crate) preset: Option<Preset>,
    /// Groups of each GroupNorm, for a file without a configuration [default: 32]
    #[arg(long, global = true, value_name = "N", help_heading = "Model")]
    pub(crate) norm_num_groups: Option<usize>,
    /// Variant of a diffusers folder: fp16 opens diffusion_pytorch_model.fp16.safetensors
    #[arg(long, global = true, value_name = "NAME", help_heading = "Model")]
    pub(crate) variant: Option<String>,
    /// Read the model's files, a layer at a time, instead of mapping them
    #[arg(long, global = true, help_heading = "Model")]
    pub(crate) disable_mmap: bool,
    /// Number of threads, 0 for one per physical core; never changes a byte of the output
    #[arg(long, global = true, value_name = "N", default_value_t = 0, help_heading = "Computing")]
    pub(crate) threads: usize,
    /// Type of the activations between layers [default: f32]; sums are f32. Of convert: type of the
    /// saved weights [default: their own]
    #[arg(long, global = true, value_enum, help_heading = "Computing")]
    pub(crate) dtype: Option<StorageKind>,
    /// Attention algorithm; both give the same result up to rounding
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Computing")]
    pub(crate) attention: AttentionKind,
    /// Project query, key and value at once instead of one by one
    #[arg(long, global = true, help_heading = "Computing")]
    pub(crate) fuse_qkv: bool,
    /// Memory limit of the process, such as 256M or 2G. A call that does not fit fails before doing
    /// any work; it changes the output only in seamless tiles without --tile-size [default: no
    /// limit]
    #[arg(long, global = true, value_name = "SIZE", value_parser = bytes, help_heading = "Memory")]
    pub(crate) memory: Option<u64>,
    /// Folder for a nameless scratch file, for activations that do not fit --memory
    #[arg(long, global = true, value_name = "DIR", help_heading = "Memory")]
    pub(crate) scratch: Option<PathBuf>,
    /// Whether to split a picture that is larger than a tile
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Memory")]
    pub(crate) tiling: TilingKind,
    /// Side of a tile in latent pixels; 0 for the model's sample_size, or for seamless tiles with
    /// --memory the largest that fits it
    #[arg(long, global = true, value_name = "N", default_value_t = 0, help_heading = "Memory")]
    pub(crate) tile_size: usize,
    /// Overlap of neighbouring diffusers' tiles in latent pixels; 0 for a quarter of a tile
    #[arg(long, global = true, value_name = "N", default_value_t = 0, help_heading = "Memory")]
    pub(crate) tile_overlap: usize,
    /// Print one JSON object as the only line of stdout: times in seconds (load_s, encode_s,
    /// decode_s, total_s), peak_rss_mb (MiB), threads, cpu_level, dtype, exact, ...
    #[arg(long, global = true, help_heading = "Printing")]
    pub(crate) json: bool,
    /// Print only errors, and the object of --json
    #[arg(short, long, global = true, help_heading = "Printing")]
    pub(crate) quiet: bool,
}

/// The calls that `plan` plans.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlannedCall {
    /// Latents to a picture
    Decode,
    /// A picture to latents
    Encode,
}

/// The values of `--posterior`.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Posterior {
    /// The mean
    #[default]
    Mode,
    /// A sample
    Sample,
    /// Mean and log-variance, twice the channels
    Moments,
}

/// The values of `--dtype`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StorageKind {
    /// 32-bit floats: diffusers' numbers
    F32,
    /// bfloat16: half the memory, 8 significant bits
    Bf16,
    /// 16-bit floats: half the memory, 11 significant bits; f32 for models that overflow
    F16,
}

/// The values of `--layout`.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutKind {
    /// Names of diffusers
    #[default]
    Diffusers,
    /// Names of the original checkpoints: latent diffusion's, FLUX.2's or TAESD's
    #[value(alias = "original")]
    Ldm,
}

/// The values of `--tiling`.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TilingKind {
    /// No tiles: the result of the whole picture
    #[default]
    Exact,
    /// The overlapping, blended tiles of diffusers' enable_tiling, with their seams
    Diffusers,
    /// Decode in tiles that share the whole picture's statistics: no seams, a small error
    Seamless,
}

/// The values of `--attention`.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttentionKind {
    /// One pass over the keys, with a running softmax
    #[default]
    Streamed,
    /// All scores of a few queries, then their softmax
    RowByRow,
}

/// A size in bytes: `300000`, `256M`, `1.5GiB`. Units are powers of 1024, however spelled.
fn bytes(text: &str) -> Result<u64, String> {
    let expected = || format!("a size as 256M or 2G expected, {text:?} found");
    let lower = text.trim().to_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match lower[number.len()..].trim_end_matches('b').trim_end_matches('i') {
        "" => 1.0,
        "k" => 1024.0,
        "m" => 1024.0 * 1024.0,
        "g" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(expected()),
    };
    let value: f64 = number.trim().parse().map_err(|_| expected())?;
    let bytes = value * unit;
    if (1.0..9e18).contains(&bytes) { Ok(bytes as u64) } else { Err(expected()) }
}

fn size(text: &str) -> Result<(usize, usize), String> {
    let sides = text.split_once('x').map(|(width, height)| (width.parse(), height.parse()));
    match sides {
        Some((Ok(width), Ok(height))) if width > 0 && height > 0 => Ok((width, height)),
        _ => Err(format!("width and height as 1024x768 expected, {text:?} found")),
    }
}

fn preset(name: &str) -> Result<Preset, String> {
    name.parse().map_err(|error: vaekl::Error| error.message().to_owned())
}
