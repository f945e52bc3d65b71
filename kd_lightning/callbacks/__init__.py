"""Callbacks of this project; most come from Lightning."""

from kd_lightning.callbacks.prefill import Prefill
from kd_lightning.callbacks.throughput import Throughput

__all__ = ["Prefill", "Throughput"]
