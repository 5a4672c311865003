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
"""Make models of every family's true width with random weights, and references.

    python scripts/make_full_size_families.py --out DIR [--only NAME ...] [--side 256]

Written to DIR/NAME (6 GB for all of them, f32 weights):

    the model, in each of its forms
    latents.npy, image.npy                    of --side pixels; condition.npy, mask.npy
    decode_f64.npy, encode_f64.npy            torch in float64; decode_masked_f64.npy
    case.json                                 the paths of the forms, and how far torch's own
                                              f32, bf16 and f16 runs are from float64, in dB

compare_full_size_families.py runs the command on them.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AsymmetricAutoencoderKL,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderTiny,
)
from diffusers import logging as diffusers_logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fixtures"))
from families import mask_like  # noqa: E402  (the path is set just above)
from family_cases import halves, levels, to_flux2_file  # noqa: E402
from family_models import decode, encode, in_dtype, make_family  # noqa: E402
from files import WEIGHTS, check_pins, save, write_json  # noqa: E402
from layouts import to_ldm  # noqa: E402
from models import config_of, smooth_picture  # noqa: E402
from references import psnr  # noqa: E402
from taesd import Taesd, to_diffusers  # noqa: E402

SEED = 15
USUAL = levels(4) | {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2}
NO_QUANT = {"use_quant_conv": False, "use_post_quant_conv": False}


def asymmetric(channels: list, layers: int) -> dict:
    return {
        "down_block_types": USUAL["down_block_types"],
        "down_block_out_channels": USUAL["block_out_channels"], "layers_per_down_block": 2,
        "up_block_types": USUAL["up_block_types"],
        "up_block_out_channels": channels, "layers_per_up_block": layers, "sample_size": 256,
    }


# Class and arguments of each model.
MODELS = {
    "sdxl": (AutoencoderKL, USUAL | {"scaling_factor": 0.13025, "sample_size": 1024}),
    "sd3": (AutoencoderKL, USUAL | NO_QUANT | {
        "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609,
    }),
    "cogview4": (AutoencoderKL, levels(4) | NO_QUANT | {
        "block_out_channels": [128, 512, 1024, 1024], "layers_per_block": 3,
        "latent_channels": 16, "mid_block_add_attention": False, "scaling_factor": 1.0,
    }),
    "flux2": (AutoencoderKLFlux2, {}),
    "flux2_small_decoder": (
        AutoencoderKLFlux2, {"decoder_block_out_channels": [96, 192, 384, 384]}
    ),
    "taesd": (Taesd, {"width": 64, "latents": 4}),
    "taesd3": (Taesd, {"width": 64, "latents": 16}),
    "taef2": (Taesd, {"width": 64, "latents": 32, "pooled": True}),
    "taesana": (Taesd, {"width": 64, "latents": 32, "factor": 32}),
    "asymmetric_1_5": (AsymmetricAutoencoderKL, asymmetric([192, 384, 768, 768], 3)),
    "asymmetric_2": (AsymmetricAutoencoderKL, asymmetric([256, 512, 1024, 1024], 5)),
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def write_folder(folder: Path, config: dict, state: dict) -> str:
    folder.mkdir()
    save(folder / f"{WEIGHTS}.safetensors", state)
    write_json(folder / "config.json", config)
    return folder.name


def write_taesd(folder: Path, name: str, arguments: dict, state: dict) -> dict:
    """The pair of TAESD's own, and what diffusers or its users make of it."""
    for half, part in halves(state).items():
        torch.save(part, folder / f"{name}_{half}.pth")
    forms = {"pair of .pth": {"decode": f"{name}_decoder.pth", "encode": f"{name}_encoder.pth"}}
    if "factor" in arguments:
        return forms
    if "pooled" in arguments:
        save(folder / f"{name}.safetensors", to_diffusers(state))
        return forms | {"diffusers' names": f"{name}.safetensors"}
    config = config_of(AutoencoderTiny(latent_channels=arguments["latents"]))
    return forms | {"folder": write_folder(folder / "folder", config, to_diffusers(state))}


def write_forms(folder: Path, name: str, net: torch.nn.Module, state: dict) -> dict:
    """Each form's path, or one for each direction."""
    kind, arguments = MODELS[name]
    if kind is Taesd:
        return write_taesd(folder, name, arguments, state)
    forms = {"folder": write_folder(folder / "folder", config_of(net), state)}
    if kind is AutoencoderKLFlux2 and not arguments:
        save(folder / "own.safetensors", to_flux2_file(state, levels=4))
        forms["its own file"] = "own.safetensors"
    if name in ("sdxl", "sd3"):
        save(folder / "ldm.safetensors", to_ldm(state, levels=4))
        forms["LDM file"] = "ldm.safetensors"
    return forms


def inputs(net: torch.nn.Module, name: str, side: int) -> dict:
    g = torch.Generator().manual_seed(SEED + 1)
    kind, arguments = MODELS[name]
    channels = arguments["latents"] if kind is Taesd else net.config.latent_channels
    small = side // arguments.get("factor", 8)
    found = {
        "latents": torch.randn(1, channels, small, small, generator=g),
        "image": smooth_picture(g, (1, 3, side, side)),
    }
    if kind is AsymmetricAutoencoderKL:
        found["condition"] = smooth_picture(g, (1, 3, side, side))
        found["mask"] = mask_like(g, (1, side, side))
    return found


def results(net: torch.nn.Module, given: dict, dtype: torch.dtype) -> dict:
    given = {name: tensor.to(dtype) for name, tensor in given.items()}
    start = time.perf_counter()
    found = {
        "decode": decode(net, given["latents"]),
        "encode": encode(net, given["image"]),
    }
    if "mask" in given:
        masked = {"image": given["condition"], "mask": given["mask"]}
        found["decode_masked"] = decode(net, given["latents"], **masked)
    print(f"  {str(dtype).removeprefix('torch.')}: {time.perf_counter() - start:.1f} s", flush=True)
    return found


@torch.no_grad()
def make(name: str, out: Path, options) -> None:
    print(name, flush=True)
    kind, arguments = MODELS[name]
    folder = out / name
    folder.mkdir(parents=True)
    net = make_family(lambda: kind(**arguments), SEED).float()
    state = {k: v.contiguous() for k, v in net.state_dict().items()}
    forms = write_forms(folder, name, net, state)
    given = inputs(net, name, options.side)
    exact = results(in_dtype(net, state, torch.float64), given, torch.float64)
    for key, tensor in given.items():
        np.save(folder / f"{key}.npy", tensor.numpy())
    for key, tensor in exact.items():
        np.save(folder / f"{key}_f64.npy", tensor.numpy())
    torch_db = {}
    for dtype in options.dtypes:
        found = results(in_dtype(net, state, DTYPES[dtype]), given, DTYPES[dtype])
        torch_db[dtype] = {
            key: round(psnr(t, exact[key]), 2) for key, t in found.items() if t.isfinite().all()
        }
    print(f"  {json.dumps(torch_db)}", flush=True)
    posterior = kind is not Taesd
    write_json(folder / "case.json", {"forms": forms, "posterior": posterior, "torch": torch_db})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--side", type=int, default=256, help="of the picture, a multiple of 32")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    check_pins()
    diffusers_logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    for name in options.only:
        make(name, options.out, options)


if __name__ == "__main__":
    main()
