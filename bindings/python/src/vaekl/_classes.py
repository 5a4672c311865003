"""The classes of the families, with diffusers' names, arguments and results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar, Literal, overload

import numpy as np

from . import _config
from ._arrays import A, empty, image_structs, latent_struct, torch_module
from ._autoencoder import Autoencoder
from ._config import Config
from ._distribution import (
    AutoencoderKLOutput,
    AutoencoderTinyOutput,
    DecoderOutput,
    DiagonalGaussianDistribution,
)
from ._errors import InvalidArgumentError, ModelError, UnsupportedError
from ._session import Model, SessionOptions, StrPath


class _WithPosterior(Autoencoder):
    """Families whose encoder gives a posterior."""

    @overload
    def encode(self, x: A, return_dict: Literal[True] = True) -> AutoencoderKLOutput[A]: ...

    @overload
    def encode(
        self, x: A, return_dict: Literal[False]
    ) -> tuple[DiagonalGaussianDistribution[A]]: ...

    def encode(self, x: Any, return_dict: bool = True) -> Any:
        """Encodes pictures [B, C, H, W], in [-1, 1] or bytes, to a posterior over latents.

        Latents are [B, c, h, w], h and w H and W by `info.downscale`. Returns an
        `AutoencoderKLOutput`, or a tuple.
        """
        posterior = DiagonalGaussianDistribution(self.encode_latents(x, "moments"))
        return AutoencoderKLOutput(posterior) if return_dict else (posterior,)

    def _drawn(self, sample: Any, sample_posterior: bool, generator: Any) -> Any:
        """The latents that `forward` decodes."""
        posterior = self.encode(sample).latent_dist
        return posterior.sample(generator=generator) if sample_posterior else posterior.mode()


class _Plain(_WithPosterior):
    """Families that have the calls of `AutoencoderKL`."""

    @overload
    def decode(
        self, z: A, return_dict: Literal[True] = True, generator: Any = None
    ) -> DecoderOutput[A]: ...

    @overload
    def decode(self, z: A, return_dict: Literal[False], generator: Any = None) -> tuple[A]: ...

    def decode(self, z: Any, return_dict: bool = True, generator: Any = None) -> Any:
        """Decodes latents [B, c, h, w] to pictures [B, C, H, W] of about [-1, 1], not clamped.

        Returns a `DecoderOutput`, or a tuple. `generator` is not used, as in diffusers.
        """
        sample = self._decode(z, None, "CHW", scaled=False)
        return DecoderOutput(sample) if return_dict else (sample,)

    def forward(
        self,
        sample: A,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: Any = None,
    ) -> Any:
        """Encodes pictures and decodes the posterior's mode, or a sample of it."""
        z = self._drawn(sample, sample_posterior, generator)
        return self.decode(z) if return_dict else self.decode(z, return_dict=False)


class AutoencoderKL(_Plain):
    """The autoencoder of Stable Diffusion, SDXL, SD 3, FLUX.1 and others of their kind."""

    _family = "AutoencoderKL"


class AutoencoderKLFlux2(_Plain):
    """The autoencoder of FLUX.2, an `AutoencoderKL` with statistics of 2x2 patches of latents.

    As in diffusers, `encode` and `decode` have nothing to do with the statistics: a pipeline
    applies those of `bn` by itself. `encode_latents`, `decode_images` and `stream` do so for
    `scaled` latents, which may be folded into patches.
    """

    _family = "AutoencoderKLFlux2"
    _unread: ClassVar[dict[str, Any]] = {"batch_norm_momentum": 0.1}

    def __init__(self, model: Model, config: Config, options: SessionOptions | None = None) -> None:
        super().__init__(model, config, options)
        #: The statistics, under the names that torch's BatchNorm2d has for them.
        self.bn = LatentStatistics(model, config)


class LatentStatistics:
    """Statistics of FLUX.2's latents, one for each channel of a 2x2 patch.

    Attributes:
        num_features: Number of channels, 4c: latent channel, row, column.
        eps: What is added to a variance before its root.
        running_mean, running_var: [4c] float32, torch's where torch is in use, else numpy's.
    """

    def __init__(self, model: Model, config: Config) -> None:
        mean, std = (np.asarray(values, np.float64) for values in model.latent_statistics)
        self.num_features, self.eps = len(mean), float(config["batch_norm_eps"])
        self._mean = mean.astype(np.float32)
        # Of the 64-bit deviation, which brings the file's own 32 bits back.
        self._var = (std**2 - self.eps).astype(np.float32)

    @property
    def running_mean(self) -> Any:
        """The means."""
        return _as_torch(self._mean)

    @property
    def running_var(self) -> Any:
        """The variances, without `eps`."""
        return _as_torch(self._var)


