"""Losses that tell an example's pair from others' pairs."""

from torch import Tensor

from kd_lightning.losses.functional.samples import Reduction, sum_per_sample


def contrastive_nce(
    scores: Tensor, num_samples: int, counted: Tensor | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """Noise-contrastive estimation: -[log D(x_0) + Σ_{k=1..K} log(1 - D(x_k))], mean over the batch,
    or over its `counted` samples (B,).

    D(x) = x / (x + K/N + ε), 1 - D(x) = K/N / (x + K/N + ε) with ε = 1e-7 as in RepDistiller; N is `num_samples`, the
    noise is uniform over these. Tian, Krishnan, Isola 2020, arXiv:1910.10699, eq. 18.
    Shapes: scores (B, 1 + K) above 0, exp(similarity / τ) / Z, the first of each row the positive pair's.
    Returns a scalar, or (B,) for the reduction `none`: 0 for a sample that does not count, which the mean leaves out.

    Examples:
        >>> import torch
        >>> from kd_lightning.losses.functional import contrastive_nce
        >>> scores = torch.tensor([[9.0, 0.1, 0.1], [0.1, 9.0, 0.1]])  # the first of each row is the positive pair's
        >>> found, missed = contrastive_nce(scores, num_samples=100, reduction="none")
        >>> bool(found < missed)
        True
    """
    noise = (scores.shape[1] - 1) / num_samples
    log_sum = (scores + (noise + 1e-7)).log()
    log_positive = scores[:, 0].log() - log_sum[:, 0]
    log_negative = (noise / (scores[:, 1:] + (noise + 1e-7))).log()
    return sum_per_sample(-(log_positive + log_negative.sum(dim=1)), counted, reduction)
