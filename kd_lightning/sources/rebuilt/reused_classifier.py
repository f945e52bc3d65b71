"""A student that keeps the teacher's classifier."""

import copy
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from kd_lightning.errors import UserError
from kd_lightning.models.projectors import SimKDProjector
from kd_lightning.taps import TapReader, dry_run, evaluating, find_inner_taps, find_taps

Shape = tuple[int, ...]


class ReusedClassifier(nn.Module):
    """A student's layers, a projector to the teacher's last map, and the teacher's classifier, which stays as it is.

    Logits: W_t · mean over positions of P(f_s) + b_t, where f_s is the student's last stage (B, D_s, H, W), P the
    projector and W_t, b_t the teacher's classifier (Chen et al. 2022, arXiv:2203.14001). Whatever the student had
    behind f_s is taken away, a last wide convolution as in MobileNetV2 too, as in the authors' code. All that is left
    is deployed, and counts in parameters and FLOPs. The tap `projected` is P(f_s).

    Args:
        student: a network whose last stage is a map; it is altered.
        teacher: a network with a last map that is averaged, and a linear classifier, which is copied.
        example: a batch of inputs, to see the shapes.
        projector: makes P from the shapes of f_s and of the map that the teacher averages.

    Raises UserError for networks without such a map or classifier.

    Examples:
        >>> import torch
        >>> from kd_lightning.models import create_model
        >>> from kd_lightning.sources import ReusedClassifier
        >>> student, teacher = create_model("resnet8", num_classes=10), create_model("resnet8x4", num_classes=10)
        >>> reused = ReusedClassifier(student, teacher, torch.rand(2, 3, 32, 32))
        >>> torch.equal(reused.classifier.weight, teacher.fc.weight)
        True
    """

    taps: ClassVar = {"projected": "projector"}

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        example: Tensor,
        projector: Callable[[Shape, Shape], nn.Module] = SimKDProjector,
    ) -> None:
        super().__init__()
        if teacher is None:
            raise UserError("teacher=None: rebuilds the student around one network; give it, such as a resnet32x4")
        given = find_inner_taps(teacher, example)
        if not {"final", "classifier_weight"} <= set(given):
            raise UserError(
                f"teacher={type(teacher).__name__}: has no map that is pooled for a linear classifier, which is "
                "what the student shall take over; choose another model"
            )
        with dry_run(teacher, example):
            target = TapReader(teacher, {"final": given["final"]})(example)["final"]
        frozen = [parameter for parameter in student.parameters() if not parameter.requires_grad]
        student.requires_grad_(True)
        read = TapReader(student, {"stage": _last_stage(student, example)})
        with evaluating(student), torch.enable_grad():
            feature = read(example)["stage"]
        if feature.ndim != 4:
            raise UserError(
                f"student={type(student).__name__}: its last stage is no map (B, D, H, W); choose another model"
            )
        _remove_unused(student, feature)
        for parameter in frozen:
            parameter.requires_grad_(False)
        self.backbone = student
        self.projector = projector(tuple(feature.shape[1:]), tuple(target.shape[1:]))
        classifier = teacher.get_submodule(given["classifier_weight"].partition(":")[0])
        self.classifier = copy.deepcopy(classifier).requires_grad_(False)
        self._read = read

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.projector(self._read(x)["stage"]).mean(dim=(2, 3)))


def _remove_unused(network: nn.Module, value: Tensor) -> None:
    """Take away the layers that a value does not depend on; a parameter beside them is frozen."""
    parameters = dict(network.named_parameters())
    gradients = torch.autograd.grad(value.sum(), list(parameters.values()), allow_unused=True)
    unused = {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}
    removed: list[str] = []
    for path, module in list(network.named_modules()):
        names = {f"{path}.{name}" for name, _ in module.named_parameters()}
        inside_removed = any(path.startswith(f"{one}.") for one in removed)
        if path and names and names <= unused and not inside_removed:
            network.set_submodule(path, nn.Identity())
            removed.append(path)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in unused)


def _last_stage(student: nn.Module, example: Tensor) -> str:
    stages = [address for tap, address in find_taps(student, example).items() if tap.startswith("stage")]
    if not stages:
        raise UserError(f"student={type(student).__name__}: has no stages to keep; choose another model")
    return stages[-1]
