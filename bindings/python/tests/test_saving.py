"""Saving: what is written opens again, here and in diffusers, and what is not done says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vaekl
from vaekl import _saving

WEIGHTS = "diffusion_pytorch_model.safetensors"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same_bits(vae: vaekl.AutoencoderKL, other: vaekl.AutoencoderKL, expected) -> bool:
    pictures = [each.decode(expected.latents).sample for each in (vae, other)]
    return bool(np.array_equal(*pictures))


def test_a_folder_is_the_one_that_was_opened(vae, data, expected, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    for name in ("config.json", WEIGHTS):
        assert (tmp_path / "vae" / name).read_bytes() == (data / "model" / name).read_bytes()
    assert names(tmp_path / "vae") == ["config.json", WEIGHTS]
    assert same_bits(vae, vaekl.AutoencoderKL.from_pretrained(tmp_path / "vae"), expected)
    # Onto itself.
    again = vaekl.AutoencoderKL.from_pretrained(tmp_path / "vae")
    again.save_pretrained(str(tmp_path / "vae"), max_shard_size="30KB")
    assert len(names(tmp_path / "vae")) > 4
    assert same_bits(vae, again, expected)
    assert same_bits(vae, vaekl.AutoencoderKL.from_pretrained(tmp_path / "vae"), expected)


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_a_file_knows_its_configuration(vae, expected, tmp_path, layout):
    path = tmp_path / "vae.safetensors"
    vae.save_single_file(path, layout=layout)
    again = vaekl.AutoencoderKL.from_single_file(path)
    assert again.info.guessed == 0
    assert again.config["norm_num_groups"] == vae.config["norm_num_groups"] == 4
    assert same_bits(vae, again, expected)


def test_variants_and_types(vae, tmp_path):
    vae.save_pretrained(tmp_path, variant="fp16", dtype="float16")
    assert names(tmp_path) == ["config.json", "diffusion_pytorch_model.fp16.safetensors"]
    half = vaekl.AutoencoderKL.from_pretrained(tmp_path, variant="fp16")
    assert half.info.weight_bytes * 2 == vae.info.weight_bytes
    vae.save_pretrained(tmp_path / "not", is_main_process=False)
    assert not (tmp_path / "not").exists()


def test_what_is_not_done_says_so(vae, tmp_path):
    for arguments, error, words in [
        ({"push_to_hub": True}, vaekl.UnsupportedError, "push_to_hub"),
        ({"safe_serialization": False}, vaekl.UnsupportedError, "safe_serialization"),
        ({"save_function": print}, vaekl.UnsupportedError, "save_function"),
        ({"use_flash": True}, TypeError, "use_flash"),
        ({"max_shard_size": "5 bananas"}, vaekl.InvalidArgumentError, "max_shard_size"),
        ({"variant": "a/b"}, vaekl.InvalidArgumentError, "variant"),
        ({"dtype": "int8"}, vaekl.InvalidArgumentError, "dtype"),
    ]:
        with pytest.raises(error, match=words):
            vae.save_pretrained(tmp_path / "vae", **arguments)
    with pytest.raises(vaekl.InvalidArgumentError, match="save_single_file"):
        vae.save_pretrained(tmp_path / "vae.safetensors")
    with pytest.raises(vaekl.InvalidArgumentError, match="a .safetensors file expected"):
        vae.save_single_file(tmp_path / "vae")
    with pytest.raises(vaekl.InvalidArgumentError, match="layout: one of diffusers, original"):
        vae.save_single_file(tmp_path / "vae.safetensors", layout="flax")
    with pytest.raises(FileNotFoundError):
        vae.save_single_file(tmp_path / "none" / "vae.safetensors")
    assert names(tmp_path) == []
    vae.close()
    with pytest.raises(vaekl.StateError):
        vae.save_pretrained(tmp_path / "vae")


def test_sizes_are_those_of_huggingface():
    sizes = {None: 0, 7: 7, "5GB": 5 * 10**9, "1.5 mb": 1_500_000, "2KiB": 2048, "1TB": 10**12}
    for size, expected in sizes.items():
        assert _saving.shard_size(size) == expected
    for size in (0, -1, True, 1.5, "", "GB", "5", "-5GB", "5XB", "1e30TB", "99999999TB"):
        with pytest.raises(vaekl.InvalidArgumentError):
            _saving.shard_size(size)


def test_diffusers_opens_equal_tensors(vae, data, tmp_path):
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    reference = diffusers.AutoencoderKL.from_pretrained(data / "model")
    state = reference.state_dict()

    def check(model, dtype=torch.float32):
        found = model.state_dict()
        assert found.keys() == state.keys()
        for name, tensor in state.items():
            assert torch.equal(found[name], tensor.to(dtype).float()), name

    for size in ("10GB", 30_000, "50KB"):
        ours, theirs = tmp_path / f"ours-{size}", tmp_path / f"theirs-{size}"
        vae.save_pretrained(ours, max_shard_size=size)
        reference.save_pretrained(theirs, max_shard_size=size)
        assert names(ours) == names(theirs)
        for name in names(theirs):
            if name != "config.json":  # theirs says where it was opened from
                assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
        check(diffusers.AutoencoderKL.from_pretrained(ours))
    vae.save_pretrained(tmp_path / "half", torch_dtype=torch.bfloat16)
    check(diffusers.AutoencoderKL.from_pretrained(tmp_path / "half"), torch.bfloat16)
    for layout in ("diffusers", "original"):
        path = tmp_path / f"{layout}.safetensors"
        vae.save_single_file(path, layout=layout)
        config = str(data / "model")
        check(diffusers.AutoencoderKL.from_single_file(str(path), config=config))
