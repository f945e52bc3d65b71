"""Values that change as a training goes: numbers of terms, learning rates, and the length that both count by."""

from typing import TYPE_CHECKING

from kd_lightning.lazy_names import lazy
from kd_lightning.schedules.adaptive import ByTeacherEntropy, NearTeacher, Plateau
from kd_lightning.schedules.progress import (
    Assessment,
    Cosine,
    Linear,
    OneMinus,
    Progress,
    Schedule,
    Steps,
    Times,
    Warmup,
)

if TYPE_CHECKING:
    from kd_lightning.schedules.torch_schedule import TorchSchedule

__all__ = [
    "Assessment",
    "ByTeacherEntropy",
    "Cosine",
    "Linear",
    "NearTeacher",
    "OneMinus",
    "Plateau",
    "Progress",
    "Schedule",
    "Steps",
    "Times",
    "TorchSchedule",
    "Warmup",
]

__getattr__, __dir__ = lazy(__name__, {"TorchSchedule": "kd_lightning.schedules.torch_schedule"})  # needs Lightning
