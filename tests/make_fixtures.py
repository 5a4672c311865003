# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "torch==2.15.0",
#   "diffusers==0.42.1",
#   "transformers==5.24.0",
#   "accelerate==1.15.0",
#   "safetensors==0.8.0",
#   "numpy==2.4.6",
#   "pillow==13.0.0",
# ]
# ///
"""Regenerate everything under tests/data from diffusers' own AutoencoderKL.

    python tests/make_fixtures.py            # rewrite tests/data
    python tests/make_fixtures.py --check    # load the files again the way diffusers would

Each fixture is a small random model, its files in one of the forms that are met in the
wild, and the results of diffusers in float64. tests/data/README.md describes the files.
"""

import argparse
import hashlib
import inspect
import json
import math
import re
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers import logging as diffusers_logging
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

PINS = {
    "torch": "2.15.0",
    "diffusers": "0.42.1",
    "safetensors": "0.8.0",
    "numpy": "2.4.6",
    "pillow": "13.0.0",
}
DATA = Path(__file__).resolve().parent / "data"
WEIGHTS = "diffusion_pytorch_model"
# Below this many values a float64 result is stored as it is, above it is rounded to float32.
MAX_F64_VALUES = 5_000
RANDN_SEEDS = (0, 33, 47, 2**32 + 5)
RANDN_SHAPES = ((1, 4, 2, 1), (1, 4, 64, 64), (2, 4, 5, 3), (1, 4, 17, 9))
# The large shape is kept whole for these seeds only; the others have their SHA-256.
RANDN_WHOLE = (0, 2**32 + 5)
RANDN_SEQUENCE = (3, 3, 20, 5, 16, 1)


def check_pins() -> None:
    """Other versions give other files, so refuse them rather than rewrite every fixture."""
    for name, wanted in PINS.items():
        found = version(name).split("+")[0]
        if found != wanted:
            sys.exit(f"{name} {wanted} is needed, found {found}")


# ---------------------------------------------------------------------------------------
# Models


def gaussian(generator: torch.Generator, shape, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(tuple(shape), generator=generator, dtype=torch.float64)


@torch.no_grad()
def randomise(vae: AutoencoderKL, seed: int) -> None:
    """Give every parameter a value that matters for the result.

    The usual initialisation would leave the GroupNorm affine at (1, 0), where a dropped
    one goes unnoticed, and queries and keys so small that the softmax is nearly flat.
    """
    g = torch.Generator().manual_seed(seed)
    for name, module in vae.named_modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.weight.copy_(1 + gaussian(g, module.weight.shape, 0.2))
            module.bias.copy_(gaussian(g, module.bias.shape, 0.1))
        elif isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            gain = 1.4 if name.endswith(("to_q", "to_k")) else 1.0
            fan_in = module.weight[0].numel()
            module.weight.copy_(gaussian(g, module.weight.shape, gain / math.sqrt(fan_in)))
            module.bias.copy_(gaussian(g, module.bias.shape, 0.1))


def two_digits(x: float) -> float:
    """Round a measured scale, so that it does not carry the last bits of one machine."""
    return float(f"{x:.1e}")


@torch.no_grad()
def calibrate(vae: AutoencoderKL, side: int = 8) -> None:
    """Scale the last convolutions: pictures of std 0.4, moments of std 1."""
    g = torch.Generator().manual_seed(1)
    dtype = vae.decoder.conv_out.weight.dtype
    levels = len(vae.config.block_out_channels)
    pixels = side << (levels - 1)
    z = torch.randn(1, vae.config.latent_channels, side, side, generator=g).to(dtype)
    x = torch.randn(1, vae.config.in_channels, pixels, pixels, generator=g).to(dtype)
    decoded = vae.decode(z).sample
    moments = vae.encode(0.5 * x).latent_dist.parameters
    last = vae.quant_conv if vae.quant_conv is not None else vae.encoder.conv_out
    for conv, result, wanted in ((vae.decoder.conv_out, decoded, 0.4), (last, moments, 1.0)):
        scale = two_digits(wanted / result.std().item())
        conv.weight.mul_(scale)
        conv.bias.mul_(scale)


@torch.no_grad()
def push_logvar_over_clamp(vae: AutoencoderKL) -> None:
    """Place the log variances around both ends of [-30, 20]."""
    half = vae.config.latent_channels
    bias = vae.quant_conv.bias
    bias[half::2] += 20.0
    bias[half + 1 :: 2] -= 30.0


def make_model(config: dict, seed: int) -> AutoencoderKL:
    vae = AutoencoderKL(**config).double().eval()
    randomise(vae, seed)
    calibrate(vae)
    return vae


def smooth_picture(generator: torch.Generator, shape) -> torch.Tensor:
    """A picture in [-1, 1]: a few waves and a little noise, different in each channel."""
    b, c, h, w = shape
    y = torch.linspace(0, 1, h, dtype=torch.float64).view(1, 1, 1, h, 1)
    x = torch.linspace(0, 1, w, dtype=torch.float64).view(1, 1, 1, 1, w)
    waves = 4
    fy, fx, phase = (gaussian(generator, (b, c, waves, 1, 1), s) for s in (9.0, 9.0, 3.0))
    picture = torch.sin(fy * y + fx * x + phase).sum(2) / waves
    return (picture + gaussian(generator, shape, 0.05)).clamp(-1, 1).float()


# ---------------------------------------------------------------------------------------
# Key layouts

LDM_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
DEPRECATED_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
ATTENTION = re.compile(r"(.*\.attentions\.\d+)\.(group_norm|to_q|to_k|to_v|to_out\.0)\.(weight|bias)")


def ldm_key(key: str, levels: int) -> str:
    """The name of a diffusers tensor in the layout of the original latent-diffusion code."""
    attention = ATTENTION.fullmatch(key)
    if attention:
        path, part, kind = attention.groups()
        key = f"{path}.{LDM_ATTENTION[part]}.{kind}"
    key = key.replace("mid_block.attentions.0", "mid.attn_1")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = re.sub(r"down_blocks\.(\d)", r"down.\1", key)
    # The original code counts the decoder's levels from the picture's side.
    key = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}", key)
    key = key.replace(".resnets.", ".block.").replace(".attentions.", ".attn.")
    key = key.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
    return key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def to_ldm(state: dict, levels: int, attention_dims: int = 4) -> dict:
    """The whole model in LDM layout, where attention projections are 1x1 convolutions."""
    result = {}
    for key, tensor in state.items():
        if ATTENTION.fullmatch(key) and tensor.ndim == 2:
            tensor = tensor.reshape(tensor.shape + (1,) * (attention_dims - 2))
        result[ldm_key(key, levels)] = tensor
    return result


