"""Losses over several networks, in numpy, sample by sample."""

import numpy as np
import torch
from torch import Tensor

from kd_lightning.losses import functional
from tests.losses.case import Array, Case, draw

LABELS = [0, 2, 0, 1, 2, 0, -1, 3]  # 1 and 3 are alone, one has none


def supervised_contrast(similarities: Array) -> float:
    values = []
    for i, label in enumerate(LABELS):
        others = [k for k, other in enumerate(LABELS) if k != i and other >= 0]
        positives = [k for k in others if LABELS[k] == label]
        if label >= 0 and positives:
            total = sum(np.exp(similarities[i, k]) for k in others)
            values.append(np.mean([-np.log(np.exp(similarities[i, p]) / total) for p in positives]))
    return float(np.mean(values))


def supervised_contrast_loss(similarities: Tensor) -> Tensor:
    return functional.supervised_contrast(similarities, torch.tensor(LABELS))


CASES = {"supervised_contrast": Case(supervised_contrast_loss, supervised_contrast, [draw(8, 8)])}
