"""The results of encode and decode: diffusers' outputs under diffusers' names."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Generic, Sequence

import numpy as np

from ._arrays import A, dtype_name, is_tensor, torch_module
from ._errors import InvalidArgumentError


class DiagonalGaussianDistribution(Generic[A]):
    """The posterior of an encoded batch: a normal distribution for each value of the latents.

    Attributes:
        parameters: Moments, [B, 2C, h, w]: the mean, then the logarithm of the variance.
        mean, logvar, std, var: [B, C, h, w]; logvar is clamped to [-30, 20].
    """

    def __init__(self, parameters: A, deterministic: bool = False) -> None:
        channels = parameters.shape[1] // 2
        self._math: Any = torch_module() if is_tensor(parameters) else np
        self.parameters: A = parameters
        self.mean: A = parameters[:, :channels]
        self.logvar: A = parameters[:, channels:].clip(-30.0, 20.0)
        self.deterministic = deterministic
        self.std: A = self._math.exp(0.5 * self.logvar)
        self.var: A = self._math.exp(self.logvar)
        if deterministic:
            self.std = self.var = self._math.zeros_like(self.mean)

    def sample(self, generator: Any = None) -> A:
        """mean + std * noise, [B, C, h, w].

        A posterior of torch tensors draws as diffusers does, the same numbers from the same
        generator: `generator` is a `torch.Generator`, or a list of one for each of the batch. One
        of numpy arrays takes a `numpy.random.Generator`; `encode_latents` has torch's
        numbers without torch.
        """
        return self.mean + self.std * self._noise(generator)

    def mode(self) -> A:
        """The mean, [B, C, h, w]."""
        return self.mean

    def kl(self, other: DiagonalGaussianDistribution[A] | None = None) -> A:
        """Divergence from `other`, or from the standard normal distribution, [B]."""
        if self.deterministic:
            return self._nothing()
        if other is None:
            terms = self.mean**2 + self.var - 1.0 - self.logvar
        else:
            terms = (
                (self.mean - other.mean) ** 2 / other.var
                + self.var / other.var
                - 1.0
                - self.logvar
                + other.logvar
            )
        return 0.5 * terms.sum((1, 2, 3))

    def nll(self, sample: A, dims: Sequence[int] = (1, 2, 3)) -> A:
        """Negative logarithm of the likelihood of `sample`, summed over `dims`."""
        if self.deterministic:
            return self._nothing()
        terms = math.log(2.0 * math.pi) + self.logvar + (sample - self.mean) ** 2 / self.var
        return 0.5 * terms.sum(tuple(dims))

    def _nothing(self) -> A:
        device = {"device": self.parameters.device} if is_tensor(self.parameters) else {}
        return self._math.zeros(1, dtype=self._math.float32, **device)

    def _noise(self, generator: Any) -> A:
        shape: tuple[int, ...] = tuple(self.mean.shape)
        if not is_tensor(self.parameters):
            return _numpy_noise(generator, shape).astype(self.parameters.dtype)
        options = {"dtype": self.parameters.dtype, "device": self.parameters.device}
        if isinstance(generator, (list, tuple)) and len(generator) != 1:
            if len(generator) != shape[0]:
                message = (
                    f"generator: one for each of a batch of {shape[0]} expected, "
                    f"{len(generator)} found"
                )
                raise InvalidArgumentError(message)
            draws = [
                self._math.randn((1, *shape[1:]), generator=one, **options) for one in generator
            ]
            return self._math.cat(draws)
        if isinstance(generator, (list, tuple)):
            (generator,) = generator
        return self._math.randn(shape, generator=generator, **options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.mean.shape)}, {dtype_name(self.mean.dtype)})"


def _numpy_noise(generator: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if generator is None:
        generator = np.random.default_rng()
    if not isinstance(generator, np.random.Generator):
        message = (
            "generator: a numpy.random.Generator expected for numpy arrays, "
            f"{type(generator).__name__} found"
        )
        raise InvalidArgumentError(message)
    return generator.standard_normal(shape, dtype=np.float32)


class _Output:
    """Fields by name, by index and by key, as in diffusers' outputs."""

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]

    def keys(self) -> list[str]:
        return [field.name for field in fields(self)]  # type: ignore[arg-type]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(key)
            return getattr(self, key)
        return self.to_tuple()[key]


@dataclass
class AutoencoderKLOutput(_Output, Generic[A]):
    """The result of `encode` where there is a posterior."""

    latent_dist: DiagonalGaussianDistribution[A]


@dataclass
class AutoencoderTinyOutput(_Output, Generic[A]):
    """The result of `AutoencoderTiny.encode`: latents [B, c, h, w]."""

    latents: A


@dataclass
class DecoderOutput(_Output, Generic[A]):
    """The result of `decode`: pictures [B, C, H, W], about [-1, 1], not clamped."""

    sample: A
