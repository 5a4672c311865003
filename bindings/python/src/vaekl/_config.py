"""The configuration of an autoencoder, as diffusers' `config` is read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

CONFIG_NAME = "config.json"
WEIGHTS_STEM = "diffusion_pytorch_model"


class Config(dict):  # type: ignore[type-arg]
    """A mapping that cannot be changed, whose fields are attributes too."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"the configuration has no {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Config, (dict(self),)

    def _frozen(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a configuration cannot be changed")

    __setattr__ = __delattr__ = _frozen  # type: ignore[assignment]
    __setitem__ = __delitem__ = __ior__ = _frozen  # type: ignore[assignment]
    pop = popitem = clear = update = setdefault = _frozen  # type: ignore[assignment]


def find(path: Path) -> Path | None:
    """The config.json of a folder, of the pipeline it is in, or beside a file of weights."""
    if path.is_dir():
        places = [path / CONFIG_NAME, path / "vae" / CONFIG_NAME]
    elif path.name.startswith(WEIGHTS_STEM):
        places = [path.with_name(CONFIG_NAME)]
    else:
        places = []
    return next((place for place in places if place.is_file()), None)


def given(path: str | os.PathLike[str], subfolder: str | None) -> Path:
    """The config.json that a caller named, or whose folder; the library says if it is missing."""
    place = Path(path, subfolder) if subfolder else Path(path)
    return find(place) or (place / CONFIG_NAME if place.is_dir() else place)


def of_model(
    told: str, path: Path | None, name: str | os.PathLike[str], unread: dict[str, Any]
) -> Config:
    """The library's configuration, with what else a config.json has, as diffusers' version.

    `unread` has defaults of fields that the library does not read.
    """
    read = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    return Config({**unread, **read, **json.loads(told), "_name_or_path": os.fspath(name)})
