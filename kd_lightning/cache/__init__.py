"""Answers of a teacher, kept: computed once for (weights, data, augmentation, index, view), and read ever after."""

from kd_lightning.cache.answers import Answers
from kd_lightning.cache.encoding import TopK, Whole
from kd_lightning.cache.records import RecordFile

__all__ = ["Answers", "RecordFile", "TopK", "Whole"]
