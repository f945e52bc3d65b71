"""What is computed once for all runs, under a key of all that decides it, and read ever after."""

from typing import TYPE_CHECKING

from kd_lightning.lazy_names import lazy

if TYPE_CHECKING:
    from kd_lightning.store.answers import Answers
    from kd_lightning.store.encoding import TopK, Whole
    from kd_lightning.store.keys import key_of
    from kd_lightning.store.records import RecordFile
    from kd_lightning.store.store import CannotKeep, Store

__all__ = ["Answers", "CannotKeep", "RecordFile", "Store", "TopK", "Whole", "key_of"]

# Lazy, for what lists and removes answers needs no torch.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "Answers": "kd_lightning.store.answers",
        "CannotKeep": "kd_lightning.store.store",
        "RecordFile": "kd_lightning.store.records",
        "Store": "kd_lightning.store.store",
        "TopK": "kd_lightning.store.encoding",
        "Whole": "kd_lightning.store.encoding",
        "key_of": "kd_lightning.store.keys",
    },
)
