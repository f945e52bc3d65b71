"""Callbacks of this project; most come from Lightning."""

from kd_lightning.callbacks.compilation import Compilation
from kd_lightning.callbacks.measured_part import MeasuredPart
from kd_lightning.callbacks.measurements import DeviceMemory, GradientNorm, Throughput
from kd_lightning.callbacks.moving_average import EMA
from kd_lightning.callbacks.prefill import Prefill
from kd_lightning.callbacks.progress import EpochLines, TermsProgressBar
from kd_lightning.callbacks.rate_finder import LRFinder
from kd_lightning.callbacks.resuming.interruption import SavedWhenInterrupted
from kd_lightning.callbacks.resuming.resumption import MetricsRows, MidEpoch, MovedFolder, SeededBatches
from kd_lightning.callbacks.resuming.timed_checkpoint import TimedCheckpoint
from kd_lightning.callbacks.seeded_loader import SeededEpochs
from kd_lightning.learners.callbacks import for_learners

__all__ = [
    "EMA",
    "Compilation",
    "DeviceMemory",
    "EpochLines",
    "GradientNorm",
    "LRFinder",
    "MeasuredPart",
    "MetricsRows",
    "MidEpoch",
    "MovedFolder",
    "Prefill",
    "SavedWhenInterrupted",
    "SeededBatches",
    "SeededEpochs",
    "TermsProgressBar",
    "Throughput",
    "TimedCheckpoint",
    "for_learners",
]
