"""Conversions: changes of a trained network that are no training, kept as plain values and made again."""

from kd_lightning.conversions.conversion import Conversion
from kd_lightning.conversions.entries import (
    Entry,
    conversions_of,
    converted,
    load_converted,
    read_conversions,
    replayed,
    stored_beside,
    stored_conversions,
)
from kd_lightning.conversions.heads import ReplaceHead

__all__ = [
    "Conversion",
    "Entry",
    "ReplaceHead",
    "conversions_of",
    "converted",
    "load_converted",
    "read_conversions",
    "replayed",
    "stored_beside",
    "stored_conversions",
]
