"""Values that change as a training goes: weights of terms, learning rates, and the length that both count by."""

from kd_lightning.schedules.progress import Linear, Progress, Schedule, Warmup
from kd_lightning.schedules.torch_schedule import TorchSchedule

__all__ = ["Linear", "Progress", "Schedule", "TorchSchedule", "Warmup"]
