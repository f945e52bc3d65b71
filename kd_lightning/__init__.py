"""KD Lightning: knowledge distillation experiments on PyTorch Lightning with Hydra configuration."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kd_lightning.module import DistillationModule
    from kd_lightning.objective import Objective, Term

__all__ = ["DistillationModule", "Objective", "Term", "__version__"]

try:
    __version__ = version("kd-lightning")
except PackageNotFoundError:
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import, which `--help` should not wait for.
    if name == "DistillationModule":
        from kd_lightning.module import DistillationModule

        return DistillationModule
    if name in ("Objective", "Term"):
        from kd_lightning import objective

        return getattr(objective, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
