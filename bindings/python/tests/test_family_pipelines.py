"""The other families with torch and diffusers: the same numbers, alone and in pipelines."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from test_diffusers import draw, parts, unet  # noqa: E402
from test_families import CLASSES, FAMILIES, opened, psnr  # noqa: E402

import vaekl  # noqa: E402

FOLDERS = [name for name in CLASSES if (FAMILIES / name / "config.json").is_file()]
SAFETY = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def theirs(name: str):
    """The fixture in diffusers' class."""
    kind = getattr(diffusers, CLASSES[name].__name__)
    return kind.from_pretrained(FAMILIES / name, torch_dtype=torch.float32).eval()


def halvings(vae) -> int:
    return 2 ** (len(vae.config.block_out_channels) - 1)


@pytest.mark.parametrize("name", FOLDERS)
def test_calls(name):
    vae, reference = opened(name), theirs(name)
    side = 2 * vae.info.downscale
    z = draw(2, vae.config.latent_channels, 4, 6)
    x = draw(2, 3, 2 * side, 3 * side, seed=1).clamp(-1, 1)
    sample = vae.decode(z).sample
    assert isinstance(sample, torch.Tensor) and sample.dtype == torch.float32
    assert psnr(sample, reference.decode(z).sample) >= 100
    assert torch.equal(vae.decode(z, generator=None, return_dict=False)[0], sample)
    for result in (vae(x), vae.forward(x)):
        assert psnr(result.sample, reference(x).sample) >= 100
    assert torch.equal(vae(x, return_dict=False)[0], vae(x).sample)
    ours, expected = vae.encode(x), reference.encode(x)
    if isinstance(vae, vaekl.AutoencoderTiny):
        assert psnr(ours.latents, expected.latents) >= 100
        for method in ("scale_latents", "unscale_latents"):
            found, right = (getattr(each, method)(expected.latents) for each in (vae, reference))
            assert torch.equal(found, right)
        return
    assert psnr(ours.latent_dist.parameters, expected.latent_dist.parameters) >= 100
    seeded = lambda: torch.Generator().manual_seed(7)  # noqa: E731
    drawn = ours.latent_dist.sample(seeded())
    assert psnr(drawn, expected.latent_dist.sample(seeded())) >= 100
    results = [
        each(x, sample_posterior=True, generator=seeded()).sample for each in (vae, reference)
    ]
    assert psnr(*results) >= 100


@pytest.mark.parametrize("name", FOLDERS)
def test_config(name):
    vae, reference = opened(name), theirs(name)
    for key, value in reference.config.items():
        if key[0] != "_":
            found = vae.config[key]
            assert found == (list(value) if isinstance(value, tuple) else value), key
    assert vae.config._class_name == reference.config._class_name
    assert halvings(vae) == halvings(reference)
    # A pipeline reads it by the same names.
    for field in ("scaling_factor", "shift_factor", "latents_mean", "force_upcast"):
        if hasattr(reference.config, field):
            assert getattr(vae.config, field) == getattr(reference.config, field)


def test_halves_of_precision():
    for name, dtype, least in [("tiny", torch.float16, 50), ("flux2", torch.bfloat16, 35)]:
        vae, reference = opened(name), theirs(name)
        x = draw(1, 3, 32, 48, seed=1).clamp(-1, 1)
        sample = vae(x.to(dtype)).sample
        assert sample.dtype == dtype
        z = draw(1, vae.config.latent_channels, 4, 6)
        found = vae.decode(z.to(dtype)).sample
        assert found.dtype == dtype
        assert psnr(found.float(), reference.decode(z.to(dtype).float()).sample) >= least
    tiny = opened("tiny")
    tiny.to(torch.float16)  # its configuration does not say that it overflows
    assert tiny.dtype == torch.float16


