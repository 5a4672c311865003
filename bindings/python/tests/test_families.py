"""The other families, with numpy alone: the fixtures' numbers, which class opens what, errors."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest

import vaekl

load_file = pytest.importorskip("safetensors.numpy").load_file

FAMILIES = Path(__file__).parents[3] / "tests" / "data" / "families"
# Folders with one file of weights that has a name of its own: the file. Others open as folders.
FILES = {
    "flux2_own": "model.safetensors",
    "taef2_diffusers_names": "taef2.safetensors",
    "taesd_safetensors": "taesd3.safetensors",
}
CLASSES = {
    "flux2": vaekl.AutoencoderKLFlux2,
    "flux2_own": vaekl.AutoencoderKLFlux2,
    "flux2_small_decoder": vaekl.AutoencoderKLFlux2,
    "asymmetric": vaekl.AsymmetricAutoencoderKL,
    "tiny": vaekl.AutoencoderTiny,
    "tiny_silu_16": vaekl.AutoencoderTiny,
    "tiny_tiled": vaekl.AutoencoderTiny,
    "taesd": vaekl.AutoencoderTiny,
    "taesd_safetensors": vaekl.AutoencoderTiny,
    "taef2": vaekl.AutoencoderTiny,
    "taef2_diffusers_names": vaekl.AutoencoderTiny,
    "taesana": vaekl.AutoencoderTiny,
}


def place(name: str) -> Path:
    return FAMILIES / name / FILES.get(name, "")


def opened(name: str, **arguments):
    """The fixture, by the constructor that its form calls for."""
    kind, path = CLASSES[name], place(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vaekl.ModelWarning)
        if path.is_dir():
            return kind.from_pretrained(path, **arguments)
        return kind.from_single_file(path, **arguments)


def reference(name: str) -> dict[str, np.ndarray]:
    return load_file(FAMILIES / name / "reference.safetensors")


def psnr(found, expected) -> float:
    """In dB, of the range of `expected`."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    error = np.mean((found - expected) ** 2)
    return math.inf if error == 0 else 10 * math.log10(np.ptp(expected) ** 2 / error)


def test_every_fixture_is_here():
    assert set(CLASSES) == {path.name for path in FAMILIES.iterdir() if path.is_dir()}


@pytest.mark.parametrize("name", CLASSES)
def test_decode_and_encode(name):
    vae, expected = opened(name), reference(name)
    sample = vae.decode(expected["latents"]).sample
    assert sample.dtype == np.float32 and psnr(sample, expected["decoded_f64"]) >= 100
    assert np.array_equal(vae.decode(expected["latents"], return_dict=False)[0], sample)
    output = vae.encode(expected["image"])
    (same,) = vae.encode(expected["image"], return_dict=False)
    if vae.info.posterior:
        assert isinstance(output, vaekl.AutoencoderKLOutput)
        moments = output.latent_dist.parameters
        assert psnr(moments, expected["moments"]) >= 100
        assert np.array_equal(same.parameters, moments)
    else:
        assert isinstance(output, vaekl.AutoencoderTinyOutput)
        assert psnr(output.latents, expected["encoded"]) >= 100
        assert np.array_equal(same, output.latents) and output[0] is output["latents"]
        with pytest.raises(vaekl.InvalidArgumentError, match="posterior"):
            vae.encode_latents(expected["image"], "moments")


@pytest.mark.parametrize("name", CLASSES)
def test_open_finds_the_class(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vaekl.ModelWarning)
        vae = vaekl.open(place(name), threads=1)
    assert type(vae) is CLASSES[name] and vae.options.threads == 1
    latents = reference(name)["latents"]
    assert np.array_equal(vae.decode(latents).sample, opened(name).decode(latents).sample)


def test_open_is_for_autoencoderkl_too(data):
    assert type(vaekl.open(data, subfolder="model")) is vaekl.AutoencoderKL
    held = data / "model" / "diffusion_pytorch_model.safetensors"
    assert vaekl.open(held, config=data / "model").config.scaling_factor == 0.18215
    with pytest.raises(FileNotFoundError, match="nothing"):
        vaekl.open(data / "nothing")
    with pytest.raises(TypeError, match="'thread'"):
        vaekl.open(data / "model", thread=1)


