"""With numpy alone: the bits of the command, streams, settings, what opens, layouts of memory."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import vaekl
from vaekl import AutoencoderKL


def equal(a, b) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def mapped_libraries(maps: bytes) -> set[str]:
    """The files of libvaekl, by name, that /proc/PID/maps has: a folder may be called so too."""
    fields = (line.split(maxsplit=5) for line in maps.splitlines())
    paths = {Path(os.fsdecode(line[5])) for line in fields if len(line) == 6}
    return {str(path) for path in paths if path.name.startswith("libvaekl")}


def test_the_library_is_the_packages_own(monkeypatch):
    from vaekl import _native

    assert (
        vaekl.version()
        == vaekl.__version__
        == ".".join(
            str(getattr(_native.lib, f"VAEKL_VERSION_{part}"))
            for part in ("MAJOR", "MINOR", "PATCH")
        )
    )
    assert vaekl.cpu_level() in ("avx512", "avx2", "portable")
    monkeypatch.setenv("VAEKL_LIBRARY", "/nowhere/libvaekl.so")
    with pytest.raises(ImportError, match="/nowhere/libvaekl.so: libvaekl cannot be loaded"):
        _native._load()
    loaded = mapped_libraries(Path("/proc/self/maps").read_bytes())
    assert loaded == {str(Path(vaekl.__file__).with_name("libvaekl.so").resolve())}


@pytest.mark.skipif("VAEKL_PREFIX" not in os.environ, reason="no other library")
def test_another_library():
    other = Path(os.environ["VAEKL_PREFIX"], "lib", "libvaekl.so").resolve()
    code = "import sys, vaekl; sys.stdout.buffer.write(open('/proc/self/maps', 'rb').read())"
    env = {**os.environ, "VAEKL_LIBRARY": str(other)}
    maps = subprocess.run([sys.executable, "-c", code], check=True, env=env, stdout=subprocess.PIPE)
    assert mapped_libraries(maps.stdout) == {str(other)}


def test_decode_is_the_commands(vae, expected):
    output = vae.decode(expected.latents)
    assert equal(output.sample, expected.decoded)
    assert output[0] is output.sample and output["sample"] is output.sample
    assert output.to_tuple() == (output.sample,) and output.keys() == ["sample"]
    (sample,) = vae.decode(expected.latents, return_dict=False, generator=None)
    assert equal(sample, expected.decoded)


def test_pictures_are_the_commands(vae, expected):
    assert equal(vae.decode_images(expected.latents), expected.picture)
    planes = vae.decode_images(expected.latents, layout="CHW")
    assert equal(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), expected.picture)
    floats = vae.decode_images(expected.latents, dtype=np.float32, layout="chw")
    assert equal(floats, expected.decoded)


def test_encode_is_the_commands(vae, expected):
    assert equal(vae.encode_latents(expected.image), expected.mode)
    assert equal(vae.encode_latents(expected.image, "sample", seed=7), expected.sample)
    posterior = vae.encode(expected.image).latent_dist
    assert equal(np.ascontiguousarray(posterior.mode()), expected.mode)
    assert equal(vae.encode_latents(expected.image, posterior="moments"), posterior.parameters)
    (same,) = vae.encode(expected.image, return_dict=False)
    assert equal(same.parameters, posterior.parameters)


def test_posterior(vae, expected):
    posterior = vae.encode(expected.image).latent_dist
    mean, logvar = (
        posterior.parameters[:, :4].astype(float),
        posterior.parameters[:, 4:].astype(float),
    )
    assert np.allclose(posterior.std, np.exp(0.5 * logvar)) and np.allclose(
        posterior.var, np.exp(logvar)
    )
    draw = posterior.sample(np.random.default_rng(3))
    noise = np.random.default_rng(3).standard_normal(mean.shape, dtype=np.float32)
    assert draw.dtype == np.float32 and np.allclose(draw, mean + np.exp(0.5 * logvar) * noise)
    assert not np.array_equal(posterior.sample(), posterior.sample())
    kl = 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum((1, 2, 3))
    assert posterior.kl().shape == (1,) and np.allclose(posterior.kl(), kl, rtol=1e-5)
    assert np.allclose(posterior.kl(posterior), 0, atol=1e-3)
    nll = 0.5 * (np.log(2 * np.pi) + logvar + (draw - mean) ** 2 / np.exp(logvar)).sum((1, 2, 3))
    assert np.allclose(posterior.nll(draw), nll, rtol=1e-5)
    sure = vaekl.DiagonalGaussianDistribution(posterior.parameters, deterministic=True)
    assert np.array_equal(sure.sample(), sure.mode()) and sure.kl() == sure.nll(draw) == 0


def test_forward_is_encode_and_decode(vae, expected):
    assert equal(vae(expected.image).sample, vae.decode(expected.mode).sample)
    rng = np.random.default_rng
    drawn = vae.encode(expected.image).latent_dist.sample(rng(5))
    sampled = vae(expected.image, sample_posterior=True, return_dict=False, generator=rng(5))
    assert equal(sampled[0], vae.decode(drawn).sample)


def test_scaled_latents(vae, expected):
    factor = np.float32(vae.config.scaling_factor)
    assert np.allclose(
        vae.encode_latents(expected.image, scaled=True), expected.mode * factor, rtol=1e-6
    )
    scaled = vae.decode_images(expected.latents * factor, scaled=True)
    assert np.abs(scaled.astype(int) - expected.picture).max() <= 1


@pytest.mark.parametrize("rows", [1, 7, 40, 1000])
def test_streamed_rows_are_the_picture(vae, expected, rows):
    with vae.stream(expected.latents, rows=rows) as stream:
        assert (stream.height, stream.width, stream.channels) == (40, 56, 3)
        parts = list(stream)
    assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)
    assert equal(np.concatenate(parts)[None], expected.picture)
    assert equal(
        vae.decode_images(expected.latents), expected.picture
    )  # the stream let go of the session


def test_a_stream_holds_the_autoencoder_until_it_is_closed(vae, expected):
    stream = vae.stream(expected.latents, rows=8, dtype="float32")
    first = next(stream)
    assert equal(first, np.ascontiguousarray(expected.decoded[0, :, :8].transpose(1, 2, 0)))
    with pytest.raises(vaekl.StateError, match="in use"):
        vae.decode(expected.latents)
    vae.set_options(threads=1)  # has a session of its own
    assert equal(vae.decode(expected.latents).sample, expected.decoded)
    assert len(next(stream)) == 8
    stream.close()
    stream.close()
    assert list(stream) == []


def test_batches(vae, expected):
    batch = np.concatenate([expected.latents, -expected.latents, expected.latents])
    pictures = vae.decode(batch).sample
    assert equal(pictures[2:], expected.decoded) and equal(pictures[:1], expected.decoded)
    assert equal(pictures[1:2], vae.decode(-expected.latents).sample)
    assert equal(
        vae.encode(pictures).latent_dist.parameters[:1],
        vae.encode(pictures[:1]).latent_dist.parameters,
    )


def test_half_precision(vae, expected):
    half = vae.decode(expected.latents.astype(np.float16)).sample
    assert half.dtype == np.float16 and np.allclose(half, expected.decoded, atol=0.02)
    moments = vae.encode(expected.image.astype(np.float16)).latent_dist.parameters
    assert moments.dtype == np.float16
    bytes_of_image = np.round((expected.image.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    assert vae.encode_latents(bytes_of_image).dtype == np.float32


def test_contiguous_memory_is_not_copied(vae, expected, recorder):
    latents, image = np.concatenate([expected.latents] * 2), np.concatenate([expected.image] * 2)
    decoded = vae.decode(latents).sample
    moments = vae.encode(image).latent_dist.parameters
    at = lambda x: x.__array_interface__["data"][0]  # noqa: E731
    assert recorder.latents == [at(latents), at(moments)]
    assert recorder.images == [[at(decoded), at(decoded[1:])], [at(image), at(image[1:])]]


def layouts():
    """Ways to lay out the same pictures, and whether they are read where they are."""
    yield (
        "interleaved",
        lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        True,
    )
    yield "rows apart", lambda x: np.pad(x, [(0, 0), (0, 0), (0, 0), (0, 9)])[..., :-9], True
    yield (
        "part of a picture",
        lambda x: np.pad(x, [(0, 0), (0, 0), (3, 2), (4, 5)])[..., 3:-2, 4:-5],
        True,
    )
    yield "every other of a batch", lambda x: np.repeat(x, 2, axis=0)[::2], True
    yield "one for all", lambda x: np.broadcast_to(x, (2, *x.shape[1:])), True
    yield "upside down", lambda x: np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1], False
    yield (
        "transposed",
        lambda x: np.ascontiguousarray(x.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2),
        False,
    )
    yield "other byte order", lambda x: x.astype(">f4"), False
    yield (
        "misaligned",
        lambda x: np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view("<f4").reshape(x.shape),
        False,
    )


@pytest.mark.parametrize(
    "name, lay_out, in_place", [pytest.param(*case, id=case[0]) for case in layouts()]
)
def test_layouts(vae, expected, recorder, name, lay_out, in_place):
    pictures = lay_out(expected.image)
    assert np.array_equal(pictures[:1], expected.image)
    mode = vae.encode_latents(pictures)
    assert equal(mode[:1], expected.mode) and len(mode) == len(pictures)
    assert (recorder.images[0][0] == pictures.__array_interface__["data"][0]) == in_place
    if name == "interleaved":
        assert equal(
            vae.encode_latents(pictures.transpose(0, 2, 3, 1), layout="HWC"), expected.mode
        )


def test_latents_of_any_layout(vae, expected):
    for latents in (
        np.ascontiguousarray(expected.latents.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        expected.latents[:, ::-1][:, ::-1].astype(">f4"),
        memoryview(expected.latents),
    ):
        assert equal(vae.decode(latents).sample, expected.decoded)


def test_dlpack(vae, expected, recorder):
    class Foreign:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, *args, **kwargs):
            return self.array.__dlpack__(*args, **kwargs)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    latents = expected.latents
    assert equal(vae.decode(Foreign(latents)).sample, expected.decoded)
    assert recorder.latents == [latents.__array_interface__["data"][0]]


def test_settings(vae, expected):
    assert vae.options.threads == 2
    for changes in (
        {"threads": 1},
        {"memory_budget": 64 << 20},
        {"attention": "streamed"},
        {"threads": None},
    ):
        vae.set_options(**changes)
        assert equal(vae.decode(expected.latents).sample, expected.decoded)
    vae.set_options(attention="row_by_row")
    vae.fuse_qkv_projections()
    assert vae.options.fuse_qkv and np.allclose(
        vae.decode(expected.latents).sample, expected.decoded, atol=1e-4
    )
    vae.unfuse_qkv_projections()
    assert not vae.options.fuse_qkv
    vae.enable_slicing()
    assert vae.use_slicing
    vae.disable_slicing()
    other = vae.clone(dtype="bfloat16", attention="streamed")
    assert (other.dtype, vae.options.dtype) == (
        "bfloat16" if "torch" not in sys.modules else other.dtype,
        "float32",
    )
    assert np.allclose(other.decode(expected.latents).sample, expected.decoded, atol=0.1)


def test_tiles(vae):
    latents = np.random.default_rng(0).standard_normal((1, 4, 24, 40), dtype=np.float32)
    whole = vae.decode(latents).sample
    assert (vae.tile_sample_min_size, vae.tile_latent_min_size, vae.tile_overlap_factor) == (
        512,
        64,
        0.25,
    )
    vae.enable_tiling(tile_sample_min_size=128)
    assert vae.use_tiling and vae.options.tile_size == vae.tile_latent_min_size == 16
    plan = vae.plan_decode(24, 40)
    assert (plan.tiles_x, plan.tiles_y, plan.tile_size, plan.exact) == (4, 2, 16, 0)
    tiled = vae.decode(latents).sample
    assert tiled.shape == whole.shape and not np.allclose(tiled, whole, atol=0.01)
    vae.tile_overlap_factor = 0.5
    assert vae.options.tile_overlap == 8 and vae.plan_decode(24, 40).tiles_x == 5
    vae.tile_sample_min_size = 64
    assert (vae.options.tile_size, vae.options.tile_overlap) == (8, 4)
    vae.enable_tiling(tile_overlap_factor=0.25)  # of the tiles that there are
    assert (vae.options.tile_size, vae.options.tile_overlap) == (8, 2)
    vae.enable_tiling(how="seamless", tile_sample_min_size=128)
    assert np.abs(vae.decode(latents).sample - whole).max() < 0.1 * np.abs(tiled - whole).max()
    vae.disable_tiling()
    assert not vae.use_tiling and equal(vae.decode(latents).sample, whole)


def test_plans_and_memory(vae, expected, tmp_path):
    plan = vae.plan_decode(64, 64)
    assert plan.exact == 1 and plan.tiles_x == plan.tiles_y == 1 and plan.scratch_bytes == 0
    assert plan.peak_bytes > plan.workspace_bytes > 0
    assert vae.plan_encode(512, 512).workspace_bytes > 0
    budget = plan.peak_bytes - plan.workspace_bytes // 2
    small = vae.clone(memory_budget=budget, scratch_dir=tmp_path)
    assert small.plan_decode(64, 64).peak_bytes <= budget
    assert vae.memory == 0
    vae.decode(expected.latents)
    assert vae.memory > 0


def test_progress_comes_on_the_calling_thread(vae, expected):
    seen = []
    vae.set_options(progress=lambda done, total: seen.append((done, total, threading.get_ident())))
    vae.decode(expected.latents)
    done, totals, threads = zip(*seen)
    assert list(done) == sorted(done) and len(set(totals)) == 1 and 0 < done[-1] <= totals[0]
    assert set(threads) == {threading.get_ident()}


def test_config(vae, data):
    written = json.loads((data / "model" / "config.json").read_text())
    assert {**written, "_name_or_path": str(data / "model")} == vae.config
    assert vae.config.scaling_factor == vae.config["scaling_factor"] == 0.18215
    assert not hasattr(vae.config, "nothing")
    for change in (
        lambda c: setattr(c, "scaling_factor", 1),
        lambda c: c.__setitem__("scaling_factor", 1),
        lambda c: c.update(scaling_factor=1),
        lambda c: c.pop("scaling_factor"),
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change(vae.config)
    for same in (copy.deepcopy(vae.config), pickle.loads(pickle.dumps(vae.config))):
        assert same == vae.config and type(same) is vaekl.Config
    info = vae.info
    assert (info.image_channels, info.latent_channels, info.downscale, info.guessed) == (3, 4, 8, 0)


def test_a_single_file(data, expected, tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((data / "model" / "diffusion_pytorch_model.safetensors").read_bytes())
    for config in (data / "model", data / "model" / "config.json"):
        vae = AutoencoderKL.from_single_file(weights, config=config)
        assert equal(vae.decode(expected.latents).sample, expected.decoded)
        assert vae.config.block_out_channels == [8, 8, 16, 16] and vae.config.force_upcast
    with pytest.warns(vaekl.ModelWarning, match="weights.safetensors: guessed act_fn = silu"):
        vae = AutoencoderKL.from_single_file(
            weights, preset="sdxl", norm_num_groups=4, disable_mmap=True
        )
    assert not vae.info.mapped
    assert equal(vae.decode(expected.latents).sample, expected.decoded)
    assert (vae.config.scaling_factor, vae.config.shift_factor) == (0.13025, None)
    assert vae.config.block_out_channels == [8, 8, 16, 16] and vae.config.sample_size == 1024
    assert vae.info.guessed > 0 and "force_upcast" in vae.config


def test_a_name_is_found_in_the_hubs_local_cache(data, expected, tmp_path, monkeypatch):
    repository = tmp_path / "hub" / "models--some--pipeline"
    shutil.copytree(data / "model", repository / "snapshots" / "0123abcd" / "vae")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for arguments in ({}, {"subfolder": "vae"}):
        vae = AutoencoderKL.from_pretrained("some/pipeline", **arguments)
        assert equal(vae.decode(expected.latents).sample, expected.decoded)
    with pytest.raises(vaekl.MissingFileError, match="models--some--other"):
        AutoencoderKL.from_pretrained("some/other")


def test_presets_replace_the_configuration(data):
    vae = AutoencoderKL.from_pretrained(data, subfolder="model", preset="sdxl")
    assert (vae.config.scaling_factor, vae.config.shift_factor) == (0.13025, None)
    assert vae.config.layers_per_block == 2
    assert vae.config.latents_mean is None and vae.config.sample_size == 1024


def test_bytes(data, expected):
    held = bytearray((data / "model" / "diffusion_pytorch_model.safetensors").read_bytes())
    vae = AutoencoderKL.from_bytes(held, config=data / "model")
    with pytest.raises(BufferError):  # kept, not copied
        held.clear()
    assert equal(vae.decode(expected.latents).sample, expected.decoded)
    vae.close()
    del vae
    held.clear()


def test_halves(data, expected):
    decoder = AutoencoderKL.from_pretrained(data / "model", parts="decoder")
    assert equal(decoder.decode(expected.latents).sample, expected.decoded)
    with pytest.raises(vaekl.ModelError, match="without its encoder"):
        decoder.encode(expected.image)


def test_without_torch():
    code = "import sys, vaekl; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
