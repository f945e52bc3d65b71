"""Taps: named outputs inside any model, read by hooks; no model is edited."""

from kd_lightning.taps.dry_run import dry_run, evaluating
from kd_lightning.taps.finding import find_taps
from kd_lightning.taps.pairing import pair_taps
from kd_lightning.taps.reader import TapReader, tap_shapes

__all__ = ["TapReader", "dry_run", "evaluating", "find_taps", "pair_taps", "tap_shapes"]
