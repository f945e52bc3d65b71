"""Answers of a teacher, kept: computed once for (weights, data, augmentation, index, view), and read ever after."""

from typing import TYPE_CHECKING

from kd_lightning.lazy_names import lazy

if TYPE_CHECKING:
    from kd_lightning.store.answers import Answers
    from kd_lightning.store.encoding import TopK, Whole
    from kd_lightning.store.records import RecordFile

__all__ = ["Answers", "RecordFile", "TopK", "Whole"]

# Lazy, for what lists and removes answers needs no torch.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "Answers": "kd_lightning.store.answers",
        "RecordFile": "kd_lightning.store.records",
        "TopK": "kd_lightning.store.encoding",
        "Whole": "kd_lightning.store.encoding",
    },
)