def test_masks():
    vae, reference = opened("asymmetric"), theirs("asymmetric")
    z, image = draw(2, 4, 4, 6), draw(2, 3, 32, 48, seed=1).clamp(-1, 1)
    mask = (draw(2, 1, 32, 48, seed=2) > 0).float()
    for arguments in (
        {"image": image, "mask": mask},
        {"image": image, "mask": mask[:1]},
        {"image": image},
        {"mask": mask},
    ):
        found, right = (each.decode(z, **arguments).sample for each in (vae, reference))
        assert psnr(found, right) >= 100
    assert psnr(vae(image, mask).sample, reference(image, mask).sample) >= 100
    results = [each(image, mask=mask, return_dict=False)[0] for each in (vae, reference)]
    assert psnr(*results) >= 100


def test_which_instances_are_diffusers_own():
    # The inpainting pipelines ask for it, and pass no mask otherwise.
    vae = opened("asymmetric")
    assert isinstance(vae, diffusers.AsymmetricAutoencoderKL)
    assert isinstance(vae, vaekl.AsymmetricAutoencoderKL) and isinstance(vae, vaekl.Autoencoder)
    assert not isinstance(vae, vaekl.AutoencoderKL) and type(vae).__module__ == "vaekl"
    assert type(vae.clone()) is vaekl.AsymmetricAutoencoderKL


def run(pipe, **arguments):
    pipe.set_progress_bar_config(disable=True)
    embeds = {
        name: draw(1, 5, 32, seed=i)
        for i, name in enumerate(("prompt_embeds", "negative_prompt_embeds"))
    }
    return pipe(
        **embeds,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **arguments,
    ).images


def compare(pipe, vae, **arguments):
    expected = run(pipe, **arguments)
    pipe.vae = vae
    pipe.to("cpu")
    found = run(pipe, **arguments)
    assert expected.std() > 0.01, "a picture with something in it"
    assert psnr(found, expected) >= 100
    return found


@pytest.mark.parametrize("name", ["tiny_tiled", "asymmetric"])
def test_stable_diffusion(name):
    reference, vae = theirs(name), opened(name)
    pipe = diffusers.StableDiffusionPipeline(**parts(reference), **SAFETY)
    found = compare(pipe, vae, height=64, width=80)
    assert pipe.components["vae"] is vae
    made = diffusers.StableDiffusionPipeline(**parts(vae), **SAFETY)
    assert made.vae_scale_factor == 8
    assert np.array_equal(run(made, height=64, width=80), found)


def test_image_to_image_with_a_tiny_one():
    pipe = diffusers.StableDiffusionImg2ImgPipeline(**parts(theirs("tiny_tiled")), **SAFETY)
    image = draw(1, 3, 64, 80, seed=4).mul(0.3).add(0.5).clamp(0, 1)
    compare(pipe, opened("tiny_tiled"), image=image, strength=1.0)


def test_taesds_own_files_become_diffusers(tmp_path):
    vae, x = opened("taesd"), draw(1, 3, 32, 48, seed=1).clamp(-1, 1)
    vae.save_pretrained(tmp_path)
    reference = diffusers.AutoencoderTiny.from_pretrained(tmp_path).eval()
    assert psnr(vae.encode(x).latents, reference.encode(x).latents) >= 100
    z = draw(1, 4, 4, 6)
    assert psnr(vae.decode(z).sample, reference.decode(z).sample) >= 100
    assert psnr(vae(x).sample, reference(x).sample) >= 100


def inpainting():
    inputs = {
        "image": draw(1, 3, 64, 64, seed=4).mul(0.3).add(0.5).clamp(0, 1),
        "mask_image": torch.zeros(1, 1, 64, 64).index_fill(2, torch.arange(20, 50), 1.0),
    }
    return inputs, {"height": 64, "width": 64, "strength": 1.0}


def test_inpainting_keeps_the_picture(tmp_path):
    reference, vae = theirs("asymmetric"), opened("asymmetric")
    inputs, sizes = inpainting()
    pipe = diffusers.StableDiffusionInpaintPipeline(**parts(reference), **SAFETY)
    pipe.unet = unet(in_channels=9)
    found = compare(pipe, vae, **inputs, **sizes)
    # The mask has to do with it.
    blind = vae.clone()
    blind.decode = lambda z, image=None, mask=None, **kwargs: vae.decode(z, **kwargs)
    pipe.vae = blind
    assert psnr(run(pipe, **inputs, **sizes), found) < 60
    # Being an instance of diffusers' class, it is saved as one.
    pipe.vae = vae
    pipe.save_pretrained(tmp_path)
    nothing = {"text_encoder": None, "tokenizer": None}
    again = diffusers.DiffusionPipeline.from_pretrained(tmp_path, **nothing, **SAFETY)
    assert type(again.vae) is diffusers.AsymmetricAutoencoderKL
    assert psnr(run(again, **inputs, **sizes), found) >= 100


