"""KD Lightning: knowledge distillation experiments on PyTorch Lightning with Hydra configuration."""

from typing import TYPE_CHECKING

from kd_lightning.lazy_names import lazy

if TYPE_CHECKING:
    from kd_lightning.inference.student import load_student
    from kd_lightning.models import projectors
    from kd_lightning.module import DistillationModule
    from kd_lightning.objective import Objective
    from kd_lightning.system.version import __version__
    from kd_lightning.term import Term

__all__ = ["DistillationModule", "Objective", "Term", "__version__", "load_student", "projectors"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "DistillationModule": "kd_lightning.module",
        "Objective": "kd_lightning.objective",
        "Term": "kd_lightning.term",
        "__version__": "kd_lightning.system.version",
        "load_student": "kd_lightning.inference.student",
        "projectors": "kd_lightning.models",
    },
)
