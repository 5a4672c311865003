"""Makes the fixtures of latents as other programs write them, in the folder latents/.

Run in this folder with numpy 2.4.6, torch 2.15.0, safetensors 0.8.0 and diffusers 0.42.1. Each
holds the values of raw.npy, which has the embedded model's 16 channels, except for those with
"other" in their name.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline
from safetensors.torch import save_file

out = Path("latents")
out.mkdir(exist_ok=True)

# A picture of 48x32. Rounded to f16, so that every type of float has the same values.
raw = torch.randn(1, 16, 4, 6, generator=torch.Generator().manual_seed(0)).half().float()
other = torch.randn(1, 16, 6, 4, generator=torch.Generator().manual_seed(1))
one = raw[0].numpy()
np.save(out / "raw.npy", raw.numpy())

# ComfyUI's SaveLatent writes an empty tensor as the mark of raw latents. LoadLatent divides what
# has none.
mark = {"latent_format_version_0": torch.tensor([])}
told = {"prompt": "{}", "workflow": "{}"}
save_file({"latent_tensor": raw, **mark}, out / "comfy.latent", metadata=told)
save_file({"latent_tensor": raw, **mark}, out / "comfy.safetensors")
save_file({"latent_tensor": other}, out / "comfy_other.latent")
np.save(out / "comfy_other.npy", (other.float() * (1.0 / 0.18215)).numpy())

# Caches of trainers: one picture, in newer ones at several sizes, each perhaps also mirrored.
size = {"original_size": np.array([48, 32]), "crop_ltrb": np.array([0, 0, 48, 32])}
np.savez(out / "cache.npz", latents=one, **size)
np.savez_compressed(
    out / "cache_sized.npz",
    latents_4x6=one,
    latents_flipped_4x6=one[:, :, ::-1].copy(),
    alpha_mask_4x6=np.ones((4, 6), np.float32),
    **{f"{name}_4x6": value for name, value in size.items()},
)
np.savez(out / "cache_sizes.npz", latents_6x4=other[0].numpy(), latents_4x6=one)
np.savez(out / "half.npz", one.astype(np.float16))
np.savez(out / "objects.npz", latents=np.array([{"not": "numbers"}], dtype=object))

save_file({"anything": raw.half()}, out / "diffusers.safetensors")
save_file({"latents": FluxPipeline._pack_latents(raw, 1, 16, 4, 6)}, out / "packed.safetensors")
np.save(out / "frame.npy", raw.numpy()[:, :, None])

torch.save(raw, out / "tensor.pt")
torch.save({"samples": raw.half(), "step": 5}, out / "samples.pth")
strided = raw.contiguous(memory_format=torch.channels_last)
torch.save({"step": torch.tensor(5), "z": strided}, out / "strided.bin")
