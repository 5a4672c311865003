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
#   "gguf==0.19.0",
#   "msgpack==1.1.2",
# ]
# ///
"""Every format, layout and dtype of a checkpoint, opened by the command and compared.

    python scripts/checkpoint_formats.py --vaekl target/release/vaekl --work DIR [--convert]

A model of Stable Diffusion's shape with random weights is written in each form in turn, and a
16x16 latent is decoded by the command and by diffusers in float64, from the numbers that the form
holds. One table: PSNR over the reference's range, peak memory of the command, and that memory over
the one of the same model in a plain safetensors file. With --convert each form is also converted
by the command to a folder, which diffusers must open to equal tensors. Exits with 1 if a form
fails, or is below 100 dB. DIR needs 3 GB.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import msgpack
import numpy as np
import torch
from diffusers import AutoencoderKL
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "fixtures"))
from files import WEIGHTS  # noqa: E402  (the path is set just above)
from layouts import foreign_tensors, to_ldm  # noqa: E402
from models import config_of  # noqa: E402

from make_full_size import make_model  # noqa: E402

MIN_DB = 100.0
LEVELS = 4
State = dict[str, torch.Tensor]


class Form(NamedTuple):
    """A checkpoint that was written: what it is, and the numbers that it holds."""

    format: str
    layout: str
    dtype: str
    path: Path
    state: State
    arguments: tuple[str, ...] = ()


def rounded(state: State, dtype: torch.dtype) -> State:
    return {k: v.to(dtype).contiguous() for k, v in state.items()}


def folder(work: Path, config: dict) -> Path:
    path = work / "vae"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return path


FLOATS = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f64": torch.float64,
}


def safetensors_forms(work: Path, state: State, config: dict) -> Iterator[Form]:
    for name, dtype in FLOATS.items():
        vae = folder(work, config)
        save_file(rounded(state, dtype), vae / f"{WEIGHTS}.safetensors")
        yield Form("safetensors", "diffusers folder", name, vae, rounded(state, dtype))
        if name == "f32":
            arguments = ("--disable-mmap",)
            yield Form("safetensors, not mapped", "diffusers folder", name, vae, state, arguments)
    for name in ("f32", "f16"):
        file = work / "vae.safetensors"
        held = rounded(state, FLOATS[name])
        save_file(to_ldm(held, LEVELS), file)
        yield Form("safetensors", "original, bare", name, file, held)
        whole = {f"first_stage_model.{k}": v for k, v in to_ldm(held, LEVELS).items()}
        save_file({**whole, **foreign_tensors()}, file)
        yield Form("safetensors", "original, whole checkpoint", name, file, held)
    for name, dtype in (("f8_e4m3", torch.float8_e4m3fn), ("f8_e5m2", torch.float8_e5m2)):
        tensors, held = {}, {}
        for key, value in to_ldm(state, LEVELS).items():
            tensors[f"vae.{key}"] = value
            if value.ndim < 2:
                continue
            scale = value.abs().max() / 224
            tensors[f"vae.{key}"] = (value / scale).to(dtype)
            tensors[f"vae.{key.removesuffix('weight')}scale_weight"] = scale
        keys = dict(zip(to_ldm(state, LEVELS), state, strict=True))
        for key, source in keys.items():
            value, scale = tensors[f"vae.{key}"].float(), tensors.get(
                f"vae.{key.removesuffix('weight')}scale_weight"
            )
            held[source] = (value if scale is None else value * scale).reshape(state[source].shape)
        file = work / "scaled.safetensors"
        save_file(tensors, file)
        yield Form("safetensors, scaled", "original, behind vae.", name, file, held)


def pytorch_forms(work: Path, state: State, config: dict) -> Iterator[Form]:
    for name, dtype in FLOATS.items():
        vae, held = folder(work, config), rounded(state, dtype)
        torch.save(held, vae / f"{WEIGHTS}.bin")
        yield Form("PyTorch zip", "diffusers folder", name, vae, held)
    whole = {f"first_stage_model.{k}": v for k, v in to_ldm(state, LEVELS).items()}
    file = work / "model.ckpt"
    torch.save({"state_dict": {**whole, **foreign_tensors()}, "global_step": 470000}, file)
    yield Form("PyTorch zip", "original, state_dict", "f32", file, state)
    deflated = work / "deflated.ckpt"
    with zipfile.ZipFile(file) as source:
        with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
            for entry in source.namelist():
                target.writestr(entry, source.read(entry))
    yield Form("PyTorch zip, deflated", "original, state_dict", "f32", deflated, state)
    strided = {
        k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in state.items()
    }
    torch.save(strided, file)
    yield Form("PyTorch zip, channels_last", "diffusers, bare", "f32", file, state)
    for name in ("f32", "f16"):
        held = rounded(state, FLOATS[name])
        torch.save(held, file, _use_new_zipfile_serialization=False)
        yield Form("PyTorch legacy", "diffusers, bare", name, file, held)


def flax_bytes(tensors: State, dtype: torch.dtype) -> bytes:
    """What flax.serialization writes: nested maps, arrays as extension type 1."""
    names = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
    tree: dict[str, Any] = {}
    for key, value in tensors.items():
        value = value.to(dtype)
        parts = key.split(".")
        joined: list[str] = []
        for part in parts:
            if part.isdigit():
                joined[-1] += f"_{part}"
            else:
                joined.append(part)
        if joined[-1] == "weight":
            joined[-1] = "kernel" if value.ndim > 1 else "scale"
        if joined[-2] == "to_out_0":
            joined[-2] = "proj_attn"
        old = {"to_q": "query", "to_k": "key", "to_v": "value"}
        joined[-2] = old.get(joined[-2], joined[-2])
        if value.ndim > 1:
            value = value.permute(2, 3, 1, 0) if value.ndim == 4 else value.T
        value = value.contiguous()
        data = value.view(torch.uint8).numpy().tobytes()
        array = msgpack.packb((tuple(value.shape), names[dtype], data), use_bin_type=True)
        place = tree
        for part in joined[:-1]:
            place = place.setdefault(part, {})
        place[joined[-1]] = msgpack.ExtType(1, array)
    return msgpack.packb(tree, use_bin_type=True)


def flax_forms(work: Path, state: State, config: dict) -> Iterator[Form]:
    for name in ("f32", "bf16"):
        vae = folder(work, {**config, "_class_name": "FlaxAutoencoderKL"})
        (vae / "diffusion_flax_model.msgpack").write_bytes(flax_bytes(state, FLOATS[name]))
        yield Form("Flax msgpack", "Flax folder", name, vae, rounded(state, FLOATS[name]))


def random_blocks(kind: Type, values: np.ndarray) -> np.ndarray:
    """Blocks of a type that gguf-py only reads: random bits, scales that keep them small."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = values.size // elements
    blocks = np.random.default_rng(values.size).integers(0, 256, (count, size), dtype=np.uint8)
    # Where a block has its 16-bit scales, and the largest number that they multiply.
    places, most = {
        Type.Q2_K: ([80, 82], 15 * 3),
        Type.Q3_K: ([108], 32 * 4),
        Type.Q4_K: ([0, 2], 63 * 15),
        Type.Q5_K: ([0, 2], 63 * 31),
        Type.Q6_K: ([208], 128 * 32),
    }[kind]
    scale = np.float16(values.std() * 2 / most)
    for place in places:
        blocks[:, place : place + 2] = np.array([scale]).view(np.uint8)
    return blocks