@pytest.mark.parametrize("name", ["flux2", "asymmetric", "tiny", "taesd", "taef2"])
@pytest.mark.parametrize("kind", dict.fromkeys(CLASSES.values()))
def test_another_class_is_refused_by_both_names(name, kind):
    right = CLASSES[name]
    if kind is right:
        return
    with pytest.raises(vaekl.ModelError) as caught:
        kind.from_pretrained(FAMILIES / name)
    for words in (
        str(FAMILIES / name),
        f"an {kind.__name__} expected, an {right.__name__} found",
        f"vaekl.{right.__name__} opens it",
    ):
        assert words in str(caught.value)
    with pytest.raises(vaekl.ModelError, match=f"an AutoencoderKL expected, an {right.__name__}"):
        vaekl.AutoencoderKL.from_pretrained(FAMILIES / name)


def test_a_plain_model_is_refused_by_the_others(data):
    for kind in dict.fromkeys(CLASSES.values()):
        with pytest.raises(vaekl.ModelError, match="vaekl.AutoencoderKL opens it"):
            kind.from_pretrained(data / "model")


@pytest.mark.parametrize("name", [name for name, kind in CLASSES.items() if "Tiny" in str(kind)])
def test_tiny_forward_rounds_to_bytes(name, monkeypatch):
    vae, image = opened(name), reference(name)["image"]
    latents = vae.encode(image).latents
    scaled = vae.scale_latents(latents)
    assert scaled.dtype == np.float32 and scaled.min() >= 0 and scaled.max() <= 1
    assert np.allclose(vae.unscale_latents(scaled), latents.clip(-3, 3), atol=1e-5)
    picture, decode, seen = vae(image).sample, vae.decode, []

    def spy(x, **arguments):
        seen.append(x)
        return decode(x, **arguments)

    monkeypatch.setattr(vae, "decode", spy)
    assert np.array_equal(vae.forward(image, return_dict=False)[0], picture)
    assert np.array_equal(decode(seen[0]).sample, picture) and seen[0].dtype == np.float32
    levels, exact = ((x / 6.0 + 0.5) * 255 for x in (seen[0], latents.clip(-3, 3)))
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    assert np.abs(levels - exact).max() < 0.5 + 1e-3


def test_tiny_keeps_odd_rows():
    vae = opened("tiny")
    for height, width in ((1, 1), (4, 5), (9, 8)):
        latents = vae.encode(np.zeros((1, 3, height, width), np.float32)).latents
        assert latents.shape == (1, 4, math.ceil(height / 4), math.ceil(width / 4))


def test_tiny_scales_latents():
    vae, expected = opened("tiny_silu_16"), reference("tiny_silu_16")
    scaled = vae.encode_latents(expected["image"], scaled=True)
    assert psnr(scaled, expected["encoded_normalised"]) >= 100
    assert (vae.config.scaling_factor, vae.config.shift_factor) == (1.5305, 0.0609)


