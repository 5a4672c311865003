"""libvaekl for Python: diffusers' AutoencoderKL and its relatives on CPUs.

>>> vae = vaekl.AutoencoderKL.from_pretrained("path/to/vae")
>>> image = vae.decode(latents).sample
"""

from ._autoencoder import Autoencoder
from ._classes import (
    AsymmetricAutoencoderKL,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderTiny,
    LatentStatistics,
    open,
)
from ._config import Config
from ._distribution import (
    AutoencoderKLOutput,
    AutoencoderTinyOutput,
    DecoderOutput,
    DiagonalGaussianDistribution,
)
from ._errors import (
    BudgetError,
    CancelledError,
    DeviceError,
    Error,
    FileError,
    FilePermissionError,
    FormatError,
    InternalError,
    InvalidArgumentError,
    IsAFolderError,
    MissingFileError,
    ModelError,
    ModelWarning,
    NonFiniteError,
    NotAFolderError,
    OutOfMemoryError,
    StateError,
    UnsupportedError,
)
from ._native import cpu_level, version
from ._session import ModelInfo, Plan, SessionOptions, Stream

__version__ = version()

__all__ = [
    "AsymmetricAutoencoderKL",
    "Autoencoder",
    "AutoencoderKL",
    "AutoencoderKLFlux2",
    "AutoencoderKLOutput",
    "AutoencoderTiny",
    "AutoencoderTinyOutput",
    "BudgetError",
    "CancelledError",
    "Config",
    "DecoderOutput",
    "DeviceError",
    "DiagonalGaussianDistribution",
    "Error",
    "FileError",
    "FilePermissionError",
    "FormatError",
    "InternalError",
    "InvalidArgumentError",
    "IsAFolderError",
    "LatentStatistics",
    "MissingFileError",
    "ModelError",
    "ModelInfo",
    "ModelWarning",
    "NonFiniteError",
    "NotAFolderError",
    "OutOfMemoryError",
    "Plan",
    "SessionOptions",
    "StateError",
    "Stream",
    "UnsupportedError",
    "cpu_level",
    "open",
    "version",
]

# Their names in messages and in a pipeline's index are those by which they are imported.
for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