def to_deprecated(state: dict, as_convolutions: bool = False) -> dict:
    """Attention names from before diffusers 0.15; optionally with 4-D and 3-D weights."""
    result = {}
    for key, tensor in state.items():
        attention = ATTENTION.fullmatch(key)
        if attention and attention[2] != "group_norm":
            path, part, kind = attention.groups()
            if as_convolutions and kind == "weight":
                extra = 2 if key.startswith("encoder.") else 1
                tensor = tensor.reshape(tensor.shape + (1,) * extra)
            key = f"{path}.{DEPRECATED_ATTENTION[part]}.{kind}"
        result[key] = tensor
    return result


def foreign_tensors() -> dict:
    """Tensors that whole checkpoints hold beside the autoencoder, some with tempting names."""
    g = torch.Generator().manual_seed(99)
    return {
        "model.diffusion_model.input_blocks.0.0.weight": torch.randn(8, 4, 3, 3, generator=g).half(),
        "model.diffusion_model.middle_block.0.in_layers.0.bias": torch.randn(8, generator=g),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "cond_stage_model.transformer.text_model.encoder.layers.0.self_attn.k_proj.weight": torch.randn(
            4, 4, generator=g
        ).bfloat16(),
        "loss.logvar": torch.zeros(()),
        "loss.discriminator.main.0.weight": torch.randn(4, 3, 4, 4, generator=g),
        "first_stage_model.loss.logvar": torch.ones(()),
        "first_stage_model.loss.perceptual_loss.lin0.model.1.weight": torch.randn(1, 4, 1, 1, generator=g),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(470000, dtype=torch.int32),
        "model_ema.decoder.conv_in.weight": torch.randn(4, 4, 3, 3, generator=g),
        "betas": torch.linspace(0.00085, 0.012, 10, dtype=torch.float64),
    }


# ---------------------------------------------------------------------------------------
# File forms: each writes the weights of one case into its folder


def save(path: Path, tensors: dict) -> None:
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # the writer leaves its files readable by their owner only


