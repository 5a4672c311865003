"""The model, the inputs and the references of compare.py; setup.sh calls this once for each.

make_model.py model --dir DIR [--family tiny]               the model: a diffusers folder
make_model.py input --dir DIR --what decode --size 512      what is decoded or encoded
make_model.py f32|f64 --dir DIR --what decode --size 512    what diffusers makes of it
"""

import argparse
import json
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
DTYPES = {"f32": torch.float32, "f64": torch.float64}


def make_model(folder: Path, family: str) -> None:
    """The random model of scripts/make_full_size.py, with attention and norms that matter, or an
    AutoencoderTiny of TAESD's shape."""
    if family == "tiny":
        torch.manual_seed(0)
        diffusers.AutoencoderTiny().save_pretrained(folder)
        return
    sys.path.insert(0, str(REPOSITORY / "scripts"))
    import make_full_size

    make_full_size.make_model().save_pretrained(folder)


def open_model(folder: Path, dtype: torch.dtype):
    """The model by the class that its configuration names."""
    name = json.loads((folder / "config.json").read_text())["_class_name"]
    return getattr(diffusers, name).from_pretrained(folder, torch_dtype=dtype).eval()


def random_latents(size: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(1000 + size)
    return torch.randn(1, 4, size // 8, size // 8, generator=generator).numpy()


def picture(size: int) -> np.ndarray:
    """The astronaut in [-1, 1], [1, 3, size, size]."""
    image = Image.open(REPOSITORY / "examples" / "astronaut.png").convert("RGB")
    image = image.resize((size, size), Image.Resampling.LANCZOS)
    scaled = np.asarray(image, dtype=np.float32) / 127.5 - 1
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


@torch.no_grad()
def reference(folder: Path, what: str, dtype: str, values: np.ndarray) -> np.ndarray:
    vae = open_model(folder, DTYPES[dtype])
    values = torch.from_numpy(values).to(DTYPES[dtype])
    if what == "decode":
        return vae.decode(values).sample.numpy()
    encoded = vae.encode(values)
    tiny = hasattr(encoded, "latents")
    return (encoded.latents if tiny else encoded.latent_dist.parameters).numpy()


def save(path: Path, values: np.ndarray) -> None:
    """Written under another name first: setup.sh takes a file that is there for a whole one."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name("partial.npy")
    np.save(partial, values)
    partial.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["model", "input", *DTYPES])
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--what", choices=["decode", "encode"])
    parser.add_argument("--size", type=int)
    parser.add_argument("--family", choices=["kl", "tiny"], default="kl")
    options = parser.parse_args()
    if options.part == "model":
        return make_model(options.dir / "model", options.family)
    stem = options.dir / "reference" / f"{options.what}_{options.size}"
    if options.part == "input":
        make = random_latents if options.what == "decode" else picture
        return save(stem.with_suffix(".npy"), make(options.size))
    values = np.load(stem.with_suffix(".npy"))
    result = reference(options.dir / "model", options.what, options.part, values)
    save(stem.with_name(f"{stem.name}_{options.part}.npy"), result)


if __name__ == "__main__":
    main()
