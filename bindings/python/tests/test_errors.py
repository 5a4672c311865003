"""What goes wrong says so, as Python's own exceptions."""

from __future__ import annotations

import errno
import os
import pickle

import numpy as np
import pytest

import vaekl
from vaekl import AutoencoderKL
from vaekl._errors import _OF_STATUS, error_of
from vaekl._native import lib
from vaekl._session import Model


def test_every_status_has_its_exception():
    statuses = {name for name in dir(lib) if name.startswith("VAEKL_ERR_")}
    assert len(statuses) > 10 and statuses == set(_OF_STATUS)
    error = pickle.loads(pickle.dumps(_OF_STATUS["VAEKL_ERR_IO"]("x: gone")))
    assert type(error) is vaekl.FileError and str(error) == "VAEKL_ERR_IO: x: gone"


def test_a_missing_file(data):
    for path in (data / "nothing", data / "nothing.safetensors"):
        with pytest.raises(FileNotFoundError) as caught:
            AutoencoderKL.from_pretrained(path)
        assert isinstance(caught.value, vaekl.Error) and caught.value.status == "VAEKL_ERR_IO"
        assert str(path) in str(caught.value) and str(caught.value).startswith("VAEKL_ERR_IO: ")
    with pytest.raises(FileNotFoundError, match="nothing.json"):
        AutoencoderKL.from_single_file(
            data / "model/diffusion_pytorch_model.safetensors", config=data / "nothing.json"
        )
    with pytest.raises(vaekl.FileError, match="fp16") as caught:
        AutoencoderKL.from_pretrained(data / "model", variant="fp16")
    assert caught.value.status == "VAEKL_ERR_IO"


def test_the_systems_number_chooses_the_exception(data, tmp_path):
    file = data / "model/diffusion_pytorch_model.safetensors"
    for path, kind, number in [
        (data / "nothing", FileNotFoundError, errno.ENOENT),
        (file / "below", NotADirectoryError, errno.ENOTDIR),
        ("a" * 300, OSError, errno.ENAMETOOLONG),
    ]:
        with pytest.raises(kind) as caught:
            AutoencoderKL.from_pretrained(path)
        again = pickle.loads(pickle.dumps(caught.value))
        for error in (caught.value, again):
            assert isinstance(error, vaekl.FileError) and error.errno == number
        assert type(again) is type(caught.value) and str(again) == str(caught.value)
    with pytest.raises(IsADirectoryError, match="model"):
        Model.open(file, config_path=data / "model")
    # During a call too: a scratch folder that is not there.
    vae = AutoencoderKL.from_pretrained(data / "model", scratch_dir=tmp_path / "gone")
    plan = vae.plan_decode(64, 64)
    for budget in range(plan.peak_bytes, 0, -(1 << 20)):
        vae.set_options(memory_budget=budget)
        if vae.plan_decode(64, 64).scratch_bytes:
            break
    with pytest.raises(FileNotFoundError, match="gone"):
        vae.decode(np.zeros((1, 4, 64, 64), np.float32))
    denied = error_of("VAEKL_ERR_IO", "x: no", errno.EACCES)
    assert isinstance(denied, PermissionError) and type(denied) is vaekl.FilePermissionError


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(data, tmp_path):
    file = tmp_path / "secret.safetensors"
    file.touch(mode=0)
    with pytest.raises(PermissionError, match="secret") as caught:
        AutoencoderKL.from_single_file(file)
    assert type(caught.value) is vaekl.FilePermissionError and caught.value.errno == errno.EACCES


def test_a_corrupt_file(data):
    file = "corrupt/diffusion_pytorch_model.safetensors"
    with pytest.raises(vaekl.FormatError, match=file) as caught:
        AutoencoderKL.from_pretrained(data / "corrupt")
    assert isinstance(caught.value, ValueError) and caught.value.status == "VAEKL_ERR_FORMAT"
    with pytest.raises(vaekl.FormatError):
        AutoencoderKL.from_bytes(b"nothing of the kind")


def test_a_budget_that_is_too_small(data, expected):
    vae = AutoencoderKL.from_pretrained(data / "model", memory_budget=1 << 20)
    with pytest.raises(MemoryError, match="budget") as caught:
        vae.decode(expected.latents)
    assert isinstance(caught.value, vaekl.BudgetError) and caught.value.status == "VAEKL_ERR_BUDGET"
    with pytest.raises(vaekl.BudgetError):
        vae.plan_decode(5, 7)
    vae.set_options(memory_budget=None)
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()


