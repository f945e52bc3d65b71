"""What losses on logits take: one row of classes for each sample, and which of the samples have a label."""

from torch import Tensor

NO_LABEL = (-1, -100)


def check_logits(student: Tensor, *others: Tensor) -> None:
    """ValueError unless all are logits (N, C) of equal shape."""
    for logits in (student, *others):
        if logits.ndim != 2:
            raise ValueError(
                f"logits of shape {tuple(logits.shape)}: a loss on logits takes (N, C), one row of classes for each "
                "sample; flatten tokens or pixels into rows"
            )
    for logits in others:
        if logits.shape != student.shape:
            raise ValueError(
                f"logits of different shapes cannot be compared, {tuple(student.shape)} and {tuple(logits.shape)}; "
                "take a teacher that knows the student's classes"
            )


def check_target(logits: Tensor, target: Tensor) -> None:
    """ValueError unless the target holds class indices (N,), or probabilities in the shape of the logits (N, C)."""
    is_index = target.shape == logits.shape[:1] and not target.is_floating_point()
    if not is_index and not (target.shape == logits.shape and target.is_floating_point()):
        kind = str(target.dtype).removeprefix("torch.")
        raise ValueError(
            f"target of shape {tuple(target.shape)} and type {kind}: logits {tuple(logits.shape)} need class indices "
            f"({len(logits)},), whole numbers, or probabilities {tuple(logits.shape)}"
        )


def has_label(target: Tensor) -> Tensor:
    """Which samples have a label, (N,): -1 and -100 stand for none."""
    return (target != NO_LABEL[0]) & (target != NO_LABEL[1])


def without_label_as(number: int, target: Tensor) -> Tensor:
    """The target (N,) as int64, with one number, -1 or -100, for all samples without a label."""
    (other,) = (none for none in NO_LABEL if none != number)
    target = target.long()
    return target.masked_fill(target == other, number)
