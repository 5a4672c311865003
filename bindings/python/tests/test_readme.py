"""The examples of the README, as they stand there."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import vaekl

EXAMPLES = re.findall(
    r"```python\n(.*?)```",
    (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8"),
    re.DOTALL,
)


def run(example: str, data: Path, monkeypatch: pytest.MonkeyPatch, **names):
    monkeypatch.chdir(data)
    exec(compile(example, "README.md", "exec"), names)
    return names


def test_numpy(data, expected, monkeypatch):
    names = run(EXAMPLES[0], data, monkeypatch)
    assert names["image"].tobytes() == expected.decoded.tobytes()
    assert names["pixels"].tobytes() == expected.picture.tobytes()
    assert names["latents"].tobytes() == expected.sample.tobytes()


def test_diffusers(data, monkeypatch):
    pytest.importorskip("diffusers")
    import test_diffusers

    reference = test_diffusers.diffusers.AutoencoderKL.from_pretrained(data / "model")
    safety = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = test_diffusers.diffusers.StableDiffusionPipeline(
        **test_diffusers.parts(reference), **safety
    )
    run(EXAMPLES[1], data, monkeypatch, pipe=pipe)
    assert type(pipe.vae) is vaekl.AutoencoderKL
    assert isinstance(test_diffusers.run(pipe, height=64, width=64), np.ndarray)


def test_families(monkeypatch):
    pytest.importorskip("safetensors")
    from test_families import FAMILIES, opened, reference

    image = reference("taesd")["image"]
    # TAESD's own files leave nothing to guess.
    with warnings.catch_warnings():
        warnings.simplefilter("error", vaekl.ModelWarning)
        names = run(EXAMPLES[2], FAMILIES, monkeypatch, vaekl=vaekl, image=image)
    assert type(names["tiny"]) is vaekl.AutoencoderTiny
    decoded = opened("taesd").decode(names["latents"]).sample
    assert np.array_equal(names["image"], decoded)


def test_saving(vae, tmp_path, monkeypatch):
    run(EXAMPLES[3], tmp_path, monkeypatch, vae=vae)
    saved = vaekl.AutoencoderKL.from_pretrained(tmp_path / "saved")
    assert saved.info.weight_bytes * 2 == vae.info.weight_bytes


def test_no_example_is_left_out():
    assert len(EXAMPLES) == 4
