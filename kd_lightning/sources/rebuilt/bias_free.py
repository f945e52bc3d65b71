"""A student whose classifier has no bias."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.taps import find_inner_taps


def bias_free_classifier(
    student: nn.Module, teacher: nn.Module | None, example: Tensor, initialization: Literal["he", "torch"] = "he"
) -> nn.Module:
    """A student with a new classifier without a bias, so that its class activation maps alone give its logits.

    CAT-KD's (Guo et al. 2023, arXiv:2304.12777) ends in a bias-free 1x1 convolution and a mean over the positions. A
    linear layer of the mean is the same function with the same weights, and less work.

    Args:
        student: a network with a linear classifier, which is replaced in place.
        teacher: is not looked at.
        example: a batch of inputs, to find the classifier.
        initialization: `he`, N(0, 2 / classes), of deviation 0.141 for 100; or `torch`, as torch has it.

    Raises UserError for a network without a linear classifier.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import create_model
        >>> from kd_lightning.sources import bias_free_classifier
        >>> student = bias_free_classifier(create_model("resnet8", num_classes=10), None, torch.rand(2, 3, 32, 32))
        >>> student.fc.bias is None
        True
    """
    if initialization not in ("he", "torch"):
        raise UserError(f"initialization={initialization}: must be he or torch")
    address = find_inner_taps(student, example).get("classifier_weight")
    if address is None:
        raise UserError(
            f"student={type(student).__name__}: has no linear classifier whose bias could be left out; choose another "
            "model, or leave it as it is"
        )
    path = address.partition(":")[0]
    old = student.get_submodule(path)
    assert isinstance(old, (nn.Linear, nn.Conv2d))
    classes, width = old.weight.shape[:2]
    new: nn.Linear | nn.Conv2d
    with torch.device(old.weight.device):
        is_linear = isinstance(old, nn.Linear)
        new = nn.Linear(width, classes, bias=False) if is_linear else nn.Conv2d(width, classes, 1, bias=False)
    new.to(old.weight.dtype)
    if initialization == "he":
        nn.init.normal_(new.weight, std=math.sqrt(2 / classes))
    student.set_submodule(path, new)
    return student