@pytest.mark.parametrize("name", ["flux2", "flux2_own", "flux2_small_decoder"])
def test_flux2_statistics(name):
    vae, expected = opened(name), reference(name)
    tensors = load_file(place("flux2") / "diffusion_pytorch_model.safetensors")
    channels = 4 * vae.config.latent_channels
    assert vae.bn.num_features == channels and vae.bn.eps == vae.config.batch_norm_eps == 1e-4
    mean, var = (np.asarray(values) for values in (vae.bn.running_mean, vae.bn.running_var))
    assert mean.shape == var.shape == (channels,) and mean.dtype == var.dtype == np.float32
    if name == "flux2":
        # The file's float16, to the bit.
        assert np.array_equal(mean, tensors["bn.running_mean"].astype(np.float32))
        assert np.array_equal(var, tensors["bn.running_var"].astype(np.float32))
    scaled = vae.encode_latents(expected["image"], scaled=True)
    folded = scaled.shape[2] % 2 == 0 and scaled.shape[3] % 2 == 0
    assert psnr(scaled, expected["mode_normalised"]) >= 100
    if folded:
        patches = vae.encode_latents(expected["image"], scaled=True, folded=True)
        assert psnr(patches, expected["patches"]) >= 100
    # A picture of folded latents is that of the same latents, whole.
    latents = np.random.default_rng(0).standard_normal((1, channels // 4, 4, 6), np.float32)
    rows = latents.reshape(1, -1, 2, 2, 3, 2)
    packed = np.ascontiguousarray(rows.transpose(0, 1, 3, 5, 2, 4)).reshape(1, channels, 2, 3)
    picture = vae.decode_images(latents, scaled=True)
    assert np.array_equal(vae.decode_images(packed, scaled=True), picture)
    assert np.array_equal(np.concatenate(list(vae.stream(packed, scaled=True)))[None], picture)


def test_flux2_scaled_latents():
    vae, expected = opened("flux2"), reference("flux2")
    scaled = vae.decode_images(expected["latents"], dtype="float32", layout="CHW", scaled=True)
    raw = vae.decode(expected["latents_denormalised"].astype(np.float32)).sample
    assert psnr(scaled, raw) >= 100


def test_folds_that_are_none(vae, expected):
    image = np.zeros((1, 3, 24, 32), np.float32)
    with pytest.raises(vaekl.InvalidArgumentError, match="folded: .* raw ones of an AutoencoderKL"):
        opened("flux2").encode_latents(image, folded=True)
    with pytest.raises(vaekl.InvalidArgumentError, match="multiples of 2 expected, 3 x 4 found"):
        opened("flux2").encode_latents(image, scaled=True, folded=True)
    with pytest.raises(vaekl.InvalidArgumentError, match="scaled ones of an AutoencoderKL found"):
        vae.encode_latents(expected.image, scaled=True, folded=True)


def test_masks():
    vae, expected = opened("asymmetric"), reference("asymmetric")
    z, image, mask = (expected[name] for name in ("latents", "condition_image", "mask"))
    masked = vae.decode(z, image=image, mask=mask).sample
    assert masked.dtype == np.float32 and psnr(masked, expected["decoded_masked_f64"]) >= 100
    assert np.array_equal(vae.decode(z, None, image, mask, False)[0], masked)
    for arguments in ({"image": image}, {"mask": mask}):
        assert psnr(vae.decode(z, **arguments).sample, expected["decoded_f64"]) >= 100
    # A batch, with one mask or picture for all or one each; planes or interleaved.
    both = np.concatenate([z, -z])
    pictures = np.concatenate([image, image[:, ::-1]])
    marks = np.concatenate([mask, 1 - mask])
    one_each = vae.decode(both, image=pictures, mask=marks).sample
    assert np.array_equal(one_each[:1], masked)
    assert np.array_equal(one_each[1:], vae.decode(-z, image=pictures[1:], mask=marks[1:]).sample)
    shared = vae.decode(both, image=image, mask=mask).sample
    assert np.array_equal(shared[:1], masked)
    turned = np.ascontiguousarray(image.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.array_equal(vae.decode(z, image=turned, mask=mask).sample, masked)
    marks = (mask > 0.5).astype(np.uint8)
    assert np.array_equal(
        vae.decode(z, image=image, mask=marks * 255).sample,
        vae.decode(z, image=image, mask=marks.astype(np.float32)).sample,
    )
    half = vae.decode(z.astype(np.float16), image=image, mask=mask).sample
    assert half.dtype == np.float16 and psnr(half, masked) >= 55


def test_asymmetric_forward():
    vae, expected = opened("asymmetric"), reference("asymmetric")
    image, mask = expected["condition_image"], expected["mask"]
    z = vae.encode(image).latent_dist.mode()
    assert np.array_equal(vae(image).sample, vae.decode(z).sample)
    kept = vae.decode(z, image=image, mask=mask).sample
    assert np.array_equal(vae(image, mask).sample, kept)
    assert np.array_equal(vae.forward(image, mask, return_dict=False)[0], kept)
    rng = np.random.default_rng
    drawn = vae.encode(image).latent_dist.sample(rng(5))
    assert np.array_equal(
        vae(image, sample_posterior=True, generator=rng(5)).sample, vae.decode(drawn).sample
    )


def test_masks_that_are_none():
    vae, expected = opened("asymmetric"), reference("asymmetric")
    z, image, mask = (expected[name] for name in ("latents", "condition_image", "mask"))
    for arguments, message in [
        ((image[:, :2], mask), r"image: shape \[1, 3, .*\] expected, \[1, 2, .*\] found"),
        ((image, image), r"mask: shape \[1, 1, .*\] expected, \[1, 3, .*\] found"),
        ((image, mask[..., 1:]), "mask: shape"),
        ((image, mask[0]), r"mask: shape \[B, C, H, W\] expected"),
        ((image, mask > 0.5), "mask.dtype"),
        ((image * np.nan, mask), "(?i)finite|nan"),
    ]:
        with pytest.raises(vaekl.InvalidArgumentError, match=message):
            vae.decode(z, image=arguments[0], mask=arguments[1])
    with pytest.raises(vaekl.InvalidArgumentError, match=r"mask: shape \[2, 1"):
        vae.decode(np.concatenate([z, z]), image=image, mask=np.concatenate([mask] * 3))
    with pytest.raises(TypeError, match="mask"):
        opened("tiny").decode(reference("tiny")["latents"], mask=mask)
    with pytest.raises(NotImplementedError, match="seamless expected"):
        vae.enable_tiling()
    assert not vae.use_tiling


@pytest.mark.parametrize("name", CLASSES)
def test_saving(name, tmp_path):
    vae, expected = opened(name), reference(name)
    picture, kind = vae.decode(expected["latents"]).sample, CLASSES[name]
    vae.save_single_file(tmp_path / "one.safetensors")
    again = [kind.from_single_file(tmp_path / "one.safetensors")]
    vae.save_pretrained(tmp_path / "folder", max_shard_size="50KB")
    again.append(kind.from_pretrained(tmp_path / "folder"))
    for other in again:
        assert np.array_equal(other.decode(expected["latents"]).sample, picture)
        assert other.info.guessed == 0
        ours, theirs = (
            {key: value for key, value in each.config.items() if key != "_name_or_path"}
            for each in (vae, other)
        )
        # Whose file says which version of diffusers wrote it.
        assert {**theirs, "_diffusers_version": None} == {**ours, "_diffusers_version": None}


def test_clones_and_settings():
    vae, expected = opened("flux2"), reference("flux2")
    other = vae.clone(threads=1)
    assert type(other) is type(vae) and np.array_equal(
        other.decode(expected["latents"]).sample, vae.decode(expected["latents"]).sample
    )
    assert np.array_equal(other.bn.running_var, vae.bn.running_var)
    vae.close()
    with pytest.raises(vaekl.StateError, match="closed"):
        vae.decode(expected["latents"])
    assert len(vae.bn.running_mean) == 24


def test_settings_of_tiles():
    tiny = opened("tiny_tiled")
    assert (tiny.tile_sample_min_size, tiny.tile_latent_min_size) == (512, 64)
    assert tiny.tile_overlap_factor == 0.125 and tiny.spatial_scale_factor == 8
    tiny.enable_tiling()
    assert tiny.use_tiling and tiny.options.tile_overlap == 0
    tiny.tile_overlap_factor = 0.5
    assert (tiny.options.tile_overlap, tiny.tile_overlap_factor) == (32, 0.5)
    tiny.enable_tiling(tile_sample_min_size=64, tile_overlap_factor=0.25)
    assert (tiny.options.tile_size, tiny.options.tile_overlap) == (8, 2)
    tiny.disable_tiling()
    assert not tiny.use_tiling
    flux = opened("flux2")
    assert (flux.tile_sample_min_size, flux.tile_latent_min_size) == (1024, 128)
    assert flux.tile_overlap_factor == 0.25


def test_tiny_in_diffusers_tiles():
    vae, expected = opened("tiny_tiled"), reference("tiny_tiled")
    vae.enable_tiling(tile_sample_min_size=64, tile_overlap_factor=0.25)
    assert psnr(vae.decode(expected["latents"]).sample, expected["decoded_tiled_f64"]) >= 100
    assert psnr(vae.encode(expected["image"]).latents, expected["encoded_tiled"]) >= 100
    vae.enable_tiling(how="seamless", tile_sample_min_size=64)
    whole = opened("tiny_tiled")
    for name, call in (("latents", "decode"), ("image", "encode")):
        tiled, exact = (getattr(each, call)(expected[name])[0] for each in (vae, whole))
        assert np.array_equal(tiled, exact)
