"""The configuration of an autoencoder, as diffusers' `config` is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

CONFIG_NAME = "config.json"
WEIGHTS_STEM = "diffusion_pytorch_model"

# What diffusers' AutoencoderKL.__init__ takes for a field that config.json lacks.
DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
    "block_out_channels": (64,),
    "layers_per_block": 1,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 32,
    "scaling_factor": 0.18215,
    "shift_factor": None,
    "latents_mean": None,
    "latents_std": None,
    "force_upcast": True,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}

# What a preset sets; scaling and shift are told by the library, the others are not.
_UNTOLD = ("latents_mean", "latents_std", "sample_size", "force_upcast")


class Config(dict):  # type: ignore[type-arg]
    """A mapping that cannot be changed, whose fields are attributes too.

    A field that neither a config.json nor the library tells is not there: reading it is an error, so
    that no pipeline works with a guess.
    """

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        hint = " (no config.json tells it; give one by config=)" if name in DEFAULTS else ""
        raise AttributeError(f"the configuration has no {name}{hint}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (dict(self),)

    def _frozen(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a configuration cannot be changed")

    __setattr__ = __delattr__ = __setitem__ = __delitem__ = __ior__ = _frozen  # type: ignore[assignment]
    pop = popitem = clear = update = setdefault = _frozen  # type: ignore[assignment]


def find(path: Path) -> Path | None:
    """The config.json of a folder, of the pipeline's folder that it is in, or beside a file of weights."""
    if path.is_dir():
        places = [path / CONFIG_NAME, path / "vae" / CONFIG_NAME]
    elif path.name.startswith(WEIGHTS_STEM):
        places = [path.with_name(CONFIG_NAME)]
    else:
        places = []
    return next((place for place in places if place.is_file()), None)


def given(path: str | os.PathLike[str], subfolder: str | None) -> Path:
    """The config.json that a caller named, or named the folder of; the library says so if there is none."""
    place = Path(path, subfolder) if subfolder else Path(path)
    return find(place) or (place / CONFIG_NAME if place.is_dir() else place)


def of_model(info: Any, path: Path | None, preset: str | None, name: str | os.PathLike[str]) -> Config:
    """The configuration of an open model: its config.json, or else what the library tells."""
    told = {
        "in_channels": info.input_channels,
        "out_channels": info.image_channels,
        "latent_channels": info.latent_channels,
        # Their number is what pipelines read: it is the factor between pictures and latents.
        "block_out_channels": (None,) * info.downscale.bit_length(),
        "scaling_factor": _shortest(info.scaling_factor),
        "shift_factor": _shortest(info.shift_factor) or None,
    }
    if path is None:
        return Config({**told, "_name_or_path": os.fspath(name)})
    read = json.loads(path.read_text(encoding="utf-8"))
    config = {**DEFAULTS, **read, "_name_or_path": os.fspath(name)}
    if preset is not None:
        config.update(scaling_factor=told["scaling_factor"], shift_factor=told["shift_factor"])
        for field in _UNTOLD:
            del config[field]
    return Config(config)


def _shortest(value: float) -> float:
    """The number with the fewest digits that a float of C stands for: 0.18215, not 0.18215000629425049."""
    return float(str(np.float32(value)))