def flux2(vae):
    torch.manual_seed(0)
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=4 * vae.config.latent_channels,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
    ).eval()
    return diffusers.Flux2Pipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        transformer=transformer,
    )


def run_flux2(pipe, **arguments):
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt_embeds=draw(1, 5, 16, seed=1),
        height=64,
        width=96,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **arguments,
    ).images


@pytest.mark.parametrize("name", ["flux2", "flux2_small_decoder"])
def test_flux2(name):
    reference, vae = theirs(name), opened(name)
    image = pytest.importorskip("PIL.Image").fromarray(
        draw(64, 96, 3, seed=3).mul(60).add(128).clamp(0, 255).byte().numpy()
    )
    for arguments in ({}, {"image": image}):
        pipe = flux2(reference)
        expected = run_flux2(pipe, **arguments)
        pipe.vae = vae
        pipe.to("cpu")
        found = run_flux2(pipe, **arguments)
        assert found.shape == (1, 64, 96, 3) and expected.std() > 0.01
        assert psnr(found, expected) >= 100
        made = flux2(vae)
        assert made.vae_scale_factor == 8
        assert np.array_equal(run_flux2(made, **arguments), found)


def test_flux2s_latents_are_the_pipelines():
    reference, vae = theirs("flux2"), opened("flux2")
    x = draw(1, 3, 32, 48, seed=1).clamp(-1, 1)
    encoded = flux2(reference)._encode_vae_image(x, torch.Generator())
    assert psnr(vae.encode_latents(x, scaled=True, folded=True), encoded) >= 100
    assert torch.equal(vae.bn.running_mean, reference.bn.running_mean)
    assert torch.equal(vae.bn.running_var, reference.bn.running_var)
    assert vae.bn.eps == reference.bn.eps
    assert vae.bn.num_features == reference.bn.num_features
    pixels = vae.decode_images(encoded, scaled=True)
    assert pixels.dtype == torch.uint8 and pixels.shape == (1, 32, 48, 3)


def test_flux2_in_diffusers_tiles():
    reference, vae = theirs("flux2"), opened("flux2")
    z = draw(1, 6, 12, 20)
    for model in (reference, vae):
        model.enable_tiling()
        model.tile_sample_min_size, model.tile_latent_min_size = 64, 8
    decoded = reference.decode(z).sample
    assert psnr(vae.decode(z).sample, decoded) >= 100
    x = decoded.clamp(-1, 1)
    found, right = (each.encode(x).latent_dist.parameters for each in (vae, reference))
    assert psnr(found, right) >= 100


def test_tiny_in_diffusers_tiles():
    reference, vae = theirs("tiny_tiled"), opened("tiny_tiled")
    assert vae.tile_overlap_factor == reference.tile_overlap_factor
    assert vae.tile_latent_min_size == reference.tile_latent_min_size
    for model in (reference, vae):
        model.enable_tiling()
        model.tile_sample_min_size, model.tile_latent_min_size = 128, 16
    z = draw(1, 4, 24, 40)
    decoded = reference.decode(z).sample
    assert psnr(vae.decode(z).sample, decoded) >= 100
    x = decoded.clamp(-1, 1)
    assert psnr(vae.encode(x).latents, reference.encode(x).latents) >= 100


@pytest.mark.parametrize("name", FOLDERS)
def test_diffusers_opens_what_was_saved(name, tmp_path):
    reference, vae = theirs(name), opened(name)
    vae.save_pretrained(tmp_path)
    again = type(reference).from_pretrained(tmp_path)
    state = reference.state_dict()
    assert again.state_dict().keys() == state.keys()
    for key, tensor in again.state_dict().items():
        if "num_batches_tracked" not in key:
            assert torch.equal(tensor.float(), state[key].float()), key