def gguf_form(work: Path, state: State, kind: Type) -> Form:
    file = work / "model.gguf"
    writer = gguf.GGUFWriter(file, "sd")
    held: State = {}
    for (key, value), source in zip(to_ldm(state, LEVELS).items(), state, strict=True):
        name, array = f"first_stage_model.{key}", value.float().numpy()
        elements = gguf.GGML_QUANT_SIZES[kind][0]
        plain = kind in (Type.F32, Type.F16, Type.BF16)
        if array.ndim < 2 or (not plain and array.size % elements):
            writer.add_tensor(name, array)
            held[source] = state[source]
            continue
        if plain:
            data = gguf.quantize(array, kind)
            writer.add_tensor(name, data, raw_dtype=kind)
        else:
            # Rows of 3 values have no blocks: the tensor is flat, its shape beside it.
            flat = array.reshape(-1, elements)
            data = gguf.quantize(flat, kind) if kind in WRITTEN else random_blocks(kind, flat)
            writer.add_tensor(name, data, raw_dtype=kind)
            writer.add_array(f"comfy.gguf.orig_shape.{name}", [int(side) for side in array.shape])
        numbers = gguf.dequantize(data, kind).astype(np.float32)
        held[source] = torch.from_numpy(numbers).reshape(state[source].shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Form("GGUF", "original, first_stage_model.", kind.name.lower(), file, held)


WRITTEN = (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0)
READ = (Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K)


def gguf_forms(work: Path, state: State, config: dict) -> Iterator[Form]:
    del config  # a file without one
    for kind in (Type.F32, Type.F16, Type.BF16, *WRITTEN, *READ):
        yield gguf_form(work, state, kind)


def run(line: list) -> tuple[int, float, str]:
    """Exit status, the process's peak memory in MiB, and what it said to stderr."""
    done = subprocess.run([str(part) for part in line], capture_output=True, text=True)
    peak = 0.0 if done.returncode else json.loads(done.stdout)["peak_rss_mb"]
    return done.returncode, peak, done.stderr.strip()


def psnr(found: np.ndarray, reference: np.ndarray) -> float:
    error = ((found.astype(np.float64) - reference) ** 2).mean()
    spread = reference.max() - reference.min()
    return math.inf if error == 0 else 10 * math.log10(spread**2 / error)


def converted(vaekl: Path, form: Form, work: Path) -> str:
    """Converts a form to a folder, which diffusers must open to the same tensors."""
    out = work / "converted"
    line = [vaekl, "convert", form.path, "-o", out, "--quiet", "--json", *form.arguments]
    status, _, said = run(line)
    if status:
        return f"convert failed: {said}"
    opened = AutoencoderKL.from_pretrained(out).state_dict()
    shutil.rmtree(out)
    if opened.keys() != form.state.keys():
        return "convert: other tensors"
    wrong = [k for k, v in opened.items() if not torch.equal(v.float(), form.state[k].float())]
    return f"convert: {wrong[0]} differs" if wrong else ""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vaekl", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--convert", action="store_true")
    parser.add_argument("--only", default="", help="formats that begin with this")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    vae = make_model()
    config, state = config_of(vae), {k: v.clone() for k, v in vae.state_dict().items()}
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(14))
    reference = vae.double()
    failed, base = 0, 0.0
    print(f"{'format':28}{'layout':30}{'dtype':9}{'PSNR dB':>9}{'peak MiB':>10}{'ratio':>7}")
    makers: list[Callable] = [safetensors_forms, pytorch_forms, flax_forms, gguf_forms]
    for maker in makers:
        work = options.work / maker.__name__
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        np.save(options.work / "z.npy", latents.numpy())
        for form in maker(work, state, config):
            if not form.format.startswith(options.only):
                continue
            reference.load_state_dict({k: v.double() for k, v in form.state.items()})
            wanted = reference.decode(latents.double()).sample.numpy()
            out = options.work / "out.npy"
            line = [options.vaekl, "decode", options.work / "z.npy", "-o", out]
            line += ["--model", form.path, "--quiet", "--json", "--threads", "2", *form.arguments]
            status, peak, said = run(line)
            base = base or peak
            names = f"{form.format:28}{form.layout:30}{form.dtype:9}"
            quality = 0.0 if status else psnr(np.load(out), wanted)
            wrong = said if status else ""
            if not wrong and options.convert:
                wrong = converted(options.vaekl, form, work)
            if status:
                print(f"{names}  FAILED {wrong}", flush=True)
            else:
                figures = f"{quality:9.1f}{peak:10.1f}{peak / base:7.2f}"
                print(f"{names}{figures}  {wrong}", flush=True)
            failed += bool(wrong) or quality < MIN_DB
        shutil.rmtree(work)
    print(f"{failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