@pytest.mark.parametrize(
    "array, message",
    [
        (
            np.zeros((4, 5, 7), np.float32),
            r"latents: shape \[B, C, H, W\] expected, \[4, 5, 7\] found",
        ),
        (np.zeros((0, 4, 5, 7), np.float32), r"\[0, 4, 5, 7\] found"),
        (np.zeros((1, 4, 0, 7), np.float32), r"\[1, 4, 0, 7\] found"),
        (np.zeros((1, 3, 5, 7), np.float32), "4 .*expected, 3 found"),
        (np.zeros((1, 4, 5, 7)), "latents.dtype: .*float32.* expected, float64 found"),
        (np.zeros((1, 4, 5, 7), np.uint8), "latent"),
        (np.full((1, 4, 5, 7), np.nan, np.float32), "(?i)finite|nan"),
        ("latents", "shape"),
    ],
)
def test_latents_that_are_none(vae, array, message):
    with pytest.raises(vaekl.InvalidArgumentError, match=message):
        vae.decode(array)
    assert vae.decode(np.zeros((1, 4, 1, 1), np.float32)).sample.shape == (1, 3, 8, 8)


def test_arguments_that_are_wrong(vae, expected, data):
    for call, message in [
        (lambda: vae.encode(expected.image[:, :2]), "images: 3 channels expected, 2 found"),
        (
            lambda: vae.encode_latents(expected.image, layout="HWC"),
            "images: 3 channels expected, 56 found",
        ),
        (lambda: vae.encode(expected.image[:, :, :7]), "at least 8x8 pixels expected"),
        (
            lambda: vae.encode_latents(expected.image, "best"),
            "posterior: one of mode, moments, sample expected",
        ),
        (
            lambda: vae.encode_latents(expected.image, layout="NCHW"),
            "layout: one of chw, hwc expected",
        ),
        (lambda: vae.encode_latents(expected.image, "moments", scaled=True), "RAW"),
        (
            lambda: vae.decode_images(expected.latents, dtype="int8"),
            "dtype: one of .* expected, int8 found",
        ),
        (lambda: vae.stream(expected.latents, rows=0), "rows: 1 or more"),
        (lambda: vae.stream(np.concatenate([expected.latents] * 2)), "latent"),
        (
            lambda: vae.set_options(tiling="some"),
            "tiling: one of diffusers, exact, seamless expected",
        ),
        (lambda: vae.set_options(attention="none"), "attention: one of"),
        (lambda: vae.set_options(threads=100000), "threads: at most"),
        (lambda: vae.set_options(dtype="uint8"), "dtype"),
        (lambda: vae.set_options(scratch_dir="a\0b"), "NUL"),
        (lambda: vae.enable_tiling(tile_sample_min_size=4), "tile_sample_min_size"),
        (lambda: vae.enable_tiling(tile_overlap_factor=1.5), "tile_overlap_factor"),
        (
            lambda: vae.encode(expected.image).latent_dist.sample(7),
            "numpy.random.Generator expected",
        ),
        (lambda: AutoencoderKL.from_pretrained(data / "model", preset="sd9"), "sd9"),
        (
            lambda: AutoencoderKL.from_pretrained(data / "model", parts="all"),
            "parts: one of decoder, encoder",
        ),
        (lambda: AutoencoderKL.from_bytes(7), "buffer of bytes expected, int found"),
    ]:
        with pytest.raises(vaekl.InvalidArgumentError, match=message):
            call()
    assert vae.decode(expected.latents).sample.tobytes() == expected.decoded.tobytes()
    with pytest.raises(TypeError, match="'thread'; the options are threads"):
        AutoencoderKL.from_pretrained(data / "model", thread=3)
    for threads in (-1, 1 << 40):
        with pytest.raises(OverflowError):
            vae.set_options(threads=threads)
    with pytest.raises(vaekl.UnsupportedError):
        AutoencoderKL.from_pretrained(data / "model", device="cuda:0")
    with pytest.raises(vaekl.UnsupportedError, match="cpu expected, cuda found"):
        vae.to("cuda")
    with pytest.raises(vaekl.UnsupportedError):
        vae.requires_grad_(True)


def test_use_after_close(data, expected):
    with AutoencoderKL.from_pretrained(data / "model") as vae:
        stream = vae.stream(expected.latents, rows=40)
    vae.close()
    vae.cancel()
    # The stream holds what it needs.
    assert next(stream).tobytes() == expected.picture.tobytes()
    for call in (
        lambda: vae.decode(expected.latents),
        lambda: vae.encode(expected.image),
        lambda: vae.stream(expected.latents),
        lambda: vae.plan_decode(5, 7),
        lambda: vae.set_options(threads=1),
        lambda: vae.clone(),
        lambda: vae.memory,
    ):
        with pytest.raises(vaekl.StateError, match="closed"):
            call()
    assert vae.config.latent_channels == 4
