"""Answers of a teacher, kept: computed once for (weights, data, augmentation, index, view), and read ever after."""

from typing import TYPE_CHECKING

from kd_lightning.lazy_names import lazy

if TYPE_CHECKING:
    from kd_lightning.cache.answers import Answers
    from kd_lightning.cache.encoding import TopK, Whole
    from kd_lightning.cache.records import RecordFile

__all__ = ["Answers", "RecordFile", "TopK", "Whole"]

# Lazy, for what lists and removes answers needs no torch.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "Answers": "kd_lightning.cache.answers",
        "RecordFile": "kd_lightning.cache.records",
        "TopK": "kd_lightning.cache.encoding",
        "Whole": "kd_lightning.cache.encoding",
    },
)