class AsymmetricAutoencoderKL(_WithPosterior):
    """An autoencoder whose larger decoder keeps a picture outside of a mask, for inpainting."""

    _family = "AsymmetricAutoencoderKL"

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """diffusers' class for `isinstance`, where it is in use.

        The inpainting pipelines pass picture and mask to `decode` for instances of it alone, and
        would leave them out without a word.
        """
        module = sys.modules.get("diffusers.models.autoencoders.autoencoder_asym_kl")
        kind = getattr(module, "AsymmetricAutoencoderKL", type(self))
        # The index of a pipeline that is saved names the class by both, to open it by.
        self.__module__ = kind.__module__
        return kind

    def decode(
        self,
        z: A,
        generator: Any = None,
        image: Any = None,
        mask: Any = None,
        return_dict: bool = True,
    ) -> Any:
        """Decodes latents [B, c, h, w] to pictures [B, C, H, W] of about [-1, 1], not clamped.

        Args:
            image: Pictures [B, C, H, W] or [1, C, H, W] to keep outside of `mask`.
            mask: [B, 1, H, W] or [1, 1, H, W]: 1 where the model draws, 0 where it keeps `image`,
                or any value between; of bytes, 255 is 1. Without one of both nothing is kept.
            generator: Not used, as in diffusers.

        Returns a `DecoderOutput`, or a tuple.
        """
        if image is None or mask is None:
            sample = self._decode(z, None, "CHW", scaled=False)
        else:
            sample = self._decode_masked(z, image, mask)
        return DecoderOutput(sample) if return_dict else (sample,)

    def forward(
        self,
        sample: A,
        mask: Any = None,
        sample_posterior: bool = False,
        return_dict: bool = True,
        generator: Any = None,
    ) -> Any:
        """Encodes pictures and decodes the posterior's mode, or a sample of it.

        With `mask`, the pictures are kept outside of it.
        """
        z = self._drawn(sample, sample_posterior, generator)
        return self.decode(z, generator, sample, mask, return_dict)

    def enable_tiling(self, *, how: str = "diffusers", **arguments: Any) -> None:
        """Enables seamless tiles: diffusers' class has none. `decode` without a mask has them."""
        if how == "diffusers":
            raise UnsupportedError(
                "how: seamless expected: diffusers has no tiles for an AsymmetricAutoencoderKL"
            )
        super().enable_tiling(how=how, **arguments)

    def _decode_masked(self, z: Any, image: Any, mask: Any) -> Any:
        _, given = latent_struct(z, "latents", False)
        batch, (height, width) = given.shape[0], self._decoded_sides(given, False)
        channels = self._info.image_channels
        pictures, kept = image_structs(image, "image", "CHW")
        masks, marked = image_structs(mask, "mask", "CHW")
        for name, shape, count in (("image", kept.shape, channels), ("mask", marked.shape, 1)):
            if shape not in [(n, count, height, width) for n in (1, batch)]:
                raise InvalidArgumentError(
                    f"{name}: shape {[batch, count, height, width]} expected, {list(shape)} found"
                )
        result = empty(given.owner, (batch, channels, height, width), given.dtype)
        images, _ = image_structs(result, "images", "CHW")
        keep = (given, kept, marked, result)
        with self._use() as session:
            for i in range(batch):
                latent, one = latent_struct(given.owner[i : i + 1], "latents", False)
                picture = pictures + (i if len(pictures) > 1 else 0)
                marks = masks + (i if len(masks) > 1 else 0)
                session.decode_masked(latent, picture, marks, images + i, keep=(keep, one))
        return result


