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
"""Make a full-size model of Stable Diffusion 1.5's shape with random weights, and references.

    python scripts/make_full_size.py --out DIR [--threads N] [--skip-f64]

Real weights are not needed to measure parity, speed or memory, and random ones may be
handed on freely. Written to DIR (1.3 GB):

    sd15vae/                      config.json, f32 weights, and fp16 and bf16 variant files
    sd15vae-f16/, sd15vae-bf16/   config.json and the rounded weights under the plain name
    sd15vae_ldm.safetensors       one file in LDM layout
    sd15vae_ldm_prefixed.safetensors   the same with first_stage_model. and foreign tensors
    latents_64.npy, image_512.npy
    ref/{decode,moments}_{f32,f16,bf16}.npy   diffusers in float32 on the weights as stored
    ref/{decode,moments}_f64.npy              diffusers in float64 on the f32 weights
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fixtures"))
from files import WEIGHTS, check_pins  # noqa: E402  (the path is set just above)
from layouts import foreign_tensors, to_ldm  # noqa: E402
from models import calibrate, config_of, randomise, smooth_picture  # noqa: E402
from references import psnr  # noqa: E402

SEED = 15
CONFIG = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def make_model() -> AutoencoderKL:
    vae = AutoencoderKL(**CONFIG).eval()
    randomise(vae, SEED)
    calibrate(vae, side=16)
    return vae


def rounded(state: dict, dtype: torch.dtype) -> dict:
    return {k: v.to(dtype).contiguous() for k, v in state.items()}


def save(path: Path, tensors: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # the writer leaves its files readable by their owner only
    print(f"wrote {path.name} ({path.stat().st_size / 2**20:.0f} MiB)", flush=True)


def link_or_copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy(source, target)


def write_folders(out: Path, vae: AutoencoderKL) -> None:
    config = json.dumps(config_of(vae), indent=2) + "\n"
    state = vae.state_dict()
    for name, dtype in DTYPES.items():
        folder = out / ("sd15vae" if name == "f32" else f"sd15vae-{name}")
        save(folder / f"{WEIGHTS}.safetensors", rounded(state, dtype))
        (folder / "config.json").write_text(config)
    for name, variant in (("f16", "fp16"), ("bf16", "bf16")):
        source = out / f"sd15vae-{name}" / f"{WEIGHTS}.safetensors"
        link_or_copy(source, out / "sd15vae" / f"{WEIGHTS}.{variant}.safetensors")


def write_single_files(out: Path, vae: AutoencoderKL) -> None:
    ldm = {k: v.contiguous() for k, v in to_ldm(vae.state_dict(), levels=4).items()}
    save(out / "sd15vae_ldm.safetensors", ldm)
    prefixed = {f"first_stage_model.{k}": v for k, v in ldm.items()}
    save(out / "sd15vae_ldm_prefixed.safetensors", prefixed | foreign_tensors())


def write_inputs(out: Path) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(SEED + 1)
    latents = torch.randn(1, 4, 64, 64, generator=g)
    image = smooth_picture(g, (1, 3, 512, 512))
    np.save(out / "latents_64.npy", latents.numpy())
    np.save(out / "image_512.npy", image.numpy())
    return latents, image


@torch.no_grad()
def write_references(out: Path, vae: AutoencoderKL, name: str, latents, image) -> None:
    (out / "ref").mkdir(exist_ok=True)
    start = time.perf_counter()
    decoded = vae.decode(latents.to(vae.dtype)).sample
    middle = time.perf_counter()
    moments = vae.encode(image.to(vae.dtype)).latent_dist.parameters
    end = time.perf_counter()
    np.save(out / "ref" / f"decode_{name}.npy", decoded.numpy())
    np.save(out / "ref" / f"moments_{name}.npy", moments.numpy())
    print(
        f"{name}: decode {middle - start:.1f} s (std {decoded.std():.3f}), "
        f"encode {end - middle:.1f} s (std {moments.std():.3f})",
        flush=True,
    )


def print_errors(out: Path) -> None:
    for kind in ("decode", "moments"):
        single, double = (
            torch.from_numpy(np.load(out / "ref" / f"{kind}_{n}.npy")) for n in ("f32", "f64")
        )
        worst = (single.double() - double).abs().max().item()
        print(
            f"{kind}: diffusers f32 against f64: {psnr(single, double):.2f} dB, max abs {worst:.3g}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-f64", action="store_true", help="leave out the slow float64 runs")
    options = parser.parse_args()
    check_pins()
    torch.set_num_threads(options.threads)
    out = options.out
    out.mkdir(parents=True, exist_ok=True)

    vae = make_model()
    write_folders(out, vae)
    write_single_files(out, vae)
    latents, image = write_inputs(out)
    write_references(out, vae, "f32", latents, image)
    exact = {k: v.clone() for k, v in vae.state_dict().items()}
    for name in ("f16", "bf16"):
        vae.load_state_dict(rounded(exact, DTYPES[name]))
        write_references(out, vae, name, latents, image)
    if not options.skip_f64:
        vae.load_state_dict(exact)
        write_references(out, vae.double(), "f64", latents, image)
        print_errors(out)


if __name__ == "__main__":
    main()
