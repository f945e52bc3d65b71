"""Labels of a batch, looked at before they are used."""

from torch import Tensor

from kd_lightning.batch import Batch
from kd_lightning.errors import UserError
from kd_lightning.losses.functional.samples import has_label


def check_labels(batch: Batch, num_classes: int) -> None:
    """UserError for a label that is no class, seen where the batch lies on the CPU; -1 and -100 are no label."""
    target = batch.get("target")
    if target is not None and not isinstance(target, Tensor):
        raise UserError(f"target of type {type(target).__name__}: give a tensor of class indices (B,)")
    if target is None or target.device.type != "cpu" or target.is_floating_point() or not target.numel():
        return
    lowest, highest = (int(bound) for bound in target.aminmax())
    if highest >= num_classes:
        raise UserError(f"target={highest}: there are {num_classes} classes, labelled 0 to {num_classes - 1}")
    if lowest < 0 and not bool(((target >= 0) | has_label(target).logical_not()).all()):
        raise UserError(
            f"target={lowest}: labels are whole numbers, 0 or more; -1 and -100 stand for a sample without a label"
        )