def write_folder(folder: Path, case: "Case", state: dict) -> None:
    save(folder / f"{WEIGHTS}.safetensors", state)


def write_variant(folder: Path, case: "Case", state: dict) -> None:
    save(folder / f"{WEIGHTS}.fp16.safetensors", state)


def write_shards(folder: Path, case: "Case", state: dict, count: int = 3) -> None:
    """Deal the tensors out in turn, so that no block lies in one shard only."""
    names = [f"{WEIGHTS}-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    weight_map = {key: names[i % count] for i, key in enumerate(state)}
    for name in names:
        save(folder / name, {k: v for k, v in state.items() if weight_map[k] == name})
    total = sum(v.numel() * v.element_size() for v in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / f"{WEIGHTS}.safetensors.index.json", index)


def write_ldm(folder: Path, case: "Case", state: dict) -> None:
    save(folder / "model.safetensors", to_ldm(state, case.levels))


def write_ldm_flat(folder: Path, case: "Case", state: dict) -> None:
    """As above with 3-D attention weights, as a Conv1d would have them."""
    save(folder / "model.safetensors", to_ldm(state, case.levels, attention_dims=3))


def write_ldm_whole_checkpoint(folder: Path, case: "Case", state: dict) -> None:
    tensors = {f"first_stage_model.{k}": v for k, v in to_ldm(state, case.levels).items()}
    save(folder / "model.safetensors", tensors | foreign_tensors())


def write_prefixed(folder: Path, case: "Case", state: dict) -> None:
    tensors = {f"vae.{k}": v for k, v in state.items()}
    tensors["transformer.x_embedder.proj.bias"] = torch.zeros(4)
    save(folder / "model.safetensors", tensors)


def write_deprecated(folder: Path, case: "Case", state: dict) -> None:
    save(folder / f"{WEIGHTS}.safetensors", to_deprecated(state))


def write_deprecated_convolutions(folder: Path, case: "Case", state: dict) -> None:
    save(folder / f"{WEIGHTS}.safetensors", to_deprecated(state, as_convolutions=True))


def write_unaligned(folder: Path, case: "Case", state: dict) -> None:
    """A valid file by hand whose data section begins at an odd offset.

    The official writer pads the header to a multiple of eight; older ones did not.
    """
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for key, tensor in state.items():
        blob = tensor.contiguous().numpy().astype("<f4").tobytes()
        end = offset + len(blob)
        header[key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        blobs.append(blob)
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * ((3 - len(text)) % 8)
    assert len(text) % 8 == 3
    path = folder / f"{WEIGHTS}.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


SINGLE_FILE_FORMS = (write_ldm, write_ldm_flat, write_ldm_whole_checkpoint, write_prefixed)

# ---------------------------------------------------------------------------------------
# The cases


@dataclass
class Case:
    name: str
    about: str
    channels: tuple
    groups: int
    latents: tuple
    image: tuple
    config: dict = field(default_factory=dict)
    form: Callable = write_folder
    dtype: torch.dtype | str = torch.float32
    written_config: dict | None = None
    clamp: bool = False
    tiled: bool = False

    @property
    def levels(self) -> int:
        return len(self.channels)

    @property
    def single_file(self) -> bool:
        return self.form in SINGLE_FILE_FORMS

    @property
    def seed(self) -> int:
        """From the name, so that adding a case leaves the others as they are."""
        return zlib.crc32(self.name.encode()) & 0x7FFFFFFF

    def full_config(self) -> dict:
        base = {
            "down_block_types": ["DownEncoderBlock2D"] * self.levels,
            "up_block_types": ["UpDecoderBlock2D"] * self.levels,
            "block_out_channels": list(self.channels),
            "norm_num_groups": self.groups,
        }
        return base | self.config


CASES = [
    Case(
        "sd_like",
        "Stable Diffusion's own shape in small: four levels, two resnets each, 5x7 latents",
        (8, 8, 16, 16), 4, (1, 4, 5, 7), (1, 3, 40, 56),
        {"layers_per_block": 2, "sample_size": 512},
    ),
    Case(
        "missing_keys_bf16",
        "config.json with three keys only, all others at their defaults, and unknown keys; one level; "
        "one channel per group; bf16 weights; 17x9 latents",
        (32,), 32, (1, 4, 17, 9), (1, 3, 13, 11),
        dtype=torch.bfloat16,
        written_config={
            "_class_name": "AutoencoderKL",
            "_name_or_path": "somebody/some-vae",
            "block_out_channels": [32],
            "a_key_of_a_later_version": {"nested": [1, None]},
        },
    ),
    Case(
        "attn_blocks_swish",
        "attention inside the levels, one type name with the UNetRes prefix in each half; swish",
        (8, 12), 4, (1, 4, 9, 6), (1, 3, 21, 18),
        {
            "down_block_types": ["UNetResDownEncoderBlock2D", "AttnDownEncoderBlock2D"],
            "up_block_types": ["UNetResAttnUpDecoderBlock2D", "UpDecoderBlock2D"],
            "act_fn": "swish",
        },
    ),
    Case(
        "mish_three_resnets",
        "mish; three resnets a level; no quant_conv; six channels",
        (6, 12, 12), 3, (1, 4, 6, 5), (1, 3, 26, 23),
        {"layers_per_block": 3, "act_fn": "mish", "use_quant_conv": False},
        dtype=torch.float16,
    ),
    Case(
        "gelu_no_post_quant",
        "GeLU in mixed case; no post_quant_conv; eight latent channels; batch 2",
        (10, 20), 5, (2, 8, 5, 7), (2, 3, 12, 15),
        {"act_fn": "GeLU", "latent_channels": 8, "use_post_quant_conv": False},
        dtype=torch.float16,
    ),
    Case(
        "relu_no_mid_attention",
        "the CogView4 shape in small: relu, no attention in the middle, neither quant convolution, "
        "16 latent channels, shift factor, no upcast",
        (6, 24), 6, (1, 16, 8, 6), (1, 3, 17, 16),
        {
            "act_fn": "relu", "latent_channels": 16, "mid_block_add_attention": False,
            "use_quant_conv": False, "use_post_quant_conv": False, "force_upcast": False,
            "scaling_factor": 0.3611, "shift_factor": 0.1159, "sample_size": 1024,
        },
        dtype=torch.bfloat16,
    ),
    Case(
        "grey_one_channel",
        "one channel in and out, three levels, eight latent channels, as audio models have",
        (8, 16, 16), 8, (1, 8, 9, 5), (1, 1, 33, 20),
        {"in_channels": 1, "out_channels": 1, "latent_channels": 8, "scaling_factor": 0.9227},
        dtype=torch.float16,
    ),
    Case(
        "four_in_three_out",
        "four channels in, three out; three latent channels with mean and std; sample_size as a list; "
        "odd picture of 37x51",
        (8, 8, 16), 2, (1, 3, 7, 10), (1, 4, 37, 51),
        {
            "in_channels": 4, "latent_channels": 3, "scaling_factor": 0.5, "sample_size": [64, 48],
            "latents_mean": [-1.6574, 1.886, -1.383], "latents_std": [8.4927, 5.9022, 6.5498],
        },
    ),
    Case(
        "five_levels",
        "five levels, one latent channel, 37x51 truncated four times",
        (4, 8, 8, 12, 12), 4, (1, 1, 3, 2), (1, 3, 37, 51),
        {"latent_channels": 1},
        dtype=torch.float16,
    ),
    Case(
        "fp16_variant",
        "only the fp16 variant file in the folder; 10 channels; 40x24 latents",
        (10, 10), 5, (1, 4, 40, 24), (1, 3, 48, 40),
        {"force_upcast": False},
        form=write_variant, dtype=torch.float16,
    ),
    Case(
        "bf16_batch2",
        "bf16 weights, batch 2",
        (16, 16), 8, (2, 4, 6, 7), (2, 3, 14, 17),
        dtype=torch.bfloat16,
    ),
    Case(
        "sharded",
        "three shards and an index; four latent channels with mean and std",
        (8, 16), 4, (1, 4, 7, 5), (1, 3, 16, 12),
        {
            "scaling_factor": 0.5, "sample_size": 1024,
            "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
            "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
        },
        form=write_shards,
    ),
    Case(
        "ldm_bare",
        "a bare single file in LDM layout whose config can be told from the shapes alone (32 groups, silu)",
        (32, 32), 32, (1, 4, 7, 5), (1, 3, 12, 11),
        {"sample_size": 512},
        form=write_ldm, dtype=torch.float16,
    ),
    Case(
        "ldm_checkpoint",
        "a whole LDM checkpoint: first_stage_model. prefix among foreign tensors of other types",
        (8, 12, 16), 4, (1, 4, 6, 9), (1, 3, 25, 22),
        form=write_ldm_whole_checkpoint, dtype=torch.float16,
    ),
    Case(
        "vae_prefix",
        "a single file in diffusers layout with the vae. prefix; the FLUX shape in small",
        (8, 16), 4, (1, 16, 6, 4), (1, 3, 13, 14),
        {
            "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False,
            "scaling_factor": 0.3611, "shift_factor": 0.1159,
        },
        form=write_prefixed, dtype=torch.bfloat16,
    ),
    Case(
        "ldm_level_attention",
        "LDM layout with attention inside levels (down.I.attn.J, up.I.attn.J), as kl-f16 and kl-f32 have",
        (6, 8, 12), 2, (1, 4, 5, 6), (1, 3, 22, 27),
        {
            "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D", "AttnDownEncoderBlock2D"],
            "up_block_types": ["AttnUpDecoderBlock2D", "AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
        },
        form=write_ldm,
    ),
    Case(
        "ldm_flat_attention",
        "LDM layout with three-dimensional attention weights",
        (8, 8), 4, (1, 4, 6, 6), (1, 3, 12, 12),
        form=write_ldm_flat,
    ),
    Case(
        "deprecated_names",
        "attention tensors under their old names query, key, value, proj_attn",
        (8, 12), 4, (1, 4, 6, 5), (1, 3, 12, 11),
        form=write_deprecated,
    ),
    Case(
        "deprecated_convolutions",
        "the old names with weights of 1x1 convolutions: 4-D in the encoder, 3-D in the decoder",
        (8, 12), 4, (1, 4, 5, 6), (1, 3, 11, 12),
        form=write_deprecated_convolutions,
    ),
    Case(
        "mixed_dtypes",
        "float64 tensors, and some of float32, float16 and bfloat16 among them",
        (6, 10), 2, (1, 4, 7, 6), (1, 3, 15, 12),
        dtype="mixed",
    ),
    Case(
        "unaligned_header",
        "a data section that begins at an odd offset in the file",
        (8, 8), 2, (1, 4, 6, 7), (1, 3, 12, 14),
        form=write_unaligned,
    ),
    Case(
        "latent_1x1",
        "one latent, from a picture of 7x5: attention over one token, GroupNorm over two to four values",
        (4, 8, 8), 2, (1, 4, 1, 1), (1, 3, 7, 5),
    ),
    Case(
        "logvar_clamp",
        "log variances on both sides of the clamp to [-30, 20]",
        (8,), 4, (1, 4, 8, 8), (1, 3, 9, 10),
        clamp=True,
    ),
    Case(
        "wide_36",
        "6 and 36 channels, one channel per group in the first level; 40x24 latents",
        (6, 36), 6, (1, 4, 40, 24), (1, 3, 31, 29),
        {"out_channels": 1},
        dtype=torch.float16,
    ),
    Case(
        "tiled",
        "sample_size 32, so that diffusers' tiling cuts both inputs; holds tiled results as well",
        (6, 6, 6), 3, (1, 4, 19, 13), (1, 3, 52, 72),
        {"sample_size": 32},
        tiled=True,
    ),
]

# ---------------------------------------------------------------------------------------
# Reference results


def stored_weights(case: Case, vae: AutoencoderKL) -> dict:
    """The weights as the file will hold them."""
    mixed = (torch.float64, torch.float64, torch.float32, torch.float16, torch.bfloat16)
    state = {}
    for i, (key, tensor) in enumerate(vae.state_dict().items()):
        dtype = mixed[i % len(mixed)] if case.dtype == "mixed" else case.dtype
        state[key] = tensor.detach().to(dtype).clone()
    return state


def model_from(case: Case, state: dict, dtype: torch.dtype) -> AutoencoderKL:
    """Results come from the rounded weights: rounding them is the file's doing, not the run's."""
    vae = AutoencoderKL(**case.full_config()).to(dtype).eval()
    vae.load_state_dict({k: v.to(dtype) for k, v in state.items()})
    return vae


def psnr(found: torch.Tensor, reference: torch.Tensor) -> float:
    """In dB, against the range (max - min) of the reference."""
    difference = found.double() - reference.double()
    mse = difference.square().mean().item()
    if mse == 0:
        return math.inf
    span = (reference.max() - reference.min()).item()
    return 10 * math.log10(span**2 / mse)


def summary(reference: torch.Tensor, single: torch.Tensor) -> dict:
    error = (single.double() - reference).abs().max().item()
    return {
        "max_abs": reference.abs().max().item(),
        "min": reference.min().item(),
        "max": reference.max().item(),
        "std": reference.std().item() if reference.numel() > 1 else 0.0,
        # Measured, and the last digits differ from machine to machine.
        "torch_f32_max_abs_error": float(f"{error:.3g}"),
    }


def as_stored(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.numel() <= MAX_F64_VALUES else tensor.float()


def channel_values(values, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1).expand_as(like)


def pipeline_latents(config, latents: torch.Tensor, into_model: bool) -> torch.Tensor:
    """What pipelines do between the denoiser's latents and the autoencoder's."""
    latents = latents.double()
    scale, shift = config.scaling_factor, config.shift_factor or 0.0
    if config.latents_mean is not None and config.latents_std is not None:
        mean = channel_values(config.latents_mean, latents)
        std = channel_values(config.latents_std, latents)
        return latents * std / scale + mean if into_model else (latents - mean) * scale / std
    return latents / scale + shift if into_model else (latents - shift) * scale


def posterior_results(moments: torch.Tensor, noise: torch.Tensor, other: torch.Tensor) -> dict:
    posterior = DiagonalGaussianDistribution(moments)
    sample = posterior.mean + posterior.std * noise.double()
    return {
        "mode": posterior.mode(),
        "sample": sample,
        "kl": posterior.kl(),
        "nll": posterior.nll(sample),
        "kl_other": posterior.kl(DiagonalGaussianDistribution(other.double())),
    }


def other_posterior(shape, generator: torch.Generator) -> torch.Tensor:
    mean, logvar = torch.randn(shape, generator=generator).chunk(2, dim=1)
    return torch.cat([mean, 0.5 * logvar - 1], dim=1)


@torch.no_grad()
def references(case: Case, state: dict) -> tuple[dict, dict]:
    g = torch.Generator().manual_seed(case.seed ^ 0x5EED)
    latents = torch.randn(case.latents, generator=g)
    image = smooth_picture(g, case.image)
    vae64, vae32, vae16 = (model_from(case, state, t) for t in (torch.float64, torch.float32, torch.bfloat16))

    decoded, single, half = (
        v.decode(latents.to(v.dtype)).sample for v in (vae64, vae32, vae16)
    )
    moments, single_moments, half_moments = (
        v.encode(image.to(v.dtype)).latent_dist.parameters for v in (vae64, vae32, vae16)
    )
    noise_seed = case.seed % 1000
    shape = (moments.shape[0], moments.shape[1] // 2, *moments.shape[2:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(noise_seed))
    other = other_posterior(moments.shape, g)
    tensors = {
        "latents": latents,
        "decoded_f64": as_stored(decoded),
        "image": image,
        "moments": as_stored(moments),
        "noise": noise,
        "other_moments": other,
        "latents_denormalised": pipeline_latents(vae64.config, latents, into_model=True),
    }
    tensors |= posterior_results(moments, noise, other)
    tensors["mode_normalised"] = pipeline_latents(vae64.config, tensors["mode"], into_model=False)
    if case.tiled:
        tensors |= tiled_results(vae64, latents, image)
    facts = {
        "noise_seed": noise_seed,
        "decoded": summary(decoded, single),
        "moments": summary(moments, single_moments),
        "decoded_bf16_torch_psnr": round(psnr(half, decoded), 2),
        "moments_bf16_torch_psnr": round(psnr(half_moments, moments), 2),
        "decoded_f32_torch_psnr": round(psnr(single, decoded), 2),
        "moments_f32_torch_psnr": round(psnr(single_moments, moments), 2),
    }
    return tensors, facts


def tiled_results(vae: AutoencoderKL, latents: torch.Tensor, image: torch.Tensor) -> dict:
    vae.enable_tiling()
    decoded = vae.decode(latents.double()).sample
    moments = vae.encode(image.double()).latent_dist.parameters
    vae.disable_tiling()
    return {"decoded_tiled_f64": as_stored(decoded), "moments_tiled": as_stored(moments)}


# ---------------------------------------------------------------------------------------
# Writing one case


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def config_of(vae: AutoencoderKL) -> dict:
    config = json.loads(vae.to_json_string())
    config.pop("_name_or_path", None)
    return config


def save_reference(path: Path, tensors: dict, metadata: dict) -> None:
    # One metadata key only: the writer puts several in no fixed order.
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path, metadata=metadata)
    path.chmod(0o644)


def meta_of(case: Case, vae: AutoencoderKL, state: dict) -> dict:
    defaults = default_arguments()
    config = config_of(vae)
    changed = sorted(k for k, v in defaults.items() if k in config and config[k] != v)
    return {
        "name": case.name,
        "description": case.about,
        "seed": case.seed,
        "form": case.form.__name__.removeprefix("write_"),
        "weights_dtype": str(case.dtype).removeprefix("torch."),
        "parameters": sum(v.numel() for v in state.values()),
        "covers": changed,
        "force_upcast": config["force_upcast"],
    }


def default_arguments() -> dict:
    parameters = inspect.signature(AutoencoderKL.__init__).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    # Through JSON, where a tuple is a list, to compare with a written config.
    return json.loads(json.dumps(defaults))


def write_case(case: Case) -> dict:
    folder = DATA / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    vae = make_model(case.full_config(), case.seed)
    if case.clamp:
        push_logvar_over_clamp(vae)
    state = stored_weights(case, vae)
    case.form(folder, case, state)
    config_name = "expected_config.json" if case.single_file or case.written_config else "config.json"
    write_json(folder / config_name, config_of(vae))
    if case.written_config:
        write_json(folder / "config.json", case.written_config)
    tensors, facts = references(case, state)
    save_reference(folder / "reference.safetensors", tensors, {"noise_seed": str(facts["noise_seed"])})
    meta = meta_of(case, vae, state) | facts
    write_json(folder / "meta.json", meta)
    return meta


# ---------------------------------------------------------------------------------------
# Random numbers


def sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().astype("<f4").tobytes()).hexdigest()


def randn_draws() -> dict:
    """Every draw by name. Draw 2 continues the generator of draw 1."""
    draws = {}
    for seed in RANDN_SEEDS:
        for shape in RANDN_SHAPES:
            g = torch.Generator().manual_seed(seed)
            for draw in (1, 2):
                name = f"seed{seed}/{'x'.join(map(str, shape))}/draw{draw}"
                draws[name] = torch.randn(shape, generator=g)
        # Short draws keep half of a pair for the next call, across long ones in between.
        g = torch.Generator().manual_seed(seed)
        for i, size in enumerate(RANDN_SEQUENCE):
            draws[f"seed{seed}/sequence/{i}_{size}"] = torch.randn(size, generator=g)
    return draws


def write_randn() -> None:
    draws = randn_draws()
    hashes = {name: {"shape": list(t.shape), "sha256": sha256(t)} for name, t in draws.items()}
    write_json(DATA / "randn.json", hashes)
    whole = tuple(f"seed{s}/" for s in RANDN_WHOLE)
    kept = {n: t for n, t in draws.items() if t.numel() < 4096 or n.startswith(whole)}
    save_reference(DATA / "randn.safetensors", kept, {"torch": PINS["torch"]})


# ---------------------------------------------------------------------------------------
# Pictures


def picture_pixels(height: int, width: int, channels: int) -> np.ndarray:
    """A float picture in [0, 1] that is different under every flip and turn."""
    y, x = np.mgrid[0:height, 0:width] / (max(height, width) - 1.0)
    planes = (
        0.5 + 0.5 * np.sin(5.0 * x + 2.0 * y),
        np.clip(1.2 * y + 0.3 * x * x, 0, 1),
        np.exp(-18 * ((x - 0.3) ** 2 + (y - 0.15) ** 2)),
        np.clip(1.3 - x - 0.5 * y, 0, 1),
    )
    return np.stack(planes[:channels], axis=-1)


def to_u8(picture: np.ndarray) -> np.ndarray:
    return np.round(picture * 255).astype(np.uint8)


def to_u16(picture: np.ndarray) -> np.ndarray:
    return np.round(picture * 65535).astype(np.uint16)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def write_png16(path: Path, pixels: np.ndarray) -> None:
    """A 16-bit PNG by hand, since Pillow writes no 16-bit colour."""
    height, width = pixels.shape[:2]
    colour_type = 2 if pixels.ndim == 3 else 0
    rows = pixels.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(k, b) for k, b in chunks))


