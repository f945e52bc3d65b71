"""Conversions: changes of a trained network that are no training, kept as plain values and made again."""

from kd_lightning.conversions.conversion import Conversion
from kd_lightning.conversions.entries import (
    conversions_of,
    converted,
    load_converted,
    read_conversions,
    replayed,
    stored_beside,
    stored_conversions,
)
from kd_lightning.conversions.heads import ReplaceHead
from kd_lightning.conversions.making import Entry

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
