"""With torch and diffusers: the same numbers, and a pipeline that does not notice."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

import vaekl  # noqa: E402


@pytest.fixture(scope="module")
def reference():
    from conftest import DATA

    return diffusers.AutoencoderKL.from_pretrained(DATA / "model").eval()


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


def psnr(a, b, peak: float) -> float:
    """In dB, of values whose range is `peak` wide."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape
    error = np.mean((a - b) ** 2)
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_decode(vae, reference):
    z = draw(2, 4, 9, 12)
    output = vae.decode(z)
    assert isinstance(output.sample, torch.Tensor) and output.sample.dtype == torch.float32
    assert psnr(output.sample, reference.decode(z).sample, 2) >= 100
    assert torch.equal(vae.decode(z, return_dict=False, generator=None)[0], output.sample)
    assert torch.equal(torch.from_numpy(vae.decode(z.numpy()).sample), output.sample)
    assert psnr(vae(output.sample).sample, reference(output.sample).sample, 2) >= 100


def test_encode(vae, reference):
    x = draw(2, 3, 72, 96, seed=1).clamp(-1, 1)
    ours, theirs = vae.encode(x).latent_dist, reference.encode(x).latent_dist
    assert psnr(ours.parameters, theirs.parameters, 2) >= 100
    for name in ("mean", "logvar", "std", "var"):
        assert torch.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-4)
    assert torch.equal(ours.mode(), ours.mean)
    seeded = lambda: torch.Generator().manual_seed(7)  # noqa: E731
    sample = ours.sample(seeded())
    assert psnr(sample, theirs.sample(seeded()), 2) >= 100
    assert psnr(sample, vae.encode_latents(x, "sample", seed=7), 2) >= 100
    torch.manual_seed(5)
    global_draw = ours.sample()
    torch.manual_seed(5)
    assert psnr(global_draw, theirs.sample(), 2) >= 100
    both = [seeded(), torch.Generator().manual_seed(8)]
    drawn = ours.sample(both)
    both = [seeded(), torch.Generator().manual_seed(8)]
    for i, generator in enumerate(both):
        noise = torch.randn((1, *ours.mean.shape[1:]), generator=generator)
        assert torch.equal(drawn[i : i + 1], ours.mean[i : i + 1] + ours.std[i : i + 1] * noise)
    with pytest.raises(vaekl.InvalidArgumentError, match="batch of 2 expected, 3 found"):
        ours.sample([seeded()] * 3)
    other = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution(
        draw(2, 8, 9, 12, seed=3)
    )
    mine = vaekl.DiagonalGaussianDistribution(other.parameters)
    assert torch.equal(mine.kl(), other.kl()) and torch.equal(mine.nll(sample), other.nll(sample))
    assert torch.equal(mine.nll(sample, dims=[1]), other.nll(sample, dims=[1]))
    assert torch.allclose(ours.kl(mine), theirs.kl(other), rtol=1e-4)
    sure = [kind(other.parameters, deterministic=True) for kind in (type(mine), type(other))]
    assert torch.equal(sure[0].sample(), sure[1].sample()) and torch.equal(
        sure[0].kl(), sure[1].kl()
    )


@pytest.mark.parametrize("dtype, least", [(torch.float16, 60), (torch.bfloat16, 45)])
def test_half_precision_tensors(vae, reference, dtype, least):
    z = draw(1, 4, 8, 8, dtype=dtype)
    sample = vae.decode(z).sample
    assert (
        sample.dtype == dtype
        and psnr(sample.float(), reference.decode(z.float()).sample, 2) >= least
    )
    x = sample.clamp(-1, 1)
    moments = vae.encode(x).latent_dist.parameters
    expected = reference.encode(x.float()).latent_dist.parameters
    assert moments.dtype == dtype and psnr(moments.float(), expected, 2) >= least


def test_a_batch_of_torch_is_read_where_it_is(vae, recorder):
    x = draw(3, 3, 16, 24)
    moments = vae.encode(x).latent_dist.parameters
    assert recorder.images == [[x[i].data_ptr() for i in range(3)]] and recorder.latents == [
        moments.data_ptr()
    ]
    for same in (
        x.to(memory_format=torch.channels_last),
        torch.nn.functional.pad(x, (2, 3, 4, 5))[:, :, 4:-5, 2:-3],
    ):
        assert not same.is_contiguous() and torch.equal(same, x)
        assert torch.equal(vae.encode(same).latent_dist.parameters, moments)
        assert recorder.images[-1] == [same[i].data_ptr() for i in range(3)]
    z = draw(2, 4, 3, 5)
    decoded = vae.decode(z).sample
    assert recorder.latents[-1] == z.data_ptr()
    assert recorder.images[-1] == [decoded[i].data_ptr() for i in range(2)]


