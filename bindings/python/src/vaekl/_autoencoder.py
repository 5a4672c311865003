"""What the classes of all families have in common: opening, saving, settings, calls."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import warnings
from pathlib import Path
from typing import Any, ClassVar, Iterator, TypeVar

from . import _config, _saving
from ._arrays import A, View, dtype_constant, dtype_name, empty, image_structs, latent_struct
from ._config import Config
from ._drop_in import DropIn
from ._errors import InvalidArgumentError, ModelError, ModelWarning, StateError
from ._native import constant, lib
from ._session import Model, ModelInfo, Plan, Session, SessionOptions, Stream, StrPath, plan

V = TypeVar("V", bound="Autoencoder")


class Autoencoder(DropIn):
    """An autoencoder: latents to pictures and pictures to latents, on the CPU.

    `AutoencoderKL`, `AutoencoderKLFlux2`, `AsymmetricAutoencoderKL` and `AutoencoderTiny` have the
    names and shapes of diffusers' classes. `vaekl.open` gives the one that fits a checkpoint.

    Arrays are numpy's, torch's (CPU), or any that speak DLPack or the buffer protocol, as float32,
    float16 or bfloat16, and are read where they are if their layout allows. Results are of the
    framework and the dtype that came in.

    An instance has one session: calls from several threads are done one after the
    other. `clone` gives another of the same weights, for calls at the same time. No
    call holds the GIL while it works.
    """

    #: The family that the class is for: the name of diffusers' class.
    _family: ClassVar[str]
    #: Fields of diffusers' class that the library has no use for, with their defaults.
    _unread: ClassVar[dict[str, Any]] = {}

    def __init__(self, model: Model, config: Config, options: SessionOptions | None = None) -> None:
        """Use `from_pretrained`, `from_single_file` or `from_bytes`."""
        super().__init__(config)
        self._info = model.info
        self._session: Session | None = Session(model, options or SessionOptions())

    @classmethod
    def from_pretrained(
        cls: type[V],
        path: StrPath,
        *,
        subfolder: str | None = None,
        variant: str | None = None,
        config: StrPath | None = None,
        preset: str | None = None,
        parts: str = "both",
        disable_mmap: bool = False,
        torch_dtype: Any = None,
        dtype: Any = None,
        device: str = "cpu",
        use_safetensors: bool | None = None,
        local_files_only: bool = True,
        **options: Any,
    ) -> V:
        """Opens a diffusers folder, a pipeline's, or what the hub's local cache has of "org/name".

        Its weights are mapped and must not change.

        Args:
            path: The folder, which may also be one of TAESD's pairs, NAME_encoder and NAME_decoder.
                Nothing is downloaded.
            subfolder: Of `path`, as "vae".
            variant: "fp16" opens diffusion_pytorch_model.fp16.safetensors.
            config: A config.json, or a folder that has one, to use instead of the folder's own.
            preset: Published model whose scaling, shift and statistics replace the
                configuration's: "sd", "sdxl", "sdxl-fp16-fix", "sd3", "flux", "playground-v2.5",
                "sd-x4-upscaler", "cogview4", "flux2", "asymmetric", "taesd", "taesdxl", "taesd3",
                "taef1", "taef2", "taesana".
            parts: "both", or "decoder" or "encoder" for a checkpoint with only that half.
            dtype, torch_dtype: Type of the activations between layers, see `SessionOptions.dtype`;
                default float32, which is exact. The dtype of the weights does not matter.
            device: "cpu", the only one in this version.
            disable_mmap: Whether files are read, a layer at a time, instead of mapped.
            use_safetensors, local_files_only: For diffusers' sake: the file that is there is
                opened, safetensors first, and nothing is downloaded.
            options: Fields of `SessionOptions`: threads, memory_budget, scratch_dir, progress, ...
        """
        folder = Path(path, subfolder) if subfolder else Path(path)
        given = None if config is None else _config.given(config, None)
        model = Model.open(
            folder,
            config_path=given,
            variant=variant,
            preset=preset,
            parts=parts,
            disable_mmap=disable_mmap,
            device=device,
        )
        found = given or _config.find(folder)
        return cls._of(model, found, path, dtype or torch_dtype, options)

    @classmethod
    def from_single_file(
        cls: type[V],
        path: StrPath,
        *,
        config: StrPath | None = None,
        subfolder: str | None = None,
        preset: str | None = None,
        norm_num_groups: int = 0,
        parts: str = "both",
        disable_mmap: bool = False,
        torch_dtype: Any = None,
        dtype: Any = None,
        device: str = "cpu",
        **options: Any,
    ) -> V:
        """Opens a file of an autoencoder or a pipeline: safetensors, PyTorch, Flax or GGUF.

        Its names may be diffusers' or the original ones.

        Args:
            path: The file.
            config: A config.json, or a folder that has one (in `subfolder`). Without it the shapes
                tell the architecture, `preset` the rest, and what is left is guessed:
                a `ModelWarning` tells each guess.
            norm_num_groups: Groups of the GroupNorms of a file without a configuration; 0 for 32.
            preset, parts, disable_mmap, dtype, torch_dtype, device, options: As in
                `from_pretrained`.
        """
        given = None if config is None else _config.given(config, subfolder)
        model = Model.open(
            path,
            config_path=given,
            preset=preset,
            norm_num_groups=norm_num_groups,
            parts=parts,
            disable_mmap=disable_mmap,
            device=device,
        )
        return cls._of(
            model, given or _config.find(Path(path)), path, dtype or torch_dtype, options
        )

    @classmethod
    def from_bytes(
        cls: type[V],
        data: Any,
        *,
        config: StrPath | None = None,
        preset: str | None = None,
        norm_num_groups: int = 0,
        parts: str = "both",
        dtype: Any = None,
        **options: Any,
    ) -> V:
        """Opens a file in memory: a buffer that is kept and must not change."""
        given = None if config is None else _config.given(config, None)
        model = Model.open_bytes(
            data, config_path=given, preset=preset, norm_num_groups=norm_num_groups, parts=parts
        )
        return cls._of(model, given, "bytes", dtype, options)

    @classmethod
    def _of(
        cls: type[V],
        model: Model,
        config: Path | None,
        name: StrPath,
        dtype: Any,
        options: dict[str, Any],
    ) -> V:
        if model.family != cls._family:
            raise ModelError(
                f"{os.fspath(name)}: an {cls._family} expected, an {model.family} found "
                f"({model.family_source}): vaekl.{model.family} opens it"
            )
        for notice in model.notices:
            warnings.warn(f"{name}: {notice}", ModelWarning, stacklevel=3)
        found = _config.of_model(model.config, config, name, cls._unread)
        return cls(model, found, _options(dtype, options))

    # ---- saving

    def save_pretrained(
        self,
        save_directory: StrPath,
        is_main_process: bool = True,
        save_function: Any = None,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = "10GB",
        push_to_hub: bool = False,
        *,
        torch_dtype: Any = None,
        dtype: Any = None,
        **unknown: Any,
    ) -> None:
        """Saves config.json and the weights to a folder, as diffusers' class does.

        Files of an earlier save are replaced once all new ones are written. The folder may be the
        one that this autoencoder was opened from.

        Args:
            save_directory: The folder, which is made if it is not there.
            variant: "fp16" makes diffusion_pytorch_model.fp16.safetensors.
            max_shard_size: Most bytes of weights in a file, as a number or as "500MB" (TB, GB, MB,
                KB: powers of 1000; TiB, GiB, MiB, KiB: of 1024); None for one file.
            dtype, torch_dtype: Type of the saved weights: float32, float16 or bfloat16. Default:
                their own, whatever the type of the activations is.
            is_main_process: False saves nothing.
            safe_serialization, save_function, push_to_hub: For diffusers' sake; True, None, False.
        """
        _saving.check(save_function, safe_serialization, push_to_hub, unknown)
        folder = _saving.folder(save_directory)
        if is_main_process:
            self._open().model.save(
                folder,
                dtype=dtype or torch_dtype,
                max_shard_size=_saving.shard_size(max_shard_size),
                variant=variant,
            )

    def save_single_file(
        self,
        path: StrPath,
        *,
        layout: str = "diffusers",
        torch_dtype: Any = None,
        dtype: Any = None,
    ) -> None:
        """Saves one .safetensors file, which `from_single_file` opens without a guess.

        Args:
            path: The file.
            layout: Names of the tensors, "diffusers" or "original".
            dtype, torch_dtype: As in `save_pretrained`.
        """
        self._open().model.save(_saving.file(path), layout=layout, dtype=dtype or torch_dtype)

    # ---- settings

    @property
    def info(self) -> ModelInfo:
        """Properties of the model: channels, downscale, scaling_factor, ..."""
        return self._info

    @property
    def options(self) -> SessionOptions:
        """The options; `set_options` changes them."""
        return self._open().options

    def set_options(self, **changes: Any) -> None:
        """Changes fields of `SessionOptions`, from the next call on. Waits for one in progress."""
        with self._use() as session:
            options = _options(changes.pop("dtype", None), changes, session.options)
            if options != session.options:
                self._session = Session(session.model, options)

    def clone(self: V, **changes: Any) -> V:
        """Another autoencoder of the same weights, with `SessionOptions` of its own."""
        session = self._open()
        options = _options(changes.pop("dtype", None), changes, session.options)
        copy = type(self)(session.model, self.config, options)
        copy.use_slicing = self.use_slicing
        return copy

    def close(self) -> None:
        """Frees threads, workspace and weights, after a call in progress.

        Later calls raise `StateError`.
        """
        if self._session is not None:
            with self._use():
                self._session = None

    def __enter__(self: V) -> V:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def memory(self) -> int:
        """Workspace in bytes, held since the last call."""
        return self._open().memory

    def cancel(self) -> None:
        """Makes the current call raise `CancelledError` within a fraction of a second.

        From any thread. It reaches a call that has entered the library: one that still waits for
        another, or copies its input, does not see it. A `progress` callback that raises stops a
        call from its first moment.
        """
        session = self._session
        if session is not None:
            session.cancel()

    def plan_decode(self, latent_height: int, latent_width: int) -> Plan:
        """What a decode of latents of this size needs: peak_bytes, tiles, ..."""
        return plan(self._open().model, self.options, "decode", latent_height, latent_width)

    def plan_encode(self, height: int, width: int) -> Plan:
        """What an encode of a picture of this size needs."""
        return plan(self._open().model, self.options, "encode", height, width)

    # ---- diffusers' calls, which each class has with arguments of its own

    def forward(self, sample: Any, *args: Any, **kwargs: Any) -> Any:
        """Encodes pictures and decodes what that gives."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`."""
        return self.forward(*args, **kwargs)

    # ---- calls that diffusers does not have

    def encode_latents(
        self,
        images: A,
        posterior: str = "mode",
        *,
        seed: int = 0,
        scaled: bool = False,
        folded: bool = False,
        layout: str = "CHW",
    ) -> A:
        """Encodes pictures to latents [B, c, h, w] in one call.

        Args:
            images: [B, C, H, W], or [B, H, W, C] with `layout` "HWC". Bytes give float32 latents.
            posterior: "mode"; "sample", with the noise that torch.randn draws from a CPU generator
                of `seed`; or "moments", [B, 2c, h, w]. An `AutoencoderTiny` has no posterior: both
                of the first are its latents.
            scaled: Returns latents for a diffusion model: scaling, shift and statistics applied.
            folded: Returns scaled latents of an `AutoencoderKLFlux2` as its pipeline has them, 2x2
                in the channels of one: [B, 4c, h/2, w/2].
        """
        kind = constant("POSTERIOR", posterior, "posterior")
        structs, given = image_structs(images, "images", layout)
        batch, found, height, width = given.shape
        # A vaekl_image does not say how many channels it has.
        if found != self._info.input_channels:
            raise InvalidArgumentError(
                f"images: {self._info.input_channels} channels expected, {found} found"
            )
        dtype = "float32" if given.dtype == "uint8" else given.dtype
        channels = self._info.latent_channels * (2 if kind == lib.VAEKL_POSTERIOR_MOMENTS else 1)
        sides = [self._encoded_side(side) for side in (height, width)]
        if folded:
            patch = self._patch(scaled, sides)
            channels, sides = channels * patch**2, [side // patch for side in sides]
        result = empty(given.owner, (batch, channels, *sides), dtype)
        out, _ = latent_struct(result, "latents", scaled)
        with self._use() as session:
            session.encode(structs, kind, seed, out, keep=(given, result))
        return result

    def decode_images(
        self, latents: A, *, dtype: Any = "uint8", layout: str = "HWC", scaled: bool = False
    ) -> A:
        """Decodes latents to displayable pictures: bytes [B, H, W, C] by default.

        Args:
            latents: [B, c, h, w]; scaled ones of an `AutoencoderKLFlux2` may be folded,
                [B, 4c, h/2, w/2].
            dtype: "uint8", which maps [-1, 1] to [0, 255], or a float dtype, not clamped.
            layout: "HWC" or "CHW".
            scaled: Takes latents of a diffusion model: scaling, shift and
                statistics are undone first.
        """
        return self._decode(latents, dtype, layout, scaled)

    def stream(
        self, latents: A, *, rows: int = 64, dtype: Any = "uint8", scaled: bool = False
    ) -> Stream[A]:
        """Decodes one latent, [1, c, h, w], to an iterator over the picture, top to bottom.

        It gives arrays [rows, W, C].

        Close the stream, or use it in a `with`, if it is not read to its end: the
        autoencoder is in use until then.
        """
        struct, given = latent_struct(latents, "latents", scaled)
        shape = (*self._decoded_sides(given, scaled), self._info.image_channels)
        with self._use() as session:
            return Stream(session, struct, given.owner, shape, dtype_name(dtype), rows)

    # ---- inside

    def _open(self) -> Session:
        """The session; a new one in a process that forked off, which has no old threads."""
        session = self._session
        if session is None:
            raise StateError("the autoencoder is closed")
        if session.process != os.getpid():
            self._session = session = Session(session.model, session.options)
        return session

    @contextlib.contextmanager
    def _use(self) -> Iterator[Session]:
        """The session, for this thread alone."""
        while True:
            session = self._open()
            with session.lock:
                # Another thread may have replaced it in the meantime.
                if session is self._session:
                    yield session
                    return

    def _encoded_side(self, length: int) -> int:
        """Rows or columns of the latents of so many pixels; the library refuses too few."""
        factor = self._info.downscale
        # Halvings drop an odd row, or keep it where there is no posterior.
        return max(1, length // factor) if self._info.posterior else -(-length // factor)

    def _patch(self, scaled: bool, sides: list[int]) -> int:
        """Side of the patches that latents are to be folded into."""
        patch = int(self._info.patch_size)
        if patch == 1 or not scaled:
            raise InvalidArgumentError(
                "folded: scaled latents of an AutoencoderKLFlux2 expected, "
                f"{'scaled' if scaled else 'raw'} ones of an {self._family} found"
            )
        if any(side % patch for side in sides):
            raise InvalidArgumentError(
                f"folded: latents whose sides are multiples of {patch} expected, "
                f"{' x '.join(map(str, sides))} found"
            )
        return patch

    def _decoded_sides(self, latents: View, scaled: bool) -> tuple[int, int]:
        """Height and width of the pictures of latents, which may be folded."""
        _, channels, height, width = latents.shape
        factor, patch = int(self._info.downscale), int(self._info.patch_size)
        if scaled and channels == self._info.latent_channels * patch**2:
            factor *= patch
        return height * factor, width * factor

    def _decode(self, z: Any, dtype: Any, layout: str, scaled: bool) -> Any:
        struct, given = latent_struct(z, "latents", scaled)
        batch, channels = given.shape[0], self._info.image_channels
        height, width = self._decoded_sides(given, scaled)
        interleaved = constant("LAYOUT", layout, "layout") == lib.VAEKL_LAYOUT_HWC
        shape = (
            (batch, height, width, channels) if interleaved else (batch, channels, height, width)
        )
        dtype = given.dtype if dtype is None else dtype_name(dtype)
        dtype_constant(dtype, "dtype")
        result = empty(given.owner, shape, dtype)
        structs, _ = image_structs(result, "images", layout)
        with self._use() as session:
            session.decode(struct, structs, keep=(given, result))
        return result


def _options(
    dtype: Any, changes: dict[str, Any], old: SessionOptions | None = None
) -> SessionOptions:
    """`old` with `changes`. None is the default of an option."""
    known = {field.name: field.default for field in dataclasses.fields(SessionOptions)}
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise TypeError(
            f"unexpected keyword argument {unknown[0]!r}; the options are {', '.join(known)}"
        )
    changes = {name: known[name] if value is None else value for name, value in changes.items()}
    if dtype is not None:
        changes["dtype"] = dtype_name(dtype)
    return dataclasses.replace(old or SessionOptions(), **changes)