class AutoencoderTiny(Autoencoder):
    """TAESD and its relatives: small and fast, with latents where others have a posterior."""

    _family = "AutoencoderTiny"
    _default_overlap = 0.125

    @property
    def latent_magnitude(self) -> float:
        """Half of the range of latents that `scale_latents` maps to [0, 1]."""
        return float(self.config["latent_magnitude"])

    @property
    def latent_shift(self) -> float:
        """Where `scale_latents` maps a latent of 0 to."""
        return float(self.config["latent_shift"])

    def scale_latents(self, x: A) -> A:
        """Maps latents to [0, 1], clamped."""
        values: Any = x
        return (values / (2 * self.latent_magnitude) + self.latent_shift).clip(0, 1)

    def unscale_latents(self, x: A) -> A:
        """Maps [0, 1] to latents."""
        values: Any = x
        return (values - self.latent_shift) * (2 * self.latent_magnitude)

    @overload
    def encode(self, x: A, return_dict: Literal[True] = True) -> AutoencoderTinyOutput[A]: ...

    @overload
    def encode(self, x: A, return_dict: Literal[False]) -> tuple[A]: ...

    def encode(self, x: Any, return_dict: bool = True) -> Any:
        """Encodes pictures [B, C, H, W], in [-1, 1] or bytes, to latents [B, c, h, w].

        Each halving of the sides keeps an odd last row or column. Returns an
        `AutoencoderTinyOutput`, or a tuple.
        """
        latents = self.encode_latents(x)
        return AutoencoderTinyOutput(latents) if return_dict else (latents,)

    @overload
    def decode(
        self, x: A, generator: Any = None, return_dict: Literal[True] = True
    ) -> DecoderOutput[A]: ...

    @overload
    def decode(self, x: A, generator: Any = None, *, return_dict: Literal[False]) -> tuple[A]: ...

    def decode(self, x: Any, generator: Any = None, return_dict: bool = True) -> Any:
        """Decodes latents [B, c, h, w] to pictures [B, C, H, W] of about [-1, 1], not clamped.

        Returns a `DecoderOutput`, or a tuple. `generator` is not used, as in diffusers.
        """
        sample = self._decode(x, None, "CHW", scaled=False)
        return DecoderOutput(sample) if return_dict else (sample,)

    def forward(self, sample: A, return_dict: bool = True) -> Any:
        """Encodes pictures, rounds the latents to 8 bits of [0, 1], and decodes those."""
        latents: Any = self.encode_latents(sample)
        levels = (self.scale_latents(latents) * 255).round() / 255
        x = self.unscale_latents(levels)
        return self.decode(x) if return_dict else self.decode(x, return_dict=False)

    # ---- tiles

    @property
    def spatial_scale_factor(self) -> int:
        """`info.downscale`."""
        return int(self.info.downscale)

    def _sample_size(self) -> Any:
        return 512

    def _overlap(self, size: int, factor: float) -> int:
        return max(1, int(size * factor))


CLASSES: dict[str, type[Autoencoder]] = {
    kind._family: kind
    for kind in (AutoencoderKL, AutoencoderKLFlux2, AsymmetricAutoencoderKL, AutoencoderTiny)
}


def open(
    path: StrPath,
    *,
    subfolder: str | None = None,
    variant: str | None = None,
    config: StrPath | None = None,
    preset: str | None = None,
    norm_num_groups: int = 0,
    parts: str = "both",
    disable_mmap: bool = False,
    torch_dtype: Any = None,
    dtype: Any = None,
    device: str = "cpu",
    **options: Any,
) -> Autoencoder:
    """Opens a checkpoint of any family and form, as an instance of the class that fits it.

    Args:
        path: A file, a folder, or "org/name" in the hub's local cache.
        subfolder, variant, config, preset, norm_num_groups, parts, disable_mmap, dtype,
            torch_dtype, device, options: As in `from_pretrained` and `from_single_file`.
    """
    place = Path(path, subfolder) if subfolder else Path(path)
    given = None if config is None else _config.given(config, None)
    model = Model.open(
        place,
        config_path=given,
        variant=variant,
        preset=preset,
        norm_num_groups=norm_num_groups,
        parts=parts,
        disable_mmap=disable_mmap,
        device=device,
    )
    if model.family not in CLASSES:
        # Of a library that is newer than the package.
        raise ModelError(f"{path}: one of {', '.join(CLASSES)} expected, {model.family} found")
    found = given or _config.find(place)
    return CLASSES[model.family]._of(model, found, path, dtype or torch_dtype, options)


def _as_torch(values: np.ndarray[Any, Any]) -> Any:
    """A copy: a torch tensor where torch is in use."""
    torch = torch_module()
    return values.copy() if torch is None else torch.from_numpy(values.copy())