def read_as_rgb(path: Path) -> np.ndarray:
    """As diffusers' load_image: EXIF orientation, then RGB."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB")).copy()


def write_picture_files(folder: Path) -> None:
    rgb, rgba = to_u8(picture_pixels(24, 40, 3)), to_u8(picture_pixels(24, 40, 4))
    picture = Image.fromarray(rgb)
    picture.save(folder / "rgb.png")
    Image.fromarray(rgba).save(folder / "rgba.png")
    Image.fromarray(rgb[..., 0]).save(folder / "grey8.png")
    picture.quantize(32, dither=Image.Dither.NONE).save(folder / "palette.png")
    picture.save(folder / "lossless.webp", lossless=True)
    write_png16(folder / "grey16.png", to_u16(picture_pixels(24, 40, 1))[..., 0])
    write_png16(folder / "rgb16.png", to_u16(picture_pixels(24, 40, 3)))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "orientation6.jpg", quality=95, subsampling=0, exif=exif)
    Image.fromarray(to_u8(picture_pixels(29, 45, 3))).save(folder / "resize_45x29.png")


def write_pictures() -> None:
    folder = DATA / "images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_picture_files(folder)
    expected = {p.name: torch.from_numpy(read_as_rgb(p)) for p in sorted(folder.iterdir())}
    # Pillow clips 16-bit grey at 255 when it makes RGB of it; this is what was meant.
    grey = (to_u16(picture_pixels(24, 40, 1)) + 128.0) // 257
    expected["grey16.png/scaled"] = torch.from_numpy(grey.astype(np.uint8).repeat(3, axis=2))
    processor = VaeImageProcessor(vae_scale_factor=8)
    with Image.open(folder / "resize_45x29.png") as image:
        expected["resize_45x29.png/preprocessed"] = processor.preprocess(image)
    with Image.open(folder / "rgb.png") as image:
        expected["rgb.png/preprocessed"] = processor.preprocess(image)
        expected["rgb.png/preprocessed_64x32"] = processor.preprocess(image, height=32, width=64)
    save_reference(folder / "expected.safetensors", expected, {"pillow": PINS["pillow"]})


# ---------------------------------------------------------------------------------------
# Loading the files again


def load_like_diffusers(folder: Path) -> AutoencoderKL:
    if (folder / "config.json").exists():
        variant = "fp16" if (folder / f"{WEIGHTS}.fp16.safetensors").exists() else None
        return AutoencoderKL.from_pretrained(folder, variant=variant, torch_dtype=torch.float32)
    # from_single_file takes its config from a folder with a config.json in it.
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(folder / "expected_config.json", Path(scratch) / "config.json")
        return AutoencoderKL.from_single_file(str(folder / "model.safetensors"), config=scratch)


@torch.no_grad()
def check_case(case: Case) -> str:
    folder = DATA / case.name
    reference = load_file(folder / "reference.safetensors")
    try:
        vae = load_like_diffusers(folder).float().eval()
        decoded = vae.decode(reference["latents"]).sample
        moments = vae.encode(reference["image"]).latent_dist.parameters
    except Exception as error:  # what diffusers refuses is a finding, not a failure
        return f"refused: {type(error).__name__}: {str(error).splitlines()[0][:90]}"
    worst = min(psnr(decoded, reference["decoded_f64"]), psnr(moments, reference["moments"]))
    return f"{worst:.1f} dB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="load the files as diffusers would")
    parser.add_argument("--only", help="one case by its name")
    options = parser.parse_args()
    check_pins()
    diffusers_logging.set_verbosity_error()
    # One thread and plain kernels: the same sums in the same order on every run.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    cases = [c for c in CASES if options.only in (None, c.name)]
    if options.check:
        for case in cases:
            print(f"{case.name:26s} {check_case(case)}")
        return
    for case in cases:
        meta = write_case(case)
        size = sum(p.stat().st_size for p in (DATA / case.name).iterdir())
        errors = [meta[k]["torch_f32_max_abs_error"] for k in ("decoded", "moments")]
        half = meta["decoded_bf16_torch_psnr"], meta["moments_bf16_torch_psnr"]
        print(f"{case.name:26s} {size / 1024:7.0f} KiB  torch f32 errors {errors}  bf16 dB {half}")
    if options.only is None:
        write_randn()
        write_pictures()


if __name__ == "__main__":
    main()
