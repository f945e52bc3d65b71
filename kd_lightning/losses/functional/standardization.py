"""Logits of zero mean and unit deviation."""

from torch import Tensor

from kd_lightning.losses.functional.logits import kd


def standardize(logits: Tensor) -> Tensor:
    """(z - mean z) / (std z + 1e-7) for each row; std with C-1 in its denominator, as in the public code.

    Sun et al. 2024, arXiv:2403.01427. Constant logits become 0, and close to it the
    slope is steep, up to 1e7. Shapes: (B, C) to (B, C).
    """
    return (logits - logits.mean(dim=1, keepdim=True)) / (logits.std(dim=1, keepdim=True) + 1e-7)


def logit_standardization_kd(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """Soft targets of standardized logits: kd(standardize(student), standardize(teacher), T).

    Sun et al. 2024, arXiv:2403.01427. The logits' scale is free: the student may match their order alone.
    Shapes: both (B, C). Returns a scalar.
    """
    return kd(standardize(student), standardize(teacher), temperature)
