"""What a diffusers pipeline requires of its `vae` besides encode and decode."""

from __future__ import annotations

from typing import Any, Iterator

from ._arrays import dtype_name, torch_module
from ._config import Config
from ._errors import InvalidArgumentError, UnsupportedError
from ._session import ModelInfo, SessionOptions


class DropIn:
    """Settings under diffusers' names, and enough of torch.nn.Module for a pipeline to hold it."""

    #: Overlap of neighbouring tiles, as a part of a tile, where a caller sets none: an option of 0.
    _default_overlap = 0.25

    def __init__(self, config: Config) -> None:
        self._config = config
        #: Whether `enable_slicing` was called. It changes nothing: a batch is always worked on
        #: one by one.
        self.use_slicing = False

    @property
    def info(self) -> ModelInfo:
        raise NotImplementedError

    @property
    def options(self) -> SessionOptions:
        raise NotImplementedError

    def set_options(self, **changes: Any) -> None:
        raise NotImplementedError

    @property
    def config(self) -> Config:
        """The configuration, fields as attributes and as a mapping."""
        return self._config

    # ---- tiles, slices, projections

    @property
    def use_tiling(self) -> bool:
        """Whether tiling is enabled."""
        return self.options.tiling != "exact"

    def enable_tiling(
        self,
        *,
        tile_sample_min_size: int | None = None,
        tile_overlap_factor: float | None = None,
        how: str = "diffusers",
    ) -> None:
        """Enables tiling.

        Args:
            tile_sample_min_size: Side of a tile in pixels. Default: the last one set, or else the
                model's `sample_size`, or for seamless tiles the largest that fits the budget.
            tile_overlap_factor: Overlap of neighbouring tiles, as a part of a tile; default 0.25,
                of an `AutoencoderTiny` 0.125.
            how: "diffusers" gives diffusers' numbers, seams and all; "seamless" the untiled picture
                but for an error far below a step of 8 bits (decoding only; encoding is exact), of
                an `AutoencoderTiny` to the bit.
        """
        size = self.options.tile_size
        if tile_sample_min_size is not None:
            size = tile_sample_min_size // self.info.downscale
        if tile_sample_min_size is not None and size < 1:
            message = (
                f"tile_sample_min_size: {self.info.downscale} or more expected, "
                f"{tile_sample_min_size} found"
            )
            raise InvalidArgumentError(message)
        overlap = 0
        if tile_overlap_factor is not None:
            tile = size or self.tile_latent_min_size
            overlap = self._checked_overlap(tile, tile_overlap_factor)
        self.set_options(tiling=how, tile_size=size, tile_overlap=overlap)

    def disable_tiling(self) -> None:
        """Disables tiling, the default. A memory budget holds without tiles too."""
        self.set_options(tiling="exact")

    @property
    def tile_latent_min_size(self) -> int:
        """Side of a tile in latent pixels. Setting it sets `tile_sample_min_size` too."""
        if self.options.tile_size:
            return self.options.tile_size
        size = self._sample_size()
        return (size[0] if isinstance(size, (list, tuple)) else size) // self.info.downscale

    @tile_latent_min_size.setter
    def tile_latent_min_size(self, size: int) -> None:
        factor, overlap = self.tile_overlap_factor, 0
        if factor != self._default_overlap:
            overlap = self._checked_overlap(size, factor)
        self.set_options(tile_size=size, tile_overlap=overlap)

    @property
    def tile_sample_min_size(self) -> int:
        """Side of a tile in pixels. Setting it sets `tile_latent_min_size` too."""
        return self.tile_latent_min_size * self.info.downscale

    @tile_sample_min_size.setter
    def tile_sample_min_size(self, size: int) -> None:
        self.tile_latent_min_size = size // self.info.downscale

    @property
    def tile_overlap_factor(self) -> float:
        """Overlap of neighbouring tiles, as a part of a tile."""
        overlap = self.options.tile_overlap
        return overlap / self.tile_latent_min_size if overlap else self._default_overlap

    @tile_overlap_factor.setter
    def tile_overlap_factor(self, factor: float) -> None:
        overlap = self._checked_overlap(self.tile_latent_min_size, factor)
        self.set_options(tile_overlap=overlap)

    def _sample_size(self) -> Any:
        """Sides of a tile in pixels where none are set: a number, or height and width."""
        return self.config.sample_size

    def _overlap(self, size: int, factor: float) -> int:
        """Latents that tiles of `size` latents share."""
        return max(1, size - int(size * (1 - factor)))

    def _checked_overlap(self, size: int, factor: float) -> int:
        if not 0.0 < factor < 1.0:
            raise InvalidArgumentError(
                f"tile_overlap_factor: more than 0 and less than 1 expected, {factor} found"
            )
        return self._overlap(size, factor)

    def enable_slicing(self) -> None:
        """Changes nothing: a batch is always processed one by one, in the memory of one."""
        self.use_slicing = True

    def disable_slicing(self) -> None:
        """Changes nothing."""
        self.use_slicing = False

    def fuse_qkv_projections(self) -> None:
        """Projects query, key and value at once: the same result up to rounding."""
        self.set_options(fuse_qkv=True)

    def unfuse_qkv_projections(self) -> None:
        """Projects query, key and value one by one, the default."""
        self.set_options(fuse_qkv=False)

    # ---- what torch.nn.Module has

    @property
    def dtype(self) -> Any:
        """Type of the activations between layers: a torch.dtype if torch is in use, else its name.

        float16 becomes float32 if the model sets `force_upcast`: no pipeline needs to see to
        that.
        """
        name = self.options.dtype
        if name == "float16" and self.config.get("force_upcast", True):
            name = "float32"
        torch = torch_module()
        return name if torch is None else getattr(torch, name)

    @property
    def device(self) -> Any:
        """The CPU: a torch.device where torch is in use, otherwise "cpu"."""
        torch = torch_module()
        return "cpu" if torch is None else torch.device("cpu")

    def to(self, *args: Any, dtype: Any = None, device: Any = None, **_: Any) -> Any:
        """Sets the type of the activations between layers. A device can only be the CPU."""
        torch = torch_module()
        for value in (*args, dtype, device):
            if value is None or isinstance(value, bool):
                continue
            if torch is not None and isinstance(value, torch.Tensor):
                self.to(value.dtype, value.device)
            elif _is_device(value, torch):
                if str(value).partition(":")[0] != "cpu":
                    raise UnsupportedError(f"device: cpu expected, {value} found")
            else:
                self.set_options(dtype=dtype_name(value))
        return self

    def eval(self) -> Any:
        """Changes nothing: there is no other mode."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Accepts False only: nothing can be trained."""
        if requires_grad:
            raise UnsupportedError("requires_grad: the weights cannot be trained")
        return self

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """Nothing: the weights are the library's, and no tensors."""
        return iter(())

    buffers = parameters

    def modules(self) -> Iterator[Any]:
        """The autoencoder itself."""
        return iter((self,))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config['_name_or_path']!r})"


def _is_device(value: Any, torch: Any) -> bool:
    if torch is not None and isinstance(value, (torch.device, torch.dtype)):
        return isinstance(value, torch.device)
    # A name is a device's unless it is a dtype's.
    return isinstance(value, (str, int)) and not str(value).startswith(("float", "bfloat"))
