#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = [
#   "torch==2.15.0",
#   "diffusers==0.42.1",
#   "transformers==5.24.0",
#   "accelerate==1.15.0",
#   "scikit-image==0.26.0",
#   "safetensors==0.8.0",
#   "numpy==2.4.6",
# ]
# ///
"""Trains the default model of the `vaekl` command: a small AutoencoderKL, f8, 16 latent channels.

    python cli/model/train.py --out DIR

Data: the pictures bundled with scikit-image, never the astronaut, and textures drawn by this
script. Everything is drawn from --seed, so that a run can be repeated; torch's threads may still
change last bits. Every --export-every steps the averaged weights are written to DIR as diffusers
writes them, in f16, and the astronaut is reconstructed for the log: it is never trained on and
chooses nothing but the time to stop.
"""
import argparse, copy, json, math, os, time

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from skimage import color, data, io, transform

PICTURES = ["brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
            "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png",
            "motorcycle_right.png", "retina.jpg", "rocket.jpg", "page.png", "color.png"]
# Pictures with much to learn from in little space are drawn more often.
WEIGHTS = {"chelsea.png": 4, "coffee.png": 4, "rocket.jpg": 3, "motorcycle_left.png": 3,
           "motorcycle_right.png": 3, "hubble_deep_field.jpg": 1.5, "camera.png": 2}
CONFIG = dict(in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 4,
              up_block_types=["UpDecoderBlock2D"] * 4, block_out_channels=[16, 32, 64, 128],
              layers_per_block=1, act_fn="silu", latent_channels=16, norm_num_groups=8,
              sample_size=512, force_upcast=False)


def load_pictures():
    """Each picture, RGB in [0, 1], at full, 0.7, 0.5 and 0.35 of its size, with more edges."""
    folder, pyramid, weights = os.path.dirname(data.__file__), [], []
    for name in PICTURES:
        picture = io.imread(os.path.join(folder, name))
        picture = color.gray2rgb(picture) if picture.ndim == 2 else picture[..., :3]
        picture = picture.astype(np.float32) / 255
        for scale in (1.0, 0.7, 0.5, 0.35):
            size = [round(n * scale) for n in picture.shape[:2]]
            if min(size) < 160:
                continue
            small = transform.resize(picture, size, anti_aliasing=True) if scale < 1 else picture
            pyramid.append(small.astype(np.float32))
            weights.append(WEIGHTS.get(name, 1.0))
    return pyramid, np.array(weights) / sum(weights)


def texture(rng, size=192):
    """A drawn picture: noise of several octaves in a palette, with stripes, discs and lines."""
    field = np.zeros((size, size), np.float32)
    for octave in range(2, 2 + rng.integers(1, 6)):
        grid = rng.standard_normal((2**octave, 2**octave)).astype(np.float32)
        field += transform.resize(grid, (size, size), order=3) / 1.7 ** (octave - 2)
    field = (field - field.min()) / (np.ptp(field) + 1e-6)
    palette = rng.random((rng.integers(2, 6), 3)).astype(np.float32)
    at = np.linspace(0, 1, len(palette))
    picture = np.stack([np.interp(field, at, palette[:, c]) for c in range(3)], -1)
    picture = picture.astype(np.float32)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(rng.integers(0, 7)):
        shade, soft = rng.random(3).astype(np.float32), rng.uniform(0.6, 2.5)
        kind = rng.integers(0, 3)
        angle, phase = rng.uniform(0, math.pi), rng.uniform(0, size)
        along = x * math.cos(angle) + y * math.sin(angle)
        if kind == 0:  # a disc
            radius = rng.uniform(4, 50)
            inside = radius - np.hypot(x - rng.uniform(0, size), y - rng.uniform(0, size))
        elif kind == 1:  # an edge or a line
            inside = rng.uniform(1, 40) - np.abs(along - phase)
        else:  # stripes
            inside = np.sin(along * 2 * math.pi / rng.uniform(5, 40)) * 4 - rng.uniform(0, 3)
        cover = np.clip(inside / soft + 0.5, 0, 1)[..., None] * rng.uniform(0.3, 1)
        picture = picture * (1 - cover) + shade * cover
    return picture.astype(np.float32)


def crop(rng, picture, size):
    """A square of `picture`, turned, mirrored and recoloured."""
    top, left = (rng.integers(0, n - size + 1) for n in picture.shape[:2])
    out = np.rot90(picture[top:top + size, left:left + size], rng.integers(0, 4))
    if rng.random() < 0.5:
        out = out[:, ::-1]
    if rng.random() < 0.4:
        out = out[..., rng.permutation(3)]
    if rng.random() < 0.5:
        out = np.clip(out * rng.uniform(0.6, 1.3, 3) + rng.uniform(-0.15, 0.15, 3), 0, 1)
    return out.transpose(2, 0, 1).astype(np.float32) * 2 - 1


