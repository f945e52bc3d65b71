"""A fresh classifier for other classes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kd_lightning.batch import INPUT, Batch, as_batch
from kd_lightning.errors import UserError
from kd_lightning.taps import dry_run, find_inner_taps

KINDS: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)}
CLASSIFIER = "classifier_weight"


@dataclass(frozen=True)
class ReplaceHead:
    """Replaces the layer that gives the logits by a fresh one of its kind, for another number of classes.

    The layer is found as the tap `classifier_weight` is, in one run on a batch: a linear layer, or a 1x1 convolution,
    with a bias where it had one. The other layers keep their weights.

    Args:
        num_classes: of the new layer.
        seed: of its initialisation, which is PyTorch's own.

    Raises UserError for a number below 1, and for a network whose classifier is no such layer.

    Examples:
        >>> import torch
        >>> from kd_lightning.conversions import ReplaceHead, converted
        >>> from kd_lightning.models import create_model
        >>> network = create_model("resnet8", num_classes=100)
        >>> rebuilt, entry = converted(network, ReplaceHead(num_classes=10), [{"input": torch.rand(2, 3, 32, 32)}], {})
        >>> rebuilt(torch.rand(2, 3, 32, 32)).shape, network(torch.rand(2, 3, 32, 32)).shape
        (torch.Size([2, 10]), torch.Size([2, 100]))
        >>> entry["record"]
        {'path': 'fc', 'kind': 'Linear', 'inputs': 64, 'outputs': 10, 'bias': True}
    """

    num_classes: int
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (("num_classes", self.num_classes, 1), ("seed", self.seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"{name}={value}: must be a whole number, {least} or more")

    def fit(self, network: nn.Module, batches: Iterable[Batch], sources: Mapping[str, nn.Module]) -> dict[str, Any]:
        """Where the classifier is, and how large. Raises UserError for a network that has none to be replaced."""
        batch = next(iter(batches), None)
        if batch is None:
            raise UserError("batches=[]: a batch shows which layer gives the logits; give one")
        path = classifier_path(network, as_batch(batch)[INPUT])
        layer: Any = network.get_submodule(path)
        kind = kind_of(layer)
        if kind is None:
            raise UserError(
                f"{path}={type(layer).__name__}: gives the logits, and is no linear layer or 1x1 convolution of torch; "
                "replace it by a conversion of your own"
            )
        inputs = layer.weight.shape[1]
        return {
            "path": path,
            "kind": kind,
            "inputs": inputs,
            "outputs": self.num_classes,
            "bias": layer.bias is not None,
        }

    def apply(self, network: nn.Module, record: Mapping[str, Any]) -> nn.Module:
        """Raises UserError for a network without such a layer there."""
        path, kind, inputs = record["path"], record["kind"], record["inputs"]
        before: Any = dict(network.named_modules()).get(path)
        if before is None or kind_of(before) != kind or before.weight.shape[1] != inputs:
            raise UserError(
                f"{path}: this {type(network).__name__} has no {kind} of {inputs} inputs there to be replaced"
            )
        layer = self.fresh(before, record)
        for owner in list(network.modules()):
            for name, part in list(owner.named_children()):
                if part is before:
                    setattr(owner, name, layer)
        return network

    def fresh(self, before: nn.Module, record: Mapping[str, Any]) -> nn.Module:
        """The new layer, where the one before is."""
        like: Any = before.weight
        size = () if record["kind"] == "Linear" else (1,)
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            layer = KINDS[record["kind"]](record["inputs"], record["outputs"], *size, bias=record["bias"])
        return layer.to(like.device, like.dtype).train(before.training)


def classifier_path(network: nn.Module, example: Any) -> str:
    """The path of the layer that gives the logits. Raises UserError where there is not one alone."""
    with dry_run(network, example):
        address = find_inner_taps(network, example).get(CLASSIFIER)
    path = "" if address is None else address.rpartition(":")[0]
    if not path:
        raise UserError(
            f"network={type(network).__name__}: has not one linear layer or 1x1 convolution that gives its logits; "
            "replace it by a conversion of your own"
        )
    return path


def kind_of(layer: nn.Module) -> str | None:
    """`Linear`, or the name of a convolution whose kernel is one position; None for any other layer."""
    name = type(layer).__name__
    if KINDS.get(name) is not type(layer):
        return None
    if isinstance(layer, nn.Linear):
        return name
    pointwise: Any = layer
    plain = {*pointwise.kernel_size, *pointwise.stride, pointwise.groups} == {1} and {*pointwise.padding} == {0}
    return name if plain else None