def test_tensors_of_any_kind(vae):
    z = draw(1, 4, 3, 5)
    sample = vae.decode(z).sample
    for same in (
        z.to(memory_format=torch.channels_last),
        z.clone().requires_grad_(True),
        z.flip(1).flip(1),
    ):
        assert torch.equal(vae.decode(same).sample, sample)
    pixels = vae.decode_images(z)
    assert pixels.dtype == torch.uint8 and pixels.shape == (1, 24, 40, 3)
    assert torch.equal(torch.cat(list(vae.stream(z, rows=5)))[None], pixels)
    halves = torch.cat(list(vae.stream(z, dtype=torch.bfloat16)))
    assert torch.equal(halves[None], vae.decode_images(z, dtype=torch.bfloat16))
    for wrong in (z.to("meta"), z.to_sparse()):
        with pytest.raises(vaekl.InvalidArgumentError, match="dense tensor on the CPU expected"):
            vae.decode(wrong)
    with pytest.raises(vaekl.InvalidArgumentError, match="float64 found"):
        vae.decode(z.double())


def test_tiles(vae, reference):
    z = draw(1, 4, 24, 40)
    for model in (reference, vae):
        model.enable_tiling()
        model.tile_sample_min_size, model.tile_latent_min_size = 128, 16
    try:
        decoded = reference.decode(z).sample
        assert psnr(vae.decode(z).sample, decoded, 2) >= 100
        x = decoded.clamp(-1, 1)
        assert (
            psnr(
                vae.encode(x).latent_dist.parameters, reference.encode(x).latent_dist.parameters, 2
            )
            >= 100
        )
    finally:
        reference.disable_tiling()


def test_config(vae, reference):
    ours, theirs = (
        {k: v for k, v in model.config.items() if k[0] != "_"} for model in (vae, reference)
    )
    assert ours == theirs and vae.config._class_name == reference.config._class_name


def test_dtype_and_device(vae):
    assert vae.dtype == torch.float32 and vae.device == torch.device("cpu")
    assert vae.to(torch.bfloat16) is vae and vae.dtype == torch.bfloat16
    assert vae.to("cpu", dtype=torch.float32).dtype == torch.float32
    assert vae.to(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16
    vae.to(torch.device("cpu"), torch.float16)
    assert vae.config.force_upcast and vae.dtype == torch.float32
    assert vae.eval().requires_grad_(False) is vae and list(vae.parameters()) == []


def unet(**changes):
    torch.manual_seed(0)
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        **changes,
    ).eval()


def parts(reference):
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return {
        "vae": reference,
        "unet": unet(),
        "scheduler": scheduler,
        "text_encoder": None,
        "tokenizer": None,
    }


def run(pipe, **arguments):
    pipe.set_progress_bar_config(disable=True)
    embeds = {
        name: draw(1, 5, 32, seed=i)
        for i, name in enumerate(("prompt_embeds", "negative_prompt_embeds"))
    }
    generator = torch.Generator().manual_seed(0)
    return pipe(
        **embeds, num_inference_steps=2, generator=generator, output_type="np", **arguments
    ).images


def compare(pipe, vae, **arguments):
    expected = run(pipe, **arguments)
    pipe.vae = vae
    pipe.to("cpu")
    found = run(pipe, **arguments)
    assert expected.std() > 0.01, "a picture with something in it"
    assert found.shape == expected.shape and psnr(found, expected, 1) >= 100


def test_stable_diffusion(vae, reference, tmp_path):
    safety = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = diffusers.StableDiffusionPipeline(**parts(reference), **safety)
    compare(pipe, vae, height=64, width=80)
    assert pipe.components["vae"] is vae and pipe.vae_scale_factor == 8
    pipe.save_pretrained(tmp_path)  # without it, which diffusers says
    assert not (tmp_path / "vae").exists()
    made = diffusers.StableDiffusionPipeline(**{**parts(vae), **safety})
    assert made.vae_scale_factor == 8
    assert np.array_equal(run(made, height=64, width=80), run(pipe, height=64, width=80))


def test_image_to_image(vae, reference):
    safety = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = diffusers.StableDiffusionImg2ImgPipeline(**parts(reference), **safety)
    image = draw(1, 3, 64, 80, seed=4).mul(0.3).add(0.5).clamp(0, 1)
    compare(pipe, vae, image=image, strength=1.0)


def sdxl(kind, reference):
    text = {"text_encoder_2": None, "tokenizer_2": None, "add_watermarker": False}
    pipe = kind(**{**parts(reference), **text})
    pipe.unet = unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    return pipe


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_sdxl(vae, reference, dtype):
    vae.to(dtype)  # float16 is float32 here: the model's configuration says that it overflows
    pooled = {
        name: draw(1, 32, seed=9)
        for name in ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    }
    compare(
        sdxl(diffusers.StableDiffusionXLPipeline, reference), vae, height=64, width=80, **pooled
    )
    image = draw(1, 3, 64, 80, seed=4).mul(0.3).add(0.5).clamp(0, 1)
    pipe = sdxl(diffusers.StableDiffusionXLImg2ImgPipeline, reference)
    compare(pipe, vae, image=image, strength=1.0, **pooled)
