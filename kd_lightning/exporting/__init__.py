"""A network as one file that other programs run: ONNX, torch.export; written, loaded again and compared."""

from typing import TYPE_CHECKING

from kd_lightning.lazy_names import lazy

if TYPE_CHECKING:
    from kd_lightning.exporting.writing import Exported, export

__all__ = ["Exported", "export"]

# Lazy, for a command checks what it was given before torch comes in.
__getattr__, __dir__ = lazy(
    __name__, {"Exported": "kd_lightning.exporting.writing", "export": "kd_lightning.exporting.writing"}
)
