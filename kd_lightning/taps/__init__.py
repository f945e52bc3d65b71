"""Taps: named outputs inside any model, read by hooks; no model is edited."""

from kd_lightning.models.dry_run import dry_run, evaluating
from kd_lightning.taps.address import check_taps
from kd_lightning.taps.depth import by_depth
from kd_lightning.taps.finding.finding import FOUND, find_taps
from kd_lightning.taps.finding.inner import find_inner_taps
from kd_lightning.taps.outputs import logits_of
from kd_lightning.taps.pairing import pair_taps
from kd_lightning.taps.reader import TapReader, shapes_of, tap_values, taps_of

__all__ = [
    "FOUND",
    "TapReader",
    "by_depth",
    "check_taps",
    "dry_run",
    "evaluating",
    "find_inner_taps",
    "find_taps",
    "logits_of",
    "pair_taps",
    "shapes_of",
    "tap_values",
    "taps_of",
]
