"""Fixtures. VAEKL_TEST_DATA is the folder that scripts/hosts/data.py made, and describes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekl
from vaekl import _session
from vaekl._native import ffi

DATA = Path(os.environ["VAEKL_TEST_DATA"])
SHAPES = {
    "latents": (1, 4, 5, 7),
    "decoded": (1, 3, 40, 56),
    "image": (1, 3, 40, 56),
    "mode": (1, 4, 5, 7),
    "sample": (1, 4, 5, 7),
}


class Expected:
    """The arrays of the fixture, which the command made; fresh ones each time."""

    def __getattr__(self, name: str) -> Any:
        if name == "picture":
            return np.fromfile(DATA / "picture.rgb", np.uint8).reshape(1, 40, 56, 3)
        if name not in SHAPES:
            raise AttributeError(name)
        return np.fromfile(DATA / f"{name}.f32", np.float32).reshape(SHAPES[name])


@pytest.fixture
def data() -> Path:
    return DATA


@pytest.fixture
def expected() -> Expected:
    return Expected()


@pytest.fixture
def vae() -> vaekl.AutoencoderKL:
    return vaekl.AutoencoderKL.from_pretrained(DATA / "model", threads=2)


class Recorder:
    """The library, which notes the addresses that calls get, and what is freed."""

    def __init__(self, lib: Any) -> None:
        self._lib = lib
        self.latents: list[int] = []
        self.images: list[list[int]] = []
        self.freed: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._lib, name)
        if not name.endswith("_free"):
            return found

        def free(pointer: Any) -> None:
            self.freed.append(name)
            found(pointer)

        return free

    def _note(self, latent: Any, images: Any) -> None:
        address = lambda view: int(ffi.cast("uintptr_t", view.data))  # noqa: E731
        self.latents.append(address(latent))
        self.images.append([address(images[i]) for i in range(latent.batch)])

    def vaekl_encode(
        self, session: Any, images: Any, kind: int, seed: int, latent: Any, error: Any
    ) -> int:
        self._note(latent, images)
        return self._lib.vaekl_encode(session, images, kind, seed, latent, error)

    def vaekl_decode(self, session: Any, latent: Any, images: Any, error: Any) -> int:
        self._note(latent, images)
        return self._lib.vaekl_decode(session, latent, images, error)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder(_session.lib)
    monkeypatch.setattr(_session, "lib", found)
    return found