class Crops:
    def __init__(self, rng):
        self.rng = rng
        self.pictures, self.weights = load_pictures()
        self.textures = [texture(rng) for _ in range(96)]

    def batch(self, count, size):
        out = []
        for _ in range(count):
            if self.rng.random() < 0.2 and size <= 192:
                picture = self.textures[self.rng.integers(len(self.textures))]
            else:
                while True:
                    picture = self.pictures[self.rng.choice(len(self.pictures), p=self.weights)]
                    if min(picture.shape[:2]) >= size:
                        break
            out.append(crop(self.rng, picture, size))
        return torch.from_numpy(np.stack(out))


def calm(vae):
    """Residual branches start at zero: the network begins as its chain of resampling convolutions,
    which learns the coarse picture in the first hundred steps."""
    for name, parameter in vae.named_parameters():
        if ".conv2." in name or ".to_out.0." in name:
            torch.nn.init.zeros_(parameter)


def psnr(vae, picture):
    """PSNR over 8-bit values of an (H, W, 3) picture's reconstruction from the mode."""
    x = torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        y = vae.decode(vae.encode(x).latent_dist.mode()).sample
    y = ((y * 0.5 + 0.5).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    error = np.mean((y - picture.astype(np.float32)) ** 2)
    return 10 * math.log10(255**2 / error), y.astype(np.uint8)


def export(vae, crops_rng_seed, out):
    """Writes config and f16 weights; scaled and shifted, latents of crops are standard normal."""
    vae = copy.deepcopy(vae).eval()
    crops = Crops(np.random.default_rng(crops_rng_seed))
    with torch.no_grad():
        latents = torch.cat([vae.encode(crops.batch(8, 128)).latent_dist.mode() for _ in range(4)])
    vae.register_to_config(
        scaling_factor=round(1 / latents.std().item(), 4),
        shift_factor=round(latents.mean().item(), 4),
    )
    half = vae.half()
    half.save_pretrained(out, safe_serialization=True)
    return AutoencoderKL.from_pretrained(out).float()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--export-every", type=int, default=500)
    parser.add_argument(
        "--bf16", action="store_true", help="bf16 arithmetic where the processor has it"
    )
    parser.add_argument(
        "--max-minutes", type=float, default=1e9, help="shorten the schedule to end by then"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    crops = Crops(np.random.default_rng(args.seed))
    vae = AutoencoderKL(**CONFIG)
    calm(vae)
    average = copy.deepcopy(vae).eval()
    print(sum(p.numel() for p in vae.parameters()), "parameters", flush=True)
    optimizer = torch.optim.AdamW(
        vae.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-4
    )
    start, steps = time.time(), args.steps
    for step in range(args.steps):
        spent = (time.time() - start) / 60
        progress = max(step / steps, spent / args.max_minutes)
        if progress >= 1:
            break
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        rate = args.rate * min(1, (step + 1) / 100) * cosine
        for group in optimizer.param_groups:
            group["lr"] = rate
        # Small crops teach fastest; large ones at the end bring the statistics of whole pictures.
        count, size = (12, 64) if progress < 0.65 else (6, 96) if progress < 0.85 else (2, 160)
        x = crops.batch(count, size)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            posterior = vae.encode(x).latent_dist
            y = vae.decode(posterior.sample()).sample.float()
        loss = (
            4 * F.mse_loss(y, x) + 0.25 * F.l1_loss(y, x) + 1e-6 * posterior.kl().sum() / x.numel()
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        decay = min(0.998, (step + 1) / (step + 20))
        with torch.no_grad():
            for a, p in zip(average.parameters(), vae.parameters()):
                a.lerp_(p, 1 - decay)
        if step % 50 == 0:
            print(
                f"{step} loss {loss.item():.5f} rate {rate:.2e} {time.time() - start:.0f} s",
                flush=True,
            )
        if (step + 1) % args.export_every == 0:
            figure = psnr(export(average, args.seed, args.out), data.astronaut())[0]
            print("astronaut", f"{figure:.2f} dB", flush=True)
    final = export(average, args.seed, args.out)
    figure, picture = psnr(final, data.astronaut())
    io.imsave(os.path.join(args.out, "astronaut_reconstructed.png"), picture)
    minutes = round((time.time() - start) / 60, 1)
    print(json.dumps(dict(astronaut_psnr=round(figure, 2), steps=step + 1, minutes=minutes)))


if __name__ == "__main__":
    main()
