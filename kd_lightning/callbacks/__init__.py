"""Callbacks of this project; most come from Lightning."""

from kd_lightning.callbacks.compilation import Compilation
from kd_lightning.callbacks.device_memory import DeviceMemory
from kd_lightning.callbacks.epoch_lines import EpochLines
from kd_lightning.callbacks.gradient_norm import GradientNorm
from kd_lightning.callbacks.interruption import SavedWhenInterrupted
from kd_lightning.callbacks.measured_part import MeasuredPart
from kd_lightning.callbacks.metrics_rows import MetricsRows
from kd_lightning.callbacks.prefill import Prefill
from kd_lightning.callbacks.progress_bar import TermsProgressBar
from kd_lightning.callbacks.resumption import MidEpoch, MovedFolder, SeededBatches
from kd_lightning.callbacks.throughput import Throughput
from kd_lightning.callbacks.timed_checkpoint import TimedCheckpoint

__all__ = [
    "Compilation",
    "DeviceMemory",
    "EpochLines",
    "GradientNorm",
    "MeasuredPart",
    "MetricsRows",
    "MidEpoch",
    "MovedFolder",
    "Prefill",
    "SavedWhenInterrupted",
    "SeededBatches",
    "TermsProgressBar",
    "Throughput",
    "TimedCheckpoint",
]
